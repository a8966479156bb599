//! Zeek's cluster framework on broker-core: layout, roles, membership, pools, remote logging.

pub mod log;
pub mod pools;
mod role;
pub mod topics;

pub use role::{Role, UnknownRole};
