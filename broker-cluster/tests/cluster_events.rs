//! Events between the nodes of a cluster in one process: handlers, declarations, prepared events, relays, and the order of
//! events and node_up.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod support;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use broker_cluster::handlers::{Handlers, Incoming};
use broker_cluster::pools::PoolSpec;
use broker_cluster::{ClusterPublishError, NodeEvent, RelayVia, Role, topics};
use broker_core::convert::ToArgs;
use broker_core::zeek::Event;
use broker_core::{Data, Message, QueueOptions, Topic};
use support::{Cluster, LIMIT, SMALL};
use tokio::sync::mpsc;
use tokio::time::timeout;

type Heard = mpsc::Receiver<(String, u64)>;

/// Sends what comes to `name` on every node, with the node's name.
fn listening(name: &'static str) -> (impl Fn(&str, &Handlers), Heard) {
    let (sender, receiver) = mpsc::channel(1024);
    let register = move |node: &str, handlers: &Handlers| {
        let (sender, node) = (sender.clone(), node.to_owned());
        handlers
            .on(name, move |(n,): (u64,)| {
                sender.try_send((node.clone(), n)).unwrap();
            })
            .keep();
    };
    (register, receiver)
}

async fn hear(heard: &mut Heard, count: usize) -> BTreeSet<(String, u64)> {
    let mut all = BTreeSet::new();
    for _ in 0..count {
        let one = timeout(LIMIT, heard.recv()).await.unwrap().unwrap();
        assert!(all.insert(one.clone()), "twice: {one:?}");
    }
    all
}

fn at(nodes: &[&str], n: u64) -> BTreeSet<(String, u64)> {
    nodes.iter().map(|node| ((*node).to_owned(), n)).collect()
}

const WORKERS: [&str; 3] = ["worker-1", "worker-2", "worker-3"];

#[tokio::test]
async fn an_event_reaches_the_role_the_node_the_pool_or_all_it_is_published_to() {
    let (register, mut heard) = listening("Test::n");
    let mut cluster = Cluster::start(SMALL, register).await;
    let manager = cluster.node("manager").clone();
    let event = |n: u64| ("Test::n", (n,));

    manager
        .publish_to_role(Role::Worker, event(1))
        .await
        .unwrap();
    assert_eq!(hear(&mut heard, 3).await, at(&WORKERS, 1));
    manager.publish_to_node("worker-2", event(2)).await.unwrap();
    assert_eq!(hear(&mut heard, 1).await, at(&["worker-2"], 2));
    manager
        .publish_to_pool(PoolSpec::PROXY, event(3))
        .await
        .unwrap();
    assert_eq!(hear(&mut heard, 2).await, at(&["proxy-1", "proxy-2"], 3));
    let reached = manager.broadcast(event(4)).await.unwrap();
    assert_eq!(reached.peers, 5);
    assert_eq!(
        hear(&mut heard, 5).await,
        at(
            &["proxy-1", "proxy-2", "worker-1", "worker-2", "worker-3"],
            4
        )
    );
    let worker = cluster.node("worker-1").clone();
    worker
        .publish_to_role(Role::Manager, event(5))
        .await
        .unwrap();
    assert_eq!(hear(&mut heard, 1).await, at(&["manager"], 5));
    // The choice for count 42 is proxy-1, for count 0 proxy-2 (zeek-cluster reference, appendix C).
    for (key, proxy) in [(42u64, "proxy-1"), (0, "proxy-2")] {
        worker
            .publish_hrw(PoolSpec::PROXY, &key, event(key))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(hear(&mut heard, 1).await, at(&[proxy], key));
    }
    for proxy in ["proxy-1", "proxy-2", "proxy-1"] {
        worker
            .publish_rr(PoolSpec::PROXY, "k", event(6))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(hear(&mut heard, 1).await, at(&[proxy], 6));
    }
    cluster.stop().await;
}

