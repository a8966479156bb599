//! The values of a log record, in Zeek's own kinds (reference, zeek-cluster 6.4 and 6.8).
//!
//! These are not the types of Broker's data model: time and interval are `f64` seconds, a set keeps
//! the order its elements came in, and a vector may have unset elements. What a log line says is
//! kept as it is.
//!
//! **Invariant:** two values are equal exactly when their wire form (6.4) is the same bytes, so
//! `-0.0` differs from `0.0` and a NaN equals itself.

use std::net::{IpAddr, Ipv6Addr};

use super::schema::LogType;

/// One log record: a value per column.
pub type Record = Vec<LogValue>;

/// One value of a record.
#[derive(Clone, Debug)]
pub enum LogValue {
    /// No value: `-` in TSV, absent in JSON.
    Unset,
    /// `T` or `F`.
    Bool(bool),
    /// A signed integer.
    Int(i64),
    /// An unsigned integer.
    Count(u64),
    /// A floating-point number.
    Double(f64),
    /// Seconds since 1970.
    Time(f64),
    /// A length of time in seconds.
    Interval(f64),
    /// Bytes, in most logs UTF-8.
    String(Vec<u8>),
    /// The full name of an enum value.
    Enum(Vec<u8>),
    /// A port with its protocol.
    Port(LogPort),
    /// An IP address. IPv4-mapped addresses are held as IPv4: see [`LogValue::addr`].
    Addr(IpAddr),
    /// A network.
    Subnet(LogSubnet),
    /// A set, in the order it came.
    Set(Vec<Self>),
    /// A vector; elements may be [`LogValue::Unset`].
    Vector(Vec<Self>),
    /// A function in text form.
    Func(Vec<u8>),
    /// The name of a file.
    File(Vec<u8>),
}

impl LogValue {
    /// An address value; an IPv4-mapped IPv6 address becomes IPv4, which is what Zeek prints and sends.
    pub fn addr(address: IpAddr) -> Self {
        Self::Addr(address.to_canonical())
    }

    /// The type of the value, none when it is unset.
    pub fn log_type(&self) -> Option<LogType> {
        Some(match self {
            Self::Unset => return None,
            Self::Bool(_) => LogType::Bool,
            Self::Int(_) => LogType::Int,
            Self::Count(_) => LogType::Count,
            Self::Double(_) => LogType::Double,
            Self::Time(_) => LogType::Time,
            Self::Interval(_) => LogType::Interval,
            Self::String(_) => LogType::String,
            Self::Enum(_) => LogType::Enum,
            Self::Port(_) => LogType::Port,
            Self::Addr(_) => LogType::Addr,
            Self::Subnet(_) => LogType::Subnet,
            Self::Set(_) => LogType::Set,
            Self::Vector(_) => LogType::Vector,
            Self::Func(_) => LogType::Func,
            Self::File(_) => LogType::File,
        })
    }

    /// Whether there is no value.
    pub fn is_unset(&self) -> bool {
        matches!(self, Self::Unset)
    }

    /// The address, if this is one.
    pub fn as_addr(&self) -> Option<IpAddr> {
        match self {
            Self::Addr(address) => Some(*address),
            _ => None,
        }
    }

    /// The bytes of a string, enum, function or file.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::String(bytes) | Self::Enum(bytes) | Self::Func(bytes) | Self::File(bytes) => {
                Some(bytes)
            }
            _ => None,
        }
    }
}

impl PartialEq for LogValue {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Unset, Self::Unset) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Int(a), Self::Int(b)) => a == b,
            (Self::Count(a), Self::Count(b)) => a == b,
            (Self::Double(a), Self::Double(b))
            | (Self::Time(a), Self::Time(b))
            | (Self::Interval(a), Self::Interval(b)) => a.to_bits() == b.to_bits(),
            (Self::String(a), Self::String(b))
            | (Self::Enum(a), Self::Enum(b))
            | (Self::Func(a), Self::Func(b))
            | (Self::File(a), Self::File(b)) => a == b,
            (Self::Port(a), Self::Port(b)) => a == b,
            (Self::Addr(a), Self::Addr(b)) => a == b,
            (Self::Subnet(a), Self::Subnet(b)) => a == b,
            (Self::Set(a), Self::Set(b)) | (Self::Vector(a), Self::Vector(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for LogValue {}

/// A port as logs hold it. The number is as wide as on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LogPort {
    /// The port number, or the ICMP type or code.
    pub number: u64,
    /// Its protocol; log files do not show it, so a port read from one has [`PortProtocol::Unknown`].
    pub protocol: PortProtocol,
}

/// The transport protocol of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PortProtocol {
    /// Not known.
    Unknown,
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP; the number is a type or code.
    Icmp,
}

