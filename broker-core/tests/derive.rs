//! `#[derive(ToData, FromData)]`: what becomes of structs and enums, and what errors say.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::net::IpAddr;

use broker_core::{Data, FromData, Timestamp, ToData};

#[derive(Clone, Debug, PartialEq, ToData, FromData)]
#[broker(module = "Hosts")]
struct Seen {
    host: IpAddr,
    first: Timestamp,
    name: Option<String>,
    #[broker(default)]
    times: u64,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, ToData, FromData)]
#[broker(module = "Hosts", rename_all = "SCREAMING_SNAKE_CASE")]
enum State {
    New,
    WellKnown,
    #[broker(name = "Conn::S0")]
    Half,
}

#[derive(Clone, Debug, PartialEq, ToData, FromData)]
struct Wrapped(u64);

#[derive(Clone, Debug, PartialEq, ToData, FromData)]
struct Pair(String, u64);

#[derive(Clone, Debug, PartialEq, ToData, FromData)]
struct Holder<T> {
    fields: Vec<T>,
    r#type: u64,
}

mod elsewhere {
    pub(crate) mod inner {
        pub(crate) use broker_core::*;
    }
}

#[derive(Debug, PartialEq, ToData, FromData)]
#[broker(crate = "elsewhere::inner", name = "Any::Name")]
struct Renamed {
    x: bool,
}

fn seen() -> Seen {
    Seen {
        host: IpAddr::from([192, 0, 2, 7]),
        first: Timestamp::from_nanos(5),
        name: None,
        times: 3,
        state: State::WellKnown,
    }
}

fn vector() -> Vec<Data> {
    vec![
        IpAddr::from([192, 0, 2, 7]).into(),
        Timestamp::from_nanos(5).into(),
        Data::None,
        3u64.into(),
        Data::enum_value("Hosts::WELL_KNOWN"),
    ]
}

#[test]
fn a_record_is_a_vector_of_its_fields_and_an_unset_one_is_none() {
    assert_eq!(seen().to_data(), Data::Vector(vector()));
    assert_eq!(Seen::from_data(&Data::Vector(vector())), Ok(seen()));
    assert_eq!(Seen::type_name(), "Hosts::Seen");
}

#[test]
fn a_newer_record_is_read_and_a_shorter_one_is_not() {
    let mut newer = vector();
    newer.push("appended".into());
    assert_eq!(Seen::from_data(&Data::Vector(newer)), Ok(seen()));
    let error = Seen::from_data(&Data::Vector(vector()[..3].to_vec())).unwrap_err();
    assert_eq!(
        error.to_string(),
        "got vector of 3, expected Hosts::Seen with 5 fields"
    );
    let error = Seen::from_data(&1u64.into()).unwrap_err();
    assert_eq!(error.to_string(), "got count, expected Hosts::Seen");
}

#[test]
fn a_field_that_does_not_fit_is_named() {
    let with = |index: usize, value: Data| {
        let mut fields = vector();
        fields[index] = value;
        Seen::from_data(&Data::Vector(fields))
    };
    let error = |index, value| with(index, value).unwrap_err().to_string();
    assert_eq!(
        error(0, "x".into()),
        "field `host`: got string, expected addr"
    );
    assert_eq!(
        error(0, Data::None),
        "field `host`: got none, expected addr"
    );
    assert_eq!(
        error(4, Data::enum_value("Hosts::OTHER")),
        "field `state`: got enum Hosts::OTHER, expected Hosts::State"
    );
    assert_eq!(
        error(3, 3i64.into()),
        "field `times`: got int, expected count"
    );
    let unset = Seen { times: 0, ..seen() };
    assert_eq!(with(3, Data::None), Ok(unset));
    let inner = Data::vector([Data::vector([Data::from(1u64), "x".into()]), 1u64.into()]);
    let error = Holder::<u64>::from_data(&inner).unwrap_err();
    assert_eq!(
        error.to_string(),
        "field `fields`: element 2: got string, expected count"
    );
}

#[test]
fn enums_go_by_their_names_in_zeek() {
    assert_eq!(State::New.to_data(), Data::enum_value("Hosts::NEW"));
    assert_eq!(State::Half.to_data(), Data::enum_value("Conn::S0"));
    for state in [State::New, State::WellKnown, State::Half] {
        assert_eq!(State::from_data(&state.to_data()), Ok(state));
    }
    // A name that lacks its scope is another, as in Zeek.
    assert!(State::from_data(&Data::enum_value("NEW")).is_err());
    let error = State::from_data(&"Hosts::NEW".into()).unwrap_err();
    assert_eq!(error.to_string(), "got string, expected Hosts::State");
}

#[test]
fn a_struct_around_one_value_is_that_value_and_one_of_several_a_vector() {
    assert_eq!(Wrapped(5).to_data(), 5u64.into());
    assert_eq!(Wrapped::from_data(&5u64.into()), Ok(Wrapped(5)));
    assert_eq!(Wrapped::type_name(), "count");
    let pair = Pair("a".to_owned(), 5);
    let data = Data::vector([Data::from("a"), 5u64.into()]);
    assert_eq!(pair.to_data(), data);
    assert_eq!(Pair::from_data(&data), Ok(pair));
    let error = Pair::from_data(&Data::vector([Data::from("a"), 5i64.into()])).unwrap_err();
    assert_eq!(error.to_string(), "part 2: got int, expected count");
    assert_eq!(Pair::type_name(), "[string, count]");
    // The length of a composite index has to match.
    let longer = Data::vector([Data::from("a"), 5u64.into(), 6u64.into()]);
    assert!(Pair::from_data(&longer).is_err());
}

#[test]
fn generic_and_renamed_types_convert_as_well() {
    let holder = Holder {
        fields: vec![Wrapped(1), Wrapped(2)],
        r#type: 7,
    };
    assert_eq!(Holder::from_data(&holder.to_data()), Ok(holder));
    let renamed = Renamed { x: true };
    assert_eq!(Renamed::from_data(&renamed.to_data()), Ok(renamed));
    assert_eq!(Renamed::type_name(), "Any::Name");
}
