//! The recorded session of a Zeek master and a Zeek clone, replayed with ours in place of either.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::net::Ipv4Addr;
use std::time::Duration;

use broker_core::zeek::{Event, Message as ZeekMessage};
use broker_core::{
    Data, Endpoint, Filter, Message, QueueOptions, Set, StoreOperation as Operation, Table,
    Timespan, Timestamp, Topic,
};
use broker_store::command::{Command, Content};
use broker_store::{CloneOptions, MasterOptions, Memory, StoreExt as _};
use broker_tests::golden::calls::{Calls, Outcome, assert_only_timers_and, wait_for};
use broker_tests::golden::{Cue, Replay, Side};

const NAME: &str = "golden";
const E3: &str = "an increment left the expiry of an entry as it was";
const SECOND: Duration = Duration::from_secs(1);

/// What the clone's script did after a note, in its order.
fn calls(note: &str) -> Option<Vec<(Operation, Outcome)>> {
    use Outcome::{Done, Missing, NoEcho, Value};
    let counts = |all: &[u64]| Data::from(Set::from_iter(all.iter().copied()));
    let moment = Timestamp::from_nanos(1_700_000_000_500_000_000);
    let second = Timespan::from_nanos(1_000_000_000);
    Some(match note {
        r#"attach: create_clone("golden"), then get pre, keys"# => {
            let keys = Set::from_iter([Data::from("pre"), "preexp".into()]);
            vec![
                (Operation::Get("pre".into()), Value(42u64.into())),
                (Operation::Keys, Value(keys.into())),
            ]
        }
        "put: string, count, time, addr, record, set, table, vector values" => vec![
            (put("str0", "text", None), Done),
            (put(5u64, 7u64, None), Done),
            (put("time", moment, None), Done),
            (put(Ipv4Addr::new(10, 0, 0, 1), 1.5, None), Done),
            (
                put(record(1, Data::None), record(2, "x".into()), None),
                Done,
            ),
            (put("set", counts(&[1, 2]), None), Done),
            (put("tab", Table::from_iter([("a", 1u64)]), None), Done),
            (put("vec0", Data::vector(["a", "b"]), None), Done),
        ],
        "increment cnt (missing), again by 5; decrement cnt by 2; increment time by interval; increment int by -3; increment dbl (missing) by 0.5; increment newtime (missing) by 1 sec" =>
        {
            vec![
                (increment("cnt", 1u64, None), Done),
                (increment("cnt", 5u64, None), Done),
                (decrement("cnt", 2u64), Done),
                (
                    increment("time", Timespan::from_nanos(1_500_000_000), None),
                    Done,
                ),
                (increment("int", -3i64, None), Done),
                (increment("dbl", 0.5, None), Done),
                (increment("newtime", second, None), Done),
            ]
        }
        "append str (missing), again" => {
            vec![(append("str", "ab"), Done), (append("str", "cd"), Done)]
        }
        "insert_into_set s (missing) 1 and 2; remove_from s 1" => vec![
            (insert("s", 1u64, None, None), Done),
            (insert("s", 2u64, None, None), Done),
            (remove("s", 1u64), Done),
        ],
        "insert_into_table tbl (missing) k->1, again k->2, j->3; remove_from tbl k" => vec![
            (insert("tbl", "k", Some(1), None), Done),
            (insert("tbl", "k", Some(2), None), Done),
            (insert("tbl", "j", Some(3), None), Done),
            (remove("tbl", "k"), Done),
        ],
        "push vec (missing) a, b; pop vec" => vec![
            (push("vec", "a"), Done),
            (push("vec", "b"), Done),
            (pop("vec"), Done),
        ],
        "put_unique u (new), again" => vec![
            (put_unique("u", 1, None), Value(true.into())),
            (put_unique("u", 2, None), Value(false.into())),
        ],
        "put exp with expiry 1 sec; put_unique uexp with expiry 1 sec" => vec![
            (put("exp", 1u64, Some(SECOND)), Done),
            (put_unique("uexp", 1, Some(SECOND)), Value(true.into())),
        ],
        "queries: exists, get, get_index_from_value, keys, missing key, wrong index" => {
            let names = [
                "cnt", "dbl", "int", "newtime", "pre", "preexp", "s", "set", "str", "str0", "tab",
                "tbl", "time", "u", "vec", "vec0",
            ];
            let others = [
                5u64.into(),
                Ipv4Addr::new(10, 0, 0, 1).into(),
                record(1, Data::None),
            ];
            let keys = Set::from_iter(names.into_iter().map(Data::from).chain(others));
            vec![
                (Operation::Exists("str0".into()), Value(true.into())),
                (
                    Operation::Get("time".into()),
                    Value(Timestamp::from_nanos(1_700_000_002_000_000_000).into()),
                ),
                (index("tab", "a"), Value(1u64.into())),
                (Operation::Keys, Value(keys.into())),
                (Operation::Get("exp".into()), Missing),
                (index("vec0", 7u64), Missing),
            ]
        }
        "errors: increment str, decrement missing, remove_from missing, pop missing, push str, append cnt, insert_into_set str, erase missing, increment cnt by 1 sec, insert_into_table s (a set) 1->2, increment cnt by int 1" =>
        {
            vec![
                (increment("str", 1u64, None), NoEcho),
                (decrement("missing", 1u64), NoEcho),
                (remove("missing", 1u64), NoEcho),
                (pop("missing"), NoEcho),
                (push("str", 1u64), NoEcho),
                (append("cnt", "x"), NoEcho),
                (insert("str", 1u64, None, None), NoEcho),
                (Operation::Erase("missing".into()), Done),
                (increment("cnt", second, None), NoEcho),
                // A set takes the pair for an element.
                (insert("s", 1u64, Some(2), None), Done),
                (increment("cnt", 1i64, None), NoEcho),
            ]
        }
        "insert_into_set s2 and increment cnt2, both missing, with expiry 1 sec" => vec![
            (insert("s2", 1u64, None, Some(SECOND)), Done),
            (increment("cnt2", 1u64, Some(SECOND)), Done),
        ],
        "erase cnt; put with composite key; put e2 with expiry 1 sec, put e2 without; put e3 with expiry 1 sec, increment e3 without" =>
        {
            vec![
                (Operation::Erase("cnt".into()), Done),
                (put(record(1, 2u64.into()), "composite", None), Done),
                (put("e2", 1u64, Some(SECOND)), Done),
                (put("e2", 2u64, None), Done),
                (put("e3", 1u64, Some(SECOND)), Done),
                (increment("e3", 1u64, None), Done),
            ]
        }
        "clear at the clone" => vec![(Operation::Clear, Done)],
        "put after clear, clear at the master" => vec![(put("after", 1u64, None), Done)],
        _ => return None,
    })
}

