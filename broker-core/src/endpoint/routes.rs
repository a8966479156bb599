//! The routing table: who gets a topic. A snapshot is immutable and read without a lock.
//!
//! Each kind of receiver has a persistent prefix tree of its own, so that one more subscription costs
//! the length of its prefix and not a copy of the table.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;

use super::command::CommandSink;
use super::link::Link;
use super::local::LocalSink;
use crate::filter::Filter;
use crate::id::EndpointId;
use crate::prefix_tree::PrefixTree;

/// A shared receiver, equal only to itself.
#[derive(Debug)]
pub(crate) struct Ref<T>(Arc<T>);

impl<T> Ref<T> {
    pub(crate) const fn new(inner: Arc<T>) -> Self {
        Self(inner)
    }

    pub(crate) const fn arc(&self) -> &Arc<T> {
        &self.0
    }
}

impl<T> Clone for Ref<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> PartialEq for Ref<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T> Deref for Ref<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// One snapshot of the table.
#[derive(Clone, Debug, Default)]
pub(crate) struct Routes {
    /// Peers by the filters they announced.
    pub(crate) links: PrefixTree<Ref<Link>>,
    /// Subscribers and hubs.
    pub(crate) locals: PrefixTree<Ref<LocalSink>>,
    /// Command ports.
    pub(crate) commands: PrefixTree<Ref<CommandSink>>,
    /// Peers by ID.
    pub(crate) by_id: Arc<HashMap<EndpointId, Ref<Link>>>,
}

/// Replaces the prefixes of `value` in `tree`: those of `old` that `new` lacks go, the others come.
pub(crate) fn move_prefixes<V: Clone + PartialEq>(
    tree: &mut PrefixTree<V>,
    old: &Filter,
    new: &Filter,
    value: &V,
) {
    for prefix in old.iter().filter(|prefix| !new.contains(prefix)) {
        tree.remove_mut(prefix.as_bytes(), value);
    }
    for prefix in new.iter().filter(|prefix| !old.contains(prefix)) {
        tree.insert_mut(prefix.as_bytes(), value.clone());
    }
}
