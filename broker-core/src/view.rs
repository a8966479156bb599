//! Values read in place from an encoded buffer.
//!
//! [`DataView::parse`] checks the structure of a buffer once; from then on a view hands out numbers, bytes and elements
//! straight from it. Nothing is allocated and nothing is copied but numbers.
//!
//! Elements come in the order of the buffer, which for sets and tables may be any, and duplicates in them go unnoticed:
//! finding them takes comparing all elements, which [`DataView::to_data`] does.
//!
//! **Invariant:** the bytes of a view are exactly one value of checked structure, so its accessors cannot fail.

use std::fmt;

use crate::address::{Address, Subnet};
use crate::binary::{self, DecodeError, DecodeRules, Reader};
use crate::data::{Data, DataKind};
use crate::port::Port;
use crate::time::{Timespan, Timestamp};
use crate::visit::Visitor;

/// A value inside an encoded buffer.
///
/// ```
/// use broker_core::{Data, DataView};
///
/// let bytes = Data::vector([Data::from("hosts"), 2u64.into()]).to_bytes();
/// let view = DataView::parse(&bytes)?;
/// let mut elements = view.as_vector().into_iter().flatten();
/// assert_eq!(elements.next().and_then(|name| name.as_str_bytes()), Some(&b"hosts"[..]));
/// assert_eq!(elements.next().and_then(|count| count.as_count()), Some(2));
/// # Ok::<(), broker_core::DecodeError>(())
/// ```
#[derive(Clone, Copy)]
pub struct DataView<'a> {
    kind: DataKind,
    /// The encoded value, its tag included.
    bytes: &'a [u8],
}

impl<'a> DataView<'a> {
    /// The value that the payload of a data message holds.
    ///
    /// # Errors
    /// What is wrong with the structure of `bytes`, trailing ones included.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        Self::parse_with(bytes, DecodeRules::DATA)
    }

    /// The one value that `bytes` are, under the given rules.
    ///
    /// # Errors
    /// What is wrong with the structure of `bytes`, trailing ones included.
    pub fn parse_with(bytes: &'a [u8], rules: DecodeRules) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let view = Self::parse_prefix(&mut reader, rules)?;
        reader.finish()?;
        Ok(view)
    }

    /// The value at `reader`, which is left behind it; for values inside commands.
    ///
    /// # Errors
    /// What is wrong with the structure of the value.
    pub fn parse_prefix(reader: &mut Reader<'a>, rules: DecodeRules) -> Result<Self, DecodeError> {
        let bytes = binary::skip(reader, rules)?;
        Ok(Self {
            kind: kind_of(bytes)?,
            bytes,
        })
    }

    /// The type of the value.
    #[must_use]
    #[inline]
    pub const fn kind(&self) -> DataKind {
        self.kind
    }

    /// The value as it stands in the buffer, to be passed on as it is.
    #[must_use]
    #[inline]
    pub const fn encoded(&self) -> &'a [u8] {
        self.bytes
    }

    /// Whether this is no value.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.kind == DataKind::None
    }

    /// The boolean, if it is one.
    #[must_use]
    #[inline]
    pub fn as_bool(&self) -> Option<bool> {
        self.content(DataKind::Boolean)?.bool("boolean").ok()
    }

    /// The count, if it is one.
    #[must_use]
    #[inline]
    pub fn as_count(&self) -> Option<u64> {
        self.content(DataKind::Count)?.u64("count").ok()
    }

    /// The integer, if it is one.
    #[must_use]
    #[inline]
    pub fn as_integer(&self) -> Option<i64> {
        self.content(DataKind::Integer)?.i64("integer").ok()
    }

    /// The real, if it is one.
    #[must_use]
    #[inline]
    pub fn as_real(&self) -> Option<f64> {
        binary::read_real(&mut self.content(DataKind::Real)?).ok()
    }

    /// The bytes of the string, if it is one.
    #[must_use]
    #[inline]
    pub fn as_str_bytes(&self) -> Option<&'a [u8]> {
        self.content(DataKind::String)?.string("string").ok()
    }

    /// The address, if it is one.
    #[must_use]
    #[inline]
    pub fn as_address(&self) -> Option<Address> {
        binary::read_address(&mut self.content(DataKind::Address)?).ok()
    }

    /// The subnet, if it is one.
    #[must_use]
    #[inline]
    pub fn as_subnet(&self) -> Option<Subnet> {
        binary::read_subnet(&mut self.content(DataKind::Subnet)?).ok()
    }

    /// The port, if it is one.
    #[must_use]
    #[inline]
    pub fn as_port(&self) -> Option<Port> {
        binary::read_port(&mut self.content(DataKind::Port)?, DecodeRules::COMMAND).ok()
    }

    /// The timestamp, if it is one.
    #[must_use]
    #[inline]
    pub fn as_timestamp(&self) -> Option<Timestamp> {
        binary::read_timestamp(&mut self.content(DataKind::Timestamp)?).ok()
    }

    /// The timespan, if it is one.
    #[must_use]
    #[inline]
    pub fn as_timespan(&self) -> Option<Timespan> {
        binary::read_timespan(&mut self.content(DataKind::Timespan)?).ok()
    }

    /// The name of the enum value, if it is one.
    #[must_use]
    #[inline]
    pub fn as_enum_name(&self) -> Option<&'a [u8]> {
        self.content(DataKind::Enum)?.string("enum value").ok()
    }

    /// The elements of the set, in the order of the buffer, if it is one.
    #[must_use]
    #[inline]
    pub fn as_set(&self) -> Option<Elements<'a>> {
        Elements::new(self.content(DataKind::Set)?)
    }

    /// The elements of the vector, if it is one.
    #[must_use]
    #[inline]
    pub fn as_vector(&self) -> Option<Elements<'a>> {
        Elements::new(self.content(DataKind::Vector)?)
    }

    /// The entries of the table, in the order of the buffer, if it is one.
    #[must_use]
    #[inline]
    pub fn as_table(&self) -> Option<Entries<'a>> {
        let mut reader = self.content(DataKind::Table)?;
        let left = reader.varbyte("table size").ok()?;
        Some(Entries { reader, left })
    }

    /// Tells `visitor` every value in this one, in one pass over the buffer.
    pub fn visit(&self, visitor: &mut impl Visitor) {
        let walked = binary::walk(self.bytes, DecodeRules::COMMAND, visitor);
        debug_assert_eq!(walked, Ok(()), "parsing checked the structure");
    }

    /// The value, owned.
    ///
    /// # Errors
    /// If a set holds an element twice or a table a key.
    pub fn to_data(&self) -> Result<Data, DecodeError> {
        binary::decode(self.bytes, DecodeRules::COMMAND)
    }

    #[inline]
    fn content(&self, kind: DataKind) -> Option<Reader<'a>> {
        let (_, content) = self.bytes.split_first()?;
        (self.kind == kind).then_some(Reader::new(content))
    }
}

