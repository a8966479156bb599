//! What add and subtract do to a stored value, by its type, and what may be a key (wire reference 8.1, 8.2).
//!
//! Written once, above the backends. Numbers are never promoted: count, integer and real are three things. Counts,
//! integers, timespans and timestamps wrap around modulo 2^64; C++ leaves that undefined for all but counts.

use broker_core::binary::MAX_DEPTH;
use broker_core::{Data, DataKind, ErrorCode, Set, Table, Timespan, Timestamp};

/// The value after `operand` was added to `current`; a missing one starts as the default of the type `init`.
///
/// # Errors
/// `type_clash` or `invalid_data`; then nothing is changed, and a missing key stays missing.
pub fn add(current: Option<Data>, operand: Data, init: DataKind) -> Result<Data, ErrorCode> {
    let current = match current {
        Some(current) => current,
        None => default_of(init)?,
    };
    Ok(match (current, operand) {
        (Data::Count(a), Data::Count(b)) => a.wrapping_add(b).into(),
        (Data::Integer(a), Data::Integer(b)) => a.wrapping_add(b).into(),
        (Data::Real(a), Data::Real(b)) => (a + b).into(),
        (Data::Timespan(a), Data::Timespan(b)) => {
            Timespan::from_nanos(a.as_nanos().wrapping_add(b.as_nanos())).into()
        }
        (Data::Timestamp(a), Data::Timespan(b)) => {
            Timestamp::from_nanos(a.as_nanos().wrapping_add(b.as_nanos())).into()
        }
        (Data::String(a), Data::String(b)) => [a.as_slice(), b.as_slice()].concat().into(),
        (Data::Set(mut set), element) => {
            set.insert(element);
            set.into()
        }
        (Data::Table(mut table), Data::Vector(pair)) => {
            let [key, value] = <[Data; 2]>::try_from(pair).map_err(|_| ErrorCode::InvalidData)?;
            table.insert(key, value);
            table.into()
        }
        (Data::Vector(mut vector), element) => {
            vector.push(element);
            vector.into()
        }
        _ => return Err(ErrorCode::TypeClash),
    })
}

/// The value after `operand` was subtracted from `current`.
///
/// # Errors
/// `no_such_key` if there is none, or `type_clash`; then nothing is changed.
pub fn subtract(current: Option<Data>, operand: &Data) -> Result<Data, ErrorCode> {
    Ok(match (current.ok_or(ErrorCode::NoSuchKey)?, operand) {
        (Data::Count(a), Data::Count(b)) => a.wrapping_sub(*b).into(),
        (Data::Integer(a), Data::Integer(b)) => a.wrapping_sub(*b).into(),
        (Data::Real(a), Data::Real(b)) => (a - b).into(),
        (Data::Timespan(a), Data::Timespan(b)) => {
            Timespan::from_nanos(a.as_nanos().wrapping_sub(b.as_nanos())).into()
        }
        (Data::Timestamp(a), Data::Timespan(b)) => {
            Timestamp::from_nanos(a.as_nanos().wrapping_sub(b.as_nanos())).into()
        }
        (Data::Set(mut set), element) => {
            set.remove(element);
            set.into()
        }
        (Data::Table(mut table), key) => {
            table.remove(key);
            table.into()
        }
        (Data::Vector(mut vector), _) => {
            vector.pop();
            vector.into()
        }
        _ => return Err(ErrorCode::TypeClash),
    })
}

/// What `index` finds in `value`: the element of a vector or table, or whether a set has it. A value that is no
/// container is itself, whatever the index.
///
/// # Errors
/// `no_such_key` if there is nothing at the index, `type_clash` if a vector is indexed by something else than a count or
/// a non-negative integer.
pub fn index(value: &Data, index: &Data) -> Result<Data, ErrorCode> {
    match value {
        Data::Vector(vector) => {
            let position = match index {
                Data::Count(position) => Some(*position),
                Data::Integer(position) => u64::try_from(*position).ok(),
                _ => None,
            };
            let position = usize::try_from(position.ok_or(ErrorCode::TypeClash)?)
                .map_err(|_| ErrorCode::NoSuchKey)?;
            vector.get(position).cloned().ok_or(ErrorCode::NoSuchKey)
        }
        Data::Set(set) => Ok(set.contains(index).into()),
        Data::Table(table) => table.get(index).cloned().ok_or(ErrorCode::NoSuchKey),
        other => Ok(other.clone()),
    }
}

