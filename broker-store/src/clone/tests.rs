use broker_core::binary::MAX_DEPTH;
use broker_core::{Data, DataKind, ErrorCode, Set, Timespan};

use super::*;
use crate::command::PageEntry;

const HERE: EndpointId = EndpointId::from_bytes([0xaa; 16]);
const THERE: EndpointId = EndpointId::from_bytes([0xbb; 16]);
const MASTER: EntityId = EntityId::new(THERE, 7);

/// A clone and a master that the test plays.
struct Bench {
    clone: CloneState,
    token: u64,
}

impl Bench {
    /// A clone that searches.
    fn searching(outcomes: bool) -> Self {
        let mut bench = Self {
            clone: CloneState::new("s", EntityIds::new(HERE), Patience::default(), move |_| {
                outcomes
            }),
            token: 0,
        };
        assert_eq!(bench.sent(), [Content::Nack { seqs: vec![0] }]);
        bench
    }

    /// A clone of a master of ours, which tells outcomes.
    fn attached(snapshot: &[(&str, u64)]) -> Self {
        let mut bench = Self::searching(true);
        bench.accept(snapshot);
        assert_eq!(
            bench.sent(),
            [
                Content::CumulativeAck { seq: 1 },
                Content::AttachWriter {
                    offset: 1,
                    heartbeat: 5
                },
                Content::WantResults
            ]
        );
        bench
    }

    /// A clone of a C++ master, which tells none.
    fn attached_to_cpp() -> Self {
        let mut bench = Self::searching(false);
        bench.accept(&[("k", 1)]);
        assert_eq!(
            bench.sent(),
            [
                Content::CumulativeAck { seq: 1 },
                Content::AttachWriter {
                    offset: 1,
                    heartbeat: 5
                }
            ]
        );
        bench
    }

    fn accept(&mut self, snapshot: &[(&str, u64)]) {
        let snapshot = snapshot
            .iter()
            .map(|(key, value)| ((*key).into(), (*value).into()))
            .collect();
        self.say(Content::AckClone {
            offset: 1,
            heartbeat: 5,
            snapshot,
        });
    }

    /// The master says something to this clone.
    fn say(&mut self, content: Content) {
        let receiver = self.clone.id();
        self.hear(MASTER, &Command::control(MASTER, receiver, content));
    }

    /// The master broadcasts an update.
    fn update(&mut self, seq: u64, content: Content) {
        self.hear(
            MASTER,
            &Command {
                seq,
                sender: MASTER,
                receiver: EntityId::NIL,
                content,
            },
        );
    }

    fn hear(&mut self, from: EntityId, command: &Command) {
        self.clone
            .handle_command(Timestamp::EPOCH, from.endpoint, &command.encode());
    }

    fn write(&mut self, operation: StoreOperation) -> u64 {
        self.token += 1;
        self.clone.handle_write(self.token, operation);
        self.token
    }

    fn all(&mut self) -> Vec<CloneOutput> {
        std::iter::from_fn(|| self.clone.poll_output()).collect()
    }

    /// What the clone has sent; everything else it wanted is forgotten.
    fn sent(&mut self) -> Vec<Content> {
        self.all()
            .into_iter()
            .filter_map(|output| match output {
                CloneOutput::Broadcast(payload)
                | CloneOutput::Write { payload, .. }
                | CloneOutput::Unicast { payload, .. } => {
                    Some(Command::decode(&payload).unwrap().content)
                }
                _ => None,
            })
            .collect()
    }

    fn replies(&mut self) -> Vec<Answer> {
        self.all()
            .into_iter()
            .filter_map(|output| match output {
                CloneOutput::Reply { token, result } => Some((token, result)),
                _ => None,
            })
            .collect()
    }

    fn events(&mut self) -> Vec<String> {
        self.all()
            .into_iter()
            .filter_map(|output| match output {
                CloneOutput::Event { event, .. } | CloneOutput::Difference { event, .. } => {
                    Some(format!(
                        "{} {}",
                        event.to_data().as_vector().unwrap()[0]
                            .as_string()
                            .unwrap()
                            .to_str_lossy(),
                        event.key().as_string().unwrap().to_str_lossy()
                    ))
                }
                _ => None,
            })
            .collect()
    }

