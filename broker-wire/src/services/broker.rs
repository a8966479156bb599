//! `broker.v1.Broker`: clients that publish and subscribe. Each call is a hub of the node, so that clients
//! meet each other without further settings (broker-wire reference, 2.9).

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use broker_core::{
    Endpoint, EndpointId, Filter, HubPublisher, LocalNode, Message, PublishError, QueueOptions,
    Subscriber, Topic,
};
use bytes::Bytes;
use futures_core::Stream;
use tokio::sync::oneshot;
use tonic::{Request, Response, Status, Streaming};

use crate::convert::{status_to_proto, value_to_encoded, value_to_proto};
use crate::grpc::stopping;
use crate::proto::{self, attach_request, broker_server::Broker, subscribe_reply::Item};

/// How many prefixes one client may ask for.
const MAX_PREFIXES: usize = 65_536;

/// One reply holds at most so many messages ...
const REPLY_MESSAGES: usize = 256;
/// ... and ends after about so many bytes.
const REPLY_BYTES: usize = 256 << 10;

/// Messages that wait for one client: as for local subscribers, but whoever publishes, and whoever reads a peering,
/// waits for a client that stands still for no longer than this. Then the client loses messages, and is told how
/// many, until it has caught up with half of its queue.
const CLIENT_QUEUE: QueueOptions = QueueOptions::local().block_timeout(Duration::from_secs(1));

/// How long the word that a subscription is in place may wait for the node's peers to know of it.
const SETTLE_LIMIT: Duration = Duration::from_secs(2);

/// The service of one node.
#[derive(Clone, Debug)]
pub(crate) struct BrokerService {
    local: LocalNode,
}

impl BrokerService {
    pub(crate) const fn new(local: LocalNode) -> Self {
        Self { local }
    }

    async fn subscription(&self, subscriber: Subscriber, encoded: bool) -> Subscription {
        let endpoint = self.local.endpoint();
        // Best effort: a peer that hangs must not keep a client from its own node's messages.
        let _ = endpoint.settled(SETTLE_LIMIT).await;
        Subscription {
            started: Some(endpoint.id()),
            subscriber,
            encoded,
            failure: None,
        }
    }
}

#[tonic::async_trait]
impl Broker for BrokerService {
    type SubscribeStream = Subscription;
    type AttachStream = Subscription;

    async fn publish(
        &self,
        request: Request<Streaming<proto::PublishRequest>>,
    ) -> Result<Response<proto::PublishReply>, Status> {
        let endpoint = self.local.endpoint();
        let mut requests = request.into_inner();
        let (publisher, _hub) = endpoint.hub(Filter::new(), CLIENT_QUEUE).split();
        let mut reply = proto::PublishReply::default();
        while let Some(request) = next_or_stop(&endpoint, &mut requests).await? {
            publish(&publisher, request, &mut reply).await?;
        }
        Ok(Response::new(reply))
    }

    async fn subscribe(
        &self,
        request: Request<proto::SubscribeRequest>,
    ) -> Result<Response<Subscription>, Status> {
        let proto::SubscribeRequest { prefixes, encoded } = request.into_inner();
        let hub = self.local.endpoint().hub(filter(&prefixes)?, CLIENT_QUEUE);
        let (_, subscriber) = hub.split();
        Ok(Response::new(self.subscription(subscriber, encoded).await))
    }

    async fn attach(
        &self,
        request: Request<Streaming<proto::AttachRequest>>,
    ) -> Result<Response<Subscription>, Status> {
        let endpoint = self.local.endpoint();
        let mut requests = request.into_inner();
        let first = next_or_stop(&endpoint, &mut requests)
            .await?
            .and_then(|request| request.item);
        let Some(attach_request::Item::Subscribe(proto::SubscribeRequest { prefixes, encoded })) =
            first
        else {
            return Err(Status::invalid_argument(
                "the first request must be the subscription",
            ));
        };
        let (publisher, subscriber) = endpoint.hub(filter(&prefixes)?, CLIENT_QUEUE).split();
        let mut subscription = self.subscription(subscriber, encoded).await;
        let (failed, failure) = oneshot::channel();
        subscription.failure = Some(failure);
        self.local.spawn(async move {
            let mut failed = failed;
            let ended = tokio::select! {
                ended = publish_attached(&endpoint, &publisher, &mut requests) => ended,
                // The client has gone.
                () = failed.closed() => return,
            };
            if let Err(status) = ended {
                let _ = failed.send(status);
            }
        });
        Ok(Response::new(subscription))
    }

    async fn status(
        &self,
        _: Request<proto::StatusRequest>,
    ) -> Result<Response<proto::StatusReply>, Status> {
        let status = status_to_proto(self.local.endpoint().status());
        Ok(Response::new(proto::StatusReply {
            status: Some(status),
        }))
    }
}

