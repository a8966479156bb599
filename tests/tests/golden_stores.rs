//! Recorded sessions of C++ masters and clones, replayed with ours in place of either.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::time::Duration;

use broker_core::{Data, Set, StoreOperation as Operation, Table};
use broker_store::{
    Backend, CloneOptions, MasterOptions, Memory, Sqlite, SqliteOptions, StoreExt as _,
};
use broker_tests::golden::calls::{Calls, Outcome, assert_only_timers_and, wait_for};
use broker_tests::golden::{Cue, Replay, Side};

const NAME: &str = "golden";

/// Where a call of the recording was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Clone,
    Master,
}

/// What a note of the recording says was called.
fn call(note: &str) -> Option<(At, Operation, Outcome)> {
    use At::{Clone, Master};
    use Outcome::{Done, Missing, NoEcho, Value};
    let integers = |all: &[i64]| Data::from(Set::from_iter(all.iter().copied()));
    let second = Some(Duration::from_secs(1));
    let put = |key: &str, value: Data, expiry| Operation::Put {
        key: key.into(),
        value,
        expiry,
    };
    let put_unique = |key: &str, value: &str| Operation::PutUnique {
        key: key.into(),
        value: value.into(),
        expiry: None,
    };
    let increment = |key: &str, amount: i64| Operation::Increment {
        key: key.into(),
        amount: amount.into(),
        expiry: None,
    };
    let insert = |key: &str, index: Data, value| Operation::InsertInto {
        key: key.into(),
        index,
        value,
        expiry: None,
    };
    Some(match note {
        "master put k1=v1" => (Master, put("k1", "v1".into(), None), Done),
        "clone put k2=count 2" => (Clone, put("k2", 2u64.into(), None), Done),
        "clone put k3=3 expiry 1s" => (Clone, put("k3", 3i64.into(), second), Done),
        "clone put_unique k4" => (Clone, put_unique("k4", "first"), Value(true.into())),
        "clone put_unique k4 again" => (Clone, put_unique("k4", "second"), Value(false.into())),
        // By an integer, and the value is a count.
        "clone increment k2 by 5" => (Clone, increment("k2", 5), NoEcho),
        "clone decrement k2 by 1" => {
            let decrement = Operation::Decrement {
                key: "k2".into(),
                amount: 1i64.into(),
                expiry: None,
            };
            (Clone, decrement, NoEcho)
        }
        "clone append k1 '-x'" => {
            let append = Operation::Append {
                key: "k1".into(),
                value: "-x".into(),
                expiry: None,
            };
            (Clone, append, Done)
        }
        "clone put set" => (Clone, put("set", integers(&[1, 2]), None), Done),
        "clone insert_into set 3" => (Clone, insert("set", 3i64.into(), None), Done),
        "clone remove_from set 1" => {
            let remove = Operation::RemoveFrom {
                key: "set".into(),
                index: 1i64.into(),
                expiry: None,
            };
            (Clone, remove, Done)
        }
        "clone put table" => {
            let table = Table::from_iter([("a", 1i64)]);
            (Clone, put("tab", table.into(), None), Done)
        }
        "clone insert_into table b=2" => {
            (Clone, insert("tab", "b".into(), Some(2i64.into())), Done)
        }
        "clone put vector" => (Clone, put("vec", Data::vector([1i64, 2]), None), Done),
        "clone push 3" => {
            let push = Operation::Push {
                key: "vec".into(),
                value: 3i64.into(),
                expiry: None,
            };
            (Clone, push, Done)
        }
        "clone pop" => {
            let pop = Operation::Pop {
                key: "vec".into(),
                expiry: None,
            };
            (Clone, pop, Done)
        }
        "clone increment on a string (type clash)" => (Clone, increment("k1", 1), NoEcho),
        "clone get k1" => (Clone, Operation::Get("k1".into()), Value("v1-x".into())),
        "clone get missing" => (Clone, Operation::Get("missing".into()), Missing),
        "clone get_index_from_value tab b" => {
            let get = Operation::GetIndex {
                key: "tab".into(),
                index: "b".into(),
            };
            (Clone, get, Value(2i64.into()))
        }
        "clone keys" => {
            let names = ["k1", "k2", "k4", "pre", "set", "tab", "vec", "will-expire"];
            let keys = names.into_iter().map(Data::from).chain([5u64.into()]);
            (Clone, Operation::Keys, Value(Set::from_iter(keys).into()))
        }
        "clone erase k1" => (Clone, Operation::Erase("k1".into()), Done),
        "clone clear" => (Clone, Operation::Clear, Done),
        "master keys" => (Master, Operation::Keys, Value(Set::new().into())),
        _ => return None,
    })
}

