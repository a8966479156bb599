//! Topics: the names messages are published under, and the few that Broker reserves.
//!
//! A topic is a string of at most [`Topic::MAX_LEN`] bytes, since the native header counts it with
//! a `u16` (wire reference, 2.1). Any bytes are allowed, text or not; a slash means
//! nothing to matching, which is a plain byte-prefix test (2.4). Only [`Topic::join`] knows of it.
//!
//! **Invariant:** a [`Topic`] is never longer than [`Topic::MAX_LEN`].

use std::{borrow::Borrow, fmt, str::FromStr};

use bytes::Bytes;

/// The name a message is published under: any bytes, at most [`Topic::MAX_LEN`] of them.
///
/// Order, equality and hash are those of the bytes. Cloning shares the bytes.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic(Bytes);

impl Topic {
    /// The longest topic the native header can carry.
    pub const MAX_LEN: usize = u16::MAX as usize;

    /// Takes `bytes` as a topic, if they are not too long.
    pub fn new(bytes: impl Into<Bytes>) -> Result<Self, TopicError> {
        let bytes = bytes.into();
        if bytes.len() > Self::MAX_LEN {
            return Err(TopicError::TooLong { len: bytes.len() });
        }
        Ok(Self(bytes))
    }

    /// A topic that is part of the program; needs no allocation.
    ///
    /// # Panics
    /// If `text` is longer than [`Topic::MAX_LEN`], at compile time when used in a constant.
    #[must_use]
    pub const fn from_static(text: &'static str) -> Self {
        assert!(
            text.len() <= Self::MAX_LEN,
            "a topic has at most 65535 bytes"
        );
        Self(Bytes::from_static(text.as_bytes()))
    }

    /// Copies `bytes`, so that the topic does not keep a larger buffer alive.
    pub fn copy_from(bytes: &[u8]) -> Result<Self, TopicError> {
        if bytes.len() > Self::MAX_LEN {
            return Err(TopicError::TooLong { len: bytes.len() });
        }
        Ok(Self(Bytes::copy_from_slice(bytes)))
    }

    /// The bytes of the topic.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The topic as text, if it is UTF-8.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// The shared buffer behind the topic.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.0
    }

    /// The same topic in memory of its own, where this one may be a slice of a larger buffer.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self(Bytes::copy_from_slice(&self.0))
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether this is the empty topic, which as a prefix matches everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `prefix` matches this topic.
    #[must_use]
    pub fn has_prefix(&self, prefix: &[u8]) -> bool {
        self.0.starts_with(prefix)
    }

    /// Whether the topic belongs to this node alone (`<$>/local/...`): it is never announced, and
    /// dropped when a peer sends it (2.5).
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.has_prefix(reserved::LOCAL_PREFIX)
    }

    /// Joins two parts as Broker does (2.5): one slash between them, unless `other` starts with one
    /// or `self` is empty; then one slash at the very end is taken away.
    pub fn join(&self, other: impl AsRef<[u8]>) -> Result<Self, TopicError> {
        let (left, right) = (self.as_bytes(), other.as_ref());
        let separator = !left.is_empty() && right.first() != Some(&SEPARATOR);
        let mut joined = Vec::with_capacity(left.len() + 1 + right.len());
        joined.extend_from_slice(left);
        if separator {
            joined.push(SEPARATOR);
        }
        joined.extend_from_slice(right);
        if joined.last() == Some(&SEPARATOR) {
            joined.pop();
        }
        Self::new(joined)
    }
}

/// Control characters, backslashes and bytes that are not UTF-8 as escapes, so that a topic from outside cannot break a line
/// of a log.
impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Escaped(&self.0).fmt(f)
    }
}

/// Bytes from outside for people: text as it is; control characters, backslashes and bytes that are not UTF-8 as escapes.
pub(crate) struct Escaped<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for char in chunk.valid().chars() {
                if char.is_control() || char == '\\' {
                    write!(f, "{}", char.escape_default())?;
                } else {
                    fmt::Write::write_char(f, char)?;
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Topic({self})")
    }
}

impl AsRef<[u8]> for Topic {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Borrow<[u8]> for Topic {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl FromStr for Topic {
    type Err = TopicError;

    fn from_str(text: &str) -> Result<Self, TopicError> {
        Self::copy_from(text.as_bytes())
    }
}

impl TryFrom<&str> for Topic {
    type Error = TopicError;

    fn try_from(text: &str) -> Result<Self, TopicError> {
        Self::copy_from(text.as_bytes())
    }
}

impl TryFrom<&[u8]> for Topic {
    type Error = TopicError;

    fn try_from(bytes: &[u8]) -> Result<Self, TopicError> {
        Self::copy_from(bytes)
    }
}

impl TryFrom<String> for Topic {
    type Error = TopicError;

    fn try_from(text: String) -> Result<Self, TopicError> {
        Self::new(text)
    }
}

impl TryFrom<&String> for Topic {
    type Error = TopicError;

    fn try_from(text: &String) -> Result<Self, TopicError> {
        Self::copy_from(text.as_bytes())
    }
}

impl TryFrom<Vec<u8>> for Topic {
    type Error = TopicError;

    fn try_from(bytes: Vec<u8>) -> Result<Self, TopicError> {
        Self::new(bytes)
    }
}

impl TryFrom<Bytes> for Topic {
    type Error = TopicError;

