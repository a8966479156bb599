//! What only nodes of ours say: outcomes, pages, questions and their answers.

use broker_core::binary::{self, Reader};
use broker_core::{Data, DecodeError, ErrorCode, Timespan};
use bytes::{BufMut, BytesMut};

use super::Content;
use super::codec::{expiry, optional_value, put_expiry, put_optional_value, size, value};
use crate::digest::Digest;

/// Outcomes of writes that are no error codes.
pub mod outcome {
    /// The write was done, and what it asked was answered with no: a put_unique of a key that is there, a
    /// compare-and-set of another value.
    pub const DECLINED: u8 = 0xff;
}

/// An entry of a page.
#[derive(Clone, Debug, PartialEq)]
pub struct PageEntry {
    /// The key.
    pub key: Data,
    /// Its value.
    pub value: Data,
    /// How long it still has when the page is made; `None` is for ever.
    pub expiry: Option<Timespan>,
}

/// What a handle without a copy asks its master.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Question {
    /// The value at a key.
    Get(Data),
    /// Whether there is one.
    Exists(Data),
    /// What an index finds in the value at a key.
    GetIndex {
        /// The key.
        key: Data,
        /// The index.
        index: Data,
    },
    /// A page of entries.
    Scan {
        /// Only keys after this one.
        after: Option<Data>,
        /// At most so many.
        limit: u32,
    },
    /// A page of keys.
    Keys {
        /// Only keys after this one.
        after: Option<Data>,
    },
    /// How the copies compare; the answer takes its time.
    Verify,
}

/// What the master answers.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Answer {
    /// No, and why.
    Refused(ErrorCode),
    /// A value.
    Value(Data),
    /// Entries in key order; none at the end.
    Entries(Vec<PageEntry>),
    /// Keys in order; none at the end.
    Keys(Vec<Data>),
    /// What a comparison found, as a value (see `master/verify.rs`).
    Report(Data),
}

/// What a clone has in a range of keys.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Verdict {
    /// The same.
    Equal,
    /// Something else: its keys with the digest of each entry.
    Entries(Vec<(Data, Digest)>),
    /// It cannot say: it is not at that number any more, or has too much there.
    Passed,
}

impl Content {
    /// Whether only those say it, of ours, who believe that the receiver knows them.
    pub(crate) const fn tells_acquaintance(&self) -> bool {
        matches!(
            self,
            Self::CumulativeAck { .. }
                | Self::Keepalive { .. }
                | Self::Sync { .. }
                | Self::ResultsQuery { .. }
        )
    }
}

impl Content {
    /// Whether it changes the entries, as an update of a master.
    pub(crate) const fn is_change(&self) -> bool {
        matches!(
            self,
            Self::Put { .. } | Self::Erase { .. } | Self::Expire { .. } | Self::Clear { .. }
        )
    }

    /// Whether only masters say it.
    pub(crate) const fn is_masters(&self) -> bool {
        !matches!(
            self,
            Self::Nack { .. } | Self::CumulativeAck { .. } | Self::AttachWriter { .. }
        )
    }
}

impl Question {
    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match r.u8("question")? {
            0 => Self::Get(value(r)?),
            1 => Self::Exists(value(r)?),
            2 => Self::GetIndex {
                key: value(r)?,
                index: value(r)?,
            },
            3 => Self::Scan {
                after: optional_value(r)?,
                limit: r.u32("limit")?,
            },
            4 => Self::Keys {
                after: optional_value(r)?,
            },
            5 => Self::Verify,
            tag => return Err(DecodeError::UnknownTag(tag)),
        })
    }

    pub(super) fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Get(key) => {
                out.put_u8(0);
                binary::encode(key, out);
            }
            Self::Exists(key) => {
                out.put_u8(1);
                binary::encode(key, out);
            }
            Self::GetIndex { key, index } => {
                out.put_u8(2);
                binary::encode(key, out);
                binary::encode(index, out);
            }
            Self::Scan { after, limit } => {
                out.put_u8(3);
                put_optional_value(after.as_ref(), out);
                out.put_u32(*limit);
            }
            Self::Keys { after } => {
                out.put_u8(4);
                put_optional_value(after.as_ref(), out);
            }
            Self::Verify => out.put_u8(5),
        }
    }
}

impl Answer {
    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match r.u8("answer")? {
            0 => Self::Refused(
                ErrorCode::from_u8(r.u8("error code")?).unwrap_or(ErrorCode::Unspecified),
            ),
            1 => Self::Value(value(r)?),
            2 => Self::Entries(entries(r)?),
            3 => {
                let count = r.count(1, "number of keys")?;
                Self::Keys((0..count).map(|_| value(r)).collect::<Result<_, _>>()?)
            }
            4 => Self::Report(value(r)?),
            tag => return Err(DecodeError::UnknownTag(tag)),
        })
    }

    pub(super) fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Refused(code) => {
                out.put_u8(0);
                out.put_u8(*code as u8);
            }
            Self::Value(data) => {
                out.put_u8(1);
                binary::encode(data, out);
            }
            Self::Entries(entries) => {
                out.put_u8(2);
                put_entries(entries, out);
            }
            Self::Keys(keys) => {
                out.put_u8(3);
                binary::put_varbyte(size(keys.len()), out);
                keys.iter().for_each(|key| binary::encode(key, out));
            }
            Self::Report(data) => {
                out.put_u8(4);
                binary::encode(data, out);
            }
        }
    }
}

impl Verdict {
    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match r.u8("verdict")? {
            0 => Self::Equal,
            1 => {
                let count = r.count(17, "number of keys")?;
                let entries = (0..count).map(|_| Ok((value(r)?, digest(r)?)));
                Self::Entries(entries.collect::<Result<_, DecodeError>>()?)
            }
            2 => Self::Passed,
            tag => return Err(DecodeError::UnknownTag(tag)),
        })
    }

    pub(super) fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Equal => out.put_u8(0),
            Self::Entries(entries) => {
                out.put_u8(1);
                binary::put_varbyte(size(entries.len()), out);
                for (key, digest) in entries {
                    binary::encode(key, out);
                    out.put_slice(&digest.to_bytes());
                }
            }
            Self::Passed => out.put_u8(2),
        }
    }
}

pub(super) fn entries(r: &mut Reader<'_>) -> Result<Vec<PageEntry>, DecodeError> {
    let count = r.count(3, "number of entries")?;
    let entries = (0..count).map(|_| {
        Ok(PageEntry {
            key: value(r)?,
            value: value(r)?,
            expiry: expiry(r)?,
        })
    });
    entries.collect()
}

pub(super) fn put_entries(entries: &[PageEntry], out: &mut BytesMut) {
    binary::put_varbyte(size(entries.len()), out);
    for PageEntry { key, value, expiry } in entries {
        binary::encode(key, out);
        binary::encode(value, out);
        put_expiry(*expiry, out);
    }
}

pub(super) fn digest(r: &mut Reader<'_>) -> Result<Digest, DecodeError> {
    Ok(Digest::from_bytes(*r.array("digest")?))
}
