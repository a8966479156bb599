//! The figures of one moment, read from where they are counted anyway, and written as text.

use std::collections::{BTreeMap, HashMap};

use broker_cluster::{ClusterNode, Layout, NodeSpec};
use broker_core::queue::DropReason;
use broker_core::{Endpoint, EndpointId, EventSizes, NodeStatus, Traffic, ZeekTraffic};
use broker_store::StoreExt as _;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, prometheus_text, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::catalogue::{self as c, Kind, Metric};

/// The label of peers that are in no layout, as Zeek has it.
const UNKNOWN: &str = "unknown";

/// Samples by metric; those of one metric with the same labels add up.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    rows: HashMap<&'static str, BTreeMap<Vec<String>, f64>>,
    sizes: HashMap<&'static str, BTreeMap<Vec<String>, EventSizes>>,
}

/// Which text is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Prometheus,
    OpenMetrics,
}

impl Format {
    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

impl Snapshot {
    /// Adds `value` to the sample of `metric` with these label values.
    pub(super) fn add(&mut self, metric: &'static Metric, labels: &[&str], value: f64) {
        let rows = self.rows.entry(metric.name).or_default();
        *rows.entry(row(metric, labels)).or_default() += value;
    }

    /// Adds `sizes` to those of `metric` with these label values.
    pub(super) fn add_sizes(
        &mut self,
        metric: &'static Metric,
        labels: &[&str],
        sizes: &EventSizes,
    ) {
        let rows = self.sizes.entry(metric.name).or_default();
        let sum = rows.entry(row(metric, labels)).or_default();
        *sum = sum.plus(sizes);
    }

    /// Everything a node knows about itself.
    pub(super) fn read(&mut self, endpoint: &Endpoint, cluster: Option<&ClusterNode>) {
        let status = endpoint.status();
        let names = PeerNames::new(&status, cluster);
        self.add(&c::UPTIME, &[], status.uptime.as_secs_f64());
        self.peers(endpoint, &status, &names);
        self.drops(endpoint, &names);
        self.totals(endpoint);
        self.traffic(endpoint.traffic().unwrap_or_default());
        self.clients(&status);
        self.stores(endpoint, &status);
        self.logs(&status);
        if let Some(cluster) = cluster {
            self.cluster(cluster);
        }
        for (name, count) in &status.counters {
            if name != "cluster_nodes_up" {
                self.add(&c::NODE_COUNTER, &[name], float(*count));
            }
        }
    }

    fn peers(&mut self, endpoint: &Endpoint, status: &NodeStatus, names: &PeerNames) {
        let there = status.peers.iter().filter(|peer| peer.state == "peered");
        let count = float(there.clone().count() as u64);
        self.add(&c::PEERS, &[], count);
        self.add(&c::CONNECTIONS, &["native"], count);
        for name in &names.expected {
            self.add(&c::PEER_UP, &[name], 0.0);
        }
        for peer in there {
            let name = &names.label(&peer.id.to_string());
            self.add(&c::PEER_UP, &[name], 1.0);
            self.add(&c::BUFFERED, &[name], float(peer.queued));
            self.add(&c::PEER_BUFFERED_BYTES, &[name], float(peer.queued_bytes));
            self.add(&c::PEER_SENT, &[name], float(peer.sent));
            self.add(&c::PEER_RECEIVED, &[name], float(peer.received));
            self.add(&c::PEER_REJECTED, &[name], float(peer.rejected));
            // Those that are there always have these, so that a first drop is seen as an increase.
            self.add(&c::OVERFLOWS, &[name], 0.0);
            self.add(&c::DISCONNECTS, &[name], 0.0);
            if let Some(rtt) = peer.rtt {
                self.add(&c::PEER_RTT, &[name], rtt.as_secs_f64());
            }
        }
        for (id, _, counters) in endpoint.peer_queues() {
            let name = &names.label(&id.to_string());
            self.add(
                &c::BUFFERED_MAX,
                &[name],
                float(counters.max_queued_recently),
            );
        }
    }

