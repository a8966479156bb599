//! Our master against the recorded clones.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use broker_core::{
    Data, EndpointId, EntityId, Set, StoreOperation, StoreReply, Timespan, Timestamp,
};
use broker_store::channel::Timers;
use broker_store::command::{Command, Content};
use broker_store::operation::Request;
use broker_store::{Backend, MasterOutput, MasterState, Memory, Mutation, StoreError};
use bytes::Bytes;

use super::recording::{Recorded, Recording, Side};
use super::timeline;

/// What was called at the master just before frame `frame`, as the notes and the frames say; and the answer.
struct Call {
    frame: u32,
    operation: StoreOperation,
    answer: Answer,
}

enum Answer {
    Done,
    Value(Data),
    /// The keys that C++ has told its clones.
    Keys,
}

/// A master of ours in the place of the recorded one.
struct Replay {
    id: EntityId,
    master: MasterState,
    tick: i64,
    said: VecDeque<(EndpointId, Bytes)>,
    answers: VecDeque<Result<StoreReply, StoreError>>,
    consumers: usize,
    /// What C++ has told its clones.
    told: BTreeMap<Data, Data>,
}

impl Replay {
    /// A master with the entries that the first snapshot has, which the session's first lines say more about.
    fn new(recording: &Recording, backend: impl Backend) -> Self {
        let mut backend = backend;
        let first = &recording.first_of(Side::Master).command;
        let Content::AckClone { snapshot, .. } = &first.content else {
            panic!("the master's first word is the snapshot")
        };
        let entries: Vec<_> = snapshot
            .iter()
            .map(|(key, value)| Mutation::Put {
                key: key.clone(),
                value: value.clone(),
                // Those that were to expire did so long after the session.
                expires_at: ["preexp", "will-expire"]
                    .iter()
                    .any(|limited| *key == (*limited).into())
                    .then(|| time(600)),
            })
            .collect();
        backend.apply(&entries).unwrap();
        let id = first.sender;
        Self {
            id,
            master: MasterState::new("golden", id, Box::new(backend), Timers::default()).unwrap(),
            tick: 0,
            said: VecDeque::new(),
            answers: VecDeque::new(),
            consumers: 0,
            told: snapshot.iter().cloned().collect(),
        }
    }

    fn run(&mut self, recording: &Recording, calls: Vec<Call>) {
        let ticks = timeline::ticks(recording, Side::Master);
        let mut calls: VecDeque<_> = calls.into();
        let mut expired = Expired::default();
        for (recorded, tick) in recording.commands().zip(ticks) {
            while self.tick < tick {
                self.tick += 1;
                self.master.tick(time(self.tick));
                self.take_output();
            }
            while calls
                .front()
                .is_some_and(|call| call.frame <= recorded.number)
            {
                self.call(calls.pop_front().expect("there is one"));
            }
            let context = format!("{}, frame {}", recording.name, recorded.number);
            match recorded.from {
                Side::Clone => {
                    let command = without_difference(recorded.command.clone());
                    self.master
                        .handle_command(time(tick), recorded.sender, &command.encode());
                    self.master.commit();
                    self.take_output();
                }
                Side::Master => {
                    self.compare(recorded, &mut expired, &context);
                    self.note_told(&recorded.command.content);
                    if self.said.is_empty() {
                        self.check_content(&context);
                    }
                }
            }
        }
        assert!(calls.is_empty());
        assert_eq!(self.said, [], "{}: C++ said nothing more", recording.name);
        expired.settle(recording.name);
        assert_eq!(self.master.rejected(), 0);
    }

    fn call(&mut self, call: Call) {
        let request = Request::from_operation(call.operation, self.id, REQUEST);
        self.master.handle_request(time(self.tick), 1, request);
        self.master.commit();
        self.take_output();
        let answer = match call.answer {
            Answer::Done => StoreReply::Done,
            Answer::Value(value) => StoreReply::Value(value),
            Answer::Keys => StoreReply::Value(self.told.keys().cloned().collect::<Set>().into()),
        };
        assert_eq!(self.answers.pop_front(), Some(Ok(answer)));
    }

