//! The handle of a table: what programs read and write.

use std::borrow::Borrow;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant as StdInstant};

use broker_core::{Data, Endpoint, FromData, QueueOptions, RateLimit, ToData};
use broker_store::Store;
use tokio::sync::{Notify, broadcast, mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::DropGuard;

use super::builder::TableBuilder;
use super::change::{Listeners, TableChange, TableChanges};
use super::error::{TableError, TableProblem};
use super::state::{TableState, store_key};

/// A map that all nodes of a cluster share, as a global with `&backend` in Zeek: reads and writes are those of an ordinary
/// map, at once and without `await`, and a store keeps the copies of the nodes equal. The module's documentation says what
/// is promised.
///
/// Cloning is cheap and gives another handle to the same table. When the last one is dropped, writes made before still go
/// to the store, and the table ends; the store lives until its node shuts down.
pub struct BrokerTable<K, V> {
    inner: Arc<Inner<K, V>>,
    store: Store,
    asks: mpsc::Sender<oneshot::Sender<()>>,
    _alive: Arc<DropGuard>,
}

impl<K, V> Clone for BrokerTable<K, V> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            store: self.store.clone(),
            asks: self.asks.clone(),
            _alive: Arc::clone(&self._alive),
        }
    }
}

/// What handles and the table's task share.
pub(super) struct Inner<K, V> {
    state: RwLock<TableState<K, V>>,
    /// There are writes to hand over.
    pub(super) wake: Notify,
    /// Whether the content has come for the first time.
    pub(super) synced: watch::Sender<bool>,
    /// Every write up to this number is answered.
    answered: watch::Sender<u64>,
    listeners: Listeners<K, V>,
    problems: broadcast::Sender<TableProblem>,
    counters: Counters,
    complaints: Mutex<RateLimit>,
    name: String,
}

#[derive(Default)]
struct Counters {
    failed: AtomicU64,
    skipped: AtomicU64,
    refused: AtomicU64,
}

/// What has become of the writes of a table on this node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableCounters {
    /// Writes taken.
    pub written: u64,
    /// Writes that wait for the master.
    pub waiting: u64,
    /// Writes that were taken and failed later.
    pub failed: u64,
    /// Writes that were not taken, since too many wait.
    pub refused: u64,
    /// Elements of the store that are not of the table's types.
    pub skipped: u64,
}

impl<K, V> Inner<K, V> {
    pub(super) fn new(name: String, state: TableState<K, V>, listeners: Listeners<K, V>) -> Self {
        Self {
            state: RwLock::new(state),
            wake: Notify::new(),
            synced: watch::Sender::new(false),
            answered: watch::Sender::new(0),
            listeners,
            problems: broadcast::Sender::new(PROBLEMS),
            counters: Counters::default(),
            complaints: Mutex::new(RateLimit::new(10, Duration::from_secs(10))),
            name,
        }
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, TableState<K, V>> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, TableState<K, V>> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells what has happened; no lock of the state may be held.
    pub(super) fn tell(
        &self,
        changes: Vec<TableChange<K, V>>,
        problems: Vec<TableProblem>,
        answered: u64,
    ) {
        self.listeners.tell(changes);
        for problem in problems {
            match &problem {
                TableProblem::Write { .. } | TableProblem::Late { .. } => {
                    self.counters.failed.fetch_add(1, Ordering::Relaxed);
                }
                TableProblem::Conversion { .. } => {
                    self.counters.skipped.fetch_add(1, Ordering::Relaxed);
                }
                TableProblem::Reread => {}
            }
            let mut complaints = self
                .complaints
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if let Some(suppressed) = complaints.check(StdInstant::now()) {
                tracing::warn!(table = self.name, suppressed, "{problem}");
            }
            drop(complaints);
            // Nobody may listen.
            let _ = self.problems.send(problem);
        }
        self.answered
            .send_if_modified(|before| std::mem::replace(before, answered) != answered);
    }

    pub(super) fn close(&self) {
        self.listeners.close();
    }
}

impl<K, V> Inner<K, V>
where
    K: ToData + FromData + Clone,
    V: ToData + FromData + Clone,
{
    /// Waits until every write made before is answered. `false`: not within `limit`.
    pub(super) async fn flush_writes(&self, limit: Duration) -> bool {
        let submitted = self.read().submitted();
        let mut answered = self.answered.subscribe();
        let done = answered.wait_for(|answered| *answered >= submitted);
        matches!(timeout(limit, done).await, Ok(Ok(_)))
    }
}

impl<K, V> BrokerTable<K, V>
where
    K: ToData + FromData + Clone + Send + Sync + 'static,
    V: ToData + FromData + Clone + Send + Sync + 'static,
{
    /// Sets up the table that is called `name` in Zeek, such as `Hosts::seen`, on an endpoint without a cluster. A node of a
    /// cluster has [`ClusterNode::table`](crate::ClusterNode::table) for it.
    pub fn builder(endpoint: &Endpoint, name: impl Into<String>) -> TableBuilder<K, V> {
        TableBuilder::on_endpoint(endpoint.unowned(), name.into())
    }

    pub(super) fn new(
        inner: Arc<Inner<K, V>>,
        store: Store,
        asks: mpsc::Sender<oneshot::Sender<()>>,
        alive: DropGuard,
    ) -> Self {
        Self {
            inner,
            store,
            asks,
            _alive: Arc::new(alive),
        }
    }

    /// The store behind the table. What is written there directly is, for the table, a change of somebody else.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    // --- reading ---------------------------------------------------------------------------------

    /// The value at a key.
    pub fn get<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: ToData + ?Sized,
    {
        self.with(key, V::clone)
    }

    /// What `read` makes of the value at a key. Writers of this table wait meanwhile, so `read` should be quick; it must not
    /// use the table.
    pub fn with<Q, R>(&self, key: &Q, read: impl FnOnce(&V) -> R) -> Option<R>
    where
        K: Borrow<Q>,
        Q: ToData + ?Sized,
    {
        // What cannot be a key is in no table.
        let key = store_key(key).ok()?;
        self.inner.read().get(&key).map(read)
    }

    /// Whether there is an element at a key.
    pub fn contains<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: ToData + ?Sized,
    {
        self.with(key, |_| ()).is_some()
    }

    /// How many elements there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.read().len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements in the order of their keys as data, each as it is when the iterator comes to its page of 256. No lock is
    /// held between pages: the table may be read and written meanwhile, and what changes then is seen or not.
    #[must_use]
    pub const fn iter(&self) -> Iter<'_, K, V> {
        Iter {
            table: self,
            page: VecDeque::new(),
            next: Next::First,
        }
    }

