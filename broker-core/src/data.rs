//! The data model: the fifteen types of value that Broker knows.
//!
//! [`Data`] is exhaustive: the types are complete by definition. The total order is by type number first, then by value
//! (wire reference 3.4); numbers of different types are never equal. Strings and enum names are bytes.
//!
//! **Invariant:** order, equality and hash agree. NaN equals itself and is above every other real, so that the order is
//! total; -0.0 equals +0.0.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::address::{Address, Subnet};
use crate::byte_string::ByteString;
use crate::port::Port;
use crate::set::Set;
use crate::table::Table;
use crate::time::{Timespan, Timestamp};

/// A value of any type.
///
/// ```
/// use broker_core::{Data, Set, Table};
///
/// let hosts = Table::from_iter([("web", Set::from_iter(["192.0.2.1", "192.0.2.2"]))]);
/// let data = Data::vector([Data::from("hosts"), 2u64.into(), hosts.into()]);
/// assert_eq!(data.to_string(), "(hosts, 2, {web -> {192.0.2.1, 192.0.2.2}})");
///
/// let bytes = data.to_bytes();
/// assert_eq!(Data::decode(&bytes), Ok(data));
/// ```
#[derive(Clone, Default)]
pub enum Data {
    /// No value.
    #[default]
    None,
    /// True or false.
    Boolean(bool),
    /// An unsigned number.
    Count(u64),
    /// A signed number.
    Integer(i64),
    /// A floating-point number.
    Real(f64),
    /// Any bytes.
    String(ByteString),
    /// An IP address.
    Address(Address),
    /// An IP network.
    Subnet(Subnet),
    /// A transport-layer port.
    Port(Port),
    /// A point in time.
    Timestamp(Timestamp),
    /// A span of time.
    Timespan(Timespan),
    /// The name of an enum value.
    Enum(EnumValue),
    /// Unique values in ascending order.
    Set(Set),
    /// Values by key.
    Table(Table),
    /// Values in the order given; also called list.
    Vector(Vec<Self>),
}

/// The type of a value. The numbers are the tags of the binary format and also order values of different types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum DataKind {
    /// [`Data::None`]
    None = 0,
    /// [`Data::Boolean`]
    Boolean = 1,
    /// [`Data::Count`]
    Count = 2,
    /// [`Data::Integer`]
    Integer = 3,
    /// [`Data::Real`]
    Real = 4,
    /// [`Data::String`]
    String = 5,
    /// [`Data::Address`]
    Address = 6,
    /// [`Data::Subnet`]
    Subnet = 7,
    /// [`Data::Port`]
    Port = 8,
    /// [`Data::Timestamp`]
    Timestamp = 9,
    /// [`Data::Timespan`]
    Timespan = 10,
    /// [`Data::Enum`]
    Enum = 11,
    /// [`Data::Set`]
    Set = 12,
    /// [`Data::Table`]
    Table = 13,
    /// [`Data::Vector`]
    Vector = 14,
}

impl DataKind {
    /// Every kind, in the order of tags.
    pub const ALL: [Self; 15] = [
        Self::None,
        Self::Boolean,
        Self::Count,
        Self::Integer,
        Self::Real,
        Self::String,
        Self::Address,
        Self::Subnet,
        Self::Port,
        Self::Timestamp,
        Self::Timespan,
        Self::Enum,
        Self::Set,
        Self::Table,
        Self::Vector,
    ];

    /// The kind with this tag.
    #[must_use]
    #[inline]
    pub const fn from_tag(tag: u8) -> Option<Self> {
        match tag {
            0 => Some(Self::None),
            1 => Some(Self::Boolean),
            2 => Some(Self::Count),
            3 => Some(Self::Integer),
            4 => Some(Self::Real),
            5 => Some(Self::String),
            6 => Some(Self::Address),
            7 => Some(Self::Subnet),
            8 => Some(Self::Port),
            9 => Some(Self::Timestamp),
            10 => Some(Self::Timespan),
            11 => Some(Self::Enum),
            12 => Some(Self::Set),
            13 => Some(Self::Table),
            14 => Some(Self::Vector),
            _ => None,
        }
    }