/// The init type that an increment by `amount` carries: what a missing key starts as.
#[must_use]
pub const fn increment_init(amount: &Data) -> DataKind {
    match amount {
        Data::Count(_) => DataKind::Count,
        Data::Integer(_) => DataKind::Integer,
        Data::Real(_) => DataKind::Real,
        Data::Timespan(_) => DataKind::Timestamp,
        _ => DataKind::None,
    }
}

/// Brings a key into the form in which equal keys have equal bytes: -0.0 and subnormals become 0.0, which is what
/// their encoding reads back as.
///
/// # Errors
/// `invalid_data` if there is a NaN in it: it equals nothing in C++, not even itself; or if it is nested deeper than
/// [`MAX_DEPTH`], so that nobody could read it.
pub fn normalize_key(key: &mut Data) -> Result<(), ErrorCode> {
    check_depth(key, MAX_DEPTH)?;
    normalize(key, &|number| {
        if number.is_nan() {
            return Err(ErrorCode::InvalidData);
        }
        if !number.is_normal() && number.is_finite() {
            *number = 0.0;
        }
        Ok(())
    })
}

/// Brings a value into the form that its encoding reads back as: subnormals become zero. Otherwise a set could hold two
/// numbers that are one in its encoding, which nobody reads then: clones would wait for it for ever.
///
/// # Errors
/// `invalid_data` if it is nested deeper than [`MAX_DEPTH`]: adding to a container can bring it there.
pub fn normalize_value(value: &mut Data) -> Result<(), ErrorCode> {
    check_depth(value, MAX_DEPTH)?;
    normalize(value, &|number| {
        if number.is_subnormal() {
            *number = 0.0_f64.copysign(*number);
        }
        Ok(())
    })
}

/// Whether `data` has at most `levels` levels of containers.
fn check_depth(data: &Data, levels: u16) -> Result<(), ErrorCode> {
    let inner = |data: &Data| check_depth(data, levels - 1);
    match data {
        Data::Set(_) | Data::Table(_) | Data::Vector(_) if levels == 0 => {
            Err(ErrorCode::InvalidData)
        }
        Data::Vector(elements) => elements.iter().try_for_each(inner),
        Data::Set(set) => set.iter().try_for_each(inner),
        Data::Table(table) => table
            .iter()
            .try_for_each(|(key, value)| inner(key).and_then(|()| inner(value))),
        _ => Ok(()),
    }
}

/// Applies `change` to every real in `data`.
fn normalize(
    data: &mut Data,
    change: &dyn Fn(&mut f64) -> Result<(), ErrorCode>,
) -> Result<(), ErrorCode> {
    match data {
        Data::Real(number) => change(number),
        Data::Vector(elements) => elements
            .iter_mut()
            .try_for_each(|element| normalize(element, change)),
        Data::Set(set) if set.iter().any(holds_real) => {
            let mut elements = std::mem::take(set).into_vec();
            for element in &mut elements {
                normalize(element, change)?;
            }
            *set = elements.into_iter().collect::<Set>();
            Ok(())
        }
        Data::Table(table) if table.iter().any(|(k, v)| holds_real(k) || holds_real(v)) => {
            let mut entries = std::mem::take(table).into_vec();
            for (key, value) in &mut entries {
                normalize(key, change)?;
                normalize(value, change)?;
            }
            *table = entries.into_iter().collect::<Table>();
            Ok(())
        }
        _ => Ok(()),
    }
}

fn holds_real(data: &Data) -> bool {
    match data {
        Data::Real(_) => true,
        Data::Set(set) => set.iter().any(holds_real),
        Data::Vector(vector) => vector.iter().any(holds_real),
        Data::Table(table) => table.iter().any(|(k, v)| holds_real(k) || holds_real(v)),
        _ => false,
    }
}

/// Where an add to a missing key begins. Nothing can be added to the types that have no default here.
fn default_of(kind: DataKind) -> Result<Data, ErrorCode> {
    Ok(match kind {
        DataKind::Count => Data::Count(0),
        DataKind::Integer => Data::Integer(0),
        DataKind::Real => Data::Real(0.0),
        DataKind::String => "".into(),
        DataKind::Timestamp => Timestamp::EPOCH.into(),
        DataKind::Timespan => Timespan::ZERO.into(),
        DataKind::Set => Set::new().into(),
        DataKind::Table => Table::new().into(),
        DataKind::Vector => Data::Vector(Vec::new()),
        DataKind::None
        | DataKind::Boolean
        | DataKind::Address
        | DataKind::Subnet
        | DataKind::Port
        | DataKind::Enum => {
            return Err(ErrorCode::TypeClash);
        }
    })
}

#[cfg(test)]
mod tests {
    use broker_core::{Address, EnumValue, Port, Subnet};

