//! Log records as structs of one's own: `#[derive(LogRecord)]` makes columns and values of the fields, and
//! `#[derive(FromLogRecord)]` reads them back.
//!
//! | Rust | column |
//! |---|---|
//! | `bool` | bool |
//! | `u8` to `u64`, `usize` | count |
//! | `i8` to `i64` | int |
//! | `f64` | double |
//! | `String`, `&str`, `Cow<str>`, [`ByteString`](broker_core::ByteString) (any bytes) | string |
//! | `IpAddr`, `Ipv4Addr`, `Ipv6Addr`, [`Address`](broker_core::Address) | addr |
//! | [`Subnet`](broker_core::Subnet), [`LogSubnet`](super::LogSubnet) | subnet |
//! | [`Port`](broker_core::Port), [`LogPort`](super::LogPort) | port |
//! | [`Timestamp`](broker_core::Timestamp), `SystemTime` | time |
//! | [`Timespan`](broker_core::Timespan), `Duration` | interval |
//! | [`EnumValue`](broker_core::EnumValue), an enum with `#[derive(LogField)]` | enum |
//! | a struct of one with `#[derive(LogField)]` | that of what is in it |
//! | `Vec<T>`, `Vec<Option<T>>` | vector\[T\] |
//! | `BTreeSet<T>`, `HashSet<T>` | set\[T\] |
//! | `Option<T>` | that of `T`, and may be unset |
//! | a struct with `#[derive(LogRecord)]` | its columns, with the field's name in front: `id.orig_h` |
//!
//! Elements are plain values: Zeek has no nested containers in logs. A `Vec<u8>` is a vector of counts, as it is in data.
//!
//! ```
//! use std::collections::BTreeSet;
//! use std::net::IpAddr;
//!
//! use broker_cluster::log::{FromLogField, FromLogRecord, LogField, LogRecord, LogRecordReader};
//! use broker_core::{Port, Timestamp};
//!
//! #[derive(Debug, PartialEq, LogRecord, FromLogRecord)]
//! #[broker(path = "ssh_guess", stream = "SSH::GUESS_LOG")] // default: ssh_guess and SshGuess::LOG
//! struct SshGuess {
//!     ts: Timestamp,
//!     uid: String,
//!     id: ConnId, // id.orig_h, id.orig_p, ..
//!     outcome: Outcome,
//!     user: Option<String>,
//!     #[broker(rename = "seen_from")]
//!     sensors: BTreeSet<IpAddr>,
//!     #[broker(skip)]
//!     packets: Vec<Vec<u8>>,
//! }
//!
//! #[derive(Debug, PartialEq, LogRecord, FromLogRecord)]
//! struct ConnId {
//!     orig_h: IpAddr,
//!     orig_p: Port,
//!     resp_h: IpAddr,
//!     resp_p: Port,
//! }
//!
//! #[derive(Debug, PartialEq, LogField, FromLogField)]
//! #[broker(module = "SSH", rename_all = "SCREAMING_SNAKE_CASE")]
//! enum Outcome {
//!     GuessFailed, // SSH::GUESS_FAILED
//!     GuessedRight,
//! }
//!
//! let guess = SshGuess {
//!     ts: Timestamp::from_nanos(1_500_000_000),
//!     uid: "CHhAvVGS1DHFjwGM9".to_owned(),
//!     id: ConnId {
//!         orig_h: "192.0.2.7".parse()?,
//!         orig_p: Port::tcp(40_000),
//!         resp_h: "2001:db8::1".parse()?,
//!         resp_p: Port::tcp(22),
//!     },
//!     outcome: Outcome::GuessFailed,
//!     user: None,
//!     sensors: BTreeSet::from(["198.51.100.1".parse()?]),
//!     packets: Vec::new(),
//! };
//! let schema = SshGuess::schema();
//! let columns: Vec<String> = schema.columns.iter().map(|column| format!("{}:{}", column.name, column.ty)).collect();
//! assert_eq!(
//!     columns.join(" "),
//!     "ts:time uid:string id.orig_h:addr id.orig_p:port id.resp_h:addr id.resp_p:port outcome:enum user:string \
//!      seen_from:set[addr]"
//! );
//! let record = guess.to_record();
//! assert_eq!(LogRecordReader::<SshGuess>::new(&schema)?.read(&record)?, guess);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Attributes
//!
//! | where | attribute | effect |
//! |---|---|---|
//! | struct | `#[broker(path = "conn")]` | the log's path; default: the name in snake case, `SshGuess` is `ssh_guess` |
//! | struct | `#[broker(stream = "Conn::LOG")]` | the stream; default: the one Zeek has for the path ([`stream_id`]) |
//! | struct, enum | `#[broker(cluster = "path::to::broker_cluster")]` | where the traits are; default `::broker_cluster` |
//! | enum | `#[broker(module = "SSH", rename_all = "SCREAMING_SNAKE_CASE")]` | names of the variants, as of `ToData` |
//! | variant | `#[broker(name = "Conn::S0")]` | its full name |
//! | field | `#[broker(rename = "seen_from")]` | the name of its column |
//! | field | `#[broker(skip)]` | it is in no column; read back as its type's default |
//! | field | `#[broker(flatten)]` | the columns of a record without the field's name in front |
//! | field | `#[broker(default)]` | may be unset, and is read as its type's default then |
//!
//! The same attributes serve `ToData` and `FromData` of broker-core, which take no notice of those for logs: `skip` leaves a
//! field out of the log, not out of the data.
//!
//! # What does not compile
//!
//! The message points at the field.
//!
//! ```compile_fail
//! #[derive(broker_cluster::log::LogRecord)]
//! struct Table {
//!     times: std::collections::HashMap<String, u64>, // cannot be a column of a log
//! }
//! ```
//!
//! ```compile_fail
//! #[derive(broker_cluster::log::LogRecord)]
//! struct Nested {
//!     lists: Vec<Vec<u64>>, // no container in a container
//! }
//! ```
//!
//! ```compile_fail
//! #[derive(broker_cluster::log::LogRecord)]
//! struct Flat {
//!     #[broker(flatten)]
//!     host: String, // only a record can be flattened
//! }
//! ```
//!
//! ```compile_fail
//! #[derive(broker_cluster::log::LogRecord)]
//! struct Twice {
//!     host: String,
//!     #[broker(rename = "host")]
//!     name: String, // another field has this column already
//! }
//! ```
//!
//! ```compile_fail
//! #[derive(broker_cluster::log::LogRecord)]
//! #[broker(path = "../conn")] // names no log file
//! struct Elsewhere {
//!     host: String,
//! }
//! ```
//!
//! ```compile_fail
//! #[derive(broker_cluster::log::LogRecord)]
//! struct Unnamed(String); // columns have names
//! ```

