//! What happens to rotated files: compression, then a program of the user's, in tasks beside the logger.
//!
//! Beside each rotated file's journal stands a note `STEM.pending` until all is done, so that a file whose turn had not
//! come when the logger ended is taken up by the next one. At most [`ArchiveOptions::jobs`] files are worked on at a time
//! and [`QUEUE`] wait; one that finds no room waits for the next start. Nothing here holds up logging.
//!
//! The program runs without a shell, with nothing on stdin; of what it says on stderr the last [`SAID`] bytes are kept for the
//! log. A program that fails or takes too long is reported, not run again.

use std::fs::{self, File};
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet, spawn_blocking};
use tokio::time::timeout;

use super::options::ArchiveOptions;
use super::suffix::{GZIP, PARTIAL};

/// Rotated files that wait for compression and program, at most.
pub const QUEUE: usize = 1024;
/// Bytes kept of what a program says on stderr.
const SAID: usize = 1024;
/// The suffix of the note about a file that is not done with.
pub(crate) const PENDING: &str = "pending";

/// A rotated file, as its note has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rotated {
    /// The file.
    pub(crate) file: PathBuf,
    /// The log's path.
    pub(crate) path: String,
    /// When it was begun and closed, as text.
    pub(crate) open: String,
    pub(crate) close: String,
    /// The logger's name.
    pub(crate) node: String,
    /// Whether the logger was closing.
    pub(crate) terminating: bool,
    /// The note.
    #[serde(skip)]
    pub(crate) note: PathBuf,
}

impl Rotated {
    /// Writes the note to `dir/stem.pending`.
    pub(crate) fn write_note(&mut self, dir: &Path, stem: &str) -> io::Result<()> {
        self.note = dir.join(format!("{stem}.{PENDING}"));
        let text = serde_json::to_vec(self).map_err(io::Error::other)?;
        fs::write(&self.note, text)
    }

    /// Reads a note. None if the file it is about has gone, or it was not written to its end; then the note is removed.
    pub(crate) fn read_note(note: &Path) -> io::Result<Option<Self>> {
        let read = serde_json::from_slice::<Self>(&fs::read(note)?).ok();
        let found =
            read.filter(|rotated| rotated.file.exists() || compressed(&rotated.file).exists());
        match found {
            Some(rotated) => Ok(Some(Self {
                note: note.to_owned(),
                ..rotated
            })),
            None => fs::remove_file(note).map(|()| None),
        }
    }

    /// The arguments of the program for `file`.
    fn arguments(&self, command: &[String], file: &Path) -> Vec<String> {
        let file = file.to_string_lossy();
        let terminating = if self.terminating { "1" } else { "0" };
        let values: [(&str, &str); 7] = [
            ("{file}", &file),
            ("{path}", &self.path),
            ("{open}", &self.open),
            ("{close}", &self.close),
            ("{node}", &self.node),
            ("{writer}", "ascii"),
            ("{terminating}", terminating),
        ];
        command.iter().map(|text| filled(text, &values)).collect()
    }
}

/// Counters of rotated files.
#[derive(Debug, Default)]
pub(crate) struct ArchiveCounters {
    pub(crate) done: AtomicU64,
    pub(crate) failed: AtomicU64,
}

/// The task that works on rotated files.
#[derive(Debug)]
pub(crate) struct Archiver {
    queue: mpsc::Sender<Rotated>,
    task: JoinHandle<()>,
    counters: Arc<ArchiveCounters>,
}

impl Archiver {
    /// Starts it on the current runtime.
    pub(crate) fn start(options: ArchiveOptions) -> Self {
        let (queue, files) = mpsc::channel(QUEUE);
        let counters = Arc::new(ArchiveCounters::default());
        let task = tokio::spawn(run(Arc::new(options), files, Arc::clone(&counters)));
        Self {
            queue,
            task,
            counters,
        }
    }

    /// Another handle that takes files.
    pub(crate) fn queue(&self) -> ArchiveQueue {
        ArchiveQueue(self.queue.clone())
    }

    pub(crate) fn counters(&self) -> Arc<ArchiveCounters> {
        Arc::clone(&self.counters)
    }

    /// Finishes what waits, for at most `limit`; what is left then has its note. All [`ArchiveQueue`]s must be gone.
    pub(crate) async fn close(self, limit: Duration) {
        drop(self.queue);
        let mut task = self.task;
        if timeout(limit, &mut task).await.is_err() {
            tracing::warn!("rotated log files are not archived yet; the next start goes on");
            task.abort();
        }
    }
}

