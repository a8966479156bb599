//! JSON v1: values as JSON objects that name their type.
//!
//! ```text
//! {"@data-type":"count","data":42}
//! {"@data-type":"vector","data":[{"@data-type":"string","data":"x"},{"@data-type":"none","data":{}}]}
//! {"@data-type":"table","data":[{"key":V,"value":V}]}
//! {"type":"data-message","topic":"/foo","@data-type":"count","data":1}
//! ```
//!
//! The form is that of wire reference 4. There are two writings, and the reader takes both:
//!
//! | | [`Style::Broker`] | [`Style::Exact`] |
//! |---|---|---|
//! | for | `ws://`, where C++ and Zeek print like this | everything else |
//! | real | six decimals | the shortest digits that read back equal, with `.0` or an exponent |
//! | infinities, NaN | `inf`, `-inf`, `nan`, which are no JSON | the strings `"inf"`, `"-inf"`, `"nan"` |
//! | timestamp | cut to milliseconds, before 1970 wrongly | nine decimals |
//! | timespan | an integer in the largest fitting unit | the same |
//! | string, enum value | some control characters and all other bytes raw | valid JSON; what is not UTF-8 gets a member `"@bytes"` with all bytes in hex, and U+FFFD in `"data"` |
//! | subnet | its text | the same; one whose text says less than its bytes gets a member `"@bytes"` with its 17 bytes in hex |
//! | topic | as a string | the same; what is not UTF-8 gets a member `"@topic-bytes"` |
//!
//! The exact writing loses nothing but the sign of NaN. Nesting beyond [`MAX_LEVELS`] is written, but read only by
//! [`parse_deep_value`].
//!
//! ```
//! use broker_core::{Data, json};
//!
//! let data = Data::vector([Data::from(0.1), 5u64.into()]);
//! let text = json::to_string(&data);
//! assert_eq!(
//!     text,
//!     r#"{"@data-type":"vector","data":[{"@data-type":"real","data":0.1},{"@data-type":"count","data":5}]}"#
//! );
//! assert_eq!(json::parse_value(text.as_bytes()), Ok(data));
//! ```
//!
//! Where the C++ reader is odd, this one is plain: `\/` is a slash, integers with a leading zero are refused instead of
//! read as octal or hexadecimal, carriage return is white space, numbers and times are exact.

mod error;
mod number;
mod parser;
mod reader;
mod string;
mod time;
mod writer;

pub use error::JsonError;
pub use reader::{Envelope, parse_deep_value, parse_envelope, parse_message, parse_value};
pub use string::write_string;
pub use writer::{to_string, write_message, write_value, write_view, write_view_message};

/// How many levels of JSON objects and arrays may be nested in what is read. A vector takes two, so 63 vectors in each
/// other are read and 64 are not, as in C++.
pub const MAX_LEVELS: u16 = 127;

/// How values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Exactly as C++ Broker and Zeek print it, which loses precision and is not always valid JSON.
    Broker,
    /// Valid JSON that reads back as what was written.
    Exact,
}
