//! Messages in, rows and receipts out, whatever comes.

use std::fs;

use broker_core::zeek::{LogField, LogWrite, WriterInfo};
use broker_core::{Data, zeek};
use jiff::SignedDuration;
use proptest::prelude::*;

use super::*;
use crate::log::LogValue;

mod vanishing;

struct Fixture {
    dir: tempfile::TempDir,
    logger: Logger,
    counters: SharedCounters,
    options: LoggerOptions,
    now: Now,
}

fn open(
    dir: &Path,
    options: &LoggerOptions,
    counters: SharedCounters,
    now: Now,
) -> io::Result<Logger> {
    let mut logger = Logger::open(dir, "logger-1", options.clone(), Vec::new(), counters, now)?;
    logger.zone = TimeZone::UTC;
    Ok(logger)
}

/// 2026-11-27 09:14:35 UTC.
fn morning() -> Now {
    Now {
        instant: Instant::now(),
        wall: "2026-11-27T09:14:35Z".parse().unwrap(),
    }
}

impl Fixture {
    fn new() -> Self {
        Self::with(LoggerOptions::default())
    }

    fn with(options: LoggerOptions) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let counters = SharedCounters::default();
        let now = morning();
        let logger = open(dir.path(), &options, Arc::clone(&counters), now).unwrap();
        Self {
            dir,
            logger,
            counters,
            options,
            now,
        }
    }

    /// The same directory with a new process; the old one was killed or had closed.
    fn restart(&mut self) {
        let elsewhere = tempfile::tempdir().unwrap();
        // The lock of the old one goes with it.
        let none = LoggerOptions::default();
        self.logger = open(elsewhere.path(), &none, SharedCounters::default(), self.now).unwrap();
        let counters = Arc::clone(&self.counters);
        self.logger = open(self.dir.path(), &self.options, counters, self.now).unwrap();
    }

    fn send(&mut self, data: impl Into<Data>) {
        let payload = data.into().to_bytes();
        self.logger.receive(&payload, self.now);
    }

    fn numbered(&mut self, number: u64, create: &LogCreate, records: &[Vec<u8>]) {
        let prefix = wire::entry_prefix("Test::LOG", "Log::WRITER_ASCII", "test");
        let mut entries = Vec::new();
        records
            .iter()
            .for_each(|record| wire::push_entry(&prefix, record, &mut entries));
        let create = create.to_data().to_bytes();
        let payload = wire::numbered_batch(head(number), &create, &entries, records.len() as u32);
        self.logger.receive(&payload, self.now);
    }

    fn commit(&mut self) -> Vec<(u64, u64, u64)> {
        let receipts = self.logger.commit(self.now);
        receipts
            .into_iter()
            .map(|(to, receipt)| {
                assert_eq!(to, writer());
                (receipt.number, receipt.written, receipt.skipped)
            })
            .collect()
    }

    fn rows(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.dir.path().join(name)).unwrap();
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .map(str::to_owned)
            .collect()
    }

    fn counted(&self, stream: &str) -> LogCounters {
        self.counters
            .lock()
            .unwrap()
            .get(stream)
            .copied()
            .unwrap_or_default()
    }
}

fn head(number: u64) -> wire::BatchHead {
    wire::BatchHead {
        writer: writer(),
        number,
        reply_to: writer(),
    }
}

fn writer() -> EndpointId {
    EndpointId::from_bytes([4; 16])
}

fn create(columns: &[(&str, u64)]) -> LogCreate {
    let field = |(name, type_tag): &(&str, u64)| LogField {
        name: (*name).into(),
        type_tag: *type_tag,
        ..LogField::default()
    };
    LogCreate {
        stream: "Test::LOG".into(),
        writer: "Log::WRITER_ASCII".into(),
        info: WriterInfo {
            path: "test".into(),
            ..WriterInfo::default()
        },
        fields: columns.iter().map(field).collect(),
    }
}

fn two_columns() -> LogCreate {
    create(&[("msg", 7), ("num", 3)])
}

fn record(msg: &str, num: u64) -> Vec<u8> {
    let schema = [
        Column::new("msg", crate::log::ColumnType::parse("string").unwrap()),
        Column::new("num", crate::log::ColumnType::parse("count").unwrap()),
    ];
    let mut out = Vec::new();
    serial::encode(
        &[LogValue::String(msg.into()), LogValue::Count(num)],
        &schema,
        &mut out,
    )
    .unwrap();
    out
}

