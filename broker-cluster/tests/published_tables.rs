//! Tables whose changes are published: over a cluster, and the events as they travel.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use broker_cluster::table::{
    CHANGE_EVENT, ChangeHeader, ChangeInfo, ChangeKind, PublishedTable, TableChange,
};
use broker_cluster::{ClusterNode, Layout};
use broker_core::zeek::{Event, Message as ZeekMessage};
use broker_core::{
    Data, Endpoint, Filter, FromData, MemNetwork, MemTransport, Message, QueueOptions, ToData,
    Topic,
};
use support::{LIMIT, TWO_WORKERS, wait_for};

const NODES: [&str; 4] = ["manager", "proxy-1", "worker-1", "worker-2"];

#[tokio::test]
async fn what_any_node_writes_is_on_all_nodes() {
    let (network, dir) = (MemNetwork::new(), tempfile::tempdir().unwrap());
    let layout = Arc::new(Layout::parse(TWO_WORKERS, dir.path().join("lab.toml")).unwrap());
    let mut nodes: Vec<ClusterNode> = Vec::new();
    for name in NODES {
        let transport = MemTransport::new(&network);
        let node = ClusterNode::builder(Arc::clone(&layout), name)
            .endpoint_builder(Endpoint::builder().transport(transport))
            .start();
        nodes.push(node.await.unwrap());
    }
    assert!(nodes[3].cluster_started(LIMIT).await);
    // The proxy has no such table, and does without.
    let tables: Vec<PublishedTable<(String, u64), u64>> = [0, 2, 3]
        .map(|index: usize| nodes[index].published_table("Hosts::seen").open().unwrap())
        .into();
    let mut changes = tables[2].changes();
    for (index, table) in (0u64..).zip(&tables) {
        for key in 0..25 {
            table.insert((format!("from-{index}"), key), key).unwrap();
        }
    }
    for table in &tables {
        wait_for(|| table.len() == 75).await;
    }
    assert_eq!(tables[0].snapshot(), tables[1].snapshot());
    assert_eq!(tables[0].snapshot(), tables[2].snapshot());
    // What was applied is not published again, and own changes that come back are ignored.
    for table in &tables {
        let counters = table.counters();
        assert_eq!(
            (counters.published, counters.applied, counters.skipped),
            (25, 50, 0)
        );
    }
    let mut told = BTreeMap::new();
    while let Some(change) = changes.try_recv() {
        assert!(matches!(*change, TableChange::New { .. }));
        *told.entry(change.key().0.clone()).or_insert(0) += 1;
    }
    assert_eq!(
        told,
        BTreeMap::from([("from-0".to_owned(), 25), ("from-1".to_owned(), 25)])
    );

    let key = ("from-2".to_owned(), 3);
    assert_eq!(tables[1].remove(&key), Some(3));
    tables[1].insert(("from-0".to_owned(), 1), 100).unwrap();
    wait_for(|| !tables[2].contains(&key) && !tables[0].contains(&key)).await;
    let changed = ("from-0".to_owned(), 1);
    wait_for(|| tables[2].get(&changed) == Some(100)).await;

    // The proxy opens it late and gets the whole table by name of the process.
    let late = nodes[1]
        .published_table::<(String, u64), u64>("Hosts::seen")
        .open()
        .unwrap();
    assert!(late.is_empty());
    assert_eq!(tables[0].publish_table_to(nodes[1].endpoint().id()), 74);
    wait_for(|| late.len() == 74).await;
    assert_eq!(late.snapshot(), tables[0].snapshot());
    for node in nodes.iter().rev() {
        node.shutdown().await;
    }
}

/// A table beside a peer that plays a Zeek node: it hears what is published and publishes itself.
struct Beside {
    table: PublishedTable<String, u64>,
    peer: Endpoint,
    heard: broker_core::Subscriber,
    own: Endpoint,
    asked: Arc<AtomicUsize>,
}

