//! The logger's files from one to the next: rotation, and what a logger finds at its start.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};

use super::super::archive::{PENDING, Rotated, compressed};
use super::super::file::{self, LogFile, NotRotated};
use super::super::journal::{self, Summary};
use super::super::rotation::rotated_stem;
use super::{Logger, Now, OpenLog, recover};
use crate::log::meta_time;

impl Logger {
    /// When [`Logger::rotate`] has something to do, if no size says so before.
    pub(crate) fn next_rotation(&self) -> Option<Timestamp> {
        let due = |log: &OpenLog| log.file.as_ref().and(log.rotation.as_ref())?.due();
        self.logs.iter().filter_map(due).min()
    }

    /// Rotates the files that are due.
    pub(crate) fn rotate(&mut self, now: Now) {
        let wall = self.local(now);
        for at in 0..self.logs.len() {
            let log = &mut self.logs[at];
            let (Some(file), Some(rotation)) = (&log.file, &mut log.rotation) else {
                continue;
            };
            if !rotation.is_due(&wall, file.len()) {
                continue;
            }
            self.commit_log(at, now);
            self.let_go(at);
            let log = &mut self.logs[at];
            match (&mut log.file, &mut log.rotation) {
                // A file without records is no file: it goes on, and counts from here.
                (Some(file), Some(rotation)) if !file.has_records() => {
                    rotation.begin(&wall);
                    let counted = file.count_from(now.wall);
                    if let Err(error) = counted {
                        self.fail(
                            now,
                            &format_args!("cannot note when a log file begins: {error}"),
                        );
                    }
                }
                (None, Some(_)) => {}
                _ => self.rotate_log(at, false, now),
            }
        }
    }

    /// The files rotated since the last call.
    pub(crate) fn take_rotated(&mut self) -> Vec<Rotated> {
        std::mem::take(&mut self.rotated)
    }

