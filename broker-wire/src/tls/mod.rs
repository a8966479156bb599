//! TLS: which files make it up, and what each scheme does with them.
//!
//! | scheme | without options | with options |
//! |---|---|---|
//! | `brokers://` | encryption without authentication, the anonymous suite of Zeek and C++ Broker | TLS 1.2 or newer, each side verifies the other |
//! | `grpcs://` | refused | TLS 1.3; the server's certificate is verified, and the client's where the server has a CA |
//! | `wss://` | refused | the same with TLS 1.2 or newer |
//!
//! Options are [`TlsOptions`]. `brokers://` goes through OpenSSL ([`NativeTls`], feature `openssl` or
//! `openssl-system`), since the anonymous suite exists nowhere else; the others go through rustls
//! ([`RustlsServer`], [`RustlsClient`], feature `tls`).
//!
//! **Invariants:** no deadline is kept here, it is the caller's; whatever the other side sends ends in a
//! stream or in a [`TlsHandshakeError`]; no system trust store is ever consulted; sessions are not resumed,
//! so every connection is verified anew.

mod dismiss;
mod error;
#[cfg(any(feature = "tls", feature = "openssl-system"))]
mod files;
#[cfg(feature = "openssl-system")]
mod native;
mod options;
mod renewal;
#[cfg(feature = "tls")]
mod rustls;

pub(crate) use self::dismiss::dismiss;
pub use self::error::{TlsError, TlsFile, TlsHandshakeError};
#[cfg(feature = "openssl-system")]
pub use self::native::{NativeTls, NativeTlsStream};
pub use self::options::{MAX_PASSPHRASE, TlsOptions};
pub use self::renewal::TlsRenewal;
#[cfg(feature = "tls")]
pub use self::rustls::{RustlsClient, RustlsServer, RustlsStream};
