//! Walking over every value inside a value.

use crate::address::{Address, Subnet};
use crate::data::Data;
use crate::port::Port;
use crate::time::{Timespan, Timestamp};

/// Is told every value in the order of the binary format. Each method does nothing unless written.
///
/// A container is announced with the number of elements (for a table: entries), then come its elements (for a table:
/// key, value, key, value), then [`end`](Self::end).
#[expect(unused_variables, reason = "the parameters are for implementors")]
pub trait Visitor {
    /// No value.
    #[inline]
    fn none(&mut self) {}
    /// A boolean.
    #[inline]
    fn boolean(&mut self, value: bool) {}
    /// A count.
    #[inline]
    fn count(&mut self, value: u64) {}
    /// An integer.
    #[inline]
    fn integer(&mut self, value: i64) {}
    /// A real.
    #[inline]
    fn real(&mut self, value: f64) {}
    /// A string.
    #[inline]
    fn string(&mut self, value: &[u8]) {}
    /// An address.
    #[inline]
    fn address(&mut self, value: Address) {}
    /// A subnet.
    #[inline]
    fn subnet(&mut self, value: Subnet) {}
    /// A port.
    #[inline]
    fn port(&mut self, value: Port) {}
    /// A timestamp.
    #[inline]
    fn timestamp(&mut self, value: Timestamp) {}
    /// A timespan.
    #[inline]
    fn timespan(&mut self, value: Timespan) {}
    /// An enum value, by its name.
    #[inline]
    fn enum_value(&mut self, name: &[u8]) {}
    /// A set of `len` elements begins.
    #[inline]
    fn set(&mut self, len: usize) {}
    /// A table of `len` entries begins.
    #[inline]
    fn table(&mut self, len: usize) {}
    /// A vector of `len` elements begins.
    #[inline]
    fn vector(&mut self, len: usize) {}
    /// A container ends.
    #[inline]
    fn end(&mut self) {}
}

/// Looks at nothing.
impl Visitor for () {}

impl Data {
    /// Tells `visitor` every value in this one.
    pub fn visit(&self, visitor: &mut impl Visitor) {
        match self {
            Self::None => visitor.none(),
            Self::Boolean(value) => visitor.boolean(*value),
            Self::Count(value) => visitor.count(*value),
            Self::Integer(value) => visitor.integer(*value),
            Self::Real(value) => visitor.real(*value),
            Self::String(value) => visitor.string(value),
            Self::Address(value) => visitor.address(*value),
            Self::Subnet(value) => visitor.subnet(*value),
            Self::Port(value) => visitor.port(*value),
            Self::Timestamp(value) => visitor.timestamp(*value),
            Self::Timespan(value) => visitor.timespan(*value),
            Self::Enum(value) => visitor.enum_value(value.name()),
            Self::Set(elements) => {
                visitor.set(elements.len());
                elements.iter().for_each(|element| element.visit(visitor));
                visitor.end();
            }
            Self::Table(entries) => {
                visitor.table(entries.len());
                for (key, value) in entries {
                    key.visit(visitor);
                    value.visit(visitor);
                }
                visitor.end();
            }
            Self::Vector(elements) => {
                visitor.vector(elements.len());
                elements.iter().for_each(|element| element.visit(visitor));
                visitor.end();
            }
        }
    }
}
