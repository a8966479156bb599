//! The node's part in `broker status`: its log streams.

use std::sync::Weak;

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
        let up = shared.state().membership.up().count();
        status
            .counters
            .insert("cluster_nodes_up".to_owned(), up as u64);
    }
}
