//! Sets: tables whose elements have no value, which is none in the store (reference, zeek-cluster 4.5).

use std::any::TypeId;
use std::borrow::{Borrow, Cow};
use std::collections::BTreeSet;
use std::time::Duration;

use broker_core::{ConversionError, Data, FromData, ToData};

use super::error::TableError;
use super::handle::BrokerTable;

/// The value of an element of a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Member;

impl ToData for Member {
    fn to_data(&self) -> Data {
        Data::None
    }
}

impl FromData for Member {
    fn from_data(data: &Data) -> Result<Self, ConversionError> {
        match data {
            Data::None => Ok(Self),
            _ => Err(ConversionError::mismatch("element of a set", data)),
        }
    }

    fn type_name() -> Cow<'static, str> {
        "element of a set".into()
    }
}

/// Whether `V` stands for no value.
pub(super) fn is_member<V: 'static>() -> bool {
    TypeId::of::<V>() == TypeId::of::<Member>()
}

/// A set that all nodes of a cluster share: a [`BrokerTable`] of elements without value, with the same promises.
#[derive(Debug)]
pub struct BrokerSet<K> {
    table: BrokerTable<K, Member>,
}

impl<K> Clone for BrokerSet<K> {
    fn clone(&self) -> Self {
        Self {
            table: self.table.clone(),
        }
    }
}

impl<K> From<BrokerTable<K, Member>> for BrokerSet<K> {
    fn from(table: BrokerTable<K, Member>) -> Self {
        Self { table }
    }
}

impl<K> BrokerSet<K>
where
    K: ToData + FromData + Clone + Send + Sync + 'static,
{
    /// The table behind it, which has the calls to wait and to watch.
    #[must_use]
    pub const fn as_table(&self) -> &BrokerTable<K, Member> {
        &self.table
    }

    /// Whether the element is there.
    pub fn contains<Q>(&self, element: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: ToData + ?Sized,
    {
        self.table.contains(element)
    }

    /// How many elements there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// The elements, as [`BrokerTable::iter`] finds them.
    pub fn iter(&self) -> impl Iterator<Item = K> + '_ {
        self.table.keys()
    }

    /// The elements in a set of their own, as [`BrokerTable::iter`] finds them.
    #[must_use]
    pub fn snapshot(&self) -> BTreeSet<K>
    where
        K: Ord,
    {
        self.iter().collect()
    }

    /// Adds an element; whether it is new. One that is there already is written again, which begins its life anew under
    /// `write_expire`.
    ///
    /// # Errors
    /// As [`BrokerTable::insert`].
    pub fn insert(&self, element: K) -> Result<bool, TableError> {
        Ok(self.table.insert(element, Member)?.is_none())
    }

    /// Removes an element; whether it was there.
    ///
    /// # Errors
    /// As [`BrokerTable::insert`].
    pub fn remove<Q>(&self, element: &Q) -> Result<bool, TableError>
    where
        K: Borrow<Q>,
        Q: ToData + ?Sized,
    {
        Ok(self.table.remove(element)?.is_some())
    }

    /// Removes all elements, here and in the store.
    ///
    /// # Errors
    /// As [`BrokerTable::insert`].
    pub fn clear(&self) -> Result<(), TableError> {
        self.table.clear()
    }

    /// As [`BrokerTable::flush`].
    pub async fn flush(&self, limit: Duration) -> bool {
        self.table.flush(limit).await
    }
}
