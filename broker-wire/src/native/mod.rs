//! `broker://` and `brokers://`: the native protocol of Zeek and C++ Broker.
//!
//! | file | what it holds |
//! |---|---|
//! | `message`, `handshake` | the handshake: bytes, state machine |
//! | `deframer`, `frame` | the stream cut into frames; a frame and an envelope |
//! | `establish`, `link` | the two over a byte stream |
//! | `security` | TLS for `brokers://` |

pub(crate) mod deframer;
mod establish;
pub(crate) mod frame;
pub(crate) mod handshake;
pub(crate) mod limits;
mod link;
pub(crate) mod message;
mod security;

use std::net::SocketAddr;
use std::num::NonZeroUsize;

use broker_core::handshake::{HandshakeError, Side, VersionRange};
use broker_core::{
    BoxFuture, ConnectError, Connection, Heartbeat, ListenError, LocalNode, PeerUrl, Transport,
};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use self::establish::establish;
use self::limits::{DEFAULT_PORT, HEARTBEAT, MAX_CONNECTIONS};
use self::link::Complaints;
use self::security::{Security, is_secure};
use crate::tcp::{self, Listener, Served};
use crate::tls::{TlsError, TlsHandshakeError, TlsOptions, TlsRenewal};

/// The transport of `broker://` and `brokers://` addresses: peerings with Zeek and C++ Broker, and among our own nodes.
///
/// With C++ nodes version 1 of the protocol is spoken. Our own nodes agree on version 2, whose frames also name the
/// origin of a message and its number, so that a message that comes over two ways is delivered once.
///
/// ```
/// use broker_core::Endpoint;
/// use broker_wire::NativeTransport;
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let left = Endpoint::builder().transport(NativeTransport::new()).start();
/// let right = Endpoint::builder().transport(NativeTransport::new()).start();
///
/// let address = right.listen(&"broker://127.0.0.1:0".parse()?).await?;
/// assert_eq!(left.connect(address).await?, right.id());
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct NativeTransport {
    settings: Settings,
    max_connections: NonZeroUsize,
    security: Security,
}

/// What a handshake has to know.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) versions: VersionRange,
    pub(crate) heartbeat: Heartbeat,
    pub(crate) complaints: Complaints,
}

impl NativeTransport {
    /// The transport with its defaults.
    #[must_use]
    pub fn new() -> Self {
        Self {
            security: Security::default(),
            settings: Settings {
                versions: VersionRange { min: 1, max: 2 },
                heartbeat: HEARTBEAT,
                complaints: Complaints::default(),
            },
            max_connections: MAX_CONNECTIONS,
        }
    }

    /// Offers the versions from `min` to `max` of the native protocol; default 1 to 2, the two there are. With 1 to 1
    /// this node is to its peers what a C++ node is: its messages carry no number, and it has no features.
    ///
    /// # Panics
    /// If the range is empty or goes beyond 1 to 2.
    #[must_use]
    pub fn versions(mut self, min: u8, max: u8) -> Self {
        assert!(1 <= min && min <= max && max <= 2, "versions are 1 and 2");
        self.settings.versions = VersionRange {
            min: min as u32,
            max: max as u32,
        };
        self
    }

    /// How peers are watched; default a ping every 5 s and 15 s of silence. C++ nodes answer pings and send none.
    #[must_use]
    pub fn heartbeat(mut self, heartbeat: Heartbeat) -> Self {
        self.settings.heartbeat = heartbeat;
        self
    }

    /// Sets how many connections one listener serves at a time; default 1024. What comes beyond it is closed
    /// at once, peers included.
    #[must_use]
    pub fn max_connections(mut self, connections: NonZeroUsize) -> Self {
        self.max_connections = connections;
        self
    }

    /// The certificates of `brokers://`; default none, which is encryption without authentication, as Zeek has it out
    /// of the box. Both sides need the same: with certificates each verifies the other. What is wrong with the files
    /// is an error of the first listen or connect that needs them.
    #[must_use]
    pub fn tls(mut self, options: TlsOptions) -> Self {
        self.security = Security::new(options);
        self
    }

    /// Makes new files for `brokers://` ready, for all that listens and dials with this transport or a clone of it. Blocks on
    /// reading them.
    ///
    /// # Errors
    /// They do not fit; or the other side was verified so far, and would not be any more.
    pub fn renew_tls(&self, options: &TlsOptions) -> Result<TlsRenewal, TlsError> {
        self.security.renew(options)
    }
}

impl Default for NativeTransport {
    fn default() -> Self {
        Self::new()
    }
}

