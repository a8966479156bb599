//! `bench pubsub`: messages a second from one node to another.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use broker_core::{Data, Message};
use serde::Serialize;
use tokio::net::TcpStream;

use super::pair::Pair;
use super::receiver::{EVENTS, REPORT, Report, STOP, WARM_UP};
use super::workload::Kind;
use super::{Args, checksum, raw_tcp};
use crate::output::Output;

/// The figures of one kind.
#[derive(Debug, Serialize)]
struct Figures {
    bench: &'static str,
    transport: &'static str,
    kind: u8,
    messages_per_s: f64,
    megabytes_per_s: f64,
    lost: u64,
    raw_tcp_messages_per_s: f64,
}

/// Measures and prints.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let mut output = Output::stdout();
    if !args.json {
        output.line("kind   messages/s       MB/s   lost   raw TCP messages/s")?;
    }
    let mut damaged = false;
    for kind in args.kinds() {
        let (figures, intact) = measure(&args, kind).await?;
        damaged |= !intact || figures.lost > 0;
        if args.json {
            output.json(&figures)?;
        } else {
            output.line(format!(
                "{:>4} {:>12.0} {:>10.1} {:>6} {:>20.0}",
                figures.kind,
                figures.messages_per_s,
                figures.megabytes_per_s,
                figures.lost,
                figures.raw_tcp_messages_per_s
            ))?;
        }
        output.flush()?;
    }
    anyhow::ensure!(!damaged, "messages were lost or damaged");
    Ok(())
}

/// The figures of one kind, and whether what arrived was what was sent.
async fn measure(args: &Args, kind: Kind) -> anyhow::Result<(Figures, bool)> {
    let mut pair = Pair::start(args.transport).await?;
    let event = kind.event();
    let duration = Duration::from_secs_f64(args.seconds);
    let sent = send(&pair, &event, WARM_UP + duration).await?;
    let report = report(&mut pair).await?;
    let size = event.to_bytes().len();
    let stream = TcpStream::connect(pair.raw).await.context("raw TCP")?;
    let raw = raw_tcp::send_frames(stream, size + EVENTS.len(), duration.min(RAW_LIMIT))
        .await
        .context("raw TCP")?;
    pair.stop().await?;

    anyhow::ensure!(
        report.measured > 0,
        "nothing arrived within the time measured"
    );
    let per_second = report.measured as f64 / Duration::from_nanos(report.nanos).as_secs_f64();
    let intact = report.checksum == checksum::of_data(&event).wrapping_mul(report.received);
    let figures = Figures {
        bench: "pubsub",
        transport: args.transport.name(),
        kind: kind.number(),
        messages_per_s: per_second.round(),
        megabytes_per_s: (per_second * size as f64 / 1e5).round() / 10.0,
        lost: sent.saturating_sub(report.received),
        raw_tcp_messages_per_s: raw.round(),
    };
    Ok((figures, intact))
}

/// Publishes `event` over and over for `duration`, and says how often.
async fn send(pair: &Pair, event: &Data, duration: Duration) -> anyhow::Result<u64> {
    let mut publisher = pair.sender.publisher();
    let (start, mut sent) = (Instant::now(), 0);
    while start.elapsed() < duration {
        for _ in 0..BETWEEN_CLOCKS {
            publisher.publish(&EVENTS, event).await?;
        }
        sent += BETWEEN_CLOCKS;
    }
    pair.sender.publish(Message::new(STOP, sent)).await?;
    Ok(sent)
}

async fn report(pair: &mut Pair) -> anyhow::Result<Report> {
    let wait = async {
        while let Some(message) = pair.answers.recv().await {
            if message.topic() == &REPORT {
                return Report::from_data(message.data()?)
                    .context("the receiver's report is damaged");
            }
        }
        anyhow::bail!("the receiver has gone")
    };
    tokio::time::timeout(REPORT_TIMEOUT, wait)
        .await
        .context("the receiver does not report")?
}

/// Messages between two looks at the clock.
const BETWEEN_CLOCKS: u64 = 16;

/// The longest run of the yardstick.
const RAW_LIMIT: Duration = Duration::from_secs(2);

/// How long the receiver may take to work off what is queued.
const REPORT_TIMEOUT: Duration = Duration::from_secs(60);
