//! From a layout and a name to a running node.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use broker_core::{Endpoint, EndpointBuilder, Filter, ListenError, PeerUrl, QueueOptions, Topic};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::driver::{Driver, driver_topics};
use super::greetings::Greetings;
use super::handling::Handling;
use super::handover::first_homes;
use super::status::NodeReport;
use super::stores::Masters;
use super::streams::{self, NodeStreams};
use super::{ClusterNode, EventStream, NODE_EVENTS, Progress, Shared, StartError, State};
use crate::events::LOG_RECEIPTS;
use crate::handlers::Handlers;
use crate::layout::{Layout, dial_url};
use crate::logging::{
    DEFAULT_HOLD, LogClient, LogReceiver, LogSinkSpec, LogSuffix, Place, SinkTls, Spool,
    SpoolOptions, prepare_sinks,
};
use crate::membership::Membership;
use crate::pools::{AllocationError, Pool, PoolSpec};
use crate::readiness::Readiness;
use crate::table::Tables;
use crate::topics;

/// Sets up a [`ClusterNode`].
#[must_use = "the node runs once start() is called"]
#[derive(Debug)]
pub struct ClusterNodeBuilder {
    layout: Arc<Layout>,
    name: String,
    endpoint: EndpointBuilder,
    events: Option<QueueOptions>,
    extra: Filter,
    handlers: Option<Handlers>,
    pools: Vec<PoolSpec>,
    log_hold: Duration,
    log_locally: Option<bool>,
    log_suffix: Option<LogSuffix>,
    sink_tls: Option<SinkTls>,
    log_sinks: Vec<LogSinkSpec>,
    node_streams: bool,
    hear_started: bool,
    forwarding: bool,
    keep_id: bool,
    listening: bool,
    listen_retry: Option<Duration>,
}

impl ClusterNodeBuilder {
    pub(super) fn new(layout: Arc<Layout>, name: String) -> Self {
        Self {
            layout,
            name,
            endpoint: Endpoint::builder(),
            events: None,
            extra: Filter::new(),
            handlers: None,
            pools: Vec::new(),
            log_hold: DEFAULT_HOLD,
            log_locally: None,
            log_suffix: None,
            sink_tls: None,
            log_sinks: Vec::new(),
            node_streams: false,
            hear_started: false,
            forwarding: false,
            keep_id: true,
            listening: true,
            listen_retry: None,
        }
    }

    /// The endpoint to run on; it brings the transports. Default: one without any, which cannot listen or dial. Name,
    /// queue to peers, [forwarding](Self::forwarding) and features are set by the node.
    pub fn endpoint_builder(mut self, endpoint: EndpointBuilder) -> Self {
        self.endpoint = endpoint;
        self
    }

    /// Keeps the events that arrive from the start on, for [`ClusterNode::take_events`]; default: none are kept. With
    /// a queue that blocks, senders wait for whoever takes the stream.
    pub const fn events(mut self, queue: QueueOptions) -> Self {
        self.events = Some(queue);
        self
    }

    /// The handlers of the node, which miss nothing from the start on; default none. They are for one node: give another
    /// one handlers of its own.
    pub fn handlers(mut self, handlers: Handlers) -> Self {
        self.handlers = Some(handlers);
        self
    }

    /// Adds a pool to those of the layout, or takes the place of the one of the same name; default none. Every node of the
    /// cluster has to be given the same pools, or they disagree on who is in which: rather write them into the layout.
    pub fn pool(mut self, spec: PoolSpec) -> Self {
        self.pools.push(spec);
        self
    }

    /// Subscribes to further prefixes from the start on; default none. They are part of the filter that peers get with
    /// the handshake and of the stream of [`events`](Self::events).
    pub fn subscribe(mut self, extra: Filter) -> Self {
        self.extra = extra;
        self
    }

    /// How long log records wait for any logger to come up before they go out without a receipt, as Zeek sends them;
    /// default 30 s.
    pub const fn log_hold(mut self, hold: Duration) -> Self {
        self.log_hold = hold;
        self
    }

    /// Whether the node writes the streams `Cluster::LOG` and `Broker::LOG` about itself, as Zeek's nodes do; default no. The
    /// program does so. What the layout says goes before.
    pub const fn node_streams(mut self, write: bool) -> Self {
        self.node_streams = write;
        self
    }

    /// Whether a node that is no logger can write records into files of its own, and does so with those of streams that say
    /// nothing else (`Log::enable_local_logging`); default: as the layout says. Streams then choose with
    /// [`LogSpec::log_local`](crate::logging::LogSpec::log_local).
    pub const fn log_locally(mut self, local: bool) -> Self {
        self.log_locally = Some(local);
        self
    }

    /// What names of log files end with where the layout says nothing (`ZEEK_LOG_SUFFIX`); default none: `log`.
    pub fn log_suffix(mut self, suffix: Option<LogSuffix>) -> Self {
        self.log_suffix = suffix;
        self
    }

