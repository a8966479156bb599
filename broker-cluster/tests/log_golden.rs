//! Log files and wire records against what Zeek 9.1-dev wrote: the 296 cases of
//! `golden/zeek-format-cases.md` as TSV and as JSON, and the log messages of a recorded session.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::io::Cursor;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use broker_cluster::log::{
    Column, ColumnType, JsonOptions, JsonWriter, Limits, LogFormat, LogItem, LogPort, LogReader,
    LogSubnet, LogValue, PortProtocol, Record, Schema, TsvWriter, serial,
};
use broker_cluster::logging::{LogClient, LogReceiver, LogSpec};
use broker_core::{Endpoint, MemNetwork, MemTransport};

#[test]
fn tsv_comes_out_as_zeek_writes_it() {
    let (schema, records) = format_cases();
    let expected = golden("zeek-format-cases.log");
    let mut out = Vec::new();
    let writer = TsvWriter::default();
    writer.header(&schema, meta_line(&expected, "#open\t"), &mut out);
    for record in &records {
        writer.record(record, &mut out);
    }
    writer.footer(meta_line(&expected, "#close\t"), &mut out);
    assert_same_lines(&out, &expected);
}

#[test]
fn json_comes_out_as_zeek_writes_it() {
    let (schema, records) = format_cases();
    let writer = JsonWriter::new(JsonOptions::default(), &schema);
    let mut out = Vec::new();
    for record in &records {
        writer.record(record, &mut out);
    }
    assert_same_lines(&out, &golden("zeek-format-cases.json.log"));
}

/// Sends the cases to a logger, as a worker would; returns the file it makes of them.
async fn through_a_logger(format: LogFormat) -> Vec<u8> {
    let network = MemNetwork::new();
    let endpoint = || {
        Endpoint::builder()
            .transport(MemTransport::new(&network))
            .start()
    };
    let (worker, logger) = (endpoint(), endpoint());
    let dir = tempfile::tempdir().unwrap();
    let receiver = LogReceiver::start(&logger, "logger-1", dir.path(), format).unwrap();
    logger
        .listen(&"mem://logger".parse().unwrap())
        .await
        .unwrap();
    worker
        .connect("mem://logger".parse().unwrap())
        .await
        .unwrap();
    let (schema, records) = format_cases();
    let client = LogClient::standalone(&worker);
    let mut log = client.stream(LogSpec::new(schema)).await.unwrap();
    for record in &records {
        log.write(record).await.unwrap();
    }
    assert!(client.drained(Duration::from_secs(30)).await);
    worker.shutdown().await;
    receiver.close().await;
    logger.shutdown().await;
    let counted = receiver.counters().into_values().next().unwrap();
    assert_eq!((counted.received, counted.written), (296, 296));
    std::fs::read(dir.path().join("zeek-format-cases.log")).unwrap()
}

#[tokio::test]
async fn a_logger_writes_every_case_as_zeek_does() {
    let ours = String::from_utf8(through_a_logger(LogFormat::Tsv).await).unwrap();
    let expected = golden("zeek-format-cases.log");
    // When the file was opened and closed is the one thing that differs.
    let with_times_of_zeek = |line: &str| match line.split_once('\t') {
        Some((word @ ("#open" | "#close"), time)) => {
            assert_eq!(time.len(), "2026-11-23-07-15-17".len(), "{line}");
            let zeeks = meta_line(&expected, &format!("{word}\t"));
            format!("{word}\t{zeeks}\n")
        }
        _ => format!("{line}\n"),
    };
    let ours: String = ours.lines().map(with_times_of_zeek).collect();
    assert_same_lines(ours.as_bytes(), &expected);
}

#[tokio::test]
async fn a_logger_writes_every_case_as_the_json_zeek_writes() {
    let ours = through_a_logger(LogFormat::Json).await;
    assert_same_lines(&ours, &golden("zeek-format-cases.json.log"));
}

#[test]
fn what_zeek_wrote_as_tsv_is_read_and_written_back() {
    let file = golden("zeek-format-cases.log");
    let (schema, records) = read("zeek-format-cases.log");
    let writer = TsvWriter::default();
    let d = schema.position("d").unwrap();
    let vd = schema.position("vd").unwrap();
    let lines = file
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty() && line[0] != b'#');
    let mut compared = 0;
    for (line, record) in lines.zip(&records) {
        let text = String::from_utf8_lossy(line);
        let fields: Vec<_> = text.split('\t').collect();
        // `1` is a double that was rounded to an integer and `1.0` one that is an integer; what is read
        // from the first is an integer too. So is negative zero, of which only `-0` is left.
        let rounded = |text: &str| !text.contains(['.', 'n']) || text == "-0.0";
        if rounded_double(fields[d], rounded) || rounded_double(fields[vd], rounded) {
            continue;
        }
        let mut out = Vec::new();
        writer.record(record, &mut out);
        assert_eq!(String::from_utf8_lossy(&out).trim_end_matches('\n'), text);
        compared += 1;
    }
    assert_eq!((records.len(), compared), (296, 283));
}

