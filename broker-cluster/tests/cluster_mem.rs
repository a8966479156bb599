//! Whole clusters in one process, over `mem://`.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::sync::Arc;

use broker_cluster::log::{Column, ColumnType, LogFormat, LogValue, Schema};
use broker_cluster::logging::{LogSpec, audit_logs};
use broker_cluster::pools::{HrwKey, PoolSpec};
use broker_cluster::{ClusterNode, Layout, NodeEvent, RelayVia, Role, topics};
use broker_core::zeek::{Event, Message as ZeekMessage};
use broker_core::{Data, Endpoint, MemNetwork, MemTransport, Message, QueueOptions, Topic};

use self::support::{Cluster, LIMIT};

mod support;

const CLUSTER: &str = r#"
[node.manager]
role = "manager"
listen = ["mem://manager"]
[node.logger-1]
role = "logger"
listen = ["mem://logger-1"]
[node.logger-2]
role = "logger"
listen = ["mem://logger-2"]
[node.proxy-1]
role = "proxy"
listen = ["mem://proxy-1"]
[node.proxy-2]
role = "proxy"
listen = ["mem://proxy-2"]
[node.worker-1]
role = "worker"
[node.worker-2]
role = "worker"
"#;

/// A cluster of nodes whose events are asked for.
async fn start(text: &str) -> Cluster {
    Cluster::start_with(text, |_, builder| builder.events(QueueOptions::local())).await
}

/// The data lines of a log over all loggers, sorted.
fn rows(cluster: &Cluster, path: &str) -> Vec<String> {
    let mut rows = Vec::new();
    for logger in std::fs::read_dir(cluster.layout.log_dir()).unwrap() {
        let file = logger.unwrap().path().join(format!("{path}.log"));
        if let Ok(text) = std::fs::read_to_string(file) {
            rows.extend(
                text.lines()
                    .filter(|line| !line.starts_with('#'))
                    .map(str::to_owned),
            );
        }
    }
    rows.sort();
    rows
}

fn count(n: u64) -> Event {
    Event::new("Test::count", vec![Data::Count(n)])
}

fn schema() -> Schema {
    Schema {
        path: "test".to_owned(),
        columns: vec![Column::new("n", ColumnType::parse("count").unwrap())],
    }
}

async fn log_counts(node: &ClusterNode, numbers: std::ops::Range<u64>) {
    let mut log = node.logs().stream(LogSpec::new(schema())).await.unwrap();
    for n in numbers {
        log.write(&[LogValue::Count(n)]).await.unwrap();
    }
}

#[tokio::test]
async fn nodes_announce_the_filters_of_a_zeek_cluster() {
    let mut cluster = start(CLUSTER).await;
    for (name, expected) in [
        (
            "manager",
            vec![
                "zeek/cluster/manager",
                "zeek/cluster/node/manager/",
                "ID",
                "zeek/supervisor",
                "zeek/table/",
            ],
        ),
        (
            "logger-1",
            vec![
                "zeek/cluster/logger",
                "zeek/cluster/node/logger-1/",
                "ID",
                "zeek/cluster/pool/logger",
                "zeek/logs/",
                "zeek/supervisor",
                "zeek/table/",
            ],
        ),
        (
            "proxy-1",
            vec![
                "zeek/cluster/node/proxy-1/",
                "ID",
                "zeek/cluster/pool/proxy",
                "zeek/cluster/proxy",
                "zeek/supervisor",
                "zeek/table/",
            ],
        ),
        (
            "worker-1",
            vec![
                "zeek/cluster/node/worker-1/",
                "ID",
                "zeek/cluster/pool/worker",
                "zeek/cluster/worker",
                "zeek/supervisor",
                "zeek/table/",
            ],
        ),
    ] {
        let node = cluster.node(name);
        let own = topics::nodeid_topic(node.endpoint().id()).to_string();
        let announced: Vec<String> = node
            .endpoint()
            .status()
            .subscriptions
            .iter()
            .map(ToString::to_string)
            .collect();
        let expected: Vec<String> = expected
            .into_iter()
            .map(|topic| topic.replace("ID", &own))
            .collect();
        assert_eq!(announced, expected, "{name}");
    }
    cluster.stop().await;
}

