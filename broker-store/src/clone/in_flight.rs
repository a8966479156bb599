//! What is on its way under consecutive numbers, and mostly answered in their order.

use std::collections::VecDeque;

/// Things by number: a window that begins with the oldest one that is there.
#[derive(Debug)]
pub(super) struct InFlight<T> {
    /// The number of the first place, which is never empty.
    first: u64,
    places: VecDeque<Option<T>>,
    len: usize,
}

impl<T> Default for InFlight<T> {
    fn default() -> Self {
        Self {
            first: 0,
            places: VecDeque::new(),
            len: 0,
        }
    }
}

impl<T> InFlight<T> {
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Adds `value` behind all others. Numbers are given out one by one, so none lies between.
    pub(super) fn push(&mut self, number: u64, value: T) {
        if self.places.is_empty() {
            self.first = number;
        }
        debug_assert_eq!(number, self.first + self.places.len() as u64);
        self.places.push_back(Some(value));
        self.len += 1;
    }

    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut T> {
        let place = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.places.get_mut(place)?.as_mut()
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<T> {
        let place = usize::try_from(number.checked_sub(self.first)?).ok()?;
        let value = self.places.get_mut(place)?.take()?;
        self.len -= 1;
        while let Some(None) = self.places.front() {
            self.places.pop_front();
            self.first += 1;
        }
        Some(value)
    }

    /// The oldest, with its number.
    pub(super) fn oldest(&self) -> Option<(u64, &T)> {
        self.iter().next()
    }

    /// All of them with their numbers, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        let numbers = self.first..;
        numbers
            .zip(&self.places)
            .filter_map(|(number, value)| Some((number, value.as_ref()?)))
    }

    /// Takes those up to and with `number` out, ascending.
    pub(super) fn take_up_to(&mut self, number: u64) -> Vec<T> {
        let mut taken = Vec::new();
        while let Some((oldest, _)) = self.oldest()
            && oldest <= number
        {
            taken.extend(self.remove(oldest));
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_begins_with_the_oldest_that_is_there() {
        let mut window = InFlight::default();
        for number in 7..12 {
            window.push(number, number * 10);
        }
        assert_eq!((window.remove(8), window.remove(8)), (Some(80), None));
        assert_eq!(window.remove(7), Some(70));
        assert_eq!(window.oldest(), Some((9, &90)));
        assert_eq!(
            (window.remove(8), window.get_mut(10)),
            (None, Some(&mut 100))
        );
        assert_eq!(window.take_up_to(10), [90, 100]);
        assert_eq!((window.len(), window.oldest()), (1, Some((11, &110))));
        assert_eq!((window.remove(u64::MAX), window.remove(0)), (None, None));
        assert_eq!(window.take_up_to(u64::MAX), [110]);
        window.push(40, 1);
        assert_eq!(window.oldest(), Some((40, &1)));
    }
}
