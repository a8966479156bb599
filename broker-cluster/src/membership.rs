//! Who of the cluster is up: hellos, node_up and node_down (reference, zeek-cluster 2.4).
//!
//! A node is up from the hello that names it until the peering it came over is lost: there is no
//! heartbeat here and no timeout. A peering that *we* end (`peer_removed`) takes nobody down, as in Zeek.
//!
//! Peerings and hellos reach this machine through two queues, so they may overtake each other. A hello is
//! therefore kept until its peering is known; one whose peering is gone already has no effect.
//!
//! **Invariant:** every [`Effect::NodeDown`] of a node follows a [`Effect::NodeUp`] of it with the same ID or an
//! [`Effect::Replaced`] to it. At most [`MAX_PEERS`] peers and as many early hellos are remembered.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use broker_core::EndpointId;

use crate::layout::Layout;
use crate::role::Role;

/// So many peers, and so many hellos of peers not yet known, are remembered; further ones are ignored.
pub const MAX_PEERS: usize = 8192;

/// Bytes of a name that a peer is remembered by that is in no layout so far.
const MAX_NAME: usize = 1024;

/// What the driver does about a change, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send our hello to the topic of this process.
    SendHello(EndpointId),
    /// A node of the cluster came up.
    NodeUp {
        /// Its name.
        name: String,
        /// The ID of its process.
        id: EndpointId,
    },
    /// A node of the cluster went down.
    NodeDown {
        /// Its name.
        name: String,
        /// The ID of its process.
        id: EndpointId,
    },
    /// A node that is up said hello again.
    Again {
        /// Its name.
        name: String,
        /// The ID of its process.
        id: EndpointId,
    },
    /// A second process has taken a node's name while the first is still connected: no node_up, but messages to the
    /// node's ID go to the second.
    Replaced {
        /// The name.
        name: String,
        /// The first process.
        old: EndpointId,
        /// The second.
        new: EndpointId,
    },
    /// Somebody who is not in the layout said hello.
    Unexpected {
        /// The name given.
        name: String,
    },
    /// A process that had been replaced is gone.
    UnknownDown {
        /// The name it had.
        name: String,
        /// Its ID.
        id: EndpointId,
    },
}

/// Who of the cluster is up, as one node sees it.
#[derive(Debug)]
pub struct Membership {
    nodes: BTreeMap<String, Member>,
    active: BTreeMap<Role, BTreeSet<EndpointId>>,
    peers: BTreeSet<EndpointId>,
    early: VecDeque<(String, EndpointId)>,
    /// Peers whose name was not in the layout, which it may be later.
    strangers: BTreeMap<EndpointId, String>,
    /// Names of processes that were replaced, until they are gone.
    replaced: BTreeMap<EndpointId, String>,
    /// Peers that there are and that are not known of, or the other way round, when that was looked at last.
    differing: BTreeSet<EndpointId>,
}

#[derive(Debug)]
struct Member {
    role: Role,
    id: Option<EndpointId>,
}

impl Membership {
    /// Nobody is up yet.
    #[must_use]
    pub fn new(layout: &Layout) -> Self {
        Self {
            nodes: layout
                .nodes()
                .map(|node| {
                    (
                        node.name.clone(),
                        Member {
                            role: node.role,
                            id: None,
                        },
                    )
                })
                .collect(),
            active: BTreeMap::new(),
            peers: BTreeSet::new(),
            early: VecDeque::new(),
            strangers: BTreeMap::new(),
            replaced: BTreeMap::new(),
            differing: BTreeSet::new(),
        }
    }

