//! The patterns of the documentation in one process: manager to workers, worker to manager, worker to all workers, worker
//! to proxies by key, and a key that moves when its proxy goes.
//!
//! ```text
//! cargo run -p broker-cluster --example scenarios
//! ```
//!
//! Here all nodes are in one process and reach each other over `mem://`. With nodes of their own nothing changes but the
//! layout, which names `grpc://` or `broker://` addresses and is read from a file by every node ([`Layout::load`]), and the
//! transport: `Endpoint::builder().transport(broker_wire::GrpcTransport::new())`.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use broker_cluster::handlers::{Handlers, Incoming};
use broker_cluster::pools::{HrwKey, PoolSpec};
use broker_cluster::threshold::{Need, Threshold};
use broker_cluster::{ClusterNode, Layout, RelayVia, Role, topics};
use broker_core::{Endpoint, MemNetwork, MemTransport};
use tokio::sync::mpsc;
use tokio::time::timeout;

const LAYOUT: &str = r#"
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
"#;

const LIMIT: Duration = Duration::from_secs(20);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    run().await
}

/// Runs it all.
pub(crate) async fn run() -> Result<(), Box<dyn Error>> {
    let lab = Lab::start().await?;
    lab.manager_to_workers().await?;
    lab.worker_to_manager().await?;
    lab.worker_to_all_workers().await?;
    lab.worker_to_proxies_by_key().await?;
    lab.a_key_moves().await?;
    lab.stop().await;
    Ok(())
}

/// Who heard what.
type Heard = (String, String);

struct Lab {
    nodes: BTreeMap<String, ClusterNode>,
    heard: tokio::sync::Mutex<mpsc::Receiver<Heard>>,
    _dir: tempfile::TempDir,
}

impl Lab {
    async fn start() -> Result<Self, Box<dyn Error>> {
        let dir = tempfile::tempdir()?;
        let layout = Arc::new(Layout::parse(LAYOUT, dir.path().join("cluster.toml"))?);
        let network = MemNetwork::new();
        let (sender, heard) = mpsc::channel(64);
        let mut nodes = BTreeMap::new();
        for spec in layout.nodes() {
            let endpoint = Endpoint::builder().transport(MemTransport::new(&network));
            let node = ClusterNode::builder(Arc::clone(&layout), &spec.name)
                .endpoint_builder(endpoint)
                .handlers(handlers(&spec.name, &sender))
                .start()
                .await?;
            // What is published is checked against this.
            node.declare::<(String,)>("Lab::hello");
            nodes.insert(spec.name.clone(), node);
        }
        // Two of two workers are enough; whoever is missing would be named.
        let manager = &nodes["manager"];
        let enough = Threshold::new()
            .need(Role::Worker, Need::Count(2))
            .need(Role::Proxy, Need::Percent(100));
        match manager.enough(&enough, LIMIT).await {
            Ok(standing) => println!("ready: {standing}"),
            Err(standing) => return Err(format!("not ready: {standing}").into()),
        }
        for node in nodes.values() {
            node.cluster_started(LIMIT).await;
        }
        Ok(Self {
            nodes,
            heard: tokio::sync::Mutex::new(heard),
            _dir: dir,
        })
    }

    fn node(&self, name: &str) -> &ClusterNode {
        &self.nodes[name]
    }

    /// Waits until each of `names` has heard `what`.
    async fn expect(&self, names: &[&str], what: &str) -> Result<(), Box<dyn Error>> {
        let mut heard = self.heard.lock().await;
        let mut who = Vec::new();
        for _ in names {
            let (name, text) = timeout(LIMIT, heard.recv())
                .await?
                .ok_or("all have stopped")?;
            if text != what {
                return Err(format!("{name} heard {text:?} instead of {what:?}").into());
            }
            who.push(name);
        }
        who.sort();
        println!("{} heard {what:?}", who.join(", "));
        if who == names {
            Ok(())
        } else {
            Err(format!("expected {names:?}").into())
        }
    }

    async fn manager_to_workers(&self) -> Result<(), Box<dyn Error>> {
        let manager = self.node("manager");
        // Encoded once, however often it is published.
        let hello = manager.prepare("Lab::hello", ("from the manager",))?;
        manager.publish_to_role(Role::Worker, &hello).await?;
        self.expect(&["worker-1", "worker-2"], "from the manager")
            .await?;
        manager.publish_to_node("worker-2", &hello).await?;
        self.expect(&["worker-2"], "from the manager").await
    }

    async fn worker_to_manager(&self) -> Result<(), Box<dyn Error>> {
        let worker = self.node("worker-1");
        let hello = ("Lab::hello", ("from worker-1",));
        worker.publish_to_role(Role::Manager, hello).await?;
        self.expect(&["manager"], "from worker-1").await
    }

