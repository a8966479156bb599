//! From one connection to the next: a server is told another subscription only by connecting anew, and meanwhile both
//! connections bring messages.
//!
//! ```text
//! published:   1   2   3   4   5   6   7   8
//! old          1   2   3   4   5   6 | closed
//! new                  | subscribed
//!                      4   5   6   7   8
//! ```
//!
//! What comes on the old connection is delivered at once and remembered. What comes on the new one is delivered at once
//! if the old one was not subscribed to it; else it is taken for the copy of an equal one that came on the old, or held
//! until that comes, or until the old connection has ended and it is clear that it is the only one. The old
//! connection is closed once one copy has been found (then the old one has brought everything from before the new
//! subscription), or after [`LINGER`].
//!
//! **Guarantee:** with a server that sends every client the same order, no message is lost, none comes twice and those
//! of one topic stay in order, with one exception: of messages on the same topic with the same value, one that comes
//! while the new subscription is on its way and one that comes right behind it may be taken for one. (Messages have no
//! numbers on this protocol.) Beyond the bound of [`MAX_HELD`] messages some may come twice. Nothing else is ever
//! told apart by content.

use std::collections::VecDeque;
use std::time::Duration;

use broker_core::{Envelope, Filter};
use tokio::time::Instant;

/// How long the old connection is kept to bring what was published before the new subscription.
pub(crate) const LINGER: Duration = Duration::from_secs(1);

/// How long copies of what the old connection brought are looked for after its end.
const AFTERWARDS: Duration = Duration::from_secs(1);

/// How many messages are remembered, and held, at most.
pub(crate) const MAX_HELD: usize = 8192;

/// How many bytes of payload are remembered, and held, at most.
const MAX_HELD_BYTES: usize = 16 << 20;

/// One change of connection. Knows no sockets and no clock.
#[derive(Debug)]
pub(crate) struct Seam {
    /// What the old connection is subscribed to.
    old: Filter,
    /// What the new one is subscribed to.
    new: Filter,
    /// Came on the old connection; the copy may come on the new one.
    delivered: Bounded,
    /// Came on the new connection; may still come on the old one.
    held: Bounded,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The new connection is being made.
    Preparing,
    /// Both bring messages; the old one is closed then, or when a copy is found.
    Both {
        until: Instant,
    },
    /// The old connection is closing.
    Closing,
    /// The old connection has ended; copies are looked for until then.
    Afterwards {
        until: Instant,
    },
    Over,
}

#[derive(Debug, Default)]
struct Bounded {
    envelopes: VecDeque<Envelope>,
    bytes: usize,
}

impl Bounded {
    /// Adds one; gives back what there is no room for, oldest first.
    fn push(&mut self, envelope: Envelope) -> Option<Envelope> {
        self.bytes += envelope.payload.len();
        self.envelopes.push_back(envelope);
        if self.envelopes.len() > MAX_HELD || self.bytes > MAX_HELD_BYTES {
            return self.pop();
        }
        None
    }

    fn pop(&mut self) -> Option<Envelope> {
        let envelope = self.envelopes.pop_front()?;
        self.bytes -= envelope.payload.len();
        Some(envelope)
    }

    /// Takes out the first one that is equal.
    fn take(&mut self, like: &Envelope) -> bool {
        let equal = |kept: &Envelope| kept.topic == like.topic && kept.payload == like.payload;
        let Some(at) = self.envelopes.iter().position(equal) else {
            return false;
        };
        self.envelopes.remove(at);
        self.bytes -= like.payload.len();
        true
    }
}

impl Seam {
    /// A change from the subscription `old` to `new` that is about to begin.
    pub(crate) fn new(old: Filter, new: Filter) -> Self {
        Self {
            old,
            new,
            delivered: Bounded::default(),
            held: Bounded::default(),
            phase: Phase::Preparing,
        }
    }

    /// The new connection is there and subscribed.
    pub(crate) fn connected(&mut self, now: Instant) {
        if self.phase == Phase::Preparing {
            self.phase = Phase::Both {
                until: now + LINGER,
            };
        }
    }

