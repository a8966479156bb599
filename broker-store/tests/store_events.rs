//! Store events against the wire reference, 7.9: for every operation, which events a master and a clone tell on their own
//! nodes, with which elements, in which order.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::Duration;

use broker_core::topic::reserved;
use broker_core::{
    Data, Endpoint, Filter, MemNetwork, MemTransport, QueueOptions, Set, StoreOperation,
    Subscriber, Table, Timespan,
};
use broker_store::{CloneOptions, FEATURE, MasterOptions, Memory, Store, StoreExt};

const LIMIT: Duration = Duration::from_secs(60);
const MINUTE: Duration = Duration::from_secs(60);

/// A node with a store, and what it hears of it.
struct Site {
    node: Endpoint,
    store: Store,
    heard: Subscriber,
}

/// A master and a clone.
struct Pair {
    master: Site,
    clone: Site,
}

async fn node(network: &MemNetwork, name: &str) -> (Endpoint, Subscriber) {
    let node = Endpoint::builder()
        .name(name)
        .feature(FEATURE)
        .transport(MemTransport::new(network))
        .start();
    let topic = Filter::from_iter([reserved::store_events("s").unwrap()]);
    let heard = node.subscribe(topic, QueueOptions::local());
    (node, heard)
}

impl Pair {
    /// The clone attaches when the master has these entries.
    async fn new(entries: &[(&str, u64)]) -> Self {
        let network = MemNetwork::new();
        let (manager, heard) = node(&network, "manager").await;
        manager
            .listen(&"mem://manager".parse().unwrap())
            .await
            .unwrap();
        let store = manager
            .attach_master("s", Memory::new(), MasterOptions::default())
            .await
            .unwrap();
        for (key, value) in entries {
            store.put(*key, *value, Some(MINUTE)).await.unwrap();
        }
        let master = Site {
            node: manager,
            store,
            heard,
        };
        let (worker, heard) = node(&network, "worker").await;
        let store = worker
            .attach_clone("s", CloneOptions::default())
            .await
            .unwrap();
        worker.peer("mem://manager".parse().unwrap());
        assert!(store.attached(LIMIT).await);
        let clone = Site {
            node: worker,
            store,
            heard,
        };
        let mut pair = Self { master, clone };
        if entries.is_empty() {
            assert_eq!(pair.told().await, (Vec::new(), Vec::new()));
        }
        pair
    }

    /// What both have told since, as vectors; the last two elements are checked and taken away.
    async fn told(&mut self) -> (Vec<Told>, Vec<Told>) {
        self.clone.store.sync(LIMIT).await.unwrap();
        (told(&mut self.master), told(&mut self.clone))
    }

    /// Lets `writer` do `operation`, and expects both to tell the same, published by the writer.
    async fn expect(&mut self, at_clone: bool, operation: StoreOperation, expected: &[Vec<Data>]) {
        let writer = if at_clone { &self.clone } else { &self.master };
        let (id, store) = (writer.node.id().to_string(), writer.store.clone());
        // Refusals are among them.
        let _ = store.execute(operation.clone()).await;
        let expected: Vec<_> = expected
            .iter()
            .map(|elements| Told {
                elements: elements.clone(),
                publisher: id.clone(),
            })
            .collect();
        let (master, clone) = self.told().await;
        assert_eq!(master, expected, "at the master: {operation:?}");
        assert_eq!(clone, expected, "at the clone: {operation:?}");
    }
}

/// An event: its elements up to the publisher, and the publisher's endpoint.
#[derive(Clone, Debug, PartialEq)]
struct Told {
    elements: Vec<Data>,
    publisher: String,
}

fn told(site: &mut Site) -> Vec<Told> {
    std::iter::from_fn(|| site.heard.try_recv())
        .map(|message| {
            assert_eq!(message.topic(), &reserved::store_events("s").unwrap());
            let Data::Vector(mut elements) = message.data().unwrap().clone() else {
                panic!("no vector");
            };
            let object = elements.pop().unwrap();
            assert!(
                object.as_count().is_some_and(|object| object > 0),
                "{object:?}"
            );
            let Some(Data::String(publisher)) = elements.pop() else {
                panic!("the endpoint is a string");
            };
            let publisher = String::from_utf8(publisher.to_vec()).unwrap();
            Told {
                elements,
                publisher,
            }
        })
        .collect()
}

fn insert(key: &str, value: impl Into<Data>, expiry: Option<Duration>) -> Vec<Data> {
    vec![
        "insert".into(),
        "s".into(),
        key.into(),
        value.into(),
        expiry.map(Timespan::from).into(),
    ]
}

