//! Tables in stores: on one endpoint, over several nodes, through restarts and absences.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod support;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[cfg(feature = "sqlite")]
use broker_cluster::table::TableBackend;
use broker_cluster::table::{BrokerTable, TableChange, TableError, TableProblem};
use broker_cluster::{ClusterNode, Layout, topics};
use broker_core::zeek::Event;
use broker_core::{Data, Endpoint, FromData, MemNetwork, MemTransport, Message, Timestamp, ToData};
use broker_store::{FEATURE, MasterOptions, Memory, StoreError, StoreExt};
use support::{LIMIT, TWO_WORKERS, wait_for};

async fn start(network: &MemNetwork, text: &str, dir: &Path, name: &str) -> ClusterNode {
    let layout = Layout::parse(text, dir.join("lab.toml")).unwrap();
    ClusterNode::builder(layout, name)
        .endpoint_builder(Endpoint::builder().transport(MemTransport::new(network)))
        .start()
        .await
        .unwrap()
}

fn endpoint(network: &MemNetwork, name: &str) -> Endpoint {
    Endpoint::builder()
        .name(name)
        .feature(FEATURE)
        .transport(MemTransport::new(network))
        .start()
}

#[derive(Clone, Debug, PartialEq, ToData, FromData)]
#[broker(module = "Hosts")]
struct Seen {
    first: Timestamp,
    name: Option<String>,
    ports: Vec<u16>,
}

#[tokio::test]
async fn a_table_of_records_is_one_map_on_all_nodes() {
    let (network, dir) = (MemNetwork::new(), tempfile::tempdir().unwrap());
    let manager = start(&network, TWO_WORKERS, dir.path(), "manager").await;
    let worker = start(&network, TWO_WORKERS, dir.path(), "worker-1").await;
    let other = start(&network, TWO_WORKERS, dir.path(), "worker-2").await;
    let proxy = start(&network, TWO_WORKERS, dir.path(), "proxy-1").await;
    assert!(worker.cluster_started(LIMIT).await);

    // The other nodes open it before the manager has it, and need not know what it is kept in.
    let at_worker = worker
        .table::<(IpAddr, u64), Seen>("Hosts::seen")
        .open()
        .await
        .unwrap();
    let at_manager = manager
        .table::<(IpAddr, u64), Seen>("Hosts::seen")
        .open()
        .await
        .unwrap();
    assert!(at_worker.synced(LIMIT).await);
    let key = (IpAddr::from([192, 0, 2, 1]), 7u64);
    let seen = Seen {
        first: Timestamp::from_nanos(1),
        name: None,
        ports: vec![80, 443],
    };
    assert_eq!(at_worker.insert(key, seen.clone()).unwrap(), None);
    assert_eq!(at_worker.get(&key), Some(seen.clone()));
    assert!(at_worker.flush(LIMIT).await);
    at_manager.sync(LIMIT).await.unwrap();
    assert_eq!(at_manager.get(&key), Some(seen.clone()));

    // In the store it is what Zeek would have put there: a vector for the index, a vector for the record.
    let stored = manager.store("___sync_store_Hosts::seen").unwrap();
    let index = Data::vector([Data::from(key.0), 7u64.into()]);
    let record = Data::vector([
        Timestamp::from_nanos(1).into(),
        Data::None,
        Data::vector([80u64, 443]),
    ]);
    assert_eq!(stored.get(index).await.unwrap(), Some(record));

    // Who opens it late has everything, from the clone that the announcement made.
    let late = other
        .table::<(IpAddr, u64), Seen>("Hosts::seen")
        .open()
        .await
        .unwrap();
    late.sync(LIMIT).await.unwrap();
    assert_eq!(late.snapshot(), BTreeMap::from([(key, seen)]));
    // A node that never asked for it has a clone, as Zeek nodes do.
    wait_for(|| proxy.store("___sync_store_Hosts::seen").is_some()).await;

    for node in [worker, other, proxy, manager] {
        node.shutdown().await;
    }
}

