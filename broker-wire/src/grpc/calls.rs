//! The calls of one connection that are under way: from the request until the last of the answer was taken to be written.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tonic::Status;
use tonic::body::Body;

/// Counts the calls of one connection.
#[derive(Debug)]
pub(crate) struct Calls(TaskTracker);

/// A call under way, until it is dropped.
#[derive(Debug)]
pub(crate) struct Call {
    _token: TaskTrackerToken,
}

impl Default for Calls {
    fn default() -> Self {
        let tracker = TaskTracker::new();
        // It tells whenever there are none, not only when there can be no more.
        tracker.close();
        Self(tracker)
    }
}

impl Calls {
    pub(crate) fn begin(&self) -> Call {
        Call {
            _token: self.0.token(),
        }
    }

    pub(crate) fn are_none(&self) -> bool {
        self.0.is_empty()
    }

    /// Waits until there are none.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn over(&self) {
        self.0.wait().await;
    }
}

/// The body of an answer, with the call it belongs to.
#[derive(Debug)]
pub(crate) struct Counted {
    body: Body,
    _call: Call,
}

impl Counted {
    pub(crate) const fn new(body: Body, call: Call) -> Self {
        Self { body, _call: call }
    }
}

impl hyper::body::Body for Counted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn calls_are_over_when_the_last_answer_is_dropped_and_may_begin_again() {
        let calls = Calls::default();
        calls.over().await;
        let (first, second) = (calls.begin(), calls.begin());
        let answer = Counted::new(Body::empty(), first);
        drop(second);
        assert!(!calls.are_none());
        let waiting = tokio::time::timeout(std::time::Duration::from_secs(1), calls.over());
        assert!(waiting.await.is_err());
        drop(answer);
        calls.over().await;
        let again = calls.begin();
        assert!(!calls.are_none());
        drop(again);
    }
}