impl Beside {
    async fn start() -> Self {
        let network = MemNetwork::new();
        let node = |name: &str| {
            let transport = MemTransport::new(&network);
            Endpoint::builder().name(name).transport(transport).start()
        };
        let (own, peer) = (node("own"), node("peer"));
        let tables: Filter = [Topic::from_static("zeek/table/")].into_iter().collect();
        let heard = peer.subscribe(tables, QueueOptions::local());
        own.listen(&"mem://own".parse().unwrap()).await.unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let asks = Arc::clone(&asked);
        let table = PublishedTable::builder(&own, "Hosts::seen")
            .max_batch_size(0)
            .policy(move |header: &ChangeHeader, infos: &[ChangeInfo]| {
                asks.fetch_add(infos.len(), Ordering::Relaxed);
                assert_ne!(header.node_id, "mistake");
                header.node_id != "unwanted"
            })
            .open()
            .unwrap();
        peer.connect("mem://own".parse().unwrap()).await.unwrap();
        wait_for(|| own.peers().iter().any(|other| other.id == peer.id())).await;
        Self {
            table,
            peer,
            heard,
            own,
            asked,
        }
    }

    async fn event(&mut self) -> (Topic, Event) {
        let message = tokio::time::timeout(LIMIT, self.heard.recv()).await;
        let message = message.unwrap().unwrap();
        match ZeekMessage::from_data(message.data().unwrap()).unwrap() {
            ZeekMessage::Event(event) => (message.topic().clone(), event),
            other => panic!("{other:?}"),
        }
    }

    async fn publish(&self, id: &str, node: &str, infos: Vec<Data>) {
        let header = Data::vector([
            Data::from(id),
            broker_core::Timestamp::from_nanos(1).into(),
            node.into(),
        ]);
        let event = Event::new(CHANGE_EVENT, vec![header, Data::Vector(infos)]);
        let topic = Topic::new(format!("zeek/table/{id}/")).unwrap();
        self.peer.publish(Message::new(topic, event)).await.unwrap();
    }
}

fn info(kind: &str, key: &str, value: Data, previous: Data) -> Data {
    Data::vector([
        Data::enum_value(kind),
        broker_core::Timestamp::from_nanos(1).into(),
        Data::vector([Data::from(key)]),
        value,
        previous,
    ])
}

