//! TCP as all transports use it: dial a host, bind an address, accept within a bound.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use broker_core::{ListenError, LocalNode, PeerUrl, RateLimit};
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// How long one of several addresses of a host may take to answer before the next is tried.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(3);

/// How long to wait after accepting failed, which is when the process has no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why there is no TCP connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TcpError {
    #[error("cannot find host {host}: {reason}")]
    NoSuchHost { host: String, reason: String },
    #[error("connection refused: nothing listens there")]
    Refused,
    #[error("no answer within {} s", after.as_secs_f32())]
    TimedOut { after: Duration },
    #[error("{0}")]
    Other(String),
}

impl From<io::Error> for TcpError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            _ => Self::Other(error.to_string()),
        }
    }
}

/// Connects to `url`, trying every address of its host in turn, with Nagle's algorithm off. The last address may take
/// as long as the caller lets it.
pub(crate) async fn connect(url: &PeerUrl, default_port: u16) -> Result<TcpStream, TcpError> {
    let no_host = |reason: String| TcpError::NoSuchHost {
        host: url.host().to_owned(),
        reason,
    };
    // Not as one text: in brackets the system would not know a zone, as in fe80::1%eth0.
    let host = (url.host(), url.port().unwrap_or(default_port));
    let addresses: Vec<SocketAddr> = lookup_host(host)
        .await
        .map_err(|error| no_host(error.to_string()))?
        .collect();
    let mut failure = no_host("it has no address".to_owned());
    for (index, address) in addresses.iter().enumerate() {
        let attempt = TcpStream::connect(address);
        let attempt = if index + 1 == addresses.len() {
            attempt.await
        } else {
            match timeout(ADDRESS_TIMEOUT, attempt).await {
                Ok(attempt) => attempt,
                Err(_) => {
                    failure = TcpError::TimedOut {
                        after: ADDRESS_TIMEOUT,
                    };
                    continue;
                }
            }
        };
        match attempt {
            Ok(stream) => {
                // Without it a lone small message could wait for the acknowledgement of the one before.
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => failure = error.into(),
        }
    }
    Err(failure)
}

/// A bound address.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: TcpListener,
    url: PeerUrl,
}

/// How a connection that was served came to its end.
pub(crate) enum Served {
    /// As it should.
    Fine,
    /// As port scans and health checks end: worth a debug line.
    Harmless(String),
    /// By a mistake of the other side.
    Failed(String),
}

impl Listener {
    /// Binds `url`.
    pub(crate) async fn bind(url: &PeerUrl, default_port: u16) -> Result<Self, ListenError> {
        let failed = |error: io::Error| ListenError::Bind {
            url: url.clone(),
            reason: match error.kind() {
                io::ErrorKind::AddrInUse => "the address is in use".to_owned(),
                io::ErrorKind::AddrNotAvailable => {
                    "this machine does not have that address".to_owned()
                }
                io::ErrorKind::PermissionDenied => {
                    "not permitted (ports below 1024 need privileges)".to_owned()
                }
                _ => error.to_string(),
            },
        };
        let socket = TcpListener::bind(url.authority(default_port))
            .await
            .map_err(failed)?;
        let port = socket.local_addr().map_err(failed)?.port();
        Ok(Self {
            socket,
            url: url.clone().with_port(port),
        })
    }

    /// The address with the port that was really bound.
    pub(crate) const fn url(&self) -> &PeerUrl {
        &self.url
    }

    /// Whether only this machine can reach it.
    #[cfg(feature = "ws")]
    pub(crate) fn is_loopback(&self) -> bool {
        let address = self.socket.local_addr();
        address.is_ok_and(|address| address.ip().to_canonical().is_loopback())
    }

    /// Accepts until `stop` is cancelled and serves each connection as a task of the endpoint, at most
    /// `max_connections` at a time; what comes beyond that is closed at once.
    pub(crate) async fn run<F>(
        self,
        local: LocalNode,
        max_connections: NonZeroUsize,
        stop: CancellationToken,
        serve: impl Fn(TcpStream, SocketAddr) -> F,
    ) where
        F: Future<Output = Served> + Send + 'static,
    {
        let slots = Arc::new(Semaphore::new(
            max_connections.get().min(Semaphore::MAX_PERMITS),
        ));
        let complaints = Arc::new(Mutex::new(RateLimit::default()));
        while let Some(accepted) = stop.run_until_cancelled(self.socket.accept()).await {
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    complain(
                        &complaints,
                        format_args!("{}: cannot accept: {error}", self.url),
                    );
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
                complain(
                    &complaints,
                    format_args!(
                        "{}: refused {peer}: {max_connections} connections are open",
                        self.url
                    ),
                );
                continue;
            };
            // Without it a lone small message could wait for the acknowledgement of the one before.
            if stream.set_nodelay(true).is_err() {
                continue;
            }
            let served = serve(stream, peer);
            let (complaints, url) = (Arc::clone(&complaints), self.url.clone());
            local.spawn(async move {
                match served.await {
                    Served::Fine => tracing::debug!("{url}: connection from {peer} ended"),
                    Served::Harmless(why) => {
                        tracing::debug!("{url}: connection from {peer} ended: {why}")
                    }
                    Served::Failed(why) => {
                        complain(
                            &complaints,
                            format_args!("{url}: connection from {peer} ended: {why}"),
                        );
                    }
                }
                drop(slot);
            });
        }
    }
}

/// Logs what strangers do wrong, at a bounded rate.
fn complain(limit: &Mutex<RateLimit>, what: fmt::Arguments<'_>) {
    let speak = limit
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .check(Instant::now());
    match speak {
        Some(0) => tracing::warn!("{what}"),
        Some(more) => tracing::warn!("{what} ({more} more of the like were not logged)"),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_zone_behind_an_address_is_understood() {
        let Ok(listener) = TcpListener::bind("[::1]:0").await else {
            return; // A machine without IPv6.
        };
        let port = listener.local_addr().expect("bound").port();
        for host in ["::1", "::1%1"] {
            let url = PeerUrl::new("broker", host, Some(port));
            assert!(connect(&url, 9999).await.is_ok(), "{host}");
        }
        let url = PeerUrl::new("broker", "fe80::1%no-such-interface", Some(port));
        let error = connect(&url, 9999).await.expect_err("no such interface");
        assert!(matches!(error, TcpError::NoSuchHost { .. }), "{error}");
    }
}
