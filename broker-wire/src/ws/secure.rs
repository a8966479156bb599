//! What a WebSocket runs over: a plain connection or one with TLS, as the scheme of the address says.

#[cfg(feature = "tls")]
use std::sync::{Arc, OnceLock};

use broker_core::PeerUrl;
use tokio::net::TcpStream;

use super::socket::Io;
#[cfg(feature = "tls")]
use crate::tls::{RustlsClient, RustlsServer};
use crate::tls::{TlsError, TlsHandshakeError, TlsOptions};

/// The TLS of a transport. A client context is made when it is first needed, and kept; a failure is not, so that a file
/// may be put right while the node runs.
#[derive(Clone, Debug)]
pub(crate) struct TlsSetup {
    #[cfg(feature = "tls")]
    options: TlsOptions,
    #[cfg(feature = "tls")]
    client: Arc<OnceLock<RustlsClient>>,
}

impl TlsSetup {
    #[cfg(feature = "tls")]
    pub(crate) fn new(options: TlsOptions) -> Self {
        Self {
            options,
            client: Arc::default(),
        }
    }

    #[cfg(not(feature = "tls"))]
    pub(crate) fn new(_: TlsOptions) -> Self {
        Self {}
    }

    /// Whether a listener asks clients for certificates.
    #[cfg(feature = "tls")]
    pub(crate) const fn verifies_clients(&self) -> bool {
        self.options.has_authority()
    }

    #[cfg(not(feature = "tls"))]
    pub(crate) const fn verifies_clients(&self) -> bool {
        false
    }
}

/// How accepted connections become streams.
#[derive(Clone, Debug)]
pub(crate) enum Acceptor {
    Plain,
    #[cfg(feature = "tls")]
    Tls(RustlsServer),
}

impl Acceptor {
    /// The one that `url` asks for.
    pub(crate) fn new(url: &PeerUrl, tls: Option<&TlsSetup>) -> Result<Self, TlsError> {
        match url.scheme() {
            "wss" => Self::with_tls(tls),
            _ => Ok(Self::Plain),
        }
    }

    #[cfg(feature = "tls")]
    fn with_tls(tls: Option<&TlsSetup>) -> Result<Self, TlsError> {
        let options = &tls.ok_or(TlsError::NoCertificate)?.options;
        RustlsServer::web_socket(options).map(Self::Tls)
    }

    #[cfg(not(feature = "tls"))]
    fn with_tls(_: Option<&TlsSetup>) -> Result<Self, TlsError> {
        Err(NOT_BUILT)
    }

    pub(crate) async fn accept(&self, stream: TcpStream) -> Result<Io, TlsHandshakeError> {
        match self {
            Self::Plain => Ok(Box::new(stream)),
            #[cfg(feature = "tls")]
            Self::Tls(server) => Ok(Box::new(server.accept(stream).await?)),
        }
    }
}

/// How dialled connections become streams.
pub(crate) enum Connector {
    Plain,
    #[cfg(feature = "tls")]
    Tls(RustlsClient),
}

impl Connector {
    /// The one that `url` asks for.
    pub(crate) fn new(url: &PeerUrl, tls: Option<&TlsSetup>) -> Result<Self, TlsError> {
        match url.scheme() {
            "wss" => Self::with_tls(tls),
            _ => Ok(Self::Plain),
        }
    }

    #[cfg(feature = "tls")]
    fn with_tls(tls: Option<&TlsSetup>) -> Result<Self, TlsError> {
        let tls = tls.ok_or(TlsError::NoAuthority)?;
        if let Some(client) = tls.client.get() {
            return Ok(Self::Tls(client.clone()));
        }
        let client = RustlsClient::web_socket(&tls.options)?;
        Ok(Self::Tls(tls.client.get_or_init(|| client).clone()))
    }

    #[cfg(not(feature = "tls"))]
    fn with_tls(_: Option<&TlsSetup>) -> Result<Self, TlsError> {
        Err(NOT_BUILT)
    }

    #[cfg_attr(not(feature = "tls"), expect(unused_variables))]
    pub(crate) async fn connect(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> Result<Io, TlsHandshakeError> {
        match self {
            Self::Plain => Ok(Box::new(stream)),
            #[cfg(feature = "tls")]
            Self::Tls(client) => Ok(Box::new(client.connect(host, stream).await?)),
        }
    }
}

#[cfg(not(feature = "tls"))]
const NOT_BUILT: TlsError = TlsError::NotBuilt {
    scheme: "wss",
    feature: "tls",
};
