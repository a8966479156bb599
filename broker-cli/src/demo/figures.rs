//! What a node of a demo says about its work, in the counters of its status.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use broker_core::{NodeStatus, StatusSource};

/// Well-formed records a worker has read.
pub(crate) const RECORDS_IN: &str = "demo.records_in";
/// Lines a worker could not read.
pub(crate) const LINES_SKIPPED: &str = "demo.lines_skipped";
/// Events a worker has published.
pub(crate) const EVENTS_PUBLISHED: &str = "demo.events_published";
/// Events a worker knows to have been counted by two proxies.
pub(crate) const EVENTS_TWICE: &str = "demo.events_twice";
/// Events a proxy has counted.
pub(crate) const EVENTS_RECEIVED: &str = "demo.events_received";
/// Different hosts among them.
pub(crate) const KEYS: &str = "demo.keys";
/// Entries of a worker's clone once it equals the master.
pub(crate) const STORE_ENTRIES: &str = "demo.store_entries";
/// How long a worker took from its first record to its end.
pub(crate) const MILLISECONDS: &str = "demo.milliseconds";
/// How far a worker is: see [`Phase`].
pub(crate) const PHASE: &str = "demo.phase";
/// Workers that a manager knows to be drained.
pub(crate) const WORKERS_DRAINED: &str = "demo.workers_drained";
/// Distinct records in the files of all loggers, as the manager finds them.
pub(crate) const RECORDS_IN_FILES: &str = "demo.records_in_files";
/// Records that are there once more.
pub(crate) const RECORDS_TWICE: &str = "demo.records_twice";

/// Events of a manager that a worker has taken, in the bench of a cluster.
pub(crate) const ORDERS_RECEIVED: &str = "load.orders_received";
/// Those that came once more.
pub(crate) const ORDERS_AGAIN: &str = "load.orders_again";

/// How many of the losses a worker knows of.
pub(crate) const STAGE: &str = "load.stage";

const ALL: [&str; 15] = [
    RECORDS_IN,
    LINES_SKIPPED,
    EVENTS_PUBLISHED,
    EVENTS_TWICE,
    EVENTS_RECEIVED,
    KEYS,
    STORE_ENTRIES,
    MILLISECONDS,
    PHASE,
    WORKERS_DRAINED,
    RECORDS_IN_FILES,
    RECORDS_TWICE,
    ORDERS_RECEIVED,
    ORDERS_AGAIN,
    STAGE,
];

/// How far a worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u64)]
pub(crate) enum Phase {
    /// It waits for the cluster to be fully connected.
    Waiting = 0,
    /// It reads.
    Reading = 1,
    /// It is in the middle and slow, so that somebody can be killed there.
    Dawdling = 2,
    /// It has read everything and waits for answers.
    Draining = 3,
    /// Everything is answered for.
    Drained = 4,
    /// Its clone is up to date and counted.
    Finished = 5,
}

/// The figures of one node. Figures that do not belong to its role stay 0 and are not shown.
#[derive(Debug, Default)]
pub(crate) struct Figures(BTreeMap<&'static str, AtomicU64>);

impl Figures {
    /// All figures at 0.
    pub(crate) fn new() -> Self {
        Self(
            ALL.into_iter()
                .map(|name| (name, AtomicU64::new(0)))
                .collect(),
        )
    }

    /// Adds to a figure.
    pub(crate) fn add(&self, name: &str, amount: u64) {
        if let Some(figure) = self.0.get(name) {
            figure.fetch_add(amount, Ordering::Relaxed);
        }
    }

    /// Sets a figure.
    pub(crate) fn set(&self, name: &str, value: u64) {
        if let Some(figure) = self.0.get(name) {
            // Whoever sees a new phase also sees the figures set before it.
            figure.store(value, Ordering::Release);
        }
    }

    /// Sets how far a worker is.
    pub(crate) fn phase(&self, phase: Phase) {
        self.set(PHASE, phase as u64);
    }
}

impl StatusSource for Figures {
    fn contribute(&self, status: &mut NodeStatus) {
        // The phase first: figures read after it are at least as new.
        let phase = self.0.get(PHASE).map(|phase| phase.load(Ordering::Acquire));
        for (name, figure) in &self.0 {
            let value = figure.load(Ordering::Acquire);
            if value > 0 {
                status.counters.insert((*name).to_owned(), value);
            }
        }
        if let Some(phase @ 1..) = phase {
            status.counters.insert(PHASE.to_owned(), phase);
        }
    }
}
