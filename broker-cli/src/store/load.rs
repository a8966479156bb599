//! `load`: puts the entries of a dump.
//!
//! Over `grpc://` they go in requests of many, each of which a store applies together; to nodes that do not know those,
//! and over `broker://`, as single writes of which many are under way.

use std::collections::{HashSet, VecDeque};

use anyhow::Context as _;
use broker_core::{Data, StoreEntry};
use broker_wire::{LoadError, Loaded, StoreLoad};
use tokio::sync::mpsc;

use super::Remote;
use super::dump::{Pages, Progress, entries_text, read_entry};
use super::one_by_one::OneByOne;
use crate::input::each_line;
use crate::supervisor::eprintln_line;
use crate::value;

/// What becomes of what is in the store already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Existing {
    /// The input's entries replace it, other keys stay.
    #[default]
    Overwrite,
    /// It stays; only keys that are free are filled.
    Keep,
    /// Keys that are not in the input are erased once all of it is stored.
    Replace,
}

/// Puts the entries of stdin. The first bad line or refused entry ends it; what was put before stays, and loading the same
/// again does no harm.
pub(super) async fn load(remote: &Remote, existing: Existing) -> anyhow::Result<()> {
    let keep = existing == Existing::Keep;
    let mut writer = match remote.door.load(keep).await? {
        Some(load) => Writer::Together(Box::new(Together::new(remote, load))),
        None => Writer::OneByOne(OneByOne::new(remote, keep)),
    };
    let (sender, mut entries) = mpsc::channel(READ_AHEAD);
    let reader = tokio::task::spawn_blocking(move || {
        each_line(std::io::stdin().lock(), read_entry, |line, entry| {
            sender.blocking_send((line, entry)).is_ok()
        })
    });
    let mut progress = Progress::new("loaded");
    let mut seen = HashSet::new();
    loop {
        let next = tokio::select! {
            biased;
            next = entries.recv() => next,
            // While the input has a pause.
            sent = writer.send_when_idle(), if writer.has_collected() => {
                sent?;
                continue;
            }
        };
        let Some((line, entry)) = next else { break };
        if existing == Existing::Replace {
            seen.insert(entry.key.clone());
        }
        writer.put(line, entry).await?;
        progress.show(writer.loaded().total());
    }
    let mut loaded = writer.finish().await?;
    // Before anything is erased: input that was cut short must not empty a store.
    reader.await.context("reading stdin")??;
    if existing == Existing::Replace {
        erase_others(remote, &mut writer, &seen).await?;
        loaded = writer.finish().await?;
    }
    progress.finish();
    let mut told = format!("loaded {}", entries_text(loaded.stored));
    if loaded.kept > 0 {
        told.push_str(&format!(", kept {} that were there", loaded.kept));
    }
    if loaded.erased > 0 {
        let erased = loaded.erased;
        told.push_str(&format!(", erased {erased} that were not in the input"));
    }
    eprintln_line(&told);
    Ok(())
}

/// Erases every key that is not among `wanted`.
async fn erase_others(
    remote: &Remote,
    writer: &mut Writer<'_>,
    wanted: &HashSet<Data>,
) -> anyhow::Result<()> {
    let mut pages = Pages::default();
    while let Some(entries) = pages.next(remote).await? {
        for entry in entries {
            if !wanted.contains(&entry.key) {
                writer.erase(entry.key).await?;
            }
        }
    }
    Ok(())
}

/// The way entries go.
enum Writer<'a> {
    Together(Box<Together<'a>>),
    OneByOne(OneByOne<'a>),
}

impl Writer<'_> {
    async fn put(&mut self, line: u64, entry: StoreEntry) -> anyhow::Result<()> {
        match self {
            Self::Together(writer) => writer.put(line, entry).await,
            Self::OneByOne(writer) => writer.put(line, entry).await,
        }
    }

    async fn erase(&mut self, key: Data) -> anyhow::Result<()> {
        match self {
            Self::Together(writer) => writer.erase(key).await,
            Self::OneByOne(writer) => writer.erase(key).await,
        }
    }

    /// Whether there is something that waits for more to go with it.
    fn has_collected(&self) -> bool {
        match self {
            Self::Together(writer) => writer.load.has_collected(),
            Self::OneByOne(_) => false,
        }
    }

    async fn send_when_idle(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Together(writer) => writer.send_when_idle().await,
            Self::OneByOne(_) => Ok(()),
        }
    }

    fn loaded(&self) -> Loaded {
        match self {
            Self::Together(writer) => writer.load.loaded(),
            Self::OneByOne(writer) => writer.loaded(),
        }
    }

    /// Waits until all is done.
    async fn finish(&mut self) -> anyhow::Result<Loaded> {
        match self {
            Self::Together(writer) => writer.finish().await,
            Self::OneByOne(writer) => writer.finish().await,
        }
    }
}

/// Many at a time.
struct Together<'a> {
    remote: &'a Remote,
    load: StoreLoad,
    /// What is not confirmed, in the order it was given: what an error would be about. As much as may be under way.
    items: VecDeque<Item>,
    /// How much was confirmed, and is not in `items` any more.
    confirmed: u64,
}

/// An entry to put, with its line, or a key to erase.
struct Item {
    line: Option<u64>,
    key: Data,
}

impl<'a> Together<'a> {
    fn new(remote: &'a Remote, load: StoreLoad) -> Self {
        Self {
            remote,
            load,
            items: VecDeque::new(),
            confirmed: 0,
        }
    }

    async fn put(&mut self, line: u64, entry: StoreEntry) -> anyhow::Result<()> {
        let result = self.load.put(&entry).await;
        self.remember(Some(line), entry.key);
        self.settled(result)
    }

    async fn erase(&mut self, key: Data) -> anyhow::Result<()> {
        let result = self.load.erase(&key).await;
        self.remember(None, key);
        self.settled(result)
    }

    async fn send_when_idle(&mut self) -> anyhow::Result<()> {
        let result = self.load.send_when_idle().await;
        self.settled(result)
    }

    async fn finish(&mut self) -> anyhow::Result<Loaded> {
        let result = self.load.finish().await;
        self.settled(result)
    }

    fn remember(&mut self, line: Option<u64>, key: Data) {
        self.items.push_back(Item { line, key });
    }

    fn settled<T>(&mut self, result: Result<T, LoadError>) -> anyhow::Result<T> {
        match result {
            Ok(done) => {
                let confirmed = self.load.loaded().total();
                while self.confirmed < confirmed && self.items.pop_front().is_some() {
                    self.confirmed += 1;
                }
                Ok(done)
            }
            Err(LoadError { item, error }) => {
                let index = item.and_then(|item| item.checked_sub(self.confirmed));
                let item = index.and_then(|index| self.items.get(usize::try_from(index).ok()?));
                let what = match item {
                    Some(Item { line, key }) => what(*line, key),
                    None => format!("the load ended ({AGAIN})"),
                };
                Err(self.remote.door.explain(*error)).context(what)
            }
        }
    }
}

/// What failed, and what is true then.
pub(super) fn what(line: Option<u64>, key: &Data) -> String {
    let key = value::print(key);
    match line {
        Some(line) => format!("stdin:{line}: put {key} ({AGAIN})"),
        None => format!("erase {key}"),
    }
}

const AGAIN: &str = "what was stored before stays; loading all of it again does no harm";

/// Entries read and not given to the writer.
const READ_AHEAD: usize = 128;
