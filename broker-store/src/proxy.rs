//! A store by requests and answers: calls that do not wait, and a mailbox.
//!
//! For tasks that have many requests under way at once, and for those that cannot wait where they ask. It is the
//! counterpart of C++ Broker's `store::proxy` (broker-wire reference, 8.2), with writes answered as well.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use broker_core::{Data, StoreOperation};
use tokio::runtime::Handle;
use tokio::sync::mpsc::error::TrySendError;

use crate::driver::{Ask, Asked, Caller};
use crate::mailbox::{Mailbox, Response};
use crate::store::{Begun, Store};

/// Requests to a store whose answers come to a mailbox. Cloning is cheap and gives another handle to the same mailbox.
///
/// Every call below returns the request's number at once, and the answer arrives with that number, within the store's
/// request timeout. Writes are carried out in the order they were made, and reads of a master between them; reads of a
/// clone are answered from its copy as it is at the call, and those of a handle without a copy may overtake writes. At most `capacity` requests are under way or answered and not taken; what is beyond is
/// refused as [`Full`](ProxyError::Full): take an answer, or wait for [`room`](Self::room).
///
/// ```
/// # use broker_core::Endpoint;
/// # use broker_store::{MasterOptions, Memory, StoreExt};
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// # let node = Endpoint::builder().start();
/// # let hosts = node.attach_master("hosts", Memory::new(), MasterOptions::default()).await?;
/// let proxy = hosts.proxy();
/// for host in 0..10_000u64 {
///     while proxy.put(host, 1u64, None).is_err() {
///         proxy.recv().await.expect("the store lives").result?;
///     }
/// }
/// while !proxy.is_idle() {
///     proxy.recv().await.expect("the store lives").result?;
/// }
/// assert_eq!(hosts.len(), 10_000);
/// # node.shutdown().await;
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct StoreProxy {
    store: Store,
    mailbox: Arc<Mailbox>,
    runtime: Handle,
}

/// Why a request was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// As many requests are under way, or answered and not taken, as may be; or the store has too many of others.
    #[error("too many requests are under way")]
    Full,
    /// The store is closed.
    #[error("shutting_down")]
    Closed,
}

impl StoreProxy {
    /// How many requests a proxy has under way at most, unless chosen otherwise.
    pub const CAPACITY: NonZeroUsize = NonZeroUsize::new(4096).expect("4096 is not zero");

    pub(crate) fn new(store: Store, capacity: NonZeroUsize, limit: Duration) -> Self {
        Self {
            store,
            mailbox: Arc::new(Mailbox::new(capacity, limit)),
            runtime: Handle::current(),
        }
    }

    /// The store.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    // --- answers -----------------------------------------------------------------------------------

    /// Waits for the next answer; `None` once the store is closed and every request has been answered.
    ///
    /// # Cancel safety
    /// Safe: no answer is lost if the future is dropped.
    pub async fn recv(&self) -> Option<Response> {
        loop {
            if let Some(response) = self.mailbox.take() {
                return Some(response);
            }
            let is_closed = self.store.is_closed();
            if is_closed && self.is_idle() {
                self.mailbox.wake();
                return None;
            }
            tokio::select! {
                () = self.mailbox.arrival() => {}
                () = self.store.asks().closed(), if !is_closed => {}
            }
        }
    }

    /// The next answer, if there is one now.
    #[must_use]
    pub fn try_recv(&self) -> Option<Response> {
        self.mailbox.take()
    }

    /// How many answers are there to be taken.
    #[must_use]
    pub fn len(&self) -> usize {
        self.mailbox.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many requests are not answered yet.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.mailbox.waiting()
    }

