//! [`NodeStatus`] as a protobuf message, and back.

use std::time::Duration;

use broker_core::{
    EndpointId, Filter, LogCounters, NodeStatus, PeerStatus, StoreStatus, Topic, TopicError,
};
use bytes::Bytes;

use super::{duration_from_proto, duration_to_proto};
use crate::proto;

/// Why a message is no status. The node that sent it is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadStatus {
    /// The reply holds no status.
    #[error("a reply without status")]
    Missing,
    /// An ID that is not 16 bytes long.
    #[error("an endpoint ID of {len} bytes, not 16")]
    Id {
        /// Its length.
        len: usize,
    },
    /// A prefix that is no topic.
    #[error("a filter with a bad prefix")]
    Filter(#[from] TopicError),
}

/// Writes `status`.
#[must_use]
pub fn status_to_proto(status: NodeStatus) -> proto::NodeStatus {
    let counters = |counters: LogCounters| proto::LogCounters {
        received: counters.received,
        written: counters.written,
        dropped: counters.dropped,
        duplicates: counters.duplicates,
        spooled: counters.spooled,
    };
    proto::NodeStatus {
        id: id_to_proto(status.id),
        name: status.name,
        version: status.version,
        uptime_ns: nanos(status.uptime),
        listening: status.listening,
        subscriptions: filter_to_proto(&status.subscriptions),
        peers: status.peers.into_iter().map(peer_to_proto).collect(),
        stores: status.stores.into_iter().map(store_to_proto).collect(),
        logs: status
            .logs
            .into_iter()
            .map(|(name, log)| (name, counters(log)))
            .collect(),
        counters: status.counters.into_iter().collect(),
    }
}

/// Reads a status.
///
/// # Errors
/// See [`BadStatus`].
pub fn status_from_proto(status: proto::NodeStatus) -> Result<NodeStatus, BadStatus> {
    let counters = |counters: proto::LogCounters| LogCounters {
        received: counters.received,
        written: counters.written,
        dropped: counters.dropped,
        duplicates: counters.duplicates,
        spooled: counters.spooled,
    };
    Ok(NodeStatus {
        id: id_from_proto(&status.id)?,
        name: status.name,
        version: status.version,
        uptime: Duration::from_nanos(status.uptime_ns),
        listening: status.listening,
        subscriptions: filter_from_proto(status.subscriptions)?,
        peers: status
            .peers
            .into_iter()
            .map(peer_from_proto)
            .collect::<Result<_, _>>()?,
        stores: status.stores.into_iter().map(store_from_proto).collect(),
        logs: status
            .logs
            .into_iter()
            .map(|(name, log)| (name, counters(log)))
            .collect(),
        counters: status.counters.into_iter().collect(),
        apps: std::collections::BTreeMap::new(),
    })
}

fn peer_to_proto(peer: PeerStatus) -> proto::PeerStatus {
    proto::PeerStatus {
        id: id_to_proto(peer.id),
        name: peer.name,
        url: peer.url,
        state: peer.state,
        filter: filter_to_proto(&peer.filter),
        queued: peer.queued,
        queued_bytes: peer.queued_bytes,
        sent: peer.sent,
        received: peer.received,
        dropped: peer.dropped,
        rejected: peer.rejected,
        rtt_ns: duration_to_proto(peer.rtt),
    }
}

fn peer_from_proto(peer: proto::PeerStatus) -> Result<PeerStatus, BadStatus> {
    Ok(PeerStatus {
        id: id_from_proto(&peer.id)?,
        name: peer.name,
        url: peer.url,
        state: peer.state,
        filter: filter_from_proto(peer.filter)?,
        queued: peer.queued,
        queued_bytes: peer.queued_bytes,
        sent: peer.sent,
        received: peer.received,
        dropped: peer.dropped,
        rejected: peer.rejected,
        rtt: duration_from_proto(peer.rtt_ns),
    })
}

fn store_to_proto(store: StoreStatus) -> proto::StoreStatus {
    proto::StoreStatus {
        name: store.name,
        role: store.role,
        backend: store.backend,
        entries: store.entries,
        revision: store
            .revision
            .map(|revision| revision.to_string())
            .unwrap_or_default(),
        lag: store.lag,
        digest: store.digest,
        freshness: store.freshness,
    }
}

fn store_from_proto(store: proto::StoreStatus) -> StoreStatus {
    StoreStatus {
        name: store.name,
        role: store.role,
        backend: store.backend,
        entries: store.entries,
        revision: store.revision.parse().ok(),
        lag: store.lag,
        digest: store.digest,
        freshness: store.freshness,
    }
}

fn id_to_proto(id: EndpointId) -> Bytes {
    Bytes::copy_from_slice(id.as_bytes())
}

fn id_from_proto(bytes: &[u8]) -> Result<EndpointId, BadStatus> {
    bytes
        .try_into()
        .map(EndpointId::from_bytes)
        .map_err(|_| BadStatus::Id { len: bytes.len() })
}

fn filter_to_proto(filter: &Filter) -> Vec<Bytes> {
    filter
        .iter()
        .map(|prefix| prefix.clone().into_bytes())
        .collect()
}

fn filter_from_proto(prefixes: Vec<Bytes>) -> Result<Filter, BadStatus> {
    Ok(prefixes
        .iter()
        .map(|prefix| Topic::copy_from(prefix))
        .collect::<Result<_, _>>()?)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use broker_core::Revision;

    use super::*;

    #[test]
    fn a_status_reads_back() {
        let filter: Filter = [Topic::from_static("/a"), Topic::new(vec![0xff]).unwrap()]
            .into_iter()
            .collect();
        let log = LogCounters {
            received: 1,
            written: 2,
            dropped: 3,
            duplicates: 4,
            spooled: 5,
        };
        let peer = PeerStatus {
            id: EndpointId::from_bytes([2; 16]),
            name: "logger-1".to_owned(),
            url: "grpc://h:1".to_owned(),
            state: "peered".to_owned(),
            filter: filter.clone(),
            queued: 1,
            queued_bytes: 2,
            sent: 3,
            received: 4,
            dropped: 5,
            rejected: 6,
            rtt: Some(Duration::from_nanos(7)),
        };
        let store = StoreStatus {
            name: "hosts".to_owned(),
            role: "master".to_owned(),
            backend: "memory".to_owned(),
            entries: 9,
            revision: Some(Revision {
                history: 1,
                number: 2,
            }),
            lag: Some(0),
            digest: "00".to_owned(),
            freshness: "live".to_owned(),
        };
        let status = NodeStatus {
            id: EndpointId::from_bytes([1; 16]),
            name: "manager".to_owned(),
            version: "1".to_owned(),
            uptime: Duration::from_millis(1500),
            listening: vec!["grpc://h:2".to_owned()],
            subscriptions: filter,
            peers: vec![peer.clone(), PeerStatus { rtt: None, ..peer }],
            stores: vec![store],
            logs: [("conn".to_owned(), log)].into(),
            counters: [("read".to_owned(), 5)].into(),
            ..NodeStatus::default()
        };
        assert_eq!(
            status_from_proto(status_to_proto(status.clone())),
            Ok(status)
        );
        assert_eq!(
            status_from_proto(proto::NodeStatus::default()),
            Err(BadStatus::Id { len: 0 })
        );
    }
}
