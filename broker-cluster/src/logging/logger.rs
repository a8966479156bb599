//! The receiving side of remote logging: from log messages to files (reference, zeek-cluster 6.3).
//!
//! | what comes | what happens |
//! |---|---|
//! | LogCreate | columns of (stream, writer, path) are fixed and the file is opened; the first wins |
//! | LogWrite, Batch of them | records go to that file; unknown logs are counted and dropped |
//! | numbered batch (ours) | brings its LogCreate along; other columns than the first's go to a file of their own, `PATH-2`; acknowledged once it is in the file |
//!
//! Each record is checked against its columns: one that does not fit is skipped and counted. Paths come from peers, so
//! one that would leave the directory is refused. Other writers than Zeek's ASCII writer are refused too.
//!
//! Processing only formats; [`Logger::commit`] writes what has been collected, notes it in the journals, and only then
//! gives out receipts. Does file I/O, reads no clock and no socket.
//!
//! At most [`MAX_LOGS`] logs are open. What peers name is counted under [`UNKNOWN`] unless a log of that name is open.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use broker_core::zeek::{LogCreate, Message, MessageView};
use broker_core::{DataView, EndpointId, LogCounters, RateLimit};

use super::file::{self, LogFile, Mark};
use super::journal::{self, Entry};
use super::known::KnownBatches;
use super::wire;
use crate::events::{BatchReceipt, LOG_BATCH};
use crate::log::{Column, LogFormat, LogStyle, LogWriter, Schema, is_file_stem, meta_time, serial};

/// Log files open at a time.
pub const MAX_LOGS: usize = 1024;
/// The name under which records of logs nobody announced are counted.
pub const UNKNOWN: &str = "(unknown)";
/// Formatted bytes that wait for [`Logger::commit`] before the driver should call it.
pub(crate) const COMMIT_BYTES: usize = 8 << 20;

const ASCII_WRITER: &[u8] = b"Log::WRITER_ASCII";

/// Counters of a logger by stream id, shared with whoever reports them.
pub(crate) type SharedCounters = Arc<Mutex<BTreeMap<String, LogCounters>>>;

/// Writes the log files of one node.
pub(crate) struct Logger {
    dir: PathBuf,
    format: LogFormat,
    logs: Vec<OpenLog>,
    by_key: HashMap<Key, Vec<usize>>,
    stems: HashSet<String>,
    known: KnownBatches,
    /// Batches that came again, to be acknowledged again.
    again: Vec<(EndpointId, u64)>,
    receipts: Vec<(EndpointId, BatchReceipt)>,
    pending_bytes: usize,
    counters: SharedCounters,
    complaints: RateLimit,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    stream: Box<[u8]>,
    path: Box<[u8]>,
}

struct OpenLog {
    stream: String,
    schema: Arc<Schema>,
    writer: LogWriter,
    file: LogFile,
    data: Vec<u8>,
    marks: Vec<Mark>,
    waiting: Vec<(EndpointId, BatchReceipt)>,
    /// Records in `data` that came without a number.
    unnumbered: u64,
    /// Counted since the last commit.
    received: u64,
    skipped: u64,
}

/// Why a log is not written.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("failed to unpack remote log writer id {0:?}")]
    Writer(String),
    #[error("log path {0:?} is no file name")]
    Path(String),
    #[error("failed to convert remote log field #{0}")]
    Column(usize),
    #[error("more than {MAX_LOGS} logs")]
    TooMany,
    #[error("cannot open the log file")]
    File(#[from] io::Error),
}

impl Logger {
    /// A logger that writes into `dir`, which is created if need be. Files that a killed logger left there are cut to
    /// what it acknowledged.
    ///
    /// # Errors
    /// The directory cannot be created or read, or a journal in it is damaged.
    pub(crate) fn open(
        dir: &Path,
        format: LogFormat,
        counters: SharedCounters,
    ) -> io::Result<Self> {
        let named = |error: io::Error| {
            io::Error::new(
                error.kind(),
                format!("log directory {}: {error}", dir.display()),
            )
        };
        std::fs::create_dir_all(dir).map_err(named)?;
        let mut known = KnownBatches::default();
        for entry in std::fs::read_dir(dir).map_err(named)? {
            let journal_path = entry.map_err(named)?.path();
            if journal_path
                .extension()
                .is_some_and(|suffix| suffix == journal::SUFFIX)
            {
                recover(&journal_path, &mut known)?;
            }
        }
        Ok(Self {
            dir: dir.to_owned(),
            format,
            logs: Vec::new(),
            by_key: HashMap::new(),
            stems: HashSet::new(),
            known,
            again: Vec::new(),
            receipts: Vec::new(),
            pending_bytes: 0,
            counters,
            complaints: RateLimit::new(COMPLAINTS, COMPLAINT_INTERVAL),
        })
    }

