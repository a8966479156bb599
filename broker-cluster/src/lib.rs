//! Zeek's cluster framework on [`broker_core`]: layout, roles, membership, pools, remote logging.
//!
//! Start with [`Layout`], which reads the one file that describes a cluster, and [`ClusterNode`], which is a node of it
//! at work. Each layer is usable alone:
//!
//! | module | what it is | needs a network |
//! |---|---|---|
//! | [`Layout`] | the layout file, read and checked; mistakes are one line with file, line and fix | no |
//! | [`pools`] | which nodes form which pool, rendezvous hashing, round robin | no |
//! | [`topics`] | names of topics, and who subscribes to which | no |
//! | [`membership`], [`readiness`] | hello, node_up, node_down, "fully connected": state machines without socket and clock | no |
//! | [`threshold`] | "28 of 30 workers", and who is missing | no |
//! | [`handlers`] | handlers of events by name, with typed arguments | no |
//! | [`log`] | Zeek log records, as structs of one's own too, files in TSV and JSON, the wire form | no |
//! | [`logging`] | log records from any node to the loggers' files, acknowledged | yes |
//! | [`table`] | maps that all nodes share, as Zeek's `&backend` and `&publish_on_change` | yes |
//! | [`ClusterNode`] | all of it together | yes |
//!
//! Names, topics, who dials whom, allocation of pools, choices and messages are those of Zeek's Broker backend, so that
//! a node can stand in a Zeek cluster.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use broker_cluster::pools::{HrwKey, PoolSpec};
//! use broker_cluster::{ClusterNode, Layout};
//! use broker_core::zeek::Event;
//! use broker_core::{Data, Endpoint, MemNetwork, MemTransport, QueueOptions};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let dir = tempfile::tempdir()?; // the manager writes logs below the layout's directory
//! let layout = Arc::new(Layout::parse(
//!     r#"
//!     [node.manager]
//!     role = "manager"
//!     listen = ["mem://manager"]
//!     [node.proxy-1]
//!     role = "proxy"
//!     listen = ["mem://proxy-1"]
//!     [node.worker-1]
//!     role = "worker"
//!     "#,
//!     dir.path().join("cluster.toml"),
//! )?);
//! let network = MemNetwork::new();
//! let start = |name| {
//!     ClusterNode::builder(Arc::clone(&layout), name)
//!         .endpoint_builder(Endpoint::builder().transport(MemTransport::new(&network)))
//!         .events(QueueOptions::local())
//!         .start()
//! };
//! let (manager, proxy, worker) = (start("manager").await?, start("proxy-1").await?, start("worker-1").await?);
//! assert!(worker.cluster_started(Duration::from_secs(10)).await);
//!
//! let event = Event::new("Hosts::seen", vec![Data::from("192.0.2.7")]);
//! worker.publish_hrw(PoolSpec::PROXY, &HrwKey::string(b"192.0.2.7"), event.clone()).await?;
//! let mut events = proxy.take_events().ok_or("taken")?;
//! assert_eq!(events.recv().await.ok_or("closed")?.1, event);
//!
//! for node in [worker, proxy, manager] {
//!     node.shutdown().await;
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(()) })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Features: `sqlite` (default) and `sled` let stores of a layout use these backends; a layout that names one that is
//! not built is refused with the feature's name.

mod events;
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz;
pub mod handlers;
mod layout;
pub mod log;
pub mod logging;
pub mod membership;
mod node;
mod outgoing;
mod panic;
pub mod pools;
pub mod readiness;
mod role;
pub mod table;
pub mod threshold;
pub mod topics;
mod waiting;

pub use events::LOG_RECEIPTS;
pub use layout::{
    BadHostPort, EventLevel, EventLevels, HostPort, Layout, LayoutChanges, LayoutError,
    LayoutFormat, LayoutProblem, LayoutSource, LoggingSpec, NodeSpec, ReadySpec, RelaySpec,
    StoreSpec, TableSpec, TelemetrySpec, TlsSpec, UnknownEventLevel, UnknownLayoutFormat, WsSpec,
    ZeekLayoutProblem, ZeekOptions,
};
pub use node::{
    ClusterNode, ClusterNodeBuilder, ClusterPublishError, Departed, EventStream,
    HANDLER_DRAIN_TIMEOUT, HandoverGuard, Handovers, LOG_DRAIN_TIMEOUT, NodeEvent, RelayVia,
    StartError, TABLE_DRAIN_TIMEOUT,
};
pub use outgoing::{Outgoing, PreparedEvent, UndeclaredArguments};
pub use role::{Role, UnknownRole};
pub use table::{BrokerSet, BrokerTable, PublishedTable};

/// Compiles the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
