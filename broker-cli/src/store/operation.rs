//! The operations as they stand on the command line, and what they ask of the store.

use std::path::PathBuf;
use std::time::Duration;

use broker_core::{Data, Revision, StoreOperation, WatchKeys, WatchRequest};
use clap::Subcommand;

use super::load::Existing;
use crate::client;
use crate::failure::misuse;
use crate::publish::parse_value;

/// What to do with the store.
#[derive(Debug, Subcommand)]
pub(crate) enum Operation {
    /// Print the value of a key; exit 1 if there is none
    Get {
        /// The key
        #[arg(allow_hyphen_values = true)]
        key: String,
    },
    /// Print whether there is a key
    Exists {
        /// The key
        #[arg(allow_hyphen_values = true)]
        key: String,
    },
    /// Print all keys
    Keys,
    /// Store a value, replacing what was there
    Put(KeyValue),
    /// Store a value if the key is free, and print whether it was
    PutUnique(KeyValue),
    /// Remove a key; one that is not there is no error
    Erase {
        /// The key
        #[arg(allow_hyphen_values = true)]
        key: String,
    },
    /// Remove everything
    Clear,
    /// Add to the number or time of a key
    Increment(KeyAmount),
    /// Subtract from the number or time of a key
    Decrement(KeyAmount),
    /// Append to the string of a key
    Append(KeyValue),
    /// Insert INDEX into the set of a key, or INDEX and VALUE into its table
    InsertInto {
        /// The key
        #[arg(allow_hyphen_values = true)]
        key: String,
        /// The element of a set, key of a table, or place in a vector
        #[arg(allow_hyphen_values = true)]
        index: String,
        /// The value, if it is a table
        #[arg(allow_hyphen_values = true)]
        value: Option<String>,
        #[command(flatten)]
        expiry: Expiry,
    },
    /// Remove INDEX from the set or table of a key
    RemoveFrom {
        /// The key
        #[arg(allow_hyphen_values = true)]
        key: String,
        /// The element of a set, key of a table, or place in a vector
        #[arg(allow_hyphen_values = true)]
        index: String,
        #[command(flatten)]
        expiry: Expiry,
    },
    /// Append a value to the vector of a key
    Push(KeyValue),
    /// Remove the last value from the vector of a key
    Pop {
        /// The key
        #[arg(allow_hyphen_values = true)]
        key: String,
        #[command(flatten)]
        expiry: Expiry,
    },
    /// Print the element of a vector or table, or whether INDEX is in a set
    GetIndex {
        /// The key
        #[arg(allow_hyphen_values = true)]
        key: String,
        /// The element of a set, key of a table, or place in a vector
        #[arg(allow_hyphen_values = true)]
        index: String,
    },
    /// Print all entries as JSON lines that `load` takes
    Dump,
    /// Put the entries that stdin holds as JSON lines
    ///
    /// Entries of the input replace those of the same key, and other keys stay. Loading the same input again does no
    /// harm, so a load that was cut off is simply repeated. A line that is wrong, or an entry that is refused, ends it
    /// with the number of the line.
    Load {
        /// Leave keys that are there already as they are
        #[arg(long)]
        keep: bool,
        /// Erase keys that are not in the input, once all of it is stored
        #[arg(long, conflicts_with = "keep")]
        replace: bool,
    },
    /// Fetch a copy of the store's SQLite file while the store goes on
    ///
    /// PEER must have the master, and be a grpc:// address. FILE appears when the copy is complete and on disk; it
    /// opens as a store of its own.
    Backup {
        /// Where to
        file: PathBuf,
        /// Replace FILE if it is there
        #[arg(long)]
        force: bool,
    },
    /// Store a value if the key has the expected one, and print whether it had
    ///
    /// Instead of EXPECTED, `--if-missing` wants the key to be free; instead of VALUE, `--erase` removes it.
    CompareAndSet {
        /// The key
        #[arg(allow_hyphen_values = true)]
        key: String,
        /// What must be there; with --if-missing this is VALUE already
        #[arg(allow_hyphen_values = true)]
        expected: Option<String>,
        /// What is to be there
        #[arg(allow_hyphen_values = true)]
        value: Option<String>,
        /// Only if the key is free
        #[arg(long)]
        if_missing: bool,
        /// Erase the key instead of storing a value
        #[arg(long)]
        erase: bool,
        #[command(flatten)]
        expiry: Expiry,
    },
    /// Compare every copy of the store with its master; exit 1 if one differs
    Verify,
    /// Print changes as they happen
    Watch {
        /// Only changes of this key
        #[arg(long, allow_hyphen_values = true)]
        key: Option<String>,
        /// Only changes of keys that begin with this: a string, a vector, or a subnet with addresses inside
        #[arg(long, allow_hyphen_values = true, conflicts_with = "key")]
        prefix: Option<String>,
        /// Go on from this revision, which --json printed, with what has happened since
        #[arg(long, value_name = "REVISION")]
        from: Option<Revision>,
        /// Stop after so many changes [default: never]
        #[arg(long, value_name = "N")]
        count: Option<u64>,
    },
}

/// A key and a value.
#[derive(Debug, clap::Args)]
pub(crate) struct KeyValue {
    /// The key
    #[arg(allow_hyphen_values = true)]
    key: String,
    /// The value
    #[arg(allow_hyphen_values = true)]
    value: String,
    #[command(flatten)]
    expiry: Expiry,
}

