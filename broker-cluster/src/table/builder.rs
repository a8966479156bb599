//! How a table is opened.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use broker_core::{BoxFuture, Endpoint, FromData, Message, ToData};
use broker_store::{AttachError, MasterOptions, Role as StoreRole, Store, StoreExt, open_backend};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::announce::{Flush, Tables, clone_options};
use super::change::{Listeners, OnChange, TableChange};
use super::driver::Driver;
use super::error::TableError;
use super::handle::{BrokerTable, Inner};
use super::set::{BrokerSet, Member};
use super::state::{Bounds, Expiry, TableState};
use super::{is_table_name, store_name};
use crate::events::ClusterEvent;
use crate::topics;

/// What the master of a table keeps it in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TableBackend {
    /// Memory: it is gone when the manager ends.
    #[default]
    Memory,
    /// A SQLite file, `___sync_store_NAME.sqlite` in the directory of tables: it comes back with the manager.
    Sqlite,
}

/// Sets up a table; see [`BrokerTable::builder`] and [`ClusterNode::table`](crate::ClusterNode::table).
#[must_use = "the table is there once open() is called"]
pub struct TableBuilder<K, V> {
    endpoint: Endpoint,
    name: String,
    /// On a node of a cluster.
    tables: Option<Arc<Tables>>,
    is_master: bool,
    store: Option<String>,
    backend: TableBackend,
    dir: Option<PathBuf>,
    expiry: Expiry,
    read_expire: bool,
    bounds: Bounds,
    on_change: Option<OnChange<K, V>>,
}

