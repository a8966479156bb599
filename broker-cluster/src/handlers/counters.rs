//! What became of events.

use std::sync::atomic::{AtomicU64, Ordering};

/// What became of the events that came to the handlers of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HandlerCounters {
    /// Events taken from the queue, those of the node itself included.
    pub received: u64,
    /// Events without any handler.
    pub unknown: u64,
    /// Calls of handlers that came to their end.
    pub handled: u64,
    /// Calls that were not made, since the arguments do not fit.
    pub mismatched: u64,
    /// Calls that panicked.
    pub panicked: u64,
    /// Events that found the queue of a handler full, or the handler gone, and those of the node itself that found no
    /// room.
    pub dropped: u64,
}

/// The same while it is counted.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) received: AtomicU64,
    pub(super) unknown: AtomicU64,
    pub(super) handled: AtomicU64,
    pub(super) mismatched: AtomicU64,
    pub(super) panicked: AtomicU64,
    pub(super) dropped: AtomicU64,
}

impl Tally {
    pub(super) fn read(&self) -> HandlerCounters {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        HandlerCounters {
            received: load(&self.received),
            unknown: load(&self.unknown),
            handled: load(&self.handled),
            mismatched: load(&self.mismatched),
            panicked: load(&self.panicked),
            dropped: load(&self.dropped),
        }
    }
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
