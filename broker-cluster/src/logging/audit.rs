//! How many records are in the log files, how many of them more than once: counted from the files and the
//! journals beside them, so that it holds for loggers that were killed too.
//!
//! A batch has a writer and a number. The first logger that notes it in its journal makes its records count as
//! `records`; records of the same batch in another logger's journal are `duplicates`, and so are the lines that a
//! killed logger wrote and did not note, since their batch was never acknowledged and went to another logger.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::path::Path;

use broker_core::EndpointId;

use super::journal::{self, Entry, Summary};

/// What the log files of a cluster hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogAudit {
    /// By writer. Records that came without a number (from Zeek) are under the nil ID.
    pub writers: BTreeMap<EndpointId, WriterAudit>,
    /// Whole lines that are in a file and in no journal: written by a logger that was killed before it could say so.
    pub unacknowledged: u64,
}

/// What the log files hold of one writer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriterAudit {
    /// Distinct records.
    pub records: u64,
    /// Records that are there once more.
    pub duplicates: u64,
}

impl LogAudit {
    /// Distinct records of all writers.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.writers.values().map(|writer| writer.records).sum()
    }

    /// Records that are in the files more than once: each time but the first.
    #[must_use]
    pub fn duplicates(&self) -> u64 {
        self.writers
            .values()
            .map(|writer| writer.duplicates)
            .sum::<u64>()
            + self.unacknowledged
    }
}

/// Counts the records in the files of all loggers below `log_dir`, each in its directory. Exact once the loggers have
/// closed or are dead; blocks on files. Rotated files count too, wherever they have gone, as long as the list of their
/// batches is kept.
///
/// # Errors
/// A directory or file cannot be read, or a journal is damaged.
pub fn audit_logs(log_dir: &Path) -> io::Result<LogAudit> {
    audit_where(log_dir, |_| true)
}

/// The same for the logs of one path, such as `conn`.
///
/// # Errors
/// See [`audit_logs`].
pub fn audit_log(log_dir: &Path, path: &str) -> io::Result<LogAudit> {
    audit_where(log_dir, |name| {
        // What follows is a suffix or the time of a rotation, which names for the archiver put behind two underscores.
        name.strip_prefix(path).is_some_and(|rest| {
            let time = rest.strip_prefix("__").unwrap_or_default();
            time.starts_with(|next: char| next.is_ascii_digit())
                || !rest.starts_with(|next: char| next.is_alphanumeric() || next == '_')
        })
    })
}

fn audit_where(log_dir: &Path, counts: impl Fn(&str) -> bool) -> io::Result<LogAudit> {
    let mut audit = LogAudit::default();
    let mut seen: HashSet<(EndpointId, u64)> = HashSet::new();
    for node in std::fs::read_dir(log_dir)? {
        let node = node?.path();
        if !node.is_dir() {
            continue;
        }
        for entry in std::fs::read_dir(&node)? {
            let journal_path = entry?.path();
            let name = journal_path.file_name().unwrap_or_default();
            if counts(&name.to_string_lossy())
                && journal_path
                    .extension()
                    .is_some_and(|suffix| suffix == journal::SUFFIX)
            {
                audit_file(&journal_path, &mut seen, &mut audit)?;
            }
        }
    }
    Ok(audit)
}

fn audit_file(
    journal_path: &Path,
    seen: &mut HashSet<(EndpointId, u64)>,
    audit: &mut LogAudit,
) -> io::Result<()> {
    let mut summary = Summary::default();
    journal::read(journal_path, |entry| {
        if let Entry::Batch {
            writer,
            number,
            records,
            ..
        } = &entry
        {
            let (writer, number) = (*writer, *number);
            let counted = audit.writers.entry(writer).or_default();
            if writer.is_nil() || seen.insert((writer, number)) {
                counted.records += *records;
            } else {
                counted.duplicates += *records;
            }
        }
        summary.take(entry);
    })?;
    let path = summary.suffix.beside(journal_path);
    match summary.last {
        Some(Entry::Open { offset, .. } | Entry::Batch { offset, .. }) if path.exists() => {
            audit.unacknowledged += lines_behind(&path, offset)?;
        }
        _ => {}
    }
    Ok(())
}

