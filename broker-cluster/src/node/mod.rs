//! A node of a cluster at work: endpoint, membership, pools, events, remote logging, in the order in which they must
//! start and stop.
//!
//! | file | what it holds |
//! |---|---|
//! | `adopt` | a changed layout, taken over while it runs |
//! | `builder` | from a layout and a name to a node that listens and dials |
//! | `driver` | the task that feeds peerings and cluster events to membership and readiness, and does what they say |
//! | `event_stream`, `greetings` | what others published to this node, behind the node_up of its sender |
//! | `handling` | handlers of events, and what is declared, prepared and republished |
//! | `handover` | which keys of a pool move when members come and go |
//! | `publish` | publishing to roles, nodes and pools |
//! | `stores` | masters on the manager, clones elsewhere |
//! | `streams` | what the node writes about itself: `Cluster::LOG` and `Broker::LOG` |

mod adopt;
mod builder;
mod driver;
mod error;
mod event_stream;
mod greetings;
mod handling;
mod handover;
mod publish;
mod status;
mod stores;
mod streams;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use broker_core::{
    DRAIN_TIMEOUT, Endpoint, EndpointId, Filter, FromData, LogCounters, QueueOptions, ToData,
};
use broker_store::{Store, StoreExt};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use self::adopt::Adoption;
pub use self::builder::ClusterNodeBuilder;
pub use self::error::{ClusterPublishError, StartError};
pub use self::event_stream::EventStream;
use self::greetings::Greetings;
pub use self::handling::HANDLER_DRAIN_TIMEOUT;
use self::handling::Handling;
pub use self::handover::{HandoverGuard, Handovers};
pub use self::publish::RelayVia;
use self::streams::NodeStreams;
use crate::handlers::HandlerGuard;
use crate::layout::{Layout, NodeSpec, RelaySpec};
use crate::logging::{LogClient, LogReceiver};
use crate::membership::Membership;
use crate::pools::{Homes, Pool, PoolSpec};
use crate::readiness::Readiness;
use crate::role::Role;
use crate::table::{PublishedTableBuilder, TableBuilder, Tables};
use crate::threshold::{Standing, Threshold, Verdict};
use crate::topics;

/// How long [`ClusterNode::shutdown`] waits for receipts of log records.
pub const LOG_DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// How long [`ClusterNode::shutdown`] waits for answers to writes to tables.
pub const TABLE_DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Node events a slow listener may lag behind before it misses some.
const NODE_EVENTS: usize = 1024;

/// A handle to a running node of a cluster. Cloning gives another handle to the same node, which stops without
/// ceremony when the last one is dropped; [`shutdown`](Self::shutdown) is the orderly end.
#[derive(Clone)]
pub struct ClusterNode {
    shared: Arc<Shared>,
    _stop: Arc<DropGuard>,
}

struct Shared {
    /// The layout of the start.
    layout: Arc<Layout>,
    /// What it has become since.
    adopted: Mutex<Option<Arc<Layout>>>,
    /// To the driver, one at a time.
    adoptions: mpsc::Sender<Adoption>,
    /// The pools that the program made.
    extra_pools: Vec<PoolSpec>,
    /// What is published again as the layout says.
    relays: Mutex<Vec<(RelaySpec, HandlerGuard)>>,
    name: String,
    endpoint: Endpoint,
    /// What this node is subscribed to as a member of the cluster.
    subscriptions: Filter,
    state: Mutex<State>,
    progress: watch::Sender<Progress>,
    /// What the manager has told about the cluster's being ready.
    verdict: watch::Sender<Option<Verdict>>,
    node_events: broadcast::Sender<NodeEvent>,
    greetings: Greetings,
    /// Events of the cluster that came from somebody who has no say in it.
    refused: AtomicU64,
    handling: Handling,
    /// Where keys live, by pool, in the order of the pools.
    homes: Vec<watch::Sender<Homes>>,
    /// What the manager said last about the members of pools, by topic.
    heard: Mutex<BTreeMap<String, Vec<String>>>,
    first_events: Mutex<Option<EventStream>>,
    logs: LogClient,
    receiver: Option<LogReceiver>,
    /// What the node writes about itself, if it does.
    streams: Option<Arc<NodeStreams>>,
    tables: Arc<Tables>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

struct State {
    membership: Membership,
    readiness: Readiness,
    pools: Vec<Pool>,
}

/// How far the node and its cluster have come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Progress {
    fully_connected: bool,
    started: bool,
    /// Counts nodes that come up and go down.
    changes: u64,
}