    /// The keys, as [`iter`](Self::iter) finds them.
    pub fn keys(&self) -> impl Iterator<Item = K> + '_ {
        self.iter().map(|(key, _)| key)
    }

    /// The values, as [`iter`](Self::iter) finds them.
    pub fn values(&self) -> impl Iterator<Item = V> + '_ {
        self.iter().map(|(_, value)| value)
    }

    /// The elements in a map of their own, as [`iter`](Self::iter) finds them.
    #[must_use]
    pub fn snapshot(&self) -> BTreeMap<K, V>
    where
        K: Ord,
    {
        self.iter().collect()
    }

    // --- writing ---------------------------------------------------------------------------------

    /// Assigns an element and returns what was there. It is seen here at once; the master, and from there all other nodes,
    /// get it in the order of this node's writes.
    ///
    /// # Errors
    /// Nothing is changed: too many writes wait for the master, the key or value cannot be in a table, or the table is
    /// closed.
    pub fn insert(&self, key: K, value: V) -> Result<Option<V>, TableError> {
        let data = self.value_data(&value)?;
        let stored_key = store_key(&key)?;
        let result = self
            .inner
            .write()
            .insert(Instant::now(), key, stored_key, value, data);
        self.written(result)
    }

    /// Assigns what `change` makes of the element at a key, in one step among the writes of this node; `None` removes it.
    /// Returns what is there then. It is no step among the writes of other nodes: where those may count too, use
    /// [`Store::increment`] or [`Store::compare_and_set`]. `change` must not use the table.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    pub fn update(
        &self,
        key: K,
        change: impl FnOnce(Option<&V>) -> Option<V>,
    ) -> Result<Option<V>, TableError> {
        let stored_key = store_key(&key)?;
        let mut state = self.inner.write();
        let value = change(state.get(&stored_key));
        let result = match &value {
            Some(value) => match self.value_data(value) {
                Ok(data) => state
                    .insert(Instant::now(), key, stored_key, value.clone(), data)
                    .map(drop),
                Err(error) => Err(error),
            },
            None => state.remove(stored_key).map(drop),
        };
        drop(state);
        self.written(result)?;
        Ok(value)
    }

    /// Removes an element and returns what was there.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    pub fn remove<Q>(&self, key: &Q) -> Result<Option<V>, TableError>
    where
        K: Borrow<Q>,
        Q: ToData + ?Sized,
    {
        let Ok(key) = store_key(key) else {
            return Ok(None);
        };
        let result = self.inner.write().remove(key);
        self.written(result)
    }

    /// Removes all elements, here and in the store; unlike Zeek's `clear_table`, which clears its own copy only.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    pub fn clear(&self) -> Result<(), TableError> {
        let result = self.inner.write().clear();
        self.written(result)
    }

    fn value_data(&self, value: &V) -> Result<Data, TableError> {
        match value.to_data() {
            Data::None if !super::set::is_member::<V>() => Err(TableError::NoValue),
            data => Ok(data),
        }
    }

    fn written<T>(&self, result: Result<T, TableError>) -> Result<T, TableError> {
        match &result {
            Ok(_) => self.inner.wake.notify_one(),
            Err(TableError::Full { .. }) => {
                self.inner.counters.refused.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) => {}
        }
        result
    }

    // --- waiting and watching --------------------------------------------------------------------

    /// Waits until every write made here before is answered by the master, which holds it as durably as its backend does, or
    /// has failed, which [`problems`](Self::problems) tells. `false`: not within `limit`.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn flush(&self, limit: Duration) -> bool {
        self.inner.flush_writes(limit).await
    }

    /// Waits until the content of the store has come for the first time: at the master it has when the table is open, on
    /// other nodes once the master is found. `false`: not within `limit`.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn synced(&self, limit: Duration) -> bool {
        let mut synced = self.inner.synced.subscribe();
        matches!(
            timeout(limit, synced.wait_for(|synced| *synced)).await,
            Ok(Ok(_))
        )
    }

    /// Waits until this table has all that the master had applied when it was asked, own writes included.
    ///
    /// # Errors
    /// Not within `limit`, or the store is closed.
    pub async fn sync(&self, limit: Duration) -> Result<(), TableError> {
        let begun = Instant::now();
        let left = || limit.saturating_sub(begun.elapsed());
        if !self.flush(limit).await || !self.synced(left()).await {
            return Err(broker_store::StoreError::TimedOut(limit).into());
        }
        self.store.sync(left()).await?;
        let (ask, asked) = oneshot::channel();
        self.asks.send(ask).await.map_err(|_| TableError::Closed)?;
        asked.await.map_err(|_| TableError::Closed)
    }

    /// The changes that are no writes of this handle or its clones, from now on, in the order in which the elements changed
    /// here. If they are not taken in time the oldest are dropped; the stream counts them.
    pub fn changes(&self) -> TableChanges<K, V> {
        let oldest = broker_core::OverflowPolicy::DropOldest;
        self.changes_with(QueueOptions::local().policy(oldest))
    }

    /// The same in a queue of one's own choice. The table never waits for it.
    pub fn changes_with(&self, queue: QueueOptions) -> TableChanges<K, V> {
        self.inner.listeners.listen(queue)
    }

    /// What goes wrong from now on. A listener that lags far behind misses the oldest; [`counters`](Self::counters) count
    /// them all.
    #[must_use]
    pub fn problems(&self) -> broadcast::Receiver<TableProblem> {
        self.inner.problems.subscribe()
    }

    /// What has become of the writes of this node.
    #[must_use]
    pub fn counters(&self) -> TableCounters {
        let (written, waiting) = {
            let state = self.inner.read();
            (state.submitted(), state.waiting() as u64)
        };
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.inner.counters;
        TableCounters {
            written,
            waiting,
            failed: of(&counters.failed),
            refused: of(&counters.refused),
            skipped: of(&counters.skipped),
        }
    }
}

