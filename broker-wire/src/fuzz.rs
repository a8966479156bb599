//! Bodies of the fuzz targets whose decoders are private to this crate; see `fuzz/` in the repository.

mod grpc;
mod native;
#[cfg(feature = "ws")]
mod ws;

pub use grpc::{frame, frame_stream, hello, service};
pub use native::{native_frame, native_handshake, native_message, native_stream};
#[cfg(feature = "ws")]
pub use ws::{session, ws_target};
