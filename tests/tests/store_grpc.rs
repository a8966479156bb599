//! Stores over `grpc://`: a master and its clones on endpoints of their own, on loopback.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

use std::time::Duration;

use broker_core::{Data, Endpoint, ErrorCode, PeerUrl, Set};
use broker_store::{
    CloneOptions, FEATURE, Freshness, MasterOptions, Memory, Sqlite, SqliteOptions, Store,
    StoreError, StoreExt,
};
use broker_wire::GrpcTransport;

const LIMIT: Duration = Duration::from_secs(20);

fn endpoint(name: &str) -> Endpoint {
    Endpoint::builder()
        .name(name)
        .feature(FEATURE)
        .transport(GrpcTransport::new())
        .start()
}

async fn listen(endpoint: &Endpoint, url: &str) -> PeerUrl {
    endpoint.listen(&url.parse().unwrap()).await.unwrap()
}

async fn clone_of(url: &PeerUrl, name: &str) -> (Endpoint, Store) {
    let worker = endpoint(name);
    let clone = worker
        .attach_clone("s", CloneOptions::default())
        .await
        .unwrap();
    worker.peer(url.clone());
    assert!(clone.attached(LIMIT).await, "{name} finds the master");
    (worker, clone)
}

/// Waits until `clone` holds `value` at `key`, by its events.
async fn until(clone: &Store, key: &str, value: &Data) {
    let mut events = clone.events();
    let arrived = async {
        while clone.get(key).await.unwrap().as_ref() != Some(value) {
            events.recv().await.expect("running");
        }
    };
    tokio::time::timeout(LIMIT, arrived).await.expect("in time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clones_hold_what_the_master_holds_and_hear_its_errors() {
    let manager = endpoint("manager");
    let url = listen(&manager, "grpc://127.0.0.1:0").await;
    let master = manager
        .attach_master("s", Memory::new(), MasterOptions::default())
        .await
        .unwrap();
    let (_left, left) = clone_of(&url, "left").await;
    let (_right, right) = clone_of(&url, "right").await;

    let mut writers = Vec::new();
    for (offset, store) in [(0, left.clone()), (1, right.clone()), (2, master.clone())] {
        for task in 0..8u64 {
            let store = store.clone();
            writers.push(tokio::spawn(async move {
                for n in 0..50u64 {
                    store
                        .put(
                            Data::vector([offset, task, n]),
                            "x".repeat(n as usize),
                            None,
                        )
                        .await
                        .unwrap();
                    store.increment("sum", 1u64, None).await.unwrap();
                }
            }));
        }
    }
    for writer in writers {
        writer.await.unwrap();
    }
    for clone in [&left, &right] {
        clone.sync(LIMIT).await.unwrap();
        assert_eq!(clone.len(), 1201);
        assert_eq!(clone.get_local(&"sum".into()), Ok(Some(1200u64.into())));
        assert_eq!(clone.revision(), master.revision());
        assert_eq!(clone.scan(None, 4096).await, master.scan(None, 4096).await);
    }
    assert_eq!(
        left.increment("sum", "text", None).await,
        Err(StoreError::Refused(ErrorCode::TypeClash))
    );
    assert_eq!(
        right.pop("missing", None).await,
        Err(StoreError::Refused(ErrorCode::NoSuchKey))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clone_catches_up_after_its_peering_was_cut() {
    let manager = endpoint("manager");
    let url = listen(&manager, "grpc://127.0.0.1:0").await;
    let master = manager
        .attach_master("s", Memory::new(), MasterOptions::default())
        .await
        .unwrap();
    let (worker, clone) = clone_of(&url, "worker").await;
    clone.put("before", 1u64, None).await.unwrap();
    assert!(worker.unpeer(&url).await);
    master.put("meanwhile", 2u64, None).await.unwrap();
    assert_eq!(clone.get("before").await, Ok(Some(1u64.into())));
    assert_eq!(clone.get("meanwhile").await, Ok(None));
    // It waits here until the peering is back.
    let late = tokio::spawn({
        let clone = clone.clone();
        async move { clone.increment("before", 1u64, None).await }
    });
    worker.peer(url);
    until(&clone, "meanwhile", &2u64.into()).await;
    late.await.unwrap().unwrap();
    assert_eq!(master.get("before").await, Ok(Some(2u64.into())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_sqlite_master_is_followed_with_its_content() {
    let dir = tempfile::tempdir().unwrap();
    let options = SqliteOptions::new(dir.path().join("s.sqlite"));
    let manager = endpoint("manager");
    let url = listen(&manager, "grpc://127.0.0.1:0").await;
    manager
        .attach_master(
            "s",
            Sqlite::open(&options).unwrap(),
            MasterOptions::default(),
        )
        .await
        .unwrap();
    let (_worker, clone) = clone_of(&url, "worker").await;
    for n in 0..20u64 {
        clone.insert_into("set", n, None).await.unwrap();
    }
    manager.shutdown().await;

    let manager = endpoint("manager");
    let master = manager
        .attach_master(
            "s",
            Sqlite::open(&options).unwrap(),
            MasterOptions::default(),
        )
        .await
        .unwrap();
    master.put("generation", 2u64, None).await.unwrap();
    listen(&manager, &url.to_string()).await;
    until(&clone, "generation", &2u64.into()).await;
    assert_eq!(
        clone.get("set").await,
        Ok(Some((0..20u64).collect::<Set>().into()))
    );
    clone.put("after", 3u64, None).await.unwrap();
    assert_eq!(master.get("after").await, Ok(Some(3u64.into())));
    assert_eq!(clone.freshness(), Freshness::Live);
}
