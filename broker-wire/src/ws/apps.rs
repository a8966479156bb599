//! What WebSocket clients do, by the name of their application: for metrics (zeek-cluster 2.7).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use broker_core::{AppTraffic, EventDirection, EventMeter, EventScope, Message, zeek_events};

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
    /// Where events count by topic and name besides.
    meter: Option<EventMeter>,
}

#[derive(Debug, Default)]
struct Row {
    clients: AtomicU64,
    incoming: AtomicU64,
    outgoing: AtomicU64,
    events: Option<EventScope>,
}

impl Apps {
    /// None seen yet; events of theirs count in `meter` besides, each application in a scope of its name.
    pub(crate) fn metered(meter: EventMeter) -> Self {
        Self {
            meter: Some(meter),
            ..Self::default()
        }
    }

    /// A client of the application `name`, possibly empty, until what this returns is dropped.
    pub(crate) fn join(&self, name: &str) -> Arc<AppClient> {
        let name = if name.is_empty() { UNKNOWN } else { name };
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let full = rows.len() >= MAX_APPS && !rows.contains_key(name);
        let name = if full { OTHERS } else { name };
        let row = rows.entry(name.to_owned()).or_insert_with(|| {
            Arc::new(Row {
                events: self.meter.as_ref().map(|meter| meter.scope(name)),
                ..Row::default()
            })
        });
        let row = Arc::clone(row);
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
    /// The client published this: to the cluster, it goes out.
    pub(crate) fn received(&self, message: &Message) {
        self.count(&self.0.incoming, EventDirection::Outgoing, message);
    }

    /// The client was sent this.
    pub(crate) fn sent(&self, message: &Message) {
        self.count(&self.0.outgoing, EventDirection::Incoming, message);
    }

    fn count(&self, sum: &AtomicU64, direction: EventDirection, message: &Message) {
        let events = zeek_events(message.encoded());
        sum.fetch_add(events, Ordering::Relaxed);
        if let Some(scope) = &self.0.events {
            scope.count(direction, message);
        }
    }
}

impl Drop for AppClient {
    fn drop(&mut self) {
        self.0.clients.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use broker_core::zeek::Event;
    use broker_core::{Topic, TopicLabels};

    use super::*;

    #[test]
    fn what_a_client_publishes_goes_out_and_counts_under_its_application() {
        let meter = EventMeter::new(TopicLabels::default());
        let apps = Apps::metered(meter.clone());
        let message = |name: &str| {
            let event = Event::new(name, vec![]).into_data();
            Message::new(Topic::from_static("/hosts"), event)
        };
        let client = apps.join("dashboard");
        client.received(&message("E::x"));
        client.sent(&message("E::y"));
        apps.join("").sent(&message("E::y"));
        let mut figures: Vec<_> = meter
            .read()
            .into_iter()
            .map(|one| (one.scope, one.direction, one.handler, one.sizes.count()))
            .collect();
        figures.sort();
        let row =
            |app: &str, direction, name: &str| (app.to_owned(), direction, name.to_owned(), 1);
        let expected = [
            row("dashboard", EventDirection::Incoming, "E::y"),
            row("dashboard", EventDirection::Outgoing, "E::x"),
            row(UNKNOWN, EventDirection::Incoming, "E::y"),
        ];
        assert_eq!(figures, expected);
        let traffic = apps.traffic()["dashboard"];
        assert_eq!((traffic.incoming_events, traffic.outgoing_events), (1, 1));
    }

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