    fn ticks(&mut self, ticks: usize) -> Vec<Content> {
        (0..ticks)
            .flat_map(|_| {
                self.clone.tick();
                self.sent()
            })
            .collect()
    }

    fn get(&self, key: &str) -> Option<Data> {
        self.clone.view.content.get(&key.into())
    }
}

fn put(key: &str, value: u64) -> Content {
    Content::Put {
        key: key.into(),
        value: value.into(),
        expiry: None,
        publisher: MASTER,
    }
}

fn put_op(key: &str, value: u64) -> StoreOperation {
    StoreOperation::Put {
        key: key.into(),
        value: value.into(),
        expiry: None,
    }
}

fn unique_op(key: &str) -> StoreOperation {
    StoreOperation::PutUnique {
        key: key.into(),
        value: 1u64.into(),
        expiry: None,
    }
}

const DONE: Result<StoreReply, StoreError> = Ok(StoreReply::Done);

#[test]
fn a_clone_asks_for_its_master_until_it_is_there() {
    let mut bench = Bench::searching(true);
    let asked = bench.ticks(1000);
    assert_eq!(asked.len(), 500);
    assert!(
        asked
            .iter()
            .all(|content| *content == Content::Nack { seqs: vec![0] })
    );
    assert_eq!(bench.clone.view.readable().err(), Some(StoreError::Stale));
    bench.accept(&[("a", 1)]);
    assert_eq!(bench.get("a"), Some(1u64.into()));
    assert_eq!(bench.clone.view.freshness(), Freshness::Live);
}

#[test]
fn updates_are_applied_in_order_and_a_missing_one_is_asked_for() {
    let mut bench = Bench::attached(&[]);
    bench.update(3, put("a", 3));
    assert_eq!(bench.get("a"), None);
    assert_eq!(bench.ticks(2), [Content::Nack { seqs: vec![2] }]);
    bench.update(2, put("a", 2));
    assert_eq!(bench.get("a"), Some(3u64.into()));
    assert_eq!(bench.clone.updates.delivered(), 3);
    bench.update(
        4,
        Content::Erase {
            key: "a".into(),
            publisher: MASTER,
        },
    );
    assert_eq!(bench.get("a"), None);
}

#[test]
fn a_write_changes_nothing_before_its_echo() {
    let mut bench = Bench::attached(&[]);
    let token = bench.write(put_op("a", 1));
    let sent = bench.sent();
    let front = bench.clone.front;
    let own = Content::Put {
        key: "a".into(),
        value: 1u64.into(),
        expiry: None,
        publisher: front,
    };
    assert_eq!(sent, std::slice::from_ref(&own));
    assert_eq!(bench.get("a"), None);
    bench.update(2, own);
    assert_eq!(bench.get("a"), Some(1u64.into()));
    assert_eq!(
        bench.replies(),
        [],
        "the echo alone does not say that it is durable for this master"
    );
    bench.say(Content::WriteResults {
        first: 2,
        codes: vec![0],
    });
    assert_eq!(bench.replies(), [(token, DONE)]);
}

#[test]
fn a_write_that_no_master_could_read_does_not_leave_as_it_is() {
    let write = |value| StoreOperation::Put {
        key: "a".into(),
        value,
        expiry: None,
    };
    let mut bench = Bench::attached(&[]);
    bench.write(write(Set::from_iter([0.0, 1e-310]).into()));
    // Decoding it succeeds, which it would not with two zeros.
    assert!(matches!(
        &bench.sent()[..],
        [Content::Put { value, .. }] if *value == Set::from_iter([0.0]).into()
    ));
    let deep = (0..=MAX_DEPTH).fold(Data::None, |inner, _| Data::vector([inner]));
    let token = bench.write(write(deep));
    let refused = Err(StoreError::Refused(ErrorCode::InvalidData));
    assert_eq!(bench.replies(), [(token, refused)]);
}

