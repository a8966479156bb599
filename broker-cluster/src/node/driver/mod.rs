//! The task between the endpoint and the state machines of the cluster: peerings and cluster events in, hellos, reports
//! and announcements out.

mod announcing;
mod belief;
mod reminding;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use broker_core::zeek::{Event, Message as ZeekMessage, MessageView};
use broker_core::{
    ClientEvent, ClientSubscriber, EndpointId, Filter, Message, PeerInfo, QueueOptions, RateLimit,
    StatusEvent, StatusEventCode, StatusSubscriber, Subscriber, Topic,
};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};

use self::reminding::REMIND;
use super::adopt::Adoption;
use super::handling::{node_event, started_event};
use super::handover::SETTLE;
use super::{NodeEvent, Shared, streams};
use crate::events::{ClusterEvent, LOG_RECEIPTS};
use crate::membership::Effect;
use crate::readiness::ReadinessEffect;
use crate::role::Role;
use crate::table::CHANGE_EVENT;
use crate::threshold::{Jury, Verdict, names};
use crate::topics;
use crate::waiting::Waiting;

/// What a driver subscribes to.
pub(super) fn driver_topics(role: Role, id: EndpointId, hear_started: bool) -> Filter {
    let mut topics: Filter = [topics::nodeid_topic(id)].into_iter().collect();
    if role == Role::Manager {
        topics.insert(topics::role_topic(Role::Manager));
    }
    if hear_started {
        topics.insert(Topic::from_static(topics::STARTED));
    }
    topics
}

pub(super) struct Driver {
    shared: Arc<Shared>,
    statuses: StatusSubscriber,
    clients: ClientSubscriber,
    messages: Subscriber,
    role: Role,
    begun: Instant,
    waiting: Waiting,
    /// On the manager: members of pools have been told who of them is up, and are told of every change.
    settled: bool,
    /// On the manager: when it tells the cluster that it is ready.
    jury: Jury,
    adoptions: mpsc::Receiver<Adoption>,
    /// How often the manager was looked up to be reminded.
    reminders: u32,
    /// How often is said that somebody says what only another may say.
    complaints: RateLimit,
    /// On the manager: what the queue towards each peer had dropped when it was looked at last.
    dropped: HashMap<EndpointId, u64>,
}

impl Driver {
    /// Subscribes at once, so that nothing that peers send is missed.
    pub(super) fn new(shared: Arc<Shared>, adoptions: mpsc::Receiver<Adoption>) -> Self {
        let endpoint = &shared.endpoint;
        let role = shared
            .layout
            .node(&shared.name)
            .map_or(Role::Worker, |node| node.role);
        let messages = endpoint.subscribe(shared.greetings.topics().clone(), QueueOptions::local());
        let statuses = endpoint.statuses();
        let clients = endpoint.client_events();
        let ready = shared.layout.ready().filter(|_| role == Role::Manager);
        let jury = Jury::new(ready.cloned());
        Self {
            shared,
            statuses,
            clients,
            messages,
            role,
            begun: Instant::now(),
            waiting: Waiting::default(),
            settled: false,
            jury,
            adoptions,
            reminders: 0,
            complaints: RateLimit::new(5, Duration::from_secs(60)),
            dropped: HashMap::new(),
        }
    }

    pub(super) async fn run(mut self) {
        self.work().await;
        self.shared.greetings.end();
    }