impl Transport for NativeTransport {
    fn schemes(&self) -> &'static [&'static str] {
        &["broker", "brokers"]
    }

    fn connect<'a>(
        &'a self,
        url: &'a PeerUrl,
        local: &'a LocalNode,
    ) -> BoxFuture<'a, Result<Connection, ConnectError>> {
        Box::pin(async move {
            let unreachable = |reason: String| ConnectError::Unreachable {
                url: url.clone(),
                reason,
            };
            let handshake = |source| ConnectError::Handshake {
                url: url.clone(),
                source,
            };
            let tls = is_secure(url)
                .then(|| self.security.context())
                .transpose()
                .map_err(|error| unreachable(error.to_string()))?;
            let stream = tcp::connect(url, DEFAULT_PORT)
                .await
                .map_err(|error| unreachable(error.to_string()))?;
            let (side, dialled) = (Side::Connector, url.clone());
            let established = match tls {
                None => establish(side, stream.into_split(), local, dialled, &self.settings).await,
                Some(tls) => match tls.connect(stream).await {
                    Ok(stream) => {
                        establish(
                            side,
                            tokio::io::split(stream),
                            local,
                            dialled,
                            &self.settings,
                        )
                        .await
                    }
                    Err(error) => return Err(unreachable(error.to_string())),
                },
            };
            established.map_err(handshake)
        })
    }

    fn listen<'a>(
        &'a self,
        url: &'a PeerUrl,
        local: LocalNode,
        shutdown: CancellationToken,
    ) -> BoxFuture<'a, Result<PeerUrl, ListenError>> {
        Box::pin(async move {
            // Files that do not fit are found before anybody can connect.
            if is_secure(url) {
                self.security.context().map_err(|error| ListenError::Bind {
                    url: url.clone(),
                    reason: error.to_string(),
                })?;
            }
            let listener = Listener::bind(url, DEFAULT_PORT).await?;
            let bound = listener.url().clone();
            let (node, transport, stop) = (local.clone(), self.clone(), shutdown.clone());
            let scheme = url.scheme().to_owned();
            let serve = move |stream, peer: SocketAddr| {
                let (local, transport, stop) = (node.clone(), transport.clone(), stop.clone());
                let host = peer.ip().to_canonical().to_string();
                let url = PeerUrl::new(scheme.as_str(), host, Some(peer.port()));
                async move {
                    stop.run_until_cancelled(transport.serve(stream, &local, url))
                        .await
                        .unwrap_or(Served::Fine)
                }
            };
            local
                .clone()
                .spawn(listener.run(local, self.max_connections, shutdown, serve));
            Ok(bound)
        })
    }
}

impl NativeTransport {
    /// Looks after one accepted connection until it ends.
    async fn serve(&self, stream: TcpStream, local: &LocalNode, url: PeerUrl) -> Served {
        match self.accept(stream, local, url).await {
            Ok(connection) => match local.attach(connection) {
                Ok(attached) => {
                    // The slot of the listener is held while the peering lasts.
                    attached.closed().await;
                    Served::Fine
                }
                Err(error) => AcceptError::Handshake(error).into(),
            },
            Err(error) => error.into(),
        }
    }

    async fn accept(
        &self,
        stream: TcpStream,
        local: &LocalNode,
        url: PeerUrl,
    ) -> Result<Connection, AcceptError> {
        let (side, settings) = (Side::Acceptor, &self.settings);
        if !is_secure(&url) {
            return Ok(establish(side, stream.into_split(), local, url, settings).await?);
        }
        let tls = self
            .security
            .context()
            .map_err(|error| AcceptError::Setup(error.to_string()))?;
        let after = local.handshake_timeout();
        let stream = timeout(after, tls.accept(stream))
            .await
            .map_err(|_| HandshakeError::TimedOut { after })??;
        Ok(establish(side, tokio::io::split(stream), local, url, settings).await?)
    }
}

/// Why an accepted connection became no peering.
#[derive(Debug, thiserror::Error)]
enum AcceptError {
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    #[error(transparent)]
    Tls(#[from] TlsHandshakeError),
    #[error("{0}")]
    Setup(String),
}

impl From<AcceptError> for Served {
    fn from(error: AcceptError) -> Self {
        let harmless = match &error {
            AcceptError::Handshake(
                HandshakeError::Disconnected { .. }
                | HandshakeError::Redundant { .. }
                | HandshakeError::ShuttingDown,
            ) => true,
            AcceptError::Tls(error) => error.is_harmless(),
            _ => false,
        };
        if harmless {
            Self::Harmless(error.to_string())
        } else {
            Self::Failed(error.to_string())
        }
    }
}
