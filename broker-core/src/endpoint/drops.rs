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
