//! Peerings with the other side made of tonic's generated code: proof that `Peering.Connect` is what
//! its `.proto` says, and the place to play a peer of another version.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use broker_core::{Data, Endpoint, Filter, Message, PeerUrl, QueueOptions, Topic};
use broker_wire::GrpcTransport;
use broker_wire::proto::{
    self, frame::Content, peering_client::PeeringClient, peering_server::Peering,
    peering_server::PeeringServer,
};
use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

const LIMIT: Duration = Duration::from_secs(20);
/// Smaller and larger than any random ID.
const LOW: [u8; 16] = [0, 0, 0, 0, 0, 0, 0x40, 0, 0x80, 0, 0, 0, 0, 0, 0, 1];
const HIGH: [u8; 16] = [0xff; 16];

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("in time")
}

fn endpoint(name: &str) -> Endpoint {
    Endpoint::builder()
        .name(name)
        .transport(GrpcTransport::new())
        .start()
}

async fn listening(endpoint: &Endpoint) -> PeerUrl {
    endpoint
        .listen(&"grpc://127.0.0.1:0".parse().unwrap())
        .await
        .unwrap()
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

    fn lines_with(&self, text: &str) -> Vec<String> {
        let log = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        log.lines()
            .filter(|line| line.contains(text))
            .map(str::to_owned)
            .collect()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn frame(content: Content) -> proto::Frame {
    proto::Frame {
        content: Some(content),
    }
}

fn hello(id: [u8; 16], versions: (u32, u32)) -> proto::Frame {
    frame(Content::Hello(proto::Hello {
        id: Bytes::copy_from_slice(&id),
        name: "stranger".to_owned(),
        software: "another implementation".to_owned(),
        min_version: versions.0,
        max_version: versions.1,
        features: vec!["of the future".to_owned()],
        required_features: Vec::new(),
        filter: vec![Bytes::from_static(b"/x")],
    }))
}

fn data(topic: &'static [u8], data: impl Into<Data>, sequence: u64) -> proto::Frame {
    let envelope = proto::Envelope {
        topic: Bytes::from_static(topic),
        payload: data.into().to_bytes(),
        kind: proto::MessageKind::Data.into(),
        sequence,
        ..Default::default()
    };
    frame(Content::Batch(proto::Batch {
        envelopes: vec![envelope],
    }))
}

async fn next(frames: &mut Streaming<proto::Frame>) -> Content {
    within(frames.message())
        .await
        .unwrap()
        .expect("another frame")
        .content
        .expect("known")
}

/// The next envelope that is data; pings are answered.
async fn next_data(
    node: &Endpoint,
    frames: &mut Streaming<proto::Frame>,
    out: &mpsc::Sender<proto::Frame>,
) -> proto::Envelope {
    loop {
        let Content::Batch(batch) = next(frames).await else {
            panic!("not a batch")
        };
        for mut envelope in batch.envelopes {
            match envelope.kind() {
                proto::MessageKind::Data => return envelope,
                proto::MessageKind::Ping => {
                    envelope.set_kind(proto::MessageKind::Pong);
                    envelope.receiver = Bytes::copy_from_slice(node.id().as_bytes());
                    let pong = frame(Content::Batch(proto::Batch {
                        envelopes: vec![envelope],
                    }));
                    out.send(pong).await.unwrap();
                }
                _ => {}
            }
        }
    }
}

/// Calls `Peering.Connect` of the node at `address`, as tonic does it.
async fn call(address: &PeerUrl) -> (mpsc::Sender<proto::Frame>, Streaming<proto::Frame>) {
    let mut client = within(PeeringClient::connect_to(address)).await;
    let (out, frames) = mpsc::channel(8);
    let replies = within(client.connect(ReceiverStream::new(frames)))
        .await
        .unwrap()
        .into_inner();
    (out, replies)
}

trait ConnectTo: Sized {
    async fn connect_to(address: &PeerUrl) -> Self;
}

impl ConnectTo for PeeringClient<tonic::transport::Channel> {
    async fn connect_to(address: &PeerUrl) -> Self {
        let uri = format!("http://{}", address.authority(0));
        Self::new(
            tonic::transport::Channel::from_shared(uri)
                .unwrap()
                .connect()
                .await
                .unwrap(),
        )
    }
}

/// Answers calls of `Peering.Connect` by handing them to the test.
struct Stranger {
    calls: mpsc::Sender<(mpsc::Sender<proto::Frame>, Streaming<proto::Frame>)>,
}

#[tonic::async_trait]
impl Peering for Stranger {
    type ConnectStream = tokio_stream::adapters::Map<
        ReceiverStream<proto::Frame>,
        fn(proto::Frame) -> Result<proto::Frame, Status>,
    >;

    async fn connect(
        &self,
        request: Request<Streaming<proto::Frame>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let (out, frames) = mpsc::channel(8);
        self.calls.send((out, request.into_inner())).await.unwrap();
        Ok(Response::new(tokio_stream::StreamExt::map(
            ReceiverStream::new(frames),
            Ok,
        )))
    }
}

/// A server made of tonic's code; its calls come out of the receiver.
async fn stranger() -> (
    PeerUrl,
    mpsc::Receiver<(mpsc::Sender<proto::Frame>, Streaming<proto::Frame>)>,
) {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("grpc://{}", socket.local_addr().unwrap())
        .parse()
        .unwrap();
    let (calls, receiver) = mpsc::channel(8);
    let server = PeeringServer::new(Stranger { calls });
    tokio::spawn(
        tonic::transport::Server::builder()
            .serve_with_incoming(server, TcpListenerStream::new(socket)),
    );
    (address, receiver)
}

#[tokio::test]
async fn a_peer_made_of_generated_code_connects_to_us() {
    let node = endpoint("node");
    let mut inbox = node.subscribe(
        Filter::from_iter([Topic::from_static("/y")]),
        QueueOptions::local(),
    );
    let address = listening(&node).await;
    let (out, mut frames) = call(&address).await;
    out.send(hello(HIGH, (1, 4))).await.unwrap();
    let Content::Hello(theirs) = next(&mut frames).await else {
        panic!("not a hello")
    };
    assert_eq!((theirs.name.as_str(), theirs.min_version), ("node", 1));
    assert_eq!(theirs.filter, [Bytes::from_static(b"/y")]);
    // We have the bigger ID, so the node decides.
    assert_eq!(next(&mut frames).await, Content::Accept(proto::Accept {}));

    out.send(data(b"/y/1", 42u64, 1)).await.unwrap();
    assert_eq!(
        within(inbox.recv()).await.unwrap().data().unwrap(),
        &Data::from(42u64)
    );
    node.publish(Message::new(Topic::from_static("/x/1"), "answer"))
        .await
        .unwrap();
    let envelope = next_data(&node, &mut frames, &out).await;
    assert_eq!(
        (&envelope.topic[..], &envelope.payload),
        (&b"/x/1"[..], &Data::from("answer").to_bytes())
    );
    assert!(envelope.origin.is_empty() && envelope.sequence == 1);
    let peer = &node.peers()[0];
    assert_eq!(
        (peer.name.as_str(), peer.software.as_str(), peer.version),
        ("stranger", "another implementation", 1)
    );

    drop(out);
    assert!(
        within(frames.message())
            .await
            .unwrap()
            .is_none_or(|frame| frame.content.is_some())
    );
    within(node.shutdown()).await;
}

#[tokio::test]
async fn we_connect_to_a_peer_made_of_generated_code() {
    let (address, mut calls) = stranger().await;
    let node = endpoint("node");
    let connecting = tokio::spawn({
        let (node, address) = (node.clone(), address.clone());
        async move { node.connect(address).await }
    });
    let (out, mut frames) = within(calls.recv()).await.unwrap();
    assert!(matches!(next(&mut frames).await, Content::Hello(_)));
    out.send(hello(LOW, (1, 1))).await.unwrap();
    // We have the smaller ID, so we decide.
    out.send(frame(Content::Accept(proto::Accept {})))
        .await
        .unwrap();
    assert_eq!(within(connecting).await.unwrap().unwrap().as_bytes(), &LOW);
    node.publish(Message::new(Topic::from_static("/x"), 1u64))
        .await
        .unwrap();
    assert_eq!(
        next_data(&node, &mut frames, &out).await.payload,
        Data::from(1u64).to_bytes()
    );
    // Not our own doing: the node says goodbye, and we answer.
    let goodbye = node.clone();
    let answering = tokio::spawn(async move {
        let node = goodbye;
        while let Ok(Some(proto::Frame {
            content: Some(Content::Batch(batch)),
        })) = frames.message().await
        {
            for mut envelope in batch.envelopes {
                if envelope.kind() == proto::MessageKind::Ping {
                    envelope.set_kind(proto::MessageKind::Pong);
                    envelope.receiver = Bytes::copy_from_slice(node.id().as_bytes());
                    let pong = frame(Content::Batch(proto::Batch {
                        envelopes: vec![envelope],
                    }));
                    let _ = out.send(pong).await;
                }
            }
        }
    });
    assert!(within(node.unpeer(&address)).await);
    within(answering).await.unwrap();
    within(node.shutdown()).await;
}

#[tokio::test]
async fn a_version_mismatch_is_one_clear_line_where_we_listen() {
    let (log, _guard) = Log::capture();
    let node = endpoint("node");
    let address = listening(&node).await;
    let (out, mut frames) = call(&address).await;
    out.send(hello(HIGH, (7, 9))).await.unwrap();
    let Content::Reject(reject) = next(&mut frames).await else {
        panic!("not a reject")
    };
    assert_eq!(reject.code, 2);
    assert_eq!(
        reject.reason,
        "node speaks link protocol versions 1-1, you speak 7-9"
    );
    assert!(
        within(frames.message()).await.unwrap().is_none(),
        "the call ends after it"
    );
    within(node.shutdown()).await;
    let lines = log.lines_with("link protocol versions");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].contains("peer stranger speaks link protocol versions 7-9, we speak 1-1"),
        "{lines:?}"
    );
}

