//! What every node does around its work: it says when it is ready, waits until it is told to stop, and drains.

use std::future::Future;

use broker_core::PeerUrl;
use tokio::io::AsyncReadExt as _;

use crate::output::Output;
use crate::signals::StopSignals;

/// A node between its start and its end.
#[derive(Debug)]
pub(super) struct Running {
    signals: StopSignals,
    supervised: bool,
}

impl Running {
    /// Catches signals from now on; `supervised` also stops when stdin is closed.
    pub(super) fn begin(supervised: bool) -> anyhow::Result<Self> {
        Ok(Self {
            signals: StopSignals::install()?,
            supervised,
        })
    }

    /// Prints where the node listens and that it is ready.
    pub(super) fn announce(&self, bound: &[PeerUrl]) -> anyhow::Result<()> {
        let mut output = Output::stdout();
        for url in bound {
            output.line(format!("listening {url}"))?;
        }
        output.line("ready")?;
        output.flush()
    }

    /// Waits for SIGINT, SIGTERM, or the end of the supervisor's wish.
    ///
    /// # Cancel safety
    /// Safe.
    pub(super) async fn until_stopped(&mut self) {
        tokio::select! {
            _ = self.signals.received() => {}
            () = stdin_closed(), if self.supervised => {}
        }
        tracing::info!("stopping");
    }

    /// Runs `drain` to its end, or until a second signal.
    pub(super) async fn drain(&mut self, drain: impl Future<Output = ()>) -> anyhow::Result<()> {
        self.signals.drain(drain).await
    }
}

async fn stdin_closed() {
    let mut ignored = [0; 64];
    while tokio::io::stdin()
        .read(&mut ignored)
        .await
        .is_ok_and(|read| read > 0)
    {}
}
