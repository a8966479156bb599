//! Writing log records from a program: [`LogClient`] and its streams, and the task that sends what they write.
//!
//! The rules are [`Outbox`]'s; here are the lock around it, the waiting, and the sending.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use broker_core::zeek::{LogCreate, LogField, WriterInfo};
use broker_core::{Endpoint, EndpointId, LogCounters, Message, Timestamp};
use bytes::Bytes;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::outbox::{FLUSH_INTERVAL, Outbox, OutboxOptions, StreamKey, Transmit};
use super::receiver::Input;
use super::wire::MAX_RECORD;
use crate::events::BatchReceipt;
use crate::log::{LogFormat, LogStyle, LogValue, Schema, serial};
use crate::topics;

/// The writer Zeek uses for files, and the only one our loggers have.
pub const ASCII_WRITER: &str = "Log::WRITER_ASCII";

/// How long a batch waits for any logger to come up before it goes out as Zeek sends it.
pub const DEFAULT_HOLD: Duration = Duration::from_secs(30);

/// A log to write: its stream, path, columns and settings.
#[derive(Clone, Debug, PartialEq)]
pub struct LogSpec {
    stream: String,
    schema: Schema,
    config: Vec<(String, String)>,
}

impl LogSpec {
    /// A log with these columns, in the stream that Zeek has for its path.
    #[must_use]
    pub fn new(schema: Schema) -> Self {
        Self {
            stream: schema.stream_id().into_owned(),
            schema,
            config: Vec::new(),
        }
    }

    /// Names the stream, such as `Conn::LOG`, if it is another than the path's.
    #[must_use]
    pub fn stream(mut self, id: impl Into<String>) -> Self {
        self.stream = id.into();
        self
    }

    /// Asks the logger for a form; by default it is the logger's choice.
    #[must_use]
    pub fn format(self, format: LogFormat) -> Self {
        self.style(&LogStyle::of(format))
    }

    /// Asks the logger for a style in all its details.
    #[must_use]
    pub fn style(mut self, style: &LogStyle) -> Self {
        self.config = style
            .to_config()
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        if !self.config.iter().any(|(name, _)| name == "use_json") {
            let json = if style.format == LogFormat::Json {
                "T"
            } else {
                "F"
            };
            self.config.push(("use_json".to_owned(), json.to_owned()));
        }
        self.config.sort_unstable();
        self
    }

    fn to_create(&self) -> LogCreate {
        let fields = self.schema.columns.iter().map(|column| {
            let (name, type_tag, subtype, optional) = column.to_wire();
            LogField {
                name: name.into(),
                secondary: None,
                type_tag,
                subtype,
                optional,
            }
        });
        LogCreate {
            stream: self.stream.as_str().into(),
            writer: ASCII_WRITER.into(),
            info: WriterInfo {
                path: self.schema.path.as_str().into(),
                rotation_base: 0.0,
                rotation_interval: 0.0,
                network_time: Timestamp::now().as_secs_f64(),
                config: self
                    .config
                    .iter()
                    .map(|(name, value)| (name.as_str().into(), value.as_str().into()))
                    .collect(),
                // A Zeek logger ends at the name of a function it does not have.
                post_processor: "".into(),
            },
            fields: fields.collect(),
        }
    }
}

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
    /// The process has too many log streams.
    #[error("too many log streams (at most {})", super::MAX_STREAMS)]
    TooManyStreams,
}

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
}

impl LogClient {
    /// Remote logging of an endpoint outside a cluster: records go to `zeek/logs/` and the stream id, to whoever
    /// subscribed. Ends with the endpoint.
    #[must_use]
    pub fn standalone(endpoint: &Endpoint) -> Self {
        let options = OutboxOptions {
            writer: endpoint.id(),
            loggers: None,
            local: false,
            hold: DEFAULT_HOLD,
        };
        let client = Self::new(endpoint.clone(), options);
        tokio::spawn(client.clone().run_until_stopping());
        client
    }

    pub(crate) fn new(endpoint: Endpoint, options: OutboxOptions) -> Self {
        Self {
            shared: Arc::new(Shared {
                endpoint,
                outbox: Mutex::new(Outbox::new(options)),
                wake: Notify::new(),
                progress: Notify::new(),
                closed: CancellationToken::new(),
                local: OnceLock::new(),
            }),
        }
    }

    /// Starts to write a log: announces it to the loggers.
    ///
    /// # Errors
    /// The node is shutting down, or has too many streams.
    pub async fn stream(&self, spec: LogSpec) -> Result<LogStream, LogError> {
        if self.shared.closed.is_cancelled() {
            return Err(LogError::Closed);
        }
        let create = spec.to_create().into_data().to_bytes();
        let key = StreamKey {
            stream: spec.stream.clone(),
            writer: ASCII_WRITER.to_owned(),
            path: spec.schema.path.clone(),
        };
        let (index, local) = {
            let mut outbox = self.outbox();
            (
                outbox
                    .add_stream(key, create.clone())
                    .ok_or(LogError::TooManyStreams)?,
                outbox.is_local(),
            )
        };
        if !local {
            let message = Message::from_encoded(topics::log_topic(spec.stream.as_bytes()), create);
            self.shared
                .endpoint
                .publish(message)
                .await
                .map_err(|_| LogError::Closed)?;
        }
        Ok(LogStream {
            client: self.clone(),
            index,
            schema: spec.schema,
            scratch: Vec::new(),
        })
    }

