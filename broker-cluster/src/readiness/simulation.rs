//! A cluster on a network that loses messages, connections, processes, and words about peers, on virtual time.
//!
//! Membership and readiness are the real machines; this file moves what they say between them as the driver does. The
//! invariants: the cluster is announced only when every node has been fully connected to the manager's knowledge, no process hears
//! of it twice, and once nothing is lost any more everybody has learned it after three intervals of reminding.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use broker_core::EndpointId;

use super::{Readiness, ReadinessEffect};
use crate::layout::{Layout, NodeSpec};
use crate::membership::{Effect, Membership};
use crate::role::Role;

const CLUSTER: &str = "[node.manager]\nrole = \"manager\"\nlisten = [\"mem://m\"]\n\
                       [node.logger-1]\nrole = \"logger\"\nlisten = [\"mem://l1\"]\n\
                       [node.logger-2]\nrole = \"logger\"\nlisten = [\"mem://l2\"]\n\
                       [node.proxy-1]\nrole = \"proxy\"\nlisten = [\"mem://p1\"]\n\
                       [node.worker-1]\nrole = \"worker\"\n[node.worker-2]\nrole = \"worker\"\n\
                       [node.worker-3]\nrole = \"worker\"\n";

/// Steps between two reminders.
const INTERVAL: u64 = 10;

/// Steps of trouble.
const TROUBLE: u64 = 80;

const RUNS: u64 = 2000;

#[derive(Clone, Debug)]
enum Word {
    Hello(String),
    Who,
    Report { name: String, resending: bool },
    Started,
}

/// What reaches a process from its own endpoint, in this order, beside what peers say.
#[derive(Clone, Copy, Debug)]
enum Status {
    Added(EndpointId),
    Lost(EndpointId),
}

struct Process {
    id: EndpointId,
    name: String,
    role: Role,
    membership: Membership,
    readiness: Readiness,
    statuses: VecDeque<Status>,
    /// When it reminds next.
    tick: u64,
    /// How often it was told that the cluster has started.
    started: u32,
}

struct Network {
    layout: Arc<Layout>,
    names: Arc<[String]>,
    /// Who dials whom.
    dials: Arc<[(String, String)]>,
    rng: fastrand::Rng,
    now: u64,
    next_id: u64,
    processes: BTreeMap<String, Process>,
    /// Connections by their ends, and what is under way from the first to the second.
    links: BTreeMap<(EndpointId, EndpointId), VecDeque<(u64, Word)>>,
    /// Whether anything is lost.
    troubled: bool,
    /// Names of which some process has been fully connected since the manager of now is there.
    connected: BTreeSet<String>,
    seed: u64,
}

impl Network {
    fn new(seed: u64, layout: &Arc<Layout>) -> Self {
        let names: Arc<[String]> = layout.nodes().map(|node| node.name.clone()).collect();
        let dials = layout.nodes().flat_map(|node| {
            let pair = |other: &NodeSpec| (node.name.clone(), other.name.clone());
            layout.dials(node).map(pair).collect::<Vec<_>>()
        });
        let mut network = Self {
            dials: dials.collect(),
            names: Arc::clone(&names),
            layout: Arc::clone(layout),
            rng: fastrand::Rng::with_seed(seed),
            now: 0,
            next_id: 1,
            processes: BTreeMap::new(),
            links: BTreeMap::new(),
            troubled: true,
            connected: BTreeSet::new(),
            seed,
        };
        for name in &*names {
            network.start(name);
        }
        network
    }

    fn chance(&mut self, percent: u8) -> bool {
        self.troubled && self.rng.u8(..100) < percent
    }

    fn start(&mut self, name: &str) {
        let mut bytes = [0; 16];
        bytes[8..].copy_from_slice(&self.next_id.to_be_bytes());
        self.next_id += 1;
        let id = EndpointId::from_bytes(bytes);
        let mut process = Process {
            id,
            name: name.to_owned(),
            role: self.layout.node(name).unwrap().role,
            membership: Membership::new(&self.layout),
            readiness: Readiness::new(&self.layout, name),
            statuses: VecDeque::new(),
            tick: self.now + self.rng.u64(1..=INTERVAL),
            started: 0,
        };
        if process.role == Role::Manager {
            self.connected.clear();
        }
        let effects = process.readiness.begin();
        self.processes.insert(name.to_owned(), process);
        self.readiness(name, effects);
    }

