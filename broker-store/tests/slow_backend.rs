//! A backend that takes its time: the master stays alive for its clones, and says nothing that is not applied.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::time::Duration;

use broker_core::{Endpoint, MemNetwork, MemTransport};
use broker_store::{CloneOptions, FEATURE, Freshness, MasterOptions, StoreExt};

use support::gated;

const LIMIT: Duration = Duration::from_secs(600);

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
    let (backend, mut asks, open) = gated();
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
