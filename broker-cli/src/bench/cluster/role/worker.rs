//! A worker: writes its records, sends its events, takes its orders, and waits until everything is answered for.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use broker_cluster::log::{LogPort, LogValue, PortProtocol};
use broker_cluster::logging::{LogSpec, LogStream};
use broker_cluster::pools::{HrwKey, PoolSpec};
use broker_cluster::{NodeEvent, Role};
use broker_core::zeek::Event;
use broker_core::{Address, Timestamp};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use super::schema;
use crate::bench::cluster::events::LoadEvent;
use crate::bench::cluster::feed::Intake;
use crate::bench::cluster::plan::{Plan, Share};
use crate::demo::events::DemoEvent;
use crate::demo::figures::{self, Phase};
use crate::demo::outbox::Outbox;
use crate::demo::role::Actor;

/// Does a worker's work, then waits to be stopped.
pub(super) async fn run(actor: Actor, plan: Plan) -> anyhow::Result<()> {
    let changes = actor.node.node_events();
    let share = plan
        .share(&actor.name)
        .context("not a worker of the plan")?;
    let log = actor.node.logs().stream(LogSpec::new(schema())).await?;
    while !actor.node.cluster_started(FOREVER).await {}
    let mut worker = Worker {
        share,
        done: Share {
            records: 0,
            keyed: 0,
            orders: 0,
        },
        losses: 0,
        plan,
        seed: actor.name.bytes().map(u32::from).sum(),
        actor,
        log,
        changes,
        outbox: Outbox::default(),
        intake: Intake::default(),
        phase: Phase::Waiting,
        started: Instant::now(),
        logs_drained: None,
    };
    worker.enter(Phase::Reading);
    worker.work().await
}

struct Worker {
    actor: Actor,
    plan: Plan,
    share: Share,
    done: Share,
    /// How many of the losses have happened.
    losses: usize,
    /// What makes its hosts others than those of another worker.
    seed: u32,
    log: LogStream,
    changes: broadcast::Receiver<NodeEvent>,
    outbox: Outbox,
    intake: Intake,
    phase: Phase,
    started: Instant,
    /// Resolves when every record is in a file.
    logs_drained: Option<JoinHandle<()>>,
}

