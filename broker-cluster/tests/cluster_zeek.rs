//! Our nodes beside Zeek's: the other side is a bare endpoint that sends and expects what a Zeek process does (reference,
//! zeek-cluster 2.4, 6.3 and appendix D).

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::sync::Arc;
use std::time::Duration;

use broker_cluster::log::{Column, ColumnType, LogValue, Schema, serial};
use broker_cluster::logging::LogSpec;
use broker_cluster::{ClusterNode, Layout, NodeEvent, Role, topics};
use broker_core::zeek::{Event, LogCreate, LogField, LogWrite, Message as ZeekMessage, WriterInfo};
use broker_core::{
    Data, Endpoint, Filter, MemNetwork, MemTransport, Message, QueueOptions, Subscriber, Topic,
};

const LIMIT: Duration = Duration::from_secs(20);

const CLUSTER: &str = r#"
[node.manager]
role = "manager"
listen = ["mem://manager"]
[node.logger-1]
role = "logger"
listen = ["mem://logger-1"]
[node.worker-1]
role = "worker"
"#;

fn layout(dir: &tempfile::TempDir) -> Arc<Layout> {
    Arc::new(Layout::parse(CLUSTER, dir.path().join("lab.toml")).unwrap())
}

async fn start(layout: &Arc<Layout>, network: &MemNetwork, name: &str) -> ClusterNode {
    let endpoint = Endpoint::builder().transport(MemTransport::new(network));
    ClusterNode::builder(Arc::clone(layout), name)
        .endpoint_builder(endpoint)
        .start()
        .await
        .unwrap()
}

/// A Zeek process: no features of ours, and the topics of its role.
fn zeek(network: &MemNetwork, topics: &[&str], name: &str) -> (Endpoint, Subscriber) {
    let endpoint = Endpoint::builder()
        .name(name)
        .forwarding(false)
        .transport(MemTransport::new(network))
        .start();
    let mut filter: Filter = topics
        .iter()
        .map(|topic| Topic::try_from(*topic).unwrap())
        .collect();
    filter.insert(topics::nodeid_topic(endpoint.id()));
    filter.insert(topics::node_topic(name));
    let messages = endpoint.subscribe(filter, QueueOptions::local());
    (endpoint, messages)
}

fn hello(name: &str, endpoint: &Endpoint) -> Event {
    let args = vec![
        Data::from(name),
        Data::from(endpoint.id().to_string().as_str()),
    ];
    Event {
        metadata: Some(Vec::new()),
        ..Event::new("Cluster::hello", args)
    }
}

async fn next(messages: &mut Subscriber) -> (Topic, ZeekMessage) {
    let message = messages.recv().await.unwrap();
    (
        message.topic().clone(),
        ZeekMessage::from_data(message.data().unwrap()).unwrap(),
    )
}

fn schema() -> Schema {
    Schema {
        path: "test".to_owned(),
        columns: vec![Column::new("n", ColumnType::parse("count").unwrap())],
    }
}

#[tokio::test]
async fn a_zeek_logger_gets_log_create_then_hello_then_batches_as_zeek_sends_them() {
    let dir = tempfile::tempdir().unwrap();
    let (network, layout) = (MemNetwork::new(), layout(&dir));
    let worker = start(&layout, &network, "worker-1").await;
    let mut log = worker.logs().stream(LogSpec::new(schema())).await.unwrap();

    let (logger, mut messages) = zeek(&network, &["zeek/logs/"], "logger-1");
    logger
        .listen(&"mem://logger-1".parse().unwrap())
        .await
        .unwrap();
    let (topic, create) = next(&mut messages).await;
    assert_eq!(topic.as_bytes(), b"zeek/logs/Test::LOG");
    let ZeekMessage::LogCreate(create) = create else {
        panic!("a LogCreate")
    };
    assert_eq!(
        (create.info.path.as_slice(), create.fields.len()),
        (b"test".as_slice(), 1)
    );
    let (topic, greeting) = next(&mut messages).await;
    assert_eq!(topic, topics::nodeid_topic(logger.id()));
    assert_eq!(
        greeting,
        ZeekMessage::Event(hello("worker-1", worker.endpoint()))
    );

    let worker_topic = topics::nodeid_topic(worker.endpoint().id());
    let mut node_events = worker.node_events();
    logger
        .publish(Message::new(worker_topic, hello("logger-1", &logger)))
        .await
        .unwrap();
    assert_eq!(
        node_events.recv().await.unwrap(),
        NodeEvent::Up {
            name: "logger-1".to_owned(),
            role: Role::Logger,
            id: logger.id()
        }
    );
    for n in 0..2 {
        log.write(&[LogValue::Count(n)]).await.unwrap();
    }
    assert!(worker.logs().drained(LIMIT).await);
    let (topic, batch) = next(&mut messages).await;
    assert_eq!(topic, topics::node_topic("logger-1"));
    let ZeekMessage::Batch(writes) = batch else {
        panic!("a batch, not {batch:?}")
    };
    assert!(
        writes
            .iter()
            .all(|write| matches!(write, ZeekMessage::LogWrite(_)))
    );
    assert_eq!(writes.len(), 2);
    worker.shutdown().await;
    logger.shutdown().await;
}

