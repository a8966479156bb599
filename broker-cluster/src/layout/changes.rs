//! From one layout to the next while a node runs: what can be taken over, and what cannot.
//!
//! Nodes may come and go, addresses of other nodes and a node's further peers may change, as may when the cluster is ready,
//! who publishes events again, and what a node shows and trusts. Everything else was decided when the node started: it
//! stays as it was, and is named. `changes/every_key.rs` says for every key which it is, and is a test.

use std::collections::BTreeSet;

use broker_core::PeerUrl;

use super::error::{LayoutError, LayoutProblem};
use super::{Layout, NodeSpec, WsSpec, dial_url};
use crate::role::Role;

/// What a new layout changes for one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LayoutChanges {
    /// Nodes that are new.
    pub added: Vec<String>,
    /// Nodes that are gone.
    pub removed: Vec<String>,
    /// Addresses to keep peerings with from now on.
    pub dial: Vec<PeerUrl>,
    /// Addresses to part from.
    pub part: Vec<PeerUrl>,
    /// What else differs and is taken over, each as a text that names it. `log_level`, `[tls]` and `[ws]` are for whoever
    /// brings the endpoint: the node itself has no use for them.
    pub applied: Vec<String>,
    /// What differs and stays as it was until the node is started again, each as a text that names it.
    pub fixed: Vec<String>,
}

impl LayoutChanges {
    /// Whether the two layouts are one to this node.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

impl Layout {
    /// This layout with everything of `new` that the running node called `name` can take over, and what that is; `spoken`
    /// are the schemes it can dial.
    ///
    /// # Errors
    /// `new` has no such node, gives it another role, has an address it cannot speak, or nodes that leave a pool short.
    pub fn taking(
        &self,
        new: &Self,
        name: &str,
        spoken: &[&str],
    ) -> Result<(Self, LayoutChanges), LayoutError> {
        let own = self.require(name)?;
        let theirs = new.require(name)?;
        if own.role != theirs.role {
            return Err(LayoutError::new(
                &new.file,
                None,
                LayoutProblem::RoleChanged {
                    name: name.to_owned(),
                    old: own.role,
                    new: theirs.role,
                },
            ));
        }
        new.check_spoken(name, spoken)?;
        let mut merged = self.clone();
        let mut changes = LayoutChanges::default();
        self.merge_nodes(new, name, &mut merged, &mut changes);
        merged.members = Self::allocate(&merged.pools, &merged.nodes, merged.manager_is_logger)
            .map_err(|source| LayoutError::new(&new.file, None, LayoutProblem::Pools { source }))?;
        let before = self.dialled(name, spoken);
        let after = merged.dialled(name, spoken);
        changes.dial = after.difference(&before).cloned().collect();
        changes.part = before.difference(&after).cloned().collect();
        changes.applied.extend(self.applied(new, &mut merged));
        changes.applied.extend(applied_of_node(own, theirs));
        changes.fixed.extend(self.fixed(new));
        changes.fixed.extend(fixed_of_node(own, theirs));
        Ok((merged, changes))
    }

    fn merge_nodes(&self, new: &Self, own: &str, merged: &mut Self, changes: &mut LayoutChanges) {
        for gone in self.nodes.keys().filter(|name| new.node(name).is_none()) {
            changes.removed.push(gone.clone());
            merged.nodes.remove(gone);
        }
        for node in new.nodes() {
            let Some(known) = merged.nodes.get_mut(&node.name) else {
                changes.added.push(node.name.clone());
                if node.role == Role::Logger {
                    let text = format!("{}: this node's log records go to it", node.name);
                    changes.fixed.push(text);
                }
                merged.nodes.insert(node.name.clone(), node.clone());
                continue;
            };
            if node.name == own {
                known.peers.clone_from(&node.peers);
                known.log_level.clone_from(&node.log_level);
                known.advertise.clone_from(&node.advertise);
                known.host.clone_from(&node.host);
                known.tls = node.tls.clone();
                known.ws = WsSpec {
                    allow_unauthenticated: known.ws.allow_unauthenticated,
                    ..node.ws.clone()
                };
                continue;
            }
            if node.role != known.role {
                let text = format!("role of {}", node.name);
                changes.fixed.push(text);
                continue;
            }
            if node.weight != known.weight {
                changes.fixed.push(format!("weight of {}", node.name));
            }
            *known = NodeSpec {
                weight: known.weight,
                ..node.clone()
            };
        }
    }

