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
    /// Adds up what the nodes say about themselves.
    pub(super) fn of(nodes: &Nodes, statuses: &BTreeMap<String, NodeStatus>) -> Self {
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
                total.received += log.received;
                total.written += log.written;
                total.dropped += log.dropped;
                total.duplicates += log.duplicates;
            }
            total
        };
        let (files, senders) = (logs(writers), logs(&nodes.workers));
        // What a logger has in its files, less what the writers know to be in another logger's files too.
        let duplicates = files.duplicates + senders.duplicates;
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
            records_written: files.written.saturating_sub(senders.duplicates),
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
