//! What a node does with the envelopes of one peer (broker-wire reference, 2.3, as a firm wall).
//!
//! The sender is the connection's, whatever the bytes say. Frames on local topics, payloads that are not
//! one sound value, messages of our own that came back and duplicates go no further: they are
//! counted, and logged at a bounded rate. Forwarding never waits; local subscribers may make us wait.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio::time::Instant;

use super::command::Command;
use super::density::Density;
use super::link::{Link, LinkEnd};
use super::local::LocalSink;
use super::publish::MAX_PAYLOAD;
use super::routes::{Ref, Routes};
use super::shared::{OVERFLOW, Shared};
use super::telemetry::Tally;
use crate::binary;
use crate::cycle_guard::{CycleGuard, Probe};
use crate::envelope::{Envelope, INITIAL_HOPS, MessageKind};
use crate::filter::{Filter, FilterLimits};
use crate::id::EndpointId;
use crate::message::Message;
use crate::origin_window::Verdict;
use crate::peering::Peering;
use crate::queue::Offer;

/// Pings for nobody in particular that are longer are none of ours.
const MAX_PROBE: usize = 64;

/// Why an envelope of a peer went no further.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Rejection {
    #[error("topic {0} is local to its node")]
    LocalTopic(crate::topic::Topic),
    #[error("payload of {0} bytes is over the limit of {MAX_PAYLOAD}")]
    TooLarge(usize),
    #[error("bad payload on topic {topic}: {error}")]
    BadPayload {
        topic: crate::topic::Topic,
        error: binary::DecodeError,
    },
    #[error("bad filter: {0}")]
    BadFilter(crate::filter::FilterError),
    #[error("its sender is nobody, or this very node")]
    ForgedSender,
    #[error("our own message came back")]
    Returned,
    #[error("seen before")]
    Duplicate,
}

impl Shared {
    /// Takes all of `batch`.
    pub(crate) async fn inbound(
        &self,
        link: &Arc<Link>,
        batch: &mut Vec<Envelope>,
        peering: &mut Peering,
        density: &mut Density,
    ) {
        link.received
            .fetch_add(batch.len() as u64, Ordering::Relaxed);
        let mut tally = self.telemetry.as_ref().map(Tally::new);
        let mut routes = self.routes.load_full();
        for mut envelope in batch.drain(..) {
            if envelope.sender != link.id() {
                if envelope.sender.is_nil() || envelope.sender == self.id {
                    self.reject(link, &Rejection::ForgedSender);
                    continue;
                }
                self.note_mismatch(link, envelope.sender);
                envelope.sender = link.id();
            }
            let kind = envelope.kind;
            let glance = tally.as_ref().map(|tally| tally.glance(&envelope));
            let result = match kind {
                MessageKind::Data => self.inbound_data(link, &routes, envelope, density).await,
                MessageKind::Command => self.inbound_command(link, &routes, envelope),
                MessageKind::RoutingUpdate => {
                    let result = self.inbound_filter(link, &envelope);
                    routes = self.routes.load_full();
                    result
                }
                MessageKind::Ping if envelope.receiver == self.id => {
                    peering.handle_ping(envelope.payload);
                    Ok(())
                }
                MessageKind::Pong if envelope.receiver == self.id => {
                    peering.handle_pong(Instant::now(), &envelope.payload);
                    Ok(())
                }
                MessageKind::Ping if envelope.receiver.is_nil() => {
                    self.inbound_probe(link, &routes, &envelope)
                }
                // Pings and pongs for others are nobody's business here.
                MessageKind::Ping | MessageKind::Pong => Ok(()),
            };
            match result {
                Ok(()) => {
                    if let (Some(tally), Some(glance)) = (&mut tally, &glance) {
                        tally.add(glance);
                    }
                }
                Err(rejection) => self.reject(link, &rejection),
            }
        }
        if let Some(tally) = tally {
            tally.finish();
        }
    }

    fn reject(&self, link: &Link, rejection: &Rejection) {
        link.rejected.fetch_add(1, Ordering::Relaxed);
        if matches!(rejection, Rejection::Duplicate | Rejection::Returned) {
            // Normal where there are several ways to a node.
            return;
        }
        if let Some(suppressed) = self.may_log() {
            tracing::warn!(peer = %link.label(), suppressed, "dropped a message: {rejection}");
        }
    }

