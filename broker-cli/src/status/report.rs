//! A status as it is shown: everything a node knows about itself, or the part of it that a peer can see.
//!
//! `None` is what cannot be seen; it prints as `null`, so that an empty list always means that there is nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use broker_core::{Filter, NodeStatus, PeerInfo};
use serde::{Deserialize, Serialize};

/// A status, with the keys that `--json` prints.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(super) id: String,
    pub(crate) name: String,
    pub(super) version: String,
    pub(crate) uptime_s: Option<f64>,
    pub(super) listening: Option<Vec<String>>,
    pub(super) subscriptions: Option<Vec<String>>,
    pub(crate) peers: Option<Vec<Peer>>,
    pub(crate) stores: Option<Vec<Store>>,
    pub(crate) logs: Option<BTreeMap<String, Log>>,
    /// Only tables have these.
    #[serde(skip)]
    pub(super) counters: BTreeMap<String, u64>,
    #[serde(flatten)]
    pub(super) seen: Option<Seen>,
}

/// What only somebody at the other end can say.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(super) protocol_version: u32,
    pub(super) rtt_us: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Peer {
    pub(super) id: String,
    pub(crate) name: String,
    pub(super) url: String,
    pub(crate) state: String,
    pub(super) filter: Vec<String>,
    pub(super) queued: u64,
    pub(super) queued_bytes: u64,
    pub(super) sent: u64,
    pub(crate) received: u64,
    pub(crate) dropped: u64,
    pub(super) rtt_us: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Store {
    pub(crate) name: String,
    pub(crate) role: String,
    pub(super) backend: Option<String>,
    pub(crate) entries: Option<u64>,
    /// Where it is in its history.
    pub(super) revision: Option<String>,
    /// How many changes of the master it knows and has not applied yet; none at a master.
    pub(crate) lag: Option<u64>,
    pub(super) digest: Option<String>,
    pub(super) freshness: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Log {
    #[serde(rename = "in")]
    pub(crate) received: u64,
    pub(crate) written: u64,
    pub(crate) dropped: u64,
    pub(crate) spooled: u64,
    #[serde(skip)]
    pub(super) duplicates: u64,
}

/// A [`Report`] on its way from one process of this program to another, with what `--json` does not print.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Portable {
    report: Report,
    counters: BTreeMap<String, u64>,
    duplicates: BTreeMap<String, u64>,
}

impl From<Report> for Portable {
    fn from(mut report: Report) -> Self {
        let logs = report.logs.iter_mut().flatten();
        Self {
            duplicates: logs
                .map(|(stream, log)| (stream.clone(), std::mem::take(&mut log.duplicates)))
                .collect(),
            counters: std::mem::take(&mut report.counters),
            report,
        }
    }
}

impl From<Portable> for Report {
    fn from(portable: Portable) -> Self {
        let mut report = portable.report;
        report.counters = portable.counters;
        for (stream, log) in report.logs.iter_mut().flatten() {
            log.duplicates = portable.duplicates.get(stream).copied().unwrap_or(0);
        }
        report
    }
}

impl Report {
    /// What a node says about itself.
    pub(crate) fn of_node(status: &NodeStatus) -> Self {
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
            backend: Some(store.backend.clone()),
            entries: Some(store.entries),
            revision: store.revision.map(|revision| revision.to_string()),
            lag: store.lag,
            digest: told(&store.digest),
            freshness: told(&store.freshness),
        });
        let logs = status.logs.iter().map(|(name, log)| {
            let log = Log {
                received: log.received,
                written: log.written,
                dropped: log.dropped,
                spooled: log.spooled,
                duplicates: log.duplicates,
            };
            (name.clone(), log)
        });
        Self {
            id: status.id.to_string(),
            name: status.name.clone(),
            version: status.version.clone(),
            uptime_s: Some((status.uptime.as_secs_f64() * 1e3).round() / 1e3),
            listening: Some(status.listening.clone()),
            subscriptions: Some(prefixes(&status.subscriptions)),
            peers: Some(peers.collect()),
            stores: Some(stores.collect()),
            logs: Some(logs.collect()),
            counters: status.counters.clone(),
            seen: None,
        }
    }

    /// What a peer sees of a node. Its stores are those that its filter names (broker-wire reference, 7.1).
    pub(crate) fn of_peer(peer: &PeerInfo, rtt: Duration) -> Self {
        Self {
            id: peer.id.to_string(),
            name: peer.name.clone(),
            version: peer.software.clone(),
            subscriptions: Some(prefixes(&peer.filter)),
            stores: Some(stores_of(&peer.filter)),
            seen: Some(Seen {
                protocol_version: peer.version,
                rtt_us: micros(rtt),
            }),
            ..Self::default()
        }
    }

    /// What a client sees of a WebSocket server: the ID in the name that it was given, and the version.
    #[cfg(feature = "ws")]
    pub(crate) fn of_server(endpoint: &str, version: &str, rtt: Duration) -> Self {
        let id = endpoint
            .split_once("-websocket-")
            .map_or(endpoint, |(id, _)| id);
        Self {
            id: id.to_owned(),
            version: version.to_owned(),
            seen: Some(Seen {
                protocol_version: JSON_VERSION,
                rtt_us: micros(rtt),
            }),
            ..Self::default()
        }
    }
}

/// The version of the JSON protocol, as it stands in the path of its addresses.
#[cfg(feature = "ws")]
const JSON_VERSION: u32 = 1;

