//! Messages in, rows and receipts out, whatever comes.

mod of_zeek;
mod rotating;

use std::fs;

use broker_core::zeek::{LogCreate, LogField, LogWrite, MessageView, WriterInfo};
use broker_core::{Data, DataView, zeek};
use jiff::SignedDuration;
use proptest::prelude::*;

use super::super::wire;
use super::*;
use crate::log::LogValue;
use crate::log::{Column, serial};

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
        self.logger.receive(&payload, Sender::Local, self.now);
    }

    fn numbered(&mut self, number: u64, create: &LogCreate, records: &[Vec<u8>]) {
        let prefix = wire::entry_prefix("Test::LOG", "Log::WRITER_ASCII", "test");
        let mut entries = Vec::new();
        records
            .iter()
            .for_each(|record| wire::push_entry(&prefix, record, &mut entries));
        let create = create.to_data().to_bytes();
        let payload = wire::numbered_batch(head(number), &create, &entries, records.len() as u32);
        self.logger.receive(&payload, Sender::Local, self.now);
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
        f.logger.receive(&noise, Sender::Local, f.now);
        for (_, mut payload) in of_zeek::recorded() {
            let index = at.index(payload.len());
            payload[index] = value;
            f.logger.receive(&payload, Sender::Local, f.now);
            payload.truncate(cut.index(payload.len()));
            f.logger.receive(&payload, Sender::Local, f.now);
        }
        f.logger.commit(f.now);
        f.numbered(1, &two_columns(), &[record("one", 1)]);
        prop_assert_eq!(f.commit(), [(1, 1, 0)]);
    }
}

#[test]
fn a_batch_is_taken_from_its_writer_and_from_nobody_who_gives_itself_out_as_one() {
    let stranger = EndpointId::from_bytes([9; 16]);
    let spool = EndpointId::from_bytes([8; 16]);
    let present = |id: EndpointId| id == writer() || id == stranger;
    let from = |id| Sender::Peer {
        id,
        is_peer: &present,
    };
    let batch = |head: wire::BatchHead| {
        let prefix = wire::entry_prefix("Test::LOG", "Log::WRITER_ASCII", "test");
        let mut entries = Vec::new();
        wire::push_entry(&prefix, &record("row", head.number), &mut entries);
        wire::numbered_batch(head, &two_columns().to_data().to_bytes(), &entries, 1)
    };
    let mut f = Fixture::new();
    let now = f.now;
    let of_spool = |number, reply_to| wire::BatchHead {
        writer: spool,
        number,
        reply_to,
    };
    let elsewhere = wire::BatchHead {
        reply_to: stranger,
        ..head(1)
    };
    for (payload, sender) in [
        (batch(head(1)), from(stranger)),
        (batch(elsewhere), from(stranger)),
        (batch(head(1)), Sender::Client),
        (batch(of_spool(1, writer())), from(stranger)),
    ] {
        f.logger.receive(&payload, sender, now);
    }
    assert_eq!(f.commit(), []);
    f.logger.receive(&batch(head(1)), from(writer()), now);
    f.logger
        .receive(&batch(of_spool(1, writer())), from(writer()), now);
    assert_eq!(f.commit(), [(1, 1, 0), (1, 1, 0)]);
    assert_eq!(f.rows("test.log"), ["row\t1", "row\t1"]);
}
