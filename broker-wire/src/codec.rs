//! The codec of the services: prost's, behind a screen.
//!
//! Two bytes on the wire can make a hundred bytes in memory, so a limit on bytes alone would let a client
//! make a node allocate many times what it sends. So what comes in is walked once before prost makes
//! anything of it, and refused if it has too many fields or is nested too deeply. The walk looks at
//! structure only: strings and encoded values are skipped, whatever their length.
//!
//! **Invariant:** what passes has at most [`MAX_FIELDS`] fields.

use std::marker::PhantomData;

use bytes::{Buf, Bytes};
use prost::Message;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder};
use tonic_prost::ProstEncoder;

use crate::frame::FrameError;
use crate::frame::reader::{Field, Reader};
use crate::proto;

/// How many fields one gRPC message of a service may have, those of the messages in it included. A typed value
/// takes two or three for each element; what is larger is to be sent encoded.
pub const MAX_FIELDS: usize = 1 << 20;

/// How deep messages may be nested, as prost has it.
const MAX_DEPTH: usize = 100;

/// Which fields of a message are messages themselves, and what they are.
#[derive(Debug)]
pub struct Schema(&'static [(u32, &'static Self)]);

/// A protobuf message whose structure is known.
pub trait Screened: Message + Default + 'static {
    /// Its structure.
    const SCHEMA: &'static Schema;
}

static LEAF: Schema = Schema(&[]);
static VALUE: Schema = Schema(&[
    (1, &LEAF),
    (8, &LEAF),
    (9, &LEAF),
    (13, &VALUES),
    (14, &TABLE),
    (15, &VALUES),
]);
static VALUES: Schema = Schema(&[(1, &VALUE)]);
static TABLE: Schema = Schema(&[(1, &TABLE_ENTRY)]);
static TABLE_ENTRY: Schema = Schema(&[(1, &VALUE), (2, &VALUE)]);
static MESSAGE: Schema = Schema(&[(2, &VALUE)]);
static MESSAGES: Schema = Schema(&[(1, &MESSAGE)]);
static FRAME: Schema = Schema(&[(1, &LEAF), (2, &LEAF), (3, &LEAF), (4, &BATCH)]);
static BATCH: Schema = Schema(&[(1, &LEAF)]);
static SUBSCRIBE_REPLY: Schema = Schema(&[(1, &LEAF), (2, &MESSAGES)]);
static ATTACH: Schema = Schema(&[(1, &LEAF), (2, &MESSAGES)]);
static KEY: Schema = Schema(&[(2, &VALUE)]);
static PUT: Schema = Schema(&[(2, &VALUE), (3, &VALUE)]);
static INDEX: Schema = Schema(&[(2, &VALUE), (3, &VALUE), (4, &VALUE)]);
static SCAN_REPLY: Schema = Schema(&[(1, &TABLE_ENTRY)]);
static CHANGE: Schema = Schema(&[(1, &VALUE), (2, &VALUE), (3, &VALUE)]);
static WATCH_REPLY: Schema = Schema(&[
    (1, &LEAF),
    (2, &CHANGE),
    (3, &CHANGE),
    (4, &CHANGE),
    (5, &CHANGE),
    (7, &LEAF),
    (8, &LEAF),
    (9, &TABLE_ENTRY),
]);
static COMPARE: Schema = Schema(&[(2, &VALUE), (3, &VALUE), (4, &VALUE)]);
static WATCH: Schema = Schema(&[(3, &VALUE), (4, &VALUE)]);
static LOAD: Schema = Schema(&[(3, &TABLE_ENTRY), (4, &VALUE)]);
static VERIFY_REPLY: Schema = Schema(&[(4, &COPY)]);
static COPY: Schema = Schema(&[(5, &DIFFERENCE)]);
static DIFFERENCE: Schema = Schema(&[(1, &VALUE)]);

macro_rules! screened {
    ($($message:ident: $schema:ident,)*) => {
        $(impl Screened for proto::$message {
            const SCHEMA: &'static Schema = &$schema;
        })*
    };
}

screened! {
    Frame: FRAME,
    PublishRequest: MESSAGES,
    PublishReply: LEAF,
    SubscribeRequest: LEAF,
    SubscribeReply: SUBSCRIBE_REPLY,
    AttachRequest: ATTACH,
    StatusRequest: LEAF,
    StatusReply: LEAF,
    ListRequest: LEAF,
    ListReply: LEAF,
    StoreRequest: LEAF,
    KeyRequest: KEY,
    PutRequest: PUT,
    IndexRequest: INDEX,
    ValueReply: VALUES,
    WriteReply: LEAF,
    ScanRequest: KEY,
    ScanReply: SCAN_REPLY,
    WatchRequest: WATCH,
    WatchReply: WATCH_REPLY,
    CompareRequest: COMPARE,
    VerifyReply: VERIFY_REPLY,
    BackupReply: LEAF,
    LoadRequest: LOAD,
    LoadReply: LEAF,
}

