//! A bound on how often something is said: what peers send wrong is logged, but a peer that sends
//! nothing else must not fill the log (a bad payload is logged at a bounded rate).

use std::time::{Duration, Instant};

/// Lets so many through in each interval and counts the others. Time is an argument.
#[derive(Clone, Debug)]
pub struct RateLimit {
    max: u32,
    interval: Duration,
    /// When the running interval began; `None` before the first.
    began: Option<Instant>,
    let_through: u32,
    suppressed: u64,
}

impl RateLimit {
    /// Lets `max` through in each `interval`, which begins with the first one let through.
    #[must_use]
    pub const fn new(max: u32, interval: Duration) -> Self {
        Self {
            max,
            interval,
            began: None,
            let_through: 0,
            suppressed: 0,
        }
    }

    /// Whether to speak now: `Some` with the number of those suppressed since last time, or `None`.
    pub fn check(&mut self, now: Instant) -> Option<u64> {
        let running = self
            .began
            .is_some_and(|began| now.saturating_duration_since(began) < self.interval);
        if !running {
            self.began = Some(now);
            self.let_through = 0;
        }
        if self.let_through >= self.max {
            self.suppressed = self.suppressed.saturating_add(1);
            return None;
        }
        self.let_through += 1;
        Some(std::mem::take(&mut self.suppressed))
    }

    /// How many were suppressed since one was let through last.
    #[must_use]
    pub const fn suppressed(&self) -> u64 {
        self.suppressed
    }
}

/// Ten in ten seconds.
impl Default for RateLimit {
    fn default() -> Self {
        Self::new(10, Duration::from_secs(10))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn lets_so_many_through_in_each_interval_and_counts_the_rest() {
        let mut limit = RateLimit::new(2, SECOND);
        let start = Instant::now();
        let said: Vec<_> = (0..5).map(|_| limit.check(start)).collect();
        assert_eq!(said, [Some(0), Some(0), None, None, None]);
        assert_eq!(limit.check(start + SECOND / 2), None);
        assert_eq!(limit.suppressed(), 4);
        assert_eq!(limit.check(start + SECOND), Some(4));
        assert_eq!(limit.check(start + SECOND), Some(0));
        assert_eq!(limit.check(start + SECOND), None);
    }

    #[test]
    fn a_limit_of_none_only_counts() {
        let mut limit = RateLimit::new(0, SECOND);
        let start = Instant::now();
        assert_eq!(limit.check(start), None);
        assert_eq!(limit.check(start + 2 * SECOND), None);
        assert_eq!(limit.suppressed(), 2);
    }

    #[test]
    fn a_time_before_the_interval_belongs_to_it() {
        let mut limit = RateLimit::new(1, SECOND);
        let start = Instant::now() + SECOND;
        assert_eq!(limit.check(start), Some(0));
        assert_eq!(limit.check(start - SECOND / 2), None);
    }
}
