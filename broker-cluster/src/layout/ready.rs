//! `[cluster.ready]`: how many nodes are enough for the manager to say that the cluster is ready.

use std::collections::BTreeMap;
use std::time::Duration;

use toml::de::DeValue;

use super::NodeSpec;
use super::error::{LayoutError, LayoutProblem};
use super::table::Table;
use crate::role::Role;
use crate::threshold::{Need, Threshold};

/// When the manager says that the cluster is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadySpec {
    /// How many nodes have to be up.
    pub threshold: Threshold,
    /// After how long it says that they are not.
    pub within: Duration,
}

const KEYS: &[&str] = &["worker", "proxy", "logger", "within"];
const ROLES: [Role; 3] = [Role::Worker, Role::Proxy, Role::Logger];
const DEFAULT_WITHIN: usize = 60;
/// A year; nobody waits for longer.
const MAX_WITHIN: usize = 31_536_000;

/// Reads the table, if the file has it.
pub(super) fn read(
    cluster: &Table<'_>,
    nodes: &BTreeMap<String, NodeSpec>,
) -> Result<Option<ReadySpec>, LayoutError> {
    let Some(table) = cluster.table("ready", "[cluster.ready]".to_owned())? else {
        return Ok(None);
    };
    table.only(KEYS)?;
    let mut threshold = Threshold::new();
    // Who only names the table wants them all.
    let all = ROLES
        .iter()
        .all(|role| table.value(role.as_str()).is_none());
    for role in ROLES {
        let total = nodes.values().filter(|node| node.role == role).count();
        let need = need(&table, role.as_str(), total)?;
        if let Some(need) = need.or_else(|| all.then_some(Need::All)) {
            threshold = threshold.need(role, need);
        }
    }
    let within = table.number("within")?.unwrap_or(DEFAULT_WITHIN);
    if within > MAX_WITHIN {
        return Err(out_of_range(
            &table,
            "within",
            within.to_string(),
            "seconds of a year at most",
        ));
    }
    Ok(Some(ReadySpec {
        threshold,
        within: Duration::from_secs(within as u64),
    }))
}

fn need(table: &Table<'_>, key: &str, total: usize) -> Result<Option<Need>, LayoutError> {
    const EXPECTED: &str = "a number, a percentage such as \"90%\", or \"all\"";
    let Some(value) = table.value(key) else {
        return Ok(None);
    };
    let need = match value.get_ref() {
        DeValue::Integer(_) => table.number(key)?.map(Need::Count),
        DeValue::String(word) => match word.parse() {
            Ok(need) => Some(need),
            Err(_) if is_percentage(word) => {
                let expected = "a percentage up to \"100%\"";
                return Err(out_of_range(table, key, word.to_string(), expected));
            }
            Err(_) => return Err(table.wrong(key, value, EXPECTED)),
        },
        _ => return Err(table.wrong(key, value, EXPECTED)),
    };
    match need {
        Some(Need::Count(count)) if count > total => Err(out_of_range(
            table,
            key,
            count.to_string(),
            "at most as many nodes as the file has of that role",
        )),
        need => Ok(need),
    }
}

fn is_percentage(word: &str) -> bool {
    word.strip_suffix('%').is_some_and(|number| {
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

fn out_of_range(
    table: &Table<'_>,
    key: &str,
    value: String,
    expected: &'static str,
) -> LayoutError {
    let span = table.value(key).map_or(0..0, toml::Spanned::span);
    table.source.error(
        span,
        LayoutProblem::OutOfRange {
            table: table.name.clone(),
            key: key.to_owned(),
            value,
            expected,
        },
    )
}

#[cfg(test)]
mod tests {
    use crate::layout::Layout;

    use super::*;

    fn layout(ready: &str) -> Result<Layout, String> {
        let text = format!(
            "[cluster.ready]\n{ready}\n[node.m]\nrole = \"manager\"\nlisten = [\"mem://m\"]\n\
             [node.w-1]\nrole = \"worker\"\n[node.w-2]\nrole = \"worker\"\n"
        );
        Layout::parse(&text, "lab.toml").map_err(|error| error.to_string())
    }

    #[test]
    fn numbers_percentages_and_all_are_understood() {
        let spec = layout("worker = 1\nproxy = \"90%\"\nlogger = \"all\"\nwithin = 5").unwrap();
        let expected = ReadySpec {
            threshold: Threshold::new()
                .need(Role::Worker, Need::Count(1))
                .need(Role::Proxy, Need::Percent(90))
                .need(Role::Logger, Need::All),
            within: Duration::from_secs(5),
        };
        assert_eq!(spec.ready(), Some(&expected));
        let all = ReadySpec {
            threshold: ROLES
                .into_iter()
                .fold(Threshold::new(), |all, role| all.need(role, Need::All)),
            within: Duration::from_secs(60),
        };
        assert_eq!(layout("").unwrap().ready(), Some(&all));
    }

    #[test]
    fn what_can_never_be_is_a_mistake_in_its_line() {
        for (text, line, says) in [
            ("worker = 3", 2, "at most as many nodes"),
            ("worker = \"3x\"", 2, "percentage"),
            ("worker = \"101%\"", 2, "up to \"100%\""),
            ("worker = true", 2, "percentage"),
            ("within = -1", 2, "0 or more"),
            ("within = 99999999999", 2, "year"),
            ("manager = 1", 2, "unknown key"),
        ] {
            let error = layout(text).unwrap_err();
            assert!(
                error.starts_with(&format!("lab.toml:{line}: ")) && error.contains(says),
                "{text}: {error}"
            );
        }
    }
}