    async fn work(&mut self) {
        let stop = self.shared.stop.clone();
        let begun = self.shared.state().readiness.begin();
        self.readiness(begun).await;
        let look = sleep_until(self.begun);
        tokio::pin!(look);
        let mut remind = interval_at(self.begun + REMIND, REMIND);
        remind.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                status = self.statuses.recv() => match status {
                    Some(status) => self.status(&status).await,
                    None => return,
                },
                client = self.clients.recv() => match client {
                    Some(client) => self.client(&client),
                    None => return,
                },
                message = self.messages.recv() => match message {
                    Some(message) => {
                        // A peer is announced before anything of it is read, so its hello finds it.
                        while let Some(status) = self.statuses.try_recv() {
                            self.status(&status).await;
                        }
                        self.message(&message).await;
                    }
                    None => return,
                },
                // The node holds a sender as long as it is there.
                Some(adoption) = self.adoptions.recv() => {
                    self.adopt(adoption).await;
                    // There may be another deadline.
                    look.as_mut().reset(Instant::now());
                }
                _ = remind.tick() => {
                    while let Some(status) = self.statuses.try_recv() {
                        self.status(&status).await;
                    }
                    self.remind().await;
                }
                () = &mut look => {
                    let now = self.begun.elapsed();
                    self.say_waiting(now);
                    self.judge(now).await;
                    if now >= SETTLE {
                        self.settle().await;
                    }
                    let deadline = self.jury.deadline();
                    let settle = (self.role == Role::Manager && !self.settled).then_some(SETTLE);
                    let next = [deadline, settle]
                        .into_iter()
                        .flatten()
                        .fold(Waiting::next(now), Duration::min);
                    look.as_mut().reset(self.begun + next);
                }
            }
        }
    }

    /// Other nodes make up the cluster from now on, and other rules are its rules.
    async fn adopt(&mut self, adoption: Adoption) {
        let Adoption {
            layout,
            pools,
            done,
        } = adoption;
        let (gone, came, readiness) = {
            let mut state = self.shared.state();
            let effects = state.membership.replace_nodes(&layout);
            state.replace_pools(pools);
            let down = |effect: &Effect| matches!(effect, Effect::NodeDown { .. });
            let (gone, came): (Vec<_>, Vec<_>) = effects.into_iter().partition(down);
            (gone, came, state.readiness.replace_nodes(&layout))
        };
        // Those that go are still in the former layout, those that come are in the new one.
        self.membership(gone).await;
        self.shared.set_layout(Arc::clone(&layout));
        self.membership(came).await;
        self.shared.republish_as(&layout);
        self.shared.see_homes(self.role);
        self.shared.hear_homes_again();
        self.tell_homes(None).await;
        self.readiness(readiness).await;
        let now = self.begun.elapsed();
        if self.role == Role::Manager {
            self.jury.adopt(now, layout.ready());
        }
        self.judge(now).await;
        self.changed();
        // Who asked may have stopped waiting.
        let _ = done.send(());
    }

    /// The manager has said whether the cluster is ready. It says the same again to those that may not have heard it.
    fn told(&self, verdict: Verdict) {
        let event = ClusterEvent::Ready(verdict.clone()).to_event();
        let news = self.shared.verdict.send_if_modified(|known| {
            let news = known.as_ref().map(|known| known.ready) != Some(verdict.ready);
            if news {
                *known = Some(verdict);
            }
            news
        });
        if news {
            self.shared.handling.raise(event);
        }
    }

    /// Clients may come and go all the time, so that the program says nothing of them.
    fn client(&self, event: &ClientEvent) {
        if let Some(streams) = &self.shared.streams {
            streams.cluster(&streams::client(event));
        }
    }

    async fn status(&mut self, status: &StatusEvent) {
        if let Some(streams) = &self.shared.streams {
            let node = status.endpoint.and_then(|id| {
                let state = self.shared.state();
                state
                    .membership
                    .node_of(id)
                    .map(|(name, _)| name.to_owned())
            });
            streams.status(status, node.as_deref());
        }
        let Some(id) = status.endpoint else { return };
        let effects = match status.code {
            StatusEventCode::PeerAdded => self.shared.state().membership.peer_added(id),
            StatusEventCode::PeerLost => self.shared.state().membership.peer_lost(id),
            StatusEventCode::PeerRemoved => {
                self.shared.state().membership.peer_removed(id);
                Vec::new()
            }
            _ => Vec::new(),
        };
        self.membership(effects).await;
    }

    async fn message(&mut self, message: &Message) {
        let Ok(Ok(view)) = message.view().map(MessageView::parse) else {
            return;
        };
        let MessageView::Event { name, .. } = view else {
            return;
        };
        if !ClusterEvent::is_one(name) {
            return;
        }
        let Ok(ZeekMessage::Event(event)) = ZeekMessage::from_parts(view) else {
            return;
        };
        let peer = message.peer();
        let event = ClusterEvent::from_event(event);
        if let Some(event) = &event
            && self.is_foreign(event, peer)
        {
            if let ClusterEvent::Hello { id, .. } = event {
                self.shared.greetings.done(*id);
            }
            return;
        }
        match event {
            Some(ClusterEvent::Hello { name, id }) => {
                if self.shared.current_layout().node(&name).is_some() {
                    self.shared.endpoint.learn_peer_name(id, &name);
                }
                let effects = self.shared.state().membership.hello(&name, id);
                self.membership(effects).await;
                self.shared.greetings.done(id);
            }
            Some(ClusterEvent::FullyConnected {
                name,
                id,
                resending,
            }) => self.reported(&name, id, resending).await,
            Some(ClusterEvent::Who) => {
                let effects = peer.map(Effect::SendHello);
                self.membership(effects.into_iter().collect()).await;
            }
            Some(ClusterEvent::Started) => {
                let effect = self.shared.state().readiness.announced();
                self.readiness(effect.into_iter().collect()).await;
            }
            // The manager knows best itself.
            Some(ClusterEvent::Ready(verdict)) if self.role != Role::Manager => self.told(verdict),
            Some(ClusterEvent::PoolMembers { topic, members }) if self.role != Role::Manager => {
                self.shared.hear_homes(&topic, members);
            }
            Some(ClusterEvent::PoolKnown { topic, digest }) if self.role == Role::Manager => {
                if let Some(id) = peer {
                    self.pool_known(id, &topic, digest).await;
                }
            }
            Some(ClusterEvent::Receipt { logger, batches }) => {
                self.shared.logs.receipts(&logger, &batches)
            }
            // Own and reserved topics are refused by the endpoint; a relay of a relay would be a way to circulate.
            Some(ClusterEvent::Relay { topic, event }) if !ClusterEvent::is_one(&event.name) => {
                self.publish(Message::new(topic, event)).await;
            }
            // The manager has masters of its own; so does Zeek's.
            Some(ClusterEvent::Masters { names }) if self.role != Role::Manager => {
                self.shared
                    .tables
                    .announced(&self.shared.endpoint, names)
                    .await;
            }
            Some(ClusterEvent::ForwardChanges {
                header,
                changes,
                topic,
            }) if self.role == Role::Manager => {
                let event = Event::new(CHANGE_EVENT, vec![header, changes]);
                // Workers do not see each other, and the manager may want it itself.
                let own = event.clone();
                self.publish(Message::new(topic.clone(), event)).await;
                if self.shared.subscriptions.matches(&topic) {
                    self.shared
                        .endpoint
                        .publish_local(&topic, || own.into_data());
                }
            }
            Some(
                ClusterEvent::Relay { .. }
                | ClusterEvent::Masters { .. }
                | ClusterEvent::ForwardChanges { .. }
                | ClusterEvent::Ready(_)
                | ClusterEvent::PoolMembers { .. }
                | ClusterEvent::PoolKnown { .. },
            )
            | None => {}
        }
    }

    async fn membership(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::SendHello(id) => self.greet(id).await,
                Effect::NodeUp { name, id } => self.node_up(name, id).await,
                Effect::NodeDown { name, id } => self.node_down(name, id).await,
                Effect::Again { name, id } => {
                    self.shared.say(&format!("got hello from {name} ({id})"));
                    // It may have been away, though not down.
                    self.tell_again(id).await;
                }
                Effect::Replaced { name, old, new } => {
                    tracing::error!("got hello from duplicate node {name} ({new}, before {old})");
                    self.shared.say(&format!("got hello from {name} ({new})"));
                    self.shared.logs.logger_down(&name);
                    self.shared
                        .logs
                        .logger_up(&name, new, self.gives_receipts(new));
                    // The new process has been told nothing yet, and has told nothing.
                    let reports = self.reports_readiness(new);
                    let effects = {
                        let mut state = self.shared.state();
                        state.readiness.node_down(&name);
                        state.readiness.node_up(&name, reports)
                    };
                    self.readiness(effects).await;
                    self.tell_verdict(new).await;
                    self.tell_homes(Some(&name)).await;
                }
                Effect::Unexpected { name } => {
                    tracing::error!("got hello from unexpected node {name:?}")
                }
                Effect::UnknownDown { name, id } => {
                    tracing::error!("no node found for node down: {name} ({id})")
                }
            }
        }
    }

    /// What a new peer gets first, in Zeek's order: our log streams, from the manager its tables, then our hello.
    async fn greet(&self, id: EndpointId) {
        self.shared.logs.announce_to(id).await;
        if self.role == Role::Manager {
            self.tell_masters(id).await;
        }
        let hello = ClusterEvent::Hello {
            name: self.shared.name.clone(),
            id: self.shared.endpoint.id(),
        };
        self.publish(Message::new(topics::nodeid_topic(id), hello.to_event()))
            .await;
    }

    async fn node_up(&mut self, name: String, id: EndpointId) {
        self.shared.say(&format!("got hello from {name} ({id})"));
        let receipts = self.gives_receipts(id);
        let reports = self.reports_readiness(id);
        let effects = {
            let mut state = self.shared.state();
            state.pools.iter_mut().for_each(|pool| pool.node_up(&name));
            state.readiness.node_up(&name, reports)
        };
        self.shared.logs.logger_up(&name, id, receipts);
        self.shared.see_homes(self.role);
        self.tell_homes(Some(&name)).await;
        self.shared.handling.raise(node_event(true, &name, id));
        if let Some(node) = self.shared.current_layout().node(&name) {
            let _ = self.shared.node_events.send(NodeEvent::Up {
                name,
                role: node.role,
                id,
            });
        }
        self.changed();
        self.readiness(effects).await;
        self.tell_verdict(id).await;
        self.judge(self.begun.elapsed()).await;
    }

    /// Those who wait for nodes look again.
    fn changed(&self) {
        self.shared
            .progress
            .send_modify(|progress| progress.changes += 1);
    }

    async fn node_down(&self, name: String, id: EndpointId) {
        self.shared.say(&format!("node down: {name}"));
        {
            let mut state = self.shared.state();
            state
                .pools
                .iter_mut()
                .for_each(|pool| pool.node_down(&name));
            state.readiness.node_down(&name);
        }
        self.shared.logs.logger_down(&name);
        self.shared.see_homes(self.role);
        self.tell_homes(Some(&name)).await;
        self.shared.handling.raise(node_event(false, &name, id));
        if let Some(node) = self.shared.current_layout().node(&name) {
            let _ = self.shared.node_events.send(NodeEvent::Down {
                name,
                role: node.role,
                id,
            });
        }
        self.changed();
    }

    async fn readiness(&mut self, effects: Vec<ReadinessEffect>) {
        for effect in effects {
            match effect {
                ReadinessEffect::FullyConnected { resending } => {
                    self.shared.say("fully connected");
                    self.shared
                        .progress
                        .send_modify(|progress| progress.fully_connected = true);
                    let report = ClusterEvent::FullyConnected {
                        name: self.shared.name.clone(),
                        id: self.shared.endpoint.id(),
                        resending,
                    };
                    self.shared.handling.raise(report.to_event());
                    self.report(resending).await;
                }
                ReadinessEffect::Remind { resending } => self.report(resending).await,
                ReadinessEffect::Answer { name } => {
                    let id = self.shared.state().membership.id_of(&name);
                    if let Some(id) = id {
                        let event = ClusterEvent::Started.to_event();
                        self.publish(Message::new(topics::nodeid_topic(id), event))
                            .await;
                    }
                }
                ReadinessEffect::Started { announce } => {
                    if self.role == Role::Manager {
                        self.shared.say("cluster connected");
                    }
                    self.shared
                        .progress
                        .send_modify(|progress| progress.started = true);
                    self.shared.handling.raise(started_event());
                    if announce {
                        self.announce_started().await;
                    }
                }
            }
        }
        let complete = self.shared.state().readiness.is_complete();
        if complete {
            self.settle().await;
        }
    }

    /// Tells the manager that this node is fully connected.
    async fn report(&self, resending: bool) {
        if self.role != Role::Manager {
            let report = ClusterEvent::FullyConnected {
                name: self.shared.name.clone(),
                id: self.shared.endpoint.id(),
                resending,
            };
            let topic = topics::role_topic(Role::Manager);
            self.publish(Message::new(topic, report.to_event())).await;
        }
    }

    async fn publish(&self, message: Message) {
        // It fails when the endpoint shuts down, and then nobody waits for it.
        if let Err(error) = self.shared.endpoint.publish(message).await {
            tracing::debug!(%error, "cluster event not published");
        }
    }

    fn gives_receipts(&self, id: EndpointId) -> bool {
        let peers = self.shared.endpoint.peers();
        peers.iter().any(|peer| {
            peer.id == id && peer.features.iter().any(|feature| feature == LOG_RECEIPTS)
        })
    }

    /// Whether a node tells the manager when it is fully connected. Ours do; a node of Zeek's does if it loads the script for it,
    /// which subscribes to what the manager then says.
    fn reports_readiness(&self, id: EndpointId) -> bool {
        let peers = self.shared.endpoint.peers();
        peers
            .iter()
            .filter(|peer| peer.id == id)
            .all(|peer| is_ours(peer) || peer.filter.matches(topics::STARTED))
    }

    /// The peers that know the events of our own.
    fn peers_of_ours(&self) -> BTreeSet<EndpointId> {
        let peers = self.shared.endpoint.peers().into_iter();
        peers.filter(is_ours).map(|peer| peer.id).collect()
    }

    fn say_waiting(&mut self, now: Duration) {
        let (dialled, reports) = {
            let state = self.shared.state();
            let dialled: BTreeSet<String> =
                state.readiness.waiting_for().map(str::to_owned).collect();
            let reports: BTreeSet<String> = if state.readiness.is_started() {
                BTreeSet::new()
            } else {
                state.readiness.pending().map(str::to_owned).collect()
            };
            (dialled, reports)
        };
        let all = dialled.union(&reports).cloned().collect();
        if !self.waiting.say(now, &all) {
            return;
        }
        let listed = |set: &BTreeSet<String>| names(set.iter().map(String::as_str));
        if !dialled.is_empty() {
            tracing::warn!("waiting for {}", listed(&dialled));
        }
        if !reports.is_empty() {
            tracing::warn!(
                "nodes that are not fully connected yet: {}",
                listed(&reports)
            );
        }
    }
}

/// Whether a peer said in the handshake what software it is, for which C++ has no words.
fn is_ours(peer: &PeerInfo) -> bool {
    !peer.software.is_empty()
}
