//! What the two ends of a queue share: the lock, and what has to happen outside it.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Waker,
};

use super::{
    counters::{Counters, DropReason, Source, Stats},
    options::QueueOptions,
    state::{Few, Leftovers, State},
};

pub(super) type OnDrop<T> = Box<dyn Fn(&T, DropReason) + Send + Sync>;

pub(super) struct Shared<T> {
    pub(super) options: QueueOptions,
    on_drop: Option<OnDrop<T>>,
    state: Mutex<State<T>>,
}

impl<T> Shared<T> {
    pub(super) fn new(options: QueueOptions, on_drop: Option<OnDrop<T>>) -> Self {
        Self {
            options,
            on_drop,
            state: Mutex::new(State::new()),
        }
    }

    /// No code of others runs under the lock but `Extend::extend` and `Waker::clone`; should those
    /// panic, counters may be off by the batch in hand, and nothing else.
    pub(super) fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows an item to the callback before it is dropped.
    pub(super) fn report(&self, item: &T, reason: DropReason) {
        if let Some(on_drop) = &self.on_drop {
            on_drop(item, reason);
        }
    }

    /// Ends what was queued: the consumer and waiting producers learn it, the callback sees it.
    pub(super) fn discard(&self, leftovers: Leftovers<T>, reason: DropReason) {
        if self.on_drop.is_some() {
            leftovers.items().for_each(|item| self.report(item, reason));
        }
        wake_all(leftovers.wake);
    }

    pub(super) fn close(&self) {
        let mut wake = Few::new();
        self.lock().close(&mut wake);
        wake_all(wake);
    }

    pub(super) fn stats(self: &Arc<Self>) -> Stats
    where
        T: Send + 'static,
    {
        Stats::new(Arc::clone(self) as Arc<dyn Source>)
    }
}

impl<T: Send> Source for Shared<T> {
    fn counters(&self) -> Counters {
        self.lock().counters()
    }

    fn roll_high_water(&self) {
        self.lock().roll_high_water();
    }
}

pub(super) fn wake_all(wakers: Few<Waker>) {
    wakers.into_iter().for_each(Waker::wake);
}