#[test]
fn the_masters_code_reaches_the_caller() {
    let mut bench = Bench::attached(&[]);
    let tokens: Vec<_> = (0..3).map(|n| bench.write(put_op("a", n))).collect();
    bench.say(Content::WriteResults {
        first: 2,
        codes: vec![11, 13, 0],
    });
    let clash = Err(StoreError::Refused(ErrorCode::TypeClash));
    let failure = Err(StoreError::Backend {
        report: String::new(),
    });
    assert_eq!(
        bench.replies(),
        [(tokens[0], clash), (tokens[1], failure), (tokens[2], DONE)]
    );
}

#[test]
fn put_unique_is_answered_by_the_decision() {
    let mut bench = Bench::attached(&[]);
    let tokens = [
        bench.write(unique_op("u")),
        bench.write(unique_op("u")),
        bench.write(unique_op("v")),
    ];
    let front = bench.clone.front;
    let decision = |request, inserted| Content::PutUniqueResult {
        inserted,
        who: front,
        request,
        publisher: MASTER,
    };
    bench.update(2, decision(1, true));
    bench.update(3, decision(2, false));
    bench.update(
        4,
        Content::PutUniqueResult {
            inserted: true,
            who: MASTER,
            request: 3,
            publisher: MASTER,
        },
    );
    bench.say(Content::WriteResults {
        first: 2,
        codes: vec![0, 0, 13],
    });
    let answers = bench.replies();
    assert_eq!(answers[0], (tokens[0], Ok(StoreReply::Value(true.into()))));
    assert_eq!(answers[1], (tokens[1], Ok(StoreReply::Value(false.into()))));
    assert_eq!(
        answers[2],
        (
            tokens[2],
            Err(StoreError::Backend {
                report: String::new()
            })
        )
    );
    assert_eq!(answers.len(), 3);
}

#[test]
fn writes_wait_for_a_master_and_are_given_up_after_two_minutes() {
    let mut bench = Bench::searching(true);
    let early = bench.write(put_op("a", 1));
    bench.ticks(1200);
    let late = bench.write(put_op("b", 1));
    bench.clone.tick();
    assert_eq!(bench.replies(), [(early, Err(StoreError::GivenUp))]);
    bench.accept(&[]);
    assert_eq!(
        bench
            .sent()
            .iter()
            .filter(|content| matches!(content, Content::Put { .. }))
            .count(),
        1
    );
    bench.say(Content::WriteResults {
        first: 2,
        codes: vec![0],
    });
    assert_eq!(bench.replies(), [(late, DONE)]);
}

#[test]
fn only_so_many_writes_wait() {
    let mut bench = Bench::searching(true);
    for n in 0..65_536 {
        bench.write(put_op("a", n));
    }
    assert_eq!(bench.all(), []);
    let token = bench.write(put_op("a", 0));
    assert_eq!(
        bench.replies(),
        [(token, Err(StoreError::BufferFull { kept: 65_536 }))]
    );
}

#[test]
fn a_silent_master_is_searched_anew_under_a_new_name_and_unanswered_writes_stay_so() {
    let mut bench = Bench::attached(&[("a", 1)]);
    let token = bench.write(put_op("b", 1));
    bench.clone.handle_left(2);
    let id = bench.clone.id();
    bench.ticks(50);
    assert_eq!(bench.clone.master(), Some(MASTER));
    bench.clone.tick();
    let outputs = bench.all();
    assert!(outputs.contains(&CloneOutput::Reply {
        token,
        result: Err(StoreError::Unanswered)
    }));
    assert!(outputs.contains(&CloneOutput::Freshness(Freshness::Lost)));
    assert_ne!(bench.clone.id(), id);
    assert_eq!(
        bench
            .clone
            .view
            .readable()
            .map(|content| content.get(&"a".into())),
        Ok(Some(1u64.into()))
    );
    let restarted = EntityId::new(EndpointId::from_bytes([0xcc; 16]), 1);
    let receiver = bench.clone.id();
    let snapshot = vec![("b".into(), 2u64.into())];
    bench.hear(
        restarted,
        &Command::control(
            restarted,
            receiver,
            Content::AckClone {
                offset: 1,
                heartbeat: 5,
                snapshot,
            },
        ),
    );
    let mut events = bench.events();
    events.sort();
    assert_eq!(events, ["erase a", "insert b"]);
    assert_eq!((bench.get("a"), bench.get("b")), (None, Some(2u64.into())));
}

