//! What became of a load: the nodes' figures added up, and whether they are as they must be.

use std::collections::BTreeMap;

use broker_core::{LogCounters, NodeStatus};
use serde::Serialize;

use super::audit::Audit;
use super::plan::Plan;
use super::role::STREAM;
use crate::demo::figures;

/// The summary object.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Summary {
    pub(super) nodes: usize,
    pub(super) killed: Vec<String>,
    pub(super) records: Records,
    pub(super) keyed_events: Keyed,
    pub(super) orders: Orders,
    /// Messages that a queue to a peer had no room for; what had to arrive was sent again.
    pub(super) messages_dropped: u64,
    pub(super) memory: Memory,
    /// From the start of the first process until every worker knew the cluster to be fully connected.
    pub(super) seconds_to_ready: f64,
    /// From then until everything was answered for.
    pub(super) seconds_of_work: f64,
    /// From the start of the first process to the end of the last.
    pub(super) seconds: f64,
}

/// Log records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Records {
    planned: u64,
    /// As the workers have it.
    written: u64,
    /// For which a worker has a receipt.
    acknowledged: u64,
    /// That a worker gave up.
    dropped: u64,
    #[serde(flatten)]
    files: Audit,
}

/// Events from workers to proxies.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Keyed {
    planned: u64,
    published: u64,
    /// Events in the proxies' journals, less those of two.
    counted: u64,
    /// Events that two proxies have counted.
    counted_twice: u64,
    /// Events counted by each proxy.
    by_proxy: BTreeMap<String, u64>,
}

/// Events from the manager to workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Orders {
    planned: u64,
    taken: u64,
    /// Events that came again and were not taken.
    came_again: u64,
}

/// What the processes of all nodes used.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Memory {
    /// The most that was resident in all of them at a time, shared pages in each.
    pub(super) peak_resident_bytes: u64,
    /// The same with shared pages divided.
    pub(super) peak_proportional_bytes: u64,
    /// The most that any of them ever had resident.
    pub(super) peak_of_one_bytes: u64,
    /// Which one that was.
    pub(super) largest: String,
    /// The median over the nodes at the last look before the work began.
    pub(super) idle_resident_bytes: u64,
    /// The same with shared pages divided.
    pub(super) idle_proportional_bytes: u64,
    /// The most file descriptors that any of them had open.
    pub(super) open_files_of_one: u64,
}

impl Summary {
    /// Adds up what the nodes say about themselves, beside what is in the files.
    pub(super) fn of(plan: &Plan, statuses: &BTreeMap<String, NodeStatus>, files: Audit) -> Self {
        let sum = |figure: &str| {
            let counters = statuses.values().map(|status| status.counters.get(figure));
            counters.flatten().sum::<u64>()
        };
        let mut logs = LogCounters::default();
        let workers = plan.workers.iter().filter_map(|name| statuses.get(name));
        for log in workers.filter_map(|status| status.logs.get(STREAM)) {
            logs.written += log.written;
            logs.dropped += log.dropped;
        }
        let counted = |name: &String| {
            let counters = statuses.get(name).map(|status| &status.counters);
            let counted = counters.and_then(|all| all.get(figures::EVENTS_RECEIVED));
            (name.clone(), counted.copied().unwrap_or(0))
        };
        let twice = sum(figures::EVENTS_TWICE);
        let peers = statuses.values().flat_map(|status| &status.peers);
        Self {
            nodes: statuses.len(),
            records: Records {
                planned: plan.records,
                written: sum(figures::RECORDS_IN),
                acknowledged: logs.written,
                dropped: logs.dropped,
                files,
            },
            keyed_events: Keyed {
                planned: plan.keyed,
                published: sum(figures::EVENTS_PUBLISHED),
                counted: sum(figures::EVENTS_RECEIVED).saturating_sub(twice),
                counted_twice: twice,
                by_proxy: plan.proxies.iter().map(counted).collect(),
            },
            orders: Orders {
                planned: plan.orders,
                taken: sum(figures::ORDERS_RECEIVED),
                came_again: sum(figures::ORDERS_AGAIN),
            },
            messages_dropped: peers.map(|peer| peer.dropped).sum(),
            ..Self::default()
        }
    }

