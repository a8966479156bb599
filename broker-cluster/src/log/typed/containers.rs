//! Values of several values, and values that may be unset.

use std::collections::{BTreeSet, HashSet};
use std::hash::{BuildHasher, Hash};

use super::read::{FromLogElement, FromLogField, LogFieldError, LogValueError, LogValues};
use super::{LogElement, LogField};
use crate::log::schema::{Column, ColumnType, LogType};
use crate::log::value::{LogValue, Record};

impl<T: LogField> LogField for Option<T> {
    const WIDTH: usize = T::WIDTH;

    fn columns(name: &str, _optional: bool, columns: &mut Vec<Column>) {
        T::columns(name, true, columns);
    }

    fn values(&self, record: &mut Record) {
        match self {
            Some(value) => value.values(record),
            None => record.extend(std::iter::repeat_n(LogValue::Unset, T::WIDTH)),
        }
    }
}

/// None if none of its columns has a value.
impl<T: FromLogField> FromLogField for Option<T> {
    fn from_log(values: &mut LogValues<'_>) -> Result<Self, LogFieldError> {
        if values.skip_unset(T::WIDTH) {
            Ok(None)
        } else {
            T::from_log(values).map(Some)
        }
    }
}

impl<T: LogElement> LogField for [T] {
    fn columns(name: &str, optional: bool, columns: &mut Vec<Column>) {
        columns.push(vector::<T>(name, optional));
    }

    fn values(&self, record: &mut Record) {
        record.push(LogValue::Vector(
            self.iter().map(LogElement::value).collect(),
        ));
    }
}

impl<T: LogElement> LogField for Vec<T> {
    fn columns(name: &str, optional: bool, columns: &mut Vec<Column>) {
        columns.push(vector::<T>(name, optional));
    }

    fn values(&self, record: &mut Record) {
        self.as_slice().values(record);
    }
}

impl<T: FromLogElement> FromLogField for Vec<T> {
    fn from_log(values: &mut LogValues<'_>) -> Result<Self, LogFieldError> {
        values.one(|value| elements(value, LogType::Vector, T::from_value))
    }
}

/// A vector with holes.
impl<T: LogElement> LogField for Vec<Option<T>> {
    fn columns(name: &str, optional: bool, columns: &mut Vec<Column>) {
        columns.push(vector::<T>(name, optional));
    }

    fn values(&self, record: &mut Record) {
        let value =
            |element: &Option<T>| element.as_ref().map_or(LogValue::Unset, LogElement::value);
        record.push(LogValue::Vector(self.iter().map(value).collect()));
    }
}

impl<T: FromLogElement> FromLogField for Vec<Option<T>> {
    fn from_log(values: &mut LogValues<'_>) -> Result<Self, LogFieldError> {
        values.one(|value| {
            elements(value, LogType::Vector, |element| match element {
                LogValue::Unset => Ok(None),
                element => T::from_value(element).map(Some),
            })
        })
    }
}

impl<T: LogElement> LogField for BTreeSet<T> {
    fn columns(name: &str, optional: bool, columns: &mut Vec<Column>) {
        columns.push(set::<T>(name, optional));
    }

    fn values(&self, record: &mut Record) {
        record.push(LogValue::Set(self.iter().map(LogElement::value).collect()));
    }
}

impl<T: FromLogElement + Ord> FromLogField for BTreeSet<T> {
    fn from_log(values: &mut LogValues<'_>) -> Result<Self, LogFieldError> {
        values.one(|value| elements(value, LogType::Set, T::from_value))
    }
}

/// In no particular order, as sets of Zeek.
impl<T: LogElement, S> LogField for HashSet<T, S> {
    fn columns(name: &str, optional: bool, columns: &mut Vec<Column>) {
        columns.push(set::<T>(name, optional));
    }

    fn values(&self, record: &mut Record) {
        record.push(LogValue::Set(self.iter().map(LogElement::value).collect()));
    }
}

impl<T: FromLogElement + Eq + Hash, S: BuildHasher + Default> FromLogField for HashSet<T, S> {
    fn from_log(values: &mut LogValues<'_>) -> Result<Self, LogFieldError> {
        values.one(|value| elements(value, LogType::Set, T::from_value))
    }
}

fn vector<T: LogElement>(name: &str, optional: bool) -> Column {
    container(name, ColumnType::vector(T::TYPE), optional)
}

fn set<T: LogElement>(name: &str, optional: bool) -> Column {
    container(name, ColumnType::set(T::TYPE), optional)
}

fn container(name: &str, ty: Option<ColumnType>, optional: bool) -> Column {
    Column {
        name: name.to_owned(),
        // As of a plain value.
        ty: ty.unwrap_or(ColumnType::STRING),
        optional,
    }
}

fn elements<T, C: FromIterator<T>>(
    value: &LogValue,
    ty: LogType,
    read: impl Fn(&LogValue) -> Result<T, LogValueError>,
) -> Result<C, LogValueError> {
    let elements = match (value, ty) {
        (LogValue::Set(elements), LogType::Set) => elements,
        (LogValue::Vector(elements), LogType::Vector) => elements,
        (other, _) => return Err(LogValueError::type_of(other, ty)),
    };
    let read =
        |(at, element): (usize, &LogValue)| read(element).map_err(|error| error.in_element(at + 1));
    elements.iter().enumerate().map(read).collect()
}