impl<K, V> TableBuilder<K, V>
where
    K: ToData + FromData + Clone + Send + Sync + 'static,
    V: ToData + FromData + Clone + Send + Sync + 'static,
{
    pub(super) fn on_endpoint(endpoint: Endpoint, name: String) -> Self {
        Self {
            endpoint,
            name,
            tables: None,
            is_master: true,
            store: None,
            backend: TableBackend::Memory,
            dir: None,
            expiry: Expiry::Never,
            read_expire: false,
            bounds: Bounds {
                writes: MAX_WRITES,
                bytes: MAX_BYTES,
            },
            on_change: None,
        }
    }

    pub(crate) fn on_node(
        endpoint: Endpoint,
        name: String,
        tables: Arc<Tables>,
        is_master: bool,
    ) -> Self {
        Self {
            tables: Some(tables),
            is_master,
            ..Self::on_endpoint(endpoint, name)
        }
    }

    /// What the master keeps the table in; default memory. Nodes without the master ignore it, and so does the manager
    /// for a table that the layout names.
    pub const fn backend(mut self, backend: TableBackend) -> Self {
        self.backend = backend;
        self
    }

    /// The directory of the file; default that of the layout (`table_dir`), or else where the program runs.
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// Whether this endpoint has the master of the table; default yes. In a cluster the manager has it, whatever is said
    /// here. With a master on two nodes that see each other the second does not open.
    pub const fn master(mut self, master: bool) -> Self {
        if self.tables.is_none() {
            self.is_master = master;
        }
        self
    }

    /// The store that keeps the table, by name, as Zeek's `&broker_store`; default `___sync_store_` and the table's name.
    /// Such a store is not announced: every node has to attach it.
    pub fn store(mut self, name: impl Into<String>) -> Self {
        self.store = Some(name.into());
        self
    }

    /// Elements vanish so long after they were written last; default never. Nodes that write the table should agree on it:
    /// what counts is what the last writer of an element says.
    pub const fn write_expire(mut self, life: Duration) -> Self {
        self.expiry = Expiry::Write(life);
        self
    }

    /// Elements vanish so long after they came into the table, whatever is written to them then; default never.
    pub const fn create_expire(mut self, life: Duration) -> Self {
        self.expiry = Expiry::Create(life);
        self
    }

    /// Refused by [`open`](Self::open), as Zeek refuses it: reads are local, so that nobody else would hear of them.
    pub const fn read_expire(mut self, _life: Duration) -> Self {
        self.read_expire = true;
        self
    }

    /// How many writes may wait for the master; default 65 536. A write beyond is refused. More hides a longer absence of the
    /// master and costs memory; with a handful every burst is refused.
    pub const fn max_waiting(mut self, writes: NonZeroUsize) -> Self {
        self.bounds.writes = writes.get();
        self
    }

    /// How many bytes of keys and values may wait for the master; default 64 MiB. A single write always may.
    pub const fn max_waiting_bytes(mut self, bytes: NonZeroUsize) -> Self {
        self.bounds.bytes = bytes.get();
        self
    }

    /// Is called for each change that is no write of this table on this node, one at a time and in order, by the table's
    /// task: it may use the table, and should not take long, since changes wait for it. Called for what comes after
    /// [`open`](Self::open) has read what was there, as in Zeek. A panic is logged; the table goes on.
    pub fn on_change(
        mut self,
        callback: impl Fn(&TableChange<K, V>) + Send + Sync + 'static,
    ) -> Self {
        self.on_change = Some(Box::new(callback));
        self
    }

    /// Opens the table: attaches its store, unless the node has it already, and reads what it has. At the master everything
    /// is there then, from the file too; elsewhere it comes once the master is found, which is not waited for
    /// ([`BrokerTable::synced`] does).
    ///
    /// # Errors
    /// The name, `read_expire`, the storage, the store, or an entry at the master that is of another type.
    ///
    /// # Cancel safety
    /// If the future is dropped, the store may be attached; the table is not open.
    pub async fn open(mut self) -> Result<BrokerTable<K, V>, TableError> {
        if !is_table_name(&self.name) {
            return Err(TableError::Name { name: self.name });
        }
        if self.read_expire {
            return Err(TableError::ReadExpire);
        }
        let store = self.attach().await?;
        let state = TableState::new(self.expiry, self.bounds);
        let listeners = Listeners::new(self.on_change.take());
        let inner = Arc::new(Inner::new(self.name.clone(), state, listeners));
        let (asks, asked) = mpsc::channel(ASKS);
        let dropped = CancellationToken::new();
        let alive = dropped.clone().drop_guard();
        let strict = store.role() == StoreRole::Master;
        let driver = Driver::open(
            Arc::clone(&inner),
            store.clone(),
            self.endpoint.unowned(),
            asked,
            dropped,
            strict,
        );
        let driver = driver.await?;
        self.endpoint.spawn(driver.run());
        if let Some(tables) = &self.tables {
            let flush: Arc<dyn Flush> = inner.clone();
            tables.opened(Arc::downgrade(&flush));
        }
        Ok(BrokerTable::new(inner, store, asks, alive))
    }

    async fn attach(&self) -> Result<Store, TableError> {
        let store = self.store.clone().unwrap_or_else(|| store_name(&self.name));
        if let Some(store) = self.endpoint.store(&store) {
            return Ok(store);
        }
        if !self.is_master {
            let attached = self.endpoint.attach_clone(&store, clone_options()).await?;
            self.created(false, &store);
            return Ok(attached);
        }
        let backend = match self.backend {
            TableBackend::Memory => open_backend("memory", &[])?,
            TableBackend::Sqlite => {
                let dir = self.dir.clone().or_else(|| {
                    let tables = self.tables.as_ref()?;
                    Some(tables.dir().to_owned())
                });
                let path = dir.unwrap_or_default().join(format!("{store}.sqlite"));
                let path = path.to_string_lossy().into_owned();
                let open = move || open_backend("sqlite", &[("path", path.as_str())]);
                let opened = tokio::task::spawn_blocking(open).await;
                opened.map_err(TableError::Runtime)??
            }
        };
        let attached = self
            .endpoint
            .attach_master(&store, backend, MasterOptions::default())
            .await?;
        self.created(true, &store);
        if self.store.is_none()
            && let Some(tables) = &self.tables
            && tables.add_master(&self.name)
        {
            self.announce().await?;
        }
        Ok(attached)
    }

    fn created(&self, is_master: bool, store: &str) {
        if let Some(tables) = &self.tables {
            tables.created(is_master, store);
        }
    }

    /// Tells the peers that are there already; those that come later are told with the others.
    async fn announce(&self) -> Result<(), TableError> {
        let event = ClusterEvent::Masters {
            names: vec![self.name.clone()],
        };
        let event = event.to_event();
        for peer in self.endpoint.peers() {
            let message = Message::new(topics::nodeid_topic(peer.id), event.clone());
            if self.endpoint.publish(message).await.is_err() {
                // Only a node that shuts down does not take it.
                return Err(AttachError::Closed.into());
            }
        }
        Ok(())
    }
}

impl<K> TableBuilder<K, Member>
where
    K: ToData + FromData + Clone + Send + Sync + 'static,
{
    /// Opens the table as a set.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn open_set(self) -> Result<BrokerSet<K>, TableError> {
        self.open().await.map(BrokerSet::from)
    }
}

impl<K, V> std::fmt::Debug for TableBuilder<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TableBuilder")
            .field("name", &self.name)
            .field("master", &self.is_master)
            .field("backend", &self.backend)
            .field("expiry", &self.expiry)
            .finish_non_exhaustive()
    }
}

impl<K, V> Flush for Inner<K, V>
where
    K: ToData + FromData + Clone + Send + Sync + 'static,
    V: ToData + FromData + Clone + Send + Sync + 'static,
{
    fn flush(&self, limit: Duration) -> BoxFuture<'_, bool> {
        Box::pin(self.flush_writes(limit))
    }
}

/// Writes that wait for the master, unless chosen otherwise.
const MAX_WRITES: usize = 65_536;

/// Bytes of keys and values that wait for the master, unless chosen otherwise.
const MAX_BYTES: usize = 64 << 20;

/// Callers of `sync` that wait for the table's task; one beyond waits for room.
const ASKS: usize = 64;