/// Checks `message`, which is to be decoded as what `schema` says.
pub(crate) fn screen(message: Bytes, schema: &'static Schema) -> Result<(), FrameError> {
    let mut reader = Reader::new(message);
    let end = reader.len();
    let mut left = MAX_FIELDS;
    walk(&mut reader, end, schema, MAX_DEPTH, &mut left)
}

fn walk(
    reader: &mut Reader,
    end: usize,
    schema: &'static Schema,
    depth: usize,
    left: &mut usize,
) -> Result<(), FrameError> {
    if depth == 0 {
        return Err(FrameError::TooDeep { limit: MAX_DEPTH });
    }
    while reader.position() < end {
        *left = left
            .checked_sub(1)
            .ok_or(FrameError::TooManyFields { limit: MAX_FIELDS })?;
        let (number, field) = reader.field(end, "message")?;
        if let Field::Bytes(range) = field
            && let Some((_, inner)) = schema.0.iter().find(|(inner, _)| *inner == number)
        {
            reader.seek(range.start);
            walk(reader, range.end, inner, depth - 1, left)?;
        }
    }
    Ok(())
}

/// What the generated code calls: prost's codec, behind the screen.
#[derive(Debug)]
pub struct ScreenedCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for ScreenedCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for ScreenedCodec<T, U>
where
    T: Message + Send + 'static,
    U: Screened + Send,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = ScreenedDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        ScreenedDecoder(PhantomData)
    }
}

/// See [`ScreenedCodec`].
#[derive(Debug)]
pub struct ScreenedDecoder<U>(PhantomData<U>);

impl<U: Screened> Decoder for ScreenedDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        // Shared, not copied; and what becomes part of the message shares it again.
        let message = buffer.copy_to_bytes(buffer.remaining());
        screen(message.clone(), U::SCHEMA)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        U::decode(message)
            .map(Some)
            .map_err(|error| Status::invalid_argument(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use broker_core::Data;
    use proptest::prelude::*;

    use super::*;
    use crate::convert::value_to_proto;

    fn publish(value: proto::Value) -> Bytes {
        let message = proto::Message {
            topic: Bytes::from_static(b"/x"),
            value: Some(value),
        };
        proto::PublishRequest {
            messages: vec![message; 3],
        }
        .encode_to_vec()
        .into()
    }

    #[test]
    fn many_empty_messages_are_refused_before_they_are_made() {
        let bytes = Bytes::from([0x0a, 0].repeat(MAX_FIELDS + 1));
        assert_eq!(
            screen(bytes.clone(), proto::PublishRequest::SCHEMA),
            Err(FrameError::TooManyFields { limit: MAX_FIELDS })
        );
        assert_eq!(
            screen(bytes.slice(2..), proto::PublishRequest::SCHEMA),
            Ok(())
        );
        // The same bytes in a string are no fields.
        let encoded = proto::Value {
            kind: Some(proto::value::Kind::String(bytes)),
        };
        assert_eq!(
            screen(publish(encoded), proto::PublishRequest::SCHEMA),
            Ok(())
        );
    }

    #[test]
    fn elements_of_typed_values_are_counted_wherever_they_are() {
        let vector = |len: usize| Data::vector(std::iter::repeat_n(1u64, len));
        let put = |value: &Data| proto::PutRequest {
            value: Some(value_to_proto(value, false)),
            ..Default::default()
        };
        let screened =
            |value: &Data| screen(put(value).encode_to_vec().into(), proto::PutRequest::SCHEMA);
        assert_eq!(screened(&vector(MAX_FIELDS / 2 - 10)), Ok(()));
        assert!(screened(&vector(MAX_FIELDS / 2 + 10)).is_err());
        let nested = Data::vector([Data::Table(
            [("k", vector(MAX_FIELDS / 2))].into_iter().collect(),
        )]);
        assert!(screened(&nested).is_err());
    }

    #[test]
    fn what_is_nested_too_deeply_is_refused_without_recursing_further() {
        // Each layer is a vector in a value: key and length of both.
        let mut bytes = Vec::new();
        for _ in 0..20_000 {
            let mut outer = vec![0x0a];
            prost::encoding::encode_varint(bytes.len() as u64, &mut outer);
            outer.append(&mut bytes);
            let mut value = vec![0x7a];
            prost::encoding::encode_varint(outer.len() as u64, &mut value);
            value.append(&mut outer);
            bytes = value;
            if bytes.len() > 2000 {
                break;
            }
        }
        assert_eq!(
            screen(bytes.into(), &VALUE),
            Err(FrameError::TooDeep { limit: MAX_DEPTH })
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn any_bytes_are_let_through_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            // What prost takes, the screen takes, except for the one kind of field we do not know: groups.
            let taken = proto::AttachRequest::decode(&bytes[..]).is_ok();
            let screened = screen(bytes.clone().into(), proto::AttachRequest::SCHEMA);
            let has_group = matches!(screened, Err(FrameError::BadKey { .. }));
            prop_assert!(screened.is_ok() || !taken || has_group);
        }
    }
}
