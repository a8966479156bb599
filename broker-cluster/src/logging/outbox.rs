//! The writing side of remote logging: from records to batches, to a logger, to its receipt (reference,
//! zeek-cluster 1.8, 3.6 and 6.3).
//!
//! Each record goes to the next logger in turn, as in Zeek; one buffer per stream and logger collects them, and
//! all buffers of a stream go out when together they hold [`BATCH_RECORDS`] records or [`BATCH_BYTES`], or when the
//! flush timer runs.
//!
//! Towards a logger that offers receipts a batch is numbered and kept until the logger says that it is in the file.
//! When that logger goes down, or says nothing for [`RECEIPT_TIMEOUT`], the batch goes to another one. Towards other
//! loggers (Zeek's) it goes out as Zeek sends it, once. A batch for which there is no logger is kept for
//! [`OutboxOptions::hold`]; after that, and always outside a cluster, it goes to the stream's own topic, where whoever
//! subscribed gets it.
//!
//! With a disk spool a batch for which there is no logger goes there instead, or every batch ([`SpoolUse`]). As long as the
//! spool is not empty everything else goes there too, so that records stay in order, and batches are read from it
//! [`MAX_DRAINING`] at a time, in turn with those that are written; one is removed from it when it is where it belongs. A batch
//! for which the spool has no room waits here while a logger is up, and holds up the writers.
//!
//! A stream may also be written on this node, beside the loggers or instead of them.
//!
//! Holds no socket and no file and reads no clock: the driver calls, then drains [`Outbox::next_transmit`].
//!
//! **Invariant:** records accepted = written + dropped + spooled + buffered + in batches not done with. No more than
//! [`MAX_BATCHES`] batches are not done with, and where all go through the spool no more than [`MAX_SPOOLING`] are on their way
//! there, besides one per stream and logger that a flush adds; a full outbox refuses records until there is room.

mod collecting;
mod loggers;
mod receipts;
mod spooling;
mod transmit;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use broker_core::{EndpointId, LogCounters, Topic};
use bytes::Bytes;
use tokio::time::Instant;

use self::transmit::Ready;
pub(crate) use self::transmit::Transmit;
use super::spool::SpooledBatch;
use crate::pools::Pool;

/// Records of one stream that are collected before they are sent.
pub const BATCH_RECORDS: usize = 400;
/// Bytes of one stream that are collected before they are sent.
pub const BATCH_BYTES: usize = 4 << 20;
/// How often everything collected is sent.
pub const FLUSH_INTERVAL: Duration = Duration::from_secs(1);
/// How long a logger may take for a receipt.
pub const RECEIPT_TIMEOUT: Duration = Duration::from_secs(10);
/// Batches that are on their way or without a receipt, at most.
pub const MAX_BATCHES: usize = 64;
/// Their bytes at most.
pub const MAX_BATCH_BYTES: usize = 64 << 20;
/// How far the oldest batch without a receipt may be behind the newest: what a logger has to remember.
pub const MAX_SPAN: u64 = 2048;
/// Log streams of one process at most.
pub const MAX_STREAMS: usize = 4096;

/// Batches of the spool that are on their way to a logger at a time.
pub const MAX_DRAINING: usize = 16;

/// Batches on their way into a spool through which all go, at most: what the death of the process costs beside what is
/// buffered.
pub const MAX_SPOOLING: usize = 4;

/// Zeek's name for the sequence that deals log records over loggers.
const SEQUENCE: &str = "Cluster::rr_log_topic";

/// Where records may go.
pub(crate) struct OutboxOptions {
    /// This process, or its spool, which outlives it.
    pub(crate) writer: EndpointId,
    /// This process: where receipts go.
    pub(crate) reply_to: EndpointId,
    /// The first number to use.
    pub(crate) first_number: u64,
    /// What the spool is for.
    pub(crate) spool: SpoolUse,
    /// The loggers of the cluster; none outside a cluster.
    pub(crate) loggers: Option<Pool>,
    /// How long a batch waits for any logger to be up.
    pub(crate) hold: Duration,
}

