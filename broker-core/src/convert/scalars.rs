//! Single values.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, SystemTime};

use super::{ConversionError, FromData, ToData};
use crate::address::{Address, Subnet};
use crate::byte_string::ByteString;
use crate::data::{Data, EnumValue};
use crate::port::Port;
use crate::set::Set;
use crate::table::Table;
use crate::time::{Timespan, Timestamp};

macro_rules! scalars {
    ($($type:ty, $name:literal, $pattern:pat => $value:expr;)*) => {
        $(
            impl ToData for $type {
                fn to_data(&self) -> Data {
                    Data::from(self.clone())
                }
            }

            impl FromData for $type {
                fn from_data(data: &Data) -> Result<Self, ConversionError> {
                    match data {
                        $pattern => Ok($value),
                        _ => Err(ConversionError::mismatch($name, data)),
                    }
                }

                fn type_name() -> Cow<'static, str> {
                    $name.into()
                }
            }
        )*
    };
}

scalars! {
    bool, "bool", Data::Boolean(value) => *value;
    u64, "count", Data::Count(value) => *value;
    i64, "int", Data::Integer(value) => *value;
    f64, "double", Data::Real(value) => *value;
    ByteString, "string", Data::String(value) => value.clone();
    Address, "addr", Data::Address(value) => *value;
    IpAddr, "addr", Data::Address(value) => value.to_ip();
    Subnet, "subnet", Data::Subnet(value) => *value;
    Port, "port", Data::Port(value) => *value;
    Timestamp, "time", Data::Timestamp(value) => *value;
    Timespan, "interval", Data::Timespan(value) => *value;
    EnumValue, "enum", Data::Enum(value) => value.clone();
    Set, "set", Data::Set(value) => value.clone();
    Table, "table", Data::Table(value) => value.clone();
}

macro_rules! narrow {
    ($($type:ty: $wide:ty, $name:literal, $kind:ident;)*) => {
        $(
            impl ToData for $type {
                fn to_data(&self) -> Data {
                    // Every value of the narrow type is one of the wide type.
                    Data::$kind(*self as $wide)
                }
            }

            impl FromData for $type {
                fn from_data(data: &Data) -> Result<Self, ConversionError> {
                    let value = <$wide>::from_data(data)?;
                    Self::try_from(value).map_err(|_| {
                        ConversionError::new(range::<$type>($name, &Self::MIN, &Self::MAX), format!("{} {value}", $name))
                    })
                }

                fn type_name() -> Cow<'static, str> {
                    $name.into()
                }
            }
        )*
    };
}

narrow! {
    u8: u64, "count", Count;
    u16: u64, "count", Count;
    u32: u64, "count", Count;
    usize: u64, "count", Count;
    i8: i64, "int", Integer;
    i16: i64, "int", Integer;
    i32: i64, "int", Integer;
}

fn range<T: std::fmt::Display + Default + PartialEq>(name: &str, min: &T, max: &T) -> String {
    if *min == T::default() {
        format!("{name} up to {max}")
    } else {
        format!("{name} from {min} to {max}")
    }
}

impl ToData for Data {
    fn to_data(&self) -> Data {
        self.clone()
    }
}

impl FromData for Data {
    fn from_data(data: &Data) -> Result<Self, ConversionError> {
        Ok(data.clone())
    }

    fn type_name() -> Cow<'static, str> {
        "any".into()
    }
}

impl ToData for str {
    fn to_data(&self) -> Data {
        self.into()
    }
}

impl ToData for String {
    fn to_data(&self) -> Data {
        self.as_str().into()
    }
}

/// Text that is UTF-8; for other bytes there is [`ByteString`].
impl FromData for String {
    fn from_data(data: &Data) -> Result<Self, ConversionError> {
        let Data::String(bytes) = data else {
            return Err(ConversionError::mismatch("string", data));
        };
        bytes
            .to_str()
            .map(str::to_owned)
            .ok_or_else(|| ConversionError::new("string in UTF-8", "string of other bytes"))
    }

    fn type_name() -> Cow<'static, str> {
        "string".into()
    }
}

/// Beyond the range of [`Timestamp`] the nearest point in it.
impl ToData for SystemTime {
    fn to_data(&self) -> Data {
        Timestamp::from(*self).into()
    }
}

impl FromData for SystemTime {
    fn from_data(data: &Data) -> Result<Self, ConversionError> {
        let time = Timestamp::from_data(data)?;
        let nanos = Duration::from_nanos(time.as_nanos().unsigned_abs());
        let time_of_system = if time.as_nanos() < 0 {
            Self::UNIX_EPOCH.checked_sub(nanos)
        } else {
            Self::UNIX_EPOCH.checked_add(nanos)
        };
        time_of_system.ok_or_else(|| {
            ConversionError::new(
                "time that the system's clock can say",
                format!("time {time}"),
            )
        })
    }

    fn type_name() -> Cow<'static, str> {
        "time".into()
    }
}

impl ToData for Duration {
    fn to_data(&self) -> Data {
        Timespan::from(*self).into()
    }
}

impl FromData for Duration {
    fn from_data(data: &Data) -> Result<Self, ConversionError> {
        let span = Timespan::from_data(data)?;
        span.to_duration().ok_or_else(|| {
            ConversionError::new("interval that is not negative", format!("interval {span}"))
        })
    }

    fn type_name() -> Cow<'static, str> {
        "interval".into()
    }
}

macro_rules! one_family {
    ($($type:ty, $variant:ident, $name:literal;)*) => {
        $(
            impl ToData for $type {
                fn to_data(&self) -> Data {
                    Data::from(*self)
                }
            }

            impl FromData for $type {
                fn from_data(data: &Data) -> Result<Self, ConversionError> {
                    match IpAddr::from_data(data)? {
                        IpAddr::$variant(address) => Ok(address),
                        other => Err(ConversionError::new($name, format!("addr {other}"))),
                    }
                }

                fn type_name() -> Cow<'static, str> {
                    "addr".into()
                }
            }
        )*
    };
}

one_family! {
    Ipv4Addr, V4, "addr of IPv4";
    Ipv6Addr, V6, "addr of IPv6";
}
