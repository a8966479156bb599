//! Batches of envelopes, written and read directly in the protobuf wire format.
//!
//! ```text
//! Frame    { batch = 4: Batch }
//! Batch    { envelopes = 1: Envelope, repeated }
//! Envelope { topic = 1, payload = 2, kind = 3, receiver = 4, origin = 5, sequence = 6, hops = 7 }
//! ```
//!
//! This is `proto/broker/v1/peering.proto` to the letter, and tests hold it against prost's generated
//! types in both directions. It is written by hand because it is the path of every message: a batch
//! is one buffer, sized before it is written; a received topic or payload is a slice of the frame it
//! came in. Cost per message: one copy out, two reference counts in, no allocation and no lock.
//!
//! **Invariant:** reading any bytes gives envelopes or [`FrameError`]; it never panics, and a frame
//! yields at most as many envelopes at a time as the caller asked for.

use std::ops::Range;

use broker_core::{EndpointId, Envelope, INITIAL_HOPS, MessageKind, Topic};
use bytes::Bytes;

use super::deframer::{PREFIX_LEN, prefix};
use super::error::FrameError;
use super::limits::BATCH_TARGET;
use super::reader::{Field, Reader};
use super::varint::{put_varint, varint_len};

/// Writes the batches of one sender.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchEncoder {
    /// Us: the origin that goes without saying.
    local: EndpointId,
}

/// The first few of some envelopes, as one frame.
#[derive(Debug)]
pub(crate) struct EncodedBatch {
    /// The gRPC message, prefix included.
    pub(crate) bytes: Bytes,
    /// How many envelopes it holds.
    pub(crate) count: usize,
}

impl BatchEncoder {
    pub(crate) const fn new(local: EndpointId) -> Self {
        Self { local }
    }

    /// Writes as many of `envelopes` as make a batch, at least one. No payload may
    /// be larger than core's `MAX_PAYLOAD`.
    pub(crate) fn encode(self, envelopes: &[Envelope]) -> EncodedBatch {
        let mut batch_len = 0;
        let mut count = 0;
        for envelope in envelopes {
            let len = entry_len(self.envelope_len(envelope));
            if count > 0 && batch_len + len > BATCH_TARGET {
                break;
            }
            batch_len += len;
            count += 1;
        }
        let len = frame_len(batch_len);
        let mut out = Vec::with_capacity(PREFIX_LEN + len);
        out.extend_from_slice(&prefix(len));
        out.push(FRAME_BATCH);
        put_varint(&mut out, batch_len as u64);
        for envelope in &envelopes[..count] {
            self.write(envelope, &mut out);
        }
        debug_assert_eq!(
            out.len(),
            PREFIX_LEN + len,
            "lengths are computed from the same fields as are written"
        );
        EncodedBatch {
            bytes: Bytes::from(out),
            count,
        }
    }

    #[inline]
    fn envelope_len(self, envelope: &Envelope) -> usize {
        let mut len =
            bytes_field_len(envelope.topic.len()) + bytes_field_len(envelope.payload.len());
        if envelope.kind != MessageKind::Data {
            len += 2;
        }
        if !envelope.receiver.is_nil() {
            len += ID_FIELD_LEN;
        }
        if self.names_origin(envelope) {
            len += ID_FIELD_LEN;
        }
        if envelope.sequence != 0 {
            len += 1 + varint_len(envelope.sequence);
        }
        if envelope.hops != INITIAL_HOPS {
            len += 1 + varint_len(u64::from(envelope.hops));
        }
        len
    }

    #[inline]
    fn write(self, envelope: &Envelope, out: &mut Vec<u8>) {
        out.push(BATCH_ENVELOPE);
        put_varint(out, self.envelope_len(envelope) as u64);
        put_bytes(out, ENVELOPE_TOPIC, envelope.topic.as_bytes());
        put_bytes(out, ENVELOPE_PAYLOAD, &envelope.payload);
        if envelope.kind != MessageKind::Data {
            out.extend_from_slice(&[ENVELOPE_KIND, envelope.kind.tag()]);
        }
        if !envelope.receiver.is_nil() {
            put_bytes(out, ENVELOPE_RECEIVER, envelope.receiver.as_bytes());
        }
        if self.names_origin(envelope) {
            put_bytes(out, ENVELOPE_ORIGIN, envelope.origin.as_bytes());
        }
        if envelope.sequence != 0 {
            out.push(ENVELOPE_SEQUENCE);
            put_varint(out, envelope.sequence);
        }
        if envelope.hops != INITIAL_HOPS {
            out.push(ENVELOPE_HOPS);
            put_varint(out, u64::from(envelope.hops));
        }
    }

