//! One `Peering.Connect` call, the same on both sides: frames out, frames in.
//!
//! ```text
//! writer task --Bytes--> [2 frames] --> FrameBody --> HTTP/2 --> socket
//! reader task <--Envelopes-- BatchReader <-- Deframer <-- HTTP/2 <-- socket
//! ```
//!
//! The call is made and answered on the level of HTTP bodies instead of through tonic's codecs: a frame
//! goes out as the one buffer it was encoded into, and what comes in is read where HTTP/2 has put it.
//! On the wire it is gRPC like any other.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use broker_core::handshake::{HandshakeError, HandshakeFrame, HandshakeIo};
use broker_core::{BoxFuture, EndpointId, Envelope, LinkError, LinkSink, LinkSource, MAX_PAYLOAD};
use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming};
use hyper::http::{HeaderMap, HeaderValue, Response, StatusCode};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::dial::{Alive, describe};
use super::settings::FRAMES_IN_FLIGHT;
use crate::frame::FrameError;
use crate::frame::batch::{BatchEncoder, BatchReader};
use crate::frame::deframer::Deframer;
use crate::frame::hello::{decode_handshake, encode_handshake, one_line};
use crate::frame::limits::{MAX_ENVELOPES_PER_READ, MAX_FRAME, MAX_HANDSHAKE_FRAME};

/// The outgoing half of a call, as HTTP/2 pulls it.
#[derive(Debug)]
pub(crate) struct FrameBody {
    frames: mpsc::Receiver<Bytes>,
    /// A server ends a call with its status; a client just ends.
    trailers: Option<HeaderMap>,
    _done: DropGuard,
}

/// The outgoing half of a call, as we fill it.
#[derive(Debug)]
pub(crate) struct FrameSender {
    /// `None` once closed.
    frames: Option<mpsc::Sender<Bytes>>,
    /// Cancelled when HTTP/2 has taken everything, or given up.
    done: CancellationToken,
}

/// A channel of a few frames. Only a server's body has trailers.
pub(crate) fn frame_channel(trailers: bool) -> (FrameSender, FrameBody) {
    let (sender, receiver) = mpsc::channel(FRAMES_IN_FLIGHT);
    let done = CancellationToken::new();
    let trailers = trailers
        .then(|| HeaderMap::from_iter([(GRPC_STATUS.clone(), HeaderValue::from_static("0"))]));
    let body = FrameBody {
        frames: receiver,
        trailers,
        _done: done.clone().drop_guard(),
    };
    (
        FrameSender {
            frames: Some(sender),
            done,
        },
        body,
    )
}

impl Body for FrameBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        Poll::Ready(match ready!(this.frames.poll_recv(cx)) {
            Some(bytes) => Some(Ok(Frame::data(bytes))),
            None => this
                .trailers
                .take()
                .map(|trailers| Ok(Frame::trailers(trailers))),
        })
    }
}

impl FrameSender {
    /// Waits for room for one more frame.
    async fn reserve(&self) -> Option<mpsc::Permit<'_, Bytes>> {
        self.frames.as_ref()?.reserve().await.ok()
    }
}

/// Why nothing more comes in.
#[derive(Debug)]
enum StreamError {
    /// The connection broke.
    Broken(String),
    /// What answered is not what we called.
    NotPeering(String),
    /// The other side ended the call with an error.
    Status(String),
    /// What came is no frame.
    Frame(FrameError),
}

/// The incoming half of a call.
pub(crate) struct FrameSource {
    body: IncomingBody,
    deframer: Deframer,
    /// Whether what is at the other end is known to speak of peerings.
    answered: bool,
    /// Of a client: where the body goes when nobody wants to read it any more.
    unread: Option<Unread>,
}

/// What a client has not read of the answer when it stops to read.
///
/// A client that drops the answer cancels its call, and HTTP/2 then throws away what the call had still
/// to send: a refusal, say. So the answer is kept until the other side has ended it.
#[derive(Clone, Default)]
pub(crate) struct Unread(Arc<Mutex<Option<IncomingBody>>>);

impl Unread {
    /// Waits until the other side has ended the answer.
    pub(crate) async fn drain(self) {
        let body = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let body = match body {
            Some(IncomingBody::Open(body)) => Some(body),
            Some(IncomingBody::Awaited(response)) => response.await.ok().map(Response::into_body),
            Some(IncomingBody::Ended) | None => None,
        };
        if let Some(mut body) = body {
            while let Some(Ok(_)) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {}
        }
    }
}

impl Drop for FrameSource {
    fn drop(&mut self) {
        if let Some(unread) = &self.unread {
            let body = std::mem::replace(&mut self.body, IncomingBody::Ended);
            *unread.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
        }
    }
}

