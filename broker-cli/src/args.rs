//! The command line as a whole; each command has its arguments beside its code.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches as _, Parser, Subcommand};

use crate::failure::{FAILED, MISUSED, complain};
use crate::logging::Logging;
use crate::{bench, cluster, completions, demo, node, pool, publish, status, store, subscribe};

/// Zeek's Broker framework: publish and subscribe, replicated stores, clusters.
#[derive(Debug, Parser)]
#[command(name = "broker", version, propagate_version = true, after_help = AFTER_HELP, max_term_width = 120)]
pub(crate) struct Cli {
    /// What to log on stderr: off, error, warn, info, debug, trace, or directives like info,broker_wire=debug
    /// [default: info for node and cluster, error for demo and bench, else warn]
    #[arg(
        long,
        global = true,
        env = "BROKER_LOG",
        value_name = "LEVEL",
        hide_env_values = true
    )]
    log_level: Option<String>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a whole cluster on this machine and feed Zeek logs through it
    Demo(demo::Args),
    /// Run one node: a member of a cluster, or a relay
    Node(Box<node::Args>),
    /// Run the nodes of a cluster
    #[command(subcommand)]
    Cluster(cluster::Command),
    /// Show who is in a pool and where keys live
    Pool(pool::Args),
    /// Publish values
    Pub(publish::PubArgs),
    /// Publish a Zeek event
    Event(publish::EventArgs),
    /// Print messages as they come
    Sub(subscribe::Args),
    /// Work with a key-value store of a node
    Store(store::Args),
    /// Show a node's identity, peers, filters, queues, counters and stores
    Status(status::Args),
    /// Print a script that lets a shell complete the command line
    Completions(completions::Args),
    /// Measure throughput and round trips
    #[command(subcommand)]
    Bench(bench::Command),
}

impl Cli {
    /// What to log: what was asked for, and what suits the command.
    pub(crate) fn log_directives(&self) -> (Option<&str>, &'static str) {
        let default = match self.command {
            Command::Node(_) | Command::Cluster(_) => "info",
            // Nodes come and go in these, which is no news.
            Command::Demo(_) | Command::Bench(_) => "error",
            // What becomes of the one peering of a command is told by its result.
            _ => "warn,broker_core::endpoint=error",
        };
        let asked = self.log_level.as_deref();
        (asked.filter(|level| !level.is_empty()), default)
    }
}

impl Command {
    /// Whether the command gains from more than one thread.
    pub(crate) const fn is_busy(&self) -> bool {
        matches!(self, Self::Node(_) | Self::Bench(_))
    }

    /// Runs the command to its end. `log` is what to log, also for nodes that it starts.
    pub(crate) async fn run(self, log: &Logging) -> anyhow::Result<()> {
        match self {
            Self::Demo(args) => demo::run(args, log.directives()).await,
            Self::Node(args) => node::run(*args, log).await,
            Self::Cluster(command) => cluster::run(command, log).await,
            Self::Pool(args) => pool::run(&args),
            Self::Pub(args) => publish::run_pub(args).await,
            Self::Event(args) => publish::run_event(args).await,
            Self::Sub(args) => subscribe::run(args).await,
            Self::Store(args) => store::run(args).await,
            Self::Status(args) => status::run(args).await,
            Self::Completions(args) => completions::run(&args),
            Self::Bench(command) => bench::run(command, log.directives()).await,
        }
    }
}

/// What came of the arguments.
pub(crate) enum Invocation {
    /// There is a command to run.
    Run(Box<Cli>),
    /// They were answered (help, version, a mistake), and this is the exit code.
    Answered(ExitCode),
}

/// Reads the arguments. A mistake becomes one line on stderr.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Invocation {
    let args = options_first(args.into_iter().collect());
    let read = reflowed(Cli::command()).try_get_matches_from(&args);
    let error = match read.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => return Invocation::Run(Box::new(cli)),
        Err(error) => error,
    };
    let code = match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => match error.print() {
            // A closed pipe is success here too.
            Err(io) if io.kind() != std::io::ErrorKind::BrokenPipe => FAILED,
            _ => 0,
        },
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            // Printed on stderr; a stderr that is gone leaves nobody to tell.
            let _ = error.print();
            MISUSED
        }
        _ => {
            complain(&unknown(&error, &args).unwrap_or_else(|| one_line(&error)));
            MISUSED
        }
    };
    Invocation::Answered(ExitCode::from(code))
}

/// The program with paragraphs in its help that are wrapped where the terminal ends, not where they are in the source.
fn reflowed(command: clap::Command) -> clap::Command {
    let text = command
        .get_after_help()
        .map(|text| joined(&text.to_string()));
    let command = match text {
        Some(text) => command.after_help(text),
        None => command,
    };
    let names: Vec<String> = command
        .get_subcommands()
        .map(|below| below.get_name().to_owned())
        .collect();
    names.into_iter().fold(command, |command, name| {
        command.mut_subcommand(name, reflowed)
    })
}