fn update(
    key: &str,
    old: impl Into<Data>,
    new: impl Into<Data>,
    expiry: Option<Duration>,
) -> Vec<Data> {
    vec![
        "update".into(),
        "s".into(),
        key.into(),
        old.into(),
        new.into(),
        expiry.map(Timespan::from).into(),
    ]
}

fn erase(key: &str) -> Vec<Data> {
    vec!["erase".into(), "s".into(), key.into()]
}

fn expire(key: &str) -> Vec<Data> {
    vec!["expire".into(), "s".into(), key.into()]
}

fn put(key: &str, value: impl Into<Data>, expiry: Option<Duration>) -> StoreOperation {
    StoreOperation::Put {
        key: key.into(),
        value: value.into(),
        expiry,
    }
}

fn put_unique(key: &str, value: impl Into<Data>) -> StoreOperation {
    StoreOperation::PutUnique {
        key: key.into(),
        value: value.into(),
        expiry: None,
    }
}

fn compare(key: &str, expected: Option<u64>, value: Option<u64>) -> StoreOperation {
    StoreOperation::CompareAndSet {
        key: key.into(),
        expected: expected.map(Data::from),
        value: value.map(Data::from),
        expiry: None,
    }
}

/// Every operation, and the events of it.
fn operations() -> Vec<(StoreOperation, Vec<Vec<Data>>)> {
    use StoreOperation as Op;
    let (expiry, minute) = (None, Some(MINUTE));
    let key = || Data::from("n");
    let set = |elements: &[u64]| Data::from(elements.iter().copied().collect::<Set>());
    let table = |value: u64| Data::from(Table::from_iter([("k", value)]));
    let increment = |key: &str, amount: u64| Op::Increment {
        key: key.into(),
        amount: amount.into(),
        expiry: None,
    };
    let append = |value: &str| Op::Append {
        key: "t".into(),
        value: value.into(),
        expiry: None,
    };
    let insert_into = |key: &str, index: Data, value: Option<u64>| Op::InsertInto {
        key: key.into(),
        index,
        value: value.map(Data::from),
        expiry: None,
    };
    let remove = |key: &str, index: Data| Op::RemoveFrom {
        key: key.into(),
        index,
        expiry: None,
    };
    let push = |value: u64| Op::Push {
        key: "v".into(),
        value: value.into(),
        expiry: None,
    };
    let pop = || Op::Pop {
        key: "v".into(),
        expiry: None,
    };
    vec![
        (put("p", 1u64, None), vec![insert("p", 1u64, None)]),
        (
            put("p", 2u64, minute),
            vec![update("p", 1u64, 2u64, minute)],
        ),
        (put("p", 2u64, None), vec![update("p", 2u64, 2u64, None)]),
        (put("q", "x", minute), vec![insert("q", "x", minute)]),
        (put_unique("u", 1u64), vec![insert("u", 1u64, None)]),
        (put_unique("u", 2u64), vec![]),
        (increment("n", 2), vec![insert("n", 2u64, None)]),
        (increment("n", 3), vec![update("n", 2u64, 5u64, None)]),
        (
            Op::Decrement {
                key: key(),
                amount: 1u64.into(),
                expiry,
            },
            vec![update("n", 5u64, 4u64, None)],
        ),
        (append("a"), vec![insert("t", "a", None)]),
        (append("b"), vec![update("t", "a", "ab", None)]),
        (
            insert_into("set", 1u64.into(), None),
            vec![insert("set", set(&[1]), None)],
        ),
        (
            insert_into("set", 2u64.into(), None),
            vec![update("set", set(&[1]), set(&[1, 2]), None)],
        ),
        (
            remove("set", 1u64.into()),
            vec![update("set", set(&[1, 2]), set(&[2]), None)],
        ),
        (
            insert_into("table", "k".into(), Some(1)),
            vec![insert("table", table(1), None)],
        ),
        (
            insert_into("table", "k".into(), Some(2)),
            vec![update("table", table(1), table(2), None)],
        ),
        (push(1), vec![insert("v", Data::vector([1u64]), None)]),
        (
            push(2),
            vec![update(
                "v",
                Data::vector([1u64]),
                Data::vector([1u64, 2]),
                None,
            )],
        ),
        (
            pop(),
            vec![update(
                "v",
                Data::vector([1u64, 2]),
                Data::vector([1u64]),
                None,
            )],
        ),
        // What fails changes nothing.
        (increment("t", 1), vec![]),
        (remove("missing", 1u64.into()), vec![]),
        (compare("n", Some(9), Some(1)), vec![]),
        (
            compare("n", Some(4), Some(6)),
            vec![update("n", 4u64, 6u64, None)],
        ),
        (compare("c", None, Some(1)), vec![insert("c", 1u64, None)]),
        (compare("c", Some(1), None), vec![erase("c")]),
        (Op::Erase("q".into()), vec![erase("q")]),
        (Op::Erase("q".into()), vec![]),
        // Reads tell nothing.
        (Op::Get("p".into()), vec![]),
        (Op::Keys, vec![]),
    ]
}

