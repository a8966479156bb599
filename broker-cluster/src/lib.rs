//! Zeek's cluster framework on broker-core: layout, roles, membership, pools, remote logging.

pub mod log;
mod layout;
pub mod pools;
mod role;
pub mod topics;

pub use layout::{Layout, LayoutError, LayoutProblem, NodeSpec, StoreSpec};
pub use role::{Role, UnknownRole};
