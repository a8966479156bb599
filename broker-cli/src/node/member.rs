//! A node of a cluster, as its layout describes it.

use std::future::Future;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use broker_cluster::{ClusterNode, StartError};
use broker_core::{Filter, ListenError, QueueOptions};
use broker_store::{BackendError, Problem};

use super::departure::Departure;
use super::lifecycle::{Running, Told};
use super::reload::reload;
use super::{Args, Settings};
use crate::failure::{explain_listen, misuse};
use crate::logging::Logging;
use crate::metrics::View;
use crate::publish::parse_topic;
use crate::sink_tls::sink_tls;
use crate::{bench, demo, transports};

/// How long log records of a demo or a bench wait for a logger: as long as it takes.
const WORK_HOLD: Duration = Duration::from_secs(24 * 3600);

/// Runs a node of a cluster until it is told to stop.
pub(super) async fn run(
    args: &Args,
    settings: &Settings,
    config: &Path,
    log: &Logging,
) -> anyhow::Result<()> {
    let layout = args.layout.load(config)?;
    let Some(name) = args.name.as_deref().filter(|name| !name.is_empty()) else {
        return Err(misuse(format!(
            "{}: which node is this? Say it with --name or CLUSTER_NODE",
            config.display()
        )));
    };
    let mut transports = transports::of_member(&layout, name, &args.tls, &args.ws)?;
    let further: Vec<_> = args
        .listen
        .iter()
        .cloned()
        .chain(settings.further_listen())
        .collect();
    transports.check(&further, &args.peer)?;
    let prefixes = args
        .subscribe
        .iter()
        .map(|text| parse_topic(text))
        .collect::<anyhow::Result<Filter>>()?;
    let spec = layout
        .require(name)
        .map_err(|error| misuse(error.to_string()))?;
    if let Some(level) = &spec.log_level {
        Logging::check(level).with_context(|| format!("{}: [node.{name}]", config.display()))?;
    }
    let metrics = args.metrics.as_ref().or(spec.metrics.as_ref());
    let telemetry = args.telemetry(layout.telemetry(), metrics.is_some())?;
    if settings.check_only {
        return super::checked();
    }
    log.configure(spec.log_level.as_deref())?;

    let mut running = Running::begin(args.manner(name, metrics, &telemetry)).await?;
    let meters = running.meters();
    transports.meter = meters.websocket();
    let start = async |keep_id: bool| {
        let (endpoint, controls) = transports.controlled();
        let mut builder = ClusterNode::builder(layout.clone(), name)
            .endpoint_builder(settings.apply(meters.set_up(endpoint)))
            .listening(!settings.no_listen)
            .listen_retry(settings.listen_retry)
            .subscribe(prefixes.clone())
            .keep_id(keep_id)
            .node_streams(true)
            // A Zeek manager that loads the experimental script says it only where it is asked for.
            .hear_started(true)
            .sink_tls(sink_tls())
            // Whoever drives a demo or a bench looks for its files.
            .log_suffix(settings.log_suffix.clone().filter(|_| !args.works()))
            .forwarding(args.forwarding(false));
        if args.works() {
            // Their records are counted: none may go out in a way that nobody answers for.
            builder = builder.events(QueueOptions::local()).log_hold(WORK_HOLD);
        }
        let node = builder.start().await;
        let node = node.map_err(|error| explain(error, args.layout.settings(config)))?;
        for url in &further {
            settings
                .listen(node.endpoint(), url)
                .await
                .map_err(explain_listen)?;
        }
        for url in &args.peer {
            node.endpoint().peer(url.clone());
        }
        anyhow::Ok((node, controls))
    };
    let (mut node, mut controls) = start(true).await?;
    running.announce(&node.endpoint().listening(), view(&node))?;
    let mut worked = Ok(());
    let mut work = std::pin::pin!(work(&node, args));
    let mut id_refused = false;
    loop {
        let refused = node.endpoint().clone();
        tokio::select! {
            told = running.told() => match told {
                Told::Stop => break,
                Told::Reload => {
                    running.reload(reload(args, config, &node, &controls, log)).await;
                }
                Told::Status => Running::say_status(&view(&node))?,
            },
            done = &mut work => {
                worked = done;
                break;
            }
            () = refused.id_refused(), if !args.works() && !id_refused => {
                tracing::warn!(
                    "starting anew under another endpoint ID: clones of our own nodes follow, clones of C++ and Zeek have to be restarted"
                );
                id_refused = true;
                node.shutdown().await;
                (node, controls) = start(false).await?;
                running.replaced(view(&node));
            }
        }
    }
    let drain = async {
        let logs = node.shutdown().await;
        Departure::new(&node.endpoint().totals(), logs)
    };
    running.drain(view(&node), drain).await?;
    worked
}

/// What the node does on its own account: its part in a demo or a bench, or nothing, for ever.
fn work(node: &ClusterNode, args: &Args) -> impl Future<Output = anyhow::Result<()>> + use<> {
    let (demo, load) = (args.demo.clone(), args.load.clone());
    let (node, events) = (node.clone(), node.take_events());
    async move {
        let events = || events.ok_or_else(|| anyhow::anyhow!("the events were taken"));
        match (demo, load) {
            (Some(plan), _) => demo::run_role(node, events()?, &plan).await,
            (None, Some(plan)) => bench::run_role(node, events()?, &plan).await,
            // Held for as long as the program runs, it would keep a node alive that was replaced.
            (None, None) => {
                drop((node, events));
                std::future::pending().await
            }
        }
    }
}

fn view(node: &ClusterNode) -> View {
    View {
        endpoint: node.endpoint().clone(),
        cluster: Some(node.clone()),
    }
}

/// Whether another process has what the node needs, such as the last one of this node, which still stops. Trying again helps.
fn is_taken(error: &StartError) -> bool {
    match error {
        StartError::Logs(source) | StartError::Spool(source) => {
            source.kind() == ErrorKind::ResourceBusy
        }
        StartError::Backend {
            source: BackendError::Open { problem, .. },
            ..
        } => matches!(problem, Problem::InUse | Problem::Locked),
        _ => false,
    }
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
        _ if is_taken(&error) => return error.into(),
        StartError::Logs(_) => (
            "cluster".to_owned(),
            "log_dir",
            "name a directory that this node may write to",
        ),
        StartError::Spool(_) => (
            "logging".to_owned(),
            "spool_dir",
            "name a directory that this node may write to",
        ),
        StartError::Sink(error) => (
            format!("logging.sink.{}", error.sink()),
            "tls",
            "name PEM files that fit",
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
