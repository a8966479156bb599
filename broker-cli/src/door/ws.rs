//! The door of `ws://` and `wss://`: the command is a WebSocket client of the node, which may be a Zeek.
//!
//! Everything sent before a ping has been read, and refused or handed on, by the time its pong comes back; that is
//! what a command waits for. What the node refuses is a failure, told in the node's words.

use std::pin::pin;
use std::time::{Duration, Instant};

use broker_core::{Filter, Message};
use broker_wire::{Published, WsClient, WsClientOptions, WsError, WsReceived};
use futures_core::Stream;
use tokio::time::timeout;
use tokio_stream::StreamExt as _;

use crate::client::NodeArgs;
use crate::failure::complain;
use crate::status::Report;

/// A node that is called once it is known what to subscribe to.
#[derive(Debug)]
pub(crate) struct WsDoor {
    node: NodeArgs,
    options: WsClientOptions,
}

/// What the node refused.
#[derive(Debug, Default)]
struct Refusals {
    count: u64,
    first: String,
}

impl WsDoor {
    pub(super) fn new(node: &NodeArgs) -> anyhow::Result<Self> {
        let transports = node.transports()?;
        let mut options = WsClientOptions::new()
            .application_name(APPLICATION_NAME)
            .tls(transports.tls);
        if let Some(token) = node.token() {
            options = options.token(token);
        }
        Ok(Self {
            node: node.clone(),
            options,
        })
    }

    async fn connect(&self, prefixes: &Filter) -> anyhow::Result<WsClient> {
        let peer = &self.node.peer;
        match WsClient::connect(peer, prefixes, &self.options).await {
            // A TLS server hangs up on what is no TLS.
            Err(error @ WsError::NotWebSocket { .. }) if peer.scheme() == "ws" => {
                anyhow::bail!("{error}; if it expects TLS, use wss://")
            }
            client => Ok(client?),
        }
    }

    pub(super) async fn publish(
        self,
        messages: impl Stream<Item = Message>,
    ) -> anyhow::Result<Published> {
        let mut client = self.connect(&Filter::new()).await?;
        let mut messages = pin!(messages);
        let mut refusals = Refusals::default();
        let mut sent = 0;
        loop {
            tokio::select! {
                biased;
                received = client.recv() => refusals.note(required(received?)?),
                message = messages.next() => match message {
                    Some(message) => {
                        patiently(client.publish_message(&message)).await?;
                        sent += 1;
                    }
                    None => break,
                },
            }
        }
        patiently(client.barrier()).await?;
        // What the node had to say came before the pong.
        loop {
            tokio::select! {
                biased;
                received = client.recv() => match received? {
                    Some(received) => refusals.note(received),
                    None => break,
                },
                () = std::future::ready(()) => break,
            }
        }
        goodbye(client).await;
        refusals.none_of(sent)?;
        Ok(Published {
            accepted: sent,
            // A node does not say over this door whether anybody was interested.
            unclaimed: 0,
        })
    }

    pub(super) async fn subscribe(self, prefixes: &Filter) -> anyhow::Result<WsClient> {
        self.connect(prefixes).await
    }

    pub(super) async fn status(self) -> anyhow::Result<Report> {
        let mut client = self.connect(&Filter::new()).await?;
        patiently(client.barrier()).await?;
        let asked = Instant::now();
        patiently(client.barrier()).await?;
        let report = Report::of_server(client.endpoint(), client.server_version(), asked.elapsed());
        goodbye(client).await;
        Ok(report)
    }
}

impl Refusals {
    fn note(&mut self, received: WsReceived) {
        match received {
            WsReceived::Error { code, context } => {
                if self.count == 0 {
                    self.first = format!("{code}: {context}");
                }
                self.count += 1;
            }
            // Nothing was subscribed to, so nothing else means anything here.
            other => tracing::debug!(?other, "not asked for"),
        }
    }

    fn none_of(&self, sent: u64) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.count == 0,
            "the node refused {} of {sent} messages: {}",
            self.count,
            self.first
        );
        Ok(())
    }
}

/// The next message of a subscription; `None` when the node has shut down.
///
/// # Cancel safety
/// Safe: nothing is lost.
pub(super) async fn recv(client: &mut WsClient) -> anyhow::Result<Option<Message>> {
    loop {
        match client.recv().await? {
            Some(WsReceived::Message(message)) => return Ok(Some(message)),
            Some(WsReceived::Error { code, context }) => {
                complain(&format!("the node says: {code}: {context}"));
            }
            Some(other) => tracing::warn!(?other, "what the node sent is no message"),
            None => return Ok(None),
        }
    }
}

/// Waits for a node that may be slow, but not for one that is stuck: over this door only the server sends pings, so
/// nobody else would notice.
async fn patiently<T>(step: impl Future<Output = Result<T, WsError>>) -> anyhow::Result<T> {
    within(STUCK_AFTER, step).await
}

async fn within<T>(
    patience: Duration,
    step: impl Future<Output = Result<T, WsError>>,
) -> anyhow::Result<T> {
    match timeout(patience, step).await {
        Ok(done) => Ok(done?),
        Err(_) => anyhow::bail!("the node took nothing for {} s", patience.as_secs()),
    }
}

/// Closes the connection in order. Everything there was to say has been confirmed, so a node that does not answer is
/// left alone.
pub(super) async fn goodbye(client: WsClient) {
    let _ = timeout(GOODBYE, client.close()).await;
}

fn required(received: Option<WsReceived>) -> anyhow::Result<WsReceived> {
    received.ok_or_else(|| anyhow::anyhow!("the node has shut down"))
}

/// What servers call this client in their logs.
const APPLICATION_NAME: &str = "broker-cli";

/// A node that reads nothing for so long, or leaves a ping without answer, is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(30);

/// How long a node may take to answer a goodbye.
const GOODBYE: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_node_that_is_stuck_is_given_up() {
        let error = within(
            Duration::ZERO,
            std::future::pending::<Result<(), WsError>>(),
        )
        .await
        .expect_err("stuck");
        assert_eq!(error.to_string(), "the node took nothing for 0 s");
        let refused = patiently(std::future::ready(Err::<(), _>(WsError::Refused))).await;
        assert!(refused.expect_err("refused").is::<WsError>());
    }

    #[test]
    fn the_first_refusal_is_told_and_how_many_there_were() {
        let mut refusals = Refusals::default();
        assert!(refusals.none_of(3).is_ok());
        for context in ["failed to create Zeek event", "later"] {
            refusals.note(WsReceived::Error {
                code: "deserialization_failed".to_owned(),
                context: context.to_owned(),
            });
        }
        assert_eq!(
            refusals.none_of(3).expect_err("refused").to_string(),
            "the node refused 2 of 3 messages: deserialization_failed: failed to create Zeek event"
        );
    }
}
