//! Certificates and keys for rustls.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::rustls::pki_types::pem::PemObject;
use ::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use ::rustls::{Error, InconsistentKeys, RootCertStore};

use crate::tls::error::{TlsError, TlsFile};
use crate::tls::files;
use crate::tls::options::TlsOptions;

/// Our certificate and its key.
pub(super) struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    certificate_path: PathBuf,
    key_path: PathBuf,
}

impl Identity {
    /// Reads them, if any are set.
    pub(super) fn load(options: &TlsOptions) -> Result<Option<Self>, TlsError> {
        let Some((certificate, key)) = options.identity()? else {
            return Ok(None);
        };
        Ok(Some(Self {
            chain: certificates(TlsFile::Certificate, certificate)?,
            key: private_key(key, options.passphrase_bytes())?,
            certificate_path: certificate.to_owned(),
            key_path: key.to_owned(),
        }))
    }

    pub(super) fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.chain.clone()
    }

    pub(super) fn key(&self) -> PrivateKeyDer<'static> {
        self.key.clone_key()
    }

    /// Why rustls does not take them.
    pub(super) fn refused(&self, error: &Error) -> TlsError {
        match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => TlsError::KeyMismatch {
                certificate: self.certificate_path.clone(),
                key: self.key_path.clone(),
            },
            Error::InvalidCertificate(error) => {
                let reason = super::verifier::in_words(error);
                files::unusable(TlsFile::Certificate, &self.certificate_path, reason)
            }
            other => files::unusable(TlsFile::Key, &self.key_path, other),
        }
    }
}

/// The CAs to trust; `None` if none are set.
pub(super) fn authorities(options: &TlsOptions) -> Result<Option<Arc<RootCertStore>>, TlsError> {
    if !options.has_authority() {
        return Ok(None);
    }
    let mut roots = RootCertStore::empty();
    let mut add = |what, path: &Path| {
        for certificate in certificates(what, path)? {
            roots
                .add(certificate)
                .map_err(|error| files::unusable(what, path, error))?;
        }
        Ok(())
    };
    if let Some(path) = options.cafile_path() {
        add(TlsFile::CaFile, path)?;
    }
    if let Some(path) = options.capath_dir() {
        for path in files::hashed_files(path)? {
            add(TlsFile::CaPath, &path)?;
        }
    }
    Ok(Some(Arc::new(roots)))
}

/// The certificates of a file, at least one.
fn certificates(what: TlsFile, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = files::read(what, path)?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| files::unusable(what, path, error))?;
    if certificates.is_empty() {
        return Err(files::not_pem(what, path));
    }
    Ok(certificates)
}

/// Reads a private key. rustls takes no encrypted ones, so those are decrypted by OpenSSL where there is one.
fn private_key(path: &Path, passphrase: Option<&[u8]>) -> Result<PrivateKeyDer<'static>, TlsError> {
    use ::rustls::pki_types::pem::Error as PemError;

    let pem = files::read(TlsFile::Key, path)?;
    if files::is_encrypted(&pem) {
        if passphrase.is_none() {
            return Err(TlsError::NoPassphrase {
                path: path.to_owned(),
            });
        }
        return decrypted(path, passphrase);
    }
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| match error {
        PemError::NoItemsFound => files::not_pem(TlsFile::Key, path),
        error => files::unusable(TlsFile::Key, path, error),
    })
}

#[cfg(feature = "openssl-system")]
fn decrypted(path: &Path, passphrase: Option<&[u8]>) -> Result<PrivateKeyDer<'static>, TlsError> {
    let key = crate::tls::native::load_key(path, passphrase)?;
    let pkcs8 = key
        .private_key_to_pkcs8()
        .map_err(|error| files::unusable(TlsFile::Key, path, error))?;
    Ok(PrivateKeyDer::Pkcs8(pkcs8.into()))
}

#[cfg(not(feature = "openssl-system"))]
fn decrypted(path: &Path, _passphrase: Option<&[u8]>) -> Result<PrivateKeyDer<'static>, TlsError> {
    Err(TlsError::NoDecryption {
        path: path.to_owned(),
    })
}
