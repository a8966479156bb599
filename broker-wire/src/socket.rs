//! What HTTP/2 and WebSocket run on: a plain connection or one with TLS (rustls), as the scheme of the address says.

use std::io;
use std::pin::Pin;
#[cfg(feature = "tls")]
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::task::{Context, Poll};

use broker_core::PeerUrl;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

#[cfg(feature = "tls")]
use crate::tls::{RustlsClient, RustlsServer, RustlsStream};
use crate::tls::{TlsError, TlsHandshakeError, TlsOptions, TlsRenewal};

/// A connection.
#[derive(Debug)]
pub(crate) enum Socket {
    Plain(TcpStream),
    #[cfg(feature = "tls")]
    Tls(Box<RustlsStream<TcpStream>>),
}

/// How accepted connections become sockets.
#[derive(Clone, Debug)]
pub(crate) enum Acceptor {
    Plain,
    #[cfg(feature = "tls")]
    Tls(Arc<RwLock<RustlsServer>>),
}

/// How dialled connections become sockets.
#[derive(Clone, Debug)]
pub(crate) enum Dialler {
    Plain,
    #[cfg(feature = "tls")]
    Tls(RustlsClient),
}

/// The TLS of a transport. A client context is made when it is first needed, and kept; a failure is not, so
/// that a file may be put right while the node runs. All contexts can be replaced while they are in use.
#[derive(Clone, Debug)]
pub(crate) struct TlsSetup {
    #[cfg(feature = "tls")]
    inner: Arc<RwLock<Setup>>,
}

#[cfg(feature = "tls")]
#[derive(Debug)]
struct Setup {
    options: TlsOptions,
    client: Option<RustlsClient>,
    /// What listeners use, by scheme.
    servers: Vec<(&'static str, Arc<RwLock<RustlsServer>>)>,
}

impl Acceptor {
    pub(crate) fn new(url: &PeerUrl, tls: Option<&TlsSetup>) -> Result<Self, TlsError> {
        match url.scheme() {
            scheme @ ("grpcs" | "wss") => Self::with_tls(scheme, tls),
            _ => Ok(Self::Plain),
        }
    }

    #[cfg(feature = "tls")]
    fn with_tls(scheme: &str, tls: Option<&TlsSetup>) -> Result<Self, TlsError> {
        let setup = tls.ok_or(TlsError::NoCertificate)?;
        let scheme = if scheme == "wss" { "wss" } else { "grpcs" };
        let server = server(scheme, &setup.read().options)?;
        let server = Arc::new(RwLock::new(server));
        let mut inner = setup.inner.write().unwrap_or_else(PoisonError::into_inner);
        inner.servers.push((scheme, Arc::clone(&server)));
        Ok(Self::Tls(server))
    }

    #[cfg(not(feature = "tls"))]
    fn with_tls(scheme: &str, _: Option<&TlsSetup>) -> Result<Self, TlsError> {
        Err(not_built(scheme))
    }

    /// Whether what it accepts has TLS.
    pub(crate) const fn is_tls(&self) -> bool {
        !matches!(self, Self::Plain)
    }

    pub(crate) async fn accept(&self, stream: TcpStream) -> Result<Socket, TlsHandshakeError> {
        match self {
            Self::Plain => Ok(Socket::Plain(stream)),
            #[cfg(feature = "tls")]
            Self::Tls(server) => {
                let server = server
                    .read()
                    .unwrap_or_else(PoisonError::into_inner)
                    .clone();
                server.accept(stream).await.map(Box::new).map(Socket::Tls)
            }
        }
    }
}

impl Dialler {
    pub(crate) fn new(url: &PeerUrl, tls: Option<&TlsSetup>) -> Result<Self, TlsError> {
        match url.scheme() {
            scheme @ ("grpcs" | "wss") => Self::with_tls(scheme, tls),
            _ => Ok(Self::Plain),
        }
    }

