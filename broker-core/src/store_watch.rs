//! Watching a store: what can be asked for, and what comes.
//!
//! A watch tells every change of the keys it is about, in the order of application. Whoever remembers the last
//! [`Revision`] it was told can ask for the rest later: the changes since then are told first if the store still knows
//! them, and else the whole content once more.

use crate::data::Data;
use crate::store_access::{StoreChange, StoreEntry};
use crate::store_report::Revision;
use crate::transport::BoxFuture;

/// What to watch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WatchRequest {
    /// Which keys.
    pub keys: WatchKeys,
    /// The last revision that was told before; `None`: only what happens from now on.
    pub from: Option<Revision>,
}

/// Which keys a watch is about.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum WatchKeys {
    /// All of them.
    #[default]
    All,
    /// This one.
    Key(Data),
    /// Those that begin with this: strings with the same bytes, vectors with the same elements, addresses and subnets
    /// inside the subnet.
    Prefix(Data),
}

/// A running watch; dropping it ends the watch.
pub trait StoreWatch: Send {
    /// What comes next, or `None` when the store is gone or the watch was too slow.
    ///
    /// # Cancel safety
    /// Safe: nothing is lost if the future is dropped.
    fn next(&mut self) -> BoxFuture<'_, Option<WatchItem>>;
}

impl WatchKeys {
    /// Whether `key` is one of them.
    #[must_use]
    pub fn contain(&self, key: &Data) -> bool {
        match self {
            Self::All => true,
            Self::Key(wanted) => key == wanted,
            Self::Prefix(prefix) => has_prefix(key, prefix),
        }
    }
}

fn has_prefix(key: &Data, prefix: &Data) -> bool {
    match (key, prefix) {
        (Data::String(key), Data::String(prefix)) => key.starts_with(prefix.as_slice()),
        (Data::Vector(key), Data::Vector(prefix)) => key.starts_with(prefix),
        (Data::Address(key), Data::Subnet(prefix)) => prefix.contains(*key),
        (Data::Subnet(key), Data::Subnet(prefix)) => {
            prefix.contains(key.address) && key.length >= prefix.length
        }
        _ => key == prefix,
    }
}

/// What a watch tells.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum WatchItem {
    /// Everything up to this revision has been told; the first item, and repeated after a [`Reset`](Self::Reset) and when
    /// the revision moves without a change of the keys watched. `None` where the master keeps no revisions (a C++ one).
    Position(Option<Revision>),
    /// A change, and the revision to go on from once it is dealt with.
    Change {
        /// The revision.
        revision: Option<Revision>,
        /// The change.
        change: StoreChange,
    },
    /// What has changed since the revision asked for is not known any more: the entries of now follow, each as an
    /// [`Entry`](Self::Entry), then a position. What was known before and is not among them is gone.
    Reset,
    /// One entry as it is now.
    Entry(StoreEntry),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_one_of_strings_vectors_and_networks() {
        let prefix = |prefix: Data| WatchKeys::Prefix(prefix);
        assert!(prefix("ab".into()).contain(&"abc".into()));
        assert!(!prefix("ab".into()).contain(&"a".into()));
        assert!(prefix(Data::vector(["a"])).contain(&Data::vector(["a", "b"])));
        assert!(!prefix(Data::vector(["a"])).contain(&"a".into()));
        let net: Data = "10.0.0.0/8".parse::<crate::Subnet>().unwrap().into();
        let inside: Data = "10.1.2.3".parse::<crate::Address>().unwrap().into();
        let outside: Data = "11.1.2.3".parse::<crate::Address>().unwrap().into();
        assert!(prefix(net.clone()).contain(&inside) && !prefix(net.clone()).contain(&outside));
        let part: Data = "10.1.0.0/16".parse::<crate::Subnet>().unwrap().into();
        assert!(prefix(net.clone()).contain(&part) && !prefix(part).contain(&net));
        assert!(WatchKeys::Key(1u64.into()).contain(&1u64.into()));
        assert!(!WatchKeys::Key(1u64.into()).contain(&2u64.into()));
    }
}
