//! What a transport is: something that turns an address into established connections, either way round.
//!
//! A transport owns sockets, encryption, framing and its own handshake bytes. It learns from
//! [`LocalNode`] who we are and whether a remote may become a peer, and hands over a [`Connection`]
//! once both sides agree. From there on core does the rest, alike for every transport: routing,
//! filters, heartbeats, the goodbye, retry and back-off. A user's own transport implements
//! [`Transport`], [`LinkSink`] and [`LinkSource`]; `examples/transport.rs` shows one.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use tokio_util::sync::CancellationToken;

use crate::endpoint::LocalNode;
use crate::envelope::Envelope;
use crate::filter::Filter;
use crate::handshake::{Admission, PeerIdentity};
use crate::peering::Heartbeat;
use crate::url::PeerUrl;

/// A boxed future, so that the traits of this crate can be used as trait objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Turns addresses into connections.
pub trait Transport: Send + Sync + 'static {
    /// The URL schemes this transport serves, in lower case.
    fn schemes(&self) -> &'static [&'static str];

    /// Called once by each endpoint that has this transport, when it starts: the place to add to its status
    /// ([`Endpoint::register_status`](crate::Endpoint::register_status)).
    fn started(&self, _local: &LocalNode) {}

    /// Dials `url` once and does the handshake. Retrying is the caller's.
    ///
    /// # Cancel safety
    /// Dropping the future abandons the attempt and closes what was opened.
    fn connect<'a>(
        &'a self,
        url: &'a PeerUrl,
        local: &'a LocalNode,
    ) -> BoxFuture<'a, Result<Connection, ConnectError>>;

    /// Binds `url` and accepts in the background until `shutdown` is cancelled; each connection that completes
    /// its handshake goes to [`LocalNode::attach`]. Resolves once bound, with the address really bound.
    fn listen<'a>(
        &'a self,
        url: &'a PeerUrl,
        local: LocalNode,
        shutdown: CancellationToken,
    ) -> BoxFuture<'a, Result<PeerUrl, ListenError>>;
}

/// An established connection: the handshake is done and both sides agreed to be peers.
pub struct Connection {
    /// Who is at the other end.
    pub peer: PeerIdentity,
    /// Core's leave to become a peer, obtained during the handshake.
    pub admission: Admission,
    /// The filter we announced in the handshake; core sends an update if it has changed since.
    pub announced: Filter,
    /// Where the peer is: the URL dialled, or one made of the address it came from.
    pub url: PeerUrl,
    /// Whether the other side opened the connection.
    pub inbound: bool,
    /// Outgoing envelopes.
    pub sink: Box<dyn LinkSink>,
    /// Incoming envelopes.
    pub source: Box<dyn LinkSource>,
    /// What the connection can carry and how it is watched.
    pub traits: LinkTraits,
}

/// In what connections of different transports differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkTraits {
    /// Whether envelopes keep their origin, sequence number and hop limit on the way. Where they do not, a
    /// message that comes back cannot be known.
    pub numbered: bool,
    /// Whether the peer passes pings with a nil receiver on like data, as C++ Broker does: then cycles
    /// through it can be found (broker-wire reference, 2.3).
    pub forwards_pings: bool,
    /// How the peer is watched; `None` as the endpoint was told.
    pub heartbeat: Option<Heartbeat>,
}

impl Default for LinkTraits {
    /// What links between our own nodes are.
    fn default() -> Self {
        Self {
            numbered: true,
            forwards_pings: true,
            heartbeat: None,
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("peer", &self.peer)
            .field("url", &self.url)
            .field("inbound", &self.inbound)
            .finish_non_exhaustive()
    }
}

/// The outgoing half of a connection.
pub trait LinkSink: Send + 'static {
    /// Takes all of `batch` (leaving it empty, its capacity kept) and resolves when the transport can take
    /// more: this is where back-pressure comes from.
    fn send<'a>(&'a mut self, batch: &'a mut Vec<Envelope>)
    -> BoxFuture<'a, Result<(), LinkError>>;

    /// Flushes what was sent and closes the connection.
    fn close(&mut self) -> BoxFuture<'_, ()>;
}

/// The incoming half of a connection.
pub trait LinkSource: Send + 'static {
    /// Waits for at least one envelope and appends what has arrived to `batch`; `Ok(false)` when the other
    /// side closed. `sender` of an envelope is what its bytes say, or the peer where they do not say: core drops
    /// what names nobody or ourselves, and goes by the connection whatever else they say.
    ///
    /// # Cancel safety
    /// Safe: nothing is lost if the future is dropped before it resolves.
    fn recv<'a>(
        &'a mut self,
        batch: &'a mut Vec<Envelope>,
    ) -> BoxFuture<'a, Result<bool, LinkError>>;

    /// How many frames since the last call were none, and were dropped. A source that drops any returns from
    /// [`recv`](Self::recv) even if there is no envelope, so that they are counted.
    fn take_rejected(&mut self) -> u64 {
        0
    }
}

/// Why one attempt to connect failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// No transport of this endpoint serves the scheme.
    #[error("no transport for {scheme}:// here (there are: {})", available.join(", "))]
    UnknownScheme {
        /// The scheme asked for.
        scheme: String,
        /// The schemes there are.
        available: Vec<String>,
    },
    /// The address could not be reached.
    #[error("cannot reach {url}: {reason}")]
    Unreachable {
        /// The address.
        url: PeerUrl,
        /// What the system or library said.
        reason: String,
    },
    /// The two sides could not agree.
    #[error("handshake with {url} failed")]
    Handshake {
        /// The address.
        url: PeerUrl,
        /// Why.
        #[source]
        source: crate::handshake::HandshakeError,
    },
}

/// Why listening failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// No transport of this endpoint serves the scheme.
    #[error("no transport for {scheme}:// here (there are: {})", available.join(", "))]
    UnknownScheme {
        /// The scheme asked for.
        scheme: String,
        /// The schemes there are.
        available: Vec<String>,
    },
    /// The address could not be bound.
    #[error("cannot listen on {url}: {reason}")]
    Bind {
        /// The address.
        url: PeerUrl,
        /// What the system said.
        reason: String,
    },
    /// Others than this machine reach the address, and nothing keeps strangers out.
    #[error(
        "cannot listen on {url}: anybody who reaches it could read and publish; ask for a token, or allow that expressly"
    )]
    Unprotected {
        /// The address.
        url: PeerUrl,
    },
    /// The endpoint is shutting down.
    #[error("the endpoint is shutting down")]
    ShuttingDown,
}

/// Why an established connection broke.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The connection is gone.
    #[error("connection lost: {reason}")]
    Lost {
        /// What the system or library said.
        reason: String,
    },
    /// The other side sent what is not a frame.
    #[error("invalid frame: {reason}")]
    InvalidFrame {
        /// What was wrong with it.
        reason: String,
    },
}
