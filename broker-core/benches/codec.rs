//! What encoding and decoding cost, for three kinds of events: a small one, one like a line of conn.log, and one with a
//! table of a hundred sets.

use std::hint::black_box;
use std::net::Ipv4Addr;

use broker_core::binary::{self, DecodeRules};
use broker_core::json::{self, Style};
use broker_core::zeek::Event;
use broker_core::{Data, DataView, Port, Set, Table, Timespan, Timestamp, Visitor};
use bytes::BytesMut;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

fn kinds() -> [(u32, Data); 3] {
    let now = Timestamp::from_nanos(1_700_000_000_123_456_789);
    let small = Event::new("event_1", vec![42i64.into(), "test".into()]);
    let id = Data::vector([
        Data::from(Ipv4Addr::new(192, 168, 9, 8)),
        Port::tcp(49_152).into(),
        Ipv4Addr::new(203, 0, 113, 77).into(),
        Port::tcp(443).into(),
    ]);
    let conn = Event::new(
        "event_2",
        vec![
            now.into(),
            "CHhAvVGS1DHFjwGM9".into(),
            id,
            Data::enum_value("tcp"),
            "ssl".into(),
            Timespan::from_nanos(2_345_678_000).into(),
            1234u64.into(),
            56_789u64.into(),
            "SF".into(),
            true.into(),
            false.into(),
            0u64.into(),
            "ShADadFf".into(),
            17u64.into(),
            2134u64.into(),
            19u64.into(),
            57_777u64.into(),
            Set::from_iter(["CUM0KZ3MLUfNB0cl11", "CP5puj4I8PtEU4qzYg"]).into(),
        ],
    );
    let table: Table = (0..100)
        .map(|key| {
            let set: Set = (0..10).map(|element| format!("v{key}-{element}")).collect();
            (format!("key-{key}"), set)
        })
        .collect();
    let large = Event::new("event_3", vec![now.into(), table.into()]);
    [(1, small.into()), (2, conn.into()), (3, large.into())]
}

/// Looks at each number and each byte, as a receiver does.
#[derive(Default)]
struct Checksum(u64);

impl Visitor for Checksum {
    fn boolean(&mut self, value: bool) {
        self.0 += u64::from(value);
    }
    fn count(&mut self, value: u64) {
        self.0 = self.0.wrapping_add(value);
    }
    fn integer(&mut self, value: i64) {
        self.0 = self.0.wrapping_add(value.cast_unsigned());
    }
    fn string(&mut self, value: &[u8]) {
        self.0 += value.iter().map(|byte| u64::from(*byte)).sum::<u64>();
    }
    fn timestamp(&mut self, value: Timestamp) {
        self.0 = self.0.wrapping_add(value.as_nanos().cast_unsigned());
    }
}

fn codec(c: &mut Criterion) {
    for (kind, data) in kinds() {
        let bytes = data.to_bytes();
        let mut group = c.benchmark_group("core/binary");
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        let mut out = BytesMut::new();
        group.bench_function(BenchmarkId::new("encode", kind), |b| {
            b.iter(|| {
                out.clear();
                black_box(&data).encode(&mut out);
                out.len()
            });
        });
        group.bench_function(BenchmarkId::new("decode", kind), |b| {
            b.iter(|| Data::decode(black_box(&bytes)))
        });
        group.bench_function(BenchmarkId::new("check", kind), |b| {
            b.iter(|| binary::check(black_box(&bytes), DecodeRules::DATA))
        });
        group.bench_function(BenchmarkId::new("check-sound", kind), |b| {
            b.iter(|| binary::check_sound(black_box(&bytes), DecodeRules::DATA));
        });
        group.bench_function(BenchmarkId::new("view", kind), |b| {
            b.iter(|| DataView::parse(black_box(&bytes)).map(|view| view.kind()))
        });
        group.bench_function(BenchmarkId::new("visit", kind), |b| {
            b.iter(|| {
                let mut sum = Checksum::default();
                binary::walk(black_box(&bytes), DecodeRules::DATA, &mut sum).map(|()| sum.0)
            });
        });
        group.finish();

        let mut text = Vec::new();
        json::write_value(&data, Style::Broker, &mut text);
        let mut group = c.benchmark_group("core/json");
        group.throughput(Throughput::Bytes(text.len() as u64));
        for (name, style) in [
            ("encode-broker", Style::Broker),
            ("encode-exact", Style::Exact),
        ] {
            let mut out = Vec::new();
            group.bench_function(BenchmarkId::new(name, kind), |b| {
                b.iter(|| {
                    out.clear();
                    json::write_value(black_box(&data), style, &mut out);
                    out.len()
                });
            });
        }
        group.bench_function(BenchmarkId::new("decode", kind), |b| {
            b.iter(|| json::parse_value(black_box(&text)))
        });
        group.finish();
    }
}

criterion_group!(benches, codec);
criterion_main!(benches);