/// A node of the cluster came up or went down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeEvent {
    /// It came up; pools have it already.
    Up {
        /// Its name.
        name: String,
        /// Its role.
        role: Role,
        /// The ID of its process.
        id: EndpointId,
    },
    /// It went down; pools do without it already.
    Down {
        /// Its name.
        name: String,
        /// Its role.
        role: Role,
        /// The ID its process had.
        id: EndpointId,
    },
}

/// What a node that has stopped leaves behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Departed {
    /// Log records that this process wrote, or received as a logger.
    pub log_records: u64,
    /// Those of them that are in a file, or with a logger.
    pub acknowledged: u64,
    /// Those of them that wait on disk for the next start.
    pub spooled: u64,
    /// Those of them that nobody had in time and that are lost.
    pub left: u64,
}

/// What the counters of a stream that a node writes to files of its own, too, are called behind its name.
const LOCAL_COPY: &str = " (local)";

/// Records that nothing has become of yet.
fn pending(logs: impl IntoIterator<Item = LogCounters>) -> u64 {
    let open = |log: LogCounters| {
        log.received
            .saturating_sub(log.written + log.dropped + log.spooled)
    };
    logs.into_iter().map(open).sum()
}

impl ClusterNode {
    /// Sets up the node called `name` of a cluster.
    pub fn builder(layout: impl Into<Arc<Layout>>, name: impl Into<String>) -> ClusterNodeBuilder {
        ClusterNodeBuilder::new(layout.into(), name.into())
    }

