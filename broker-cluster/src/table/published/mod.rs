//! Tables whose changes are published as they happen: Zeek's `&publish_on_change` (reference, zeek-cluster 2.8).
//!
//! | file | what it holds |
//! |---|---|
//! | `batch` | when changes go out together |
//! | `state` | the content, own writes, and what others published |
//! | `wire` | the events, in Zeek's shape |
//! | `builder`, `driver` | how a table is opened, and its task |

mod batch;
mod builder;
mod driver;
mod state;
mod wire;

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant as StdInstant};

use broker_core::zeek::Event;
use broker_core::{
    Data, Endpoint, EndpointId, FromData, Message, OverflowPolicy, QueueOptions, RateLimit,
    Timestamp, ToData, Topic,
};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::DropGuard;

pub use self::builder::PublishedTableBuilder;
pub use self::wire::{CHANGE_EVENT, ChangeHeader, ChangeInfo, ChangeKind};

use self::state::{Batch, PublishedState};
use super::change::{Listeners, TableChanges};
use super::error::TableError;
use super::state::store_key;
use crate::events::ClusterEvent;
use crate::topics;

/// A map of this node's own whose changes are published, and that takes up what other nodes publish of theirs: Zeek's
/// tables with `&publish_on_change`.
///
/// Nobody keeps such a table: it is not on disk, a node that comes late gets what [`publish_table`](Self::publish_table)
/// sends it, and each copy is what its node wrote and heard, in that order. So two nodes that write one element at once may
/// end with different values, and what a slow peer's queue drops is missing there. Use it where that does no harm, such as
/// to tell what was seen already; else take a [`BrokerTable`](super::BrokerTable).
///
/// Cloning is cheap and gives another handle; the table ends with the last one.
pub struct PublishedTable<K, V> {
    inner: Arc<Inner<K, V>>,
    _alive: Arc<DropGuard>,
}

impl<K, V> Clone for PublishedTable<K, V> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            _alive: Arc::clone(&self._alive),
        }
    }
}

/// What became of the changes of a published table on this node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PublishedCounters {
    /// Changes of this node that were published.
    pub published: u64,
    /// Changes that the endpoint did not take: it shuts down, or they are too large for a message.
    pub unpublished: u64,
    /// Changes of others that were applied.
    pub applied: u64,
    /// Changes of others that were not: they do not fit the table's types, it is full, or the policy said no.
    pub skipped: u64,
}

struct Inner<K, V> {
    name: String,
    endpoint: Endpoint,
    /// Workers do not see each other: the manager publishes for them.
    forwards: bool,
    state: RwLock<PublishedState<K, V>>,
    /// Held while changes or all elements are taken from the state and published, so that they go out in order.
    publishing: Mutex<()>,
    wake: Notify,
    listeners: Listeners<K, V>,
    counters: Counters,
    complaints: Mutex<RateLimit>,
}

#[derive(Default)]
struct Counters {
    published: AtomicU64,
    unpublished: AtomicU64,
    applied: AtomicU64,
    skipped: AtomicU64,
}

