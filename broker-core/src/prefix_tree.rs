//! A radix tree over byte prefixes: who wants a topic is one walk along the topic, not a loop over
//! all subscriptions (matching as in the wire reference, 2.4).
//!
//! The tree is persistent: nodes are shared between versions, so [`PrefixTree::insert`] makes a new
//! tree by copying only the nodes on one path, and readers of the old one are not disturbed. A
//! change costs the length of the prefix times the fan-out along it, however many entries there are.
//!
//! An edge lies in the node it leaves, with the bytes it stands for, at most [`Label::MAX_LEN`];
//! longer ways are chains of nodes. An edge that ends in a single value holds it in place. The first
//! bytes of the edges are in the node as well. So one step of a match reads one line of the node and
//! one edge, and the last step of most ends there: what large trees cost is memory not in the cache.
//!
//! **Invariants:** edges are sorted by their first byte, and no two of a node share it. Every node
//! but the root has an edge, or two values. No operation recurses: entries such as `b`, `ab`, `aab`,
//! .. make a tree as deep as a topic is long, and peers choose the entries.

use std::{fmt, mem, slice, sync::Arc};

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
            root: Arc::new(Node::new()),
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
        let (mut node, mut rest) = (&*self.root, topic);
        loop {
            node.values().for_each(&mut visit);
            match node.follow(&mut rest) {
                Some(End::Node(next)) => node = next,
                Some(End::Value(value)) => return visit(value),
                None => return,
            }
        }
    }

    /// Whether any value is there under a prefix of `topic`.
    #[must_use]
    pub fn has_match(&self, topic: &[u8]) -> bool {
        let (mut node, mut rest) = (&*self.root, topic);
        loop {
            if node.first.is_some() {
                return true;
            }
            match node.follow(&mut rest) {
                Some(End::Node(next)) => node = next,
                end => return end.is_some(),
            }
        }
    }

    /// The values under exactly this prefix.
    pub fn get(&self, prefix: &[u8]) -> impl Iterator<Item = &V> {
        let (mut node, mut rest) = (&*self.root, prefix);
        while !rest.is_empty() {
            match node.follow(&mut rest) {
                Some(End::Node(next)) => node = next,
                Some(End::Value(value)) if rest.is_empty() => return values(Some(value), &[]),
                _ => return values(None, &[]),
            }
        }
        node.values()
    }

    /// All entries, sorted by prefix.
    pub fn iter(&self) -> impl Iterator<Item = (Vec<u8>, &V)> {
        let mut pending = vec![(0, &Label::EMPTY, self.root.values(), &*self.root.edges)];
        let mut prefix = Vec::new();
        let places = std::iter::from_fn(move || {
            let (above, label, values, edges) = pending.pop()?;
            prefix.truncate(above);
            prefix.extend_from_slice(label.as_bytes());
            pending.extend(edges.iter().rev().map(|edge| match &edge.end {
                End::Value(value) => (
                    prefix.len(),
                    &edge.label,
                    self::values(Some(value), &[]),
                    &[][..],
                ),
                End::Node(node) => (prefix.len(), &edge.label, node.values(), &*node.edges),
            }));
            Some((prefix.clone(), values))
        });
        places.flat_map(|(prefix, values)| values.map(move |value| (prefix.clone(), value)))
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
            let Some(at) = node.find(byte) else {
                node.add_edge(Edge::chain(rest, value));
                return true;
            };
            let edge = &mut node.edges[at];
            let common = edge.label.common_len(rest);
            if common < edge.label.len() {
                edge.split(common);
            }
            rest = &rest[common..];
            slot = edge.node();
        }
    }

    /// Takes `value` away from under `prefix`; returns whether it was there. In place where it can
    /// be, like [`PrefixTree::insert_mut`].
    pub fn remove_mut(&mut self, prefix: &[u8], value: &V) -> bool {
        if !self.get(prefix).any(|there| there == value) {
            return false;
        }
        self.len -= 1;
        let steps = self.steps_to_last_that_stays(prefix);
        let Some(steps_before) = steps.checked_sub(1) else {
            Arc::make_mut(&mut self.root).take_away(prefix, value);
            return true;
        };
        let (mut slot, mut rest) = (&mut self.root, prefix);
        for _ in 0..steps_before {
            slot = Node::edge_along(slot, &mut rest).node();
        }
        let edge = Node::edge_along(slot, &mut rest);
        Arc::make_mut(edge.node()).take_away(rest, value);
        edge.simplify();
        true
    }

    /// How many steps it is along `prefix`, which is there with a value to be taken away, to the
    /// last node with a reason to stay even if the rest of the way goes.
    fn steps_to_last_that_stays(&self, prefix: &[u8]) -> usize {
        let (mut node, mut rest) = (&*self.root, prefix);
        let (mut steps, mut stays) = (0, 0);
        while let Some(End::Node(next)) = node.follow(&mut rest) {
            node = next;
            steps += 1;
            let has_reason = if rest.is_empty() {
                node.more.is_some() || !node.edges.is_empty()
            } else {
                node.first.is_some() || node.edges.len() > 1
            };
            if has_reason {
                stays = steps;
            }
        }
        stays
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

#[derive(Clone)]
struct Node<V> {
    first: Option<V>,
    /// The values after the first; shared, so that copying a path does not copy them. Never empty.
    more: Option<Arc<Vec<V>>>,
    /// The first bytes of as many edges.
    keys: [u8; KEYS],
    edges: Box<[Edge<V>]>,
}

#[derive(Clone)]
struct Edge<V> {
    /// Never empty.
    label: Label,
    end: End<V>,
}

#[derive(Clone)]
enum End<V> {
    /// One value and nothing further.
    Value(V),
    Node(Arc<Node<V>>),
}

impl<V> Node<V> {
    fn new() -> Self {
        Self {
            first: None,
            more: None,
            keys: [0; KEYS],
            edges: Box::default(),
        }
    }

    #[inline]
    fn values(&self) -> Values<'_, V> {
        values(
            self.first.as_ref(),
            self.more.as_ref().map_or(&[], |more| more),
        )
    }

    /// Where `rest` leads in one step; what is left of it then is left in it.
    #[inline]
    fn follow(&self, rest: &mut &[u8]) -> Option<&End<V>> {
        let edge = &self.edges[self.find(*rest.first()?)?];
        *rest = rest.strip_prefix(edge.label.as_bytes())?;
        Some(&edge.end)
    }

    /// The edge whose label starts with `byte`.
    #[inline]
    fn find(&self, byte: u8) -> Option<usize> {
        if self.edges.len() <= KEYS {
            self.keys[..self.edges.len()]
                .iter()
                .position(|key| *key == byte)
        } else {
            self.edges
                .binary_search_by_key(&byte, |edge| edge.label.bytes[0])
                .ok()
        }
    }

    fn add_edge(&mut self, edge: Edge<V>) {
        let at = self
            .edges
            .partition_point(|other| other.label.bytes[0] < edge.label.bytes[0]);
        let mut edges = mem::take(&mut self.edges).into_vec();
        edges.reserve_exact(1);
        edges.insert(at, edge);
        self.set_edges(edges);
    }

    fn set_edges(&mut self, edges: Vec<Edge<V>>) {
        self.edges = edges.into_boxed_slice();
        for (key, edge) in self.keys.iter_mut().zip(&self.edges) {
            *key = edge.label.bytes[0];
        }
    }
}

