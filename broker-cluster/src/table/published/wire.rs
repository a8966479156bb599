//! The event of a published table, as Zeek's records are vectors (reference, zeek-cluster 2.8 and 5).
//!
//! ```text
//! Cluster::table_change_infos(header, infos)
//!   header = [id: string, ts: time, node_id: string]
//!   infos  = vector of [change: enum, ts: time, index: vector of any, value: any or none, previous: any or none]
//! ```
//!
//! The index is a vector of its parts, also where there is one. A set has no values. Zeek gives a previous value with
//! `TABLE_ELEMENT_CHANGED` only, and skips what has one otherwise.

use broker_core::convert::fields;
use broker_core::{ConversionError, Data, FromData, Timestamp, ToData};

/// The name of the event.
pub const CHANGE_EVENT: &str = "Cluster::table_change_infos";

/// Whose changes they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeHeader {
    /// The table, by its name in Zeek.
    pub id: String,
    /// When they were published.
    pub ts: Timestamp,
    /// The process that made them.
    pub node_id: String,
}

/// What happened to an element; the names are Zeek's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChangeKind {
    /// `TABLE_ELEMENT_NEW`.
    New,
    /// `TABLE_ELEMENT_CHANGED`.
    Changed,
    /// `TABLE_ELEMENT_REMOVED`.
    Removed,
    /// `TABLE_ELEMENT_EXPIRED`, which receivers take as a removal.
    Expired,
}

/// One change, as it travels.
#[derive(Clone, Debug, PartialEq)]
pub struct ChangeInfo {
    /// What happened.
    pub change: ChangeKind,
    /// When.
    pub ts: Timestamp,
    /// The parts of the index.
    pub index: Vec<Data>,
    /// The value: what is there now, or what was removed. None in sets.
    pub value: Option<Data>,
    /// What was there before, of an element that changed.
    pub previous: Option<Data>,
}

impl ChangeKind {
    const ALL: [Self; 4] = [Self::New, Self::Changed, Self::Removed, Self::Expired];

    /// What Zeek calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::New => "TABLE_ELEMENT_NEW",
            Self::Changed => "TABLE_ELEMENT_CHANGED",
            Self::Removed => "TABLE_ELEMENT_REMOVED",
            Self::Expired => "TABLE_ELEMENT_EXPIRED",
        }
    }
}

impl ToData for ChangeKind {
    fn to_data(&self) -> Data {
        Data::enum_value(self.name())
    }
}

impl FromData for ChangeKind {
    fn from_data(data: &Data) -> Result<Self, ConversionError> {
        let kind = data.as_enum().and_then(|name| {
            Self::ALL
                .into_iter()
                .find(|kind| kind.name().as_bytes() == name.name())
        });
        kind.ok_or_else(|| ConversionError::mismatch("TableChange", data))
    }

    fn type_name() -> std::borrow::Cow<'static, str> {
        "TableChange".into()
    }
}

impl ToData for ChangeHeader {
    fn to_data(&self) -> Data {
        Data::vector([self.id.to_data(), self.ts.to_data(), self.node_id.to_data()])
    }
}

impl FromData for ChangeHeader {
    fn from_data(data: &Data) -> Result<Self, ConversionError> {
        let fields = fields(data, "Cluster::TableChangeHeader", 3)?;
        Ok(Self {
            id: field(fields, 0, "id")?,
            ts: field(fields, 1, "ts")?,
            node_id: field(fields, 2, "node_id")?,
        })
    }

    fn type_name() -> std::borrow::Cow<'static, str> {
        "Cluster::TableChangeHeader".into()
    }
}

impl ToData for ChangeInfo {
    fn to_data(&self) -> Data {
        Data::vector([
            self.change.to_data(),
            self.ts.to_data(),
            Data::Vector(self.index.clone()),
            self.value.to_data(),
            self.previous.to_data(),
        ])
    }
}

