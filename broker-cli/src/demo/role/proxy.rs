//! A proxy: counts the hosts it is told, in its journal and in the store, and answers for them.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use broker_cluster::{NodeEvent, Role};
use broker_core::zeek::Event;
use broker_core::{Address, Data};
use broker_store::Store;
use tokio::task::JoinSet;

use super::Actor;
use crate::demo::events::DemoEvent;
use crate::demo::figures;
use crate::demo::tally::Tally;

/// Counts until the node is stopped: in the journal, and in the store if there is one.
pub(crate) async fn run(actor: Actor, store: Option<Store>) -> anyhow::Result<()> {
    let mut changes = actor.node.node_events();
    let tally = Tally::open(
        &actor
            .plan
            .directory
            .join(&actor.name)
            .join("received.journal"),
    )?;
    let mut proxy = Proxy {
        actor,
        store,
        tally,
        answers: BTreeMap::new(),
    };
    // What a killed process had counted, but perhaps not brought into the store.
    proxy.settle().await?;
    // Workers may have come up before anybody listened.
    for (name, (role, _)) in proxy.actor.node.nodes_up() {
        proxy.greet(&name, role).await;
    }
    loop {
        tokio::select! {
            change = changes.recv() => match change {
                Ok(NodeEvent::Up { name, role, .. }) => proxy.greet(&name, role).await,
                Ok(NodeEvent::Down { name, .. }) => proxy.tally.away(&name),
                Err(_) => {}
            },
            event = proxy.actor.events.recv() => {
                let (_, event) = event.context("the node has stopped")?;
                proxy.heard(&event);
                proxy.take_what_is_there();
                proxy.settle().await?;
            }
        }
    }
}

struct Proxy {
    actor: Actor,
    store: Option<Store>,
    tally: Tally,
    /// Events to be answered for, by worker.
    answers: BTreeMap<String, Vec<u64>>,
}

impl Proxy {
    /// Tells a worker that came up what is counted of it already.
    async fn greet(&self, name: &str, role: Role) {
        if role == Role::Worker {
            let claims = DemoEvent::Claims {
                proxy: self.actor.name.clone(),
                numbers: self.tally.claims(name),
            };
            self.actor.tell(name, &claims).await;
        }
    }

    fn heard(&mut self, event: &Event) {
        if let Some(DemoEvent::Host {
            worker,
            number,
            host,
        }) = Actor::understand(event)
        {
            self.tally.add(&worker, number, host);
            self.answers.entry(worker).or_default().push(number);
        }
    }

    fn take_what_is_there(&mut self) {
        for _ in 0..AT_ONCE {
            let Some((_, event)) = self.actor.events.try_recv() else {
                break;
            };
            self.heard(&event);
        }
    }

    /// Journal, then store, then answers: what is answered for survives a kill.
    async fn settle(&mut self) -> anyhow::Result<()> {
        self.tally.write().context("cannot write the journal")?;
        self.actor
            .figures
            .set(figures::EVENTS_RECEIVED, self.tally.received());
        self.actor.figures.set(figures::KEYS, self.tally.hosts());
        if let Some(store) = &self.store {
            self.apply(store).await?;
            self.tally.applied().context("cannot write the journal")?;
        }
        for (worker, numbers) in std::mem::take(&mut self.answers) {
            self.actor
                .tell(
                    &worker,
                    &DemoEvent::Counted {
                        proxy: self.actor.name.clone(),
                        numbers,
                    },
                )
                .await;
        }
        Ok(())
    }

    /// Brings into the store what may not be there.
    async fn apply(&self, store: &Store) -> anyhow::Result<()> {
        let mut writes = JoinSet::new();
        for (host, times) in self.tally.unapplied() {
            if writes.len() >= WRITES_AT_ONCE
                && let Some(written) = writes.join_next().await
            {
                written?;
            }
            writes.spawn(count(store.clone(), host, times));
        }
        while let Some(written) = writes.join_next().await {
            written?;
        }
        Ok(())
    }
}

/// Adds to a host's count, as often as it takes: the master may be away for a while.
async fn count(store: Store, host: Address, times: u64) {
    while let Err(error) = store
        .increment(Data::from(host), Data::Count(times), None)
        .await
    {
        tracing::warn!("cannot count {host}: {error}");
        tokio::time::sleep(TRY_AGAIN_AFTER).await;
    }
}

/// Events taken in before they are answered for.
const AT_ONCE: usize = 2048;

/// Hosts brought into the store at the same time.
const WRITES_AT_ONCE: usize = 256;

/// How long to wait before a write is tried again.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(500);
