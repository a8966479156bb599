//! The listening side: bind, accept, hand over.

use std::io;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use broker_core::{ListenError, PeerUrl, RateLimit};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::serve::{Server, serve};
use super::settings::{ACCEPT_PAUSE, DEFAULT_PORT, PATH};

/// A bound address.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: TcpListener,
    url: PeerUrl,
}

impl Listener {
    /// Binds `url`. Without a token (`is_open`), only an address of this machine alone will do.
    pub(crate) async fn bind(url: &PeerUrl, is_open: bool) -> Result<Self, ListenError> {
        let refuse = |reason: String| ListenError::Bind {
            url: url.clone(),
            reason,
        };
        let failed = |error: io::Error| {
            refuse(match error.kind() {
                io::ErrorKind::AddrInUse => "the address is in use".to_owned(),
                io::ErrorKind::AddrNotAvailable => {
                    "this machine does not have that address".to_owned()
                }
                io::ErrorKind::PermissionDenied => {
                    "not permitted (ports below 1024 need privileges)".to_owned()
                }
                _ => error.to_string(),
            })
        };
        if !matches!(url.path(), "" | "/" | PATH) {
            return Err(refuse(format!("the path is always {PATH}")));
        }
        let socket = TcpListener::bind(url.authority(DEFAULT_PORT))
            .await
            .map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        if is_open && !address.ip().to_canonical().is_loopback() {
            return Err(refuse(
                "anybody who reaches this address could read and publish: ask for a token, or allow it \
                 without one (allow_unauthenticated)"
                    .to_owned(),
            ));
        }
        let bound = PeerUrl::new(url.scheme(), url.host(), Some(address.port()));
        let url = format!("{bound}{PATH}")
            .parse()
            .map_err(|_| refuse("not an address".to_owned()))?;
        Ok(Self { socket, url })
    }

    /// The address with the port that was really bound, and the path.
    pub(crate) const fn url(&self) -> &PeerUrl {
        &self.url
    }

    /// Accepts until `stop` is cancelled.
    pub(crate) async fn run(
        self,
        server: Arc<Server>,
        max_clients: NonZeroUsize,
        stop: CancellationToken,
    ) {
        let slots = Arc::new(Semaphore::new(
            max_clients.get().min(Semaphore::MAX_PERMITS),
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
                        "{}: refused {peer}: {max_clients} clients are connected",
                        self.url
                    ),
                );
                continue;
            };
            // Without it a lone small message could wait for the acknowledgement of the one before.
            if stream.set_nodelay(true).is_err() {
                continue;
            }
            let served = serve(Box::new(stream), peer, Arc::clone(&server), stop.clone());
            let (complaints, url) = (Arc::clone(&complaints), self.url.clone());
            server.local.spawn(async move {
                match served.await {
                    Ok(()) => tracing::debug!("{url}: client {peer} left"),
                    Err(error) if error.is_harmless() => {
                        tracing::debug!("{url}: client {peer} left: {error}")
                    }
                    Err(error) => {
                        complain(&complaints, format_args!("{url}: client {peer}: {error}"))
                    }
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
        .check(std::time::Instant::now());
    match speak {
        Some(0) => tracing::warn!("{what}"),
        Some(more) => tracing::warn!("{what} ({more} more of the like were not logged)"),
        None => {}
    }
}
