//! The end of a demo: the nodes' figures added up, and whether they are as they must be.

use std::collections::BTreeMap;

use broker_core::NodeStatus;
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

use super::figures;
use super::layout::Nodes;

/// The summary object.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Summary {
    nodes: usize,
    records_in: u64,
    lines_skipped: u64,
    records_written: u64,
    duplicates: u64,
    events_published: u64,
    events_received: u64,
    proxy_keys: BTreeMap<String, u64>,
    store_entries: u64,
    dropped: u64,
    seconds: f64,
}

impl Summary {
    /// Adds up what the nodes say about themselves. A logger that was killed cannot say any more what it had written:
    /// with `logger_lost` the records in the files are those that the manager has found there.
    pub(super) fn of(
        nodes: &Nodes,
        statuses: &BTreeMap<String, NodeStatus>,
        logger_lost: bool,
    ) -> Self {
        let sum = |figure: &str| {
            statuses
                .values()
                .map(|status| counter(status, figure))
                .sum::<u64>()
        };
        let most = |figure: &str| {
            nodes
                .workers
                .iter()
                .filter_map(|name| statuses.get(name))
                .map(|status| counter(status, figure))
                .max()
        };
        let writers = if nodes.loggers.is_empty() {
            std::slice::from_ref(&nodes.manager)
        } else {
            &nodes.loggers
        };
        let logs = |names: &[String]| {
            let mut total = broker_core::LogCounters::default();
            for log in names
                .iter()
                .filter_map(|name| statuses.get(name))
                .flat_map(|status| status.logs.values())
            {
                total.written += log.written;
                total.dropped += log.dropped;
            }
            total
        };
        let (files, senders) = (logs(writers), logs(&nodes.workers));
        // Only the files of all loggers together show what is there twice.
        let duplicates = sum(figures::RECORDS_TWICE);
        let records_written = if logger_lost {
            sum(figures::RECORDS_IN_FILES)
        } else {
            files.written.saturating_sub(duplicates)
        };
        let keys = nodes.proxies.iter().map(|name| {
            (
                name.clone(),
                statuses
                    .get(name)
                    .map_or(0, |status| counter(status, figures::KEYS)),
            )
        });
        Self {
            nodes: statuses.len(),
            records_in: sum(figures::RECORDS_IN),
            lines_skipped: sum(figures::LINES_SKIPPED),
            records_written,
            duplicates,
            events_published: sum(figures::EVENTS_PUBLISHED),
            events_received: sum(figures::EVENTS_RECEIVED)
                .saturating_sub(sum(figures::EVENTS_TWICE)),
            proxy_keys: keys.collect(),
            store_entries: most(figures::STORE_ENTRIES).unwrap_or(0),
            dropped: files.dropped
                + senders.dropped
                + statuses
                    .values()
                    .flat_map(|status| &status.peers)
                    .map(|peer| peer.dropped)
                    .sum::<u64>(),
            seconds: most(figures::MILLISECONDS).unwrap_or(0) as f64 / 1e3,
        }
    }

    /// Why the demo failed, if it did.
    pub(super) fn verdict(&self) -> Result<(), String> {
        let mut wrong = Vec::new();
        if self.records_in != self.records_written {
            wrong.push(format!(
                "{} records were read but {} written",
                self.records_in, self.records_written
            ));
        }
        if self.events_published != self.events_received {
            wrong.push(format!(
                "{} events were published but {} received",
                self.events_published, self.events_received
            ));
        }
        if self.dropped != 0 {
            wrong.push(format!("{} messages or records were dropped", self.dropped));
        }
        if wrong.is_empty() {
            Ok(())
        } else {
            Err(wrong.join("; "))
        }
    }

