//! Layouts of Zeek's: zeekctl's `node.cfg`, and the `cluster-layout.zeek` it generates (reference, zeek-cluster 2.1, 2.2
//! and 10).
//!
//! | file | what it holds |
//! |---|---|
//! | `ini`, `node_cfg` | `node.cfg`: sections and keys, and which nodes with which ports they make |
//! | `zeekctl_cfg` | what of `zeekctl.cfg` matters here |
//! | `scanner`, `script` | `cluster-layout.zeek`: words of the language, and the assignments that matter here |
//! | `problem` | what can be wrong with any of them |
//!
//! They say which nodes there are and where others dial them, and nothing else. So the nodes of such a layout speak
//! `brokers://` ([`ZeekOptions::tls`]), listen on their port at all addresses of their machine
//! ([`ZeekOptions::listen_address`]), as Zeek's do, and everything else that a layout can say comes from a TOML text
//! beside it ([`ZeekOptions::with`]).

mod ini;
mod node_cfg;
mod problem;
mod scanner;
mod script;
mod zeekctl_cfg;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use broker_core::{PeerUrl, QueueOptions};

pub use self::problem::ZeekLayoutProblem;
use super::error::{LayoutError, LayoutProblem};
use super::format::LayoutFormat;
use super::reader::{self, PlacedNode};
use super::security::{TlsSpec, WsSpec};
use super::table::{Source, shortened};
use super::{HostPort, Layout, NodeSpec, check};
use crate::role::Role;

/// The first port that zeekctl deals out.
const ZEEK_PORT: u16 = 27_760;

/// Notices of one layout at most.
const MAX_NOTICES: usize = 32;

/// What a layout of Zeek's leaves open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ZeekOptions {
    tls: Option<bool>,
    listen_address: Option<String>,
    first_port: Option<u16>,
    metrics_port: Option<u16>,
    metrics_address: Option<String>,
    env: Vec<(String, String)>,
    with: Option<(String, PathBuf)>,
    notices: Vec<String>,
}

impl ZeekOptions {
    /// Nothing but the defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether nodes speak `brokers://`, as Zeek's do unless `Broker::disable_ssl` is set, or `broker://`. Default: what
    /// `[zeek]` in the text [beside](Self::with) says, else what the layout says, else yes.
    #[must_use]
    pub const fn tls(mut self, tls: bool) -> Self {
        self.tls = Some(tls);
        self
    }

    /// The address of this machine that its nodes listen on, as `Broker::default_listen_address` in Zeek. Default: what
    /// `[zeek]` in the text beside says, else what the layout says, else all of them.
    #[must_use]
    pub fn listen_address(mut self, address: impl Into<String>) -> Self {
        self.listen_address = Some(address.into());
        self
    }

    /// The first port that the nodes of a `node.cfg` get, `ZeekPort` in `zeekctl.cfg`; default 27760. The manager has the
    /// next one, since zeekctl gives the first to its own control node.
    #[must_use]
    pub const fn first_port(mut self, port: u16) -> Self {
        self.first_port = Some(port);
        self
    }

    /// Takes from a `zeekctl.cfg` what matters here: `ZeekPort`, `MetricsPort`, `MetricsAddress`, `ClusterBackend`,
    /// `env_vars`. A file that has no `MetricsPort` wants no metrics here: the one that zeekctl installs has it.
    ///
    /// # Errors
    /// The text is none, or names another cluster backend than Broker.
    pub fn zeekctl_cfg(mut self, text: &str, path: &Path) -> Result<Self, LayoutError> {
        let source = Source {
            file: path,
            text,
            format: LayoutFormat::NodeCfg,
        };
        let found = zeekctl_cfg::read(&source)?;
        self.first_port = self.first_port.or(found.first_port);
        self.metrics_port = found.metrics_port;
        self.metrics_address = found.metrics_address;
        self.env = found.env;
        self.notices.extend(found.notices);
        Ok(self)
    }