/// Puts lines together that belong to one paragraph: neither indented, the first as long as where lines are wrapped in the source.
fn joined(text: &str) -> String {
    const WRAPPED: usize = 75;
    let mut joined = String::new();
    let mut goes_on = false;
    for line in text.lines() {
        let starts = line.is_empty() || line.starts_with(' ');
        if !joined.is_empty() {
            joined.push(if goes_on && !starts { ' ' } else { '\n' });
        }
        joined.push_str(line);
        goes_on = !line.starts_with(' ') && line.len() >= WRAPPED;
    }
    joined
}

/// Brings the options of `pub`, `event` and `pool` to the front: there a VALUE may begin with a hyphen (`-5s`), so that clap takes
/// all that follows the first one for values. What begins with two hyphens and is no option stays where it is, and is
/// refused as a value. Behind `--` everything is one.
fn options_first(args: Vec<OsString>) -> Vec<OsString> {
    let program = Cli::command();
    let command_at = args.iter().position(|arg| {
        arg.to_str()
            .is_some_and(|name| program.find_subcommand(name).is_some())
    });
    let takes_values = |at: &usize| {
        ["pub", "event", "pool"]
            .iter()
            .any(|name| args[*at] == *name)
    };
    let Some(at) = command_at.filter(takes_values) else {
        return args;
    };
    let Some(command) = args[at]
        .to_str()
        .and_then(|name| program.find_subcommand(name))
    else {
        return args;
    };
    let option = |arg: &OsString| {
        let (name, value) = match arg.to_str()?.strip_prefix("--")?.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (arg.to_str()?.strip_prefix("--")?, None),
        };
        let of_program = program
            .get_arguments()
            .filter(|known| known.is_global_set());
        let known = command
            .get_arguments()
            .chain(of_program)
            .find(|known| known.get_long() == Some(name))?;
        Some(known.get_action().takes_values() && value.is_none())
    };
    let (mut front, mut rest) = (args[..=at].to_vec(), Vec::new());
    let mut behind = args[at + 1..].iter();
    while let Some(arg) = behind.next() {
        if arg == "--" {
            rest.push(arg.clone());
            break;
        }
        match option(arg) {
            Some(takes_next) => {
                front.push(arg.clone());
                if takes_next {
                    front.extend(behind.next().cloned());
                }
            }
            None => rest.push(arg.clone()),
        }
    }
    rest.extend(behind.cloned());
    front.extend(rest);
    front
}

/// That there is no such command or operation, and which there are, if that is the mistake.
fn unknown(error: &clap::Error, args: &[OsString]) -> Option<String> {
    // An operation that does not exist looks like one argument too many behind the store's name.
    let (ErrorKind::InvalidSubcommand | ErrorKind::UnknownArgument) = error.kind() else {
        return None;
    };
    let name = [ContextKind::InvalidSubcommand, ContextKind::InvalidArg]
        .into_iter()
        .find_map(|kind| match error.get(kind) {
            Some(ContextValue::String(name)) if !name.starts_with('-') => Some(name),
            _ => None,
        })?;
    let program = Cli::command();
    let (mut parent, mut what) = (&program, "command");
    for arg in args.iter().skip(1).filter_map(|arg| arg.to_str()) {
        if let Some(below) = parent.find_subcommand(arg) {
            parent = below;
            what = if arg == "store" {
                "operation"
            } else {
                "command"
            };
        }
    }
    let known: Vec<_> = parent
        .get_subcommands()
        .map(|known| known.get_name())
        .filter(|known| *known != "help")
        .collect();
    (!known.is_empty()).then(|| {
        format!(
            "no {what} {name:?}; there are {} (see --help)",
            known.join(", ")
        )
    })
}

/// What clap says in several paragraphs, without the usage that `--help` shows.
fn one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let told = text
        .split("\n\nUsage:")
        .next()
        .unwrap_or(text)
        .split("\n\nFor more information")
        .next()
        .unwrap_or(text);
    let told = told
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join(" ");
    format!("{told} (see --help)")
}

const AFTER_HELP: &str = "\
PEER and URL are addresses:
  grpc://HOST:PORT     our own nodes, default port 9998; grpcs:// with TLS
  broker://HOST:PORT   Zeek, C++ Broker and our own nodes, default port 9999; brokers:// with TLS
  ws://HOST:PORT       nodes that serve WebSocket clients, Zeek among them, default port 9997; wss:// with TLS
  mem://NAME           endpoints of one process (bench only)
A command is a client of PEER over grpc and ws, and a peer of it over broker. store takes grpc and broker.

