//! TLS for `https://` sinks. This crate speaks none itself: the program brings it, as it brings transports.

use std::collections::HashSet;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

use broker_core::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::{LogSinkSpec, SinkOptions, SinkTarget};
use crate::layout::TlsSpec;

/// Why TLS cannot be had: files that do not do, or a server that is not who it should be.
pub type SinkTlsError = Box<dyn Error + Send + Sync>;

/// A connection with TLS.
pub trait SinkStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> SinkStream for S {}

/// Makes the connections of one sink safe.
pub trait SinkClient: Send + Sync + 'static {
    /// Does the handshake with `host`, a name or an address without brackets, over `stream`. There is no deadline but the
    /// caller's, who drops the future then.
    fn connect<'a>(
        &'a self,
        host: &'a str,
        stream: TcpStream,
    ) -> BoxFuture<'a, Result<Box<dyn SinkStream>, SinkTlsError>>;
}

type Prepare = dyn Fn(&TlsSpec) -> Result<Arc<dyn SinkClient>, SinkTlsError> + Send + Sync;

/// TLS as a program brings it. Cloning is cheap.
#[derive(Clone)]
pub struct SinkTls(Arc<Prepare>);

impl SinkTls {
    /// `prepare` reads the files of one sink, when the logger starts; it may block, and its error keeps the logger from
    /// starting.
    #[must_use]
    pub fn new(
        prepare: impl Fn(&TlsSpec) -> Result<Arc<dyn SinkClient>, SinkTlsError> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(prepare))
    }
}

impl fmt::Debug for SinkTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SinkTls")
    }
}

/// Whether both are the same one.
impl PartialEq for SinkTls {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// A sink that cannot be used as it is set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SinkSetupError {
    /// The program brings no TLS.
    #[error("log sink {sink}: this program has no TLS for {target}")]
    NoTls {
        /// Its name.
        sink: String,
        /// Where it is.
        target: String,
    },
    /// Its files do not do.
    #[error("log sink {sink}")]
    Tls {
        /// Its name.
        sink: String,
        /// Why.
        source: SinkTlsError,
    },
    /// Another sink has the same name.
    #[error("there are two log sinks called {sink}: give one of them another name")]
    SameName {
        /// The name.
        sink: String,
    },
}

impl SinkSetupError {
    /// The name of the sink.
    #[must_use]
    pub fn sink(&self) -> &str {
        match self {
            Self::NoTls { sink, .. } | Self::Tls { sink, .. } | Self::SameName { sink } => sink,
        }
    }
}

/// A sink that can be started.
pub(crate) enum Prepared {
    Elsewhere {
        options: SinkOptions,
        client: Option<Arc<dyn SinkClient>>,
    },
    Own(LogSinkSpec),
}

/// Reads the files of all sinks, so that mistakes are found before anything is started. Blocks.
pub(crate) fn prepare(
    sinks: &[SinkOptions],
    own: Vec<LogSinkSpec>,
    tls: Option<&SinkTls>,
) -> Result<Vec<Prepared>, SinkSetupError> {
    let mut names = HashSet::new();
    let all = sinks.iter().map(|sink| &sink.name);
    if let Some(sink) = all
        .chain(own.iter().map(|sink| &sink.name))
        .find(|name| !names.insert(*name))
    {
        return Err(SinkSetupError::SameName { sink: sink.clone() });
    }
    let one = |options: &SinkOptions| {
        let sink = || options.name.clone();
        let client = match &options.target {
            SinkTarget::Https(_) => {
                let tls = tls.ok_or_else(|| SinkSetupError::NoTls {
                    sink: sink(),
                    target: options.target.to_string(),
                })?;
                let client = (tls.0)(&options.tls);
                Some(client.map_err(|source| SinkSetupError::Tls {
                    sink: sink(),
                    source,
                })?)
            }
            _ => None,
        };
        Ok(Prepared::Elsewhere {
            options: options.clone(),
            client,
        })
    };
    let elsewhere = sinks.iter().map(one);
    elsewhere
        .chain(own.into_iter().map(|spec| Ok(Prepared::Own(spec))))
        .collect()
}
