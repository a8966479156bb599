//! Requests that do not wait and their mailbox, at a master, a clone and a handle without a copy.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use broker_core::{
    Data, Endpoint, ErrorCode, MemNetwork, MemTransport, Set, StoreOperation, StoreReply,
};
use broker_store::{
    CloneOptions, FEATURE, MasterOptions, Memory, ProxyError, Store, StoreError, StoreExt,
    StoreProxy,
};

const LIMIT: Duration = Duration::from_secs(10);

fn endpoint(network: &MemNetwork, name: &str) -> Endpoint {
    Endpoint::builder()
        .name(name)
        .feature(FEATURE)
        .transport(MemTransport::new(network))
        .start()
}

/// A node with a master, and a node with a clone of it.
async fn pair() -> (Endpoint, Store, Endpoint, Store) {
    let network = MemNetwork::new();
    let manager = endpoint(&network, "manager");
    manager
        .listen(&"mem://manager".parse().unwrap())
        .await
        .unwrap();
    let master = manager
        .attach_master("s", Memory::new(), MasterOptions::default())
        .await
        .unwrap();
    let worker = endpoint(&network, "worker");
    let clone = worker
        .attach_clone("s", CloneOptions::default())
        .await
        .unwrap();
    worker.peer("mem://manager".parse().unwrap());
    assert!(clone.attached(LIMIT).await);
    (manager, master, worker, clone)
}

async fn answers(proxy: &StoreProxy) -> BTreeMap<u64, Result<StoreReply, StoreError>> {
    let mut answers = BTreeMap::new();
    while !proxy.is_idle() {
        let response = proxy.recv().await.unwrap();
        assert_eq!(answers.insert(response.id, response.result), None, "twice");
    }
    answers
}

fn value(value: impl Into<Data>) -> Result<StoreReply, StoreError> {
    Ok(StoreReply::Value(value.into()))
}

/// Every kind of request, and what it is answered with.
async fn every_request(store: &Store) {
    let proxy = store.proxy();
    let ids = [
        proxy.put("k", 1u64, None).unwrap(),
        proxy.put_unique("k", 2u64, None).unwrap(),
        proxy
            .put_unique("u", 2u64, Some(Duration::from_secs(60)))
            .unwrap(),
        proxy.increment("k", 4u64, None).unwrap(),
        proxy.decrement("missing", 4u64, None).unwrap(),
        proxy
            .compare_and_set("k", Some(5u64.into()), Some(6u64.into()), None)
            .unwrap(),
        proxy
            .execute(StoreOperation::Push {
                key: "v".into(),
                value: "x".into(),
                expiry: None,
            })
            .unwrap(),
    ];
    assert_eq!(ids, [1, 2, 3, 4, 5, 6, 7], "numbered as they were made");
    let written = answers(&proxy).await;
    let expected = [
        Ok(StoreReply::Done),
        value(false),
        value(true),
        Ok(StoreReply::Done),
        Err(StoreError::Refused(ErrorCode::NoSuchKey)),
        value(true),
        Ok(StoreReply::Done),
    ];
    assert_eq!(written.into_values().collect::<Vec<_>>(), expected);

    proxy.get("k").unwrap();
    proxy.get("missing").unwrap();
    proxy.exists("u").unwrap();
    proxy.keys().unwrap();
    proxy.get_index_from_value("v", 0u64).unwrap();
    let read = answers(&proxy).await;
    let expected = [
        value(6u64),
        Err(StoreError::Refused(ErrorCode::NoSuchKey)),
        value(true),
        value(["k", "u", "v"].map(Data::from).into_iter().collect::<Set>()),
        value("x"),
    ];
    assert_eq!(read.into_values().collect::<Vec<_>>(), expected);

    proxy.erase("u").unwrap();
    proxy.clear().unwrap();
    assert!(
        answers(&proxy)
            .await
            .into_values()
            .all(|done| done == Ok(StoreReply::Done))
    );
    assert!(proxy.is_empty() && proxy.try_recv().is_none());
    assert_eq!(store.get("k").await, Ok(None));
}

#[tokio::test]
async fn a_master_answers_every_request_with_its_number() {
    let (manager, master, worker, _) = pair().await;
    every_request(&master).await;
    worker.shutdown().await;
    manager.shutdown().await;
}