#[tokio::test]
async fn everybody_is_connected_as_in_a_zeek_cluster() {
    let mut cluster = start(CLUSTER).await;
    let up = |name: &str| {
        cluster
            .node(name)
            .nodes_up()
            .into_keys()
            .collect::<Vec<_>>()
    };
    assert_eq!(
        up("worker-1"),
        ["logger-1", "logger-2", "manager", "proxy-1", "proxy-2"]
    );
    assert_eq!(
        up("proxy-1"),
        ["logger-1", "logger-2", "manager", "worker-1", "worker-2"]
    );
    assert_eq!(
        up("manager"),
        [
            "logger-1", "logger-2", "proxy-1", "proxy-2", "worker-1", "worker-2"
        ]
    );
    assert_eq!(
        up("logger-1"),
        ["manager", "proxy-1", "proxy-2", "worker-1", "worker-2"]
    );
    cluster.stop().await;
}

#[tokio::test]
async fn keys_go_to_the_proxy_that_zeek_s_formula_names() {
    let mut cluster = start(CLUSTER).await;
    let worker = cluster.node("worker-1");
    for n in [0, 1, 2, 3, 13, 37, 42, 101] {
        let reached = worker
            .publish_hrw(PoolSpec::PROXY, &HrwKey::count(n), count(n))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(reached.peers, 1);
    }
    for (proxy, expected) in [
        ("proxy-1", vec![1, 13, 37, 42, 101]),
        ("proxy-2", vec![0, 2, 3]),
    ] {
        let mut events = cluster.node(proxy).take_events().unwrap();
        for n in expected {
            let (topic, event) = events.recv().await.unwrap();
            assert_eq!((topic, event), (topics::node_topic(proxy), count(n)));
        }
    }
    cluster.stop().await;
}

#[tokio::test]
async fn round_robin_skips_a_node_that_is_down_and_takes_it_back() {
    let mut cluster = start(CLUSTER).await;
    let manager = cluster.node("manager").clone();
    let mut node_events = manager.node_events();
    let next = || async {
        manager
            .publish_rr(PoolSpec::PROXY, "k", count(0))
            .await
            .unwrap()
            .map(|reached| reached.peers)
    };
    let old = manager.id_of("proxy-1").unwrap();
    cluster.node("proxy-1").shutdown().await;
    let down = NodeEvent::Down {
        name: "proxy-1".to_owned(),
        role: Role::Proxy,
        id: old,
    };
    assert_eq!(node_events.recv().await.unwrap(), down);
    assert_eq!(
        manager
            .hrw_node(PoolSpec::PROXY, &HrwKey::count(42))
            .unwrap()
            .unwrap(),
        "proxy-2"
    );
    assert_eq!((next().await, next().await), (Some(1), Some(1)));
    cluster
        .start_node("proxy-1", |builder| builder.events(QueueOptions::local()))
        .await;
    let NodeEvent::Up { name, id, .. } = node_events.recv().await.unwrap() else {
        panic!("an up")
    };
    assert_eq!(name, "proxy-1");
    assert_ne!(id, old);
    assert_eq!(
        manager
            .hrw_node(PoolSpec::PROXY, &HrwKey::count(42))
            .unwrap()
            .unwrap(),
        "proxy-1"
    );
    cluster.stop().await;
}

#[tokio::test]
async fn a_worker_reaches_all_workers_through_the_manager_or_a_proxy() {
    let mut cluster = start(CLUSTER).await;
    let worker = cluster.node("worker-1");
    let all = topics::role_topic(Role::Worker);
    assert!(
        worker
            .relay(RelayVia::Manager, all.clone(), count(1))
            .await
            .unwrap()
    );
    assert!(
        worker
            .relay(RelayVia::Proxy("k"), all.clone(), count(2))
            .await
            .unwrap()
    );
    for name in ["worker-1", "worker-2"] {
        let mut events = cluster.node(name).take_events().unwrap();
        let mut seen = Vec::new();
        for _ in 0..2 {
            let (topic, event) = events.recv().await.unwrap();
            assert_eq!(topic, all);
            seen.push(event.args[0].as_count().unwrap());
        }
        seen.sort_unstable();
        assert_eq!(seen, [1, 2], "{name}");
    }
    cluster.stop().await;
}

