//! Names of log files, when they are rotated and what happens to them then.

use std::path::Path;

use super::quantity::{directory, duration, out_of_range, size, time_of_day};
use crate::layout::error::LayoutError;
use crate::layout::table::Table;
use crate::logging::{ArchiveOptions, LogSuffix, RotatedNames, RotationOptions, RotationRule};

pub(super) fn suffix(table: &Table<'_>) -> Result<Option<LogSuffix>, LayoutError> {
    let Some(text) = table.string("log_suffix")? else {
        return Ok(None);
    };
    match text.text.parse() {
        Ok(suffix) => Ok(Some(suffix)),
        Err(_) => Err(out_of_range(
            table,
            "log_suffix",
            text.text,
            "the end of a file name such as \"log\" or \"zeek.json\", of letters, digits, \"-\", \"_\" and dots between them, \
             and not batches, pending, gz or part",
        )),
    }
}

pub(super) fn rotation(
    table: &Table<'_>,
    base: &Path,
    default: RotationRule,
) -> Result<RotationOptions, LayoutError> {
    let defaults = RotationOptions::default();
    let names = match table
        .word("rotated_names", &["zeek", "open-close", "archiver"])?
        .map(|word| word.text)
    {
        Some("open-close") => RotatedNames::OpenClose,
        Some("archiver") => RotatedNames::Archiver,
        _ => RotatedNames::Zeek,
    };
    let leftovers = table.word("leftovers", &["continue", "rotate"])?;
    Ok(RotationOptions {
        rule: rule(table)?.unwrap_or(default),
        base: match table.string("rotation_base")? {
            None => defaults.base,
            Some(text) => time_of_day(text.text).ok_or_else(|| {
                out_of_range(
                    table,
                    "rotation_base",
                    text.text,
                    "a time of day such as \"6:30\"",
                )
            })?,
        },
        names,
        dir: directory(table, "rotated_dir", base)?,
        leftovers: leftovers.is_some_and(|word| word.text == "rotate"),
        keep_batches: duration(table, "keep_batches")?.unwrap_or(defaults.keep_batches),
    })
}

pub(super) fn rule(table: &Table<'_>) -> Result<Option<RotationRule>, LayoutError> {
    let interval = duration(table, "rotation_interval")?;
    let max_bytes = size(table, "rotation_size")?;
    if interval.is_none() && max_bytes.is_none() {
        return Ok(None);
    }
    // 0 is "never", as in Zeek.
    Ok(Some(RotationRule {
        interval: interval.filter(|interval| !interval.is_zero()),
        max_bytes: max_bytes.filter(|size| *size > 0),
    }))
}

pub(super) fn archive(table: &Table<'_>) -> Result<ArchiveOptions, LayoutError> {
    let defaults = ArchiveOptions::default();
    let gzip = match table.number("gzip_level")? {
        None | Some(0) => None,
        Some(level @ 1..=9) => Some(level as u32),
        Some(level) => {
            return Err(out_of_range(
                table,
                "gzip_level",
                &level.to_string(),
                "1 to 9, or 0 for no compression",
            ));
        }
    };
    let command = table.strings("post_command")?;
    if command.first().is_some_and(String::is_empty) {
        return Err(out_of_range(
            table,
            "post_command",
            "",
            "a program and its arguments",
        ));
    }
    Ok(ArchiveOptions {
        gzip,
        command,
        command_timeout: duration(table, "post_timeout")?
            .filter(|limit| !limit.is_zero())
            .unwrap_or(defaults.command_timeout),
        jobs: match table.positive("post_jobs")? {
            None => defaults.jobs,
            Some(jobs) if jobs.get() <= 64 => jobs.get(),
            Some(jobs) => {
                return Err(out_of_range(
                    table,
                    "post_jobs",
                    &jobs.to_string(),
                    "1 to 64",
                ));
            }
        },
    })
}
