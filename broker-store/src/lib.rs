//! Replicated key-value stores for broker-core.

pub mod backend;
pub mod channel;
pub mod clone;
pub mod command;
pub mod conformance;
mod content;
mod deadlines;
mod driver;
pub mod error;
pub mod event;
#[cfg(test)]
mod golden;
mod ids;
pub mod master;
mod memory;
mod open;
pub mod operation;
mod options;
pub mod semantics;
#[cfg(test)]
mod simulation;
#[cfg(feature = "sled")]
mod sled_backend;
#[cfg(feature = "sqlite")]
mod sqlite;
mod store;
mod stores;
mod watch;

pub use backend::{Backend, BackendError, Entry, Mutation};
pub use clone::{CloneOutput, CloneState, Freshness};
pub use error::{AttachError, StoreError};
pub use event::StoreEvent;
pub use ids::EntityIds;
pub use master::{MasterOutput, MasterState};
pub use memory::Memory;
pub use open::open_backend;
#[cfg(feature = "sled")]
pub use sled_backend::Sled;
#[cfg(feature = "sqlite")]
pub use sqlite::{FailureMode, JournalMode, Sqlite, SqliteOptions, Synchronous};

pub use command::FEATURE;
pub use options::{CloneOptions, MasterOptions};
pub use store::{Role, Store};
pub use stores::StoreExt;
pub use watch::StoreEvents;
