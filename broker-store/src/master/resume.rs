//! Clones of C++ that were away: going on where they were, whoever has forgotten whom.
//!
//! Such a clone never asks to be attached again and never follows another master (wire reference 7.8). It only goes on
//! acknowledging, and asking for what it misses, in the name of the master it knows. So a master that forgot it, or was
//! started anew over the same storage under the same identity, takes a word that is addressed to it for an attach: the
//! number in it is where the clone is.
//!
//! What it misses may be gone, and it cannot be told so: it would give up for good. But it takes whatever is sent to it
//! under the numbers it asks for. So it is *refilled*. The master skips as many numbers as there are entries and one more,
//! and as the clone asks for them, fills them with a clear and a put for each entry, in key order; older numbers that are
//! gone are filled with what means nothing.
//!
//! Why that ends with the right content: the numbers are new, so nobody has anything under them; every update with a later
//! number is sent for real or, where it is gone as well, begins another refill; values are read when they are sent, so they
//! are those of the clear's time or newer, and updates hold final values. An entry that was erased before it was read is
//! not sent; one that was inserted after the clear has an update of its own behind. If there turn out to be more entries
//! than numbers, more are skipped and filled from the same key on. A number that is asked for again is about the same key.
//!
//! Another C++ clone that misses nothing gets the skipped numbers filled with what means nothing.

use std::collections::VecDeque;

use broker_core::{Data, EntityId};
use bytes::{Bytes, BytesMut};

use super::{MasterOutput, MasterState};
use crate::backend::BackendError;
use crate::command::{Command, Content, HEADER_LEN, put_header};

/// A clone that gets everything anew.
#[derive(Debug, Default)]
pub(super) struct Refill {
    /// The numbers that were skipped for it, ascending.
    ranges: VecDeque<(u64, u64)>,
    /// The key behind which the entries have not been sent.
    after: Option<Data>,
    /// Whether the clear has a number.
    begun: bool,
    exhausted: bool,
    /// What each number was filled with, until it is acknowledged; ascending. `None` is what means nothing.
    filled: VecDeque<(u64, Option<Filling>)>,
    /// The last number that was filled and acknowledged.
    last_filled: u64,
    /// Entries read ahead.
    ready: VecDeque<Data>,
    answered: Answered,
}

impl Refill {
    /// Whether every entry has a number.
    fn is_sent(&self) -> bool {
        self.begun && self.exhausted && self.ready.is_empty()
    }

    fn has_no_number_left(&self) -> bool {
        let filled = self.filled.back().map_or(self.last_filled, |(seq, _)| *seq);
        self.ranges.back().is_none_or(|(_, last)| *last <= filled)
    }
}

#[derive(Clone, Debug)]
enum Filling {
    Clear,
    Entry(Data),
}

/// The last nack that was answered at length.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Answered {
    first: u64,
    tick: u64,
}

impl MasterState {
    /// A word of a consumer that is not known, about having everything up to `seq`. Whether it is one now.
    pub(super) fn resume(&mut self, consumer: EntityId, receiver: EntityId, seq: u64) -> bool {
        if receiver != self.id
            || self.is_ours(consumer.endpoint)
            || seq == 0
            || seq > self.updates.seq()
            || !self.updates.attach_at(consumer, seq)
        {
            return false;
        }
        tracing::info!(store = %self.name, clone = %consumer, seq, "a clone goes on that was not remembered");
        if self.unnumbered_at.is_some_and(|at| seq <= at) {
            // It misses something that has no number.
            self.to_be_refilled.insert(consumer);
            self.begin_refills();
        }
        true
    }

