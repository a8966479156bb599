//! Local receivers: subscribers and hubs.
//!
//! | published by | local subscriber | local hub | peers |
//! |---|---|---|---|
//! | endpoint, [`Publisher`](super::Publisher) | no | yes | if subscribed |
//! | hub | yes | all but itself | if subscribed |
//! | a remote peer | yes | yes | if forwarding |
//!
//! (broker-wire reference, 2.9.)

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures_core::Stream;

use super::publish::{PublishError, Reached};
use super::shared::Shared;
use crate::filter::Filter;
use crate::message::Message;
use crate::queue::{self, Counters, Weigh};
use crate::topic::Topic;

impl Weigh for Message {
    fn weight(&self) -> usize {
        Self::weight(self)
    }
}

/// What a local receiver is to a local publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LocalKind {
    Subscriber,
    Hub,
}

/// The router's end of a local receiver.
pub(crate) struct LocalSink {
    pub(crate) kind: LocalKind,
    pub(crate) queue: queue::Sender<Message>,
    /// Which messages of its topics it takes, if not all.
    pub(crate) wanted: Option<Box<Wanted>>,
    /// Changed only under the endpoint's control lock.
    pub(crate) filter: Mutex<Filter>,
}

/// Tells messages that a receiver takes from others.
pub(crate) type Wanted = dyn Fn(&Message) -> bool + Send + Sync;

impl LocalSink {
    /// Whether it takes this message of one of its topics.
    pub(crate) fn wants(&self, message: &Message) -> bool {
        self.wanted.as_ref().is_none_or(|wanted| wanted(message))
    }

    pub(crate) fn current_filter(&self) -> Filter {
        self.filter
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl std::fmt::Debug for LocalSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalSink")
            .field("kind", &self.kind)
            .field("queue", &self.queue)
            .field("filter", &self.filter)
            .finish_non_exhaustive()
    }
}

/// Messages whose topic starts with one of the prefixes asked for.
#[derive(Debug)]
#[must_use = "the subscription ends when its Subscriber is dropped"]
pub struct Subscriber {
    shared: Arc<Shared>,
    sink: Arc<LocalSink>,
    queue: queue::Receiver<Message>,
}

impl Subscriber {
    pub(crate) const fn new(
        shared: Arc<Shared>,
        sink: Arc<LocalSink>,
        queue: queue::Receiver<Message>,
    ) -> Self {
        Self {
            shared,
            sink,
            queue,
        }
    }

    /// Waits for the next message; `None` once the endpoint has shut down, or the queue was full under the
    /// `disconnect` policy.
    ///
    /// # Cancel safety
    /// Safe: no message is lost if the future is dropped.
    pub async fn recv(&mut self) -> Option<Message> {
        self.queue.recv().await
    }

    /// Waits for messages and appends up to `max` of them; 0 at the end.
    ///
    /// # Cancel safety
    /// Safe: no message is lost if the future is dropped.
    pub async fn recv_many(&mut self, out: &mut Vec<Message>, max: usize) -> usize {
        self.queue.recv_many(out, max, usize::MAX).await
    }

    /// The next message, if there is one now.
    pub fn try_recv(&mut self) -> Option<Message> {
        self.queue.try_recv()
    }

    /// Subscribes to one more prefix.
    pub fn add_prefix(&self, prefix: Topic) {
        self.shared.change_local(&self.sink, |prefixes| {
            prefixes.insert(prefix);
        });
    }

    /// Gives a prefix up. It must be exactly one that was asked for and not covered by a shorter one.
    /// Returns whether it was.
    pub fn remove_prefix(&self, prefix: &Topic) -> bool {
        let mut found = false;
        self.shared.change_local(&self.sink, |prefixes| {
            found = prefixes.remove(prefix);
        });
        found
    }

    /// The prefixes subscribed to.
    #[must_use]
    pub fn filter(&self) -> Filter {
        self.sink.current_filter()
    }

    /// The figures of the queue behind this subscription.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.queue.counters()
    }

    /// A handle that changes the prefixes while somebody else receives.
    #[must_use]
    pub fn handle(&self) -> SubscriptionHandle {
        SubscriptionHandle {
            shared: Arc::clone(&self.shared),
            sink: Arc::clone(&self.sink),
        }
    }
}

/// Changes the prefixes of a [`Subscriber`]; without effect once that is gone.
#[derive(Clone, Debug)]
pub struct SubscriptionHandle {
    shared: Arc<Shared>,
    sink: Arc<LocalSink>,
}

impl SubscriptionHandle {
    /// Takes nothing more: the subscriber gets what is queued and then the end.
    pub fn end(&self) {
        self.sink.queue.close();
    }

    /// Subscribes to one more prefix. Returns whether it is new and the subscriber is still there.
    pub fn add_prefix(&self, prefix: Topic) -> bool {
        let mut added = false;
        self.shared.change_present(&self.sink, |prefixes| {
            added = prefixes.insert(prefix);
        });
        added
    }

    /// Gives a prefix up. It must be exactly one that was asked for and not covered by a shorter one. Returns whether it
    /// was, and the subscriber is still there.
    pub fn remove_prefix(&self, prefix: &Topic) -> bool {
        let mut found = false;
        self.shared.change_present(&self.sink, |prefixes| {
            found = prefixes.remove(prefix);
        });
        found
    }
}

impl Stream for Subscriber {
    type Item = Message;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        self.queue.poll_recv(cx)
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.shared.remove_local(&self.sink);
        self.shared.local_ended(&self.queue.counters());
    }
}

/// An attached client: what it publishes reaches peers, local subscribers and all other hubs, never
/// itself.
#[derive(Debug)]
#[must_use = "the hub goes away when it is dropped"]
pub struct Hub {
    publisher: HubPublisher,
    subscriber: Subscriber,
}

impl Hub {
    pub(crate) fn new(
        shared: Arc<Shared>,
        sink: Arc<LocalSink>,
        queue: queue::Receiver<Message>,
    ) -> Self {
        let publisher = HubPublisher {
            shared: Arc::clone(&shared),
            sink: Arc::clone(&sink),
        };
        Self {
            publisher,
            subscriber: Subscriber::new(shared, sink, queue),
        }
    }

    /// Publishes as this hub.
    ///
    /// # Errors
    /// See [`PublishError`].
    ///
    /// # Cancel safety
    /// If the future is dropped while it waits for room, some receivers may have the message and others not.
    pub async fn publish(&self, message: Message) -> Result<Reached, PublishError> {
        self.publisher.publish(message).await
    }

    /// The receiving side, to receive from and to change the prefixes of.
    pub const fn subscriber(&mut self) -> &mut Subscriber {
        &mut self.subscriber
    }

    /// Waits for the next message.
    ///
    /// # Cancel safety
    /// Safe: no message is lost if the future is dropped.
    pub async fn recv(&mut self) -> Option<Message> {
        self.subscriber.recv().await
    }

    /// Two halves for two tasks. The hub lives as long as the receiving half.
    pub fn split(self) -> (HubPublisher, Subscriber) {
        (self.publisher, self.subscriber)
    }
}

/// The publishing half of a [`Hub`].
#[derive(Clone, Debug)]
pub struct HubPublisher {
    shared: Arc<Shared>,
    sink: Arc<LocalSink>,
}

impl HubPublisher {
    /// Publishes as the hub.
    ///
    /// # Errors
    /// See [`PublishError`].
    ///
    /// # Cancel safety
    /// If the future is dropped while it waits for room, some receivers may have the message and others not.
    pub async fn publish(&self, message: Message) -> Result<Reached, PublishError> {
        self.shared.publish(message, Some(&self.sink)).await
    }
}
