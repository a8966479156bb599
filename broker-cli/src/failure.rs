//! What can go wrong in a command, as far as the exit code depends on it.
//!
//! Anything else is an ordinary failure: exit 1 with one line on stderr.

use std::process::ExitCode;

use broker_core::ListenError;

/// The command was misused: wrong arguments, a wrong configuration, something this build cannot do. Exit 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Misuse(pub(crate) String);

/// Whoever read our output has gone. That is success: they have what they wanted.
#[derive(Debug, thiserror::Error)]
#[error("the output was closed")]
pub(crate) struct OutputClosed;

/// The command failed, and what there is to say has been said. Exit 1 without another word.
#[derive(Debug, thiserror::Error)]
#[error("failed")]
pub(crate) struct AlreadyReported;

/// An error that says the command was misused.
pub(crate) fn misuse(text: impl Into<String>) -> anyhow::Error {
    Misuse(text.into()).into()
}

/// Why listening failed; what an option would have changed names it.
pub(crate) fn explain_listen(error: ListenError) -> anyhow::Error {
    match error {
        ListenError::Unprotected { .. } => {
            misuse(format!("{error} (--ws-token, --ws-allow-unauthenticated)"))
        }
        other => other.into(),
    }
}

/// Prints `error` as one line on stderr, unless it was said or is no error, and chooses the exit code.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    if error.downcast_ref::<OutputClosed>().is_some() {
        return ExitCode::SUCCESS;
    }
    if error.downcast_ref::<AlreadyReported>().is_none() {
        complain(&format!("{error:#}"));
    }
    let misused = error.chain().any(|cause| cause.is::<Misuse>());
    ExitCode::from(if misused { MISUSED } else { FAILED })
}

/// One line on stderr. A stderr that cannot be written to leaves nobody to tell.
pub(crate) fn complain(text: &str) {
    use std::io::Write as _;
    let line = text
        .split(['\n', '\r'])
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("; ");
    let _ = writeln!(std::io::stderr(), "broker: {line}");
}

/// The exit code of a command that could not do what was asked.
pub(crate) const FAILED: u8 = 1;

/// The exit code of a command that was asked wrongly.
pub(crate) const MISUSED: u8 = 2;

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn a_misuse_stays_one_under_more_context() {
        let error = Err::<(), _>(misuse("no such thing"))
            .context("reading the arguments")
            .expect_err("an error");
        assert_eq!(report(&error), ExitCode::from(MISUSED));
        assert_eq!(report(&anyhow::anyhow!("broke")), ExitCode::from(FAILED));
        assert_eq!(report(&OutputClosed.into()), ExitCode::SUCCESS);
    }
}