    fn kill(&mut self, name: &str) {
        let Some(process) = self.processes.remove(name) else {
            return;
        };
        let of_it: Vec<_> = self
            .links
            .keys()
            .filter(|(from, _)| *from == process.id)
            .copied()
            .collect();
        for ends in of_it {
            self.cut(ends);
        }
    }

    fn cut(&mut self, (a, b): (EndpointId, EndpointId)) {
        for (one, other) in [(a, b), (b, a)] {
            self.links.remove(&(one, other));
            self.tell(one, Status::Lost(other));
        }
    }

    /// Words about peers are lost now and then.
    fn tell(&mut self, id: EndpointId, status: Status) {
        let lost = self.chance(5);
        let known = self.processes.values_mut().find(|process| process.id == id);
        if let Some(process) = known
            && !lost
        {
            process.statuses.push_back(status);
        }
    }

    fn connect_all(&mut self) {
        let mut wanted = Vec::new();
        for (dialler, dialled) in self.dials.iter() {
            if let (Some(a), Some(b)) = (
                self.processes.get(dialler).map(|process| process.id),
                self.processes.get(dialled).map(|process| process.id),
            ) && !self.links.contains_key(&(a, b))
            {
                wanted.push((a, b));
            }
        }
        for (a, b) in wanted {
            if self.troubled && self.rng.u8(..100) < 70 {
                continue;
            }
            for (one, other) in [(a, b), (b, a)] {
                self.links.insert((one, other), VecDeque::new());
                self.tell(one, Status::Added(other));
            }
        }
    }

    fn send(&mut self, from: EndpointId, to: EndpointId, word: Word) {
        let lost = self.chance(40);
        let delay = self.rng.u64(1..=3);
        if let Some(link) = self.links.get_mut(&(from, to))
            && !lost
        {
            // In order, however long each takes.
            let at = link.back().map_or(0, |(at, _)| *at).max(self.now + delay);
            link.push_back((at, word));
        }
    }

    fn membership(&mut self, name: &str, effects: Vec<Effect>) {
        for effect in effects {
            let process = self.processes.get_mut(name).unwrap();
            let own = process.id;
            let readiness = match effect {
                Effect::SendHello(to) => {
                    self.send(own, to, Word::Hello(name.to_owned()));
                    Vec::new()
                }
                Effect::NodeUp { name, .. } => process.readiness.node_up(&name, true),
                Effect::NodeDown { name, .. } => {
                    process.readiness.node_down(&name);
                    Vec::new()
                }
                Effect::Replaced { name, .. } => {
                    process.readiness.node_down(&name);
                    process.readiness.node_up(&name, true)
                }
                Effect::Again { .. } | Effect::UnknownDown { .. } => Vec::new(),
                Effect::Unexpected { name } => panic!("{name} is in the layout"),
            };
            self.readiness(name, readiness);
        }
    }

    fn readiness(&mut self, name: &str, effects: Vec<ReadinessEffect>) {
        for effect in effects {
            let process = &self.processes[name];
            let (own, role) = (process.id, process.role);
            let manager = process.membership.id_of("manager");
            match effect {
                ReadinessEffect::FullyConnected { resending }
                | ReadinessEffect::Remind { resending } => {
                    self.connected.insert(name.to_owned());
                    let report = Word::Report {
                        name: name.to_owned(),
                        resending,
                    };
                    if let Some(manager) = manager.filter(|_| role != Role::Manager) {
                        self.send(own, manager, report);
                    }
                }
                ReadinessEffect::Answer { name: to } => {
                    if let Some(to) = self.processes[name].membership.id_of(&to) {
                        self.send(own, to, Word::Started);
                    }
                }
                ReadinessEffect::Started { announce } => {
                    self.processes.get_mut(name).unwrap().started += 1;
                    if announce {
                        let missing: Vec<&str> = self
                            .layout
                            .nodes()
                            .filter(|node| node.role != Role::Logger)
                            .map(|node| node.name.as_str())
                            .filter(|name| !self.connected.contains(*name))
                            .collect();
                        assert!(missing.is_empty(), "seed {}: {missing:?}", self.seed);
                        let peers: Vec<_> = self
                            .links
                            .keys()
                            .filter(|(from, _)| *from == own)
                            .map(|(_, to)| *to)
                            .collect();
                        for to in peers {
                            self.send(own, to, Word::Started);
                        }
                    }
                }
            }
        }
    }

