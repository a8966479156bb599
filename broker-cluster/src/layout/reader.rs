//! From text to [`Layout`]: every value with its place, so that an error can name the line.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use broker_core::{PeerUrl, QueueOptions};
use toml::de::DeTable;

use super::check;
use super::error::{LayoutError, LayoutProblem};
use super::format::LayoutFormat;
use super::host_port::HostPort;
use super::logging;
use super::security::Security;
use super::table::{Source, Table, Text, shortened};
use super::zeek::{Foreign, ZeekTable};
use super::{Layout, NodeSpec, StoreSpec, TableSpec, TelemetrySpec, ready, relays, telemetry};
use crate::log::LogFormat;
use crate::logging::RotationRule;
use crate::pools::{PoolSpec, Strategy};
use crate::role::Role;
use crate::table::store_name;

const SECTIONS: &[&str] = &[
    "cluster", "logging", "stores", "tables", "node", "pools", "relays", "tls", "ws",
];
const FOREIGN_SECTIONS: &[&str] = &[
    "cluster", "logging", "stores", "tables", "node", "pools", "relays", "tls", "ws", "zeek",
];
const CLUSTER_KEYS: &[&str] = &[
    "name",
    "log_dir",
    "log_format",
    "table_dir",
    "log_level",
    "ready",
    "telemetry",
];
const STORE_KEYS: &[&str] = &[
    "backend",
    "path",
    "journal_mode",
    "synchronous",
    "failure_mode",
    "integrity_check",
    "cache_bytes",
];
/// Which of them each backend has.
const SQLITE_KEYS: &[&str] = &[
    "path",
    "journal_mode",
    "synchronous",
    "failure_mode",
    "integrity_check",
];
const SLED_KEYS: &[&str] = &["path", "cache_bytes"];
const NODE_KEYS: &[&str] = &[
    "role",
    "listen",
    "advertise",
    "host",
    "queue_messages",
    "queue_bytes",
    "queue_policy",
    "weight",
    "peers",
    "log_level",
    "metrics",
    "tls",
    "ws",
];
/// What a text beside a layout of Zeek's may say about one of its nodes.
const ADDED_KEYS: &[&str] = &[
    "listen",
    "queue_messages",
    "queue_bytes",
    "queue_policy",
    "weight",
    "peers",
    "log_level",
    "metrics",
    "tls",
    "ws",
];
const ZEEK_ROTATION: Duration = Duration::from_secs(3600);
const ZEEK_KEYS: &[&str] = &["tls", "listen_address", "first_port"];
const POOL_KEYS: &[&str] = &["topic", "role", "max_nodes", "exclusive", "strategy"];

/// A node and where the file speaks of it.
pub(super) struct PlacedNode {
    pub(super) spec: NodeSpec,
    pub(super) table: String,
    pub(super) line: usize,
    /// The line of each `listen` entry.
    pub(super) listen_lines: Vec<usize>,
    /// The line of the first entry others dial.
    pub(super) dial_line: usize,
}

