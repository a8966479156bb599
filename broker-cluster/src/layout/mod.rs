//! The layout of a cluster: one TOML file that every node reads, and in which it finds itself by name.
//!
//! ```toml
//! [cluster]
//! name = "lab"                           # default: the file's name
//! log_dir = "logs"                       # where loggers write; default "logs"
//! log_format = "tsv"                     # tsv | json, for logs whose writer asks for neither
//! table_dir = "."                        # where files of tables are; default: beside this file
//!
//! [cluster.ready]                        # when the manager says that the cluster is ready
//! worker = "90%"                         # further: proxy, logger (a number, a percentage, or "all")
//! within = 60                            # seconds until it says who is missing; default 60
//! [cluster.telemetry]                    # how closely events are counted for metrics: info | verbose | debug
//! core_metrics = ["info", "verbose"]     # further: websocket_metrics, topic_normalizations
//! [logging]                              # rotation, sinks, spool, switches: see LoggingSpec
//! rotation_interval = "1 hr"
//!
//! [stores.hosts]                         # on every node: master on the manager, clones elsewhere
//! backend = "sqlite"                     # memory | sqlite | sled
//! path = "hosts.sqlite"                  # further: journal_mode, synchronous, failure_mode, integrity_check
//!
//! [tables."Hosts::seen"]                 # a table of that name, kept by the manager; keys as those of stores
//! backend = "sqlite"                     # path: default table_dir/___sync_store_NAME.sqlite
//!
//! [node.manager]                         # exactly one manager
//! role = "manager"                       # manager | logger | proxy | worker
//! listen = ["grpc://127.0.0.1:27761", "broker://127.0.0.1:27771"] # others dial the first they can speak
//!
//! [node.worker-1]
//! role = "worker"
//! advertise = ["grpc://198.51.100.7:9998"] # what others dial, where it differs from listen
//! host = "sensor-1"                      # where `cluster up` starts it; default: this host
//! queue_messages = 8192                  # each peer's queue; further: queue_bytes, queue_policy
//! weight = 2                             # for weighted pools
//! peers = ["grpc://far:9998"]            # whom to keep a peering with besides the nodes of the cluster
//! log_level = "info"                     # what to log; [cluster] has one for all nodes
//! metrics = "127.0.0.1:9991"             # where metrics and health are served; default: nowhere
//!
//! [pools.hosts]                          # besides the pools worker, proxy and logger
//! topic = "zeek/cluster/pool/hosts"
//! role = "proxy"                         # further: max_nodes, exclusive, strategy = zeek | weighted
//!
//! [relays.alerts]                        # workers do not see each other: who publishes an event of theirs again
//! event = "Alerts::raised"
//! by = ["manager", "proxy"]              # further: topic; default: that of the workers
//!
//! [tls]                                  # for grpcs://, brokers:// and wss://; one node's in [node.NAME.tls]
//! cafile = "ca.pem"                      # further: certificate, key, passphrase_file, capath, verify_host_name
//!
//! [ws]                                   # for ws:// and wss://; one node's in [node.NAME.ws]
//! token_file = "token"                   # further: allow_unauthenticated, allow_origins
//! ```
//!
//! Zeek's own layouts are read too: [`LayoutFormat`], [`ZeekOptions`].
//!
//! Relative paths start at the file. Without loggers the manager is the logger. Reading a layout binds and
//! opens nothing; whatever is wrong is a [`LayoutError`] of one line.

mod changes;
mod check;
mod error;
mod format;
mod host_port;
mod logging;
mod reader;
mod ready;
mod relays;
mod security;
mod source;
mod table;
mod telemetry;
mod zeek;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use broker_core::{PeerUrl, QueueOptions};

pub use self::changes::LayoutChanges;
pub use self::error::{LayoutError, LayoutProblem};
pub use self::format::{LayoutFormat, UnknownLayoutFormat};
pub use self::host_port::{BadHostPort, HostPort};
pub use self::logging::LoggingSpec;
pub use self::ready::ReadySpec;
pub use self::relays::RelaySpec;
pub use self::security::{TlsSpec, WsSpec};
pub use self::source::LayoutSource;
pub use self::telemetry::{EventLevel, EventLevels, TelemetrySpec, UnknownEventLevel};
pub use self::zeek::{ZeekLayoutProblem, ZeekOptions};
use crate::log::LogFormat;
use crate::pools::{self, Eligible, Pool, PoolSpec};
use crate::role::Role;

