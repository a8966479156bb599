//! What is wrong with the files of the TLS options is said before anybody listens or dials.

#![cfg(any(feature = "tls", feature = "openssl-system"))]
#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod pki;

use std::fs;
use std::path::Path;

use broker_wire::tls::{TlsError, TlsFile, TlsOptions};
use pki::Pki;

type Check = fn(&TlsOptions) -> Result<(), TlsError>;

/// Every kind of context that reads all the files.
fn contexts() -> Vec<(&'static str, Check)> {
    let mut contexts: Vec<(&'static str, Check)> = Vec::new();
    #[cfg(feature = "openssl-system")]
    contexts.push(("native", |options| {
        broker_wire::tls::NativeTls::new(options).map(drop)
    }));
    #[cfg(feature = "tls")]
    contexts.extend([
        (
            "grpcs server",
            (|options| broker_wire::tls::RustlsServer::grpc(options).map(drop)) as Check,
        ),
        ("grpcs client", |options| {
            broker_wire::tls::RustlsClient::grpc(options).map(drop)
        }),
        ("wss server", |options| {
            broker_wire::tls::RustlsServer::web_socket(options).map(drop)
        }),
        ("wss client", |options| {
            broker_wire::tls::RustlsClient::web_socket(options).map(drop)
        }),
    ]);
    contexts
}

fn each_refuses(options: &TlsOptions, expected: &TlsError) {
    for (name, check) in contexts() {
        assert_eq!(check(options).as_ref(), Err(expected), "{name}");
    }
}

/// What every context says, which must name the file.
fn each_names(options: &TlsOptions, what: TlsFile, path: &Path) {
    for (name, check) in contexts() {
        let error = check(options).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains(&path.display().to_string()) && text.contains(&what.to_string()),
            "{name}: {text}"
        );
    }
}

#[test]
fn good_files_are_taken() {
    let pki = Pki::new("CA");
    for (name, check) in contexts() {
        assert_eq!(check(&pki.node("node")), Ok(()), "{name}");
        let chain = pki.issue_through_intermediate("chain").options();
        assert_eq!(check(&chain.cafile(pki.ca())), Ok(()), "{name}");
    }
}

#[test]
fn a_missing_file_is_named() {
    let pki = Pki::new("CA");
    let gone = pki.dir().join("gone");
    let node = pki.node("node");
    each_names(
        &node.clone().certificate(&gone),
        TlsFile::Certificate,
        &gone,
    );
    each_names(&node.clone().key(&gone), TlsFile::Key, &gone);
    each_names(&node.clone().cafile(&gone), TlsFile::CaFile, &gone);
    each_names(&node.capath(&gone), TlsFile::CaPath, &gone);
}

#[test]
fn a_file_that_is_no_pem_is_named() {
    let pki = Pki::new("CA");
    let node = pki.node("node");
    let path = pki.dir().join("other");
    for content in [
        &b""[..],
        b"not PEM",
        &[0x30, 0x82, 0, 0],
        b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
    ] {
        fs::write(&path, content).unwrap();
        let not_pem = |what| TlsError::NotPem {
            what,
            path: path.clone(),
        };
        each_refuses(
            &node.clone().certificate(&path),
            &not_pem(TlsFile::Certificate),
        );
        each_refuses(&node.clone().key(&path), &not_pem(TlsFile::Key));
        each_refuses(&node.clone().cafile(&path), &not_pem(TlsFile::CaFile));
    }
}

#[test]
fn broken_pem_is_named() {
    let pki = Pki::new("CA");
    let node = pki.node("node");
    let path = pki.dir().join("broken");
    for content in [
        "-----BEGIN CERTIFICATE-----\nAAAA\n",
        "-----BEGIN CERTIFICATE-----\n????\n-----END CERTIFICATE-----\n",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        fs::write(&path, content).unwrap();
        each_names(
            &node.clone().certificate(&path),
            TlsFile::Certificate,
            &path,
        );
        each_names(&node.clone().cafile(&path), TlsFile::CaFile, &path);
    }
    fs::write(
        &path,
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    )
    .unwrap();
    each_names(&node.key(&path), TlsFile::Key, &path);
}

#[test]
fn a_file_without_end_is_not_read_to_its_end() {
    let pki = Pki::new("CA");
    let path = pki.dir().join("huge");
    fs::write(&path, vec![b'x'; (1 << 20) + 1]).unwrap();
    let expected = TlsError::TooLarge {
        what: TlsFile::CaFile,
        path: path.clone(),
        max: 1 << 20,
    };
    each_refuses(&pki.node("node").cafile(&path), &expected);
}

#[test]
fn a_key_must_fit_its_certificate() {
    let pki = Pki::new("CA");
    let (one, other) = (pki.issue("one"), pki.issue("other"));
    let options = TlsOptions::new()
        .certificate(&one.certificate)
        .key(&other.key)
        .cafile(pki.ca());
    let expected = TlsError::KeyMismatch {
        certificate: one.certificate.clone(),
        key: other.key.clone(),
    };
    each_refuses(&options, &expected);
}

