//! TLS of `brokers://`, through OpenSSL, as C++ Broker and Zeek do it (broker-wire reference, 9).
//!
//! Without options both sides agree on TLS_ECDH_anon_WITH_AES_256_CBC_SHA: nobody can listen in who only
//! listens, and nobody is who they say. With options both show a certificate that chains to the other's CA;
//! host names are not looked at, since Broker's peers are nodes and not hosts.

use std::fmt;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{
    self, Ssl, SslContext, SslContextBuilder, SslMethod, SslMode, SslOptions, SslRef,
    SslSessionCacheMode, SslVerifyMode, SslVersion,
};
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::{X509, X509VerifyResult};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_openssl::SslStream;

use super::dismiss::dismiss;
use super::error::{TlsError, TlsFile, TlsHandshakeError};
use super::files;
use super::options::TlsOptions;
use crate::first_bytes::{Watched, Witness};

/// How `brokers://` makes a connection safe, both ways round. Cloning is cheap.
#[derive(Clone)]
pub struct NativeTls {
    context: SslContext,
    anonymous: bool,
}

impl NativeTls {
    /// Reads the files of `options` and checks that they fit together. Blocks on reading them.
    ///
    /// # Errors
    /// See [`TlsError`]. With any option set, certificate, key and a CA are all required: C++ Broker ends its
    /// process without the first two, and without a CA no peer could ever be verified.
    pub fn new(options: &TlsOptions) -> Result<Self, TlsError> {
        let anonymous = options.is_anonymous();
        let context = if anonymous {
            anonymous_context().map_err(|error| library(&error))?
        } else {
            mutual_context(options)?
        };
        Ok(Self { context, anonymous })
    }

    /// Whether peers are not verified.
    #[must_use]
    pub const fn is_anonymous(&self) -> bool {
        self.anonymous
    }

    /// Does the handshake of the side that dialled. There is no deadline but the caller's.
    ///
    /// In TLS 1.3 the other side looks at our certificate only after this has succeeded; its refusal is then
    /// what reading from the stream fails with, a [`TlsHandshakeError`] inside the [`io::Error`].
    ///
    /// # Errors
    /// See [`TlsHandshakeError`].
    ///
    /// # Cancel safety
    /// If the future is dropped, so is `stream`.
    pub async fn connect<S>(&self, stream: S) -> Result<NativeTlsStream<S>, TlsHandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.handshake(stream, Role::Connector).await
    }

    /// Does the handshake of the side that listened. There is no deadline but the caller's. Who is refused is
    /// told so in TLS, and given a second to read it.
    ///
    /// # Errors
    /// See [`TlsHandshakeError`].
    ///
    /// # Cancel safety
    /// If the future is dropped, so is `stream`.
    pub async fn accept<S>(&self, stream: S) -> Result<NativeTlsStream<S>, TlsHandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.handshake(stream, Role::Acceptor).await
    }

    async fn handshake<S>(
        &self,
        stream: S,
        role: Role,
    ) -> Result<NativeTlsStream<S>, TlsHandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let failed = |error: ErrorStack| TlsHandshakeError::Failed {
            reason: error.to_string(),
        };
        let witness = Witness::default();
        let ssl = Ssl::new(&self.context).map_err(failed)?;
        let watched = Watched::new(stream, witness.clone());
        let mut stream = SslStream::new(ssl, watched).map_err(failed)?;
        let done = match role {
            Role::Connector => Pin::new(&mut stream).connect().await,
            Role::Acceptor => Pin::new(&mut stream).accept().await,
        };
        match done {
            Ok(()) => Ok(NativeTlsStream(stream)),
            Err(error) => {
                let error = match witness.speaks() {
                    None if is_eof(&error) => TlsHandshakeError::ClosedUnheard,
                    None => explain(&error, stream.ssl()),
                    Some(speaks) => TlsHandshakeError::of_plain(speaks)
                        .unwrap_or_else(|| explain(&error, stream.ssl())),
                };
                if matches!(role, Role::Acceptor) && error.is_worth_telling() {
                    dismiss(stream.get_mut(), &[]).await;
                }
                Err(error)
            }
        }
    }
}

impl fmt::Debug for NativeTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NativeTls")
            .field("anonymous", &self.anonymous)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Copy)]
enum Role {
    Connector,
    Acceptor,
}

/// A connection of `brokers://`. The end of the stream without a farewell of TLS is an ordinary end, since C++
/// Broker says none; the frames above know where they end.
pub struct NativeTlsStream<S>(SslStream<Watched<S>>);

