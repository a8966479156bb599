//! What a store can do on this machine, over `mem://`, for each backend of this build:
//! `cargo run --release -p broker-store --all-features --example throughput`.
//!
//! Master puts are counted until a clone has them, clone puts until they are acknowledged; 64 writes are under way at
//! a time.

use std::error::Error;
use std::time::{Duration, Instant};

use broker_core::{Endpoint, MemNetwork, MemTransport};
use broker_store::{CloneOptions, FEATURE, MasterOptions, Store, StoreExt, open_backend};
use tokio::task::JoinSet;

const WRITERS: u64 = 64;
const LIMIT: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (default, wal, sled) = (path("default"), path("wal"), path("sled"));
    let wal = [
        ("path", wal.as_str()),
        ("journal_mode", "wal"),
        ("synchronous", "normal"),
    ];
    measure("memory", "memory", &[], 3000).await?;
    measure("sqlite", "sqlite", &[("path", &default)], 500).await?;
    measure("sqlite, WAL + normal", "sqlite", &wal, 2000).await?;
    measure("sled", "sled", &[("path", &sled)], 500).await
}

async fn measure(
    title: &str,
    kind: &str,
    options: &[(&str, &str)],
    each: u64,
) -> Result<(), Box<dyn Error>> {
    let backend = match open_backend(kind, options) {
        Ok(backend) => backend,
        Err(error) => {
            println!("{title}: {error}");
            return Ok(());
        }
    };
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
        .attach_master("s", backend, MasterOptions::default())
        .await?;
    let worker = node("worker");
    let clone = worker.attach_clone("s", CloneOptions::default()).await?;
    worker.peer("mem://manager".parse()?);
    assert!(clone.attached(LIMIT).await, "the clone finds its master");

    let start = Instant::now();
    puts(&master, 0, each).await?;
    clone.sync(LIMIT).await?;
    let master_puts = rate(WRITERS * each, start);
    let start = Instant::now();
    puts(&clone, WRITERS * each, each).await?;
    let clone_puts = rate(WRITERS * each, start);
    let start = Instant::now();
    for key in 0..WRITERS * each {
        assert!(clone.get_local(&key.into())?.is_some(), "what was put");
    }
    let gets = rate(WRITERS * each, start);
    println!(
        "{title}: {master_puts} master puts/s, {clone_puts} clone puts/s, {gets} clone reads/s"
    );
    worker.shutdown().await;
    manager.shutdown().await;
    Ok(())
}

/// `each` puts by each writer, of keys from `first` on.
async fn puts(store: &Store, first: u64, each: u64) -> Result<(), Box<dyn Error>> {
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let store = store.clone();
        writers.spawn(async move {
            for n in 0..each {
                store.put(first + writer * each + n, n, None).await?;
            }
            Ok::<_, broker_store::StoreError>(())
        });
    }
    while let Some(done) = writers.join_next().await {
        done??;
    }
    Ok(())
}

fn rate(count: u64, start: Instant) -> u64 {
    (count as f64 / start.elapsed().as_secs_f64()) as u64
}