    /// Other nodes make up the layout from now on: those that stay are up as before, those that are gone go down, and those
    /// that are new are up if they are connected and have said hello, which was too early then.
    pub fn replace_nodes(&mut self, layout: &Layout) -> Vec<Effect> {
        let mut effects = Vec::new();
        let mut before = std::mem::take(&mut self.nodes);
        for node in layout.nodes() {
            let member = before.remove(&node.name).unwrap_or(Member {
                role: node.role,
                id: None,
            });
            self.nodes.insert(node.name.clone(), member);
        }
        for (name, member) in before {
            if let Some(id) = member.id {
                if let Some(active) = self.active.get_mut(&member.role) {
                    active.remove(&id);
                }
                effects.push(Effect::NodeDown {
                    name: name.clone(),
                    id,
                });
                if self.peers.contains(&id) {
                    self.strangers.insert(id, name);
                }
            }
        }
        let known = |(_, name): &(&EndpointId, &String)| self.nodes.contains_key(*name);
        let came: Vec<(EndpointId, String)> = self
            .strangers
            .iter()
            .filter(known)
            .map(|(id, name)| (*id, name.clone()))
            .collect();
        for (id, name) in came {
            self.strangers.remove(&id);
            effects.push(self.greeted(&name, id));
        }
        effects
    }

    /// The ID of a node that is up.
    #[must_use]
    pub fn id_of(&self, name: &str) -> Option<EndpointId> {
        self.nodes.get(name)?.id
    }

    /// Name and role of the node whose current process has this ID.
    #[must_use]
    pub fn node_of(&self, id: EndpointId) -> Option<(&str, Role)> {
        self.nodes
            .iter()
            .find(|(_, member)| member.id == Some(id))
            .map(|(name, member)| (name.as_str(), member.role))
    }

    /// How many processes of a role are up, not counting ourselves.
    #[must_use]
    pub fn active_count(&self, role: Role) -> usize {
        self.active.get(&role).map_or(0, BTreeSet::len)
    }

    /// All nodes that are up, by name.
    pub fn up(&self) -> impl Iterator<Item = (&str, Role, EndpointId)> {
        self.nodes
            .iter()
            .filter_map(|(name, member)| Some((name.as_str(), member.role, member.id?)))
    }

    /// A peering is complete.
    pub fn peer_added(&mut self, id: EndpointId) -> Vec<Effect> {
        if self.peers.len() >= MAX_PEERS && !self.peers.contains(&id) {
            return Vec::new();
        }
        self.peers.insert(id);
        let mut effects = vec![Effect::SendHello(id)];
        let mut early = std::mem::take(&mut self.early);
        early.retain(|(name, from)| {
            let ours = *from == id;
            if ours {
                effects.push(self.greeted(name, id));
            }
            !ours
        });
        self.early = early;
        effects
    }

    /// A peering broke, or the other side ended it.
    pub fn peer_lost(&mut self, id: EndpointId) -> Vec<Effect> {
        self.forget(id);
        // A process may have said hello by more than one name.
        let mut effects = Vec::new();
        for (name, member) in &mut self.nodes {
            if member.id != Some(id) {
                continue;
            }
            member.id = None;
            if let Some(active) = self.active.get_mut(&member.role) {
                active.remove(&id);
            }
            effects.push(Effect::NodeDown {
                name: name.clone(),
                id,
            });
        }
        if let Some(name) = self.replaced.remove(&id) {
            // As in Zeek the old process stays in the active set: nobody knows any more that it was in.
            effects.push(Effect::UnknownDown { name, id });
        }
        effects
    }

    /// We ended a peering. The node stays up for us, as in Zeek.
    pub fn peer_removed(&mut self, id: EndpointId) {
        self.forget(id);
        self.replaced.remove(&id);
    }

    /// Peers that have not said who they are.
    pub fn unnamed(&self) -> impl Iterator<Item = EndpointId> {
        let named: BTreeSet<EndpointId> = self.nodes.values().filter_map(|node| node.id).collect();
        self.peers.iter().copied().filter(move |id| {
            !named.contains(id)
                && !self.strangers.contains_key(id)
                && !self.replaced.contains_key(id)
        })
    }

    /// `present` are the peers that there are. One that this machine has not been told of, or that has gone without its being
    /// told, is made good if it is so the second time in a row: the first time the word may be under way.
    pub fn reconcile(&mut self, present: &BTreeSet<EndpointId>) -> Vec<Effect> {
        let differing: BTreeSet<EndpointId> =
            self.peers.symmetric_difference(present).copied().collect();
        let before = std::mem::replace(&mut self.differing, differing);
        let again: Vec<EndpointId> = before.intersection(&self.differing).copied().collect();
        let mut effects = Vec::new();
        for id in again {
            self.differing.remove(&id);
            if present.contains(&id) {
                effects.extend(self.peer_added(id));
            } else {
                effects.extend(self.peer_lost(id));
            }
        }
        effects
    }

