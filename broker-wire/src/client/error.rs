//! What can go wrong between a client and its node.

use std::fmt::Display;

use broker_core::{ErrorCode, PeerUrl, StoreFailure};
use tonic::{Code, Status};

use crate::frame::hello::one_line;
use crate::grpc::DialError;
use crate::grpc::dial::describe;
use crate::services::{ERROR_KEY, NO_SUCH_STORE, STORES_KEY};

/// Why a call of a [`BrokerClient`](super::BrokerClient) failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// There is no connection to the address.
    #[error("cannot reach {url}: {reason}")]
    Unreachable {
        /// The address.
        url: PeerUrl,
        /// Why.
        reason: DialError,
    },
    /// What answers is no node, or none that is ready.
    #[error("{url} is no Broker node: {reason}")]
    NotANode {
        /// The address.
        url: PeerUrl,
        /// What was seen instead.
        reason: String,
    },
    /// The connection broke, or the node is shutting down.
    #[error("connection lost: {reason}")]
    Lost {
        /// What was seen.
        reason: String,
    },
    /// The node refused what was asked.
    #[error("refused: {reason}")]
    Refused {
        /// What it said.
        reason: String,
    },
    /// The node does not know the call; it is older than this client.
    #[error("the node does not support this call")]
    Unsupported,
    /// The store refused what was asked.
    #[error(transparent)]
    Store(#[from] StoreFailure),
    /// The answer makes no sense.
    #[error("bad reply: {reason}")]
    BadReply {
        /// What is wrong with it.
        reason: String,
    },
}

impl ClientError {
    pub(super) fn bad_reply(reason: impl Display) -> Self {
        Self::BadReply {
            reason: reason.to_string(),
        }
    }

    pub(super) fn from_status(status: &Status) -> Self {
        let reason = one_line(status.message());
        match status.code() {
            // The connection's own errors come as a source, not from the other side.
            _ if std::error::Error::source(status).is_some() => Self::Lost {
                reason: describe(status),
            },
            Code::Unavailable => Self::Lost { reason },
            Code::Unimplemented => Self::Unsupported,
            Code::Unknown | Code::Internal if reason.is_empty() => Self::Lost {
                reason: "the stream ended early".to_owned(),
            },
            _ => Self::Refused { reason },
        }
    }

    /// The error of a call to the store `name`.
    pub(super) fn from_store_status(status: &Status, name: &str) -> Self {
        let Some(error) = status.metadata().get(ERROR_KEY) else {
            return Self::from_status(status);
        };
        if error.as_bytes() == NO_SUCH_STORE.as_bytes() {
            let available = status
                .metadata()
                .get_all_bin(STORES_KEY)
                .iter()
                .filter_map(|name| name.to_bytes().ok())
                .map(|name| String::from_utf8_lossy(&name).into_owned())
                .collect();
            return StoreFailure::NoSuchStore {
                name: name.to_owned(),
                available,
            }
            .into();
        }
        let Some(code) = ErrorCode::from_name(error.as_bytes()) else {
            return Self::from_status(status);
        };
        let text = one_line(status.message());
        let detail = text
            .strip_prefix(code.name())
            .map_or(&*text, |rest| rest.trim_start_matches(": "));
        StoreFailure::Code {
            code,
            detail: detail.to_owned(),
        }
        .into()
    }
}
