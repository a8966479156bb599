//! When changes of a published table go out, and with which others (reference, zeek-cluster 2.8). Reads no clock.
//!
//! A change goes out at once if the last publication is longer ago than the delay, if as many wait as make a batch, or if
//! batching is off; else when the delay is over, counted from the last publication.

use std::collections::BTreeMap;
use std::time::Duration;

use broker_core::{Data, Topic};
use tokio::time::Instant;

/// How changes are batched. Zeek's defaults: 10 changes, 10 ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Batching {
    /// 0: no batching.
    pub(super) size: usize,
    /// Zero: no batching.
    pub(super) delay: Duration,
}

impl Default for Batching {
    fn default() -> Self {
        Self {
            size: 10,
            delay: Duration::from_millis(10),
        }
    }
}

#[derive(Debug)]
pub(super) struct Batcher {
    batching: Batching,
    waiting: BTreeMap<Topic, Vec<Data>>,
    count: usize,
    last: Option<Instant>,
    due: Option<Instant>,
}

impl Batcher {
    pub(super) const fn new(batching: Batching) -> Self {
        Self {
            batching,
            waiting: BTreeMap::new(),
            count: 0,
            last: None,
            due: None,
        }
    }

    /// Takes a change. Returns what goes out now, by topic.
    pub(super) fn add(
        &mut self,
        now: Instant,
        topic: Topic,
        change: Data,
    ) -> Vec<(Topic, Vec<Data>)> {
        self.waiting.entry(topic).or_default().push(change);
        self.count += 1;
        let Batching { size, delay } = self.batching;
        let is_off = size == 0 || delay.is_zero();
        match self.last {
            Some(last)
                if !is_off && self.count < size && now.saturating_duration_since(last) <= delay =>
            {
                // At most `size` changes wait at a time, over all topics.
                self.due = last.checked_add(delay);
                Vec::new()
            }
            _ => self.take(now),
        }
    }

    /// When something is to go out, unless it does before.
    pub(super) const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// What goes out, if its time has come.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Vec<(Topic, Vec<Data>)> {
        match self.due {
            Some(due) if due <= now => self.take(now),
            _ => Vec::new(),
        }
    }

    /// Everything that waits goes out.
    pub(super) fn take(&mut self, now: Instant) -> Vec<(Topic, Vec<Data>)> {
        self.due = None;
        if self.count == 0 {
            return Vec::new();
        }
        self.count = 0;
        self.last = Some(now);
        std::mem::take(&mut self.waiting).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn topic(name: &'static str) -> Topic {
        Topic::from_static(name)
    }

    fn sizes(out: &[(Topic, Vec<Data>)]) -> Vec<usize> {
        out.iter().map(|(_, changes)| changes.len()).collect()
    }

    #[test]
    fn the_first_change_goes_at_once_and_others_wait_for_the_delay() {
        let mut batcher = Batcher::new(Batching::default());
        let now = Instant::now();
        let add = |batcher: &mut Batcher, at| batcher.add(at, topic("t"), Data::None);
        assert_eq!(sizes(&add(&mut batcher, now)), [1]);
        assert_eq!(sizes(&add(&mut batcher, now + MS * 4)), [0; 0]);
        assert_eq!(sizes(&add(&mut batcher, now + MS * 9)), [0; 0]);
        // Counted from the last publication, not from the change.
        assert_eq!(batcher.due(), Some(now + MS * 10));
        assert!(batcher.handle_timeout(now + MS * 9).is_empty());
        assert_eq!(sizes(&batcher.handle_timeout(now + MS * 10)), [2]);
        assert_eq!(batcher.due(), None);
        // Longer ago than the delay: at once.
        assert_eq!(sizes(&add(&mut batcher, now + MS * 20)), [0; 0]);
        assert_eq!(sizes(&batcher.handle_timeout(now + MS * 20)), [1]);
        assert_eq!(sizes(&add(&mut batcher, now + MS * 31)), [1]);
    }

    #[test]
    fn a_full_batch_goes_before_the_delay_is_over() {
        let mut batcher = Batcher::new(Batching::default());
        let now = Instant::now();
        batcher.add(now, topic("t"), Data::None);
        let out: Vec<usize> = (0..20)
            .map(|number| batcher.add(now + MS, topic("t"), Data::Count(number)))
            .map(|out| out.iter().map(|(_, changes)| changes.len()).sum())
            .collect();
        let mut expected = [0; 20];
        (expected[9], expected[19]) = (10, 10);
        assert_eq!(out, expected);
        assert_eq!(batcher.due(), None);
    }

    #[test]
    fn changes_for_several_topics_fill_one_batch_and_go_out_apart() {
        let mut batcher = Batcher::new(Batching { size: 3, delay: MS });
        let now = Instant::now();
        batcher.add(now, topic("a"), Data::None);
        batcher.add(now, topic("a"), Data::None);
        batcher.add(now, topic("b"), Data::None);
        let out = batcher.add(now, topic("a"), Data::Count(1));
        assert_eq!(
            out,
            [
                (topic("a"), vec![Data::None, Data::Count(1)]),
                (topic("b"), vec![Data::None])
            ]
        );
    }

    #[test]
    fn without_size_or_delay_everything_goes_at_once() {
        for batching in [
            Batching { size: 0, delay: MS },
            Batching {
                size: 10,
                delay: Duration::ZERO,
            },
        ] {
            let mut batcher = Batcher::new(batching);
            let now = Instant::now();
            for _ in 0..3 {
                assert_eq!(sizes(&batcher.add(now, topic("t"), Data::None)), [1]);
            }
        }
    }
}
