//! The receiving side of the benches: visits every value of every event, answers pings, and reports what arrived.
//!
//! All of it comes through one subscription, so the order of the sender is kept across topics: a `STOP` comes behind
//! the last event. A run begins with its first event and ends with `STOP`.

use std::time::{Duration, Instant};

use broker_core::{Data, Endpoint, Filter, Message, QueueOptions, Topic};

use super::checksum;

/// Events that are counted and summed up.
pub(crate) const EVENTS: Topic = Topic::from_static("/bench/to/events");
/// Events that are answered.
pub(crate) const PING: Topic = Topic::from_static("/bench/to/ping");
/// The end of a run; answered with a [`Report`].
pub(crate) const STOP: Topic = Topic::from_static("/bench/to/stop");
/// Answers to `PING`.
pub(crate) const PONG: Topic = Topic::from_static("/bench/from/pong");
/// Answers to `STOP`.
pub(crate) const REPORT: Topic = Topic::from_static("/bench/from/report");

/// The start of a run that is not counted: connections, caches and buffers are still warming up.
pub(crate) const WARM_UP: Duration = Duration::from_secs(1);

/// What arrived in one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// Events, the uncounted start included.
    pub(crate) received: u64,
    /// The sum of their checksums.
    pub(crate) checksum: u64,
    /// Events behind the uncounted start.
    pub(crate) measured: u64,
    /// The time in which these came, in nanoseconds.
    pub(crate) nanos: u64,
}

impl Report {
    /// The report as a message's value.
    pub(crate) fn to_data(self) -> Data {
        Data::vector([self.received, self.checksum, self.measured, self.nanos])
    }

    /// The report in a message's value.
    pub(crate) fn from_data(data: &Data) -> Option<Self> {
        let values: Vec<_> = data
            .as_vector()?
            .iter()
            .map(Data::as_count)
            .collect::<Option<_>>()?;
        let [received, checksum, measured, nanos] = values[..] else {
            return None;
        };
        Some(Self {
            received,
            checksum,
            measured,
            nanos,
        })
    }
}

/// Subscribes to all that a sender says.
pub(crate) fn subscribe(endpoint: &Endpoint) -> broker_core::Subscriber {
    endpoint.subscribe(
        Filter::from_iter([EVENTS, PING, STOP]),
        QueueOptions::local(),
    )
}

/// Receives until the endpoint shuts down.
pub(crate) async fn serve(
    endpoint: Endpoint,
    mut subscriber: broker_core::Subscriber,
) -> anyhow::Result<()> {
    let mut publisher = endpoint.publisher();
    let mut run = Run::default();
    let mut batch = Vec::with_capacity(BATCH);
    while subscriber.recv_many(&mut batch, BATCH).await > 0 {
        let now = Instant::now();
        for message in batch.drain(..) {
            if message.topic() == &EVENTS {
                run.event(&message)?;
            } else if message.topic() == &PING {
                // The answer is a value of our own, encoded anew.
                let data = message.data()?.clone();
                checksum::of_data(&data);
                publisher.publish(&PONG, &data).await?;
            } else {
                run.batch_ends(now);
                let report = std::mem::take(&mut run).report();
                endpoint
                    .publish(Message::new(REPORT, report.to_data()))
                    .await?;
            }
        }
        run.batch_ends(now);
    }
    Ok(())
}

#[derive(Default)]
struct Run {
    report: Report,
    first: Option<Instant>,
    /// When the counted part began, and how many events there had been before.
    counted_from: Option<(Instant, u64)>,
    last: Option<(Instant, u64)>,
}

impl Run {
    #[inline]
    fn event(&mut self, message: &Message) -> anyhow::Result<()> {
        let sum = checksum::of_payload(message.encoded())?;
        self.report.checksum = self.report.checksum.wrapping_add(sum);
        self.report.received += 1;
        Ok(())
    }

    fn batch_ends(&mut self, now: Instant) {
        let received = self.report.received;
        if received == 0 || self.last.is_some_and(|(_, before)| before == received) {
            return;
        }
        let first = *self.first.get_or_insert(now);
        self.last = Some((now, received));
        if self.counted_from.is_none() && now >= first + WARM_UP {
            self.counted_from = self.last;
        }
    }

    fn report(mut self) -> Report {
        if let (Some((from, before)), Some((to, after))) = (self.counted_from, self.last) {
            self.report.measured = after - before;
            self.report.nanos = u64::try_from((to - from).as_nanos()).unwrap_or(u64::MAX);
        }
        self.report
    }
}

/// Messages taken from the subscription at once.
const BATCH: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_survives_the_wire() {
        let report = Report {
            received: 5,
            checksum: u64::MAX,
            measured: 3,
            nanos: 7,
        };
        assert_eq!(Report::from_data(&report.to_data()), Some(report));
        assert_eq!(Report::from_data(&Data::None), None);
    }

    #[test]
    fn the_first_second_is_not_counted() {
        let start = Instant::now();
        let mut run = Run::default();
        for (seconds, received) in [(0.0, 10), (0.5, 20), (1.0, 30), (2.0, 130), (3.0, 230)] {
            run.report.received = received;
            run.batch_ends(start + Duration::from_secs_f64(seconds));
        }
        let report = run.report();
        assert_eq!(
            (report.received, report.measured, report.nanos),
            (230, 200, 2_000_000_000)
        );
    }
}
