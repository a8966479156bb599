//! The two halves of a native link, over any byte stream.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use broker_core::{
    BoxFuture, EndpointId, Envelope, LinkError, LinkSink, LinkSource, MAX_PAYLOAD, RateLimit,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::deframer::{Deframer, Next};
use super::frame::FrameCodec;
use super::limits::{MAX_ENVELOPES_PER_READ, MAX_READ, MIN_READ};

/// A payload of so many bytes is not copied into the batch but written by itself.
const WRITE_ALONE: usize = 64 << 10;

/// Where core's writer puts its batches.
#[derive(Debug)]
pub(crate) struct NativeSink<W> {
    writer: W,
    codec: FrameCodec,
    /// The batch that is being written; its memory is used again.
    out: Vec<u8>,
}

impl<W: AsyncWrite + Send + Unpin + 'static> NativeSink<W> {
    pub(crate) const fn new(writer: W, codec: FrameCodec) -> Self {
        Self {
            writer,
            codec,
            out: Vec::new(),
        }
    }

    async fn write(&mut self, batch: &mut Vec<Envelope>) -> std::io::Result<()> {
        self.out.clear();
        self.out.reserve(
            batch
                .iter()
                .filter(|envelope| envelope.payload.len() < WRITE_ALONE)
                .map(|envelope| self.codec.frame_len(envelope))
                .sum(),
        );
        for envelope in batch.drain(..) {
            if envelope.payload.len() < WRITE_ALONE {
                self.codec.put(&envelope, &mut self.out);
                continue;
            }
            if envelope.payload.len() > MAX_PAYLOAD {
                // Core lets no such message in; the check is here so that the frame's length holds in any case.
                tracing::error!(topic = %envelope.topic, size = envelope.payload.len(), "dropped a message too large to send");
                continue;
            }
            self.codec.put_head(&envelope, &mut self.out);
            self.writer.write_all(&self.out).await?;
            self.out.clear();
            self.writer.write_all(&envelope.payload).await?;
        }
        self.writer.write_all(&self.out).await?;
        self.writer.flush().await
    }
}

impl<W: AsyncWrite + Send + Unpin + 'static> LinkSink for NativeSink<W> {
    fn send<'a>(
        &'a mut self,
        batch: &'a mut Vec<Envelope>,
    ) -> BoxFuture<'a, Result<(), LinkError>> {
        Box::pin(async move {
            self.write(batch).await.map_err(|error| LinkError::Lost {
                reason: error.to_string(),
            })
        })
    }

    fn close(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            // The peer may be gone already, and then there is nobody to tell.
            let _ = self.writer.shutdown().await;
        })
    }
}

/// Where core's reader gets its batches.
#[derive(Debug)]
pub(crate) struct NativeSource<R> {
    reader: R,
    codec: FrameCodec,
    peer: EndpointId,
    deframer: Deframer,
    /// How much to read at a time: more while there is more.
    chunk: usize,
    rejected: u64,
    complaints: Complaints,
}

/// A bound on what the links of one transport log about bad frames: who sends nothing else may come again and again.
pub(crate) type Complaints = Arc<Mutex<RateLimit>>;

impl<R: AsyncRead + Send + Unpin + 'static> NativeSource<R> {
    /// Goes on with what the handshake has read but not used.
    pub(crate) fn new(
        reader: R,
        codec: FrameCodec,
        peer: EndpointId,
        deframer: Deframer,
        complaints: Complaints,
    ) -> Self {
        Self {
            reader,
            codec,
            peer,
            deframer,
            chunk: MIN_READ,
            rejected: 0,
            complaints,
        }
    }

    /// Takes what has come; whether it was anything.
    fn take(&mut self, batch: &mut Vec<Envelope>) -> Result<bool, LinkError> {
        let before = (batch.len(), self.rejected);
        let mut run = self.deframer.next_run(MAX_ENVELOPES_PER_READ);
        while let Some(range) = run.next() {
            // An empty frame means nothing (broker-wire reference, 1.1).
            if range.is_empty() {
                continue;
            }
            match self.codec.read(run.bytes(), range) {
                Ok(envelope) => batch.push(envelope),
                Err(bad) => self.reject(&bad),
            }
        }
        if (batch.len(), self.rejected) != before {
            return Ok(true);
        }
        match self.deframer.next() {
            Ok(Next::Skipped { len }) => {
                let what = format_args!("a frame of {len} bytes is over the limit");
                self.reject(&what);
                Ok(true)
            }
            // A run stops before a complete frame only where it has been long enough.
            Ok(Next::More | Next::Frame(_)) => Ok(false),
            Err(bad) => Err(LinkError::InvalidFrame {
                reason: bad.to_string(),
            }),
        }
    }

    fn reject(&mut self, what: &dyn fmt::Display) {
        self.rejected += 1;
        let mut complaints = self
            .complaints
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(suppressed) = complaints.check(Instant::now()) {
            tracing::warn!(peer = %self.peer, suppressed, "dropped a frame: {what}");
        }
    }
}

impl<R: AsyncRead + Send + Unpin + 'static> LinkSource for NativeSource<R> {
    fn recv<'a>(
        &'a mut self,
        batch: &'a mut Vec<Envelope>,
    ) -> BoxFuture<'a, Result<bool, LinkError>> {
        Box::pin(async move {
            loop {
                if self.take(batch)? {
                    return Ok(true);
                }
                let buffer = self.deframer.buffer();
                buffer.reserve(self.chunk);
                let room = buffer.capacity() - buffer.len();
                match self.reader.read_buf(buffer).await {
                    Ok(0) if self.deframer.is_between_frames() => return Ok(false),
                    Ok(0) => {
                        return Err(LinkError::Lost {
                            reason: "closed in the middle of a frame".to_owned(),
                        });
                    }
                    Ok(read) if read == room => self.chunk = (2 * self.chunk).min(MAX_READ),
                    Ok(read) if read < self.chunk / 4 => {
                        self.chunk = (self.chunk / 2).max(MIN_READ)
                    }
                    Ok(_) => {}
                    Err(error) => {
                        return Err(LinkError::Lost {
                            reason: error.to_string(),
                        });
                    }
                }
            }
        })
    }

    fn take_rejected(&mut self) -> u64 {
        std::mem::take(&mut self.rejected)
    }
}