/// Takes rotated files for an [`Archiver`].
#[derive(Debug)]
pub(crate) struct ArchiveQueue(mpsc::Sender<Rotated>);

impl ArchiveQueue {
    /// Never waits.
    pub(crate) fn push(&self, rotated: Rotated) {
        if let Err(error) = self.0.try_send(rotated) {
            let (mpsc::error::TrySendError::Full(rotated)
            | mpsc::error::TrySendError::Closed(rotated)) = error;
            tracing::error!(file = %rotated.file.display(), "too many rotated log files wait; this one waits for the next start");
        }
    }
}

async fn run(
    options: Arc<ArchiveOptions>,
    mut files: mpsc::Receiver<Rotated>,
    counters: Arc<ArchiveCounters>,
) {
    let mut jobs = JoinSet::new();
    while let Some(rotated) = files.recv().await {
        while jobs.len() >= options.jobs.max(1) {
            let _ = jobs.join_next().await;
        }
        let (options, counters) = (Arc::clone(&options), Arc::clone(&counters));
        jobs.spawn(async move {
            let result = archive(&options, &rotated).await;
            let counter = if result.is_ok() {
                &counters.done
            } else {
                &counters.failed
            };
            counter.fetch_add(1, Ordering::Relaxed);
            if let Err(reason) = result {
                tracing::error!(file = %rotated.file.display(), "rotated log file: {reason}");
            }
            if let Err(error) = fs::remove_file(&rotated.note) {
                tracing::debug!(note = %rotated.note.display(), %error, "note not removed");
            }
        });
    }
    while jobs.join_next().await.is_some() {}
}

async fn archive(options: &ArchiveOptions, rotated: &Rotated) -> Result<(), String> {
    let mut file = rotated.file.clone();
    if let Some(level) = options.gzip {
        file = spawn_blocking(move || compress(&file, level))
            .await
            .map_err(|error| format!("compression ended: {error}"))?
            .map_err(|error| format!("cannot be compressed: {error}"))?;
    }
    if options.command.is_empty() {
        return Ok(());
    }
    let arguments = rotated.arguments(&options.command, &file);
    timeout(options.command_timeout, execute(&arguments))
        .await
        .unwrap_or_else(|_| {
            Err(format!(
                "{:?} was killed after {:?}",
                arguments[0], options.command_timeout
            ))
        })
}

