//! Writing log records from a program: [`LogClient`] and its streams, and the task that sends what they write.
//!
//! The rules are [`Outbox`]'s; here are the lock around it, the waiting, and the sending.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use broker_core::{Endpoint, EndpointId, LogCounters, Message, RateLimit};
use bytes::Bytes;
use tokio::sync::{Notify, mpsc};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::hook::{LogHook, LogOrigin};
use super::outbox::{
    FLUSH_INTERVAL, Outbox, OutboxOptions, SpoolUse, StreamKey, Switches, Transmit,
};
use super::receiver::Input;
use super::settings::LogSettings;
use super::spec::{ASCII_WRITER, LogSpec};
use super::spool::{Spool, SpooledBatch, Stored};
use super::wire::MAX_RECORD;
use crate::events::BatchReceipt;
use crate::log::{Column, Limits, LogValue, Record, Schema, serial};
use crate::pools::Pool;
use crate::topics;

/// How long a batch waits for any logger to come up before it goes out as Zeek sends it.
pub const DEFAULT_HOLD: Duration = Duration::from_secs(30);

/// Why a log cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The record does not fit the columns.
    #[error("the record does not fit the log")]
    Record(#[from] serial::EncodeError),
    /// The record is longer than 16 MiB.
    #[error("a record of {size} bytes is too long (at most {MAX_RECORD})")]
    TooLong {
        /// Its encoded size.
        size: usize,
    },
    /// The node is shutting down.
    #[error("the node is shutting down")]
    Closed,
    /// The record is to be written on this node, which writes no logs.
    #[error("stream {stream} is to be written here, and this node writes no logs")]
    NoLocalLogger {
        /// The stream.
        stream: String,
    },
    /// A setting names a column that the log does not have.
    #[error("there is no column {column:?} in stream {stream}")]
    NoSuchColumn {
        /// The stream.
        stream: String,
        /// The name.
        column: String,
    },
    /// Two fields of a record have the same column.
    #[error("stream {stream} has two columns {column:?}")]
    SameColumn {
        /// The stream.
        stream: String,
        /// The name.
        column: String,
    },
    /// The process has too many log streams.
    #[error("too many log streams (at most {})", super::MAX_STREAMS)]
    TooManyStreams,
}

/// So many complaints about the spool per interval.
const FAILURES: u32 = 3;
const FAILURE_INTERVAL: Duration = Duration::from_secs(60);

/// A handle to a node's remote logging. Cloning gives another handle to the same.
#[derive(Clone)]
pub struct LogClient {
    shared: Arc<Shared>,
}

struct Shared {
    endpoint: Endpoint,
    outbox: Mutex<Outbox>,
    /// There may be something to send.
    wake: Notify,
    /// There may be room, or less to wait for.
    progress: Notify,
    closed: CancellationToken,
    local: OnceLock<mpsc::Sender<Input>>,
    settings: LogSettings,
    hooks: RwLock<Vec<LogHook>>,
    spool: Option<Arc<Mutex<Spool>>>,
    /// Records that a hook kept back, and values that were cut.
    filtered: AtomicU64,
    cut: AtomicU64,
    failures: Mutex<RateLimit>,
}

impl LogClient {
    /// Remote logging of an endpoint outside a cluster: records go to `zeek/logs/` and the stream id, to whoever
    /// subscribed. Ends with the endpoint.
    #[must_use]
    pub fn standalone(endpoint: &Endpoint) -> Self {
        let settings = LogSettings {
            log_remote: true,
            ..LogSettings::default()
        };
        let client = Self::new(endpoint.clone(), None, DEFAULT_HOLD, settings, None);
        tokio::spawn(client.clone().run_until_stopping());
        client
    }

