//! Loading by single writes: many under way at once, but never two of one key, so that the last line of a key counts.

use std::collections::HashSet;

use anyhow::Context as _;
use broker_core::{Data, StoreEntry, StoreOperation, StoreReply};
use broker_wire::Loaded;
use tokio::task::JoinSet;

use super::Remote;
use super::load::what;

/// Writes under way.
pub(super) struct OneByOne<'a> {
    remote: &'a Remote,
    keep: bool,
    writes: JoinSet<Write>,
    keys: HashSet<Data>,
    loaded: Loaded,
}

/// A write that is done; one without a line erases.
struct Write {
    line: Option<u64>,
    key: Data,
    result: anyhow::Result<StoreReply>,
}

impl<'a> OneByOne<'a> {
    /// With `keep`, what is there stays.
    pub(super) fn new(remote: &'a Remote, keep: bool) -> Self {
        Self {
            remote,
            keep,
            writes: JoinSet::new(),
            keys: HashSet::new(),
            loaded: Loaded::default(),
        }
    }

    pub(super) async fn put(&mut self, line: u64, entry: StoreEntry) -> anyhow::Result<()> {
        let StoreEntry {
            key,
            value,
            expires_in: expiry,
        } = entry;
        let write = key.clone();
        let operation = if self.keep {
            StoreOperation::PutUnique { key, value, expiry }
        } else {
            StoreOperation::Put { key, value, expiry }
        };
        self.begin(Some(line), write, operation).await
    }

    pub(super) async fn erase(&mut self, key: Data) -> anyhow::Result<()> {
        self.begin(None, key.clone(), StoreOperation::Erase(key))
            .await
    }

    pub(super) const fn loaded(&self) -> Loaded {
        self.loaded
    }

    pub(super) async fn finish(&mut self) -> anyhow::Result<Loaded> {
        while !self.writes.is_empty() {
            self.finish_one().await?;
        }
        Ok(self.loaded)
    }

    async fn begin(
        &mut self,
        line: Option<u64>,
        key: Data,
        operation: StoreOperation,
    ) -> anyhow::Result<()> {
        while self.writes.len() >= WRITES_AHEAD || self.keys.contains(&key) {
            self.finish_one().await?;
        }
        self.keys.insert(key.clone());
        let door = self.remote.door.clone();
        self.writes.spawn(async move {
            let result = door.execute(operation).await;
            Write { line, key, result }
        });
        Ok(())
    }

    async fn finish_one(&mut self) -> anyhow::Result<()> {
        let Some(done) = self.writes.join_next().await else {
            return Ok(());
        };
        let Write { line, key, result } = done.context("a write ended early")?;
        self.keys.remove(&key);
        let reply = result.with_context(|| what(line, &key))?;
        match (line, reply) {
            (None, _) => self.loaded.erased += 1,
            (Some(_), StoreReply::Value(Data::Boolean(false))) => self.loaded.kept += 1,
            (Some(_), _) => self.loaded.stored += 1,
        }
        Ok(())
    }
}

/// Writes under way at once; those that arrive together at a master are one transaction.
const WRITES_AHEAD: usize = 128;
