//! Records of Zeek logs: on the wire, and in files of both forms.

use std::io::Cursor;
use std::sync::Arc;

use broker_cluster::log::{
    Column, ColumnType, Limits, LogFormat, LogItem, LogReader, LogStyle, LogType, LogWriter,
    Record, Schema, serial,
};

/// A record on the wire: a byte that says how many columns there are, two for the type of each, and the record.
pub fn serial(bytes: &[u8]) {
    let Some((&count, rest)) = bytes.split_first() else {
        return;
    };
    let Some((types, data)) = rest.split_at_checked(2 * usize::from(count)) else {
        return;
    };
    let columns: Vec<_> = types
        .chunks(2)
        .map(|tags| column(tags[0], tags[1]))
        .collect();
    let _ = serial::decode_untyped(data);
    let Ok(record) = serial::decode(data, &columns) else {
        return;
    };
    let mut written = Vec::new();
    serial::encode(&record, &columns, &mut written).expect("what was read can be written");
    assert_eq!(serial::decode(&written, &columns).as_ref(), Ok(&record));
    assert_eq!(serial::decode_untyped(&written).as_ref(), Ok(&record));
    let mut cut = record;
    let _ = Limits::default().apply(&mut cut);
    assert!(serial::encode(&cut, &columns, &mut written).is_ok());
}

fn column(ty: u8, element: u8) -> Column {
    let ty = ColumnType::from_tags(ty.into(), element.into())
        .or_else(|| LogType::from_tag(ty.into()).and_then(ColumnType::plain))
        .unwrap_or(ColumnType::STRING);
    Column::new("column", ty)
}

/// A log file: each line is a record or has a reason why not; each record comes back from the wire and from a file of
/// the same form.
pub fn log_file(bytes: &[u8]) {
    let Some((style, parts)) = read(bytes) else {
        return;
    };
    for (schema, records) in parts {
        for record in &records {
            let mut data = Vec::new();
            serial::encode(record, &schema.columns, &mut data).expect("what was read can be sent");
            assert_eq!(serial::decode(&data, &schema.columns).as_ref(), Ok(record));
        }
        let once = written(style.clone(), &schema, &records);
        let Some((again, parts)) = read(&once) else {
            assert!(records.is_empty(), "a log that cannot be read back");
            continue;
        };
        let (reread, same) = &parts[0];
        // JSON tells no types: they are learned from what is there, which is less than there was.
        if again.format == LogFormat::Tsv || reread == &schema {
            assert_eq!(**reread, *schema);
            // Values may be others (a negative zero loses its sign), but look the same from then on.
            assert_eq!(text(&written(again, reread, same)), text(&once));
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

type Part = (Arc<Schema>, Vec<Record>);

/// The records of a file under the columns they came with.
fn read(bytes: &[u8]) -> Option<(LogStyle, Vec<Part>)> {
    let reader = LogReader::from_reader("logs/mine.log", Cursor::new(bytes.to_vec())).ok()?;
    let style = reader.style();
    let mut parts = vec![(Arc::clone(reader.schema()), Vec::new())];
    for item in reader {
        match item.expect("memory can be read") {
            LogItem::Schema(schema) => parts.push((schema, Vec::new())),
            LogItem::Record { record, .. } => {
                if let Some((schema, records)) = parts.last_mut() {
                    assert_eq!(record.len(), schema.columns.len());
                    records.push(record);
                }
            }
            LogItem::BadLine(error) => {
                let line = error.to_string();
                assert!(!line.contains('\n') && line.len() < 4096, "{line:?}");
            }
        }
    }
    Some((style, parts))
}

fn written(style: LogStyle, schema: &Arc<Schema>, records: &[Record]) -> Vec<u8> {
    let writer = LogWriter::new(style, Arc::clone(schema));
    let mut out = Vec::new();
    writer.begin("2026-01-02-03-04-05", &mut out);
    for record in records {
        writer.record(record, &mut out);
    }
    writer.end("2026-01-02-03-04-06", &mut out);
    out
}