/// Reads a layout; or, with `foreign`, what stands beside one of Zeek's.
pub(super) fn read(
    text: &str,
    path: &Path,
    foreign: Option<&Foreign<'_>>,
) -> Result<Layout, LayoutError> {
    let source = Source {
        file: path,
        text,
        format: LayoutFormat::Toml,
    };
    let document = DeTable::parse(text).map_err(|error| {
        let reason = error
            .message()
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned();
        let span = error.span().unwrap_or_default();
        let problem = match text.get(span.clone()) {
            Some(what) if reason.starts_with("duplicate key") && !what.is_empty() => {
                LayoutProblem::Twice {
                    what: what.to_owned(),
                }
            }
            _ => LayoutProblem::Syntax { reason },
        };
        source.error(span, problem)
    })?;
    let root = Table {
        source,
        name: "the file".to_owned(),
        span: 0..0,
        entries: document.get_ref(),
    };
    root.only(if foreign.is_some() {
        FOREIGN_SECTIONS
    } else {
        SECTIONS
    })?;

    let cluster = root.table("cluster", "[cluster]".to_owned())?;
    let base = path.parent().unwrap_or_else(|| Path::new(""));
    let (name, log_dir, log_format, table_dir, log_level) = match &cluster {
        Some(cluster) => {
            cluster.only(CLUSTER_KEYS)?;
            (
                cluster.string("name")?,
                cluster.string("log_dir")?,
                cluster.word("log_format", &["tsv", "json"])?,
                cluster.string("table_dir")?,
                cluster.string("log_level")?,
            )
        }
        None => (None, None, None, None, None),
    };
    // Zeek's loggers rotate their files each hour (reference, zeek-cluster 6.10).
    let rotation = RotationRule {
        interval: foreign.map(|_| ZEEK_ROTATION),
        max_bytes: None,
    };
    let logging = logging::read(&root, base, rotation)?;
    let security = Security::read(&root, "", base)?;
    let log_level = log_level.map(|level| level.text);
    let (nodes, notices, logs_at_manager) = match foreign {
        None => {
            let nodes = root.named("node", |table, name| {
                node(&table, name, base, &security, log_level)
            })?;
            check::nodes(&source, &nodes)?;
            (nodes, Vec::new(), None)
        }
        Some(foreign) => {
            let mut read = foreign.read(&zeek(&root)?)?;
            add_to(&root, &mut read.nodes, base, &security, log_level)?;
            (read.nodes, read.notices, Some(read.manager_is_logger))
        }
    };
    let file = foreign.map_or(path, |foreign| foreign.source.file);
    let stores = root.named("stores", |table, name| store(&table, name, base, base))?;
    let table_dir = table_dir.map_or_else(|| base.to_owned(), |dir| base.join(dir.text));
    let tables = root.named("tables", |table, name| {
        let store = store(&table, &store_name(name), base, &table_dir)?;
        let name = name.to_owned();
        Ok(TableSpec { name, store })
    })?;
    let pools = pools(&root)?;

    let nodes: BTreeMap<String, NodeSpec> = nodes
        .into_iter()
        .map(|node| (node.spec.name.clone(), node.spec))
        .collect();
    let manager_is_logger =
        logs_at_manager.unwrap_or_else(|| !nodes.values().any(|node| node.role == Role::Logger));
    let members =
        Layout::allocate(&pools.specs, &nodes, manager_is_logger).map_err(|source_error| {
            root.source.at_line(
                pools.line_of(&source_error),
                LayoutProblem::Pools {
                    source: source_error,
                },
            )
        })?;
    let ready = match &cluster {
        Some(cluster) => ready::read(cluster, &nodes)?,
        None => None,
    };
    let telemetry = match &cluster {
        Some(cluster) => telemetry::read(cluster)?,
        None => TelemetrySpec::default(),
    };
    Ok(Layout {
        relays: relays::read(&root, &pools.specs)?,
        ready,
        telemetry,
        name: name.map_or_else(
            || {
                file.file_stem()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned()
            },
            |name| name.text.to_owned(),
        ),
        log_dir: base.join(log_dir.map_or("logs", |dir| dir.text)),
        log_format: if log_format.is_some_and(|word| word.text == "json") {
            LogFormat::Json
        } else {
            LogFormat::Tsv
        },
        file: file.to_owned(),
        format: foreign.map_or(LayoutFormat::Toml, |foreign| foreign.source.format),
        table_dir,
        logging,
        stores,
        tables,
        nodes,
        pools: pools.specs,
        members,
        manager_is_logger,
        notices,
    })
}

