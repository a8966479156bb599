//! The consuming end of a queue.

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::{Arc, MutexGuard},
    task::{Context, Poll, Waker, ready},
};

use futures_core::Stream;
use tokio::task::coop;

use super::{
    counters::{Counters, DropReason, Stats},
    shared::{Shared, wake_all},
    state::{Few, State},
};

/// The consuming end of a queue. When it goes away the queue is closed, and what is left in it is
/// dropped with reason [`DropReason::Closed`].
#[must_use = "the queue is closed when its Receiver is dropped"]
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Receiver<T> {
    pub(super) fn new(shared: Arc<Shared<T>>) -> Self {
        Self { shared }
    }

    /// Waits for the next item; `None` once the queue is closed and empty.
    ///
    /// # Cancel safety
    /// If the future is dropped before it resolves, no item was taken.
    pub async fn recv(&mut self) -> Option<T> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// Waits for items and moves those that are there to `out`, oldest first: at least one, then up
    /// to `max_messages` and `max_bytes` of weight. Returns how many; 0 once the queue is closed
    /// and empty. Items are moved under the lock of the queue: choose a few hundred, not millions.
    ///
    /// # Cancel safety
    /// If the future is dropped before it resolves, no item was taken.
    pub async fn recv_many(
        &mut self,
        out: &mut impl Extend<T>,
        max_messages: usize,
        max_bytes: usize,
    ) -> usize {
        poll_fn(|cx| self.poll_recv_many(cx, out, max_messages, max_bytes)).await
    }

    /// The next item, if there is one now.
    pub fn try_recv(&mut self) -> Option<T> {
        let mut one = None;
        self.take(self.shared.lock(), &mut One(&mut one), 1, usize::MAX);
        one
    }

    /// Like [`Receiver::recv_many`] for items that are there now; 0 if there are none.
    pub fn try_recv_many(
        &mut self,
        out: &mut impl Extend<T>,
        max_messages: usize,
        max_bytes: usize,
    ) -> usize {
        self.take(self.shared.lock(), out, max_messages, max_bytes)
    }

    /// [`Receiver::recv`] for those who write their futures by hand.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut one = None;
        ready!(self.poll_recv_many(cx, &mut One(&mut one), 1, usize::MAX));
        Poll::Ready(one)
    }

    /// [`Receiver::recv_many`] for those who write their futures by hand. Takes part in tokio's
    /// cooperative scheduling, so that a queue that never runs dry does not keep others from running.
    pub fn poll_recv_many(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut impl Extend<T>,
        max_messages: usize,
        max_bytes: usize,
    ) -> Poll<usize> {
        let budget = ready!(coop::poll_proceed(cx));
        let mut state = self.shared.lock();
        if state.is_empty() && state.is_open() {
            let old_waker = register(&mut state, cx);
            drop(state);
            drop(old_waker);
            return Poll::Pending;
        }
        budget.made_progress();
        Poll::Ready(self.take(state, out, max_messages, max_bytes))
    }

    /// Closes the queue: nothing more is let in, what is left can still be taken.
    pub fn close(&mut self) {
        self.shared.close();
    }

    /// Whether the queue was cut because it was full; then the link it belongs to has to be cut.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.shared.lock().is_cut()
    }

    /// Whether there is nothing to take now.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.shared.lock().is_empty()
    }

    /// The figures of this moment.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.shared.lock().counters()
    }

    fn take(
        &self,
        mut state: MutexGuard<'_, State<T>>,
        out: &mut impl Extend<T>,
        max_messages: usize,
        max_bytes: usize,
    ) -> usize {
        let options = &self.shared.options;
        let mut wake = Few::new();
        let taken = state.take(options, out, max_messages, max_bytes);
        state.grant(options, false, &mut wake);
        drop(state);
        wake_all(wake);
        taken
    }
}

impl<T: Send + 'static> Receiver<T> {
    /// A handle that reads the counters and does not keep the queue open.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }
}

impl<T> Stream for Receiver<T> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.get_mut().poll_recv(cx)
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        let mut leftovers = state.clear(DropReason::Closed);
        state.close(&mut leftovers.wake);
        drop(state);
        self.shared.discard(leftovers, DropReason::Closed);
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Receiver").field(&self.counters()).finish()
    }
}

/// Keeps the waker to be called when the queue is empty no more; returns the one before.
fn register<T>(state: &mut State<T>, cx: &Context<'_>) -> Option<Waker> {
    if state
        .receiver
        .as_ref()
        .is_some_and(|kept| kept.will_wake(cx.waker()))
    {
        return None;
    }
    state.receiver.replace(cx.waker().clone())
}

/// Takes a single item.
struct One<'a, T>(&'a mut Option<T>);

impl<T> Extend<T> for One<'_, T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, items: I) {
        for item in items {
            *self.0 = Some(item);
        }
    }
}
