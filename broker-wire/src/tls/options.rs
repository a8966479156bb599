//! What a user says about TLS.

use std::fmt;
#[cfg(any(feature = "tls", feature = "openssl-system"))]
use std::path::Path;
use std::path::PathBuf;

#[cfg(any(feature = "tls", feature = "openssl-system"))]
use super::error::{TlsError, TlsFile};

/// The longest passphrase, in bytes: what Zeek and C++ Broker take (broker-wire reference, 9).
pub const MAX_PASSPHRASE: usize = 127;

/// Which certificates to show and whom to trust, the same for every scheme.
///
/// Files are read when a context is made of the options, not here; a context keeps what it read, so a
/// renewed certificate takes effect with the next start.
///
/// ```
/// use broker_wire::tls::TlsOptions;
///
/// assert!(TlsOptions::new().is_anonymous());
/// let options = TlsOptions::new()
///     .certificate("node.pem")
///     .key("node.key")
///     .passphrase("secret")
///     .cafile("ca.pem");
/// assert!(!options.is_anonymous());
/// assert!(!format!("{options:?}").contains("secret"));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct TlsOptions {
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    passphrase: Option<String>,
    cafile: Option<PathBuf>,
    capath: Option<PathBuf>,
    verify_host_name: bool,
}

impl TlsOptions {
    /// No files: anonymous for `brokers://`, refused by the other schemes.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            certificate: None,
            key: None,
            passphrase: None,
            cafile: None,
            capath: None,
            verify_host_name: true,
        }
    }

    /// A PEM file with our certificate and, behind it, those between it and the CA. Default: none. Needs
    /// [`key`](Self::key). Every server needs one; so does a `brokers://` client unless anonymous, and every
    /// client of a server that has a CA.
    #[must_use]
    pub fn certificate(mut self, path: impl Into<PathBuf>) -> Self {
        self.certificate = Some(path.into());
        self
    }

    /// A PEM file with the private key of our certificate. Default: none.
    #[must_use]
    pub fn key(mut self, path: impl Into<PathBuf>) -> Self {
        self.key = Some(path.into());
        self
    }

    /// What the key is encrypted with, at most [`MAX_PASSPHRASE`] bytes. Default: none; then an encrypted
    /// key is an error, and nobody is asked at a terminal. Not used if the key is not encrypted.
    #[must_use]
    pub fn passphrase(mut self, passphrase: impl Into<String>) -> Self {
        self.passphrase = Some(passphrase.into());
        self
    }

    /// A PEM file with the certificates of the CAs that peers' certificates must chain to. Default: none. The
    /// system's trust store is never used.
    #[must_use]
    pub fn cafile(mut self, path: impl Into<PathBuf>) -> Self {
        self.cafile = Some(path.into());
        self
    }

    /// A directory of CA certificates under the names that `openssl rehash` gives them, beside or instead of
    /// [`cafile`](Self::cafile). Default: none. Files under other names are ignored.
    #[must_use]
    pub fn capath(mut self, path: impl Into<PathBuf>) -> Self {
        self.capath = Some(path.into());
        self
    }

    /// Whether a client of `grpcs://` and `wss://` demands that the server's certificate names the host it
    /// dialled. Default: yes. Off where certificates name nodes rather than hosts; then any certificate of
    /// the CA passes for any server. `brokers://` never asks, as Zeek does not.
    #[must_use]
    pub const fn verify_host_name(mut self, verify: bool) -> Self {
        self.verify_host_name = verify;
        self
    }

    /// Whether no file and no passphrase is set, which is what makes `brokers://` anonymous.
    #[must_use]
    pub const fn is_anonymous(&self) -> bool {
        let Self {
            certificate,
            key,
            passphrase,
            cafile,
            capath,
            verify_host_name: _,
        } = self;
        certificate.is_none()
            && key.is_none()
            && passphrase.is_none()
            && cafile.is_none()
            && capath.is_none()
    }
}