#[tokio::test]
async fn a_version_mismatch_is_one_clear_line_where_we_dial() {
    let (address, mut calls) = stranger().await;
    let node = endpoint("node");
    let connecting = tokio::spawn({
        let (node, address) = (node.clone(), address.clone());
        async move { node.connect(address).await }
    });
    let (out, mut frames) = within(calls.recv()).await.unwrap();
    let Content::Hello(_) = next(&mut frames).await else {
        panic!("not a hello")
    };
    out.send(hello(HIGH, (7, 9))).await.unwrap();
    let Content::Reject(reject) = next(&mut frames).await else {
        panic!("not a reject")
    };
    assert_eq!(
        (reject.code, reject.reason.as_str()),
        (2, "node speaks link protocol versions 1-1, you speak 7-9")
    );
    let error = within(connecting).await.unwrap().unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(
        cause,
        "peer stranger speaks link protocol versions 7-9, we speak 1-1"
    );
    within(node.shutdown()).await;
}

#[tokio::test]
async fn a_feature_we_lack_and_a_refusal_are_told() {
    let node = endpoint("node");
    let address = listening(&node).await;
    let (out, mut frames) = call(&address).await;
    let Some(Content::Hello(mut demanding)) = hello(HIGH, (1, 1)).content else {
        panic!("a hello")
    };
    demanding.required_features = vec!["telepathy".to_owned()];
    out.send(frame(Content::Hello(demanding))).await.unwrap();
    let Content::Reject(reject) = next(&mut frames).await else {
        panic!("not a reject")
    };
    assert_eq!(
        reject.reason,
        "node lacks feature \"telepathy\", which you require"
    );

    let (address, mut calls) = stranger().await;
    let connecting = tokio::spawn({
        let (node, address) = (node.clone(), address.clone());
        async move { node.connect(address).await }
    });
    let (out, mut frames) = within(calls.recv()).await.unwrap();
    let Content::Hello(_) = next(&mut frames).await else {
        panic!("not a hello")
    };
    let reject = proto::Reject {
        code: 28,
        reason: "closing\ntime".to_owned(),
    };
    out.send(frame(Content::Reject(reject))).await.unwrap();
    let error = within(connecting).await.unwrap().unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(cause, "refused by the peer: closing\u{fffd}time");
    within(node.shutdown()).await;
}