    /// A hello arrived.
    pub fn hello(&mut self, name: &str, id: EndpointId) -> Vec<Effect> {
        if !self.nodes.contains_key(name) {
            // Only peers are kept, of which there are so many at most, and only names that a layout may have.
            if self.peers.contains(&id) && name.len() <= MAX_NAME {
                self.strangers.insert(id, name.to_owned());
            }
            return vec![Effect::Unexpected {
                name: name.chars().take(64).collect(),
            }];
        }
        if self.peers.contains(&id) {
            return vec![self.greeted(name, id)];
        }
        if self.early.len() < MAX_PEERS {
            self.early.push_back((name.to_owned(), id));
        }
        Vec::new()
    }

    /// A hello of a node of the layout, whose peering is known.
    fn greeted(&mut self, name: &str, id: EndpointId) -> Effect {
        let name = name.to_owned();
        let Some(member) = self.nodes.get_mut(&name) else {
            return Effect::Unexpected { name };
        };
        let active = self.active.entry(member.role).or_default();
        // Replaced processes stay in it for good, so it would grow with every impostor.
        if active.len() < MAX_PEERS {
            active.insert(id);
        }
        match member.id.replace(id) {
            None => Effect::NodeUp { name, id },
            Some(old) if old == id => Effect::Again { name, id },
            Some(old) => {
                // It may have been replaced itself before, and is back.
                if self.replaced.get(&id) == Some(&name) {
                    self.replaced.remove(&id);
                }
                self.replaced.insert(old, name.clone());
                Effect::Replaced { name, old, new: id }
            }
        }
    }

