//! Values on the command line: JSON v1 objects, or a shorthand that is easier to type and to read.
//!
//! | shorthand | value |
//! |---|---|
//! | `5`, `-5` | integer |
//! | `5u` | count |
//! | `1.5`, `1e9` | real |
//! | `true`, `false` | boolean |
//! | `10.0.0.1`, `::1` | address |
//! | `10.0.0.0/8` | subnet |
//! | `80/tcp` | port (`tcp`, `udp`, `icmp`, `?`) |
//! | `5s`, `1.5ms` | timespan (`ns`, `us`, `ms`, `s`, `min`, `h`, `d`) |
//! | `"text"` | string, with the escapes of JSON |
//! | `[1, "a", 5s]` | vector |
//! | `{"@data-type":..,"data":..}` | any value as JSON v1 |
//! | anything else | string |
//!
//! **Invariant:** what [`print()`] writes, [`parse_argument`] reads back as an equal value. What the shorthand has no form for
//! (none, timestamps, enum values, sets, tables, inf and nan, bytes that are no text) is written as exact JSON v1.

mod parse;
mod print;

#[cfg(test)]
pub(crate) use parse::parse;
pub(crate) use parse::parse_argument;
pub(crate) use print::print;

/// The part of a command's help that explains values; a macro, so that help texts can be put together from it.
macro_rules! help {
    () => {
        r#"Values:
  5  -5            integer              5u              count
  1.5  1e9         real                 true  false     boolean
  10.0.0.1  ::1    address              10.0.0.0/8      subnet
  80/tcp  53/udp   port                 5s  1.5ms  2h   timespan (ns us ms s min h d)
  "5"              string (in quotes, with JSON escapes)
  [1, "a", 5s]     vector
  {"@data-type":"count","data":5}       any value as JSON v1: also none, timestamp,
                   enum-value, set, table
  anything else    string
Mind the shell: it takes one pair of quotes away ('"5"' is the string 5).
Output uses the same forms, so that it can be pasted back."#
    };
}
pub(crate) use help;

#[cfg(test)]
#[path = "../../../fuzz/src/value_text.rs"]
mod fuzz;

#[cfg(test)]
mod tests {
    use broker_core::{
        Address, Data, EnumValue, Port, Protocol, Set, Subnet, Table, Timespan, Timestamp,
    };
    use proptest::prelude::*;

    use super::*;

    fn any_data() -> impl Strategy<Value = Data> {
        let leaf = prop_oneof![
            Just(Data::None),
            any::<bool>().prop_map(Data::from),
            any::<u64>().prop_map(Data::from),
            any::<i64>().prop_map(Data::from),
            any::<f64>().prop_map(Data::from),
            any::<String>().prop_map(Data::from),
            proptest::collection::vec(any::<u8>(), 0..12).prop_map(Data::from),
            "[-+]?[0-9]{1,3}(u|s|ms|\\.5|/tcp|\\.0\\.0\\.1|/8)?".prop_map(Data::from),
            any::<[u8; 16]>().prop_map(|octets| Address::from_octets(octets).into()),
            any::<[u8; 4]>()
                .prop_map(|octets| Address::from(std::net::Ipv4Addr::from(octets)).into()),
            (any::<[u8; 16]>(), 0..=128u8).prop_filter_map("canonical", |(octets, length)| {
                Subnet::new(Address::from_octets(octets), length).map(Data::from)
            }),
            (any::<[u8; 4]>(), 0..=32u8).prop_filter_map("canonical", |(octets, length)| {
                Subnet::new(std::net::Ipv4Addr::from(octets), length).map(Data::from)
            }),
            (any::<u16>(), 0..4u8).prop_map(|(number, protocol)| {
                Port::new(number, Protocol::from_u8(protocol).expect("in range")).into()
            }),
            any::<i64>().prop_map(|nanos| Timestamp::from_nanos(nanos).into()),
            any::<i64>().prop_map(|nanos| Timespan::from_nanos(nanos).into()),
            (any::<i32>(), 0..4usize).prop_map(|(amount, unit)| {
                Timespan::from_nanos(i64::from(amount) * [1, 1_000, 1_000_000, 1_000_000_000][unit])
                    .into()
            }),
            "[A-Z][a-z]{0,4}::[A-Z]{1,4}".prop_map(|name| EnumValue::new(name).into()),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Data::Vector),
                proptest::collection::vec(inner.clone(), 0..4)
                    .prop_map(|values| Set::from_iter(values).into()),
                proptest::collection::vec((inner.clone(), inner), 0..4)
                    .prop_map(|entries| Table::from_iter(entries).into()),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn what_is_printed_reads_back_as_an_equal_value(data in any_data()) {
            let printed = print(&data);
            prop_assert!(!printed.contains(['\n', '\r']), "{printed:?}");
            prop_assert_eq!(parse(&printed), Ok(data), "printed as {}", printed);
        }

        #[test]
        fn any_text_is_a_value_or_an_error(text in "\\PC{0,40}|[\\[\\]{}\",0-9.:/a-z ]{0,40}") {
            let _ = parse(&text);
        }
    }

    #[test]
    fn every_file_of_the_fuzz_corpus_passes() {
        let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/value_text");
        let mut files = 0;
        for entry in std::fs::read_dir(corpus).expect("the corpus") {
            let path = entry.expect("an entry").path();
            let bytes = std::fs::read(&path).expect("a readable file");
            println!("{}", path.display());
            fuzz::value_text(&bytes, parse_argument, print);
            files += 1;
        }
        assert!(files > 0, "an empty corpus");
    }
}
