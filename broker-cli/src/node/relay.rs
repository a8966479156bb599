//! A node outside of a cluster: it asks its peers for prefixes and passes what comes on to those that want it.

use broker_cluster::{TlsSpec, WsSpec};
use broker_core::{Filter, PeerUrl};

use super::{Args, lifecycle::Running};
use crate::failure::explain_listen;
use crate::publish::parse_topic;
use crate::transports::Transports;

/// Runs a relay until it is told to stop.
pub(super) async fn run(args: &Args) -> anyhow::Result<()> {
    let prefixes = args
        .subscribe
        .iter()
        .map(|text| parse_topic(text))
        .collect::<anyhow::Result<Filter>>()?;
    let listen = match args.listen.as_slice() {
        [] => vec![PeerUrl::new(
            "grpc",
            "127.0.0.1",
            Some(broker_wire::DEFAULT_PORT),
        )],
        given => given.to_vec(),
    };
    let transports = Transports {
        tls: args.tls.options(&TlsSpec::default())?,
        ws: args.ws.access(&WsSpec::default())?,
    };
    transports.check(&listen, &args.peer)?;
    let endpoint = transports
        .builder()
        .name(args.name.clone().unwrap_or_default())
        .forwarding(args.forwarding(true))
        .start();
    endpoint.forward(&prefixes);
    let mut running = Running::begin(args.supervised)?;
    let mut bound = Vec::new();
    for url in &listen {
        bound.push(endpoint.listen(url).await.map_err(explain_listen)?);
    }
    running.announce(&bound)?;
    for url in &args.peer {
        endpoint.peer(url.clone());
    }
    running.until_stopped().await;
    running.drain(endpoint.shutdown()).await
}