    fn drops(&mut self, endpoint: &Endpoint, names: &PeerNames) {
        for drop in endpoint.drops() {
            let name = &names.label(&drop.peer);
            self.add(
                &c::PEER_DROPPED,
                &[name, drop.reason.as_str()],
                float(drop.count),
            );
            // What a peer left behind when it went away did not overflow.
            if drop.reason != DropReason::Closed {
                self.add(&c::OVERFLOWS, &[name], float(drop.count));
            }
        }
        for (peer, count) in endpoint.overflows() {
            self.add(&c::DISCONNECTS, &[&names.label(&peer)], float(count));
        }
    }

    fn totals(&mut self, endpoint: &Endpoint) {
        let totals = endpoint.totals();
        self.add(&c::MESSAGES_RECEIVED, &[], float(totals.received));
        self.add(&c::MESSAGES_REJECTED, &[], float(totals.rejected));
        self.add(&c::MESSAGES_SENT, &[], float(totals.to_peers.sent));
        self.add(&c::MESSAGES_DROPPED, &[], float(totals.to_peers.dropped));
        self.add(&c::LOCAL_DELIVERED, &[], float(totals.to_locals.sent));
        self.add(&c::LOCAL_DROPPED, &[], float(totals.to_locals.dropped));
        self.add(&c::LOCAL_QUEUED, &[], float(totals.to_locals.queued));
    }

    fn traffic(&mut self, traffic: Traffic) {
        let kinds = ["data", "command", "routing-update", "ping", "pong"];
        for (kind, count) in kinds.into_iter().zip(traffic.processed) {
            self.add(&c::PROCESSED, &[kind], float(count));
        }
        let mut zeek = |counts: ZeekTraffic, metrics: [&'static Metric; 4]| {
            let [events, core, logs, ids] = metrics;
            self.add(events, &[], float(counts.events));
            self.add(core, &[], float(counts.events));
            self.add(logs, &[], float(counts.logs));
            self.add(ids, &[], float(counts.ids));
        };
        zeek(
            traffic.incoming,
            [
                &c::INCOMING_EVENTS,
                &c::CORE_INCOMING,
                &c::INCOMING_LOGS,
                &c::INCOMING_IDS,
            ],
        );
        zeek(
            traffic.outgoing,
            [
                &c::OUTGOING_EVENTS,
                &c::CORE_OUTGOING,
                &c::OUTGOING_LOGS,
                &c::OUTGOING_IDS,
            ],
        );
    }

    fn clients(&mut self, status: &NodeStatus) {
        self.add(&c::CONNECTIONS, &["web-socket"], 0.0);
        for (app, traffic) in &status.apps {
            self.add(&c::CONNECTIONS, &["web-socket"], float(traffic.clients));
            // As in Zeek, what a client publishes goes out to the cluster, and what it gets comes in from there.
            self.add(
                &c::WEBSOCKET_OUTGOING,
                &[app],
                float(traffic.incoming_events),
            );
            self.add(
                &c::WEBSOCKET_INCOMING,
                &[app],
                float(traffic.outgoing_events),
            );
        }
    }

    fn stores(&mut self, endpoint: &Endpoint, status: &NodeStatus) {
        self.add(&c::STORES, &[], float(status.stores.len() as u64));
        self.add(&c::PENDING, &[], 0.0);
        for store in &status.stores {
            let name: &[&str] = &[&store.name];
            self.add(&c::STORE_ENTRIES, name, float(store.entries));
            if let Some(revision) = store.revision {
                self.add(&c::STORE_REVISION, name, float(revision.number));
            }
            self.add(&c::STORE_LAG, name, float(store.lag.unwrap_or(0)));
            self.add(&c::STORE_LIVE, name, f64::from(store.freshness == "live"));
        }
        for store in endpoint.stores() {
            let channels = store.channels();
            let name: &[&str] = &[store.name()];
            self.add(&c::STORE_INPUTS, name, float(channels.inputs));
            self.add(&c::STORE_OUTPUTS, name, float(channels.outputs));
            self.add(&c::STORE_OUT_OF_ORDER, name, float(channels.out_of_order));
            self.add(
                &c::STORE_UNACKNOWLEDGED,
                name,
                float(channels.unacknowledged),
            );
            self.add(&c::STORE_PROCESSED, name, float(channels.acknowledged));
            self.add(&c::PENDING, &[], float(channels.pending));
        }
    }

