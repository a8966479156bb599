//! `[logging.sink.NAME]`.

use std::num::NonZeroUsize;
use std::path::Path;

use super::quantity::{out_of_range, size};
use crate::layout::error::LayoutError;
use crate::layout::security;
use crate::layout::table::{Table, shortened};
use crate::logging::{SinkOptions, SinkTarget, SinkTargetError};

pub(super) fn sink(table: &Table<'_>, name: &str, base: &Path) -> Result<SinkOptions, LayoutError> {
    table.only(SINK_KEYS)?;
    let url = table
        .string("url")?
        .ok_or_else(|| table.missing("url", "url = \"tcp://127.0.0.1:5170\""))?;
    let target = url.text.parse().map_err(|_: SinkTargetError| {
        out_of_range(
            table,
            "url",
            url.text,
            "tcp://HOST:PORT, unix:///PATH, http://HOST:PORT/PATH or https://HOST:PORT/PATH",
        )
    })?;
    let secure = matches!(target, SinkTarget::Https(_));
    let mut options = SinkOptions::new(name, target);
    let shown = format!("[logging.sink.{}.tls]", shortened(name));
    match table.table("tls", shown)? {
        Some(_) if !secure => {
            return Err(out_of_range(
                table,
                "url",
                url.text,
                "https://HOST:PORT/PATH where there is a tls",
            ));
        }
        Some(files) => options.tls = security::tls(&files, base)?,
        None => {}
    }
    if secure && options.tls.cafile.is_none() && options.tls.capath.is_none() {
        return Err(table.missing("tls", "tls = { cafile = \"ca.pem\" }"));
    }
    options.streams = table.strings("streams")?;
    if let Some(bytes) = size(table, "queue_bytes")? {
        options.max_bytes = usize::try_from(bytes)
            .ok()
            .and_then(NonZeroUsize::new)
            .ok_or_else(|| {
                out_of_range(table, "queue_bytes", &bytes.to_string(), "at least 1 byte")
            })?;
    }
    if let Some(word) = table.word("when_full", &["drop_oldest", "drop_newest"])? {
        options.drop_oldest = word.text == "drop_oldest";
    }
    Ok(options)
}

const SINK_KEYS: &[&str] = &["url", "tls", "streams", "queue_bytes", "when_full"];
