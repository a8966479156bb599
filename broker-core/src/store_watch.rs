//! Watching a store: what can be asked for, and what comes.
//!
//! A watch tells every change of the keys it is about, in the order of application. Whoever remembers the last
//! [`Revision`] it was told can ask for the rest later: the changes since then are told first if the store still knows
//! them, and else the whole content once more.

use crate::data::Data;
use crate::store_access::{StoreChange, StoreEntry};
use crate::store_report::Revision;

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
