//! A cluster of two nodes in one process: a manager, which is also the logger, and a worker that writes a log, sends an
//! event, and uses a store of the layout.
//!
//! ```text
//! cargo run -p broker-cluster --example two_nodes
//! ```

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use broker_cluster::log::LogRecord;
use broker_cluster::{ClusterNode, Layout, Role};
use broker_core::zeek::Event;
use broker_core::{Data, Endpoint, MemNetwork, MemTransport, QueueOptions};

const LAYOUT: &str = r#"
[stores.hosts]
backend = "memory"
[node.manager]
role = "manager"
listen = ["mem://manager"]
[node.worker-1]
role = "worker"
"#;

/// A line of `example.log`.
#[derive(LogRecord)]
struct Example {
    host: IpAddr,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::temp_dir().join(format!("two-nodes-{}", std::process::id()));
    let layout = Arc::new(Layout::parse(LAYOUT, dir.join("cluster.toml"))?);
    let network = MemNetwork::new();
    let start = |name: &'static str| {
        let endpoint = Endpoint::builder().transport(MemTransport::new(&network));
        ClusterNode::builder(Arc::clone(&layout), name)
            .endpoint_builder(endpoint)
            .events(QueueOptions::local())
            .start()
    };
    let (manager, worker) = (start("manager").await?, start("worker-1").await?);
    if !worker.cluster_started(Duration::from_secs(10)).await {
        return Err(format!("worker-1 waits for {:?}", worker.waiting_for()).into());
    }

    worker
        .publish_to_role(
            Role::Manager,
            Event::new("Example::hello", vec![Data::from("worker-1")]),
        )
        .await?;
    let mut events = manager.take_events().ok_or("the events were taken")?;
    let (topic, event) = events.recv().await.ok_or("the manager has stopped")?;
    println!("manager got {} on {topic}", event.name.to_str_lossy());

    let store = worker.store("hosts").ok_or("no store")?;
    store.increment("192.0.2.7", Data::Count(1), None).await?;
    println!("192.0.2.7 was seen {:?}", store.get("192.0.2.7").await?);

    let mut log = worker.logs().typed::<Example>().await?;
    let host = IpAddr::from([192, 0, 2, 7]);
    log.write(&Example { host }).await?;

    worker.shutdown().await;
    manager.shutdown().await;
    println!(
        "{}",
        std::fs::read_to_string(layout.log_dir().join("manager/example.log"))?
    );
    std::fs::remove_dir_all(dir)?;
    Ok(())
}
