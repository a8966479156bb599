//! Recorded store sessions between C++ nodes, replayed over a socket against an endpoint of ours in either role: the test
//! plays the other node with its recorded bytes, and every frame of ours is compared whole, header included.
//!
//! Acknowledgements and keepalives are paced by the clock, so only what they say is checked; their times are in the
//! replay of the state machines (broker-store, `golden_stores`).
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "../../broker-store/tests/golden_stores/calls.rs"]
mod calls;
#[path = "../../broker-store/tests/golden_stores/recording.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod recording;

use std::time::Duration;

use broker_core::{Data, Endpoint, EndpointId, EntityId, PeerUrl, StoreOperation, StoreReply};
use broker_store::command::{Command, Content};
use broker_store::{
    Backend, CloneOptions, FEATURE, MasterOptions, Memory, Sqlite, SqliteOptions, Store,
    StoreError, StoreExt,
};
use broker_wire::NativeTransport;
use bytes::{Bytes, BytesMut};
use recording::{Line, Recorded, Recording, Side};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(20);
const HEADER: usize = 4 + 37;

/// The node that was recorded, as far as it speaks.
struct Script {
    stream: TcpStream,
}

impl Script {
    async fn send(&mut self, frame: &[u8]) {
        self.stream.write_all(frame).await.unwrap();
    }

    async fn read(&mut self) -> Bytes {
        let read = async {
            let length = self.stream.read_u32().await.unwrap();
            let mut frame = length.to_be_bytes().to_vec();
            frame.resize(4 + length as usize, 0);
            self.stream.read_exact(&mut frame[4..]).await.unwrap();
            Bytes::from(frame)
        };
        timeout(LIMIT, read).await.expect("a frame in time")
    }

    async fn read_tag(&mut self, tag: u8) {
        while self.read().await[4] != tag {}
    }

    /// Says the recorded words of `side` up to the end of the handshake, each when its cue has come.
    async fn shake_hands(&mut self, recording: &Recording, side: Side) {
        let words = recording.lines.iter().filter_map(|line| match line {
            Line::Other(from, frame) if *from == side && frame[4] <= 0x0c => Some(frame),
            _ => None,
        });
        let mut answers = false;
        for word in words {
            match (word[4], side) {
                (HELLO, Side::Master) | (VERSION_SELECT, _) => self.read_tag(HELLO).await,
                (RESPONDER_SYN_ACK, _) => {
                    self.read_tag(ORIGINATOR_SYN).await;
                    answers = true;
                }
                (ORIGINATOR_ACK, _) => self.read_tag(RESPONDER_SYN_ACK).await,
                _ => {}
            }
            self.send(word).await;
        }
        if answers {
            self.read_tag(ORIGINATOR_ACK).await;
        }
    }

    /// The next command of ours whose time does not depend on the clock, as frame and command. `acknowledged` is whether
    /// the first acknowledgement, which comes at once, has come.
    async fn next_command(&mut self, acknowledged: &mut bool) -> (Bytes, Command) {
        loop {
            let frame = self.read().await;
            if frame[36] != COMMAND {
                continue;
            }
            let topic_end = HEADER + usize::from(u16::from_be_bytes([frame[39], frame[40]]));
            let command = Command::decode(&frame[topic_end..]).unwrap();
            match command.content {
                Content::CumulativeAck { .. } if !std::mem::replace(acknowledged, true) => {}
                Content::CumulativeAck { .. } | Content::Keepalive { .. } => {
                    assert_eq!(command.seq, 0);
                    continue;
                }
                // A search that crossed the answer.
                Content::Nack { .. } if *acknowledged => continue,
                _ => {}
            }
            return (frame, command);
        }
    }
}

/// Whether the clock decides when a recorded command comes.
fn is_timed(recorded: &Recorded, acknowledged: bool) -> bool {
    match recorded.command.content {
        Content::Keepalive { .. } => true,
        Content::CumulativeAck { .. } => acknowledged,
        _ => false,
    }
}

/// `recorded` with another command, as a frame.
fn with_command(recorded: &Recorded, command: &Command) -> Bytes {
    let head = recorded.frame.len() - recorded.payload.len();
    let payload = command.encode();
    let mut frame = BytesMut::from(&recorded.frame[..head]);
    frame.extend_from_slice(&payload);
    let length = u32::try_from(frame.len() - 4).unwrap();
    frame[..4].copy_from_slice(&length.to_be_bytes());
    frame.freeze()
}

/// Our node under the recorded ID, speaking the version that C++ speaks.
fn node(id: EndpointId) -> Endpoint {
    Endpoint::builder()
        .id(id)
        .feature(FEATURE)
        .transport(NativeTransport::new().versions(1, 1))
        .start()
}

// --- our master --------------------------------------------------------------------------------------

/// What was called at the master just before the frame of this number.
type Calls = Vec<(u32, StoreOperation)>;

