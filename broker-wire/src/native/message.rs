//! The messages of the handshake, as bytes (broker-wire reference, 1.3).
//!
//! ```text
//! probe               07 magic
//! hello               06 magic, sender 16, min version u8, max version u8
//! version_select      08 magic, sender 16, version u8
//! drop_conn           09 magic, sender 16, code u8, description string
//! originator_syn      0a topic list [, introduction]
//! responder_syn_ack   0b topic list [, introduction]
//! originator_ack      0c
//! ```
//!
//! Each is the payload of one frame. What follows the last field is ignored, as C++ Broker does; under version 2
//! the two with a filter are followed by an introduction, which says what `Hello` says on our other links:
//!
//! ```text
//! name string, software string, offered features (topic list), required features (topic list)
//! ```
//!
//! **Invariant:** decoding any bytes gives a message or a [`BadMessage`], and allocates no more than the bytes hold.

use broker_core::binary::{Reader, put_string, put_varbyte};
use broker_core::{EndpointId, ErrorCode, Filter, FilterLimits};

/// "ZEEK".
const MAGIC: u32 = 0x5A45_454B;

/// One message of the handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HandshakeMessage {
    Probe,
    Hello {
        sender: EndpointId,
        min: u8,
        max: u8,
    },
    VersionSelect {
        sender: EndpointId,
        version: u8,
    },
    DropConn {
        sender: EndpointId,
        code: ErrorCode,
        description: String,
    },
    OriginatorSyn {
        filter: Filter,
        introduction: Option<Introduction>,
    },
    ResponderSynAck {
        filter: Filter,
        introduction: Option<Introduction>,
    },
    OriginatorAck,
}

/// What our own nodes tell each other about themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Introduction {
    pub(crate) name: String,
    pub(crate) software: String,
    pub(crate) features: Vec<String>,
    pub(crate) required: Vec<String>,
}

/// Why bytes are no message of the handshake, in the words C++ Broker has for it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadMessage {
    #[error("invalid message type tag")]
    Tag,
    #[error("wrong magic number")]
    Magic,
    #[error("failed to parse {0}")]
    Truncated(&'static str),
    /// The drop_conn of a peer with a code there is not.
    #[error("{description}")]
    UnknownCode {
        sender: EndpointId,
        description: String,
    },
}

impl BadMessage {
    /// The code for the drop_conn that answers it.
    pub(crate) const fn code(&self) -> ErrorCode {
        match self {
            Self::Tag | Self::Truncated(_) => ErrorCode::InvalidMessage,
            Self::Magic => ErrorCode::WrongMagicNumber,
            Self::UnknownCode { .. } => ErrorCode::Unspecified,
        }
    }
}

