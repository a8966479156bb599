//! zeekctl's `node.cfg`: which nodes it makes, and which ports they get (reference, zeek-cluster 10.1).
//!
//! Ports are dealt out from `ZeekPort` on as zeekctl writes them into `cluster-layout.zeek`: the first to its own control
//! node, which takes no part here, then manager, loggers, proxies and workers, within a type in the order of the file. A
//! standalone node has the first. Ports for metrics are dealt out from `MetricsPort` on in the same order; the control node
//! has none, so that the manager has the first.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::Layout;
use super::super::error::LayoutError;
use super::super::table::{Source, shortened};
use super::ini::{self, Entry, Section};
use super::{Found, Notices, ZeekLayoutProblem, ZeekNode, is_host, is_zone};
use crate::log::is_file_stem;
use crate::role::Role;

/// Where ports are dealt out from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports {
    pub(super) first: u16,
    /// None: nobody serves metrics.
    pub(super) metrics: Option<u16>,
}

/// Reads a `node.cfg`. `env` are the variables of all nodes.
pub(super) fn read(
    source: &Source<'_>,
    ports: Ports,
    env: &[(String, String)],
) -> Result<Found, LayoutError> {
    let mut notices = Notices::default();
    let mut nodes: Vec<ZeekNode> = Vec::new();
    let mut standalone = None;
    for section in ini::read(source)? {
        let kind = Kind::of(source, &section)?;
        if kind == Kind::Standalone {
            standalone = Some((section.name.clone(), section.line));
        }
        for entry in &section.entries {
            if !KNOWN.contains(&entry.key.as_str()) {
                notices.push(format!(
                    "{}:{}: {:?} of {:?} means nothing here",
                    source.file.display(),
                    entry.line,
                    shortened(&entry.key),
                    shortened(&section.name)
                ));
            }
        }
        expand(source, &section, kind, env, &mut nodes)?;
    }
    distinct(source, &nodes)?;
    match standalone {
        Some((node, line)) if nodes.len() > 1 => {
            let node = shortened(&node);
            return Err(source.at_line(Some(line), ZeekLayoutProblem::NotAlone { node }.into()));
        }
        Some(_) => {}
        None => whole(source, &nodes)?,
    }
    let control = usize::from(standalone.is_none());
    let listening = (ports.first..=u16::MAX).skip(control);
    if !deal(listening, &mut nodes, |node, port| node.port = Some(port)) {
        return Err(out_of_ports(source, ports.first, "ZeekPort"));
    }
    if let Some(first) = ports.metrics {
        let metrics = first..=u16::MAX;
        if !deal(metrics, &mut nodes, |node, port| node.metrics = Some(port)) {
            return Err(out_of_ports(source, first, "MetricsPort"));
        }
    }
    let has_loggers = nodes.iter().any(|node| node.role == Role::Logger);
    Ok(Found {
        nodes,
        manager_is_logger: Some(!has_loggers),
        notices,
        ..Found::default()
    })
}

/// What a section describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Standalone,
    Node(Role),
}

impl Kind {
    fn of(source: &Source<'_>, section: &Section) -> Result<Self, LayoutError> {
        let Some(entry) = section.get("type") else {
            return Err(missing(source, section, "type"));
        };
        if entry.value == "standalone" {
            return Ok(Self::Standalone);
        }
        entry.value.parse().map(Self::Node).map_err(|_| {
            let word = shortened(&entry.value);
            let problem = ZeekLayoutProblem::UnknownType { word };
            source.at_line(Some(entry.line), problem.into())
        })
    }

    /// A standalone Zeek has nobody but itself: it coordinates and writes the logs.
    const fn role(self) -> Role {
        match self {
            Self::Standalone => Role::Manager,
            Self::Node(role) => role,
        }
    }
}

