//! A radix tree over byte prefixes: who wants a topic is one walk along the topic, not a loop over
//! all subscriptions (`design.md` 2; matching as in `reference/broker-wire.md` 2.4).
//!
//! The tree is persistent: nodes are shared between versions, so [`PrefixTree::insert`] makes a new
//! tree by copying only the nodes on one path, and readers of the old one are not disturbed. A
//! change costs the length of the prefix times the fan-out along it, however many entries there are.
//!
//! A node holds the bytes that lead to it from its parent, at most [`Label::MAX_LEN`] in place;
//! longer ways are chains of nodes. So one step of a match reads one node and the list of its
//! children, and nothing else.
//!
//! **Invariants:** children are sorted by their first byte, and no two share it. Every node but the
//! root has a value or a child. No operation recurses: entries such as `b`, `ab`, `aab`, .. make a
//! tree as deep as a topic is long, and peers choose the entries.

use std::{fmt, mem, sync::Arc};

/// Values under byte prefixes; every value at most once under each prefix.
#[derive(Clone)]
pub struct PrefixTree<V> {
    root: Arc<Node<V>>,
    len: usize,
}

impl<V> PrefixTree<V> {
    /// A tree without entries.
    #[must_use]
    pub fn new() -> Self {
        Self {
            root: Arc::new(Node::new(Label::EMPTY)),
            len: 0,
        }
    }

    /// Number of entries, which are pairs of a prefix and a value.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no entries.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Calls `visit` for the values of every prefix of `topic`, shortest prefix first. A value that
    /// is there under several prefixes is visited for each.
    #[inline]
    pub fn for_each_match<'a>(&'a self, topic: &[u8], mut visit: impl FnMut(&'a V)) {
        let mut walk = Walk {
            node: &self.root,
            rest: topic,
        };
        loop {
            walk.node.values().for_each(&mut visit);
            if !walk.step() {
                break;
            }
        }
    }

    /// Whether any value is there under a prefix of `topic`.
    #[must_use]
    pub fn has_match(&self, topic: &[u8]) -> bool {
        let mut walk = Walk {
            node: &self.root,
            rest: topic,
        };
        loop {
            if walk.node.first.is_some() {
                return true;
            }
            if !walk.step() {
                return false;
            }
        }
    }

    /// The values under exactly this prefix.
    pub fn get(&self, prefix: &[u8]) -> impl Iterator<Item = &V> {
        let mut walk = Walk {
            node: &self.root,
            rest: prefix,
        };
        while walk.step() {}
        walk.rest
            .is_empty()
            .then_some(walk.node)
            .into_iter()
            .flat_map(Node::values)
    }

    /// All entries, sorted by prefix.
    pub fn iter(&self) -> impl Iterator<Item = (Vec<u8>, &V)> {
        let mut pending = vec![(0, &*self.root)];
        let mut prefix = Vec::new();
        let nodes = std::iter::from_fn(move || {
            let (above, node) = pending.pop()?;
            prefix.truncate(above);
            prefix.extend_from_slice(node.label.as_bytes());
            pending.extend(
                node.children
                    .iter()
                    .rev()
                    .map(|child| (prefix.len(), &*child.node)),
            );
            Some((prefix.clone(), node))
        });
        nodes.flat_map(|(prefix, node)| node.values().map(move |value| (prefix.clone(), value)))
    }
}

impl<V: Clone + PartialEq> PrefixTree<V> {
    /// A tree with `value` under `prefix` as well.
    #[must_use]
    pub fn insert(&self, prefix: &[u8], value: V) -> Self {
        let mut tree = self.clone();
        tree.insert_mut(prefix, value);
        tree
    }

    /// A tree without `value` under `prefix`.
    #[must_use]
    pub fn remove(&self, prefix: &[u8], value: &V) -> Self {
        let mut tree = self.clone();
        tree.remove_mut(prefix, value);
        tree
    }

