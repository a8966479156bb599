//! INI as Python's `configparser` reads it, which is what zeekctl uses: sections, `key = value` or `key: value`, keys in any
//! case, comments in lines of their own, indented lines that go on with the value above, `[DEFAULT]` for all sections.
//!
//! Values that refer to others (`%(name)s`) are refused: no key that matters here needs them.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::error::LayoutError;
use super::super::error::LayoutProblem;
use super::super::table::{Source, shortened};
use super::ZeekLayoutProblem;

/// A section with its keys.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) name: String,
    pub(super) line: usize,
    pub(super) entries: Vec<Entry>,
    /// The keys of `[DEFAULT]`, shared by all.
    default: Arc<[Entry]>,
}

/// A key, in lower case, and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) value: String,
    pub(super) line: usize,
}

impl Section {
    /// The value of a key that is there, or in `[DEFAULT]`, and not empty.
    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        let mut entries = self.entries.iter().chain(self.default.iter());
        entries
            .find(|entry| entry.key == key)
            .filter(|entry| !entry.value.is_empty())
    }
}

/// The sections of a text, in its order.
pub(super) fn read(source: &Source<'_>) -> Result<Vec<Section>, LayoutError> {
    let mut sections: Vec<Section> = Vec::new();
    let mut known: HashMap<String, usize> = HashMap::new();
    // Where a line that is indented goes on.
    let mut open = false;
    for (line, number) in source.text.lines().zip(1..) {
        let text = line.trim();
        if text.is_empty() || text.starts_with(['#', ';']) {
            continue;
        }
        let last = sections.last_mut();
        if line.starts_with([' ', '\t'])
            && open
            && let Some(entry) = last.and_then(|section| section.entries.last_mut())
        {
            entry.value.push('\n');
            entry.value.push_str(text);
            continue;
        }
        open = false;
        if let Some(rest) = text.strip_prefix('[') {
            let Some((name, _)) = rest.split_once(']') else {
                return Err(source.at_line(
                    Some(number),
                    ZeekLayoutProblem::Unclosed {
                        what: "the name of the section",
                    }
                    .into(),
                ));
            };
            if known.insert(name.to_owned(), number).is_some() {
                let what = format!("[{}]", shortened(name));
                return Err(source.at_line(Some(number), LayoutProblem::Twice { what }));
            }
            sections.push(Section {
                name: name.to_owned(),
                line: number,
                entries: Vec::new(),
                default: Arc::new([]),
            });
            continue;
        }
        let entry = entry(source, text, number)?;
        let Some(section) = sections.last_mut() else {
            return Err(expected(source, number, "[NAME] of a node", text));
        };
        if section.entries.iter().any(|other| other.key == entry.key) {
            let what = shortened(&entry.key);
            return Err(source.at_line(Some(number), LayoutProblem::Twice { what }));
        }
        if section.entries.len() == MAX_KEYS {
            return Err(expected(
                source,
                number,
                "no more keys in one section",
                text,
            ));
        }
        section.entries.push(entry);
        open = true;
    }
    if let Some(at) = sections.iter().position(|section| section.name == DEFAULT) {
        let default: Arc<[Entry]> = sections.remove(at).entries.into();
        for section in &mut sections {
            section.default = Arc::clone(&default);
        }
    }
    Ok(sections)
}

fn entry(source: &Source<'_>, text: &str, line: usize) -> Result<Entry, LayoutError> {
    let Some(at) = text.find(['=', ':']).filter(|at| *at > 0) else {
        return Err(expected(source, line, "KEY=VALUE or [NAME]", text));
    };
    let (key, value) = (text[..at].trim_end(), text[at + 1..].trim());
    if value.contains("%(") {
        return Err(expected(source, line, "a value without %(..)", value));
    }
    Ok(Entry {
        // zeekctl takes dots for underscores.
        key: key.to_ascii_lowercase().replace('.', "_"),
        value: value.to_owned(),
        line,
    })
}

fn expected(source: &Source<'_>, line: usize, expected: &'static str, found: &str) -> LayoutError {
    let found = format!("{:?}", shortened(found));
    source.at_line(
        Some(line),
        ZeekLayoutProblem::Expected { expected, found }.into(),
    )
}

/// The section whose keys all others have too.
const DEFAULT: &str = "DEFAULT";

/// Keys of one section at most.
const MAX_KEYS: usize = 64;
