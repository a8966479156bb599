//! The arguments of an event.

use std::borrow::Cow;
use std::fmt;

use super::{ConversionError, FromData, ToData};
use crate::data::Data;

/// What can be the arguments of an event: a tuple, the empty one included.
pub trait ToArgs {
    /// The arguments, in order.
    fn to_args(&self) -> Vec<Data>;
}

/// What the arguments of an event can be read as: a tuple, the empty one included.
pub trait FromArgs: Sized {
    /// Reads the arguments.
    ///
    /// # Errors
    /// There are more or fewer than wanted, or one is of another type.
    fn from_args(args: &[Data]) -> Result<Self, ArgsError>;

    /// What Zeek calls the types of the arguments, in order.
    fn type_names() -> Vec<Cow<'static, str>>;
}

/// Why arguments are not those that were wanted; the words are Zeek's (zeek-cluster reference, 6.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArgsError {
    /// There are more or fewer.
    Count {
        /// How many there are.
        got: usize,
        /// How many were wanted.
        expected: usize,
    },
    /// One is of another type.
    Argument {
        /// Which one, from 1 on.
        number: usize,
        /// Why it does not fit.
        error: ConversionError,
    },
}

impl fmt::Display for ArgsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count { got, expected } => {
                write!(f, "invalid # of args, got {got}, expected {expected}")
            }
            Self::Argument { number, error } => write!(f, "arg #{number}, {error}"),
        }
    }
}

impl std::error::Error for ArgsError {}

macro_rules! args {
    ($($count:literal: $($type:ident $index:tt)*;)*) => {
        $(
            impl<$($type: ToData),*> ToArgs for ($($type,)*) {
                fn to_args(&self) -> Vec<Data> {
                    vec![$(self.$index.to_data()),*]
                }
            }

            impl<$($type: FromData),*> FromArgs for ($($type,)*) {
                fn from_args(args: &[Data]) -> Result<Self, ArgsError> {
                    if args.len() != $count {
                        return Err(ArgsError::Count { got: args.len(), expected: $count });
                    }
                    Ok(($(
                        $type::from_data(&args[$index]).map_err(|error| ArgsError::Argument {
                            number: $index + 1,
                            error,
                        })?,
                    )*))
                }

                fn type_names() -> Vec<Cow<'static, str>> {
                    vec![$($type::type_name()),*]
                }
            }
        )*
    };
}

args! {
    0: ;
    1: A 0;
    2: A 0 B 1;
    3: A 0 B 1 C 2;
    4: A 0 B 1 C 2 D 3;
    5: A 0 B 1 C 2 D 3 E 4;
    6: A 0 B 1 C 2 D 3 E 4 F 5;
    7: A 0 B 1 C 2 D 3 E 4 F 5 G 6;
    8: A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7;
    9: A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8;
    10: A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8 J 9;
    11: A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8 J 9 K 10;
    12: A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8 J 9 K 10 L 11;
}

/// Arguments of any number and type.
impl ToArgs for Vec<Data> {
    fn to_args(&self) -> Vec<Data> {
        self.clone()
    }
}

/// Arguments of any number and type.
impl FromArgs for Vec<Data> {
    fn from_args(args: &[Data]) -> Result<Self, ArgsError> {
        Ok(args.to_vec())
    }

    fn type_names() -> Vec<Cow<'static, str>> {
        vec!["any".into()]
    }
}