Environment:
  BROKER_LOG              what to log, as --log-level
  CLUSTER_NODE            which node of the configuration this is, as node --name
  BROKER_TLS_PASSPHRASE   what the key of a certificate is encrypted with
  BROKER_WS_TOKEN         the token of WebSocket clients, as --token and node --ws-token
  BROKER_WS_PEER_TOKEN    the token a node shows to others, as node --ws-peer-token
  BROKER_RUN_DIR          where cluster up keeps its lock and socket, as --run-dir
  NOTIFY_SOCKET, WATCHDOG_USEC   whom node and cluster up tell how they are, set by systemd
  ZEEK_..., ZEEKCTL_...   see node --help

Exit codes: 0 done, 1 failed, 2 misused. A closed output pipe counts as done.

Examples:
  broker demo
  broker node --listen grpc://127.0.0.1:9998 --subscribe /
  broker sub grpc://127.0.0.1 /greetings --count 1
  broker pub grpc://127.0.0.1 /greetings '\"hello\"' 5u";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_of_the_command_line_is_sound() {
        Cli::command().debug_assert();
        reflowed(Cli::command()).debug_assert();
    }

    #[test]
    fn options_may_stand_behind_values_that_may_begin_with_a_hyphen() {
        let sorted = |line: &str| {
            let args = line.split(' ').map(OsString::from).collect();
            options_first(args)
                .iter()
                .map(|arg| arg.to_string_lossy().into_owned())
                .collect::<Vec<_>>()
                .join(" ")
        };
        for (given, expected) in [
            (
                "broker pub grpc://h /t -5s 1",
                "broker pub grpc://h /t -5s 1",
            ),
            (
                "broker pub ws://h /t -5s --token x 1",
                "broker pub --token x ws://h /t -5s 1",
            ),
            (
                "broker pub ws://h /t 1 --token=x --log-level debug",
                "broker pub --token=x --log-level debug ws://h /t 1",
            ),
            ("broker pub grpc://h --stdin", "broker pub --stdin grpc://h"),
            (
                "broker event ws://h /t e --bogus 1",
                "broker event ws://h /t e --bogus 1",
            ),
            (
                "broker pub ws://h /t -- --token x",
                "broker pub ws://h /t -- --token x",
            ),
            (
                "broker pool proxy -5s --down p --topic",
                "broker pool --down p --topic proxy -5s",
            ),
            (
                "broker sub ws://h pub --token x",
                "broker sub ws://h pub --token x",
            ),
        ] {
            assert_eq!(sorted(given), expected);
        }
    }

    #[test]
    fn an_unknown_operation_is_told_with_those_there_are() {
        let unknown = |line: &str| {
            let args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            unknown(&Cli::try_parse_from(&args).expect_err("wrong"), &args)
        };
        assert_eq!(unknown("broker store grpc://h hosts get k too-many"), None);
        assert_eq!(unknown("broker status grpc://h --bogus"), None);
        let unknown = |line| unknown(line).expect("it is unknown");
        let line = unknown("broker store grpc://h hosts frob");
        assert!(
            line.starts_with("no operation \"frob\"; there are get, exists, keys, put,"),
            "{line}"
        );
        assert!(
            line.contains("load") && line.contains("watch") && !line.contains("bench"),
            "{line}"
        );
        let line = unknown("broker frob");
        assert!(
            line.starts_with("no command \"frob\"; there are demo, node,"),
            "{line}"
        );
        let line = unknown("broker bench frob");
        assert!(line.contains("pubsub") && !line.contains("demo"), "{line}");
    }

    #[test]
    fn a_mistake_is_told_in_one_line() {
        for args in [
            vec!["broker", "pub"],
            vec!["broker", "bogus"],
            vec!["broker", "status", "--bogus"],
            vec!["broker", "sub", "grpc://h", "a", "--count", "x"],
        ] {
            let error = Cli::try_parse_from(&args).expect_err("wrong");
            let line = one_line(&error);
            assert!(
                !line.contains('\n') && line.ends_with("(see --help)") && !line.contains("Usage"),
                "{line}"
            );
        }
    }

    #[test]
    fn paragraphs_of_help_are_one_line_and_lists_stay_as_they_are() {
        let long = "x".repeat(80);
        let text = format!("{long}\nand so on.\n\nList:\n  {long}\n  b\nshort\nshort\n");
        assert_eq!(
            joined(&text),
            format!("{long} and so on.\n\nList:\n  {long}\n  b\nshort\nshort")
        );
    }

    #[test]
    fn options_of_a_command_stand_under_no_heading_of_others() {
        fn check(command: &clap::Command) {
            for arg in command.get_arguments() {
                let name = arg.get_long().unwrap_or_default();
                if ["json", "timeout", "metrics", "count", "stdin"].contains(&name) {
                    let heading = arg.get_help_heading();
                    assert_eq!(heading, None, "{} --{name}", command.get_name());
                }
            }
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }
}
