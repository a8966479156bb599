//! Which keys move when members of a pool come and go.
//!
//! By rendezvous hashing a key lives with one of the members that are up. When one goes, its keys are spread over the
//! others, and no other key moves; when it comes back, the same keys return to it. A [`Handover`] is one such change, seen
//! from one node; ask it about a key and it says from whom to whom it moves.
//!
//! ```
//! use broker_cluster::pools::{Handover, HrwKey, Homes};
//! use broker_cluster::{Layout, pools::PoolSpec};
//!
//! let layout = Layout::parse(
//!     "[node.m]\nrole = \"manager\"\nlisten = [\"mem://m\"]\n\
//!      [node.proxy-1]\nrole = \"proxy\"\nlisten = [\"mem://1\"]\n[node.proxy-2]\nrole = \"proxy\"\nlisten = [\"mem://2\"]\n",
//!     "lab.toml",
//! )?;
//! let pools = layout.pools("proxy-2");
//! let pool = pools.iter().find(|pool| pool.spec().name == PoolSpec::PROXY).unwrap();
//! let both = Homes::new(pool, ["proxy-1", "proxy-2"]);
//! let one = Homes::new(pool, ["proxy-2"]);
//! let handover = Handover::new("proxy-2", both, one);
//! // Count 42 lives with proxy-1 while that is up, count 0 with proxy-2.
//! let moved = handover.moves(&HrwKey::count(42)).unwrap();
//! assert_eq!((moved.from, moved.to), (Some("proxy-1"), Some("proxy-2")));
//! assert!(handover.arrives(&HrwKey::count(42)));
//! assert!(handover.moves(&HrwKey::count(0)).is_none());
//! # Ok::<(), broker_cluster::LayoutError>(())
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use super::key::HrwKey;
use super::pool::Pool;
use super::rendezvous::HrwSites;
use super::spec::Strategy;
use super::weighted::WeightedNodes;

/// Where keys live while certain members of a pool are up. Unlike in [`Pool`], the local node is one of them if it is up:
/// this is how the others see the pool.
#[derive(Clone, Debug)]
pub struct Homes {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    pool: String,
    /// Those that are up, by name, and what stands for them in the choice.
    up: BTreeMap<String, u32>,
    sites: HrwSites,
    /// For weighted pools.
    weighted: Option<WeightedNodes>,
}

impl Homes {
    /// The homes while those of `up` are up that are members; others do not matter.
    pub fn new<'a>(pool: &Pool, up: impl IntoIterator<Item = &'a str>) -> Self {
        let members: BTreeMap<&str, _> = pool
            .nodes()
            .iter()
            .map(|node| (node.name.as_str(), node))
            .collect();
        let up: Vec<_> = up
            .into_iter()
            .filter_map(|name| members.get(name).copied())
            .collect();
        let weighted = || {
            let mut all: Vec<_> = up
                .iter()
                .map(|node| (node.name.clone(), node.weight))
                .collect();
            all.sort_unstable();
            all.dedup();
            WeightedNodes::new(all)
        };
        Self {
            inner: Arc::new(Inner {
                pool: pool.spec().name.clone(),
                sites: up.iter().map(|node| node.site_id).collect(),
                weighted: (pool.spec().strategy == Strategy::Weighted).then(weighted),
                up: up
                    .iter()
                    .map(|node| (node.name.clone(), node.site_id))
                    .collect(),
            }),
        }
    }

    /// The pool's name.
    #[must_use]
    pub fn pool(&self) -> &str {
        &self.inner.pool
    }

    /// The members that are up, by name.
    pub fn up(&self) -> impl Iterator<Item = &str> {
        self.inner.up.keys().map(String::as_str)
    }

    /// Whether a member of this name is up.
    #[must_use]
    pub fn is_up(&self, name: &str) -> bool {
        self.inner.up.contains_key(name)
    }

    /// Where a key lives; none if nobody is up.
    #[must_use]
    pub fn of(&self, key: &HrwKey) -> Option<&str> {
        if let Some(weighted) = &self.inner.weighted {
            return weighted.choose(key);
        }
        let site = self.inner.sites.choose(key)?;
        let (name, _) = self.inner.up.iter().find(|(_, id)| **id == site)?;
        Some(name)
    }
}

