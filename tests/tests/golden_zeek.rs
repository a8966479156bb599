//! The recorded session of two Zeek processes, one of which publishes an event with an argument of every type and logs records
//! with a column of every type, replayed with ours in place of either.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use broker_cluster::log::LogFormat;
use broker_cluster::logging::{LogClient, LogReceiver, LogSpec};
use broker_cluster::topics;
use broker_core::zeek::{Event, Message as ZeekMessage};
use broker_core::{
    Data, Endpoint, Filter, Message, Port, QueueOptions, Set, Subnet, Subscriber, Table, Timespan,
    Timestamp, Topic,
};
use broker_tests::PATIENCE;
use broker_tests::golden::{Cue, Replay, Side, logs};

fn topics_of(all: &[&'static str]) -> Filter {
    all.iter().map(|topic| Topic::from_static(topic)).collect()
}

fn subscribe(endpoint: &Endpoint, all: &[&'static str]) -> Subscriber {
    endpoint.subscribe(topics_of(all), QueueOptions::local())
}

async fn publish(endpoint: &Endpoint, topic: &'static str, event: Event) {
    let message = Message::new(Topic::from_static(topic), event);
    assert_eq!(endpoint.publish(message).await.unwrap().peers, 1);
}

#[tokio::test(start_paused = true)]
async fn events_and_logs_go_out_as_zeek_sends_them() {
    let mut replay = Replay::new("zeek-events-and-logs", Side::Connector).await;
    replay.adapt(logs::at_our_time);
    let endpoint = replay.endpoint().forwarding(false).start();
    let _zeek = subscribe(&endpoint, &["zeek/supervisor", "zeek/table/"]);
    let client = LogClient::standalone(&endpoint);
    replay.open(&endpoint).await;
    let explained = replay
        .run(async |cue| {
            assert!(matches!(cue, Cue::Note(note) if note.starts_with("two Zeek")));
            let spec = LogSpec::new(logs::broker_log());
            let mut broker_log = client.stream(spec).await.unwrap();
            publish(&endpoint, "zeek/golden/types", all_types()).await;
            let spec = LogSpec::new(logs::golden_log());
            let mut golden_log = client.stream(spec).await.unwrap();
            let record = logs::peer_added(0x41da_c0fa_014f_84d7, 46379);
            broker_log.write(&record).await.unwrap();
            for n in 0..3 {
                let record = logs::golden_record(n, ["-", "x", "y,z"], ["::1", "10.0.0.1"]);
                golden_log.write(&record).await.unwrap();
            }
            assert!(client.drained(PATIENCE).await);
            publish(&endpoint, "zeek/golden/done", event("Golden::done", vec![])).await;
        })
        .await;
    assert!(explained.is_empty(), "{explained:?}");
}

/// Plays Zeek's records to a logger of ours; returns what it wrote.
async fn written(format: LogFormat) -> String {
    let dir = tempfile::tempdir().unwrap();
    let mut replay = Replay::new("zeek-events-and-logs", Side::Acceptor).await;
    // A logger of ours also listens to the topic of its node, as one in a cluster does. Our filters are exact: that topic
    // would leave ours when the logger closes, while those of C++ only grow. It is held, as nodes of a cluster do.
    let of_node: Filter = [topics::node_topic("zeek")].into_iter().collect();
    let endpoint = replay.endpoint().forwarding(false).start();
    endpoint.forward(&of_node);
    replay.announced(of_node);
    let _zeek = subscribe(&endpoint, &["zeek/logs", "zeek/supervisor", "zeek/table/"]);
    let mut events = subscribe(&endpoint, &["zeek/golden"]);
    let logger = LogReceiver::start(&endpoint, "zeek", dir.path(), format).unwrap();
    replay.open(&endpoint).await;
    let mut end = None;
    let explained = replay
        .run(async |cue| {
            if cue == Cue::Goodbye {
                logger.close().await;
                let endpoint = endpoint.clone();
                end = Some(tokio::spawn(async move { endpoint.shutdown().await }));
            }
        })
        .await;
    end.unwrap().await.unwrap();
    for (topic, expected) in [
        ("zeek/golden/types", all_types()),
        ("zeek/golden/done", event("Golden::done", vec![])),
    ] {
        let message = events.recv().await.unwrap();
        assert_eq!(message.topic().as_bytes(), topic.as_bytes());
        let read = ZeekMessage::from_data(message.data().unwrap()).unwrap();
        assert_eq!(read, ZeekMessage::Event(expected));
    }
    let reasons: Vec<&str> = explained.into_keys().collect();
    assert_eq!(reasons, ["pings of ours"]);
    let counters = logger.counters();
    for (stream, records) in [("Broker::LOG", 1), ("Golden::LOG", 3)] {
        let counted = &counters[stream];
        assert_eq!((counted.received, counted.written), (records, records));
        assert_eq!(counted.dropped, 0);
    }
    std::fs::read_to_string(dir.path().join("golden.log")).unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_a_zeek_worker_logs_is_written_as_zeek_writes_it() {
    let ours = written(LogFormat::Tsv).await;
    logs::assert_same_log(&ours, &logs::zeeks_file("zeek-golden.log"));
}

#[tokio::test(start_paused = true)]
async fn what_a_zeek_worker_logs_is_written_as_the_json_zeek_writes() {
    let ours = written(LogFormat::Json).await;
    // The file is of another run, in which the set was hashed into another order.
    let ours = ours.replace(r#""ss":["-","x","y,z"]"#, r#""ss":["x","y,z","-"]"#);
    logs::assert_same_log(&ours, &logs::zeeks_file("zeek-golden.json.log"));
}

/// The event with an argument of every type, as the script made it (zeek-cluster reference, 5).
fn all_types() -> Event {
    let v4 = |last| Ipv4Addr::new(10, 0, 0, last);
    let doc4 = Ipv4Addr::new(192, 0, 2, 1);
    let doc6 = |last| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last);
    let record = Data::vector([Data::from(1u64), Data::None, v4(1).into()]);
    let pair = Data::vector([Data::from("a"), 1u64.into()]);
    let place = Data::vector([Data::from(v4(1)), Port::udp(53).into()]);
    let pattern = ["^?(ab+c)$?", "^?(.|\\n)*(ab+c)"];
    let args = vec![
        true.into(),
        5u64.into(),
        (-5i64).into(),
        2.5.into(),
        Timestamp::from_nanos(1_700_000_000_500_000_000).into(),
        Timespan::from(Duration::from_secs(90)).into(),
        "text".into(),
        doc4.into(),
        doc6(1).into(),
        Subnet::new(IpAddr::from([192, 0, 2, 0]), 24).into(),
        Subnet::new(doc6(0), 32).into(),
        Port::tcp(80).into(),
        Data::enum_value("Golden::GREEN"),
        record,
        Data::vector([1u64, 2]),
        Set::from_iter([1u64, 2]).into(),
        Set::from_iter([pair]).into(),
        Table::from_iter([("k", 1u64)]).into(),
        Table::from_iter([(place, "v")]).into(),
        Data::vector(pattern),
    ];
    event("Golden::all_types", args)
}

/// An event as `Broker::publish` sends it: with metadata, which are none.
fn event(name: &str, args: Vec<Data>) -> Event {
    Event {
        metadata: Some(Vec::new()),
        ..Event::new(name, args)
    }
}