impl Worker {
    async fn work(&mut self) -> anyhow::Result<()> {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let sends = self.phase == Phase::Reading && self.outbox.has_room() && !self.waits();
            tokio::select! {
                biased;
                // That a proxy went down must be known before what its successor says.
                change = self.changes.recv() => self.changed(change).await,
                event = self.actor.events.recv() => {
                    let (_, event) = event.context("the node has stopped")?;
                    self.heard(&event).await;
                    for _ in 0..EVENTS_AT_ONCE {
                        let Some((_, event)) = self.actor.events.try_recv() else { break };
                        self.heard(&event).await;
                    }
                    self.note();
                }
                _ = tick.tick() => self.ticked().await?,
                () = std::future::ready(()), if sends => self.send(SEND_AT_ONCE).await?,
            }
        }
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.actor.figures.phase(phase);
    }

    fn progress(&self) -> f64 {
        self.share.progress(self.done)
    }

    /// Whether somebody has to fall before it goes on. It then does little, so that something is under way all the same.
    fn waits(&self) -> bool {
        let next = self.plan.losses.get(self.losses);
        next.is_some_and(|loss| self.progress() >= loss.gate)
    }

    async fn changed(&mut self, change: Result<NodeEvent, RecvError>) {
        match change {
            Ok(NodeEvent::Down {
                name,
                role: Role::Proxy,
                ..
            }) => self.outbox.lost(&name),
            Ok(NodeEvent::Up {
                role: Role::Manager,
                ..
            }) => self.tell_manager().await,
            _ => {}
        }
    }

    async fn heard(&mut self, event: &Event) {
        match LoadEvent::from_event(event) {
            Some(LoadEvent::Order { number }) => {
                self.intake.take(number);
                if self.intake.have().is_multiple_of(ANSWER_EVERY) {
                    self.tell_manager().await;
                }
                return;
            }
            Some(LoadEvent::Stage { losses }) => {
                self.losses = usize::try_from(losses).unwrap_or(usize::MAX);
                self.actor.figures.set(figures::STAGE, losses);
                return;
            }
            Some(LoadEvent::Have { .. }) | None => {}
        }
        match Actor::understand(event) {
            Some(DemoEvent::Counted { proxy, numbers }) => self.outbox.answered(&proxy, numbers),
            Some(DemoEvent::Claims { proxy, numbers }) => self.outbox.claims(&proxy, numbers),
            _ => {}
        }
    }

    /// Its figures as they are.
    fn note(&self) {
        let figures = &self.actor.figures;
        figures.set(figures::EVENTS_TWICE, self.outbox.duplicates());
        figures.set(figures::ORDERS_RECEIVED, self.intake.have());
        figures.set(figures::ORDERS_AGAIN, self.intake.again());
    }

    /// How many orders it has, and up to which it can do with more: as many as its other work is done, and some.
    async fn tell_manager(&self) {
        let due = (self.share.orders as f64 * self.progress()).ceil() as u64;
        let have = LoadEvent::Have {
            worker: self.actor.name.clone(),
            have: self.intake.have(),
            want: self.share.orders.min(due + ORDERS_AHEAD),
        };
        let manager = &self.actor.node.layout().manager().name;
        // Said again at the next tick if it does not arrive.
        let _ = self
            .actor
            .node
            .publish_to_node(manager, have.to_event())
            .await;
    }

    async fn ticked(&mut self) -> anyhow::Result<()> {
        let due = self.outbox.due(Instant::now());
        for (number, host) in due.into_iter().take(RESEND_AT_ONCE) {
            self.publish(number, host).await?;
        }
        if self.phase == Phase::Reading && self.waits() && self.outbox.has_room() {
            self.send(1).await?;
        }
        if self.intake.have() < self.share.orders {
            self.tell_manager().await;
        }
        let logged = self.logs_drained.as_ref();
        if self.phase == Phase::Draining
            && logged.is_some_and(JoinHandle::is_finished)
            && self.outbox.is_settled(self.plan.proxies.iter())
            && self.intake.have() == self.share.orders
        {
            self.note();
            let took = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.actor.figures.set(figures::MILLISECONDS, took.max(1));
            self.enter(Phase::Finished);
        }
        Ok(())
    }

    /// Takes up to `steps` steps, each of them with whichever of its work is behind.
    async fn send(&mut self, steps: usize) -> anyhow::Result<()> {
        for _ in 0..steps {
            let (done, share) = (self.done, self.share);
            let logs = done.records * share.keyed <= done.keyed * share.records;
            if done.records < share.records && (logs || done.keyed == share.keyed) {
                self.record().await?;
            } else if done.keyed < share.keyed {
                if !self.outbox.has_room() {
                    break;
                }
                self.event().await?;
            } else {
                self.drain();
                break;
            }
        }
        Ok(())
    }

    async fn record(&mut self) -> anyhow::Result<()> {
        self.done.records += 1;
        let number = self.done.records;
        let record = [
            LogValue::Time(Timestamp::now().as_secs_f64()),
            LogValue::String(self.actor.name.clone().into_bytes()),
            LogValue::Count(number),
            LogValue::Addr(IpAddr::V4(self.host(number))),
            LogValue::Port(LogPort {
                number: 1024 + number % 60_000,
                protocol: PortProtocol::Tcp,
            }),
            LogValue::String(b"ssl".to_vec()),
            LogValue::Interval(number as f64 / 1024.0),
            LogValue::Count(number * 31 % 100_000),
        ];
        self.log.write(&record).await?;
        self.actor.figures.add(figures::RECORDS_IN, 1);
        Ok(())
    }

    async fn event(&mut self) -> anyhow::Result<()> {
        self.done.keyed += 1;
        let host = self.host(self.done.keyed).into();
        let number = self.outbox.add(Instant::now(), host);
        self.actor
            .figures
            .set(figures::EVENTS_PUBLISHED, self.outbox.published());
        self.publish(number, host).await
    }

    /// One of [`HOSTS`] hosts.
    fn host(&self, number: u64) -> Ipv4Addr {
        let number = u32::try_from(number % u64::from(u32::MAX)).unwrap_or_default();
        let host = number.wrapping_mul(7919).wrapping_add(self.seed) % HOSTS;
        Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 0)) + host)
    }

    /// Publishes to the proxy that rendezvous hashing names, in two steps: the outbox has to know where the event went.
    async fn publish(&mut self, number: u64, host: Address) -> anyhow::Result<()> {
        let key = HrwKey::address(host);
        let proxy = self.actor.node.hrw_node(PoolSpec::PROXY, &key)?;
        let mut sent = false;
        if let Some(proxy) = &proxy {
            let event = DemoEvent::Host {
                worker: self.actor.name.clone(),
                number,
                host,
            };
            sent = self.actor.tell(proxy, &event).await > 0;
        }
        let proxy = proxy.as_deref().filter(|_| sent);
        self.outbox.sent(Instant::now(), number, proxy);
        Ok(())
    }

    /// Everything is sent: wait until it is in the files.
    fn drain(&mut self) {
        self.enter(Phase::Draining);
        let logs = self.actor.node.logs().clone();
        self.logs_drained = Some(tokio::spawn(async move {
            while !logs.drained(FOREVER).await {}
        }));
    }
}

/// How often a worker looks after what is not answered.
const TICK: Duration = Duration::from_millis(100);

/// Steps taken before the worker looks at what has come.
const SEND_AT_ONCE: usize = 64;

/// Events taken in at once.
const EVENTS_AT_ONCE: usize = 256;

/// Events sent again at once.
const RESEND_AT_ONCE: usize = 1024;

/// After so many orders the manager is told.
const ANSWER_EVERY: u64 = 128;

/// Orders that a worker can do with beside those that are due.
const ORDERS_AHEAD: u64 = 512;

/// Hosts that there are.
const HOSTS: u32 = 16_384;

/// As long as it takes: who waits is stopped from outside.
const FOREVER: Duration = Duration::from_secs(3600);
