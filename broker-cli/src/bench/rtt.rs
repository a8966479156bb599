//! `bench rtt`: how long an event takes to another node and back, one at a time.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use broker_core::Subscriber;
use serde::Serialize;
use tokio::net::TcpStream;

use super::pair::Pair;
use super::receiver::{PING, PONG, WARM_UP};
use super::workload::Kind;
use super::{Args, checksum, raw_tcp};
use crate::output::Output;

/// The figures of one kind, in microseconds.
#[derive(Debug, Serialize)]
struct Figures {
    bench: &'static str,
    transport: &'static str,
    kind: u8,
    p50_us: f64,
    p99_us: f64,
    raw_tcp_p50_us: f64,
}

/// Measures and prints.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let mut output = Output::stdout();
    if !args.json {
        output.line("kind     p50 us     p99 us   raw TCP p50 us")?;
    }
    for kind in args.kinds() {
        let figures = measure(&args, kind).await?;
        if args.json {
            output.json(&figures)?;
        } else {
            output.line(format!(
                "{:>4} {:>10.1} {:>10.1} {:>16.1}",
                figures.kind, figures.p50_us, figures.p99_us, figures.raw_tcp_p50_us
            ))?;
        }
        output.flush()?;
    }
    Ok(())
}

async fn measure(args: &Args, kind: Kind) -> anyhow::Result<Figures> {
    let mut pair = Pair::start(args.transport).await?;
    let event = kind.event();
    let size = event.to_bytes().len();
    let duration = Duration::from_secs_f64(args.seconds);
    let expected = checksum::of_data(&event);
    let mut publisher = pair.sender.publisher();
    let (start, mut taken) = (Instant::now(), Vec::new());
    while start.elapsed() < WARM_UP + duration {
        let sent = Instant::now();
        publisher.publish(&PING, &event).await?;
        let sum = tokio::time::timeout(PONG_TIMEOUT, pong(&mut pair.answers))
            .await
            .context("no answer came")??;
        let took = sent.elapsed();
        anyhow::ensure!(sum == expected, "an answer came back damaged");
        if start.elapsed() > WARM_UP {
            taken.push(nanos(took));
        }
    }
    let stream = TcpStream::connect(pair.raw).await.context("raw TCP")?;
    let mut raw = raw_tcp::round_trips(stream, size + PING.len(), duration.min(RAW_LIMIT))
        .await
        .context("raw TCP")?;
    pair.stop().await?;
    Ok(Figures {
        bench: "rtt",
        transport: args.transport.name(),
        kind: kind.number(),
        p50_us: percentile(&mut taken, 50)?,
        p99_us: percentile(&mut taken, 99)?,
        raw_tcp_p50_us: percentile(&mut raw, 50)?,
    })
}

/// The checksum of the next answer.
async fn pong(answers: &mut Subscriber) -> anyhow::Result<u64> {
    loop {
        let message = answers.recv().await.context("the receiver has gone")?;
        if message.topic() == &PONG {
            return Ok(checksum::of_payload(message.encoded())?);
        }
    }
}

/// The time in microseconds, to a tenth, that `percent` of the round trips did not exceed.
fn percentile(nanos: &mut [u64], percent: usize) -> anyhow::Result<f64> {
    anyhow::ensure!(!nanos.is_empty(), "no round trip was measured");
    nanos.sort_unstable();
    let index = (nanos.len() * percent).div_ceil(100).max(1) - 1;
    Ok((nanos[index] as f64 / 100.0).round() / 10.0)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The longest run of the yardstick.
const RAW_LIMIT: Duration = Duration::from_secs(2);

/// How long one answer may take.
const PONG_TIMEOUT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let mut nanos: Vec<u64> = (1..=100).rev().map(|value| value * 1_000).collect();
        assert_eq!(percentile(&mut nanos, 50).expect("measured"), 50.0);
        assert_eq!(percentile(&mut nanos, 99).expect("measured"), 99.0);
        assert_eq!(percentile(&mut [7_000], 50).expect("measured"), 7.0);
        assert!(percentile(&mut [], 50).is_err());
    }
}
