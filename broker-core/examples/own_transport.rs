//! A transport of one's own: peerings over a pair of in-memory pipes, in one file.
//!
//! A transport turns an address into connections. Core does the rest: handshake, filters, routing,
//! heartbeats, retry. Run it with `cargo run -p broker-core --example own_transport`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use broker_core::handshake::{HandshakeError, HandshakeFrame, HandshakeIo, Side, negotiate};
use broker_core::{
    BoxFuture, ConnectError, Connection, Data, Endpoint, Envelope, Filter, LinkError, LinkSink,
    LinkSource, LinkTraits, ListenError, LocalNode, Message, PeerUrl, QueueOptions, Topic,
    Transport,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// What travels through a pipe.
enum Frame {
    Handshake(HandshakeFrame),
    Envelopes(Vec<Envelope>),
}

/// One end of a pair of pipes.
struct Pipe {
    write: mpsc::Sender<Frame>,
    read: mpsc::Receiver<Frame>,
}

impl HandshakeIo for Pipe {
    async fn send(&mut self, frame: HandshakeFrame) -> Result<(), HandshakeError> {
        self.write
            .send(Frame::Handshake(frame))
            .await
            .map_err(|_| broken())
    }

    async fn recv(&mut self) -> Result<HandshakeFrame, HandshakeError> {
        match self.read.recv().await {
            Some(Frame::Handshake(frame)) => Ok(frame),
            _ => Err(broken()),
        }
    }
}

fn broken() -> HandshakeError {
    HandshakeError::Disconnected {
        reason: "the pipe broke".to_owned(),
    }
}

struct Outgoing(mpsc::Sender<Frame>);

impl LinkSink for Outgoing {
    fn send<'a>(
        &'a mut self,
        batch: &'a mut Vec<Envelope>,
    ) -> BoxFuture<'a, Result<(), LinkError>> {
        Box::pin(async move {
            let frame = Frame::Envelopes(std::mem::take(batch));
            self.0.send(frame).await.map_err(|_| LinkError::Lost {
                reason: "the pipe broke".to_owned(),
            })
        })
    }

    fn close(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

struct Incoming(mpsc::Receiver<Frame>);

impl LinkSource for Incoming {
    fn recv<'a>(
        &'a mut self,
        batch: &'a mut Vec<Envelope>,
    ) -> BoxFuture<'a, Result<bool, LinkError>> {
        Box::pin(async move {
            let Some(Frame::Envelopes(envelopes)) = self.0.recv().await else {
                return Ok(false);
            };
            batch.extend(envelopes);
            Ok(true)
        })
    }
}

/// The transport of `pipe://name`: the names somebody listens on.
#[derive(Clone, Default)]
struct Pipes(Arc<Mutex<HashMap<String, mpsc::Sender<Pipe>>>>);

impl Pipes {
    async fn establish(
        mut pipe: Pipe,
        side: Side,
        url: PeerUrl,
        local: &LocalNode,
    ) -> Result<Connection, HandshakeError> {
        let agreed = negotiate(side, local, &mut pipe).await?;
        Ok(Connection {
            peer: agreed.peer,
            admission: agreed.admission,
            announced: agreed.announced,
            url,
            inbound: side == Side::Acceptor,
            sink: Box::new(Outgoing(pipe.write)),
            source: Box::new(Incoming(pipe.read)),
            traits: LinkTraits::default(),
        })
    }
}

impl Transport for Pipes {
    fn schemes(&self) -> &'static [&'static str] {
        &["pipe"]
    }

    fn connect<'a>(
        &'a self,
        url: &'a PeerUrl,
        local: &'a LocalNode,
    ) -> BoxFuture<'a, Result<Connection, ConnectError>> {
        Box::pin(async move {
            let unreachable = || ConnectError::Unreachable {
                url: url.clone(),
                reason: "nobody listens there".to_owned(),
            };
            let names = self
                .0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            let ((our_write, their_read), (their_write, our_read)) =
                (mpsc::channel(4), mpsc::channel(4));
            let theirs = Pipe {
                write: their_write,
                read: their_read,
            };
            names
                .get(url.host())
                .ok_or_else(unreachable)?
                .send(theirs)
                .await
                .map_err(|_| unreachable())?;
            let ours = Pipe {
                write: our_write,
                read: our_read,
            };
            Self::establish(ours, Side::Connector, url.clone(), local)
                .await
                .map_err(|source| ConnectError::Handshake {
                    url: url.clone(),
                    source,
                })
        })
    }

    fn listen<'a>(
        &'a self,
        url: &'a PeerUrl,
        local: LocalNode,
        shutdown: CancellationToken,
    ) -> BoxFuture<'a, Result<PeerUrl, ListenError>> {
        let (sender, mut incoming) = mpsc::channel(4);
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(url.host().to_owned(), sender);
        let bound = url.clone();
        local.clone().spawn(async move {
            while let Some(Some(pipe)) = shutdown.run_until_cancelled(incoming.recv()).await {
                match Self::establish(pipe, Side::Acceptor, bound.clone(), &local).await {
                    Ok(connection) => drop(local.attach(connection)),
                    Err(error) => eprintln!("refused: {error}"),
                }
            }
        });
        Box::pin(std::future::ready(Ok(url.clone())))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pipes = Pipes::default();
    let server = Endpoint::builder()
        .name("server")
        .transport(pipes.clone())
        .start();
    let client = Endpoint::builder().name("client").transport(pipes).start();

    let mut inbox = server.subscribe(
        Filter::from_iter([Topic::from_static("/greetings")]),
        QueueOptions::local(),
    );
    server.listen(&"pipe://server".parse()?).await?;
    client.connect("pipe://server".parse()?).await?;

    client
        .publish(Message::new(
            Topic::from_static("/greetings"),
            Data::from("hello through a pipe"),
        ))
        .await?;
    let message = inbox.recv().await.ok_or("the endpoint has gone")?;
    println!("{} {}", message.topic(), message.data()?);

    client.shutdown().await;
    server.shutdown().await;
    Ok(())
}