    fn forget(&mut self, id: EndpointId) {
        self.peers.remove(&id);
        self.strangers.remove(&id);
        self.early.retain(|(_, from)| *from != id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn membership() -> Membership {
        let layout = Layout::parse(
            "[node.manager]\nrole = \"manager\"\nlisten = [\"mem://m\"]\n[node.worker-1]\nrole = \"worker\"\n[node.worker-2]\nrole = \"worker\"\n",
            "lab.toml",
        );
        Membership::new(&layout.unwrap())
    }

    fn id(n: u8) -> EndpointId {
        EndpointId::from_bytes([n; 16])
    }

    fn up(name: &str, n: u8) -> Effect {
        Effect::NodeUp {
            name: name.to_owned(),
            id: id(n),
        }
    }

    fn down(name: &str, n: u8) -> Effect {
        Effect::NodeDown {
            name: name.to_owned(),
            id: id(n),
        }
    }

    #[test]
    fn a_peer_is_greeted_and_is_up_with_its_own_hello() {
        let mut members = membership();
        assert_eq!(members.peer_added(id(1)), [Effect::SendHello(id(1))]);
        assert_eq!(members.active_count(Role::Worker), 0);
        assert_eq!(members.hello("worker-1", id(1)), [up("worker-1", 1)]);
        assert_eq!(
            (
                members.id_of("worker-1"),
                members.active_count(Role::Worker)
            ),
            (Some(id(1)), 1)
        );
        assert_eq!(members.node_of(id(1)), Some(("worker-1", Role::Worker)));
        assert_eq!(members.peer_lost(id(1)), [down("worker-1", 1)]);
        assert_eq!(
            (
                members.id_of("worker-1"),
                members.active_count(Role::Worker)
            ),
            (None, 0)
        );
    }

    #[test]
    fn a_node_that_is_not_in_the_layout_has_no_effect() {
        let mut members = membership();
        members.peer_added(id(1));
        assert_eq!(
            members.hello("worker-9", id(1)),
            [Effect::Unexpected {
                name: "worker-9".to_owned()
            }]
        );
        assert_eq!(members.peer_lost(id(1)), []);
    }

    #[test]
    fn the_same_hello_again_is_no_second_node_up() {
        let mut members = membership();
        members.peer_added(id(1));
        members.hello("worker-1", id(1));
        assert_eq!(
            members.hello("worker-1", id(1)),
            [Effect::Again {
                name: "worker-1".to_owned(),
                id: id(1)
            }]
        );
        assert_eq!(members.active_count(Role::Worker), 1);
    }

    #[test]
    fn a_second_process_of_a_name_takes_over_without_node_up_and_the_first_stays_active_for_good() {
        let mut members = membership();
        members.peer_added(id(1));
        members.peer_added(id(2));
        members.hello("worker-1", id(1));
        let replaced = Effect::Replaced {
            name: "worker-1".to_owned(),
            old: id(1),
            new: id(2),
        };
        assert_eq!(members.hello("worker-1", id(2)), [replaced]);
        assert_eq!(
            (
                members.id_of("worker-1"),
                members.active_count(Role::Worker)
            ),
            (Some(id(2)), 2)
        );
        assert_eq!(
            members.peer_lost(id(1)),
            [Effect::UnknownDown {
                name: "worker-1".to_owned(),
                id: id(1)
            }]
        );
        assert_eq!(members.active_count(Role::Worker), 2);
        assert_eq!(members.peer_lost(id(2)), [down("worker-1", 2)]);
        assert_eq!(members.active_count(Role::Worker), 1);
    }

    #[test]
    fn a_node_that_leaves_the_layout_goes_down_and_one_that_comes_may_say_hello() {
        let mut members = membership();
        for n in 1..4 {
            members.peer_added(id(n));
        }
        members.hello("manager", id(1));
        members.hello("worker-1", id(2));
        let layout = Layout::parse(
            "[node.manager]\nrole = \"manager\"\nlisten = [\"mem://m\"]\n[node.worker-3]\nrole = \"worker\"\n",
            "lab.toml",
        );
        assert_eq!(
            members.replace_nodes(&layout.unwrap()),
            [down("worker-1", 2)]
        );
        assert_eq!(members.active_count(Role::Worker), 0);
        assert_eq!(members.id_of("manager"), Some(id(1)));
        assert_eq!(members.hello("worker-3", id(3)), [up("worker-3", 3)]);
        assert_eq!(members.peer_lost(id(2)), []);
    }

    #[test]
    fn a_hello_from_before_the_layout_has_the_name_counts_once_it_has() {
        let mut members = membership();
        members.peer_added(id(4));
        members.peer_added(id(5));
        for n in [4, 5] {
            let hello = members.hello(&format!("worker-{n}"), id(n));
            assert!(matches!(hello[..], [Effect::Unexpected { .. }]));
        }
        members.peer_lost(id(5));
        let text = "[node.manager]\nrole = \"manager\"\nlisten = [\"mem://m\"]\n[node.worker-4]\nrole = \"worker\"\n\
                    [node.worker-5]\nrole = \"worker\"\n";
        let with_them = Layout::parse(text, "lab.toml").unwrap();
        assert_eq!(members.replace_nodes(&with_them), [up("worker-4", 4)]);
        assert_eq!(members.replace_nodes(&with_them), []);
        // One that leaves the layout and comes back to it has stayed connected, and says no second hello.
        let without = Layout::parse(
            "[node.manager]\nrole = \"manager\"\nlisten = [\"mem://m\"]\n",
            "lab.toml",
        );
        assert_eq!(
            members.replace_nodes(&without.unwrap()),
            [down("worker-4", 4)]
        );
        assert_eq!(members.replace_nodes(&with_them), [up("worker-4", 4)]);
    }

    #[test]
    fn a_restart_is_node_down_and_node_up_with_the_new_id() {
        let mut members = membership();
        members.peer_added(id(1));
        members.hello("worker-1", id(1));
        assert_eq!(members.peer_lost(id(1)), [down("worker-1", 1)]);
        assert_eq!(members.peer_added(id(2)), [Effect::SendHello(id(2))]);
        assert_eq!(members.hello("worker-1", id(2)), [up("worker-1", 2)]);
    }

    #[test]
    fn our_own_unpeer_takes_nobody_down_and_peering_again_takes_nobody_up() {
        let mut members = membership();
        members.peer_added(id(1));
        members.hello("manager", id(1));
        members.peer_removed(id(1));
        assert_eq!(members.id_of("manager"), Some(id(1)));
        members.peer_added(id(1));
        assert_eq!(
            members.hello("manager", id(1)),
            [Effect::Again {
                name: "manager".to_owned(),
                id: id(1)
            }]
        );
    }

    #[test]
    fn a_hello_that_overtakes_its_peering_waits_for_it() {
        let mut members = membership();
        assert_eq!(members.hello("worker-1", id(1)), []);
        assert_eq!(
            members.peer_added(id(1)),
            [Effect::SendHello(id(1)), up("worker-1", 1)]
        );
        assert_eq!(members.peer_added(id(2)), [Effect::SendHello(id(2))]);
    }

    #[test]
    fn a_hello_that_arrives_after_its_peering_is_gone_has_no_effect() {
        let mut members = membership();
        members.peer_added(id(1));
        members.peer_lost(id(1));
        assert_eq!(members.hello("worker-1", id(1)), []);
        assert_eq!(members.id_of("worker-1"), None);
        assert_eq!(members.peer_lost(id(1)), []);
        assert_eq!(members.peer_added(id(1)), [Effect::SendHello(id(1))]);
    }

    #[test]
    fn who_is_connected_and_has_not_said_hello_is_known() {
        let mut members = membership();
        for n in 1..4 {
            members.peer_added(id(n));
        }
        members.hello("worker-1", id(1));
        members.hello("somebody", id(2));
        assert_eq!(members.unnamed().collect::<Vec<_>>(), [id(3)]);
        members.hello("worker-1", id(3));
        assert_eq!(members.unnamed().count(), 0, "one is replaced");
        members.peer_lost(id(3));
        assert_eq!(members.unnamed().count(), 0);
    }

    #[test]
    fn peers_of_which_nothing_was_heard_are_found_the_second_time() {
        let mut members = membership();
        members.peer_added(id(1));
        members.hello("worker-1", id(1));
        let present = |ids: &[u8]| ids.iter().map(|n| id(*n)).collect::<BTreeSet<_>>();
        assert_eq!(members.reconcile(&present(&[1])), []);
        assert_eq!(members.reconcile(&present(&[2])), []);
        assert_eq!(
            members.reconcile(&present(&[2, 3])),
            [down("worker-1", 1), Effect::SendHello(id(2))]
        );
        // The word about the third was only under way.
        members.peer_added(id(3));
        assert_eq!(members.reconcile(&present(&[2, 3])), []);
        assert_eq!(members.reconcile(&present(&[2, 3])), []);
    }

    #[test]
    fn early_hellos_are_bounded() {
        let mut members = membership();
        for n in 0..2 * MAX_PEERS {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&(n as u64).to_be_bytes());
            members.hello("worker-1", EndpointId::from_bytes(bytes));
        }
        assert_eq!(members.early.len(), MAX_PEERS);
    }

    #[test]
    fn a_replaced_process_that_takes_its_name_back_takes_it_down_when_it_goes() {
        let mut cluster = membership();
        cluster.peer_added(id(1));
        cluster.peer_added(id(2));
        cluster.hello("worker-1", id(1));
        cluster.hello("worker-1", id(2));
        cluster.hello("worker-1", id(1));
        assert_eq!(cluster.peer_lost(id(1)), [down("worker-1", 1)]);
        assert_eq!(cluster.id_of("worker-1"), None);
        let gone = cluster.peer_lost(id(2));
        assert!(
            matches!(&gone[..], [Effect::UnknownDown { name, .. }] if name == "worker-1"),
            "{gone:?}"
        );
    }

    #[test]
    fn a_process_of_two_names_takes_both_down() {
        let mut cluster = membership();
        cluster.peer_added(id(1));
        cluster.hello("worker-1", id(1));
        cluster.hello("worker-2", id(1));
        assert_eq!(
            cluster.peer_lost(id(1)),
            [down("worker-1", 1), down("worker-2", 1)]
        );
        assert_eq!(cluster.up().count(), 0);
    }
}
