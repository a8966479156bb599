//! Registering handlers, and taking them back.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, Weak};

use broker_core::convert::FromArgs;
use broker_core::{ByteString, QueueOptions};

use super::call::Call;
use super::counters::{HandlerCounters, Tally};
use super::incoming::Incoming;
use super::table::{Entry, Table};

/// The handlers of a node. Cloning gives another handle to the same handlers.
#[derive(Clone, Default)]
pub struct Handlers {
    inner: Arc<Inner>,
}

#[derive(Default)]
pub(super) struct Inner {
    pub(super) table: RwLock<Table>,
    pub(super) tally: Arc<Tally>,
}

impl Handlers {
    /// No handlers yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a closure for an event; see [`Registration::on`].
    pub fn on<A: FromArgs + 'static>(
        &self,
        name: impl Into<ByteString>,
        handler: impl FnMut(A) + Send + 'static,
    ) -> HandlerGuard {
        self.handler(name).on(handler)
    }

    /// Begins to register a handler for an event with its fully qualified name.
    pub fn handler(&self, name: impl Into<ByteString>) -> Registration<'_> {
        Registration {
            handlers: self,
            name: name.into(),
            priority: 0,
            queue: None,
        }
    }

    /// What became of the events that came.
    #[must_use]
    pub fn counters(&self) -> HandlerCounters {
        self.inner.tally.read()
    }

    /// Whether there is no handler at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table(Table::is_empty)
    }

    /// Forgets all handlers, and what they own.
    pub(crate) fn clear(&self) {
        let mut table = self
            .inner
            .table
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let all = std::mem::take(&mut *table);
        drop(table);
        // Closures may own what takes the lock again when it is dropped.
        drop(all);
    }

    pub(super) fn inner(&self) -> &Inner {
        &self.inner
    }

    pub(super) fn table<T>(&self, read: impl FnOnce(&Table) -> T) -> T {
        let table = self.inner.table.read();
        read(&table.unwrap_or_else(PoisonError::into_inner))
    }
}

impl std::fmt::Debug for Handlers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.table(|table| {
            let mut names: Vec<String> = table
                .all()
                .map(|entry| entry.name.to_str_lossy().into_owned())
                .collect();
            names.sort_unstable();
            names
        });
        f.debug_struct("Handlers").field("names", &names).finish()
    }
}

/// A handler about to be registered.
#[derive(Debug)]
#[must_use = "nothing is registered until one of the `on` methods is called"]
pub struct Registration<'h> {
    handlers: &'h Handlers,
    name: ByteString,
    priority: i32,
    queue: Option<QueueOptions>,
}

impl Registration<'_> {
    /// Handlers of higher priority run first; default 0, as in Zeek.
    pub const fn priority(mut self, priority: i32) -> Self {
        self.priority = priority;
        self
    }

    /// Gives the handler a queue and a task of its own, so that it holds up nobody but itself; default none. With
    /// [`QueueOptions::local`] the other handlers wait up to 5 s for room in it; with another policy they never wait, and
    /// what finds no room is dropped and counted. With `disconnect` a full queue is the end of the handler.
    pub const fn queue(mut self, queue: QueueOptions) -> Self {
        self.queue = Some(queue);
        self
    }

    /// Registers a closure that takes the arguments as a tuple.
    pub fn on<A: FromArgs + 'static>(
        self,
        mut handler: impl FnMut(A) + Send + 'static,
    ) -> HandlerGuard {
        self.on_event(move |event: Incoming<A>| handler(event.args))
    }

    /// Registers an async closure that takes the arguments as a tuple. Its future is waited for before the next handler
    /// runs.
    pub fn on_async<A: FromArgs + 'static, F>(
        self,
        mut handler: impl FnMut(A) -> F + Send + 'static,
    ) -> HandlerGuard
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.on_event_async(move |event: Incoming<A>| handler(event.args))
    }

    /// Registers a closure that takes arguments, topic and metadata.
    pub fn on_event<A: FromArgs + 'static>(
        self,
        handler: impl FnMut(Incoming<A>) + Send + 'static,
    ) -> HandlerGuard {
        self.register(Call::sync(handler))
    }

    /// Registers an async closure that takes arguments, topic and metadata. Its future is waited for before the next
    /// handler runs.
    pub fn on_event_async<A: FromArgs + 'static, F>(
        self,
        handler: impl FnMut(Incoming<A>) -> F + Send + 'static,
    ) -> HandlerGuard
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.register(Call::future(handler))
    }

    fn register(self, call: Call) -> HandlerGuard {
        let entry = Arc::new(Entry {
            name: self.name,
            priority: self.priority,
            call,
            active: AtomicBool::new(true),
            queue: self.queue.map(|options| (options, OnceLock::new())),
        });
        let inner = &self.handlers.inner;
        inner
            .table
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(Arc::clone(&entry));
        HandlerGuard {
            inner: Arc::downgrade(inner),
            entry: Some(entry),
        }
    }
}

/// Takes a handler back when it is dropped: no call of it begins any more, one that runs goes on to its end.
#[must_use = "the handler is taken back when its guard is dropped; keep() leaves it"]
pub struct HandlerGuard {
    inner: Weak<Inner>,
    entry: Option<Arc<Entry>>,
}

impl HandlerGuard {
    /// Leaves the handler registered for as long as there are handlers.
    pub fn keep(mut self) {
        self.entry = None;
    }

    /// Takes the handler back now.
    pub fn unregister(self) {
        drop(self);
    }
}

impl Drop for HandlerGuard {
    fn drop(&mut self) {
        let Some(entry) = self.entry.take() else {
            return;
        };
        entry.active.store(false, Ordering::Release);
        // The dispatcher may be about to open the queue: it looks at `active` behind a fence too, so one of us closes it.
        fence(Ordering::SeqCst);
        if let Some(inner) = self.inner.upgrade() {
            let mut table = inner.table.write().unwrap_or_else(PoisonError::into_inner);
            table.remove(&entry);
        }
        if let Some((_, queue)) = &entry.queue
            && let Some(queue) = queue.get()
        {
            queue.close();
        }
    }
}

impl std::fmt::Debug for HandlerGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = self.entry.as_ref().map(|entry| entry.name.to_str_lossy());
        f.debug_struct("HandlerGuard").field("name", &name).finish()
    }
}