    /// The tag in the binary format.
    #[must_use]
    #[inline]
    pub const fn tag(self) -> u8 {
        self as u8
    }

    /// The name that JSON v1 uses.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Boolean => "boolean",
            Self::Count => "count",
            Self::Integer => "integer",
            Self::Real => "real",
            Self::String => "string",
            Self::Address => "address",
            Self::Subnet => "subnet",
            Self::Port => "port",
            Self::Timestamp => "timestamp",
            Self::Timespan => "timespan",
            Self::Enum => "enum-value",
            Self::Set => "set",
            Self::Table => "table",
            Self::Vector => "vector",
        }
    }

    /// The kind that JSON v1 calls `name`.
    #[must_use]
    pub const fn from_name(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"none" => Self::None,
            b"boolean" => Self::Boolean,
            b"count" => Self::Count,
            b"integer" => Self::Integer,
            b"real" => Self::Real,
            b"string" => Self::String,
            b"address" => Self::Address,
            b"subnet" => Self::Subnet,
            b"port" => Self::Port,
            b"timestamp" => Self::Timestamp,
            b"timespan" => Self::Timespan,
            b"enum-value" => Self::Enum,
            b"set" => Self::Set,
            b"table" => Self::Table,
            b"vector" => Self::Vector,
            _ => return None,
        })
    }
}

impl fmt::Display for DataKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The name of an enum value, such as `Conn::LOG`. A type of its own, so that it is never taken for a string.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EnumValue(pub ByteString);

impl EnumValue {
    /// The enum value called `name`.
    #[must_use]
    pub fn new(name: impl Into<ByteString>) -> Self {
        Self(name.into())
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        &self.0
    }
}

impl Data {
    /// An enum value called `name`.
    #[must_use]
    pub fn enum_value(name: impl Into<ByteString>) -> Self {
        Self::Enum(EnumValue::new(name))
    }

    /// A vector of these values.
    #[must_use]
    pub fn vector<T: Into<Self>>(values: impl IntoIterator<Item = T>) -> Self {
        Self::Vector(values.into_iter().map(Into::into).collect())
    }

    /// The type of the value.
    #[must_use]
    #[inline]
    pub const fn kind(&self) -> DataKind {
        match self {
            Self::None => DataKind::None,
            Self::Boolean(_) => DataKind::Boolean,
            Self::Count(_) => DataKind::Count,
            Self::Integer(_) => DataKind::Integer,
            Self::Real(_) => DataKind::Real,
            Self::String(_) => DataKind::String,
            Self::Address(_) => DataKind::Address,
            Self::Subnet(_) => DataKind::Subnet,
            Self::Port(_) => DataKind::Port,
            Self::Timestamp(_) => DataKind::Timestamp,
            Self::Timespan(_) => DataKind::Timespan,
            Self::Enum(_) => DataKind::Enum,
            Self::Set(_) => DataKind::Set,
            Self::Table(_) => DataKind::Table,
            Self::Vector(_) => DataKind::Vector,
        }
    }

