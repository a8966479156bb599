//! The writes of a clone: those that wait for a master, and those on their way to one.
//!
//! A write waits until a master is found; then it gets a number in the writer's stream and is in flight until its outcome
//! is known. Our own masters tell the outcome of every number. A C++ master tells nothing; there the echo of the write is
//! its success, and an acknowledgement that arrives without an echo before it is its failure, since both come over one
//! link in the order they were sent.
//!
//! **Invariant:** every write is answered exactly once.

use std::collections::{BTreeMap, HashMap, VecDeque};

use broker_core::{Data, EntityId, StoreReply};

use crate::command::Content;
use crate::error::StoreError;

/// A caller's token and its answer.
pub(super) type Answer = (u64, Result<StoreReply, StoreError>);

/// All writes that are not answered.
#[derive(Debug, Default)]
pub(super) struct Writes {
    /// How many writes there have ever been.
    submitted: u64,
    queued: VecDeque<Queued>,
    queued_bytes: usize,
    /// By number in the writer's stream.
    in_flight: BTreeMap<u64, Flight>,
    /// The callers of `put_unique` by request number, until the master has decided.
    uniques: HashMap<u64, u64>,
}

/// A write that waits for a master.
#[derive(Debug)]
pub(super) struct Queued {
    place: u64,
    token: u64,
    since: u64,
    weight: usize,
    pub(super) content: Content,
}

/// A write that was sent.
#[derive(Debug)]
struct Flight {
    place: u64,
    token: u64,
    expect: Expect,
}

