//! The sending side of a channel (wire reference 7.4).
//!
//! The stream begins at number 1 without a message; the first one has number 2. With no consumer attached nothing is
//! numbered or kept: whoever attaches later begins with a handshake that says where the stream is.
//!
//! A consumer that says nothing for too long is given up. In C++ that is the end of it, but clones of C++ never ask to be
//! attached again, so a producer may let a silent consumer sleep instead: the stream goes on without waiting for it, a
//! history of bounded size is kept for its return, and its first word wakes it.
//!
//! Numbers may be skipped. They belong to no message, and whoever asks for one is told so (or, where that cannot be said,
//! is sent something that means nothing). The latest skipped ranges are remembered however far everybody has come.

use std::collections::{BTreeMap, VecDeque};

use broker_core::EntityId;

use super::Timers;

/// A numbered stream of messages to any number of consumers.
#[derive(Debug)]
pub struct Producer<T> {
    timers: Timers,
    limits: ProducerLimits,
    seq: u64,
    tick: u64,
    last_broadcast: u64,
    buffer: VecDeque<Buffered<T>>,
    buffered_bytes: usize,
    /// Sorted, so that what happens does not depend on a hash.
    consumers: BTreeMap<EntityId, Attached>,
    /// How many of them sleep.
    sleeping: usize,
    /// Ranges of numbers that belong to no message, ascending.
    skipped: VecDeque<(u64, u64)>,
    transmits: VecDeque<Transmit<T>>,
}

/// How much a producer keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerLimits {
    /// Unacknowledged messages. Beyond it [`Producer::is_full`] says so, and the oldest ones are given up.
    pub max_messages: usize,
    /// Bytes of unacknowledged messages, likewise.
    pub max_bytes: usize,
    /// Consumers; further ones are not attached.
    pub max_consumers: usize,
    /// Numbers of one nack that are answered; the rest is left for the next one.
    pub max_resends: usize,
    /// Ticks that a consumer may sleep; with 0 a silent one is forgotten at once.
    pub max_sleep: u64,
    /// Messages kept for those who sleep only.
    pub max_history: usize,
    /// Bytes of such messages.
    pub max_history_bytes: usize,
}

impl Default for ProducerLimits {
    /// 65 536 messages, 64 MiB, 1024 consumers, 8192 numbers; nobody sleeps, and if that is changed, 8192 messages and
    /// 8 MiB of history.
    fn default() -> Self {
        Self {
            max_messages: 65_536,
            max_bytes: 64 << 20,
            max_consumers: 1024,
            max_resends: 8192,
            max_sleep: 0,
            max_history: 8192,
            max_history_bytes: 8 << 20,
        }
    }
}

/// What a producer wants sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transmit<T> {
    /// To one consumer: where the stream begins for it.
    Handshake {
        /// The consumer.
        to: EntityId,
        /// The last number that it does not get.
        offset: u64,
    },
    /// To one consumer: a message it missed.
    Resend {
        /// The consumer.
        to: EntityId,
        /// Its number.
        seq: u64,
        /// The message as it was first sent.
        message: T,
    },
    /// To one consumer: the numbers up to and with `last` belong to no message.
    Skipped {
        /// The consumer.
        to: EntityId,
        /// The first of them that it asked for.
        first: u64,
        /// The last of them.
        last: u64,
    },
    /// To one consumer: a message it missed is gone.
    RetransmitFailed {
        /// The consumer.
        to: EntityId,
        /// The number.
        seq: u64,
    },
    /// To all: the stream has come to this number.
    Keepalive {
        /// The number.
        seq: u64,
    },
}

#[derive(Debug)]
struct Buffered<T> {
    seq: u64,
    weight: usize,
    message: T,
}

#[derive(Debug)]
struct Attached {
    offset: u64,
    acked: u64,
    last_seen: u64,
    /// Before this tick a repeated handshake is not answered: a snapshot may be large and still on its way.
    next_handshake: u64,
    handshake_gap: u64,
    sleeps: bool,
    /// Once it is silent for too long it has no reason to come back under this name.
    never_returns: bool,
}