    /// The layout of the start; [`current_layout`](Self::current_layout) is what has become of it.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.shared.layout
    }

    /// This node in the layout.
    ///
    /// # Panics
    /// Never: a node that is not in its layout does not start.
    #[must_use]
    pub fn spec(&self) -> &NodeSpec {
        self.shared
            .layout
            .node(&self.shared.name)
            .expect("the builder checked it")
    }

    /// The endpoint, for everything that is not the cluster's business.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.shared.endpoint
    }

    /// Remote logging of this node.
    #[must_use]
    pub fn logs(&self) -> &LogClient {
        &self.shared.logs
    }

    /// The store of that name on this node: of the layout, or attached since.
    #[must_use]
    pub fn store(&self, name: &str) -> Option<Store> {
        self.shared.endpoint.store(name)
    }

    /// Sets up the table called `name`, such as `Hosts::seen`: the master is on the manager and announced by it, clones are
    /// elsewhere, as Zeek binds a global with `&backend`. A table whose clones are on Zeek nodes, and that is to
    /// survive the manager, belongs into the layout: only then does the manager come back under the ID they follow.
    pub fn table<K, V>(&self, name: impl Into<String>) -> TableBuilder<K, V>
    where
        K: ToData + FromData + Clone + Send + Sync + 'static,
        V: ToData + FromData + Clone + Send + Sync + 'static,
    {
        TableBuilder::on_node(
            self.shared.endpoint.unowned(),
            name.into(),
            Arc::clone(&self.shared.tables),
            self.spec().role == Role::Manager,
        )
    }

    /// Sets up the table called `name` whose changes are published, as Zeek's tables with `&publish_on_change`. Workers send them
    /// to the manager, which publishes them again.
    pub fn published_table<K, V>(&self, name: impl Into<String>) -> PublishedTableBuilder<K, V>
    where
        K: ToData + FromData + Clone + Send + Sync + 'static,
        V: ToData + FromData + Clone + Send + Sync + 'static,
    {
        let own = topics::nodeid_topic(self.shared.endpoint.id());
        PublishedTableBuilder::new(
            self.shared.endpoint.unowned(),
            name.into(),
            [own].into_iter().collect(),
            self.spec().role == Role::Worker,
        )
    }

    /// What was published to this node's topics, those of its pools and `extra`, from now on; events of the cluster
    /// itself are left out. Each stream gets everything.
    pub fn events(&self, extra: Filter, queue: QueueOptions) -> EventStream {
        let mut filter = self.shared.subscriptions.clone();
        filter.union(&extra);
        let greetings = self.shared.greetings.watch();
        EventStream::subscribe(&self.shared.endpoint, filter, queue, greetings)
    }

    /// The stream asked for with [`ClusterNodeBuilder::events`], which misses nothing since the start. Once.
    #[must_use]
    pub fn take_events(&self) -> Option<EventStream> {
        self.shared
            .first_events
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// Nodes that come up and go down from now on. A listener that lags far behind misses the oldest.
    #[must_use]
    pub fn node_events(&self) -> broadcast::Receiver<NodeEvent> {
        self.shared.node_events.subscribe()
    }

    /// The nodes that are up, by name, without this one.
    #[must_use]
    pub fn nodes_up(&self) -> BTreeMap<String, (Role, EndpointId)> {
        self.state()
            .membership
            .up()
            .map(|(name, role, id)| (name.to_owned(), (role, id)))
            .collect()
    }

    /// The ID of a node that is up.
    #[must_use]
    pub fn id_of(&self, name: &str) -> Option<EndpointId> {
        self.state().membership.id_of(name)
    }

    /// The node whose current process has this ID, as `Cluster::nodeid_to_node`; none if nobody has it, or the ID is that
    /// of this node.
    #[must_use]
    pub fn node_of(&self, id: EndpointId) -> Option<NodeSpec> {
        let name = {
            let state = self.state();
            state
                .membership
                .node_of(id)
                .map(|(name, _)| name.to_owned())
        };
        self.current_layout().node(&name?).cloned()
    }

    /// How many nodes of a role the layout has.
    #[must_use]
    pub fn node_count(&self, role: Role) -> usize {
        self.current_layout().with_role(role).count()
    }

    /// How far a threshold is reached as this node sees it.
    #[must_use]
    pub fn standing(&self, threshold: &Threshold) -> Standing {
        self.shared.standing(threshold)
    }

    /// Waits until enough nodes are up, as this node sees them, for at most `limit`; says who is missing, now or still.
    ///
    /// ```no_run
    /// # async fn example(manager: broker_cluster::ClusterNode) {
    /// use broker_cluster::threshold::{Need, Threshold};
    /// use broker_cluster::Role;
    ///
    /// let enough = Threshold::new().need(Role::Worker, Need::Count(28));
    /// match manager.enough(&enough, std::time::Duration::from_secs(60)).await {
    ///     Ok(standing) => println!("ready: {standing}"),
    ///     Err(standing) => println!("not ready after a minute: {standing}"),
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// Not within `limit`. At once if the node can never see enough nodes of a role, such as a worker of workers.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn enough(
        &self,
        threshold: &Threshold,
        limit: Duration,
    ) -> Result<Standing, Standing> {
        if let Some(role) = threshold.unseen_by(&self.current_layout(), &self.shared.name) {
            tracing::error!(
                "this node is never connected to enough nodes of role {role}: ask the manager"
            );
            return Err(self.standing(threshold));
        }
        let mut progress = self.shared.progress.subscribe();
        let met = async {
            loop {
                progress.borrow_and_update();
                let standing = self.standing(threshold);
                if standing.is_met() {
                    return standing;
                }
                if progress.changed().await.is_err() {
                    return standing;
                }
            }
        };
        match timeout(limit, met).await {
            Ok(standing) if standing.is_met() => Ok(standing),
            _ => Err(self.standing(threshold)),
        }
    }

    /// How many processes of a role are up, without this one.
    #[must_use]
    pub fn active_count(&self, role: Role) -> usize {
        self.state().membership.active_count(role)
    }

    /// Whom this node waits for before it is fully connected.
    #[must_use]
    pub fn waiting_for(&self) -> Vec<String> {
        self.state()
            .readiness
            .waiting_for()
            .map(str::to_owned)
            .collect()
    }

    /// Waits until this node has had a connection to every node it dials and to the manager. `false`: not within `limit`.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn fully_connected(&self, limit: Duration) -> bool {
        self.reached(limit, |progress| progress.fully_connected)
            .await
    }

    /// Waits until every node of the cluster has been fully connected, as the manager announces it. `false`: not
    /// within `limit`.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn cluster_started(&self, limit: Duration) -> bool {
        self.reached(limit, |progress| progress.started).await
    }

    /// Waits until the manager has said whether enough nodes are up, as `[cluster.ready]` of the layout wants it. When it
    /// has said that they are not, the answer is that; [`cluster_ready_changes`](Self::cluster_ready_changes) tells if
    /// they are later. `None`: nothing within `limit`, or the layout does not ask for it.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn cluster_ready(&self, limit: Duration) -> Option<Verdict> {
        self.current_layout().ready()?;
        let mut verdict = self.shared.verdict.subscribe();
        let told = timeout(limit, verdict.wait_for(Option::is_some)).await;
        told.ok()?.ok()?.clone()
    }

    /// What the manager says about the cluster's being ready, as it changes. Handlers hear of it as
    /// `BrokerRs::cluster_ready` with a bool and a set of strings, who is missing.
    #[must_use]
    pub fn cluster_ready_changes(&self) -> watch::Receiver<Option<Verdict>> {
        self.shared.verdict.subscribe()
    }

    /// What happened to log records on this node, by stream id: those it wrote, or received as a logger.
    #[must_use]
    pub fn log_counters(&self) -> BTreeMap<String, LogCounters> {
        self.shared.log_counters()
    }

    /// The orderly end. Others are told that nothing is wanted any more, and what was under way arrives; handlers take the
    /// events that have come (for at most [`HANDLER_DRAIN_TIMEOUT`]) and may still publish and log; log records are sent and
    /// acknowledged (for at most [`LOG_DRAIN_TIMEOUT`]; what is left then goes into the spool, or is counted as dropped where
    /// there is none); writes to tables are answered by the manager (at most [`TABLE_DRAIN_TIMEOUT`]); a logger writes what
    /// has arrived and closes its files; queues to peers drain, goodbye. Returns what became of the log records.
    ///
    /// Not to be awaited in a handler, which it would wait for: a handler that is to end the node spawns a task that does.
    ///
    /// # Cancel safety
    /// A dropped future leaves the node half way down; call again to finish.
    pub async fn shutdown(&self) -> Departed {
        let shared = &self.shared;
        if !shared.endpoint.withdraw(DRAIN_TIMEOUT).await {
            tracing::warn!("not every peer said in time that it has sent everything");
        }
        shared.handling.drain().await;
        if !shared.logs.drained(LOG_DRAIN_TIMEOUT).await {
            tracing::warn!("log records without a receipt at shutdown");
        }
        if !shared.tables.flush(TABLE_DRAIN_TIMEOUT).await {
            tracing::warn!("writes to tables without an answer at shutdown");
        }
        if !shared.logs.retreat(LOG_DRAIN_TIMEOUT).await {
            tracing::warn!("log records did not get into the spool at shutdown");
        }
        let given_up = || -> u64 {
            let counters = shared.logs.counters();
            counters.iter().map(|(_, log)| log.dropped).sum()
        };
        let given_up_before = given_up();
        shared.logs.close();
        if let Some(receiver) = &shared.receiver {
            receiver.close().await;
        }
        shared.endpoint.shutdown().await;
        shared.stop.cancel();
        shared.handling.end().await;
        shared.tasks.close();
        shared.tasks.wait().await;
        shared.logs.close_spool().await;
        let mut logs = shared.log_counters();
        // A second copy of what goes to the loggers.
        logs.retain(|stream, _| !stream.ends_with(LOCAL_COPY));
        let sum = |count: fn(&LogCounters) -> u64| logs.values().map(count).sum();
        Departed {
            log_records: sum(|log| log.received),
            acknowledged: sum(|log| log.written),
            spooled: sum(|log| log.spooled),
            left: given_up().saturating_sub(given_up_before) + pending(logs.into_values()),
        }
    }

    async fn reached(&self, limit: Duration, condition: impl Fn(&Progress) -> bool) -> bool {
        let mut progress = self.shared.progress.subscribe();
        matches!(
            timeout(limit, progress.wait_for(condition)).await,
            Ok(Ok(_))
        )
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }
}

