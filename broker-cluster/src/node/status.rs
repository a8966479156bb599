//! The node's part in `broker status`: its log streams, its handlers, who is up.

use std::sync::Weak;
use std::sync::atomic::Ordering;

use broker_core::{NodeStatus, StatusSource};

use super::Shared;

/// Does not keep the node alive: the endpoint holds this, and the node holds the endpoint.
pub(super) struct NodeReport(pub(super) Weak<Shared>);

impl StatusSource for NodeReport {
    fn contribute(&self, status: &mut NodeStatus) {
        let Some(shared) = self.0.upgrade() else {
            return;
        };
        status.logs.extend(shared.log_counters());
        let mut count = |name: &str, value: u64| {
            status.counters.insert(name.to_owned(), value);
        };
        if let Some(receiver) = &shared.receiver {
            for (name, sink) in receiver.sinks() {
                count(&format!("log_sink_{name}_offered"), sink.offered);
                count(&format!("log_sink_{name}_sent"), sink.sent);
                count(&format!("log_sink_{name}_dropped"), sink.dropped);
                count(&format!("log_sink_{name}_queued"), sink.queued());
                count(&format!("log_sink_{name}_retries"), sink.retries);
            }
            if let Some((done, failed)) = receiver.archived() {
                count("log_files_archived", done);
                count("log_files_not_archived", failed);
            }
        }
        for (name, value) in [
            ("log_records_filtered", shared.logs.filtered()),
            ("log_values_cut", shared.logs.cut()),
            (
                "cluster_events_refused",
                shared.refused.load(Ordering::Relaxed),
            ),
        ] {
            if value > 0 {
                count(name, value);
            }
        }
        if let Some(handled) = shared.handling.counters() {
            for (name, value) in [
                ("handler_events", handled.received),
                ("handler_events_unknown", handled.unknown),
                ("handler_events_dropped", handled.dropped),
                ("handler_calls", handled.handled),
                ("handler_calls_mismatched", handled.mismatched),
                ("handler_calls_panicked", handled.panicked),
            ] {
                count(name, value);
            }
        }
        let up = shared.state().membership.up().count();
        status
            .counters
            .insert("cluster_nodes_up".to_owned(), up as u64);
    }
}
