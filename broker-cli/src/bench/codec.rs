//! `bench codec`: nanoseconds per encode, decode and view of each kind, binary and JSON.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use broker_core::{Data, binary, json};
use bytes::BytesMut;
use serde::Serialize;

use super::workload::Kind;
use super::{CodecArgs, checksum};
use crate::output::Output;

/// The figures of one kind.
#[derive(Debug, Serialize)]
struct Figures {
    bench: &'static str,
    kind: u8,
    encode_ns: f64,
    decode_ns: f64,
    view_ns: f64,
    json_encode_ns: f64,
    json_decode_ns: f64,
}

/// Measures and prints.
pub(super) fn run(args: &CodecArgs) -> anyhow::Result<()> {
    let mut output = Output::stdout();
    if !args.json {
        output.line("kind  encode ns  decode ns    view ns  JSON encode ns  JSON decode ns")?;
    }
    for kind in args
        .kind
        .map_or_else(|| Kind::ALL.to_vec(), |kind| vec![kind])
    {
        let figures = measure(kind, Duration::from_secs_f64(args.seconds) / OPERATIONS)?;
        if args.json {
            output.json(&figures)?;
        } else {
            output.line(format!(
                "{:>4} {:>10.0} {:>10.0} {:>10.0} {:>15.0} {:>15.0}",
                figures.kind,
                figures.encode_ns,
                figures.decode_ns,
                figures.view_ns,
                figures.json_encode_ns,
                figures.json_decode_ns
            ))?;
        }
        output.flush()?;
    }
    Ok(())
}

fn measure(kind: Kind, time_for_each: Duration) -> anyhow::Result<Figures> {
    let event = kind.event();
    let encoded = event.to_bytes();
    let mut text = Vec::new();
    json::write_value(&event, json::Style::Exact, &mut text);
    // What is measured below must be what it says.
    anyhow::ensure!(
        Data::decode(&encoded)? == event,
        "decoding gave another value"
    );
    anyhow::ensure!(
        json::parse_value(&text).context("JSON")? == event,
        "reading JSON gave another value"
    );
    anyhow::ensure!(
        checksum::of_payload(&encoded)? == checksum::of_data(&event),
        "viewing gave another value"
    );

    let mut bytes = BytesMut::with_capacity(encoded.len());
    let mut line = Vec::with_capacity(text.len());
    Ok(Figures {
        bench: "codec",
        kind: kind.number(),
        encode_ns: time(time_for_each, || {
            bytes.clear();
            binary::encode(black_box(&event), &mut bytes);
            black_box(&bytes);
        }),
        decode_ns: time(time_for_each, || {
            drop(black_box(Data::decode(black_box(&encoded))))
        }),
        view_ns: time(time_for_each, || {
            drop(black_box(checksum::of_payload(black_box(&encoded))))
        }),
        json_encode_ns: time(time_for_each, || {
            line.clear();
            json::write_value(black_box(&event), json::Style::Exact, &mut line);
            black_box(&line);
        }),
        json_decode_ns: time(time_for_each, || {
            drop(black_box(json::parse_value(black_box(&text))))
        }),
    })
}

/// Nanoseconds that `operation` takes on average, to a tenth; the first fifth of `duration` is not counted.
fn time(duration: Duration, mut operation: impl FnMut()) -> f64 {
    let warm = Instant::now();
    while warm.elapsed() < duration / 5 {
        operation();
    }
    let (start, mut times) = (Instant::now(), 0u64);
    loop {
        for _ in 0..BETWEEN_CLOCKS {
            operation();
        }
        times += BETWEEN_CLOCKS;
        let elapsed = start.elapsed();
        if elapsed >= duration * 4 / 5 {
            return (elapsed.as_secs_f64() * 1e10 / times as f64).round() / 10.0;
        }
    }
}

/// Operations measured for each kind.
const OPERATIONS: u32 = 5;

/// Operations between two looks at the clock.
const BETWEEN_CLOCKS: u64 = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_of_every_kind_takes_some_time() {
        for kind in Kind::ALL {
            let figures = measure(kind, Duration::from_millis(1)).expect("measured");
            for time in [
                figures.encode_ns,
                figures.decode_ns,
                figures.view_ns,
                figures.json_encode_ns,
                figures.json_decode_ns,
            ] {
                assert!(time > 0.0, "{figures:?}");
            }
        }
    }
}
