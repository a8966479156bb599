//! Between the types of broker-core and those of the schema.

mod status;
mod store;
mod value;

pub use status::{BadStatus, status_from_proto, status_to_proto};
pub(crate) use store::{
    change_from_proto, change_to_proto, duration_from_proto, duration_to_proto, entry_from_proto,
    entry_to_proto,
};
pub(crate) use value::value_to_encoded;
pub use value::{BadValue, MAX_TYPED_DEPTH, value_from_proto, value_to_proto};
