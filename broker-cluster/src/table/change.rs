//! Changes of a table that others made, and the streams of them.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use broker_core::QueueOptions;
use broker_core::queue::{self, Offer, Weigh};
use futures_core::Stream;

use crate::panic::caught;

/// What happened to an element, without being a write of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TableChange<K, V> {
    /// It is new.
    New {
        /// Its key.
        key: K,
        /// Its value.
        value: V,
    },
    /// It was written again, perhaps with the value it had.
    Changed {
        /// Its key.
        key: K,
        /// What is there now.
        value: V,
        /// What was there.
        previous: V,
    },
    /// It was removed.
    Removed {
        /// Its key.
        key: K,
        /// What was there.
        previous: V,
    },
    /// Its time was up.
    Expired {
        /// Its key.
        key: K,
        /// What was there.
        previous: V,
    },
}

impl<K, V> TableChange<K, V> {
    /// The key of the element.
    pub const fn key(&self) -> &K {
        match self {
            Self::New { key, .. }
            | Self::Changed { key, .. }
            | Self::Removed { key, .. }
            | Self::Expired { key, .. } => key,
        }
    }
}

/// The changes of one table from the moment they were asked for.
#[derive(Debug)]
#[must_use = "the changes end when the stream is dropped"]
pub struct TableChanges<K, V> {
    queue: queue::Receiver<Item<K, V>>,
}

impl<K, V> TableChanges<K, V> {
    /// The next change; `None` when the table is closed, or the queue was full under the `disconnect` policy.
    ///
    /// # Cancel safety
    /// Safe: no change is lost if the future is dropped.
    pub async fn recv(&mut self) -> Option<Arc<TableChange<K, V>>> {
        self.queue.recv().await.map(|item| item.0)
    }

    /// The next change, if there is one now.
    pub fn try_recv(&mut self) -> Option<Arc<TableChange<K, V>>> {
        self.queue.try_recv().map(|item| item.0)
    }

    /// How many changes were dropped because they were not taken in time.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.queue.counters().dropped_total()
    }
}

impl<K, V> Stream for TableChanges<K, V> {
    type Item = Arc<TableChange<K, V>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.queue.poll_recv(cx).map(|item| item.map(|item| item.0))
    }
}

#[derive(Debug)]
struct Item<K, V>(Arc<TableChange<K, V>>);

impl<K, V> Weigh for Item<K, V> {
    /// What Rust values take on the heap is not known: the bound in messages is what counts.
    fn weight(&self) -> usize {
        size_of::<TableChange<K, V>>()
    }
}

/// What is called for each change.
pub(super) type OnChange<K, V> = Box<dyn Fn(&TableChange<K, V>) + Send + Sync>;

/// Whoever wants to know of changes.
pub(super) struct Listeners<K, V> {
    callback: Option<OnChange<K, V>>,
    listening: Mutex<Listening<K, V>>,
}

struct Listening<K, V> {
    closed: bool,
    queues: Vec<queue::Sender<Item<K, V>>>,
}

impl<K, V> Listeners<K, V> {
    pub(super) const fn new(callback: Option<OnChange<K, V>>) -> Self {
        Self {
            callback,
            listening: Mutex::new(Listening {
                closed: false,
                queues: Vec::new(),
            }),
        }
    }

    pub(super) fn listen(&self, options: QueueOptions) -> TableChanges<K, V> {
        let (sender, receiver) = queue::channel(options);
        let mut listening = self.lock();
        if listening.closed {
            sender.close();
        } else {
            listening.queues.push(sender);
        }
        TableChanges { queue: receiver }
    }

    /// Tells everybody; never waits. No lock of the table may be held: the callback may use the table.
    pub(super) fn tell(&self, changes: Vec<TableChange<K, V>>) {
        for change in changes {
            if let Some(callback) = &self.callback
                && let Err(panic) = caught(|| callback(&change))
            {
                tracing::error!("the callback for changes of a table panicked: {panic}");
            }
            let mut listening = self.lock();
            if listening.queues.is_empty() {
                continue;
            }
            let change = Arc::new(change);
            listening.queues.retain(|queue| {
                !matches!(
                    queue.offer_or_drop(Item(Arc::clone(&change))),
                    Offer::Closed(_) | Offer::Disconnect
                )
            });
        }
    }

    /// The table is closed: listeners get what is queued and then the end.
    pub(super) fn close(&self) {
        let mut listening = self.lock();
        listening.closed = true;
        listening.queues.drain(..).for_each(|queue| queue.close());
    }

    fn lock(&self) -> MutexGuard<'_, Listening<K, V>> {
        self.listening
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