    /// The origin is left out where a numbered message comes from the sender itself.
    #[inline]
    fn names_origin(self, envelope: &Envelope) -> bool {
        !envelope.origin.is_nil() && (envelope.sequence == 0 || envelope.origin != self.local)
    }
}

/// Reads the envelopes of one frame, a few at a time.
#[derive(Debug)]
pub(crate) struct BatchReader {
    reader: Reader,
    /// Where the batch that is being read ends; before the first one, and between two, where we are.
    batch_end: usize,
    /// The sender: the origin that goes without saying.
    peer: EndpointId,
}

impl BatchReader {
    /// The envelopes of `frame`, a gRPC message without its prefix, which came from `peer`.
    pub(crate) const fn new(frame: Bytes, peer: EndpointId) -> Self {
        Self {
            reader: Reader::new(frame),
            batch_end: 0,
            peer,
        }
    }

    /// Appends at most `max` envelopes; whether the frame may hold more.
    ///
    /// Envelopes of a kind this version does not know are left out, as unknown fields are.
    pub(crate) fn read(&mut self, out: &mut Vec<Envelope>, max: usize) -> Result<bool, FrameError> {
        let full = out.len().saturating_add(max);
        loop {
            while self.reader.position() < self.batch_end {
                if out.len() >= full {
                    return Ok(true);
                }
                match self.reader.field(self.batch_end, "batch")? {
                    (1, Field::Bytes(range)) => self.envelope(range, out)?,
                    (1, _) => return Err(FrameError::BadKey { within: "batch" }),
                    _ => {}
                }
            }
            let end = self.reader.len();
            if self.reader.position() >= end {
                return Ok(false);
            }
            match self.reader.field(end, "frame")? {
                (4, Field::Bytes(range)) => {
                    self.batch_end = range.end;
                    self.reader.seek(range.start);
                }
                (1..=3, _) => return Err(FrameError::LateHandshake),
                (4, _) => return Err(FrameError::BadKey { within: "frame" }),
                _ => self.batch_end = self.reader.position(),
            }
        }
    }

    #[inline]
    fn envelope(&mut self, range: Range<usize>, out: &mut Vec<Envelope>) -> Result<(), FrameError> {
        let Range { start, end } = range;
        let mut topic = 0..0;
        let mut payload = 0..0;
        let mut kind = Some(MessageKind::Data);
        let mut receiver = EndpointId::NIL;
        let mut origin = EndpointId::NIL;
        let mut sequence = 0;
        let mut hops = INITIAL_HOPS;
        self.reader.seek(start);
        while self.reader.position() < end {
            match self.reader.field(end, "envelope")? {
                (1, Field::Bytes(range)) => topic = range,
                (2, Field::Bytes(range)) => payload = range,
                (3, Field::Varint(value)) => kind = kind_of(value),
                (4, Field::Bytes(range)) => receiver = id(self.reader.peek(range), "receiver")?,
                (5, Field::Bytes(range)) => origin = id(self.reader.peek(range), "origin")?,
                (6, Field::Varint(value)) => sequence = value,
                // Protobuf takes the low 32 bits of a longer number.
                (7, Field::Varint(value)) => hops = u8::try_from(value as u32).unwrap_or(u8::MAX),
                (1..=7, _) => return Err(FrameError::BadKey { within: "envelope" }),
                _ => {}
            }
        }
        let Some(kind) = kind else {
            return Ok(());
        };
        if sequence != 0 && origin.is_nil() {
            origin = self.peer;
        }
        let len = topic.len();
        let topic =
            Topic::new(self.reader.share(topic)).map_err(|_| FrameError::LongTopic { len })?;
        let payload = self.reader.share(payload);
        out.push(Envelope {
            sender: self.peer,
            receiver,
            origin,
            sequence,
            hops,
            kind,
            topic,
            payload,
        });
        Ok(())
    }
}

