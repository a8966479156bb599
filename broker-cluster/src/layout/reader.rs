//! From text to [`Layout`]: every value with its place, so that an error can name the line.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::{Path, PathBuf};

use broker_core::{PeerUrl, QueueOptions};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::check;
use super::error::{LayoutError, LayoutProblem};
use super::{Layout, NodeSpec, StoreSpec};
use crate::log::{LogFormat, is_file_stem};
use crate::pools::{PoolSpec, Strategy};
use crate::role::Role;

const SECTIONS: &[&str] = &["cluster", "stores", "node", "pools"];
const CLUSTER_KEYS: &[&str] = &["name", "log_dir", "log_format"];
const STORE_KEYS: &[&str] = &[
    "backend",
    "path",
    "journal_mode",
    "synchronous",
    "failure_mode",
    "integrity_check",
];
const NODE_KEYS: &[&str] = &[
    "role",
    "listen",
    "advertise",
    "host",
    "queue_messages",
    "queue_bytes",
    "queue_policy",
    "weight",
];
const POOL_KEYS: &[&str] = &["topic", "role", "max_nodes", "exclusive", "strategy"];
const SCHEMES: &[&str] = &["grpc", "grpcs", "broker", "brokers", "ws", "wss", "mem"];

/// A node and where the file speaks of it.
pub(super) struct PlacedNode {
    pub(super) spec: NodeSpec,
    pub(super) table: String,
    pub(super) line: usize,
    /// The line of each `listen` entry.
    pub(super) listen_lines: Vec<usize>,
    /// The line of the first entry others dial.
    pub(super) dial_line: usize,
}

pub(super) fn read(text: &str, path: &Path) -> Result<Layout, LayoutError> {
    let source = Source { file: path, text };
    let document = DeTable::parse(text).map_err(|error| {
        let reason = error
            .message()
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned();
        source.error(
            error.span().unwrap_or_default(),
            LayoutProblem::Syntax { reason },
        )
    })?;
    let root = Table {
        source,
        name: "the file".to_owned(),
        span: 0..0,
        entries: document.get_ref(),
    };
    root.only(SECTIONS)?;

    let cluster = root.table("cluster", "[cluster]".to_owned())?;
    let base = path.parent().unwrap_or_else(|| Path::new(""));
    let (name, log_dir, log_format) = match &cluster {
        Some(cluster) => {
            cluster.only(CLUSTER_KEYS)?;
            (
                cluster.string("name")?,
                cluster.string("log_dir")?,
                cluster.word("log_format", &["tsv", "json"])?,
            )
        }
        None => (None, None, None),
    };
    let nodes = root.named("node", |table, name| node(&table, name))?;
    check::nodes(&source, &nodes)?;
    let stores = root.named("stores", |table, name| store(&table, name, base))?;
    let pools = pools(&root)?;

    let nodes: BTreeMap<String, NodeSpec> = nodes
        .into_iter()
        .map(|node| (node.spec.name.clone(), node.spec))
        .collect();
    let members = Layout::allocate(&pools.specs, &nodes).map_err(|source_error| {
        root.source.at_line(
            pools.line_of(&source_error),
            LayoutProblem::Pools {
                source: source_error,
            },
        )
    })?;
    Ok(Layout {
        name: name.map_or_else(
            || {
                path.file_stem()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned()
            },
            |name| name.text.to_owned(),
        ),
        log_dir: base.join(log_dir.map_or("logs", |dir| dir.text)),
        log_format: if log_format.is_some_and(|word| word.text == "json") {
            LogFormat::Json
        } else {
            LogFormat::Tsv
        },
        file: path.to_owned(),
        stores,
        nodes,
        pools: pools.specs,
        members,
    })
}

