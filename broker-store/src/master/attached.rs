//! The clones that are attached: as consumers of the master's updates, and as sources of writes.
//!
//! A clone of ours that loses its master comes back under another name and takes a new snapshot. A clone of C++ goes on
//! where it was, and after 50 s of silence has given up its writing for good, as its C++ master has given up the clone
//! (wire reference 7.8). A master of ours serves it nevertheless: its place among the updates is kept for a while, and
//! found again later (see `resume`), and so is that among its writes. When it speaks again it is asked to announce its
//! writes, by the very nack of `{0}` with which clones attach: its side of the channel then opens a stream anew.

use broker_core::{EntityId, ErrorCode, MAX_PAYLOAD, Timestamp};

use super::group::Effect;
use super::outcomes::Outcomes;
use super::snapshot::Snapshot;
use super::{MasterOutput, MasterState, Origin, Writer};
use crate::channel::{Consumer, ConsumerLimits, Delivery, ProducerLimits, Transmit};
use crate::command::{Command, Content, encode_ack_clone};

impl MasterState {
    pub(super) fn handle_nack(&mut self, consumer: EntityId, receiver: EntityId, seqs: &[u64]) {
        // Attaching waits for the group, so that the snapshot and its number belong together.
        if seqs == [0] && self.is_ours(consumer.endpoint) {
            self.offer(consumer);
        } else if seqs == [0] {
            self.group.then(Effect::Handshake { consumer });
        } else {
            let first = seqs.first().copied().unwrap_or(0);
            if self.updates.acked(consumer).is_none()
                && !self.resume(consumer, receiver, first.saturating_sub(1))
            {
                return;
            }
            let plain = self.updates.takes_another_name(consumer) == Some(false);
            if plain && first > 0 && seqs.is_sorted_by(|a, b| a < b) {
                self.serve(consumer, seqs);
            } else {
                self.updates.handle_nack(consumer, seqs);
                self.drain_updates();
            }
        }
    }

    /// To be called before somebody is attached. Where something has changed that has no number, the next update must not
    /// have the next number: a clone that was attached before, to an earlier run of this master even, and has not noticed
    /// that it is forgotten would take it for all that has happened. So it finds one missing, asks, and is told. That need
    /// not be written down: the change before it was, under its number, and another start begins far behind that.
    pub(super) fn step_over_what_nobody_was_told(&mut self) {
        if self.may_be_known
            && !self.updates.has_consumers()
            && self.unnumbered_at == Some(self.updates.seq())
        {
            self.updates.skip(1);
        }
        self.may_be_known = true;
    }

