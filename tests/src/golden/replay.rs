//! One side of a recording, played to an endpoint that has the other.
//!
//! The frames of the played side go out as recorded, but for the names our endpoint chose itself. Before a call is made, and
//! after each tick of time, a ping of the harness goes to our endpoint and its pong is awaited: frames keep their order, so
//! our endpoint has seen everything played before, and everything it said is here.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use broker_core::{
    BoxFuture, Data, Endpoint, EndpointBuilder, EndpointId, EntityId, Filter, FilterLimits,
    Heartbeat, PeerUrl,
};
use broker_store::command::{Command, Content};
use broker_wire::NativeTransport;
use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::frame::{COMMAND, Frame, MessageFrame, PING, PONG};
use super::names::Names;
use super::pace::{Pace, tick};
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
    handshake: bool,
    left: bool,
    nudges: u64,
    matched: usize,
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
            handshake: true,
            left: false,
            nudges: 0,
            matched: 0,
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
                self.matched += 1;
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
        assert!(self.matched > 0);
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

    // --- what our endpoint sends -------------------------------------------------------------------

    async fn expect(&mut self, recorded: &Recorded) {
        let what = format!("{} #{}", self.recording.name, recorded.number);
        let Frame::Message(message) = &recorded.frame else {
            if matches!(recorded.frame, Frame::Hello(_)) && !self.handshake {
                // Told goodbye, our endpoint dials again.
                self.hang_up().await;
                self.handshake = true;
                self.left = false;
            }
            let frame = self.next_ordered(&what).await;
            let expected = self.with_offers(recorded);
            assert_eq!(frame.0, expected, "{what}: {:?}", recorded.frame);
            self.note_handshake(&recorded.frame);
            return;
        };
        if message.kind == COMMAND {
            let command = Command::decode(&message.payload).unwrap();
            if is_timed(&command.content) {
                self.expect_timed(&what, message, &command).await;
                return;
            }
            if matches!(command.content, Content::Expire { .. }) {
                if let Some(keys) = self.expiring.remove(&recorded.number) {
                    assert!(self.expiring_now.is_empty(), "{what}");
                    self.expiring_now = keys;
                }
                self.wait_for_time(&what, |replay| !replay.ordered.is_empty())
                    .await;
            }
        }
        let (bytes, frame) = self.next_ordered(&what).await;
        let Frame::Message(sent) = frame else {
            panic!("{what}: {frame:?} instead of {message:?}")
        };
        let expected = self.expected(message, &sent);
        assert_eq!(describe(&sent), describe(&expected), "{what}");
        assert_eq!(bytes, expected.to_bytes(), "{what}: {expected:?}");
        if message.kind == PING || message.kind == PONG {
            self.left = true;
        }
    }

    /// A recorded frame of the handshake, with the versions our endpoint offers and the prefixes it announces beyond it.
    fn with_offers(&self, recorded: &Recorded) -> Vec<u8> {
        if let (Frame::Hello(_), Some((newest, rest))) =
            (&recorded.frame, recorded.bytes.split_last())
        {
            assert_eq!(*newest, 1, "C++ speaks version 1");
            return [rest, &[self.newest_version]].concat();
        }
        let has_filter = matches!(
            recorded.frame,
            Frame::OriginatorSyn | Frame::ResponderSynAck
        );
        if !has_filter || self.announced.is_empty() {
            return recorded.bytes.clone();
        }
        let (head, list) = recorded.bytes.split_at(5);
        let mut filter = Filter::decode(list, FilterLimits::default()).unwrap();
        filter.union(&self.announced);
        let payload = [&head[4..], &filter.to_bytes()].concat();
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length, &payload[..]].concat()
    }

    /// The recorded frame, with the names of this run.
    fn expected(&mut self, recorded: &MessageFrame, sent: &MessageFrame) -> MessageFrame {
        let mut expected = (self.adapt)(recorded, sent);
        if expected.kind == COMMAND
            && sent.kind == COMMAND
            && let Ok(sent) = Command::decode(&sent.payload)
        {
            let mut recorded = Command::decode(&expected.payload).unwrap();
            if let (Content::Expire { key, .. }, Content::Expire { key: ours, .. }) =
                (&mut recorded.content, &sent.content)
                && let Some(at) = self.expiring_now.iter().position(|key| key == ours)
            {
                // Of keys whose time came together C++ takes any first: it goes through a hash table.
                *key = self.expiring_now.swap_remove(at);
            }
            let mut command = self.names.learn(&recorded, &sent);
            if let (Content::AckClone { snapshot, .. }, Content::AckClone { snapshot: ours, .. }) =
                (&mut command.content, &sent.content)
            {
                // The order of a snapshot is that of a hash table, and arbitrary (broker-wire reference, 3.4).
                assert_eq!(snapshot.len(), ours.len(), "{ours:?}");
                snapshot.sort_by_key(|entry| ours.iter().position(|ours| ours == entry));
            }
            expected.payload = command.encode().to_vec();
        }
        if expected.kind == PING && sent.payload.starts_with(BYE) {
            self.names.learn_goodbye(&recorded.payload, &sent.payload);
            expected.payload.clone_from(&sent.payload);
        }
        expected
    }

    async fn expect_timed(&mut self, what: &str, recorded: &MessageFrame, command: &Command) {
        let there = |replay: &Self| {
            let mut expected = recorded.clone();
            expected.payload = replay.names.translate(command).encode().to_vec();
            replay.timed.iter().position(|(sent, _)| *sent == expected)
        };
        self.wait_for_time(what, |replay| there(replay).is_some())
            .await;
        let at = there(self).unwrap();
        self.timed.remove(at);
    }

    /// Moves time until `there`.
    async fn wait_for_time(&mut self, what: &str, there: impl Fn(&Self) -> bool) {
        self.settle().await;
        for _ in 0..MAX_TICKS {
            if there(self) {
                return;
            }
            tick().await;
            self.settle().await;
        }
        let timed = self.timed.iter().map(|(message, _)| describe(message));
        let timed: Vec<_> = timed.take(10).collect();
        let ordered = self.ordered.iter().map(|(_, frame)| match frame {
            Frame::Message(message) => describe(message),
            frame => format!("{frame:?}"),
        });
        let ordered: Vec<_> = ordered.take(10).collect();
        panic!("{what}: did not come; there are {ordered:#?} and {timed:#?}");
    }

    async fn next_ordered(&mut self, what: &str) -> (Vec<u8>, Frame) {
        loop {
            if let Some(frame) = self.ordered.pop_front() {
                return frame;
            }
            let frame = self.frame_or_panic(what).await;
            self.take(frame).await;
        }
    }

    /// Sorts a frame that came: to be compared in its turn, to be compared when its time has come, or of no consequence.
    async fn take(&mut self, bytes: Vec<u8>) {
        let frame = Frame::parse(&bytes, self.handshake);
        let Frame::Message(message) = &frame else {
            self.ordered.push_back((bytes, frame));
            return;
        };
        assert_eq!(message.sender, self.our_id(), "the sender is the last hop");
        if let Some(at) = self.unrecorded.iter().position(|(_, is_it)| is_it(message)) {
            let (reason, _) = self.unrecorded.swap_remove(at);
            *self.explained.entry(reason).or_default() += 1;
            if message.kind == COMMAND {
                let command = Command::decode(&message.payload).unwrap();
                assert_eq!(command.seq, self.our_seq + 1, "{command:?}");
                self.names.shift_behind(self.our_seq);
                self.our_seq = command.seq;
            }
            return;
        }
        match message.kind {
            PING if !(message.payload.starts_with(BYE) && message.payload.len() == 11) => {
                // C++ answers every ping (broker-wire reference, 2.3); ours ask for a sign of life, or whether all is seen.
                assert_eq!(message.receiver, self.played_id());
                *self.explained.entry(PINGS).or_default() += 1;
                let pong = MessageFrame {
                    sender: self.played_id(),
                    receiver: self.our_id(),
                    kind: PONG,
                    ..message.clone()
                };
                self.send(&pong.to_bytes()).await;
            }
            COMMAND => {
                let command = Command::decode(&message.payload).unwrap();
                if command.seq > 0 {
                    self.our_seq = command.seq;
                }
                match command.content {
                    Content::Keepalive { seq } if !message.receiver.is_nil() => {
                        // C++ clones hear only what names them (broker-wire reference, 7.8), so our master tells them.
                        assert_eq!(message.receiver, self.played_id());
                        assert_eq!(command.receiver.endpoint, self.played_id());
                        assert_eq!((command.seq, seq), (0, self.our_seq));
                        *self.explained.entry(KEEPALIVES).or_default() += 1;
                    }
                    Content::Keepalive { seq } => {
                        assert_eq!(command.receiver, EntityId::default());
                        assert_eq!((command.seq, seq), (0, self.our_seq));
                        self.timed.push((message.clone(), command));
                    }
                    Content::CumulativeAck { .. } => {
                        assert_eq!(message.receiver, self.played_id());
                        assert_eq!(command.receiver.endpoint, self.played_id());
                        assert_eq!(command.seq, 0);
                        self.timed.push((message.clone(), command));
                    }
                    _ => self.ordered.push_back((bytes, frame)),
                }
            }
            _ => self.ordered.push_back((bytes, frame)),
        }
    }

    // --- the side that is played -------------------------------------------------------------------

    async fn play(&mut self, recorded: &Recorded) {
        let Frame::Message(message) = &recorded.frame else {
            if matches!(recorded.frame, Frame::Hello(_)) && !self.handshake {
                self.dial_in_vain(&recorded.bytes).await;
                return;
            }
            self.send(&recorded.bytes).await;
            self.note_handshake(&recorded.frame);
            return;
        };
        let mut message = message.clone();
        match message.kind {
            COMMAND => {
                let command = Command::decode(&message.payload).unwrap();
                message.payload = self.names.translate(&command).encode().to_vec();
            }
            PONG => message.payload = self.names.goodbye(&message.payload),
            _ => {}
        }
        let bytes = message.to_bytes();
        if self.cut_short && message.kind < PING {
            for length in 0..bytes.len() - 4 {
                let prefix = u32::try_from(length).unwrap().to_be_bytes();
                self.send(&[&prefix, &bytes[4..4 + length]].concat()).await;
            }
        }
        self.send(&bytes).await;
    }

    /// The other side dials again after it was told goodbye: ours, which has shut down, does not answer.
    async fn dial_in_vain(&mut self, hello: &[u8]) {
        self.hang_up().await;
        let Place::Dialling(address) = self.place else {
            panic!("the played side dials")
        };
        let Ok(mut stream) = self
            .pace
            .patiently("a refusal", TcpStream::connect(address))
            .await
        else {
            return;
        };
        let _ = stream.write_all(hello).await;
        let mut answer = Vec::new();
        let _ = self
            .pace
            .patiently("the end of the connection", stream.read_to_end(&mut answer))
            .await;
        assert!(answer.is_empty(), "{answer:02x?}");
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.connect().await;
        let wire = self.wire.as_mut().unwrap();
        self.pace
            .patiently("room", wire.stream.write_all(bytes))
            .await
            .unwrap();
    }

    // --- the connection ----------------------------------------------------------------------------

    /// Establishes the TCP connection, if there is none.
    async fn connect(&mut self) {
        if self.wire.is_some() {
            return;
        }
        let stream = match &self.place {
            Place::Dialling(address) => {
                let stream = self
                    .pace
                    .patiently("a connection", TcpStream::connect(*address));
                stream.await.unwrap()
            }
            Place::Listening(listener) => accept(listener).await,
            Place::Nowhere => panic!("open() comes first"),
        };
        stream.set_nodelay(true).unwrap();
        self.wire = Some(Wire {
            stream,
            buffer: Vec::new(),
        });
    }

    /// Closes the connection, and takes what our endpoint still sends until it closes its end.
    async fn hang_up(&mut self) {
        let Some(wire) = &mut self.wire else { return };
        let _ = wire.stream.shutdown().await;
        while let Some(frame) = self.next_frame().await {
            self.take(frame).await;
        }
        self.wire = None;
    }

    async fn frame_or_panic(&mut self, what: &str) -> Vec<u8> {
        match self.next_frame().await {
            Some(frame) => frame,
            None => panic!("{what}: our endpoint closed the connection"),
        }
    }

    async fn next_frame(&mut self) -> Option<Vec<u8>> {
        self.connect().await;
        let wire = self.wire.as_mut().unwrap();
        self.pace
            .patiently("a frame of our endpoint", wire.next_frame())
            .await
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

/// Frames of ours that the recording has at other times.
const TIMED: &str = "acknowledgements and keepalives at other times";
/// Pings of ours, answered.
const PINGS: &str = "pings of ours";
/// Keepalives of a master that name their clone.
const KEEPALIVES: &str = "keepalives that name their clone";

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

/// A frame for people, in front of the comparison of bytes.
fn describe(message: &MessageFrame) -> String {
    let payload = match message.kind {
        1 => format!("{:?}", Data::decode(&message.payload)),
        COMMAND => format!("{:?}", Command::decode(&message.payload)),
        _ => format!("{:?}", Bytes::copy_from_slice(&message.payload)),
    };
    format!(
        "{} -> {} {} {} {payload}",
        message.sender,
        message.receiver,
        message.kind,
        message.topic_text()
    )
}

/// The next connection. Whoever dials again may wait in between, so time moves.
async fn accept(listener: &TcpListener) -> TcpStream {
    for _ in 0..MAX_TICKS {
        let turns = async {
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            accepted = listener.accept() => return accepted.unwrap().0,
            () = turns => tick().await,
        }
    }
    panic!("our endpoint did not dial")
}

struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Wire {
    /// The next frame, its length in front; `None` at the end.
    async fn next_frame(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(prefix) = self.buffer.first_chunk::<4>() {
                let whole = 4 + u32::from_be_bytes(*prefix) as usize;
                if self.buffer.len() >= whole {
                    let rest = self.buffer.split_off(whole);
                    return Some(std::mem::replace(&mut self.buffer, rest));
                }
            }
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }
}