    /// Takes one message, whatever it is; other messages than those about logs have no effect.
    pub(crate) fn receive(&mut self, payload: &[u8], now: Instant) {
        let view = DataView::parse(payload)
            .ok()
            .and_then(|view| MessageView::parse(view).ok());
        match view {
            Some(view) => self.message(view, now),
            None => self.complain(now, "received invalid broker message"),
        }
    }

    /// Whether so much waits that [`Logger::commit`] should be called.
    pub(crate) const fn should_commit(&self) -> bool {
        self.pending_bytes >= COMMIT_BYTES
    }

    /// Writes what waits and gives out the receipts for it.
    pub(crate) fn commit(&mut self, now: Instant) -> Vec<(EndpointId, BatchReceipt)> {
        self.pending_bytes = 0;
        for at in 0..self.logs.len() {
            self.commit_log(at, now);
        }
        for (writer, number) in std::mem::take(&mut self.again) {
            if let Some(receipt) = self.known.get(writer, number) {
                self.receipts.push((writer, receipt));
            }
        }
        std::mem::take(&mut self.receipts)
    }

    /// Closes all files in order. Call [`Logger::commit`] before, for the receipts.
    pub(crate) fn close(mut self, now: Instant) {
        let rest = self.commit(now);
        debug_assert!(rest.is_empty(), "commit was called before");
        let time = meta_time(&jiff::Zoned::now());
        for log in self.logs {
            let mut footer = Vec::new();
            log.writer.end(&time, &mut footer);
            let path = log.file.path().to_owned();
            if let Err(error) = log.file.close(&footer) {
                tracing::error!(file = %path.display(), %error, "cannot close log file");
            }
        }
    }

    fn message(&mut self, view: MessageView<'_>, now: Instant) {
        match view {
            MessageView::LogCreate { .. } => {
                if let Err(refusal) = self.create(view, false) {
                    self.complain(now, &refusal);
                }
            }
            MessageView::LogWrite {
                stream,
                writer,
                path,
                record,
            } => match self.find(stream, writer, path) {
                Some(at) => {
                    let written = self.record(at, record, now);
                    self.logs[at].unnumbered += u64::from(written);
                }
                None => self.count(UNKNOWN, |counters| {
                    counters.received += 1;
                    counters.dropped += 1;
                }),
            },
            MessageView::Batch(batch) => {
                for message in batch.iter() {
                    self.message(message, now);
                }
            }
            MessageView::Event {
                name, arguments, ..
            } if name == LOG_BATCH.as_bytes() => {
                let parts = wire::read_numbered(arguments);
                let batch =
                    parts.and_then(|(writer, number, batch)| match MessageView::parse(batch) {
                        Ok(MessageView::Batch(batch)) => Some((writer, number, batch)),
                        _ => None,
                    });
                match batch {
                    Some((writer, number, batch)) => {
                        self.numbered(writer, number, batch.iter(), batch.len(), now)
                    }
                    None => self.complain(now, "received invalid log batch"),
                }
            }
            MessageView::Event { .. } | MessageView::IdentifierUpdate { .. } => {}
        }
    }

