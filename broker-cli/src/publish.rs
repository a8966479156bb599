//! `broker pub` and `broker event`: hand messages to a node and return when it has all of them.

use anyhow::Context as _;
use broker_core::zeek::Event;
use broker_core::{Data, Message, Topic, json};
use broker_wire::Published;
use futures_core::Stream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::client::NodeArgs;
use crate::door::Door;
use crate::failure::{complain, misuse};
use crate::input::each_line;
use crate::value;

/// Publishes each VALUE as one message to TOPIC, or each line of stdin.
#[derive(Debug, clap::Args)]
#[command(after_help = PUB_HELP)]
pub(crate) struct PubArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// The topic
    #[arg(required_unless_present = "stdin")]
    topic: Option<String>,
    /// What to publish, a message each
    #[arg(
        allow_hyphen_values = true,
        required_unless_present = "stdin",
        value_name = "VALUE"
    )]
    values: Vec<String>,
    /// Publish what stdin holds, one {"topic":..,"data":{JSON v1}} a line, as `sub --json` prints it
    #[arg(long, conflicts_with_all = ["topic", "values"])]
    stdin: bool,
}

/// Publishes the event NAME with these arguments to TOPIC.
#[derive(Debug, clap::Args)]
#[command(after_help = EVENT_HELP)]
pub(crate) struct EventArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// The topic
    topic: String,
    /// The event's name, with its module: Notice::begin_suppression
    name: String,
    /// The event's arguments
    #[arg(allow_hyphen_values = true, value_name = "ARG")]
    args: Vec<String>,
}

/// Runs `broker pub`.
pub(crate) async fn run_pub(args: PubArgs) -> anyhow::Result<()> {
    if args.stdin {
        let door = Door::open(&args.node, "pub").await?;
        return publish_stdin(door, &args.node).await;
    }
    // clap sees to it that there is a topic.
    let topic = parse_topic(&args.topic.unwrap_or_default())?;
    let messages = args
        .values
        .iter()
        .map(|text| Ok(Message::new(topic.clone(), parse_value(text)?)));
    let messages = messages.collect::<anyhow::Result<Vec<_>>>()?;
    let door = Door::open(&args.node, "pub").await?;
    publish(door, &args.node, "pub", tokio_stream::iter(messages)).await
}

/// Runs `broker event`.
pub(crate) async fn run_event(args: EventArgs) -> anyhow::Result<()> {
    let topic = parse_topic(&args.topic)?;
    let values = args
        .args
        .iter()
        .map(|text| parse_value(text))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let event = Event::new(args.name.as_str(), values).into_data();
    let door = Door::open(&args.node, "event").await?;
    let message = tokio_stream::once(Message::new(topic, event));
    publish(door, &args.node, "event", message).await
}

/// Parses a VALUE argument.
pub(crate) fn parse_value(text: &str) -> anyhow::Result<Data> {
    value::parse_argument(text).map_err(|error| misuse(error.to_string()))
}

/// Parses a TOPIC or PREFIX argument.
pub(crate) fn parse_topic(text: &str) -> anyhow::Result<Topic> {
    Topic::try_from(text).map_err(|error| misuse(format!("topic: {error}")))
}

async fn publish(
    door: Door,
    node: &NodeArgs,
    command: &str,
    messages: impl Stream<Item = Message> + Send + 'static,
) -> anyhow::Result<()> {
    let published = door
        .publish(messages)
        .await
        .with_context(|| format!("{command} {}", node.peer))?;
    report_unclaimed(&published);
    Ok(())
}

/// Says so when messages went nowhere; that is no failure, but seldom what was meant.
fn report_unclaimed(published: &Published) {
    match (published.unclaimed, published.accepted) {
        (0, _) => {}
        (all, accepted) if all == accepted => complain("nobody was interested"),
        (some, accepted) => complain(&format!(
            "nobody was interested in {some} of {accepted} messages"
        )),
    }
}

/// Publishes the lines of stdin as they come, and stops at the first bad one; those before it are published.
async fn publish_stdin(door: Door, node: &NodeArgs) -> anyhow::Result<()> {
    let (sender, receiver) = mpsc::channel(LINES_AHEAD);
    let reader = tokio::task::spawn_blocking(move || {
        each_line(std::io::stdin().lock(), read_message, |_, message| {
            sender.blocking_send(message).is_ok()
        })
    });
    publish(door, node, "pub", ReceiverStream::new(receiver)).await?;
    reader.await.context("reading stdin")?
}

/// The message in a line of JSON: members `topic` and `data`, others are ignored.
fn read_message(line: &[u8]) -> anyhow::Result<Message> {
    #[derive(serde::Deserialize)]
    struct Line<'a> {
        topic: String,
        #[serde(rename = "@topic-bytes")]
        topic_bytes: Option<String>,
        #[serde(borrow)]
        data: &'a serde_json::value::RawValue,
    }
    let line: Line<'_> =
        serde_json::from_slice(line).context("expected {\"topic\":..,\"data\":{JSON v1}}")?;
    let topic = match line.topic_bytes {
        Some(digits) => unhex(&digits).context("@topic-bytes are no hex digits")?,
        None => line.topic.into_bytes(),
    };
    Ok(Message::new(
        Topic::try_from(topic)?,
        json::parse_deep_value(line.data.get().as_bytes())?,
    ))
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    let (pairs, []) = digits.as_bytes().as_chunks::<2>() else {
        return None;
    };
    pairs
        .iter()
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

/// Messages read from stdin before the node has taken those in front of them.
const LINES_AHEAD: usize = 1024;

const PUB_HELP: &str = concat!(
    "Returns when PEER has everything: it has read and routed each message in order. What its own subscribers\n\
     and peers make of them is not waited for. Over broker:// only what PEER's filter asks for is sent.\n\n",
    crate::value::help!(),
    "\n\nExamples:\n  broker pub grpc://127.0.0.1 /test 5u '\"five\"' '[1, 2]'\n  broker sub grpc://a /x --json | broker pub grpc://b --stdin"
);

const EVENT_HELP: &str = concat!(
    "Returns when PEER has the event.\n\n",
    crate::value::help!(),
    "\n\nExample:\n  broker event grpc://127.0.0.1 zeek/event/my/topic MyModule::ping 5u 10.0.0.1"
);
