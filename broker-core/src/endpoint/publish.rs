//! Publishing: from a message to every queue that wants it, on the caller's thread.
//!
//! Cost of one message: one relaxed load (has our filter changed?), one snapshot load, one walk of the
//! prefix tree, and one short critical section per receiver. Nothing is allocated unless a queue is full.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::BytesMut;

use super::local::{LocalKind, LocalSink};
use super::routes::{Ref, Routes};
use super::shared::{OVERFLOW, Shared};
use crate::data::Data;
use crate::envelope::{Envelope, INITIAL_HOPS, MessageKind};
use crate::id::EndpointId;
use crate::message::Message;
use crate::queue::Offer;
use crate::topic::Topic;

/// The largest payload that is accepted for publishing and from peers.
pub const MAX_PAYLOAD: usize = 64 << 20;

/// How much a [`Publisher`] encodes into one piece of memory.
const ARENA: usize = 64 << 10;

/// Whom a message was queued for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// Peers that were interested.
    pub peers: usize,
    /// Local hubs and subscribers.
    pub locals: usize,
}

impl Reached {
    /// Whether nobody at all was interested.
    #[must_use]
    pub const fn nobody(self) -> bool {
        self.peers == 0 && self.locals == 0
    }
}

/// Why a message could not be published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The endpoint is shutting down.
    #[error("the endpoint is shutting down")]
    ShuttingDown,
    /// The encoded value is larger than [`MAX_PAYLOAD`].
    #[error("message of {size} bytes is larger than the limit of {MAX_PAYLOAD}")]
    TooLarge {
        /// Its size.
        size: usize,
    },
    /// The topic is reserved for the endpoint itself.
    #[error("topic {topic} is reserved")]
    Reserved {
        /// The topic.
        topic: Topic,
    },
}

/// Queues that had no room and whose policy is to wait.
#[derive(Default)]
struct Full {
    links: Vec<(Ref<super::link::Link>, Envelope)>,
    locals: Vec<(Ref<LocalSink>, Message)>,
}

impl Shared {
    /// Publishes for the endpoint (`hub` is `None`) or for one of its hubs, waiting where the policy says so.
    pub(crate) async fn publish(
        &self,
        message: Message,
        hub: Option<&Arc<LocalSink>>,
    ) -> Result<Reached, PublishError> {
        let (reached, full) = self.offer_all(&message, hub, false)?;
        match full {
            Some(full) => self.wait_for_room(full).await,
            // A publisher that never finds a queue full must not keep others from running.
            None => tokio::task::coop::consume_budget().await,
        }
        Ok(reached)
    }

    /// Publishes without ever waiting: where the policy is to wait, the message is dropped and counted.
    pub(crate) fn try_publish(&self, message: &Message) -> Result<Reached, PublishError> {
        self.offer_all(message, None, true)
            .map(|(reached, _)| reached)
    }

    /// Publishes to the subscribers of `topic`, without waiting; `make` runs only if there are any. Hubs stand for
    /// clients elsewhere: what is local is not for them.
    pub(crate) fn publish_local(&self, topic: &Topic, make: impl FnOnce() -> Data) -> usize {
        let routes = self.routes.load();
        let (mut make, mut message, mut reached) = (Some(make), None, 0);
        routes.locals.for_each_match(topic.as_bytes(), |local| {
            if local.kind != LocalKind::Subscriber {
                return;
            }
            if let Some(make) = make.take() {
                message = Some(Message::new(topic.clone(), make()));
            }
            if let Some(message) = message.as_ref().filter(|message| local.wants(message)) {
                reached += 1;
                let _ = local.queue.offer_or_drop(message.clone());
            }
        });
        reached
    }

    pub(crate) fn has_subscribers(&self, topic: &Topic) -> bool {
        let mut found = false;
        self.routes
            .load()
            .locals
            .for_each_match(topic.as_bytes(), |local| {
                found |= local.kind == LocalKind::Subscriber;
            });
        found
    }

    async fn wait_for_room(&self, full: Box<Full>) {
        for (link, envelope) in full.links {
            if matches!(link.queue.send(envelope).await, Offer::Disconnect) {
                link.cut(super::link::LinkEnd::Removed(OVERFLOW.to_owned()));
            }
        }
        for (local, message) in full.locals {
            let _ = local.queue.send(message).await;
        }
    }

