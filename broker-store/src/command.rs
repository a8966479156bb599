//! Store commands: what masters and clones say to each other (wire reference 7.2).
//!
//! ```text
//! | seq u64 | sender entity | receiver entity | tag u8 | body .. |
//!
//!  0 put                 key, value, expiry?, publisher
//!  1 put_unique          key, value, expiry?, who, request u64, publisher
//!  2 put_unique_result   inserted bool, who, request u64, publisher
//!  3 erase               key, publisher
//!  4 expire              key, publisher
//!  5 add                 key, operand, init type u8, expiry?, publisher
//!  6 subtract            key, operand, expiry?, publisher
//!  7 clear               publisher
//!  8 attach_writer       offset u64, heartbeat u16
//!  9 keepalive           seq u64
//! 10 cumulative_ack      seq u64
//! 11 nack                count varbyte, seqs u64
//! 12 ack_clone           offset u64, heartbeat u16, count varbyte, (key, value) pairs
//! 13 retransmit_failed   seq u64
//! ```
//!
//! Tags from 128 are ours, and only sent to an endpoint that names the feature [`FEATURE`]; C++ nodes never see them:
//!
//! ```text
//! 128 want_results       nothing: the writer asks for the outcome of each of its writes
//! 129 write_results      first seq u64, count varbyte, error codes u8
//! 130 results_query      first seq u64: send the outcomes from there on again
//! 131 sync               id u64
//! 132 sync_reply         id u64, seq u64: everything done before the sync has a number up to seq
//! ```
//!
//! An entity is 16 + 8 bytes, an expiry a flag byte and a relative i64 in nanoseconds. Bytes behind the body mean
//! nothing.
//!
//! **Invariant:** decoding any bytes gives `Ok` or [`CommandError`]; nothing is sized by a count that the remaining bytes
//! cannot hold.

use std::collections::HashSet;

use broker_core::binary::{self, DecodeRules, Reader};
use broker_core::{Data, DataKind, DecodeError, EndpointId, EntityId, Timespan};
use bytes::{BufMut, Bytes, BytesMut};

/// The feature that an endpoint announces when its stores understand the commands from tag 128.
pub const FEATURE: &str = "store-results";

/// One command.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// The number in the sender's stream; 0 for what is not numbered.
    pub seq: u64,
    /// Who says it.
    pub sender: EntityId,
    /// Whom it is for; nil is everybody.
    pub receiver: EntityId,
    /// What is said.
    pub content: Content,
}

/// What a command says.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "fields are those of the table above")]
pub enum Content {
    /// Stores a value.
    Put {
        key: Data,
        value: Data,
        expiry: Option<Timespan>,
        publisher: EntityId,
    },
    /// Stores a value if the key is free.
    PutUnique {
        key: Data,
        value: Data,
        expiry: Option<Timespan>,
        who: EntityId,
        request: u64,
        publisher: EntityId,
    },
    /// Whether that happened.
    PutUniqueResult {
        inserted: bool,
        who: EntityId,
        request: u64,
        publisher: EntityId,
    },
    /// Removes a key.
    Erase { key: Data, publisher: EntityId },
    /// A key's time is up.
    Expire { key: Data, publisher: EntityId },
    /// Adds to a value.
    Add {
        key: Data,
        operand: Data,
        init: DataKind,
        expiry: Option<Timespan>,
        publisher: EntityId,
    },
    /// Subtracts from a value.
    Subtract {
        key: Data,
        operand: Data,
        expiry: Option<Timespan>,
        publisher: EntityId,
    },
    /// Removes everything.
    Clear { publisher: EntityId },
    /// Opens a stream of writes.
    AttachWriter { offset: u64, heartbeat: u16 },
    /// The sender's stream has come to this number.
    Keepalive { seq: u64 },
    /// Everything up to this number has arrived.
    CumulativeAck { seq: u64 },
    /// These numbers are missing; a single 0 asks to be attached.
    Nack { seqs: Vec<u64> },
    /// Attaches a clone and gives it the content.
    AckClone {
        offset: u64,
        heartbeat: u16,
        snapshot: Vec<(Data, Data)>,
    },
    /// This number cannot be sent again.
    RetransmitFailed { seq: u64 },
    /// Ours: the writer wants outcomes.
    WantResults,
    /// Ours: the outcomes of consecutive writes, as numbers of error codes.
    WriteResults { first: u64, codes: Vec<u8> },
    /// Ours: the outcomes from this number on are missing.
    ResultsQuery { first: u64 },
    /// Ours: asks where the master's stream is.
    Sync { id: u64 },
    /// Ours: where it is.
    SyncReply { id: u64, seq: u64 },
}