mod containers;
mod read;
mod records;
mod scalars;

use std::borrow::Cow;

pub use self::read::{
    FromLogElement, FromLogField, FromLogRecord, LogColumnError, LogFieldError, LogRecordReader,
    LogValueError, LogValues,
};
pub use self::records::{LogRecords, LogRecordsError};
pub use broker_derive::{FromLogField, FromLogRecord, LogField, LogRecord};

use super::schema::{Column, ColumnType, LogType, Schema, stream_id};
use super::value::{LogValue, Record};

/// What can be a field of a log record: one column, or those of a nested record.
///
/// **Invariant:** `columns` adds `WIDTH` columns and `values` as many values, of the types of these columns.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a column of a log",
    label = "no column holds this",
    note = "plain values, `Option`, `Vec` and sets of them can, and structs with `#[derive(LogRecord)]`",
    note = "enums and structs of one take `#[derive(LogField)]`; `#[broker(skip)]` leaves a field out of the log"
)]
pub trait LogField {
    /// How many columns it takes.
    const WIDTH: usize = 1;

    /// Adds the columns of a field called `name`; `optional`: they may be unset. An empty name stands for a whole record.
    fn columns(name: &str, optional: bool, columns: &mut Vec<Column>);

    /// Adds the values.
    fn values(&self, record: &mut Record);
}

/// A plain value: what one column holds, and what sets and vectors hold.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an element of a set or vector in a log",
    label = "no plain value of a log",
    note = "elements are plain values; enums and structs of one take `#[derive(LogField)]`"
)]
pub trait LogElement: LogField {
    /// Its type, which is no container.
    const TYPE: LogType;

    /// The value.
    fn value(&self) -> LogValue;

    /// A column of this type.
    fn column(name: &str, optional: bool) -> Column {
        // With a container for a type records are refused when they are written.
        let ty = ColumnType::plain(Self::TYPE).unwrap_or(ColumnType::STRING);
        Column {
            name: name.to_owned(),
            ty,
            optional,
        }
    }
}

/// A struct that is a record of a log; made with `#[derive(LogRecord)]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no log record",
    label = "no struct with `#[derive(LogRecord)]`"
)]
pub trait LogRecord: LogField {
    /// The path of its log: `conn` for conn.log.
    const PATH: &'static str;

    /// The stream of its log. Default: the one of the path.
    #[must_use]
    fn stream() -> Cow<'static, str> {
        stream_id(Self::PATH)
    }

    /// Path and columns.
    #[must_use]
    fn schema() -> Schema {
        let mut columns = Vec::with_capacity(Self::WIDTH);
        Self::columns("", false, &mut columns);
        Schema {
            path: Self::PATH.to_owned(),
            columns,
        }
    }

    /// The values, one per column.
    fn to_record(&self) -> Record {
        let mut record = Record::with_capacity(Self::WIDTH);
        self.values(&mut record);
        record
    }
}

/// What a field is called in a log whose record is called `record`; an empty name is a whole log's.
#[must_use]
pub fn column_name(record: &str, field: &str) -> String {
    if record.is_empty() {
        field.to_owned()
    } else {
        format!("{record}.{field}")
    }
}

/// The columns of a record that is a part of the record called `name`, as if its fields were those of that one.
#[doc(hidden)]
pub fn flat_columns<R: LogRecord>(name: &str, optional: bool, columns: &mut Vec<Column>) {
    R::columns(name, optional, columns);
}
