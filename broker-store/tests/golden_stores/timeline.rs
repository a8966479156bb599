//! When things happened, in ticks of one side's clock: recordings do not say, but their order and the intervals of the
//! wire reference (7.4 to 7.6) leave little choice.
//!
//! Each command is given a whole number of ticks so that every demand on the distance of two commands is met; the
//! earliest such numbers are those of longest paths. If there are none, the side that was recorded did not keep the
//! intervals.

use std::collections::HashMap;

use broker_core::{Data, EntityId};
use broker_store::command::Content;

use super::recording::{Recorded, Recording, Side};

/// The tick at which each command was said or heard by `side`, which started at tick 0.
pub(crate) fn ticks(recording: &Recording, side: Side) -> Vec<i64> {
    let commands: Vec<&Recorded> = recording.commands().collect();
    let mut demands = Demands::default();
    // Moment 0 is the start, moment n + 1 that of command n. A master has a stream of its own from the start.
    let (mut last_ack, mut last_broadcast) = (None, (side == Side::Master).then_some(0));
    let mut expiries: HashMap<&Data, usize> = HashMap::new();
    let mut before = Kind::Heard;
    for (index, recorded) in commands.iter().enumerate() {
        let moment = index + 1;
        let content = &recorded.command.content;
        let kind = Kind::of(recorded, side, last_ack.is_some());
        let same_tick =
            !kind.is_timed() || before.is_timed() && before.rank(side) <= kind.rank(side);
        demands.at_least(moment - 1, moment, i64::from(!same_tick));
        match kind {
            // What arrives together arrives in one tick.
            Kind::Heard if before == Kind::Heard && index > 0 => {
                demands.exactly(moment - 1, moment, 0)
            }
            Kind::Ack => {
                demands.exactly(last_ack.expect("it is not the first"), moment, HEARTBEAT);
            }
            Kind::Keepalive => {
                demands.exactly(last_broadcast.expect("it has a stream"), moment, HEARTBEAT);
            }
            // So do the answers to it.
            Kind::Prompt if !before.is_timed() && !is_call(recorded) => {
                demands.exactly(moment - 1, moment, 0)
            }
            Kind::Expire => {
                if let Content::Expire { key, .. } = content {
                    // Strictly after the time is the next tick.
                    demands.exactly(expiries[key], moment, SECOND + 1);
                }
            }
            Kind::Heard | Kind::Prompt => {}
        }
        if kind != Kind::Heard && publisher(content).is_some() {
            // With more of a pause there would have been a keepalive before it.
            let last = last_broadcast.expect("it has a stream");
            demands.at_most(last, moment, HEARTBEAT - 1);
        }
        match content {
            Content::CumulativeAck { .. } if kind != Kind::Heard => last_ack = Some(moment),
            // A clone's stream begins when it has found its master.
            Content::AckClone { .. } if kind == Kind::Heard => last_broadcast = Some(moment),
            Content::Keepalive { .. } if kind != Kind::Heard => last_broadcast = Some(moment),
            _ if kind != Kind::Heard && publisher(content).is_some() => {
                last_broadcast = Some(moment)
            }
            _ => {}
        }
        // A write is timed when it is heard, or when it is called for here; the echo of what was heard is neither.
        if let Some(key) = limited(content)
            && (kind == Kind::Heard || publisher(content) == Some(recorded.command.sender))
        {
            expiries.insert(key, moment);
        }
        before = kind;
    }
    let mut ticks = demands
        .earliest(commands.len() + 1)
        .unwrap_or_else(|| panic!("{}: the {side:?} kept other intervals", recording.name));
    ticks.split_off(1)
}

/// What made a side say something, or that it heard it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Heard,
    /// A call, or something heard.
    Prompt,
    Keepalive,
    Ack,
    Expire,
}

impl Kind {
    fn of(recorded: &Recorded, side: Side, has_acknowledged: bool) -> Self {
        match recorded.command.content {
            _ if recorded.from != side => Self::Heard,
            Content::Keepalive { .. } => Self::Keepalive,
            Content::CumulativeAck { .. } if has_acknowledged => Self::Ack,
            Content::Expire { .. } => Self::Expire,
            _ => Self::Prompt,
        }
    }

    fn is_timed(self) -> bool {
        matches!(self, Self::Keepalive | Self::Ack | Self::Expire)
    }

    /// The order in which things are said in one tick.
    fn rank(self, side: Side) -> u8 {
        match (self, side) {
            (Self::Heard | Self::Prompt, _) => 0,
            (Self::Keepalive, Side::Master) | (Self::Ack, Side::Clone) => 1,
            (Self::Ack, Side::Master) | (Self::Keepalive, Side::Clone) => 2,
            (Self::Expire, _) => 3,
        }
    }
}

/// Whether an action was called for on the node that says it.
fn is_call(recorded: &Recorded) -> bool {
    let node = recorded.command.sender.endpoint;
    match &recorded.command.content {
        Content::PutUniqueResult { who, .. } => who.endpoint == node,
        content => publisher(content).is_some_and(|publisher| publisher.endpoint == node),
    }
}

/// Who caused an action; nobody did what is no action.
fn publisher(content: &Content) -> Option<EntityId> {
    match content {
        Content::Put { publisher, .. }
        | Content::PutUnique { publisher, .. }
        | Content::PutUniqueResult { publisher, .. }
        | Content::Erase { publisher, .. }
        | Content::Expire { publisher, .. }
        | Content::Add { publisher, .. }
        | Content::Subtract { publisher, .. }
        | Content::Clear { publisher } => Some(*publisher),
        _ => None,
    }
}

/// The key of a write with an expiry; all that are recorded are of one second.
fn limited(content: &Content) -> Option<&Data> {
    match content {
        Content::Put { key, expiry, .. }
        | Content::PutUnique { key, expiry, .. }
        | Content::Add { key, expiry, .. } => expiry.is_some().then_some(key),
        _ => None,
    }
}

/// Demands on the distances of moments, in ticks.
#[derive(Default)]
struct Demands {
    /// From, to, at least.
    distances: Vec<(usize, usize, i64)>,
}

impl Demands {
    fn at_least(&mut self, from: usize, to: usize, ticks: i64) {
        self.distances.push((from, to, ticks));
    }

    fn at_most(&mut self, from: usize, to: usize, ticks: i64) {
        self.at_least(to, from, -ticks);
    }

    fn exactly(&mut self, from: usize, to: usize, ticks: i64) {
        self.at_least(from, to, ticks);
        self.at_most(from, to, ticks);
    }

    /// The earliest moments that meet all demands, the first at 0.
    fn earliest(&self, moments: usize) -> Option<Vec<i64>> {
        let mut ticks = vec![0; moments];
        for _ in 0..=moments {
            let mut settled = true;
            for &(from, to, distance) in &self.distances {
                if ticks[to] < ticks[from] + distance {
                    ticks[to] = ticks[from] + distance;
                    settled = false;
                }
            }
            if settled {
                return (ticks[0] == 0).then_some(ticks);
            }
        }
        None
    }
}

/// Ticks between two acknowledgements, and after a broadcast before a keepalive.
const HEARTBEAT: i64 = 5;

/// Ticks of a second.
const SECOND: i64 = 10;
