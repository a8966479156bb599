//! The bytes of one batch in a segment.
//!
//! ```text
//! | state u8: W waiting, D done | body length u32 | CRC-32 of the body u32 | body |
//! body := number u64, records u32, stream, writer, path (u16 length and bytes each), LogCreate (u32 length and bytes),
//!         the LogWrites, to the end
//! ```
//!
//! Integers are big-endian.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};

use bytes::{Buf as _, Bytes};

use crate::logging::outbox::StreamKey;

/// A batch as the spool has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SpooledBatch {
    pub(crate) key: StreamKey,
    pub(crate) number: u64,
    pub(crate) records: u32,
    pub(crate) create: Bytes,
    pub(crate) entries: Bytes,
}

pub(super) struct Entry {
    pub(super) body: u32,
    /// Number, records and stream of an entry that waits.
    pub(super) waiting: Option<(u64, u32, StreamKey)>,
}

/// The entry at `offset`. None: there is no whole one.
pub(super) fn read_entry(file: &mut File, offset: u64, size: u64) -> io::Result<Option<Entry>> {
    if size - offset < HEAD {
        return Ok(None);
    }
    file.seek(SeekFrom::Start(offset))?;
    let mut head = [0; HEAD as usize];
    file.read_exact(&mut head)?;
    let body = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
    if !matches!(head[0], WAITING | DONE) || u64::from(body) > size - offset - HEAD {
        return Ok(None);
    }
    if head[0] == DONE {
        return Ok(Some(Entry {
            body,
            waiting: None,
        }));
    }
    // Names are short: this is far more than they may take.
    let mut names = vec![0; body.min(MAX_NAMES) as usize];
    file.read_exact(&mut names)?;
    let mut names = Bytes::from(names);
    Ok(parse_names(&mut names).map(|waiting| Entry {
        body,
        waiting: Some(waiting),
    }))
}

fn parse_names(body: &mut Bytes) -> Option<(u64, u32, StreamKey)> {
    let number = body.try_get_u64().ok()?;
    let records = body.try_get_u32().ok()?;
    let mut name = || {
        let len = usize::from(body.try_get_u16().ok()?);
        if body.len() < len {
            return None;
        }
        String::from_utf8(body.split_to(len).to_vec()).ok()
    };
    let key = StreamKey {
        stream: name()?,
        writer: name()?,
        path: name()?,
    };
    Some((number, records, key))
}

pub(super) fn parse(mut body: Bytes) -> Option<SpooledBatch> {
    let (number, records, key) = parse_names(&mut body)?;
    let len = body.try_get_u32().ok()? as usize;
    if body.len() < len {
        return None;
    }
    Some(SpooledBatch {
        key,
        number,
        records,
        create: body.split_to(len),
        entries: body,
    })
}

pub(super) fn body_of(batch: &SpooledBatch) -> Vec<u8> {
    let mut body = Vec::with_capacity(64 + batch.create.len() + batch.entries.len());
    body.extend_from_slice(&batch.number.to_be_bytes());
    body.extend_from_slice(&batch.records.to_be_bytes());
    for name in [&batch.key.stream, &batch.key.writer, &batch.key.path] {
        body.extend_from_slice(&(name.len() as u16).to_be_bytes());
        body.extend_from_slice(name.as_bytes());
    }
    body.extend_from_slice(&(batch.create.len() as u32).to_be_bytes());
    body.extend_from_slice(&batch.create);
    body.extend_from_slice(&batch.entries);
    body
}

/// A waiting entry with this body.
pub(super) fn entry_of(body: &[u8]) -> Vec<u8> {
    let mut entry = Vec::with_capacity(HEAD as usize + body.len());
    entry.push(WAITING);
    entry.extend_from_slice(&(body.len() as u32).to_be_bytes());
    entry.extend_from_slice(&checksum(body).to_be_bytes());
    entry.extend_from_slice(body);
    entry
}

pub(super) fn checksum(body: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(body);
    crc.sum()
}

const WAITING: u8 = b'W';

pub(super) const DONE: u8 = b'D';

pub(super) const HEAD: u64 = 9;

const MAX_NAMES: u32 = 12 + 3 * (2 + 0xffff);
