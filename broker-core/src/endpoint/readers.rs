//! Readers of what an endpoint tells about itself: each has a queue of its own, and one that lags loses the oldest.

use std::num::NonZeroUsize;

use crate::queue::{self, Offer, OverflowPolicy, QueueOptions, Receiver, Sender, Weigh};

/// Events that may wait for one reader.
const QUEUE: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");

/// Who is told of events of one kind.
pub(super) struct Readers<T> {
    queues: Vec<Sender<T>>,
}

impl<T: Weigh + Clone> Readers<T> {
    /// One more reader, from now on.
    pub(super) fn add(&mut self) -> Receiver<T> {
        let options = QueueOptions::local()
            .policy(OverflowPolicy::DropOldest)
            .max_messages(QUEUE);
        let (sender, receiver) = queue::channel(options);
        self.queues.retain(|reader| !reader.is_closed());
        self.queues.push(sender);
        receiver
    }

    /// Never waits.
    pub(super) fn tell(&mut self, event: &T) {
        self.queues
            .retain(|reader| !matches!(reader.offer(event.clone()), Offer::Closed(_)));
    }

    /// They get what is queued and then the end.
    pub(super) fn close(&mut self) {
        self.queues.drain(..).for_each(|reader| reader.close());
    }
}

impl<T> Default for Readers<T> {
    fn default() -> Self {
        Self { queues: Vec::new() }
    }
}
