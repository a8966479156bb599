//! Duplicate suppression: which sequence numbers of which origin have been seen.
//!
//! Our own links name the origin of a message and its number (see `Envelope`), so that a
//! message that comes over two ways is delivered once. For each origin a window of
//! [`SequenceWindow::LEN`] numbers, from the highest one seen down, is remembered, a bit each:
//!
//! | number | verdict |
//! |---|---|
//! | 0 | new: the link does not say |
//! | above the window | new; the window slides up to it |
//! | inside | new the first time, else duplicate |
//! | below, from the origin itself | new: a slow publisher's message must not be lost |
//! | below, from anybody else | stale |
//!
//! **Bounds:** [`OriginWindow::MAX_ORIGINS`] origins, the least recently heard of is forgotten; 8 KiB for each at
//! most, 8 bytes for one that has said little. A forgotten origin starts anew: its next number is
//! new whatever it is. That, and a relay that makes numbers up, can let a duplicate pass or a relayed
//! message be lost, never more; the hop limit ends circles all the same.

use std::{collections::HashMap, fmt};

use crate::id::EndpointId;

/// Whether a message was seen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was not, or nobody can tell: deliver it.
    New,
    /// It was: drop it.
    Duplicate,
    /// It is too old to tell, and comes by a detour: drop it.
    Stale,
}

/// The sequence numbers seen of every origin.
pub struct OriginWindow {
    slots: Vec<Slot>,
    by_origin: HashMap<EndpointId, u32>,
    /// Most recently heard of; [`NONE`] if there is no slot yet.
    newest: u32,
    oldest: u32,
    max_origins: usize,
}

impl OriginWindow {
    /// Origins remembered unless told otherwise.
    pub const MAX_ORIGINS: usize = 4096;

    /// Nothing seen yet.
    #[must_use]
    pub fn new() -> Self {
        Self::with_max_origins(Self::MAX_ORIGINS)
    }

    /// Remembers `max_origins` origins (one at least) instead of
    /// [`OriginWindow::MAX_ORIGINS`].
    #[must_use]
    pub fn with_max_origins(max_origins: usize) -> Self {
        let max_origins = max_origins.clamp(1, NONE as usize);
        Self {
            slots: Vec::new(),
            by_origin: HashMap::new(),
            newest: NONE,
            oldest: NONE,
            max_origins,
        }
    }

    /// Notes number `sequence` of `origin`. `first_hop` says that the origin itself sent it here.
    ///
    /// Runs of one origin cost a comparison of IDs and a bit each.
    #[inline]
    pub fn observe(&mut self, origin: EndpointId, sequence: u64, first_hop: bool) -> Verdict {
        if sequence == 0 || origin.is_nil() {
            return Verdict::New;
        }
        self.origin(origin).observe(sequence, first_hop)
    }

    /// The window of one origin, which is now the one most recently heard of.
    #[inline]
    pub fn origin(&mut self, origin: EndpointId) -> &mut SequenceWindow {
        let recent = self.slots.get(self.newest as usize);
        if recent.is_none_or(|slot| slot.origin != origin) {
            self.make_newest(origin);
        }
        &mut self.slots[self.newest as usize].window
    }

    /// Number of origins remembered.
    #[must_use]
    pub fn origins(&self) -> usize {
        self.slots.len()
    }

    fn make_newest(&mut self, origin: EndpointId) {
        let at = if let Some(&at) = self.by_origin.get(&origin) {
            self.unlink(at);
            at
        } else if self.slots.len() < self.max_origins {
            let at = self.slots.len() as u32;
            self.slots.push(Slot::new(origin));
            self.by_origin.insert(origin, at);
            at
        } else {
            let at = self.oldest;
            self.unlink(at);
            let slot = &mut self.slots[at as usize];
            self.by_origin.remove(&slot.origin);
            *slot = Slot::new(origin);
            self.by_origin.insert(origin, at);
            at
        };
        self.link_newest(at);
    }

    fn unlink(&mut self, at: u32) {
        let Slot { newer, older, .. } = self.slots[at as usize];
        match self.slots.get_mut(newer as usize) {
            Some(slot) => slot.older = older,
            None => self.newest = older,
        }
        match self.slots.get_mut(older as usize) {
            Some(slot) => slot.newer = newer,
            None => self.oldest = newer,
        }
    }

    fn link_newest(&mut self, at: u32) {
        let older = self.newest;
        match self.slots.get_mut(older as usize) {
            Some(slot) => slot.newer = at,
            None => self.oldest = at,
        }
        let slot = &mut self.slots[at as usize];
        (slot.newer, slot.older) = (NONE, older);
        self.newest = at;
    }
}

impl Default for OriginWindow {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for OriginWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OriginWindow")
            .field("origins", &self.slots.len())
            .finish_non_exhaustive()
    }
}

struct Slot {
    origin: EndpointId,
    window: SequenceWindow,
    newer: u32,
    older: u32,
}

