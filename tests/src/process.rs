//! A running program: its lines as they come, its end, and a kill if the test forgets it.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Instant;

use crate::PATIENCE;

/// A program that runs; killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdout: Lines,
    stderr: Lines,
}

/// How a program ended and what it said that nobody had read yet.
#[derive(Clone, Debug)]
pub struct Done {
    /// The exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// What is left of stdout.
    pub stdout: String,
    /// What is left of stderr.
    pub stderr: String,
}

impl Running {
    /// Starts `command` with pipes everywhere.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program can be started");
        let stdout = Lines::of(child.stdout.take().expect("piped"));
        let stderr = Lines::of(child.stderr.take().expect("piped"));
        Self {
            child,
            stdout,
            stderr,
        }
    }

    /// The next line of stdout.
    ///
    /// # Panics
    /// If the program ends first, or nothing comes.
    pub fn line(&mut self) -> String {
        match self.stdout.next() {
            Some(line) => line,
            None => panic!("stdout ended; stderr: {}", self.stderr.rest()),
        }
    }

    /// The first line of stdout that starts with `prefix`, without the prefix.
    ///
    /// # Panics
    /// If the program ends first, or nothing comes.
    pub fn line_after(&mut self, prefix: &str) -> String {
        loop {
            if let Some(rest) = self.line().strip_prefix(prefix) {
                return rest.to_owned();
            }
        }
    }

    /// Waits for a line of stderr that contains `text`, and returns it.
    ///
    /// # Panics
    /// If the program ends first, or nothing comes.
    pub fn stderr_line(&mut self, text: &str) -> String {
        loop {
            match self.stderr.next() {
                Some(line) if line.contains(text) => return line,
                Some(_) => {}
                None => panic!("stderr ended without {text:?}"),
            }
        }
    }

    /// Writes to the program's stdin.
    ///
    /// # Panics
    /// If it does not take it.
    pub fn write(&mut self, text: impl AsRef<[u8]>) {
        let stdin: &mut ChildStdin = self.child.stdin.as_mut().expect("stdin is open");
        stdin
            .write_all(text.as_ref())
            .and_then(|()| stdin.flush())
            .expect("the program reads stdin");
    }

    /// Closes the program's stdin.
    pub fn close_stdin(&mut self) {
        drop(self.child.stdin.take());
    }

    /// The process's number.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by name: `TERM`, `INT`, `KILL`, `STOP`.
    ///
    /// # Panics
    /// If there is no such process any more.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("sh")
            .args(["-c", &format!("kill -{name} {}", self.child.id())])
            .status()
            .expect("sh runs");
        assert!(sent.success(), "the process has gone");
    }

    /// Waits for the end.
    ///
    /// # Panics
    /// If it does not come.
    pub fn wait(mut self) -> Done {
        self.close_stdin();
        self.wait_open()
    }

    /// Waits for the end with stdin still open.
    ///
    /// # Panics
    /// If it does not come.
    pub fn wait_open(mut self) -> Done {
        let (stdout, stderr) = (self.stdout.rest(), self.stderr.rest());
        let status = self.child.wait().expect("it can be waited for");
        Done::new(status, stdout, stderr)
    }

    /// Asks the program to stop and waits for its end.
    ///
    /// # Panics
    /// If it does not end.
    pub fn stop(self) -> Done {
        self.signal("TERM");
        self.wait()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Done {
    fn new(status: ExitStatus, stdout: String, stderr: String) -> Self {
        Self {
            code: status.code(),
            stdout,
            stderr,
        }
    }

    /// Runs `command` to its end with nothing on stdin.
    ///
    /// # Panics
    /// If it cannot be started or does not end.
    #[must_use]
    pub fn of(command: &mut Command) -> Self {
        Running::start(command).wait()
    }

    /// Stdout, if the program did what it should.
    ///
    /// # Panics
    /// If the exit code is not 0.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(
            self.code,
            Some(0),
            "stdout: {}\nstderr: {}",
            self.stdout,
            self.stderr
        );
        self.stdout
    }

    /// The one line on stderr, if the program failed with `code` and printed nothing else.
    ///
    /// # Panics
    /// If it did not.
    #[track_caller]
    pub fn failed(self, code: i32) -> String {
        assert_eq!(
            self.code,
            Some(code),
            "stdout: {}\nstderr: {}",
            self.stdout,
            self.stderr
        );
        assert_eq!(self.stdout, "");
        assert_eq!(self.stderr.lines().count(), 1, "stderr: {}", self.stderr);
        assert!(
            self.stderr.starts_with("broker: "),
            "stderr: {}",
            self.stderr
        );
        self.stderr.trim_end().to_owned()
    }
}

/// Lines that a thread reads from a pipe.
#[derive(Debug)]
struct Lines(Receiver<String>);

impl Lines {
    fn of(pipe: impl Read + Send + 'static) -> Self {
        let (sender, receiver) = sync_channel(MAX_LINES);
        thread::spawn(move || {
            for line in BufReader::new(pipe).split(b'\n') {
                let Ok(line) = line else { return };
                if sender
                    .send(String::from_utf8_lossy(&line).into_owned())
                    .is_err()
                {
                    return;
                }
            }
        });
        Self(receiver)
    }

    /// The next line; `None` at the end.
    fn next(&self) -> Option<String> {
        self.next_before(Instant::now() + PATIENCE)
    }

    fn next_before(&self, deadline: Instant) -> Option<String> {
        match self
            .0
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("nothing came for {PATIENCE:?}"),
        }
    }

    /// Everything up to the end.
    fn rest(&self) -> String {
        let deadline = Instant::now() + 3 * PATIENCE;
        let mut text = String::new();
        while let Some(line) = self.next_before(deadline) {
            text.push_str(&line);
            text.push('\n');
        }
        text
    }
}

/// Lines read ahead of the test; a program that prints more waits.
const MAX_LINES: usize = 1 << 16;
