//! Filters: what an endpoint wants to receive, as a minimal set of topic prefixes.
//!
//! A topic matches if one of the entries is a byte prefix of it; the empty entry matches all
//! (wire reference, 2.4). On the wire a filter is a topic list (section 0):
//!
//! ```text
//! | count varbyte | count times: length varbyte, bytes |
//! ```
//!
//! Peers may send entries in any order, with duplicates, or with prefixes of one another; reading
//! a list puts it in order.
//!
//! **Invariant:** entries are sorted bytewise, and none is a prefix of another. So the only entry
//! that can match a topic is the greatest one that is not greater than the topic.

use std::{
    collections::{BTreeSet, btree_set},
    fmt,
    ops::Bound,
};

use crate::{
    binary::{DecodeError, Reader, put_string, put_varbyte, string_len, varbyte_len},
    topic::Topic,
};

/// A minimal set of topic prefixes, sorted bytewise.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Filter {
    entries: BTreeSet<Topic>,
}

impl Filter {
    /// A filter that matches nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            entries: BTreeSet::new(),
        }
    }

    /// Adds `prefix` and removes the entries it covers. Returns whether the filter changed.
    pub fn insert(&mut self, prefix: Topic) -> bool {
        if self.covers(&prefix) {
            return false;
        }
        // What it covers follows it directly.
        while let Some(next) = self.entries.range::<Topic, _>(&prefix..).next()
            && next.has_prefix(prefix.as_bytes())
        {
            let covered = next.clone();
            self.entries.remove(&covered);
        }
        self.entries.insert(prefix)
    }

    /// Removes an entry; one that a shorter entry covers is none. Returns whether it was there.
    pub fn remove(&mut self, prefix: &Topic) -> bool {
        self.entries.remove(prefix)
    }

    /// Adds all `prefixes`. Returns whether the filter changed.
    pub fn extend(&mut self, prefixes: impl IntoIterator<Item = Topic>) -> bool {
        let mut changed = false;
        for prefix in prefixes {
            changed |= self.insert(prefix);
        }
        changed
    }

    /// Adds all entries of `other`. Returns whether the filter changed.
    pub fn union(&mut self, other: &Self) -> bool {
        self.extend(other.iter().cloned())
    }

    /// Whether one of the entries is a prefix of `topic`.
    #[must_use]
    pub fn matches(&self, topic: impl AsRef<[u8]>) -> bool {
        let topic = topic.as_ref();
        let up_to_topic = (Bound::Unbounded, Bound::Included(topic));
        let candidate = self.entries.range::<[u8], _>(up_to_topic).next_back();
        candidate.is_some_and(|entry| topic.starts_with(entry.as_bytes()))
    }

    /// Whether everything that `prefix` matches is matched by this filter.
    #[must_use]
    pub fn covers(&self, prefix: impl AsRef<[u8]>) -> bool {
        self.matches(prefix)
    }

    /// Whether `prefix` itself is an entry, and not merely covered by a shorter one.
    #[must_use]
    pub fn contains(&self, prefix: impl AsRef<[u8]>) -> bool {
        self.entries.contains(prefix.as_ref())
    }

    /// The entries, sorted bytewise.
    pub fn iter(&self) -> btree_set::Iter<'_, Topic> {
        self.entries.iter()
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether the filter matches nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The filter as it is announced to peers: without topics that never leave the node.
    #[must_use]
    pub fn without_local(&self) -> Self {
        let entries = self
            .entries
            .iter()
            .filter(|entry| !entry.is_local())
            .cloned()
            .collect();
        Self { entries }
    }

    /// Length of the topic list that [`Filter::encode`] writes.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        let strings = self.entries.iter().map(|entry| string_len(entry.len()));
        varbyte_len(self.entries.len() as u32) + strings.sum::<usize>()
    }

    /// Appends the filter to `out` as a topic list.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.reserve(self.encoded_len());
        put_varbyte(self.entries.len() as u32, out);
        for entry in &self.entries {
            put_string(entry.as_bytes(), out);
        }
    }

    /// The filter as a topic list.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut out);
        out
    }

    /// Reads a topic list that fills all of `bytes`, as in a routing update.
    pub fn decode(bytes: &[u8], limits: FilterLimits) -> Result<Self, FilterError> {
        let (filter, used) = Self::decode_prefix(bytes, limits)?;
        Reader::new(&bytes[used..]).finish()?;
        Ok(filter)
    }

    /// Reads a topic list at the start of `bytes` and returns how many bytes it took. Handshake
    /// messages may have more bytes behind it, which mean nothing (1.3).
    pub fn decode_prefix(bytes: &[u8], limits: FilterLimits) -> Result<(Self, usize), FilterError> {
        let within = &bytes[..bytes.len().min(limits.max_bytes)];
        match Self::read(within, limits.max_entries) {
            // It might not be, were it not for the limit.
            Err(FilterError::Invalid(DecodeError::Truncated { .. }))
                if within.len() < bytes.len() =>
            {
                Err(FilterError::TooManyBytes {
                    max: limits.max_bytes,
                })
            }
            result => result,
        }
    }

    fn read(bytes: &[u8], max_entries: u32) -> Result<(Self, usize), FilterError> {
        let mut reader = Reader::new(bytes);
        let count = reader.varbyte("filter length")?;
        if count > max_entries {
            return Err(FilterError::TooManyEntries {
                count,
                max: max_entries,
            });
        }
        // Every entry takes at least its length byte, so what is left bounds the allocation.
        let mut entries = Vec::with_capacity((count as usize).min(reader.remaining()));
        for _ in 0..count {
            // An entry longer than any topic matches none: leaving it out changes nothing.
            if let Ok(prefix) = Topic::copy_from(reader.string("filter entry")?) {
                entries.push(prefix);
            }
        }
        Ok((
            entries.into_iter().collect(),
            bytes.len() - reader.remaining(),
        ))
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.entries.iter().map(Topic::to_string))
            .finish()
    }
}

