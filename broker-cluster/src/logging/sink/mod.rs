//! Sinks: where a logger sends its records beside the files, as JSON lines.
//!
//! | file | what it holds |
//! |---|---|
//! | `target` | the addresses there are: `tcp://`, `unix://`, `http://`, `https://` |
//! | `secure` | TLS, as the program brings it |
//! | `delivery` | state machine: what an outcome means, and when to try again |
//! | `line_stream` | lines over TCP or a Unix socket |
//! | `http_post` | batches of lines as HTTP requests |
//!
//! A record goes to the sinks once it is in its file. Each sink has a queue of its own, bounded in bytes; when it is full the
//! oldest or the newest records are dropped, as it is set, and counted. A sink never holds up the files or other sinks. For each
//! sink, at any quiet moment: offered = sent + dropped + queued records.
//!
//! What is sent twice: records whose request got no answer, or that were being written when a connection broke. What is
//! lost without being counted: what a TCP or Unix socket had taken and its other end has not read when it goes away.

mod delivery;
mod http_post;
mod line_stream;
mod secure;
mod target;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use broker_core::queue::{self, Receiver, Sender, Weigh};
use broker_core::{OverflowPolicy, QueueOptions};
use bytes::{Bytes, BytesMut};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};

use self::delivery::{Delivery, Outcome, Verdict};
use self::http_post::HttpPost;
use self::line_stream::LineStream;
pub(crate) use self::secure::{Prepared, prepare};
pub use self::secure::{SinkClient, SinkSetupError, SinkStream, SinkTls, SinkTlsError};
pub use self::target::{HostPort, HttpAddress, SinkTarget, SinkTargetError};
use crate::layout::TlsSpec;
use crate::log::{JsonOptions, JsonWriter, LogValue, Schema};

/// Bytes of lines that are sent at a time, if no single line is longer.
pub const SINK_CHUNK: usize = 1 << 20;
/// Chunks in a sink's queue, beside its bound in bytes.
const QUEUE_CHUNKS: NonZeroUsize = NonZeroUsize::new(1 << 16).expect("not zero");

/// A sink of a logger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkOptions {
    /// Its name, in counters and messages.
    pub name: String,
    /// Where it is.
    pub target: SinkTarget,
    /// The ids of the streams it gets, such as `Conn::LOG`; empty: all. Default: all.
    pub streams: Vec<String>,
    /// Bytes that wait for it at most. Default: 64 MiB.
    pub max_bytes: NonZeroUsize,
    /// Whether the oldest records give way to new ones when it is full; otherwise the new ones are dropped. Default: yes.
    pub drop_oldest: bool,
    /// What `https://` takes: the CAs to trust, and the certificate to show if the server asks for one. Default: nothing,
    /// with which the server is not trusted.
    pub tls: TlsSpec,
}

impl SinkOptions {
    /// A sink with the default settings.
    #[must_use]
    pub fn new(name: impl Into<String>, target: SinkTarget) -> Self {
        Self {
            name: name.into(),
            target,
            streams: Vec::new(),
            max_bytes: NonZeroUsize::new(64 << 20).expect("not zero"),
            drop_oldest: true,
            tls: TlsSpec::default(),
        }
    }
}

/// What has become of a sink's records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SinkCounters {
    /// Records it was to get.
    pub offered: u64,
    /// Records it got, as far as can be known.
    pub sent: u64,
    /// Records dropped: no room, refused, or left at the end.
    pub dropped: u64,
    /// Attempts that failed and were made again.
    pub retries: u64,
}

impl SinkCounters {
    /// Records that wait or are on their way.
    #[must_use]
    pub const fn queued(&self) -> u64 {
        self.offered
            .saturating_sub(self.sent)
            .saturating_sub(self.dropped)
    }
}

#[derive(Debug, Default)]
struct Counts {
    offered: AtomicU64,
    sent: AtomicU64,
    dropped: AtomicU64,
    retries: AtomicU64,
}

/// Lines of one log, on their way to sinks.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    lines: Bytes,
    records: u64,
}

impl Weigh for Chunk {
    fn weight(&self) -> usize {
        self.lines.len()
    }
}

