//! `broker node`: one node, a member of a cluster or a relay.

mod departure;
mod lifecycle;
mod member;
pub(crate) mod notify;
mod relay;
mod reload;
mod settings;

use std::path::PathBuf;

use broker_cluster::{EventLevel, HostPort, TelemetrySpec};
use broker_core::PeerUrl;

use self::lifecycle::Manner;
pub(crate) use self::settings::{Settings, max_threads};
use crate::failure::misuse;
use crate::layout_file::LayoutArgs;
use crate::logging::Logging;
use crate::output::Output;
use crate::tls::TlsArgs;
use crate::transports;
use crate::ws_access::WsArgs;

/// Runs one node until it is told to stop.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// The layout of the cluster: our own, Zeek's node.cfg or cluster-layout.zeek; without it the node is a relay
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Which node of the layout this is; for a relay, the name its peers see
    #[arg(
        long,
        env = "CLUSTER_NODE",
        value_name = "NODE",
        hide_env_values = true
    )]
    name: Option<String>,
    /// Listen here; port 0 takes a free one [default: the layout's, or grpc://127.0.0.1:9998]
    #[arg(long, value_name = "URL")]
    listen: Vec<PeerUrl>,
    /// Keep a peering with this node
    #[arg(long, value_name = "URL")]
    peer: Vec<PeerUrl>,
    /// Ask peers for topics with this prefix, to pass them on
    #[arg(long, value_name = "PREFIX")]
    subscribe: Vec<String>,
    /// Pass messages of one peer on to others [default: yes, but not in a cluster]
    #[arg(long, overrides_with = "no_forward")]
    forward: bool,
    /// Do not pass messages of one peer on to others
    #[arg(long, overrides_with = "forward")]
    no_forward: bool,
    #[command(flatten)]
    layout: LayoutArgs,
    #[command(flatten)]
    tls: TlsArgs,
    #[command(flatten)]
    ws: WsArgs,
    /// Serve metrics (/metrics) and health (/healthz, /readyz) over HTTP here, for example 127.0.0.1:9991; to anybody who
    /// reaches it [default: the layout's `metrics`, or nowhere]
    #[arg(long, value_name = "HOST:PORT")]
    metrics: Option<HostPort>,
    /// Count events for metrics by topic and name: verbose how many, debug how large; both with a comma between
    /// [default: as `[cluster.telemetry]` of the layout says, or info, which is always there: their number alone]
    #[arg(long, value_name = "LEVELS", value_delimiter = ',')]
    telemetry: Vec<EventLevel>,
    /// Say what became of all messages as one JSON object on stdout at the end, instead of one line on stderr
    #[arg(long)]
    json: bool,
    /// Stop when stdin is closed, as supervisors do it
    #[arg(long, hide = true)]
    supervised: bool,
    /// What to do in a demo
    #[arg(long, hide = true, value_name = "FILE", requires = "config")]
    demo: Option<PathBuf>,
    /// What to do in the bench of a cluster
    #[arg(
        long,
        hide = true,
        value_name = "FILE",
        requires = "config",
        conflicts_with = "demo"
    )]
    load: Option<PathBuf>,
}

/// Runs `broker node`.
pub(crate) async fn run(mut args: Args, log: &Logging) -> anyhow::Result<()> {
    let settings = Settings::from_environment()?;
    if settings.no_listen {
        args.listen.clear();
    }
    for (option, url) in args
        .listen
        .iter()
        .map(|url| ("--listen", url))
        .chain(args.peer.iter().map(|url| ("--peer", url)))
    {
        if !transports::SCHEMES.contains(&url.scheme()) {
            return Err(misuse(format!(
                "{option} {url}: there is no transport for {}:// here (there is: {})",
                url.scheme(),
                transports::SCHEMES.join(", ")
            )));
        }
    }
    for (index, url) in args.listen.iter().enumerate() {
        if url.port() != Some(0) && args.listen[..index].contains(url) {
            return Err(misuse(format!("--listen {url} is given twice")));
        }
    }
    match &args.config {
        Some(config) => member::run(&args, &settings, config, log).await,
        None => relay::run(&args, &settings).await,
    }
}