    fn numbered<'a>(
        &mut self,
        writer: EndpointId,
        number: u64,
        mut messages: impl Iterator<Item = MessageView<'a>>,
        len: usize,
        now: Instant,
    ) {
        let records = len.saturating_sub(1) as u64;
        let create = messages.next();
        if self.known.get(writer, number).is_some() {
            let stream = match create {
                Some(MessageView::LogCreate { stream, .. }) => {
                    String::from_utf8_lossy(stream).into_owned()
                }
                _ => UNKNOWN.to_owned(),
            };
            self.count(&stream, |counters| counters.duplicates += records);
            self.again.push((writer, number));
            return;
        }
        let opened = match create {
            Some(create @ MessageView::LogCreate { .. }) => self.create(create, true),
            _ => Err(Refusal::Writer(String::new())),
        };
        let at = match opened {
            Ok(at) => at,
            Err(refusal) => {
                // The disk may have room again, or another logger: no receipt, so the batch comes again or goes there.
                if !matches!(refusal, Refusal::File(_)) {
                    let receipt = BatchReceipt {
                        number,
                        written: 0,
                        skipped: records,
                    };
                    self.known.insert(writer, receipt);
                    self.receipts.push((writer, receipt));
                    self.count(UNKNOWN, |counters| {
                        counters.received += records;
                        counters.dropped += records;
                    });
                }
                self.complain(now, &refusal);
                return;
            }
        };
        let mut written = 0;
        for message in messages {
            if let MessageView::LogWrite { record, .. } = message {
                written += u64::from(self.record(at, record, now));
            }
        }
        let receipt = BatchReceipt {
            number,
            written,
            skipped: records - written.min(records),
        };
        self.known.insert(writer, receipt);
        let log = &mut self.logs[at];
        log.marks.push(Mark {
            writer,
            number,
            records: written,
            end: log.data.len(),
        });
        log.waiting.push((writer, receipt));
    }

    /// Formats one record behind those that wait. Whether it fits its columns.
    fn record(&mut self, at: usize, record: &[u8], now: Instant) -> bool {
        let log = &mut self.logs[at];
        log.received += 1;
        match serial::decode(record, &log.schema.columns) {
            Ok(values) => {
                let before = log.data.len();
                log.writer.record(&values, &mut log.data);
                self.pending_bytes += log.data.len() - before;
                true
            }
            Err(error) => {
                log.skipped += 1;
                let complaint = format!("log record of {} skipped: {error}", log.stream);
                self.complain(now, &complaint);
                false
            }
        }
    }

    /// The log for these columns: one that is open, or a new one. Without `own_file` the first log of the key is it,
    /// whatever its columns.
    fn create(&mut self, view: MessageView<'_>, own_file: bool) -> Result<usize, Refusal> {
        let MessageView::LogCreate { stream, writer, .. } = view else {
            return Err(Refusal::Writer(String::new()));
        };
        if writer != ASCII_WRITER {
            return Err(Refusal::Writer(
                String::from_utf8_lossy(writer).chars().take(64).collect(),
            ));
        }
        let Ok(Message::LogCreate(create)) = Message::from_parts(view) else {
            return Err(Refusal::Column(0));
        };
        let key = Key {
            stream: stream.into(),
            path: create.info.path.as_slice().into(),
        };
        if let Some(open) = self.by_key.get(&key) {
            if !own_file {
                return Ok(open[0]);
            }
            if let Some(at) = open
                .iter()
                .copied()
                .find(|&at| same_columns(&self.logs[at].schema, &create))
            {
                return Ok(at);
            }
        }
        if self.logs.len() >= MAX_LOGS {
            return Err(Refusal::TooMany);
        }
        let at = self.open_log(&create)?;
        self.by_key.entry(key).or_default().push(at);
        Ok(at)
    }

    fn open_log(&mut self, create: &LogCreate) -> Result<usize, Refusal> {
        let path = create.info.path.to_str().filter(|path| is_file_stem(path));
        let path = path
            .ok_or_else(|| {
                Refusal::Path(create.info.path.to_str_lossy().chars().take(64).collect())
            })?
            .to_owned();
        let schema = Arc::new(Schema {
            path,
            columns: columns(create)?,
        });
        let mut style = LogStyle::of(self.format);
        for (name, value) in &create.info.config {
            if let (Some(name), Some(value)) = (name.to_str(), value.to_str())
                && let Err(error) = style.set(name, value)
            {
                tracing::warn!(path = schema.path, %error, "log setting ignored");
            }
        }
        let writer = LogWriter::new(style, Arc::clone(&schema));
        let mut header = Vec::new();
        writer.begin(&meta_time(&jiff::Zoned::now()), &mut header);
        let stem = self.free_stem(&schema.path);
        let file = LogFile::open(&self.dir, &stem, &header)?;
        self.stems.insert(stem);
        let stream = create.stream.to_str_lossy().into_owned();
        self.counters
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(stream.clone())
            .or_default();
        self.logs.push(OpenLog {
            stream,
            schema,
            writer,
            file,
            data: Vec::new(),
            marks: Vec::new(),
            waiting: Vec::new(),
            unnumbered: 0,
            received: 0,
            skipped: 0,
        });
        Ok(self.logs.len() - 1)
    }

    /// `path`, or the first of `path-2`, `path-3`, … that no open log has.
    fn free_stem(&self, path: &str) -> String {
        let numbered = (2_usize..).map(|number| format!("{path}-{number}"));
        std::iter::once(path.to_owned())
            .chain(numbered)
            .find(|stem| !self.stems.contains(stem))
            .expect("there are more numbers than open logs")
    }

    fn find(&mut self, stream: &[u8], writer: &[u8], path: &[u8]) -> Option<usize> {
        if writer != ASCII_WRITER {
            return None;
        }
        let key = Key {
            stream: stream.into(),
            path: path.into(),
        };
        self.by_key.get(&key)?.first().copied()
    }

    fn commit_log(&mut self, at: usize, now: Instant) {
        let log = &mut self.logs[at];
        if log.received == 0 && log.marks.is_empty() {
            return;
        }
        if log.unnumbered > 0 {
            log.marks.push(Mark {
                writer: EndpointId::NIL,
                number: 0,
                records: log.unnumbered,
                end: log.data.len(),
            });
        }
        let result = log.file.append(&log.data, &log.marks);
        let mut change = LogCounters {
            received: log.received,
            dropped: log.skipped,
            ..LogCounters::default()
        };
        let waiting = std::mem::take(&mut log.waiting);
        match &result {
            Ok(()) => change.written = log.received - log.skipped,
            Err(_) => {
                // Numbered batches come again, and are counted then.
                change.received = log.unnumbered;
                change.dropped = log.unnumbered;
            }
        }
        log.data.clear();
        log.marks.clear();
        (log.unnumbered, log.received, log.skipped) = (0, 0, 0);
        let stream = log.stream.clone();
        let file = log.file.path().display().to_string();
        self.count(&stream, |counters| {
            counters.received += change.received;
            counters.written += change.written;
            counters.dropped += change.dropped;
        });
        match result {
            Ok(()) => self.receipts.extend(waiting),
            Err(error) => {
                for (writer, receipt) in waiting {
                    self.known.remove(writer, receipt.number);
                }
                self.complain(now, &format_args!("cannot write {file}: {error}"));
            }
        }
    }

    /// Counts for a stream with an open log; for another one under [`UNKNOWN`].
    fn count(&self, stream: &str, change: impl FnOnce(&mut LogCounters)) {
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        let name = if counters.contains_key(stream) {
            stream
        } else {
            UNKNOWN
        };
        match counters.get_mut(name) {
            Some(entry) => change(entry),
            None => change(counters.entry(name.to_owned()).or_default()),
        }
    }

    fn complain(&mut self, now: Instant, what: &(impl std::fmt::Display + ?Sized)) {
        if let Some(suppressed) = self.complaints.check(now) {
            tracing::warn!(suppressed, "{what}");
        }
    }
}

