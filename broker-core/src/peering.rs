//! One peering from the end of its handshake to its loss: heartbeats, the goodbye, barriers.
//!
//! The machine holds no socket and reads no clock: the driver feeds control envelopes and the time,
//! then drains [`Peering::poll_transmit`] and [`Peering::poll_event`] until both are empty. Rules
//! (broker-wire reference, 2.6):
//!
//! * every heartbeat interval a ping goes out, whose pong gives the round trip; anything received
//!   counts as a sign of life, and silence for the whole timeout ends the peering;
//! * a ping meant for us is answered with its own payload, any other is not;
//! * leaving sends a ping with `BYE` and eight opaque bytes, and the peering ends when its pong comes
//!   back or after three seconds;
//! * a barrier is a ping too: frames keep their order, so its pong proves that the peer has seen all
//!   that was sent before.
//!
//! **Invariant:** after [`Event::Ended`] the machine is silent.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::time::Instant;

/// How a peering is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// How often a ping is sent. Smaller finds a dead peer sooner and costs more idle traffic.
    pub interval: Duration,
    /// After how much silence the peer is lost. Below twice the interval, one late packet ends a healthy peering.
    pub timeout: Duration,
}

impl Default for Heartbeat {
    /// A ping a second, lost after five seconds of silence.
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(5),
        }
    }
}

/// How long a peering that says goodbye waits for the answer (broker-wire reference, 2.6).
pub const BYE_TIMEOUT: Duration = Duration::from_secs(3);

/// How many barriers may wait at the same time; one more fails at once.
pub const MAX_BARRIERS: usize = 1024;

const BYE: &[u8; 3] = b"BYE";
/// The mark and eight opaque bytes.
const BYE_LEN: usize = 11;
const HEARTBEAT: &[u8; 3] = b"HBT";
const BARRIER: &[u8; 3] = b"BAR";

/// Why a peering ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// We said goodbye and the peer answered.
    Left,
    /// We said goodbye and the peer did not answer in time.
    LeftWithoutAnswer,
    /// Nothing was heard for the whole timeout.
    Silent,
}

/// What the driver has to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The peering is over; close the connection.
    Ended(Ended),
    /// A round trip was measured.
    RoundTrip(Duration),
    /// The peer has seen everything that was sent before this barrier.
    BarrierReached(u64),
}

/// What to send to the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transmit {
    /// A ping with this payload.
    Ping(Bytes),
    /// A pong with this payload.
    Pong(Bytes),
}

/// The state of one peering.
#[derive(Debug)]
pub struct Peering {
    heartbeat: Heartbeat,
    last_heard: Instant,
    next_ping: Instant,
    /// Distinguishes our pings from those of an earlier peering over the same connection.
    nonce: u64,
    counter: u64,
    /// The heartbeat whose pong is awaited, and when it was sent.
    outstanding: Option<(u64, Instant)>,
    leaving: Option<Instant>,
    peer_said_bye: bool,
    ended: bool,
    barriers: VecDeque<u64>,
    transmit: VecDeque<Transmit>,
    events: VecDeque<Event>,
}

