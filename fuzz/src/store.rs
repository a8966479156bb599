//! The store protocol: commands, and the channel that numbers them.

use std::collections::VecDeque;

use broker_core::binary::check_command;
use broker_core::{DecodeError, EndpointId, EntityId};
use broker_store::channel::{
    Consumer, ConsumerLimits, Delivery, Producer, ProducerLimits, Timers, Transmit,
};
use broker_store::command::{Command, CommandError};

use super::value::is_duplicate;

/// A store command: reading it and the check of a relay agree, and it is the same when written and read again.
pub fn command(bytes: &[u8]) {
    let decoded = Command::decode(bytes);
    let checked = check_command(bytes);
    match (&decoded, &checked) {
        (Ok(command), Err(error)) => {
            // A relay does not know the commands of our own.
            assert!(command.content.tag() >= 128, "{command:?}: {error}");
            assert!(matches!(error, DecodeError::UnknownTag(_)));
        }
        (Err(error), Ok(())) => {
            assert!(
                matches!(error, CommandError::Invalid(error) if is_duplicate(error)),
                "{error:?}"
            );
        }
        _ => {}
    }
    if let Ok(command) = decoded {
        let written = command.encode();
        match Command::decode(&written) {
            Ok(again) => assert!(
                again == command || again.encode() == written,
                "{again:?} is not {command:?}"
            ),
            // Reals too small for the format are written as zero.
            Err(CommandError::Invalid(error)) if is_duplicate(&error) => {}
            Err(error) => panic!("{command:?}: {error}"),
        }
    }
}

/// A producer and two consumers over a bad line, step by step as the bytes say; then over a good one. Each consumer gets
/// each message as it was sent or hears that it is lost, in order; in the end both have got to the end.
pub fn channel(bytes: &[u8]) {
    let mut line = Line::new();
    for pair in bytes.chunks_exact(2).take(2000) {
        line.step(pair[0], pair[1]);
    }
    line.heal();
}

const PEERS: [EntityId; 2] = [
    EntityId::new(EndpointId::from_bytes([1; 16]), 1),
    EntityId::new(EndpointId::from_bytes([2; 16]), 1),
];
const TIMERS: Timers = Timers {
    heartbeat: 5,
    nack_timeout: 2,
    connection_timeout: 40,
};
const KEPT: usize = 24;

struct Line {
    producer: Producer<u64>,
    ends: [End; 2],
}

struct End {
    consumer: Consumer<u64>,
    /// What is on its way to it.
    coming: VecDeque<Sent>,
    /// The number delivered last.
    last: Option<u64>,
}

#[derive(Clone, Debug)]
enum Sent {
    Handshake(u64),
    Message(u64, u64),
    Keepalive(u64),
    RetransmitFailed(u64),
}

impl End {
    fn new() -> Self {
        let limits = ConsumerLimits {
            max_messages: 8,
            max_bytes: 1000,
            max_nack: 6,
        };
        Self {
            consumer: Consumer::new(TIMERS, limits),
            coming: VecDeque::new(),
            last: None,
        }
    }

    /// Hands over one message; what is to be acknowledged at once.
    fn take(&mut self, sent: Sent) -> Option<u64> {
        let mut delivered = Vec::new();
        let mut deliver = |delivery| delivered.push(delivery);
        let consumer = &mut self.consumer;
        let ack = match sent {
            Sent::Handshake(offset) => consumer.handle_handshake(offset, 5, &mut deliver),
            Sent::Message(seq, message) => {
                consumer.handle_message(seq, 100, message, &mut deliver);
                None
            }
            Sent::Keepalive(seq) => {
                consumer.handle_keepalive(seq);
                None
            }
            Sent::RetransmitFailed(seq) => {
                consumer.handle_retransmit_failed(seq, &mut deliver);
                None
            }
        };
        if let Sent::Handshake(offset) = sent
            && ack.is_some()
        {
            self.last = Some(offset);
        }
        for delivery in delivered {
            let seq = match delivery {
                Delivery::Message(seq, message) => {
                    assert_eq!(message, seq * 3, "the message of another number");
                    seq
                }
                Delivery::Lost(seq) => seq,
            };
            assert_eq!(self.last.replace(seq), seq.checked_sub(1), "out of order");
        }
        assert_eq!(self.consumer.delivered(), self.last.unwrap_or(0));
        ack
    }
}