    /// Somebody's frame names somebody else as its sender: it is taken for the peer's all the same.
    fn note_mismatch(&self, link: &Link, claimed: EndpointId) {
        self.mismatched.fetch_add(1, Ordering::Relaxed);
        if let Some(suppressed) = self.may_log() {
            tracing::warn!(peer = %link.label(), %claimed, suppressed, "a frame names another sender than its connection");
        }
    }

    fn admit_envelope(&self, envelope: &Envelope) -> Result<(), Rejection> {
        if envelope.topic.is_local() {
            return Err(Rejection::LocalTopic(envelope.topic.clone()));
        }
        if envelope.payload.len() > MAX_PAYLOAD {
            return Err(Rejection::TooLarge(envelope.payload.len()));
        }
        if envelope.sequence == 0 {
            return Ok(());
        }
        if envelope.origin == self.id {
            return Err(Rejection::Returned);
        }
        match self.seen(
            envelope.origin,
            envelope.sequence,
            envelope.origin == envelope.sender,
        ) {
            Verdict::New => Ok(()),
            Verdict::Duplicate | Verdict::Stale => Err(Rejection::Duplicate),
        }
    }

    async fn inbound_data(
        &self,
        link: &Arc<Link>,
        routes: &Routes,
        mut envelope: Envelope,
        density: &mut Density,
    ) -> Result<(), Rejection> {
        self.admit_envelope(&envelope)?;
        // What is only relayed needs a sound structure; what is delivered here must decode as well.
        let for_us = (envelope.receiver.is_nil() || envelope.receiver == self.id)
            && routes.locals.has_match(envelope.topic.as_bytes());
        let check = if for_us {
            binary::check_sound
        } else {
            binary::check
        };
        check(&envelope.payload, binary::DecodeRules::DATA).map_err(|error| {
            Rejection::BadPayload {
                topic: envelope.topic.clone(),
                error,
            }
        })?;
        let wanted = for_us
            || (self.options.forwarding && routes.links.has_match(envelope.topic.as_bytes()));
        density.count(envelope.payload.len() + envelope.topic.len(), wanted);
        if wanted && density.is_sparse() {
            envelope.payload = Bytes::copy_from_slice(&envelope.payload);
            envelope.topic = envelope.topic.detached();
        }
        // Forwarding first: it never waits, while a slow local subscriber may hold us up.
        if envelope.receiver != self.id {
            self.forward(link, routes, &envelope);
        }
        if for_us {
            let message =
                Message::from_encoded(envelope.topic, envelope.payload).with_peer(link.id());
            let mut full: Option<Vec<(Ref<LocalSink>, Message)>> = None;
            routes
                .locals
                .for_each_match(message.topic().as_bytes(), |local| {
                    if local.wants(&message)
                        && let Offer::Full(refused) = local.queue.offer(message.clone())
                    {
                        full.get_or_insert_default().push((local.clone(), refused));
                    }
                });
            for (local, message) in full.into_iter().flatten() {
                let _ = local.queue.send(message).await;
            }
        }
        Ok(())
    }

    fn inbound_command(
        &self,
        link: &Arc<Link>,
        routes: &Routes,
        envelope: Envelope,
    ) -> Result<(), Rejection> {
        self.admit_envelope(&envelope)?;
        if envelope.receiver != self.id && self.options.forwarding {
            // What we do not understand we do not pass on: it may be more than the next node can bear.
            match binary::check_command(&envelope.payload) {
                Ok(()) => self.forward(link, routes, &envelope),
                Err(error) => self.reject(
                    link,
                    &Rejection::BadPayload {
                        topic: envelope.topic.clone(),
                        error,
                    },
                ),
            }
        }
        if envelope.receiver.is_nil() || envelope.receiver == self.id {
            self.deliver_command(routes, &envelope);
        }
        Ok(())
    }