impl Peering {
    /// A peering that begins `now`. `nonce` is random.
    #[must_use]
    pub fn new(now: Instant, heartbeat: Heartbeat, nonce: u64) -> Self {
        Self {
            heartbeat,
            last_heard: now,
            next_ping: now + heartbeat.interval,
            nonce,
            counter: 0,
            outstanding: None,
            leaving: None,
            peer_said_bye: false,
            ended: false,
            barriers: VecDeque::new(),
            transmit: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Anything at all came from the peer.
    pub fn heard(&mut self, now: Instant) {
        self.last_heard = now;
    }

    /// A ping meant for us came in.
    pub fn handle_ping(&mut self, payload: Bytes) {
        if !self.ended {
            self.peer_said_bye |= payload.len() == BYE_LEN && payload.starts_with(BYE);
            self.transmit.push_back(Transmit::Pong(payload));
        }
    }

    /// A pong came in.
    pub fn handle_pong(&mut self, now: Instant, payload: &[u8]) {
        if self.ended {
            return;
        }
        if payload == token(BYE, self.nonce).as_ref() && self.leaving.is_some() {
            self.end(Ended::Left);
        } else if let Some(number) = self.number(payload, HEARTBEAT) {
            if let Some((awaited, sent)) = self.outstanding
                && awaited == number
            {
                self.outstanding = None;
                self.events
                    .push_back(Event::RoundTrip(now.saturating_duration_since(sent)));
            }
        } else if let Some(number) = self.number(payload, BARRIER) {
            while let Some(first) = self.barriers.front().copied()
                && first <= number
            {
                self.barriers.pop_front();
                self.events.push_back(Event::BarrierReached(first));
            }
        }
    }

    /// Sends a barrier; its number comes back in [`Event::BarrierReached`]. `None` if too many wait.
    pub fn barrier(&mut self) -> Option<u64> {
        if self.ended || self.barriers.len() >= MAX_BARRIERS {
            return None;
        }
        self.counter += 1;
        self.barriers.push_back(self.counter);
        self.transmit
            .push_back(Transmit::Ping(self.numbered(BARRIER, self.counter)));
        Some(self.counter)
    }

    /// Says goodbye; the peering ends with the answer or after [`BYE_TIMEOUT`].
    pub fn leave(&mut self, now: Instant) {
        if self.leaving.is_none() && !self.ended {
            self.leaving = Some(now + BYE_TIMEOUT);
            self.transmit
                .push_back(Transmit::Ping(token(BYE, self.nonce)));
        }
    }

    /// Whether the peer has announced that it is about to close.
    #[must_use]
    pub const fn peer_said_bye(&self) -> bool {
        self.peer_said_bye
    }

    /// Whether [`leave`](Self::leave) was called.
    #[must_use]
    pub const fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        if self.ended {
            return None;
        }
        let silence = self.last_heard + self.heartbeat.timeout;
        let next = self.next_ping.min(silence);
        Some(self.leaving.map_or(next, |bye| next.min(bye)))
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.ended {
            return;
        }
        self.forgive_own_absence(now);
        if self.leaving.is_some_and(|bye| now >= bye) {
            return self.end(Ended::LeftWithoutAnswer);
        }
        if now >= self.last_heard + self.heartbeat.timeout {
            return self.end(Ended::Silent);
        }
        if now >= self.next_ping {
            self.next_ping = now + self.heartbeat.interval;
            self.counter += 1;
            self.outstanding = Some((self.counter, now));
            self.transmit
                .push_back(Transmit::Ping(self.numbered(HEARTBEAT, self.counter)));
        }
    }

    /// A process that was stopped, or a machine that slept, heard nothing because it did not listen: what the peer sent
    /// meanwhile waits unread. So who wakes up more than an interval late counts the peer's silence from now on.
    fn forgive_own_absence(&mut self, now: Instant) {
        let due = self.next_ping.min(self.last_heard + self.heartbeat.timeout);
        if now > due + self.heartbeat.interval {
            self.last_heard = now;
            self.next_ping = now;
        }
    }

    /// The next frame to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmit.pop_front()
    }

    /// The next thing to know.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn end(&mut self, why: Ended) {
        self.ended = true;
        self.transmit.clear();
        self.barriers.clear();
        self.events.push_back(Event::Ended(why));
    }

    fn numbered(&self, mark: &[u8; 3], number: u64) -> Bytes {
        let mut payload = BytesMut::with_capacity(19);
        payload.put_slice(mark);
        payload.put_u64(self.nonce);
        payload.put_u64(number);
        payload.freeze()
    }

    fn number(&self, payload: &[u8], mark: &[u8; 3]) -> Option<u64> {
        let rest = payload
            .strip_prefix(mark)?
            .strip_prefix(&self.nonce.to_be_bytes())?;
        Some(u64::from_be_bytes(rest.try_into().ok()?))
    }
}

