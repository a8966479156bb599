//! What became of everything a node had in hand, told when it ends.

use std::fmt;

use broker_cluster::Departed;
use broker_core::Totals;
use serde::Serialize;

/// A node's last words. Events are all messages that subscribers of this process, its logger and its clients among them,
/// were to get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Departure {
    /// Events that came for subscribers and clients of this node.
    events_received: u64,
    /// Those of them that were taken.
    events_delivered: u64,
    /// Those of them that were not.
    events_dropped: u64,
    /// Messages handed to peers, pings and filters among them.
    messages_sent: u64,
    /// Messages to peers that did not get there.
    messages_dropped: u64,
    /// Log records written here, or received as a logger.
    log_records: u64,
    /// Those of them that are in a file, or with a logger.
    log_records_acknowledged: u64,
    /// Those of them that wait on disk for the next start.
    log_records_spooled: u64,
    /// Those of them that nobody has.
    log_records_left: u64,
}

impl Departure {
    /// The sums of a node that has stopped.
    pub(super) fn new(totals: &Totals, logs: Departed) -> Self {
        let (locals, peers) = (totals.to_locals, totals.to_peers);
        Self {
            events_received: locals.offered,
            events_delivered: locals.sent,
            events_dropped: locals.dropped + locals.queued,
            messages_sent: peers.sent,
            messages_dropped: peers.dropped + peers.queued,
            log_records: logs.log_records,
            log_records_acknowledged: logs.acknowledged,
            log_records_spooled: logs.spooled,
            log_records_left: logs.left,
        }
    }
}

impl fmt::Display for Departure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "stopped: events {} received, {} delivered, {} dropped; messages to peers {} sent, {} dropped; \
             log records {} in, {} acknowledged, {} spooled, {} left",
            self.events_received,
            self.events_delivered,
            self.events_dropped,
            self.messages_sent,
            self.messages_dropped,
            self.log_records,
            self.log_records_acknowledged,
            self.log_records_spooled,
            self.log_records_left
        )
    }
}