#[tokio::test]
async fn a_clone_answers_every_request_with_its_number() {
    let (manager, _, worker, clone) = pair().await;
    every_request(&clone).await;
    worker.shutdown().await;
    manager.shutdown().await;
}

#[tokio::test]
async fn a_handle_without_a_copy_answers_every_request_with_its_number() {
    let network = MemNetwork::new();
    let manager = endpoint(&network, "manager");
    manager
        .listen(&"mem://manager".parse().unwrap())
        .await
        .unwrap();
    manager
        .attach_master("s", Memory::new(), MasterOptions::default())
        .await
        .unwrap();
    let tool = endpoint(&network, "tool");
    let peer = tool
        .connect("mem://manager".parse().unwrap())
        .await
        .unwrap();
    let store = tool
        .open_remote(peer, "s", LIMIT, CloneOptions::default())
        .await
        .unwrap();
    every_request(&store).await;
    tool.shutdown().await;
    manager.shutdown().await;
}

#[tokio::test]
async fn one_task_has_thousands_of_writes_under_way_and_they_are_done_in_order() {
    let (manager, master, worker, clone) = pair().await;
    let proxy = clone.proxy_with(NonZeroUsize::new(2000).unwrap());
    let (mut made, mut last) = (0u64, 0u64);
    while made < 20_000 {
        match proxy.put("same", made, None) {
            Ok(id) => {
                made += 1;
                assert_eq!(id, made);
            }
            Err(ProxyError::Full) => {
                let response = proxy.recv().await.unwrap();
                assert_eq!(response.result, Ok(StoreReply::Done));
                assert_eq!(response.id, last + 1, "in order");
                last = response.id;
            }
            Err(error) => panic!("{error}"),
        }
        assert!(proxy.waiting() + proxy.len() <= 2000);
    }
    assert_eq!(answers(&proxy).await.len() as u64, made - last);
    assert_eq!(master.get("same").await, Ok(Some(19_999u64.into())));
    assert_eq!(clone.get("same").await, Ok(Some(19_999u64.into())));
    worker.shutdown().await;
    manager.shutdown().await;
}

#[tokio::test]
async fn a_full_proxy_refuses_and_has_room_again_once_an_answer_is_taken() {
    let (manager, master, worker, _) = pair().await;
    let proxy = master.proxy_with(NonZeroUsize::MIN);
    proxy.put("k", 1u64, None).unwrap();
    assert_eq!(proxy.put("k", 2u64, None), Err(ProxyError::Full));
    let other = proxy.clone();
    let room = tokio::spawn(async move { other.room().await });
    assert!(proxy.recv().await.is_some());
    assert_eq!(room.await.unwrap(), Ok(()));
    assert_eq!(proxy.put("k", 3u64, None), Ok(2));
    worker.shutdown().await;
    manager.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_write_that_finds_no_master_is_answered_within_its_time() {
    let network = MemNetwork::new();
    let worker = endpoint(&network, "worker");
    let options = CloneOptions::default();
    let clone = worker.attach_clone("s", options).await.unwrap();
    let proxy = clone.proxy();
    proxy.put("k", 1u64, None).unwrap();
    proxy.get("k").unwrap();
    let answers = answers(&proxy).await;
    assert!(answers[&1].is_err(), "{answers:?}");
    assert_eq!(answers[&2], Err(StoreError::Stale));
    worker.shutdown().await;
}

#[tokio::test]
async fn a_closed_store_answers_what_it_has_and_then_ends() {
    let (manager, master, worker, clone) = pair().await;
    let proxies = [master.proxy(), clone.proxy()];
    for proxy in &proxies {
        proxy.put("k", 1u64, None).unwrap();
    }
    let waiting = proxies[0].clone();
    worker.shutdown().await;
    manager.shutdown().await;
    for proxy in &proxies {
        let response = proxy.recv().await.unwrap();
        let expected = [Ok(StoreReply::Done), Err(StoreError::Closed)];
        assert!(
            expected.contains(&response.result) || response.result == Err(StoreError::Unanswered),
            "{response:?}"
        );
        assert_eq!(proxy.recv().await, None);
        assert_eq!(proxy.get("k").err(), Some(ProxyError::Closed));
    }
    assert_eq!(waiting.recv().await, None);
}
