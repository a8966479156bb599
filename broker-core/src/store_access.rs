//! The door to a node's stores for the crates that must not know them: what the gRPC Store service
//! calls, and broker-store implements.
//!
//! Operations are those of the broker-wire reference, 8.2, plus what tools need (pages of entries, watching).

use std::any::Any;
use std::path::Path;
use std::time::Duration;

use crate::code::ErrorCode;
use crate::data::Data;
use crate::store_report::VerifyReport;
use crate::store_watch::{StoreWatch, WatchRequest};
use crate::transport::BoxFuture;

/// The stores of one node.
pub trait StoreAccess: Any + Send + Sync {
    /// The names of the stores there are, sorted.
    fn store_names(&self) -> Vec<String>;

    /// Does `operation` on the store called `store`. A write is done when the master has applied it and
    /// holds it as durably as configured.
    ///
    /// # Cancel safety
    /// A dropped future may leave a write applied or not.
    fn execute<'a>(
        &'a self,
        store: &'a str,
        operation: StoreOperation,
    ) -> BoxFuture<'a, Result<StoreReply, StoreFailure>>;

    /// Does all of `operations` on the store called `store` in their order, and answers each, whatever became of the
    /// others. A store that can begins them together, so that those that arrive together are one transaction; unless said
    /// otherwise they are done one after the other.
    ///
    /// # Errors
    /// There is no such store, which is told for no operations as well.
    ///
    /// # Cancel safety
    /// A dropped future may leave each write applied or not.
    fn execute_all<'a>(
        &'a self,
        store: &'a str,
        operations: Vec<StoreOperation>,
    ) -> BoxFuture<'a, Result<Vec<Result<StoreReply, StoreFailure>>, StoreFailure>> {
        Box::pin(async move {
            let available = self.store_names();
            if !available.iter().any(|name| name == store) {
                return Err(StoreFailure::NoSuchStore {
                    name: store.to_owned(),
                    available,
                });
            }
            let mut replies = Vec::with_capacity(operations.len());
            for operation in operations {
                replies.push(self.execute(store, operation).await);
            }
            Ok(replies)
        })
    }

    /// Starts to watch the store called `store`; see [`WatchItem`](crate::WatchItem) for what comes.
    fn watch<'a>(
        &'a self,
        store: &'a str,
        request: WatchRequest,
    ) -> BoxFuture<'a, Result<Box<dyn StoreWatch>, StoreFailure>>;

    /// Copies the store called `store` to the file `to` of this machine while the store goes on. Refused unless said
    /// otherwise.
    ///
    /// # Cancel safety
    /// If the future is dropped, the copy goes on to its end or fails.
    fn backup<'a>(
        &'a self,
        store: &'a str,
        to: &'a Path,
    ) -> BoxFuture<'a, Result<(), StoreFailure>> {
        let _ = (store, to);
        Box::pin(async {
            Err(StoreFailure::Code {
                code: ErrorCode::BackendFailure,
                detail: "stores of this kind cannot be backed up".to_owned(),
            })
        })
    }
}

