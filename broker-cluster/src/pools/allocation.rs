//! Which nodes belong to which pool: every node computes the same from the layout (reference,
//! zeek-cluster 3.2).
//!
//! Pools are served in the order of their topics, exclusive ones first and from the front of the
//! names; the others take from what is left, going round: one cursor per role, shared by its pools.

use super::spec::PoolSpec;
use crate::role::Role;

/// The nodes that may be members, by role, each list sorted bytewise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Eligible {
    workers: Vec<String>,
    proxies: Vec<String>,
    loggers: Vec<String>,
}

impl Eligible {
    /// The eligible ones among `nodes`. With `manager_is_logger` the first manager by name follows the loggers.
    pub fn new<'a>(
        nodes: impl IntoIterator<Item = (&'a str, Role)>,
        manager_is_logger: bool,
    ) -> Self {
        let mut eligible = Self::default();
        let mut managers = Vec::new();
        for (name, role) in nodes {
            match role {
                Role::Worker => eligible.workers.push(name.to_owned()),
                Role::Proxy => eligible.proxies.push(name.to_owned()),
                Role::Logger => eligible.loggers.push(name.to_owned()),
                Role::Manager => managers.push(name),
            }
        }
        for list in [
            &mut eligible.workers,
            &mut eligible.proxies,
            &mut eligible.loggers,
        ] {
            list.sort_unstable();
        }
        if manager_is_logger {
            eligible
                .loggers
                .extend(managers.into_iter().min().map(str::to_owned));
        }
        eligible
    }

    fn of(&self, role: Role) -> Option<&[String]> {
        match role {
            Role::Worker => Some(&self.workers),
            Role::Proxy => Some(&self.proxies),
            Role::Logger => Some(&self.loggers),
            Role::Manager => None,
        }
    }
}

/// Why pools cannot be filled. Zeek does not start with such pools, nor do we.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AllocationError {
    /// The exclusive pools of a role want more nodes than there are.
    #[error("not enough nodes of role {role}: exclusive pools need {need}, the layout has {have}")]
    NotEnough {
        /// The role.
        role: Role,
        /// What all exclusive pools of the role need.
        need: usize,
        /// How many there are.
        have: usize,
    },
    /// An exclusive pool without a size.
    #[error("pool {pool:?} is exclusive and does not say max_nodes")]
    Unbounded {
        /// The pool's name.
        pool: String,
    },
    /// Only workers, proxies and loggers form pools.
    #[error("pool {pool:?} cannot have members of role {role}")]
    Role {
        /// The pool's name.
        pool: String,
        /// The role.
        role: Role,
    },
    /// A topic that nodes cannot subscribe to: none, too long, or reserved.
    #[error("pool {pool:?} cannot have the topic {topic:?}")]
    Topic {
        /// The pool's name.
        pool: String,
        /// Its topic, or the beginning of it.
        topic: String,
    },
    /// Two pools on one topic.
    #[error("pools {first:?} and {second:?} have the same topic {topic:?}")]
    SameTopic {
        /// One pool's name.
        first: String,
        /// The other's.
        second: String,
        /// Their topic.
        topic: String,
    },
}

/// The members of each pool, in the order of `specs`; a pool's members are in the order of allocation, which is that of
/// round robin.
///
/// # Errors
/// The pools ask for what the layout does not have.
pub fn allocate(
    specs: &[PoolSpec],
    eligible: &Eligible,
) -> Result<Vec<Vec<String>>, AllocationError> {
    let mut order: Vec<usize> = (0..specs.len()).collect();
    order.sort_by(|&a, &b| specs[a].topic.as_bytes().cmp(specs[b].topic.as_bytes()));
    if let Some(spec) = specs.iter().find(|spec| !spec.has_usable_topic()) {
        return Err(AllocationError::Topic {
            pool: spec.name.clone(),
            topic: spec.topic.chars().take(64).collect(),
        });
    }
    for pair in order.windows(2) {
        let (first, second) = (&specs[pair[0]], &specs[pair[1]]);
        if first.topic == second.topic {
            return Err(AllocationError::SameTopic {
                first: first.name.clone(),
                second: second.name.clone(),
                topic: first.topic.clone(),
            });
        }
    }
    let mut members = vec![Vec::new(); specs.len()];
    for role in [Role::Worker, Role::Proxy, Role::Logger] {
        fill_role(
            role,
            specs,
            &order,
            eligible.of(role).unwrap_or_default(),
            &mut members,
        )?;
    }
    match specs.iter().find(|spec| eligible.of(spec.role).is_none()) {
        Some(spec) => Err(AllocationError::Role {
            pool: spec.name.clone(),
            role: spec.role,
        }),
        None => Ok(members),
    }
}

