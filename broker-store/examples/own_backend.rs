//! A storage backend of one's own: a journal of lines in a text file, replayed when it is opened.
//!
//! `cargo run -p broker-store --example own_backend`. It shows the whole trait and passes the suite that all backends pass;
//! what it does not do is compact its journal.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::ops::Bound;
use std::path::Path;

use broker_core::{Data, Endpoint, Timestamp, json};
use broker_store::backend::{KeyBytes, decode_key, key_bytes};
use broker_store::{Backend, BackendError, Entry, MasterOptions, Mutation, StoreExt, conformance};

struct Journal {
    file: File,
    /// Where the last complete batch ends; what is behind it is a batch that failed.
    end: u64,
    entries: BTreeMap<KeyBytes, Entry>,
    notes: BTreeMap<String, Vec<u8>>,
}

impl Journal {
    fn open(path: &Path) -> Result<Self, BackendError> {
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)
            .map_err(BackendError::engine)?;
        let mut journal = Self {
            file,
            end: 0,
            entries: BTreeMap::new(),
            notes: BTreeMap::new(),
        };
        let (mut batch, mut read) = (Vec::new(), 0);
        let reader = BufReader::new(journal.file.try_clone().map_err(BackendError::engine)?);
        for line in reader.lines() {
            let line = line.map_err(BackendError::engine)?;
            read += line.len() as u64 + 1;
            // Only a batch that has its end was written completely.
            if line == "end" {
                std::mem::take(&mut batch)
                    .iter()
                    .for_each(|mutation| journal.remember(mutation));
                journal.end = read;
            } else if let Ok(mutation) = parse(&line) {
                batch.push(mutation);
            } else {
                break;
            }
        }
        journal
            .file
            .set_len(journal.end)
            .map_err(BackendError::engine)?;
        Ok(journal)
    }

    fn remember(&mut self, mutation: &Mutation) {
        match mutation {
            Mutation::Put {
                key,
                value,
                expires_at,
            } => {
                self.entries.insert(
                    key_bytes(key),
                    Entry {
                        value: value.clone(),
                        expires_at: *expires_at,
                    },
                );
            }
            Mutation::Erase { key } => {
                self.entries.remove(&key_bytes(key));
            }
            Mutation::Clear => self.entries.clear(),
            Mutation::Note { name, value } => {
                match value {
                    Some(value) => self.notes.insert(name.clone(), value.clone()),
                    None => self.notes.remove(name),
                };
            }
        }
    }
}

impl Backend for Journal {
    fn apply(&mut self, batch: &[Mutation]) -> Result<(), BackendError> {
        let mut lines: String = batch.iter().map(print).collect();
        lines.push_str("end\n");
        let written = self
            .file
            .write_all(lines.as_bytes())
            .and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            self.file.set_len(self.end).map_err(BackendError::engine)?;
            return Err(BackendError::engine(error));
        }
        self.end += lines.len() as u64;
        batch.iter().for_each(|mutation| self.remember(mutation));
        Ok(())
    }

    fn get(&self, key: &Data) -> Result<Option<Entry>, BackendError> {
        Ok(self.entries.get(&key_bytes(key)).cloned())
    }

    fn scan(&self, after: Option<&Data>, limit: usize) -> Result<Vec<(Data, Entry)>, BackendError> {
        let start = after
            .map(key_bytes)
            .map_or(Bound::Unbounded, Bound::Excluded);
        let page = self.entries.range((start, Bound::Unbounded)).take(limit);
        page.map(|(key, entry)| Ok((decode_key(key)?, entry.clone())))
            .collect()
    }

    fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Data>, BackendError> {
        // Good enough for a few thousand entries; a real backend keeps an index of deadlines.
        let mut due: Vec<_> = self
            .entries
            .iter()
            .filter_map(|(key, entry)| Some((entry.expires_at?, key)))
            .filter(|(at, _)| *at < now)
            .collect();
        due.sort();
        due.into_iter()
            .take(limit)
            .map(|(_, key)| decode_key(key))
            .collect()
    }

    fn note(&self, name: &str) -> Result<Option<Vec<u8>>, BackendError> {
        Ok(self.notes.get(name).cloned())
    }

    fn len(&self) -> Result<u64, BackendError> {
        Ok(self.entries.len() as u64)
    }

    fn name(&self) -> &str {
        "journal"
    }
}

/// One mutation a line: a vector of its parts, as JSON.
fn print(mutation: &Mutation) -> String {
    let parts = match mutation {
        Mutation::Put {
            key,
            value,
            expires_at,
        } => vec![
            "put".into(),
            key.clone(),
            value.clone(),
            (*expires_at).into(),
        ],
        Mutation::Erase { key } => vec!["erase".into(), key.clone()],
        Mutation::Clear => vec!["clear".into()],
        Mutation::Note { name, value } => vec![
            "note".into(),
            name.as_str().into(),
            value.clone().map_or(Data::None, Data::from),
        ],
    };
    json::to_string(&Data::Vector(parts)) + "\n"
}

fn parse(line: &str) -> Result<Mutation, BackendError> {
    let data = json::parse_value(line.as_bytes()).map_err(BackendError::engine)?;
    match data.as_vector() {
        Some([kind, key, value, at]) if *kind == "put".into() => Ok(Mutation::Put {
            key: key.clone(),
            value: value.clone(),
            expires_at: at.as_timestamp(),
        }),
        Some([kind, key]) if *kind == "erase".into() => Ok(Mutation::Erase { key: key.clone() }),
        Some([kind, name, value]) if *kind == "note".into() => Ok(Mutation::Note {
            name: name
                .as_string()
                .map(|name| name.to_str_lossy().into_owned())
                .unwrap_or_default(),
            value: value.as_string().map(|bytes| bytes.to_vec()),
        }),
        Some([kind]) if *kind == "clear".into() => Ok(Mutation::Clear),
        _ => Err(BackendError::engine(format!(
            "not a line of a journal: {line}"
        ))),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let mut files = 0;
    conformance::run(|| {
        files += 1;
        Journal::open(&dir.path().join(format!("{files}.journal")))
            .expect("a temporary directory takes files")
    });
    println!("the journal does what a backend must do");

    let path = dir.path().join("hosts.journal");
    for round in 1..=2 {
        let node = Endpoint::builder().name("manager").start();
        let hosts = node
            .attach_master("hosts", Journal::open(&path)?, MasterOptions::default())
            .await?;
        hosts.increment("rounds", 1u64, None).await?;
        println!(
            "round {round}: {:?} in {} bytes",
            hosts.get("rounds").await?,
            std::fs::metadata(&path)?.len()
        );
        node.shutdown().await;
    }
    Ok(())
}
