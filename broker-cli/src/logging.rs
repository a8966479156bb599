//! What the program says about itself while it runs: `tracing` lines on stderr, and how much of it, which may change.

use std::fmt;
use std::sync::Arc;

use tracing_subscriber::EnvFilter;

use crate::failure::misuse;

/// What is logged. Cloning gives another handle.
#[derive(Clone)]
pub(crate) struct Logging {
    /// What was asked for on the command line or in the environment.
    asked: Option<String>,
    /// What suits the command.
    default: &'static str,
    apply: Arc<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>,
}

impl Logging {
    /// Starts to log what `asked` asks for, or else `default`: a level (off, error, warn, info, debug, trace), or directives
    /// such as `info,broker_wire=debug`.
    ///
    /// # Errors
    /// Misuse: there is no such level.
    pub(crate) fn start(asked: Option<&str>, default: &'static str) -> anyhow::Result<Self> {
        let builder = tracing_subscriber::fmt()
            .with_env_filter(filter(asked.unwrap_or(default))?)
            .with_writer(std::io::stderr)
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .with_filter_reloading();
        let handle = builder.reload_handle();
        builder.init();
        Ok(Self {
            asked: asked.map(str::to_owned),
            default,
            apply: Arc::new(move |filter| handle.reload(filter).map_err(|error| error.to_string())),
        })
    }

    /// What was asked for on the command line or in the environment, if anything.
    pub(crate) fn asked(&self) -> Option<&str> {
        self.asked.as_deref()
    }

    /// What is logged, or was at the start.
    pub(crate) fn directives(&self) -> &str {
        self.asked().unwrap_or(self.default)
    }

    /// Whether `directives` can be logged by.
    ///
    /// # Errors
    /// Misuse: there is no such level.
    pub(crate) fn check(directives: &str) -> anyhow::Result<()> {
        filter(directives).map(drop)
    }

    /// Logs what the configuration asks for from now on, unless the command line or the environment has asked for something;
    /// `None` is what suits the command..
    ///
    /// # Errors
    /// Misuse: there is no such level.
    pub(crate) fn configure(&self, directives: Option<&str>) -> anyhow::Result<()> {
        if let Some(asked) = self.asked() {
            tracing::debug!(asked, "the log level of the command line stays");
            return Ok(());
        }
        let filter = filter(directives.unwrap_or(self.default))?;
        (self.apply)(filter).map_err(anyhow::Error::msg)?;
        Ok(())
    }
}

impl fmt::Debug for Logging {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logging")
            .field("asked", &self.asked)
            .field("default", &self.default)
            .finish_non_exhaustive()
    }
}

fn filter(directives: &str) -> anyhow::Result<EnvFilter> {
    let refused = |why: String| {
        misuse(format!(
            "log level {directives:?}: {why} (levels: off, error, warn, info, debug, trace; or directives such as info,broker_wire=debug)"
        ))
    };
    let word = directives.trim().to_ascii_lowercase();
    let expanded = match word.as_str() {
        // What the libraries of HTTP/2 say about every frame is nobody's wish.
        "debug" | "trace" => format!("info,broker={word}"),
        // One word alone would otherwise be taken for the name of a module, and nothing be logged.
        _ if word.bytes().all(|byte| byte.is_ascii_alphanumeric()) && !LEVELS.contains(&&*word) => {
            return Err(refused("there is no such level".to_owned()));
        }
        _ => directives.to_owned(),
    };
    EnvFilter::builder()
        .parse(expanded)
        .map_err(|error| refused(error.to_string()))
}

const LEVELS: &[&str] = &["off", "error", "warn", "info", "debug", "trace"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_that_of_our_own_modules_and_a_word_that_is_none_is_refused() {
        let text = |directives: &str| filter(directives).map(|filter| filter.to_string());
        for (level, expected) in [
            ("debug", "broker=debug,info"),
            ("TRACE", "broker=trace,info"),
            ("warn", "warn"),
            ("h2=debug,broker_wire=trace", "broker_wire=trace,h2=debug"),
        ] {
            assert_eq!(text(level).expect("a level"), expected);
        }
        for wrong in ["verbose", "5", "", "info,broker=loud"] {
            let error = text(wrong).expect_err(wrong).to_string();
            assert!(error.contains("levels: off"), "{error}");
        }
    }
}