impl HandshakeMessage {
    /// The name C++ Broker has for it.
    pub(crate) const fn name(&self) -> &'static str {
        name_of(self.tag())
    }

    const fn tag(&self) -> u8 {
        match self {
            Self::Hello { .. } => HELLO,
            Self::Probe => PROBE,
            Self::VersionSelect { .. } => VERSION_SELECT,
            Self::DropConn { .. } => DROP_CONN,
            Self::OriginatorSyn { .. } => ORIGINATOR_SYN,
            Self::ResponderSynAck { .. } => RESPONDER_SYN_ACK,
            Self::OriginatorAck => ORIGINATOR_ACK,
        }
    }

    /// The whole frame, length prefix included.
    pub(crate) fn to_frame(&self) -> Vec<u8> {
        let mut out = vec![0, 0, 0, 0, self.tag()];
        match self {
            Self::Probe => out.extend(MAGIC.to_be_bytes()),
            Self::Hello { sender, min, max } => {
                put_head(*sender, &mut out);
                out.extend([*min, *max]);
            }
            Self::VersionSelect { sender, version } => {
                put_head(*sender, &mut out);
                out.push(*version);
            }
            Self::DropConn {
                sender,
                code,
                description,
            } => {
                put_head(*sender, &mut out);
                out.push(*code as u8);
                put_string(description.as_bytes(), &mut out);
            }
            Self::OriginatorSyn {
                filter,
                introduction,
            }
            | Self::ResponderSynAck {
                filter,
                introduction,
            } => {
                filter.encode(&mut out);
                if let Some(introduction) = introduction {
                    introduction.encode(&mut out);
                }
            }
            Self::OriginatorAck => {}
        }
        // What makes a message long is a filter, which is bounded to a few megabytes.
        let len = u32::try_from(out.len() - 4).unwrap_or(u32::MAX);
        out[..4].copy_from_slice(&len.to_be_bytes());
        out
    }

    /// Reads the payload of one frame.
    pub(crate) fn decode(payload: &[u8]) -> Result<Self, BadMessage> {
        let mut reader = Reader::new(payload);
        let tag = reader.u8("tag").map_err(|_| BadMessage::Tag)?;
        let cut = |_| BadMessage::Truncated(name_of(tag));
        match tag {
            PROBE => {
                read_magic(&mut reader, tag)?;
                Ok(Self::Probe)
            }
            HELLO => {
                let sender = read_head(&mut reader, tag)?;
                let min = reader.u8("min version").map_err(cut)?;
                let max = reader.u8("max version").map_err(cut)?;
                Ok(Self::Hello { sender, min, max })
            }
            VERSION_SELECT => {
                let sender = read_head(&mut reader, tag)?;
                let version = reader.u8("version").map_err(cut)?;
                Ok(Self::VersionSelect { sender, version })
            }
            DROP_CONN => {
                let sender = read_head(&mut reader, tag)?;
                let code = reader.u8("code").map_err(cut)?;
                let description = reader.string("description").map_err(cut)?;
                let description = shown(description);
                match ErrorCode::from_u8(code) {
                    Some(code) if code <= ErrorCode::LogicError => Ok(Self::DropConn {
                        sender,
                        code,
                        description,
                    }),
                    _ => Err(BadMessage::UnknownCode {
                        sender,
                        description,
                    }),
                }
            }
            ORIGINATOR_SYN | RESPONDER_SYN_ACK => {
                let (filter, used) = Filter::decode_prefix(reader.rest(), FilterLimits::default())
                    .map_err(|_| BadMessage::Truncated(name_of(tag)))?;
                let introduction = Introduction::decode(&reader.rest()[used..]);
                Ok(if tag == ORIGINATOR_SYN {
                    Self::OriginatorSyn {
                        filter,
                        introduction,
                    }
                } else {
                    Self::ResponderSynAck {
                        filter,
                        introduction,
                    }
                })
            }
            ORIGINATOR_ACK => Ok(Self::OriginatorAck),
            _ => Err(BadMessage::Tag),
        }
    }
}

impl Introduction {
    fn encode(&self, out: &mut Vec<u8>) {
        put_string(self.name.as_bytes(), out);
        put_string(self.software.as_bytes(), out);
        for list in [&self.features, &self.required] {
            put_varbyte(list.len() as u32, out);
            for feature in list {
                put_string(feature.as_bytes(), out);
            }
        }
    }

    /// What stands behind a filter; `None` if it is nothing, or something else.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let text = |reader: &mut Reader<'_>| reader.string("text").ok().map(shown);
        let name = text(&mut reader)?;
        let software = text(&mut reader)?;
        let list = |reader: &mut Reader<'_>| {
            let count = reader.varbyte("count").ok()?;
            if count > MAX_FEATURES {
                return None;
            }
            (0..count).map(|_| text(reader)).collect::<Option<Vec<_>>>()
        };
        Some(Self {
            name,
            software,
            features: list(&mut reader)?,
            required: list(&mut reader)?,
        })
    }
}

/// Text of a stranger, for people: cut to a length that fits into a line, without control characters.
fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_TEXT)]);
    let mut shown = String::new();
    for c in text.chars() {
        // What is no text becomes longer in here.
        if shown.len() + c.len_utf8() > MAX_TEXT {
            break;
        }
        shown.push(if c.is_control() { ' ' } else { c });
    }
    shown
}

