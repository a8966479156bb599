//! `ws://` and `wss://`: the WebSocket JSON protocol, for programs in any language and for joining a Zeek node.
//!
//! | file | what it holds |
//! |---|---|
//! | `pipe`, `socket` | a WebSocket in memory, and what moves its bytes over any stream |
//! | `text` | the texts: data messages, acks, errors, subscriptions |
//! | `accept`, `session`, `serve`, `listen`, `access`, `apps` | a client of ours: its request, its dialogue (a state machine), its driver, who may, what is counted |
//! | `target`, `dial`, `connection` | the way to a server, and a running connection |
//! | `link`, `seam` | a server as a peer; from one of its connections to the next (a state machine) |
//! | `client` | the client for tools |

mod accept;
mod access;
mod apps;
mod client;
mod connection;
mod dial;
mod error;
mod link;
mod listen;
mod pipe;
mod seam;
mod serve;
pub(crate) mod session;
pub(crate) mod settings;
mod socket;
pub(crate) mod target;
pub(crate) mod text;
mod token;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use broker_core::{
    Admit, BoxFuture, ConnectError, Connection, EndpointId, ErrorCode, EventMeter, HandshakeError,
    LinkTraits, ListenError, LocalNode, NodeStatus, PeerIdentity, PeerUrl, QueueOptions,
    StatusSource, Transport,
};
use tokio_util::sync::CancellationToken;

pub use self::access::{TokenNeeded, WsAccess};
use self::apps::Apps;
pub use self::client::{WsClient, WsClientOptions, WsReceived};
use self::dial::{Credentials, one_line};
pub use self::error::WsError;
use self::link::{Counts, Dialler, link, server_id};
use self::serve::{Server, serve};
use self::socket::Io;
use self::target::Target;
use self::token::Token;
use crate::socket::{Acceptor, TlsSetup};
use crate::tls::{TlsError, TlsOptions, TlsRenewal};

/// The transport of `ws://` and `wss://` addresses.
///
/// What listens serves clients as Zeek's own server does; each is a hub of the node. What dials joins a server, Zeek's or
/// one of ours, as a client of it: it subscribes to what this node wants, and sends what is published under the prefixes
/// that `?send=prefix,prefix` in the address names. Store commands cannot go this way.
///
/// ```
/// use broker_core::{Data, Endpoint, Filter, Message, QueueOptions, Topic};
/// use broker_wire::WsTransport;
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let server = Endpoint::builder().name("server").transport(WsTransport::new()).start();
/// let node = Endpoint::builder().name("node").transport(WsTransport::new()).start();
/// let hosts = Topic::from_static("/hosts");
///
/// let mut inbox = server.subscribe(Filter::from_iter([hosts.clone()]), QueueOptions::local());
/// let address = server.listen(&"ws://127.0.0.1:0".parse()?).await?;
/// let address = format!("{address}?send=/hosts").parse()?;
/// assert_eq!(node.connect(address).await?, server.id());
///
/// node.publish(Message::new(hosts, Data::from("192.0.2.7"))).await?;
/// let message = inbox.recv().await.ok_or("closed")?;
/// assert_eq!(message.data()?, &Data::from("192.0.2.7"));
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct WsTransport {
    max_clients: NonZeroUsize,
    max_message: usize,
    queue: QueueOptions,
    ping_interval: Duration,
    access: WsAccess,
    allow_unauthenticated: bool,
    clients: Arc<AtomicU64>,
    apps: Arc<Apps>,
    credentials: Credentials,
    counts: Arc<Counts>,
}