#[test]
fn a_write_that_never_left_goes_to_the_next_master() {
    let mut bench = Bench::attached(&[]);
    let tokens = [
        bench.write(put_op("a", 1)),
        bench.write(put_op("b", 2)),
        bench.write(unique_op("c")),
    ];
    bench.sent();
    bench.clone.handle_left(3);
    for _ in 0..51 {
        bench.clone.tick();
    }
    assert_eq!(bench.replies(), [(tokens[1], Err(StoreError::Unanswered))]);
    bench.write(put_op("d", 4));
    bench.accept(&[]);
    let keys: Vec<_> = bench
        .sent()
        .into_iter()
        .filter_map(|content| match content {
            Content::Put { key, .. } | Content::PutUnique { key, .. } => Some(key),
            _ => None,
        })
        .collect();
    assert_eq!(keys, ["a", "c", "d"].map(Data::from));
    bench.say(Content::WriteResults {
        first: 2,
        codes: vec![0, 13],
    });
    let failure = Err(StoreError::Backend {
        report: String::new(),
    });
    assert_eq!(bench.replies(), [(tokens[0], DONE), (tokens[2], failure)]);
}

#[test]
fn a_write_the_master_asked_for_again_has_left() {
    let mut bench = Bench::attached(&[]);
    let token = bench.write(put_op("a", 1));
    bench.say(Content::Nack { seqs: vec![2] });
    assert_eq!(bench.sent().len(), 2);
    bench.clone.handle_left(2);
    for _ in 0..51 {
        bench.clone.tick();
    }
    assert_eq!(bench.replies(), [(token, Err(StoreError::Unanswered))]);
}

#[test]
fn another_master_takes_over_when_ours_has_been_silent_for_a_second() {
    let mut bench = Bench::attached(&[]);
    let other = EntityId::new(EndpointId::from_bytes([0xcc; 16]), 1);
    let keepalive = Command::control(other, EntityId::NIL, Content::Keepalive { seq: 1 });
    bench.ticks(10);
    bench.hear(other, &keepalive);
    assert_eq!(bench.clone.master(), Some(MASTER));
    bench.clone.tick();
    bench.hear(other, &keepalive);
    assert_eq!(bench.clone.master(), None);
}

#[test]
fn reads_fail_when_the_master_has_been_lost_for_five_minutes() {
    let mut bench = Bench::attached(&[("a", 1)]);
    bench.ticks(51 + 3000);
    assert_eq!(bench.clone.view.freshness(), Freshness::Lost);
    bench.ticks(1);
    assert_eq!(bench.clone.view.readable().err(), Some(StoreError::Stale));
}

#[test]
fn a_lost_update_makes_the_clone_start_over() {
    let mut bench = Bench::attached(&[("a", 1)]);
    bench.update(3, put("a", 3));
    bench.say(Content::RetransmitFailed { seq: 2 });
    assert_eq!(bench.clone.master(), None);
    assert_eq!(bench.sent(), [Content::Nack { seqs: vec![0] }]);
    bench.accept(&[("a", 9)]);
    assert_eq!(bench.get("a"), Some(9u64.into()));
}

#[test]
fn broadcast_keepalives_reveal_what_is_missing_and_are_a_sign_of_life() {
    let mut bench = Bench::attached(&[]);
    for _ in 0..20 {
        bench.ticks(10);
        bench.update(0, Content::Keepalive { seq: 2 });
    }
    assert_eq!(bench.clone.master(), Some(MASTER));
    assert!(bench.ticks(2).contains(&Content::Nack { seqs: vec![2] }));
}

