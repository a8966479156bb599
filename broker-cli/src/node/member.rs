//! A node of a cluster, as its layout describes it.

use std::path::Path;

use broker_cluster::{ClusterNode, Layout, StartError};
use broker_core::{Filter, QueueOptions};

use super::Args;
use super::lifecycle::Running;
use crate::failure::misuse;
use crate::publish::parse_topic;
use crate::{demo, transports};

/// Runs a node of a cluster until it is told to stop.
pub(super) async fn run(args: &Args, config: &Path) -> anyhow::Result<()> {
    let layout = Layout::load(config).map_err(|error| misuse(error.to_string()))?;
    let Some(name) = args.name.as_deref().filter(|name| !name.is_empty()) else {
        return Err(misuse(format!(
            "{}: which node is this? Say it with --name or CLUSTER_NODE",
            config.display()
        )));
    };
    layout
        .check_spoken(name, transports::SCHEMES)
        .map_err(|error| misuse(error.to_string()))?;
    let prefixes = args
        .subscribe
        .iter()
        .map(|text| parse_topic(text))
        .collect::<anyhow::Result<Filter>>()?;

    let mut running = Running::begin(args.supervised)?;
    let mut builder = ClusterNode::builder(layout, name)
        .endpoint_builder(transports::builder())
        .subscribe(prefixes)
        .forwarding(args.forwarding(false));
    if args.demo.is_some() {
        builder = builder.events(QueueOptions::local());
    }
    let node = builder.start().await.map_err(|error| match error {
        // What the layout asks for and cannot be had is a mistake in the layout.
        StartError::Layout(error) => misuse(error.to_string()),
        other => other.into(),
    })?;
    for url in &args.listen {
        node.endpoint().listen(url).await?;
    }
    running.announce(&node.endpoint().listening())?;
    for url in &args.peer {
        node.endpoint().peer(url.clone());
    }
    let worked = match &args.demo {
        Some(plan) => {
            let events = node
                .take_events()
                .ok_or_else(|| anyhow::anyhow!("the events were taken"))?;
            tokio::select! {
                () = running.until_stopped() => Ok(()),
                worked = demo::run_role(node.clone(), events, plan) => worked,
            }
        }
        None => {
            running.until_stopped().await;
            Ok(())
        }
    };
    running.drain(node.shutdown()).await?;
    worked
}
