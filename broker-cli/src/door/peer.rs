//! The door of `broker://` and `brokers://`: the command becomes a peer of the node for as long as it takes.
//!
//! Its endpoint connects once, forwards nothing, and says goodbye when it is done. Towards the node it blocks rather
//! than drops, without a limit of its own: a node that is slow is waited for, one that is gone is noticed by the
//! peering's heartbeat. So a command that succeeds has lost nothing: every message was queued, in order, before the
//! ping whose pong it waits for. That the node's own subscribers and peers have them is not said by that.

use std::pin::pin;
use std::time::Duration;

use anyhow::Context as _;
use broker_core::{
    Endpoint, EndpointId, Filter, LinkEnd, Message, OverflowPolicy, PeeringHandle, QueueOptions,
    Subscriber,
};
use broker_wire::Published;
use futures_core::Stream;
use tokio::time::timeout;
use tokio_stream::StreamExt as _;

use crate::client::NodeArgs;
use crate::status::Report;

/// A peering with the node.
#[derive(Debug)]
pub(crate) struct PeerDoor {
    endpoint: Endpoint,
    peering: PeeringHandle,
}

/// What comes from the node.
#[derive(Debug)]
pub(crate) struct PeerSubscription {
    door: PeerDoor,
    messages: Subscriber,
}

impl PeerDoor {
    /// Connects once. The node sees `command` as this peer's name.
    pub(super) async fn open(node: &NodeArgs, command: &str) -> anyhow::Result<Self> {
        let url = &node.peer;
        let endpoint = node
            .transports()?
            .builder()
            .name(format!("broker {command}"))
            .forwarding(false)
            .feature(broker_store::FEATURE)
            .peer_queue(patient(QueueOptions::peer()))
            .start();
        let id = endpoint.connect(url.clone()).await?;
        let peering = endpoint
            .peering(id)
            .with_context(|| format!("{url} closed the connection at once"))?;
        Ok(Self { endpoint, peering })
    }

    pub(super) async fn publish(
        self,
        messages: impl Stream<Item = Message>,
    ) -> anyhow::Result<Published> {
        let mut messages = pin!(messages);
        let mut published = Published::default();
        loop {
            let message = tokio::select! {
                biased;
                end = self.peering.ended() => return Err(lost(end)),
                message = messages.next() => match message {
                    Some(message) => message,
                    None => break,
                },
            };
            let reached = self.endpoint.publish(message).await?;
            published.accepted += 1;
            published.unclaimed += u64::from(reached.nobody());
        }
        self.confirmed().await?;
        let dropped: u64 = self.endpoint.drops().iter().map(|drop| drop.count).sum();
        anyhow::ensure!(dropped == 0, "{dropped} messages were dropped on the way");
        self.leave().await;
        Ok(published)
    }

    pub(super) async fn subscribe(self, prefixes: Filter) -> anyhow::Result<PeerSubscription> {
        let messages = self
            .endpoint
            .subscribe(prefixes, patient(QueueOptions::local()));
        self.confirmed().await?;
        Ok(PeerSubscription {
            door: self,
            messages,
        })
    }

    pub(super) async fn status(self) -> anyhow::Result<Report> {
        // The first answer may have waited behind the end of the handshake.
        self.confirmed().await?;
        let rtt = self.confirmed().await?;
        let report = Report::of_peer(&self.peering.info(), rtt);
        self.leave().await;
        Ok(report)
    }

    /// The endpoint of the command.
    pub(super) const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The node's ID.
    pub(super) fn peer(&self) -> EndpointId {
        self.peering.info().id
    }

    /// Waits until the peering has ended.
    pub(super) async fn ended(&self) -> LinkEnd {
        self.peering.ended().await
    }

    /// The node has seen everything so far.
    async fn confirmed(&self) -> anyhow::Result<Duration> {
        match self.peering.confirmed().await {
            Some(after) => Ok(after),
            None => Err(lost(self.peering.ended().await)),
        }
    }

    /// Says goodbye. Everything there was to say has been confirmed, so a node that does not answer is left alone.
    pub(super) async fn leave(&self) {
        let _ = timeout(GOODBYE, self.endpoint.shutdown()).await;
    }
}

impl PeerSubscription {
    pub(super) async fn recv(&mut self) -> anyhow::Result<Option<Message>> {
        tokio::select! {
            biased;
            // What came before the end comes first.
            message = self.messages.recv() => Ok(message),
            end = self.door.peering.ended() => match end {
                LinkEnd::Left => Ok(None),
                end => Err(lost(end)),
            },
        }
    }

    pub(super) async fn close(self) {
        let Self { door, messages } = self;
        // The peering's reader may wait for room here, and could not hear the answer to a goodbye.
        drop(messages);
        door.leave().await;
    }
}

/// A queue that waits for room as long as there is somebody at the other end.
const fn patient(options: QueueOptions) -> QueueOptions {
    options
        .policy(OverflowPolicy::Block)
        .block_timeout(Duration::MAX)
}

/// Why a command cannot go on.
pub(super) fn lost(end: LinkEnd) -> anyhow::Error {
    match end {
        LinkEnd::Left => anyhow::anyhow!("the node has shut down"),
        end => end.into(),
    }
}

/// How long a node may take to answer a goodbye.
const GOODBYE: Duration = Duration::from_secs(3);