impl<K, V> fmt::Debug for BrokerTable<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrokerTable")
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

/// The elements of a table, page by page.
#[derive(Debug)]
pub struct Iter<'t, K, V> {
    table: &'t BrokerTable<K, V>,
    page: VecDeque<(K, V)>,
    next: Next,
}

#[derive(Debug)]
enum Next {
    First,
    After(Data),
    End,
}

impl<K, V> Iterator for Iter<'_, K, V>
where
    K: ToData + FromData + Clone,
    V: ToData + FromData + Clone,
{
    type Item = (K, V);

    fn next(&mut self) -> Option<(K, V)> {
        loop {
            if let Some(element) = self.page.pop_front() {
                return Some(element);
            }
            let after = match &self.next {
                Next::First => None,
                Next::After(key) => Some(key),
                Next::End => return None,
            };
            let (page, last) = self.table.inner.read().page(after, PAGE);
            self.page = page.into();
            self.next = last.map_or(Next::End, Next::After);
        }
    }
}

impl<'t, K, V> IntoIterator for &'t BrokerTable<K, V>
where
    K: ToData + FromData + Clone + Send + Sync + 'static,
    V: ToData + FromData + Clone + Send + Sync + 'static,
{
    type Item = (K, V);
    type IntoIter = Iter<'t, K, V>;

    fn into_iter(self) -> Iter<'t, K, V> {
        self.iter()
    }
}

/// Elements read under one lock.
const PAGE: usize = 256;

/// Problems a listener may lag behind before it misses some.
const PROBLEMS: usize = 1024;
