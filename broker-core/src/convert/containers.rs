//! Values of several values.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher, Hash};

use super::{ConversionError, FromData, ToData, parts};
use crate::data::Data;
use crate::set::Set;
use crate::table::Table;

impl<T: ToData + ?Sized> ToData for &T {
    fn to_data(&self) -> Data {
        (**self).to_data()
    }
}

impl<T: ToData> ToData for Option<T> {
    fn to_data(&self) -> Data {
        self.as_ref().map_or(Data::None, ToData::to_data)
    }
}

impl<T: FromData> FromData for Option<T> {
    fn from_data(data: &Data) -> Result<Self, ConversionError> {
        match data {
            Data::None => Ok(None),
            data => T::from_data(data).map(Some),
        }
    }

    fn type_name() -> Cow<'static, str> {
        T::type_name()
    }
}

impl<T: ToData> ToData for [T] {
    fn to_data(&self) -> Data {
        Data::Vector(self.iter().map(ToData::to_data).collect())
    }
}

impl<T: ToData> ToData for Vec<T> {
    fn to_data(&self) -> Data {
        self.as_slice().to_data()
    }
}

impl<T: FromData> FromData for Vec<T> {
    fn from_data(data: &Data) -> Result<Self, ConversionError> {
        let Data::Vector(elements) = data else {
            return Err(ConversionError::mismatch(Self::type_name(), data));
        };
        elements.iter().enumerate().map(element).collect()
    }

    fn type_name() -> Cow<'static, str> {
        format!("vector of {}", T::type_name()).into()
    }
}

fn element<T: FromData>((index, data): (usize, &Data)) -> Result<T, ConversionError> {
    T::from_data(data).map_err(|error| error.within(format!("element {}", index + 1)))
}

fn set_name<T: FromData>() -> Cow<'static, str> {
    format!("set[{}]", T::type_name()).into()
}

fn set_of<'d, T: FromData + 'd, C: FromIterator<T>>(data: &'d Data) -> Result<C, ConversionError> {
    match data {
        Data::Set(elements) => elements.iter().enumerate().map(element).collect(),
        _ => Err(ConversionError::mismatch(set_name::<T>(), data)),
    }
}

fn table_name<K: FromData, V: FromData>() -> Cow<'static, str> {
    format!("table[{}] of {}", K::type_name(), V::type_name()).into()
}

fn table_of<K: FromData, V: FromData, C: FromIterator<(K, V)>>(
    data: &Data,
) -> Result<C, ConversionError> {
    let Data::Table(entries) = data else {
        return Err(ConversionError::mismatch(table_name::<K, V>(), data));
    };
    let entry = |(key, value): &(Data, Data)| {
        Ok((
            K::from_data(key).map_err(|error| error.within(format!("index {key}")))?,
            V::from_data(value).map_err(|error| error.within(format!("value at {key}")))?,
        ))
    };
    entries.iter().map(entry).collect()
}

fn table<'v, K: ToData + 'v, V: ToData + 'v>(
    entries: impl Iterator<Item = (&'v K, &'v V)>,
) -> Data {
    let entries = entries.map(|(key, value)| (key.to_data(), value.to_data()));
    Data::Table(entries.collect::<Table>())
}

impl<T: ToData> ToData for BTreeSet<T> {
    fn to_data(&self) -> Data {
        Data::Set(self.iter().map(ToData::to_data).collect::<Set>())
    }
}

impl<T: FromData + Ord> FromData for BTreeSet<T> {
    fn from_data(data: &Data) -> Result<Self, ConversionError> {
        set_of::<T, Self>(data)
    }

    fn type_name() -> Cow<'static, str> {
        set_name::<T>()
    }
}

impl<T: ToData, S> ToData for HashSet<T, S> {
    fn to_data(&self) -> Data {
        Data::Set(self.iter().map(ToData::to_data).collect::<Set>())
    }
}

impl<T: FromData + Eq + Hash, S: BuildHasher + Default> FromData for HashSet<T, S> {
    fn from_data(data: &Data) -> Result<Self, ConversionError> {
        set_of::<T, Self>(data)
    }

    fn type_name() -> Cow<'static, str> {
        set_name::<T>()
    }
}

impl<K: ToData, V: ToData> ToData for BTreeMap<K, V> {
    fn to_data(&self) -> Data {
        table(self.iter())
    }
}

impl<K: FromData + Ord, V: FromData> FromData for BTreeMap<K, V> {
    fn from_data(data: &Data) -> Result<Self, ConversionError> {
        table_of::<K, V, Self>(data)
    }

    fn type_name() -> Cow<'static, str> {
        table_name::<K, V>()
    }
}

impl<K: ToData, V: ToData, S> ToData for HashMap<K, V, S> {
    fn to_data(&self) -> Data {
        table(self.iter())
    }
}

impl<K: FromData + Eq + Hash, V: FromData, S: BuildHasher + Default> FromData for HashMap<K, V, S> {
    fn from_data(data: &Data) -> Result<Self, ConversionError> {
        table_of::<K, V, Self>(data)
    }

    fn type_name() -> Cow<'static, str> {
        table_name::<K, V>()
    }
}

macro_rules! tuples {
    ($($count:literal: $($type:ident $index:tt)+;)*) => {
        $(
            impl<$($type: ToData),+> ToData for ($($type,)+) {
                fn to_data(&self) -> Data {
                    Data::Vector(vec![$(self.$index.to_data()),+])
                }
            }

            impl<$($type: FromData),+> FromData for ($($type,)+) {
                fn from_data(data: &Data) -> Result<Self, ConversionError> {
                    let parts = parts(data, "tuple", $count)?;
                    Ok(($(
                        $type::from_data(&parts[$index])
                            .map_err(|error| error.within(format!("part {}", $index + 1)))?,
                    )+))
                }

                fn type_name() -> Cow<'static, str> {
                    let parts = [$($type::type_name()),+];
                    format!("[{}]", parts.join(", ")).into()
                }
            }
        )*
    };
}

tuples! {
    1: A 0;
    2: A 0 B 1;
    3: A 0 B 1 C 2;
    4: A 0 B 1 C 2 D 3;
    5: A 0 B 1 C 2 D 3 E 4;
    6: A 0 B 1 C 2 D 3 E 4 F 5;
    7: A 0 B 1 C 2 D 3 E 4 F 5 G 6;
    8: A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7;
}
