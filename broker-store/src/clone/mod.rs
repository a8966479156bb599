//! The clone of a store: follows a master, holds a full copy for readers, and sends writes to the master (wire reference
//! 7.3, 7.8).
//!
//! The driver feeds commands, the writes of this node's callers, and ticks, and drains [`CloneState::poll_output`].
//! Readers use the shared content without asking the clone.
//!
//! A clone searches for its master for ever, and starts over with a new entity ID when the master is silent, when another
//! one speaks in its place, or when an update is lost: C++ clones give up instead. Starting over keeps the content
//! readable until the new snapshot replaces it; writes that left the node but were not answered stay unanswered.
//!
//! **Invariant:** the content changes only by what the master says, in the order it says it: a whole copy, then every update
//! after it.

mod attach;
mod checks;
mod differences;
mod in_flight;
mod questions;
mod update;
mod view;
mod wait;
mod writer;
mod writes;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use broker_core::{EndpointId, EntityId, Revision, StoreOperation, StoreReply, Timestamp};
use bytes::Bytes;

pub(crate) use self::view::CloneView;
pub use self::view::Freshness;

use self::attach::{Asked, Build, Stream};
use self::checks::Check;
use self::differences::Differences;
use self::questions::Questions;
use self::wait::{Barrier, Wait};
use self::writer::{normalize, weight, writer_limits};
use self::writes::{Answer, Writes};
use crate::channel::{Consumer, ConsumerLimits, Delivery, Producer, Timers, Upkeep};
use crate::command::{Command, Content};
use crate::driver::ChannelFigures;
use crate::error::StoreError;
use crate::event::StoreEvent;
use crate::ids::EntityIds;
use crate::operation::Request;

/// The state of a clone. Holds no socket and reads no clock.
pub struct CloneState {
    name: Arc<str>,
    ids: EntityIds,
    patience: Patience,
    speaks: Box<dyn Fn(EndpointId) -> bool + Send>,
    view: Arc<CloneView>,
    /// Whether a master of ours is asked rather than copied.
    without_copy: bool,
    /// Where the content that is read is in the history of its store; `None` behind a C++ master.
    at: Option<Revision>,
    /// The offer that was answered.
    asked: Option<Asked>,
    /// The stream that was followed before, as long as it may be gone on with.
    former: Option<Stream>,
    /// The content that is being pulled.
    build: Option<Build>,
    pulls: u64,
    /// Bytes of a page to ask for; the master has a bound of its own.
    page_bytes: u32,
    /// What a new content has changed, while it is being told, and what came meanwhile.
    differences: Option<Differences>,
    held: VecDeque<(Timestamp, Delivery<Content>)>,
    checks: Vec<Check>,
    questions: Questions,
    /// Who the clone is to its master; new after each start.
    id: EntityId,
    /// Who the clone's writes are published by; always the same.
    front: EntityId,
    master: Option<Master>,
    updates: Consumer<Content>,
    writer: Producer<Bytes>,
    writes: Writes,
    /// Writes up to this number have been taken by a master that tells no outcomes.
    taken: u64,
    waits: Vec<Wait>,
    tick: u64,
    lost_at: u64,
    requests: u64,
    rejected: u64,
    watched: bool,
    outputs: VecDeque<CloneOutput>,
}

/// How long a clone waits for what, in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Silence of the master before the clone starts over.
    pub silence: u64,
    /// Without a master before reads fail; `None` is for ever.
    pub stale: Option<u64>,
    /// Without a master before a write is given up.
    pub write: u64,
}

impl Default for Patience {
    /// 5 s, 5 min, 2 min: the latter two are what Zeek documents.
    fn default() -> Self {
        Self {
            silence: 50,
            stale: Some(3000),
            write: 1200,
        }
    }
}

/// What a clone wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum CloneOutput {
    /// Send this to whoever subscribed to the master's topic.
    Broadcast(Bytes),
    /// Send this write to whoever subscribed to the master's topic; tell [`CloneState::handle_left`] if anybody has.
    Write {
        /// Its number.
        seq: u64,
        /// The command.
        payload: Bytes,
    },
    /// Send this to one endpoint on the master's topic.
    Unicast {
        /// The endpoint.
        to: EndpointId,
        /// The command.
        payload: Bytes,
    },
    /// Tell whoever watches.
    Event {
        /// The revision to go on from once it is dealt with; `None` behind a C++ master.
        at: Option<Revision>,
        /// The change.
        event: StoreEvent,
    },
    /// Tell whoever watches what a new content has changed.
    Difference {
        /// The revision before the new content, which whoever stops here goes on from.
        at: Option<Revision>,
        /// The change.
        event: StoreEvent,
    },
    /// Tell whoever watches that everything up to this revision has been told.
    Position(Revision),
    /// Answer a write or a wait.
    Reply {
        /// What it was given as.
        token: u64,
        /// The answer.
        result: Result<StoreReply, StoreError>,
    },
    /// The freshness of the content has changed.
    Freshness(Freshness),
}

