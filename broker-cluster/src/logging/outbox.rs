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
//! Holds no socket and reads no clock: the driver calls, then drains [`Outbox::next_transmit`].
//!
//! **Invariant:** records accepted = written + dropped + buffered + in batches not done with. No more than
//! [`MAX_BATCHES`] batches are not done with, besides one per stream and logger that a flush adds; a full outbox
//! refuses records until receipts make room.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use broker_core::{EndpointId, LogCounters, Topic};
use bytes::Bytes;
use tokio::time::Instant;

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

/// Zeek's name for the sequence that deals log records over loggers.
const SEQUENCE: &str = "Cluster::rr_log_topic";

/// Where records may go.
pub(crate) struct OutboxOptions {
    /// This process.
    pub(crate) writer: EndpointId,
    /// The loggers of the cluster; none outside a cluster.
    pub(crate) loggers: Option<Pool>,
    /// Whether this node writes log files itself: then its own records stay here.
    pub(crate) local: bool,
    /// How long a batch waits for any logger to be up.
    pub(crate) hold: Duration,
}

/// Which log a stream's records go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StreamKey {
    pub(crate) stream: String,
    pub(crate) writer: String,
    pub(crate) path: String,
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
    },
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
    /// Which logger had a batch first, for batches done with lately.
    done: BTreeMap<u64, Receipted>,
}