    /// Everything else that a layout can say, as TOML: `[cluster]`, `[stores.NAME]`, `[pools.NAME]`, `[tls]` and so on, more
    /// for a node of the layout in `[node.NAME]`, and `[zeek]` with `tls`, `listen_address` and `first_port`. Relative
    /// paths in it start at `path`; without such a text they start where the program runs.
    #[must_use]
    pub fn with(mut self, text: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        self.with = Some((text.into(), path.into()));
        self
    }
}

/// A node as a layout of Zeek's has it.
#[derive(Clone, Debug)]
struct ZeekNode {
    name: String,
    role: Role,
    /// Where others dial it.
    host: String,
    /// The zone of a link-local address.
    zone: String,
    /// None: it does not listen.
    port: Option<u16>,
    manager: Option<String>,
    /// Where it serves metrics.
    metrics: Option<u16>,
    pin_cpu: Option<u32>,
    env: Arc<[(String, String)]>,
    line: usize,
}

/// What a file has said.
#[derive(Debug, Default)]
struct Found {
    nodes: Vec<ZeekNode>,
    manager_is_logger: Option<bool>,
    tls: Option<bool>,
    listen_address: Option<String>,
    notices: Notices,
}

/// What was passed over; bounded.
#[derive(Debug, Default)]
struct Notices {
    texts: Vec<String>,
    more: usize,
}

impl Notices {
    fn push(&mut self, text: String) {
        if self.texts.len() < MAX_NOTICES {
            self.texts.push(text);
        } else {
            self.more += 1;
        }
    }

    fn into_texts(mut self) -> Vec<String> {
        if self.more > 0 {
            self.texts.push(format!("and {} more", self.more));
        }
        self.texts
    }
}

/// What a TOML text says about a layout of Zeek's in `[zeek]`.
#[derive(Clone, Debug, Default)]
pub(super) struct ZeekTable {
    pub(super) tls: Option<bool>,
    pub(super) listen_address: Option<String>,
    pub(super) first_port: Option<u16>,
}

/// A layout of Zeek's on its way to being one: the reader of TOML adds the rest.
pub(super) struct Foreign<'a> {
    pub(super) source: Source<'a>,
    options: &'a ZeekOptions,
}

/// What is in it.
pub(super) struct ForeignLayout {
    pub(super) nodes: Vec<PlacedNode>,
    pub(super) manager_is_logger: bool,
    pub(super) notices: Vec<String>,
}

/// Reads a layout in one of Zeek's formats.
pub(super) fn read(
    text: &str,
    path: &Path,
    format: LayoutFormat,
    options: &ZeekOptions,
) -> Result<Layout, LayoutError> {
    let foreign = Foreign {
        source: Source {
            file: path,
            text,
            format,
        },
        options,
    };
    match &options.with {
        Some((with, with_path)) => reader::read(with, with_path, Some(&foreign)),
        None => reader::read("", Path::new(""), Some(&foreign)),
    }
}

impl Foreign<'_> {
    /// The nodes, checked. `table` is what the TOML text has in `[zeek]`.
    pub(super) fn read(&self, table: &ZeekTable) -> Result<ForeignLayout, LayoutError> {
        let (source, options) = (&self.source, self.options);
        let mut found = if source.format == LayoutFormat::NodeCfg {
            let first = options.first_port.or(table.first_port);
            let ports = node_cfg::Ports {
                first: first.unwrap_or(ZEEK_PORT),
                metrics: options.metrics_port,
            };
            node_cfg::read(source, ports, &options.env)?
        } else {
            script::read(source)?
        };
        if found.nodes.is_empty() {
            return Err(source.at_line(None, ZeekLayoutProblem::NoNodes.into()));
        }
        let tls = options.tls.or(table.tls).or(found.tls).unwrap_or(true);
        let scheme = if tls { "brokers" } else { "broker" };
        let metrics_at = options.metrics_address.as_deref();
        let nodes: Vec<_> = found
            .nodes
            .iter()
            .map(|node| node.placed(scheme, metrics_at))
            .collect();
        check::nodes(source, &nodes)?;
        its_manager(source, &found.nodes)?;
        let listen = options
            .listen_address
            .as_ref()
            .or(table.listen_address.as_ref())
            .or(found.listen_address.as_ref())
            .filter(|address| !address.is_empty());
        let mut notices: Vec<String> = options.notices.clone();
        notices.extend(std::mem::take(&mut found.notices).into_texts());
        Ok(ForeignLayout {
            nodes: match listen {
                Some(host) => nodes
                    .into_iter()
                    .map(|node| listening_on(node, host))
                    .collect(),
                None => nodes,
            },
            manager_is_logger: found.manager_is_logger.unwrap_or(true),
            notices,
        })
    }
}

