//! The producing end of a queue.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::task::coop;

use super::{
    Weigh,
    counters::{Counters, DropReason, Stats},
    options::{OverflowPolicy, QueueOptions},
    shared::{Shared, wake_all},
    state::{Few, Pending, Push, Turn},
};

/// The producing end of a queue. Cloning gives another handle to the same queue; when the last is
/// gone the consumer gets what is left and then the end.
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
}

/// What became of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "the item may have come back, or the link may have to be cut"]
pub enum Offer<T> {
    /// It is in the queue.
    Queued,
    /// There was no room: this item or, with [`DropReason::Oldest`] or for an item that must not be
    /// dropped, items queued before it were dropped.
    Dropped(DropReason),
    /// There is no room and the policy is to wait: see [`Sender::send`].
    Full(T),
    /// The queue is closed, or its consumer gone.
    Closed(T),
    /// The queue was full and is cut now, this item and all others in it dropped. The link it
    /// belongs to has to be cut as well. Said once; from then on the queue is closed.
    Disconnect,
}

impl<T> Sender<T> {
    pub(super) fn new(shared: Arc<Shared<T>>) -> Self {
        shared.lock().senders += 1;
        Self { shared }
    }

    /// Ends the queue: nothing more is let in, the consumer gets what is left and then the end.
    pub fn close(&self) {
        self.shared.close();
    }

    /// Whether nothing is let in any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        !self.shared.lock().is_open()
    }

    /// Whether the queue was cut because it was full.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.shared.lock().is_cut()
    }

    /// The figures of this moment.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.shared.lock().counters()
    }

    /// The bounds of the queue.
    #[must_use]
    pub fn options(&self) -> &QueueOptions {
        &self.shared.options
    }

    /// Whether both are handles to the same queue.
    #[must_use]
    pub fn same_queue(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl<T: Send + 'static> Sender<T> {
    /// A handle that reads the counters and does not keep the queue open.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }
}

impl<T: Weigh> Sender<T> {
    /// Puts `item` in if there is room, else does what the policy says. Never waits.
    pub fn offer(&self, item: T) -> Offer<T> {
        match self.push(Pending::new(item), None) {
            Ok(offer) => offer,
            Err(Refusal { pending, .. }) => Offer::Full(pending.item),
        }
    }

    /// Like [`Sender::offer`], but where the policy is to wait, drops the item and counts it as
    /// [`DropReason::Forwarding`]; one that must not be dropped cuts the queue. This is for links
    /// that forward to one another: if they waited, two nodes could wait for each other for ever.
    pub fn offer_or_drop(&self, item: T) -> Offer<T> {
        match self.push(Pending::new(item), Some(WhenFull::Drop)) {
            Ok(offer) => offer,
            Err(Refusal { pending, .. }) => Offer::Full(pending.item),
        }
    }

    /// Like [`Sender::offer`], but under [`OverflowPolicy::Block`] waits for room, behind those who
    /// wait already and for at most [`QueueOptions::block_timeout`]. Never gives [`Offer::Full`].
    /// Must run on a tokio runtime with time enabled.
    ///
    /// # Cancel safety
    /// If the future is dropped before it resolves, the item was not queued.
    pub async fn send(&self, item: T) -> Offer<T> {
        // A producer that always finds room must let others run all the same.
        coop::consume_budget().await;
        let refusal = match self.push(Pending::new(item), Some(WhenFull::Wait)) {
            Ok(offer) => return offer,
            Err(refusal) => refusal,
        };
        let Refusal { pending, number } = refusal;
        let mut waiting = Waiting {
            sender: self,
            number,
            pending: Some(pending),
        };
        match tokio::time::timeout(self.shared.options.block_timeout, &mut waiting).await {
            Ok(offer) => offer,
            Err(_) => waiting.give_up(),
        }
    }

    /// Fails only where the item finds no room and `when_full` does not say that it be dropped.
    fn push(
        &self,
        pending: Pending<T>,
        when_full: Option<WhenFull>,
    ) -> Result<Offer<T>, Refusal<T>> {
        let mut evicted = Few::new();
        let mut state = self.shared.lock();
        let mut push = state.push(&self.shared.options, pending, &mut evicted);
        if let Push::Full(pending) = push {
            match when_full {
                None => return Err(Refusal { pending, number: 0 }),
                Some(WhenFull::Wait) => {
                    let number = state.wait(&pending);
                    return Err(Refusal { pending, number });
                }
                Some(WhenFull::Drop) => push = state.give_up(pending, DropReason::Forwarding),
            }
        }
        let receiver = if matches!(push, Push::Queued) {
            state.receiver.take()
        } else {
            None
        };
        drop(state);
        if let Some(receiver) = receiver {
            receiver.wake();
        }
        Ok(self.conclude(push, evicted))
    }

