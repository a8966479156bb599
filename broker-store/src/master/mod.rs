//! The master of a store: applies writes to the backend and keeps the clones in step (wire reference 7.3, 7.7, 7.8).
//!
//! The driver feeds commands, requests of this node's callers, and ticks, then calls [`MasterState::commit`] and drains
//! [`MasterState::poll_output`]. Writes are collected in a group and applied together; see `group`.
//!
//! Differences from C++ that clones of either kind can live with:
//!
//! * An add or subtract without an expiry keeps the entry's own; C++ drops it.
//! * A failed add to a missing key leaves nothing behind.
//! * Keepalives also go to each clone by name, because C++ clones act on those only.
//! * A repeated request to attach is answered ever more rarely, since a snapshot may be large.
//! * A writer of ours that asks for it hears the outcome of each of its writes.
//! * A put_unique that cannot be done is answered with no to a clone that hears no outcomes, or it would wait in vain.
//! * A clone that was silent for 50 s and comes back is followed on, see `attached`, and one that has missed more than is
//!   kept is brought up to date, see `resume`.
//!
//! **Invariant:** nothing is answered, echoed or acknowledged before the backend has applied it. A command's sender must
//! live on the endpoint it came from.

mod apply;
mod attached;
mod group;
mod offer;
mod outcomes;
mod queries;
mod record;
mod resume;
mod signs_of_life;
mod snapshot;
mod verify;

pub(crate) use self::queries::remaining;
pub use self::signs_of_life::SignsOfLife;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use broker_core::{Data, EndpointId, EntityId, ErrorCode, Revision, StoreReply, Timestamp};
use bytes::Bytes;

use self::group::{Closed, Effect, Group};
use self::offer::Follower;
use self::outcomes::Outcomes;
use self::record::{Positions, Record};
use self::resume::{Answered, Refill};
use self::snapshot::Snapshot;
use self::verify::{Asker, Verifications};
use crate::backend::{Backend, BackendError};
use crate::channel::{Consumer, Producer, Timers};
use crate::command::{Command, Content};
use crate::digest::Digest;
use crate::driver::ChannelFigures;
use crate::error::StoreError;
use crate::event::StoreEvent;
use crate::operation::{Query, Request};
use crate::semantics;

/// The state of a master. Holds no socket and reads no clock.
pub struct MasterState {
    name: Arc<str>,
    id: EntityId,
    timers: Timers,
    backend: Box<dyn Backend>,
    speaks: Box<dyn Fn(EndpointId) -> bool + Send>,
    name_of: Box<dyn Fn(EndpointId) -> String + Send>,
    /// Which start of the master this is.
    incarnation: u64,
    record: Record,
    group: Group,
    updates: Producer<Bytes>,
    writers: BTreeMap<EntityId, Writer>,
    /// The clones of ours that follow, as long as they are consumers.
    followers: BTreeMap<EntityId, Follower>,
    /// Those that have left, and when.
    departed: VecDeque<(EntityId, u64)>,
    /// The clones of C++ that get everything anew, and what long nacks were answered last.
    refills: BTreeMap<EntityId, Refill>,
    to_be_refilled: BTreeSet<EntityId>,
    /// Numbers that an earlier run may have used without having recorded it.
    unrecorded: Range<u64>,
    /// Those that were forgotten before they had everything.
    unfinished: BTreeSet<EntityId>,
    answered: BTreeMap<EntityId, Answered>,
    /// Up to which number the writes of writers were applied that have to be told apart after a restart.
    positions: Positions,
    /// The last number at which something changed that no clone was told of.
    unnumbered_at: Option<u64>,
    /// Whether anybody was ever attached to a master of this name, or may have been to an earlier run.
    may_be_known: bool,
    verifications: Verifications,
    /// The content as of now, while it stays as it is and clones attach.
    snapshot: Option<Snapshot>,
    tick: u64,
    rejected: u64,
    watched: bool,
    /// What there was to complain about in this stretch of time.
    complaints: u32,
    outputs: VecDeque<MasterOutput>,
}