/// The master that is followed.
#[derive(Clone, Copy, Debug)]
struct Master {
    id: EntityId,
    /// Whether it tells the outcome of each write.
    outcomes: bool,
    /// Which start of it is followed; `None` if it is no master of ours, or not followed.
    incarnation: Option<u64>,
    last_heard: u64,
    /// Ticks for which an acknowledged write has had no outcome.
    overdue: u64,
}

impl CloneState {
    /// A clone of the store called `name` that searches for its master at once. `speaks` says whether an endpoint
    /// announces [`FEATURE`](crate::command::FEATURE).
    pub fn new(
        name: impl Into<Arc<str>>,
        ids: EntityIds,
        patience: Patience,
        speaks: impl Fn(EndpointId) -> bool + Send + 'static,
    ) -> Self {
        let id = ids.next_id();
        let mut state = Self {
            name: name.into(),
            ids,
            patience,
            speaks: Box::new(speaks),
            view: Arc::new(CloneView::new()),
            without_copy: false,
            at: None,
            asked: None,
            former: None,
            build: None,
            pulls: 0,
            page_bytes: PAGE_BYTES,
            differences: None,
            held: VecDeque::new(),
            checks: Vec::new(),
            questions: Questions::default(),
            id,
            front: id,
            master: None,
            updates: Consumer::new(Timers::default(), ConsumerLimits::default()),
            writer: Producer::new(Timers::default(), writer_limits()),
            writes: Writes::default(),
            taken: 0,
            waits: Vec::new(),
            tick: 0,
            lost_at: 0,
            requests: 0,
            rejected: 0,
            watched: true,
            outputs: VecDeque::new(),
        };
        state.search();
        state
    }

    /// A clone that keeps no copy where its master is a node of ours: questions go there instead. Behind a C++ master,
    /// which cannot be asked, it keeps one.
    #[must_use]
    pub fn without_copy(mut self) -> Self {
        self.without_copy = true;
        self
    }

    /// Asks for the content in pages of about so many bytes; the master's own bound is 256 KiB.
    #[must_use]
    pub const fn page_bytes(mut self, bytes: u32) -> Self {
        self.page_bytes = bytes;
        self
    }

    /// From now on a copy is kept, if none was.
    pub fn take_a_copy(&mut self) {
        if std::mem::take(&mut self.without_copy) {
            self.view.set_remote(false);
            self.view.set_freshness(Freshness::Empty);
            self.begin_anew();
            self.set_freshness(Freshness::Empty);
        }
    }

    /// Where the content that is read is in the history of its store; `None` if it is not known.
    #[must_use]
    pub const fn revision(&self) -> Option<Revision> {
        self.at
    }

    /// How many updates are known to exist and not applied yet.
    #[must_use]
    pub fn lag(&self) -> u64 {
        let ahead = self
            .updates
            .end()
            .saturating_sub(self.updates.delivered() + 1);
        ahead + self.held.len() as u64
    }

    pub(crate) fn view(&self) -> Arc<CloneView> {
        Arc::clone(&self.view)
    }

    /// Who the clone is at present.
    #[must_use]
    pub const fn id(&self) -> EntityId {
        self.id
    }

    /// Who its master is, if it has found one.
    #[must_use]
    pub fn master(&self) -> Option<EntityId> {
        self.master.map(|master| master.id)
    }

    /// Commands that were refused: not readable, or in somebody else's name.
    #[must_use]
    pub const fn rejected(&self) -> u64 {
        self.rejected
    }

