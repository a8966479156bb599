//! Cycles through forwarding C++ nodes, played by relays that do with each frame what a C++ node does
//! (broker-wire reference, 2.3), the harmful part included.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use broker_core::{Data, Endpoint, EndpointId, Filter, Message, PeerUrl, QueueOptions, Topic};
use broker_wire::NativeTransport;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufWriter};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(10);
const TOPIC: &str = "/ring";
/// IDs of relays begin here; the endpoints of ours have smaller ones.
const RELAYS: u8 = 0xa0;

/// A forwarding node of one topic: passes every frame on to all other connections, as its own.
struct Relay {
    id: EndpointId,
    writers: Mutex<Vec<Way>>,
    /// Data frames that came in.
    data: AtomicU64,
    /// Frames that one relay has sent to another, and that have not been dealt with there: all relays share it.
    flying: Arc<AtomicI64>,
}

/// A connection of a relay.
struct Way {
    writer: BufWriter<OwnedWriteHalf>,
    to_relay: bool,
}

impl Relay {
    fn new(id: u8, flying: &Arc<AtomicI64>) -> Arc<Self> {
        Arc::new(Self {
            id: EndpointId::from_bytes([id; 16]),
            writers: Mutex::default(),
            data: AtomicU64::new(0),
            flying: Arc::clone(flying),
        })
    }

    /// Takes everybody in, with the bigger ID, for as long as the test runs.
    async fn listen(self: &Arc<Self>) -> PeerUrl {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let port = listener.local_addr().expect("bound").port();
        let relay = Arc::clone(self);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let relay = Arc::clone(&relay);
                tokio::spawn(async move {
                    let (mut reader, mut writer) = split(stream);
                    send(&mut writer, b"\x07ZEEK").await;
                    let hello = read(&mut reader).await.expect("a hello");
                    assert_eq!(hello[0], 6);
                    assert!(
                        hello[5..21] < relay.id.as_bytes()[..],
                        "the test gives relays the bigger IDs"
                    );
                    send(
                        &mut writer,
                        &[b"\x06ZEEK", &relay.id.as_bytes()[..], &[1, 1]].concat(),
                    )
                    .await;
                    assert_eq!(read(&mut reader).await.expect("a version")[0], 8);
                    assert_eq!(read(&mut reader).await.expect("a filter")[0], 10);
                    send(&mut writer, &[&[11], &filter().to_bytes()[..]].concat()).await;
                    assert_eq!(read(&mut reader).await.expect("an ack"), [12]);
                    let to_relay = hello[5] >= RELAYS;
                    relay.run(reader, writer, to_relay).await;
                });
            }
        });
        format!("broker://127.0.0.1:{port}").parse().expect("a URL")
    }

    /// Joins another relay, whose ID has to be the bigger one.
    async fn join(self: &Arc<Self>, url: &PeerUrl) {
        let stream = TcpStream::connect(url.authority(0))
            .await
            .expect("connected");
        let (mut reader, mut writer) = split(stream);
        send(
            &mut writer,
            &[b"\x06ZEEK", &self.id.as_bytes()[..], &[1, 1]].concat(),
        )
        .await;
        assert_eq!(read(&mut reader).await.expect("a probe")[0], 7);
        assert_eq!(read(&mut reader).await.expect("a hello")[0], 6);
        send(
            &mut writer,
            &[b"\x08ZEEK", &self.id.as_bytes()[..], &[1]].concat(),
        )
        .await;
        send(&mut writer, &[&[10], &filter().to_bytes()[..]].concat()).await;
        assert_eq!(read(&mut reader).await.expect("a filter")[0], 11);
        send(&mut writer, &[12]).await;
        let relay = Arc::clone(self);
        tokio::spawn(async move { relay.run(reader, writer, true).await });
    }

    async fn run(
        &self,
        mut reader: OwnedReadHalf,
        writer: BufWriter<OwnedWriteHalf>,
        to_relay: bool,
    ) {
        let mine = {
            let mut writers = self.writers.lock().await;
            writers.push(Way { writer, to_relay });
            writers.len() - 1
        };
        while let Some(frame) = read(&mut reader).await {
            self.handle(mine, frame).await;
            if to_relay {
                self.flying.fetch_sub(1, Ordering::SeqCst);
            }
        }
    }

    async fn handle(&self, mine: usize, mut frame: Vec<u8>) {
        let mut writers = self.writers.lock().await;
        match frame[32] {
            1 => {
                self.data.fetch_add(1, Ordering::SeqCst);
            }
            4 => {
                // Every ping is answered, whoever it is for.
                let mut pong = frame.clone();
                pong[..16].copy_from_slice(self.id.as_bytes());
                pong[16..32].copy_from_slice(&frame[..16]);
                pong[32] = 5;
                self.send(&mut writers[mine], &pong).await;
            }
            _ => {}
        }
        if frame[16..32] == [0; 16] {
            frame[..16].copy_from_slice(self.id.as_bytes());
            for (index, way) in writers.iter_mut().enumerate() {
                if index != mine {
                    self.send(way, &frame).await;
                }
            }
        }
    }

    async fn send(&self, way: &mut Way, frame: &[u8]) {
        if way.to_relay {
            self.flying.fetch_add(1, Ordering::SeqCst);
        }
        send(&mut way.writer, frame).await;
    }
}