/// The event by which the clone's script lets the master's do something.
fn event_after(note: &str) -> Option<(&'static str, &'static str)> {
    Some(match note {
        "writes at the master: put, increment, put with expiry 1 sec, erase, erase missing" => {
            ("g/x", "mput")
        }
        "queries at the master: keys, get, put_unique of an existing key" => ("g/x", "mkeys"),
        "put after clear, clear at the master" => ("g/x", "mclear"),
        "close the clone" => ("g/done", "done"),
        _ => return None,
    })
}

/// What the master's script did on that event.
fn masters_calls(event: &str) -> Vec<(Operation, Outcome)> {
    use Outcome::{Done, Value};
    let pair = || Data::vector([1u64, 2]);
    match event {
        "mput" => vec![
            (put("from-master", pair(), None), Done),
            (increment("cnt", 1u64, None), Done),
            (put("m-exp", 1u64, Some(SECOND)), Done),
            (Operation::Erase("pre".into()), Done),
            (Operation::Erase("pre".into()), Done),
        ],
        "mkeys" => vec![
            (Operation::Get("from-master".into()), Value(pair())),
            (put_unique("from-master", 1, None), Value(false.into())),
        ],
        "mclear" => vec![(Operation::Clear, Done)],
        "done" => vec![],
        other => panic!("the script has no {other}"),
    }
}

fn is_remark(note: &str) -> bool {
    note.starts_with("two Zeek 9.1-dev processes")
        || ["(expiry of exp and uexp)", "(idle)", "end"].contains(&note)
}

fn put(key: impl Into<Data>, value: impl Into<Data>, expiry: Option<Duration>) -> Operation {
    Operation::Put {
        key: key.into(),
        value: value.into(),
        expiry,
    }
}

fn put_unique(key: &str, value: u64, expiry: Option<Duration>) -> Operation {
    Operation::PutUnique {
        key: key.into(),
        value: value.into(),
        expiry,
    }
}

fn increment(key: &str, amount: impl Into<Data>, expiry: Option<Duration>) -> Operation {
    Operation::Increment {
        key: key.into(),
        amount: amount.into(),
        expiry,
    }
}

fn decrement(key: &str, amount: u64) -> Operation {
    Operation::Decrement {
        key: key.into(),
        amount: amount.into(),
        expiry: None,
    }
}

fn append(key: &str, text: &str) -> Operation {
    Operation::Append {
        key: key.into(),
        value: text.into(),
        expiry: None,
    }
}

fn insert(
    key: &str,
    index: impl Into<Data>,
    value: Option<u64>,
    expiry: Option<Duration>,
) -> Operation {
    Operation::InsertInto {
        key: key.into(),
        index: index.into(),
        value: value.map(Data::from),
        expiry,
    }
}

fn remove(key: &str, index: impl Into<Data>) -> Operation {
    Operation::RemoveFrom {
        key: key.into(),
        index: index.into(),
        expiry: None,
    }
}

