//! Transports for broker-core: gRPC peering and client services.
//!
//! Start with [`GrpcTransport`], which gives an endpoint `grpc://` addresses. Whatever listens on one
//! also serves clients in any language: `broker.v1.Broker` and `broker.v1.Store`, with health checks and
//! reflection. `grpcs://` is the same in TLS, with the files of [`tls::TlsOptions`].
//!
//! ```
//! use broker_core::{Data, Endpoint, Filter, Message, QueueOptions, Topic};
//! use broker_wire::GrpcTransport;
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let left = Endpoint::builder().name("left").transport(GrpcTransport::new()).start();
//! let right = Endpoint::builder().name("right").transport(GrpcTransport::new()).start();
//! let address = right.listen(&"grpc://127.0.0.1:0".parse()?).await?;
//!
//! let mut inbox = right.subscribe(Filter::from_iter([Topic::from_static("/hosts")]), QueueOptions::local());
//! left.connect(address).await?;
//! left.publish(Message::new(Topic::from_static("/hosts/new"), Data::from("192.0.2.7"))).await?;
//!
//! let message = inbox.recv().await.ok_or("closed")?;
//! assert_eq!(message.data()?, &Data::from("192.0.2.7"));
//! # Ok::<(), Box<dyn std::error::Error>>(()) })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Features, all on by default: `openssl` builds an OpenSSL along for the TLS of `brokers://`,
//! `openssl-system` links the system's instead; `tls` is that of `grpcs://` and `wss://`, by rustls; `ws` is
//! `ws://`. What a build lacks is refused with the feature's name.

mod client;
pub mod codec;
mod convert;
mod first_bytes;
mod frame;
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz;
mod grpc;
mod native;
pub mod proto;
mod services;
mod socket;
mod tcp;
pub mod tls;
#[cfg(feature = "ws")]
mod ws;

pub use client::{
    BrokerClient, CONNECT_TIMEOUT, ClientError, ClientPublisher, ClientSubscription, LoadError,
    Loaded, Published, StoreBackup, StoreChanges, StoreLoad,
};
pub use convert::{
    BadStatus, BadValue, MAX_TYPED_DEPTH, status_from_proto, status_to_proto, value_from_proto,
    value_to_proto,
};
pub use frame::FrameError;
pub use grpc::{DialError, GrpcTransport};
pub use native::NativeTransport;
#[cfg(feature = "ws")]
pub use ws::{
    TokenNeeded, WsAccess, WsClient, WsClientOptions, WsCounters, WsError, WsReceived, WsTransport,
};

/// The bounds of `grpc://`, each of them stated where it is enforced.
pub mod limits {
    /// The bounds of `broker://`.
    pub mod native {
        pub use crate::native::limits::{
            DEFAULT_PORT, HEARTBEAT, MAX_CONNECTIONS, MAX_FRAME, MAX_HANDSHAKE_FRAME,
            MAX_LEGAL_FRAME,
        };
    }

    pub use crate::codec::MAX_FIELDS;
    pub use crate::frame::limits::{
        BATCH_TARGET, MAX_ENVELOPES_PER_READ, MAX_FRAME, MAX_HANDSHAKE_FRAME,
    };
    pub use crate::grpc::settings::{
        CONNECTION_WINDOW, DEFAULT_PORT, KEEP_ALIVE_INTERVAL, KEEP_ALIVE_TIMEOUT, MAX_CONNECTIONS,
        MAX_STREAMS, STREAM_WINDOW,
    };

    /// The bounds of `ws://`.
    #[cfg(feature = "ws")]
    pub mod ws {
        pub use crate::ws::settings::{
            DEFAULT_PORT, MAX_CLIENTS, MAX_FIRST_MESSAGE, MAX_MESSAGE, MAX_SUBSCRIPTIONS, PATH,
            PING_INTERVAL,
        };
    }
}
pub use limits::DEFAULT_PORT;