#[tokio::test]
async fn a_prepared_event_is_published_many_times_and_checked_like_any_other() {
    let (register, mut heard) = listening("Test::n");
    let mut cluster = Cluster::start(SMALL, register).await;
    let manager = cluster.node("manager").clone();
    manager.declare::<(u64,)>("Test::n");
    let error = manager.prepare("Test::n", ("text",)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "event parameter #1 type mismatch for event Test::n: got string, expected count (count)"
    );
    let unfit = manager
        .publish_to_role(Role::Worker, ("Test::n", (1u64, 2u64)))
        .await;
    assert!(
        matches!(unfit, Err(ClusterPublishError::Arguments(_))),
        "{unfit:?}"
    );
    let counted = |node: &str| {
        let status = cluster.node(node).endpoint().status();
        (
            status.counters["handler_calls"],
            status.counters["handler_calls_mismatched"],
        )
    };
    let before = counted("worker-1");
    let prepared = manager.prepare("Test::n", (7u64,)).unwrap();
    for worker in WORKERS {
        manager.publish_to_node(worker, &prepared).await.unwrap();
    }
    manager.publish_to_node("proxy-1", prepared).await.unwrap();
    assert_eq!(
        hear(&mut heard, 4).await,
        at(&["proxy-1", "worker-1", "worker-2", "worker-3"], 7)
    );
    // Sent as it is, past the check of the manager: the worker counts it and goes on.
    let unfit = Message::new(
        topics::node_topic("worker-1"),
        Event::new("Test::n", vec![]),
    );
    manager.endpoint().publish(unfit).await.unwrap();
    manager
        .publish_to_node("worker-1", ("Test::n", (8u64,)))
        .await
        .unwrap();
    assert_eq!(hear(&mut heard, 1).await, at(&["worker-1"], 8));
    // What the last call was counted as is written down right behind it.
    let expected = (before.0 + 2, before.1 + 1);
    let counts = async {
        while counted("worker-1") != expected {
            tokio::task::yield_now().await;
        }
    };
    timeout(LIMIT, counts).await.unwrap();
    cluster.stop().await;
}

#[tokio::test]
async fn a_worker_reaches_all_workers_through_a_relay_and_through_handlers_that_republish() {
    let (register, mut heard) = listening("Test::n");
    let mut cluster = Cluster::start(SMALL, |node, handlers| {
        if node.starts_with("worker") {
            register(node, handlers);
        }
    })
    .await;
    let all = topics::role_topic(Role::Worker);
    let worker = cluster.node("worker-1").clone();
    for (via, n) in [(RelayVia::Manager, 1u64), (RelayVia::Proxy("k"), 2)] {
        assert!(
            worker
                .relay(via, all.clone(), ("Test::n", (n,)))
                .await
                .unwrap()
        );
        assert_eq!(hear(&mut heard, 3).await, at(&WORKERS, n));
    }
    let mut guards = Vec::new();
    for name in ["manager", "proxy-1", "proxy-2"] {
        guards.push(cluster.node(name).republish("Test::n", all.clone()));
    }
    worker
        .publish_to_role(Role::Manager, ("Test::n", (3u64,)))
        .await
        .unwrap();
    assert_eq!(hear(&mut heard, 3).await, at(&WORKERS, 3));
    for n in [4u64, 5] {
        worker
            .publish_rr(PoolSpec::PROXY, "example_key", ("Test::n", (n,)))
            .await
            .unwrap();
        assert_eq!(hear(&mut heard, 3).await, at(&WORKERS, n));
    }
    cluster.stop().await;
}

#[tokio::test]
async fn a_node_subscribes_to_further_prefixes_at_any_time() {
    let (register, mut heard) = listening("Test::n");
    let mut cluster = Cluster::start(SMALL, register).await;
    let (manager, worker) = (
        cluster.node("manager").clone(),
        cluster.node("worker-1").clone(),
    );
    let topic = Topic::from_static("site/alerts/high");
    let prefix = Topic::from_static("site/alerts");
    assert!(worker.subscribe(prefix.clone()));
    assert!(!worker.subscribe(prefix.clone()));
    // The filter is with the manager once what the worker sends behind it is.
    worker
        .publish_to_role(Role::Manager, ("Test::n", (1u64,)))
        .await
        .unwrap();
    hear(&mut heard, 1).await;
    manager
        .publish(topic.clone(), ("Test::n", (2u64,)))
        .await
        .unwrap();
    assert_eq!(hear(&mut heard, 1).await, at(&["worker-1"], 2));
    assert!(worker.unsubscribe(&prefix));
    assert!(!worker.unsubscribe(&topics::role_topic(Role::Worker)));
    worker
        .publish_to_role(Role::Manager, ("Test::n", (3u64,)))
        .await
        .unwrap();
    hear(&mut heard, 1).await;
    assert!(
        manager
            .publish(topic, ("Test::n", (4u64,)))
            .await
            .unwrap()
            .nobody()
    );
    cluster.stop().await;
}

