//! Certificates for tests: a CA in a directory of its own, and what it signs for 127.0.0.1.

use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};
use tempfile::TempDir;

/// A certificate authority, and the files that nodes of its cluster get. All of them have one key, which is good for
/// nothing else.
#[derive(Debug)]
pub struct Certificates {
    directory: TempDir,
}

impl Certificates {
    /// A CA with a certificate for 127.0.0.1 and one for another host.
    ///
    /// # Panics
    /// If the files cannot be written.
    #[must_use]
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "test CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let own_key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, own_key).expect("a CA");
        let key = KeyPair::from_pem(KEY).expect("a key");
        let issue = |host: &str| {
            let mut params = CertificateParams::new(vec![host.to_owned()]).expect("a host");
            params.distinguished_name.push(DnType::CommonName, host);
            params
                .signed_by(&key, &issuer)
                .expect("a certificate")
                .pem()
        };
        let directory = tempfile::tempdir().expect("a temporary directory");
        for (name, text) in [
            ("ca.pem", issuer.pem().as_str()),
            ("node.pem", &issue("127.0.0.1")),
            ("elsewhere.pem", &issue("elsewhere.example")),
            ("node.key", KEY),
            ("encrypted.key", ENCRYPTED_KEY),
            ("passphrase", &format!("{PASSPHRASE}\n")),
        ] {
            std::fs::write(directory.path().join(name), text).expect("written");
        }
        Self { directory }
    }

    /// A file: `ca.pem`, `node.pem`, `elsewhere.pem`, `node.key`, `encrypted.key` or `passphrase`.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The arguments of a node or client that shows its certificate and verifies others.
    #[must_use]
    pub fn args(&self) -> Vec<String> {
        [
            ("--tls-certificate", "node.pem"),
            ("--tls-key", "node.key"),
            ("--tls-cafile", "ca.pem"),
        ]
        .into_iter()
        .flat_map(|(option, name)| [option.to_owned(), self.file(name).display().to_string()])
        .collect()
    }
}

impl Default for Certificates {
    fn default() -> Self {
        Self::new()
    }
}

/// What decrypts `encrypted.key`.
pub const PASSPHRASE: &str = "hush";

const KEY: &str = include_str!("data/key.pem");
const ENCRYPTED_KEY: &str = include_str!("data/key-encrypted.pem");