    #[cfg(feature = "tls")]
    fn with_tls(scheme: &str, tls: Option<&TlsSetup>) -> Result<Self, TlsError> {
        let tls = tls.ok_or(TlsError::NoAuthority)?;
        let options = {
            let setup = tls.read();
            if let Some(client) = &setup.client {
                return Ok(Self::Tls(client.clone()));
            }
            setup.options.clone()
        };
        let client = match scheme {
            "wss" => RustlsClient::web_socket(&options)?,
            _ => RustlsClient::grpc(&options)?,
        };
        let mut inner = tls.inner.write().unwrap_or_else(PoisonError::into_inner);
        // They may have been replaced meanwhile: then the next one that dials makes another.
        if inner.options == options {
            inner.client = Some(client.clone());
        }
        Ok(Self::Tls(client))
    }

    #[cfg(not(feature = "tls"))]
    fn with_tls(scheme: &str, _: Option<&TlsSetup>) -> Result<Self, TlsError> {
        Err(not_built(scheme))
    }

    #[cfg_attr(not(feature = "tls"), expect(unused_variables))]
    pub(crate) async fn connect(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> Result<Socket, TlsHandshakeError> {
        match self {
            Self::Plain => Ok(Socket::Plain(stream)),
            #[cfg(feature = "tls")]
            Self::Tls(client) => client
                .connect(host, stream)
                .await
                .map(Box::new)
                .map(Socket::Tls),
        }
    }

    /// Whether the other side should be speaking TLS.
    pub(crate) const fn is_tls(&self) -> bool {
        !matches!(self, Self::Plain)
    }
}

impl TlsSetup {
    #[cfg(feature = "tls")]
    pub(crate) fn new(options: TlsOptions) -> Self {
        let setup = Setup {
            options,
            client: None,
            servers: Vec::new(),
        };
        Self {
            inner: Arc::new(RwLock::new(setup)),
        }
    }

    /// Reads the files of `options` for all that listens and dials.
    ///
    /// # Errors
    /// They do not fit; or clients were asked for certificates so far, and would not be any more.
    #[cfg(feature = "tls")]
    pub(crate) fn renew(&self, options: &TlsOptions) -> Result<TlsRenewal, TlsError> {
        let mut renewal = TlsRenewal::default();
        let setup = self.read();
        if setup.options.has_authority() && !options.has_authority() {
            return Err(TlsError::NoAuthority);
        }
        for (scheme, current) in &setup.servers {
            let (current, new) = (Arc::clone(current), server(scheme, options)?);
            renewal.step(move || {
                *current.write().unwrap_or_else(PoisonError::into_inner) = new;
            });
        }
        let (inner, options) = (Arc::clone(&self.inner), options.clone());
        renewal.step(move || {
            let mut inner = inner.write().unwrap_or_else(PoisonError::into_inner);
            inner.options = options;
            inner.client = None;
        });
        Ok(renewal)
    }

    #[cfg(not(feature = "tls"))]
    pub(crate) fn renew(&self, _: &TlsOptions) -> Result<TlsRenewal, TlsError> {
        Ok(TlsRenewal::default())
    }

    #[cfg(feature = "tls")]
    fn read(&self) -> RwLockReadGuard<'_, Setup> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(not(feature = "tls"))]
    pub(crate) fn new(_: TlsOptions) -> Self {
        Self {}
    }

    /// Whether a listener asks clients for certificates.
    #[cfg(all(feature = "tls", feature = "ws"))]
    pub(crate) fn verifies_clients(&self) -> bool {
        self.read().options.has_authority()
    }

    #[cfg(all(not(feature = "tls"), feature = "ws"))]
    pub(crate) const fn verifies_clients(&self) -> bool {
        false
    }
}

#[cfg(feature = "tls")]
fn server(scheme: &str, options: &TlsOptions) -> Result<RustlsServer, TlsError> {
    match scheme {
        "wss" => RustlsServer::web_socket(options),
        _ => RustlsServer::grpc(options),
    }
}

#[cfg(not(feature = "tls"))]
fn not_built(scheme: &str) -> TlsError {
    TlsError::NotBuilt {
        scheme: if scheme == "wss" { "wss" } else { "grpcs" },
        feature: "tls",
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