    /// Hands a command to the local ports of its topic; returns how many there were.
    pub(crate) fn deliver_command(&self, routes: &Routes, envelope: &Envelope) -> usize {
        let mut reached = 0;
        routes.commands.for_each_match(envelope.topic.as_bytes(), |port| {
            reached += 1;
            let command = Command {
                sender: envelope.sender,
                receiver: envelope.receiver,
                topic: envelope.topic.clone(),
                payload: envelope.payload.clone(),
            };
            if matches!(port.queue.offer_or_drop(command), Offer::Disconnect) {
                tracing::warn!(topic = %port.topic, "a store takes its commands too slowly: its port was cut");
            }
        });
        reached
    }

    fn inbound_filter(&self, link: &Arc<Link>, envelope: &Envelope) -> Result<(), Rejection> {
        if !(envelope.receiver.is_nil() || envelope.receiver == self.id) {
            return Ok(());
        }
        let filter = Filter::decode(&envelope.payload, FilterLimits::default())
            .map_err(Rejection::BadFilter)?;
        self.replace_link_filter(link, filter);
        Ok(())
    }

    /// A ping for nobody in particular: ours that comes back tells of a cycle, another node's is passed on, and
    /// anything else goes no further.
    fn inbound_probe(
        &self,
        link: &Arc<Link>,
        routes: &Routes,
        envelope: &Envelope,
    ) -> Result<(), Rejection> {
        if !self.options.forwarding || envelope.payload.len() > MAX_PROBE {
            return Ok(());
        }
        if envelope.topic.is_local() {
            return Err(Rejection::LocalTopic(envelope.topic.clone()));
        }
        let arrived = self.guard().arrived(
            Instant::now(),
            link.guarded,
            &envelope.topic,
            &envelope.payload,
        );
        match arrived {
            Probe::Relay(prober) => self.pass_on(link, routes, envelope, |to| {
                self.guard()
                    .passes(prober, link.guarded, to.guarded, &envelope.topic)
            }),
            Probe::Returned { joined } => {
                self.guard_changed();
                if let Some(serial) = joined {
                    let other = routes
                        .by_id
                        .values()
                        .find(|other| other.guarded.serial == serial)
                        .map_or_else(String::new, |other| {
                            format!("{} ({})", other.label(), other.url)
                        });
                    tracing::warn!(
                        "{} ({}) and {other} are joined elsewhere by nodes that forward: messages on {} are not forwarded between them, so that none circulates",
                        link.label(),
                        link.url,
                        envelope.topic,
                    );
                }
            }
            Probe::Foreign | Probe::Seen => {}
        }
        Ok(())
    }

    /// Passes an envelope on to the other peers that want it, if this node forwards.
    fn forward(&self, from: &Arc<Link>, routes: &Routes, envelope: &Envelope) {
        if !self.options.forwarding {
            return;
        }
        self.pass_on(from, routes, envelope, |to| {
            if !CycleGuard::concerns(from.guarded, to.guarded) || !envelope.receiver.is_nil() {
                return true;
            }
            let passage =
                self.guard()
                    .forward(Instant::now(), from.guarded, to.guarded, &envelope.topic);
            if let Some(payload) = passage.probe {
                self.send_probe(to, envelope.topic.clone(), payload);
            }
            passage.open
        });
    }

    /// Passes an envelope on to those of the other peers that want it which `may` agrees to.
    fn pass_on(
        &self,
        from: &Arc<Link>,
        routes: &Routes,
        envelope: &Envelope,
        may: impl Fn(&Link) -> bool,
    ) {
        if envelope.hops <= 1 {
            return;
        }
        let mut onward = envelope.clone();
        onward.sender = self.id;
        onward.hops = envelope.hops.min(INITIAL_HOPS) - 1;
        if envelope.sequence == 0 {
            // Nobody could tell its copies apart: from here on it is ours, and known.
            onward.origin = self.id;
            onward.sequence = self.next_sequence();
        }
        let pass = |link: &Ref<Link>| {
            if Arc::ptr_eq(link.arc(), from) || link.id() == envelope.origin || !may(link) {
                return;
            }
            if matches!(link.queue.offer_or_drop(onward.clone()), Offer::Disconnect) {
                link.cut(LinkEnd::Removed(OVERFLOW.to_owned()));
            }
        };
        if envelope.receiver.is_nil() {
            routes.links.for_each_match(envelope.topic.as_bytes(), pass);
        } else if let Some(link) = routes.by_id.get(&envelope.receiver) {
            pass(link);
        }
    }
}
