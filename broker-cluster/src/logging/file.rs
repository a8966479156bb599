//! One log file of a logger and its journal: opened, appended to, closed, and repaired after a crash.
//!
//! A file that a killed logger left behind is cut where the journal ends, and continued if its header is the same
//! but for the time of opening; else, as a file closed in order or one without a journal, it is moved out of the way
//! to `PATH.N.log` (or whatever its name ends with), journal included. Nothing that was acknowledged is ever overwritten.
//!
//! A file is rotated in four steps: the journal notes the new name, the file gets it, the journal gets it, the file is
//! closed. A kill between two of them is made good by [`finish_rotation`] at the next start.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use broker_core::EndpointId;
use jiff::Timestamp;

use super::descriptors::{Descriptors, Ends, Open};
use super::journal::{self, Entry, Summary};
use super::suffix::LogSuffix;

/// A log file that is open for appending.
///
/// **Invariant:** between calls the file ends where the journal's last line says.
#[derive(Debug)]
pub(crate) struct LogFile {
    files: Descriptors,
    journal_end: u64,
    suffix: LogSuffix,
    end: u64,
    opened: Timestamp,
    has_records: bool,
    lines: Vec<u8>,
}

/// A file that could not be rotated, open under its old name, and why.
#[derive(Debug)]
pub(crate) struct NotRotated {
    pub(crate) file: LogFile,
    pub(crate) error: io::Error,
}

/// A batch to be noted in the journal: what of the data appended with it ends where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    pub(crate) writer: EndpointId,
    pub(crate) number: u64,
    pub(crate) records: u64,
    /// The end of the batch within the data.
    pub(crate) end: usize,
}