impl<T: Clone> Producer<T> {
    /// A stream without consumers.
    #[must_use]
    pub const fn new(timers: Timers, limits: ProducerLimits) -> Self {
        Self {
            timers,
            limits,
            seq: FIRST,
            tick: 0,
            last_broadcast: 0,
            buffer: VecDeque::new(),
            buffered_bytes: 0,
            consumers: BTreeMap::new(),
            sleeping: 0,
            skipped: VecDeque::new(),
            transmits: VecDeque::new(),
        }
    }

    /// Keeps so many unacknowledged messages from now on.
    #[cfg(any(test, feature = "simulation"))]
    pub(crate) const fn keep_at_most(&mut self, messages: usize) {
        self.limits.max_messages = messages;
    }

    /// Moves the stream of a producer without consumers on to `seq`, from which an earlier run of it had come.
    pub fn go_on_from(&mut self, seq: u64) {
        if self.consumers.is_empty() && seq > self.seq {
            self.seq = seq;
        }
    }

    /// Skips `count` numbers, at least one, and returns the first and the last of them.
    pub fn skip(&mut self, count: u64) -> (u64, u64) {
        let range = (self.seq + 1, self.seq + count.max(1));
        self.seq = range.1;
        match self.skipped.back_mut() {
            Some((_, last)) if *last + 1 == range.0 => *last = range.1,
            _ => {
                if self.skipped.len() >= MAX_SKIPPED {
                    self.skipped.pop_front();
                }
                self.skipped.push_back(range);
            }
        }
        range
    }

    /// The last number that was skipped; 0 if none was.
    #[must_use]
    pub fn last_skipped(&self) -> u64 {
        self.skipped.back().map_or(0, |(_, last)| *last)
    }

    /// The last number of the skipped range that `seq` is in, if it is in one.
    #[must_use]
    pub fn skipped_to(&self, seq: u64) -> Option<u64> {
        let at = self.skipped.partition_point(|(_, last)| *last < seq);
        let (first, last) = self.skipped.get(at)?;
        (*first <= seq).then_some(*last)
    }

    /// The message with this number, if it is kept.
    #[must_use]
    pub fn kept(&self, seq: u64) -> Option<T> {
        let at = self.buffer.partition_point(|buffered| buffered.seq < seq);
        let buffered = self.buffer.get(at)?;
        (buffered.seq == seq).then(|| buffered.message.clone())
    }

    /// The number of the last message; 1 before the first.
    #[must_use]
    pub const fn seq(&self) -> u64 {
        self.seq
    }

    /// Whether somebody is attached, awake or not, so that messages are numbered at all.
    #[must_use]
    pub fn has_consumers(&self) -> bool {
        !self.consumers.is_empty()
    }

