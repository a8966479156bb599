//! The outbox and its spool: what goes into it, what comes out again, and what is counted meanwhile.

use bytes::Bytes;
use tokio::time::Instant;

use super::super::spool::{Backlog, Lost, SpooledBatch};
use super::{Batch, MAX_DRAINING, Outbox, Ready, StreamKey, Switches, Target, Transmit};

impl Outbox {
    /// What a spool held when it was opened.
    pub(crate) fn recover(&mut self, backlog: Vec<Backlog>) {
        for part in backlog {
            self.untaken += part.batches;
            let stream = self.stream_for(&part.key, part.create);
            let counters = &mut self.streams[stream].counters;
            counters.received += part.records;
            counters.spooled += part.records;
        }
    }

    /// The first stream of this key, or a new one. What is on disk was a stream once, so these are no more than
    /// [`MAX_STREAMS`] either.
    pub(super) fn stream_for(&mut self, key: &StreamKey, create: Bytes) -> usize {
        let remote = Switches {
            local: false,
            remote: true,
            expendable: false,
        };
        match self.streams.iter().position(|stream| stream.key == *key) {
            Some(at) => at,
            None => self.push_stream(key.clone(), create, remote),
        }
    }

    /// What became of a batch for the spool: it is there, or there was no room (`Ok(false)`), or it cannot be
    /// written; then it waits for a logger here.
    pub(crate) fn spooled(&mut self, number: u64, stored: Result<bool, ()>, now: Instant) {
        self.spooling = self.spooling.saturating_sub(1);
        let Some(batch) = self.unacknowledged.get_mut(&number) else {
            // Its receipt came meanwhile.
            if stored == Ok(true) {
                self.ready
                    .push_back(Ready::Spool(Transmit::SpoolDone { number }));
            }
            return;
        };
        if stored.is_err() {
            batch.target = Target::Nobody;
            batch.since = now;
            self.reassign(number, None, now);
            return;
        }
        let Some(batch) = self.unacknowledged.remove(&number) else {
            return;
        };
        self.forget(&batch);
        let counters = &mut self.streams[batch.stream].counters;
        if stored == Ok(true) {
            // The spool knows streams by their keys.
            let first = self.streams[batch.stream].first;
            self.streams[first].counters.spooled += u64::from(batch.records);
            self.untaken += 1;
        } else {
            counters.dropped += u64::from(batch.records);
        }
    }

    /// Batches that the spool gave up, to make room or because they are damaged.
    pub(crate) fn spool_lost(&mut self, lost: &[Lost]) {
        for part in lost {
            let stream = self.stream_for(&part.key, Bytes::new());
            self.left_spool(stream, part.records);
            match self.unacknowledged.get_mut(&part.number) {
                // On its way: it may still arrive.
                Some(batch) if batch.on_disk => {
                    batch.on_disk = false;
                    self.draining = self.draining.saturating_sub(1);
                }
                _ => {
                    self.untaken = self.untaken.saturating_sub(1);
                    self.streams[stream].counters.dropped += u64::from(part.records);
                }
            }
        }
    }

    /// The batch that was asked for; none if there is none.
    pub(crate) fn unspooled(&mut self, batch: Option<SpooledBatch>, now: Instant) {
        self.unspooling = false;
        let Some(batch) = batch else {
            self.untaken = 0;
            return;
        };
        self.untaken = self.untaken.saturating_sub(1);
        let stream = self.stream_for(&batch.key, batch.create.clone());
        let Some(at) = self.next_logger() else {
            self.put_back(batch.number);
            return;
        };
        self.draining += 1;
        if let Some(topic) = self.plain_topic(at) {
            let number = Some(batch.number);
            self.add_plain(stream, topic, batch.entries, batch.records, number);
            return;
        }
        self.insert(
            batch.number,
            Batch {
                stream,
                target: Target::Logger(at),
                create: batch.create,
                issue: 0,
                on_disk: true,
                entries: batch.entries,
                records: batch.records,
                since: now,
                queued: true,
            },
        );
        self.ready.push_back(Ready::Numbered(batch.number));
    }

    /// The end is near: what waits for a logger or a receipt goes into the spool, if there is one.
    pub(crate) fn retreat(&mut self, now: Instant) {
        self.flush(now);
        if !self.options.spool {
            return;
        }
        let numbers: Vec<u64> = self
            .unacknowledged
            .iter()
            .filter(|(_, batch)| !batch.on_disk && batch.target != Target::Local)
            .map(|(number, _)| *number)
            .collect();
        for number in numbers {
            self.send_to_spool(number);
        }
    }

    /// Whether everything for the spool is in it.
    pub(crate) const fn has_retreated(&self) -> bool {
        self.spooling == 0
    }

    pub(super) fn wants_spooled(&self) -> bool {
        self.untaken > 0
            && !self.unspooling
            && !self.drain_paused
            && self.spooling == 0
            && self.draining < MAX_DRAINING
            && self.loggers.iter().any(Option::is_some)
    }

    pub(super) fn left_spool(&mut self, stream: usize, records: u32) {
        let first = self.streams[stream].first;
        let spooled = &mut self.streams[first].counters.spooled;
        *spooled = spooled.saturating_sub(u64::from(records));
    }

    /// A batch of the spool that could not be sent is to come again.
    pub(super) fn put_back(&mut self, number: u64) {
        self.untaken += 1;
        self.ready
            .push_back(Ready::Spool(Transmit::SpoolRewind { number }));
    }

    /// Sends a batch to the spool.
    pub(super) fn send_to_spool(&mut self, number: u64) {
        let Some(batch) = self.unacknowledged.get_mut(&number) else {
            return;
        };
        if std::mem::replace(&mut batch.target, Target::Spool) == Target::Spool {
            return;
        }
        self.spooling += 1;
        if !std::mem::replace(&mut batch.queued, true) {
            self.ready.push_back(Ready::Numbered(number));
        }
    }
}