struct Stream {
    key: StreamKey,
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
    entries: Bytes,
    records: u32,
    /// Since when it is with its target, or without one.
    since: Instant,
    /// Whether it is among what is ready to be sent.
    queued: bool,
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
    },
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
            options,
            streams: Vec::new(),
            loggers: vec![None; members],
            next_number: 1,
            unacknowledged: BTreeMap::new(),
            unacknowledged_bytes: 0,
            ready: VecDeque::new(),
            plain_pending: 0,
            done: BTreeMap::new(),
        }
    }

    /// Adds a stream; `create` is its encoded LogCreate. None: there are too many.
    pub(crate) fn add_stream(&mut self, key: StreamKey, create: Bytes) -> Option<usize> {
        if self.streams.len() >= MAX_STREAMS {
            return None;
        }
        let prefix = wire::entry_prefix(&key.stream, &key.writer, &key.path);
        let topic = topics::log_topic(key.stream.as_bytes());
        self.streams.push(Stream {
            key,
            create,
            prefix,
            topic,
            buffers: Vec::new(),
            buffered: 0,
            buffered_bytes: 0,
            counters: LogCounters::default(),
        });
        Some(self.streams.len() - 1)
    }

    /// The LogCreate of every stream and the topic it is announced on.
    pub(crate) fn creates(&self) -> Vec<(Topic, Bytes)> {
        self.streams
            .iter()
            .map(|stream| (stream.topic.clone(), stream.create.clone()))
            .collect()
    }

    /// Whether there is no room for another record before a receipt comes.
    pub(crate) fn is_full(&self) -> bool {
        let oldest = self
            .unacknowledged
            .keys()
            .next()
            .copied()
            .unwrap_or(self.next_number);
        self.unacknowledged.len() + self.plain_pending >= MAX_BATCHES
            || self.unacknowledged_bytes >= MAX_BATCH_BYTES
            || self.next_number - oldest >= MAX_SPAN
    }

    /// Whether nothing is buffered, on its way or without a receipt.
    pub(crate) fn is_idle(&self) -> bool {
        self.unacknowledged.is_empty()
            && self.plain_pending == 0
            && self.streams.iter().all(|stream| stream.buffered == 0)
    }

    /// Takes one record, as `serial_data`.
    pub(crate) fn write(&mut self, stream: usize, record: &[u8], now: Instant) -> Result<(), Full> {
        if self.is_full() {
            return Err(Full);
        }
        let target = self.next_target();
        let state = &mut self.streams[stream];
        state.counters.received += 1;
        let buffer = buffer_for(&mut state.buffers, target);
        wire::push_entry(&state.prefix, record, &mut buffer.entries);
        buffer.records += 1;
        state.buffered += 1;
        state.buffered_bytes += record.len() + state.prefix.len();
        if state.buffered >= BATCH_RECORDS || state.buffered_bytes >= BATCH_BYTES {
            self.flush_stream(stream, now);
        }
        Ok(())
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
                Some(target) => self.reassign(number, Some(target), now),
                None => {}
            }
        }
    }

    /// A logger of the pool came up. With `receipts` it acknowledges batches.
    pub(crate) fn logger_up(&mut self, name: &str, id: EndpointId, receipts: bool, now: Instant) {
        let Some(at) = self.member(name) else { return };
        self.loggers[at] = Some(Logger { id, receipts });
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
        match self.unacknowledged.remove(&receipt.number) {
            Some(batch) => {
                self.unacknowledged_bytes -= batch.entries.len();
                let counters = &mut self.streams[batch.stream].counters;
                // What a logger says about numbers is bounded by what it was given.
                let written = receipt.written.min(u64::from(batch.records));
                counters.written += written;
                counters.dropped += u64::from(batch.records) - written;
                self.done.insert(
                    receipt.number,
                    Receipted {
                        stream: batch.stream,
                        logger: logger.to_owned(),
                    },
                );
                while self.done.len() as u64 > MAX_SPAN {
                    self.done.pop_first();
                }
            }
            None => {
                // Two loggers have it: the first was slow, not dead.
                if let Some(done) = self
                    .done
                    .get(&receipt.number)
                    .filter(|done| done.logger != logger)
                {
                    self.streams[done.stream].counters.duplicates += receipt.written;
                }
            }
        }
    }

    /// A batch without a number was published and reached so many peers.
    pub(crate) fn plain_done(&mut self, stream: usize, records: u32, reached: usize) {
        self.plain_pending = self.plain_pending.saturating_sub(1);
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
            match self.ready.pop_front()? {
                Ready::Plain {
                    stream,
                    topic,
                    entries,
                    records,
                } => {
                    return Some(Transmit::Plain {
                        stream,
                        topic,
                        payload: wire::batch(&entries, records),
                        records,
                    });
                }
                Ready::Numbered(number) => {
                    let Some(batch) = self.unacknowledged.get_mut(&number) else {
                        continue;
                    };
                    batch.queued = false;
                    let create = &self.streams[batch.stream].create;
                    let payload = || {
                        wire::numbered_batch(
                            wire::BatchHead {
                                writer: self.options.writer,
                                number,
                                reply_to: self.options.writer,
                            },
                            create,
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
                            return Some(Transmit::Numbered {
                                logger: logger.id,
                                topic,
                                payload: payload(),
                            });
                        }
                        Target::Nobody | Target::Topic => {}
                    }
                }
            }
        }
    }

    /// Whether there is something to send.
    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Counts everything that is not done with as dropped: the process ends.
    pub(crate) fn abandon(&mut self) {
        for batch in std::mem::take(&mut self.unacknowledged).into_values() {
            self.streams[batch.stream].counters.dropped += u64::from(batch.records);
        }
        self.unacknowledged_bytes = 0;
        for stream in &mut self.streams {
            stream.counters.dropped += stream.buffered as u64;
            stream.buffers.clear();
            stream.buffered = 0;
            stream.buffered_bytes = 0;
        }
        for ready in std::mem::take(&mut self.ready) {
            if let Ready::Plain {
                stream, records, ..
            } = ready
            {
                self.plain_done(stream, records, 0);
            }
        }
    }

    /// Counters by stream id.
    pub(crate) fn counters(&self) -> impl Iterator<Item = (&str, LogCounters)> {
        self.streams
            .iter()
            .map(|stream| (stream.key.stream.as_str(), stream.counters))
    }

    /// Whether this node writes its records itself; then the logger counts them.
    pub(crate) const fn is_local(&self) -> bool {
        self.options.local
    }

    fn member(&self, name: &str) -> Option<usize> {
        self.options
            .loggers
            .as_ref()?
            .nodes()
            .iter()
            .position(|node| node.name == name)
    }

    fn next_target(&mut self) -> Target {
        if self.options.local {
            return Target::Local;
        }
        match &mut self.options.loggers {
            None => Target::Topic,
            Some(pool) => pool
                .round_robin_index(SEQUENCE)
                .map_or(Target::Nobody, Target::Logger),
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
            Target::Local | Target::Nobody => None,
        };
        if let Some(topic) = topic {
            self.add_plain(stream, topic, entries, records);
            return;
        }
        let number = self.next_number;
        self.next_number += 1;
        self.unacknowledged_bytes += entries.len();
        self.unacknowledged.insert(
            number,
            Batch {
                stream,
                target,
                entries,
                records,
                since: now,
                queued: true,
            },
        );
        self.ready.push_back(Ready::Numbered(number));
    }

    /// The node topic of a logger that is up and gives no receipts.
    fn plain_topic(&self, at: usize) -> Option<Topic> {
        let logger = self.loggers[at]?;
        let pool = self.options.loggers.as_ref()?;
        (!logger.receipts).then(|| pool.nodes()[at].topic.clone())
    }

    fn add_plain(&mut self, stream: usize, topic: Topic, entries: Bytes, records: u32) {
        self.plain_pending += 1;
        self.ready.push_back(Ready::Plain {
            stream,
            topic,
            entries,
            records,
        });
    }

    /// Gives a batch to the next logger that is up, to another one than `silent` if there is one.
    fn reassign(&mut self, number: u64, silent: Option<Target>, now: Instant) {
        let mut target = self.next_target();
        if Some(target) == silent {
            target = self.next_target();
        }
        if let Target::Logger(at) = target
            && let Some(topic) = self.plain_topic(at)
        {
            self.take_out(number, |_| topic);
            return;
        }
        let Some(batch) = self.unacknowledged.get_mut(&number) else {
            return;
        };
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
            self.unacknowledged_bytes -= batch.entries.len();
            let topic = topic(&self.streams[batch.stream]);
            self.add_plain(batch.stream, topic, batch.entries, batch.records);
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