    fn logs(&mut self, status: &NodeStatus) {
        for (stream, log) in &status.logs {
            let stream: &[&str] = &[stream];
            self.add(&c::LOG_RECORDS, stream, float(log.received));
            self.add(&c::LOG_WRITTEN, stream, float(log.written));
            self.add(&c::LOG_DROPPED, stream, float(log.dropped));
            self.add(&c::LOG_DUPLICATES, stream, float(log.duplicates));
            self.add(&c::LOG_SPOOLED, stream, float(log.spooled));
        }
    }

    fn cluster(&mut self, cluster: &ClusterNode) {
        let layout = cluster.current_layout();
        for node in expected(&layout, cluster.spec()) {
            self.add(&c::NODES_EXPECTED, &[node.role.as_str()], 1.0);
            self.add(&c::NODES_UP, &[node.role.as_str()], 0.0);
        }
        for (role, _) in cluster.nodes_up().values() {
            self.add(&c::NODES_UP, &[role.as_str()], 1.0);
        }
    }

    /// The samples as text; each has the label `endpoint`.
    pub(super) fn text(self, endpoint: &str, format: Format) -> String {
        let labels = [("endpoint".into(), endpoint.to_owned().into())];
        let mut registry = Registry::with_labels(labels.into_iter());
        registry.register_collector(Box::new(self));
        let mut out = String::with_capacity(16 << 10);
        let written = match format {
            Format::Prometheus => prometheus_text::encode(&mut out, &registry),
            Format::OpenMetrics => text::encode(&mut out, &registry),
        };
        written.expect(
            "writing to a String does not fail, and the collector brings no error of its own",
        );
        out
    }
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        for metric in c::ALL {
            let kind = match metric.kind {
                Kind::Gauge => MetricType::Gauge,
                Kind::Counter => MetricType::Counter,
                Kind::Histogram => MetricType::Histogram,
            };
            let help = format!("{}.", metric.help);
            let mut family = encoder.encode_descriptor(metric.name, &help, None, kind)?;
            for (values, sample) in self.rows.get(metric.name).into_iter().flatten() {
                let labels = named(metric, values);
                let mut row = family.encode_family(&labels)?;
                match metric.kind {
                    Kind::Gauge => row.encode_gauge(sample)?,
                    _ => row.encode_counter::<NoLabelSet, _, u64>(&(*sample as u64), None)?,
                }
            }
            for (values, sizes) in self.sizes.get(metric.name).into_iter().flatten() {
                let labels = named(metric, values);
                let bounds = EventSizes::BOUNDS.iter().map(|bound| float(*bound));
                let bounds = bounds.chain([f64::INFINITY]);
                let buckets: Vec<(f64, u64)> = bounds.zip(sizes.buckets).collect();
                let mut row = family.encode_family(&labels)?;
                row.encode_histogram::<NoLabelSet>(
                    float(sizes.sum),
                    sizes.count(),
                    &buckets,
                    None,
                )?;
            }
        }
        Ok(())
    }
}

fn row(metric: &Metric, labels: &[&str]) -> Vec<String> {
    debug_assert_eq!(labels.len(), metric.labels.len(), "{}", metric.name);
    labels.iter().map(|label| (*label).to_owned()).collect()
}

fn named(metric: &Metric, values: &[String]) -> Vec<(String, String)> {
    let names = metric.labels.iter().map(|name| (*name).to_owned());
    names.zip(values.iter().cloned()).collect()
}

/// The nodes of `layout` that the node `own` is to be connected to: those it dials, and those that dial it.
pub(super) fn expected<'a>(
    layout: &'a Layout,
    own: &'a NodeSpec,
) -> impl Iterator<Item = &'a NodeSpec> {
    layout.nodes().filter(move |node| {
        node.name != own.name
            && (own.role.dials().contains(&node.role) || node.role.dials().contains(&own.role))
    })
}

/// What peers are called: in a cluster by the names of the layout, whoever is not in it `unknown`; elsewhere by their own
/// names, or IDs.
struct PeerNames {
    /// By ID, and by the name a peer has given itself.
    known: HashMap<String, String>,
    expected: Vec<String>,
    in_cluster: bool,
}

