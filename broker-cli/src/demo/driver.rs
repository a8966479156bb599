//! Starts the nodes of a demo, watches them until the workers have finished, stops them in order, and adds up what
//! they say.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use broker_core::NodeStatus;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::Args;
use super::chaos::Chaos;
use super::figures::{PHASE, Phase};
use super::layout::Nodes;
use super::plan::{self, Plan};
use super::progress::Progress;
use super::summary::Summary;
use super::workspace::Workspace;
use crate::failure::misuse;
use crate::fleet::{Node, Stuck, specs};
use crate::output::Output;
use crate::signals::StopSignals;
use crate::supervisor::{NodeEvent, Supervisor};

/// Runs a demo from its start to its summary.
pub(super) async fn run(args: Args, log: &str) -> anyhow::Result<()> {
    if args.chaos && args.loggers == 0 {
        return Err(misuse("--chaos kills a logger, so there must be one"));
    }
    let nodes = Nodes::new(&args);
    let given = plan::inputs(&args.input)?;
    let workspace = Workspace::create(args.out.as_deref(), &given)?;
    let inputs = if given.is_empty() {
        plan::inputs(&workspace.write_samples()?)?
    } else {
        given
    };
    let victims = if args.chaos {
        vec![nodes.loggers[0].clone(), nodes.proxies[0].clone()]
    } else {
        Vec::new()
    };
    let plan = Plan {
        inputs,
        workers: nodes.workers.clone(),
        proxies: nodes.proxies.clone(),
        directory: workspace.path().to_owned(),
        victims: victims.clone(),
    };
    workspace.write(&nodes.layout()?, &plan)?;

    let mut signals = StopSignals::install()?;
    let (layout, plan) = (workspace.layout(), workspace.plan());
    let work = ("--demo", plan.as_path());
    let supervisor = Supervisor::start(specs(nodes.all(), &layout, log, work))?;
    let mut driver = Driver {
        seen: nodes
            .all()
            .map(|name| (name.clone(), Node::default()))
            .collect(),
        nodes,
        supervisor,
        progress: Progress::new(),
        chaos: Chaos::new(victims),
        logger_lost: false,
    };
    let outcome = tokio::select! {
        statuses = driver.until_finished() => statuses.map(Some),
        _ = signals.received() => Ok(None),
    };
    let logger_lost = driver.logger_lost;
    let stopped = signals.drain(driver.stop()).await?;
    let Some(statuses) = outcome? else {
        anyhow::bail!(
            "stopped; what there is lies in {}",
            workspace.path().display()
        );
    };
    stopped?;
    conclude(
        &Summary::of(&Nodes::new(&args), &statuses, logger_lost),
        &args,
        workspace.path(),
    )
}

fn conclude(summary: &Summary, args: &Args, directory: &Path) -> anyhow::Result<()> {
    let mut output = Output::stdout();
    if args.json {
        output.json(summary)?;
    } else {
        output.line(summary.table())?;
    }
    output.flush()?;
    crate::supervisor::eprintln_line(&format!("broker: the logs are in {}", directory.display()));
    summary.verdict().map_err(anyhow::Error::msg)
}

struct Driver {
    nodes: Nodes,
    seen: BTreeMap<String, Node>,
    supervisor: Supervisor,
    progress: Progress,
    chaos: Chaos,
    /// Whether a logger has ended before its time.
    logger_lost: bool,
}

impl Driver {
    /// Watches until every worker has finished, and returns the last status of every node.
    async fn until_finished(&mut self) -> anyhow::Result<BTreeMap<String, NodeStatus>> {
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stuck = Stuck::new();
        loop {
            tokio::select! {
                event = self.supervisor.event() => {
                    let (name, event) = event.context("the supervisor has gone")?;
                    self.heard(&name, event)?;
                }
                _ = look.tick() => {
                    self.ask_all().await;
                    self.progress.show(self.statuses());
                    for victim in self.due_victims() {
                        self.seen.insert(victim.clone(), Node::default());
                        self.supervisor.kill(&victim).await;
                    }
                    let finished = self.nodes.workers.iter().all(|name| self.phase(name) >= Phase::Finished as u64);
                    if finished && self.seen.values().all(|node| node.ready && node.status.is_some()) {
                        // Once more: these figures are the ones that count, so all must be from now on.
                        return self.ask_finally().await;
                    }
                    stuck.check(self.statuses(), || self.missing())?;
                }
            }
        }
    }