/// What a master wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum MasterOutput {
    /// Send this to everybody who subscribed to the clones' topic.
    Broadcast(Bytes),
    /// Send this to one endpoint on the clones' topic.
    Unicast {
        /// The endpoint.
        to: EndpointId,
        /// The command.
        payload: Bytes,
    },
    /// Tell whoever watches.
    Event {
        /// The revision that the change leads to.
        revision: u64,
        /// The change.
        event: Arc<StoreEvent>,
    },
    /// Answer a request.
    Reply {
        /// What the request was given as.
        token: u64,
        /// The answer.
        result: Result<StoreReply, StoreError>,
    },
}

/// A clone as a source of writes.
#[derive(Debug)]
struct Writer {
    writes: Consumer<Content>,
    outcomes: Option<Outcomes>,
    last_seen: u64,
    /// When to ask it next to announce its stream anew.
    ask_again: Option<u64>,
    /// Whether it goes on behind a restart, and nothing has come from it since.
    resumed: bool,
}

/// Who wants to know how a write went.
#[derive(Clone, Copy, Debug)]
enum Origin {
    Caller { token: u64 },
    Writer { id: EntityId, seq: u64 },
}

impl MasterState {
    /// The master `id` of the store called `name`, over the entries that `backend` has.
    ///
    /// # Errors
    /// The backend cannot count its entries.
    pub fn new(
        name: impl Into<Arc<str>>,
        id: EntityId,
        backend: Box<dyn Backend>,
        timers: Timers,
    ) -> Result<Self, BackendError> {
        let kept = Record::read(&*backend)?;
        let is_new = kept.is_none();
        let record = match kept {
            Some(record) => record,
            None => Record::begin(id, &*backend)?,
        };
        let positions = Positions::read(&*backend)?;
        let name = name.into();
        let mut state = Self {
            name,
            id,
            timers,
            record,
            backend,
            speaks: Box::new(|_| false),
            name_of: Box::new(|_| String::new()),
            incarnation: fastrand::u64(1..),
            group: Group::default(),
            updates: Producer::new(timers, attached::updates_limits()),
            writers: BTreeMap::new(),
            followers: BTreeMap::new(),
            departed: VecDeque::new(),
            refills: BTreeMap::new(),
            to_be_refilled: BTreeSet::new(),
            unrecorded: Range::default(),
            unfinished: BTreeSet::new(),
            answered: BTreeMap::new(),
            positions: Positions::default(),
            unnumbered_at: None,
            may_be_known: false,
            verifications: Verifications::default(),
            snapshot: None,
            tick: 0,
            rejected: 0,
            watched: true,
            complaints: 0,
            outputs: VecDeque::new(),
        };
        if is_new || !state.take_over(positions) {
            state.introduce();
        }
        Ok(state)
    }

    /// Writes down who the master is, before anybody can attach: clones of C++ follow no other.
    fn introduce(&mut self) {
        if let Err(error) = self.backend.apply(&[self.record.note()]) {
            tracing::warn!(store = %self.name, error = &error as &dyn std::error::Error, "cannot record who the master is, the next write will");
        }
    }

    /// Goes on as the master that had this storage before, if this is its endpoint. False if it is not.
    fn take_over(&mut self, positions: Positions) -> bool {
        let was = self.record.id;
        if was.endpoint != self.id.endpoint {
            tracing::info!(store = %self.name, %was, "the store had its master on another endpoint: clones of C++ have to be restarted");
            self.record.id = self.id;
            // Before it is attached, a clone of C++ keeps what any master sends it: no number may mean two things.
            self.updates.go_on_from(self.record.seq);
            self.record.seq = self.updates.skip(UNRECORDED).1;
            self.record.unnumbered_at = 0;
            return false;
        }
        self.id = was;
        self.may_be_known = true;
        self.positions = positions;
        self.unnumbered_at = (self.record.unnumbered_at > 0).then_some(self.record.unnumbered_at);
        self.updates.go_on_from(self.record.seq);
        // Some of these may have been used, by what changed nothing. The record stays as it is written: the next number
        // that is used is written down at once.
        let (first, last) = self.updates.skip(UNRECORDED);
        self.unrecorded = first..last + 1;
        true
    }