impl From<Topic> for Filter {
    fn from(prefix: Topic) -> Self {
        Self {
            entries: BTreeSet::from([prefix]),
        }
    }
}

impl FromIterator<Topic> for Filter {
    fn from_iter<I: IntoIterator<Item = Topic>>(prefixes: I) -> Self {
        let mut entries: Vec<_> = prefixes.into_iter().collect();
        entries.sort_unstable();
        // After sorting, what an entry covers follows it directly.
        entries.dedup_by(|next, kept| next.has_prefix(kept.as_bytes()));
        Self {
            entries: BTreeSet::from_iter(entries),
        }
    }
}

impl IntoIterator for Filter {
    type Item = Topic;
    type IntoIter = btree_set::IntoIter<Topic>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

impl<'a> IntoIterator for &'a Filter {
    type Item = &'a Topic;
    type IntoIter = btree_set::Iter<'a, Topic>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.iter()
    }
}

/// How large a topic list from outside may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilterLimits {
    /// Entries in the list, duplicates included.
    pub max_entries: u32,
    /// Bytes of the whole list as encoded.
    pub max_bytes: usize,
}

/// 65 536 entries and 8 MiB.
impl Default for FilterLimits {
    fn default() -> Self {
        Self {
            max_entries: 65_536,
            max_bytes: 8 << 20,
        }
    }
}