/// The node of a section, or as many as `lb_procs` says.
fn expand(
    source: &Source<'_>,
    section: &Section,
    kind: Kind,
    env: &[(String, String)],
    nodes: &mut Vec<ZeekNode>,
) -> Result<(), LayoutError> {
    let host = section
        .get("host")
        .ok_or_else(|| missing(source, section, "host"))?;
    if !is_host(&host.value) {
        let text = shortened(&host.value);
        let problem = ZeekLayoutProblem::BadAddress { text };
        return Err(source.at_line(Some(host.line), problem.into()));
    }
    let zone = match section.get("zone_id") {
        Some(zone) if !is_zone(&zone.value) => {
            return Err(bad(source, zone, "the name of a network interface"));
        }
        Some(zone) => zone.value.clone(),
        None => String::new(),
    };
    let procs = processes(source, section, kind)?;
    let cpus = cpus(source, section)?;
    let own = section.get("env_vars");
    let mut variables = match own {
        Some(entry) => env_vars(source, &entry.value, entry.line)?,
        None => Vec::new(),
    };
    for (name, value) in env {
        if !variables.iter().any(|(own, _)| own == name) {
            variables.push((name.clone(), value.clone()));
        }
    }
    if nodes.len() + procs.unwrap_or(1) > Layout::MAX_NODES {
        return Err(source.at_line(Some(section.line), ZeekLayoutProblem::TooManyNodes.into()));
    }
    let variables: Arc<[(String, String)]> = variables.into();
    for number in 1..=procs.unwrap_or(1) {
        let name = match procs {
            Some(_) => format!("{}-{number}", section.name),
            None => section.name.clone(),
        };
        if !is_file_stem(&name) {
            let name = shortened(&name);
            let problem = ZeekLayoutProblem::BadName { name };
            return Err(source.at_line(Some(section.line), problem.into()));
        }
        nodes.push(ZeekNode {
            name,
            role: kind.role(),
            host: host.value.clone(),
            zone: zone.clone(),
            port: None,
            manager: None,
            metrics: None,
            pin_cpu: (!cpus.is_empty()).then(|| cpus[(number - 1) % cpus.len()]),
            env: Arc::clone(&variables),
            line: section.line,
        });
    }
    Ok(())
}

/// How many processes `lb_procs` makes of a section; none: it is not divided.
fn processes(
    source: &Source<'_>,
    section: &Section,
    kind: Kind,
) -> Result<Option<usize>, LayoutError> {
    let method = section.get("lb_method");
    let Some(procs) = section.get("lb_procs") else {
        return match method {
            Some(_) => Err(missing(source, section, "lb_procs")),
            None => Ok(None),
        };
    };
    if kind != Kind::Node(Role::Worker) {
        return Err(bad(source, procs, "it for workers only"));
    }
    let number = procs.value.parse::<usize>().ok().filter(|n| *n > 0);
    let Some(number) = number else {
        return Err(bad(source, procs, "a number of 1 or more"));
    };
    let method = method.ok_or_else(|| missing(source, section, "lb_method"))?;
    if !LB_METHODS.contains(&method.value.as_str()) {
        return Err(bad(
            source,
            method,
            "one of af_packet, pf_ring, myricom, custom, interfaces",
        ));
    }
    if method.value == "interfaces" {
        let interfaces = section
            .get("lb_interfaces")
            .ok_or_else(|| missing(source, section, "lb_interfaces"))?;
        if interfaces.value.split(',').count() != number {
            return Err(bad(
                source,
                interfaces,
                "as many interfaces as lb_procs says",
            ));
        }
    }
    Ok(Some(number))
}

fn cpus(source: &Source<'_>, section: &Section) -> Result<Vec<u32>, LayoutError> {
    let Some(entry) = section.get("pin_cpus") else {
        return Ok(Vec::new());
    };
    let cpus = entry.value.split(',').map(|cpu| cpu.trim().parse().ok());
    cpus.collect::<Option<Vec<_>>>()
        .filter(|cpus| cpus.len() <= MAX_CPUS)
        .ok_or_else(|| bad(source, entry, "numbers of CPUs, such as 2,3"))
}

/// `NAME=VALUE` pairs with commas between them.
pub(super) fn env_vars(
    source: &Source<'_>,
    text: &str,
    line: usize,
) -> Result<Vec<(String, String)>, LayoutError> {
    let refuse = |value: &str, expected| {
        let entry = Entry {
            key: "env_vars".to_owned(),
            value: value.to_owned(),
            line,
        };
        bad(source, &entry, expected)
    };
    if text.len() > MAX_VARIABLES {
        return Err(refuse(text, "at most 4096 bytes"));
    }
    let mut variables: Vec<(String, String)> = Vec::new();
    for pair in text.split(',').filter(|_| !text.trim().is_empty()) {
        let named = pair
            .split_once('=')
            .map(|(name, value)| (name.trim(), value.trim()))
            .filter(|(name, _)| !name.is_empty() && !pair.contains('\0'));
        let Some((name, value)) = named else {
            return Err(refuse(pair, "NAME=VALUE,NAME=VALUE"));
        };
        let bare = ['"', '\'']
            .iter()
            .find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote))
            .unwrap_or(value);
        variables.retain(|(other, _)| other != name);
        variables.push((name.to_owned(), bare.to_owned()));
    }
    Ok(variables)
}

