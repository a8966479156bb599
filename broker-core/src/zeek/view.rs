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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;
    use crate::zeek::{
        Event, IdentifierUpdate, LogCreate, LogField, LogWrite, Message, WriterInfo,
    };

    fn vector(values: impl IntoIterator<Item = Data>) -> Data {
        Data::Vector(values.into_iter().collect())
    }

    fn message(kind: u64, content: impl IntoIterator<Item = Data>) -> Data {
        vector([1u64.into(), kind.into(), vector(content)])
    }

    fn none_vector() -> Data {
        vector([])
    }

    /// Both ways of reading must agree, whatever they say.
    fn read(data: &Data) -> Result<Message, MessageError> {
        let owned = Message::from_data(data);
        let bytes = data.to_bytes();
        let viewed = Message::from_view(DataView::parse(&bytes).unwrap());
        assert_eq!(owned, viewed);
        owned
    }

    fn is_valid(data: &Data) -> bool {
        read(data).is_ok()
    }

    fn examples() -> Vec<Message> {
        let write = LogWrite {
            stream: "Conn::LOG".into(),
            writer: "Log::WRITER_ASCII".into(),
            path: "conn".into(),
            record: (&[0, 1, 0xff]).into(),
        };
        let info = WriterInfo {
            path: "conn".into(),
            rotation_interval: 3600.0,
            network_time: 1.5,
            config: vec![("tsv".into(), "T".into())],
            ..WriterInfo::default()
        };
        let field = LogField {
            name: "id.orig_h".into(),
            type_tag: 11,
            ..LogField::default()
        };
        let secondary = LogField {
            secondary: Some("x".into()),
            optional: true,
            subtype: 7,
            ..field.clone()
        };
        let create = LogCreate {
            stream: "Conn::LOG".into(),
            writer: "Log::WRITER_ASCII".into(),
            info,
            fields: vec![field, secondary],
        };
        let event = Event::new("e", vec![5u64.into(), Data::None]);
        vec![
            event.clone().into(),
            Event {
                metadata: Some(vec![]),
                ..event.clone()
            }
            .into(),
            event
                .with_network_timestamp(Timestamp::from_nanos(7))
                .into(),
            create.into(),
            write.clone().into(),
            IdentifierUpdate {
                name: "Foo::x".into(),
                value: 5u64.into(),
            }
            .into(),
            Message::Batch(vec![]),
            Message::Batch(vec![
                write.clone().into(),
                Message::Batch(vec![write.into()]),
            ]),
        ]
    }

    #[test]
    fn every_message_reads_back_as_it_was() {
        for message in examples() {
            assert_eq!(read(&message.to_data()), Ok(message));
        }
    }

    #[test]
    fn longer_vectors_than_listed_are_accepted_everywhere() {
        fn lengthen(data: &Data, path: &[usize]) -> Data {
            let mut elements = data.as_vector().unwrap().to_vec();
            match path {
                [] => elements.push("extra".into()),
                [index, rest @ ..] => elements[*index] = lengthen(&elements[*index], rest),
            }
            Data::Vector(elements)
        }
        for message in examples() {
            assert!(is_valid(&lengthen(&message.to_data(), &[])));
            // An event's third field is metadata and a batch takes messages only.
            if matches!(
                message,
                Message::LogCreate(_) | Message::LogWrite(_) | Message::IdentifierUpdate(_)
            ) {
                assert_eq!(
                    read(&lengthen(&message.to_data(), &[2])),
                    Ok(message.clone())
                );
            }
            if let Message::LogCreate(_) = message {
                assert_eq!(
                    read(&lengthen(&message.to_data(), &[2, 2])),
                    Ok(message.clone())
                );
                assert_eq!(read(&lengthen(&message.to_data(), &[2, 3, 0])), Ok(message));
            }
        }
    }

    #[test]
    fn the_envelope_has_version_1_a_known_type_and_a_vector() {
        assert_eq!(
            read(&vector([2u64.into(), 1u64.into(), none_vector()])),
            Err(MessageError::Version(2))
        );
        assert_eq!(read(&message(0, [])), Err(MessageError::Type(0)));
        assert_eq!(read(&message(6, [])), Err(MessageError::Type(6)));
        for bad in [
            Data::None,
            none_vector(),
            vector([1u64.into(), 5u64.into()]),
            vector([1i64.into(), 5u64.into(), none_vector()]),
            vector([1u64.into(), 5i64.into(), none_vector()]),
            vector([1u64.into(), 5u64.into(), Data::None]),
        ] {
            assert!(!is_valid(&bad), "{bad:?}");
        }
    }

    #[test]
    fn an_event_has_a_string_and_a_vector() {
        assert!(is_valid(&message(1, ["e".into(), none_vector()])));
        assert!(!is_valid(&message(1, ["e".into()])));
        assert!(!is_valid(&message(
            1,
            [Data::enum_value("e"), none_vector()]
        )));
        assert!(!is_valid(&message(1, ["e".into(), 5u64.into()])));
    }

    #[test]
    fn metadata_is_a_vector_of_pairs_with_a_count_in_front() {
        let with = |metadata: Data| message(1, ["e".into(), none_vector(), metadata]);
        let pair = |key: Data, value: Data| vector([key, value]);
        assert!(is_valid(&with(none_vector())));
        assert!(is_valid(&with(vector([pair(
            1u64.into(),
            Timestamp::EPOCH.into()
        )]))));
        assert!(is_valid(&with(vector([pair(
            200u64.into(),
            "anything".into()
        )]))));
        assert!(!is_valid(&with(vector([pair(1u64.into(), 5u64.into())]))));
        assert!(!is_valid(&with(vector([pair(
            1i64.into(),
            Timestamp::EPOCH.into()
        )]))));
        assert!(!is_valid(&with(vector([vector([2u64.into()])]))));
        assert!(!is_valid(&with(vector([vector([
            2u64.into(),
            3u64.into(),
            4u64.into()
        ])]))));
        assert!(!is_valid(&with(vector([2u64.into()]))));
        assert!(!is_valid(&with(Data::None)));
    }

    #[test]
    fn the_network_timestamp_is_the_value_under_key_1() {
        let event = Event::new("e", vec![]);
        assert_eq!(event.network_timestamp(), None);
        let event = event
            .with_network_timestamp(Timestamp::from_nanos(1))
            .with_network_timestamp(Timestamp::from_nanos(2));
        assert_eq!(event.network_timestamp(), Some(Timestamp::from_nanos(2)));
        assert_eq!(event.metadata.map(|metadata| metadata.len()), Some(1));
    }

    #[test]
    fn writer_info_and_columns_are_not_checked_by_broker() {
        let odd = message(
            2,
            [
                Data::enum_value("S"),
                Data::enum_value("W"),
                Data::None,
                5u64.into(),
            ],
        );
        let message = read(&odd).unwrap();
        assert!(
            matches!(&message, Message::UntypedLogCreate(create) if create.fields == Data::Count(5))
        );
        assert_eq!(message.into_data(), odd);
    }

    #[test]
    fn log_messages_have_two_enums_in_front() {
        let (stream, writer) = (Data::enum_value("S"), Data::enum_value("W"));
        assert!(is_valid(&message(
            3,
            [stream.clone(), writer.clone(), "p".into(), "r".into()]
        )));
        assert!(!is_valid(&message(
            3,
            [stream.clone(), writer.clone(), "p".into()]
        )));
        assert!(!is_valid(&message(
            3,
            ["S".into(), writer.clone(), "p".into(), "r".into()]
        )));
        assert!(!is_valid(&message(
            3,
            [stream.clone(), writer.clone(), "p".into(), 1u64.into()]
        )));
        assert!(!is_valid(&message(
            2,
            [stream.clone(), writer, none_vector()]
        )));
        assert!(!is_valid(&message(
            2,
            [stream.clone(), "W".into(), none_vector(), none_vector()]
        )));
    }

    #[test]
    fn an_identifier_update_has_a_string_and_any_value() {
        assert!(is_valid(&message(4, ["x".into(), Data::None])));
        assert!(!is_valid(&message(4, ["x".into()])));
        assert!(!is_valid(&message(4, [Data::None, Data::None])));
    }

    #[test]
    fn one_bad_element_invalidates_the_whole_batch() {
        let good = message(1, ["e".into(), none_vector()]);
        assert!(is_valid(&message(5, [good.clone(), good.clone()])));
        assert!(!is_valid(&message(5, [good.clone(), Data::None])));
        assert!(!is_valid(&message(
            5,
            [good.clone(), message(5, [good, message(1, [])])]
        )));
    }

    #[test]
    fn batches_nest_up_to_the_limit() {
        let nested =
            |levels: usize| (1..levels).fold(message(5, []), |inner, _| message(5, [inner]));
        assert!(is_valid(&nested(MAX_BATCH_DEPTH)));
        assert_eq!(
            read(&nested(MAX_BATCH_DEPTH + 1)),
            Err(MessageError::TooDeep {
                limit: MAX_BATCH_DEPTH
            })
        );
    }

    #[test]
    fn a_duplicate_inside_an_argument_is_found_on_conversion() {
        let bytes = [
            b"\x0e\x03\x02\0\0\0\0\0\0\0\x01\x02\0\0\0\0\0\0\0\x01\x0e\x02\x05\x01e\x0e\x01"
                .as_slice(),
            b"\x0c\x02\x00\x00",
        ]
        .concat();
        let view = DataView::parse(&bytes).unwrap();
        assert!(MessageView::parse(view).is_ok());
        assert!(matches!(
            Message::from_view(view),
            Err(MessageError::Value(_))
        ));
    }

    #[test]
    fn a_batch_is_read_in_place() {
        let write = |record: &str| {
            Message::from(LogWrite {
                stream: "S".into(),
                writer: "W".into(),
                path: "p".into(),
                record: record.into(),
            })
        };
        let bytes = Message::Batch(vec![write("one"), write("two")])
            .into_data()
            .to_bytes();
        let MessageView::Batch(batch) =
            MessageView::parse(DataView::parse(&bytes).unwrap()).unwrap()
        else {
            panic!("a batch was written");
        };
        assert_eq!(batch.len(), 2);
        let records: Vec<_> = batch
            .iter()
            .map(|message| match message {
                MessageView::LogWrite { record, .. } => record,
                other => panic!("{other:?} is no log write"),
            })
            .collect();
        assert_eq!(records, [b"one", b"two"]);
    }
}
