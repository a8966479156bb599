//! A backend that takes its time: the master stays alive for its clones, and says nothing that is not applied.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::mpsc;
use std::time::Duration;

use broker_core::{Data, Endpoint, MemNetwork, MemTransport, Timestamp};
use broker_store::{
    Backend, BackendError, CloneOptions, Entry, FEATURE, Freshness, MasterOptions, Memory,
    Mutation, StoreExt,
};

const LIMIT: Duration = Duration::from_secs(600);

/// Memory that tells when it is asked to apply something, and does it once it is let.
struct Gated {
    inner: Memory,
    asked: tokio::sync::mpsc::Sender<()>,
    gate: mpsc::Receiver<()>,
}

impl Backend for Gated {
    fn apply(&mut self, batch: &[Mutation]) -> Result<(), BackendError> {
        self.asked.try_send(()).map_err(BackendError::engine)?;
        self.gate.recv().map_err(BackendError::engine)?;
        self.inner.apply(batch)
    }

    fn get(&self, key: &Data) -> Result<Option<Entry>, BackendError> {
        self.inner.get(key)
    }

    fn scan(&self, after: Option<&Data>, limit: usize) -> Result<Vec<(Data, Entry)>, BackendError> {
        self.inner.scan(after, limit)
    }

    fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Data>, BackendError> {
        self.inner.due(now, limit)
    }

    fn note(&self, name: &str) -> Result<Option<Vec<u8>>, BackendError> {
        self.inner.note(name)
    }

    fn len(&self) -> Result<u64, BackendError> {
        self.inner.len()
    }

    fn name(&self) -> &'static str {
        "gated"
    }
}

#[tokio::test(start_paused = true)]
async fn a_master_whose_disk_stalls_is_not_given_up_and_acknowledges_nothing_meanwhile() {
    let network = MemNetwork::new();
    let node = |name| {
        Endpoint::builder()
            .name(name)
            .feature(FEATURE)
            .transport(MemTransport::new(&network))
            .start()
    };
    let (manager, worker) = (node("manager"), node("worker"));
    manager
        .listen(&"mem://manager".parse().unwrap())
        .await
        .unwrap();
    let (asked, mut asks) = tokio::sync::mpsc::channel(1);
    let (open, gate) = mpsc::channel();
    // The master first writes down who it is.
    open.send(()).unwrap();
    let backend = Gated {
        inner: Memory::new(),
        asked,
        gate,
    };
    let master = manager
        .attach_master(
            "s",
            backend,
            MasterOptions::default().request_timeout(LIMIT),
        )
        .await
        .unwrap();
    asks.recv().await.unwrap();
    let clone = worker
        .attach_clone("s", CloneOptions::default().request_timeout(LIMIT))
        .await
        .unwrap();
    worker
        .connect("mem://manager".parse().unwrap())
        .await
        .unwrap();
    assert!(clone.attached(LIMIT).await);

    let write = tokio::spawn({
        let clone = clone.clone();
        async move { clone.put("key", 1, None).await }
    });
    asks.recv().await.unwrap();
    // A clone of ours gives up a master that was silent for 5 s, a writer of C++ one that was for 50 s.
    for tick in 0..600 {
        tokio::time::advance(Duration::from_millis(100)).await;
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        assert_eq!(clone.freshness(), Freshness::Live, "at tick {tick}");
    }
    assert!(!write.is_finished(), "nothing is applied yet");
    assert_eq!(clone.get_local(&"key".into()).unwrap(), None);
    assert_eq!(master.len(), 0);

    open.send(()).unwrap();
    write.await.unwrap().unwrap();
    assert_eq!(clone.get_local(&"key".into()).unwrap(), Some(1.into()));
    assert_eq!(master.position().digest, clone.position().digest);
    drop(open);
    worker.shutdown().await;
    manager.shutdown().await;
}
