//! The tables of a node of a cluster: which the manager has the masters of, and which it announced to the others.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use broker_core::{BoxFuture, Endpoint};
use broker_store::{CloneOptions, StoreExt};
use tokio::time::Instant;

use super::{STORE_PREFIX, is_table_name, store_name};

/// A table whose writes can be waited for.
pub(super) trait Flush: Send + Sync {
    fn flush(&self, limit: Duration) -> BoxFuture<'_, bool>;
}

/// Is told of a store that was made: whether it is a master, and its name.
type Created = dyn Fn(bool, &str) + Send + Sync;

/// What a node knows of tables.
pub(crate) struct Tables {
    dir: PathBuf,
    created: Box<Created>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// Those whose master is here.
    masters: BTreeSet<String>,
    /// Those that were announced.
    announced: BTreeSet<String>,
    open: Vec<Weak<dyn Flush>>,
}

impl Tables {
    /// `dir` is where the files of tables are unless said otherwise; `masters` are the tables that have their master here
    /// from the start on. `created` is told of each store that is made later: whether it is a master, and its name.
    pub(crate) fn new(
        dir: PathBuf,
        masters: impl IntoIterator<Item = String>,
        created: impl Fn(bool, &str) + Send + Sync + 'static,
    ) -> Self {
        Self {
            dir,
            created: Box::new(created),
            known: Mutex::new(Known {
                masters: masters.into_iter().collect(),
                ..Known::default()
            }),
        }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// What the manager announces: the names of the tables, without what Zeek puts in front of the stores.
    pub(crate) fn masters(&self) -> Vec<String> {
        self.lock().masters.iter().cloned().collect()
    }

    /// A master is here now. `false`: it was already.
    pub(super) fn add_master(&self, name: &str) -> bool {
        self.lock().masters.insert(name.to_owned())
    }

    pub(super) fn opened(&self, table: Weak<dyn Flush>) {
        let mut known = self.lock();
        known.open.retain(|table| table.strong_count() > 0);
        known.open.push(table);
    }

    /// Waits until the writes of all tables are answered, at most `limit` in all. `false`: some are not.
    pub(crate) async fn flush(&self, limit: Duration) -> bool {
        let open: Vec<Arc<dyn Flush>> = {
            let known = self.lock();
            known.open.iter().filter_map(Weak::upgrade).collect()
        };
        let until = Instant::now() + limit;
        let mut all = true;
        for table in open {
            let left = until.saturating_duration_since(Instant::now());
            all &= table.flush(left).await;
        }
        all
    }

    /// Makes clones of the tables that a manager announced: ours, or one of Zeek, which names the tables and leaves
    /// the prefix of stores to the receiver.
    pub(crate) async fn announced(&self, endpoint: &Endpoint, names: Vec<String>) {
        for name in names {
            let name = name.strip_prefix(STORE_PREFIX).unwrap_or(&name);
            if !is_table_name(name) {
                tracing::warn!(
                    table = name,
                    "a table of that name was announced; no clone is made"
                );
                continue;
            }
            {
                let mut known = self.lock();
                if known.announced.contains(name) {
                    continue;
                }
                if known.announced.len() >= MAX_ANNOUNCED {
                    tracing::warn!(
                        table = name,
                        "more than {MAX_ANNOUNCED} tables were announced; no clone is made"
                    );
                    return;
                }
                known.announced.insert(name.to_owned());
            }
            let store = store_name(name);
            if endpoint.store(&store).is_some() {
                continue;
            }
            match endpoint.attach_clone(&store, clone_options()).await {
                Ok(_) => self.created(false, &store),
                Err(error) => {
                    tracing::warn!(table = name, %error, "cannot make a clone of an announced table");
                }
            }
        }
    }

    /// A store of a table is here now.
    pub(super) fn created(&self, is_master: bool, store: &str) {
        (self.created)(is_master, store);
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How the clone behind a table is attached: a write is answered by what became of it, not by a lapse of time before.
pub(crate) fn clone_options() -> CloneOptions {
    CloneOptions::default()
        .mutation_buffer(KEEP_WRITES)
        .request_timeout(KEEP_WRITES + Duration::from_secs(30))
        .stale_interval(None)
}

/// How long a write waits for a master; Zeek documents the same.
const KEEP_WRITES: Duration = Duration::from_secs(120);

/// Tables that a node makes clones of on somebody's word.
const MAX_ANNOUNCED: usize = 1024;