/// Two views are equal if their bytes are.
impl PartialEq for DataView<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for DataView<'_> {}

impl fmt::Debug for DataView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_data() {
            Ok(data) => data.fmt(f),
            Err(error) => write!(f, "{}({error})", self.kind),
        }
    }
}

/// The elements of a set or vector in a buffer.
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    reader: Reader<'a>,
    left: u32,
}

impl<'a> Elements<'a> {
    #[inline]
    fn new(mut reader: Reader<'a>) -> Option<Self> {
        let left = reader.varbyte("size").ok()?;
        Some(Self { reader, left })
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = DataView<'a>;

    #[inline]
    fn next(&mut self) -> Option<DataView<'a>> {
        self.left = self.left.checked_sub(1)?;
        next_value(&mut self.reader)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

impl ExactSizeIterator for Elements<'_> {}

/// The entries of a table in a buffer, keys with their values.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    reader: Reader<'a>,
    left: u32,
}

impl<'a> Iterator for Entries<'a> {
    type Item = (DataView<'a>, DataView<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        Some((next_value(&mut self.reader)?, next_value(&mut self.reader)?))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

impl ExactSizeIterator for Entries<'_> {}

/// The value at `reader`, whose structure was checked before.
#[inline]
fn next_value<'a>(reader: &mut Reader<'a>) -> Option<DataView<'a>> {
    let mut behind = *reader;
    pass_checked(&mut behind).ok()?;
    let bytes = reader
        .bytes(reader.remaining() - behind.remaining(), "value")
        .ok()?;
    Some(DataView {
        kind: kind_of(bytes).ok()?,
        bytes,
    })
}

/// Moves `reader` behind the value it is at, whose structure was checked before. No recursion: a container only adds
/// its elements to the values still to pass.
#[inline]
fn pass_checked(reader: &mut Reader<'_>) -> Result<(), DecodeError> {
    let mut values = 1usize;
    while values > 0 {
        values -= 1;
        match kind_of(reader.bytes(1, "type tag")?)? {
            DataKind::None => {}
            DataKind::Boolean => drop(reader.bytes(1, "boolean")?),
            DataKind::Port => drop(reader.bytes(3, "port")?),
            DataKind::Count
            | DataKind::Integer
            | DataKind::Real
            | DataKind::Timestamp
            | DataKind::Timespan => drop(reader.bytes(8, "number")?),
            DataKind::Address => drop(reader.bytes(16, "address")?),
            DataKind::Subnet => drop(reader.bytes(17, "subnet")?),
            DataKind::String | DataKind::Enum => drop(reader.string("string")?),
            DataKind::Set | DataKind::Vector => values += reader.varbyte("size")? as usize,
            DataKind::Table => values += 2 * reader.varbyte("table size")? as usize,
        }
    }
    Ok(())
}

#[inline]
fn kind_of(bytes: &[u8]) -> Result<DataKind, DecodeError> {
    let tag = Reader::new(bytes).u8("type tag")?;
    DataKind::from_tag(tag).ok_or(DecodeError::UnknownTag(tag))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Set, Table};

