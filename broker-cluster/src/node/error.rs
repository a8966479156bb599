//! Why a node does not start, and why it cannot publish.

use std::io;

use broker_core::{ListenError, PublishError};

use crate::layout::LayoutError;

/// Why a node of a cluster does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The layout does not fit: no such node, or an address nobody here speaks.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// An address cannot be bound.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The log directory cannot be used.
    #[error("cannot write logs")]
    Logs(#[source] io::Error),
}

/// Why an event could not be published to the cluster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterPublishError {
    /// The endpoint does not take it.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The layout has no such pool.
    #[error("there is no pool called {name:?}")]
    NoSuchPool {
        /// The name given.
        name: String,
    },
    /// The layout has no such node.
    #[error("there is no node called {name:?}")]
    NoSuchNode {
        /// The name given.
        name: String,
    },
}