/// The records of one log as JSON lines, collected until they are in the file. Each line has the log's path as `_path`.
#[derive(Debug)]
pub(crate) struct SinkLines {
    writer: JsonWriter,
    begin: Vec<u8>,
    lines: Vec<u8>,
    records: u64,
}

impl SinkLines {
    pub(crate) fn new(schema: &Schema) -> Self {
        let path = serde_json::Value::from(schema.path.as_str());
        Self {
            writer: JsonWriter::new(JsonOptions::default(), schema),
            begin: format!("{{\"_path\":{path}").into_bytes(),
            lines: Vec::new(),
            records: 0,
        }
    }

    pub(crate) fn record(&mut self, record: &[LogValue]) {
        self.lines.extend_from_slice(&self.begin);
        let brace = self.lines.len();
        self.writer.record(record, &mut self.lines);
        if self.lines.get(brace + 1) == Some(&b'}') {
            self.lines.remove(brace);
        } else {
            self.lines[brace] = b',';
        }
        self.records += 1;
    }

    /// What has been collected, and how many records that is.
    pub(crate) fn take(&mut self) -> (Bytes, u64) {
        (
            Bytes::from(std::mem::take(&mut self.lines)),
            std::mem::take(&mut self.records),
        )
    }
}

/// The logger's end of a sink.
#[derive(Clone, Debug)]
pub(crate) struct SinkFeed {
    streams: Arc<[String]>,
    queue: Sender<Chunk>,
    counts: Arc<Counts>,
}

impl SinkFeed {
    pub(crate) fn wants(&self, stream: &str) -> bool {
        self.streams.is_empty() || self.streams.iter().any(|wanted| wanted == stream)
    }

    /// Takes lines, in chunks of about [`SINK_CHUNK`]. Never waits.
    pub(crate) fn offer(&self, lines: &Bytes, records: u64) {
        self.counts.offered.fetch_add(records, Ordering::Relaxed);
        for chunk in chunks(lines, records) {
            let records = chunk.records;
            // What the queue drops it counts itself.
            if let queue::Offer::Full(_) | queue::Offer::Closed(_) = self.queue.offer(chunk) {
                self.counts.dropped.fetch_add(records, Ordering::Relaxed);
            }
        }
    }
}

/// Cuts lines at line ends.
fn chunks(lines: &Bytes, records: u64) -> Vec<Chunk> {
    if lines.len() <= SINK_CHUNK {
        return vec![Chunk {
            lines: lines.clone(),
            records,
        }];
    }
    let mut all = Vec::new();
    let (mut start, mut end, mut count) = (0, 0, 0);
    for at in memchr::memchr_iter(b'\n', lines) {
        if at + 1 - start > SINK_CHUNK && count > 0 {
            all.push(Chunk {
                lines: lines.slice(start..end),
                records: count,
            });
            (start, count) = (end, 0);
        }
        end = at + 1;
        count += 1;
    }
    if count > 0 {
        all.push(Chunk {
            lines: lines.slice(start..end),
            records: count,
        });
    }
    all
}

/// A sink at work.
#[derive(Debug)]
pub(crate) struct Sink {
    name: String,
    feed: SinkFeed,
    task: JoinHandle<()>,
}