/// Fills the pools of one role; roles do not affect each other.
fn fill_role(
    role: Role,
    specs: &[PoolSpec],
    order: &[usize],
    names: &[String],
    members: &mut [Vec<String>],
) -> Result<(), AllocationError> {
    let of_role = || order.iter().copied().filter(|&at| specs[at].role == role);
    let mut need = 0_usize;
    for at in of_role().filter(|&at| specs[at].exclusive) {
        let max = specs[at]
            .max_nodes
            .ok_or_else(|| AllocationError::Unbounded {
                pool: specs[at].name.clone(),
            })?;
        need = need.saturating_add(max);
    }
    if need > names.len() {
        return Err(AllocationError::NotEnough {
            role,
            need,
            have: names.len(),
        });
    }
    let mut rest = names;
    for at in of_role().filter(|&at| specs[at].exclusive) {
        let (taken, left) = rest.split_at(specs[at].max_nodes.unwrap_or_default());
        members[at] = taken.to_vec();
        rest = left;
    }
    let mut cursor = rest.iter().cycle();
    for at in of_role().filter(|&at| !specs[at].exclusive) {
        let count = specs[at]
            .max_nodes
            .map_or(rest.len(), |max| max.min(rest.len()));
        members[at] = cursor.by_ref().take(count).cloned().collect();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(count: usize) -> Eligible {
        let names: Vec<String> = (1..=count).map(|n| format!("proxy-{n}")).collect();
        Eligible::new(names.iter().map(|name| (name.as_str(), Role::Proxy)), false)
    }

    fn pool(topic: &str, max_nodes: Option<usize>, exclusive: bool) -> PoolSpec {
        PoolSpec {
            max_nodes,
            exclusive,
            ..PoolSpec::new(topic, format!("zeek/cluster/pool/{topic}"), Role::Proxy)
        }
    }

    /// Members of each pool, as numbers of proxies.
    fn numbers(pools: &[PoolSpec], eligible: &Eligible) -> Vec<Vec<usize>> {
        let members = allocate(pools, eligible).unwrap();
        members
            .iter()
            .map(|names| {
                names
                    .iter()
                    .map(|name| name["proxy-".len()..].parse().unwrap())
                    .collect()
            })
            .collect()
    }

    #[test]
    fn an_exclusive_pool_is_served_before_others() {
        let pools = [pool("my_pool", None, false), pool("proxy", Some(1), true)];
        assert_eq!(numbers(&pools, &proxies(2)), [vec![2], vec![1]]);
    }

    #[test]
    fn a_limited_pool_continues_where_the_cursor_wrapped_to() {
        let pools = [pool("my_pool", None, false), pool("proxy", Some(1), false)];
        assert_eq!(numbers(&pools, &proxies(2)), [vec![1, 2], vec![1]]);
    }

    #[test]
    fn an_unlimited_pool_starts_at_the_cursor() {
        let pools = [pool("proxy", Some(1), false), pool("z_pool", None, false)];
        assert_eq!(numbers(&pools, &proxies(2)), [vec![1], vec![2, 1]]);
    }

    #[test]
    fn the_cursor_is_shared_by_all_pools_of_a_role_whatever_their_order_of_registration() {
        let pools = [
            pool("z", Some(2), false),
            pool("proxy", Some(3), false),
            pool("a", Some(3), false),
            pool("aa", Some(9), false),
        ];
        assert_eq!(
            numbers(&pools, &proxies(4)),
            [vec![3, 4], vec![4, 1, 2], vec![1, 2, 3], vec![4, 1, 2, 3]]
        );
    }

    #[test]
    fn exclusive_pools_take_from_the_front_in_the_order_of_topics() {
        let pools = [
            pool("a", Some(2), true),
            pool("proxy", None, false),
            pool("z", Some(1), true),
        ];
        assert_eq!(numbers(&pools, &proxies(4)), [vec![1, 2], vec![4], vec![3]]);
    }

    #[test]
    fn a_pool_may_end_up_empty() {
        let pools = [
            pool("a", Some(2), true),
            pool("proxy", None, false),
            pool("z", Some(2), true),
        ];
        assert_eq!(
            numbers(&pools, &proxies(4)),
            [vec![1, 2], vec![], vec![3, 4]]
        );
    }

    #[test]
    fn a_maximum_of_zero_is_an_empty_pool_and_affects_no_other() {
        for exclusive in [false, true] {
            let pools = [pool("a", Some(0), exclusive), pool("proxy", None, false)];
            assert_eq!(numbers(&pools, &proxies(2)), [vec![], vec![1, 2]]);
        }
    }

    #[test]
    fn names_are_sorted_bytewise() {
        let eligible = Eligible::new(
            [
                ("proxy-1", Role::Proxy),
                ("proxy-2", Role::Proxy),
                ("proxy-10", Role::Proxy),
            ],
            false,
        );
        assert_eq!(
            numbers(&[pool("proxy", None, false)], &eligible),
            [vec![1, 10, 2]]
        );
    }

    #[test]
    fn a_manager_that_is_logger_follows_the_loggers() {
        let nodes = [
            ("manager", Role::Manager),
            ("logger-1", Role::Logger),
            ("worker-1", Role::Worker),
        ];
        let pools = PoolSpec::defaults();
        let members = allocate(&pools, &Eligible::new(nodes, true)).unwrap();
        assert_eq!(
            members,
            [vec!["worker-1"], vec![], vec!["logger-1", "manager"]]
        );
        let members = allocate(&pools, &Eligible::new(nodes, false)).unwrap();
        assert_eq!(members[2], ["logger-1"]);
    }

    #[test]
    fn exclusive_pools_that_want_too_much_are_refused() {
        let pools = [pool("a", Some(2), true), pool("z", Some(3), true)];
        assert_eq!(
            allocate(&pools, &proxies(4)),
            Err(AllocationError::NotEnough {
                role: Role::Proxy,
                need: 5,
                have: 4
            })
        );
        let pools = [pool("a", Some(usize::MAX), true), pool("z", Some(3), true)];
        assert!(allocate(&pools, &proxies(4)).is_err());
    }

    #[test]
    fn exclusive_without_size_a_pool_of_managers_and_shared_topics_are_refused() {
        assert!(matches!(
            allocate(&[pool("a", None, true)], &proxies(2)),
            Err(AllocationError::Unbounded { .. })
        ));
        let managers = PoolSpec::new("m", "zeek/cluster/pool/m", Role::Manager);
        assert!(matches!(
            allocate(&[managers], &proxies(2)),
            Err(AllocationError::Role {
                role: Role::Manager,
                ..
            })
        ));
        for topic in ["", "<$>/local/x", &"x".repeat(1025)] {
            let bad = PoolSpec::new("b", topic, Role::Proxy);
            assert!(matches!(
                allocate(&[bad], &proxies(2)),
                Err(AllocationError::Topic { .. })
            ));
        }
        let twice = [
            pool("a", None, false),
            PoolSpec {
                name: "b".into(),
                ..pool("a", None, false)
            },
        ];
        assert!(matches!(
            allocate(&twice, &proxies(2)),
            Err(AllocationError::SameTopic { .. })
        ));
    }
}