const ENVELOPE_TOPIC: u8 = 1 << 3 | 2;
const ENVELOPE_PAYLOAD: u8 = 2 << 3 | 2;
const ENVELOPE_KIND: u8 = 3 << 3;
const ENVELOPE_RECEIVER: u8 = 4 << 3 | 2;
const ENVELOPE_ORIGIN: u8 = 5 << 3 | 2;
const ENVELOPE_SEQUENCE: u8 = 6 << 3;
const ENVELOPE_HOPS: u8 = 7 << 3;
const BATCH_ENVELOPE: u8 = 1 << 3 | 2;
const FRAME_BATCH: u8 = 4 << 3 | 2;
const ID_LEN: usize = 16;
const ID_FIELD_LEN: usize = 2 + ID_LEN;

/// In the schema data is 0, since that is what costs nothing; the other kinds have Broker's numbers.
const fn kind_of(value: u64) -> Option<MessageKind> {
    match value {
        0 => Some(MessageKind::Data),
        2..=5 => MessageKind::from_tag(value as u8),
        _ => None,
    }
}

fn id(bytes: &[u8], field: &'static str) -> Result<EndpointId, FrameError> {
    if bytes.is_empty() {
        return Ok(EndpointId::NIL);
    }
    bytes
        .try_into()
        .map(EndpointId::from_bytes)
        .map_err(|_| FrameError::BadId {
            field,
            len: bytes.len(),
        })
}

const fn entry_len(envelope_len: usize) -> usize {
    1 + varint_len(envelope_len as u64) + envelope_len
}

const fn frame_len(batch_len: usize) -> usize {
    1 + varint_len(batch_len as u64) + batch_len
}

#[inline]
const fn bytes_field_len(len: usize) -> usize {
    if len == 0 {
        0
    } else {
        1 + varint_len(len as u64) + len
    }
}