impl LogFile {
    /// Opens `dir/stem.suffix` and its journal. `header` is what a new file begins with, which counts from `now` on.
    pub(crate) fn open(
        dir: &Path,
        stem: &str,
        suffix: &LogSuffix,
        header: &[u8],
        now: Timestamp,
    ) -> io::Result<Self> {
        let path = suffix.path(dir, stem);
        let journal_path = journal_path(dir, stem);
        if journal_path.exists()
            && let Some(left) = repair(&journal_path)?
            && left.suffix == *suffix
            && let Some(file) = Self::continued(left, &path, &journal_path, header, now)?
        {
            return Ok(file);
        }
        move_aside(dir, stem, suffix)?;
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)?;
        file.write_all(header)?;
        let journal = OpenOptions::new()
            .append(true)
            .create(true)
            .open(&journal_path)?;
        journal.set_len(0)?;
        let files = Open { log: file, journal };
        let mut opened = Self {
            files: Descriptors::new(&path, &journal_path, files)?,
            journal_end: 0,
            suffix: suffix.clone(),
            end: header.len() as u64,
            opened: now,
            has_records: false,
            lines: Vec::new(),
        };
        opened.note_open(now)?;
        Ok(opened)
    }

    /// The file a killed logger left behind, if it can be continued.
    fn continued(
        left: Left,
        path: &Path,
        journal_path: &Path,
        header: &[u8],
        now: Timestamp,
    ) -> io::Result<Option<Self>> {
        let end = left.end;
        let mut file = OpenOptions::new().read(true).write(true).open(path)?;
        let mut there = vec![0; header.len()];
        if file.read_exact(&mut there).is_err() || !same_header(&there, header) {
            return Ok(None);
        }
        file.seek(SeekFrom::Start(end))?;
        let journal = OpenOptions::new().append(true).open(journal_path)?;
        let journal_end = journal.metadata()?.len();
        let files = Open { log: file, journal };
        let mut opened = Self {
            files: Descriptors::new(path, journal_path, files)?,
            journal_end,
            suffix: left.suffix,
            end,
            opened: left.opened.unwrap_or(now),
            has_records: left.has_records,
            lines: Vec::new(),
        };
        opened.note_open(now)?;
        Ok(Some(opened))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.files.log_path()
    }

    /// Whether it and its journal are still where they were opened. If not, what is appended could be nowhere: somebody has
    /// removed them, or moved them away.
    pub(crate) fn stands(&self) -> bool {
        self.files.stand()
    }

    /// Gives its descriptors up until they are needed again.
    pub(crate) fn park(&mut self) {
        self.files.park();
    }

    /// Whether it has no descriptors at the time.
    pub(crate) const fn is_parked(&self) -> bool {
        self.files.is_parked()
    }

    /// What its name ends with.
    pub(crate) const fn suffix(&self) -> &LogSuffix {
        &self.suffix
    }

    /// How long it is, in bytes.
    pub(crate) const fn len(&self) -> u64 {
        self.end
    }

    /// What it counts from, whichever process opened it.
    pub(crate) const fn opened(&self) -> Timestamp {
        self.opened
    }

    /// The file, which has no records yet, counts from `time` on.
    pub(crate) fn count_from(&mut self, time: Timestamp) -> io::Result<()> {
        debug_assert!(!self.has_records, "it has counted already");
        self.opened = time;
        self.note_open(time)
    }

    /// Whether there is a record in it.
    pub(crate) const fn has_records(&self) -> bool {
        self.has_records
    }

    /// Appends `data` and notes its batches. On an error nothing of it is in the file, as far as the system lets us.
    pub(crate) fn append(&mut self, data: &[u8], marks: &[Mark]) -> io::Result<()> {
        let start = self.end;
        let result = self.try_append(data, marks);
        if result.is_err() {
            self.end = start;
            let journal_end = self.journal_end;
            // The next opening would cut it off too, since the journal does not know it.
            if let Ok(files) = self.open_files() {
                let _ = files
                    .log
                    .set_len(start)
                    .and_then(|()| files.log.seek(SeekFrom::Start(start)));
                let _ = files.journal.set_len(journal_end);
            }
        }
        result
    }

    fn open_files(&mut self) -> io::Result<&mut Open> {
        self.files.get(Ends {
            log: self.end,
            journal: self.journal_end,
        })
    }

    fn try_append(&mut self, data: &[u8], marks: &[Mark]) -> io::Result<()> {
        self.open_files()?.log.write_all(data)?;
        let entries: Vec<Entry> = marks
            .iter()
            .map(|mark| Entry::Batch {
                writer: mark.writer,
                number: mark.number,
                records: mark.records,
                offset: self.end + mark.end as u64,
            })
            .collect();
        self.note(&entries)?;
        self.end += data.len() as u64;
        self.has_records |= marks.iter().any(|mark| mark.records > 0);
        Ok(())
    }

    /// Appends the end of the file and closes it.
    pub(crate) fn close(mut self, footer: &[u8]) -> io::Result<()> {
        self.finish(footer)
    }

    /// Appends the end of the file, closes it, and renames it to `stem` in `dir`; the journal stays where it is and becomes
    /// `stem.batches`. Returns where the file is then.
    ///
    /// On an error the file is open again under its old name, as far as the system lets us; if only the end of the file could
    /// not be written, that is logged and the file rotated nevertheless.
    pub(crate) fn rotate(
        mut self,
        footer: &[u8],
        dir: &Path,
        stem: &str,
    ) -> Result<PathBuf, Box<NotRotated>> {
        let target = self.suffix.path(dir, stem);
        match self.rename(&target, stem) {
            Ok(()) => {}
            Err(error) => {
                // So that the next start does not finish what was given up.
                let opened = self.opened;
                let _ = self.note_open(opened);
                return Err(Box::new(NotRotated { file: self, error }));
            }
        }
        if let Err(error) = self.finish(footer) {
            tracing::error!(file = %target.display(), %error, "cannot write the end of a rotated log file");
        }
        Ok(target)
    }

    fn rename(&mut self, target: &Path, stem: &str) -> io::Result<()> {
        let offset = self.end;
        let stem: Box<str> = stem.into();
        let path = self.files.log_path().to_owned();
        let journal_path = self.files.journal_path().to_owned();
        let journal = journal_path.with_file_name(format!("{stem}.{}", journal::SUFFIX));
        self.note(&[Entry::Rotate { offset, stem }])?;
        fs::rename(&path, target)?;
        if let Err(error) = fs::rename(&journal_path, &journal) {
            fs::rename(target, &path)?;
            return Err(error);
        }
        Ok(())
    }

    fn finish(&mut self, footer: &[u8]) -> io::Result<()> {
        self.open_files()?.log.write_all(footer)?;
        self.end += footer.len() as u64;
        let offset = self.end;
        self.note(&[Entry::Close { offset }])
    }

    fn note_open(&mut self, time: Timestamp) -> io::Result<()> {
        let entry = Entry::Open {
            offset: self.end,
            time: Some(time.as_second()),
            suffix: self.suffix.clone(),
        };
        self.note(&[entry])
    }

    fn note(&mut self, entries: &[Entry]) -> io::Result<()> {
        self.lines.clear();
        entries.iter().for_each(|entry| entry.push(&mut self.lines));
        let lines = std::mem::take(&mut self.lines);
        let written = self
            .open_files()
            .and_then(|files| files.journal.write_all(&lines));
        self.lines = lines;
        written?;
        self.journal_end += self.lines.len() as u64;
        Ok(())
    }
}

