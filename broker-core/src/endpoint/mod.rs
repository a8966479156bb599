//! The endpoint: publish, subscribe, peer.
//!
//! [`Endpoint`] is a cloneable handle; what it names runs in tokio tasks until [`Endpoint::shutdown`] or
//! until the last handle is dropped.
//!
//! | file | what it holds |
//! |---|---|
//! | `shared` | the state all handles and tasks share, and how it changes |
//! | `routes` | the snapshot a message is routed by |
//! | `publish`, `inbound`, `density` | the way of a message out and in |
//! | `local`, `command` | subscribers, hubs and command ports |
//! | `peer_table`, `local_node`, `link`, `connector`, `peering_handle` | from an attempt to a peering and back |
//! | `status_events`, `client_events`, `readers`, `drops`, `telemetry` | what is told about it |

mod builder;
mod client_events;
mod command;
mod connector;
mod density;
mod drops;
mod inbound;
mod link;
mod local;
mod local_node;
mod peer_table;
mod peering_handle;
mod publish;
mod readers;
mod routes;
mod shared;
mod status_events;
mod telemetry;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};

pub use self::builder::EndpointBuilder;
pub use self::client_events::{ClientChange, ClientEvent, ClientSubscriber};
pub use self::command::{Command, CommandPort};
pub use self::drops::DropRecord;
pub use self::link::LinkEnd;
pub use self::local::{Hub, HubPublisher, Subscriber, SubscriptionHandle};
pub use self::local_node::{Admit, AttachedLink, LocalNode};
pub use self::peering_handle::PeeringHandle;
pub use self::publish::{MAX_PAYLOAD, PublishError, Publisher, Reached};
pub use self::status_events::{StatusEvent, StatusEventCode, StatusSubscriber};
pub use self::telemetry::{QueueTotals, Totals, Traffic, ZeekTraffic, zeek_events};

use self::link::{Link, Wish};
use self::local::{LocalKind, Wanted};
use self::shared::Shared;
use crate::data::Data;
use crate::filter::Filter;
use crate::handshake::HandshakeError;
use crate::id::EndpointId;
use crate::message::Message;
use crate::queue::{Counters, QueueOptions};
use crate::status::{NodeStatus, PeerStatus, StatusSource};
use crate::store_access::StoreAccess;
use crate::topic::Topic;
use crate::transport::{ConnectError, ListenError};
use crate::url::PeerUrl;

/// How long [`Endpoint::shutdown`] waits for queues to drain before it says goodbye.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// A handle to a Broker endpoint. Cloning is cheap and gives another handle to the same endpoint, which
/// stops without ceremony when the last one is dropped; [`shutdown`](Self::shutdown) is the orderly end.
///
/// ```
/// use broker_core::{Data, Endpoint, Filter, MemNetwork, MemTransport, Message, QueueOptions, Topic};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let network = MemNetwork::new();
/// let left = Endpoint::builder().name("left").transport(MemTransport::new(&network)).start();
/// let right = Endpoint::builder().name("right").transport(MemTransport::new(&network)).start();
///
/// let mut inbox = right.subscribe(Filter::from_iter([Topic::from_static("/hosts")]), QueueOptions::local());
/// right.listen(&"mem://right".parse()?).await?;
/// left.connect("mem://right".parse()?).await?;
///
/// left.publish(Message::new(Topic::from_static("/hosts/new"), Data::from("192.0.2.7"))).await?;
/// let message = inbox.recv().await.ok_or("closed")?;
/// assert_eq!(message.data()?, &Data::from("192.0.2.7"));
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Endpoint {
    pub(crate) shared: Arc<Shared>,
    /// Held, not read: stops the endpoint when the last owning handle is gone.
    _guard: Option<Arc<Guard>>,
}

/// Stops the endpoint when the last owning handle goes.
#[derive(Debug)]
struct Guard {
    shared: Arc<Shared>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.shared.close();
        for link in self.shared.control().peers.links() {
            link.cut(LinkEnd::Removed("shutting down".to_owned()));
        }
        self.shared.close_locals();
    }
}