    /// Our master holds what C++ has told its clones.
    fn check_content(&mut self, context: &str) {
        let everything = StoreOperation::Scan {
            after: None,
            limit: 4096,
        };
        let request = Request::from_operation(everything, self.id, 0);
        self.master.handle_request(time(self.tick), 0, request);
        self.master.commit();
        self.take_output();
        let Some(Ok(StoreReply::Entries(entries))) = self.answers.pop_front() else {
            panic!("a scan is answered with entries")
        };
        let entries: BTreeMap<_, _> = entries
            .into_iter()
            .map(|entry| (entry.key, entry.value))
            .collect();
        assert_eq!(entries, self.told, "{context}");
    }

    fn note_told(&mut self, update: &Content) {
        match update.clone() {
            Content::Put { key, value, .. } => drop(self.told.insert(key, value)),
            Content::Erase { key, .. } | Content::Expire { key, .. } => {
                drop(self.told.remove(&key))
            }
            Content::Clear { .. } => self.told.clear(),
            _ => {}
        }
    }

    /// Puts aside what the master says, and checks and leaves out what only ours says: each keepalive once more to each
    /// clone by name, since clones of C++ do not act on the one for everybody.
    fn take_output(&mut self) {
        let mut by_name = 0;
        while let Some(output) = self.master.poll_output() {
            let (to, payload) = match output {
                MasterOutput::Broadcast(payload) => (EndpointId::NIL, payload),
                MasterOutput::Unicast { to, payload } => (to, payload),
                MasterOutput::Reply { result, .. } => {
                    self.answers.push_back(result);
                    continue;
                }
                MasterOutput::Event { .. } => continue,
            };
            let command = Command::decode(&payload).unwrap();
            match command.content {
                Content::Keepalive { seq } if to != EndpointId::NIL => {
                    assert!(
                        by_name > 0,
                        "a keepalive by name follows that for everybody"
                    );
                    by_name -= 1;
                    assert_eq!(to, command.receiver.endpoint);
                    assert_eq!(
                        command,
                        Command::control(self.id, command.receiver, Content::Keepalive { seq })
                    );
                }
                content => {
                    assert_eq!(by_name, 0, "each clone has had its keepalive");
                    let keepalive = matches!(content, Content::Keepalive { .. });
                    by_name = if keepalive { self.consumers } else { 0 };
                    if matches!(content, Content::AckClone { .. }) {
                        self.consumers = self.master.clones();
                    }
                    // Before anybody is attached nobody hears it.
                    if self.consumers > 0 {
                        self.said.push_back((to, payload));
                    }
                }
            }
        }
        assert_eq!(by_name, 0, "each clone has had its keepalive");
    }

    fn compare(&mut self, theirs: &Recorded, expired: &mut Expired, context: &str) {
        let (to, payload) = self
            .said
            .pop_front()
            .unwrap_or_else(|| panic!("{context}: ours says nothing, C++ {:?}", theirs.command));
        let mut ours = Command::decode(&payload).unwrap();
        let envelope = (to, theirs.topic.as_str(), self.id.endpoint);
        assert_eq!(
            envelope,
            (theirs.receiver, "golden/<$>/data/clone", theirs.sender),
            "{context}: {ours:?}"
        );
        let mut theirs_in_order = theirs.command.clone();
        match (&mut ours.content, &mut theirs_in_order.content) {
            (
                Content::AckClone {
                    snapshot: our_pairs,
                    ..
                },
                Content::AckClone {
                    snapshot: their_pairs,
                    ..
                },
            ) => {
                our_pairs.sort();
                their_pairs.sort();
                assert_eq!(payload.len(), theirs.payload.len());
            }
            (Content::Expire { key: our_key, .. }, Content::Expire { key: their_key, .. }) => {
                expired.add(our_key.clone(), their_key.clone());
                their_key.clone_from(our_key);
            }
            (
                Content::PutUniqueResult { who, request, .. },
                Content::PutUniqueResult {
                    who: their_who,
                    request: their_request,
                    ..
                },
            ) if their_who.endpoint == self.id.endpoint => {
                // Our callers are answered on the spot and need no entities of their own.
                assert_eq!((*who, *request), (self.id, REQUEST), "{context}");
                (*who, *request) = (*their_who, *their_request);
            }
            _ => {
                expired.settle(context);
                assert_eq!(
                    payload, theirs.payload,
                    "{context}: {ours:?}, C++ {:?}",
                    theirs.command
                );
            }
        }
        assert_eq!(ours, theirs_in_order, "{context}");
    }
}

