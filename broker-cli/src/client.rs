//! Commands that are clients of a node: which addresses they can take, and how they reach them.

use std::time::Duration;

use broker_core::PeerUrl;
use broker_wire::BrokerClient;

use crate::failure::misuse;

/// Parses a PEER argument.
pub(crate) fn peer_url(text: &str) -> Result<PeerUrl, String> {
    text.parse::<PeerUrl>().map_err(|error| error.to_string())
}

/// Connects to `peer` for `command`, or says why that transport cannot carry the command.
pub(crate) async fn connect(peer: &PeerUrl, command: &str) -> anyhow::Result<BrokerClient> {
    match peer.scheme() {
        // The error names the address itself.
        "grpc" => Ok(BrokerClient::connect(peer).await?),
        "mem" => Err(misuse(format!(
            "{command}: mem:// joins endpoints of one process, so no other program can reach {peer}"
        ))),
        "grpcs" | "broker" | "brokers" | "ws" | "wss" => Err(misuse(format!(
            "{command}: {}:// is not supported by this version; use grpc://",
            peer.scheme()
        ))),
        other => Err(misuse(format!(
            "{command}: there is no transport for {other}:// (there is: grpc)"
        ))),
    }
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