fn write(record: Vec<u8>) -> zeek::Message {
    zeek::Message::LogWrite(LogWrite {
        stream: "Test::LOG".into(),
        writer: "Log::WRITER_ASCII".into(),
        path: "test".into(),
        record: record.into(),
    })
}

#[test]
fn zeek_s_messages_become_rows() {
    let mut f = Fixture::new();
    f.send(two_columns());
    f.send(create(&[("other", 7)]));
    f.send(zeek::Message::Batch(vec![
        write(record("one", 1)),
        write(record("two", 2)),
    ]));
    f.send(write(record("three", 3)));
    assert_eq!(f.commit(), []);
    assert_eq!(f.rows("test.log"), ["one\t1", "two\t2", "three\t3"]);
    assert_eq!(
        f.counted("Test::LOG"),
        LogCounters {
            received: 3,
            written: 3,
            ..LogCounters::default()
        }
    );
    let now = f.now;
    let Fixture { dir, logger, .. } = f;
    logger.close(now);
    let text = fs::read_to_string(dir.path().join("test.log")).unwrap();
    assert!(
        text.starts_with("#separator \\x09\n")
            && text.lines().last().unwrap().starts_with("#close\t"),
        "{text}"
    );
}

#[test]
fn writes_of_unknown_logs_and_records_that_do_not_fit_are_counted_and_skipped() {
    let mut f = Fixture::new();
    f.send(write(record("early", 0)));
    f.send(two_columns());
    f.send(write(b"garbage".to_vec()));
    f.send(write(record("good", 1)));
    f.send(Data::from("no message"));
    f.commit();
    assert_eq!(f.rows("test.log"), ["good\t1"]);
    assert_eq!(f.counted(UNKNOWN).dropped, 1);
    let counted = f.counted("Test::LOG");
    assert_eq!(
        (counted.received, counted.written, counted.dropped),
        (2, 1, 1)
    );
}

