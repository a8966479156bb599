//! Between the types of broker-core and those of the schema.

mod status;
mod store;
mod value;

pub use status::{BadStatus, status_from_proto, status_to_proto};
pub(crate) use store::{
    duration_from_proto, duration_to_proto, entry_from_proto, entry_to_proto, item_from_proto,
    item_to_proto, report_from_proto, report_to_proto, watch_from_proto, watch_to_proto,
};
pub(crate) use value::value_to_encoded;
pub use value::{BadValue, MAX_TYPED_DEPTH, value_from_proto, value_to_proto};
