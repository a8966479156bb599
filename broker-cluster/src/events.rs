//! The events that nodes of a cluster send each other for the cluster's own sake: Zeek's (reference,
//! zeek-cluster 2.4 and 2.5), and a few of our own, in a module of their own, which Zeek ignores.
//!
//! | event | arguments | to |
//! |---|---|---|
//! | `Cluster::hello` | name, id | the peer's nodeid topic; with an empty metadata vector, as Zeek sends it |
//! | `Cluster::Experimental::node_fully_connected` | name, id, resending | the manager |
//! | `Cluster::Experimental::cluster_started` | | `zeek/cluster/experimental/started` |
//! | `Broker::announce_masters` | set of names of tables | the peer's nodeid topic, from the manager before its hello; Zeek nodes make clones of them |
//! | `Cluster::forward_table_change_infos` | header, vector of changes, topic | the manager, from workers; it publishes `Cluster::table_change_infos` to the topic (2.8) |
//! | `BrokerRs::who` | | a peer that is a node of ours and has not said hello for a while: it says it again |
//! | `BrokerRs::cluster_ready` | ready, set of the names of missing nodes | every node, from the manager |
//! | `BrokerRs::pool_members` | topic of the pool, set of the names that are up | every member of the pool, from the manager |
//! | `BrokerRs::pool_known` | topic of the pool, FNV-1a (32 bits) of the sorted names, each with a zero behind it | the manager, from members, to be told again if that is not so |
//! | `BrokerRs::relay` | topic, event name, arguments | manager or proxy, which publishes the event to the topic |
//! | `BrokerRs::log_batch` | writer id, number, Batch | a logger that offers the feature [`LOG_RECEIPTS`] |
//! | `BrokerRs::log_receipt` | logger, vector of (number, written, skipped) | the writer |

use std::collections::BTreeSet;

use broker_core::zeek::Event;
use broker_core::{ByteString, Data, EndpointId, Topic};

use crate::pools::Fnv32;
use crate::threshold::Verdict;

/// The feature of loggers that acknowledge numbered batches of log records.
pub const LOG_RECEIPTS: &str = "log-receipts";

pub(crate) const LOG_BATCH: &str = "BrokerRs::log_batch";
const HELLO: &[u8] = b"Cluster::hello";
const FULLY_CONNECTED: &[u8] = b"Cluster::Experimental::node_fully_connected";
const STARTED: &[u8] = b"Cluster::Experimental::cluster_started";
const ANNOUNCE_MASTERS: &[u8] = b"Broker::announce_masters";
/// What workers send to the manager instead of [`crate::table::CHANGE_EVENT`].
pub(crate) const FORWARD_CHANGES: &str = "Cluster::forward_table_change_infos";
const WHO: &[u8] = b"BrokerRs::who";
const READY: &[u8] = b"BrokerRs::cluster_ready";
const POOL_MEMBERS: &[u8] = b"BrokerRs::pool_members";
const POOL_KNOWN: &[u8] = b"BrokerRs::pool_known";
const RELAY: &[u8] = b"BrokerRs::relay";
const LOG_RECEIPT: &[u8] = b"BrokerRs::log_receipt";

/// An event for the cluster itself.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ClusterEvent {
    Hello {
        name: String,
        id: EndpointId,
    },
    FullyConnected {
        name: String,
        id: EndpointId,
        resending: bool,
    },
    Started,
    /// The tables whose masters the manager has, by their own names: Zeek's receivers put the prefix of stores in front.
    Masters {
        names: Vec<String>,
    },
    /// Changes of a published table, which the manager is to publish to `topic`.
    ForwardChanges {
        header: Data,
        changes: Data,
        topic: Topic,
    },
    /// Say hello again: yours was lost.
    Who,
    Ready(Verdict),
    PoolMembers {
        /// The pool, by its topic.
        topic: String,
        members: Vec<String>,
    },
    /// What a member knows of its pool: [`digest`] of those that are up.
    PoolKnown {
        topic: String,
        digest: u32,
    },
    Relay {
        topic: Topic,
        event: Event,
    },
    Receipt {
        logger: String,
        batches: Vec<BatchReceipt>,
    },
}

/// What a logger says about one numbered batch: it is in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchReceipt {
    pub(crate) number: u64,
    /// Records in the file.
    pub(crate) written: u64,
    /// Records that could not be written, whoever tried: they do not fit their columns.
    pub(crate) skipped: u64,
}

impl ClusterEvent {
    /// The name of the event that says who a process is.
    pub(crate) const HELLO: &[u8] = HELLO;

