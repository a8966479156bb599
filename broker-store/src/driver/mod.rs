//! The tasks around the state machines: they move commands, requests and time into them and carry out what they want.
//!
//! One task per store. It takes what has arrived, up to a bound, as one batch; a batch is one group of a master. The task
//! ends when the endpoint shuts down, after it has dealt with what had arrived by then.

mod answers;
mod clone;
mod master;
mod pace;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use broker_core::topic::reserved;
use broker_core::{
    Command, CommandPort, Endpoint, EndpointId, Revision, StoreOperation, StoreReply, Timestamp,
    Topic, TopicError,
};
use bytes::Bytes;
use tokio::sync::{Notify, OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::{Instant, Interval, MissedTickBehavior};

use self::answers::Answers;
pub(crate) use self::clone::CloneDriver;
pub(crate) use self::master::{MasterDriver, position};
use self::pace::Pace;

use crate::channel::TICK;
use crate::command::{FEATURE, Question};
use crate::digest::Digest;
use crate::error::StoreError;
use crate::event::StoreEvent;
use crate::follow::Start;
use crate::history::History;
use crate::mailbox::{Mailbox, Ticket};
use crate::watch::Watchers;

/// What the handle of a store asks its task for.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) what: What,
    pub(crate) answer: Caller,
}

/// What is in a store's queue.
#[derive(Debug)]
pub(crate) enum Asked {
    /// A request.
    One(Ask),
    /// Requests that are taken together, at most [`MAX_BATCH`], and their share of the room for such.
    Together(Vec<Ask>, OwnedSemaphorePermit),
}

/// Who waits for an answer.
#[derive(Debug)]
pub(crate) enum Caller {
    /// A call that waits for it.
    Once(oneshot::Sender<Answer>),
    /// A request of a proxy.
    Mailbox(Ticket),
}

impl Caller {
    fn answer(self, answer: Answer) {
        match self {
            // A caller whose time was up has gone.
            Self::Once(caller) => drop(caller.send(answer)),
            Self::Mailbox(ticket) => ticket.answer(answer),
        }
    }

    fn is_gone(&self) -> bool {
        match self {
            Self::Once(caller) => caller.is_closed(),
            Self::Mailbox(ticket) => ticket.is_over(),
        }
    }
}

pub(crate) type Answer = Result<StoreReply, StoreError>;

#[derive(Debug)]
pub(crate) enum What {
    Operation(StoreOperation),
    Question(Question),
    Sync,
    AwaitIdle,
    /// A handle without a copy wants one.
    Copy,
}

/// Somebody wants to follow the store, from a revision on if it names one.
#[derive(Debug)]
pub(crate) struct WatchAsk {
    pub(crate) from: Option<Revision>,
    pub(crate) start: oneshot::Sender<Result<Start, StoreError>>,
}

/// The wall clock at the start, moved on by a clock that nobody sets: deadlines are wall clock on disk and monotonic while
/// the node runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    wall: Timestamp,
    start: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self {
            wall: Timestamp::now(),
            start: Instant::now(),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.wall.saturating_add(self.start.elapsed().into())
    }
}

/// The topics of one store.
#[derive(Clone, Debug)]
pub(crate) struct Topics {
    pub(crate) master: Topic,
    pub(crate) clone: Topic,
    pub(crate) events: Topic,
}

impl Topics {
    pub(crate) fn new(name: &str) -> Result<Self, TopicError> {
        Ok(Self {
            master: reserved::master(name)?,
            clone: reserved::clone(name)?,
            events: reserved::store_events(name)?,
        })
    }
}

/// What the task of a store shares with its handle.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) watchers: Watchers,
    position: Mutex<Position>,
    channels: Mutex<ChannelFigures>,
    watch_asks: Mutex<Vec<WatchAsk>>,
    watch_asked: Notify,
}

/// Where a store on this node is; see [`Store::position`](crate::Store::position).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// How many entries there are here.
    pub entries: u64,
    /// Where they are in the history of the store; `None` if it is not known, as behind a C++ master.
    pub revision: Option<Revision>,
    /// How many changes of the master are known here and not applied yet; 0 at the master.
    pub lag: u64,
    /// The digest of the entries.
    pub digest: Digest,
}

/// The channels of a store at its last tick (broker-wire reference, 7.4, 7.5 and 10.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChannelFigures {
    /// Whom the store takes numbered messages from: at a master the clones that write, at a clone the master.
    pub inputs: u64,
    /// Whom it sends numbered messages to: at a master the clones, at a clone the master.
    pub outputs: u64,
    /// Messages that came before their turn and wait for it.
    pub out_of_order: u64,
    /// Messages sent that somebody has not acknowledged yet.
    pub unacknowledged: u64,
    /// The number up to which all have acknowledged.
    pub acknowledged: u64,
    /// Calls of this process that wait for an answer.
    pub pending: u64,
}

