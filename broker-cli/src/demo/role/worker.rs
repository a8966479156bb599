//! A worker: deals its share of the records to the loggers and their hosts to the proxies, and waits until everything
//! is answered for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use broker_cluster::log::LogValue;
use broker_cluster::logging::{LogSpec, LogStream};
use broker_cluster::pools::{HrwKey, PoolSpec};
use broker_cluster::{NodeEvent, Role};
use broker_core::Address;
use broker_core::zeek::Event;
use broker_store::{CloneOptions, Store, StoreExt as _};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use super::input::{self, Item, LogShape};
use super::{Actor, STORE};
use crate::demo::events::DemoEvent;
use crate::demo::figures::{self, Phase};
use crate::demo::outbox::Outbox;
use crate::failure::complain;

/// Does a worker's work from the first record to the last entry of its clone, then waits to be stopped.
pub(super) async fn run(actor: Actor) -> anyhow::Result<()> {
    let changes = actor.node.node_events();
    let store = actor
        .node
        .endpoint()
        .attach_clone(STORE, CloneOptions::default())
        .await?;
    let total = if actor.plan.victims.is_empty() {
        None
    } else {
        let (plan, name) = (actor.plan.clone(), actor.name.clone());
        Some(tokio::task::spawn_blocking(move || input::count(&plan, &name)).await??)
    };
    while !actor.node.cluster_started(FOREVER).await {}
    let mut worker = Worker {
        pieces: input::read(&actor.plan, &actor.name)?,
        changes,
        standing: actor.plan.victims.iter().cloned().collect(),
        actor,
        store,
        outbox: Outbox::default(),
        logs: BTreeMap::new(),
        log: None,
        backlog: VecDeque::new(),
        read: 0,
        total,
        phase: Phase::Waiting,
        started: Instant::now(),
        logs_drained: None,
    };
    worker.enter(Phase::Reading);
    worker.work().await
}

struct Worker {
    actor: Actor,
    store: Store,
    pieces: mpsc::Receiver<anyhow::Result<Vec<Item>>>,
    changes: broadcast::Receiver<NodeEvent>,
    outbox: Outbox,
    logs: BTreeMap<String, Log>,
    /// The log that records belong to.
    log: Option<String>,
    /// Read, but not sent.
    backlog: VecDeque<Item>,
    /// Records read so far.
    read: u64,
    /// How many there are, if somebody is to be killed in the middle.
    total: Option<u64>,
    /// Victims that have not fallen yet.
    standing: BTreeSet<String>,
    phase: Phase,
    started: Instant,
    /// Resolves when every record is in a file.
    logs_drained: Option<JoinHandle<()>>,
}

/// A log being written.
struct Log {
    stream: LogStream,
    /// The column of `id.orig_h`, if there is one.
    host: Option<usize>,
}