    fn heard(&mut self, name: &str, event: NodeEvent) -> anyhow::Result<()> {
        let node = self.seen.get_mut(name).context("an unknown node")?;
        match event {
            NodeEvent::Listening(url) if url.scheme() != "grpc" => {}
            NodeEvent::Listening(url) => {
                node.moved(url);
            }
            NodeEvent::Started(_) | NodeEvent::Metrics(_) | NodeEvent::Departed(_) => {}
            NodeEvent::Ready => {
                node.ready = true;
                node.failures = 0;
            }
            NodeEvent::Said(line) if line.starts_with("broker: ") => self.progress.line(&line),
            NodeEvent::Said(line) => self.progress.line(&format!("{name}: {line}")),
            NodeEvent::Ended {
                how, restart_in, ..
            } => {
                node.ended();
                let failures = node.failures;
                self.logger_lost |= self.nodes.loggers.iter().any(|logger| logger == name);
                let replaceable = self
                    .nodes
                    .loggers
                    .iter()
                    .chain(&self.nodes.proxies)
                    .any(|other| other == name);
                anyhow::ensure!(
                    replaceable || failures <= EARLY_RETRIES && !self.chaos.has_begun(),
                    "{name} ended: {how}"
                );
                anyhow::ensure!(
                    restart_in.is_some() && failures <= MAX_FAILURES,
                    "{name} cannot be kept running: {how}"
                );
                self.progress.line(&format!(
                    "broker: {name} ended ({how}) and is started again"
                ));
            }
        }
        Ok(())
    }

    /// Asks every node for its status; one that does not answer keeps its last.
    async fn ask_all(&mut self) {
        for node in self.seen.values_mut() {
            node.ask_within(ANSWER_WITHIN).await;
        }
    }

    async fn ask_finally(&mut self) -> anyhow::Result<BTreeMap<String, NodeStatus>> {
        let mut statuses = BTreeMap::new();
        for (name, node) in &mut self.seen {
            let asked = timeout(ANSWER_FINALLY_WITHIN, node.ask())
                .await
                .context("it does not answer")
                .and_then(|status| status);
            statuses.insert(
                name.clone(),
                asked.with_context(|| format!("status of {name}"))?,
            );
        }
        Ok(statuses)
    }

    fn due_victims(&mut self) -> Vec<String> {
        let phases: Vec<_> = self
            .nodes
            .workers
            .iter()
            .map(|name| self.phase(name))
            .collect();
        self.chaos.due(&phases)
    }

    fn statuses(&self) -> impl Iterator<Item = &NodeStatus> + Clone {
        self.seen.values().filter_map(|node| node.status.as_ref())
    }

    fn phase(&self, worker: &str) -> u64 {
        let status = self.seen.get(worker).and_then(|node| node.status.as_ref());
        status
            .and_then(|status| status.counters.get(PHASE))
            .copied()
            .unwrap_or(0)
    }

    /// Nodes that are not ready, for the message when nothing moves.
    fn missing(&self) -> String {
        let missing: Vec<_> = self
            .seen
            .iter()
            .filter(|(_, node)| !node.ready)
            .map(|(name, _)| name.as_str())
            .collect();
        if missing.is_empty() {
            "all nodes are ready".to_owned()
        } else {
            format!("not ready: {}", missing.join(", "))
        }
    }

    /// Stops the nodes in the order in which their work flows.
    async fn stop(mut self) -> anyhow::Result<()> {
        self.progress.finish();
        let order = [
            &self.nodes.workers,
            &self.nodes.proxies,
            &vec![self.nodes.manager.clone()],
            &self.nodes.loggers,
        ]
        .map(Clone::clone);
        let mut failed = Vec::new();
        for names in order {
            failed.extend(self.supervisor.stop(names).await);
        }
        failed.extend(self.supervisor.stop_all().await);
        let failed: Vec<_> = failed
            .into_iter()
            .map(|(name, how)| format!("{name} {how}"))
            .collect();
        anyhow::ensure!(
            failed.is_empty(),
            "nodes did not end well: {}",
            failed.join(", ")
        );
        Ok(())
    }
}

/// How often nodes are asked for their status.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How long a node may take to answer before it is asked again.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// How long a node may take to give its last figures.
const ANSWER_FINALLY_WITHIN: Duration = Duration::from_secs(10);

/// A manager or worker may fail so often before it is ready, for example because its port was taken.
const EARLY_RETRIES: u32 = 3;

/// Any node may fail so often in a row.
const MAX_FAILURES: u32 = 8;
