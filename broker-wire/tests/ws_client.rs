//! The client side of WebSocket: peerings with a server of ours and with scripted ones, and the client for tools.
#![cfg(feature = "ws")]
#![allow(clippy::unwrap_used)] // helpers of tests are tests

#[cfg(feature = "tls")]
mod pki;
mod recorded;

use std::net::{TcpListener, TcpStream};
use std::num::NonZeroUsize;
use std::time::Duration;

use broker_core::{
    ConnectError, Data, Endpoint, EndpointId, Filter, HandshakeError, Message as BrokerMessage,
    PeerUrl, QueueOptions, StatusEventCode, Subscriber, Topic, json,
};
use broker_wire::{WsClient, WsClientOptions, WsError, WsReceived, WsTransport};
use bytes::Bytes;
use tokio::time::timeout;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{CloseCode, Data as OpData, OpCode};
use tungstenite::protocol::{CloseFrame, WebSocket};
use tungstenite::{Error, Message};

use recorded::Scene;

/// How long anything that must happen may take.
const PATIENCE: Duration = Duration::from_secs(30);

async fn server(transport: WsTransport) -> (Endpoint, PeerUrl) {
    let node = Endpoint::builder()
        .name("server")
        .transport(transport)
        .start();
    let url = node
        .listen(&"ws://127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    (node, url)
}

fn client(transport: WsTransport) -> Endpoint {
    Endpoint::builder()
        .name("client")
        .transport(transport)
        .start()
}

fn with_query(url: &PeerUrl, query: &str) -> PeerUrl {
    format!("{url}?{query}").parse().unwrap()
}

fn filter(prefixes: &[&'static str]) -> Filter {
    prefixes.iter().copied().map(Topic::from_static).collect()
}

fn message(topic: &'static str, value: impl Into<Data>) -> BrokerMessage {
    BrokerMessage::new(Topic::from_static(topic), value)
}

async fn next(inbox: &mut Subscriber) -> Data {
    let message = timeout(PATIENCE, inbox.recv())
        .await
        .expect("in time")
        .expect("open");
    message.data().unwrap().clone()
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("in time")
}

// --- peerings with a server of ours --------------------------------------------------------------

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_joins_a_server_and_both_get_what_they_asked_for() {
    let (right, url) = server(WsTransport::new()).await;
    let left = client(WsTransport::new().application_name("left/1"));
    let mut at_left = left.subscribe(filter(&["/r"]), QueueOptions::local());
    let mut at_right = right.subscribe(filter(&["/"]), QueueOptions::local());
    let url = with_query(&url, "send=/l");
    assert_eq!(left.connect(url.clone()).await.unwrap(), right.id());
    let [peer] = &left.peers()[..] else {
        panic!("not one peer")
    };
    assert_eq!(
        (peer.id, &peer.filter, peer.inbound),
        (right.id(), &filter(&["/l"]), false)
    );
    assert!(peer.software.starts_with("WebSocket server "));

    right.publish(message("/r/1", 1u64)).await.unwrap();
    assert_eq!(next(&mut at_left).await, Data::Count(1));
    left.publish(message("/not/sent", 2u64)).await.unwrap();
    left.publish(message("/l/1", 0.1)).await.unwrap();
    assert_eq!(next(&mut at_right).await, Data::from(0.1));
    assert!(left.settled(PATIENCE).await);
    assert!(soon(left.unpeer(&url)).await);
    assert!(left.peers().is_empty());
    left.shutdown().await;
    right.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_filter_reaches_the_server_before_what_follows() {
    let (right, url) = server(WsTransport::new()).await;
    let left = client(WsTransport::new());
    let mut asked = right.subscribe(filter(&["/question"]), QueueOptions::local());
    left.connect(with_query(&url, "send=/question"))
        .await
        .unwrap();
    for round in 0..3u64 {
        let mut answers = left.subscribe(filter(&["/answer"]), QueueOptions::local());
        left.publish(message("/question", round)).await.unwrap();
        assert_eq!(next(&mut asked).await, Data::Count(round));
        right.publish(message("/answer", round)).await.unwrap();
        assert_eq!(next(&mut answers).await, Data::Count(round));
    }
    assert_eq!(left.peers().len(), 1);
    left.shutdown().await;
    right.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_message_is_lost_or_doubled_when_the_filter_changes() {
    const COUNT: u64 = 20_000;
    let (right, url) = server(WsTransport::new()).await;
    let left = client(WsTransport::new());
    let mut inbox = left.subscribe(filter(&["/a"]), QueueOptions::local());
    left.connect(url).await.unwrap();
    let publisher = right.clone();
    let publishing = tokio::spawn(async move {
        for number in 0..COUNT {
            publisher.publish(message("/a", number)).await.unwrap();
            if number % 100 == 0 {
                // Spreads them over the changes.
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    });
    let changing = left.clone();
    let changes = tokio::spawn(async move {
        let mut kept = Vec::new();
        for prefix in ["/b", "/c", "/d"] {
            kept.push(changing.subscribe(filter(&[prefix]), QueueOptions::local()));
            assert!(changing.settled(PATIENCE).await);
        }
        kept
    });
    for expected in 0..COUNT {
        assert_eq!(next(&mut inbox).await, Data::Count(expected));
    }
    publishing.await.unwrap();
    let mut kept = changes.await.unwrap();
    // The last subscription is in place, and nothing is left over of the first.
    right.publish(message("/d", 1u64)).await.unwrap();
    assert_eq!(next(&mut kept[2]).await, Data::Count(1));
    assert!(inbox.try_recv().is_none());
    assert_eq!(left.peers().len(), 1);
    left.shutdown().await;
    right.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_node_sends_does_not_come_back_not_even_over_its_next_connection() {
    let (right, url) = server(WsTransport::new()).await;
    let left = client(WsTransport::new());
    let mut at_right = right.subscribe(filter(&["/t"]), QueueOptions::local());
    let mut at_left = left.subscribe(filter(&["/t"]), QueueOptions::local());
    left.connect(with_query(&url, "send=/t")).await.unwrap();
    let mut kept = Vec::new();
    for (round, prefix) in ["/u", "/v"].into_iter().enumerate() {
        for number in 0..50 {
            left.publish(message("/t", format!("{round} {number}").as_str()))
                .await
                .unwrap();
        }
        kept.push(left.subscribe(filter(&[prefix]), QueueOptions::local()));
        for number in 50..100 {
            left.publish(message("/t", format!("{round} {number}").as_str()))
                .await
                .unwrap();
        }
        for number in 0..100 {
            assert_eq!(
                next(&mut at_right).await,
                Data::from(format!("{round} {number}").as_str())
            );
        }
    }
    assert!(left.settled(PATIENCE).await);
    right.publish(message("/t", "end")).await.unwrap();
    assert_eq!(next(&mut at_left).await, Data::from("end"));
    left.shutdown().await;
    right.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_peering_is_made_anew_when_the_server_comes_back() {
    let (first, url) = server(WsTransport::new()).await;
    let left = client(WsTransport::new());
    let mut inbox = left.subscribe(filter(&["/t"]), QueueOptions::local());
    left.peer(url.clone());
    assert!(left.await_peer(first.id(), PATIENCE).await);
    let mut statuses = left.statuses();
    first.shutdown().await;
    soon(async {
        while statuses.recv().await.expect("running").code != StatusEventCode::PeerLost {}
    })
    .await;
    let second = Endpoint::builder().transport(WsTransport::new()).start();
    soon(async { while second.listen(&url).await.is_err() {} }).await;
    assert!(left.await_peer(second.id(), PATIENCE).await);
    second.publish(message("/t", 1u64)).await.unwrap();
    assert_eq!(next(&mut inbox).await, Data::Count(1));
    left.shutdown().await;
    second.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_shown_where_one_is_set() {
    let (right, url) = server(WsTransport::new().token("s3cret")).await;
    let without = client(WsTransport::new());
    let Err(ConnectError::Handshake {
        source: HandshakeError::Refused { reason, .. },
        ..
    }) = without.connect(url.clone()).await
    else {
        panic!("let in")
    };
    assert!(reason.contains("token"), "{reason}");
    let with = client(WsTransport::new().client_token("s3cret"));
    assert_eq!(with.connect(url).await.unwrap(), right.id());
    assert!(
        !format!(
            "{:?}",
            WsTransport::new().token("s3cret").client_token("s3cret")
        )
        .contains("s3cret")
    );
    for node in [without, with, right] {
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_are_dropped_and_counted() {
    let (right, url) = server(WsTransport::new()).await;
    let transport = WsTransport::new();
    let left = client(transport.clone());
    left.connect(with_query(&url, "send=")).await.unwrap();
    left.send_command(
        Some(right.id()),
        Topic::from_static("s/<$>/data/master"),
        Bytes::from_static(b"x"),
    );
    assert!(left.settled(PATIENCE).await);
    assert_eq!(transport.counters().commands_dropped, 1);
    assert_eq!(left.status().counters["ws_commands_dropped"], 1);
    left.shutdown().await;
    right.shutdown().await;
}

#[tokio::test]
async fn a_node_does_not_join_itself() {
    let (node, url) = server(WsTransport::new()).await;
    assert!(matches!(
        node.connect(url).await,
        Err(ConnectError::Handshake {
            source: HandshakeError::SelfPeering,
            ..
        })
    ));
    node.shutdown().await;
}

// --- peerings with scripted servers --------------------------------------------------------------

/// A server that does what a script says, on a thread of its own, for each connection.
fn scripted(script: impl Fn(usize, WebSocket<TcpStream>) + Send + 'static) -> PeerUrl {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let stream = stream.unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            if let Ok(websocket) = tungstenite::accept(stream) {
                script(number, websocket);
            }
        }
    });
    format!("ws://127.0.0.1:{port}").parse().unwrap()
}

const ID: &str = "45c148ab-601b-5455-a0c4-3a2d3f373e43";

fn acknowledge(websocket: &mut WebSocket<TcpStream>) -> String {
    let subscription = websocket.read().unwrap().into_text().unwrap();
    let ack = format!(r#"{{"type":"ack","endpoint":"{ID}-websocket-0","version":"9.1.0-dev"}}"#);
    websocket.send(Message::text(ack)).unwrap();
    subscription.as_str().to_owned()
}

fn text_frame(bytes: &[u8], first: bool, last: bool) -> Message {
    let code = if first {
        OpData::Text
    } else {
        OpData::Continue
    };
    Message::Frame(Frame::message(bytes.to_vec(), OpCode::Data(code), last))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn zeeks_flaws_in_writing_are_read_and_its_errors_are_counted() {
    let (said, heard) = std::sync::mpsc::channel();
    let url = scripted(move |_, mut websocket| {
        said.send(acknowledge(&mut websocket)).unwrap();
        let head = br#"{"type":"data-message","topic":"t","@data-type":"string","data":""#;
        let mut text = head.to_vec();
        text.extend_from_slice(b"\x01\xff\\v\xc3(\"}");
        // In pieces, as Zeek sends what is long.
        let (one, two) = text.split_at(head.len() + 2);
        websocket.send(text_frame(one, true, false)).unwrap();
        websocket.send(text_frame(two, false, true)).unwrap();
        for real in ["nan", "inf", "-inf", "0.500000"] {
            let text = format!(
                r#"{{"type":"data-message","topic":"t","@data-type":"real","data":{real}}}"#
            );
            websocket.send(Message::text(text)).unwrap();
        }
        let error = r#"{"type":"error","code":"deserialization_failed","context":"failed to create Zeek event"}"#;
        websocket.send(Message::text(error)).unwrap();
        websocket.send(Message::text("what?")).unwrap();
        websocket
            .send(Message::text(
                r#"{"topic":"t","type":"data-message","@data-type":"count","data":1}"#,
            ))
            .unwrap();
        while websocket.read().is_ok() {}
    });
    let transport = WsTransport::new();
    let left = client(transport.clone());
    let mut inbox = left.subscribe(filter(&["t"]), QueueOptions::local());
    assert_eq!(
        left.connect(url).await.unwrap(),
        ID.parse::<EndpointId>().unwrap()
    );
    assert_eq!(heard.recv().unwrap(), r#"["t"]"#);
    assert_eq!(
        next(&mut inbox).await,
        Data::String(b"\x01\xff\x0b\xc3(".as_slice().into())
    );
    let Data::Real(nan) = next(&mut inbox).await else {
        panic!("no real")
    };
    assert!(nan.is_nan());
    for expected in [f64::INFINITY, f64::NEG_INFINITY, 0.5] {
        assert_eq!(next(&mut inbox).await, Data::from(expected));
    }
    assert_eq!(next(&mut inbox).await, Data::Count(1));
    let counters = transport.counters();
    assert_eq!((counters.server_errors, counters.unreadable), (1, 1));
    left.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_leaves_says_so_and_what_it_published_has_arrived() {
    let (said, heard) = std::sync::mpsc::channel();
    let url = scripted(move |_, mut websocket| {
        acknowledge(&mut websocket);
        let mut texts = 0;
        loop {
            match websocket.read() {
                Ok(Message::Text(_)) => texts += 1,
                Ok(Message::Close(frame)) => {
                    said.send((texts, frame.map(|frame| u16::from(frame.code))))
                        .unwrap();
                    break;
                }
                Ok(_) => {}
                Err(error) => panic!("{error}"),
            }
        }
        while websocket.read().is_ok() {}
    });
    let left = client(WsTransport::new());
    left.connect(with_query(&url, "send=/t")).await.unwrap();
    for number in 0..1000u64 {
        left.publish(message("/t", number)).await.unwrap();
    }
    soon(left.shutdown()).await;
    assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), (1000, Some(1000)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_new_subscription_is_there_before_the_old_connection_closes() {
    let (said, heard) = std::sync::mpsc::channel();
    let url = scripted(move |number, mut websocket| {
        let said = said.clone();
        std::thread::spawn(move || {
            said.send((number, acknowledge(&mut websocket))).unwrap();
            while !matches!(websocket.read(), Ok(Message::Close(_)) | Err(_)) {}
            said.send((number, "closed".to_owned())).unwrap();
            while websocket.read().is_ok() {}
        });
    });
    let left = client(WsTransport::new());
    let _one = left.subscribe(filter(&["b"]), QueueOptions::local());
    left.connect(url).await.unwrap();
    let two = left.subscribe(filter(&["a"]), QueueOptions::local());
    assert!(left.settled(PATIENCE).await);
    drop(two);
    assert!(left.settled(PATIENCE).await);
    left.shutdown().await;
    let said: Vec<_> = heard.try_iter().collect();
    let of = |number, text: &str| {
        said.iter()
            .position(|said| *said == (number, text.to_owned()))
            .expect(text)
    };
    assert!(of(0, r#"["b"]"#) < of(1, r#"["a","b"]"#));
    assert!(of(1, r#"["a","b"]"#) < of(0, "closed"));
    assert!(of(1, r#"["a","b"]"#) < of(2, r#"["b"]"#));
    assert!(of(0, "closed") < of(2, "closed"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_way_to_fail_has_its_own_words() {
    let closing = |code: u16, reason: &'static str| {
        scripted(move |_, mut websocket| {
            let _ = websocket.read();
            let frame = CloseFrame {
                code: CloseCode::from(code),
                reason: reason.into(),
            };
            let _ = websocket.close(Some(frame));
            while websocket.read().is_ok() {}
        })
    };
    let raw = |answer: &'static [u8]| -> PeerUrl {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            use std::io::{Read, Write};
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(answer);
            }
        });
        format!("ws://127.0.0.1:{port}").parse().unwrap()
    };
    let silent = scripted(|_, mut websocket| while websocket.read().is_ok() {});
    // Bound, so that nobody else gets the port, and not listening.
    let bound = tokio::net::TcpSocket::new_v4().unwrap();
    bound.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = bound.local_addr().unwrap().port();
    let nobody = format!("ws://127.0.0.1:{port}").parse().unwrap();
    let (open, url) = server(WsTransport::new()).await;
    type Expected = fn(&WsError) -> bool;
    let cases: [(PeerUrl, Expected); 8] = [
        (nobody, |e| *e == WsError::Refused),
        (
            closing(1008, "Invalid X-Application-Name"),
            |e| matches!(e, WsError::Rejected { code: 1008, reason } if reason.contains("X-Application")),
        ),
        (raw(b"SSH-2.0-OpenSSH\r\n\r\n"), |e| {
            matches!(e, WsError::NotWebSocket { .. })
        }),
        (
            raw(b"HTTP/1.1 404 Not Found\r\n\r\n"),
            |e| matches!(e, WsError::NotWebSocket { reason } if reason.contains("404")),
        ),
        (raw(b"HTTP/1.1 401 Unauthorized\r\n\r\n"), |e| {
            *e == WsError::Unauthorized
        }),
        (raw(b""), |e| matches!(e, WsError::NotWebSocket { .. })),
        (silent, |e| matches!(e, WsError::NoAck { .. })),
        (with_query(&url, "sent=x"), |e| {
            matches!(e, WsError::BadUrl { .. })
        }),
    ];
    for (url, expected) in cases {
        let options = WsClientOptions::new().timeout(Duration::from_millis(500));
        match soon(WsClient::connect(&url, &Filter::new(), &options)).await {
            Err(error) => assert!(expected(&error), "{url}: {error:?}"),
            Ok(_) => panic!("{url}: connected"),
        }
    }
    let wrong_path: PeerUrl = url.to_string().replace("/v1/", "/v2/").parse().unwrap();
    let error = WsClient::connect(&wrong_path, &Filter::new(), &WsClientOptions::new()).await;
    assert!(
        matches!(error, Err(WsError::Rejected { reason, .. }) if reason.contains("Invalid URI"))
    );
    open.shutdown().await;
}

// --- the client for tools ------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_publishes_receives_and_learns_of_errors() {
    let (node, url) = server(WsTransport::new()).await;
    let options = WsClientOptions::new().application_name("tool");
    let mut one = WsClient::connect(&url, &filter(&["/t"]), &options)
        .await
        .unwrap();
    let mut two = WsClient::connect(&url, &filter(&["/t"]), &options)
        .await
        .unwrap();
    assert!(one.endpoint().starts_with(&node.id().to_string()));
    assert!(!one.server_version().is_empty());
    for value in [
        Data::from(0.1),
        Data::from("x\u{1}"),
        Data::from(f64::INFINITY),
    ] {
        one.publish(&Topic::from_static("/t"), &value)
            .await
            .unwrap();
    }
    one.barrier().await.unwrap();
    for expected in [
        Data::from(0.1),
        Data::from("x\u{1}"),
        Data::from(f64::INFINITY),
    ] {
        let Some(WsReceived::Message(message)) = soon(two.recv()).await.unwrap() else {
            panic!("no message")
        };
        assert_eq!(message.data().unwrap(), &expected);
    }
    one.publish(&Topic::from_static("<$>/local/x"), &Data::None)
        .await
        .unwrap();
    let Some(WsReceived::Error { code, context }) = soon(one.recv()).await.unwrap() else {
        panic!("no error")
    };
    assert_eq!(code, "broker_error");
    assert!(context.contains("reserved"), "{context}");
    soon(one.close()).await.unwrap();
    node.shutdown().await;
    assert_eq!(soon(two.recv()).await, Ok(None));
    assert!(
        two.publish(&Topic::from_static("/t"), &Data::None)
            .await
            .is_err()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_barrier_keeps_what_comes_meanwhile_and_close_waits_for_everything_sent() {
    const COUNT: u64 = 5000;
    let (node, url) = server(WsTransport::new()).await;
    let small = QueueOptions::local().max_messages(NonZeroUsize::new(16).unwrap());
    let mut inbox = node.subscribe(filter(&["/in"]), small);
    let mut client = WsClient::connect(&url, &filter(&["/out"]), &WsClientOptions::new())
        .await
        .unwrap();
    for number in 0..COUNT {
        node.publish(message("/out", number)).await.unwrap();
    }
    let reading = tokio::spawn(async move {
        for expected in 0..COUNT {
            assert_eq!(next(&mut inbox).await, Data::Count(expected));
        }
    });
    for number in 0..COUNT {
        client
            .publish(&Topic::from_static("/in"), &Data::Count(number))
            .await
            .unwrap();
    }
    soon(client.barrier()).await.unwrap();
    for expected in 0..COUNT {
        let Some(WsReceived::Message(message)) = soon(client.recv()).await.unwrap() else {
            panic!("no message")
        };
        assert_eq!(message.data().unwrap(), &Data::Count(expected));
    }
    soon(client.close()).await.unwrap();
    soon(reading).await.unwrap();
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_learns_why_a_server_closed() {
    let url = scripted(|_, mut websocket| {
        acknowledge(&mut websocket);
        let frame = CloseFrame {
            code: CloseCode::Error,
            reason: "Ping timeout".into(),
        };
        websocket.close(Some(frame)).unwrap();
        while !matches!(websocket.read(), Err(Error::ConnectionClosed)) {}
    });
    let mut client = WsClient::connect(&url, &Filter::new(), &WsClientOptions::new())
        .await
        .unwrap();
    let expected = WsError::Closed {
        code: 1011,
        reason: "Ping timeout".to_owned(),
    };
    assert_eq!(soon(client.recv()).await, Err(expected));
}

// --- TLS -----------------------------------------------------------------------------------------

#[cfg(feature = "tls")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wss_is_ws_over_tls_and_verified() {
    use broker_wire::tls::TlsOptions;
    let pki = pki::Pki::new("ours");
    let own = pki.node("node");
    let listen: PeerUrl = "wss://127.0.0.1:0".parse().unwrap();
    let without = client(WsTransport::new());
    assert!(without.listen(&listen).await.is_err());
    let right = client(WsTransport::new().tls(own.clone()));
    let url = right.listen(&listen).await.unwrap();
    assert_eq!(url.scheme(), "wss");
    let left = client(WsTransport::new().tls(own.clone()));
    let mut inbox = left.subscribe(filter(&["/t"]), QueueOptions::local());
    assert_eq!(left.connect(url.clone()).await.unwrap(), right.id());
    right.publish(message("/t", 1u64)).await.unwrap();
    assert_eq!(next(&mut inbox).await, Data::Count(1));

    let connect = async |options: WsClientOptions, url: &PeerUrl| {
        soon(WsClient::connect(url, &Filter::new(), &options)).await
    };
    let tool = connect(WsClientOptions::new().tls(own), &url)
        .await
        .unwrap();
    soon(tool.close()).await.unwrap();
    let is_refused = |result: Result<WsClient, WsError>| {
        matches!(
            result,
            Err(WsError::Connect { .. } | WsError::NotWebSocket { .. })
        )
    };
    // Without a certificate, of another authority, and without TLS.
    let anonymous = WsClientOptions::new().tls(TlsOptions::new());
    assert!(is_refused(connect(anonymous, &url).await));
    let foreign = WsClientOptions::new().tls(pki::Pki::new("theirs").node("node"));
    assert!(is_refused(connect(foreign, &url).await));
    // TLS 1.3 tells a client that its certificate will not do only when it thinks itself connected.
    assert!(is_refused(
        connect(WsClientOptions::new().tls(pki.reader()), &url).await
    ));
    let plain: PeerUrl = url.to_string().replace("wss:", "ws:").parse().unwrap();
    let plain = connect(WsClientOptions::new(), &plain).await;
    assert!(
        matches!(plain, Err(WsError::NotWebSocket { .. })),
        "{plain:?}"
    );
    for node in [without, left, right] {
        soon(node.shutdown()).await;
    }
}

// --- the recorded dialogue -----------------------------------------------------------------------

/// Plays the server of each recorded scene that got as far as an answer, and holds our client against it: what it sends
/// is what the recorded client sent, and it understands whatever Zeek said, its illegal JSON included.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_says_what_the_recorded_one_said_and_understands_zeek() {
    let sent = |scene: &Scene| {
        let texts = scene.client[1..].iter();
        texts
            .filter_map(|text| json::parse_message(text.as_bytes()).ok())
            .collect::<Vec<_>>()
    };
    let mut played = 0;
    for scene in recorded::recording() {
        if !scene
            .server
            .first()
            .is_some_and(|text| text.contains("\"ack\""))
        {
            continue;
        }
        played += 1;
        let subscriptions: Vec<String> = serde_json::from_str(&scene.client[0]).unwrap();
        let prefixes: Filter = subscriptions
            .iter()
            .map(|prefix| Topic::try_from(prefix.as_str()).unwrap())
            .collect();
        let messages = sent(&scene);
        let (answers, expected) = (scene.server.clone(), messages.clone());
        let url = scripted(move |_, mut websocket| {
            let first = websocket.read().unwrap();
            let first: Vec<String> = serde_json::from_str(first.to_text().unwrap()).unwrap();
            assert_eq!(first, subscriptions);
            websocket.send(Message::text(answers[0].as_str())).unwrap();
            for message in &expected {
                let text = loop {
                    let message = websocket.read().unwrap();
                    if message.is_text() {
                        break message;
                    }
                };
                assert_eq!(&json::parse_message(&text.into_data()).unwrap(), message);
            }
            for answer in &answers[1..] {
                websocket.send(Message::text(answer.as_str())).unwrap();
            }
            while websocket.read().is_ok() {}
        });
        let mut client = soon(WsClient::connect(&url, &prefixes, &WsClientOptions::new()))
            .await
            .unwrap();
        let ack: serde_json::Value = serde_json::from_str(&scene.server[0]).unwrap();
        assert_eq!(client.endpoint(), ack["endpoint"].as_str().unwrap());
        assert_eq!(client.server_version(), "9.1.0-dev");
        for (topic, data) in &messages {
            client
                .publish(&Topic::copy_from(topic).unwrap(), data)
                .await
                .unwrap();
        }
        for answer in &scene.server[1..] {
            let received = soon(client.recv()).await.unwrap().unwrap();
            // Zeek writes a control character raw, which no JSON parser but Broker's takes.
            let mended = answer.replace('\u{1}', "\\u0001");
            match received {
                WsReceived::Message(message) => {
                    let (topic, data) = json::parse_message(mended.as_bytes()).unwrap();
                    assert_eq!(message.topic().as_bytes(), &topic[..]);
                    assert_eq!(message.data().unwrap(), &data, "{}", scene.note);
                }
                WsReceived::Error { code, context } => {
                    let error: serde_json::Value = serde_json::from_str(&mended).unwrap();
                    assert_eq!(
                        (error["code"].as_str(), error["context"].as_str()),
                        (Some(&*code), Some(&*context))
                    );
                }
                other => panic!("{}: {other:?}", scene.note),
            }
        }
        soon(client.close()).await.unwrap();
    }
    assert_eq!(played, 7);
}
