//! Clones of C++ that were away: going on where they were, whoever has forgotten whom.
//!
//! Such a clone never asks to be attached again and never follows another master (wire reference 7.8). It only goes on
//! acknowledging, and asking for what it misses, in the name of the master it knows. So a master that forgot it, or was
//! started anew over the same storage under the same identity, takes a word that is addressed to it for an attach: the
//! number in it is where the clone is.
//!
//! What it misses may be gone, and it cannot be told so: it would give up for good. But it takes whatever is sent to it
//! under the numbers it asks for. So it is *refilled*: the master skips some thousands of numbers, and as the clone asks for
//! them, they become a clear and a put for each entry, in key order. While there are entries left more numbers are
//! skipped, a few at a time, so that no clone has to ask for much at once. Older numbers that are gone, and skipped ones
//! that are left over, are filled with what means nothing.
//!
//! Why that ends with the right content: the numbers behind the clear are new, so nobody holds anything under them that
//! was sent before. (Old numbers would not do: the clone may have later ones of them already, out of turn.) Every update
//! behind the clear is sent for real or, where it is gone as well, makes everything begin again. Entries are read when
//! they are sent, so each is as of the clear's time or newer, and updates hold final values. An entry that was erased
//! before it was read is not sent; one that was inserted behind the place that has been reached has an update of its own.
//! A number that is asked for again is about the same key, until it is acknowledged.
//!
//! Why it is not forgotten half way: a clone that needs a refill always lacks a number. One is skipped before it waits, and
//! the next ones before the last one is filled, all recorded with the storage. So after a restart of the master it asks
//! for a number that is gone. For one that was silent for so long that it was forgotten, that is remembered. Only a few are
//! refilled at a time; one that falls silent makes room for others, and begins again when it speaks.
//!
//! A clone may even be ahead of the record: the storage is an older copy, or lost its last transactions with the power. Then
//! the master skips to where the clone is, and refills it. What changes nothing is numbered too and recorded a second later,
//! so a master that was killed in that second refills its clones needlessly; it cannot tell.
//!
//! Another C++ clone that misses nothing gets the skipped numbers filled with what means nothing. Clones that are refilled
//! at the same time share them.

use std::collections::VecDeque;

use broker_core::{Data, EntityId};
use bytes::{Bytes, BytesMut};

use super::record::Record;
use super::{MasterOutput, MasterState};
use crate::backend::BackendError;
use crate::command::{Command, Content, HEADER_LEN, put_header};

