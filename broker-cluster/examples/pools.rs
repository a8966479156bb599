//! Pools without a network: who is in them, where a key lives, and what happens when a node goes down.
//!
//! ```text
//! cargo run -p broker-cluster --example pools
//! ```

use broker_cluster::Layout;
use broker_cluster::pools::{HrwKey, Pool, PoolSpec};

const LAYOUT: &str = r#"
[node.manager]
role = "manager"
listen = ["grpc://127.0.0.1:27761"]
[node.proxy-1]
role = "proxy"
listen = ["grpc://127.0.0.1:27763"]
[node.proxy-2]
role = "proxy"
listen = ["grpc://127.0.0.1:27764"]
weight = 3
[node.worker-1]
role = "worker"

[pools.weighted]
topic = "zeek/cluster/pool/weighted"
role = "proxy"
strategy = "weighted"
"#;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let layout = Layout::parse(LAYOUT, "cluster.toml")?;
    for mut pool in layout.pools("worker-1") {
        let members: Vec<&str> = pool.nodes().iter().map(|node| node.name.as_str()).collect();
        println!("pool {}: {}", pool.spec().name, members.join(", "));
        if pool.spec().name == PoolSpec::PROXY || pool.spec().name == "weighted" {
            show_choices(&mut pool);
        }
    }
    Ok(())
}

fn show_choices(pool: &mut Pool) {
    pool.node_up("proxy-1");
    pool.node_up("proxy-2");
    println!("  with both up:      {}", homes(pool));
    pool.node_down("proxy-1");
    println!("  without proxy-1:   {}", homes(pool));
    pool.node_up("proxy-1");
    println!("  with both again:   {}", homes(pool));
    let turns: Vec<String> = (0..4)
        .filter_map(|_| pool.round_robin("example").map(|node| node.name.clone()))
        .collect();
    println!("  in turn:           {}", turns.join(" "));
}

/// Where the counts 0 to 9 live.
fn homes(pool: &Pool) -> String {
    (0..10)
        .map(|key| {
            pool.hrw(&HrwKey::count(key))
                .map_or("-", |node| node.name.as_str())
        })
        .collect::<Vec<_>>()
        .join(" ")
}
