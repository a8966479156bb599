//! What a pool is, before nodes are assigned to it (reference, zeek-cluster 3.1).

use crate::role::Role;
use crate::topics;

/// A set of nodes of one role that share a topic and the work sent to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolSpec {
    /// What it is called on this node; not seen by others.
    pub name: String,
    /// The topic all members subscribe to. Pools are told apart, and sorted, by it.
    pub topic: String,
    /// Which nodes are eligible. A manager is none, except as the logger.
    pub role: Role,
    /// At most so many members; none means all that are eligible.
    pub max_nodes: Option<usize>,
    /// Whether members are taken out of what other pools can have. Needs `max_nodes`.
    pub exclusive: bool,
    /// How a key chooses a member.
    pub strategy: Strategy,
}

/// How a key chooses a member of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// Zeek's formula; every member counts the same.
    #[default]
    Zeek,
    /// Members get keys in proportion to their weight in the layout. Zeek does not know such pools.
    Weighted,
}

impl Strategy {
    /// All strategies.
    pub const ALL: [Self; 2] = [Self::Zeek, Self::Weighted];

    /// The word for the strategy in layouts.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Zeek => "zeek",
            Self::Weighted => "weighted",
        }
    }
}

impl PoolSpec {
    /// The name of the pool of all proxies.
    pub const PROXY: &'static str = "proxy";
    /// The name of the pool of all workers.
    pub const WORKER: &'static str = "worker";
    /// The name of the pool of all loggers.
    pub const LOGGER: &'static str = "logger";

    /// A pool of every node of `role`, not exclusive, with Zeek's strategy.
    #[must_use]
    pub fn new(name: impl Into<String>, topic: impl Into<String>, role: Role) -> Self {
        Self {
            name: name.into(),
            topic: topic.into(),
            role,
            max_nodes: None,
            exclusive: false,
            strategy: Strategy::Zeek,
        }
    }

    /// Topics of pools have so many bytes at most; far below what a topic may have, so that nothing put behind one is too
    /// long.
    pub const MAX_TOPIC: usize = 1024;

    /// Whether nodes can subscribe to its topic.
    pub(crate) fn has_usable_topic(&self) -> bool {
        !self.topic.is_empty()
            && self.topic.len() <= Self::MAX_TOPIC
            && !self.topic.starts_with("<$>")
    }

    /// The pools every cluster has: workers, proxies, loggers. A layout may redefine them by name.
    #[must_use]
    pub fn defaults() -> [Self; 3] {
        [
            Self::new(Self::WORKER, topics::POOL_WORKER, Role::Worker),
            Self::new(Self::PROXY, topics::POOL_PROXY, Role::Proxy),
            Self::new(Self::LOGGER, topics::POOL_LOGGER, Role::Logger),
        ]
    }
}
