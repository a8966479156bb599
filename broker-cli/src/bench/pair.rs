//! The two ends of a bench: a sender here, and a receiver in another process, or for `mem://` beside it.

use std::net::SocketAddr;
use std::process::Stdio;

use anyhow::Context as _;
use broker_core::{Endpoint, Filter, MemNetwork, MemTransport, PeerUrl, QueueOptions, Subscriber};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

use super::receiver::{self, PONG, REPORT};
use super::{Transport, raw_tcp};
use crate::output::Output;
use crate::transports::Transports;

/// The sender's end.
#[derive(Debug)]
pub(crate) struct Pair {
    /// The sender, peered with the receiver.
    pub(crate) sender: Endpoint,
    /// What the receiver answers.
    pub(crate) answers: Subscriber,
    /// Where the receiver serves the bare TCP yardstick.
    pub(crate) raw: SocketAddr,
    receiver: Receiver,
}

#[derive(Debug)]
enum Receiver {
    Process(Child),
    Task(Endpoint),
}

impl Pair {
    /// Starts a receiver and peers with it.
    pub(crate) async fn start(transport: Transport) -> anyhow::Result<Self> {
        match transport {
            Transport::Mem => Self::in_process().await,
            Transport::Grpc | Transport::Broker => Self::two_processes(transport).await,
        }
    }

    async fn two_processes(transport: Transport) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find out where this program is")?;
        let mut process = Command::new(program)
            .args([
                "bench",
                "receive",
                "--listen",
                &format!("{}://127.0.0.1:0", transport.name()),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start the receiver")?;
        let stdout = process
            .stdout
            .take()
            .context("the receiver has no stdout")?;
        let mut lines = BufReader::new(stdout).lines();
        let mut next = async |prefix: &str| -> anyhow::Result<String> {
            let line = lines.next_line().await?.context("the receiver ended")?;
            let value = line
                .strip_prefix(prefix)
                .with_context(|| format!("the receiver said {line:?}"))?;
            Ok(value.to_owned())
        };
        let raw = next("raw ").await?.parse()?;
        let url: PeerUrl = next("listening ").await?.parse()?;
        let sender = Transports::default()
            .builder()
            .name("bench-sender")
            .peer_queue(QueueOptions::local())
            .start();
        let answers = sender.subscribe(Filter::from_iter([PONG, REPORT]), QueueOptions::local());
        sender.connect(url).await?;
        Ok(Self {
            sender,
            answers,
            raw,
            receiver: Receiver::Process(process),
        })
    }

    async fn in_process() -> anyhow::Result<Self> {
        let network = MemNetwork::new();
        let start = |name| {
            Endpoint::builder()
                .name(name)
                .transport(MemTransport::new(&network))
                .peer_queue(QueueOptions::local())
                .start()
        };
        let (sender, other) = (start("bench-sender"), start("bench-receiver"));
        let url: PeerUrl = "mem://receiver".parse()?;
        other.listen(&url).await?;
        let subscriber = receiver::subscribe(&other);
        tokio::spawn(receiver::serve(other.clone(), subscriber));
        let raw = serve_raw().await?;
        let answers = sender.subscribe(Filter::from_iter([PONG, REPORT]), QueueOptions::local());
        sender.connect(url).await?;
        Ok(Self {
            sender,
            answers,
            raw,
            receiver: Receiver::Task(other),
        })
    }

    /// Ends both.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.sender.shutdown().await;
        match self.receiver {
            Receiver::Process(mut process) => {
                drop(process.stdin.take());
                let status = process.wait().await?;
                anyhow::ensure!(status.success(), "the receiver failed: {status}");
            }
            Receiver::Task(endpoint) => endpoint.shutdown().await,
        }
        Ok(())
    }
}

/// Arguments of the receiving process.
#[derive(Debug, clap::Args)]
pub(crate) struct ReceiveArgs {
    #[arg(long)]
    listen: PeerUrl,
}

/// Runs the receiving process until stdin is closed.
pub(crate) async fn receive(args: ReceiveArgs) -> anyhow::Result<()> {
    let endpoint = Transports::default()
        .builder()
        .name("bench-receiver")
        .peer_queue(QueueOptions::local())
        .start();
    let subscriber = receiver::subscribe(&endpoint);
    let raw = serve_raw().await?;
    let url = endpoint.listen(&args.listen).await?;
    let mut output = Output::stdout();
    output.line(format!("raw {raw}"))?;
    output.line(format!("listening {url}"))?;
    output.flush()?;
    let stdin_closed = async {
        let mut ignored = [0; 64];
        while tokio::io::stdin()
            .read(&mut ignored)
            .await
            .is_ok_and(|read| read > 0)
        {}
    };
    // A task of its own, so that it runs on the runtime's threads and not on the one that waits for stdin.
    let serving = tokio::spawn(receiver::serve(endpoint.clone(), subscriber));
    tokio::select! {
        ended = serving => ended??,
        () = stdin_closed => {}
    }
    endpoint.shutdown().await;
    Ok(())
}

async fn serve_raw() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .context("cannot listen on loopback")?;
    let address = listener.local_addr()?;
    tokio::spawn(raw_tcp::serve(listener));
    Ok(address)
}