/// `[zeek]` beside a layout of Zeek's.
fn zeek(root: &Table<'_>) -> Result<ZeekTable, LayoutError> {
    let Some(table) = root.table("zeek", "[zeek]".to_owned())? else {
        return Ok(ZeekTable::default());
    };
    table.only(ZEEK_KEYS)?;
    let out_of_range = |key: &str, value: String, span, expected| {
        let problem = LayoutProblem::OutOfRange {
            table: table.name.clone(),
            key: key.to_owned(),
            value,
            expected,
        };
        table.source.error(span, problem)
    };
    let listen_address = match table.string("listen_address")? {
        Some(address) if !address.text.is_empty() && address.text.parse::<IpAddr>().is_err() => {
            let value = format!("{:?}", shortened(address.text));
            return Err(out_of_range(
                "listen_address",
                value,
                address.span,
                "an address of this machine",
            ));
        }
        address => address.map(|address| address.text.to_owned()),
    };
    let first_port = match table.positive("first_port")?.map(NonZeroUsize::get) {
        Some(port) => Some(u16::try_from(port).map_err(|_| {
            out_of_range(
                "first_port",
                port.to_string(),
                table.span.clone(),
                "a number from 1 to 65535",
            )
        })?),
        None => None,
    };
    Ok(ZeekTable {
        tls: table.boolean("tls")?.map(|(value, _)| value),
        listen_address,
        first_port,
    })
}

/// Adds what `[node.NAME]`, `[tls]` and `[ws]` say to the nodes of a layout of Zeek's.
fn add_to(
    root: &Table<'_>,
    nodes: &mut [PlacedNode],
    base: &Path,
    security: &Security,
    log_level: Option<&str>,
) -> Result<(), LayoutError> {
    let mut at = BTreeMap::new();
    for (index, node) in nodes.iter_mut().enumerate() {
        node.spec.tls = security.tls.clone();
        node.spec.ws = security.ws.clone();
        node.spec.log_level = log_level.map(str::to_owned);
        at.insert(node.spec.name.clone(), index);
    }
    let added = root.named("node", |table, name| {
        table.only(ADDED_KEYS)?;
        let Some(index) = at.get(name) else {
            let problem = LayoutProblem::NoSuchNode {
                name: shortened(name),
                known: at.keys().take(MAX_NAMED).cloned().collect(),
            };
            return Err(table.source.error(table.span.clone(), problem));
        };
        Ok((*index, common(&table, name, base, security, log_level)?))
    })?;
    for (
        index,
        Common {
            listen,
            queue,
            weight,
            peers,
            log_level,
            metrics,
            security,
            ..
        },
    ) in added
    {
        let spec = &mut nodes[index].spec;
        spec.listen.extend(listen);
        spec.queue = queue;
        spec.weight = weight;
        spec.peers = peers;
        spec.log_level = log_level;
        spec.metrics = metrics.or_else(|| spec.metrics.take());
        spec.tls = security.tls;
        spec.ws = security.ws;
    }
    Ok(())
}

/// What a node may say in every layout.
struct Common {
    listen: Vec<PeerUrl>,
    listen_lines: Vec<usize>,
    queue: QueueOptions,
    weight: usize,
    peers: Vec<PeerUrl>,
    log_level: Option<String>,
    metrics: Option<HostPort>,
    security: Security,
}

fn node(
    table: &Table<'_>,
    name: &str,
    base: &Path,
    security: &Security,
    log_level: Option<&str>,
) -> Result<PlacedNode, LayoutError> {
    table.only(NODE_KEYS)?;
    let role = table.role()?;
    let common = common(table, name, base, security, log_level)?;
    let (advertise, advertise_lines) = table.urls("advertise")?;
    let dial_line = advertise_lines
        .first()
        .or_else(|| common.listen_lines.first())
        .copied()
        .unwrap_or_else(|| table.line());
    Ok(PlacedNode {
        spec: NodeSpec {
            name: name.to_owned(),
            role,
            listen: common.listen,
            advertise,
            host: table.string("host")?.map(|host| host.text.to_owned()),
            queue: common.queue,
            weight: common.weight,
            peers: common.peers,
            log_level: common.log_level,
            metrics: common.metrics,
            tls: common.security.tls,
            ws: common.security.ws,
            pin_cpu: None,
            env: Arc::new([]),
        },
        table: table.name.clone(),
        line: table.line(),
        listen_lines: common.listen_lines,
        dial_line,
    })
}