    /// Whether every request has been answered and every answer taken.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.waiting() == 0 && self.is_empty()
    }

    /// Waits until a request can be made; another user of the proxy may be faster. If only this task takes answers, take
    /// one instead: room does not come by itself.
    ///
    /// # Errors
    /// The store is closed.
    ///
    /// # Cancel safety
    /// Safe: it changes nothing.
    pub async fn room(&self) -> Result<(), ProxyError> {
        self.mailbox.room().await;
        let permit = self.store.asks().reserve().await;
        permit.map(drop).map_err(|_| ProxyError::Closed)
    }

    // --- requests ----------------------------------------------------------------------------------

    /// Asks for any operation; what all calls below come down to.
    ///
    /// # Errors
    /// See [`ProxyError`]; this holds for all calls below.
    pub fn execute(&self, operation: StoreOperation) -> Result<u64, ProxyError> {
        // Room in the store's queue first: a number that was given is answered.
        let permit = self.store.asks().try_reserve().map_err(|full| match full {
            TrySendError::Full(()) => ProxyError::Full,
            TrySendError::Closed(()) => ProxyError::Closed,
        })?;
        let ticket = self.mailbox.begin().ok_or(ProxyError::Full)?;
        let id = ticket.id();
        match self.store.begin(operation) {
            Begun::Answered(answer) => ticket.answer(answer),
            Begun::Asks(what) => permit.send(Asked::One(Ask {
                what,
                answer: Caller::Mailbox(ticket),
            })),
            Begun::Waits(operation) => {
                let store = self.store.clone();
                self.runtime
                    .spawn(async move { ticket.answer(store.execute(operation).await) });
            }
        }
        Ok(id)
    }

    /// Stores a value; answered with [`StoreReply::Done`](broker_core::StoreReply::Done), as all writes but
    /// [`put_unique`](Self::put_unique) and [`compare_and_set`](Self::compare_and_set) are.
    #[expect(clippy::missing_errors_doc, reason = "said at `execute`")]
    pub fn put(
        &self,
        key: impl Into<Data>,
        value: impl Into<Data>,
        expiry: Option<Duration>,
    ) -> Result<u64, ProxyError> {
        self.execute(StoreOperation::Put {
            key: key.into(),
            value: value.into(),
            expiry,
        })
    }

    /// Stores a value if the key is free; answered with whether it did.
    #[expect(clippy::missing_errors_doc, reason = "said at `execute`")]
    pub fn put_unique(
        &self,
        key: impl Into<Data>,
        value: impl Into<Data>,
        expiry: Option<Duration>,
    ) -> Result<u64, ProxyError> {
        self.execute(StoreOperation::PutUnique {
            key: key.into(),
            value: value.into(),
            expiry,
        })
    }

    /// Stores or erases a value if the key has the expected one; answered with whether it did. See
    /// [`Store::compare_and_set`].
    #[expect(clippy::missing_errors_doc, reason = "said at `execute`")]
    pub fn compare_and_set(
        &self,
        key: impl Into<Data>,
        expected: Option<Data>,
        value: Option<Data>,
        expiry: Option<Duration>,
    ) -> Result<u64, ProxyError> {
        self.execute(StoreOperation::CompareAndSet {
            key: key.into(),
            expected,
            value,
            expiry,
        })
    }

    /// Removes a key.
    #[expect(clippy::missing_errors_doc, reason = "said at `execute`")]
    pub fn erase(&self, key: impl Into<Data>) -> Result<u64, ProxyError> {
        self.execute(StoreOperation::Erase(key.into()))
    }

    /// Removes everything.
    #[expect(clippy::missing_errors_doc, reason = "said at `execute`")]
    pub fn clear(&self) -> Result<u64, ProxyError> {
        self.execute(StoreOperation::Clear)
    }

    /// Adds to a number or time.
    #[expect(clippy::missing_errors_doc, reason = "said at `execute`")]
    pub fn increment(
        &self,
        key: impl Into<Data>,
        amount: impl Into<Data>,
        expiry: Option<Duration>,
    ) -> Result<u64, ProxyError> {
        self.execute(StoreOperation::Increment {
            key: key.into(),
            amount: amount.into(),
            expiry,
        })
    }

    /// Subtracts from a number or time.
    #[expect(clippy::missing_errors_doc, reason = "said at `execute`")]
    pub fn decrement(
        &self,
        key: impl Into<Data>,
        amount: impl Into<Data>,
        expiry: Option<Duration>,
    ) -> Result<u64, ProxyError> {
        self.execute(StoreOperation::Decrement {
            key: key.into(),
            amount: amount.into(),
            expiry,
        })
    }

    /// Asks for the value at a key; answered with it, or with `no_such_key`.
    #[expect(clippy::missing_errors_doc, reason = "said at `execute`")]
    pub fn get(&self, key: impl Into<Data>) -> Result<u64, ProxyError> {
        self.execute(StoreOperation::Get(key.into()))
    }

    /// Asks whether there is a value at a key; answered with a boolean.
    #[expect(clippy::missing_errors_doc, reason = "said at `execute`")]
    pub fn exists(&self, key: impl Into<Data>) -> Result<u64, ProxyError> {
        self.execute(StoreOperation::Exists(key.into()))
    }

    /// Asks for all keys; answered with a set.
    #[expect(clippy::missing_errors_doc, reason = "said at `execute`")]
    pub fn keys(&self) -> Result<u64, ProxyError> {
        self.execute(StoreOperation::Keys)
    }

    /// Asks what an index finds in the value at a key; see [`Store::get_index_from_value`]. Answered with
    /// `no_such_key` if there is nothing.
    #[expect(clippy::missing_errors_doc, reason = "said at `execute`")]
    pub fn get_index_from_value(
        &self,
        key: impl Into<Data>,
        index: impl Into<Data>,
    ) -> Result<u64, ProxyError> {
        self.execute(StoreOperation::GetIndex {
            key: key.into(),
            index: index.into(),
        })
    }
}