impl<S> NativeTlsStream<S> {
    /// The protocol version, for example `TLSv1.3`.
    #[must_use]
    pub fn version(&self) -> &'static str {
        self.0.ssl().version_str()
    }

    /// The cipher suite in OpenSSL's words, for example `AECDH-AES256-SHA`.
    #[must_use]
    pub fn cipher(&self) -> &'static str {
        self.0
            .ssl()
            .current_cipher()
            .map_or("none", |cipher| cipher.name())
    }
}

impl<S> fmt::Debug for NativeTlsStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NativeTlsStream")
            .field("version", &self.version())
            .field("cipher", &self.cipher())
            .finish_non_exhaustive()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for NativeTlsStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let result = ready!(Pin::new(&mut self.0).poll_read(cx, buf));
        Poll::Ready(result.map_err(|error| in_words(error, self.0.ssl())))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for NativeTlsStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = ready!(Pin::new(&mut self.0).poll_write(cx, buf));
        Poll::Ready(result.map_err(|error| in_words(error, self.0.ssl())))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// The suite of a Zeek without TLS options (broker-wire reference, 9). It has no certificate to sign with, so
/// OpenSSL allows it at security level 0 only, and TLS 1.3 does not have it at all.
fn anonymous_context() -> Result<SslContext, ErrorStack> {
    let mut builder = common_context()?;
    builder.set_max_proto_version(Some(SslVersion::TLS1_2))?;
    builder.set_cipher_list("AECDH-AES256-SHA@SECLEVEL=0")?;
    builder.set_groups_list("P-384")?;
    builder.set_verify(SslVerifyMode::NONE);
    Ok(builder.build())
}

fn mutual_context(options: &TlsOptions) -> Result<SslContext, TlsError> {
    let (certificate, key) = options.identity()?.ok_or(TlsError::NoCertificate)?;
    if !options.has_authority() {
        return Err(TlsError::NoAuthority);
    }
    let library = |error: ErrorStack| library(&error);
    let mut builder = common_context().map_err(library)?;
    // What C++ Broker asks for; suites of TLS 1.3 are OpenSSL's own choice.
    builder
        .set_cipher_list("HIGH:!aNULL:!MD5")
        .map_err(library)?;

    let chain = certificates(TlsFile::Certificate, certificate)?;
    let private = load_key(key, options.passphrase_bytes())?;
    for (index, link) in chain.into_iter().enumerate() {
        if index > 0 {
            builder.add_extra_chain_cert(link).map_err(library)?;
            continue;
        }
        let unusable =
            |error: ErrorStack| files::unusable(TlsFile::Certificate, certificate, reason(&error));
        if !link.public_key().map_err(unusable)?.public_eq(&private) {
            return Err(TlsError::KeyMismatch {
                certificate: certificate.to_owned(),
                key: key.to_owned(),
            });
        }
        builder.set_certificate(&link).map_err(unusable)?;
    }
    builder
        .set_private_key(&private)
        .map_err(|error| files::unusable(TlsFile::Key, key, reason(&error)))?;

    let mut store = X509StoreBuilder::new().map_err(library)?;
    if let Some(path) = options.cafile_path() {
        for authority in certificates(TlsFile::CaFile, path)? {
            store.add_cert(authority).map_err(library)?;
        }
    }
    if let Some(path) = options.capath_dir() {
        for path in files::hashed_files(path)? {
            for authority in certificates(TlsFile::CaPath, &path)? {
                store.add_cert(authority).map_err(library)?;
            }
        }
    }
    builder.set_cert_store(store.build());
    builder.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
    Ok(builder.build())
}

fn common_context() -> Result<SslContextBuilder, ErrorStack> {
    let mut builder = SslContext::builder(SslMethod::tls())?;
    builder.set_min_proto_version(Some(SslVersion::TLS1_2))?;
    // A write that could not be finished may be tried again from another buffer.
    builder.set_mode(SslMode::ENABLE_PARTIAL_WRITE | SslMode::ACCEPT_MOVING_WRITE_BUFFER);
    builder.set_options(
        SslOptions::NO_RENEGOTIATION
            | SslOptions::NO_COMPRESSION
            | SslOptions::NO_TICKET
            | SslOptions::IGNORE_UNEXPECTED_EOF,
    );
    builder.set_session_cache_mode(SslSessionCacheMode::OFF);
    builder.set_num_tickets(0)?;
    // One read of the socket for many records, rather than two for each.
    builder.set_read_ahead(true);
    Ok(builder)
}

