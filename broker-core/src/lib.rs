//! The data model, topics, routing and endpoints of the Broker framework: no sockets, no files.

mod address;
pub mod binary;
mod byte_string;
mod code;
mod data;
mod filter;
mod port;
mod prefix_tree;
pub mod queue;
mod set;
mod table;
mod text;
mod time;
pub mod topic;
mod view;
mod visit;
pub mod zeek;

pub use address::{Address, ParseAddressError, ParseSubnetError, Subnet};
pub use binary::DecodeError;
pub use byte_string::ByteString;
pub use code::{ErrorCode, StatusCode};
pub use data::{Data, DataKind, EnumValue};
pub use filter::{Filter, FilterError, FilterLimits};
pub use port::{ParsePortError, Port, Protocol};
pub use prefix_tree::PrefixTree;
pub use set::Set;
pub use table::Table;
pub use time::{Timespan, Timestamp};
pub use topic::{Topic, TopicError};
pub use view::{DataView, Elements, Entries};
pub use visit::Visitor;
