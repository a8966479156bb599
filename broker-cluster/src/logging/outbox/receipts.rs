//! What became of batches that were sent.

use super::{MAX_SPAN, Outbox, Receipted, Target};
use crate::events::BatchReceipt;

impl Outbox {
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

    /// Counts what a receipt says. What a logger says about numbers is bounded by what it was given.
    pub(super) fn count(&mut self, stream: usize, records: u32, receipt: BatchReceipt) {
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
}
