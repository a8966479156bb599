//! A Zeek message read without copying, and the rules for what is one.

use std::marker::PhantomData;

use super::error::MessageError;
use super::message::{MAX_BATCH_DEPTH, MessageType, VERSION};
use super::node::Node;
use crate::data::Data;
use crate::view::DataView;

/// A Zeek message whose parts are borrowed from a value, which is a [`DataView`] or a `&Data`.
///
/// It is valid by the rules of Broker: the writer info and the columns of a `LogCreate` are not looked at.
#[derive(Clone, Copy, Debug)]
pub enum MessageView<'a, V = DataView<'a>> {
    /// An event was published.
    Event {
        /// The name, fully qualified.
        name: &'a [u8],
        /// The vector of arguments.
        arguments: V,
        /// The vector of metadata, each entry a vector of a count and a value.
        metadata: Option<V>,
    },
    /// A log gets its columns.
    LogCreate {
        /// The log stream, such as `Conn::LOG`.
        stream: &'a [u8],
        /// The writer, such as `Log::WRITER_ASCII`.
        writer: &'a [u8],
        /// The writer info, unchecked.
        info: V,
        /// The columns, unchecked.
        fields: V,
    },
    /// A log gets a record.
    LogWrite {
        /// The log stream, such as `Conn::LOG`.
        stream: &'a [u8],
        /// The writer, such as `Log::WRITER_ASCII`.
        writer: &'a [u8],
        /// The path of the log, such as `conn`.
        path: &'a [u8],
        /// The record in Zeek's own encoding.
        record: &'a [u8],
    },
    /// A global variable gets a value.
    IdentifierUpdate {
        /// The name of the variable.
        name: &'a [u8],
        /// Its new value.
        value: V,
    },
    /// Several messages, all of them valid.
    Batch(BatchView<'a, V>),
}

/// The messages of a batch.
#[derive(Clone, Copy, Debug)]
pub struct BatchView<'a, V> {
    messages: V,
    buffer: PhantomData<&'a ()>,
}

impl<'a, V: Node<'a>> BatchView<'a, V> {
    /// How many messages the batch holds; a batch inside counts as one.
    #[must_use]
    pub fn len(&self) -> usize {
        self.messages.vector().map_or(0, |messages| messages.len())
    }

    /// Whether the batch holds no message.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The messages.
    pub fn iter(&self) -> impl Iterator<Item = MessageView<'a, V>> + use<'a, V> {
        // All were checked when the batch was.
        self.messages
            .vector()
            .into_iter()
            .flatten()
            .filter_map(|message| shape(message).ok())
    }
}

impl<'a> MessageView<'a> {
    /// The message that a value in a buffer is.
    ///
    /// # Errors
    /// What keeps the value from being a message.
    pub fn parse(view: DataView<'a>) -> Result<Self, MessageError> {
        Self::of(view)
    }
}

impl<'a> MessageView<'a, &'a Data> {
    /// The message that an owned value is.
    ///
    /// # Errors
    /// What keeps the value from being a message.
    pub fn parse_data(data: &'a Data) -> Result<Self, MessageError> {
        Self::of(data)
    }
}

impl<'a, V: Node<'a>> MessageView<'a, V> {
    pub(super) fn of(value: V) -> Result<Self, MessageError> {
        let message = shape(value)?;
        message.check_batch(MAX_BATCH_DEPTH)?;
        Ok(message)
    }

    /// The type of the message.
    #[must_use]
    pub const fn message_type(&self) -> MessageType {
        match self {
            Self::Event { .. } => MessageType::Event,
            Self::LogCreate { .. } => MessageType::LogCreate,
            Self::LogWrite { .. } => MessageType::LogWrite,
            Self::IdentifierUpdate { .. } => MessageType::IdentifierUpdate,
            Self::Batch(_) => MessageType::Batch,
        }
    }

    fn check_batch(&self, levels: usize) -> Result<(), MessageError> {
        if let Self::Batch(batch) = self {
            let levels = levels.checked_sub(1).ok_or(MessageError::TooDeep {
                limit: MAX_BATCH_DEPTH,
            })?;
            for message in batch.messages.vector().into_iter().flatten() {
                shape(message)?.check_batch(levels)?;
            }
        }
        Ok(())
    }
}

