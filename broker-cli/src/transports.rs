//! The transports this program brings to an endpoint, chosen in one place.

use broker_core::{Endpoint, EndpointBuilder};
use broker_wire::{GrpcTransport, NativeTransport};

/// An endpoint with every transport this program has.
pub(crate) fn builder() -> EndpointBuilder {
    Endpoint::builder()
        .software(concat!("broker-rs ", env!("CARGO_PKG_VERSION")))
        .transport(GrpcTransport::new())
        .transport(NativeTransport::new())
}

/// The URL schemes of these transports.
pub(crate) const SCHEMES: &[&str] = &["grpc", "broker"];
