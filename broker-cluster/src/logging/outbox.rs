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

mod spooling;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use broker_core::{EndpointId, LogCounters, Topic};
use bytes::Bytes;
use tokio::time::Instant;

use super::spool::SpooledBatch;
use super::wire;
use crate::events::BatchReceipt;
use crate::pools::Pool;
use crate::topics;

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

/// Something to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Transmit {
    /// A numbered batch to the local logger.
    Local { payload: Bytes },
    /// A numbered batch to one logger.
    Numbered {
        logger: EndpointId,
        topic: Topic,
        payload: Bytes,
    },
    /// A batch as Zeek sends it, to whoever subscribed to `topic`. To be followed by [`Outbox::plain_done`].
    Plain {
        stream: usize,
        topic: Topic,
        payload: Bytes,
        records: u32,
        /// Its number in the spool, if it came from there.
        spooled: Option<u64>,
    },
    /// A batch for the spool. To be followed by [`Outbox::spooled`].
    Spool(SpooledBatch),
    /// The next batch of the spool is wanted. To be followed by [`Outbox::unspooled`].
    Unspool,
    /// A batch of the spool is where it belongs.
    SpoolDone { number: u64 },
    /// A batch of the spool is wanted again.
    SpoolAgain { number: u64 },
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

enum Ready {
    Numbered(u64),
    Plain {
        stream: usize,
        topic: Topic,
        entries: Bytes,
        records: u32,
        spooled: Option<u64>,
    },
    Spool(Transmit),
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

    /// Adds a stream; `create` is its encoded LogCreate. None: there are too many.
    pub(crate) fn add_stream(
        &mut self,
        key: StreamKey,
        create: Bytes,
        switches: Switches,
    ) -> Option<usize> {
        if self.streams.len() >= MAX_STREAMS {
            return None;
        }
        Some(self.push_stream(key, create, switches))
    }

    fn push_stream(&mut self, key: StreamKey, create: Bytes, switches: Switches) -> usize {
        let prefix = wire::entry_prefix(&key.stream, &key.writer, &key.path);
        let topic = topics::log_topic(key.stream.as_bytes());
        let same = self.streams.iter().position(|stream| stream.key == key);
        self.streams.push(Stream {
            first: same.unwrap_or(self.streams.len()),
            key,
            switches,
            create,
            prefix,
            topic,
            buffers: Vec::new(),
            buffered: 0,
            buffered_bytes: 0,
            counters: LogCounters::default(),
        });
        self.streams.len() - 1
    }

