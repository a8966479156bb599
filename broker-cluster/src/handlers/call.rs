//! One handler, its types forgotten: reading the arguments, and calling it so that a panic stays in the call.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use broker_core::Topic;
use broker_core::convert::{ArgsError, FromArgs};
use broker_core::zeek::Event;

use super::incoming::Incoming;
use crate::panic::caught;

/// What a handler still has to do after it was called.
type Rest = Option<Pin<Box<dyn Future<Output = ()> + Send>>>;

type Begin = dyn Fn(&Topic, &Event) -> Result<Rest, ArgsError> + Send + Sync;

/// A handler.
pub(super) struct Call {
    begin: Box<Begin>,
    /// The types it wants, in Zeek's words.
    wants: fn() -> String,
}

/// How a call ended without a result.
#[derive(Debug)]
pub(super) enum Failed {
    /// It was not made: the arguments do not fit.
    Mismatch(ArgsError),
    /// It panicked, with this message.
    Panic(String),
}

impl Call {
    pub(super) fn sync<A: FromArgs + 'static>(
        handler: impl FnMut(Incoming<A>) + Send + 'static,
    ) -> Self {
        let handler = Mutex::new(handler);
        Self::new::<A>(move |event| {
            // A call that panicked before leaves the closure as it is, as a thread that unwinds would.
            handler.lock().unwrap_or_else(PoisonError::into_inner)(event);
            None
        })
    }

    pub(super) fn future<A: FromArgs + 'static, F>(
        handler: impl FnMut(Incoming<A>) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let handler = Mutex::new(handler);
        Self::new::<A>(move |event| {
            let future = handler.lock().unwrap_or_else(PoisonError::into_inner)(event);
            Some(Box::pin(future))
        })
    }

    fn new<A: FromArgs + 'static>(
        begin: impl Fn(Incoming<A>) -> Rest + Send + Sync + 'static,
    ) -> Self {
        Self {
            begin: Box::new(move |topic, event| Ok(begin(Incoming::read(topic, event)?))),
            wants: || A::type_names().join(", "),
        }
    }

    /// The types it wants, in Zeek's words.
    pub(super) fn wants(&self) -> String {
        (self.wants)()
    }

    /// Calls the handler and waits for its end.
    ///
    /// # Cancel safety
    /// Dropping the future drops the handler's where it is.
    pub(super) async fn run(&self, topic: &Topic, event: &Event) -> Result<(), Failed> {
        let begun = caught(|| (self.begin)(topic, event));
        match begun.map_err(Failed::Panic)?.map_err(Failed::Mismatch)? {
            Some(future) => Caught(future).await.map_err(Failed::Panic),
            None => Ok(()),
        }
    }
}

/// A future whose panics are results.
struct Caught(Pin<Box<dyn Future<Output = ()> + Send>>);

impl Future for Caught {
    type Output = Result<(), String>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match caught(|| self.0.as_mut().poll(cx)) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    }
}
