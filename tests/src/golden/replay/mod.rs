//! One side of a recording, played to an endpoint that has the other.
//!
//! The frames of the played side go out as recorded, but for the names our endpoint chose itself. Before a call is made, and
//! after each tick of time, a ping of the harness goes to our endpoint and its pong is awaited: frames keep their order, so
//! our endpoint has seen everything played before, and everything it said is here.
//!
//! `ours` compares what our endpoint sends, `played` sends what the other side sent.

mod ours;
mod played;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use broker_core::{
    BoxFuture, Data, Endpoint, EndpointBuilder, EndpointId, Filter, Heartbeat, PeerUrl,
};
use broker_store::command::{Command, Content};
use broker_wire::NativeTransport;
use tokio::net::TcpListener;

pub(crate) use self::ours::{KEEPALIVES, TIMED};
use self::played::Wire;
use super::frame::{COMMAND, Frame, MessageFrame, PING, PONG};
use super::names::Names;
use super::pace::Pace;
use super::recording::{Recorded, Recording, Side, Step};

/// Something our side has to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cue<'a> {
    /// A note of the recording: what was called on either side.
    Note(&'a str),
    /// Our side says goodbye next.
    Goodbye,
}

/// Frames of ours that are not in the recording, by the reason there is for them.
pub type Explained = BTreeMap<&'static str, usize>;

/// A recorded frame with what differs for a stated reason taken from the frame our endpoint sent.
type Adapt = Box<dyn Fn(&MessageFrame, &MessageFrame) -> MessageFrame>;

/// Resolves when a part of our side that works by itself is done with what it was given.
type AtWork = Box<dyn Fn() -> BoxFuture<'static, ()>>;

/// Whether a frame of ours is one that the recorded side rightly has not.
type Unrecorded = Box<dyn Fn(&MessageFrame) -> bool>;

/// A session of one endpoint of ours with the other side of a recording.
pub struct Replay {
    recording: Recording,
    ours: Side,
    place: Place,
    wire: Option<Wire>,
    pace: Pace,
    names: Names,
    adapt: Adapt,
    at_work: Option<AtWork>,
    announced: Filter,
    newest_version: u8,
    cut_short: bool,
    unrecorded: Vec<(&'static str, Unrecorded)>,
    /// A note whose call is not made yet.
    note: Option<String>,
    /// Frames of ours that came and are not matched yet, those apart that come when their time has come.
    ordered: VecDeque<(Vec<u8>, Frame)>,
    timed: Vec<(MessageFrame, Command)>,
    explained: Explained,
    /// Keys of ours that expire together, by the number of the first frame that says so; and those of now still to come.
    expiring: BTreeMap<u64, Vec<Data>>,
    expiring_now: Vec<Data>,
    /// The number of our side's last update or write.
    our_seq: u64,
    /// That of the played side, and how far our side has acknowledged it.
    played_seq: u64,
    acknowledged: u64,
    handshake: bool,
    left: bool,
    nudges: u64,
    /// Recorded frames of our side that ours has not sent yet.
    missing: usize,
}

/// Where the two sides meet.
enum Place {
    Nowhere,
    Listening(TcpListener),
    Dialling(SocketAddr),
}

/// Ticks to wait for what time brings; far more than any timer has.
const MAX_TICKS: usize = 600;
const BYE: &[u8] = b"BYE";
const NUDGE: &[u8] = b"nudge";

impl Replay {
    /// The recording `name`, with our endpoint as `ours`.
    ///
    /// # Panics
    /// Outside a runtime of one thread whose clock is paused.
    pub async fn new(name: &str, ours: Side) -> Self {
        let recording = Recording::load(name);
        let place = match ours {
            Side::Connector => Place::Listening(TcpListener::bind(("127.0.0.1", 0)).await.unwrap()),
            Side::Acceptor => Place::Nowhere,
        };
        let missing = recording.frames().filter(|recorded| recorded.from == ours);
        let missing = missing.count();
        let expiring = keys_that_expire_together(&recording, ours);
        Self {
            names: Names::new(recording.id(ours)),
            recording,
            ours,
            place,
            wire: None,
            pace: Pace::new(),
            adapt: Box::new(|recorded, _| recorded.clone()),
            at_work: None,
            announced: Filter::new(),
            newest_version: 1,
            cut_short: false,
            unrecorded: Vec::new(),
            note: None,
            ordered: VecDeque::new(),
            timed: Vec::new(),
            explained: Explained::new(),
            expiring,
            expiring_now: Vec::new(),
            our_seq: 1,
            played_seq: 1,
            acknowledged: 1,
            handshake: true,
            left: false,
            nudges: 0,
            missing,
        }
    }