#[test]
fn strangers_and_commands_for_others_change_nothing() {
    let mut bench = Bench::attached(&[("a", 1)]);
    let stranger = EntityId::new(THERE, 8);
    bench.hear(
        stranger,
        &Command {
            seq: 2,
            sender: stranger,
            receiver: EntityId::NIL,
            content: put("a", 2),
        },
    );
    bench.hear(
        EntityId::new(HERE, 1),
        &Command {
            seq: 2,
            sender: MASTER,
            receiver: EntityId::NIL,
            content: put("a", 2),
        },
    );
    bench.hear(
        MASTER,
        &Command::control(MASTER, stranger, Content::RetransmitFailed { seq: 2 }),
    );
    bench
        .clone
        .handle_command(Timestamp::EPOCH, THERE, b"nonsense");
    assert_eq!(
        (bench.get("a"), bench.clone.master()),
        (Some(1u64.into()), Some(MASTER))
    );
    assert_eq!(bench.clone.rejected(), 2);
    let mut bench = Bench::searching(true);
    bench.hear(
        MASTER,
        &Command::control(
            MASTER,
            stranger,
            Content::AckClone {
                offset: 1,
                heartbeat: 5,
                snapshot: vec![],
            },
        ),
    );
    assert_eq!(bench.clone.master(), None);
}

#[test]
fn a_sync_is_over_when_the_content_has_come_to_where_the_master_was() {
    let mut bench = Bench::attached(&[]);
    bench.clone.handle_sync(5);
    assert_eq!(bench.sent(), [Content::Sync { id: 5 }]);
    bench.say(Content::SyncReply { id: 5, seq: 2 });
    assert_eq!(bench.replies(), []);
    bench.update(2, put("a", 1));
    assert_eq!(bench.replies(), [(5, DONE)]);
}

#[test]
fn a_sync_waits_for_the_writes_before_it_and_survives_a_change_of_masters() {
    let mut bench = Bench::attached(&[]);
    bench.write(put_op("a", 1));
    bench.clone.handle_left(2);
    bench.clone.handle_sync(50);
    bench.say(Content::SyncReply { id: 50, seq: 1 });
    assert_eq!(bench.replies(), []);
    bench.ticks(51);
    bench.accept(&[]);
    assert!(bench.sent().contains(&Content::Sync { id: 50 }));
    bench.say(Content::SyncReply { id: 50, seq: 1 });
    assert_eq!(bench.replies(), [(50, DONE)]);
}

#[test]
fn idle_is_when_every_write_is_answered() {
    let mut bench = Bench::attached(&[]);
    bench.clone.handle_await_idle(40);
    assert_eq!(bench.replies(), [(40, DONE)]);
    let write = bench.write(put_op("a", 1));
    bench.clone.handle_await_idle(41);
    bench.write(put_op("a", 2));
    bench.say(Content::WriteResults {
        first: 2,
        codes: vec![0],
    });
    assert_eq!(bench.replies(), [(write, DONE), (41, DONE)]);
}

#[test]
fn outcomes_that_got_lost_are_asked_for_again() {
    let mut bench = Bench::attached(&[]);
    let token = bench.write(put_op("a", 1));
    bench.say(Content::CumulativeAck { seq: 2 });
    bench.sent();
    let sent = bench.ticks(5);
    assert!(
        sent.contains(&Content::ResultsQuery { first: 2 }),
        "{sent:?}"
    );
    bench.say(Content::WriteResults {
        first: 2,
        codes: vec![0],
    });
    assert_eq!(bench.replies(), [(token, DONE)]);
}

