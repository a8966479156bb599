//! From the operations of the front end to commands (wire reference 8.2).

use std::time::Duration;

use broker_core::{Data, DataKind, EntityId, StoreOperation, Timespan};

use crate::command::Content;
use crate::semantics::increment_init;

/// What an operation asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// A change, as the command that carries it.
    Write(Content),
    /// A question.
    Read(Query),
    /// An operation of a later version of core.
    Unknown,
}

/// A question to a store.
#[derive(Clone, Debug, PartialEq)]
pub enum Query {
    /// The value at a key.
    Get(Data),
    /// Whether there is one.
    Exists(Data),
    /// All keys.
    Keys,
    /// What an index finds in the value at a key.
    GetIndex {
        /// The key.
        key: Data,
        /// The index.
        index: Data,
    },
    /// How the copies compare.
    Verify,
    /// Nothing: the answer tells that everything before it is done.
    Nothing,
    /// A page of entries.
    Scan {
        /// Only keys after this one.
        after: Option<Data>,
        /// At most so many.
        limit: usize,
    },
}

impl Request {
    /// What `operation` asks for. `publisher` is the front end; a put_unique is answered to it under the number
    /// `request`.
    #[must_use]
    pub fn from_operation(operation: StoreOperation, publisher: EntityId, request: u64) -> Self {
        let add = |key, operand, init, expiry| Content::Add {
            key,
            operand,
            init,
            expiry: lifetime(expiry),
            publisher,
        };
        let subtract = |key, operand, expiry| Content::Subtract {
            key,
            operand,
            expiry: lifetime(expiry),
            publisher,
        };
        Self::Write(match operation {
            StoreOperation::Get(key) => return Self::Read(Query::Get(key)),
            StoreOperation::Exists(key) => return Self::Read(Query::Exists(key)),
            StoreOperation::Keys => return Self::Read(Query::Keys),
            StoreOperation::GetIndex { key, index } => {
                return Self::Read(Query::GetIndex { key, index });
            }
            StoreOperation::Scan { after, limit } => {
                return Self::Read(Query::Scan { after, limit });
            }
            StoreOperation::Put { key, value, expiry } => Content::Put {
                key,
                value,
                expiry: lifetime(expiry),
                publisher,
            },
            StoreOperation::PutUnique { key, value, expiry } => Content::PutUnique {
                key,
                value,
                expiry: lifetime(expiry),
                who: publisher,
                request,
                publisher,
            },
            StoreOperation::CompareAndSet {
                key,
                expected,
                value,
                expiry,
            } => Content::CompareAndSet {
                key,
                expected,
                value,
                expiry: lifetime(expiry),
                publisher,
            },
            StoreOperation::Verify => return Self::Read(Query::Verify),
            StoreOperation::Erase(key) => Content::Erase { key, publisher },
            StoreOperation::Clear => Content::Clear { publisher },
            StoreOperation::Increment {
                key,
                amount,
                expiry,
            } => {
                let init = increment_init(&amount);
                add(key, amount, init, expiry)
            }
            StoreOperation::Decrement {
                key,
                amount,
                expiry,
            } => subtract(key, amount, expiry),
            StoreOperation::Append { key, value, expiry } => {
                add(key, value, DataKind::String, expiry)
            }
            StoreOperation::InsertInto {
                key,
                index,
                value: None,
                expiry,
            } => add(key, index, DataKind::Set, expiry),
            StoreOperation::InsertInto {
                key,
                index,
                value: Some(value),
                expiry,
            } => add(
                key,
                Data::Vector(vec![index, value]),
                DataKind::Table,
                expiry,
            ),
            StoreOperation::RemoveFrom { key, index, expiry } => subtract(key, index, expiry),
            StoreOperation::Push { key, value, expiry } => {
                add(key, value, DataKind::Vector, expiry)
            }
            // The key stands in for an operand that means nothing to vectors, as C++ does it.
            StoreOperation::Pop { key, expiry } => subtract(key.clone(), key, expiry),
            _ => return Self::Unknown,
        })
    }
}

fn lifetime(expiry: Option<Duration>) -> Option<Timespan> {
    expiry.map(Timespan::from)
}

#[cfg(test)]
mod tests {
    use broker_core::EndpointId;

    use super::*;

    #[test]
    fn front_end_calls_become_the_commands_of_the_reference() {
        let me = EntityId::new(EndpointId::from_bytes([1; 16]), 2);
        let content = |operation| match Request::from_operation(operation, me, 9) {
            Request::Write(content) => content,
            other => panic!("not a write: {other:?}"),
        };
        let (k, expiry) = (|| Data::from("k"), Some(Duration::from_secs(1)));
        let span = Some(Timespan::from_secs(1));
        let add = |operand, init| Content::Add {
            key: "k".into(),
            operand,
            init,
            expiry: span,
            publisher: me,
        };
        let subtract = |operand| Content::Subtract {
            key: "k".into(),
            operand,
            expiry: span,
            publisher: me,
        };
        assert_eq!(
            content(StoreOperation::Increment {
                key: k(),
                amount: Timespan::ZERO.into(),
                expiry
            }),
            add(Timespan::ZERO.into(), DataKind::Timestamp)
        );
        assert_eq!(
            content(StoreOperation::Append {
                key: k(),
                value: "x".into(),
                expiry
            }),
            add("x".into(), DataKind::String)
        );
        assert_eq!(
            content(StoreOperation::InsertInto {
                key: k(),
                index: 1u64.into(),
                value: None,
                expiry
            }),
            add(1u64.into(), DataKind::Set)
        );
        let pair = Data::vector([1u64, 2]);
        assert_eq!(
            content(StoreOperation::InsertInto {
                key: k(),
                index: 1u64.into(),
                value: Some(2u64.into()),
                expiry
            }),
            add(pair, DataKind::Table)
        );
        assert_eq!(
            content(StoreOperation::Push {
                key: k(),
                value: 1u64.into(),
                expiry
            }),
            add(1u64.into(), DataKind::Vector)
        );
        assert_eq!(
            content(StoreOperation::Pop { key: k(), expiry }),
            subtract(k())
        );
        assert_eq!(
            content(StoreOperation::RemoveFrom {
                key: k(),
                index: 1u64.into(),
                expiry
            }),
            subtract(1u64.into())
        );
        let unique = content(StoreOperation::PutUnique {
            key: k(),
            value: 1u64.into(),
            expiry: None,
        });
        assert_eq!(
            unique,
            Content::PutUnique {
                key: k(),
                value: 1u64.into(),
                expiry: None,
                who: me,
                request: 9,
                publisher: me
            }
        );
    }
}