impl ZeekNode {
    fn placed(&self, scheme: &str, metrics_at: Option<&str>) -> PlacedNode {
        let address = self.host.parse::<IpAddr>().ok();
        let dialled = if self.zone.is_empty() {
            self.host.clone()
        } else {
            format!("{}%{}", self.host, self.zone)
        };
        // All addresses of the machine; the wildcard of IPv6 takes IPv4 as well where the machine has both.
        let any = match address {
            Some(IpAddr::V6(_)) => "::",
            _ => "0.0.0.0",
        };
        let url = |host: &str| -> Vec<PeerUrl> {
            let port = self.port.map(|port| PeerUrl::new(scheme, host, Some(port)));
            port.into_iter().collect()
        };
        let listen = url(any);
        PlacedNode {
            table: format!("node {:?}", shortened(&self.name)),
            line: self.line,
            listen_lines: vec![self.line; listen.len()],
            dial_line: self.line,
            spec: NodeSpec {
                name: self.name.clone(),
                role: self.role,
                advertise: url(&dialled),
                listen,
                host: Some(self.host.clone()),
                queue: QueueOptions::peer(),
                weight: 1,
                peers: Vec::new(),
                log_level: None,
                metrics: self.metrics.map(|port| match metrics_at {
                    Some(host) => HostPort::at(host, port),
                    None => HostPort::local(port),
                }),
                tls: TlsSpec::default(),
                ws: WsSpec::default(),
                pin_cpu: self.pin_cpu,
                env: Arc::clone(&self.env),
            },
        }
    }
}

/// The address holds for the machine that reads the layout, whose nodes alone it is used for; checks are made before.
fn listening_on(mut node: PlacedNode, host: &str) -> PlacedNode {
    for url in &mut node.spec.listen {
        *url = url.clone().with_host(host);
    }
    node
}

/// Zeek's nodes dial the manager that they name; here all dial the one there is.
fn its_manager(source: &Source<'_>, nodes: &[ZeekNode]) -> Result<(), LayoutError> {
    let manager = nodes.iter().find(|node| node.role == Role::Manager);
    let wrong = nodes.iter().find_map(|node| {
        let named = node.manager.as_ref()?;
        (Some(named) != manager.map(|manager| &manager.name)).then_some((node, named))
    });
    match wrong {
        None => Ok(()),
        Some((node, named)) => Err(source.at_line(
            Some(node.line),
            ZeekLayoutProblem::NotItsManager {
                node: shortened(&node.name),
                manager: shortened(named),
            }
            .into(),
        )),
    }
}

/// Whether `host` can be the host of an address: a name or an address without brackets.
fn is_host(host: &str) -> bool {
    (1..=255).contains(&host.len())
        && host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':'))
        && (!host.contains(':') || host.parse::<IpAddr>().is_ok())
}

/// Whether `zone` can be the name of a network interface.
fn is_zone(zone: &str) -> bool {
    zone.len() <= 64
        && zone
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'@'))
}

impl From<ZeekLayoutProblem> for LayoutProblem {
    fn from(source: ZeekLayoutProblem) -> Self {
        Self::Zeek { source }
    }
}

#[cfg(test)]
mod tests;