impl Slot {
    fn new(origin: EndpointId) -> Self {
        Self {
            origin,
            window: SequenceWindow::default(),
            newer: NONE,
            older: NONE,
        }
    }
}

/// The sequence numbers seen of one origin.
///
/// The bits form a ring: number `n` has bit `n % capacity`. The ring covers the numbers from
/// `highest` down and grows, by doubling, when one is to be remembered that it does not cover.
#[derive(Clone, Debug, Default)]
pub struct SequenceWindow {
    /// 0 when nothing was seen.
    highest: u64,
    /// No number below is marked.
    lowest: u64,
    /// A power of two of them, none at first.
    words: Vec<u64>,
}

impl SequenceWindow {
    /// Numbers remembered, from the highest one seen down.
    pub const LEN: u64 = 1 << 16;

    /// Notes number `sequence`; see [`OriginWindow::observe`].
    #[inline]
    pub fn observe(&mut self, sequence: u64, first_hop: bool) -> Verdict {
        if sequence == 0 {
            return Verdict::New;
        }
        if sequence > self.highest {
            self.advance(sequence);
            return Verdict::New;
        }
        let age = self.highest - sequence;
        if age >= WINDOW {
            return if first_hop {
                Verdict::New
            } else {
                Verdict::Stale
            };
        }
        self.cover(age + 1);
        self.lowest = self.lowest.min(sequence);
        if self.mark(sequence) {
            Verdict::New
        } else {
            Verdict::Duplicate
        }
    }

    /// The highest number seen, 0 if none was.
    #[must_use]
    pub const fn highest(&self) -> u64 {
        self.highest
    }

    fn advance(&mut self, sequence: u64) {
        if self.highest == 0 || sequence - self.highest >= WINDOW {
            self.words.fill(0);
            self.lowest = sequence;
        }
        self.cover((sequence - self.lowest).min(WINDOW - 1) + 1);
        let skipped = sequence - self.highest;
        if skipped >= self.capacity() {
            // Either all was cleared above, or nothing seen is within the ring any more.
            self.words.fill(0);
        } else {
            self.clear(self.highest + 1, sequence);
        }
        self.highest = sequence;
        self.mark(sequence);
    }

    fn capacity(&self) -> u64 {
        self.words.len() as u64 * 64
    }

    /// Sets the bit of a covered number; returns whether it was not set.
    #[inline]
    fn mark(&mut self, sequence: u64) -> bool {
        let (word, bit) = (self.word(sequence / 64), 1 << (sequence % 64));
        let fresh = self.words[word] & bit == 0;
        self.words[word] |= bit;
        fresh
    }

    /// Clears the bits of the numbers `from..=to`, fewer than the capacity.
    fn clear(&mut self, from: u64, to: u64) {
        for block in from / 64..=to / 64 {
            let mut gone = u64::MAX;
            if block == from / 64 {
                gone &= u64::MAX << (from % 64);
            }
            if block == to / 64 {
                gone &= u64::MAX >> (63 - to % 64);
            }
            let word = self.word(block);
            self.words[word] &= !gone;
        }
    }

    /// Makes the ring cover `numbers` numbers from `highest` down, at most [`WINDOW`] of them.
    #[inline]
    fn cover(&mut self, numbers: u64) {
        if numbers > self.capacity() {
            self.grow(numbers);
        }
    }

    #[cold]
    fn grow(&mut self, numbers: u64) {
        let words = numbers.next_power_of_two().clamp(64, WINDOW) / 64;
        let old = std::mem::replace(&mut self.words, vec![0; words as usize]);
        let old_words = old.len() as u64;
        if old_words == 0 {
            return;
        }
        // The ring begins and ends in the middle of a word: the highest numbers share one with the
        // lowest, which belong a whole ring further down.
        let last = self.highest / 64;
        let upper = u64::MAX >> (63 - self.highest % 64);
        for block in last.saturating_sub(old_words)..=last {
            let bits = old[(block % old_words) as usize];
            let bits = if block == last {
                bits & upper
            } else if block + old_words == last {
                bits & !upper
            } else {
                bits
            };
            let word = self.word(block);
            self.words[word] |= bits;
        }
    }

    fn word(&self, block: u64) -> usize {
        (block % self.words.len() as u64) as usize
    }
}

