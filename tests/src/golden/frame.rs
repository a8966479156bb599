//! One frame, taken apart by its layout (broker-wire reference, 1.3 and 2.1), without the codec under test.

use broker_core::EndpointId;

/// A frame behind its length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Who connects says who it is and which versions it speaks.
    Hello(EndpointId),
    /// Who accepts says that it is there.
    Probe,
    /// The originator's choice, and who it is.
    VersionSelect(EndpointId),
    /// The originator's filter.
    OriginatorSyn,
    /// The responder's filter.
    ResponderSynAck,
    /// The originator is done.
    OriginatorAck,
    /// Everything after the handshake.
    Message(MessageFrame),
}

/// A frame of operation mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageFrame {
    /// Who sent it, which is the last hop.
    pub sender: EndpointId,
    /// Whom it is for; nil is whoever subscribed.
    pub receiver: EndpointId,
    /// 1 data, 2 command, 3 routing update, 4 ping, 5 pong.
    pub kind: u8,
    /// The topic.
    pub topic: Vec<u8>,
    /// What is behind the topic.
    pub payload: Vec<u8>,
}

pub(crate) const COMMAND: u8 = 2;
pub(crate) const ROUTING_UPDATE: u8 = 3;
pub(crate) const PING: u8 = 4;
pub(crate) const PONG: u8 = 5;

const PREFIX: usize = 4;
const MAGIC: &[u8] = b"ZEEK";

impl Frame {
    /// Takes a whole frame apart, its length in front.
    ///
    /// # Panics
    /// If it is none.
    #[must_use]
    pub fn parse(frame: &[u8], handshake: bool) -> Self {
        let (length, payload) = frame.split_at(PREFIX);
        assert_eq!(
            u32::from_be_bytes(length.try_into().unwrap()) as usize,
            payload.len(),
            "the length in front of {frame:02x?}"
        );
        let magic = payload.get(1..5) == Some(MAGIC);
        let id = || EndpointId::from_bytes(payload[5..21].try_into().unwrap());
        match payload[0] {
            6 if magic && payload.len() == 23 => Self::Hello(id()),
            7 if magic && payload.len() == 5 => Self::Probe,
            8 if magic && payload.len() == 22 => Self::VersionSelect(id()),
            10 if handshake => Self::OriginatorSyn,
            11 if handshake => Self::ResponderSynAck,
            12 if handshake => Self::OriginatorAck,
            _ => Self::Message(MessageFrame::parse(payload)),
        }
    }

    /// In which order the frames of a handshake can follow each other, whoever sends them (broker-wire reference, 1.4).
    pub(crate) fn handshake_rank(&self, from_connector: bool) -> Option<u8> {
        Some(match self {
            Self::Hello(_) if from_connector => 0,
            Self::Probe => 1,
            Self::Hello(_) => 2,
            Self::VersionSelect(_) => 3,
            Self::OriginatorSyn => 4,
            Self::ResponderSynAck => 5,
            Self::OriginatorAck => 6,
            Self::Message(_) => return None,
        })
    }
}

impl MessageFrame {
    fn parse(payload: &[u8]) -> Self {
        let id = |at: usize| EndpointId::from_bytes(payload[at..at + 16].try_into().unwrap());
        let short = |at: usize| u16::from_be_bytes([payload[at], payload[at + 1]]);
        let ttl = short(33);
        assert_eq!(ttl, 16, "every frame has a TTL of 16: {payload:02x?}");
        let (topic, rest) = payload[37..].split_at(usize::from(short(35)));
        Self {
            sender: id(0),
            receiver: id(16),
            kind: payload[32],
            topic: topic.to_vec(),
            payload: rest.to_vec(),
        }
    }

    /// The frame again, its length in front.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let length = 37 + self.topic.len() + self.payload.len();
        let mut frame = u32::try_from(length).unwrap().to_be_bytes().to_vec();
        frame.extend(self.sender.as_bytes());
        frame.extend(self.receiver.as_bytes());
        frame.push(self.kind);
        frame.extend(16u16.to_be_bytes());
        frame.extend(u16::try_from(self.topic.len()).unwrap().to_be_bytes());
        frame.extend(&self.topic);
        frame.extend(&self.payload);
        frame
    }

    /// The topic as text.
    #[must_use]
    pub fn topic_text(&self) -> String {
        String::from_utf8_lossy(&self.topic).into_owned()
    }
}
