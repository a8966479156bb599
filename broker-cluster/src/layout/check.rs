//! What the nodes of a layout must have in common: one manager, addresses of their own, and an address
//! wherever somebody has to dial.

use broker_core::PeerUrl;

use super::error::{LayoutError, LayoutProblem};
use super::reader::PlacedNode;
use super::table::Source;
use super::{Layout, NodeSpec};
use crate::role::Role;

pub(super) fn nodes(source: &Source<'_>, nodes: &[PlacedNode]) -> Result<(), LayoutError> {
    if nodes.len() > Layout::MAX_NODES {
        return Err(source.at_line(
            None,
            LayoutProblem::OutOfRange {
                table: "[node]".to_owned(),
                key: "number of nodes".to_owned(),
                value: nodes.len().to_string(),
                expected: "at most 4096 nodes",
            },
        ));
    }
    managers(source, nodes)?;
    addresses(source, nodes)?;
    dialling(source, nodes)
}

fn managers(source: &Source<'_>, nodes: &[PlacedNode]) -> Result<(), LayoutError> {
    let mut managers = nodes.iter().filter(|node| node.spec.role == Role::Manager);
    let Some(first) = managers.next() else {
        return Err(source.at_line(None, LayoutProblem::NoManager));
    };
    match managers.next() {
        None => Ok(()),
        Some(second) => Err(source.at_line(
            Some(second.line),
            LayoutProblem::SecondManager {
                first: first.table.clone(),
                second: second.table.clone(),
            },
        )),
    }
}

/// No two addresses may be the same socket.
fn addresses(source: &Source<'_>, nodes: &[PlacedNode]) -> Result<(), LayoutError> {
    let mut seen: Vec<(&PlacedNode, &PeerUrl)> = Vec::new();
    for node in nodes {
        for (url, line) in node.spec.listen.iter().zip(&node.listen_lines) {
            if let Some((other, _)) = seen
                .iter()
                .find(|(other, taken)| same_socket(node, url, other, taken))
            {
                let problem = LayoutProblem::DuplicateAddress {
                    table: node.table.clone(),
                    url: url.to_string(),
                    other: other.table.clone(),
                };
                return Err(source.at_line(Some(*line), problem));
            }
            seen.push((node, url));
        }
    }
    Ok(())
}

fn same_socket(node: &PlacedNode, url: &PeerUrl, other: &PlacedNode, taken: &PeerUrl) -> bool {
    if url.scheme() == "mem" || taken.scheme() == "mem" {
        return url == taken;
    }
    let (Some(port), Some(taken_port)) = (port(url), port(taken)) else {
        return false;
    };
    if port == 0 || port != taken_port {
        return false;
    }
    let one_host = node.spec.host == other.spec.host;
    if one_host && (is_any(url.host()) || is_any(taken.host())) {
        return true;
    }
    url.host() == taken.host() && (one_host || !(is_any(url.host()) || is_loopback(url.host())))
}

/// Everybody who has to be dialled must be reachable.
fn dialling(source: &Source<'_>, nodes: &[PlacedNode]) -> Result<(), LayoutError> {
    for node in nodes {
        let Some(by) = nodes
            .iter()
            .find(|other| other.spec.role.dials().contains(&node.spec.role))
        else {
            continue;
        };
        let by = by.table.clone();
        let table = node.table.clone();
        let Some(first) = node.spec.dialable().first() else {
            return Err(source.at_line(Some(node.line), LayoutProblem::NotListening { table, by }));
        };
        // One address that nobody can dial is a mistake only if it is the one others would take.
        let problem = match node.spec.dialable().iter().find(|url| !is_for_clients(url)) {
            None => LayoutProblem::ForClients {
                table,
                url: first.to_string(),
                by,
            },
            Some(url) if !is_dialable(url) => LayoutProblem::NotDialable {
                table,
                url: url.to_string(),
                by,
            },
            Some(_) => continue,
        };
        return Err(source.at_line(Some(node.dial_line), problem));
    }
    Ok(())
}

/// The addresses of `node` that other nodes can dial, in the order of the file.
pub(super) fn dialable(node: &NodeSpec) -> impl Iterator<Item = &PeerUrl> {
    node.dialable().iter().filter(|url| is_dialable(url))
}

/// `ws://` is for clients: what nodes of a cluster say to each other does not go over it, store commands least of all.
fn is_for_clients(url: &PeerUrl) -> bool {
    matches!(url.scheme(), "ws" | "wss")
}

fn is_dialable(url: &PeerUrl) -> bool {
    !is_for_clients(url) && (url.scheme() == "mem" || (port(url) != Some(0) && !is_any(url.host())))
}

/// The port an address stands for. These are the defaults of the transports.
fn port(url: &PeerUrl) -> Option<u16> {
    url.port().or_else(|| match url.scheme() {
        "grpc" | "grpcs" => Some(9998),
        "broker" | "brokers" => Some(9999),
        "ws" | "wss" => Some(9997),
        _ => None,
    })
}

fn is_any(host: &str) -> bool {
    matches!(host, "0.0.0.0" | "::" | "*")
}

fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}