    /// Takes a message of the old connection.
    pub(crate) fn on_old(&mut self, envelope: Envelope, out: &mut Vec<Envelope>) {
        if self.new.matches(envelope.topic.as_bytes()) {
            if self.held.take(&envelope) {
                self.found();
            } else {
                let _ = self.delivered.push(envelope.clone());
            }
        }
        out.push(envelope);
    }

    /// Takes a message of the new connection.
    pub(crate) fn on_new(&mut self, envelope: Envelope, out: &mut Vec<Envelope>) {
        if self.phase == Phase::Over || !self.old.matches(envelope.topic.as_bytes()) {
            out.push(envelope);
        } else if self.delivered.take(&envelope) {
            self.found();
        } else if matches!(self.phase, Phase::Afterwards { .. }) {
            // The first one the old connection did not bring: so neither did it bring those behind.
            self.phase = Phase::Over;
            out.push(envelope);
        } else {
            out.extend(self.held.push(envelope));
        }
    }

    fn found(&mut self) {
        if matches!(self.phase, Phase::Both { .. }) {
            self.phase = Phase::Closing;
        }
    }

    /// The old connection has ended.
    pub(crate) fn old_ended(&mut self, now: Instant, out: &mut Vec<Envelope>) {
        while let Some(envelope) = self.held.pop() {
            out.push(envelope);
        }
        self.phase = Phase::Afterwards {
            until: now + AFTERWARDS,
        };
    }

    /// Whether the old connection is to be closed now, or is being closed.
    pub(crate) const fn wants_old_closed(&self) -> bool {
        matches!(self.phase, Phase::Closing)
    }

    /// Whether the new connection is there already.
    pub(crate) const fn has_connected(&self) -> bool {
        !matches!(self.phase, Phase::Preparing)
    }

    /// Whether all is as if there had been no other connection.
    pub(crate) const fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    pub(crate) const fn next_timeout(&self) -> Option<Instant> {
        match self.phase {
            Phase::Both { until } | Phase::Afterwards { until } => Some(until),
            Phase::Preparing | Phase::Closing | Phase::Over => None,
        }
    }

    /// Time has passed.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        match self.phase {
            Phase::Both { until } if now >= until => self.phase = Phase::Closing,
            Phase::Afterwards { until } if now >= until => self.phase = Phase::Over,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use broker_core::{EndpointId, MessageKind, Topic};
    use bytes::Bytes;
    use proptest::prelude::*;

    fn message(topic: &'static str, value: u32) -> Envelope {
        Envelope::unicast(
            MessageKind::Data,
            EndpointId::NIL,
            EndpointId::NIL,
            Topic::from_static(topic),
            Bytes::copy_from_slice(&value.to_be_bytes()),
        )
    }

