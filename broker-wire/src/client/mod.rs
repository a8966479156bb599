//! A client of a node's `broker.v1` services, for tools and for programs that want no endpoint of their own.
//!
//! Values travel in Broker's binary format here (the typed form is for other languages), so that what a
//! client sends and gets is exactly what nodes exchange.

mod channel;
mod error;
mod load;
mod publish;
mod store;
mod subscription;

use std::time::Duration;

use broker_core::{Filter, Message, NodeStatus, PeerUrl};
use futures_core::Stream;
use tokio::time::timeout;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

pub use self::error::ClientError;
pub use self::load::{LoadError, Loaded, StoreLoad};
pub use self::publish::{ClientPublisher, Published};
pub use self::store::{StoreBackup, StoreChanges};
pub use self::subscription::ClientSubscription;

use self::channel::Channel;
use self::publish::Requests;
use crate::convert::status_from_proto;
use crate::frame::limits::MAX_FRAME;
use crate::grpc::DialError;
use crate::proto;
use crate::proto::broker_client::BrokerClient as BrokerStub;
use crate::proto::store_client::StoreClient as StoreStub;
use crate::tls::TlsOptions;

/// How long connecting may take, from the first packet to the first answer.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection to one node. Clones share it; it is closed when the last one, and the last stream, is gone.
///
/// ```
/// use broker_core::{Data, Endpoint, Filter, Message, Topic};
/// use broker_wire::{BrokerClient, GrpcTransport};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let node = Endpoint::builder().name("node").transport(GrpcTransport::new()).start();
/// let address = node.listen(&"grpc://127.0.0.1:0".parse()?).await?;
///
/// let reader = BrokerClient::connect(&address).await?;
/// let mut inbox = reader.subscribe(&Filter::from_iter([Topic::from_static("/hosts")])).await?;
///
/// let writer = BrokerClient::connect(&address).await?;
/// let message = Message::new(Topic::from_static("/hosts/new"), Data::from("192.0.2.7"));
/// assert_eq!(writer.publish_all([message]).await?.accepted, 1);
///
/// let message = inbox.recv().await?.ok_or("closed")?;
/// assert_eq!(message.data()?, &Data::from("192.0.2.7"));
/// assert_eq!(reader.status().await?.name, "node");
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct BrokerClient {
    channel: Channel,
}

impl BrokerClient {
    /// Connects to the node at `url` (`grpc://`; for `grpcs://` see [`connect_with`](Self::connect_with)) and makes sure that it is one.
    ///
    /// # Errors
    /// See [`ClientError`].
    ///
    /// # Cancel safety
    /// If the future is dropped, the connection is closed.
    pub async fn connect(url: &PeerUrl) -> Result<Self, ClientError> {
        Self::connect_with(url, None).await
    }

    /// Connects to the node at `url` (`grpc://`, or `grpcs://` with `tls`) and makes sure that it is one. The
    /// files of `tls` are read each time.
    ///
    /// # Errors
    /// See [`ClientError`].
    ///
    /// # Cancel safety
    /// If the future is dropped, the connection is closed.
    pub async fn connect_with(
        url: &PeerUrl,
        tls: Option<&TlsOptions>,
    ) -> Result<Self, ClientError> {
        let unreachable = |reason| ClientError::Unreachable {
            url: url.clone(),
            reason,
        };
        let late = |_| {
            unreachable(DialError::TimedOut {
                after: CONNECT_TIMEOUT,
            })
        };
        timeout(CONNECT_TIMEOUT, async {
            let channel = Channel::open(url, tls).await.map_err(unreachable)?;
            let client = Self { channel };
            client.check(url).await?;
            Ok(client)
        })
        .await
        .unwrap_or_else(|elapsed| Err(late(elapsed)))
    }

    /// Asks the health service whether there is a node, which also is a connection's first sign of life.
    async fn check(&self, url: &PeerUrl) -> Result<(), ClientError> {
        let not_a_node = |reason: String| ClientError::NotANode {
            url: url.clone(),
            reason,
        };
        let request = HealthCheckRequest {
            service: proto::broker_server::SERVICE_NAME.to_owned(),
        };
        let mut health = HealthClient::with_origin(self.channel.clone(), self.channel.origin());
        let reply = health.check(request).await;
        if reply.is_err()
            && let Some(reason) = self.channel.explain()
        {
            return Err(ClientError::Unreachable {
                url: url.clone(),
                reason,
            });
        }
        match reply {
            Ok(reply) if reply.get_ref().status() == ServingStatus::Serving => Ok(()),
            Ok(reply) => Err(not_a_node(format!(
                "its health is {:?}",
                reply.get_ref().status()
            ))),
            Err(status) if status.code() == Code::Unavailable => {
                Err(ClientError::from_status(&status))
            }
            Err(status) if matches!(status.code(), Code::Unimplemented | Code::NotFound) => Err(
                not_a_node("a gRPC server, but without Broker's services".to_owned()),
            ),
            Err(status) => {
                let reason = status.message().to_owned();
                Err(ClientError::Unreachable {
                    url: url.clone(),
                    reason: DialError::NotHttp2 { reason },
                })
            }
        }
    }