impl Sink {
    /// Starts it on the current runtime.
    pub(crate) fn start(prepared: Prepared) -> Self {
        let Prepared { options, client } = prepared;
        let counts = Arc::new(Counts::default());
        let policy = if options.drop_oldest {
            OverflowPolicy::DropOldest
        } else {
            OverflowPolicy::DropNewest
        };
        let bounds = QueueOptions::peer()
            .max_messages(QUEUE_CHUNKS)
            .max_bytes(options.max_bytes)
            .policy(policy);
        let dropped = Arc::clone(&counts);
        let (queue, chunks) = queue::channel_with(bounds, move |chunk: &Chunk, _| {
            dropped.dropped.fetch_add(chunk.records, Ordering::Relaxed);
        });
        let worker = Worker {
            name: options.name.clone(),
            connection: Connection::to(&options.target, client),
            counts: Arc::clone(&counts),
        };
        Self {
            name: options.name.clone(),
            feed: SinkFeed {
                streams: options.streams.as_slice().into(),
                queue,
                counts,
            },
            task: tokio::spawn(worker.run(chunks)),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn feed(&self) -> SinkFeed {
        self.feed.clone()
    }

    pub(crate) fn counters(&self) -> SinkCounters {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let counts = &self.feed.counts;
        // Read in an order in which no record is seen as done before it is seen as offered.
        let (sent, dropped) = (read(&counts.sent), read(&counts.dropped));
        SinkCounters {
            offered: read(&counts.offered),
            sent,
            dropped,
            retries: read(&counts.retries),
        }
    }

    /// Sends what waits until `deadline`; what is left then is dropped. Nothing is taken any more.
    pub(crate) async fn close(mut self, deadline: Instant) {
        self.feed.queue.close();
        if timeout_at(deadline, &mut self.task).await.is_err() {
            let left = self.counters().queued();
            tracing::warn!(
                sink = self.name,
                records = left,
                "log sink closed with records left"
            );
            self.task.abort();
            let _ = (&mut self.task).await;
            // The queue counted what was in it; this is what was on its way.
            let left = self.counters().queued();
            self.feed.counts.dropped.fetch_add(left, Ordering::Relaxed);
        }
    }
}

struct Worker {
    name: String,
    connection: Connection,
    counts: Arc<Counts>,
}

enum Connection {
    Lines(LineStream),
    Post(Box<HttpPost>),
}

impl Connection {
    fn to(target: &SinkTarget, tls: Option<Arc<dyn SinkClient>>) -> Self {
        match target {
            SinkTarget::Http(address) | SinkTarget::Https(address) => {
                Self::Post(Box::new(HttpPost::new(address.clone(), tls)))
            }
            other => Self::Lines(LineStream::new(other.clone())),
        }
    }

    async fn send(&mut self, lines: &Bytes) -> Outcome {
        match self {
            Self::Lines(stream) => stream.send(lines).await,
            Self::Post(post) => post.send(lines.clone()).await,
        }
    }
}

impl Worker {
    async fn run(mut self, mut chunks: Receiver<Chunk>) {
        let mut delivery = Delivery::default();
        let mut waiting = Vec::new();
        while chunks.recv_many(&mut waiting, MAX_MERGED, SINK_CHUNK).await > 0 {
            let chunk = merged(&mut waiting);
            self.deliver(&mut delivery, &chunk).await;
        }
    }

    async fn deliver(&mut self, delivery: &mut Delivery, chunk: &Chunk) {
        loop {
            let outcome = self.connection.send(&chunk.lines).await;
            let count = match delivery.judge(&outcome, fastrand::u64(..)) {
                Verdict::Done { recovered } => {
                    if recovered {
                        tracing::info!(sink = self.name, "log sink takes records again");
                    }
                    &self.counts.sent
                }
                Verdict::GiveUp => {
                    tracing::error!(
                        sink = self.name,
                        records = chunk.records,
                        "log sink refuses records: {outcome}"
                    );
                    &self.counts.dropped
                }
                Verdict::Again { after, first } => {
                    self.counts.retries.fetch_add(1, Ordering::Relaxed);
                    if first {
                        tracing::warn!(
                            sink = self.name,
                            "log sink does not take records: {outcome}"
                        );
                    }
                    sleep(after).await;
                    continue;
                }
            };
            count.fetch_add(chunk.records, Ordering::Relaxed);
            return;
        }
    }
}

fn merged(chunks: &mut Vec<Chunk>) -> Chunk {
    if chunks.len() == 1
        && let Some(only) = chunks.pop()
    {
        return only;
    }
    let mut lines = BytesMut::with_capacity(chunks.iter().map(|chunk| chunk.lines.len()).sum());
    let mut records = 0;
    for chunk in chunks.drain(..) {
        lines.extend_from_slice(&chunk.lines);
        records += chunk.records;
    }
    Chunk {
        lines: lines.freeze(),
        records,
    }
}

/// Chunks sent as one.
const MAX_MERGED: usize = 256;
/// How long a sink may take to accept a connection, and how long to take lines or answer a request.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;