    use super::*;

    const CLASH: Result<Data, ErrorCode> = Err(ErrorCode::TypeClash);

    fn add_to(current: impl Into<Data>, operand: impl Into<Data>) -> Result<Data, ErrorCode> {
        add(Some(current.into()), operand.into(), DataKind::None)
    }

    fn subtract_from(
        current: impl Into<Data>,
        operand: impl Into<Data>,
    ) -> Result<Data, ErrorCode> {
        subtract(Some(current.into()), &operand.into())
    }

    fn span(nanos: i64) -> Timespan {
        Timespan::from_nanos(nanos)
    }

    fn time(nanos: i64) -> Timestamp {
        Timestamp::from_nanos(nanos)
    }

    #[test]
    fn numbers_and_times_add_and_subtract_within_their_type() {
        assert_eq!(add_to(1u64, 2u64), Ok(3u64.into()));
        assert_eq!(add_to(1i64, -2i64), Ok((-1i64).into()));
        assert_eq!(add_to(1.5, 0.5), Ok(2.0.into()));
        assert_eq!(add_to(span(1), span(2)), Ok(span(3).into()));
        assert_eq!(add_to(time(1), span(2)), Ok(time(3).into()));
        assert_eq!(subtract_from(1u64, 2u64), Ok(u64::MAX.into()));
        assert_eq!(subtract_from(1i64, 2i64), Ok((-1i64).into()));
        assert_eq!(subtract_from(1.5, 0.5), Ok(1.0.into()));
        assert_eq!(subtract_from(span(1), span(2)), Ok(span(-1).into()));
        assert_eq!(subtract_from(time(1), span(2)), Ok(time(-1).into()));
    }

    #[test]
    fn whole_numbers_and_times_wrap_around() {
        assert_eq!(add_to(u64::MAX, 2u64), Ok(1u64.into()));
        assert_eq!(add_to(i64::MAX, 1i64), Ok(i64::MIN.into()));
        assert_eq!(subtract_from(i64::MIN, 1i64), Ok(i64::MAX.into()));
        assert_eq!(add_to(time(i64::MAX), span(1)), Ok(time(i64::MIN).into()));
    }

    #[test]
    fn nothing_is_promoted() {
        for (current, operand) in [
            (Data::Count(1), Data::Integer(1)),
            (Data::Integer(1), Data::Count(1)),
            (Data::Real(1.0), Data::Count(1)),
            (time(1).into(), time(1).into()),
            (span(1).into(), Data::Count(1)),
            ("a".into(), Data::Count(1)),
        ] {
            assert_eq!(add_to(current.clone(), operand.clone()), CLASH);
            assert_eq!(subtract_from(current, operand), CLASH);
        }
        assert_eq!(subtract_from("ab", "b"), CLASH);
    }

    #[test]
    fn types_without_arithmetic_clash() {
        let values: [Data; 6] = [
            Data::None,
            true.into(),
            Address::from(std::net::Ipv4Addr::LOCALHOST).into(),
            Subnet::default().into(),
            Port::tcp(1).into(),
            EnumValue::new("A").into(),
        ];
        for value in values {
            assert_eq!(add_to(value.clone(), value.clone()), CLASH);
            assert_eq!(subtract_from(value.clone(), value.clone()), CLASH);
            assert_eq!(add(None, 1u64.into(), value.kind()), CLASH);
        }
    }

    #[test]
    fn containers_take_and_give_elements() {
        let set = |values: &[u64]| Data::from(values.iter().copied().collect::<Set>());
        assert_eq!(add_to(set(&[1]), 2u64), Ok(set(&[1, 2])));
        assert_eq!(add_to(set(&[1]), 1u64), Ok(set(&[1])));
        assert_eq!(subtract_from(set(&[1]), 1u64), Ok(set(&[])));
        assert_eq!(subtract_from(set(&[1]), "x"), Ok(set(&[1])));
        let table = Data::from(Table::from_iter([("a", 1u64)]));
        assert_eq!(
            add_to(table.clone(), Data::vector([Data::from("a"), 2u64.into()])),
            Ok(Table::from_iter([("a", 2u64)]).into())
        );
        assert_eq!(
            add_to(table.clone(), Data::vector(["a"])),
            Err(ErrorCode::InvalidData)
        );
        assert_eq!(add_to(table.clone(), "a"), CLASH);
        assert_eq!(subtract_from(table, "a"), Ok(Table::new().into()));
        assert_eq!(
            add_to(Data::vector([1u64]), Data::vector([2u64])),
            Ok(Data::vector([Data::Count(1), Data::vector([2u64])]))
        );
        assert_eq!(
            subtract_from(Data::vector([1u64, 2]), "whatever"),
            Ok(Data::vector([1u64]))
        );
        assert_eq!(
            subtract_from(Data::Vector(vec![]), "whatever"),
            Ok(Data::Vector(vec![]))
        );
        assert_eq!(add_to("a", "b"), Ok("ab".into()));
    }

