//! What a layout can be written in, and how to tell.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

/// What a layout is written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LayoutFormat {
    /// Our own: TOML.
    #[default]
    Toml,
    /// zeekctl's `node.cfg`: INI.
    NodeCfg,
    /// The `cluster-layout.zeek` that zeekctl generates, or one written like it.
    Zeek,
}

impl LayoutFormat {
    /// All formats.
    pub const ALL: [Self; 3] = [Self::Toml, Self::NodeCfg, Self::Zeek];

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Toml => "toml",
            Self::NodeCfg => "node-cfg",
            Self::Zeek => "zeek",
        }
    }

    /// The format of the file `path` that holds `text`: by the end of its name where that says it, else by the first
    /// line that only one of them can have.
    #[must_use]
    pub fn recognise(path: &Path, text: &str) -> Self {
        let suffix = path.extension().and_then(|suffix| suffix.to_str());
        match suffix.map(str::to_ascii_lowercase).as_deref() {
            Some("toml") => Self::Toml,
            Some("zeek" | "bro") => Self::Zeek,
            Some("cfg" | "ini") => text.lines().find_map(telling).unwrap_or(Self::NodeCfg),
            _ => text.lines().find_map(telling).unwrap_or_default(),
        }
    }
}

/// The only format that has such a line.
fn telling(line: &str) -> Option<LayoutFormat> {
    let line = line.trim();
    if ["redef ", "@load ", "module ", "event "]
        .iter()
        .any(|word| line.starts_with(word))
    {
        return Some(LayoutFormat::Zeek);
    }
    let (key, value) = line.split_once('=')?;
    match key.trim() {
        "role" => Some(LayoutFormat::Toml),
        // In TOML it would be in quotes.
        "type" => value
            .trim()
            .starts_with(|first: char| first.is_ascii_alphabetic())
            .then_some(LayoutFormat::NodeCfg),
        _ => None,
    }
}

impl fmt::Display for LayoutFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that names no format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{word:?} is no format of layouts (toml, node-cfg, zeek)")]
pub struct UnknownLayoutFormat {
    /// The word given.
    pub word: String,
}

impl FromStr for LayoutFormat {
    type Err = UnknownLayoutFormat;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let mut all = Self::ALL.into_iter();
        all.find(|format| format.as_str() == word)
            .ok_or_else(|| UnknownLayoutFormat {
                word: word.to_owned(),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_is_known_by_the_name_of_the_file_or_by_what_is_in_it() {
        let toml = "# a lab\n[node.manager]\nrole = \"manager\"\n";
        let cfg = "# zeekctl\n[manager]\ntype=manager\nhost=localhost\n";
        let zeek = "# generated\nredef Cluster::manager_is_logger = F;\n";
        for (path, text, expected) in [
            ("lab.toml", toml, LayoutFormat::Toml),
            ("lab.toml", cfg, LayoutFormat::Toml),
            ("node.cfg", cfg, LayoutFormat::NodeCfg),
            ("node.cfg", "", LayoutFormat::NodeCfg),
            ("lab.cfg", toml, LayoutFormat::Toml),
            ("cluster-layout.zeek", "", LayoutFormat::Zeek),
            ("cluster-layout.bro", zeek, LayoutFormat::Zeek),
            ("layout", zeek, LayoutFormat::Zeek),
            ("layout", cfg, LayoutFormat::NodeCfg),
            ("layout", toml, LayoutFormat::Toml),
            ("layout", "[pools]\ntype = \"x\"\n", LayoutFormat::Toml),
        ] {
            assert_eq!(
                LayoutFormat::recognise(Path::new(path), text),
                expected,
                "{path}"
            );
        }
    }

    #[test]
    fn the_word_of_a_format_reads_back() {
        for format in LayoutFormat::ALL {
            assert_eq!(format.to_string().parse(), Ok(format));
        }
        assert!("ini".parse::<LayoutFormat>().is_err());
    }
}
