//! Tables: values by key, in key order.
//!
//! A sorted vector of pairs, for the reasons given in [`crate::set`].
//!
//! **Invariant:** keys are strictly ascending.

use std::slice;

use crate::data::Data;
use crate::set::is_below;

/// A map from values to values.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Table(Vec<(Data, Data)>);

impl Table {
    /// The empty table.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The table of `entries`, which may come in any order; `None` if two keys are equal.
    #[must_use]
    pub fn from_unique(mut entries: Vec<(Data, Data)>) -> Option<Self> {
        if !is_ascending(&entries) {
            entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
            if !is_ascending(&entries) {
                return None;
            }
        }
        Some(Self(entries))
    }

    /// The table of `entries` if their keys are strictly ascending already, else `None`.
    #[must_use]
    pub fn from_sorted(entries: Vec<(Data, Data)>) -> Option<Self> {
        is_ascending(&entries).then_some(Self(entries))
    }

    /// The number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The entries in key order.
    #[must_use]
    #[inline]
    pub fn as_slice(&self) -> &[(Data, Data)] {
        &self.0
    }

    /// The entries in key order.
    pub fn iter(&self) -> slice::Iter<'_, (Data, Data)> {
        self.0.iter()
    }

    /// The keys, ascending.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &Data> + DoubleEndedIterator {
        self.0.iter().map(|(key, _)| key)
    }

    /// The values in the order of their keys.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &Data> + DoubleEndedIterator {
        self.0.iter().map(|(_, value)| value)
    }

    /// The value of `key`.
    #[must_use]
    pub fn get(&self, key: &Data) -> Option<&Data> {
        self.position(key).ok().map(|position| &self.0[position].1)
    }

    /// The value of `key`, to be changed.
    pub fn get_mut(&mut self, key: &Data) -> Option<&mut Data> {
        self.position(key)
            .ok()
            .map(|position| &mut self.0[position].1)
    }

    /// Whether `key` has a value.
    #[must_use]
    pub fn contains_key(&self, key: &Data) -> bool {
        self.position(key).is_ok()
    }

    /// Sets the value of `key`; the former value if there was one.
    pub fn insert(&mut self, key: impl Into<Data>, value: impl Into<Data>) -> Option<Data> {
        let (key, value) = (key.into(), value.into());
        if self.0.last().is_none_or(|(last, _)| *last < key) {
            self.0.push((key, value));
            return None;
        }
        match self.position(&key) {
            Ok(position) => Some(std::mem::replace(&mut self.0[position].1, value)),
            Err(position) => {
                self.0.insert(position, (key, value));
                None
            }
        }
    }

    /// Takes out the entry of `key`; its value if there was one.
    pub fn remove(&mut self, key: &Data) -> Option<Data> {
        self.position(key)
            .ok()
            .map(|position| self.0.remove(position).1)
    }

    /// The entries as a sorted vector.
    #[must_use]
    pub fn into_vec(self) -> Vec<(Data, Data)> {
        self.0
    }

    fn position(&self, key: &Data) -> Result<usize, usize> {
        self.0.binary_search_by(|(k, _)| k.cmp(key))
    }
}

/// Of entries with equal keys the last one is kept.
impl<K: Into<Data>, V: Into<Data>> FromIterator<(K, V)> for Table {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut entries: Vec<(Data, Data)> = entries
            .into_iter()
            .map(|(k, v)| (k.into(), v.into()))
            .collect();
        if !is_ascending(&entries) {
            // The sort is stable, so reversing first puts the last of equal keys in front, which dedup keeps.
            entries.reverse();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            entries.dedup_by(|later, kept| later.0 == kept.0);
        }
        Self(entries)
    }
}

impl<K: Into<Data>, V: Into<Data>> Extend<(K, V)> for Table {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, entries: I) {
        for (key, value) in entries {
            self.insert(key, value);
        }
    }
}

impl IntoIterator for Table {
    type Item = (Data, Data);
    type IntoIter = std::vec::IntoIter<(Data, Data)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Table {
    type Item = &'a (Data, Data);
    type IntoIter = slice::Iter<'a, (Data, Data)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map()
            .entries(self.0.iter().map(|(k, v)| (k, v)))
            .finish()
    }
}

fn is_ascending(entries: &[(Data, Data)]) -> bool {
    entries.is_sorted_by(|a, b| is_below(&a.0, &b.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_in_key_order_and_the_last_of_equal_keys_stays() {
        let table: Table = [("b", 1u64), ("a", 2), ("b", 3)].into_iter().collect();
        assert_eq!(
            table.as_slice(),
            [("a".into(), 2u64.into()), ("b".into(), 3u64.into())]
        );
        assert_eq!(table.get(&"b".into()), Some(&Data::Count(3)));
        assert_eq!(table.get(&"c".into()), None);
    }

    #[test]
    fn insert_and_remove_answer_the_former_value() {
        let mut table = Table::new();
        assert_eq!(table.insert("k", 1u64), None);
        assert_eq!(table.insert("a", 2u64), None);
        assert_eq!(table.insert("k", 3u64), Some(1u64.into()));
        assert_eq!(table.remove(&"k".into()), Some(3u64.into()));
        assert_eq!(table.remove(&"k".into()), None);
        assert_eq!(table.keys().cloned().collect::<Vec<_>>(), [Data::from("a")]);
    }

    #[test]
    fn equal_keys_are_refused_where_uniqueness_is_asked_for() {
        let entry = |k: u64, v: u64| (Data::Count(k), Data::Count(v));
        assert_eq!(
            Table::from_unique(vec![entry(2, 0), entry(1, 0), entry(2, 1)]),
            None
        );
        assert!(Table::from_unique(vec![entry(2, 0), entry(1, 0)]).is_some());
        assert_eq!(Table::from_sorted(vec![entry(2, 0), entry(1, 0)]), None);
    }
}
