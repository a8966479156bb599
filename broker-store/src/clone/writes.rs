//! The writes of a clone: those that wait for a master, and those on their way to one.
//!
//! A write waits until a master is found; then it gets a number in the writer's stream and is in flight until its outcome
//! is known. Our own masters tell the outcome of every number. A C++ master tells nothing; there the echo of the write is
//! its success. Its failure is that the write was acknowledged, that the master said afterwards where its updates are, and
//! that none up to there is missing: all of it comes over one link in the order it was sent, and what was dropped on the
//! way shows as a gap.
//!
//! When the master is lost, a write that never left this node waits for the next master; one that did stays unanswered,
//! because it may have been applied.
//!
//! **Invariant:** every write is answered exactly once.

use std::collections::{HashMap, HashSet, VecDeque};

use broker_core::{EntityId, StoreReply};

use super::in_flight::InFlight;
use crate::command::{Content, outcome};
use crate::error::StoreError;

/// A caller's token and its answer.
pub(super) type Answer = (u64, Result<StoreReply, StoreError>);

/// All writes that are not answered.
#[derive(Debug, Default)]
pub(super) struct Writes {
    /// How many writes there have ever been.
    submitted: u64,
    queued: VecDeque<Write>,
    queued_bytes: usize,
    /// By number in the writer's stream.
    in_flight: InFlight<Flight>,
    /// The callers of `put_unique` by request number, until the master has decided.
    uniques: HashMap<u64, u64>,
}

/// A write that is not answered.
#[derive(Debug)]
pub(super) struct Write {
    /// Where it stands among all writes there have ever been.
    place: u64,
    token: u64,
    /// The tick at which it was submitted.
    since: u64,
    pub(super) weight: usize,
    pub(super) content: Content,
}

/// A write that has a number.
#[derive(Debug)]
struct Flight {
    write: Write,
    /// Whether it left this node, so that a master may have applied it.
    left: bool,
}

impl Write {
    /// The number of the request, if the master has to decide it.
    const fn request(&self) -> Option<u64> {
        if let Content::PutUnique { request, .. } = self.content {
            Some(request)
        } else {
            None
        }
    }
}

impl Writes {
    /// Takes a write at `tick`; an error if too many wait.
    pub(super) fn submit(
        &mut self,
        tick: u64,
        token: u64,
        weight: usize,
        content: Content,
    ) -> Result<(), StoreError> {
        if self.queued.len() >= MAX_QUEUED || self.queued_bytes >= MAX_QUEUED_BYTES {
            return Err(StoreError::BufferFull {
                kept: self.queued.len(),
            });
        }
        self.submitted += 1;
        self.queued_bytes += weight;
        let write = Write {
            place: self.submitted,
            token,
            since: tick,
            weight,
            content,
        };
        if let Some(request) = write.request() {
            self.uniques.insert(request, token);
        }
        self.queued.push_back(write);
        Ok(())
    }

    /// How many wait for being sent.
    pub(super) fn queued(&self) -> usize {
        self.queued.len()
    }

    /// How many were sent and are not answered.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// The place of the latest write.
    pub(super) const fn latest(&self) -> u64 {
        self.submitted
    }

    /// Whether every write up to this place is answered.
    pub(super) fn answered_up_to(&self, place: u64) -> bool {
        let oldest = self
            .in_flight
            .oldest()
            .map(|(_, flight)| flight.write.place);
        oldest
            .or_else(|| self.queued.front().map(|write| write.place))
            .is_none_or(|oldest| oldest > place)
    }

    /// The next write to be sent.
    pub(super) fn next_queued(&mut self) -> Option<Write> {
        let write = self.queued.pop_front()?;
        self.queued_bytes -= write.weight;
        Some(write)
    }

    /// The write is being sent as number `seq`.
    pub(super) fn sent(&mut self, seq: u64, write: Write) {
        self.in_flight.push(seq, Flight { write, left: false });
    }

    /// Write `seq` has left this node.
    pub(super) fn left(&mut self, seq: u64) {
        if let Some(flight) = self.in_flight.get_mut(seq) {
            flight.left = true;
        }
    }

    /// Our master tells how write `seq` went.
    pub(super) fn outcome(&mut self, seq: u64, code: u8) -> Option<Answer> {
        let write = self.in_flight.remove(seq)?.write;
        match code {
            0 | outcome::DECLINED => {
                let reply = match write.content {
                    Content::PutUnique { .. } | Content::CompareAndSet { .. } => {
                        StoreReply::Value((code == 0).into())
                    }
                    _ => StoreReply::Done,
                };
                self.answer(&write, Ok(reply))
            }
            code => self.answer(&write, Err(StoreError::from_outcome(code))),
        }
    }