enum IncomingBody {
    /// A client's: the answer has not begun.
    Awaited(BoxFuture<'static, Result<Response<Incoming>, hyper::Error>>),
    Open(Incoming),
    Ended,
}

impl FrameSource {
    /// Of a server: the body of the request.
    pub(crate) fn of_request(body: Incoming) -> Self {
        Self::new(IncomingBody::Open(body), None)
    }

    /// Of a client: the body of the response that is to come.
    pub(crate) fn of_response(
        response: impl Future<Output = Result<Response<Incoming>, hyper::Error>> + Send + 'static,
        unread: Unread,
    ) -> Self {
        Self::new(IncomingBody::Awaited(Box::pin(response)), Some(unread))
    }

    fn new(body: IncomingBody, unread: Option<Unread>) -> Self {
        Self {
            body,
            deframer: Deframer::new(MAX_HANDSHAKE_FRAME),
            answered: unread.is_none(),
            unread,
        }
    }

    /// Whether what is at the other end is known to speak of peerings.
    pub(crate) const fn has_answered(&self) -> bool {
        self.answered
    }

    /// The next frame; `None` at the orderly end.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamError>> {
        // A peer that sends nothing but empty frames must not keep its reader from yielding.
        let coop = ready!(tokio::task::coop::poll_proceed(cx));
        let next = ready!(self.poll_frame(cx));
        coop.made_progress();
        Poll::Ready(next)
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamError>> {
        loop {
            if let Some(message) = self.deframer.next().map_err(StreamError::Frame)? {
                return Poll::Ready(Ok(Some(message)));
            }
            match &mut self.body {
                IncomingBody::Awaited(response) => {
                    let response = ready!(response.as_mut().poll(cx));
                    // It has resolved: whatever came of it, nobody may await it again.
                    self.body = IncomingBody::Ended;
                    let response =
                        response.map_err(|error| StreamError::Broken(describe(&error)))?;
                    check_response(&response)?;
                    self.body = IncomingBody::Open(response.into_body());
                    self.answered = true;
                }
                IncomingBody::Open(body) => match ready!(Pin::new(body).poll_frame(cx)) {
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(chunk) => self.deframer.push(chunk),
                        Err(frame) => {
                            if let Ok(trailers) = frame.into_trailers() {
                                check_status(&trailers)?;
                            }
                        }
                    },
                    Some(Err(error)) => {
                        return Poll::Ready(Err(StreamError::Broken(describe(&error))));
                    }
                    None => self.body = IncomingBody::Ended,
                },
                IncomingBody::Ended => {
                    return Poll::Ready(
                        self.deframer
                            .finish()
                            .map(|()| None)
                            .map_err(StreamError::Frame),
                    );
                }
            }
        }
    }
}

fn check_response(response: &Response<Incoming>) -> Result<(), StreamError> {
    if response.status() != StatusCode::OK {
        return Err(StreamError::NotPeering(format!(
            "HTTP status {}",
            response.status()
        )));
    }
    let grpc = response
        .headers()
        .get(hyper::http::header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
    if !grpc {
        return Err(StreamError::NotPeering("the answer is not gRPC".to_owned()));
    }
    check_status(response.headers()).map_err(|error| match error {
        StreamError::Status(reason) => StreamError::NotPeering(reason),
        other => other,
    })
}

fn check_status(headers: &HeaderMap) -> Result<(), StreamError> {
    match tonic::Status::from_header_map(headers) {
        Some(status) if status.code() != tonic::Code::Ok => Err(StreamError::Status(format!(
            "{:?}: {}",
            status.code(),
            one_line(status.message())
        ))),
        _ => Ok(()),
    }
}

/// Both halves while hands are being shaken. (The source goes before what keeps the connection open.)
pub(crate) struct GrpcIo {
    pub(crate) sender: FrameSender,
    pub(crate) source: FrameSource,
    pub(crate) alive: Alive,
}

impl GrpcIo {
    /// The two halves of the link to `peer`.
    pub(crate) fn into_link(
        mut self,
        local: EndpointId,
        peer: EndpointId,
    ) -> (GrpcSink, GrpcSource) {
        self.source.deframer.set_limit(MAX_FRAME);
        let sink = GrpcSink {
            sender: self.sender,
            encoder: BatchEncoder::new(local),
            _alive: Arc::clone(&self.alive),
        };
        (
            sink,
            GrpcSource {
                source: self.source,
                peer,
                batch: None,
                held: None,
                _alive: self.alive,
            },
        )
    }
}

impl HandshakeIo for GrpcIo {
    async fn send(&mut self, frame: HandshakeFrame) -> Result<(), HandshakeError> {
        let permit = self
            .sender
            .reserve()
            .await
            .ok_or_else(|| HandshakeError::Disconnected {
                reason: "the connection is gone".to_owned(),
            });
        permit.map(|permit| permit.send(encode_handshake(frame)))
    }

    async fn recv(&mut self) -> Result<HandshakeFrame, HandshakeError> {
        loop {
            let next = poll_fn(|cx| self.source.poll_next(cx)).await;
            match next {
                Ok(Some(frame)) => {
                    if let Some(frame) = decode_handshake(frame)? {
                        return Ok(frame);
                    }
                }
                Ok(None) => {
                    return Err(HandshakeError::Disconnected {
                        reason: "the peer closed the connection".to_owned(),
                    });
                }
                Err(
                    StreamError::Broken(reason)
                    | StreamError::NotPeering(reason)
                    | StreamError::Status(reason),
                ) => {
                    return Err(HandshakeError::Disconnected { reason });
                }
                Err(StreamError::Frame(error)) => {
                    return Err(HandshakeError::Protocol {
                        reason: error.to_string(),
                    });
                }
            }
        }
    }
}

/// Where core's writer puts its batches.
pub(crate) struct GrpcSink {
    sender: FrameSender,
    encoder: BatchEncoder,
    _alive: Alive,
}

impl LinkSink for GrpcSink {
    fn send<'a>(
        &'a mut self,
        batch: &'a mut Vec<Envelope>,
    ) -> BoxFuture<'a, Result<(), LinkError>> {
        Box::pin(async move {
            if batch
                .iter()
                .any(|envelope| envelope.payload.len() > MAX_PAYLOAD)
            {
                batch.retain(fits);
            }
            let mut rest = batch.drain(..);
            while !rest.as_slice().is_empty() {
                let permit = self.sender.reserve().await.ok_or_else(|| LinkError::Lost {
                    reason: "the connection is gone".to_owned(),
                })?;
                let encoded = self.encoder.encode(rest.as_slice());
                rest.by_ref().take(encoded.count).for_each(drop);
                permit.send(encoded.bytes);
            }
            Ok(())
        })
    }

    fn close(&mut self) -> BoxFuture<'_, ()> {
        self.sender.frames = None;
        Box::pin(self.sender.done.cancelled())
    }
}