    pub(crate) fn new(
        endpoint: Endpoint,
        loggers: Option<Pool>,
        hold: Duration,
        settings: LogSettings,
        spool: Option<Spool>,
    ) -> Self {
        let id = endpoint.id();
        let mut outbox = Outbox::new(OutboxOptions {
            writer: spool.as_ref().map_or(id, Spool::identity),
            reply_to: id,
            first_number: spool.as_ref().map_or(1, Spool::first_number),
            spool: match &spool {
                None => SpoolUse::Never,
                Some(spool) if spool.takes_all() => SpoolUse::Always,
                Some(_) => SpoolUse::WithoutLogger,
            },
            loggers,
            hold,
        });
        if let Some(spool) = &spool {
            match spool.backlog() {
                Ok(backlog) => outbox.recover(backlog),
                Err(error) => tracing::error!(%error, "log spool cannot be read"),
            }
        }
        Self {
            shared: Arc::new(Shared {
                endpoint,
                outbox: Mutex::new(outbox),
                wake: Notify::new(),
                progress: Notify::new(),
                closed: CancellationToken::new(),
                local: OnceLock::new(),
                settings,
                hooks: RwLock::new(Vec::new()),
                spool: spool.map(|spool| Arc::new(Mutex::new(spool))),
                filtered: AtomicU64::new(0),
                cut: AtomicU64::new(0),
                failures: Mutex::new(RateLimit::new(FAILURES, FAILURE_INTERVAL)),
            }),
        }
    }

