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
//!
//! **Invariant:** nothing is answered, echoed or acknowledged before the backend has applied it. A command's sender must
//! live on the endpoint it came from.

mod group;
mod outcomes;
mod snapshot;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use broker_core::{
    Data, EndpointId, EntityId, ErrorCode, MAX_PAYLOAD, Set, StoreEntry, StoreReply, Timespan,
    Timestamp, binary,
};
use bytes::{Bytes, BytesMut};

use self::group::{Effect, Group};
use self::outcomes::Outcomes;
use self::snapshot::Snapshot;
use crate::backend::{Backend, BackendError};
use crate::channel::{
    Consumer, ConsumerLimits, Delivery, Producer, ProducerLimits, Timers, Transmit,
};
use crate::command::{Command, Content, HEADER_LEN, encode_ack_clone, put_header};
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
    entries: u64,
    group: Group,
    updates: Producer<Bytes>,
    writers: BTreeMap<EntityId, Writer>,
    /// The content as of now, while it stays as it is and clones attach.
    snapshot: Option<Snapshot>,
    tick: u64,
    rejected: u64,
    watched: bool,
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
    Event(StoreEvent),
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
        Ok(Self {
            name: name.into(),
            id,
            timers,
            entries: backend.len()?,
            backend,
            group: Group::default(),
            updates: Producer::new(timers, ProducerLimits::default()),
            writers: BTreeMap::new(),
            snapshot: None,
            tick: 0,
            rejected: 0,
            watched: true,
            outputs: VecDeque::new(),
        })
    }

    /// Who the master is.
    #[must_use]
    pub const fn id(&self) -> EntityId {
        self.id
    }

    /// How many entries there are.
    #[must_use]
    pub const fn entries(&self) -> u64 {
        self.entries
    }

    /// How many clones are attached.
    #[must_use]
    pub fn clones(&self) -> usize {
        self.updates.consumers().count()
    }

    /// The number of the last update; it moves only while clones are attached.
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
        self.make_room(payload.len());
        let sender = command.sender;
        if let Some(writer) = self.writers.get_mut(&sender) {
            writer.last_seen = self.tick;
        }
        match command.content {
            Content::Nack { seqs } => self.handle_nack(sender, &seqs),
            Content::CumulativeAck { seq } => self.updates.handle_ack(sender, seq),
            Content::AttachWriter { offset, heartbeat } => {
                self.attach_writer(sender, offset, heartbeat)
            }
            Content::Keepalive { seq } => {
                if let Some(writer) = self.writers.get_mut(&sender) {
                    writer.writes.handle_keepalive(seq);
                }
            }
            Content::RetransmitFailed { seq } => self.feed(now, sender, |writes, deliver| {
                writes.handle_retransmit_failed(seq, deliver)
            }),
            Content::WantResults => {
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
        // Clones that attach together share one; longer it would only take memory.
        self.snapshot = None;
        self.updates.tick();
        self.drain_updates();
        self.tick_writers();
        self.expire(now);
        self.commit();
    }

    /// Applies the group that was collected and lets its consequences out.
    pub fn commit(&mut self) {
        if self.group.is_empty() {
            return;
        }
        let closed = self.group.close();
        if !closed.mutations.is_empty() {
            if let Err(error) = self.backend.apply(&closed.mutations) {
                self.fail_group(closed.effects, &error);
                return;
            }
            self.snapshot = None;
            let before = if closed.cleared { 0 } else { self.entries };
            self.entries = before.saturating_add_signed(closed.grown);
        }
        for effect in closed.effects {
            self.let_out(effect);
        }
        self.send_outcomes();
    }

    /// What is to be done, in this order, until there is no more.
    pub fn poll_output(&mut self) -> Option<MasterOutput> {
        self.outputs.pop_front()
    }

    fn reject(&mut self, from: EndpointId, why: &dyn fmt::Display) {
        self.rejected += 1;
        tracing::debug!(store = %self.name, %from, %why, "refused a store command");
    }

    fn make_room(&mut self, weight: usize) {
        if self.group.is_full() {
            self.commit();
        }
        self.group.weigh(weight);
    }

    // --- clones as consumers ---------------------------------------------------------------------

    fn handle_nack(&mut self, consumer: EntityId, seqs: &[u64]) {
        // Attaching waits for the group, so that the snapshot and its number belong together.
        if seqs == [0] {
            self.group.then(Effect::Handshake { consumer });
        } else {
            self.updates.handle_nack(consumer, seqs);
            self.drain_updates();
        }
    }

    fn drain_updates(&mut self) {
        while let Some(transmit) = self.updates.poll_transmit() {
            match transmit {
                Transmit::Handshake { to, offset } => self.send_snapshot(to, offset),
                Transmit::Resend { to, message, .. } => {
                    self.outputs.push_back(MasterOutput::Unicast {
                        to: to.endpoint,
                        payload: message,
                    })
                }
                Transmit::RetransmitFailed { to, seq } => {
                    self.unicast(to, Content::RetransmitFailed { seq })
                }
                Transmit::Keepalive { seq } => {
                    let everybody =
                        Command::control(self.id, EntityId::NIL, Content::Keepalive { seq });
                    self.outputs
                        .push_back(MasterOutput::Broadcast(everybody.encode()));
                    let consumers: Vec<_> = self.updates.consumers().collect();
                    for consumer in consumers {
                        self.unicast(consumer, Content::Keepalive { seq });
                    }
                }
            }
        }
    }

    fn send_snapshot(&mut self, to: EntityId, offset: u64) {
        // A handshake that is repeated later than at the first state carries the later one: updates hold final values,
        // so replaying those in between converges.
        let snapshot = match self.snapshot.take().map_or_else(
            || Snapshot::take(&*self.backend, MAX_PAYLOAD - HEADER_LEN - 15),
            |known| Ok(Some(known)),
        ) {
            Ok(Some(snapshot)) => snapshot,
            Ok(None) => {
                tracing::error!(store = %self.name, clone = %to, limit = MAX_PAYLOAD, "the store is too large for one snapshot, so the clone gets none");
                return self.updates.detach(to);
            }
            Err(error) => {
                tracing::error!(store = %self.name, clone = %to, error = &error as &dyn std::error::Error, "cannot read a snapshot");
                return self.updates.detach(to);
            }
        };
        let payload = encode_ack_clone(
            self.id,
            to,
            offset,
            self.timers.heartbeat,
            snapshot.count,
            &snapshot.pairs,
        );
        self.snapshot = Some(snapshot);
        self.outputs.push_back(MasterOutput::Unicast {
            to: to.endpoint,
            payload,
        });
    }

    fn unicast(&mut self, to: EntityId, content: Content) {
        let payload = Command::control(self.id, to, content).encode();
        self.outputs.push_back(MasterOutput::Unicast {
            to: to.endpoint,
            payload,
        });
    }

    // --- clones as writers -----------------------------------------------------------------------

    fn attach_writer(&mut self, id: EntityId, offset: u64, heartbeat: u16) {
        if !self.writers.contains_key(&id) {
            if self.writers.len() >= MAX_WRITERS {
                tracing::warn!(store = %self.name, writer = %id, limit = MAX_WRITERS, "too many writers");
                return;
            }
            let writes = Consumer::new(self.timers, ConsumerLimits::default());
            self.writers.insert(
                id,
                Writer {
                    writes,
                    outcomes: None,
                    last_seen: self.tick,
                },
            );
        }
        let Some(writer) = self.writers.get_mut(&id) else {
            return;
        };
        // Nothing can have come before the handshake: actions of strangers are ignored.
        let ack = writer
            .writes
            .handle_handshake(offset, heartbeat, &mut |_| {})
            .unwrap_or_else(|| writer.writes.delivered());
        self.unicast(id, Content::CumulativeAck { seq: ack });
    }

    /// Lets `input` act on the writer's stream and stages what comes out of it.
    fn feed(
        &mut self,
        now: Timestamp,
        id: EntityId,
        input: impl FnOnce(&mut Consumer<Content>, &mut dyn FnMut(Delivery<Content>)),
    ) {
        let Some(writer) = self.writers.get_mut(&id) else {
            return;
        };
        let mut delivered = Deliveries::None;
        input(&mut writer.writes, &mut |delivery| delivered.push(delivery));
        delivered.drain(|delivery| match delivery {
            Delivery::Message(seq, content) => self.stage(now, content, Origin::Writer { id, seq }),
            Delivery::Lost(seq) => {
                tracing::warn!(store = %self.name, writer = %id, seq, "a write was lost");
                self.group.then(Effect::Outcome {
                    writer: id,
                    seq,
                    error: Some(StoreError::Refused(ErrorCode::Unspecified)),
                });
            }
        });
    }

    fn tick_writers(&mut self) {
        let (tick, id) = (self.tick, self.id);
        let patience = u64::from(self.timers.heartbeat) * u64::from(self.timers.connection_timeout);
        self.writers
            .retain(|_, writer| tick - writer.last_seen < patience);
        for (writer_id, writer) in &mut self.writers {
            let upkeep = writer.writes.tick();
            let contents = [
                upkeep.nack.map(|seqs| Content::Nack { seqs }),
                upkeep.ack.map(|seq| Content::CumulativeAck { seq }),
            ];
            for content in contents.into_iter().flatten() {
                let payload = Command::control(id, *writer_id, content).encode();
                self.outputs.push_back(MasterOutput::Unicast {
                    to: writer_id.endpoint,
                    payload,
                });
            }
        }
    }

    fn send_outcomes(&mut self) {
        let id = self.id;
        for (writer_id, writer) in &mut self.writers {
            if let Some((first, codes)) = writer.outcomes.as_mut().and_then(Outcomes::take_unsent) {
                let payload =
                    Command::control(id, *writer_id, Content::WriteResults { first, codes })
                        .encode();
                self.outputs.push_back(MasterOutput::Unicast {
                    to: writer_id.endpoint,
                    payload,
                });
            }
        }
    }

    // --- applying --------------------------------------------------------------------------------

    fn stage(&mut self, now: Timestamp, content: Content, origin: Origin) {
        let result = self.apply(now, content);
        match origin {
            Origin::Caller { token } => self.group.then(match result {
                Ok(reply) => Effect::Reply { token, reply },
                Err(error) => Effect::Refusal { token, error },
            }),
            Origin::Writer { id, seq } => {
                let error = result.err();
                if let Some(error) = &error {
                    tracing::debug!(store = %self.name, writer = %id, seq, %error, "a write failed");
                }
                self.group.then(Effect::Outcome {
                    writer: id,
                    seq,
                    error,
                });
            }
        }
    }

    fn apply(&mut self, now: Timestamp, content: Content) -> Result<StoreReply, StoreError> {
        match content {
            Content::Put {
                key,
                value,
                expiry,
                publisher,
            } => self.put(now, normal(key)?, value, expiry, publisher)?,
            Content::PutUnique {
                key,
                value,
                expiry,
                who,
                request,
                publisher,
            } => {
                let key = normal(key)?;
                let inserted = !self.group.contains(&*self.backend, &key).map_err(report)?;
                if inserted {
                    self.put(now, key, value, expiry, publisher)?;
                }
                self.group.then(Effect::Broadcast(Content::PutUniqueResult {
                    inserted,
                    who,
                    request,
                    publisher: self.id,
                }));
                return Ok(StoreReply::Value(inserted.into()));
            }
            Content::Erase { key, publisher } => {
                let key = normal(key)?;
                if self.group.contains(&*self.backend, &key).map_err(report)? {
                    self.group.erase(key.clone());
                    self.event(StoreEvent::Erase {
                        store: self.name.clone(),
                        key: key.clone(),
                        publisher,
                    });
                    self.group
                        .then(Effect::Broadcast(Content::Erase { key, publisher }));
                }
            }
            Content::Add {
                key,
                operand,
                init,
                expiry,
                publisher,
            } => {
                self.compute(now, key, expiry, publisher, |current| {
                    semantics::add(current, operand, init)
                })?;
            }
            Content::Subtract {
                key,
                operand,
                expiry,
                publisher,
            } => {
                self.compute(now, key, expiry, publisher, |current| {
                    semantics::subtract(current, &operand)
                })?;
            }
            Content::Clear { publisher } => self.clear(publisher)?,
            // Only a master says these; the rest is no action and does not come here.
            _ => return Err(StoreError::Refused(ErrorCode::InvalidMessage)),
        }
        Ok(StoreReply::Done)
    }

    fn put(
        &mut self,
        now: Timestamp,
        key: Data,
        value: Data,
        expiry: Option<Timespan>,
        publisher: EntityId,
    ) -> Result<(), StoreError> {
        // The former value is read only for those who want to see it.
        let (was_there, old) = if self.watched {
            let former = self.group.get(&*self.backend, &key).map_err(report)?;
            (former.is_some(), former.map(|entry| entry.value))
        } else {
            (
                self.group.contains(&*self.backend, &key).map_err(report)?,
                None,
            )
        };
        self.changed(&key, old, &value, expiry, publisher);
        if self.updates.has_consumers() {
            let update = Content::Put {
                key: key.clone(),
                value: value.clone(),
                expiry,
                publisher,
            };
            self.group.then(Effect::Broadcast(update));
        }
        let expires_at = expiry.map(|expiry| now.saturating_add(expiry));
        self.group.put(key, value, expires_at, was_there);
        Ok(())
    }

    /// Replaces the value at `key` by what `change` makes of it.
    fn compute(
        &mut self,
        now: Timestamp,
        key: Data,
        expiry: Option<Timespan>,
        publisher: EntityId,
        change: impl FnOnce(Option<Data>) -> Result<Data, ErrorCode>,
    ) -> Result<(), StoreError> {
        let key = normal(key)?;
        let former = self.group.get(&*self.backend, &key).map_err(report)?;
        let own = former.as_ref().and_then(|entry| entry.expires_at);
        let old = former.map(|entry| entry.value);
        let value = change(old.clone()).map_err(StoreError::Refused)?;
        // What could not be sent to a clone must not be stored; only an append can bring a value there.
        if HEADER_LEN + 64 + binary::encoded_len(&key) + binary::encoded_len(&value) > MAX_PAYLOAD {
            return Err(StoreError::Refused(ErrorCode::InvalidData));
        }
        let was_there = old.is_some();
        self.changed(&key, old, &value, expiry, publisher);
        if self.updates.has_consumers() {
            let update = Content::Put {
                key: key.clone(),
                value: value.clone(),
                expiry: None,
                publisher,
            };
            self.group.then(Effect::Broadcast(update));
        }
        let expires_at = expiry.map(|expiry| now.saturating_add(expiry)).or(own);
        self.group.put(key, value, expires_at, was_there);
        Ok(())
    }

    fn clear(&mut self, publisher: EntityId) -> Result<(), StoreError> {
        if self.watched {
            // One event a key, for whoever mirrors the store by its events; so the keys are read first.
            self.commit();
            for key in self.keys()? {
                self.event(StoreEvent::Erase {
                    store: self.name.clone(),
                    key,
                    publisher,
                });
            }
        }
        self.group.clear();
        self.group
            .then(Effect::Broadcast(Content::Clear { publisher }));
        Ok(())
    }

    fn expire(&mut self, now: Timestamp) {
        for _ in 0..MAX_EXPIRY_GROUPS {
            let due = match self.backend.due(now, EXPIRY_GROUP) {
                Ok(due) => due,
                Err(error) => {
                    return tracing::error!(store = %self.name, error = &error as &dyn std::error::Error, "cannot read what has expired");
                }
            };
            let last = due.len() < EXPIRY_GROUP;
            for key in due {
                self.group.erase(key.clone());
                self.event(StoreEvent::Expire {
                    store: self.name.clone(),
                    key: key.clone(),
                    publisher: self.id,
                });
                self.group.then(Effect::Broadcast(Content::Expire {
                    key,
                    publisher: self.id,
                }));
            }
            self.commit();
            if last {
                return;
            }
        }
    }

    fn changed(
        &mut self,
        key: &Data,
        old: Option<Data>,
        new: &Data,
        expiry: Option<Timespan>,
        publisher: EntityId,
    ) {
        if !self.watched {
            return;
        }
        let (store, key, new) = (self.name.clone(), key.clone(), new.clone());
        self.event(match old {
            None => StoreEvent::Insert {
                store,
                key,
                value: new,
                expiry,
                publisher,
            },
            Some(old) => StoreEvent::Update {
                store,
                key,
                old,
                new,
                expiry,
                publisher,
            },
        });
    }

    fn event(&mut self, event: StoreEvent) {
        if self.watched {
            self.group.then(Effect::Event(event));
        }
    }

    fn let_out(&mut self, effect: Effect) {
        match effect {
            Effect::Broadcast(content) => self.broadcast(&content),
            Effect::Event(event) => self.outputs.push_back(MasterOutput::Event(event)),
            Effect::Reply { token, reply } => self.outputs.push_back(MasterOutput::Reply {
                token,
                result: Ok(reply),
            }),
            Effect::Refusal { token, error } => self.outputs.push_back(MasterOutput::Reply {
                token,
                result: Err(error),
            }),
            Effect::Outcome { writer, seq, error } => self.note_outcome(
                writer,
                seq,
                error.map_or(ErrorCode::None, |error| error.code()),
            ),
            Effect::SyncReply { to, id } => {
                let seq = self.updates.seq();
                self.unicast(to, Content::SyncReply { id, seq });
            }
            Effect::Handshake { consumer } => {
                self.updates.handle_nack(consumer, &[0]);
                self.drain_updates();
            }
        }
    }

    /// The group is lost: whoever waits for a part of it hears so, and nobody hears more.
    fn fail_group(&mut self, effects: Vec<Effect>, error: &BackendError) {
        tracing::error!(store = %self.name, error = error as &dyn std::error::Error, "the backend refused a group of changes");
        let failure = report_ref(error);
        for effect in effects {
            match effect {
                Effect::Reply { token, .. } => self.outputs.push_back(MasterOutput::Reply {
                    token,
                    result: Err(failure.clone()),
                }),
                Effect::Outcome { writer, seq, error } => self.note_outcome(
                    writer,
                    seq,
                    error.map_or(ErrorCode::BackendFailure, |error| error.code()),
                ),
                Effect::Broadcast(_) | Effect::Event(_) => {}
                unaffected => self.let_out(unaffected),
            }
        }
        self.send_outcomes();
    }

    fn note_outcome(&mut self, writer: EntityId, seq: u64, code: ErrorCode) {
        if let Some(outcomes) = self
            .writers
            .get_mut(&writer)
            .and_then(|writer| writer.outcomes.as_mut())
        {
            outcomes.push(seq, code);
        }
    }

    fn broadcast(&mut self, content: &Content) {
        if !self.updates.has_consumers() {
            return;
        }
        let mut out = BytesMut::with_capacity(HEADER_LEN + 64);
        let id = self.id;
        put_header(0, id, EntityId::NIL, &mut out);
        content.encode(&mut out);
        let weight = out.len();
        let numbered = self.updates.produce(weight, |seq| {
            out[..8].copy_from_slice(&seq.to_be_bytes());
            out.freeze()
        });
        self.outputs.extend(numbered.map(MasterOutput::Broadcast));
    }

    // --- reading ---------------------------------------------------------------------------------

    fn answer(&self, now: Timestamp, query: Query) -> Result<StoreReply, StoreError> {
        let missing = StoreError::Refused(ErrorCode::NoSuchKey);
        match query {
            Query::Get(key) => Ok(StoreReply::Value(self.get(key)?.ok_or(missing)?)),
            Query::Exists(key) => Ok(StoreReply::Value(
                self.group
                    .contains(&*self.backend, &normal(key)?)
                    .map_err(report)?
                    .into(),
            )),
            Query::GetIndex { key, index } => {
                let value = self.get(key)?.ok_or(missing)?;
                semantics::index(&value, &index)
                    .map(StoreReply::Value)
                    .map_err(StoreError::Refused)
            }
            Query::Nothing => Ok(StoreReply::Done),
            Query::Keys => Ok(StoreReply::Value(
                self.keys()?.into_iter().collect::<Set>().into(),
            )),
            Query::Scan { after, limit } => {
                let after = after.map(normal).transpose()?;
                let page = self
                    .backend
                    .scan(after.as_ref(), limit.min(MAX_PAGE))
                    .map_err(report)?;
                let entry = |(key, entry): (Data, crate::Entry)| StoreEntry {
                    key,
                    value: entry.value,
                    expires_in: remaining(entry.expires_at, now),
                };
                Ok(StoreReply::Entries(page.into_iter().map(entry).collect()))
            }
        }
    }

    fn get(&self, key: Data) -> Result<Option<Data>, StoreError> {
        Ok(self
            .group
            .get(&*self.backend, &normal(key)?)
            .map_err(report)?
            .map(|entry| entry.value))
    }

    fn keys(&self) -> Result<Vec<Data>, StoreError> {
        let mut keys = Vec::new();
        loop {
            let page = self.backend.scan(keys.last(), MAX_PAGE).map_err(report)?;
            let last = page.len() < MAX_PAGE;
            keys.extend(page.into_iter().map(|(key, _)| key));
            if last {
                return Ok(keys);
            }
        }
    }
}