    /// The name of the type, as JSON v1 has it.
    #[must_use]
    pub const fn type_name(&self) -> &'static str {
        self.kind().name()
    }

    /// Whether this is [`Data::None`].
    #[must_use]
    pub const fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// The boolean, if it is one.
    #[must_use]
    pub const fn as_bool(&self) -> Option<bool> {
        if let Self::Boolean(value) = self {
            Some(*value)
        } else {
            None
        }
    }

    /// The count, if it is one.
    #[must_use]
    pub const fn as_count(&self) -> Option<u64> {
        if let Self::Count(value) = self {
            Some(*value)
        } else {
            None
        }
    }

    /// The integer, if it is one.
    #[must_use]
    pub const fn as_integer(&self) -> Option<i64> {
        if let Self::Integer(value) = self {
            Some(*value)
        } else {
            None
        }
    }

    /// The real, if it is one.
    #[must_use]
    pub const fn as_real(&self) -> Option<f64> {
        if let Self::Real(value) = self {
            Some(*value)
        } else {
            None
        }
    }

    /// The string, if it is one.
    #[must_use]
    pub const fn as_string(&self) -> Option<&ByteString> {
        if let Self::String(value) = self {
            Some(value)
        } else {
            None
        }
    }

    /// The bytes of the string, if it is one.
    #[must_use]
    pub fn as_str_bytes(&self) -> Option<&[u8]> {
        self.as_string().map(ByteString::as_slice)
    }

    /// The address, if it is one.
    #[must_use]
    pub const fn as_address(&self) -> Option<Address> {
        if let Self::Address(value) = self {
            Some(*value)
        } else {
            None
        }
    }

    /// The subnet, if it is one.
    #[must_use]
    pub const fn as_subnet(&self) -> Option<Subnet> {
        if let Self::Subnet(value) = self {
            Some(*value)
        } else {
            None
        }
    }

    /// The port, if it is one.
    #[must_use]
    pub const fn as_port(&self) -> Option<Port> {
        if let Self::Port(value) = self {
            Some(*value)
        } else {
            None
        }
    }

    /// The timestamp, if it is one.
    #[must_use]
    pub const fn as_timestamp(&self) -> Option<Timestamp> {
        if let Self::Timestamp(value) = self {
            Some(*value)
        } else {
            None
        }
    }

    /// The timespan, if it is one.
    #[must_use]
    pub const fn as_timespan(&self) -> Option<Timespan> {
        if let Self::Timespan(value) = self {
            Some(*value)
        } else {
            None
        }
    }

    /// The enum value, if it is one.
    #[must_use]
    pub const fn as_enum(&self) -> Option<&EnumValue> {
        if let Self::Enum(value) = self {
            Some(value)
        } else {
            None
        }
    }

    /// The set, if it is one.
    #[must_use]
    pub const fn as_set(&self) -> Option<&Set> {
        if let Self::Set(value) = self {
            Some(value)
        } else {
            None
        }
    }

    /// The table, if it is one.
    #[must_use]
    pub const fn as_table(&self) -> Option<&Table> {
        if let Self::Table(value) = self {
            Some(value)
        } else {
            None
        }
    }

    /// The elements of the vector, if it is one.
    #[must_use]
    pub fn as_vector(&self) -> Option<&[Self]> {
        if let Self::Vector(value) = self {
            Some(value)
        } else {
            None
        }
    }
}

impl PartialEq for Data {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::None, Self::None) => true,
            (Self::Boolean(a), Self::Boolean(b)) => a == b,
            (Self::Count(a), Self::Count(b)) => a == b,
            (Self::Integer(a), Self::Integer(b)) => a == b,
            (Self::Real(a), Self::Real(b)) => compare_reals(*a, *b).is_eq(),
            (Self::String(a), Self::String(b)) => a == b,
            (Self::Address(a), Self::Address(b)) => a == b,
            (Self::Subnet(a), Self::Subnet(b)) => a == b,
            (Self::Port(a), Self::Port(b)) => a == b,
            (Self::Timestamp(a), Self::Timestamp(b)) => a == b,
            (Self::Timespan(a), Self::Timespan(b)) => a == b,
            (Self::Enum(a), Self::Enum(b)) => a == b,
            (Self::Set(a), Self::Set(b)) => a == b,
            (Self::Table(a), Self::Table(b)) => a == b,
            (Self::Vector(a), Self::Vector(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Data {}

impl PartialOrd for Data {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Data {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Boolean(a), Self::Boolean(b)) => a.cmp(b),
            (Self::Count(a), Self::Count(b)) => a.cmp(b),
            (Self::Integer(a), Self::Integer(b)) => a.cmp(b),
            (Self::Real(a), Self::Real(b)) => compare_reals(*a, *b),
            (Self::String(a), Self::String(b)) => a.cmp(b),
            (Self::Address(a), Self::Address(b)) => a.cmp(b),
            (Self::Subnet(a), Self::Subnet(b)) => a.cmp(b),
            (Self::Port(a), Self::Port(b)) => a.cmp(b),
            (Self::Timestamp(a), Self::Timestamp(b)) => a.cmp(b),
            (Self::Timespan(a), Self::Timespan(b)) => a.cmp(b),
            (Self::Enum(a), Self::Enum(b)) => a.cmp(b),
            (Self::Set(a), Self::Set(b)) => a.cmp(b),
            (Self::Table(a), Self::Table(b)) => a.cmp(b),
            (Self::Vector(a), Self::Vector(b)) => a.cmp(b),
            (a, b) => a.kind().cmp(&b.kind()),
        }
    }
}

