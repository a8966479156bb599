//! `broker://` between real endpoints, and against a hand on the socket.

use std::num::NonZeroUsize;
use std::time::Duration;

use broker_core::{
    Data, Endpoint, EndpointId, Filter, Heartbeat, Message, OverflowPolicy, PeerUrl, QueueOptions,
    StatusEventCode, Topic,
};
use broker_wire::NativeTransport;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(10);

fn topics(prefixes: &[&'static str]) -> Filter {
    prefixes
        .iter()
        .map(|text| Topic::from_static(text))
        .collect()
}

fn endpoint(name: &str, transport: NativeTransport) -> Endpoint {
    Endpoint::builder().name(name).transport(transport).start()
}

async fn listen(endpoint: &Endpoint) -> PeerUrl {
    endpoint
        .listen(&"broker://127.0.0.1:0".parse().expect("a URL"))
        .await
        .expect("bound")
}

#[tokio::test]
async fn peers_of_every_pair_of_versions_exchange_messages_both_ways() {
    for (left_max, right_max) in [(1, 1), (1, 2), (2, 1), (2, 2)] {
        let left = endpoint("left", NativeTransport::new().versions(1, left_max));
        let right = endpoint("right", NativeTransport::new().versions(1, right_max));
        let url = listen(&right).await;
        let mut at_left = left.subscribe(topics(&["/l"]), QueueOptions::local());
        let mut at_right = right.subscribe(topics(&["/r"]), QueueOptions::local());
        assert_eq!(left.connect(url).await.expect("peers"), right.id());
        let version = u32::from(left_max.min(right_max));
        let peer = &left.peers()[0];
        assert_eq!(peer.version, version);
        assert_eq!(peer.name, if version == 2 { "right" } else { "" });
        left.await_peer(right.id(), PATIENCE).await;
        right.await_peer(left.id(), PATIENCE).await;
        for number in 0..100u64 {
            left.publish(Message::new(Topic::from_static("/r/x"), Data::from(number)))
                .await
                .expect("published");
            right
                .publish(Message::new(Topic::from_static("/l/x"), Data::from(number)))
                .await
                .expect("published");
        }
        for number in 0..100u64 {
            for inbox in [&mut at_left, &mut at_right] {
                let message = timeout(PATIENCE, inbox.recv())
                    .await
                    .expect("in time")
                    .expect("open");
                assert_eq!(message.data().expect("sound"), &Data::from(number));
            }
        }
        left.shutdown().await;
        right.shutdown().await;
    }
}

/// The three-node ring: every node forwards, and each message is delivered once everywhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_ring_of_forwarding_nodes_each_message_is_delivered_once() {
    const MESSAGES: u64 = 10_000;
    let nodes: Vec<_> = ["a", "b", "c"]
        .map(|name| {
            Endpoint::builder()
                .name(name)
                .transport(NativeTransport::new())
                .forwarding(true)
                .peer_queue(QueueOptions::local())
                .start()
        })
        .into();
    let mut inboxes: Vec<_> = nodes
        .iter()
        .map(|node| node.subscribe(topics(&["/ring"]), QueueOptions::local()))
        .collect();
    for (index, node) in nodes.iter().enumerate() {
        let url = listen(&nodes[(index + 1) % 3]).await;
        node.connect(url).await.expect("peers");
    }
    for node in &nodes {
        for other in nodes.iter().filter(|other| other.id() != node.id()) {
            assert!(node.await_peer(other.id(), PATIENCE).await);
        }
        assert!(node.settled(PATIENCE).await);
    }
    let publisher = nodes[0].clone();
    let publishing = tokio::spawn(async move {
        for number in 0..MESSAGES {
            publisher
                .publish(Message::new(
                    Topic::from_static("/ring/x"),
                    Data::from(number),
                ))
                .await
                .expect("published");
        }
    });
    // The publisher itself has no local delivery; the other two get each message once, and in order on the direct way.
    for inbox in &mut inboxes[1..] {
        let mut seen = vec![0u32; MESSAGES as usize];
        for _ in 0..MESSAGES {
            let message = timeout(PATIENCE, inbox.recv())
                .await
                .expect("in time")
                .expect("open");
            let number = message.data().expect("sound").as_count().expect("a count");
            seen[number as usize] += 1;
        }
        assert!(seen.iter().all(|count| *count == 1));
    }
    publishing.await.expect("published");
    for node in &nodes {
        assert!(node.settled(PATIENCE).await);
    }
    for inbox in &mut inboxes {
        assert!(
            inbox.try_recv().is_none(),
            "a message came twice, or back to its publisher"
        );
    }
    for node in nodes {
        node.shutdown().await;
    }
}

