//! What a clone holds: read by any number of threads without waiting for each other, written by the clone's task.
//!
//! The entries are spread over shards by a keyed hash; a read takes one shard's lock for as long as it takes to copy the
//! value. A walk in key order needs an index that most clones never use: it is built by the first walk and kept from
//! then on.
//!
//! **Invariant:** readers see a snapshot installed as a whole, never half of it.

use std::collections::{BTreeSet, HashMap, hash_map};
use std::hash::{BuildHasher, RandomState};
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use broker_core::{Data, Timestamp};

use crate::backend::{Entry, KeyBytes, decode_key, key_bytes};
use crate::digest::Digest;

/// The entries of a clone.
#[derive(Debug)]
pub(crate) struct Content {
    hasher: RandomState,
    shards: Vec<RwLock<Shard>>,
    index: Mutex<Index>,
}

/// What is known of all shards together.
#[derive(Debug, Default)]
struct Index {
    digest: Digest,
    /// The keys in order, once somebody has asked for them.
    order: Option<BTreeSet<KeyBytes>>,
}

pub(crate) type Shard = HashMap<Data, Entry>;

/// More than readers that run at once on most machines; each costs 48 bytes while empty.
const SHARDS: usize = 16;

impl Content {
    pub(crate) fn new() -> Self {
        let shards = (0..SHARDS).map(|_| RwLock::default()).collect();
        Self {
            hasher: RandomState::new(),
            shards,
            index: Mutex::default(),
        }
    }

    /// Empty content that can take the place of this one.
    pub(crate) fn another(&self) -> Self {
        Self {
            hasher: self.hasher.clone(),
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            index: Mutex::default(),
        }
    }

    /// The digest of the entries.
    pub(crate) fn digest(&self) -> Digest {
        self.index().digest
    }

    pub(crate) fn get(&self, key: &Data) -> Option<Data> {
        self.read(key).get(key).map(|entry| entry.value.clone())
    }

    pub(crate) fn contains(&self, key: &Data) -> bool {
        self.read(key).contains_key(key)
    }

    /// What `read` makes of the value at `key`, without copying the value.
    pub(crate) fn with<R>(&self, key: &Data, read: impl FnOnce(&Data) -> R) -> Option<R> {
        self.read(key).get(key).map(|entry| read(&entry.value))
    }

    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| read_lock(shard).len()).sum()
    }

    pub(crate) fn keys(&self) -> Vec<Data> {
        let mut keys = Vec::with_capacity(self.len());
        for shard in &self.shards {
            keys.extend(read_lock(shard).keys().cloned());
        }
        keys
    }

    /// At most `limit` entries in key order behind `after`; fewer only at the end.
    pub(crate) fn scan(&self, after: Option<&Data>, limit: usize) -> Vec<(Data, Entry)> {
        self.range(after, None, limit)
    }

    /// As [`scan`](Self::scan), up to and with `until`.
    pub(crate) fn range(
        &self,
        after: Option<&Data>,
        until: Option<&Data>,
        limit: usize,
    ) -> Vec<(Data, Entry)> {
        let mut index = self.index();
        let order = index
            .order
            .get_or_insert_with(|| self.keys().iter().map(key_bytes).collect());
        let start = after
            .map(key_bytes)
            .map_or(Bound::Unbounded, Bound::Excluded);
        let until = until.map(key_bytes);
        let range = order
            .range((start, Bound::Unbounded))
            .take_while(|bytes| until.as_ref().is_none_or(|until| *bytes <= until));
        let entries = range.filter_map(|bytes| {
            let key = decode_key(bytes).ok()?;
            let entry = self.read(&key).get(&key)?.clone();
            Some((key, entry))
        });
        entries.take(limit).collect()
    }

    /// Stores an entry and returns the value that was there.
    pub(crate) fn put(&self, key: Data, entry: Entry) -> Option<Data> {
        let mut index = self.index();
        if let Some(order) = &mut index.order {
            order.insert(key_bytes(&key));
        }
        let mut digest = index.digest.with(Digest::of(&key, &entry.value));
        let mut shard = write_lock(self.shard(&key));
        let former = match shard.entry(key) {
            hash_map::Entry::Occupied(mut occupied) => {
                digest = digest.without(Digest::of(occupied.key(), &occupied.get().value));
                Some(occupied.insert(entry).value)
            }
            hash_map::Entry::Vacant(vacant) => {
                vacant.insert(entry);
                None
            }
        };
        index.digest = digest;
        former
    }

    /// Removes an entry and returns whether it was there.
    pub(crate) fn erase(&self, key: &Data) -> bool {
        let mut index = self.index();
        if let Some(order) = &mut index.order {
            order.remove(&key_bytes(key));
        }
        let former = write_lock(self.shard(key)).remove(key);
        if let Some(former) = &former {
            index.digest = index.digest.without(Digest::of(key, &former.value));
        }
        former.is_some()
    }

    /// Removes everything and returns the keys.
    pub(crate) fn clear(&self) -> Vec<Data> {
        let former = self.install(self.another());
        former.into_iter().flat_map(HashMap::into_keys).collect()
    }

    /// Replaces everything at once by what is in `other`, which was made as [`another`](Self::another) of this. Returns
    /// the former shards.
    pub(crate) fn install(&self, other: Self) -> Vec<Shard> {
        let fresh = other
            .shards
            .into_iter()
            .map(|shard| shard.into_inner().unwrap_or_else(PoisonError::into_inner));
        let other = other
            .index
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let mut index = self.index();
        *index = other;
        let mut locked: Vec<_> = self.shards.iter().map(write_lock).collect();
        locked
            .iter_mut()
            .zip(fresh)
            .map(|(shard, fresh)| std::mem::replace(&mut **shard, fresh))
            .collect()
    }

    /// The deadline known for `key`, if it has this value.
    pub(crate) fn expires_at(&self, key: &Data, value: &Data) -> Option<Timestamp> {
        self.read(key)
            .get(key)
            .filter(|entry| entry.value == *value)
            .and_then(|entry| entry.expires_at)
    }

    /// Looks at the entries of one of the shards, which are numbered from 0 on.
    pub(crate) fn for_each_in(&self, shard: usize, mut look: impl FnMut(&Data, &Entry)) {
        let Some(shard) = self.shards.get(shard) else {
            return;
        };
        for (key, entry) in &*read_lock(shard) {
            look(key, entry);
        }
    }

    fn shard_of(&self, key: &Data) -> usize {
        self.hasher.hash_one(key) as usize % SHARDS
    }

    fn shard(&self, key: &Data) -> &RwLock<Shard> {
        &self.shards[self.shard_of(key)]
    }

    fn read(&self, key: &Data) -> RwLockReadGuard<'_, Shard> {
        read_lock(self.shard(key))
    }

    /// Taken before any shard's lock, or alone.
    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read_lock(shard: &RwLock<Shard>) -> RwLockReadGuard<'_, Shard> {
    shard.read().unwrap_or_else(PoisonError::into_inner)
}