impl PeerNames {
    fn new(status: &NodeStatus, cluster: Option<&ClusterNode>) -> Self {
        let mut known = HashMap::new();
        let mut expected_names = Vec::new();
        match cluster {
            Some(cluster) => {
                let up = cluster.nodes_up();
                known.extend(
                    up.iter()
                        .map(|(name, (_, id)): (&String, &(_, EndpointId))| {
                            (id.to_string(), name.clone())
                        }),
                );
                let layout = cluster.current_layout();
                for node in layout.nodes() {
                    known.insert(node.name.clone(), node.name.clone());
                }
                let names = expected(&layout, cluster.spec());
                expected_names.extend(names.map(|node| node.name.clone()));
                // Before its hello, a node is whom it said it is when it shook hands.
                for peer in &status.peers {
                    if let Some(name) = known.get(&peer.name).cloned() {
                        known.entry(peer.id.to_string()).or_insert(name);
                    }
                }
            }
            None => known.extend(
                status
                    .peers
                    .iter()
                    .filter(|peer| !peer.name.is_empty())
                    .map(|peer| (peer.id.to_string(), peer.name.clone())),
            ),
        }
        Self {
            known,
            expected: expected_names,
            in_cluster: cluster.is_some(),
        }
    }

    fn label(&self, peer: &str) -> String {
        match self.known.get(peer) {
            Some(name) => name.clone(),
            None if self.in_cluster || peer.is_empty() => UNKNOWN.to_owned(),
            None => peer.to_owned(),
        }
    }
}

/// Counts beyond 2^53 lose their last digits, as everywhere in Prometheus.
#[expect(clippy::cast_precision_loss, reason = "samples are floating point")]
const fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_with_the_same_labels_add_up_and_every_metric_is_described() {
        let mut snapshot = Snapshot::default();
        snapshot.add(&c::OVERFLOWS, &["a\"b\nc"], 1.0);
        snapshot.add(&c::OVERFLOWS, &["a\"b\nc"], 2.0);
        snapshot.add(&c::READY, &[], 1.0);
        let text = snapshot.text("node", Format::Prometheus);
        let line = r#"zeek_broker_peer_buffer_overflows_total{endpoint="node",peer="a\"b\nc"} 3"#;
        assert!(text.contains(line), "{text}");
        assert!(text.contains("broker_ready{endpoint=\"node\"} 1"), "{text}");
        let described = text
            .lines()
            .filter(|line| line.starts_with("# TYPE "))
            .count();
        assert_eq!(described, c::ALL.len());
    }

    #[test]
    fn sizes_are_a_histogram_whose_buckets_hold_all_up_to_their_bound() {
        let mut snapshot = Snapshot::default();
        let mut sizes = EventSizes::default();
        (sizes.buckets[0], sizes.buckets[2], sizes.buckets[8]) = (1, 2, 1);
        sizes.sum = 60_170;
        let labels = ["a\"b", "E::x"];
        snapshot.add_sizes(&c::CORE_DEBUG_INCOMING, &labels, &sizes);
        snapshot.add_sizes(&c::CORE_DEBUG_INCOMING, &labels, &sizes);
        let text = snapshot.text("node", Format::Prometheus);
        let name = "zeek_cluster_core_debug_incoming_event_sizes";
        let labels = r#"endpoint="node",topic="a\"b",handler="E::x""#;
        for line in [
            format!("# TYPE {name} histogram"),
            format!("{name}_bucket{{{labels},le=\"10\"}} 2"),
            format!("{name}_bucket{{{labels},le=\"50\"}} 2"),
            format!("{name}_bucket{{{labels},le=\"100\"}} 6"),
            format!("{name}_bucket{{{labels},le=\"50000\"}} 6"),
            format!("{name}_bucket{{{labels},le=\"+Inf\"}} 8"),
            format!("{name}_sum{{{labels}}} 120340.0"),
            format!("{name}_count{{{labels}}} 8"),
        ] {
            assert!(text.lines().any(|one| one == line), "{line}: {text}");
        }
    }

    #[test]
    fn open_metrics_end_with_their_mark() {
        let text = Snapshot::default().text("node", Format::OpenMetrics);
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
}