    /// Sends everything that is buffered, without waiting for receipts.
    pub fn flush(&self) {
        self.outbox().flush(Instant::now());
        self.shared.wake.notify_one();
    }

    /// Sends everything and waits until it is where it belongs: in a file, or with a logger that gives no receipts.
    /// `false`: not within `limit`.
    pub async fn drained(&self, limit: Duration) -> bool {
        self.flush();
        timeout(limit, async {
            loop {
                let progress = self.shared.progress.notified();
                tokio::pin!(progress);
                progress.as_mut().enable();
                if self.outbox().is_idle() {
                    return;
                }
                progress.await;
            }
        })
        .await
        .is_ok()
    }

    /// What happened to the records this process wrote, by stream id. On a node that writes log files itself its own
    /// records are counted by the logger.
    #[must_use]
    pub fn counters(&self) -> Vec<(String, LogCounters)> {
        let outbox = self.outbox();
        if outbox.is_local() {
            return Vec::new();
        }
        outbox
            .counters()
            .map(|(stream, counters)| (stream.to_owned(), counters))
            .collect()
    }

    /// Refuses further records; what is not done with is counted as dropped.
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
        let creates = {
            let outbox = self.outbox();
            if outbox.is_local() {
                Vec::new()
            } else {
                outbox.creates()
            }
        };
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
        {
            let mut outbox = self.outbox();
            batches
                .iter()
                .for_each(|batch| outbox.receipt(logger, *batch));
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
                }) => {
                    let reached = self
                        .shared
                        .endpoint
                        .publish(Message::from_encoded(topic, payload))
                        .await;
                    let peers = reached.map_or(0, |reached| reached.peers + reached.locals);
                    self.outbox().plain_done(stream, records, peers);
                    self.shared.progress.notify_waiters();
                }
            }
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
    schema: Schema,
    scratch: Vec<u8>,
}

impl LogStream {
    /// Path and columns.
    #[must_use]
    pub const fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Writes one record: resolves when it is buffered. Waits while too many batches have no receipt; what has been
    /// accepted is not lost when a logger dies.
    ///
    /// # Errors
    /// The record does not fit the columns, or the node is shutting down.
    ///
    /// # Cancel safety
    /// If the future is dropped before it resolves, the record was not accepted.
    pub async fn write(&mut self, record: &[LogValue]) -> Result<(), LogError> {
        self.scratch.clear();
        let encoded = serial::encode(record, &self.schema.columns, &mut self.scratch);
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
        let shared = &self.client.shared;
        loop {
            if self.try_write()? {
                return Ok(());
            }
            let progress = shared.progress.notified();
            tokio::pin!(progress);
            progress.as_mut().enable();
            if self.try_write()? {
                return Ok(());
            }
            tokio::select! {
                () = progress => {}
                () = shared.closed.cancelled() => return Err(LogError::Closed),
            }
        }
    }

    /// Writes what is in `scratch` if there is room.
    fn try_write(&self) -> Result<bool, LogError> {
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

#[cfg(test)]
mod tests {
    use broker_core::Data;
    use broker_core::zeek::Message as ZeekMessage;

    use super::*;
    use crate::log::{Column, ColumnType};

    fn columns(names: &[(&str, &str)]) -> Vec<Column> {
        let column = |(name, ty): &(&str, &str)| Column {
            optional: false,
            ..Column::new(*name, ColumnType::parse(ty).unwrap())
        };
        names.iter().map(column).collect()
    }

    #[test]
    fn our_log_create_is_byte_for_byte_zeek_s() {
        let recorded = include_str!("../../tests/golden/cluster-worker-logger.txt")
            .lines()
            .nth(1)
            .unwrap();
        let (topic, hex) = recorded.split_once(' ').unwrap();
        let payload: Vec<u8> = hex
            .as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect();
        let Ok(ZeekMessage::LogCreate(theirs)) =
            ZeekMessage::from_data(&Data::decode(&payload).unwrap())
        else {
            panic!("a LogCreate")
        };
        let schema = Schema {
            path: "cluster".to_owned(),
            columns: columns(&[("ts", "time"), ("node", "string"), ("message", "string")]),
        };
        let mut ours = LogSpec::new(schema).to_create();
        ours.info.network_time = theirs.info.network_time;
        assert_eq!(ours.into_data().to_bytes().as_ref(), payload);
        assert_eq!(
            topics::log_topic(b"Cluster::LOG").as_bytes(),
            topic.as_bytes()
        );
    }

    #[test]
    fn a_format_asked_for_is_said_and_none_is_not() {
        let schema = Schema {
            path: "x".to_owned(),
            columns: Vec::new(),
        };
        let config = |spec: LogSpec| spec.to_create().info.config;
        assert_eq!(config(LogSpec::new(schema.clone())), []);
        assert_eq!(
            config(LogSpec::new(schema.clone()).format(LogFormat::Tsv)),
            [("use_json".into(), "F".into())]
        );
        assert_eq!(
            config(LogSpec::new(schema).format(LogFormat::Json)),
            [("use_json".into(), "T".into())]
        );
    }
}