#[test]
fn a_cpp_masters_echo_is_success_and_its_silence_is_not() {
    let mut bench = Bench::attached_to_cpp();
    let front = bench.clone.front;
    let increment = |key: &str| StoreOperation::Increment {
        key: key.into(),
        amount: 1u64.into(),
        expiry: None,
    };
    let failed = bench.write(increment("text"));
    let put = bench.write(put_op("a", 1));
    let added = bench.write(increment("a"));
    let erased = bench.write(StoreOperation::Erase("missing".into()));
    bench.all();
    bench.update(
        2,
        Content::Put {
            key: "a".into(),
            value: 1u64.into(),
            expiry: None,
            publisher: front,
        },
    );
    assert_eq!(bench.replies(), [(put, DONE)]);
    bench.update(
        3,
        Content::Put {
            key: "a".into(),
            value: 2u64.into(),
            expiry: None,
            publisher: front,
        },
    );
    assert_eq!(bench.replies(), [(added, DONE)]);
    bench.say(Content::CumulativeAck { seq: 5 });
    assert_eq!(bench.replies(), [], "the echo may have been dropped");
    bench.update(0, Content::Keepalive { seq: 3 });
    assert_eq!(
        bench.replies(),
        [(failed, Err(StoreError::NotEchoed)), (erased, DONE)]
    );
}

#[test]
fn a_key_that_no_master_takes_is_refused_here() {
    let mut bench = Bench::attached_to_cpp();
    let token = bench.write(StoreOperation::Erase(f64::NAN.into()));
    let refused = Err(StoreError::Refused(ErrorCode::InvalidData));
    assert_eq!(bench.replies(), [(token, refused)]);
}

#[test]
fn without_the_echo_nothing_is_decided_while_updates_are_missing() {
    let mut bench = Bench::attached_to_cpp();
    let front = bench.clone.front;
    let token = bench.write(put_op("a", 1));
    bench.all();
    bench.update(3, put("b", 1));
    bench.say(Content::CumulativeAck { seq: 2 });
    assert_eq!(bench.replies(), []);
    bench.update(
        2,
        Content::Put {
            key: "a".into(),
            value: 1u64.into(),
            expiry: None,
            publisher: front,
        },
    );
    assert_eq!(bench.replies(), [(token, DONE)]);
}

#[test]
fn nothing_of_ours_is_said_to_a_cpp_master() {
    let mut bench = Bench::attached_to_cpp();
    bench.write(put_op("a", 1));
    bench.clone.handle_sync(7);
    let mut sent = bench.sent();
    sent.extend(bench.ticks(49));
    assert!(sent.iter().all(|content| content.tag() < 14), "{sent:?}");
}

#[test]
fn the_writer_is_announced_until_the_first_acknowledgement() {
    let mut bench = Bench::attached(&[]);
    let attach = Content::AttachWriter {
        offset: 1,
        heartbeat: 5,
    };
    let count = |sent: &[Content]| sent.iter().filter(|content| **content == attach).count();
    assert_eq!(count(&bench.ticks(10)), 2);
    bench.say(Content::CumulativeAck { seq: 1 });
    assert_eq!(count(&bench.ticks(10)), 0);
}

#[test]
fn a_write_the_master_missed_is_sent_again() {
    let mut bench = Bench::attached(&[]);
    bench.write(put_op("a", 1));
    bench.write(put_op("b", 2));
    let sent = bench.sent();
    bench.say(Content::Nack { seqs: vec![2, 3] });
    assert_eq!(bench.sent(), sent);
}

#[test]
fn expiry_is_the_masters_business() {
    let mut bench = Bench::attached(&[]);
    let expiry = Some(Timespan::from_secs(1));
    bench.update(
        2,
        Content::Put {
            key: "a".into(),
            value: 1u64.into(),
            expiry,
            publisher: MASTER,
        },
    );
    let entries = bench.clone.view.content.scan(None, 9);
    assert_eq!(
        entries[0].1.expires_at,
        Some(Timestamp::from_nanos(1_000_000_000))
    );
    bench.ticks(40);
    assert_eq!(bench.get("a"), Some(1u64.into()));
    bench.update(
        3,
        Content::Expire {
            key: "a".into(),
            publisher: MASTER,
        },
    );
    assert_eq!(bench.events(), ["expire a"]);
}

