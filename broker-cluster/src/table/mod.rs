//! Tables that nodes share: Zeek's globals with `&backend` ([`BrokerTable`], [`BrokerSet`]), which a store keeps, and those
//! with `&publish_on_change` ([`PublishedTable`]), which nobody keeps.
//!
//! # Tables in a store
//!
//! ```
//! use std::time::Duration;
//!
//! use broker_cluster::table::BrokerTable;
//! use broker_core::Endpoint;
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let node = Endpoint::builder().name("manager").feature(broker_store::FEATURE).start();
//! let seen = BrokerTable::<String, u64>::builder(&node, "Hosts::seen").open().await?;
//! seen.insert("alpha".to_owned(), 1)?;
//! seen.update("alpha".to_owned(), |times| Some(times.copied().unwrap_or(0) + 1))?;
//! assert_eq!(seen.get("alpha"), Some(2));
//! assert!(seen.flush(Duration::from_secs(10)).await); // the master has it
//! node.shutdown().await;
//! # Ok::<(), Box<dyn std::error::Error>>(()) })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The store is called `___sync_store_` and the table's name, as Zeek calls it; its master is on the manager and clones are
//! elsewhere, and each node's table is a typed view of its own copy (reference, zeek-cluster 4.5).
//!
//! ## What is promised
//!
//! * **Own writes are seen at once** by every handle of the table on the node, and stay until the master has answered.
//! * **One order.** Writes of one table reach the master in the order they were made, one by one. All nodes see all writes
//!   in the order in which the master has applied them. So whoever sees a write sees what was written before it there.
//! * **The last writer at the master wins.** If others write the same element, what the master had before ours is never seen
//!   here, and what it has behind ours replaces ours, with a change that tells both. An element never goes back to an older
//!   value, but for one case: a write that fails (below).
//! * **All copies end equal**: once nobody writes and the writes are answered, every table holds what the master holds. Two
//!   nodes can briefly disagree, and `update` on two nodes at once may lose one of the two.
//! * **A write outlives the master.** What was under way when the master went is sent again to the next one: a value that
//!   another node wrote between the two may be overwritten, and such a write may come behind later ones to other elements.
//!   `clear` alone is not repeated; it fails.
//! * **A write that fails is undone and told**: the element is again what the store says, the change is told like any other,
//!   and [`BrokerTable::problems`] and [`BrokerTable::counters`] say why. Without a master, writes are kept for two minutes and
//!   then fail one by one.
//! * **The queue of writes is bounded**: 65 536 writes or 64 MiB unless chosen otherwise. A write beyond is refused
//!   ([`TableError::Full`]) and changes nothing.
//! * **Elements expire when the master says so**, on all nodes in the same place among the writes; never by the clock of
//!   another node, and not while the master is away.
//! * Reads take a lock for one lookup, or for a page of 256 elements; nobody holds it while waiting for anything.
//!
//! If more than 8192 changes come at once, faster than a table takes them, it reads all of its store again
//! ([`TableProblem::Reread`]); until it is through, elements may show values that are not the latest, in any order.

mod announce;
mod builder;
mod change;
mod driver;
mod error;
mod handle;
mod published;
mod set;
mod state;

pub use self::builder::{TableBackend, TableBuilder};
pub use self::change::{TableChange, TableChanges};
pub use self::error::{TableError, TableProblem};
pub use self::handle::{BrokerTable, Iter, TableCounters};
pub use self::published::{
    CHANGE_EVENT, ChangeHeader, ChangeInfo, ChangeKind, PublishedCounters, PublishedTable,
    PublishedTableBuilder,
};
pub use self::set::{BrokerSet, Member};

pub(crate) use self::announce::{Tables, clone_options};

/// In front of a table's name in the name of its store.
pub const STORE_PREFIX: &str = "___sync_store_";

/// The longest name of a table, in bytes: file systems end at 255, with the prefix and a suffix.
pub const MAX_NAME: usize = 200;

/// The name of the store behind the table called `name`.
#[must_use]
pub fn store_name(name: &str) -> String {
    format!("{STORE_PREFIX}{name}")
}

/// Whether a global in Zeek can have this name: identifiers with `::` between them.
#[must_use]
pub fn is_table_name(name: &str) -> bool {
    let is_identifier = |part: &str| {
        let first = part.bytes().next();
        first.is_some_and(|first| !first.is_ascii_digit())
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    name.len() <= MAX_NAME && name.split("::").all(is_identifier)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_tables_are_those_of_globals() {
        for name in ["seen", "Hosts::seen", "A::B::c_2", "_x"] {
            assert!(is_table_name(name), "{name}");
        }
        for name in ["", "::x", "a:b", "a::", "a/b", "2x", "a b", "..", "ä"] {
            assert!(!is_table_name(name), "{name}");
        }
        assert!(!is_table_name(&"x".repeat(MAX_NAME + 1)));
        assert_eq!(store_name("Hosts::seen"), "___sync_store_Hosts::seen");
    }
}
