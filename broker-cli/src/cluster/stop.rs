//! `broker cluster stop`: asks the supervisor of this host to stop its nodes, and waits until it has.

use std::time::Duration;

use tokio::time::timeout;

use super::ClusterArgs;
use super::control::{Answers, Progress, Request, Stopped};
use crate::client::seconds;
use crate::failure::{AlreadyReported, complain};
use crate::output::Output;

/// Stops the nodes of this host that `cluster up` runs.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Give up waiting after so many seconds; the nodes go on stopping
    #[arg(long, value_name = "SECS", default_value = "120", value_parser = seconds)]
    timeout: Duration,
    /// Print one JSON object per node
    #[arg(long)]
    json: bool,
}

/// Runs `broker cluster stop`.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let Some(stream) = args.cluster.place().connect().await? else {
        anyhow::bail!(
            "no nodes of {} are up on this host under `broker cluster up`; nodes that were started in another way are stopped in that way, or by SIGTERM",
            args.cluster.config.display()
        );
    };
    let answers = Answers::to(Request::Stop, stream).await?;
    let Ok(failed) = timeout(args.timeout, follow(answers, args.json)).await else {
        anyhow::bail!(
            "not all nodes have ended within {} s",
            args.timeout.as_secs_f32()
        );
    };
    if failed? {
        Err(AlreadyReported.into())
    } else {
        Ok(())
    }
}

/// Prints how the nodes end, and returns whether one did not end well.
async fn follow(mut answers: Answers, json: bool) -> anyhow::Result<bool> {
    let mut output = Output::stdout();
    let (mut failed, mut complete) = (false, false);
    while let Some(progress) = answers.progress().await? {
        match progress {
            Progress::Done { .. } => complete = true,
            Progress::Stopped(stopped) => {
                failed |= !stopped.ok;
                if json {
                    output.json(&stopped)?;
                } else {
                    output.line(text(&stopped))?;
                }
                output.flush()?;
            }
        }
    }
    if !complete {
        complain("the supervisor ended before it had stopped all nodes");
    }
    Ok(failed || !complete)
}

/// How a node ended, in one line.
pub(super) fn text(stopped: &Stopped) -> String {
    let Stopped {
        node,
        ok,
        how,
        counts,
        ..
    } = stopped;
    let how = match (ok, counts) {
        (true, Some(counts)) => counted(counts),
        (true, None) => "stopped".to_owned(),
        (false, _) => format!("did not end well: {how}"),
    };
    format!("{node} {how}")
}

fn counted(counts: &serde_json::Value) -> String {
    let count = |key: &str| counts[key].as_u64().unwrap_or(0);
    format!(
        "stopped: {} of {} events delivered, {} of {} log records acknowledged",
        count("events_delivered"),
        count("events_received"),
        count("log_records_acknowledged"),
        count("log_records"),
    )
}

const HELP: &str = "\
Workers stop first, then proxies, the manager, and loggers last, so that each can still hand over what it has.
Prints how each node ended; exit 1 if one did not end well, or if nothing was up.";
