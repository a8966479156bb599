//! `await_idle`: it resolves when all writes before it are answered and here, not sooner, and says so if that takes too
//! long.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::sync::mpsc;
use std::time::Duration;

use broker_core::{Endpoint, ErrorCode, MemNetwork, MemTransport};
use broker_store::{CloneOptions, FEATURE, MasterOptions, Store, StoreError, StoreExt};
use support::gated;
use tokio::task::JoinHandle;

const LIMIT: Duration = Duration::from_secs(30);

/// A master whose backend waits to be let, and a clone of it.
struct Gate {
    manager: Endpoint,
    worker: Endpoint,
    master: Store,
    clone: Store,
    asks: tokio::sync::mpsc::Receiver<()>,
    open: mpsc::Sender<()>,
}

fn node(network: &MemNetwork, name: &str) -> Endpoint {
    Endpoint::builder()
        .name(name)
        .feature(FEATURE)
        .transport(MemTransport::new(network))
        .start()
}

impl Gate {
    async fn new() -> Self {
        let network = MemNetwork::new();
        let (manager, worker) = (node(&network, "manager"), node(&network, "worker"));
        manager
            .listen(&"mem://manager".parse().unwrap())
            .await
            .unwrap();
        let (backend, mut asks, open) = gated();
        let options = MasterOptions::default().request_timeout(LIMIT);
        let master = manager.attach_master("s", backend, options).await.unwrap();
        asks.recv().await.unwrap();
        let options = CloneOptions::default().request_timeout(LIMIT);
        let clone = worker.attach_clone("s", options).await.unwrap();
        worker
            .connect("mem://manager".parse().unwrap())
            .await
            .unwrap();
        assert!(clone.attached(LIMIT).await);
        Self {
            manager,
            worker,
            master,
            clone,
            asks,
            open,
        }
    }

    /// Lets time pass while the backend waits.
    async fn pass(&self, time: Duration) {
        let step = Duration::from_millis(100);
        for _ in 0..time.as_millis() / step.as_millis() {
            tokio::time::advance(step).await;
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Lets the backend do all it is asked from now on.
    fn open(&mut self) {
        for _ in 0..1000 {
            self.open.send(()).unwrap();
        }
        let mut asks = std::mem::replace(&mut self.asks, tokio::sync::mpsc::channel(1).1);
        tokio::spawn(async move { while asks.recv().await.is_some() {} });
    }

    async fn end(self) {
        self.worker.shutdown().await;
        self.manager.shutdown().await;
    }
}

fn write(store: &Store, keys: std::ops::Range<u64>) -> Vec<JoinHandle<Result<(), StoreError>>> {
    keys.map(|key| {
        let store = store.clone();
        tokio::spawn(async move { store.put(key, key, None).await })
    })
    .collect()
}

fn idle(store: &Store) -> JoinHandle<Result<(), StoreError>> {
    let store = store.clone();
    tokio::spawn(async move { store.await_idle().await })
}

#[tokio::test(start_paused = true)]
async fn a_clone_is_idle_when_every_write_is_echoed_and_not_before() {
    let mut gate = Gate::new().await;
    assert_eq!(gate.clone.await_idle().await, Ok(()), "nothing was written");
    let writes = write(&gate.clone, 0..100);
    gate.asks.recv().await.unwrap();
    let idle = idle(&gate.clone);
    gate.pass(LIMIT / 2).await;
    assert!(!idle.is_finished() && gate.clone.is_empty());
    gate.open();
    idle.await.unwrap().unwrap();
    // All of them are here by then, without waiting for anything more.
    for key in 0..100u64 {
        assert_eq!(gate.clone.get_local(&key.into()), Ok(Some(key.into())));
    }
    for write in writes {
        write.await.unwrap().unwrap();
    }
    gate.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_master_is_idle_when_every_write_is_applied_and_not_before() {
    let mut gate = Gate::new().await;
    assert_eq!(
        gate.master.await_idle().await,
        Ok(()),
        "nothing was written"
    );
    let writes = write(&gate.master, 0..100);
    gate.asks.recv().await.unwrap();
    let idle = idle(&gate.master);
    gate.pass(LIMIT / 2).await;
    assert!(!idle.is_finished() && gate.master.is_empty());
    gate.open();
    idle.await.unwrap().unwrap();
    assert_eq!(gate.master.len(), 100);
    for write in writes {
        write.await.unwrap().unwrap();
    }
    gate.end().await;
}

#[tokio::test(start_paused = true)]
async fn both_say_when_it_takes_too_long() {
    let mut gate = Gate::new().await;
    let mut writes = write(&gate.clone, 0..1);
    gate.asks.recv().await.unwrap();
    writes.extend(write(&gate.master, 1..2));
    let waiting = [idle(&gate.clone), idle(&gate.master)];
    gate.pass(LIMIT + Duration::from_secs(1)).await;
    for idle in waiting {
        let error = idle.await.unwrap().unwrap_err();
        assert_eq!(error, StoreError::TimedOut(LIMIT));
        assert_eq!(error.code(), ErrorCode::RequestTimeout);
        assert_eq!(
            error.to_string(),
            "request_timeout: no answer from the master within 30s"
        );
    }
    // The writes were told the same, and are done all the same.
    for write in writes {
        assert_eq!(write.await.unwrap(), Err(StoreError::TimedOut(LIMIT)));
    }
    gate.open();
    gate.clone.sync(LIMIT).await.unwrap();
    assert_eq!(
        (gate.master.await_idle().await, gate.master.len()),
        (Ok(()), 2)
    );
    assert_eq!(
        (gate.clone.await_idle().await, gate.clone.len()),
        (Ok(()), 2)
    );
    gate.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_clone_without_a_master_is_idle_until_it_is_written_to() {
    let network = MemNetwork::new();
    let worker = node(&network, "worker");
    let clone = worker
        .attach_clone("s", CloneOptions::default().request_timeout(LIMIT))
        .await
        .unwrap();
    assert_eq!(clone.await_idle().await, Ok(()));
    let writes = write(&clone, 0..1);
    tokio::task::yield_now().await;
    assert_eq!(clone.await_idle().await, Err(StoreError::TimedOut(LIMIT)));
    for write in writes {
        assert_eq!(write.await.unwrap(), Err(StoreError::TimedOut(LIMIT)));
    }
    worker.shutdown().await;
    assert_eq!(clone.await_idle().await, Err(StoreError::Closed));
}
