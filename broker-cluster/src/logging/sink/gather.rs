//! The records of one log, collected for the sinks until they are in the file: as lines for those that are elsewhere, as
//! they are for those of the program; neither if nobody wants it.

use std::sync::Arc;

use bytes::Bytes;

use super::batch::{LogBatch, LogName, size_of_record};
use super::{SINK_CHUNK, SinkFeed};
use crate::log::{JsonOptions, JsonWriter, LogValue, Record, Schema};

/// What one log has for the sinks.
#[derive(Debug)]
pub(crate) struct SinkRecords {
    lines: Option<JsonLines>,
    batches: Option<Batches>,
    records: u64,
}

/// What has been collected of one log.
#[derive(Debug)]
pub(crate) struct Collected {
    pub(super) lines: Bytes,
    pub(super) batches: Vec<LogBatch>,
    pub(super) records: u64,
}

impl SinkRecords {
    /// For the log of this stream with these columns, if one of the sinks wants it.
    pub(crate) fn wanted(sinks: &[SinkFeed], stream: &str, schema: &Arc<Schema>) -> Option<Self> {
        let wants = |lines: bool| {
            let mut sinks = sinks.iter().filter(|sink| sink.wants(stream));
            sinks.any(|sink| sink.takes_lines() == lines)
        };
        let records = Self {
            lines: wants(true).then(|| JsonLines::new(schema)),
            batches: wants(false).then(|| Batches::new(stream, schema)),
            records: 0,
        };
        (records.lines.is_some() || records.batches.is_some()).then_some(records)
    }

    pub(crate) fn record(&mut self, record: Record) {
        self.records += 1;
        if let Some(lines) = &mut self.lines {
            lines.record(&record);
        }
        if let Some(batches) = &mut self.batches {
            batches.record(record);
        }
    }

    pub(crate) fn take(&mut self) -> Collected {
        Collected {
            lines: self
                .lines
                .as_mut()
                .map_or_else(Bytes::new, |lines| Bytes::from(lines.take())),
            batches: self.batches.as_mut().map(Batches::take).unwrap_or_default(),
            records: std::mem::take(&mut self.records),
        }
    }
}

/// Records as JSON lines. Each has the log's path as `_path`.
#[derive(Debug)]
pub(super) struct JsonLines {
    writer: JsonWriter,
    begin: Vec<u8>,
    lines: Vec<u8>,
}

impl JsonLines {
    pub(super) fn new(schema: &Schema) -> Self {
        let path = serde_json::Value::from(schema.path.as_str());
        Self {
            writer: JsonWriter::new(JsonOptions::default(), schema),
            begin: format!("{{\"_path\":{path}").into_bytes(),
            lines: Vec::new(),
        }
    }

    pub(super) fn record(&mut self, record: &[LogValue]) {
        self.lines.extend_from_slice(&self.begin);
        let brace = self.lines.len();
        self.writer.record(record, &mut self.lines);
        if self.lines.get(brace + 1) == Some(&b'}') {
            self.lines.remove(brace);
        } else {
            self.lines[brace] = b',';
        }
    }

    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.lines)
    }
}

/// Records in batches of about [`SINK_CHUNK`].
#[derive(Debug)]
struct Batches {
    log: Arc<LogName>,
    full: Vec<LogBatch>,
    records: Vec<Record>,
    bytes: usize,
}

impl Batches {
    fn new(stream: &str, schema: &Arc<Schema>) -> Self {
        Self {
            log: Arc::new(LogName {
                stream: stream.to_owned(),
                schema: Arc::clone(schema),
            }),
            full: Vec::new(),
            records: Vec::new(),
            bytes: 0,
        }
    }

    fn record(&mut self, record: Record) {
        let size = size_of_record(&record);
        if self.bytes + size > SINK_CHUNK {
            self.cut();
        }
        self.bytes += size;
        self.records.push(record);
    }

    fn cut(&mut self) {
        if self.records.is_empty() {
            return;
        }
        let records = std::mem::take(&mut self.records);
        let bytes = std::mem::take(&mut self.bytes);
        let log = Arc::clone(&self.log);
        self.full.push(LogBatch::of(log, records, bytes));
    }

    fn take(&mut self) -> Vec<LogBatch> {
        self.cut();
        std::mem::take(&mut self.full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{Column, ColumnType};

    #[test]
    fn a_record_without_values_has_its_path_alone() {
        let schema = Schema {
            path: "a\"b".to_owned(),
            columns: vec![Column::new("n", ColumnType::parse("count").unwrap())],
        };
        let mut lines = JsonLines::new(&schema);
        lines.record(&[LogValue::Unset]);
        lines.record(&[LogValue::Count(1)]);
        assert_eq!(
            lines.take(),
            b"{\"_path\":\"a\\\"b\"}\n{\"_path\":\"a\\\"b\",\"n\":1}\n"
        );
    }

    #[test]
    fn batches_are_cut_at_records_and_lose_none() {
        let schema = Arc::new(Schema {
            path: "x".to_owned(),
            columns: vec![Column::new("text", ColumnType::STRING)],
        });
        let mut batches = Batches::new("X::LOG", &schema);
        assert!(batches.take().is_empty());
        let lengths = [10, SINK_CHUNK * 2, 10, SINK_CHUNK / 2, SINK_CHUNK / 2, 10];
        for length in lengths {
            batches.record(vec![LogValue::String(vec![b'x'; length])]);
        }
        let all = batches.take();
        assert_eq!(
            all.iter().map(LogBatch::len).collect::<Vec<_>>(),
            [1, 1, 2, 2]
        );
        let read = all.iter().flat_map(|batch| batch.records().to_vec());
        let read: Vec<usize> = read
            .map(|record| record[0].as_bytes().unwrap().len())
            .collect();
        assert_eq!(read, lengths);
        assert!(batches.take().is_empty());
    }
}
