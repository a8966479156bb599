//! The memory backend: a sorted map, gone with the process.

use std::collections::BTreeMap;
use std::ops::Bound;

use broker_core::{Data, Timestamp};

use crate::backend::{Backend, BackendError, Entry, KeyBytes, Mutation, decode_key, key_bytes};
use crate::deadlines::Deadlines;

/// Keeps entries in memory. Cannot fail, takes no options, and never blocks.
#[derive(Debug, Default)]
pub struct Memory {
    entries: BTreeMap<KeyBytes, Entry>,
    deadlines: Deadlines,
    notes: BTreeMap<String, Vec<u8>>,
}

impl Memory {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Backend for Memory {
    fn apply(&mut self, batch: &[Mutation]) -> Result<(), BackendError> {
        for mutation in batch {
            match mutation {
                Mutation::Put {
                    key,
                    value,
                    expires_at,
                } => {
                    let key = key_bytes(key);
                    self.deadlines.set(&key, *expires_at);
                    self.entries.insert(
                        key,
                        Entry {
                            value: value.clone(),
                            expires_at: *expires_at,
                        },
                    );
                }
                Mutation::Erase { key } => {
                    let key = key_bytes(key);
                    self.deadlines.remove(&key);
                    self.entries.remove(&key);
                }
                Mutation::Clear => {
                    self.deadlines.clear();
                    self.entries.clear();
                }
                Mutation::Note { name, value } => {
                    match value {
                        Some(value) => self.notes.insert(name.clone(), value.clone()),
                        None => self.notes.remove(name),
                    };
                }
            }
        }
        Ok(())
    }

    fn get(&self, key: &Data) -> Result<Option<Entry>, BackendError> {
        Ok(self.entries.get(&key_bytes(key)).cloned())
    }

    fn scan(&self, after: Option<&Data>, limit: usize) -> Result<Vec<(Data, Entry)>, BackendError> {
        let start = after
            .map(key_bytes)
            .map_or(Bound::Unbounded, Bound::Excluded);
        let page = self.entries.range((start, Bound::Unbounded)).take(limit);
        page.map(|(key, entry)| Ok((decode_key(key)?, entry.clone())))
            .collect()
    }

    fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Data>, BackendError> {
        self.deadlines
            .due(now, limit)
            .map(|key| decode_key(key))
            .collect()
    }

    fn note(&self, name: &str) -> Result<Option<Vec<u8>>, BackendError> {
        Ok(self.notes.get(name).cloned())
    }

    fn len(&self) -> Result<u64, BackendError> {
        Ok(self.entries.len() as u64)
    }

    fn name(&self) -> &str {
        "memory"
    }

    fn contains(&self, key: &Data) -> Result<bool, BackendError> {
        Ok(self.entries.contains_key(&key_bytes(key)))
    }

    fn may_block(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance;

    #[test]
    fn memory_conforms() {
        conformance::run(Memory::new);
    }
}
