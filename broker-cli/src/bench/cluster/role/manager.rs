//! The manager: sends every worker its orders.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use broker_cluster::{NodeEvent, Role};
use broker_core::zeek::Event;
use tokio::time::{MissedTickBehavior, interval};

use crate::bench::cluster::events::LoadEvent;
use crate::bench::cluster::feed::Feed;
use crate::demo::role::Actor;

/// Sends until the node is stopped.
pub(super) async fn run(actor: Actor) -> anyhow::Result<()> {
    let mut changes = actor.node.node_events();
    let feeds = actor.plan.workers.iter().cloned();
    let mut manager = Manager {
        feeds: feeds.map(|worker| (worker, Feed::default())).collect(),
        actor,
    };
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            change = changes.recv() => {
                if let Ok(NodeEvent::Down { name, role: Role::Worker, .. }) = change
                    && let Some(feed) = manager.feeds.get_mut(&name)
                {
                    feed.lost();
                }
            }
            _ = tick.tick() => manager.send_all().await?,
            event = manager.actor.events.recv() => {
                let (_, event) = event.context("the node has stopped")?;
                manager.heard(&event).await?;
            }
        }
    }
}

struct Manager {
    actor: Actor,
    feeds: BTreeMap<String, Feed>,
}

impl Manager {
    async fn heard(&mut self, event: &Event) -> anyhow::Result<()> {
        let Some(LoadEvent::Have { worker, have, want }) = LoadEvent::from_event(event) else {
            return Ok(());
        };
        let Some(feed) = self.feeds.get_mut(&worker) else {
            return Ok(());
        };
        feed.heard(Instant::now(), have, want);
        send(&self.actor, &worker, feed).await
    }

    async fn send_all(&mut self) -> anyhow::Result<()> {
        for (worker, feed) in &mut self.feeds {
            send(&self.actor, worker, feed).await?;
        }
        Ok(())
    }
}

/// What may be on its way to a worker, and is not.
async fn send(actor: &Actor, worker: &str, feed: &mut Feed) -> anyhow::Result<()> {
    while let Some(number) = feed.next(Instant::now()) {
        let order = LoadEvent::Order { number }.to_event();
        actor.node.publish_to_node(worker, order).await?;
    }
    Ok(())
}

/// How often the manager looks after what is not answered.
const TICK: Duration = Duration::from_millis(500);