#[tokio::test]
async fn records_of_all_nodes_are_dealt_over_the_loggers_and_acknowledged() {
    let mut cluster = start(CLUSTER).await;
    log_counts(cluster.node("worker-1"), 0..1000).await;
    log_counts(cluster.node("proxy-1"), 1000..1010).await;
    log_counts(cluster.node("logger-1"), 1010..1020).await;
    for name in ["worker-1", "proxy-1", "logger-1"] {
        assert!(cluster.node(name).logs().drained(LIMIT).await);
    }
    let counted = cluster.node("worker-1").log_counters()["Test::LOG"];
    assert_eq!(
        (counted.received, counted.written, counted.dropped),
        (1000, 1000, 0)
    );
    let status = cluster.node("logger-2").endpoint().status().logs["Test::LOG"];
    assert_eq!(status.written, 505);
    cluster.stop().await;
    let mut expected: Vec<String> = (0..1020).map(|n| n.to_string()).collect();
    expected.sort();
    assert_eq!(rows(&cluster, "test"), expected);
    let audit = audit_logs(cluster.layout.log_dir()).unwrap();
    assert_eq!((audit.records(), audit.duplicates()), (1020, 0));
}

#[tokio::test]
async fn a_logger_that_dies_in_the_middle_costs_no_record() {
    let mut cluster = start(CLUSTER).await;
    let worker = cluster.node("worker-1").clone();
    let mut log = worker.logs().stream(LogSpec::new(schema())).await.unwrap();
    for n in 0..20_000 {
        if n == 7_000 {
            // Without shutdown: what it had not acknowledged is its own affair.
            cluster.nodes.remove("logger-1").unwrap();
        }
        log.write(&[LogValue::Count(n)]).await.unwrap();
    }
    assert!(worker.logs().drained(LIMIT).await);
    let counted = worker.log_counters()["Test::LOG"];
    assert_eq!(
        (counted.received, counted.written, counted.dropped),
        (20_000, 20_000, 0)
    );
    cluster.stop().await;
    let mut rows: Vec<u64> = rows(&cluster, "test")
        .iter()
        .map(|row| row.parse().unwrap())
        .collect();
    rows.sort_unstable();
    let audit = audit_logs(cluster.layout.log_dir()).unwrap();
    assert_eq!(audit.records(), 20_000);
    assert_eq!(audit.duplicates(), rows.len() as u64 - 20_000);
    rows.dedup();
    assert!(rows.into_iter().eq(0..20_000));
}

#[tokio::test]
async fn without_loggers_the_manager_writes_the_logs_in_the_form_asked_for() {
    let text = "[cluster]\nlog_format = \"json\"\n[node.m]\nrole = \"manager\"\nlisten = [\"mem://m\"]\n[node.w]\nrole = \"worker\"\n";
    let mut cluster = start(text).await;
    log_counts(cluster.node("w"), 0..1).await;
    let spec = LogSpec::new(Schema {
        path: "plain".to_owned(),
        ..schema()
    })
    .format(LogFormat::Tsv);
    let mut plain = cluster.node("w").logs().stream(spec).await.unwrap();
    plain.write(&[LogValue::Count(7)]).await.unwrap();
    log_counts(cluster.node("m"), 1..2).await;
    cluster.stop().await;
    assert_eq!(rows(&cluster, "test"), ["{\"n\":0}", "{\"n\":1}"]);
    assert_eq!(rows(&cluster, "plain"), ["7"]);
    assert!(cluster.dir.path().join("logs/m/test.log").exists());
}