    /// Shows every record of every stream of this node to `hook` before it is written; see [`LogHook`]. These run before
    /// those of the streams.
    pub fn add_hook(
        &self,
        hook: impl Fn(&LogOrigin<'_>, &mut Record) -> bool + Send + Sync + 'static,
    ) {
        let mut hooks = self
            .shared
            .hooks
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        hooks.push(LogHook::new(hook));
    }

    /// Starts to write a log: announces it to the loggers.
    ///
    /// # Errors
    /// The node is shutting down, or has too many streams; a setting names a column that does not exist, or asks for files
    /// on a node that writes none.
    pub async fn stream(&self, spec: LogSpec) -> Result<LogStream, LogError> {
        if self.shared.closed.is_cancelled() {
            return Err(LogError::Closed);
        }
        let stream = spec.stream.clone();
        let settings = self.shared.settings.of(&stream, &spec.settings);
        if settings.local && self.shared.local.get().is_none() {
            return Err(LogError::NoLocalLogger { stream });
        }
        let kept = settings
            .columns(&spec.schema)
            .map_err(|column| LogError::NoSuchColumn {
                stream: stream.clone(),
                column,
            })?;
        let columns: Vec<Column> = match &kept {
            Some(kept) => kept
                .iter()
                .map(|at| spec.schema.columns[*at].clone())
                .collect(),
            None => spec.schema.columns.clone(),
        };
        let create = spec.to_create(&columns).into_data().to_bytes();
        let key = StreamKey {
            stream: stream.clone(),
            writer: ASCII_WRITER.to_owned(),
            path: spec.schema.path.clone(),
        };
        let switches = Switches {
            local: settings.local,
            remote: settings.remote,
            expendable: spec.expendable,
        };
        let index = self
            .outbox()
            .add_stream(key, create.clone(), switches)
            .ok_or(LogError::TooManyStreams)?;
        if settings.remote {
            let message = Message::from_encoded(topics::log_topic(stream.as_bytes()), create);
            self.shared
                .endpoint
                .publish(message)
                .await
                .map_err(|_| LogError::Closed)?;
        }
        Ok(LogStream {
            client: self.clone(),
            index,
            stream,
            schema: spec.schema,
            columns,
            kept,
            limits: settings.limits,
            hooks: spec.hooks,
            scratch: Vec::new(),
        })
    }

    /// Sends everything that is buffered, without waiting for receipts.
    pub fn flush(&self) {
        self.outbox().flush(Instant::now());
        self.shared.wake.notify_one();
    }

    /// Sends everything and waits until it is where it belongs: in a file, or with a logger that gives no receipts; while no
    /// logger is up, in the spool, if there is one. `false`: not within `limit`.
    pub async fn drained(&self, limit: Duration) -> bool {
        self.flush();
        self.wait_until(limit, Outbox::is_idle).await
    }

    async fn wait_until(&self, limit: Duration, condition: impl Fn(&Outbox) -> bool) -> bool {
        timeout(limit, async {
            loop {
                let progress = self.shared.progress.notified();
                tokio::pin!(progress);
                progress.as_mut().enable();
                if condition(&self.outbox()) {
                    return;
                }
                progress.await;
            }
        })
        .await
        .is_ok()
    }

    /// What happened to the records this process wrote for loggers, by stream id. Records that this node writes itself
    /// are counted by its logger.
    #[must_use]
    pub fn counters(&self) -> Vec<(String, LogCounters)> {
        self.outbox()
            .counters()
            .map(|(stream, counters)| (stream.to_owned(), counters))
            .collect()
    }

    /// Records that hooks kept back.
    #[must_use]
    pub fn filtered(&self) -> u64 {
        self.shared.filtered.load(Ordering::Relaxed)
    }

    /// Values that were cut to the limits of their log.
    #[must_use]
    pub fn cut(&self) -> u64 {
        self.shared.cut.load(Ordering::Relaxed)
    }

    /// Puts what waits for a logger or a receipt into the spool, if there is one. `false`: not within `limit`.
    pub(crate) async fn retreat(&self, limit: Duration) -> bool {
        self.shared.closed.cancel();
        self.outbox().retreat(Instant::now());
        self.shared.wake.notify_one();
        self.wait_until(limit, Outbox::has_retreated).await
    }

    /// Refuses further records; what is not done with and not in the spool is counted as dropped.
    pub(crate) fn close(&self) {
        self.shared.closed.cancel();
        self.outbox().abandon();
        self.shared.progress.notify_waiters();
    }

    pub(crate) fn set_local(&self, logger: mpsc::Sender<Input>) {
        let _ = self.shared.local.set(logger);
    }

    /// The LogCreate of every stream, directly to a new peer, as Zeek does before its hello.
    pub(crate) async fn announce_to(&self, peer: EndpointId) {
        let creates = self.outbox().creates();
        for (topic, create) in creates {
            if !matches!(
                self.shared
                    .endpoint
                    .send_to(peer, Message::from_encoded(topic, create))
                    .await,
                Ok(true)
            ) {
                return;
            }
        }
    }

    pub(crate) fn logger_up(&self, name: &str, id: EndpointId, receipts: bool) {
        self.outbox().logger_up(name, id, receipts, Instant::now());
        self.shared.wake.notify_one();
    }

    pub(crate) fn logger_down(&self, name: &str) {
        self.outbox().logger_down(name, Instant::now());
        self.shared.wake.notify_one();
    }

    pub(crate) fn receipts(&self, logger: &str, batches: &[BatchReceipt]) {
        let ready = {
            let mut outbox = self.outbox();
            batches
                .iter()
                .for_each(|batch| outbox.receipt(logger, *batch));
            outbox.has_ready()
        };
        if ready {
            self.shared.wake.notify_one();
        }
        self.shared.progress.notify_waiters();
    }

    /// Sends what streams have written until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut timer = interval(FLUSH_INTERVAL);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.shared.wake.notified() => {}
                _ = timer.tick() => {
                    let now = Instant::now();
                    let mut outbox = self.outbox();
                    outbox.flush(now);
                    outbox.tick(now);
                }
            }
            self.send_ready().await;
        }
    }

    async fn run_until_stopping(self) {
        let endpoint = self.shared.endpoint.clone();
        let stop = CancellationToken::new();
        tokio::select! {
            () = endpoint.stopping() => {}
            () = self.clone().run(stop) => {}
        }
        self.close();
    }

    async fn send_ready(&self) {
        loop {
            let transmit = self.outbox().next_transmit();
            match transmit {
                None => return,
                Some(Transmit::Local { payload }) => self.send_local(payload).await,
                // If it cannot be sent, its logger is about to go down or to time out: the batch goes elsewhere then.
                Some(Transmit::Numbered {
                    logger,
                    topic,
                    payload,
                }) => {
                    let _ = self
                        .shared
                        .endpoint
                        .send_to(logger, Message::from_encoded(topic, payload))
                        .await;
                }
                Some(Transmit::Plain {
                    stream,
                    topic,
                    payload,
                    records,
                    spooled,
                }) => {
                    let reached = self
                        .shared
                        .endpoint
                        .publish(Message::from_encoded(topic, payload))
                        .await;
                    let peers = reached.map_or(0, |reached| reached.peers + reached.locals);
                    self.outbox().plain_done(stream, records, peers, spooled);
                    self.shared.progress.notify_waiters();
                }
                Some(Transmit::Spool(batch)) => self.store_in_spool(batch).await,
                Some(Transmit::Unspool) => self.load_next().await,
                Some(Transmit::SpoolDone { number }) => {
                    let done = self.with_spool(move |spool| spool.done(number)).await;
                    if let Some(Err(error)) = done {
                        self.fail(&format_args!("log spool: {error}"));
                    }
                    self.shared.progress.notify_waiters();
                }
                Some(Transmit::SpoolAgain { number }) => {
                    self.with_spool(move |spool| spool.give_again(number)).await;
                }
            }
        }
    }

    async fn store_in_spool(&self, batch: SpooledBatch) {
        let number = batch.number;
        let stored = self
            .with_spool(move |spool| {
                let mut lost = Vec::new();
                let stored = spool.append(&batch, &mut lost);
                (stored, lost)
            })
            .await;
        let stored = match stored {
            Some((stored, lost)) => {
                self.outbox().spool_lost(&lost);
                match &stored {
                    Err(error) => self.fail(&format_args!("log spool cannot be written: {error}")),
                    Ok(Stored::Full) if self.outbox().has_logger() => {
                        self.fail(&format_args!(
                            "log spool is full: writers wait for the loggers"
                        ));
                    }
                    Ok(Stored::TooLarge) => {
                        self.fail(&format_args!(
                            "log spool is too small for a batch: it is dropped"
                        ));
                    }
                    Ok(Stored::Full) => {
                        self.fail(&format_args!("log spool is full: records are dropped"));
                    }
                    Ok(Stored::Kept) if !lost.is_empty() => {
                        self.fail(&format_args!(
                            "log spool is full: the oldest records are dropped"
                        ));
                    }
                    Ok(Stored::Kept) => {}
                }
                stored.map_err(|_| ())
            }
            None => Err(()),
        };
        self.outbox().spooled(number, stored, Instant::now());
        self.shared.progress.notify_waiters();
    }

    async fn load_next(&self) {
        let next = self
            .with_spool(|spool| {
                let mut lost = Vec::new();
                let next = spool.next(&mut lost);
                (next, lost)
            })
            .await;
        let batch = match next {
            Some((next, lost)) => {
                self.outbox().spool_lost(&lost);
                next.unwrap_or_else(|error| {
                    self.fail(&format_args!("log spool cannot be read: {error}"));
                    None
                })
            }
            None => None,
        };
        self.outbox().unspooled(batch, Instant::now());
        self.shared.progress.notify_waiters();
    }

    /// Does something with the spool, off the threads of the runtime. None: there is none, or the runtime ends.
    async fn with_spool<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Spool) -> T + Send + 'static,
    ) -> Option<T> {
        let spool = Arc::clone(self.shared.spool.as_ref()?);
        spawn_blocking(move || work(&mut spool.lock().unwrap_or_else(PoisonError::into_inner)))
            .await
            .ok()
    }

    fn fail(&self, what: &impl std::fmt::Display) {
        let mut failures = self
            .shared
            .failures
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(suppressed) = failures.check(std::time::Instant::now()) {
            tracing::error!(suppressed, "{what}");
        }
    }

    async fn send_local(&self, payload: Bytes) {
        if let Some(logger) = self.shared.local.get() {
            let _ = logger.send(Input::Payload(payload)).await;
        }
    }

    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.shared
            .outbox
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for LogClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogClient")
            .field("endpoint", &self.shared.endpoint.id())
            .finish_non_exhaustive()
    }
}