    fn hear(&mut self, name: &str, from: EndpointId, word: Word) {
        let process = self.processes.get_mut(name).unwrap();
        match word {
            Word::Hello(who) => {
                let effects = process.membership.hello(&who, from);
                self.membership(name, effects);
            }
            Word::Who => self.membership(name, vec![Effect::SendHello(from)]),
            Word::Report {
                name: who,
                resending,
            } => {
                let effects = process.readiness.report(&who, resending, true);
                self.readiness(name, effects);
            }
            Word::Started => {
                let is_manager = process
                    .membership
                    .node_of(from)
                    .is_some_and(|(_, role)| role == Role::Manager);
                if is_manager {
                    let effects = process.readiness.announced();
                    self.readiness(name, effects.into_iter().collect());
                }
            }
        }
    }

    fn tick(&mut self, name: &str) {
        let process = self.processes.get_mut(name).unwrap();
        process.tick = self.now + INTERVAL;
        let id = process.id;
        let of_it = self.links.keys().filter(|(from, _)| *from == id);
        let present: BTreeSet<EndpointId> = of_it.map(|(_, to)| *to).collect();
        let unnamed: Vec<EndpointId> = process.membership.unnamed().collect();
        let effects = process.membership.reconcile(&present);
        let reminder = process.readiness.remind(false);
        for peer in unnamed {
            self.send(id, peer, Word::Who);
        }
        self.membership(name, effects);
        self.readiness(name, reminder.into_iter().collect());
    }

    /// Everybody has learned it, once, and the manager knows that they have.
    fn is_settled(&self) -> bool {
        let mut processes = self.processes.values();
        processes.all(|process| process.started == 1 && process.readiness.remind(false).is_none())
    }

    fn step(&mut self) {
        self.now += 1;
        if self.chance(8) {
            let names = Arc::clone(&self.names);
            let at = self.rng.usize(..names.len());
            self.kill(&names[at]);
        }
        if self.chance(10) && !self.links.is_empty() {
            let at = self.rng.usize(..self.links.len());
            let ends = *self.links.keys().nth(at).unwrap();
            self.cut(ends);
        }
        let names = Arc::clone(&self.names);
        for name in &*names {
            let absent = !self.processes.contains_key(name);
            if absent && (!self.troubled || self.rng.u8(..100) < 20) {
                self.start(name);
            }
        }
        self.connect_all();
        for name in &*names {
            if !self.processes.contains_key(name) {
                continue;
            }
            // Peers and what they say come through queues of their own.
            if !self.chance(30) {
                while let Some(status) = self.processes.get_mut(name).unwrap().statuses.pop_front()
                {
                    let membership = &mut self.processes.get_mut(name).unwrap().membership;
                    let effects = match status {
                        Status::Added(id) => membership.peer_added(id),
                        Status::Lost(id) => membership.peer_lost(id),
                    };
                    self.membership(name, effects);
                }
            }
            let id = self.processes[name].id;
            let sources: Vec<_> = self
                .links
                .keys()
                .filter(|(_, to)| *to == id)
                .copied()
                .collect();
            for (from, to) in sources {
                while let Some(link) = self.links.get_mut(&(from, to))
                    && link.front().is_some_and(|(at, _)| *at <= self.now)
                {
                    let (_, word) = link.pop_front().unwrap();
                    self.hear(name, from, word);
                }
            }
            if self.processes[name].tick <= self.now {
                self.tick(name);
            }
        }
    }
}

#[test]
fn everybody_learns_that_the_cluster_has_started_whatever_was_lost() {
    let (mut late, mut longest) = (0, 0);
    let layout = Arc::new(Layout::parse(CLUSTER, "lab.toml").unwrap());
    for seed in 0..RUNS {
        let mut network = Network::new(seed, &layout);
        for _ in 0..TROUBLE {
            network.step();
        }
        network.troubled = false;
        // A lost word about a peer is found in two intervals, a lost hello in one, a lost report in one.
        let mut last = 0;
        for step in 0..5 * INTERVAL + 10 {
            if !network.is_settled() {
                last = step + 1;
            }
            network.step();
        }
        let processes = network.processes.values();
        let told: Vec<(&str, u32)> = processes
            .map(|process| (process.name.as_str(), process.started))
            .collect();
        assert!(last <= 4 * INTERVAL, "seed {seed}: {last} steps, {told:?}");
        late += u32::from(last > 0);
        longest = longest.max(last);
    }
    println!("{late} of {RUNS} runs ended in trouble; made good after {longest} steps at most");
    assert!(
        late > RUNS as u32 / 2,
        "most runs have to end in trouble: {late}"
    );
}