    /// `speaks` says which endpoints announce [`FEATURE`](crate::command::FEATURE); without, none does.
    #[must_use]
    pub fn with_speakers(mut self, speaks: impl Fn(EndpointId) -> bool + Send + 'static) -> Self {
        self.speaks = Box::new(speaks);
        self
    }

    /// Keeps so many updates at most for clones that lack them; 0 is as many as usual.
    #[cfg(any(test, feature = "simulation"))]
    #[must_use]
    pub(crate) const fn keeping_updates(mut self, most: usize) -> Self {
        if most > 0 {
            self.updates.keep_at_most(most);
        }
        self
    }

    /// `name_of` says what an endpoint is called, for reports; without, none has a name.
    #[must_use]
    pub fn with_names(mut self, name_of: impl Fn(EndpointId) -> String + Send + 'static) -> Self {
        self.name_of = Box::new(name_of);
        self
    }

    /// The endpoint of the master that had this storage last, if there was one. An endpoint with this ID goes on in its
    /// name, so that clones of C++ notice nothing of a restart.
    ///
    /// # Errors
    /// The storage failed or holds something unreadable.
    pub fn kept_endpoint(backend: &dyn Backend) -> Result<Option<EndpointId>, BackendError> {
        Ok(Record::read(backend)?.map(|record| record.id.endpoint))
    }

    /// Who the master is.
    #[must_use]
    pub const fn id(&self) -> EntityId {
        self.id
    }

    /// How many entries there are.
    #[must_use]
    pub const fn entries(&self) -> u64 {
        self.record.entries
    }

    /// Where the store is in its history: it moves with every change, clones or not.
    #[must_use]
    pub const fn revision(&self) -> Revision {
        Revision {
            history: self.record.history,
            number: self.record.revision,
        }
    }