/// What would show that a write was applied.
#[derive(Debug)]
enum Expect {
    /// The master says so.
    Outcome,
    /// A put of this value comes back.
    Put { key: Data, value: Data },
    /// A put of some value comes back.
    Computed { key: Data },
    /// An erase comes back, unless the key was not there.
    Erase { key: Data },
    /// A clear comes back.
    Clear,
    /// The decision on this request; kept in `uniques`.
    Decision { request: u64 },
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
        if let Content::PutUnique { request, .. } = &content {
            self.uniques.insert(*request, token);
        }
        self.queued.push_back(Queued {
            place: self.submitted,
            token,
            since: tick,
            weight,
            content,
        });
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
            .first_key_value()
            .map(|(_, flight)| flight.place);
        oldest
            .or_else(|| self.queued.front().map(|queued| queued.place))
            .is_none_or(|oldest| oldest > place)
    }

    /// The next write to be sent.
    pub(super) fn next_queued(&mut self) -> Option<Queued> {
        let queued = self.queued.pop_front()?;
        self.queued_bytes -= queued.weight;
        Some(queued)
    }

    /// The write was sent as number `seq` to a master that tells `outcomes`, or one that does not.
    pub(super) fn sent(&mut self, seq: u64, queued: Queued, outcomes: bool) {
        let Queued {
            place,
            token,
            content,
            ..
        } = queued;
        let expect = match content {
            Content::PutUnique { request, .. } => Expect::Decision { request },
            _ if outcomes => Expect::Outcome,
            Content::Put { key, value, .. } => Expect::Put { key, value },
            Content::Add { key, .. } | Content::Subtract { key, .. } => Expect::Computed { key },
            Content::Erase { key, .. } => Expect::Erase { key },
            Content::Clear { .. } => Expect::Clear,
            _ => Expect::Outcome,
        };
        self.in_flight.insert(
            seq,
            Flight {
                place,
                token,
                expect,
            },
        );
    }

    /// Our master tells how write `seq` went.
    pub(super) fn outcome(&mut self, seq: u64, code: u8) -> Option<Answer> {
        let flight = self.in_flight.remove(&seq)?;
        if code != 0 {
            return self.answer(flight, Err(StoreError::from_outcome(code)));
        }
        match flight.expect {
            // The decision comes, or came, in the stream of updates.
            Expect::Decision { .. } => None,
            _ => Some((flight.token, Ok(StoreReply::Done))),
        }
    }

    /// The number of the oldest write that has no outcome.
    pub(super) fn oldest_in_flight(&self) -> Option<u64> {
        self.in_flight.first_key_value().map(|(seq, _)| *seq)
    }

    /// The master has decided a `put_unique` of ours.
    pub(super) fn decided(&mut self, request: u64, inserted: bool) -> Option<Answer> {
        let token = self.uniques.remove(&request)?;
        Some((token, Ok(StoreReply::Value(inserted.into()))))
    }

    /// An update that this clone's front end caused has come back.
    pub(super) fn echoed(&mut self, update: &Content) -> Option<Answer> {
        let find = |matches: &dyn Fn(&Expect) -> bool| {
            self.in_flight
                .iter()
                .find(|(_, flight)| matches(&flight.expect))
                .map(|(seq, _)| *seq)
        };
        let seq = match update {
            Content::Put { key, value, .. } => find(&|expect| matches!(expect, Expect::Put { key: k, value: v } if k == key && v == value))
                .or_else(|| find(&|expect| matches!(expect, Expect::Computed { key: k } if k == key))),
            Content::Erase { key, .. } => find(&|expect| matches!(expect, Expect::Erase { key: k } if k == key)),
            Content::Clear { .. } => find(&|expect| matches!(expect, Expect::Clear)),
            _ => None,
        }?;
        let flight = self.in_flight.remove(&seq)?;
        Some((flight.token, Ok(StoreReply::Done)))
    }

    /// A master that tells no outcomes has taken all writes up to `seq`, and all its updates before that are here: what
    /// was not echoed never will be.
    pub(super) fn acknowledged_without_echo(&mut self, seq: u64) -> Vec<Answer> {
        let later = self.in_flight.split_off(&(seq + 1));
        let settled = std::mem::replace(&mut self.in_flight, later);
        let answers = settled.into_values().filter_map(|flight| {
            let result = match flight.expect {
                // There was nothing to erase.
                Expect::Erase { .. } | Expect::Clear => Ok(StoreReply::Done),
                _ => Err(StoreError::NotEchoed),
            };
            self.answer(flight, result)
        });
        answers.collect::<Vec<_>>()
    }

    /// The master is lost: what was sent to it stays unanswered for good.
    pub(super) fn abandon_in_flight(&mut self) -> Vec<Answer> {
        let mut answers = Vec::new();
        for flight in std::mem::take(&mut self.in_flight).into_values() {
            answers.extend(self.answer(flight, Err(StoreError::Unanswered)));
        }
        let waiting: Vec<_> = self
            .queued
            .iter()
            .filter_map(|queued| match queued.content {
                Content::PutUnique { request, .. } => Some(request),
                _ => None,
            })
            .collect();
        // Decisions that were still to come although the write itself was settled.
        let undecided: Vec<_> = self
            .uniques
            .keys()
            .filter(|request| !waiting.contains(request))
            .copied()
            .collect();
        for request in undecided {
            answers.extend(
                self.uniques
                    .remove(&request)
                    .map(|token| (token, Err(StoreError::Unanswered))),
            );
        }
        answers
    }

    /// Gives up the writes that have waited since before `tick`.
    pub(super) fn give_up_before(&mut self, tick: u64) -> Vec<Answer> {
        let mut answers = Vec::new();
        while self
            .queued
            .front()
            .is_some_and(|queued| queued.since < tick)
        {
            let Some(queued) = self.next_queued() else {
                break;
            };
            if let Content::PutUnique { request, .. } = queued.content {
                self.uniques.remove(&request);
            }
            answers.push((queued.token, Err(StoreError::GivenUp)));
        }
        answers
    }

    fn answer(&mut self, flight: Flight, result: Result<StoreReply, StoreError>) -> Option<Answer> {
        if let Expect::Decision { request } = flight.expect {
            // None: it was decided before, which is its answer.
            return self.uniques.remove(&request).map(|token| (token, result));
        }
        Some((flight.token, result))
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