/// What a killed logger left of a file.
#[derive(Clone, Debug)]
pub(crate) struct Left {
    /// What its name ends with.
    pub(crate) suffix: LogSuffix,
    /// Where it ends.
    pub(crate) end: u64,
    /// When it was begun.
    pub(crate) opened: Option<Timestamp>,
    pub(crate) has_records: bool,
}

/// Cuts the file of a journal where the journal ends, and the journal behind its last whole line. None if the file was closed in
/// order, is not there or is shorter than the journal says.
pub(crate) fn repair(journal_path: &Path) -> io::Result<Option<Left>> {
    let journal = Summary::of(journal_path)?;
    let path = journal.suffix.beside(journal_path);
    if journal.is_closed() || !path.exists() {
        return Ok(None);
    }
    let Some(end) = journal.last.as_ref().map(Entry::offset) else {
        return Ok(None);
    };
    let file = OpenOptions::new().write(true).open(&path)?;
    if file.metadata()?.len() < end {
        tracing::warn!(file = %path.display(), "log file is shorter than its journal says; it is kept as it is");
        return Ok(None);
    }
    file.set_len(end)?;
    OpenOptions::new()
        .write(true)
        .open(journal_path)?
        .set_len(journal.whole)?;
    Ok(Some(Left {
        suffix: journal.suffix,
        end,
        opened: journal.opened,
        has_records: journal.has_records,
    }))
}

/// Makes good a rotation that a kill interrupted: the file and the journal in `journal_dir` get the names the journal notes.
/// `rotated_dir` is where rotated files go. Returns the journal's path then.
pub(crate) fn finish_rotation(journal_path: &Path, rotated_dir: &Path) -> io::Result<PathBuf> {
    let noted = Summary::of(journal_path)?;
    let Some(Entry::Rotate { offset, stem }) = noted.last else {
        return Ok(journal_path.to_owned());
    };
    let target = noted.suffix.path(rotated_dir, &stem);
    let log = noted.suffix.beside(journal_path);
    let renamed = journal_path.with_file_name(format!("{stem}.{}", journal::SUFFIX));
    if renamed != journal_path {
        if log.exists() && !target.exists() {
            fs::rename(&log, &target)?;
        }
        fs::rename(journal_path, &renamed)?;
    }
    // The end of the file may be missing or half written; its records are whole.
    if let Ok(file) = OpenOptions::new().write(true).open(&target)
        && file.metadata()?.len() > offset
    {
        file.set_len(offset)?;
    }
    let mut line = Vec::new();
    Entry::Close { offset }.push(&mut line);
    let mut journal = OpenOptions::new().append(true).open(&renamed)?;
    journal.set_len(noted.whole)?;
    journal.write_all(&line)?;
    Ok(renamed)
}

/// Where its journal is.
pub(crate) fn journal_path(dir: &Path, stem: &str) -> PathBuf {
    dir.join(format!("{stem}.{}", journal::SUFFIX))
}

/// Whether two headers differ in nothing but the time of opening.
fn same_header(a: &[u8], b: &[u8]) -> bool {
    let essential = |header: &[u8]| -> Vec<Vec<u8>> {
        header
            .split(|&byte| byte == b'\n')
            .filter(|line| !line.starts_with(b"#open"))
            .map(<[u8]>::to_vec)
            .collect()
    };
    essential(a) == essential(b)
}

