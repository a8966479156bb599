//! Masters whose storage outlives them: restarts, deadlines that pass meanwhile, and files that refuse.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::Path;
use std::time::Duration;

use broker_core::{Data, Endpoint, ErrorCode, MemNetwork, MemTransport, Set};
use broker_store::{
    AttachError, BackendError, CloneOptions, FEATURE, JournalMode, MasterOptions, Sqlite,
    SqliteOptions, Store, StoreError, StoreExt, Synchronous, open_backend,
};

fn endpoint(network: &MemNetwork, name: &str) -> Endpoint {
    Endpoint::builder()
        .name(name)
        .feature(FEATURE)
        .transport(MemTransport::new(network))
        .start()
}

async fn master(network: &MemNetwork, file: &Path) -> (Endpoint, Store) {
    let node = endpoint(network, "manager");
    let options = SqliteOptions::new(file)
        .journal_mode(JournalMode::Wal)
        .synchronous(Synchronous::Normal);
    let store = node
        .attach_master(
            "s",
            Sqlite::open(&options).unwrap(),
            MasterOptions::default(),
        )
        .await
        .unwrap();
    node.listen(&"mem://manager".parse().unwrap())
        .await
        .unwrap();
    (node, store)
}

#[tokio::test(start_paused = true)]
async fn what_was_acknowledged_is_there_after_a_restart_and_clones_follow() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("s.sqlite");
    let network = MemNetwork::new();
    let (manager, store) = master(&network, &file).await;
    assert_eq!(store.backend(), "sqlite");
    let worker = endpoint(&network, "worker");
    let clone = worker
        .attach_clone("s", CloneOptions::default())
        .await
        .unwrap();
    worker.peer("mem://manager".parse().unwrap());
    for n in 0..100u64 {
        clone.put(n, n, None).await.unwrap();
    }
    store
        .put("short", 1u64, Some(Duration::from_millis(1)))
        .await
        .unwrap();
    store
        .put("long", 1u64, Some(Duration::from_secs(3600)))
        .await
        .unwrap();
    manager.shutdown().await;
    assert!(store.is_closed());
    assert_eq!(store.get("long").await, Err(StoreError::Closed));

    let (_manager, store) = master(&network, &file).await;
    assert!(store.get(7u64).await.unwrap() == Some(7u64.into()) && store.len() >= 101);
    clone.increment(7u64, 1u64, None).await.unwrap();
    clone.sync(Duration::from_secs(10)).await.unwrap();
    assert_eq!(clone.get_local(&7u64.into()), Ok(Some(8u64.into())));
    while store.exists("short").await.unwrap() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let long = store
        .scan(None, 4096)
        .await
        .unwrap()
        .into_iter()
        .find(|entry| entry.key == "long".into())
        .unwrap();
    assert!(long.expires_in.unwrap() > Duration::from_secs(3000));
    assert_eq!(store.len(), 101);
}

#[tokio::test]
async fn writers_of_many_tasks_share_transactions_and_all_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("s.sqlite");
    let network = MemNetwork::new();
    let (manager, store) = master(&network, &file).await;
    let tasks: Vec<_> = (0..16u64)
        .map(|task| {
            let store = store.clone();
            tokio::spawn(async move {
                for n in 0..50u64 {
                    store.increment("sum", 1u64, None).await.unwrap();
                    store.insert_into(Data::from(task), n, None).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(store.get("sum").await, Ok(Some(800u64.into())));
    manager.shutdown().await;
    let (_manager, store) = master(&network, &file).await;
    assert_eq!(store.get("sum").await, Ok(Some(800u64.into())));
    assert_eq!(
        store.get(3u64).await,
        Ok(Some((0..50u64).collect::<Set>().into()))
    );
}

#[tokio::test]
async fn a_file_that_cannot_be_written_fails_the_write_and_the_node_stays() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("s.sqlite");
    let network = MemNetwork::new();
    let node = endpoint(&network, "manager");
    let store = node
        .attach_master(
            "s",
            Sqlite::open(&SqliteOptions::new(&file)).unwrap(),
            MasterOptions::default(),
        )
        .await
        .unwrap();
    store.put("k", 1u64, None).await.unwrap();
    // What another program could do to the file.
    let intruder = rusqlite::Connection::open(&file).unwrap();
    intruder
        .execute_batch("ALTER TABLE store RENAME TO elsewhere")
        .unwrap();
    let error = store.put("k", 2u64, None).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::BackendFailure);
    assert!(error.to_string().contains("no such table"), "{error}");
    intruder
        .execute_batch("ALTER TABLE elsewhere RENAME TO store")
        .unwrap();
    assert_eq!(store.get("k").await, Ok(Some(1u64.into())));
    store.put("k", 3u64, None).await.unwrap();
    assert!(!node.is_shutting_down());
}

#[tokio::test]
async fn a_wrong_option_or_file_refuses_the_attach() {
    let dir = tempfile::tempdir().unwrap();
    let wrong = open_backend("sqlite", &[("path", "x"), ("journal_mode", "memory")]).map(|_| ());
    let error: AttachError = wrong.unwrap_err().into();
    assert_eq!(error.code(), ErrorCode::BackendFailure);
    let directory = open_backend("sqlite", &[("path", dir.path().to_str().unwrap())]).map(|_| ());
    assert!(matches!(directory, Err(BackendError::Open { .. })));
}
