//! The data model, topics, routing and endpoints of the Broker framework: no sockets, no files.

mod filter;
pub mod topic;

pub use filter::{Filter, FilterError, FilterLimits};
pub use topic::{Topic, TopicError};
