//! TLS of `grpcs://` and `wss://`, through rustls with ring.
//!
//! The provider is always named, never the process's default, so that a program that embeds this crate may use
//! rustls as it likes.

mod material;
mod stream;
mod verifier;

use std::io;
use std::sync::Arc;

use ::rustls::client::Resumption;
use ::rustls::crypto::ring;
use ::rustls::pki_types::ServerName;
use ::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use ::rustls::version::{TLS12, TLS13};
use ::rustls::{ClientConfig, Error, ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use self::material::{Identity, authorities};
pub use self::stream::RustlsStream;
use self::verifier::ServerVerifier;
use super::dismiss::dismiss;
use super::error::{TlsError, TlsHandshakeError};
use super::options::TlsOptions;
use crate::first_bytes::{Watched, Witness};

/// What a scheme wants of TLS.
struct Profile {
    versions: &'static [&'static SupportedProtocolVersion],
    /// The protocol named by ALPN (RFC 7301).
    alpn: &'static [u8],
}

/// Both ends are ours or current gRPC libraries.
const GRPC: Profile = Profile {
    versions: &[&TLS13],
    alpn: b"h2",
};

/// Clients in any language, of any age.
const WEB_SOCKET: Profile = Profile {
    versions: &[&TLS13, &TLS12],
    alpn: b"http/1.1",
};

/// How a listener of `grpcs://` or `wss://` makes a connection safe. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct RustlsServer {
    config: Arc<ServerConfig>,
}

impl RustlsServer {
    /// For `grpcs://`: TLS 1.3, ALPN `h2`. Blocks on reading the files of `options`.
    ///
    /// # Errors
    /// See [`TlsError`]. Certificate and key are required. With a CA every client must show a certificate that
    /// chains to it; without one, clients are not asked.
    pub fn grpc(options: &TlsOptions) -> Result<Self, TlsError> {
        Self::new(options, &GRPC)
    }

    /// For `wss://`: TLS 1.2 or newer, ALPN `http/1.1`. Blocks on reading the files of `options`.
    ///
    /// # Errors
    /// As of [`grpc`](Self::grpc).
    pub fn web_socket(options: &TlsOptions) -> Result<Self, TlsError> {
        Self::new(options, &WEB_SOCKET)
    }

    fn new(options: &TlsOptions, profile: &Profile) -> Result<Self, TlsError> {
        let identity = Identity::load(options)?.ok_or(TlsError::NoCertificate)?;
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(profile.versions)
            .map_err(|error| library(&error))?;
        let builder = match authorities(options)? {
            Some(roots) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider)
                    .build()
                    .map_err(|error| TlsError::Library {
                        reason: error.to_string(),
                    })?;
                builder.with_client_cert_verifier(verifier)
            }
            None => builder.with_no_client_auth(),
        };
        let mut config = builder
            .with_single_cert(identity.chain(), identity.key())
            .map_err(|error| identity.refused(&error))?;
        config.alpn_protocols = vec![profile.alpn.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self {
            config: Arc::new(config),
        })
    }

    /// Does the handshake of the side that listened. There is no deadline but the caller's. Who is refused is
    /// told so in TLS, and given a second to read it.
    ///
    /// # Errors
    /// See [`TlsHandshakeError`].
    ///
    /// # Cancel safety
    /// If the future is dropped, so is `stream`.
    pub async fn accept<S>(&self, stream: S) -> Result<RustlsStream<S>, TlsHandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let witness = Witness::default();
        let watched = Watched::new(stream, witness.clone());
        let acceptor = TlsAcceptor::from(Arc::clone(&self.config));
        match acceptor.accept(watched).into_fallible().await {
            Ok(stream) => Ok(RustlsStream::new(stream.into())),
            Err((error, mut watched)) => {
                let error = diagnose(&error, &witness);
                if error.is_worth_telling() {
                    dismiss(&mut watched, &[]).await;
                }
                Err(error)
            }
        }
    }
}

/// How a client of `grpcs://` or `wss://` makes a connection safe. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct RustlsClient {
    config: Arc<ClientConfig>,
}

