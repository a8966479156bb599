//! Log messages: the columns of a log and its records.

use super::error::MessageError;
use super::message::{MessageType, envelope};
use super::node::Node;
use super::view::Fields;
use crate::byte_string::ByteString;
use crate::data::{Data, EnumValue};
use crate::table::Table;

/// A log gets its columns.
#[derive(Clone, Debug, PartialEq)]
pub struct LogCreate {
    /// The log stream, such as `Conn::LOG`.
    pub stream: ByteString,
    /// The writer, such as `Log::WRITER_ASCII`.
    pub writer: ByteString,
    /// Where and how the log is written.
    pub info: WriterInfo,
    /// The columns.
    pub fields: Vec<LogField>,
}

/// Where and how a log is written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WriterInfo {
    /// The path of the log, such as `conn`.
    pub path: ByteString,
    /// Seconds of the day at which rotation starts; 0 without rotation.
    pub rotation_base: f64,
    /// Seconds between rotations; 0 without rotation.
    pub rotation_interval: f64,
    /// The sender's network time in seconds since the epoch.
    pub network_time: f64,
    /// The writer's options by name, in ascending order of names.
    pub config: Vec<(ByteString, ByteString)>,
    /// A function to run after rotation. A C++ receiver that does not have it ends, so it is empty unless known.
    pub post_processor: ByteString,
}

/// A column of a log. Type tags are those of Zeek, which are not the tags of the data model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogField {
    /// The name, such as `id.orig_h`.
    pub name: ByteString,
    /// Another name for some writers; nothing a script stream sends has one.
    pub secondary: Option<ByteString>,
    /// Zeek's tag of the type.
    pub type_tag: u64,
    /// For a set or vector Zeek's tag of the element type, else 0.
    pub subtype: u64,
    /// Whether the column may be unset.
    pub optional: bool,
}

/// A [`LogCreate`] whose writer info or columns have a form we do not know.
#[derive(Clone, Debug, PartialEq)]
pub struct UntypedLogCreate {
    /// The log stream.
    pub stream: ByteString,
    /// The writer.
    pub writer: ByteString,
    /// What should be a writer info.
    pub info: Data,
    /// What should be columns.
    pub fields: Data,
}

/// A log gets a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogWrite {
    /// The log stream, such as `Conn::LOG`.
    pub stream: ByteString,
    /// The writer, such as `Log::WRITER_ASCII`.
    pub writer: ByteString,
    /// The path of the log, such as `conn`.
    pub path: ByteString,
    /// The record in Zeek's own encoding.
    pub record: ByteString,
}

impl LogCreate {
    /// The message as a value.
    #[must_use]
    pub fn into_data(self) -> Data {
        let fields = Data::Vector(self.fields.into_iter().map(LogField::into_data).collect());
        UntypedLogCreate {
            stream: self.stream,
            writer: self.writer,
            info: self.info.into_data(),
            fields,
        }
        .into_data()
    }

    pub(super) fn from_parts<'a, V: Node<'a>>(
        stream: &[u8],
        writer: &[u8],
        info: V,
        fields: V,
    ) -> Result<Self, MessageError> {
        let columns = fields.vector().ok_or(MessageError::Field {
            message: "log creation",
            field: "columns",
        })?;
        Ok(Self {
            stream: stream.into(),
            writer: writer.into(),
            info: WriterInfo::of(info)?,
            fields: columns.map(LogField::of).collect::<Result<_, _>>()?,
        })
    }
}

impl UntypedLogCreate {
    /// The message as a value.
    #[must_use]
    pub fn into_data(self) -> Data {
        envelope(
            MessageType::LogCreate,
            vec![
                Data::Enum(EnumValue(self.stream)),
                Data::Enum(EnumValue(self.writer)),
                self.info,
                self.fields,
            ],
        )
    }
}

impl LogWrite {
    /// The message as a value.
    #[must_use]
    pub fn into_data(self) -> Data {
        envelope(
            MessageType::LogWrite,
            vec![
                Data::Enum(EnumValue(self.stream)),
                Data::Enum(EnumValue(self.writer)),
                Data::String(self.path),
                Data::String(self.record),
            ],
        )
    }
}

impl WriterInfo {
    fn into_data(self) -> Data {
        Data::Vector(vec![
            Data::String(self.path),
            Data::Real(self.rotation_base),
            Data::Real(self.rotation_interval),
            Data::Real(self.network_time),
            Data::Table(self.config.into_iter().collect::<Table>()),
            Data::String(self.post_processor),
        ])
    }

    fn of<'a, V: Node<'a>>(value: V) -> Result<Self, MessageError> {
        let mut fields = Fields::of("log creation", "writer info", Some(value))?;
        Ok(Self {
            path: fields.take("path", V::string)?.into(),
            rotation_base: fields.take("rotation base", V::real)?,
            rotation_interval: fields.take("rotation interval", V::real)?,
            network_time: fields.take("network time", V::real)?,
            config: fields.take("config", config)?,
            post_processor: fields.take("post-processor", V::string)?.into(),
        })
    }
}

/// A table of strings by strings, sorted whatever the order in the buffer; `None` if a name comes twice.
fn config<'a, V: Node<'a>>(value: V) -> Option<Vec<(ByteString, ByteString)>> {
    let options = value
        .table()?
        .map(|(name, value)| Some((name.string()?.into(), value.string()?.into())));
    let mut options: Vec<(ByteString, ByteString)> = options.collect::<Option<_>>()?;
    options.sort();
    options.is_sorted_by(|a, b| a.0 < b.0).then_some(options)
}

impl LogField {
    fn into_data(self) -> Data {
        Data::Vector(vec![
            Data::String(self.name),
            self.secondary.into(),
            Data::Count(self.type_tag),
            Data::Count(self.subtype),
            Data::Boolean(self.optional),
        ])
    }

    fn of<'a, V: Node<'a>>(value: V) -> Result<Self, MessageError> {
        let mut fields = Fields::of("log creation", "column", Some(value))?;
        let secondary = |value: V| {
            if value.is_none() {
                Some(None)
            } else {
                value.string().map(|name| Some(name.into()))
            }
        };
        Ok(Self {
            name: fields.take("column name", V::string)?.into(),
            secondary: fields.take("secondary column name", secondary)?,
            type_tag: fields.take("column type", V::count)?,
            subtype: fields.take("column subtype", V::count)?,
            optional: fields.take("optional flag", V::boolean)?,
        })
    }
}
