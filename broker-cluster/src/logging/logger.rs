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
//! A file that is due is rotated between two commits ([`Logger::rotate`]); its log gets a new file with its next record.
//!
//! There are at most [`MAX_LOGS`] logs, of which a part has its file open. A file that somebody removed or moved away is noticed before
//! the next record is written. What peers name is counted under [`UNKNOWN`] unless a log of that name is open.

mod rotating;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use broker_core::zeek::{LogCreate, Message, MessageView};
use broker_core::{DataView, EndpointId, LogCounters, RateLimit};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use super::archive::Rotated;
use super::file::{self, LogFile, Mark};
use super::journal::{self, Entry};
use super::known::KnownBatches;
use super::lock::{is_locked_by, lock};
use super::options::LoggerOptions;
use super::rotation::Rotation;
use super::sink::{SinkFeed, SinkRecords};
use super::wire;
use crate::events::{BatchReceipt, LOG_BATCH};
use crate::log::{
    Column, LogStyle, LogWriter, MAX_COLUMNS, Schema, is_file_stem, meta_time, serial,
};

/// Logs of a logger: what a stream writes with one path and the same columns.
pub const MAX_LOGS: usize = 4096;
/// What the columns of all logs may take together, in bytes.
const MAX_SCHEMAS: usize = 64 << 20;
/// Log files open at a time; those least recently written give their descriptors up. Each takes two, and a process has 1024 by
/// default: peers must not be able to use up those that connections need.
const MAX_OPEN: usize = 384;
/// The name under which records of logs nobody announced are counted.
pub const UNKNOWN: &str = "(unknown)";
/// Formatted bytes that wait for [`Logger::commit`] before the driver should call it.
pub(crate) const COMMIT_BYTES: usize = 8 << 20;

const ASCII_WRITER: &[u8] = b"Log::WRITER_ASCII";

/// Counters of a logger by stream id, shared with whoever reports them.
pub(crate) type SharedCounters = Arc<Mutex<BTreeMap<String, LogCounters>>>;

/// What time it is, by both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// For intervals.
    pub(crate) instant: Instant,
    /// For what stands in files and their names.
    pub(crate) wall: Timestamp,
}

/// Writes the log files of one node.
pub(crate) struct Logger {
    dir: PathBuf,
    /// The directory, locked against another logger for as long as this one lives.
    lock: File,
    /// The node's name.
    node: String,
    options: LoggerOptions,
    zone: TimeZone,
    sinks: Vec<SinkFeed>,
    /// Rotated files nobody has been told of yet.
    rotated: Vec<Rotated>,
    logs: Vec<OpenLog>,
    by_key: HashMap<Key, Vec<usize>>,
    stems: HashSet<String>,
    known: KnownBatches,
    /// Batches that came again, to be acknowledged again.
    again: Vec<wire::BatchHead>,
    receipts: Vec<(EndpointId, BatchReceipt)>,
    pending_bytes: usize,
    /// What the columns of the logs take.
    schemas: usize,
    /// Counts the times that a log was written, which says which was written last.
    writes: u64,
    counters: SharedCounters,
    /// What peers do wrong.
    complaints: RateLimit,
    /// What this machine does wrong; apart, so that no peer can hide it.
    failures: RateLimit,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    stream: Box<[u8]>,
    path: Box<[u8]>,
}

struct OpenLog {
    stream: String,
    schema: Arc<Schema>,
    stem: String,
    writer: LogWriter,
    /// None from a rotation to the next record.
    file: Option<LogFile>,
    rotation: Option<Rotation>,
    data: Vec<u8>,
    marks: Vec<Mark>,
    waiting: Vec<Waiting>,
    /// The same records for the sinks, if one wants them.
    for_sinks: Option<SinkRecords>,
    /// [`Logger::writes`] when it was written last.
    written: u64,
    /// Records in `data` that came without a number.
    unnumbered: u64,
    /// Counted since the last commit.
    received: u64,
    skipped: u64,
}

/// A batch that is acknowledged once it is in the file.
struct Waiting {
    writer: EndpointId,
    reply_to: EndpointId,
    receipt: BatchReceipt,
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
    #[error("a log of {0} columns")]
    Columns(usize),
    #[error("a log stream id of {0} bytes")]
    Stream(usize),
    #[error("more than {MAX_LOGS} logs")]
    TooMany,
    #[error("the columns of all logs take more than {MAX_SCHEMAS} bytes")]
    TooLarge,
    #[error("cannot open log file {path}: {reason}")]
    File { path: String, reason: io::Error },
}