    /// The event as it travels.
    pub(crate) fn to_event(&self) -> Event {
        match self {
            Self::Hello { name, id } => {
                let args = vec![text(name), text(&id.to_string())];
                Event {
                    metadata: Some(Vec::new()),
                    ..Event::new(HELLO, args)
                }
            }
            Self::FullyConnected {
                name,
                id,
                resending,
            } => Event::new(
                FULLY_CONNECTED,
                vec![text(name), text(&id.to_string()), Data::Boolean(*resending)],
            ),
            Self::Started => Event::new(STARTED, Vec::new()),
            Self::Masters { names } => {
                let names = names.iter().map(|name| text(name)).collect();
                Event {
                    metadata: Some(Vec::new()),
                    ..Event::new(ANNOUNCE_MASTERS, vec![Data::Set(names)])
                }
            }
            Self::ForwardChanges {
                header,
                changes,
                topic,
            } => Event::new(
                FORWARD_CHANGES,
                vec![
                    header.clone(),
                    changes.clone(),
                    Data::String(topic.as_bytes().into()),
                ],
            ),
            Self::Who => Event::new(WHO, Vec::new()),
            Self::Ready(verdict) => {
                let missing = verdict.missing.iter().map(|name| text(name)).collect();
                Event::new(
                    READY,
                    vec![Data::Boolean(verdict.ready), Data::Set(missing)],
                )
            }
            Self::PoolMembers { topic, members } => {
                let members = members.iter().map(|name| text(name)).collect();
                Event::new(POOL_MEMBERS, vec![text(topic), Data::Set(members)])
            }
            Self::PoolKnown { topic, digest } => {
                Event::new(POOL_KNOWN, vec![text(topic), Data::Count((*digest).into())])
            }
            Self::Relay { topic, event } => Event {
                name: RELAY.into(),
                args: vec![
                    Data::String(topic.as_bytes().into()),
                    Data::String(event.name.clone()),
                    Data::Vector(event.args.clone()),
                ],
                metadata: event.metadata.clone(),
            },
            Self::Receipt { logger, batches } => {
                let batches = batches.iter().map(|batch| {
                    Data::vector([batch.number, batch.written, batch.skipped].map(Data::Count))
                });
                Event::new(
                    LOG_RECEIPT,
                    vec![text(logger), Data::Vector(batches.collect())],
                )
            }
        }
    }

    /// Whether an event of this name is one for the cluster itself.
    pub(crate) fn is_one(name: &[u8]) -> bool {
        [
            HELLO,
            FULLY_CONNECTED,
            STARTED,
            ANNOUNCE_MASTERS,
            FORWARD_CHANGES.as_bytes(),
            WHO,
            READY,
            POOL_MEMBERS,
            POOL_KNOWN,
            RELAY,
            LOG_RECEIPT,
            LOG_BATCH.as_bytes(),
        ]
        .contains(&name)
    }

    /// The event for the cluster itself that `event` is. None if it is another, or its arguments do not fit.
    pub(crate) fn from_event(event: Event) -> Option<Self> {
        let name: &[u8] = &event.name;
        let args = event.args.as_slice();
        match (name, args) {
            (HELLO, [name, id]) => Some(Self::Hello {
                name: string(name)?,
                id: endpoint(id)?,
            }),
            (FULLY_CONNECTED, [name, id, Data::Boolean(resending)]) => Some(Self::FullyConnected {
                name: string(name)?,
                id: endpoint(id)?,
                resending: *resending,
            }),
            (STARTED, []) => Some(Self::Started),
            (WHO, []) => Some(Self::Who),
            (ANNOUNCE_MASTERS, [Data::Set(names)]) => Some(Self::Masters {
                names: names.iter().map(string).collect::<Option<_>>()?,
            }),
            (name, [header, changes, Data::String(topic)])
                if name == FORWARD_CHANGES.as_bytes() =>
            {
                Some(Self::ForwardChanges {
                    header: header.clone(),
                    changes: changes.clone(),
                    topic: Topic::copy_from(topic).ok()?,
                })
            }
            (READY, [Data::Boolean(ready), Data::Set(missing)]) => Some(Self::Ready(Verdict {
                ready: *ready,
                missing: missing.iter().map(string).collect::<Option<_>>()?,
            })),
            (POOL_MEMBERS, [topic, Data::Set(members)]) => Some(Self::PoolMembers {
                topic: string(topic)?,
                members: members.iter().map(string).collect::<Option<_>>()?,
            }),
            (POOL_KNOWN, [topic, Data::Count(digest)]) => Some(Self::PoolKnown {
                topic: string(topic)?,
                digest: u32::try_from(*digest).ok()?,
            }),
            (
                RELAY,
                [
                    Data::String(topic),
                    Data::String(relayed),
                    Data::Vector(args),
                ],
            ) => Some(Self::Relay {
                topic: Topic::copy_from(topic).ok()?,
                event: Event {
                    name: relayed.clone(),
                    args: args.clone(),
                    metadata: event.metadata,
                },
            }),
            (LOG_RECEIPT, [logger, Data::Vector(batches)]) => Some(Self::Receipt {
                logger: string(logger)?,
                batches: batches.iter().map(receipt).collect::<Option<_>>()?,
            }),
            _ => None,
        }
    }
}

