//! Numbered events from the manager to one worker, each of which the worker takes exactly once although the manager may be
//! killed: the worker takes number after number without a gap and says how far it is; the manager, also a new one that
//! remembers nothing, goes on from there.
//!
//! Holds no socket and reads no clock.

use std::time::{Duration, Instant};

/// Events on their way to one worker at most.
const WINDOW: u64 = 1024;

/// How long nothing may come from a worker before what is on its way to it is sent again.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// The manager's side.
#[derive(Debug, Default)]
pub(super) struct Feed {
    sent: u64,
    have: u64,
    want: u64,
    /// When it last came further; none before the worker has said how far it is.
    moved: Option<Instant>,
}

impl Feed {
    /// The worker has said that it has all up to `have`, and wants more up to `want`.
    pub(super) fn heard(&mut self, now: Instant, have: u64, want: u64) {
        if self.moved.is_none() || have > self.have {
            self.moved = Some(now);
        }
        self.have = self.have.max(have);
        self.sent = self.sent.max(self.have);
        self.want = self.want.max(want);
    }

    /// The worker is away: what is on its way is lost.
    pub(super) fn lost(&mut self) {
        self.sent = self.have;
        self.moved = None;
    }

    /// The number of the event to be sent now, if one is.
    pub(super) fn next(&mut self, now: Instant) -> Option<u64> {
        let moved = self.moved?;
        if self.sent > self.have && now.saturating_duration_since(moved) >= ANSWER_TIMEOUT {
            self.sent = self.have;
            self.moved = Some(now);
        }
        if self.sent >= self.want.min(self.have + WINDOW) {
            return None;
        }
        self.sent += 1;
        Some(self.sent)
    }
}

/// The worker's side.
#[derive(Debug, Default)]
pub(super) struct Intake {
    have: u64,
    again: u64,
}

impl Intake {
    /// An event has come. Those behind a gap are left to come again.
    pub(super) fn take(&mut self, number: u64) {
        if number == self.have + 1 {
            self.have = number;
        } else {
            self.again += u64::from(number <= self.have);
        }
    }

    /// Events taken, each once.
    pub(super) const fn have(&self) -> u64 {
        self.have
    }

    /// Events that came once more.
    pub(super) const fn again(&self) -> u64 {
        self.again
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(feed: &mut Feed, now: Instant) -> Vec<u64> {
        std::iter::from_fn(|| feed.next(now)).collect()
    }

    #[test]
    fn nothing_is_sent_before_the_worker_has_said_how_far_it_is() {
        let now = Instant::now();
        let mut feed = Feed::default();
        assert_eq!(feed.next(now), None);
        feed.heard(now, 5, 8);
        assert_eq!(sent(&mut feed, now), [6, 7, 8]);
        feed.heard(now, 7, 9);
        assert_eq!(sent(&mut feed, now), [9]);
    }

    #[test]
    fn no_more_than_the_window_is_on_its_way() {
        let now = Instant::now();
        let mut feed = Feed::default();
        feed.heard(now, 0, 10 * WINDOW);
        assert_eq!(sent(&mut feed, now).len() as u64, WINDOW);
        feed.heard(now, 1, 10 * WINDOW);
        assert_eq!(sent(&mut feed, now), [WINDOW + 1]);
    }

    #[test]
    fn what_is_not_answered_is_sent_again_and_taken_once() {
        let now = Instant::now();
        let (mut feed, mut intake) = (Feed::default(), Intake::default());
        feed.heard(now, 0, 4);
        for number in sent(&mut feed, now)
            .into_iter()
            .filter(|number| *number != 2)
        {
            intake.take(number);
        }
        assert_eq!(intake.have(), 1, "the rest is behind a gap");
        feed.heard(now, intake.have(), 4);
        assert_eq!(sent(&mut feed, now + ANSWER_TIMEOUT / 2), [0; 0]);
        for number in sent(&mut feed, now + ANSWER_TIMEOUT) {
            intake.take(number);
        }
        intake.take(3);
        assert_eq!((intake.have(), intake.again()), (4, 1));
    }

    #[test]
    fn a_manager_that_was_killed_goes_on_where_the_worker_is() {
        let now = Instant::now();
        let (mut feed, mut intake) = (Feed::default(), Intake::default());
        feed.heard(now, 0, 100);
        for number in sent(&mut feed, now).into_iter().take(30) {
            intake.take(number);
        }
        let mut feed = Feed::default();
        feed.heard(now, intake.have(), 100);
        let rest = sent(&mut feed, now);
        assert_eq!((rest.first(), rest.len()), (Some(&31), 70));
        rest.into_iter().for_each(|number| intake.take(number));
        assert_eq!((intake.have(), intake.again()), (100, 0));
    }

    #[test]
    fn a_worker_that_went_away_is_waited_for() {
        let now = Instant::now();
        let mut feed = Feed::default();
        feed.heard(now, 0, 3);
        assert_eq!(sent(&mut feed, now), [1, 2, 3]);
        feed.lost();
        assert_eq!(feed.next(now), None);
        feed.heard(now, 1, 3);
        assert_eq!(sent(&mut feed, now), [2, 3]);
    }
}
