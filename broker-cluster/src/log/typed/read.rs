//! Records read into structs: which column goes into which field is found out once for a schema, then each record is a walk
//! over its values.
//!
//! Columns are found by name, in whatever order they stand; a log may have others beside. Their types have to be those of the
//! fields, and nothing is converted on the quiet.

use std::fmt;
use std::marker::PhantomData;

use super::{LogElement, LogField, LogRecord};
use crate::log::schema::{Column, ColumnType, LogType, Schema};
use crate::log::value::LogValue;

/// What can be read from the columns of a log.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be read from a log",
    note = "structs take `#[derive(LogRecord, FromLogRecord)]`, enums `#[derive(LogField, FromLogField)]`"
)]
pub trait FromLogField: LogField + Sized {
    /// Takes its values, as many as it has columns.
    ///
    /// # Errors
    /// A value is unset that must not be, or does not fit.
    fn from_log(values: &mut LogValues<'_>) -> Result<Self, LogFieldError>;
}

/// A plain value that can be read from one of a log.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be read from an element of a set or vector in a log"
)]
pub trait FromLogElement: LogElement + FromLogField {
    /// Reads the value.
    ///
    /// # Errors
    /// It is unset, of another type, or does not fit.
    fn from_value(value: &LogValue) -> Result<Self, LogValueError>;
}

/// A struct that is read from records of a log; made with `#[derive(LogRecord, FromLogRecord)]`.
pub trait FromLogRecord: LogRecord + FromLogField {}

impl<R: LogRecord + FromLogField> FromLogRecord for R {}

/// Reads records of one schema as structs.
#[derive(Debug)]
pub struct LogRecordReader<R> {
    /// The columns of `R`.
    columns: Vec<Column>,
    /// Where they are in a record, and none where the log lacks one that may be unset.
    places: Vec<Option<usize>>,
    /// The columns of the log.
    width: usize,
    record: PhantomData<fn() -> R>,
}

impl<R: FromLogRecord> LogRecordReader<R> {
    /// For records of this schema.
    ///
    /// # Errors
    /// A column that must have a value is missing, or one has another type.
    pub fn new(schema: &Schema) -> Result<Self, LogColumnError> {
        let columns = R::schema().columns;
        let place = |column: &Column| match schema.position(&column.name) {
            Some(at) if schema.columns[at].ty == column.ty => Ok(Some(at)),
            Some(at) => Err(LogColumnError::Type {
                column: column.name.clone(),
                expected: column.ty,
                found: schema.columns[at].ty,
            }),
            None if column.optional => Ok(None),
            None => Err(LogColumnError::Missing {
                column: column.name.clone(),
                path: schema.path.clone(),
            }),
        };
        let places = columns.iter().map(place).collect::<Result<_, _>>()?;
        Ok(Self {
            columns,
            places,
            width: schema.columns.len(),
            record: PhantomData,
        })
    }

    /// Reads one record.
    ///
    /// # Errors
    /// A value is unset that must not be, or does not fit its field; the record is not one of the schema.
    pub fn read(&self, record: &[LogValue]) -> Result<R, LogFieldError> {
        if record.len() != self.width {
            return Err(LogFieldError {
                column: String::new(),
                reason: LogValueError(Wrong::Width {
                    expected: self.width,
                    found: record.len(),
                }),
            });
        }
        R::from_log(&mut LogValues {
            columns: &self.columns,
            places: &self.places,
            record,
            next: 0,
        })
    }
}

/// The values of one record, in the order of the columns that a struct has.
#[derive(Debug)]
pub struct LogValues<'r> {
    columns: &'r [Column],
    places: &'r [Option<usize>],
    record: &'r [LogValue],
    next: usize,
}

impl LogValues<'_> {
    /// The next value, read by `read`.
    ///
    /// # Errors
    /// That of `read`, with the name of the column.
    pub fn one<T>(
        &mut self,
        read: impl FnOnce(&LogValue) -> Result<T, LogValueError>,
    ) -> Result<T, LogFieldError> {
        let at = self.next;
        self.next += 1;
        read(self.at(at)).map_err(|reason| LogFieldError {
            column: self
                .columns
                .get(at)
                .map(|column| column.name.clone())
                .unwrap_or_default(),
            reason,
        })
    }

    /// The next value as a plain one.
    ///
    /// # Errors
    /// As of [`FromLogElement::from_value`].
    pub fn element<T: FromLogElement>(&mut self) -> Result<T, LogFieldError> {
        self.one(T::from_value)
    }

    /// Whether none of the next `width` values is there; then they are passed over.
    pub fn skip_unset(&mut self, width: usize) -> bool {
        let all = (self.next..self.next + width).all(|at| self.at(at).is_unset());
        if all {
            self.next += width;
        }
        all
    }

    /// The next field, or its type's default if it is unset.
    ///
    /// # Errors
    /// As of [`FromLogField::from_log`].
    pub fn or_default<T: FromLogField + Default>(&mut self) -> Result<T, LogFieldError> {
        if self.skip_unset(T::WIDTH) {
            Ok(T::default())
        } else {
            T::from_log(self)
        }
    }

    fn at(&self, at: usize) -> &LogValue {
        let place = self.places.get(at).copied().flatten();
        place.map_or(&LogValue::Unset, |place| &self.record[place])
    }
}

/// Why the columns of a log do not do for a struct.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LogColumnError {
    /// There is no such column.
    #[error("log {path} has no column `{column}`")]
    Missing {
        /// The column.
        column: String,
        /// The log's path.
        path: String,
    },
    /// It has another type.
    #[error("column `{column}` is {found}, not {expected}")]
    Type {
        /// The column.
        column: String,
        /// The type of the field.
        expected: ColumnType,
        /// The type in the log.
        found: ColumnType,
    },
}

/// A value that does not do for its field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFieldError {
    /// Empty: it is about the whole record.
    column: String,
    reason: LogValueError,
}

impl LogFieldError {
    /// The name of the column.
    #[must_use]
    pub fn column(&self) -> &str {
        &self.column
    }
}

impl fmt::Display for LogFieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.column.is_empty() {
            write!(f, "{}", self.reason)
        } else {
            write!(f, "column `{}`: {}", self.column, self.reason)
        }
    }
}

impl std::error::Error for LogFieldError {}

/// What is wrong with a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct LogValueError(Wrong);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Wrong {
    #[error("is unset")]
    Unset,
    #[error("is {found}, not {expected}")]
    Type { expected: LogType, found: LogType },
    #[error("`{text}` is not {wanted}")]
    Content { wanted: String, text: String },
    #[error("element {number}: {reason}")]
    Element { number: usize, reason: Box<Self> },
    #[error("a record of {found} values for {expected} columns")]
    Width { expected: usize, found: usize },
}

impl LogValueError {
    /// `value` is unset, or not of the type `expected`.
    #[must_use]
    pub fn type_of(value: &LogValue, expected: LogType) -> Self {
        Self(match value.log_type() {
            Some(found) => Wrong::Type { expected, found },
            None => Wrong::Unset,
        })
    }

    /// The value has the right type and is not `wanted` all the same. Shows its beginning.
    #[must_use]
    pub fn content(wanted: impl Into<String>, value: &impl fmt::Display) -> Self {
        Self(Wrong::Content {
            wanted: wanted.into(),
            text: crate::log::read_error::excerpt(value.to_string().as_bytes()),
        })
    }

    pub(super) fn in_element(self, number: usize) -> Self {
        Self(Wrong::Element {
            number,
            reason: Box::new(self.0),
        })
    }
}