fn told(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// The stores whose commands a filter asks for.
fn stores_of(filter: &Filter) -> Vec<Store> {
    let store = |topic: &broker_core::Topic| {
        let (name, role) = [("/<$>/data/master", "master"), ("/<$>/data/clone", "clone")]
            .into_iter()
            .find_map(|(suffix, role)| {
                Some((topic.as_bytes().strip_suffix(suffix.as_bytes())?, role))
            })?;
        (!name.is_empty()).then(|| Store {
            name: String::from_utf8_lossy(name).into_owned(),
            role: role.to_owned(),
            backend: None,
            entries: None,
            revision: None,
            lag: None,
            digest: None,
            freshness: None,
        })
    };
    filter.iter().filter_map(store).collect()
}

/// Prefixes as text; bytes that are none are shown by their escapes.
fn prefixes(filter: &Filter) -> Vec<String> {
    filter.iter().map(ToString::to_string).collect()
}

fn micros(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e7).round() / 10.0
}

#[cfg(test)]
pub(super) mod tests {
    use broker_core::{LogCounters, PeerStatus, Revision, StoreStatus, Topic};

    use super::*;

    pub(in crate::status) fn sample() -> NodeStatus {
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
                revision: Some(Revision {
                    history: 0xc0_ffee,
                    number: 42,
                }),
                digest: "0123456789abcdef".to_owned(),
                freshness: "live".to_owned(),
                ..StoreStatus::default()
            }],
            logs: BTreeMap::from([(
                "Conn::LOG".to_owned(),
                LogCounters {
                    received: 3,
                    written: 2,
                    dropped: 1,
                    duplicates: 9,
                    spooled: 4,
                },
            )]),
            ..NodeStatus::default()
        }
    }

    pub(in crate::status) fn sample_peer() -> PeerInfo {
        PeerInfo {
            id: broker_core::EndpointId::NIL,
            name: "zeek".to_owned(),
            software: String::new(),
            url: "broker://zeek".parse().expect("a URL"),
            inbound: false,
            version: 1,
            features: Vec::new(),
            filter: Filter::from_iter(
                [
                    "zeek/",
                    "hosts/<$>/data/master",
                    "a/b/<$>/data/clone",
                    "/<$>/data/clone",
                ]
                .map(Topic::from_static),
            ),
        }
    }

    fn keys(value: &serde_json::Value) -> String {
        let mut keys: Vec<_> = value
            .as_object()
            .expect("an object")
            .keys()
            .cloned()
            .collect();
        keys.sort();
        keys.join(" ")
    }

    const KEYS: &str = "id listening logs name peers stores subscriptions uptime_s version";

    #[test]
    fn all_of_a_report_gets_to_another_process() {
        let mut status = sample();
        status.counters = [("handler_calls".to_owned(), 3)].into();
        let report = Report::of_node(&status);
        let text = serde_json::to_string(&Portable::from(report.clone())).expect("json");
        let back: Portable = serde_json::from_str(&text).expect("read");
        assert_eq!(Report::from(back), report);
    }

    #[test]
    fn json_has_the_keys_that_are_promised() {
        let json = serde_json::to_value(Report::of_node(&sample())).expect("json");
        assert_eq!(keys(&json), KEYS);
        assert_eq!(
            keys(&json["peers"][0]),
            "dropped filter id name queued queued_bytes received rtt_us sent state url"
        );
        assert_eq!(json["stores"][0]["entries"], 7);
        assert_eq!(json["stores"][0]["revision"], "0000000000c0ffee-42");
        assert_eq!(json["stores"][0]["digest"], "0123456789abcdef");
        assert_eq!(
            json["logs"]["Conn::LOG"],
            serde_json::json!({"in": 3, "written": 2, "dropped": 1, "spooled": 4})
        );
    }

    #[cfg(feature = "ws")]
    #[test]
    fn of_a_server_there_is_its_id_and_version() {
        let id = "3f0c0000-0000-4000-8000-000000000007";
        for endpoint in [id.to_owned(), format!("{id}-websocket-7")] {
            let report = Report::of_server(&endpoint, "9.1.0", Duration::from_micros(9));
            let json = serde_json::to_value(report).expect("json");
            assert_eq!(
                (&json["id"], &json["version"]),
                (&id.into(), &"9.1.0".into())
            );
            assert!(
                json["subscriptions"].is_null() && json["stores"].is_null(),
                "{json}"
            );
        }
    }

    #[test]
    fn what_a_peer_cannot_see_is_null() {
        let report = Report::of_peer(&sample_peer(), Duration::from_micros(120));
        let json = serde_json::to_value(report).expect("json");
        assert_eq!(keys(&json).replace("protocol_version rtt_us ", ""), KEYS);
        for key in ["uptime_s", "listening", "peers", "logs"] {
            assert!(json[key].is_null(), "{key}: {json}");
        }
        assert_eq!(
            (&json["protocol_version"], &json["rtt_us"]),
            (&1.into(), &120.0.into())
        );
        let store = |name, role| {
            serde_json::json!({
                "name": name, "role": role, "backend": null, "entries": null,
                "revision": null, "lag": null, "digest": null, "freshness": null
            })
        };
        assert_eq!(
            json["stores"],
            serde_json::json!([store("a/b", "clone"), store("hosts", "master")])
        );
    }
}