    /// The consumers that are awake, in the order of their IDs.
    pub fn consumers(&self) -> impl Iterator<Item = EntityId> + '_ {
        self.consumers
            .iter()
            .filter(|(_, attached)| !attached.sleeps)
            .map(|(id, _)| *id)
    }

    /// The number up to which `consumer` has acknowledged; 0 before its first word, `None` if it is not attached.
    #[must_use]
    pub fn acked(&self, consumer: EntityId) -> Option<u64> {
        self.consumers.get(&consumer).map(|attached| attached.acked)
    }

    /// For how many ticks `consumer` has said nothing; `None` if it is not attached.
    #[must_use]
    pub fn silence(&self, consumer: EntityId) -> Option<u64> {
        let attached = self.consumers.get(&consumer)?;
        Some(self.tick - attached.last_seen)
    }

    /// Up to which number every consumer has acknowledged: the last one if there is no consumer.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        let acked = self.consumers.values().map(|attached| attached.acked);
        acked.min().unwrap_or(self.seq)
    }

    /// Messages kept for re-sending.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// Whether one more message would make the oldest unacknowledged one be given up.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.buffer.len() >= self.limits.max_messages
            || self.buffered_bytes >= self.limits.max_bytes
    }

    /// Numbers a message of `weight` bytes, which `make` builds from its number, and returns it for broadcasting; with
    /// no consumer nothing happens.
    pub fn produce(&mut self, weight: usize, make: impl FnOnce(u64) -> T) -> Option<T> {
        if self.consumers.is_empty() {
            return None;
        }
        while self.is_full() {
            self.drop_oldest();
        }
        self.seq += 1;
        let message = make(self.seq);
        self.buffer.push_back(Buffered {
            seq: self.seq,
            weight,
            message: message.clone(),
        });
        self.buffered_bytes += weight;
        self.last_broadcast = self.tick;
        if self.sleeping > 0 {
            self.release_acknowledged();
        }
        Some(message)
    }

    /// Attaches a consumer, or repeats its handshake. False if there are too many; one that sleeps makes room.
    pub fn attach(&mut self, consumer: EntityId) -> bool {
        if !self.consumers.contains_key(&consumer) {
            if self.consumers.len() >= self.limits.max_consumers && !self.forget_one_asleep() {
                return false;
            }
            let attached = Attached {
                offset: self.seq,
                acked: 0,
                last_seen: self.tick,
                next_handshake: 0,
                handshake_gap: u64::from(self.timers.nack_timeout.max(1)),
                sleeps: false,
                never_returns: false,
            };
            self.consumers.insert(consumer, attached);
        }
        self.handshake(consumer);
        true
    }

    /// Attaches a consumer that has everything up to `offset` already, without a handshake. False if there are too many,
    /// or if the stream was never there.
    pub fn attach_at(&mut self, consumer: EntityId, offset: u64) -> bool {
        if offset > self.seq
            || (self.consumers.len() >= self.limits.max_consumers
                && !self.consumers.contains_key(&consumer)
                && !self.forget_one_asleep())
        {
            return false;
        }
        let attached = Attached {
            offset,
            acked: offset,
            last_seen: self.tick,
            next_handshake: 0,
            handshake_gap: u64::from(self.timers.nack_timeout.max(1)),
            sleeps: false,
            never_returns: false,
        };
        if let Some(former) = self.consumers.insert(consumer, attached) {
            self.sleeping -= usize::from(former.sleeps);
        }
        true
    }

    /// The oldest number that can be sent again; the next one if there is none.
    #[must_use]
    pub fn oldest(&self) -> u64 {
        self.buffer.front().map_or(self.seq + 1, |kept| kept.seq)
    }

    /// Forgets a consumer.
    pub fn detach(&mut self, consumer: EntityId) {
        if let Some(attached) = self.consumers.remove(&consumer) {
            self.sleeping -= usize::from(attached.sleeps);
        }
        self.release_acknowledged();
    }

    /// `consumer` takes another name when it comes back from a long silence, so it need not be kept.
    pub fn never_returns(&mut self, consumer: EntityId) {
        if let Some(attached) = self.consumers.get_mut(&consumer) {
            attached.never_returns = true;
        }
    }

    /// Whether `consumer` takes another name when it comes back; `None` if it is not attached.
    #[must_use]
    pub fn takes_another_name(&self, consumer: EntityId) -> Option<bool> {
        self.consumers
            .get(&consumer)
            .map(|attached| attached.never_returns)
    }

    /// Whether `consumer` may be sent something large now. Each yes makes the time until the next one longer: what was
    /// sent may still be on its way.
    pub fn may_send_much(&mut self, consumer: EntityId) -> bool {
        let tick = self.tick;
        let Some(attached) = self.consumers.get_mut(&consumer) else {
            return false;
        };
        if tick < attached.next_handshake {
            return false;
        }
        attached.next_handshake = tick + attached.handshake_gap;
        attached.handshake_gap = (attached.handshake_gap * 2).min(MAX_HANDSHAKE_GAP);
        true
    }

    /// `consumer` has everything up to `seq`.
    pub fn handle_ack(&mut self, consumer: EntityId, seq: u64) {
        let Some(attached) = self.consumers.get_mut(&consumer) else {
            return;
        };
        // A number that was never given out would release what others still miss.
        let seq = seq.min(self.seq);
        if seq < attached.acked {
            return;
        }
        attached.last_seen = self.tick;
        self.sleeping -= usize::from(std::mem::take(&mut attached.sleeps));
        let news = seq > attached.acked;
        attached.acked = seq;
        if news {
            self.release_acknowledged();
        }
    }

    /// `consumer` misses these numbers; exactly `[0]` asks to be attached.
    pub fn handle_nack(&mut self, consumer: EntityId, seqs: &[u64]) {
        let tick = self.tick;
        let Some(attached) = self.consumers.get_mut(&consumer) else {
            if seqs == [0] {
                self.attach(consumer);
            }
            return;
        };
        attached.last_seen = tick;
        self.sleeping -= usize::from(std::mem::take(&mut attached.sleeps));
        let Some(&first) = seqs.first() else { return };
        if !seqs.is_sorted_by(|a, b| a < b) {
            self.detach(consumer);
            return;
        }
        if first == 0 {
            self.handshake(consumer);
            return;
        }
        self.handle_ack(consumer, first - 1);
        let mut skipped = 0;
        for &seq in seqs.iter().take(self.limits.max_resends) {
            if seq <= skipped {
                continue;
            }
            let transmit = match (self.kept(seq), self.skipped_to(seq)) {
                (Some(message), _) => Transmit::Resend {
                    to: consumer,
                    seq,
                    message,
                },
                (None, Some(last)) => {
                    skipped = last;
                    Transmit::Skipped {
                        to: consumer,
                        first: seq,
                        last,
                    }
                }
                (None, None) if seq > self.seq => break,
                (None, None) => Transmit::RetransmitFailed { to: consumer, seq },
            };
            self.transmits.push_back(transmit);
        }
    }

    /// One tick has passed: keepalives, and the end of consumers that have gone silent.
    pub fn tick(&mut self) {
        self.tick += 1;
        let heartbeat = u64::from(self.timers.heartbeat.max(1));
        if self.tick - self.last_broadcast >= heartbeat {
            self.last_broadcast = self.tick;
            self.transmits
                .push_back(Transmit::Keepalive { seq: self.seq });
        }
        let patience = heartbeat * u64::from(self.timers.connection_timeout.max(1));
        let (tick, max_sleep) = (self.tick, self.limits.max_sleep);
        let before = (self.consumers.len(), self.sleeping);
        self.consumers.retain(|_, attached| {
            let silence = tick - attached.last_seen;
            attached.sleeps = silence >= patience;
            let sleep = if attached.never_returns { 0 } else { max_sleep };
            silence < patience + sleep
        });
        self.sleeping = self.consumers.values().filter(|a| a.sleeps).count();
        if (self.consumers.len(), self.sleeping) != before {
            self.release_acknowledged();
        }
    }

    /// What is to be sent, in this order, until there is no more.
    pub fn poll_transmit(&mut self) -> Option<Transmit<T>> {
        self.transmits.pop_front()
    }

    fn handshake(&mut self, consumer: EntityId) {
        if self.may_send_much(consumer)
            && let Some(attached) = self.consumers.get(&consumer)
        {
            self.transmits.push_back(Transmit::Handshake {
                to: consumer,
                offset: attached.offset,
            });
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.buffer.pop_front() {
            self.buffered_bytes -= oldest.weight;
        }
    }

    /// Drops what nobody needs any more, and what only those need who sleep as far as it is too much.
    fn release_acknowledged(&mut self) {
        // Nobody left to send it to: nothing is kept.
        let (mut awake, mut asleep) = (u64::MAX, u64::MAX);
        for attached in self.consumers.values() {
            let acked = attached.acked.max(attached.offset);
            let lowest = if attached.sleeps {
                &mut asleep
            } else {
                &mut awake
            };
            *lowest = acked.min(*lowest);
        }
        while let Some(oldest) = self.buffer.front()
            && oldest.seq <= awake
            && (oldest.seq <= asleep
                || self.buffer.len() > self.limits.max_history
                || self.buffered_bytes > self.limits.max_history_bytes)
        {
            self.drop_oldest();
        }
    }

    /// Forgets the consumer that has slept longest. False if nobody sleeps.
    fn forget_one_asleep(&mut self) -> bool {
        let asleep = self.consumers.iter().filter(|(_, a)| a.sleeps);
        let Some((&longest, _)) = asleep.min_by_key(|(_, attached)| attached.last_seen) else {
            return false;
        };
        self.detach(longest);
        true
    }
}

