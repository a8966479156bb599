//! `broker sub`: print messages as they come.

use std::time::Duration;

use anyhow::Context as _;
use broker_core::zeek;
use broker_core::{Data, Topic, json};
use tokio::time::Instant;

use crate::client::{self, NodeArgs};
use crate::door::{Door, Subscription};
use crate::failure::complain;
use crate::output::Output;
use crate::publish::parse_topic;
use crate::signals::StopSignals;
use crate::value;

/// Prints each message whose topic starts with one of PREFIX: the topic, a tab, the value.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    #[command(flatten)]
    node: NodeArgs,
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
    let prefixes = args
        .prefixes
        .iter()
        .map(|text| parse_topic(text))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let deadline = args.timeout.map(|timeout| Instant::now() + timeout);
    let mut signals = StopSignals::install()?;
    let mut printer = Printer {
        output: Output::stdout(),
        json: args.json,
        left: args.count,
    };
    let mut subscription = None;
    let outcome = tokio::select! {
        ended = follow(&args.node, prefixes, &mut subscription, &mut printer) => ended,
        () = at(deadline) => Ok(()),
        _ = signals.received() => {
            printer.left = None;
            Ok(())
        }
    };
    let outcome = outcome.and_then(|()| printer.output.flush());
    if let Some(subscription) = subscription {
        subscription.close().await;
    }
    outcome?;
    match (args.count, printer.left) {
        (Some(count), Some(left @ 1..)) => {
            anyhow::bail!("only {} of {count} messages came in time", count - left)
        }
        _ => Ok(()),
    }
}

/// Prints messages until there have been enough. The subscription is left where whoever cuts this short finds it.
async fn follow(
    node: &NodeArgs,
    prefixes: Vec<Topic>,
    subscription: &mut Option<Subscription>,
    printer: &mut Printer,
) -> anyhow::Result<()> {
    let peer = &node.peer;
    let door = Door::open(node, "sub").await?;
    let subscribed = door
        .subscribe(prefixes.into_iter().collect())
        .await
        .with_context(|| format!("sub {peer}"))?;
    let subscription = subscription.insert(subscribed);
    crate::supervisor::eprintln_line("subscribed");
    while printer.left != Some(0) {
        let message = tokio::select! {
            biased;
            message = subscription.recv() => message,
            // Nothing has come yet: time to show what has.
            flushed = printer.flushed() => {
                flushed?;
                subscription.recv().await
            }
        };
        let message = message.with_context(|| format!("sub {peer}"))?;
        let message = message.with_context(|| format!("sub {peer}: the node has shut down"))?;
        match message.data() {
            Ok(data) => printer.print(message.topic(), data)?,
            Err(error) => complain(&format!(
                "a message on {} is damaged: {error}",
                message.topic()
            )),
        }
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
    /// What was printed is with the reader.
    async fn flushed(&mut self) -> anyhow::Result<()> {
        self.output.flush()
    }

    fn print(&mut self, topic: &Topic, data: &Data) -> anyhow::Result<()> {
        if let Some(left) = &mut self.left {
            *left -= 1;
        }
        if self.json {
            self.output.line(json_line(topic, data))
        } else {
            self.output.line(format!("{topic}\t{}", value::print(data)))
        }
    }
}

/// A message as a line that `pub --stdin` takes.
fn json_line(topic: &Topic, data: &Data) -> Vec<u8> {
    let mut line = b"{\"topic\":".to_vec();
    let is_text = json::write_string(topic.as_bytes(), json::Style::Exact, &mut line);
    if !is_text {
        // As exact JSON v1 has it for topics that are no text.
        line.extend(b",\"@topic-bytes\":\"");
        line.extend(
            topic
                .as_bytes()
                .iter()
                .flat_map(|byte| format!("{byte:02x}").into_bytes()),
        );
        line.push(b'"');
    }
    line.extend(b",\"data\":");
    json::write_value(data, json::Style::Exact, &mut line);
    if let Ok(zeek::Message::Event(event)) = zeek::Message::from_data(data) {
        line.extend(b",\"event\":{\"name\":");
        json::write_string(&event.name, json::Style::Exact, &mut line);
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

const HELP: &str = "\
Writes `subscribed` to stderr once PEER has the prefixes: from then on nothing is missed. Over broker://
PEER passes on what it publishes itself, and of its other peers what it asked for and forwards. Over ws://
reals have six decimals and times milliseconds.

Examples:
  broker sub grpc://127.0.0.1 zeek/ --json
  broker sub grpc://127.0.0.1 /test --count 1 --timeout 5";

#[cfg(test)]
mod tests {
    use broker_core::zeek::Event;

    use super::*;

    #[test]
    fn a_line_names_topic_value_and_event() {
        let json = |data: &Data| {
            serde_json::from_slice::<serde_json::Value>(&json_line(&Topic::from_static("/t"), data))
                .expect("json")
        };
        assert_eq!(
            json(&Data::from(5u64)),
            serde_json::json!({"topic": "/t", "data": {"@data-type": "count", "data": 5}})
        );
        let event = json(&Event::new("ping", vec![Data::from("x")]).into_data());
        assert_eq!(
            event["event"],
            serde_json::json!({"name": "ping", "args": [{"@data-type": "string", "data": "x"}]})
        );
    }

    #[test]
    fn a_topic_that_is_no_text_keeps_its_bytes() {
        let topic = Topic::copy_from(b"/\xff").expect("a topic");
        let json: serde_json::Value =
            serde_json::from_slice(&json_line(&topic, &Data::None)).expect("json");
        assert_eq!(json["@topic-bytes"], "2fff");
    }
}
