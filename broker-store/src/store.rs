//! The handle of a store: what applications call.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use broker_core::{
    Data, ErrorCode, QueueOptions, Revision, Set, StoreEntry, StoreOperation, StoreReply,
    VerifyReport, WatchKeys, WatchRequest,
};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::{Instant, timeout, timeout_at};

use crate::backend::{BackendError, Backup};
use crate::clone::{CloneView, Freshness};
use crate::command::Question;
use crate::content::Content;
use crate::driver::{
    Answer, Ask, Asked, Caller, ChannelFigures, Clock, MAX_BATCH, MAX_TOGETHER, Position, Shared,
    WatchAsk, What,
};
use crate::error::StoreError;
use crate::follow::StoreWatcher;
use crate::master::{remaining, report};
use crate::proxy::StoreProxy;
use crate::semantics;
use crate::watch::{self as watching, StoreEvents};

/// A handle to a master or clone on this node. Cloning is cheap and gives another handle to the same store, which lives
/// until its endpoint shuts down.
///
/// A write returns when the master has applied it and holds it as durably as configured, or with the master's error; on a
/// clone of ours the change is visible by then. Reads of a clone are local. Every call ends within the request timeout;
/// an `expiry` is counted from the moment the master applies the write.
///
/// # Cancel safety
/// A future that is dropped leaves a write applied or not.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

/// What a store on this node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// It has the entries.
    Master,
    /// It has a copy of them.
    Clone,
    /// It has none and asks the master.
    Remote,
}

impl Role {
    /// Its name in status reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Master => "master",
            Self::Clone => "clone",
            Self::Remote => "remote",
        }
    }
}

pub(crate) struct Inner {
    pub(crate) name: Arc<str>,
    pub(crate) role: Role,
    pub(crate) backend: String,
    pub(crate) asks: mpsc::Sender<Asked>,
    /// The room in `asks` for requests that are taken together.
    pub(crate) together: Arc<Semaphore>,
    pub(crate) copy: Option<Copy>,
    /// What copies the master's backend while it runs.
    pub(crate) backup: Option<Backup>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) clock: Clock,
    pub(crate) request_timeout: Duration,
}

/// How an operation goes on from its beginning.
pub(crate) enum Begun {
    /// Here is the answer.
    Answered(Answer),
    /// The store's task is to be asked.
    Asks(What),
    /// It takes several steps.
    Waits(StoreOperation),
}

/// What only a clone has.
pub(crate) struct Copy {
    pub(crate) view: Arc<CloneView>,
    pub(crate) freshness: watch::Receiver<Freshness>,
    pub(crate) get_delay: Duration,
}