    /// Lets our endpoint offer the versions from 1 to `newest`, of which C++ has only the first.
    pub const fn offer(&mut self, newest: u8) {
        self.newest_version = newest;
    }

    /// Sends in front of each frame every beginning of it, as a frame of its own. They mean nothing, and the session must not
    /// suffer from them.
    pub const fn cut_short(&mut self) {
        self.cut_short = true;
    }

    /// Sets up the endpoint under test: the recorded ID, the native protocol in the only version that C++ offers unless told
    /// otherwise, and no pings but those that something waits for.
    pub fn endpoint(&self) -> EndpointBuilder {
        let seldom = Heartbeat {
            interval: Duration::from_secs(3600),
            timeout: Duration::from_secs(3 * 3600),
        };
        Endpoint::builder().id(self.our_id()).transport(
            NativeTransport::new()
                .versions(1, self.newest_version)
                .heartbeat(seldom),
        )
    }

    /// The ID of the endpoint under test.
    #[must_use]
    pub const fn our_id(&self) -> EndpointId {
        self.recording.id(self.ours)
    }

    /// The ID of the side that is played.
    #[must_use]
    pub const fn played_id(&self) -> EndpointId {
        self.recording.id(self.ours.other())
    }

    /// Where the played side listens.
    ///
    /// # Panics
    /// If it does not.
    #[must_use]
    pub fn url(&self) -> PeerUrl {
        let Place::Listening(listener) = &self.place else {
            panic!("the played side does not listen")
        };
        let port = listener.local_addr().unwrap().port();
        PeerUrl::new("broker", "127.0.0.1", Some(port))
    }

    /// Lets our endpoint dial or listen, and the played side do the other.
    ///
    /// # Panics
    /// If it cannot listen.
    pub async fn open(&mut self, endpoint: &Endpoint) {
        match self.ours {
            Side::Connector => endpoint.peer(self.url()),
            Side::Acceptor => {
                let any = "broker://127.0.0.1:0".parse().unwrap();
                let bound = endpoint.listen(&any).await.unwrap();
                self.dial(&bound);
            }
        }
    }

    /// Lets the played side dial `url`.
    ///
    /// # Panics
    /// If there is no port in it.
    pub fn dial(&mut self, url: &PeerUrl) {
        let port = url.port().unwrap();
        self.place = Place::Dialling(SocketAddr::from(([127, 0, 0, 1], port)));
    }

    /// What our endpoint rightly says otherwise: `adapt` makes of a recorded frame and the one sent in its place the one
    /// that has to be sent.
    pub fn adapt(
        &mut self,
        adapt: impl Fn(&MessageFrame, &MessageFrame) -> MessageFrame + 'static,
    ) {
        self.adapt = Box::new(adapt);
    }

    /// Names prefixes that our endpoint announces beyond those of the recorded one.
    pub fn announced(&mut self, prefixes: Filter) {
        self.announced = prefixes;
    }

    /// Names a part of our side that works by itself, such as a store on a disk: time does not move until `at_work` says that
    /// it is done with what it was given.
    pub fn wait_for<F: Future<Output = ()> + Send + 'static>(
        &mut self,
        at_work: impl Fn() -> F + 'static,
    ) {
        self.at_work = Some(Box::new(move || Box::pin(at_work())));
    }

    /// Names one frame of ours that the recorded side rightly has not, with the reason. If it is an update of a store it takes
    /// a number of our side's stream, so that all later ones are one higher.
    pub fn unrecorded(
        &mut self,
        reason: &'static str,
        is_it: impl Fn(&MessageFrame) -> bool + 'static,
    ) {
        self.unrecorded.push((reason, Box::new(is_it)));
    }

    /// Takes messages of the recorded side out that ours has no reason to send.
    pub fn leave_out(&mut self, is_left_out: impl Fn(&MessageFrame) -> bool) {
        let ours = self.ours;
        let before = self.recording.steps.len();
        self.recording.steps.retain(|step| match step {
            Step::Frame(Recorded {
                from,
                frame: Frame::Message(message),
                ..
            }) if *from == ours => !is_left_out(message),
            _ => true,
        });
        self.missing -= before - self.recording.steps.len();
    }