fn node(table: &Table<'_>, name: &str) -> Result<PlacedNode, LayoutError> {
    table.only(NODE_KEYS)?;
    let role = table.role()?;
    let (listen, listen_lines) = table.urls("listen")?;
    let (advertise, advertise_lines) = table.urls("advertise")?;
    let dial_line = advertise_lines
        .first()
        .or_else(|| listen_lines.first())
        .copied()
        .unwrap_or_else(|| table.line());
    let mut queue = QueueOptions::peer();
    if let Some(messages) = table.positive("queue_messages")? {
        queue = queue.max_messages(messages);
    }
    if let Some(bytes) = table.positive("queue_bytes")? {
        queue = queue.max_bytes(bytes);
    }
    if let Some(policy) = table.word(
        "queue_policy",
        &["block", "drop_oldest", "drop_newest", "disconnect"],
    )? {
        queue = queue.policy(
            policy
                .text
                .parse()
                .expect("only the names of policies are accepted"),
        );
    }
    Ok(PlacedNode {
        spec: NodeSpec {
            name: name.to_owned(),
            role,
            listen,
            advertise,
            host: table.string("host")?.map(|host| host.text.to_owned()),
            queue,
            weight: table.positive("weight")?.map_or(1, NonZeroUsize::get),
        },
        table: table.name.clone(),
        line: table.line(),
        listen_lines,
        dial_line,
    })
}

fn store(table: &Table<'_>, name: &str, base: &Path) -> Result<StoreSpec, LayoutError> {
    table.only(STORE_KEYS)?;
    let backend = match table.string("backend")? {
        None => "memory",
        Some(word) => backend(table, &word)?,
    };
    let mut options = Vec::new();
    let accepted: &[&str] = match backend {
        "sqlite" => &STORE_KEYS[1..],
        "sled" => &["path"],
        _ => &[],
    };
    for key in &STORE_KEYS[1..] {
        let value = match *key {
            "integrity_check" => table
                .boolean(key)?
                .map(|(value, span)| (value.to_string(), span)),
            "path" => table.string(key)?.map(|path| {
                (
                    base.join(path.text).to_string_lossy().into_owned(),
                    path.span,
                )
            }),
            "journal_mode" => table.word(key, &["delete", "wal"])?.map(Text::owned),
            "synchronous" => table
                .word(key, &["off", "normal", "full", "extra"])?
                .map(Text::owned),
            _ => table.word(key, &["fail", "delete"])?.map(Text::owned),
        };
        let Some((value, span)) = value else { continue };
        if !accepted.contains(key) {
            let problem = LayoutProblem::NotForBackend {
                table: table.name.clone(),
                key: (*key).to_owned(),
                backend,
            };
            return Err(table.source.error(span, problem));
        }
        options.push((*key, value));
    }
    if !accepted.is_empty() && !options.iter().any(|(key, _)| *key == "path") {
        options.insert(
            0,
            (
                "path",
                default_path(base, name, backend)
                    .to_string_lossy()
                    .into_owned(),
            ),
        );
    }
    Ok(StoreSpec {
        name: name.to_owned(),
        backend,
        options,
    })
}

fn default_path(base: &Path, name: &str, backend: &str) -> PathBuf {
    base.join(format!("{name}.{backend}"))
}

fn backend(table: &Table<'_>, word: &Text<'_>) -> Result<&'static str, LayoutError> {
    let not_built = |backend| {
        let problem = LayoutProblem::BackendNotBuilt {
            table: table.name.clone(),
            backend,
            feature: backend,
        };
        Err(table.source.error(word.span.clone(), problem))
    };
    match word.text {
        "memory" => Ok("memory"),
        "sqlite" if cfg!(feature = "sqlite") => Ok("sqlite"),
        "sqlite" => not_built("sqlite"),
        "sled" if cfg!(feature = "sled") => Ok("sled"),
        "sled" => not_built("sled"),
        other => {
            let problem = LayoutProblem::UnknownBackend {
                table: table.name.clone(),
                word: shortened(other),
            };
            Err(table.source.error(word.span.clone(), problem))
        }
    }
}