/// Makes room for `stem.suffix` and its journal: what is there already is renamed to the first `stem.N` that is free. The
/// journal goes with its own file, whatever that one's name ends with.
fn move_aside(dir: &Path, stem: &str, suffix: &LogSuffix) -> io::Result<()> {
    let journal = journal_path(dir, stem);
    let noted = if journal.exists() {
        Some(Summary::of(&journal)?.suffix)
    } else {
        None
    };
    if let Some(noted) = &noted {
        let path = noted.path(dir, stem);
        if path.exists() {
            let aside = free_aside(dir, stem, noted)?;
            fs::rename(path, noted.path(dir, &aside))?;
            fs::rename(journal, journal_path(dir, &aside))?;
        }
    }
    let path = suffix.path(dir, stem);
    if path.exists() {
        let aside = free_aside(dir, stem, suffix)?;
        fs::rename(path, suffix.path(dir, &aside))?;
    }
    Ok(())
}

/// The first of `stem.1`, `stem.2`, … that neither a log nor a journal has.
fn free_aside(dir: &Path, stem: &str, suffix: &LogSuffix) -> io::Result<String> {
    (1..=MAX_ASIDE)
        .map(|number| format!("{stem}.{number}"))
        .find(|aside| !suffix.path(dir, aside).exists() && !journal_path(dir, aside).exists())
        .ok_or_else(|| {
            io::Error::other(format!(
                "{}: too many older files of this log; move some away",
                suffix.path(dir, stem).display()
            ))
        })
}

