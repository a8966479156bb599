//! The text form of values, as Broker prints them (wire reference 5).
//!
//! It is for people: strings are neither quoted nor escaped, so it cannot be read back. Bytes that are not UTF-8 print
//! as U+FFFD in [`Display`](fmt::Display); [`Data::write_text`] gives the bytes as they are.

use std::fmt;
use std::io::Write;

use crate::byte_string::ByteString;
use crate::data::{Data, EnumValue};
use crate::set::Set;
use crate::table::Table;

impl Data {
    /// Appends the text form with the bytes of strings as they are.
    pub fn write_text(&self, out: &mut Vec<u8>) {
        match self {
            Self::String(bytes) | Self::Enum(EnumValue(bytes)) => out.extend_from_slice(bytes),
            Self::Set(elements) => write_joined(out, *b"{}", elements.iter(), |element, out| {
                element.write_text(out)
            }),
            Self::Table(entries) => {
                write_joined(out, *b"{}", entries.iter(), |(key, value), out| {
                    key.write_text(out);
                    out.extend_from_slice(b" -> ");
                    value.write_text(out);
                })
            }
            Self::Vector(elements) => write_joined(out, *b"()", elements.iter(), |element, out| {
                element.write_text(out)
            }),
            scalar => write!(out, "{scalar}").expect("writing to a Vec cannot fail"),
        }
    }
}

fn write_joined<T>(
    out: &mut Vec<u8>,
    [open, close]: [u8; 2],
    items: impl Iterator<Item = T>,
    mut write: impl FnMut(T, &mut Vec<u8>),
) {
    out.push(open);
    for (index, item) in items.enumerate() {
        if index > 0 {
            out.extend_from_slice(b", ");
        }
        write(item, out);
    }
    out.push(close);
}

impl fmt::Display for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("nil"),
            Self::Boolean(value) => f.write_str(if *value { "T" } else { "F" }),
            Self::Count(value) => value.fmt(f),
            Self::Integer(value) => value.fmt(f),
            Self::Real(value) => f.write_str(&fixed_point(*value)),
            Self::String(value) => value.fmt(f),
            Self::Address(value) => value.fmt(f),
            Self::Subnet(value) => value.fmt(f),
            Self::Port(value) => value.fmt(f),
            Self::Timestamp(value) => value.fmt(f),
            Self::Timespan(value) => value.fmt(f),
            Self::Enum(value) => value.fmt(f),
            Self::Set(value) => value.fmt(f),
            Self::Table(value) => value.fmt(f),
            Self::Vector(elements) => {
                f.write_str("(")?;
                fmt_joined(f, elements.iter(), |element, f| element.fmt(f))?;
                f.write_str(")")
            }
        }
    }
}

impl fmt::Display for ByteString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_str_lossy())
    }
}

impl fmt::Display for EnumValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        fmt_joined(f, self.iter(), |element, f| element.fmt(f))?;
        f.write_str("}")
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        fmt_joined(f, self.iter(), |(key, value), f| {
            write!(f, "{key} -> {value}")
        })?;
        f.write_str("}")
    }
}

fn fmt_joined<T>(
    f: &mut fmt::Formatter<'_>,
    items: impl Iterator<Item = T>,
    mut write: impl FnMut(T, &mut fmt::Formatter<'_>) -> fmt::Result,
) -> fmt::Result {
    for (index, item) in items.enumerate() {
        if index > 0 {
            f.write_str(", ")?;
        }
        write(item, f)?;
    }
    Ok(())
}

/// A real as C prints it with `%f`: always six decimals, and `inf`, `-inf` or `nan`.
pub(crate) fn fixed_point(value: f64) -> String {
    if value.is_nan() {
        "nan".to_owned()
    } else {
        format!("{value:.6}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Address, Port, Protocol, Subnet, Timespan, Timestamp};

    #[test]
    fn scalars_print_as_broker_prints_them() {
        for (data, text) in [
            (Data::None, "nil"),
            (true.into(), "T"),
            (false.into(), "F"),
            (42u64.into(), "42"),
            ((-42i64).into(), "-42"),
            ("some text".into(), "some text"),
            (Data::enum_value("Foo::BAR"), "Foo::BAR"),
            (
                "2001:db8:0:1:1:1:1:1".parse::<Address>().unwrap().into(),
                "2001:db8:0:1:1:1:1:1",
            ),
            (
                "10.1.2.0/24".parse::<Subnet>().unwrap().into(),
                "10.1.2.0/24",
            ),
            (Port::tcp(443).into(), "443/tcp"),
            (Port::new(1, Protocol::Unknown).into(), "1/?"),
            (
                Timestamp::from_nanos(1_404_901_004_123_456_789).into(),
                "1404901004123456789ns",
            ),
            (Timespan::from_nanos(-1500).into(), "-1500ns"),
        ] {
            assert_eq!(data.to_string(), text);
        }
    }

    #[test]
    fn reals_print_as_c_does() {
        for (value, text) in [
            (1.5, "1.500000"),
            (-0.0, "-0.000000"),
            (1e-9, "0.000000"),
            (0.007_812_5, "0.007812"),
            (0.023_437_5, "0.023438"),
            (1e23, "99999999999999991611392.000000"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
            (-f64::NAN, "nan"),
        ] {
            assert_eq!(Data::Real(value).to_string(), text);
        }
    }

    #[test]
    fn containers_print_in_their_brackets() {
        let set = Set::from_iter(["b", "a"]);
        let table = Table::from_iter([("x", 1u64), ("y", 2)]);
        assert_eq!(set.to_string(), "{a, b}");
        assert_eq!(table.to_string(), "{x -> 1, y -> 2}");
        let vector = Data::vector([
            Data::from(set),
            table.into(),
            Data::Vector(vec![]),
            Set::new().into(),
            Table::new().into(),
        ]);
        assert_eq!(vector.to_string(), "({a, b}, {x -> 1, y -> 2}, (), {}, {})");
        let mut bytes = Vec::new();
        vector.write_text(&mut bytes);
        assert_eq!(bytes, vector.to_string().into_bytes());
    }

    #[test]
    fn bytes_that_are_not_text_are_kept_when_written() {
        let data = Data::vector([Data::from(&[0xffu8, b'a'][..])]);
        let mut bytes = Vec::new();
        data.write_text(&mut bytes);
        assert_eq!(bytes, b"(\xffa)");
        assert_eq!(data.to_string(), "(\u{fffd}a)");
    }
}
