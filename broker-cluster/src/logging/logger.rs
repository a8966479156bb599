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

mod committing;
mod opening;
mod receiving;
mod rotating;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use broker_core::{EndpointId, LogCounters, RateLimit};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use self::opening::Refusal;
pub(crate) use self::receiving::Sender;
use super::archive::Rotated;
use super::file::{self, LogFile, Mark};
use super::journal::{self, Entry};
use super::known::KnownBatches;
use super::lock::lock;
use super::options::LoggerOptions;
use super::rotation::Rotation;
use super::sink::{SinkFeed, SinkRecords};
use super::wire;
use crate::events::BatchReceipt;
use crate::log::{LogWriter, Schema, meta_time};

/// Logs of a logger: what a stream writes with one path and the same columns.
pub const MAX_LOGS: usize = 4096;
/// The name under which records of logs nobody announced are counted.
pub const UNKNOWN: &str = "(unknown)";
/// Formatted bytes that wait for [`Logger::commit`] before the driver should call it.
pub(crate) const COMMIT_BYTES: usize = 8 << 20;

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

/// So many complaints about what peers send, and so many about this machine, per interval.
const COMPLAINTS: u32 = 10;
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
