//! Reading the files that the options name.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::error::{TlsError, TlsFile};

/// The largest file that is read: a bundle of every public CA has a quarter of that.
pub(super) const MAX_FILE: u64 = 1 << 20;

/// How many certificates of a CA directory are taken.
pub(super) const MAX_CA_FILES: usize = 4096;

/// The whole of a PEM file.
pub(super) fn read(what: TlsFile, path: &Path) -> Result<Vec<u8>, TlsError> {
    let unreadable = |error: io::Error| unreadable(what, path, &error);
    let mut bytes = Vec::new();
    File::open(path)
        .map_err(unreadable)?
        .take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(TlsError::TooLarge {
            what,
            path: path.to_owned(),
            max: MAX_FILE,
        });
    }
    if !has(&bytes, b"-----BEGIN ") {
        return Err(not_pem(what, path));
    }
    Ok(bytes)
}

/// The certificates of a CA directory that OpenSSL would find: those named by the hash of their subject, eight
/// hexadecimal digits, and a number. Sorted, and at least one.
pub(super) fn hashed_files(path: &Path) -> Result<Vec<PathBuf>, TlsError> {
    let unreadable = |error: io::Error| unreadable(TlsFile::CaPath, path, &error);
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        if entry.file_name().to_str().is_some_and(is_hashed) {
            files.push(entry.path());
        }
        if files.len() > MAX_CA_FILES {
            return Err(TlsError::Unusable {
                what: TlsFile::CaPath,
                path: path.to_owned(),
                reason: format!("it has more than {MAX_CA_FILES} certificates"),
            });
        }
    }
    if files.is_empty() {
        return Err(TlsError::NotHashed {
            path: path.to_owned(),
        });
    }
    files.sort_unstable();
    Ok(files)
}

/// Whether a PEM private key is encrypted: the marker of PKCS #8, or the header of the older forms.
pub(super) fn is_encrypted(pem: &[u8]) -> bool {
    has(pem, b"-----BEGIN ENCRYPTED PRIVATE KEY-----") || has(pem, b"Proc-Type: 4,ENCRYPTED")
}

pub(super) fn not_pem(what: TlsFile, path: &Path) -> TlsError {
    TlsError::NotPem {
        what,
        path: path.to_owned(),
    }
}

pub(super) fn unusable(what: TlsFile, path: &Path, reason: impl ToString) -> TlsError {
    TlsError::Unusable {
        what,
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}

fn unreadable(what: TlsFile, path: &Path, error: &io::Error) -> TlsError {
    TlsError::Unreadable {
        what,
        path: path.to_owned(),
        reason: error.to_string(),
    }
}

fn is_hashed(name: &str) -> bool {
    let number = |digits: &str| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    name.split_once('.').is_some_and(|(hash, count)| {
        hash.len() == 8 && hash.bytes().all(|b| b.is_ascii_hexdigit()) && number(count)
    })
}

fn has(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hashed_names_are_certificates_of_a_directory() {
        for name in ["9d66eef0.0", "0a0b0c0d.12"] {
            assert!(is_hashed(name), "{name}");
        }
        for name in [
            "ca.pem",
            "9d66eef0",
            "9d66eef0.",
            "9d66eef0.r0",
            "9d66eef.0",
            "zd66eef0.0",
        ] {
            assert!(!is_hashed(name), "{name}");
        }
    }

    #[test]
    fn both_forms_of_encrypted_keys_are_known() {
        assert!(is_encrypted(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n"));
        assert!(is_encrypted(
            b"-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n"
        ));
        assert!(!is_encrypted(b"-----BEGIN PRIVATE KEY-----\n"));
    }
}
