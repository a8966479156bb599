//! `bench store`: what replicated stores do a second, for each backend, and what attaching to a large one costs.
//!
//! The master is the other end (another process, or for `mem://` another endpoint here), the clone is this one. Whatever
//! was written is checked: the master's revision has to have moved by exactly the writes that were acknowledged, and the
//! clone's entries and digest have to equal the master's.
//!
//! Each backend is measured in a process of its own, so that its peak of memory is its own.

mod master;
mod measure;

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::Context as _;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use tokio::process::Command;

pub(super) use self::master::{MasterArgs, serve};
use super::{Transport, parse_seconds};
use crate::output::Output;

/// How to measure stores.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct StoreArgs {
    /// What keeps the entries of the master
    #[arg(long, value_enum, default_value_t = Backends::All)]
    backend: Backends,
    /// What is between master and clone
    #[arg(long, value_enum, default_value_t = Transport::Grpc)]
    transport: Transport,
    /// How long to measure each figure; half a second more is not counted
    #[arg(long, value_name = "S", default_value_t = 3.0, value_parser = parse_seconds)]
    seconds: f64,
    /// How many entries the clone attaches to [default: 1000000 in memory, 100000 else]
    #[arg(long, value_name = "N")]
    entries: Option<NonZeroU64>,
    /// How many writes are under way at a time
    #[arg(long, value_name = "N", default_value = "2048")]
    writers: NonZeroUsize,
    /// Where to put the files of a backend [default: a temporary directory]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Print a JSON object a line instead of a table
    #[arg(long)]
    json: bool,
}

/// Which backends to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Backends {
    /// Each one of this build in turn
    All,
    /// Nothing survives the master
    Memory,
    /// SQLite with the defaults of a store
    Sqlite,
    /// SQLite with journal_mode=wal and synchronous=normal
    SqliteWal,
    /// Sled, flushed after each group
    Sled,
}

impl Backends {
    /// Those of this build.
    const EACH: &[Self] = &[
        Self::Memory,
        #[cfg(feature = "sqlite")]
        Self::Sqlite,
        #[cfg(feature = "sqlite")]
        Self::SqliteWal,
        #[cfg(feature = "sled")]
        Self::Sled,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Memory => "memory",
            Self::Sqlite => "sqlite",
            Self::SqliteWal => "sqlite-wal",
            Self::Sled => "sled",
        }
    }

    const fn default_entries(self) -> u64 {
        match self {
            Self::Memory => 1_000_000,
            Self::All | Self::Sqlite | Self::SqliteWal | Self::Sled => 100_000,
        }
    }
}

/// The figures of one backend.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Figures {
    bench: String,
    transport: String,
    backend: String,
    writers: usize,
    /// Put at the master, counted until the clone has them.
    puts_per_s: f64,
    /// Put at the clone, acknowledged by the master.
    clone_puts_per_s: f64,
    /// The same with one put at a time.
    acknowledged_puts_per_s: f64,
    put_p50_us: f64,
    put_p99_us: f64,
    /// Read at the clone by one thread.
    gets_per_s: f64,
    /// Read at the clone by as many threads as the machine runs at once.
    gets_all_threads_per_s: f64,
    threads: usize,
    attach_entries: u64,
    attach_s: f64,
    /// The most memory used until then: by the process of the clone, or by both ends with `mem`.
    attach_peak_mb: Option<f64>,
    /// The most memory used by the process of the master, if it has its own.
    master_peak_mb: Option<f64>,
    /// Of both ends together, above what they used before there were any entries.
    bytes_per_entry: Option<f64>,
}

/// Measures and prints.
pub(super) async fn run(args: StoreArgs) -> anyhow::Result<()> {
    let mut output = Output::stdout();
    if args.backend != Backends::All {
        let figures = measure::measure(&args).await?;
        return print(&mut output, &args, &figures);
    }
    for backend in Backends::EACH {
        let figures = in_own_process(&args, *backend).await?;
        print(&mut output, &args, &figures)?;
    }
    Ok(())
}

async fn in_own_process(args: &StoreArgs, backend: Backends) -> anyhow::Result<Figures> {
    let program = std::env::current_exe().context("cannot find out where this program is")?;
    let mut command = Command::new(program);
    command
        .args(["bench", "store", "--json", "--backend", backend.name()])
        .args(["--transport", args.transport.name()])
        .args(["--seconds", &args.seconds.to_string()])
        .args(["--writers", &args.writers.to_string()]);
    if let Some(entries) = args.entries {
        command.args(["--entries", &entries.to_string()]);
    }
    if let Some(dir) = &args.dir {
        command.arg("--dir").arg(dir);
    }
    let done = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("cannot start the measurement")?
        .wait_with_output()
        .await?;
    anyhow::ensure!(done.status.success(), "{} was not measured", backend.name());
    serde_json::from_slice(&done.stdout).context("the figures are damaged")
}

fn print(output: &mut Output, args: &StoreArgs, figures: &Figures) -> anyhow::Result<()> {
    if args.json {
        output.json(figures)?;
    } else {
        let or_unknown =
            |value: Option<f64>| value.map_or_else(|| "?".to_owned(), |v| v.to_string());
        output.line(format!("{} over {}", figures.backend, figures.transport))?;
        let mut row = |name: &str, value: String| output.line(format!("  {name:<34} {value:>14}"));
        row(
            "puts/s until the clone has them",
            figures.puts_per_s.to_string(),
        )?;
        row(
            "clone puts/s, acknowledged",
            figures.clone_puts_per_s.to_string(),
        )?;
        row(
            "the same, one at a time",
            figures.acknowledged_puts_per_s.to_string(),
        )?;
        row("  p50, us", figures.put_p50_us.to_string())?;
        row("  p99, us", figures.put_p99_us.to_string())?;
        row("clone gets/s, 1 thread", figures.gets_per_s.to_string())?;
        let title = format!("clone gets/s, {} threads", figures.threads);
        row(&title, figures.gets_all_threads_per_s.to_string())?;
        let title = format!("attach of {}, s", figures.attach_entries);
        row(&title, figures.attach_s.to_string())?;
        row(
            "  peak of this process, MB",
            or_unknown(figures.attach_peak_mb),
        )?;
        if figures.master_peak_mb.is_some() {
            row(
                "  peak of the master's, MB",
                or_unknown(figures.master_peak_mb),
            )?;
        }
        row(
            "  bytes per entry, both ends",
            or_unknown(figures.bytes_per_entry),
        )?;
    }
    output.flush()?;
    Ok(())
}

const HELP: &str = "\
Keys and values are counts. The store is filled, the clone attaches, then puts at the master, puts
at the clone and reads at the clone are measured over the keys that are there. With a network named
the master is another process; peaks of memory need /proc and are null without.

--json: puts_per_s, clone_puts_per_s, acknowledged_puts_per_s (one at a time; put_p50_us,
put_p99_us), gets_per_s, gets_all_threads_per_s, attach_entries, attach_s, attach_peak_mb,
master_peak_mb, bytes_per_entry. Exit 1 if anything written is missing at the end.";
