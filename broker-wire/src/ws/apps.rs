//! What WebSocket clients do, by the name of their application: for metrics (zeek-cluster 2.7).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use broker_core::{AppTraffic, zeek_events};

/// So many applications are told apart; the clients of further ones count together, as [`OTHERS`].
const MAX_APPS: usize = 64;

/// What clients without a name are called, as in Zeek.
const UNKNOWN: &str = "unknown";
/// What the applications that found no row of their own are called.
const OTHERS: &str = "other";

/// The applications seen so far. They are kept: counters must not go back.
#[derive(Debug, Default)]
pub(crate) struct Apps {
    rows: Mutex<BTreeMap<String, Arc<Row>>>,
}

#[derive(Debug, Default)]
struct Row {
    clients: AtomicU64,
    incoming: AtomicU64,
    outgoing: AtomicU64,
}

impl Apps {
    /// A client of the application `name`, possibly empty, until what this returns is dropped.
    pub(crate) fn join(&self, name: &str) -> Arc<AppClient> {
        let name = if name.is_empty() { UNKNOWN } else { name };
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let full = rows.len() >= MAX_APPS && !rows.contains_key(name);
        let name = if full { OTHERS } else { name };
        let row = Arc::clone(rows.entry(name.to_owned()).or_default());
        row.clients.fetch_add(1, Ordering::Relaxed);
        Arc::new(AppClient(row))
    }

    /// The figures of this moment.
    pub(crate) fn traffic(&self) -> BTreeMap<String, AppTraffic> {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let row = |row: &Row| AppTraffic {
            clients: read(&row.clients),
            incoming_events: read(&row.incoming),
            outgoing_events: read(&row.outgoing),
        };
        rows.iter()
            .map(|(name, counts)| (name.clone(), row(counts)))
            .collect()
    }
}

/// One client's share in the figures of its application.
#[derive(Debug)]
pub(crate) struct AppClient(Arc<Row>);

impl AppClient {
    /// The client published this.
    pub(crate) fn received(&self, payload: &[u8]) {
        self.0
            .incoming
            .fetch_add(zeek_events(payload), Ordering::Relaxed);
    }

    /// The client was sent this.
    pub(crate) fn sent(&self, payload: &[u8]) {
        self.0
            .outgoing
            .fetch_add(zeek_events(payload), Ordering::Relaxed);
    }
}

impl Drop for AppClient {
    fn drop(&mut self) {
        self.0.clients.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn applications_are_told_apart_up_to_a_bound_and_kept() {
        let apps = Apps::default();
        let nobody = apps.join("");
        for n in 0..2 * MAX_APPS {
            drop(apps.join(&format!("app-{n:03}")));
        }
        let traffic = apps.traffic();
        assert_eq!(traffic.len(), MAX_APPS + 1);
        assert_eq!(traffic[UNKNOWN].clients, 1);
        assert_eq!(traffic["app-000"].clients, 0);
        assert!(traffic.contains_key(OTHERS));
        drop(nobody);
        assert_eq!(apps.traffic()[UNKNOWN].clients, 0);
    }
}
