//! `mem://name`: peerings between endpoints of one process, without sockets.
//!
//! For tests and embedding. Endpoints that share a [`MemNetwork`] reach each other by the name one of
//! them listens on. Batches travel through bounded channels, so that back-pressure works as on a network.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::endpoint::LocalNode;
use crate::envelope::Envelope;
use crate::handshake::{HandshakeError, HandshakeFrame, HandshakeIo, Negotiated, Side, negotiate};
use crate::transport::{
    BoxFuture, ConnectError, Connection, LinkError, LinkSink, LinkSource, LinkTraits, ListenError,
    Transport,
};
use crate::url::PeerUrl;

/// Frames on their way in one direction.
const IN_FLIGHT: usize = 4;
/// Connections that wait to be accepted at one name.
const BACKLOG: usize = 16;

/// A set of names endpoints of one process can listen on.
#[derive(Clone, Default)]
pub struct MemNetwork {
    listeners: Arc<Mutex<HashMap<String, mpsc::Sender<Wire>>>>,
}

impl MemNetwork {
    /// An empty network.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn listeners(&self) -> std::sync::MutexGuard<'_, HashMap<String, mpsc::Sender<Wire>>> {
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MemNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names: Vec<_> = self.listeners().keys().cloned().collect();
        names.sort();
        f.debug_struct("MemNetwork")
            .field("listeners", &names)
            .finish()
    }
}

/// The transport of `mem://` addresses on one [`MemNetwork`].
#[derive(Clone, Debug)]
pub struct MemTransport {
    network: MemNetwork,
}

impl MemTransport {
    /// A transport on `network`.
    #[must_use]
    pub fn new(network: &MemNetwork) -> Self {
        Self {
            network: network.clone(),
        }
    }
}

enum MemFrame {
    Handshake(HandshakeFrame),
    Batch(Vec<Envelope>),
}

/// One end of a connection.
struct Wire {
    out: mpsc::Sender<MemFrame>,
    inbox: mpsc::Receiver<MemFrame>,
}

fn wires() -> (Wire, Wire) {
    let (left_out, right_in) = mpsc::channel(IN_FLIGHT);
    let (right_out, left_in) = mpsc::channel(IN_FLIGHT);
    (
        Wire {
            out: left_out,
            inbox: left_in,
        },
        Wire {
            out: right_out,
            inbox: right_in,
        },
    )
}

impl Wire {
    fn into_connection(self, negotiated: Negotiated, url: PeerUrl, inbound: bool) -> Connection {
        let Negotiated {
            peer,
            admission,
            announced,
        } = negotiated;
        let (sink, source) = (
            Box::new(MemSink {
                out: Some(self.out),
            }),
            Box::new(MemSource { inbox: self.inbox }),
        );
        Connection {
            peer,
            admission,
            announced,
            url,
            inbound,
            sink,
            source,
            traits: LinkTraits::default(),
        }
    }
}

impl HandshakeIo for Wire {
    async fn send(&mut self, frame: HandshakeFrame) -> Result<(), HandshakeError> {
        self.out
            .send(MemFrame::Handshake(frame))
            .await
            .map_err(|_| closed())
    }

    async fn recv(&mut self) -> Result<HandshakeFrame, HandshakeError> {
        match self.inbox.recv().await {
            Some(MemFrame::Handshake(frame)) => Ok(frame),
            Some(MemFrame::Batch(_)) => Err(HandshakeError::Protocol {
                reason: "unexpected batch".to_owned(),
            }),
            None => Err(closed()),
        }
    }
}

fn closed() -> HandshakeError {
    HandshakeError::Disconnected {
        reason: "the other end is gone".to_owned(),
    }
}

struct MemSink {
    out: Option<mpsc::Sender<MemFrame>>,
}

impl LinkSink for MemSink {
    fn send<'a>(
        &'a mut self,
        batch: &'a mut Vec<Envelope>,
    ) -> BoxFuture<'a, Result<(), LinkError>> {
        Box::pin(async move {
            let gone = || LinkError::Lost {
                reason: "the other end is gone".to_owned(),
            };
            let capacity = batch.capacity();
            let frame = MemFrame::Batch(std::mem::replace(batch, Vec::with_capacity(capacity)));
            self.out
                .as_ref()
                .ok_or_else(gone)?
                .send(frame)
                .await
                .map_err(|_| gone())
        })
    }

    fn close(&mut self) -> BoxFuture<'_, ()> {
        self.out = None;
        Box::pin(std::future::ready(()))
    }
}

struct MemSource {
    inbox: mpsc::Receiver<MemFrame>,
}

impl LinkSource for MemSource {
    fn recv<'a>(
        &'a mut self,
        batch: &'a mut Vec<Envelope>,
    ) -> BoxFuture<'a, Result<bool, LinkError>> {
        Box::pin(async move {
            match self.inbox.recv().await {
                Some(MemFrame::Batch(envelopes)) => {
                    batch.extend(envelopes);
                    Ok(true)
                }
                Some(MemFrame::Handshake(_)) => Err(LinkError::InvalidFrame {
                    reason: "handshake frame on an established link".to_owned(),
                }),
                None => Ok(false),
            }
        })
    }
}

impl Transport for MemTransport {
    fn schemes(&self) -> &'static [&'static str] {
        &["mem"]
    }

    fn connect<'a>(
        &'a self,
        url: &'a PeerUrl,
        local: &'a LocalNode,
    ) -> BoxFuture<'a, Result<Connection, ConnectError>> {
        Box::pin(async move {
            let unreachable = || ConnectError::Unreachable {
                url: url.clone(),
                reason: format!("nobody listens on {:?}", url.host()),
            };
            let listener = self
                .network
                .listeners()
                .get(url.host())
                .cloned()
                .ok_or_else(unreachable)?;
            let (mut ours, theirs) = wires();
            listener.send(theirs).await.map_err(|_| unreachable())?;
            match negotiate(Side::Connector, local, &mut ours).await {
                Ok(negotiated) => Ok(ours.into_connection(negotiated, url.clone(), false)),
                Err(source) => Err(ConnectError::Handshake {
                    url: url.clone(),
                    source,
                }),
            }
        })
    }

    fn listen<'a>(
        &'a self,
        url: &'a PeerUrl,
        local: LocalNode,
        shutdown: CancellationToken,
    ) -> BoxFuture<'a, Result<PeerUrl, ListenError>> {
        Box::pin(async move {
            let (sender, mut incoming) = mpsc::channel::<Wire>(BACKLOG);
            {
                let mut listeners = self.network.listeners();
                if listeners
                    .get(url.host())
                    .is_some_and(|other| !other.is_closed())
                {
                    return Err(ListenError::Bind {
                        url: url.clone(),
                        reason: "the name is taken".to_owned(),
                    });
                }
                listeners.insert(url.host().to_owned(), sender);
            }
            let accepted_from = url.clone();
            let tasks = local.clone();
            tasks.spawn(async move {
                while let Some(Some(mut wire)) = shutdown.run_until_cancelled(incoming.recv()).await
                {
                    let (local, url) = (local.clone(), accepted_from.clone());
                    local.clone().spawn(async move {
                        let attached = match negotiate(Side::Acceptor, &local, &mut wire).await {
                            Ok(negotiated) => local
                                .attach(wire.into_connection(negotiated, url, true))
                                .map(drop),
                            Err(error) => Err(error),
                        };
                        if let Err(error) = attached {
                            tracing::info!("refused a connection: {error}");
                        }
                    });
                }
            });
            Ok(url.clone())
        })
    }
}