/// A clone that gets everything anew.
#[derive(Debug, Default)]
pub(super) struct Refill {
    /// Behind this number it begins.
    from: u64,
    /// The key behind which the entries have not been read.
    after: Option<Data>,
    /// Whether the clear has a number.
    begun: bool,
    exhausted: bool,
    /// What each number was filled with, until it is acknowledged; ascending. `None` is what means nothing.
    filled: VecDeque<(u64, Option<Filling>)>,
    /// The last number that was filled.
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
        if receiver != self.id || self.is_ours(consumer.endpoint) || seq == 0 {
            return false;
        }
        let ahead = seq.saturating_sub(self.updates.seq());
        if ahead > MAX_AHEAD {
            if self.may_complain() {
                tracing::error!(store = %self.name, clone = %consumer, seq, own = self.updates.seq(), "a clone has seen far more updates than this storage knows of, it has to be restarted");
            }
            return false;
        }
        let misses = ahead > 0
            || self.unrecorded.contains(&seq)
            // Something that has no number.
            || self.unnumbered_at.is_some_and(|at| seq <= at)
            || self.unfinished.contains(&consumer);
        if ahead > 0 {
            // Whatever others have up to there is not what this storage has.
            self.unnumbered_at = Some(seq);
            self.record.unnumbered_at = seq;
        }
        // From now on it lacks a number until it has everything.
        if misses && self.skip(ahead + 1).is_none() {
            return false;
        }
        if !self.updates.attach_at(consumer, seq) {
            return false;
        }
        tracing::info!(store = %self.name, clone = %consumer, seq, ahead, "a clone goes on that was not remembered");
        self.unfinished.remove(&consumer);
        if misses {
            self.to_be_refilled.insert(consumer);
            self.begin_refills();
        }
        true
    }

    /// A clone that does not understand ours misses these numbers, which ascend and do not begin with 0.
    pub(super) fn serve(&mut self, consumer: EntityId, seqs: &[u64]) {
        let Some(&first) = seqs.first() else { return };
        self.updates.handle_ack(consumer, first - 1);
        self.trim_refill(consumer, first - 1);
        if self.to_be_refilled.contains(&consumer) {
            // Its turn has not come.
            return;
        }
        if seqs.len() > FEW && !self.may_answer(consumer, first) {
            return;
        }
        self.commit();
        // What it has acknowledged is asked for by a nack that came late.
        let acked = self.updates.acked(consumer).unwrap_or(0);
        let seqs = &seqs[seqs.partition_point(|seq| *seq <= acked)..];
        let Some(&first) = seqs.first() else { return };
        let (known, mut bytes) = (self.updates.seq(), 0);
        for &seq in seqs.iter().take(MAX_SERVED) {
            if seq > known || bytes > MAX_SERVED_BYTES {
                break;
            }
            let payload = match self.updates.kept(seq) {
                Some(message) => message,
                None => {
                    if !self.is_free(consumer, seq)
                        && (seq != first || !self.begin_refill(consumer))
                    {
                        break;
                    }
                    match self.filling(consumer, seq) {
                        Ok(Some(content)) => self.numbered(seq, &content),
                        Ok(None) => break,
                        Err(error) => {
                            if self.may_complain() {
                                tracing::error!(store = %self.name, clone = %consumer, error = &error as &dyn std::error::Error, "cannot read what a clone has missed");
                            }
                            break;
                        }
                    }
                }
            };
            bytes += payload.len();
            self.outputs.push_back(MasterOutput::Unicast {
                to: consumer.endpoint,
                payload,
            });
        }
        if self.updates.seq() > known {
            // It goes on asking at once.
            let seq = self.updates.seq();
            self.unicast(consumer, Content::Keepalive { seq });
        }
    }

    /// Whether `seq`, which is not kept, may be filled for this clone.
    fn is_free(&self, consumer: EntityId, seq: u64) -> bool {
        let refill = self.refills.get(&consumer);
        self.updates.skipped_to(seq).is_some() || refill.is_some_and(|refill| seq <= refill.from)
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

    /// Begins to refill a clone, or begins again. False if there are too many at a time, or the storage does not take it.
    fn begin_refill(&mut self, consumer: EntityId) -> bool {
        if self.refills.len() >= MAX_REFILLS
            && !self.refills.contains_key(&consumer)
            && !self.put_off_silent_refill()
        {
            return false;
        }
        self.commit();
        let from = self.updates.seq();
        let refill = Refill {
            from,
            last_filled: from,
            ..Refill::default()
        };
        if !self.extend(&refill) {
            return false;
        }
        tracing::warn!(store = %self.name, clone = %consumer, entries = self.record.entries, "a clone has missed more than is kept, it gets everything anew");
        self.refills.insert(consumer, refill);
        true
    }

    /// Puts off the refill whose clone has been silent longest, if that is long: one that has gone must not keep others
    /// waiting. False if none has.
    fn put_off_silent_refill(&mut self) -> bool {
        let silence = |id: &EntityId| self.updates.silence(*id).unwrap_or(u64::MAX);
        let Some(longest) = self.refills.keys().copied().max_by_key(silence) else {
            return false;
        };
        if silence(&longest) < SILENT {
            return false;
        }
        self.refills.remove(&longest);
        self.to_be_refilled.insert(longest);
        true
    }

    /// Begins what had to wait for others, or for a word of the clone.
    fn begin_refills(&mut self) {
        loop {
            let mut waiting = self.to_be_refilled.iter();
            let speaks = |id: &&EntityId| self.updates.silence(**id).is_some_and(|s| s < SILENT);
            let Some(consumer) = waiting.find(speaks).copied() else {
                return;
            };
            if !self.begin_refill(consumer) {
                return;
            }
            self.to_be_refilled.remove(&consumer);
        }
    }

    /// Skips numbers and says so to whoever can be told. `None` if the storage does not take it.
    pub(super) fn skip(&mut self, count: u64) -> Option<(u64, u64)> {
        if !self.keep_seq(self.updates.seq() + count) {
            return None;
        }
        let (first, last) = self.updates.skip(count);
        let followers: Vec<_> = self.followers.keys().copied().collect();
        for follower in followers {
            self.unicast(follower, Content::Skipped { first, last });
        }
        Some((first, last))
    }

    /// Records that numbers up to `seq` are used. False if the storage does not take it.
    fn keep_seq(&mut self, seq: u64) -> bool {
        let record = Record { seq, ..self.record };
        if let Err(error) = self.backend.apply(&[record.note()]) {
            if self.may_complain() {
                tracing::error!(store = %self.name, error = &error as &dyn std::error::Error, "cannot keep the number of the last update");
            }
            return false;
        }
        self.record = record;
        true
    }

    /// Records the numbers of what changed nothing, once a second.
    pub(super) fn tick_record(&mut self) {
        let seq = self.updates.seq();
        if self.tick.is_multiple_of(RECORD_TICKS)
            && seq > self.record.seq
            && seq >= self.unrecorded.end
        {
            self.keep_seq(seq);
        }
    }

    /// What the free number `seq` is filled with for `consumer`; `None` if that cannot be said yet.
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
        let at = refill.filled.partition_point(|(filled, _)| *filled < seq);
        if let Some((filled, filling)) = refill.filled.get(at)
            && *filled == seq
        {
            return Ok(Some(filling.clone()));
        }
        if seq <= refill.last_filled {
            // Old, or before one that was filled already and not asked for then: the clone has it.
            return Ok(Some(None));
        }
        let filling = if refill.begun {
            self.next_key(refill)?.map(Filling::Entry)
        } else {
            refill.begun = true;
            Some(Filling::Clear)
        };
        let before = std::mem::replace(&mut refill.last_filled, seq);
        if !self.extend(refill) {
            // It must go on lacking a number.
            refill.last_filled = before;
            match filling {
                Some(Filling::Entry(key)) => refill.ready.push_front(key),
                Some(Filling::Clear) => refill.begun = false,
                None => {}
            }
            return Ok(None);
        }
        refill.filled.push_back((seq, filling.clone()));
        Ok(Some(filling))
    }

    /// Sees to it that there is a number left as long as there are entries. False if the storage does not take it.
    fn extend(&mut self, refill: &Refill) -> bool {
        if refill.is_sent() || refill.last_filled < self.updates.last_skipped() {
            return true;
        }
        let enough = self.record.entries.saturating_add(2).min(STEP);
        self.skip(enough).is_some()
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
            refill.filled.pop_front();
        }
        if refill.is_sent() && refill.filled.is_empty() {
            self.refills.remove(&consumer);
            tracing::info!(store = %self.name, clone = %consumer, "the clone is up to date");
        }
    }

    pub(super) fn tick_refills(&mut self) {
        let updates = &self.updates;
        let unfinished = &mut self.unfinished;
        let mut is_here = |id: &EntityId, waits: bool| {
            let here = updates.acked(*id).is_some();
            if !here && waits && unfinished.len() < MAX_UNFINISHED {
                unfinished.insert(*id);
            }
            here
        };
        self.refills.retain(|id, _| is_here(id, true));
        self.to_be_refilled.retain(|id| is_here(id, true));
        self.answered.retain(|id, _| is_here(id, false));
        self.begin_refills();
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

/// Silence of a clone, in ticks, after which its refill makes room for another's. One that lives says something twice a
/// second.
const SILENT: u64 = 50;

/// Numbers skipped at a time.
const STEP: u64 = 8192;

/// Ticks after which used numbers are recorded.
const RECORD_TICKS: u64 = 10;

/// Bytes after which the answer to a nack ends.
const MAX_SERVED_BYTES: usize = 8 << 20;

/// How many updates a clone may be ahead. Other clones of C++ have to ask for each number that is skipped.
const MAX_AHEAD: u64 = 1 << 20;

/// Clones that were forgotten with a refill under way.
const MAX_UNFINISHED: usize = 4096;

/// Entries read at a time.
const PAGE: usize = 256;
