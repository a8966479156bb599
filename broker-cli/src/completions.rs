//! `broker completions`: what shells need to complete the command line.

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::args::Cli;
use crate::output::Output;

/// Prints a script that lets a shell complete this program's command line.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// Which shell
    shell: Shell,
}

/// Runs `broker completions`.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "broker", &mut script);
    let mut output = Output::stdout();
    output.line(script.trim_ascii_end())?;
    output.flush()
}

const HELP: &str = "\
Examples:
  broker completions bash > /etc/bash_completion.d/broker
  broker completions zsh > \"${fpath[1]}/_broker\"
  broker completions fish > ~/.config/fish/completions/broker.fish";