/// A peer as [`Endpoint::peers`] lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerInfo {
    /// Its endpoint ID.
    pub id: EndpointId,
    /// The name it gave, possibly empty.
    pub name: String,
    /// Its software and version, possibly empty.
    pub software: String,
    /// The URL dialled, or one made of the address it came from.
    pub url: PeerUrl,
    /// Whether it connected to us.
    pub inbound: bool,
    /// The link protocol version in use.
    pub version: u32,
    /// The features in use.
    pub features: Vec<String>,
    /// The filter it announced last.
    pub filter: Filter,
}

impl Endpoint {
    /// Sets up an endpoint.
    pub fn builder() -> EndpointBuilder {
        EndpointBuilder::new()
    }

    /// The endpoint's ID.
    #[must_use]
    pub fn id(&self) -> EndpointId {
        self.shared.id
    }

    /// The name peers are told.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.options.name
    }

    /// Software and version peers are told.
    #[must_use]
    pub fn software(&self) -> &str {
        &self.shared.options.software
    }

    /// The URL schemes this endpoint has transports for, in the order they were added.
    #[must_use]
    pub fn schemes(&self) -> Vec<&'static str> {
        self.shared
            .options
            .transports
            .iter()
            .flat_map(|transport| transport.schemes())
            .copied()
            .collect()
    }

    /// Whether the endpoint has begun to shut down.
    #[must_use]
    pub fn is_shutting_down(&self) -> bool {
        self.shared.closed.load(Ordering::Acquire)
    }

    // --- publish and subscribe -------------------------------------------------------------------

    /// Queues `message` for every interested peer and local hub; own subscribers do not get it. Waits where
    /// a full queue's policy is to wait, at most its block timeout. Returns whom it was queued for, which is
    /// not to say that they have it.
    ///
    /// # Errors
    /// See [`PublishError`].
    ///
    /// # Cancel safety
    /// If the future is dropped while it waits for room, some receivers may have the message and others not.
    pub async fn publish(&self, message: Message) -> Result<Reached, PublishError> {
        self.shared.publish(message, None).await
    }

    /// Like [`publish`](Self::publish) but never waits: where the policy is to wait, the message is dropped
    /// for that receiver and counted.
    ///
    /// # Errors
    /// See [`PublishError`].
    pub fn try_publish(&self, message: &Message) -> Result<Reached, PublishError> {
        self.shared.try_publish(message)
    }

    /// Sends `message` to one direct peer, whatever its filter says. `false`: it is no peer.
    ///
    /// # Errors
    /// See [`PublishError`].
    ///
    /// # Cancel safety
    /// If the future is dropped before it resolves, the message was not queued.
    pub async fn send_to(&self, peer: EndpointId, message: Message) -> Result<bool, PublishError> {
        self.shared.send_to(peer, message).await
    }

    /// A publisher that encodes without allocating for each message.
    #[must_use]
    pub fn publisher(&self) -> Publisher {
        Publisher::new(Arc::clone(&self.shared))
    }

    /// Subscribes to all topics that start with one of `prefixes`. Peers learn of it at once; see
    /// [`settled`](Self::settled) for when they have.
    pub fn subscribe(&self, prefixes: Filter, queue: QueueOptions) -> Subscriber {
        self.subscriber(prefixes, queue, None)
    }

    /// Like [`subscribe`](Self::subscribe), without the messages that `wanted` says no to: they take no room in the queue, and
    /// nobody waits for room for them. It runs wherever messages are routed, so it has to be quick and must not block.
    pub fn subscribe_where(
        &self,
        prefixes: Filter,
        queue: QueueOptions,
        wanted: impl Fn(&Message) -> bool + Send + Sync + 'static,
    ) -> Subscriber {
        self.subscriber(prefixes, queue, Some(Box::new(wanted)))
    }

    fn subscriber(
        &self,
        prefixes: Filter,
        queue: QueueOptions,
        wanted: Option<Box<Wanted>>,
    ) -> Subscriber {
        let (sink, receiver) =
            self.shared
                .add_local(LocalKind::Subscriber, prefixes, queue, wanted);
        Subscriber::new(Arc::clone(&self.shared), sink, receiver)
    }

    /// Attaches a client: see [`Hub`].
    pub fn hub(&self, prefixes: Filter, queue: QueueOptions) -> Hub {
        let (sink, receiver) = self.shared.add_local(LocalKind::Hub, prefixes, queue, None);
        Hub::new(Arc::clone(&self.shared), sink, receiver)
    }

    /// Announces `prefixes` to the peers on behalf of the network, without local delivery. With forwarding
    /// on, that is what makes this endpoint a relay for them.
    pub fn forward(&self, prefixes: &Filter) {
        self.shared.add_forward(prefixes);
    }

    /// Tells the subscribers of this node something on a topic under `<$>/local/`, which never leaves
    /// it. Never waits: where there is no room, it is dropped and counted. `make` runs only if somebody
    /// listens. Returns how many did.
    pub fn publish_local(&self, topic: &Topic, make: impl FnOnce() -> Data) -> usize {
        self.shared.publish_local(topic, make)
    }

    /// Whether this node has subscribers for `topic`.
    #[must_use]
    pub fn has_subscribers(&self, topic: &Topic) -> bool {
        self.shared.has_subscribers(topic)
    }

    // --- layers above ----------------------------------------------------------------------------

    /// A handle that does not keep the endpoint running, for tasks that belong to it.
    #[must_use]
    pub fn unowned(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            _guard: None,
        }
    }

    /// Runs `task` as one of the endpoint's: shutdown waits for it, so it has to end soon after
    /// [`stopping`](Self::stopping) resolves.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.shared.tasks.spawn(task);
    }

    // --- commands --------------------------------------------------------------------------------

    /// Receives the store commands of `topic`, and announces it.
    pub fn command_port(&self, topic: Topic) -> CommandPort {
        self.shared.open_command_port(topic)
    }

    /// Sends a store command to one direct peer, or with `None` to everybody whose filter matches, local ports
    /// included. Never waits and is never dropped: a link that cannot take it is cut. Returns how many it
    /// was queued for.
    pub fn send_command(
        &self,
        receiver: Option<EndpointId>,
        topic: Topic,
        payload: Bytes,
    ) -> usize {
        self.shared.send_command(receiver, topic, payload)
    }

    /// Shows `visit` the queues towards the peers that subscribed to `topic`. Commands are never dropped, so
    /// whoever sends many of them looks here and waits before a link has to be cut.
    pub fn queues_towards(
        &self,
        topic: &Topic,
        mut visit: impl FnMut(EndpointId, &Counters, &QueueOptions),
    ) {
        self.shared
            .routes
            .load()
            .links
            .for_each_match(topic.as_bytes(), |link| {
                visit(link.id(), &link.queue.counters(), link.queue.options());
            });
    }

    // --- peers -----------------------------------------------------------------------------------

    /// Listens on `url` until shutdown. Returns the address really bound (port 0 asks for any).
    ///
    /// # Errors
    /// See [`ListenError`].
    ///
    /// # Cancel safety
    /// If the future is dropped before it resolves, nothing listens.
    pub async fn listen(&self, url: &PeerUrl) -> Result<PeerUrl, ListenError> {
        if self.is_shutting_down() {
            return Err(ListenError::ShuttingDown);
        }
        let transport = self.shared.transport(url.scheme()).map_err(|available| {
            ListenError::UnknownScheme {
                scheme: url.scheme().to_owned(),
                available,
            }
        })?;
        let local = LocalNode::new(Arc::clone(&self.shared));
        let bound = transport
            .listen(url, local, self.shared.stop.child_token())
            .await?;
        self.shared.control().listening.push(bound.clone());
        Ok(bound)
    }

    /// The addresses this endpoint listens on.
    #[must_use]
    pub fn listening(&self) -> Vec<PeerUrl> {
        self.shared.control().listening.clone()
    }

    /// Keeps a peering with `url` from now on: connects in the background, retries with back-off, and
    /// reconnects when the connection is lost. Failures are [status events](Self::statuses).
    pub fn peer(&self, url: PeerUrl) {
        self.shared.keep_peering(url);
    }

    /// Connects to `url` once and returns the peer's ID; there is no retry, now or after a loss. A peering
    /// that exists already counts as success.
    ///
    /// # Errors
    /// See [`ConnectError`].
    ///
    /// # Cancel safety
    /// If the future is dropped, the attempt is given up.
    pub async fn connect(&self, url: PeerUrl) -> Result<EndpointId, ConnectError> {
        match self.shared.connect_once(&url).await {
            Ok(link) => Ok(link.peer()),
            Err(ConnectError::Handshake {
                source: HandshakeError::Redundant { peer },
                ..
            }) => {
                // The other connection may be a moment from being attached.
                if timeout(
                    self.shared.options.handshake_timeout,
                    self.shared.peer_there(peer),
                )
                .await
                .is_ok()
                {
                    return Ok(peer);
                }
                Err(ConnectError::Handshake {
                    url,
                    source: HandshakeError::Redundant { peer },
                })
            }
            Err(error) => Err(error),
        }
    }

    /// Waits until a peer has refused this endpoint for 30 s because it has a connection with one of the same ID. That
    /// happens where an ID is kept across restarts: the peer has not noticed that the former process is gone, or there are
    /// two. A new endpoint with a new ID is let in.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn id_refused(&self) {
        self.shared.refused.cancelled().await;
    }

    /// Ends the peering with `url`, gracefully, and stops to keep it. `false`: there was none.
    ///
    /// # Cancel safety
    /// The end goes on if the future is dropped.
    pub async fn unpeer(&self, url: &PeerUrl) -> bool {
        let (kept, links) = {
            let mut control = self.shared.control();
            let kept = control.connectors.remove(url);
            let links: Vec<_> = control
                .peers
                .links()
                .filter(|link| link.url == *url)
                .cloned()
                .collect();
            (kept, links)
        };
        if let Some(connector) = &kept {
            connector.stop.cancel();
        }
        let found = kept.is_some() || !links.is_empty();
        if !found {
            self.report_invalid(None, Some(url.clone()));
        }
        self.leave(links).await;
        found
    }

    /// Ends the peering with `id`, gracefully. A kept peering to the same address is given up too.
    /// `false`: it is no peer.
    ///
    /// # Cancel safety
    /// The end goes on if the future is dropped.
    pub async fn unpeer_id(&self, id: EndpointId) -> bool {
        let link = {
            let mut control = self.shared.control();
            let link = control.peers.link(id).cloned();
            if let Some(connector) = link
                .as_ref()
                .and_then(|link| control.connectors.remove(&link.url))
            {
                connector.stop.cancel();
            }
            link
        };
        let Some(link) = link else {
            self.report_invalid(Some(id), None);
            return false;
        };
        self.leave(vec![link]).await;
        true
    }

    fn report_invalid(&self, endpoint: Option<EndpointId>, url: Option<PeerUrl>) {
        let mut control = self.shared.control();
        self.shared.emit_event(
            &mut control,
            StatusEvent {
                code: StatusEventCode::PeerInvalid,
                endpoint,
                name: String::new(),
                url,
                message: "cannot unpeer from unknown peer".to_owned(),
            },
        );
    }

    async fn leave(&self, links: Vec<Arc<Link>>) {
        for link in &links {
            if link.wishes.send(Wish::Leave).await.is_err() {
                link.cut(LinkEnd::Removed(String::new()));
            }
        }
        for link in links {
            let _ = link.closed().await;
        }
    }

    /// The peers of this moment, by ID.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerInfo> {
        let control = self.shared.control();
        let mut peers: Vec<_> = control
            .peers
            .links()
            .map(|link| peering_handle::peer_info(link))
            .collect();
        peers.sort_by_key(|peer| peer.id);
        peers
    }

    /// Waits until `id` is a peer, at most `limit`. Returns whether it is.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn await_peer(&self, id: EndpointId, limit: Duration) -> bool {
        timeout(limit, self.shared.peer_there(id)).await.is_ok()
    }

    /// Waits until every peer of this moment has seen all that was queued for it before, our filter
    /// included; at most `limit`. Returns whether all have.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn settled(&self, limit: Duration) -> bool {
        self.settle(limit).await.iter().all(|(_, seen)| *seen)
    }

    /// Every link of this moment, and whether its peer has seen (within `limit`) all that was queued before.
    async fn settle(&self, limit: Duration) -> Vec<(Arc<Link>, bool)> {
        let deadline = Instant::now() + limit;
        self.shared.flush_filter_if_dirty();
        let links: Vec<_> = self.shared.control().peers.links().cloned().collect();
        let mut asked = Vec::with_capacity(links.len());
        for link in links {
            let (answer, answered) = oneshot::channel();
            let sent = timeout_at(deadline, link.wishes.send(Wish::Barrier(answer))).await;
            asked.push((link, sent, answered));
        }
        let mut settled = Vec::with_capacity(asked.len());
        for (link, sent, answered) in asked {
            let seen = match sent {
                Ok(Ok(())) => matches!(timeout_at(deadline, answered).await, Ok(Ok(()))),
                // A peer that has gone meanwhile has nothing to see any more.
                Ok(Err(_)) => true,
                Err(_) => false,
            };
            settled.push((link, seen));
        }
        settled
    }

    // --- what is told ----------------------------------------------------------------------------

    /// The status events from now on.
    pub fn statuses(&self) -> StatusSubscriber {
        StatusSubscriber::new(self.shared.add_status_reader())
    }

    /// The clients of this endpoint's transports that come and go from now on.
    pub fn client_events(&self) -> ClientSubscriber {
        ClientSubscriber::new(self.shared.add_client_reader())
    }

    /// Adds a layer's part to [`status`](Self::status).
    pub fn register_status(&self, source: Arc<dyn StatusSource>) {
        self.shared
            .status_sources
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(source);
    }

    /// A snapshot of this node.
    #[must_use]
    pub fn status(&self) -> NodeStatus {
        let shared = &self.shared;
        let mut status = NodeStatus {
            id: shared.id,
            name: shared.options.name.clone(),
            version: shared.options.software.clone(),
            uptime: shared.started.elapsed(),
            listening: self.listening().iter().map(ToString::to_string).collect(),
            subscriptions: shared.announced(),
            peers: {
                let control = shared.control();
                let awaited = control.connectors.iter().filter_map(|(url, connector)| {
                    Some(PeerStatus {
                        url: url.to_string(),
                        state: connector.waiting()?.to_owned(),
                        ..PeerStatus::default()
                    })
                });
                control
                    .peers
                    .links()
                    .map(|link| peer_status(link))
                    .chain(awaited)
                    .collect()
            },
            stores: Vec::new(),
            logs: BTreeMap::new(),
            apps: BTreeMap::new(),
            counters: BTreeMap::new(),
        };
        let mismatched = shared.mismatched.load(Ordering::Relaxed);
        if mismatched > 0 {
            status
                .counters
                .insert("sender_mismatches".to_owned(), mismatched);
        }
        status
            .peers
            .sort_by(|a, b| (a.id.is_nil(), a.id, &a.url).cmp(&(b.id.is_nil(), b.id, &b.url)));
        let sources = shared
            .status_sources
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        for source in sources {
            source.contribute(&mut status);
        }
        status
    }

    /// What was dropped towards peers since the start: by peer, topic and reason.
    #[must_use]
    pub fn drops(&self) -> Vec<DropRecord> {
        self.shared.drops.records()
    }

    /// How often a peering was cut since the peer took its messages too slowly: by peer.
    #[must_use]
    pub fn overflows(&self) -> Vec<(String, u64)> {
        self.shared.drops.cuts()
    }

    /// What passed through since the start, by kind; `None` unless [`EndpointBuilder::telemetry`] was asked for.
    #[must_use]
    pub fn traffic(&self) -> Option<Traffic> {
        Some(self.shared.telemetry.as_ref()?.traffic())
    }

    /// What became of all messages since the start, over peerings and subscriptions that are gone as well.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.shared.totals()
    }

    /// Notes what a peer is called that told no name in its handshake, as version 1 of the protocol has none: status and logs
    /// call it so from now on. A name the peer told itself, or one learned before, stays. Nothing happens if `id` is no peer.
    pub fn learn_peer_name(&self, id: EndpointId, name: &str) {
        for link in self.shared.control().peers.links() {
            if link.id() == id {
                link.learn_name(name);
            }
        }
    }

    /// The queues towards the peers of this moment: by ID and name, their figures. The most that waited lately is of the
    /// period between the last two calls of [`roll_queue_maxima`](Self::roll_queue_maxima), and since.
    #[must_use]
    pub fn peer_queues(&self) -> Vec<(EndpointId, String, Counters)> {
        let control = self.shared.control();
        let links = control.peers.links();
        links
            .map(|link| (link.id(), link.name().to_owned(), link.queue.counters()))
            .collect()
    }

    /// Begins a new period for the most that waited in the queues towards peers. For one caller with a clock.
    pub fn roll_queue_maxima(&self) {
        for link in self.shared.control().peers.links() {
            link.queue.stats().roll_high_water();
        }
    }

    /// Opens this node's stores to services such as gRPC.
    pub fn set_store_access(&self, access: Arc<dyn StoreAccess>) {
        *self
            .shared
            .store_access
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Some(access);
    }

    /// The door to this node's stores; `make` builds it if there is none yet.
    pub fn store_access_or_set(
        &self,
        make: impl FnOnce() -> Arc<dyn StoreAccess>,
    ) -> Arc<dyn StoreAccess> {
        let mut access = self
            .shared
            .store_access
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        Arc::clone(access.get_or_insert_with(make))
    }

    /// The door to this node's stores, if it has any.
    #[must_use]
    pub fn store_access(&self) -> Option<Arc<dyn StoreAccess>> {
        self.shared
            .store_access
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    // --- the end ---------------------------------------------------------------------------------

    /// Waits until the endpoint begins to shut down.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn stopping(&self) {
        self.shared.stop.cancelled().await;
    }

    /// Asks the peers for nothing any more but the commands of stores, and waits (at most `limit`) until all that they had sent until they knew has
    /// arrived and is in the queues of subscribers, or of the peers it is forwarded to. Publishing goes on, so that what came
    /// last can still be answered; [`shutdown`](Self::shutdown) comes next. Returns whether all peers have seen it in time.
    ///
    /// # Cancel safety
    /// The peers may have been told or not.
    pub async fn withdraw(&self, limit: Duration) -> bool {
        self.shared.withdraw();
        self.settled(limit).await
    }

    /// Refuses new work, lets the peers have what is queued (at most [`DRAIN_TIMEOUT`]), says goodbye to them,
    /// and returns when every task has ended. Subscribers get what is queued and then the end.
    ///
    /// # Cancel safety
    /// A dropped future leaves the endpoint half way down; call again to finish.
    pub async fn shutdown(&self) {
        self.shared.close();
        let (drained, stuck): (Vec<_>, Vec<_>) = self
            .settle(DRAIN_TIMEOUT)
            .await
            .into_iter()
            .partition(|(_, seen)| *seen);
        for (link, _) in stuck {
            link.cut(LinkEnd::Removed("shutting down".to_owned()));
        }
        self.leave(drained.into_iter().map(|(link, _)| link).collect())
            .await;
        self.shared.close_locals();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }
}

fn peer_status(link: &Link) -> PeerStatus {
    let counters = link.queue.counters();
    PeerStatus {
        id: link.id(),
        name: link.name().to_owned(),
        url: link.url.to_string(),
        state: if link.has_ended() {
            "disconnected"
        } else {
            "peered"
        }
        .to_owned(),
        filter: Filter::clone(&link.current_filter()),
        queued: counters.queued,
        queued_bytes: counters.queued_bytes,
        sent: counters.sent,
        received: link.received.load(Ordering::Relaxed),
        dropped: counters.dropped_total(),
        rejected: link.rejected.load(Ordering::Relaxed),
        rtt: link.rtt(),
    }
}
