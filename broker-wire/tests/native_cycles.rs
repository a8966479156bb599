//! Cycles through forwarding C++ nodes, played by relays that do with each frame what a C++ node does
//! (broker-wire reference, 2.3), the harmful part included.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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

/// A forwarding node of one topic: passes every frame on to all other connections, as its own.
struct Relay {
    id: EndpointId,
    writers: Mutex<Vec<BufWriter<OwnedWriteHalf>>>,
    /// Data frames that came in.
    data: AtomicU64,
}

impl Relay {
    fn new(id: u8) -> Arc<Self> {
        Arc::new(Self {
            id: EndpointId::from_bytes([id; 16]),
            writers: Mutex::default(),
            data: AtomicU64::new(0),
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
                    relay.run(reader, writer).await;
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
        tokio::spawn(async move { relay.run(reader, writer).await });
    }

    async fn run(&self, mut reader: OwnedReadHalf, writer: BufWriter<OwnedWriteHalf>) {
        let mine = {
            let mut writers = self.writers.lock().await;
            writers.push(writer);
            writers.len() - 1
        };
        while let Some(mut frame) = read(&mut reader).await {
            let receiver: [u8; 16] = frame[16..32].try_into().expect("a header");
            let kind = frame[32];
            if kind == 1 {
                self.data.fetch_add(1, Ordering::Relaxed);
            }
            let mut writers = self.writers.lock().await;
            if kind == 4 {
                // Every ping is answered, whoever it is for.
                let mut pong = frame.clone();
                pong[..16].copy_from_slice(self.id.as_bytes());
                pong[16..32].copy_from_slice(&frame[..16]);
                pong[32] = 5;
                send(&mut writers[mine], &pong).await;
            }
            if receiver != [0; 16] {
                continue;
            }
            frame[..16].copy_from_slice(self.id.as_bytes());
            for (index, writer) in writers.iter_mut().enumerate() {
                if index != mine {
                    send(writer, &frame).await;
                }
            }
        }
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

/// Waits until the relays have been quiet for a while, and returns how much data they have seen.
async fn quiet(relays: &[&Arc<Relay>]) -> u64 {
    let total = || {
        relays
            .iter()
            .map(|relay| relay.data.load(Ordering::Relaxed))
            .sum::<u64>()
    };
    timeout(PATIENCE, async {
        loop {
            let before = total();
            tokio::time::sleep(Duration::from_millis(300)).await;
            if total() == before {
                return before;
            }
        }
    })
    .await
    .expect("messages circulate")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ring_of_one_node_of_ours_and_two_cpp_relays_comes_to_rest() {
    let (a, b) = (Relay::new(0xa0), Relay::new(0xb0));
    let (at_a, at_b) = (a.listen().await, b.listen().await);
    a.join(&at_b).await;
    let node = node(1);
    let mut inbox = node.subscribe(filter(), QueueOptions::local());
    node.connect(at_a.clone()).await.expect("peers");
    node.connect(at_b).await.expect("peers");

    // A leaf behind one of the relays publishes: what it says must reach us, and then die.
    let leaf = Endpoint::builder()
        .id(EndpointId::from_bytes([2; 16]))
        .transport(NativeTransport::new())
        .start();
    leaf.connect(at_a).await.expect("peers");
    for round in 0..5u64 {
        leaf.publish(Message::new(
            Topic::from_static("/ring/x"),
            Data::from(round),
        ))
        .await
        .expect("published");
        let message = timeout(PATIENCE, inbox.recv())
            .await
            .expect("in time")
            .expect("open");
        assert_eq!(message.data().expect("sound"), &Data::from(round));
        quiet(&[&a, &b]).await;
        while inbox.try_recv().is_some() {}
    }
    let before = quiet(&[&a, &b]).await;
    for number in 0..100u64 {
        leaf.publish(Message::new(
            Topic::from_static("/ring/x"),
            Data::from(number),
        ))
        .await
        .expect("published");
    }
    // Each message passes each relay once: nothing comes back through us.
    assert_eq!(quiet(&[&a, &b]).await - before, 200);
    leaf.shutdown().await;
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_nodes_of_ours_in_one_ring_one_keeps_forwarding() {
    // ours, relay, ours, relay: the ring must be opened once and not twice.
    let (a, b) = (Relay::new(0xa0), Relay::new(0xb0));
    let (at_a, at_b) = (a.listen().await, b.listen().await);
    let nodes = [node(1), node(2)];
    for node in &nodes {
        node.connect(at_a.clone()).await.expect("peers");
        node.connect(at_b.clone()).await.expect("peers");
    }
    let leaf = Endpoint::builder()
        .id(EndpointId::from_bytes([3; 16]))
        .transport(NativeTransport::new())
        .start();
    leaf.connect(at_a).await.expect("peers");
    for number in 0..5u64 {
        leaf.publish(Message::new(
            Topic::from_static("/ring/x"),
            Data::from(number),
        ))
        .await
        .expect("published");
        quiet(&[&a, &b]).await;
    }
    let before = (
        a.data.load(Ordering::Relaxed),
        b.data.load(Ordering::Relaxed),
    );
    for number in 0..100u64 {
        leaf.publish(Message::new(
            Topic::from_static("/ring/x"),
            Data::from(number),
        ))
        .await
        .expect("published");
    }
    quiet(&[&a, &b]).await;
    let after = (
        a.data.load(Ordering::Relaxed),
        b.data.load(Ordering::Relaxed),
    );
    assert_eq!(
        (after.0 - before.0, after.1 - before.1),
        (100, 100),
        "each relay gets each message once"
    );
    leaf.shutdown().await;
    for node in nodes {
        node.shutdown().await;
    }
}
