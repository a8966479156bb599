//! `broker status`: what a node says about itself.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use broker_core::{Filter, NodeStatus, PeerUrl};
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

use crate::client;
use crate::output::Output;

/// Shows a node's identity, peers, filters, queues, counters and stores.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// The node, for example grpc://127.0.0.1:9998
    #[arg(value_parser = client::peer_url)]
    peer: PeerUrl,
    /// Print one JSON object instead of tables
    #[arg(long)]
    json: bool,
}

/// Runs `broker status`.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let client = client::connect(&args.peer, "status").await?;
    let status = client
        .status()
        .await
        .with_context(|| format!("status {}", args.peer))?;
    let mut output = Output::stdout();
    if args.json {
        output.json(&Report::of(&status))?;
    } else {
        output.line(text(&status).trim_end())?;
    }
    output.flush()
}

/// The status as `--json` prints it.
#[derive(Debug, Serialize)]
struct Report {
    id: String,
    name: String,
    version: String,
    uptime_s: f64,
    listening: Vec<String>,
    subscriptions: Vec<String>,
    peers: Vec<Peer>,
    stores: Vec<Store>,
    logs: BTreeMap<String, Log>,
}

#[derive(Debug, Serialize)]
struct Peer {
    id: String,
    name: String,
    url: String,
    state: String,
    filter: Vec<String>,
    queued: u64,
    queued_bytes: u64,
    sent: u64,
    received: u64,
    dropped: u64,
    rtt_us: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Store {
    name: String,
    role: String,
    backend: String,
    entries: u64,
}

#[derive(Debug, Serialize)]
struct Log {
    #[serde(rename = "in")]
    received: u64,
    written: u64,
    dropped: u64,
}

impl Report {
    fn of(status: &NodeStatus) -> Self {
        let peers = status.peers.iter().map(|peer| Peer {
            id: peer.id.to_string(),
            name: peer.name.clone(),
            url: peer.url.clone(),
            state: peer.state.clone(),
            filter: prefixes(&peer.filter),
            queued: peer.queued,
            queued_bytes: peer.queued_bytes,
            sent: peer.sent,
            received: peer.received,
            dropped: peer.dropped,
            rtt_us: peer.rtt.map(micros),
        });
        let stores = status.stores.iter().map(|store| Store {
            name: store.name.clone(),
            role: store.role.clone(),
            backend: store.backend.clone(),
            entries: store.entries,
        });
        let logs = status.logs.iter().map(|(name, log)| {
            (
                name.clone(),
                Log {
                    received: log.received,
                    written: log.written,
                    dropped: log.dropped,
                },
            )
        });
        Self {
            id: status.id.to_string(),
            name: status.name.clone(),
            version: status.version.clone(),
            uptime_s: (status.uptime.as_secs_f64() * 1e3).round() / 1e3,
            listening: status.listening.clone(),
            subscriptions: prefixes(&status.subscriptions),
            peers: peers.collect(),
            stores: stores.collect(),
            logs: logs.collect(),
        }
    }
}

/// Prefixes as text; bytes that are none are shown by their escapes.
fn prefixes(filter: &Filter) -> Vec<String> {
    filter.iter().map(ToString::to_string).collect()
}

fn micros(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e7).round() / 10.0
}

