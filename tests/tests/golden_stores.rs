//! Recorded sessions of C++ masters and clones, replayed with ours in place of either.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::time::Duration;

use broker_core::{Data, Set, StoreOperation as Operation, StoreReply as Reply, Table};
use broker_store::{
    Backend, CloneOptions, MasterOptions, Memory, Sqlite, SqliteOptions, Store, StoreError,
    StoreExt as _,
};
use broker_tests::golden::{Cue, Explained, Replay, Side};
use tokio::task::JoinHandle;

const NAME: &str = "golden";

/// Where a call of the recording was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Clone,
    Master,
}

/// What comes of a call on our clone, with a C++ master behind it.
#[derive(Clone, Debug, PartialEq)]
enum Outcome {
    Is(Reply),
    /// There is no such key.
    Missing,
    /// The C++ master says nothing, and what does not come back has failed (broker-wire reference, 8.2).
    NoEcho,
}

/// What a note of the recording says was called.
fn call(note: &str) -> Option<(At, Operation, Outcome)> {
    use At::{Clone, Master};
    use Outcome::{Is, Missing, NoEcho};
    let done = || Is(Reply::Done);
    let value = |data: Data| Is(Reply::Value(data));
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
        "master put k1=v1" => (Master, put("k1", "v1".into(), None), done()),
        "clone put k2=count 2" => (Clone, put("k2", 2u64.into(), None), done()),
        "clone put k3=3 expiry 1s" => (Clone, put("k3", 3i64.into(), second), done()),
        "clone put_unique k4" => (Clone, put_unique("k4", "first"), value(true.into())),
        "clone put_unique k4 again" => (Clone, put_unique("k4", "second"), value(false.into())),
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
            (Clone, append, done())
        }
        "clone put set" => (Clone, put("set", integers(&[1, 2]), None), done()),
        "clone insert_into set 3" => (Clone, insert("set", 3i64.into(), None), done()),
        "clone remove_from set 1" => {
            let remove = Operation::RemoveFrom {
                key: "set".into(),
                index: 1i64.into(),
                expiry: None,
            };
            (Clone, remove, done())
        }
        "clone put table" => {
            let table = Table::from_iter([("a", 1i64)]);
            (Clone, put("tab", table.into(), None), done())
        }
        "clone insert_into table b=2" => {
            (Clone, insert("tab", "b".into(), Some(2i64.into())), done())
        }
        "clone put vector" => (Clone, put("vec", Data::vector([1i64, 2]), None), done()),
        "clone push 3" => {
            let push = Operation::Push {
                key: "vec".into(),
                value: 3i64.into(),
                expiry: None,
            };
            (Clone, push, done())
        }
        "clone pop" => {
            let pop = Operation::Pop {
                key: "vec".into(),
                expiry: None,
            };
            (Clone, pop, done())
        }
        "clone increment on a string (type clash)" => (Clone, increment("k1", 1), NoEcho),
        "clone get k1" => (Clone, Operation::Get("k1".into()), value("v1-x".into())),
        "clone get missing" => (Clone, Operation::Get("missing".into()), Missing),
        "clone get_index_from_value tab b" => {
            let get = Operation::GetIndex {
                key: "tab".into(),
                index: "b".into(),
            };
            (Clone, get, value(2i64.into()))
        }
        "clone keys" => {
            let names = ["k1", "k2", "k4", "pre", "set", "tab", "vec", "will-expire"];
            let keys = names.into_iter().map(Data::from).chain([5u64.into()]);
            (Clone, Operation::Keys, value(Set::from_iter(keys).into()))
        }
        "clone erase k1" => (Clone, Operation::Erase("k1".into()), done()),
        "clone clear" => (Clone, Operation::Clear, done()),
        "master keys" => (Master, Operation::Keys, value(Set::new().into())),
        _ => return None,
    })
}

/// Notes that name no call of the store.
fn is_remark(note: &str) -> bool {
    note.starts_with("s2c = ")
        || note.starts_with("result ")
        || ["attach clone", "idle for 3 s: heartbeats and acks", "end"].contains(&note)
}

/// Calls under way, each with what must come of it.
#[derive(Debug, Default)]
struct Calls {
    running: Vec<(String, JoinHandle<Result<Reply, StoreError>>, Outcome)>,
}

impl Calls {
    fn make(&mut self, store: &Store, note: &str, operation: Operation, outcome: Outcome) {
        let store = store.clone();
        let call = tokio::spawn(async move { store.execute(operation).await });
        self.running.push((note.to_owned(), call, outcome));
    }

    /// How they ended.
    async fn check(self) {
        for (note, call, outcome) in self.running {
            let result = call.await.unwrap();
            match (&outcome, &result) {
                (Outcome::Is(reply), Ok(result)) => assert_eq!(result, reply, "{note}"),
                (Outcome::Missing, Err(error)) => {
                    assert!(
                        error.to_string().starts_with("no_such_key"),
                        "{note}: {error}"
                    );
                }
                (Outcome::NoEcho, Err(_)) => {}
                _ => panic!("{note}: {result:?} and not {outcome:?}"),
            }
        }
    }
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
                    calls.make(clone.as_ref().unwrap(), note, operation, outcome);
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
    assert_only_timers(&explained);
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
                    calls.make(&master, note, operation, outcome);
                }
                Some((At::Clone, ..)) => {}
                None => assert!(is_remark(note), "{note}"),
            },
            Cue::Goodbye => panic!("the clone says goodbye"),
        })
        .await;
    calls.check().await;
    assert_only_timers(&explained);
}

/// A store answers behind everything that came before.
fn wait_for(replay: &mut Replay, store: &Store) {
    let store = store.clone();
    replay.wait_for(move || {
        let store = store.clone();
        async move {
            store.exists("a key that nobody has").await.unwrap();
        }
    });
}

/// All that is not in the recording came by a timer, or names a clone that C++ leaves unnamed.
fn assert_only_timers(explained: &Explained) {
    let known = [
        "acknowledgements and keepalives at other times",
        "keepalives that name their clone",
    ];
    let unknown = explained.keys().find(|reason| !known.contains(reason));
    assert_eq!(unknown, None, "{explained:?}");
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