#[test]
fn a_certificate_and_its_key_come_together() {
    let pki = Pki::new("CA");
    let files = pki.issue("node");
    let lone = TlsError::Lone {
        what: TlsFile::Certificate,
        path: files.certificate.clone(),
        missing: TlsFile::Key,
    };
    each_refuses(&pki.reader().certificate(&files.certificate), &lone);
}

#[test]
fn a_directory_of_authorities_works_with_hashed_names_only() {
    let pki = Pki::new("CA");
    let dir = pki.dir().join("authorities");
    fs::create_dir(&dir).unwrap();
    fs::copy(pki.ca(), dir.join("ca.pem")).unwrap();
    let options = pki.issue("node").options().capath(&dir);
    each_refuses(&options, &TlsError::NotHashed { path: dir.clone() });
    fs::copy(pki.ca(), dir.join("9d66eef0.0")).unwrap();
    for (name, check) in contexts() {
        assert_eq!(check(&options), Ok(()), "{name}");
    }
}

#[test]
fn a_long_passphrase_is_refused() {
    let pki = Pki::new("CA");
    let options = pki.node("node").passphrase("x".repeat(128));
    each_refuses(&options, &TlsError::PassphraseTooLong { len: 128 });
    // A passphrase for a key that is not encrypted is not used.
    for (name, check) in contexts() {
        assert_eq!(check(&pki.node("node").passphrase("x")), Ok(()), "{name}");
    }
}

#[cfg(not(feature = "openssl-system"))]
#[test]
fn an_encrypted_key_needs_openssl() {
    let pki = Pki::new("CA");
    let path = pki.dir().join("encrypted.key");
    let pem = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    fs::write(&path, pem).unwrap();
    let options = pki.node("node").key(&path);
    each_refuses(&options, &TlsError::NoPassphrase { path: path.clone() });
    let options = options.passphrase("secret");
    each_refuses(&options, &TlsError::NoDecryption { path });
}

#[cfg(feature = "openssl-system")]
#[test]
fn an_encrypted_key_opens_with_its_passphrase_alone() {
    use openssl::pkey::PKey;
    use openssl::symm::Cipher;

    let pki = Pki::new("CA");
    let files = pki.issue("node");
    let key = PKey::private_key_from_pem(&fs::read(&files.key).unwrap()).unwrap();
    let passphrase = "x".repeat(127);
    let pkcs8 = key
        .private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), passphrase.as_bytes())
        .unwrap();
    let older = key
        .ec_key()
        .unwrap()
        .private_key_to_pem_passphrase(Cipher::aes_128_cbc(), passphrase.as_bytes())
        .unwrap();
    for pem in [pkcs8, older] {
        let path = pki.dir().join("encrypted.key");
        fs::write(&path, pem).unwrap();
        let options = files.options().key(&path).cafile(pki.ca());
        each_refuses(&options, &TlsError::NoPassphrase { path: path.clone() });
        for (name, check) in contexts() {
            let wrong = check(&options.clone().passphrase("wrong"));
            assert_eq!(
                wrong,
                Err(TlsError::WrongPassphrase { path: path.clone() }),
                "{name}"
            );
            assert_eq!(
                check(&options.clone().passphrase(&passphrase)),
                Ok(()),
                "{name}"
            );
        }
    }
}

#[cfg(feature = "openssl-system")]
#[test]
fn the_native_protocol_takes_nothing_or_all() {
    use broker_wire::tls::NativeTls;

    let pki = Pki::new("CA");
    let refused = |options: TlsOptions| NativeTls::new(&options).map(drop).unwrap_err();
    assert_eq!(refused(pki.reader()), TlsError::NoCertificate);
    assert_eq!(
        refused(TlsOptions::new().passphrase("x")),
        TlsError::NoCertificate
    );
    assert_eq!(refused(pki.issue("node").options()), TlsError::NoAuthority);
}

#[cfg(feature = "tls")]
#[test]
fn a_server_needs_a_certificate_and_a_client_an_authority() {
    use broker_wire::tls::{RustlsClient, RustlsServer};

    let pki = Pki::new("CA");
    let none = TlsOptions::new();
    assert_eq!(
        RustlsServer::grpc(&none).unwrap_err(),
        TlsError::NoCertificate
    );
    assert_eq!(
        RustlsServer::web_socket(&pki.reader()).unwrap_err(),
        TlsError::NoCertificate
    );
    assert_eq!(
        RustlsClient::grpc(&none).unwrap_err(),
        TlsError::NoAuthority
    );
    let lone = pki.issue("node").options();
    assert_eq!(
        RustlsClient::web_socket(&lone).unwrap_err(),
        TlsError::NoAuthority
    );
    assert!(RustlsServer::grpc(&lone).is_ok() && RustlsClient::grpc(&pki.reader()).is_ok());
}
