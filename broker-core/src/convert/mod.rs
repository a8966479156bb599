//! Between values of Rust and [`Data`]: strict both ways, as Zeek converts (zeek-cluster reference, 5).
//!
//! | Rust | data | Zeek |
//! |---|---|---|
//! | `bool` | boolean | bool |
//! | `u8` to `u64`, `usize` | count | count |
//! | `i8` to `i64` | integer | int |
//! | `f64` | real | double |
//! | `String`, [`ByteString`](crate::ByteString) | string | string |
//! | `IpAddr`, `Ipv4Addr`, `Ipv6Addr`, [`Address`](crate::Address) | address | addr |
//! | [`Subnet`](crate::Subnet), [`Port`](crate::Port) | subnet, port | subnet, port |
//! | [`Timestamp`](crate::Timestamp), `SystemTime` | timestamp | time |
//! | [`Timespan`](crate::Timespan), `Duration` | timespan | interval |
//! | [`EnumValue`](crate::EnumValue) | enum | enum |
//! | `Vec<T>` | vector | vector of T |
//! | tuples | vector | a composite index, or a record |
//! | `BTreeSet<T>`, `HashSet<T>` | set | set\[T\] |
//! | `BTreeMap<K, V>`, `HashMap<K, V>` | table | table\[K\] of V |
//! | `Option<T>` | none, or the value | an optional field |
//! | [`Data`] | itself | any |
//! | a struct with `#[derive(ToData, FromData)]` (feature `derive`) | vector | record |
//!
//! Nothing is converted on the quiet: a count is no int, and a number that does not fit its type is an error. Errors name
//! Zeek's types, since that is what the other end speaks.

mod args;
mod containers;
mod scalars;

use std::borrow::Cow;
use std::fmt;

pub use self::args::{ArgsError, FromArgs, ToArgs};
use crate::data::{Data, DataKind};

/// What can be written as [`Data`].
pub trait ToData {
    /// The value as data.
    fn to_data(&self) -> Data;
}

/// What can be read from [`Data`].
pub trait FromData: Sized {
    /// Reads the value.
    ///
    /// # Errors
    /// `data` is of another type, or does not fit; nothing is converted on the quiet.
    fn from_data(data: &Data) -> Result<Self, ConversionError>;

    /// What Zeek calls the type, such as `set[addr]`. That of a composite index, which is no type of its own in Zeek, is its
    /// parts in brackets, such as `[addr, count]`; nothing else begins with a bracket.
    fn type_name() -> Cow<'static, str>;
}

/// Why data is not of the type that was wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConversionError {
    /// Where in the value, from the outside in, such as `field host`, `element 3`; empty for the value itself.
    path: Vec<Cow<'static, str>>,
    expected: Cow<'static, str>,
    got: Cow<'static, str>,
}

impl ConversionError {
    /// `data` is no `expected`.
    #[must_use]
    pub fn mismatch(expected: impl Into<Cow<'static, str>>, data: &Data) -> Self {
        Self::new(expected, kind_name(data.kind()))
    }

    /// There is `got` instead of `expected`.
    #[must_use]
    pub fn new(expected: impl Into<Cow<'static, str>>, got: impl Into<Cow<'static, str>>) -> Self {
        Self {
            path: Vec::new(),
            expected: expected.into(),
            got: got.into(),
        }
    }

    /// The same error, `place` further in.
    #[must_use]
    pub fn within(mut self, place: impl Into<Cow<'static, str>>) -> Self {
        self.path.insert(0, place.into());
        self
    }

    /// What was wanted, in Zeek's words.
    #[must_use]
    pub fn expected(&self) -> &str {
        &self.expected
    }

    /// What there was, in Zeek's words.
    #[must_use]
    pub fn got(&self) -> &str {
        &self.got
    }
}

impl fmt::Display for ConversionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for place in &self.path {
            write!(f, "{place}: ")?;
        }
        write!(f, "got {}, expected {}", self.got, self.expected)
    }
}

impl std::error::Error for ConversionError {}

/// What Zeek calls values of a kind.
#[must_use]
pub const fn kind_name(kind: DataKind) -> &'static str {
    match kind {
        DataKind::None => "none",
        DataKind::Boolean => "bool",
        DataKind::Count => "count",
        DataKind::Integer => "int",
        DataKind::Real => "double",
        DataKind::String => "string",
        DataKind::Address => "addr",
        DataKind::Subnet => "subnet",
        DataKind::Port => "port",
        DataKind::Timestamp => "time",
        DataKind::Timespan => "interval",
        DataKind::Enum => "enum",
        DataKind::Set => "set",
        DataKind::Table => "table",
        DataKind::Vector => "vector",
    }
}

