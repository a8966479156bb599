//! `broker cluster up`: all nodes of this host under one supervisor.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::time::Duration;

use anyhow::Context as _;
use broker_cluster::{HostPort, Role};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::board::Live;
use super::control::{self, NodeStatus, Progress, StopOrder, Stopped, Wish};
use super::{ClusterArgs, is_here, stop};
use crate::failure::{AlreadyReported, MISUSED, complain, misuse};
use crate::logging::Logging;
use crate::node::notify::Notifier;
use crate::output::Output;
use crate::signals::StopSignals;
use crate::supervisor::{NodeEvent, NodeSpec, Supervisor, Word, eprintln_line};
use crate::tls::TlsArgs;
use crate::transports;
use crate::ws_access::WsArgs;

/// Starts every node of the layout that belongs to this host.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Serve metrics and health of the nodes here, the first of them at this port, each other at the next; with port 0
    /// each at any. What the layout says for a node goes before it [default: as the layout says]
    #[arg(long, value_name = "HOST:PORT")]
    metrics: Option<HostPort>,
    #[command(flatten)]
    tls: TlsArgs,
}

/// Runs `broker cluster up`.
pub(super) async fn run(args: Args, log: &Logging) -> anyhow::Result<()> {
    let plan = Plan::read(&args, log)?;
    let held = args.cluster.place().hold()?;
    let mut signals = StopSignals::install()?;
    let hangups = signal(SignalKind::hangup()).context("cannot catch signals")?;
    let notifier = Notifier::from_environment()?;

    let live = Live::new(plan.roles.keys());
    let (orders, ordered) = mpsc::channel(ORDERS);
    let server = tokio::spawn(control::serve(held.listen()?, live.clone(), orders));
    let mut up = Up {
        specs: plan.specs.clone(),
        places: plan.places,
        supervisor: Supervisor::start(plan.specs)?,
        waiting: plan.roles.keys().cloned().collect(),
        roles: plan.roles,
        live,
        hangups,
        ordered,
        args,
        asked: log.asked().map(str::to_owned),
    };
    let watched = tokio::select! {
        _ = signals.received() => Ok(None),
        result = up.watch(&notifier) => result,
    };
    notifier.stopping();
    let report = watched.as_ref().ok().cloned().flatten();
    let failed = signals.drain(up.stop(report)).await?;
    server.abort();
    watched?;
    drop(held);
    if failed {
        Err(AlreadyReported.into())
    } else {
        Ok(())
    }
}

/// What is to be started.
struct Plan {
    roles: BTreeMap<String, Role>,
    specs: Vec<NodeSpec>,
    places: BTreeMap<String, usize>,
}

impl Plan {
    fn read(args: &Args, log: &Logging) -> anyhow::Result<Self> {
        Self::of(args, log.asked(), &BTreeMap::new())
    }

    /// `places`: which of the ports of `--metrics` nodes have already.
    fn of(
        args: &Args,
        asked: Option<&str>,
        places: &BTreeMap<String, usize>,
    ) -> anyhow::Result<Self> {
        let config = &args.cluster.config;
        let layout = args.cluster.load()?;
        let here = args.cluster.here();
        let nodes: Vec<_> = layout.nodes().filter(|node| is_here(node, &here)).collect();
        if nodes.is_empty() {
            return Err(misuse(format!(
                "{}: no node belongs to this host; choose one with --host",
                config.display()
            )));
        }
        let places = placed(nodes.iter().map(|node| node.name.as_str()), places);
        let mut specs = Vec::new();
        for node in &nodes {
            transports::of_member(&layout, &node.name, &args.tls, &WsArgs::default())?;
            let metrics = match (&node.metrics, &args.metrics) {
                (None, Some(first)) => Some(first.next(places[&node.name]).ok_or_else(|| {
                    misuse(format!(
                        "--metrics {first}: there are not enough ports above it"
                    ))
                })?),
                _ => None,
            };
            specs.push(NodeSpec {
                name: node.name.clone(),
                env: node.env.to_vec(),
                pin_cpu: node.pin_cpu,
                args: arguments(args, asked, &node.name, metrics.as_ref()),
            });
        }
        Ok(Self {
            roles: nodes
                .iter()
                .map(|node| (node.name.clone(), node.role))
                .collect(),
            specs,
            places,
        })
    }
}

/// Places for all of `names`: those that have one keep it, the others get the first that are free, in their order.
fn placed<'a>(
    names: impl Iterator<Item = &'a str> + Clone,
    known: &BTreeMap<String, usize>,
) -> BTreeMap<String, usize> {
    let mut places: BTreeMap<String, usize> = names
        .clone()
        .filter_map(|name| Some((name.to_owned(), *known.get(name)?)))
        .collect();
    let mut taken: BTreeSet<usize> = places.values().copied().collect();
    for name in names {
        places.entry(name.to_owned()).or_insert_with(|| {
            let free = (0..).find(|place| taken.insert(*place));
            free.expect("there are more numbers than nodes")
        });
    }
    places
}

