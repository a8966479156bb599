//! A batch of records as a program's own sink gets them.

use std::sync::Arc;

use broker_core::queue::Weigh;

use super::gather::JsonLines;
use crate::log::{
    FromLogRecord, LogColumnError, LogFieldError, LogRecordReader, LogValue, Record, Schema,
};

/// Records of one log, in the order in which they stand in its file. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct LogBatch {
    log: Arc<LogName>,
    records: Arc<Vec<Record>>,
    /// What they take in memory, about.
    bytes: usize,
    failures: u64,
}

/// Which log a batch is of.
#[derive(Debug)]
pub(super) struct LogName {
    pub(super) stream: String,
    pub(super) schema: Arc<Schema>,
}

impl LogBatch {
    /// A batch, for tests of a sink.
    #[must_use]
    pub fn new(
        stream: impl Into<String>,
        schema: impl Into<Arc<Schema>>,
        records: Vec<Record>,
    ) -> Self {
        let log = LogName {
            stream: stream.into(),
            schema: schema.into(),
        };
        let bytes = records.iter().map(|record| size_of_record(record)).sum();
        Self::of(Arc::new(log), records, bytes)
    }

    pub(super) fn of(log: Arc<LogName>, records: Vec<Record>, bytes: usize) -> Self {
        Self {
            log,
            records: Arc::new(records),
            bytes,
            failures: 0,
        }
    }

    /// The id of the stream, such as `Conn::LOG`.
    #[must_use]
    pub fn stream(&self) -> &str {
        &self.log.stream
    }

    /// The path of the log, such as `conn`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.log.schema.path
    }

    /// Path and columns.
    #[must_use]
    pub fn schema(&self) -> &Schema {
        &self.log.schema
    }

    /// The records, each with one value per column. There is at least one.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// How often the sink has failed to take this batch before. Whatever it took of it then comes again.
    #[must_use]
    pub const fn failures(&self) -> u64 {
        self.failures
    }

    /// The records as structs.
    ///
    /// # Errors
    /// The columns of the log do not do for the struct.
    pub fn read<R: FromLogRecord>(
        &self,
    ) -> Result<impl Iterator<Item = Result<R, LogFieldError>> + use<'_, R>, LogColumnError> {
        let reader = LogRecordReader::<R>::new(self.schema())?;
        Ok(self.records.iter().map(move |record| reader.read(record)))
    }

    /// The records as other sinks get them: a line of JSON each, beginning with `"_path":"conn"`.
    #[must_use]
    pub fn to_json_lines(&self) -> Vec<u8> {
        let mut lines = JsonLines::new(self.schema());
        self.records.iter().for_each(|record| lines.record(record));
        lines.take()
    }

    pub(super) fn len(&self) -> u64 {
        self.records.len() as u64
    }

    pub(super) const fn failed(&mut self) {
        self.failures += 1;
    }
}

impl Weigh for LogBatch {
    fn weight(&self) -> usize {
        self.bytes
    }
}

/// What a record takes in memory, about.
pub(super) fn size_of_record(record: &[LogValue]) -> usize {
    size_of::<Record>() + record.iter().map(size_of_value).sum::<usize>()
}

fn size_of_value(value: &LogValue) -> usize {
    let beyond = match value {
        LogValue::Set(elements) | LogValue::Vector(elements) => {
            elements.iter().map(size_of_value).sum()
        }
        other => other.as_bytes().map_or(0, <[u8]>::len),
    };
    size_of::<LogValue>() + beyond
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::LogRecord;

    #[derive(Debug, PartialEq, crate::log::LogRecord, crate::log::FromLogRecord)]
    #[broker(cluster = "crate", path = "hosts")]
    struct Host {
        name: String,
        times: u64,
    }

    fn hosts() -> Vec<Host> {
        let host = |name: &str, times| Host {
            name: name.to_owned(),
            times,
        };
        vec![host("a", 1), host("b", 2)]
    }

    #[test]
    fn records_come_as_values_as_structs_and_as_json() {
        let records: Vec<Record> = hosts().iter().map(LogRecord::to_record).collect();
        let batch = LogBatch::new("Hosts::LOG", Host::schema(), records.clone());
        assert_eq!((batch.stream(), batch.path()), ("Hosts::LOG", "hosts"));
        assert_eq!(batch.records(), records);
        let read: Vec<Host> = batch.read().unwrap().collect::<Result<_, _>>().unwrap();
        assert_eq!(read, hosts());
        assert_eq!(
            batch.to_json_lines(),
            b"{\"_path\":\"hosts\",\"name\":\"a\",\"times\":1}\n{\"_path\":\"hosts\",\"name\":\"b\",\"times\":2}\n"
        );
    }

    #[test]
    fn what_a_record_takes_grows_with_what_is_in_it() {
        let text = LogValue::String(vec![0; 1000]);
        let one = size_of_record(std::slice::from_ref(&text));
        assert!((1000..1200).contains(&one), "{one}");
        let set = size_of_record(&[LogValue::Set(vec![text.clone(), text])]);
        assert!(set > 2000, "{set}");
    }
}