fn common(
    table: &Table<'_>,
    name: &str,
    base: &Path,
    security: &Security,
    log_level: Option<&str>,
) -> Result<Common, LayoutError> {
    let (listen, listen_lines) = table.urls("listen")?;
    let mut queue = QueueOptions::peer();
    if let Some(messages) = table.positive("queue_messages")? {
        queue = queue.max_messages(messages);
    }
    if let Some(bytes) = table.positive("queue_bytes")? {
        queue = queue.max_bytes(bytes);
    }
    if let Some(policy) = table.word(
        "queue_policy",
        &["block", "drop_oldest", "drop_newest", "disconnect"],
    )? {
        queue = queue.policy(
            policy
                .text
                .parse()
                .expect("only the names of policies are accepted"),
        );
    }
    Ok(Common {
        listen,
        listen_lines,
        queue,
        weight: table.positive("weight")?.map_or(1, NonZeroUsize::get),
        peers: table.urls("peers")?.0,
        log_level: table
            .string("log_level")?
            .map(|level| level.text.to_owned())
            .or_else(|| log_level.map(str::to_owned)),
        metrics: table.host_port("metrics")?,
        security: Security::read(table, &format!("node.{name}."), base)?.or(security),
    })
}

/// `base` is where paths start, `dir` where the file is without one.
fn store(table: &Table<'_>, name: &str, base: &Path, dir: &Path) -> Result<StoreSpec, LayoutError> {
    table.only(STORE_KEYS)?;
    let backend = match table.string("backend")? {
        None => "memory",
        Some(word) => backend(table, &word)?,
    };
    let mut options = Vec::new();
    let accepted: &[&str] = match backend {
        "sqlite" => SQLITE_KEYS,
        "sled" => SLED_KEYS,
        _ => &[],
    };
    for key in &STORE_KEYS[1..] {
        let zeek_enum = |prefix, accepted| {
            let word = table.zeek_enum(key, prefix, accepted)?;
            Ok(word.map(|(word, span)| (word.to_owned(), span)))
        };
        let value = match *key {
            "path" => table.string(key)?.map(|path| {
                (
                    base.join(path.text).to_string_lossy().into_owned(),
                    path.span,
                )
            }),
            "journal_mode" => zeek_enum("SQLITE_JOURNAL_MODE_", &["delete", "wal"])?,
            "synchronous" => zeek_enum("SQLITE_SYNCHRONOUS_", &["off", "normal", "full", "extra"])?,
            "failure_mode" => zeek_enum("SQLITE_FAILURE_MODE_", &["fail", "delete"])?,
            "integrity_check" => table
                .boolean(key)?
                .map(|(value, span)| (value.to_string(), span)),
            _ => table
                .at_least(key, MIN_CACHE_BYTES, "a number of bytes, 1048576 or more")?
                .map(|bytes| (bytes.to_string(), table.span_of(key))),
        };
        let Some((value, span)) = value else { continue };
        if !accepted.contains(key) {
            let problem = LayoutProblem::NotForBackend {
                table: table.name.clone(),
                key: (*key).to_owned(),
                backend,
            };
            return Err(table.source.error(span, problem));
        }
        options.push((*key, value));
    }
    if !accepted.is_empty() && !options.iter().any(|(key, _)| *key == "path") {
        options.insert(
            0,
            (
                "path",
                default_path(dir, name, backend)
                    .to_string_lossy()
                    .into_owned(),
            ),
        );
    }
    Ok(StoreSpec {
        name: name.to_owned(),
        backend,
        options,
    })
}

fn default_path(dir: &Path, name: &str, backend: &str) -> PathBuf {
    dir.join(format!("{name}.{backend}"))
}

