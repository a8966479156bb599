//! Our clone against the recorded masters.

use std::collections::{BTreeMap, VecDeque};

use broker_core::{Data, EndpointId, EntityId, StoreReply, Timestamp};
use broker_store::clone::Patience;
use broker_store::command::{Command, Content};
use broker_store::{CloneOutput, CloneState, EntityIds, StoreError, StoreEvent, semantics};
use bytes::Bytes;

use super::calls;
use super::recording::{Line, Recorded, Recording, Side};
use super::timeline;

/// A clone of ours in the place of the recorded one.
struct Replay {
    clone: CloneState,
    tick: i64,
    said: VecDeque<(EndpointId, Bytes)>,
    /// The content as the clone's events tell it.
    content: BTreeMap<Data, Data>,
    /// What C++ has said it is.
    told: BTreeMap<Data, Data>,
    /// The frames of writes, by the token they were asked with.
    asked: BTreeMap<u64, u32>,
    answers: BTreeMap<u32, Result<StoreReply, StoreError>>,
    /// Under what our put_unique requests, and theirs, were asked for.
    requests: Vec<[(EntityId, u64); 2]>,
}

impl Replay {
    fn new(recording: &Recording) -> Self {
        let first = recording.first_of(Side::Clone).command.sender;
        let ids = EntityIds::new(first.endpoint);
        // The numbers before the recorded clone's were those of other objects.
        while ids.next_id().object + 1 < first.object {}
        let mut replay = Self {
            clone: CloneState::new("golden", ids, Patience::default(), |_| false),
            tick: 0,
            said: VecDeque::new(),
            content: BTreeMap::new(),
            told: BTreeMap::new(),
            asked: BTreeMap::new(),
            answers: BTreeMap::new(),
            requests: Vec::new(),
        };
        assert_eq!(replay.clone.id(), first);
        replay.take_output();
        replay
    }

    fn run(mut self, recording: &Recording) -> BTreeMap<u32, Result<StoreReply, StoreError>> {
        let mut ticks = timeline::ticks(recording, Side::Clone).into_iter();
        let mut note = "";
        for line in &recording.lines {
            let recorded = match line {
                Line::Note(text) => {
                    self.check_query(note, text);
                    note = text;
                    continue;
                }
                Line::Command(recorded) => recorded,
                Line::Other(..) => continue,
            };
            let tick = ticks.next().unwrap();
            while self.tick < tick {
                self.tick += 1;
                self.clone.tick();
                self.take_output();
            }
            let context = format!("{}, frame {} ({note})", recording.name, recorded.number);
            match recorded.from {
                Side::Master => self.hear(recorded, &context),
                Side::Clone => {
                    if recorded.command.seq > 0 {
                        self.write(recorded);
                    }
                    self.compare(recorded, &context);
                }
            }
        }
        assert_eq!(self.said, [], "{}: C++ said nothing more", recording.name);
        assert_eq!(self.clone.rejected(), 0);
        self.answers
    }

    fn write(&mut self, recorded: &Recorded) {
        let token = u64::from(recorded.number);
        self.asked.insert(token, recorded.number);
        let operation = calls::behind(&recorded.command.content);
        self.clone.handle_write(token, operation);
        self.take_output();
    }

    fn hear(&mut self, recorded: &Recorded, context: &str) {
        let mut command = recorded.command.clone();
        if let Content::PutUniqueResult { who, request, .. } = &mut command.content
            && let Some([ours, _]) = self
                .requests
                .iter()
                .find(|[_, theirs]| *theirs == (*who, *request))
        {
            (*who, *request) = *ours;
        }
        self.clone
            .handle_command(Timestamp::EPOCH, recorded.sender, &command.encode());
        self.take_output();
        match command.content {
            Content::AckClone { snapshot, .. } => self.told = snapshot.into_iter().collect(),
            Content::Put { key, value, .. } => drop(self.told.insert(key, value)),
            Content::Erase { key, .. } | Content::Expire { key, .. } => {
                drop(self.told.remove(&key))
            }
            Content::Clear { .. } => self.told.clear(),
            _ => {}
        }
        assert_eq!(self.content, self.told, "{context}");
    }

    fn compare(&mut self, theirs: &Recorded, context: &str) {
        let (to, payload) = self
            .said
            .pop_front()
            .unwrap_or_else(|| panic!("{context}: ours says nothing, C++ {:?}", theirs.command));
        let mut ours = Command::decode(&payload).unwrap();
        let envelope = (to, theirs.topic.as_str(), self.clone.id().endpoint);
        assert_eq!(
            envelope,
            (theirs.receiver, "golden/<$>/data/master", theirs.sender),
            "{context}: {ours:?}"
        );
        if let (
            Content::PutUnique { who, request, .. },
            Content::PutUnique {
                who: their_who,
                request: their_request,
                ..
            },
        ) = (&mut ours.content, &theirs.command.content)
        {
            let pair = [(*who, *request), (*their_who, *their_request)];
            assert!(
                self.requests.iter().all(|known| known[0] != pair[0]),
                "{context}: each request has a name of its own"
            );
            assert_eq!(who.endpoint, their_who.endpoint);
            self.requests.push(pair);
            (*who, *request) = pair[1];
        }
        assert_eq!(ours, theirs.command, "{context}");
        assert_eq!(ours.encode(), theirs.payload, "{context}");
    }

