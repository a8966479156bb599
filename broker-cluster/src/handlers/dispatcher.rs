//! Brings events to their handlers, one event after the other.

use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use broker_core::queue::{self, Offer, Weigh};
use broker_core::zeek::Event;
use broker_core::{RateLimit, Topic};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::call::Failed;
use super::counters::count;
use super::registration::Handlers;
use super::table::Entry;

/// An event for handlers.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) topic: Topic,
    pub(crate) event: Event,
    /// The size of the message it came in.
    pub(crate) bytes: usize,
}

impl Weigh for Item {
    fn weight(&self) -> usize {
        const OVERHEAD: usize = 128;
        OVERHEAD + self.topic.len() + self.event.name.len() + self.bytes
    }
}

/// Calls the handlers of events.
#[derive(Clone, Debug)]
pub(crate) struct Dispatcher {
    handlers: Handlers,
    /// Where handlers with a queue of their own run.
    tasks: TaskTracker,
    /// Ends those tasks at once.
    stop: CancellationToken,
    complaints: Arc<Mutex<RateLimit>>,
}

/// Messages queued for a handler with a queue of its own that it takes at a time.
const BATCH: usize = 64;

impl Dispatcher {
    pub(crate) fn new(handlers: Handlers, tasks: TaskTracker, stop: CancellationToken) -> Self {
        Self {
            handlers,
            tasks,
            stop,
            complaints: Arc::new(Mutex::new(RateLimit::new(10, Duration::from_secs(10)))),
        }
    }

    /// Calls every handler of the event, by priority.
    ///
    /// # Cancel safety
    /// A dropped future leaves out the handlers that had not run yet.
    pub(crate) async fn dispatch(&self, item: Item) {
        let tally = &self.handlers.inner().tally;
        count(&tally.received);
        let Some(entries) = self.handlers.table(|table| table.of(&item.event.name)) else {
            count(&tally.unknown);
            return;
        };
        let item = Arc::new(item);
        for entry in entries.iter() {
            if entry.queue.is_some() {
                self.enqueue(entry, &item).await;
            } else {
                self.call(entry, &item).await;
            }
        }
    }

    /// Ends the handlers that have a queue of their own once they have taken what is in it.
    pub(crate) fn close(&self) {
        self.handlers.table(|table| {
            for entry in table.all() {
                if let Some((_, queue)) = &entry.queue
                    && let Some(queue) = queue.get()
                {
                    queue.close();
                }
            }
        });
    }

    /// An event of the node itself that found no room on the way here.
    pub(crate) fn lost(&self) {
        count(&self.handlers.inner().tally.dropped);
    }

    async fn enqueue(&self, entry: &Arc<Entry>, item: &Arc<Item>) {
        let Some((options, queue)) = &entry.queue else {
            return;
        };
        let queue = queue.get_or_init(|| {
            let tally = Arc::clone(&self.handlers.inner().tally);
            let (sender, receiver) =
                queue::channel_with(*options, move |_, _| count(&tally.dropped));
            let (stop, serving) = (
                self.stop.clone(),
                self.clone().serve(Arc::clone(entry), receiver),
            );
            self.tasks.spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = serving => {}
                }
            });
            sender
        });
        fence(Ordering::SeqCst);
        if !entry.active.load(Ordering::Acquire) {
            queue.close();
            return;
        }
        match queue.send(Arc::clone(item)).await {
            Offer::Disconnect => tracing::error!(
                "a handler of event '{}' is too slow: its queue was cut, and it gets nothing any more",
                entry.name.to_str_lossy()
            ),
            Offer::Closed(_) => count(&self.handlers.inner().tally.dropped),
            Offer::Queued | Offer::Dropped(_) | Offer::Full(_) => {}
        }
    }

    async fn serve(self, entry: Arc<Entry>, mut queue: queue::Receiver<Arc<Item>>) {
        let mut batch = Vec::with_capacity(BATCH);
        while queue.recv_many(&mut batch, BATCH, usize::MAX).await > 0 {
            for item in batch.drain(..) {
                self.call(&entry, &item).await;
            }
        }
    }

    async fn call(&self, entry: &Entry, item: &Item) {
        if !entry.active.load(Ordering::Acquire) {
            return;
        }
        let tally = &self.handlers.inner().tally;
        let name = || item.event.name.to_str_lossy();
        match entry.call.run(&item.topic, &item.event).await {
            Ok(()) => count(&tally.handled),
            Err(Failed::Mismatch(error)) => {
                count(&tally.mismatched);
                if let Some(suppressed) = self.may_complain() {
                    tracing::warn!(
                        suppressed,
                        "{}",
                        mismatch(&name(), &error, &entry.call.wants())
                    );
                }
            }
            Err(Failed::Panic(message)) => {
                count(&tally.panicked);
                tracing::error!("a handler of event '{}' panicked: {message}", name());
            }
        }
    }

    fn may_complain(&self) -> Option<u64> {
        self.complaints
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .check(Instant::now().into_std())
    }
}

/// Zeek's words for arguments that do not fit (zeek-cluster reference, 6.2), and what would.
pub(super) fn mismatch(name: &str, error: &broker_core::convert::ArgsError, wants: &str) -> String {
    use broker_core::convert::ArgsError;
    match error {
        ArgsError::Count { .. } => {
            format!("got event message '{name}' with {error}: its handler takes ({wants})")
        }
        ArgsError::Argument { .. } => {
            format!("failed to convert remote event '{name}' {error}: its handler takes ({wants})")
        }
    }
}
