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
//! **Invariant:** the content changes only by what the master says, in the order it says it: a snapshot, then every update
//! after it.

mod view;
mod writes;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use broker_core::{Data, EndpointId, EntityId, StoreOperation, StoreReply, Timestamp};
use bytes::{Bytes, BytesMut};

pub(crate) use self::view::CloneView;
pub use self::view::Freshness;

use self::writes::{Answer, Writes, publisher};
use crate::backend::Entry;
use crate::channel::{
    Consumer, ConsumerLimits, Delivery, Producer, ProducerLimits, Timers, Transmit,
};
use crate::command::{Command, Content, HEADER_LEN, put_header};
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
    /// Who the clone is to its master; new after each start.
    id: EntityId,
    /// Who the clone's writes are published by; always the same.
    front: EntityId,
    master: Option<Master>,
    updates: Consumer<Content>,
    writer: Producer<Bytes>,
    writes: Writes,
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
    Event(StoreEvent),
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
    last_heard: u64,
    /// Ticks for which an acknowledged write has had no outcome.
    overdue: u64,
}

/// A caller that waits for a state rather than for a write.
#[derive(Debug)]
struct Wait {
    token: u64,
    /// Writes up to this place are to be answered.
    place: u64,
    barrier: Barrier,
}

/// How far a barrier through the master has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Barrier {
    /// There is none: only the writes count.
    NotAsked,
    /// It is to be sent.
    Due,
    /// It was sent at this tick.
    Sent { tick: u64 },
    /// The master was at this number.
    Answered { seq: u64 },
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
            id,
            front: id,
            master: None,
            updates: Consumer::new(Timers::default(), ConsumerLimits::default()),
            writer: Producer::new(Timers::default(), writer_limits()),
            writes: Writes::default(),
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
            Some(master) if self.tick - master.last_heard > REPLACED_AFTER => {
                self.start_over("another master speaks")
            }
            Some(_) => {}
        }
        self.check_waits();
    }

    /// A caller on this node writes; the answer bears `token`. Questions are answered by the shared content, not here.
    pub fn handle_write(&mut self, token: u64, operation: StoreOperation) {
        self.requests += 1;
        let Request::Write(content) = Request::from_operation(operation, self.front, self.requests)
        else {
            return self.reply((token, Err(StoreError::NotLocal)));
        };
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
    }

    /// One tick has passed.
    pub fn tick(&mut self) {
        self.tick += 1;
        let upkeep = self.updates.tick();
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
        self.outputs.pop_front()
    }

    fn reject(&mut self, from: EndpointId, why: &dyn fmt::Display) {
        self.rejected += 1;
        tracing::debug!(store = %self.name, %from, %why, "refused a store command");
    }

    // --- finding and losing a master -------------------------------------------------------------

    fn search(&mut self) {
        self.broadcast(EntityId::NIL, Content::Nack { seqs: vec![0] });
    }

    fn handle_while_searching(&mut self, now: Timestamp, command: Command) {
        let Content::AckClone {
            offset,
            heartbeat,
            snapshot,
        } = command.content
        else {
            return;
        };
        if command.receiver != self.id {
            return;
        }
        let master = command.sender;
        let mut early = Vec::new();
        let Some(ack) = self
            .updates
            .handle_handshake(offset, heartbeat, &mut |delivery| early.push(delivery))
        else {
            return;
        };
        let outcomes = (self.speaks)(master.endpoint);
        tracing::info!(store = %self.name, %master, entries = snapshot.len(), "found the master");
        self.master = Some(Master {
            id: master,
            outcomes,
            last_heard: self.tick,
            overdue: 0,
        });
        self.install(snapshot, master);
        self.view.set_revision(ack);
        self.set_freshness(Freshness::Live);
        self.unicast(master, Content::CumulativeAck { seq: ack });
        self.writer = Producer::new(
            Timers {
                heartbeat: heartbeat.max(1),
                ..Timers::default()
            },
            writer_limits(),
        );
        self.writer.attach(master);
        self.drain_writer();
        if outcomes {
            self.unicast(master, Content::WantResults);
        }
        for delivery in early {
            self.deliver(now, delivery);
        }
        self.send_queued();
        self.send_syncs();
    }

    fn start_over(&mut self, why: &str) {
        let Some(master) = self.master.take() else {
            return;
        };
        tracing::warn!(store = %self.name, master = %master.id, why, in_flight = self.writes.in_flight(), "lost the master, searching again");
        self.id = self.ids.next_id();
        self.updates = Consumer::new(Timers::default(), ConsumerLimits::default());
        self.writer = Producer::new(Timers::default(), writer_limits());
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
        self.send_queued();
        self.send_syncs();
    }

    fn set_freshness(&mut self, freshness: Freshness) {
        self.view.set_freshness(freshness);
        self.outputs.push_back(CloneOutput::Freshness(freshness));
    }

    // --- what the master says --------------------------------------------------------------------

    fn handle_from_master(&mut self, now: Timestamp, command: Command, len: usize) {
        let (tick, to_me) = (self.tick, command.receiver == self.id);
        let Some(master) = &mut self.master else {
            return;
        };
        master.last_heard = tick;
        let master = *master;
        match command.content {
            Content::Keepalive { seq } => self.updates.handle_keepalive(seq),
            Content::CumulativeAck { seq } if to_me => self.handle_ack(master, seq),
            Content::Nack { seqs } if to_me => {
                self.writer.handle_nack(master.id, &seqs);
                self.drain_writer();
            }
            Content::RetransmitFailed { seq } if to_me => {
                let mut delivered = Vec::new();
                self.updates
                    .handle_retransmit_failed(seq, &mut |delivery| delivered.push(delivery));
                delivered
                    .into_iter()
                    .for_each(|delivery| self.deliver(now, delivery));
            }
            Content::WriteResults { first, codes } if to_me => {
                // Outcomes come in the order of writes, so they acknowledge as well, and sooner.
                let last = first.saturating_add(codes.len() as u64).saturating_sub(1);
                self.writer.handle_ack(master.id, last);
                for (index, code) in codes.into_iter().enumerate() {
                    let answer = self
                        .writes
                        .outcome(first.saturating_add(index as u64), code);
                    answer.into_iter().for_each(|answer| self.reply(answer));
                }
                self.send_queued();
            }
            Content::SyncReply { id, seq } if to_me => {
                if let Some(wait) = self.waits.iter_mut().find(|wait| wait.token == id) {
                    wait.barrier = Barrier::Answered { seq };
                }
            }
            // Actions that only writers take are numbered all the same; they have no effect.
            update @ (Content::Put { .. }
            | Content::PutUnique { .. }
            | Content::PutUniqueResult { .. }
            | Content::Erase { .. }
            | Content::Expire { .. }
            | Content::Add { .. }
            | Content::Subtract { .. }
            | Content::Clear { .. }) => {
                self.handle_update(now, command.seq, len, update);
            }
            _ => {}
        }
    }

    fn handle_update(&mut self, now: Timestamp, seq: u64, len: usize, update: Content) {
        // Nearly always it is the next one.
        let mut first = None;
        let mut rest = Vec::new();
        self.updates
            .handle_message(seq, len, update, &mut |delivery| match first {
                None => first = Some(delivery),
                Some(_) => rest.push(delivery),
            });
        first
            .into_iter()
            .chain(rest)
            .for_each(|delivery| self.deliver(now, delivery));
    }

    fn deliver(&mut self, now: Timestamp, delivery: Delivery<Content>) {
        match delivery {
            Delivery::Message(seq, update) => {
                if self.master.is_some() {
                    self.apply(now, update);
                    self.view.set_revision(seq);
                }
            }
            Delivery::Lost(_) => self.start_over("an update is lost"),
        }
    }

    fn apply(&mut self, now: Timestamp, update: Content) {
        let outcomes = self.master.is_some_and(|master| master.outcomes);
        if !outcomes && publisher(&update) == Some(self.front) {
            let answer = self.writes.echoed(&update);
            answer.into_iter().for_each(|answer| self.reply(answer));
        }
        let store = self.name.clone();
        match update {
            Content::Put {
                key,
                value,
                expiry,
                publisher,
            } => {
                let expires_at = expiry.map(|expiry| now.saturating_add(expiry));
                let told = self.watched.then(|| (key.clone(), value.clone()));
                let old = self.view.content.put(key, Entry { value, expires_at });
                if let Some((key, value)) = told {
                    self.event(match old {
                        None => StoreEvent::Insert {
                            store,
                            key,
                            value,
                            expiry,
                            publisher,
                        },
                        Some(old) => StoreEvent::Update {
                            store,
                            key,
                            old,
                            new: value,
                            expiry,
                            publisher,
                        },
                    });
                }
            }
            Content::Erase { key, publisher } => {
                self.erase(StoreEvent::Erase {
                    store,
                    key,
                    publisher,
                });
            }
            Content::Expire { key, publisher } => {
                self.erase(StoreEvent::Expire {
                    store,
                    key,
                    publisher,
                });
            }
            Content::Clear { publisher } => {
                for key in self.view.content.clear() {
                    self.event(StoreEvent::Erase {
                        store: store.clone(),
                        key,
                        publisher,
                    });
                }
            }
            Content::PutUniqueResult {
                inserted,
                who,
                request,
                ..
            } if who == self.front => {
                let answer = self.writes.decided(request, inserted);
                answer.into_iter().for_each(|answer| self.reply(answer));
            }
            _ => {}
        }
    }

    /// Removes the key that `event` is about, and tells if it was there.
    fn erase(&mut self, event: StoreEvent) {
        if self.view.content.erase(event.key()) {
            self.event(event);
        }
    }

    /// Replaces the content; the events tell the difference, which at the first time is everything.
    fn install(&mut self, snapshot: Vec<(Data, Data)>, publisher: EntityId) {
        let told = self.watched.then(|| snapshot.clone()).unwrap_or_default();
        let former = self.view.content.install(snapshot);
        if !self.watched {
            return;
        }
        let mut former: HashMap<Data, Entry> = former.into_iter().flatten().collect();
        let store = self.name.clone();
        for (key, new) in told {
            let store = store.clone();
            match former.remove(&key) {
                None => self.event(StoreEvent::Insert {
                    store,
                    key,
                    value: new,
                    expiry: None,
                    publisher,
                }),
                Some(Entry { value: old, .. }) if old != new => self.event(StoreEvent::Update {
                    store,
                    key,
                    old,
                    new,
                    expiry: None,
                    publisher,
                }),
                Some(_) => {}
            }
        }
        for key in former.into_keys() {
            self.event(StoreEvent::Erase {
                store: store.clone(),
                key,
                publisher,
            });
        }
    }

    // --- writes ----------------------------------------------------------------------------------

    fn send_queued(&mut self) {
        let Some(master) = self.master else { return };
        let id = self.id;
        while !self.writer.is_full()
            && self.writes.in_flight() < MAX_IN_FLIGHT
            && self.writer.has_consumers()
        {
            let Some(write) = self.writes.next_queued() else {
                return;
            };
            let mut number = 0;
            let payload = self.writer.produce(write.weight, |seq| {
                number = seq;
                let mut out = BytesMut::with_capacity(write.weight);
                put_header(seq, id, master.id, &mut out);
                write.content.encode(&mut out);
                out.freeze()
            });
            self.writes.sent(number, write);
            self.outputs
                .extend(payload.map(|payload| CloneOutput::Write {
                    seq: number,
                    payload,
                }));
        }
    }

    fn drain_writer(&mut self) {
        let Some(master) = self.master else { return };
        while let Some(transmit) = self.writer.poll_transmit() {
            match transmit {
                Transmit::Handshake { to, offset } => self.attach_writer(to, offset),
                Transmit::Resend { seq, message, .. } => {
                    self.outputs.push_back(CloneOutput::Write {
                        seq,
                        payload: message,
                    });
                }
                Transmit::RetransmitFailed { to, seq } => {
                    self.broadcast(to, Content::RetransmitFailed { seq })
                }
                Transmit::Keepalive { seq } => {
                    if self.writer.acked(master.id) == Some(0) {
                        self.attach_writer(master.id, FIRST_OFFSET);
                    }
                    self.broadcast(EntityId::NIL, Content::Keepalive { seq });
                }
            }
        }
    }

    fn attach_writer(&mut self, master: EntityId, offset: u64) {
        self.broadcast(
            master,
            Content::AttachWriter {
                offset,
                heartbeat: Timers::default().heartbeat,
            },
        );
    }

    fn handle_ack(&mut self, master: Master, seq: u64) {
        self.writer.handle_ack(master.id, seq);
        // With a gap in the updates the echo may be among those that are missing; then a later one decides.
        if !master.outcomes && !self.updates.has_gap() {
            let answers = self
                .writes
                .acknowledged_without_echo(seq.min(self.writer.seq()));
            answers.into_iter().for_each(|answer| self.reply(answer));
        }
        self.send_queued();
    }

    /// An acknowledged write without an outcome: what told it was lost, so it is asked for again.
    fn check_outcomes(&mut self, master: Master) {
        let oldest = self.writes.oldest_in_flight().filter(|_| master.outcomes);
        let overdue = oldest.filter(|oldest| {
            self.writer
                .acked(master.id)
                .is_some_and(|acked| *oldest <= acked)
        });
        let Some(current) = &mut self.master else {
            return;
        };
        let Some(first) = overdue else {
            current.overdue = 0;
            return;
        };
        current.overdue += 1;
        let ticks = current.overdue;
        if ticks >= OUTCOME_GIVEN_UP {
            self.start_over("the master does not tell the outcome of writes");
        } else if ticks.is_multiple_of(OUTCOME_OVERDUE) {
            // The wish may have been lost as well.
            self.unicast(master.id, Content::WantResults);
            self.unicast(master.id, Content::ResultsQuery { first });
        }
    }

    // --- waits -----------------------------------------------------------------------------------

    fn wait(&mut self, token: u64, barrier: Barrier) {
        if self.waits.len() >= MAX_WAITS {
            return self.reply((
                token,
                Err(StoreError::BufferFull {
                    kept: self.waits.len(),
                }),
            ));
        }
        self.waits.push(Wait {
            token,
            place: self.writes.latest(),
            barrier,
        });
        self.send_syncs();
        self.check_waits();
    }

    fn send_syncs(&mut self) {
        let Some(master) = self.master else { return };
        let tick = self.tick;
        let mut due = Vec::new();
        for wait in &mut self.waits {
            match wait.barrier {
                Barrier::Due if !master.outcomes => wait.barrier = Barrier::Answered { seq: 0 },
                Barrier::Due => due.push(wait),
                Barrier::Sent { tick: sent } if tick - sent >= SYNC_AGAIN => due.push(wait),
                _ => {}
            }
        }
        let mut ids = Vec::new();
        for wait in due {
            wait.barrier = Barrier::Sent { tick };
            ids.push(wait.token);
        }
        for id in ids {
            self.unicast(master.id, Content::Sync { id });
        }
    }

    fn check_waits(&mut self) {
        if self.waits.is_empty() {
            return;
        }
        let (writes, updates, live) = (&self.writes, &self.updates, self.master);
        let mut done = Vec::new();
        self.waits.retain(|wait| {
            let reached = match wait.barrier {
                Barrier::NotAsked => true,
                Barrier::Due | Barrier::Sent { .. } => false,
                Barrier::Answered { seq } => {
                    updates.delivered() >= seq
                        && live.is_some_and(|master| master.outcomes || !updates.has_gap())
                }
            };
            let over = reached && writes.answered_up_to(wait.place);
            if over {
                done.push(wait.token);
            }
            !over
        });
        done.into_iter()
            .for_each(|token| self.reply((token, Ok(StoreReply::Done))));
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
            self.outputs.push_back(CloneOutput::Event(event));
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

/// What a write counts for in a buffer, in bytes.
fn weight(content: &Content) -> usize {
    // The header, the publisher, and what else there is of fixed size.
    const HEADER: usize = HEADER_LEN + 64;
    let data = match content {
        Content::Put { key, value, .. } | Content::PutUnique { key, value, .. } => {
            broker_core::binary::encoded_len(key) + broker_core::binary::encoded_len(value)
        }
        Content::Add { key, operand, .. } | Content::Subtract { key, operand, .. } => {
            broker_core::binary::encoded_len(key) + broker_core::binary::encoded_len(operand)
        }
        Content::Erase { key, .. } => broker_core::binary::encoded_len(key),
        _ => 0,
    };
    HEADER + data
}

/// The stream of writes has one consumer, and [`CloneState::send_queued`] keeps within the bounds.
fn writer_limits() -> ProducerLimits {
    ProducerLimits {
        max_consumers: 1,
        ..ProducerLimits::default()
    }
}

/// Writes that may wait for the present master before callers are held back.
const MAX_BACKLOG: usize = 8192;

/// Writes sent and not answered.
const MAX_IN_FLIGHT: usize = 65_536;

/// Callers that wait for a state.
const MAX_WAITS: usize = 65_536;

/// The number at which a writer's stream begins.
const FIRST_OFFSET: u64 = 1;

/// Silence of the master, in ticks, after which another one that speaks has taken its place.
const REPLACED_AFTER: u64 = 10;

/// Ticks between two remarks that no master is found.
const REMINDER: u64 = 600;

/// Ticks after which an unanswered sync is sent again.
const SYNC_AGAIN: u64 = 10;

/// Ticks after which a missing outcome is asked for again.
const OUTCOME_OVERDUE: u64 = 5;

/// Ticks after which a master that tells no outcomes is given up.
const OUTCOME_GIVEN_UP: u64 = 100;

#[cfg(test)]
mod tests;