#[tokio::test]
async fn a_callback_that_panics_does_not_end_its_table() {
    let network = MemNetwork::new();
    let (left, right) = (endpoint(&network, "left"), endpoint(&network, "right"));
    left.listen(&"mem://left".parse().unwrap()).await.unwrap();
    right.connect("mem://left".parse().unwrap()).await.unwrap();
    let at_left = BrokerTable::<String, u64>::builder(&left, "t")
        .open()
        .await
        .unwrap();
    let at_right = BrokerTable::<String, u64>::builder(&right, "t")
        .master(false)
        .on_change(|_| panic!("a mistake in the callback"))
        .open()
        .await
        .unwrap();
    at_right.sync(LIMIT).await.unwrap();
    let mut changes = at_right.changes();
    at_left.insert("a".to_owned(), 1).unwrap();
    assert_eq!(changes.recv().await.unwrap().key(), "a");
    at_right.insert("b".to_owned(), 2).unwrap();
    assert!(at_right.flush(LIMIT).await);
    assert_eq!(at_left.get("b"), Some(2));
    for node in [right, left] {
        node.shutdown().await;
    }
}

#[tokio::test]
async fn changes_are_told_for_what_others_write_and_not_for_own_writes() {
    let network = MemNetwork::new();
    let (left, right) = (endpoint(&network, "left"), endpoint(&network, "right"));
    left.listen(&"mem://left".parse().unwrap()).await.unwrap();
    right.connect("mem://left".parse().unwrap()).await.unwrap();
    let called = Arc::new(Mutex::new(Vec::new()));
    let calls = Arc::clone(&called);
    let at_left = BrokerTable::<String, u64>::builder(&left, "t")
        .on_change(move |change: &TableChange<String, u64>| {
            calls.lock().unwrap().push(change.clone());
        })
        .open()
        .await
        .unwrap();
    let at_right = BrokerTable::<String, u64>::builder(&right, "t")
        .master(false)
        .open()
        .await
        .unwrap();
    at_right.sync(LIMIT).await.unwrap();
    let mut changes = at_right.changes();
    at_left.insert("a".to_owned(), 1).unwrap();
    at_right.insert("own".to_owned(), 1).unwrap();
    at_left.insert("a".to_owned(), 2).unwrap();
    at_left.insert("a".to_owned(), 2).unwrap();
    assert_eq!(at_left.remove("a").unwrap(), Some(2));
    let key = || "a".to_owned();
    let expected = [
        TableChange::New {
            key: key(),
            value: 1,
        },
        TableChange::Changed {
            key: key(),
            value: 2,
            previous: 1,
        },
        TableChange::Changed {
            key: key(),
            value: 2,
            previous: 2,
        },
        TableChange::Removed {
            key: key(),
            previous: 2,
        },
    ];
    at_left.flush(LIMIT).await;
    let mut told = Vec::new();
    while told.last() != expected.last() {
        let change = tokio::time::timeout(LIMIT, changes.recv()).await.unwrap();
        told.push((*change.unwrap()).clone());
    }
    assert_eq!(told, expected);
    at_right.sync(LIMIT).await.unwrap();
    at_left.sync(LIMIT).await.unwrap();
    let new = TableChange::New {
        key: "own".to_owned(),
        value: 1,
    };
    assert_eq!(*called.lock().unwrap(), [new]);
    assert_eq!(at_right.counters().written, 1);
    for node in [right, left] {
        node.shutdown().await;
    }
    assert!(changes.recv().await.is_none());
    assert!(matches!(
        at_left.insert("b".to_owned(), 1),
        Err(TableError::Closed)
    ));
}