    /// Puts `value` under `prefix`; returns whether it was not there. Nodes that no other version
    /// of the tree shares are changed in place, which makes many insertions in a row cheaper.
    pub fn insert_mut(&mut self, prefix: &[u8], value: V) -> bool {
        if self.get(prefix).any(|there| *there == value) {
            return false;
        }
        self.len += 1;
        let (mut slot, mut rest) = (&mut self.root, prefix);
        loop {
            let node = Arc::make_mut(slot);
            let Some(&byte) = rest.first() else {
                node.add_value(value);
                return true;
            };
            match node.find(byte) {
                Ok(at) => {
                    slot = &mut node.children[at].node;
                    let common = slot.label.common_len(rest);
                    if common < slot.label.len() {
                        Node::split(slot, common);
                    }
                    rest = &rest[common..];
                }
                Err(at) => {
                    node.insert_child(at, Node::chain(rest, value));
                    return true;
                }
            }
        }
    }

    /// Takes `value` away from under `prefix`; returns whether it was there. In place where it can
    /// be, like [`PrefixTree::insert_mut`].
    pub fn remove_mut(&mut self, prefix: &[u8], value: &V) -> bool {
        if !self.get(prefix).any(|there| there == value) {
            return false;
        }
        self.len -= 1;
        // The deepest node on the way that has a reason to stay even if the rest of the way goes.
        let mut walk = Walk {
            node: &self.root,
            rest: prefix,
        };
        let (mut keep, mut depth) = (0, 0);
        while walk.step() {
            depth += 1;
            let node = walk.node;
            let stays = if walk.rest.is_empty() {
                node.more.is_some() || !node.children.is_empty()
            } else {
                node.first.is_some() || node.children.len() > 1
            };
            if stays {
                keep = depth;
            }
        }

        let (mut slot, mut rest) = (&mut self.root, prefix);
        for _ in 0..keep {
            let at = rest.first().and_then(|byte| slot.find(*byte).ok());
            let at = at.expect("the walk above went the same way");
            slot = &mut Arc::make_mut(slot).children[at].node;
            rest = &rest[slot.label.len()..];
        }
        let node = Arc::make_mut(slot);
        match rest.first() {
            None => node.remove_value(value),
            Some(byte) => node.remove_child(*byte),
        }
        if keep > 0 {
            node.merge_with_only_child();
        }
        true
    }
}

impl<V> Default for PrefixTree<V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V: fmt::Debug> fmt::Debug for PrefixTree<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self
            .iter()
            .map(|(prefix, value)| (prefix.escape_ascii().to_string(), value));
        f.debug_map().entries(entries).finish()
    }
}

/// A way down the tree along a topic.
struct Walk<'a, 't, V> {
    node: &'a Node<V>,
    rest: &'t [u8],
}

impl<V> Walk<'_, '_, V> {
    /// Goes to the child the topic leads to; false if there is none, or the topic ends before it.
    #[inline]
    fn step(&mut self) -> bool {
        let Some(&byte) = self.rest.first() else {
            return false;
        };
        let Ok(at) = self.node.find(byte) else {
            return false;
        };
        let child = &*self.node.children[at].node;
        let Some(rest) = self.rest.strip_prefix(child.label.as_bytes()) else {
            return false;
        };
        self.node = child;
        self.rest = rest;
        true
    }
}

#[derive(Clone)]
struct Node<V> {
    /// What leads here from the parent.
    label: Label,
    first: Option<V>,
    /// The values after the first; shared, so that copying a path does not copy them. Never empty.
    more: Option<Arc<Vec<V>>>,
    children: Box<[Child<V>]>,
}

#[derive(Clone)]
struct Child<V> {
    /// The first byte of the label of `node`.
    byte: u8,
    node: Arc<Node<V>>,
}

impl<V> Node<V> {
    fn new(label: Label) -> Self {
        Self {
            label,
            first: None,
            more: None,
            children: Box::default(),
        }
    }

    #[inline]
    fn values(&self) -> impl Iterator<Item = &V> {
        self.first
            .iter()
            .chain(self.more.iter().flat_map(|more| more.iter()))
    }

    #[inline]
    fn find(&self, byte: u8) -> Result<usize, usize> {
        self.children
            .binary_search_by_key(&byte, |child| child.byte)
    }

    /// Nodes that lead along `way`, the last of them with the value.
    fn chain(way: &[u8], value: V) -> Child<V> {
        let mut value = Some(value);
        let mut below = None;
        for bytes in way.chunks(Label::MAX_LEN).rev() {
            let mut node = Self::new(Label::new(bytes));
            node.first = value.take();
            node.children = below.take().into_iter().collect();
            below = Some(Child {
                byte: bytes[0],
                node: Arc::new(node),
            });
        }
        below.expect("the way to a new child has a byte at least")
    }

