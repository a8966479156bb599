//! Why a store operation or an attach failed.

use std::time::Duration;

use broker_core::{ErrorCode, StoreFailure, TopicError};

/// Why an operation on a store failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The master or the copy refused: `no_such_key`, `type_clash`, `invalid_data`.
    #[error("{0}")]
    Refused(ErrorCode),
    /// The storage failed; nothing of the operation was applied.
    #[error("backend_failure: {report}")]
    Backend {
        /// What the storage said, empty if the master is on another node.
        report: String,
    },
    /// No answer within the time; a write may still be applied later.
    #[error("request_timeout: no answer from the master within {0:?}")]
    TimedOut(Duration),
    /// The master has taken the write and broadcast no result of it. A C++ master gives no reason: the key may be
    /// missing or the types may clash.
    #[error("request_timeout: the master did not echo the write")]
    NotEchoed,
    /// The clone lost its master after the write was sent: it may have been applied or not.
    #[error(
        "broken_clone: the master went away before it answered; the write may have been applied"
    )]
    Unanswered,
    /// The clone has never found its master, or has been without it for longer than allowed.
    #[error("stale_data: the clone has no master")]
    Stale,
    /// Writes wait for a master, and no more can be kept.
    #[error("no_such_master: {kept} writes wait for the master already, no more are kept")]
    BufferFull {
        /// How many wait.
        kept: usize,
    },
    /// The write waited for a master longer than allowed and was given up; it was not applied.
    #[error("no_such_master: no master was found while the write could be kept")]
    GivenUp,
    /// The master is a C++ one, which does not know the operation.
    #[error("bad_member_function_call: the store's master is a C++ one and cannot do this")]
    Unsupported,
    /// Reading without waiting is for clones; a master's entries are behind its backend, and a handle without a copy has none.
    #[error("bad_member_function_call: only a clone is read without waiting")]
    NotLocal,
    /// The store or its endpoint is shut down.
    #[error("shutting_down")]
    Closed,
}

impl StoreError {
    /// The code Broker uses for it. No `_` arm: a new variant must choose its code.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Refused(code) => *code,
            Self::Backend { .. } => ErrorCode::BackendFailure,
            Self::TimedOut(_) | Self::NotEchoed => ErrorCode::RequestTimeout,
            Self::Unanswered => ErrorCode::BrokenClone,
            Self::Stale => ErrorCode::StaleData,
            Self::BufferFull { .. } | Self::GivenUp => ErrorCode::NoSuchMaster,
            Self::NotLocal | Self::Unsupported => ErrorCode::BadMemberFunctionCall,
            Self::Closed => ErrorCode::ShuttingDown,
        }
    }

    /// The error that a number in a list of outcomes stands for.
    pub(crate) fn from_outcome(code: u8) -> Self {
        match ErrorCode::from_u8(code).unwrap_or(ErrorCode::Unspecified) {
            ErrorCode::BackendFailure => Self::Backend {
                report: String::new(),
            },
            code => Self::Refused(code),
        }
    }
}

impl From<StoreError> for StoreFailure {
    fn from(error: StoreError) -> Self {
        let detail = match &error {
            StoreError::Refused(_) | StoreError::Closed => String::new(),
            StoreError::Backend { report } => report.clone(),
            // The texts begin with the code's name.
            other => other
                .to_string()
                .split_once(": ")
                .map(|(_, detail)| detail.to_owned())
                .unwrap_or_default(),
        };
        Self::Code {
            code: error.code(),
            detail,
        }
    }
}

/// Why a store could not be attached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttachError {
    /// A peer announces that it has the master of this store.
    #[error("master_exists: peer {peer} has the master of store {name:?}")]
    MasterExists {
        /// The store.
        name: String,
        /// Who has it.
        peer: String,
    },
    /// This endpoint has the clone of this store, so it cannot have the master as well.
    #[error("this endpoint has a clone of store {name:?}")]
    CloneExists {
        /// The store.
        name: String,
    },
    /// This endpoint has a handle without a copy to this store.
    #[error("this endpoint has a handle without a copy to store {name:?}")]
    RemoteExists {
        /// The store.
        name: String,
    },
    /// This endpoint has the master of this store: a clone of it here would find none elsewhere.
    #[error("no_such_master: the master of store {name:?} is on this endpoint")]
    MasterIsHere {
        /// The store.
        name: String,
    },
    /// The name is empty or too long to be part of a topic.
    #[error("{name:?} is no store name")]
    InvalidName {
        /// The name.
        name: String,
        /// What a topic may be.
        source: Option<TopicError>,
    },
    /// Another layer has taken the place of the stores on this endpoint.
    #[error("the endpoint has a store access of another kind")]
    ForeignAccess,
    /// The backend failed while the store was opened.
    #[error("backend_failure")]
    Backend(#[from] crate::BackendError),
    /// The endpoint is shutting down.
    #[error("shutting_down")]
    Closed,
}

impl AttachError {
    /// The code Broker uses for it. No `_` arm: a new variant must choose its code.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::MasterExists { .. } => ErrorCode::MasterExists,
            Self::CloneExists { .. } | Self::RemoteExists { .. } | Self::ForeignAccess => {
                ErrorCode::LogicError
            }
            Self::MasterIsHere { .. } => ErrorCode::NoSuchMaster,
            Self::InvalidName { .. } => ErrorCode::InvalidTopicKey,
            Self::Backend(_) => ErrorCode::BackendFailure,
            Self::Closed => ErrorCode::ShuttingDown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_keeps_code_and_detail_apart() {
        let failure = StoreFailure::from(StoreError::NotEchoed);
        assert_eq!(
            failure,
            StoreFailure::Code {
                code: ErrorCode::RequestTimeout,
                detail: "the master did not echo the write".to_owned()
            }
        );
        let failure = StoreFailure::from(StoreError::Refused(ErrorCode::TypeClash));
        assert_eq!(
            failure,
            StoreFailure::Code {
                code: ErrorCode::TypeClash,
                detail: String::new()
            }
        );
    }

    #[test]
    fn texts_begin_with_the_name_of_the_code() {
        for error in [
            StoreError::NotEchoed,
            StoreError::Unanswered,
            StoreError::Stale,
            StoreError::GivenUp,
            StoreError::NotLocal,
            StoreError::Closed,
            StoreError::BufferFull { kept: 1 },
            StoreError::TimedOut(Duration::ZERO),
        ] {
            assert!(
                error.to_string().starts_with(error.code().name()),
                "{error}"
            );
        }
    }
}