/// Why bytes are no command. The fault is the sender's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// A field or value cannot be read.
    #[error("invalid store command")]
    Invalid(#[from] DecodeError),
    /// A tag that means nothing.
    #[error("{0} is no store command")]
    UnknownCommand(u8),
}

/// Bytes of a command before its body.
pub const HEADER_LEN: usize = 8 + 24 + 24 + 1;

impl Command {
    /// A command without a number.
    #[must_use]
    pub const fn control(sender: EntityId, receiver: EntityId, content: Content) -> Self {
        Self {
            seq: 0,
            sender,
            receiver,
            content,
        }
    }

    /// Reads a command.
    ///
    /// # Errors
    /// The bytes are none.
    pub fn decode(bytes: &[u8]) -> Result<Self, CommandError> {
        let mut r = Reader::new(bytes);
        let seq = r.u64("sequence number")?;
        let sender = entity(&mut r, "sender")?;
        let receiver = entity(&mut r, "receiver")?;
        let tag = r.u8("command tag")?;
        let content = Content::decode(tag, &mut r)?;
        Ok(Self {
            seq,
            sender,
            receiver,
            content,
        })
    }

    /// Writes the command.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(HEADER_LEN + 64);
        put_header(self.seq, self.sender, self.receiver, &mut out);
        self.content.encode(&mut out);
        out.freeze()
    }
}

impl Content {
    fn decode(tag: u8, r: &mut Reader<'_>) -> Result<Self, CommandError> {
        Ok(match tag {
            0 => Self::Put {
                key: value(r)?,
                value: value(r)?,
                expiry: expiry(r)?,
                publisher: publisher(r)?,
            },
            1 => Self::PutUnique {
                key: value(r)?,
                value: value(r)?,
                expiry: expiry(r)?,
                who: entity(r, "requester")?,
                request: r.u64("request number")?,
                publisher: publisher(r)?,
            },
            2 => Self::PutUniqueResult {
                inserted: r.bool("result")?,
                who: entity(r, "requester")?,
                request: r.u64("request number")?,
                publisher: publisher(r)?,
            },
            3 => Self::Erase {
                key: value(r)?,
                publisher: publisher(r)?,
            },
            4 => Self::Expire {
                key: value(r)?,
                publisher: publisher(r)?,
            },
            5 => Self::Add {
                key: value(r)?,
                operand: value(r)?,
                init: DataKind::from_tag(r.u8("init type")?).unwrap_or(DataKind::None),
                expiry: expiry(r)?,
                publisher: publisher(r)?,
            },
            6 => Self::Subtract {
                key: value(r)?,
                operand: value(r)?,
                expiry: expiry(r)?,
                publisher: publisher(r)?,
            },
            7 => Self::Clear {
                publisher: publisher(r)?,
            },
            8 => Self::AttachWriter {
                offset: r.u64("offset")?,
                heartbeat: r.u16("heartbeat interval")?,
            },
            9 => Self::Keepalive {
                seq: r.u64("sequence number")?,
            },
            10 => Self::CumulativeAck {
                seq: r.u64("sequence number")?,
            },
            11 => Self::Nack { seqs: seqs(r)? },
            12 => Self::AckClone {
                offset: r.u64("offset")?,
                heartbeat: r.u16("heartbeat interval")?,
                snapshot: snapshot(r)?,
            },
            13 => Self::RetransmitFailed {
                seq: r.u64("sequence number")?,
            },
            128 => Self::WantResults,
            129 => Self::WriteResults {
                first: r.u64("sequence number")?,
                codes: r.string("results")?.to_vec(),
            },
            130 => Self::ResultsQuery {
                first: r.u64("sequence number")?,
            },
            131 => Self::Sync {
                id: r.u64("sync number")?,
            },
            132 => Self::SyncReply {
                id: r.u64("sync number")?,
                seq: r.u64("sequence number")?,
            },
            other => return Err(CommandError::UnknownCommand(other)),
        })
    }