    /// Whether writes should be held back: enough of them wait for the present master already.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.master.is_some() && self.writes.queued() >= MAX_BACKLOG
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
        match self.master {
            None => self.handle_while_searching(now, command),
            Some(master) if master.id == command.sender => {
                self.handle_from_master(now, command, payload.len())
            }
            // Another one speaks: if the master does not any more, it was replaced.
            Some(master)
                if self.tick - master.last_heard > REPLACED_AFTER
                    && command.content.is_masters() =>
            {
                self.start_over("another master speaks")
            }
            Some(_) => {}
        }
        self.check_waits();
    }

    /// A caller on this node writes; the answer bears `token`. Questions are answered by the shared content, not here.
    pub fn handle_write(&mut self, token: u64, operation: StoreOperation) {
        self.requests += 1;
        let Request::Write(mut content) =
            Request::from_operation(operation, self.front, self.requests)
        else {
            return self.reply((token, Err(StoreError::NotLocal)));
        };
        if let Err(code) = normalize(&mut content) {
            return self.reply((token, Err(StoreError::Refused(code))));
        }
        if let (Content::CompareAndSet { .. }, Some(master)) = (&content, self.master)
            && !master.outcomes
        {
            return self.reply((token, Err(StoreError::Unsupported)));
        }
        let weight = weight(&content);
        match self.writes.submit(self.tick, token, weight, content) {
            Ok(()) => self.send_queued(),
            Err(error) => self.reply((token, Err(error))),
        }
    }

    /// Somebody was there to take write `seq`. A write that nobody took goes to the next master when this one is lost; one
    /// that was taken may have been applied.
    pub fn handle_left(&mut self, seq: u64) {
        self.writes.left(seq);
    }

    /// The clone goes, and need not be remembered.
    pub fn leave(&mut self) {
        if let Some(master) = self.master.filter(|master| master.outcomes) {
            self.unicast(master.id, Content::Leave);
        }
    }

    /// A caller waits until every write before this is answered.
    pub fn handle_await_idle(&mut self, token: u64) {
        self.wait(token, Barrier::NotAsked);
    }

    /// A caller waits until the content holds all that the master had applied when it was asked; our own writes before
    /// this included. Against a C++ master, which cannot be asked, it waits for our own writes and all that is known to
    /// be on its way.
    pub fn handle_sync(&mut self, token: u64) {
        self.wait(token, Barrier::Due);
    }

    /// The callers of these tokens have gone.
    pub fn forget_waits(&mut self, gone: impl Fn(u64) -> bool) {
        self.waits.retain(|wait| !gone(wait.token));
        self.forget_questions(&gone);
    }

    /// The channels to and from the master; who waits for answers is not known here.
    #[must_use]
    pub fn channels(&self) -> ChannelFigures {
        let acknowledged = self.writer.acknowledged();
        ChannelFigures {
            inputs: u64::from(self.updates.is_attached()),
            outputs: self.writer.consumers().count() as u64,
            out_of_order: self.updates.waiting() as u64,
            unacknowledged: self.writer.seq().saturating_sub(acknowledged),
            acknowledged,
            pending: 0,
        }
    }

    /// One tick has passed.
    pub fn tick(&mut self) {
        self.tick += 1;
        let mut upkeep = self.updates.tick();
        if self.master.is_some() && !self.updates.is_attached() {
            // Without a copy there is nothing to be attached to.
            upkeep = Upkeep::default();
        }
        match self.master {
            None => {
                if let Some(seqs) = upkeep.nack {
                    self.broadcast(EntityId::NIL, Content::Nack { seqs });
                }
                self.tick_without_master();
            }
            Some(master) => {
                for content in [
                    upkeep.nack.map(|seqs| Content::Nack { seqs }),
                    upkeep.ack.map(|seq| Content::CumulativeAck { seq }),
                ]
                .into_iter()
                .flatten()
                {
                    self.unicast(master.id, content);
                }
                self.tick_with_master(master);
            }
        }
        self.check_waits();
    }

    /// What is to be done, in this order, until there is no more.
    pub fn poll_output(&mut self) -> Option<CloneOutput> {
        loop {
            if let Some(output) = self.outputs.pop_front() {
                return Some(output);
            }
            self.tell_differences()?;
        }
    }

    /// Some of what a new content has changed; `None` if there is nothing to be told.
    fn tell_differences(&mut self) -> Option<()> {
        let differences = self.differences.as_mut()?;
        let at = differences.before;
        if let Some(events) = differences.next(&self.view.content) {
            let events = events.into_iter();
            self.outputs
                .extend(events.map(|event| CloneOutput::Difference { at, event }));
            return Some(());
        }
        self.differences = None;
        self.outputs.extend(self.at.map(CloneOutput::Position));
        // These may bring another new content.
        while !self.is_between()
            && let Some((now, delivery)) = self.held.pop_front()
        {
            self.deliver(now, delivery);
        }
        self.answer_checks();
        self.check_waits();
        Some(())
    }

    /// Whether the content that is read is not the one of the stream's position: it is being built, or told.
    const fn is_between(&self) -> bool {
        self.build.is_some() || self.differences.is_some()
    }

    fn reject(&mut self, from: EndpointId, why: &dyn fmt::Display) {
        self.rejected += 1;
        tracing::debug!(store = %self.name, %from, %why, "refused a store command");
    }

    // --- finding and losing a master -------------------------------------------------------------

    fn search(&mut self) {
        self.broadcast(EntityId::NIL, Content::Nack { seqs: vec![0] });
    }

    fn start_over(&mut self, why: &str) {
        if let Some(master) = self.master {
            tracing::warn!(store = %self.name, master = %master.id, why, in_flight = self.writes.in_flight(), "lost the master, searching again");
            self.begin_anew();
        }
    }

    fn begin_anew(&mut self) {
        let Some(master) = self.master.take() else {
            return;
        };
        // What waits has been delivered and not applied: it is not gone on from, and nothing of it concerns the next stream.
        let waits = self.held.front().map(|(_, delivery)| delivery.seq());
        self.held.clear();
        self.former = master.incarnation.map(|incarnation| Stream {
            master: master.id,
            incarnation,
            object: self.id.object,
            delivered: waits.map_or_else(|| self.updates.delivered(), |first| first - 1),
        });
        self.checks.clear();
        self.id = self.ids.next_id();
        self.updates = Consumer::new(Timers::default(), ConsumerLimits::default());
        self.writer = Producer::new(Timers::default(), writer_limits());
        self.taken = 0;
        self.lost_at = self.tick;
        self.set_freshness(Freshness::Lost);
        // What has not been taken from here has not left: it waits for the next master, and must not go to this one.
        self.outputs
            .retain(|output| !matches!(output, CloneOutput::Write { .. }));
        let answers = self.writes.abandon_in_flight();
        answers.into_iter().for_each(|answer| self.reply(answer));
        for wait in &mut self.waits {
            if wait.barrier != Barrier::NotAsked {
                wait.barrier = Barrier::Due;
            }
        }
        self.search();
    }

    fn tick_without_master(&mut self) {
        let answers = self
            .writes
            .give_up_before(self.tick.saturating_sub(self.patience.write));
        answers.into_iter().for_each(|answer| self.reply(answer));
        let stale = self
            .patience
            .stale
            .is_some_and(|patience| self.tick - self.lost_at > patience);
        if stale && self.view.freshness() == Freshness::Lost {
            self.set_freshness(Freshness::Stale);
        }
        if (self.tick - self.lost_at).is_multiple_of(REMINDER) {
            tracing::warn!(store = %self.name, "still no master found, searching");
        }
    }

    fn tick_with_master(&mut self, master: Master) {
        self.writer.tick();
        self.drain_writer();
        if self.tick - master.last_heard > self.patience.silence {
            return self.start_over("the master is silent");
        }
        if !self.writer.has_consumers() {
            return self.start_over("the master does not acknowledge writes");
        }
        self.check_outcomes(master);
        self.tick_build();
        self.tick_questions();
        self.send_queued();
        self.send_syncs();
    }

    fn set_freshness(&mut self, freshness: Freshness) {
        self.view.set_freshness(freshness);
        self.outputs.push_back(CloneOutput::Freshness(freshness));
    }

    // --- output ----------------------------------------------------------------------------------

    fn broadcast(&mut self, receiver: EntityId, content: Content) {
        let payload = Command::control(self.id, receiver, content).encode();
        self.outputs.push_back(CloneOutput::Broadcast(payload));
    }

    fn unicast(&mut self, receiver: EntityId, content: Content) {
        let payload = Command::control(self.id, receiver, content).encode();
        self.outputs.push_back(CloneOutput::Unicast {
            to: receiver.endpoint,
            payload,
        });
    }

    fn event(&mut self, event: StoreEvent) {
        if self.watched {
            let at = self.at;
            self.outputs.push_back(CloneOutput::Event { at, event });
        }
    }

    fn reply(&mut self, (token, result): Answer) {
        self.outputs.push_back(CloneOutput::Reply { token, result });
    }
}

impl fmt::Debug for CloneState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CloneState")
            .field("name", &self.name)
            .field("id", &self.id)
            .field("master", &self.master)
            .finish_non_exhaustive()
    }
}

/// Bytes of a page to ask for.
const PAGE_BYTES: u32 = 256 << 10;

/// Writes that may wait for the present master before callers are held back.
const MAX_BACKLOG: usize = 8192;

/// Silence of the master, in ticks, after which another one that speaks has taken its place.
const REPLACED_AFTER: u64 = 10;

/// Ticks between two remarks that no master is found.
const REMINDER: u64 = 600;

#[cfg(test)]
mod tests;
