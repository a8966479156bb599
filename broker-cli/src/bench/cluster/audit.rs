//! The files of all loggers, read line by line: which record of which worker is there, and how often.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use anyhow::Context as _;
use broker_cluster::logging::audit_log;
use serde::Serialize;

use super::plan::Plan;
use super::role::{NUMBER_COLUMN, PATH, WORKER_COLUMN};

/// What is in the files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Audit {
    /// Different records.
    pub(super) distinct: u64,
    /// Lines with a record that another line has too: each but the first.
    pub(super) duplicates: u64,
    /// Records of the plan that are nowhere.
    pub(super) missing: u64,
    /// Lines that are no record of the plan.
    pub(super) foreign: u64,
    /// Records that are there once more as the loggers' journals have it, by the numbers of batches.
    pub(super) duplicates_by_batch: u64,
}

/// Reads what the loggers below `directory` have written. Blocks on files.
pub(super) fn audit(directory: &Path, loggers: &[String], plan: &Plan) -> anyhow::Result<Audit> {
    let mut seen = Seen::new(plan);
    for logger in loggers {
        let directory = directory.join(logger);
        let entries = std::fs::read_dir(&directory)
            .with_context(|| format!("cannot read {}", directory.display()))?;
        for entry in entries {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with(PATH) && name.ends_with(".log") {
                seen.file(&path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
            }
        }
    }
    let by_batch = audit_log(directory, PATH).context("cannot read the journals of the loggers")?;
    Ok(Audit {
        duplicates_by_batch: by_batch.duplicates(),
        ..seen.audit()
    })
}

/// How often each record was seen, up to 255 times.
struct Seen {
    workers: BTreeMap<String, Vec<u8>>,
    foreign: u64,
    lines: u64,
}

impl Seen {
    fn new(plan: &Plan) -> Self {
        let times = |worker: &String| {
            let records = plan.share(worker).map_or(0, |share| share.records);
            vec![0; usize::try_from(records).unwrap_or(usize::MAX)]
        };
        let workers = plan.workers.iter();
        Self {
            workers: workers.map(|name| (name.clone(), times(name))).collect(),
            foreign: 0,
            lines: 0,
        }
    }

    fn file(&mut self, path: &Path) -> std::io::Result<()> {
        let mut reader = BufReader::with_capacity(1 << 18, File::open(path)?);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line)? > 0 {
            if !line.starts_with(b"#") {
                self.line(&line);
            }
            line.clear();
        }
        Ok(())
    }

    fn line(&mut self, line: &[u8]) {
        let text = std::str::from_utf8(line)
            .ok()
            .and_then(|line| line.strip_suffix('\n'));
        let found = text.and_then(|text| {
            let columns: Vec<&str> = text.splitn(NUMBER_COLUMN + 2, '\t').collect();
            let number = columns.get(NUMBER_COLUMN)?.parse::<usize>().ok()?;
            let worker = self.workers.get_mut(*columns.get(WORKER_COLUMN)?)?;
            worker.get_mut(number.checked_sub(1)?)
        });
        match found {
            Some(times) => {
                *times = times.saturating_add(1);
                self.lines += 1;
            }
            None => self.foreign += 1,
        }
    }

    fn audit(&self) -> Audit {
        let records = self.workers.values().flatten();
        let (mut distinct, mut missing) = (0, 0);
        for times in records {
            distinct += u64::from(*times > 0);
            missing += u64::from(*times == 0);
        }
        Audit {
            distinct,
            duplicates: self.lines - distinct,
            missing,
            foreign: self.foreign,
            duplicates_by_batch: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn every_line_is_a_record_a_record_again_or_foreign() {
        let plan = Plan {
            workers: vec!["worker-1".to_owned(), "worker-2".to_owned()],
            proxies: Vec::new(),
            records: 5,
            keyed: 0,
            orders: 0,
            losses: Vec::new(),
            directory: PathBuf::new(),
        };
        let mut seen = Seen::new(&plan);
        for line in [
            "1.0\tworker-1\t1\tx\n",
            "1.0\tworker-1\t3\tx\n",
            "1.0\tworker-2\t2\tx\n",
            "1.0\tworker-2\t2\tx\n",
            "1.0\tworker-2\t3\tx\n", // it has two
            "1.0\tworker-2\t0\tx\n",
            "1.0\tworker-3\t1\tx\n",
            "1.0\tworker-1\t1", // cut off
        ] {
            seen.line(line.as_bytes());
        }
        let expected = Audit {
            distinct: 3,
            duplicates: 1,
            missing: 2,
            foreign: 4,
            duplicates_by_batch: 0,
        };
        assert_eq!(seen.audit(), expected);
    }
}