impl Logger {
    /// A logger that writes into `dir`, which is created if need be. Files that a killed logger left there are cut to
    /// what it acknowledged. `node` is the node's name.
    ///
    /// # Errors
    /// The directory cannot be created or read, another logger writes there, or a journal in it is damaged.
    pub(crate) fn open(
        dir: &Path,
        node: &str,
        options: LoggerOptions,
        sinks: Vec<SinkFeed>,
        counters: SharedCounters,
        now: Now,
    ) -> io::Result<Self> {
        let named = |error: io::Error| {
            io::Error::new(
                error.kind(),
                format!("log directory {}: {error}", dir.display()),
            )
        };
        std::fs::create_dir_all(dir).map_err(named)?;
        if let Some(rotated) = &options.rotation.dir {
            std::fs::create_dir_all(rotated).map_err(named)?;
        }
        // Repairing a file that is being written would cut off what is about to be acknowledged.
        let lock = lock(dir, "another logger").map_err(named)?;
        let mut logger = Self {
            dir: dir.to_owned(),
            lock,
            node: node.to_owned(),
            options,
            zone: TimeZone::system(),
            sinks,
            rotated: Vec::new(),
            logs: Vec::new(),
            by_key: HashMap::new(),
            stems: HashSet::new(),
            known: KnownBatches::default(),
            again: Vec::new(),
            receipts: Vec::new(),
            pending_bytes: 0,
            schemas: 0,
            writes: 0,
            counters,
            complaints: RateLimit::new(COMPLAINTS, COMPLAINT_INTERVAL),
            failures: RateLimit::new(COMPLAINTS, COMPLAINT_INTERVAL),
        };
        logger.take_over(now).map_err(named)?;
        Ok(logger)
    }