    /// The tag of the command.
    #[must_use]
    pub const fn tag(&self) -> u8 {
        match self {
            Self::Put { .. } => 0,
            Self::PutUnique { .. } => 1,
            Self::PutUniqueResult { .. } => 2,
            Self::Erase { .. } => 3,
            Self::Expire { .. } => 4,
            Self::Add { .. } => 5,
            Self::Subtract { .. } => 6,
            Self::Clear { .. } => 7,
            Self::AttachWriter { .. } => 8,
            Self::Keepalive { .. } => 9,
            Self::CumulativeAck { .. } => 10,
            Self::Nack { .. } => 11,
            Self::AckClone { .. } => 12,
            Self::RetransmitFailed { .. } => 13,
            Self::WantResults => 128,
            Self::WriteResults { .. } => 129,
            Self::ResultsQuery { .. } => 130,
            Self::Sync { .. } => 131,
            Self::SyncReply { .. } => 132,
        }
    }

    /// Appends tag and body to `out`.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u8(self.tag());
        match self {
            Self::Put {
                key,
                value,
                expiry,
                publisher,
            } => {
                binary::encode(key, out);
                binary::encode(value, out);
                put_expiry(*expiry, out);
                put_entity(*publisher, out);
            }
            Self::PutUnique {
                key,
                value,
                expiry,
                who,
                request,
                publisher,
            } => {
                binary::encode(key, out);
                binary::encode(value, out);
                put_expiry(*expiry, out);
                put_entity(*who, out);
                out.put_u64(*request);
                put_entity(*publisher, out);
            }
            Self::PutUniqueResult {
                inserted,
                who,
                request,
                publisher,
            } => {
                out.put_u8(u8::from(*inserted));
                put_entity(*who, out);
                out.put_u64(*request);
                put_entity(*publisher, out);
            }
            Self::Erase { key, publisher } | Self::Expire { key, publisher } => {
                binary::encode(key, out);
                put_entity(*publisher, out);
            }
            Self::Add {
                key,
                operand,
                init,
                expiry,
                publisher,
            } => {
                binary::encode(key, out);
                binary::encode(operand, out);
                out.put_u8(init.tag());
                put_expiry(*expiry, out);
                put_entity(*publisher, out);
            }
            Self::Subtract {
                key,
                operand,
                expiry,
                publisher,
            } => {
                binary::encode(key, out);
                binary::encode(operand, out);
                put_expiry(*expiry, out);
                put_entity(*publisher, out);
            }
            Self::Clear { publisher } => put_entity(*publisher, out),
            Self::AttachWriter { offset, heartbeat } => {
                out.put_u64(*offset);
                out.put_u16(*heartbeat);
            }
            Self::Keepalive { seq }
            | Self::CumulativeAck { seq }
            | Self::RetransmitFailed { seq } => out.put_u64(*seq),
            Self::Nack { seqs } => {
                binary::put_varbyte(size(seqs.len()), out);
                for seq in seqs {
                    out.put_u64(*seq);
                }
            }
            Self::AckClone {
                offset,
                heartbeat,
                snapshot,
            } => {
                out.put_u64(*offset);
                out.put_u16(*heartbeat);
                binary::put_varbyte(size(snapshot.len()), out);
                for (key, value) in snapshot {
                    binary::encode(key, out);
                    binary::encode(value, out);
                }
            }
            Self::WantResults => {}
            Self::WriteResults { first, codes } => {
                out.put_u64(*first);
                binary::put_varbyte(size(codes.len()), out);
                out.put_slice(codes);
            }
            Self::ResultsQuery { first } => out.put_u64(*first),
            Self::Sync { id } => out.put_u64(*id),
            Self::SyncReply { id, seq } => {
                out.put_u64(*id);
                out.put_u64(*seq);
            }
        }
    }
}

