//! A sum over every value in a message: proof that the receiver looked at each number and each byte of each string.
//!
//! The sum of a message is the wrapping sum of its parts, so neither the order of elements in sets and tables nor the
//! order of messages matters, and the sum of many equal messages is a multiple of the sum of one.

use broker_core::binary::{self, DecodeRules};
use broker_core::{Address, Data, DecodeError, Port, Subnet, Timespan, Timestamp, Visitor};

/// The sum over every value in `data`.
pub(crate) fn of_data(data: &Data) -> u64 {
    let mut sum = Sum(0);
    data.visit(&mut sum);
    sum.0
}

/// The sum over every value in the encoded `payload`, whose structure is checked on the way.
pub(crate) fn of_payload(payload: &[u8]) -> Result<u64, DecodeError> {
    let mut sum = Sum(0);
    binary::walk(payload, DecodeRules::DATA, &mut sum)?;
    Ok(sum.0)
}

struct Sum(u64);

impl Sum {
    #[inline]
    const fn add(&mut self, value: u64) {
        self.0 = self.0.wrapping_add(value);
    }

    #[inline]
    fn bytes(&mut self, bytes: &[u8]) {
        // Each byte counts for itself; the length counts so that zeros do.
        let sum: u64 = bytes.iter().map(|byte| u64::from(*byte)).sum();
        self.add(sum.wrapping_add(bytes.len() as u64));
    }
}

impl Visitor for Sum {
    #[inline]
    fn none(&mut self) {
        self.add(1);
    }
    #[inline]
    fn boolean(&mut self, value: bool) {
        self.add(2 + u64::from(value));
    }
    #[inline]
    fn count(&mut self, value: u64) {
        self.add(value);
    }
    #[inline]
    fn integer(&mut self, value: i64) {
        self.add(value.cast_unsigned());
    }
    #[inline]
    fn real(&mut self, value: f64) {
        self.add(value.to_bits());
    }
    #[inline]
    fn string(&mut self, value: &[u8]) {
        self.bytes(value);
    }
    #[inline]
    fn address(&mut self, value: Address) {
        self.bytes(value.octets());
    }
    #[inline]
    fn subnet(&mut self, value: Subnet) {
        self.address(value.address);
        self.add(value.length.into());
    }
    #[inline]
    fn port(&mut self, value: Port) {
        self.add(u64::from(value.number) + ((value.protocol as u64) << 16));
    }
    #[inline]
    fn timestamp(&mut self, value: Timestamp) {
        self.add(value.as_nanos().cast_unsigned());
    }
    #[inline]
    fn timespan(&mut self, value: Timespan) {
        self.add(value.as_nanos().cast_unsigned());
    }
    #[inline]
    fn enum_value(&mut self, name: &[u8]) {
        self.bytes(name);
    }
    #[inline]
    fn set(&mut self, len: usize) {
        self.add(len as u64);
    }
    #[inline]
    fn table(&mut self, len: usize) {
        self.add(len as u64);
    }
    #[inline]
    fn vector(&mut self, len: usize) {
        self.add(len as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::super::workload::Kind;
    use super::*;

    #[test]
    fn a_payload_sums_up_as_its_value_does() {
        for kind in Kind::ALL {
            let event = kind.event();
            assert_eq!(of_payload(&event.to_bytes()), Ok(of_data(&event)));
        }
    }

    #[test]
    fn any_changed_byte_of_a_string_changes_the_sum() {
        assert_ne!(of_data(&"test".into()), of_data(&"tesu".into()));
        assert_ne!(of_data(&"\0".into()), of_data(&"".into()));
    }

    #[test]
    fn a_damaged_payload_is_an_error() {
        let bytes = Kind::ALL[0].event().to_bytes();
        assert!(of_payload(&bytes[..bytes.len() - 1]).is_err());
    }
}
