//! `grpc://`: peerings over HTTP/2, with services for clients on the same port.

pub(crate) mod accept;
pub(crate) mod dial;
mod listen;
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
use self::dial::dial;
use self::listen::Listener;
pub(crate) use self::router::{Router, RouterBuilder};
use self::settings::{KeepAlive, MAX_CONNECTIONS};
pub(crate) use self::stoppable::stopping;
use self::stream::{FrameBody, FrameSource, GrpcIo, Unread, frame_channel};
use crate::services;

/// The transport of `grpc://` addresses.
///
/// What listens serves nodes (`broker.v1.Peering`) and clients (`broker.v1.Broker`, `broker.v1.Store`,
/// health, reflection) alike. `grpcs://` addresses are known and refused with a reason, since TLS is
/// not there yet.
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
}

impl GrpcTransport {
    /// The transport with its defaults.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            max_connections: MAX_CONNECTIONS,
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
            timeout(after, connect(url, local))
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
            if url.scheme() != "grpc" {
                return Err(ListenError::Bind {
                    url: url.clone(),
                    reason: DialError::NoTls.to_string(),
                });
            }
            let listener = Listener::bind(url).await?;
            let bound = listener.url().clone();
            let router = services::router(&local, &shutdown).await;
            local
                .clone()
                .spawn(listener.run(local, router, self.max_connections, shutdown));
            Ok(bound)
        })
    }
}

async fn connect(url: &PeerUrl, local: &LocalNode) -> Result<Connection, ConnectError> {
    let unread = Unread::default();
    let dialled = dial::<FrameBody>(
        url,
        KeepAlive::Elsewhere,
        unread.clone().drain(),
        |driver| local.spawn(driver),
    )
    .await;
    let (mut http, alive) = dialled.map_err(|error| unreachable(url, &error))?;
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
            return Err(unreachable(url, &DialError::NotHttp2 { reason }));
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

/// `http://host:port/`, as HTTP/2 requests name where they go.
pub(crate) fn origin(url: &PeerUrl) -> Option<Uri> {
    Uri::builder()
        .scheme("http")
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
