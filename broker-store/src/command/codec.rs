//! The bytes of commands.

use std::collections::HashSet;

use broker_core::binary::{self, DecodeRules, Reader};
use broker_core::{Data, DataKind, DecodeError, EndpointId, EntityId, Timespan};
use bytes::{BufMut, Bytes, BytesMut};

use super::ours::{self, Answer, Question, Verdict};
use super::{Command, CommandError, Content, HEADER_LEN};

/// The tag of a put.
const PUT: u8 = 0;

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
            PUT => Self::Put {
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
            133 => Self::Offer {
                incarnation: r.u64("incarnation")?,
                history: r.u64("history")?,
                revision: r.u64("revision")?,
                seq: r.u64("sequence number")?,
                oldest: r.u64("sequence number")?,
                entries: r.u64("number of entries")?,
                heartbeat: r.u16("heartbeat interval")?,
            },
            134 => Self::Follow {
                incarnation: r.u64("incarnation")?,
                from: r.u64("sequence number")?,
                former: r.u64("object")?,
            },
            135 => Self::Following {
                incarnation: r.u64("incarnation")?,
                seq: r.u64("sequence number")?,
                revision: r.u64("revision")?,
            },
            136 => Self::Pull {
                id: r.u64("pull number")?,
                after: optional_value(r)?,
                bytes: r.u32("page size")?,
            },
            137 => Self::Page {
                id: r.u64("pull number")?,
                seq: r.u64("sequence number")?,
                last: r.bool("last page")?,
                entries: ours::entries(r)?,
            },
            138 => Self::CompareAndSet {
                key: value(r)?,
                expected: optional_value(r)?,
                value: optional_value(r)?,
                expiry: expiry(r)?,
                publisher: publisher(r)?,
            },
            139 => Self::Stranger,
            140 => Self::Leave,
            141 => Self::Query {
                id: r.u64("query number")?,
                question: Question::decode(r)?,
            },
            142 => Self::Answer {
                id: r.u64("query number")?,
                answer: Answer::decode(r)?,
            },
            143 => Self::Check {
                id: r.u64("check number")?,
                seq: r.u64("sequence number")?,
                after: optional_value(r)?,
                last: r.bool("last page")?,
                until: optional_value(r)?,
                digest: ours::digest(r)?,
            },
            144 => Self::Checked {
                id: r.u64("check number")?,
                verdict: Verdict::decode(r)?,
            },
            145 => Self::Skipped {
                first: r.u64("sequence number")?,
                last: r.u64("sequence number")?,
            },
            other => return Err(CommandError::UnknownCommand(other)),
        })
    }

    /// The tag of the command.
    #[must_use]
    pub const fn tag(&self) -> u8 {
        match self {
            Self::Put { .. } => PUT,
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
            Self::Offer { .. } => 133,
            Self::Follow { .. } => 134,
            Self::Following { .. } => 135,
            Self::Pull { .. } => 136,
            Self::Page { .. } => 137,
            Self::CompareAndSet { .. } => 138,
            Self::Stranger => 139,
            Self::Leave => 140,
            Self::Query { .. } => 141,
            Self::Answer { .. } => 142,
            Self::Check { .. } => 143,
            Self::Checked { .. } => 144,
            Self::Skipped { .. } => 145,
        }
    }

    /// Appends tag and body to `out`.
    pub fn encode(&self, out: &mut BytesMut) {
        if let Self::Put {
            key,
            value,
            expiry,
            publisher,
        } = self
        {
            return put_body(key, value, *expiry, *publisher, out);
        }
        out.put_u8(self.tag());
        match self {
            // Above.
            Self::Put { .. } => {}
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
            Self::WantResults | Self::Stranger | Self::Leave => {}
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
            Self::Offer {
                incarnation,
                history,
                revision,
                seq,
                oldest,
                entries,
                heartbeat,
            } => {
                for number in [incarnation, history, revision, seq, oldest, entries] {
                    out.put_u64(*number);
                }
                out.put_u16(*heartbeat);
            }
            Self::Follow {
                incarnation: a,
                from: b,
                former: c,
            }
            | Self::Following {
                incarnation: a,
                seq: b,
                revision: c,
            } => [a, b, c]
                .into_iter()
                .for_each(|number| out.put_u64(*number)),
            Self::Pull { id, after, bytes } => {
                out.put_u64(*id);
                put_optional_value(after.as_ref(), out);
                out.put_u32(*bytes);
            }
            Self::Page {
                id,
                seq,
                last,
                entries,
            } => {
                out.put_u64(*id);
                out.put_u64(*seq);
                out.put_u8(u8::from(*last));
                ours::put_entries(entries, out);
            }
            Self::CompareAndSet {
                key,
                expected,
                value,
                expiry,
                publisher,
            } => {
                binary::encode(key, out);
                put_optional_value(expected.as_ref(), out);
                put_optional_value(value.as_ref(), out);
                put_expiry(*expiry, out);
                put_entity(*publisher, out);
            }
            Self::Query { id, question } => {
                out.put_u64(*id);
                question.encode(out);
            }
            Self::Answer { id, answer } => {
                out.put_u64(*id);
                answer.encode(out);
            }
            Self::Check {
                id,
                seq,
                after,
                last,
                until,
                digest,
            } => {
                out.put_u64(*id);
                out.put_u64(*seq);
                put_optional_value(after.as_ref(), out);
                out.put_u8(u8::from(*last));
                put_optional_value(until.as_ref(), out);
                out.put_slice(&digest.to_bytes());
            }
            Self::Skipped { first, last } => {
                out.put_u64(*first);
                out.put_u64(*last);
            }
            Self::Checked { id, verdict } => {
                out.put_u64(*id);
                verdict.encode(out);
            }
        }
    }
}