/// Which batches go into the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SpoolUse {
    /// None: there is no spool.
    Never,
    /// Those for which no logger is up.
    WithoutLogger,
    /// All.
    Always,
}

/// Which log a stream's records go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StreamKey {
    pub(crate) stream: String,
    pub(crate) writer: String,
    pub(crate) path: String,
}

/// Where the records of a stream go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Switches {
    /// Into files of this node.
    pub(crate) local: bool,
    /// To the loggers.
    pub(crate) remote: bool,
    /// Nobody waits for its records at the end if there is no logger.
    pub(crate) expendable: bool,
}

/// The state of one process's remote logging.
pub(crate) struct Outbox {
    options: OutboxOptions,
    streams: Vec<Stream>,
    /// What each logger of the pool is at the moment, by its place in the pool.
    loggers: Vec<Option<Logger>>,
    next_number: u64,
    unacknowledged: BTreeMap<u64, Batch>,
    unacknowledged_bytes: usize,
    ready: VecDeque<Ready>,
    plain_pending: usize,
    /// Batches given a way, ever; and of those without a receipt the count at which each was.
    issued: u64,
    issues: BTreeSet<u64>,
    /// Batches in the spool that are not on their way.
    untaken: u64,
    /// Batches on their way into the spool.
    spooling: usize,
    /// Batches of the spool on their way to a logger.
    draining: usize,
    /// Batches for which the spool had no room, in order.
    crowded: VecDeque<u64>,
    /// The one of them that the spool is asked to take again.
    retrying: Option<u64>,
    /// It is the turn of a batch of the spool, not of one for it.
    unspool_turn: bool,
    /// A batch of the spool was asked for and has not come yet.
    unspooling: bool,
    /// The last batch of the spool could not be sent: no further one before the next tick.
    drain_paused: bool,
    /// Batches in the spool that a logger was given before, and may have.
    given: BTreeMap<u64, Given>,
    /// Which logger had a batch first, for batches done with lately.
    done: BTreeMap<u64, Receipted>,
}

struct Stream {
    key: StreamKey,
    /// The first stream of the same key, which counts what is in the spool.
    first: usize,
    switches: Switches,
    create: Bytes,
    prefix: Vec<u8>,
    topic: Topic,
    buffers: Vec<Buffer>,
    buffered: usize,
    buffered_bytes: usize,
    counters: LogCounters,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Local,
    /// By place in the pool.
    Logger(usize),
    /// No logger is up.
    Nobody,
    /// Outside a cluster: the stream's topic.
    Topic,
    /// The spool.
    Spool,
}

struct Buffer {
    target: Target,
    entries: Vec<u8>,
    records: u32,
}

#[derive(Clone, Copy)]
struct Logger {
    id: EndpointId,
    receipts: bool,
}

/// A numbered batch without a receipt.
struct Batch {
    stream: usize,
    target: Target,
    /// The LogCreate that goes with it.
    create: Bytes,
    /// The count of batches when it was given its way.
    issue: u64,
    /// Whether the spool has it, too.
    on_disk: bool,
    /// The logger that it was sent to last, by place in the pool.
    given: Option<usize>,
    entries: Bytes,
    records: u32,
    /// Since when it is with its target, or without one.
    since: Instant,
    /// Whether it is among what is ready to be sent.
    queued: bool,
}

struct Given {
    logger: usize,
    stream: usize,
    records: u32,
}

struct Receipted {
    stream: usize,
    logger: String,
}

