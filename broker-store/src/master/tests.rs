use broker_core::binary::MAX_DEPTH;
use broker_core::{DataKind, Set, StoreOperation, Timespan};

use super::*;
use crate::backend::Mutation;
use crate::conformance::fails_nth;
use crate::memory::Memory;

const HERE: EndpointId = EndpointId::from_bytes([0xbb; 16]);
const THERE: EndpointId = EndpointId::from_bytes([0xaa; 16]);
const MASTER: EntityId = EntityId::new(HERE, 7);
const CLONE: EntityId = EntityId::new(THERE, 1);

/// A master and what it has sent, with a clock of its own.
struct Bench {
    master: MasterState,
    now: i64,
    seq: u64,
}

impl Bench {
    fn new() -> Self {
        Self::over(Memory::new())
    }

    fn over(backend: impl Backend) -> Self {
        let master = MasterState::new("s", MASTER, Box::new(backend), Timers::default()).unwrap();
        Self {
            master,
            now: 0,
            seq: 1,
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_nanos(self.now)
    }

    fn say(&mut self, seq: u64, content: Content) {
        let command = Command {
            seq,
            sender: CLONE,
            receiver: MASTER,
            content,
        };
        self.master
            .handle_command(self.now(), THERE, &command.encode());
    }

    fn attach(&mut self) {
        self.say(0, Content::Nack { seqs: vec![0] });
        self.say(
            0,
            Content::AttachWriter {
                offset: 1,
                heartbeat: 5,
            },
        );
        self.commit();
    }

    /// Somebody asks to be attached.
    fn attach_as(&mut self, clone: EntityId) {
        let nack = Command::control(clone, EntityId::NIL, Content::Nack { seqs: vec![0] });
        self.master
            .handle_command(self.now(), clone.endpoint, &nack.encode());
    }

    /// A write of the clone, in its stream.
    fn write(&mut self, content: Content) {
        self.seq += 1;
        self.say(self.seq, content);
    }

    fn put(&mut self, key: &str, value: u64) {
        self.write(put(key, value));
    }

    fn tick(&mut self) -> Vec<Content> {
        self.now += 100_000_000;
        self.master.tick(self.now());
        self.outputs()
    }

    fn commit(&mut self) -> Vec<Content> {
        self.master.commit();
        self.outputs()
    }

    /// The contents of all commands sent; events and replies are left out.
    fn outputs(&mut self) -> Vec<Content> {
        self.all()
            .into_iter()
            .filter_map(|output| match output {
                MasterOutput::Broadcast(payload) | MasterOutput::Unicast { payload, .. } => {
                    Some(Command::decode(&payload).unwrap().content)
                }
                _ => None,
            })
            .collect()
    }

    fn all(&mut self) -> Vec<MasterOutput> {
        std::iter::from_fn(|| self.master.poll_output()).collect()
    }

    fn ask(&mut self, operation: StoreOperation) -> Result<StoreReply, StoreError> {
        let request = Request::from_operation(operation, MASTER, 1);
        self.master.handle_request(self.now(), 99, request);
        self.master.commit();
        let replies = self.all().into_iter().filter_map(|output| match output {
            MasterOutput::Reply { token: 99, result } => Some(result),
            _ => None,
        });
        let mut replies: Vec<_> = replies.collect();
        assert_eq!(replies.len(), 1, "each request is answered once");
        replies.remove(0)
    }

    fn get(&mut self, key: &str) -> Option<Data> {
        match self.ask(StoreOperation::Get(key.into())) {
            Ok(StoreReply::Value(value)) => Some(value),
            Err(StoreError::Refused(ErrorCode::NoSuchKey)) => None,
            other => panic!("{other:?}"),
        }
    }
}

fn put(key: &str, value: u64) -> Content {
    Content::Put {
        key: key.into(),
        value: value.into(),
        expiry: None,
        publisher: CLONE,
    }
}

fn put_op(key: &str, value: u64) -> StoreOperation {
    StoreOperation::Put {
        key: key.into(),
        value: value.into(),
        expiry: None,
    }
}

fn put_for(key: &str, seconds: i64) -> Content {
    Content::Put {
        key: key.into(),
        value: 1u64.into(),
        expiry: Some(Timespan::from_secs(seconds)),
        publisher: CLONE,
    }
}

fn add(key: &str, operand: u64, expiry: Option<Timespan>) -> Content {
    Content::Add {
        key: key.into(),
        operand: operand.into(),
        init: DataKind::Count,
        expiry,
        publisher: CLONE,
    }
}

fn update(key: &str, value: u64) -> Content {
    put(key, value)
}

#[test]
fn nothing_leaves_before_the_group_is_applied() {
    let mut bench = Bench::new();
    bench.attach();
    bench.put("a", 1);
    bench.write(add("a", 2, None));
    assert_eq!(bench.outputs(), []);
    assert_eq!(bench.commit(), [update("a", 1), update("a", 3)]);
    assert_eq!(bench.master.entries(), 1);
    assert_eq!(bench.get("a"), Some(3u64.into()));
}

#[test]
fn a_clone_gets_the_content_and_then_what_follows() {
    let mut bench = Bench::new();
    bench
        .ask(StoreOperation::Put {
            key: "a".into(),
            value: 1u64.into(),
            expiry: None,
        })
        .unwrap();
    bench.say(0, Content::Nack { seqs: vec![0] });
    let snapshot = vec![("a".into(), 1u64.into())];
    assert_eq!(
        bench.commit(),
        [Content::AckClone {
            offset: 1,
            heartbeat: 5,
            snapshot
        }]
    );
    bench.ask(StoreOperation::Erase("a".into())).unwrap();
    assert_eq!(bench.master.seq(), 2);
}

#[test]
fn a_snapshot_holds_the_writes_that_came_before_it_in_the_same_group() {
    let mut bench = Bench::new();
    bench.attach();
    bench.put("a", 1);
    let other = EntityId::new(THERE, 2);
    let nack = Command::control(other, EntityId::NIL, Content::Nack { seqs: vec![0] });
    bench
        .master
        .handle_command(Timestamp::EPOCH, THERE, &nack.encode());
    let snapshot = vec![("a".into(), 1u64.into())];
    assert_eq!(
        bench.commit(),
        [
            update("a", 1),
            Content::AckClone {
                offset: 2,
                heartbeat: 5,
                snapshot
            }
        ]
    );
}

#[test]
fn a_failed_group_is_answered_and_forgotten() {
    // The first write is the master's own, about who it is.
    let mut bench = Bench::over(fails_nth(Memory::new(), 3));
    bench.attach();
    bench.say(0, Content::WantResults);
    bench.put("a", 1);
    assert_eq!(
        bench.commit(),
        [
            update("a", 1),
            Content::WriteResults {
                first: 2,
                codes: vec![0]
            }
        ]
    );
    bench.put("a", 2);
    bench.put("b", 2);
    bench.write(add("x", 1, None));
    let failed = ErrorCode::BackendFailure as u8;
    assert_eq!(
        bench.commit(),
        [Content::WriteResults {
            first: 3,
            codes: vec![failed, failed, failed]
        }]
    );
    assert_eq!((bench.get("a"), bench.get("b")), (Some(1u64.into()), None));
    assert_eq!((bench.master.seq(), bench.master.entries()), (2, 1));
    bench.put("b", 3);
    assert_eq!(bench.commit()[0], update("b", 3));
}

#[test]
fn a_callers_write_that_the_backend_refuses_says_why() {
    let mut bench = Bench::over(fails_nth(Memory::new(), 1));
    let result = bench.ask(StoreOperation::Put {
        key: "a".into(),
        value: 1u64.into(),
        expiry: None,
    });
    assert_eq!(
        result,
        Err(StoreError::Backend {
            report: "the storage engine failed: this write was told to fail".to_owned()
        })
    );
}

#[test]
fn outcomes_carry_the_masters_code_and_come_after_the_echo() {
    let mut bench = Bench::new();
    bench.attach();
    bench.say(0, Content::WantResults);
    bench.put("a", 1);
    bench.write(Content::Add {
        key: "a".into(),
        operand: "x".into(),
        init: DataKind::String,
        expiry: None,
        publisher: CLONE,
    });
    bench.write(Content::Subtract {
        key: "none".into(),
        operand: 1u64.into(),
        expiry: None,
        publisher: CLONE,
    });
    bench.write(Content::Erase {
        key: "none".into(),
        publisher: CLONE,
    });
    assert_eq!(
        bench.commit(),
        [
            update("a", 1),
            Content::WriteResults {
                first: 2,
                codes: vec![0, 11, 9, 0]
            }
        ]
    );
    bench.say(0, Content::ResultsQuery { first: 4 });
    assert_eq!(
        bench.outputs(),
        [Content::WriteResults {
            first: 4,
            codes: vec![9, 0]
        }]
    );
}

#[test]
fn what_no_clone_could_read_is_not_stored() {
    let tiny = 1e-310;
    let mut bench = Bench::new();
    bench.attach();
    for value in [Data::from(Set::from_iter([0.0])), Data::Vector(Vec::new())] {
        let key = value.type_name().into();
        bench.write(Content::Put {
            key,
            value,
            expiry: None,
            publisher: CLONE,
        });
    }
    // A second zero, once it is encoded.
    assert_eq!(
        bench.ask(StoreOperation::InsertInto {
            key: "set".into(),
            index: tiny.into(),
            value: None,
            expiry: None,
        }),
        Ok(StoreReply::Done)
    );
    assert_eq!(bench.get("set"), Some(Set::from_iter([0.0]).into()));
    // One level more than is read.
    let deep = (0..MAX_DEPTH).fold(Data::None, |inner, _| Data::vector([inner]));
    assert_eq!(
        bench.ask(StoreOperation::Push {
            key: "vector".into(),
            value: deep,
            expiry: None,
        }),
        Err(StoreError::Refused(ErrorCode::InvalidData))
    );
    assert_eq!(bench.get("vector"), Some(Data::Vector(Vec::new())));
}

#[test]
fn writes_of_strangers_and_in_the_name_of_others_are_ignored() {
    let mut bench = Bench::new();
    bench.put("a", 1);
    bench.commit();
    assert_eq!(bench.get("a"), None);
    let forged = Command {
        seq: 2,
        sender: CLONE,
        receiver: MASTER,
        content: put("a", 1),
    };
    bench.attach();
    bench
        .master
        .handle_command(Timestamp::EPOCH, HERE, &forged.encode());
    bench
        .master
        .handle_command(Timestamp::EPOCH, THERE, b"not a command");
    assert_eq!(bench.get("a"), None);
    assert_eq!(bench.master.rejected(), 2);
}

#[test]
fn a_write_that_came_twice_is_applied_once() {
    let mut bench = Bench::new();
    bench.attach();
    bench.say(2, add("n", 1, None));
    bench.say(2, add("n", 1, None));
    bench.say(3, add("n", 1, None));
    assert_eq!(bench.get("n"), Some(2u64.into()));
}

#[test]
fn a_missing_write_is_asked_for_and_the_rest_waits() {
    let mut bench = Bench::new();
    bench.attach();
    bench.say(3, put("a", 3));
    assert_eq!(bench.commit(), []);
    bench.tick();
    assert_eq!(bench.tick(), [Content::Nack { seqs: vec![2] }]);
    bench.say(2, put("a", 2));
    assert_eq!(bench.commit(), [update("a", 2), update("a", 3)]);
}

#[test]
fn a_lost_write_is_given_up_and_the_rest_goes_on() {
    let mut bench = Bench::new();
    bench.attach();
    bench.say(0, Content::WantResults);
    bench.say(3, put("a", 3));
    bench.say(0, Content::RetransmitFailed { seq: 2 });
    assert_eq!(
        bench.commit(),
        [
            update("a", 3),
            Content::WriteResults {
                first: 2,
                codes: vec![ErrorCode::Unspecified as u8, 0]
            }
        ]
    );
}

#[test]
fn put_unique_stores_once_and_tells_everybody() {
    let mut bench = Bench::new();
    bench.attach();
    let who = EntityId::new(THERE, 9);
    let unique = |value: u64, request| Content::PutUnique {
        key: "u".into(),
        value: value.into(),
        expiry: None,
        who,
        request,
        publisher: CLONE,
    };
    bench.write(unique(1, 4));
    bench.write(unique(2, 5));
    let result = |inserted, request| Content::PutUniqueResult {
        inserted,
        who,
        request,
        publisher: MASTER,
    };
    assert_eq!(
        bench.commit(),
        [update("u", 1), result(true, 4), result(false, 5)]
    );
}

#[test]
fn keys_expire_strictly_after_their_time_with_an_event() {
    let mut bench = Bench::new();
    bench.attach();
    bench.write(put_for("e", 1));
    bench.commit();
    let mut tick_at = |nanos| {
        bench.master.tick(Timestamp::from_nanos(nanos));
        let outputs = bench.all();
        outputs
            .into_iter()
            .find(|output| matches!(output, MasterOutput::Event { .. }))
    };
    assert_eq!(tick_at(1_000_000_000), None);
    let expired = StoreEvent::Expire {
        store: "s".into(),
        key: "e".into(),
        publisher: MASTER,
    };
    assert_eq!(
        tick_at(1_000_000_001),
        Some(MasterOutput::Event {
            revision: 2,
            event: expired.into()
        })
    );
    assert_eq!(bench.get("e"), None);
}

#[test]
fn an_add_keeps_the_entrys_own_deadline_unless_it_brings_one_and_a_put_removes_it() {
    let mut bench = Bench::new();
    bench.attach();
    for key in ["kept", "longer", "removed"] {
        bench.write(put_for(key, 1));
    }
    bench.write(add("kept", 1, None));
    bench.write(add("longer", 1, Some(Timespan::from_secs(60))));
    bench.write(put("removed", 5));
    bench.commit();
    bench.now += 1_000_000_001;
    let expired: Vec<_> = bench
        .tick()
        .into_iter()
        .filter(|content| matches!(content, Content::Expire { .. }))
        .collect();
    assert_eq!(
        expired,
        [Content::Expire {
            key: "kept".into(),
            publisher: MASTER
        }]
    );
}

#[test]
fn a_master_that_slept_expires_everything_in_order_on_waking() {
    let mut memory = Memory::new();
    let batch: Vec<_> = (0..3000u64)
        .map(|n| Mutation::Put {
            key: n.into(),
            value: n.into(),
            expires_at: Some(Timestamp::from_nanos(3000 - n as i64)),
        })
        .collect();
    memory.apply(&batch).unwrap();
    let mut bench = Bench::over(memory);
    bench.attach();
    let keys: Vec<_> = bench
        .tick()
        .into_iter()
        .filter_map(|content| match content {
            Content::Expire { key, .. } => key.as_count(),
            _ => None,
        })
        .collect();
    assert_eq!(keys, (0..3000).rev().collect::<Vec<_>>());
    assert_eq!(bench.master.entries(), 0);
}

#[test]
fn events_tell_inserts_updates_and_erasures_with_their_publisher() {
    let mut bench = Bench::new();
    bench.attach();
    bench.put("a", 1);
    bench.put("a", 2);
    bench.write(Content::Erase {
        key: "a".into(),
        publisher: CLONE,
    });
    bench.put("b", 3);
    bench.write(Content::Clear { publisher: CLONE });
    bench.master.commit();
    let events: Vec<_> = bench
        .all()
        .into_iter()
        .filter_map(|output| match output {
            MasterOutput::Event { event, .. } => {
                Some(event.to_data().as_vector().unwrap()[0].clone())
            }
            _ => None,
        })
        .collect();
    assert_eq!(
        events,
        ["insert", "update", "erase", "insert", "erase"].map(Data::from)
    );
    assert_eq!(bench.master.entries(), 0);
}

#[test]
fn keepalives_go_to_everybody_and_to_each_clone_by_name() {
    let mut bench = Bench::new();
    bench.attach();
    for _ in 0..4 {
        bench.tick();
    }
    bench.now += 1;
    bench.master.tick(bench.now());
    let keepalives: Vec<_> = bench
        .all()
        .into_iter()
        .filter_map(|output| match output {
            MasterOutput::Broadcast(payload) | MasterOutput::Unicast { payload, .. } => {
                Some(Command::decode(&payload).unwrap())
            }
            _ => None,
        })
        .filter(|command| matches!(command.content, Content::Keepalive { seq: 1 }))
        .map(|command| command.receiver)
        .collect();
    assert_eq!(keepalives, [EntityId::NIL, CLONE]);
}

#[test]
fn a_sync_is_answered_behind_what_came_before_it() {
    let mut bench = Bench::new();
    bench.attach();
    bench.put("a", 1);
    bench.say(0, Content::Sync { id: 8 });
    bench.put("b", 1);
    assert_eq!(
        bench.commit(),
        [
            update("a", 1),
            Content::SyncReply { id: 8, seq: 2 },
            update("b", 1)
        ]
    );
}

#[test]
fn a_silent_clone_of_ours_is_forgotten_after_fifty_seconds() {
    let mut bench = Bench::new();
    bench.attach();
    bench.say(0, Content::WantResults);
    bench.master.speaks = Box::new(|_| true);
    for _ in 0..500 {
        bench.tick();
    }
    assert_eq!(bench.master.clones(), 0);
    // It is a stranger now.
    bench.put("a", 1);
    assert_eq!(bench.get("a"), None);
    bench.say(0, Content::CumulativeAck { seq: 1 });
    assert_eq!(bench.outputs(), [Content::Stranger]);
    assert_eq!(bench.master.clones(), 0);
}

#[test]
fn a_clone_of_ours_that_is_known_by_its_writes_only_is_told_that_it_is_not_followed_on() {
    let mut bench = Bench::new();
    bench.master.speaks = Box::new(|_| true);
    let attach = Content::AttachWriter {
        offset: 1,
        heartbeat: 5,
    };
    bench.say(0, attach);
    assert_eq!(bench.outputs(), [Content::CumulativeAck { seq: 1 }]);
    bench.say(0, Content::CumulativeAck { seq: 7 });
    assert_eq!(bench.outputs(), [Content::Stranger]);
    // One without a copy acknowledges nothing.
    bench.say(0, Content::Keepalive { seq: 1 });
    assert_eq!(bench.outputs(), []);
}

#[test]
fn a_clone_of_cpp_that_was_silent_is_asked_to_announce_its_writes_and_followed_on() {
    let mut bench = Bench::new();
    bench.attach();
    bench.put("a", 1);
    bench.commit();
    for _ in 0..600 {
        bench.tick();
    }
    assert_eq!(bench.master.clones(), 0);
    bench.say(0, Content::CumulativeAck { seq: 2 });
    bench.say(0, Content::Keepalive { seq: 2 });
    assert_eq!(bench.master.clones(), 1);
    let asked = Content::Nack { seqs: vec![0] };
    assert!(bench.tick().contains(&asked));
    assert!(!bench.tick().contains(&asked));
    // Two writes that it made meanwhile are lost, and its stream begins anew behind them.
    bench.say(
        0,
        Content::AttachWriter {
            offset: 4,
            heartbeat: 5,
        },
    );
    assert_eq!(bench.commit(), [Content::CumulativeAck { seq: 4 }]);
    bench.seq = 4;
    bench.put("a", 5);
    assert_eq!(bench.commit(), [update("a", 5)]);
    for _ in 0..20 {
        assert!(!bench.tick().contains(&asked));
    }
}

#[test]
fn a_put_unique_that_fails_is_answered_to_those_who_hear_no_outcomes() {
    let unique = |key: Data, request| Content::PutUnique {
        key,
        value: 1u64.into(),
        expiry: None,
        who: CLONE,
        request,
        publisher: CLONE,
    };
    let refused = |request| Content::PutUniqueResult {
        inserted: false,
        who: CLONE,
        request,
        publisher: MASTER,
    };
    let mut bench = Bench::over(fails_nth(Memory::new(), 1));
    bench.attach();
    bench.write(unique("k".into(), 1));
    assert_eq!(bench.commit(), [refused(1)], "the backend failed");
    bench.write(unique(f64::NAN.into(), 2));
    assert_eq!(bench.commit(), [refused(2)], "that is no key");
    bench.say(0, Content::WantResults);
    bench.write(unique(f64::NAN.into(), 3));
    let code = ErrorCode::InvalidData as u8;
    assert_eq!(
        bench.commit(),
        [Content::WriteResults {
            first: 4,
            codes: vec![code]
        }]
    );
}

#[test]
fn queries_answer_as_the_reference_says() {
    let mut bench = Bench::new();
    for key in ["a", "b", "ccc"] {
        bench
            .ask(StoreOperation::Put {
                key: key.into(),
                value: Data::vector([1u64]),
                expiry: (key == "b").then(|| std::time::Duration::from_secs(1)),
            })
            .unwrap();
    }
    let value = |data: Data| Ok(StoreReply::Value(data));
    assert_eq!(
        bench.ask(StoreOperation::Exists("a".into())),
        value(true.into())
    );
    assert_eq!(
        bench.ask(StoreOperation::Exists("z".into())),
        value(false.into())
    );
    assert_eq!(
        bench.ask(StoreOperation::Keys),
        value(Set::from_iter(["a", "b", "ccc"]).into())
    );
    assert_eq!(
        bench.ask(StoreOperation::GetIndex {
            key: "a".into(),
            index: 0u64.into()
        }),
        value(1u64.into())
    );
    assert_eq!(
        bench.ask(StoreOperation::GetIndex {
            key: "a".into(),
            index: 5u64.into()
        }),
        Err(StoreError::Refused(ErrorCode::NoSuchKey))
    );
    let Ok(StoreReply::Entries(page)) = bench.ask(StoreOperation::Scan {
        after: Some("a".into()),
        limit: 1,
    }) else {
        panic!()
    };
    assert_eq!(
        (page[0].key.clone(), page[0].expires_in),
        ("b".into(), Some(std::time::Duration::from_secs(1)))
    );
    let nan = StoreOperation::Put {
        key: f64::NAN.into(),
        value: 1u64.into(),
        expiry: None,
    };
    assert_eq!(
        bench.ask(nan),
        Err(StoreError::Refused(ErrorCode::InvalidData))
    );
}

#[test]
fn a_store_too_large_for_a_snapshot_gives_none_and_goes_on() {
    let mut bench = Bench::new();
    for n in 0..40u64 {
        bench
            .ask(StoreOperation::Put {
                key: n.into(),
                value: "x".repeat(1 << 20).into(),
                expiry: None,
            })
            .unwrap();
    }
    for _ in 0..20 {
        bench.say(0, Content::Nack { seqs: vec![0] });
        assert!(
            bench
                .tick()
                .iter()
                .all(|content| matches!(content, Content::Keepalive { .. }))
        );
    }
    assert_eq!(bench.get("missing"), None);
}

#[test]
fn what_nobody_was_told_leaves_a_gap_before_the_next_update() {
    let mut b = Bench::new();
    let first = |sent: &[Content]| {
        sent.iter().find_map(|content| match content {
            Content::AckClone { offset, .. } => Some(*offset),
            _ => None,
        })
    };
    b.say(0, Content::Nack { seqs: vec![0] });
    assert_eq!(first(&b.commit()), Some(1), "nothing has happened");
    b.master.forget(CLONE);
    let other = EntityId::new(EndpointId::from_bytes([0xcc; 16]), 1);
    // In one group with the handshake, too.
    for expected in [2, 3] {
        let put = Request::from_operation(put_op("a", expected), MASTER, 1);
        b.master.handle_request(b.now(), 1, put);
        b.attach_as(other);
        assert_eq!(first(&b.commit()), Some(expected));
        b.attach_as(other);
        b.commit();
        assert_eq!(b.master.seq(), expected, "once is enough");
        b.master.forget(other);
        b.master.departed.clear();
    }
}

#[test]
fn a_clone_that_a_restart_left_alone_does_not_take_the_next_update_for_all_that_has_happened() {
    let disk = crate::conformance::Shared::new(Memory::new());
    let mut b = Bench::over(disk.clone());
    b.ask(put_op("a", 1)).unwrap();
    // Nothing is written down after this.
    let mut b = Bench::over(disk.clone());
    b.attach_as(CLONE);
    b.commit();
    let known = b.master.seq();
    let mut b = Bench::over(disk);
    b.ask(put_op("b", 1)).unwrap();
    b.attach_as(EntityId::new(EndpointId::from_bytes([0xcc; 16]), 1));
    b.commit();
    b.ask(put_op("c", 1)).unwrap();
    assert!(b.master.seq() > known + 1, "{known} is not gone on from");
}

#[test]
fn a_master_on_another_endpoint_uses_no_number_of_the_former_again() {
    let disk = crate::conformance::Shared::new(Memory::new());
    let mut b = Bench::over(disk.clone());
    b.attach_as(CLONE);
    b.commit();
    for value in 1..9 {
        b.ask(put_op("a", value)).unwrap();
    }
    let used = b.master.seq();
    for n in 1..4 {
        let id = EntityId::new(EndpointId::from_bytes([n; 16]), 7);
        let master = MasterState::new("s", id, Box::new(disk.clone()), Timers::default());
        let mut b = Bench {
            master: master.unwrap(),
            now: 0,
            seq: 1,
        };
        assert_eq!(b.master.id(), id);
        b.attach_as(CLONE);
        b.commit();
        assert!(b.master.seq() > used, "{} after {used}", b.master.seq());
    }
}