    /// The digest of the entries at this revision.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.record.digest
    }

    /// The channels to and from clones; who waits for answers is not known here.
    #[must_use]
    pub fn channels(&self) -> ChannelFigures {
        let writes = || self.writers.values().map(|writer| &writer.writes);
        let acknowledged = self.updates.acknowledged();
        ChannelFigures {
            inputs: writes().filter(|writes| writes.is_attached()).count() as u64,
            outputs: self.updates.consumers().count() as u64,
            out_of_order: writes().map(|writes| writes.waiting() as u64).sum(),
            unacknowledged: self.updates.seq().saturating_sub(acknowledged),
            acknowledged,
            pending: 0,
        }
    }

    /// How many clones are attached.
    #[must_use]
    pub fn clones(&self) -> usize {
        self.updates.consumers().count()
    }

    /// The number of the last update sent; it moves only while clones are attached.
    #[must_use]
    pub const fn seq(&self) -> u64 {
        self.updates.seq()
    }

    /// Commands that were refused: not readable, or in somebody else's name.
    #[must_use]
    pub const fn rejected(&self) -> u64 {
        self.rejected
    }

    /// What the backend is called.
    #[must_use]
    pub fn backend_name(&self) -> &str {
        self.backend.name()
    }

    /// Whether calls may wait for a disk, and so belong on a thread of their own.
    #[must_use]
    pub fn may_block(&self) -> bool {
        self.backend.may_block()
    }

    /// Whether anybody wants events from now on; at first it is so. Without, values are not copied for them.
    pub const fn set_watched(&mut self, watched: bool) {
        self.watched = watched;
    }

    /// A command has come from the endpoint `from`.
    pub fn handle_command(&mut self, now: Timestamp, from: EndpointId, payload: &[u8]) {
        let command = match Command::decode(payload) {
            Ok(command) if command.sender.endpoint == from => command,
            Ok(command) => {
                return self.reject(
                    from,
                    &format_args!("it names {} as its sender", command.sender),
                );
            }
            Err(error) => return self.reject(from, &error),
        };
        if self.has_departed(command.sender) {
            return;
        }
        self.make_room(payload.len());
        let sender = command.sender;
        self.hear_writer(sender);
        let known = match command.content {
            // Who acknowledges follows, and being known as a writer is not enough: it announces itself until it is
            // answered, to another start of the master even.
            Content::CumulativeAck { .. } => self.updates.acked(sender).is_some(),
            _ => self.knows(sender),
        };
        if command.content.tells_acquaintance() && !known {
            self.turn_away(sender);
        }
        match command.content {
            Content::Nack { seqs } => self.handle_nack(sender, command.receiver, &seqs),
            Content::CumulativeAck { seq } => {
                if self.updates.acked(sender).is_some()
                    || self.resume(sender, command.receiver, seq)
                {
                    self.updates.handle_ack(sender, seq);
                    self.trim_refill(sender, seq);
                }
            }
            Content::AttachWriter { offset, heartbeat } => {
                self.attach_writer(now, sender, offset, heartbeat)
            }
            Content::Keepalive { seq } => self.handle_keepalive(sender, seq),
            Content::RetransmitFailed { seq } => self.feed(now, sender, |writes, deliver| {
                writes.handle_retransmit_failed(seq, deliver)
            }),
            Content::WantResults => {
                // A clone of ours: it takes another name when it comes back.
                self.updates.never_returns(sender);
                if let Some(writer) = self.writers.get_mut(&sender) {
                    let next = writer.writes.delivered() + 1;
                    writer.outcomes.get_or_insert_with(|| Outcomes::new(next));
                }
            }
            Content::ResultsQuery { first } => {
                let known = self
                    .writers
                    .get(&sender)
                    .and_then(|writer| writer.outcomes.as_ref()?.from(first));
                if let Some((first, codes)) = known {
                    self.unicast(sender, Content::WriteResults { first, codes });
                }
            }
            Content::Follow {
                incarnation,
                from,
                former,
            } => self.handle_follow(sender, incarnation, from, former),
            Content::Pull { id, after, bytes } => self.handle_pull(now, sender, id, after, bytes),
            Content::Leave => {
                self.commit();
                self.forget(sender);
            }
            Content::Query { id, question } => self.handle_query(now, sender, id, question),
            Content::Checked { id, verdict } => self.handle_checked(sender, id, verdict),
            Content::Sync { id } => self.group.then(Effect::SyncReply { to: sender, id }),
            action => {
                let weight = payload.len();
                self.feed(now, sender, |writes, deliver| {
                    writes.handle_message(command.seq, weight, action, deliver)
                });
            }
        }
    }

    /// A caller on this node asks for something; the answer bears `token`.
    pub fn handle_request(&mut self, now: Timestamp, token: u64, request: Request) {
        match request {
            Request::Write(content) => {
                self.make_room(REQUEST_WEIGHT);
                self.stage(now, content, Origin::Caller { token });
            }
            Request::Unknown => {
                let error = StoreError::Refused(ErrorCode::InvalidMessage);
                self.group.then(Effect::Refusal { token, error });
            }
            Request::Read(Query::Verify) => self.verify(Asker::Caller { token }),
            Request::Read(query) => {
                // A walk sees the backend only.
                if matches!(query, Query::Keys | Query::Scan { .. }) {
                    self.commit();
                }
                match self.answer(now, query) {
                    Ok(reply) => self.group.then(Effect::Reply { token, reply }),
                    Err(error) => self.group.then(Effect::Refusal { token, error }),
                }
            }
        }
    }

    /// One tick has passed: keepalives, acknowledgements, expiry.
    pub fn tick(&mut self, now: Timestamp) {
        self.commit();
        self.tick += 1;
        self.count_complaints();
        // Clones that attach together share one; longer it would only take memory.
        self.snapshot = None;
        self.updates.tick();
        self.drain_updates();
        self.tick_writers();
        self.tick_followers();
        self.tick_refills();
        self.tick_record();
        self.tick_verifications();
        self.expire(now);
        self.commit();
    }

    /// Applies the group that was collected and lets its consequences out.
    pub fn commit(&mut self) {
        if self.group.is_empty() {
            return;
        }
        let mut closed = self.group.close();
        let record = self.record_after(&closed);
        // What changes nothing is numbered as well; now and then that is written down.
        if !closed.mutations.is_empty() || record.seq > self.record.seq + UNRECORDED {
            closed.mutations.push(record.note());
            closed.mutations.extend(self.positions.note());
            if let Err(error) = self.backend.apply(&closed.mutations) {
                self.positions.not_kept();
                self.fail_group(closed.effects, &error);
                return;
            }
            self.snapshot = None;
            self.record = record;
        } else {
            closed.mutations.clear();
        }
        // Before somebody attaches in this very group, see `step_over_what_nobody_was_told`.
        if closed.changes > 0 && !self.updates.has_consumers() {
            self.unnumbered_at = Some(self.updates.seq());
        }
        for effect in closed.effects {
            self.let_out(effect);
        }
        self.send_outcomes();
    }

    fn record_after(&self, closed: &Closed) -> Record {
        let (entries, digest) = if closed.cleared {
            (0, Digest::default())
        } else {
            (self.record.entries, self.record.digest)
        };
        let numbered = closed
            .effects
            .iter()
            .filter(|effect| matches!(effect, Effect::Update(_) | Effect::Decision { .. }))
            .count() as u64;
        let unnumbered_at = if closed.changes > 0 && !self.updates.has_consumers() {
            self.updates.seq()
        } else {
            self.record.unnumbered_at
        };
        Record {
            seq: if self.updates.has_consumers() {
                self.updates.seq() + numbered
            } else {
                self.updates.seq()
            },
            unnumbered_at,
            revision: self.record.revision + closed.changes,
            entries: entries.saturating_add_signed(closed.grown),
            digest: digest.with(closed.digest),
            ..self.record
        }
    }

    /// What is to be done, in this order, until there is no more.
    pub fn poll_output(&mut self) -> Option<MasterOutput> {
        self.outputs.pop_front()
    }

    /// All that is to be done, in this order.
    pub fn take_outputs(&mut self) -> VecDeque<MasterOutput> {
        std::mem::take(&mut self.outputs)
    }

    fn knows(&self, id: EntityId) -> bool {
        self.updates.acked(id).is_some() || self.writers.contains_key(&id)
    }

    fn reject(&mut self, from: EndpointId, why: &dyn fmt::Display) {
        self.rejected += 1;
        tracing::debug!(store = %self.name, %from, %why, "refused a store command");
    }

    /// Whether to log something that peers or a broken disk can make happen again and again.
    fn may_complain(&mut self) -> bool {
        self.complaints = self.complaints.saturating_add(1);
        self.complaints <= MAX_COMPLAINTS
    }

    fn count_complaints(&mut self) {
        if self.tick.is_multiple_of(COMPLAINT_TICKS) {
            let left_out = std::mem::take(&mut self.complaints).saturating_sub(MAX_COMPLAINTS);
            if left_out > 0 {
                tracing::warn!(store = %self.name, left_out, "more of the kind was not logged");
            }
        }
    }

    fn make_room(&mut self, weight: usize) {
        if self.group.is_full() {
            self.commit();
        }
        self.group.weigh(weight);
    }
}