/// The rules of the receiving side, row by row (zeek-cluster reference, 6.3 and 6.5): what comes behind the LogCreate of
/// `test`, the rows it makes, and what is counted as received and dropped.
#[test]
fn whatever_a_zeek_process_sends_is_treated_as_the_reference_says() {
    let good = || write(record("good", 1));
    let other = |change: fn(&mut LogWrite)| {
        let zeek::Message::LogWrite(mut write) = good() else {
            panic!("a write")
        };
        change(&mut write);
        zeek::Message::from(write)
    };
    let one_field = || {
        let column = [Column::new(
            "msg",
            crate::log::ColumnType::parse("string").unwrap(),
        )];
        let mut out = Vec::new();
        serial::encode(&[LogValue::String(b"x".to_vec())], &column, &mut out).unwrap();
        out
    };
    let trailing = [record("good", 1), b"trailing".to_vec()].concat();
    let cut_off = {
        let mut record = record("good", 1);
        record.pop();
        record
    };
    // Both fields say that they are counts.
    let other_type = {
        let mut record = record("good", 1);
        record[4..8].copy_from_slice(&3u32.to_be_bytes());
        record
    };
    let not_present = {
        let mut record = record("", 1);
        record[12] = 2;
        record.drain(13..17);
        record
    };
    let event = || zeek::Message::from(zeek::Event::new("e", vec![1u64.into()]));
    let update = || {
        zeek::Message::from(zeek::IdentifierUpdate {
            name: "Foo::x".into(),
            value: 5u64.into(),
        })
    };
    let batch = |messages: Vec<zeek::Message>| zeek::Message::Batch(messages).to_data();
    let broken = || Data::vector([Data::from(1u64), 3u64.into(), Data::vector([5u64])]);
    let with_broken = |mut messages: Vec<Data>, at: usize| {
        messages.insert(at, broken());
        Data::vector([Data::from(1u64), 5u64.into(), Data::Vector(messages)])
    };
    let none: &[&str] = &[];
    type Row<'a> = (&'a str, Data, &'a [&'a str], (u64, u64));
    let rows: Vec<Row<'_>> = vec![
        ("a write", good().to_data(), &["good\t1"], (1, 0)),
        (
            "a batch",
            batch(vec![good(), good()]),
            &["good\t1"; 2],
            (2, 0),
        ),
        ("a batch of none", batch(vec![]), none, (0, 0)),
        (
            "a batch in a batch",
            batch(vec![good(), zeek::Message::Batch(vec![good()])]),
            &["good\t1"; 2],
            (2, 0),
        ),
        (
            "events and updates among writes",
            batch(vec![event(), good(), update()]),
            &["good\t1"],
            (1, 0),
        ),
        ("an event", event().to_data(), none, (0, 0)),
        ("an update", update().to_data(), none, (0, 0)),
        (
            "a batch with a broken element in front",
            with_broken(vec![good().to_data()], 0),
            none,
            (0, 0),
        ),
        (
            "a batch with a broken element behind",
            with_broken(vec![good().to_data(), good().to_data()], 2),
            none,
            (0, 0),
        ),
        (
            "a batch in a batch, broken",
            with_broken(vec![batch(vec![good()])], 1),
            none,
            (0, 0),
        ),
        (
            "a create of the same log with other columns",
            create(&[("other", 7)]).to_data(),
            none,
            (0, 0),
        ),
        (
            "another number of fields",
            write(one_field()).to_data(),
            none,
            (1, 1),
        ),
        (
            "bytes behind the last field",
            write(trailing).to_data(),
            &["good\t1"],
            (1, 0),
        ),
        (
            "a record that is cut off",
            write(cut_off).to_data(),
            none,
            (1, 1),
        ),
        (
            "a field of another type",
            write(other_type).to_data(),
            none,
            (1, 1),
        ),
        (
            "an odd presence byte",
            write(not_present).to_data(),
            &["-\t1"],
            (1, 0),
        ),
        (
            "no record at all",
            write(Vec::new()).to_data(),
            none,
            (1, 1),
        ),
    ];
    for (what, data, expected, (received, dropped)) in rows {
        let mut f = Fixture::new();
        f.send(two_columns());
        f.send(data);
        assert_eq!(f.commit(), [], "{what}");
        assert_eq!(f.rows("test.log"), expected, "{what}");
        let counted = f.counted("Test::LOG");
        assert_eq!(
            (counted.received, counted.dropped),
            (received, dropped),
            "{what}"
        );
        assert_eq!(counted.written, received - dropped, "{what}");
        // It costs nobody the next record.
        f.send(good());
        f.commit();
        assert_eq!(f.rows("test.log").len(), expected.len() + 1, "{what}");
    }
    for (what, stray) in [
        (
            "another stream",
            other(|write| write.stream = "Other::LOG".into()),
        ),
        (
            "another writer",
            other(|write| write.writer = "Log::WRITER_NONE".into()),
        ),
        (
            "another path",
            other(|write| write.path = "elsewhere".into()),
        ),
    ] {
        let mut f = Fixture::new();
        f.send(two_columns());
        f.send(batch(vec![stray, good()]));
        f.commit();
        assert_eq!(f.rows("test.log"), ["good\t1"], "{what}");
        assert_eq!(
            (f.counted(UNKNOWN).received, f.counted(UNKNOWN).dropped),
            (1, 1),
            "{what}"
        );
        assert_eq!(
            fs::read_dir(f.dir.path()).unwrap().filter(is_log).count(),
            1,
            "{what}"
        );
    }
}

fn is_log(entry: &std::io::Result<fs::DirEntry>) -> bool {
    let path = entry.as_ref().unwrap().path();
    path.extension().is_some_and(|extension| extension == "log")
}

/// LogCreates that Zeek refuses or, in one case, does not survive (zeek-cluster reference, 6.3).
#[test]
fn a_create_that_cannot_be_used_makes_no_log_and_one_with_a_post_processor_does() {
    let with = |change: fn(&mut LogCreate)| {
        let mut create = two_columns();
        change(&mut create);
        create.to_data()
    };
    let untyped = |info: Data, fields: Data| {
        let (stream, writer) = (
            Data::enum_value("Test::LOG"),
            Data::enum_value("Log::WRITER_ASCII"),
        );
        let content = Data::vector([stream, writer, info, fields]);
        Data::vector([Data::from(1u64), 2u64.into(), content])
    };
    for (what, create) in [
        (
            "an unknown writer",
            with(|create| create.writer = "Log::WRITER_SQLITE".into()),
        ),
        (
            "a column of no type",
            with(|create| create.fields[1].type_tag = 8),
        ),
        (
            "a set of no element type",
            with(|create| create.fields[1].type_tag = 14),
        ),
        (
            "info of another shape",
            untyped(Data::None, Data::Vector(vec![])),
        ),
        (
            "columns of another shape",
            untyped(Data::Vector(vec![]), 5u64.into()),
        ),
    ] {
        let mut f = Fixture::new();
        f.send(create);
        f.send(write(record("good", 1)));
        f.commit();
        assert_eq!(
            fs::read_dir(f.dir.path()).unwrap().filter(is_log).count(),
            0,
            "{what}"
        );
        assert_eq!(f.counted(UNKNOWN).dropped, 1, "{what}");
    }
    let mut f = Fixture::new();
    f.send(with(|create| {
        create.info.post_processor = "no_such_function".into();
        create.info.rotation_interval = 3600.0;
    }));
    f.send(write(record("good", 1)));
    f.commit();
    assert_eq!(f.rows("test.log"), ["good\t1"]);
}

