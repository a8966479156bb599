//! From an address to an HTTP/2 connection, for peerings and for clients alike.

use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use broker_core::PeerUrl;
use bytes::Bytes;
use hyper::body::Body;
use hyper::client::conn::http2::SendRequest;
use hyper::rt::Executor;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::settings::{self, CLOSE_GRACE, DEFAULT_PORT, KeepAlive};
use crate::first_bytes::{Speaks, Watched, Witness};
use crate::socket::Dialler;
use crate::tcp::{self, TcpError};
use crate::tls::{TlsError, TlsHandshakeError};

/// Why there is no connection. The machine or the network is at fault, or the address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// Not a scheme that is dialled here.
    #[error("{scheme}:// is not gRPC (expected grpc:// or grpcs://)")]
    NotGrpc {
        /// The scheme.
        scheme: String,
    },
    /// The TLS options do not do for this, or this build has no TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Something answered, but there is no TLS with it.
    #[error(transparent)]
    TlsHandshake(#[from] TlsHandshakeError),
    /// We speak plainly, and what listens there speaks TLS.
    #[error("what listens there speaks TLS: use grpcs:// here or turn TLS off there")]
    WantsTls,
    /// We speak HTTP/2, and what listens there speaks the native protocol.
    #[error("what listens there speaks the native Broker protocol: use broker://")]
    WantsBroker,
    /// The host has no address.
    #[error("cannot find host {host}: {reason}")]
    NoSuchHost {
        /// The host.
        host: String,
        /// What the system said.
        reason: String,
    },
    /// Nothing listens there.
    #[error("connection refused: nothing listens there")]
    Refused,
    /// The host does not answer.
    #[error("no answer within {} s", after.as_secs_f32())]
    TimedOut {
        /// How long we waited.
        after: Duration,
    },
    /// TCP failed otherwise.
    #[error("{reason}")]
    Tcp {
        /// What the system said.
        reason: String,
    },
    /// Something answered, but not in HTTP/2.
    #[error("what listens there does not speak gRPC ({reason})")]
    NotHttp2 {
        /// What was wrong.
        reason: String,
    },
}

/// Keeps a connection open; when the last one is dropped, the connection is closed after what is still
/// to be written.
pub(crate) type Alive = Arc<DropGuard>;

/// Opens a TCP connection with Nagle's algorithm off.
pub(crate) async fn dial_tcp(url: &PeerUrl) -> Result<TcpStream, DialError> {
    match url.scheme() {
        "grpc" | "grpcs" => {}
        other => {
            return Err(DialError::NotGrpc {
                scheme: other.to_owned(),
            });
        }
    }
    Ok(tcp::connect(url, DEFAULT_PORT).await?)
}

/// An HTTP/2 connection that was dialled.
pub(crate) struct Dialled<B> {
    pub(crate) http: SendRequest<B>,
    pub(crate) alive: Alive,
    pub(crate) clues: Clues,
}

/// What was seen of the other side until it answered a call.
#[derive(Clone, Debug)]
pub(crate) struct Clues {
    witness: Witness,
    is_tls: bool,
}

impl Clues {
    /// What is wrong with the other side, if more is known than that it does not answer.
    pub(crate) fn explain(&self) -> Option<DialError> {
        if let Some(refusal) = self.witness.refusal() {
            return Some(refusal.into());
        }
        match self.witness.speaks()? {
            Speaks::Tls if !self.is_tls => Some(DialError::WantsTls),
            Speaks::Broker if !self.is_tls => Some(DialError::WantsBroker),
            _ => None,
        }
    }
}

/// Opens an HTTP/2 connection. `spawn` runs the task that looks after it. When the last [`Alive`] is
/// dropped, that task runs `farewell`, and the connection is closed when both are done, or soon after.
pub(crate) async fn dial<B>(
    url: &PeerUrl,
    dialler: &Dialler,
    keep_alive: KeepAlive,
    farewell: impl Future<Output = ()> + Send + 'static,
    spawn: impl FnOnce(Driver),
) -> Result<Dialled<B>, DialError>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let stream = dial_tcp(url).await?;
    let socket = dialler.connect(url.host(), stream).await?;
    let clues = Clues {
        witness: Witness::default(),
        is_tls: dialler.is_tls(),
    };
    let socket = Watched::new(socket, clues.witness.clone());
    let tasks = Tasks::default();
    let (sender, requests) = settings::client(tasks.clone(), keep_alive)
        .handshake(TokioIo::new(socket))
        .await
        .map_err(|error| DialError::NotHttp2 {
            reason: describe(&error),
        })?;
    let token = CancellationToken::new();
    let alive = Arc::new(token.clone().drop_guard());
    tasks.execute(async move {
        if let Err(error) = requests.await {
            tracing::debug!("HTTP/2 ended: {}", describe(&error));
        }
    });
    spawn(Box::pin(async move {
        token.cancelled().await;
        let deadline = Instant::now() + CLOSE_GRACE;
        let _ = timeout_at(deadline, farewell).await;
        tasks.finish(deadline).await;
    }));
    Ok(Dialled {
        http: sender,
        alive,
        clues,
    })
}

/// The tasks of one connection. HTTP/2 ends them when its work is done; a peer that takes nothing any more
/// could put that off for ever.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tasks(Arc<Mutex<JoinSet<()>>>);

impl Tasks {
    fn set(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until all tasks have ended, and ends those that are left at the deadline.
    async fn finish(self, deadline: Instant) {
        let mut tasks = std::mem::take(&mut *self.set());
        let all = async { while tasks.join_next().await.is_some() {} };
        if timeout_at(deadline, all).await.is_err() {
            tasks.shutdown().await;
        }
    }
}

impl<F> Executor<F> for Tasks
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        let mut tasks = self.set();
        // The set holds what has ended until it is asked.
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }
}

/// Drives a connection.
pub(crate) type Driver = broker_core::BoxFuture<'static, ()>;

/// An error and what caused it, in one line.
pub(crate) fn describe(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        // Some libraries repeat the cause in the text.
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    crate::frame::hello::one_line(&text)
}

impl From<TcpError> for DialError {
    fn from(error: TcpError) -> Self {
        match error {
            TcpError::NoSuchHost { host, reason } => Self::NoSuchHost { host, reason },
            TcpError::Refused => Self::Refused,
            TcpError::TimedOut { after } => Self::TimedOut { after },
            TcpError::Other(reason) => Self::Tcp { reason },
        }
    }
}
