//! Pools of a running cluster: from the layout and from code, choices, and keys that are handed over.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod support;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use broker_cluster::pools::{AllocationError, HrwKey, KeyType, KeyValue, PoolSpec};
use broker_cluster::{ClusterNode, ClusterPublishError, Handovers, Role, StartError};
use broker_core::Data;
use support::{Cluster, LIMIT, SMALL};
use tokio::time::timeout;

fn members(node: &ClusterNode, pool: &str) -> Vec<String> {
    let pools = node.layout().pools(&node.spec().name);
    let pool = pools.iter().find(|one| one.spec().name == pool).unwrap();
    pool.nodes().iter().map(|node| node.name.clone()).collect()
}

#[tokio::test]
async fn a_pool_of_the_layout_and_one_from_code_are_filled_and_subscribed_to_alike() {
    let text = format!(
        "[pools.my_pool]\ntopic = \"zeek/cluster/pool/my_pool\"\nrole = \"proxy\"\n[pools.proxy]\nmax_nodes = 1\nexclusive = true\n{SMALL}"
    );
    let mut cluster = Cluster::start(&text, |_, _| {}).await;
    // The first worked case of the reference (zeek-cluster 3.2).
    let worker = cluster.node("worker-1");
    assert_eq!(members(worker, "proxy"), ["proxy-1"]);
    assert_eq!(members(worker, "my_pool"), ["proxy-2"]);
    let topic = |pool, n: u64| worker.hrw_topic(pool, &n).unwrap().unwrap().to_string();
    for n in 0..10 {
        assert_eq!(topic("proxy", n), "zeek/cluster/node/proxy-1/");
        assert_eq!(topic("my_pool", n), "zeek/cluster/node/proxy-2/");
    }
    assert!(
        cluster
            .node("proxy-2")
            .endpoint()
            .status()
            .subscriptions
            .iter()
            .any(|topic| topic.as_bytes() == b"zeek/cluster/pool/my_pool")
    );
    cluster.stop().await;

    let mut cluster = Cluster::new(SMALL);
    let mine = PoolSpec {
        max_nodes: Some(1),
        exclusive: true,
        ..PoolSpec::new("mine", "zeek/cluster/pool/mine", Role::Worker)
    };
    for name in ["manager", "worker-1", "worker-2", "worker-3"] {
        cluster
            .start_node(name, |builder| builder.pool(mine.clone()))
            .await;
    }
    let manager = cluster.node("manager").clone();
    while manager.active_count(Role::Worker) < 3 {
        tokio::task::yield_now().await;
    }
    assert_eq!(manager.hrw_node("mine", "k").unwrap().unwrap(), "worker-1");
    let turns: Vec<_> = (0..3)
        .map(|_| {
            manager
                .rr_topic(PoolSpec::WORKER, "k")
                .unwrap()
                .unwrap()
                .to_string()
        })
        .collect();
    assert_eq!(
        turns,
        [
            "zeek/cluster/node/worker-2/",
            "zeek/cluster/node/worker-3/",
            "zeek/cluster/node/worker-2/"
        ]
    );
    assert!(matches!(
        manager.rr_topic("other", "k"),
        Err(ClusterPublishError::NoSuchPool { .. })
    ));
    cluster.stop().await;

    let cluster = Cluster::new(SMALL);
    let greedy = PoolSpec {
        max_nodes: Some(9),
        ..mine
    };
    let refused = ClusterNode::builder(cluster.layout.clone(), "manager")
        .pool(greedy)
        .start()
        .await;
    assert!(matches!(
        refused,
        Err(StartError::Pools(AllocationError::NotEnough {
            need: 9,
            ..
        }))
    ));
}

#[tokio::test]
async fn values_of_every_type_are_keys() {
    let mut cluster = Cluster::start(SMALL, |_, _| {}).await;
    let worker = cluster.node("worker-1");
    let home = |node: Result<Option<String>, ClusterPublishError>| node.unwrap().unwrap();
    // The choices of two are those of the reference (zeek-cluster, appendix C).
    assert_eq!(
        home(worker.hrw_node(PoolSpec::PROXY, "example_key1")),
        "proxy-2"
    );
    assert_eq!(
        home(worker.hrw_node(PoolSpec::PROXY, "10.0.0.1")),
        "proxy-1"
    );
    assert_eq!(
        home(worker.hrw_node(PoolSpec::PROXY, &Ipv4Addr::new(10, 0, 0, 1))),
        "proxy-1"
    );
    assert_eq!(home(worker.hrw_node(PoolSpec::PROXY, &42u64)), "proxy-1");
    assert_eq!(home(worker.hrw_node(PoolSpec::PROXY, &-1i64)), "proxy-2");
    assert_eq!(home(worker.hrw_node(PoolSpec::PROXY, &0.5f64)), "proxy-2");
    assert_eq!(home(worker.hrw_node(PoolSpec::PROXY, &true)), "proxy-2");
    assert_eq!(
        home(worker.hrw_node(PoolSpec::PROXY, &vec![1u64, 2])),
        "proxy-2"
    );
    assert_eq!(
        home(worker.hrw_node(PoolSpec::PROXY, &vec!["a".to_owned(), "b".to_owned()])),
        "proxy-1"
    );
    assert_eq!(
        home(worker.hrw_node(PoolSpec::PROXY, &Data::Count(0))),
        "proxy-2"
    );
    let address = |last| Some(KeyValue::Address(Ipv4Addr::new(10, 0, 0, last).into()));
    let record = KeyValue::Record(vec![
        ("orig", KeyType::Address, address(1)),
        ("resp", KeyType::Address, address(2)),
    ]);
    assert_eq!(home(worker.hrw_node(PoolSpec::PROXY, &record)), "proxy-1");
    let set: BTreeSet<u64> = [1].into();
    assert!(matches!(
        worker.hrw_node(PoolSpec::PROXY, &set),
        Err(ClusterPublishError::Key(_))
    ));
    cluster.stop().await;
}

