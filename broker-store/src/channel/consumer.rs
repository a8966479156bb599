//! The receiving side of a channel (wire reference 7.5).

use std::collections::BTreeMap;

use super::Timers;

/// Puts a stream of numbered messages back in order.
#[derive(Debug)]
pub struct Consumer<T> {
    timers: Timers,
    limits: ConsumerLimits,
    /// The next number to deliver; 0 before the handshake.
    next: u64,
    /// Numbers below it are known to exist.
    end: u64,
    /// Messages ahead of `next`; `None` is one that is known to be lost.
    ahead: BTreeMap<u64, Option<Ahead<T>>>,
    ahead_bytes: usize,
    ticks: u64,
    idle_ticks: u64,
}

/// How much a consumer keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsumerLimits {
    /// Messages that came before their turn. Beyond it they are discarded, and asked for again when their turn comes.
    pub max_messages: usize,
    /// Bytes of such messages, likewise.
    pub max_bytes: usize,
    /// Numbers asked for at once; the rest is asked for when these have come.
    pub max_nack: usize,
}

impl Default for ConsumerLimits {
    /// 8192 messages, 16 MiB, 1024 numbers.
    fn default() -> Self {
        Self {
            max_messages: 8192,
            max_bytes: 16 << 20,
            max_nack: 1024,
        }
    }
}

/// What a consumer hands on, in the order of numbers and without a gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery<T> {
    /// The message with this number.
    Message(u64, T),
    /// The message with this number is lost for good.
    Lost(u64),
}

impl<T> Delivery<T> {
    /// The number it is about.
    #[must_use]
    pub const fn seq(&self) -> u64 {
        match self {
            Self::Message(seq, _) | Self::Lost(seq) => *seq,
        }
    }
}

/// What a consumer wants said after a tick.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Upkeep {
    /// Ask for these; `[0]` asks to be attached.
    pub nack: Option<Vec<u64>>,
    /// Acknowledge everything up to this.
    pub ack: Option<u64>,
}

#[derive(Debug)]
struct Ahead<T> {
    weight: usize,
    message: T,
}

