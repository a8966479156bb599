//! A table that a manager and two workers share: records as values, changes of others as they come, and a set that is
//! published as it changes.
//!
//! ```text
//! cargo run -p broker-cluster --example table
//! ```

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use broker_cluster::table::{TableBackend, TableChange};
use broker_cluster::{ClusterNode, Layout};
use broker_core::{Endpoint, FromData, MemNetwork, MemTransport, Timestamp, ToData};

const LAYOUT: &str = r#"
[node.manager]
role = "manager"
listen = ["mem://manager"]
[node.worker-1]
role = "worker"
[node.worker-2]
role = "worker"
"#;

const LIMIT: Duration = Duration::from_secs(10);

/// A record in Zeek: `type Seen: record { first: time; ports: vector of count; name: string &optional; };`
#[derive(Clone, Debug, PartialEq, ToData, FromData)]
#[broker(module = "Hosts")]
struct Seen {
    first: Timestamp,
    ports: Vec<u16>,
    name: Option<String>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::temp_dir().join(format!("table-{}", std::process::id()));
    let layout = Arc::new(Layout::parse(LAYOUT, dir.join("cluster.toml"))?);
    let network = MemNetwork::new();
    let start = |name: &'static str| {
        let endpoint = Endpoint::builder().transport(MemTransport::new(&network));
        ClusterNode::builder(Arc::clone(&layout), name)
            .endpoint_builder(endpoint)
            .start()
    };
    let manager = start("manager").await?;
    let (first, second) = (start("worker-1").await?, start("worker-2").await?);

    // global Hosts::seen: table[addr] of Seen &backend=Broker::SQLITE &write_expire=1hr;
    let open = |node: &ClusterNode| {
        node.table::<IpAddr, Seen>("Hosts::seen")
            .backend(TableBackend::Sqlite)
            .write_expire(Duration::from_secs(3600))
            .open()
    };
    let at_manager = open(&manager).await?;
    let (at_first, at_second) = (open(&first).await?, open(&second).await?);
    at_second.sync(LIMIT).await?;
    let mut changes = at_second.changes();

    let host = IpAddr::from([192, 0, 2, 7]);
    let seen = Seen {
        first: Timestamp::now(),
        ports: vec![443],
        name: None,
    };
    at_first.insert(host, seen)?; // at once, without waiting for anybody
    at_first.update(host, |seen| {
        let mut seen = seen?.clone();
        seen.ports.push(80);
        Some(seen)
    })?;
    println!(
        "worker-1 has {:?}",
        at_first.get(&host).map(|seen| seen.ports)
    );

    while let Some(change) = changes.recv().await {
        match &*change {
            TableChange::New { key, value } => println!("worker-2: new {key} {:?}", value.ports),
            TableChange::Changed { key, value, .. } => {
                println!("worker-2: changed {key} {:?}", value.ports);
                break;
            }
            other => println!("worker-2: {other:?}"),
        }
    }
    if !at_first.flush(LIMIT).await {
        return Err("the manager did not answer".into());
    }
    at_manager.sync(LIMIT).await?;
    for (host, seen) in &at_manager {
        println!("manager has {host} {:?} on disk", seen.ports);
    }

    // global Hosts::known: table[addr] of bool &publish_on_change=[$changes=set(TABLE_ELEMENT_NEW)];
    let known = first
        .published_table::<IpAddr, bool>("Hosts::known")
        .open()?;
    let heard = second
        .published_table::<IpAddr, bool>("Hosts::known")
        .open()?;
    let mut changes = heard.changes();
    known.insert(host, true)?;
    if let Some(change) = changes.recv().await {
        println!("worker-2 heard of {}", change.key());
    }

    for node in [first, second, manager] {
        node.shutdown().await;
    }
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}
