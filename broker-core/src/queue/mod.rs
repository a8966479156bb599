//! The one bounded queue of the project: many producers, one consumer, a stated answer when full.
//!
//! Peer links, subscribers, hubs and commands all use it (the policies are those of
//! wire reference, 2.7, plus `block`). A queue is bounded in messages **and** in bytes.
//! What happens at the bound is the [`OverflowPolicy`]:
//!
//! | policy | a droppable item that finds no room |
//! |---|---|
//! | [`Block`](OverflowPolicy::Block) | [`Sender::offer`] hands it back, [`Sender::send`] waits, [`Sender::offer_or_drop`] drops it |
//! | [`DropOldest`](OverflowPolicy::DropOldest) | pushes the oldest droppable items out |
//! | [`DropNewest`](OverflowPolicy::DropNewest) | is dropped |
//! | [`Disconnect`](OverflowPolicy::Disconnect) | cuts the queue: all is dropped and the consumer sees the end |
//!
//! Items that are not [droppable](Weigh::droppable) (routing updates, pings, store commands) never
//! give way to others: the drop policies push droppable items out for them, and under `Block` they
//! have a second bound of the same size to themselves. When they alone fill the queue it is cut.
//!
//! Only `send` ever waits, in order of arrival, and for at most
//! [`block_timeout`](QueueOptions::block_timeout). When that has passed without room, the queue
//! *lags*: droppable items are dropped at once, with reason [`DropReason::Slow`], until it is half
//! empty. Waiting producers are let in again when the queue is half empty too, so that a full queue
//! costs one wake-up per half queue and not one per item.
//!
//! An item heavier than `max_bytes` fits only when nothing else is queued.
//!
//! **Invariants:** the order of one producer is kept. For every queue, whenever nobody is inside a
//! call, `offered = sent + dropped + queued` ([`Counters`]); an item that is handed back to the
//! caller was not offered. No lock is held while a waker, a drop callback or the destructor of an
//! item runs.
//!
//! Cost of one item: one short critical section to put it in; the consumer takes many in one. It is
//! woken only if it waits. Nothing is allocated while the queue stays within a size it had before.

mod counters;
mod options;
mod receiver;
mod sender;
mod shared;
mod state;

use std::sync::Arc;

use bytes::Bytes;

use self::shared::{OnDrop, Shared};
pub use self::{
    counters::{Counters, DropReason, Stats},
    options::{OverflowPolicy, QueueOptions, UnknownPolicy},
    receiver::Receiver,
    sender::{Offer, Sender},
};

/// What a queue must know about its items.
pub trait Weigh {
    /// What the item counts towards the bound in bytes. Asked once, when the item comes in.
    fn weight(&self) -> usize;

    /// Whether the item may be dropped when there is no room. Asked once, when the item comes in.
    fn droppable(&self) -> bool {
        true
    }
}

impl<T: Weigh + ?Sized> Weigh for Arc<T> {
    fn weight(&self) -> usize {
        (**self).weight()
    }

    fn droppable(&self) -> bool {
        (**self).droppable()
    }
}

impl<T: Weigh + ?Sized> Weigh for Box<T> {
    fn weight(&self) -> usize {
        (**self).weight()
    }

    fn droppable(&self) -> bool {
        (**self).droppable()
    }
}

impl Weigh for Bytes {
    fn weight(&self) -> usize {
        self.len()
    }
}

/// Makes a queue.
///
/// ```
/// use broker_core::queue::{self, Offer, QueueOptions};
/// use bytes::Bytes;
///
/// let (sender, mut receiver) = queue::channel(QueueOptions::local());
/// assert_eq!(sender.offer(Bytes::from_static(b"hello")), Offer::Queued);
/// assert_eq!(receiver.try_recv().as_deref(), Some(&b"hello"[..]));
/// assert_eq!(sender.counters().sent, 1);
/// ```
pub fn channel<T: Weigh>(options: QueueOptions) -> (Sender<T>, Receiver<T>) {
    ends(options, None)
}

/// Makes a queue that shows every item it drops to `on_drop` before it is gone.
///
/// The callback runs outside the lock of the queue, on the thread that caused the drop: a producer,
/// or the consumer when it goes away with items left. It may use the queue, and must not block.
pub fn channel_with<T, F>(options: QueueOptions, on_drop: F) -> (Sender<T>, Receiver<T>)
where
    T: Weigh,
    F: Fn(&T, DropReason) + Send + Sync + 'static,
{
    ends(options, Some(Box::new(on_drop)))
}

fn ends<T>(options: QueueOptions, on_drop: Option<OnDrop<T>>) -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared::new(options, on_drop));
    (Sender::new(Arc::clone(&shared)), Receiver::new(shared))
}

#[cfg(test)]
mod tests;