impl<V: Clone + PartialEq> Node<V> {
    /// The edge that leads along `rest`; there is one, and what is left of `rest` is left in it.
    fn edge_along<'a>(slot: &'a mut Arc<Self>, rest: &mut &[u8]) -> &'a mut Edge<V> {
        let at = rest.first().and_then(|byte| slot.find(*byte));
        let at = at.expect("somebody walked this way and found a value");
        let edge = &mut Arc::make_mut(slot).edges[at];
        *rest = &rest[edge.label.len()..];
        edge
    }

    fn add_value(&mut self, value: V) {
        if self.first.is_none() {
            self.first = Some(value);
        } else {
            Arc::make_mut(self.more.get_or_insert_default()).push(value);
        }
    }

    /// Takes away the edge that leads along `rest`, or `value` if this is the end of the way.
    fn take_away(&mut self, rest: &[u8], value: &V) {
        if let Some(&byte) = rest.first() {
            let mut edges = mem::take(&mut self.edges).into_vec();
            edges.retain(|edge| edge.label.bytes[0] != byte);
            self.set_edges(edges);
            return;
        }
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
}

impl<V> Edge<V> {
    /// An edge that leads along `way`, over as many nodes as it takes, to `value`.
    fn chain(way: &[u8], value: V) -> Self {
        let mut end = End::Value(value);
        let mut pieces = way.chunks(Label::MAX_LEN).rev().peekable();
        loop {
            let label = Label::new(pieces.next().unwrap_or_default());
            let edge = Self { label, end };
            if pieces.peek().is_none() {
                return edge;
            }
            let mut node = Node::new();
            node.add_edge(edge);
            end = End::Node(Arc::new(node));
        }
    }
}

impl<V: Clone> Edge<V> {
    /// Puts a node in the middle, behind the first `at` bytes of the label.
    fn split(&mut self, at: usize) {
        let (head, tail) = self.label.as_bytes().split_at(at);
        let mut node = Node::new();
        node.add_edge(Self {
            label: Label::new(tail),
            end: self.end.clone(),
        });
        *self = Self {
            label: Label::new(head),
            end: End::Node(Arc::new(node)),
        };
    }

    /// The node at the end, made if there is but a value.
    fn node(&mut self) -> &mut Arc<Node<V>> {
        if let End::Value(value) = &self.end {
            let mut node = Node::new();
            node.first = Some(value.clone());
            self.end = End::Node(Arc::new(node));
        }
        match &mut self.end {
            End::Node(node) => node,
            End::Value(_) => unreachable!("it was replaced by a node above"),
        }
    }

