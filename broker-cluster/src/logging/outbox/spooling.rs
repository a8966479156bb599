//! The outbox and its spool: what goes into it, what comes out again, and what is counted meanwhile.

use bytes::Bytes;
use tokio::time::Instant;

use super::super::spool::{Backlog, Lost, SpooledBatch, Stored};
use super::{
    Batch, Given, MAX_DRAINING, MAX_SPAN, Outbox, Ready, SpoolUse, StreamKey, Switches, Target,
    Transmit,
};

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

    /// What became of a batch for the spool. Where it cannot be written it waits for a logger here.
    pub(crate) fn spooled(&mut self, number: u64, stored: Result<Stored, ()>, now: Instant) {
        self.spooling = self.spooling.saturating_sub(1);
        let again = self.not_retrying(number);
        if stored == Ok(Stored::Full)
            && self.has_logger()
            && self.unacknowledged.contains_key(&number)
        {
            if again {
                self.crowded.push_front(number);
            } else {
                self.crowded.push_back(number);
            }
            return;
        }
        self.settle(number, stored, now);
        self.retry_crowded();
    }

    /// The spool is not asked for this batch any more. Whether it was asked once more.
    pub(super) fn not_retrying(&mut self, number: u64) -> bool {
        self.retrying
            .take_if(|retried| *retried == number)
            .is_some()
    }

    fn settle(&mut self, number: u64, stored: Result<Stored, ()>, now: Instant) {
        let Some(batch) = self.unacknowledged.get_mut(&number) else {
            // Its receipt came meanwhile.
            if stored == Ok(Stored::Kept) {
                self.spool_done(number);
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
        if stored == Ok(Stored::Kept) {
            self.remember_given(number, &batch);
        }
        let counters = &mut self.streams[batch.stream].counters;
        if stored == Ok(Stored::Kept) {
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
            self.given.remove(&part.number);
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
            if !self.tells_spool() {
                self.untaken = 0;
            }
            return;
        };
        if self.done.contains_key(&batch.number) {
            // Its receipt came while it was being read.
            return;
        }
        let stream = self.stream_for(&batch.key, batch.create.clone());
        let given = self.given.get(&batch.number).map(|given| given.logger);
        self.untaken = self.untaken.saturating_sub(1);
        let Some(at) = self.logger_for(given) else {
            self.put_back(batch.number);
            return;
        };
        self.given.remove(&batch.number);
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
                given,
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
        if !self.has_spool() {
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
            && !self.tells_spool()
            && self.draining < MAX_DRAINING
            && self.has_logger()
    }

    /// Whether a logger is up.
    pub(crate) fn has_logger(&self) -> bool {
        self.loggers.iter().any(Option::is_some)
    }

    pub(super) fn has_spool(&self) -> bool {
        self.options.spool != SpoolUse::Never
    }

    /// Whether there is something in the spool that was not sent, or on its way there.
    pub(super) fn holds_spooled(&self) -> bool {
        self.untaken > 0 || self.spooling > 0 || !self.crowded.is_empty()
    }

    /// A batch of the spool is where it belongs, so that there may be room for another one.
    pub(super) fn spool_done(&mut self, number: u64) {
        self.ready
            .push_front(Ready::Spool(Transmit::SpoolDone { number }));
        self.retry_crowded();
    }

    /// Has the spool asked once more to take the first of the batches for which it had no room.
    pub(super) fn retry_crowded(&mut self) {
        while self.retrying.is_none()
            && let Some(number) = self.crowded.pop_front()
        {
            // Its receipt may have come meanwhile.
            if let Some(batch) = self.unacknowledged.get_mut(&number)
                && batch.target == Target::Spool
            {
                batch.queued = true;
                self.spooling += 1;
                self.retrying = Some(number);
                self.ready.push_back(Ready::Numbered(number));
            }
        }
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
            .push_front(Ready::Spool(Transmit::SpoolAgain { number }));
    }

    /// A batch goes into the spool or stays there, though a logger may have it.
    pub(super) fn remember_given(&mut self, number: u64, batch: &Batch) {
        if let Some(logger) = batch.given {
            let (stream, records) = (batch.stream, batch.records);
            let given = Given {
                logger,
                stream,
                records,
            };
            self.given.insert(number, given);
            while self.given.len() as u64 > MAX_SPAN {
                self.given.pop_first();
            }
        }
    }

    /// Whether the spool is about to be told something. That is always in front, so that what is read from it next is what has
    /// to come next.
    fn tells_spool(&self) -> bool {
        matches!(self.ready.front(), Some(Ready::Spool(_)))
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