#[test]
fn a_numbered_batch_needs_no_log_create_and_is_acknowledged_when_it_is_in_the_file() {
    let mut f = Fixture::new();
    f.numbered(
        7,
        &two_columns(),
        &[record("one", 1), b"garbage".to_vec(), record("two", 2)],
    );
    assert_eq!(f.rows("test.log"), [""; 0]);
    assert_eq!(f.commit(), [(7, 2, 1)]);
    assert_eq!(f.rows("test.log"), ["one\t1", "two\t2"]);
}

#[test]
fn a_batch_that_comes_again_is_acknowledged_again_and_not_written_again() {
    let mut f = Fixture::new();
    f.numbered(1, &two_columns(), &[record("one", 1)]);
    f.numbered(1, &two_columns(), &[record("one", 1)]);
    assert_eq!(f.commit(), [(1, 1, 0), (1, 1, 0)]);
    f.restart();
    f.numbered(1, &two_columns(), &[record("one", 1)]);
    f.numbered(2, &two_columns(), &[record("two", 2)]);
    assert_eq!(f.commit().len(), 2);
    assert_eq!(f.rows("test.log"), ["one\t1", "two\t2"]);
    assert_eq!(f.counted("Test::LOG").duplicates, 2);
}

#[test]
fn what_was_not_acknowledged_before_a_kill_is_cut_off_at_the_restart() {
    let mut f = Fixture::new();
    f.numbered(1, &two_columns(), &[record("one", 1)]);
    f.commit();
    let path = f.dir.path().join("test.log");
    let mut text = fs::read(&path).unwrap();
    text.extend_from_slice(b"two\t2\nthr");
    fs::write(&path, text).unwrap();
    f.restart();
    assert_eq!(f.rows("test.log"), ["one\t1"]);
    f.numbered(2, &two_columns(), &[record("two", 2)]);
    assert_eq!(f.commit(), [(2, 1, 0)]);
    assert_eq!(f.rows("test.log"), ["one\t1", "two\t2"]);
}

#[test]
fn other_columns_of_our_writers_get_a_file_of_their_own() {
    let mut f = Fixture::new();
    f.numbered(1, &two_columns(), &[record("one", 1)]);
    let mut out = Vec::new();
    let column = [Column::new(
        "msg",
        crate::log::ColumnType::parse("string").unwrap(),
    )];
    serial::encode(&[LogValue::String(b"x".to_vec())], &column, &mut out).unwrap();
    f.numbered(2, &create(&[("msg", 7)]), &[out]);
    assert_eq!(f.commit().len(), 2);
    assert_eq!(
        (f.rows("test.log"), f.rows("test-2.log")),
        (vec!["one\t1".to_owned()], vec!["x".to_owned()])
    );
}

#[test]
fn paths_that_leave_the_directory_and_other_writers_are_refused_for_good() {
    let mut f = Fixture::new();
    for path in ["../test", "a/b", "", ".x", "/etc/passwd"] {
        let mut bad = two_columns();
        bad.info.path = path.into();
        f.send(bad);
    }
    let other = LogCreate {
        writer: "Log::WRITER_SQLITE".into(),
        ..two_columns()
    };
    f.numbered(3, &other, &[record("one", 1)]);
    f.numbered(4, &create(&[("weird", 8)]), &[record("one", 1)]);
    assert_eq!(f.commit(), [(3, 0, 1), (4, 0, 1)]);
    assert_eq!(fs::read_dir(f.dir.path()).unwrap().count(), 0);
}

#[test]
fn the_settings_of_a_log_choose_its_form() {
    let mut f = Fixture::new();
    let mut json = two_columns();
    json.info.config = vec![("use_json".into(), "T".into())];
    f.numbered(1, &json, &[record("one", 1)]);
    f.commit();
    assert_eq!(f.rows("test.log"), ["{\"msg\":\"one\",\"num\":1}"]);
}