impl RustlsClient {
    /// For `grpcs://`: TLS 1.3, ALPN `h2`. Blocks on reading the files of `options`.
    ///
    /// # Errors
    /// See [`TlsError`]. A CA is required; certificate and key are shown to a server that asks for them.
    pub fn grpc(options: &TlsOptions) -> Result<Self, TlsError> {
        Self::new(options, &GRPC)
    }

    /// For `wss://`: TLS 1.2 or newer, ALPN `http/1.1`. Blocks on reading the files of `options`.
    ///
    /// # Errors
    /// As of [`grpc`](Self::grpc).
    pub fn web_socket(options: &TlsOptions) -> Result<Self, TlsError> {
        Self::new(options, &WEB_SOCKET)
    }

    fn new(options: &TlsOptions, profile: &Profile) -> Result<Self, TlsError> {
        let identity = Identity::load(options)?;
        let roots = authorities(options)?.ok_or(TlsError::NoAuthority)?;
        let provider = Arc::new(ring::default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(profile.versions)
            .map_err(|error| library(&error))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(ServerVerifier::new(
                roots,
                algorithms,
                options.verifies_host_name(),
            )));
        let mut config = match &identity {
            Some(identity) => builder
                .with_client_auth_cert(identity.chain(), identity.key())
                .map_err(|error| identity.refused(&error))?,
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![profile.alpn.to_vec()];
        config.resumption = Resumption::disabled();
        Ok(Self {
            config: Arc::new(config),
        })
    }

    /// Does the handshake of the side that dialled `host`, a name or an address without brackets. There is no
    /// deadline but the caller's.
    ///
    /// In TLS 1.3 the server looks at our certificate only after this has succeeded; its refusal is then what
    /// reading from the stream fails with, a [`TlsHandshakeError`] inside the [`io::Error`].
    ///
    /// # Errors
    /// See [`TlsHandshakeError`].
    ///
    /// # Cancel safety
    /// If the future is dropped, so is `stream`.
    pub async fn connect<S>(
        &self,
        host: &str,
        stream: S,
    ) -> Result<RustlsStream<S>, TlsHandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name =
            ServerName::try_from(host.to_owned()).map_err(|_| TlsHandshakeError::BadHostName {
                host: host.to_owned(),
            })?;
        let witness = Witness::default();
        let watched = Watched::new(stream, witness.clone());
        match TlsConnector::from(Arc::clone(&self.config))
            .connect(name, watched)
            .await
        {
            Ok(stream) => Ok(RustlsStream::new(stream.into())),
            Err(error) => Err(diagnose(&error, &witness)),
        }
    }
}

fn library(error: &Error) -> TlsError {
    TlsError::Library {
        reason: error.to_string(),
    }
}

/// Why a handshake failed: what the other side speaks, if it is not TLS, says more than how TLS took it.
fn diagnose(error: &io::Error, witness: &Witness) -> TlsHandshakeError {
    let closed = matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset
    );
    match witness.speaks() {
        None if closed => return TlsHandshakeError::ClosedUnheard,
        None => {}
        Some(speaks) => {
            if let Some(plain) = TlsHandshakeError::of_plain(speaks) {
                return plain;
            }
        }
    }
    explain(error).unwrap_or_else(|| {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            TlsHandshakeError::Closed
        } else {
            TlsHandshakeError::Lost {
                reason: error.to_string(),
            }
        }
    })
}

/// What rustls has to say; `None` if the error is not its own.
fn explain(error: &io::Error) -> Option<TlsHandshakeError> {
    let inner = error.get_ref()?.downcast_ref::<Error>()?;
    Some(match inner {
        Error::AlertReceived(alert) => TlsHandshakeError::Refused {
            alert: u8::from(*alert),
        },
        Error::NoCertificatesPresented => TlsHandshakeError::NoCertificate,
        Error::InvalidCertificate(reason) => TlsHandshakeError::BadCertificate {
            reason: verifier::in_words(reason),
        },
        Error::PeerIncompatible(_) | Error::NoApplicationProtocol => {
            TlsHandshakeError::Incompatible {
                reason: inner.to_string(),
            }
        }
        other => TlsHandshakeError::Failed {
            reason: other.to_string(),
        },
    })
}