/// What a set of names is compared by, in any order.
pub(crate) fn digest<'a>(names: impl IntoIterator<Item = &'a str>) -> u32 {
    let names: BTreeSet<&str> = names.into_iter().collect();
    let all = names.iter().fold(Fnv32::new(), |hash, name| {
        hash.update(name.as_bytes()).update(&[0])
    });
    all.finish()
}

fn receipt(data: &Data) -> Option<BatchReceipt> {
    match data.as_vector()? {
        [
            Data::Count(number),
            Data::Count(written),
            Data::Count(skipped),
        ] => Some(BatchReceipt {
            number: *number,
            written: *written,
            skipped: *skipped,
        }),
        _ => None,
    }
}

fn text(text: &str) -> Data {
    Data::String(ByteString::from(text))
}

fn string(data: &Data) -> Option<String> {
    data.as_string()?.to_str().map(str::to_owned)
}

fn endpoint(data: &Data) -> Option<EndpointId> {
    data.as_string()?.to_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use broker_core::zeek::Message;

    use super::*;

    fn unhex(hex: &str) -> Vec<u8> {
        hex.as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    /// The payload of the hello that a recorded Zeek worker-1 sent.
    const RECORDED_HELLO: &str = "0e030200000000000000010200000000000000010e03050e436c75737465723a3a68656c6c6f0e020508776f726b65722d31\
                                  052434353733343230342d313735662d353535392d613937312d3433303432303664376639350e00";

    #[test]
    fn a_hello_is_byte_for_byte_zeek_s() {
        let hello = ClusterEvent::Hello {
            name: "worker-1".to_owned(),
            id: "45734204-175f-5559-a971-4304206d7f95".parse().unwrap(),
        };
        let bytes = hello.to_event().into_data().to_bytes();
        assert_eq!(bytes.as_ref(), unhex(RECORDED_HELLO));
        let Ok(Message::Event(event)) = Message::from_data(&Data::decode(&bytes).unwrap()) else {
            panic!("an event")
        };
        assert_eq!(ClusterEvent::from_event(event), Some(hello));
    }

    /// The payload of what a recorded Zeek manager without such stores sent before its hello.
    const RECORDED_MASTERS: &str = "0e030200000000000000010200000000000000010e03051842726f6b65723a3a616e6e6f756e63655f6d6173746572730e010c000e00";

    #[test]
    fn an_announcement_of_no_masters_is_byte_for_byte_zeek_s() {
        let none = ClusterEvent::Masters { names: Vec::new() };
        assert_eq!(
            none.to_event().into_data().to_bytes().as_ref(),
            unhex(RECORDED_MASTERS)
        );
        assert_eq!(ClusterEvent::from_event(none.to_event()), Some(none));
    }

    #[test]
    fn sets_of_names_are_told_apart_in_any_order() {
        assert_eq!(digest(["b", "a"]), digest(["a", "b"]));
        let all = [digest([]), digest(["ab"]), digest(["a", "b"]), digest([""])];
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 4);
    }

    #[test]
    fn events_of_the_cluster_read_back_and_others_are_none() {
        let id = EndpointId::from_bytes([7; 16]);
        let batch = BatchReceipt {
            number: 1,
            written: 399,
            skipped: 1,
        };
        for event in [
            ClusterEvent::FullyConnected {
                name: "p".to_owned(),
                id,
                resending: true,
            },
            ClusterEvent::Started,
            ClusterEvent::Who,
            ClusterEvent::Masters {
                names: vec!["Hosts::seen".to_owned(), "t".to_owned()],
            },
            ClusterEvent::ForwardChanges {
                header: "h".into(),
                changes: Data::Vector(Vec::new()),
                topic: Topic::from_static("zeek/table/t/"),
            },
            ClusterEvent::Ready(Verdict {
                ready: false,
                missing: vec!["worker-3".to_owned()],
            }),
            ClusterEvent::PoolMembers {
                topic: "zeek/cluster/pool/proxy".to_owned(),
                members: vec!["proxy-1".to_owned()],
            },
            ClusterEvent::PoolKnown {
                topic: "zeek/cluster/pool/proxy".to_owned(),
                digest: u32::MAX,
            },
            ClusterEvent::Relay {
                topic: Topic::from_static("t"),
                event: Event::new("A::b", vec![Data::Count(1)]),
            },
            ClusterEvent::Receipt {
                logger: "logger-1".to_owned(),
                batches: vec![batch],
            },
        ] {
            assert!(ClusterEvent::is_one(&event.to_event().name));
            assert_eq!(ClusterEvent::from_event(event.to_event()), Some(event));
        }
        assert_eq!(
            ClusterEvent::from_event(Event::new(
                "Cluster::hello",
                vec![Data::Count(1), Data::None]
            )),
            None
        );
        assert_eq!(
            ClusterEvent::from_event(Event::new("Other::event", vec![])),
            None
        );
        assert!(!ClusterEvent::is_one(b"Other::event"));
    }
}