    #[test]
    fn a_missing_key_starts_from_the_default_of_the_init_type() {
        assert_eq!(add(None, 5u64.into(), DataKind::Count), Ok(5u64.into()));
        assert_eq!(
            add(None, span(5).into(), DataKind::Timestamp),
            Ok(time(5).into())
        );
        assert_eq!(
            add(None, "x".into(), DataKind::Vector),
            Ok(Data::vector(["x"]))
        );
        assert_eq!(add(None, 5u64.into(), DataKind::None), CLASH);
        assert_eq!(subtract(None, &1u64.into()), Err(ErrorCode::NoSuchKey));
        assert_eq!(increment_init(&span(1).into()), DataKind::Timestamp);
        assert_eq!(increment_init(&"x".into()), DataKind::None);
    }

    #[test]
    fn an_index_finds_elements_members_and_otherwise_the_value() {
        let vector = Data::vector(["a", "b"]);
        assert_eq!(index(&vector, &1u64.into()), Ok("b".into()));
        assert_eq!(index(&vector, &1i64.into()), Ok("b".into()));
        assert_eq!(index(&vector, &2u64.into()), Err(ErrorCode::NoSuchKey));
        assert_eq!(index(&vector, &(-1i64).into()), CLASH);
        assert_eq!(index(&vector, &"x".into()), CLASH);
        let table = Data::from(Table::from_iter([("a", 1u64)]));
        assert_eq!(index(&table, &"a".into()), Ok(1u64.into()));
        assert_eq!(index(&table, &"b".into()), Err(ErrorCode::NoSuchKey));
        assert_eq!(
            index(&Set::from_iter([1u64]).into(), &1u64.into()),
            Ok(true.into())
        );
        assert_eq!(index(&"text".into(), &9u64.into()), Ok("text".into()));
    }

    #[test]
    fn a_key_in_normal_form_equals_what_its_bytes_read_back_as() {
        let mut key = Data::vector([
            Data::Real(-0.0),
            Data::from(Set::from_iter([1e-310, 2.0])),
            Data::Real(1e-310),
        ]);
        normalize_key(&mut key).unwrap();
        assert_eq!(
            Data::decode(&broker_core::binary::to_bytes(&key)).unwrap(),
            key
        );
        assert_eq!(
            crate::backend::key_bytes(&Data::vector([
                Data::Real(0.0),
                Data::from(Set::from_iter([0.0, 2.0])),
                Data::Real(0.0)
            ])),
            crate::backend::key_bytes(&key)
        );
        assert_eq!(
            normalize_key(&mut Data::vector([f64::NAN])),
            Err(ErrorCode::InvalidData)
        );
        let mut infinite = Data::Real(f64::INFINITY);
        normalize_key(&mut infinite).unwrap();
        assert_eq!(infinite, Data::Real(f64::INFINITY));
    }

    #[test]
    fn a_value_in_normal_form_is_what_its_bytes_read_back_as() {
        let tiny = 1e-310;
        for mut value in [
            Data::Real(-tiny),
            Data::from(Set::from_iter([0.0, tiny])),
            Data::from(Table::from_iter([(0.0, 1u64), (tiny, 2)])),
            Data::vector([Data::from(Set::from_iter([tiny, 2.0])), f64::NAN.into()]),
        ] {
            normalize_value(&mut value).unwrap();
            let bytes = broker_core::binary::to_bytes(&value);
            assert_eq!(Data::decode(&bytes), Ok(value));
        }
    }

    #[test]
    fn what_is_nested_deeper_than_anybody_reads_is_refused() {
        let nested = |levels| (0..levels).fold(Data::None, |inner, _| Data::vector([inner]));
        for (levels, result) in [
            (MAX_DEPTH, Ok(())),
            (MAX_DEPTH + 1, Err(ErrorCode::InvalidData)),
        ] {
            let bytes = broker_core::binary::to_bytes(&nested(levels));
            assert_eq!(Data::decode(&bytes).is_ok(), result.is_ok());
            assert_eq!(normalize_value(&mut nested(levels)), result);
            assert_eq!(normalize_key(&mut nested(levels)), result);
        }
    }
}
