//! The events that the nodes of a demo send each other.
//!
//! | event | from, to | arguments |
//! |---|---|---|
//! | `Demo::host` | worker, a proxy by rendezvous | worker, number, address |
//! | `Demo::counted` | proxy, the worker | proxy, numbers it has counted |
//! | `Demo::claims` | proxy, each worker that comes up | proxy, the latest numbers of that worker in its journal |
//! | `Demo::drained` | worker, manager | worker; repeated until the answer |
//! | `Demo::finish` | manager, all workers | none |

use broker_core::zeek::Event;
use broker_core::{Address, ByteString, Data};

/// An event of the demo.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum DemoEvent {
    Host {
        worker: String,
        number: u64,
        host: Address,
    },
    Counted {
        proxy: String,
        numbers: Vec<u64>,
    },
    Claims {
        proxy: String,
        numbers: Vec<u64>,
    },
    Drained {
        worker: String,
    },
    Finish,
}

impl DemoEvent {
    /// The event as it travels.
    pub(crate) fn to_event(&self) -> Event {
        let name = |name: &str| Data::from(name);
        match self {
            Self::Host {
                worker,
                number,
                host,
            } => Event::new(HOST, vec![name(worker), (*number).into(), (*host).into()]),
            Self::Counted { proxy, numbers } => Event::new(
                COUNTED,
                vec![name(proxy), Data::vector(numbers.iter().copied())],
            ),
            Self::Claims { proxy, numbers } => Event::new(
                CLAIMS,
                vec![name(proxy), Data::vector(numbers.iter().copied())],
            ),
            Self::Drained { worker } => Event::new(DRAINED, vec![name(worker)]),
            Self::Finish => Event::new(FINISH, Vec::new()),
        }
    }

    /// The event in one that has come; `None` if it is none of ours or not as it should be.
    pub(crate) fn from_event(event: &Event) -> Option<Self> {
        let name = |data: &Data| {
            data.as_string()
                .and_then(ByteString::to_str)
                .map(str::to_owned)
        };
        let numbers = |data: &Data| {
            data.as_vector()?
                .iter()
                .map(Data::as_count)
                .collect::<Option<Vec<_>>>()
        };
        Some(match (event.name.to_str()?, event.args.as_slice()) {
            (HOST, [worker, number, host]) => Self::Host {
                worker: name(worker)?,
                number: number.as_count()?,
                host: host.as_address()?,
            },
            (COUNTED, [proxy, list]) => Self::Counted {
                proxy: name(proxy)?,
                numbers: numbers(list)?,
            },
            (CLAIMS, [proxy, list]) => Self::Claims {
                proxy: name(proxy)?,
                numbers: numbers(list)?,
            },
            (DRAINED, [worker]) => Self::Drained {
                worker: name(worker)?,
            },
            (FINISH, []) => Self::Finish,
            _ => return None,
        })
    }
}

const HOST: &str = "Demo::host";
const COUNTED: &str = "Demo::counted";
const CLAIMS: &str = "Demo::claims";
const DRAINED: &str = "Demo::drained";
const FINISH: &str = "Demo::finish";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_survives_the_way() {
        let host = Address::from(std::net::Ipv4Addr::new(192, 0, 2, 1));
        for event in [
            DemoEvent::Host {
                worker: "worker-1".to_owned(),
                number: 7,
                host,
            },
            DemoEvent::Counted {
                proxy: "proxy-1".to_owned(),
                numbers: vec![1, 2],
            },
            DemoEvent::Claims {
                proxy: "proxy-1".to_owned(),
                numbers: Vec::new(),
            },
            DemoEvent::Drained {
                worker: "worker-1".to_owned(),
            },
            DemoEvent::Finish,
        ] {
            assert_eq!(DemoEvent::from_event(&event.to_event()), Some(event));
        }
        assert_eq!(
            DemoEvent::from_event(&Event::new("Demo::host", Vec::new())),
            None
        );
        assert_eq!(
            DemoEvent::from_event(&Event::new("other", Vec::new())),
            None
        );
    }
}
