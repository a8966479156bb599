//! Transports for broker-core: gRPC peering and client services.

mod frame;
#[allow(missing_docs)]
pub mod proto;