/// A key and how much to add or subtract.
#[derive(Debug, clap::Args)]
pub(crate) struct KeyAmount {
    /// The key
    #[arg(allow_hyphen_values = true)]
    key: String,
    /// A value of the type that is stored there (of a time, a timespan) [default: the count 1u]
    #[arg(
        allow_hyphen_values = true,
        default_value = "1u",
        hide_default_value = true
    )]
    amount: String,
    #[command(flatten)]
    expiry: Expiry,
}

/// When an entry vanishes.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Expiry {
    /// Let the entry vanish after so many seconds [default: never]
    #[arg(long = "expiry", value_name = "SECS", value_parser = client::seconds)]
    after: Option<Duration>,
}

/// A checked operation, by how its answer is printed.
#[derive(Debug)]
pub(crate) enum Request {
    Get(Data),
    Keys,
    Dump,
    Load(Existing),
    Backup {
        file: PathBuf,
        force: bool,
    },
    Verify,
    Watch {
        request: WatchRequest,
        count: Option<u64>,
    },
    Other(StoreOperation),
}

impl Operation {
    /// The request, if every value is one.
    pub(crate) fn checked(self) -> anyhow::Result<Request> {
        let value = |text: String| parse_value(&text);
        let operation = match self {
            Self::Get { key } => return Ok(Request::Get(value(key)?)),
            Self::Keys => return Ok(Request::Keys),
            Self::Dump => return Ok(Request::Dump),
            Self::Load { keep, replace } => {
                return Ok(Request::Load(match (keep, replace) {
                    (true, _) => Existing::Keep,
                    (_, true) => Existing::Replace,
                    _ => Existing::Overwrite,
                }));
            }
            Self::Backup { file, force } => return Ok(Request::Backup { file, force }),
            Self::Verify => return Ok(Request::Verify),
            Self::Watch {
                key,
                prefix,
                from,
                count,
            } => {
                let keys = match (key, prefix) {
                    (Some(key), _) => WatchKeys::Key(value(key)?),
                    (None, Some(prefix)) => WatchKeys::Prefix(value(prefix)?),
                    (None, None) => WatchKeys::All,
                };
                let request = WatchRequest { keys, from };
                return Ok(Request::Watch { request, count });
            }
            Self::CompareAndSet {
                key,
                expected,
                value: new,
                if_missing,
                erase,
                expiry,
            } => {
                let values: Vec<_> = [expected, new].into_iter().flatten().collect();
                let wanted = 2 - usize::from(if_missing) - usize::from(erase);
                if values.len() != wanted {
                    return Err(misuse(format!(
                        "compare-and-set takes KEY EXPECTED VALUE (without EXPECTED if --if-missing, without VALUE if --erase), and {} stand behind KEY",
                        values.len()
                    )));
                }
                let mut values = values.into_iter();
                let mut next = |left_out: bool| {
                    let text = if left_out { None } else { values.next() };
                    text.map(value).transpose()
                };
                StoreOperation::CompareAndSet {
                    key: value(key)?,
                    expected: next(if_missing)?,
                    value: next(erase)?,
                    expiry: expiry.after,
                }
            }
            Self::Exists { key } => StoreOperation::Exists(value(key)?),
            Self::Erase { key } => StoreOperation::Erase(value(key)?),
            Self::Clear => StoreOperation::Clear,
            Self::GetIndex { key, index } => StoreOperation::GetIndex {
                key: value(key)?,
                index: value(index)?,
            },
            Self::Put(args) => {
                let (key, value, expiry) = args.checked()?;
                StoreOperation::Put { key, value, expiry }
            }
            Self::PutUnique(args) => {
                let (key, value, expiry) = args.checked()?;
                StoreOperation::PutUnique { key, value, expiry }
            }
            Self::Append(args) => {
                let (key, value, expiry) = args.checked()?;
                StoreOperation::Append { key, value, expiry }
            }
            Self::Push(args) => {
                let (key, value, expiry) = args.checked()?;
                StoreOperation::Push { key, value, expiry }
            }
            Self::Increment(args) => {
                let (key, amount, expiry) = args.checked()?;
                StoreOperation::Increment {
                    key,
                    amount,
                    expiry,
                }
            }
            Self::Decrement(args) => {
                let (key, amount, expiry) = args.checked()?;
                StoreOperation::Decrement {
                    key,
                    amount,
                    expiry,
                }
            }
            Self::InsertInto {
                key,
                index,
                value: element,
                expiry,
            } => StoreOperation::InsertInto {
                key: value(key)?,
                index: value(index)?,
                value: element.map(value).transpose()?,
                expiry: expiry.after,
            },
            Self::RemoveFrom { key, index, expiry } => StoreOperation::RemoveFrom {
                key: value(key)?,
                index: value(index)?,
                expiry: expiry.after,
            },
            Self::Pop { key, expiry } => StoreOperation::Pop {
                key: value(key)?,
                expiry: expiry.after,
            },
        };
        Ok(Request::Other(operation))
    }
}

impl KeyValue {
    fn checked(&self) -> anyhow::Result<(Data, Data, Option<Duration>)> {
        Ok((
            parse_value(&self.key)?,
            parse_value(&self.value)?,
            self.expiry.after,
        ))
    }
}

impl KeyAmount {
    fn checked(&self) -> anyhow::Result<(Data, Data, Option<Duration>)> {
        Ok((
            parse_value(&self.key)?,
            parse_value(&self.amount)?,
            self.expiry.after,
        ))
    }
}
