//! What has become of the records of one sink.
//!
//! **Invariant:** sent + dropped never exceeds offered, and once the sink is closed they are equal: what still happens to a
//! record then is not counted a second time.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// What has become of a sink's records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SinkCounters {
    /// Records it was to get.
    pub offered: u64,
    /// Records it got, as far as can be known.
    pub sent: u64,
    /// Records dropped: no room, refused, or left at the end.
    pub dropped: u64,
    /// Attempts that failed and were made again.
    pub retries: u64,
}

impl SinkCounters {
    /// Records that wait or are on their way.
    #[must_use]
    pub const fn queued(&self) -> u64 {
        self.offered
            .saturating_sub(self.sent)
            .saturating_sub(self.dropped)
    }
}

/// The counters of a sink at work.
#[derive(Debug, Default)]
pub(super) struct Ledger(Mutex<Account>);

#[derive(Debug, Default)]
struct Account {
    counters: SinkCounters,
    /// Nothing becomes of any record any more.
    closed: bool,
}

impl Ledger {
    pub(super) fn offered(&self, records: u64) {
        let mut account = self.account();
        account.counters.offered += records;
        if account.closed {
            account.counters.dropped += records;
        }
    }

    pub(super) fn sent(&self, records: u64) {
        let mut account = self.account();
        if !account.closed {
            account.counters.sent += records;
        }
    }

    pub(super) fn dropped(&self, records: u64) {
        let mut account = self.account();
        if !account.closed {
            account.counters.dropped += records;
        }
    }

    pub(super) fn retried(&self) {
        self.account().counters.retries += 1;
    }

    pub(super) fn counters(&self) -> SinkCounters {
        self.account().counters
    }

    /// Counts what is left as dropped, and ends the counting. Returns how many records that are.
    pub(super) fn close(&self) -> u64 {
        let mut account = self.account();
        account.closed = true;
        let left = account.counters.queued();
        account.counters.dropped += left;
        left
    }

    fn account(&self) -> MutexGuard<'_, Account> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_record_is_counted_once_whatever_happens_after_the_end() {
        let ledger = Ledger::default();
        ledger.offered(10);
        ledger.sent(4);
        ledger.dropped(1);
        assert_eq!(ledger.counters().queued(), 5);
        assert_eq!(ledger.close(), 5);
        // Those five were in a call that returned at last, and in a queue that was thrown away.
        ledger.sent(3);
        ledger.dropped(2);
        ledger.offered(1);
        let counters = ledger.counters();
        assert_eq!(
            (counters.offered, counters.sent, counters.dropped),
            (11, 4, 7)
        );
        assert_eq!(ledger.close(), 0);
    }
}
