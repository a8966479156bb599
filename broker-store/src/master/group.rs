//! The group of changes a master is collecting: an overlay over the backend, and what is to be told once it is applied.
//!
//! Each operation sees what those before it in the group have done. Nothing leaves the master until the whole group is
//! applied: an answer, an echo and an acknowledgement all mean "as durable as configured". If applying fails, the group
//! is forgotten and each of its operations is answered with the failure; no number of the stream has been used up.

use std::collections::HashMap;
use std::sync::Arc;

use broker_core::{Data, EntityId, StoreReply};
use bytes::BytesMut;

use crate::backend::{Backend, BackendError, Entry, Mutation};
use crate::command::Answer;
use crate::digest::Digest;
use crate::error::StoreError;
use crate::event::StoreEvent;

/// Changes not applied yet, and their consequences.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// The last state of each key that was touched; `None` is erased.
    overlay: HashMap<Data, Option<Entry>>,
    /// Whether the backend is to be emptied before.
    cleared: bool,
    /// How many entries there will be, relative to the backend; to zero once cleared.
    grown: i64,
    /// What the digest grows by; relative to none once cleared.
    digest: Digest,
    /// How many changes there are.
    changes: u64,
    effects: Vec<Effect>,
    weight: usize,
}

/// What happens once the group is applied, in this order.
#[derive(Debug)]
pub(super) enum Effect {
    /// A change, to all clones: an encoded command whose number is filled in when it goes out.
    Update(BytesMut),
    /// How a put_unique was decided, to all clones, numbered.
    Decision {
        inserted: bool,
        who: EntityId,
        request: u64,
    },
    /// To whoever watches, with the revision the change leads to.
    Event(u64, Arc<StoreEvent>),
    /// To the caller at this node.
    Reply { token: u64, reply: StoreReply },
    /// To the caller at this node, whatever happens to the group.
    Refusal { token: u64, error: StoreError },
    /// The outcome of a clone's write: a code of [`crate::command::outcome`], or an error code.
    Outcome {
        writer: EntityId,
        seq: u64,
        code: u8,
    },
    /// The answer to a question of a handle without a copy.
    Answer {
        to: EntityId,
        id: u64,
        answer: Answer,
    },
    /// The answer to a clone's sync.
    SyncReply { to: EntityId, id: u64 },
    /// A new clone gets its snapshot, or an old one gets it again.
    Handshake { consumer: EntityId },
}

/// A group ready to be applied.
#[derive(Debug)]
pub(super) struct Closed {
    pub(super) mutations: Vec<Mutation>,
    pub(super) effects: Vec<Effect>,
    pub(super) cleared: bool,
    pub(super) grown: i64,
    pub(super) digest: Digest,
    pub(super) changes: u64,
}

impl Group {
    pub(super) fn is_empty(&self) -> bool {
        self.effects.is_empty() && self.overlay.is_empty() && !self.cleared
    }

    /// Whether the group should be applied before anything is added.
    pub(super) fn is_full(&self) -> bool {
        self.effects.len() >= MAX_EFFECTS || self.weight >= MAX_WEIGHT
    }

    pub(super) fn weigh(&mut self, bytes: usize) {
        self.weight += bytes;
    }

    pub(super) fn get(
        &self,
        backend: &dyn Backend,
        key: &Data,
    ) -> Result<Option<Entry>, BackendError> {
        match self.overlay.get(key) {
            Some(entry) => Ok(entry.clone()),
            None if self.cleared => Ok(None),
            None => backend.get(key),
        }
    }

    pub(super) fn contains(&self, backend: &dyn Backend, key: &Data) -> Result<bool, BackendError> {
        match self.overlay.get(key) {
            Some(entry) => Ok(entry.is_some()),
            None if self.cleared => Ok(false),
            None => backend.contains(key),
        }
    }

    /// How many changes there are.
    pub(super) const fn changes(&self) -> u64 {
        self.changes
    }

    /// One more change follows.
    pub(super) const fn count_change(&mut self) {
        self.changes += 1;
    }

    /// `old` is what [`get`](Self::get) said.
    pub(super) fn put(&mut self, key: Data, old: Option<&Data>, entry: Entry) {
        self.digest = self.digest.with(Digest::of(&key, &entry.value));
        match old {
            Some(old) => self.digest = self.digest.without(Digest::of(&key, old)),
            None => self.grown += 1,
        }
        self.overlay.insert(key, Some(entry));
    }

    /// `old` is what [`get`](Self::get) said.
    pub(super) fn erase(&mut self, key: Data, old: &Data) {
        self.digest = self.digest.without(Digest::of(&key, old));
        self.grown -= 1;
        self.overlay.insert(key, None);
    }

    pub(super) fn clear(&mut self) {
        self.overlay.clear();
        self.cleared = true;
        self.grown = 0;
        self.digest = Digest::default();
    }

    pub(super) fn then(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    /// Takes the group out, leaving an empty one.
    pub(super) fn close(&mut self) -> Closed {
        let mut mutations = Vec::with_capacity(self.overlay.len() + usize::from(self.cleared));
        if self.cleared {
            mutations.push(Mutation::Clear);
        }
        // What a cleared store need not erase is left out.
        let cleared = self.cleared;
        mutations.extend(self.overlay.drain().filter_map(|(key, entry)| match entry {
            Some(Entry { value, expires_at }) => Some(Mutation::Put {
                key,
                value,
                expires_at,
            }),
            None if cleared => None,
            None => Some(Mutation::Erase { key }),
        }));
        let closed = Closed {
            mutations,
            effects: std::mem::take(&mut self.effects),
            cleared,
            grown: self.grown,
            digest: std::mem::take(&mut self.digest),
            changes: std::mem::take(&mut self.changes),
        };
        (self.cleared, self.grown, self.weight) = (false, 0, 0);
        closed
    }
}

/// Consequences in one group: about a thousand operations.
const MAX_EFFECTS: usize = 4096;

/// Bytes of commands in one group.
const MAX_WEIGHT: usize = 8 << 20;