    /// Repairs what a killed logger left behind, learns which batches there are, and forgets old ones.
    pub(super) fn take_over(&mut self, now: Now) -> io::Result<()> {
        let rotates = self.options.rotation.rule.is_on() || !self.options.stream_rules.is_empty();
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.dir)? {
            found.push(entry?.path());
        }
        found.sort_unstable();
        for path in &found {
            let has_suffix = |suffix: &str| path.extension().is_some_and(|other| other == suffix);
            if has_suffix(PENDING) {
                self.rotated.extend(Rotated::read_note(path)?);
            }
            if !has_suffix(journal::SUFFIX) {
                continue;
            }
            if rotates && self.is_old(path, now) {
                std::fs::remove_file(path)?;
                continue;
            }
            let journal_path = file::finish_rotation(path, self.rotated_dir())?;
            let left = recover(&journal_path, &mut self.known)?;
            if let Some(left) = left
                && rotates
                && self.options.rotation.leftovers
            {
                self.rotate_leftover(&journal_path, left, now)?;
            }
        }
        Ok(())
    }

    /// Whether a journal is that of a rotated file and of no more use.
    pub(super) fn is_old(&self, journal_path: &Path, now: Now) -> bool {
        let keep = SignedDuration::try_from(self.options.rotation.keep_batches)
            .unwrap_or(SignedDuration::MAX);
        let modified = std::fs::metadata(journal_path)
            .and_then(|metadata| metadata.modified())
            .ok()
            .and_then(|time| Timestamp::try_from(time).ok());
        let is_old = modified.is_some_and(|time| now.wall.duration_since(time) > keep);
        is_old && Summary::of(journal_path).is_ok_and(|journal| journal.is_closed())
    }

    /// Rotates a file that a killed logger left behind.
    pub(super) fn rotate_leftover(
        &mut self,
        journal_path: &Path,
        left: file::Left,
        now: Now,
    ) -> io::Result<()> {
        let Some(stem) = journal_path.file_stem().and_then(|stem| stem.to_str()) else {
            return Ok(());
        };
        if !left.has_records {
            return Ok(());
        }
        let mut header = Vec::new();
        File::open(left.suffix.path(&self.dir, stem))?
            .take(64 << 10)
            .read_to_end(&mut header)?;
        // Only of a file with Zeek's usual header do we know what its end looks like.
        let close = meta_time(&self.local(now));
        let footer = if header.starts_with(b"#separator \\x09\n") {
            format!("#close\t{close}\n")
        } else {
            String::new()
        };
        let lines = header
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'\n');
        let header_end = lines
            .map(|(at, _)| at + 1)
            .take_while(|end| *end <= header.len())
            .find(|end| header.get(*end) != Some(&b'#'))
            .unwrap_or(0);
        let header = if header.starts_with(b"#") {
            &header[..header_end]
        } else {
            &[]
        };
        let file = LogFile::open(&self.dir, stem, &left.suffix, header, now.wall)?;
        self.move_file(file, footer.as_bytes(), stem, false, now)
            .map_err(|failed| failed.error)
    }

    /// Where rotated files go.
    pub(super) fn rotated_dir(&self) -> &Path {
        self.options.rotation.dir.as_deref().unwrap_or(&self.dir)
    }

    /// Rotates one log's file, which has nothing waiting for it.
    pub(super) fn rotate_log(&mut self, at: usize, terminating: bool, now: Now) {
        let Some(file) = self.logs[at].file.take() else {
            return;
        };
        let mut footer = Vec::new();
        let time = meta_time(&self.local(now));
        self.logs[at].writer.end(&time, &mut footer);
        let path = self.logs[at].stem.clone();
        let wall = self.local(now);
        if let Some(rotation) = &mut self.logs[at].rotation {
            rotation.begin(&wall);
        }
        if let Err(failed) = self.move_file(file, &footer, &path, terminating, now) {
            let NotRotated { file, error } = *failed;
            self.fail(
                now,
                &format_args!("cannot rotate {}: {error}", file.path().display()),
            );
            let log = &mut self.logs[at];
            log.file = Some(file);
            if let Some(rotation) = &mut log.rotation {
                rotation.postpone(now.wall.saturating_add(RETRY_ROTATION).unwrap_or(now.wall));
            }
        }
    }

    pub(super) fn move_file(
        &mut self,
        file: LogFile,
        footer: &[u8],
        path: &str,
        terminating: bool,
        now: Now,
    ) -> Result<(), Box<NotRotated>> {
        let open = file.opened().to_zoned(self.zone.clone());
        let close = self.local(now);
        let dir = self.rotated_dir().to_owned();
        let is_free = |stem: &String| {
            let log = file.suffix().path(&dir, stem);
            !log.exists()
                && !compressed(&log).exists()
                && !file::journal_path(&self.dir, stem).exists()
        };
        let names = self.options.rotation.names;
        let Some(stem) = (1..=MAX_SAME_NAME)
            .map(|nth| rotated_stem(names, path, &open, &close, &self.node, nth))
            .find(is_free)
        else {
            let error = io::Error::other("too many rotated files of one second");
            return Err(Box::new(NotRotated { file, error }));
        };
        // It may have been cleared away; if it cannot be made, the rename says why.
        let _ = std::fs::create_dir_all(&dir);
        let target = file.rotate(footer, &dir, &stem)?;
        tracing::info!(file = %target.display(), "log file rotated");
        let mut rotated = Rotated {
            file: target,
            path: path.to_owned(),
            open: meta_time(&open),
            close: meta_time(&close),
            node: self.node.clone(),
            terminating,
            note: PathBuf::new(),
        };
        if self.options.archive.is_on() {
            if let Err(error) = rotated.write_note(&self.dir, &stem) {
                tracing::error!(file = %rotated.file.display(), %error, "cannot note that a log file was rotated");
            }
            self.rotated.push(rotated);
        }
        Ok(())
    }
}

/// How long after a rotation that failed the next attempt is made.
const RETRY_ROTATION: SignedDuration = SignedDuration::from_secs(60);
/// Rotated files whose names differ only by a number.
const MAX_SAME_NAME: u32 = 100_000;