/// Cuts one file to what its journal knows, and learns which batches it has.
fn recover(journal_path: &Path, known: &mut KnownBatches) -> io::Result<()> {
    let path = journal_path.with_extension("log");
    if path.exists() {
        file::repair(&path, journal_path)?;
    }
    journal::read(journal_path, |entry| {
        if let Entry::Batch {
            writer,
            number,
            records,
            ..
        } = entry
            && !writer.is_nil()
        {
            // How many records the batch had beyond those written is not noted; its writer knows.
            known.insert(
                writer,
                BatchReceipt {
                    number,
                    written: records,
                    skipped: 0,
                },
            );
        }
    })?;
    Ok(())
}

fn columns(create: &LogCreate) -> Result<Vec<Column>, Refusal> {
    let column = |(number, field): (usize, &broker_core::zeek::LogField)| {
        field
            .name
            .to_str()
            .and_then(|name| Column::from_wire(name, field.type_tag, field.subtype, field.optional))
            .ok_or(Refusal::Column(number + 1))
    };
    create.fields.iter().enumerate().map(column).collect()
}

fn same_columns(schema: &Schema, create: &LogCreate) -> bool {
    schema.columns.len() == create.fields.len()
        && schema
            .columns
            .iter()
            .zip(&create.fields)
            .all(|(column, field)| {
                let (name, ty, element, _) = column.to_wire();
                field.name.as_slice() == name.as_bytes()
                    && (field.type_tag, field.subtype) == (ty, element)
            })
}

/// So many complaints about what peers send, per interval.
const COMPLAINTS: u32 = 10;
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::fs;

    use broker_core::zeek::{LogField, LogWrite, WriterInfo};
    use broker_core::{Data, zeek};
    use proptest::prelude::*;

    use super::*;
    use crate::log::LogValue;

    struct Fixture {
        dir: tempfile::TempDir,
        logger: Logger,
        counters: SharedCounters,
        now: Instant,
    }

    impl Fixture {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let counters = SharedCounters::default();
            let logger = Logger::open(dir.path(), LogFormat::Tsv, Arc::clone(&counters)).unwrap();
            Self {
                dir,
                logger,
                counters,
                now: Instant::now(),
            }
        }

        /// The same directory with a new process; the old one was killed or had closed.
        fn restart(&mut self) {
            self.logger =
                Logger::open(self.dir.path(), LogFormat::Tsv, Arc::clone(&self.counters)).unwrap();
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
            let payload =
                wire::numbered_batch(writer(), number, &create, &entries, records.len() as u32);
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
    fn a_directory_that_cannot_be_made_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = Logger::open(
            &file.path().join("x"),
            LogFormat::Tsv,
            SharedCounters::default(),
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
        let lines = include_str!("../../tests/golden/cluster-worker-logger.txt")
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
            rows[0].ends_with(
                "\tworker-1\tgot hello from proxy-1 (1f1121cc-7e66-5c48-a1b1-ec281372c494)"
            ),
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
}
