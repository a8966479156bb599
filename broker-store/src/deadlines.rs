//! When which key vanishes: an index in memory for backends that have none of their own.
//!
//! Only keys that have a deadline cost anything. Finding what is due looks at what is due and nothing else.

use std::collections::{BTreeSet, HashMap};

use broker_core::Timestamp;

use crate::backend::KeyBytes;

/// The deadlines of all keys that have one.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    by_time: BTreeSet<(Timestamp, KeyBytes)>,
    by_key: HashMap<KeyBytes, Timestamp>,
}

impl Deadlines {
    /// `key` now vanishes at `deadline`, or never.
    pub(crate) fn set(&mut self, key: &KeyBytes, deadline: Option<Timestamp>) {
        let Some(deadline) = deadline else {
            self.remove(key);
            return;
        };
        let former = self.by_key.insert(key.clone(), deadline);
        if former == Some(deadline) {
            return;
        }
        if let Some(former) = former {
            self.by_time.remove(&(former, key.clone()));
        }
        self.by_time.insert((deadline, key.clone()));
    }

    /// `key` has no deadline any more.
    pub(crate) fn remove(&mut self, key: &KeyBytes) {
        // The usual store has no deadlines at all.
        if self.by_key.is_empty() {
            return;
        }
        if let Some(former) = self.by_key.remove(key) {
            self.by_time.remove(&(former, key.clone()));
        }
    }

    /// No key has a deadline any more.
    pub(crate) fn clear(&mut self) {
        self.by_time.clear();
        self.by_key.clear();
    }

    /// The keys whose time is strictly before `now`, earliest first.
    pub(crate) fn due(&self, now: Timestamp, limit: usize) -> impl Iterator<Item = &KeyBytes> {
        self.by_time
            .iter()
            .take_while(move |(deadline, _)| *deadline < now)
            .take(limit)
            .map(|(_, key)| key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nanos: i64) -> Option<Timestamp> {
        Some(Timestamp::from_nanos(nanos))
    }

    fn due(deadlines: &Deadlines, now: i64) -> Vec<String> {
        deadlines
            .due(Timestamp::from_nanos(now), 10)
            .map(|key| key.to_str_lossy().into_owned())
            .collect()
    }

    #[test]
    fn a_key_is_due_strictly_after_its_deadline_and_earliest_first() {
        let mut deadlines = Deadlines::default();
        deadlines.set(&"a".into(), at(20));
        deadlines.set(&"b".into(), at(10));
        assert!(due(&deadlines, 10).is_empty());
        assert_eq!(due(&deadlines, 11), ["b"]);
        assert_eq!(due(&deadlines, 21), ["b", "a"]);
    }

    #[test]
    fn a_new_deadline_replaces_the_former_one() {
        let mut deadlines = Deadlines::default();
        deadlines.set(&"a".into(), at(10));
        deadlines.set(&"a".into(), at(30));
        assert!(due(&deadlines, 30).is_empty());
        deadlines.set(&"a".into(), None);
        assert!(due(&deadlines, 99).is_empty());
        deadlines.set(&"a".into(), at(5));
        deadlines.clear();
        assert!(due(&deadlines, 99).is_empty());
    }
}