/// The pools of the file beside the default ones, and the line of each that is in the file.
struct Pools {
    specs: Vec<PoolSpec>,
    lines: BTreeMap<String, usize>,
}

impl Pools {
    /// The line of the pool an error is about, as far as it names one.
    fn line_of(&self, error: &crate::pools::AllocationError) -> Option<usize> {
        use crate::pools::AllocationError as E;
        match error {
            E::Unbounded { pool } | E::Role { pool, .. } => self.lines.get(pool),
            E::SameTopic { first, second, .. } => self.lines.get(first).max(self.lines.get(second)),
            E::NotEnough { role, .. } => {
                let of_role = self
                    .specs
                    .iter()
                    .filter(|spec| spec.role == *role && spec.exclusive);
                of_role.filter_map(|spec| self.lines.get(&spec.name)).max()
            }
        }
        .copied()
    }
}

fn pools(root: &Table<'_>) -> Result<Pools, LayoutError> {
    let mut specs: Vec<PoolSpec> = PoolSpec::defaults().into();
    let mut lines = BTreeMap::new();
    for (spec, line) in root.named("pools", |table, name| {
        pool(&table, name).map(|spec| (spec, table.line()))
    })? {
        lines.insert(spec.name.clone(), line);
        match specs.iter_mut().find(|other| other.name == spec.name) {
            Some(default) => *default = spec,
            None => specs.push(spec),
        }
    }
    Ok(Pools { specs, lines })
}

fn pool(table: &Table<'_>, name: &str) -> Result<PoolSpec, LayoutError> {
    table.only(POOL_KEYS)?;
    let default = PoolSpec::defaults()
        .into_iter()
        .find(|spec| spec.name == name);
    let topic = table.string("topic")?;
    if let Some(topic) = topic.as_ref().filter(|topic| {
        topic.text.is_empty() || topic.text.len() > MAX_TOPIC || topic.text.starts_with("<$>")
    }) {
        return Err(table.source.error(
            topic.span.clone(),
            LayoutProblem::OutOfRange {
                table: table.name.clone(),
                key: "topic".to_owned(),
                value: format!("{:?}", shortened(topic.text)),
                expected: "1 to 1024 bytes that do not start with <$>",
            },
        ));
    }
    let topic = match (topic, &default) {
        (Some(topic), _) => topic.text.to_owned(),
        (None, Some(default)) => default.topic.clone(),
        (None, None) => return Err(table.missing("topic", "topic = \"zeek/cluster/pool/NAME\"")),
    };
    let role = match &default {
        Some(default) if !table.entries.contains_key("role") => default.role,
        _ => table.role()?,
    };
    let strategy = match table.word("strategy", &["zeek", "weighted"])? {
        Some(word) if word.text == "weighted" => Strategy::Weighted,
        _ => Strategy::Zeek,
    };
    Ok(PoolSpec {
        name: name.to_owned(),
        topic,
        role,
        max_nodes: table.number("max_nodes")?,
        exclusive: table.boolean("exclusive")?.is_some_and(|(value, _)| value),
        strategy,
    })
}

/// The text and the file it came from.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    file: &'a Path,
    text: &'a str,
}

impl Source<'_> {
    fn line(&self, span: &Range<usize>) -> usize {
        let before = self
            .text
            .as_bytes()
            .get(..span.start)
            .unwrap_or(self.text.as_bytes());
        1 + memchr::memchr_iter(b'\n', before).count()
    }

    fn error(&self, span: Range<usize>, problem: LayoutProblem) -> LayoutError {
        self.at_line(Some(self.line(&span)), problem)
    }

    pub(super) fn at_line(&self, line: Option<usize>, problem: LayoutProblem) -> LayoutError {
        LayoutError::new(self.file, line, problem)
    }
}

/// A text value and its place.
struct Text<'a> {
    text: &'a str,
    span: Range<usize>,
}

