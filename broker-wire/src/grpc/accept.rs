//! One accepted connection, from its first byte to its end.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use broker_core::handshake::{Side, negotiate};
use broker_core::{Connection, HandshakeError, LinkTraits, LocalNode, PeerUrl};
use hyper::body::Incoming;
use hyper::http::header::CONTENT_TYPE;
use hyper::http::{HeaderValue, Method, Request, Response};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;

use super::calls::{Calls, Counted};
use super::dial::{Alive, describe};
use super::preface::{PrefaceError, Prefaced, read_preface};
use super::router::Router;
use super::settings::{self, CLOSE_GRACE, IDLE_GRACE, STOP_GRACE};
use super::stream::{FrameSource, GrpcIo, frame_channel};
use crate::socket::{Acceptor, Socket};
use crate::tcp::Served;
use crate::tls::{TlsHandshakeError, dismiss};

/// The path of the call that is a peering.
pub(crate) const CONNECT_PATH: &str = "/broker.v1.Peering/Connect";

/// Why a connection ended that did nothing wrong on the way: for the log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AcceptError {
    #[error(transparent)]
    Preface(#[from] PrefaceError),
    #[error(transparent)]
    Tls(#[from] TlsHandshakeError),
    #[error("no TLS handshake within {} s", after.as_secs_f32())]
    NoTls { after: Duration },
    #[error("no call within {} s", after.as_secs_f32())]
    NoCall { after: Duration },
    #[error("{0}")]
    Http2(String),
}

impl AcceptError {
    /// Whether it is what port scans and health checks do, and not worth more than a debug line.
    pub(crate) const fn is_harmless(&self) -> bool {
        match self {
            Self::Preface(error) => matches!(error, PrefaceError::Closed),
            Self::Tls(error) => error.is_harmless(),
            Self::NoTls { .. } | Self::NoCall { .. } | Self::Http2(_) => false,
        }
    }
}

impl From<Result<(), AcceptError>> for Served {
    fn from(served: Result<(), AcceptError>) -> Self {
        match served {
            Ok(()) => Self::Fine,
            Err(error) if error.is_harmless() => Self::Harmless(error.to_string()),
            Err(error) => Self::Failed(error.to_string()),
        }
    }
}

/// What the calls of one connection share.
struct Shared {
    local: LocalNode,
    router: Router,
    /// Of the addresses this connection goes by.
    scheme: &'static str,
    peer: SocketAddr,
    /// Whether there has been a call at all.
    called: AtomicBool,
    /// Those that are under way.
    calls: Calls,
    /// Whether there has been a peering; a connection carries one.
    peered: AtomicBool,
    /// Cancelled when the peering has ended, and with it the connection.
    end: CancellationToken,
}

/// Serves `stream` until it ends. `stop` is the listener's.
pub(crate) async fn serve(
    stream: TcpStream,
    acceptor: Acceptor,
    peer: SocketAddr,
    local: LocalNode,
    router: Router,
    stop: CancellationToken,
) -> Result<(), AcceptError> {
    let after = local.handshake_timeout();
    let Some(stream) = stop
        .run_until_cancelled(begin(stream, &acceptor, after))
        .await
    else {
        return Ok(());
    };
    let end = CancellationToken::new();
    let shared = Arc::new(Shared {
        local,
        router,
        scheme: if acceptor.is_tls() { "grpcs" } else { "grpc" },
        peer,
        called: AtomicBool::new(false),
        calls: Calls::default(),
        peered: AtomicBool::new(false),
        end: end.clone(),
    });
    let calls = Arc::clone(&shared);
    let service = service_fn(move |request| {
        let shared = Arc::clone(&calls);
        async move { Ok::<_, std::convert::Infallible>(answer(&shared, request).await) }
    });
    let connection = settings::server().serve_connection(TokioIo::new(stream?), service);
    tokio::pin!(connection);

    let first_call = sleep(after);
    tokio::pin!(first_call);
    let mut waiting = true;
    let result = loop {
        tokio::select! {
            result = &mut connection => break result,
            () = &mut first_call, if waiting => {
                if !shared.called.load(Ordering::Relaxed) {
                    return Err(AcceptError::NoCall { after });
                }
                waiting = false;
            }
            () = end.cancelled() => {
                connection.as_mut().graceful_shutdown();
                break timeout(CLOSE_GRACE, &mut connection).await.unwrap_or(Ok(()));
            }
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                let rest = finish(connection.as_mut(), &shared.calls, &end);
                break timeout(STOP_GRACE, rest).await.unwrap_or(Ok(()));
            }
        }
    };
    result.map_err(|error| AcceptError::Http2(describe(&error)))
}

