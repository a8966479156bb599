//! Files that somebody takes away, and more logs than may be open.

use super::super::opening::{MAX_OPEN, MAX_SCHEMAS};
use super::*;

fn numbered_row(f: &mut Fixture, number: u64, text: &str) {
    f.numbered(number, &two_columns(), &[record(text, number)]);
    assert_eq!(f.commit(), [(number, 1, 0)]);
}

#[test]
fn what_is_acknowledged_after_the_file_was_removed_is_in_a_new_one() {
    let mut f = Fixture::new();
    numbered_row(&mut f, 1, "before");
    fs::remove_file(f.dir.path().join("test.log")).unwrap();
    numbered_row(&mut f, 2, "after");
    assert_eq!(f.rows("test.log"), ["after\t2"]);
    // Batches that were in the removed file stay known: nobody wants them in twice.
    f.numbered(1, &two_columns(), &[record("before", 1)]);
    assert_eq!(f.commit(), [(1, 1, 0)]);
    assert_eq!(f.rows("test.log"), ["after\t2"]);
}

#[test]
fn a_file_that_was_moved_away_keeps_what_it_has_and_a_new_one_gets_the_rest() {
    let mut f = Fixture::new();
    numbered_row(&mut f, 1, "before");
    fs::rename(
        f.dir.path().join("test.log"),
        f.dir.path().join("test.log.1"),
    )
    .unwrap();
    numbered_row(&mut f, 2, "after");
    assert_eq!(f.rows("test.log.1"), ["before\t1"]);
    assert_eq!(f.rows("test.log"), ["after\t2"]);
    f.restart();
    numbered_row(&mut f, 3, "later");
    assert_eq!(f.rows("test.log"), ["after\t2", "later\t3"]);
}

#[test]
fn a_directory_that_was_removed_is_made_and_locked_again() {
    let mut f = Fixture::new();
    numbered_row(&mut f, 1, "before");
    fs::remove_dir_all(f.dir.path()).unwrap();
    numbered_row(&mut f, 2, "after");
    assert_eq!(f.rows("test.log"), ["after\t2"]);
    let other = open(
        f.dir.path(),
        &f.options,
        SharedCounters::default(),
        morning(),
    );
    assert!(other.is_err(), "the logger still has it");
    let now = f.now;
    let Fixture { dir, logger, .. } = f;
    logger.close(now);
    let text = fs::read_to_string(dir.path().join("test.log")).unwrap();
    assert!(text.lines().last().unwrap().starts_with("#close\t"));
}

#[test]
fn a_file_without_its_journal_is_moved_aside_and_rotation_goes_on() {
    let mut f = Fixture::with(LoggerOptions {
        rotation: crate::logging::RotationOptions {
            rule: crate::logging::RotationRule {
                interval: Some(Duration::from_secs(3600)),
                ..crate::logging::RotationRule::default()
            },
            ..crate::logging::RotationOptions::default()
        },
        ..LoggerOptions::default()
    });
    numbered_row(&mut f, 1, "before");
    fs::remove_file(f.dir.path().join("test.batches")).unwrap();
    f.now.wall += SignedDuration::from_hours(1);
    let now = f.now;
    f.logger.rotate(now);
    numbered_row(&mut f, 2, "after");
    assert_eq!(f.rows("test.1.log"), ["before\t1"]);
    f.now.wall += SignedDuration::from_hours(1);
    let now = f.now;
    f.logger.rotate(now);
    assert!(!f.dir.path().join("test.log").exists(), "it was rotated");
}

#[test]
fn more_logs_than_files_may_be_open_are_all_written_and_closed() {
    let mut f = Fixture::new();
    let logs = MAX_OPEN + 16;
    for round in 0..2 {
        for log in 0..logs {
            let mut create = two_columns();
            create.info.path = format!("log-{log}").as_str().into();
            let number = (round * logs + log + 1) as u64;
            f.numbered(number, &create, &[record("row", round as u64)]);
        }
        let receipts = f.commit();
        assert_eq!(receipts.len(), logs);
        assert!(receipts.iter().all(|receipt| receipt.1 == 1));
        let parked = |log: &&OpenLog| log.file.as_ref().is_some_and(LogFile::is_parked);
        assert_eq!(f.logger.logs.iter().filter(parked).count(), 16);
    }
    for log in 0..logs {
        assert_eq!(f.rows(&format!("log-{log}.log")), ["row\t0", "row\t1"]);
    }
    let now = f.now;
    let Fixture { dir, logger, .. } = f;
    logger.close(now);
    for log in 0..logs {
        let text = fs::read_to_string(dir.path().join(format!("log-{log}.log"))).unwrap();
        assert!(
            text.lines().last().unwrap().starts_with("#close\t"),
            "{log}"
        );
    }
}

#[test]
fn columns_beyond_what_a_logger_keeps_are_refused_and_those_it_has_go_on() {
    let mut f = Fixture::new();
    let long = "x".repeat(1 << 20);
    let mut wide = 0;
    while f.logger.schemas <= MAX_SCHEMAS - (2 << 20) {
        wide += 1;
        let mut create = create(&[(&long, 7)]);
        create.info.path = format!("wide-{wide}").as_str().into();
        f.send(create);
    }
    let before = f.logger.logs.len();
    let mut last = create(&[(&format!("{long}{long}"), 7)]);
    last.info.path = "last".into();
    f.send(last);
    assert_eq!(f.logger.logs.len(), before);
    numbered_row(&mut f, 1, "small");
    assert_eq!(f.rows("test.log"), ["small\t1"]);
}
