//! Calls that end when the node stops, whatever they are waiting for.
//!
//! A health or store watch would otherwise keep its connection open for as long as the client likes.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use broker_core::BoxFuture;
use bytes::Bytes;
use hyper::body::Frame;
use hyper::http::{HeaderMap, Request, Response};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::server::NamedService;

/// A service whose calls end with `UNAVAILABLE` once the token is cancelled.
#[derive(Clone, Debug)]
pub(crate) struct Stoppable<S> {
    service: S,
    stop: CancellationToken,
}

impl<S> Stoppable<S> {
    pub(crate) const fn new(service: S, stop: CancellationToken) -> Self {
        Self { service, stop }
    }
}

impl<S: NamedService> NamedService for Stoppable<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for Stoppable<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let call = self.service.call(request);
        let stop = self.stop.clone();
        Box::pin(async move {
            let stopped = Box::pin(stop.clone().cancelled_owned());
            match stop.run_until_cancelled(call).await {
                Some(Ok(response)) => Ok(response.map(|body| {
                    Body::new(StoppableBody {
                        body: Some(body),
                        stopped,
                    })
                })),
                Some(Err(never)) => match never {},
                None => Ok(stopping().into_http()),
            }
        })
    }
}

/// The answer to a call that the node's end has cut short.
pub(crate) fn stopping() -> Status {
    Status::unavailable("the node is shutting down")
}

struct StoppableBody {
    /// `None` once stopped.
    body: Option<Body>,
    stopped: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl hyper::body::Body for StoppableBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        if let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        if self.stopped.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.body = None;
        let mut trailers = HeaderMap::new();
        Poll::Ready(
            stopping()
                .add_header(&mut trailers)
                .ok()
                .map(|()| Ok(Frame::trailers(trailers))),
        )
    }

    fn is_end_stream(&self) -> bool {
        self.body
            .as_ref()
            .is_none_or(hyper::body::Body::is_end_stream)
    }
}
