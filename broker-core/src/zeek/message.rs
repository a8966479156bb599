//! The owned Zeek message, and how each kind is put into a value.

use super::error::MessageError;
use super::event::{Event, IdentifierUpdate};
use super::log::{LogCreate, LogWrite, UntypedLogCreate};
use super::node::Node;
use super::view::MessageView;
use crate::binary::Reader;
use crate::data::{Data, DataKind};
use crate::view::DataView;

/// The version of the message format.
pub(super) const VERSION: u64 = 1;

// broker-wire reference, 3.
const COUNT: u8 = DataKind::Count.tag();
const STRING: u8 = DataKind::String.tag();
const VECTOR: u8 = DataKind::Vector.tag();

/// How deep batches may be nested in what we read. Zeek nests none.
pub const MAX_BATCH_DEPTH: usize = 32;

/// The type of a message, by the numbers that travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageType {
    /// [`Message::Event`]
    Event = 1,
    /// [`Message::LogCreate`]
    LogCreate = 2,
    /// [`Message::LogWrite`]
    LogWrite = 3,
    /// [`Message::IdentifierUpdate`]
    IdentifierUpdate = 4,
    /// [`Message::Batch`]
    Batch = 5,
}

impl MessageType {
    /// The type with this number.
    #[must_use]
    pub const fn from_number(number: u64) -> Option<Self> {
        match number {
            1 => Some(Self::Event),
            2 => Some(Self::LogCreate),
            3 => Some(Self::LogWrite),
            4 => Some(Self::IdentifierUpdate),
            5 => Some(Self::Batch),
            _ => None,
        }
    }

    /// The type of a Zeek message by its first bytes, whatever comes behind them. `None`: it is none.
    #[must_use]
    pub fn peek(payload: &[u8]) -> Option<Self> {
        split_head(payload).map(|(kind, _)| kind)
    }

    /// The number that travels.
    #[must_use]
    pub const fn number(self) -> u64 {
        self as u64
    }

    /// What to call it in a sentence.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::LogCreate => "log creation",
            Self::LogWrite => "log write",
            Self::IdentifierUpdate => "identifier update",
            Self::Batch => "batch",
        }
    }
}

/// The name of the event that a payload is, read in place, whatever comes behind it. `None`: it is no event, or has none.
#[must_use]
pub fn peek_event_name(payload: &[u8]) -> Option<&[u8]> {
    let (MessageType::Event, content) = split_head(payload)? else {
        return None;
    };
    let (&VECTOR, content) = content.split_first()? else {
        return None;
    };
    let mut content = Reader::new(content);
    content.varbyte("size of the content").ok()?;
    if content.u8("type of the name").ok()? != STRING {
        return None;
    }
    content.string("name").ok()
}

/// The type, and what comes behind it: the content.
fn split_head(payload: &[u8]) -> Option<(MessageType, &[u8])> {
    let [VECTOR, _, COUNT, rest @ ..] = payload else {
        return None;
    };
    let (version, rest) = rest.split_first_chunk::<8>()?;
    let [COUNT, rest @ ..] = rest else {
        return None;
    };
    let (number, content) = rest.split_first_chunk::<8>()?;
    if u64::from_be_bytes(*version) != VERSION {
        return None;
    }
    let kind = MessageType::from_number(u64::from_be_bytes(*number))?;
    Some((kind, content))
}

/// A Zeek message.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// An event was published.
    Event(Event),
    /// A log gets its columns.
    LogCreate(LogCreate),
    /// A log gets its columns, but their description has a form we do not know. Broker passes such messages on.
    UntypedLogCreate(UntypedLogCreate),
    /// A log gets a record.
    LogWrite(LogWrite),
    /// A global variable gets a value.
    IdentifierUpdate(IdentifierUpdate),
    /// Several messages.
    Batch(Vec<Self>),
}

impl Message {
    /// The message that `data` is.
    ///
    /// # Errors
    /// What keeps the value from being a message.
    pub fn from_data(data: &Data) -> Result<Self, MessageError> {
        Self::from_parts(MessageView::parse_data(data)?)
    }