/// Why a record is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Outbox {
    pub(crate) fn new(options: OutboxOptions) -> Self {
        let members = options
            .loggers
            .as_ref()
            .map_or(0, |pool| pool.nodes().len());
        Self {
            next_number: options.first_number,
            options,
            streams: Vec::new(),
            loggers: vec![None; members],
            issued: 0,
            issues: BTreeSet::new(),
            untaken: 0,
            spooling: 0,
            draining: 0,
            crowded: VecDeque::new(),
            retrying: None,
            unspool_turn: false,
            unspooling: false,
            drain_paused: false,
            unacknowledged: BTreeMap::new(),
            unacknowledged_bytes: 0,
            ready: VecDeque::new(),
            plain_pending: 0,
            given: BTreeMap::new(),
            done: BTreeMap::new(),
        }
    }

    /// Whether there is no room for another record before a receipt comes.
    pub(crate) fn is_full(&self) -> bool {
        let next = self.issued + 1;
        let oldest = self.issues.first().copied().unwrap_or(next);
        self.unacknowledged.len() + self.plain_pending >= MAX_BATCHES + self.draining
            || (self.options.spool == SpoolUse::Always
                && self.spooling + self.crowded.len() >= MAX_SPOOLING)
            || self.unacknowledged_bytes >= MAX_BATCH_BYTES
            || next - oldest >= MAX_SPAN
    }

    /// Whether nothing is buffered, on its way or without a receipt. What is in the spool does not count while no logger is
    /// up.
    pub(crate) fn is_idle(&self) -> bool {
        let drained = self.untaken == 0 && self.draining == 0;
        let nobody = self.loggers.iter().all(Option::is_none);
        let given_up =
            |stream: &Stream| nobody && stream.switches.expendable && !stream.switches.local;
        let done = |batch: &Batch| batch.on_disk || given_up(&self.streams[batch.stream]);
        self.unacknowledged.values().all(done)
            && self.plain_pending == 0
            && self.spooling == 0
            && self
                .streams
                .iter()
                .all(|stream| stream.buffered == 0 || given_up(stream))
            && (drained || nobody)
    }

    /// Counts everything that is not done with and not in the spool as dropped: the process ends.
    pub(crate) fn abandon(&mut self) {
        for batch in std::mem::take(&mut self.unacknowledged).into_values() {
            if !batch.on_disk && batch.target != Target::Local {
                self.streams[batch.stream].counters.dropped += u64::from(batch.records);
            }
        }
        self.issues.clear();
        self.unacknowledged_bytes = 0;
        self.draining = 0;
        self.crowded.clear();
        self.retrying = None;
        for stream in &mut self.streams {
            let buffers = std::mem::take(&mut stream.buffers);
            let remote = buffers
                .iter()
                .filter(|buffer| buffer.target != Target::Local);
            stream.counters.dropped += remote.map(|buffer| u64::from(buffer.records)).sum::<u64>();
            stream.buffered = 0;
            stream.buffered_bytes = 0;
        }
        for ready in std::mem::take(&mut self.ready) {
            if let Ready::Plain {
                stream,
                records,
                spooled: None,
                ..
            } = ready
            {
                self.plain_done(stream, records, 0, None);
            }
        }
        self.plain_pending = 0;
    }

    /// Counters of the streams that go to loggers, by stream id. What is written here the logger here counts.
    pub(crate) fn counters(&self) -> impl Iterator<Item = (&str, LogCounters)> {
        self.streams
            .iter()
            .filter(|stream| stream.switches.remote)
            .map(|stream| (stream.key.stream.as_str(), stream.counters))
    }

    fn insert(&mut self, number: u64, batch: Batch) {
        self.issued += 1;
        self.issues.insert(self.issued);
        self.unacknowledged_bytes += batch.entries.len();
        let issue = self.issued;
        self.unacknowledged.insert(number, Batch { issue, ..batch });
    }

    /// What is to be done for every batch that was taken out of those without a receipt.
    fn forget(&mut self, batch: &Batch) {
        self.unacknowledged_bytes -= batch.entries.len();
        self.issues.remove(&batch.issue);
        if batch.on_disk {
            self.draining = self.draining.saturating_sub(1);
        }
        if batch.target == Target::Spool && batch.queued {
            self.spooling = self.spooling.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests;
