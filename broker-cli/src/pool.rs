//! `broker pool`: who is in a pool, and where keys live.

use std::path::PathBuf;

use broker_cluster::Layout;
use broker_cluster::pools::{HrwKey, Pool};
use serde::Serialize;

use crate::failure::misuse;
use crate::output::Output;
use crate::publish::parse_value;

/// Prints the members of a pool, or for each KEY the member it lives with. Nothing is started or asked.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// The layout of the cluster
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The pool: proxy, worker, logger, or one of the layout
    pool: String,
    /// Keys, as values
    #[arg(allow_hyphen_values = true, value_name = "KEY")]
    keys: Vec<String>,
    /// Leave this member out, as if it were down
    #[arg(long, value_name = "NODE")]
    down: Vec<String>,
    /// Print only the topic of each member, to publish to it
    #[arg(long, conflicts_with = "json")]
    topic: bool,
    /// Print a JSON object a line
    #[arg(long)]
    json: bool,
}

/// One line of the output.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    /// Nobody, if no member is up.
    node: Option<&'a str>,
    topic: Option<String>,
}

/// Runs `broker pool`.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let layout = Layout::load(&args.config).map_err(|error| misuse(error.to_string()))?;
    let mut pools = layout.pools("");
    let known = || {
        let names = layout.pool_specs().iter().map(|spec| spec.name.as_str());
        names.collect::<Vec<_>>().join(", ")
    };
    let Some(pool) = pools.iter_mut().find(|pool| pool.spec().name == args.pool) else {
        return Err(misuse(format!(
            "there is no pool called {:?}; there are {}",
            args.pool,
            known()
        )));
    };
    if let Some(stranger) = args.down.iter().find(|name| !pool.contains(name)) {
        return Err(misuse(format!(
            "{stranger:?} is no member of pool {:?}",
            args.pool
        )));
    }
    let members: Vec<String> = pool.nodes().iter().map(|node| node.name.clone()).collect();
    let up: Vec<&String> = members
        .iter()
        .filter(|name| !args.down.contains(name))
        .collect();
    for name in &up {
        pool.node_up(name);
    }
    let mut output = Output::stdout();
    if args.keys.is_empty() {
        for name in up {
            print(&mut output, args, None, pool, Some(name))?;
        }
    }
    for text in &args.keys {
        let key = HrwKey::from_data(&parse_value(text)?)
            .map_err(|error| misuse(format!("{text}: {error}")))?;
        let home = pool.hrw(&key).map(|node| node.name.clone());
        print(&mut output, args, Some(text), pool, home.as_deref())?;
    }
    output.flush()
}

fn print(
    output: &mut Output,
    args: &Args,
    key: Option<&str>,
    pool: &Pool,
    name: Option<&str>,
) -> anyhow::Result<()> {
    let topic = pool
        .nodes()
        .iter()
        .find(|node| Some(node.name.as_str()) == name)
        .map(|node| node.topic.to_string());
    if args.json {
        let node = name;
        return output.json(&Line { key, node, topic });
    }
    let topic = topic.unwrap_or_default();
    let name = name.unwrap_or_default();
    match key {
        _ if args.topic => output.line(topic),
        Some(key) => output.line(format!("{key}\t{name}\t{topic}")),
        None => output.line(format!("{name}\t{topic}")),
    }
}

const HELP: &str = concat!(
    "Every node of a cluster, Zeek's included, computes the same from the same layout; which members are up is not known\n\
     here: all are, but for those named with --down. A node that is a member does not choose itself.\n\n",
    crate::value::help!(),
    "\n\nExamples:\n  broker pool --config cluster.toml proxy\n  broker pool --config cluster.toml proxy example_key1 10.0.0.1 42u\n  \
     broker event grpc://worker-1 \"$(broker pool --config cluster.toml proxy example_key1 --topic)\" Test::ping example_key1"
);