impl fmt::Debug for MasterState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MasterState")
            .field("name", &self.name)
            .field("id", &self.id)
            .field("record", &self.record)
            .finish_non_exhaustive()
    }
}

fn normal(mut key: Data) -> Result<Data, StoreError> {
    semantics::normalize_key(&mut key).map_err(StoreError::Refused)?;
    Ok(key)
}

fn normal_value(mut value: Data) -> Result<Data, StoreError> {
    semantics::normalize_value(&mut value).map_err(StoreError::Refused)?;
    Ok(value)
}

#[expect(clippy::needless_pass_by_value, reason = "it is given to map_err")]
/// The error with all its causes.
pub(crate) fn report(error: BackendError) -> StoreError {
    report_ref(&error)
}

fn report_ref(error: &BackendError) -> StoreError {
    let mut report = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(source) = cause {
        report.push_str(": ");
        report.push_str(&source.to_string());
        cause = source.source();
    }
    StoreError::Backend { report }
}

/// Numbers that may be used before the last one is written down.
const UNRECORDED: u64 = 1024;

/// What is logged of things that can happen again and again, in [`COMPLAINT_TICKS`].
const MAX_COMPLAINTS: u32 = 10;

/// Ten seconds.
const COMPLAINT_TICKS: u64 = 100;

/// What a caller's request counts for in a group; its value is in memory already.
const REQUEST_WEIGHT: usize = 256;

#[cfg(test)]
mod tests;
