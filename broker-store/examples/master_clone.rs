//! A master on one node and a clone on another, in one process: `cargo run -p broker-store --example master_clone`.

use std::time::Duration;

use broker_core::{Endpoint, MemNetwork, MemTransport};
use broker_store::{CloneOptions, FEATURE, MasterOptions, Memory, StoreExt};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let network = MemNetwork::new();
    let node = |name: &str| {
        Endpoint::builder()
            .name(name)
            .feature(FEATURE)
            .transport(MemTransport::new(&network))
            .start()
    };

    let manager = node("manager");
    manager.listen(&"mem://manager".parse()?).await?;
    let master = manager
        .attach_master("hosts", Memory::new(), MasterOptions::default())
        .await?;

    // The clone looks for its master until the peering is up; writes wait for it.
    let worker = node("worker");
    let clone = worker
        .attach_clone("hosts", CloneOptions::default())
        .await?;
    worker.peer("mem://manager".parse()?);

    let mut events = master.events();
    clone.increment("192.0.2.7", 1u64, None).await?;
    clone
        .insert_into("seen by", "worker", Some(Duration::from_secs(60)))
        .await?;
    for _ in 0..2 {
        println!("master: {:?}", events.recv().await);
    }

    // A write that has returned can be read here without waiting.
    println!("clone: {:?}", clone.get_local(&"192.0.2.7".into())?);
    match clone.append("192.0.2.7", "text", None).await {
        Err(error) => println!("clone: {error}"),
        Ok(()) => println!("clone: a count became a string?"),
    }

    worker.shutdown().await;
    manager.shutdown().await;
    Ok(())
}