    /// Workers do not see each other: a manager or proxy publishes again.
    async fn worker_to_all_workers(&self) -> Result<(), Box<dyn Error>> {
        let worker = self.node("worker-1");
        let workers = topics::role_topic(Role::Worker);
        // Nodes of ours do it for whoever asks:
        for (via, text) in [
            (RelayVia::Manager, "relayed by the manager"),
            (RelayVia::Proxy("example_key"), "relayed by a proxy"),
        ] {
            worker
                .relay(via, workers.clone(), ("Lab::hello", (text,)))
                .await?;
            self.expect(&["worker-1", "worker-2"], text).await?;
        }
        // The handlers of scripts do it for one event, which serves workers that are Zeek's too:
        let _guards: Vec<_> = ["manager", "proxy-1", "proxy-2"]
            .into_iter()
            .map(|name| self.node(name).republish("Lab::to_all", workers.clone()))
            .collect();
        worker
            .publish_to_role(Role::Manager, ("Lab::to_all", ("by the manager",)))
            .await?;
        self.expect(&["worker-1", "worker-2"], "by the manager")
            .await?;
        worker
            .publish_rr(
                PoolSpec::PROXY,
                "example_key",
                ("Lab::to_all", ("by a proxy",)),
            )
            .await?;
        self.expect(&["worker-1", "worker-2"], "by a proxy").await
    }

    async fn worker_to_proxies_by_key(&self) -> Result<(), Box<dyn Error>> {
        let worker = self.node("worker-1");
        for (key, home) in [("example_key1", "proxy-2"), ("example_key5", "proxy-1")] {
            worker
                .publish_hrw(PoolSpec::PROXY, key, ("Lab::hello", (key,)))
                .await?;
            self.expect(&[home], key).await?;
        }
        Ok(())
    }

    /// What proxy-2 has for its keys goes to proxy-1 when proxy-2 leaves, by way of the manager.
    async fn a_key_moves(&self) -> Result<(), Box<dyn Error>> {
        let (old, new, worker) = (
            self.node("proxy-2"),
            self.node("proxy-1"),
            self.node("worker-1"),
        );
        // Proxies do not see each other: the manager tells them who is up.
        let mut at_old = old.handovers(PoolSpec::PROXY)?;
        let mut at_new = new.handovers(PoolSpec::PROXY)?;
        let mut at_worker = worker.handovers(PoolSpec::PROXY)?;
        for handovers in [&mut at_old, &mut at_new] {
            while handovers.homes().up().count() < 2 {
                timeout(LIMIT, handovers.next()).await?;
            }
        }
        let keys = ["example_key1", "example_key5"].map(|key| HrwKey::string(key.as_bytes()));
        let departure = old.departure(PoolSpec::PROXY)?;
        for (key, to) in departure.leaving(&keys) {
            let taken = ("Lab::hello", (format!("take key {:08x}", key.digest()),));
            old.relay(RelayVia::Manager, topics::node_topic(to), taken)
                .await?;
        }
        // example_key1 is proxy-2's, example_key5 was proxy-1's all along.
        self.expect(&["proxy-1"], "take key dc62e2e0").await?;
        old.shutdown().await;
        for handovers in [&mut at_new, &mut at_worker] {
            let change = timeout(LIMIT, handovers.next())
                .await?
                .ok_or("it has stopped")?;
            let went: Vec<&str> = change.went().collect();
            println!("{} went; {:?}", went.join(", "), change.moves(&keys[0]));
        }
        let counted = ("Lab::hello", ("example_key1",));
        worker
            .publish_hrw(PoolSpec::PROXY, "example_key1", counted)
            .await?;
        self.expect(&["proxy-1"], "example_key1").await
    }

    async fn stop(self) {
        for role in [Role::Worker, Role::Proxy, Role::Manager] {
            for node in self.nodes.values().filter(|node| node.spec().role == role) {
                node.shutdown().await;
            }
        }
    }
}

/// What every node does with the events of this lab. They are given to the node before it starts, so that it misses none.
fn handlers(name: &str, sender: &mpsc::Sender<Heard>) -> Handlers {
    let handlers = Handlers::new();
    for event in ["Lab::hello", "Lab::to_all"] {
        // The manager and the proxies do not handle what they publish again for the workers.
        if event == "Lab::to_all" && !name.starts_with("worker") {
            continue;
        }
        let (sender, name) = (sender.clone(), name.to_owned());
        handlers
            .handler(event)
            .on_event_async(move |event: Incoming<(String,)>| {
                let (sender, name) = (sender.clone(), name.clone());
                async move {
                    // Whoever listens may have gone: then nobody cares.
                    let _ = sender.send((name, event.args.0)).await;
                }
            })
            .keep();
    }
    handlers
}