    /// Publishes all of `messages`, as one hub of the node. Resolves once the node has taken the last one.
    ///
    /// # Errors
    /// A message the node refuses ends the call; those before it are published.
    ///
    /// # Cancel safety
    /// If the future is dropped, what was sent by then may be published or not.
    pub async fn publish(
        &self,
        messages: impl Stream<Item = Message> + Send + 'static,
    ) -> Result<Published, ClientError> {
        let reply = self
            .broker()
            .publish(Requests::new(messages))
            .await
            .map_err(|status| ClientError::from_status(&status))?;
        let proto::PublishReply {
            accepted,
            unclaimed,
        } = reply.into_inner();
        Ok(Published {
            accepted,
            unclaimed,
        })
    }

    /// Publishes all of `messages`: see [`publish`](Self::publish).
    ///
    /// # Errors
    /// A message the node refuses ends the call; those before it are published.
    ///
    /// # Cancel safety
    /// If the future is dropped, what was sent by then may be published or not.
    pub async fn publish_all<I>(&self, messages: I) -> Result<Published, ClientError>
    where
        I: IntoIterator<Item = Message>,
        I::IntoIter: Send + 'static,
    {
        self.publish(tokio_stream::iter(messages)).await
    }

    /// Subscribes to topics that start with one of `prefixes`. Resolves once the node has the subscription:
    /// from then on nothing is missed while this client keeps up.
    ///
    /// # Errors
    /// See [`ClientError`].
    ///
    /// # Cancel safety
    /// If the future is dropped, there is no subscription.
    pub async fn subscribe(&self, prefixes: &Filter) -> Result<ClientSubscription, ClientError> {
        let replies = self.broker().subscribe(subscribe_request(prefixes)).await;
        let replies = replies
            .map_err(|status| ClientError::from_status(&status))?
            .into_inner();
        ClientSubscription::start(replies, self.channel.clone()).await
    }

    /// Publishes and subscribes as one hub, which does not get its own messages back.
    ///
    /// # Errors
    /// See [`ClientError`].
    ///
    /// # Cancel safety
    /// If the future is dropped, there is no subscription.
    pub async fn attach(
        &self,
        prefixes: &Filter,
    ) -> Result<(ClientPublisher, ClientSubscription), ClientError> {
        let (publisher, requests) = ClientPublisher::new(subscribe_request(prefixes));
        let replies = self.broker().attach(requests).await;
        let replies = replies
            .map_err(|status| ClientError::from_status(&status))?
            .into_inner();
        Ok((
            publisher,
            ClientSubscription::start(replies, self.channel.clone()).await?,
        ))
    }

    /// What the node knows about itself.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn status(&self) -> Result<NodeStatus, ClientError> {
        let reply = self.broker().status(proto::StatusRequest {}).await;
        let reply = reply
            .map_err(|status| ClientError::from_status(&status))?
            .into_inner();
        let status = reply
            .status
            .ok_or_else(|| ClientError::bad_reply("it holds no status"))?;
        status_from_proto(status).map_err(ClientError::bad_reply)
    }

    fn broker(&self) -> BrokerStub<Channel> {
        BrokerStub::with_origin(self.channel.clone(), self.channel.origin())
            .max_decoding_message_size(MAX_FRAME)
            .max_encoding_message_size(MAX_FRAME)
    }

    fn stores(&self) -> StoreStub<Channel> {
        StoreStub::with_origin(self.channel.clone(), self.channel.origin())
            .max_decoding_message_size(MAX_FRAME)
            .max_encoding_message_size(MAX_FRAME)
    }
}

fn subscribe_request(prefixes: &Filter) -> proto::SubscribeRequest {
    proto::SubscribeRequest {
        prefixes: prefixes
            .iter()
            .map(|prefix| prefix.clone().into_bytes())
            .collect(),
        encoded: true,
    }
}
