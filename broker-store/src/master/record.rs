//! What a master remembers beside its entries, changed in the same transaction: where it is in its history.
//!
//! A *history* is one line of changes, from an empty store (or one that was filled by somebody else) on. Within it, the
//! *revision* counts the changes: two copies with the same history and revision hold the same.

use std::collections::BTreeMap;

use broker_core::binary::Reader;
use broker_core::{DecodeError, EndpointId, EntityId};

use crate::backend::{Backend, BackendError, Mutation};
use crate::digest::Digest;

/// The record of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// Which line of changes it is.
    pub(super) history: u64,
    /// How many changes there have been.
    pub(super) revision: u64,
    /// How many entries there are.
    pub(super) entries: u64,
    /// Their digest.
    pub(super) digest: Digest,
    /// Who the master was.
    pub(super) id: EntityId,
    /// The number of the last update it sent, or a later one.
    pub(super) seq: u64,
    /// The last number at which something changed that no clone was told of; 0 is none.
    pub(super) unnumbered_at: u64,
}

impl Record {
    /// The record that `backend` holds, if it holds one.
    pub(super) fn read(backend: &dyn Backend) -> Result<Option<Self>, BackendError> {
        let note = backend.note(NAME)?;
        note.map(|bytes| {
            Self::decode(&bytes).map_err(|source| BackendError::Unreadable {
                what: "a record of the master",
                source: Some(source),
            })
        })
        .transpose()
    }

    /// The beginning of a history of its own, over the entries that `backend` has.
    pub(super) fn begin(id: EntityId, backend: &dyn Backend) -> Result<Self, BackendError> {
        let mut record = Self {
            history: fastrand::u64(1..),
            revision: 0,
            entries: backend.len()?,
            digest: Digest::default(),
            id,
            seq: 1,
            unnumbered_at: 0,
        };
        let mut after = None;
        loop {
            let page = backend.scan(after.as_ref(), PAGE)?;
            for (key, entry) in &page {
                record.digest = record.digest.with(Digest::of(key, &entry.value));
            }
            if page.len() < PAGE {
                return Ok(record);
            }
            after = page.into_iter().next_back().map(|(key, _)| key);
        }
    }