impl PartialEq for Homes {
    /// The same pool with the same members up.
    fn eq(&self, other: &Self) -> bool {
        self.inner.pool == other.inner.pool && self.inner.up == other.inner.up
    }
}

impl Eq for Homes {}

/// A key moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move<'a> {
    /// Where it lived; nobody, if no member was up.
    pub from: Option<&'a str>,
    /// Where it lives now; nobody, if no member is up.
    pub to: Option<&'a str>,
}

/// Members of a pool came or went: which keys move by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handover {
    local: String,
    before: Homes,
    after: Homes,
}

impl Handover {
    /// The change from `before` to `after`, as the node called `local` is concerned by it.
    pub fn new(local: impl Into<String>, before: Homes, after: Homes) -> Self {
        Self {
            local: local.into(),
            before,
            after,
        }
    }

    /// The pool's name.
    #[must_use]
    pub fn pool(&self) -> &str {
        self.after.pool()
    }

    /// The homes of keys before.
    #[must_use]
    pub const fn before(&self) -> &Homes {
        &self.before
    }

    /// The homes of keys now.
    #[must_use]
    pub const fn after(&self) -> &Homes {
        &self.after
    }

    /// Members that came, by name.
    pub fn came(&self) -> impl Iterator<Item = &str> {
        self.after.up().filter(|name| !self.before.is_up(name))
    }

    /// Members that went, by name.
    pub fn went(&self) -> impl Iterator<Item = &str> {
        self.before.up().filter(|name| !self.after.is_up(name))
    }

