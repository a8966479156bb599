//! Peerings over `grpc://`: two or more endpoints on loopback.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

use std::time::Duration;

use broker_core::{
    Data, Endpoint, Filter, Message, OverflowPolicy, PeerUrl, QueueOptions, StatusEventCode,
    StatusSubscriber, Topic,
};
use broker_wire::GrpcTransport;

const LIMIT: Duration = Duration::from_secs(20);

fn endpoint(name: &str) -> Endpoint {
    Endpoint::builder()
        .name(name)
        .transport(GrpcTransport::new())
        .peer_queue(QueueOptions::local())
        .start()
}

async fn listening(endpoint: &Endpoint) -> PeerUrl {
    endpoint
        .listen(&"grpc://127.0.0.1:0".parse().unwrap())
        .await
        .unwrap()
}

fn prefixes(prefixes: &[&'static str]) -> Filter {
    prefixes
        .iter()
        .map(|prefix| Topic::from_static(prefix))
        .collect()
}

fn message(topic: &'static str, data: impl Into<Data>) -> Message {
    Message::new(Topic::from_static(topic), data)
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("in time")
}

/// Makes `from` a peer of `to`, as both see it.
async fn peer(from: &Endpoint, to: &Endpoint) -> PeerUrl {
    let address = listening(to).await;
    assert_eq!(
        within(from.connect(address.clone())).await.unwrap(),
        to.id()
    );
    assert!(to.await_peer(from.id(), LIMIT).await);
    address
}

async fn until(statuses: &mut StatusSubscriber, code: StatusEventCode) -> broker_core::StatusEvent {
    within(async {
        loop {
            let event = statuses.recv().await.expect("running");
            if event.code == code {
                return event;
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_go_both_ways_and_keep_their_order() {
    const COUNT: u64 = 20_000;
    let (left, right) = (endpoint("left"), endpoint("right"));
    let mut at_left = left.subscribe(prefixes(&["/to-left"]), QueueOptions::local());
    let mut at_right = right.subscribe(prefixes(&["/to-right"]), QueueOptions::local());
    let address = peer(&left, &right).await;

    let publish = async |from: &Endpoint, topic: &'static str| {
        for number in 0..COUNT {
            from.publish(message(topic, number)).await.unwrap();
        }
    };
    let receive = async |inbox: &mut broker_core::Subscriber| {
        for number in 0..COUNT {
            assert_eq!(
                inbox.recv().await.unwrap().data().unwrap(),
                &Data::from(number)
            );
        }
    };
    within(async {
        tokio::join!(
            publish(&left, "/to-right"),
            publish(&right, "/to-left"),
            receive(&mut at_left),
            receive(&mut at_right)
        )
    })
    .await;

    let peer = &left.peers()[0];
    assert_eq!(
        (peer.name.as_str(), &peer.url, peer.inbound),
        ("right", &address, false)
    );
    let peer = &right.peers()[0];
    assert_eq!(
        (peer.name.as_str(), peer.url.scheme(), peer.inbound),
        ("left", "grpc", true)
    );
    within(async { tokio::join!(left.shutdown(), right.shutdown()) }).await;
}

#[tokio::test]
async fn large_and_empty_messages_arrive_whole() {
    let (left, right) = (endpoint("left"), endpoint("right"));
    let mut inbox = right.subscribe(prefixes(&["/x"]), QueueOptions::local());
    peer(&left, &right).await;
    let large = Data::from(vec![0xa5u8; 5 << 20]);
    for data in [large.clone(), Data::None, Data::from(""), large] {
        left.publish(message("/x", data.clone())).await.unwrap();
        assert!(within(inbox.recv()).await.unwrap().data().unwrap() == &data);
    }
    within(async { tokio::join!(left.shutdown(), right.shutdown()) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_dial_each_other_have_one_peering() {
    for _ in 0..10 {
        let (left, right) = (endpoint("left"), endpoint("right"));
        let (at_left, at_right) = (listening(&left).await, listening(&right).await);
        left.peer(at_right.clone());
        right.peer(at_left.clone());
        let (one, other) =
            within(async { tokio::join!(left.connect(at_right), right.connect(at_left)) }).await;
        assert_eq!((one.unwrap(), other.unwrap()), (right.id(), left.id()));
        let mut inbox = right.subscribe(prefixes(&["/x"]), QueueOptions::local());
        assert!(within(right.settled(LIMIT)).await);
        let reached = left.publish(message("/x", 1u64)).await.unwrap();
        assert_eq!(reached.peers, 1);
        assert_eq!(
            within(inbox.recv()).await.unwrap().data().unwrap(),
            &Data::from(1u64)
        );
        assert_eq!((left.peers().len(), right.peers().len()), (1, 1));
        within(async { tokio::join!(left.shutdown(), right.shutdown()) }).await;
    }
}

#[tokio::test]
async fn a_later_subscription_reaches_the_peer() {
    let (left, right) = (endpoint("left"), endpoint("right"));
    peer(&left, &right).await;
    assert!(left.publish(message("/late", 0u64)).await.unwrap().nobody());
    let mut inbox = right.subscribe(prefixes(&["/late"]), QueueOptions::local());
    assert!(within(right.settled(LIMIT)).await);
    assert_eq!(left.publish(message("/late", 1u64)).await.unwrap().peers, 1);
    assert_eq!(
        within(inbox.recv()).await.unwrap().data().unwrap(),
        &Data::from(1u64)
    );
    assert!(left.peers()[0].filter.matches("/late"));
    within(async { tokio::join!(left.shutdown(), right.shutdown()) }).await;
}

#[tokio::test]
async fn a_relay_passes_on_what_its_peers_asked_for() {
    let relay = endpoint("relay");
    let address = listening(&relay).await;
    relay.forward(&prefixes(&["/x"]));
    let (left, right) = (endpoint("left"), endpoint("right"));
    let mut inbox = right.subscribe(prefixes(&["/x"]), QueueOptions::local());
    within(left.connect(address.clone())).await.unwrap();
    within(right.connect(address)).await.unwrap();
    assert!(relay.await_peer(left.id(), LIMIT).await && relay.await_peer(right.id(), LIMIT).await);
    assert!(within(right.settled(LIMIT)).await);
    left.publish(message("/x/y", "over the relay"))
        .await
        .unwrap();
    assert_eq!(
        within(inbox.recv()).await.unwrap().data().unwrap(),
        &Data::from("over the relay")
    );
    within(async { tokio::join!(left.shutdown(), right.shutdown(), relay.shutdown()) }).await;
}

#[tokio::test]
async fn leaving_is_seen_on_both_sides_and_loses_nothing() {
    let (left, right) = (endpoint("left"), endpoint("right"));
    let mut inbox = right.subscribe(prefixes(&["/x"]), QueueOptions::local());
    let (mut left_events, mut right_events) = (left.statuses(), right.statuses());
    let address = peer(&left, &right).await;
    until(&mut right_events, StatusEventCode::PeerAdded).await;
    for number in 0..1000u64 {
        left.publish(message("/x", number)).await.unwrap();
    }
    assert!(within(left.unpeer(&address)).await);
    until(&mut left_events, StatusEventCode::PeerRemoved).await;
    until(&mut right_events, StatusEventCode::PeerLost).await;
    for number in 0..1000u64 {
        assert_eq!(
            within(inbox.recv()).await.unwrap().data().unwrap(),
            &Data::from(number)
        );
    }
    assert!(left.peers().is_empty() && right.peers().is_empty());
    within(async { tokio::join!(left.shutdown(), right.shutdown()) }).await;
}

#[tokio::test]
async fn a_node_that_stops_is_found_again_when_it_comes_back() {
    let left = endpoint("left");
    let right = endpoint("right");
    let address = listening(&right).await;
    let mut events = left.statuses();
    left.peer(address.clone());
    until(&mut events, StatusEventCode::PeerAdded).await;
    within(right.shutdown()).await;
    until(&mut events, StatusEventCode::PeerLost).await;
    until(&mut events, StatusEventCode::PeerUnavailable).await;
    let again = endpoint("right");
    again.listen(&address).await.unwrap();
    let added = until(&mut events, StatusEventCode::PeerAdded).await;
    assert_eq!(added.endpoint, Some(again.id()));
    within(async { tokio::join!(left.shutdown(), again.shutdown()) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutting_down_delivers_what_was_published() {
    let (left, right) = (endpoint("left"), endpoint("right"));
    let mut inbox = right.subscribe(prefixes(&["/x"]), QueueOptions::local());
    peer(&left, &right).await;
    for number in 0..5000u64 {
        left.publish(message("/x", number)).await.unwrap();
    }
    within(left.shutdown()).await;
    for number in 0..5000u64 {
        assert_eq!(
            within(inbox.recv()).await.unwrap().data().unwrap(),
            &Data::from(number)
        );
    }
    within(right.shutdown()).await;
}

#[tokio::test]
async fn addresses_that_cannot_be_used_say_why() {
    let node = endpoint("node");
    let address = listening(&node).await;
    let other = endpoint("other");
    let taken = other.listen(&address).await.unwrap_err().to_string();
    assert_eq!(
        taken,
        format!("cannot listen on {address}: the address is in use")
    );
    let tls = other
        .listen(&"grpcs://127.0.0.1:0".parse().unwrap())
        .await
        .unwrap_err()
        .to_string();
    assert!(tls.contains("TLS"), "{tls}");
    let tls = other
        .connect("grpcs://127.0.0.1:1".parse().unwrap())
        .await
        .unwrap_err()
        .to_string();
    assert!(tls.contains("TLS"), "{tls}");

    // A port that was bound a moment ago and is not any more.
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let url: PeerUrl = format!("grpc://{free}").parse().unwrap();
    let refused = within(other.connect(url.clone()))
        .await
        .unwrap_err()
        .to_string();
    assert_eq!(
        refused,
        format!("cannot reach {url}: connection refused: nothing listens there")
    );

    let itself = within(node.connect(address)).await.unwrap_err();
    assert!(
        std::error::Error::source(&itself)
            .unwrap()
            .to_string()
            .contains("this node itself")
    );
    within(async { tokio::join!(node.shutdown(), other.shutdown()) }).await;
}

#[tokio::test]
async fn a_small_queue_that_drops_counts_what_it_drops() {
    let queue = QueueOptions::peer()
        .max_messages(16.try_into().unwrap())
        .policy(OverflowPolicy::DropOldest);
    let left = Endpoint::builder()
        .name("left")
        .transport(GrpcTransport::new())
        .peer_queue(queue)
        .start();
    let right = endpoint("right");
    let mut inbox = right.subscribe(prefixes(&["/x"]), QueueOptions::local());
    peer(&left, &right).await;
    for number in 0..2000u64 {
        left.publish(message("/x", number)).await.unwrap();
    }
    assert!(within(left.settled(LIMIT)).await);
    let dropped = left.status().peers[0].dropped;
    let mut received = 0;
    while inbox.try_recv().is_some() {
        received += 1;
    }
    assert_eq!(received + dropped, 2000);
    within(async { tokio::join!(left.shutdown(), right.shutdown()) }).await;
}