#[tokio::test]
async fn events_have_zeek_s_shape_both_ways() {
    let mut beside = Beside::start().await;
    beside.table.insert("a".to_owned(), 1).unwrap();
    beside.table.insert("a".to_owned(), 2).unwrap();
    beside.table.remove("a");
    let mut changes = Vec::new();
    for _ in 0..3 {
        let (topic, event) = beside.event().await;
        assert_eq!(topic.as_bytes(), b"zeek/table/Hosts::seen/");
        assert_eq!(event.name, *"Cluster::table_change_infos");
        // Without metadata, as the cluster layer publishes.
        assert_eq!(event.metadata, None);
        let [header, Data::Vector(infos)] = event.args.as_slice() else {
            panic!("{:?}", event.args)
        };
        let header = ChangeHeader::from_data(header).unwrap();
        assert_eq!(header.id, "Hosts::seen");
        assert_eq!(header.node_id, beside.own.id().to_string());
        changes.extend(
            infos
                .iter()
                .map(|info| ChangeInfo::from_data(info).unwrap()),
        );
    }
    let kinds: Vec<ChangeKind> = changes.iter().map(|info| info.change).collect();
    assert_eq!(
        kinds,
        [ChangeKind::New, ChangeKind::Changed, ChangeKind::Removed]
    );
    assert!(changes.iter().all(|info| info.index == ["a".into()]));
    assert_eq!(changes[1].previous, Some(1u64.to_data()));

    let none = || Data::None;
    let infos = vec![
        info("TABLE_ELEMENT_NEW", "b", 5u64.into(), none()),
        info("TABLE_ELEMENT_NEW", "c", 6u64.into(), none()),
        info("TABLE_ELEMENT_CHANGED", "b", 7u64.into(), 5u64.into()),
        info("TABLE_ELEMENT_EXPIRED", "c", 6u64.into(), none()),
        info("TABLE_ELEMENT_NEW", "d", "text".into(), none()),
        "nonsense".into(),
    ];
    beside.publish("Hosts::seen", "zeek", infos).await;
    wait_for(|| beside.table.counters().skipped == 2).await;
    assert_eq!(
        beside.table.snapshot(),
        BTreeMap::from([("b".to_owned(), 7)])
    );
    assert_eq!(beside.table.counters().applied, 4);

    // Not for this table, not wanted, a panic of the policy, its own, and not even an event of the kind.
    let one = || vec![info("TABLE_ELEMENT_NEW", "e", 1u64.into(), Data::None)];
    let asked = beside.asked.load(Ordering::Relaxed);
    beside.publish("Hosts::seen2", "zeek", one()).await;
    beside.publish("Hosts::seen", "unwanted", one()).await;
    beside.publish("Hosts::seen", "mistake", one()).await;
    let own = beside.own.id().to_string();
    beside.publish("Hosts::seen", &own, one()).await;
    let last = vec![info("TABLE_ELEMENT_NEW", "last", 1u64.into(), Data::None)];
    beside.publish("Hosts::seen", "zeek", last).await;
    wait_for(|| beside.table.contains("last")).await;
    assert_eq!(beside.table.len(), 2);
    assert_eq!(beside.asked.load(Ordering::Relaxed), asked + 4);
    assert_eq!(beside.table.counters().skipped, 4);
    beside.peer.shutdown().await;
    beside.own.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_change_waits_for_its_batch_no_longer_than_the_delay() {
    let network = MemNetwork::new();
    let node = Endpoint::builder()
        .transport(MemTransport::new(&network))
        .start();
    let table = PublishedTable::<u64, u64>::builder(&node, "t")
        .write_expire(Duration::from_secs(1))
        .open()
        .unwrap();
    let mut changes = table.changes();
    table.insert(1, 1).unwrap();
    table.insert(2, 1).unwrap();
    assert_eq!(table.counters().published, 1);
    tokio::time::sleep(Duration::from_millis(11)).await;
    assert_eq!(table.counters().published, 2);
    // They expire here, which is told and published.
    for key in [1, 2] {
        let change = changes.recv().await.unwrap();
        assert_eq!(*change, TableChange::Expired { key, previous: 1 });
    }
    tokio::time::sleep(Duration::from_millis(11)).await;
    assert_eq!(table.counters().published, 4);
    node.shutdown().await;
    assert!(changes.recv().await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_table_that_is_sent_undoes_nothing_that_is_written_meanwhile() {
    let network = MemNetwork::new();
    let node = |name: &str| {
        let transport = MemTransport::new(&network);
        let builder = Endpoint::builder()
            .name(name)
            .peer_queue(QueueOptions::local());
        builder.transport(transport).start()
    };
    let (own, peer) = (node("own"), node("peer"));
    let tables: Filter = [Topic::from_static("zeek/table/t/")].into_iter().collect();
    let mut heard = peer.subscribe(tables, QueueOptions::local());
    own.listen(&"mem://own".parse().unwrap()).await.unwrap();
    let table = PublishedTable::<u64, u64>::builder(&own, "t")
        .max_batch_size(0)
        .open()
        .unwrap();
    // Enough of them that sending takes a while; the one that is written comes last.
    for key in 0..5000 {
        table.insert(key, 0).unwrap();
    }
    peer.connect("mem://own".parse().unwrap()).await.unwrap();
    wait_for(|| own.peers().iter().any(|other| other.id == peer.id())).await;
    let sender = table.clone();
    let sending = tokio::task::spawn_blocking(move || {
        for _ in 0..10 {
            assert_eq!(
                sender.publish_table(&Topic::from_static("zeek/table/t/")),
                5000
            );
        }
    });
    let mut last = 0;
    while !sending.is_finished() {
        last += 1;
        table.insert(4999, last).unwrap();
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
    sending.await.unwrap();
    let (mut seen, mut wholes) = (0, 0);
    while seen < last || wholes < 10 {
        let message = tokio::time::timeout(LIMIT, heard.recv()).await;
        let message = message.unwrap().unwrap();
        let Ok(ZeekMessage::Event(event)) = ZeekMessage::from_data(message.data().unwrap()) else {
            panic!("{message:?}")
        };
        let infos = event.args[1].as_vector().unwrap();
        wholes += usize::from(infos.len() == 5000);
        let value = infos.last().unwrap().as_vector().unwrap()[3].as_count();
        assert!(value.unwrap() >= seen, "{value:?} behind {seen}");
        seen = value.unwrap();
    }
    for node in [peer, own] {
        node.shutdown().await;
    }
}
