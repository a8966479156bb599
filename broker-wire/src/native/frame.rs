//! Operation frames: one envelope each (broker-wire reference, 2.1).
//!
//! ```text
//! length u32 | sender 16 | receiver 16 | type u8 | ttl u16 | topic length u16 |              | topic | payload   version 1
//! length u32 | sender 16 | receiver 16 | type u8 | ttl u16 | topic length u16 | origin 16, sequence u64 | topic | payload   version 2
//! ```
//!
//! Integers are big-endian; the length counts what follows it; the payload runs to the end of the frame. Under version 1
//! the TTL is written as 16 and not looked at, as C++ Broker does; under version 2 it is the hop limit.
//!
//! Cost per message: one copy out, two reference counts in, no allocation and no lock.
//!
//! **Invariant:** decoding any bytes gives an envelope or a [`BadFrame`]; it never panics.

use std::ops::Range;

use broker_core::{EndpointId, Envelope, INITIAL_HOPS, MessageKind, Topic};
use bytes::Bytes;

/// Bytes of the length in front of each frame.
pub(crate) const PREFIX_LEN: usize = 4;
const HEADER_LEN: usize = 37;
const ORIGIN_LEN: usize = 24;

/// Why a frame is no envelope. The connection stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadFrame {
    #[error("a frame of {len} bytes is shorter than a header")]
    Short { len: usize },
    #[error("a frame of unknown type {tag}")]
    Tag { tag: u8 },
    #[error("a topic goes beyond the end of its frame")]
    Topic,
}

/// The codec of one link.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameCodec {
    pub(crate) local: EndpointId,
    /// Whether frames carry origin and sequence: version 2.
    pub(crate) numbered: bool,
}

impl FrameCodec {
    const fn header_len(self) -> usize {
        HEADER_LEN + if self.numbered { ORIGIN_LEN } else { 0 }
    }

    /// The bytes of the whole frame.
    pub(crate) fn frame_len(self, envelope: &Envelope) -> usize {
        PREFIX_LEN + self.header_len() + envelope.topic.len() + envelope.payload.len()
    }

    /// Appends the frame of `envelope` but for its payload.
    #[inline]
    pub(crate) fn put_head(self, envelope: &Envelope, out: &mut Vec<u8>) {
        let topic = envelope.topic.as_bytes();
        let mut head = [0; PREFIX_LEN + HEADER_LEN + ORIGIN_LEN];
        // Core bounds a payload to 64 MiB, so a length fits.
        let len = self.frame_len(envelope) - PREFIX_LEN;
        head[..4].copy_from_slice(&(len as u32).to_be_bytes());
        head[4..20].copy_from_slice(self.local.as_bytes());
        head[20..36].copy_from_slice(envelope.receiver.as_bytes());
        head[36] = envelope.kind.tag();
        let hops = if self.numbered {
            envelope.hops
        } else {
            INITIAL_HOPS
        };
        head[37..39].copy_from_slice(&u16::from(hops).to_be_bytes());
        // A topic is never longer than a u16 counts.
        head[39..41].copy_from_slice(&(topic.len() as u16).to_be_bytes());
        if self.numbered {
            head[41..57].copy_from_slice(envelope.origin.as_bytes());
            head[57..].copy_from_slice(&envelope.sequence.to_be_bytes());
        }
        out.extend_from_slice(&head[..PREFIX_LEN + self.header_len()]);
        out.extend_from_slice(topic);
    }

    /// Appends the frame of `envelope`.
    #[inline]
    pub(crate) fn put(self, envelope: &Envelope, out: &mut Vec<u8>) {
        self.put_head(envelope, out);
        out.extend_from_slice(&envelope.payload);
    }

    /// Reads the frame that is `range` of `bytes`, without its length. Topic and payload are slices of it.
    #[inline]
    pub(crate) fn read(self, bytes: &Bytes, range: Range<usize>) -> Result<Envelope, BadFrame> {
        let (start, end) = (range.start, range.end);
        let frame = bytes.get(range).unwrap_or_default();
        let header_len = self.header_len();
        let Some(head) = frame.get(..header_len) else {
            return Err(BadFrame::Short { len: frame.len() });
        };
        let kind = MessageKind::from_tag(head[32]).ok_or(BadFrame::Tag { tag: head[32] })?;
        let topic_end = header_len + usize::from(u16::from_be_bytes([head[35], head[36]]));
        if topic_end > frame.len() {
            return Err(BadFrame::Topic);
        }
        let (mut origin, mut sequence, mut hops) = (EndpointId::NIL, 0, INITIAL_HOPS);
        if self.numbered {
            origin = id(&head[37..53]);
            let mut number = [0; 8];
            number.copy_from_slice(&head[53..61]);
            sequence = u64::from_be_bytes(number);
            hops = u8::try_from(u16::from_be_bytes([head[33], head[34]])).unwrap_or(u8::MAX);
        }
        let (sender, receiver) = (id(&head[..16]), id(&head[16..32]));
        let topic = Topic::new(bytes.slice(start + header_len..start + topic_end))
            .map_err(|_| BadFrame::Topic)?;
        Ok(Envelope {
            sender,
            receiver,
            origin,
            sequence,
            hops,
            kind,
            topic,
            payload: bytes.slice(start + topic_end..end),
        })
    }
}

/// An ID from exactly 16 bytes.
fn id(bytes: &[u8]) -> EndpointId {
    let mut id = [0; 16];
    id.copy_from_slice(bytes);
    EndpointId::from_bytes(id)
}

#[cfg(test)]
mod tests {
    use broker_core::{Data, Filter, binary};
    use proptest::prelude::*;

    use super::*;