impl<T> Consumer<T> {
    /// Messages that came before their turn and wait for it.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.ahead.len()
    }

    /// A consumer that is not attached yet.
    #[must_use]
    pub const fn new(timers: Timers, limits: ConsumerLimits) -> Self {
        Self {
            timers,
            limits,
            next: 0,
            end: 0,
            ahead: BTreeMap::new(),
            ahead_bytes: 0,
            ticks: 0,
            idle_ticks: 0,
        }
    }

    /// Whether the handshake has come.
    #[must_use]
    pub const fn is_attached(&self) -> bool {
        self.next > 0
    }

    /// The last number that was delivered; 0 before the handshake.
    #[must_use]
    pub const fn delivered(&self) -> u64 {
        self.next.saturating_sub(1)
    }

    /// The lowest number that is not known to exist yet.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.end
    }

    /// Whether a number is known to exist that was not delivered.
    #[must_use]
    pub const fn has_gap(&self) -> bool {
        self.next < self.end
    }

    /// The stream begins behind `offset`, and its producer expects a word every `heartbeat` ticks. Answers what to
    /// acknowledge at once, or `None` if the consumer is attached already.
    pub fn handle_handshake(
        &mut self,
        offset: u64,
        heartbeat: u16,
        deliver: &mut dyn FnMut(Delivery<T>),
    ) -> Option<u64> {
        if self.is_attached() || offset >= u64::MAX / 2 {
            return None;
        }
        self.timers.heartbeat = heartbeat.max(1);
        self.next = offset + 1;
        self.end = self.end.max(self.next);
        (self.ticks, self.idle_ticks) = (0, 0);
        let kept = self.ahead.split_off(&self.next);
        self.ahead = kept;
        self.ahead_bytes = self
            .ahead
            .values()
            .flatten()
            .map(|ahead| ahead.weight)
            .sum();
        self.deliver_ahead(deliver);
        Some(self.delivered())
    }

    /// The stream goes on behind `offset` if that is later than what was delivered: its producer has given up what was
    /// before. Returns whether it does.
    pub fn skip_to(&mut self, offset: u64) -> bool {
        if !self.is_attached() || offset <= self.delivered() || offset >= u64::MAX / 2 {
            return false;
        }
        let timers = self.timers;
        *self = Self::new(timers, self.limits);
        self.handle_handshake(offset, timers.heartbeat, &mut |_| {});
        true
    }

    /// The numbers from `first` to `last` belong to no message.
    pub fn handle_skipped(&mut self, first: u64, last: u64, deliver: &mut dyn FnMut(Delivery<T>)) {
        if !self.is_attached() || last < self.next || last >= u64::MAX / 2 || first > last {
            return;
        }
        self.end = self.end.max(last + 1);
        // Those behind a gap are asked for again when it is closed.
        if first <= self.next {
            self.idle_ticks = 0;
            self.next = last + 1;
            let kept = self.ahead.split_off(&self.next);
            self.ahead = kept;
            self.ahead_bytes = self
                .ahead
                .values()
                .flatten()
                .map(|ahead| ahead.weight)
                .sum();
            self.deliver_ahead(deliver);
        }
    }

    /// Forgets what came before its turn; it will be asked for again.
    pub fn discard_ahead(&mut self) {
        self.ahead.clear();
        self.ahead_bytes = 0;
    }

    /// Message number `seq`, of `weight` bytes, has come.
    pub fn handle_message(
        &mut self,
        seq: u64,
        weight: usize,
        message: T,
        deliver: &mut dyn FnMut(Delivery<T>),
    ) {
        if seq == self.next && self.is_attached() {
            self.idle_ticks = 0;
            self.next += 1;
            self.end = self.end.max(self.next);
            deliver(Delivery::Message(seq, message));
            if !self.ahead.is_empty() {
                self.deliver_ahead(deliver);
            }
        } else if seq > self.next {
            self.end = self.end.max(seq);
            let room = self.ahead.len() < self.limits.max_messages
                && self.ahead_bytes + weight <= self.limits.max_bytes;
            if room && !matches!(self.ahead.get(&seq), Some(Some(_))) {
                self.ahead_bytes += weight;
                self.ahead.insert(seq, Some(Ahead { weight, message }));
            }
        }
    }

    /// The stream has come to `seq`.
    pub fn handle_keepalive(&mut self, seq: u64) {
        self.end = self.end.max(seq.saturating_add(1));
    }

    /// Message number `seq` cannot be sent again.
    pub fn handle_retransmit_failed(&mut self, seq: u64, deliver: &mut dyn FnMut(Delivery<T>)) {
        if seq < self.next
            || !self.is_attached()
            || (seq > self.next && self.ahead.len() >= self.limits.max_messages)
        {
            return;
        }
        self.ahead.entry(seq).or_insert(None);
        self.deliver_ahead(deliver);
    }

    /// One tick has passed.
    pub fn tick(&mut self) -> Upkeep {
        self.ticks += 1;
        self.idle_ticks += 1;
        let patience = u64::from(self.timers.nack_timeout.max(1));
        let mut upkeep = Upkeep::default();
        if !self.is_attached() {
            upkeep.nack = self.ticks.is_multiple_of(patience).then(|| vec![0]);
            return upkeep;
        }
        if self.has_gap() && self.idle_ticks >= patience {
            self.idle_ticks = 0;
            let missing: Vec<_> = self.missing().take(self.limits.max_nack).collect();
            upkeep.nack = (!missing.is_empty()).then_some(missing);
        }
        if self
            .ticks
            .is_multiple_of(u64::from(self.timers.heartbeat.max(1)))
        {
            upkeep.ack = Some(self.delivered());
        }
        upkeep
    }

    fn missing(&self) -> impl Iterator<Item = u64> + '_ {
        let mut ahead = self
            .ahead
            .range(self.next..self.end)
            .map(|(seq, _)| *seq)
            .peekable();
        (self.next..self.end).filter(move |seq| ahead.next_if_eq(seq).is_none())
    }

    fn deliver_ahead(&mut self, deliver: &mut dyn FnMut(Delivery<T>)) {
        while let Some(entry) = self.ahead.first_entry()
            && *entry.key() == self.next
        {
            let (seq, ahead) = entry.remove_entry();
            self.next += 1;
            self.idle_ticks = 0;
            match ahead {
                Some(ahead) => {
                    self.ahead_bytes -= ahead.weight;
                    deliver(Delivery::Message(seq, ahead.message));
                }
                None => deliver(Delivery::Lost(seq)),
            }
        }
        self.end = self.end.max(self.next);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    struct Receiver {
        consumer: Consumer<u64>,
        delivered: Vec<Delivery<u64>>,
    }

    impl Receiver {
        fn new() -> Self {
            let limits = ConsumerLimits {
                max_messages: 4,
                max_bytes: 100,
                max_nack: 8,
            };
            Self {
                consumer: Consumer::new(Timers::default(), limits),
                delivered: Vec::new(),
            }
        }

        fn attached(offset: u64) -> Self {
            let mut receiver = Self::new();
            assert_eq!(receiver.handshake(offset), Some(offset));
            receiver
        }

        fn handshake(&mut self, offset: u64) -> Option<u64> {
            self.consumer
                .handle_handshake(offset, 5, &mut |d| self.delivered.push(d))
        }

        fn message(&mut self, seq: u64) {
            self.consumer
                .handle_message(seq, 1, seq, &mut |d| self.delivered.push(d));
        }

        fn lost(&mut self, seq: u64) {
            self.consumer
                .handle_retransmit_failed(seq, &mut |d| self.delivered.push(d));
        }

        fn seqs(&self) -> Vec<u64> {
            self.delivered.iter().map(Delivery::seq).collect()
        }

        fn nack_within(&mut self, ticks: usize) -> Option<Vec<u64>> {
            (0..ticks).find_map(|_| self.consumer.tick().nack)
        }
    }

    #[test]
    fn an_unattached_consumer_asks_every_second_tick() {
        let mut r = Receiver::new();
        assert_eq!(r.consumer.tick(), Upkeep::default());
        assert_eq!(r.consumer.tick().nack, Some(vec![0]));
        assert_eq!(r.consumer.tick().nack, None);
        assert_eq!(r.consumer.tick().nack, Some(vec![0]));
    }

    #[test]
    fn messages_come_out_in_order_whatever_order_they_come_in() {
        let mut r = Receiver::attached(1);
        for seq in [3, 2, 2, 5, 1, 4] {
            r.message(seq);
        }
        assert_eq!(r.seqs(), [2, 3, 4, 5]);
        assert!(!r.consumer.has_gap());
    }

    #[test]
    fn what_came_before_the_handshake_counts_from_its_offset_on() {
        let mut r = Receiver::new();
        r.message(4);
        r.message(2);
        r.message(3);
        assert_eq!(r.seqs(), []);
        assert_eq!(r.handshake(2), Some(4));
        assert_eq!(r.seqs(), [3, 4]);
        assert_eq!(r.handshake(9), None, "a second handshake changes nothing");
    }

    #[test]
    fn a_gap_is_asked_for_after_two_idle_ticks() {
        let mut r = Receiver::attached(1);
        r.message(3);
        r.message(6);
        assert_eq!(r.consumer.tick().nack, None);
        assert_eq!(r.consumer.tick().nack, Some(vec![2, 4, 5]));
        assert_eq!(r.consumer.tick().nack, None);
        r.message(2);
        assert_eq!(r.consumer.tick().nack, None, "progress makes it wait");
        assert_eq!(r.consumer.tick().nack, Some(vec![4, 5]));
    }

    #[test]
    fn a_keepalive_reveals_what_is_missing_at_the_end() {
        let mut r = Receiver::attached(1);
        r.consumer.handle_keepalive(3);
        assert_eq!(r.nack_within(2), Some(vec![2, 3]));
        r.consumer.handle_keepalive(u64::MAX);
        assert_eq!(
            r.nack_within(2),
            Some((2..10).collect()),
            "at most eight numbers at once"
        );
    }

    #[test]
    fn acknowledgements_come_with_the_heartbeat() {
        let mut r = Receiver::attached(1);
        r.message(2);
        let acks: Vec<_> = (0..10).filter_map(|_| r.consumer.tick().ack).collect();
        assert_eq!(acks, [2, 2]);
    }

    #[test]
    fn a_lost_message_is_reported_in_its_turn() {
        let mut r = Receiver::attached(1);
        r.lost(3);
        assert_eq!(r.seqs(), []);
        r.message(2);
        r.lost(4);
        r.lost(2);
        assert_eq!(
            r.delivered,
            [
                Delivery::Message(2, 2),
                Delivery::Lost(3),
                Delivery::Lost(4)
            ]
        );
    }

    #[test]
    fn what_does_not_fit_is_discarded_and_asked_for_again() {
        let mut r = Receiver::attached(1);
        for seq in 3..10 {
            r.message(seq);
        }
        assert_eq!(r.nack_within(2), Some(vec![2, 7, 8]));
        for seq in [2, 7, 8, 9] {
            r.message(seq);
        }
        assert_eq!(r.seqs(), (2..10).collect::<Vec<_>>());
    }

    #[test]
    fn a_handshake_that_leaves_no_room_for_numbers_is_ignored() {
        assert_eq!(Receiver::new().handshake(u64::MAX), None);
    }

    proptest! {
        /// Messages are lost, doubled and reordered on the first try; every nack is answered.
        #[test]
        fn everything_is_delivered_once_and_in_order(arrivals in prop::collection::vec(2u64..30, 0..60)) {
            let mut r = Receiver::attached(1);
            for seq in arrivals {
                r.message(seq);
            }
            r.consumer.handle_keepalive(30);
            while let Some(missing) = r.nack_within(3) {
                prop_assert!(missing.is_sorted() && missing.len() <= 8);
                for seq in missing {
                    r.message(seq);
                }
            }
            prop_assert_eq!(r.seqs(), (2..=30).collect::<Vec<_>>());
            prop_assert_eq!(r.consumer.ahead_bytes, 0);
        }
    }
}
