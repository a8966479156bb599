//! `broker sub`: print messages as they come.

use std::time::Duration;

use anyhow::Context as _;
use broker_core::zeek;
use broker_core::{Data, PeerUrl, Topic, json};
use tokio::time::Instant;

use crate::client;
use crate::failure::complain;
use crate::output::Output;
use crate::publish::parse_topic;
use crate::signals::StopSignals;
use crate::value;

/// Prints each message whose topic starts with one of PREFIX: the topic, a tab, the value.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// The node, for example grpc://127.0.0.1:9998
    #[arg(value_parser = client::peer_url)]
    peer: PeerUrl,
    /// Topic prefixes; '' matches every topic
    #[arg(required = true, value_name = "PREFIX")]
    prefixes: Vec<String>,
    /// Stop after so many messages [default: never]
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Stop after so many seconds; exit 1 if fewer than --count messages came [default: never]
    #[arg(long, value_name = "SECS", value_parser = client::seconds)]
    timeout: Option<Duration>,
    /// Print {"topic":..,"data":{JSON v1}} a line, with "event":{"name":..,"args":[..]} if it is one
    #[arg(long)]
    json: bool,
}

/// Runs `broker sub`.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let prefixes = args.prefixes.iter().map(|text| parse_topic(text)).collect::<anyhow::Result<Vec<_>>>()?;
    let deadline = args.timeout.map(|timeout| Instant::now() + timeout);
    let mut signals = StopSignals::install()?;
    let mut printer = Printer { output: Output::stdout(), json: args.json, left: args.count };
    tokio::select! {
        ended = follow(&args.peer, prefixes, &mut printer) => ended?,
        () = at(deadline) => if let (Some(count), Some(left @ 1..)) = (args.count, printer.left) {
            printer.output.flush()?;
            anyhow::bail!("only {} of {count} messages came in time", count - left);
        },
        _ = signals.received() => {}
    }
    printer.output.flush()
}

/// Prints messages until there have been enough.
async fn follow(peer: &PeerUrl, prefixes: Vec<Topic>, printer: &mut Printer) -> anyhow::Result<()> {
    let client = client::connect(peer, "sub").await?;
    let mut subscription = client.subscribe(prefixes).await.with_context(|| format!("sub {peer}"))?;
    crate::supervisor::eprintln_line("subscribed");
    let mut batch = Vec::new();
    while printer.left != Some(0) {
        batch.clear();
        if subscription.recv_many(&mut batch).await.with_context(|| format!("sub {peer}"))? == 0 {
            anyhow::bail!("sub {peer}: the node ended the subscription");
        }
        for (topic, data) in batch.drain(..) {
            if printer.left == Some(0) {
                break;
            }
            printer.print(&topic, &data)?;
        }
        printer.output.flush()?;
    }
    Ok(())
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

struct Printer {
    output: Output,
    json: bool,
    /// Messages still to print; `None` is no limit.
    left: Option<u64>,
}

impl Printer {
    fn print(&mut self, topic: &Topic, data: &Data) -> anyhow::Result<()> {
        if let Some(left) = &mut self.left {
            *left -= 1;
        }
        if self.json { self.output.line(json_line(topic, data)) } else { self.output.line(format!("{topic}\t{}", value::print(data))) }
    }
}

/// A message as a line that `pub --stdin` takes.
fn json_line(topic: &Topic, data: &Data) -> Vec<u8> {
    let mut line = b"{\"topic\":".to_vec();
    line.extend(json_topic(topic).into_bytes());
    line.extend(b",\"data\":");
    json::write_value(data, json::Style::Exact, &mut line);
    if let Ok(zeek::Message::Event(event)) = zeek::Message::from_data(data) {
        line.extend(b",\"event\":{\"name\":");
        line.extend(serde_json::Value::from(event.name.to_str_lossy()).to_string().into_bytes());
        line.extend(b",\"args\":[");
        for (index, arg) in event.args.iter().enumerate() {
            if index > 0 {
                line.push(b',');
            }
            json::write_value(arg, json::Style::Exact, &mut line);
        }
        line.extend(b"]}");
    }
    line.push(b'}');
    line
}
