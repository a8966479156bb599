//! A changed layout, taken over while the nodes run.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod support;

use std::time::Duration;

use broker_cluster::handlers::Handlers;
use broker_cluster::pools::{HrwKey, PoolSpec};
use broker_cluster::{Layout, Role};
use broker_core::zeek::Event;
use support::{Cluster, LIMIT, SMALL, TWO_WORKERS, wait_for};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

const THIRD_PROXY: &str = "[node.proxy-3]\nrole = \"proxy\"\nlisten = [\"mem://proxy-3\"]\n";

fn layout(text: &str) -> Layout {
    Layout::parse(text, "lab.toml").unwrap()
}

#[tokio::test]
async fn a_pool_from_code_is_there_after_a_new_layout_with_the_nodes_that_came() {
    let mut cluster = Cluster::new(SMALL);
    let spec = || PoolSpec::new("code", "site/pool/code", Role::Proxy);
    for name in [
        "manager", "proxy-1", "proxy-2", "worker-1", "worker-2", "worker-3",
    ] {
        cluster
            .start_node(name, |builder| builder.pool(spec()))
            .await;
    }
    let worker = cluster.node("worker-1").clone();
    assert!(worker.cluster_started(LIMIT).await);
    let text = format!("{SMALL}{THIRD_PROXY}");
    let new = layout(&text);
    for node in cluster.nodes.values() {
        let changes = node.adopt(&new).await.unwrap();
        assert_eq!(changes.added, ["proxy-3"]);
    }
    cluster.layout = std::sync::Arc::new(new);
    let third = cluster
        .start_node("proxy-3", |builder| builder.pool(spec()))
        .await;
    let expected = ["proxy-1", "proxy-2", "proxy-3"];
    let up = |node: &broker_cluster::ClusterNode| -> Vec<String> {
        let homes = node.homes("code").unwrap();
        homes.up().map(str::to_owned).collect()
    };
    for node in [
        &worker,
        cluster.node("manager"),
        cluster.node("proxy-1"),
        &third,
    ] {
        wait_for(|| up(node) == expected).await;
    }
    // The same key has the same home everywhere, and somebody can be sent it.
    for key in 0..50 {
        let key = HrwKey::count(key);
        let home = worker.homes("code").unwrap().of(&key).map(str::to_owned);
        let at_member = third.homes("code").unwrap().of(&key).map(str::to_owned);
        assert_eq!(home, at_member);
        assert!(worker.hrw_topic("code", &key).unwrap().is_some());
    }
    cluster.stop().await;
}