/// Keys that expired together, which C++ tells in the order of a hash table.
#[derive(Default)]
struct Expired {
    ours: Vec<Data>,
    theirs: Vec<Data>,
}

impl Expired {
    fn add(&mut self, ours: Data, theirs: Data) {
        self.ours.push(ours);
        self.theirs.push(theirs);
    }

    fn settle(&mut self, context: &str) {
        self.ours.sort();
        self.theirs.sort();
        assert_eq!(self.ours, self.theirs, "{context}");
        (self.ours, self.theirs) = (Vec::new(), Vec::new());
    }
}

/// An add without an expiry keeps the entry's own here and drops it in C++, contrary to what Zeek documents. So that `e3`
/// of the Zeek session does not expire here, its add brings an expiry; the update that is compared does not show it.
fn without_difference(mut command: Command) -> Command {
    if let Content::Add {
        key,
        expiry: expiry @ None,
        ..
    } = &mut command.content
        && *key == "e3".into()
    {
        *expiry = Some(Timespan::from_secs(3600));
    }
    command
}

fn time(tick: i64) -> Timestamp {
    Timestamp::EPOCH.saturating_add(Timespan::from_nanos(tick * 100_000_000))
}

/// The number of put_unique requests at the master.
const REQUEST: u64 = 1;

fn put(frame: u32, key: &str, value: impl Into<Data>, limited: bool) -> Call {
    Call {
        frame,
        operation: StoreOperation::Put {
            key: key.into(),
            value: value.into(),
            expiry: limited.then_some(Duration::from_secs(1)),
        },
        answer: Answer::Done,
    }
}

fn ask(frame: u32, operation: StoreOperation, answer: Answer) -> Call {
    Call {
        frame,
        operation,
        answer,
    }
}

#[test]
fn recorded_clones_hear_from_our_master_what_they_heard_from_cpp() {
    for name in ["store-memory", "store-sqlite"] {
        let recording = Recording::read(name);
        let calls = || {
            vec![
                put(17, "k1", "v1", false),
                ask(124, StoreOperation::Keys, Answer::Keys),
            ]
        };
        Replay::new(&recording, Memory::new()).run(&recording, calls());
        #[cfg(feature = "sqlite")]
        Replay::new(&recording, broker_store::Sqlite::open_in_memory().unwrap())
            .run(&recording, calls());
    }
}

#[test]
fn a_recorded_clone_of_zeek_hears_from_our_master_what_it_heard_from_zeek() {
    let recording = Recording::read("zeek-stores");
    let calls = vec![
        put(266, "from-master", Data::vector([1u64, 2]), false),
        ask(
            267,
            StoreOperation::Increment {
                key: "cnt".into(),
                amount: 1u64.into(),
                expiry: None,
            },
            Answer::Done,
        ),
        put(268, "m-exp", 1u64, true),
        ask(269, StoreOperation::Erase("pre".into()), Answer::Done),
        ask(270, StoreOperation::Erase("missing".into()), Answer::Done),
        ask(294, StoreOperation::Keys, Answer::Keys),
        ask(
            294,
            StoreOperation::Get("cnt".into()),
            Answer::Value(1u64.into()),
        ),
        ask(
            294,
            StoreOperation::PutUnique {
                key: "cnt".into(),
                value: 2u64.into(),
                expiry: None,
            },
            Answer::Value(false.into()),
        ),
        ask(333, StoreOperation::Clear, Answer::Done),
    ];
    Replay::new(&recording, Memory::new()).run(&recording, calls);
}
