//! A `cluster-layout.zeek`: the assignments that say which nodes there are (reference, zeek-cluster 10.2), whatever else
//! stands there being passed over with a notice.
//!
//! ```text
//! redef Cluster::manager_is_logger = F;
//! redef Cluster::nodes = {
//!     ["manager"] = [$node_type=Cluster::MANAGER, $ip=127.0.0.1, $p=27761/tcp],
//!     ["worker-1"] = Cluster::Node($node_type=Cluster::WORKER, $ip=[fe80::1], $zone_id="eth0", $manager="manager"),
//! };
//! ```
//!
//! Understood besides: `Cluster::nodes +=`, `Broker::disable_ssl`, `Broker::default_listen_address`. Other assignments,
//! `@load`, `module`, events, functions and hooks are passed over; `@if` and its like are errors, since what stands behind
//! them might hold or not.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use super::super::Layout;
use super::super::error::{LayoutError, LayoutProblem};
use super::super::table::{Source, shortened};
use super::scanner::Scanner;
use super::{Found, ZeekLayoutProblem, ZeekNode, is_zone};
use crate::log::is_file_stem;
use crate::role::Role;

/// Reads the text of a `cluster-layout.zeek`.
pub(super) fn read(source: &Source<'_>) -> Result<Found, LayoutError> {
    let mut script = Script {
        scanner: Scanner::new(*source),
        file: source.file.display().to_string(),
        names: HashSet::new(),
        found: Found::default(),
    };
    while script.scanner.next().is_some() {
        script.statement()?;
    }
    Ok(script.found)
}

struct Script<'a> {
    scanner: Scanner<'a>,
    file: String,
    names: HashSet<String>,
    found: Found,
}