#[tokio::test]
async fn an_event_stream_takes_batches_apart_and_passes_over_what_is_no_event() {
    let mut cluster = start(CLUSTER).await;
    let mut events = cluster.node("worker-1").take_events().unwrap();
    assert!(cluster.node("worker-1").take_events().is_none());
    let manager = cluster.node("manager").endpoint();
    let topic = topics::node_topic("worker-1");
    let send = |data: Data| manager.publish(Message::new(topic.clone(), data));
    send(Data::from("no message")).await.unwrap();
    let batch = ZeekMessage::Batch(vec![
        count(1).into(),
        ZeekMessage::Batch(vec![count(2).into()]),
    ]);
    send(batch.into_data()).await.unwrap();
    send(count(3).into()).await.unwrap();
    for n in 1..=3 {
        assert_eq!(events.recv().await.unwrap(), (topic.clone(), count(n)));
    }
    assert_eq!(events.invalid(), 1);
    cluster.stop().await;
    assert_eq!(events.recv().await, None);
}

#[tokio::test]
async fn stores_of_the_layout_are_on_every_node() {
    let mut cluster = start(&format!("[stores.hosts]\n{CLUSTER}")).await;
    let here = cluster.node("worker-1").store("hosts").unwrap();
    let there = cluster.node("proxy-2").store("hosts").unwrap();
    assert_eq!(
        cluster.node("manager").store("hosts").unwrap().role(),
        broker_store::Role::Master
    );
    here.increment("192.0.2.1", Data::Count(2), None)
        .await
        .unwrap();
    there
        .increment("192.0.2.1", Data::Count(3), None)
        .await
        .unwrap();
    here.sync(LIMIT).await.unwrap();
    assert_eq!(here.get("192.0.2.1").await.unwrap(), Some(Data::Count(5)));
    cluster.stop().await;
}

#[tokio::test]
async fn a_restarted_manager_does_not_announce_the_start_again_and_is_told_of_it() {
    let mut cluster = start(CLUSTER).await;
    cluster.node("manager").shutdown().await;
    cluster
        .start_node("manager", |builder| builder.events(QueueOptions::local()))
        .await;
    assert!(cluster.node("manager").cluster_started(LIMIT).await);
    cluster.stop().await;
}

#[tokio::test]
async fn a_node_that_cannot_start_says_why_and_binds_nothing() {
    let layout = Arc::new(Layout::parse(CLUSTER, "lab.toml").unwrap());
    let start = |name: &str| ClusterNode::builder(Arc::clone(&layout), name).start();
    let error = start("worker-9").await.unwrap_err().to_string();
    assert!(
        error.contains("there is no node called \"worker-9\""),
        "{error}"
    );
    let error = start("worker-1").await.unwrap_err().to_string();
    assert!(error.contains("mem://logger-1"), "{error}");
}

#[tokio::test]
async fn a_node_outside_a_cluster_logs_to_the_topic_of_the_stream() {
    let network = MemNetwork::new();
    let left = Endpoint::builder()
        .transport(MemTransport::new(&network))
        .start();
    let right = Endpoint::builder()
        .transport(MemTransport::new(&network))
        .start();
    let dir = tempfile::tempdir().unwrap();
    let receiver =
        broker_cluster::logging::LogReceiver::start(&right, "right", dir.path(), LogFormat::Tsv)
            .unwrap();
    let mut messages = right.subscribe(
        [Topic::from_static("zeek/logs/")].into_iter().collect(),
        QueueOptions::local(),
    );
    right.listen(&"mem://right".parse().unwrap()).await.unwrap();
    left.connect("mem://right".parse().unwrap()).await.unwrap();
    let logs = broker_cluster::logging::LogClient::standalone(&left);
    let mut log = logs.stream(LogSpec::new(schema())).await.unwrap();
    log.write(&[LogValue::Count(5)]).await.unwrap();
    assert!(logs.drained(LIMIT).await);
    for _ in 0..2 {
        assert_eq!(
            messages.recv().await.unwrap().topic().as_bytes(),
            b"zeek/logs/Test::LOG"
        );
    }
    left.shutdown().await;
    receiver.close().await;
    let text = std::fs::read_to_string(dir.path().join("test.log")).unwrap();
    assert!(text.lines().any(|line| line == "5"), "{text}");
    right.shutdown().await;
}