/// Why bytes from a peer are not a topic list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FilterError {
    /// They are cut off, malformed, or go on behind the list.
    #[error("a topic list is invalid")]
    Invalid(#[from] DecodeError),
    /// The list announces more entries than allowed.
    #[error("a topic list of {count} entries is longer than {max}")]
    TooManyEntries {
        /// Entries announced.
        count: u32,
        /// Entries allowed.
        max: u32,
    },
    /// The list takes more bytes than allowed.
    #[error("a topic list takes more than {max} bytes")]
    TooManyBytes {
        /// Bytes allowed.
        max: usize,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn topic(text: &str) -> Topic {
        Topic::try_from(text).unwrap()
    }

    fn filter(entries: &[&str]) -> Filter {
        entries.iter().map(|entry| topic(entry)).collect()
    }

    fn entries(filter: &Filter) -> Vec<String> {
        filter.iter().map(Topic::to_string).collect()
    }

    #[test]
    fn an_entry_matches_by_bytes_and_not_by_path() {
        let filter = filter(&["/foo"]);
        assert!(filter.matches("/foo"));
        assert!(filter.matches("/foo/bar"));
        assert!(filter.matches("/foobar"));
        assert!(!filter.matches("/fo"));
        assert!(!filter.matches(""));
    }

    #[test]
    fn the_empty_entry_swallows_all_others() {
        let mut filter = filter(&["a", "b"]);
        assert!(filter.insert(topic("")));
        assert_eq!(entries(&filter), [""]);
        assert!(filter.matches("") && filter.matches("x/<$>/data/master"));
    }

    #[test]
    fn adding_what_is_covered_changes_nothing() {
        let mut filter = filter(&["/a", "/c"]);
        assert!(!filter.insert(topic("/a")));
        assert!(!filter.insert(topic("/a/b")));
        assert!(!filter.extend([topic("/cc"), topic("/a")]));
        assert!(!filter.union(&Filter::from(topic("/a/b"))));
        assert!(filter.union(&Filter::from(topic("/b"))));
        assert_eq!(entries(&filter), ["/a", "/b", "/c"]);
    }

    #[test]
    fn adding_a_prefix_of_entries_removes_them() {
        let mut filter = filter(&["/a/x", "/a/y", "/b"]);
        assert!(filter.insert(topic("/a")));
        assert_eq!(entries(&filter), ["/a", "/b"]);
    }

    #[test]
    fn only_an_entry_itself_can_be_removed() {
        let mut filter = filter(&["a", "b"]);
        assert!(!filter.remove(&topic("a/x")));
        assert!(filter.remove(&topic("a")));
        assert!(!filter.remove(&topic("a")));
        assert_eq!(entries(&filter), ["b"]);
    }

    #[test]
    fn contains_asks_for_the_very_entry() {
        let filter = filter(&["hosts/<$>/data/master", "x"]);
        assert!(filter.contains("hosts/<$>/data/master"));
        assert!(!filter.contains("hosts"));
        assert!(!filter.contains("x/<$>/data/master") && filter.covers("x/<$>/data/master"));
    }

    #[test]
    fn local_topics_are_not_announced() {
        let filter = filter(&["/a", "<$>/local/data/errors", "<$>/other"]);
        assert_eq!(entries(&filter.without_local()), ["/a", "<$>/other"]);
    }

    #[test]
    fn encodes_to_the_bytes_of_broker() {
        // The payload of the routing update in the wire reference, 13.
        let golden = b"\x02\x04/foo\x05/test";
        let filter = filter(&["/test", "/foo"]);
        assert_eq!(filter.to_bytes(), golden);
        assert_eq!(Filter::decode(golden, FilterLimits::default()), Ok(filter));
        assert_eq!(Filter::new().to_bytes(), [0]);
    }

    #[test]
    fn a_received_list_may_be_unsorted_doubled_and_padded() {
        let bytes = b"\x84\x00\x01b\x01a\x81\x80\x80\x80\x00b\x02ab";
        let decoded = Filter::decode(bytes, FilterLimits::default()).unwrap();
        assert_eq!(entries(&decoded), ["a", "b"]);
    }

    #[test]
    fn an_entry_longer_than_any_topic_is_left_out() {
        let mut bytes = vec![2, 0x80, 0x80, 0x04];
        bytes.resize(bytes.len() + 65_536, b'x');
        bytes.extend_from_slice(b"\x01y");
        let decoded = Filter::decode(&bytes, FilterLimits::default()).unwrap();
        assert_eq!(entries(&decoded), ["y"]);
    }

    #[test]
    fn bytes_behind_the_list_are_for_the_caller_to_judge() {
        let bytes = b"\x01\x01a??";
        assert_eq!(
            Filter::decode(bytes, FilterLimits::default()),
            Err(FilterError::Invalid(DecodeError::TrailingBytes(2)))
        );
        let (decoded, used) = Filter::decode_prefix(bytes, FilterLimits::default()).unwrap();
        assert_eq!((decoded, used), (filter(&["a"]), 3));
    }

    #[test]
    fn limits_hold_before_anything_is_allocated() {
        let limits = FilterLimits {
            max_entries: 3,
            max_bytes: 6,
        };
        assert_eq!(
            Filter::decode(b"\xff\xff\xff\xff\x0f", limits),
            Err(FilterError::TooManyEntries {
                count: u32::MAX,
                max: 3
            })
        );
        assert_eq!(
            Filter::decode(b"\x02\x01a\x03bcd", limits),
            Err(FilterError::TooManyBytes { max: 6 })
        );
        assert!(matches!(
            Filter::decode(b"\x01\x05a", limits),
            Err(FilterError::Invalid(DecodeError::Truncated { .. }))
        ));
        assert!(matches!(
            Filter::decode(b"\x80\x80\x80\x80\x80\x00", limits),
            Err(FilterError::Invalid(DecodeError::VarbyteTooLong { .. }))
        ));
    }

    fn prefixes() -> impl Strategy<Value = Vec<Vec<u8>>> {
        prop::collection::vec(prop::collection::vec(0u8..3, 0..5), 0..12)
    }

    fn topics(prefixes: &[Vec<u8>]) -> impl Iterator<Item = Topic> {
        prefixes
            .iter()
            .map(|prefix| Topic::copy_from(prefix).unwrap())
    }

    proptest! {
        #[test]
        fn matching_equals_the_naive_loop(
            prefixes in prefixes(),
            topic in prop::collection::vec(0u8..3, 0..7),
        ) {
            let filter: Filter = topics(&prefixes).collect();
            let naive = prefixes.iter().any(|prefix| topic.starts_with(prefix));
            prop_assert_eq!(filter.matches(&topic), naive);
        }

        #[test]
        fn however_entries_come_the_filter_is_the_same_and_minimal(
            left in prefixes(),
            right in prefixes(),
        ) {
            let all: Filter = topics(&left).chain(topics(&right)).collect();
            let mut one_by_one = Filter::new();
            let mut changed = false;
            for prefix in topics(&right) {
                changed |= one_by_one.insert(prefix);
            }
            prop_assert_eq!(changed, !right.is_empty());
            let before = one_by_one.clone();
            let changed = one_by_one.extend(topics(&left));
            prop_assert_eq!(changed, before != one_by_one);
            prop_assert_eq!(&one_by_one, &all);
            let mut union = topics(&left).collect::<Filter>();
            union.union(&before);
            prop_assert_eq!(&union, &all);
            for (left, right) in all.iter().zip(all.iter().skip(1)) {
                prop_assert!(left < right && !right.has_prefix(left.as_bytes()));
            }
        }

        #[test]
        fn encoding_and_decoding_are_inverse(prefixes in prefixes()) {
            let filter: Filter = topics(&prefixes).collect();
            let bytes = filter.to_bytes();
            prop_assert_eq!(bytes.len(), filter.encoded_len());
            for cut in 0..bytes.len() {
                prop_assert!(Filter::decode(&bytes[..cut], FilterLimits::default()).is_err());
            }
            prop_assert_eq!(Filter::decode(&bytes, FilterLimits::default()), Ok(filter));
        }

        #[test]
        fn any_bytes_decode_or_fail_without_a_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            let _ = Filter::decode(&bytes, FilterLimits::default());
        }
    }
}