    pub(super) fn drain_updates(&mut self) {
        while let Some(transmit) = self.updates.poll_transmit() {
            match transmit {
                Transmit::Handshake { to, offset } => self.send_snapshot(to, offset),
                Transmit::Resend { to, message, .. } => {
                    self.outputs.push_back(MasterOutput::Unicast {
                        to: to.endpoint,
                        payload: message,
                    })
                }
                Transmit::Skipped { to, first, last } => self.send_skipped(to, first, last),
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

    pub(super) fn send_snapshot(&mut self, to: EntityId, offset: u64) {
        // A handshake that is repeated later than at the first state carries the later one: updates hold final values,
        // so replaying those in between converges.
        let snapshot = match self.snapshot.take().map_or_else(
            || Snapshot::take(&*self.backend, MAX_SNAPSHOT),
            |known| Ok(Some(known)),
        ) {
            Ok(Some(snapshot)) => snapshot,
            Ok(None) => {
                if self.may_complain() {
                    tracing::error!(store = %self.name, clone = %to, limit = MAX_SNAPSHOT, "the store is too large for one snapshot, so the clone gets none");
                }
                // It stays attached, so that it is answered ever more rarely when it asks again.
                return;
            }
            Err(error) => {
                if self.may_complain() {
                    tracing::error!(store = %self.name, clone = %to, error = &error as &dyn std::error::Error, "cannot read a snapshot");
                }
                return;
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

    pub(super) fn unicast(&mut self, to: EntityId, content: Content) {
        let payload = Command::control(self.id, to, content).encode();
        self.outputs.push_back(MasterOutput::Unicast {
            to: to.endpoint,
            payload,
        });
    }

    /// Something has come from `id`, which may be a writer.
    pub(super) fn hear_writer(&mut self, id: EntityId) {
        let tick = self.tick;
        if let Some(writer) = self.writers.get_mut(&id) {
            if tick - writer.last_seen >= SILENCE_OF_WRITERS && writer.outcomes.is_none() {
                // It may have given up its writing meanwhile.
                writer.ask_again = Some(tick);
            }
            writer.last_seen = tick;
        }
    }

    pub(super) fn handle_keepalive(&mut self, id: EntityId, seq: u64) {
        // A clone that speaks as a writer and is not known as one never got to announce itself: its stream, which is
        // not attached, asks it to.
        let known = self.updates.acked(id).is_some() || self.writers.contains_key(&id);
        if known && let Some(writer) = self.writer(id) {
            writer.writes.handle_keepalive(seq);
        }
    }

    pub(super) fn attach_writer(
        &mut self,
        now: Timestamp,
        id: EntityId,
        offset: u64,
        heartbeat: u16,
    ) {
        let applied = self.positions.get(id).unwrap_or(0);
        let Some(writer) = self.writer(id) else {
            return;
        };
        writer.ask_again = None;
        // What was applied before a restart is not applied again.
        writer.resumed |= applied > offset && !writer.writes.is_attached();
        let offset = offset.max(applied);
        // A stream that begins behind what is known is one that was given up and opened anew.
        if writer.writes.skip_to(offset) {
            tracing::warn!(store = %self.name, writer = %id, offset, "a writer goes on after a long silence, what it wrote meanwhile is lost");
        }
        self.feed(now, id, |writes, deliver| {
            writes.handle_handshake(offset, heartbeat, deliver);
        });
        // What came before it is acknowledged with it, so it has to take effect first.
        self.commit();
        if let Some(writer) = self.writers.get(&id) {
            let seq = writer.writes.delivered();
            self.unicast(id, Content::CumulativeAck { seq });
        }
    }

    /// The writer of this name, a new one if there is none; `None` if there are too many.
    fn writer(&mut self, id: EntityId) -> Option<&mut Writer> {
        if !self.writers.contains_key(&id) {
            if self.writers.len() >= MAX_WRITERS && !self.forget_silent_writer() {
                if self.may_complain() {
                    tracing::warn!(store = %self.name, writer = %id, limit = MAX_WRITERS, "too many writers");
                }
                return None;
            }
            let writer = Writer {
                writes: Consumer::new(self.timers, ConsumerLimits::default()),
                outcomes: None,
                last_seen: self.tick,
                ask_again: None,
                resumed: false,
            };
            self.writers.insert(id, writer);
        }
        self.writers.get_mut(&id)
    }

    /// Forgets the writer that has been silent longest, if that is long. False if none is.
    fn forget_silent_writer(&mut self) -> bool {
        let longest = self
            .writers
            .iter()
            .min_by_key(|(_, writer)| writer.last_seen);
        let Some((&id, writer)) = longest else {
            return false;
        };
        let silent = self.tick - writer.last_seen >= self.patience();
        if silent {
            self.writers.remove(&id);
        }
        silent
    }

    /// The silence after which a clone is no longer waited for, in ticks.
    pub(super) fn patience(&self) -> u64 {
        u64::from(self.timers.heartbeat) * u64::from(self.timers.connection_timeout)
    }

    /// Lets `input` act on the writer's stream and stages what comes out of it.
    pub(super) fn feed(
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
            Delivery::Message(seq, content) => {
                if let Some(writer) = self.writers.get_mut(&id)
                    && writer.outcomes.is_none()
                {
                    writer.resumed = false;
                    self.positions.set(id, seq);
                }
                self.stage(now, content, Origin::Writer { id, seq });
            }
            Delivery::Lost(seq) => {
                // Before a restart, what changed nothing was acknowledged and not recorded.
                let resumed = self.writers.get(&id).is_some_and(|writer| writer.resumed);
                if !resumed && self.may_complain() {
                    tracing::warn!(store = %self.name, writer = %id, seq, "a write was lost");
                }
                self.group.then(Effect::Outcome {
                    writer: id,
                    seq,
                    code: ErrorCode::Unspecified as u8,
                });
            }
        });
    }

    pub(super) fn tick_writers(&mut self) {
        let (tick, id, patience) = (self.tick, self.id, self.patience());
        self.writers.retain(|_, writer| {
            let kept = match writer.outcomes {
                Some(_) => patience,
                None => patience + MAX_SLEEP,
            };
            tick - writer.last_seen < kept
        });
        for (writer_id, writer) in &mut self.writers {
            if tick - writer.last_seen >= patience {
                writer.writes.discard_ahead();
                continue;
            }
            let mut upkeep = writer.writes.tick();
            if writer.ask_again.is_some_and(|when| when <= tick) {
                writer.ask_again = Some(tick + ASK_AGAIN);
                upkeep.nack = Some(vec![0]);
            }
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

    pub(super) fn send_outcomes(&mut self) {
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

/// Bytes of the largest snapshot: one message, which has to leave room in a link's queue for the updates behind it.
pub(super) const MAX_SNAPSHOT: usize = MAX_PAYLOAD / 2;

/// What a master keeps for its clones.
pub(super) fn updates_limits() -> ProducerLimits {
    ProducerLimits {
        max_sleep: MAX_SLEEP,
        ..ProducerLimits::default()
    }
}

/// Clones that may write at the same time.
const MAX_WRITERS: usize = 1024;

/// Ticks for which a clone of C++ is remembered after its 50 s: ten minutes.
const MAX_SLEEP: u64 = 6000;

/// Silence of a writer, in ticks, after which it may have given up its writing: less than the 50 s it counts itself.
const SILENCE_OF_WRITERS: u64 = 400;

/// Ticks between two requests to announce writes.
const ASK_AGAIN: u64 = 10;