    const A: EndpointId =
        EndpointId::from_bytes([0, 0, 0, 0, 0, 0, 0x40, 0, 0x80, 0, 0, 0, 0, 0, 0, 1]);
    const B: EndpointId = EndpointId::from_bytes([
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x4f, 0xff, 0xbf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff,
    ]);

    fn read(codec: FrameCodec, frame: Bytes) -> Result<Envelope, BadFrame> {
        codec.read(&frame, 0..frame.len())
    }

    fn codec(local: EndpointId, numbered: bool) -> FrameCodec {
        FrameCodec { local, numbered }
    }

    /// Every row of the broker-wire reference, 13.3, but the command, which is broker-store's.
    #[test]
    fn the_worked_examples_of_operation_frames() {
        let nobody = [0; 16];
        let hello = binary::to_bytes(&Data::from("hello"));
        let filter =
            Filter::from_iter([Topic::from_static("/foo"), Topic::from_static("/test")]).to_bytes();
        type Row<'a> = (
            &'a [u8],
            EndpointId,
            &'a [u8; 16],
            MessageKind,
            &'static str,
            &'a [u8],
        );
        let rows: [Row<'_>; 4] = [
            (b"\0\0\0\x30", A, &nobody, MessageKind::Data, "/foo", &hello),
            (
                b"\0\0\0\x34",
                A,
                B.as_bytes(),
                MessageKind::RoutingUpdate,
                "<$>",
                &filter,
            ),
            (
                b"\0\0\0\x2b",
                A,
                B.as_bytes(),
                MessageKind::Ping,
                "<$>",
                b"foo",
            ),
            (
                b"\0\0\0\x2b",
                B,
                A.as_bytes(),
                MessageKind::Pong,
                "<$>",
                b"foo",
            ),
        ];
        for (len, sender, receiver, kind, topic, payload) in rows {
            let expected = [
                len,
                sender.as_bytes(),
                receiver,
                &[kind.tag(), 0, 16, 0, topic.len() as u8],
                topic.as_bytes(),
                payload,
            ]
            .concat();
            let envelope = Envelope::unicast(
                kind,
                sender,
                EndpointId::from_bytes(*receiver),
                Topic::from_static(topic),
                Bytes::copy_from_slice(payload),
            );
            let mut out = Vec::new();
            codec(sender, false).put(&envelope, &mut out);
            assert_eq!(out, expected);
            assert_eq!(
                read(codec(B, false), Bytes::from(expected).slice(4..)),
                Ok(envelope)
            );
        }
        assert_eq!(
            hex(&filter),
            "02042f666f6f052f74657374",
            "the payload of the routing update"
        );
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn what_is_no_frame_says_why() {
        let read = |bytes: &[u8]| read(codec(A, false), Bytes::copy_from_slice(bytes));
        assert_eq!(read(&[1; 36]), Err(BadFrame::Short { len: 36 }));
        let mut frame = [0; 40];
        for tag in [0, 6, 255] {
            frame[32] = tag;
            assert_eq!(read(&frame), Err(BadFrame::Tag { tag }));
        }
        frame[32] = 1;
        frame[36] = 4;
        assert_eq!(read(&frame), Err(BadFrame::Topic));
        frame[36] = 3;
        assert!(read(&frame).is_ok());
    }

    #[test]
    fn the_ttl_of_version_1_is_always_16_and_never_heeded() {
        let mut envelope = Envelope::unicast(
            MessageKind::Data,
            A,
            EndpointId::NIL,
            Topic::default(),
            Bytes::new(),
        );
        envelope.hops = 3;
        let mut out = Vec::new();
        codec(A, false).put(&envelope, &mut out);
        assert_eq!(out[37..39], [0, 16]);
        out[38] = 0;
        assert_eq!(
            read(codec(A, false), Bytes::from(out).slice(4..))
                .expect("a frame")
                .hops,
            INITIAL_HOPS
        );
        let mut out = Vec::new();
        codec(A, true).put(&envelope, &mut out);
        assert_eq!(
            read(codec(A, true), Bytes::from(out).slice(4..))
                .expect("a frame")
                .hops,
            3
        );
    }

    fn an_envelope() -> impl Strategy<Value = Envelope> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..100);
        (
            any::<[[u8; 16]; 3]>(),
            any::<u64>(),
            any::<u8>(),
            1u8..=5,
            bytes(),
            bytes(),
        )
            .prop_map(|(ids, sequence, hops, kind, topic, payload)| Envelope {
                sender: EndpointId::from_bytes(ids[0]),
                receiver: EndpointId::from_bytes(ids[1]),
                origin: EndpointId::from_bytes(ids[2]),
                sequence,
                hops,
                kind: MessageKind::from_tag(kind).expect("a kind"),
                topic: Topic::new(topic).expect("short"),
                payload: Bytes::from(payload),
            })
    }

    proptest! {
        #[test]
        fn version_2_carries_every_field(envelope in an_envelope()) {
            let codec = codec(envelope.sender, true);
            let mut out = Vec::new();
            codec.put(&envelope, &mut out);
            prop_assert_eq!(out.len(), codec.frame_len(&envelope));
            prop_assert_eq!(read(codec, Bytes::from(out).slice(4..)), Ok(envelope));
        }

        #[test]
        fn every_prefix_of_a_frame_is_an_envelope_or_an_error(envelope in an_envelope(), numbered: bool) {
            let codec = codec(A, numbered);
            let mut out = Vec::new();
            codec.put(&envelope, &mut out);
            let frame = Bytes::from(out).slice(4..);
            for end in 0..frame.len() {
                let _ = read(codec, frame.slice(..end));
            }
        }

        #[test]
        fn any_bytes_are_an_envelope_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200), numbered: bool) {
            let _ = read(codec(A, numbered), Bytes::from(bytes));
        }
    }
}