impl Text<'_> {
    fn owned(self) -> (String, Range<usize>) {
        (self.text.to_owned(), self.span)
    }
}

/// A table of the file, with the name errors call it by.
struct Table<'a> {
    source: Source<'a>,
    name: String,
    span: Range<usize>,
    entries: &'a DeTable<'a>,
}

impl<'a> Table<'a> {
    fn line(&self) -> usize {
        self.source.line(&self.span)
    }

    /// Refuses keys that are not in `known`.
    fn only(&self, known: &'static [&'static str]) -> Result<(), LayoutError> {
        let unknown = self
            .entries
            .keys()
            .filter(|key| !known.contains(&key.get_ref().as_ref()))
            .min_by_key(|key| key.span().start);
        match unknown {
            None => Ok(()),
            Some(key) => Err(self.source.error(
                key.span(),
                LayoutProblem::UnknownKey {
                    key: shortened(key.get_ref()),
                    table: self.name.clone(),
                    known,
                },
            )),
        }
    }

    fn value(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.entries.get(key)
    }

    fn wrong(
        &self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        expected: &'static str,
    ) -> LayoutError {
        let problem = LayoutProblem::WrongType {
            table: self.name.clone(),
            key: key.to_owned(),
            found: described(value.get_ref()),
            expected,
        };
        self.source.error(value.span(), problem)
    }

    fn missing(&self, key: &'static str, example: &'static str) -> LayoutError {
        self.source.error(
            self.span.clone(),
            LayoutProblem::MissingKey {
                table: self.name.clone(),
                key,
                example,
            },
        )
    }

    fn table(&self, key: &str, name: String) -> Result<Option<Self>, LayoutError> {
        let Some(value) = self.value(key) else {
            return Ok(None);
        };
        match value.get_ref() {
            DeValue::Table(entries) => Ok(Some(Self {
                source: self.source,
                name,
                span: value.span(),
                entries,
            })),
            _ => Err(self.wrong(key, value, "a table")),
        }
    }

    /// The tables within the table `key`, in the order of their names.
    fn named<T>(
        &self,
        key: &str,
        read: impl Fn(Self, &str) -> Result<T, LayoutError>,
    ) -> Result<Vec<T>, LayoutError> {
        let Some(outer) = self.table(key, format!("[{key}]"))? else {
            return Ok(Vec::new());
        };
        let mut entries: Vec<_> = outer.entries.iter().collect();
        entries.sort_by_key(|(name, _)| name.span().start);
        entries
            .into_iter()
            .map(|(name, value)| {
                let text = name.get_ref().as_ref();
                if !is_file_stem(text) {
                    let what = if key == "node" {
                        "node"
                    } else if key == "stores" {
                        "store"
                    } else {
                        "pool"
                    };
                    return Err(self.source.error(
                        name.span(),
                        LayoutProblem::BadName {
                            what,
                            name: shortened(text),
                        },
                    ));
                }
                let DeValue::Table(entries) = value.get_ref() else {
                    return Err(outer.wrong(text, value, "a table"));
                };
                read(
                    Table {
                        source: self.source,
                        name: format!("[{key}.{text}]"),
                        span: name.span(),
                        entries,
                    },
                    text,
                )
            })
            .collect()
    }

    fn string(&self, key: &str) -> Result<Option<Text<'a>>, LayoutError> {
        let Some(value) = self.value(key) else {
            return Ok(None);
        };
        match value.get_ref() {
            DeValue::String(text) => Ok(Some(Text {
                text,
                span: value.span(),
            })),
            _ => Err(self.wrong(key, value, "a text in quotes")),
        }
    }

    fn boolean(&self, key: &str) -> Result<Option<(bool, Range<usize>)>, LayoutError> {
        let Some(value) = self.value(key) else {
            return Ok(None);
        };
        match value.get_ref() {
            DeValue::Boolean(flag) => Ok(Some((*flag, value.span()))),
            _ => Err(self.wrong(key, value, "true or false")),
        }
    }

    fn word(&self, key: &str, accepted: &[&str]) -> Result<Option<Text<'a>>, LayoutError> {
        let Some(text) = self.string(key)? else {
            return Ok(None);
        };
        if accepted.contains(&text.text) {
            return Ok(Some(text));
        }
        let problem = LayoutProblem::UnknownWord {
            table: self.name.clone(),
            key: key.to_owned(),
            word: shortened(text.text),
            accepted: accepted.join(", "),
        };
        Err(self.source.error(text.span, problem))
    }

    fn number(&self, key: &str) -> Result<Option<usize>, LayoutError> {
        let Some(value) = self.value(key) else {
            return Ok(None);
        };
        let DeValue::Integer(number) = value.get_ref() else {
            return Err(self.wrong(key, value, "a whole number"));
        };
        match usize::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(self.source.error(
                value.span(),
                LayoutProblem::OutOfRange {
                    table: self.name.clone(),
                    key: key.to_owned(),
                    value: shortened(&number.to_string()),
                    expected: "a whole number of 0 or more",
                },
            )),
        }
    }

    fn positive(&self, key: &str) -> Result<Option<NonZeroUsize>, LayoutError> {
        let Some(number) = self.number(key)? else {
            return Ok(None);
        };
        match NonZeroUsize::new(number) {
            Some(number) => Ok(Some(number)),
            None => Err(self.source.error(
                self.value(key).map_or(0..0, Spanned::span),
                LayoutProblem::OutOfRange {
                    table: self.name.clone(),
                    key: key.to_owned(),
                    value: "0".to_owned(),
                    expected: "a whole number of 1 or more",
                },
            )),
        }
    }

    fn role(&self) -> Result<Role, LayoutError> {
        let word = self
            .string("role")?
            .ok_or_else(|| self.missing("role", "role = \"worker\" (or manager, logger, proxy)"))?;
        word.text.parse().map_err(|source| {
            self.source.error(
                word.span,
                LayoutProblem::UnknownRole {
                    table: self.name.clone(),
                    source,
                },
            )
        })
    }

    /// A list of addresses (or a single one) and their lines.
    fn urls(&self, key: &str) -> Result<(Vec<PeerUrl>, Vec<usize>), LayoutError> {
        const EXPECTED: &str = "a list of addresses such as [\"grpc://127.0.0.1:9998\"]";
        let Some(value) = self.value(key) else {
            return Ok((Vec::new(), Vec::new()));
        };
        let entries: Vec<&Spanned<DeValue<'_>>> = match value.get_ref() {
            DeValue::Array(entries) => entries.iter().collect(),
            DeValue::String(_) => vec![value],
            _ => return Err(self.wrong(key, value, EXPECTED)),
        };
        let mut urls = Vec::with_capacity(entries.len());
        let mut lines = Vec::with_capacity(entries.len());
        for entry in entries {
            let DeValue::String(text) = entry.get_ref() else {
                return Err(self.wrong(key, entry, EXPECTED));
            };
            let url: PeerUrl = text.parse().map_err(|reason: broker_core::PeerUrlError| {
                self.source.error(
                    entry.span(),
                    LayoutProblem::BadUrl {
                        table: self.name.clone(),
                        reason: reason.to_string(),
                    },
                )
            })?;
            if !SCHEMES.contains(&url.scheme()) {
                let problem = LayoutProblem::UnknownScheme {
                    table: self.name.clone(),
                    url: url.to_string(),
                    scheme: url.scheme().to_owned(),
                    accepted: SCHEMES.join(", "),
                };
                return Err(self.source.error(entry.span(), problem));
            }
            urls.push(url);
            lines.push(self.source.line(&entry.span()));
        }
        Ok((urls, lines))
    }
}

fn described(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// What a message may quote of the file.
fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}

/// Topics of pools; far below what a topic may have, so that nothing put behind one is too long.
const MAX_TOPIC: usize = 1024;