    fn take_output(&mut self) {
        while let Some(output) = self.clone.poll_output() {
            match output {
                CloneOutput::Broadcast(payload) => {
                    self.said.push_back((EndpointId::NIL, payload));
                }
                CloneOutput::Write { seq, payload } => {
                    self.clone.handle_left(seq);
                    self.said.push_back((EndpointId::NIL, payload));
                }
                CloneOutput::Unicast { to, payload } => self.said.push_back((to, payload)),
                CloneOutput::Event { event, .. } | CloneOutput::Difference { event, .. } => {
                    self.apply(event)
                }
                CloneOutput::Reply { token, result } => {
                    let frame = self.asked.remove(&token).expect("each is answered once");
                    self.answers.insert(frame, result);
                }
                CloneOutput::Freshness(_) | CloneOutput::Position(_) => {}
            }
        }
    }

    fn apply(&mut self, event: StoreEvent) {
        match event {
            StoreEvent::Insert { key, value, .. } => {
                assert_eq!(self.content.insert(key, value), None);
            }
            StoreEvent::Update { key, old, new, .. } => {
                assert_eq!(self.content.insert(key, new), Some(old));
            }
            StoreEvent::Erase { key, .. } | StoreEvent::Expire { key, .. } => {
                assert!(self.content.remove(&key).is_some());
            }
            _ => panic!("an event of a kind that C++ does not have"),
        }
    }

    /// Some notes are a query, and the next one its result, as Python prints it.
    fn check_query(&self, query: &str, result: &str) {
        let Some(result) = result.strip_prefix("result ") else {
            return;
        };
        match query {
            "clone get k1" => {
                assert_eq!(result, format!("'{}'", text(&self.content[&"k1".into()])))
            }
            "clone get missing" => assert!(!self.content.contains_key(&"missing".into())),
            "clone get_index_from_value tab b" => {
                let found = semantics::index(&self.content[&"tab".into()], &"b".into());
                assert_eq!(found, Ok(2i64.into()));
                assert_eq!(result, "2");
            }
            "clone keys" => {
                let mut theirs: Vec<_> = result
                    .trim_matches(['{', '}'])
                    .split(", ")
                    .map(|key| key.trim_matches('\''))
                    .collect();
                theirs.sort_unstable();
                let mut ours: Vec<_> = self
                    .content
                    .keys()
                    .map(|key| match key {
                        Data::Count(count) => format!("Count({count})"),
                        text_key => text(text_key).to_owned(),
                    })
                    .collect();
                ours.sort_unstable();
                assert_eq!(ours, theirs);
            }
            "clone put_unique k4" => assert_eq!(result, "True"),
            "clone put_unique k4 again" => assert_eq!(result, "False"),
            "master keys" => assert!(result == "set()" && self.content.is_empty()),
            other => panic!("no query: {other}"),
        }
    }
}

fn text(data: &Data) -> &str {
    data.as_string().unwrap().to_str().unwrap()
}

/// Replays a session and checks how its writes were answered: those of `unique` with that, those of `failed` with an
/// error, since a C++ master says nothing of them, and all others as done.
fn replay(name: &str, unique: &[(u32, bool)], failed: &[u32]) {
    let recording = Recording::read(name);
    let answers = Replay::new(&recording).run(&recording);
    let writes = recording
        .commands()
        .filter(|recorded| recorded.from == Side::Clone && recorded.command.seq > 0);
    assert_eq!(answers.len(), writes.count(), "every write is answered");
    for (frame, answer) in answers {
        let expected = match unique.iter().find(|(number, _)| *number == frame) {
            Some((_, inserted)) => Ok(StoreReply::Value((*inserted).into())),
            None if failed.contains(&frame) => Err(StoreError::NotEchoed),
            None => Ok(StoreReply::Done),
        };
        assert_eq!(answer, expected, "{name}, frame {frame}");
    }
}

#[test]
fn recorded_masters_hear_from_our_clone_what_they_heard_from_cpp() {
    // Type clashes: an integer added to and subtracted from a count, and added to a string.
    replay("store-memory", &[(37, true), (42, false)], &[46, 48, 79]);
    replay("store-sqlite", &[(37, true), (42, false)], &[46, 48, 80]);
}

#[test]
fn a_recorded_master_of_zeek_hears_from_our_clone_what_it_heard_from_zeek() {
    // All of the note "errors" but the insertion into a set, and the erasure of a missing key, which is none.
    let failed: Vec<u32> = (192..=202).filter(|n| ![199, 201].contains(n)).collect();
    replay(
        "zeek-stores",
        &[(127, true), (128, false), (147, true)],
        &failed,
    );
}
