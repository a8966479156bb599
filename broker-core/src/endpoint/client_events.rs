//! Clients that a transport serves beside peers, as a stream: who came, and who went and why.
//!
//! A client is no peer: it has no endpoint ID, and the [status events](super::StatusEvent) say nothing of it. A transport
//! tells of its clients with [`LocalNode::client_event`](super::LocalNode::client_event); who wants to know asks
//! [`Endpoint::client_events`](super::Endpoint::client_events). Nothing here is sent to anybody.

use std::net::SocketAddr;

use crate::queue::{self, Weigh};
use crate::topic::Topic;

/// A client has come or gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientEvent {
    /// What it speaks, as people call it: `WebSocket`.
    pub kind: &'static str,
    /// What the transport calls it, different for each client of an endpoint.
    pub id: String,
    /// Where it is.
    pub address: SocketAddr,
    /// The name that its application gave, empty if none.
    pub application: String,
    /// Which of both.
    pub change: ClientChange,
}

/// What a [`ClientEvent`] is about.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientChange {
    /// It is served from now on.
    Added {
        /// What it subscribed to, sorted and without repeats.
        subscriptions: Vec<Topic>,
    },
    /// It is not served any more. One whose first message was bad is lost without having been added.
    Lost {
        /// The code it was closed with, as its protocol has it.
        code: u16,
        /// The reason that goes with it, possibly empty.
        reason: String,
    },
}

impl Weigh for ClientEvent {
    fn weight(&self) -> usize {
        let change = match &self.change {
            ClientChange::Added { subscriptions } => subscriptions
                .iter()
                .map(|topic| 32 + topic.as_bytes().len())
                .sum(),
            ClientChange::Lost { reason, .. } => reason.len(),
        };
        128 + self.id.len() + self.application.len() + change
    }
}

/// The client events of one endpoint from the moment of asking on. A reader that lags by more than 4096 events loses
/// the oldest.
#[derive(Debug)]
#[must_use = "the stream ends when it is dropped"]
pub struct ClientSubscriber {
    queue: queue::Receiver<ClientEvent>,
}

impl ClientSubscriber {
    pub(super) const fn new(queue: queue::Receiver<ClientEvent>) -> Self {
        Self { queue }
    }

    /// Waits for the next event; `None` once the endpoint has shut down.
    ///
    /// # Cancel safety
    /// Safe: no event is lost if the future is dropped.
    pub async fn recv(&mut self) -> Option<ClientEvent> {
        self.queue.recv().await
    }

    /// The next event, if there is one now.
    pub fn try_recv(&mut self) -> Option<ClientEvent> {
        self.queue.try_recv()
    }
}