/// Whole lines behind `offset` that are no header or footer.
fn lines_behind(path: &Path, offset: u64) -> io::Result<u64> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    let mut lines = 0;
    while reader.read_until(b'\n', &mut line)? > 0 {
        lines += u64::from(line.ends_with(b"\n") && !line.starts_with(b"#"));
        line.clear();
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use jiff::Timestamp;

    use super::super::file::{LogFile, Mark};
    use super::super::suffix::LogSuffix;
    use super::*;

    fn mark(writer: u8, number: u64, records: u64, end: usize) -> Mark {
        Mark {
            writer: EndpointId::from_bytes([writer; 16]),
            number,
            records,
            end,
        }
    }

    #[test]
    fn a_batch_in_two_files_counts_once_and_unnoted_lines_are_duplicates() {
        let dir = tempfile::tempdir().unwrap();
        for logger in ["logger-1", "logger-2"] {
            fs::create_dir(dir.path().join(logger)).unwrap();
        }
        let mut first = LogFile::open(
            &dir.path().join("logger-1"),
            "conn",
            &LogSuffix::default(),
            b"#h\n",
            Timestamp::UNIX_EPOCH,
        )
        .unwrap();
        first
            .append(b"a\nb\nc\n", &[mark(1, 1, 2, 4), mark(0, 0, 1, 6)])
            .unwrap();
        drop(first);
        let killed = dir.path().join("logger-1/conn.log");
        let mut text = fs::read(&killed).unwrap();
        text.extend_from_slice(b"d\ne");
        fs::write(&killed, text).unwrap();
        let mut second = LogFile::open(
            &dir.path().join("logger-2"),
            "conn",
            &LogSuffix::default(),
            b"#h\n",
            Timestamp::UNIX_EPOCH,
        )
        .unwrap();
        second
            .append(b"a\nb\nd\ne\n", &[mark(1, 1, 2, 4), mark(1, 2, 2, 8)])
            .unwrap();
        second.close(b"#close\n").unwrap();
        fs::write(dir.path().join("cluster.toml"), "").unwrap();

        let audit = audit_logs(dir.path()).unwrap();
        assert_eq!(
            (audit.records(), audit.duplicates(), audit.unacknowledged),
            (5, 3, 1)
        );
        let writer = audit.writers[&EndpointId::from_bytes([1; 16])];
        assert_eq!(
            writer,
            WriterAudit {
                records: 4,
                duplicates: 2
            }
        );
    }

    #[test]
    fn one_log_may_be_counted_alone() {
        let dir = tempfile::tempdir().unwrap();
        let logger = dir.path().join("logger-1");
        fs::create_dir(&logger).unwrap();
        let rotated = "conn__2026-11-27-09-00-00__2026-11-27-10-00-00__log_suffix=logger-1__";
        for (path, records) in [("conn", 2), ("conn_long", 1), (rotated, 4)] {
            let suffix = LogSuffix::default();
            let mut file =
                LogFile::open(&logger, path, &suffix, b"#h\n", Timestamp::UNIX_EPOCH).unwrap();
            file.append(b"a\nb\n", &[mark(1, records, records, 4)])
                .unwrap();
        }
        let records = |path| audit_log(dir.path(), path).unwrap().records();
        assert_eq!(
            (records("conn"), records("conn_long"), records("dns")),
            (6, 1, 0)
        );
        assert_eq!(audit_logs(dir.path()).unwrap().records(), 7);
    }

    #[test]
    fn lines_that_are_not_noted_are_found_whatever_the_file_s_name_ends_with() {
        let dir = tempfile::tempdir().unwrap();
        let logger = dir.path().join("logger-1");
        fs::create_dir(&logger).unwrap();
        let suffix: LogSuffix = "json".parse().unwrap();
        let mut file = LogFile::open(&logger, "conn", &suffix, b"", Timestamp::UNIX_EPOCH).unwrap();
        file.append(b"a\n", &[mark(1, 1, 1, 2)]).unwrap();
        drop(file);
        fs::write(logger.join("conn.json"), "a\nb\nc\n").unwrap();
        let audit = audit_log(dir.path(), "conn").unwrap();
        assert_eq!((audit.records(), audit.unacknowledged), (1, 2));
    }

    #[test]
    fn a_missing_directory_is_an_error() {
        assert!(audit_logs(Path::new("/no/such/dir")).is_err());
    }
}
