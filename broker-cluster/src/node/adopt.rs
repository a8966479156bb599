//! Taking over a changed layout while the node runs.

use std::sync::{Arc, PoisonError};

use tokio::sync::oneshot;

use super::{ClusterNode, Shared, State};
use crate::layout::{Layout, LayoutChanges, LayoutError};
use crate::pools::Pool;
use crate::role::Role;

/// A layout for the driver to take over, checked.
pub(super) struct Adoption {
    pub(super) layout: Arc<Layout>,
    /// All pools of it, those of the program among them; nobody in them is up yet.
    pub(super) pools: Vec<Pool>,
    pub(super) done: oneshot::Sender<()>,
}

impl ClusterNode {
    /// The layout as far as this node has taken it over: [`layout`](Self::layout) at the start, and what
    /// [`adopt`](Self::adopt) has changed since.
    #[must_use]
    pub fn current_layout(&self) -> Arc<Layout> {
        self.shared.current_layout()
    }

    /// Takes over what can be taken over of `new` while the node runs: nodes that come and go, other addresses of nodes,
    /// further peers, when the cluster is ready, what is published again. Pools are made anew, those from code too, and
    /// round robin begins anew with them; other nodes have to learn of it as well, or they choose differently. What cannot
    /// be taken over is in [`LayoutChanges::fixed`] and stays.
    ///
    /// Nodes that go are down for this node, and are not waited for; those that come and have said hello before are up. What
    /// has been said stays said: a cluster that was ready is not unready because more would be needed now.
    ///
    /// # Errors
    /// See [`Layout::taking`]; also if the pools from code cannot be filled any more. Then nothing has changed.
    ///
    /// # Cancel safety
    /// If the future is dropped, the layout may be taken over a moment later, and peerings that are to end may not have
    /// ended yet.
    pub async fn adopt(&self, new: &Layout) -> Result<LayoutChanges, LayoutError> {
        let shared = &self.shared;
        let (merged, mut changes) =
            shared
                .current_layout()
                .taking(new, &shared.name, &shared.endpoint.schemes())?;
        let pools = merged.pools_of_program(&shared.extra_pools, &shared.name)?;
        changes.fixed.extend(shared.further_pools(&pools));
        let (done, taken) = oneshot::channel();
        let adoption = Adoption {
            layout: Arc::new(merged),
            pools,
            done,
        };
        // A node that has stopped takes nothing over any more, and does without.
        if shared.adoptions.send(adoption).await.is_ok() {
            let _ = taken.await;
        }
        for url in &changes.dial {
            shared.endpoint.peer(url.clone());
        }
        for url in &changes.part {
            shared.endpoint.unpeer(url).await;
        }
        Ok(changes)
    }
}

impl State {
    /// Other pools, with the same nodes up.
    pub(super) fn replace_pools(&mut self, mut pools: Vec<Pool>) {
        for (name, ..) in self.membership.up() {
            pools.iter_mut().for_each(|pool| pool.node_up(name));
        }
        self.pools = pools;
    }
}

impl Shared {
    pub(super) fn current_layout(&self) -> Arc<Layout> {
        let adopted = self.adopted.lock().unwrap_or_else(PoisonError::into_inner);
        adopted.clone().unwrap_or_else(|| Arc::clone(&self.layout))
    }

    pub(super) fn set_layout(&self, layout: Arc<Layout>) {
        *self.adopted.lock().unwrap_or_else(PoisonError::into_inner) = Some(layout);
    }

    /// Publishes again what the layout says that nodes of this role do, and nothing else. Handling has started if anything is.
    pub(super) fn republish_as(&self, layout: &Layout) {
        let role = self.role();
        let wanted = || {
            layout
                .relays()
                .iter()
                .filter(|relay| relay.by.contains(&role))
        };
        let mut relays = self.relays.lock().unwrap_or_else(PoisonError::into_inner);
        relays.retain(|(spec, _)| wanted().any(|relay| relay == spec));
        for relay in wanted() {
            if relays.iter().all(|(spec, _)| spec != relay) {
                self.start_handling();
                let guard = self.republish(relay.event.as_str(), relay.topic.clone());
                relays.push((relay.clone(), guard));
            }
        }
    }

    fn role(&self) -> Role {
        self.layout
            .node(&self.name)
            .map_or(Role::Worker, |node| node.role)
    }

    /// The pools that this node would be a member of from now on: it was subscribed when it started.
    fn further_pools(&self, pools: &[Pool]) -> Vec<String> {
        let state = self.state();
        let was_member = |new: &Pool| {
            let same = |old: &&Pool| old.spec().name == new.spec().name;
            let found = state.pools.iter().find(same);
            found.is_some_and(|pool| pool.contains(&self.name))
        };
        pools
            .iter()
            .filter(|pool| pool.contains(&self.name) && !was_member(pool))
            .map(|pool| {
                format!(
                    "pool {}: {} is a member of it now; what is published to the whole pool",
                    pool.spec().name,
                    self.name
                )
            })
            .collect()
    }
}
