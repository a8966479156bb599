//! Events by topic and name, for those who ask for it: Zeek's levels VERBOSE and DEBUG (zeek-cluster reference, 2.7).

use broker_cluster::{EventLevels, TelemetrySpec};
use broker_core::{EndpointBuilder, EventDirection, EventMeter};

use super::catalogue::{self as c, Metric};
use super::snapshot::Snapshot;

/// What a node counts for its metrics alone. Cloning gives another handle to the same figures.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meters {
    /// Whether there is anybody to count for.
    measured: bool,
    core: Meter,
    websocket: Meter,
}

#[derive(Clone, Debug, Default)]
struct Meter {
    levels: EventLevels,
    /// Only where a level asks for it.
    meter: Option<EventMeter>,
}

impl Meters {
    /// Those of a node that serves metrics.
    pub(crate) fn new(spec: &TelemetrySpec) -> Self {
        let meter = |levels: EventLevels| Meter {
            levels,
            meter: levels
                .by_topic()
                .then(|| EventMeter::new(spec.labels.clone())),
        };
        Self {
            measured: true,
            core: meter(spec.core),
            websocket: meter(spec.websocket),
        }
    }

    /// Has an endpoint count what is asked for.
    pub(crate) fn set_up(&self, builder: EndpointBuilder) -> EndpointBuilder {
        let builder = builder.telemetry(self.measured);
        match &self.core.meter {
            Some(meter) => builder.event_meter(meter.clone()),
            None => builder,
        }
    }

    /// Where events of WebSocket clients count.
    pub(crate) fn websocket(&self) -> Option<EventMeter> {
        self.websocket.meter.clone()
    }

    /// The figures of this moment.
    pub(super) fn read(&self, snapshot: &mut Snapshot) {
        self.core.read(snapshot, &CORE);
        self.websocket.read(snapshot, &WEBSOCKET);
    }
}

impl Meter {
    fn read(&self, snapshot: &mut Snapshot, metrics: &Metrics) {
        for figures in self.meter.iter().flat_map(EventMeter::read) {
            let labels: [&str; 3] = [&figures.scope, &figures.topic, &figures.handler];
            let labels = match metrics.by_app {
                true => &labels[..],
                false => &labels[1..],
            };
            if self.levels.verbose {
                let metric = metrics.verbose[figures.direction as usize];
                snapshot.add(metric, labels, figures.sizes.count() as f64);
            }
            if self.levels.debug {
                let metric = metrics.debug[figures.direction as usize];
                snapshot.add_sizes(metric, labels, &figures.sizes);
            }
        }
    }
}

/// The metrics of one meter, by [`EventDirection`].
struct Metrics {
    by_app: bool,
    verbose: [&'static Metric; 2],
    debug: [&'static Metric; 2],
}

static CORE: Metrics = Metrics {
    by_app: false,
    verbose: [&c::CORE_VERBOSE_INCOMING, &c::CORE_VERBOSE_OUTGOING],
    debug: [&c::CORE_DEBUG_INCOMING, &c::CORE_DEBUG_OUTGOING],
};
static WEBSOCKET: Metrics = Metrics {
    by_app: true,
    verbose: [
        &c::WEBSOCKET_VERBOSE_INCOMING,
        &c::WEBSOCKET_VERBOSE_OUTGOING,
    ],
    debug: [&c::WEBSOCKET_DEBUG_INCOMING, &c::WEBSOCKET_DEBUG_OUTGOING],
};

// The tables above are in this order.
const _: () =
    assert!(EventDirection::Incoming as usize == 0 && EventDirection::Outgoing as usize == 1);
