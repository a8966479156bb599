//! `broker store`: the operations of a store, at a node that has it (master or clone).

mod backup;
mod dump;
mod load;
mod one_by_one;
mod operation;
mod verify;
mod watch;

use anyhow::Context as _;
use broker_core::{Data, StoreOperation, StoreReply, json};

use self::operation::Operation;
use crate::client::NodeArgs;
use crate::door::StoreDoor;
use crate::output::Output;
use crate::value;

/// Works with the store NAME of a node.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    #[command(flatten)]
    node: NodeArgs,
    /// The store's name
    name: String,
    /// Print JSON v1 instead of shorthand
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    operation: Operation,
}

/// A store at a node.
struct Remote {
    door: StoreDoor,
    json: bool,
}

/// Runs `broker store`.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    // Arguments are checked before anybody is called.
    let request = args.operation.checked()?;
    let remote = Remote {
        door: StoreDoor::open(&args.node, &args.name).await?,
        json: args.json,
    };
    let outcome = match request {
        operation::Request::Dump => dump::dump(&remote).await,
        operation::Request::Backup { file, force } => backup::backup(&remote, &file, force).await,
        operation::Request::Load(existing) => load::load(&remote, existing).await,
        operation::Request::Verify => verify::verify(&remote).await,
        operation::Request::Watch { request, count } => watch::watch(&remote, request, count).await,
        operation::Request::Keys => remote.keys().await,
        operation::Request::Get(key) => remote.get(key).await,
        operation::Request::Other(operation) => remote.other(operation).await,
    };
    remote.door.close().await;
    outcome
}

impl Remote {
    async fn get(&self, key: Data) -> anyhow::Result<()> {
        let value = value_of(self.door.execute(StoreOperation::Get(key.clone())).await?)?;
        let mut output = Output::stdout();
        if self.json {
            output.line(json_object(&[("key", &key), ("value", &value)]))?
        } else {
            output.line(value::print(&value))?
        }
        output.flush()
    }

    async fn keys(&self) -> anyhow::Result<()> {
        let keys = value_of(self.door.execute(StoreOperation::Keys).await?)?;
        let mut output = Output::stdout();
        for key in keys.as_set().context("the store's keys are no set")? {
            if self.json {
                output.line(json_object(&[("key", key)]))?
            } else {
                output.line(value::print(key))?
            }
        }
        output.flush()
    }

    /// Operations that answer with one value or with nothing.
    async fn other(&self, operation: StoreOperation) -> anyhow::Result<()> {
        let reply = self.door.execute(operation).await?;
        let mut output = Output::stdout();
        match reply {
            StoreReply::Value(value) if !self.json => output.line(value::print(&value))?,
            StoreReply::Value(value) => output.line(json_object(&[("result", &value)]))?,
            _ if self.json => output.line(json_object(&[("result", &Data::None)]))?,
            _ => {}
        }
        output.flush()
    }
}

fn value_of(reply: StoreReply) -> anyhow::Result<Data> {
    match reply {
        StoreReply::Value(value) => Ok(value),
        _ => anyhow::bail!("the node answered without a value"),
    }
}

/// A JSON object of values in the exact writing.
fn json_object(members: &[(&str, &Data)]) -> Vec<u8> {
    let mut line = Vec::new();
    for (index, (name, value)) in members.iter().enumerate() {
        line.push(if index == 0 { b'{' } else { b',' });
        line.extend(format!("\"{name}\":").into_bytes());
        json::write_value(value, json::Style::Exact, &mut line);
    }
    line.push(b'}');
    line
}

const HELP: &str = concat!(
    "Writes exit 0 when the master has applied them and holds them as durably as configured.\n\
     Errors of the store exit 1 with their name on stderr: no_such_key, type_clash, ...\n\
     --json prints {\"key\":V,\"value\":V} for get, {\"key\":V} a line for keys, {\"result\":V} else.\n\
     Over broker:// PEER must have the master. A C++ master does not say what became of a write; one that is not\n\
     echoed in time is exit 1, and may have been applied or not. The expiries of entries are not known there, and dump\n\
     leaves them out; and it knows neither compare-and-set nor verify.\n\
     dump and load use lines of {\"key\":V,\"value\":V,\"expiry\":SECS}; no expiry means never.\n\n",
    crate::value::help!(),
    "\n\nExamples:\n  broker store grpc://127.0.0.1 hosts put 10.0.0.1 5u --expiry 60\n  broker store grpc://127.0.0.1 hosts increment 10.0.0.1 1u\n  broker store grpc://a hosts dump | broker store grpc://b hosts load"
);
