//! Starts the nodes of a load, kills some of them under way, stops the others at the end, and adds up what they say and
//! what is in the files.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use broker_cluster::topics;
use broker_core::{Message, NodeStatus};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::ClusterArgs;
use super::audit::audit;
use super::events::LoadEvent;
use super::plan::{Loss, Plan, Share};
use super::process;
use super::role::STREAM;
use super::summary::{Memory, Summary};
use crate::demo::figures::{self, PHASE, Phase};
use crate::demo::layout::Nodes;
use crate::fleet::{Node, Stuck, specs};
use crate::output::Output;
use crate::signals::StopSignals;
use crate::supervisor::{NodeEvent, Supervisor, eprintln_line};

/// Runs a load from its start to its summary.
pub(in crate::bench) async fn run(args: ClusterArgs, log: &str) -> anyhow::Result<()> {
    let started = Instant::now();
    // Removed at the end, unless it was asked for.
    let temporary = match &args.out {
        Some(_) => None,
        None => Some(
            tempfile::Builder::new()
                .prefix("broker-cluster-")
                .tempdir()
                .context("cannot create a temporary directory")?,
        ),
    };
    let directory = match (&args.out, &temporary) {
        (Some(out), _) => empty(out)?,
        (None, Some(temporary)) => temporary.path().to_owned(),
        (None, None) => anyhow::bail!("no directory"),
    };
    let nodes = nodes(&args);
    let plan = plan(&args, &nodes, &directory);
    let (layout_file, plan_file) = (directory.join("cluster.toml"), directory.join("plan.json"));
    std::fs::write(&layout_file, nodes.layout_after(HEAD)?).context("cannot write the layout")?;
    for proxy in &plan.proxies {
        std::fs::create_dir_all(directory.join(proxy)).context("cannot make a directory")?;
    }
    plan.save(&plan_file)?;

    let mut signals = StopSignals::install()?;
    let mut driver = Driver {
        seen: nodes
            .all()
            .map(|name| (name.clone(), Node::default()))
            .collect(),
        supervisor: Supervisor::start(specs(
            nodes.all(),
            &layout_file,
            log,
            ("--load", &plan_file),
        ))?,
        nodes,
        losses: plan.losses.iter().cloned().collect(),
        stage: 0,
        plan,
        killed: Vec::new(),
        memory: Memory::default(),
        started,
        ready_at: None,
        said_at: started,
    };
    let outcome = tokio::select! {
        statuses = driver.until_finished() => statuses.map(Some),
        _ = signals.received() => Ok(None),
    };
    let finished_at = Instant::now();
    let (plan, nodes) = (driver.plan.clone(), driver.nodes.clone());
    let (killed, memory, ready_at) = (
        driver.killed.clone(),
        driver.memory.clone(),
        driver.ready_at.unwrap_or(finished_at),
    );
    let stopped = signals.drain(driver.stop()).await?;
    let statuses = outcome?.context("stopped before everything was done")?;
    stopped?;
    let stopped_at = Instant::now();
    say(started, "all nodes have ended; reading the files");
    let files = {
        let (directory, plan) = (directory.clone(), plan.clone());
        tokio::task::spawn_blocking(move || audit(&directory, &nodes.loggers, &plan)).await??
    };
    let summary = Summary {
        killed,
        memory,
        seconds_to_ready: (ready_at - started).as_secs_f64(),
        seconds_of_work: (finished_at - ready_at).as_secs_f64(),
        seconds: (stopped_at - started).as_secs_f64(),
        ..Summary::of(&plan, &statuses, files)
    };
    conclude(&summary, args.json)
}

fn conclude(summary: &Summary, json: bool) -> anyhow::Result<()> {
    let mut output = Output::stdout();
    if json {
        output.json(summary)?;
    } else {
        for line in summary.lines() {
            output.line(line)?;
        }
    }
    output.flush()?;
    summary.verdict().map_err(anyhow::Error::msg)
}

