//! The clones that are attached: as consumers of the master's updates, and as sources of writes.

use broker_core::{EntityId, ErrorCode, MAX_PAYLOAD, Timestamp};

use super::group::Effect;
use super::outcomes::Outcomes;
use super::snapshot::Snapshot;
use super::{MasterOutput, MasterState, Origin, Writer};
use crate::channel::{Consumer, ConsumerLimits, Delivery, Transmit};
use crate::command::{Command, Content, encode_ack_clone};
use crate::error::StoreError;

impl MasterState {
    pub(super) fn handle_nack(&mut self, consumer: EntityId, seqs: &[u64]) {
        // Attaching waits for the group, so that the snapshot and its number belong together.
        if seqs == [0] {
            self.group.then(Effect::Handshake { consumer });
        } else {
            self.updates.handle_nack(consumer, seqs);
            self.drain_updates();
        }
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

    pub(super) fn attach_writer(&mut self, id: EntityId, offset: u64, heartbeat: u16) {
        if !self.writers.contains_key(&id) {
            if self.writers.len() >= MAX_WRITERS {
                if self.may_complain() {
                    tracing::warn!(store = %self.name, writer = %id, limit = MAX_WRITERS, "too many writers");
                }
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
            Delivery::Message(seq, content) => self.stage(now, content, Origin::Writer { id, seq }),
            Delivery::Lost(seq) => {
                if self.may_complain() {
                    tracing::warn!(store = %self.name, writer = %id, seq, "a write was lost");
                }
                self.group.then(Effect::Outcome {
                    writer: id,
                    seq,
                    error: Some(StoreError::Refused(ErrorCode::Unspecified)),
                });
            }
        });
    }

    pub(super) fn tick_writers(&mut self) {
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
const MAX_SNAPSHOT: usize = MAX_PAYLOAD / 2;

/// Clones that may write at the same time.
const MAX_WRITERS: usize = 1024;
