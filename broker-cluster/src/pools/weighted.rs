//! Weighted rendezvous hashing for pools of our own (`strategy = "weighted"`): a node with weight 2
//! gets twice the keys of a node with weight 1.
//!
//! The choice is the `hrw-hash` crate's, fed with 64-bit FNV-1a of the node's name and of the same
//! key bytes that Zeek's formula takes. Nothing of it depends on the platform, the compiler or the
//! standard library's hashing, since all nodes must agree across builds; a table of choices is a test.

use std::hash::{BuildHasherDefault, Hash, Hasher};

use hrw_hash::{HrwNode, HrwNodes};

use super::fnv::Fnv64;
use super::key::HrwKey;

/// The members of a weighted pool that take part in the choice.
pub struct WeightedNodes {
    nodes: Vec<WeightedNode>,
    table: HrwNodes<WeightedNode, BuildHasherDefault<Fnv64>>,
}

impl WeightedNodes {
    /// Nodes as name and weight. A weight of 0 counts as 1.
    pub fn new(nodes: impl IntoIterator<Item = (String, usize)>) -> Self {
        let nodes = nodes
            .into_iter()
            .map(|(name, weight)| WeightedNode {
                name,
                weight: weight.max(1),
            })
            .collect();
        Self::from_nodes(nodes)
    }

    fn from_nodes(nodes: Vec<WeightedNode>) -> Self {
        let table =
            HrwNodes::with_build_hasher(BuildHasherDefault::default(), nodes.iter().cloned());
        Self { nodes, table }
    }

    /// Adds a node; one of the same name is replaced.
    pub fn insert(&mut self, name: &str, weight: usize) {
        let mut nodes = std::mem::take(&mut self.nodes);
        nodes.retain(|node| node.name != name);
        nodes.push(WeightedNode {
            name: name.to_owned(),
            weight: weight.max(1),
        });
        *self = Self::from_nodes(nodes);
    }

    /// Takes a node out.
    pub fn remove(&mut self, name: &str) {
        let mut nodes = std::mem::take(&mut self.nodes);
        nodes.retain(|node| node.name != name);
        *self = Self::from_nodes(nodes);
    }

    /// The node `key` belongs to; none when there are no nodes.
    #[must_use]
    pub fn choose(&self, key: &HrwKey) -> Option<&str> {
        self.table.sorted(key).next().map(|node| node.name.as_str())
    }
}

impl std::fmt::Debug for WeightedNodes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WeightedNodes")
            .field("nodes", &self.nodes)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct WeightedNode {
    name: String,
    weight: usize,
}

/// Only the bytes of the name: what `str` feeds a hasher is the standard library's own business.
impl Hash for WeightedNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.name.as_bytes());
    }
}

impl HrwNode for WeightedNode {
    fn capacity(&self) -> usize {
        self.weight
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(weights: &[(&str, usize)]) -> WeightedNodes {
        WeightedNodes::new(
            weights
                .iter()
                .map(|(name, weight)| ((*name).to_owned(), *weight)),
        )
    }

    #[test]
    fn choices_are_the_same_in_every_build() {
        let nodes = nodes(&[("proxy-1", 1), ("proxy-2", 2), ("proxy-3", 5)]);
        let choice = |key: HrwKey| {
            nodes
                .choose(&key)
                .unwrap()
                .strip_prefix("proxy-")
                .unwrap()
                .to_owned()
        };
        let counts: String = (0..32).map(|key| choice(HrwKey::count(key))).collect();
        let strings: String = (0..32)
            .map(|key| choice(HrwKey::string(format!("key{key}").as_bytes())))
            .collect();
        let hosts: String = (0..32)
            .map(|host| choice(HrwKey::address(std::net::Ipv4Addr::new(10, 0, 0, host))))
            .collect();
        assert_eq!(
            (counts.as_str(), strings.as_str(), hosts.as_str()),
            (
                "23323131311232131322333333233213",
                "11213333333322222333333133332213",
                "33222232333333333133332223323223"
            )
        );
    }

    #[test]
    fn keys_are_spread_in_proportion_to_weights() {
        let nodes = nodes(&[("proxy-1", 1), ("proxy-2", 2), ("proxy-3", 5)]);
        let mut hits = std::collections::BTreeMap::new();
        for key in 0..16_000 {
            *hits
                .entry(nodes.choose(&HrwKey::count(key)).unwrap())
                .or_insert(0_u32) += 1;
        }
        assert!((1_800..2_200).contains(&hits["proxy-1"]), "{hits:?}");
        assert!((3_700..4_300).contains(&hits["proxy-2"]), "{hits:?}");
        assert!((9_600..10_400).contains(&hits["proxy-3"]), "{hits:?}");
    }

    #[test]
    fn a_node_that_leaves_gives_up_only_its_own_keys_and_gets_them_back() {
        let mut nodes = nodes(&[("proxy-1", 1), ("proxy-2", 2), ("proxy-3", 5)]);
        let before: Vec<String> = (0..500)
            .map(|key| nodes.choose(&HrwKey::count(key)).unwrap().to_owned())
            .collect();
        nodes.remove("proxy-2");
        for (key, before) in (0..500)
            .zip(&before)
            .filter(|(_, before)| *before != "proxy-2")
        {
            assert_eq!(nodes.choose(&HrwKey::count(key)), Some(before.as_str()));
        }
        nodes.insert("proxy-2", 2);
        let after: Vec<String> = (0..500)
            .map(|key| nodes.choose(&HrwKey::count(key)).unwrap().to_owned())
            .collect();
        assert_eq!(before, after);
    }

    #[test]
    fn without_nodes_there_is_no_choice_and_weight_zero_counts_as_one() {
        assert_eq!(nodes(&[]).choose(&HrwKey::count(1)), None);
        assert_eq!(
            nodes(&[("proxy-1", 0)]).choose(&HrwKey::count(1)),
            Some("proxy-1")
        );
    }
}