    /// Every address that the node called `name` keeps a peering with.
    fn dialled(&self, name: &str, spoken: &[&str]) -> BTreeSet<PeerUrl> {
        let Some(own) = self.node(name) else {
            return BTreeSet::new();
        };
        self.dials(own)
            .filter_map(|other| dial_url(other, spoken))
            .chain(&own.peers)
            .cloned()
            .collect()
    }

    /// Takes over what of the whole cluster can be, and names it.
    fn applied(&self, new: &Self, merged: &mut Self) -> Vec<String> {
        let mut applied = Vec::new();
        if self.ready != new.ready {
            merged.ready.clone_from(&new.ready);
            applied.push("[cluster.ready]".to_owned());
        }
        merged.relays.clone_from(&new.relays);
        let names: BTreeSet<&str> = [self, new]
            .iter()
            .flat_map(|layout| layout.relays.iter().map(|relay| relay.name.as_str()))
            .collect();
        for name in names {
            let find = |layout: &Self| {
                let found = layout.relays.iter().find(|relay| relay.name == name);
                found.cloned()
            };
            if find(self) != find(new) {
                applied.push(format!("[relays.{name}]"));
            }
        }
        applied
    }

    /// What of the whole cluster differs and cannot be taken over.
    fn fixed(&self, new: &Self) -> Vec<String> {
        let mut fixed = Vec::new();
        let mut differs = |what: &str, differs: bool| {
            if differs {
                fixed.push(what.to_owned());
            }
        };
        differs("name in [cluster]", self.name != new.name);
        differs("log_dir in [cluster]", self.log_dir != new.log_dir);
        differs("log_format in [cluster]", self.log_format != new.log_format);
        differs("[cluster.telemetry]", self.telemetry != new.telemetry);
        differs(
            "whether the manager writes the logs",
            self.manager_is_logger != new.manager_is_logger,
        );
        differs("[logging]", self.logging != new.logging);
        differs("table_dir in [cluster]", self.table_dir != new.table_dir);
        differs("[tables]", self.tables != new.tables);
        for store in self.stores.iter().chain(&new.stores) {
            let find = |layout: &Self| {
                let found = layout.stores.iter().find(|other| other.name == store.name);
                found.cloned()
            };
            differs(&format!("[stores.{}]", store.name), find(self) != find(new));
        }
        for pool in self.pools.iter().chain(&new.pools) {
            let find = |layout: &Self| {
                let found = layout.pools.iter().find(|other| other.name == pool.name);
                found.cloned()
            };
            differs(&format!("[pools.{}]", pool.name), find(self) != find(new));
        }
        // What is on both sides was looked at twice.
        let mut seen = BTreeSet::new();
        fixed.retain(|text| seen.insert(text.clone()));
        fixed
    }
}

/// What a node's own table changes that whoever brings the endpoint takes over.
fn applied_of_node(old: &NodeSpec, new: &NodeSpec) -> Vec<String> {
    let access = |ws: &WsSpec| (ws.token_file.clone(), ws.allow_origins.clone());
    [
        ("log_level", old.log_level != new.log_level),
        ("[tls]", old.tls != new.tls),
        ("[ws]", access(&old.ws) != access(&new.ws)),
    ]
    .into_iter()
    .filter(|(_, differs)| *differs)
    .map(|(key, _)| key.to_owned())
    .collect()
}

fn fixed_of_node(old: &NodeSpec, new: &NodeSpec) -> Vec<String> {
    let table = format!("[node.{}]", old.name);
    [
        ("listen", old.listen != new.listen),
        (
            "queue_messages, queue_bytes, queue_policy",
            old.queue != new.queue,
        ),
        ("weight", old.weight != new.weight),
        ("metrics", old.metrics != new.metrics),
        (
            "allow_unauthenticated for WebSocket clients",
            old.ws.allow_unauthenticated != new.ws.allow_unauthenticated,
        ),
    ]
    .into_iter()
    .filter(|(_, differs)| *differs)
    .map(|(key, _)| format!("{key} in {table}"))
    .collect()
}

#[cfg(test)]
mod every_key;

#[cfg(test)]
mod tests {
    use super::*;

