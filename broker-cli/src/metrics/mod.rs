//! Metrics and health of a node over HTTP (`node --metrics`).
//!
//! | file | what it holds |
//! |---|---|
//! | `catalogue` | every metric: name, type, labels, meaning |
//! | `snapshot` | the figures of one moment and their text |
//! | `events` | events by topic and name, where that is asked for |
//! | `health` | where the node is between start and end; whether it is ready |
//! | `http` | the server |
//!
//! Nothing is counted for metrics alone but the kinds of messages, and events by topic and name, and those only if there is a
//! server; the rest is read when somebody asks.

mod catalogue;
mod events;
mod health;
mod http;
mod snapshot;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use broker_cluster::HostPort;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tokio::time::interval;

pub(crate) use self::events::Meters;
use self::health::{Health, Readiness};
pub(crate) use self::health::{Phase, View};
use self::snapshot::{Format, Snapshot};
use self::{catalogue as c, http::serve};

/// What answers for a node, from before it starts until after it has stopped. Cloning gives another handle.
#[derive(Clone, Debug)]
pub(crate) struct Monitor {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    name: String,
    meters: Meters,
    health: Health,
    scrapes: AtomicU64,
}

/// A running server; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    tasks: [AbortHandle; 2],
}

impl Monitor {
    /// Answers for the node called `name`, possibly empty, which counts with `meters`.
    pub(crate) fn new(name: &str, meters: Meters) -> Self {
        Self {
            inner: Arc::new(Inner {
                name: name.to_owned(),
                meters,
                health: Health::default(),
                scrapes: AtomicU64::new(0),
            }),
        }
    }

    /// The node has come so far.
    pub(crate) fn enters(&self, phase: Phase) {
        self.inner.health.set(phase);
    }

    /// Serves at `address` from now on.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub(crate) async fn serve(&self, address: &HostPort) -> anyhow::Result<Server> {
        let listener = TcpListener::bind((address.host(), address.port()))
            .await
            .with_context(|| format!("cannot listen on {address} for metrics"))?;
        let bound = listener.local_addr()?;
        let tasks = [
            tokio::spawn(serve(listener, self.clone())).abort_handle(),
            tokio::spawn(self.clone().roll()).abort_handle(),
        ];
        Ok(Server {
            address: bound,
            tasks,
        })
    }

    async fn readiness(&self) -> Readiness {
        self.inner.health.readiness().await
    }

    async fn metrics(&self, format: Format) -> String {
        let mut snapshot = Snapshot::default();
        let scrapes = self.inner.scrapes.fetch_add(1, Ordering::Relaxed) + 1;
        snapshot.add(&c::SCRAPES, &[], scrapes as f64);
        snapshot.add(&c::BUILD, &[env!("CARGO_PKG_VERSION")], 1.0);
        let ready = self.readiness().await.ready;
        snapshot.add(&c::READY, &[], f64::from(ready));
        if let Phase::Running(view) | Phase::Stopping(view) = self.inner.health.phase() {
            snapshot.read(&view.endpoint, view.cluster.as_ref());
            self.inner.meters.read(&mut snapshot);
            if let Some(cluster) = &view.cluster {
                let connected = cluster.fully_connected(Duration::ZERO).await;
                snapshot.add(&c::FULLY_CONNECTED, &[], f64::from(connected));
            }
        }
        snapshot.text(&self.inner.name, format)
    }

    /// Begins a new period for the most that waited in queues, every minute as Zeek does (zeek-cluster 1.2).
    async fn roll(self) {
        let mut minutes = interval(ROLL_INTERVAL);
        loop {
            minutes.tick().await;
            if let Phase::Running(view) = self.inner.health.phase() {
                view.endpoint.roll_queue_maxima();
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

const ROLL_INTERVAL: Duration = Duration::from_secs(60);