    fn try_from(bytes: Bytes) -> Result<Self, TopicError> {
        Self::new(bytes)
    }
}

/// Why bytes are not a topic.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TopicError {
    /// More bytes than the native header can count.
    #[error("a topic of {len} bytes is longer than {}", Topic::MAX_LEN)]
    TooLong {
        /// The length that was given.
        len: usize,
    },
}

const SEPARATOR: u8 = b'/';

/// The topics Broker keeps for itself (wire reference, 2.5).
pub mod reserved {
    use super::{Topic, TopicError};

    /// What every topic that never leaves its node starts with.
    pub const LOCAL_PREFIX: &[u8] = b"<$>/local/";

    /// Pings, pongs and routing updates.
    pub const CONTROL: Topic = Topic::from_static("<$>");

    /// Error events of the own endpoint.
    pub const LOCAL_ERRORS: Topic = Topic::from_static("<$>/local/data/errors");

    /// Status events of the own endpoint.
    pub const LOCAL_STATUSES: Topic = Topic::from_static("<$>/local/data/statuses");

    /// What the store events of every local store start with.
    pub const STORE_EVENTS: Topic = Topic::from_static("<$>/local/data/store-events");

    /// What follows the name of a store in the topic of its master.
    pub const MASTER_SUFFIX: Topic = Topic::from_static("<$>/data/master");

    /// What follows the name of a store in the topic of its clones.
    pub const CLONE_SUFFIX: Topic = Topic::from_static("<$>/data/clone");

    /// Commands to the master of the store `name`.
    pub fn master(name: impl AsRef<[u8]>) -> Result<Topic, TopicError> {
        Topic::copy_from(name.as_ref())?.join(MASTER_SUFFIX)
    }

    /// Commands to the clones of the store `name`.
    pub fn clone(name: impl AsRef<[u8]>) -> Result<Topic, TopicError> {
        Topic::copy_from(name.as_ref())?.join(CLONE_SUFFIX)
    }

    /// Local events of the store `name`.
    pub fn store_events(name: impl AsRef<[u8]>) -> Result<Topic, TopicError> {
        STORE_EVENTS.join(name)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn join(left: &str, right: &str) -> String {
        let left = Topic::try_from(left).unwrap();
        left.join(right).unwrap().to_string()
    }

    #[test]
    fn joining_puts_one_slash_between_two_parts() {
        assert_eq!(join("a", "b"), "a/b");
        assert_eq!(join("a", "/b"), "a/b");
        assert_eq!(join("a/", "b"), "a//b");
        assert_eq!(join("", "b"), "b");
        assert_eq!(join("", "/b"), "/b");
    }

    #[test]
    fn joining_takes_one_trailing_slash_away() {
        assert_eq!(join("a", "b/"), "a/b");
        assert_eq!(join("a", "b//"), "a/b/");
        assert_eq!(join("a", ""), "a");
        assert_eq!(join("", "/"), "");
        assert_eq!(join("", ""), "");
    }

    #[test]
    fn a_topic_may_be_as_long_as_the_header_can_count_and_no_longer() {
        let longest = Topic::new(vec![b'x'; Topic::MAX_LEN]).unwrap();
        assert_eq!(longest.len(), Topic::MAX_LEN);
        assert_eq!(
            Topic::new(vec![b'x'; Topic::MAX_LEN + 1]),
            Err(TopicError::TooLong { len: 65_536 })
        );
        assert_eq!(longest.join("y"), Err(TopicError::TooLong { len: 65_537 }));
    }

    #[test]
    fn reserved_topics_have_the_names_of_broker() {
        assert_eq!(reserved::CONTROL.as_bytes(), b"<$>");
        assert_eq!(
            reserved::master("hosts").unwrap().as_bytes(),
            b"hosts/<$>/data/master"
        );
        assert_eq!(
            reserved::clone("hosts").unwrap().as_bytes(),
            b"hosts/<$>/data/clone"
        );
        assert_eq!(
            reserved::store_events("hosts").unwrap().as_bytes(),
            b"<$>/local/data/store-events/hosts"
        );
    }

    #[test]
    fn only_topics_below_the_local_prefix_are_local() {
        assert!(reserved::LOCAL_ERRORS.is_local());
        assert!(reserved::LOCAL_STATUSES.is_local());
        assert!(reserved::store_events("x").unwrap().is_local());
        assert!(!reserved::CONTROL.is_local());
        assert!(!Topic::from_static("<$>/localhost").is_local());
        assert!(!reserved::master("<$>").unwrap().is_local());
    }

    #[test]
    fn printing_a_topic_escapes_what_could_break_a_line() {
        let topic = Topic::new(&b"a\n\xff\\\xc3\xa9"[..]).unwrap();
        assert_eq!(topic.to_string(), "a\\n\\xff\\\\\u{e9}");
    }

    proptest! {
        #[test]
        fn order_and_prefixes_are_those_of_the_bytes(
            left in prop::collection::vec(0u8..4, 0..6),
            right in prop::collection::vec(0u8..4, 0..6),
        ) {
            let (a, b) = (Topic::new(left.clone()).unwrap(), Topic::new(right.clone()).unwrap());
            prop_assert_eq!(a.cmp(&b), left.cmp(&right));
            prop_assert_eq!(a.has_prefix(&right), left.starts_with(&right));
        }
    }
}