    /// The summary for people.
    pub(super) fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(NOTHING);
        let mut row = |name: &str, value: String| {
            table.add_row([name.to_owned(), value]);
        };
        row("nodes", self.nodes.to_string());
        row("records read", self.records_in.to_string());
        row("lines skipped", self.lines_skipped.to_string());
        row("records written", self.records_written.to_string());
        row("written twice", self.duplicates.to_string());
        row("events published", self.events_published.to_string());
        row("events received", self.events_received.to_string());
        for (proxy, keys) in &self.proxy_keys {
            row(&format!("hosts at {proxy}"), keys.to_string());
        }
        row("hosts in the store", self.store_entries.to_string());
        row("dropped", self.dropped.to_string());
        row("seconds", format!("{:.3}", self.seconds));
        if let Some(column) = table.column_mut(0) {
            column.set_padding((0, 1));
        }
        if let Some(column) = table.column_mut(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
            .lines()
            .map(|line| line.trim_end().to_owned())
            .collect::<Vec<_>>()
            .join("\n")
    }
}

fn counter(status: &NodeStatus, name: &str) -> u64 {
    status.counters.get(name).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use broker_core::{LogCounters, PeerStatus};

    use super::*;

    fn nodes() -> Nodes {
        Nodes {
            transport: crate::demo::Transport::Grpc,
            manager: "manager".to_owned(),
            loggers: vec!["logger-1".to_owned()],
            proxies: vec!["proxy-1".to_owned(), "proxy-2".to_owned()],
            workers: vec!["worker-1".to_owned()],
        }
    }

    fn statuses() -> BTreeMap<String, NodeStatus> {
        let status = |counters: &[(&str, u64)], written: u64| NodeStatus {
            counters: counters
                .iter()
                .map(|(name, value)| ((*name).to_owned(), *value))
                .collect(),
            logs: BTreeMap::from([(
                "Conn::LOG".to_owned(),
                LogCounters {
                    written,
                    ..LogCounters::default()
                },
            )]),
            ..NodeStatus::default()
        };
        BTreeMap::from([
            (
                "manager".to_owned(),
                status(
                    &[(figures::RECORDS_IN_FILES, 10), (figures::RECORDS_TWICE, 2)],
                    0,
                ),
            ),
            ("logger-1".to_owned(), status(&[], 12)),
            (
                "proxy-1".to_owned(),
                status(&[(figures::EVENTS_RECEIVED, 11), (figures::KEYS, 3)], 0),
            ),
            ("proxy-2".to_owned(), status(&[], 0)),
            (
                "worker-1".to_owned(),
                status(
                    &[
                        (figures::RECORDS_IN, 10),
                        (figures::EVENTS_PUBLISHED, 10),
                        (figures::EVENTS_TWICE, 1),
                        (figures::STORE_ENTRIES, 3),
                        (figures::MILLISECONDS, 1_500),
                    ],
                    10,
                ),
            ),
        ])
    }

    #[test]
    fn the_figures_of_the_nodes_are_added_up() {
        let summary = Summary::of(&nodes(), &statuses(), false);
        let expected = serde_json::json!({
            "nodes": 5, "records_in": 10, "lines_skipped": 0, "records_written": 10, "duplicates": 2,
            "events_published": 10, "events_received": 10, "proxy_keys": {"proxy-1": 3, "proxy-2": 0},
            "store_entries": 3, "dropped": 0, "seconds": 1.5,
        });
        assert_eq!(serde_json::to_value(&summary).expect("json"), expected);
        assert_eq!(summary.verdict(), Ok(()));
    }

    #[test]
    fn what_a_killed_logger_had_written_is_found_in_the_files() {
        let mut statuses = statuses();
        if let Some(logger) = statuses.get_mut("logger-1") {
            logger.logs.clear();
        }
        assert_eq!(Summary::of(&nodes(), &statuses, true).verdict(), Ok(()));
        let verdict = Summary::of(&nodes(), &statuses, false).verdict();
        assert_eq!(
            verdict,
            Err("10 records were read but 0 written".to_owned())
        );
    }

    #[test]
    fn anything_dropped_is_a_failure() {
        let mut statuses = statuses();
        if let Some(proxy) = statuses.get_mut("proxy-1") {
            proxy.peers.push(PeerStatus {
                dropped: 1,
                ..PeerStatus::default()
            });
        }
        assert!(Summary::of(&nodes(), &statuses, false).verdict().is_err());
    }
}