impl Hash for Data {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.kind().hash(state);
        match self {
            Self::None => {}
            Self::Boolean(value) => value.hash(state),
            Self::Count(value) => value.hash(state),
            Self::Integer(value) => value.hash(state),
            Self::Real(value) => hashed_bits(*value).hash(state),
            Self::String(value) => value.hash(state),
            Self::Address(value) => value.hash(state),
            Self::Subnet(value) => value.hash(state),
            Self::Port(value) => value.hash(state),
            Self::Timestamp(value) => value.hash(state),
            Self::Timespan(value) => value.hash(state),
            Self::Enum(value) => value.hash(state),
            Self::Set(value) => value.hash(state),
            Self::Table(value) => value.hash(state),
            Self::Vector(value) => value.hash(state),
        }
    }
}

/// The value and its type, as in `Count(5)`; strings escaped.
impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Boolean(value) => write!(f, "Boolean({value})"),
            Self::Count(value) => write!(f, "Count({value})"),
            Self::Integer(value) => write!(f, "Integer({value})"),
            Self::Real(value) => write!(f, "Real({value:?})"),
            Self::String(value) => write!(f, "String({value:?})"),
            Self::Address(value) => write!(f, "Address({value})"),
            Self::Subnet(value) => write!(f, "Subnet({value})"),
            Self::Port(value) => write!(f, "Port({value})"),
            Self::Timestamp(value) => write!(f, "Timestamp({value})"),
            Self::Timespan(value) => write!(f, "Timespan({value})"),
            Self::Enum(value) => write!(f, "Enum({:?})", value.0),
            Self::Set(value) => f.debug_tuple("Set").field(value).finish(),
            Self::Table(value) => f.debug_tuple("Table").field(value).finish(),
            Self::Vector(value) => f.debug_tuple("Vector").field(value).finish(),
        }
    }
}

macro_rules! data_from {
    ($($source:ty => |$value:ident| $data:expr;)*) => {
        $(impl From<$source> for Data {
            #[inline]
            fn from($value: $source) -> Self {
                $data
            }
        })*
    };
}

data_from! {
    bool => |value| Self::Boolean(value);
    u8 => |value| Self::Count(value.into());
    u16 => |value| Self::Count(value.into());
    u32 => |value| Self::Count(value.into());
    u64 => |value| Self::Count(value);
    i8 => |value| Self::Integer(value.into());
    i16 => |value| Self::Integer(value.into());
    i32 => |value| Self::Integer(value.into());
    i64 => |value| Self::Integer(value);
    f64 => |value| Self::Real(value);
    &str => |value| Self::String(value.into());
    String => |value| Self::String(value.into());
    &[u8] => |value| Self::String(value.into());
    Vec<u8> => |value| Self::String(value.into());
    ByteString => |value| Self::String(value);
    Address => |value| Self::Address(value);
    IpAddr => |value| Self::Address(value.into());
    Ipv4Addr => |value| Self::Address(value.into());
    Ipv6Addr => |value| Self::Address(value.into());
    Subnet => |value| Self::Subnet(value);
    Port => |value| Self::Port(value);
    Timestamp => |value| Self::Timestamp(value);
    Timespan => |value| Self::Timespan(value);
    EnumValue => |value| Self::Enum(value);
    Set => |value| Self::Set(value);
    Table => |value| Self::Table(value);
    Vec<Self> => |value| Self::Vector(value);
}

