//! The front-end calls behind recorded commands (wire reference 8.2).

use broker_core::{Data, DataKind, StoreOperation, Timespan};
use broker_store::command::Content;

/// The call that makes a clone send `content`.
pub(crate) fn behind(content: &Content) -> StoreOperation {
    let lifetime = |expiry: Option<Timespan>| expiry.and_then(Timespan::to_duration);
    match content.clone() {
        Content::Put {
            key, value, expiry, ..
        } => StoreOperation::Put {
            key,
            value,
            expiry: lifetime(expiry),
        },
        Content::PutUnique {
            key, value, expiry, ..
        } => StoreOperation::PutUnique {
            key,
            value,
            expiry: lifetime(expiry),
        },
        Content::Erase { key, .. } => StoreOperation::Erase(key),
        Content::Clear { .. } => StoreOperation::Clear,
        Content::Add {
            key,
            operand,
            init,
            expiry,
            ..
        } => {
            let expiry = lifetime(expiry);
            match (init, operand) {
                (DataKind::String, value) => StoreOperation::Append { key, value, expiry },
                (DataKind::Set, index) => StoreOperation::InsertInto {
                    key,
                    index,
                    value: None,
                    expiry,
                },
                (DataKind::Table, Data::Vector(pair)) => {
                    let [index, value] = <[Data; 2]>::try_from(pair).unwrap();
                    StoreOperation::InsertInto {
                        key,
                        index,
                        value: Some(value),
                        expiry,
                    }
                }
                (DataKind::Vector, value) => StoreOperation::Push { key, value, expiry },
                (_, amount) => StoreOperation::Increment {
                    key,
                    amount,
                    expiry,
                },
            }
        }
        Content::Subtract {
            key,
            operand,
            expiry,
            ..
        } => {
            let expiry = lifetime(expiry);
            if operand == key {
                StoreOperation::Pop { key, expiry }
            } else {
                StoreOperation::Decrement {
                    key,
                    amount: operand,
                    expiry,
                }
            }
        }
        other => panic!("not a write: {other:?}"),
    }
}
