//! Recorded sessions of C++ Broker, replayed: handshake, filters, goodbye, and a message of every type.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use broker_core::zeek::Event;
use broker_core::{
    Data, Endpoint, Filter, Message, Port, Protocol, QueueOptions, Set, Subnet, Subscriber, Table,
    Timespan, Timestamp, Topic,
};
use broker_tests::golden::{Cue, Replay, Side};

fn subscribe(endpoint: &Endpoint, prefix: &str) -> Subscriber {
    let filter: Filter = [Topic::try_from(prefix).unwrap()].into_iter().collect();
    endpoint.subscribe(filter, QueueOptions::local())
}

async fn publish(endpoint: &Endpoint, topic: &str, data: Data) -> usize {
    let message = Message::new(Topic::try_from(topic).unwrap(), data);
    endpoint.publish(message).await.unwrap().peers
}

#[tokio::test(start_paused = true)]
async fn filters_and_a_goodbye_as_the_connector() {
    as_the_connector(1).await;
}

#[tokio::test(start_paused = true)]
async fn a_connector_that_speaks_version_2_too_is_answered_with_version_1() {
    as_the_connector(2).await;
}

#[tokio::test(start_paused = true)]
async fn filters_and_a_goodbye_as_the_acceptor() {
    as_the_acceptor(1).await;
}

#[tokio::test(start_paused = true)]
async fn an_acceptor_that_speaks_version_2_too_is_answered_with_version_1() {
    as_the_acceptor(2).await;
}

async fn as_the_connector(newest_version: u8) {
    let mut replay = Replay::new("handshake-and-filters", Side::Connector).await;
    replay.offer(newest_version);
    let endpoint = replay.endpoint().start();
    let mut subscribers = vec![subscribe(&endpoint, "/b/topic")];
    replay.open(&endpoint).await;
    let (url, peer) = (replay.url(), replay.played_id());
    let mut unpeered = None;
    let explained = replay
        .run(async |cue| match cue {
            Cue::Note("connector adds subscription /b/late, then listener adds /a/late") => {
                subscribers.push(subscribe(&endpoint, "/b/late"));
            }
            Cue::Note("connector unpeers") => {
                let filter = endpoint.peers()[0].filter.clone();
                assert_eq!(filter, filter_of(&["/a/late", "/a/topic"]));
            }
            Cue::Goodbye => {
                let (endpoint, url) = (endpoint.clone(), url.clone());
                unpeered = Some(tokio::spawn(async move { endpoint.unpeer(&url).await }));
            }
            Cue::Note(note) => assert!(is_header(note) || is_theirs(note), "{note}"),
        })
        .await;
    assert!(explained.is_empty(), "{explained:?}");
    assert!(unpeered.unwrap().await.unwrap());
    assert!(!endpoint.await_peer(peer, Duration::ZERO).await);
    assert!(
        subscribers
            .iter_mut()
            .all(|inbox| inbox.try_recv().is_none())
    );
}

async fn as_the_acceptor(newest_version: u8) {
    let mut replay = Replay::new("handshake-and-filters", Side::Acceptor).await;
    replay.offer(newest_version);
    let endpoint = replay.endpoint().start();
    let mut subscribers = vec![subscribe(&endpoint, "/a/topic")];
    replay.open(&endpoint).await;
    let peer = replay.played_id();
    let explained = replay
        .run(async |cue| match cue {
            Cue::Note("connector adds subscription /b/late, then listener adds /a/late") => {
                subscribers.push(subscribe(&endpoint, "/a/late"));
            }
            Cue::Note("listener publishes to a topic nobody subscribed: expect nothing") => {
                let filter = endpoint.peers()[0].filter.clone();
                assert_eq!(filter, filter_of(&["/b/late", "/b/topic"]));
                assert_eq!(publish(&endpoint, "/nobody", Data::from(1u64)).await, 0);
            }
            Cue::Note(note) => assert!(is_header(note) || note == "connector unpeers", "{note}"),
            Cue::Goodbye => panic!("the connector says goodbye"),
        })
        .await;
    assert!(explained.is_empty(), "{explained:?}");
    assert!(!endpoint.await_peer(peer, Duration::ZERO).await);
}