/// Appends what stands before the tag.
pub(crate) fn put_header(seq: u64, sender: EntityId, receiver: EntityId, out: &mut BytesMut) {
    out.put_u64(seq);
    put_entity(sender, out);
    put_entity(receiver, out);
}

/// An ack_clone whose pairs, `count` of them, are encoded already.
pub(crate) fn encode_ack_clone(
    sender: EntityId,
    receiver: EntityId,
    offset: u64,
    heartbeat: u16,
    count: usize,
    pairs: &[u8],
) -> Bytes {
    let mut out = BytesMut::with_capacity(HEADER_LEN + 15 + pairs.len());
    put_header(offset, sender, receiver, &mut out);
    out.put_u8(12);
    out.put_u64(offset);
    out.put_u16(heartbeat);
    binary::put_varbyte(size(count), &mut out);
    out.put_slice(pairs);
    out.freeze()
}

fn put_entity(entity: EntityId, out: &mut BytesMut) {
    out.put_slice(entity.endpoint.as_bytes());
    out.put_u64(entity.object);
}

fn put_expiry(expiry: Option<Timespan>, out: &mut BytesMut) {
    match expiry {
        Some(span) => {
            out.put_u8(1);
            out.put_i64(span.as_nanos());
        }
        None => out.put_u8(0),
    }
}

fn size(len: usize) -> u32 {
    u32::try_from(len).expect("queues, snapshots and result windows are bounded far below 2^32")
}

fn value(r: &mut Reader<'_>) -> Result<Data, DecodeError> {
    binary::decode_prefix(r, DecodeRules::COMMAND)
}

fn entity(r: &mut Reader<'_>, field: &'static str) -> Result<EntityId, DecodeError> {
    let endpoint = EndpointId::from_bytes(*r.array(field)?);
    Ok(EntityId::new(endpoint, r.u64(field)?))
}

fn publisher(r: &mut Reader<'_>) -> Result<EntityId, DecodeError> {
    entity(r, "publisher")
}

fn expiry(r: &mut Reader<'_>) -> Result<Option<Timespan>, DecodeError> {
    Ok(if r.bool("expiry flag")? {
        Some(Timespan::from_nanos(r.i64("expiry")?))
    } else {
        None
    })
}

fn seqs(r: &mut Reader<'_>) -> Result<Vec<u64>, DecodeError> {
    let count = r.count(8, "number of sequence numbers")?;
    (0..count).map(|_| r.u64("sequence number")).collect()
}

fn snapshot(r: &mut Reader<'_>) -> Result<Vec<(Data, Data)>, DecodeError> {
    let count = r.count(2, "snapshot size")?;
    let mut pairs = Vec::new();
    for _ in 0..count {
        pairs.push((value(r)?, value(r)?));
    }
    let distinct: HashSet<&Data> = pairs.iter().map(|(key, _)| key).collect();
    if distinct.len() < pairs.len() {
        return Err(DecodeError::DuplicateKey);
    }
    drop(distinct);
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use broker_core::{Port, Protocol};
    use proptest::prelude::*;

    use super::*;

    const A: EndpointId =
        EndpointId::from_bytes([0, 0, 0, 0, 0, 0, 0x40, 0, 0x80, 0, 0, 0, 0, 0, 0, 1]);
    const B: EndpointId = EndpointId::from_bytes([
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x4f, 0xff, 0xbf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff,
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
        ];
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
}
