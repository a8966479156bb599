//! Values as shorthand text.

use std::fmt::Write as _;

use broker_core::{Data, Timespan, json};

/// `data` as one line that [`super::parse`] reads back.
pub(crate) fn print(data: &Data) -> String {
    let mut out = String::new();
    print_into(data, &mut out);
    out
}

fn print_into(data: &Data, out: &mut String) {
    let written = match data {
        Data::Boolean(value) => write!(out, "{value}"),
        Data::Count(value) => write!(out, "{value}u"),
        Data::Integer(value) => write!(out, "{value}"),
        // The debug form is the shortest that reads back equal, and always shows that it is no integer.
        Data::Real(value) if value.is_finite() => write!(out, "{value:?}"),
        Data::String(value) => match value.to_str() {
            Some(text) => {
                print_string(text, out);
                Ok(())
            }
            None => print_json(data, out),
        },
        Data::Address(value) => write!(out, "{value}"),
        Data::Subnet(value) if value.is_canonical() => write!(out, "{value}"),
        Data::Port(value) => write!(out, "{value}"),
        Data::Timespan(value) => print_timespan(*value, out),
        Data::Vector(values) => {
            out.push('[');
            for (index, value) in values.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                print_into(value, out);
            }
            out.push(']');
            Ok(())
        }
        Data::Real(_)
        | Data::Subnet(_)
        | Data::None
        | Data::Timestamp(_)
        | Data::Enum(_)
        | Data::Set(_)
        | Data::Table(_) => print_json(data, out),
    };
    written.expect("writing to a String does not fail");
}

fn print_json(data: &Data, out: &mut String) -> std::fmt::Result {
    out.push_str(&json::to_string(data));
    Ok(())
}

/// `text` in quotes with the escapes of JSON, and no control characters left, so that it stays one line.
fn print_string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    write!(out, "\\u{unit:04x}").expect("writing to a String does not fail");
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// The whole number in the largest of `s`, `ms`, `us`, `ns` that loses nothing.
fn print_timespan(span: Timespan, out: &mut String) -> std::fmt::Result {
    let nanos = span.as_nanos();
    let (unit, factor) = [("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000)]
        .into_iter()
        .find(|(_, factor)| nanos % factor == 0)
        .unwrap_or(("ns", 1));
    write!(out, "{}{unit}", nanos / factor)
}

#[cfg(test)]
mod tests {
    use broker_core::{EnumValue, Port};

    use super::*;

    #[test]
    fn every_type_with_a_shorthand_prints_as_it() {
        let cases = [
            (Data::from(5i64), "5"),
            (Data::from(5u64), "5u"),
            (Data::from(5.0), "5.0"),
            (Data::from(0.1), "0.1"),
            (Data::from(1e300), "1e300"),
            (Data::from(true), "true"),
            (Data::from("a \"b\"\n\u{7}"), r#""a \"b\"\n\u0007""#),
            (Data::from(Port::tcp(80)), "80/tcp"),
            (Data::from(Timespan::from_secs(120)), "120s"),
            (Data::from(Timespan::from_nanos(-1_500_000)), "-1500us"),
            (Data::from(Timespan::ZERO), "0s"),
            (
                Data::vector([Data::from(1i64), Data::from("x")]),
                r#"[1, "x"]"#,
            ),
        ];
        for (data, text) in cases {
            assert_eq!(print(&data), text);
        }
    }

    #[test]
    fn a_type_without_a_shorthand_prints_as_json() {
        assert_eq!(print(&Data::None), r#"{"@data-type":"none","data":{}}"#);
        assert_eq!(
            print(&EnumValue::new("A::B").into()),
            r#"{"@data-type":"enum-value","data":"A::B"}"#
        );
    }
}
