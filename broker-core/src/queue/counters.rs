//! What a queue counts, and a handle to read it by.

use std::{fmt, sync::Arc};

/// Why an item was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DropReason {
    /// It was the oldest and made room for another (`drop_oldest`).
    Oldest,
    /// It was the newest and found no room, or was pushed out as such for an item that must not be
    /// dropped (`drop_newest`).
    Newest,
    /// The consumer had been too slow for too long (`block`).
    Slow,
    /// There was no room and the producer must not wait, since it forwards for others (`block`).
    Forwarding,
    /// The queue was cut, because it was full (`disconnect`) or because items that must not be
    /// dropped filled it alone.
    Disconnected,
    /// The consumer went away before it took it.
    Closed,
}

impl DropReason {
    /// All reasons.
    pub const ALL: [Self; 6] = [
        Self::Oldest,
        Self::Newest,
        Self::Slow,
        Self::Forwarding,
        Self::Disconnected,
        Self::Closed,
    ];

    /// The name used in status and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Oldest => "oldest",
            Self::Newest => "newest",
            Self::Slow => "slow",
            Self::Forwarding => "forwarding",
            Self::Disconnected => "disconnected",
            Self::Closed => "closed",
        }
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The figures of one queue at one moment: `offered = sent + dropped_total() + queued`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Items the queue took a decision on: those it let in and those it dropped at the door.
    pub offered: u64,
    /// Items the consumer took.
    pub sent: u64,
    /// Weight of the items the consumer took.
    pub sent_bytes: u64,
    /// Items waiting for the consumer.
    pub queued: u64,
    /// Weight of the items waiting for the consumer.
    pub queued_bytes: u64,
    /// Most items that waited at a time since the last but one [`Stats::roll_high_water`].
    pub max_queued_recently: u64,
    /// Producers waiting for room.
    pub waiting: u64,
    /// Whether the queue drops everything droppable until it is half empty.
    pub lagging: bool,
    pub(super) dropped: [u64; DropReason::ALL.len()],
}

impl Counters {
    /// Items dropped for `reason`.
    #[must_use]
    pub const fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize]
    }

    /// Items dropped for any reason.
    #[must_use]
    pub fn dropped_total(&self) -> u64 {
        self.dropped.iter().sum()
    }

    /// Every reason with the items dropped for it.
    pub fn drops(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL
            .into_iter()
            .map(|reason| (reason, self.dropped(reason)))
    }

    pub(super) const fn count_dropped(&mut self, reason: DropReason, items: u64) {
        self.dropped[reason as usize] += items;
    }
}

/// Reads the counters of a queue whatever its items are; does not keep the queue open.
#[derive(Clone)]
pub struct Stats {
    source: Arc<dyn Source>,
}

impl Stats {
    pub(super) fn new(source: Arc<dyn Source>) -> Self {
        Self { source }
    }

    /// The figures of this moment.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.source.counters()
    }

    /// Begins a new period for [`Counters::max_queued_recently`], which covers the period that
    /// runs and the one before. Meant for one caller with a clock; how often is its choice.
    pub fn roll_high_water(&self) {
        self.source.roll_high_water();
    }
}

impl fmt::Debug for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Stats").field(&self.counters()).finish()
    }
}

/// A queue, its item type forgotten.
pub(super) trait Source: Send + Sync {
    fn counters(&self) -> Counters;
    fn roll_high_water(&self);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_counter_of_its_own() {
        let mut counters = Counters::default();
        for (n, reason) in DropReason::ALL.into_iter().enumerate() {
            counters.count_dropped(reason, 1 << n);
        }
        for (n, (reason, dropped)) in counters.drops().enumerate() {
            assert_eq!(dropped, 1 << n, "{reason}");
        }
        assert_eq!(counters.dropped_total(), 63);
    }
}
