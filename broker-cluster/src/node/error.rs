//! Why a node does not start, and why it cannot publish.

use std::io;

use broker_core::{ListenError, PublishError};
use broker_store::{AttachError, BackendError};

use crate::layout::LayoutError;
use crate::outgoing::UndeclaredArguments;
use crate::pools::{AllocationError, HrwKeyError};

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
    /// The spool of log records cannot be used.
    #[error("cannot keep log records on disk")]
    Spool(#[source] io::Error),
    /// A sink of the logger cannot be used.
    #[error(transparent)]
    Sink(#[from] crate::logging::SinkSetupError),
    /// The node's own log streams cannot be opened.
    #[error("cannot write the node's own logs")]
    Streams(#[from] crate::logging::LogError),
    /// The storage of a master cannot be opened.
    #[error("cannot open store {store:?}")]
    Backend {
        /// The store.
        store: String,
        /// Why not.
        source: BackendError,
    },
    /// A store cannot be attached.
    #[error("cannot attach store {store:?}")]
    Store {
        /// The store.
        store: String,
        /// Why not.
        source: AttachError,
    },
    /// The pools that the program asks for cannot be filled.
    #[error("cannot fill the pools")]
    Pools(#[from] AllocationError),
    /// The runtime is shutting down.
    #[error("the runtime is shutting down")]
    Runtime(#[source] tokio::task::JoinError),
}

/// Why an event could not be published to the cluster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterPublishError {
    /// The endpoint does not take it.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The event was declared with other arguments.
    #[error(transparent)]
    Arguments(#[from] Box<UndeclaredArguments>),
    /// The value cannot be the key of a pool.
    #[error("the value cannot be a key")]
    Key(#[from] HrwKeyError),
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