/// A peer played by hand: frames as a C++ node would send them.
struct Hand {
    stream: TcpStream,
    id: EndpointId,
}

impl Hand {
    async fn connect(url: &PeerUrl, id: EndpointId, filter: &Filter) -> Self {
        let stream = TcpStream::connect(url.authority(0))
            .await
            .expect("connected");
        let mut hand = Self { stream, id };
        assert_eq!(hand.read().await, b"\x07ZEEK");
        hand.send(&[b"\x06ZEEK", &id.as_bytes()[..], &[1, 1]].concat())
            .await;
        // We have the bigger ID: the node selects.
        let select = hand.read().await;
        assert_eq!((select[0], select[21]), (8, 1));
        assert_eq!(hand.read().await[0], 10);
        hand.send(&[&[11], &filter.to_bytes()[..]].concat()).await;
        assert_eq!(hand.read().await, [12]);
        hand
    }

    /// The other way round: the node dials, and has the smaller ID.
    async fn accept(stream: TcpStream, id: EndpointId, filter: &Filter) -> Self {
        let mut hand = Self { stream, id };
        hand.send(b"\x07ZEEK").await;
        assert_eq!(hand.read().await[0], 6);
        hand.send(&[b"\x06ZEEK", &id.as_bytes()[..], &[1, 1]].concat())
            .await;
        let select = hand.read().await;
        assert_eq!((select[0], select[21]), (8, 1));
        assert_eq!(hand.read().await[0], 10);
        hand.send(&[&[11], &filter.to_bytes()[..]].concat()).await;
        assert_eq!(hand.read().await, [12]);
        hand
    }

    async fn send(&mut self, payload: &[u8]) {
        let frame = [&(payload.len() as u32).to_be_bytes()[..], payload].concat();
        self.stream.write_all(&frame).await.expect("written");
    }

    async fn envelope(
        &mut self,
        sender: EndpointId,
        receiver: EndpointId,
        kind: u8,
        topic: &str,
        payload: &[u8],
    ) {
        let frame = [
            sender.as_bytes(),
            &receiver.as_bytes()[..],
            &[kind, 0, 16],
            &(topic.len() as u16).to_be_bytes(),
            topic.as_bytes(),
            payload,
        ]
        .concat();
        self.send(&frame).await;
    }

    async fn read(&mut self) -> Vec<u8> {
        let len = timeout(PATIENCE, self.stream.read_u32())
            .await
            .expect("in time")
            .expect("a frame");
        let mut payload = vec![0; len as usize];
        self.stream
            .read_exact(&mut payload)
            .await
            .expect("all of it");
        payload
    }

    async fn closed(&mut self) {
        let mut rest = Vec::new();
        let _ = timeout(PATIENCE, self.stream.read_to_end(&mut rest))
            .await
            .expect("closed in time");
    }
}

const BIG: EndpointId = EndpointId::from_bytes([0xff; 16]);
const NIL: EndpointId = EndpointId::NIL;