const MAX_ASIDE: u32 = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &[u8] = b"#path\tconn\n#open\t1\n#fields\ta\n";
    const LATER: &[u8] = b"#path\tconn\n#open\t2\n#fields\ta\n";

    fn mark(number: u64, end: usize) -> Mark {
        Mark {
            writer: EndpointId::from_bytes([5; 16]),
            number,
            records: 1,
            end,
        }
    }

    fn now() -> Timestamp {
        Timestamp::from_second(1_795_000_000).unwrap()
    }

    fn open(dir: &Path, stem: &str, header: &[u8]) -> io::Result<LogFile> {
        LogFile::open(dir, stem, &LogSuffix::default(), header, now())
    }

    fn content(dir: &Path, name: &str) -> String {
        fs::read_to_string(dir.join(name)).unwrap()
    }

    #[test]
    fn a_killed_logger_s_file_is_cut_to_what_was_noted_and_continued() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = open(dir.path(), "conn", HEADER).unwrap();
        file.append(b"one\ntwo\n", &[mark(1, 4), mark(2, 8)])
            .unwrap();
        drop(file);
        // What was written but not noted before the kill: a line and a half.
        OpenOptions::new()
            .append(true)
            .open(dir.path().join("conn.log"))
            .unwrap()
            .write_all(b"three\nfou")
            .unwrap();
        OpenOptions::new()
            .append(true)
            .open(dir.path().join("conn.batches"))
            .unwrap()
            .write_all(b"0505")
            .unwrap();
        let mut file = open(dir.path(), "conn", LATER).unwrap();
        file.append(b"three\n", &[mark(3, 6)]).unwrap();
        file.close(b"#close\t3\n").unwrap();
        assert_eq!(
            content(dir.path(), "conn.log"),
            "#path\tconn\n#open\t1\n#fields\ta\none\ntwo\nthree\n#close\t3\n"
        );
        let mut numbers = Vec::new();
        let read = journal::read(&dir.path().join("conn.batches"), |entry| {
            if let Entry::Batch { number, .. } = entry {
                numbers.push(number);
            }
        });
        assert!(read.is_ok());
        assert_eq!(numbers, [1, 2, 3]);
    }

    #[test]
    fn a_closed_file_a_foreign_one_and_one_of_other_columns_are_moved_aside() {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path(), "conn", HEADER)
            .unwrap()
            .close(b"#close\t1\n")
            .unwrap();
        let other = b"#path\tconn\n#open\t2\n#fields\tb\n";
        drop(open(dir.path(), "conn", other).unwrap());
        drop(open(dir.path(), "conn", HEADER).unwrap());
        assert!(content(dir.path(), "conn.1.log").ends_with("#close\t1\n"));
        assert!(content(dir.path(), "conn.1.batches").contains("close"));
        assert_eq!(content(dir.path(), "conn.2.log").as_bytes(), other);
        fs::write(dir.path().join("dns.log"), "somebody's").unwrap();
        drop(open(dir.path(), "dns", HEADER).unwrap());
        assert_eq!(content(dir.path(), "dns.1.log"), "somebody's");
    }

    #[test]
    fn a_file_with_another_suffix_is_cut_and_moved_aside_with_its_journal() {
        let dir = tempfile::tempdir().unwrap();
        let json: LogSuffix = "json".parse().unwrap();
        let mut file = open(dir.path(), "conn", HEADER).unwrap();
        file.append(b"one\n", &[mark(1, 4)]).unwrap();
        drop(file);
        let killed = dir.path().join("conn.log");
        let mut log = OpenOptions::new().append(true).open(killed).unwrap();
        log.write_all(b"two").unwrap();
        let mut file = LogFile::open(dir.path(), "conn", &json, HEADER, now()).unwrap();
        file.append(b"three\n", &[mark(2, 6)]).unwrap();
        drop(file);
        assert!(content(dir.path(), "conn.1.log").ends_with("#fields\ta\none\n"));
        let moved = Summary::of(&dir.path().join("conn.1.batches")).unwrap();
        assert!(moved.suffix.is_default() && moved.has_records);
        // The same suffix again: it goes on.
        drop(LogFile::open(dir.path(), "conn", &json, LATER, now()).unwrap());
        assert!(content(dir.path(), "conn.json").ends_with("#fields\ta\nthree\n"));
        // And back, with somebody's file in the way.
        fs::write(dir.path().join("conn.log"), "somebody's").unwrap();
        drop(open(dir.path(), "conn", HEADER).unwrap());
        assert!(content(dir.path(), "conn.2.json").ends_with("three\n"));
        assert!(content(dir.path(), "conn.2.batches").ends_with(" json\n"));
        assert_eq!(content(dir.path(), "conn.3.log"), "somebody's");
        assert_eq!(content(dir.path(), "conn.log").as_bytes(), HEADER);
    }

    #[test]
    fn a_damaged_journal_is_an_error_and_touches_nothing() {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path(), "conn", HEADER).unwrap());
        fs::write(dir.path().join("conn.batches"), "garbage\n").unwrap();
        let error = open(dir.path(), "conn", HEADER).unwrap_err().to_string();
        assert!(error.contains("conn.batches: not a journal"), "{error}");
        assert_eq!(content(dir.path(), "conn.log").as_bytes(), HEADER);
    }

    #[test]
    fn a_file_goes_on_where_its_descriptors_were_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = open(dir.path(), "conn", HEADER).unwrap();
        for number in 1..=3 {
            file.append(b"row\n", &[mark(number, 4)]).unwrap();
            file.park();
            assert!(file.is_parked());
        }
        file.close(b"#close\t3\n").unwrap();
        let text = String::from_utf8(HEADER.to_vec()).unwrap() + "row\nrow\nrow\n#close\t3\n";
        assert_eq!(content(dir.path(), "conn.log"), text);
        let journal = Summary::of(&journal_path(dir.path(), "conn")).unwrap();
        assert!(journal.is_closed());
        assert_eq!(journal.last.unwrap().offset(), text.len() as u64);
    }

    #[test]
    fn a_file_whose_place_another_one_has_taken_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = open(dir.path(), "conn", HEADER).unwrap();
        assert!(file.stands());
        file.park();
        fs::rename(dir.path().join("conn.log"), dir.path().join("mine")).unwrap();
        assert!(!file.stands());
        fs::write(dir.path().join("conn.log"), "somebody's").unwrap();
        assert!(!file.stands());
        assert!(file.append(b"row\n", &[mark(1, 4)]).is_err());
        assert_eq!(content(dir.path(), "conn.log"), "somebody's");
        fs::remove_file(dir.path().join("conn.log")).unwrap();
        fs::rename(dir.path().join("mine"), dir.path().join("conn.log")).unwrap();
        assert!(file.stands());
        fs::remove_file(dir.path().join("conn.batches")).unwrap();
        assert!(
            !file.stands(),
            "without its journal a file cannot be rotated"
        );
    }

    #[test]
    fn a_file_in_a_missing_directory_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert!(open(&dir.path().join("no"), "conn", HEADER).is_err());
    }
}
