//! `grpc://` and `grpcs://`: peerings over HTTP/2, with services for clients on the same port.

pub(crate) mod accept;
mod calls;
pub(crate) mod dial;
mod preface;
mod router;
pub(crate) mod settings;
pub(crate) mod stoppable;
mod stream;

use std::num::NonZeroUsize;

use broker_core::handshake::{HandshakeError, Side, negotiate};
use broker_core::{
    BoxFuture, ConnectError, Connection, LinkTraits, ListenError, LocalNode, PeerUrl, Transport,
};
use hyper::http::header::{CONTENT_TYPE, TE};
use hyper::http::{HeaderValue, Method, Request, Uri};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use self::accept::CONNECT_PATH;
pub use self::dial::DialError;
use self::dial::{Dialled, dial};
pub(crate) use self::router::{Router, RouterBuilder};
use self::settings::{DEFAULT_PORT, KeepAlive, MAX_CONNECTIONS};
pub(crate) use self::stoppable::stopping;
use self::stream::{FrameBody, FrameSource, GrpcIo, Unread, frame_channel};
use crate::services;
use crate::socket::{Acceptor, Dialler, TlsSetup};
use crate::tcp::{Listener, Served};
use crate::tls::{TlsError, TlsOptions, TlsRenewal};

/// The transport of `grpc://` and `grpcs://` addresses.
///
/// What listens serves nodes (`broker.v1.Peering`) and clients (`broker.v1.Broker`, `broker.v1.Store`,
/// health, reflection) alike. `grpcs://` is the same in TLS 1.3, once it is told its files by
/// [`tls`](Self::tls).
///
/// ```
/// use broker_core::Endpoint;
/// use broker_wire::GrpcTransport;
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let left = Endpoint::builder().name("left").transport(GrpcTransport::new()).start();
/// let right = Endpoint::builder().name("right").transport(GrpcTransport::new()).start();
///
/// let address = right.listen(&"grpc://127.0.0.1:0".parse()?).await?;
/// assert_eq!(left.connect(address).await?, right.id());
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct GrpcTransport {
    max_connections: NonZeroUsize,
    tls: Option<TlsSetup>,
}

impl GrpcTransport {
    /// The transport with its defaults.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            max_connections: MAX_CONNECTIONS,
            tls: None,
        }
    }

    /// Sets the files of `grpcs://`. Default: none, and `grpcs://` addresses are refused. Listening needs a
    /// certificate and a key, dialling a CA (and, where the other side has a CA too, a certificate and a key);
    /// what is missing or unusable is what listening or connecting fails with.
    #[must_use]
    pub fn tls(mut self, options: TlsOptions) -> Self {
        self.tls = Some(TlsSetup::new(options));
        self
    }

    /// Makes new files for `grpcs://` ready, for all that listens and dials with this transport or a clone of it. Blocks on
    /// reading them.
    ///
    /// # Errors
    /// They do not fit; or the other side was verified so far, and would not be any more.
    pub fn renew_tls(&self, options: &TlsOptions) -> Result<TlsRenewal, TlsError> {
        match &self.tls {
            Some(tls) => tls.renew(options),
            None => Ok(TlsRenewal::default()),
        }
    }

    /// Sets how many connections one listener serves at a time; default 1024. More is needed where more
    /// nodes and clients connect to one node, and takes as many file descriptors; what comes beyond it
    /// is closed at once, peers included.
    #[must_use]
    pub const fn max_connections(mut self, connections: NonZeroUsize) -> Self {
        self.max_connections = connections;
        self
    }
}

impl Default for GrpcTransport {
    fn default() -> Self {
        Self::new()
    }
}

