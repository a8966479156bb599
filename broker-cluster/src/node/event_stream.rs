//! Events that others published to this node, as a stream.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use broker_core::queue::Counters;
use broker_core::zeek::{Event, Message as ZeekMessage, MessageView};
use broker_core::{Message, RateLimit, Subscriber, Topic};

use crate::events::ClusterEvent;

/// Zeek events from the topics subscribed to, with their topics. Events of the cluster itself (hello and the like), log
/// messages and identifier updates are left out; what is no Zeek message is counted, logged at a bounded rate, and dropped.
#[derive(Debug)]
#[must_use = "the stream ends when it is dropped"]
pub struct EventStream {
    subscriber: Subscriber,
    /// Further events of the batch read last.
    rest: VecDeque<(Topic, Event)>,
    invalid: u64,
    complaints: RateLimit,
}

impl EventStream {
    pub(super) const fn new(subscriber: Subscriber) -> Self {
        Self {
            subscriber,
            rest: VecDeque::new(),
            invalid: 0,
            complaints: RateLimit::new(10, Duration::from_secs(10)),
        }
    }

    /// Waits for the next event; `None` once the node has shut down.
    ///
    /// # Cancel safety
    /// Safe: no event is lost if the future is dropped.
    pub async fn recv(&mut self) -> Option<(Topic, Event)> {
        loop {
            if let Some(next) = self.rest.pop_front() {
                return Some(next);
            }
            let message = self.subscriber.recv().await?;
            self.unpack(&message);
        }
    }

    /// The next event, if there is one now.
    pub fn try_recv(&mut self) -> Option<(Topic, Event)> {
        loop {
            if let Some(next) = self.rest.pop_front() {
                return Some(next);
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

    fn unpack(&mut self, message: &Message) {
        let view = message.view().map_err(|error| error.to_string());
        match view.and_then(|view| MessageView::parse(view).map_err(|error| error.to_string())) {
            Ok(view) => self.take(message.topic(), view),
            Err(error) => self.reject(message.topic(), &error),
        }
    }

    fn take(&mut self, topic: &Topic, view: MessageView<'_>) {
        match view {
            MessageView::Event { name, .. } if !ClusterEvent::is_one(name) => {
                match ZeekMessage::from_parts(view) {
                    Ok(ZeekMessage::Event(event)) => self.rest.push_back((topic.clone(), event)),
                    Ok(_) => {}
                    Err(error) => self.reject(topic, &error.to_string()),
                }
            }
            MessageView::Batch(batch) => batch.iter().for_each(|message| self.take(topic, message)),
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
