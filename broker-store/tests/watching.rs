//! Watching a store from a revision on.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::time::Duration;

use broker_core::{
    Data, Endpoint, MemNetwork, MemTransport, Revision, StoreChange, WatchItem, WatchKeys,
    WatchRequest,
};
use broker_store::{CloneOptions, FEATURE, MasterOptions, Memory, Store, StoreExt, StoreWatcher};

fn endpoint(network: &MemNetwork, name: &str) -> Endpoint {
    Endpoint::builder()
        .name(name)
        .feature(FEATURE)
        .transport(MemTransport::new(network))
        .start()
}

struct Site {
    _manager: Endpoint,
    _worker: Endpoint,
    master: Store,
    clone: Store,
}

async fn site() -> Site {
    let network = MemNetwork::new();
    let manager = endpoint(&network, "manager");
    let master = manager
        .attach_master("s", Memory::new(), MasterOptions::default())
        .await
        .unwrap();
    manager
        .listen(&"mem://manager".parse().unwrap())
        .await
        .unwrap();
    let worker = endpoint(&network, "worker");
    let clone = worker
        .attach_clone("s", CloneOptions::default())
        .await
        .unwrap();
    worker.peer("mem://manager".parse().unwrap());
    assert!(clone.attached(Duration::from_secs(10)).await);
    Site {
        _manager: manager,
        _worker: worker,
        master,
        clone,
    }
}

fn from(from: Option<Revision>) -> WatchRequest {
    WatchRequest {
        keys: WatchKeys::All,
        from,
    }
}

async fn position(watch: &mut StoreWatcher) -> Revision {
    match watch.recv().await {
        Some(WatchItem::Position(Some(at))) => at,
        other => panic!("no position: {other:?}"),
    }
}

/// The next changes, as a mirror of the store would take them.
async fn mirror(watch: &mut StoreWatcher, mirror: &mut BTreeMap<Data, Data>, until: Revision) {
    loop {
        match watch.recv().await.expect("it goes on") {
            WatchItem::Reset => mirror.clear(),
            WatchItem::Entry(entry) => {
                mirror.insert(entry.key, entry.value);
            }
            WatchItem::Position(Some(at)) if at >= until => return,
            WatchItem::Change { revision, change } => {
                match change {
                    StoreChange::Insert { key, value, .. } => mirror.insert(key, value),
                    StoreChange::Update { key, new, .. } => mirror.insert(key, new),
                    StoreChange::Erase { key } | StoreChange::Expire { key } => mirror.remove(&key),
                    other => panic!("{other:?}"),
                };
                if revision >= Some(until) {
                    return;
                }
            }
            _ => {}
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_comes_back_is_told_what_it_missed() {
    let site = site().await;
    for store in [&site.master, &site.clone] {
        let mut watch = store.watch(from(None)).await.unwrap();
        let begin = position(&mut watch).await;
        assert_eq!(Some(begin), store.revision());
        drop(watch);
        site.clone.put("a", 1u64, None).await.unwrap();
        site.clone.put("a", 2u64, None).await.unwrap();
        site.clone.erase("a").await.unwrap();
        let mut watch = store.watch(from(Some(begin))).await.unwrap();
        assert_eq!(position(&mut watch).await, begin);
        let mut changes = Vec::new();
        for _ in 0..3 {
            match watch.recv().await {
                Some(WatchItem::Change {
                    revision: Some(at), ..
                }) => changes.push(at.number - begin.number),
                other => panic!("no change: {other:?}"),
            }
        }
        assert_eq!(changes, [1, 2, 3]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_of_another_history_begins_with_everything() {
    let site = site().await;
    for n in 0..2000u64 {
        site.master.put(n, n, None).await.unwrap();
    }
    let strange = Revision {
        history: 1,
        number: 7,
    };
    for store in [&site.master, &site.clone] {
        let mut watch = store.watch(from(Some(strange))).await.unwrap();
        assert_eq!(watch.recv().await, Some(WatchItem::Reset));
        site.master.put(5u64, 6u64, None).await.unwrap();
        site.master.erase(1999u64).await.unwrap();
        let until = site.master.revision().unwrap();
        let mut copy = BTreeMap::new();
        mirror(&mut watch, &mut copy, until).await;
        assert_eq!(copy.len(), 1999);
        assert_eq!(copy[&5u64.into()], 6u64.into());
        site.master.put(1999u64, 1u64, None).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn only_the_keys_asked_for_are_told_and_the_position_moves_on_all_the_same() {
    let site = site().await;
    let keys = WatchKeys::Prefix("host-".into());
    let request = WatchRequest { keys, from: None };
    let mut watch = site.clone.watch(request).await.unwrap();
    let begin = position(&mut watch).await;
    site.master.put("other", 1u64, None).await.unwrap();
    assert_eq!(position(&mut watch).await.number, begin.number + 1);
    site.master.put("host-1", 1u64, None).await.unwrap();
    match watch.recv().await {
        Some(WatchItem::Change {
            revision: Some(at),
            change: StoreChange::Insert { key, .. },
        }) => assert_eq!((key, at.number), ("host-1".into(), begin.number + 2)),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_clear_is_gone_through_again_if_it_was_left_half_way() {
    let site = site().await;
    let mut copies = BTreeMap::new();
    for n in 0..5u64 {
        site.master.put(n, n, None).await.unwrap();
        copies.insert(Data::from(n), Data::from(n));
    }
    let mut watch = site.master.watch(from(None)).await.unwrap();
    let begin = position(&mut watch).await;
    site.master.clear().await.unwrap();
    let Some(WatchItem::Change { revision, .. }) = watch.recv().await else {
        panic!("the first of five")
    };
    assert_eq!(revision, Some(begin));
    drop(watch);
    let mut watch = site.master.watch(from(revision)).await.unwrap();
    let until = site.master.revision().unwrap();
    mirror(&mut watch, &mut copies, until).await;
    assert!(copies.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_clone_that_took_its_copy_anew_tells_the_difference() {
    let site = site().await;
    site.master.put("a", 1u64, None).await.unwrap();
    site.clone.sync(Duration::from_secs(5)).await.unwrap();
    let mut watch = site.clone.watch(from(None)).await.unwrap();
    let begin = position(&mut watch).await;
    let mut copy = BTreeMap::from([(Data::from("a"), Data::from(1u64))]);
    site._worker.unpeer(&"mem://manager".parse().unwrap()).await;
    // Longer than the master remembers the clone, so it has to take everything anew.
    tokio::time::sleep(Duration::from_secs(70)).await;
    site.master.put("b", 2u64, None).await.unwrap();
    site.master.erase("a").await.unwrap();
    site._worker.peer("mem://manager".parse().unwrap());
    let until = site.master.revision().unwrap();
    mirror(&mut watch, &mut copy, until).await;
    assert_eq!(copy, BTreeMap::from([("b".into(), 2u64.into())]));
    // From before it, everything is told.
    let mut again = site.clone.watch(from(Some(begin))).await.unwrap();
    assert_eq!(again.recv().await, Some(WatchItem::Reset));
}