/// One operation on a store. `expiry` is relative to the moment the master applies it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum StoreOperation {
    /// The value of a key.
    Get(Data),
    /// Whether a key exists.
    Exists(Data),
    /// All keys, as a set.
    Keys,
    /// Membership or element of the container at `key`.
    GetIndex {
        /// The key.
        key: Data,
        /// The element, table key or vector index.
        index: Data,
    },
    /// Stores a value, replacing what was there.
    Put {
        /// The key.
        key: Data,
        /// The value.
        value: Data,
        /// After how long it vanishes.
        expiry: Option<Duration>,
    },
    /// Stores a value only if the key is free; answers whether it did.
    PutUnique {
        /// The key.
        key: Data,
        /// The value.
        value: Data,
        /// After how long it vanishes.
        expiry: Option<Duration>,
    },
    /// Removes a key; a missing one is no error.
    Erase(Data),
    /// Removes everything.
    Clear,
    /// Adds `amount` to the number or time at `key`.
    Increment {
        /// The key.
        key: Data,
        /// How much.
        amount: Data,
        /// After how long it vanishes.
        expiry: Option<Duration>,
    },
    /// Subtracts `amount` from the number or time at `key`.
    Decrement {
        /// The key.
        key: Data,
        /// How much.
        amount: Data,
        /// After how long it vanishes.
        expiry: Option<Duration>,
    },
    /// Appends to the string at `key`.
    Append {
        /// The key.
        key: Data,
        /// The string.
        value: Data,
        /// After how long it vanishes.
        expiry: Option<Duration>,
    },
    /// Inserts into the set (no value) or table (with value) at `key`.
    InsertInto {
        /// The key.
        key: Data,
        /// The element or table key.
        index: Data,
        /// The table value.
        value: Option<Data>,
        /// After how long it vanishes.
        expiry: Option<Duration>,
    },
    /// Removes an element from the set or table at `key`.
    RemoveFrom {
        /// The key.
        key: Data,
        /// The element or table key.
        index: Data,
        /// After how long it vanishes.
        expiry: Option<Duration>,
    },
    /// Appends a value to the vector at `key`.
    Push {
        /// The key.
        key: Data,
        /// The value.
        value: Data,
        /// After how long it vanishes.
        expiry: Option<Duration>,
    },
    /// Removes the last element of the vector at `key`.
    Pop {
        /// The key.
        key: Data,
        /// After how long it vanishes.
        expiry: Option<Duration>,
    },
    /// Stores or erases a value if the key has the expected one; answers whether it did.
    CompareAndSet {
        /// The key.
        key: Data,
        /// What must be there; `None`: nothing.
        expected: Option<Data>,
        /// What is there afterwards; `None`: nothing.
        value: Option<Data>,
        /// After how long it vanishes; `None`: never.
        expiry: Option<Duration>,
    },
    /// Compares all copies of the store with the master; answers with a [`VerifyReport`].
    Verify,
    /// A page of entries in key order.
    Scan {
        /// Only keys after this one.
        after: Option<Data>,
        /// At most so many; the store may return fewer, and returns none only at the end.
        limit: usize,
    },
}

/// The answer to a [`StoreOperation`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum StoreReply {
    /// Done; there is nothing more to say.
    Done,
    /// A value: get, keys (a set), get-index, exists and put-unique (a boolean).
    Value(Data),
    /// A page of entries.
    Entries(Vec<StoreEntry>),
    /// What a comparison of all copies found.
    Verified(VerifyReport),
}

/// One entry of a store.
#[derive(Clone, Debug, PartialEq)]
pub struct StoreEntry {
    /// The key.
    pub key: Data,
    /// The value.
    pub value: Data,
    /// How long it still has; `None` is for ever (or unknown at a clone).
    pub expires_in: Option<Duration>,
}

/// One change of a store (broker-wire reference, 7.9).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum StoreChange {
    /// A new key.
    Insert {
        /// The key.
        key: Data,
        /// Its value.
        value: Data,
        /// Its lifetime.
        expiry: Option<Duration>,
    },
    /// A new value for a key.
    Update {
        /// The key.
        key: Data,
        /// What was there.
        old: Data,
        /// What is there now.
        new: Data,
        /// Its lifetime.
        expiry: Option<Duration>,
    },
    /// A key was removed.
    Erase {
        /// The key.
        key: Data,
    },
    /// A key's time was up.
    Expire {
        /// The key.
        key: Data,
    },
}

/// Why a store operation failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreFailure {
    /// This node has no store of that name.
    #[error("no store {name:?} here")]
    NoSuchStore {
        /// The name asked for.
        name: String,
        /// The stores there are.
        available: Vec<String>,
    },
    /// The store answered with an error of the framework, for example `no_such_key` or `type_clash`.
    #[error("{}", code.name())]
    Code {
        /// The framework's code.
        code: ErrorCode,
        /// More about it, possibly empty.
        detail: String,
    },
}
