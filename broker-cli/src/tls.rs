//! The TLS options of the command line, and those of a layout behind them.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use broker_cluster::TlsSpec;
use broker_core::PeerUrl;
use broker_wire::tls::{TlsError, TlsOptions};

use crate::failure::misuse;

/// What these options stand under in the help. Each names it: said for all of them, it would be said of those that follow too.
const HEADING: &str =
    "TLS: grpcs:// and wss:// need some of these; brokers:// is anonymous without any";

/// Certificates, and whom to trust.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct TlsArgs {
    /// Show this certificate (PEM, with those between it and the CA)
    #[arg(long, help_heading = HEADING, global = true, value_name = "FILE")]
    tls_certificate: Option<PathBuf>,
    /// The private key of the certificate (PEM)
    #[arg(long, help_heading = HEADING, global = true, value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// A file whose first line decrypts the key; or BROKER_TLS_PASSPHRASE
    #[arg(long, help_heading = HEADING, global = true, value_name = "FILE")]
    tls_passphrase_file: Option<PathBuf>,
    /// Trust certificates of the CAs in this file (PEM)
    #[arg(long, help_heading = HEADING, global = true, value_name = "FILE")]
    tls_cafile: Option<PathBuf>,
    /// Trust certificates of the CAs in this directory, as `openssl rehash` leaves it
    #[arg(long, help_heading = HEADING, global = true, value_name = "DIR")]
    tls_capath: Option<PathBuf>,
    /// grpcs:// and wss://: take a certificate that names another host than the one dialled
    #[arg(long, help_heading = HEADING, global = true)]
    tls_any_host: bool,
}

impl TlsArgs {
    /// The options, where the command line is silent as `layout` has them.
    ///
    /// # Errors
    /// The file with the passphrase cannot be read.
    pub(crate) fn options(&self, layout: &TlsSpec) -> anyhow::Result<TlsOptions> {
        fn first<'a>(ours: &'a Option<PathBuf>, theirs: &'a Option<PathBuf>) -> Option<&'a Path> {
            ours.as_deref().or(theirs.as_deref())
        }
        let mut options = TlsOptions::new()
            .verify_host_name(!self.tls_any_host && layout.verify_host_name.unwrap_or(true));
        if let Some(path) = first(&self.tls_certificate, &layout.certificate) {
            options = options.certificate(path);
        }
        let key = first(&self.tls_key, &layout.key);
        if let Some(path) = key {
            options = options.key(path);
        }
        if let Some(path) = first(&self.tls_cafile, &layout.cafile) {
            options = options.cafile(path);
        }
        if let Some(path) = first(&self.tls_capath, &layout.capath) {
            options = options.capath(path);
        }
        let file = first(&self.tls_passphrase_file, &layout.passphrase_file);
        let passphrase = match file {
            Some(file) => Some(secret(file, "passphrase")?),
            // Alone it is no wish for TLS: it may stand there for other programs and other keys.
            None if key.is_some() => std::env::var(PASSPHRASE).ok(),
            None => None,
        };
        Ok(match passphrase {
            Some(passphrase) => options.passphrase(passphrase),
            None => options,
        })
    }

    /// The arguments that say the same to another process of this program.
    pub(crate) fn to_args(&self) -> Vec<std::ffi::OsString> {
        let Self {
            tls_certificate,
            tls_key,
            tls_passphrase_file,
            tls_cafile,
            tls_capath,
            tls_any_host,
        } = self;
        let mut args = Vec::new();
        for (name, value) in [
            ("--tls-certificate", tls_certificate),
            ("--tls-key", tls_key),
            ("--tls-passphrase-file", tls_passphrase_file),
            ("--tls-cafile", tls_cafile),
            ("--tls-capath", tls_capath),
        ] {
            if let Some(value) = value {
                args.extend([name.into(), value.into()]);
            }
        }
        if *tls_any_host {
            args.push("--tls-any-host".into());
        }
        args
    }
}

/// Which end of a connection a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Listens,
    Dials,
}

/// Makes of `options` what `url` will need, so that files that do not do are found before anything is bound or dialled.
///
/// # Errors
/// Misuse, which names the address, the file and the options.
pub(crate) fn check(options: &TlsOptions, url: &PeerUrl, end: End) -> anyhow::Result<()> {
    try_out(options, url.scheme(), end).map_err(|error| {
        let hint = match error {
            TlsError::NoCertificate => " (--tls-certificate, --tls-key)",
            TlsError::NoAuthority => " (--tls-cafile, --tls-capath)",
            TlsError::NoPassphrase { .. } => " (--tls-passphrase-file, BROKER_TLS_PASSPHRASE)",
            _ => "",
        };
        misuse(format!("{url}: {error}{hint}"))
    })
}

fn try_out(options: &TlsOptions, scheme: &str, end: End) -> Result<(), TlsError> {
    match scheme {
        "brokers" => native(options),
        "grpcs" | "wss" => others(options, scheme == "grpcs", end),
        _ => Ok(()),
    }
}

#[cfg(any(feature = "openssl", feature = "openssl-system"))]
fn native(options: &TlsOptions) -> Result<(), TlsError> {
    broker_wire::tls::NativeTls::new(options).map(drop)
}

