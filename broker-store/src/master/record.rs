//! What a master remembers beside its entries, changed in the same transaction: where it is in its history.
//!
//! A *history* is one line of changes, from an empty store (or one that was filled by somebody else) on. Within it, the
//! *revision* counts the changes: two copies with the same history and revision hold the same.

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
    /// The number of the last update it sent.
    pub(super) seq: u64,
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
        })
    }
}

const NAME: &str = "master";

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
