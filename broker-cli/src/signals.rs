//! SIGINT and SIGTERM ask the program to drain and stop; a second one, a moment later, ends it at once.

use std::future::Future;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

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

    /// Runs `drain` to its end, unless another signal says that nobody wants to wait for it. One that follows at once
    /// is the first one's echo: `timeout` and some supervisors signal the process and then its group.
    pub(crate) async fn drain<T>(&mut self, drain: impl Future<Output = T>) -> anyhow::Result<T> {
        let began = Instant::now();
        let hurried = async {
            while began.elapsed() < ECHO {
                self.received().await;
            }
        };
        tokio::select! {
            done = drain => Ok(done),
            () = hurried => Err(anyhow::anyhow!("stopped by a second signal before everything was drained")),
        }
    }
}

/// A signal that comes so soon after the first one says nothing new.
const ECHO: Duration = Duration::from_millis(250);