    /// Does without the node at the end if it has become needless.
    fn simplify(&mut self) {
        let End::Node(node) = &self.end else { return };
        let (label, end) = match (&node.first, &node.more, &*node.edges) {
            (Some(value), None, []) => (Some(self.label), End::Value(value.clone())),
            (None, _, [only]) => (self.label.join(&only.label), only.end.clone()),
            _ => return,
        };
        if let Some(label) = label {
            *self = Self { label, end };
        }
    }
}

/// Takes the tree apart without recursion; depth is up to those who choose the entries.
impl<V> Drop for Node<V> {
    fn drop(&mut self) {
        if self.edges.is_empty() {
            return;
        }
        let mut pending = mem::take(&mut self.edges).into_vec();
        while let Some(edge) = pending.pop() {
            if let End::Node(node) = edge.end
                && let Some(mut node) = Arc::into_inner(node)
            {
                pending.extend(mem::take(&mut node.edges));
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

type Values<'a, V> = std::iter::Chain<std::option::IntoIter<&'a V>, slice::Iter<'a, V>>;

#[inline]
fn values<'a, V>(first: Option<&'a V>, more: &'a [V]) -> Values<'a, V> {
    first.into_iter().chain(more)
}

/// Edges up to which their first bytes are found in the node; with them it fills a cache line.
const KEYS: usize = 16;

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

    /// Edges in the tree, and a check of what every node promises.
    fn edges<V>(tree: &PrefixTree<V>) -> usize {
        let mut pending = vec![&tree.root];
        let mut count = 0;
        while let Some(node) = pending.pop() {
            let firsts: Vec<_> = node
                .edges
                .iter()
                .map(|edge| edge.label.as_bytes()[0])
                .collect();
            assert!(firsts.is_sorted_by(|a, b| a < b));
            assert!(
                firsts
                    .iter()
                    .zip(&node.keys)
                    .all(|(first, key)| first == key)
            );
            assert!(node.first.is_some() || node.more.is_none());
            assert!(node.more.as_ref().is_none_or(|more| !more.is_empty()));
            for edge in &node.edges {
                count += 1;
                if let End::Node(node) = &edge.end {
                    assert!(node.more.is_some() || !node.edges.is_empty());
                    pending.push(node);
                }
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
    fn removing_leaves_nothing_needless_behind() {
        let one = PrefixTree::new().insert(b"/zeek/cluster/worker", 1);
        assert_eq!(edges(&one), 1);
        let two = one.insert(b"/zeek/cluster/manager", 2).insert(b"/zeek", 3);
        assert_eq!(edges(&two), 4);
        let one = two
            .remove(b"/zeek", &3)
            .remove(b"/zeek/cluster/manager", &2);
        assert_eq!(edges(&one), 1);
        assert_eq!(edges(&one.remove(b"/zeek/cluster/worker", &1)), 0);
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
        assert_eq!(edges(&tree), 0);
    }

    #[test]
    fn a_tree_as_deep_as_a_topic_is_long_is_no_danger_to_the_stack() {
        let long = vec![b'x'; 65_535];
        // Nodes of one byte each, put together from below: inserting them all takes too long.
        let mut below = Edge {
            label: Label::new(b"x"),
            end: End::Value(0),
        };
        for _ in 1..long.len() {
            let mut node = Node::new();
            node.first = Some(0);
            node.add_edge(below);
            below = Edge {
                label: Label::new(b"x"),
                end: End::Node(Arc::new(node)),
            };
        }
        let mut tree = PrefixTree::new();
        Arc::make_mut(&mut tree.root).add_edge(below);
        tree.len = long.len();

        let copy = tree.insert(&long, 1).remove(&long[..10], &0);
        let mut found = 0;
        copy.for_each_match(&long, |_| found += 1);
        assert_eq!(found, long.len());
        assert_eq!(copy.iter().take(10).count(), 10);
        drop(tree);
        drop(copy);
    }

    #[test]
    fn nodes_with_few_and_with_many_edges_find_them_all() {
        let mut tree = PrefixTree::new();
        for byte in (0..=255).rev() {
            tree.insert_mut(&[b'x', byte], byte);
            assert_eq!(
                edges(&tree),
                usize::from(u8::MAX - byte) + 1 + usize::from(byte < 255)
            );
            for other in 0..=255 {
                let found = matches(&tree, &[b'x', other, 0]);
                assert_eq!(
                    found,
                    (other >= byte)
                        .then_some(other)
                        .into_iter()
                        .collect::<Vec<_>>()
                );
            }
        }
        for byte in 0..=255 {
            assert!(tree.remove_mut(&[b'x', byte], &byte));
            assert_eq!(tree.has_match(&[b'x', 255]), byte < 255);
            edges(&tree);
        }
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
                prop_assert!(edges(&tree) <= model.iter().map(|(p, _)| p.len() + 1).sum());
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