fn put_head(sender: EndpointId, out: &mut Vec<u8>) {
    out.extend(MAGIC.to_be_bytes());
    out.extend(sender.as_bytes());
}

fn read_magic(reader: &mut Reader<'_>, tag: u8) -> Result<(), BadMessage> {
    match reader.u32("magic") {
        Ok(MAGIC) => Ok(()),
        Ok(_) => Err(BadMessage::Magic),
        Err(_) => Err(BadMessage::Truncated(name_of(tag))),
    }
}

fn read_head(reader: &mut Reader<'_>, tag: u8) -> Result<EndpointId, BadMessage> {
    read_magic(reader, tag)?;
    match reader.array::<16>("sender") {
        Ok(id) => Ok(EndpointId::from_bytes(*id)),
        Err(_) => Err(BadMessage::Truncated(name_of(tag))),
    }
}

const fn name_of(tag: u8) -> &'static str {
    match tag {
        HELLO => "hello_msg",
        PROBE => "probe_msg",
        VERSION_SELECT => "version_select_msg",
        DROP_CONN => "drop_conn_msg",
        ORIGINATOR_SYN => "v1::originator_syn_msg",
        RESPONDER_SYN_ACK => "v1::responder_syn_ack_msg",
        _ => "v1::originator_ack_msg",
    }
}

const HELLO: u8 = 6;
const PROBE: u8 = 7;
const VERSION_SELECT: u8 = 8;
const DROP_CONN: u8 = 9;
const ORIGINATOR_SYN: u8 = 10;
const RESPONDER_SYN_ACK: u8 = 11;
const ORIGINATOR_ACK: u8 = 12;
/// Features one side may name.
const MAX_FEATURES: u32 = 256;
/// Of a name or a description, so many bytes are kept.
const MAX_TEXT: usize = 1024;

#[cfg(test)]
mod tests {
    use broker_core::Topic;
    use proptest::prelude::*;

    use super::*;

    const A: EndpointId =
        EndpointId::from_bytes([0, 0, 0, 0, 0, 0, 0x40, 0, 0x80, 0, 0, 0, 0, 0, 0, 1]);
    const B: EndpointId = EndpointId::from_bytes([
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x4f, 0xff, 0xbf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff,
    ]);