impl fmt::Debug for MasterState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MasterState")
            .field("name", &self.name)
            .field("id", &self.id)
            .field("entries", &self.entries)
            .finish_non_exhaustive()
    }
}

/// What a stream let through: nearly always one message, so that needs no allocation.
enum Deliveries<T> {
    None,
    One(Delivery<T>),
    Many(Vec<Delivery<T>>),
}

impl<T> Deliveries<T> {
    fn push(&mut self, delivery: Delivery<T>) {
        *self = match std::mem::replace(self, Self::None) {
            Self::None => Self::One(delivery),
            Self::One(first) => Self::Many(vec![first, delivery]),
            Self::Many(mut all) => {
                all.push(delivery);
                Self::Many(all)
            }
        };
    }

    fn drain(self, mut each: impl FnMut(Delivery<T>)) {
        match self {
            Self::None => {}
            Self::One(delivery) => each(delivery),
            Self::Many(all) => all.into_iter().for_each(each),
        }
    }
}

/// How long an entry still has; nothing if its time is up.
pub(crate) fn remaining(
    expires_at: Option<Timestamp>,
    now: Timestamp,
) -> Option<std::time::Duration> {
    expires_at.map(|deadline| {
        deadline
            .saturating_since(now)
            .to_duration()
            .unwrap_or_default()
    })
}

fn normal(mut key: Data) -> Result<Data, StoreError> {
    semantics::normalize_key(&mut key).map_err(StoreError::Refused)?;
    Ok(key)
}

#[expect(clippy::needless_pass_by_value, reason = "it is given to map_err")]
fn report(error: BackendError) -> StoreError {
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

/// Clones that may write at the same time.
const MAX_WRITERS: usize = 1024;

/// Entries of one page of a scan, whatever was asked for.
const MAX_PAGE: usize = 4096;

/// What a caller's request counts for in a group; its value is in memory already.
const REQUEST_WEIGHT: usize = 256;

/// Keys removed in one group when their time is up.
const EXPIRY_GROUP: usize = 1024;

/// Such groups in one tick; what is left waits for the next one, so that a master that slept does not hold up its
/// clones.
const MAX_EXPIRY_GROUPS: usize = 16;

#[cfg(test)]
mod tests;
