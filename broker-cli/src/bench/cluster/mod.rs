//! `bench cluster`: a cluster of 40 processes on this machine under load, some of which are killed while it runs, and
//! whether everything adds up afterwards.
//!
//! | node | work |
//! |---|---|
//! | worker | writes its share of the log records, sends its share of the events to proxies by key, takes the manager's orders |
//! | proxy | counts events in its journal and answers for them; the demo's, without a store |
//! | manager | sends each worker its orders, at the worker's pace ([`feed`]) |
//! | logger | writes the records to files, and answers for them |
//!
//! The driver kills with SIGKILL, when every worker has done a part of its work, the manager, then a third of the proxies
//! at once, then a logger; each is started again at once by the supervisor. No worker goes far beyond that point
//! before it has been told that it has happened, so that each loss happens under load. At the end the nodes are stopped in the order in which
//! work flows, and the files of all loggers are read line by line.

mod audit;
mod driver;
mod events;
mod feed;
mod plan;
mod process;
mod role;
mod summary;

use std::path::PathBuf;

pub(super) use self::driver::run;
pub(crate) use self::role::run as run_role;
use crate::demo::Transport;

/// How large the cluster is and how much it has to do.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct ClusterArgs {
    /// How much of 1,000,000 events and 1,000,000 log records to move
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = parse_scale)]
    scale: f64,
    /// How many workers
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: u16,
    /// How many proxies, a third of which is killed
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u16).range(2..=64))]
    proxies: u16,
    /// How many loggers, one of which is killed
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(2..=64))]
    loggers: u16,
    /// What the nodes talk to each other over
    #[arg(long, value_enum, default_value_t = Transport::Grpc)]
    transport: Transport,
    /// Kill nobody
    #[arg(long)]
    no_losses: bool,
    /// Where the layout and the logs go [default: a temporary directory that is removed]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// End with one JSON object instead of a table
    #[arg(long)]
    json: bool,
}

fn parse_scale(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|scale| (0.001..=1000.0).contains(scale))
        .ok_or_else(|| "expected a factor, 0.001 to 1000".to_owned())
}

const HELP: &str = "\
A million events: 750,000 from workers to proxies by key, 250,000 from the manager to workers; and a
million log records from workers to loggers. What is promised, and checked:

  records   every record that was written is in the files, at least once; a record that is there again
            since its logger was killed stands in a batch that is known to be one too many
  keyed     every event was counted by a proxy and answered for; one that two proxies counted, since the
            first was killed before it could answer, is known and subtracted
  orders    every event of the manager was taken by its worker exactly once, also across the manager's
            death: a worker takes number after number and tells a new manager where it is

Exit 1 if anything does not add up. Memory is what the processes say about themselves twice a second:
resident pages (shared ones in each process), and proportional (shared ones divided).";
