//! The WebSocket server against clients that speak plain WebSocket, and the recorded dialogue of a Zeek server.
//!
//! Clients are blocking ones on threads of their own, so that they share nothing with what is tested.
#![cfg(feature = "ws")]
#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod recorded;

use std::collections::BTreeSet;
use std::net::TcpStream;
use std::num::NonZeroUsize;
use std::time::Duration;

use broker_core::{
    Data, Endpoint, Filter, ListenError, MemNetwork, MemTransport, Message as BrokerMessage,
    PeerUrl, QueueOptions, Topic, json,
};
use broker_wire::WsTransport;
use serde_json::Value;
use tokio::time::timeout;
use tungstenite::client::IntoClientRequest;
use tungstenite::protocol::WebSocket;
use tungstenite::{Error, Message};

use recorded::recording;

/// How long anything that must happen may take.
const PATIENCE: Duration = Duration::from_secs(30);

fn start(transport: WsTransport) -> Endpoint {
    Endpoint::builder()
        .name("node")
        .transport(transport)
        .start()
}

async fn listening(transport: WsTransport) -> (Endpoint, PeerUrl) {
    let node = start(transport);
    let url = node
        .listen(&"ws://127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    (node, url)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    timeout(PATIENCE, tokio::task::spawn_blocking(work))
        .await
        .expect("in time")
        .expect("no panic")
}

/// A client that knows nothing of Broker.
struct Client(WebSocket<TcpStream>);

impl Client {
    fn open(url: &PeerUrl, path: &str, headers: &[(&'static str, &str)]) -> Result<Self, Error> {
        let stream = TcpStream::connect(url.authority(0)).map_err(Error::Io)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(Error::Io)?;
        let mut request = format!("ws://{}{path}", url.authority(0)).into_client_request()?;
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        match tungstenite::client(request, stream) {
            Ok((websocket, _)) => Ok(Self(websocket)),
            Err(tungstenite::HandshakeError::Failure(error)) => Err(error),
            Err(tungstenite::HandshakeError::Interrupted(_)) => panic!("late"),
        }
    }

    /// Connected, subscribed and acknowledged.
    fn subscribed(url: &PeerUrl, prefixes: &[&str]) -> Self {
        let mut client = Self::open(url, url.path(), &[]).unwrap();
        client.send(&serde_json::to_string(prefixes).unwrap());
        assert_eq!(client.next_json()["type"], "ack");
        client
    }

    fn send(&mut self, text: &str) {
        self.0.send(Message::text(text)).unwrap();
    }

    fn publish(&mut self, topic: &str, value: impl Into<Data>) {
        self.send(&data_message(topic, value));
    }

    /// The next text.
    fn next(&mut self) -> String {
        loop {
            match self.0.read().unwrap() {
                Message::Text(text) => return text.as_str().to_owned(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("no text: {other:?}"),
            }
        }
    }

    fn next_json(&mut self) -> Value {
        serde_json::from_str(&self.next()).unwrap()
    }

    /// Topic and value of the next data message.
    fn next_data(&mut self) -> (String, Data) {
        let text = self.next();
        let (topic, data) = json::parse_message(text.as_bytes()).expect(&text);
        (topic.to_str().unwrap().to_owned(), data)
    }

    /// The texts up to the close, and the close.
    fn rest(mut self) -> (Vec<String>, Option<(u16, String)>) {
        let mut texts = Vec::new();
        loop {
            match self.0.read() {
                Ok(Message::Text(text)) => texts.push(text.as_str().to_owned()),
                Ok(Message::Close(frame)) => {
                    // Read on, so that the closing handshake is finished.
                    while self.0.read().is_ok() {}
                    let frame =
                        frame.map(|frame| (frame.code.into(), frame.reason.as_str().to_owned()));
                    return (texts, frame);
                }
                Ok(_) => {}
                Err(_) => return (texts, None),
            }
        }
    }

    /// Closes and waits until that is done.
    fn close(mut self) {
        self.0.close(None).unwrap();
        while self.0.read().is_ok() {}
    }
}

fn data_message(topic: &str, value: impl Into<Data>) -> String {
    let mut text = Vec::new();
    json::write_message(
        topic.as_bytes(),
        &value.into(),
        json::Style::Exact,
        &mut text,
    );
    String::from_utf8(text).unwrap()
}

fn filter(prefixes: &[&'static str]) -> Filter {
    prefixes.iter().copied().map(Topic::from_static).collect()
}

// --- the recorded dialogue -----------------------------------------------------------------------

/// Whether ours says what Zeek said, IDs and versions apart, and reasons behind the text of an error.
fn matches_recorded(ours: &str, recorded: &str) -> bool {
    let (a, b): (Value, Value) = (
        serde_json::from_str(ours).unwrap(),
        serde_json::from_str(&recorded.replace('\u{1}', "\\u0001")).unwrap(),
    );
    match b["type"].as_str() {
        Some("ack") => {
            let (uuid, number) = a["endpoint"]
                .as_str()
                .unwrap()
                .split_once("-websocket-")
                .unwrap();
            uuid.parse::<broker_core::EndpointId>().is_ok()
                && number.parse::<u64>().is_ok()
                && ours.starts_with(r#"{"type":"ack","endpoint":""#)
        }
        Some("error") => {
            let start = b["context"].as_str().unwrap();
            a["code"] == b["code"] && a["context"].as_str().unwrap().starts_with(start)
        }
        // Byte for byte, but for a control character that Zeek writes raw.
        _ => ours == recorded.replace('\u{1}', "\\u0001"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_recorded_dialogue_of_zeek_is_ours_too() {
    let (node, url) = listening(WsTransport::new()).await;
    let mut played = 0;
    for scene in recording() {
        let url = url.clone();
        // Zeek takes only events it knows; we take any value (an improvement, and it needs no declarations).
        if scene
            .server
            .iter()
            .any(|text| text.contains("failed to create Zeek event"))
        {
            continue;
        }
        played += 1;
        let path = if scene.note == "bad path" {
            "/v1/other"
        } else {
            url.path()
        }
        .to_owned();
        let headers: &[(&str, &str)] = if scene.note == "bad application name" {
            &[("X-Application-Name", "bad name!")]
        } else {
            &[]
        };
        let node = node.clone();
        let runtime = tokio::runtime::Handle::current();
        blocking(move || {
            let mut client = Client::open(&url, &path, headers).unwrap();
            for text in &scene.client {
                // A refused client may find the connection closed already.
                let _ = client.0.send(Message::text(text.as_str()));
            }
            let mut answers = Vec::new();
            for recorded in &scene.server {
                if recorded.contains("\"data-message\"") {
                    // The script of the recording answers; here the test does.
                    let mended = recorded.replace('\u{1}', "\\u0001");
                    let (topic, data) = json::parse_message(mended.as_bytes()).unwrap();
                    let message = BrokerMessage::new(Topic::copy_from(&topic).unwrap(), data);
                    runtime.block_on(node.publish(message)).unwrap();
                }
                answers.push(client.next());
            }
            for (ours, recorded) in answers.iter().zip(&scene.server) {
                assert!(
                    matches_recorded(ours, recorded),
                    "{}: {ours} for {recorded}",
                    scene.note
                );
            }
            if let Some(closed) = scene.closed {
                let (texts, ours) = client.rest();
                assert_eq!(ours, Some(closed), "{}", scene.note);
                // Its error message was not recorded.
                if scene.server.is_empty() {
                    assert!(texts[0].contains("invalid_application_name"), "{texts:?}");
                }
            }
        })
        .await;
    }
    assert_eq!(played, 8);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_the_recording_that_zeek_did_not_know_are_published() {
    let (node, url) = listening(WsTransport::new()).await;
    let mut inbox = node.subscribe(filter(&["zeek/golden"]), QueueOptions::local());
    let scenes: Vec<_> = recording()
        .into_iter()
        .filter(|scene| {
            scene
                .server
                .iter()
                .any(|text| text.contains("failed to create Zeek event"))
        })
        .collect();
    assert_eq!(scenes.len(), 3);
    for scene in scenes {
        let url = url.clone();
        let event = scene.client[1].clone();
        blocking(move || {
            let mut client = Client::subscribed(&url, &["client/golden"]);
            client.send(&event);
            client.close();
        })
        .await;
        let message = timeout(PATIENCE, inbox.recv()).await.unwrap().unwrap();
        let (topic, data) = json::parse_message(scene.client[1].as_bytes()).unwrap();
        assert_eq!(message.topic().as_bytes(), &topic[..]);
        assert_eq!(message.data().unwrap(), &data);
    }
    node.shutdown().await;
}

// --- who sees what -------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_see_each_other_the_node_and_its_peers_but_not_themselves() {
    let network = MemNetwork::new();
    let node = Endpoint::builder()
        .name("node")
        .transport(WsTransport::new())
        .transport(MemTransport::new(&network))
        .start();
    let peer = Endpoint::builder()
        .name("peer")
        .transport(MemTransport::new(&network))
        .start();
    let url = node
        .listen(&"ws://127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    peer.listen(&"mem://peer".parse().unwrap()).await.unwrap();
    node.connect("mem://peer".parse().unwrap()).await.unwrap();
    let mut at_peer = peer.subscribe(filter(&["/t"]), QueueOptions::local());
    let mut at_node = node.subscribe(filter(&["/t"]), QueueOptions::local());
    assert!(peer.settled(PATIENCE).await);

    let (mut left, right) = blocking({
        let url = url.clone();
        move || {
            let mut left = Client::subscribed(&url, &["/t", "/t/more"]);
            let mut right = Client::subscribed(&url, &["/t/x"]);
            left.publish("/t/x", 1u64);
            assert_eq!(right.next_data(), ("/t/x".to_owned(), Data::Count(1)));
            right.publish("/t/y", 2u64);
            // Had the first come back to its sender, it would be here before this one.
            assert_eq!(left.next_data(), ("/t/y".to_owned(), Data::Count(2)));
            (left, right)
        }
    })
    .await;
    for inbox in [&mut at_peer, &mut at_node] {
        for expected in [1, 2] {
            let message = timeout(PATIENCE, inbox.recv()).await.unwrap().unwrap();
            assert_eq!(message.data().unwrap(), &Data::Count(expected));
        }
    }
    peer.publish(BrokerMessage::new(Topic::from_static("/t/z"), 3u64))
        .await
        .unwrap();
    node.publish(BrokerMessage::new(Topic::from_static("/u"), 4u64))
        .await
        .unwrap();
    blocking(move || {
        assert_eq!(left.next_data(), ("/t/z".to_owned(), Data::Count(3)));
        left.close();
        right.close();
    })
    .await;
    peer.shutdown().await;
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_sent_before_the_ack_binary_or_in_pieces_are_taken_in_order() {
    use tungstenite::protocol::frame::Frame;
    use tungstenite::protocol::frame::coding::{Data as OpData, OpCode};
    let (node, url) = listening(WsTransport::new()).await;
    let mut inbox = node.subscribe(filter(&["/t"]), QueueOptions::local());
    let client = blocking(move || {
        let mut client = Client::open(&url, url.path(), &[]).unwrap();
        client.send("[]");
        client.publish("/t", 0u64);
        client
            .0
            .send(Message::binary(data_message("/t", 1u64).into_bytes()))
            .unwrap();
        let text = data_message("/t", 2u64).into_bytes();
        let (one, two) = text.split_at(10);
        let part = |bytes: &[u8], code, last| {
            Message::Frame(Frame::message(bytes.to_vec(), OpCode::Data(code), last))
        };
        client.0.send(part(one, OpData::Text, false)).unwrap();
        client.0.send(Message::Ping("between".into())).unwrap();
        client.0.send(part(two, OpData::Continue, true)).unwrap();
        client.publish("/t", 3u64);
        assert_eq!(client.next_json()["type"], "ack");
        client
    })
    .await;
    for expected in 0..4 {
        let message = timeout(PATIENCE, inbox.recv()).await.unwrap().unwrap();
        assert_eq!(message.data().unwrap(), &Data::Count(expected));
    }
    drop(client);
    node.shutdown().await;
}

// --- flow control --------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_messages_at_full_speed_are_neither_lost_nor_cut_off() {
    const COUNT: u64 = 100_000;
    let (node, url) = listening(WsTransport::new()).await;
    let small = QueueOptions::local().max_messages(NonZeroUsize::new(64).unwrap());
    let mut inbox = node.subscribe(filter(&["/t"]), small);
    let sender = tokio::spawn(blocking(move || {
        let mut client = Client::subscribed(&url, &[]);
        for number in 0..COUNT {
            client
                .0
                .write(Message::text(data_message("/t", number)))
                .unwrap();
        }
        client.0.flush().unwrap();
        client.close();
    }));
    for expected in 0..COUNT {
        let message = timeout(PATIENCE, inbox.recv()).await.unwrap().unwrap();
        assert_eq!(message.data().unwrap(), &Data::Count(expected));
    }
    sender.await.unwrap();
    assert_eq!(inbox.counters().dropped_total(), 0);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_clients_that_flood_each_other_do_not_wait_for_each_other() {
    const COUNT: u64 = 20_000;
    // No pings: the reading half would answer them in the middle of what the writing half sends.
    let transport = WsTransport::new().ping_interval(Duration::from_secs(600));
    let (node, url) = listening(transport).await;
    let clients = ["/a", "/b"].map(|own| {
        let url = url.clone();
        tokio::spawn(blocking(move || {
            let other = if own == "/a" { "/b" } else { "/a" };
            let mut client = Client::subscribed(&url, &[own]);
            // Both are there before either begins.
            client.publish(other, "hello");
            while client.next_data().1 != Data::from("ready") {
                client.publish(other, "ready");
            }
            client.publish(other, "ready");
            // The client may have read ahead, so it goes on reading, and another one writes.
            let mut writer = WebSocket::from_raw_socket(
                client.0.get_ref().try_clone().unwrap(),
                tungstenite::protocol::Role::Client,
                None,
            );
            let reading = std::thread::spawn(move || {
                let mut next = 0;
                while next < COUNT {
                    if let (_, Data::Count(number)) = client.next_data() {
                        assert_eq!(number, next);
                        next += 1;
                    }
                }
            });
            for number in 0..COUNT {
                writer
                    .write(Message::text(data_message(other, number)))
                    .unwrap();
            }
            writer.flush().unwrap();
            reading.join().unwrap();
        }))
    });
    for client in clients {
        client.await.unwrap();
    }
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_is_closed_and_holds_nobody() {
    let queue = QueueOptions::local()
        .max_messages(NonZeroUsize::new(16).unwrap())
        .block_timeout(Duration::from_millis(50));
    let (node, url) = listening(WsTransport::new().queue(queue)).await;
    let (client, other) = blocking(move || {
        (
            Client::subscribed(&url, &["/t"]),
            Client::subscribed(&url, &["/u"]),
        )
    })
    .await;
    let large = "x".repeat(64 << 10);
    // Enough to fill all buffers between here and there.
    for _ in 0..1000 {
        node.publish(BrokerMessage::new(Topic::from_static("/t"), large.as_str()))
            .await
            .unwrap();
    }
    node.publish(BrokerMessage::new(Topic::from_static("/u"), 1u64))
        .await
        .unwrap();
    blocking(move || {
        let mut other = other;
        assert_eq!(other.next_data().1, Data::Count(1));
        let (texts, closed) = client.rest();
        assert!(texts.len() < 1000);
        let (code, reason) = closed.expect("a close frame");
        assert_eq!(code, 1008);
        assert!(reason.starts_with("Too slow: "), "{reason}");
    })
    .await;
    node.shutdown().await;
}

// --- refusals and ends ---------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_frames_close_with_the_code_that_says_so() {
    use std::io::Write;
    let (node, url) = listening(WsTransport::new().max_message(1000)).await;
    blocking(move || {
        for (frame, code) in [
            (&[0x81, 0x82, 0, 0, 0, 0, 0xff, 0xfe][..], 1007),
            (&[0x83, 0x80, 0, 0, 0, 0], 1002),
            (&[0x8b, 0x80, 0, 0, 0, 0], 1002),
            (&[0x81, 0xfe, 0x7f, 0xff, 0, 0, 0, 0], 1009),
            (
                &[
                    0x81, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0,
                ],
                1009,
            ),
        ] {
            let mut client = Client::subscribed(&url, &[]);
            client.0.get_mut().write_all(frame).unwrap();
            let (_, closed) = client.rest();
            assert_eq!(closed.map(|(code, _)| code), Some(code));
        }
        // Unmasked frames are taken, as by Zeek.
        let mut client = Client::open(&url, url.path(), &[]).unwrap();
        client.0.get_mut().write_all(b"\x81\x02[]").unwrap();
        assert_eq!(client.next_json()["type"], "ack");
    })
    .await;
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_asked_for_where_there_is_one() {
    let (node, url) = listening(WsTransport::new().token("s3cret")).await;
    blocking(move || {
        for header in [&[][..], &[("Authorization", "Bearer wrong")]] {
            match Client::open(&url, url.path(), header) {
                Err(Error::Http(response)) => assert_eq!(response.status(), 401),
                Ok(_) => panic!("let in"),
                Err(other) => panic!("{other}"),
            }
        }
        let mut client =
            Client::open(&url, url.path(), &[("Authorization", "Bearer s3cret")]).unwrap();
        client.send("[]");
        assert_eq!(client.next_json()["type"], "ack");
    })
    .await;
    node.shutdown().await;
}

#[tokio::test]
async fn without_a_token_only_loopback_is_listened_on_unless_that_is_allowed() {
    let everywhere: PeerUrl = "ws://0.0.0.0:0".parse().unwrap();
    let node = start(WsTransport::new());
    let refused = node.listen(&everywhere).await;
    assert!(
        matches!(&refused, Err(ListenError::Unprotected { url }) if *url == everywhere),
        "{refused:?}"
    );
    assert!(node.listening().is_empty());
    node.shutdown().await;
    for transport in [
        WsTransport::new().allow_unauthenticated(true),
        WsTransport::new().token("x"),
    ] {
        let node = start(transport);
        node.listen(&everywhere).await.unwrap();
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_beyond_the_limit_are_closed_at_once() {
    let (node, url) = listening(WsTransport::new().max_clients(NonZeroUsize::MIN)).await;
    blocking(move || {
        let first = Client::subscribed(&url, &[]);
        assert!(Client::open(&url, url.path(), &[]).is_err());
        first.close();
        // The place is free soon after.
        while Client::open(&url, url.path(), &[]).is_err() {}
    })
    .await;
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_shutdown_clients_get_what_is_queued_and_are_told() {
    let (node, url) = listening(WsTransport::new()).await;
    let (subscribed, silent) = blocking(move || {
        (
            Client::subscribed(&url, &["/t"]),
            Client::open(&url, url.path(), &[]).unwrap(),
        )
    })
    .await;
    for number in 0..100u64 {
        node.publish(BrokerMessage::new(Topic::from_static("/t"), number))
            .await
            .unwrap();
    }
    let down = tokio::spawn(async move { node.shutdown().await });
    let (texts, closed, silently_closed) = blocking(move || {
        let (texts, closed) = subscribed.rest();
        (texts, closed, silent.rest().1)
    })
    .await;
    assert_eq!(texts.len(), 100);
    assert_eq!(closed, Some((1001, "Terminating".to_owned())));
    assert_eq!(silently_closed, Some((1001, "Terminating".to_owned())));
    timeout(PATIENCE, down).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_client_has_a_name_of_its_own() {
    let (node, url) = listening(WsTransport::new()).await;
    let names = blocking(move || {
        (0..3)
            .map(|_| {
                let mut client = Client::open(&url, url.path(), &[]).unwrap();
                client.send("[]");
                client.next_json()["endpoint"].as_str().unwrap().to_owned()
            })
            .collect::<BTreeSet<_>>()
    })
    .await;
    let expected = (0..3)
        .map(|number| format!("{}-websocket-{number}", node.id()))
        .collect();
    assert_eq!(names, expected);
    node.shutdown().await;
}