impl Transport for GrpcTransport {
    fn schemes(&self) -> &'static [&'static str] {
        &["grpc", "grpcs"]
    }

    fn connect<'a>(
        &'a self,
        url: &'a PeerUrl,
        local: &'a LocalNode,
    ) -> BoxFuture<'a, Result<Connection, ConnectError>> {
        Box::pin(async move {
            let after = local.handshake_timeout();
            timeout(after, connect(url, self.tls.as_ref(), local))
                .await
                .unwrap_or_else(|_| Err(unreachable(url, &DialError::TimedOut { after })))
        })
    }

    fn listen<'a>(
        &'a self,
        url: &'a PeerUrl,
        local: LocalNode,
        shutdown: CancellationToken,
    ) -> BoxFuture<'a, Result<PeerUrl, ListenError>> {
        Box::pin(async move {
            let acceptor =
                Acceptor::new(url, self.tls.as_ref()).map_err(|error| ListenError::Bind {
                    url: url.clone(),
                    reason: error.to_string(),
                })?;
            let listener = Listener::bind(url, DEFAULT_PORT).await?;
            let bound = listener.url().clone();
            let router = services::router(&local, &shutdown).await;
            let (node, stop) = (local.clone(), shutdown.clone());
            let serve = move |stream, peer| {
                let (acceptor, router) = (acceptor.clone(), router.clone());
                let served =
                    accept::serve(stream, acceptor, peer, node.clone(), router, stop.clone());
                async move { Served::from(served.await) }
            };
            local
                .clone()
                .spawn(listener.run(local, self.max_connections, shutdown, serve));
            Ok(bound)
        })
    }
}

async fn connect(
    url: &PeerUrl,
    tls: Option<&TlsSetup>,
    local: &LocalNode,
) -> Result<Connection, ConnectError> {
    let dialler = Dialler::new(url, tls).map_err(|error| unreachable(url, &error.into()))?;
    let unread = Unread::default();
    let dialled = dial::<FrameBody>(
        url,
        &dialler,
        KeepAlive::Elsewhere,
        unread.clone().drain(),
        |driver| local.spawn(driver),
    )
    .await;
    let Dialled {
        mut http,
        alive,
        clues,
    } = dialled.map_err(|error| unreachable(url, &error))?;
    let (sender, body) = frame_channel(false);
    let response = http.send_request(connect_request(url, body)?);
    let mut io = GrpcIo {
        sender,
        source: FrameSource::of_response(response, unread),
        alive,
    };
    let negotiated = match negotiate(Side::Connector, local, &mut io).await {
        Ok(negotiated) => negotiated,
        Err(HandshakeError::Disconnected { reason }) if !io.source.has_answered() => {
            let error = clues.explain();
            return Err(unreachable(
                url,
                &error.unwrap_or(DialError::NotHttp2 { reason }),
            ));
        }
        Err(source) => {
            return Err(ConnectError::Handshake {
                url: url.clone(),
                source,
            });
        }
    };
    let (sink, source) = io.into_link(local.id(), negotiated.peer.id);
    Ok(Connection {
        peer: negotiated.peer,
        admission: negotiated.admission,
        announced: negotiated.announced,
        url: url.clone(),
        inbound: false,
        sink: Box::new(sink),
        source: Box::new(source),
        traits: LinkTraits::default(),
    })
}

fn connect_request(url: &PeerUrl, body: FrameBody) -> Result<Request<FrameBody>, ConnectError> {
    let uri = origin(url).and_then(|origin| {
        let mut parts = origin.into_parts();
        parts.path_and_query = Some(hyper::http::uri::PathAndQuery::from_static(CONNECT_PATH));
        Uri::from_parts(parts).ok()
    });
    let uri = uri.ok_or_else(|| ConnectError::Unreachable {
        url: url.clone(),
        reason: "the host name is not one".to_owned(),
    })?;
    let mut request = Request::new(body);
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri;
    request
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    request
        .headers_mut()
        .insert(TE, HeaderValue::from_static("trailers"));
    Ok(request)
}

/// `http://host:port/` or `https://host:port/`, as HTTP/2 requests name where they go.
pub(crate) fn origin(url: &PeerUrl) -> Option<Uri> {
    Uri::builder()
        .scheme(match url.scheme() {
            "grpcs" => "https",
            _ => "http",
        })
        .authority(url.authority(settings::DEFAULT_PORT))
        .path_and_query("/")
        .build()
        .ok()
}

fn unreachable(url: &PeerUrl, error: &DialError) -> ConnectError {
    ConnectError::Unreachable {
        url: url.clone(),
        reason: error.to_string(),
    }
}
