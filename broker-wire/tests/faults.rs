//! What strangers and broken peers do to a node: their connection ends with a reason in the log, and nobody
//! else notices.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use broker_core::{
    Data, Endpoint, Filter, Heartbeat, Message, PeerUrl, QueueOptions, StatusEventCode,
    StatusSubscriber, Subscriber, Topic,
};
use broker_wire::limits::{KEEP_ALIVE_INTERVAL, KEEP_ALIVE_TIMEOUT};
use broker_wire::proto::{self, frame::Content};
use broker_wire::{BrokerClient, ClientError, GrpcTransport};
use bytes::Bytes;
use hyper::body::{Body, Frame};
use hyper::http::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

const LIMIT: Duration = Duration::from_secs(20);

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("in time")
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

/// What is logged on this thread while the guard lives.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn capture() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    /// Waits until `text` is there.
    async fn until(&self, text: &str) {
        within(async {
            while !self.has(text) {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    fn has(&self, text: &str) -> bool {
        String::from_utf8_lossy(&self.0.lock().unwrap()).contains(text)
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A node with a well-behaved peer that must not notice anything.
struct Victim {
    node: Endpoint,
    address: PeerUrl,
    friend: Endpoint,
    inbox: Subscriber,
    sent: u64,
}

impl Victim {
    async fn start() -> Self {
        let node = Endpoint::builder()
            .name("victim")
            .transport(GrpcTransport::new())
            .handshake_timeout(Duration::from_secs(1))
            .start();
        let address = node
            .listen(&"grpc://127.0.0.1:0".parse().unwrap())
            .await
            .unwrap();
        let inbox = node.subscribe(
            Filter::from_iter([Topic::from_static("/x")]),
            QueueOptions::local(),
        );
        let friend = Endpoint::builder()
            .name("friend")
            .transport(GrpcTransport::new())
            .start();
        within(friend.connect(address.clone())).await.unwrap();
        Self {
            node,
            address,
            friend,
            inbox,
            sent: 0,
        }
    }

    async fn is_well(&mut self) {
        self.is_well_beside(1).await;
    }

    /// Whether the friend's messages arrive, with so many peers in all.
    async fn is_well_beside(&mut self, peers: usize) {
        self.sent += 1;
        self.friend
            .publish(Message::new(Topic::from_static("/x"), self.sent))
            .await
            .unwrap();
        assert_eq!(
            within(self.inbox.recv()).await.unwrap().data().unwrap(),
            &Data::from(self.sent)
        );
        assert_eq!(self.node.peers().len(), peers);
    }

    async fn tcp(&self) -> TcpStream {
        TcpStream::connect(self.address.authority(0)).await.unwrap()
    }

    async fn stop(self) {
        within(async { tokio::join!(self.node.shutdown(), self.friend.shutdown()) }).await;
    }
}

/// Waits until the other side has closed the connection.
async fn closed(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    let _ = within(stream.read_to_end(&mut rest)).await;
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[tokio::test]
async fn whoever_speaks_something_else_is_sent_away() {
    let (log, _guard) = Log::capture();
    let mut victim = Victim::start().await;
    let cases: [(&[u8], &str); 7] = [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "it speaks HTTP/1"),
        (&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3], "it speaks TLS"),
        (
            b"\0\0\0\x0d\x06ZEEK\0\0\0\0\0\0\0\0",
            "the native Broker protocol",
        ),
        (&[0xff; 4096], "neither HTTP/2 nor anything else"),
        (&[PREFACE, &[0xff; 4096]].concat(), "connection from"),
        // A DATA frame of 16 MiB on stream 0, before any settings.
        (
            &[PREFACE, &[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0]].concat(),
            "connection from",
        ),
        // A settings frame whose length is no multiple of six.
        (
            &[PREFACE, &[0, 0, 5, 4, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5]].concat(),
            "connection from",
        ),
    ];
    for (bytes, reason) in cases {
        let mut stream = victim.tcp().await;
        let _ = stream.write_all(bytes).await;
        closed(&mut stream).await;
        drop(stream);
        victim.is_well().await;
        log.until(reason).await;
    }
    victim.stop().await;
}

#[tokio::test]
async fn whoever_says_nothing_is_sent_away_at_the_deadline() {
    let (log, _guard) = Log::capture();
    let mut victim = Victim::start().await;
    let before = Instant::now();
    let mut mute = victim.tcp().await;
    // One that is polite, but never calls.
    let mut idle = victim.tcp().await;
    idle.write_all(&[PREFACE, &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat())
        .await
        .unwrap();
    closed(&mut mute).await;
    closed(&mut idle).await;
    assert!(before.elapsed() >= Duration::from_millis(900));
    assert!(log.has("nothing heard within 1 s") && log.has("no call within 1 s"));
    victim.is_well().await;
    victim.stop().await;
}

/// The body of a raw call: whatever bytes the test likes.
struct RawBody(mpsc::Receiver<Bytes>);

impl Body for RawBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0
            .poll_recv(cx)
            .map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// Calls `Peering.Connect` with raw bytes; the receiver tells when the answer has ended.
async fn raw_call(address: &PeerUrl) -> (mpsc::Sender<Bytes>, tokio::task::JoinHandle<Vec<u8>>) {
    let stream = TcpStream::connect(address.authority(0)).await.unwrap();
    let (mut http, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let (sender, receiver) = mpsc::channel(8);
    let request = Request::post(format!(
        "http://{}/broker.v1.Peering/Connect",
        address.authority(0)
    ))
    .header("content-type", "application/grpc")
    .body(RawBody(receiver))
    .unwrap();
    let answer = tokio::spawn(async move {
        let mut bytes = Vec::new();
        if let Ok(response) = http.send_request(request).await {
            let mut body = response.into_body();
            while let Some(Ok(frame)) =
                std::future::poll_fn(|cx| std::pin::Pin::new(&mut body).poll_frame(cx)).await
            {
                if let Ok(data) = frame.into_data() {
                    bytes.extend_from_slice(&data);
                }
            }
        }
        bytes
    });
    (sender, answer)
}

fn framed(content: Content) -> Bytes {
    let message = proto::Frame {
        content: Some(content),
    }
    .encode_to_vec();
    let mut bytes = vec![0];
    bytes.extend((message.len() as u32).to_be_bytes());
    bytes.extend(message);
    bytes.into()
}

fn hello() -> Bytes {
    framed(Content::Hello(proto::Hello {
        id: Bytes::from_static(&[0xff; 16]),
        name: "raw".to_owned(),
        min_version: 1,
        max_version: 1,
        ..Default::default()
    }))
}

#[tokio::test]
async fn a_bad_handshake_ends_the_call() {
    let (log, _guard) = Log::capture();
    let mut victim = Victim::start().await;
    let cases: [(&[u8], &str); 6] = [
        (&[0, 0xff, 0xff, 0xff, 0xff], "longer than the limit"),
        (
            &[0, 0x7f, 0xff, 0xff, 0xff, 1, 2, 3],
            "longer than the limit",
        ),
        (&[1, 0, 0, 0, 0], "compression flag 1"),
        (
            &[0, 0, 0, 0, 3, 0xff, 0xff, 0xff],
            "peer broke the handshake",
        ),
        (
            &framed(Content::Batch(proto::Batch::default())),
            "messages before the end of the handshake",
        ),
        (
            &framed(Content::Accept(proto::Accept {})),
            "unexpected accept",
        ),
    ];
    for (bytes, reason) in cases {
        let (out, answer) = raw_call(&victim.address).await;
        out.send(Bytes::copy_from_slice(bytes)).await.unwrap();
        within(answer).await.unwrap();
        victim.is_well().await;
        assert!(log.has(reason), "{reason}");
    }
    // A hello, and then nothing: we have the bigger ID and are to wait for the node's word, which comes;
    // but a call that never sends one ends at the deadline.
    let (_out, answer) = raw_call(&victim.address).await;
    within(answer).await.unwrap();
    assert!(log.has("no answer within 1 s"));
    victim.is_well().await;
    victim.stop().await;
}

#[tokio::test]
async fn bad_frames_end_the_peering_and_bad_payloads_do_not() {
    let mut victim = Victim::start().await;
    let mut events = victim.node.statuses();
    let cases: [&[u8]; 5] = [
        // Longer than the limit.
        &[0, 0xff, 0, 0, 0],
        // A batch that runs beyond its end.
        &[0, 0, 0, 0, 3, 0x22, 0x7f, 0],
        // An envelope whose receiver is no ID.
        &[0, 0, 0, 0, 7, 0x22, 5, 0x0a, 3, 0x22, 1, 0],
        // A second hello.
        &[0, 0, 0, 0, 2, 0x0a, 0],
        // A compressed frame.
        &[1, 0, 0, 0, 0],
    ];
    for bytes in cases {
        let (out, answer) = raw_call(&victim.address).await;
        out.send(hello()).await.unwrap();
        until(&mut events, StatusEventCode::PeerAdded).await;
        out.send(Bytes::copy_from_slice(bytes)).await.unwrap();
        let lost = until(&mut events, StatusEventCode::PeerLost).await;
        assert_eq!(lost.name, "raw");
        within(answer).await.unwrap();
        victim.is_well().await;
    }

    // A payload that is no value, and a kind and fields nobody knows: the peering stays.
    let (out, _answer) = raw_call(&victim.address).await;
    out.send(hello()).await.unwrap();
    until(&mut events, StatusEventCode::PeerAdded).await;
    let of = |payload: &'static [u8], kind| proto::Envelope {
        topic: Bytes::from_static(b"/x"),
        payload: Bytes::from_static(payload),
        kind,
        ..Default::default()
    };
    let envelopes = vec![
        of(&[99], 0),
        of(&[14, 0xff], 0),
        of(&[0], 77),
        of(&[1, 1], 0),
    ];
    out.send(framed(Content::Batch(proto::Batch { envelopes })))
        .await
        .unwrap();
    assert_eq!(
        within(victim.inbox.recv()).await.unwrap().data().unwrap(),
        &Data::from(true)
    );
    let status = victim.node.status();
    let raw = status.peers.iter().find(|peer| peer.name == "raw").unwrap();
    assert_eq!(raw.rejected, 2);
    drop(out);
    until(&mut events, StatusEventCode::PeerLost).await;
    victim.is_well().await;
    victim.stop().await;
}

#[tokio::test]
async fn a_connection_carries_one_peering_and_unknown_calls_are_refused() {
    let mut victim = Victim::start().await;
    let client = within(BrokerClient::connect(&victim.address))
        .await
        .unwrap();
    assert_eq!(within(client.status()).await.unwrap().peers.len(), 1);
    let uri = format!("http://{}", victim.address.authority(0));
    let channel = tonic::transport::Channel::from_shared(uri)
        .unwrap()
        .connect()
        .await
        .unwrap();
    let mut stub = proto::peering_client::PeeringClient::new(channel.clone());
    let (_one, frames) = mpsc::channel(1);
    let _first = within(stub.connect(tokio_stream::wrappers::ReceiverStream::new(frames)))
        .await
        .unwrap();
    let (_other, frames) = mpsc::channel(1);
    let second = within(stub.connect(tokio_stream::wrappers::ReceiverStream::new(frames))).await;
    assert_eq!(second.unwrap_err().code(), tonic::Code::ResourceExhausted);
    let mut alien = tonic::client::Grpc::new(channel);
    alien.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<proto::StatusRequest, proto::StatusReply>::default();
    let path = hyper::http::uri::PathAndQuery::from_static("/some.Other/Service");
    let refused =
        within(alien.unary(tonic::Request::new(proto::StatusRequest {}), path, codec)).await;
    assert_eq!(refused.unwrap_err().code(), tonic::Code::Unimplemented);
    victim.is_well().await;
    victim.stop().await;
}

#[tokio::test]
async fn what_comes_beyond_the_limit_is_closed_and_room_is_made_by_whoever_leaves() {
    let transport = GrpcTransport::new().max_connections(2.try_into().unwrap());
    let node = Endpoint::builder()
        .name("node")
        .transport(transport)
        .start();
    let address = node
        .listen(&"grpc://127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let one = within(BrokerClient::connect(&address)).await.unwrap();
    let other = within(BrokerClient::connect(&address)).await.unwrap();
    let mut third = TcpStream::connect(address.authority(0)).await.unwrap();
    closed(&mut third).await;
    assert!(within(one.status()).await.is_ok());
    drop(other);
    within(async {
        while BrokerClient::connect(&address).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(within(one.status()).await.is_ok());
    within(node.shutdown()).await;
}

#[tokio::test]
async fn a_peer_that_sends_nothing_but_empty_frames_does_not_stop_the_others() {
    let mut victim = Victim::start().await;
    let mut events = victim.node.statuses();
    let (out, _answer) = raw_call(&victim.address).await;
    out.send(hello()).await.unwrap();
    until(&mut events, StatusEventCode::PeerAdded).await;
    let empty = Bytes::from(framed(Content::Batch(proto::Batch::default())).repeat(100_000));
    for _ in 0..20 {
        out.send(empty.clone()).await.unwrap();
        victim.is_well_beside(2).await;
    }
    drop(out);
    until(&mut events, StatusEventCode::PeerLost).await;
    victim.stop().await;
}

#[tokio::test]
async fn what_does_not_speak_grpc_is_told_from_what_is_not_there() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: PeerUrl = format!("grpc://{}", socket.local_addr().unwrap())
        .parse()
        .unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = socket.accept().await {
            let _ = stream
                .write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
                .await;
        }
    });
    let node = Endpoint::builder().transport(GrpcTransport::new()).start();
    let error = within(node.connect(url.clone()))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("does not speak gRPC"), "{error}");
    let error = within(BrokerClient::connect(&url))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("does not speak gRPC"), "{error}");
    within(node.shutdown()).await;
}

#[tokio::test]
async fn an_answer_that_never_comes_is_waited_for_no_longer_than_stated() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: PeerUrl = format!("grpc://{}", socket.local_addr().unwrap())
        .parse()
        .unwrap();
    let node = Endpoint::builder()
        .transport(GrpcTransport::new())
        .handshake_timeout(Duration::from_millis(300))
        .start();
    let error = within(node.connect(url)).await.unwrap_err();
    let text = format!(
        "{error}: {:?}",
        std::error::Error::source(&error).map(ToString::to_string)
    );
    assert!(text.contains("no answer within 0.3 s"), "{text}");
    within(node.shutdown()).await;
}

/// Forwards bytes between one client and `target` until told to stop, then keeps both connections open and
/// silent, as a network that has gone away does.
struct Proxy {
    address: PeerUrl,
    frozen: watch::Sender<bool>,
    /// Resolves when both sides have given the connection up.
    given_up: tokio::task::JoinHandle<()>,
}

impl Proxy {
    async fn to(target: &PeerUrl) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: SocketAddr = socket.local_addr().unwrap();
        let (frozen, _) = watch::channel(false);
        let freezing = frozen.clone();
        let target = target.authority(0);
        let given_up = tokio::spawn(async move {
            let (near, _) = socket.accept().await.unwrap();
            let far = TcpStream::connect(target).await.unwrap();
            let (near_in, near_out) = near.into_split();
            let (far_in, far_out) = far.into_split();
            let forward =
                async |mut from: tokio::net::tcp::OwnedReadHalf,
                       mut to: tokio::net::tcp::OwnedWriteHalf| {
                    let mut frozen = freezing.subscribe();
                    let mut bytes = vec![0; 64 << 10];
                    loop {
                        let Ok(read @ 1..) = from.read(&mut bytes).await else {
                            return;
                        };
                        if *frozen.borrow_and_update() {
                            continue;
                        }
                        if to.write_all(&bytes[..read]).await.is_err() {
                            return;
                        }
                    }
                };
            tokio::join!(forward(near_in, far_out), forward(far_in, near_out));
        });
        Self {
            address: format!("grpc://{address}").parse().unwrap(),
            frozen,
            given_up,
        }
    }
}

#[tokio::test]
async fn a_peer_that_goes_silent_is_lost_within_the_heartbeat_time() {
    let heartbeat = Heartbeat {
        interval: Duration::from_millis(100),
        timeout: Duration::from_millis(500),
    };
    let node = |name: &str| {
        Endpoint::builder()
            .name(name)
            .transport(GrpcTransport::new())
            .heartbeat(heartbeat)
            .start()
    };
    let (left, right) = (node("left"), node("right"));
    let address = right
        .listen(&"grpc://127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let proxy = Proxy::to(&address).await;
    let (mut left_events, mut right_events) = (left.statuses(), right.statuses());
    within(left.connect(proxy.address.clone())).await.unwrap();
    until(&mut right_events, StatusEventCode::PeerAdded).await;

    let before = Instant::now();
    proxy.frozen.send_replace(true);
    until(&mut left_events, StatusEventCode::PeerLost).await;
    until(&mut right_events, StatusEventCode::PeerLost).await;
    assert!(
        before.elapsed() >= Duration::from_millis(350),
        "not before the deadline"
    );
    assert!(
        before.elapsed() < Duration::from_secs(5),
        "not only when TCP says so"
    );
    assert!(left.peers().is_empty() && right.peers().is_empty());
    // Neither side keeps the dead connection.
    within(proxy.given_up).await.unwrap();
    within(async { tokio::join!(left.shutdown(), right.shutdown()) }).await;
}

#[tokio::test]
async fn a_client_notices_that_its_node_has_gone_silent() {
    let node = Endpoint::builder()
        .name("node")
        .transport(GrpcTransport::new())
        .start();
    let address = node
        .listen(&"grpc://127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let proxy = Proxy::to(&address).await;
    let client = within(BrokerClient::connect(&proxy.address)).await.unwrap();
    let prefixes = Filter::from_iter([Topic::from_static("/x")]);
    let mut inbox = within(client.subscribe(&prefixes)).await.unwrap();
    proxy.frozen.send_replace(true);
    // From here on time passes as fast as nobody has anything to do.
    tokio::time::pause();
    let before = tokio::time::Instant::now();
    let error = inbox.recv().await.unwrap_err();
    assert!(matches!(error, ClientError::Lost { .. }), "{error}");
    let stated = KEEP_ALIVE_INTERVAL + KEEP_ALIVE_TIMEOUT;
    assert!(
        before.elapsed() <= stated + Duration::from_secs(1),
        "{:?}",
        before.elapsed()
    );
    drop((inbox, client));
    proxy.given_up.await.unwrap();
}