    /// The message that a value in a buffer is.
    ///
    /// # Errors
    /// What keeps the value from being a message.
    pub fn from_view(view: DataView<'_>) -> Result<Self, MessageError> {
        Self::from_parts(MessageView::parse(view)?)
    }

    /// The owned form of a message that was taken apart.
    ///
    /// # Errors
    /// If a value in it holds something twice.
    pub fn from_parts<'a, V: Node<'a>>(message: MessageView<'a, V>) -> Result<Self, MessageError> {
        Ok(match message {
            MessageView::Event {
                name,
                arguments,
                metadata,
            } => Self::Event(Event::from_parts(name, arguments, metadata)?),
            MessageView::LogCreate {
                stream,
                writer,
                info,
                fields,
            } => match LogCreate::from_parts(stream, writer, info, fields) {
                Ok(create) => Self::LogCreate(create),
                Err(_) => Self::UntypedLogCreate(UntypedLogCreate {
                    stream: stream.into(),
                    writer: writer.into(),
                    info: info.to_owned_data()?,
                    fields: fields.to_owned_data()?,
                }),
            },
            MessageView::LogWrite {
                stream,
                writer,
                path,
                record,
            } => Self::LogWrite(LogWrite {
                stream: stream.into(),
                writer: writer.into(),
                path: path.into(),
                record: record.into(),
            }),
            MessageView::IdentifierUpdate { name, value } => {
                Self::IdentifierUpdate(IdentifierUpdate {
                    name: name.into(),
                    value: value.to_owned_data()?,
                })
            }
            MessageView::Batch(batch) => Self::Batch(
                batch
                    .iter()
                    .map(Self::from_parts)
                    .collect::<Result<_, _>>()?,
            ),
        })
    }

    /// The type of the message.
    #[must_use]
    pub const fn message_type(&self) -> MessageType {
        match self {
            Self::Event(_) => MessageType::Event,
            Self::LogCreate(_) | Self::UntypedLogCreate(_) => MessageType::LogCreate,
            Self::LogWrite(_) => MessageType::LogWrite,
            Self::IdentifierUpdate(_) => MessageType::IdentifierUpdate,
            Self::Batch(_) => MessageType::Batch,
        }
    }

    /// The message as a value, leaving the message as it is.
    #[must_use]
    pub fn to_data(&self) -> Data {
        self.clone().into_data()
    }

    /// The message as a value.
    #[must_use]
    pub fn into_data(self) -> Data {
        match self {
            Self::Event(event) => event.into_data(),
            Self::LogCreate(create) => create.into_data(),
            Self::UntypedLogCreate(create) => create.into_data(),
            Self::LogWrite(write) => write.into_data(),
            Self::IdentifierUpdate(update) => update.into_data(),
            Self::Batch(messages) => envelope(
                MessageType::Batch,
                messages.into_iter().map(Self::into_data).collect(),
            ),
        }
    }
}

impl From<Message> for Data {
    fn from(message: Message) -> Self {
        message.into_data()
    }
}

macro_rules! message_from {
    ($($kind:ident),*) => {
        $(impl From<$kind> for Message {
            fn from(message: $kind) -> Self {
                Self::$kind(message)
            }
        }

        impl From<$kind> for Data {
            fn from(message: $kind) -> Self {
                message.into_data()
            }
        }

        impl $kind {
            /// The message as a value, leaving the message as it is.
            #[must_use]
            pub fn to_data(&self) -> Data {
                self.clone().into_data()
            }
        })*
    };
}

message_from!(
    Event,
    LogCreate,
    UntypedLogCreate,
    LogWrite,
    IdentifierUpdate
);

/// The vector around the content of every message.
pub(super) fn envelope(kind: MessageType, content: Vec<Data>) -> Data {
    Data::Vector(vec![
        Data::Count(VERSION),
        Data::Count(kind.number()),
        Data::Vector(content),
    ])
}
