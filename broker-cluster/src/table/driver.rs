//! The task of a table: store events and answers in, writes out, changes to whoever listens.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use broker_core::{
    Data, Endpoint, FromData, OverflowPolicy, QueueOptions, StoreOperation, ToData, WatchKeys,
    WatchRequest,
};
use broker_store::{Freshness, ProxyError, Response, Store, StoreError, StoreEvents, StoreProxy};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::error::{TableError, TableProblem};
use super::handle::Inner;

pub(super) struct Driver<K, V> {
    inner: Arc<Inner<K, V>>,
    store: Store,
    endpoint: Endpoint,
    events: StoreEvents,
    proxy: StoreProxy,
    /// Writes taken from the state that the store had no room for.
    handing: VecDeque<(u64, StoreOperation)>,
    /// From the numbers of the proxy to those of the state.
    numbers: HashMap<u64, u64>,
    asks: mpsc::Receiver<oneshot::Sender<()>>,
    /// No handle is left.
    dropped: CancellationToken,
}

impl<K, V> Driver<K, V>
where
    K: ToData + FromData + Clone + Send + Sync + 'static,
    V: ToData + FromData + Clone + Send + Sync + 'static,
{
    /// Reads what the store has. An entry of another type is an error where `strict`, and else skipped.
    pub(super) async fn open(
        inner: Arc<Inner<K, V>>,
        store: Store,
        endpoint: Endpoint,
        asks: mpsc::Receiver<oneshot::Sender<()>>,
        dropped: CancellationToken,
        strict: bool,
    ) -> Result<Self, TableError> {
        let events = store.events_with(event_queue());
        let proxy = store.proxy();
        let mut driver = Self {
            inner,
            store,
            endpoint,
            events,
            proxy,
            handing: VecDeque::new(),
            numbers: HashMap::new(),
            asks,
            dropped,
        };
        driver.read(strict).await?;
        driver.handle_events(usize::MAX);
        // What was there before is no change.
        driver.inner.write().take_changes();
        driver.tell();
        Ok(driver)
    }

    pub(super) async fn run(mut self) {
        let endpoint = self.endpoint.clone();
        let dropped = self.dropped.clone();
        let attaching = self.store.clone();
        // Resolves once the content has come for the first time.
        let attached =
            async move { while !attaching.is_closed() && !attaching.attached(LOOK_EVERY).await {} };
        tokio::pin!(attached);
        let mut is_attached = false;
        let patience = tokio::time::sleep(PATIENCE);
        tokio::pin!(patience);
        let mut has_complained = false;
        loop {
            self.hand_over();
            self.tell();
            if dropped.is_cancelled() && self.inner.read().waiting() == 0 {
                break;
            }
            let blocked = !self.handing.is_empty();
            tokio::select! {
                biased;
                () = endpoint.stopping() => break,
                response = self.proxy.recv(), if !self.numbers.is_empty() => match response {
                    Some(response) => self.handle_answers(response).await,
                    None => break,
                },
                Some(asker) = self.asks.recv() => {
                    self.handle_events(ALL_EVENTS);
                    self.tell();
                    // Whoever asked may have gone.
                    let _ = asker.send(());
                }
                event = self.events.recv() => match event {
                    Some(event) => {
                        self.inner.write().handle_event(Instant::now(), &event);
                        self.handle_events(BATCH);
                    }
                    None if self.store.is_closed() => break,
                    None => self.reread().await,
                },
                room = self.proxy.room(), if blocked => if room.is_err() { break },
                () = self.inner.wake.notified() => {}
                () = &mut attached, if !is_attached => {
                    is_attached = true;
                    if has_complained && !self.store.is_closed() {
                        tracing::info!(store = self.store.name(), "the table has its content now");
                    }
                    self.first_content().await;
                }
                () = &mut patience, if !is_attached && !has_complained => {
                    has_complained = true;
                    tracing::warn!(
                        store = self.store.name(),
                        "the table is still empty and its writes wait: no master of its store is reachable; the manager has \
                         one if its layout names the table in [tables], or a program opens it there"
                    );
                }
                () = dropped.cancelled(), if !dropped.is_cancelled() => {}
            }
        }
        self.inner.write().close();
        self.tell();
        self.inner.close();
    }

    /// The content of a clone has come, perhaps after the table was opened, and was told as events.
    async fn first_content(&mut self) {
        if *self.inner.synced.borrow() || self.turn_of_store().await.is_err() {
            return;
        }
        self.handle_events(ALL_EVENTS);
        if self.events.missed() > 0 {
            self.reread().await;
        }
        self.tell();
        self.inner.synced.send_replace(true);
    }

    /// Waits for the end of a turn of the store: no change from there on goes without its event, and everything before
    /// has been told.
    async fn turn_of_store(&self) -> Result<(), StoreError> {
        let request = WatchRequest {
            keys: WatchKeys::Key(Data::None),
            from: None,
        };
        self.store.watch(request).await.map(drop)
    }

    /// Events were missed.
    async fn reread(&mut self) {
        self.events = self.store.events_with(event_queue());
        if *self.inner.synced.borrow() {
            self.inner.write().report(TableProblem::Reread);
        }
        // What fails here is that the store is closed, which the next turn sees as well.
        if let Err(error) = self.read(false).await {
            tracing::debug!(store = self.store.name(), %error, "the store of a table cannot be read again");
        }
    }

    /// Reads all entries. Events are being collected already; those that came before the reading of an entry are handled
    /// after it, which ends where they end.
    async fn read(&mut self, strict: bool) -> Result<(), TableError> {
        self.turn_of_store().await?;
        if self.store.freshness() == Freshness::Empty {
            return Ok(());
        }
        self.inner.write().begin_reading();
        let mut after = None;
        loop {
            let page = self.store.scan(after.take(), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.key.clone());
            let now = Instant::now();
            let mut state = self.inner.write();
            for entry in &page {
                let Err(source) = state.read(now, &entry.key, &entry.value, entry.expires_in)
                else {
                    continue;
                };
                let key = entry.key.clone();
                if strict {
                    return Err(TableError::Import { key, source });
                }
                state.report(TableProblem::Conversion { key, error: source });
            }
        }
        self.inner.write().end_reading();
        self.inner.synced.send_replace(true);
        Ok(())
    }

    /// Handles events that are there, at most so many.
    fn handle_events(&mut self, limit: usize) {
        let mut handled = 0;
        while handled < limit {
            let now = Instant::now();
            let mut state = self.inner.write();
            for _ in 0..BATCH {
                let Some(event) = self.events.try_recv() else {
                    return;
                };
                state.handle_event(now, &event);
                handled += 1;
            }
        }
    }

    /// Takes the answers that are there, and handles every event that was told before them first.
    async fn handle_answers(&mut self, first: Response) {
        let mut responses = vec![first];
        while responses.len() < BATCH
            && let Some(response) = self.proxy.try_recv()
        {
            responses.push(response);
        }
        self.handle_events(ALL_EVENTS);
        if self.events.missed() > 0 {
            self.reread().await;
            self.handle_events(ALL_EVENTS);
        }
        let mut state = self.inner.write();
        for response in responses {
            if let Some(number) = self.numbers.remove(&response.id) {
                state.handle_answer(number, response.result.map(drop));
            }
        }
    }

    /// Hands writes to the store, in order, as long as it has room.
    fn hand_over(&mut self) {
        loop {
            if self.handing.is_empty() {
                let mut state = self.inner.write();
                let now = Instant::now();
                while self.handing.len() < BATCH
                    && let Some(write) = state.next_write(now, MAX_IN_FLIGHT)
                {
                    self.handing.push_back(write);
                }
            }
            let Some((number, operation)) = self.handing.front() else {
                return;
            };
            match self.proxy.execute(operation.clone()) {
                Ok(id) => {
                    self.numbers.insert(id, *number);
                    self.handing.pop_front();
                }
                Err(ProxyError::Full) => return,
                Err(_) => {
                    let number = *number;
                    self.handing.pop_front();
                    let error = Err(StoreError::Closed);
                    self.inner.write().handle_answer(number, error);
                }
            }
        }
    }

    /// Tells what has changed; no lock is held meanwhile.
    fn tell(&self) {
        let (changes, problems, answered) = {
            let mut state = self.inner.write();
            (
                state.take_changes(),
                state.take_problems(),
                state.answered(),
            )
        };
        self.inner.tell(changes, problems, answered);
    }
}

/// Events that wait for the table; more than that at once means reading all of the store again.
fn event_queue() -> QueueOptions {
    QueueOptions::local().policy(OverflowPolicy::Disconnect)
}

/// Whatever the queue of events holds is fewer than that.
const ALL_EVENTS: usize = 16_384;

/// Events, answers or writes handled under one lock.
const BATCH: usize = 128;

/// Writes on their way to the master at a time; the others wait in the table, so that a store does not refuse them.
const MAX_IN_FLIGHT: usize = 1024;

/// Entries read at a time.
const PAGE: usize = 512;

/// How long a table is without content before it says so.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// How often a table whose store has no content looks whether the store is closed.
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_secs(1);