#[inline]
fn put_bytes(out: &mut Vec<u8>, key: u8, bytes: &[u8]) {
    if !bytes.is_empty() {
        out.push(key);
        put_varint(out, bytes.len() as u64);
        out.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use broker_core::MAX_PAYLOAD;
    use proptest::prelude::*;
    use prost::Message as _;

    use super::super::limits::MAX_FRAME;
    use super::*;
    use crate::proto;

    const LOCAL: EndpointId = EndpointId::from_bytes([1; 16]);
    const PEER: EndpointId = EndpointId::from_bytes([2; 16]);

    fn an_id() -> impl Strategy<Value = EndpointId> {
        prop_oneof![
            Just(EndpointId::NIL),
            Just(LOCAL),
            any::<[u8; 16]>().prop_map(EndpointId::from_bytes)
        ]
    }

    fn an_envelope() -> impl Strategy<Value = Envelope> {
        let kinds = prop_oneof![Just(1u8), 1u8..=5];
        let hops = prop_oneof![Just(INITIAL_HOPS), any::<u8>()];
        let bytes = || proptest::collection::vec(any::<u8>(), 0..200);
        (
            an_id(),
            an_id(),
            prop_oneof![Just(0u64), any::<u64>()],
            hops,
            kinds,
            bytes(),
            bytes(),
        )
            .prop_map(|(receiver, origin, sequence, hops, kind, topic, payload)| {
                Envelope {
                    sender: LOCAL,
                    receiver,
                    // An origin without a number, and a number without an origin, are not what core makes.
                    origin: if sequence != 0 && origin.is_nil() {
                        LOCAL
                    } else {
                        origin
                    },
                    sequence,
                    hops,
                    kind: MessageKind::from_tag(kind).expect("1 to 5"),
                    topic: Topic::new(topic).expect("short"),
                    payload: Bytes::from(payload),
                }
            })
    }

    fn encode_all(envelopes: &[Envelope]) -> Vec<Bytes> {
        let mut rest = envelopes;
        let mut frames = Vec::new();
        while !rest.is_empty() {
            let batch = BatchEncoder::new(LOCAL).encode(rest);
            rest = &rest[batch.count..];
            assert_eq!(
                batch.bytes[..PREFIX_LEN],
                prefix(batch.bytes.len() - PREFIX_LEN)
            );
            frames.push(batch.bytes.slice(PREFIX_LEN..));
        }
        frames
    }

    fn read_all(frame: Bytes, peer: EndpointId, step: usize) -> Result<Vec<Envelope>, FrameError> {
        let mut reader = BatchReader::new(frame, peer);
        let mut out = Vec::new();
        while reader.read(&mut out, step)? {}
        Ok(out)
    }

    /// What prost's generated types make of an envelope of `LOCAL`.
    fn to_proto(envelope: &Envelope) -> proto::Envelope {
        let id = |id: EndpointId| {
            if id.is_nil() {
                Bytes::new()
            } else {
                Bytes::copy_from_slice(id.as_bytes())
            }
        };
        proto::Envelope {
            topic: envelope.topic.clone().into_bytes(),
            payload: envelope.payload.clone(),
            kind: if envelope.kind == MessageKind::Data {
                0
            } else {
                envelope.kind.tag().into()
            },
            receiver: id(envelope.receiver),
            origin: if envelope.origin == LOCAL && envelope.sequence != 0 {
                Bytes::new()
            } else {
                id(envelope.origin)
            },
            sequence: envelope.sequence,
            hops: (envelope.hops != INITIAL_HOPS).then_some(envelope.hops.into()),
        }
    }

    fn batch_of(envelopes: &[Envelope]) -> proto::Frame {
        let batch = proto::Batch {
            envelopes: envelopes.iter().map(to_proto).collect(),
        };
        proto::Frame {
            content: Some(proto::frame::Content::Batch(batch)),
        }
    }

    #[test]
    fn a_plain_event_costs_its_topic_its_payload_and_eight_bytes() {
        let envelope = Envelope {
            sender: LOCAL,
            receiver: EndpointId::NIL,
            origin: LOCAL,
            sequence: 7,
            hops: INITIAL_HOPS,
            kind: MessageKind::Data,
            topic: Topic::from_static("/a"),
            payload: Bytes::from_static(&[1, 1]),
        };
        let frames = encode_all(std::slice::from_ref(&envelope));
        let expected = [
            0x22, 12, 0x0a, 10, 0x0a, 2, b'/', b'a', 0x12, 2, 1, 1, 0x30, 7,
        ];
        assert_eq!(frames[0][..], expected);
    }

    #[test]
    fn a_batch_ends_at_its_target_and_a_large_message_is_alone() {
        let of = |len: usize| {
            let payload = Bytes::from(vec![0; len]);
            Envelope::unicast(
                MessageKind::Data,
                LOCAL,
                EndpointId::NIL,
                Topic::from_static("t"),
                payload,
            )
        };
        let frames = encode_all(&[
            of(10),
            of(1 << 20),
            of(100 << 10),
            of(100 << 10),
            of(100 << 10),
        ]);
        let counts: Vec<usize> = frames
            .iter()
            .map(|frame| read_all(frame.clone(), LOCAL, 100).unwrap().len())
            .collect();
        assert_eq!(counts, [1, 1, 2, 1]);
    }

    #[test]
    fn the_largest_message_there_can_be_fits_into_a_frame() {
        let envelope = Envelope {
            sender: LOCAL,
            receiver: PEER,
            origin: PEER,
            sequence: u64::MAX,
            hops: u8::MAX,
            kind: MessageKind::Pong,
            topic: Topic::new(vec![0; Topic::MAX_LEN]).unwrap(),
            payload: Bytes::new(),
        };
        let overhead = BatchEncoder::new(LOCAL).encode(&[envelope]).bytes.len() + 3 * 5;
        assert!(MAX_PAYLOAD + overhead <= MAX_FRAME);
    }

    #[test]
    fn what_is_read_shares_the_frame() {
        let envelope = Envelope::unicast(
            MessageKind::Data,
            LOCAL,
            PEER,
            Topic::from_static("topic"),
            Bytes::from(vec![9; 1000]),
        );
        let frame = encode_all(&[envelope])[0].clone();
        let read = read_all(frame.clone(), LOCAL, 1).unwrap();
        assert!(frame.as_ptr_range().contains(&read[0].payload.as_ptr()));
        assert!(
            frame
                .as_ptr_range()
                .contains(&read[0].topic.as_bytes().as_ptr())
        );
    }

    #[test]
    fn unknown_fields_and_kinds_are_ignored() {
        let mut frame = vec![0x7a, 1, 9]; // Frame: field 15
        let envelope = [
            0x0a, 1, b'a', 0x78, 5, 0x79, 1, 2, 3, 4, 5, 6, 7, 8, 0x7d, 1, 2, 3, 4,
        ];
        let alien = [0x18, 99];
        let mut batch = vec![0x48, 1]; // Batch: field 9
        for message in [&envelope[..], &alien, &envelope] {
            batch.extend([0x0a, message.len() as u8]);
            batch.extend(message);
        }
        frame.extend([0x22, batch.len() as u8]);
        frame.extend(batch);
        let read = read_all(Bytes::from(frame), PEER, 1).unwrap();
        assert_eq!(read.len(), 2);
        assert!(
            read.iter()
                .all(|envelope| envelope.topic.as_bytes() == b"a" && envelope.sender == PEER)
        );
    }

    #[test]
    fn bad_envelopes_are_named() {
        let read = |envelope: &[u8]| {
            let mut frame = vec![0x22, envelope.len() as u8 + 2, 0x0a, envelope.len() as u8];
            frame.extend(envelope);
            read_all(Bytes::from(frame), PEER, 10).unwrap_err()
        };
        assert_eq!(
            read(&[0x22, 1, 0]),
            FrameError::BadId {
                field: "receiver",
                len: 1
            }
        );
        assert_eq!(
            read(&[0x2a, 2, 0, 0]),
            FrameError::BadId {
                field: "origin",
                len: 2
            }
        );
        assert_eq!(read(&[0x08, 1]), FrameError::BadKey { within: "envelope" });
        assert_eq!(
            read(&[0x0a, 5, 1]),
            FrameError::Truncated { field: "envelope" }
        );
        assert_eq!(
            read_all(Bytes::from_static(&[0x12, 0]), PEER, 1).unwrap_err(),
            FrameError::LateHandshake
        );
        let topic = vec![0; 70_000];
        let long = proto::Envelope {
            topic: topic.into(),
            ..Default::default()
        };
        let frame = proto::Frame {
            content: Some(proto::frame::Content::Batch(proto::Batch {
                envelopes: vec![long],
            })),
        };
        assert_eq!(
            read_all(frame.encode_to_vec().into(), PEER, 1).unwrap_err(),
            FrameError::LongTopic { len: 70_000 }
        );
    }

    #[test]
    fn a_frame_of_empty_envelopes_is_read_in_steps() {
        let frame = Bytes::from(
            batch_of(&vec![
                Envelope::unicast(
                    MessageKind::Data,
                    LOCAL,
                    EndpointId::NIL,
                    Topic::from_static(""),
                    Bytes::new()
                );
                1000
            ])
            .encode_to_vec(),
        );
        let mut reader = BatchReader::new(frame, PEER);
        let mut out = Vec::new();
        assert!(reader.read(&mut out, 10).unwrap());
        assert_eq!(out.len(), 10);
        while reader.read(&mut out, 300).unwrap() {}
        assert_eq!(out.len(), 1000);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn prost_reads_what_we_write_and_writes_the_same(envelopes in proptest::collection::vec(an_envelope(), 1..12)) {
            let frames = encode_all(&envelopes);
            prop_assert_eq!(frames.len(), 1);
            let expected = batch_of(&envelopes);
            prop_assert_eq!(&proto::Frame::decode(frames[0].clone()).unwrap(), &expected);
            prop_assert_eq!(&frames[0][..], &expected.encode_to_vec()[..]);
        }

        #[test]
        fn we_read_what_prost_writes(envelopes in proptest::collection::vec(an_envelope(), 0..12), step in 1usize..20) {
            let frame = Bytes::from(batch_of(&envelopes).encode_to_vec());
            prop_assert_eq!(read_all(frame, LOCAL, step).unwrap(), envelopes);
        }

        #[test]
        fn a_truncated_or_changed_frame_is_read_or_refused(
            envelopes in proptest::collection::vec(an_envelope(), 1..4),
            cut: prop::sample::Index,
            at: prop::sample::Index,
            byte: u8,
        ) {
            let mut bytes = batch_of(&envelopes).encode_to_vec();
            let position = at.index(bytes.len());
            bytes[position] = byte;
            bytes.truncate(cut.index(bytes.len() + 1));
            let frame = Bytes::from(bytes);
            // prost is the judge, except for the meaning of fields, which it does not know.
            let ours = read_all(frame.clone(), PEER, 2);
            if proto::Frame::decode(frame).is_err() {
                prop_assert!(ours.is_err());
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = read_all(Bytes::from(bytes), PEER, 3);
        }
    }
}
