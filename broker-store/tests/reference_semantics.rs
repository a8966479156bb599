//! What add and subtract make of every stored type and every operand (broker-wire reference, 8.1): a row of the table for each
//! pair that works, and a clash for all the others.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::net::Ipv4Addr;

use broker_core::{Data, DataKind, ErrorCode, Port, Set, Subnet, Table, Timespan, Timestamp};
use broker_store::semantics::{add, subtract};

/// A value of each type.
fn values() -> Vec<Data> {
    vec![
        Data::None,
        true.into(),
        5u64.into(),
        (-5i64).into(),
        2.5.into(),
        "ab".into(),
        Ipv4Addr::LOCALHOST.into(),
        Subnet::new(Ipv4Addr::new(10, 0, 0, 0), 8).into(),
        Port::tcp(80).into(),
        Timestamp::from_nanos(1_000).into(),
        Timespan::from_nanos(300).into(),
        Data::enum_value("A"),
        Set::from_iter([1u64]).into(),
        Table::from_iter([("k", 1u64)]).into(),
        Data::vector(["k", "v"]),
    ]
}

/// What the table says of `stored + operand`.
fn sum(stored: &Data, operand: &Data) -> Result<Data, ErrorCode> {
    Ok(match (stored, operand) {
        (Data::Count(_), Data::Count(_)) => 10u64.into(),
        (Data::Integer(_), Data::Integer(_)) => (-10i64).into(),
        (Data::Real(_), Data::Real(_)) => 5.0.into(),
        (Data::Timespan(_), Data::Timespan(_)) => Timespan::from_nanos(600).into(),
        (Data::Timestamp(_), Data::Timespan(_)) => Timestamp::from_nanos(1_300).into(),
        (Data::String(_), Data::String(_)) => "abab".into(),
        (Data::Set(_), element) => Set::from_iter([1u64.into(), element.clone()]).into(),
        // The one vector there is among the operands has two elements.
        (Data::Table(_), Data::Vector(_)) => Table::from_iter([("k", "v")]).into(),
        (Data::Vector(stored), element) => {
            let mut all = stored.to_vec();
            all.push(element.clone());
            Data::Vector(all)
        }
        _ => return Err(ErrorCode::TypeClash),
    })
}

/// What the table says of `stored - operand`.
fn difference(stored: &Data, operand: &Data) -> Result<Data, ErrorCode> {
    Ok(match (stored, operand) {
        (Data::Count(_), Data::Count(_)) => 0u64.into(),
        (Data::Integer(_), Data::Integer(_)) => 0i64.into(),
        (Data::Real(_), Data::Real(_)) => 0.0.into(),
        (Data::Timespan(_), Data::Timespan(_)) => Timespan::from_nanos(0).into(),
        (Data::Timestamp(_), Data::Timespan(_)) => Timestamp::from_nanos(700).into(),
        // None of the operands is in the containers.
        (Data::Set(_) | Data::Table(_), _) => stored.clone(),
        (Data::Vector(_), _) => Data::vector(["k"]),
        _ => return Err(ErrorCode::TypeClash),
    })
}

#[test]
fn every_pair_of_types_adds_and_subtracts_as_the_table_says() {
    let mut clashes = 0;
    for stored in values() {
        for operand in values() {
            let added = add(Some(stored.clone()), operand.clone(), DataKind::None);
            assert_eq!(added, sum(&stored, &operand), "{stored:?} + {operand:?}");
            let subtracted = subtract(Some(stored.clone()), &operand);
            let expected = difference(&stored, &operand);
            assert_eq!(subtracted, expected, "{stored:?} - {operand:?}");
            clashes += usize::from(added.is_err()) + usize::from(subtracted.is_err());
        }
    }
    // 15 x 15 pairs: 6 + 15 + 1 + 15 add, 5 + 15 + 15 + 15 subtract.
    assert_eq!(clashes, 2 * 225 - 37 - 50);
}

#[test]
fn a_missing_key_starts_from_the_default_of_every_init_type() {
    let span = || Timespan::from_nanos(7);
    let pair = Data::vector(["k", "v"]);
    for (init, operand, expected) in [
        (DataKind::Count, Data::from(7u64), Data::from(7u64)),
        (DataKind::Integer, (-7i64).into(), (-7i64).into()),
        (DataKind::Real, 7.5.into(), 7.5.into()),
        (DataKind::String, "x".into(), "x".into()),
        (
            DataKind::Timestamp,
            span().into(),
            Timestamp::from_nanos(7).into(),
        ),
        (DataKind::Timespan, span().into(), span().into()),
        (DataKind::Set, 7u64.into(), Set::from_iter([7u64]).into()),
        (DataKind::Table, pair, Table::from_iter([("k", "v")]).into()),
        (DataKind::Vector, 7u64.into(), Data::vector([7u64])),
    ] {
        assert_eq!(add(None, operand, init), Ok(expected), "{init}");
    }
    for init in [
        DataKind::None,
        DataKind::Boolean,
        DataKind::Address,
        DataKind::Subnet,
        DataKind::Port,
        DataKind::Enum,
    ] {
        assert_eq!(
            add(None, 7u64.into(), init),
            Err(ErrorCode::TypeClash),
            "{init}"
        );
    }
    for operand in values() {
        assert_eq!(subtract(None, &operand), Err(ErrorCode::NoSuchKey));
    }
}

#[test]
fn a_table_takes_pairs_and_no_other_vectors() {
    let table = || Some(Data::from(Table::from_iter([("k", 1u64)])));
    for wrong in [
        Data::Vector(vec![]),
        Data::vector(["k"]),
        Data::vector(["k", "v", "w"]),
    ] {
        assert_eq!(
            add(table(), wrong, DataKind::None),
            Err(ErrorCode::InvalidData)
        );
    }
    let more = Data::vector([Data::from("l"), Data::None]);
    let both = Table::from_iter([
        (Data::from("k"), Data::from(1u64)),
        ("l".into(), Data::None),
    ]);
    assert_eq!(add(table(), more, DataKind::None), Ok(both.into()));
}