/// Appends tag and body of a put.
pub(crate) fn put_body(
    key: &Data,
    value: &Data,
    expiry: Option<Timespan>,
    publisher: EntityId,
    out: &mut BytesMut,
) {
    out.put_u8(PUT);
    binary::encode(key, out);
    binary::encode(value, out);
    put_expiry(expiry, out);
    put_entity(publisher, out);
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

pub(super) fn put_entity(entity: EntityId, out: &mut BytesMut) {
    out.put_slice(entity.endpoint.as_bytes());
    out.put_u64(entity.object);
}

pub(super) fn put_expiry(expiry: Option<Timespan>, out: &mut BytesMut) {
    match expiry {
        Some(span) => {
            out.put_u8(1);
            out.put_i64(span.as_nanos());
        }
        None => out.put_u8(0),
    }
}

pub(super) fn size(len: usize) -> u32 {
    u32::try_from(len).expect("queues, snapshots and result windows are bounded far below 2^32")
}

pub(super) fn value(r: &mut Reader<'_>) -> Result<Data, DecodeError> {
    binary::decode_prefix(r, DecodeRules::COMMAND)
}

fn entity(r: &mut Reader<'_>, field: &'static str) -> Result<EntityId, DecodeError> {
    let endpoint = EndpointId::from_bytes(*r.array(field)?);
    Ok(EntityId::new(endpoint, r.u64(field)?))
}

fn publisher(r: &mut Reader<'_>) -> Result<EntityId, DecodeError> {
    entity(r, "publisher")
}

pub(super) fn expiry(r: &mut Reader<'_>) -> Result<Option<Timespan>, DecodeError> {
    Ok(if r.bool("expiry flag")? {
        Some(Timespan::from_nanos(r.i64("expiry")?))
    } else {
        None
    })
}

pub(super) fn optional_value(r: &mut Reader<'_>) -> Result<Option<Data>, DecodeError> {
    r.bool("value flag")?.then(|| value(r)).transpose()
}

pub(super) fn put_optional_value(data: Option<&Data>, out: &mut BytesMut) {
    out.put_u8(u8::from(data.is_some()));
    if let Some(data) = data {
        binary::encode(data, out);
    }
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
