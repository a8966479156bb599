//! Where a node is between its start and its end, and whether it may be given work.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use broker_cluster::ClusterNode;
use broker_core::Endpoint;
use serde::Serialize;

/// Where a node is.
#[derive(Clone, Debug, Default)]
pub(crate) enum Phase {
    /// Not all addresses are bound, not all stores open.
    #[default]
    Starting,
    /// It works.
    Running(View),
    /// It was told to stop, and hands over what it has.
    Stopping(View),
}

/// What is there to be asked.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) endpoint: Endpoint,
    pub(crate) cluster: Option<ClusterNode>,
}

/// What `/readyz` answers.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Readiness {
    pub(super) ready: bool,
    /// Why not.
    pub(super) reasons: Vec<String>,
    /// Nodes of the layout that this one had a connection to and has none now.
    pub(super) missing: Vec<String>,
}

/// A node's phase, shared between the node and whoever answers for it.
#[derive(Debug, Default)]
pub(super) struct Health {
    phase: Mutex<Phase>,
}

impl Health {
    pub(super) fn set(&self, phase: Phase) {
        *self.lock() = phase;
    }

    pub(super) fn phase(&self) -> Phase {
        self.lock().clone()
    }

    pub(super) async fn readiness(&self) -> Readiness {
        let (mut reasons, mut missing) = (Vec::new(), Vec::new());
        match self.phase() {
            Phase::Starting => reasons.push(
                "starting: not all addresses are bound and not all stores open yet".to_owned(),
            ),
            Phase::Stopping(_) => reasons.push("stopping".to_owned()),
            Phase::Running(View {
                cluster: Some(cluster),
                ..
            }) => {
                if cluster.fully_connected(Duration::ZERO).await {
                    let up = cluster.nodes_up();
                    let layout = cluster.current_layout();
                    missing.extend(
                        super::snapshot::expected(&layout, cluster.spec())
                            .map(|node| node.name.clone())
                            .filter(|name| !up.contains_key(name)),
                    );
                } else {
                    reasons.push(match cluster.waiting_for() {
                        names if names.is_empty() => format!(
                            "not fully connected: waiting for {}",
                            cluster.layout().manager().name
                        ),
                        names => format!("not fully connected: waiting for {}", names.join(", ")),
                    });
                }
            }
            Phase::Running(_) => {}
        }
        Readiness {
            ready: reasons.is_empty(),
            reasons,
            missing,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_node_is_ready_between_its_start_and_its_end() {
        let health = Health::default();
        assert!(!health.readiness().await.ready);
        let view = View {
            endpoint: Endpoint::builder().start(),
            cluster: None,
        };
        health.set(Phase::Running(view.clone()));
        assert!(health.readiness().await.ready);
        health.set(Phase::Stopping(view));
        assert_eq!(health.readiness().await.reasons, ["stopping"]);
    }
}
