//! What every node does around its work: it answers for its health, says when it is ready, waits until it is told to stop
//! or to read its configuration again, and drains.

use std::future::Future;
use std::io;

use anyhow::Context as _;
use broker_cluster::{HostPort, TelemetrySpec};
use broker_core::PeerUrl;
use tokio::io::{AsyncBufReadExt as _, BufReader, Stdin};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::departure::Departure;
use super::notify::Notifier;
use crate::metrics::{Meters, Monitor, Phase, Server, View};
use crate::output::Output;
use crate::signals::StopSignals;
use crate::status::{Portable, Report};
use crate::supervisor::{ASK_STATUS, STATUS};

/// A node between its start and its end.
#[derive(Debug)]
pub(super) struct Running {
    signals: StopSignals,
    hangups: Signal,
    /// What the supervisor says, if there is one.
    supervisor: Option<BufReader<Stdin>>,
    json: bool,
    notifier: Notifier,
    monitor: Monitor,
    meters: Meters,
    /// Kept: it ends with this.
    _server: Option<Server>,
}

/// What a node is told from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// Hand over and end.
    Stop,
    /// Read the configuration again.
    Reload,
    /// Tell the supervisor how the node is.
    Status,
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
    /// How closely it counts events for them.
    pub(super) telemetry: &'a TelemetrySpec,
}

impl Running {
    /// Catches signals and answers for the node's health from now on.
    pub(super) async fn begin(manner: Manner<'_>) -> anyhow::Result<Self> {
        let signals = StopSignals::install()?;
        let hangups = signal(SignalKind::hangup()).context("cannot catch signals")?;
        let notifier = Notifier::from_environment()?;
        let meters = match manner.metrics {
            Some(_) => Meters::new(manner.telemetry),
            None => Meters::default(),
        };
        let monitor = Monitor::new(manner.name, meters.clone());
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
            supervisor: manner
                .supervised
                .then(|| BufReader::new(tokio::io::stdin())),
            json: manner.json,
            notifier,
            monitor,
            meters,
            _server: server,
        })
    }

    /// What the node counts for its metrics.
    pub(super) fn meters(&self) -> Meters {
        self.meters.clone()
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

    /// Waits for SIGINT, SIGTERM, SIGHUP, or what the supervisor says.
    ///
    /// # Cancel safety
    /// Safe.
    pub(super) async fn told(&mut self) -> Told {
        let told = tokio::select! {
            _ = self.signals.received() => Told::Stop,
            told = word_of(&mut self.supervisor) => told,
            _ = self.hangups.recv() => Told::Reload,
        };
        if told == Told::Stop {
            tracing::info!("stopping");
        }
        told
    }

    /// Tells the supervisor how the node is, in one line on stdout.
    pub(super) fn say_status(view: &View) -> anyhow::Result<()> {
        let report = Portable::from(Report::of_node(&view.endpoint.status()));
        let mut output = Output::stdout();
        output.line(format!("{STATUS}{}", serde_json::to_string(&report)?))?;
        output.flush()
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

/// The next thing that a supervisor says: it asks, a line each, or closes the pipe for the node to stop.
///
/// # Cancel safety
/// Safe: what has been read is kept.
async fn word_of(supervisor: &mut Option<BufReader<Stdin>>) -> Told {
    let Some(stdin) = supervisor else {
        return std::future::pending().await;
    };
    loop {
        let ended = match stdin.fill_buf().await {
            Ok(available) => {
                // Lines are written whole and fit; whatever else there is is passed over.
                let line = available.iter().position(|byte| *byte == b'\n');
                let used = line.map_or(available.len(), |end| end + 1);
                let asked = available.get(..used) == Some(ASK_STATUS.as_bytes());
                stdin.consume(used);
                if asked {
                    return Told::Status;
                }
                used == 0
            }
            Err(error) => error.kind() != io::ErrorKind::Interrupted,
        };
        if ended {
            return Told::Stop;
        }
    }
}
