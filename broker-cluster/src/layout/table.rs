//! A table of the layout file and typed access to its values, each with its place: whatever is wrong with one becomes
//! an error that names the line.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::Path;

use broker_core::PeerUrl;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{LayoutError, LayoutProblem};
use super::format::LayoutFormat;
use super::host_port::HostPort;
use crate::log::is_file_stem;
use crate::role::Role;
use crate::table::is_table_name;

/// The text and the file it came from.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) file: &'a Path,
    pub(super) text: &'a str,
    pub(super) format: LayoutFormat,
}

impl Source<'_> {
    pub(super) fn line(&self, span: &Range<usize>) -> usize {
        let before = self
            .text
            .as_bytes()
            .get(..span.start)
            .unwrap_or(self.text.as_bytes());
        1 + memchr::memchr_iter(b'\n', before).count()
    }

    pub(super) fn error(&self, span: Range<usize>, problem: LayoutProblem) -> LayoutError {
        self.at_line(Some(self.line(&span)), problem)
    }

    pub(super) fn at_line(&self, line: Option<usize>, problem: LayoutProblem) -> LayoutError {
        LayoutError {
            format: self.format,
            ..LayoutError::new(self.file, line, problem)
        }
    }

    /// An error with line and column.
    pub(super) fn at_place(&self, place: usize, problem: LayoutProblem) -> LayoutError {
        let before = self.text.get(..place).unwrap_or(self.text);
        let line = before.rsplit('\n').next().unwrap_or_default();
        LayoutError {
            column: Some(1 + line.chars().count()),
            ..self.at_line(Some(self.line(&(place..place))), problem)
        }
    }
}

#[cfg(test)]
thread_local! {
    /// Every key that [`Table::only`] let through, with its table: what there is in a layout.
    pub(super) static ACCEPTED: std::cell::RefCell<std::collections::BTreeSet<(String, &'static str)>> =
        const { std::cell::RefCell::new(std::collections::BTreeSet::new()) };
}

/// A text value and its place.
pub(super) struct Text<'a> {
    pub(super) text: &'a str,
    pub(super) span: Range<usize>,
}

/// A table of the file, with the name errors call it by.
pub(super) struct Table<'a> {
    pub(super) source: Source<'a>,
    pub(super) name: String,
    pub(super) span: Range<usize>,
    pub(super) entries: &'a DeTable<'a>,
}

impl<'a> Table<'a> {
    pub(super) fn line(&self) -> usize {
        self.source.line(&self.span)
    }