/// Where the numbers of a stream begin.
const FIRST: u64 = 1;

/// Skipped ranges that are remembered.
const MAX_SKIPPED: usize = 1024;

/// The longest time between two answers to repeated requests to attach, in ticks.
const MAX_HANDSHAKE_GAP: u64 = 50;

#[cfg(test)]
mod tests {
    use broker_core::EndpointId;

    use super::*;

    const A: EntityId = EntityId::new(EndpointId::from_bytes([1; 16]), 1);
    const B: EntityId = EntityId::new(EndpointId::from_bytes([2; 16]), 1);

    fn producer() -> Producer<u64> {
        Producer::new(
            Timers::default(),
            ProducerLimits {
                max_messages: 4,
                ..ProducerLimits::default()
            },
        )
    }

    fn drain(producer: &mut Producer<u64>) -> Vec<Transmit<u64>> {
        std::iter::from_fn(|| producer.poll_transmit()).collect()
    }

    fn produce(producer: &mut Producer<u64>) -> Option<u64> {
        producer.produce(1, |seq| seq)
    }

    #[test]
    fn without_consumers_nothing_is_numbered() {
        let mut p = producer();
        assert_eq!(produce(&mut p), None);
        p.handle_nack(A, &[0]);
        assert_eq!(drain(&mut p), [Transmit::Handshake { to: A, offset: 1 }]);
        assert_eq!(produce(&mut p), Some(2));
        p.handle_nack(B, &[0]);
        assert_eq!(drain(&mut p), [Transmit::Handshake { to: B, offset: 2 }]);
    }

