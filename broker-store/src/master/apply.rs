//! What writes do: they are staged in the group, and have their consequences once it is applied.

use std::sync::Arc;

use broker_core::{
    Data, EntityId, ErrorCode, MAX_PAYLOAD, StoreReply, Timespan, Timestamp, binary,
};
use bytes::BytesMut;

use super::group::Effect;
use super::{MasterOutput, MasterState, Origin, normal, normal_value, report, report_ref};
use crate::backend::{BackendError, Entry};
use crate::command::{Answer, Content, HEADER_LEN, outcome, put_body, put_header};
use crate::error::StoreError;
use crate::event::StoreEvent;
use crate::semantics;

impl MasterState {
    pub(super) fn stage(&mut self, now: Timestamp, content: Content, origin: Origin) {
        let question = match &content {
            Content::PutUnique { who, request, .. } => Some((*who, *request)),
            _ => None,
        };
        let result = self.apply(now, content);
        if let Some((who, request)) = question {
            self.tell_decision(&result, who, request, origin);
        }
        match origin {
            Origin::Caller { token } => self.group.then(match result {
                Ok(reply) => Effect::Reply { token, reply },
                Err(error) => Effect::Refusal { token, error },
            }),
            Origin::Writer { id, seq } => {
                let code = match &result {
                    Ok(StoreReply::Value(Data::Boolean(false))) => outcome::DECLINED,
                    Ok(_) => ErrorCode::None as u8,
                    Err(error) => {
                        tracing::debug!(store = %self.name, writer = %id, seq, %error, "a write failed");
                        error.code() as u8
                    }
                };
                self.group.then(Effect::Outcome {
                    writer: id,
                    seq,
                    code,
                });
            }
        }
    }

    /// A put_unique is decided: clones that hear no outcomes learn it from the stream.
    fn tell_decision(
        &mut self,
        result: &Result<StoreReply, StoreError>,
        who: EntityId,
        request: u64,
        origin: Origin,
    ) {
        let hears_nothing_else = match origin {
            Origin::Caller { .. } => false,
            Origin::Writer { id, .. } => self.hears_no_outcomes(id),
        };
        let decision = match (result, origin) {
            (Ok(StoreReply::Value(inserted)), Origin::Caller { .. }) => inserted,
            (Ok(StoreReply::Value(inserted)), _) if hears_nothing_else => inserted,
            (Err(_), _) if hears_nothing_else => &Data::Boolean(false),
            _ => return,
        };
        let inserted = *decision == Data::Boolean(true);
        self.group.then(Effect::Decision {
            inserted,
            who,
            request,
        });
    }