/// What a clone of ours says when the master has lost it and offers the same stream again, with updates up to 9.
fn goes_on_from(bench: &mut Bench) -> u64 {
    bench.say(Content::Stranger);
    bench.say(offer(9, 2));
    let asked = bench.sent().into_iter().find_map(|content| match content {
        Content::Follow { from, .. } => Some(from),
        _ => None,
    });
    asked.expect("it answers the offer")
}

fn offer(seq: u64, oldest: u64) -> Content {
    Content::Offer {
        incarnation: 5,
        history: 6,
        revision: 1,
        seq,
        oldest,
        entries: 1,
        heartbeat: 5,
    }
}

/// A clone of ours that has asked for the first page of what was there at number 1.
fn pulling() -> Bench {
    let mut bench = Bench::searching(true);
    bench.say(offer(1, 2));
    bench.say(Content::Following {
        incarnation: 5,
        seq: 1,
        revision: 1,
    });
    bench.sent();
    bench
}

fn only_page() -> Content {
    Content::Page {
        id: 1,
        seq: 1,
        last: true,
        entries: vec![PageEntry {
            key: "k".into(),
            value: 1u64.into(),
            expiry: None,
        }],
    }
}

#[test]
fn a_clone_of_ours_goes_on_behind_the_last_update_it_has_applied() {
    let mut bench = pulling();
    bench.say(only_page());
    bench.sent();
    bench.update(2, put("l", 2));
    assert_eq!(goes_on_from(&mut bench), 2);
}

#[test]
fn what_waits_for_the_differences_to_be_told_is_not_gone_on_from() {
    let mut bench = pulling();
    bench.say(only_page());
    // Nobody has taken the differences yet.
    bench.update(2, put("l", 2));
    assert_eq!(goes_on_from(&mut bench), 1);
    bench.say(Content::Following {
        incarnation: 5,
        seq: 1,
        revision: 0,
    });
    bench.update(2, put("l", 3));
    bench.sent();
    assert_eq!(bench.get("l"), Some(3u64.into()));
    assert_eq!(bench.clone.revision().map(|at| at.number), Some(2));
}

#[test]
fn under_one_name_a_clone_asks_one_question_only() {
    // What it missed was kept, and is not any more; or the offers come in the other order.
    for (first, second) in [(2, 5), (5, 2)] {
        let mut bench = pulling();
        bench.say(only_page());
        bench.say(Content::Stranger);
        bench.say(offer(9, first));
        bench.sent();
        let name = bench.clone.id();
        // The same again is no other question.
        bench.say(offer(12, first));
        assert!(matches!(bench.sent()[..], [Content::Follow { .. }]));
        bench.say(offer(15, second));
        assert_eq!(bench.sent(), [Content::Nack { seqs: vec![0] }]);
        // Neither answer is to the name it has now.
        for (seq, revision) in [(1, 0), (9, 9)] {
            let content = Content::Following {
                incarnation: 5,
                seq,
                revision,
            };
            bench.hear(MASTER, &Command::control(MASTER, name, content));
            assert_eq!(bench.clone.master(), None);
        }
        bench.say(offer(15, second));
        assert!(matches!(bench.sent()[..], [Content::Follow { .. }]));
    }
}

#[test]
fn an_update_only_a_writer_may_send_is_ignored() {
    let mut bench = Bench::attached(&[("n", 1)]);
    bench.update(
        2,
        Content::Add {
            key: "n".into(),
            operand: 1u64.into(),
            init: DataKind::Count,
            expiry: None,
            publisher: MASTER,
        },
    );
    assert_eq!(bench.get("n"), Some(1u64.into()));
    bench.say(Content::WriteResults {
        first: u64::MAX,
        codes: vec![0, 0],
    });
    bench.say(Content::CumulativeAck { seq: u64::MAX });
    bench.update(0, Content::Keepalive { seq: u64::MAX });
}