/// The certificates of a file, at least one.
fn certificates(what: TlsFile, path: &Path) -> Result<Vec<X509>, TlsError> {
    let pem = files::read(what, path)?;
    let certificates =
        X509::stack_from_pem(&pem).map_err(|error| files::unusable(what, path, reason(&error)))?;
    if certificates.is_empty() {
        return Err(files::not_pem(what, path));
    }
    Ok(certificates)
}

/// Reads a private key, decrypting it if it is encrypted.
pub(super) fn load_key(path: &Path, passphrase: Option<&[u8]>) -> Result<PKey<Private>, TlsError> {
    let pem = files::read(TlsFile::Key, path)?;
    let encrypted = files::is_encrypted(&pem);
    if encrypted && passphrase.is_none() {
        return Err(TlsError::NoPassphrase {
            path: path.to_owned(),
        });
    }
    // Without any passphrase OpenSSL would ask for one at the terminal.
    let passphrase = passphrase.unwrap_or_default();
    PKey::private_key_from_pem_passphrase(&pem, passphrase).map_err(|error| {
        if encrypted {
            TlsError::WrongPassphrase {
                path: path.to_owned(),
            }
        } else if !contains(&pem, b"PRIVATE KEY-----") {
            files::not_pem(TlsFile::Key, path)
        } else {
            files::unusable(TlsFile::Key, path, reason(&error))
        }
    })
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

fn library(error: &ErrorStack) -> TlsError {
    TlsError::Library {
        reason: reason(error),
    }
}

/// The last thing OpenSSL complained about, without its file names and numbers.
fn reason(error: &ErrorStack) -> String {
    let last = error.errors().last();
    last.and_then(|error| error.reason())
        .map_or_else(|| "no reason given".to_owned(), str::to_owned)
}

fn is_eof(error: &ssl::Error) -> bool {
    /// SSL_R_UNEXPECTED_EOF_WHILE_READING
    const UNEXPECTED_EOF: i32 = 294;
    match (error.io_error(), error.ssl_error()) {
        (Some(error), _) => matches!(
            error.kind(),
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset
        ),
        (None, Some(stack)) => stack
            .errors()
            .iter()
            .any(|error| error.reason_code() == UNEXPECTED_EOF),
        (None, None) => true,
    }
}

/// What went wrong with a peer that does speak TLS.
fn explain(error: &ssl::Error, ssl: &SslRef) -> TlsHandshakeError {
    // Of <openssl/sslerr.h>; an alert that was received is SSL_AD_REASON_OFFSET and its number.
    const ALERTS: std::ops::RangeInclusive<i32> = 1000..=1255;
    const NO_SHARED_CIPHER: i32 = 193;
    const NO_CERTIFICATE_RETURNED: i32 = 199;
    const UNSUPPORTED_PROTOCOL: i32 = 258;

    let Some(stack) = error.ssl_error() else {
        return match error.io_error() {
            Some(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
                TlsHandshakeError::Lost {
                    reason: error.to_string(),
                }
            }
            _ => TlsHandshakeError::Closed,
        };
    };
    for error in stack.errors() {
        let code = error.reason_code();
        if ALERTS.contains(&code) {
            let alert = u8::try_from(code - ALERTS.start()).expect("the range has 256 numbers");
            return TlsHandshakeError::Refused { alert };
        }
        if code == NO_CERTIFICATE_RETURNED {
            return TlsHandshakeError::NoCertificate;
        }
        if matches!(code, NO_SHARED_CIPHER | UNSUPPORTED_PROTOCOL) {
            return TlsHandshakeError::Incompatible {
                reason: format!(
                    "{} (is one side anonymous and the other not?)",
                    reason(stack)
                ),
            };
        }
    }
    let verified = ssl.verify_result();
    if verified != X509VerifyResult::OK {
        return TlsHandshakeError::BadCertificate {
            reason: verified.error_string().to_owned(),
        };
    }
    if is_eof(error) {
        return TlsHandshakeError::Closed;
    }
    TlsHandshakeError::Failed {
        reason: reason(stack),
    }
}

/// An error after the handshake, in words rather than in OpenSSL's codes.
fn in_words(error: io::Error, ssl: &SslRef) -> io::Error {
    let inner = error.get_ref();
    match inner.and_then(|inner| inner.downcast_ref::<ssl::Error>()) {
        Some(inner) => io::Error::new(error.kind(), explain(inner, ssl)),
        None => error,
    }
}