fn backend(table: &Table<'_>, word: &Text<'_>) -> Result<&'static str, LayoutError> {
    let not_built = |backend| {
        let problem = LayoutProblem::BackendNotBuilt {
            table: table.name.clone(),
            backend,
            feature: backend,
        };
        Err(table.source.error(word.span.clone(), problem))
    };
    match word.text {
        "memory" => Ok("memory"),
        "sqlite" if cfg!(feature = "sqlite") => Ok("sqlite"),
        "sqlite" => not_built("sqlite"),
        "sled" if cfg!(feature = "sled") => Ok("sled"),
        "sled" => not_built("sled"),
        other => {
            let problem = LayoutProblem::UnknownBackend {
                table: table.name.clone(),
                word: shortened(other),
            };
            Err(table.source.error(word.span.clone(), problem))
        }
    }
}

/// The pools of the file beside the default ones, and the line of each that is in the file.
struct Pools {
    specs: Vec<PoolSpec>,
    lines: BTreeMap<String, usize>,
}

impl Pools {
    /// The line of the pool an error is about, as far as it names one.
    fn line_of(&self, error: &crate::pools::AllocationError) -> Option<usize> {
        use crate::pools::AllocationError as E;
        match error {
            E::Unbounded { pool } | E::Role { pool, .. } | E::Topic { pool, .. } => {
                self.lines.get(pool)
            }
            E::SameTopic { first, second, .. } => self.lines.get(first).max(self.lines.get(second)),
            E::NotEnough { role, .. } => {
                let of_role = self
                    .specs
                    .iter()
                    .filter(|spec| spec.role == *role && spec.exclusive);
                of_role.filter_map(|spec| self.lines.get(&spec.name)).max()
            }
        }
        .copied()
    }
}

fn pools(root: &Table<'_>) -> Result<Pools, LayoutError> {
    let mut specs: Vec<PoolSpec> = PoolSpec::defaults().into();
    let mut lines = BTreeMap::new();
    for (spec, line) in root.named("pools", |table, name| {
        pool(&table, name).map(|spec| (spec, table.line()))
    })? {
        lines.insert(spec.name.clone(), line);
        match specs.iter_mut().find(|other| other.name == spec.name) {
            Some(default) => *default = spec,
            None => specs.push(spec),
        }
    }
    Ok(Pools { specs, lines })
}

fn pool(table: &Table<'_>, name: &str) -> Result<PoolSpec, LayoutError> {
    table.only(POOL_KEYS)?;
    let default = PoolSpec::defaults()
        .into_iter()
        .find(|spec| spec.name == name);
    let topic = table.string("topic")?;
    if let Some(topic) = topic.as_ref().filter(|topic| {
        topic.text.is_empty()
            || topic.text.len() > PoolSpec::MAX_TOPIC
            || topic.text.starts_with("<$>")
    }) {
        return Err(table.source.error(
            topic.span.clone(),
            LayoutProblem::OutOfRange {
                table: table.name.clone(),
                key: "topic".to_owned(),
                value: format!("{:?}", shortened(topic.text)),
                expected: "1 to 1024 bytes that do not start with <$>",
            },
        ));
    }
    let topic = match (topic, &default) {
        (Some(topic), _) => topic.text.to_owned(),
        (None, Some(default)) => default.topic.clone(),
        (None, None) => return Err(table.missing("topic", "topic = \"zeek/cluster/pool/NAME\"")),
    };
    let role = match &default {
        Some(default) if !table.entries.contains_key("role") => default.role,
        _ => table.role()?,
    };
    let strategy = match table.word("strategy", &["zeek", "weighted"])? {
        Some(word) if word.text == "weighted" => Strategy::Weighted,
        _ => Strategy::Zeek,
    };
    Ok(PoolSpec {
        name: name.to_owned(),
        topic,
        role,
        max_nodes: table.number("max_nodes")?,
        exclusive: table.boolean("exclusive")?.is_some_and(|(value, _)| value),
        strategy,
    })
}

/// The smallest cache of sled.
const MIN_CACHE_BYTES: usize = 1 << 20;

/// Names that an error lists at most.
const MAX_NAMED: usize = 32;