impl<T: Into<Self>> From<Option<T>> for Data {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::None, Into::into)
    }
}

pub(crate) fn compare_reals(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b)
        .unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

/// Bits that are the same for reals that are equal.
fn hashed_bits(value: f64) -> u64 {
    if value.is_nan() {
        u64::MAX
    } else if value == 0.0 {
        0
    } else {
        value.to_bits()
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};

    use super::*;

    #[test]
    fn a_value_is_four_words_long() {
        assert_eq!(size_of::<Data>(), 32);
    }

    #[test]
    fn values_order_by_type_number_first() {
        let ascending = [
            Data::None,
            true.into(),
            1u64.into(),
            (-5i64).into(),
            0.5.into(),
            "x".into(),
            Address::from(Ipv4Addr::LOCALHOST).into(),
            Subnet::default().into(),
            Port::tcp(1).into(),
            Timestamp::EPOCH.into(),
            Timespan::ZERO.into(),
            EnumValue::new("A").into(),
            Set::new().into(),
            Table::new().into(),
            Data::Vector(Vec::new()),
        ];
        assert!(ascending.is_sorted_by(|a, b| a < b));
        for (kind, value) in DataKind::ALL.into_iter().zip(&ascending) {
            assert_eq!(value.kind(), kind);
            assert_eq!(DataKind::from_tag(kind.tag()), Some(kind));
            assert_eq!(DataKind::from_name(kind.name().as_bytes()), Some(kind));
        }
        assert_eq!(DataKind::from_tag(15), None);
    }

    #[test]
    fn numbers_of_different_types_are_not_equal() {
        assert_ne!(Data::Count(1), Data::Integer(1));
        assert_ne!(Data::Count(1), Data::Real(1.0));
        assert_ne!(Data::from("A"), Data::enum_value("A"));
    }

    #[test]
    fn reals_order_totally_and_zeros_are_equal() {
        let ascending = [
            f64::NEG_INFINITY,
            -1.0,
            0.0,
            1e-310,
            1.0,
            f64::INFINITY,
            f64::NAN,
        ]
        .map(Data::Real);
        assert!(ascending.is_sorted_by(|a, b| a < b));
        let hasher = RandomState::new();
        for (a, b) in [(0.0, -0.0), (f64::NAN, -f64::NAN)] {
            assert_eq!(Data::Real(a), Data::Real(b));
            assert_eq!(Data::Real(a).cmp(&Data::Real(b)), Ordering::Equal);
            assert_eq!(
                hasher.hash_one(Data::Real(a)),
                hasher.hash_one(Data::Real(b))
            );
        }
    }

    #[test]
    fn containers_order_element_by_element() {
        let vector = |values: &[u64]| Data::vector(values.iter().copied());
        assert!(vector(&[]) < vector(&[1]));
        assert!(vector(&[1, 9]) < vector(&[2]));
        assert!(vector(&[1]) < vector(&[1, 0]));
        let table = |k: &str, v: u64| Data::from(Table::from_iter([(k, v)]));
        assert!(table("a", 9) < table("b", 1));
        assert!(table("a", 1) < table("a", 2));
    }

    #[test]
    fn absent_values_become_none() {
        assert_eq!(Data::from(None::<u64>), Data::None);
        assert_eq!(Data::from(Some(5u64)), Data::Count(5));
    }
}