fn arguments(
    args: &Args,
    asked: Option<&str>,
    name: &str,
    metrics: Option<&HostPort>,
) -> Vec<OsString> {
    let mut line: Vec<OsString> = vec!["node".into(), "--supervised".into(), "--json".into()];
    line.extend(["--config".into(), args.cluster.config.clone().into()]);
    line.extend(["--name".into(), name.into()]);
    for (option, value) in [
        ("--log-level", asked.map(str::to_owned)),
        ("--metrics", metrics.map(ToString::to_string)),
    ] {
        if let Some(value) = value {
            line.extend([option.into(), value.into()]);
        }
    }
    line.extend(args.cluster.layout.to_args());
    line.extend(args.tls.to_args());
    line
}

/// The nodes of this host at work.
struct Up {
    supervisor: Supervisor,
    roles: BTreeMap<String, Role>,
    /// How they were started.
    specs: Vec<NodeSpec>,
    /// Which of the ports of `--metrics` they have.
    places: BTreeMap<String, usize>,
    /// Nodes that have not been ready yet.
    waiting: BTreeSet<String>,
    live: Live,
    hangups: Signal,
    ordered: mpsc::Receiver<Wish>,
    args: Args,
    /// The level of the log that was asked for.
    asked: Option<String>,
}

impl Up {
    /// Passes on what the nodes say, until one of them cannot run at all, or somebody orders a stop.
    async fn watch(&mut self, notifier: &Notifier) -> anyhow::Result<Option<StopOrder>> {
        let mut output = Output::stdout();
        loop {
            let (name, event) = tokio::select! {
                event = self.supervisor.event() => match event {
                    Some(event) => event,
                    None => return Ok(None),
                },
                // The server holds a sender as long as it runs.
                Some(wish) = self.ordered.recv() => match wish {
                    Wish::Stop(order) => return Ok(Some(order)),
                    Wish::Ask(report) => {
                        self.ask_all(&report);
                        continue;
                    }
                },
                _ = self.hangups.recv() => {
                    notifier.reloading();
                    let done = self.reload().await;
                    notifier.ready(&done);
                    continue;
                }
            };
            self.live.heard(&name, &event);
            match event {
                NodeEvent::Listening(url) => output.line(format!("{name} listening {url}"))?,
                NodeEvent::Metrics(url) => output.line(format!("{name} metrics {url}"))?,
                NodeEvent::Ready => {
                    output.line(format!("{name} ready"))?;
                    if self.waiting.remove(&name) && self.waiting.is_empty() {
                        output.line("ready")?;
                        notifier.ready(&format!("{} nodes are up", self.roles.len()));
                    }
                }
                NodeEvent::Said(line) => eprintln_line(&format!("{name}: {line}")),
                NodeEvent::Started(_) | NodeEvent::Departed(_) => {}
                NodeEvent::Ended { code, .. } if code == Some(MISUSED.into()) => {
                    // It has said why.
                    return Err(misuse(format!("{name} cannot run as it is configured")));
                }
                NodeEvent::Ended {
                    how, restart_in, ..
                } => {
                    let after = restart_in.unwrap_or_default().as_millis();
                    complain(&format!(
                        "{name} ended: {how}; starting it again in {after} ms"
                    ));
                }
            }
            output.flush()?;
        }
    }

    /// Asks every node how it is, and passes on what they say as they answer.
    fn ask_all(&self, report: &mpsc::Sender<NodeStatus>) {
        for name in self.roles.keys() {
            let (node, answer) = (name.clone(), self.supervisor.ask(name));
            let report = report.clone();
            tokio::spawn(async move {
                let text = tokio::select! {
                    text = timeout(ASK_LIMIT, answer) => text.ok().flatten(),
                    () = report.closed() => return,
                };
                let status = text.and_then(|text| serde_json::from_str(&text).ok());
                // Who asked may have stopped waiting.
                let _ = report.send(NodeStatus { node, status }).await;
            });
        }
    }