    pub(super) fn apply(
        &mut self,
        now: Timestamp,
        content: Content,
    ) -> Result<StoreReply, StoreError> {
        match content {
            Content::Put {
                key,
                value,
                expiry,
                publisher,
            } => self.put(now, normal(key)?, normal_value(value)?, expiry, publisher)?,
            Content::PutUnique {
                key,
                value,
                expiry,
                publisher,
                ..
            } => {
                let (key, value) = (normal(key)?, normal_value(value)?);
                let inserted = !self.group.contains(&*self.backend, &key).map_err(report)?;
                if inserted {
                    self.put_over(now, key, None, value, expiry, publisher);
                }
                return Ok(StoreReply::Value(inserted.into()));
            }
            Content::Erase { key, publisher } => {
                let key = normal(key)?;
                if let Some(old) = self.group.get(&*self.backend, &key).map_err(report)? {
                    self.erase(key, &old.value, publisher);
                }
            }
            Content::CompareAndSet {
                key,
                expected,
                value,
                expiry,
                publisher,
            } => {
                let key = normal(key)?;
                let expected = expected.map(normal_value).transpose()?;
                let value = value.map(normal_value).transpose()?;
                let former = self.group.get(&*self.backend, &key).map_err(report)?;
                let old = former.map(|entry| entry.value);
                let equal = old == expected;
                match (value, old) {
                    _ if !equal => {}
                    (Some(value), old) => self.put_over(now, key, old, value, expiry, publisher),
                    (None, Some(old)) => self.erase(key, &old, publisher),
                    (None, None) => {}
                }
                return Ok(StoreReply::Value(equal.into()));
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

    pub(super) fn put(
        &mut self,
        now: Timestamp,
        key: Data,
        value: Data,
        expiry: Option<Timespan>,
        publisher: EntityId,
    ) -> Result<(), StoreError> {
        let former = self.group.get(&*self.backend, &key).map_err(report)?;
        let old = former.map(|entry| entry.value);
        self.put_over(now, key, old, value, expiry, publisher);
        Ok(())
    }

    /// Removes what is at `key`.
    fn erase(&mut self, key: Data, old: &Data, publisher: EntityId) {
        self.group.count_change();
        self.group.erase(key.clone(), old);
        self.event(StoreEvent::Erase {
            store: self.name.clone(),
            key: key.clone(),
            publisher,
        });
        self.update(&Content::Erase { key, publisher });
    }

    /// Stores `value` where `old` is.
    fn put_over(
        &mut self,
        now: Timestamp,
        key: Data,
        old: Option<Data>,
        value: Data,
        expiry: Option<Timespan>,
        publisher: EntityId,
    ) {
        let expires_at = expiry.map(|expiry| now.saturating_add(expiry));
        self.replace(
            key,
            old,
            Entry { value, expires_at },
            expiry,
            expiry,
            publisher,
        );
    }

    /// Puts `entry` where `old` is and tells everybody: those who watch of one expiry, clones of another.
    fn replace(
        &mut self,
        key: Data,
        old: Option<Data>,
        entry: Entry,
        told: Option<Timespan>,
        expiry: Option<Timespan>,
        publisher: EntityId,
    ) {
        self.group.count_change();
        if self.updates.has_consumers() {
            let mut out = self.unnumbered();
            put_body(&key, &entry.value, expiry, publisher, &mut out);
            self.group.then(Effect::Update(out));
        }
        if self.watched {
            self.group.put(key.clone(), old.as_ref(), entry.clone());
            self.changed(key, old, entry.value, told, publisher);
        } else {
            self.group.put(key, old.as_ref(), entry);
        }
    }

    /// Replaces the value at `key` by what `change` makes of it.
    pub(super) fn compute(
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
        let value = normal_value(change(old.clone()).map_err(StoreError::Refused)?)?;
        // What could not be sent to a clone must not be stored; only an append can bring a value there.
        if HEADER_LEN + 64 + binary::encoded_len(&key) + binary::encoded_len(&value) > MAX_PAYLOAD {
            return Err(StoreError::Refused(ErrorCode::InvalidData));
        }
        let expires_at = expiry.map(|expiry| now.saturating_add(expiry)).or(own);
        // C++ tells its clones of no expiry here.
        self.replace(
            key,
            old,
            Entry { value, expires_at },
            expiry,
            None,
            publisher,
        );
        Ok(())
    }

    pub(super) fn clear(&mut self, publisher: EntityId) -> Result<(), StoreError> {
        let watched = self.watched;
        if watched {
            self.commit();
        }
        self.group.count_change();
        if watched {
            // One event a key, for whoever mirrors the store by its events; so the keys are read first.
            // Whoever stops half-way has to go on from before all of them.
            let after = self.record.revision + self.group.changes();
            let keys = self.keys()?;
            let last = keys.len().saturating_sub(1);
            for (index, key) in keys.into_iter().enumerate() {
                let event = StoreEvent::Erase {
                    store: self.name.clone(),
                    key,
                    publisher,
                };
                let revision = after - u64::from(index < last);
                self.group.then(Effect::Event(revision, Arc::new(event)));
            }
        }
        self.group.clear();
        self.update(&Content::Clear { publisher });
        Ok(())
    }

    pub(super) fn expire(&mut self, now: Timestamp) {
        let groups = if self.backend.may_block() {
            MAX_SLOW_EXPIRY_GROUPS
        } else {
            MAX_EXPIRY_GROUPS
        };
        for _ in 0..groups {
            let due = match self.backend.due(now, EXPIRY_GROUP) {
                Ok(due) => due,
                Err(error) => {
                    if self.may_complain() {
                        tracing::error!(store = %self.name, error = &error as &dyn std::error::Error, "cannot read what has expired");
                    }
                    return;
                }
            };
            let last = due.len() < EXPIRY_GROUP;
            for key in due {
                let Some(old) = self.still_there(&key) else {
                    continue;
                };
                self.group.count_change();
                self.group.erase(key.clone(), &old);
                self.event(StoreEvent::Expire {
                    store: self.name.clone(),
                    key: key.clone(),
                    publisher: self.id,
                });
                self.update(&Content::Expire {
                    key,
                    publisher: self.id,
                });
            }
            self.commit();
            if last {
                return;
            }
        }
    }

    /// The value of a key whose time is up; `None` if it cannot be read.
    fn still_there(&mut self, key: &Data) -> Option<Data> {
        match self.group.get(&*self.backend, key) {
            Ok(entry) => entry.map(|entry| entry.value),
            Err(error) => {
                if self.may_complain() {
                    tracing::error!(store = %self.name, error = &error as &dyn std::error::Error, "cannot read what has expired");
                }
                None
            }
        }
    }

    fn changed(
        &mut self,
        key: Data,
        old: Option<Data>,
        new: Data,
        expiry: Option<Timespan>,
        publisher: EntityId,
    ) {
        let store = self.name.clone();
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

    pub(super) fn event(&mut self, event: StoreEvent) {
        if self.watched {
            let revision = self.record.revision + self.group.changes();
            self.group.then(Effect::Event(revision, Arc::new(event)));
        }
    }

    pub(super) fn let_out(&mut self, effect: Effect) {
        match effect {
            Effect::Update(update) => self.broadcast(update),
            Effect::Decision {
                inserted,
                who,
                request,
            } => self.broadcast_decision(inserted, who, request),
            Effect::Event(revision, event) => self
                .outputs
                .push_back(MasterOutput::Event { revision, event }),
            Effect::Reply { token, reply } => self.outputs.push_back(MasterOutput::Reply {
                token,
                result: Ok(reply),
            }),
            Effect::Refusal { token, error } => self.outputs.push_back(MasterOutput::Reply {
                token,
                result: Err(error),
            }),
            Effect::Outcome { writer, seq, code } => self.note_outcome(writer, seq, code),
            Effect::Answer { to, id, answer } => self.unicast(to, Content::Answer { id, answer }),
            Effect::SyncReply { to, id } => {
                let seq = self.updates.seq();
                self.unicast(to, Content::SyncReply { id, seq });
            }
            Effect::Handshake { consumer } => {
                self.step_over_what_nobody_was_told();
                self.updates.handle_nack(consumer, &[0]);
                if self.updates.acked(consumer).is_none() && self.may_complain() {
                    tracing::warn!(store = %self.name, clone = %consumer, "too many clones, this one is not attached");
                }
                self.drain_updates();
            }
        }
    }

    /// The group is lost: whoever waits for a part of it hears so, and nobody hears more.
    pub(super) fn fail_group(&mut self, effects: Vec<Effect>, error: &BackendError) {
        if self.may_complain() {
            tracing::error!(store = %self.name, error = error as &dyn std::error::Error, "the backend refused a group of changes");
        }
        let failure = report_ref(error);
        for effect in effects {
            match effect {
                Effect::Reply { token, .. } => self.outputs.push_back(MasterOutput::Reply {
                    token,
                    result: Err(failure.clone()),
                }),
                Effect::Outcome { writer, seq, code } => {
                    let done = code == ErrorCode::None as u8 || code == outcome::DECLINED;
                    let failure = ErrorCode::BackendFailure as u8;
                    self.note_outcome(writer, seq, if done { failure } else { code });
                }
                Effect::Answer { to, id, .. } => {
                    let answer = Answer::Refused(ErrorCode::BackendFailure);
                    self.unicast(to, Content::Answer { id, answer });
                }
                Effect::Decision { who, request, .. }
                    if self
                        .writers
                        .keys()
                        .any(|id| id.endpoint == who.endpoint && self.hears_no_outcomes(*id)) =>
                {
                    self.broadcast_decision(false, who, request);
                }
                Effect::Update(_) | Effect::Decision { .. } | Effect::Event(..) => {}
                unaffected => self.let_out(unaffected),
            }
        }
        self.send_outcomes();
    }

    /// Whether `writer` is a clone that is not told how its writes went, so that only answers to put_unique reach it.
    pub(super) fn hears_no_outcomes(&self, writer: EntityId) -> bool {
        self.writers
            .get(&writer)
            .is_some_and(|writer| writer.outcomes.is_none())
    }

    pub(super) fn note_outcome(&mut self, writer: EntityId, seq: u64, code: u8) {
        if let Some(outcomes) = self
            .writers
            .get_mut(&writer)
            .and_then(|writer| writer.outcomes.as_mut())
        {
            outcomes.push(seq, code);
        }
    }

    /// The beginning of a command to all clones, without its number.
    fn unnumbered(&self) -> BytesMut {
        let mut out = BytesMut::with_capacity(UPDATE_CAPACITY);
        put_header(0, self.id, EntityId::NIL, &mut out);
        out
    }

    /// A change that clones are told of once the group is applied.
    fn update(&mut self, content: &Content) {
        // Whoever attaches later in this group gets a snapshot with the change in it.
        if self.updates.has_consumers() {
            let mut out = self.unnumbered();
            content.encode(&mut out);
            self.group.then(Effect::Update(out));
        }
    }

    fn broadcast_decision(&mut self, inserted: bool, who: EntityId, request: u64) {
        if self.updates.has_consumers() {
            let publisher = self.id;
            let mut out = self.unnumbered();
            let decision = Content::PutUniqueResult {
                inserted,
                who,
                request,
                publisher,
            };
            decision.encode(&mut out);
            self.broadcast(out);
        }
    }

    /// Numbers a command to all clones and lets it out.
    fn broadcast(&mut self, mut out: BytesMut) {
        let weight = out.len();
        let numbered = self.updates.produce(weight, |seq| {
            out[..8].copy_from_slice(&seq.to_be_bytes());
            out.freeze()
        });
        self.outputs.extend(numbered.map(MasterOutput::Broadcast));
    }
}

/// Bytes that nearly every update fits into while it is encoded.
const UPDATE_CAPACITY: usize = HEADER_LEN + 128;

/// Keys removed in one group when their time is up.
const EXPIRY_GROUP: usize = 1024;

/// Such groups in one tick; what is left waits for the next one, so that a master that slept does not hold up its
/// clones.
const MAX_EXPIRY_GROUPS: usize = 16;

/// Likewise with a backend that may wait for a disk: requests are not to wait for long behind it.
const MAX_SLOW_EXPIRY_GROUPS: usize = 4;