#[tokio::test]
async fn handlers_hear_of_nodes_in_zeek_s_words_and_before_the_events_of_the_node() {
    let (sender, mut heard) = mpsc::channel(64);
    let mut cluster = Cluster::new(SMALL);
    let handlers = Handlers::new();
    for name in ["Cluster::node_up", "Cluster::node_down"] {
        let sender = sender.clone();
        handlers
            .on(name, move |(node, _id): (String, String)| {
                sender.try_send(format!("{} {node}", &name[9..])).unwrap();
            })
            .keep();
    }
    let said = sender.clone();
    handlers
        .handler("Test::n")
        .on_event(move |event: Incoming<(u64,)>| {
            said.try_send(format!("event {}", event.args.0)).unwrap()
        })
        .keep();
    cluster
        .start_node("manager", |builder| builder.handlers(handlers))
        .await;
    let worker = cluster.start_node("worker-1", |builder| builder).await;
    while worker.id_of("manager").is_none() {
        tokio::task::yield_now().await;
    }
    worker
        .publish_to_role(Role::Manager, ("Test::n", (1u64,)))
        .await
        .unwrap();
    let mut next = async || timeout(LIMIT, heard.recv()).await.unwrap().unwrap();
    assert_eq!(next().await, "node_up worker-1");
    assert_eq!(next().await, "event 1");
    worker.shutdown().await;
    assert_eq!(next().await, "node_down worker-1");
    cluster.stop().await;
}

/// Connects as worker-1 again and again and says hello and something more at once; whenever that something arrives, the
/// node_up must have been announced.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_a_peer_says_comes_behind_the_node_up_it_caused() {
    let mut cluster = Cluster::new(SMALL);
    let manager = cluster
        .start_node("manager", |builder| builder.events(QueueOptions::local()))
        .await;
    let mut events = manager.take_events().unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let (ups, saids) = (Arc::clone(&order), Arc::clone(&order));
    let ups = manager.on("Cluster::node_up", move |(_, id): (String, String)| {
        ups.lock().unwrap().push(("up", id));
    });
    let saids = manager.on("Test::id", move |(id,): (String,)| {
        saids.lock().unwrap().push(("said", id));
    });
    ups.keep();
    saids.keep();
    for _ in 0..200 {
        let mut node_events = manager.node_events();
        let peer = cluster.endpoint().name("worker-1").start();
        let id = peer
            .connect("mem://manager".parse().unwrap())
            .await
            .unwrap();
        let hello = Event::new(
            "Cluster::hello",
            ("worker-1", peer.id().to_string()).to_args(),
        );
        let first = Event::new("Test::id", (peer.id().to_string(),).to_args());
        for (topic, event) in [
            (topics::nodeid_topic(id), hello),
            (topics::role_topic(Role::Manager), first),
        ] {
            assert_eq!(
                peer.publish(Message::new(topic, event))
                    .await
                    .unwrap()
                    .peers,
                1
            );
        }
        let (_, event) = timeout(LIMIT, events.recv()).await.unwrap().unwrap();
        assert_eq!(event.args[0], Data::from(peer.id().to_string().as_str()));
        let up = node_events.try_recv();
        assert!(
            matches!(&up, Ok(NodeEvent::Up { id, .. }) if *id == peer.id()),
            "{up:?}"
        );
        peer.shutdown().await;
        let down = timeout(LIMIT, node_events.recv()).await.unwrap();
        assert!(matches!(down, Ok(NodeEvent::Down { .. })), "{down:?}");
    }
    cluster.stop().await;
    let order = order.lock().unwrap();
    assert_eq!(order.len(), 400);
    for pair in order.chunks(2) {
        assert_eq!((pair[0].0, pair[1].0), ("up", "said"));
        assert_eq!(pair[0].1, pair[1].1);
    }
}

#[tokio::test]
async fn what_has_come_is_handled_before_shutdown_returns() {
    let (sender, heard) = mpsc::channel(2048);
    let mut cluster = Cluster::new(SMALL);
    let manager = cluster.start_node("manager", |builder| builder).await;
    manager
        .handler("Test::n")
        .queue(QueueOptions::local())
        .on_async(move |(n,): (u64,)| {
            let sender = sender.clone();
            async move {
                tokio::task::yield_now().await;
                sender.send(n).await.unwrap();
            }
        })
        .keep();
    let worker = cluster.start_node("worker-1", |builder| builder).await;
    while worker.id_of("manager").is_none() {
        tokio::task::yield_now().await;
    }
    for n in 0..1000u64 {
        worker
            .publish_to_role(Role::Manager, ("Test::n", (n,)))
            .await
            .unwrap();
    }
    worker.shutdown().await;
    manager.shutdown().await;
    let mut heard = heard;
    for n in 0..1000u64 {
        assert_eq!(heard.recv().await, Some(n));
    }
    // The closure and its sender are gone with the node.
    assert_eq!(heard.recv().await, None);
}