/// `BYE` and eight opaque bytes: 11 bytes, as C++ sends it.
fn token(mark: &[u8; 3], nonce: u64) -> Bytes {
    let mut payload = BytesMut::with_capacity(11);
    payload.put_slice(mark);
    payload.put_u64(nonce);
    payload.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    /// Two machines on a perfect network with a clock of their own.
    struct Pair {
        now: Instant,
        left: Peering,
        right: Peering,
        cut: bool,
    }

    impl Pair {
        fn connected() -> Self {
            let now = Instant::now();
            let machine = |nonce| Peering::new(now, Heartbeat::default(), nonce);
            Self {
                now,
                left: machine(1),
                right: machine(2),
                cut: false,
            }
        }

        fn exchange(&mut self) {
            loop {
                let frames: Vec<_> = std::iter::from_fn(|| self.left.poll_transmit()).collect();
                let back: Vec<_> = std::iter::from_fn(|| self.right.poll_transmit()).collect();
                if frames.is_empty() && back.is_empty() {
                    return;
                }
                if self.cut {
                    continue;
                }
                for (machine, frames) in [(&mut self.right, frames), (&mut self.left, back)] {
                    for frame in frames {
                        machine.heard(self.now);
                        match frame {
                            Transmit::Ping(payload) => machine.handle_ping(payload),
                            Transmit::Pong(payload) => machine.handle_pong(self.now, &payload),
                        }
                    }
                }
            }
        }

        fn advance(&mut self, by: Duration) {
            let end = self.now + by;
            while let Some(next) = self
                .left
                .next_timeout()
                .into_iter()
                .chain(self.right.next_timeout())
                .min()
                && next <= end
            {
                self.now = next;
                self.left.handle_timeout(next);
                self.right.handle_timeout(next);
                self.exchange();
            }
            self.now = end;
        }

        fn ended(machine: &mut Peering) -> Option<Ended> {
            std::iter::from_fn(|| machine.poll_event()).find_map(|event| match event {
                Event::Ended(why) => Some(why),
                _ => None,
            })
        }
    }

    #[test]
    fn a_silent_peer_is_dropped_at_the_deadline_and_not_before() {
        let mut pair = Pair::connected();
        pair.cut = true;
        pair.advance(Duration::from_secs(5) - MILLISECOND);
        assert_eq!(Pair::ended(&mut pair.left), None);
        pair.advance(MILLISECOND);
        assert_eq!(Pair::ended(&mut pair.left), Some(Ended::Silent));
        assert_eq!(pair.left.next_timeout(), None);
    }

    #[test]
    fn own_absence_is_no_silence_of_the_peer() {
        let mut pair = Pair::connected();
        pair.cut = true;
        // Stopped for a minute: the peer is asked at once, and has its time to answer.
        let awake = pair.now + Duration::from_secs(60);
        pair.left.handle_timeout(awake);
        assert_eq!(Pair::ended(&mut pair.left), None);
        assert!(matches!(pair.left.poll_transmit(), Some(Transmit::Ping(_))));
        let mut now = awake;
        while let Some(next) = pair.left.next_timeout() {
            now = next;
            pair.left.handle_timeout(now);
        }
        assert_eq!(Pair::ended(&mut pair.left), Some(Ended::Silent));
        assert_eq!(now, awake + Heartbeat::default().timeout);
    }

    #[test]
    fn heartbeats_keep_an_idle_peering_alive_and_measure_the_round_trip() {
        let mut pair = Pair::connected();
        pair.advance(Duration::from_secs(60));
        let events: Vec<_> = std::iter::from_fn(|| pair.left.poll_event()).collect();
        assert_eq!(events.len(), 60);
        assert!(
            events
                .iter()
                .all(|event| matches!(event, Event::RoundTrip(_)))
        );
    }

    #[test]
    fn leaving_ends_with_the_answer() {
        let mut pair = Pair::connected();
        pair.left.leave(pair.now);
        pair.exchange();
        assert_eq!(Pair::ended(&mut pair.left), Some(Ended::Left));
        assert_eq!(Pair::ended(&mut pair.right), None);
        assert!(pair.right.peer_said_bye() && !pair.left.peer_said_bye());
    }

    #[test]
    fn leaving_ends_after_three_seconds_without_an_answer() {
        let mut pair = Pair::connected();
        pair.cut = true;
        pair.left.leave(pair.now);
        pair.advance(BYE_TIMEOUT - MILLISECOND);
        assert_eq!(Pair::ended(&mut pair.left), None);
        pair.advance(MILLISECOND);
        assert_eq!(Pair::ended(&mut pair.left), Some(Ended::LeftWithoutAnswer));
    }

    #[test]
    fn a_goodbye_is_eleven_bytes_as_cpp_sends_it() {
        let mut peering = Peering::new(Instant::now(), Heartbeat::default(), 9);
        peering.leave(Instant::now());
        let Some(Transmit::Ping(payload)) = peering.poll_transmit() else {
            panic!("no ping")
        };
        assert_eq!(payload.len(), 11);
        assert!(payload.starts_with(b"BYE"));
    }

    #[test]
    fn barriers_are_reached_in_order() {
        let mut pair = Pair::connected();
        let (first, second) = (pair.left.barrier(), pair.left.barrier());
        pair.exchange();
        let reached: Vec<_> = std::iter::from_fn(|| pair.left.poll_event()).collect();
        let numbers = [first, second].map(|number| Event::BarrierReached(number.expect("room")));
        assert_eq!(reached, numbers);
    }

    #[test]
    fn foreign_pongs_change_nothing() {
        let mut peering = Peering::new(Instant::now(), Heartbeat::default(), 9);
        peering.leave(Instant::now());
        for payload in [
            &b""[..],
            b"BYE",
            b"BYE\0\0\0\0\0\0\0\x08",
            b"HBT",
            &[0xff; 19],
        ] {
            peering.handle_pong(Instant::now(), payload);
        }
        assert_eq!(peering.poll_event(), None);
    }
}
