//! The door to one store of a node.
//!
//! Over `grpc://` the node itself does what is asked, be it master or clone. Over `broker://` there are only the commands
//! of the store protocol: a master of ours is asked, without a copy of its entries; of a C++ master the command is a clone
//! for as long as it takes, and learns what became of a write from its echo.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use broker_core::{
    StoreAccess, StoreFailure, StoreOperation, StoreReply, StoreWatch, WatchItem, WatchRequest,
};
use broker_store::{CloneOptions, RemoteError, StoreExt as _};
use broker_wire::{BrokerClient, ClientError, StoreLoad};

use super::peer::{PeerDoor, lost};
use super::{grpc, no_door};
use crate::client::NodeArgs;
use crate::failure::misuse;

/// A store of a node.
#[derive(Clone)]
pub(crate) struct StoreDoor {
    name: Arc<str>,
    way: Way,
}

#[derive(Clone)]
enum Way {
    Grpc(BrokerClient),
    Peer(Arc<PeerDoor>, Arc<dyn StoreAccess>),
}

/// The changes of a store.
pub(crate) enum StoreChanges {
    Grpc(Box<broker_wire::StoreChanges>),
    Peer(Arc<PeerDoor>, Box<dyn StoreWatch>),
}

impl StoreDoor {
    /// Opens the door to the store `name`.
    ///
    /// # Errors
    /// The address has no such door, or not of a kind that carries stores (both misuse); nobody answers; over
    /// `broker://`, the node has no master of that store.
    pub(crate) async fn open(node: &NodeArgs, name: &str) -> anyhow::Result<Self> {
        let way = match node.peer.scheme() {
            "grpc" | "grpcs" => Way::Grpc(grpc::open(node).await?),
            "broker" | "brokers" => {
                let door = PeerDoor::open(node, "store").await?;
                let access = attach(&door, name).await?;
                Way::Peer(Arc::new(door), access)
            }
            _ => return Err(no_door(&node.peer, "store", SCHEMES)),
        };
        Ok(Self {
            name: name.into(),
            way,
        })
    }

    /// Whether the expiries of entries that were there before are known.
    pub(crate) fn knows_expiries(&self) -> bool {
        match &self.way {
            Way::Grpc(_) => true,
            Way::Peer(door, _) => door
                .endpoint()
                .store(&self.name)
                .is_some_and(|store| store.knows_expiries()),
        }
    }

    /// Does `operation`; a write is done when the master has applied it and holds it as durably as configured.
    pub(crate) async fn execute(&self, operation: StoreOperation) -> anyhow::Result<StoreReply> {
        match &self.way {
            Way::Grpc(client) => client
                .store(&self.name, operation)
                .await
                .map_err(|error| self.explain(error)),
            Way::Peer(door, access) => tokio::select! {
                biased;
                reply = access.execute(&self.name, operation) => reply.map_err(|error| explain(&error)),
                end = door.ended() => Err(lost(end)).context(format!("store {}", self.name)),
            },
        }
    }

    /// Begins to load entries many at a time; with `keep`, what is there stays. `None`: that is not to be had here, and
    /// entries are to be put one by one.
    pub(crate) async fn load(&self, keep: bool) -> anyhow::Result<Option<StoreLoad>> {
        let Way::Grpc(client) = &self.way else {
            return Ok(None);
        };
        match client.load(&self.name, keep).await {
            Ok(load) => Ok(Some(load)),
            // The node is older than the call.
            Err(ClientError::Unsupported) => Ok(None),
            Err(error) => Err(self.explain(error)),
        }
    }

    /// Starts to watch the store.
    pub(crate) async fn watch(&self, request: WatchRequest) -> anyhow::Result<StoreChanges> {
        match &self.way {
            Way::Grpc(client) => {
                let changes = client.watch(&self.name, &request).await;
                let changes = changes.map_err(|error| self.explain(error))?;
                Ok(StoreChanges::Grpc(Box::new(changes)))
            }
            Way::Peer(door, access) => {
                let changes = access.watch(&self.name, request).await;
                let changes = changes.map_err(|error| explain(&error))?;
                Ok(StoreChanges::Peer(Arc::clone(door), changes))
            }
        }
    }

    /// Makes the node copy the store, and fetches the copy.
    ///
    /// # Errors
    /// The door does not carry files (misuse), or the store cannot be copied.
    pub(crate) async fn backup(&self) -> anyhow::Result<broker_wire::StoreBackup> {
        match &self.way {
            Way::Grpc(client) => client
                .backup(&self.name)
                .await
                .map_err(|error| self.explain(error)),
            Way::Peer(..) => Err(misuse(
                "a backup takes grpc:// or grpcs://; over broker:// use dump",
            )),
        }
    }

    /// Leaves the node, where that is more than hanging up. Other handles to this door are of no use any more.
    pub(crate) async fn close(self) {
        if let Way::Peer(door, _) = self.way {
            door.leave().await;
        }
    }

    /// What went wrong with a call to this store.
    pub(crate) fn explain(&self, error: ClientError) -> anyhow::Error {
        match error {
            ClientError::Store(failure) => explain(&failure),
            other => anyhow::Error::new(other).context(format!("store {}", self.name)),
        }
    }
}

impl StoreChanges {
    /// Waits for what comes next.
    ///
    /// # Errors
    /// The store is gone, or the node is.
    ///
    /// # Cancel safety
    /// Safe: nothing is lost.
    pub(crate) async fn recv(&mut self) -> anyhow::Result<WatchItem> {
        let change = match self {
            Self::Grpc(changes) => changes.recv().await?,
            Self::Peer(door, changes) => tokio::select! {
                biased;
                change = changes.next() => change,
                end = door.ended() => return Err(lost(end)),
            },
        };
        change.context("the watch is over: the store is gone, or changed faster than it was read")
    }
}

/// Follows the store `name` of the node behind `door`.
async fn attach(door: &PeerDoor, name: &str) -> anyhow::Result<Arc<dyn StoreAccess>> {
    let endpoint = door.endpoint();
    let opened = endpoint
        .open_remote(door.peer(), name, ATTACH_WITHIN, CloneOptions::default())
        .await;
    match opened {
        Ok(_) => endpoint
            .store_access()
            .context("an endpoint with a store gives access to it"),
        Err(RemoteError::NoSuchStore { name, available }) => {
            Err(explain(&StoreFailure::NoSuchStore {
                name,
                available: available.iter().map(ToString::to_string).collect(),
            }))
        }
        Err(RemoteError::NoPeer { .. }) => Err(lost(door.ended().await)),
        Err(error) => Err(error.into()),
    }
}

/// The failure as one line: the framework's name for it first, or which stores there are.
fn explain(failure: &StoreFailure) -> anyhow::Error {
    match failure {
        StoreFailure::NoSuchStore { name, available } if available.is_empty() => {
            anyhow::anyhow!("no store {name:?} there, nor any other")
        }
        StoreFailure::NoSuchStore { name, available } => {
            anyhow::anyhow!("no store {name:?} there; stores: {}", available.join(", "))
        }
        StoreFailure::Code { code, detail } if detail.is_empty() => {
            anyhow::anyhow!("{}", code.name())
        }
        StoreFailure::Code { code, detail } => anyhow::anyhow!("{}: {detail}", code.name()),
        // The enum may grow; a failure of a kind we do not know has at least a text.
        other => anyhow::anyhow!("{other}"),
    }
}

/// The schemes that carry stores.
const SCHEMES: &[&str] = &["grpc", "grpcs", "broker", "brokers"];

/// How long finding the master and fetching the content may take.
const ATTACH_WITHIN: Duration = Duration::from_secs(30);
