//! The events between the manager and the workers of a load; those between workers and proxies are the demo's.
//!
//! | event | from, to | arguments |
//! |---|---|---|
//! | `Load::order` | manager, a worker | number, a text of 32 bytes |
//! | `Load::stage` | driver, a worker | how many of the losses have happened |
//! | `Load::have` | worker, manager | worker, numbers it has had without a gap, number up to which it wants more |

use broker_core::zeek::Event;
use broker_core::{ByteString, Data};

/// An event of the load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LoadEvent {
    Order {
        number: u64,
    },
    Stage {
        losses: u64,
    },
    Have {
        worker: String,
        have: u64,
        want: u64,
    },
}

impl LoadEvent {
    /// The event as it travels.
    pub(super) fn to_event(&self) -> Event {
        match self {
            Self::Order { number } => Event::new(ORDER, vec![(*number).into(), TEXT.into()]),
            Self::Stage { losses } => Event::new(STAGE, vec![(*losses).into()]),
            Self::Have { worker, have, want } => Event::new(
                HAVE,
                vec![worker.as_str().into(), (*have).into(), (*want).into()],
            ),
        }
    }

    /// The event in one that has come; `None` if it is none of these.
    pub(super) fn from_event(event: &Event) -> Option<Self> {
        let text = |data: &Data| {
            let text = data.as_string().and_then(ByteString::to_str);
            text.map(str::to_owned)
        };
        match (event.name.to_str()?, event.args.as_slice()) {
            (ORDER, [number, _]) => Some(Self::Order {
                number: number.as_count()?,
            }),
            (STAGE, [losses]) => Some(Self::Stage {
                losses: losses.as_count()?,
            }),
            (HAVE, [worker, have, want]) => Some(Self::Have {
                worker: text(worker)?,
                have: have.as_count()?,
                want: want.as_count()?,
            }),
            _ => None,
        }
    }
}

const ORDER: &str = "Load::order";
const STAGE: &str = "Load::stage";
const HAVE: &str = "Load::have";
const TEXT: &str = "an order from the manager: no. n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_survives_the_way() {
        let have = LoadEvent::Have {
            worker: "worker-1".to_owned(),
            have: 3,
            want: 9,
        };
        for event in [
            LoadEvent::Order { number: 7 },
            LoadEvent::Stage { losses: 2 },
            have,
        ] {
            assert_eq!(LoadEvent::from_event(&event.to_event()), Some(event));
        }
        assert_eq!(
            LoadEvent::from_event(&Event::new(HAVE, vec![1_u64.into()])),
            None
        );
    }
}
