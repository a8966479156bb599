//! Typed values of the gRPC services.

use broker_core::Data;
use broker_wire::{value_from_proto, value_to_proto};

use super::value::has_subnormal;

/// A value, as bytes, in its typed form and back.
pub fn typed_value(bytes: &[u8]) {
    let Ok(data) = Data::decode(bytes) else {
        return;
    };
    if has_subnormal(&data) {
        return;
    }
    for encoded in [false, true] {
        let typed = value_to_proto(&data, encoded);
        assert_eq!(value_from_proto(Some(typed)).as_ref().ok(), Some(&data));
    }
}
