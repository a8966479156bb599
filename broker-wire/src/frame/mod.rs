//! The bytes of a peering stream: gRPC messages that hold frames. No socket and no clock here.

pub(crate) mod batch;
pub(crate) mod deframer;
mod error;
pub(crate) mod hello;
pub(crate) mod limits;
pub(crate) mod reader;
mod varint;

pub use error::FrameError;