/// A log that is being written.
#[derive(Debug)]
pub struct LogStream {
    client: LogClient,
    index: usize,
    stream: String,
    schema: Schema,
    /// The columns that are written.
    columns: Vec<Column>,
    /// Their places in the schema, if not all are.
    kept: Option<Vec<usize>>,
    limits: Option<Limits>,
    hooks: Vec<LogHook>,
    scratch: Vec<u8>,
}

impl LogStream {
    /// Path and columns.
    #[must_use]
    pub const fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Writes one record: resolves when it is buffered. Waits while too many batches have no receipt; what has been
    /// accepted is not lost when a logger dies. A record that a hook keeps back is taken and goes nowhere.
    ///
    /// # Errors
    /// The record does not fit the columns, or the node is shutting down.
    ///
    /// # Cancel safety
    /// If the future is dropped before it resolves, the record was not accepted.
    pub async fn write(&mut self, record: &[LogValue]) -> Result<(), LogError> {
        if !self.prepare(record)? {
            return Ok(());
        }
        let shared = &self.client.shared;
        loop {
            if self.put()? {
                return Ok(());
            }
            let progress = shared.progress.notified();
            tokio::pin!(progress);
            progress.as_mut().enable();
            if self.put()? {
                return Ok(());
            }
            tokio::select! {
                () = progress => {}
                () = shared.closed.cancelled() => return Err(LogError::Closed),
            }
        }
    }

