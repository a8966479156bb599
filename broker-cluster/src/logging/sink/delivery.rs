//! What an attempt to deliver means: done, again after a while, or never. Reads no clock and draws no numbers.

use std::fmt;
use std::time::Duration;

use broker_core::Backoff;

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The other end has the lines, as far as can be known.
    Taken,
    /// There was no connection, or it broke, or it took too long.
    Failed(String),
    /// An HTTP answer other than success, with the wait it asked for.
    Answered {
        status: u16,
        retry_after: Option<Duration>,
    },
    /// The program's own sink cannot take the records now, and may have asked for a wait.
    Later {
        reason: String,
        after: Option<Duration>,
    },
    /// It will never take them.
    Refused(String),
}

/// What to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// On to the next; `recovered` after failures.
    Done { recovered: bool },
    /// The same again; `first` in a row.
    Again { after: Duration, first: bool },
    /// These lines will not be taken, whenever they come.
    GiveUp,
}

/// The attempts at one sink.
#[derive(Debug)]
pub(super) struct Delivery {
    backoff: Backoff,
    failing: bool,
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            backoff: Backoff::new(FIRST_WAIT, MAX_WAIT),
            failing: false,
        }
    }
}

impl Delivery {
    /// `random` is any number drawn uniformly.
    pub(super) fn judge(&mut self, outcome: &Outcome, random: u64) -> Verdict {
        let asked = match outcome {
            Outcome::Taken => {
                self.backoff.reset();
                return Verdict::Done {
                    recovered: std::mem::take(&mut self.failing),
                };
            }
            Outcome::Answered { status, .. } if !is_temporary(*status) => return self.give_up(),
            Outcome::Refused(_) => return self.give_up(),
            Outcome::Answered { retry_after, .. } => *retry_after,
            Outcome::Later { after, .. } => *after,
            Outcome::Failed(_) => None,
        };
        if self.backoff.attempts() == 0 {
            // The attempt at once has just failed.
            let _ = self.backoff.next_delay(random);
        }
        let wait = self.backoff.next_delay(random);
        Verdict::Again {
            after: asked.map_or(wait, |asked| asked.clamp(wait, MAX_ASKED.max(wait))),
            first: !std::mem::replace(&mut self.failing, true),
        }
    }

    fn give_up(&mut self) -> Verdict {
        self.backoff.reset();
        self.failing = false;
        Verdict::GiveUp
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken => f.write_str("taken"),
            Self::Failed(reason) | Self::Later { reason, .. } | Self::Refused(reason) => {
                f.write_str(reason)
            }
            Self::Answered { status, .. } => write!(f, "answer {status}"),
        }
    }
}

/// Whether the same request may succeed later.
const fn is_temporary(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500..=599)
}

const FIRST_WAIT: Duration = Duration::from_millis(100);
const MAX_WAIT: Duration = Duration::from_secs(30);
/// What an answer may ask for at most.
const MAX_ASKED: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16) -> Outcome {
        Outcome::Answered {
            status,
            retry_after: None,
        }
    }

    /// A number whose jitter is none.
    const MIDDLE: u64 = 20;

    #[test]
    fn what_may_succeed_later_is_tried_again_ever_later() {
        let mut delivery = Delivery::default();
        let mut waits = Vec::new();
        for outcome in [
            answer(503),
            answer(429),
            Outcome::Failed("refused".to_owned()),
        ] {
            let Verdict::Again { after, first } = delivery.judge(&outcome, MIDDLE) else {
                panic!("again")
            };
            assert_eq!(first, waits.is_empty());
            waits.push(after.as_millis());
        }
        assert_eq!(waits, [100, 200, 400]);
        for _ in 0..20 {
            delivery.judge(&answer(500), MIDDLE);
        }
        let at_most = delivery.judge(&answer(500), MIDDLE);
        assert_eq!(
            at_most,
            Verdict::Again {
                after: MAX_WAIT,
                first: false
            }
        );
        assert_eq!(
            delivery.judge(&Outcome::Taken, MIDDLE),
            Verdict::Done { recovered: true }
        );
        assert_eq!(
            delivery.judge(&Outcome::Taken, MIDDLE),
            Verdict::Done { recovered: false }
        );
    }

    #[test]
    fn what_is_refused_for_good_is_given_up() {
        for status in [301, 400, 401, 404, 413] {
            assert_eq!(
                Delivery::default().judge(&answer(status), 0),
                Verdict::GiveUp
            );
        }
    }

    #[test]
    fn an_answer_may_ask_for_a_longer_wait_within_bounds() {
        let asking = |secs| Outcome::Answered {
            status: 503,
            retry_after: Some(Duration::from_secs(secs)),
        };
        let wait = |secs| match Delivery::default().judge(&asking(secs), MIDDLE) {
            Verdict::Again { after, .. } => after,
            other => panic!("{other:?}"),
        };
        assert_eq!(wait(0), Duration::from_millis(100));
        assert_eq!(wait(5), Duration::from_secs(5));
        assert_eq!(wait(u64::MAX), Duration::from_secs(120));
    }
}