/// A cluster as its layout file describes it, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    file: PathBuf,
    format: LayoutFormat,
    name: String,
    log_dir: PathBuf,
    log_format: LogFormat,
    table_dir: PathBuf,
    logging: LoggingSpec,
    stores: Vec<StoreSpec>,
    tables: Vec<TableSpec>,
    nodes: BTreeMap<String, NodeSpec>,
    pools: Vec<PoolSpec>,
    members: Vec<Vec<String>>,
    manager_is_logger: bool,
    notices: Vec<String>,
    ready: Option<ReadySpec>,
    telemetry: TelemetrySpec,
    relays: Vec<RelaySpec>,
}

/// A store that every node of the cluster has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreSpec {
    /// Its name.
    pub name: String,
    /// What the master keeps it in: `memory`, `sqlite` or `sled`.
    pub backend: &'static str,
    /// Options of the backend as texts, `path` made absolute or relative to where the program runs.
    pub options: Vec<(&'static str, String)>,
}

/// A table that the manager keeps for all nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableSpec {
    /// Its name, that of a global in Zeek.
    pub name: String,
    /// The store behind it, called `___sync_store_` and its name.
    pub store: StoreSpec,
}

/// A node of the cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeSpec {
    /// Its name.
    pub name: String,
    /// Its role.
    pub role: Role,
    /// Where it listens.
    pub listen: Vec<PeerUrl>,
    /// What others dial instead; empty if that is `listen`.
    pub advertise: Vec<PeerUrl>,
    /// The host it runs on; none is the host of the program that asks.
    pub host: Option<String>,
    /// Bounds and policy of the queue to each peer.
    pub queue: QueueOptions,
    /// Its weight in weighted pools.
    pub weight: usize,
    /// Whom it keeps a peering with besides the nodes of the cluster.
    pub peers: Vec<PeerUrl>,
    /// What it logs about itself, as its table says it or `[cluster]`.
    pub log_level: Option<String>,
    /// Where it serves metrics and health over HTTP, if anywhere.
    pub metrics: Option<HostPort>,
    /// Its certificates, from `[node.NAME.tls]` and `[tls]`.
    pub tls: TlsSpec,
    /// Who may be its WebSocket client, from `[node.NAME.ws]` and `[ws]`.
    pub ws: WsSpec,
    /// The CPU that `cluster up` has it run on; only `node.cfg` says.
    pub pin_cpu: Option<u32>,
    /// Environment variables that `cluster up` gives it; only `node.cfg` says.
    pub env: Arc<[(String, String)]>,
}

impl NodeSpec {
    /// What others dial: `advertise`, or `listen` where that is empty.
    #[must_use]
    pub fn dialable(&self) -> &[PeerUrl] {
        if self.advertise.is_empty() {
            &self.listen
        } else {
            &self.advertise
        }
    }
}

impl Layout {
    /// Nodes of one layout at most.
    pub const MAX_NODES: usize = 4096;