    fn offer_all(
        &self,
        message: &Message,
        hub: Option<&Arc<LocalSink>>,
        never_wait: bool,
    ) -> Result<(Reached, Option<Box<Full>>), PublishError> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(PublishError::ShuttingDown);
        }
        if message.topic().is_local() {
            return Err(PublishError::Reserved {
                topic: message.topic().clone(),
            });
        }
        self.flush_filter_if_dirty();
        let routes = self.routes.load();
        let topic = message.topic().as_bytes();
        let mut reached = Reached::default();
        let mut full: Option<Box<Full>> = None;
        let mut too_large = None;
        let mut envelope: Option<Envelope> = None;
        routes.links.for_each_match(topic, |link| {
            if too_large.is_some() {
                return;
            }
            let outgoing = match &envelope {
                Some(envelope) => envelope.clone(),
                None => {
                    let payload = message.encoded().clone();
                    if payload.len() > MAX_PAYLOAD {
                        too_large = Some(payload.len());
                        return;
                    }
                    let first = self.number(
                        EndpointId::NIL,
                        MessageKind::Data,
                        message.topic().clone(),
                        payload,
                    );
                    envelope.insert(first).clone()
                }
            };
            reached.peers += 1;
            let offer = if never_wait {
                link.queue.offer_or_drop(outgoing)
            } else {
                link.queue.offer(outgoing)
            };
            match offer {
                Offer::Full(outgoing) => full
                    .get_or_insert_default()
                    .links
                    .push((link.clone(), outgoing)),
                Offer::Disconnect => link.cut(super::link::LinkEnd::Removed(OVERFLOW.to_owned())),
                Offer::Queued | Offer::Dropped(_) | Offer::Closed(_) => {}
            }
        });
        if let Some(size) = too_large {
            return Err(PublishError::TooLarge { size });
        }
        self.offer_locals(
            &routes,
            message,
            hub,
            &mut |local, refused| {
                full.get_or_insert_default()
                    .locals
                    .push((local.clone(), refused));
            },
            &mut reached,
            never_wait,
        );
        Ok((reached, full))
    }

    fn offer_locals(
        &self,
        routes: &Routes,
        message: &Message,
        hub: Option<&Arc<LocalSink>>,
        on_full: &mut dyn FnMut(&Ref<LocalSink>, Message),
        reached: &mut Reached,
        never_wait: bool,
    ) {
        routes
            .locals
            .for_each_match(message.topic().as_bytes(), |local| {
                let wanted = match hub {
                    None => local.kind == LocalKind::Hub,
                    Some(publisher) => !Arc::ptr_eq(publisher, local.arc()),
                };
                if !wanted || !local.wants(message) {
                    return;
                }
                reached.locals += 1;
                let offer = if never_wait {
                    local.queue.offer_or_drop(message.clone())
                } else {
                    local.queue.offer(message.clone())
                };
                if let Offer::Full(refused) = offer {
                    on_full(local, refused);
                }
            });
    }

    /// The next number of this endpoint's messages, from 1.
    pub(crate) fn next_sequence(&self) -> u64 {
        self.sequence.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// An envelope of ours with the next sequence number.
    pub(crate) fn number(
        &self,
        receiver: EndpointId,
        kind: MessageKind,
        topic: Topic,
        payload: bytes::Bytes,
    ) -> Envelope {
        let sequence = self.next_sequence();
        if let Some(telemetry) = &self.telemetry {
            telemetry.published(kind, &topic, &payload);
        }
        Envelope {
            sender: self.id,
            receiver,
            origin: self.id,
            sequence,
            hops: INITIAL_HOPS,
            kind,
            topic,
            payload,
        }
    }

    /// Sends one message to one direct peer, whatever its filter says.
    pub(crate) async fn send_to(
        &self,
        receiver: EndpointId,
        message: Message,
    ) -> Result<bool, PublishError> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(PublishError::ShuttingDown);
        }
        let payload = message.encoded().clone();
        if payload.len() > MAX_PAYLOAD {
            return Err(PublishError::TooLarge {
                size: payload.len(),
            });
        }
        self.flush_filter_if_dirty();
        let link = self.routes.load().by_id.get(&receiver).cloned();
        let Some(link) = link else { return Ok(false) };
        let envelope = self.number(
            receiver,
            MessageKind::Data,
            message.topic().clone(),
            payload,
        );
        match link.queue.send(envelope).await {
            Offer::Queued | Offer::Dropped(_) => Ok(true),
            Offer::Full(_) | Offer::Closed(_) => Ok(false),
            Offer::Disconnect => {
                link.cut(super::link::LinkEnd::Removed(OVERFLOW.to_owned()));
                Ok(false)
            }
        }
    }
}

/// Publishes values, encoding them one behind the other into shared memory: no allocation per message.
///
/// A piece of that memory (64 KiB) lives until the last message in it is gone, so a receiver that keeps
/// messages for long should keep their decoded values instead.
#[derive(Debug)]
pub struct Publisher {
    shared: Arc<Shared>,
    arena: BytesMut,
}

impl Publisher {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            arena: BytesMut::new(),
        }
    }

    /// Encodes `data` and publishes it.
    ///
    /// # Errors
    /// See [`PublishError`].
    ///
    /// # Cancel safety
    /// If the future is dropped while it waits for room, some receivers may have the message and others not.
    pub async fn publish(&mut self, topic: &Topic, data: &Data) -> Result<Reached, PublishError> {
        let message = self.encode(topic, data);
        self.shared.publish(message, None).await
    }

    /// Encodes `data` and publishes it without ever waiting.
    ///
    /// # Errors
    /// See [`PublishError`].
    pub fn try_publish(&mut self, topic: &Topic, data: &Data) -> Result<Reached, PublishError> {
        let message = self.encode(topic, data);
        self.shared.try_publish(&message)
    }

    fn encode(&mut self, topic: &Topic, data: &Data) -> Message {
        if self.arena.capacity() < 1 << 10 {
            self.arena = BytesMut::with_capacity(ARENA);
        }
        crate::binary::encode(data, &mut self.arena);
        Message::from_encoded(topic.clone(), self.arena.split().freeze())
    }
}
