//! Where the records of a node's streams go, and how much of them: what the node says of all streams, of one, and what the
//! program says that writes it.
//!
//! A setting of one stream goes before what the program says, which goes before the node's setting of all streams.

use std::collections::BTreeMap;

use crate::log::{Limits, Schema};

/// Settings of a node for what it writes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogSettings {
    /// Whether records are written into files of this node.
    pub log_local: bool,
    /// Whether records go to the loggers.
    pub log_remote: bool,
    /// How much of a record is kept. None: all of it.
    pub limits: Option<Limits>,
    /// Settings of single streams, by their id.
    pub streams: BTreeMap<String, StreamSettings>,
}

/// Settings of one stream; what is not set is left to others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamSettings {
    /// Whether records are written into files of this node.
    pub log_local: Option<bool>,
    /// Whether records go to the loggers.
    pub log_remote: Option<bool>,
    /// How much of a record is kept.
    pub limits: Option<Limits>,
    /// The columns that are written; empty: all.
    pub include: Vec<String>,
    /// Columns that are not written.
    pub exclude: Vec<String>,
}

/// What holds for one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Effective {
    pub(crate) local: bool,
    pub(crate) remote: bool,
    pub(crate) limits: Option<Limits>,
    include: Vec<String>,
    exclude: Vec<String>,
}

impl LogSettings {
    /// Whether any stream is written on this node, as far as the settings say.
    #[must_use]
    pub fn writes_locally(&self) -> bool {
        self.log_local
            || self
                .streams
                .values()
                .any(|stream| stream.log_local == Some(true))
    }

    /// What holds for the stream `id`, of which the program says `said`.
    pub(crate) fn of(&self, id: &str, said: &StreamSettings) -> Effective {
        let nothing = StreamSettings::default();
        let own = self.streams.get(id).unwrap_or(&nothing);
        let list =
            |own: &Vec<String>, said: &Vec<String>| if own.is_empty() { said } else { own }.clone();
        Effective {
            local: own.log_local.or(said.log_local).unwrap_or(self.log_local),
            remote: own
                .log_remote
                .or(said.log_remote)
                .unwrap_or(self.log_remote),
            limits: own.limits.or(said.limits).or(self.limits),
            include: list(&own.include, &said.include),
            exclude: list(&own.exclude, &said.exclude),
        }
    }
}

impl Effective {
    /// The places of the columns that are written, if those are not all. An error is a name that is no column's.
    pub(crate) fn columns(&self, schema: &Schema) -> Result<Option<Vec<usize>>, String> {
        if self.include.is_empty() && self.exclude.is_empty() {
            return Ok(None);
        }
        let mut named = self.include.iter().chain(&self.exclude);
        if let Some(unknown) = named.find(|name| schema.position(name).is_none()) {
            return Err(unknown.clone());
        }
        let is_kept = |name: &String| {
            (self.include.is_empty() || self.include.contains(name)) && !self.exclude.contains(name)
        };
        let columns = schema.columns.iter().enumerate();
        Ok(Some(
            columns
                .filter(|(_, column)| is_kept(&column.name))
                .map(|(at, _)| at)
                .collect(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{Column, ColumnType};

    #[test]
    fn a_stream_s_setting_goes_before_the_program_s_and_that_before_the_node_s() {
        let mut settings = LogSettings {
            log_remote: true,
            ..LogSettings::default()
        };
        let said = StreamSettings {
            log_local: Some(true),
            exclude: vec!["b".to_owned()],
            ..StreamSettings::default()
        };
        let effective = settings.of("X::LOG", &said);
        assert_eq!((effective.local, effective.remote), (true, true));
        assert!(!settings.writes_locally());
        settings.streams.insert(
            "X::LOG".to_owned(),
            StreamSettings {
                log_local: Some(false),
                log_remote: Some(false),
                exclude: vec!["a".to_owned()],
                ..StreamSettings::default()
            },
        );
        let effective = settings.of("X::LOG", &said);
        assert_eq!((effective.local, effective.remote), (false, false));
        assert_eq!(effective.exclude, ["a"]);
        assert!(settings.of("Y::LOG", &said).local);
    }

    #[test]
    fn columns_are_chosen_by_name_and_an_unknown_name_is_an_error() {
        let schema = Schema {
            path: "x".to_owned(),
            columns: ["a", "b", "c"]
                .map(|name| Column::new(name, ColumnType::STRING))
                .to_vec(),
        };
        let columns = |include: &[&str], exclude: &[&str]| {
            let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
            let said = StreamSettings {
                include: owned(include),
                exclude: owned(exclude),
                ..StreamSettings::default()
            };
            LogSettings::default().of("X::LOG", &said).columns(&schema)
        };
        assert_eq!(columns(&[], &[]), Ok(None));
        assert_eq!(columns(&["c", "a"], &[]), Ok(Some(vec![0, 2])));
        assert_eq!(columns(&[], &["b"]), Ok(Some(vec![0, 2])));
        assert_eq!(columns(&["a", "b"], &["b"]), Ok(Some(vec![0])));
        assert_eq!(columns(&["d"], &[]), Err("d".to_owned()));
    }
}