fn write_lock(shard: &RwLock<Shard>) -> RwLockWriteGuard<'_, Shard> {
    shard.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(content: &Content, key: u64) {
        content.put(key.into(), Entry::lasting(key));
    }

    fn page(content: &Content, after: Option<u64>, limit: usize) -> Vec<u64> {
        let page = content.scan(after.map(Data::from).as_ref(), limit);
        page.into_iter()
            .map(|(key, _)| key.as_count().unwrap())
            .collect()
    }

    #[test]
    fn pages_are_in_key_order_and_follow_changes() {
        let content = Content::new();
        for key in [5, 3, 300, 4] {
            put(&content, key);
        }
        assert_eq!(page(&content, None, 2), [3, 4]);
        put(&content, 6);
        content.erase(&5u64.into());
        assert_eq!(page(&content, Some(4), 9), [6, 300]);
        assert_eq!(content.clear().len(), 4);
        assert_eq!(page(&content, None, 9), []);
    }

    #[test]
    fn a_snapshot_replaces_everything_and_gives_back_the_former_content() {
        let content = Content::new();
        let deadline = Some(Timestamp::from_nanos(9));
        content.put(
            "same".into(),
            Entry {
                value: 1u64.into(),
                expires_at: deadline,
            },
        );
        content.put("gone".into(), Entry::lasting(2u64));
        let fresh = content.another();
        let expires_at = content.expires_at(&"same".into(), &1u64.into());
        fresh.put(
            "same".into(),
            Entry {
                value: 1u64.into(),
                expires_at,
            },
        );
        fresh.put("new".into(), Entry::lasting(3u64));
        let digest = fresh.digest();
        let former = content.install(fresh);
        assert_eq!(content.digest(), digest);
        assert_eq!(former.iter().map(HashMap::len).sum::<usize>(), 2);
        assert_eq!(content.len(), 2);
        assert_eq!(content.get(&"new".into()), Some(3u64.into()));
        assert!(!content.contains(&"gone".into()));
        assert_eq!(
            content
                .scan(None, 9)
                .iter()
                .filter_map(|(_, entry)| entry.expires_at)
                .collect::<Vec<_>>(),
            [Timestamp::from_nanos(9)]
        );
    }
}