    /// Plays the whole recording. `cue` makes the calls of our side.
    ///
    /// # Panics
    /// At the first frame of ours that differs.
    pub async fn run(mut self, mut cue: impl AsyncFnMut(Cue<'_>)) -> Explained {
        let steps = std::mem::take(&mut self.recording.steps);
        for step in &steps {
            self.step(step, &mut cue).await;
        }
        self.call(&mut cue).await;
        self.finish().await
    }

    /// Plays one step of it; for tests that play several recordings at once.
    ///
    /// # Panics
    /// As [`run`](Self::run).
    pub async fn step(&mut self, step: &Step, cue: &mut impl AsyncFnMut(Cue<'_>)) {
        match step {
            Step::Note(note) => {
                self.call(cue).await;
                self.note = Some(note.clone());
            }
            Step::Frame(recorded) if recorded.from == self.ours => {
                // Before the first frame of a call there may be a handshake, or what timers sent.
                if matches!(&recorded.frame, Frame::Message(message) if !comes_by_time(message)) {
                    self.call(cue).await;
                }
                if self.is_goodbye(recorded) {
                    self.settle().await;
                    cue(Cue::Goodbye).await;
                }
                self.expect(recorded).await;
                self.missing -= 1;
            }
            Step::Frame(recorded) => self.play(recorded).await,
        }
    }

    /// Makes the call of the last note, if it is not made.
    async fn call(&mut self, cue: &mut impl AsyncFnMut(Cue<'_>)) {
        if let Some(note) = self.note.take() {
            self.settle().await;
            cue(Cue::Note(&note)).await;
        }
    }

    /// Takes the steps out.
    #[must_use]
    pub fn take_steps(&mut self) -> Vec<Step> {
        std::mem::take(&mut self.recording.steps)
    }

    /// Ends the session: nothing may be left that nobody expected.
    ///
    /// # Panics
    /// If something is.
    pub async fn finish(mut self) -> Explained {
        self.hang_up().await;
        assert!(
            self.ordered.is_empty(),
            "{}: our endpoint also sent {:?}",
            self.recording.name,
            self.ordered
        );
        assert_eq!(self.missing, 0, "recorded frames that did not come");
        let missing: Vec<_> = self.unrecorded.iter().map(|(reason, _)| reason).collect();
        assert!(missing.is_empty(), "did not come: {missing:?}");
        let surplus = self.timed.len();
        if surplus > 0 {
            self.explained.insert(TIMED, surplus);
        }
        self.explained
    }

    /// Waits until our endpoint has seen all that was played and its answers are here.
    pub async fn settle(&mut self) {
        if self.handshake || self.left || self.wire.is_none() {
            return;
        }
        self.nudge().await;
        if let Some(at_work) = &self.at_work {
            let done = at_work();
            self.pace.patiently("our side to do its work", done).await;
            self.nudge().await;
        }
    }

    async fn nudge(&mut self) {
        self.nudges += 1;
        let payload = [NUDGE, &self.nudges.to_be_bytes()].concat();
        let ping = MessageFrame {
            sender: self.played_id(),
            receiver: self.our_id(),
            kind: PING,
            topic: b"<$>".to_vec(),
            payload: payload.clone(),
        };
        self.send(&ping.to_bytes()).await;
        loop {
            let frame = self.frame_or_panic("the answer to a ping").await;
            if let Frame::Message(message) = Frame::parse(&frame, false)
                && message.kind == PONG
                && message.payload == payload
            {
                assert_eq!(
                    (message.sender, message.receiver),
                    (self.our_id(), self.played_id())
                );
                return;
            }
            self.take(frame).await;
        }
    }

    fn note_handshake(&mut self, frame: &Frame) {
        if matches!(frame, Frame::OriginatorAck) {
            self.handshake = false;
        }
    }

    fn is_goodbye(&self, recorded: &Recorded) -> bool {
        matches!(&recorded.frame, Frame::Message(message)
            if message.kind == PING && message.payload.starts_with(BYE) && recorded.from == self.ours)
    }
}

impl std::fmt::Debug for Replay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replay")
            .field("recording", &self.recording.name)
            .field("ours", &self.ours)
            .finish_non_exhaustive()
    }
}

fn comes_by_time(message: &MessageFrame) -> bool {
    message.kind == COMMAND && is_timed(&Command::decode(&message.payload).unwrap().content)
}

/// What comes by the clock alone.
const fn is_timed(content: &Content) -> bool {
    matches!(
        content,
        Content::Keepalive { .. } | Content::CumulativeAck { .. }
    )
}

fn keys_that_expire_together(recording: &Recording, ours: Side) -> BTreeMap<u64, Vec<Data>> {
    let mut groups: BTreeMap<u64, Vec<Data>> = BTreeMap::new();
    let mut begun = false;
    for recorded in recording.frames().filter(|recorded| recorded.from == ours) {
        let command = match &recorded.frame {
            Frame::Message(message) if message.kind == COMMAND => {
                Command::decode(&message.payload).unwrap().content
            }
            _ => continue,
        };
        match command {
            Content::Expire { key, .. } if begun => {
                groups.last_entry().unwrap().get_mut().push(key);
            }
            Content::Expire { key, .. } => {
                groups.insert(recorded.number, vec![key]);
                begun = true;
            }
            content => begun &= is_timed(&content),
        }
    }
    groups
}