    /// Reads and checks a layout file in whichever format it is; [`LayoutSource`] says more about how.
    ///
    /// # Errors
    /// The file cannot be read, or says what it may not.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, LayoutError> {
        LayoutSource::new(path.as_ref()).load()
    }

    /// Reads and checks the text of a layout in TOML; `path` is what errors name and where relative paths start.
    ///
    /// # Errors
    /// The text says what it may not.
    pub fn parse(text: &str, path: impl AsRef<Path>) -> Result<Self, LayoutError> {
        reader::read(text, path.as_ref(), None)
    }

    /// Reads and checks the text of a `node.cfg` of zeekctl's; `path` is what errors name.
    ///
    /// # Errors
    /// The text says what it may not.
    pub fn from_node_cfg(
        text: &str,
        path: impl AsRef<Path>,
        options: &ZeekOptions,
    ) -> Result<Self, LayoutError> {
        zeek::read(text, path.as_ref(), LayoutFormat::NodeCfg, options)
    }

    /// Reads and checks the text of a `cluster-layout.zeek`, as zeekctl generates it; `path` is what errors name.
    ///
    /// # Errors
    /// The text says what it may not.
    pub fn from_cluster_layout_zeek(
        text: &str,
        path: impl AsRef<Path>,
        options: &ZeekOptions,
    ) -> Result<Self, LayoutError> {
        zeek::read(text, path.as_ref(), LayoutFormat::Zeek, options)
    }

    /// What was passed over in a layout of Zeek's, a line each; a few dozen at most.
    #[must_use]
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// The file it came from.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// What that file is written in.
    #[must_use]
    pub const fn format(&self) -> LayoutFormat {
        self.format
    }

    /// The cluster's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where loggers write: each in a directory of its own name.
    #[must_use]
    pub fn log_dir(&self) -> &Path {
        &self.log_dir
    }

    /// How loggers write a log whose writer does not say.
    #[must_use]
    pub const fn log_format(&self) -> LogFormat {
        self.log_format
    }

    /// When the manager says that the cluster is ready, if the file says so.
    #[must_use]
    pub const fn ready(&self) -> Option<&ReadySpec> {
        self.ready.as_ref()
    }

    /// How closely nodes that serve metrics count events.
    #[must_use]
    pub const fn telemetry(&self) -> &TelemetrySpec {
        &self.telemetry
    }

    /// What else is said about logs.
    #[must_use]
    pub const fn logging(&self) -> &LoggingSpec {
        &self.logging
    }

    /// Events that managers or proxies publish again.
    #[must_use]
    pub fn relays(&self) -> &[RelaySpec] {
        &self.relays
    }

    /// The stores, by name.
    #[must_use]
    pub fn stores(&self) -> &[StoreSpec] {
        &self.stores
    }

    /// Where the files of tables are, unless a table says otherwise.
    #[must_use]
    pub fn table_dir(&self) -> &Path {
        &self.table_dir
    }

    /// The tables of the file, in its order. Programs may open others.
    #[must_use]
    pub fn tables(&self) -> &[TableSpec] {
        &self.tables
    }

    /// The stores of the file, and those behind its tables.
    pub(crate) fn all_stores(&self) -> impl Iterator<Item = &StoreSpec> {
        let behind = self.tables.iter().map(|table| &table.store);
        self.stores.iter().chain(behind)
    }

    /// All nodes, sorted bytewise by name.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = &NodeSpec> {
        self.nodes.values()
    }

    /// The node called `name`.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&NodeSpec> {
        self.nodes.get(name)
    }

    /// The node called `name`, or the error to show.
    ///
    /// # Errors
    /// There is no such node.
    pub fn require(&self, name: &str) -> Result<&NodeSpec, LayoutError> {
        self.node(name).ok_or_else(|| {
            LayoutError::new(
                &self.file,
                None,
                LayoutProblem::NoSuchNode {
                    name: name.to_owned(),
                    known: self.nodes.keys().cloned().collect(),
                },
            )
        })
    }

    /// The nodes of a role, sorted bytewise by name.
    pub fn with_role(&self, role: Role) -> impl Iterator<Item = &NodeSpec> {
        self.nodes.values().filter(move |node| node.role == role)
    }

    /// The manager.
    ///
    /// # Panics
    /// Never: a layout without manager is not read.
    #[must_use]
    pub fn manager(&self) -> &NodeSpec {
        self.with_role(Role::Manager)
            .next()
            .expect("reading checked that there is one")
    }

    /// Whether the manager writes logs: since there are no loggers, or because a layout of Zeek's says so.
    #[must_use]
    pub const fn manager_is_logger(&self) -> bool {
        self.manager_is_logger
    }

    /// Whether this node writes log files.
    #[must_use]
    pub fn writes_logs(&self, node: &NodeSpec) -> bool {
        node.role == Role::Logger || (node.role == Role::Manager && self.manager_is_logger())
    }

    /// The nodes that `node` dials, in order.
    pub fn dials<'a>(&'a self, node: &NodeSpec) -> impl Iterator<Item = &'a NodeSpec> + use<'a> {
        node.role
            .dials()
            .iter()
            .flat_map(|role| self.with_role(*role))
    }

    /// The specifications of all pools: the three that every cluster has, and those of the file.
    #[must_use]
    pub fn pool_specs(&self) -> &[PoolSpec] {
        &self.pools
    }

    /// All pools with their members, as the node called `local` sees them at its start.
    #[must_use]
    pub fn pools(&self, local: &str) -> Vec<Pool> {
        self.filled(&self.pools, &self.members, local)
    }

    /// All pools with those of a program beside them; one that has the name of another takes its place. They change who
    /// is in which pool, so every node of the cluster has to have the same.
    ///
    /// # Errors
    /// They ask for what the layout does not have.
    pub fn pools_with(
        &self,
        extra: &[PoolSpec],
        local: &str,
    ) -> Result<Vec<Pool>, pools::AllocationError> {
        let mut specs = self.pools.clone();
        for spec in extra {
            match specs.iter_mut().find(|other| other.name == spec.name) {
                Some(other) => *other = spec.clone(),
                None => specs.push(spec.clone()),
            }
        }
        let members = Self::allocate(&specs, &self.nodes, self.manager_is_logger)?;
        Ok(self.filled(&specs, &members, local))
    }

    /// [`pools_with`](Self::pools_with), with the file in the error.
    pub(crate) fn pools_of_program(
        &self,
        extra: &[PoolSpec],
        local: &str,
    ) -> Result<Vec<Pool>, LayoutError> {
        self.pools_with(extra, local)
            .map_err(|source| LayoutError::new(&self.file, None, LayoutProblem::Pools { source }))
    }

    fn filled(&self, specs: &[PoolSpec], members: &[Vec<String>], local: &str) -> Vec<Pool> {
        let weight = |name: &str| self.node(name).map_or(1, |node| node.weight);
        specs
            .iter()
            .zip(members)
            .map(|(spec, names)| {
                Pool::new(
                    spec.clone(),
                    names.iter().map(|name| (name.as_str(), weight(name))),
                    local,
                )
            })
            .collect()
    }

    /// Checks that the node called `name` can listen and dial with transports for the schemes in `spoken`.
    ///
    /// # Errors
    /// There is no such node, or an address it cannot speak.
    pub fn check_spoken(&self, name: &str, spoken: &[&str]) -> Result<(), LayoutError> {
        let node = self.require(name)?;
        let refuse = |node: &NodeSpec, url: &PeerUrl| {
            LayoutError::new(
                &self.file,
                None,
                LayoutProblem::NotSpoken {
                    table: format!("[node.{}]", node.name),
                    url: url.to_string(),
                    spoken: spoken.iter().map(|scheme| (*scheme).to_owned()).collect(),
                },
            )
        };
        if let Some(url) = node
            .listen
            .iter()
            .find(|url| !spoken.contains(&url.scheme()))
        {
            return Err(refuse(node, url));
        }
        for other in self.dials(node) {
            if dial_url(other, spoken).is_none() {
                return Err(refuse(other, &other.dialable()[0]));
            }
        }
        Ok(())
    }

    /// The addresses that `node` dials with transports for the schemes in `spoken`: of every node it dials the first
    /// that it can speak.
    pub fn dial_urls<'a>(
        &'a self,
        node: &NodeSpec,
        spoken: &'a [&str],
    ) -> impl Iterator<Item = &'a PeerUrl> {
        self.dials(node)
            .filter_map(move |other| dial_url(other, spoken))
    }

    fn allocate(
        pools: &[PoolSpec],
        nodes: &BTreeMap<String, NodeSpec>,
        manager_is_logger: bool,
    ) -> Result<Vec<Vec<String>>, pools::AllocationError> {
        let eligible = Eligible::new(
            nodes.values().map(|node| (node.name.as_str(), node.role)),
            manager_is_logger,
        );
        pools::allocate(pools, &eligible)
    }
}

/// The first address of `node` that can be dialled with one of the schemes in `spoken`.
pub(crate) fn dial_url<'a>(node: &'a NodeSpec, spoken: &[&str]) -> Option<&'a PeerUrl> {
    check::dialable(node).find(|url| spoken.contains(&url.scheme()))
}

#[cfg(test)]
mod tests;
