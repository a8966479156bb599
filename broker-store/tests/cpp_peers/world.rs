//! A master and its clones, each ours or a model, and the links between them.

use std::collections::BTreeMap;

use broker_core::{Data, EndpointId, EntityId, StoreOperation, StoreReply, Timespan, Timestamp};
use broker_store::channel::Timers;
use broker_store::clone::Patience;
use broker_store::command::{Command, Content};
use broker_store::operation::Request;
use broker_store::{
    Backend, CloneOutput, CloneState, EntityIds, MasterOutput, MasterState, StoreError, StoreEvent,
};

pub(crate) use super::peer::{Peer, To};

/// A master and clones that are linked to it.
pub(crate) struct World<M, C> {
    pub(crate) master: M,
    pub(crate) clones: Vec<C>,
    up: Vec<bool>,
    /// Which commands get lost on their way.
    pub(crate) loses: Box<dyn FnMut(&Command) -> bool>,
    /// All that arrived, for tests that look at it.
    pub(crate) arrived: Vec<Command>,
}

impl<M: Peer, C: Peer> World<M, C> {
    pub(crate) fn new(master: M, clones: Vec<C>) -> Self {
        let mut world = Self {
            up: vec![true; clones.len()],
            master,
            clones,
            loses: Box::new(|_| false),
            arrived: Vec::new(),
        };
        world
            .clones
            .iter_mut()
            .for_each(|clone| clone.set_connected(true));
        world.settle();
        world
    }

    /// Delivers until nobody has anything to say.
    pub(crate) fn settle(&mut self) {
        loop {
            let mut quiet = true;
            for (to, command) in self.master.take_output() {
                quiet = false;
                for n in 0..self.clones.len() {
                    let here = self.clones[n].id().endpoint;
                    if self.arrives(n, &command)
                        && (to == To::Everybody || to == To::Endpoint(here))
                    {
                        self.clones[n].hear(command.clone());
                    }
                }
            }
            for n in 0..self.clones.len() {
                for (to, command) in self.clones[n].take_output() {
                    quiet = false;
                    let here = self.master.id().endpoint;
                    if self.arrives(n, &command)
                        && (to == To::Everybody || to == To::Endpoint(here))
                    {
                        self.master.hear(command);
                    }
                }
            }
            if quiet {
                return;
            }
        }
    }

    fn arrives(&mut self, clone: usize, command: &Command) -> bool {
        let arrives = self.up[clone] && !(self.loses)(command);
        if arrives {
            self.arrived.push(command.clone());
        }
        arrives
    }

    /// So many times 100 ms pass.
    pub(crate) fn ticks(&mut self, ticks: u64) {
        for _ in 0..ticks {
            self.master.tick();
            self.clones.iter_mut().for_each(Peer::tick);
            self.settle();
        }
    }

    pub(crate) fn seconds(&mut self, seconds: u64) {
        self.ticks(seconds * 10);
    }

    pub(crate) fn cut(&mut self, clone: usize) {
        self.up[clone] = false;
        self.clones[clone].set_connected(false);
    }

    pub(crate) fn join(&mut self, clone: usize) {
        self.up[clone] = true;
        self.clones[clone].set_connected(true);
    }

    /// Loses the next command that `is_it` says yes to.
    pub(crate) fn lose_next(&mut self, is_it: impl Fn(&Content) -> bool + 'static) {
        let mut lost = false;
        self.loses = Box::new(move |command| {
            let loses = !lost && is_it(&command.content);
            lost |= loses;
            loses
        });
    }
}

/// Our master.
pub(crate) struct OurMaster {
    pub(crate) state: MasterState,
    tick: i64,
    /// What calls have caused and nobody has taken yet.
    pending: Vec<MasterOutput>,
}

impl OurMaster {
    pub(crate) fn new(id: EntityId, backend: impl Backend) -> Self {
        let state = MasterState::new("s", id, Box::new(backend), Timers::default()).unwrap();
        Self {
            state,
            tick: 0,
            pending: Vec::new(),
        }
    }

    /// Another start of it.
    pub(crate) fn restart(&mut self, id: EntityId, backend: impl Backend) {
        self.state = MasterState::new("s", id, Box::new(backend), Timers::default()).unwrap();
        self.pending.clear();
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_nanos(self.tick * 100_000_000)
    }

    pub(crate) fn call(&mut self, operation: StoreOperation) -> Result<StoreReply, StoreError> {
        let request = Request::from_operation(operation, self.state.id(), 1);
        let now = self.now();
        self.state.handle_request(now, 1, request);
        self.state.commit();
        let mut answer = None;
        let mut others = Vec::new();
        while let Some(output) = self.state.poll_output() {
            match output {
                MasterOutput::Reply { result, .. } => answer = Some(result),
                other => others.push(other),
            }
        }
        self.pending.extend(others);
        answer.expect("calls are answered at once")
    }

    pub(crate) fn content(&mut self) -> BTreeMap<Data, Data> {
        let mut content = BTreeMap::new();
        let mut after = None;
        loop {
            let page = StoreOperation::Scan { after, limit: 4096 };
            let entries = match self.call(page) {
                Ok(StoreReply::Entries(entries)) => entries,
                other => panic!("no entries: {other:?}"),
            };
            after = entries.last().map(|entry| entry.key.clone());
            if after.is_none() {
                return content;
            }
            content.extend(entries.into_iter().map(|entry| (entry.key, entry.value)));
        }
    }
}

