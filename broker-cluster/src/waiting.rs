//! When a node says whom it waits for: once it has waited for a while, again when that has changed, and else very rarely.
//!
//! Reads no clock: times are durations since the node's start.

use std::collections::BTreeSet;
use std::time::Duration;

/// After this long a node says whom it waits for.
pub(crate) const FIRST: Duration = Duration::from_secs(5);

/// What has changed since is said after this long at the earliest.
pub(crate) const CHANGED: Duration = Duration::from_secs(30);

/// The same is said again after this long.
pub(crate) const SAME: Duration = Duration::from_secs(600);

/// What a node has said about its waiting.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    said: Option<(Duration, BTreeSet<String>)>,
}

impl Waiting {
    /// Whether to say now that the node waits for `missing`; if so, it is taken as said.
    pub(crate) fn say(&mut self, now: Duration, missing: &BTreeSet<String>) -> bool {
        if missing.is_empty() || now < FIRST {
            return false;
        }
        let due = match &self.said {
            None => true,
            Some((at, said)) if said == missing => now >= *at + SAME,
            Some((at, _)) => now >= *at + CHANGED,
        };
        if due {
            self.said = Some((now, missing.clone()));
        }
        due
    }

    /// When to look again.
    pub(crate) fn next(now: Duration) -> Duration {
        if now < FIRST { FIRST } else { now + CHANGED }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// The seconds at which a node that waits says so, looking when it is told to.
    fn told(until: u64, missing: impl Fn(u64) -> BTreeSet<String>) -> Vec<u64> {
        let (mut waiting, mut now, mut told) = (Waiting::default(), Duration::ZERO, Vec::new());
        while now.as_secs() <= until {
            if waiting.say(now, &missing(now.as_secs())) {
                told.push(now.as_secs());
            }
            let next = Waiting::next(now);
            assert!(next > now);
            now = next;
        }
        told
    }

    #[test]
    fn it_is_said_once_and_then_every_ten_minutes() {
        assert_eq!(told(1300, |_| set(&["a", "b"])), [5, 605, 1205]);
    }

    #[test]
    fn what_changes_is_said_again_but_not_every_second() {
        // Another one is up every second.
        let told = told(100, |now| (now..1000).map(|n| n.to_string()).collect());
        assert_eq!(told, [5, 35, 65, 95]);
    }

    #[test]
    fn a_node_that_waits_for_nobody_is_silent() {
        assert_eq!(told(2000, |_| set(&[])), [0u64; 0]);
        let short = |now: u64| set(if now < 3 { &["a"] } else { &[] });
        assert_eq!(told(2000, short), [0u64; 0]);
    }

    #[test]
    fn one_that_waits_anew_says_so() {
        let gap = |now: u64| {
            set(if (100..200).contains(&now) {
                &[]
            } else {
                &["a"]
            })
        };
        assert_eq!(told(700, gap), [5, 605]);
        let other = |now: u64| set(if now < 200 { &["a"] } else { &["b"] });
        assert_eq!(told(300, other), [5, 215]);
    }
}
