//! `broker bench`: measured figures, from two processes over loopback where a network is named.
//!
//! The value is prepared once; every message is encoded and published anew, and the receiver visits every value in it
//! into a checksum that must equal the sender's. Publishers wait when a queue is full, so nothing may get lost.

mod checksum;
mod cluster;
mod codec;
mod memory;
mod pair;
mod pubsub;
mod raw_tcp;
mod receiver;
mod rtt;
mod store;
mod workload;

use clap::{Subcommand, ValueEnum};

pub(crate) use self::cluster::run_role;
use self::workload::Kind;

/// What can be measured.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Messages a second from one node to another
    Pubsub(Args),
    /// Round trips between two nodes, one at a time
    Rtt(Args),
    /// Nanoseconds per encode, decode and view, binary and JSON
    Codec(CodecArgs),
    /// Puts, reads and attaching of replicated stores, for each backend
    Store(store::StoreArgs),
    /// A cluster of 40 processes under load that loses its manager, proxies and a logger
    Cluster(cluster::ClusterArgs),
    /// The master's process of the bench of stores
    #[command(hide = true)]
    StoreMaster(store::MasterArgs),
    /// The receiving process of the other benches
    #[command(hide = true)]
    Receive(pair::ReceiveArgs),
}

/// How to measure.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// What carries the messages
    #[arg(long, value_enum, default_value_t = Transport::Grpc)]
    transport: Transport,
    /// Which event to send [default: each kind in turn]
    #[arg(long, value_name = "1|2|3", value_parser = parse_kind)]
    kind: Option<Kind>,
    /// How long to measure each kind; one second more is not counted
    #[arg(long, value_name = "S", default_value_t = 5.0, value_parser = parse_seconds)]
    seconds: f64,
    /// Print a JSON object a line instead of a table
    #[arg(long)]
    json: bool,
}

/// How to measure encoding and decoding.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = CODEC_HELP)]
pub(crate) struct CodecArgs {
    /// Which event to take [default: each kind in turn]
    #[arg(long, value_name = "1|2|3", value_parser = parse_kind)]
    kind: Option<Kind>,
    /// How long to measure each kind
    #[arg(long, value_name = "S", default_value_t = 5.0, value_parser = parse_seconds)]
    seconds: f64,
    /// Print a JSON object a line instead of a table
    #[arg(long)]
    json: bool,
}

/// What carries the messages of a bench.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Transport {
    /// Two processes over loopback
    Grpc,
    /// Two processes over loopback, the native protocol
    Broker,
    /// Two endpoints in one process
    Mem,
}

impl Transport {
    const fn name(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Broker => "broker",
            Self::Mem => "mem",
        }
    }
}

/// Runs a bench.
pub(crate) async fn run(command: Command, log: &str) -> anyhow::Result<()> {
    match command {
        // In tasks of their own, on the threads that also read and write: the main thread is none of them, and to wake
        // it for every message costs more than the message.
        Command::Pubsub(args) => tokio::spawn(pubsub::run(args)).await?,
        Command::Rtt(args) => tokio::spawn(rtt::run(args)).await?,
        Command::Codec(args) => codec::run(&args),
        Command::Store(args) => tokio::spawn(store::run(args)).await?,
        Command::Cluster(args) => cluster::run(args, log).await,
        Command::StoreMaster(args) => tokio::spawn(store::serve(args)).await?,
        Command::Receive(args) => pair::receive(args).await,
    }
}

impl Args {
    fn kinds(&self) -> Vec<Kind> {
        self.kind
            .map_or_else(|| Kind::ALL.to_vec(), |kind| vec![kind])
    }
}

fn parse_kind(text: &str) -> Result<Kind, String> {
    text.parse()
        .ok()
        .and_then(Kind::new)
        .ok_or_else(|| "there are kinds 1, 2 and 3".to_owned())
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|seconds| (0.01..=86_400.0).contains(seconds))
        .ok_or_else(|| "expected seconds, 0.01 to 86400".to_owned())
}

const HELP: &str = "\
Kinds:
  1  event with the integer 42 and the string test
  2  event with the 18 columns of a line of conn.log (about 300 bytes)
  3  event with the time and a table of 100 keys to sets of 10 strings (about 10 KB)

pubsub --json: messages_per_s, megabytes_per_s, lost, raw_tcp_messages_per_s (frames of the same
size over a bare TCP connection in the same run). rtt --json: p50_us, p99_us, raw_tcp_p50_us.
Exit 1 if a message was lost or arrived damaged.";

const CODEC_HELP: &str = "\
Kinds are those of `bench pubsub`. A view visits every value in the encoded bytes without decoding
them. JSON is the exact writing of JSON v1.

--json: encode_ns, decode_ns, view_ns, json_encode_ns, json_decode_ns.";