/// Core lets no such message in; the check is here so that the frame's length holds in any case.
fn fits(envelope: &Envelope) -> bool {
    let fits = envelope.payload.len() <= MAX_PAYLOAD;
    if !fits {
        tracing::error!(topic = %envelope.topic, size = envelope.payload.len(), "dropped a message too large to send");
    }
    fits
}

/// Where core's reader gets its batches.
pub(crate) struct GrpcSource {
    source: FrameSource,
    peer: EndpointId,
    /// A frame that has not been read to its end.
    batch: Option<BatchReader>,
    /// How the stream ended, while messages that came before were still to be handed over.
    held: Option<Result<Option<Bytes>, StreamError>>,
    _alive: Alive,
}

impl LinkSource for GrpcSource {
    fn recv<'a>(
        &'a mut self,
        batch: &'a mut Vec<Envelope>,
    ) -> BoxFuture<'a, Result<bool, LinkError>> {
        Box::pin(poll_fn(move |cx| self.poll_recv(cx, batch)))
    }
}

impl GrpcSource {
    /// Appends the messages of the next frame that has any, and of those that have arrived with it.
    fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
        batch: &mut Vec<Envelope>,
    ) -> Poll<Result<bool, LinkError>> {
        let before = batch.len();
        let full = before + MAX_ENVELOPES_PER_READ;
        loop {
            if let Some(reader) = &mut self.batch {
                if reader.read(batch, full - batch.len()).map_err(invalid)? {
                    return Poll::Ready(Ok(true));
                }
                self.batch = None;
            }
            let next = match self.held.take() {
                Some(end) => end,
                None => match self.source.poll_next(cx) {
                    Poll::Pending if batch.len() > before => return Poll::Ready(Ok(true)),
                    next => ready!(next),
                },
            };
            match next {
                Ok(Some(frame)) => self.batch = Some(BatchReader::new(frame, self.peer)),
                // What there is goes first.
                end if batch.len() > before => {
                    self.held = Some(end);
                    return Poll::Ready(Ok(true));
                }
                Ok(None) => return Poll::Ready(Ok(false)),
                Err(StreamError::Frame(error)) => return Poll::Ready(Err(invalid(error))),
                Err(
                    StreamError::Broken(reason)
                    | StreamError::NotPeering(reason)
                    | StreamError::Status(reason),
                ) => {
                    return Poll::Ready(Err(LinkError::Lost { reason }));
                }
            }
        }
    }
}

fn invalid(error: FrameError) -> LinkError {
    LinkError::InvalidFrame {
        reason: error.to_string(),
    }
}

static GRPC_STATUS: hyper::http::HeaderName = hyper::http::HeaderName::from_static("grpc-status");