    /// Turns what happened under the lock into an answer, and drops what has to be dropped.
    fn conclude(&self, push: Push<T>, evicted: Few<T>) -> Offer<T> {
        match push {
            Push::Queued if evicted.is_empty() => Offer::Queued,
            Push::Queued => {
                let reason = match self.shared.options.policy {
                    OverflowPolicy::DropNewest => DropReason::Newest,
                    _ => DropReason::Oldest,
                };
                evicted
                    .into_iter()
                    .for_each(|item| self.shared.report(&item, reason));
                Offer::Dropped(reason)
            }
            Push::Refused(pending, reason) => {
                self.shared.report(&pending.item, reason);
                Offer::Dropped(reason)
            }
            Push::Full(pending) => Offer::Full(pending.item),
            Push::Closed(pending) => Offer::Closed(pending.item),
            Push::Cut(pending, leftovers) => {
                self.shared.report(&pending.item, DropReason::Disconnected);
                self.shared.discard(leftovers, DropReason::Disconnected);
                Offer::Disconnect
            }
        }
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.shared))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut wake = Few::new();
        let mut state = self.shared.lock();
        state.senders -= 1;
        if state.senders == 0 && state.is_open() {
            state.close(&mut wake);
        }
        drop(state);
        wake_all(wake);
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sender").field(&self.counters()).finish()
    }
}

#[derive(Clone, Copy)]
enum WhenFull {
    Wait,
    Drop,
}

/// An item for which there was no room, and its number in the line if it waits.
struct Refusal<T> {
    pending: Pending<T>,
    number: u64,
}

/// A place in the line of waiting producers; given up when dropped.
struct Waiting<'a, T> {
    sender: &'a Sender<T>,
    number: u64,
    /// Until the answer is known.
    pending: Option<Pending<T>>,
}

impl<T> Unpin for Waiting<'_, T> {}

impl<T: Weigh> Future for Waiting<'_, T> {
    type Output = Offer<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Offer<T>> {
        let (turn, old_waker) = self.sender.shared.lock().turn(self.number, cx.waker());
        drop(old_waker);
        match turn {
            Turn::Waiting => Poll::Pending,
            Turn::Granted | Turn::Released => Poll::Ready(self.finish()),
        }
    }
}

impl<T: Weigh> Waiting<'_, T> {
    /// The time is over: takes what room there is even if the queue is not half empty, or lags.
    fn give_up(&mut self) -> Offer<T> {
        let shared = &self.sender.shared;
        let mut wake = Few::new();
        let mut state = shared.lock();
        state.grant(&shared.options, true, &mut wake);
        drop(state);
        wake_all(wake);
        self.finish()
    }

    /// Leaves the line, with the item queued if room is reserved for it or there is some now.
    fn finish(&mut self) -> Offer<T> {
        let shared = &self.sender.shared;
        let pending = self
            .pending
            .take()
            .expect("polled again after it was ready");
        let (mut evicted, mut wake) = (Few::new(), Few::new());
        let mut state = shared.lock();
        let (granted, old_waker) = state.leave(self.number);
        let mut push = if granted && state.is_open() {
            state.enqueue(pending)
        } else {
            state.push(&shared.options, pending, &mut evicted)
        };
        if let Push::Full(pending) = push {
            push = state.give_up(pending, DropReason::Slow);
            state.lag(&shared.options, &mut wake);
        }
        state.grant(&shared.options, false, &mut wake);
        if matches!(push, Push::Queued) {
            wake.extend(state.receiver.take());
        }
        drop(state);
        drop(old_waker);
        wake_all(wake);
        self.sender.conclude(push, evicted)
    }
}

impl<T> Drop for Waiting<'_, T> {
    fn drop(&mut self) {
        if self.pending.is_some() {
            let shared = &self.sender.shared;
            let mut wake = Few::new();
            let mut state = shared.lock();
            let (_, old_waker) = state.leave(self.number);
            state.grant(&shared.options, false, &mut wake);
            drop(state);
            drop(old_waker);
            wake_all(wake);
        }
    }
}
