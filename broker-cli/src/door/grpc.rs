//! The door of `grpc://` and `grpcs://`: the node's client services.

use broker_wire::BrokerClient;

use crate::client::NodeArgs;
use crate::status::Report;

/// Connects to the client services. The error names the address.
pub(super) async fn open(node: &NodeArgs) -> anyhow::Result<BrokerClient> {
    let tls = node.transports()?.tls;
    Ok(BrokerClient::connect_with(&node.peer, Some(&tls)).await?)
}

/// What the node knows about itself.
pub(super) async fn status(client: &BrokerClient) -> anyhow::Result<Report> {
    Ok(Report::of_node(&client.status().await?))
}
