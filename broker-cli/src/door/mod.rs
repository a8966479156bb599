//! The doors of a node: how a command gets to PEER, one file per kind of URL.
//!
//! | URL | door | what the command is there |
//! |---|---|---|
//! | `grpc://`, `grpcs://` | [`grpc`] | a client: what it publishes and subscribes to is a hub's |
//! | `ws://`, `wss://` | [`ws`] | a WebSocket client: a hub too |
//! | `broker://`, `brokers://` | [`peer`] | a peer with an endpoint of its own, which forwards nothing and leaves with a goodbye |
//!
//! Commands know [`Door`], and `store` [`StoreDoor`], and no URL. A door that cannot carry a command says so in [`Door::open`], before anybody
//! is called.

mod grpc;
mod peer;
mod stores;
#[cfg(feature = "ws")]
mod ws;

use broker_core::{Filter, Message, PeerUrl};
use broker_wire::{BrokerClient, Published};
use futures_core::Stream;

use self::peer::PeerDoor;
pub(crate) use self::stores::StoreDoor;
use crate::client::NodeArgs;
use crate::failure::misuse;
use crate::status::Report;

/// A way into a node, opened for one command.
#[derive(Debug)]
pub(crate) enum Door {
    /// The node's client services.
    Grpc(BrokerClient),
    /// A peering with the node.
    Peer(PeerDoor),
    /// The node's WebSocket server.
    #[cfg(feature = "ws")]
    Ws(Box<ws::WsDoor>),
}

/// Messages on their way from a node.
#[derive(Debug)]
pub(crate) enum Subscription {
    Grpc(Box<broker_wire::ClientSubscription>),
    Peer(peer::PeerSubscription),
    #[cfg(feature = "ws")]
    Ws(Box<broker_wire::WsClient>),
}

impl Door {
    /// Opens the door of `peer` for `command`.
    ///
    /// # Errors
    /// There is no such door, it cannot carry the command (both misuse), or nobody answers.
    pub(crate) async fn open(node: &NodeArgs, command: &str) -> anyhow::Result<Self> {
        let peer = &node.peer;
        match peer.scheme() {
            "grpc" | "grpcs" => Ok(Self::Grpc(grpc::open(node).await?)),
            "broker" | "brokers" => Ok(Self::Peer(PeerDoor::open(node, command).await?)),
            #[cfg(feature = "ws")]
            "ws" | "wss" => Ok(Self::Ws(Box::new(ws::WsDoor::new(node)?))),
            _ => Err(no_door(peer, command, SCHEMES)),
        }
    }

    /// Hands `messages` over as they come, and returns when the node has all of them.
    pub(crate) async fn publish(
        self,
        messages: impl Stream<Item = Message> + Send + 'static,
    ) -> anyhow::Result<Published> {
        match self {
            Self::Grpc(client) => Ok(client.publish(messages).await?),
            Self::Peer(peer) => peer.publish(messages).await,
            #[cfg(feature = "ws")]
            Self::Ws(server) => server.publish(messages).await,
        }
    }

    /// Subscribes to `prefixes`; what is published from now on comes.
    pub(crate) async fn subscribe(self, prefixes: Filter) -> anyhow::Result<Subscription> {
        match self {
            Self::Grpc(client) => Ok(Subscription::Grpc(Box::new(
                client.subscribe(&prefixes).await?,
            ))),
            Self::Peer(peer) => Ok(Subscription::Peer(peer.subscribe(prefixes).await?)),
            #[cfg(feature = "ws")]
            Self::Ws(server) => {
                let client = server.subscribe(&prefixes).await?;
                Ok(Subscription::Ws(Box::new(client)))
            }
        }
    }

    /// What the node says about itself, as far as this door shows it.
    pub(crate) async fn status(self) -> anyhow::Result<Report> {
        match self {
            Self::Grpc(client) => grpc::status(&client).await,
            Self::Peer(peer) => peer.status().await,
            #[cfg(feature = "ws")]
            Self::Ws(server) => server.status().await,
        }
    }
}

impl Subscription {
    /// Waits for the next message; `None` when the node has shut down.
    ///
    /// # Cancel safety
    /// Safe: no message is lost if the future is dropped.
    pub(crate) async fn recv(&mut self) -> anyhow::Result<Option<Message>> {
        match self {
            Self::Grpc(subscription) => Ok(subscription.recv().await?),
            Self::Peer(subscription) => subscription.recv().await,
            #[cfg(feature = "ws")]
            Self::Ws(client) => ws::recv(client).await,
        }
    }

    /// Ends the subscription, where that is more than hanging up.
    pub(crate) async fn close(self) {
        match self {
            Self::Grpc(_) => {}
            Self::Peer(subscription) => subscription.close().await,
            #[cfg(feature = "ws")]
            Self::Ws(client) => ws::goodbye(*client).await,
        }
    }
}

/// Why `peer` cannot be reached by `command`, for which there are the schemes in `doors`.
fn no_door(peer: &PeerUrl, command: &str, doors: &[&str]) -> anyhow::Error {
    let doors = doors.join(", ");
    misuse(match peer.scheme() {
        "mem" => format!(
            "{command}: mem:// joins endpoints of one process, so no other program can reach {peer}"
        ),
        scheme if KNOWN.contains(&scheme) => {
            format!("{command} cannot go over {scheme}:// (it can over: {doors})")
        }
        scheme => format!("{command}: there is no transport for {scheme}:// (there is: {doors})"),
    })
}

/// The schemes of the doors that every command but `store` can go through.
const SCHEMES: &[&str] = crate::transports::SCHEMES;

/// The schemes that mean something.
const KNOWN: &[&str] = &["grpc", "grpcs", "broker", "brokers", "ws", "wss"];