    /// What does not add up.
    pub(super) fn verdict(&self) -> Result<(), String> {
        let (records, keyed, orders) = (&self.records, &self.keyed_events, &self.orders);
        let checks = [
            ("records written", records.written, records.planned),
            (
                "records acknowledged",
                records.acknowledged,
                records.planned,
            ),
            ("records dropped", records.dropped, 0),
            (
                "different records in the files",
                records.files.distinct,
                records.planned,
            ),
            ("records missing from the files", records.files.missing, 0),
            (
                "lines in the files that are no records",
                records.files.foreign,
                0,
            ),
            (
                "records known to be there again",
                records.files.duplicates_by_batch,
                records.files.duplicates,
            ),
            ("events published by key", keyed.published, keyed.planned),
            ("events counted by proxies", keyed.counted, keyed.planned),
            ("orders taken", orders.taken, orders.planned),
        ];
        let wrong: Vec<_> = checks
            .into_iter()
            .filter(|(_, found, expected)| found != expected)
            .map(|(what, found, expected)| format!("{what}: {found} instead of {expected}"))
            .collect();
        if wrong.is_empty() {
            Ok(())
        } else {
            Err(wrong.join("; "))
        }
    }

    /// The summary for people, a line each.
    pub(super) fn lines(&self) -> Vec<String> {
        let (records, keyed, orders) = (&self.records, &self.keyed_events, &self.orders);
        let memory = &self.memory;
        let killed = if self.killed.is_empty() {
            "nobody".to_owned()
        } else {
            self.killed.join(", ")
        };
        vec![
            format!("nodes           {}, killed: {killed}", self.nodes),
            format!(
                "log records     {} written, {} acknowledged, {} in the files; {} lines again, {} of them known by their batch",
                records.written,
                records.acknowledged,
                records.files.distinct,
                records.files.duplicates,
                records.files.duplicates_by_batch
            ),
            format!(
                "events by key   {} published, {} counted; {} by two proxies",
                keyed.published, keyed.counted, keyed.counted_twice
            ),
            format!(
                "orders          {} of {} taken; {} came again",
                orders.taken, orders.planned, orders.came_again
            ),
            format!(
                "memory          {} at most resident in all processes ({} with shared pages counted once), {} in {}, {} ({}) when idle",
                megabytes(memory.peak_resident_bytes),
                megabytes(memory.peak_proportional_bytes),
                megabytes(memory.peak_of_one_bytes),
                memory.largest,
                megabytes(memory.idle_resident_bytes),
                megabytes(memory.idle_proportional_bytes)
            ),
            format!(
                "open files      {} at most in one process",
                memory.open_files_of_one
            ),
            format!(
                "seconds         {:.1} to ready, {:.1} of work, {:.1} in all",
                self.seconds_to_ready, self.seconds_of_work, self.seconds
            ),
        ]
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn summary() -> Summary {
        let plan = Plan {
            workers: vec!["w".to_owned()],
            proxies: vec!["p".to_owned(), "q".to_owned()],
            records: 10,
            keyed: 7,
            orders: 3,
            losses: Vec::new(),
            directory: PathBuf::new(),
        };
        let status = |counters: &[(&str, u64)], written| NodeStatus {
            counters: counters
                .iter()
                .map(|(name, value)| ((*name).to_owned(), *value))
                .collect(),
            logs: BTreeMap::from([(
                "Load::LOG".to_owned(),
                LogCounters {
                    written,
                    ..LogCounters::default()
                },
            )]),
            ..NodeStatus::default()
        };
        let statuses = BTreeMap::from([
            (
                "w".to_owned(),
                status(
                    &[
                        (figures::RECORDS_IN, 10),
                        (figures::EVENTS_PUBLISHED, 7),
                        (figures::EVENTS_TWICE, 1),
                        (figures::ORDERS_RECEIVED, 3),
                        (figures::ORDERS_AGAIN, 2),
                    ],
                    10,
                ),
            ),
            ("p".to_owned(), status(&[(figures::EVENTS_RECEIVED, 5)], 0)),
            ("q".to_owned(), status(&[(figures::EVENTS_RECEIVED, 3)], 0)),
        ]);
        let files = Audit {
            distinct: 10,
            duplicates: 4,
            duplicates_by_batch: 4,
            ..Audit::default()
        };
        Summary::of(&plan, &statuses, files)
    }

    #[test]
    fn figures_that_are_as_planned_add_up() {
        let summary = summary();
        assert_eq!(summary.verdict(), Ok(()));
        assert_eq!(summary.keyed_events.by_proxy["p"], 5);
        assert_eq!(
            (summary.keyed_events.counted, summary.orders.came_again),
            (7, 2)
        );
        assert_eq!(summary.lines().len(), 7);
    }

    #[test]
    fn whatever_is_not_as_planned_is_named() {
        let mut wrong = summary();
        wrong.records.files.distinct = 9;
        wrong.records.files.missing = 1;
        wrong.orders.taken = 2;
        let verdict = wrong.verdict().expect_err("wrong");
        assert_eq!(
            verdict,
            "different records in the files: 9 instead of 10; records missing from the files: 1 instead of 0; orders taken: 2 instead of 3"
        );
        let mut wrong = summary();
        wrong.records.files.duplicates_by_batch = 3;
        assert!(wrong.verdict().is_err());
    }
}
