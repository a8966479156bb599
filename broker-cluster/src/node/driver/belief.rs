//! From whom an event of the cluster is believed.

use std::sync::atomic::Ordering;

use broker_core::EndpointId;

use super::Driver;
use crate::events::ClusterEvent;
use crate::role::Role;

impl Driver {
    /// The name of the node of the layout that a peer says it is. Its hello is all there is to go by, unless certificates keep
    /// strangers out.
    fn name_of(&self, peer: Option<EndpointId>) -> Option<(String, Role)> {
        let state = self.shared.state();
        let (name, role) = state.membership.node_of(peer?)?;
        Some((name.to_owned(), role))
    }

    /// Whether what only a certain node may say came from somebody else: directly, as nodes of a cluster pass nothing on.
    pub(super) fn is_foreign(&mut self, event: &ClusterEvent, peer: Option<EndpointId>) -> bool {
        let from = self.name_of(peer);
        let foreign = match event {
            ClusterEvent::Hello { id, .. } => peer != Some(*id),
            // Zeek's too says its own name and ID.
            ClusterEvent::FullyConnected { name, id, .. } => {
                peer != Some(*id) || from.as_ref().is_some_and(|(known, _)| known != name)
            }
            ClusterEvent::Started | ClusterEvent::Ready(_) | ClusterEvent::PoolMembers { .. } => {
                !matches!(from, Some((_, Role::Manager)))
            }
            // It comes before the hello.
            ClusterEvent::Masters { .. } => {
                peer.is_none()
                    || from
                        .as_ref()
                        .is_some_and(|(_, role)| *role != Role::Manager)
            }
            // It would be the end of records that are nowhere.
            ClusterEvent::Receipt { logger, .. } => {
                from.as_ref().is_none_or(|(name, _)| name != logger)
            }
            ClusterEvent::Who | ClusterEvent::PoolKnown { .. } => peer.is_none(),
            ClusterEvent::ForwardChanges { .. } | ClusterEvent::Relay { .. } => false,
        };
        if foreign {
            self.shared.refused.fetch_add(1, Ordering::Relaxed);
            if let Some(suppressed) = self.complaints.check(std::time::Instant::now()) {
                let from = match (&from, peer) {
                    (Some((name, _)), _) => name.clone(),
                    (None, Some(id)) => id.to_string(),
                    (None, None) => "a client of this node".to_owned(),
                };
                let name = event.to_event().name;
                tracing::warn!(from, suppressed, "{name} is not for it to say: ignored");
            }
        }
        foreign
    }
}
