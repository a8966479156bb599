//! A publisher and a subscriber that meet over `grpc://`, in one file: two endpoints that are peers, and a
//! client that only talks to one of them.
//!
//! Run it with `cargo run -p broker-wire --example pubsub`.

use broker_core::{Data, Endpoint, Filter, Message, QueueOptions, Topic};
use broker_wire::{BrokerClient, GrpcTransport};

const TOPIC: Topic = Topic::from_static("/hosts/new");

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A node that listens; port 0 asks for any free one.
    let sensor = Endpoint::builder()
        .name("sensor")
        .transport(GrpcTransport::new())
        .start();
    let address = sensor.listen(&"grpc://127.0.0.1:0".parse()?).await?;
    println!("sensor listens on {address}");

    // A second node that connects to it. Its subscription travels in the handshake.
    let reader = Endpoint::builder()
        .name("reader")
        .transport(GrpcTransport::new())
        .start();
    let mut inbox = reader.subscribe(Filter::from_iter([TOPIC]), QueueOptions::local());
    reader.connect(address.clone()).await?;

    // A client of the sensor, which is no node: tools and other languages connect this way.
    let client = BrokerClient::connect(&address).await?;
    let mut stream = client.subscribe(&Filter::from_iter([TOPIC])).await?;

    for host in ["192.0.2.7", "192.0.2.8"] {
        let reached = sensor
            .publish(Message::new(TOPIC, Data::from(host)))
            .await?;
        println!(
            "published {host} to {} peer and {} client",
            reached.peers, reached.locals
        );
    }
    for _ in 0..2 {
        let message = inbox.recv().await.ok_or("the reader has shut down")?;
        println!("reader: {} {}", message.topic(), message.data()?);
        let message = stream.recv().await?.ok_or("the sensor has shut down")?;
        println!("client: {} {}", message.topic(), message.data()?);
    }

    reader.shutdown().await;
    sensor.shutdown().await;
    Ok(())
}