    /// What makes connections to `https://` sinks of the logger safe; default none: a node whose layout has such a sink does
    /// not start.
    pub fn sink_tls(mut self, tls: SinkTls) -> Self {
        self.sink_tls = Some(tls);
        self
    }

    /// Gives the records that this node writes into files to the program as well, beside the sinks of the layout; default
    /// none. A node that writes no files gives it nothing. See [`LogSink`](crate::logging::LogSink).
    pub fn log_sink(mut self, sink: LogSinkSpec) -> Self {
        self.log_sinks.push(sink);
        self
    }

    /// Subscribes to `zeek/cluster/experimental/started`, for a Zeek manager that loads the experimental script;
    /// default no. A manager of ours tells the nodes without it.
    pub const fn hear_started(mut self, hear: bool) -> Self {
        self.hear_started = hear;
        self
    }

    /// Whether a node that has the masters of persistent stores comes back under the endpoint ID it had before; default
    /// yes. Clones of C++ then go on after a restart; they never follow a master with another ID.
    pub const fn keep_id(mut self, keep: bool) -> Self {
        self.keep_id = keep;
        self
    }

    /// Whether the node listens on the addresses that the layout has for it; default yes. Without, nobody can dial it.
    pub const fn listening(mut self, listening: bool) -> Self {
        self.listening = listening;
        self
    }

    /// Tries an address that cannot be bound again after this time, until it can; default none: the node does not start.
    pub const fn listen_retry(mut self, pause: Option<Duration>) -> Self {
        self.listen_retry = pause;
        self
    }

    /// Passes messages of one peer on to others; default no, as in Zeek, whose clusters are meshes in which a message
    /// would arrive more than once. For a node that joins parts of a cluster which do not see each other.
    pub const fn forwarding(mut self, forwarding: bool) -> Self {
        self.forwarding = forwarding;
        self
    }

    /// Starts the node: opens its stores and, on a logger, the log directory, binds every address, and begins to dial.
    /// It does not wait for anybody.
    ///
    /// # Errors
    /// The node is not in the layout, pools cannot be filled, an address cannot be spoken or bound, or a store or the log directory cannot be
    /// opened. Then nothing is left running.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn start(self) -> Result<ClusterNode, StartError> {
        let layout = self.layout;
        let spec = layout.require(&self.name)?;
        let pools = layout.pools_with(&self.pools, &self.name)?;
        let masters = Masters::open(&layout, spec).await?;
        let mut endpoint = self.endpoint;
        if self.keep_id
            && let Some(id) = masters.kept_id()?
        {
            endpoint = endpoint.id(id);
        }
        let endpoint = endpoint
            .name(&self.name)
            .forwarding(self.forwarding)
            .peer_queue(spec.queue)
            .feature(LOG_RECEIPTS)
            .feature(broker_store::FEATURE)
            .start();
        let spoken = endpoint.schemes();
        layout.check_spoken(&self.name, &spoken)?;

        let stop = CancellationToken::new();
        let guard = stop.clone().drop_guard();
        let writes_logs = layout.writes_logs(spec);
        let subscriptions = {
            let own: Vec<Topic> = pools
                .iter()
                .filter(|pool| pool.contains(&self.name))
                .filter_map(|pool| Topic::copy_from(pool.spec().topic.as_bytes()).ok())
                .collect();
            let mut filter =
                topics::subscriptions(spec.role, &self.name, endpoint.id(), &own, false);
            filter.union(&self.extra);
            filter
        };
        let greetings = Greetings::new(driver_topics(spec.role, endpoint.id(), self.hear_started));
        let first_events = self.events.map(|queue| {
            let greetings = greetings.watch();
            EventStream::subscribe(&endpoint, subscriptions.clone(), queue, greetings)
        });

        let logging = layout.logging();
        let mut settings = logging.log_settings(writes_logs);
        if let Some(local) = self.log_locally.filter(|_| !writes_logs) {
            settings.log_local = local;
        }
        let loggers = log_pool(&layout, &self.pools, &self.name)?;
        // A node that only writes its own logs has nobody to wait for.
        let spool = match logging.spool_of(&self.name).filter(|_| !writes_logs) {
            Some(options) => Some(open_spool(options).await?),
            None => None,
        };
        let writes_locally = settings.writes_locally() || self.log_locally == Some(true);
        let logs = LogClient::new(endpoint.clone(), loggers, self.log_hold, settings, spool);
        let receiver = if writes_logs || writes_locally {
            let dir = layout.log_dir().join(&self.name);
            let place = Place {
                own: Some(logs.clone()),
                for_peers: writes_logs,
                stop: stop.clone(),
            };
            let mut options = logging.logger_options(layout.log_format(), &self.name, writes_logs);
            if let (None, Some(suffix)) = (&logging.suffix, self.log_suffix) {
                options.suffix = suffix;
            }
            options.tls = self.sink_tls;
            let sinks = prepare_sinks(&options.sinks, self.log_sinks, options.tls.as_ref())?;
            let started = LogReceiver::start_at(&endpoint, &self.name, &dir, options, sinks, place);
            Some(started.map_err(StartError::Logs)?)
        } else {
            None
        };

