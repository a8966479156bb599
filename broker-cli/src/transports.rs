//! The transports this program brings to an endpoint, chosen and set up in one place.

use anyhow::Context as _;
use broker_cluster::Layout;
use broker_core::{Endpoint, EndpointBuilder, EventMeter, PeerUrl};
use broker_wire::tls::{TlsError, TlsOptions, TlsRenewal};
use broker_wire::{GrpcTransport, NativeTransport};

use crate::failure::misuse;
use crate::tls::{self, End, TlsArgs};
use crate::ws_access::{WsAccess, WsArgs};

/// How the transports of an endpoint are set up.
#[derive(Clone, Debug, Default)]
pub(crate) struct Transports {
    /// Certificates, and whom to trust.
    pub(crate) tls: TlsOptions,
    /// Who may be a WebSocket client.
    #[cfg_attr(
        not(feature = "ws"),
        expect(dead_code, reason = "such a build has no WebSocket server")
    )]
    pub(crate) ws: WsAccess,
    /// Where events of WebSocket clients count by topic and name.
    pub(crate) meter: Option<EventMeter>,
}

impl Transports {
    /// An endpoint with every transport this program has.
    pub(crate) fn builder(&self) -> EndpointBuilder {
        self.controlled().0
    }

    /// An endpoint with every transport this program has, and what changes them while it runs.
    pub(crate) fn controlled(&self) -> (EndpointBuilder, Controls) {
        let controls = Controls {
            grpc: GrpcTransport::new().tls(self.tls.clone()),
            native: NativeTransport::new().tls(self.tls.clone()),
            #[cfg(feature = "ws")]
            ws: self.web_socket(),
            #[cfg(feature = "ws")]
            access: std::sync::Mutex::new(self.ws.clone()),
        };
        let builder = Endpoint::builder()
            .software(concat!("broker-rs ", env!("CARGO_PKG_VERSION")))
            .transport(controls.grpc.clone())
            .transport(controls.native.clone());
        #[cfg(feature = "ws")]
        let builder = builder.transport(controls.ws.clone());
        (builder, controls)
    }

    #[cfg(feature = "ws")]
    fn web_socket(&self) -> broker_wire::WsTransport {
        let mut transport = broker_wire::WsTransport::new()
            .tls(self.tls.clone())
            .application_name("broker")
            .allow_unauthenticated(self.ws.allow_unauthenticated);
        if let Some(token) = &self.ws.token {
            transport = transport.token(token.as_str());
        }
        if let Some(token) = &self.ws.peer_token {
            transport = transport.client_token(token.as_str());
        }
        if let Some(meter) = &self.meter {
            transport = transport.event_meter(meter.clone());
        }
        for origin in &self.ws.origins {
            transport = transport.allow_origin(origin.as_str());
        }
        transport
    }

    /// Makes sure that there are the files that listening on and dialling these addresses takes.
    ///
    /// # Errors
    /// Misuse, which names the address and what it lacks.
    pub(crate) fn check<'a>(
        &self,
        listen: impl IntoIterator<Item = &'a PeerUrl>,
        dial: impl IntoIterator<Item = &'a PeerUrl>,
    ) -> anyhow::Result<()> {
        let listen = listen.into_iter().map(|url| (url, End::Listens));
        let dial = dial.into_iter().map(|url| (url, End::Dials));
        listen
            .chain(dial)
            .try_for_each(|(url, end)| tls::check(&self.tls, url, end))
    }
}

/// What changes the transports of an endpoint while it runs.
#[derive(Debug)]
pub(crate) struct Controls {
    grpc: GrpcTransport,
    native: NativeTransport,
    #[cfg(feature = "ws")]
    ws: broker_wire::WsTransport,
    #[cfg(feature = "ws")]
    access: std::sync::Mutex<WsAccess>,
}

impl Controls {
    /// Makes the certificates of `new` ready.
    ///
    /// # Errors
    /// Misuse: they do not fit, or give up that the other side is verified.
    pub(crate) fn renew(&self, new: &Transports) -> anyhow::Result<TlsRenewal> {
        let refused = |error: TlsError| misuse(format!("TLS: {error}"));
        let renewal = self.grpc.renew_tls(&new.tls).map_err(refused)?;
        let renewal = renewal.and(self.native.renew_tls(&new.tls).map_err(refused)?);
        #[cfg(feature = "ws")]
        let renewal = renewal.and(self.ws.renew_tls(&new.tls).map_err(refused)?);
        Ok(renewal)
    }

    /// Lets those be WebSocket clients from now on whom `new` lets. Returns whether that changes anything.
    ///
    /// # Errors
    /// Misuse: it would open an address that other machines reach to everybody.
    #[cfg(feature = "ws")]
    pub(crate) fn admit(&self, new: &Transports) -> anyhow::Result<bool> {
        let mut current = self
            .access
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        // What else there is of it was decided when the addresses were bound.
        if (&current.token, &current.origins) == (&new.ws.token, &new.ws.origins) {
            return Ok(false);
        }
        self.ws
            .access()
            .replace(new.ws.token.as_deref(), new.ws.origins.clone())
            .map_err(|error| misuse(format!("[ws]: {error}")))?;
        current.token.clone_from(&new.ws.token);
        current.origins.clone_from(&new.ws.origins);
        Ok(true)
    }

    /// There are no WebSocket clients.
    #[cfg(not(feature = "ws"))]
    #[expect(
        clippy::unused_self,
        clippy::unnecessary_wraps,
        reason = "with WebSocket it is different"
    )]
    pub(crate) fn admit(&self, _: &Transports) -> anyhow::Result<bool> {
        Ok(false)
    }
}

/// The transports of the node `name` of a layout, if it can listen and dial as the layout says with them. Where `tls` is
/// silent, the layout says which files make up TLS; where `ws` is, who may be a WebSocket client.
///
/// # Errors
/// Misuse: there is no such node, or an address of it cannot be served.
pub(crate) fn of_member(
    layout: &Layout,
    name: &str,
    tls: &TlsArgs,
    ws: &WsArgs,
) -> anyhow::Result<Transports> {
    layout
        .check_spoken(name, SCHEMES)
        .map_err(|error| misuse(error.to_string()))?;
    let spec = layout
        .require(name)
        .map_err(|error| misuse(error.to_string()))?;
    let transports = Transports {
        tls: tls.options(&spec.tls)?,
        ws: ws.access(&spec.ws)?,
        meter: None,
    };
    transports
        .check(&spec.listen, layout.dial_urls(spec, SCHEMES))
        .with_context(|| format!("{}: [node.{name}]", layout.file().display()))?;
    Ok(transports)
}

/// The URL schemes of these transports.
#[cfg(feature = "ws")]
pub(crate) const SCHEMES: &[&str] = &["grpc", "grpcs", "broker", "brokers", "ws", "wss"];

/// The URL schemes of these transports.
#[cfg(not(feature = "ws"))]
pub(crate) const SCHEMES: &[&str] = &["grpc", "grpcs", "broker", "brokers"];