impl Peer for OurMaster {
    fn id(&self) -> EntityId {
        self.state.id()
    }

    fn hear(&mut self, command: Command) {
        let now = self.now();
        self.state
            .handle_command(now, command.sender.endpoint, &command.encode());
        self.state.commit();
    }

    fn tick(&mut self) {
        self.tick += 1;
        let now = self.now();
        self.state.tick(now);
    }

    fn take_output(&mut self) -> Vec<(To, Command)> {
        let mut outputs = std::mem::take(&mut self.pending);
        outputs.extend(std::iter::from_fn(|| self.state.poll_output()));
        let said = outputs.into_iter().filter_map(|output| match output {
            MasterOutput::Broadcast(payload) => Some((To::Everybody, payload)),
            MasterOutput::Unicast { to, payload } => Some((To::Endpoint(to), payload)),
            MasterOutput::Event { .. } | MasterOutput::Reply { .. } => None,
        });
        said.map(|(to, payload)| (to, Command::decode(&payload).unwrap()))
            .collect()
    }
}

/// Our clone.
pub(crate) struct OurClone {
    pub(crate) state: CloneState,
    connected: bool,
    /// As its events tell it.
    pub(crate) content: BTreeMap<Data, Data>,
    pub(crate) answers: BTreeMap<u64, Result<StoreReply, StoreError>>,
    tokens: u64,
}

impl OurClone {
    pub(crate) fn new(endpoint: EndpointId) -> Self {
        Self {
            state: CloneState::new("s", EntityIds::new(endpoint), Patience::default(), |_| {
                false
            }),
            connected: false,
            content: BTreeMap::new(),
            answers: BTreeMap::new(),
            tokens: 0,
        }
    }

    /// Begins a write and returns under which number it is answered.
    pub(crate) fn call(&mut self, operation: StoreOperation) -> u64 {
        self.tokens += 1;
        self.state.handle_write(self.tokens, operation);
        self.tokens
    }
}

impl Peer for OurClone {
    fn id(&self) -> EntityId {
        self.state.id()
    }

    fn hear(&mut self, command: Command) {
        self.state
            .handle_command(Timestamp::EPOCH, command.sender.endpoint, &command.encode());
    }

    fn tick(&mut self) {
        self.state.tick();
    }

    fn take_output(&mut self) -> Vec<(To, Command)> {
        let mut said = Vec::new();
        while let Some(output) = self.state.poll_output() {
            let (to, payload) = match output {
                CloneOutput::Broadcast(payload) => (To::Everybody, payload),
                CloneOutput::Write { seq, payload } => {
                    if self.connected {
                        self.state.handle_left(seq);
                    }
                    (To::Everybody, payload)
                }
                CloneOutput::Unicast { to, payload } => (To::Endpoint(to), payload),
                CloneOutput::Reply { token, result } => {
                    assert!(self.answers.insert(token, result).is_none(), "one answer");
                    continue;
                }
                CloneOutput::Event { event, .. } | CloneOutput::Difference { event, .. } => {
                    match event {
                        StoreEvent::Insert { key, value, .. } => {
                            assert_eq!(self.content.insert(key, value), None);
                        }
                        StoreEvent::Update { key, old, new, .. } => {
                            assert_eq!(self.content.insert(key, new), Some(old));
                        }
                        event => assert!(self.content.remove(event.key()).is_some()),
                    }
                    continue;
                }
                CloneOutput::Freshness(_) | CloneOutput::Position(_) => continue,
            };
            said.push((to, Command::decode(&payload).unwrap()));
        }
        said
    }

    fn set_connected(&mut self, connected: bool) {
        self.connected = connected;
    }
}

/// An endpoint by a number.
pub(crate) const fn endpoint(n: u8) -> EndpointId {
    EndpointId::from_bytes([n; 16])
}

pub(crate) const fn entity(n: u8) -> EntityId {
    EntityId::new(endpoint(n), 7)
}

pub(crate) fn put(publisher: EntityId, key: &str, value: u64) -> Content {
    put_for(publisher, key, value, None)
}

pub(crate) fn put_for(
    publisher: EntityId,
    key: &str,
    value: u64,
    expiry: Option<Timespan>,
) -> Content {
    Content::Put {
        key: key.into(),
        value: value.into(),
        expiry,
        publisher,
    }
}

pub(crate) fn add(publisher: EntityId, key: &str, amount: u64) -> Content {
    Content::Add {
        key: key.into(),
        operand: amount.into(),
        init: broker_core::DataKind::Count,
        expiry: None,
        publisher,
    }
}

pub(crate) fn increment(key: &str) -> StoreOperation {
    StoreOperation::Increment {
        key: key.into(),
        amount: 1u64.into(),
        expiry: None,
    }
}

pub(crate) fn count(content: &BTreeMap<Data, Data>, key: &str) -> Option<u64> {
    content.get(&key.into()).and_then(Data::as_count)
}
