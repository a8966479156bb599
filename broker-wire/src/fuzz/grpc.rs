//! `grpc://`: frames, the handshake, the messages of the services.

use broker_core::EndpointId;
use bytes::{Bytes, BytesMut};
use prost::Message as _;

use crate::codec::{Screened, screen};
use crate::frame::batch::{BatchEncoder, BatchReader};
use crate::frame::deframer::{Deframer, PREFIX_LEN};
use crate::frame::hello::{decode_handshake, encode_handshake};
use crate::proto;

const PEER: EndpointId = EndpointId::from_bytes([7; 16]);

/// A frame of envelopes: read in steps of any size it is the same, and so it is when written and read again. prost
/// reads what we read.
pub fn frame(bytes: &[u8]) {
    let frame = Bytes::copy_from_slice(bytes);
    let read = |step: usize| {
        let mut reader = BatchReader::new(frame.clone(), PEER);
        let mut out = Vec::new();
        loop {
            let before = out.len();
            match reader.read(&mut out, step) {
                Ok(true) => assert!(out.len() - before <= step),
                Ok(false) => return Ok(out),
                Err(error) => return Err(error),
            }
        }
    };
    let all = read(usize::MAX);
    assert_eq!(read(1), all);
    assert_eq!(read(3), all);
    let Ok(envelopes) = all else { return };
    assert!(
        proto::Frame::decode(frame.clone()).is_ok(),
        "prost refuses it"
    );
    let encoder = BatchEncoder::new(PEER);
    let mut again = Vec::new();
    while again.len() < envelopes.len() {
        let batch = encoder.encode(&envelopes[again.len()..]);
        assert!(batch.count > 0);
        let mut reader = BatchReader::new(batch.bytes.slice(PREFIX_LEN..), PEER);
        let before = again.len();
        while reader.read(&mut again, 7).expect("our own writing") {}
        assert_eq!(again.len() - before, batch.count);
    }
    assert_eq!(again, envelopes);
}

/// A stream in chunks, of which the first byte tells the length: the messages do not depend on where it is cut.
pub fn frame_stream(bytes: &[u8]) {
    let Some((&chunk, stream)) = bytes.split_first() else {
        return;
    };
    let messages = |chunk: usize| {
        let mut deframer = Deframer::new(1000);
        let mut messages = Vec::new();
        for chunk in stream.chunks(chunk.max(1)) {
            deframer.push(Bytes::copy_from_slice(chunk));
            loop {
                match deframer.next() {
                    Ok(Some(message)) => messages.push(message),
                    Ok(None) => break,
                    Err(error) => return (messages, Err(error)),
                }
            }
        }
        let end = deframer.finish();
        (messages, end)
    };
    assert_eq!(messages(chunk.into()), messages(stream.len()));
}

/// A frame of the handshake: the same when written and read again.
pub fn hello(bytes: &[u8]) {
    if let Ok(Some(frame)) = decode_handshake(Bytes::copy_from_slice(bytes)) {
        let written = encode_handshake(frame.clone());
        let again = decode_handshake(written.slice(PREFIX_LEN..));
        assert_eq!(again.ok(), Some(Some(frame)));
    }
}

/// A message of the services, of the kind that the first byte says: what passes the screen and is read is the same when
/// written and read again.
pub fn service(bytes: &[u8]) {
    let Some((&kind, message)) = bytes.split_first() else {
        return;
    };
    let message = Bytes::copy_from_slice(message);
    match kind % 11 {
        0 => screened::<proto::Frame>(message),
        1 => screened::<proto::PublishRequest>(message),
        2 => screened::<proto::SubscribeRequest>(message),
        3 => screened::<proto::SubscribeReply>(message),
        4 => screened::<proto::AttachRequest>(message),
        5 => screened::<proto::StatusReply>(message),
        6 => screened::<proto::PutRequest>(message),
        7 => screened::<proto::IndexRequest>(message),
        8 => screened::<proto::ScanReply>(message),
        9 => screened::<proto::WatchReply>(message),
        _ => value(message),
    }
}

fn screened<T: Screened + PartialEq>(message: Bytes) {
    if screen(message.clone(), T::SCHEMA).is_err() {
        return;
    }
    let Ok(read) = T::decode(message) else { return };
    let mut written = BytesMut::new();
    read.encode(&mut written).expect("there is room");
    let again = T::decode(written.clone().freeze()).expect("our own writing");
    let mut twice = BytesMut::new();
    again.encode(&mut twice).expect("there is room");
    // Compared as bytes, since NaN is not equal to itself; sorted, since maps have no order.
    let sorted = |bytes: BytesMut| {
        let mut bytes = bytes.to_vec();
        bytes.sort_unstable();
        bytes
    };
    assert_eq!(sorted(twice), sorted(written));
}

/// A typed value: the same in its encoded form and back.
fn value(message: Bytes) {
    if screen(message.clone(), proto::ValueReply::SCHEMA).is_err() {
        return;
    }
    let Ok(reply) = proto::ValueReply::decode(message) else {
        return;
    };
    let encoded = crate::convert::value_to_encoded(reply.value.clone());
    let read = crate::value_from_proto(reply.value);
    match (&read, encoded) {
        (Ok(data), Ok(encoded)) => {
            if let Ok(again) = broker_core::Data::decode(&encoded) {
                assert_eq!(again.to_bytes(), data.to_bytes());
            }
        }
        (Ok(data), Err(error)) => panic!("{data:?}: {error}"),
        // Taken apart only where it is read.
        (Err(_), _) => {}
    }
    if let Ok(data) = read {
        let typed = crate::value_to_proto(&data, false);
        if let Ok(again) = crate::value_from_proto(Some(typed)) {
            assert_eq!(again.to_bytes(), data.to_bytes());
        }
    }
}