    fn insert_child(&mut self, at: usize, child: Child<V>) {
        let mut children = mem::take(&mut self.children).into_vec();
        children.reserve_exact(1);
        children.insert(at, child);
        self.children = children.into_boxed_slice();
    }

    fn remove_child(&mut self, byte: u8) {
        let mut children = mem::take(&mut self.children).into_vec();
        children.retain(|child| child.byte != byte);
        self.children = children.into_boxed_slice();
    }
}

impl<V: Clone + PartialEq> Node<V> {
    fn add_value(&mut self, value: V) {
        if self.first.is_none() {
            self.first = Some(value);
        } else {
            Arc::make_mut(self.more.get_or_insert_default()).push(value);
        }
    }

    fn remove_value(&mut self, value: &V) {
        let Some(more) = &mut self.more else {
            self.first = None;
            return;
        };
        let more = Arc::make_mut(more);
        if self.first.as_ref() == Some(value) {
            self.first = Some(more.remove(0));
        } else {
            more.retain(|there| there != value);
        }
        if more.is_empty() {
            self.more = None;
        }
    }

    /// Puts a node between `slot` and its parent that takes over the first `at` bytes of its label.
    fn split(slot: &mut Arc<Self>, at: usize) {
        let lower = Arc::make_mut(slot);
        let (head, tail) = lower.label.as_bytes().split_at(at);
        let (mut upper, byte) = (Self::new(Label::new(head)), tail[0]);
        lower.label = Label::new(tail);
        upper.children = Box::new([Child {
            byte,
            node: Arc::clone(slot),
        }]);
        *slot = Arc::new(upper);
    }

    /// Takes over all that the only child has, if nothing else is here and the labels fit in one.
    fn merge_with_only_child(&mut self) {
        let [child] = &*self.children else { return };
        let Some(label) = self.label.join(&child.node.label) else {
            return;
        };
        if self.first.is_some() {
            return;
        }
        let mut children = mem::take(&mut self.children).into_vec();
        if let Some(child) = children.pop() {
            *self = Arc::unwrap_or_clone(child.node);
            self.label = label;
        }
    }
}

/// Takes the tree apart without recursion; depth is up to those who choose the entries.
impl<V> Drop for Node<V> {
    fn drop(&mut self) {
        if self.children.is_empty() {
            return;
        }
        let mut pending = mem::take(&mut self.children).into_vec();
        while let Some(child) = pending.pop() {
            if let Some(mut node) = Arc::into_inner(child.node) {
                pending.extend(mem::take(&mut node.children));
            }
        }
    }
}

/// A few bytes in place.
#[derive(Clone, Copy)]
struct Label {
    len: u8,
    bytes: [u8; Self::MAX_LEN],
}

impl Label {
    const MAX_LEN: usize = 23;
    const EMPTY: Self = Self {
        len: 0,
        bytes: [0; Self::MAX_LEN],
    };

    /// Takes the first [`Label::MAX_LEN`] of `bytes`.
    fn new(bytes: &[u8]) -> Self {
        let len = bytes.len().min(Self::MAX_LEN);
        let mut label = Self {
            len: len as u8,
            ..Self::EMPTY
        };
        label.bytes[..len].copy_from_slice(&bytes[..len]);
        label
    }

    #[inline]
    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    fn len(&self) -> usize {
        usize::from(self.len)
    }

    fn common_len(&self, other: &[u8]) -> usize {
        self.as_bytes()
            .iter()
            .zip(other)
            .take_while(|(a, b)| a == b)
            .count()
    }

