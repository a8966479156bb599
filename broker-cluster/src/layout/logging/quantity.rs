//! Times, sizes and other single values as `[logging]` has them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeValue;

use crate::layout::error::{LayoutError, LayoutProblem};
use crate::layout::table::{Table, shortened};

/// Seconds as a number, or a text such as `90 s`, `10 min`, `1 hr`, `7 days`.
pub(super) fn duration(table: &Table<'_>, key: &str) -> Result<Option<Duration>, LayoutError> {
    const EXPECTED: &str = "a time such as \"90 s\", \"10 min\", \"1 hr\" or \"7 days\"";
    let seconds = quantity(table, key, EXPECTED, |unit| match unit {
        "s" | "sec" | "secs" | "second" | "seconds" => Some(1),
        "min" | "mins" | "minute" | "minutes" => Some(60),
        "h" | "hr" | "hrs" | "hour" | "hours" => Some(3600),
        "day" | "days" => Some(86_400),
        _ => None,
    })?;
    Ok(seconds.map(Duration::from_secs))
}

/// Bytes as a number, or a text such as `500 MB` or `1 GiB`.
pub(super) fn size(table: &Table<'_>, key: &str) -> Result<Option<u64>, LayoutError> {
    const EXPECTED: &str = "a size such as 65536, \"500 MB\" or \"1 GiB\"";
    quantity(table, key, EXPECTED, |unit| match unit {
        "B" => Some(1),
        "kB" | "KB" => Some(1000),
        "MB" => Some(1_000_000),
        "GB" => Some(1_000_000_000),
        "TB" => Some(1_000_000_000_000),
        "KiB" => Some(1 << 10),
        "MiB" => Some(1 << 20),
        "GiB" => Some(1 << 30),
        "TiB" => Some(1 << 40),
        _ => None,
    })
}

fn quantity(
    table: &Table<'_>,
    key: &str,
    expected: &'static str,
    factor: impl Fn(&str) -> Option<u64>,
) -> Result<Option<u64>, LayoutError> {
    let Some(value) = table.value(key) else {
        return Ok(None);
    };
    let DeValue::String(text) = value.get_ref() else {
        return match value.get_ref() {
            DeValue::Integer(_) => Ok(table.number(key)?.map(|number| number as u64)),
            _ => Err(table.wrong(key, value, expected)),
        };
    };
    let unit_at = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let read = number
        .parse::<u64>()
        .ok()
        .zip(factor(unit.trim()))
        .and_then(|(number, factor)| number.checked_mul(factor))
        .filter(|quantity| *quantity <= i64::MAX as u64);
    match read {
        Some(quantity) => Ok(Some(quantity)),
        None => Err(table.source.error(
            value.span(),
            LayoutProblem::OutOfRange {
                table: table.name.clone(),
                key: key.to_owned(),
                value: format!("{:?}", shortened(text)),
                expected,
            },
        )),
    }
}

/// `6:30` as time since midnight.
pub(super) fn time_of_day(text: &str) -> Option<Duration> {
    let (hours, minutes) = text.split_once(':')?;
    let hours: u64 = hours.parse().ok().filter(|hours| *hours < 24)?;
    let minutes: u64 = minutes.parse().ok().filter(|minutes| *minutes < 60)?;
    Some(Duration::from_secs(hours * 3600 + minutes * 60))
}

pub(super) fn directory(
    table: &Table<'_>,
    key: &str,
    base: &Path,
) -> Result<Option<PathBuf>, LayoutError> {
    match table.string(key)? {
        None => Ok(None),
        Some(path) if path.text.is_empty() => {
            Err(out_of_range(table, key, "", "the name of a directory"))
        }
        Some(path) => Ok(Some(base.join(path.text))),
    }
}

pub(super) fn flag(table: &Table<'_>, key: &str) -> Result<Option<bool>, LayoutError> {
    Ok(table.boolean(key)?.map(|(value, _)| value))
}

pub(super) fn out_of_range(
    table: &Table<'_>,
    key: &str,
    value: &str,
    expected: &'static str,
) -> LayoutError {
    let span = table
        .value(key)
        .map_or_else(|| table.span.clone(), toml::Spanned::span);
    table.source.error(
        span,
        LayoutProblem::OutOfRange {
            table: table.name.clone(),
            key: key.to_owned(),
            value: format!("{:?}", shortened(value)),
            expected,
        },
    )
}
