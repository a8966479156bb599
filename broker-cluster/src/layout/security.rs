//! `[tls]` and `[ws]`, and the same tables of one node: certificates, and the token of WebSocket clients.
//!
//! This crate opens no socket: it reads what the file says and hands it to whoever brings the transports. A node's own
//! table goes before that of the whole file, key by key.

use std::path::{Path, PathBuf};

use super::error::{LayoutError, LayoutProblem};
use super::table::Table;

/// Which certificates a node shows and whom it trusts. Relative paths have been taken from where the file is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSpec {
    /// A PEM file with the node's certificate and those between it and the CA.
    pub certificate: Option<PathBuf>,
    /// A PEM file with its private key.
    pub key: Option<PathBuf>,
    /// A file whose first line is what the key is encrypted with.
    pub passphrase_file: Option<PathBuf>,
    /// A PEM file with the CAs that peers' certificates must chain to.
    pub cafile: Option<PathBuf>,
    /// A directory of such CAs, as `openssl rehash` leaves it.
    pub capath: Option<PathBuf>,
    /// Whether the certificate of a server must name the host that was dialled.
    pub verify_host_name: Option<bool>,
}

/// Who may be a WebSocket client of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WsSpec {
    /// A file whose first line is the token that clients have to show.
    pub token_file: Option<PathBuf>,
    /// Whether to listen without a token on addresses that are not loopback.
    pub allow_unauthenticated: Option<bool>,
    /// Origins of web pages that may connect.
    pub allow_origins: Vec<String>,
}

impl TlsSpec {
    /// What is not said here as `default` says it.
    fn or(self, default: &Self) -> Self {
        Self {
            certificate: self.certificate.or_else(|| default.certificate.clone()),
            key: self.key.or_else(|| default.key.clone()),
            passphrase_file: self
                .passphrase_file
                .or_else(|| default.passphrase_file.clone()),
            cafile: self.cafile.or_else(|| default.cafile.clone()),
            capath: self.capath.or_else(|| default.capath.clone()),
            verify_host_name: self.verify_host_name.or(default.verify_host_name),
        }
    }
}

impl WsSpec {
    fn or(self, default: &Self) -> Self {
        Self {
            token_file: self.token_file.or_else(|| default.token_file.clone()),
            allow_unauthenticated: self.allow_unauthenticated.or(default.allow_unauthenticated),
            allow_origins: if self.allow_origins.is_empty() {
                default.allow_origins.clone()
            } else {
                self.allow_origins
            },
        }
    }
}

/// The tables `tls` and `ws` of the file or of a node.
#[derive(Clone, Debug, Default)]
pub(super) struct Security {
    pub(super) tls: TlsSpec,
    pub(super) ws: WsSpec,
}

impl Security {
    /// Reads the tables within `outer`, whose names errors put behind `prefix`.
    pub(super) fn read(outer: &Table<'_>, prefix: &str, base: &Path) -> Result<Self, LayoutError> {
        let tls = match outer.table("tls", format!("[{prefix}tls]"))? {
            Some(table) => tls(&table, base)?,
            None => TlsSpec::default(),
        };
        let ws = match outer.table("ws", format!("[{prefix}ws]"))? {
            Some(table) => ws(&table, base)?,
            None => WsSpec::default(),
        };
        Ok(Self { tls, ws })
    }

    /// What is not said here as `default` says it.
    pub(super) fn or(self, default: &Self) -> Self {
        Self {
            tls: self.tls.or(&default.tls),
            ws: self.ws.or(&default.ws),
        }
    }
}

const TLS_KEYS: &[&str] = &[
    "certificate",
    "key",
    "passphrase_file",
    "cafile",
    "capath",
    "verify_host_name",
];

const WS_KEYS: &[&str] = &["token_file", "allow_unauthenticated", "allow_origins"];

pub(super) fn tls(table: &Table<'_>, base: &Path) -> Result<TlsSpec, LayoutError> {
    table.only(TLS_KEYS)?;
    Ok(TlsSpec {
        certificate: file(table, "certificate", base)?,
        key: file(table, "key", base)?,
        passphrase_file: file(table, "passphrase_file", base)?,
        cafile: file(table, "cafile", base)?,
        capath: file(table, "capath", base)?,
        verify_host_name: table.boolean("verify_host_name")?.map(|(value, _)| value),
    })
}

fn ws(table: &Table<'_>, base: &Path) -> Result<WsSpec, LayoutError> {
    table.only(WS_KEYS)?;
    Ok(WsSpec {
        token_file: file(table, "token_file", base)?,
        allow_unauthenticated: table
            .boolean("allow_unauthenticated")?
            .map(|(value, _)| value),
        allow_origins: table.strings("allow_origins")?,
    })
}

fn file(table: &Table<'_>, key: &str, base: &Path) -> Result<Option<PathBuf>, LayoutError> {
    let Some(path) = table.string(key)? else {
        return Ok(None);
    };
    if path.text.is_empty() {
        let problem = LayoutProblem::OutOfRange {
            table: table.name.clone(),
            key: key.to_owned(),
            value: "\"\"".to_owned(),
            expected: "the name of a file",
        };
        return Err(table.source.error(path.span, problem));
    }
    Ok(Some(base.join(path.text)))
}