/// For those who make contexts.
#[cfg(any(feature = "tls", feature = "openssl-system"))]
impl TlsOptions {
    /// Certificate and key, if set; an error if only one is.
    pub(super) fn identity(&self) -> Result<Option<(&Path, &Path)>, TlsError> {
        if let Some(passphrase) = &self.passphrase {
            let len = passphrase.len();
            if len > MAX_PASSPHRASE {
                return Err(TlsError::PassphraseTooLong { len });
            }
            if passphrase.contains('\0') {
                return Err(TlsError::PassphraseWithNul);
            }
        }
        match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => Ok(Some((certificate, key))),
            (None, None) => Ok(None),
            (Some(certificate), None) => Err(TlsError::Lone {
                what: TlsFile::Certificate,
                path: certificate.clone(),
                missing: TlsFile::Key,
            }),
            (None, Some(key)) => Err(TlsError::Lone {
                what: TlsFile::Key,
                path: key.clone(),
                missing: TlsFile::Certificate,
            }),
        }
    }

    pub(super) fn passphrase_bytes(&self) -> Option<&[u8]> {
        self.passphrase.as_deref().map(str::as_bytes)
    }

    pub(super) fn cafile_path(&self) -> Option<&Path> {
        self.cafile.as_deref()
    }

    pub(super) fn capath_dir(&self) -> Option<&Path> {
        self.capath.as_deref()
    }

    pub(crate) const fn has_authority(&self) -> bool {
        self.cafile.is_some() || self.capath.is_some()
    }

    #[cfg(feature = "tls")]
    pub(super) const fn verifies_host_name(&self) -> bool {
        self.verify_host_name
    }
}

impl Default for TlsOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for TlsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsOptions")
            .field("certificate", &self.certificate)
            .field("key", &self.key)
            .field("passphrase", &self.passphrase.as_ref().map(|_| ".."))
            .field("cafile", &self.cafile)
            .field("capath", &self.capath)
            .field("verify_host_name", &self.verify_host_name)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_file_or_passphrase_ends_anonymity() {
        let none = TlsOptions::new().verify_host_name(false);
        assert!(none.is_anonymous());
        for some in [
            none.clone().certificate("a"),
            none.clone().key("a"),
            none.clone().passphrase("a"),
            none.clone().cafile("a"),
            none.capath("a"),
        ] {
            assert!(!some.is_anonymous(), "{some:?}");
        }
    }

    #[cfg(any(feature = "tls", feature = "openssl-system"))]
    fn refused(options: &TlsOptions) -> Option<String> {
        options.identity().err().map(|error| error.to_string())
    }

    #[cfg(any(feature = "tls", feature = "openssl-system"))]
    #[test]
    fn a_certificate_and_a_key_come_together() {
        assert_eq!(
            refused(&TlsOptions::new().certificate("a.pem")).as_deref(),
            Some("the certificate a.pem is set, but no key")
        );
        assert_eq!(
            refused(&TlsOptions::new().key("a.key")).as_deref(),
            Some("the key a.key is set, but no certificate")
        );
        assert_eq!(refused(&TlsOptions::new().certificate("a").key("b")), None);
        assert_eq!(TlsOptions::new().identity(), Ok(None));
    }

    #[cfg(any(feature = "tls", feature = "openssl-system"))]
    #[test]
    fn a_passphrase_has_at_most_127_bytes_and_no_nul() {
        let of = |passphrase: &str| refused(&TlsOptions::new().passphrase(passphrase));
        assert_eq!(of(&"x".repeat(127)), None);
        assert_eq!(
            of(&"x".repeat(128)).as_deref(),
            Some("the passphrase has 128 bytes, more than 127")
        );
        assert_eq!(
            of("a\0b").as_deref(),
            Some("the passphrase has a zero byte in it")
        );
    }

    #[test]
    fn a_passphrase_is_not_printed() {
        let options = TlsOptions::new().key("a.key").passphrase("hunter2");
        assert!(!format!("{options:?} {options:#?}").contains("hunter2"));
    }
}
