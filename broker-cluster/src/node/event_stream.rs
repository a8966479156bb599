//! Events that others published to this node, as a stream.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use broker_core::queue::Counters;
use broker_core::zeek::{Event, Message as ZeekMessage, MessageView};
use broker_core::{
    Endpoint, Filter, Message, QueueOptions, RateLimit, Subscriber, SubscriptionHandle, Topic,
};

use super::greetings::GreetingWatch;
use crate::events::ClusterEvent;
use crate::logging::wire::is_about_logs;

/// Zeek events from the topics subscribed to, with their topics. Events of the cluster itself (hello and the like), log
/// messages and identifier updates are left out, log messages before they are queued, so that those of a logger take no room
/// here; what is no Zeek message is counted, logged at a bounded rate, and dropped.
///
/// What one peer sent comes in its order, and behind the node_up of that peer: when an event is handed out,
/// [`node_events`](crate::ClusterNode::node_events) has announced its sender and the pools have it, unless it is gone
/// again already. A node_down may come before the last events of the node, which are still queued here.
#[derive(Debug)]
#[must_use = "the stream ends when it is dropped"]
pub struct EventStream {
    subscriber: Subscriber,
    greetings: GreetingWatch,
    /// Further events of the batch read last.
    rest: VecDeque<Received>,
    invalid: u64,
    complaints: RateLimit,
}

/// An event as it came.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) topic: Topic,
    pub(super) event: Event,
    /// The size of the message it came in.
    pub(super) bytes: usize,
}

impl EventStream {
    /// Subscribes to `filter`.
    pub(super) fn subscribe(
        endpoint: &Endpoint,
        filter: Filter,
        queue: QueueOptions,
        greetings: GreetingWatch,
    ) -> Self {
        let is_other = |message: &Message| !is_about_logs(message.encoded());
        Self {
            subscriber: endpoint.subscribe_where(filter, queue, is_other),
            greetings,
            rest: VecDeque::new(),
            invalid: 0,
            complaints: RateLimit::new(10, Duration::from_secs(10)),
        }
    }

    /// What ends the subscription.
    pub(super) fn subscription(&self) -> SubscriptionHandle {
        self.subscriber.handle()
    }

    /// Waits for the next event; `None` once the node has shut down.
    ///
    /// # Cancel safety
    /// Safe: no event is lost if the future is dropped.
    pub async fn recv(&mut self) -> Option<(Topic, Event)> {
        let next = self.next().await?;
        Some((next.topic, next.event))
    }

    /// The next event, if there is one now.
    pub fn try_recv(&mut self) -> Option<(Topic, Event)> {
        loop {
            if let Some(next) = self.rest.pop_front() {
                return Some((next.topic, next.event));
            }
            if !self.greetings.may_go_on() {
                return None;
            }
            let message = self.subscriber.try_recv()?;
            self.unpack(&message);
        }
    }

    /// Messages that were no Zeek messages.
    #[must_use]
    pub const fn invalid(&self) -> u64 {
        self.invalid
    }

    /// The figures of the queue behind this stream.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.subscriber.counters()
    }

    pub(super) async fn next(&mut self) -> Option<Received> {
        loop {
            if let Some(next) = self.rest.pop_front() {
                return Some(next);
            }
            self.greetings.go_on().await;
            let message = self.subscriber.recv().await?;
            self.unpack(&message);
        }
    }

    fn unpack(&mut self, message: &Message) {
        let view = message.view().map_err(|error| error.to_string());
        match view.and_then(|view| MessageView::parse(view).map_err(|error| error.to_string())) {
            Ok(MessageView::Event {
                name,
                arguments,
                metadata,
            }) if self.greetings.concerns(name, message) => {
                let hello = MessageView::Event {
                    name,
                    arguments,
                    metadata,
                };
                if let Ok(ZeekMessage::Event(event)) = ZeekMessage::from_parts(hello)
                    && let Some(ClusterEvent::Hello { id, .. }) = ClusterEvent::from_event(event)
                {
                    self.greetings.saw(id);
                }
            }
            Ok(view) => self.take(message, view),
            Err(error) => self.reject(message.topic(), &error),
        }
    }

    fn take(&mut self, message: &Message, view: MessageView<'_>) {
        match view {
            MessageView::Event { name, .. } if !ClusterEvent::is_one(name) => {
                match ZeekMessage::from_parts(view) {
                    Ok(ZeekMessage::Event(event)) => self.rest.push_back(Received {
                        topic: message.topic().clone(),
                        event,
                        bytes: message.encoded().len(),
                    }),
                    Ok(_) => {}
                    Err(error) => self.reject(message.topic(), &error.to_string()),
                }
            }
            MessageView::Batch(batch) => batch.iter().for_each(|inner| self.take(message, inner)),
            _ => {}
        }
    }

    fn reject(&mut self, topic: &Topic, error: &str) {
        self.invalid += 1;
        if let Some(suppressed) = self.complaints.check(Instant::now()) {
            tracing::warn!(%topic, error, suppressed, "received invalid broker message");
        }
    }
}
