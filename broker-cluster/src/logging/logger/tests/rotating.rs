//! Files from one to the next: rotation, what a kill leaves behind, old journals.

use std::time::Duration;

use super::super::super::options::{ArchiveOptions, RotatedNames, RotationRule};
use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn options(interval: Option<Duration>, max_bytes: Option<u64>) -> LoggerOptions {
    let mut options = LoggerOptions::default();
    options.rotation.rule = RotationRule {
        interval,
        max_bytes,
    };
    options
}

fn later(f: &mut Fixture, minutes: i64) {
    f.now.wall += SignedDuration::from_mins(minutes);
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn text(f: &Fixture, name: &str) -> String {
    fs::read_to_string(f.dir.path().join(name)).unwrap()
}

#[test]
fn a_file_ends_at_the_full_hour_and_the_next_begins_with_the_next_record() {
    let mut f = Fixture::with(options(Some(HOUR), None));
    f.numbered(1, &two_columns(), &[record("one", 1)]);
    f.commit();
    assert_eq!(
        f.logger.next_rotation(),
        Some("2026-11-27T10:00:00Z".parse().unwrap())
    );
    later(&mut f, 45);
    f.logger.rotate(f.now);
    assert_eq!(names(f.dir.path()), ["test.batches", "test.log"]);
    // What came before the boundary and was not committed belongs to the old file.
    f.numbered(2, &two_columns(), &[record("two", 2)]);
    later(&mut f, 1);
    f.logger.rotate(f.now);
    assert_eq!(f.commit(), [(2, 1, 0)]);
    let rotated = "test.2026-11-27-09-14-35";
    assert_eq!(
        names(f.dir.path()),
        [format!("{rotated}.batches"), format!("{rotated}.log")]
    );
    let content = text(&f, &format!("{rotated}.log"));
    assert!(
        content.contains("#open\t2026-11-27-09-14-35\n"),
        "{content}"
    );
    assert!(
        content.ends_with("one\t1\ntwo\t2\n#close\t2026-11-27-10-00-35\n"),
        "{content}"
    );
    assert_eq!(f.logger.next_rotation(), None);

    later(&mut f, 100);
    f.numbered(3, &two_columns(), &[record("three", 3)]);
    f.commit();
    assert!(text(&f, "test.log").contains("#open\t2026-11-27-11-40-35\n"));
    assert_eq!(f.rows("test.log"), ["three\t3"]);
    let again = f.now;
    f.logger.receive(&[], Sender::Local, again);
    f.numbered(1, &two_columns(), &[record("one", 1)]);
    assert_eq!(f.commit(), [(1, 1, 0)], "known, and acknowledged again");
    assert_eq!(f.rows("test.log"), ["three\t3"]);
    // As Zeek names it: the file of eleven o'clock, though the first record came at twenty to twelve. A kill in between
    // makes no difference.
    f.restart();
    f.numbered(4, &two_columns(), &[record("four", 4)]);
    later(&mut f, 20);
    f.logger.rotate(f.now);
    let content = text(&f, "test.2026-11-27-11-00-00.log");
    assert!(
        content.contains("#open\t2026-11-27-11-40-35\n"),
        "{content}"
    );
    assert!(content.contains("three\t3\nfour\t4\n"), "{content}");
}

#[test]
fn a_full_file_is_rotated_and_names_of_one_second_differ() {
    let mut f = Fixture::with(options(None, Some(1)));
    for number in 1..=3 {
        f.numbered(number, &two_columns(), &[record("x", number)]);
        f.commit();
        f.logger.rotate(f.now);
    }
    let stem = "test.2026-11-27-09-14-35";
    for (name, row) in [("", "x\t1"), ("-2", "x\t2"), ("-3", "x\t3")] {
        assert_eq!(f.rows(&format!("{stem}{name}.log")), [row]);
    }
    assert!(!f.dir.path().join("test.log").exists());
    f.restart();
    f.numbered(2, &two_columns(), &[record("x", 2)]);
    assert_eq!(
        f.commit(),
        [(2, 1, 0)],
        "rotated batches are known after a restart"
    );
    assert!(!f.dir.path().join("test.log").exists());
}

#[test]
fn a_file_without_records_goes_on() {
    let mut f = Fixture::with(options(Some(HOUR), None));
    f.send(two_columns());
    f.commit();
    later(&mut f, 120);
    f.logger.rotate(f.now);
    assert_eq!(names(f.dir.path()), ["test.batches", "test.log"]);
    assert_eq!(
        f.logger.next_rotation(),
        Some("2026-11-27T12:00:00Z".parse().unwrap())
    );
    f.numbered(1, &two_columns(), &[record("one", 1)]);
    f.commit();
    later(&mut f, 60);
    f.logger.rotate(f.now);
    assert_eq!(f.rows("test.2026-11-27-11-14-35.log"), ["one\t1"]);
}

#[test]
fn closing_rotates_too_and_a_stream_may_have_a_rule_of_its_own() {
    let mut options = options(Some(HOUR), None);
    options.rotation.names = RotatedNames::Archiver;
    options.archive.command = vec!["true".to_owned()];
    let mut quiet = options.clone();
    quiet
        .stream_rules
        .insert("Test::LOG".to_owned(), RotationRule::default());
    for (options, expected) in [
        (
            options,
            "test__2026-11-27-09-14-35__2026-11-27-09-19-35__log_suffix=logger-1__",
        ),
        (quiet, "test"),
    ] {
        let mut f = Fixture::with(options);
        f.numbered(1, &two_columns(), &[record("one", 1)]);
        f.commit();
        later(&mut f, 5);
        let now = f.now;
        let elsewhere = tempfile::tempdir().unwrap();
        let none = LoggerOptions::default();
        let other = open(elsewhere.path(), &none, SharedCounters::default(), now).unwrap();
        let rotated = std::mem::replace(&mut f.logger, other).close(now);
        let found = names(f.dir.path());
        if expected == "test" {
            assert_eq!(found, ["test.batches", "test.log"]);
            assert_eq!(rotated, []);
        } else {
            let all = ["batches", "log", "pending"].map(|end| format!("{expected}.{end}"));
            assert_eq!(found, all);
            assert!(rotated[0].terminating);
            assert_eq!(
                rotated[0].file,
                f.dir.path().join(format!("{expected}.log"))
            );
        }
    }
}

#[test]
fn leftovers_of_a_kill_are_rotated_or_gone_on_in() {
    for leftovers in [true, false] {
        let mut options = options(Some(HOUR), None);
        options.rotation.leftovers = leftovers;
        let mut f = Fixture::with(options);
        f.numbered(1, &two_columns(), &[record("one", 1)]);
        f.commit();
        // Killed in the middle of the next line.
        let path = f.dir.path().join("test.log");
        let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
        io::Write::write_all(&mut file, b"half a li").unwrap();
        later(&mut f, 10);
        f.restart();
        let rotated = f.dir.path().join("test.2026-11-27-09-14-35.log");
        if leftovers {
            let content = fs::read_to_string(rotated).unwrap();
            assert!(
                content.ends_with("one\t1\n#close\t2026-11-27-09-24-35\n"),
                "{content}"
            );
            assert!(!path.exists());
        } else {
            assert!(!rotated.exists());
            f.numbered(2, &two_columns(), &[record("two", 2)]);
            f.commit();
            assert_eq!(f.rows("test.log"), ["one\t1", "two\t2"]);
            later(&mut f, 40);
            f.logger.rotate(f.now);
            assert!(rotated.exists(), "it counts from when it was begun");
        }
        f.numbered(1, &two_columns(), &[record("one", 1)]);
        assert_eq!(f.commit(), [(1, 1, 0)]);
    }
}

#[test]
fn a_rotation_that_a_kill_interrupted_is_finished() {
    // Killed after the note, and after the file was renamed.
    for renamed in [false, true] {
        let mut f = Fixture::with(options(Some(HOUR), None));
        f.numbered(1, &two_columns(), &[record("one", 1)]);
        f.commit();
        let dir = f.dir.path().to_owned();
        let length = fs::metadata(dir.join("test.log")).unwrap().len();
        let mut journal = fs::OpenOptions::new()
            .append(true)
            .open(dir.join("test.batches"))
            .unwrap();
        io::Write::write_all(
            &mut journal,
            format!("rotate {length} test.then\n").as_bytes(),
        )
        .unwrap();
        if renamed {
            fs::rename(dir.join("test.log"), dir.join("test.then.log")).unwrap();
            let mut file = fs::OpenOptions::new()
                .append(true)
                .open(dir.join("test.then.log"))
                .unwrap();
            io::Write::write_all(&mut file, b"#clo").unwrap();
        }
        f.restart();
        assert_eq!(names(&dir), ["test.then.batches", "test.then.log"]);
        assert_eq!(f.rows("test.then.log"), ["one\t1"]);
        f.restart();
        assert_eq!(names(&dir), ["test.then.batches", "test.then.log"]);
        f.numbered(1, &two_columns(), &[record("one", 1)]);
        assert_eq!(f.commit(), [(1, 1, 0)]);
    }
}

#[test]
fn a_rotation_that_fails_is_tried_again_later_and_costs_no_record() {
    let rotated = tempfile::tempdir().unwrap();
    let mut options = options(Some(HOUR), None);
    options.rotation.dir = Some(rotated.path().join("queue"));
    let mut f = Fixture::with(options);
    f.numbered(1, &two_columns(), &[record("one", 1)]);
    f.commit();
    fs::remove_dir(rotated.path().join("queue")).unwrap();
    fs::write(rotated.path().join("queue"), "in the way").unwrap();
    later(&mut f, 60);
    f.logger.rotate(f.now);
    f.numbered(2, &two_columns(), &[record("two", 2)]);
    assert_eq!(f.commit(), [(2, 1, 0)]);
    f.logger.rotate(f.now);
    assert_eq!(f.rows("test.log"), ["one\t1", "two\t2"]);
    fs::remove_file(rotated.path().join("queue")).unwrap();
    later(&mut f, 1);
    f.logger.rotate(f.now);
    assert_eq!(
        names(&rotated.path().join("queue")),
        ["test.2026-11-27-09-14-35.log"]
    );
    assert_eq!(names(f.dir.path()), ["test.2026-11-27-09-14-35.batches"]);
    f.restart();
    f.numbered(2, &two_columns(), &[record("two", 2)]);
    assert_eq!(f.commit(), [(2, 1, 0)]);
}

#[test]
fn journals_of_rotated_files_are_forgotten_when_they_are_old() {
    let mut options = options(None, Some(1));
    options.rotation.keep_batches = HOUR;
    let mut f = Fixture::with(options);
    f.now.wall = Timestamp::now();
    f.numbered(1, &two_columns(), &[record("one", 1)]);
    f.commit();
    f.logger.rotate(f.now);
    f.numbered(2, &two_columns(), &[record("two", 2)]);
    f.commit();
    f.restart();
    assert_eq!(names(f.dir.path()).len(), 4);
    later(&mut f, 61);
    f.restart();
    let left = names(f.dir.path());
    assert_eq!(left.len(), 3, "{left:?}");
    assert!(
        left.contains(&"test.batches".to_owned()),
        "that of an open file stays"
    );
}

#[test]
fn notes_of_files_that_were_not_archived_come_back() {
    let mut options = options(None, Some(1));
    options.archive = ArchiveOptions {
        gzip: Some(1),
        ..ArchiveOptions::default()
    };
    let mut f = Fixture::with(options);
    f.numbered(1, &two_columns(), &[record("one", 1)]);
    f.commit();
    f.logger.rotate(f.now);
    let rotated = f.logger.take_rotated();
    assert_eq!(rotated.len(), 1);
    assert_eq!(f.logger.take_rotated(), []);
    f.restart();
    assert_eq!(f.logger.take_rotated(), rotated);
}

#[test]
fn a_receipt_goes_to_whom_the_batch_names() {
    let mut f = Fixture::new();
    let mut head = head(1);
    head.reply_to = EndpointId::from_bytes([9; 16]);
    let prefix = wire::entry_prefix("Test::LOG", "Log::WRITER_ASCII", "test");
    let mut entries = Vec::new();
    wire::push_entry(&prefix, &record("one", 1), &mut entries);
    let payload = wire::numbered_batch(head, &two_columns().to_data().to_bytes(), &entries, 1);
    for _ in 0..2 {
        f.logger.receive(&payload, Sender::Local, f.now);
        let to: Vec<EndpointId> = f
            .logger
            .commit(f.now)
            .into_iter()
            .map(|(to, _)| to)
            .collect();
        assert_eq!(to, [head.reply_to]);
    }
    assert_eq!(f.rows("test.log"), ["one\t1"]);
}