#[tokio::test]
async fn sets_and_expiry_are_those_of_the_store() {
    let network = MemNetwork::new();
    let node = endpoint(&network, "node");
    let set = BrokerTable::<IpAddr, _>::builder(&node, "Hosts::known")
        .write_expire(Duration::from_millis(300))
        .open_set()
        .await
        .unwrap();
    let mut changes = set.as_table().changes();
    let host = IpAddr::from([192, 0, 2, 1]);
    assert!(set.insert(host).unwrap());
    assert!(!set.insert(host).unwrap());
    assert!(set.flush(LIMIT).await);
    // A set's element has no value in the store.
    let stored = node.store("___sync_store_Hosts::known").unwrap();
    assert_eq!(stored.get(host).await.unwrap(), Some(Data::None));
    let change = tokio::time::timeout(LIMIT, changes.recv()).await.unwrap();
    assert!(matches!(*change.unwrap(), TableChange::Expired { key, .. } if key == host));
    assert!(set.is_empty());
    assert!(!set.remove(&host).unwrap());

    let refused = BrokerTable::<u64, u64>::builder(&node, "t")
        .read_expire(Duration::from_secs(1))
        .open()
        .await;
    assert!(matches!(refused, Err(TableError::ReadExpire)));
    let refused = BrokerTable::<u64, u64>::builder(&node, "../t").open().await;
    assert!(matches!(refused, Err(TableError::Name { .. })));
    let table = BrokerTable::<u64, Option<u64>>::builder(&node, "t")
        .open()
        .await
        .unwrap();
    assert!(matches!(table.insert(1, None), Err(TableError::NoValue)));
    node.shutdown().await;
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn a_manager_that_comes_again_has_the_table_from_disk_and_the_others_follow() {
    let (network, dir) = (MemNetwork::new(), tempfile::tempdir().unwrap());
    let text = format!("{TWO_WORKERS}\n[cluster]\ntable_dir = \"tables\"\n");
    std::fs::create_dir(dir.path().join("tables")).unwrap();
    let open = async |node: &ClusterNode| {
        node.table::<String, u64>("Hosts::seen")
            .backend(TableBackend::Sqlite)
            .open()
            .await
            .unwrap()
    };
    let worker = start(&network, &text, dir.path(), "worker-1").await;
    let at_worker = open(&worker).await;
    // Nobody has it yet, and it is written all the same.
    at_worker.insert("early".to_owned(), 1).unwrap();
    assert_eq!(at_worker.len(), 1);
    assert!(!at_worker.flush(Duration::from_millis(50)).await);
    {
        let manager = start(&network, &text, dir.path(), "manager").await;
        let at_manager = open(&manager).await;
        assert!(at_worker.flush(LIMIT).await);
        at_manager.insert("late".to_owned(), 2).unwrap();
        at_worker.sync(LIMIT).await.unwrap();
        assert_eq!(at_worker.get("late"), Some(2));
        manager.shutdown().await;
    }
    let file = dir.path().join("tables/___sync_store_Hosts::seen.sqlite");
    assert!(file.exists());
    // While the manager is away everything is readable, and writes wait.
    at_worker.insert("between".to_owned(), 3).unwrap();
    assert_eq!(at_worker.remove("early").unwrap(), Some(1));
    assert_eq!(at_worker.keys().collect::<Vec<_>>(), ["between", "late"]);
    assert!(at_worker.counters().waiting >= 2);

    let manager = start(&network, &text, dir.path(), "manager").await;
    let at_manager = open(&manager).await;
    // From disk, before the worker is back.
    assert_eq!(at_manager.get("late"), Some(2));
    assert!(at_worker.flush(LIMIT).await);
    at_manager.sync(LIMIT).await.unwrap();
    let all = BTreeMap::from([("between".to_owned(), 3), ("late".to_owned(), 2)]);
    assert_eq!(at_manager.snapshot(), all);
    assert_eq!(at_worker.snapshot(), all);
    assert_eq!(at_worker.counters().failed, 0);
    worker.shutdown().await;
    manager.shutdown().await;

    // The file is refused by a table of other types, with the entry that does not fit.
    let manager = start(&network, &text, dir.path(), "manager").await;
    let opened = manager
        .table::<String, i64>("Hosts::seen")
        .backend(TableBackend::Sqlite)
        .open()
        .await;
    assert!(matches!(opened, Err(TableError::Import { .. })));
    manager.shutdown().await;
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn writes_outlive_a_manager_that_goes_without_a_word_and_comes_again() {
    let (network, dir) = (MemNetwork::new(), tempfile::tempdir().unwrap());
    let text = format!("{TWO_WORKERS}\n[tables.t]\nbackend = \"sqlite\"\n");
    let worker = start(&network, &text, dir.path(), "worker-1").await;
    let at_worker = worker.table::<u64, u64>("t").open().await.unwrap();
    for round in 0..3u64 {
        let manager = start(&network, &text, dir.path(), "manager").await;
        for key in 0..500 {
            at_worker.insert(key, round).unwrap();
            if key % 50 == 49 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
        // Some are on their way, some are not.
        drop(manager);
        at_worker.insert(1000 + round, round).unwrap();
    }
    let manager = start(&network, &text, dir.path(), "manager").await;
    let at_manager = manager.table::<u64, u64>("t").open().await.unwrap();
    assert!(at_worker.flush(LIMIT).await);
    at_manager.sync(LIMIT).await.unwrap();
    let mut expected: BTreeMap<u64, u64> = (0..500).map(|key| (key, 2)).collect();
    expected.extend((0..3).map(|round| (1000 + round, round)));
    assert_eq!(at_worker.snapshot(), expected);
    assert_eq!(at_manager.snapshot(), expected);
    assert_eq!(at_worker.counters().failed, 0);
    worker.shutdown().await;
    manager.shutdown().await;
}

#[tokio::test]
async fn a_full_queue_refuses_and_counts_while_the_master_is_away() {
    let network = MemNetwork::new();
    let node = endpoint(&network, "lonely");
    let table = BrokerTable::<u64, u64>::builder(&node, "t")
        .master(false)
        .max_waiting(NonZeroUsize::new(100).unwrap())
        .open()
        .await
        .unwrap();
    for key in 0..100 {
        table.insert(key, key).unwrap();
    }
    assert!(matches!(
        table.insert(100, 0),
        Err(TableError::Full { waiting: 100 })
    ));
    assert!(matches!(table.clear(), Err(TableError::Full { .. })));
    let counters = table.counters();
    assert_eq!((counters.waiting, counters.refused), (100, 2));
    assert_eq!((table.len(), table.get(&100)), (100, None));
    assert!(!table.synced(Duration::ZERO).await);
    let mut problems = table.problems();
    node.shutdown().await;
    // What was never delivered is said.
    let problem = problems.recv().await.unwrap();
    assert!(matches!(
        problem,
        TableProblem::Write {
            error: StoreError::Closed,
            ..
        }
    ));
    assert_eq!(table.counters().failed, 100);
    assert!(table.is_empty());
}

#[tokio::test(start_paused = true)]
async fn writes_that_no_master_takes_are_undone_after_two_minutes_and_told() {
    let network = MemNetwork::new();
    let node = endpoint(&network, "lonely");
    let table = BrokerTable::<u64, u64>::builder(&node, "t")
        .master(false)
        .open()
        .await
        .unwrap();
    let (mut problems, mut changes) = (table.problems(), table.changes());
    table.insert(1, 1).unwrap();
    tokio::time::sleep(Duration::from_secs(110)).await;
    assert_eq!(table.get(&1), Some(1));
    let problem = problems.recv().await.unwrap();
    assert_eq!(
        problem,
        TableProblem::Write {
            key: Some(1u64.into()),
            error: StoreError::GivenUp
        }
    );
    assert_eq!(table.get(&1), None);
    let change = changes.recv().await.unwrap();
    assert_eq!(
        *change,
        TableChange::Removed {
            key: 1,
            previous: 1
        }
    );
    node.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn writes_to_a_table_of_the_layout_wait_as_long_for_a_manager() {
    let (network, dir) = (MemNetwork::new(), tempfile::tempdir().unwrap());
    let text = format!("{TWO_WORKERS}\n[tables.t]\nbackend = \"memory\"\n");
    let worker = start(&network, &text, dir.path(), "worker-1").await;
    let table = worker.table::<u64, u64>("t").open().await.unwrap();
    table.insert(1, 1).unwrap();
    tokio::time::sleep(Duration::from_secs(110)).await;
    let manager = start(&network, &text, dir.path(), "manager").await;
    assert!(table.flush(LIMIT).await);
    assert_eq!((table.get(&1), table.counters().failed), (Some(1), 0));
    worker.shutdown().await;
    manager.shutdown().await;
}

/// A manager of Zeek names its tables as scripts do, and leaves the prefix of the stores to the receiver.
#[tokio::test]
async fn a_table_that_a_manager_of_zeek_announces_has_a_clone_here() {
    let (network, dir) = (MemNetwork::new(), tempfile::tempdir().unwrap());
    let zeek = endpoint(&network, "manager");
    let stored = zeek
        .attach_master(
            "___sync_store_Hosts::seen",
            Memory::new(),
            MasterOptions::default(),
        )
        .await
        .unwrap();
    stored.put("alpha", 7u64, None).await.unwrap();
    stored.put("odd", "text", None).await.unwrap();
    zeek.listen(&"mem://manager".parse().unwrap())
        .await
        .unwrap();
    let worker = start(&network, TWO_WORKERS, dir.path(), "worker-1").await;
    wait_for(|| zeek.peers().iter().any(|peer| peer.name == "worker-1")).await;
    let names = ["Hosts::seen", "no name", "../../etc/passwd"].map(Data::from);
    let announce = Event {
        metadata: Some(Vec::new()),
        ..Event::new(
            "Broker::announce_masters",
            vec![Data::Set(names.into_iter().collect())],
        )
    };
    let topic = topics::nodeid_topic(worker.endpoint().id());
    zeek.publish(Message::new(topic, announce)).await.unwrap();
    wait_for(|| worker.store("___sync_store_Hosts::seen").is_some()).await;
    assert_eq!(worker.endpoint().stores().len(), 1);

    let table = worker
        .table::<String, u64>("Hosts::seen")
        .open()
        .await
        .unwrap();
    assert!(table.synced(LIMIT).await);
    assert_eq!(table.snapshot(), BTreeMap::from([("alpha".to_owned(), 7)]));
    // The element of another type is skipped and counted, the table works.
    assert_eq!(table.counters().skipped, 1);
    table.insert("beta".to_owned(), 8).unwrap();
    assert!(table.flush(LIMIT).await);
    assert_eq!(stored.get("beta").await.unwrap(), Some(8u64.into()));
    worker.shutdown().await;
    zeek.shutdown().await;
}

#[tokio::test]
async fn writers_on_all_nodes_at_once_end_with_one_content() {
    let (network, dir) = (MemNetwork::new(), tempfile::tempdir().unwrap());
    let names = ["manager", "proxy-1", "worker-1", "worker-2"];
    let mut nodes = Vec::new();
    for name in names {
        nodes.push(start(&network, TWO_WORKERS, dir.path(), name).await);
    }
    let mut tables = Vec::new();
    for node in &nodes {
        tables.push(node.table::<u64, u64>("t").open().await.unwrap());
    }
    let writers: Vec<_> = tables
        .iter()
        .enumerate()
        .map(|(index, table)| {
            let table = table.clone();
            tokio::spawn(async move {
                for round in 0..3000u64 {
                    let key = (round * 7 + index as u64) % 50;
                    if round % 5 == 4 {
                        table.remove(&key).unwrap();
                        assert_eq!(table.get(&key), None);
                    } else {
                        let value = round * 10 + index as u64;
                        table.insert(key, value).unwrap();
                    }
                    if round % 64 == 0 {
                        tokio::task::yield_now().await;
                    }
                }
                assert!(table.flush(LIMIT).await);
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    for table in &tables {
        table.sync(LIMIT).await.unwrap();
    }
    let content = tables[0].snapshot();
    assert!(!content.is_empty());
    let stored = nodes[0].store("___sync_store_t").unwrap();
    assert_eq!(stored.len(), content.len() as u64);
    for (name, table) in names.iter().zip(&tables) {
        assert_eq!(table.snapshot(), content, "{name}");
        let counters = table.counters();
        assert_eq!((counters.failed, counters.waiting), (0, 0), "{name}");
    }
    for node in nodes.iter().rev() {
        node.shutdown().await;
    }
}

#[tokio::test]
async fn a_burst_beyond_what_is_queued_is_read_again_and_nothing_is_missed() {
    let network = MemNetwork::new();
    let (left, right) = (endpoint(&network, "left"), endpoint(&network, "right"));
    left.listen(&"mem://left".parse().unwrap()).await.unwrap();
    let at_left = BrokerTable::<u64, u64>::builder(&left, "t")
        .open()
        .await
        .unwrap();
    for key in 0..20_000 {
        at_left.insert(key, key).unwrap();
    }
    assert!(at_left.flush(LIMIT).await);
    // More at once than the queue of events takes: the whole content of a clone that comes late.
    let at_right = BrokerTable::<u64, u64>::builder(&right, "t")
        .master(false)
        .open()
        .await
        .unwrap();
    right.connect("mem://left".parse().unwrap()).await.unwrap();
    at_right.sync(LIMIT).await.unwrap();
    assert_eq!(at_right.len(), 20_000);
    at_left.clear().unwrap();
    at_left.insert(1, 2).unwrap();
    assert!(at_left.flush(LIMIT).await);
    at_right.sync(LIMIT).await.unwrap();
    assert_eq!(at_right.snapshot(), BTreeMap::from([(1, 2)]));
    assert_eq!(at_left.snapshot(), BTreeMap::from([(1, 2)]));
    for node in [right, left] {
        node.shutdown().await;
    }
}