/// Takes a message apart; what is inside a batch is not looked at.
fn shape<'a, V: Node<'a>>(value: V) -> Result<MessageView<'a, V>, MessageError> {
    let mut message = Fields::of("message", "vector", Some(value))?;
    let version = message.take("version", V::count)?;
    if version != VERSION {
        return Err(MessageError::Version(version));
    }
    let number = message.take("type", V::count)?;
    let kind = MessageType::from_number(number).ok_or(MessageError::Type(number))?;
    let content = message.take("content", Some)?;
    let mut fields = Fields::of(kind.name(), "content", Some(content))?;
    Ok(match kind {
        MessageType::Event => {
            let name = fields.take("name", V::string)?;
            let arguments = fields.take("arguments", is_vector)?;
            let metadata = fields.values.next();
            if let Some(metadata) = metadata {
                check_metadata(metadata)?;
            }
            MessageView::Event {
                name,
                arguments,
                metadata,
            }
        }
        MessageType::LogCreate => MessageView::LogCreate {
            stream: fields.take("stream", V::enum_name)?,
            writer: fields.take("writer", V::enum_name)?,
            info: fields.take("writer info", Some)?,
            fields: fields.take("columns", Some)?,
        },
        MessageType::LogWrite => MessageView::LogWrite {
            stream: fields.take("stream", V::enum_name)?,
            writer: fields.take("writer", V::enum_name)?,
            path: fields.take("path", V::string)?,
            record: fields.take("record", V::string)?,
        },
        MessageType::IdentifierUpdate => MessageView::IdentifierUpdate {
            name: fields.take("name", V::string)?,
            value: fields.take("value", Some)?,
        },
        MessageType::Batch => MessageView::Batch(BatchView {
            messages: content,
            buffer: PhantomData,
        }),
    })
}

fn check_metadata<'a, V: Node<'a>>(metadata: V) -> Result<(), MessageError> {
    let bad = MessageError::Field {
        message: "event",
        field: "metadata",
    };
    for entry in metadata.vector().ok_or_else(|| bad.clone())? {
        let mut entry = entry
            .vector()
            .filter(|entry| entry.len() == 2)
            .ok_or_else(|| bad.clone())?;
        let key = entry.next().and_then(V::count).ok_or_else(|| bad.clone())?;
        if key == super::NETWORK_TIMESTAMP && !entry.next().is_some_and(V::is_timestamp) {
            return Err(MessageError::Field {
                message: "event",
                field: "network timestamp",
            });
        }
    }
    Ok(())
}

fn is_vector<'a, V: Node<'a>>(value: V) -> Option<V> {
    value.vector().map(|_| value)
}

/// The fields of a vector, taken one after the other; what is left over is ignored.
pub(super) struct Fields<'a, V: Node<'a>> {
    message: &'static str,
    values: V::Vector,
}

impl<'a, V: Node<'a>> Fields<'a, V> {
    /// The fields of `vector`, which is the `name` of a `message`.
    pub(super) fn of(
        message: &'static str,
        name: &'static str,
        vector: Option<V>,
    ) -> Result<Self, MessageError> {
        let values = vector.and_then(V::vector).ok_or(MessageError::Field {
            message,
            field: name,
        })?;
        Ok(Self { message, values })
    }

    /// The next field, if it is there and `read` makes something of it.
    pub(super) fn take<T>(
        &mut self,
        field: &'static str,
        read: impl FnOnce(V) -> Option<T>,
    ) -> Result<T, MessageError> {
        self.values
            .next()
            .and_then(read)
            .ok_or(MessageError::Field {
                message: self.message,
                field,
            })
    }
}
