//! Keys of rendezvous hashing: which bytes of a value are hashed (reference, zeek-cluster 3.4).
//!
//! A string is hashed as its raw bytes; anything else as its type tag (`int32`, little endian) and
//! its value. All nodes of a cluster must agree on these bytes, Zeek's included, so a value whose
//! bytes are not reproducible (a table, a set) is refused instead of hashed somehow.

use std::hash::{Hash, Hasher};

use broker_core::{Address, Data, Port, Subnet, ToData};

use super::fnv::{Fnv32, Fnv64};

/// The hashed key: all that choosing a node needs. Building one allocates nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HrwKey {
    digest: u32,
    wide: u64,
}

impl HrwKey {
    /// The key for a string: its raw bytes, no tag, no terminator.
    #[must_use]
    pub fn string(bytes: &[u8]) -> Self {
        let mut sink = KeyHasher::new();
        sink.bytes(bytes);
        sink.finish()
    }

    /// The key for an address.
    #[must_use]
    pub fn address(address: impl Into<Address>) -> Self {
        Self::value(&KeyValue::Address(address.into()))
    }

    /// The key for a count.
    #[must_use]
    pub fn count(count: u64) -> Self {
        Self::value(&KeyValue::Count(count))
    }

    /// The key for a value of any Zeek type.
    #[must_use]
    pub fn value(value: &KeyValue<'_>) -> Self {
        let mut sink = KeyHasher::new();
        match value {
            KeyValue::String(bytes) => sink.bytes(bytes),
            other => sink.described(other),
        }
        sink.finish()
    }

    /// The key for a value of Broker's data model.
    ///
    /// Time and interval become Zeek's `double` seconds. A vector must hold values of one type.
    ///
    /// # Errors
    /// The value cannot be a key: see [`HrwKeyError`].
    pub fn from_data(data: &Data) -> Result<Self, HrwKeyError> {
        let mut sink = KeyHasher::new();
        match data {
            Data::String(bytes) => sink.bytes(bytes),
            Data::Vector(elements) => sink.data_vector(elements)?,
            other => sink.described(&plain(other)?),
        }
        Ok(sink.finish())
    }

    /// The 32-bit FNV-1a of the key bytes, `d` in the reference.
    #[must_use]
    pub const fn digest(&self) -> u32 {
        self.digest
    }
}

impl AsRef<Self> for HrwKey {
    fn as_ref(&self) -> &Self {
        self
    }
}

/// Feeds the 64-bit FNV-1a of the key bytes; used by weighted pools.
impl Hash for HrwKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.wide.to_le_bytes());
    }
}

/// What can be the key of a pool: whatever can be written as [`Data`], a [`HrwKey`], or a [`KeyValue`].
///
/// Zeek's types matter: `5u64` is a count and `5i64` an int, and they are different keys, as are the address 10.0.0.1 and
/// the string "10.0.0.1". An enum needs [`KeyValue::Enum`], a record [`KeyValue::Record`]: data does not carry the names
/// that Zeek hashes with them.
pub trait ToHrwKey {
    /// The key.
    ///
    /// # Errors
    /// The value cannot be a key: see [`HrwKeyError`].
    fn to_hrw_key(&self) -> Result<HrwKey, HrwKeyError>;
}

impl<T: ToData + ?Sized> ToHrwKey for T {
    fn to_hrw_key(&self) -> Result<HrwKey, HrwKeyError> {
        HrwKey::from_data(&self.to_data())
    }
}

impl ToHrwKey for HrwKey {
    fn to_hrw_key(&self) -> Result<HrwKey, HrwKeyError> {
        Ok(*self)
    }
}

impl ToHrwKey for KeyValue<'_> {
    fn to_hrw_key(&self) -> Result<HrwKey, HrwKeyError> {
        Ok(HrwKey::value(self))
    }
}

/// Why a value cannot be a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HrwKeyError {
    /// Nothing is no key.
    #[error("no value is no key")]
    None,
    /// The order of elements is not reproducible in Zeek.
    #[error("a {kind} is no key: its order differs between nodes")]
    Unordered {
        /// `set` or `table`.
        kind: &'static str,
    },
    /// Zeek hashes the name of the enum's type too, which Broker data does not carry.
    #[error("an enum value needs the name of its type: use KeyValue::Enum")]
    EnumType,
    /// A vector that is empty, mixed or nested does not say what Zeek type it is.
    #[error(
        "the type of a vector that is empty, mixed or nested is not known: use KeyValue::Vector or KeyValue::Record"
    )]
    VectorType,
}

