//! Who is up, and when the cluster is ready: thresholds, verdicts of the manager, starts in any order.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use broker_cluster::Role;
use broker_cluster::handlers::Handlers;
use broker_cluster::threshold::{Need, Threshold, Verdict};
use support::{Cluster, LIMIT, SMALL};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

fn verdict(ready: bool, missing: &[&str]) -> Option<Verdict> {
    let missing = missing.iter().map(|name| (*name).to_owned()).collect();
    Some(Verdict { ready, missing })
}

#[tokio::test]
async fn nodes_are_counted_listed_and_found_by_id() {
    let mut cluster = Cluster::start(SMALL, |_, _| {}).await;
    let manager = cluster.node("manager");
    assert_eq!(
        (
            manager.node_count(Role::Worker),
            manager.active_count(Role::Worker)
        ),
        (3, 3)
    );
    let id = cluster.node("worker-2").endpoint().id();
    assert_eq!(manager.node_of(id).unwrap().name, "worker-2");
    assert!(manager.node_of(manager.endpoint().id()).is_none());
    let names: Vec<&str> = manager
        .layout()
        .with_role(Role::Worker)
        .map(|node| node.name.as_str())
        .collect();
    assert_eq!(names, ["worker-1", "worker-2", "worker-3"]);
    // A worker sees no other worker, and does not count itself.
    let worker = cluster.node("worker-1");
    assert_eq!(
        (
            worker.node_count(Role::Worker),
            worker.active_count(Role::Worker)
        ),
        (3, 0)
    );
    cluster.stop().await;
}