impl PortProtocol {
    /// The number on the wire.
    pub fn tag(self) -> i32 {
        match self {
            Self::Unknown => 0,
            Self::Tcp => 1,
            Self::Udp => 2,
            Self::Icmp => 3,
        }
    }

    /// The protocol with this number, if there is one.
    pub fn from_tag(tag: i32) -> Option<Self> {
        Some(match tag {
            0 => Self::Unknown,
            1 => Self::Tcp,
            2 => Self::Udp,
            3 => Self::Icmp,
            _ => return None,
        })
    }
}

/// A network: an address with its host bits cleared and a length.
///
/// The length is counted in 128-bit terms, so `10.0.0.0/8` has 104; an IPv4-mapped network of at
/// least 96 bits is held as IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LogSubnet {
    address: IpAddr,
    bits: u8,
}

impl LogSubnet {
    /// The network of `address` with `length` bits, counted as people write it: up to 32 for IPv4,
    /// up to 128 for IPv6. None when the length is greater.
    pub fn new(address: IpAddr, length: u8) -> Option<Self> {
        match address {
            IpAddr::V4(_) => Self::from_wire(address, length.checked_add(96)?),
            IpAddr::V6(_) => Self::from_wire(address, length),
        }
    }

    /// The network with a length in 128-bit terms. None when it is above 128, or below 96 for IPv4.
    pub fn from_wire(address: IpAddr, bits: u8) -> Option<Self> {
        if bits > 128 || (address.is_ipv4() && bits < 96) {
            return None;
        }
        let wide = match address {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
        let cleared = Ipv6Addr::from(u128::from(wide) & mask);
        // Mapped only if all of the first 96 bits survived the mask.
        Some(Self {
            address: IpAddr::V6(cleared).to_canonical(),
            bits,
        })
    }

    /// The address of the network.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// The length as people write it: 8 for `10.0.0.0/8`.
    pub fn length(&self) -> u8 {
        match self.address {
            // An IPv4 network has at least 96 bits: `from_wire` sees to it.
            IpAddr::V4(_) => self.bits - 96,
            IpAddr::V6(_) => self.bits,
        }
    }

    /// The length in 128-bit terms.
    pub fn wire_bits(&self) -> u8 {
        self.bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_equal_when_their_bits_are() {
        assert_eq!(LogValue::Double(f64::NAN), LogValue::Double(f64::NAN));
        assert_ne!(LogValue::Double(0.0), LogValue::Double(-0.0));
        assert_ne!(LogValue::Time(1.0), LogValue::Interval(1.0));
        assert_ne!(LogValue::Unset, LogValue::String(Vec::new()));
    }

    #[test]
    fn a_mapped_address_is_an_ipv4_address() {
        let mapped = "::ffff:192.0.2.1".parse().unwrap();
        assert_eq!(
            LogValue::addr(mapped),
            LogValue::Addr("192.0.2.1".parse().unwrap())
        );
    }

    #[test]
    fn a_subnet_clears_its_host_bits_and_counts_in_128_bit_terms() {
        let subnet = LogSubnet::new("10.1.2.3".parse().unwrap(), 8).unwrap();
        assert_eq!(subnet.address(), "10.0.0.0".parse::<IpAddr>().unwrap());
        assert_eq!((subnet.length(), subnet.wire_bits()), (8, 104));
        let mapped = LogSubnet::new("::ffff:0:0".parse().unwrap(), 96).unwrap();
        assert_eq!(
            (mapped.address(), mapped.length()),
            ("0.0.0.0".parse().unwrap(), 0)
        );
        let all = LogSubnet::new("::".parse().unwrap(), 0).unwrap();
        assert_eq!((all.address(), all.length()), ("::".parse().unwrap(), 0));
        assert_eq!(LogSubnet::new("10.0.0.0".parse().unwrap(), 33), None);
        assert_eq!(LogSubnet::from_wire("10.0.0.0".parse().unwrap(), 8), None);
    }
}
