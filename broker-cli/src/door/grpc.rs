//! The door of `grpc://`: the node's client services.

use broker_wire::BrokerClient;

use crate::status::Report;

/// What the node knows about itself.
pub(super) async fn status(client: &BrokerClient) -> anyhow::Result<Report> {
    Ok(Report::of_node(&client.status().await?))
}
