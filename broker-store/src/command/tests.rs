use broker_core::{EndpointId, ErrorCode, Port, Protocol};
use bytes::BytesMut;
use proptest::prelude::*;

use super::codec::put_entity;
use super::*;

const A: EndpointId =
    EndpointId::from_bytes([0, 0, 0, 0, 0, 0, 0x40, 0, 0x80, 0, 0, 0, 0, 0, 0, 1]);
const B: EndpointId = EndpointId::from_bytes([
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x4f, 0xff, 0xbf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
]);
const C: EntityId = EntityId::new(A, 1);
const M: EntityId = EntityId::new(B, 7);
const R: EntityId = EntityId::new(A, 2);
const NIL: EntityId = EntityId::NIL;

/// The rows of the reference, 13.4: command, and the bytes from the tag on with entities as letters.
fn rows() -> Vec<(Command, &'static str)> {
    let command = |seq, sender, receiver, content| Command {
        seq,
        sender,
        receiver,
        content,
    };
    let k = || Data::from("k");
    let seven = || Data::Count(7);
    vec![
        (
            command(0, C, NIL, Content::Nack { seqs: vec![0] }),
            "0b 01 0000000000000000",
        ),
        (
            command(
                1,
                M,
                C,
                Content::AckClone {
                    offset: 1,
                    heartbeat: 5,
                    snapshot: vec![(k(), seven())],
                },
            ),
            "0c 0000000000000001 0005 01 05016b 020000000000000007",
        ),
        (
            command(0, C, M, Content::CumulativeAck { seq: 1 }),
            "0a 0000000000000001",
        ),
        (
            command(
                0,
                C,
                M,
                Content::AttachWriter {
                    offset: 1,
                    heartbeat: 5,
                },
            ),
            "08 0000000000000001 0005",
        ),
        (
            command(
                2,
                C,
                M,
                Content::Put {
                    key: k(),
                    value: seven(),
                    expiry: None,
                    publisher: C,
                },
            ),
            "00 05016b 020000000000000007 00 c",
        ),
        (
            command(
                2,
                C,
                M,
                Content::Put {
                    key: k(),
                    value: seven(),
                    expiry: Some(Timespan::from_nanos(500_000_000)),
                    publisher: C,
                },
            ),
            "00 05016b 020000000000000007 01 000000001dcd6500 c",
        ),
        (
            command(
                3,
                C,
                M,
                Content::PutUnique {
                    key: k(),
                    value: seven(),
                    expiry: None,
                    who: R,
                    request: 77,
                    publisher: C,
                },
            ),
            "01 05016b 020000000000000007 00 r 000000000000004d c",
        ),
        (
            command(
                4,
                M,
                NIL,
                Content::PutUniqueResult {
                    inserted: true,
                    who: R,
                    request: 77,
                    publisher: M,
                },
            ),
            "02 01 r 000000000000004d m",
        ),
        (
            command(
                4,
                C,
                M,
                Content::Erase {
                    key: k(),
                    publisher: C,
                },
            ),
            "03 05016b c",
        ),
        (
            command(
                5,
                M,
                NIL,
                Content::Expire {
                    key: k(),
                    publisher: M,
                },
            ),
            "04 05016b m",
        ),
        (
            command(
                5,
                C,
                M,
                Content::Add {
                    key: "n".into(),
                    operand: Data::Count(5),
                    init: DataKind::Count,
                    expiry: None,
                    publisher: C,
                },
            ),
            "05 05016e 020000000000000005 02 00 c",
        ),
        (
            command(
                6,
                C,
                M,
                Content::Subtract {
                    key: "n".into(),
                    operand: Data::Count(2),
                    expiry: None,
                    publisher: C,
                },
            ),
            "06 05016e 020000000000000002 00 c",
        ),
        (command(7, C, M, Content::Clear { publisher: C }), "07 c"),
        (
            command(0, M, NIL, Content::Keepalive { seq: 7 }),
            "09 0000000000000007",
        ),
        (
            command(0, C, M, Content::Nack { seqs: vec![5, 6] }),
            "0b 02 0000000000000005 0000000000000006",
        ),
        (
            command(0, M, C, Content::RetransmitFailed { seq: 5 }),
            "0d 0000000000000005",
        ),
    ]
}