    const SPOKEN: &[&str] = &["grpc"];
    const BASE: &str = "[cluster]\nname = \"lab\"\n[node.manager]\nrole = \"manager\"\nlisten = [\"grpc://h:1\"]\n\
                        [node.proxy-1]\nrole = \"proxy\"\nlisten = [\"grpc://h:2\"]\n[node.worker-1]\nrole = \"worker\"\n";

    fn layout(text: &str) -> Layout {
        Layout::parse(text, "lab.toml").unwrap()
    }

    fn taking(new: &str) -> (Layout, LayoutChanges) {
        layout(BASE)
            .taking(&layout(new), "worker-1", SPOKEN)
            .unwrap()
    }

    fn urls(texts: &[&str]) -> Vec<PeerUrl> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn the_same_layout_is_nothing() {
        let (merged, changes) = taking(BASE);
        assert!(changes.is_nothing(), "{changes:?}");
        assert_eq!(merged, layout(BASE));
    }

    #[test]
    fn a_node_that_comes_is_dialled_and_one_that_goes_is_parted_from() {
        let new = BASE.replace("proxy-1", "proxy-2").replace("h:2", "h:3")
            + "peers = [\"grpc://far:9\"]\n";
        let (merged, changes) = taking(&new);
        assert_eq!(changes.added, ["proxy-2"]);
        assert_eq!(changes.removed, ["proxy-1"]);
        assert_eq!(changes.dial, urls(&["grpc://far:9", "grpc://h:3"]));
        assert_eq!(changes.part, urls(&["grpc://h:2"]));
        assert_eq!(changes.fixed, Vec::<String>::new());
        assert_eq!(merged, layout(&new));
        let pools = merged.pools("worker-1");
        let proxies = pools
            .iter()
            .find(|pool| pool.spec().name == "proxy")
            .unwrap();
        assert!(proxies.contains("proxy-2") && !proxies.contains("proxy-1"));
    }

    #[test]
    fn another_address_of_a_node_is_dialled_instead() {
        let (_, changes) = taking(&BASE.replace("h:1", "h:7"));
        assert_eq!(changes.dial, urls(&["grpc://h:7"]));
        assert_eq!(changes.part, urls(&["grpc://h:1"]));
    }

    #[test]
    fn what_stays_is_named_and_stays() {
        let new = BASE.replace(
            "\"lab\"",
            "\"lab\"\nlog_dir = \"elsewhere\"\n[logging]\nrotation_size = 5",
        ) + "queue_messages = 5\n[stores.hosts]\nbackend = \"memory\"\n[node.logger-1]\nrole = \"logger\"\nlisten = [\"grpc://h:4\"]\n";
        let (merged, changes) = taking(&new);
        assert_eq!(
            changes.fixed,
            [
                "logger-1: this node's log records go to it",
                "log_dir in [cluster]",
                "whether the manager writes the logs",
                "[logging]",
                "[stores.hosts]",
                "queue_messages, queue_bytes, queue_policy in [node.worker-1]",
            ]
        );
        assert_eq!(merged.log_dir(), layout(BASE).log_dir());
        assert!(merged.stores().is_empty());
        assert_eq!(changes.dial, urls(&["grpc://h:4"]));
    }

    #[test]
    fn a_layout_without_the_node_or_with_another_role_for_it_is_refused() {
        for (new, word) in [
            (BASE.replace("worker-1", "worker-2"), "worker-1"),
            (
                BASE.replace(
                    "role = \"worker\"",
                    "role = \"proxy\"\nlisten = [\"grpc://h:3\"]",
                ),
                "role",
            ),
        ] {
            let error = layout(BASE)
                .taking(&layout(&new), "worker-1", SPOKEN)
                .unwrap_err();
            assert!(error.to_string().contains(word), "{error}");
        }
    }
}
