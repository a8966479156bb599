//! How a clone sends its writes and learns what became of them.

use broker_core::{EntityId, ErrorCode, binary};
use bytes::BytesMut;

use super::{CloneOutput, CloneState, Master};
use crate::channel::{ProducerLimits, Timers, Transmit};
use crate::command::{Content, HEADER_LEN, put_header};
use crate::semantics;

impl CloneState {
    pub(super) fn send_queued(&mut self) {
        let Some(master) = self.master else { return };
        // A write is to be visible here once it is answered.
        if self.build.is_some() {
            return;
        }
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

    pub(super) fn drain_writer(&mut self) {
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
                // Writes are numbered one by one.
                Transmit::Skipped { .. } => {}
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

    pub(super) fn attach_writer(&mut self, master: EntityId, offset: u64) {
        self.broadcast(
            master,
            Content::AttachWriter {
                offset,
                heartbeat: Timers::default().heartbeat,
            },
        );
    }

    pub(super) fn handle_ack(&mut self, master: Master, seq: u64) {
        self.writer.handle_ack(master.id, seq);
        if !master.outcomes {
            self.taken = self.taken.max(seq.min(self.writer.seq()));
        }
        self.send_queued();
    }

    /// The master has said where its stream is, after it had acknowledged the writes up to `taken`: if nothing is missing
    /// up to there, those of them that were not echoed never will be.
    pub(super) fn settle_unechoed(&mut self, taken: u64) {
        if !self.updates.has_gap() {
            let answers = self.writes.acknowledged_without_echo(taken);
            answers.into_iter().for_each(|answer| self.reply(answer));
        }
    }

    /// An acknowledged write without an outcome: what told it was lost, so it is asked for again.
    pub(super) fn check_outcomes(&mut self, master: Master) {
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
}

/// Brings keys and values into the form in which the master gives them back, or says why it would not take them. What it
/// could not even read would be sent again and again, and hold up every write behind it.
pub(super) fn normalize(write: &mut Content) -> Result<(), ErrorCode> {
    match write {
        Content::Put { key, value, .. } | Content::PutUnique { key, value, .. } => {
            semantics::normalize_value(value)?;
            semantics::normalize_key(key)
        }
        Content::Add { key, operand, .. } | Content::Subtract { key, operand, .. } => {
            semantics::normalize_value(operand)?;
            semantics::normalize_key(key)
        }
        Content::CompareAndSet {
            key,
            expected,
            value,
            ..
        } => {
            for data in expected.iter_mut().chain(value) {
                semantics::normalize_value(data)?;
            }
            semantics::normalize_key(key)
        }
        Content::Erase { key, .. } => semantics::normalize_key(key),
        _ => Ok(()),
    }
}

/// What a write counts for in a buffer, in bytes.
pub(super) fn weight(content: &Content) -> usize {
    // The header, the publisher, and what else there is of fixed size.
    const HEADER: usize = HEADER_LEN + 64;
    let data = match content {
        Content::Put { key, value, .. } | Content::PutUnique { key, value, .. } => {
            binary::encoded_len(key) + binary::encoded_len(value)
        }
        Content::Add { key, operand, .. } | Content::Subtract { key, operand, .. } => {
            binary::encoded_len(key) + binary::encoded_len(operand)
        }
        Content::CompareAndSet {
            key,
            expected,
            value,
            ..
        } => {
            let values = expected.iter().chain(value);
            binary::encoded_len(key) + values.map(binary::encoded_len).sum::<usize>()
        }
        Content::Erase { key, .. } => binary::encoded_len(key),
        _ => 0,
    };
    HEADER + data
}

/// The stream of writes has one consumer, and [`CloneState::send_queued`] keeps within the bounds.
pub(super) fn writer_limits() -> ProducerLimits {
    ProducerLimits {
        max_consumers: 1,
        ..ProducerLimits::default()
    }
}

/// Writes sent and not answered.
const MAX_IN_FLIGHT: usize = 65_536;

/// The number at which a writer's stream begins.
const FIRST_OFFSET: u64 = 1;

/// Ticks after which a missing outcome is asked for again.
const OUTCOME_OVERDUE: u64 = 5;

/// Ticks after which a master that tells no outcomes is given up.
const OUTCOME_GIVEN_UP: u64 = 100;