fn bytes_of(command: &Command, body: &str) -> Vec<u8> {
    let hex = |entity: EntityId| {
        let mut out = BytesMut::new();
        put_entity(entity, &mut out);
        out.to_vec()
    };
    let mut bytes = command.seq.to_be_bytes().to_vec();
    bytes.extend(hex(command.sender));
    bytes.extend(hex(command.receiver));
    for word in body.split(' ') {
        bytes.extend(match word {
            "c" => hex(C),
            "m" => hex(M),
            "r" => hex(R),
            digits => (0..digits.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
                .collect(),
        });
    }
    bytes
}

#[test]
fn every_row_of_the_reference_is_written_and_read() {
    for (command, body) in rows() {
        let bytes = bytes_of(&command, body);
        assert_eq!(command.encode(), bytes, "{command:?}");
        assert_eq!(Command::decode(&bytes).unwrap(), command);
    }
}

fn entries() -> Vec<PageEntry> {
    vec![PageEntry {
        key: "k".into(),
        value: 1u64.into(),
        expiry: Some(Timespan::from_secs(2)),
    }]
}

#[test]
fn our_own_commands_read_back() {
    let contents = [
        Content::WantResults,
        Content::WriteResults {
            first: 2,
            codes: vec![0, 11, 9],
        },
        Content::ResultsQuery { first: 5 },
        Content::Sync { id: 3 },
        Content::SyncReply { id: 3, seq: 9 },
        Content::Offer {
            incarnation: 1,
            history: 2,
            revision: 3,
            seq: 4,
            oldest: 5,
            entries: 6,
            heartbeat: 7,
        },
        Content::Follow {
            incarnation: 1,
            from: 2,
            former: 3,
        },
        Content::Following {
            incarnation: 1,
            seq: 2,
            revision: 3,
        },
        Content::Pull {
            id: 1,
            after: Some("k".into()),
            bytes: 9,
        },
        Content::Page {
            id: 1,
            seq: 2,
            last: true,
            entries: entries(),
        },
        Content::CompareAndSet {
            key: "k".into(),
            expected: None,
            value: Some(Data::None),
            expiry: Some(Timespan::from_secs(1)),
            publisher: C,
        },
        Content::Stranger,
        Content::Skipped { first: 1, last: 2 },
        Content::Leave,
        Content::Check {
            id: 1,
            seq: 2,
            after: None,
            last: false,
            until: Some("k".into()),
            digest: Digest::of(&"k".into(), &Data::None),
        },
    ];
    let questions = [
        Question::Get("k".into()),
        Question::Exists("k".into()),
        Question::GetIndex {
            key: "k".into(),
            index: 1u64.into(),
        },
        Question::Scan {
            after: None,
            limit: 7,
        },
        Question::Keys {
            after: Some("k".into()),
        },
        Question::Verify,
    ];
    let answers = [
        Answer::Refused(ErrorCode::NoSuchKey),
        Answer::Value(1u64.into()),
        Answer::Entries(entries()),
        Answer::Keys(vec!["k".into()]),
        Answer::Report(Data::None),
    ];
    let verdicts = [
        Verdict::Equal,
        Verdict::Passed,
        Verdict::Entries(vec![("k".into(), Digest::default())]),
    ];
    let questions = questions.map(|question| Content::Query { id: 1, question });
    let answers = answers.map(|answer| Content::Answer { id: 1, answer });
    let verdicts = verdicts.map(|verdict| Content::Checked { id: 1, verdict });
    let contents = contents
        .into_iter()
        .chain(questions)
        .chain(answers)
        .chain(verdicts);
    for content in contents {
        let command = Command::control(C, M, content);
        assert_eq!(Command::decode(&command.encode()).unwrap(), command);
    }
}

#[test]
fn bytes_behind_the_body_and_odd_flags_are_let_pass() {
    let (command, _) = rows().remove(5);
    let mut bytes = command.encode().to_vec();
    bytes.extend_from_slice(b"whatever");
    assert_eq!(Command::decode(&bytes).unwrap(), command);
    let flag = HEADER_LEN + 3 + 9;
    assert_eq!(bytes[flag], 1);
    bytes[flag] = 0xff;
    assert_eq!(Command::decode(&bytes).unwrap(), command);
}

#[test]
fn an_unknown_init_type_is_none_and_an_unknown_protocol_is_unknown() {
    let add = Command::control(
        C,
        M,
        Content::Add {
            key: Port::new(80, Protocol::Tcp).into(),
            operand: Data::None,
            init: DataKind::Vector,
            expiry: None,
            publisher: C,
        },
    );
    let mut bytes = add.encode().to_vec();
    bytes[HEADER_LEN + 3] = 9;
    bytes[HEADER_LEN + 5] = 15;
    let Content::Add { key, init, .. } = Command::decode(&bytes).unwrap().content else {
        panic!("it is an add")
    };
    assert_eq!(
        (key, init),
        (Port::new(80, Protocol::Unknown).into(), DataKind::None)
    );
}

#[test]
fn a_snapshot_with_a_key_twice_is_no_command() {
    let pair = || (Data::from("k"), Data::Count(1));
    let twice = Command::control(
        M,
        C,
        Content::AckClone {
            offset: 1,
            heartbeat: 5,
            snapshot: vec![pair(), pair()],
        },
    );
    assert_eq!(
        Command::decode(&twice.encode()),
        Err(DecodeError::DuplicateKey.into())
    );
}

#[test]
fn unknown_tags_and_impossible_counts_are_refused() {
    let (command, _) = rows().remove(14);
    let mut bytes = command.encode().to_vec();
    bytes[HEADER_LEN] = 0xff;
    assert!(matches!(
        Command::decode(&bytes),
        Err(CommandError::Invalid(
            DecodeError::CountTooLarge { .. } | DecodeError::Truncated { .. }
        ))
    ));
    bytes[HEADER_LEN - 1] = 14;
    assert_eq!(
        Command::decode(&bytes),
        Err(CommandError::UnknownCommand(14))
    );
}

proptest! {
    #[test]
    fn cut_off_and_random_bytes_never_panic(row in 0usize..16, cut in 0usize..200, noise in prop::collection::vec(any::<u8>(), 0..40), at in 0usize..200) {
        let mut bytes = rows().swap_remove(row).0.encode().to_vec();
        let _ = Command::decode(&bytes[..cut.min(bytes.len())]);
        let at = at.min(bytes.len());
        bytes.splice(at..(at + noise.len()).min(bytes.len()), noise);
        let _ = Command::decode(&bytes);
    }
}
