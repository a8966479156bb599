//! `ws://`: the WebSocket JSON protocol, for programs in any language and for joining a Zeek node.

mod accept;
mod listen;
mod pipe;
mod serve;
mod session;
pub(crate) mod settings;
mod socket;
mod text;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use broker_core::{
    BoxFuture, ConnectError, Connection, ListenError, LocalNode, PeerUrl, QueueOptions, Transport,
};
use tokio_util::sync::CancellationToken;

use self::listen::Listener;
use self::serve::Server;

/// The transport of `ws://` and `wss://` addresses.
#[derive(Clone, Debug)]
pub struct WsTransport {
    max_clients: NonZeroUsize,
    max_message: usize,
    queue: QueueOptions,
    ping_interval: Duration,
    token: Option<Arc<str>>,
    allow_unauthenticated: bool,
    clients: Arc<AtomicU64>,
}

impl WsTransport {
    /// The transport with its defaults.
    #[must_use]
    pub fn new() -> Self {
        Self {
            max_clients: settings::MAX_CLIENTS,
            max_message: settings::MAX_MESSAGE,
            queue: settings::client_queue(),
            ping_interval: settings::PING_INTERVAL,
            token: None,
            allow_unauthenticated: false,
            clients: Arc::default(),
        }
    }

    /// Sets how many clients one listener serves at a time; default 1024. More takes as many file descriptors; what
    /// comes beyond it is closed at once.
    #[must_use]
    pub const fn max_clients(mut self, clients: NonZeroUsize) -> Self {
        self.max_clients = clients;
        self
    }

    /// Sets the largest message taken, in bytes; default 64 MiB. A larger one ends the connection that sent it. Less
    /// bounds the memory a client can make this node use; too little refuses honest events.
    #[must_use]
    pub const fn max_message(mut self, bytes: usize) -> Self {
        self.max_message = bytes;
        self
    }

    /// Sets the queue towards each client; default 8192 messages or 64 MiB, for which publishers wait up to 1 s. A client
    /// that loses a message is closed, whatever the policy.
    #[must_use]
    pub const fn queue(mut self, queue: QueueOptions) -> Self {
        self.queue = queue;
        self
    }

    /// Sets how often clients are pinged; default 5 s, as Zeek does. A client that is silent from one ping to the next
    /// is closed, so that much less ends clients that are merely busy.
    #[must_use]
    pub const fn ping_interval(mut self, interval: Duration) -> Self {
        self.ping_interval = interval;
        self
    }

    /// Asks every client for `Authorization: Bearer` and this token; by default there is none. Without one, only
    /// loopback addresses are listened on (but see [`allow_unauthenticated`](Self::allow_unauthenticated)). Over
    /// `ws://` the token can be read on the way.
    #[must_use]
    pub fn token(mut self, token: impl Into<Arc<str>>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Allows listening on addresses other machines can reach without asking for a token; default false. Then anybody
    /// who reaches the port can read and publish everything.
    #[must_use]
    pub const fn allow_unauthenticated(mut self, allow: bool) -> Self {
        self.allow_unauthenticated = allow;
        self
    }
}

impl Default for WsTransport {
    fn default() -> Self {
        Self::new()
    }
}

impl Transport for WsTransport {
    fn schemes(&self) -> &'static [&'static str] {
        &["ws", "wss"]
    }

    fn connect<'a>(
        &'a self,
        url: &'a PeerUrl,
        _local: &'a LocalNode,
    ) -> BoxFuture<'a, Result<Connection, ConnectError>> {
        Box::pin(async move {
            Err(ConnectError::Unreachable {
                url: url.clone(),
                reason: "this version listens on ws:// and does not dial it".to_owned(),
            })
        })
    }

    fn listen<'a>(
        &'a self,
        url: &'a PeerUrl,
        local: LocalNode,
        shutdown: CancellationToken,
    ) -> BoxFuture<'a, Result<PeerUrl, ListenError>> {
        Box::pin(async move {
            let is_open = self.token.is_none() && !self.allow_unauthenticated;
            let listener = Listener::bind(url, is_open).await?;
            let bound = listener.url().clone();
            let server = Arc::new(Server {
                local: local.clone(),
                token: self.token.clone(),
                max_message: self.max_message,
                queue: self.queue,
                ping_interval: self.ping_interval,
                clients: Arc::clone(&self.clients),
            });
            local.spawn(listener.run(server, self.max_clients, shutdown));
            Ok(bound)
        })
    }
}
