//! Replicated key-value stores for the Broker framework: one master that has the data, any number of clones that follow it
//! over an [`Endpoint`](broker_core::Endpoint), and the storage backends behind the master.
//!
//! Start with [`StoreExt`], which adds `attach_master` and `attach_clone` to an endpoint, and [`Store`], the handle they
//! return. A user's own storage implements [`Backend`]; [`conformance::run`] tests it.
//!
//! ```
//! use broker_core::Endpoint;
//! use broker_store::{FEATURE, MasterOptions, Memory, StoreExt};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let node = Endpoint::builder().name("manager").feature(FEATURE).start();
//! let hosts = node.attach_master("hosts", Memory::new(), MasterOptions::default()).await?;
//! hosts.put("192.0.2.7", 1u64, None).await?;
//! hosts.increment("192.0.2.7", 4u64, None).await?;
//! assert_eq!(hosts.get("192.0.2.7").await?, Some(5u64.into()));
//! node.shutdown().await;
//! # Ok::<(), Box<dyn std::error::Error>>(()) })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Beside C++ and Zeek
//!
//! Commands are those of C++ Broker 2.8, byte for byte: a clone in Zeek follows a master here and the other way round.
//! Between endpoints that both announce [`FEATURE`], clones are also told how each of their writes went; against a C++
//! master, which tells nothing, the echo of a write is its success.
//!
//! A clone of C++ never follows a master with another ID. So a program whose stores outlast it gives its endpoint the ID
//! that the storage remembers; the masters then go on under their own, and such clones notice nothing of a restart:
//!
//! ```
//! use broker_core::Endpoint;
//! use broker_store::{FEATURE, MasterOptions, MasterState, Memory, StoreExt};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! # fn open() -> Memory { Memory::new() }
//! let backend = open(); // a Sqlite, in earnest
//! let mut builder = Endpoint::builder().name("manager").feature(FEATURE);
//! if let Some(id) = MasterState::kept_endpoint(&backend)? {
//!     builder = builder.id(id);
//! }
//! let node = builder.start();
//! let hosts = node.attach_master("hosts", backend, MasterOptions::default()).await?;
//! # hosts.put("a", 1u64, None).await?;
//! # node.shutdown().await;
//! # Ok::<(), Box<dyn std::error::Error>>(()) })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Two endpoints with one ID cannot have the same peers: [`Endpoint::id_refused`](broker_core::Endpoint::id_refused) tells.
//!
//! # Tools
//!
//! A tool that comes for one operation peers with the node that has the master, over any transport, and opens the store
//! there: [`StoreExt::open_remote`] finds out whether the peer has it, and [`StoreExt::stores_of`] which others.
//!
//! ```
//! use std::time::Duration;
//!
//! use broker_core::{Endpoint, MemNetwork, MemTransport};
//! use broker_store::{CloneOptions, FEATURE, MasterOptions, Memory, StoreExt};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! # let network = MemNetwork::new();
//! # let node = Endpoint::builder().transport(MemTransport::new(&network)).start();
//! # node.listen(&"mem://node".parse()?).await?;
//! # node.attach_master("hosts", Memory::new(), MasterOptions::default()).await?;
//! let tool = Endpoint::builder()
//!     .feature(FEATURE)
//!     .transport(MemTransport::new(&network))
//!     .start();
//! let peer = tool.connect("mem://node".parse()?).await?;
//! let hosts = tool
//!     .open_remote(peer, "hosts", Duration::from_secs(10), CloneOptions::default())
//!     .await?;
//! hosts.increment("192.0.2.7", 1u64, None).await?;
//! tool.shutdown().await;
//! # Ok::<(), Box<dyn std::error::Error>>(()) })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Layers
//!
//! | module | what it is |
//! |---|---|
//! | [`backend`] | the trait, and what it speaks in; [`Memory`], `Sqlite` and `Sled` implement it |
//! | [`command`] | the bytes of commands |
//! | [`channel`] | numbered streams with acknowledgements |
//! | [`semantics`] | add, subtract and index by type |
//! | [`master`], [`clone`] | the two state machines: no socket, no clock |
//! | [`Store`] | the handle; a task per store moves commands, requests and time into its state machine |
//!
//! # Features
//!
//! | feature | default | brings |
//! |---|---|---|
//! | `sqlite` | yes | `Sqlite`, with SQLite compiled in |
//! | `sled` | no | `Sled`; sled itself is no longer maintained |

pub mod backend;
mod backup;
pub mod channel;
pub mod clone;
pub mod command;
pub mod conformance;
mod content;
mod deadlines;
mod digest;
mod driver;
pub mod error;
pub mod event;
mod follow;
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz;
mod history;
mod ids;
mod mailbox;
pub mod master;
mod memory;
mod open;
pub mod operation;
mod options;
mod proxy;
mod remote;
mod report_data;
pub mod semantics;
#[cfg(any(test, feature = "simulation"))]
#[doc(hidden)]
pub mod simulation;
#[cfg(feature = "sled")]
mod sled_backend;
#[cfg(feature = "sqlite")]
mod sqlite;
mod store;
mod stores;
mod watch;

pub use backend::{Backend, BackendError, Backup, BackupProgress, Entry, Mutation, Problem};
pub use clone::{CloneOutput, CloneState, Freshness};
pub use digest::Digest;
pub use driver::{ChannelFigures, Position};
pub use error::{AttachError, StoreError};
pub use event::StoreEvent;
pub use follow::StoreWatcher;
pub use ids::EntityIds;
pub use master::{MasterOutput, MasterState, SignsOfLife};
pub use memory::Memory;
pub use open::open_backend;
#[cfg(feature = "sled")]
pub use sled_backend::Sled;
#[cfg(feature = "sqlite")]
pub use sqlite::{FailureMode, JournalMode, Sqlite, SqliteOptions, Synchronous};

pub use command::FEATURE;
pub use mailbox::Response;
pub use options::{CloneOptions, MasterOptions};
pub use proxy::{ProxyError, StoreProxy};
pub use remote::{PeerStore, RemoteError};
pub use store::{Role, Store};
pub use stores::StoreExt;
pub use watch::StoreEvents;