impl Worker {
    async fn work(&mut self) -> anyhow::Result<()> {
        let mut tick = interval(if self.total.is_some() { DAWDLE } else { TICK });
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let reads = matches!(self.phase, Phase::Reading | Phase::Dawdling);
            let sends = reads && self.outbox.has_room() && !self.dawdles();
            tokio::select! {
                biased;
                // That a proxy went down must be known before what its successor says.
                change = self.changes.recv() => self.changed(change),
                event = self.actor.events.recv() => {
                    let (_, event) = event.context("the node has stopped")?;
                    self.heard(&event).await?;
                }
                _ = tick.tick() => self.ticked().await?,
                piece = self.pieces.recv(), if reads && self.backlog.is_empty() => match piece {
                    Some(piece) => self.backlog.extend(piece?),
                    None => self.drain(),
                },
                () = std::future::ready(()), if sends && !self.backlog.is_empty() => self.send(SEND_AT_ONCE).await?,
            }
        }
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.actor.figures.phase(phase);
    }

    /// Whether to be slow, so that whoever is to be killed has something under way then.
    fn dawdles(&self) -> bool {
        self.phase == Phase::Dawdling && !self.standing.is_empty()
    }

    fn changed(&mut self, change: Result<NodeEvent, RecvError>) {
        if let Ok(NodeEvent::Down { name, role, .. }) = change {
            self.standing.remove(&name);
            if role == Role::Proxy {
                self.outbox.lost(&name);
            }
        }
    }

    async fn heard(&mut self, event: &Event) -> anyhow::Result<()> {
        match Actor::understand(event) {
            Some(DemoEvent::Counted { proxy, numbers }) => self.outbox.answered(&proxy, numbers),
            Some(DemoEvent::Claims { proxy, numbers }) => self.outbox.claims(&proxy, numbers),
            Some(DemoEvent::Finish) if self.phase == Phase::Drained => self.finish().await?,
            _ => {}
        }
        self.actor
            .figures
            .set(figures::EVENTS_TWICE, self.outbox.duplicates());
        Ok(())
    }

    async fn ticked(&mut self) -> anyhow::Result<()> {
        for (number, host) in self
            .outbox
            .due(Instant::now())
            .into_iter()
            .take(RESEND_AT_ONCE)
        {
            self.publish(number, host).await?;
        }
        let last = self.total.is_some_and(|total| self.read + 1 >= total);
        if self.dawdles() && !last && self.outbox.has_room() {
            self.send(1).await?;
        }
        if self.phase == Phase::Draining
            && self
                .logs_drained
                .as_ref()
                .is_some_and(JoinHandle::is_finished)
            && self.outbox.is_settled(self.actor.plan.proxies.iter())
        {
            self.actor
                .figures
                .set(figures::MILLISECONDS, elapsed_ms(self.started));
            self.enter(Phase::Drained);
        }
        if self.phase == Phase::Drained {
            let manager = self.actor.node.layout().manager().name.clone();
            self.actor
                .tell(
                    &manager,
                    &DemoEvent::Drained {
                        worker: self.actor.name.clone(),
                    },
                )
                .await;
        }
        Ok(())
    }

    /// Sends up to `items` of what was read.
    async fn send(&mut self, items: usize) -> anyhow::Result<()> {
        for _ in 0..items {
            if !self.outbox.has_room() {
                break;
            }
            match self.backlog.pop_front() {
                Some(Item::Record(record)) => self.record(&record).await?,
                Some(Item::Log(shape)) => self.open(shape).await?,
                Some(Item::Bad(line)) => self.skip(&line),
                None => break,
            }
            if self.phase == Phase::Reading
                && self.total.is_some_and(|total| self.read >= total / 2)
            {
                self.enter(Phase::Dawdling);
                break;
            }
        }
        Ok(())
    }

    fn skip(&self, line: &str) {
        complain(line);
        self.actor.figures.add(figures::LINES_SKIPPED, 1);
    }

    async fn open(&mut self, shape: LogShape) -> anyhow::Result<()> {
        let host = shape.schema.position("id.orig_h");
        let key = format!(
            "{} {:?} {:?}",
            shape.schema.path, shape.style.format, shape.schema.columns
        );
        if !self.logs.contains_key(&key) {
            let spec = LogSpec::new(shape.schema)
                .stream(shape.stream)
                .style(&shape.style);
            let stream = self.actor.node.logs().stream(spec).await?;
            self.logs.insert(key.clone(), Log { stream, host });
        }
        self.log = Some(key);
        Ok(())
    }

    async fn record(&mut self, record: &[LogValue]) -> anyhow::Result<()> {
        let log = self
            .log
            .as_ref()
            .and_then(|key| self.logs.get_mut(key))
            .context("a record before its log")?;
        self.read += 1;
        self.actor.figures.add(figures::RECORDS_IN, 1);
        log.stream.write(record).await?;
        if let Some(host) = log.host.and_then(|column| address(&record[column])) {
            let number = self.outbox.add(Instant::now(), host);
            self.actor
                .figures
                .set(figures::EVENTS_PUBLISHED, self.outbox.published());
            self.publish(number, host).await?;
        }
        Ok(())
    }

    /// Publishes a host to the proxy that rendezvous hashing names. This is `publish_hrw` in two steps, since the
    /// outbox has to know where the event went.
    async fn publish(&mut self, number: u64, host: Address) -> anyhow::Result<()> {
        let proxy = self
            .actor
            .node
            .hrw_node(PoolSpec::PROXY, &HrwKey::address(host))?;
        let mut sent = false;
        if let Some(proxy) = &proxy {
            let event = DemoEvent::Host {
                worker: self.actor.name.clone(),
                number,
                host,
            };
            sent = self.actor.tell(proxy, &event).await > 0;
        }
        self.outbox
            .sent(Instant::now(), number, proxy.as_deref().filter(|_| sent));
        Ok(())
    }

    /// Everything is read: wait until it is in the files.
    fn drain(&mut self) {
        self.enter(Phase::Draining);
        let logs = self.actor.node.logs().clone();
        self.logs_drained = Some(tokio::spawn(async move {
            while !logs.drained(FOREVER).await {}
        }));
    }

    /// Everybody has drained: the clone has all there is once it has caught up with the master.
    async fn finish(&mut self) -> anyhow::Result<()> {
        self.store
            .sync(SYNC_WITHIN)
            .await
            .context("the store does not catch up")?;
        self.actor
            .figures
            .set(figures::STORE_ENTRIES, self.store.len());
        self.enter(Phase::Finished);
        Ok(())
    }
}

/// The address in a column, also of a log that does not say that it is one.
fn address(value: &LogValue) -> Option<Address> {
    match value {
        LogValue::Addr(address) => Some((*address).into()),
        LogValue::String(bytes) => std::str::from_utf8(bytes).ok()?.parse().ok(),
        _ => None,
    }
}

fn elapsed_ms(since: Instant) -> u64 {
    // At least one: a figure of 0 is not shown.
    u64::try_from(since.elapsed().as_millis())
        .unwrap_or(u64::MAX)
        .max(1)
}

/// How often a worker looks after what is not answered.
const TICK: Duration = Duration::from_millis(100);

/// The same in a demo with victims; while it dawdles it sends one record each time.
const DAWDLE: Duration = Duration::from_millis(5);

/// Records sent before the worker looks at what has come.
const SEND_AT_ONCE: usize = 64;

/// Events sent again at once.
const RESEND_AT_ONCE: usize = 1024;

/// How long the clone may take to catch up with the master.
const SYNC_WITHIN: Duration = Duration::from_secs(30);

/// As long as it takes: who waits is stopped from outside.
const FOREVER: Duration = Duration::from_secs(3600);