    #[test]
    fn a_message_is_kept_until_every_consumer_has_it() {
        let mut p = producer();
        p.attach(A);
        p.attach(B);
        produce(&mut p);
        produce(&mut p);
        p.handle_ack(A, 3);
        assert_eq!(p.buffered(), 2);
        p.handle_ack(B, 2);
        assert_eq!(p.buffered(), 1);
        p.handle_ack(B, 99);
        assert_eq!((p.buffered(), p.acked(B)), (0, Some(3)));
        p.handle_ack(B, 2);
        assert_eq!(p.acked(B), Some(3));
    }

    #[test]
    fn a_nack_acknowledges_what_is_before_it_and_gets_the_rest_again() {
        let mut p = producer();
        p.attach(A);
        drain(&mut p);
        for _ in 0..4 {
            produce(&mut p);
        }
        p.handle_nack(A, &[3, 5, 9]);
        assert_eq!(
            drain(&mut p),
            [
                Transmit::Resend {
                    to: A,
                    seq: 3,
                    message: 3
                },
                Transmit::Resend {
                    to: A,
                    seq: 5,
                    message: 5
                }
            ]
        );
        assert_eq!(p.acked(A), Some(2));
        p.handle_nack(A, &[2]);
        assert_eq!(
            drain(&mut p),
            [Transmit::RetransmitFailed { to: A, seq: 2 }]
        );
    }

    #[test]
    fn the_oldest_message_is_given_up_when_the_buffer_is_full() {
        let mut p = producer();
        p.attach(A);
        drain(&mut p);
        for _ in 0..4 {
            assert!(!p.is_full());
            produce(&mut p);
        }
        assert!(p.is_full());
        produce(&mut p);
        p.handle_nack(A, &[2, 3]);
        assert_eq!(
            drain(&mut p),
            [
                Transmit::RetransmitFailed { to: A, seq: 2 },
                Transmit::Resend {
                    to: A,
                    seq: 3,
                    message: 3
                }
            ]
        );
    }

    #[test]
    fn a_nack_of_strangers_or_out_of_order_is_not_answered() {
        let mut p = producer();
        p.handle_nack(A, &[1]);
        p.handle_nack(A, &[0, 1]);
        p.handle_nack(A, &[]);
        p.handle_ack(A, 1);
        assert!(!p.has_consumers());
        p.attach(A);
        p.handle_nack(A, &[3, 2]);
        assert!(!p.has_consumers());
    }