        let homes = first_homes(&pools);
        let own_streams = self.node_streams || logging.node_streams == Some(true);
        let streams = if own_streams && logging.node_streams != Some(false) {
            Some(Arc::new(NodeStreams::open(&logs, &self.name).await?))
        } else {
            None
        };

        let (adoptions, adopted) = mpsc::channel(1);
        let shared = Arc::new(Shared {
            heard: Mutex::new(BTreeMap::new()),
            homes,
            state: Mutex::new(State {
                membership: Membership::new(&layout),
                readiness: Readiness::new(&layout, &self.name),
                pools,
            }),
            name: self.name.clone(),
            subscriptions: subscriptions.clone(),
            progress: watch::Sender::new(Progress::default()),
            verdict: watch::Sender::new(None),
            node_events: broadcast::Sender::new(NODE_EVENTS),
            greetings,
            refused: AtomicU64::new(0),
            handling: Handling::new(self.handlers.clone().unwrap_or_default()),
            first_events: Mutex::new(first_events),
            logs: logs.clone(),
            receiver,
            tables: Arc::new(Tables::new(
                layout.table_dir().to_owned(),
                layout.tables().iter().map(|table| table.name.clone()),
                {
                    let streams = streams.clone();
                    move |is_master, store: &str| {
                        let line = streams::store_created(is_master, store);
                        streams::say(streams.as_deref(), &line);
                    }
                },
            )),
            streams,
            stop: stop.clone(),
            tasks: TaskTracker::new(),
            endpoint: endpoint.clone(),
            layout: Arc::clone(&layout),
            adopted: Mutex::new(None),
            adoptions,
            extra_pools: self.pools,
            relays: Mutex::new(Vec::new()),
        });
        if self.handlers.is_some() {
            shared.start_handling();
        }
        shared.republish_as(&layout);
        // Everything is in the filter before anybody can shake hands.
        endpoint.forward(&subscriptions);
        endpoint.register_status(Arc::new(NodeReport(Arc::downgrade(&shared))));
        let driver = Driver::new(Arc::clone(&shared), adopted);
        masters.attach(&endpoint, &layout, spec).await?;
        let stores = layout.stores().iter();
        for store in stores.chain(layout.tables().iter().map(|table| &table.store)) {
            shared.say(&streams::store(&store.name, spec));
        }
        for url in spec.listen.iter().filter(|_| self.listening) {
            let bound = listen(&endpoint, url, self.listen_retry).await?;
            if let Some(streams) = &shared.streams {
                streams.listening(&bound);
            }
        }
        shared.tasks.spawn(logs.run(stop.clone()));
        shared.tasks.spawn(driver.run());
        for other in layout.dials(spec) {
            if let Some(url) = dial_url(other, &spoken) {
                tracing::info!(node = other.name, %url, "initiate peering");
                if let Some(streams) = &shared.streams {
                    streams.dialling(url);
                }
                endpoint.peer(url.clone());
            }
        }
        for url in &spec.peers {
            endpoint.peer(url.clone());
        }
        Ok(ClusterNode {
            shared,
            _stop: Arc::new(guard),
        })
    }
}

async fn listen(
    endpoint: &Endpoint,
    url: &PeerUrl,
    retry: Option<Duration>,
) -> Result<PeerUrl, ListenError> {
    let mut said = false;
    loop {
        match (endpoint.listen(url).await, retry) {
            (Err(error @ ListenError::Bind { .. }), Some(pause)) => {
                if !std::mem::replace(&mut said, true) {
                    tracing::warn!("{error}; trying again every {} s", pause.as_secs_f32());
                }
                sleep(pause).await;
            }
            (Ok(bound), _) => return Ok(bound),
            (Err(error), _) => return Err(error),
        }
    }
}

async fn open_spool(options: SpoolOptions) -> Result<Spool, StartError> {
    spawn_blocking(|| Spool::open(options))
        .await
        .map_err(StartError::Runtime)?
        .map_err(StartError::Spool)
}

/// The loggers as the outbox deals records over them: with a turn of its own, apart from what the program publishes.
fn log_pool(
    layout: &Layout,
    extra: &[PoolSpec],
    local: &str,
) -> Result<Option<Pool>, AllocationError> {
    let pools = layout.pools_with(extra, local)?;
    Ok(pools
        .into_iter()
        .find(|pool| pool.spec().name == PoolSpec::LOGGER))
}
