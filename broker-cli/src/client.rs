//! Arguments of several commands: the node they talk to, and times.

use std::time::Duration;

use broker_cluster::TlsSpec;
use broker_core::PeerUrl;

use crate::tls::TlsArgs;
use crate::transports::Transports;

/// The node a command talks to, and what that takes.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct NodeArgs {
    /// The node, for example grpc://127.0.0.1:9998
    #[arg(value_parser = peer_url)]
    pub(crate) peer: PeerUrl,
    #[command(flatten)]
    tls: TlsArgs,
    /// Show a ws:// or wss:// node this token
    #[arg(
        long,
        global = true,
        env = "BROKER_WS_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN"
    )]
    token: Option<String>,
}

impl NodeArgs {
    /// The token for a WebSocket server.
    #[cfg(feature = "ws")]
    pub(crate) fn token(&self) -> Option<&str> {
        self.token.as_deref().filter(|token| !token.is_empty())
    }

    /// The transports to go there with.
    ///
    /// # Errors
    /// Misuse: the files for TLS do not do.
    pub(crate) fn transports(&self) -> anyhow::Result<Transports> {
        let transports = Transports {
            tls: self.tls.options(&TlsSpec::default())?,
            ..Transports::default()
        };
        transports.check([], [&self.peer])?;
        Ok(transports)
    }
}

/// Parses a PEER argument.
pub(crate) fn peer_url(text: &str) -> Result<PeerUrl, String> {
    text.parse::<PeerUrl>().map_err(|error| error.to_string())
}

/// Parses a time in seconds, such as `5` or `0.25`.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|_| "expected a number of seconds".to_owned())?;
    if !(0.0..=MAX_SECONDS).contains(&seconds) {
        return Err(format!("expected seconds from 0 to {MAX_SECONDS}"));
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// A century, well inside what a timespan can hold.
const MAX_SECONDS: f64 = 3_153_600_000.0;
