//! Telling the old and the new owner of a key that it moves.
//!
//! Members of a pool do not see each other: proxies have no connection to proxies. So the manager, which sees all, tells the
//! members of each pool who of them is up (`BrokerRs::pool_members`); any other node goes by what it sees itself.
//!
//! # What is promised
//! * Handovers of one pool on one node are a chain: what was `after` in one is `before` in the next. None is lost; several
//!   changes may come as one if the node is slow to take them.
//! * When nobody has come or gone for a while and the manager is up, all members have the same `after`, and so has every
//!   node that sees them. Old and new owner then have been told the same about every key, each on its own, in no order.
//!   What the queue towards a member dropped is told again within seconds, and members say every half minute what they know,
//!   so that a word lost in whatever way is told again.
//! * Only keys of members that went and for members that came move.
//!
//! # What is not
//! * Nodes notice changes at different times, as in Zeek, so for a moment events for a key may still come to its old owner,
//!   or come to the new one before it has the handover. Take them wherever they come, and pass on what is not yours
//!   (`homes`).
//! * A member that died hands nothing over: its keys arrive elsewhere, and what it knew is gone unless it is in a store.
//! * While the manager is down, members are told nothing. A manager that starts says nothing before every node has
//!   reported to it, or else for [`SETTLE`], since nodes that have not found it yet are not gone.
//! * Members that are Zeek's take no part: they are counted as members and are told nothing.

use std::sync::PoisonError;
use std::time::Duration;

use broker_core::EndpointId;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{ClusterNode, ClusterPublishError, Shared};
use crate::events::{ClusterEvent, digest};
use crate::layout::Layout;
use crate::pools::{Handover, Homes, Pool};
use crate::role::Role;

/// How long after its start a manager waits for nodes to find it before it tells members who of them is up.
pub(super) const SETTLE: Duration = Duration::from_secs(10);

/// The changes of one pool as this node is told of them.
#[derive(Debug)]
#[must_use = "handovers have to be asked for"]
pub struct Handovers {
    local: String,
    last: Homes,
    homes: watch::Receiver<Homes>,
}

impl Handovers {
    /// Waits for the next change; `None` once the node has stopped.
    ///
    /// # Cancel safety
    /// Safe: no change is lost.
    pub async fn next(&mut self) -> Option<Handover> {
        loop {
            self.homes.changed().await.ok()?;
            let now = self.homes.borrow_and_update().clone();
            if now != self.last {
                let before = std::mem::replace(&mut self.last, now.clone());
                return Some(Handover::new(&self.local, before, now));
            }
        }
    }

    /// The homes of keys after the last change that was handed out.
    #[must_use]
    pub const fn homes(&self) -> &Homes {
        &self.last
    }
}

/// Ends a handover hook when it is dropped.
#[derive(Debug)]
#[must_use = "the hook ends when its guard is dropped; keep() leaves it"]
pub struct HandoverGuard(DropGuard);

impl HandoverGuard {
    /// Leaves the hook for as long as the node runs.
    pub fn keep(self) {
        let _ = self.0.disarm();
    }
}

impl ClusterNode {
    /// Where the keys of a pool live, as far as this node knows: on a member what the manager said last, nobody at first;
    /// elsewhere what the node sees itself. Unlike [`hrw_node`](Self::hrw_node) this node is counted if it is a member.
    ///
    /// # Errors
    /// There is no such pool.
    pub fn homes(&self, pool: &str) -> Result<Homes, ClusterPublishError> {
        Ok(self.shared.homes_of(pool)?.borrow().clone())
    }

    /// The changes of a pool from now on. The guarantees are those of [`on_handover`](Self::on_handover).
    ///
    /// # Errors
    /// There is no such pool.
    pub fn handovers(&self, pool: &str) -> Result<Handovers, ClusterPublishError> {
        let mut homes = self.shared.homes_of(pool)?.subscribe();
        let last = homes.borrow_and_update().clone();
        Ok(Handovers {
            local: self.shared.name.clone(),
            last,
            homes,
        })
    }

    /// What moves when this node leaves a pool, to hand it over before it stops.
    ///
    /// # Errors
    /// There is no such pool.
    pub fn departure(&self, pool: &str) -> Result<Handover, ClusterPublishError> {
        let before = self.homes(pool)?;
        let local = &self.shared.name;
        let after = self.shared.with_pool(pool, |pool| {
            Homes::new(pool, before.up().filter(|name| name != local))
        })?;
        Ok(Handover::new(local, before, after))
    }

    /// Calls `hook` whenever members of a pool come or go; it runs in a task of its own, one call after the other.
    ///
    /// What is promised: handovers of one pool on one node are a chain, the `after` of one is the `before` of the next;
    /// none is lost, but several changes may come as one. When nobody has come or gone for a while and the manager is up,
    /// all members have the same `after`: old and new owner have been told the same about every key. Only keys of members
    /// that went and for members that came move.
    ///
    /// What is not: nodes notice changes at different times, so for a moment events for a key may still come to its old
    /// owner, or come to the new one before its handover. A member that died hands nothing over. While the manager is
    /// down members are told nothing, and one that starts says nothing before every node has reported to it, or else for
    /// ten seconds. Members that are Zeek's are told nothing.
    ///
    /// # Errors
    /// There is no such pool.
    ///
    /// # Panics
    /// Outside a tokio runtime. A panic of `hook` ends the hook, not the node.
    pub fn on_handover(
        &self,
        pool: &str,
        mut hook: impl FnMut(Handover) + Send + 'static,
    ) -> Result<HandoverGuard, ClusterPublishError> {
        let mut handovers = self.handovers(pool)?;
        let ended = CancellationToken::new();
        let (stop, until) = (self.shared.stop.clone(), ended.clone());
        self.shared.tasks.spawn(async move {
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = until.cancelled() => return,
                    handover = handovers.next() => match handover {
                        Some(handover) => hook(handover),
                        None => return,
                    }
                }
            }
        });
        Ok(HandoverGuard(ended.drop_guard()))
    }
}

