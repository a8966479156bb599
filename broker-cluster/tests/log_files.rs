//! Real logs of several Zeek versions, read and written again: TSV as TSV, JSON as JSON, and every
//! record through its wire form in between.
//!
//! With `ZEEK_LOGS_DIR` set, the same is done for all logs in that directory and the one `json`
//! below it.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use broker_cluster::log::{
    JsonOptions, JsonWriter, LogFormat, LogItem, LogReader, LogValue, Record, TsvWriter, serial,
};

/// Logs whose lines come out byte for byte; the others hold spellings Zeek has given up since.
const SAME_BYTES: [&str; 3] = ["conn", "dns", "http"];

#[test]
fn every_log_comes_out_as_it_went_in() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/zeek-logs");
    assert_eq!(check_directory(&directory), 18);
}

#[test]
fn every_log_of_the_directory_named_by_the_environment_comes_out_as_it_went_in() {
    match std::env::var_os("ZEEK_LOGS_DIR") {
        Some(directory) => {
            let logs = check_directory(Path::new(&directory));
            println!("{logs} logs in {}", Path::new(&directory).display());
        }
        None => println!("ZEEK_LOGS_DIR is not set: only the excerpts in tests/golden were read"),
    }
}

#[test]
fn older_spellings_come_out_in_todays() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/zeek-logs");
    let dhcp = rewrite(&directory.join("dhcp.log"));
    assert!(dhcp.contains("\t4294967000.000000\t"), "{dhcp}");
    let ssl = rewrite(&directory.join("ssl.log"));
    assert!(ssl.contains("O=Amazon.com\\\\, Inc."), "{ssl}");
    let x509 = rewrite(&directory.join("x509.log"));
    assert!(x509.contains("O=Entrust\\\\, Inc."), "{x509}");
    let files = rewrite(&directory.join("files.log"));
    assert!(
        files.contains("\tset[addr]\tset[addr]\tset[string]\t"),
        "{files}"
    );
}

fn check_directory(directory: &Path) -> usize {
    let mut logs = 0;
    for directory in [directory.to_owned(), directory.join("json")] {
        for path in log_files(&directory) {
            check(&path);
            logs += 1;
        }
    }
    logs
}

fn log_files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let files = entries.map(|entry| entry.unwrap().path());
    files
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect()
}

fn check(path: &Path) {
    let stem = path.file_stem().unwrap().to_str().unwrap();
    let format = LogReader::open(path).unwrap().format();
    let (records, lines) = read(path);
    let written = rewrite(path);
    let written_lines: Vec<&str> = data_lines(&written);
    let file = std::fs::read_to_string(path).unwrap();
    assert_eq!(data_lines(&file).len(), records.len(), "{}", path.display());
    assert_eq!(written_lines.len(), records.len(), "{}", path.display());
    for ((original, written), line) in data_lines(&file).iter().zip(&written_lines).zip(lines) {
        let place = format!("{}:{line}", path.display());
        match format {
            LogFormat::Tsv if SAME_BYTES.contains(&stem) => {
                assert_eq!(original, written, "{place}")
            }
            LogFormat::Tsv => assert_eq!(todays(original), *written, "{place}"),
            LogFormat::Json => assert_eq!(members(original), members(written), "{place}"),
        }
    }
    // What was written is read as the same records.
    let copy = tempfile::tempdir().unwrap();
    let copy = copy.path().join(path.file_name().unwrap());
    std::fs::write(&copy, &written).unwrap();
    assert_eq!(read(&copy).0, records, "{}", path.display());
}

/// The log as one of its form, each record having been encoded and decoded on the way.
fn rewrite(path: &Path) -> String {
    let reader = LogReader::open(path).unwrap();
    let schema = reader.schema().clone();
    let (tsv, json) = (
        TsvWriter::default(),
        JsonWriter::new(JsonOptions::default(), &schema),
    );
    let format = reader.format();
    let mut out = Vec::new();
    if format == LogFormat::Tsv {
        tsv.header(&schema, "2026-01-02-03-04-05", &mut out);
    }
    let (mut data, mut records) = (Vec::new(), 0);
    for item in reader {
        let LogItem::Record { record, .. } = item.unwrap() else {
            panic!("{}: no record", path.display())
        };
        data.clear();
        serial::encode(&record, &schema.columns, &mut data).unwrap();
        let received = serial::decode(&data, &schema.columns).unwrap();
        assert_eq!(received, record);
        match format {
            LogFormat::Tsv => tsv.record(&received, &mut out),
            LogFormat::Json => json.record(&received, &mut out),
        }
        records += 1;
    }
    assert!(records > 0);
    String::from_utf8(out).unwrap()
}

fn read(path: &Path) -> (Vec<Record>, Vec<u64>) {
    let items = LogReader::open(path)
        .unwrap()
        .map(|item| match item.unwrap() {
            LogItem::Record { line, record } => (record, line),
            other => panic!("{}: {other:?}", path.display()),
        });
    items.unzip()
}

fn data_lines(file: &str) -> Vec<&str> {
    file.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect()
}

/// A line of an older Zeek, as today's would write it.
fn todays(line: &str) -> String {
    line.replace("4.294967e+09", "4294967000.000000")
        .replace("\\\\,", "\\,")
        .replace("\\,", "\\\\,")
}

/// The members of an object, numbers as numbers.
fn members(line: &str) -> HashMap<String, serde_json::Value> {
    let object: HashMap<String, serde_json::Value> = serde_json::from_str(line).unwrap();
    object
        .into_iter()
        .map(|(key, value)| (key, by_value(value)))
        .collect()
}

fn by_value(value: serde_json::Value) -> serde_json::Value {
    match value {
        serde_json::Value::Array(elements) => elements.into_iter().map(by_value).collect(),
        // Digits may differ where the number is the same; its bits may not.
        serde_json::Value::Number(number) if number.to_string().contains(['.', 'e']) => {
            let number: f64 = number.to_string().parse().unwrap();
            serde_json::Value::String(format!("{:016x}", number.to_bits()))
        }
        other => other,
    }
}

#[test]
fn values_have_the_types_of_their_columns() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/zeek-logs/json");
    let reader = LogReader::open(&directory.join("dns.log")).unwrap();
    let types: Vec<_> = reader
        .schema()
        .columns
        .iter()
        .map(|column| format!("{}:{}", column.name, column.ty))
        .collect();
    for expected in [
        "ts:time",
        "id.orig_h:addr",
        "id.resp_p:port",
        "proto:enum",
        "rtt:interval",
        "TTLs:vector[interval]",
    ] {
        assert!(
            types.iter().any(|ty| ty == expected),
            "{expected} in {types:?}"
        );
    }
    assert_eq!(reader.schema().stream_id(), "DNS::LOG");
    let orig_h = reader.schema().position("id.orig_h").unwrap();
    for item in reader {
        let LogItem::Record { record, .. } = item.unwrap() else {
            panic!("no record")
        };
        assert!(matches!(record[orig_h], LogValue::Addr(_)));
    }
}
