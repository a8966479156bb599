//! Handlers of events by name, as scripts have them.
//!
//! ```
//! use broker_cluster::handlers::{Handlers, Incoming};
//!
//! let handlers = Handlers::new();
//! // Arguments are read as the types of the closure say, strictly.
//! handlers.on("Mod::seen", |(host, count): (String, u64)| println!("{host}: {count}")).keep();
//! // Higher priorities run first; a handler may be async, and may want to know more than the arguments.
//! handlers
//!     .handler("Mod::seen")
//!     .priority(5)
//!     .on_event_async(|event: Incoming<(String, u64)>| async move {
//!         println!("{} came on {}", event.name.to_str_lossy(), event.topic);
//!     })
//!     .keep();
//! ```
//!
//! Give them to a node before it starts ([`ClusterNodeBuilder::handlers`](crate::ClusterNodeBuilder::handlers)), or
//! register them with the running node ([`ClusterNode::on`](crate::ClusterNode::on)), which then misses what came before.
//!
//! # What runs when
//! One task of the node runs handlers, one event after the other, for each event by priority, and within one priority in
//! the order of registration. So events of one sender are handled in the order in which it sent them, and behind its
//! node_up. An async handler is waited for. Meanwhile events wait in the queue of the node's subscription: 8192 messages
//! or 64 MiB, and then senders wait up to 5 s, as [`QueueOptions::local`](broker_core::QueueOptions::local) says; what is dropped then is counted.
//!
//! A handler that is slow is better off with a [queue of its own](Registration::queue): it runs in a task of its own then,
//! still in the order of its events, but behind or beside the handlers of other priorities, and only it suffers when its
//! queue is full, by the policy of that queue.
//!
//! Do not block in a handler; use `tokio::task::spawn_blocking` for what blocks.
//!
//! # What goes wrong
//! Events nobody has a handler for are ignored, as in Zeek, and counted. Arguments that do not fit the types of a handler
//! are logged in Zeek's words and counted, and that handler is passed over. A handler that panics is logged and counted,
//! and stays registered; the node and the other handlers go on.
//!
//! # Events of the node itself
//! Handlers also get what a node of Zeek raises for its scripts: `Cluster::node_up` and `Cluster::node_down` with name and
//! ID (two strings), and once each `Cluster::Experimental::node_fully_connected` (name, ID, bool) and
//! `Cluster::Experimental::cluster_started` (no arguments). Their topic is empty. At most [`MAX_LOCAL`] of them wait while
//! handlers are busy; then the oldest are dropped and counted.

mod call;
mod counters;
mod dispatcher;
mod incoming;
mod registration;
mod table;
#[cfg(test)]
mod tests;

use std::num::NonZeroUsize;

pub use self::counters::HandlerCounters;
pub(crate) use self::dispatcher::{Dispatcher, Item};
pub use self::incoming::Incoming;
pub use self::registration::{HandlerGuard, Handlers, Registration};

/// So many events of the node itself wait for handlers.
pub const MAX_LOCAL: NonZeroUsize = NonZeroUsize::new(8192).expect("8192 is not zero");