impl Store {
    pub(crate) fn new(inner: Inner) -> Self {
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The store's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Whether this is the master, a clone, or a handle without a copy.
    #[must_use]
    pub fn role(&self) -> Role {
        self.inner.role
    }

    /// What the entries are kept in: `memory`, `sqlite`, `sled`, or a name of a user's backend.
    #[must_use]
    pub fn backend(&self) -> &str {
        &self.inner.backend
    }

    /// How many entries there are here; none behind a handle without a copy.
    #[must_use]
    pub fn len(&self) -> u64 {
        match &self.inner.copy {
            Some(copy) => copy.view.content.len() as u64,
            None => self.inner.shared.position().entries,
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where the content is in the history of the store, how far behind the master, and its digest: two copies at the same
    /// revision hold the same, and have the same digest.
    #[must_use]
    pub fn position(&self) -> Position {
        self.inner.shared.position()
    }

    /// The channels to and from other copies, as of the last tenth of a second.
    #[must_use]
    pub fn channels(&self) -> ChannelFigures {
        self.inner.shared.channels()
    }

    /// Where the content is in the history of the store: it moves with every change. `None` if that is not known, as
    /// behind a C++ master.
    #[must_use]
    pub fn revision(&self) -> Option<Revision> {
        self.position().revision
    }

    /// Whether the deadlines of entries are known here: at the master, and where it is asked. A clone knows them as far as
    /// its master has told.
    #[must_use]
    pub fn knows_expiries(&self) -> bool {
        self.inner
            .copy
            .as_ref()
            .is_none_or(|copy| copy.view.is_remote())
    }

    /// How fresh the content is; a master's always is.
    #[must_use]
    pub fn freshness(&self) -> Freshness {
        self.inner
            .copy
            .as_ref()
            .map_or(Freshness::Live, |copy| copy.view.freshness())
    }

    /// Whether the store is closed, since its endpoint shut down or its backend broke.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.inner.asks.is_closed()
    }

    /// Writes a copy of the master's entries to the file `to` while the store goes on; `to` is replaced when the copy is
    /// complete and on disk. It holds everything acknowledged before the call, and opens as a store of its own.
    ///
    /// # Errors
    /// [`StoreError::Backend`]: this is no master, its backend cannot be copied (then dump the entries), or the copy cannot
    /// be written; `to` is as it was.
    ///
    /// # Cancel safety
    /// A backup whose future is dropped goes on to its end.
    pub async fn backup(&self, to: &Path) -> Result<(), StoreError> {
        if self.is_closed() {
            return Err(StoreError::Closed);
        }
        let Some(backup) = self.inner.backup.clone() else {
            return Err(match self.role() {
                Role::Master => report(BackendError::NoBackup {
                    backend: self.backend().to_owned(),
                }),
                _ => StoreError::Backend {
                    report: "only the node that has the master can back the store up".to_owned(),
                },
            });
        };
        let to = to.to_owned();
        match tokio::task::spawn_blocking(move || backup.run(&to, |_| {})).await {
            Ok(result) => result.map_err(report),
            // The runtime shuts down, or a backend of a user's panicked.
            Err(_) => Err(StoreError::Closed),
        }
    }

    // --- writing ---------------------------------------------------------------------------------

    /// Stores a value, replacing what was there, its expiry included.
    ///
    /// # Errors
    /// See [`StoreError`]; this holds for all calls below.
    pub async fn put(
        &self,
        key: impl Into<Data>,
        value: impl Into<Data>,
        expiry: Option<Duration>,
    ) -> Result<(), StoreError> {
        self.write(StoreOperation::Put {
            key: key.into(),
            value: value.into(),
            expiry,
        })
        .await
    }

    /// Stores a value only if the key is free. Returns whether it did.
    #[expect(clippy::missing_errors_doc, reason = "said at `put`")]
    pub async fn put_unique(
        &self,
        key: impl Into<Data>,
        value: impl Into<Data>,
        expiry: Option<Duration>,
    ) -> Result<bool, StoreError> {
        let reply = self
            .execute(StoreOperation::PutUnique {
                key: key.into(),
                value: value.into(),
                expiry,
            })
            .await?;
        Ok(matches!(reply, StoreReply::Value(Data::Boolean(true))))
    }

    /// Stores `value` (or, with `None`, erases what is there) if the key has the value `expected` (`None`: if it is free).
    /// Returns whether it did.
    #[expect(clippy::missing_errors_doc, reason = "said at `put`")]
    pub async fn compare_and_set(
        &self,
        key: impl Into<Data>,
        expected: Option<Data>,
        value: Option<Data>,
        expiry: Option<Duration>,
    ) -> Result<bool, StoreError> {
        let reply = self
            .execute(StoreOperation::CompareAndSet {
                key: key.into(),
                expected,
                value,
                expiry,
            })
            .await?;
        Ok(matches!(reply, StoreReply::Value(Data::Boolean(true))))
    }

    /// Removes a key; a missing one is no error.
    #[expect(clippy::missing_errors_doc, reason = "said at `put`")]
    pub async fn erase(&self, key: impl Into<Data>) -> Result<(), StoreError> {
        self.write(StoreOperation::Erase(key.into())).await
    }

    /// Removes everything.
    #[expect(clippy::missing_errors_doc, reason = "said at `put`")]
    pub async fn clear(&self) -> Result<(), StoreError> {
        self.write(StoreOperation::Clear).await
    }

    /// Adds to a number, or moves a timestamp by a timespan. A missing key starts from zero, or from the epoch for a
    /// timespan. Without an `expiry` the entry keeps its own; so do all calls below.
    #[expect(clippy::missing_errors_doc, reason = "said at `put`")]
    pub async fn increment(
        &self,
        key: impl Into<Data>,
        amount: impl Into<Data>,
        expiry: Option<Duration>,
    ) -> Result<(), StoreError> {
        self.write(StoreOperation::Increment {
            key: key.into(),
            amount: amount.into(),
            expiry,
        })
        .await
    }

    /// Subtracts from a number or time; the key has to be there.
    #[expect(clippy::missing_errors_doc, reason = "said at `put`")]
    pub async fn decrement(
        &self,
        key: impl Into<Data>,
        amount: impl Into<Data>,
        expiry: Option<Duration>,
    ) -> Result<(), StoreError> {
        self.write(StoreOperation::Decrement {
            key: key.into(),
            amount: amount.into(),
            expiry,
        })
        .await
    }

    /// Appends to a string; a missing key starts empty.
    #[expect(clippy::missing_errors_doc, reason = "said at `put`")]
    pub async fn append(
        &self,
        key: impl Into<Data>,
        text: impl Into<Data>,
        expiry: Option<Duration>,
    ) -> Result<(), StoreError> {
        self.write(StoreOperation::Append {
            key: key.into(),
            value: text.into(),
            expiry,
        })
        .await
    }

    /// Inserts an element into a set; a missing key starts empty.
    #[expect(clippy::missing_errors_doc, reason = "said at `put`")]
    pub async fn insert_into(
        &self,
        key: impl Into<Data>,
        element: impl Into<Data>,
        expiry: Option<Duration>,
    ) -> Result<(), StoreError> {
        self.write(StoreOperation::InsertInto {
            key: key.into(),
            index: element.into(),
            value: None,
            expiry,
        })
        .await
    }

    /// Inserts a value into a table, replacing the one at `index`; a missing key starts empty.
    #[expect(clippy::missing_errors_doc, reason = "said at `put`")]
    pub async fn insert_into_table(
        &self,
        key: impl Into<Data>,
        index: impl Into<Data>,
        value: impl Into<Data>,
        expiry: Option<Duration>,
    ) -> Result<(), StoreError> {
        self.write(StoreOperation::InsertInto {
            key: key.into(),
            index: index.into(),
            value: Some(value.into()),
            expiry,
        })
        .await
    }

    /// Removes an element from a set or table, if it is there.
    #[expect(clippy::missing_errors_doc, reason = "said at `put`")]
    pub async fn remove_from(
        &self,
        key: impl Into<Data>,
        index: impl Into<Data>,
        expiry: Option<Duration>,
    ) -> Result<(), StoreError> {
        self.write(StoreOperation::RemoveFrom {
            key: key.into(),
            index: index.into(),
            expiry,
        })
        .await
    }

    /// Appends a value to a vector; a missing key starts empty.
    #[expect(clippy::missing_errors_doc, reason = "said at `put`")]
    pub async fn push(
        &self,
        key: impl Into<Data>,
        value: impl Into<Data>,
        expiry: Option<Duration>,
    ) -> Result<(), StoreError> {
        self.write(StoreOperation::Push {
            key: key.into(),
            value: value.into(),
            expiry,
        })
        .await
    }

    /// Removes the last element of a vector, if there is one.
    #[expect(clippy::missing_errors_doc, reason = "said at `put`")]
    pub async fn pop(
        &self,
        key: impl Into<Data>,
        expiry: Option<Duration>,
    ) -> Result<(), StoreError> {
        self.write(StoreOperation::Pop {
            key: key.into(),
            expiry,
        })
        .await
    }

    // --- reading ---------------------------------------------------------------------------------

    /// The value at a key. On a clone without a master yet, this and all reads below wait for the first snapshot, at most
    /// [`get_delay`](crate::CloneOptions::get_delay).
    #[expect(clippy::missing_errors_doc, reason = "said at `put`")]
    pub async fn get(&self, key: impl Into<Data>) -> Result<Option<Data>, StoreError> {
        found(self.execute(StoreOperation::Get(key.into())).await)
    }

    /// Whether there is a value at a key.
    #[expect(clippy::missing_errors_doc, reason = "said at `put`")]
    pub async fn exists(&self, key: impl Into<Data>) -> Result<bool, StoreError> {
        Ok(matches!(
            self.execute(StoreOperation::Exists(key.into())).await?,
            StoreReply::Value(Data::Boolean(true))
        ))
    }

    /// All keys.
    #[expect(clippy::missing_errors_doc, reason = "said at `put`")]
    pub async fn keys(&self) -> Result<Set, StoreError> {
        Ok(match self.execute(StoreOperation::Keys).await? {
            StoreReply::Value(Data::Set(keys)) => keys,
            _ => Set::new(),
        })
    }

    /// The element at `index` of the vector or table at `key`, or whether the set there has it; a value that is no
    /// container is returned as it is. `None` if there is no such key or element.
    #[expect(clippy::missing_errors_doc, reason = "said at `put`")]
    pub async fn get_index_from_value(
        &self,
        key: impl Into<Data>,
        index: impl Into<Data>,
    ) -> Result<Option<Data>, StoreError> {
        found(
            self.execute(StoreOperation::GetIndex {
                key: key.into(),
                index: index.into(),
            })
            .await,
        )
    }

    /// A page of at most `limit` entries in key order, beginning behind `after`. The store may return fewer, and returns
    /// none only at the end. Key order is the bytewise order of encoded keys.
    #[expect(clippy::missing_errors_doc, reason = "said at `put`")]
    pub async fn scan(
        &self,
        after: Option<Data>,
        limit: usize,
    ) -> Result<Vec<StoreEntry>, StoreError> {
        Ok(
            match self.execute(StoreOperation::Scan { after, limit }).await? {
                StoreReply::Entries(entries) => entries,
                _ => Vec::new(),
            },
        )
    }

    /// The value at a key of a clone, without waiting. The key has to be in
    /// [normal form](crate::semantics::normalize_key), which all keys without -0.0 and subnormal numbers are.
    ///
    /// # Errors
    /// `stale_data` if the clone has no content, [`StoreError::NotLocal`] on a master.
    pub fn get_local(&self, key: &Data) -> Result<Option<Data>, StoreError> {
        Ok(self.readable()?.get(key))
    }

    /// Whether a clone has a value at a key, without waiting; as [`get_local`](Self::get_local).
    #[expect(clippy::missing_errors_doc, reason = "said at `get_local`")]
    pub fn exists_local(&self, key: &Data) -> Result<bool, StoreError> {
        Ok(self.readable()?.contains(key))
    }

    /// What `read` makes of the value at a key of a clone, without waiting and without copying the value; as
    /// [`get_local`](Self::get_local). The part of the store that the key is in cannot change meanwhile, so `read` should
    /// be quick.
    #[expect(clippy::missing_errors_doc, reason = "said at `get_local`")]
    pub fn with_local<R>(
        &self,
        key: &Data,
        read: impl FnOnce(&Data) -> R,
    ) -> Result<Option<R>, StoreError> {
        Ok(self.readable()?.with(key, read))
    }

    // --- waiting and watching --------------------------------------------------------------------

    /// Waits until every write that was begun here before is answered.
    #[expect(clippy::missing_errors_doc, reason = "said at `put`")]
    pub async fn await_idle(&self) -> Result<(), StoreError> {
        self.ask(What::AwaitIdle, self.inner.request_timeout)
            .await
            .map(drop)
    }

    /// Waits until this clone has all that the master had applied when it was asked, and every write that was begun here
    /// before is answered. A C++ master cannot be asked; with one it waits for what is known to be on its way.
    #[expect(clippy::missing_errors_doc, reason = "said at `put`")]
    pub async fn sync(&self, limit: Duration) -> Result<(), StoreError> {
        self.ask(What::Sync, limit).await.map(drop)
    }

    /// Compares every copy of the store with the master, key by key, while both go on changing; takes at most `limit`.
    /// Clones of C++ cannot be compared, and are reported as such.
    #[expect(clippy::missing_errors_doc, reason = "said at `put`")]
    pub async fn verify(&self, limit: Duration) -> Result<VerifyReport, StoreError> {
        let what = match self.inner.role {
            Role::Master => What::Operation(StoreOperation::Verify),
            Role::Clone | Role::Remote => What::Question(Question::Verify),
        };
        match self.ask(what, limit).await? {
            StoreReply::Verified(report) => Ok(report),
            _ => Err(StoreError::Refused(ErrorCode::InvalidData)),
        }
    }

    /// Waits until the clone has found its master and its content; at most `limit`. Returns whether it has.
    pub async fn attached(&self, limit: Duration) -> bool {
        let Some(copy) = &self.inner.copy else {
            return true;
        };
        let mut freshness = copy.freshness.clone();
        let live = timeout(
            limit,
            freshness.wait_for(|freshness| *freshness == Freshness::Live),
        )
        .await;
        matches!(live, Ok(Ok(_)))
    }

    /// The changes from now on, in the order of application. If they are not taken in time the oldest are dropped; the
    /// stream counts them. [`events_with`](Self::events_with) chooses otherwise.
    pub fn events(&self) -> StoreEvents {
        self.events_with(watching::lossy())
    }

    /// The changes from now on, in a queue of one's own choice. The store never waits for it.
    pub fn events_with(&self, queue: QueueOptions) -> StoreEvents {
        self.inner.shared.watchers.watch(queue)
    }

    /// What happens to some keys, from now on or from a [`Revision`] that an earlier watch has told.
    ///
    /// The first item is a [`Position`](broker_core::WatchItem::Position), or a [`Reset`](broker_core::WatchItem::Reset) if the changes since the
    /// revision asked for are not known any more: the latest ones are (8192 of them, of 8 MiB), and those of clones go
    /// back to when they took their copy. Every change comes with the revision to go on from behind it. The watch ends
    /// rather than leave something out; begin it again then. A handle without a copy takes one for it.
    ///
    /// # Errors
    /// See [`StoreError`]; too many watch already.
    pub async fn watch(&self, request: WatchRequest) -> Result<StoreWatcher, StoreError> {
        if let Some(copy) = self
            .inner
            .copy
            .as_ref()
            .filter(|copy| copy.view.is_remote())
        {
            self.ask(What::Copy, self.inner.request_timeout).await?;
            let mut freshness = copy.freshness.clone();
            let limit = self.inner.request_timeout;
            let live = timeout(limit, freshness.wait_for(|now| *now == Freshness::Live)).await;
            live.map_err(|_| StoreError::TimedOut(limit))?
                .map_err(|_| StoreError::Closed)?;
        }
        let WatchRequest { mut keys, from } = request;
        if let WatchKeys::Key(key) | WatchKeys::Prefix(key) = &mut keys {
            semantics::normalize_key(key).map_err(StoreError::Refused)?;
        }
        if self.is_closed() {
            return Err(StoreError::Closed);
        }
        let (start, started) = oneshot::channel();
        self.inner.shared.ask_to_watch(WatchAsk { from, start });
        let start = started.await.map_err(|_| StoreError::Closed)??;
        Ok(StoreWatcher::new(self.clone(), keys, from, start))
    }

    // --- in general ------------------------------------------------------------------------------

    /// Does `operation`: what all the calls above come down to.
    #[expect(clippy::missing_errors_doc, reason = "said at `put`")]
    pub async fn execute(&self, operation: StoreOperation) -> Result<StoreReply, StoreError> {
        let Some(copy) = &self.inner.copy else {
            let limit = match operation {
                StoreOperation::Verify => VERIFY_TIMEOUT,
                _ => self.inner.request_timeout,
            };
            return self.ask(What::Operation(operation), limit).await;
        };
        if operation == StoreOperation::Verify {
            return self.verify(VERIFY_TIMEOUT).await.map(StoreReply::Verified);
        }
        if !is_read(&operation) {
            return self
                .ask(What::Operation(operation), self.inner.request_timeout)
                .await;
        }
        if copy.view.freshness() == Freshness::Empty {
            let mut freshness = copy.freshness.clone();
            let _ = timeout(
                copy.get_delay,
                freshness.wait_for(|freshness| *freshness != Freshness::Empty),
            )
            .await;
        }
        if copy.view.is_remote() {
            copy.view.readable()?;
            return self.read_remotely(operation).await;
        }
        self.read(copy.view.readable()?, operation)
    }

    /// Does all of `operations` in their order, and answers each, whatever became of the others. A master takes
    /// about a thousand at a time, as one transaction where it can; a clone sends 256 at a time, and reads of its copy may
    /// overtake them. Each of these has the request timeout.
    ///
    /// # Cancel safety
    /// A future that is dropped leaves each write applied or not.
    pub async fn execute_all(
        &self,
        operations: impl IntoIterator<Item = StoreOperation>,
    ) -> Vec<Result<StoreReply, StoreError>> {
        let most = match self.inner.role {
            Role::Master => MAX_BATCH,
            Role::Clone | Role::Remote => SENT_TOGETHER,
        };
        let mut operations = operations.into_iter();
        let mut answers = Vec::new();
        loop {
            let some: Vec<_> = operations.by_ref().take(most).collect();
            if some.is_empty() {
                return answers;
            }
            answers.extend(self.ask_together(some).await);
        }
    }

    /// Requests that do not wait, with answers that come to a mailbox.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    #[must_use]
    pub fn proxy(&self) -> StoreProxy {
        self.proxy_with(StoreProxy::CAPACITY)
    }

    /// The same for at most `capacity` requests that are under way or answered and not taken.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    #[must_use]
    pub fn proxy_with(&self, capacity: NonZeroUsize) -> StoreProxy {
        StoreProxy::new(self.clone(), capacity, self.inner.request_timeout)
    }

    pub(crate) fn asks(&self) -> &mpsc::Sender<Asked> {
        &self.inner.asks
    }

    /// See [`Inner::together`].
    pub(crate) fn room_together() -> Arc<Semaphore> {
        Arc::new(Semaphore::new(MAX_TOGETHER))
    }

    /// Begins `operation` without waiting; what [`execute`](Self::execute) would do.
    pub(crate) fn begin(&self, operation: StoreOperation) -> Begun {
        let Some(copy) = &self.inner.copy else {
            return Begun::Asks(What::Operation(operation));
        };
        if operation == StoreOperation::Verify {
            return Begun::Waits(operation);
        }
        if !is_read(&operation) {
            return Begun::Asks(What::Operation(operation));
        }
        if copy.view.is_remote() || copy.view.freshness() == Freshness::Empty {
            return Begun::Waits(operation);
        }
        Begun::Answered(
            copy.view
                .readable()
                .and_then(|content| self.read(content, operation)),
        )
    }

    /// Asks the master what a copy would know.
    async fn read_remotely(&self, operation: StoreOperation) -> Answer {
        let question = match operation {
            StoreOperation::Get(key) => Question::Get(key),
            StoreOperation::Exists(key) => Question::Exists(key),
            StoreOperation::GetIndex { key, index } => Question::GetIndex { key, index },
            StoreOperation::Scan { after, limit } => Question::Scan {
                after,
                limit: u32::try_from(limit).unwrap_or(u32::MAX),
            },
            StoreOperation::Keys => {
                let (mut keys, mut after) = (Vec::new(), None);
                loop {
                    let question = Question::Keys { after };
                    let page = self.ask(What::Question(question), self.inner.request_timeout);
                    let StoreReply::Entries(page) = page.await? else {
                        return Err(StoreError::Refused(ErrorCode::InvalidData));
                    };
                    after = page.last().map(|entry| entry.key.clone());
                    if after.is_none() {
                        let keys: Set = keys.into_iter().collect();
                        return Ok(StoreReply::Value(keys.into()));
                    }
                    keys.extend(page.into_iter().map(|entry| entry.key));
                }
            }
            _ => return Err(StoreError::NotLocal),
        };
        self.ask(What::Question(question), self.inner.request_timeout)
            .await
    }

    async fn write(&self, operation: StoreOperation) -> Result<(), StoreError> {
        self.ask(What::Operation(operation), self.inner.request_timeout)
            .await
            .map(drop)
    }

    /// Asks for at most [`MAX_BATCH`] operations, together as far as the store's task is to be asked.
    async fn ask_together(&self, operations: Vec<StoreOperation>) -> Vec<Answer> {
        enum Pending {
            Answered(Answer),
            Asked(oneshot::Receiver<Answer>),
            Waits(StoreOperation),
        }
        let limit = self.inner.request_timeout;
        let deadline = Instant::now() + limit;
        let mut asks = Vec::with_capacity(operations.len());
        let begun = operations
            .into_iter()
            .map(|operation| match self.begin(operation) {
                Begun::Answered(answer) => Pending::Answered(answer),
                Begun::Waits(operation) => Pending::Waits(operation),
                Begun::Asks(what) => {
                    let (answer, answered) = oneshot::channel();
                    let answer = Caller::Once(answer);
                    asks.push(Ask { what, answer });
                    Pending::Asked(answered)
                }
            });
        let begun: Vec<_> = begun.collect();
        if !asks.is_empty() {
            // What could not be asked is dropped, and with it who would have answered.
            let _ = timeout_at(deadline, async {
                let room = Arc::clone(&self.inner.together).acquire_owned().await;
                if let Ok(room) = room {
                    let _ = self.inner.asks.send(Asked::Together(asks, room)).await;
                }
            })
            .await;
        }
        let mut answers = Vec::with_capacity(begun.len());
        for pending in begun {
            answers.push(match pending {
                Pending::Answered(answer) => answer,
                Pending::Waits(operation) => self.execute(operation).await,
                Pending::Asked(answered) => match timeout_at(deadline, answered).await {
                    Ok(Ok(answer)) => answer,
                    Ok(Err(_)) if self.is_closed() => Err(StoreError::Closed),
                    Ok(Err(_)) | Err(_) => Err(StoreError::TimedOut(limit)),
                },
            });
        }
        answers
    }

    async fn ask(&self, what: What, limit: Duration) -> Answer {
        let answered = async {
            let (answer, answered) = oneshot::channel();
            self.inner
                .asks
                .send(Asked::One(Ask {
                    what,
                    answer: Caller::Once(answer),
                }))
                .await
                .map_err(|_| StoreError::Closed)?;
            answered.await.unwrap_or(Err(StoreError::Closed))
        };
        timeout(limit, answered)
            .await
            .unwrap_or(Err(StoreError::TimedOut(limit)))
    }

    fn readable(&self) -> Result<&Content, StoreError> {
        let copy = self.inner.copy.as_ref().ok_or(StoreError::NotLocal)?;
        if copy.view.is_remote() {
            return Err(StoreError::NotLocal);
        }
        copy.view.readable()
    }

    fn read(&self, content: &Content, operation: StoreOperation) -> Answer {
        let normal = |mut key: Data| {
            semantics::normalize_key(&mut key)
                .map_err(StoreError::Refused)
                .map(|()| key)
        };
        let missing = || StoreError::Refused(ErrorCode::NoSuchKey);
        Ok(StoreReply::Value(match operation {
            StoreOperation::Get(key) => content.get(&normal(key)?).ok_or_else(missing)?,
            StoreOperation::Exists(key) => content.contains(&normal(key)?).into(),
            StoreOperation::Keys => content.keys().into_iter().collect::<Set>().into(),
            StoreOperation::GetIndex { key, index } => {
                let found = content.with(&normal(key)?, |value| semantics::index(value, &index));
                found.ok_or_else(missing)?.map_err(StoreError::Refused)?
            }
            StoreOperation::Scan { after, limit } => {
                let now = self.inner.clock.now();
                let page =
                    content.scan(after.map(normal).transpose()?.as_ref(), limit.min(MAX_PAGE));
                let entries = page.into_iter().map(|(key, entry)| StoreEntry {
                    key,
                    value: entry.value,
                    expires_in: remaining(entry.expires_at, now),
                });
                return Ok(StoreReply::Entries(entries.collect()));
            }
            _ => return Err(StoreError::NotLocal),
        }))
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("name", &self.inner.name)
            .field("role", &self.role())
            .field("entries", &self.len())
            .finish_non_exhaustive()
    }
}

/// Whether a copy can answer it.
const fn is_read(operation: &StoreOperation) -> bool {
    matches!(
        operation,
        StoreOperation::Get(_)
            | StoreOperation::Exists(_)
            | StoreOperation::Keys
            | StoreOperation::GetIndex { .. }
            | StoreOperation::Scan { .. }
    )
}

fn found(answer: Answer) -> Result<Option<Data>, StoreError> {
    match answer {
        Ok(StoreReply::Value(value)) => Ok(Some(value)),
        Ok(_) | Err(StoreError::Refused(ErrorCode::NoSuchKey)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// How long a comparison of all copies may take.
const VERIFY_TIMEOUT: Duration = Duration::from_secs(600);

/// Writes sent to a master together: a C++ one makes each a transaction of its own, and all have the time of one request.
const SENT_TOGETHER: usize = 256;

/// Entries of one page, whatever was asked for.
const MAX_PAGE: usize = 4096;