    fn filter(prefixes: &[&'static str]) -> Filter {
        prefixes.iter().copied().map(Topic::from_static).collect()
    }

    #[test]
    fn what_only_the_new_connection_brings_is_not_held_up() {
        let mut seam = Seam::new(filter(&["a"]), filter(&["a", "b"]));
        seam.connected(Instant::now());
        let mut out = Vec::new();
        seam.on_new(message("b", 1), &mut out);
        assert_eq!(out, [message("b", 1)]);
        seam.on_new(message("a", 2), &mut out);
        assert_eq!(out.len(), 1);
    }

    #[test]
    fn the_old_connection_is_closed_when_a_copy_was_found_or_after_a_while() {
        let now = Instant::now();
        let mut seam = Seam::new(filter(&["a"]), filter(&["a", "b"]));
        let mut out = Vec::new();
        seam.on_old(message("a", 1), &mut out);
        seam.connected(now);
        seam.on_new(message("a", 2), &mut out);
        assert!(!seam.wants_old_closed());
        seam.on_old(message("a", 2), &mut out);
        assert!(seam.wants_old_closed());
        assert_eq!(out, [message("a", 1), message("a", 2)]);

        let mut quiet = Seam::new(filter(&["a"]), filter(&["b"]));
        quiet.connected(now);
        quiet.handle_timeout(now + LINGER - Duration::from_millis(1));
        assert!(!quiet.wants_old_closed());
        quiet.handle_timeout(now + LINGER);
        assert!(quiet.wants_old_closed());
        quiet.old_ended(now + LINGER, &mut out);
        quiet.handle_timeout(now + LINGER + AFTERWARDS);
        assert!(quiet.is_over());
    }

    #[test]
    fn more_than_the_bound_is_delivered_rather_than_held() {
        let mut seam = Seam::new(filter(&["a"]), filter(&["a"]));
        seam.connected(Instant::now());
        let mut out = Vec::new();
        for value in 0..MAX_HELD as u32 + 10 {
            seam.on_new(message("a", value), &mut out);
        }
        assert_eq!(out.len(), 10);
        seam.old_ended(Instant::now(), &mut out);
        assert_eq!(out.len(), MAX_HELD + 10);
        assert!(
            out.iter()
                .enumerate()
                .all(|(at, envelope)| *envelope == message("a", at as u32))
        );
    }

    proptest! {
        /// Both connections bring what one sequence of distinct messages holds for them, in its order, the two interleaved
        /// in any way. Nothing is lost, nothing comes twice, and each topic keeps its order.
        #[test]
        fn every_message_comes_exactly_once(
            topics in proptest::collection::vec(0..3usize, 1..40),
            subscribed_at in 0..40usize,
            steps in proptest::collection::vec(any::<bool>(), 0..120),
            grows in any::<bool>(),
        ) {
            const TOPICS: [&str; 3] = ["a", "b", "c"];
            let (old, new) = if grows {
                (filter(&["a", "b"]), filter(&["a", "b", "c"]))
            } else {
                (filter(&["a", "b"]), filter(&["b", "c"]))
            };
            let all: Vec<_> = topics
                .iter()
                .enumerate()
                .map(|(value, topic)| message(TOPICS[*topic], value as u32))
                .collect();
            let of = |filter: &Filter, from: usize| -> VecDeque<Envelope> {
                let all = all.iter().skip(from);
                all.filter(|envelope| filter.matches(envelope.topic.as_bytes())).cloned().collect()
            };
            let subscribed_at = subscribed_at.min(all.len());
            let (mut on_old, mut on_new) = (of(&old, 0), of(&new, subscribed_at));
            let now = Instant::now();
            let mut out = Vec::new();
            // What came before the change began.
            let before = all.iter().take(subscribed_at / 2).filter(|e| old.matches(e.topic.as_bytes())).count();
            out.extend(on_old.drain(..before));
            let mut seam = Seam::new(old.clone(), new.clone());
            seam.connected(now);
            let mut closed_at = None;
            for from_old in steps {
                if from_old {
                    if let Some(envelope) = on_old.pop_front() {
                        seam.on_old(envelope, &mut out);
                    }
                } else if let Some(envelope) = on_new.pop_front() {
                    seam.on_new(envelope, &mut out);
                }
                if seam.wants_old_closed() {
                    // It may end anywhere behind what it has brought; here at once.
                    seam.old_ended(now, &mut out);
                    closed_at = Some(());
                    break;
                }
            }
            if closed_at.is_none() {
                // It lingers until it has brought what was published before the subscription.
                for envelope in on_old.drain(..) {
                    seam.on_old(envelope, &mut out);
                }
                seam.handle_timeout(now + LINGER);
                seam.old_ended(now, &mut out);
            }
            for envelope in on_new {
                seam.on_new(envelope, &mut out);
            }
            for (number, topic) in TOPICS.iter().enumerate() {
                let came: Vec<_> = out.iter().filter(|e| e.topic == Topic::from_static(topic)).collect();
                let expected: Vec<_> = all
                    .iter()
                    .enumerate()
                    .filter(|(at, e)| {
                        e.topic == Topic::from_static(topic)
                            && (number == 1 || (number == 0 && grows) || (number == 2 && *at >= subscribed_at))
                    })
                    .map(|(_, e)| e)
                    .collect();
                if number == 0 && !grows {
                    // Given up: it ends somewhere.
                    continue;
                }
                prop_assert_eq!(came, expected, "topic {}", topic);
            }
        }
    }
}
