//! What reading a message asks of a value, owned or in a buffer.

use crate::binary::DecodeError;
use crate::data::Data;
use crate::view::{DataView, Elements, Entries};

mod sealed {
    #[expect(
        unnameable_types,
        reason = "sealing a trait takes a trait that nobody else can name"
    )]
    pub trait Sealed {}
    impl Sealed for &super::Data {}
    impl Sealed for super::DataView<'_> {}
}

/// A value to read a message from: `&Data` or [`DataView`]. So the rules for messages are written once.
pub trait Node<'a>: Copy + sealed::Sealed {
    /// The elements of a vector.
    type Vector: ExactSizeIterator<Item = Self>;
    /// The entries of a table.
    type Table: ExactSizeIterator<Item = (Self, Self)>;

    /// Whether this is no value.
    fn is_none(self) -> bool;
    /// The boolean, if it is one.
    fn boolean(self) -> Option<bool>;
    /// The count, if it is one.
    fn count(self) -> Option<u64>;
    /// The real, if it is one.
    fn real(self) -> Option<f64>;
    /// The bytes of the string, if it is one.
    fn string(self) -> Option<&'a [u8]>;
    /// The name of the enum value, if it is one.
    fn enum_name(self) -> Option<&'a [u8]>;
    /// Whether this is a timestamp.
    fn is_timestamp(self) -> bool;
    /// The elements of the vector, if it is one.
    fn vector(self) -> Option<Self::Vector>;
    /// The entries of the table, if it is one.
    fn table(self) -> Option<Self::Table>;
    /// The value, owned.
    ///
    /// # Errors
    /// If a set in a buffer holds an element twice or a table a key.
    fn to_owned_data(self) -> Result<Data, DecodeError>;
}

impl<'a> Node<'a> for &'a Data {
    type Vector = std::slice::Iter<'a, Data>;
    type Table = std::iter::Map<
        std::slice::Iter<'a, (Data, Data)>,
        fn(&'a (Data, Data)) -> (&'a Data, &'a Data),
    >;

    fn is_none(self) -> bool {
        Data::is_none(self)
    }

    fn boolean(self) -> Option<bool> {
        self.as_bool()
    }

    fn count(self) -> Option<u64> {
        self.as_count()
    }

    fn real(self) -> Option<f64> {
        self.as_real()
    }

    fn string(self) -> Option<&'a [u8]> {
        self.as_str_bytes()
    }

    fn enum_name(self) -> Option<&'a [u8]> {
        self.as_enum().map(|value| value.name())
    }

    fn is_timestamp(self) -> bool {
        self.as_timestamp().is_some()
    }

    fn vector(self) -> Option<Self::Vector> {
        self.as_vector().map(<[Data]>::iter)
    }

    fn table(self) -> Option<Self::Table> {
        let by_reference: fn(&'a (Data, Data)) -> (&'a Data, &'a Data) =
            |(key, value)| (key, value);
        self.as_table().map(|table| table.iter().map(by_reference))
    }

    fn to_owned_data(self) -> Result<Data, DecodeError> {
        Ok(self.clone())
    }
}

impl<'a> Node<'a> for DataView<'a> {
    type Vector = Elements<'a>;
    type Table = Entries<'a>;

    fn is_none(self) -> bool {
        DataView::is_none(&self)
    }

    fn boolean(self) -> Option<bool> {
        self.as_bool()
    }

    fn count(self) -> Option<u64> {
        self.as_count()
    }

    fn real(self) -> Option<f64> {
        self.as_real()
    }

    fn string(self) -> Option<&'a [u8]> {
        self.as_str_bytes()
    }

    fn enum_name(self) -> Option<&'a [u8]> {
        self.as_enum_name()
    }

    fn is_timestamp(self) -> bool {
        self.as_timestamp().is_some()
    }

    fn vector(self) -> Option<Self::Vector> {
        self.as_vector()
    }

    fn table(self) -> Option<Self::Table> {
        self.as_table()
    }

    fn to_owned_data(self) -> Result<Data, DecodeError> {
        self.to_data()
    }
}
