//! Sets of values: unique and ascending by the total order.
//!
//! A sorted vector, not a tree: events build a set once and read it many times, and encoding must be in order anyway.
//! Lookup is a binary search; building from input that is sorted already costs one comparison per element.
//!
//! **Invariant:** elements are strictly ascending.

use std::slice;

use crate::data::Data;

/// A set of values.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Set(Vec<Data>);

impl Set {
    /// The empty set.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The set of `elements`, which may come in any order; `None` if two of them are equal.
    #[must_use]
    pub fn from_unique(mut elements: Vec<Data>) -> Option<Self> {
        if !is_ascending(&elements) {
            elements.sort_unstable();
            if !is_ascending(&elements) {
                return None;
            }
        }
        Some(Self(elements))
    }

    /// The set of `elements` if they are strictly ascending already, else `None`.
    #[must_use]
    pub fn from_sorted(elements: Vec<Data>) -> Option<Self> {
        is_ascending(&elements).then_some(Self(elements))
    }

    /// The number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The elements in ascending order.
    #[must_use]
    #[inline]
    pub fn as_slice(&self) -> &[Data] {
        &self.0
    }

    /// The elements in ascending order.
    pub fn iter(&self) -> slice::Iter<'_, Data> {
        self.0.iter()
    }

    /// Whether `element` is in the set.
    #[must_use]
    pub fn contains(&self, element: &Data) -> bool {
        self.0.binary_search(element).is_ok()
    }

    /// Adds `element`; false if it was there already.
    pub fn insert(&mut self, element: impl Into<Data>) -> bool {
        let element = element.into();
        if self.0.last().is_none_or(|last| *last < element) {
            self.0.push(element);
            return true;
        }
        match self.0.binary_search(&element) {
            Ok(_) => false,
            Err(position) => {
                self.0.insert(position, element);
                true
            }
        }
    }

    /// Takes `element` out; false if it was not there.
    pub fn remove(&mut self, element: &Data) -> bool {
        match self.0.binary_search(element) {
            Ok(position) => {
                self.0.remove(position);
                true
            }
            Err(_) => false,
        }
    }

    /// The smallest element, taken out.
    pub fn pop_first(&mut self) -> Option<Data> {
        if self.0.is_empty() {
            None
        } else {
            Some(self.0.remove(0))
        }
    }

    /// The largest element, taken out.
    pub fn pop_last(&mut self) -> Option<Data> {
        self.0.pop()
    }

    /// The elements as a sorted vector.
    #[must_use]
    pub fn into_vec(self) -> Vec<Data> {
        self.0
    }
}

/// Of equal elements one is kept.
impl<T: Into<Data>> FromIterator<T> for Set {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Self {
        let mut elements: Vec<Data> = elements.into_iter().map(Into::into).collect();
        if !is_ascending(&elements) {
            elements.sort();
            elements.dedup();
        }
        Self(elements)
    }
}

impl<T: Into<Data>> Extend<T> for Set {
    fn extend<I: IntoIterator<Item = T>>(&mut self, elements: I) {
        for element in elements {
            self.insert(element);
        }
    }
}

impl IntoIterator for Set {
    type Item = Data;
    type IntoIter = std::vec::IntoIter<Data>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Set {
    type Item = &'a Data;
    type IntoIter = slice::Iter<'a, Data>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl std::fmt::Debug for Set {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(&self.0).finish()
    }
}

/// Whether `a` comes before `b`; strings, the usual elements, are compared without a call.
#[inline]
pub(crate) fn is_below(a: &Data, b: &Data) -> bool {
    match (a, b) {
        (Data::String(a), Data::String(b)) => a < b,
        _ => a < b,
    }
}

fn is_ascending(elements: &[Data]) -> bool {
    elements.is_sorted_by(is_below)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_unique_and_ascending() {
        let set: Set = ["b", "aa", "b", "a"].into_iter().collect();
        assert_eq!(
            set.as_slice(),
            [Data::from("a"), Data::from("aa"), Data::from("b")]
        );
        assert!(set.contains(&"aa".into()));
        assert!(!set.contains(&"c".into()));
    }

    #[test]
    fn insert_and_remove_keep_the_order() {
        let mut set = Set::new();
        for n in [5u64, 1, 3, 1, 9] {
            set.insert(n);
        }
        assert!(!set.insert(9u64));
        assert!(set.remove(&3u64.into()));
        assert!(!set.remove(&3u64.into()));
        assert_eq!(set, [1u64, 5, 9].into_iter().collect());
        assert_eq!(
            (set.pop_first(), set.pop_last(), set.len()),
            (Some(1u64.into()), Some(9u64.into()), 1)
        );
    }

    #[test]
    fn equal_elements_are_refused_where_uniqueness_is_asked_for() {
        let of = |values: &[u64]| values.iter().map(|v| Data::from(*v)).collect::<Vec<_>>();
        assert_eq!(Set::from_unique(of(&[2, 1, 2])), None);
        assert_eq!(
            Set::from_unique(of(&[2, 1])).map(Set::into_vec),
            Some(of(&[1, 2]))
        );
        assert_eq!(Set::from_sorted(of(&[2, 1])), None);
        assert_eq!(Set::from_sorted(of(&[1, 1])), None);
    }
}