impl FromData for ChangeInfo {
    fn from_data(data: &Data) -> Result<Self, ConversionError> {
        let fields = fields(data, "Cluster::TableChangeInfo", 5)?;
        Ok(Self {
            change: field(fields, 0, "change")?,
            ts: field(fields, 1, "ts")?,
            index: field(fields, 2, "index")?,
            value: field(fields, 3, "value")?,
            previous: field(fields, 4, "previous_value")?,
        })
    }

    fn type_name() -> std::borrow::Cow<'static, str> {
        "Cluster::TableChangeInfo".into()
    }
}

fn field<T: FromData>(fields: &[Data], index: usize, name: &str) -> Result<T, ConversionError> {
    T::from_data(&fields[index]).map_err(|error| error.within(format!("field `{name}`")))
}

/// Whether `K` is a composite index, whose parts are those of its vector.
fn is_composite<K: FromData>() -> bool {
    K::type_name().starts_with('[')
}

/// The index of a change, from a key as a store would have it.
pub(super) fn index_of<K: FromData>(key: &Data) -> Vec<Data> {
    match key {
        Data::Vector(parts) if is_composite::<K>() => parts.clone(),
        key => vec![key.clone()],
    }
}

/// The key as a store would have it, from the index of a change.
pub(super) fn key_of<K: FromData>(mut index: Vec<Data>) -> Result<Data, ConversionError> {
    if is_composite::<K>() {
        return Ok(Data::Vector(index));
    }
    match (index.pop(), index.len()) {
        (Some(key), 0) => Ok(key),
        (last, others) => {
            let got = others + usize::from(last.is_some());
            let expected = format!("index [{}]", K::type_name());
            Err(ConversionError::new(
                expected,
                format!("index of {got} parts"),
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info() -> ChangeInfo {
        ChangeInfo {
            change: ChangeKind::Changed,
            ts: Timestamp::from_nanos(5),
            index: vec!["a".into(), 1u64.into()],
            value: Some(2u64.into()),
            previous: None,
        }
    }

    #[test]
    fn records_are_vectors_in_zeek_s_order_and_unset_fields_are_none() {
        let data = Data::vector([
            Data::enum_value("TABLE_ELEMENT_CHANGED"),
            Timestamp::from_nanos(5).into(),
            Data::vector([Data::from("a"), 1u64.into()]),
            2u64.into(),
            Data::None,
        ]);
        assert_eq!(info().to_data(), data);
        assert_eq!(ChangeInfo::from_data(&data), Ok(info()));
        let header = ChangeHeader {
            id: "Hosts::seen".to_owned(),
            ts: Timestamp::from_nanos(7),
            node_id: "n".to_owned(),
        };
        let data = Data::vector([
            Data::from("Hosts::seen"),
            Timestamp::from_nanos(7).into(),
            "n".into(),
        ]);
        assert_eq!(header.to_data(), data);
        assert_eq!(ChangeHeader::from_data(&data), Ok(header));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let mut data = info().to_data();
        if let Data::Vector(fields) = &mut data {
            fields[0] = Data::enum_value("Other::NEW");
        }
        let error = ChangeInfo::from_data(&data).unwrap_err();
        assert_eq!(
            error.to_string(),
            "field `change`: got enum, expected TableChange"
        );
    }

    #[test]
    fn an_index_is_a_vector_of_its_parts_also_of_one() {
        let composite = Data::vector([Data::from("a"), 1u64.into()]);
        assert_eq!(
            index_of::<(String, u64)>(&composite),
            ["a".into(), 1u64.into()]
        );
        assert_eq!(
            key_of::<(String, u64)>(vec!["a".into(), 1u64.into()]),
            Ok(composite.clone())
        );
        assert_eq!(index_of::<String>(&"a".into()), ["a".into()]);
        assert_eq!(key_of::<String>(vec!["a".into()]), Ok("a".into()));
        // An index that is a vector itself is one part.
        assert_eq!(index_of::<Vec<Data>>(&composite), [composite]);
        let error = key_of::<String>(vec!["a".into(), "b".into()]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "got index of 2 parts, expected index [string]"
        );
        assert!(key_of::<String>(Vec::new()).is_err());
    }
}