fn rounded_double(field: &str, rounded: impl Fn(&str) -> bool) -> bool {
    field != "-" && field.split(',').any(rounded)
}

#[test]
fn what_zeek_wrote_as_json_is_read_and_written_back() {
    let (schema, records) = read("zeek-format-cases.json.log");
    let mut out = Vec::new();
    let writer = JsonWriter::new(JsonOptions::default(), &schema);
    for record in &records {
        writer.record(record, &mut out);
    }
    assert_same_lines(&out, &golden("zeek-format-cases.json.log"));
}

#[test]
fn strings_addresses_and_numbers_read_from_tsv_are_the_inputs() {
    let (_, records) = format_cases();
    let (_, read) = read("zeek-format-cases.log");
    assert_eq!(records.len(), read.len());
    for (number, (input, read)) in records.iter().zip(&read).enumerate() {
        for (input, read) in input.iter().zip(read) {
            let text_tells = match input {
                // Six decimals, no protocol, and one mark for several kinds of empty.
                LogValue::Double(_)
                | LogValue::Time(_)
                | LogValue::Interval(_)
                | LogValue::Port(_) => false,
                LogValue::Set(elements) | LogValue::Vector(elements) => {
                    let plain =
                        |e: &LogValue| matches!(e, LogValue::String(text) if !text.is_empty());
                    elements.iter().all(plain)
                }
                _ => true,
            };
            assert!(
                !text_tells || input == read,
                "case {number}: {input:?} was read as {read:?}"
            );
        }
    }
}

#[test]
fn recorded_log_writes_decode_and_encode_to_the_same_bytes() {
    let streams = recorded_streams();
    let mut writes = 0;
    for stream in &streams {
        for data in &stream.writes {
            let record = serial::decode(data, &stream.schema.columns).unwrap();
            let mut again = Vec::new();
            serial::encode(&record, &stream.schema.columns, &mut again).unwrap();
            assert_eq!(&again, data);
            assert_eq!(serial::decode_untyped(data).unwrap(), record);
            writes += 1;
        }
    }
    assert_eq!(writes, 4);
}

