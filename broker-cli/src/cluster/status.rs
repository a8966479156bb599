//! `broker cluster status`: every node of a layout, asked at the same time.
//!
//! The nodes of this host are asked by their supervisor, over the pipes it has to them, so that it does not matter whether and how
//! they listen. All others, and those that do not answer it, are asked where they listen for our clients (`grpc://`, `grpcs://`). Of
//! one that cannot be asked at all, since it listens nowhere or for peers only, is known what the nodes say that it is connected
//! to: asking it as a peer would make this command a peer that others notice.

mod report;

use std::collections::BTreeMap;
use std::time::Duration;

use broker_cluster::{Layout, NodeSpec};
use broker_core::PeerUrl;
use broker_wire::BrokerClient;
use tokio::task::JoinSet;
use tokio::time::timeout;

use self::report::Report;
use super::board::Board;
use super::control::{ask_nodes, ask_status};
use super::{ClusterArgs, is_here};
use crate::client::seconds;
use crate::failure::{AlreadyReported, complain, misuse};
use crate::output::Output;
use crate::status;
use crate::tls::TlsArgs;

/// Shows every node of the cluster.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Show everything about these nodes, as `broker status` does, instead of a line about each
    #[arg(value_name = "NODE")]
    nodes: Vec<String>,
    /// Give every node so many seconds to answer
    #[arg(long, value_name = "SECS", default_value = "3", value_parser = seconds)]
    timeout: Duration,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    tls: TlsArgs,
}

/// Runs `broker cluster status`.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let layout = args.cluster.load()?;
    for name in &args.nodes {
        layout
            .require(name)
            .map_err(|error| misuse(error.to_string()))?;
    }
    let place = args.cluster.place();
    let board = match place.connect().await? {
        Some(stream) => Some(ask_status(stream).await?),
        None => None,
    };
    let mut answers = BTreeMap::new();
    // It may have ended in between.
    if board.is_some()
        && let Some(stream) = place.connect().await?
    {
        for told in ask_nodes(stream, args.timeout).await? {
            if let Some(status) = told.status {
                answers.insert(told.node, Answer::Status(Box::new(status.into())));
            }
        }
    }
    let here = args.cluster.here();
    ask_others(&layout, board.as_ref(), &here, &args, &mut answers).await?;
    if !args.nodes.is_empty() {
        return show(&args, &layout, &answers);
    }
    let report = Report::new(&layout, board.as_ref(), &answers, |node| {
        is_here(node, &here)
    });
    let mut output = Output::stdout();
    if args.json {
        output.json(&report)?;
    } else {
        output.line(report.table().trim_end())?;
    }
    output.flush()?;
    match report.not_up() {
        [] => Ok(()),
        names => {
            let named = names.iter().take(NAMED).map(|name| &**name);
            let mut text = named.collect::<Vec<_>>().join(", ");
            if names.len() > NAMED {
                text.push_str(&format!(" and {} more", names.len() - NAMED));
            }
            complain(&format!("not up: {text}"));
            Err(AlreadyReported.into())
        }
    }
}

/// Shows the nodes that were asked for, one after the other.
fn show(args: &Args, layout: &Layout, answers: &BTreeMap<String, Answer>) -> anyhow::Result<()> {
    let mut failed = false;
    let here = args.cluster.here();
    for (at, name) in args.nodes.iter().enumerate() {
        match answers.get(name) {
            Some(Answer::Status(status)) => {
                if at > 0 && !args.json {
                    let mut output = Output::stdout();
                    output.line("")?;
                    output.flush()?;
                }
                status::print(status, args.json)?;
            }
            other => {
                failed = true;
                let why = match (other, layout.node(name)) {
                    (Some(Answer::Silent(why)), _) => why.clone(),
                    (_, node) => format!(
                        "{}, and is not under `broker cluster up` here, or does not answer it",
                        node.map_or_else(String::new, |node| unasked(node, is_here(node, &here)))
                    ),
                };
                complain(&format!("{name}: {why}"));
            }
        }
    }
    if failed {
        return Err(AlreadyReported.into());
    }
    Ok(())
}

/// What came of asking a node.
enum Answer {
    Status(Box<status::Report>),
    /// It did not answer, and why.
    Silent(String),
}

/// Asks every node that has not answered yet and can be asked.
async fn ask_others(
    layout: &Layout,
    board: Option<&Board>,
    here: &str,
    args: &Args,
    answers: &mut BTreeMap<String, Answer>,
) -> anyhow::Result<()> {
    let mut asking = JoinSet::new();
    let wanted = |node: &&NodeSpec| {
        let asked_for = args.nodes.is_empty() || args.nodes.contains(&node.name);
        asked_for && !answers.contains_key(&node.name)
    };
    for node in layout.nodes().filter(wanted) {
        let Some(url) = door(node, board, is_here(node, here)) else {
            continue;
        };
        let tls = args.tls.options(&node.tls)?;
        let (name, limit) = (node.name.clone(), args.timeout);
        asking.spawn(async move {
            let asked = async {
                let client = BrokerClient::connect_with(&url, Some(&tls)).await?;
                client.status().await
            };
            let answer = match timeout(limit, asked).await {
                Ok(Ok(status)) if status.name == name => {
                    Answer::Status(Box::new(status::Report::of_node(&status)))
                }
                Ok(Ok(status)) => Answer::Silent(format!("{url} is {:?}", status.name)),
                Ok(Err(error)) => Answer::Silent(error.to_string()),
                Err(_) => Answer::Silent(format!(
                    "no answer from {url} within {} s",
                    limit.as_secs_f32()
                )),
            };
            (name, answer)
        });
    }
    while let Some(answer) = asking.join_next().await {
        let (name, answer) = answer?;
        answers.insert(name, answer);
    }
    Ok(())
}