    fn join(&self, other: &Self) -> Option<Self> {
        let len = self.len() + other.len();
        if len > Self::MAX_LEN {
            return None;
        }
        let mut joined = *self;
        joined.bytes[self.len()..len].copy_from_slice(other.as_bytes());
        joined.len = len as u8;
        Some(joined)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn matches<V: Clone>(tree: &PrefixTree<V>, topic: &[u8]) -> Vec<V> {
        let mut found = Vec::new();
        tree.for_each_match(topic, |value| found.push(value.clone()));
        found
    }

    fn entries<V: Clone>(tree: &PrefixTree<V>) -> Vec<(Vec<u8>, V)> {
        tree.iter()
            .map(|(prefix, value)| (prefix, value.clone()))
            .collect()
    }

    /// Nodes below the root, and a check of what every node promises.
    fn nodes<V>(tree: &PrefixTree<V>) -> usize {
        let mut pending = vec![&tree.root];
        let mut count = 0;
        while let Some(node) = pending.pop() {
            assert!(node.children.is_sorted_by_key(|child| child.byte));
            for child in &node.children {
                assert_eq!(child.node.label.as_bytes().first(), Some(&child.byte));
                assert!(child.node.first.is_some() || !child.node.children.is_empty());
                assert!(child.node.first.is_some() || child.node.more.is_none());
                assert!(child.node.more.as_ref().is_none_or(|more| !more.is_empty()));
                pending.push(&child.node);
                count += 1;
            }
        }
        count
    }

    #[test]
    fn a_match_visits_every_prefix_of_the_topic_shortest_first() {
        let tree = PrefixTree::new()
            .insert(b"/a/b", 2)
            .insert(b"", 0)
            .insert(b"/a", 1)
            .insert(b"/a/c", 3)
            .insert(b"/a/b", 4);
        assert_eq!(matches(&tree, b"/a/b/x"), [0, 1, 2, 4]);
        assert_eq!(matches(&tree, b"/a/"), [0, 1]);
        assert_eq!(matches(&tree, b""), [0]);
        assert!(tree.has_match(b""));
        assert!(!tree.remove(b"", &0).has_match(b"/"));
        assert!(tree.remove(b"", &0).has_match(b"/ax"));
    }

    #[test]
    fn an_older_tree_is_not_disturbed_by_newer_ones() {
        let old = PrefixTree::new().insert(b"/a/b", 1).insert(b"/a/c", 2);
        let new = old.insert(b"/a", 3).remove(b"/a/b", &1).insert(b"/a/c", 4);
        assert_eq!(matches(&old, b"/a/b"), [1]);
        assert_eq!(matches(&old, b"/a/c"), [2]);
        assert_eq!(matches(&new, b"/a/b"), [3]);
        assert_eq!(matches(&new, b"/a/c"), [3, 2, 4]);
        assert_eq!((old.len(), new.len()), (2, 3));
    }

    #[test]
    fn the_same_value_is_there_once_under_a_prefix() {
        let mut tree = PrefixTree::new();
        assert!(tree.insert_mut(b"/a", 1));
        assert!(!tree.insert_mut(b"/a", 1));
        assert!(tree.insert_mut(b"/a/b", 1));
        assert_eq!(tree.len(), 2);
        assert!(!tree.remove_mut(b"/a", &2) && !tree.remove_mut(b"/", &1));
        assert!(tree.remove_mut(b"/a", &1) && !tree.remove_mut(b"/a", &1));
        assert_eq!(entries(&tree), [(b"/a/b".to_vec(), 1)]);
    }

    #[test]
    fn removing_leaves_no_empty_nodes_behind() {
        let one = PrefixTree::new().insert(b"/zeek/cluster/worker", 1);
        assert_eq!(nodes(&one), 1);
        let two = one.insert(b"/zeek/cluster/manager", 2).insert(b"/zeek", 3);
        assert_eq!(nodes(&two), 4);
        let one = two
            .remove(b"/zeek", &3)
            .remove(b"/zeek/cluster/manager", &2);
        assert_eq!(nodes(&one), 1);
        assert_eq!(nodes(&one.remove(b"/zeek/cluster/worker", &1)), 0);
    }

    #[test]
    fn prefixes_longer_than_a_label_are_found_split_and_removed() {
        let long = vec![b'x'; 65_535];
        let mut tree = PrefixTree::new().insert(&long, 1);
        let mut other = long.clone();
        other[40_000] = b'y';
        tree.insert_mut(&other, 2);
        assert_eq!(matches(&tree, &long), [1]);
        assert_eq!(matches(&tree, &other), [2]);
        assert_eq!(matches(&tree, &long[..65_534]), []);
        assert!(tree.remove_mut(&long, &1));
        assert_eq!(matches(&tree, &other), [2]);
        assert!(tree.remove_mut(&other, &2));
        assert_eq!(nodes(&tree), 0);
    }

    #[test]
    fn a_tree_as_deep_as_a_topic_is_long_is_no_danger_to_the_stack() {
        let long = vec![b'x'; 65_535];
        // Nodes of one byte each, put together from below: inserting them all takes too long.
        let mut below = None;
        for _ in 0..long.len() {
            let mut node = Node::new(Label::new(b"x"));
            node.first = Some(0);
            node.children = below.take().into_iter().collect();
            below = Some(Child {
                byte: b'x',
                node: Arc::new(node),
            });
        }
        let mut tree = PrefixTree::new();
        Arc::make_mut(&mut tree.root).insert_child(0, below.unwrap());
        tree.len = long.len();

        let copy = tree.insert(&long, 1).remove(&long[..10], &0);
        let mut found = 0;
        copy.for_each_match(&long, |_| found += 1);
        assert_eq!(found, long.len());
        assert_eq!(copy.iter().take(10).count(), 10);
        drop(tree);
        drop(copy);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(Vec<u8>, u8),
        Remove(Vec<u8>, u8),
        RemoveNth(usize),
    }

    /// Bytes from a small alphabet, some of them in long runs so that labels overflow.
    fn prefix() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(
            (0u8..3, prop_oneof![4 => Just(1usize), 1 => Just(20)]),
            0..6,
        )
        .prop_map(|runs| {
            runs.into_iter()
                .flat_map(|(byte, n)| vec![byte; n])
                .collect()
        })
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (prefix(), 0u8..3).prop_map(|(prefix, value)| Step::Insert(prefix, value)),
            1 => (prefix(), 0u8..3).prop_map(|(prefix, value)| Step::Remove(prefix, value)),
            2 => any::<usize>().prop_map(Step::RemoveNth),
        ]
    }

    proptest! {
        #[test]
        fn matching_equals_the_naive_loop_and_old_versions_stay(
            steps in prop::collection::vec(step(), 0..40),
            topics in prop::collection::vec(prefix(), 1..8),
            in_place in any::<bool>(),
        ) {
            let mut tree = PrefixTree::new();
            let mut model = BTreeSet::new();
            let mut versions = Vec::new();
            for step in steps {
                let (prefix, value, insert) = match step {
                    Step::Insert(prefix, value) => (prefix, value, true),
                    Step::Remove(prefix, value) => (prefix, value, false),
                    Step::RemoveNth(_) if model.is_empty() => continue,
                    Step::RemoveNth(n) => {
                        let (prefix, value) =
                            model.iter().nth(n % model.len()).cloned().unwrap();
                        (prefix, value, false)
                    }
                };
                match (insert, in_place) {
                    (true, false) => tree = tree.insert(&prefix, value),
                    (false, false) => tree = tree.remove(&prefix, &value),
                    (true, true) => {
                        let there = model.contains(&(prefix.clone(), value));
                        prop_assert_eq!(tree.insert_mut(&prefix, value), !there);
                    }
                    (false, true) => {
                        let there = model.contains(&(prefix.clone(), value));
                        prop_assert_eq!(tree.remove_mut(&prefix, &value), there);
                    }
                }
                if insert { model.insert((prefix, value)) } else { model.remove(&(prefix, value)) };
                versions.push((tree.clone(), model.clone()));
            }
            for (tree, model) in versions {
                prop_assert!(nodes(&tree) <= model.iter().map(|(p, _)| p.len() + 1).sum());
                prop_assert_eq!(tree.len(), model.len());
                let mut all = entries(&tree);
                prop_assert!(all.is_sorted_by_key(|(prefix, _)| prefix.clone()));
                all.sort();
                prop_assert_eq!(&all, &model.iter().cloned().collect::<Vec<_>>());
                for topic in &topics {
                    let mut found = matches(&tree, topic);
                    found.sort_unstable();
                    let mut naive: Vec<_> = model
                        .iter()
                        .filter(|(prefix, _)| topic.starts_with(prefix))
                        .map(|(_, value)| *value)
                        .collect();
                    naive.sort_unstable();
                    prop_assert_eq!(tree.has_match(topic), !naive.is_empty());
                    prop_assert_eq!(found, naive);
                }
            }
        }
    }
}