    /// The number of the oldest write that has no outcome.
    pub(super) fn oldest_in_flight(&self) -> Option<u64> {
        self.in_flight.oldest().map(|(seq, _)| seq)
    }

    /// The master has decided a `put_unique` of ours.
    pub(super) fn decided(&mut self, request: u64, inserted: bool) -> Option<Answer> {
        let token = self.uniques.remove(&request)?;
        Some((token, Ok(StoreReply::Value(inserted.into()))))
    }

    /// An update that this clone's front end caused has come back from a master that tells no outcomes.
    pub(super) fn echoed(&mut self, update: &Content) -> Option<Answer> {
        let find = |matches: &dyn Fn(&Content) -> bool| {
            self.in_flight
                .iter()
                .find(|(_, flight)| matches(&flight.write.content))
                .map(|(seq, _)| seq)
        };
        let seq = match update {
            Content::Put { key, value, .. } => find(&|write| matches!(write, Content::Put { key: k, value: v, .. } if k == key && v == value))
                .or_else(|| find(&|write| matches!(write, Content::Add { key: k, .. } | Content::Subtract { key: k, .. } if k == key))),
            Content::Erase { key, .. } => find(&|write| matches!(write, Content::Erase { key: k, .. } if k == key)),
            Content::Clear { .. } => find(&|write| matches!(write, Content::Clear { .. })),
            _ => None,
        }?;
        let write = self.in_flight.remove(seq)?.write;
        Some((write.token, Ok(StoreReply::Done)))
    }

    /// A master that tells no outcomes has taken all writes up to `seq`, and all its updates before that are here: what
    /// was not echoed never will be.
    pub(super) fn acknowledged_without_echo(&mut self, seq: u64) -> Vec<Answer> {
        let settled = self.in_flight.take_up_to(seq);
        let answers = settled.into_iter().filter_map(|Flight { write, .. }| {
            let result = match write.content {
                // There was nothing to erase.
                Content::Erase { .. } | Content::Clear { .. } => Ok(StoreReply::Done),
                _ => Err(StoreError::NotEchoed),
            };
            self.answer(&write, result)
        });
        answers.collect::<Vec<_>>()
    }

    /// The master is lost: what never left waits for the next one, in its old place; the rest stays unanswered for good.
    pub(super) fn abandon_in_flight(&mut self) -> Vec<Answer> {
        let mut answers = Vec::new();
        for Flight { write, left } in self.in_flight.take_up_to(u64::MAX).into_iter().rev() {
            if left {
                answers.extend(self.answer(&write, Err(StoreError::Unanswered)));
            } else {
                self.queued_bytes += write.weight;
                self.queued.push_front(write);
            }
        }
        answers.reverse();
        // Decisions that were still to come although the write itself was settled.
        let waiting: HashSet<u64> = self.queued.iter().filter_map(Write::request).collect();
        let undecided: Vec<u64> = self
            .uniques
            .keys()
            .filter(|request| !waiting.contains(request))
            .copied()
            .collect();
        answers.extend(
            undecided
                .iter()
                .filter_map(|request| self.uniques.remove(request))
                .map(|token| (token, Err(StoreError::Unanswered))),
        );
        answers
    }

    /// Gives up the writes that have waited since before `tick`.
    pub(super) fn give_up_before(&mut self, tick: u64) -> Vec<Answer> {
        let mut answers = Vec::new();
        while self.queued.front().is_some_and(|write| write.since < tick) {
            let Some(write) = self.next_queued() else {
                break;
            };
            answers.extend(self.answer(&write, Err(StoreError::GivenUp)));
        }
        answers
    }

    fn answer(&mut self, write: &Write, result: Result<StoreReply, StoreError>) -> Option<Answer> {
        match write.request() {
            // None: it was decided before, which is its answer.
            Some(request) => self.uniques.remove(&request).map(|token| (token, result)),
            None => Some((write.token, result)),
        }
    }
}

/// Who published an update.
pub(super) const fn publisher(update: &Content) -> Option<EntityId> {
    match update {
        Content::Put { publisher, .. }
        | Content::Erase { publisher, .. }
        | Content::Expire { publisher, .. }
        | Content::Clear { publisher } => Some(*publisher),
        _ => None,
    }
}

/// Writes that wait for a master.
const MAX_QUEUED: usize = 65_536;

/// Bytes of writes that wait for a master.
const MAX_QUEUED_BYTES: usize = 64 << 20;
