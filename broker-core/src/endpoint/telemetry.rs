//! What passed through an endpoint, by kind: the figures behind metrics that no queue has counted anyway.
//!
//! They are counted only where [`EndpointBuilder::telemetry`](super::EndpointBuilder::telemetry) asked for them, since that
//! takes a look at the first bytes of every payload. A batch of a link is counted in one go. Events by topic and name are
//! counted beside it, where there is an [`EventMeter`].

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use crate::envelope::{Envelope, MessageKind};
use crate::event_meter::{EventDirection, EventMeter, EventScope};
use crate::queue::Counters;
use crate::topic::Topic;
use crate::view::DataView;
use crate::zeek::{MessageType, MessageView};

/// What passed through an endpoint since its start (broker-wire reference, 10.3, and zeek-cluster 1.9).
///
/// `processed` counts what came from peers and was not refused, and what was published here; each message once, to
/// however many peers it went. Zeek messages within a batch count one by one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Traffic {
    /// Messages by kind, in the order data, command, routing update, ping, pong.
    pub processed: [u64; 5],
    /// Zeek messages that came from peers.
    pub incoming: ZeekTraffic,
    /// Zeek messages that were published here and that a peer had asked for.
    pub outgoing: ZeekTraffic,
}

/// Zeek messages by what they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ZeekTraffic {
    /// Events.
    pub events: u64,
    /// `LogCreate` and `LogWrite`.
    pub logs: u64,
    /// New values of global variables.
    pub ids: u64,
}

impl ZeekTraffic {
    fn add(&mut self, payload: &[u8]) {
        match MessageType::peek(payload) {
            Some(MessageType::Event) => self.events += 1,
            Some(MessageType::LogCreate | MessageType::LogWrite) => self.logs += 1,
            Some(MessageType::IdentifierUpdate) => self.ids += 1,
            Some(MessageType::Batch) => {
                let view = DataView::parse(payload).ok();
                if let Some(view) = view.and_then(|view| MessageView::parse(view).ok()) {
                    self.add_view(&view);
                }
            }
            None => {}
        }
    }

    fn add_view(&mut self, view: &MessageView<'_>) {
        match view {
            MessageView::Event { .. } => self.events += 1,
            MessageView::LogCreate { .. } | MessageView::LogWrite { .. } => self.logs += 1,
            MessageView::IdentifierUpdate { .. } => self.ids += 1,
            // Reading checked how deep they nest.
            MessageView::Batch(batch) => batch.iter().for_each(|inner| self.add_view(&inner)),
        }
    }
}

/// How many Zeek events a payload holds: one, those of a batch, or none. For whoever counts on a way of its own.
#[must_use]
pub fn zeek_events(payload: &[u8]) -> u64 {
    let mut traffic = ZeekTraffic::default();
    traffic.add(payload);
    traffic.events
}

/// What one batch of a link adds.
#[derive(Debug)]
pub(crate) struct Tally<'a> {
    telemetry: &'a Telemetry,
    processed: [u64; 5],
    zeek: ZeekTraffic,
}

/// What is remembered of a message from a peer until it is known whether it is taken.
#[derive(Debug)]
pub(crate) struct Glance {
    kind: MessageKind,
    zeek: ZeekTraffic,
    /// Topic and payload, where events are counted by topic and name.
    events: Option<(Topic, Bytes)>,
}

impl<'a> Tally<'a> {
    pub(crate) fn new(telemetry: &'a Telemetry) -> Self {
        Self {
            telemetry,
            processed: [0; 5],
            zeek: ZeekTraffic::default(),
        }
    }

    /// Looks at a message before somebody takes it.
    pub(crate) fn glance(&self, envelope: &Envelope) -> Glance {
        let zeek = zeek(envelope.kind, &envelope.payload);
        let metered = zeek.events > 0 && self.telemetry.events.is_some();
        Glance {
            kind: envelope.kind,
            zeek,
            events: metered.then(|| (envelope.topic.clone(), envelope.payload.clone())),
        }
    }

    /// The message was taken.
    pub(crate) fn add(&mut self, glance: &Glance) {
        self.processed[index(glance.kind)] += 1;
        self.zeek.events += glance.zeek.events;
        self.zeek.logs += glance.zeek.logs;
        self.zeek.ids += glance.zeek.ids;
        if let (Some(scope), Some((topic, payload))) = (&self.telemetry.events, &glance.events) {
            scope.count_payload(EventDirection::Incoming, topic.as_bytes(), payload);
        }
    }

    /// Adds all of it to the counters of the endpoint.
    pub(crate) fn finish(self) {
        for (sum, more) in self.telemetry.processed.iter().zip(self.processed) {
            add(sum, more);
        }
        add_zeek(&self.telemetry.incoming, self.zeek);
    }
}

