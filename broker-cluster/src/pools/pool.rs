//! One pool as a node sees it: its members, which of them are up, and the next one in turn
//! (reference, zeek-cluster 3.3 to 3.5).
//!
//! A member counts for rendezvous hashing from its node_up to its node_down; the local node never
//! does, as it never gets a node_up of itself. For round robin the local node counts from the start.

use std::collections::HashMap;

use broker_core::Topic;

use super::fnv::fnv1a32;
use super::key::HrwKey;
use super::rendezvous::HrwSites;
use super::spec::{PoolSpec, Strategy};
use super::weighted::WeightedNodes;
use crate::topics;

/// A member of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolNode {
    /// The node's name.
    pub name: String,
    /// The name with a counter behind it, so that site ids in a pool differ.
    pub alias: String,
    /// What stands for the node in rendezvous hashing.
    pub site_id: u32,
    /// Its weight, for weighted pools.
    pub weight: usize,
    /// Whether it is up; the local node always is.
    pub alive: bool,
    /// The node's own topic.
    pub topic: Topic,
}

/// A pool and the state of its members.
#[derive(Debug)]
pub struct Pool {
    spec: PoolSpec,
    nodes: Vec<PoolNode>,
    sites: HrwSites,
    weighted: WeightedNodes,
    sequences: HashMap<String, usize>,
    overflow: usize,
}

impl Pool {
    /// So many round-robin keys have a sequence of their own; further ones share one.
    pub const MAX_SEQUENCES: usize = 65_536;

    /// A pool with these members (names and weights) in order; `local` is the name of this node.
    pub fn new<'a>(
        spec: PoolSpec,
        members: impl IntoIterator<Item = (&'a str, usize)>,
        local: &str,
    ) -> Self {
        let mut nodes: Vec<PoolNode> = Vec::new();
        for (name, weight) in members {
            let (alias, site_id) = site_of(name, &nodes);
            nodes.push(PoolNode {
                name: name.to_owned(),
                alias,
                site_id,
                weight,
                alive: name == local,
                topic: topics::node_topic(name),
            });
        }
        Self {
            spec,
            nodes,
            sites: HrwSites::new(),
            weighted: WeightedNodes::new([]),
            sequences: HashMap::new(),
            overflow: 0,
        }
    }

    /// What was asked for.
    #[must_use]
    pub const fn spec(&self) -> &PoolSpec {
        &self.spec
    }

    /// All members in the order of round robin.
    #[must_use]
    pub fn nodes(&self) -> &[PoolNode] {
        &self.nodes
    }

    /// Whether a node of this name is a member.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.nodes.iter().any(|node| node.name == name)
    }

    /// How many members are up, the local node included.
    #[must_use]
    pub fn alive_count(&self) -> usize {
        self.nodes.iter().filter(|node| node.alive).count()
    }

    /// A node came up; one that is no member changes nothing.
    pub fn node_up(&mut self, name: &str) {
        if let Some(node) = self.nodes.iter_mut().find(|node| node.name == name) {
            node.alive = true;
            match self.spec.strategy {
                Strategy::Zeek => self.sites.insert(node.site_id),
                Strategy::Weighted => self.weighted.insert(name, node.weight),
            }
        }
    }

    /// A node went down; one that is no member changes nothing.
    pub fn node_down(&mut self, name: &str) {
        if let Some(node) = self.nodes.iter_mut().find(|node| node.name == name) {
            node.alive = false;
            self.sites.remove(node.site_id);
            self.weighted.remove(name);
        }
    }

    /// The member `key` belongs to among those that are up; none if there is none. Never the local node.
    #[must_use]
    pub fn hrw(&self, key: &HrwKey) -> Option<&PoolNode> {
        match self.spec.strategy {
            Strategy::Zeek => {
                let site = self.sites.choose(key)?;
                self.nodes.iter().find(|node| node.site_id == site)
            }
            Strategy::Weighted => {
                let name = self.weighted.choose(key)?;
                self.nodes.iter().find(|node| node.name == name)
            }
        }
    }

    /// The next member in turn that is up; none if there is none. Each `key` names a sequence of its own.
    pub fn round_robin(&mut self, key: &str) -> Option<&PoolNode> {
        let chosen = self.round_robin_index(key)?;
        Some(&self.nodes[chosen])
    }

    /// The place of the next member in turn among [`nodes`](Self::nodes).
    pub(crate) fn round_robin_index(&mut self, key: &str) -> Option<usize> {
        if !self.sequences.contains_key(key) && self.sequences.len() < Self::MAX_SEQUENCES {
            self.sequences.insert(key.to_owned(), 0);
        }
        let index = self.sequences.get_mut(key).unwrap_or(&mut self.overflow);
        let count = self.nodes.len();
        let chosen = (*index..count)
            .chain(0..*index)
            .find(|&at| self.nodes[at].alive)?;
        *index = (chosen + 1) % count;
        Some(chosen)
    }
}