impl<K, V> Inner<K, V> {
    fn read(&self) -> RwLockReadGuard<'_, PublishedState<K, V>> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, PublishedState<K, V>> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn one_at_a_time(&self) -> MutexGuard<'_, ()> {
        self.publishing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn complain(&self, what: &str) {
        let mut complaints = self
            .complaints
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(suppressed) = complaints.check(StdInstant::now()) {
            tracing::warn!(table = self.name, suppressed, "{what}");
        }
    }

    /// Publishes one batch. Never waits; a full queue does what its policy says.
    fn publish(&self, ts: Timestamp, topic: Topic, infos: Vec<Data>) {
        let count = infos.len() as u64;
        let header = ChangeHeader {
            id: self.name.clone(),
            ts,
            node_id: self.endpoint.id().to_string(),
        };
        let (header, changes) = (header.to_data(), Data::Vector(infos));
        let message = if self.forwards {
            let event = ClusterEvent::ForwardChanges {
                header,
                changes,
                topic,
            };
            Message::new(Topic::from_static(topics::MANAGER), event.to_event())
        } else {
            Message::new(topic, Event::new(CHANGE_EVENT, vec![header, changes]))
        };
        let counter = match self.endpoint.try_publish(&message) {
            Ok(_) => &self.counters.published,
            Err(error) => {
                self.complain(&format!("{count} changes not published: {error}"));
                &self.counters.unpublished
            }
        };
        counter.fetch_add(count, Ordering::Relaxed);
    }
}

impl<K, V> Inner<K, V>
where
    K: ToData + FromData + Clone,
    V: ToData + FromData + Clone,
{
    /// Publishes what is to go out.
    fn publish_outgoing(&self) {
        let _one_at_a_time = self.one_at_a_time();
        let batches: Vec<Batch> = self.write().take_outgoing();
        for (topic, infos) in batches {
            self.publish(Timestamp::now(), topic, infos);
        }
    }
}

impl<K, V> PublishedTable<K, V>
where
    K: ToData + FromData + Clone + Send + Sync + 'static,
    V: ToData + FromData + Clone + Send + Sync + 'static,
{
    /// Sets up the table that is called `name` in Zeek on an endpoint without a cluster. A node of a cluster has
    /// [`ClusterNode::published_table`](crate::ClusterNode::published_table) for it.
    pub fn builder(endpoint: &Endpoint, name: impl Into<String>) -> PublishedTableBuilder<K, V> {
        PublishedTableBuilder::new(endpoint.unowned(), name.into(), Default::default(), false)
    }

    /// The value at a key.
    pub fn get<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: ToData + ?Sized,
    {
        let key = store_key(key).ok()?;
        self.inner.read().get(&key).cloned()
    }

    /// Whether there is an element at a key.
    pub fn contains<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: ToData + ?Sized,
    {
        store_key(key).is_ok_and(|key| self.inner.read().get(&key).is_some())
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

    /// The elements in a map of their own, read in pages of 256 between which others may write.
    #[must_use]
    pub fn snapshot(&self) -> BTreeMap<K, V>
    where
        K: Ord,
    {
        let mut all = BTreeMap::new();
        let mut after = None;
        loop {
            let (page, last) = self.inner.read().page(after.as_ref(), PAGE);
            all.extend(page);
            match last {
                Some(last) => after = Some(last),
                None => return all,
            }
        }
    }

    /// Assigns an element, which is published as new or changed, and returns what was there.
    ///
    /// # Errors
    /// The table is full, or the key or value cannot be in a table; nothing is changed.
    pub fn insert(&self, key: K, value: V) -> Result<Option<V>, TableError> {
        if value.to_data() == Data::None && !super::set::is_member::<V>() {
            return Err(TableError::NoValue);
        }
        let data = store_key(&key)?;
        let previous = self.inner.write().insert(now(), key, data, value)?;
        self.written();
        Ok(previous)
    }

    /// Removes an element, which is published, and returns what was there.
    pub fn remove<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: ToData + ?Sized,
    {
        let key = store_key(key).ok()?;
        let removed = self.inner.write().remove(now(), &key)?;
        self.written();
        Some(removed)
    }

    /// Publishes what waits for its batch to become full or its delay to pass.
    pub fn flush(&self) {
        self.inner.write().flush(Instant::now());
        self.inner.publish_outgoing();
    }

    /// Sends all elements to `topic` as new ones, for a node that has none yet, 10 000 at a time; the lives of elements begin
    /// anew there. Its own nodeid topic is one that every node with the table hears. Writers wait meanwhile. Returns how many
    /// elements were sent.
    pub fn publish_table(&self, topic: &Topic) -> usize {
        let ts = Timestamp::now();
        // What is written meanwhile goes out behind it, or it would be undone by what was read before.
        let _one_at_a_time = self.inner.one_at_a_time();
        let batches = self.inner.read().batches(ts, WHOLE_TABLE_BATCH);
        let count = batches.iter().map(Vec::len).sum();
        for infos in batches {
            self.inner.publish(ts, topic.clone(), infos);
        }
        count
    }

    /// [`publish_table`](Self::publish_table) to one process, such as one that [came up](crate::NodeEvent::Up).
    pub fn publish_table_to(&self, id: EndpointId) -> usize {
        self.publish_table(&topics::nodeid_topic(id))
    }

    /// What others changed and what expired here, from now on; own writes are left out. If changes are not taken in time
    /// the oldest are dropped; the stream counts them.
    pub fn changes(&self) -> TableChanges<K, V> {
        let oldest = OverflowPolicy::DropOldest;
        self.inner
            .listeners
            .listen(QueueOptions::local().policy(oldest))
    }

    /// What became of changes on this node.
    #[must_use]
    pub fn counters(&self) -> PublishedCounters {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.inner.counters;
        PublishedCounters {
            published: of(&counters.published),
            unpublished: of(&counters.unpublished),
            applied: of(&counters.applied),
            skipped: of(&counters.skipped),
        }
    }

    fn written(&self) {
        self.inner.publish_outgoing();
        // The task may have to wake up sooner than it thought.
        self.inner.wake.notify_one();
    }
}

impl<K, V> fmt::Debug for PublishedTable<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublishedTable")
            .field("name", &self.inner.name)
            .finish_non_exhaustive()
    }
}

fn now() -> (Instant, Timestamp) {
    (Instant::now(), Timestamp::now())
}

/// Elements read under one lock.
const PAGE: usize = 256;

/// Elements in one event of a whole table, as Zeek sends it.
const WHOLE_TABLE_BATCH: usize = 10_000;

/// Complaints in ten seconds.
const COMPLAINTS: RateLimit = RateLimit::new(10, Duration::from_secs(10));