    /// Refuses keys that are not in `known`.
    pub(super) fn only(&self, known: &'static [&'static str]) -> Result<(), LayoutError> {
        #[cfg(test)]
        ACCEPTED.with_borrow_mut(|accepted| {
            let keys = known.iter().map(|key| (self.name.clone(), *key));
            accepted.extend(keys);
        });
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

    pub(super) fn value(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.entries.get(key)
    }

    pub(super) fn wrong(
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

    pub(super) fn missing(&self, key: &'static str, example: &'static str) -> LayoutError {
        self.source.error(
            self.span.clone(),
            LayoutProblem::MissingKey {
                table: self.name.clone(),
                key,
                example,
            },
        )
    }

    pub(super) fn table(&self, key: &str, name: String) -> Result<Option<Self>, LayoutError> {
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
    pub(super) fn named<T>(
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
                let fits = match key {
                    "tables" => is_table_name(text),
                    _ => is_file_stem(text),
                };
                if !fits {
                    let what = match key {
                        "node" => "node",
                        "stores" => "store",
                        "tables" => "table",
                        _ => "pool",
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

    pub(super) fn string(&self, key: &str) -> Result<Option<Text<'a>>, LayoutError> {
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

    pub(super) fn boolean(&self, key: &str) -> Result<Option<(bool, Range<usize>)>, LayoutError> {
        let Some(value) = self.value(key) else {
            return Ok(None);
        };
        match value.get_ref() {
            DeValue::Boolean(flag) => Ok(Some((*flag, value.span()))),
            _ => Err(self.wrong(key, value, "true or false")),
        }
    }

    pub(super) fn word(
        &self,
        key: &str,
        accepted: &[&str],
    ) -> Result<Option<Text<'a>>, LayoutError> {
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

    /// One of `accepted`, in any case, or with `prefix` as Zeek names the values of the option, with or without the module
    /// (broker-wire reference, 11). Returns it as it stands in `accepted`.
    pub(super) fn zeek_enum(
        &self,
        key: &str,
        prefix: &str,
        accepted: &[&'static str],
    ) -> Result<Option<(&'static str, Range<usize>)>, LayoutError> {
        let Some(text) = self.string(key)? else {
            return Ok(None);
        };
        let lower = text.text.to_ascii_lowercase();
        let word = lower.strip_prefix("broker::").unwrap_or(&lower);
        let word = word
            .strip_prefix(&prefix.to_ascii_lowercase())
            .unwrap_or(word);
        if let Some(known) = accepted.iter().find(|known| **known == word) {
            return Ok(Some((*known, text.span)));
        }
        let example = accepted
            .last()
            .map(|last| format!("Broker::{prefix}{}", last.to_ascii_uppercase()))
            .unwrap_or_default();
        let problem = LayoutProblem::UnknownWord {
            table: self.name.clone(),
            key: key.to_owned(),
            word: shortened(text.text),
            accepted: format!("{}, in any case or as in {example}", accepted.join(", ")),
        };
        Err(self.source.error(text.span, problem))
    }

    pub(super) fn number(&self, key: &str) -> Result<Option<usize>, LayoutError> {
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

    pub(super) fn positive(&self, key: &str) -> Result<Option<NonZeroUsize>, LayoutError> {
        let number = self.at_least(key, 1, "a whole number of 1 or more")?;
        Ok(number.and_then(NonZeroUsize::new))
    }

    /// A number of `least` or more, as `expected` says in words.
    pub(super) fn at_least(
        &self,
        key: &str,
        least: usize,
        expected: &'static str,
    ) -> Result<Option<usize>, LayoutError> {
        let Some(number) = self.number(key)? else {
            return Ok(None);
        };
        if number >= least {
            return Ok(Some(number));
        }
        Err(self.source.error(
            self.span_of(key),
            LayoutProblem::OutOfRange {
                table: self.name.clone(),
                key: key.to_owned(),
                value: number.to_string(),
                expected,
            },
        ))
    }

    /// Where the value of `key` stands.
    pub(super) fn span_of(&self, key: &str) -> Range<usize> {
        self.value(key).map_or(0..0, Spanned::span)
    }

    pub(super) fn role(&self) -> Result<Role, LayoutError> {
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

    pub(super) fn host_port(&self, key: &str) -> Result<Option<HostPort>, LayoutError> {
        let Some(text) = self.string(key)? else {
            return Ok(None);
        };
        text.text.parse().map(Some).map_err(|_| {
            let problem = LayoutProblem::OutOfRange {
                table: self.name.clone(),
                key: key.to_owned(),
                value: format!("{:?}", shortened(text.text)),
                expected: "HOST:PORT such as \"127.0.0.1:9991\", or a port of this machine alone",
            };
            self.source.error(text.span, problem)
        })
    }

    /// A list of texts; empty if there is none.
    pub(super) fn strings(&self, key: &str) -> Result<Vec<String>, LayoutError> {
        const EXPECTED: &str = "a list of texts such as [\"a\", \"b\"]";
        let Some(value) = self.value(key) else {
            return Ok(Vec::new());
        };
        let DeValue::Array(entries) = value.get_ref() else {
            return Err(self.wrong(key, value, EXPECTED));
        };
        entries
            .iter()
            .map(|entry| match entry.get_ref() {
                DeValue::String(text) => Ok(text.clone().into_owned()),
                _ => Err(self.wrong(key, entry, EXPECTED)),
            })
            .collect()
    }

    /// A list of addresses (or a single one) and their lines.
    pub(super) fn urls(&self, key: &str) -> Result<(Vec<PeerUrl>, Vec<usize>), LayoutError> {
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
pub(super) fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}

const SCHEMES: &[&str] = &["grpc", "grpcs", "broker", "brokers", "ws", "wss", "mem"];
