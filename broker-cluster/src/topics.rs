//! The topics of a cluster and who subscribes to which (reference, zeek-cluster 2.3, appendix B).
//!
//! Topics of one node or process end with a slash, because a subscription is a prefix: without it
//! `worker-1` would also get what is meant for `worker-10`.

use broker_core::{EndpointId, Filter, Topic};

use crate::role::Role;

/// All loggers.
pub const LOGGER: &str = "zeek/cluster/logger";
/// The manager.
pub const MANAGER: &str = "zeek/cluster/manager";
/// All proxies.
pub const PROXY: &str = "zeek/cluster/proxy";
/// All workers.
pub const WORKER: &str = "zeek/cluster/worker";
/// The four role topics: who publishes to each of them reaches all.
pub const BROADCAST: [&str; 4] = [LOGGER, MANAGER, PROXY, WORKER];

/// Members of the worker pool.
pub const POOL_WORKER: &str = "zeek/cluster/pool/worker";
/// Members of the proxy pool.
pub const POOL_PROXY: &str = "zeek/cluster/pool/proxy";
/// Members of the logger pool.
pub const POOL_LOGGER: &str = "zeek/cluster/pool/logger";

/// In front of a node's name.
pub const NODE_PREFIX: &str = "zeek/cluster/node/";
/// In front of a process's ID.
pub const NODEID_PREFIX: &str = "zeek/cluster/nodeid/";
/// In front of a stream id: announcements of log streams, and log records outside a cluster.
pub const LOGS_PREFIX: &str = "zeek/logs/";
/// Changes of tables; every node subscribes.
pub const TABLE_PREFIX: &str = "zeek/table/";
/// Zeek's Supervisor; in the filter of every process.
pub const SUPERVISOR: &str = "zeek/supervisor";
/// Where the manager tells that every node is fully connected.
pub const STARTED: &str = "zeek/cluster/experimental/started";

/// The topic of all nodes of a role.
#[must_use]
pub const fn role_topic(role: Role) -> Topic {
    Topic::from_static(match role {
        Role::Logger => LOGGER,
        Role::Manager => MANAGER,
        Role::Proxy => PROXY,
        Role::Worker => WORKER,
    })
}

/// The topic of the node called `name`.
///
/// # Panics
/// Never for a name from a layout, whose length is bounded far below that of a topic.
#[must_use]
pub fn node_topic(name: &str) -> Topic {
    Topic::new(format!("{NODE_PREFIX}{name}/")).expect("names of nodes are bounded by the layout")
}

/// The topic of the process with this ID.
///
/// # Panics
/// Never: an ID has 36 characters.
#[must_use]
pub fn nodeid_topic(id: EndpointId) -> Topic {
    Topic::new(format!("{NODEID_PREFIX}{id}/")).expect("an ID is short")
}

/// The topic for the records of a log stream when no logger is known. A stream id that is too long for a topic is cut.
///
/// # Panics
/// Never: the stream id is cut.
#[must_use]
pub fn log_topic(stream: &[u8]) -> Topic {
    let room = Topic::MAX_LEN - LOGS_PREFIX.len();
    let topic = [LOGS_PREFIX.as_bytes(), &stream[..stream.len().min(room)]].concat();
    Topic::new(topic).expect("cut to fit")
}

/// What a node subscribes to. Besides these it may announce what its stores and its program subscribe to.
///
/// `pools` are the topics of the pools it is a member of. `writes_logs`: it is a logger, or the manager without loggers.
pub fn subscriptions<'a>(
    role: Role,
    name: &str,
    id: EndpointId,
    pools: impl IntoIterator<Item = &'a Topic>,
    writes_logs: bool,
) -> Filter {
    let own = [
        Topic::from_static(TABLE_PREFIX),
        Topic::from_static(SUPERVISOR),
        role_topic(role),
        nodeid_topic(id),
        node_topic(name),
    ];
    own.into_iter()
        .chain(pools.into_iter().cloned())
        .chain(writes_logs.then(|| Topic::from_static(LOGS_PREFIX)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announced(
        role: Role,
        name: &str,
        id: &str,
        pools: &[&'static str],
        writes_logs: bool,
    ) -> Vec<String> {
        let pools: Vec<Topic> = pools
            .iter()
            .map(|topic| Topic::from_static(topic))
            .collect();
        let filter = subscriptions(role, name, id.parse().unwrap(), &pools, writes_logs);
        filter.iter().map(ToString::to_string).collect()
    }

    // The IDs and filters are those of a recorded Zeek cluster.
    const ID: &str = "45734204-175f-5559-a971-4304206d7f95";

    #[test]
    fn a_worker_announces_what_zeek_s_worker_announces() {
        assert_eq!(
            announced(Role::Worker, "worker-1", ID, &[POOL_WORKER], false),
            [
                "zeek/cluster/node/worker-1/",
                "zeek/cluster/nodeid/45734204-175f-5559-a971-4304206d7f95/",
                "zeek/cluster/pool/worker",
                "zeek/cluster/worker",
                "zeek/supervisor",
                "zeek/table/"
            ]
        );
    }

    #[test]
    fn a_manager_with_loggers_announces_what_zeek_s_manager_announces() {
        assert_eq!(
            announced(
                Role::Manager,
                "manager",
                "874528d5-fc8a-547c-83e4-3d734fbbc046",
                &[],
                false
            ),
            [
                "zeek/cluster/manager",
                "zeek/cluster/node/manager/",
                "zeek/cluster/nodeid/874528d5-fc8a-547c-83e4-3d734fbbc046/",
                "zeek/supervisor",
                "zeek/table/"
            ]
        );
    }

    #[test]
    fn a_logger_announces_what_zeek_s_logger_announces() {
        assert_eq!(
            announced(
                Role::Logger,
                "logger-1",
                "09c558b8-8db3-5491-9d68-e5abbd20eb83",
                &[POOL_LOGGER],
                true
            ),
            [
                "zeek/cluster/logger",
                "zeek/cluster/node/logger-1/",
                "zeek/cluster/nodeid/09c558b8-8db3-5491-9d68-e5abbd20eb83/",
                "zeek/cluster/pool/logger",
                "zeek/logs/",
                "zeek/supervisor",
                "zeek/table/"
            ]
        );
    }

    #[test]
    fn a_proxy_announces_what_zeek_s_proxy_announces() {
        assert_eq!(
            announced(Role::Proxy, "proxy-1", ID, &[POOL_PROXY], false),
            [
                "zeek/cluster/node/proxy-1/",
                "zeek/cluster/nodeid/45734204-175f-5559-a971-4304206d7f95/",
                "zeek/cluster/pool/proxy",
                "zeek/cluster/proxy",
                "zeek/supervisor",
                "zeek/table/"
            ]
        );
    }

    #[test]
    fn a_node_s_topic_is_no_prefix_of_another_node_s() {
        assert!(!node_topic("worker-10").has_prefix(node_topic("worker-1").as_bytes()));
    }

    #[test]
    fn an_overlong_stream_id_still_gives_a_topic() {
        assert_eq!(log_topic(&[b'x'; 70_000]).len(), Topic::MAX_LEN);
        assert_eq!(log_topic(b"Conn::LOG").as_bytes(), b"zeek/logs/Conn::LOG");
    }
}
