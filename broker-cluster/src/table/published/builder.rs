//! How a published table is opened.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use broker_core::{Endpoint, Filter, FromData, QueueOptions, ToData, Topic};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::batch::Batching;
use super::driver::Driver;
use super::state::{PublishedState, TopicOf};
use super::wire::{ChangeHeader, ChangeInfo, ChangeKind};
use super::{COMPLAINTS, Counters, Inner, PublishedTable};
use crate::table::change::Listeners;
use crate::table::error::TableError;
use crate::table::is_table_name;
use crate::table::state::Expiry;
use crate::topics;

/// Whether changes of another node are to be applied.
pub(super) type Policy = Box<dyn Fn(&ChangeHeader, &[ChangeInfo]) -> bool + Send + Sync>;

/// Sets up a published table; see [`PublishedTable::builder`] and
/// [`ClusterNode::published_table`](crate::ClusterNode::published_table).
#[must_use = "the table is there once open() is called"]
pub struct PublishedTableBuilder<K, V> {
    endpoint: Endpoint,
    name: String,
    /// What it hears besides its topic.
    heard: Filter,
    forwards: bool,
    changes: BTreeSet<ChangeKind>,
    topic: Option<TopicOf<K>>,
    batching: Batching,
    expiry: Expiry,
    max_elements: usize,
    policy: Option<Policy>,
    types: std::marker::PhantomData<fn() -> V>,
}

impl<K, V> PublishedTableBuilder<K, V>
where
    K: ToData + FromData + Clone + Send + Sync + 'static,
    V: ToData + FromData + Clone + Send + Sync + 'static,
{
    pub(crate) fn new(endpoint: Endpoint, name: String, heard: Filter, forwards: bool) -> Self {
        use ChangeKind::{Changed, Expired, New, Removed};
        Self {
            endpoint,
            name,
            heard,
            forwards,
            changes: [New, Changed, Removed, Expired].into(),
            topic: None,
            batching: Batching::default(),
            expiry: Expiry::Never,
            max_elements: MAX_ELEMENTS,
            policy: None,
            types: std::marker::PhantomData,
        }
    }

    /// Which changes are published; default all four. What others publish is applied whatever it is.
    pub fn changes(mut self, changes: impl IntoIterator<Item = ChangeKind>) -> Self {
        self.changes = changes.into_iter().collect();
        self
    }

    /// Publishes to this topic; default `zeek/table/NAME/`. The table hears its own topic and `zeek/table/NAME/`; other
    /// nodes have to subscribe to it.
    pub fn topic(mut self, topic: Topic) -> Self {
        self.heard.insert(topic.clone());
        self.topic = Some(Box::new(move |_| topic.clone()));
        self
    }

    /// Chooses the topic by the key, for example to reach the one node that needs the element. Called with the table locked:
    /// it must not use it.
    pub fn topic_by(mut self, topic: impl Fn(&K) -> Topic + Send + Sync + 'static) -> Self {
        self.topic = Some(Box::new(topic));
        self
    }

    /// How many changes are published together at most; default 10, 0 is none. More saves messages while much happens.
    pub const fn max_batch_size(mut self, size: usize) -> Self {
        self.batching.size = size;
        self
    }

    /// How long a change waits for others at most, counted from the last publication; default 10 ms, zero is not at all.
    pub const fn max_batch_delay(mut self, delay: Duration) -> Self {
        self.batching.delay = delay;
        self
    }

    /// Elements vanish here so long after they were written last, by this node or by what it heard; default never. Each node
    /// counts on its own.
    pub const fn write_expire(mut self, life: Duration) -> Self {
        self.expiry = Expiry::Write(life);
        self
    }

    /// Elements vanish here so long after they came into the table; default never.
    pub const fn create_expire(mut self, life: Duration) -> Self {
        self.expiry = Expiry::Create(life);
        self
    }

    /// How many elements there are at most; default 1 048 576. Beyond, own writes are refused and those of others
    /// are counted and skipped.
    pub const fn max_elements(mut self, elements: NonZeroUsize) -> Self {
        self.max_elements = elements.get();
        self
    }

    /// Is asked before changes of another node are applied, as Zeek's hook `Cluster::apply_table_change_infos_policy`; `false`
    /// leaves them out, and so does a panic. Called by the table's task, own changes that come back included.
    pub fn policy(
        mut self,
        policy: impl Fn(&ChangeHeader, &[ChangeInfo]) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.policy = Some(Box::new(policy));
        self
    }

    /// Opens the table, empty. It hears what is published from now on.
    ///
    /// # Errors
    /// The name cannot be that of a global in Zeek.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn open(self) -> Result<PublishedTable<K, V>, TableError> {
        if !is_table_name(&self.name) {
            return Err(TableError::Name { name: self.name });
        }
        let own = Topic::new(format!("{}{}/", topics::TABLE_PREFIX, self.name));
        let Ok(own) = own else {
            return Err(TableError::Name { name: self.name });
        };
        let mut heard = self.heard;
        heard.insert(own.clone());
        let topic = self.topic.unwrap_or_else(|| Box::new(move |_| own.clone()));
        let state = PublishedState::new(
            self.expiry,
            self.changes,
            topic,
            self.batching,
            self.max_elements,
        );
        let subscriber = self.endpoint.subscribe(heard, QueueOptions::local());
        let inner = Arc::new(Inner {
            name: self.name,
            endpoint: self.endpoint.clone(),
            forwards: self.forwards,
            state: RwLock::new(state),
            publishing: Mutex::new(()),
            wake: Notify::new(),
            listeners: Listeners::new(None),
            counters: Counters::default(),
            complaints: Mutex::new(COMPLAINTS),
        });
        let dropped = CancellationToken::new();
        let alive = Arc::new(dropped.clone().drop_guard());
        let driver = Driver::new(Arc::clone(&inner), subscriber, self.policy, dropped);
        self.endpoint.spawn(driver.run());
        Ok(PublishedTable {
            inner,
            _alive: alive,
        })
    }
}

impl<K, V> std::fmt::Debug for PublishedTableBuilder<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PublishedTableBuilder")
            .field("name", &self.name)
            .field("changes", &self.changes)
            .finish_non_exhaustive()
    }
}

/// Elements of a table, unless chosen otherwise: others can fill it.
const MAX_ELEMENTS: usize = 1 << 20;
