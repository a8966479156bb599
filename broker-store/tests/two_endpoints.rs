//! Stores on several endpoints in one process, over `mem://`.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use broker_core::topic::reserved;
use broker_core::{
    CopyOutcome, Data, Endpoint, EndpointId, ErrorCode, Filter, MemNetwork, MemTransport, PeerUrl,
    QueueOptions, Set, StoreEntry, StoreFailure, StoreOperation, StoreReply, Topic, WatchRequest,
};
use broker_store::conformance::fails_nth;
use broker_store::{
    AttachError, CloneOptions, FEATURE, Freshness, MasterOptions, Memory, Role, Store, StoreError,
    StoreEvent, StoreExt,
};

const LIMIT: Duration = Duration::from_secs(10);

fn endpoint(network: &MemNetwork, name: &str, features: &[&str]) -> Endpoint {
    let builder = Endpoint::builder()
        .name(name)
        .transport(MemTransport::new(network));
    features
        .iter()
        .fold(builder, |builder, feature| builder.feature(*feature))
        .start()
}

fn url(name: &str) -> PeerUrl {
    format!("mem://{name}").parse().unwrap()
}

/// A node with a master and nodes with clones, connected to it.
struct Cluster {
    network: MemNetwork,
    manager: Endpoint,
    master: Store,
    workers: Vec<Endpoint>,
    clones: Vec<Store>,
}

impl Cluster {
    async fn new(clones: usize) -> Self {
        Self::with(clones, &[FEATURE]).await
    }

    async fn with(clones: usize, features: &[&str]) -> Self {
        let network = MemNetwork::new();
        let manager = endpoint(&network, "manager", features);
        manager.listen(&url("manager")).await.unwrap();
        let master = manager
            .attach_master("s", Memory::new(), MasterOptions::default())
            .await
            .unwrap();
        let mut cluster = Self {
            network,
            manager,
            master,
            workers: Vec::new(),
            clones: Vec::new(),
        };
        for n in 0..clones {
            let worker = endpoint(&cluster.network, &format!("worker-{n}"), features);
            let clone = worker
                .attach_clone("s", CloneOptions::default())
                .await
                .unwrap();
            worker.peer(url("manager"));
            assert!(clone.attached(LIMIT).await);
            cluster.workers.push(worker);
            cluster.clones.push(clone);
        }
        cluster
    }
}

async fn same(left: &Store, right: &Store) -> bool {
    let page = |store: Store| async move {
        store
            .scan(None, 4096)
            .await
            .unwrap()
            .into_iter()
            .map(|entry| (entry.key, entry.value))
            .collect::<Vec<_>>()
    };
    page(left.clone()).await == page(right.clone()).await
}