impl Shared {
    pub(crate) fn channels(&self) -> ChannelFigures {
        *self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_channels(&self, channels: ChannelFigures) {
        *self.channels.lock().unwrap_or_else(PoisonError::into_inner) = channels;
    }

    pub(crate) fn position(&self) -> Position {
        *self.lock()
    }

    pub(crate) fn set_position(&self, position: Position) {
        *self.lock() = position;
    }

    /// Asks to follow; answered at the end of a turn, when all that has happened has been told.
    pub(crate) fn ask_to_watch(&self, ask: WatchAsk) {
        self.lock_asks().push(ask);
        self.watch_asked.notify_one();
    }

    fn lock_asks(&self) -> MutexGuard<'_, Vec<WatchAsk>> {
        self.watch_asks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Position> {
        self.position.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a store's task has in common whatever its role.
#[derive(Debug)]
struct Common {
    endpoint: Endpoint,
    /// Where commands come in, and where ours go.
    port: CommandPort,
    peers_topic: Topic,
    events_topic: Topic,
    asks: mpsc::Receiver<Asked>,
    shared: Arc<Shared>,
    clock: Clock,
    interval: Interval,
    answers: Answers,
    /// Answers to proxies that are on their way out: a mailbox is opened once for many of them.
    mail: Vec<(Ticket, Answer)>,
    pace: Pace,
    history: History,
    /// Since when nobody watches, while history is kept.
    unwatched: Option<Instant>,
}

/// What came in at one turn.
#[derive(Debug, Default)]
struct Batch {
    commands: Vec<Command>,
    asks: Vec<(u64, What)>,
    tick: bool,
    /// The endpoint shuts down: this is the last batch.
    last: bool,
}

impl Common {
    fn new(
        endpoint: Endpoint,
        own_topic: Topic,
        peers_topic: Topic,
        events_topic: Topic,
        asks: mpsc::Receiver<Asked>,
        shared: Arc<Shared>,
        clock: Clock,
    ) -> Self {
        let mut interval = tokio::time::interval(TICK);
        // After a pause one tick is enough; ticks made up for would look like silence of everybody else.
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let port = endpoint.command_port(own_topic);
        Self {
            endpoint,
            port,
            peers_topic,
            events_topic,
            asks,
            shared,
            clock,
            interval,
            answers: Answers::default(),
            mail: Vec::new(),
            pace: Pace::default(),
            history: History::default(),
            unwatched: None,
        }
    }

    /// Waits for something to do and takes all of it that is there, up to a bound. `hold_back` leaves the callers'
    /// requests where they are.
    async fn next_batch(&mut self, hold_back: bool) -> Batch {
        let mut batch = Batch::default();
        let mut asked = Vec::new();
        tokio::select! {
            biased;
            () = self.endpoint.stopping() => batch.last = true,
            _ = self.interval.tick() => batch.tick = true,
            () = self.shared.watch_asked.notified() => {}
            count = self.port.recv_many(&mut batch.commands, MAX_BATCH) => {
                if count == 0 && !self.endpoint.is_shutting_down() {
                    tracing::warn!(topic = %self.port.topic(), "store commands came faster than they were taken; some are lost and will be asked for again");
                    self.port = self.endpoint.command_port(self.port.topic().clone());
                }
            }
            // The registry holds a handle as long as the store lives.
            _ = self.asks.recv_many(&mut asked, MAX_BATCH), if !hold_back => {}
        }
        if batch.last {
            self.asks.close();
        }
        while batch.commands.len() < MAX_BATCH
            && let Some(command) = self.port.try_recv()
        {
            batch.commands.push(command);
        }
        while (!hold_back || batch.last)
            && asked.len() < MAX_BATCH
            && let Ok(more) = self.asks.try_recv()
        {
            asked.push(more);
        }
        batch.asks = Vec::with_capacity(asked.len());
        for asked in asked {
            match asked {
                Asked::One(ask) => self.take(ask, &mut batch),
                Asked::Together(asks, _room) => {
                    batch.asks.reserve(asks.len());
                    asks.into_iter().for_each(|ask| self.take(ask, &mut batch));
                }
            }
        }
        // The port takes what is below its topic as well.
        let topic = self.port.topic();
        batch.commands.retain(|command| command.topic == *topic);
        batch
    }

    /// Makes a request part of the batch, and keeps who waits for the answer.
    fn take(&mut self, Ask { what, answer }: Ask, batch: &mut Batch) {
        batch.asks.push((self.answers.insert(answer), what));
    }

    /// Returns how many peers it was sent to.
    async fn broadcast(&mut self, payload: Bytes) -> usize {
        let len = payload.len();
        let reached = self
            .endpoint
            .send_command(None, self.peers_topic.clone(), payload);
        self.pace
            .after_sending(len, &self.endpoint, &self.peers_topic)
            .await;
        reached
    }

    async fn unicast(&mut self, to: EndpointId, payload: Bytes) {
        let len = payload.len();
        self.endpoint
            .send_command(Some(to), self.peers_topic.clone(), payload);
        self.pace
            .after_sending(len, &self.endpoint, &self.peers_topic)
            .await;
    }

    /// Whether anybody would be told of an event now, or might come back and ask for it.
    fn is_watched(&mut self) -> bool {
        let watched = self.shared.watchers.is_watched()
            || self.endpoint.has_subscribers(&self.events_topic)
            || !self.shared.lock_asks().is_empty();
        if watched {
            self.unwatched = None;
        } else if self.history.is_kept() {
            let since = *self.unwatched.get_or_insert_with(Instant::now);
            if since.elapsed() < KEEP_HISTORY {
                return true;
            }
            self.history.restart(None);
        }
        watched
    }

    /// At the end of a turn: whoever wants to follow does from here on.
    fn start_watches(&mut self, at: Option<Revision>) {
        for WatchAsk { from, start } in std::mem::take(&mut *self.shared.lock_asks()) {
            if let Some(at) = at {
                self.history.keep_from(at);
            }
            let missed = match from {
                None => Some(Vec::new()),
                Some(from) if Some(from) == at => Some(Vec::new()),
                Some(from) => self.history.since(from),
            };
            let told = self.shared.watchers.follow();
            let started = told
                .map(|told| Start { told, at, missed })
                .ok_or(StoreError::BufferFull { kept: 0 });
            // Whoever asked may have gone.
            let _ = start.send(started);
        }
    }

    /// Tells of a change; `at` is the revision to go on from behind it.
    fn tell(&mut self, at: Option<Revision>, event: Arc<StoreEvent>) {
        if let Some(at) = at {
            self.history.push(at, &event);
        }
        self.tell_of(at, &event);
    }

    /// Tells of a difference that a new content brings; whoever asks for it later gets everything.
    fn tell_difference(&mut self, at: Option<Revision>, event: StoreEvent) {
        self.history.restart(None);
        self.tell_of(at, &Arc::new(event));
    }

    fn tell_of(&self, at: Option<Revision>, event: &Arc<StoreEvent>) {
        self.shared.watchers.tell(at, event);
        self.endpoint
            .publish_local(&self.events_topic, || event.to_data());
    }

    /// Everything up to this revision has been told.
    fn tell_position(&mut self, at: Revision) {
        self.history.restart(Some(at));
        self.shared.watchers.tell_position(at);
    }

    fn reply(&mut self, token: u64, answer: Answer) {
        match self.answers.remove(token) {
            Some(Caller::Mailbox(ticket)) => {
                self.mail.push((ticket, answer));
                if self.mail.len() >= MAX_MAIL {
                    self.post();
                }
            }
            Some(caller) => caller.answer(answer),
            None => {}
        }
    }

    /// Delivers the answers to proxies; to be called at the end of a turn.
    fn post(&mut self) {
        Mailbox::deliver_all(self.mail.drain(..));
    }

    fn close(&mut self) {
        self.shared.watchers.close();
        self.shared.lock_asks().clear();
        self.post();
        self.answers.answer_all(&Err(StoreError::Closed));
        self.asks.close();
        while let Ok(asked) = self.asks.try_recv() {
            let asks = match asked {
                Asked::One(ask) => vec![ask],
                Asked::Together(asks, _room) => asks,
            };
            for Ask { answer, .. } in asks {
                answer.answer(Err(StoreError::Closed));
            }
        }
    }

    fn set_position(&self, position: Position) {
        self.shared.set_position(position);
    }

    fn set_channels(&self, channels: ChannelFigures) {
        self.shared.set_channels(ChannelFigures {
            pending: self.answers.waiting() as u64,
            ..channels
        });
    }
}

/// What the peer `id` of `endpoint` is called; empty if it has no name.
pub(crate) fn name_of(endpoint: &Endpoint, id: EndpointId) -> String {
    let peer = endpoint.peers().into_iter().find(|peer| peer.id == id);
    peer.map(|peer| peer.name).unwrap_or_default()
}

/// Whether the peer `id` of `endpoint` understands our own store commands.
pub(crate) fn speaks(endpoint: &Endpoint, id: EndpointId) -> bool {
    endpoint
        .peers()
        .iter()
        .any(|peer| peer.id == id && peer.features.iter().any(|feature| feature == FEATURE))
}

/// How long the latest changes are kept once nobody watches.
const KEEP_HISTORY: Duration = Duration::from_secs(600);

/// Answers to proxies that are held back until others are there as well, or the turn ends.
const MAX_MAIL: usize = 256;

/// Commands, and requests, taken at one turn; requests that were asked together beyond that.
pub(crate) const MAX_BATCH: usize = 1024;

/// How many times up to [`MAX_BATCH`] requests that were asked together wait for a store's task; a caller beyond waits.
pub(crate) const MAX_TOGETHER: usize = 4;

/// Requests that wait for a store's task; a caller beyond waits for room.
pub(crate) const MAX_ASKS: usize = 8192;
