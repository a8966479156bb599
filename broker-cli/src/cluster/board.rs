//! What a supervisor knows about its nodes, for whoever asks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::supervisor::NodeEvent;

/// What a supervisor says about itself and its nodes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Board {
    /// Its process.
    pub(super) pid: u32,
    /// How long it has been running.
    pub(super) uptime_s: f64,
    pub(super) nodes: BTreeMap<String, NodeState>,
}

/// A node under supervision.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct NodeState {
    /// Its process, while there is one.
    pub(super) pid: Option<u32>,
    /// How long the process has been running.
    pub(super) uptime_s: Option<f64>,
    /// Whether it has said that it is ready.
    pub(super) ready: bool,
    /// Where it listens.
    pub(super) listening: Vec<String>,
    /// Where it serves metrics.
    pub(super) metrics: Option<String>,
    /// How often it was started again.
    pub(super) restarts: u64,
    /// How it ended the last time, if it ever did.
    pub(super) last_end: Option<String>,
}

/// The board of a supervisor at work. Cloning gives another handle.
#[derive(Clone, Debug)]
pub(super) struct Live {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    begun: Instant,
    nodes: BTreeMap<String, (Option<Instant>, NodeState)>,
}

impl Live {
    /// Nodes that have not been started yet.
    pub(super) fn new<'a>(names: impl IntoIterator<Item = &'a String>) -> Self {
        let nodes = names
            .into_iter()
            .map(|name| (name.clone(), Default::default()));
        Self {
            inner: Arc::new(Mutex::new(Inner {
                begun: Instant::now(),
                nodes: nodes.collect(),
            })),
        }
    }

    /// A node did something.
    pub(super) fn heard(&self, name: &str, event: &NodeEvent) {
        let mut inner = self.lock();
        let (since, state) = inner.nodes.entry(name.to_owned()).or_default();
        match event {
            NodeEvent::Started(pid) => {
                *since = Some(Instant::now());
                let ended_before = state.last_end.is_some();
                *state = NodeState {
                    pid: *pid,
                    restarts: state.restarts + u64::from(ended_before),
                    last_end: state.last_end.take(),
                    ..NodeState::default()
                };
            }
            NodeEvent::Listening(url) => state.listening.push(url.to_string()),
            NodeEvent::Metrics(url) => state.metrics = Some(url.clone()),
            NodeEvent::Ready => state.ready = true,
            NodeEvent::Ended { how, .. } => {
                *since = None;
                *state = NodeState {
                    restarts: state.restarts,
                    last_end: Some(how.clone()),
                    ..NodeState::default()
                };
            }
            NodeEvent::Said(_) | NodeEvent::Departed(_) => {}
        }
    }

    /// A node is not supervised any more.
    pub(super) fn forget(&self, name: &str) {
        self.lock().nodes.remove(name);
    }

    /// What there is to say at the moment.
    pub(super) fn board(&self) -> Board {
        let inner = self.lock();
        let node = |(since, state): &(Option<Instant>, NodeState)| NodeState {
            uptime_s: since.map(seconds),
            ..state.clone()
        };
        Board {
            pid: std::process::id(),
            uptime_s: seconds(inner.begun),
            nodes: inner
                .nodes
                .iter()
                .map(|(name, state)| (name.clone(), node(state)))
                .collect(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn seconds(since: Instant) -> f64 {
    (since.elapsed().as_secs_f64() * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_starts_again_is_counted_and_known_anew() {
        let live = Live::new([&"a".to_owned()]);
        assert_eq!(live.board().nodes["a"], NodeState::default());
        let url = "grpc://127.0.0.1:1".parse().expect("a URL");
        live.heard("a", &NodeEvent::Started(Some(7)));
        live.heard("a", &NodeEvent::Listening(url));
        live.heard("a", &NodeEvent::Ready);
        let state = &live.board().nodes["a"];
        assert_eq!((state.pid, state.ready, state.restarts), (Some(7), true, 0));
        assert_eq!(state.listening, ["grpc://127.0.0.1:1"]);
        let ended = NodeEvent::Ended {
            how: "signal: 9".to_owned(),
            code: None,
            restart_in: None,
        };
        live.heard("a", &ended);
        assert_eq!(live.board().nodes["a"].pid, None);
        live.heard("a", &NodeEvent::Started(Some(8)));
        let state = &live.board().nodes["a"];
        assert_eq!(
            (state.pid, state.ready, state.restarts),
            (Some(8), false, 1)
        );
        assert_eq!(state.last_end.as_deref(), Some("signal: 9"));
        assert!(state.listening.is_empty());
    }
}