/// The answer to `ZEEKCTL_CHECK_CONFIG`.
fn checked() -> anyhow::Result<()> {
    let mut output = Output::stdout();
    output.line("the configuration is fine")?;
    output.flush()
}

impl Args {
    /// Whether it has a part in a demo or a bench.
    const fn works(&self) -> bool {
        self.demo.is_some() || self.load.is_some()
    }

    /// How the node is run, whatever it does.
    const fn manner<'a>(
        &self,
        name: &'a str,
        metrics: Option<&'a HostPort>,
        telemetry: &'a TelemetrySpec,
    ) -> Manner<'a> {
        Manner {
            name,
            supervised: self.supervised,
            json: self.json,
            metrics,
            telemetry,
        }
    }

    /// How closely events are counted: as the command line says, or else as `layout` does.
    ///
    /// # Errors
    /// Misuse: the command line says so, and nobody is `served`.
    fn telemetry(&self, layout: &TelemetrySpec, served: bool) -> anyhow::Result<TelemetrySpec> {
        let mut spec = layout.clone();
        if !self.telemetry.is_empty() {
            if !served {
                return Err(misuse(
                    "--telemetry says what metrics are counted, and this node serves none; add --metrics HOST:PORT",
                ));
            }
            spec.core = self.telemetry.iter().copied().collect();
            spec.websocket = spec.core;
        }
        Ok(spec)
    }

    /// What was said about forwarding, or `default`.
    const fn forwarding(&self, default: bool) -> bool {
        if self.forward {
            true
        } else {
            default && !self.no_forward
        }
    }
}

const HELP: &str = "\
Prints `listening URL` for every address it has bound, then `ready`: all addresses bound, all local
stores open. SIGINT and SIGTERM let it drain and stop; a second one ends it at once.

With --config it is the node of the layout that --name or CLUSTER_NODE names, and does not forward.
Without, it is a relay: what matches --subscribe is passed on to those peers that asked for it. Several
--listen make one node with several doors; what comes in at one goes out at every other.

SIGHUP has a node with --config read it again: nodes that come and go, addresses, further peers, the log
level, certificates, and who may be a WebSocket client. What needs a start is named; a broken file
changes nothing. At its end a node says what became of its messages and log records.

Environment:
  CLUSTER_NODE                   which node this is, as --name
  ZEEK_DEFAULT_LISTEN_ADDRESS    where to listen without --listen; for nodes of Zeek's layouts too
  ZEEK_DEFAULT_LISTEN_RETRY      seconds after which an address that cannot be bound is tried again [not at all]
  ZEEK_DEFAULT_CONNECT_RETRY     seconds between attempts to connect [at once, then 100 ms doubling to 5 s]
  ZEEK_WEBSOCKET_LISTEN_ADDRESS, ZEEK_WEBSOCKET_LISTEN_PORT   listen for WebSocket clients here as well [127.0.0.1, 27759]
  ZEEK_BROKER_MAX_THREADS        how many threads to run on [as many as processors]
  ZEEKCTL_CHECK_CONFIG           if not empty: look at the configuration, say so, and end
  ZEEKCTL_DISABLE_LISTEN         if not empty: listen nowhere
  NOTIFY_SOCKET, WATCHDOG_USEC   whom to tell how the node is; systemd sets them

Examples:
  broker node --config cluster.toml --name manager
  CLUSTER_NODE=logger-1 broker node --config cluster-layout.zeek --with logger.toml
  broker node --listen grpc://0.0.0.0:9998 --peer grpc://other:9998 --subscribe zeek/
  broker node --listen grpc://127.0.0.1 --listen brokers://0.0.0.0 --listen ws://127.0.0.1 --subscribe zeek/
  broker node --listen grpc://127.0.0.1 --peer 'ws://zeek:27759/v1/messages/json?send=zeek/'";
