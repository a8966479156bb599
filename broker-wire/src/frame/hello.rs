//! The frames of the handshake as protobuf messages. Off the hot path, so prost's types do the work.

use broker_core::handshake::{HandshakeError, HandshakeFrame, Hello, VersionRange};
use broker_core::{EndpointId, ErrorCode, Filter, Topic};
use bytes::Bytes;
use prost::Message as _;

use super::deframer::{PREFIX_LEN, prefix};
use super::error::FrameError;
use super::reader::{Field, Reader};
use crate::proto::{self, frame::Content};

/// Writes one frame, gRPC prefix included.
pub(crate) fn encode_handshake(frame: HandshakeFrame) -> Bytes {
    let content = match frame {
        HandshakeFrame::Hello(hello) => Content::Hello(proto::Hello {
            id: Bytes::copy_from_slice(hello.id.as_bytes()),
            name: hello.name,
            software: hello.software,
            min_version: hello.versions.min,
            max_version: hello.versions.max,
            features: hello.features,
            required_features: hello.required,
            filter: hello
                .filter
                .iter()
                .map(|prefix| prefix.clone().into_bytes())
                .collect(),
        }),
        HandshakeFrame::Accept => Content::Accept(proto::Accept {}),
        HandshakeFrame::Reject { code, reason } => Content::Reject(proto::Reject {
            code: code.number().into(),
            reason,
        }),
    };
    let frame = proto::Frame {
        content: Some(content),
    };
    let len = frame.encoded_len();
    let mut out = Vec::with_capacity(PREFIX_LEN + len);
    out.extend_from_slice(&prefix(len));
    frame.encode_raw(&mut out);
    Bytes::from(out)
}

/// Reads one frame, without prefix. `Ok(None)` is a frame that this version does not know.
pub(crate) fn decode_handshake(frame: Bytes) -> Result<Option<HandshakeFrame>, HandshakeError> {
    check_fields(frame.clone()).map_err(|error| HandshakeError::Protocol {
        reason: error.to_string(),
    })?;
    let frame = proto::Frame::decode(frame).map_err(|error| HandshakeError::Protocol {
        reason: error.to_string(),
    })?;
    Ok(match frame.content {
        None => None,
        Some(Content::Hello(hello)) => Some(HandshakeFrame::Hello(hello_from(hello)?)),
        Some(Content::Accept(proto::Accept {})) => Some(HandshakeFrame::Accept),
        Some(Content::Reject(proto::Reject { code, reason })) => {
            let code = u8::try_from(code)
                .ok()
                .and_then(ErrorCode::from_u8)
                .unwrap_or(ErrorCode::Unspecified);
            Some(HandshakeFrame::Reject {
                code,
                reason: one_line(&reason),
            })
        }
        Some(Content::Batch(_)) => {
            return Err(HandshakeError::Protocol {
                reason: "messages before the end of the handshake".to_owned(),
            });
        }
    })
}

/// Counts fields before anything is made of them: each takes a hundred bytes in memory, and may have taken two
/// in the frame.
fn check_fields(frame: Bytes) -> Result<(), FrameError> {
    let mut reader = Reader::new(frame);
    let end = reader.len();
    let mut count = 0;
    while reader.position() < end {
        let field = reader.field(end, "frame")?;
        count += 1;
        if let (1, Field::Bytes(hello)) = field {
            reader.seek(hello.start);
            while reader.position() < hello.end && count <= MAX_FIELDS {
                reader.field(hello.end, "hello")?;
                count += 1;
            }
        }
        if count > MAX_FIELDS {
            return Err(FrameError::TooManyFields { limit: MAX_FIELDS });
        }
    }
    Ok(())
}

fn hello_from(hello: proto::Hello) -> Result<Hello, HandshakeError> {
    let id = <[u8; 16]>::try_from(&hello.id[..]).map_err(|_| HandshakeError::Protocol {
        reason: format!("an endpoint ID of {} bytes, not 16", hello.id.len()),
    })?;
    let filter = hello
        .filter
        .into_iter()
        // The filter outlives the frame by far; it must not keep the frame's buffer alive.
        .map(|prefix| Topic::copy_from(&prefix))
        .collect::<Result<Filter, _>>()
        .map_err(|error| HandshakeError::Protocol {
            reason: error.to_string(),
        })?;
    Ok(Hello {
        id: EndpointId::from_bytes(id),
        name: one_line(&hello.name),
        software: one_line(&hello.software),
        versions: VersionRange {
            min: hello.min_version,
            max: hello.max_version,
        },
        features: bounded(hello.features)?,
        required: bounded(hello.required_features)?,
        filter,
    })
}