#[tokio::test]
async fn bad_frames_are_counted_and_the_connection_stays() {
    let node = endpoint("node", NativeTransport::new());
    let url = listen(&node).await;
    let mut inbox = node.subscribe(topics(&["/a"]), QueueOptions::local());
    let mut local = node.subscribe(topics(&["<$>/local/"]), QueueOptions::local());
    let mut hand = Hand::connect(&url, BIG, &Filter::new()).await;
    let value = [2, 0, 0, 0, 0, 0, 0, 0, 7];
    let other = EndpointId::from_bytes([7; 16]);
    // What comes through: the sender is who is at the other end, whatever the frame says.
    hand.envelope(BIG, NIL, 1, "/a/1", &value).await;
    hand.envelope(other, NIL, 1, "/a/2", &value).await;
    // What does not: nobody and ourselves as senders, local topics, what is no frame or no value.
    hand.envelope(NIL, NIL, 1, "/a/3", &value).await;
    hand.envelope(node.id(), NIL, 1, "/a/4", &value).await;
    hand.envelope(BIG, NIL, 1, "<$>/local/data/statuses", &value)
        .await;
    hand.envelope(BIG, NIL, 9, "/a/5", &value).await;
    hand.envelope(BIG, NIL, 1, "/a/6", &value[..8]).await;
    hand.envelope(BIG, NIL, 1, "/a/7", &[&value[..], &[0]].concat())
        .await;
    hand.send(&[1; 20]).await;
    hand.send(&[]).await;
    hand.envelope(BIG, node.id(), 3, "<$>", b"\x05\x01").await;
    // 65 MiB are over the limit, and are skipped.
    let long = 65 << 20;
    hand.stream.write_u32(long).await.expect("written");
    for _ in 0..long >> 20 {
        hand.stream
            .write_all(&vec![0; 1 << 20])
            .await
            .expect("written");
    }
    hand.envelope(BIG, NIL, 1, "/a/8", &value).await;
    for expected in ["/a/1", "/a/2", "/a/8"] {
        let message = timeout(PATIENCE, inbox.recv())
            .await
            .expect("in time")
            .expect("open");
        assert_eq!(message.topic().as_bytes(), expected.as_bytes());
    }
    // The node's own word about its peer, and nothing else.
    assert!(local.try_recv().is_some() && local.try_recv().is_some() && local.try_recv().is_none());
    let status = node.status();
    assert_eq!(status.peers[0].rejected, 9);
    assert_eq!(status.counters["sender_mismatches"], 1);
    drop(hand);
    node.shutdown().await;
}

#[tokio::test]
async fn only_pings_meant_for_the_node_are_answered() {
    let node = endpoint("node", NativeTransport::new());
    let url = listen(&node).await;
    let mut hand = Hand::connect(&url, BIG, &Filter::new()).await;
    hand.envelope(BIG, NIL, 4, "<$>", b"for nobody").await;
    hand.envelope(
        BIG,
        EndpointId::from_bytes([3; 16]),
        4,
        "<$>",
        b"for another",
    )
    .await;
    hand.envelope(BIG, node.id(), 4, "", b"for the node").await;
    let pong = hand.read().await;
    let expected = [
        node.id().as_bytes(),
        &BIG.as_bytes()[..],
        &[5, 0, 16, 0, 3],
        b"<$>for the node",
    ]
    .concat();
    assert_eq!(pong, expected);
    drop(hand);
    node.shutdown().await;
}

#[tokio::test]
async fn a_node_that_leaves_says_bye_and_closes_at_the_answer() {
    let node = endpoint("node", NativeTransport::new());
    let url = listen(&node).await;
    let mut hand = Hand::connect(&url, BIG, &Filter::new()).await;
    assert!(node.await_peer(BIG, PATIENCE).await);
    let leaving = {
        let node = node.clone();
        tokio::spawn(async move { node.unpeer_id(BIG).await })
    };
    let bye = hand.read().await;
    assert_eq!(
        &bye[16..40],
        [&BIG.as_bytes()[..], &[4, 0, 16, 0, 3], b"<$>"].concat()
    );
    let token = &bye[40..];
    assert!(token.len() == 11 && token.starts_with(b"BYE"));
    hand.envelope(BIG, node.id(), 5, "<$>", token).await;
    assert!(leaving.await.expect("left"));
    hand.closed().await;
    node.shutdown().await;
}

#[tokio::test]
async fn a_second_connection_of_a_connected_id_is_refused_as_redundant() {
    let node = endpoint("node", NativeTransport::new());
    let url = listen(&node).await;
    let first = Hand::connect(&url, BIG, &Filter::new()).await;
    assert!(node.await_peer(BIG, PATIENCE).await);
    let mut second = Hand {
        stream: TcpStream::connect(url.authority(0))
            .await
            .expect("connected"),
        id: BIG,
    };
    second.read().await;
    second
        .send(&[b"\x06ZEEK", &second.id.as_bytes()[..], &[1, 1]].concat())
        .await;
    let refusal = second.read().await;
    let expected = [
        b"\x09ZEEK",
        &node.id().as_bytes()[..],
        &[39, 20],
        b"redundant connection",
    ]
    .concat();
    assert_eq!(refusal, expected);
    second.closed().await;
    drop(first);
    node.shutdown().await;
}