    #[test]
    fn elements_are_read_in_place() {
        let data = Data::vector([
            Data::from(5u64),
            "text".into(),
            Set::from_iter(["a", "b"]).into(),
            Data::None,
        ]);
        let bytes = data.to_bytes();
        let view = DataView::parse(&bytes).unwrap();
        let mut elements = view.as_vector().unwrap();
        assert_eq!(elements.len(), 4);
        assert_eq!(elements.next().unwrap().as_count(), Some(5));
        assert_eq!(elements.next().unwrap().as_str_bytes(), Some(&b"text"[..]));
        let set = elements.next().unwrap();
        assert_eq!(set.encoded(), b"\x0c\x02\x05\x01a\x05\x01b");
        assert_eq!(
            set.as_set()
                .unwrap()
                .filter_map(|e| e.as_str_bytes())
                .collect::<Vec<_>>(),
            [b"a", b"b"]
        );
        assert!(elements.next().unwrap().is_none());
        assert_eq!(elements.next(), None);
        assert_eq!(view.to_data(), Ok(data));
    }

    #[test]
    fn a_view_answers_only_for_its_own_type() {
        let bytes = Data::from(5u64).to_bytes();
        let view = DataView::parse(&bytes).unwrap();
        assert_eq!(view.as_integer(), None);
        assert_eq!(view.as_timestamp(), None);
        assert!(view.as_vector().is_none());
        assert_eq!(view.kind(), DataKind::Count);
    }

    #[test]
    fn table_entries_come_as_pairs() {
        let bytes = Data::from(Table::from_iter([("a", 1u64), ("b", 2)])).to_bytes();
        let entries: Vec<_> = DataView::parse(&bytes)
            .unwrap()
            .as_table()
            .unwrap()
            .collect();
        assert_eq!(entries[1].0.as_str_bytes(), Some(&b"b"[..]));
        assert_eq!(entries[1].1.as_count(), Some(2));
    }

    #[test]
    fn duplicates_are_found_on_conversion() {
        let bytes = b"\x0c\x02\x05\x01a\x05\x01a";
        let view = DataView::parse(bytes).unwrap();
        assert_eq!(view.as_set().unwrap().len(), 2);
        assert_eq!(view.to_data(), Err(DecodeError::DuplicateElement));
    }

    #[test]
    fn a_view_visits_what_the_value_visits() {
        #[derive(Default, PartialEq, Debug)]
        struct Sum(u64, usize);
        impl Visitor for Sum {
            fn count(&mut self, value: u64) {
                self.0 += value;
            }
            fn string(&mut self, value: &[u8]) {
                self.0 += value.iter().map(|b| u64::from(*b)).sum::<u64>();
            }
            fn end(&mut self) {
                self.1 += 1;
            }
        }
        let data = Data::vector([
            Data::from(Table::from_iter([("a", 1u64), ("b", 2)])),
            4u64.into(),
        ]);
        let (mut owned, mut viewed) = (Sum::default(), Sum::default());
        data.visit(&mut owned);
        DataView::parse(&data.to_bytes())
            .unwrap()
            .visit(&mut viewed);
        assert_eq!(owned, Sum(7 + 97 + 98, 2));
        assert_eq!(owned, viewed);
    }
}