fn push(key: &str, value: impl Into<Data>) -> Operation {
    Operation::Push {
        key: key.into(),
        value: value.into(),
        expiry: None,
    }
}

fn pop(key: &str) -> Operation {
    Operation::Pop {
        key: key.into(),
        expiry: None,
    }
}

fn index(key: &str, index: impl Into<Data>) -> Operation {
    Operation::GetIndex {
        key: key.into(),
        index: index.into(),
    }
}

/// A record of two fields, the first a count.
fn record(first: u64, second: Data) -> Data {
    Data::vector([Data::from(first), second])
}

/// What every Zeek process subscribes to.
fn zeek_topics(more: &[&'static str]) -> Filter {
    let topics = ["zeek/supervisor", "zeek/table/"].iter().chain(more);
    topics.map(|topic| Topic::from_static(topic)).collect()
}

async fn publish(endpoint: &Endpoint, topic: &'static str, name: &str) {
    let event = Event {
        metadata: Some(Vec::new()),
        ..Event::new(name, vec![])
    };
    let message = Message::new(Topic::from_static(topic), event);
    assert_eq!(endpoint.publish(message).await.unwrap().peers, 1);
}

#[tokio::test(start_paused = true)]
async fn our_clone_follows_a_zeek_master() {
    let mut replay = Replay::new("zeek-stores", Side::Connector).await;
    let endpoint = replay.endpoint().forwarding(false).start();
    let _zeek = endpoint.subscribe(zeek_topics(&[]), QueueOptions::local());
    replay.open(&endpoint).await;
    let (mut clone, mut made) = (None, Calls::default());
    let explained = replay
        .run(async |cue| {
            let Cue::Note(note) = cue else {
                panic!("the master says goodbye")
            };
            if note.starts_with("attach: ") {
                let attached = endpoint.attach_clone(NAME, CloneOptions::default()).await;
                clone = Some(attached.unwrap());
            }
            let (calls, event) = (calls(note), event_after(note));
            assert!(
                calls.is_some() || event.is_some() || is_remark(note),
                "{note}"
            );
            if let Some(calls) = calls {
                made.make(clone.as_ref().unwrap(), calls);
            }
            if let Some((topic, name)) = event {
                // The script went on when its write had come back.
                let (endpoint, clone) = (endpoint.clone(), clone.clone().unwrap());
                tokio::spawn(async move {
                    clone.await_idle().await.unwrap();
                    publish(&endpoint, topic, name).await;
                });
            }
        })
        .await;
    made.check().await;
    assert_only_timers_and(&[], &explained);
}

#[tokio::test(start_paused = true)]
async fn a_zeek_clone_follows_our_master() {
    let mut replay = Replay::new("zeek-stores", Side::Acceptor).await;
    let endpoint = replay.endpoint().forwarding(false).start();
    let _zeek = endpoint.subscribe(zeek_topics(&[]), QueueOptions::local());
    let mut events = endpoint.subscribe(
        [Topic::from_static("g/")].into_iter().collect(),
        QueueOptions::local(),
    );
    let attached = endpoint.attach_master(NAME, Memory::new(), MasterOptions::default());
    let master = attached.await.unwrap();
    master.put("pre", 42u64, None).await.unwrap();
    let minute = Some(Duration::from_secs(60));
    master.put("preexp", "soon", minute).await.unwrap();
    replay.open(&endpoint).await;
    wait_for(&mut replay, &master);
    // In C++ every write without an expiry makes an entry everlasting, an increment too (broker-wire reference, 7.7). With
    // ours an increment changes the value and nothing else, so e3 expires.
    replay.unrecorded(E3, |frame| {
        let content = Command::decode(&frame.payload).map(|command| command.content);
        matches!(content, Ok(Content::Expire { key, .. }) if key == Data::from("e3"))
    });
    // The master's script, which does what events tell it.
    let script = tokio::spawn(async move {
        let mut made = Calls::default();
        while let Some(message) = events.recv().await {
            let Ok(ZeekMessage::Event(event)) = ZeekMessage::from_data(message.data().unwrap())
            else {
                panic!("an event")
            };
            made.make(&master, masters_calls(&event.name.to_string()));
        }
        made.check().await;
    });
    let mut end = None;
    let explained = replay
        .run(async |cue| match cue {
            Cue::Note(note) => assert!(
                calls(note).is_some() || event_after(note).is_some() || is_remark(note),
                "{note}"
            ),
            Cue::Goodbye => {
                let endpoint = endpoint.clone();
                end = Some(tokio::spawn(async move { endpoint.shutdown().await }));
            }
        })
        .await;
    end.unwrap().await.unwrap();
    script.await.unwrap();
    assert_only_timers_and(&[E3, "pings of ours"], &explained);
}