#[tokio::test]
async fn nodes_may_start_in_any_order_and_say_whom_they_wait_for() {
    for order in [
        [
            "worker-3", "worker-2", "worker-1", "proxy-2", "proxy-1", "manager",
        ],
        [
            "manager", "worker-1", "proxy-1", "worker-2", "proxy-2", "worker-3",
        ],
        [
            "proxy-1", "worker-1", "manager", "worker-2", "worker-3", "proxy-2",
        ],
    ] {
        let mut cluster = Cluster::new(SMALL);
        for name in order {
            let node = cluster.start_node(name, |builder| builder).await;
            let started: BTreeSet<&String> = cluster.nodes.keys().collect();
            for waited in node.waiting_for() {
                let dialled = ["manager", "proxy-1", "proxy-2"].contains(&waited.as_str());
                assert!(dialled, "{name} waits for {waited} of {started:?}");
            }
        }
        for (name, node) in &cluster.nodes {
            assert!(
                node.cluster_started(LIMIT).await,
                "{name}, started as {order:?}"
            );
            assert!(node.waiting_for().is_empty());
        }
        cluster.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn enough_nodes_are_waited_for_and_the_missing_are_named() {
    let mut cluster = Cluster::new(SMALL);
    let manager = cluster.start_node("manager", |builder| builder).await;
    let two = Threshold::new().need(Role::Worker, Need::Count(2));
    cluster.start_node("worker-2", |builder| builder).await;
    let begun = Instant::now();
    let short = manager
        .enough(&two, Duration::from_secs(3))
        .await
        .unwrap_err();
    assert_eq!(begun.elapsed(), Duration::from_secs(3));
    assert_eq!(
        short.to_string(),
        "1 of 3 workers (2 needed; missing: worker-1, worker-3)"
    );
    let waiting = tokio::spawn({
        let manager = manager.clone();
        async move { manager.enough(&two, LIMIT).await }
    });
    cluster.start_node("worker-3", |builder| builder).await;
    let met = waiting.await.unwrap().unwrap();
    assert_eq!(met.missing().collect::<Vec<_>>(), ["worker-1"]);

    let worker = cluster.node("worker-2");
    let blind = Threshold::new().need(Role::Worker, Need::All);
    let begun = Instant::now();
    assert!(worker.enough(&blind, LIMIT).await.is_err());
    assert_eq!(begun.elapsed(), Duration::ZERO);
    cluster.stop().await;
}

fn with_ready(ready: &str) -> String {
    format!("[cluster.ready]\n{ready}\n{SMALL}")
}

#[tokio::test(start_paused = true)]
async fn the_manager_tells_every_node_once_enough_are_up_also_those_that_come_late() {
    let mut cluster = Cluster::new(&with_ready("worker = 2\nproxy = \"50%\"\nwithin = 30"));
    let manager = cluster.start_node("manager", |builder| builder).await;
    cluster.start_node("proxy-2", |builder| builder).await;
    let (sender, mut heard) = mpsc::channel(8);
    let handlers = Handlers::new();
    handlers
        .on(
            "BrokerRs::cluster_ready",
            move |(ready, missing): (bool, BTreeSet<String>)| {
                sender
                    .try_send((ready, missing.into_iter().collect::<Vec<_>>()))
                    .unwrap();
            },
        )
        .keep();
    let first = cluster
        .start_node("worker-1", |builder| builder.handlers(handlers))
        .await;
    assert_eq!(manager.cluster_ready(Duration::from_secs(5)).await, None);
    cluster.start_node("worker-2", |builder| builder).await;
    let expected = verdict(true, &["worker-3", "proxy-1"]);
    let told = manager.cluster_ready(LIMIT).await.unwrap();
    assert!(told.ready);
    let sorted = |mut verdict: Verdict| {
        verdict.missing.sort();
        Some(verdict)
    };
    let expected = expected.and_then(sorted);
    assert_eq!(sorted(told), expected);
    assert_eq!(first.cluster_ready(LIMIT).await, expected);
    let missing = vec!["proxy-1".to_owned(), "worker-3".to_owned()];
    assert_eq!(
        timeout(LIMIT, heard.recv()).await.unwrap(),
        Some((true, missing))
    );
    let late = cluster.start_node("worker-3", |builder| builder).await;
    assert_eq!(late.cluster_ready(LIMIT).await, verdict(true, &["proxy-1"]));
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn when_the_time_is_over_the_missing_are_named_and_a_later_success_is_told_too() {
    let mut cluster = Cluster::new(&with_ready("worker = \"all\"\nwithin = 10"));
    let begun = Instant::now();
    let manager = cluster.start_node("manager", |builder| builder).await;
    for name in ["proxy-1", "proxy-2", "worker-1", "worker-2"] {
        cluster.start_node(name, |builder| builder).await;
    }
    assert_eq!(
        manager.cluster_ready(LIMIT).await,
        verdict(false, &["worker-3"])
    );
    assert_eq!(begun.elapsed().as_secs(), 10);
    let worker = cluster.node("worker-1").clone();
    let mut changes = worker.cluster_ready_changes();
    let told = timeout(LIMIT, changes.wait_for(Option::is_some)).await;
    assert_eq!(*told.unwrap().unwrap(), verdict(false, &["worker-3"]));
    cluster.start_node("worker-3", |builder| builder).await;
    let all = timeout(LIMIT, changes.wait_for(|told| *told == verdict(true, &[]))).await;
    assert!(all.is_ok());
    cluster.stop().await;
}

#[tokio::test]
async fn a_layout_that_does_not_ask_gets_no_verdict() {
    let mut cluster = Cluster::start(SMALL, |_, _| {}).await;
    assert_eq!(cluster.node("manager").cluster_ready(LIMIT).await, None);
    cluster.stop().await;
}

#[tokio::test]
async fn a_process_that_takes_another_one_s_place_is_told_what_that_one_was() {
    let text = format!("[cluster.ready]\nworker = 3\n{SMALL}");
    let mut cluster = Cluster::start(&text, |_, _| {}).await;
    let first = cluster.node("worker-1").clone();
    assert_eq!(first.cluster_ready(LIMIT).await, verdict(true, &[]));
    // A host that crashed is back before anybody has noticed.
    let second = cluster.start_node("worker-1", |builder| builder).await;
    assert_eq!(second.cluster_ready(LIMIT).await, verdict(true, &[]));
    let all = ["worker-1", "worker-2", "worker-3"];
    support::wait_for(|| second.homes("worker").unwrap().up().eq(all)).await;
    let manager = cluster.node("manager");
    let id = second.endpoint().id();
    support::wait_for(|| manager.id_of("worker-1") == Some(id)).await;
    first.shutdown().await;
    let noticed = || {
        manager
            .endpoint()
            .peers()
            .iter()
            .all(|peer| peer.id != first.endpoint().id())
    };
    support::wait_for(noticed).await;
    assert_eq!(manager.id_of("worker-1"), Some(id));
    assert!(second.homes("worker").unwrap().up().eq(all));
    cluster.stop().await;
}