/// Names that differ in case only would be one directory on some systems.
fn distinct(source: &Source<'_>, nodes: &[ZeekNode]) -> Result<(), LayoutError> {
    let mut names: HashMap<String, &str> = HashMap::new();
    for node in nodes {
        if let Some(other) = names.insert(node.name.to_lowercase(), &node.name) {
            let problem = ZeekLayoutProblem::SameName {
                name: shortened(&node.name),
                other: shortened(other),
            };
            return Err(source.at_line(Some(node.line), problem.into()));
        }
    }
    Ok(())
}

/// What zeekctl asks of a cluster. That there is one manager is asked of every layout.
fn whole(source: &Source<'_>, nodes: &[ZeekNode]) -> Result<(), LayoutError> {
    let manager = nodes.iter().find(|node| node.role == Role::Manager);
    if manager.is_some() && !nodes.iter().any(|node| node.role == Role::Proxy) {
        return Err(source.at_line(None, ZeekLayoutProblem::NoProxy.into()));
    }
    let away = nodes.iter().find(|node| !is_localhost(&node.host));
    match (manager, away) {
        (Some(manager), Some(node)) if is_localhost(&manager.host) => {
            let problem = ZeekLayoutProblem::Unreachable {
                node: shortened(&node.name),
                host: shortened(&node.host),
            };
            Err(source.at_line(Some(node.line), problem.into()))
        }
        _ => Ok(()),
    }
}

fn is_localhost(host: &str) -> bool {
    matches!(host, "localhost" | "127.0.0.1" | "::1")
}

/// Gives each node the next of `ports`, in zeekctl's order. Returns whether there were enough.
fn deal(
    mut ports: impl Iterator<Item = u16>,
    nodes: &mut [ZeekNode],
    give: impl Fn(&mut ZeekNode, u16),
) -> bool {
    for role in [Role::Manager, Role::Logger, Role::Proxy, Role::Worker] {
        for node in nodes.iter_mut().filter(|node| node.role == role) {
            match ports.next() {
                Some(port) => give(node, port),
                None => return false,
            }
        }
    }
    true
}

fn out_of_ports(source: &Source<'_>, first: u16, option: &'static str) -> LayoutError {
    source.at_line(None, ZeekLayoutProblem::OutOfPorts { first, option }.into())
}

fn missing(source: &Source<'_>, section: &Section, key: &'static str) -> LayoutError {
    let problem = ZeekLayoutProblem::Missing {
        node: shortened(&section.name),
        key,
    };
    source.at_line(Some(section.line), problem.into())
}

fn bad(source: &Source<'_>, entry: &Entry, expected: &'static str) -> LayoutError {
    let problem = ZeekLayoutProblem::BadValue {
        key: entry.key.clone(),
        value: shortened(&entry.value),
        expected,
    };
    source.at_line(Some(entry.line), problem.into())
}

const LB_METHODS: &[&str] = &["af_packet", "pf_ring", "myricom", "custom", "interfaces"];

/// CPUs of one section at most.
const MAX_CPUS: usize = 4096;

/// Bytes of one `env_vars` at most.
const MAX_VARIABLES: usize = 4096;

/// Keys that zeekctl and the plugins it brings know; those that are about capturing packets mean nothing here, and nobody
/// expects them to.
const KNOWN: &[&str] = &[
    "type",
    "host",
    "interface",
    "aux_scripts",
    "zeekbase",
    "ether",
    "zone_id",
    "lb_method",
    "lb_procs",
    "lb_interfaces",
    "pin_cpus",
    "env_vars",
    "count",
    "af_packet_fanout_id",
    "af_packet_fanout_mode",
    "af_packet_buffer_size",
];