impl Script<'_> {
    fn statement(&mut self) -> Result<(), LayoutError> {
        let place = self.scanner.place();
        if self.scanner.takes("@") {
            let word = shortened(self.scanner.word().unwrap_or_default());
            if word.starts_with("load") {
                self.pass_over(place, &format!("@{word}"));
                self.scanner.skip_line();
                return Ok(());
            }
            let word = format!("@{word}");
            return Err(self
                .scanner
                .error(place, ZeekLayoutProblem::Condition { word }));
        }
        if self.scanner.takes(";") {
            return Ok(());
        }
        match self.scanner.word() {
            Some("redef") => self.redef(place),
            Some("module") => {
                self.scanner.skip_to(&[';'])?;
                self.scanner.take(";", ";")
            }
            Some(word @ ("event" | "function" | "hook")) => {
                let name = shortened(self.scanner.word().unwrap_or_default());
                self.pass_over(place, &format!("{word} {name}"));
                self.scanner.skip_to(&['{'])?;
                self.scanner.skip_block()
            }
            _ => Err(self.scanner.expected_at(place, "redef NAME = VALUE;")),
        }
    }

    fn redef(&mut self, place: usize) -> Result<(), LayoutError> {
        let Some(name) = self.scanner.word() else {
            return Err(self.scanner.expected("the name of a variable"));
        };
        match name {
            "Cluster::nodes" => {
                if !self.scanner.takes("+=") {
                    self.scanner.take("=", "= or +=")?;
                }
                self.nodes()?;
            }
            "Cluster::manager_is_logger" => self.found.manager_is_logger = Some(self.truth()?),
            "Broker::disable_ssl" => self.found.tls = Some(!self.truth()?),
            "Broker::default_listen_address" => {
                self.scanner.take("=", "=")?;
                let start = self.scanner.place();
                let address = self.scanner.text()?;
                if !address.is_empty() && address.parse::<IpAddr>().is_err() {
                    let text = shortened(&address);
                    return Err(self
                        .scanner
                        .error(start, ZeekLayoutProblem::BadAddress { text }));
                }
                self.found.listen_address = Some(address);
            }
            other => {
                let what = format!("redef {}", shortened(other));
                self.pass_over(place, &what);
                self.scanner.skip_to(&[';'])?;
            }
        }
        self.scanner.take(";", ";")
    }

    /// `= T` or `= F`.
    fn truth(&mut self) -> Result<bool, LayoutError> {
        self.scanner.take("=", "=")?;
        self.scanner.next();
        let place = self.scanner.place();
        match self.scanner.word() {
            Some("T") => Ok(true),
            Some("F") => Ok(false),
            _ => Err(self.scanner.expected_at(place, "T or F")),
        }
    }

    /// `{ ENTRY, ENTRY, .. }`, the last comma or not.
    fn nodes(&mut self) -> Result<(), LayoutError> {
        self.scanner.take("{", "{")?;
        while !self.scanner.takes("}") {
            self.entry()?;
            if !self.scanner.takes(",") {
                self.scanner.take("}", ", or }")?;
                break;
            }
        }
        Ok(())
    }

    /// `["NAME"] = [FIELDS]` or `["NAME"] = Cluster::Node(FIELDS)`.
    fn entry(&mut self) -> Result<(), LayoutError> {
        self.scanner.take("[", "[\"NAME\"] of a node")?;
        self.scanner.next();
        let place = self.scanner.place();
        let name = self.scanner.text()?;
        self.scanner.take("]", "]")?;
        self.scanner.take("=", "=")?;
        let end = if self.scanner.takes("[") {
            "]"
        } else if self.scanner.takes("Cluster::Node") {
            self.scanner.take("(", "(")?;
            ")"
        } else {
            return Err(self.scanner.expected("[$node_type=.., ..]"));
        };
        let fields = self.fields(&name, end)?;
        let missing = |key| {
            let node = shortened(&name);
            self.scanner
                .error(place, ZeekLayoutProblem::Missing { node, key })
        };
        let kind = fields.kind.ok_or_else(|| missing("$node_type"))?;
        let host = fields.ip.ok_or_else(|| missing("$ip"))?;
        if !is_file_stem(&name) {
            let name = shortened(&name);
            return Err(self
                .scanner
                .error(place, ZeekLayoutProblem::BadName { name }));
        }
        if !self.names.insert(name.clone()) {
            let what = shortened(&name);
            return Err(self.scanner.problem(place, LayoutProblem::Twice { what }));
        }
        // Zeek's own control client is nobody's peer in the cluster.
        let Some(role) = kind else { return Ok(()) };
        if self.found.nodes.len() == Layout::MAX_NODES {
            return Err(self.scanner.error(place, ZeekLayoutProblem::TooManyNodes));
        }
        self.found.nodes.push(ZeekNode {
            name,
            role,
            host: host.to_string(),
            zone: fields.zone,
            port: fields.port,
            manager: fields.manager,
            metrics: fields.metrics,
            pin_cpu: None,
            env: Arc::new([]),
            line: self.scanner.line(place),
        });
        Ok(())
    }

    /// `$NAME=VALUE, ..` and the bracket `end`.
    fn fields(&mut self, node: &str, end: &'static str) -> Result<Fields, LayoutError> {
        let mut fields = Fields::default();
        let mut seen: HashSet<&str> = HashSet::new();
        while !self.scanner.takes(end) {
            self.scanner.next();
            let place = self.scanner.place();
            self.scanner.take("$", "$FIELD=VALUE")?;
            let Some(name) = self.scanner.word() else {
                return Err(self.scanner.expected("the name of a field"));
            };
            if !seen.insert(name) {
                let what = format!("${}", shortened(name));
                return Err(self.scanner.problem(place, LayoutProblem::Twice { what }));
            }
            self.scanner.take("=", "=")?;
            self.field(node, name, place, &mut fields)?;
            if !self.scanner.takes(",") {
                self.scanner.take(end, ", or the end of the record")?;
                break;
            }
        }
        Ok(fields)
    }

    fn field(
        &mut self,
        node: &str,
        name: &str,
        place: usize,
        fields: &mut Fields,
    ) -> Result<(), LayoutError> {
        match name {
            "node_type" => fields.kind = Some(self.kind(node, place)?),
            "ip" => fields.ip = Some(self.address()?),
            "p" => fields.port = self.port()?,
            "zone_id" => {
                self.scanner.next();
                let place = self.scanner.place();
                fields.zone = self.scanner.text()?;
                if !is_zone(&fields.zone) {
                    let text = shortened(&fields.zone);
                    return Err(self
                        .scanner
                        .error(place, ZeekLayoutProblem::BadAddress { text }));
                }
            }
            "manager" => fields.manager = Some(self.scanner.text()?),
            "metrics_port" => fields.metrics = self.port()?,
            // Known to Zeek, and of no meaning to others than the node itself.
            "id" | "interface" => self.scanner.skip_to(&[',', ']', ')'])?,
            other => {
                let what = format!("${} of {:?}", shortened(other), shortened(node));
                self.pass_over(place, &what);
                self.scanner.skip_to(&[',', ']', ')'])?;
            }
        }
        Ok(())
    }

    /// The role of a type; none: no node of the cluster's own.
    fn kind(&mut self, node: &str, place: usize) -> Result<Option<Role>, LayoutError> {
        self.scanner.next();
        let start = self.scanner.place();
        let Some(word) = self.scanner.word() else {
            return Err(self.scanner.expected("Cluster::MANAGER or another type"));
        };
        let kind = word.strip_prefix("Cluster::").unwrap_or(word);
        Ok(Some(match kind {
            "MANAGER" => Role::Manager,
            "LOGGER" => Role::Logger,
            "PROXY" => Role::Proxy,
            "WORKER" => Role::Worker,
            "CONTROL" => return Ok(None),
            "NONE" | "TIME_MACHINE" => {
                let what = format!("node {:?} of type {kind}", shortened(node));
                self.pass_over(place, &what);
                return Ok(None);
            }
            _ => {
                let word = shortened(word);
                return Err(self
                    .scanner
                    .error(start, ZeekLayoutProblem::UnknownType { word }));
            }
        }))
    }

    /// An address, of IPv6 with brackets or without.
    fn address(&mut self) -> Result<IpAddr, LayoutError> {
        let brackets = self.scanner.next() == Some('[');
        let place = self.scanner.place();
        let text = if brackets {
            self.scanner.bracketed()?
        } else {
            self.scanner.bare()
        };
        text.parse().map_err(|_| {
            let text = shortened(text);
            self.scanner
                .error(place, ZeekLayoutProblem::BadAddress { text })
        })
    }

    /// A port; none if nobody listens on it.
    fn port(&mut self) -> Result<Option<u16>, LayoutError> {
        self.scanner.next();
        let place = self.scanner.place();
        let text = self.scanner.bare();
        let parsed = text
            .split_once('/')
            .and_then(|(number, protocol)| Some((number.parse::<u16>().ok()?, protocol)));
        match parsed {
            Some((0, _)) => Ok(None),
            Some((number, "tcp")) => Ok(Some(number)),
            _ => {
                let text = shortened(text);
                Err(self
                    .scanner
                    .error(place, ZeekLayoutProblem::BadPort { text }))
            }
        }
    }

    fn pass_over(&mut self, place: usize, what: &str) {
        let line = self.scanner.line(place);
        self.found
            .notices
            .push(format!("{}:{line}: passing over {what}", self.file));
    }
}

/// The fields of a node that matter.
#[derive(Default)]
struct Fields {
    kind: Option<Option<Role>>,
    ip: Option<IpAddr>,
    zone: String,
    port: Option<u16>,
    manager: Option<String>,
    metrics: Option<u16>,
}