    /// Takes one message, whatever it is; other messages than those about logs have no effect.
    pub(crate) fn receive(&mut self, payload: &[u8], now: Now) {
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

    /// Writes what waits and gives out the receipts for it, each with the endpoint it is for.
    pub(crate) fn commit(&mut self, now: Now) -> Vec<(EndpointId, BatchReceipt)> {
        self.pending_bytes = 0;
        for at in 0..self.logs.len() {
            self.commit_log(at, now);
        }
        for again in std::mem::take(&mut self.again) {
            if let Some(receipt) = self.known.get(again.writer, again.number) {
                self.receipts.push((again.reply_to, receipt));
            }
        }
        std::mem::take(&mut self.receipts)
    }

    /// Closes all files in order, and rotates those that are rotated at all, as Zeek does at its end. Call [`Logger::commit`]
    /// before, for the receipts. Returns the rotated files.
    pub(crate) fn close(mut self, now: Now) -> Vec<Rotated> {
        let rest = self.commit(now);
        debug_assert!(rest.is_empty(), "commit was called before");
        let time = meta_time(&self.local(now));
        for at in 0..self.logs.len() {
            self.let_go(at);
            let log = &mut self.logs[at];
            if log.rotation.is_some() && log.file.as_ref().is_some_and(LogFile::has_records) {
                self.rotate_log(at, true, now);
            }
            let log = &mut self.logs[at];
            let Some(file) = log.file.take() else {
                continue;
            };
            let mut footer = Vec::new();
            log.writer.end(&time, &mut footer);
            let path = file.path().to_owned();
            if let Err(error) = file.close(&footer) {
                tracing::error!(file = %path.display(), %error, "cannot close log file");
            }
        }
        self.rotated
    }

    fn local(&self, now: Now) -> Zoned {
        now.wall.to_zoned(self.zone.clone())
    }

    fn message(&mut self, view: MessageView<'_>, now: Now) {
        match view {
            MessageView::LogCreate { .. } => {
                if let Err(refusal) = self.create(view, false, now) {
                    self.refuse(now, &refusal);
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
                let batch = parts.and_then(|parts| match MessageView::parse(parts.batch) {
                    Ok(MessageView::Batch(batch)) => Some((parts.head, batch)),
                    _ => None,
                });
                match batch {
                    Some((head, batch)) => self.numbered(head, batch.iter(), batch.len(), now),
                    None => self.complain(now, "received invalid log batch"),
                }
            }
            MessageView::Event { .. } | MessageView::IdentifierUpdate { .. } => {}
        }
    }

    fn numbered<'a>(
        &mut self,
        head: wire::BatchHead,
        mut messages: impl Iterator<Item = MessageView<'a>>,
        len: usize,
        now: Now,
    ) {
        let wire::BatchHead {
            writer,
            number,
            reply_to,
        } = head;
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
            self.again.push(head);
            return;
        }
        let opened = match create {
            Some(create @ MessageView::LogCreate { .. }) => self.create(create, true, now),
            _ => Err(Refusal::Writer(String::new())),
        };
        let at = match opened {
            Ok(at) => at,
            Err(refusal) => {
                // The disk may have room again, or another logger: no receipt, so the batch comes again or goes there.
                if !matches!(refusal, Refusal::File { .. }) {
                    let receipt = BatchReceipt {
                        number,
                        written: 0,
                        skipped: records,
                    };
                    self.known.insert(writer, receipt);
                    self.receipts.push((reply_to, receipt));
                    self.count(UNKNOWN, |counters| {
                        counters.received += records;
                        counters.dropped += records;
                    });
                }
                self.refuse(now, &refusal);
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
        log.waiting.push(Waiting {
            writer,
            reply_to,
            receipt,
        });
    }

    /// Formats one record behind those that wait. Whether it fits its columns.
    fn record(&mut self, at: usize, record: &[u8], now: Now) -> bool {
        let log = &mut self.logs[at];
        log.received += 1;
        match serial::decode(record, &log.schema.columns) {
            Ok(values) => {
                let before = log.data.len();
                log.writer.record(&values, &mut log.data);
                self.pending_bytes += log.data.len() - before;
                if let Some(for_sinks) = &mut log.for_sinks {
                    for_sinks.record(values);
                }
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
    fn create(
        &mut self,
        view: MessageView<'_>,
        own_file: bool,
        now: Now,
    ) -> Result<usize, Refusal> {
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
        if stream.len() > MAX_STREAM_ID {
            return Err(Refusal::Stream(stream.len()));
        }
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
        let at = self.open_log(&create, now)?;
        self.by_key.entry(key).or_default().push(at);
        Ok(at)
    }

    fn open_log(&mut self, create: &LogCreate, now: Now) -> Result<usize, Refusal> {
        let path = create.info.path.to_str().filter(|path| is_file_stem(path));
        let path = path
            .ok_or_else(|| {
                Refusal::Path(create.info.path.to_str_lossy().chars().take(64).collect())
            })?
            .to_owned();
        let columns = columns(create)?;
        let size = size_of_columns(&columns);
        if self.schemas + size > MAX_SCHEMAS {
            return Err(Refusal::TooLarge);
        }
        let schema = Arc::new(Schema { path, columns });
        let mut style = LogStyle::of(self.options.format);
        for (name, value) in &create.info.config {
            if let (Some(name), Some(value)) = (
                name.to_str(),
                value.to_str().filter(|value| value.len() <= MAX_SETTING),
            ) && let Err(error) = style.set(name, value)
            {
                tracing::warn!(path = schema.path, %error, "log setting ignored");
            }
        }
        let writer = LogWriter::new(style, Arc::clone(&schema));
        let stem = self.free_stem(&schema.path);
        let stream = create.stream.to_str_lossy().into_owned();
        let rule = self.options.rule_of(&stream);
        let opened = self.open_file(&writer, &stem, now.wall, now);
        let file = opened.map_err(|reason| Refusal::File {
            path: self.log_path(&stem).display().to_string(),
            reason,
        })?;
        self.schemas += size;
        self.stems.insert(stem.clone());
        let rotation = rule.is_on().then(|| {
            let opened = file.opened().to_zoned(self.zone.clone());
            Rotation::new(rule, self.options.rotation.base, &opened)
        });
        let for_sinks = SinkRecords::wanted(&self.sinks, &stream, &schema);
        self.counters
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(stream.clone())
            .or_default();
        self.logs.push(OpenLog {
            stream,
            schema,
            stem,
            writer,
            file: Some(file),
            rotation,
            data: Vec::new(),
            marks: Vec::new(),
            waiting: Vec::new(),
            for_sinks,
            written: self.writes,
            unnumbered: 0,
            received: 0,
            skipped: 0,
        });
        Ok(self.logs.len() - 1)
    }

    /// Opens a log's file, which counts from `since` on if it is new.
    fn open_file(
        &mut self,
        writer: &LogWriter,
        stem: &str,
        since: Timestamp,
        now: Now,
    ) -> io::Result<LogFile> {
        self.make_room();
        let mut header = Vec::new();
        writer.begin(&meta_time(&self.local(now)), &mut header);
        LogFile::open(&self.dir, stem, &self.options.suffix, &header, since)
    }

    /// Where the log of this stem is.
    fn log_path(&self, stem: &str) -> PathBuf {
        self.options.suffix.path(&self.dir, stem)
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

    fn commit_log(&mut self, at: usize, now: Now) {
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
        let result = self.append(at, now);
        let log = &mut self.logs[at];
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
        let stem = log.stem.clone();
        let for_sinks = log.for_sinks.as_mut().map(SinkRecords::take);
        self.count(&stream, |counters| {
            counters.received += change.received;
            counters.written += change.written;
            counters.dropped += change.dropped;
        });
        match result {
            Ok(()) => {
                let receipts = waiting
                    .into_iter()
                    .map(|batch| (batch.reply_to, batch.receipt));
                self.receipts.extend(receipts);
                if let Some(records) = for_sinks {
                    for sink in self.sinks.iter().filter(|sink| sink.wants(&stream)) {
                        sink.offer(&records);
                    }
                }
            }
            Err(error) => {
                for batch in waiting {
                    self.known.remove(batch.writer, batch.receipt.number);
                }
                let file = self.log_path(&stem);
                self.fail(
                    now,
                    &format_args!("cannot write {}: {error}", file.display()),
                );
            }
        }
    }

    /// Puts what waits for a log into its file, which is opened if need be.
    fn append(&mut self, at: usize, now: Now) -> io::Result<()> {
        self.let_go(at);
        match &self.logs[at].file {
            Some(file) if file.is_parked() => self.make_room(),
            Some(_) => {}
            None => {
                let wall = self.local(now);
                let rotation = self.logs[at].rotation.as_mut();
                let since = rotation.map_or(now.wall, |rotation| rotation.reopen(&wall));
                let log = &self.logs[at];
                let (writer, stem) = (log.writer.clone(), log.stem.clone());
                let file = self.open_file(&writer, &stem, since, now)?;
                self.logs[at].file = Some(file);
            }
        }
        self.writes += 1;
        let log = &mut self.logs[at];
        log.written = self.writes;
        let file = log.file.as_mut().expect("it was opened above");
        file.append(&log.data, &log.marks)
    }

    /// Lets a file go that somebody has removed or moved away, perhaps with its directory, so that the next record begins a new
    /// one: what was written to it would be nowhere, and acknowledged.
    fn let_go(&mut self, at: usize) {
        let log = &mut self.logs[at];
        let Some(gone) = log.file.take_if(|file| !file.stands()) else {
            return;
        };
        tracing::error!(
            file = %gone.path().display(),
            "the log file or its journal was removed or moved away; what was in it is where it went"
        );
        if is_locked_by(&self.dir, &self.lock) {
            return;
        }
        let made =
            std::fs::create_dir_all(&self.dir).and_then(|()| lock(&self.dir, "another logger"));
        match made {
            Ok(lock) => self.lock = lock,
            // Opening the file will fail, too.
            Err(error) => tracing::error!(dir = %self.dir.display(), %error, "log directory"),
        }
    }

    /// Makes room for one more open file.
    fn make_room(&mut self) {
        let open = |log: &&mut OpenLog| log.file.as_ref().is_some_and(|file| !file.is_parked());
        while self.logs.iter_mut().filter(open).count() >= MAX_OPEN {
            let oldest = self
                .logs
                .iter_mut()
                .filter(open)
                .min_by_key(|log| log.written);
            if let Some(file) = oldest.and_then(|log| log.file.as_mut()) {
                file.park();
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

    fn refuse(&mut self, now: Now, refusal: &Refusal) {
        match refusal {
            Refusal::File { .. } => self.fail(now, refusal),
            _ => self.complain(now, refusal),
        }
    }

    fn fail(&mut self, now: Now, what: &impl std::fmt::Display) {
        if let Some(suppressed) = self.failures.check(now.instant) {
            tracing::error!(suppressed, "{what}");
        }
    }

    fn complain(&mut self, now: Now, what: &(impl std::fmt::Display + ?Sized)) {
        if let Some(suppressed) = self.complaints.check(now.instant) {
            tracing::warn!(suppressed, "{what}");
        }
    }
}

/// Cuts one file to what its journal knows, and learns which batches it has. What is left of a file that was not closed.
fn recover(journal_path: &Path, known: &mut KnownBatches) -> io::Result<Option<file::Left>> {
    let left = file::repair(journal_path)?;
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
    Ok(left)
}

fn columns(create: &LogCreate) -> Result<Vec<Column>, Refusal> {
    if create.fields.len() > MAX_COLUMNS {
        return Err(Refusal::Columns(create.fields.len()));
    }
    let column = |(number, field): (usize, &broker_core::zeek::LogField)| {
        field
            .name
            .to_str()
            .and_then(|name| Column::from_wire(name, field.type_tag, field.subtype, field.optional))
            .ok_or(Refusal::Column(number + 1))
    };
    create.fields.iter().enumerate().map(column).collect()
}

/// About what they take in memory.
fn size_of_columns(columns: &[Column]) -> usize {
    columns
        .iter()
        .map(|column| size_of::<Column>() + column.name.len())
        .sum()
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

/// The longest stream id and the longest value of a setting that peers may name.
const MAX_STREAM_ID: usize = 1024;
const MAX_SETTING: usize = 1024;

/// So many complaints about what peers send, and so many about this machine, per interval.
const COMPLAINTS: u32 = 10;
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