#[tokio::test(start_paused = true)]
async fn every_operation_of_a_master_is_told_by_both() {
    let mut pair = Pair::new(&[]).await;
    for (operation, expected) in operations() {
        pair.expect(false, operation, &expected).await;
    }
}

#[tokio::test(start_paused = true)]
async fn every_operation_of_a_clone_is_told_by_both_with_the_clone_as_publisher() {
    let mut pair = Pair::new(&[]).await;
    for (operation, expected) in operations() {
        pair.expect(true, operation, &expected).await;
    }
}

#[tokio::test(start_paused = true)]
async fn clearing_tells_of_each_key_once() {
    for at_clone in [false, true] {
        let mut pair = Pair::new(&[]).await;
        for key in ["a", "b", "c"] {
            pair.expect(at_clone, put(key, 1u64, None), &[insert(key, 1u64, None)])
                .await;
        }
        let writer = if at_clone { &pair.clone } else { &pair.master };
        let id = writer.node.id().to_string();
        writer.store.clone().clear().await.unwrap();
        let (master, clone) = pair.told().await;
        let expected: Vec<_> = ["a", "b", "c"].into_iter().map(erase).collect();
        for mut told in [master, clone] {
            assert!(told.iter().all(|told| told.publisher == id), "{told:?}");
            told.sort_by(|left, right| left.elements.cmp(&right.elements));
            let elements: Vec<_> = told.into_iter().map(|told| told.elements).collect();
            assert_eq!(elements, expected);
        }
        // Nothing is there, and nothing is told.
        pair.expect(at_clone, StoreOperation::Clear, &[]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_entry_whose_time_is_up_is_told_with_the_master_as_publisher() {
    let mut pair = Pair::new(&[]).await;
    let second = Some(Duration::from_secs(1));
    pair.expect(true, put("k", 1u64, second), &[insert("k", 1u64, second)])
        .await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let told = Told {
        elements: expire("k"),
        publisher: pair.master.node.id().to_string(),
    };
    assert_eq!(pair.told().await, (vec![told.clone()], vec![told]));
}

#[tokio::test(start_paused = true)]
async fn events_come_in_the_order_of_application_whoever_writes() {
    let mut pair = Pair::new(&[]).await;
    let writers: Vec<_> = [&pair.master.store, &pair.clone.store]
        .into_iter()
        .enumerate()
        .flat_map(|(site, store)| {
            (0..50u64).map(move |n| {
                let store = store.clone();
                tokio::spawn(async move { store.push("v", 2 * n + site as u64, None).await })
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap().unwrap();
    }
    let (master, clone) = pair.told().await;
    assert_eq!(master, clone);
    // Each begins where the one before ended.
    let mut present = Data::None;
    for told in master {
        let (old, new) = match &told.elements[..] {
            [_, _, _, new, _] => (&Data::None, new),
            [_, _, _, old, new, _] => (old, new),
            other => panic!("{other:?}"),
        };
        assert_eq!(*old, present);
        present = new.clone();
    }
    assert_eq!(pair.master.store.get("v").await, Ok(Some(present.clone())));
    assert_eq!(present.as_vector().map(<[_]>::len), Some(100));
}

#[tokio::test(start_paused = true)]
async fn a_clone_that_attaches_tells_what_it_got_as_new_from_the_master() {
    let mut pair = Pair::new(&[("a", 1), ("b", 2)]).await;
    let (master, mut clone) = pair.told().await;
    let id = pair.master.node.id().to_string();
    let expected = |expiry| {
        [("a", 1u64), ("b", 2)].map(|(key, value)| Told {
            elements: insert(key, value, expiry),
            publisher: id.clone(),
        })
    };
    assert_eq!(master, expected(Some(MINUTE)));
    clone.sort_by(|left, right| left.elements.cmp(&right.elements));
    assert_eq!(clone, expected(None));
}