#[tokio::test]
async fn records_written_before_a_zeek_logger_was_up_reach_it() {
    let dir = tempfile::tempdir().unwrap();
    let (network, layout) = (MemNetwork::new(), layout(&dir));
    let worker = start(&layout, &network, "worker-1").await;
    let mut log = worker.logs().stream(LogSpec::new(schema())).await.unwrap();
    log.write(&[LogValue::Count(1)]).await.unwrap();
    worker.logs().flush();
    let (logger, mut messages) = zeek(&network, &["zeek/logs/"], "logger-1");
    logger
        .listen(&"mem://logger-1".parse().unwrap())
        .await
        .unwrap();
    next(&mut messages).await;
    next(&mut messages).await;
    let worker_topic = topics::nodeid_topic(worker.endpoint().id());
    logger
        .publish(Message::new(worker_topic, hello("logger-1", &logger)))
        .await
        .unwrap();
    let (_, batch) = next(&mut messages).await;
    assert!(matches!(batch, ZeekMessage::Batch(writes) if writes.len() == 1));
    worker.shutdown().await;
    logger.shutdown().await;
}

#[tokio::test]
async fn a_zeek_worker_logs_to_our_logger() {
    let dir = tempfile::tempdir().unwrap();
    let (network, layout) = (MemNetwork::new(), layout(&dir));
    let logger = start(&layout, &network, "logger-1").await;
    let (worker, mut messages) = zeek(&network, &[], "worker-1");
    worker
        .connect("mem://logger-1".parse().unwrap())
        .await
        .unwrap();
    let create = LogCreate {
        stream: "Test::LOG".into(),
        writer: "Log::WRITER_ASCII".into(),
        info: WriterInfo {
            path: "test".into(),
            ..WriterInfo::default()
        },
        fields: vec![LogField {
            name: "n".into(),
            type_tag: 3,
            ..LogField::default()
        }],
    };
    let create = Message::new(topics::log_topic(b"Test::LOG"), create);
    assert!(
        worker
            .send_to(logger.endpoint().id(), create)
            .await
            .unwrap()
    );
    let mut record = Vec::new();
    serial::encode(&[LogValue::Count(42)], &schema().columns, &mut record).unwrap();
    let write = ZeekMessage::LogWrite(LogWrite {
        stream: "Test::LOG".into(),
        writer: "Log::WRITER_ASCII".into(),
        path: "test".into(),
        record: record.into(),
    });
    let batch = Message::new(
        topics::node_topic("logger-1"),
        ZeekMessage::Batch(vec![write]),
    );
    worker.publish(batch).await.unwrap();
    assert!(worker.settled(LIMIT).await);
    logger.shutdown().await;
    let text = std::fs::read_to_string(dir.path().join("logs/logger-1/test.log")).unwrap();
    assert!(
        text.lines().any(|line| line == "42") && text.lines().last().unwrap().starts_with("#close"),
        "{text}"
    );
    // The one thing it sent by itself is its hello.
    let (_, greeting) = next(&mut messages).await;
    assert_eq!(
        greeting,
        ZeekMessage::Event(hello("logger-1", logger.endpoint()))
    );
    worker.shutdown().await;
}

#[tokio::test]
async fn strangers_and_impostors_are_not_taken_for_nodes() {
    let dir = tempfile::tempdir().unwrap();
    let (network, layout) = (MemNetwork::new(), layout(&dir));
    let manager = start(&layout, &network, "manager").await;
    let (stranger, mut messages) = zeek(&network, &[], "stranger");
    stranger
        .connect("mem://manager".parse().unwrap())
        .await
        .unwrap();
    let manager_topic = topics::nodeid_topic(manager.endpoint().id());
    let send = |event: Event| stranger.publish(Message::new(manager_topic.clone(), event));
    let (_, ZeekMessage::Event(masters)) = next(&mut messages).await else {
        panic!("an event")
    };
    assert_eq!(masters.name, "Broker::announce_masters");
    let (_, greeting) = next(&mut messages).await;
    assert_eq!(
        greeting,
        ZeekMessage::Event(hello("manager", manager.endpoint()))
    );
    let mut node_events = manager.node_events();
    send(hello("worker-9", &stranger)).await.unwrap();
    send(Event::new(
        "Cluster::hello",
        vec![Data::from("worker-1"), Data::from("no id")],
    ))
    .await
    .unwrap();
    // The ID of somebody who is no peer.
    let nobody = Data::from("45734204-175f-5559-a971-4304206d7f95");
    send(Event::new(
        "Cluster::hello",
        vec![Data::from("worker-1"), nobody],
    ))
    .await
    .unwrap();
    send(hello("worker-1", &stranger)).await.unwrap();
    assert_eq!(
        node_events.recv().await.unwrap(),
        NodeEvent::Up {
            name: "worker-1".to_owned(),
            role: Role::Worker,
            id: stranger.id()
        }
    );
    assert!(node_events.try_recv().is_err());
    stranger.shutdown().await;
    manager.shutdown().await;
}