#[cfg(not(any(feature = "openssl", feature = "openssl-system")))]
fn native(_: &TlsOptions) -> Result<(), TlsError> {
    Err(TlsError::NotBuilt {
        scheme: "brokers",
        feature: "openssl",
    })
}

#[cfg(feature = "tls")]
fn others(options: &TlsOptions, grpc: bool, end: End) -> Result<(), TlsError> {
    use broker_wire::tls::{RustlsClient, RustlsServer};
    match (end, grpc) {
        (End::Listens, true) => RustlsServer::grpc(options).map(drop),
        (End::Listens, false) => RustlsServer::web_socket(options).map(drop),
        (End::Dials, true) => RustlsClient::grpc(options).map(drop),
        (End::Dials, false) => RustlsClient::web_socket(options).map(drop),
    }
}

#[cfg(not(feature = "tls"))]
fn others(_: &TlsOptions, grpc: bool, _: End) -> Result<(), TlsError> {
    Err(TlsError::NotBuilt {
        scheme: if grpc { "grpcs" } else { "wss" },
        feature: "tls",
    })
}

/// The secret `what` in the first line of a file.
///
/// # Errors
/// Misuse: the file cannot be read, or there is none in it.
pub(crate) fn secret(path: &Path, what: &str) -> anyhow::Result<String> {
    first_line(path).map_err(|error| {
        misuse(format!(
            "cannot read the {what} in {}: {error:#}",
            path.display()
        ))
    })
}

fn first_line(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    File::open(path)?
        .take(MAX_SECRET + 1)
        .read_to_string(&mut text)?;
    anyhow::ensure!(
        text.len() as u64 <= MAX_SECRET,
        "more than {MAX_SECRET} bytes"
    );
    let line = text.lines().next().unwrap_or_default();
    anyhow::ensure!(!line.is_empty(), "the first line is empty");
    Ok(line.to_owned())
}

/// A file with a secret holds at most so many bytes.
const MAX_SECRET: u64 = 4096;

/// The environment variable that holds the passphrase of the key.
const PASSPHRASE: &str = "BROKER_TLS_PASSPHRASE";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_goes_before_the_layout_key_by_key() {
        let path = |text: &str| Some(PathBuf::from(text));
        let args = TlsArgs {
            tls_certificate: path("a.pem"),
            ..TlsArgs::default()
        };
        let layout = TlsSpec {
            certificate: path("b.pem"),
            cafile: path("ca.pem"),
            verify_host_name: Some(false),
            ..TlsSpec::default()
        };
        assert_eq!(
            args.options(&layout).expect("options"),
            TlsOptions::new()
                .certificate("a.pem")
                .cafile("ca.pem")
                .verify_host_name(false)
        );
        assert!(
            TlsArgs::default()
                .options(&TlsSpec::default())
                .expect("options")
                .is_anonymous()
        );
    }

    #[test]
    fn a_secret_is_the_first_line_of_its_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("secret");
        let read = |text: &str| {
            std::fs::write(&path, text).expect("written");
            first_line(&path)
        };
        assert_eq!(read("hush \nmore\n").expect("a line"), "hush ");
        assert_eq!(read("hush\r\n").expect("a line"), "hush");
        for bad in ["", "\nhush\n", &"x".repeat(5000)] {
            assert!(read(bad).is_err());
        }
        let args = TlsArgs {
            tls_passphrase_file: Some(directory.path().join("none")),
            ..TlsArgs::default()
        };
        let error = args.options(&TlsSpec::default()).expect_err("no file");
        assert!(error.downcast_ref::<crate::failure::Misuse>().is_some());
    }

    #[test]
    fn what_is_said_is_said_to_children_too() {
        let line = [
            "--tls-certificate",
            "c",
            "--tls-key",
            "k",
            "--tls-passphrase-file",
            "p",
            "--tls-cafile",
            "a",
            "--tls-capath",
            "d",
            "--tls-any-host",
        ];
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            tls: TlsArgs,
        }
        let parsed = <Line as clap::Parser>::parse_from(std::iter::once("x").chain(line));
        assert_eq!(parsed.tls.to_args(), line);
    }

    #[test]
    fn an_address_without_the_files_it_needs_names_the_options() {
        let check = |url: &str, end| {
            check(&TlsOptions::new(), &url.parse().expect("a URL"), end).map_err(|e| e.to_string())
        };
        assert_eq!(check("grpc://h", End::Dials), Ok(()));
        assert_eq!(check("broker://h", End::Listens), Ok(()));
        #[cfg(feature = "tls")]
        for (url, end, option) in [
            ("grpcs://h", End::Dials, "--tls-cafile"),
            ("grpcs://h", End::Listens, "--tls-certificate"),
            ("wss://h", End::Dials, "--tls-cafile"),
            ("wss://h", End::Listens, "--tls-key"),
        ] {
            let error = check(url, end).expect_err(url);
            assert!(error.contains(url) && error.contains(option), "{error}");
        }
        #[cfg(any(feature = "openssl", feature = "openssl-system"))]
        assert_eq!(check("brokers://h", End::Dials), Ok(()));
    }
}
