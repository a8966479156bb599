//! What a node of a demo does besides being a node: the work of its role.

mod input;
mod manager;
pub(crate) mod proxy;
mod worker;

use std::path::Path;
use std::sync::Arc;

use broker_cluster::{ClusterNode, EventStream, Role};
use broker_core::zeek::Event;
use broker_store::{CloneOptions, StoreExt as _};

use super::events::DemoEvent;
use super::figures::Figures;
use super::plan::Plan;

/// The store that proxies count hosts in.
pub(crate) const STORE: &str = "hosts";

/// A node of a demo, whatever its role.
pub(crate) struct Actor {
    pub(crate) node: ClusterNode,
    pub(crate) plan: Plan,
    pub(crate) name: String,
    pub(crate) events: EventStream,
    pub(crate) figures: Arc<Figures>,
}

/// Does the work of `node` in the demo that the plan in `file` describes, until the node is stopped.
pub(crate) async fn run(node: ClusterNode, events: EventStream, file: &Path) -> anyhow::Result<()> {
    let actor = Actor::new(node, events, Plan::load(file)?);
    match actor.node.spec().role {
        Role::Worker => worker::run(actor).await,
        Role::Proxy => {
            let endpoint = actor.node.endpoint();
            let store = endpoint.attach_clone(STORE, CloneOptions::default());
            let store = store.await?;
            proxy::run(actor, Some(store)).await
        }
        Role::Manager => manager::run(actor).await,
        Role::Logger => {
            // Nobody reads them, and the batches that come as events would fill their queue until writers wait.
            drop(actor.events);
            std::future::pending().await
        }
    }
}

impl Actor {
    /// The node with its figures in its status.
    pub(crate) fn new(node: ClusterNode, events: EventStream, plan: Plan) -> Self {
        let figures = Arc::new(Figures::new());
        node.endpoint()
            .register_status(Arc::clone(&figures) as Arc<_>);
        Self {
            plan,
            name: node.spec().name.clone(),
            events,
            figures,
            node,
        }
    }

    /// Sends `event` to one node; how many got it under way. Nobody, if it is not up: it is sent again then.
    pub(crate) async fn tell(&self, node: &str, event: &DemoEvent) -> usize {
        self.node
            .publish_to_node(node, event.to_event())
            .await
            .map_or(0, |reached| reached.peers)
    }

    /// The event of the demo that `event` is.
    pub(crate) fn understand(event: &Event) -> Option<DemoEvent> {
        let understood = DemoEvent::from_event(event);
        if understood.is_none() {
            tracing::warn!(
                "an event that is none of the demo's: {}",
                event.name.to_str_lossy()
            );
        }
        understood
    }
}
