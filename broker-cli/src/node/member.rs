//! A node of a cluster, as its layout describes it.

use std::path::Path;

use broker_cluster::{ClusterNode, EventStream, StartError};
use broker_core::{Filter, ListenError, QueueOptions};

use super::Args;
use super::lifecycle::Running;
use crate::failure::{explain_listen, misuse};
use crate::publish::parse_topic;
use crate::{bench, demo, transports};

/// Runs a node of a cluster until it is told to stop.
pub(super) async fn run(args: &Args, config: &Path) -> anyhow::Result<()> {
    let layout = args.layout.load(config)?;
    let Some(name) = args.name.as_deref().filter(|name| !name.is_empty()) else {
        return Err(misuse(format!(
            "{}: which node is this? Say it with --name or CLUSTER_NODE",
            config.display()
        )));
    };
    let transports = transports::of_member(&layout, name, &args.tls, &args.ws)?;
    transports.check(&args.listen, &args.peer)?;
    let prefixes = args
        .subscribe
        .iter()
        .map(|text| parse_topic(text))
        .collect::<anyhow::Result<Filter>>()?;

    let mut running = Running::begin(args.supervised)?;
    let start = async |keep_id: bool| {
        let mut builder = ClusterNode::builder(layout.clone(), name)
            .endpoint_builder(transports.builder())
            .subscribe(prefixes.clone())
            .keep_id(keep_id)
            .forwarding(args.forwarding(false));
        if args.demo.is_some() || args.load.is_some() {
            builder = builder.events(QueueOptions::local());
        }
        let node = builder.start().await;
        let node = node.map_err(|error| explain(error, args.layout.settings(config)))?;
        for url in &args.listen {
            node.endpoint().listen(url).await.map_err(explain_listen)?;
        }
        for url in &args.peer {
            node.endpoint().peer(url.clone());
        }
        anyhow::Ok(node)
    };
    let mut node = start(true).await?;
    running.announce(&node.endpoint().listening())?;
    let worked = match (&args.demo, &args.load) {
        (None, Some(plan)) => {
            let events = taken(&node)?;
            tokio::select! {
                () = running.until_stopped() => Ok(()),
                worked = bench::run_role(node.clone(), events, plan) => worked,
            }
        }
        (Some(plan), _) => {
            let events = taken(&node)?;
            tokio::select! {
                () = running.until_stopped() => Ok(()),
                worked = demo::run_role(node.clone(), events, plan) => worked,
            }
        }
        (None, None) => {
            let refused = tokio::select! {
                () = running.until_stopped() => false,
                () = node.endpoint().id_refused() => true,
            };
            if refused {
                tracing::warn!(
                    "starting anew under another endpoint ID: clones of our own nodes follow, clones of C++ and Zeek have to be restarted"
                );
                node.shutdown().await;
                node = start(false).await?;
                running.until_stopped().await;
            }
            Ok(())
        }
    };
    running.drain(node.shutdown()).await?;
    worked
}

/// The events of a node that was started with them.
fn taken(node: &ClusterNode) -> anyhow::Result<EventStream> {
    node.take_events()
        .ok_or_else(|| anyhow::anyhow!("the events were taken"))
}

/// What the layout asks for and cannot be had is a mistake in the layout: the line that asks for it, and what to do.
fn explain(error: StartError, config: &Path) -> anyhow::Error {
    let (table, key, fix) = match &error {
        StartError::Layout(error) => return misuse(error.to_string()),
        StartError::Listen(unprotected @ ListenError::Unprotected { .. }) => {
            return misuse(format!(
                "{}: {unprotected} (token_file or allow_unauthenticated in [ws])",
                config.display()
            ));
        }
        StartError::Logs(_) => (
            "cluster".to_owned(),
            "log_dir",
            "name a directory that this node may write to",
        ),
        StartError::Backend { store, .. } => (
            format!("stores.{store}"),
            "path",
            "name a file that this node may write to",
        ),
        _ => return error.into(),
    };
    let text = std::fs::read_to_string(config).unwrap_or_default();
    let line = line_of(&text, &table, key)
        .map(|line| format!(":{line}"))
        .unwrap_or_default();
    misuse(format!(
        "{}{line}: {:#}; {fix} in {key}",
        config.display(),
        anyhow::Error::new(error)
    ))
}

/// The line of `key` in `[table]` of a TOML text, or else of the table's head. Layouts are written in plain tables; one
/// that is not gets an answer without a line.
fn line_of(text: &str, table: &str, key: &str) -> Option<usize> {
    let (mut inside, mut head) = (false, None);
    for (line, number) in text.lines().map(str::trim).zip(1..) {
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|rest| rest.split(']').next())
        {
            inside = name.replace(['"', '\'', ' '], "") == table;
            if inside {
                head.get_or_insert(number);
            }
        } else if inside
            && line
                .split('=')
                .next()
                .is_some_and(|name| name.trim() == key)
        {
            return Some(number);
        }
    }
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_in_its_own_table() {
        let text = "[cluster]\nname = \"x\"\n[stores.a]\npath = \"a\"\n[stores.\"b\"]\nbackend = \"sqlite\"\n path=\"b\"\n";
        assert_eq!(line_of(text, "stores.a", "path"), Some(4));
        assert_eq!(line_of(text, "stores.b", "path"), Some(7));
        assert_eq!(line_of(text, "cluster", "log_dir"), Some(1));
        assert_eq!(line_of(text, "stores.c", "path"), None);
    }
}
