//! Zeek's cluster framework on broker-core: layout, roles, membership, pools, remote logging.

pub mod log;
mod events;
mod layout;
pub mod logging;
pub mod membership;
mod node;
pub mod pools;
pub mod readiness;
mod role;
pub mod topics;

pub use layout::{Layout, LayoutError, LayoutProblem, NodeSpec, StoreSpec};
pub use events::LOG_RECEIPTS;
pub use node::{
    ClusterNode, ClusterNodeBuilder, ClusterPublishError, EventStream, LOG_DRAIN_TIMEOUT, NodeEvent, RelayVia, StartError,
};
pub use role::{Role, UnknownRole};
