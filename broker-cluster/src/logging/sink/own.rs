//! A sink of the program's own: what it implements, and how it is set up.

use std::error::Error;
use std::fmt;
use std::future::{Future, ready};
use std::io;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::time::Duration;

use super::DEFAULT_QUEUE_BYTES;
use super::batch::LogBatch;
use crate::log::{LogColumnError, LogFieldError};

/// Where a program takes the records of its logger, beside the files.
///
/// It runs on a thread of its own, which is inside the runtime, so that it may block as well as await. It gets one batch
/// after the other, each once its records are in their file; what waits for it is bounded, as it is for every sink. One that
/// panics loses the batch, which counts as refused, and gets the next.
///
/// ```
/// use broker_cluster::logging::{LogBatch, LogSink, LogSinkError};
///
/// struct Database { /* a connection */ }
///
/// impl LogSink for Database {
///     async fn write(&mut self, batch: &LogBatch) -> Result<(), LogSinkError> {
///         for record in batch.records() {
///             // insert into the table batch.path()
/// #           let _ = record;
///         }
///         Ok(())
///     }
///
///     async fn close(&mut self) {
///         // commit
///     }
/// }
/// ```
pub trait LogSink: Send + 'static {
    /// Takes a batch: when it returns `Ok`, the records count as sent.
    ///
    /// # Errors
    /// They were not taken: to be offered again, or never ([`LogSinkError`]).
    ///
    /// # Cancel safety
    /// The future is dropped when the logger's time to close is over; its records count as dropped then.
    fn write(&mut self, batch: &LogBatch) -> impl Future<Output = Result<(), LogSinkError>>;

    /// The end, behind the last batch; the logger waits for it for a while.
    fn close(&mut self) -> impl Future<Output = ()> {
        ready(())
    }
}

/// Why a sink does not take a batch.
///
/// Errors of I/O are to be tried again, columns that do not fit a struct are not; so `?` makes of them. For others say which:
/// `.map_err(LogSinkError::retry)`.
#[derive(Debug)]
pub struct LogSinkError {
    pub(super) reason: Box<dyn Error + Send + Sync>,
    pub(super) again: bool,
    pub(super) after: Option<Duration>,
}

impl LogSinkError {
    /// Not now: the same batch comes again, after 100 ms doubling to 30 s.
    pub fn retry(reason: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            reason: reason.into(),
            again: true,
            after: None,
        }
    }

    /// Never: the batch counts as dropped.
    pub fn refuse(reason: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            again: false,
            ..Self::retry(reason)
        }
    }

    /// Again, but not before `wait` is over, two minutes at most.
    #[must_use]
    pub const fn after(mut self, wait: Duration) -> Self {
        self.after = Some(wait);
        self
    }
}

impl fmt::Display for LogSinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)
    }
}

impl Error for LogSinkError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.reason.source()
    }
}

impl From<io::Error> for LogSinkError {
    fn from(error: io::Error) -> Self {
        Self::retry(error)
    }
}

impl From<LogColumnError> for LogSinkError {
    fn from(error: LogColumnError) -> Self {
        Self::refuse(error)
    }
}

impl From<LogFieldError> for LogSinkError {
    fn from(error: LogFieldError) -> Self {
        Self::refuse(error)
    }
}

/// A sink of a program and its settings, for
/// [`ClusterNodeBuilder::log_sink`](crate::ClusterNodeBuilder::log_sink).
///
/// ```
/// use broker_cluster::logging::LogSinkSpec;
///
/// let (alerts, received) = std::sync::mpsc::channel();
/// let sink = LogSinkSpec::from_fn("alerts", move |batch| {
///     for line in batch.to_json_lines().split_inclusive(|byte| *byte == b'\n') {
///         let _ = alerts.send(line.to_vec());
///     }
///     Ok(())
/// })
/// .streams(["Notice::LOG", "SSH::GUESS_LOG"]);
/// # drop((sink, received));
/// ```
pub struct LogSinkSpec {
    pub(super) name: String,
    pub(super) streams: Vec<String>,
    pub(super) max_bytes: NonZeroUsize,
    pub(super) drop_oldest: bool,
    pub(super) sink: Box<dyn AnySink>,
}

impl LogSinkSpec {
    /// A sink with the default settings. Its name, which no other sink of the node may have, is used in counters and
    /// messages.
    #[must_use]
    pub fn new(name: impl Into<String>, sink: impl LogSink) -> Self {
        Self {
            name: name.into(),
            streams: Vec::new(),
            max_bytes: DEFAULT_QUEUE_BYTES,
            drop_oldest: true,
            sink: Box::new(sink),
        }
    }

    /// A closure as a sink.
    #[must_use]
    pub fn from_fn(
        name: impl Into<String>,
        write: impl FnMut(&LogBatch) -> Result<(), LogSinkError> + Send + 'static,
    ) -> Self {
        Self::new(name, Closure(write))
    }

    /// The ids of the streams it gets, such as `Conn::LOG`. Default: all.
    #[must_use]
    pub fn streams(mut self, streams: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.streams = streams.into_iter().map(Into::into).collect();
        self
    }

    /// Bytes of memory that may wait for it, about. Default: 64 MiB. Batches have about 1 MiB at most, unless a single
    /// record has more.
    #[must_use]
    pub const fn max_bytes(mut self, bytes: NonZeroUsize) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Whether the oldest records give way to new ones when it is full; otherwise the new ones are dropped. Default: yes.
    #[must_use]
    pub const fn drop_oldest(mut self, oldest: bool) -> Self {
        self.drop_oldest = oldest;
        self
    }
}

impl fmt::Debug for LogSinkSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogSinkSpec")
            .field("name", &self.name)
            .field("streams", &self.streams)
            .finish_non_exhaustive()
    }
}

struct Closure<F>(F);

impl<F> LogSink for Closure<F>
where
    F: FnMut(&LogBatch) -> Result<(), LogSinkError> + Send + 'static,
{
    fn write(&mut self, batch: &LogBatch) -> impl Future<Output = Result<(), LogSinkError>> {
        ready((self.0)(batch))
    }
}

/// A future of a sink. It never leaves the sink's thread.
pub(super) type SinkFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Any [`LogSink`].
pub(super) trait AnySink: Send {
    fn write<'a>(&'a mut self, batch: &'a LogBatch) -> SinkFuture<'a, Result<(), LogSinkError>>;

    fn close(&mut self) -> SinkFuture<'_, ()>;
}

impl<S: LogSink> AnySink for S {
    fn write<'a>(&'a mut self, batch: &'a LogBatch) -> SinkFuture<'a, Result<(), LogSinkError>> {
        Box::pin(LogSink::write(self, batch))
    }

    fn close(&mut self) -> SinkFuture<'_, ()> {
        Box::pin(LogSink::close(self))
    }
}
