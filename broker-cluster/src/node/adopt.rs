//! Taking over a changed layout while the node runs.

use std::sync::{Arc, PoisonError};

use super::{ClusterNode, NodeEvent, Shared};
use crate::layout::{Layout, LayoutChanges, LayoutError};
use crate::membership::Effect;

impl ClusterNode {
    /// The layout as far as this node has taken it over: [`layout`](Self::layout) at the start, and what
    /// [`adopt`](Self::adopt) has changed since.
    #[must_use]
    pub fn current_layout(&self) -> Arc<Layout> {
        self.shared.current_layout()
    }

    /// Takes over what can be taken over of `new` while the node runs: nodes that come and go, other addresses of nodes,
    /// further peers. Pools are made anew, and round robin begins anew with them; other nodes have to learn of it as well,
    /// or they choose differently. What cannot be taken over is in [`LayoutChanges::fixed`] and stays.
    ///
    /// # Errors
    /// See [`Layout::taking`]; then nothing has changed.
    ///
    /// # Cancel safety
    /// If the future is dropped, peerings that are to end may not have ended yet.
    pub async fn adopt(&self, new: &Layout) -> Result<LayoutChanges, LayoutError> {
        let shared = &self.shared;
        let (merged, changes) =
            shared
                .current_layout()
                .taking(new, &shared.name, &shared.endpoint.schemes())?;
        let merged = Arc::new(merged);
        let effects = {
            let mut state = shared.state();
            let effects = state.membership.replace_nodes(&merged);
            let mut pools = merged.pools(&shared.name);
            let up: Vec<String> = state
                .membership
                .up()
                .map(|(name, ..)| name.to_owned())
                .collect();
            for pool in &mut pools {
                up.iter().for_each(|name| pool.node_up(name));
            }
            state.pools = pools;
            for name in &changes.removed {
                state.readiness.node_down(name);
            }
            effects
        };
        shared.set_layout(merged);
        for effect in effects {
            let Effect::NodeDown { name, id } = effect else {
                continue;
            };
            shared.logs.logger_down(&name);
            if let Some(node) = shared.layout.node(&name) {
                let role = node.role;
                // Nobody may be listening.
                let _ = shared.node_events.send(NodeEvent::Down { name, role, id });
            }
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

impl Shared {
    pub(super) fn current_layout(&self) -> Arc<Layout> {
        let adopted = self.adopted.lock().unwrap_or_else(PoisonError::into_inner);
        adopted.clone().unwrap_or_else(|| Arc::clone(&self.layout))
    }

    fn set_layout(&self, layout: Arc<Layout>) {
        *self.adopted.lock().unwrap_or_else(PoisonError::into_inner) = Some(layout);
    }
}