#[tokio::test]
async fn other_protocols_are_named_on_both_sides() {
    // Somebody with TLS comes to a plain port: refused at the first bytes.
    let node = endpoint("node", NativeTransport::new());
    let url = listen(&node).await;
    let mut stream = TcpStream::connect(url.authority(0))
        .await
        .expect("connected");
    stream
        .write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        .await
        .expect("written");
    let mut all = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut all))
        .await
        .expect("closed in time");
    // A plain node comes to a port with TLS: an alert is what it hears.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let port = listener.local_addr().expect("bound").port();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("accepted");
        let mut hello = [0; 27];
        stream.read_exact(&mut hello).await.expect("a hello");
        stream
            .write_all(b"\x15\x03\x01\x00\x02\x02\x46")
            .await
            .expect("written");
    });
    let error = node
        .connect(format!("broker://127.0.0.1:{port}").parse().expect("a URL"))
        .await
        .expect_err("no peer");
    let cause = std::error::Error::source(&error)
        .expect("a cause")
        .to_string();
    assert!(
        cause.contains("speaks TLS") && cause.contains("brokers://"),
        "{cause}"
    );
    server.await.expect("served");
    node.shutdown().await;
}

#[tokio::test]
async fn a_port_that_closes_without_a_word_may_want_tls() {
    let node = endpoint("node", NativeTransport::new());
    // As C++ does: what it was sent is read to its end, or, as Zeek's does with TLS on, left unread, which makes a reset.
    for read in [true, false] {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let port = listener.local_addr().expect("bound").port();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("accepted");
            let mut hello = [0; 27];
            while stream.peek(&mut hello).await.expect("sent") < hello.len() {}
            if read {
                stream.read_exact(&mut hello).await.expect("a hello");
            }
        });
        let url = format!("broker://127.0.0.1:{port}").parse().expect("a URL");
        let error = node.connect(url).await.expect_err("no peer");
        let cause = std::error::Error::source(&error)
            .expect("a cause")
            .to_string();
        assert!(
            cause.contains("without a word") && cause.contains("brokers://"),
            "{cause}"
        );
        server.await.expect("served");
    }
    node.shutdown().await;
}

#[tokio::test]
async fn a_silent_handshake_is_given_up_and_so_is_a_silent_peer() {
    let node = Endpoint::builder()
        .handshake_timeout(Duration::from_millis(200))
        .transport(NativeTransport::new().heartbeat(Heartbeat {
            interval: Duration::from_millis(100),
            timeout: Duration::from_millis(300),
        }))
        .start();
    let url = listen(&node).await;
    let mut silent = TcpStream::connect(url.authority(0))
        .await
        .expect("connected");
    let mut all = Vec::new();
    timeout(PATIENCE, silent.read_to_end(&mut all))
        .await
        .expect("closed in time")
        .expect("read");
    assert_eq!(all, b"\0\0\0\x05\x07ZEEK");

    let mut statuses = node.statuses();
    let mut hand = Hand::connect(&url, BIG, &Filter::new()).await;
    hand.closed().await;
    let mut codes = Vec::new();
    while codes.len() < 4 {
        codes.push(
            timeout(PATIENCE, statuses.recv())
                .await
                .expect("in time")
                .expect("open")
                .message,
        );
    }
    assert_eq!(
        codes,
        [
            "found a new peer in the network",
            "handshake successful",
            "lost connection to remote peer",
            "lost the last path",
        ]
    );
    node.shutdown().await;
}