fn split(stream: TcpStream) -> (OwnedReadHalf, BufWriter<OwnedWriteHalf>) {
    let (reader, writer) = stream.into_split();
    (reader, BufWriter::new(writer))
}

async fn send(writer: &mut BufWriter<OwnedWriteHalf>, payload: &[u8]) {
    // At the end of a test the other side may be gone.
    let _ = writer.write_u32(payload.len() as u32).await;
    let _ = writer.write_all(payload).await;
    let _ = writer.flush().await;
}

async fn read(reader: &mut OwnedReadHalf) -> Option<Vec<u8>> {
    let len = reader.read_u32().await.ok()?;
    let mut payload = vec![0; len as usize];
    reader.read_exact(&mut payload).await.ok()?;
    Some(payload)
}

fn filter() -> Filter {
    Filter::from(Topic::from_static(TOPIC))
}

/// A forwarding node of ours that wants the topic.
fn node(id: u8) -> Endpoint {
    let node = Endpoint::builder()
        .id(EndpointId::from_bytes([id; 16]))
        .transport(NativeTransport::new())
        .start();
    node.forward(&filter());
    node
}

/// Somebody who publishes and forwards nothing.
fn leaf() -> Endpoint {
    Endpoint::builder()
        .id(EndpointId::from_bytes([3; 16]))
        .transport(NativeTransport::new())
        .forwarding(false)
        .start()
}

/// Relays and endpoints of one test.
struct Network<'a> {
    relays: [&'a Arc<Relay>; 2],
    endpoints: Vec<&'a Endpoint>,
}

impl Network<'_> {
    /// Data frames each relay has seen.
    fn seen(&self) -> [u64; 2] {
        self.relays.map(|relay| relay.data.load(Ordering::SeqCst))
    }

    fn flying(&self) -> i64 {
        self.relays[0].flying.load(Ordering::SeqCst)
    }

    /// Waits until nothing is under way: no relay has a frame of another to deal with, and what endpoints and relays have
    /// sent each other has arrived, and gave rise to nothing more. Returns what the relays have seen.
    async fn quiet(&self) -> [u64; 2] {
        timeout(PATIENCE, async {
            loop {
                let before = self.seen();
                for _ in 0..2 {
                    for endpoint in &self.endpoints {
                        assert!(endpoint.settled(PATIENCE).await);
                    }
                }
                if self.flying() == 0 && self.seen() == before {
                    return before;
                }
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("messages circulate")
    }
}

async fn publish(leaf: &Endpoint, number: u64) {
    let message = Message::new(Topic::from_static("/ring/x"), Data::from(number));
    leaf.publish(message).await.expect("published");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ring_of_one_node_of_ours_and_two_cpp_relays_comes_to_rest() {
    let flying = Arc::default();
    let (a, b) = (Relay::new(RELAYS, &flying), Relay::new(RELAYS + 1, &flying));
    let (at_a, at_b) = (a.listen().await, b.listen().await);
    a.join(&at_b).await;
    let (node, leaf) = (node(1), leaf());
    let mut inbox = node.subscribe(filter(), QueueOptions::local());
    node.connect(at_a.clone()).await.expect("peers");
    node.connect(at_b).await.expect("peers");
    // A leaf behind one of the relays publishes: what it says must reach us, and then die.
    leaf.connect(at_a).await.expect("peers");
    let network = Network {
        relays: [&a, &b],
        endpoints: vec![&leaf, &node],
    };
    for round in 0..5 {
        publish(&leaf, round).await;
        let message = timeout(PATIENCE, inbox.recv())
            .await
            .expect("in time")
            .expect("open");
        assert_eq!(message.data().expect("sound"), &Data::from(round));
        network.quiet().await;
        while inbox.try_recv().is_some() {}
    }
    let before = network.quiet().await;
    for number in 0..100 {
        publish(&leaf, number).await;
    }
    // Each message passes each relay once: nothing comes back through us.
    assert_eq!(network.quiet().await, before.map(|count| count + 100));
    leaf.shutdown().await;
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_nodes_of_ours_in_one_ring_one_keeps_forwarding() {
    // ours, relay, ours, relay: the ring must be opened once and not twice.
    let flying = Arc::default();
    let (a, b) = (Relay::new(RELAYS, &flying), Relay::new(RELAYS + 1, &flying));
    let (at_a, at_b) = (a.listen().await, b.listen().await);
    let (nodes, leaf) = ([node(1), node(2)], leaf());
    for node in &nodes {
        node.connect(at_a.clone()).await.expect("peers");
        node.connect(at_b.clone()).await.expect("peers");
    }
    leaf.connect(at_a).await.expect("peers");
    let network = Network {
        relays: [&a, &b],
        endpoints: vec![&leaf, &nodes[0], &nodes[1]],
    };
    for number in 0..5 {
        publish(&leaf, number).await;
        network.quiet().await;
    }
    let before = network.quiet().await;
    for number in 0..100 {
        publish(&leaf, number).await;
    }
    // Each relay gets each message, and gets it once.
    assert_eq!(network.quiet().await, before.map(|count| count + 100));
    leaf.shutdown().await;
    for node in nodes {
        node.shutdown().await;
    }
}
