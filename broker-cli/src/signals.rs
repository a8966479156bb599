//! SIGINT and SIGTERM ask the program to drain and stop; a second one ends it at once.

use std::future::Future;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that ask us to stop. They are caught from [`StopSignals::install`] on, so that one that comes while
/// a command starts is not lost.
#[derive(Debug)]
pub(crate) struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignals {
    /// Catches the signals from now on.
    pub(crate) fn install() -> anyhow::Result<Self> {
        let catch = |kind| signal(kind).context("cannot catch signals");
        Ok(Self {
            interrupt: catch(SignalKind::interrupt())?,
            terminate: catch(SignalKind::terminate())?,
        })
    }

    /// Resolves with the signal's exit code by convention (128 + number) when one arrives.
    ///
    /// # Cancel safety
    /// Safe: a signal that came meanwhile is seen by the next call.
    pub(crate) async fn received(&mut self) -> u8 {
        tokio::select! {
            _ = self.interrupt.recv() => 130,
            _ = self.terminate.recv() => 143,
        }
    }

    /// Runs `drain` to its end, unless another signal says that nobody wants to wait for it.
    pub(crate) async fn drain<T>(&mut self, drain: impl Future<Output = T>) -> anyhow::Result<T> {
        tokio::select! {
            done = drain => Ok(done),
            _ = self.received() => Err(anyhow::anyhow!("stopped by a second signal before everything was drained")),
        }
    }
}