/// The elements of a vector that stands for a composite of `count` parts, such as a record.
///
/// # Errors
/// `data` is no vector of that length.
pub fn parts<'d>(
    data: &'d Data,
    type_name: &str,
    count: usize,
) -> Result<&'d [Data], ConversionError> {
    match data {
        Data::Vector(parts) if parts.len() == count => Ok(parts),
        Data::Vector(parts) => Err(ConversionError::new(
            format!("{type_name} with {count} parts"),
            format!("vector of {}", parts.len()),
        )),
        _ => Err(ConversionError::mismatch(type_name.to_owned(), data)),
    }
}

/// The fields of a record of `count` fields, as a receiver takes them: there may be more, which a newer sender has appended,
/// but not fewer (zeek-cluster reference, 5).
///
/// # Errors
/// `data` is no vector, or too short.
pub fn fields<'d>(
    data: &'d Data,
    type_name: &str,
    count: usize,
) -> Result<&'d [Data], ConversionError> {
    match data {
        Data::Vector(fields) if fields.len() >= count => Ok(&fields[..count]),
        Data::Vector(fields) => Err(ConversionError::new(
            format!("{type_name} with {count} fields"),
            format!("vector of {}", fields.len()),
        )),
        _ => Err(ConversionError::mismatch(type_name.to_owned(), data)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::net::IpAddr;

    use super::*;
    use crate::{Port, Timestamp};

    fn back<T: ToData + FromData + PartialEq + fmt::Debug>(value: T) {
        assert_eq!(T::from_data(&value.to_data()), Ok(value));
    }

    #[test]
    fn values_come_back_as_they_were() {
        back(true);
        back(7u8);
        back(u64::MAX);
        back(i64::MIN);
        back(1.5f64);
        back("text".to_owned());
        back(IpAddr::from([192, 0, 2, 1]));
        back(IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]));
        back(Port::tcp(80));
        back(Timestamp::from_nanos(5));
        back(std::time::Duration::from_millis(1500));
        let epoch = std::time::SystemTime::UNIX_EPOCH;
        back(epoch + std::time::Duration::from_nanos(1_500_000_001));
        back(epoch - std::time::Duration::from_nanos(1));
        back(vec![1u64, 2]);
        back(BTreeSet::from(["a".to_owned(), "b".to_owned()]));
        back(BTreeMap::from([
            (("a".to_owned(), 1u64), Some(2i64)),
            (("b".to_owned(), 3), None),
        ]));
        back(Data::from("any"));
    }

    #[test]
    fn nothing_is_converted_on_the_quiet() {
        let error = |result: Result<u8, ConversionError>| result.unwrap_err().to_string();
        assert_eq!(
            error(u8::from_data(&5i64.into())),
            "got int, expected count"
        );
        assert_eq!(
            error(u8::from_data(&256u64.into())),
            "got count 256, expected count up to 255"
        );
        let nested = Vec::<(String, u64)>::from_data(&Data::vector([Data::vector([
            Data::from("a"),
            (-1i64).into(),
        ])]));
        assert_eq!(
            nested.unwrap_err().to_string(),
            "element 1: part 2: got int, expected count"
        );
        let short = <(String, u64)>::from_data(&Data::vector(["a"]));
        assert_eq!(
            short.unwrap_err().to_string(),
            "got vector of 1, expected tuple with 2 parts"
        );
        assert_eq!(
            BTreeMap::<IpAddr, Vec<u64>>::type_name(),
            "table[addr] of vector of count"
        );
    }

    #[test]
    fn arguments_are_counted_and_named() {
        let args = ("a", 5u64).to_args();
        assert_eq!(<(String, u64)>::from_args(&args), Ok(("a".to_owned(), 5)));
        let error = <(String,)>::from_args(&args).unwrap_err();
        assert_eq!(error.to_string(), "invalid # of args, got 2, expected 1");
        let error = <(String, i64)>::from_args(&args).unwrap_err();
        assert_eq!(error.to_string(), "arg #2, got count, expected int");
        assert_eq!(<()>::from_args(&[]), Ok(()));
        assert_eq!(<(String, u64)>::type_names(), ["string", "count"]);
    }
}
