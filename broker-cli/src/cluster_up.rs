//! `broker cluster up`: all nodes of this host under one supervisor.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::{IpAddr, UdpSocket};
use std::path::PathBuf;

use broker_cluster::NodeSpec as LayoutNode;

use crate::failure::{AlreadyReported, MISUSED, complain, misuse};
use crate::logging::Logging;
use crate::output::Output;
use crate::signals::StopSignals;
use crate::supervisor::{NodeEvent, NodeSpec, Supervisor, eprintln_line};
use crate::tls::TlsArgs;
use crate::transports;
use crate::ws_access::WsArgs;

/// Starts every node of the layout that belongs to this host.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// The layout of the cluster
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Start the nodes with this `host`, besides those without one or with an address of this host [default: this host's
    /// name]
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    #[command(flatten)]
    layout: LayoutArgs,
    #[command(flatten)]
    tls: TlsArgs,
}

/// Runs `broker cluster up`.
pub(crate) async fn run(args: Args, log: &Logging) -> anyhow::Result<()> {
    let layout = Layout::load(&args.config).map_err(|error| misuse(error.to_string()))?;
    let here = args.host.clone().unwrap_or_else(host_name);
    let nodes: Vec<&LayoutNode> = layout.nodes().filter(|node| is_here(node, &here)).collect();
    let names: Vec<String> = nodes.iter().map(|node| node.name.clone()).collect();
    if names.is_empty() {
        return Err(misuse(format!(
            "{}: no node belongs to this host; choose one with --host",
            args.config.display()
        )));
    }
    for name in &names {
        transports::of_member(&layout, name, &args.tls, &WsArgs::default())?;
    }
    let mut signals = StopSignals::install()?;
    let asked = log.asked();
    let specs = names.iter().map(|name| NodeSpec {
        name: name.clone(),
        args: [
            OsString::from("node"),
            "--supervised".into(),
            "--config".into(),
            args.config.clone().into(),
            "--name".into(),
            node.name.clone().into(),
        ]
        .into_iter()
        .chain(
            asked
                .iter()
                .flat_map(|level| [OsString::from("--log-level"), level.into()]),
        )
        .chain(args.tls.to_args())
        .collect(),
    });
    let mut supervisor = Supervisor::start(specs.collect())?;
    let watched = tokio::select! {
        _ = signals.received() => Ok(()),
        result = watch(&mut supervisor, names.into_iter().collect()) => result,
    };
    let failed = signals.drain(supervisor.stop_all()).await?;
    watched?;
    for (name, how) in &failed {
        complain(&format!("{name} did not end well: {how}"));
    }
    if failed.is_empty() {
        Ok(())
    } else {
        Err(AlreadyReported.into())
    }
}

/// Passes on what the nodes say, until one of them cannot run at all.
async fn watch(supervisor: &mut Supervisor, mut waiting: BTreeSet<String>) -> anyhow::Result<()> {
    let mut output = Output::stdout();
    while let Some((name, event)) = supervisor.event().await {
        match event {
            NodeEvent::Listening(url) => output.line(format!("{name} listening {url}"))?,
            NodeEvent::Ready => {
                output.line(format!("{name} ready"))?;
                if waiting.remove(&name) && waiting.is_empty() {
                    output.line("ready")?;
                }
            }
            NodeEvent::Said(line) => eprintln_line(&format!("{name}: {line}")),
            NodeEvent::Ended { code, .. } if code == Some(MISUSED.into()) => {
                // It has said why.
                return Err(misuse(format!("{name} cannot run as it is configured")));
            }
            NodeEvent::Ended {
                how, restart_in, ..
            } => {
                let after = restart_in.unwrap_or_default().as_millis();
                complain(&format!(
                    "{name} ended: {how}; starting it again in {after} ms"
                ));
            }
        }
        output.flush()?;
    }
    Ok(())
}

fn is_here(node: &LayoutNode, here: &str) -> bool {
    node.host
        .as_deref()
        .is_none_or(|host| host == here || host == "localhost" || is_own_address(host))
}

/// Whether `host` is an address of this machine: only those can be bound.
fn is_own_address(host: &str) -> bool {
    host.parse::<IpAddr>()
        .is_ok_and(|address| !address.is_unspecified() && UdpSocket::bind((address, 0)).is_ok())
}

/// The name of this host; empty if it cannot be found out, which then matches no `host`.
fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .or_else(|_| std::fs::read_to_string("/etc/hostname"))
        .map(|name| name.trim().to_owned())
        .unwrap_or_default()
}

const HELP: &str = "\
A node that ends is started again: at once, then after 100 ms doubling to 5 s. SIGINT and SIGTERM stop
all nodes together. Prints `NODE listening URL` and `NODE ready` for each node, then `ready`.";
