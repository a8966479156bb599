//! `broker cluster`: a whole cluster, or the part of it that runs on this host.
//!
//! | file | what it holds |
//! |---|---|
//! | `up` | all nodes of this host under one supervisor |
//! | `place` | where a supervisor keeps its lock and its socket: one supervisor per layout and host |
//! | `board` | what a supervisor knows about its nodes |
//! | `control` | what other commands say to a supervisor, and what it answers |
//! | `status` | every node of a layout, asked at the same time |
//! | `stop` | asking a supervisor to stop its nodes |

mod board;
mod control;
mod place;
mod status;
mod stop;
mod up;

use std::net::{IpAddr, UdpSocket};
use std::path::PathBuf;

use broker_cluster::{Layout, NodeSpec};

use self::place::Place;
use crate::layout_file::LayoutArgs;
use crate::logging::Logging;

/// What can be done with a whole cluster.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Start all nodes of this host, restart those that end, stop them together
    Up(up::Args),
    /// Show every node of the cluster: up or down, peers, stores, logs, whom it waits for
    Status(status::Args),
    /// Stop the nodes of this host that `cluster up` runs, and wait for it
    Stop(stop::Args),
}

/// Which cluster, and where its supervisor is.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ClusterArgs {
    /// The layout of the cluster
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The nodes with this `host`, besides those without one or with an address of this host [default: this host's name]
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Where the supervisor keeps its lock and its socket [default: beside the layout]
    #[arg(
        long,
        env = "BROKER_RUN_DIR",
        hide_env_values = true,
        value_name = "DIR"
    )]
    run_dir: Option<PathBuf>,
    #[command(flatten)]
    layout: LayoutArgs,
}

impl ClusterArgs {
    /// This host, as layouts call it.
    fn here(&self) -> String {
        self.host.clone().unwrap_or_else(host_name)
    }

    /// Reads the layout.
    fn load(&self) -> anyhow::Result<Layout> {
        self.layout.load(&self.config)
    }

    /// Where the supervisor of this host is found.
    fn place(&self) -> Place {
        Place::new(&self.config, &self.here(), self.run_dir.as_deref())
    }
}

/// Runs `broker cluster`.
pub(crate) async fn run(command: Command, log: &Logging) -> anyhow::Result<()> {
    match command {
        Command::Up(args) => up::run(args, log).await,
        Command::Status(args) => status::run(args).await,
        Command::Stop(args) => stop::run(args).await,
    }
}

/// Whether a node is started on the host `here`.
fn is_here(node: &NodeSpec, here: &str) -> bool {
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