/// What a node knows of a pool before anybody is up.
pub(super) fn first_homes(pools: &[Pool]) -> Vec<watch::Sender<Homes>> {
    let none = |pool: &Pool| watch::Sender::new(Homes::new(pool, []));
    pools.iter().map(none).collect()
}

impl Shared {
    fn homes_of(&self, pool: &str) -> Result<&watch::Sender<Homes>, ClusterPublishError> {
        let of_pool = |homes: &&watch::Sender<Homes>| homes.borrow().pool() == pool;
        self.homes
            .iter()
            .find(of_pool)
            .ok_or_else(|| ClusterPublishError::NoSuchPool {
                name: pool.to_owned(),
            })
    }

    /// Takes what this node sees itself for the pools of which it is no member; the manager for all.
    pub(super) fn see_homes(&self, role: Role) {
        let seen: Vec<Option<Homes>> = {
            let state = self.state();
            let seen = |pool: &Pool| {
                let alive = pool.nodes().iter().filter(|node| node.alive);
                let own = role == Role::Manager || !pool.contains(&self.name);
                own.then(|| Homes::new(pool, alive.map(|node| node.name.as_str())))
            };
            state.pools.iter().map(seen).collect()
        };
        for (sender, homes) in self.homes.iter().zip(seen) {
            if let Some(homes) = homes {
                replace(sender, homes);
            }
        }
    }

    /// Takes what the manager says about a pool, if this node is a member; else it is kept, as a member may become one.
    pub(super) fn hear_homes(&self, topic: &str, members: Vec<String>) {
        let is_pool = {
            let state = self.state();
            state.pools.iter().any(|pool| pool.spec().topic == topic)
        };
        if is_pool && members.len() <= Layout::MAX_NODES {
            self.take_homes(topic, &members);
            let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
            heard.insert(topic.to_owned(), members);
        }
    }

    /// The pools are others: what the manager said last may mean something else.
    pub(super) fn hear_homes_again(&self) {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        for (topic, members) in &*heard {
            self.take_homes(topic, members);
        }
    }

    fn take_homes(&self, topic: &str, members: &[String]) {
        let homes = {
            let state = self.state();
            let at = state
                .pools
                .iter()
                .position(|pool| pool.spec().topic == topic && pool.contains(&self.name));
            at.map(|at| {
                let up = members.iter().map(String::as_str);
                (at, Homes::new(&state.pools[at], up))
            })
        };
        if let Some((at, homes)) = homes {
            replace(&self.homes[at], homes);
        }
    }

    /// What this node knows of the pools that it is a member of, for the manager to compare.
    pub(super) fn known_pools(&self) -> Vec<ClusterEvent> {
        let topics: Vec<String> = {
            let state = self.state();
            let own = state.pools.iter().filter(|pool| pool.contains(&self.name));
            own.map(|pool| pool.spec().topic.clone()).collect()
        };
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let known = |topic: String| {
            let names = heard.get(&topic).into_iter().flatten();
            let digest = digest(names.map(String::as_str));
            ClusterEvent::PoolKnown { topic, digest }
        };
        topics.into_iter().map(known).collect()
    }

    /// On the manager: who of a pool is up, if that is not what somebody knows.
    pub(super) fn pool_unlike(&self, topic: &str, known: u32) -> Option<ClusterEvent> {
        let state = self.state();
        let pool = state.pools.iter().find(|pool| pool.spec().topic == topic)?;
        let alive: Vec<&str> = alive(pool).collect();
        (digest(alive.iter().copied()) != known).then(|| members(pool, &alive))
    }

    /// On the manager: what to tell whom about the pools that `name` is a member of, or about all.
    pub(super) fn tell_homes(&self, name: Option<&str>) -> Vec<(EndpointId, ClusterEvent)> {
        let state = self.state();
        let mut told = Vec::new();
        for pool in &state.pools {
            if name.is_some_and(|name| !pool.contains(name)) {
                continue;
            }
            let alive: Vec<&str> = alive(pool).collect();
            let event = members(pool, &alive);
            let ids = alive.iter().filter_map(|name| state.membership.id_of(name));
            told.extend(ids.map(|id| (id, event.clone())));
        }
        told
    }
}

fn alive(pool: &Pool) -> impl Iterator<Item = &str> {
    let up = pool.nodes().iter().filter(|node| node.alive);
    up.map(|node| node.name.as_str())
}

fn members(pool: &Pool, alive: &[&str]) -> ClusterEvent {
    ClusterEvent::PoolMembers {
        topic: pool.spec().topic.clone(),
        members: alive.iter().map(|name| (*name).to_owned()).collect(),
    }
}

fn replace(sender: &watch::Sender<Homes>, homes: Homes) {
    sender.send_if_modified(|known| {
        let new = *known != homes;
        if new {
            *known = homes;
        }
        new
    });
}