/// The type of a value within a record or vector, for those Zeek type descriptions that are one tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum KeyType {
    /// `bool`
    Bool = 1,
    /// `int`
    Int = 2,
    /// `count`
    Count = 3,
    /// `double`
    Double = 4,
    /// `time`
    Time = 5,
    /// `interval`
    Interval = 6,
    /// `string`
    String = 7,
    /// `pattern`
    Pattern = 8,
    /// `port`
    Port = 10,
    /// `addr`
    Address = 11,
    /// `subnet`
    Subnet = 12,
}

/// A Zeek value as a key, for those that [`Data`] cannot express.
#[derive(Clone, Debug, PartialEq)]
pub enum KeyValue<'a> {
    /// A `bool`.
    Bool(bool),
    /// An `int`.
    Int(i64),
    /// A `count`.
    Count(u64),
    /// A `double`.
    Double(f64),
    /// A `time`, in seconds since the epoch.
    Time(f64),
    /// An `interval`, in seconds. Zeek hashes its text parts; avoid it as a key.
    Interval(f64),
    /// A `string`.
    String(&'a [u8]),
    /// A `pattern`, by its exact-match text: `^?(ab+c)$?` for `/ab+c/`.
    Pattern(&'a [u8]),
    /// An `enum` value.
    Enum {
        /// The name of the type, `Log::ID`.
        type_name: &'a str,
        /// The full name of the value, `Conn::LOG`.
        name: &'a str,
    },
    /// A `port`.
    Port(Port),
    /// An `addr`.
    Address(Address),
    /// A `subnet`.
    Subnet(Subnet),
    /// A `record`: name, type and value of each field, in the order of declaration.
    Record(Vec<(&'a str, KeyType, Option<Self>)>),
    /// A `vector` and the type of its elements, some of which may be unset.
    Vector(KeyType, Vec<Option<Self>>),
}

impl KeyValue<'_> {
    const fn tag(&self) -> i32 {
        match self {
            Self::Bool(_) => KeyType::Bool as i32,
            Self::Int(_) => KeyType::Int as i32,
            Self::Count(_) => KeyType::Count as i32,
            Self::Double(_) => KeyType::Double as i32,
            Self::Time(_) => KeyType::Time as i32,
            Self::Interval(_) => KeyType::Interval as i32,
            Self::String(_) => KeyType::String as i32,
            Self::Pattern(_) => KeyType::Pattern as i32,
            Self::Enum { .. } => ENUM_TAG,
            Self::Port(_) => KeyType::Port as i32,
            Self::Address(_) => KeyType::Address as i32,
            Self::Subnet(_) => KeyType::Subnet as i32,
            Self::Record(_) => RECORD_TAG,
            Self::Vector(..) => VECTOR_TAG,
        }
    }
}

/// The Zeek value of a plain one of Broker's.
fn plain(data: &Data) -> Result<KeyValue<'_>, HrwKeyError> {
    Ok(match data {
        Data::None => return Err(HrwKeyError::None),
        Data::Boolean(value) => KeyValue::Bool(*value),
        Data::Count(value) => KeyValue::Count(*value),
        Data::Integer(value) => KeyValue::Int(*value),
        Data::Real(value) => KeyValue::Double(*value),
        Data::String(bytes) => KeyValue::String(bytes),
        Data::Address(address) => KeyValue::Address(*address),
        Data::Subnet(subnet) => KeyValue::Subnet(*subnet),
        Data::Port(port) => KeyValue::Port(*port),
        Data::Timestamp(time) => KeyValue::Time(time.as_secs_f64()),
        Data::Timespan(span) => KeyValue::Interval(span.as_secs_f64()),
        Data::Enum(_) => return Err(HrwKeyError::EnumType),
        Data::Set(_) | Data::Table(_) => {
            return Err(HrwKeyError::Unordered {
                kind: data.type_name(),
            });
        }
        Data::Vector(_) => return Err(HrwKeyError::VectorType),
    })
}

/// Where key bytes go: both digests at once.
struct KeyHasher {
    narrow: Fnv32,
    wide: Fnv64,
    #[cfg(test)]
    seen: Vec<u8>,
}

impl KeyHasher {
    fn new() -> Self {
        Self {
            narrow: Fnv32::new(),
            wide: Fnv64::new(),
            #[cfg(test)]
            seen: Vec::new(),
        }
    }

    fn finish(&self) -> HrwKey {
        HrwKey {
            digest: self.narrow.finish(),
            wide: self.wide.finish(),
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.narrow = self.narrow.update(bytes);
        self.wide.write(bytes);
        #[cfg(test)]
        self.seen.extend_from_slice(bytes);
    }

    /// A text and its terminator.
    fn text(&mut self, text: &[u8]) {
        self.bytes(text);
        self.bytes(&[0]);
    }

    fn int32(&mut self, value: i32) {
        self.bytes(&value.to_le_bytes());
    }

    fn double(&mut self, value: f64) {
        self.bytes(&value.to_le_bytes());
    }

    /// The tag of a value and its bytes.
    fn described(&mut self, value: &KeyValue<'_>) {
        self.int32(value.tag());
        match value {
            KeyValue::Bool(value) => self.bytes(&i64::from(*value).to_le_bytes()),
            KeyValue::Int(value) => self.bytes(&value.to_le_bytes()),
            KeyValue::Count(value) => self.bytes(&value.to_le_bytes()),
            KeyValue::Double(value) | KeyValue::Time(value) => self.double(*value),
            KeyValue::Interval(seconds) => self.interval(*seconds),
            KeyValue::String(bytes) => {
                // Zeek's length is an int32; no key comes near its end.
                self.int32(i32::try_from(bytes.len()).unwrap_or(i32::MAX));
                self.bytes(bytes);
            }
            KeyValue::Pattern(text) => {
                self.text(b"/");
                self.text(text);
                self.text(b"/");
            }
            KeyValue::Enum { type_name, name } => {
                self.bytes(type_name.as_bytes());
                self.text(name.as_bytes());
            }
            KeyValue::Port(port) => {
                self.bytes(&u32::from(port.number).to_le_bytes());
                self.text(b"/");
                self.bytes(port_word(port).as_bytes());
            }
            KeyValue::Address(address) => {
                self.canonical(*address);
                self.bytes(&[0]);
            }
            KeyValue::Subnet(subnet) => {
                self.canonical(subnet.address);
                let mut digits = Text::new();
                digits.push(format_args!("/{}", subnet.prefix()));
                self.text(digits.as_bytes());
            }
            KeyValue::Record(fields) => self.record(fields),
            KeyValue::Vector(element, values) => {
                self.int32(*element as i32);
                self.elements(values.iter().map(Option::as_ref));
            }
        }
    }

    /// The tokens of a vector; an unset element leaves no bytes between its separators.
    fn elements<'a, 'b: 'a>(&mut self, values: impl Iterator<Item = Option<&'a KeyValue<'b>>>) {
        self.text(b"[");
        for (at, value) in values.enumerate() {
            if at > 0 {
                self.text(b", ");
            }
            if let Some(value) = value {
                self.described(value);
            }
        }
        self.text(b"]");
    }

    fn record(&mut self, fields: &[(&str, KeyType, Option<KeyValue<'_>>)]) {
        let count = fields.len() as u64;
        self.bytes(&0_i64.to_le_bytes());
        self.bytes(&count.to_le_bytes());
        for (name, ty, _) in fields {
            self.text(name.as_bytes());
            self.int32(*ty as i32);
        }
        self.bytes(&count.to_le_bytes());
        for (name, _, value) in fields {
            self.text(name.as_bytes());
            match value {
                Some(value) => self.described(value),
                None => self.text(b"<uninitialized>"),
            }
        }
    }

    fn data_vector(&mut self, elements: &[Data]) -> Result<(), HrwKeyError> {
        let first = elements
            .iter()
            .find(|element| !element.is_none())
            .ok_or(HrwKeyError::VectorType)?;
        self.int32(VECTOR_TAG);
        self.int32(plain(first)?.tag());
        self.text(b"[");
        for (at, element) in elements.iter().enumerate() {
            if at > 0 {
                self.text(b", ");
            }
            if element.is_none() {
                continue;
            }
            if element.kind() != first.kind() {
                return Err(HrwKeyError::VectorType);
            }
            self.described(&plain(element)?);
        }
        self.text(b"]");
        Ok(())
    }

    /// Days, hours, minutes, seconds, milliseconds and the rest in microseconds; parts that are zero are left out.
    fn interval(&mut self, seconds: f64) {
        const NOTHING: f64 = 1e-6;
        let mut rest = seconds;
        let mut wrote = false;
        for (unit, word) in UNITS {
            let amount = if unit == MICROSECOND {
                let amount = rest / unit;
                if amount.abs() < NOTHING { 0.0 } else { amount }
            } else {
                (rest / unit).trunc()
            };
            if amount == 0.0 || !amount.is_finite() {
                continue;
            }
            rest -= amount * unit;
            wrote = true;
            self.double(amount);
            self.text(word);
            if amount.abs() != 1.0 {
                self.text(b"s");
            }
        }
        if !wrote {
            self.text(b"0 secs");
        }
    }

    /// The text of an address as `inet_ntop` writes it.
    fn canonical(&mut self, address: Address) {
        let mut text = Text::new();
        match address.to_ip() {
            std::net::IpAddr::V4(v4) => text.push(format_args!("{v4}")),
            std::net::IpAddr::V6(v6) => match v6.octets() {
                // Zero but for the last four bytes: glibc writes those dotted, std does not.
                [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d] if a != 0 || b != 0 => {
                    text.push(format_args!("::{a}.{b}.{c}.{d}"))
                }
                _ => text.push(format_args!("{v6}")),
            },
        }
        self.bytes(text.as_bytes());
    }
}

fn port_word(port: &Port) -> &'static str {
    match port.protocol {
        broker_core::Protocol::Unknown => "unknown",
        broker_core::Protocol::Tcp => "tcp",
        broker_core::Protocol::Udp => "udp",
        broker_core::Protocol::Icmp => "icmp",
    }
}

/// A short text on the stack; the longest is an IPv6 address of 45 characters.
struct Text {
    bytes: [u8; 64],
    len: usize,
}

impl Text {
    const fn new() -> Self {
        Self {
            bytes: [0; 64],
            len: 0,
        }
    }

    fn push(&mut self, text: std::fmt::Arguments<'_>) {
        std::fmt::Write::write_fmt(self, text).expect("addresses and lengths fit into 64 bytes");
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl std::fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.len + text.len();
        self.bytes
            .get_mut(self.len..end)
            .ok_or(std::fmt::Error)?
            .copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

const ENUM_TAG: i32 = 9;
const RECORD_TAG: i32 = 15;
const VECTOR_TAG: i32 = 19;

const MICROSECOND: f64 = 1e-6;
const UNITS: [(f64, &[u8]); 6] = [
    (86400.0, b"day"),
    (3600.0, b"hr"),
    (60.0, b"min"),
    (1.0, b"sec"),
    (1e-3, b"msec"),
    (MICROSECOND, b"usec"),
];

#[cfg(test)]
mod tests {
    use broker_core::{EnumValue, Protocol, Timespan, Timestamp};

    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Bytes (without spaces) and digest of a value.
    fn seen(value: &KeyValue<'_>) -> (String, u32) {
        let mut sink = KeyHasher::new();
        match value {
            KeyValue::String(bytes) => sink.bytes(bytes),
            other => sink.described(other),
        }
        assert_eq!(sink.finish(), HrwKey::value(value));
        (hex(&sink.seen), sink.finish().digest())
    }

    fn addr(text: &str) -> Address {
        text.parse().unwrap()
    }

    fn port(number: u16, protocol: Protocol) -> KeyValue<'static> {
        KeyValue::Port(Port::new(number, protocol))
    }

    #[test]
    fn every_key_type_of_the_reference_hashes_to_its_bytes_and_digest() {
        let cases: Vec<(KeyValue<'_>, &str, u32)> = vec![
            (
                KeyValue::String(b"example_key1"),
                "6578616d706c655f6b657931",
                0xdc62_e2e0,
            ),
            (KeyValue::String(b""), "", 0x811c_9dc5),
            (KeyValue::String(b"\xc3\xbc\x00z"), "c3bc007a", 0x9b7a_964c),
            (
                KeyValue::String(b"10.0.0.1"),
                "31302e302e302e31",
                0xdebe_be8d,
            ),
            (
                KeyValue::Address(addr("10.0.0.1")),
                "0b000000 31302e302e302e31 00",
                0xbb67_905a,
            ),
            (
                KeyValue::Address(addr("2001:db8::1")),
                "0b000000 323030313a6462383a3a31 00",
                0x8cd1_52e2,
            ),
            (
                KeyValue::Subnet("52.100.165.0/24".parse().unwrap()),
                "0c000000 35322e3130302e3136352e302f3234 00",
                0xbf2f_9d1c,
            ),
            (
                KeyValue::Subnet("2001:db8::/32".parse().unwrap()),
                "0c000000 323030313a6462383a3a2f3332 00",
                0xe87f_7f40,
            ),
            (
                port(443, Protocol::Tcp),
                "0a000000 bb010000 2f00 746370",
                0x2869_8fc7,
            ),
            (
                port(53, Protocol::Udp),
                "0a000000 35000000 2f00 756470",
                0x3828_a97c,
            ),
            (
                port(8, Protocol::Icmp),
                "0a000000 08000000 2f00 69636d70",
                0x2b8d_84b5,
            ),
            (
                port(0, Protocol::Unknown),
                "0a000000 00000000 2f00 756e6b6e6f776e",
                0x0a25_fe7a,
            ),
            (
                KeyValue::Count(42),
                "03000000 2a00000000000000",
                0x39e5_298c,
            ),
            (
                KeyValue::Count(123),
                "03000000 7b00000000000000",
                0xc5b4_42fd,
            ),
            (KeyValue::Int(-1), "02000000 ffffffffffffffff", 0xc3f7_ca0f),
            (
                KeyValue::Double(0.5),
                "04000000 000000000000e03f",
                0xfdf8_c9dc,
            ),
            (
                KeyValue::Double(123.0),
                "04000000 0000000000c05e40",
                0x15d2_016f,
            ),
            (
                KeyValue::Bool(true),
                "01000000 0100000000000000",
                0x6c11_51a5,
            ),
            (
                KeyValue::Bool(false),
                "01000000 0000000000000000",
                0x0eaf_f284,
            ),
            (
                KeyValue::Time(1.0),
                "05000000 000000000000f03f",
                0x7e19_877d,
            ),
            (
                KeyValue::Enum {
                    type_name: "Log::ID",
                    name: "Conn::LOG",
                },
                "09000000 4c6f673a3a4944 436f6e6e3a3a4c4f47 00",
                0x2d81_19ef,
            ),
            (
                KeyValue::Interval(90.0),
                "06000000 000000000000f03f 6d696e00 0000000000003e40 73656300 7300",
                0x8327_bc68,
            ),
            (
                KeyValue::Interval(26.0 * 3600.0),
                "06000000 000000000000f03f 64617900 0000000000000040 687200 7300",
                0xe896_9b99,
            ),
            (
                KeyValue::Interval(-1.5),
                "06000000 000000000000f0bf 73656300 0000000000407fc0 6d73656300 7300",
                0xbc8e_2991,
            ),
            (
                KeyValue::Interval(0.0),
                "06000000 30207365637300",
                0x114f_abd7,
            ),
            (
                KeyValue::Vector(
                    KeyType::Count,
                    vec![Some(KeyValue::Count(1)), Some(KeyValue::Count(2))],
                ),
                "13000000 03000000 5b00 03000000 0100000000000000 2c2000 03000000 0200000000000000 5d00",
                0xc460_e77c,
            ),
            (
                KeyValue::Vector(
                    KeyType::String,
                    vec![Some(KeyValue::String(b"a")), Some(KeyValue::String(b"b"))],
                ),
                "13000000 07000000 5b00 07000000 01000000 61 2c2000 07000000 01000000 62 5d00",
                0xb440_65ba,
            ),
            (
                KeyValue::Pattern(b"^?(ab+c)$?"),
                "08000000 2f00 5e3f2861622b6329243f00 2f00",
                0x2fc2_c0bf,
            ),
            (
                KeyValue::Record(vec![
                    (
                        "orig",
                        KeyType::Address,
                        Some(KeyValue::Address(addr("10.0.0.1"))),
                    ),
                    (
                        "resp",
                        KeyType::Address,
                        Some(KeyValue::Address(addr("10.0.0.2"))),
                    ),
                ]),
                "0f000000 0000000000000000 0200000000000000 6f72696700 0b000000 7265737000 0b000000 0200000000000000 \
                 6f72696700 0b000000 31302e302e302e3100 7265737000 0b000000 31302e302e302e3200",
                0x383b_3a37,
            ),
            (
                KeyValue::Record(vec![
                    ("a", KeyType::Count, None),
                    ("b", KeyType::String, Some(KeyValue::String(b"x"))),
                ]),
                "0f000000 0000000000000000 0200000000000000 6100 03000000 6200 07000000 0200000000000000 \
                 6100 3c756e696e697469616c697a65643e00 6200 07000000 01000000 78",
                0x5574_8b97,
            ),
        ];
        for (value, bytes, digest) in cases {
            assert_eq!(seen(&value), (bytes.replace(' ', ""), digest), "{value:?}");
        }
    }

    #[test]
    fn data_hashes_as_the_zeek_value_it_stands_for() {
        let pairs: Vec<(Data, KeyValue<'_>)> = vec![
            (Data::Boolean(true), KeyValue::Bool(true)),
            (Data::Count(42), KeyValue::Count(42)),
            (Data::Integer(-1), KeyValue::Int(-1)),
            (Data::Real(0.5), KeyValue::Double(0.5)),
            (
                Data::String("example_key1".into()),
                KeyValue::String(b"example_key1"),
            ),
            (
                Data::Address(addr("10.0.0.1")),
                KeyValue::Address(addr("10.0.0.1")),
            ),
            (
                Data::Subnet("2001:db8::/32".parse().unwrap()),
                KeyValue::Subnet("2001:db8::/32".parse().unwrap()),
            ),
            (Data::Port(Port::tcp(443)), KeyValue::Port(Port::tcp(443))),
            (
                Data::Timestamp(Timestamp::from_nanos(1_000_000_000)),
                KeyValue::Time(1.0),
            ),
            (
                Data::Timespan(Timespan::from_nanos(-1_500_000_000)),
                KeyValue::Interval(-1.5),
            ),
            (
                Data::Vector(vec![Data::Count(1), Data::None, Data::Count(2)]),
                KeyValue::Vector(
                    KeyType::Count,
                    vec![Some(KeyValue::Count(1)), None, Some(KeyValue::Count(2))],
                ),
            ),
        ];
        for (data, value) in pairs {
            assert_eq!(
                HrwKey::from_data(&data),
                Ok(HrwKey::value(&value)),
                "{value:?}"
            );
        }
    }

    #[test]
    fn values_without_reproducible_bytes_are_refused() {
        assert_eq!(HrwKey::from_data(&Data::None), Err(HrwKeyError::None));
        assert_eq!(
            HrwKey::from_data(&Data::Enum(EnumValue::new("Conn::LOG"))),
            Err(HrwKeyError::EnumType)
        );
        assert!(matches!(
            HrwKey::from_data(&Data::Set([Data::Count(1)].into_iter().collect())),
            Err(HrwKeyError::Unordered { .. })
        ));
        for vector in [
            vec![],
            vec![Data::None],
            vec![Data::Count(1), Data::Integer(1)],
            vec![Data::Vector(vec![])],
        ] {
            assert_eq!(
                HrwKey::from_data(&Data::Vector(vector)),
                Err(HrwKeyError::VectorType)
            );
        }
    }

    #[test]
    fn intervals_of_any_size_end() {
        for seconds in [f64::INFINITY, f64::NAN, f64::MAX, -f64::MAX, 1e-300, 1e-9] {
            let _ = HrwKey::value(&KeyValue::Interval(seconds));
        }
    }

    #[test]
    fn long_addresses_fit() {
        for text in [
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            "::ffff:255.255.255.255",
            "::255.255.255.255",
        ] {
            let _ = HrwKey::address(addr(text));
        }
        assert_eq!(
            seen(&KeyValue::Address(addr("::1.2.3.4"))).0,
            format!("0b000000{}00", hex(b"::1.2.3.4"))
        );
    }
}