/// The status for people.
fn text(status: &NodeStatus) -> String {
    let or_none = |text: String| {
        if text.is_empty() {
            "none".to_owned()
        } else {
            text
        }
    };
    let mut text = format!(
        "{} {}\nversion        {}\nup             {:.1} s\nlistening      {}\nsubscriptions  {}\n",
        status.id,
        status.name,
        status.version,
        status.uptime.as_secs_f64(),
        or_none(status.listening.join(" ")),
        or_none(prefixes(&status.subscriptions).join(" ")),
    );
    let mut section =
        |title: &str, header: &[&str], text_columns: &[usize], rows: Vec<Vec<String>>| {
            if rows.is_empty() {
                return;
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
            text.push_str(&format!("\n{title}\n{}\n", lines.join("\n")));
        };
    let peers = status.peers.iter().map(|peer| {
        vec![
            peer.id.to_string(),
            peer.name.clone(),
            peer.url.clone(),
            peer.state.clone(),
            peer.queued.to_string(),
            peer.sent.to_string(),
            peer.received.to_string(),
            peer.dropped.to_string(),
            peer.rtt
                .map_or_else(|| "-".to_owned(), |rtt| format!("{:.0} us", micros(rtt))),
        ]
    });
    section(
        "Peers",
        &[
            "id", "name", "url", "state", "queued", "sent", "received", "dropped", "rtt",
        ],
        &[0, 1, 2, 3],
        peers.collect(),
    );
    let filters = status.peers.iter().map(|peer| {
        vec![
            peer.id.to_string(),
            or_none(prefixes(&peer.filter).join(" ")),
        ]
    });
    section(
        "Filters of peers",
        &["id", "prefixes"],
        &[0, 1],
        filters.collect(),
    );
    let stores = status.stores.iter().map(|store| {
        vec![
            store.name.clone(),
            store.role.clone(),
            store.backend.clone(),
            store.entries.to_string(),
        ]
    });
    section(
        "Stores",
        &["name", "role", "backend", "entries"],
        &[0, 1, 2],
        stores.collect(),
    );
    let logs = status.logs.iter().map(|(name, log)| {
        vec![
            name.clone(),
            log.received.to_string(),
            log.written.to_string(),
            log.dropped.to_string(),
            log.duplicates.to_string(),
        ]
    });
    section(
        "Logs",
        &["stream", "in", "written", "dropped", "duplicates"],
        &[0],
        logs.collect(),
    );
    let counters = status
        .counters
        .iter()
        .map(|(name, value)| vec![name.clone(), value.to_string()]);
    section("Counters", &["name", "value"], &[0], counters.collect());
    text
}

const HELP: &str = "\
--json keys: id, name, version, uptime_s, listening, subscriptions,
  peers [id, name, url, state, filter, queued, queued_bytes, sent, received, dropped, rtt_us],
  stores [name, role, backend, entries], logs {stream: in, written, dropped}.";

#[cfg(test)]
mod tests {
    use broker_core::{LogCounters, PeerStatus, StoreStatus, Topic};

    use super::*;

    fn sample() -> NodeStatus {
        NodeStatus {
            name: "manager".to_owned(),
            subscriptions: Filter::from_iter([Topic::from_static("zeek/")]),
            peers: vec![PeerStatus {
                name: "worker-1".to_owned(),
                rtt: Some(Duration::from_micros(80)),
                ..PeerStatus::default()
            }],
            stores: vec![StoreStatus {
                name: "hosts".to_owned(),
                role: "master".to_owned(),
                backend: "memory".to_owned(),
                entries: 7,
            }],
            logs: BTreeMap::from([(
                "Conn::LOG".to_owned(),
                LogCounters {
                    received: 3,
                    written: 2,
                    dropped: 1,
                    duplicates: 9,
                },
            )]),
            ..NodeStatus::default()
        }
    }

    #[test]
    fn json_has_the_keys_that_are_promised() {
        let json = serde_json::to_value(Report::of(&sample())).expect("json");
        let keys = |value: &serde_json::Value| {
            value
                .as_object()
                .map(|object| object.keys().cloned().collect::<Vec<_>>())
                .unwrap_or_default()
        };
        let sorted = |mut keys: Vec<&str>| {
            keys.sort_unstable();
            keys.into_iter().map(str::to_owned).collect::<Vec<_>>()
        };
        let mut top = keys(&json);
        top.sort();
        assert_eq!(
            top,
            sorted(vec![
                "id",
                "name",
                "version",
                "uptime_s",
                "listening",
                "subscriptions",
                "peers",
                "stores",
                "logs"
            ])
        );
        let mut peer = keys(&json["peers"][0]);
        peer.sort();
        assert_eq!(
            peer,
            sorted(vec![
                "id",
                "name",
                "url",
                "state",
                "filter",
                "queued",
                "queued_bytes",
                "sent",
                "received",
                "dropped",
                "rtt_us"
            ])
        );
        assert_eq!(json["stores"][0]["entries"], 7);
        assert_eq!(
            json["logs"]["Conn::LOG"],
            serde_json::json!({"in": 3, "written": 2, "dropped": 1})
        );
    }

    #[test]
    fn the_tables_show_every_part() {
        let text = text(&sample());
        for part in [
            "manager",
            "worker-1",
            "80 us",
            "hosts",
            "Conn::LOG",
            "zeek/",
        ] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
    }
}