#[tokio::test(start_paused = true)]
async fn every_operation_of_a_clone_reads_its_own_write() {
    let cluster = Cluster::new(1).await;
    let clone = &cluster.clones[0];
    assert_eq!(
        (clone.role(), cluster.master.role()),
        (Role::Clone, Role::Master)
    );
    clone.put("k", 1u64, None).await.unwrap();
    assert_eq!(clone.get("k").await, Ok(Some(1u64.into())));
    assert_eq!(clone.get_local(&"k".into()), Ok(Some(1u64.into())));
    assert_eq!(clone.get("missing").await, Ok(None));
    assert_eq!(clone.put_unique("k", 2u64, None).await, Ok(false));
    assert_eq!(clone.put_unique("u", 2u64, None).await, Ok(true));
    clone.increment("k", 5u64, None).await.unwrap();
    clone.decrement("k", 2u64, None).await.unwrap();
    assert_eq!(clone.get("k").await, Ok(Some(4u64.into())));
    clone.append("t", "ab", None).await.unwrap();
    clone.append("t", "cd", None).await.unwrap();
    assert_eq!(clone.get("t").await, Ok(Some("abcd".into())));
    clone.insert_into("set", 1u64, None).await.unwrap();
    clone.insert_into("set", 2u64, None).await.unwrap();
    clone.remove_from("set", 1u64, None).await.unwrap();
    assert_eq!(
        clone.get("set").await,
        Ok(Some(Set::from_iter([2u64]).into()))
    );
    clone
        .insert_into_table("table", "a", 1u64, None)
        .await
        .unwrap();
    assert_eq!(
        clone.get_index_from_value("table", "a").await,
        Ok(Some(1u64.into()))
    );
    assert_eq!(clone.get_index_from_value("table", "b").await, Ok(None));
    clone.push("v", "x", None).await.unwrap();
    clone.push("v", "y", None).await.unwrap();
    clone.pop("v", None).await.unwrap();
    assert_eq!(clone.get("v").await, Ok(Some(Data::vector(["x"]))));
    assert_eq!(clone.exists("v").await, Ok(true));
    clone.erase("v").await.unwrap();
    assert_eq!(clone.exists("v").await, Ok(false));
    assert_eq!(
        clone.keys().await,
        Ok(Set::from_iter(["k", "u", "t", "set", "table"]))
    );
    assert!(same(clone, &cluster.master).await);
    assert_eq!((clone.len(), cluster.master.len()), (5, 5));
    clone.clear().await.unwrap();
    assert!(clone.is_empty() && cluster.master.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_masters_error_reaches_a_caller_at_the_clone() {
    let cluster = Cluster::new(1).await;
    let clone = &cluster.clones[0];
    clone.put("text", "x", None).await.unwrap();
    assert_eq!(
        clone.increment("text", 1u64, None).await,
        Err(StoreError::Refused(ErrorCode::TypeClash))
    );
    assert_eq!(
        clone.decrement("missing", 1u64, None).await,
        Err(StoreError::Refused(ErrorCode::NoSuchKey))
    );
    assert_eq!(
        clone.put(f64::NAN, 1u64, None).await,
        Err(StoreError::Refused(ErrorCode::InvalidData))
    );
    assert_eq!(
        cluster.master.increment("text", 1u64, None).await,
        Err(StoreError::Refused(ErrorCode::TypeClash))
    );
}

#[tokio::test(start_paused = true)]
async fn a_storage_failure_reaches_a_caller_at_the_clone_and_nothing_is_echoed() {
    let network = MemNetwork::new();
    let manager = endpoint(&network, "manager", &[FEATURE]);
    manager.listen(&url("manager")).await.unwrap();
    // The first write is the master's own, about who it is.
    let failing = fails_nth(Memory::new(), 3);
    manager
        .attach_master("s", failing, MasterOptions::default())
        .await
        .unwrap();
    let worker = endpoint(&network, "worker", &[FEATURE]);
    let clone = worker
        .attach_clone("s", CloneOptions::default())
        .await
        .unwrap();
    worker.peer(url("manager"));
    clone.put("a", 1u64, None).await.unwrap();
    assert_eq!(
        clone.put("a", 2u64, None).await,
        Err(StoreError::Backend {
            report: String::new()
        })
    );
    assert_eq!(clone.get("a").await, Ok(Some(1u64.into())));
    clone.put("a", 3u64, None).await.unwrap();
    assert_eq!(clone.get("a").await, Ok(Some(3u64.into())));
}

#[tokio::test(start_paused = true)]
async fn without_the_feature_a_write_is_answered_by_its_echo() {
    let cluster = Cluster::with(1, &[]).await;
    let clone = &cluster.clones[0];
    clone.put("k", 1u64, None).await.unwrap();
    clone.increment("k", 1u64, None).await.unwrap();
    assert_eq!(clone.get("k").await, Ok(Some(2u64.into())));
    clone.erase("missing").await.unwrap();
    assert_eq!(clone.put_unique("k", 1u64, None).await, Ok(false));
    let failed = clone.increment("k", "text", None).await;
    assert_eq!(failed, Err(StoreError::NotEchoed));
    assert_eq!(failed.unwrap_err().code(), ErrorCode::RequestTimeout);
    clone.sync(LIMIT).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn all_clones_come_to_hold_what_any_of_them_wrote() {
    let cluster = Cluster::new(3).await;
    let mut tasks = Vec::new();
    for (n, clone) in cluster.clones.iter().cloned().enumerate() {
        tasks.push(tokio::spawn(async move {
            for i in 0..200u64 {
                clone.increment("sum", 1u64, None).await.unwrap();
                clone
                    .put(Data::vector([n as u64, i]), i, None)
                    .await
                    .unwrap();
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    for clone in &cluster.clones {
        clone.sync(LIMIT).await.unwrap();
        assert_eq!(clone.get_local(&"sum".into()), Ok(Some(600u64.into())));
        assert_eq!(clone.len(), 601);
        assert!(same(clone, &cluster.master).await);
        assert_eq!(clone.revision(), cluster.master.revision());
    }
}

#[tokio::test(start_paused = true)]
async fn put_unique_is_granted_once_whoever_asks() {
    let cluster = Cluster::new(3).await;
    let mut granted = 0;
    let mut tasks = Vec::new();
    for clone in cluster.clones.iter().chain([&cluster.master]) {
        let clone = clone.clone();
        tasks.push(tokio::spawn(async move {
            clone.put_unique("lock", clone.name(), None).await.unwrap()
        }));
    }
    for task in tasks {
        granted += u32::from(task.await.unwrap());
    }
    assert_eq!(granted, 1);
}

#[tokio::test(start_paused = true)]
async fn keys_expire_everywhere_at_once() {
    let cluster = Cluster::new(2).await;
    let [a, b] = &cluster.clones[..] else {
        unreachable!()
    };
    let mut events = b.events();
    a.put("short", 1u64, Some(Duration::from_secs(1)))
        .await
        .unwrap();
    a.put("kept", 1u64, Some(Duration::from_secs(1)))
        .await
        .unwrap();
    a.put("kept", 2u64, None).await.unwrap();
    let entry = cluster
        .master
        .scan(None, 9)
        .await
        .unwrap()
        .into_iter()
        .find(|entry| entry.key == "short".into())
        .unwrap();
    assert!(
        matches!(entry, StoreEntry { expires_in: Some(left), .. } if left <= Duration::from_secs(1))
    );
    loop {
        let event = events.recv().await.unwrap();
        if let StoreEvent::Expire { key, .. } = &*event {
            assert_eq!(*key, "short".into());
            break;
        }
    }
    a.sync(LIMIT).await.unwrap();
    for store in [a, b, &cluster.master] {
        assert_eq!(store.keys().await, Ok(Set::from_iter(["kept"])));
    }
}

#[tokio::test(start_paused = true)]
async fn a_clone_waits_for_a_master_that_comes_later() {
    let network = MemNetwork::new();
    let worker = endpoint(&network, "worker", &[FEATURE]);
    let clone = worker
        .attach_clone(
            "s",
            CloneOptions::default().get_delay(Duration::from_millis(300)),
        )
        .await
        .unwrap();
    worker.peer(url("manager"));
    assert_eq!(clone.get("k").await, Err(StoreError::Stale));
    assert_eq!(clone.freshness(), Freshness::Empty);
    let writing = tokio::spawn({
        let clone = clone.clone();
        async move { clone.put("k", 1u64, None).await }
    });
    let manager = endpoint(&network, "manager", &[FEATURE]);
    let master = manager
        .attach_master("s", Memory::new(), MasterOptions::default())
        .await
        .unwrap();
    manager.listen(&url("manager")).await.unwrap();
    writing.await.unwrap().unwrap();
    assert_eq!(master.get("k").await, Ok(Some(1u64.into())));
    assert_eq!(clone.get("k").await, Ok(Some(1u64.into())));
}

#[tokio::test(start_paused = true)]
async fn a_write_without_a_master_times_out_and_says_so() {
    let network = MemNetwork::new();
    let worker = endpoint(&network, "worker", &[FEATURE]);
    let options = CloneOptions::default().request_timeout(Duration::from_secs(3));
    let clone = worker.attach_clone("s", options).await.unwrap();
    let error = clone.put("k", 1u64, None).await.unwrap_err();
    assert_eq!(error, StoreError::TimedOut(Duration::from_secs(3)));
    assert_eq!(error.code(), ErrorCode::RequestTimeout);
}

#[tokio::test(start_paused = true)]
async fn a_clone_follows_a_master_that_was_restarted() {
    let Cluster {
        network,
        manager,
        workers,
        clones,
        ..
    } = Cluster::new(1).await;
    let clone = &clones[0];
    clone.put("old", 1u64, None).await.unwrap();
    manager.shutdown().await;
    assert_eq!(
        clone.get("old").await,
        Ok(Some(1u64.into())),
        "the old content can be read meanwhile"
    );
    let mut freshness = clone.freshness();
    assert_eq!(freshness, Freshness::Live);
    let manager = endpoint(&network, "manager", &[FEATURE]);
    let master = manager
        .attach_master("s", Memory::new(), MasterOptions::default())
        .await
        .unwrap();
    master.put("new", 2u64, None).await.unwrap();
    manager.listen(&url("manager")).await.unwrap();
    let mut events = clone.events();
    while let Some(event) = events.recv().await {
        if matches!(&*event, StoreEvent::Insert { key, .. } if *key == "new".into()) {
            break;
        }
    }
    assert_eq!(clone.get("new").await, Ok(Some(2u64.into())));
    clone.put("k", 3u64, None).await.unwrap();
    clone.sync(LIMIT).await.unwrap();
    assert_eq!(clone.keys().await, Ok(Set::from_iter(["new", "k"])));
    freshness = clone.freshness();
    assert_eq!(freshness, Freshness::Live);
    workers[0].shutdown().await;
    assert_eq!(clone.put("k", 1u64, None).await, Err(StoreError::Closed));
    assert!(clone.is_closed());
}

#[tokio::test(start_paused = true)]
async fn a_master_is_refused_only_by_a_peer_that_has_it() {
    let Cluster {
        network,
        manager,
        master,
        ..
    } = Cluster::new(0).await;
    let other = endpoint(&network, "other", &[]);
    let id: EndpointId = other.connect(url("manager")).await.unwrap();
    assert_eq!(id, manager.id());
    let refused = other
        .attach_master("s", Memory::new(), MasterOptions::default())
        .await;
    let Err(error @ AttachError::MasterExists { .. }) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(
        (error.to_string().as_str(), error.code()),
        (
            "master_exists: peer manager has the master of store \"s\"",
            ErrorCode::MasterExists
        )
    );
    // A short prefix covers the topic and everything else; it says nothing about a master.
    let _everything = manager.subscribe(
        Filter::from_iter([Topic::from_static("t")]),
        QueueOptions::local(),
    );
    assert!(manager.settled(LIMIT).await);
    other
        .attach_master("t", Memory::new(), MasterOptions::default())
        .await
        .unwrap();
    let again = manager
        .attach_master("s", Memory::new(), MasterOptions::default())
        .await
        .unwrap();
    master.put("k", 1u64, None).await.unwrap();
    assert_eq!(again.get("k").await, Ok(Some(1u64.into())));
    assert!(matches!(
        manager.attach_clone("s", CloneOptions::default()).await,
        Err(AttachError::MasterIsHere { .. })
    ));
    assert!(matches!(
        manager.attach_clone("", CloneOptions::default()).await,
        Err(AttachError::InvalidName { .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn events_are_a_stream_and_messages_on_the_local_topic() {
    let cluster = Cluster::new(1).await;
    let clone = &cluster.clones[0];
    let topic = reserved::store_events("s").unwrap();
    let mut local =
        cluster.workers[0].subscribe(Filter::from_iter([topic.clone()]), QueueOptions::local());
    let mut events = clone.events();
    clone.put("k", 1u64, None).await.unwrap();
    clone.put("k", 2u64, None).await.unwrap();
    let event = events.recv().await.unwrap();
    assert!(matches!(&*event, StoreEvent::Insert { key, .. } if *key == "k".into()));
    let event = events.recv().await.unwrap();
    assert!(
        matches!(&*event, StoreEvent::Update { old, new, .. } if (old, new) == (&1u64.into(), &2u64.into()))
    );
    let message = local.recv().await.unwrap();
    assert_eq!(message.topic(), &topic);
    let vector = message.data().unwrap().as_vector().unwrap();
    assert_eq!(
        vector[..4],
        ["insert".into(), "s".into(), "k".into(), Data::Count(1)]
    );
    assert_eq!(vector[5], cluster.workers[0].id().to_string().into());
}

#[tokio::test(start_paused = true)]
async fn store_commands_never_reach_data_subscribers() {
    let cluster = Cluster::new(1).await;
    let everything = || Filter::from_iter([Topic::from_static("")]);
    let mut at_master = cluster
        .manager
        .subscribe(everything(), QueueOptions::local());
    let mut at_clone = cluster.workers[0].subscribe(everything(), QueueOptions::local());
    cluster.clones[0].put("k", 1u64, None).await.unwrap();
    cluster.clones[0].sync(LIMIT).await.unwrap();
    for subscriber in [&mut at_master, &mut at_clone] {
        while let Some(message) = subscriber.try_recv() {
            assert!(message.topic().is_local(), "{}", message.topic());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn core_reaches_the_stores_through_its_own_door() {
    let cluster = Cluster::new(1).await;
    let access = cluster.workers[0].store_access().unwrap();
    assert_eq!(access.store_names(), ["s"]);
    let put = StoreOperation::Put {
        key: "k".into(),
        value: 7u64.into(),
        expiry: None,
    };
    let mut watch = access.watch("s", WatchRequest::default()).await.unwrap();
    assert_eq!(access.execute("s", put).await, Ok(StoreReply::Done));
    assert_eq!(
        access.execute("s", StoreOperation::Get("k".into())).await,
        Ok(StoreReply::Value(7u64.into()))
    );
    let missing = access.execute("s", StoreOperation::Get("x".into())).await;
    assert_eq!(
        missing,
        Err(StoreFailure::Code {
            code: ErrorCode::NoSuchKey,
            detail: String::new()
        })
    );
    let nowhere = access.execute("t", StoreOperation::Keys).await;
    assert_eq!(
        nowhere,
        Err(StoreFailure::NoSuchStore {
            name: "t".to_owned(),
            available: vec!["s".to_owned()]
        })
    );
    assert!(watch.next().await.is_some());
    let status = cluster.manager.status();
    let store = &status.stores[0];
    assert_eq!(
        (store.role.as_str(), store.backend.as_str(), store.entries),
        ("master", "memory", 1)
    );
    assert_eq!(cluster.workers[0].status().stores[0].role, "clone");
    assert_eq!(cluster.workers[0].stores().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn await_idle_ends_when_all_writes_before_it_are_answered() {
    let cluster = Cluster::new(1).await;
    let clone = cluster.clones[0].clone();
    let writes: Vec<_> = (0..50u64)
        .map(|n| {
            let clone = clone.clone();
            tokio::spawn(async move { clone.put(n, n, None).await })
        })
        .collect();
    tokio::task::yield_now().await;
    clone.await_idle().await.unwrap();
    cluster.master.await_idle().await.unwrap();
    for write in writes {
        write.await.unwrap().unwrap();
    }
    assert_eq!(cluster.master.len(), 50);
}

#[tokio::test(start_paused = true)]
async fn shutting_down_answers_every_caller() {
    let cluster = Cluster::new(1).await;
    let clone = cluster.clones[0].clone();
    let writes: Vec<_> = (0..100u64)
        .map(|n| {
            let clone = clone.clone();
            tokio::spawn(async move { clone.put(n, n, None).await })
        })
        .collect();
    tokio::task::yield_now().await;
    cluster.workers[0].shutdown().await;
    for write in writes {
        let result = write.await.unwrap();
        assert!(
            matches!(result, Ok(()) | Err(StoreError::Closed)),
            "{result:?}"
        );
    }
    let mut events = clone.events();
    assert_eq!(events.recv().await, None);
    let _: Option<Arc<StoreEvent>> = events.try_recv();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bursts_beyond_the_queue_of_a_link_cut_nothing() {
    let network = MemNetwork::new();
    let small = QueueOptions::peer().max_messages(NonZeroUsize::new(256).unwrap());
    let node = |name: &str| {
        Endpoint::builder()
            .name(name)
            .feature(FEATURE)
            .peer_queue(small)
            .transport(MemTransport::new(&network))
            .start()
    };
    let (manager, worker) = (node("manager"), node("worker"));
    manager.listen(&url("manager")).await.unwrap();
    let master = manager
        .attach_master("s", Memory::new(), MasterOptions::default())
        .await
        .unwrap();
    let clone = worker
        .attach_clone("s", CloneOptions::default())
        .await
        .unwrap();
    worker.connect(url("manager")).await.unwrap();
    assert!(clone.attached(LIMIT).await);
    let mut statuses = worker.statuses();
    let writes: Vec<_> = (0..6000u64)
        .map(|n| {
            let store = if n % 2 == 0 {
                master.clone()
            } else {
                clone.clone()
            };
            tokio::spawn(async move { store.put(n, "x".repeat(100), None).await })
        })
        .collect();
    for write in writes {
        write.await.unwrap().unwrap();
    }
    clone.sync(LIMIT).await.unwrap();
    assert_eq!(clone.len(), 6000);
    assert_eq!(statuses.try_recv(), None, "nothing happened to the peering");
}

#[tokio::test(start_paused = true)]
async fn all_copies_are_compared_with_the_master_and_named() {
    let cluster = Cluster::new(2).await;
    for n in 0..3000u64 {
        cluster.master.put(n, n, None).await.unwrap();
    }
    let stores = [&cluster.master, &cluster.clones[1]];
    for store in stores {
        let report = store.verify(Duration::from_secs(60)).await.unwrap();
        assert_eq!(report.entries, 3000);
        assert_eq!(report.copies.len(), 2);
        for copy in &report.copies {
            assert_eq!(copy.outcome, CopyOutcome::Equal, "{copy:?}");
            assert!(!copy.name.is_empty(), "{copy:?}");
        }
    }
}
