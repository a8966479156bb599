//! Zeek's logs: their values, their wire form and their files.
//!
//! A record is a list of [`LogValue`]s, one for each [`Column`] of its [`Schema`]. It is read from a
//! TSV or JSON file by [`LogReader`], travels in a LogWrite message as the bytes of
//! [`serial::encode`], and is written again by [`LogWriter`], in one form or the other. The forms are those
//! of reference zeek-cluster 6.3 to 6.9, byte for byte.
//!
//! ```
//! use broker_cluster::log::{LogItem, LogReader, TsvOptions, TsvWriter, serial};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let file = "#separator \\x09\n#path\tconn\n#fields\tts\tid.orig_h\tservice\n\
//!             #types\ttime\taddr\tstring\n1379288667.706265\t192.168.33.10\t-\n";
//! let mut log = LogReader::from_reader("conn.log", file.as_bytes())?;
//! let schema = log.schema().clone();
//! let Some(Ok(LogItem::Record { line: 5, record })) = log.next() else { panic!("a record") };
//!
//! let mut data = Vec::new();
//! serial::encode(&record, &schema.columns, &mut data)?;
//! let received = serial::decode(&data, &schema.columns)?;
//!
//! let mut out = Vec::new();
//! TsvWriter::new(TsvOptions::default()).record(&received, &mut out);
//! assert_eq!(out, b"1379288667.706265\t192.168.33.10\t-\n");
//! # Ok(())
//! # }
//! ```

mod address;
mod escape;
mod grisu;
mod json_read;
mod json_text;
mod json_write;
mod limits;
mod lines;
mod number;
mod read_error;
mod reader;
mod schema;
pub mod serial;
mod standard;
mod style;
mod tsv_read;
mod tsv_write;
pub mod typed;
mod value;

#[cfg(test)]
mod testing;

pub use json_read::{SCAN_BYTES, SCAN_LINES};
pub use json_write::{JsonEscapes, JsonOptions, JsonTimestamps, JsonWriter};
pub use limits::Limits;
pub use lines::MAX_LINE;
pub use read_error::{HeaderError, JsonError, LineError, LineReason, MAX_EXCERPT, OpenError};
pub use reader::{LogFormat, LogItem, LogReader};
pub use schema::{Column, ColumnType, LogType, MAX_PATH, Schema, is_file_stem, stream_id};
pub use style::{LogStyle, LogWriter, StyleError};
pub use tsv_read::MAX_COLUMNS;
pub use tsv_write::{TsvOptions, TsvWriter};
pub use typed::{
    FromLogElement, FromLogField, FromLogRecord, LogColumnError, LogElement, LogField,
    LogFieldError, LogRecord, LogRecordReader, LogRecords, LogRecordsError, LogValueError,
    LogValues,
};
pub use value::{LogPort, LogSubnet, LogValue, PortProtocol, Record};

/// A local time as `#open` and `#close` have it: `2026-11-23-07-15-17`.
pub fn meta_time(time: &jiff::Zoned) -> String {
    time.strftime("%Y-%m-%d-%H-%M-%S").to_string()
}