impl Line {
    fn new() -> Self {
        let limits = ProducerLimits {
            max_messages: KEPT,
            max_bytes: 100 * KEPT,
            max_consumers: 2,
            max_resends: 5,
            max_sleep: 30,
            max_history: 8,
            max_history_bytes: 800,
        };
        Self {
            producer: Producer::new(TIMERS, limits),
            ends: [End::new(), End::new()],
        }
    }

    fn step(&mut self, what: u8, which: u8) {
        let index = usize::from(what & 1);
        match what >> 1 & 7 {
            0 => self.produce(),
            1 => self.producer.tick(),
            2 => self.tick_end(index, which.is_multiple_of(3)),
            3 => {
                // Any of those under way, so some overtake others.
                let coming = &mut self.ends[index].coming;
                if let Some(at) = usize::from(which).checked_rem(coming.len())
                    && let Some(sent) = coming.remove(at)
                {
                    self.hand_over(index, sent);
                }
            }
            4 => drop(self.ends[index].coming.pop_front()),
            5 => {
                if let Some(sent) = self.ends[index].coming.front().cloned() {
                    self.hand_over(index, sent);
                }
            }
            // What a hostile or confused consumer says.
            6 => self.producer.handle_ack(PEERS[index], lie(which)),
            _ => {
                let seqs: Vec<_> = (0..u64::from(which & 3))
                    .map(|n| lie(which).wrapping_add(n * u64::from(which >> 2)))
                    .collect();
                self.producer.handle_nack(PEERS[index], &seqs);
            }
        }
        self.send();
        assert!(self.producer.buffered() <= KEPT);
    }

    fn produce(&mut self) {
        if let Some(message) = self.producer.produce(100, |seq| seq * 3) {
            for (end, peer) in self.ends.iter_mut().zip(PEERS) {
                if self.producer.acked(peer).is_some() {
                    end.coming.push_back(Sent::Message(message / 3, message));
                }
            }
        }
    }

    fn tick_end(&mut self, index: usize, lost: bool) {
        let upkeep = self.ends[index].consumer.tick();
        if lost {
            return;
        }
        if let Some(seqs) = upkeep.nack {
            assert!(seqs.is_sorted_by(|a, b| a < b) && seqs.len() <= 6);
            self.producer.handle_nack(PEERS[index], &seqs);
        }
        if let Some(seq) = upkeep.ack {
            self.producer.handle_ack(PEERS[index], seq);
        }
    }

    fn hand_over(&mut self, index: usize, sent: Sent) {
        if let Some(seq) = self.ends[index].take(sent) {
            self.producer.handle_ack(PEERS[index], seq);
        }
    }

    fn send(&mut self) {
        while let Some(transmit) = self.producer.poll_transmit() {
            let (to, sent) = match transmit {
                Transmit::Handshake { to, offset } => (Some(to), Sent::Handshake(offset)),
                Transmit::Resend { to, seq, message } => (Some(to), Sent::Message(seq, message)),
                Transmit::RetransmitFailed { to, seq } => (Some(to), Sent::RetransmitFailed(seq)),
                // Nothing is skipped here.
                Transmit::Skipped { .. } => continue,
                Transmit::Keepalive { seq } => (None, Sent::Keepalive(seq)),
            };
            for (end, peer) in self.ends.iter_mut().zip(PEERS) {
                if to.is_none_or(|to| to == peer) {
                    end.coming.push_back(sent.clone());
                }
            }
        }
    }

    /// From now on nothing is lost, and whoever lost its place starts over, as a clone does.
    fn heal(&mut self) {
        for (index, peer) in PEERS.into_iter().enumerate() {
            self.producer.detach(peer);
            self.ends[index] = End::new();
        }
        for _ in 0..3 {
            self.produce();
        }
        for round in 0..200 {
            if round == 20 {
                (0..10).for_each(|_| self.produce());
            }
            self.producer.tick();
            self.send();
            for index in 0..2 {
                while let Some(sent) = self.ends[index].coming.pop_front() {
                    self.hand_over(index, sent);
                }
                self.tick_end(index, false);
            }
            self.send();
        }
        for (end, peer) in self.ends.iter().zip(PEERS) {
            assert_eq!(end.consumer.delivered(), self.producer.seq());
            assert!(!end.consumer.has_gap());
            assert_eq!(self.producer.acked(peer), Some(self.producer.seq()));
        }
        assert_eq!(self.producer.buffered(), 0);
    }
}

/// A number that nobody gave out, or an old one.
fn lie(which: u8) -> u64 {
    match which >> 5 {
        0..5 => u64::from(which & 31),
        5 => u64::MAX - u64::from(which & 31),
        6 => u64::from(u32::MAX),
        _ => 1 << (which & 31),
    }
}
