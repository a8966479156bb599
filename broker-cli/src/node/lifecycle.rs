//! What every node does around its work: it answers for its health, says when it is ready, waits until it is told to stop
//! or to read its configuration again, and drains.

use std::future::Future;
use std::io;

use anyhow::Context as _;
use broker_cluster::HostPort;
use broker_core::PeerUrl;
use tokio::io::AsyncReadExt as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::departure::Departure;
use super::notify::Notifier;
use crate::metrics::{Monitor, Phase, Server, View};
use crate::output::Output;
use crate::signals::StopSignals;

/// A node between its start and its end.
#[derive(Debug)]
pub(super) struct Running {
    signals: StopSignals,
    hangups: Signal,
    supervised: bool,
    json: bool,
    notifier: Notifier,
    monitor: Monitor,
    server: Option<Server>,
}

/// What a node is told from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// Hand over and end.
    Stop,
    /// Read the configuration again.
    Reload,
}

/// How a node is run, whatever it does.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner<'a> {
    /// Its name, possibly empty.
    pub(super) name: &'a str,
    /// Whether it stops when stdin is closed.
    pub(super) supervised: bool,
    /// Whether it says on stdout, as JSON, what became of its messages.
    pub(super) json: bool,
    /// Where it serves metrics and health.
    pub(super) metrics: Option<&'a HostPort>,
}

impl Running {
    /// Catches signals and answers for the node's health from now on.
    pub(super) async fn begin(manner: Manner<'_>) -> anyhow::Result<Self> {
        let signals = StopSignals::install()?;
        let hangups = signal(SignalKind::hangup()).context("cannot catch signals")?;
        let notifier = Notifier::from_environment()?;
        let monitor = Monitor::new(manner.name);
        let server = match manner.metrics {
            Some(address) => Some(monitor.serve(address).await?),
            None => None,
        };
        if let Some(server) = &server {
            let mut output = Output::stdout();
            output.line(format!("metrics http://{}/metrics", server.address))?;
            output.flush()?;
        }
        Ok(Self {
            signals,
            hangups,
            supervised: manner.supervised,
            json: manner.json,
            notifier,
            monitor,
            server,
        })
    }

    /// Whether what passes through has to be counted by kind.
    pub(super) const fn is_measured(&self) -> bool {
        self.server.is_some()
    }

    /// Prints where the node listens and that it is ready.
    pub(super) fn announce(&self, bound: &[PeerUrl], view: View) -> anyhow::Result<()> {
        let mut output = Output::stdout();
        for url in bound {
            output.line(format!("listening {url}"))?;
        }
        // Whoever reads the line may ask at once.
        self.monitor.enters(Phase::Running(view));
        output.line("ready")?;
        output.flush()?;
        let urls: Vec<_> = bound.iter().map(ToString::to_string).collect();
        let status = match urls.as_slice() {
            [] => "ready".to_owned(),
            urls => format!("ready, listening on {}", urls.join(" ")),
        };
        self.notifier.ready(&status);
        Ok(())
    }

    /// The node behind the announcement is another one now.
    pub(super) fn replaced(&self, view: View) {
        self.monitor.enters(Phase::Running(view));
    }

    /// Waits for SIGINT, SIGTERM, SIGHUP, or the end of the supervisor's wish.
    ///
    /// # Cancel safety
    /// Safe.
    pub(super) async fn told(&mut self) -> Told {
        let told = tokio::select! {
            _ = self.signals.received() => Told::Stop,
            () = stdin_closed(), if self.supervised => Told::Stop,
            _ = self.hangups.recv() => Told::Reload,
        };
        if told == Told::Stop {
            tracing::info!("stopping");
        }
        told
    }

    /// Runs `reload`, which says what it did.
    pub(super) async fn reload(&self, reload: impl Future<Output = anyhow::Result<String>>) {
        self.notifier.reloading();
        match reload.await {
            Ok(done) => {
                tracing::info!("configuration read again: {done}");
                self.notifier.ready(&done);
            }
            Err(error) => {
                tracing::error!("the configuration stays as it was: {error:#}");
                self.notifier
                    .ready("running with the former configuration: the new one is broken");
            }
        }
    }

    /// Runs `drain` to its end, or until a second signal, and says what became of the node's messages.
    pub(super) async fn drain(
        mut self,
        view: View,
        drain: impl Future<Output = Departure>,
    ) -> anyhow::Result<()> {
        self.notifier.stopping();
        self.monitor.enters(Phase::Stopping(view));
        let departure = self.signals.drain(drain).await?;
        tracing::info!("{departure}");
        self.notifier.status(&departure.to_string());
        if self.json {
            let mut output = Output::stdout();
            output.json(&departure)?;
            output.flush()?;
        }
        Ok(())
    }
}

async fn stdin_closed() {
    let mut ignored = [0; 64];
    loop {
        match tokio::io::stdin().read(&mut ignored).await {
            Ok(1..) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => return,
        }
    }
}