/// What a payload of `kind` is to Zeek.
fn zeek(kind: MessageKind, payload: &[u8]) -> ZeekTraffic {
    let mut traffic = ZeekTraffic::default();
    if kind == MessageKind::Data {
        traffic.add(payload);
    }
    traffic
}

/// The counters of an endpoint.
#[derive(Debug, Default)]
pub(crate) struct Telemetry {
    processed: [AtomicU64; 5],
    incoming: [AtomicU64; 3],
    outgoing: [AtomicU64; 3],
    /// Events by topic and name.
    events: Option<EventScope>,
}

impl Telemetry {
    /// Counters at zero, besides `meter`, if there is one.
    pub(crate) fn new(meter: Option<&EventMeter>) -> Self {
        Self {
            events: meter.map(|meter| meter.scope("")),
            ..Self::default()
        }
    }

    /// A message of ours.
    pub(crate) fn published(&self, kind: MessageKind, topic: &Topic, payload: &[u8]) {
        add(&self.processed[index(kind)], 1);
        let zeek = zeek(kind, payload);
        add_zeek(&self.outgoing, zeek);
        if zeek.events > 0
            && let Some(scope) = &self.events
        {
            scope.count_payload(EventDirection::Outgoing, topic.as_bytes(), payload);
        }
    }

    pub(crate) fn traffic(&self) -> Traffic {
        let read = |sum: &AtomicU64| sum.load(Ordering::Relaxed);
        let zeek = |sums: &[AtomicU64; 3]| ZeekTraffic {
            events: read(&sums[0]),
            logs: read(&sums[1]),
            ids: read(&sums[2]),
        };
        Traffic {
            processed: self.processed.each_ref().map(read),
            incoming: zeek(&self.incoming),
            outgoing: zeek(&self.outgoing),
        }
    }
}

fn add_zeek(sums: &[AtomicU64; 3], more: ZeekTraffic) {
    add(&sums[0], more.events);
    add(&sums[1], more.logs);
    add(&sums[2], more.ids);
}

fn add(sum: &AtomicU64, more: u64) {
    if more > 0 {
        sum.fetch_add(more, Ordering::Relaxed);
    }
}

const fn index(kind: MessageKind) -> usize {
    kind as usize - 1
}

/// What all queues of one kind have done since the endpoint's start, those that are gone included: whenever nothing moves,
/// `offered = sent + dropped + queued`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueTotals {
    /// Messages the queues took a decision on.
    pub offered: u64,
    /// Messages handed on: written to a connection, or taken by a subscriber.
    pub sent: u64,
    /// Messages given up.
    pub dropped: u64,
    /// Messages that wait.
    pub queued: u64,
}

impl QueueTotals {
    pub(crate) fn add(&mut self, counters: &Counters) {
        self.offered += counters.offered;
        self.sent += counters.sent;
        self.dropped += counters.dropped_total();
        self.queued += counters.queued;
    }
}

/// What became of all messages of an endpoint since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// Messages that came from peers, their pings and filters among them.
    pub received: u64,
    /// Messages from peers that were refused.
    pub rejected: u64,
    /// The queues towards peers.
    pub to_peers: QueueTotals,
    /// The queues of subscribers and hubs of this process.
    pub to_locals: QueueTotals,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Data;
    use crate::zeek::{Event, Message};

    #[test]
    fn a_message_is_known_by_its_first_bytes_and_a_batch_by_what_it_holds() {
        let event = || Message::from(Event::new("a", vec![Data::from(7_u64)]));
        let batch = Message::Batch(vec![event(), Message::Batch(vec![event(), event()])]);
        let mut traffic = ZeekTraffic::default();
        traffic.add(&event().into_data().to_bytes());
        assert_eq!(traffic.events, 1);
        traffic.add(&batch.into_data().to_bytes());
        assert_eq!(traffic.events, 4);
        for other in [
            Data::from(7_u64),
            Data::Vector(vec![Data::from(2_u64), Data::from(1_u64)]),
            Data::Vector(vec![Data::from(1_u64)]),
        ] {
            assert_eq!(MessageType::peek(&other.to_bytes()), None, "{other:?}");
        }
        let whole = event().into_data().to_bytes();
        for end in 0..whole.len() {
            // None of them panics.
            let _ = MessageType::peek(&whole[..end]);
        }
    }

    #[test]
    fn kinds_are_counted_each_in_its_place() {
        let telemetry = Telemetry::default();
        let mut tally = Tally::new(&telemetry);
        for tag in 1..=5 {
            let glance = Glance {
                kind: MessageKind::from_tag(tag).expect("a kind"),
                zeek: ZeekTraffic::default(),
                events: None,
            };
            for _ in 0..tag {
                tally.add(&glance);
            }
        }
        tally.finish();
        telemetry.published(MessageKind::Command, &Topic::default(), b"");
        assert_eq!(telemetry.traffic().processed, [1, 3, 3, 4, 5]);
    }
}
