//! What the benches send: the three kinds of event of C++ Broker's own throughput tool.
//!
//! | kind | arguments |
//! |---|---|
//! | 1 | integer 42, "test" |
//! | 2 | 18, like a line of conn.log: time, strings, a vector of address/port/address/port, enum, interval, counts, booleans, a set of two strings |
//! | 3 | the time, and a table of 100 string keys to sets of 10 strings (about 10 KB) |

use std::net::Ipv4Addr;

use broker_core::zeek::Event;
use broker_core::{Address, Data, EnumValue, Port, Set, Table, Timespan, Timestamp};

/// One of the three kinds of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind(u8);

impl Kind {
    /// All kinds.
    pub(crate) const ALL: [Self; 3] = [Self(1), Self(2), Self(3)];

    /// The kind with this number.
    pub(crate) fn new(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.0 == number)
    }

    /// The number, 1 to 3.
    pub(crate) const fn number(self) -> u8 {
        self.0
    }

    /// The event, as the value that is published.
    pub(crate) fn event(self) -> Data {
        let (name, args) = match self.0 {
            1 => ("event_1", vec![Data::from(42i64), "test".into()]),
            2 => ("event_2", connection()),
            _ => ("event_3", vec![Timestamp::now().into(), big_table().into()]),
        };
        Event::new(name, args).into_data()
    }
}

/// The 18 arguments of kind 2.
fn connection() -> Vec<Data> {
    let address = |last| Data::from(Address::from(Ipv4Addr::new(192, 168, 1, last)));
    vec![
        Timestamp::now().into(),
        "CHhAvVGS1DHFjwGM9".into(),
        Data::Vector(vec![
            address(10),
            Port::tcp(51_234).into(),
            address(99),
            Port::tcp(443).into(),
        ]),
        EnumValue::new("tcp").into(),
        "ssl".into(),
        Timespan::from_nanos(1_234_567_000).into(),
        3_456u64.into(),
        98_765u64.into(),
        "SF".into(),
        true.into(),
        false.into(),
        0u64.into(),
        "ShADadFf".into(),
        11u64.into(),
        4_028u64.into(),
        14u64.into(),
        99_493u64.into(),
        Set::from_iter(["CmES5u32sYpV7JYN", "ClEkJM2Vm5giqnMf4h"]).into(),
    ]
}

/// The table of kind 3.
fn big_table() -> Table {
    (0..100u32)
        .map(|row| {
            let values =
                Set::from_iter((0..10u32).map(|column| format!("{:07}", row * 10 + column)));
            (format!("key-{row:04}"), values)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kinds_have_the_arguments_and_sizes_of_the_reference() {
        let sizes = Kind::ALL.map(|kind| kind.event().to_bytes().len());
        assert!(sizes[0] < 64, "{sizes:?}");
        assert!((220..350).contains(&sizes[1]), "{sizes:?}");
        assert!((9_500..11_500).contains(&sizes[2]), "{sizes:?}");
        assert_eq!(connection().len(), 18);
        assert_eq!(big_table().len(), 100);
        assert!(
            big_table()
                .values()
                .all(|set| set.as_set().is_some_and(|set| set.len() == 10))
        );
    }

    #[test]
    fn there_are_kinds_1_to_3() {
        assert_eq!(Kind::new(0), None);
        assert_eq!(Kind::new(4), None);
        assert_eq!(Kind::new(2).map(Kind::number), Some(2));
    }
}
