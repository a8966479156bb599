//! Limits on a record before it is written or sent (reference, zeek-cluster 6.7).
//!
//! Zeek applies them on the node where a record is made: what a filter hands to its writers is
//! already cut. A node that passes on records of a log file does not apply them, or the copy would
//! differ from the file.

use super::value::LogValue;

/// How much of a record is kept; 0 disables a limit. The defaults are Zeek's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one string. Default: 4096. A cut may leave half a UTF-8 character.
    pub field_bytes: usize,
    /// Bytes of all strings of a record; later ones become empty. Default: 256000.
    pub total_bytes: usize,
    /// Elements of one set or vector. Default: 100.
    pub field_elements: usize,
    /// Elements of all sets and vectors of a record; later ones become empty. Default: 500.
    pub total_elements: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            field_bytes: 4096,
            total_bytes: 256_000,
            field_elements: 100,
            total_elements: 500,
        }
    }
}

impl Limits {
    /// Cuts what is beyond the limits and returns how many values were cut.
    pub fn apply(&self, record: &mut [LogValue]) -> usize {
        let mut left = Left {
            limits: *self,
            bytes: or_unlimited(self.total_bytes),
            elements: or_unlimited(self.total_elements),
            cut: 0,
        };
        for value in record {
            left.value(value);
        }
        left.cut
    }
}

struct Left {
    limits: Limits,
    bytes: usize,
    elements: usize,
    cut: usize,
}

impl Left {
    fn value(&mut self, value: &mut LogValue) {
        match value {
            LogValue::Set(elements) | LogValue::Vector(elements) => {
                let room = or_unlimited(self.limits.field_elements).min(self.elements);
                if elements.len() > room {
                    elements.truncate(room);
                    self.cut += 1;
                }
                self.elements -= elements.len();
                for element in elements {
                    self.text(element);
                }
            }
            plain => self.text(plain),
        }
    }

    fn text(&mut self, value: &mut LogValue) {
        let LogValue::String(text) = value else {
            return;
        };
        let room = or_unlimited(self.limits.field_bytes).min(self.bytes);
        if text.len() > room {
            text.truncate(room);
            self.cut += 1;
        }
        self.bytes -= text.len();
    }
}

fn or_unlimited(limit: usize) -> usize {
    if limit == 0 { usize::MAX } else { limit }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(len: usize) -> LogValue {
        LogValue::String(vec![b'x'; len])
    }

    fn count(len: usize) -> LogValue {
        LogValue::Vector(vec![LogValue::Count(0); len])
    }

    #[test]
    fn long_strings_and_containers_are_cut() {
        let mut record = [
            string(4097),
            string(4096),
            count(101),
            LogValue::Vector(vec![string(5000)]),
        ];
        assert_eq!(Limits::default().apply(&mut record), 3);
        assert_eq!(
            record,
            [
                string(4096),
                string(4096),
                count(100),
                LogValue::Vector(vec![string(4096)])
            ]
        );
    }

    #[test]
    fn once_the_total_is_used_up_the_rest_is_empty() {
        let limits = Limits {
            total_bytes: 10,
            total_elements: 3,
            ..Limits::default()
        };
        let mut record = [
            string(8),
            string(8),
            string(1),
            count(2),
            count(2),
            count(1),
        ];
        assert_eq!(limits.apply(&mut record), 4);
        assert_eq!(
            record,
            [
                string(8),
                string(2),
                string(0),
                count(2),
                count(1),
                count(0)
            ]
        );
    }

    #[test]
    fn zero_is_no_limit() {
        let limits = Limits {
            field_bytes: 0,
            total_bytes: 0,
            field_elements: 0,
            total_elements: 0,
        };
        let mut record = [string(1_000_000), count(1000)];
        assert_eq!(limits.apply(&mut record), 0);
    }
}