    fn filter(topics: &[&'static str]) -> Filter {
        topics.iter().map(|text| Topic::from_static(text)).collect()
    }

    fn unhex(text: &str) -> Vec<u8> {
        let digits: Vec<_> = text
            .bytes()
            .filter(|byte| !byte.is_ascii_whitespace())
            .collect();
        digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    /// Every row of the broker-wire reference, 13.2.
    #[test]
    fn the_worked_examples_of_the_handshake() {
        let hello = |sender| HandshakeMessage::Hello {
            sender,
            min: 1,
            max: 1,
        };
        let rows = [
            ("00 00 00 05 07 5a 45 45 4b", HandshakeMessage::Probe),
            (
                "00 00 00 17 06 5a 45 45 4b 00 00 00 00 00 00 40 00 80 00 00 00 00 00 00 01 01 01",
                hello(A),
            ),
            (
                "00 00 00 17 06 5a 45 45 4b ff ff ff ff ff ff 4f ff bf ff ff ff ff ff ff ff 01 01",
                hello(B),
            ),
            (
                "00 00 00 16 08 5a 45 45 4b 00 00 00 00 00 00 40 00 80 00 00 00 00 00 00 01 01",
                HandshakeMessage::VersionSelect {
                    sender: A,
                    version: 1,
                },
            ),
            (
                "00 00 00 08 0a 01 05 2f 74 65 73 74",
                HandshakeMessage::OriginatorSyn {
                    filter: filter(&["/test"]),
                    introduction: None,
                },
            ),
            (
                "00 00 00 02 0a 00",
                HandshakeMessage::OriginatorSyn {
                    filter: Filter::new(),
                    introduction: None,
                },
            ),
            (
                "00 00 00 0b 0b 01 08 2f 66 6f 6f 2f 62 61 72",
                HandshakeMessage::ResponderSynAck {
                    filter: filter(&["/foo/bar"]),
                    introduction: None,
                },
            ),
            ("00 00 00 01 0c", HandshakeMessage::OriginatorAck),
            (
                "00 00 00 2b 09 5a 45 45 4b 00 00 00 00 00 00 40 00 80 00 00 00 00 00 00 01 27 14 72 65 64 75 6e 64 61 6e 74 20 63 6f 6e 6e 65 63 74 69 6f 6e",
                HandshakeMessage::DropConn {
                    sender: A,
                    code: ErrorCode::RedundantConnection,
                    description: "redundant connection".to_owned(),
                },
            ),
        ];
        for (text, message) in rows {
            let bytes = unhex(text);
            assert_eq!(message.to_frame(), bytes, "{message:?}");
            assert_eq!(HandshakeMessage::decode(&bytes[4..]), Ok(message));
        }
    }

    #[test]
    fn what_is_no_message_gets_the_code_and_text_of_cpp() {
        let bad = |bytes: &[u8]| {
            let error = HandshakeMessage::decode(bytes).unwrap_err();
            (error.code(), error.to_string())
        };
        for tag in [0, 1, 2, 3, 4, 5, 13, 255] {
            assert_eq!(
                bad(&[tag, 0x5a]),
                (
                    ErrorCode::InvalidMessage,
                    "invalid message type tag".to_owned()
                )
            );
        }
        assert_eq!(
            bad(&[6, 1, 2, 3, 4]),
            (ErrorCode::WrongMagicNumber, "wrong magic number".to_owned())
        );
        assert_eq!(
            bad(b"\x06ZEEK"),
            (
                ErrorCode::InvalidMessage,
                "failed to parse hello_msg".to_owned()
            )
        );
        assert_eq!(
            bad(&[10]),
            (
                ErrorCode::InvalidMessage,
                "failed to parse v1::originator_syn_msg".to_owned()
            )
        );
        let mut refusal = HandshakeMessage::DropConn {
            sender: A,
            code: ErrorCode::LogicError,
            description: "why".to_owned(),
        }
        .to_frame()
        .split_off(4);
        refusal[21] = 41;
        assert_eq!(bad(&refusal), (ErrorCode::Unspecified, "why".to_owned()));
    }

    #[test]
    fn what_follows_the_last_field_is_ignored() {
        for message in [
            HandshakeMessage::Probe,
            HandshakeMessage::Hello {
                sender: A,
                min: 1,
                max: 2,
            },
            HandshakeMessage::OriginatorAck,
        ] {
            let mut bytes = message.to_frame().split_off(4);
            bytes.extend([1, 2, 3]);
            assert_eq!(HandshakeMessage::decode(&bytes), Ok(message));
        }
    }

    #[test]
    fn an_introduction_travels_behind_the_filter() {
        let message = HandshakeMessage::OriginatorSyn {
            filter: filter(&["/a", "/b"]),
            introduction: Some(Introduction {
                name: "worker-1".to_owned(),
                software: "broker-rs".to_owned(),
                features: vec!["store-results".to_owned()],
                required: Vec::new(),
            }),
        };
        assert_eq!(
            HandshakeMessage::decode(&message.to_frame()[4..]),
            Ok(message)
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_message_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200), tag in 0u8..14) {
            let _ = HandshakeMessage::decode(&bytes);
            let mut tagged = vec![tag];
            tagged.extend(&bytes);
            let _ = HandshakeMessage::decode(&tagged);
            tagged.splice(1..1, *b"ZEEK");
            let _ = HandshakeMessage::decode(&tagged);
        }
    }

    #[test]
    fn a_text_of_a_stranger_stays_within_its_bound_even_if_it_is_none() {
        for bytes in [
            &[0xff; 2 * MAX_TEXT][..],
            "\u{e9}".repeat(MAX_TEXT).as_bytes(),
        ] {
            let once = shown(bytes);
            assert!(once.len() <= MAX_TEXT && once.len() > MAX_TEXT - 4);
            assert_eq!(shown(once.as_bytes()), once);
        }
    }
}
