//! How long to wait before the next attempt to connect: not at all, then 100 ms doubling up to
//! 5 s, each 20 % more or less, so that nodes that lost the same peer at the same moment do not come back
//! at the same moment.

use std::time::Duration;

/// The waits between attempts. Reads no clock and draws no numbers: both belong to the caller.
#[derive(Clone, Debug)]
pub struct Backoff {
    initial: Duration,
    max: Duration,
    /// Waits handed out since the last reset.
    attempts: u32,
}

impl Backoff {
    /// After a first attempt at once, waits from `initial`, doubling up to `max`, before jitter.
    #[must_use]
    pub const fn new(initial: Duration, max: Duration) -> Self {
        Self {
            initial,
            max,
            attempts: 0,
        }
    }

    /// How long to wait before the next attempt. `random` is any number drawn uniformly.
    pub fn next_delay(&mut self, random: u64) -> Duration {
        let attempt = self.attempts;
        self.attempts = self.attempts.saturating_add(1);
        let Some(doublings) = attempt.checked_sub(1) else {
            return Duration::ZERO;
        };
        let factor = 1u32.checked_shl(doublings).unwrap_or(u32::MAX);
        let delay = self.initial.saturating_mul(factor).min(self.max);
        let percent = 100 - JITTER_PERCENT + (random % u64::from(2 * JITTER_PERCENT + 1)) as u32;
        delay.saturating_mul(percent) / 100
    }

    /// Begins anew, with an attempt at once. To be called when a connection has proved good, not
    /// when it is merely made: a peer that accepts and hangs up would be dialed without a pause.
    pub const fn reset(&mut self) {
        self.attempts = 0;
    }

    /// Attempts since the last reset.
    #[must_use]
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }
}

/// 100 ms doubling up to 5 s.
impl Default for Backoff {
    fn default() -> Self {
        Self::new(Duration::from_millis(100), Duration::from_secs(5))
    }
}

const JITTER_PERCENT: u32 = 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A number whose jitter is none.
    const MIDDLE: u64 = 20;

    #[test]
    fn waits_double_from_the_second_attempt_on_up_to_the_longest() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..9)
            .map(|_| backoff.next_delay(MIDDLE).as_millis())
            .collect();
        assert_eq!(waits, [0, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(backoff.attempts(), 9);
        backoff.reset();
        assert_eq!(backoff.next_delay(MIDDLE), Duration::ZERO);
        assert_eq!(backoff.next_delay(MIDDLE), Duration::from_millis(100));
    }

    #[test]
    fn however_many_attempts_fail_the_wait_stays_the_longest() {
        let mut backoff = Backoff::default();
        for _ in 0..200 {
            backoff.next_delay(MIDDLE);
        }
        assert_eq!(backoff.next_delay(MIDDLE), Duration::from_secs(5));
        backoff.attempts = u32::MAX;
        assert_eq!(backoff.next_delay(MIDDLE), Duration::from_secs(5));
    }

    proptest! {
        #[test]
        fn jitter_stays_within_a_fifth(random in any::<u64>(), attempts in 1u32..20) {
            let wait = |random| {
                let mut backoff = Backoff { attempts, ..Backoff::default() };
                backoff.next_delay(random)
            };
            let middle = wait(MIDDLE);
            prop_assert!(wait(random) >= middle * 4 / 5 && wait(random) <= middle * 6 / 5);
        }
    }

    #[test]
    fn jitter_reaches_both_ends() {
        let waits = |random| {
            let mut backoff = Backoff {
                attempts: 1,
                ..Backoff::default()
            };
            backoff.next_delay(random).as_millis()
        };
        assert_eq!((waits(0), waits(40)), (80, 120));
    }
}
