//! The data model, topics, routing and endpoints of the Broker framework: no sockets, no files.
//!
//! Features: `derive` brings `#[derive(ToData, FromData)]` for structs and enums of one's own.

mod address;
mod backoff;
pub mod binary;
mod byte_string;
mod code;
pub mod convert;
mod cycle_guard;
mod data;
mod endpoint;
mod envelope;
mod event_meter;
mod filter;
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz;
pub mod handshake;
mod id;
pub mod json;
mod mem;
mod message;
mod origin_window;
pub mod peering;
mod port;
mod prefix_tree;
pub mod queue;
mod rate_limit;
mod set;
mod status;
mod store_access;
mod store_report;
mod store_watch;
mod table;
mod text;
mod time;
pub mod topic;
pub mod transport;
mod url;
mod view;
mod visit;
pub mod zeek;

pub use address::{Address, ParseAddressError, ParseSubnetError, Subnet};
pub use backoff::Backoff;
pub use binary::DecodeError;
#[cfg(feature = "derive")]
pub use broker_derive::{FromData, ToData};
pub use byte_string::ByteString;
pub use code::{ErrorCode, StatusCode};
pub use convert::{ArgsError, ConversionError, FromArgs, FromData, ToArgs, ToData};
pub use data::{Data, DataKind, EnumValue};
pub use endpoint::{
    Admit, AttachedLink, ClientChange, ClientEvent, ClientSubscriber, Command, CommandPort,
    DRAIN_TIMEOUT, DropRecord, Endpoint, EndpointBuilder, Hub, HubPublisher, LinkEnd, LocalNode,
    MAX_PAYLOAD, PeerInfo, PeeringHandle, PublishError, Publisher, QueueTotals, Reached,
    StatusEvent, StatusEventCode, StatusSubscriber, Subscriber, SubscriptionHandle, Totals,
    Traffic, ZeekTraffic, zeek_events,
};
pub use envelope::{Envelope, INITIAL_HOPS, MessageKind};
pub use event_meter::{
    EventDirection, EventFigures, EventMeter, EventScope, EventSizes, TopicLabels,
};
pub use filter::{Filter, FilterError, FilterLimits};
pub use handshake::{Admission, HandshakeError, PeerIdentity};
pub use id::{EndpointId, EntityId, InvalidEndpointId};
pub use mem::{MemNetwork, MemTransport};
pub use message::Message;
pub use origin_window::{OriginWindow, SequenceWindow, Verdict};
pub use peering::Heartbeat;
pub use port::{ParsePortError, Port, Protocol};
pub use prefix_tree::PrefixTree;
pub use queue::{OverflowPolicy, QueueOptions};
pub use rate_limit::RateLimit;
pub use set::Set;
pub use status::{AppTraffic, LogCounters, NodeStatus, PeerStatus, StatusSource, StoreStatus};
pub use store_access::{
    StoreAccess, StoreChange, StoreEntry, StoreFailure, StoreOperation, StoreReply,
};
pub use store_report::{
    CopyOutcome, CopyReport, Difference, DifferenceKind, Revision, RevisionError, VerifyReport,
};
pub use store_watch::{StoreWatch, WatchItem, WatchKeys, WatchRequest};
pub use table::Table;
pub use time::{Timespan, Timestamp};
pub use topic::{Topic, TopicError};
pub use transport::{
    BoxFuture, ConnectError, Connection, LinkError, LinkSink, LinkSource, LinkTraits, ListenError,
    Transport,
};
pub use url::{PeerUrl, PeerUrlError};
pub use view::{DataView, Elements, Entries};
pub use visit::Visitor;