/// Runs a program; it is killed if this is dropped.
async fn execute(arguments: &[String]) -> Result<(), String> {
    let program = &arguments[0];
    let mut child = Command::new(program)
        .args(&arguments[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("{program:?} cannot be run: {error}"))?;
    let said = match child.stderr.take() {
        Some(stderr) => last_words(stderr).await,
        None => String::new(),
    };
    let status = child
        .wait()
        .await
        .map_err(|error| format!("{program:?} cannot be waited for: {error}"))?;
    if status.success() {
        return Ok(());
    }
    Err(format!("{program:?} failed with {status}: {}", said.trim()))
}

/// The end of what comes, without control characters.
async fn last_words(mut from: impl AsyncRead + Unpin) -> String {
    let mut kept = Vec::new();
    let mut chunk = [0; 4096];
    while let Ok(read @ 1..) = from.read(&mut chunk).await {
        kept.extend_from_slice(&chunk[..read]);
        let excess = kept.len().saturating_sub(SAID);
        kept.drain(..excess);
    }
    String::from_utf8_lossy(&kept).replace(char::is_control, " ")
}

/// Replaces the placeholders in one argument. What is filled in is not looked at again.
fn filled(text: &str, values: &[(&str, &str)]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        match values.iter().find(|(name, _)| rest.starts_with(name)) {
            Some((name, value)) => {
                out.push_str(value);
                rest = &rest[name.len()..];
            }
            None => {
                out.push('{');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

/// What a file is called once it is compressed.
pub(crate) fn compressed(file: &Path) -> PathBuf {
    with_end(file, GZIP)
}

fn with_end(file: &Path, end: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".");
    name.push(end);
    PathBuf::from(name)
}

/// Replaces a file by its compressed form. One that a killed logger had compressed already is left alone.
fn compress(file: &Path, level: u32) -> io::Result<PathBuf> {
    let target = compressed(file);
    if !file.exists() && target.exists() {
        return Ok(target);
    }
    let partial = with_end(&target, PARTIAL);
    let result = (|| {
        let mut reader = BufReader::with_capacity(COPY, File::open(file)?);
        let mut encoder = GzEncoder::new(File::create(&partial)?, Compression::new(level.min(9)));
        io::copy(&mut reader, &mut encoder)?;
        encoder.finish()?.flush()?;
        fs::rename(&partial, &target)?;
        fs::remove_file(file)
    })();
    if result.is_err() {
        let _ = fs::remove_file(&partial);
    }
    result.map(|()| target)
}

const COPY: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::*;

    fn rotated(dir: &Path, name: &str) -> Rotated {
        let file = dir.join(name);
        fs::write(&file, "one\ntwo\n").unwrap();
        let mut rotated = Rotated {
            file,
            path: "conn".to_owned(),
            open: "2026-11-27-09-00-00".to_owned(),
            close: "2026-11-27-10-00-00".to_owned(),
            node: "logger-1".to_owned(),
            terminating: false,
            note: PathBuf::new(),
        };
        rotated.write_note(dir, "conn.x").unwrap();
        rotated
    }

    async fn worked(options: ArchiveOptions, file: Rotated) -> (u64, u64) {
        let archiver = Archiver::start(options);
        let counters = archiver.counters();
        archiver.queue().push(file);
        archiver.close(Duration::from_secs(60)).await;
        (
            counters.done.load(Ordering::Relaxed),
            counters.failed.load(Ordering::Relaxed),
        )
    }

    fn command(words: &[&str]) -> ArchiveOptions {
        ArchiveOptions {
            command: words.iter().map(|word| (*word).to_owned()).collect(),
            ..ArchiveOptions::default()
        }
    }

    #[tokio::test]
    async fn a_file_is_compressed_and_its_program_gets_the_compressed_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = rotated(dir.path(), "conn.x.log");
        let options = ArchiveOptions {
            gzip: Some(6),
            ..command(&[
                "cp",
                "{file}",
                &format!("{}/{{path}}-{{open}}.copy", dir.path().display()),
            ])
        };
        assert_eq!(worked(options, file).await, (1, 0));
        let mut text = String::new();
        let copy = File::open(dir.path().join("conn-2026-11-27-09-00-00.copy")).unwrap();
        GzDecoder::new(copy).read_to_string(&mut text).unwrap();
        assert_eq!(text, "one\ntwo\n");
        assert!(dir.path().join("conn.x.log.gz").exists());
        assert!(!dir.path().join("conn.x.log").exists());
        assert!(!dir.path().join("conn.x.pending").exists());
    }

    #[tokio::test]
    async fn programs_that_fail_are_missing_or_take_too_long_are_counted_and_the_file_stays() {
        let dir = tempfile::tempdir().unwrap();
        let slow = ArchiveOptions {
            command_timeout: Duration::from_millis(50),
            ..command(&["sleep", "600"])
        };
        for options in [command(&["false"]), command(&["/no/such/program"]), slow] {
            let file = rotated(dir.path(), "conn.x.log");
            assert_eq!(worked(options, file).await, (0, 1));
            assert!(dir.path().join("conn.x.log").exists());
            assert!(!dir.path().join("conn.x.pending").exists());
        }
    }

    #[tokio::test]
    async fn what_is_not_done_at_the_end_keeps_its_note() {
        let dir = tempfile::tempdir().unwrap();
        let file = rotated(dir.path(), "conn.x.log");
        let archiver = Archiver::start(command(&["sleep", "600"]));
        archiver.queue().push(file.clone());
        archiver.close(Duration::from_millis(50)).await;
        let again = Rotated::read_note(&dir.path().join("conn.x.pending")).unwrap();
        assert_eq!(again, Some(file));
        fs::remove_file(dir.path().join("conn.x.log")).unwrap();
        assert_eq!(
            Rotated::read_note(&dir.path().join("conn.x.pending")).unwrap(),
            None
        );
        assert!(!dir.path().join("conn.x.pending").exists());
    }

    #[test]
    fn placeholders_are_filled_once_and_nothing_goes_through_a_shell() {
        let values = [("{path}", "a {file} $(b)"), ("{file}", "x")];
        assert_eq!(
            filled("{path}-{file}-{other}{", &values),
            "a {file} $(b)-x-{other}{"
        );
    }
}
