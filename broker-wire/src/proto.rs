//! The types of `proto/broker/v1/*.proto`, as prost and tonic generate them.
//!
//! The code is checked in, so that building needs no protoc; `wire_generated` among the workspace's
//! tests makes it anew and compares.

#![allow(clippy::all, clippy::nursery, clippy::pedantic, clippy::restriction)]
#![allow(
    missing_docs,
    missing_debug_implementations,
    unnameable_types,
    unreachable_pub
)]

include!("generated/broker.v1.rs");

/// The encoded `FileDescriptorSet` of the schema, as the reflection service hands it out.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("generated/broker_v1.bin");