    /// Reads the layout again: nodes that are new are started, nodes that are gone stopped, all others told to read it
    /// too. A broken layout changes nothing.
    async fn reload(&mut self) -> String {
        let plan = match Plan::of(&self.args, self.asked.as_deref(), &self.places) {
            Ok(plan) => plan,
            Err(error) => {
                complain(&format!("the nodes stay as they were: {error:#}"));
                return "running with the former layout: the new one is broken".to_owned();
            }
        };
        let gone: Vec<String> = self
            .roles
            .keys()
            .filter(|name| !plan.roles.contains_key(*name))
            .cloned()
            .collect();
        let kept: Vec<String> = self
            .roles
            .keys()
            .filter(|name| plan.roles.contains_key(*name))
            .cloned()
            .collect();
        for name in &kept {
            self.supervisor.hang_up(name).await;
        }
        if !gone.is_empty() {
            let failed = self.supervisor.stop(gone.clone()).await;
            for (name, how) in failed {
                complain(&format!("{name} did not end well: {how}"));
            }
        }
        for name in &gone {
            self.live.forget(name);
            self.roles.remove(name);
            self.waiting.remove(name);
        }
        self.places = plan.places;
        let mut added = 0;
        self.specs
            .retain(|spec| plan.roles.contains_key(&spec.name));
        for spec in plan.specs {
            match self.specs.iter().find(|known| known.name == spec.name) {
                Some(known) if *known != spec => complain(&format!(
                    "{}: its process is started in another way now; that needs `cluster stop` and `cluster up`",
                    spec.name
                )),
                Some(_) => {}
                None => self.specs.push(spec.clone()),
            }
            if let Some(role) = plan.roles.get(&spec.name)
                && !self.roles.contains_key(&spec.name)
            {
                added += 1;
                self.roles.insert(spec.name.clone(), *role);
                self.waiting.insert(spec.name.clone());
                self.supervisor.add(spec);
            }
        }
        let done = format!(
            "{added} nodes started, {} stopped, {} told",
            gone.len(),
            kept.len()
        );
        eprintln_line(&format!("broker: layout read again: {done}"));
        done
    }

    /// Stops workers, proxies, the manager, loggers, in this order, and tells how each ended: those who listen to
    /// `report`, and this command's own output. Returns whether one did not end well.
    async fn stop(mut self, report: Option<StopOrder>) -> bool {
        let mut failed = false;
        for role in [Role::Worker, Role::Proxy, Role::Manager, Role::Logger] {
            let names: Vec<String> = self
                .roles
                .iter()
                .filter(|(_, of)| **of == role)
                .map(|(name, _)| name.clone())
                .collect();
            let mut counts = BTreeMap::new();
            let mut ended = Vec::new();
            self.supervisor
                .stop_each(names, |name, word| match word {
                    Word::Said(line) => eprintln_line(&format!("{name}: {line}")),
                    Word::Departed(line) => {
                        let value = serde_json::from_str::<serde_json::Value>(line).ok();
                        counts.insert(name.to_owned(), value);
                    }
                    Word::Ended { ok, how } => {
                        let counts = counts.remove(name).flatten();
                        let stopped = Stopped {
                            node: name.to_owned(),
                            ok,
                            how: how.to_owned(),
                            counts,
                        };
                        eprintln_line(&format!("broker: {}", stop::text(&stopped)));
                        ended.push(stopped);
                    }
                })
                .await;
            for stopped in ended {
                failed |= !stopped.ok;
                if let Some(report) = &report {
                    // Who asked may have stopped waiting.
                    let _ = report.send(Progress::Stopped(stopped)).await;
                }
            }
        }
        self.supervisor.stop_all().await;
        if let Some(report) = &report {
            let _ = report.send(Progress::Done { done: true }).await;
            // Until it is written, which is bounded where it is done.
            report.closed().await;
        }
        failed
    }
}

/// Wishes that may wait.
const ORDERS: usize = 4;

/// How long a node may take to say how it is.
const ASK_LIMIT: Duration = Duration::from_secs(30);

const HELP: &str = "\
A node that ends is started again: at once, then after 100 ms doubling to 5 s. SIGINT, SIGTERM and
`broker cluster stop` stop all nodes: workers, proxies, the manager, loggers, in this order. SIGHUP reads
the layout again: nodes are started, stopped, or told to read it too. Prints `NODE listening URL`, `NODE
metrics URL` and `NODE ready` for each node, then `ready`. One supervisor runs per layout and host: its lock
and its socket lie beside the layout, for its owner alone.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_keep_their_ports_when_others_come_and_go() {
        let places =
            |names: &[&str], known: &BTreeMap<String, usize>| placed(names.iter().copied(), known);
        let map = |pairs: &[(&str, usize)]| -> BTreeMap<String, usize> {
            let owned = |(name, place): &(&str, usize)| ((*name).to_owned(), *place);
            pairs.iter().map(owned).collect()
        };
        let first = places(&["b", "d"], &BTreeMap::new());
        assert_eq!(first, map(&[("b", 0), ("d", 1)]));
        let second = places(&["a", "b", "c", "d"], &first);
        assert_eq!(second, map(&[("a", 2), ("b", 0), ("c", 3), ("d", 1)]));
        assert_eq!(places(&["c", "e"], &second), map(&[("c", 3), ("e", 0)]));
    }
}
