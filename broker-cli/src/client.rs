//! Arguments that several commands take.

use std::time::Duration;

use broker_core::PeerUrl;

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
