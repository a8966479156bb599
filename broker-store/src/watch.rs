//! Store events for whoever watches, each watcher with a bounded queue of its own.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use broker_core::queue::{self, Offer, Weigh};
use broker_core::{OverflowPolicy, QueueOptions, Revision, binary};
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
    /// Those that want to know the revision as well.
    followers: Vec<queue::Sender<Told>>,
}

/// What whoever follows a store is told.
#[derive(Debug)]
pub(crate) enum Told {
    /// A change, and the revision to go on from behind it.
    Change(Option<Revision>, Arc<StoreEvent>),
    /// Everything up to this revision has been told.
    Position(Revision),
}

impl Weigh for Told {
    fn weight(&self) -> usize {
        match self {
            Self::Change(_, event) => weight(event),
            Self::Position(_) => 32,
        }
    }
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
            self.count_watchers(&watching);
        }
        StoreEvents { queue: receiver }
    }

    /// Everything from now on, with revisions; ends rather than leave something out. `None` if too many follow.
    pub(crate) fn follow(&self) -> Option<queue::Receiver<Told>> {
        let (sender, receiver) = queue::channel(complete());
        let mut watching = self.lock();
        if watching.closed {
            sender.close();
        } else if watching.followers.len() >= MAX_FOLLOWERS {
            return None;
        } else {
            watching.followers.push(sender);
            self.count_watchers(&watching);
        }
        Some(receiver)
    }

    fn count_watchers(&self, watching: &Watching) {
        let count = watching.queues.len() + watching.followers.len();
        self.count.store(count, Ordering::Release);
    }

    /// Whether there is anybody to tell.
    pub(crate) fn is_watched(&self) -> bool {
        self.count.load(Ordering::Acquire) > 0
    }

    /// Hands `event` to every watcher; never waits.
    pub(crate) fn tell(&self, at: Option<Revision>, event: &Arc<StoreEvent>) {
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
        let told = || Told::Change(at, Arc::clone(event));
        watching.tell_followers(told);
        self.count_watchers(&watching);
    }

    /// Everything up to this revision has been told.
    pub(crate) fn tell_position(&self, at: Revision) {
        let mut watching = self.lock();
        watching.tell_followers(|| Told::Position(at));
        self.count_watchers(&watching);
    }

    /// The store is closed: watchers get what is queued and then the end.
    pub(crate) fn close(&self) {
        let mut watching = self.lock();
        watching.closed = true;
        watching.queues.drain(..).for_each(|queue| queue.close());
        watching.followers.drain(..).for_each(|queue| queue.close());
        self.count.store(0, Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, Watching> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watching {
    fn tell_followers(&mut self, told: impl Fn() -> Told) {
        self.followers.retain(|queue| {
            !matches!(
                queue.offer_or_drop(told()),
                Offer::Closed(_) | Offer::Disconnect
            )
        });
    }
}

/// Those that follow one store at a time.
const MAX_FOLLOWERS: usize = 1024;

/// For a watcher that would rather miss the oldest events than end.
pub(crate) fn lossy() -> QueueOptions {
    QueueOptions::local().policy(OverflowPolicy::DropOldest)
}

/// For a watcher that would rather end than miss an event.
pub(crate) fn complete() -> QueueOptions {
    QueueOptions::local().policy(OverflowPolicy::Disconnect)
}

pub(crate) fn weight(event: &StoreEvent) -> usize {
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
        watchers.tell(None, &erase(1));
        drop(b.recv().await);
        drop(b);
        watchers.tell(None, &erase(2));
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
            watchers.tell(None, &erase(key));
        }
        assert_eq!(misses.recv().await, Some(erase(3)));
        assert_eq!(misses.missed(), 3);
        while ends.recv().await.is_some() {}
        watchers.tell(None, &erase(9));
        assert_eq!(watchers.count.load(Ordering::Relaxed), 1);
    }
}