    #[test]
    fn repeated_requests_to_attach_are_answered_ever_more_rarely() {
        let mut p = producer();
        let mut handshakes = 0;
        for _ in 0..100 {
            p.handle_nack(A, &[0]);
            handshakes += drain(&mut p)
                .iter()
                .filter(|t| matches!(t, Transmit::Handshake { offset: 1, .. }))
                .count();
            p.tick();
        }
        assert_eq!(handshakes, 6, "at ticks 0, 2, 6, 14, 30, 62");
    }

    #[test]
    fn keepalives_fill_the_silence() {
        let mut p = producer();
        p.attach(A);
        drain(&mut p);
        for _ in 0..4 {
            p.tick();
        }
        produce(&mut p);
        for _ in 0..4 {
            p.tick();
        }
        assert_eq!(drain(&mut p), []);
        p.tick();
        assert_eq!(drain(&mut p), [Transmit::Keepalive { seq: 2 }]);
    }

    #[test]
    fn a_consumer_silent_for_fifty_seconds_is_forgotten_and_its_messages_with_it() {
        let mut p = producer();
        p.attach(A);
        produce(&mut p);
        for _ in 0..499 {
            p.tick();
        }
        assert!(p.has_consumers());
        p.tick();
        assert!(!p.has_consumers());
        assert_eq!(p.buffered(), 0);
    }

    #[test]
    fn who_may_sleep_gets_what_it_missed_while_the_history_reaches_back() {
        let limits = ProducerLimits {
            max_sleep: 1000,
            max_history: 3,
            ..ProducerLimits::default()
        };
        let mut p: Producer<u64> = Producer::new(Timers::default(), limits);
        p.attach(A);
        produce(&mut p);
        p.handle_ack(A, 2);
        for _ in 0..500 {
            p.tick();
        }
        assert!(p.has_consumers() && p.consumers().next().is_none());
        for _ in 0..3 {
            produce(&mut p);
        }
        drain(&mut p);
        p.handle_ack(A, 2);
        assert_eq!(p.consumers().next(), Some(A));
        p.handle_nack(A, &[3]);
        assert!(matches!(
            drain(&mut p)[..],
            [Transmit::Resend { seq: 3, .. }]
        ));

        for _ in 0..500 {
            p.tick();
        }
        for _ in 0..2 {
            produce(&mut p);
        }
        assert_eq!(p.buffered(), 3, "what only a sleeper needs is bounded");
        drain(&mut p);
        p.handle_nack(A, &[3]);
        assert_eq!(
            drain(&mut p),
            [Transmit::RetransmitFailed { to: A, seq: 3 }]
        );
        for _ in 0..1500 {
            p.tick();
        }
        assert!(!p.has_consumers() && p.buffered() == 0);
    }

    #[test]
    fn a_consumer_that_never_returns_does_not_sleep_and_one_asleep_makes_room() {
        let limits = ProducerLimits {
            max_sleep: 1000,
            max_consumers: 2,
            ..ProducerLimits::default()
        };
        let mut p: Producer<u64> = Producer::new(Timers::default(), limits);
        let c = EntityId::new(A.endpoint, 2);
        p.attach(A);
        p.attach(B);
        p.never_returns(B);
        assert!(!p.attach(c));
        for _ in 0..500 {
            p.tick();
        }
        assert_eq!((p.acked(A), p.acked(B)), (Some(0), None));
        assert!(p.attach(B) && p.attach(c));
        assert_eq!(p.acked(A), None);
        assert_eq!(p.sleeping, 0);
    }

    #[test]
    fn there_are_only_so_many_consumers() {
        let mut p: Producer<u64> = Producer::new(
            Timers::default(),
            ProducerLimits {
                max_consumers: 1,
                ..ProducerLimits::default()
            },
        );
        assert!(p.attach(A));
        assert!(!p.attach(B));
        p.handle_nack(B, &[0]);
        assert_eq!(p.acked(B), None);
    }
}
