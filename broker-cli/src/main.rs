//! The program `broker`: a node of a Broker cluster, and the tools around it.
//!
//! `main` parses, runs the command, prints at most one line about what went wrong, and chooses the exit code:
//! 0 done, 1 failed, 2 misused. Results go to stdout, everything else to stderr.

mod args;
mod bench;
mod client;
mod cluster;
mod completions;
mod demo;
mod door;
mod failure;
mod fleet;
mod input;
mod layout_file;
mod logging;
mod metrics;
mod node;
mod output;
mod pool;
mod publish;
mod signals;
mod sink_tls;
mod status;
mod store;
mod subscribe;
mod supervisor;
mod tls;
mod transports;
mod value;
mod ws_access;

use std::process::ExitCode;

use crate::args::Invocation;

fn main() -> ExitCode {
    let cli = match args::parse(std::env::args_os()) {
        Invocation::Run(cli) => cli,
        Invocation::Answered(code) => return code,
    };
    match run(*cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure::report(&error),
    }
}

fn run(cli: args::Cli) -> anyhow::Result<()> {
    let (asked, default) = cli.log_directives();
    let log = logging::Logging::start(asked, default)?;
    let mut runtime = if cli.command.is_busy() {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    if let Some(threads) = node::max_threads()? {
        runtime.worker_threads(threads);
    }
    let runtime = runtime.enable_all().build()?;
    let result = runtime.block_on(cli.command.run(&log));
    // What still blocks a thread (a backend, stdin) must not keep a finished program alive.
    runtime.shutdown_background();
    result
}
