//! A status as tables for people.

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};

use super::Report;

/// All tables; what is unknown is left out, or shown as `-`.
pub(super) fn tables(report: &Report) -> String {
    let mut text = format!("{} {}\n", report.id, report.name)
        .trim_end()
        .to_owned()
        + "\n";
    let mut fact = |title: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            text.push_str(&format!("{title:<15}{value}\n"));
        }
    };
    let list = |entries: &Option<Vec<String>>| entries.as_ref().map(|list| or_none(list.join(" ")));
    fact("version", Some(report.version.clone()));
    fact(
        "protocol",
        report
            .seen
            .map(|seen| format!("version {}", seen.protocol_version)),
    );
    fact(
        "up",
        report.uptime_s.map(|seconds| format!("{seconds:.1} s")),
    );
    fact("listening", list(&report.listening));
    fact("subscriptions", list(&report.subscriptions));
    fact(
        "round trip",
        report.seen.map(|seen| format!("{:.0} us", seen.rtt_us)),
    );
    let mut section = |title: &str, header: &[&str], text_columns: &[usize], rows| {
        text.push_str(&table(title, header, text_columns, rows));
    };
    let peers = report.peers.iter().flatten();
    section(
        "Peers",
        &[
            "id", "name", "url", "state", "queued", "sent", "received", "dropped", "rtt",
        ],
        &[0, 1, 2, 3],
        peers
            .clone()
            .map(|peer| {
                vec![
                    peer.id.clone(),
                    peer.name.clone(),
                    peer.url.clone(),
                    peer.state.clone(),
                    peer.queued.to_string(),
                    peer.sent.to_string(),
                    peer.received.to_string(),
                    peer.dropped.to_string(),
                    peer.rtt_us
                        .map_or_else(|| "-".to_owned(), |rtt| format!("{rtt:.0} us")),
                ]
            })
            .collect(),
    );
    section(
        "Filters of peers",
        &["id", "prefixes"],
        &[0, 1],
        peers
            .map(|peer| vec![peer.id.clone(), or_none(peer.filter.join(" "))])
            .collect(),
    );
    let stores = report.stores.iter().flatten();
    section(
        "Stores",
        &[
            "name",
            "role",
            "backend",
            "entries",
            "revision",
            "lag",
            "freshness",
            "digest",
        ],
        &[0, 1, 2, 6, 7],
        stores
            .map(|store| {
                vec![
                    store.name.clone(),
                    store.role.clone(),
                    store.backend.clone().unwrap_or_else(dash),
                    number(store.entries),
                    store.revision.clone().unwrap_or_else(dash),
                    number(store.lag),
                    store.freshness.clone().unwrap_or_else(dash),
                    store.digest.as_deref().map_or_else(dash, first_digits),
                ]
            })
            .collect(),
    );
    let logs = report.logs.iter().flatten();
    section(
        "Logs",
        &[
            "stream",
            "in",
            "written",
            "dropped",
            "spooled",
            "duplicates",
        ],
        &[0],
        logs.map(|(name, log)| {
            vec![
                name.clone(),
                log.received.to_string(),
                log.written.to_string(),
                log.dropped.to_string(),
                log.spooled.to_string(),
                log.duplicates.to_string(),
            ]
        })
        .collect(),
    );
    let counters = report.counters.iter();
    section(
        "Counters",
        &["name", "value"],
        &[0],
        counters
            .map(|(name, value)| vec![name.clone(), value.to_string()])
            .collect(),
    );
    text
}

/// A table with its title, or nothing where there are no rows.
fn table(title: &str, header: &[&str], text_columns: &[usize], rows: Vec<Vec<String>>) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut table = Table::new();
    table
        .load_style(NOTHING)
        .set_header(header.iter().copied())
        .add_rows(rows);
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        column.set_cell_alignment(if text_columns.contains(&index) {
            CellAlignment::Left
        } else {
            CellAlignment::Right
        });
    }
    let lines: Vec<_> = table
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect();
    format!("\n{title}\n{}\n", lines.join("\n"))
}

fn dash() -> String {
    "-".to_owned()
}

fn number(number: Option<u64>) -> String {
    number.map_or_else(dash, |number| number.to_string())
}

/// Enough of a digest to compare by eye.
fn first_digits(digest: &str) -> String {
    digest.chars().take(8).collect()
}

fn or_none(text: String) -> String {
    if text.is_empty() {
        "none".to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::report::tests::{sample, sample_peer};
    use super::*;

    fn has(text: &str, parts: &[&str]) {
        for part in parts {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
    }

    #[test]
    fn the_tables_show_every_part() {
        let text = tables(&Report::of_node(&sample()));
        has(
            &text,
            &[
                "manager",
                "worker-1",
                "80 us",
                "hosts",
                "Conn::LOG",
                "zeek/",
            ],
        );
    }

    #[test]
    fn of_a_peer_there_is_what_it_shows_and_no_more() {
        let text = tables(&Report::of_peer(&sample_peer(), Duration::from_micros(120)));
        has(
            &text,
            &["zeek", "version 1", "120 us", "hosts  master", "zeek/"],
        );
        for part in ["up ", "listening", "Peers", "Logs"] {
            assert!(!text.contains(part), "{part} is there in\n{text}");
        }
    }
}
