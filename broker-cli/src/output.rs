//! Results go to stdout through here, one line at a time; a reader who closes the pipe ends the command with success.

use std::io::{self, BufWriter, ErrorKind, Stdout, Write};

use serde::Serialize;

use crate::failure::OutputClosed;

/// Buffered lines on stdout. Nothing appears before [`Output::flush`].
#[derive(Debug)]
pub(crate) struct Output<W: Write = Stdout> {
    inner: BufWriter<W>,
}

impl Output {
    /// The process's stdout.
    pub(crate) fn stdout() -> Self {
        Self::to(io::stdout())
    }
}

impl<W: Write> Output<W> {
    /// Lines into `writer`.
    pub(crate) fn to(writer: W) -> Self {
        Self {
            inner: BufWriter::with_capacity(64 * 1024, writer),
        }
    }

    /// Adds `line` and a line feed.
    pub(crate) fn line(&mut self, line: impl AsRef<[u8]>) -> anyhow::Result<()> {
        self.inner
            .write_all(line.as_ref())
            .and_then(|()| self.inner.write_all(b"\n"))
            .map_err(output_error)
    }

    /// Adds `value` as one line of JSON.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> anyhow::Result<()> {
        self.line(serde_json::to_vec(value)?)
    }

    /// Hands everything so far to the reader.
    pub(crate) fn flush(&mut self) -> anyhow::Result<()> {
        self.inner.flush().map_err(output_error)
    }
}

fn output_error(error: io::Error) -> anyhow::Error {
    if error.kind() == ErrorKind::BrokenPipe {
        OutputClosed.into()
    } else {
        anyhow::Error::new(error).context("cannot write the output")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_closed_pipe_is_told_apart_from_other_failures() {
        let mut output = Output::to(Closed);
        output.line("x").expect("buffered");
        let error = output.flush().expect_err("closed");
        assert!(error.downcast_ref::<OutputClosed>().is_some());
    }

    #[test]
    fn lines_end_with_a_line_feed() {
        let mut written = Vec::new();
        let mut output = Output::to(&mut written);
        output
            .line("a")
            .and_then(|()| output.json(&[1, 2]))
            .and_then(|()| output.flush())
            .expect("written");
        drop(output);
        assert_eq!(written, b"a\n[1,2]\n");
    }
}
