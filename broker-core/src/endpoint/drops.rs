//! The ledger of messages dropped towards peers: by peer, topic and reason, within a bound.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::queue::DropReason;
use crate::topic::Topic;

/// So many rows are kept; what comes beyond is counted under an empty topic.
const MAX_ROWS: usize = 4096;

/// How many messages to one peer on one topic were dropped for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DropRecord {
    /// The peer's name, or its ID.
    pub peer: String,
    /// The topic; empty for all that found no row of their own.
    pub topic: Topic,
    /// Why.
    pub reason: DropReason,
    /// How many.
    pub count: u64,
}

#[derive(Debug, Default)]
pub(crate) struct DropLedger {
    rows: Mutex<HashMap<(String, Topic, DropReason), u64>>,
    /// How often a peering was cut for its full queue; those beyond the bound count under an empty name.
    cuts: Mutex<HashMap<String, u64>>,
}

impl DropLedger {
    pub(crate) fn record(&self, peer: &str, topic: &Topic, reason: DropReason) {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let mut key = (peer.to_owned(), topic.clone(), reason);
        if rows.len() >= MAX_ROWS && !rows.contains_key(&key) {
            key = (String::new(), Topic::from_static(""), reason);
        }
        *rows.entry(key).or_default() += 1;
    }

    pub(crate) fn cut(&self, peer: &str) {
        let mut cuts = self.cuts.lock().unwrap_or_else(PoisonError::into_inner);
        let full = cuts.len() >= MAX_ROWS && !cuts.contains_key(peer);
        let peer = if full { "" } else { peer };
        *cuts.entry(peer.to_owned()).or_default() += 1;
    }

    pub(crate) fn cuts(&self) -> Vec<(String, u64)> {
        let cuts = self.cuts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut cuts: Vec<_> = cuts.iter().map(|(peer, n)| (peer.clone(), *n)).collect();
        cuts.sort();
        cuts
    }

    pub(crate) fn records(&self) -> Vec<DropRecord> {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let mut records: Vec<_> = rows
            .iter()
            .map(|((peer, topic, reason), count)| DropRecord {
                peer: peer.clone(),
                topic: topic.clone(),
                reason: *reason,
                count: *count,
            })
            .collect();
        records.sort_by(|a, b| (&a.peer, &a.topic).cmp(&(&b.peer, &b.topic)));
        records
    }
}