/// Notes that name no call of the store.
fn is_remark(note: &str) -> bool {
    note.starts_with("s2c = ")
        || note.starts_with("result ")
        || ["attach clone", "idle for 3 s: heartbeats and acks", "end"].contains(&note)
}

/// A recorded master with our clone, which makes the recorded calls.
async fn as_the_clone(recording: &str) {
    let mut replay = Replay::new(recording, Side::Connector).await;
    let endpoint = replay.endpoint().start();
    replay.open(&endpoint).await;
    let url = replay.url();
    let (mut clone, mut calls, mut left) = (None, Calls::default(), None);
    let explained = replay
        .run(async |cue| match cue {
            Cue::Note("attach clone") => {
                let attached = endpoint.attach_clone(NAME, CloneOptions::default()).await;
                clone = Some(attached.unwrap());
            }
            Cue::Note(note) => match call(note) {
                Some((At::Clone, operation, outcome)) => {
                    calls.make(clone.as_ref().unwrap(), [(operation, outcome)]);
                }
                Some((At::Master, ..)) => {}
                None => assert!(is_remark(note), "{note}"),
            },
            Cue::Goodbye => {
                let (endpoint, url) = (endpoint.clone(), url.clone());
                left = Some(tokio::spawn(async move { endpoint.unpeer(&url).await }));
            }
        })
        .await;
    assert!(left.unwrap().await.unwrap());
    calls.check().await;
    assert_only_timers_and(&[], &explained);
}

/// A recorded clone with our master, over `backend`.
async fn as_the_master(recording: &str, backend: impl Backend) {
    let mut replay = Replay::new(recording, Side::Acceptor).await;
    let endpoint = replay.endpoint().start();
    let attached = endpoint.attach_master(NAME, backend, MasterOptions::default());
    let master = attached.await.unwrap();
    let minute = Some(Duration::from_secs(60));
    master.put("pre", "existing", None).await.unwrap();
    let vector = Data::vector([1i64, 2]);
    master.put(5u64, vector, None).await.unwrap();
    master.put("will-expire", 1i64, minute).await.unwrap();
    replay.open(&endpoint).await;
    wait_for(&mut replay, &master);
    let mut calls = Calls::default();
    let explained = replay
        .run(async |cue| match cue {
            Cue::Note(note) => match call(note) {
                Some((At::Master, operation, outcome)) => {
                    calls.make(&master, [(operation, outcome)]);
                }
                Some((At::Clone, ..)) => {}
                None => assert!(is_remark(note), "{note}"),
            },
            Cue::Goodbye => panic!("the clone says goodbye"),
        })
        .await;
    calls.check().await;
    assert_only_timers_and(&[], &explained);
}

#[tokio::test(start_paused = true)]
async fn our_clone_follows_a_cpp_master_in_memory() {
    as_the_clone("store-memory").await;
}

#[tokio::test(start_paused = true)]
async fn our_clone_follows_a_cpp_master_in_sqlite() {
    as_the_clone("store-sqlite").await;
}

#[tokio::test(start_paused = true)]
async fn a_cpp_clone_follows_our_master_in_memory() {
    as_the_master("store-memory", Memory::new()).await;
}

#[tokio::test(start_paused = true)]
async fn a_cpp_clone_follows_our_master_in_sqlite() {
    let dir = tempfile::tempdir().unwrap();
    let options = SqliteOptions::new(dir.path().join("golden.sqlite"));
    as_the_master("store-sqlite", Sqlite::open(&options).unwrap()).await;
}