const WINDOW: u64 = SequenceWindow::LEN;
const NONE: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn id(n: u32) -> EndpointId {
        let mut bytes = [7; 16];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        EndpointId::from_bytes(bytes)
    }

    #[test]
    fn a_number_is_new_once_for_each_origin() {
        let mut seen = OriginWindow::new();
        assert_eq!(seen.observe(id(1), 5, false), Verdict::New);
        assert_eq!(seen.observe(id(1), 5, false), Verdict::Duplicate);
        assert_eq!(seen.observe(id(2), 5, false), Verdict::New);
        assert_eq!(seen.observe(id(1), 3, true), Verdict::New);
        assert_eq!(seen.observe(id(1), 3, true), Verdict::Duplicate);
    }

    #[test]
    fn what_has_no_number_or_no_origin_is_always_new() {
        let mut seen = OriginWindow::new();
        for _ in 0..2 {
            assert_eq!(seen.observe(id(1), 0, false), Verdict::New);
            assert_eq!(seen.observe(EndpointId::NIL, 9, false), Verdict::New);
        }
        assert_eq!(seen.origins(), 0);
    }

    #[test]
    fn below_the_window_only_the_origin_itself_is_believed() {
        let mut seen = OriginWindow::new();
        assert_eq!(seen.observe(id(1), WINDOW + 10, false), Verdict::New);
        assert_eq!(seen.observe(id(1), 11, false), Verdict::New);
        assert_eq!(seen.observe(id(1), 10, false), Verdict::Stale);
        assert_eq!(seen.observe(id(1), 10, true), Verdict::New);
    }

    #[test]
    fn the_ends_of_the_number_range_are_no_exception() {
        let mut seen = SequenceWindow::default();
        assert_eq!(seen.observe(1, false), Verdict::New);
        assert_eq!(seen.observe(u64::MAX, false), Verdict::New);
        assert_eq!(seen.observe(u64::MAX, false), Verdict::Duplicate);
        assert_eq!(seen.observe(u64::MAX - WINDOW + 1, false), Verdict::New);
        assert_eq!(seen.observe(u64::MAX - WINDOW, false), Verdict::Stale);
    }

    #[test]
    fn an_origin_that_says_little_takes_a_word_and_one_that_says_much_8_kib() {
        let mut seen = SequenceWindow::default();
        for sequence in 1_000_000..1_000_064 {
            assert_eq!(seen.observe(sequence, false), Verdict::New);
        }
        assert_eq!(seen.words.len(), 1);
        for sequence in 1_000_064..1_200_000 {
            assert_eq!(seen.observe(sequence, false), Verdict::New);
            assert_eq!(seen.observe(sequence - 63, false), Verdict::Duplicate);
        }
        assert_eq!(seen.words.len() as u64, WINDOW / 64);
    }

    #[test]
    fn the_origin_not_heard_of_for_longest_is_forgotten() {
        let mut seen = OriginWindow::with_max_origins(3);
        for n in 1..=3 {
            assert_eq!(seen.observe(id(n), 1, false), Verdict::New);
        }
        assert_eq!(seen.observe(id(1), 1, false), Verdict::Duplicate);
        assert_eq!(seen.observe(id(4), 1, false), Verdict::New);
        assert_eq!(seen.origins(), 3);
        for n in [1, 3, 4] {
            assert_eq!(seen.observe(id(n), 1, false), Verdict::Duplicate, "{n}");
        }
        assert_eq!(seen.observe(id(2), 1, false), Verdict::New);
        assert_eq!(seen.observe(id(1), 1, false), Verdict::New);
    }

    /// Numbers that wander: mostly near, sometimes far, with jumps about as large as the window.
    fn numbers() -> impl Strategy<Value = Vec<u64>> {
        let step = prop_oneof![
            4 => 0..4i64,
            2 => -200..200i64,
            1 => -3000..3000i64,
            1 => -(WINDOW as i64) - 3..WINDOW as i64 + 3,
        ];
        (1..100_000u64, prop::collection::vec(step, 0..120)).prop_map(|(start, steps)| {
            let mut number = start;
            let mut numbers = vec![start];
            for step in steps {
                number = number.saturating_add_signed(step).max(1);
                numbers.push(number);
            }
            numbers
        })
    }

    proptest! {
        #[test]
        fn the_ring_equals_a_set_of_numbers(numbers in numbers(), first_hop in any::<bool>()) {
            let mut ring = SequenceWindow::default();
            let mut set = BTreeSet::new();
            for number in numbers {
                let highest = set.last().copied().unwrap_or(0);
                let expected = if number + WINDOW <= highest {
                    if first_hop { Verdict::New } else { Verdict::Stale }
                } else if set.insert(number) {
                    Verdict::New
                } else {
                    Verdict::Duplicate
                };
                prop_assert_eq!(ring.observe(number, first_hop), expected, "{}", number);
                prop_assert_eq!(ring.highest(), *set.last().unwrap());
            }
        }

        #[test]
        fn the_origins_remembered_are_the_last_ones_heard_of(
            heard in prop::collection::vec(1u32..8, 0..60),
            max in 1usize..6,
        ) {
            let mut seen = OriginWindow::with_max_origins(max);
            let mut recent: Vec<u32> = Vec::new();
            for n in heard {
                let known = recent.contains(&n);
                let expected = if known { Verdict::Duplicate } else { Verdict::New };
                prop_assert_eq!(seen.observe(id(n), 1, false), expected);
                recent.retain(|other| *other != n);
                recent.push(n);
                if recent.len() > max {
                    recent.remove(0);
                }
                prop_assert_eq!(seen.origins(), recent.len());
            }
        }
    }
}
