//! Certificates for tests: a CA in a directory of its own, and what it signs.

#![allow(dead_code)] // each test program uses a part of it

use std::fs;
use std::path::{Path, PathBuf};

use broker_wire::tls::TlsOptions;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use tempfile::TempDir;

/// The host names of every certificate, unless a test says otherwise.
const HOSTS: [&str; 2] = ["localhost", "127.0.0.1"];

/// A certificate authority.
pub(crate) struct Pki {
    dir: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key.
#[derive(Clone)]
pub(crate) struct Files {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Files {
    pub(crate) fn options(&self) -> TlsOptions {
        TlsOptions::new()
            .certificate(&self.certificate)
            .key(&self.key)
    }
}

impl Pki {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { dir, issuer }
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// A certificate for the host we test on.
    pub(crate) fn issue(&self, name: &str) -> Files {
        self.issue_with(name, |_| {})
    }

    /// A certificate that was good once.
    pub(crate) fn issue_expired(&self, name: &str) -> Files {
        self.issue_with(name, |params| {
            params.not_before = date_time_ymd(2000, 1, 1);
            params.not_after = date_time_ymd(2001, 1, 1);
        })
    }

    pub(crate) fn issue_with(
        &self,
        name: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Files {
        let mut params = CertificateParams::new(HOSTS.map(str::to_owned)).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        self.write(name, &certificate.pem(), &key.serialize_pem())
    }

    /// A certificate signed by a CA that this one signed, with that CA behind it in the file.
    pub(crate) fn issue_through_intermediate(&self, name: &str) -> Files {
        let mut middle = CertificateParams::default();
        middle
            .distinguished_name
            .push(DnType::CommonName, "intermediate");
        middle.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        middle.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let middle =
            CertifiedIssuer::signed_by(middle, KeyPair::generate().unwrap(), &self.issuer).unwrap();
        let mut params = CertificateParams::new(HOSTS.map(str::to_owned)).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &middle).unwrap();
        let chain = certificate.pem() + &middle.pem();
        self.write(name, &chain, &key.serialize_pem())
    }

    fn write(&self, name: &str, certificate: &str, key: &str) -> Files {
        let files = Files {
            certificate: self.dir.path().join(format!("{name}.pem")),
            key: self.dir.path().join(format!("{name}.key")),
        };
        fs::write(&files.certificate, certificate).unwrap();
        fs::write(&files.key, key).unwrap();
        files
    }

    /// Everything a node needs.
    pub(crate) fn node(&self, name: &str) -> TlsOptions {
        self.issue(name).options().cafile(self.ca())
    }

    /// Only the CA.
    pub(crate) fn reader(&self) -> TlsOptions {
        TlsOptions::new().cafile(self.ca())
    }
}