    /// The mutation that keeps it.
    pub(super) fn note(&self) -> Mutation {
        Mutation::Note {
            name: NAME.to_owned(),
            value: Some(self.encode()),
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![FORMAT];
        bytes.extend(self.history.to_be_bytes());
        bytes.extend(self.revision.to_be_bytes());
        bytes.extend(self.entries.to_be_bytes());
        bytes.extend(self.digest.to_bytes());
        bytes.extend(self.id.endpoint.as_bytes());
        bytes.extend(self.id.object.to_be_bytes());
        bytes.extend(self.seq.to_be_bytes());
        bytes.extend(self.unnumbered_at.to_be_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        r.u8("format")?;
        Ok(Self {
            history: r.u64("history")?,
            revision: r.u64("revision")?,
            entries: r.u64("entries")?,
            digest: Digest::from_bytes(*r.array("digest")?),
            id: EntityId::new(
                EndpointId::from_bytes(*r.array("endpoint")?),
                r.u64("object")?,
            ),
            seq: r.u64("sequence number")?,
            unnumbered_at: r.u64("sequence number")?,
        })
    }
}

/// Up to which number the writes of each writer were applied. Only of writers that are not told what became of their
/// writes: after a restart of the master they go on with their stream, and what was applied must not be applied again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Positions {
    by_writer: BTreeMap<EntityId, Applied>,
    changed: bool,
    clock: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Applied {
    seq: u64,
    /// When, by a clock that counts changes: the longest silent writer is given up for a new one.
    at: u64,
}

impl Positions {
    /// Those that `backend` holds.
    pub(super) fn read(backend: &dyn Backend) -> Result<Self, BackendError> {
        let Some(bytes) = backend.note(POSITIONS)? else {
            return Ok(Self::default());
        };
        Self::decode(&bytes).map_err(|source| BackendError::Unreadable {
            what: "a list of writers",
            source: Some(source),
        })
    }

    pub(super) fn get(&self, writer: EntityId) -> Option<u64> {
        self.by_writer.get(&writer).map(|applied| applied.seq)
    }

    /// Write number `seq` of `writer` is in the group.
    pub(super) fn set(&mut self, writer: EntityId, seq: u64) {
        self.clock += 1;
        self.changed = true;
        let at = self.clock;
        if !self.by_writer.contains_key(&writer) && self.by_writer.len() >= MAX_POSITIONS {
            let oldest = self.by_writer.iter().min_by_key(|(_, applied)| applied.at);
            if let Some((&oldest, _)) = oldest {
                self.by_writer.remove(&oldest);
            }
        }
        self.by_writer.insert(writer, Applied { seq, at });
    }

    /// The mutation that keeps them, if there is something new.
    pub(super) fn note(&mut self) -> Option<Mutation> {
        std::mem::take(&mut self.changed).then(|| Mutation::Note {
            name: POSITIONS.to_owned(),
            value: Some(self.encode()),
        })
    }

    /// What [`note`](Self::note) gave was not applied; the next one is to hold it.
    pub(super) const fn not_kept(&mut self) {
        self.changed = true;
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.by_writer.len() * 32);
        for (writer, applied) in &self.by_writer {
            bytes.extend(writer.endpoint.as_bytes());
            bytes.extend(writer.object.to_be_bytes());
            bytes.extend(applied.seq.to_be_bytes());
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut positions = Self::default();
        let mut r = Reader::new(bytes);
        while !r.is_empty() {
            let endpoint = EndpointId::from_bytes(*r.array("endpoint")?);
            let writer = EntityId::new(endpoint, r.u64("object")?);
            let seq = r.u64("sequence number")?;
            positions.by_writer.insert(writer, Applied { seq, at: 0 });
        }
        Ok(positions)
    }
}

const NAME: &str = "master";

const POSITIONS: &str = "writers";

/// Writers whose positions are kept.
const MAX_POSITIONS: usize = 256;

/// Fields are only ever added at the end.
const FORMAT: u8 = 1;

/// Entries read at a time.
const PAGE: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Memory;

    #[test]
    fn a_record_is_kept_with_the_entries() {
        let mut memory = Memory::new();
        let put = Mutation::Put {
            key: "k".into(),
            value: 1u64.into(),
            expires_at: None,
        };
        memory.apply(&[put]).unwrap();
        assert_eq!(Record::read(&memory).unwrap(), None);
        let id = EntityId::new(EndpointId::from_bytes([3; 16]), 4);
        let record = Record::begin(id, &memory).unwrap();
        assert_eq!(record.entries, 1);
        assert_eq!(record.digest, Digest::of(&"k".into(), &1u64.into()));
        memory.apply(&[record.note()]).unwrap();
        assert_eq!(Record::read(&memory).unwrap(), Some(record));
    }

    #[test]
    fn positions_that_were_not_kept_are_in_the_next_note() {
        let writer = EntityId::new(EndpointId::from_bytes([3; 16]), 4);
        let mut positions = Positions::default();
        assert_eq!(positions.note(), None);
        positions.set(writer, 7);
        let note = positions.note();
        assert!(note.is_some());
        assert_eq!(positions.note(), None, "nothing is new");
        positions.not_kept();
        assert_eq!(positions.note(), note);
    }

    #[test]
    fn a_record_that_makes_no_sense_is_an_error() {
        let mut memory = Memory::new();
        let note = Mutation::Note {
            name: NAME.to_owned(),
            value: Some(vec![1, 2]),
        };
        memory.apply(&[note]).unwrap();
        assert!(matches!(
            Record::read(&memory),
            Err(BackendError::Unreadable { .. })
        ));
    }
}
