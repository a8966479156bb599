//! From records to batches: one buffer per stream and logger, sent when a stream has enough or the timer runs.

use broker_core::{LogCounters, Topic};
use bytes::Bytes;
use tokio::time::Instant;

use super::{
    BATCH_BYTES, BATCH_RECORDS, Batch, Buffer, Full, MAX_STREAMS, Outbox, Ready, Stream, StreamKey,
    Switches, Target,
};
use crate::logging::wire;
use crate::topics;

impl Outbox {
    /// The stream for these records, which is added if there is none; `create` is its encoded LogCreate. Who opens one again goes
    /// on with the same. None: there are too many.
    pub(crate) fn add_stream(
        &mut self,
        key: StreamKey,
        create: Bytes,
        switches: Switches,
    ) -> Option<usize> {
        let there = self.streams.iter().position(|stream| {
            stream.key == key && stream.create == create && stream.switches == switches
        });
        if there.is_some() {
            return there;
        }
        if self.streams.len() >= MAX_STREAMS {
            return None;
        }
        Some(self.push_stream(key, create, switches))
    }

    pub(super) fn push_stream(
        &mut self,
        key: StreamKey,
        create: Bytes,
        switches: Switches,
    ) -> usize {
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

    pub(super) fn push(&mut self, stream: usize, record: &[u8], target: Target) {
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

    /// Moves what is buffered for `old` to the next logger.
    pub(super) fn retarget_buffers(&mut self, old: Target) {
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