/// Where a node can be asked: where its supervisor says that it listens, or else the layout.
fn door(node: &NodeSpec, board: Option<&Board>, local: bool) -> Option<PeerUrl> {
    let bound = board
        .and_then(|board| board.nodes.get(&node.name))
        .map(|state| state.listening.clone())
        .unwrap_or_default();
    let bound = bound.iter().filter_map(|url| url.parse().ok());
    let listed = if local { &node.listen } else { node.dialable() };
    bound
        .chain(listed.iter().filter(|url| url.port() != Some(0)).cloned())
        .find(|url: &PeerUrl| matches!(url.scheme(), "grpc" | "grpcs"))
        .map(|url| reachable(&url))
}

/// Why a node without a [`door`] that its supervisor knows cannot be asked, in words that begin a sentence.
fn unasked(node: &NodeSpec, local: bool) -> String {
    let listed = if local { &node.listen } else { node.dialable() };
    let grpc = |url: &&PeerUrl| matches!(url.scheme(), "grpc" | "grpcs");
    match (listed, listed.iter().find(grpc)) {
        ([], _) => "it listens nowhere".to_owned(),
        (_, Some(url)) => format!("it listens at whichever port was free ({url})"),
        (urls, None) => {
            let urls: Vec<_> = urls.iter().take(NAMED).map(ToString::to_string).collect();
            format!(
                "it listens at {} only, where it cannot be asked (that takes grpc:// or grpcs://)",
                urls.join(", ")
            )
        }
    }
}

/// An address that stands for all of this host, as one that can be dialled.
fn reachable(url: &PeerUrl) -> PeerUrl {
    match url.host() {
        "0.0.0.0" | "*" => PeerUrl::new(url.scheme(), "127.0.0.1", url.port()),
        "::" => PeerUrl::new(url.scheme(), "::1", url.port()),
        _ => url.clone(),
    }
}

/// Nodes that are named at most when they are not up; the table names them all.
const NAMED: usize = 10;

const HELP: &str = "\
A node is up if it answers, its supervisor or at an address of its own, or if another node that answers says so; `-` is what
cannot be known then. Asking takes `broker cluster up` on this host, or a grpc:// or grpcs:// address of the node. Exit 1 if any node is not up. With NODE: the tables and keys of `broker status`, a node after the other.

--json keys: cluster, supervisor {pid, uptime_s} or null, nodes [name, role, host, state (up, starting, down,
unknown), how (answers, seen, or why not), pid, uptime_s, restarts, metrics, peers, peers_expected,
waiting_for, last_end, stores [name, role, entries, lag], logs {stream: in, written, dropped}], not_up.";

#[cfg(test)]
mod tests {
    use super::super::board::NodeState;
    use super::*;

    #[test]
    fn a_node_is_asked_where_it_really_listens() {
        let layout = Layout::parse(
            "[node.manager]\nrole = \"manager\"\nlisten = [\"broker://0.0.0.0:1\", \"grpc://0.0.0.0:2\"]\nadvertise = [\"grpc://far:2\"]\n\
             [node.worker-1]\nrole = \"worker\"\nlisten = [\"grpc://127.0.0.1:0\"]\n\
             [node.worker-2]\nrole = \"worker\"\n[node.logger-1]\nrole = \"logger\"\nlisten = [\"broker://127.0.0.1:3\"]\n",
            "lab.toml",
        )
        .expect("a layout");
        let door = |name: &str, board: Option<&Board>, local| {
            let node = layout.node(name).expect("a node");
            super::door(node, board, local).map(|url| url.to_string())
        };
        let unasked = |name: &str, local| super::unasked(layout.node(name).expect("a node"), local);
        let only = "it listens at broker://127.0.0.1:3 only, where it cannot be asked (that takes grpc:// or grpcs://)";
        assert_eq!(unasked("logger-1", true), only);
        assert_eq!(unasked("worker-2", true), "it listens nowhere");
        assert!(unasked("worker-1", false).contains("whichever port was free"));
        assert_eq!(door("logger-1", None, true), None);
        assert_eq!(
            door("manager", None, true).as_deref(),
            Some("grpc://127.0.0.1:2")
        );
        assert_eq!(
            door("manager", None, false).as_deref(),
            Some("grpc://far:2")
        );
        assert_eq!(door("worker-1", None, true), None);
        let state = NodeState {
            listening: vec!["grpc://127.0.0.1:77".to_owned()],
            ..NodeState::default()
        };
        let board = Board {
            nodes: [("worker-1".to_owned(), state)].into(),
            ..Board::default()
        };
        assert_eq!(
            door("worker-1", Some(&board), true).as_deref(),
            Some("grpc://127.0.0.1:77")
        );
    }
}
