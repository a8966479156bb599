//! Messages on their way from the node.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use broker_core::{Message, Topic};
use futures_core::Stream;
use tonic::Streaming;

use super::ClientError;
use super::channel::Channel;
use crate::convert::value_to_encoded;
use crate::proto::{self, subscribe_reply::Item};

/// A subscription at a node. Dropping it ends it.
#[derive(Debug)]
#[must_use = "the subscription ends when it is dropped"]
pub struct ClientSubscription {
    replies: Streaming<proto::SubscribeReply>,
    /// Of the reply received last; its size is bounded by the largest message taken.
    messages: VecDeque<proto::Message>,
    dropped: u64,
    _channel: Channel,
}

impl ClientSubscription {
    /// Waits for the word that the subscription is in place.
    pub(super) async fn start(
        replies: Streaming<proto::SubscribeReply>,
        channel: Channel,
    ) -> Result<Self, ClientError> {
        let mut subscription = Self {
            replies,
            messages: VecDeque::new(),
            dropped: 0,
            _channel: channel,
        };
        match poll_fn(|cx| Pin::new(&mut subscription.replies).poll_next(cx)).await {
            Some(Ok(proto::SubscribeReply {
                item: Some(Item::Subscribed(_)),
            })) => Ok(subscription),
            Some(Ok(_)) => Err(ClientError::bad_reply("messages before the subscription")),
            Some(Err(status)) => Err(ClientError::from_status(&status)),
            None => Err(ClientError::Lost {
                reason: "closed by the node".to_owned(),
            }),
        }
    }

    /// Waits for the next message; `None` when the node has shut down.
    ///
    /// # Errors
    /// See [`ClientError`]; there is no more after an error.
    ///
    /// # Cancel safety
    /// Safe: no message is lost if the future is dropped.
    pub async fn recv(&mut self) -> Result<Option<Message>, ClientError> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// How many messages this subscription has lost because this client was too slow, as the node said with the
    /// messages that came last.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Message>, ClientError>> {
        loop {
            if let Some(message) = self.messages.pop_front() {
                return Poll::Ready(from_proto(message).map(Some));
            }
            match ready!(Pin::new(&mut self.replies).poll_next(cx)) {
                Some(Ok(proto::SubscribeReply {
                    item: Some(Item::Messages(proto::Messages { messages, dropped })),
                })) => {
                    self.messages = messages.into();
                    self.dropped = dropped;
                }
                // What a newer node may say is not for us.
                Some(Ok(_)) => {}
                Some(Err(status)) => return Poll::Ready(Err(ClientError::from_status(&status))),
                None => return Poll::Ready(Ok(None)),
            }
        }
    }
}

impl Stream for ClientSubscription {
    type Item = Result<Message, ClientError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_recv(cx).map(Result::transpose)
    }
}

fn from_proto(message: proto::Message) -> Result<Message, ClientError> {
    let topic = Topic::new(message.topic).map_err(ClientError::bad_reply)?;
    let payload = value_to_encoded(message.value).map_err(ClientError::bad_reply)?;
    Ok(Message::from_encoded(topic, payload))
}
