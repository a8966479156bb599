//! Every metric of a node: its name, type, labels and meaning. `docs/metrics.md` is this list for people; a test compares
//! the two.
//!
//! Names that Zeek and C++ Broker have are theirs (broker-wire reference, 10.3; zeek-cluster 1.9 and 2.7). Counters are
//! listed without the `_total` that their samples end with.

/// A metric.
#[derive(Debug)]
pub(super) struct Metric {
    /// Its name, without `_total`.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// Its labels besides `endpoint`, which all have.
    pub(super) labels: &'static [&'static str],
    pub(super) help: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Gauge,
    Counter,
    Histogram,
}

macro_rules! metrics {
    ($($id:ident $kind:ident $name:literal [$($label:literal),*] $help:literal)*) => {
        $(pub(super) static $id: Metric = Metric {
            name: $name,
            kind: Kind::$kind,
            labels: &[$($label),*],
            help: $help,
        };)*
        /// All of them, in the order in which they are served.
        pub(super) static ALL: &[&Metric] = &[$(&$id),*];
    };
}

metrics! {
    // C++ Broker's.
    CONNECTIONS Gauge "broker_connections" ["type"] "Peers (native) and WebSocket clients (web-socket) that are connected now"
    PROCESSED Counter "broker_processed_messages" ["type"] "Messages taken from peers or published here, by type"
    STORE_ENTRIES Gauge "broker_store_entries" ["name"] "Entries of a master or a clone"
    STORE_INPUTS Gauge "broker_store_input_channels" ["name"] "Channels that a store receives numbered messages on"
    STORE_OUT_OF_ORDER Gauge "broker_store_out_of_order_updates" ["name"] "Messages of stores that came early and wait for their turn"
    STORE_OUTPUTS Gauge "broker_store_output_channels" ["name"] "Channels that a store sends numbered messages on"
    STORE_UNACKNOWLEDGED Gauge "broker_store_unacknowledged_updates" ["name"] "Messages of a store that somebody has not acknowledged yet"
    STORE_PROCESSED Counter "broker_store_processed_updates" ["name"] "Messages of a store that all have acknowledged"
    // Zeek's.
    PEERS Gauge "zeek_broker_peers" [] "Peers that are connected now"
    STORES Gauge "zeek_broker_stores" [] "Masters and clones of this node"
    PENDING Gauge "zeek_broker_pending_queries" [] "Calls to stores that wait for an answer"
    INCOMING_EVENTS Counter "zeek_broker_incoming_events" [] "Events that came from peers"
    INCOMING_LOGS Counter "zeek_broker_incoming_logs" [] "Log messages that came from peers"
    INCOMING_IDS Counter "zeek_broker_incoming_ids" [] "New values of global variables that came from peers"
    OUTGOING_EVENTS Counter "zeek_broker_outgoing_events" [] "Events published here that a peer had asked for"
    OUTGOING_LOGS Counter "zeek_broker_outgoing_logs" [] "Log messages published here that a peer had asked for"
    OUTGOING_IDS Counter "zeek_broker_outgoing_ids" [] "New values of global variables published here that a peer had asked for"
    BUFFERED Gauge "zeek_broker_peer_buffer_messages" ["peer"] "Messages waiting to be sent to a peer"
    BUFFERED_MAX Gauge "zeek_broker_peer_buffer_recent_max_messages" ["peer"] "Most messages that waited for a peer in the last one to two minutes"
    OVERFLOWS Counter "zeek_broker_peer_buffer_overflows" ["peer"] "Messages to a peer that were dropped since its queue was full"
    DISCONNECTS Counter "zeek_broker_backpressure_disconnects" ["peer"] "Peerings that were cut since the peer took its messages too slowly"
    CORE_OUTGOING Counter "zeek_cluster_core_outgoing_events" [] "Events published to the cluster by this node"
    CORE_INCOMING Counter "zeek_cluster_core_incoming_events" [] "Events that came to this node from the cluster"
    WEBSOCKET_OUTGOING Counter "zeek_cluster_websocket_outgoing_events" ["app"] "Events that WebSocket clients published"
    WEBSOCKET_INCOMING Counter "zeek_cluster_websocket_incoming_events" ["app"] "Events that WebSocket clients were sent"
    CORE_VERBOSE_OUTGOING Counter "zeek_cluster_core_verbose_outgoing_events" ["topic", "handler"] "Events published to the cluster by this node, by topic and name"
    CORE_VERBOSE_INCOMING Counter "zeek_cluster_core_verbose_incoming_events" ["topic", "handler"] "Events that came to this node from the cluster, by topic and name"
    WEBSOCKET_VERBOSE_OUTGOING Counter "zeek_cluster_websocket_verbose_outgoing_events" ["app", "topic", "handler"] "Events that WebSocket clients published, by topic and name"
    WEBSOCKET_VERBOSE_INCOMING Counter "zeek_cluster_websocket_verbose_incoming_events" ["app", "topic", "handler"] "Events that WebSocket clients were sent, by topic and name"
    CORE_DEBUG_OUTGOING Histogram "zeek_cluster_core_debug_outgoing_event_sizes" ["topic", "handler"] "Bytes of events published to the cluster by this node"
    CORE_DEBUG_INCOMING Histogram "zeek_cluster_core_debug_incoming_event_sizes" ["topic", "handler"] "Bytes of events that came to this node from the cluster"
    WEBSOCKET_DEBUG_OUTGOING Histogram "zeek_cluster_websocket_debug_outgoing_event_sizes" ["app", "topic", "handler"] "Bytes of events that WebSocket clients published"
    WEBSOCKET_DEBUG_INCOMING Histogram "zeek_cluster_websocket_debug_incoming_event_sizes" ["app", "topic", "handler"] "Bytes of events that WebSocket clients were sent"
    // Ours.
    BUILD Gauge "broker_build_info" ["version"] "Always 1; the version of this program"
    UPTIME Gauge "broker_uptime_seconds" [] "How long the node has been running"
    READY Gauge "broker_ready" [] "Whether /readyz says yes"
    PEER_UP Gauge "broker_peer_up" ["peer"] "Whether a peer is connected; of nodes of the layout also those that are not"
    PEER_BUFFERED_BYTES Gauge "broker_peer_buffer_bytes" ["peer"] "Bytes waiting to be sent to a peer"
    PEER_SENT Counter "broker_peer_sent_messages" ["peer"] "Messages sent to a peer over the connection of now"
    PEER_RECEIVED Counter "broker_peer_received_messages" ["peer"] "Messages received from a peer over the connection of now"
    PEER_REJECTED Counter "broker_peer_rejected_messages" ["peer"] "Messages of a peer that were refused, over the connection of now"
    PEER_DROPPED Counter "broker_peer_dropped_messages" ["peer", "reason"] "Messages to a peer that were dropped, by reason"
    PEER_RTT Gauge "broker_peer_round_trip_seconds" ["peer"] "The last measured round trip to a peer"
    MESSAGES_RECEIVED Counter "broker_received_messages" [] "Messages from all peers since the start"
    MESSAGES_REJECTED Counter "broker_rejected_messages" [] "Messages from all peers that were refused since the start"
    MESSAGES_SENT Counter "broker_sent_messages" [] "Messages to all peers since the start"
    MESSAGES_DROPPED Counter "broker_dropped_messages" [] "Messages to all peers that were dropped since the start"
    LOCAL_DELIVERED Counter "broker_local_delivered_messages" [] "Messages that subscribers and clients of this node have taken"
    LOCAL_DROPPED Counter "broker_local_dropped_messages" [] "Messages that subscribers and clients of this node did not get"
    LOCAL_QUEUED Gauge "broker_local_queued_messages" [] "Messages waiting for subscribers and clients of this node"
    STORE_REVISION Gauge "broker_store_revision" ["name"] "How many changes the history of a store has up to what is here"
    STORE_LAG Gauge "broker_store_lag" ["name"] "Changes of the master that a clone knows of and has not applied"
    STORE_LIVE Gauge "broker_store_live" ["name"] "Whether the content of a clone follows its master at the moment; always 1 at a master"
    LOG_RECORDS Counter "broker_log_records" ["stream"] "Log records that came in: written here, or received as a logger"
    LOG_WRITTEN Counter "broker_log_written_records" ["stream"] "Log records that are in a file or acknowledged by a logger"
    LOG_DROPPED Counter "broker_log_dropped_records" ["stream"] "Log records that were given up"
    LOG_DUPLICATES Counter "broker_log_duplicate_records" ["stream"] "Log records that a logger had written before"
    LOG_SPOOLED Gauge "broker_log_spooled_records" ["stream"] "Log records on disk that wait for a logger"
    NODES_UP Gauge "broker_cluster_nodes_up" ["role"] "Nodes of the layout that this node is connected to and that have said hello"
    NODES_EXPECTED Gauge "broker_cluster_nodes_expected" ["role"] "Nodes of the layout that this node is to be connected to"
    FULLY_CONNECTED Gauge "broker_cluster_fully_connected" [] "Whether the node has had a connection to every node it waits for"
    NODE_COUNTER Counter "broker_node_events" ["event"] "Further things that layers of this node count, by name"
    SCRAPES Counter "broker_metrics_scrapes" [] "How often these metrics were asked for"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_proper() {
        let mut names: Vec<_> = ALL.iter().map(|metric| metric.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
        for metric in ALL {
            assert!(
                metric
                    .name
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b == b'_'),
                "{}",
                metric.name
            );
            assert!(!metric.name.ends_with("_total"), "{}", metric.name);
            assert!(!metric.help.ends_with('.'), "{}", metric.help);
        }
    }
}