    /// A clone that does not understand ours misses these numbers, which ascend and do not begin with 0.
    pub(super) fn serve(&mut self, consumer: EntityId, seqs: &[u64]) {
        let Some(&first) = seqs.first() else { return };
        if self.to_be_refilled.contains(&consumer) {
            // Nothing that is sent before counts.
            return;
        }
        self.updates.handle_ack(consumer, first - 1);
        self.trim_refill(consumer, first - 1);
        if seqs.len() > FEW && !self.may_answer(consumer, first) {
            return;
        }
        self.commit();
        // What it has acknowledged is asked for by a nack that came late.
        let acked = self.updates.acked(consumer).unwrap_or(0);
        let seqs = &seqs[seqs.partition_point(|seq| *seq <= acked)..];
        let Some(&first) = seqs.first() else { return };
        for &seq in seqs.iter().take(MAX_SERVED) {
            if seq > self.updates.seq() {
                break;
            }
            let payload = match (self.updates.kept(seq), self.updates.skipped_to(seq)) {
                (Some(message), _) => message,
                (None, Some(_)) => match self.filling(consumer, seq) {
                    Ok(Some(content)) => self.numbered(seq, &content),
                    Ok(None) => break,
                    Err(error) => {
                        if self.may_complain() {
                            tracing::error!(store = %self.name, clone = %consumer, error = &error as &dyn std::error::Error, "cannot read what a clone has missed");
                        }
                        break;
                    }
                },
                (None, None) => {
                    let before = self
                        .refills
                        .get(&consumer)
                        .and_then(|refill| refill.ranges.front());
                    let will_be_cleared = before.is_some_and(|(begin, _)| seq < *begin);
                    if !will_be_cleared && (seq != first || !self.begin_refill(consumer)) {
                        break;
                    }
                    self.numbered(seq, &self.nothing())
                }
            };
            self.outputs.push_back(MasterOutput::Unicast {
                to: consumer.endpoint,
                payload,
            });
        }
    }

    /// Whether to answer a long nack: the answer to the same one may still be on its way.
    fn may_answer(&mut self, consumer: EntityId, first: u64) -> bool {
        let tick = self.tick;
        let answered = match self.refills.get_mut(&consumer) {
            Some(refill) => &mut refill.answered,
            None => self.answered.entry(consumer).or_default(),
        };
        let again = answered.first == first && tick - answered.tick < ANSWER_AGAIN;
        if !again {
            *answered = Answered { first, tick };
        }
        !again
    }

    /// Skips the numbers for a refill. False if there is one already that has to end first, or too many at a time.
    fn begin_refill(&mut self, consumer: EntityId) -> bool {
        if self.refills.len() >= MAX_REFILLS && !self.refills.contains_key(&consumer) {
            return false;
        }
        self.commit();
        let Some(range) = self.skip(self.record.entries + 1) else {
            return false;
        };
        tracing::warn!(store = %self.name, clone = %consumer, entries = self.record.entries, "a clone has missed more than is kept, it gets everything anew");
        let refill = Refill {
            ranges: VecDeque::from([range]),
            ..Refill::default()
        };
        self.refills.insert(consumer, refill);
        true
    }

    /// Begins what had to wait, for the storage or for others.
    fn begin_refills(&mut self) {
        while let Some(consumer) = self.to_be_refilled.first().copied()
            && self.begin_refill(consumer)
        {
            self.to_be_refilled.remove(&consumer);
        }
    }

    /// Skips numbers and says so to whoever can be told. `None` if the storage does not take it.
    pub(super) fn skip(&mut self, count: u64) -> Option<(u64, u64)> {
        let mut record = self.record;
        record.seq = self.updates.seq() + count;
        if let Err(error) = self.backend.apply(&[record.note()]) {
            if self.may_complain() {
                tracing::error!(store = %self.name, error = &error as &dyn std::error::Error, "cannot keep the number of the last update");
            }
            return None;
        }
        self.record = record;
        let (first, last) = self.updates.skip(count);
        let followers: Vec<_> = self.followers.keys().copied().collect();
        for follower in followers {
            self.unicast(follower, Content::Skipped { first, last });
        }
        Some((first, last))
    }

    /// What the skipped number `seq` is filled with for `consumer`; `None` if that cannot be said yet.
    fn filling(&mut self, consumer: EntityId, seq: u64) -> Result<Option<Content>, BackendError> {
        let Some(mut refill) = self.refills.remove(&consumer) else {
            return Ok(Some(self.nothing()));
        };
        let filling = self.fill(&mut refill, seq);
        self.refills.insert(consumer, refill);
        let content = match filling? {
            None => return Ok(None),
            Some(None) => None,
            Some(Some(Filling::Clear)) => Some(Content::Clear { publisher: self.id }),
            // It may have been erased since it was first sent.
            Some(Some(Filling::Entry(key))) => self.backend.get(&key)?.map(|entry| Content::Put {
                key,
                value: entry.value,
                expiry: None,
                publisher: self.id,
            }),
        };
        Ok(Some(content.unwrap_or_else(|| self.nothing())))
    }