/// Waits for handovers until these members are up; says what each of `keys` did in all.
async fn until(handovers: &mut Handovers, up: &[&str]) -> Vec<broker_cluster::pools::Handover> {
    let mut all = Vec::new();
    while !handovers.homes().up().eq(up.iter().copied()) {
        all.push(timeout(LIMIT, handovers.next()).await.unwrap().unwrap());
    }
    all
}

#[tokio::test]
async fn the_members_of_a_pool_are_told_which_keys_move() {
    let mut cluster = Cluster::start(SMALL, |_, _| {}).await;
    let keys: Vec<HrwKey> = (0..100).map(HrwKey::count).collect();
    let two = ["proxy-1", "proxy-2"];
    let mut at = Vec::new();
    for name in ["proxy-2", "worker-1", "manager"] {
        let mut handovers = cluster.node(name).handovers(PoolSpec::PROXY).unwrap();
        until(&mut handovers, &two).await;
        at.push(handovers);
    }
    let departure = cluster.node("proxy-1").departure(PoolSpec::PROXY);
    let leaving: Vec<HrwKey> = departure
        .unwrap()
        .leaving(&keys)
        .map(|(key, to)| {
            assert_eq!(to, "proxy-2");
            *key
        })
        .collect();
    assert!((20..80).contains(&leaving.len()), "{}", leaving.len());

    cluster.nodes.remove("proxy-1").unwrap().shutdown().await;
    for handovers in &mut at {
        let changes = until(handovers, &["proxy-2"]).await;
        let [change] = &changes[..] else {
            panic!("{changes:?}")
        };
        assert_eq!(change.went().collect::<Vec<_>>(), ["proxy-1"]);
        for key in &keys {
            let moved = change.moves(key).map(|moved| (moved.from, moved.to));
            let expected = leaving
                .contains(key)
                .then_some((Some("proxy-1"), Some("proxy-2")));
            assert_eq!(moved, expected);
        }
    }
    cluster.start_node("proxy-1", |builder| builder).await;
    for handovers in &mut at {
        let changes = until(handovers, &two).await;
        let [change] = &changes[..] else {
            panic!("{changes:?}")
        };
        for key in &keys {
            assert_eq!(change.moves(key).is_some(), leaving.contains(key));
        }
    }
    // The one that is back is told too: all of them are news to it.
    let mut back = cluster.node("proxy-1").handovers(PoolSpec::PROXY).unwrap();
    until(&mut back, &two).await;
    assert_eq!(
        *back.homes(),
        cluster.node("worker-1").homes(PoolSpec::PROXY).unwrap()
    );
    cluster.stop().await;
}

#[tokio::test]
async fn a_manager_that_is_away_moves_nothing() {
    let mut cluster = Cluster::start(SMALL, |_, _| {}).await;
    let mut proxy = cluster.node("proxy-1").handovers(PoolSpec::PROXY).unwrap();
    until(&mut proxy, &["proxy-1", "proxy-2"]).await;
    cluster.nodes.remove("manager").unwrap().shutdown().await;
    let manager = cluster.start_node("manager", |builder| builder).await;
    assert!(manager.cluster_started(LIMIT).await);
    while manager.active_count(Role::Proxy) < 2 {
        tokio::task::yield_now().await;
    }
    let mut one = cluster.nodes.remove("proxy-2").unwrap();
    one.shutdown().await;
    let next = timeout(LIMIT, proxy.next()).await.unwrap().unwrap();
    assert_eq!(next.went().collect::<Vec<_>>(), ["proxy-2"]);
    assert_eq!(next.came().count(), 0);
    one = cluster.start_node("proxy-2", |builder| builder).await;
    drop(one);
    until(&mut proxy, &["proxy-1", "proxy-2"]).await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_hook_hears_of_every_change_until_its_guard_is_dropped() {
    let mut cluster = Cluster::start(SMALL, |_, _| {}).await;
    let worker = cluster.node("worker-1").clone();
    let (sender, mut heard) = tokio::sync::mpsc::channel(8);
    let guard = worker
        .on_handover(PoolSpec::PROXY, move |handover| {
            let went: Vec<String> = handover.went().map(str::to_owned).collect();
            let came: Vec<String> = handover.came().map(str::to_owned).collect();
            sender.try_send((went, came)).unwrap();
        })
        .unwrap();
    cluster.nodes.remove("proxy-2").unwrap().shutdown().await;
    let change = |went: &[&str], came: &[&str]| {
        let owned = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        Some((owned(went), owned(came)))
    };
    let next = timeout(LIMIT, heard.recv()).await.unwrap();
    assert_eq!(next, change(&["proxy-2"], &[]));
    cluster.start_node("proxy-2", |builder| builder).await;
    let next = timeout(LIMIT, heard.recv()).await.unwrap();
    assert_eq!(next, change(&[], &["proxy-2"]));
    drop(guard);
    assert_eq!(timeout(LIMIT, heard.recv()).await.unwrap(), None);
    assert!(worker.on_handover("other", |_| {}).is_err());
    cluster.stop().await;
}