async fn publish_attached(
    endpoint: &Endpoint,
    publisher: &HubPublisher,
    requests: &mut Streaming<proto::AttachRequest>,
) -> Result<(), Status> {
    let mut reply = proto::PublishReply::default();
    while let Some(request) = next_or_stop(endpoint, requests).await? {
        match request.item {
            Some(attach_request::Item::Publish(request)) => {
                publish(publisher, request, &mut reply).await?
            }
            Some(attach_request::Item::Subscribe(_)) => {
                return Err(Status::invalid_argument("there is a subscription already"));
            }
            None => {}
        }
    }
    Ok(())
}

/// The next request; none can come once the node stops.
pub(super) async fn next_or_stop<T>(
    endpoint: &Endpoint,
    requests: &mut Streaming<T>,
) -> Result<Option<T>, Status> {
    tokio::select! {
        biased;
        request = requests.message() => request,
        () = endpoint.stopping() => Err(stopping()),
    }
}

async fn publish(
    publisher: &HubPublisher,
    request: proto::PublishRequest,
    reply: &mut proto::PublishReply,
) -> Result<(), Status> {
    for proto::Message { topic, value } in request.messages {
        let refuse = |reason: &dyn std::fmt::Display| {
            Status::invalid_argument(format!("message {}: {reason}", reply.accepted + 1))
        };
        let topic = Topic::new(topic).map_err(|error| refuse(&error))?;
        let payload = value_to_encoded(value).map_err(|error| refuse(&error))?;
        let reached = publisher
            .publish(Message::from_encoded(topic, payload))
            .await
            .map_err(|error| match error {
                PublishError::ShuttingDown => stopping(),
                error => refuse(&error),
            })?;
        reply.accepted += 1;
        reply.unclaimed += u64::from(reached.nobody());
    }
    Ok(())
}

fn filter(prefixes: &[Bytes]) -> Result<Filter, Status> {
    if prefixes.len() > MAX_PREFIXES {
        return Err(Status::invalid_argument(format!(
            "{} prefixes, more than {MAX_PREFIXES}",
            prefixes.len()
        )));
    }
    let topics = prefixes.iter().map(|prefix| Topic::copy_from(prefix));
    topics
        .collect::<Result<_, _>>()
        .map_err(|error| Status::invalid_argument(error.to_string()))
}

/// The replies to one subscriber.
#[derive(Debug)]
pub(crate) struct Subscription {
    /// The node's ID until the first reply is out.
    started: Option<EndpointId>,
    subscriber: Subscriber,
    encoded: bool,
    /// What an attached client did wrong when publishing.
    failure: Option<oneshot::Receiver<Status>>,
}

impl Stream for Subscription {
    type Item = Result<proto::SubscribeReply, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let reply = |item| Poll::Ready(Some(Ok(proto::SubscribeReply { item: Some(item) })));
        if let Some(id) = self.started.take() {
            return reply(Item::Subscribed(proto::Subscribed {
                endpoint_id: Bytes::copy_from_slice(id.as_bytes()),
            }));
        }
        if let Some(failure) = &mut self.failure
            && let Poll::Ready(failed) = Pin::new(failure).poll(cx)
        {
            // Without a failure, the client has just ended its half.
            self.failure = None;
            if let Ok(status) = failed {
                return Poll::Ready(Some(Err(status)));
            }
        }
        let mut messages = Vec::new();
        let mut bytes = 0;
        while messages.len() < REPLY_MESSAGES && bytes < REPLY_BYTES {
            match Pin::new(&mut self.subscriber).poll_next(cx) {
                Poll::Ready(Some(message)) => {
                    if let Some(message) = message_to_proto(&message, self.encoded) {
                        bytes += prost::Message::encoded_len(&message);
                        messages.push(message);
                    }
                }
                Poll::Ready(None) if messages.is_empty() => return Poll::Ready(None),
                Poll::Pending if messages.is_empty() => return Poll::Pending,
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        let dropped = self.subscriber.counters().dropped_total();
        reply(Item::Messages(proto::Messages { messages, dropped }))
    }
}

/// `None` for a payload that is no value, which core logs where it came in.
fn message_to_proto(message: &Message, encoded: bool) -> Option<proto::Message> {
    let value = if encoded {
        proto::Value {
            kind: Some(proto::value::Kind::Encoded(message.encoded().clone())),
        }
    } else {
        value_to_proto(message.data().ok()?, false)
    };
    Some(proto::Message {
        topic: message.topic().clone().into_bytes(),
        value: Some(value),
    })
}
