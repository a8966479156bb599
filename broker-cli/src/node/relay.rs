//! A node outside of a cluster: it asks its peers for prefixes and passes what comes on to those that want it.

use broker_cluster::{Departed, TelemetrySpec, TlsSpec, WsSpec};
use broker_core::{DRAIN_TIMEOUT, Filter, PeerUrl};

use super::departure::Departure;
use super::lifecycle::{Running, Told};
use super::{Args, Settings};
use crate::failure::explain_listen;
use crate::metrics::View;
use crate::publish::parse_topic;
use crate::transports::Transports;

/// Runs a relay until it is told to stop.
pub(super) async fn run(args: &Args, settings: &Settings) -> anyhow::Result<()> {
    let prefixes = args
        .subscribe
        .iter()
        .map(|text| parse_topic(text))
        .collect::<anyhow::Result<Filter>>()?;
    let mut listen = match args.listen.as_slice() {
        _ if settings.no_listen => Vec::new(),
        [] => vec![PeerUrl::new(
            "grpc",
            settings.listen_address.as_deref().unwrap_or("127.0.0.1"),
            Some(broker_wire::DEFAULT_PORT),
        )],
        given => given.to_vec(),
    };
    listen.extend(settings.further_listen());
    let telemetry = args.telemetry(&TelemetrySpec::default(), args.metrics.is_some())?;
    let mut transports = Transports {
        tls: args.tls.options(&TlsSpec::default())?,
        ws: args.ws.access(&WsSpec::default())?,
        meter: None,
    };
    transports.check(&listen, &args.peer)?;
    if settings.check_only {
        return super::checked();
    }
    let name = args.name.clone().unwrap_or_default();
    let manner = args.manner(&name, args.metrics.as_ref(), &telemetry);
    let mut running = Running::begin(manner).await?;
    let meters = running.meters();
    transports.meter = meters.websocket();
    let endpoint = transports
        .builder()
        .name(name)
        .forwarding(args.forwarding(true));
    let endpoint = settings.apply(meters.set_up(endpoint)).start();
    endpoint.forward(&prefixes);
    let mut bound = Vec::new();
    for url in &listen {
        let url = settings.listen(&endpoint, url).await;
        bound.push(url.map_err(explain_listen)?);
    }
    let view = View {
        endpoint: endpoint.clone(),
        cluster: None,
    };
    running.announce(&bound, view.clone())?;
    for url in &args.peer {
        endpoint.peer(url.clone());
    }
    loop {
        match running.told().await {
            Told::Stop => break,
            Told::Reload => {
                let nothing = async { Ok("nothing to do without --config".to_owned()) };
                running.reload(nothing).await;
            }
            Told::Status => Running::say_status(&view)?,
        }
    }
    let drain = async {
        // Peers stop first, so that what they have sent until then can be passed on.
        endpoint.withdraw(DRAIN_TIMEOUT).await;
        endpoint.shutdown().await;
        Departure::new(&endpoint.totals(), Departed::default())
    };
    running.drain(view, drain).await
}
