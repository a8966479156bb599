//! What can be wrong with TLS: with our files, and with who is at the other end.

use std::fmt;
use std::path::PathBuf;

#[cfg(any(feature = "tls", feature = "openssl-system"))]
use crate::first_bytes::Speaks;

/// A file of the [`TlsOptions`](super::TlsOptions).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsFile {
    /// Our certificate, and those between it and the CA.
    Certificate,
    /// The private key of our certificate.
    Key,
    /// The CAs we trust, in one file.
    CaFile,
    /// The CAs we trust, in a directory.
    CaPath,
}

impl fmt::Display for TlsFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificate => "certificate",
            Self::Key => "key",
            Self::CaFile => "CA file",
            Self::CaPath => "CA directory",
        })
    }
}

/// Why the options make no TLS context. Our user or the file is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The file cannot be read.
    #[error("cannot read the {what} {}: {reason}", path.display())]
    Unreadable {
        /// Which file.
        what: TlsFile,
        /// Where.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The file is larger than any of its kind.
    #[error("the {what} {} has more than {max} bytes", path.display())]
    TooLarge {
        /// Which file.
        what: TlsFile,
        /// Where.
        path: PathBuf,
        /// The bound.
        max: u64,
    },
    /// There is nothing of the kind in the file.
    #[error("the {what} {} is no PEM file, or holds nothing of the kind", path.display())]
    NotPem {
        /// Which file.
        what: TlsFile,
        /// Where.
        path: PathBuf,
    },
    /// The file is PEM, but what is in it cannot be used.
    #[error("the {what} {} cannot be used: {reason}", path.display())]
    Unusable {
        /// Which file.
        what: TlsFile,
        /// Where.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A directory without files under hashed names.
    #[error("the CA directory {} has no certificates under hashed names (openssl rehash makes them)", path.display())]
    NotHashed {
        /// Where.
        path: PathBuf,
    },
    /// A certificate without a key, or the reverse.
    #[error("the {what} {} is set, but no {missing}", path.display())]
    Lone {
        /// What is set.
        what: TlsFile,
        /// Where it is.
        path: PathBuf,
        /// What is not set.
        missing: TlsFile,
    },
    /// The key belongs to another certificate.
    #[error("the key {} does not fit the certificate {}", key.display(), certificate.display())]
    KeyMismatch {
        /// The certificate.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// The key is encrypted with another passphrase.
    #[error("the passphrase does not open the key {}", path.display())]
    WrongPassphrase {
        /// The key.
        path: PathBuf,
    },
    /// The key is encrypted.
    #[error("the key {} is encrypted, and no passphrase is set", path.display())]
    NoPassphrase {
        /// The key.
        path: PathBuf,
    },
    /// The key is encrypted, and this build cannot decrypt it.
    #[error("the key {} is encrypted, which needs OpenSSL (feature `openssl` or `openssl-system`)", path.display())]
    NoDecryption {
        /// The key.
        path: PathBuf,
    },
    /// Longer than peers' software takes.
    #[error("the passphrase has {len} bytes, more than {}", super::MAX_PASSPHRASE)]
    PassphraseTooLong {
        /// Its length.
        len: usize,
    },
    /// OpenSSL could not be given it.
    #[error("the passphrase has a zero byte in it")]
    PassphraseWithNul,
    /// A server, or one side of a mutual verification, without a certificate.
    #[error("TLS needs a certificate and a key here")]
    NoCertificate,
    /// Whoever is at the other end could not be verified.
    #[error("TLS needs a CA file or CA directory here, to verify the other side with")]
    NoAuthority,
    /// This build has no TLS of the kind.
    #[error("this build has no TLS for {scheme}:// (feature `{feature}`)")]
    NotBuilt {
        /// The scheme.
        scheme: &'static str,
        /// What turns it on.
        feature: &'static str,
    },
    /// The TLS library refused a setting.
    #[error("the TLS library refused its settings: {reason}")]
    Library {
        /// What it said.
        reason: String,
    },
}

/// Why there is no TLS connection. The other side is at fault, or does not agree with us.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsHandshakeError {
    /// The native protocol, plain.
    #[error("the peer speaks Broker without TLS: use broker:// here or turn TLS on there")]
    SpeaksBroker,
    /// HTTP/2, plain.
    #[error("the peer speaks gRPC without TLS: use grpc:// here or turn TLS on there")]
    SpeaksHttp2,
    /// HTTP/1, plain.
    #[error("the peer speaks HTTP without TLS: use ws:// here or turn TLS on there")]
    SpeaksHttp1,
    /// Nothing that is known here.
    #[error("what the peer sent is not TLS")]
    NotTls,
    /// It went before it said anything.
    #[error("the peer closed the connection before it said anything")]
    ClosedUnheard,
    /// It went in the middle.
    #[error("the peer closed the connection during the TLS handshake")]
    Closed,
    /// It told us what it does not like.
    #[error("the peer refused TLS: {}", refusal(*alert))]
    Refused {
        /// The alert it sent (RFC 8446, 6).
        alert: u8,
    },
    /// It shows no certificate where one is required.
    #[error("the peer shows no certificate, and one is required")]
    NoCertificate,
    /// Its certificate is not good.
    #[error("the peer's certificate is refused: {reason}")]
    BadCertificate {
        /// Why.
        reason: String,
    },
    /// No version or suite both sides have.
    #[error("no common ground with the peer: {reason}")]
    Incompatible {
        /// What the TLS library said.
        reason: String,
    },
    /// The connection broke.
    #[error("connection lost during the TLS handshake: {reason}")]
    Lost {
        /// What the system said.
        reason: String,
    },
    /// It does not keep to the protocol.
    #[error("the TLS handshake failed: {reason}")]
    Failed {
        /// What the TLS library said.
        reason: String,
    },
    /// The host cannot be asked for by name.
    #[error("{host:?} is no host name that a certificate could have")]
    BadHostName {
        /// What was asked for.
        host: String,
    },
}

impl TlsHandshakeError {
    /// What is wrong with a peer that does not speak TLS at all; `None` if it does.
    #[cfg(any(feature = "tls", feature = "openssl-system"))]
    pub(super) const fn of_plain(speaks: Speaks) -> Option<Self> {
        match speaks {
            Speaks::Tls => None,
            Speaks::Broker => Some(Self::SpeaksBroker),
            Speaks::Http2 => Some(Self::SpeaksHttp2),
            Speaks::Http1 => Some(Self::SpeaksHttp1),
            Speaks::Unknown => Some(Self::NotTls),
        }
    }

    /// Whether the other side is worth telling: it speaks something, and has not gone or told us first.
    #[cfg(any(feature = "tls", feature = "openssl-system"))]
    pub(super) const fn is_worth_telling(&self) -> bool {
        match self {
            Self::SpeaksBroker
            | Self::SpeaksHttp2
            | Self::SpeaksHttp1
            | Self::NoCertificate
            | Self::BadCertificate { .. }
            | Self::Incompatible { .. } => true,
            Self::NotTls
            | Self::ClosedUnheard
            | Self::Closed
            | Self::Refused { .. }
            | Self::Lost { .. }
            | Self::Failed { .. }
            | Self::BadHostName { .. } => false,
        }
    }

    /// Whether it is what port scans and health checks do.
    #[must_use]
    pub const fn is_harmless(&self) -> bool {
        matches!(self, Self::ClosedUnheard)
    }
}

/// An alert in words (RFC 8446, 6.2).
fn refusal(alert: u8) -> String {
    let words = match alert {
        40 => {
            "no cipher suite in common, or it wants a certificate (is one side anonymous and the other not?)"
        }
        42 | 43 | 46 => "it does not accept our certificate",
        44 => "our certificate is revoked",
        45 => "our certificate has expired",
        48 => "it does not trust the CA of our certificate",
        49 => "access denied",
        51 => "it could not verify our signature",
        70 => "no TLS version in common",
        71 => "what we offer is too weak for it",
        112 => "it does not know the host name",
        116 => "it requires a certificate, and we have none",
        120 => "it speaks another protocol there (ALPN)",
        _ => return format!("alert {alert}"),
    };
    format!("{words} (alert {alert})")
}