/// Waits for the calls that are under way, and no longer: a client that keeps an idle connection open, or has died without
/// a word, holds nobody up.
async fn finish<E>(
    mut connection: Pin<&mut impl Future<Output = Result<(), E>>>,
    calls: &Calls,
    end: &CancellationToken,
) -> Result<(), E> {
    let mut grace = if calls.are_none() {
        IDLE_GRACE
    } else {
        CLOSE_GRACE
    };
    loop {
        tokio::select! {
            result = &mut connection => return result,
            () = end.cancelled() => grace = CLOSE_GRACE,
            () = calls.over() => {}
        }
        match timeout(grace, &mut connection).await {
            Ok(result) => return result,
            Err(_) if calls.are_none() || end.is_cancelled() => return Ok(()),
            // One that was on its way has come in meanwhile.
            Err(_) => grace = CLOSE_GRACE,
        }
    }
}

/// What happens before HTTP/2: TLS where the address has it, and the preface.
async fn begin(
    stream: TcpStream,
    acceptor: &Acceptor,
    after: Duration,
) -> Result<Prefaced<Socket>, AcceptError> {
    /// What every HTTP/2 server begins with (RFC 9113, 3.4).
    const EMPTY_SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let mut socket = timeout(after, acceptor.accept(stream))
        .await
        .map_err(|_| AcceptError::NoTls { after })??;
    match read_preface(&mut socket, after).await {
        Ok(()) => Ok(Prefaced::new(socket)),
        Err(error) => {
            if matches!(error, PrefaceError::Tls) {
                // So the other side can tell what it met, rather than a connection that just closes.
                dismiss(&mut socket, &EMPTY_SETTINGS).await;
            }
            Err(error.into())
        }
    }
}

async fn answer(shared: &Arc<Shared>, request: Request<Incoming>) -> Response<Body> {
    shared.called.store(true, Ordering::Relaxed);
    let call = shared.calls.begin();
    let response = answer_call(shared, request).await;
    response.map(|body| Body::new(Counted::new(body, call)))
}

async fn answer_call(shared: &Arc<Shared>, request: Request<Incoming>) -> Response<Body> {
    if request.method() != Method::POST {
        return Status::unimplemented("gRPC calls are POST requests").into_http();
    }
    if request.uri().path() == CONNECT_PATH {
        return connect(shared, request);
    }
    shared.router.call(request.map(Body::new)).await
}

/// Answers a `Peering.Connect`: the response begins at once, the handshake goes on behind it.
fn connect(shared: &Arc<Shared>, request: Request<Incoming>) -> Response<Body> {
    if shared.peered.swap(true, Ordering::Relaxed) {
        return Status::resource_exhausted("a connection carries one peering").into_http();
    }
    let (sender, body) = frame_channel(true);
    let alive: Alive = Arc::new(shared.end.clone().drop_guard());
    let io = GrpcIo {
        sender,
        source: FrameSource::of_request(request.into_body()),
        alive,
    };
    let (local, scheme, peer) = (shared.local.clone(), shared.scheme, shared.peer);
    shared.local.spawn(async move {
        if let Err(error) = attach(&local, scheme, peer, io).await {
            match error {
                HandshakeError::Redundant { .. } | HandshakeError::ShuttingDown => {
                    tracing::debug!(%peer, "no peering: {error}")
                }
                _ => tracing::warn!(%peer, "no peering: {error}"),
            }
        }
    });
    let mut response = Response::new(Body::new(body));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

async fn attach(
    local: &LocalNode,
    scheme: &str,
    peer: SocketAddr,
    mut io: GrpcIo,
) -> Result<(), HandshakeError> {
    let negotiated = negotiate(Side::Acceptor, local, &mut io).await?;
    let (sink, source) = io.into_link(local.id(), negotiated.peer.id);
    let connection = Connection {
        peer: negotiated.peer,
        admission: negotiated.admission,
        announced: negotiated.announced,
        url: PeerUrl::new(
            scheme,
            peer.ip().to_canonical().to_string(),
            Some(peer.port()),
        ),
        inbound: true,
        sink: Box::new(sink),
        source: Box::new(source),
        traits: LinkTraits::default(),
    };
    local.attach(connection).map(drop)
}