fn filter_of(prefixes: &[&'static str]) -> Filter {
    let topics = prefixes.iter().map(|prefix| Topic::from_static(prefix));
    topics.collect()
}

fn is_header(note: &str) -> bool {
    note.starts_with("s2c = ")
}

fn is_theirs(note: &str) -> bool {
    note == "listener publishes to a topic nobody subscribed: expect nothing"
}

#[tokio::test(start_paused = true)]
async fn every_type_is_published_as_cpp_publishes_it() {
    let mut replay = Replay::new("data-types", Side::Connector).await;
    let endpoint = replay.endpoint().start();
    replay.open(&endpoint).await;
    let mut published = 0;
    let explained = replay
        .run(async |cue| match cue {
            Cue::Note(note) => match note.strip_prefix("publish ") {
                Some(call) => {
                    let (topic, data) = published_by(call);
                    assert_eq!(publish(&endpoint, topic, data).await, 1, "{note}");
                    published += 1;
                }
                None => assert!(is_header(note) || note.starts_with("received "), "{note}"),
            },
            Cue::Goodbye => panic!("the acceptor says goodbye"),
        })
        .await;
    assert!(explained.is_empty(), "{explained:?}");
    assert_eq!(published, VALUES + 1);
}

#[tokio::test(start_paused = true)]
async fn every_type_arrives_as_cpp_means_it() {
    let mut replay = Replay::new("data-types", Side::Acceptor).await;
    let endpoint = replay.endpoint().start();
    let mut inbox = subscribe(&endpoint, "/golden");
    replay.open(&endpoint).await;
    let (mut expected, mut received) = (None, 0);
    let mut end = None;
    let explained = replay
        .run(async |cue| {
            let call = match cue {
                Cue::Note(note) => note.strip_prefix("publish "),
                Cue::Goodbye => None,
            };
            // Whatever was published before this is here.
            if let Some((topic, data)) = expected.take() {
                match cue {
                    Cue::Note(note) if note.starts_with("received ") => {}
                    _ => assert_eq!((cue, topic), (Cue::Goodbye, EVENT_TOPIC)),
                }
                let message = inbox.try_recv().unwrap();
                assert_eq!(message.topic().as_bytes(), topic.as_bytes());
                assert_eq!(message.data().unwrap(), &data);
                received += 1;
            }
            expected = call.map(published_by);
            if cue == Cue::Goodbye {
                let endpoint = endpoint.clone();
                end = Some(tokio::spawn(async move { endpoint.shutdown().await }));
            }
        })
        .await;
    end.unwrap().await.unwrap();
    assert_eq!(received, VALUES + 1);
    // Before it says goodbye, our endpoint asks whether everything has been seen.
    assert_eq!(explained.values().sum::<usize>(), 1, "{explained:?}");
}

const VALUES: usize = 45;
const EVENT_TOPIC: &str = "/golden/event";

/// Topic and value of a note of the recording, as the caller wrote them down.
fn published_by(call: &str) -> (&'static str, Data) {
    if call == r#"zeek event Module::my_event("arg", 1, count 2)"# {
        let event = Event::new(
            "Module::my_event",
            vec!["arg".into(), 1i64.into(), 2u64.into()],
        );
        return (EVENT_TOPIC, event.into_data());
    }
    let (label, _) = call.split_once(": ").unwrap();
    ("/golden/x", value(label))
}

fn value(label: &str) -> Data {
    let v4 = Ipv4Addr::new(192, 0, 2, 1);
    let v6 = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    let net6 = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0);
    let integers = |all: &[i64]| Data::from(Set::from_iter(all.iter().copied()));
    let vector = |all: Vec<Data>| Data::Vector(all);
    match label {
        "none" => Data::None,
        "boolean true" => true.into(),
        "boolean false" => false.into(),
        "count 0" => 0u64.into(),
        "count 42" => 42u64.into(),
        "count max" => u64::MAX.into(),
        "integer 0" => 0i64.into(),
        "integer 7" => 7i64.into(),
        "integer -7" => (-7i64).into(),
        "integer min" => i64::MIN.into(),
        "integer max" => i64::MAX.into(),
        "real 0" => 0.0.into(),
        "real 2.5" => 2.5.into(),
        "real -1e300" => (-1e300).into(),
        "real inf" => f64::INFINITY.into(),
        "real nan" => f64::NAN.into(),
        "string empty" => "".into(),
        "string ascii" => "hello".into(),
        "string utf8" => "\u{fc}n\u{ef}c\u{f8}d\u{e9} \u{2603}".into(),
        "string 300 bytes" => "x".repeat(300).into(),
        "address v4" => v4.into(),
        "address v6" => v6.into(),
        "address v4-mapped zero" => Ipv4Addr::UNSPECIFIED.into(),
        "subnet v4 /24" => Subnet::new(IpAddr::from([192, 0, 2, 0]), 24).into(),
        "subnet v6 /32" => Subnet::new(net6, 32).into(),
        "subnet v4 /0" => Subnet::new(Ipv4Addr::UNSPECIFIED, 0).into(),
        "port 80/tcp" => Port::tcp(80).into(),
        "port 53/udp" => Port::udp(53).into(),
        "port 8/icmp" => Port::new(8, Protocol::Icmp).into(),
        "port 0/unknown" => Port::new(0, Protocol::Unknown).into(),
        "timestamp 1.5s" => Timestamp::from_nanos(1_500_000_000).into(),
        // 678 ms in the caller's program, which counted seconds in a double.
        "timestamp 2024-01-02" => Timestamp::from_nanos(1_704_164_645_677_999_872).into(),
        "timespan 1s" => Timespan::from_nanos(1_000_000_000).into(),
        "timespan -90us" => Timespan::from_nanos(-90_000).into(),
        "enum" => Data::enum_value("Broker::MEMORY"),
        "vector empty" => vector(vec![]),
        "vector mixed" => vector(vec![1i64.into(), "two".into(), true.into(), Data::None]),
        "vector nested" => {
            let inner = Data::vector([Data::from(2i64), Data::vector([3i64])]);
            vector(vec![Data::vector([Data::from(1i64), inner])])
        }
        "set empty" => integers(&[]),
        "set of integers 3,1,2" => integers(&[3, 1, 2]),
        "set mixed types" => Set::from_iter([Data::from(1i64), "a".into(), 1u64.into()]).into(),
        "table empty" => Table::new().into(),
        "table string to integer" => Table::from_iter([("b", 2i64), ("a", 1)]).into(),
        "table with vector key" => {
            let key = Data::vector([Data::from("a"), 1i64.into()]);
            Table::from_iter([(key, integers(&[1, 2]))]).into()
        }
        "vector of 200" => (0..200i64).map(Data::from).collect::<Vec<_>>().into(),
        other => panic!("no value for {other:?}"),
    }
}
