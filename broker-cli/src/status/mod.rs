//! `broker status`: what a node says about itself, or what a peer can see of it.

mod report;
mod text;

use anyhow::Context as _;

pub(crate) use self::report::{Log, Portable, Report, Store};
use crate::client::NodeArgs;
use crate::door::Door;
use crate::output::Output;

/// Shows a node's identity, peers, filters, queues, counters and stores.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    #[command(flatten)]
    node: NodeArgs,
    /// Print one JSON object instead of tables
    #[arg(long)]
    json: bool,
}

/// Runs `broker status`.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let door = Door::open(&args.node, "status").await?;
    let report = door
        .status()
        .await
        .with_context(|| format!("status {}", args.node.peer))?;
    print(&report, args.json)
}

/// Prints a report, as tables or as JSON.
pub(crate) fn print(report: &Report, json: bool) -> anyhow::Result<()> {
    let mut output = Output::stdout();
    if json {
        output.json(report)?;
    } else {
        output.line(text::tables(report).trim_end())?;
    }
    output.flush()
}

const HELP: &str = "\
--json keys: id, name, version, uptime_s, listening, subscriptions,
  peers [id, name, url, state, filter, queued, queued_bytes, sent, received, dropped, rtt_us],
  stores [name, role, backend, entries], logs {stream: in, written, dropped, spooled}.

Over broker:// this is what a peer can see: id, name, version (the software), protocol_version,
subscriptions (the filter), rtt_us, and the stores that the filter names; over ws:// id, version,
protocol_version and rtt_us. The rest is null, and name empty where it is not told.

A node that listens nowhere, as workers may, is shown by `broker cluster status NODE`, if `broker cluster up` runs it.";