#[test]
fn a_directory_has_one_logger_at_a_time() {
    let mut fixture = Fixture::new();
    let counters = SharedCounters::default();
    let second = open(fixture.dir.path(), &fixture.options, counters, fixture.now);
    let error = second.err().unwrap().to_string();
    assert!(error.ends_with("another logger writes here"), "{error}");
    fixture.restart();
}

#[test]
fn a_log_file_that_cannot_be_opened_is_named_with_the_reason_and_its_batch_waits() {
    let mut fixture = Fixture::new();
    fs::remove_dir(fixture.dir.path()).unwrap();
    let view = two_columns().to_data().to_bytes();
    let view = MessageView::parse(DataView::parse(&view).unwrap()).unwrap();
    let error = fixture
        .logger
        .create(view, true, fixture.now)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("test.log: ") && error.contains("No such file"),
        "{error}"
    );
    fixture.numbered(1, &two_columns(), &[record("a", 1)]);
    assert_eq!(fixture.commit(), []);
    fs::create_dir(fixture.dir.path()).unwrap();
    fixture.numbered(1, &two_columns(), &[record("a", 1)]);
    assert_eq!(fixture.commit(), [(1, 1, 0)]);
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = open(
        &file.path().join("x"),
        &LoggerOptions::default(),
        SharedCounters::default(),
        morning(),
    )
    .err()
    .unwrap()
    .to_string();
    assert!(error.starts_with("log directory "), "{error}");
}

/// Topic and payload of what a Zeek worker sent to a logger.
fn recorded() -> Vec<(String, Vec<u8>)> {
    let unhex = |hex: &str| {
        hex.as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    };
    let lines = include_str!("../../../tests/golden/cluster-worker-logger.txt")
        .lines()
        .filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.split_once(' ').unwrap())
        .map(|(topic, hex)| (topic.to_owned(), unhex(hex)))
        .collect()
}

#[test]
fn a_recorded_zeek_session_becomes_files() {
    let mut f = Fixture::new();
    for (_, payload) in recorded() {
        f.logger.receive(&payload, f.now);
    }
    assert_eq!(f.commit(), []);
    let rows = f.rows("cluster.log");
    assert!(
        rows[0]
            .ends_with("\tworker-1\tgot hello from proxy-1 (1f1121cc-7e66-5c48-a1b1-ec281372c494)"),
        "{rows:?}"
    );
    assert_eq!(f.rows("golden.log").len(), 2);
    assert_eq!(
        f.counted("Golden::LOG"),
        LogCounters {
            received: 2,
            written: 2,
            ..LogCounters::default()
        }
    );
    assert_eq!(f.counted(UNKNOWN), LogCounters::default());
}

#[test]
fn our_batches_are_byte_for_byte_those_of_zeek() {
    let mut batches = 0;
    for (_, payload) in recorded() {
        let MessageView::Batch(batch) =
            MessageView::parse(DataView::parse(&payload).unwrap()).unwrap()
        else {
            continue;
        };
        let mut entries = Vec::new();
        for message in batch.iter() {
            let MessageView::LogWrite {
                stream,
                writer,
                path,
                record,
            } = message
            else {
                panic!("a write")
            };
            let text = |bytes: &[u8]| std::str::from_utf8(bytes).unwrap().to_owned();
            wire::push_entry(
                &wire::entry_prefix(&text(stream), &text(writer), &text(path)),
                record,
                &mut entries,
            );
        }
        assert_eq!(wire::batch(&entries, batch.len() as u32), payload);
        batches += 1;
    }
    assert_eq!(batches, 3);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn nothing_a_peer_sends_can_stop_the_logger(
        at in any::<prop::sample::Index>(),
        value in any::<u8>(),
        cut in any::<prop::sample::Index>(),
        noise in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut f = Fixture::new();
        f.logger.receive(&noise, f.now);
        for (_, mut payload) in recorded() {
            let index = at.index(payload.len());
            payload[index] = value;
            f.logger.receive(&payload, f.now);
            payload.truncate(cut.index(payload.len()));
            f.logger.receive(&payload, f.now);
        }
        f.logger.commit(f.now);
        f.numbered(1, &two_columns(), &[record("one", 1)]);
        prop_assert_eq!(f.commit(), [(1, 1, 0)]);
    }
}

mod rotating {
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
        f.logger.receive(&[], again);
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
            f.logger.receive(&payload, f.now);
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
}