/// Alias and site id of a new member: the first of `name.0`, `name.1`, … whose site id is free in this pool.
fn site_of(name: &str, nodes: &[PoolNode]) -> (String, u32) {
    (0_usize..)
        .map(|counter| format!("{name}.{counter}"))
        .map(|alias| (fnv1a32(alias.as_bytes()), alias))
        .find(|(site_id, _)| nodes.iter().all(|node| node.site_id != *site_id))
        .map(|(site_id, alias)| (alias, site_id))
        .expect("a pool has fewer members than there are site ids")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::role::Role;

    fn pool_of(names: &[&str], local: &str) -> Pool {
        let spec = PoolSpec::new("proxy", topics::POOL_PROXY, Role::Proxy);
        Pool::new(spec, names.iter().map(|name| (*name, 1)), local)
    }

    fn turns(pool: &mut Pool, key: &str, count: usize) -> Vec<String> {
        (0..count)
            .map(|_| {
                pool.round_robin(key)
                    .map_or_else(String::new, |node| node.name.clone())
            })
            .collect()
    }

    const PROXIES: [&str; 4] = ["proxy-1", "proxy-2", "proxy-3", "proxy-4"];

    #[test]
    fn colliding_site_ids_are_told_apart_by_the_counter() {
        let pool = pool_of(&["proxy-aobxfh", "proxy-hxkrbi"], "worker-1");
        let sites: Vec<_> = pool
            .nodes()
            .iter()
            .map(|node| (node.alias.as_str(), node.site_id))
            .collect();
        assert_eq!(
            sites,
            [
                ("proxy-aobxfh.0", 135_547_128),
                ("proxy-hxkrbi.1", 152_324_747)
            ]
        );
    }

    #[test]
    fn round_robin_skips_the_dead_and_remembers_its_place_by_key() {
        let mut pool = pool_of(&PROXIES, "worker-1");
        PROXIES.iter().for_each(|name| pool.node_up(name));
        assert_eq!(
            turns(&mut pool, "a", 5),
            ["proxy-1", "proxy-2", "proxy-3", "proxy-4", "proxy-1"]
        );
        pool.node_down("proxy-1");
        assert_eq!(
            turns(&mut pool, "a", 4),
            ["proxy-2", "proxy-3", "proxy-4", "proxy-2"]
        );
        PROXIES.iter().for_each(|name| pool.node_down(name));
        assert_eq!(turns(&mut pool, "a", 8), [""; 8]);
        pool.node_up("proxy-2");
        assert_eq!(turns(&mut pool, "a", 3), ["proxy-2"; 3]);
        PROXIES.iter().for_each(|name| pool.node_up(name));
        assert_eq!(turns(&mut pool, "b", 2), ["proxy-1", "proxy-2"]);
    }

    #[test]
    fn round_robin_over_two_proxies_is_zeek_s() {
        let mut pool = pool_of(&PROXIES[..2], "worker-1");
        pool.node_up("proxy-1");
        pool.node_up("proxy-2");
        assert_eq!(turns(&mut pool, "k", 8), ["proxy-1", "proxy-2"].repeat(4));
        pool.node_down("proxy-1");
        assert_eq!(turns(&mut pool, "k", 8), ["proxy-2"; 8]);
        for key in 0..100 {
            assert_eq!(pool.hrw(&HrwKey::count(key)).unwrap().name, "proxy-2");
        }
        pool.node_down("proxy-2");
        assert_eq!(turns(&mut pool, "k", 8), [""; 8]);
    }

    #[test]
    fn loggers_take_turns_in_bytewise_order() {
        let spec = PoolSpec::new("logger", topics::POOL_LOGGER, Role::Logger);
        let mut pool = Pool::new(spec, [("logger-1", 1), ("logger-10", 1)], "worker-1");
        pool.node_up("logger-1");
        pool.node_up("logger-10");
        assert_eq!(
            turns(&mut pool, "Cluster::rr_log_topic", 4),
            ["logger-1", "logger-10", "logger-1", "logger-10"]
        );
    }

    #[test]
    fn the_local_node_takes_its_turn_and_is_never_the_place_of_a_key() {
        let mut pool = pool_of(&PROXIES[..2], "proxy-1");
        assert_eq!(
            (
                pool.alive_count(),
                pool.hrw(&HrwKey::count(1)).map(|node| &node.name)
            ),
            (1, None)
        );
        assert_eq!(turns(&mut pool, "k", 2), ["proxy-1"; 2]);
        pool.node_up("proxy-2");
        assert_eq!(turns(&mut pool, "k", 2), ["proxy-2", "proxy-1"]);
        for key in 0..50 {
            assert_eq!(pool.hrw(&HrwKey::count(key)).unwrap().name, "proxy-2");
        }
    }

    #[test]
    fn keys_move_away_from_a_dead_node_and_return() {
        let mut pool = pool_of(&PROXIES[..2], "worker-1");
        pool.node_up("proxy-1");
        pool.node_up("proxy-2");
        let home = |pool: &Pool| pool.hrw(&HrwKey::count(42)).unwrap().topic.to_string();
        assert_eq!(home(&pool), "zeek/cluster/node/proxy-1/");
        pool.node_down("proxy-1");
        assert_eq!(home(&pool), "zeek/cluster/node/proxy-2/");
        pool.node_up("proxy-1");
        assert_eq!(home(&pool), "zeek/cluster/node/proxy-1/");
    }

    #[test]
    fn a_weighted_pool_chooses_only_among_those_up() {
        let spec = PoolSpec {
            strategy: Strategy::Weighted,
            ..PoolSpec::new("w", "zeek/cluster/pool/w", Role::Proxy)
        };
        let mut pool = Pool::new(spec, [("proxy-1", 1), ("proxy-2", 3)], "worker-1");
        assert!(pool.hrw(&HrwKey::count(1)).is_none());
        pool.node_up("proxy-1");
        assert_eq!(pool.hrw(&HrwKey::count(1)).unwrap().name, "proxy-1");
        pool.node_up("proxy-2");
        pool.node_down("proxy-1");
        assert_eq!(pool.hrw(&HrwKey::count(1)).unwrap().name, "proxy-2");
    }

    #[test]
    fn an_empty_pool_has_nobody() {
        let mut pool = pool_of(&[], "worker-1");
        assert!(pool.round_robin("k").is_none());
        assert!(pool.hrw(&HrwKey::count(1)).is_none());
    }
}
