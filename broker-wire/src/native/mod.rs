//! `broker://` and `brokers://`: the native protocol of Zeek and C++ Broker.
//!
//! | file | what it holds |
//! |---|---|
//! | `message`, `handshake` | the handshake: bytes, state machine |
//! | `deframer`, `frame` | the stream cut into frames; a frame and an envelope |
//! | `establish`, `link` | the two over a byte stream |

pub(crate) mod deframer;
mod establish;
pub(crate) mod frame;
mod handshake;
pub(crate) mod limits;
mod link;
pub(crate) mod message;

use std::net::SocketAddr;
use std::num::NonZeroUsize;

use broker_core::handshake::{HandshakeError, Side, VersionRange};
use broker_core::{
    BoxFuture, ConnectError, Connection, Heartbeat, ListenError, LocalNode, PeerUrl, Transport,
};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use self::establish::establish;
use self::limits::{DEFAULT_PORT, HEARTBEAT, MAX_CONNECTIONS};
use crate::tcp::{self, Listener, Served};

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
}

/// What a handshake has to know.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) versions: VersionRange,
    pub(crate) heartbeat: Heartbeat,
}

impl NativeTransport {
    /// The transport with its defaults.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            settings: Settings {
                versions: VersionRange { min: 1, max: 2 },
                heartbeat: HEARTBEAT,
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
    pub const fn versions(mut self, min: u8, max: u8) -> Self {
        assert!(1 <= min && min <= max && max <= 2, "versions are 1 and 2");
        self.settings.versions = VersionRange {
            min: min as u32,
            max: max as u32,
        };
        self
    }

    /// How peers are watched; default a ping every 5 s and 15 s of silence. C++ nodes answer pings and send none.
    #[must_use]
    pub const fn heartbeat(mut self, heartbeat: Heartbeat) -> Self {
        self.settings.heartbeat = heartbeat;
        self
    }

    /// Sets how many connections one listener serves at a time; default 1024. What comes beyond it is closed
    /// at once, peers included.
    #[must_use]
    pub const fn max_connections(mut self, connections: NonZeroUsize) -> Self {
        self.max_connections = connections;
        self
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
            if url.scheme() != "broker" {
                return Err(unreachable("no TLS here".to_owned()));
            }
            let stream = tcp::connect(url, DEFAULT_PORT)
                .await
                .map_err(|error| unreachable(error.to_string()))?;
            establish(
                Side::Connector,
                stream.into_split(),
                local,
                url.clone(),
                &self.settings,
            )
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
        Box::pin(async move {
            let listener = Listener::bind(url, DEFAULT_PORT).await?;
            let bound = listener.url().clone();
            let (node, settings, scheme) = (
                local.clone(),
                self.settings.clone(),
                url.scheme().to_owned(),
            );
            let stop = shutdown.clone();
            let serve = move |stream, peer: SocketAddr| {
                let (local, settings, stop) = (node.clone(), settings.clone(), stop.clone());
                let url = PeerUrl::new(
                    scheme.as_str(),
                    peer.ip().to_canonical().to_string(),
                    Some(peer.port()),
                );
                async move {
                    match stop
                        .run_until_cancelled(accept(stream, &local, url, &settings))
                        .await
                    {
                        Some(Err(error)) => describe(error),
                        Some(Ok(())) | None => Served::Fine,
                    }
                }
            };
            local
                .clone()
                .spawn(listener.run(local, self.max_connections, shutdown, serve));
            Ok(bound)
        })
    }
}

async fn accept(
    stream: TcpStream,
    local: &LocalNode,
    url: PeerUrl,
    settings: &Settings,
) -> Result<(), HandshakeError> {
    let connection = establish(Side::Acceptor, stream.into_split(), local, url, settings).await?;
    let attached = local.attach(connection)?;
    // The slot of the listener is held while the peering lasts.
    attached.closed().await;
    Ok(())
}

fn describe(error: HandshakeError) -> Served {
    match error {
        HandshakeError::Disconnected { .. }
        | HandshakeError::Redundant { .. }
        | HandshakeError::ShuttingDown => Served::Harmless(error.to_string()),
        _ => Served::Failed(error.to_string()),
    }
}
