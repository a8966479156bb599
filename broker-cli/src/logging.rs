//! What the program says about itself while it runs: `tracing` lines on stderr.

use tracing_subscriber::EnvFilter;

use crate::failure::misuse;

/// Starts to log what `directives` ask for: a level (off, error, warn, info, debug, trace), or directives such as
/// `info,broker_wire=debug`.
pub(crate) fn init(directives: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::builder().parse(directives).map_err(|error| {
        misuse(format!("log level {directives:?}: {error} (levels: off, error, warn, info, debug, trace; or directives such as info,broker_wire=debug)"))
    })?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .init();
    Ok(())
}