/// A directory without anything in it: what was there before would be counted.
fn empty(out: &Path) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(out).with_context(|| format!("cannot create {}", out.display()))?;
    let mut entries =
        std::fs::read_dir(out).with_context(|| format!("cannot read {}", out.display()))?;
    if entries.next().is_some() {
        return Err(crate::failure::misuse(format!(
            "{} is not empty; choose another directory with --out",
            out.display()
        )));
    }
    std::path::absolute(out).with_context(|| out.display().to_string())
}

fn nodes(args: &ClusterArgs) -> Nodes {
    let names = |role: &str, count| {
        (1..=count)
            .map(|number| format!("{role}-{number}"))
            .collect()
    };
    Nodes {
        transport: args.transport,
        manager: "manager".to_owned(),
        loggers: names("logger", args.loggers),
        proxies: names("proxy", args.proxies),
        workers: names("worker", args.workers),
    }
}

fn plan(args: &ClusterArgs, nodes: &Nodes, directory: &Path) -> Plan {
    let scaled = |whole: u64| (whole as f64 * args.scale).round() as u64;
    let third = nodes.proxies.len().div_ceil(3);
    let losses = [
        (vec![nodes.manager.clone()], 0.2, 0.3),
        (nodes.proxies[..third].to_vec(), 0.45, 0.55),
        (vec![nodes.loggers[0].clone()], 0.7, 0.8),
    ];
    let losses = losses
        .into_iter()
        .map(|(victims, due, gate)| Loss { victims, due, gate });
    Plan {
        workers: nodes.workers.clone(),
        proxies: nodes.proxies.clone(),
        records: scaled(RECORDS),
        keyed: scaled(KEYED),
        orders: scaled(ORDERS),
        losses: losses.filter(|_| !args.no_losses).collect(),
        directory: directory.to_owned(),
    }
}

