//! The latest changes of a store, kept for watchers that come back.
//!
//! Kept from the first watch on, and for ten minutes after the last watcher has gone; who watches nothing pays nothing.
//!
//! **Invariant:** what is kept is every change from [`begin`](History) on, without a gap.

use std::collections::VecDeque;
use std::sync::Arc;

use broker_core::Revision;

use crate::event::StoreEvent;
use crate::watch::weight;

/// Changes in the order of application.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// The revision before the first change that is kept; `None` while nothing is kept.
    begin: Option<Revision>,
    changes: VecDeque<Change>,
    bytes: usize,
}

#[derive(Debug)]
struct Change {
    /// The revision that it is part of. A clear is one, with a change for each key.
    part_of: Revision,
    /// The revision to go on from behind it: before the last change of a clear, that before the clear.
    at: Revision,
    weight: usize,
    event: Arc<StoreEvent>,
}

impl History {
    /// Keeps changes from `at` on, unless that is so already.
    pub(crate) fn keep_from(&mut self, at: Revision) {
        if self.begin.is_none() {
            self.restart(Some(at));
        }
    }

    /// Whether changes are kept.
    pub(crate) const fn is_kept(&self) -> bool {
        self.begin.is_some()
    }

    /// Forgets everything; with a revision, keeps what comes after it.
    pub(crate) fn restart(&mut self, at: Option<Revision>) {
        self.begin = at;
        self.changes.clear();
        self.bytes = 0;
    }

    /// The next change.
    pub(crate) fn push(&mut self, at: Revision, event: &Arc<StoreEvent>) {
        let Some(begin) = &mut self.begin else { return };
        if begin.history != at.history {
            return self.restart(None);
        }
        let weight = weight(event);
        self.bytes += weight;
        let last = self.changes.back().map_or(*begin, |change| change.at);
        let part_of = Revision {
            number: at.number.max(last.number + 1),
            ..at
        };
        self.changes.push_back(Change {
            part_of,
            at,
            weight,
            event: Arc::clone(event),
        });
        while self.changes.len() > MAX_CHANGES || self.bytes > MAX_BYTES {
            let Some(oldest) = self.changes.pop_front() else {
                break;
            };
            self.bytes -= oldest.weight;
            *begin = oldest.part_of;
        }
    }

    /// The changes behind `from`, if all of them are kept.
    pub(crate) fn since(&self, from: Revision) -> Option<Vec<(Revision, Arc<StoreEvent>)>> {
        let begin = self.begin.filter(|begin| *begin <= from)?;
        if begin.history != from.history {
            return None;
        }
        let first = self
            .changes
            .partition_point(|change| change.part_of <= from);
        let changes = self.changes.range(first..);
        Some(
            changes
                .map(|change| (change.at, Arc::clone(&change.event)))
                .collect(),
        )
    }
}

/// Changes that are kept.
const MAX_CHANGES: usize = 8192;

/// Bytes of them.
const MAX_BYTES: usize = 8 << 20;

#[cfg(test)]
mod tests {
    use broker_core::EntityId;

    use super::*;

    const fn at(number: u64) -> Revision {
        Revision { history: 1, number }
    }

    fn change(number: u64) -> Arc<StoreEvent> {
        Arc::new(StoreEvent::Erase {
            store: "s".into(),
            key: number.into(),
            publisher: EntityId::NIL,
        })
    }

    #[test]
    fn what_came_after_a_revision_is_known_as_long_as_it_is_kept() {
        let mut history = History::default();
        history.push(at(1), &change(1));
        assert_eq!(history.since(at(1)), None);
        history.keep_from(at(1));
        for number in 2..=4 {
            history.push(at(number), &change(number));
        }
        let since = |history: &History, number| {
            let changes = history.since(at(number))?;
            Some(changes.iter().map(|(at, _)| at.number).collect::<Vec<_>>())
        };
        assert_eq!(since(&history, 0), None);
        assert_eq!(since(&history, 1), Some(vec![2, 3, 4]));
        assert_eq!(since(&history, 3), Some(vec![4]));
        assert_eq!(since(&history, 4), Some(vec![]));
        let other = Revision {
            history: 2,
            number: 9,
        };
        assert_eq!(history.since(other), None);
        for number in 5..=MAX_CHANGES as u64 + 9 {
            history.push(at(number), &change(number));
        }
        assert_eq!(since(&history, 8), None);
        assert_eq!(
            since(&history, 9).map(|changes| changes.len()),
            Some(MAX_CHANGES)
        );
    }
}