    /// From whom to whom a key moves; none if it stays where it is. Only keys of members that [went](Self::went) and keys
    /// for members that [came](Self::came) move.
    #[must_use]
    pub fn moves(&self, key: &HrwKey) -> Option<Move<'_>> {
        let (from, to) = (self.before.of(key), self.after.of(key));
        (from != to).then_some(Move { from, to })
    }

    /// The new home of a key that this node had and has no more; none if it had it not, or keeps it, or nobody has it now.
    #[must_use]
    pub fn leaves(&self, key: &HrwKey) -> Option<&str> {
        let moved = self.moves(key)?;
        moved.to.filter(|_| moved.from == Some(&self.local))
    }

    /// Whether a key is this node's now and was not before.
    #[must_use]
    pub fn arrives(&self, key: &HrwKey) -> bool {
        self.moves(key)
            .is_some_and(|moved| moved.to == Some(&self.local))
    }

    /// Those of this node's keys that leave it, each with its new home.
    pub fn leaving<'h, K: AsRef<HrwKey>>(
        &'h self,
        keys: impl IntoIterator<Item = K> + 'h,
    ) -> impl Iterator<Item = (K, &'h str)> {
        keys.into_iter().filter_map(|key| {
            let to = self.leaves(key.as_ref())?;
            Some((key, to))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pools::{PoolSpec, Strategy};
    use crate::role::Role;
    use crate::topics;

    const PROXIES: [&str; 4] = ["proxy-1", "proxy-2", "proxy-3", "proxy-4"];

    fn pool(strategy: Strategy) -> Pool {
        let spec = PoolSpec {
            strategy,
            ..PoolSpec::new("proxy", topics::POOL_PROXY, Role::Proxy)
        };
        Pool::new(
            spec,
            PROXIES
                .iter()
                .zip([1, 2, 3, 4])
                .map(|(name, weight)| (*name, weight)),
            "worker-1",
        )
    }

    fn subset(bits: u8) -> Vec<&'static str> {
        let of = |(at, name): (usize, &&'static str)| (bits & (1 << at) != 0).then_some(*name);
        PROXIES.iter().enumerate().filter_map(of).collect()
    }

    #[test]
    fn homes_are_the_choices_of_the_pool_itself() {
        for strategy in Strategy::ALL {
            let mut pool = pool(strategy);
            for bits in 0..16 {
                let up = subset(bits);
                for name in PROXIES {
                    match up.contains(&name) {
                        true => pool.node_up(name),
                        false => pool.node_down(name),
                    }
                }
                let homes = Homes::new(&pool, up);
                for key in (0..50).map(HrwKey::count) {
                    let chosen = pool.hrw(&key).map(|node| node.name.as_str());
                    assert_eq!(homes.of(&key), chosen);
                }
            }
        }
    }

    #[test]
    fn old_and_new_owner_are_told_the_same_from_their_sides() {
        let pool = pool(Strategy::Zeek);
        let (all, fewer) = (
            Homes::new(&pool, PROXIES),
            Homes::new(&pool, PROXIES.into_iter().skip(1)),
        );
        let keys: Vec<HrwKey> = (0..200).map(HrwKey::count).collect();
        let returned = |local: &str| Handover::new(local, fewer.clone(), all.clone());
        assert_eq!(returned("x").came().collect::<Vec<_>>(), ["proxy-1"]);
        let mut leaving = 0;
        for old in &PROXIES[1..] {
            let handover = returned(old);
            for (key, to) in handover.leaving(&keys) {
                assert_eq!(to, "proxy-1");
                assert!(returned("proxy-1").arrives(key));
                leaving += 1;
            }
            assert!(keys.iter().all(|key| !handover.arrives(key)));
        }
        let arriving = keys.iter().filter(|key| returned("proxy-1").arrives(key));
        assert_eq!(arriving.count(), leaving);
        assert!(leaving > 20);
    }

    #[test]
    fn the_first_member_gets_all_keys_from_nobody_and_the_last_leaves_them_to_nobody() {
        let pool = pool(Strategy::Zeek);
        let (none, one) = (Homes::new(&pool, []), Homes::new(&pool, ["proxy-3"]));
        let key = HrwKey::string(b"k");
        let first = Handover::new("proxy-3", none.clone(), one.clone());
        assert_eq!(
            first.moves(&key),
            Some(Move {
                from: None,
                to: Some("proxy-3")
            })
        );
        assert!(first.arrives(&key));
        let last = Handover::new("proxy-3", one, none);
        assert_eq!((last.leaves(&key), last.arrives(&key)), (None, false));
        assert_eq!(last.went().collect::<Vec<_>>(), ["proxy-3"]);
    }

    proptest! {
        #[test]
        fn only_keys_of_those_that_went_and_for_those_that_came_move(
            before in 0_u8..16, after in 0_u8..16, weighted: bool, keys in prop::collection::vec(any::<u64>(), 1..64)
        ) {
            let pool = pool(if weighted { Strategy::Weighted } else { Strategy::Zeek });
            let homes = |bits| Homes::new(&pool, subset(bits));
            let handover = Handover::new("x", homes(before), homes(after));
            for key in keys.into_iter().map(HrwKey::count) {
                if let Some(Move { from, to }) = handover.moves(&key) {
                    let left = from.is_none_or(|from| !handover.after().is_up(from));
                    let entered = to.is_none_or(|to| !handover.before().is_up(to));
                    prop_assert!(left || entered, "{from:?} -> {to:?}");
                }
            }
        }

        #[test]
        fn keys_return_with_the_member(gone in 0_usize..4, weighted: bool, key: u64) {
            let pool = pool(if weighted { Strategy::Weighted } else { Strategy::Zeek });
            let all = Homes::new(&pool, PROXIES);
            let fewer = Homes::new(&pool, PROXIES.into_iter().filter(|name| *name != PROXIES[gone]));
            let key = HrwKey::count(key);
            let away = Handover::new("x", all.clone(), fewer.clone());
            let back = Handover::new("x", fewer, all);
            match (away.moves(&key), back.moves(&key)) {
                (None, None) => {}
                (Some(away), Some(back)) => {
                    prop_assert_eq!((away.from, away.to), (back.to, back.from));
                    prop_assert_eq!(away.from, Some(PROXIES[gone]));
                }
                (away, back) => prop_assert!(false, "{away:?} {back:?}"),
            }
        }
    }
}
