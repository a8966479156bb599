//! Recorded sessions in which something is wrong: a peer that stops anywhere, frames that are cut short, and an endpoint that
//! says something else than the recorded one, which a replay must notice.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::net::SocketAddr;

use broker_core::{Data, Endpoint, Filter, Message, QueueOptions, Topic};
use broker_store::{MasterOptions, Memory, StoreExt as _};
use broker_tests::golden::calls::wait_for;
use broker_tests::golden::{Cue, Recording, Replay, Side};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

fn filter(prefix: &'static str) -> Filter {
    [Topic::from_static(prefix)].into_iter().collect()
}

/// Everything the connector of a recording sent, in one piece.
fn connectors_bytes(recording: &str) -> Vec<u8> {
    let recording = Recording::load(recording);
    let frames = recording.frames();
    let sent = frames.filter(|recorded| recorded.from == Side::Connector);
    sent.flat_map(|recorded| recorded.bytes.clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_connector_that_stops_anywhere_costs_nobody_anything() {
    let mut replay = Replay::new("handshake-and-filters", Side::Acceptor).await;
    let endpoint = replay.endpoint().start();
    let _inbox = endpoint.subscribe(filter("/a/topic"), QueueOptions::local());
    replay.open(&endpoint).await;
    let port = endpoint.listening()[0].port().unwrap();
    // The connector has the smaller ID, so it says all it has to say without waiting for much.
    let bytes = connectors_bytes("handshake-and-filters");
    for length in 0..bytes.len() {
        let mut stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port)))
            .await
            .unwrap();
        stream.write_all(&bytes[..length]).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        // It may be closed with something unread.
        let _ = stream.read_to_end(&mut answer).await;
        assert!(
            answer.starts_with(b"\0\0\0\x05\x07ZEEK"),
            "{length}: {answer:02x?}"
        );
    }
    // And then one that does not stop.
    let mut late = None;
    let explained = replay
        .run(async |cue| {
            if matches!(cue, Cue::Note(note) if note.starts_with("connector adds")) {
                late = Some(endpoint.subscribe(filter("/a/late"), QueueOptions::local()));
            }
        })
        .await;
    assert!(explained.is_empty(), "{explained:?}");
}

#[tokio::test(start_paused = true)]
async fn messages_cut_short_are_as_good_as_none() {
    for (recording, announced) in [
        ("data-types", &["/golden"][..]),
        (
            "zeek-events-and-logs",
            &["zeek/golden", "zeek/logs", "zeek/supervisor", "zeek/table/"],
        ),
    ] {
        let mut replay = Replay::new(recording, Side::Acceptor).await;
        replay.cut_short();
        let endpoint = replay.endpoint().start();
        let filter: Filter = announced
            .iter()
            .map(|topic| Topic::from_static(topic))
            .collect();
        let mut inbox = endpoint.subscribe(filter, QueueOptions::local());
        replay.open(&endpoint).await;
        let recorded = Recording::load(recording);
        let payload = |frame: &broker_tests::golden::Frame| match frame {
            broker_tests::golden::Frame::Message(message) if message.kind == 1 => {
                Some(message.payload.clone())
            }
            _ => None,
        };
        let payloads = recorded
            .frames()
            .filter_map(|recorded| payload(&recorded.frame));
        let mut end = None;
        replay
            .run(async |cue| {
                if cue == Cue::Goodbye {
                    let endpoint = endpoint.clone();
                    end = Some(tokio::spawn(async move { endpoint.shutdown().await }));
                }
            })
            .await;
        end.unwrap().await.unwrap();
        // Every whole one has arrived, and nothing else.
        for payload in payloads {
            assert_eq!(inbox.recv().await.unwrap().encoded()[..], payload);
        }
        assert!(inbox.recv().await.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn commands_cut_short_are_as_good_as_none() {
    let mut replay = Replay::new("store-memory", Side::Acceptor).await;
    replay.cut_short();
    let endpoint = replay.endpoint().start();
    let attached = endpoint.attach_master("golden", Memory::new(), MasterOptions::default());
    let master = attached.await.unwrap();
    master.put("pre", "existing", None).await.unwrap();
    master
        .put(5u64, Data::vector([1i64, 2]), None)
        .await
        .unwrap();
    master.put("will-expire", 1i64, None).await.unwrap();
    replay.open(&endpoint).await;
    wait_for(&mut replay, &master);
    replay
        .run(async |cue| {
            if cue == Cue::Note("master put k1=v1") {
                master.put("k1", "v1", None).await.unwrap();
            }
        })
        .await;
    assert!(master.keys().await.unwrap().is_empty());
}

/// Plays the data types to an endpoint of ours that publishes what `says` makes of the first value.
async fn with_first_value(says: impl AsyncFn(&Endpoint)) {
    let mut replay = Replay::new("data-types", Side::Connector).await;
    let endpoint = replay.endpoint().start();
    replay.open(&endpoint).await;
    replay
        .run(async |cue| {
            if matches!(cue, Cue::Note(note) if note.starts_with("publish none")) {
                says(&endpoint).await;
            }
        })
        .await;
}

async fn publish(endpoint: &Endpoint, topic: &'static str, data: impl Into<Data>) {
    let message = Message::new(Topic::from_static(topic), data.into());
    endpoint.publish(message).await.unwrap();
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "data-types #6")]
async fn a_replay_notices_another_value() {
    with_first_value(async |endpoint| publish(endpoint, "/golden/x", false).await).await;
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "data-types #6")]
async fn a_replay_notices_another_topic() {
    with_first_value(async |endpoint| publish(endpoint, "/golden/y", Data::None).await).await;
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "data-types #7")]
async fn a_replay_notices_a_message_too_many() {
    with_first_value(async |endpoint| {
        publish(endpoint, "/golden/x", Data::None).await;
        publish(endpoint, "/golden/x", Data::None).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "handshake-and-filters #4")]
async fn a_replay_notices_another_filter() {
    let mut replay = Replay::new("handshake-and-filters", Side::Connector).await;
    let endpoint = replay.endpoint().start();
    let _inbox = endpoint.subscribe(filter("/b"), QueueOptions::local());
    replay.open(&endpoint).await;
    replay.run(async |_| {}).await;
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "our endpoint also sent")]
async fn a_replay_notices_what_comes_behind_the_end() {
    let mut replay = Replay::new("handshake-and-filters", Side::Acceptor).await;
    let endpoint = replay.endpoint().start();
    let mut inboxes = vec![endpoint.subscribe(filter("/a/topic"), QueueOptions::local())];
    replay.open(&endpoint).await;
    replay
        .run(async |cue| match cue {
            Cue::Note(note) if note.starts_with("connector adds") => {
                inboxes.push(endpoint.subscribe(filter("/a/late"), QueueOptions::local()));
            }
            // To what the connector has subscribed, while its goodbye is on the way.
            Cue::Note("connector unpeers") => publish(&endpoint, "/b/topic", 1u64).await,
            _ => {}
        })
        .await;
}
