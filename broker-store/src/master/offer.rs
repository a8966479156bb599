//! How clones of ours attach: an offer, a decision of the clone's, and the content in pages.
//!
//! ```text
//! clone                                   master
//!   nack {0}                       ->
//!                                  <-     offer: this history and revision, this number, so much is kept
//!   follow: from now on,           ->
//!     or from behind a number it has
//!                                  <-     following: your stream begins behind this number, at this revision
//!   pull: entries behind this key  ->
//!                                  <-     page: entries as they were at this number
//! ```
//!
//! A clone that is at the offered revision of the offered history needs no pages, and one that comes back while what it
//! missed is still kept is sent that. Pages are read when they are asked for, in key order, each in one go; the master
//! holds no snapshot, and nothing of a clone that is slow or gone. The stream goes on meanwhile, and as updates hold final
//! values, a page and the updates behind its number give the state at any later one.
//!
//! Numbers of the stream mean nothing to another start of the master: each has an *incarnation* of its own.
//!
//! **Invariant:** a clone is let go on from a number only if everything that changed since then has a number, and is kept.

use broker_core::{Data, EndpointId, EntityId, Timestamp, binary};

use super::queries::remaining_span;
use super::{MasterOutput, MasterState};
use crate::backend::BackendError;
use crate::command::{Command, Content, PageEntry};

/// Where the stream of a clone of ours began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Follower {
    seq: u64,
    revision: u64,
}

impl MasterState {
    /// Whether `endpoint` understands what only nodes of ours say.
    pub(super) fn is_ours(&self, endpoint: EndpointId) -> bool {
        (self.speaks)(endpoint)
    }

    pub(super) fn offer(&mut self, to: EntityId) {
        self.commit();
        let offer = Content::Offer {
            incarnation: self.incarnation,
            history: self.record.history,
            revision: self.record.revision,
            seq: self.updates.seq(),
            oldest: self.oldest_to_go_on_from() + 1,
            entries: self.record.entries,
            heartbeat: self.timers.heartbeat,
        };
        self.unicast(to, offer);
    }

    /// The lowest number that a clone may go on from.
    fn oldest_to_go_on_from(&self) -> u64 {
        // Behind a number at which something changed that nobody was told of, a clone at that number is not up to date.
        let numbered = self.unnumbered_at.map_or(1, |seq| seq + 1);
        (self.updates.oldest() - 1).max(numbered)
    }

    pub(super) fn handle_follow(
        &mut self,
        clone: EntityId,
        incarnation: u64,
        from: u64,
        former: u64,
    ) {
        if !self.is_ours(clone.endpoint) {
            return;
        }
        self.commit();
        if incarnation != self.incarnation {
            return self.offer(clone);
        }
        self.step_over_what_nobody_was_told();
        let seq = self.updates.seq();
        let known = self
            .followers
            .get(&clone)
            .filter(|_| self.updates.acked(clone).is_some());
        let follower = match (known, from) {
            (Some(known), _) => *known,
            (None, 0) => Follower {
                seq,
                revision: self.record.revision,
            },
            (None, from) if from <= seq && from >= self.oldest_to_go_on_from() => Follower {
                seq: from,
                revision: 0,
            },
            (None, _) => return self.offer(clone),
        };
        let is_new = known.is_none();
        if is_new {
            if !self.updates.attach_at(clone, follower.seq) {
                if self.may_complain() {
                    tracing::warn!(store = %self.name, %clone, "too many clones, this one is not attached");
                }
                return;
            }
            // It takes another name when it comes back from a long silence.
            self.updates.never_returns(clone);
            self.followers.insert(clone, follower);
        }
        // Not before, or what it has missed might be kept for nobody.
        if former != 0 && former != clone.object {
            self.forget(EntityId::new(clone.endpoint, former));
        }
        self.unicast(
            clone,
            Content::Following {
                incarnation,
                seq: follower.seq,
                revision: follower.revision,
            },
        );
        // What it has missed, without waiting to be asked; if that is much, it asks for the rest.
        let missed: Vec<u64> = (follower.seq + 1..=seq).take(MAX_MISSED).collect();
        if is_new && !missed.is_empty() {
            self.updates.handle_nack(clone, &missed);
            self.drain_updates();
        }
    }