#[tokio::test]
async fn a_layout_that_leaves_a_pool_from_code_short_changes_nothing() {
    let mut cluster = Cluster::new(SMALL);
    let spec = PoolSpec {
        max_nodes: Some(2),
        exclusive: true,
        ..PoolSpec::new("code", "site/pool/code", Role::Proxy)
    };
    let manager = cluster
        .start_node("manager", |builder| builder.pool(spec))
        .await;
    let error = manager.adopt(&layout(TWO_WORKERS)).await.unwrap_err();
    assert!(error.to_string().contains("not enough"), "{error}");
    assert!(manager.current_layout().node("proxy-2").is_some());
    assert!(manager.homes("code").is_ok());
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn another_threshold_counts_from_now_on_and_what_was_said_stays() {
    let with = |ready: &str| format!("[cluster.ready]\n{ready}\n{SMALL}");
    let mut cluster = Cluster::new(SMALL);
    let manager = cluster.start_node("manager", |builder| builder).await;
    let worker = cluster.start_node("worker-1", |builder| builder).await;
    tokio::time::sleep(Duration::from_secs(1000)).await;
    assert_eq!(manager.cluster_ready(LIMIT).await, None);

    // The time begins when somebody asks for the first time.
    let asked = layout(&with("worker = 3\nwithin = 40"));
    let begun = Instant::now();
    for node in [&worker, &manager] {
        let changes = node.adopt(&asked).await.unwrap();
        assert_eq!(changes.applied, ["[cluster.ready]"]);
    }
    let told = worker.cluster_ready(2 * LIMIT + LIMIT).await.unwrap();
    assert!(!told.ready);
    assert_eq!(begun.elapsed().as_secs(), 40);
    let enough = layout(&with("worker = 1"));
    manager.adopt(&enough).await.unwrap();
    worker.adopt(&enough).await.unwrap();
    let mut changes = worker.cluster_ready_changes();
    let ready = changes.wait_for(|told| told.as_ref().is_some_and(|told| told.ready));
    timeout(LIMIT, ready).await.unwrap().unwrap();
    let more = layout(&with("worker = 3\nwithin = 1"));
    manager.adopt(&more).await.unwrap();
    tokio::time::sleep(LIMIT).await;
    assert!(manager.cluster_ready(LIMIT).await.unwrap().ready);
    cluster.stop().await;
}

#[tokio::test]
async fn the_cluster_has_started_without_nodes_that_left_the_layout() {
    let mut cluster = Cluster::new(SMALL);
    for name in ["manager", "proxy-1", "worker-1", "worker-2"] {
        cluster.start_node(name, |builder| builder).await;
    }
    let worker = cluster.node("worker-1").clone();
    wait_for(|| worker.waiting_for() == ["proxy-2"]).await;
    let smaller = layout(TWO_WORKERS);
    for node in cluster.nodes.values() {
        let changes = node.adopt(&smaller).await.unwrap();
        assert_eq!(changes.removed, ["proxy-2", "worker-3"]);
    }
    for node in cluster.nodes.values() {
        assert!(node.cluster_started(LIMIT).await);
    }
    cluster.stop().await;
}

#[tokio::test]
async fn a_node_that_came_before_its_name_was_in_the_layout_is_up_once_it_is() {
    let mut cluster = Cluster::new(TWO_WORKERS);
    let manager = cluster.start_node("manager", |builder| builder).await;
    let all = layout(SMALL);
    let layouts = std::mem::replace(&mut cluster.layout, std::sync::Arc::new(all.clone()));
    let early = cluster.start_node("worker-3", |builder| builder).await;
    wait_for(|| early.nodes_up().contains_key("manager")).await;
    assert!(manager.node_of(early.endpoint().id()).is_none());
    let mut events = manager.node_events();
    manager.adopt(&all).await.unwrap();
    let up = timeout(LIMIT, events.recv()).await.unwrap().unwrap();
    assert!(
        matches!(&up, broker_cluster::NodeEvent::Up { name, .. } if name == "worker-3"),
        "{up:?}"
    );
    assert_eq!(
        manager.node_of(early.endpoint().id()).unwrap().name,
        "worker-3"
    );
    assert_eq!(manager.node_count(Role::Worker), 3);
    drop(layouts);
    cluster.stop().await;
}

#[tokio::test]
async fn relays_change_with_the_layout() {
    let relay = |name: &str, event: &str| {
        format!("{TWO_WORKERS}[relays.{name}]\nevent = \"{event}\"\nby = [\"manager\"]\n")
    };
    let mut cluster = Cluster::new(&relay("a", "A::old"));
    cluster.start_node("manager", |builder| builder).await;
    cluster.start_node("proxy-1", |builder| builder).await;
    let (sender, mut heard) = mpsc::channel::<String>(8);
    let handlers = Handlers::new();
    for name in ["A::old", "A::new"] {
        let sender = sender.clone();
        handlers
            .on(name, move |(): ()| {
                sender.try_send(name.to_owned()).unwrap()
            })
            .keep();
    }
    cluster
        .start_node("worker-1", |builder| builder.handlers(handlers))
        .await;
    let sending = cluster.start_node("worker-2", |builder| builder).await;
    assert!(sending.cluster_started(LIMIT).await);
    let publish = async |name: &str| {
        let event = Event::new(name.to_owned(), Vec::new());
        sending.publish_to_role(Role::Manager, event).await.unwrap();
    };
    publish("A::old").await;
    assert_eq!(
        timeout(LIMIT, heard.recv()).await.unwrap().unwrap(),
        "A::old"
    );

    let manager = cluster.node("manager");
    let changes = manager.adopt(&layout(&relay("b", "A::new"))).await.unwrap();
    assert_eq!(changes.applied, ["[relays.a]", "[relays.b]"]);
    // What is not relayed any more would be ahead.
    publish("A::old").await;
    publish("A::new").await;
    assert_eq!(
        timeout(LIMIT, heard.recv()).await.unwrap().unwrap(),
        "A::new"
    );
    let changes = manager.adopt(&layout(TWO_WORKERS)).await.unwrap();
    assert_eq!(changes.applied, ["[relays.b]"]);
    cluster.stop().await;
}

#[tokio::test]
async fn a_node_that_came_by_a_new_layout_can_be_published_to() {
    let mut cluster = Cluster::start(TWO_WORKERS, |_, _| {}).await;
    let manager = cluster.node("manager").clone();
    let new = layout(&format!(
        "{TWO_WORKERS}[node.worker-3]\nrole = \"worker\"\n"
    ));
    let event = || Event::new("Test::hello", vec![]);
    assert!(manager.publish_to_node("worker-3", event()).await.is_err());
    manager.adopt(&new).await.unwrap();
    let reached = manager.publish_to_node("worker-3", event()).await.unwrap();
    assert!(reached.nobody(), "it is not there yet");
    cluster.stop().await;
}
