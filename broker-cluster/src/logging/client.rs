//! Writing log records from a program: [`LogClient`] and its streams, and the task that sends what they write.
//!
//! The rules are [`Outbox`]'s; here are the lock around it, the waiting, and the sending.

mod error;
mod log_stream;
mod sending;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use broker_core::{Endpoint, EndpointId, LogCounters, Message, RateLimit};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

pub use self::error::LogError;
pub use self::log_stream::LogStream;
use self::sending::{FAILURE_INTERVAL, FAILURES};
use super::hook::{LogHook, LogOrigin};
use super::outbox::{Outbox, OutboxOptions, SpoolUse, StreamKey, Switches};
use super::receiver::Input;
use super::settings::LogSettings;
use super::spec::{ASCII_WRITER, LogSpec};
use super::spool::Spool;
use crate::events::BatchReceipt;
use crate::log::{Column, Record};
use crate::pools::Pool;
use crate::topics;

/// How long a batch waits for any logger to come up before it goes out as Zeek sends it.
pub const DEFAULT_HOLD: Duration = Duration::from_secs(30);

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
    /// None inside once it is closed.
    spool: Option<Arc<Mutex<Option<Spool>>>>,
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
                spool: spool.map(|spool| Arc::new(Mutex::new(Some(spool)))),
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