fn bounded(features: Vec<String>) -> Result<Vec<String>, HandshakeError> {
    if features.len() > MAX_FEATURES {
        return Err(HandshakeError::Protocol {
            reason: format!("{} features, more than {MAX_FEATURES}", features.len()),
        });
    }
    Ok(features.iter().map(|feature| one_line(feature)).collect())
}

/// Text of a peer as it may stand in a log: one line, of bounded length.
pub(crate) fn one_line(text: &str) -> String {
    text.chars()
        .take(MAX_TEXT)
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// As many prefixes as core lets a filter have, and the rest.
const MAX_FIELDS: usize = (64 << 10) + 1024;
const MAX_FEATURES: usize = 256;
const MAX_TEXT: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn hello() -> Hello {
        Hello {
            id: EndpointId::from_bytes([7; 16]),
            name: "worker-1".to_owned(),
            software: "broker 0.1".to_owned(),
            versions: VersionRange { min: 1, max: 3 },
            features: vec!["a".to_owned()],
            required: vec!["b".to_owned()],
            filter: [Topic::from_static("/a"), Topic::new(vec![0xff, 0]).unwrap()]
                .into_iter()
                .collect(),
        }
    }

    #[test]
    fn every_frame_of_the_handshake_reads_back() {
        let reject = HandshakeFrame::Reject {
            code: ErrorCode::PeerIncompatible,
            reason: "too old".to_owned(),
        };
        for frame in [
            HandshakeFrame::Hello(hello()),
            HandshakeFrame::Accept,
            reject,
        ] {
            let bytes = encode_handshake(frame.clone());
            assert_eq!(bytes[..PREFIX_LEN], prefix(bytes.len() - PREFIX_LEN));
            assert_eq!(decode_handshake(bytes.slice(PREFIX_LEN..)), Ok(Some(frame)));
        }
    }

    #[test]
    fn a_reason_cannot_break_a_line_of_the_log() {
        let reject = HandshakeFrame::Reject {
            code: ErrorCode::Unspecified,
            reason: "a\nb\u{1b}[31m".to_owned() + &"x".repeat(1000),
        };
        let Ok(Some(HandshakeFrame::Reject { reason, .. })) =
            decode_handshake(encode_handshake(reject).slice(PREFIX_LEN..))
        else {
            panic!("not a reject");
        };
        assert!(reason.starts_with("a\u{fffd}b\u{fffd}[31m"));
        assert_eq!(reason.chars().count(), MAX_TEXT);
    }

    #[test]
    fn an_unknown_frame_is_none_and_messages_are_too_early() {
        assert_eq!(decode_handshake(Bytes::from_static(&[0x7a, 0])), Ok(None));
        assert!(matches!(
            decode_handshake(Bytes::from_static(&[0x22, 0])),
            Err(HandshakeError::Protocol { .. })
        ));
        assert!(matches!(
            decode_handshake(Bytes::from_static(&[0x0a, 2, 0x0a, 0])),
            Err(HandshakeError::Protocol { .. })
        ));
    }

    #[test]
    fn a_hello_with_too_many_fields_is_refused_before_it_is_read() {
        let hello = |fields: usize| {
            let filter = [0x42, 0].repeat(fields);
            let id = [&[0x0a, 16][..], &[7; 16]].concat();
            let mut frame = vec![0x0a];
            prost::encoding::encode_varint((id.len() + filter.len()) as u64, &mut frame);
            frame.extend(id);
            frame.extend(filter);
            decode_handshake(Bytes::from(frame))
        };
        assert!(matches!(hello(1000), Ok(Some(HandshakeFrame::Hello(_)))));
        let Err(HandshakeError::Protocol { reason }) = hello(1_000_000) else {
            panic!("not refused");
        };
        assert!(reason.contains("more than"), "{reason}");
    }
}
