//! Replicated key-value stores for broker-core.

pub mod backend;
pub mod command;
pub mod conformance;
mod deadlines;
#[cfg(test)]
mod golden;
mod memory;
mod open;
pub mod semantics;
#[cfg(feature = "sled")]
mod sled_backend;
#[cfg(feature = "sqlite")]
mod sqlite;

pub use backend::{Backend, BackendError, Entry, Mutation};
pub use memory::Memory;
pub use open::open_backend;
#[cfg(feature = "sled")]
pub use sled_backend::Sled;
#[cfg(feature = "sqlite")]
pub use sqlite::{FailureMode, JournalMode, Sqlite, SqliteOptions, Synchronous};
