//! What a node says about itself: the snapshot behind `broker status`, metrics and the demo's figures.
//!
//! Each layer adds its part through [`StatusSource`], so that core need not know what a store or a
//! log stream is.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::filter::Filter;
use crate::id::EndpointId;
use crate::store_report::Revision;

/// A layer that has something to say in a [`NodeStatus`].
///
/// Called on demand from async context: it must be quick and must not block.
pub trait StatusSource: Send + Sync + 'static {
    /// Adds what this layer knows to `status`.
    fn contribute(&self, status: &mut NodeStatus);
}

/// A snapshot of one node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeStatus {
    /// The endpoint's ID.
    pub id: EndpointId,
    /// The node's name, empty if it has none.
    pub name: String,
    /// The software version.
    pub version: String,
    /// How long the endpoint has been running.
    pub uptime: Duration,
    /// The addresses it listens on.
    pub listening: Vec<String>,
    /// The filter it announces.
    pub subscriptions: Filter,
    /// Its peers, by ID.
    pub peers: Vec<PeerStatus>,
    /// Its stores, by name.
    pub stores: Vec<StoreStatus>,
    /// Log streams it writes or receives, by name.
    pub logs: BTreeMap<String, LogCounters>,
    /// WebSocket clients, by the name of their application; not part of what other nodes are told.
    pub apps: BTreeMap<String, AppTraffic>,
    /// Further counters, by name; for example what a worker has read.
    pub counters: BTreeMap<String, u64>,
}

/// One peer as the node sees it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PeerStatus {
    /// The peer's ID; nil while nobody is there.
    pub id: EndpointId,
    /// The name it gave, empty if none.
    pub name: String,
    /// Where it is: the URL dialled, or the address it came from.
    pub url: String,
    /// `peered`; for a peering that is kept and not there, `connecting` if it has never been, else `reconnecting`;
    /// `disconnected` for a moment when it has ended.
    pub state: String,
    /// The filter it announced.
    pub filter: Filter,
    /// Messages waiting to be sent to it.
    pub queued: u64,
    /// Bytes waiting to be sent to it.
    pub queued_bytes: u64,
    /// Messages sent to it.
    pub sent: u64,
    /// Messages received from it.
    pub received: u64,
    /// Messages to it that were dropped.
    pub dropped: u64,
    /// Messages from it that were refused: bad payloads, forbidden topics, duplicates.
    pub rejected: u64,
    /// The last measured round trip.
    pub rtt: Option<Duration>,
}

/// One store as the node sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreStatus {
    /// The store's name.
    pub name: String,
    /// `master` or `clone`.
    pub role: String,
    /// `memory`, `sqlite`, `sled`, or a name of the user's.
    pub backend: String,
    /// How many keys it holds.
    pub entries: u64,
    /// Where it is in its history; `None` at a clone of a C++ master, which keeps none.
    pub revision: Option<Revision>,
    /// How many changes of the master are known here and not applied yet; `None` at a master.
    pub lag: Option<u64>,
    /// The digest of the entries at that revision, as hexadecimal digits; empty if none is kept.
    pub digest: String,
    /// How fresh the content is: `live`, `lost`, `stale` or `empty`; a master's is live.
    pub freshness: String,
}

/// What the WebSocket clients of one application do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AppTraffic {
    /// Clients of this moment.
    pub clients: u64,
    /// Events they have published.
    pub incoming_events: u64,
    /// Events they were sent.
    pub outgoing_events: u64,
}

/// What happened to the records of one log stream on this node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogCounters {
    /// Records that came in: written by this node's code, or received by a logger.
    pub received: u64,
    /// Records that are where they belong: acknowledged by a logger, or in the file.
    pub written: u64,
    /// Records given up.
    pub dropped: u64,
    /// Records on disk that wait for a logger; those of an earlier process count as received, too.
    pub spooled: u64,
    /// Records that a logger knows to have written before (a batch sent again after a failure).
    pub duplicates: u64,
}
