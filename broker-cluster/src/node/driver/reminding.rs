//! What may have been lost on the way is asked for, or said, again, until it is known to have arrived.

use std::collections::BTreeSet;
use std::time::Duration;

use broker_core::{EndpointId, Message, PeerInfo};

use super::Driver;
use crate::events::{ClusterEvent, LOG_RECEIPTS};
use crate::role::Role;
use crate::topics;

/// How often that is looked at.
pub(super) const REMIND: Duration = Duration::from_secs(5);

/// After so many times a member says what it knows of its pools.
const POOLS: u32 = 6;

impl Driver {
    /// What may have been lost on queues that were full, or with a connection: peers that came and went unnoticed, hellos, our
    /// report to the manager, and what it says in return.
    pub(super) async fn remind(&mut self) {
        let peers = self.shared.endpoint.peers();
        let present: BTreeSet<EndpointId> = peers.iter().map(|peer| peer.id).collect();
        let layout = self.shared.current_layout();
        let (effects, unnamed, manager) = {
            let mut state = self.shared.state();
            let unnamed: BTreeSet<EndpointId> = state.membership.unnamed().collect();
            let effects = state.membership.reconcile(&present);
            let manager = state.membership.id_of(&layout.manager().name);
            (effects, unnamed, manager)
        };
        let ours = |peer: &&PeerInfo| peer.features.iter().any(|feature| feature == LOG_RECEIPTS);
        for peer in peers.iter().filter(ours) {
            if unnamed.contains(&peer.id) {
                let who = ClusterEvent::Who.to_event();
                self.publish(Message::new(topics::nodeid_topic(peer.id), who))
                    .await;
            }
        }
        self.membership(effects).await;
        if self.role == Role::Manager {
            let ours = peers.iter().filter(ours).map(|peer| peer.id).collect();
            self.make_up_for_drops(&ours).await;
        }
        if !peers
            .iter()
            .filter(ours)
            .any(|peer| Some(peer.id) == manager)
        {
            return;
        }
        let verdict_open = layout.ready().is_some() && {
            let verdict = self.shared.verdict.borrow();
            !verdict.as_ref().is_some_and(|verdict| verdict.ready)
        };
        let reminder = self.shared.state().readiness.remind(verdict_open);
        self.readiness(reminder.into_iter().collect()).await;
        self.reminders = self.reminders.wrapping_add(1);
        if self.reminders.is_multiple_of(POOLS) {
            for known in self.shared.known_pools() {
                let topic = topics::role_topic(Role::Manager);
                self.publish(Message::new(topic, known.to_event())).await;
            }
        }
    }

    /// On the manager: a member knows something else about its pool than it should, or not.
    pub(super) async fn pool_known(&self, id: EndpointId, topic: &str, digest: u32) {
        if self.settled
            && let Some(event) = self.shared.pool_unlike(topic, digest)
        {
            let message = Message::new(topics::nodeid_topic(id), event.to_event());
            self.publish(message).await;
        }
    }

    /// On the manager: what it has told once may be among what the queue towards a peer has dropped since the last look.
    async fn make_up_for_drops(&mut self, ours: &BTreeSet<EndpointId>) {
        let queues = self.shared.endpoint.peer_queues().into_iter();
        let dropped = queues
            .filter(|(id, ..)| ours.contains(id))
            .map(|(id, _, queue)| (id, queue.dropped_total()))
            .collect();
        // Taken before anything is told again: if that is dropped, too, the next look sees it.
        let before = std::mem::replace(&mut self.dropped, dropped);
        let missed: Vec<EndpointId> = self
            .dropped
            .iter()
            .filter(|(id, dropped)| before.get(id).copied().unwrap_or(0) != **dropped)
            .map(|(id, _)| *id)
            .collect();
        for id in missed {
            self.tell_masters(id).await;
            self.tell_again(id).await;
        }
    }
}