    /// Writes one record if there is room now. `Ok(false)`: there is not, and it counts as dropped.
    ///
    /// # Errors
    /// As of [`write`](Self::write).
    pub fn try_write(&mut self, record: &[LogValue]) -> Result<bool, LogError> {
        if !self.prepare(record)? {
            return Ok(true);
        }
        let written = self.put()?;
        if !written {
            self.client.outbox().refused(self.index);
        }
        Ok(written)
    }

    /// Encodes what is to be written of a record into `scratch`. `Ok(false)`: nothing is.
    fn prepare(&mut self, record: &[LogValue]) -> Result<bool, LogError> {
        self.scratch.clear();
        let shared = &self.client.shared;
        let common = shared.hooks.read().unwrap_or_else(PoisonError::into_inner);
        let untouched = common.is_empty()
            && self.hooks.is_empty()
            && self.kept.is_none()
            && self.limits.is_none();
        let encoded = if untouched {
            serial::encode(record, &self.columns, &mut self.scratch)
        } else {
            let origin = LogOrigin {
                stream: &self.stream,
                schema: &self.schema,
            };
            let mut record = record.to_vec();
            let mut hooks = common.iter().chain(&self.hooks);
            if !hooks.all(|hook| hook.passes(&origin, &mut record)) {
                shared.filtered.fetch_add(1, Ordering::Relaxed);
                return Ok(false);
            }
            if let Some(kept) = &self.kept
                && record.len() == self.schema.columns.len()
            {
                record = kept
                    .iter()
                    .map(|at| std::mem::replace(&mut record[*at], LogValue::Unset))
                    .collect();
            }
            if let Some(limits) = self.limits {
                let cut = limits.apply(&mut record) as u64;
                shared.cut.fetch_add(cut, Ordering::Relaxed);
            }
            serial::encode(&record, &self.columns, &mut self.scratch)
        };
        drop(common);
        if let Err(error) = encoded {
            self.client.outbox().refused(self.index);
            return Err(error.into());
        }
        if self.scratch.len() > MAX_RECORD {
            self.client.outbox().refused(self.index);
            return Err(LogError::TooLong {
                size: self.scratch.len(),
            });
        }
        Ok(true)
    }

    /// Writes what is in `scratch` if there is room.
    fn put(&self) -> Result<bool, LogError> {
        let shared = &self.client.shared;
        if shared.closed.is_cancelled() {
            return Err(LogError::Closed);
        }
        let mut outbox = self.client.outbox();
        let written = outbox
            .write(self.index, &self.scratch, Instant::now())
            .is_ok();
        let ready = outbox.has_ready();
        drop(outbox);
        if ready {
            shared.wake.notify_one();
        }
        Ok(written)
    }
}