/// What the peerings of a [`WsTransport`] with WebSocket servers have counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WsCounters {
    /// Store commands, which cannot go over a WebSocket and were dropped.
    pub commands_dropped: u64,
    /// Errors servers sent, for example that an event is not known there.
    pub server_errors: u64,
    /// Texts of servers that were neither message nor error.
    pub unreadable: u64,
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
            access: WsAccess::default(),
            allow_unauthenticated: false,
            clients: Arc::default(),
            apps: Arc::default(),
            credentials: Credentials::default(),
            counts: Arc::default(),
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
        self.access = self
            .access
            .with(|gate| gate.token = Some(Token::new(token)));
        self
    }

    /// Sets the files of `wss://`. Default: none, and `wss://` addresses are refused. Listening needs a certificate and a
    /// key, dialling a CA (and, where the other side has a CA too, a certificate and a key). A listener with a CA asks
    /// clients for certificates, which is as good as a [`token`](Self::token).
    #[must_use]
    pub fn tls(mut self, options: TlsOptions) -> Self {
        self.credentials.tls = Some(TlsSetup::new(options));
        self
    }

    /// Makes new files for `wss://` ready, for all that listens and dials with this transport or a clone of it. Blocks on
    /// reading them.
    ///
    /// # Errors
    /// They do not fit; or the other side was verified so far, and would not be any more.
    pub fn renew_tls(&self, options: &TlsOptions) -> Result<TlsRenewal, TlsError> {
        match &self.credentials.tls {
            Some(tls) => tls.renew(options),
            None => Ok(TlsRenewal::default()),
        }
    }

    /// Shows servers this token (`Authorization: Bearer`) when connecting; by default none.
    #[must_use]
    pub fn client_token(mut self, token: impl Into<Arc<str>>) -> Self {
        self.credentials.token = Some(Token::new(token));
        self
    }

    /// Tells servers this name (`X-Application-Name`: letters, digits and `/_-.=:*@`) when connecting, by which their
    /// logs call this node; by default none. A name with other characters makes every connection fail.
    #[must_use]
    pub fn application_name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.credentials.application_name = Some(name.into());
        self
    }

    /// Counts the events of clients by topic and name in `meter`, each application in a scope of its name (65 at most);
    /// default no, since it costs two look-ups for each event. It is for the servers of this transport and of clones made
    /// afterwards.
    #[must_use]
    pub fn event_meter(mut self, meter: EventMeter) -> Self {
        self.apps = Arc::new(Apps::metered(meter));
        self
    }

    /// What the peerings with servers have counted so far. Clones of a transport count together.
    #[must_use]
    pub fn counters(&self) -> WsCounters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        WsCounters {
            commands_dropped: read(&self.counts.commands_dropped),
            server_errors: read(&self.counts.server_errors),
            unreadable: read(&self.counts.unreadable),
        }
    }

    /// Who may connect to its servers, to be changed while they listen.
    #[must_use]
    pub fn access(&self) -> WsAccess {
        self.access.clone()
    }

    /// Lets web pages of this origin connect, for example `https://dashboard.example`, and with `*` any page; by default
    /// only pages that come from the listener's own address. Browsers let every page connect to everything, ports of
    /// this machine included, so that `*` lets any web site a user of this machine looks at read and publish.
    #[must_use]
    pub fn allow_origin(mut self, origin: impl Into<String>) -> Self {
        self.access = self.access.with(|gate| gate.origins.push(origin.into()));
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

impl WsTransport {
    /// Joins the server at `url` as one of its clients, and makes a peering of that.
    async fn join(&self, url: &PeerUrl, local: &LocalNode) -> Result<Connection, ConnectError> {
        let target = Target::of(url).map_err(|reason| unusable(url, WsError::BadUrl { reason }))?;
        let send = target.send.clone();
        let dialler = Dialler {
            local: local.clone(),
            url: url.clone(),
            target,
            credentials: self.credentials.clone(),
        };
        let announced = local.hello().filter.without_local();
        let dialled = dialler
            .dial(&announced)
            .await
            .map_err(|error| unusable(url, error))?;
        let id = server_id(&dialled.endpoint).unwrap_or_else(EndpointId::random);
        let refused = |source| ConnectError::Handshake {
            url: url.clone(),
            source,
        };
        if id == local.id() {
            return Err(refused(HandshakeError::SelfPeering));
        }
        // The server has no say in this, so whichever ID is smaller, it is for us to decide.
        let admission = match local.admit(id, true).await {
            Admit::Granted(admission) => admission,
            Admit::Refused(error) => return Err(refused(error)),
        };
        let peer = PeerIdentity {
            id,
            name: String::new(),
            software: one_line(&format!("WebSocket server {}", dialled.version)),
            version: 1,
            features: Vec::new(),
            filter: send,
        };
        let running = dialler.start(dialled);
        let counts = Arc::clone(&self.counts);
        let (sink, source) = link(dialler, id, running, announced.clone(), counts);
        Ok(Connection {
            peer,
            admission,
            announced,
            url: url.clone(),
            inbound: false,
            sink: Box::new(sink),
            source: Box::new(source),
            traits: LinkTraits {
                numbered: false,
                forwards_pings: false,
                heartbeat: Some(settings::HEARTBEAT),
            },
        })
    }
}

impl StatusSource for WsTransport {
    fn contribute(&self, status: &mut NodeStatus) {
        status.apps.extend(self.apps.traffic());
        let WsCounters {
            commands_dropped,
            server_errors,
            unreadable,
        } = self.counters();
        for (name, count) in [
            ("ws_commands_dropped", commands_dropped),
            ("ws_server_errors", server_errors),
            ("ws_unreadable", unreadable),
        ] {
            // A node that joins no server need not be told of them.
            if count > 0 {
                status.counters.insert(name.to_owned(), count);
            }
        }
    }
}

/// What core makes of a failed attempt.
fn unusable(url: &PeerUrl, error: WsError) -> ConnectError {
    let url = url.clone();
    let reason = error.to_string();
    match error {
        WsError::Rejected { .. } | WsError::Unauthorized => ConnectError::Handshake {
            url,
            source: HandshakeError::Refused {
                code: ErrorCode::PeerInvalid,
                reason,
            },
        },
        _ => ConnectError::Unreachable { url, reason },
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

    fn started(&self, local: &LocalNode) {
        local.endpoint().register_status(Arc::new(self.clone()));
    }

    fn connect<'a>(
        &'a self,
        url: &'a PeerUrl,
        local: &'a LocalNode,
    ) -> BoxFuture<'a, Result<Connection, ConnectError>> {
        Box::pin(self.join(url, local))
    }

    fn listen<'a>(
        &'a self,
        url: &'a PeerUrl,
        local: LocalNode,
        shutdown: CancellationToken,
    ) -> BoxFuture<'a, Result<PeerUrl, ListenError>> {
        Box::pin(async move {
            let tls = self.credentials.tls.as_ref();
            let acceptor = Acceptor::new(url, tls).map_err(|error| ListenError::Bind {
                url: url.clone(),
                reason: error.to_string(),
            })?;
            let verifies = url.scheme() == "wss" && tls.is_some_and(TlsSetup::verifies_clients);
            let is_guarded = self.allow_unauthenticated || verifies;
            let is_open = self.access.gate().token.is_none() && !is_guarded;
            let (listener, bound) = listen::bind(url, is_open).await?;
            if !is_guarded && !listener.is_loopback() {
                self.access.needs_token();
            }
            let server = Arc::new(Server {
                local: local.clone(),
                access: self.access.clone(),
                max_message: self.max_message,
                queue: self.queue,
                ping_interval: self.ping_interval,
                clients: Arc::clone(&self.clients),
                apps: Arc::clone(&self.apps),
            });
            let stop = shutdown.clone();
            let accept = move |stream, peer| {
                let (acceptor, server, stop) =
                    (acceptor.clone(), Arc::clone(&server), stop.clone());
                async move {
                    let opening = async {
                        let stream = acceptor.accept(stream).await?;
                        Ok(Box::new(stream) as Io)
                    };
                    let serving = serve(opening, peer, server, stop);
                    listen::served(serving.await)
                }
            };
            let accepting = listener.run(local.clone(), self.max_clients, shutdown, accept);
            local.spawn(accepting);
            Ok(bound)
        })
    }
}