    /// The LogCreate of every stream for loggers and the topic it is announced on.
    pub(crate) fn creates(&self) -> Vec<(Topic, Bytes)> {
        self.streams
            .iter()
            .filter(|stream| stream.switches.remote)
            .map(|stream| (stream.topic.clone(), stream.create.clone()))
            .collect()
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

    /// Takes one record, as `serial_data`. A stream that is written nowhere takes it, too.
    pub(crate) fn write(&mut self, stream: usize, record: &[u8], now: Instant) -> Result<(), Full> {
        let switches = self.streams[stream].switches;
        if !switches.local && !switches.remote {
            return Ok(());
        }
        if self.is_full() {
            return Err(Full);
        }
        if switches.local {
            self.push(stream, record, Target::Local);
        }
        if switches.remote {
            let target = self.next_target();
            self.streams[stream].counters.received += 1;
            self.push(stream, record, target);
        }
        let state = &mut self.streams[stream];
        state.buffered += 1;
        state.buffered_bytes += record.len() + state.prefix.len();
        if state.buffered >= BATCH_RECORDS || state.buffered_bytes >= BATCH_BYTES {
            self.flush_stream(stream, now);
        }
        Ok(())
    }

    fn push(&mut self, stream: usize, record: &[u8], target: Target) {
        let state = &mut self.streams[stream];
        let buffer = buffer_for(&mut state.buffers, target);
        wire::push_entry(&state.prefix, record, &mut buffer.entries);
        buffer.records += 1;
    }

    /// A record that cannot be sent at all.
    pub(crate) fn refused(&mut self, stream: usize) {
        let counters = &mut self.streams[stream].counters;
        counters.received += 1;
        counters.dropped += 1;
    }

    /// Sends everything that is buffered.
    pub(crate) fn flush(&mut self, now: Instant) {
        for stream in 0..self.streams.len() {
            self.flush_stream(stream, now);
        }
    }

    /// Gives batches whose logger is silent to another one, and those nobody took to the stream's topic.
    pub(crate) fn tick(&mut self, now: Instant) {
        self.drain_paused = false;
        self.retry_crowded();
        let late: Vec<u64> = self
            .unacknowledged
            .iter()
            .filter(|(_, batch)| {
                let limit = if batch.target == Target::Nobody {
                    self.options.hold
                } else {
                    RECEIPT_TIMEOUT
                };
                now.saturating_duration_since(batch.since) >= limit
            })
            .map(|(number, _)| *number)
            .collect();
        for number in late {
            match self.unacknowledged.get(&number).map(|batch| batch.target) {
                Some(Target::Nobody) => self.give_up_on_loggers(number),
                Some(Target::Spool) | None => {}
                Some(target) => self.reassign(number, Some(target), now),
            }
        }
    }

    /// A logger of the pool came up. With `receipts` it acknowledges batches.
    pub(crate) fn logger_up(&mut self, name: &str, id: EndpointId, receipts: bool, now: Instant) {
        let Some(at) = self.member(name) else { return };
        self.loggers[at] = Some(Logger { id, receipts });
        self.drain_paused = false;
        if let Some(pool) = &mut self.options.loggers {
            pool.node_up(name);
        }
        let waiting: Vec<u64> = self
            .unacknowledged
            .iter()
            .filter(|(_, batch)| batch.target == Target::Nobody)
            .map(|(number, _)| *number)
            .collect();
        for number in waiting {
            self.reassign(number, None, now);
        }
        self.retarget_buffers(Target::Nobody);
    }

    /// A logger of the pool went down: what it has not acknowledged goes to others.
    pub(crate) fn logger_down(&mut self, name: &str, now: Instant) {
        let Some(at) = self.member(name) else { return };
        self.loggers[at] = None;
        if let Some(pool) = &mut self.options.loggers {
            pool.node_down(name);
        }
        let lost: Vec<u64> = self
            .unacknowledged
            .iter()
            .filter(|(_, batch)| batch.target == Target::Logger(at))
            .map(|(number, _)| *number)
            .collect();
        for number in lost {
            self.reassign(number, None, now);
        }
        self.retarget_buffers(Target::Logger(at));
    }

    /// A logger has a batch in its file.
    pub(crate) fn receipt(&mut self, logger: &str, receipt: BatchReceipt) {
        let number = receipt.number;
        if let Some(batch) = self.unacknowledged.remove(&number) {
            self.forget(&batch);
            // What is written here the logger here counts.
            if batch.target != Target::Local {
                self.count(batch.stream, batch.records, receipt);
            }
            if batch.on_disk {
                self.left_spool(batch.stream, batch.records);
                self.spool_done(number);
            }
            self.note_done(number, batch.stream, logger);
        } else if let Some(given) = self.given.remove(&number) {
            // Late, but before it was sent to another one.
            self.count(given.stream, given.records, receipt);
            self.untaken = self.untaken.saturating_sub(1);
            self.left_spool(given.stream, given.records);
            self.spool_done(number);
            self.note_done(number, given.stream, logger);
        } else if let Some(done) = self.done.get(&number).filter(|done| done.logger != logger) {
            // Two loggers have it: the first was slow, not dead.
            self.streams[done.stream].counters.duplicates += receipt.written;
        }
    }

    /// Counts what a receipt says. What a logger says about numbers is bounded by what it was given.
    fn count(&mut self, stream: usize, records: u32, receipt: BatchReceipt) {
        let written = receipt.written.min(u64::from(records));
        let counters = &mut self.streams[stream].counters;
        counters.written += written;
        counters.dropped += u64::from(records) - written;
    }

    fn note_done(&mut self, number: u64, stream: usize, logger: &str) {
        let logger = logger.to_owned();
        self.done.insert(number, Receipted { stream, logger });
        while self.done.len() as u64 > MAX_SPAN {
            self.done.pop_first();
        }
    }

    /// A batch without a number was published and reached so many peers. `spooled` is its number in the spool.
    pub(crate) fn plain_done(
        &mut self,
        stream: usize,
        records: u32,
        reached: usize,
        spooled: Option<u64>,
    ) {
        self.plain_pending = self.plain_pending.saturating_sub(1);
        if let Some(number) = spooled {
            self.draining = self.draining.saturating_sub(1);
            if reached == 0 {
                self.put_back(number);
                self.drain_paused = true;
                return;
            }
            self.left_spool(stream, records);
            self.spool_done(number);
        }
        let counters = &mut self.streams[stream].counters;
        if reached > 0 {
            counters.written += u64::from(records);
        } else {
            counters.dropped += u64::from(records);
        }
    }

    /// The next thing to send.
    pub(crate) fn next_transmit(&mut self) -> Option<Transmit> {
        loop {
            if (self.unspool_turn || self.ready.is_empty()) && self.wants_spooled() {
                self.unspool_turn = false;
                self.unspooling = true;
                return Some(Transmit::Unspool);
            }
            let next = self.ready.pop_front()?;
            match next {
                Ready::Spool(transmit) => return Some(transmit),
                Ready::Plain {
                    stream,
                    topic,
                    entries,
                    records,
                    spooled,
                } => {
                    return Some(Transmit::Plain {
                        stream,
                        topic,
                        payload: wire::batch(&entries, records),
                        records,
                        spooled,
                    });
                }
                Ready::Numbered(number) => {
                    let Some(batch) = self.unacknowledged.get_mut(&number) else {
                        if self.not_retrying(number) {
                            self.retry_crowded();
                        }
                        continue;
                    };
                    batch.queued = false;
                    if batch.target == Target::Spool
                        && !self.crowded.is_empty()
                        && self.retrying != Some(number)
                    {
                        // Not before those that wait already.
                        self.spooling = self.spooling.saturating_sub(1);
                        self.crowded.push_back(number);
                        continue;
                    }
                    let payload = || {
                        wire::numbered_batch(
                            wire::BatchHead {
                                writer: self.options.writer,
                                number,
                                reply_to: self.options.reply_to,
                            },
                            &batch.create,
                            &batch.entries,
                            batch.records,
                        )
                    };
                    match batch.target {
                        Target::Local => return Some(Transmit::Local { payload: payload() }),
                        Target::Logger(at) => {
                            let (Some(logger), Some(pool)) =
                                (self.loggers[at], &self.options.loggers)
                            else {
                                continue;
                            };
                            let topic = pool.nodes()[at].topic.clone();
                            batch.given = Some(at);
                            return Some(Transmit::Numbered {
                                logger: logger.id,
                                topic,
                                payload: payload(),
                            });
                        }
                        Target::Spool => {
                            self.unspool_turn = true;
                            return Some(Transmit::Spool(SpooledBatch {
                                key: self.streams[batch.stream].key.clone(),
                                number,
                                records: batch.records,
                                create: batch.create.clone(),
                                entries: batch.entries.clone(),
                            }));
                        }
                        Target::Nobody | Target::Topic => {}
                    }
                }
            }
        }
    }

    /// Whether there is something to send.
    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty() || self.wants_spooled()
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

    fn member(&self, name: &str) -> Option<usize> {
        self.options
            .loggers
            .as_ref()?
            .nodes()
            .iter()
            .position(|node| node.name == name)
    }

    /// Where the next record for loggers goes.
    fn next_target(&mut self) -> Target {
        if self.options.loggers.is_none() {
            return Target::Topic;
        }
        match self.options.spool {
            SpoolUse::Always => return Target::Nobody,
            SpoolUse::WithoutLogger if self.holds_spooled() => return Target::Nobody,
            SpoolUse::WithoutLogger | SpoolUse::Never => {}
        }
        self.next_logger().map_or(Target::Nobody, Target::Logger)
    }

    /// The next logger that is up, by its place in the pool.
    fn next_logger(&mut self) -> Option<usize> {
        let pool = self.options.loggers.as_mut()?;
        // A node that is a logger itself counts as up in its own pool; its records are not sent to itself.
        (0..self.loggers.len())
            .filter_map(|_| pool.round_robin_index(SEQUENCE))
            .find(|at| self.loggers[*at].is_some())
    }

    /// The logger for a batch: the one that was given it before, who knows whether it has it, or the next.
    fn logger_for(&mut self, given: Option<usize>) -> Option<usize> {
        match given.filter(|at| self.loggers[*at].is_some()) {
            Some(at) => Some(at),
            None => self.next_logger(),
        }
    }

    fn flush_stream(&mut self, stream: usize, now: Instant) {
        let state = &mut self.streams[stream];
        state.buffered = 0;
        state.buffered_bytes = 0;
        for buffer in std::mem::take(&mut state.buffers) {
            if buffer.records > 0 {
                self.add_batch(
                    stream,
                    buffer.target,
                    Bytes::from(buffer.entries),
                    buffer.records,
                    now,
                );
            }
        }
    }

    fn add_batch(
        &mut self,
        stream: usize,
        target: Target,
        entries: Bytes,
        records: u32,
        now: Instant,
    ) {
        let topic = match target {
            Target::Topic => Some(self.streams[stream].topic.clone()),
            Target::Logger(at) => self.plain_topic(at),
            Target::Local | Target::Nobody | Target::Spool => None,
        };
        if let Some(topic) = topic {
            self.add_plain(stream, topic, entries, records, None);
            return;
        }
        let number = self.next_number;
        self.next_number += 1;
        let create = self.streams[stream].create.clone();
        self.insert(
            number,
            Batch {
                stream,
                target,
                create,
                issue: 0,
                on_disk: false,
                given: None,
                entries,
                records,
                since: now,
                queued: true,
            },
        );
        self.ready.push_back(Ready::Numbered(number));
        if target == Target::Nobody && self.has_spool() {
            self.send_to_spool(number);
        }
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

    /// The node topic of a logger that is up and gives no receipts.
    fn plain_topic(&self, at: usize) -> Option<Topic> {
        let logger = self.loggers[at]?;
        let pool = self.options.loggers.as_ref()?;
        (!logger.receipts).then(|| pool.nodes()[at].topic.clone())
    }

    fn add_plain(
        &mut self,
        stream: usize,
        topic: Topic,
        entries: Bytes,
        records: u32,
        spooled: Option<u64>,
    ) {
        self.plain_pending += 1;
        self.ready.push_back(Ready::Plain {
            stream,
            topic,
            entries,
            records,
            spooled,
        });
    }

    /// Gives a batch to the next logger that is up, to another one than `silent` if there is one; without one to the spool,
    /// or nobody.
    fn reassign(&mut self, number: u64, silent: Option<Target>, now: Instant) {
        let batch = self.unacknowledged.get(&number);
        let Some((old, given)) = batch.map(|batch| (batch.target, batch.given)) else {
            return;
        };
        let mut target = match old {
            // This node writes it, however long that takes.
            Target::Local => Target::Local,
            _ => self
                .logger_for(given)
                .map_or(Target::Nobody, Target::Logger),
        };
        if Some(target) == silent && target != Target::Local {
            target = self.next_logger().map_or(Target::Nobody, Target::Logger);
        }
        if let Target::Logger(at) = target
            && let Some(topic) = self.plain_topic(at)
        {
            self.take_out(number, |_| topic);
            return;
        }
        let has_spool = self.has_spool();
        let Some(batch) = self.unacknowledged.get_mut(&number) else {
            return;
        };
        if target == Target::Nobody && batch.on_disk {
            if let Some(batch) = self.unacknowledged.remove(&number) {
                self.forget(&batch);
                self.remember_given(number, &batch);
                self.put_back(number);
            }
            return;
        }
        if target == Target::Nobody && has_spool && old != Target::Nobody {
            self.send_to_spool(number);
            return;
        }
        if batch.target != Target::Nobody || target != Target::Nobody {
            batch.since = now;
        }
        batch.target = target;
        if !std::mem::replace(&mut batch.queued, true) {
            self.ready.push_back(Ready::Numbered(number));
        }
    }

    /// Nobody came to take this batch: it goes to the stream's topic, as Zeek sends it.
    fn give_up_on_loggers(&mut self, number: u64) {
        self.take_out(number, |stream| stream.topic.clone());
    }

    /// Makes a plain batch of a numbered one.
    fn take_out(&mut self, number: u64, topic: impl FnOnce(&Stream) -> Topic) {
        if let Some(batch) = self.unacknowledged.remove(&number) {
            let topic = topic(&self.streams[batch.stream]);
            let (stream, records) = (batch.stream, batch.records);
            let spooled = batch.on_disk.then_some(number);
            self.forget(&batch);
            self.draining += usize::from(batch.on_disk);
            self.add_plain(stream, topic, batch.entries, records, spooled);
        }
    }

    /// Moves what is buffered for `old` to the next logger.
    fn retarget_buffers(&mut self, old: Target) {
        for stream in 0..self.streams.len() {
            let buffers = &mut self.streams[stream].buffers;
            let Some(at) = buffers
                .iter()
                .position(|buffer| buffer.target == old && buffer.records > 0)
            else {
                continue;
            };
            let moved = buffers.swap_remove(at);
            let target = self.next_target();
            let buffer = buffer_for(&mut self.streams[stream].buffers, target);
            buffer.entries.extend_from_slice(&moved.entries);
            buffer.records += moved.records;
        }
    }
}

fn buffer_for(buffers: &mut Vec<Buffer>, target: Target) -> &mut Buffer {
    let at = buffers
        .iter()
        .position(|buffer| buffer.target == target)
        .unwrap_or_else(|| {
            buffers.push(Buffer {
                target,
                entries: Vec::new(),
                records: 0,
            });
            buffers.len() - 1
        });
    &mut buffers[at]
}

#[cfg(test)]
mod tests;
