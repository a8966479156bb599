//! The listening side: bind, accept, hand over.

use std::io;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use broker_core::{ListenError, LocalNode, PeerUrl, RateLimit};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::accept;
use super::router::Router;
use super::settings::DEFAULT_PORT;
use super::socket::Acceptor;

/// How long to wait after accepting failed, which is when the process has no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A bound address.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: TcpListener,
    url: PeerUrl,
}

impl Listener {
    /// Binds `url`.
    pub(crate) async fn bind(url: &PeerUrl) -> Result<Self, ListenError> {
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
        let socket = TcpListener::bind(url.authority(DEFAULT_PORT))
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

    /// Accepts until `stop` is cancelled.
    pub(crate) async fn run(
        self,
        acceptor: Acceptor,
        local: LocalNode,
        router: Router,
        max_connections: NonZeroUsize,
        stop: CancellationToken,
    ) {
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
            let served = accept::serve(
                stream,
                acceptor.clone(),
                peer,
                local.clone(),
                router.clone(),
                stop.clone(),
            );
            let (complaints, url) = (Arc::clone(&complaints), self.url.clone());
            local.spawn(async move {
                match served.await {
                    Ok(()) => tracing::debug!("{url}: connection from {peer} ended"),
                    Err(error) if error.is_harmless() => {
                        tracing::debug!("{url}: connection from {peer} ended: {error}")
                    }
                    Err(error) => complain(
                        &complaints,
                        format_args!("{url}: connection from {peer} ended: {error}"),
                    ),
                }
                drop(slot);
            });
        }
    }
}

/// Logs what strangers do wrong, at a bounded rate.
fn complain(limit: &Mutex<RateLimit>, what: std::fmt::Arguments<'_>) {
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
