//! What the manager tells the nodes: who of a pool is up, whether the cluster is ready, that it has started.

use std::time::Duration;

use broker_core::{EndpointId, Message, Topic};

use super::{Driver, is_ours};
use crate::events::ClusterEvent;
use crate::role::Role;
use crate::topics;

impl Driver {
    /// On the manager: who is up is known by now, and is told to the members of pools.
    pub(super) async fn settle(&mut self) {
        if self.role == Role::Manager && !self.settled {
            self.settled = true;
            self.tell_homes(None).await;
        }
    }

    /// On the manager: tells the members of the pools of `name`, or of all, who of them is up.
    pub(super) async fn tell_homes(&self, name: Option<&str>) {
        if self.settled {
            let ours = self.peers_of_ours();
            let told = self.shared.tell_homes(name).into_iter();
            for (id, event) in told.filter(|(id, _)| ours.contains(id)) {
                let message = Message::new(topics::nodeid_topic(id), event.to_event());
                self.publish(message).await;
            }
        }
    }

    /// On the manager: tells one node who is up in the pools that it is in.
    pub(super) async fn tell_again(&self, id: EndpointId) {
        if self.settled {
            let told = self.shared.tell_homes(None);
            for (_, event) in told.into_iter().filter(|(to, _)| *to == id) {
                let message = Message::new(topics::nodeid_topic(id), event.to_event());
                self.publish(message).await;
            }
        }
    }

    /// On the manager: tells one node which tables have their masters here.
    pub(super) async fn tell_masters(&self, id: EndpointId) {
        let names = self.shared.tables.masters();
        let masters = ClusterEvent::Masters { names };
        self.publish(Message::new(topics::nodeid_topic(id), masters.to_event()))
            .await;
    }

    /// On the manager: tells the cluster that enough nodes are up, or that they are not, once that is to be said.
    pub(super) async fn judge(&mut self, now: Duration) {
        let Some(threshold) = self.jury.threshold() else {
            return;
        };
        let standing = self.shared.standing(threshold);
        if let Some(verdict) = self.jury.observe(now, &standing) {
            if verdict.ready {
                tracing::info!("cluster ready: {standing}");
            } else {
                tracing::warn!("cluster not ready after {} s: {standing}", now.as_secs());
            }
            self.told(verdict.clone());
            let event = ClusterEvent::Ready(verdict).to_event();
            // Nodes of Zeek's too: a script may have a handler for it.
            let up: Vec<EndpointId> = {
                let state = self.shared.state();
                state.membership.up().map(|(_, _, id)| id).collect()
            };
            for id in up {
                let message = Message::new(topics::nodeid_topic(id), event.clone());
                self.publish(message).await;
            }
        }
    }

    /// On the manager: what was told to all, to one who may not have heard it.
    pub(super) async fn tell_verdict(&self, id: EndpointId) {
        if let Some(threshold) = self.jury.threshold()
            && let Some(told) = self.jury.told(&self.shared.standing(threshold))
        {
            let event = ClusterEvent::Ready(told).to_event();
            self.publish(Message::new(topics::nodeid_topic(id), event))
                .await;
        }
    }

    /// On the manager: a node has all it waits for. If it is ours it says so until it is told what it does not know.
    pub(super) async fn reported(&mut self, name: &str, id: EndpointId, resending: bool) {
        let ours = self.gives_receipts(id);
        let effects = self.shared.state().readiness.report(name, resending, ours);
        self.readiness(effects).await;
        if ours && self.shared.state().membership.id_of(name) == Some(id) {
            self.tell_verdict(id).await;
        }
    }

    /// On Zeek's topic, and directly to nodes of ours that do not subscribe to it.
    pub(super) async fn announce_started(&self) {
        let event = ClusterEvent::Started.to_event();
        self.publish(Message::new(
            Topic::from_static(topics::STARTED),
            event.clone(),
        ))
        .await;
        for peer in self.shared.endpoint.peers() {
            if is_ours(&peer) && !peer.filter.matches(topics::STARTED) {
                self.publish(Message::new(topics::nodeid_topic(peer.id), event.clone()))
                    .await;
            }
        }
    }
}
