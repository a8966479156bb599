//! Why there is no connection to a WebSocket server, or none any more.

use std::time::Duration;

/// Why a WebSocket server could not be used. The variants tell apart who has to do something about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WsError {
    /// The address is none of ours.
    #[error("not a WebSocket address: {reason}")]
    BadUrl {
        /// What is wrong with it.
        reason: String,
    },
    /// The host has no address.
    #[error("cannot find host {host}: {reason}")]
    NoSuchHost {
        /// The host.
        host: String,
        /// What the system said.
        reason: String,
    },
    /// Nothing listens there.
    #[error("connection refused: nothing listens there")]
    Refused,
    /// The host does not answer, or not to the upgrade.
    #[error("no answer within {} s", after.as_secs_f32())]
    TimedOut {
        /// How long we waited.
        after: Duration,
    },
    /// TCP or TLS failed otherwise.
    #[error("{reason}")]
    Connect {
        /// What the system or library said.
        reason: String,
    },
    /// Something answered, but it is no WebSocket server.
    #[error("what listens there is no WebSocket server ({reason})")]
    NotWebSocket {
        /// What it did instead.
        reason: String,
    },
    /// The server asks for another token, or for one at all.
    #[error("the server wants a token, and not the one it got (401)")]
    Unauthorized,
    /// The server did not take the subscription, the path or the application name.
    #[error("the server refused: {reason}")]
    Rejected {
        /// The close code; 0 if it only sent an error.
        code: u16,
        /// What it said.
        reason: String,
    },
    /// The connection is up, but the server never acknowledged the subscription.
    #[error("connected, but the subscription was not acknowledged within {} s", after.as_secs_f32())]
    NoAck {
        /// How long we waited.
        after: Duration,
    },
    /// The server closed an established connection.
    #[error("closed by the server: {code} {reason}")]
    Closed {
        /// The close code; 1005 if it gave none.
        code: u16,
        /// What it said.
        reason: String,
    },
    /// An established connection broke.
    #[error("connection lost: {reason}")]
    Lost {
        /// What the system or library said.
        reason: String,
    },
    /// More messages came than are kept while waiting for something else.
    #[error("{count} messages wait and are not received")]
    Overrun {
        /// How many wait.
        count: usize,
    },
}