struct Driver {
    nodes: Nodes,
    plan: Plan,
    seen: BTreeMap<String, Node>,
    supervisor: Supervisor,
    /// Still to come.
    losses: VecDeque<Loss>,
    /// How many have been.
    stage: u64,
    killed: Vec<String>,
    memory: Memory,
    started: Instant,
    /// When every worker began.
    ready_at: Option<Instant>,
    said_at: Instant,
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
                    self.ask_all(ANSWER_WITHIN).await;
                    self.look().await;
                    if self.is_finished() {
                        // Once more: these figures are the ones that count, so all must be from now on.
                        return self.ask_finally().await;
                    }
                    let statuses = self.seen.values().filter_map(|node| node.status.as_ref());
                    stuck.check(statuses, || self.missing())?;
                }
            }
        }
    }

    fn heard(&mut self, name: &str, event: NodeEvent) -> anyhow::Result<()> {
        let node = self.seen.get_mut(name).context("an unknown node")?;
        match event {
            NodeEvent::Started(_) | NodeEvent::Metrics(_) | NodeEvent::Departed(_) => {}
            NodeEvent::Listening(url) if url.scheme() != "grpc" => {}
            NodeEvent::Listening(url) => node.moved(url),
            NodeEvent::Ready => {
                node.ready = true;
                node.failures = 0;
                if self.killed.iter().any(|killed| killed == name) {
                    say(self.started, &format!("{name} is back"));
                }
            }
            NodeEvent::Said(line) => say(self.started, &format!("{name}: {line}")),
            NodeEvent::Ended {
                how, restart_in, ..
            } => {
                node.ended();
                let failures = node.failures;
                // Others may only fail early, when a port was taken meanwhile.
                let allowed =
                    self.killed.iter().any(|killed| killed == name) || self.ready_at.is_none();
                anyhow::ensure!(
                    allowed && restart_in.is_some() && failures <= MAX_FAILURES,
                    "{name} cannot be kept running: {how}"
                );
            }
        }
        Ok(())
    }

    /// Asks every node for its status, all at the same time.
    async fn ask_all(&mut self, limit: Duration) {
        let mut asked = JoinSet::new();
        for (name, mut node) in std::mem::take(&mut self.seen) {
            asked.spawn(async move {
                node.ask_within(limit).await;
                (name, node)
            });
        }
        self.seen = asked.join_all().await.into_iter().collect();
    }

    /// What follows from the statuses: who is to be killed, what to say, what memory is used.
    async fn look(&mut self) {
        self.measure();
        let begun = |name: &String| self.counter(name, PHASE) >= Phase::Reading as u64;
        if self.ready_at.is_none() && self.plan.workers.iter().all(begun) {
            self.ready_at = Some(Instant::now());
            say(
                self.started,
                "ready: every worker knows that all are connected",
            );
        }
        let least = self.least();
        let all_there = self.seen.values().all(|node| node.ready);
        let aware = |name: &String| self.counter(name, figures::STAGE) >= self.stage;
        let all_aware = self.plan.workers.iter().all(aware);
        let due =
            |loss: &Loss| all_there && all_aware && self.ready_at.is_some() && least >= loss.due;
        if self.losses.front().is_some_and(due)
            && let Some(loss) = self.losses.pop_front()
        {
            say(
                self.started,
                &format!("killing {}", loss.victims.join(", ")),
            );
            for victim in loss.victims {
                self.seen.insert(victim.clone(), Node::default());
                self.supervisor.kill(&victim).await;
                self.killed.push(victim);
            }
            self.stage += 1;
        }
        self.tell_stage().await;
        if self.said_at.elapsed() >= SAY_EVERY {
            self.said_at = Instant::now();
            self.say_progress();
        }
    }

    /// Tells the workers that do not know it how many losses have been.
    async fn tell_stage(&mut self) {
        let workers = self.plan.workers.iter();
        let unaware: Vec<_> = workers
            .filter(|name| self.counter(name, figures::STAGE) < self.stage)
            .cloned()
            .collect();
        let stage = LoadEvent::Stage { losses: self.stage }.to_event();
        for name in unaware {
            if let Some(node) = self.seen.get_mut(&name) {
                let message = Message::new(topics::node_topic(&name), stage.clone());
                node.publish_within(ANSWER_WITHIN, message).await;
            }
        }
    }

    fn measure(&mut self) {
        let sum = |counter: &str| {
            let statuses = self.seen.values().filter_map(|node| node.status.as_ref());
            let values = statuses.filter_map(|status| status.counters.get(counter));
            values.sum::<u64>()
        };
        let (resident, proportional) = (sum(process::RESIDENT), sum(process::PROPORTIONAL));
        let (mut idle, mut idle_proportional) = (Vec::new(), Vec::new());
        let mut largest = None;
        let mut files = 0;
        for (name, node) in &self.seen {
            let Some(status) = &node.status else { continue };
            let value = |counter: &str| status.counters.get(counter).copied().unwrap_or(0);
            largest = largest.max(Some((value(process::PEAK), name)));
            files = value(process::FILES).max(files);
            idle.push(value(process::RESIDENT));
            idle_proportional.push(value(process::PROPORTIONAL));
        }
        let memory = &mut self.memory;
        memory.peak_resident_bytes = memory.peak_resident_bytes.max(resident);
        memory.peak_proportional_bytes = memory.peak_proportional_bytes.max(proportional);
        memory.open_files_of_one = memory.open_files_of_one.max(files);
        if let Some((peak, name)) = largest.filter(|(peak, _)| *peak > memory.peak_of_one_bytes) {
            memory.peak_of_one_bytes = peak;
            memory.largest.clone_from(name);
        }
        // The last look before the work begins is the one that stays.
        if self.ready_at.is_none() {
            memory.idle_resident_bytes = median(idle);
            memory.idle_proportional_bytes = median(idle_proportional);
        }
    }

    /// How far the slowest worker is.
    fn least(&self) -> f64 {
        let progress = |name: &String| {
            let share = self.plan.share(name)?;
            Some(share.progress(Share {
                records: self.counter(name, figures::RECORDS_IN),
                keyed: self.counter(name, figures::EVENTS_PUBLISHED),
                orders: 0,
            }))
        };
        let workers = self.plan.workers.iter().filter_map(progress);
        workers.fold(1.0, f64::min)
    }

    fn counter(&self, name: &str, counter: &str) -> u64 {
        let status = self.seen.get(name).and_then(|node| node.status.as_ref());
        status
            .and_then(|status| status.counters.get(counter))
            .copied()
            .unwrap_or(0)
    }

    fn is_finished(&self) -> bool {
        let finished = |name: &String| self.counter(name, PHASE) >= Phase::Finished as u64;
        self.losses.is_empty()
            && self.plan.workers.iter().all(finished)
            && self
                .seen
                .values()
                .all(|node| node.ready && node.status.is_some())
    }

    async fn ask_finally(&mut self) -> anyhow::Result<BTreeMap<String, NodeStatus>> {
        let mut statuses = BTreeMap::new();
        for (name, node) in &mut self.seen {
            let asked = timeout(ANSWER_FINALLY_WITHIN, node.ask())
                .await
                .context("it does not answer")
                .and_then(|status| status);
            let status = asked.with_context(|| format!("status of {name}"))?;
            statuses.insert(name.clone(), status);
        }
        Ok(statuses)
    }

    fn say_progress(&self) {
        let sum = |counter: &str| {
            let names = self.seen.keys();
            names.map(|name| self.counter(name, counter)).sum::<u64>()
        };
        let workers = self.plan.workers.iter();
        let acknowledged: u64 = workers
            .filter_map(|name| self.seen.get(name)?.status.as_ref())
            .filter_map(|status| status.logs.get(STREAM))
            .map(|log| log.written)
            .sum();
        say(
            self.started,
            &format!(
                "{} records written, {acknowledged} in files; {} events published, {} counted; {} orders taken; {} MB",
                sum(figures::RECORDS_IN),
                sum(figures::EVENTS_PUBLISHED),
                sum(figures::EVENTS_RECEIVED),
                sum(figures::ORDERS_RECEIVED),
                sum(process::RESIDENT) / 1_000_000,
            ),
        );
    }

    /// Who is not ready or has not finished, for the message when nothing moves.
    fn missing(&self) -> String {
        let unready = self.seen.iter().filter(|(_, node)| !node.ready);
        let unready: Vec<_> = unready.map(|(name, _)| name.as_str()).collect();
        let busy = |name: &&String| self.counter(name, PHASE) < Phase::Finished as u64;
        let busy: Vec<_> = self
            .plan
            .workers
            .iter()
            .filter(busy)
            .map(String::as_str)
            .collect();
        format!(
            "not ready: {}; not finished: {}",
            unready.join(", "),
            busy.join(", ")
        )
    }

    /// Stops the nodes in the order in which their work flows.
    async fn stop(mut self) -> anyhow::Result<()> {
        let order = [
            self.nodes.workers.clone(),
            self.nodes.proxies.clone(),
            vec![self.nodes.manager.clone()],
            self.nodes.loggers.clone(),
        ];
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

fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}

/// A line on stderr with the time since the start.
fn say(started: Instant, line: &str) {
    eprintln_line(&format!(
        "{:7.1} s  {line}",
        started.elapsed().as_secs_f64()
    ));
}

/// How every layout of a load begins.
const HEAD: &str = "\
# Written by `broker bench cluster`.
[cluster]
name = \"load\"
log_dir = \".\"
";

/// What there is to do at scale 1.
const RECORDS: u64 = 1_000_000;
const KEYED: u64 = 750_000;
const ORDERS: u64 = 250_000;

/// How often nodes are asked for their status.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How often something is said.
const SAY_EVERY: Duration = Duration::from_secs(2);

/// How long a node may take to answer before it is asked again.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// How long a node may take to give its last figures.
const ANSWER_FINALLY_WITHIN: Duration = Duration::from_secs(20);

/// Any node may fail so often in a row.
const MAX_FAILURES: u32 = 8;