impl Shared {
    /// A line of `cluster.log`, and of what the program says.
    fn say(&self, message: &str) {
        streams::say(self.streams.as_deref(), message);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn standing(&self, threshold: &Threshold) -> Standing {
        let layout = self.current_layout();
        let state = self.state();
        threshold.standing(&layout, &self.name, |name| {
            state.membership.id_of(name).is_some()
        })
    }

    /// What this node writes itself of what it also sends to loggers is apart, as `STREAM (local)`.
    fn log_counters(&self) -> BTreeMap<String, LogCounters> {
        let mut all = self
            .receiver
            .as_ref()
            .map_or_else(BTreeMap::new, LogReceiver::counters);
        let writes_logs = self
            .layout
            .node(&self.name)
            .is_some_and(|spec| self.layout.writes_logs(spec));
        let sent = self.logs.counters();
        if !writes_logs {
            let both = |stream: &String| sent.iter().any(|(other, _)| other == stream);
            all = all
                .into_iter()
                .map(|(stream, local)| match both(&stream) {
                    true => (format!("{stream}{LOCAL_COPY}"), local),
                    false => (stream, local),
                })
                .collect();
        }
        // A stream that was opened more than once is there as often.
        for (stream, counters) in sent {
            let sum = all.entry(stream).or_default();
            sum.received += counters.received;
            sum.written += counters.written;
            sum.dropped += counters.dropped;
            sum.duplicates += counters.duplicates;
            sum.spooled += counters.spooled;
        }
        all
    }
}

impl std::fmt::Debug for ClusterNode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClusterNode")
            .field("name", &self.shared.name)
            .field("id", &self.shared.endpoint.id())
            .finish_non_exhaustive()
    }
}