#[tokio::test]
async fn a_kept_peering_comes_back_after_an_overflow() {
    let queue = QueueOptions::peer()
        .policy(OverflowPolicy::Disconnect)
        .max_messages(NonZeroUsize::new(16).expect("not zero"));
    let node = Endpoint::builder()
        .id(EndpointId::from_bytes([1; 16]))
        .transport(NativeTransport::new())
        .peer_queue(queue)
        .start();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let port = listener.local_addr().expect("bound").port();
    node.peer(format!("broker://127.0.0.1:{port}").parse().expect("a URL"));
    let mut statuses = node.statuses();
    // A peer that takes no message: its queue overflows, it is cut off, and the node dials again.
    let mut stuck = Vec::new();
    for _ in 0..2 {
        let (stream, _) = timeout(PATIENCE, listener.accept())
            .await
            .expect("dialled")
            .expect("accepted");
        stuck.push(Hand::accept(stream, BIG, &topics(&["/x"])).await);
        assert!(node.await_peer(BIG, PATIENCE).await);
        let message = Message::new(
            Topic::from_static("/x"),
            Data::from("x".repeat(1 << 20).as_str()),
        );
        let removed = loop {
            node.publish(message.clone()).await.expect("published");
            if let Some(status) = statuses.try_recv()
                && status.code == StatusEventCode::PeerRemoved
            {
                break status;
            }
            tokio::task::yield_now().await;
        };
        assert!(
            removed.message.contains("backpressure_overflow"),
            "{removed:?}"
        );
    }
    drop(stuck);
    node.shutdown().await;
}

#[tokio::test]
async fn a_kept_peering_comes_back_after_a_loss() {
    let node = endpoint("node", NativeTransport::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let port = listener.local_addr().expect("bound").port();
    node.peer(format!("broker://127.0.0.1:{port}").parse().expect("a URL"));
    for _ in 0..3 {
        let (mut stream, _) = timeout(PATIENCE, listener.accept())
            .await
            .expect("dialled again")
            .expect("accepted");
        let mut hello = [0; 27];
        stream.read_exact(&mut hello).await.expect("a hello");
        assert_eq!(&hello[..9], b"\0\0\0\x17\x06ZEEK");
        assert_eq!(&hello[25..], [1, 2], "versions 1 to 2 are offered");
    }
    node.shutdown().await;
}

#[cfg(feature = "openssl-system")]
#[tokio::test]
async fn without_certificates_brokers_is_the_anonymous_suite_and_carries_messages() {
    let (left, right) = (
        endpoint("left", NativeTransport::new()),
        endpoint("right", NativeTransport::new()),
    );
    let url = right
        .listen(&"brokers://127.0.0.1:0".parse().expect("a URL"))
        .await
        .expect("bound");
    assert_eq!(url.scheme(), "brokers");
    let mut inbox = right.subscribe(topics(&["/a"]), QueueOptions::local());
    left.connect(url.clone()).await.expect("peers");
    let long = "x".repeat(1 << 20);
    for text in ["short", long.as_str()] {
        left.publish(Message::new(Topic::from_static("/a"), Data::from(text)))
            .await
            .expect("published");
        let message = timeout(PATIENCE, inbox.recv())
            .await
            .expect("in time")
            .expect("open");
        assert_eq!(message.data().expect("sound"), &Data::from(text));
    }
    // A plain node at the same address is told apart, on its own side too.
    let plain = endpoint("plain", NativeTransport::new());
    let address = format!("broker://127.0.0.1:{}", url.port().expect("bound"));
    let error = plain
        .connect(address.parse().expect("a URL"))
        .await
        .expect_err("no peer");
    let cause = std::error::Error::source(&error)
        .expect("a cause")
        .to_string();
    assert!(cause.contains("TLS") || cause.contains("closed"), "{cause}");
    for node in [plain, left, right] {
        node.shutdown().await;
    }
}

#[cfg(feature = "openssl-system")]
#[tokio::test]
async fn a_node_with_tls_that_meets_a_plain_one_says_so() {
    let (left, right) = (
        endpoint("left", NativeTransport::new()),
        endpoint("right", NativeTransport::new()),
    );
    let url = listen(&right).await;
    let address = format!("brokers://127.0.0.1:{}", url.port().expect("bound"));
    let error = left
        .connect(address.parse().expect("a URL"))
        .await
        .expect_err("no peer")
        .to_string();
    assert!(error.contains("speaks Broker without TLS"), "{error}");
    left.shutdown().await;
    right.shutdown().await;
}
