//! Messages on their way to the node, several to a request.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use broker_core::Message;
use futures_core::Stream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::ClientError;
use crate::proto::{self, attach_request::Item, value::Kind};

/// One request holds at most so many messages ...
const REQUEST_MESSAGES: usize = 256;
/// ... and ends after about so many bytes.
const REQUEST_BYTES: usize = 256 << 10;

/// Messages of an attached client between its publisher and the connection.
const ATTACHED_IN_FLIGHT: usize = 64;

/// What became of the messages of one call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// Messages the node has taken.
    pub accepted: u64,
    /// Of these, messages that nobody had asked for.
    pub unclaimed: u64,
}

/// Requests made of messages: what is ready goes together.
pub(super) struct Requests {
    /// `None` once it has ended.
    messages: Option<Pin<Box<dyn Stream<Item = Message> + Send>>>,
}

impl Requests {
    pub(super) fn new(messages: impl Stream<Item = Message> + Send + 'static) -> Self {
        Self {
            messages: Some(Box::pin(messages)),
        }
    }
}

impl Stream for Requests {
    type Item = proto::PublishRequest;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut request = proto::PublishRequest::default();
        let mut bytes = 0;
        while let Some(messages) = &mut self.messages
            && request.messages.len() < REQUEST_MESSAGES
            && bytes < REQUEST_BYTES
        {
            match messages.as_mut().poll_next(cx) {
                Poll::Ready(Some(message)) => {
                    bytes += message.topic().len() + message.encoded().len();
                    request.messages.push(to_proto(&message));
                }
                Poll::Ready(None) => self.messages = None,
                Poll::Pending if request.messages.is_empty() => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        Poll::Ready(Some(request).filter(|request| !request.messages.is_empty()))
    }
}

fn to_proto(message: &Message) -> proto::Message {
    let value = proto::Value {
        kind: Some(Kind::Encoded(message.encoded().clone())),
    };
    proto::Message {
        topic: message.topic().clone().into_bytes(),
        value: Some(value),
    }
}

/// The publishing half of an attached client.
#[derive(Clone, Debug)]
pub struct ClientPublisher {
    messages: mpsc::Sender<Message>,
}

impl ClientPublisher {
    /// The publisher, and the requests that begin with `subscription`.
    pub(super) fn new(subscription: proto::SubscribeRequest) -> (Self, AttachRequests) {
        let (messages, receiver) = mpsc::channel(ATTACHED_IN_FLIGHT);
        let requests = AttachRequests {
            subscription: Some(subscription),
            requests: Requests::new(ReceiverStream::new(receiver)),
        };
        (Self { messages }, requests)
    }

    /// Sends a message; resolves when there is room on the way, not when the node has it. What the node
    /// refuses ends the subscription with an error.
    ///
    /// # Errors
    /// The call has ended.
    ///
    /// # Cancel safety
    /// If the future is dropped before it resolves, the message was not sent.
    pub async fn publish(&self, message: Message) -> Result<(), ClientError> {
        let sent = self.messages.send(message).await;
        sent.map_err(|_| ClientError::Lost {
            reason: "the call has ended".to_owned(),
        })
    }
}

/// The requests of an attached client.
pub(super) struct AttachRequests {
    subscription: Option<proto::SubscribeRequest>,
    requests: Requests,
}

impl Stream for AttachRequests {
    type Item = proto::AttachRequest;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(subscription) = self.subscription.take() {
            return Poll::Ready(Some(proto::AttachRequest {
                item: Some(Item::Subscribe(subscription)),
            }));
        }
        let request = ready!(Pin::new(&mut self.requests).poll_next(cx));
        Poll::Ready(request.map(|request| proto::AttachRequest {
            item: Some(Item::Publish(request)),
        }))
    }
}
