//! Endpoints of one process talking over `mem://`.

use std::num::NonZeroUsize;
use std::time::Duration;

use broker_core::topic::reserved;
use broker_core::{
    Data, Endpoint, EndpointBuilder, EndpointId, Filter, MemNetwork, MemTransport, Message,
    OverflowPolicy, PeerUrl, QueueOptions, StatusEventCode, StatusSubscriber, Subscriber, Topic,
};
use bytes::Bytes;

const LONG: Duration = Duration::from_secs(20);

fn filter(prefixes: &[&'static str]) -> Filter {
    prefixes
        .iter()
        .map(|prefix| Topic::from_static(prefix))
        .collect()
}

fn url(text: &str) -> PeerUrl {
    text.parse().expect("a valid address")
}

fn message(topic: &'static str, value: u64) -> Message {
    Message::new(Topic::from_static(topic), Data::Count(value))
}

fn builder(network: &MemNetwork, name: &str) -> EndpointBuilder {
    Endpoint::builder()
        .name(name)
        .transport(MemTransport::new(network))
}

async fn listening(network: &MemNetwork, name: &str) -> Endpoint {
    let endpoint = builder(network, name).start();
    endpoint
        .listen(&url(&format!("mem://{name}")))
        .await
        .expect("a free name");
    endpoint
}

async fn count(inbox: &mut Subscriber) -> u64 {
    let message = inbox.recv().await.expect("a message");
    message
        .data()
        .expect("a sound value")
        .as_count()
        .expect("a count")
}

async fn until(statuses: &mut StatusSubscriber, code: StatusEventCode) -> EndpointId {
    loop {
        let event = statuses.recv().await.expect("a status event");
        if event.code == code {
            return event.endpoint.unwrap_or_default();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn messages_reach_interested_peers_in_order_and_nobody_else() {
    let network = MemNetwork::new();
    let hub = listening(&network, "hub").await;
    let publisher = builder(&network, "publisher").start();
    let mut wanted = hub.subscribe(filter(&["/a"]), QueueOptions::local());
    let mut other = hub.subscribe(filter(&["/b"]), QueueOptions::local());
    publisher
        .connect(url("mem://hub"))
        .await
        .expect("connected");
    for value in 0..1000 {
        let reached = publisher
            .publish(message("/a/x", value))
            .await
            .expect("published");
        assert_eq!(reached.peers, 1);
    }
    assert!(
        publisher
            .publish(message("/c", 0))
            .await
            .expect("published")
            .nobody()
    );
    for value in 0..1000 {
        assert_eq!(count(&mut wanted).await, value);
    }
    assert!(publisher.settled(LONG).await);
    assert!(other.try_recv().is_none());
}

#[tokio::test(start_paused = true)]
async fn what_a_subscriber_does_not_want_takes_no_room_and_holds_nobody_up() {
    let network = MemNetwork::new();
    let hub = listening(&network, "hub").await;
    let publisher = builder(&network, "publisher").start();
    let room = QueueOptions::local().max_messages(std::num::NonZeroUsize::MIN);
    let wants = |message: &Message| message.data().is_ok_and(|data| *data == Data::Count(500));
    let mut picky = hub.subscribe_where(filter(&["/a"]), room, wants);
    let mut all = hub.subscribe(filter(&["/a"]), QueueOptions::local());
    publisher
        .connect(url("mem://hub"))
        .await
        .expect("connected");
    for value in 0..1000 {
        publisher
            .publish(message("/a/x", value))
            .await
            .expect("published");
    }
    // Its queue has room for one, and would hold up the link at the second.
    for value in 0..1000 {
        assert_eq!(count(&mut all).await, value);
    }
    assert_eq!(count(&mut picky).await, 500);
    assert!(picky.try_recv().is_none());
    assert_eq!(picky.counters().offered, 1);
}

#[tokio::test(start_paused = true)]
async fn publishing_does_not_reach_own_subscribers_but_hubs() {
    let endpoint = Endpoint::builder().start();
    let mut subscriber = endpoint.subscribe(filter(&[""]), QueueOptions::local());
    let mut first = endpoint.hub(filter(&[""]), QueueOptions::local());
    let mut second = endpoint.hub(filter(&[""]), QueueOptions::local());
    endpoint.publish(message("/x", 1)).await.expect("published");
    assert_eq!(count(first.subscriber()).await, 1);
    assert_eq!(count(second.subscriber()).await, 1);
    assert!(subscriber.try_recv().is_none());
    first.publish(message("/x", 2)).await.expect("published");
    assert_eq!(count(second.subscriber()).await, 2);
    assert_eq!(count(&mut subscriber).await, 2);
    assert!(first.subscriber().try_recv().is_none());
}

#[tokio::test(start_paused = true)]
async fn filters_grow_and_shrink_with_the_subscriptions() {
    let network = MemNetwork::new();
    let left = listening(&network, "left").await;
    let right = builder(&network, "right").start();
    right.connect(url("mem://left")).await.expect("connected");
    assert!(left.await_peer(right.id(), LONG).await);
    let seen = |endpoint: &Endpoint| endpoint.peers()[0].filter.clone();
    assert!(seen(&right).is_empty());
    let long = left.subscribe(filter(&["/a/b", "/c"]), QueueOptions::local());
    let short = left.subscribe(filter(&["/a"]), QueueOptions::local());
    assert!(left.settled(LONG).await);
    assert_eq!(seen(&right), filter(&["/a", "/c"]));
    drop(short);
    assert!(left.settled(LONG).await);
    assert_eq!(seen(&right), filter(&["/a/b", "/c"]));
    assert!(long.remove_prefix(&Topic::from_static("/c")));
    assert!(!long.remove_prefix(&Topic::from_static("/c")));
    long.add_prefix(Topic::from_static("/d"));
    assert!(left.settled(LONG).await);
    assert_eq!(seen(&right), filter(&["/a/b", "/d"]));
    let _local = left.subscribe(filter(&["<$>/local/data/statuses"]), QueueOptions::local());
    assert!(left.settled(LONG).await);
    assert_eq!(seen(&right), filter(&["/a/b", "/d"]));
}

#[tokio::test(start_paused = true)]
async fn an_answer_finds_the_way_back_though_the_filter_is_sent_lazily() {
    let network = MemNetwork::new();
    let server = listening(&network, "server").await;
    let client = builder(&network, "client").start();
    let mut requests = server.subscribe(filter(&["/request"]), QueueOptions::local());
    client
        .connect(url("mem://server"))
        .await
        .expect("connected");
    let mut answers = client.subscribe(filter(&["/answer"]), QueueOptions::local());
    client
        .publish(message("/request", 7))
        .await
        .expect("published");
    let request = count(&mut requests).await;
    let reached = server
        .publish(message("/answer", request + 1))
        .await
        .expect("published");
    assert_eq!(reached.peers, 1);
    assert_eq!(count(&mut answers).await, 8);
}

#[tokio::test(start_paused = true)]
async fn a_relay_forwards_what_it_announced_and_never_back() {
    let network = MemNetwork::new();
    let relay = listening(&network, "relay").await;
    relay.forward(&filter(&["/news"]));
    let (left, right) = (
        builder(&network, "left").start(),
        builder(&network, "right").start(),
    );
    let mut left_inbox = left.subscribe(filter(&["/news"]), QueueOptions::local());
    let mut right_inbox = right.subscribe(filter(&["/news"]), QueueOptions::local());
    left.connect(url("mem://relay")).await.expect("connected");
    right.connect(url("mem://relay")).await.expect("connected");
    left.publish(message("/news/1", 1))
        .await
        .expect("published");
    assert_eq!(count(&mut right_inbox).await, 1);
    assert!(relay.settled(LONG).await);
    assert!(left_inbox.try_recv().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_node_that_does_not_forward_keeps_messages_to_itself() {
    let network = MemNetwork::new();
    let middle = builder(&network, "middle").forwarding(false).start();
    middle
        .listen(&url("mem://middle"))
        .await
        .expect("a free name");
    middle.forward(&filter(&["/news"]));
    let (left, right) = (
        builder(&network, "left").start(),
        builder(&network, "right").start(),
    );
    let mut inbox = right.subscribe(filter(&["/news"]), QueueOptions::local());
    left.connect(url("mem://middle")).await.expect("connected");
    right.connect(url("mem://middle")).await.expect("connected");
    assert_eq!(
        left.publish(message("/news", 1))
            .await
            .expect("published")
            .peers,
        1
    );
    assert!(left.settled(LONG).await && middle.settled(LONG).await);
    assert!(inbox.try_recv().is_none());
}

#[tokio::test(start_paused = true)]
async fn in_a_ring_of_forwarding_nodes_each_message_is_delivered_once() {
    let network = MemNetwork::new();
    let mut nodes = Vec::new();
    for name in ["r0", "r1", "r2", "r3"] {
        let node = listening(&network, name).await;
        let inbox = node.subscribe(filter(&["/ring"]), QueueOptions::local());
        nodes.push((node, inbox));
    }
    for (index, (node, _)) in nodes.iter().enumerate() {
        let next = url(&format!("mem://r{}", (index + 1) % 4));
        node.connect(next).await.expect("connected");
    }
    for value in 0..100 {
        nodes[0]
            .0
            .publish(message("/ring", value))
            .await
            .expect("published");
    }
    for (_, inbox) in &mut nodes[1..] {
        for value in 0..100 {
            assert_eq!(count(inbox).await, value);
        }
    }
    for (node, _) in &nodes {
        assert!(node.settled(LONG).await);
    }
    for (node, inbox) in &mut nodes {
        assert!(
            inbox.try_recv().is_none(),
            "{} saw a message twice or its own",
            node.name()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn two_nodes_that_dial_each_other_end_up_with_one_peering() {
    let network = MemNetwork::new();
    let (left, right) = (
        listening(&network, "left").await,
        listening(&network, "right").await,
    );
    let (mut left_statuses, mut right_statuses) = (left.statuses(), right.statuses());
    left.peer(url("mem://right"));
    right.peer(url("mem://left"));
    assert_eq!(
        until(&mut left_statuses, StatusEventCode::PeerAdded).await,
        right.id()
    );
    assert_eq!(
        until(&mut right_statuses, StatusEventCode::PeerAdded).await,
        left.id()
    );
    let mut inbox = right.subscribe(filter(&["/x"]), QueueOptions::local());
    assert!(left.await_peer(right.id(), LONG).await && right.await_peer(left.id(), LONG).await);
    assert!(right.settled(LONG).await);
    left.publish(message("/x", 1)).await.expect("published");
    assert_eq!(count(&mut inbox).await, 1);
    assert!(left.settled(LONG).await);
    assert!(inbox.try_recv().is_none());
    assert_eq!((left.peers().len(), right.peers().len()), (1, 1));
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!((left.peers().len(), right.peers().len()), (1, 1));
    while let Some(event) = left_statuses.try_recv() {
        assert_ne!(
            event.code,
            StatusEventCode::PeerLost,
            "the redundant attempt must not end the peering"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn statuses_come_in_the_order_of_the_framework() {
    let network = MemNetwork::new();
    let server = listening(&network, "server").await;
    let mut statuses = server.statuses();
    let mut as_data = server.subscribe(
        std::iter::once(reserved::LOCAL_STATUSES).collect(),
        QueueOptions::local(),
    );
    let client = builder(&network, "client").start();
    client
        .connect(url("mem://server"))
        .await
        .expect("connected");
    assert!(server.await_peer(client.id(), LONG).await);
    assert!(client.unpeer_id(server.id()).await);
    let mut codes = Vec::new();
    for _ in 0..4 {
        codes.push(statuses.recv().await.expect("an event").code);
    }
    assert_eq!(
        codes,
        [
            StatusEventCode::EndpointDiscovered,
            StatusEventCode::PeerAdded,
            StatusEventCode::PeerLost,
            StatusEventCode::EndpointUnreachable
        ]
    );
    let first = as_data
        .recv()
        .await
        .expect("a status")
        .into_parts()
        .expect("sound")
        .1;
    assert!(
        first
            .to_string()
            .starts_with("(status, endpoint_discovered, ("),
        "{first}"
    );
    assert!(!client.unpeer_id(server.id()).await);
}

#[tokio::test(start_paused = true)]
async fn a_kept_peering_is_made_when_the_other_side_appears_and_remade_when_it_returns() {
    let network = MemNetwork::new();
    let client = builder(&network, "client").start();
    let mut statuses = client.statuses();
    client.peer(url("mem://server"));
    until(&mut statuses, StatusEventCode::PeerUnavailable).await;
    let first = listening(&network, "server").await;
    assert_eq!(
        until(&mut statuses, StatusEventCode::PeerAdded).await,
        first.id()
    );
    first.shutdown().await;
    assert_eq!(
        until(&mut statuses, StatusEventCode::PeerLost).await,
        first.id()
    );
    let second = listening(&network, "server").await;
    assert_eq!(
        until(&mut statuses, StatusEventCode::PeerAdded).await,
        second.id()
    );
    assert!(client.unpeer(&url("mem://server")).await);
    until(&mut statuses, StatusEventCode::PeerRemoved).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(client.peers().is_empty(), "a peering given up must stay so");
}

#[tokio::test(start_paused = true)]
async fn shutdown_delivers_what_was_queued() {
    let network = MemNetwork::new();
    let receiver = listening(&network, "receiver").await;
    let mut inbox = receiver.subscribe(filter(&["/x"]), QueueOptions::local());
    let sender = builder(&network, "sender").start();
    sender
        .connect(url("mem://receiver"))
        .await
        .expect("connected");
    for value in 0..5000 {
        sender
            .publish(message("/x", value))
            .await
            .expect("published");
    }
    sender.shutdown().await;
    assert!(sender.publish(message("/x", 0)).await.is_err());
    for value in 0..5000 {
        assert_eq!(count(&mut inbox).await, value);
    }
    receiver.shutdown().await;
    assert!(inbox.recv().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn commands_reach_ports_and_never_subscribers() {
    let network = MemNetwork::new();
    let master = listening(&network, "master").await;
    let mut everything = master.subscribe(filter(&["hosts"]), QueueOptions::local());
    let mut port = master.command_port(reserved::master("hosts").expect("a short name"));
    let clone = builder(&network, "clone").start();
    clone.connect(url("mem://master")).await.expect("connected");
    let topic = reserved::master("hosts").expect("a short name");
    assert_eq!(
        clone.send_command(None, topic.clone(), Bytes::from_static(b"one")),
        1
    );
    assert_eq!(
        clone.send_command(Some(master.id()), topic.clone(), Bytes::from_static(b"two")),
        1
    );
    assert_eq!(
        clone.send_command(
            Some(EndpointId::random()),
            topic,
            Bytes::from_static(b"none")
        ),
        0
    );
    let first = port.recv().await.expect("a command");
    assert_eq!(
        (first.sender, &first.payload[..]),
        (clone.id(), &b"one"[..])
    );
    assert_eq!(&port.recv().await.expect("a command").payload[..], b"two");
    assert!(clone.settled(LONG).await);
    assert!(everything.try_recv().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_message_to_one_peer_is_delivered_whatever_its_filter() {
    let network = MemNetwork::new();
    let server = listening(&network, "server").await;
    let client = builder(&network, "client").forwarding(false).start();
    client
        .connect(url("mem://server"))
        .await
        .expect("connected");
    assert!(server.await_peer(client.id(), LONG).await);
    let mut inbox = client.subscribe(filter(&["<$>/local/x"]), QueueOptions::local());
    assert!(
        server
            .send_to(client.id(), message("/direct", 1))
            .await
            .expect("sent")
    );
    assert!(
        !server
            .send_to(EndpointId::random(), message("/direct", 1))
            .await
            .expect("no peer")
    );
    assert!(server.settled(LONG).await);
    assert!(inbox.try_recv().is_none());
    let mut inbox = client.subscribe(filter(&["/direct"]), QueueOptions::local());
    assert!(
        server
            .send_to(client.id(), message("/direct", 2))
            .await
            .expect("sent")
    );
    assert_eq!(count(&mut inbox).await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_bad_payload_is_dropped_and_counted_and_the_link_stays() {
    let network = MemNetwork::new();
    let server = listening(&network, "server").await;
    let mut inbox = server.subscribe(filter(&["/x"]), QueueOptions::local());
    let client = builder(&network, "client").start();
    client
        .connect(url("mem://server"))
        .await
        .expect("connected");
    let deep: Vec<u8> = [0x0e, 0x01].repeat(100_000);
    for bad in [
        Vec::new(),
        vec![0xff],
        vec![0x05, 0x05, b'a'],
        vec![0x00, 0x00],
        deep,
    ] {
        let message = Message::from_encoded(Topic::from_static("/x"), Bytes::from(bad));
        client.publish(message).await.expect("published");
    }
    client.publish(message("/x", 1)).await.expect("published");
    assert_eq!(count(&mut inbox).await, 1);
    let status = server.status();
    assert_eq!(
        (status.peers[0].rejected, status.peers[0].state.as_str()),
        (5, "peered")
    );
}

#[tokio::test(start_paused = true)]
async fn a_slow_subscriber_pushes_back_to_the_publisher_and_loses_nothing() {
    let network = MemNetwork::new();
    let few = NonZeroUsize::new(4).expect("not zero");
    let block = QueueOptions::local().max_messages(few);
    let server = listening(&network, "server").await;
    let mut inbox = server.subscribe(filter(&["/x"]), block);
    let client = builder(&network, "client").peer_queue(block).start();
    client
        .connect(url("mem://server"))
        .await
        .expect("connected");
    let publishing = tokio::spawn({
        let client = client.clone();
        async move {
            for value in 0..500 {
                client
                    .publish(message("/x", value))
                    .await
                    .expect("published");
            }
        }
    });
    for value in 0..500 {
        assert_eq!(count(&mut inbox).await, value);
    }
    publishing.await.expect("no panic");
    assert_eq!(client.status().peers[0].dropped, 0);
}

#[tokio::test(start_paused = true)]
async fn what_a_full_queue_drops_is_in_the_ledger_by_topic() {
    let network = MemNetwork::new();
    let two = NonZeroUsize::new(2).expect("not zero");
    let server = listening(&network, "server").await;
    let _inbox = server.subscribe(filter(&["/x"]), QueueOptions::local());
    let client = builder(&network, "client")
        .peer_queue(
            QueueOptions::peer()
                .max_messages(two)
                .policy(OverflowPolicy::DropNewest),
        )
        .start();
    client
        .connect(url("mem://server"))
        .await
        .expect("connected");
    // Nothing is awaited in between, so the writer has no chance to run.
    for value in 0..10 {
        client
            .try_publish(&message("/x/y", value))
            .expect("published");
    }
    let drops = client.drops();
    assert_eq!(drops.len(), 1);
    assert_eq!(
        (
            drops[0].peer.as_str(),
            drops[0].topic.as_bytes(),
            drops[0].count
        ),
        ("server", &b"/x/y"[..], 8)
    );
    let peer = &client.status().peers[0];
    assert_eq!((peer.dropped, peer.queued), (8, 2));
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_stops_when_its_last_handle_goes() {
    let network = MemNetwork::new();
    let server = listening(&network, "server").await;
    let mut statuses = server.statuses();
    let client = builder(&network, "client").start();
    client
        .connect(url("mem://server"))
        .await
        .expect("connected");
    let id = client.id();
    drop(client);
    assert_eq!(until(&mut statuses, StatusEventCode::PeerLost).await, id);
}

#[tokio::test(start_paused = true)]
async fn unknown_schemes_and_own_addresses_are_named() {
    let network = MemNetwork::new();
    let node = listening(&network, "node").await;
    let error = node
        .connect(url("gopher://node"))
        .await
        .expect_err("no such transport");
    assert_eq!(
        error.to_string(),
        "no transport for gopher:// here (there are: mem)"
    );
    let error = node.connect(url("mem://node")).await.expect_err("itself");
    let source = std::error::Error::source(&error)
        .expect("a cause")
        .to_string();
    assert!(source.contains("this node itself"), "{source}");
    assert!(node.listen(&url("mem://node")).await.is_err());
    assert!(node.connect(url("mem://nobody")).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_stranger_who_claims_to_be_a_peer_does_not_cut_it_off() {
    for (server_byte, peer_byte) in [(1, 9), (9, 1)] {
        let network = MemNetwork::new();
        let id = |byte| EndpointId::from_bytes([byte; 16]);
        let server = builder(&network, "server").id(id(server_byte)).start();
        server
            .listen(&url("mem://server"))
            .await
            .expect("a free name");
        let mut statuses = server.statuses();
        let peer = builder(&network, "peer").id(id(peer_byte)).start();
        peer.connect(url("mem://server")).await.expect("connected");
        assert_eq!(
            until(&mut statuses, StatusEventCode::PeerAdded).await,
            peer.id()
        );
        let impostor = builder(&network, "impostor").id(id(peer_byte)).start();
        impostor.peer(url("mem://server"));
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(
            statuses.try_recv().is_none(),
            "the peering must not be touched"
        );
        assert_eq!(server.peers()[0].name, "peer");
    }
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_that_stands_still_does_not_cost_the_peering() {
    let network = MemNetwork::new();
    let one = NonZeroUsize::new(1).expect("not zero");
    let stubborn = QueueOptions::local()
        .max_messages(one)
        .block_timeout(Duration::from_secs(30));
    let server = listening(&network, "server").await;
    let mut inbox = server.subscribe(filter(&["/x"]), stubborn);
    let client = builder(&network, "client").start();
    client
        .connect(url("mem://server"))
        .await
        .expect("connected");
    let (mut at_server, mut at_client) = (server.statuses(), client.statuses());
    for value in 0..5 {
        client
            .publish(message("/x", value))
            .await
            .expect("published");
    }
    tokio::time::sleep(Duration::from_secs(25)).await;
    for value in 0..5 {
        assert_eq!(count(&mut inbox).await, value);
    }
    tokio::time::sleep(Duration::from_secs(25)).await;
    for statuses in [&mut at_server, &mut at_client] {
        while let Some(event) = statuses.try_recv() {
            assert_ne!(event.code, StatusEventCode::PeerLost);
        }
    }
    assert_eq!((server.peers().len(), client.peers().len()), (1, 1));
}

/// A peer that speaks through a raw link: what it sends goes out as it is.
mod raw {
    use broker_core::handshake::{HandshakeError, HandshakeFrame, HandshakeIo, Side, negotiate};
    use broker_core::{
        BoxFuture, ConnectError, Connection, Envelope, LinkError, LinkSink, LinkSource, LinkTraits,
        ListenError, LocalNode, PeerUrl, Transport,
    };
    use tokio::sync::mpsc;
    use tokio_util::sync::CancellationToken;

    pub(crate) enum Frame {
        Handshake(HandshakeFrame),
        Batch(Vec<Envelope>),
    }

    pub(crate) struct Wire(mpsc::Sender<Frame>, mpsc::Receiver<Frame>);

    pub(crate) fn wires() -> (Wire, Wire) {
        let ((a, b), (c, d)) = (mpsc::channel(64), mpsc::channel(64));
        (Wire(a, d), Wire(c, b))
    }

    impl HandshakeIo for Wire {
        async fn send(&mut self, frame: HandshakeFrame) -> Result<(), HandshakeError> {
            let _ = self.0.send(Frame::Handshake(frame)).await;
            Ok(())
        }

        async fn recv(&mut self) -> Result<HandshakeFrame, HandshakeError> {
            match self.1.recv().await {
                Some(Frame::Handshake(frame)) => Ok(frame),
                _ => Err(HandshakeError::Disconnected {
                    reason: "gone".to_owned(),
                }),
            }
        }
    }

    impl Wire {
        pub(crate) async fn inject(&self, envelope: Envelope) {
            let _ = self.0.send(Frame::Batch(vec![envelope])).await;
        }
    }

    struct Sink(mpsc::Sender<Frame>);

    impl LinkSink for Sink {
        fn send<'a>(
            &'a mut self,
            batch: &'a mut Vec<Envelope>,
        ) -> BoxFuture<'a, Result<(), LinkError>> {
            Box::pin(async move {
                let gone = |_| LinkError::Lost {
                    reason: "gone".to_owned(),
                };
                self.0
                    .send(Frame::Batch(std::mem::take(batch)))
                    .await
                    .map_err(gone)
            })
        }

        fn close(&mut self) -> BoxFuture<'_, ()> {
            Box::pin(std::future::ready(()))
        }
    }

    struct Source(mpsc::Receiver<Frame>);

    impl LinkSource for Source {
        fn recv<'a>(
            &'a mut self,
            batch: &'a mut Vec<Envelope>,
        ) -> BoxFuture<'a, Result<bool, LinkError>> {
            Box::pin(async move {
                let Some(Frame::Batch(envelopes)) = self.0.recv().await else {
                    return Ok(false);
                };
                batch.extend(envelopes);
                Ok(true)
            })
        }
    }

    /// `raw://` gives the wire it was made with, once.
    pub(crate) struct RawTransport(pub(crate) std::sync::Mutex<Option<Wire>>);

    impl Transport for RawTransport {
        fn schemes(&self) -> &'static [&'static str] {
            &["raw"]
        }

        fn connect<'a>(
            &'a self,
            url: &'a PeerUrl,
            local: &'a LocalNode,
        ) -> BoxFuture<'a, Result<Connection, ConnectError>> {
            Box::pin(async move {
                let wire = self.0.lock().expect("no panic").take();
                let mut wire = wire.ok_or_else(|| ConnectError::Unreachable {
                    url: url.clone(),
                    reason: "used".to_owned(),
                })?;
                let agreed =
                    negotiate(Side::Connector, local, &mut wire)
                        .await
                        .map_err(|source| ConnectError::Handshake {
                            url: url.clone(),
                            source,
                        })?;
                Ok(Connection {
                    peer: agreed.peer,
                    admission: agreed.admission,
                    announced: agreed.announced,
                    url: url.clone(),
                    inbound: false,
                    sink: Box::new(Sink(wire.0)),
                    source: Box::new(Source(wire.1)),
                    traits: LinkTraits::default(),
                })
            })
        }

        fn listen<'a>(
            &'a self,
            url: &'a PeerUrl,
            _: LocalNode,
            _: CancellationToken,
        ) -> BoxFuture<'a, Result<PeerUrl, ListenError>> {
            Box::pin(std::future::ready(Err(ListenError::Bind {
                url: url.clone(),
                reason: "never".to_owned(),
            })))
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_unnumbered_message_with_endless_hops_does_not_circulate_in_a_mesh() {
    use broker_core::handshake::{
        Handshake, HandshakeFrame, HandshakeIo as _, Hello, Side, VERSIONS,
    };
    use broker_core::{Envelope, MessageKind};

    let network = MemNetwork::new();
    let (ours, mut theirs) = raw::wires();
    let first = builder(&network, "m0")
        .transport(raw::RawTransport(std::sync::Mutex::new(Some(ours))))
        .start();
    first.listen(&url("mem://m0")).await.expect("a free name");
    let mut nodes = vec![first];
    for name in ["m1", "m2", "m3"] {
        nodes.push(listening(&network, name).await);
    }
    let mut inboxes: Vec<_> = nodes
        .iter()
        .map(|node| node.subscribe(filter(&["/mesh"]), QueueOptions::local()))
        .collect();
    for (index, node) in nodes.iter().enumerate() {
        for other in &nodes[..index] {
            node.connect(url(&format!("mem://{}", other.name())))
                .await
                .expect("connected");
            assert!(other.await_peer(node.id(), LONG).await);
        }
    }
    // The raw peer has the smallest ID, so it is the one that accepts.
    let hello = Hello {
        id: EndpointId::from_bytes(
            [0; 15]
                .iter()
                .copied()
                .chain([1])
                .collect::<Vec<_>>()
                .try_into()
                .expect("16 bytes"),
        ),
        name: "raw".to_owned(),
        software: String::new(),
        versions: VERSIONS,
        features: Vec::new(),
        required: Vec::new(),
        filter: Filter::new(),
    };
    let raw_id = hello.id;
    let connecting = tokio::spawn({
        let node = nodes[0].clone();
        async move { node.connect(url("raw://peer")).await }
    });
    let mut machine = Handshake::new(Side::Acceptor, hello);
    while machine.peer().is_none() {
        let frame: HandshakeFrame = theirs.recv().await.expect("a frame");
        machine.handle_frame(frame).expect("in order");
        machine.accept();
        while let Some(frame) = machine.poll_transmit() {
            theirs.send(frame).await.expect("sent");
        }
    }
    connecting.await.expect("no panic").expect("connected");
    let payload = Data::Count(1).to_bytes();
    let mut envelope = Envelope::unicast(
        MessageKind::Data,
        raw_id,
        EndpointId::NIL,
        Topic::from_static("/mesh"),
        payload,
    );
    envelope.hops = 255;
    theirs.inject(envelope).await;
    for inbox in &mut inboxes {
        assert_eq!(count(inbox).await, 1);
    }
    for node in &nodes[1..] {
        assert!(node.settled(LONG).await);
    }
    // Each direct neighbour may forward its copy once; what matters is that it ends there.
    tokio::time::sleep(Duration::from_secs(1)).await;
    for inbox in &mut inboxes {
        assert!(inbox.try_recv().is_none(), "a message was delivered twice");
    }
}

#[tokio::test(start_paused = true)]
async fn a_peering_that_is_never_idle_can_be_ended() {
    let network = MemNetwork::new();
    let server = listening(&network, "server").await;
    let mut inbox = server.subscribe(filter(&["/x"]), QueueOptions::local());
    let client = builder(&network, "client")
        .peer_queue(QueueOptions::local())
        .start();
    client
        .connect(url("mem://server"))
        .await
        .expect("connected");
    let flood = tokio::spawn({
        let client = client.clone();
        async move {
            while client
                .publish(message("/x", 1))
                .await
                .is_ok_and(|reached| reached.peers == 1)
            {}
        }
    });
    let reader = tokio::spawn(async move { while inbox.recv().await.is_some() {} });
    assert!(server.await_peer(client.id(), LONG).await);
    let ended = tokio::time::timeout(Duration::from_secs(10), server.unpeer_id(client.id())).await;
    assert_eq!(ended, Ok(true));
    flood.await.expect("no panic");
    server.shutdown().await;
    reader.await.expect("no panic");
}

#[tokio::test(start_paused = true)]
async fn a_kept_peering_that_is_not_there_is_shown_with_where_it_stands() {
    let network = MemNetwork::new();
    let start = |name: &str| {
        Endpoint::builder()
            .name(name)
            .transport(MemTransport::new(&network))
            .start()
    };
    let (left, right) = (start("left"), start("right"));
    let url: PeerUrl = "mem://right".parse().unwrap();
    let states = |node: &Endpoint| {
        let peers = node.status().peers;
        peers
            .into_iter()
            .map(|peer| (peer.url, peer.state))
            .collect::<Vec<_>>()
    };
    let standing = |state: &str| vec![("mem://right".to_owned(), state.to_owned())];
    left.peer(url.clone());
    assert_eq!(states(&left), standing("connecting"));
    right.listen(&url).await.unwrap();
    assert!(left.await_peer(right.id(), Duration::from_secs(60)).await);
    assert_eq!(states(&left), standing("peered"));
    right.shutdown().await;
    let mut statuses = left.statuses();
    while states(&left) != standing("reconnecting") {
        statuses.recv().await.unwrap();
    }
    assert!(left.unpeer(&url).await);
    assert_eq!(states(&left), []);
    left.shutdown().await;
}

#[tokio::test]
async fn an_endpoint_that_comes_again_under_its_id_is_heard_from_its_first_message_on() {
    let network = MemNetwork::new();
    let hub = listening(&network, "hub").await;
    let topics = [Topic::from_static("t")].into_iter().collect();
    let mut inbox = hub.subscribe(topics, QueueOptions::local());
    let id = EndpointId::from_bytes([7; 16]);
    for start in 0..3 {
        let guest = builder(&network, "guest").id(id).start();
        guest.connect(url("mem://hub")).await.expect("it listens");
        assert!(guest.await_peer(hub.id(), LONG).await);
        for value in 0..100 {
            guest
                .publish(message("t", start * 100 + value))
                .await
                .expect("published");
        }
        for value in 0..100 {
            let heard = tokio::time::timeout(LONG, count(&mut inbox)).await;
            assert_eq!(heard.expect("it is heard"), start * 100 + value);
        }
        guest.shutdown().await;
        assert!(wait_until_gone(&hub, id).await);
    }
    hub.shutdown().await;
}

async fn wait_until_gone(endpoint: &Endpoint, id: EndpointId) -> bool {
    let gone = async {
        while endpoint.peers().iter().any(|peer| peer.id == id) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, gone).await.is_ok()
}
