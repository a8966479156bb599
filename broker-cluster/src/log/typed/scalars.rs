//! Plain values.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, SystemTime};

use broker_core::{Address, ByteString, EnumValue, Port, Protocol, Subnet, Timespan, Timestamp};

use super::read::{FromLogElement, FromLogField, LogFieldError, LogValueError, LogValues};
use super::{LogElement, LogField};
use crate::log::schema::{Column, LogType};
use crate::log::value::{LogPort, LogSubnet, LogValue, PortProtocol, Record};

/// A type that is written: its column's type, and its value.
macro_rules! written {
    ($($(#[lifetime($lifetime:lifetime)])? $type:ty, $ty:ident, $self:ident => $value:expr;)*) => {
        $(
            impl $(<$lifetime>)? LogField for $type {
                fn columns(name: &str, optional: bool, columns: &mut Vec<Column>) {
                    columns.push(<Self as LogElement>::column(name, optional));
                }

                fn values(&self, record: &mut Record) {
                    record.push(self.value());
                }
            }

            impl $(<$lifetime>)? LogElement for $type {
                const TYPE: LogType = LogType::$ty;

                fn value(&self) -> LogValue {
                    let $self = self;
                    LogValue::$ty($value)
                }
            }
        )*
    };
}

/// A type that is read back, from the content of a value.
macro_rules! read {
    ($($type:ty, $ty:ident, $content:ident => $value:expr;)*) => {
        $(
            impl FromLogElement for $type {
                fn from_value(value: &LogValue) -> Result<Self, LogValueError> {
                    match value {
                        LogValue::$ty($content) => $value,
                        other => Err(LogValueError::type_of(other, LogType::$ty)),
                    }
                }
            }

            impl FromLogField for $type {
                fn from_log(values: &mut LogValues<'_>) -> Result<Self, LogFieldError> {
                    values.element()
                }
            }
        )*
    };
}

written! {
    bool, Bool, value => *value;
    u8, Count, value => u64::from(*value);
    u16, Count, value => u64::from(*value);
    u32, Count, value => u64::from(*value);
    u64, Count, value => *value;
    usize, Count, value => *value as u64;
    i8, Int, value => i64::from(*value);
    i16, Int, value => i64::from(*value);
    i32, Int, value => i64::from(*value);
    i64, Int, value => *value;
    f64, Double, value => *value;
    str, String, value => value.as_bytes().to_vec();
    String, String, value => value.as_bytes().to_vec();
    #[lifetime('a)] Cow<'a, str>, String, value => value.as_bytes().to_vec();
    ByteString, String, value => value.as_slice().to_vec();
    IpAddr, Addr, value => value.to_canonical();
    Ipv4Addr, Addr, value => IpAddr::V4(*value);
    Ipv6Addr, Addr, value => IpAddr::V6(*value).to_canonical();
    Address, Addr, value => value.to_ip();
    Subnet, Subnet, value => log_subnet(*value);
    LogSubnet, Subnet, value => *value;
    Port, Port, value => log_port(*value);
    LogPort, Port, value => *value;
    Timestamp, Time, value => value.as_secs_f64();
    SystemTime, Time, value => Timestamp::from(*value).as_secs_f64();
    Timespan, Interval, value => value.as_secs_f64();
    Duration, Interval, value => value.as_secs_f64();
    EnumValue, Enum, value => value.name().to_vec();
}

read! {
    bool, Bool, value => Ok(*value);
    u8, Count, value => number(*value);
    u16, Count, value => number(*value);
    u32, Count, value => number(*value);
    u64, Count, value => Ok(*value);
    usize, Count, value => number(*value);
    i8, Int, value => number(*value);
    i16, Int, value => number(*value);
    i32, Int, value => number(*value);
    i64, Int, value => Ok(*value);
    f64, Double, value => Ok(*value);
    String, String, value => text(value).map(str::to_owned);
    Cow<'static, str>, String, value => text(value).map(|text| Cow::Owned(text.to_owned()));
    ByteString, String, value => Ok(ByteString::copy_from_slice(value));
    IpAddr, Addr, value => Ok(*value);
    Ipv4Addr, Addr, value => match value {
        IpAddr::V4(address) => Ok(*address),
        IpAddr::V6(_) => Err(LogValueError::content("an IPv4 address", value)),
    };
    Ipv6Addr, Addr, value => match value {
        IpAddr::V6(address) => Ok(*address),
        IpAddr::V4(_) => Err(LogValueError::content("an IPv6 address", value)),
    };
    Address, Addr, value => Ok(Address::from(*value));
    Subnet, Subnet, value => Ok(Subnet::from_raw(Address::from(value.address()), value.wire_bits()));
    LogSubnet, Subnet, value => Ok(*value);
    Port, Port, value => port(value);
    LogPort, Port, value => Ok(*value);
    Timestamp, Time, value => nanos(*value).map(Timestamp::from_nanos);
    SystemTime, Time, value => system_time(*value);
    Timespan, Interval, value => nanos(*value).map(Timespan::from_nanos);
    Duration, Interval, value => Duration::try_from_secs_f64(*value)
        .map_err(|_| LogValueError::content("an interval that is not negative", value));
    EnumValue, Enum, value => Ok(EnumValue::new(value.as_slice()));
}

impl<T: LogField + ?Sized> LogField for &T {
    const WIDTH: usize = T::WIDTH;

    fn columns(name: &str, optional: bool, columns: &mut Vec<Column>) {
        T::columns(name, optional, columns);
    }

    fn values(&self, record: &mut Record) {
        (**self).values(record);
    }
}

impl<T: LogElement + ?Sized> LogElement for &T {
    const TYPE: LogType = T::TYPE;

    fn value(&self) -> LogValue {
        (**self).value()
    }
}

fn number<W, N>(value: W) -> Result<N, LogValueError>
where
    N: TryFrom<W>,
    W: std::fmt::Display + Copy,
{
    N::try_from(value).map_err(|_| LogValueError::content("a smaller number", &value))
}

fn text(bytes: &[u8]) -> Result<&str, LogValueError> {
    std::str::from_utf8(bytes)
        .map_err(|_| LogValueError::content("UTF-8", &String::from_utf8_lossy(bytes)))
}

fn log_subnet(subnet: Subnet) -> LogSubnet {
    let address = IpAddr::V6(Ipv6Addr::from(*subnet.address.octets()));
    LogSubnet::from_wire(address, subnet.length.min(128))
        .expect("an IPv6 address takes every length up to 128")
}

fn log_port(port: Port) -> LogPort {
    LogPort {
        number: u64::from(port.number),
        protocol: match port.protocol {
            Protocol::Unknown => PortProtocol::Unknown,
            Protocol::Tcp => PortProtocol::Tcp,
            Protocol::Udp => PortProtocol::Udp,
            Protocol::Icmp => PortProtocol::Icmp,
        },
    }
}

fn port(port: &LogPort) -> Result<Port, LogValueError> {
    let number = u16::try_from(port.number)
        .map_err(|_| LogValueError::content("a port up to 65535", &port.number))?;
    let protocol = match port.protocol {
        PortProtocol::Unknown => Protocol::Unknown,
        PortProtocol::Tcp => Protocol::Tcp,
        PortProtocol::Udp => Protocol::Udp,
        PortProtocol::Icmp => Protocol::Icmp,
    };
    Ok(Port::new(number, protocol))
}

/// To the nearest nanosecond, since a file has decimals: cutting would make 0.000122999 of 0.000123.
fn nanos(seconds: f64) -> Result<i64, LogValueError> {
    let nanos = (seconds * 1e9).round();
    // 2^63 is exact in a double, and the first that does not fit.
    if (-NANOS_LIMIT..NANOS_LIMIT).contains(&nanos) {
        Ok(nanos as i64)
    } else {
        Err(LogValueError::content("a time within 292 years", &seconds))
    }
}

const NANOS_LIMIT: f64 = 9_223_372_036_854_775_808.0;

fn system_time(seconds: f64) -> Result<SystemTime, LogValueError> {
    let nanos = nanos(seconds)?;
    let distance = Duration::from_nanos(nanos.unsigned_abs());
    let time = if nanos < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(distance)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(distance)
    };
    time.ok_or_else(|| LogValueError::content("a time that the system's clock can say", &seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn back<T: FromLogElement + PartialEq + std::fmt::Debug>(value: T) {
        let written = value.value();
        assert_eq!(written.log_type(), Some(T::TYPE));
        assert_eq!(T::from_value(&written), Ok(value));
    }

    fn message<T: FromLogElement + std::fmt::Debug>(value: &LogValue) -> String {
        T::from_value(value).unwrap_err().to_string()
    }

    #[test]
    fn plain_values_come_back_as_they_were() {
        back(true);
        back(7_u8);
        back(u64::MAX);
        back(usize::MAX);
        back(-7_i16);
        back(i64::MIN);
        back(0.1_f64);
        back("text".to_owned());
        back(Cow::Borrowed("text"));
        back(ByteString::copy_from_slice(b"\xff\x00"));
        back(IpAddr::from([192, 0, 2, 1]));
        back(Ipv4Addr::LOCALHOST);
        back(Ipv6Addr::LOCALHOST);
        back("2001:db8::1".parse::<Address>().unwrap());
        back("10.0.0.0/8".parse::<Subnet>().unwrap());
        back("2001:db8::/32".parse::<Subnet>().unwrap());
        back(Port::udp(53));
        back(Timestamp::from_nanos(1_500_000_000));
        back(SystemTime::UNIX_EPOCH - Duration::from_millis(1));
        back(Timespan::from_nanos(-5));
        back(Duration::from_micros(123));
        back(EnumValue::new("Conn::S0"));
    }

    #[test]
    fn microseconds_of_a_file_are_read_as_they_are_written() {
        for micros in [1, 3, 123, 999_999, 1_379_288_667_706_265_i64] {
            let seconds = micros as f64 / 1e6;
            let span = Timespan::from_value(&LogValue::Interval(seconds)).unwrap();
            assert!(
                (span.as_nanos() - micros * 1000).abs() <= 200,
                "{micros}: {span}"
            );
            assert_eq!(span.value(), LogValue::Interval(seconds));
        }
        assert_eq!(
            Timespan::from_value(&LogValue::Interval(0.000123)),
            Ok(Timespan::from_nanos(123_000))
        );
    }

    #[test]
    fn what_does_not_fit_is_refused_with_a_reason() {
        assert_eq!(message::<u8>(&LogValue::Unset), "is unset");
        assert_eq!(message::<u8>(&LogValue::Int(1)), "is int, not count");
        assert_eq!(
            message::<u8>(&LogValue::Count(256)),
            "`256` is not a smaller number"
        );
        assert_eq!(
            message::<String>(&LogValue::String(vec![b'a', 0xff])),
            "`a\u{fffd}` is not UTF-8"
        );
        assert_eq!(
            message::<Ipv4Addr>(&LogValue::Addr(Ipv6Addr::LOCALHOST.into())),
            "`::1` is not an IPv4 address"
        );
        assert_eq!(
            message::<Duration>(&LogValue::Interval(-1.0)),
            "`-1` is not an interval that is not negative"
        );
        for seconds in [f64::NAN, f64::INFINITY, 1e10, -1e10] {
            assert!(message::<Timestamp>(&LogValue::Time(seconds)).contains("292 years"));
        }
        let port = LogPort {
            number: 65_536,
            protocol: PortProtocol::Tcp,
        };
        assert_eq!(
            message::<Port>(&LogValue::Port(port)),
            "`65536` is not a port up to 65535"
        );
    }

    #[test]
    fn a_mapped_address_is_written_as_ipv4_and_a_raw_subnet_as_one_that_zeek_takes() {
        let mapped: Ipv6Addr = "::ffff:192.0.2.1".parse().unwrap();
        assert_eq!(mapped.value(), LogValue::addr(IpAddr::from([192, 0, 2, 1])));
        let raw = Subnet::from_raw("10.1.2.3".parse().unwrap(), 200);
        let LogValue::Subnet(subnet) = raw.value() else {
            panic!("a subnet")
        };
        assert_eq!((subnet.length(), subnet.wire_bits()), (32, 128));
    }
}