    fn fill(
        &mut self,
        refill: &mut Refill,
        seq: u64,
    ) -> Result<Option<Option<Filling>>, BackendError> {
        if !refill
            .ranges
            .iter()
            .any(|(first, last)| (*first..=*last).contains(&seq))
        {
            return Ok(Some(None));
        }
        let at = refill.filled.partition_point(|(filled, _)| *filled < seq);
        if let Some((filled, filling)) = refill.filled.get(at)
            && *filled == seq
        {
            return Ok(Some(filling.clone()));
        }
        if at < refill.filled.len() {
            // Before one that was filled already, and never asked for: it cannot have been acknowledged without.
            return Ok(Some(None));
        }
        let filling = if !refill.begun {
            refill.begun = true;
            Some(Filling::Clear)
        } else {
            self.next_key(refill)?.map(Filling::Entry)
        };
        refill.filled.push_back((seq, filling.clone()));
        self.extend(refill);
        Ok(Some(filling))
    }

    /// There may be more entries than numbers.
    fn extend(&mut self, refill: &mut Refill) {
        if !refill.is_sent() && refill.has_no_number_left() {
            refill.ranges.extend(self.skip(MORE));
        }
    }

    fn next_key(&self, refill: &mut Refill) -> Result<Option<Data>, BackendError> {
        if refill.ready.is_empty() && !refill.exhausted {
            let page = self.backend.scan(refill.after.as_ref(), PAGE)?;
            refill.exhausted = page.len() < PAGE;
            refill.ready.extend(page.into_iter().map(|(key, _)| key));
            if let Some(last) = refill.ready.back() {
                refill.after = Some(last.clone());
            }
        }
        Ok(refill.ready.pop_front())
    }

    /// `consumer` has everything up to `acked`.
    pub(super) fn trim_refill(&mut self, consumer: EntityId, acked: u64) {
        let Some(refill) = self.refills.get_mut(&consumer) else {
            return;
        };
        while refill.filled.front().is_some_and(|(seq, _)| *seq <= acked) {
            refill.last_filled = refill.filled.pop_front().map_or(0, |(seq, _)| seq);
        }
        if refill.is_sent() && refill.ranges.back().is_none_or(|(_, last)| *last <= acked) {
            self.refills.remove(&consumer);
            tracing::info!(store = %self.name, clone = %consumer, "the clone is up to date");
        }
    }

    pub(super) fn tick_refills(&mut self) {
        let updates = &self.updates;
        self.refills.retain(|id, _| updates.acked(*id).is_some());
        self.answered.retain(|id, _| updates.acked(*id).is_some());
        self.to_be_refilled
            .retain(|id| updates.acked(*id).is_some());
        self.begin_refills();
        // Where the storage did not take it before.
        let mut refills = std::mem::take(&mut self.refills);
        refills.values_mut().for_each(|refill| self.extend(refill));
        self.refills = refills;
    }

    const fn nothing(&self) -> Content {
        Content::PutUniqueResult {
            inserted: false,
            who: EntityId::NIL,
            request: 0,
            publisher: self.id,
        }
    }

    fn numbered(&self, seq: u64, content: &Content) -> Bytes {
        let mut payload = BytesMut::with_capacity(HEADER_LEN + 64);
        put_header(seq, self.id, EntityId::NIL, &mut payload);
        content.encode(&mut payload);
        payload.freeze()
    }

    /// Sends a clone that does not understand ours what the numbers from `first` to `last` are filled with.
    pub(super) fn send_skipped(&mut self, to: EntityId, first: u64, last: u64) {
        let payload = Command::control(self.id, to, Content::Skipped { first, last }).encode();
        self.outputs.push_back(MasterOutput::Unicast {
            to: to.endpoint,
            payload,
        });
    }
}

/// Numbers of one nack that are answered.
const MAX_SERVED: usize = 16_384;

/// A nack of so many numbers is always answered.
const FEW: usize = 64;

/// Ticks before a long nack is answered again.
const ANSWER_AGAIN: u64 = 10;

/// Clones that are refilled at a time; others are answered later.
const MAX_REFILLS: usize = 4;

/// Numbers skipped where those of a refill were not enough.
const MORE: u64 = 1024;

/// Entries read at a time.
const PAGE: usize = 256;
