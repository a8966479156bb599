//! `broker demo`: a whole cluster on this machine, fed with real Zeek logs.
//!
//! The driver writes a layout and a [`plan`], starts one process per node, and watches; the nodes do the work:
//!
//! | node | work |
//! |---|---|
//! | worker | reads its share of the inputs, logs every record remotely, publishes an event per `id.orig_h` to the proxy that rendezvous hashing names |
//! | proxy | counts the hosts of its events in the store `hosts` through its clone, and answers for them |
//! | logger | writes the records to files, and answers for them |
//! | manager | holds the master of `hosts`; when every worker has drained it tells them to finish |
//!
//! The end is drained in order: a worker is *drained* when every record and every event has been answered for; once all
//! are, the manager lets them *finish*, and each brings its clone up to the master and counts its entries. Then the
//! driver reads the status of every node, adds it up, and stops workers, proxies, manager and loggers in this order.
//! No figure is the driver's own.

mod chaos;
mod driver;
pub(crate) mod events;
pub(crate) mod figures;
pub(crate) mod layout;
pub(crate) mod outbox;
pub(crate) mod plan;
mod progress;
pub(crate) mod role;
mod summary;
pub(crate) mod tally;
mod workspace;

use std::path::PathBuf;

pub(crate) use self::role::run as run_role;

/// Runs a whole cluster on this machine and feeds Zeek logs through it.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// A Zeek log to read, TSV or JSON [default: conn.log and dns.log that the program brings]
    #[arg(long, value_name = "LOG")]
    input: Vec<PathBuf>,
    /// How many workers
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    workers: u16,
    /// How many loggers; without any the manager writes the logs
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(0..=64))]
    loggers: u16,
    /// How many proxies
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    proxies: u16,
    /// What the nodes talk to each other over
    #[arg(long, value_enum, default_value_t = Transport::Grpc)]
    transport: Transport,
    /// Where the layout and the logs go [default: a temporary directory that is kept]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// End with one JSON object instead of a table
    #[arg(long)]
    json: bool,
    /// Kill a logger and a proxy in the middle
    #[arg(long, hide = true)]
    chaos: bool,
}

/// What the nodes of a demo talk to each other over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Transport {
    /// grpc://
    Grpc,
    /// broker://, the native protocol
    Broker,
}

/// Runs `broker demo`.
pub(crate) async fn run(args: Args, log: &str) -> anyhow::Result<()> {
    driver::run(args, log).await
}

const HELP: &str = "\
Starts manager, loggers, proxies and workers as processes of their own, deals the lines of the inputs
over the workers, writes every record again at the loggers (DIR/<logger>/<path>.log), and counts hosts
at the proxies and in a replicated store. A bad line is reported and skipped.

--json ends with one object: nodes, records_in, lines_skipped, records_written, duplicates,
events_published, events_received, proxy_keys, store_entries, dropped, seconds. Exit 1 unless every
record was written, every event received and nothing dropped.

Examples:
  broker demo
  broker demo --input conn.log --input dns.log --workers 4 --out demo --json";
