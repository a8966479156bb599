//! Store events for whoever watches, each watcher with a bounded queue of its own.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use broker_core::queue::{self, Offer, Weigh};
use broker_core::{BoxFuture, OverflowPolicy, QueueOptions, StoreChange, StoreWatch, binary};
use futures_core::Stream;

use crate::event::StoreEvent;

/// The events of one store from the moment it was asked for.
#[derive(Debug)]
#[must_use = "the events end when the stream is dropped"]
pub struct StoreEvents {
    queue: queue::Receiver<Item>,
}

impl StoreEvents {
    /// The next event; `None` when the store is closed, or the queue was full under the `disconnect` policy.
    ///
    /// # Cancel safety
    /// Safe: no event is lost if the future is dropped.
    pub async fn recv(&mut self) -> Option<Arc<StoreEvent>> {
        self.queue.recv().await.map(|item| item.0)
    }

    /// The next event, if there is one now.
    pub fn try_recv(&mut self) -> Option<Arc<StoreEvent>> {
        self.queue.try_recv().map(|item| item.0)
    }

    /// How many events were dropped because they were not taken in time.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.queue.counters().dropped_total()
    }
}

impl Stream for StoreEvents {
    type Item = Arc<StoreEvent>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.queue.poll_recv(cx).map(|item| item.map(|item| item.0))
    }
}

/// A watch that ends rather than leave something out.
impl StoreWatch for StoreEvents {
    fn next(&mut self) -> BoxFuture<'_, Option<StoreChange>> {
        Box::pin(async { self.recv().await.map(|event| event.to_change()) })
    }
}

/// The watchers of one store.
#[derive(Debug, Default)]
pub(crate) struct Watchers {
    queues: Mutex<Watching>,
    count: AtomicUsize,
}

#[derive(Debug, Default)]
struct Watching {
    closed: bool,
    queues: Vec<queue::Sender<Item>>,
}

#[derive(Debug)]
struct Item(Arc<StoreEvent>, usize);

impl Weigh for Item {
    fn weight(&self) -> usize {
        self.1
    }
}

impl Watchers {
    pub(crate) fn watch(&self, options: QueueOptions) -> StoreEvents {
        let (sender, receiver) = queue::channel(options);
        let mut watching = self.lock();
        if watching.closed {
            sender.close();
        } else {
            watching.queues.push(sender);
            self.count.store(watching.queues.len(), Ordering::Release);
        }
        StoreEvents { queue: receiver }
    }

    /// Whether there is anybody to tell.
    pub(crate) fn is_watched(&self) -> bool {
        self.count.load(Ordering::Acquire) > 0
    }

    /// Hands `event` to every watcher; never waits.
    pub(crate) fn tell(&self, event: &Arc<StoreEvent>) {
        if !self.is_watched() {
            return;
        }
        let weight = weight(event);
        let mut watching = self.lock();
        watching.queues.retain(|queue| {
            !matches!(
                queue.offer_or_drop(Item(Arc::clone(event), weight)),
                Offer::Closed(_) | Offer::Disconnect
            )
        });
        self.count.store(watching.queues.len(), Ordering::Release);
    }

    /// The store is closed: watchers get what is queued and then the end.
    pub(crate) fn close(&self) {
        let mut watching = self.lock();
        watching.closed = true;
        watching.queues.drain(..).for_each(|queue| queue.close());
        self.count.store(0, Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, Watching> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For a watcher that would rather miss the oldest events than end.
pub(crate) fn lossy() -> QueueOptions {
    QueueOptions::local().policy(OverflowPolicy::DropOldest)
}

/// For a watcher that would rather end than miss an event.
pub(crate) fn complete() -> QueueOptions {
    QueueOptions::local().policy(OverflowPolicy::Disconnect)
}

fn weight(event: &StoreEvent) -> usize {
    const OVERHEAD: usize = 128;
    let values = match event {
        StoreEvent::Insert { value, .. } => binary::encoded_len(value),
        StoreEvent::Update { old, new, .. } => binary::encoded_len(old) + binary::encoded_len(new),
        StoreEvent::Erase { .. } | StoreEvent::Expire { .. } => 0,
    };
    OVERHEAD + binary::encoded_len(event.key()) + values
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use broker_core::EntityId;

    use super::*;

    fn erase(key: u64) -> Arc<StoreEvent> {
        Arc::new(StoreEvent::Erase {
            store: "s".into(),
            key: key.into(),
            publisher: EntityId::NIL,
        })
    }

    #[tokio::test]
    async fn every_watcher_gets_every_event_until_the_store_closes() {
        let watchers = Watchers::default();
        let (mut a, mut b) = (watchers.watch(lossy()), watchers.watch(complete()));
        watchers.tell(&erase(1));
        drop(b.recv().await);
        drop(b);
        watchers.tell(&erase(2));
        watchers.close();
        assert_eq!(a.recv().await, Some(erase(1)));
        assert_eq!(a.recv().await, Some(erase(2)));
        assert_eq!(a.recv().await, None);
        assert_eq!(watchers.watch(lossy()).recv().await, None);
    }

    #[tokio::test]
    async fn a_slow_watcher_misses_or_ends_as_it_chose() {
        let watchers = Watchers::default();
        let two = NonZeroUsize::new(2).unwrap();
        let mut misses = watchers.watch(lossy().max_messages(two));
        let mut ends = watchers.watch(complete().max_messages(two));
        for key in 0..5 {
            watchers.tell(&erase(key));
        }
        assert_eq!(misses.recv().await, Some(erase(3)));
        assert_eq!(misses.missed(), 3);
        while ends.recv().await.is_some() {}
        watchers.tell(&erase(9));
        assert_eq!(watchers.count.load(Ordering::Relaxed), 1);
    }
}
