//! Pools of nodes, and the two ways to choose one of them: rendezvous hashing and round robin
//! (reference, zeek-cluster 3). Usable without a network: see `examples/pools.rs`.
//!
//! Every node computes the same pools from the same layout, so a key has one home in the whole
//! cluster as long as nodes see the same members up.

mod allocation;
mod fnv;
mod handover;
mod key;
mod pool;
mod rendezvous;
mod spec;
mod weighted;

pub use allocation::{AllocationError, Eligible, allocate};
pub(crate) use fnv::Fnv32;
pub use fnv::fnv1a32;
pub use handover::{Handover, Homes, Move};
pub use key::{HrwKey, HrwKeyError, KeyType, KeyValue, ToHrwKey};
pub use pool::{Pool, PoolNode};
pub use rendezvous::{HrwSites, hrw_weight};
pub use spec::{PoolSpec, Strategy};
pub use weighted::WeightedNodes;
