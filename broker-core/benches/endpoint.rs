//! Messages per second from one endpoint to another over `mem://`: everything but a network.
//!
//! `cargo bench -p broker-core --bench endpoint`. Each message is encoded and published anew; the receiver visits
//! every value.

use std::time::{Duration, Instant};

use broker_core::{
    Data, Endpoint, Filter, MemNetwork, MemTransport, QueueOptions, Topic, Visitor, zeek,
};

/// Counts the numbers and the bytes it is shown.
#[derive(Default)]
struct Touch(u64);

impl Visitor for Touch {
    fn integer(&mut self, value: i64) {
        self.0 = self.0.wrapping_add(value.unsigned_abs());
    }

    fn string(&mut self, value: &[u8]) {
        self.0 = value
            .iter()
            .fold(self.0, |sum, byte| sum.wrapping_add(u64::from(*byte)));
    }
}

const ROUND: usize = 100_000;
const TIME: Duration = Duration::from_secs(3);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let network = MemNetwork::new();
        let receiver = Endpoint::builder().transport(MemTransport::new(&network)).start();
        let sender = Endpoint::builder()
            .transport(MemTransport::new(&network))
            .peer_queue(QueueOptions::local())
            .start();
        let topic = Topic::from_static("/bench");
        let mut inbox = receiver.subscribe(Filter::from_iter([topic.clone()]), QueueOptions::local());
        receiver.listen(&"mem://receiver".parse()?).await?;
        sender.connect("mem://receiver".parse()?).await?;
        let event = zeek::Message::Event(zeek::Event::new("event_1", vec![Data::Integer(42), Data::from("test")]));
        let data = event.to_data();
        let publishing = tokio::spawn(async move {
            let mut publisher = sender.publisher();
            let mut sent = 0_u64;
            let start = Instant::now();
            while start.elapsed() < TIME {
                for _ in 0..ROUND {
                    if publisher.publish(&topic, &data).await.is_err() {
                        break;
                    }
                }
                sent += ROUND as u64;
            }
            sender.shutdown().await;
            sent
        });
        let start = Instant::now();
        let (mut received, mut touch, mut batch) = (0_u64, Touch::default(), Vec::new());
        let mut statuses = receiver.statuses();
        loop {
            tokio::select! {
                biased;
                taken = inbox.recv_many(&mut batch, 512) => {
                    received += taken as u64;
                    for message in batch.drain(..) {
                        message.view()?.visit(&mut touch);
                    }
                }
                event = statuses.recv() => {
                    if event.is_none_or(|event| event.code == broker_core::StatusEventCode::PeerLost) {
                        break;
                    }
                }
            }
        }
        let seconds = start.elapsed().as_secs_f64();
        let sent = publishing.await?;
        println!("sent {sent}, received {received}, {:.0} messages/s (checksum {})", received as f64 / seconds, touch.0);
        Ok(())
    })
}