    pub(super) fn handle_pull(
        &mut self,
        now: Timestamp,
        clone: EntityId,
        id: u64,
        after: Option<Data>,
        bytes: u32,
    ) {
        if !self.followers.contains_key(&clone) {
            return self.turn_away(clone);
        }
        self.commit();
        let bytes = usize::try_from(bytes)
            .unwrap_or(usize::MAX)
            .min(MAX_PAGE_BYTES);
        match self.read_page(now, after, bytes) {
            Ok((entries, last)) => {
                let seq = self.updates.seq();
                self.unicast(
                    clone,
                    Content::Page {
                        id,
                        seq,
                        last,
                        entries,
                    },
                );
            }
            Err(error) => {
                // It asks again.
                if self.may_complain() {
                    tracing::error!(store = %self.name, %clone, error = &error as &dyn std::error::Error, "cannot read a page");
                }
            }
        }
    }

    /// Entries behind `after` of about `bytes` in all, at least one if there is one, and whether there are no more.
    pub(super) fn read_page(
        &self,
        now: Timestamp,
        after: Option<Data>,
        bytes: usize,
    ) -> Result<(Vec<PageEntry>, bool), BackendError> {
        let (mut entries, mut after, mut weight) = (Vec::new(), after, 0);
        loop {
            let read = self.backend.scan(after.as_ref(), SCAN)?;
            let end = read.len() < SCAN;
            for (key, entry) in read {
                let entry = PageEntry {
                    expiry: remaining_span(entry.expires_at, now),
                    key,
                    value: entry.value,
                };
                weight += binary::encoded_len(&entry.key) + binary::encoded_len(&entry.value) + 9;
                if weight > bytes && !entries.is_empty() {
                    return Ok((entries, false));
                }
                entries.push(entry);
            }
            if end {
                return Ok((entries, true));
            }
            after = entries.last().map(|entry| entry.key.clone());
        }
    }

    /// Something came from a node of ours that the master does not know, or not any more.
    pub(super) fn turn_away(&mut self, stranger: EntityId) {
        if self.is_ours(stranger.endpoint) {
            let payload = Command::control(self.id, stranger, Content::Stranger).encode();
            self.outputs.push_back(MasterOutput::Unicast {
                to: stranger.endpoint,
                payload,
            });
        }
    }

    /// A clone or writer is gone for good. What still comes from it was on its way too long: taken for a new one, its
    /// writes would be done twice.
    pub(super) fn forget(&mut self, id: EntityId) {
        self.updates.detach(id);
        self.followers.remove(&id);
        self.writers.remove(&id);
        if self.departed.len() >= MAX_DEPARTED {
            self.departed.pop_front();
        }
        self.departed.push_back((id, self.tick));
    }

    pub(super) fn has_departed(&self, id: EntityId) -> bool {
        self.departed.iter().any(|(departed, _)| *departed == id)
    }

    /// Forgets where clones began that have gone.
    pub(super) fn tick_followers(&mut self) {
        let updates = &self.updates;
        self.followers.retain(|id, _| updates.acked(*id).is_some());
        while self
            .departed
            .front()
            .is_some_and(|(_, since)| self.tick - since >= DEPARTED_FOR)
        {
            self.departed.pop_front();
        }
    }
}

/// Bytes of a page. Events behind it on the same link wait no longer than it takes to send a page; one entry may be
/// larger.
pub(crate) const MAX_PAGE_BYTES: usize = 256 << 10;

/// Entries read at a time.
const SCAN: usize = 256;

/// Those that have gone and are remembered, and for how many ticks.
const MAX_DEPARTED: usize = 256;
const DEPARTED_FOR: u64 = 600;

/// Missed updates that are sent at once.
const MAX_MISSED: usize = 1024;