async fn our_master(name: &'static str, backend: impl Backend, calls: Calls) {
    let recording = Recording::read(name);
    let first = recording.first_of(Side::Master);
    let id = first.command.sender;
    let node = node(id.endpoint);
    // Other masters have the object numbers before.
    for n in 1..id.object {
        let other = format!("other-{n}");
        node.attach_master(&other, Memory::new(), MasterOptions::default())
            .await
            .unwrap();
    }
    let store = node
        .attach_master("golden", backend, MasterOptions::default())
        .await
        .unwrap();
    let Content::AckClone { snapshot, .. } = &first.command.content else {
        panic!("the master's first word is the snapshot")
    };
    for (key, value) in snapshot.clone() {
        store.put(key, value, None).await.unwrap();
    }
    let url = node
        .listen(&"broker://127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let stream = TcpStream::connect((url.host(), url.port().unwrap()))
        .await
        .unwrap();
    let mut script = Script { stream };
    script.shake_hands(&recording, Side::Clone).await;

    let mut calls = calls.into_iter().peekable();
    let (mut acknowledged, mut theirs_acknowledged) = (false, false);
    let (mut our_expired, mut their_expired) = (Vec::new(), Vec::new());
    for line in &recording.lines {
        let recorded = match line {
            Line::Note(note) if note == "end" => break,
            Line::Note(_) => continue,
            Line::Other(from, frame) => {
                if *from == Side::Clone && is_filter(frame) {
                    script.send(frame).await;
                }
                continue;
            }
            Line::Command(recorded) => recorded,
        };
        while let Some((_, operation)) = calls.next_if(|(frame, _)| *frame <= recorded.number) {
            store.execute(operation).await.unwrap();
        }
        let context = format!("{name}, frame {}", recorded.number);
        if recorded.from == Side::Clone {
            script.send(&without_difference(recorded)).await;
            continue;
        }
        if is_timed(recorded, theirs_acknowledged) {
            continue;
        }
        let (frame, ours) = script.next_command(&mut acknowledged).await;
        let mut theirs = recorded.command.clone();
        match (&ours.content, &mut theirs.content) {
            (Content::CumulativeAck { .. }, _) => theirs_acknowledged = true,
            // Keys in the order of a hash table in C++: those of a snapshot, and those that expire together.
            (Content::AckClone { snapshot: ours, .. }, Content::AckClone { snapshot, .. }) => {
                let sorted = |pairs: &[(Data, Data)]| {
                    let mut pairs = pairs.to_vec();
                    pairs.sort();
                    pairs
                };
                assert_eq!(sorted(ours), sorted(snapshot));
                snapshot.clone_from(ours);
            }
            (Content::Expire { key: our_key, .. }, Content::Expire { key, .. }) => {
                our_expired.push(our_key.clone());
                their_expired.push(key.clone());
                key.clone_from(our_key);
            }
            // Our callers need no entities of their own.
            (
                Content::PutUniqueResult {
                    who: our_who,
                    request: our_request,
                    ..
                },
                Content::PutUniqueResult { who, request, .. },
            ) if who.endpoint == id.endpoint => {
                assert_eq!(our_who.endpoint, id.endpoint);
                (*who, *request) = (*our_who, *our_request);
            }
            _ => {}
        }
        assert_eq!(ours, theirs, "{context}");
        assert_eq!(frame, with_command(recorded, &theirs), "{context}");
    }
    our_expired.sort();
    their_expired.sort();
    assert_eq!(our_expired, their_expired);
    assert!(calls.next().is_none() && store.is_empty());
    drop(script);
    node.shutdown().await;
}

/// Our master keeps the expiry of `e3` when an add brings none, and C++ does not; so here the add brings one.
fn without_difference(recorded: &Recorded) -> Bytes {
    let mut command = recorded.command.clone();
    match &mut command.content {
        Content::Add {
            key,
            expiry: expiry @ None,
            ..
        } if *key == "e3".into() => {
            *expiry = Some(broker_core::Timespan::from_secs(3600));
            with_command(recorded, &command)
        }
        _ => recorded.frame.clone(),
    }
}

fn is_filter(frame: &[u8]) -> bool {
    frame.len() > HEADER && frame[36] == ROUTING_UPDATE
}

fn put(key: &str, value: impl Into<Data>, expiry: Option<Duration>) -> StoreOperation {
    StoreOperation::Put {
        key: key.into(),
        value: value.into(),
        expiry,
    }
}

#[tokio::test]
async fn a_recorded_clone_of_cpp_follows_our_endpoint() {
    let calls = vec![(17, put("k1", "v1", None))];
    our_master("store-memory", Memory::new(), calls).await;
}

#[tokio::test]
async fn a_recorded_clone_of_cpp_follows_our_endpoint_over_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let options = SqliteOptions::new(dir.path().join("golden.sqlite"));
    let calls = vec![(17, put("k1", "v1", None))];
    our_master("store-sqlite", Sqlite::open(&options).unwrap(), calls).await;
}

