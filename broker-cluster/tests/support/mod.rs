//! Clusters in one process, over `mem://`.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file is a crate that uses a part of it"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use broker_cluster::handlers::Handlers;
use broker_cluster::{ClusterNode, ClusterNodeBuilder, Layout, Role};
use broker_core::{Endpoint, MemNetwork, MemTransport};

pub const LIMIT: Duration = Duration::from_secs(20);

/// A manager, two proxies, three workers; the manager writes the logs.
pub const SMALL: &str = r#"
[node.manager]
role = "manager"
listen = ["mem://manager"]
[node.proxy-1]
role = "proxy"
listen = ["mem://proxy-1"]
[node.proxy-2]
role = "proxy"
listen = ["mem://proxy-2"]
[node.worker-1]
role = "worker"
[node.worker-2]
role = "worker"
[node.worker-3]
role = "worker"
"#;

/// A manager, a proxy, two workers.
pub const TWO_WORKERS: &str = r#"
[node.manager]
role = "manager"
listen = ["mem://manager"]
[node.proxy-1]
role = "proxy"
listen = ["mem://proxy-1"]
[node.worker-1]
role = "worker"
[node.worker-2]
role = "worker"
"#;

/// Looks again and again, for [`LIMIT`] at most.
pub async fn wait_for(condition: impl Fn() -> bool) {
    let waited = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(LIMIT, waited).await.unwrap();
}

pub struct Cluster {
    pub layout: Arc<Layout>,
    pub network: MemNetwork,
    pub nodes: BTreeMap<String, ClusterNode>,
    pub dir: tempfile::TempDir,
}

impl Cluster {
    /// A cluster of which no node has started.
    pub fn new(text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self {
            layout: Arc::new(Layout::parse(text, dir.path().join("lab.toml")).unwrap()),
            network: MemNetwork::new(),
            nodes: BTreeMap::new(),
            dir,
        }
    }

    /// A cluster whose nodes have started and are connected; `handlers` are those of the node of that name.
    pub async fn start(text: &str, handlers: impl Fn(&str, &Handlers)) -> Self {
        Self::start_with(text, |name, builder| {
            let own = Handlers::new();
            handlers(name, &own);
            builder.handlers(own)
        })
        .await
    }

    /// A cluster whose nodes have started, each `with` what it says of the node of that name, and are connected.
    pub async fn start_with(
        text: &str,
        with: impl Fn(&str, ClusterNodeBuilder) -> ClusterNodeBuilder,
    ) -> Self {
        let mut cluster = Self::new(text);
        let names: Vec<String> = cluster
            .layout
            .nodes()
            .map(|node| node.name.clone())
            .collect();
        for name in &names {
            cluster
                .start_node(name, |builder| with(name, builder))
                .await;
        }
        for (name, node) in &cluster.nodes {
            assert!(
                node.cluster_started(LIMIT).await,
                "{name} waits for {:?}",
                node.waiting_for()
            );
        }
        cluster
    }

    pub async fn start_node(
        &mut self,
        name: &str,
        with: impl FnOnce(ClusterNodeBuilder) -> ClusterNodeBuilder,
    ) -> ClusterNode {
        let builder =
            ClusterNode::builder(Arc::clone(&self.layout), name).endpoint_builder(self.endpoint());
        let node = with(builder).start().await.unwrap();
        self.nodes.insert(name.to_owned(), node.clone());
        node
    }

    pub fn endpoint(&self) -> broker_core::EndpointBuilder {
        Endpoint::builder().transport(MemTransport::new(&self.network))
    }

    pub fn node(&self, name: &str) -> &ClusterNode {
        &self.nodes[name]
    }

    pub async fn stop(&mut self) {
        for role in [Role::Worker, Role::Proxy, Role::Manager, Role::Logger] {
            for node in self.nodes.values().filter(|node| node.spec().role == role) {
                node.shutdown().await;
            }
        }
        self.nodes.clear();
    }
}