#[test]
fn recorded_log_writes_become_the_files_zeek_made_of_them() {
    let streams = recorded_streams();
    let stream = streams
        .iter()
        .find(|stream| stream.schema.path == "golden")
        .unwrap();
    let records = stream
        .writes
        .iter()
        .map(|data| serial::decode(data, &stream.schema.columns).unwrap());
    let tsv_file = golden("zeek-golden.log");
    let (tsv, json) = (
        TsvWriter::default(),
        JsonWriter::new(JsonOptions::default(), &stream.schema),
    );
    let (mut tsv_out, mut json_out) = (Vec::new(), Vec::new());
    tsv.header(
        &stream.schema,
        meta_line(&tsv_file, "#open\t"),
        &mut tsv_out,
    );
    for record in records {
        tsv.record(&record, &mut tsv_out);
        json.record(&record, &mut json_out);
    }
    tsv.footer(meta_line(&tsv_file, "#close\t"), &mut tsv_out);
    assert_same_lines(&tsv_out, &tsv_file);
    // The JSON file is of another run, in which the set was hashed into another order.
    let json_out = String::from_utf8(json_out).unwrap();
    let json_out = json_out.replace(r#""ss":["-","x","y,z"]"#, r#""ss":["x","y,z","-"]"#);
    assert_same_lines(json_out.as_bytes(), &golden("zeek-golden.json.log"));
}

#[test]
fn columns_of_a_file_have_the_numbers_zeek_announced_for_them() {
    let streams = recorded_streams();
    let announced = &streams
        .iter()
        .find(|stream| stream.schema.path == "golden")
        .unwrap()
        .schema;
    let (schema, _) = read("zeek-golden.log");
    assert_eq!(schema.stream_id(), "Golden::LOG");
    assert_eq!(schema.columns.len(), announced.columns.len());
    for (column, announced) in schema.columns.iter().zip(&announced.columns) {
        let ((name, ty, element, _), (zeeks_name, zeeks_ty, zeeks_element, _)) =
            (column.to_wire(), announced.to_wire());
        assert_eq!((name, ty, element), (zeeks_name, zeeks_ty, zeeks_element));
    }
}

struct Recorded {
    schema: Schema,
    writes: Vec<Vec<u8>>,
}

fn recorded_streams() -> Vec<Recorded> {
    let text = String::from_utf8(golden("zeek-serial-data.txt")).unwrap();
    let mut ids: Vec<String> = Vec::new();
    let mut streams: Vec<Recorded> = Vec::new();
    for line in text.lines() {
        let words: Vec<_> = line.split(' ').collect();
        match words[..] {
            ["create", id, path] => {
                ids.push(id.to_owned());
                streams.push(Recorded {
                    schema: schema(path, Vec::new()),
                    writes: Vec::new(),
                });
            }
            ["column", name, ty, element, optional] => {
                let column = Column::from_wire(
                    name,
                    ty.parse().unwrap(),
                    element.parse().unwrap(),
                    optional.parse().unwrap(),
                );
                streams
                    .last_mut()
                    .unwrap()
                    .schema
                    .columns
                    .push(column.unwrap());
            }
            ["write", id, data] => {
                let at = ids.iter().position(|known| known == id).unwrap();
                streams[at].writes.push(hex(data));
            }
            _ => assert!(line.starts_with('#'), "{line}"),
        }
    }
    streams
}

/// The columns and the records of the cases, after the limits Zeek applies before writing.
fn format_cases() -> (Schema, Vec<Record>) {
    let text = String::from_utf8(golden("zeek-format-cases.md")).unwrap();
    let rows = text
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let rows: Vec<Vec<&str>> = rows.map(|row| row.split(" | ").collect()).collect();
    let columns = rows.iter().filter(|row| row.len() == 2);
    let columns = columns.filter_map(|row| Some(Column::new(row[0], ColumnType::parse(row[1])?)));
    let schema = schema("zeek-format-cases", columns.collect());
    let cases = rows.iter().filter(|row| row.len() == 5 && row[0] != "n");
    let records = cases.map(|row| {
        let number: usize = row[0].parse().unwrap();
        let mut record = vec![LogValue::Unset; schema.columns.len()];
        record[0] = LogValue::Count(number as u64);
        if row[1] == "n2" {
            record[schema.position("n2.x").unwrap()] = LogValue::Count(1);
            if number == 295 {
                record[schema.position("n2.y").unwrap()] = string(b"-");
            }
        } else {
            record[schema.position(row[1]).unwrap()] = input(number, row[1], row[2]);
        }
        Limits::default().apply(&mut record);
        record
    });
    let records: Vec<_> = records.collect();
    assert_eq!(records.len(), 296);
    (schema, records)
}

/// The value a case was made of: what the cell says where it says it mechanically, else by number.
fn input(number: usize, column: &str, cell: &str) -> LogValue {
    let first = cell.split(' ').next().unwrap();
    let float = || {
        let bits = cell
            .split("f64 ")
            .nth(1)
            .unwrap_or_else(|| panic!("case {number}: {cell}"));
        f64::from_bits(u64::from_str_radix(&bits[..16], 16).unwrap())
    };
    match column {
        "d" => LogValue::Double(float()),
        "iv" => LogValue::Interval(float()),
        "t" => LogValue::Time(float()),
        "i" => LogValue::Int(cell.parse().unwrap()),
        "c" => LogValue::Count(cell.parse().unwrap()),
        "b" => LogValue::Bool(cell.parse().unwrap()),
        "a" => LogValue::addr(cell.parse().unwrap()),
        "sn" => LogValue::Subnet(subnet(cell)),
        "p" => LogValue::Port(port(cell)),
        "s" => LogValue::String(match number {
            204 => vec![b'x'; 4096],
            205 => vec![b'x'; 4097],
            206 => [vec![b'x'; 4095], b"\xc3\xbc".to_vec()].concat(),
            207 => [vec![b'x'; 4090], vec![b'\t'; 7]].concat(),
            _ if first == "empty" => Vec::new(),
            _ => hex(cell.split(' ').nth(1).unwrap()),
        }),
        "ss" => LogValue::Set(match cell.split_once(", ") {
            None => Vec::new(),
            Some((_, "empty")) => vec![string(b"")],
            Some((_, element)) => vec![string(&hex(element.strip_prefix("hex ").unwrap()))],
        }),
        _ => by_number(number),
    }
}

fn by_number(number: usize) -> LogValue {
    let name = |name: &str| LogValue::Enum(name.as_bytes().to_vec());
    let vector = LogValue::Vector;
    let strings = |all: &[&[u8]]| LogValue::Vector(all.iter().map(|text| string(text)).collect());
    let addr = |text: &str| LogValue::addr(text.parse().unwrap());
    let network = |text: &str| LogValue::Subnet(subnet(text));
    let numbered =
        |n: usize| LogValue::Vector((0..n).map(|n| string(n.to_string().as_bytes())).collect());
    match number {
        244 => name("Fmt::ONE"),
        245 => name("Fmt::TWO"),
        246 => name("GLOB"),
        260 => LogValue::Set(vec![LogValue::Count(7)]),
        261 => LogValue::Set(vec![addr("2001:db8::1")]),
        262 => LogValue::Set(vec![LogValue::Port(port("53/udp"))]),
        263 => LogValue::Set(vec![name("Fmt::ONE")]),
        264 => LogValue::Set(vec![network("10.0.0.0/8")]),
        265 => LogValue::Set(vec![LogValue::Double(2.5)]),
        266 | 292 => vector(Vec::new()),
        267 => strings(&[b""]),
        268 => strings(&[b"-"]),
        269 => strings(&[b"(empty)"]),
        270 => strings(&[b"a", b"b", b"c"]),
        271 => strings(&[b"", b""]),
        272 => strings(&[b"a,b", b"c"]),
        273 => strings(&[b"a\tb", b"\\", b"x\"y"]),
        274 => strings(&[b"\xff", b"\xc3\xbc"]),
        275 => strings(&[b"a", b"-", b""]),
        276 => vector(vec![string(b"a"), LogValue::Unset, string(b"c")]),
        277 => vector(vec![LogValue::Unset, string(b"b")]),
        278 => vector(vec![LogValue::Unset, LogValue::Unset, string(b"")]),
        279 => numbered(100),
        280 => numbered(101),
        281 => vector(
            [0.5, 1e10, -0.0, 1e-7, 1e17, 1.0]
                .map(LogValue::Double)
                .to_vec(),
        ),
        282 => vector(
            [f64::INFINITY, f64::NEG_INFINITY, f64::NAN]
                .map(LogValue::Double)
                .to_vec(),
        ),
        283 => vector([-1, 0, 1].map(LogValue::Int).to_vec()),
        284 => vector([true, false].map(LogValue::Bool).to_vec()),
        285 => vector([1700000000.123456, 0.0].map(LogValue::Time).to_vec()),
        286 => vector([90.0, -1e-6].map(LogValue::Interval).to_vec()),
        287 => vector(
            ["80/tcp", "53/udp"]
                .map(|text| LogValue::Port(port(text)))
                .to_vec(),
        ),
        288 => vector(["192.0.2.1", "::1"].map(addr).to_vec()),
        289 => vector(["10.0.0.0/8", "2001:db8::/32"].map(network).to_vec()),
        290 => vector(["Fmt::ONE", "Fmt::TWO"].map(name).to_vec()),
        291 => vector([0, u64::MAX].map(LogValue::Count).to_vec()),
        293 => LogValue::File(b"fmt.txt".to_vec()),
        _ => panic!("no input for case {number}"),
    }
}

fn string(text: &[u8]) -> LogValue {
    LogValue::String(text.to_vec())
}

fn subnet(text: &str) -> LogSubnet {
    let (address, length) = text.split_once('/').unwrap();
    LogSubnet::new(address.parse::<IpAddr>().unwrap(), length.parse().unwrap()).unwrap()
}

fn port(text: &str) -> LogPort {
    let (number, protocol) = text.split_once('/').unwrap();
    let protocol = match protocol {
        "tcp" => PortProtocol::Tcp,
        "udp" => PortProtocol::Udp,
        "icmp" => PortProtocol::Icmp,
        _ => PortProtocol::Unknown,
    };
    LogPort {
        number: number.parse().unwrap(),
        protocol,
    }
}

fn schema(path: &str, columns: Vec<Column>) -> Schema {
    Schema {
        path: path.to_owned(),
        columns,
    }
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn golden(name: &str) -> Vec<u8> {
    std::fs::read(golden_path(name)).unwrap()
}

fn golden_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

fn read(name: &str) -> (Schema, Vec<Record>) {
    let reader = LogReader::from_reader(name, Cursor::new(golden(name))).unwrap();
    let schema = reader.schema().as_ref().clone();
    let record = |item| match item {
        Ok(LogItem::Record { record, .. }) => record,
        other => panic!("{other:?}"),
    };
    (schema, reader.map(record).collect())
}

/// What follows `start` in the line of the file that begins so.
fn meta_line<'a>(file: &'a [u8], start: &str) -> &'a str {
    let mut lines = file.split(|byte| *byte == b'\n');
    std::str::from_utf8(
        lines
            .find_map(|line| line.strip_prefix(start.as_bytes()))
            .unwrap(),
    )
    .unwrap()
}

fn assert_same_lines(ours: &[u8], theirs: &[u8]) {
    for (ours, theirs) in ours
        .split(|byte| *byte == b'\n')
        .zip(theirs.split(|byte| *byte == b'\n'))
    {
        assert_eq!(
            String::from_utf8_lossy(ours),
            String::from_utf8_lossy(theirs)
        );
    }
    assert!(ours == theirs, "{} bytes, not {}", ours.len(), theirs.len());
}