#[tokio::test]
async fn a_recorded_clone_of_zeek_follows_our_endpoint() {
    // Those of one moment are made in one go, before the first of them expires.
    let calls = vec![
        (266, put("from-master", Data::vector([1u64, 2]), None)),
        (
            266,
            StoreOperation::Increment {
                key: "cnt".into(),
                amount: 1u64.into(),
                expiry: None,
            },
        ),
        (266, put("m-exp", 1u64, Some(Duration::from_secs(1)))),
        (266, StoreOperation::Erase("pre".into())),
        (266, StoreOperation::Erase("missing".into())),
        (
            294,
            StoreOperation::PutUnique {
                key: "cnt".into(),
                value: 2u64.into(),
                expiry: None,
            },
        ),
        (333, StoreOperation::Clear),
    ];
    our_master("zeek-stores", Memory::new(), calls).await;
}

// --- our clone ---------------------------------------------------------------------------------------

/// A write begun at our clone, by the frame that it is to send.
type Begun = (u32, tokio::task::JoinHandle<Result<StoreReply, StoreError>>);

async fn our_clone(name: &'static str, failed: &[u32]) {
    let recording = Recording::read(name);
    let id = recording.first_of(Side::Clone).command.sender;
    let node = node(id.endpoint);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: PeerUrl = format!("broker://{}", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    let accept = async {
        let (stream, _) = listener.accept().await.unwrap();
        let mut script = Script { stream };
        script.shake_hands(&recording, Side::Master).await;
        script
    };
    let (connected, mut script) = tokio::join!(node.connect(url), accept);
    assert_eq!(
        connected.unwrap(),
        recording.first_of(Side::Master).command.sender.endpoint
    );
    // Other clones have the object numbers before.
    for n in 1..id.object {
        node.attach_clone(&format!("other-{n}"), CloneOptions::default())
            .await
            .unwrap();
    }
    let store = node
        .attach_clone("golden", CloneOptions::default())
        .await
        .unwrap();

    let mut acknowledged = false;
    let mut theirs_acknowledged = false;
    let mut begun: Vec<Begun> = Vec::new();
    // Under what our put_unique requests are asked for, and theirs.
    let mut requests: Vec<[(EntityId, u64); 2]> = Vec::new();
    for line in &recording.lines {
        let recorded = match line {
            Line::Note(note) if note == "end" => break,
            Line::Note(_) | Line::Other(..) => continue,
            Line::Command(recorded) => recorded,
        };
        let mut theirs = recorded.command.clone();
        if recorded.from == Side::Master {
            if let Content::PutUniqueResult { who, request, .. } = &mut theirs.content
                && let Some([ours, _]) = requests.iter().find(|[_, t]| *t == (*who, *request))
            {
                (*who, *request) = *ours;
            }
            script.send(&with_command(recorded, &theirs)).await;
            continue;
        }
        if is_timed(recorded, theirs_acknowledged) {
            continue;
        }
        if theirs.seq > 0 {
            let (store, operation) = (store.clone(), calls::behind(&theirs.content));
            let write = tokio::spawn(async move { store.execute(operation).await });
            begun.push((recorded.number, write));
        }
        let context = format!("{name}, frame {}", recorded.number);
        let (frame, ours) = script.next_command(&mut acknowledged).await;
        match (&ours.content, &mut theirs.content) {
            (Content::CumulativeAck { .. }, _) => theirs_acknowledged = true,
            (
                Content::PutUnique {
                    who: our_who,
                    request: our_request,
                    ..
                },
                Content::PutUnique { who, request, .. },
            ) => {
                requests.push([(*our_who, *our_request), (*who, *request)]);
                (*who, *request) = (*our_who, *our_request);
            }
            _ => {}
        }
        assert_eq!(ours, theirs, "{context}");
        assert_eq!(frame, with_command(recorded, &theirs), "{context}");
    }
    for (number, write) in begun {
        let answer = timeout(LIMIT, write).await.expect("in time").unwrap();
        if failed.contains(&number) {
            assert_eq!(answer, Err(StoreError::NotEchoed), "{name}, frame {number}");
        } else {
            assert!(answer.is_ok(), "{name}, frame {number}: {answer:?}");
        }
    }
    assert_content_is_gone(&store).await;
    drop(script);
    node.shutdown().await;
}

/// Both sessions end with a clear.
async fn assert_content_is_gone(store: &Store) {
    assert_eq!(store.keys().await.unwrap().len(), 0);
}

#[tokio::test]
async fn our_endpoint_follows_recorded_masters_of_cpp() {
    our_clone("store-memory", &[46, 48, 79]).await;
    our_clone("store-sqlite", &[46, 48, 80]).await;
}

#[tokio::test]
async fn our_endpoint_follows_a_recorded_master_of_zeek() {
    let failed: Vec<u32> = (192..=202).filter(|n| ![199, 201].contains(n)).collect();
    our_clone("zeek-stores", &failed).await;
}

const HELLO: u8 = 0x06;
const VERSION_SELECT: u8 = 0x08;
const ORIGINATOR_SYN: u8 = 0x0a;
const RESPONDER_SYN_ACK: u8 = 0x0b;
const ORIGINATOR_ACK: u8 = 0x0c;
const COMMAND: u8 = 2;
const ROUTING_UPDATE: u8 = 3;
