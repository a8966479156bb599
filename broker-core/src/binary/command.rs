//! The check a relay makes of a store command it does not take apart: lengths and nesting.
//!
//! ```text
//! | seq u64 | sender 24 | receiver 24 | tag u8 | body by tag |
//! ```
//!
//! (wire reference 7.2.) A value nested thousands deep ends a C++ node, whoever sent it, so a command
//! goes on only if its body has the structure its tag asks for. Bytes behind the body are ignored, as C++ does.

use super::DecodeRules;
use super::error::DecodeError;
use super::reader::Reader;
use super::walk::skip;

/// Sequence number, sender, receiver.
const HEADER: usize = 8 + ENTITY + ENTITY;
/// Endpoint ID and object number.
const ENTITY: usize = 24;

/// Whether `bytes` have the structure of a store command; nothing is allocated.
///
/// # Errors
/// What is wrong with the structure; an unknown command is [`DecodeError::UnknownTag`].
pub fn check_command(bytes: &[u8]) -> Result<(), DecodeError> {
    let mut reader = Reader::new(bytes);
    reader.bytes(HEADER, "command header")?;
    let tag = reader.u8("command tag")?;
    let reader = &mut reader;
    match tag {
        0 => {
            key_and_value(reader)?;
            optional_time(reader)?;
        }
        1 => {
            key_and_value(reader)?;
            optional_time(reader)?;
            request(reader)?;
        }
        2 => {
            reader.u8("inserted")?;
            request(reader)?;
        }
        3 | 4 => value(reader)?,
        5 => {
            key_and_value(reader)?;
            reader.u8("init type")?;
            optional_time(reader)?;
        }
        6 => {
            key_and_value(reader)?;
            optional_time(reader)?;
        }
        7 => {}
        8 => return reader.bytes(8 + 2, "attach").map(drop),
        9 | 10 | 13 => return reader.u64("sequence number").map(drop),
        11 => {
            let count = reader.count(8, "sequence numbers")?;
            return reader
                .bytes(8 * count as usize, "sequence numbers")
                .map(drop);
        }
        12 => {
            reader.bytes(8 + 2, "attach")?;
            for _ in 0..reader.count(2, "snapshot size")? {
                key_and_value(reader)?;
            }
            return Ok(());
        }
        unknown => return Err(DecodeError::UnknownTag(unknown)),
    }
    reader.bytes(ENTITY, "publisher").map(drop)
}

fn value(reader: &mut Reader<'_>) -> Result<(), DecodeError> {
    skip(reader, DecodeRules::COMMAND).map(drop)
}

fn key_and_value(reader: &mut Reader<'_>) -> Result<(), DecodeError> {
    value(reader)?;
    value(reader)
}

fn optional_time(reader: &mut Reader<'_>) -> Result<(), DecodeError> {
    if reader.bool("expiry flag")? {
        reader.u64("expiry")?;
    }
    Ok(())
}

fn request(reader: &mut Reader<'_>) -> Result<(), DecodeError> {
    reader.bytes(ENTITY + 8, "request").map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(tag: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER];
        bytes.push(tag);
        bytes.extend(body);
        bytes
    }

    /// `"k"` and count 7.
    const KEY: &[u8] = &[5, 1, b'k'];
    const SEVEN: &[u8] = &[2, 0, 0, 0, 0, 0, 0, 0, 7];
    const PUBLISHER: &[u8] = &[0; ENTITY];

    /// One body for each tag (wire reference 13.4).
    fn bodies() -> Vec<(u8, Vec<u8>)> {
        let request = [0; ENTITY + 8];
        let expiry = [1, 0, 0, 0, 0, 0x1d, 0xcd, 0x65, 0];
        vec![
            (0, [KEY, SEVEN, &expiry, PUBLISHER].concat()),
            (1, [KEY, SEVEN, &[0], &request, PUBLISHER].concat()),
            (2, [&[1][..], &request, PUBLISHER].concat()),
            (3, [KEY, PUBLISHER].concat()),
            (4, [KEY, PUBLISHER].concat()),
            (5, [KEY, SEVEN, &[2, 0], PUBLISHER].concat()),
            (6, [KEY, SEVEN, &[0], PUBLISHER].concat()),
            (7, PUBLISHER.to_vec()),
            (8, vec![0; 10]),
            (9, vec![0; 8]),
            (10, vec![0; 8]),
            (11, [&[2][..], &[0; 16]].concat()),
            (12, [&[0; 10][..], &[1], KEY, SEVEN].concat()),
            (13, vec![0; 8]),
        ]
    }

    #[test]
    fn whole_commands_pass_and_no_prefix_of_one_does() {
        for (tag, body) in bodies() {
            let bytes = command(tag, &body);
            assert_eq!(check_command(&bytes), Ok(()), "tag {tag}");
            for end in 0..bytes.len() {
                assert!(
                    check_command(&bytes[..end]).is_err(),
                    "tag {tag} cut at {end}"
                );
            }
        }
    }

    #[test]
    fn deep_nesting_and_unknown_tags_are_refused() {
        let deep = [&[0x0e, 1].repeat(100_000)[..], &[0], SEVEN, &[0], PUBLISHER].concat();
        assert!(matches!(
            check_command(&command(0, &deep)),
            Err(DecodeError::TooDeep { .. })
        ));
        assert_eq!(
            check_command(&command(14, &[])),
            Err(DecodeError::UnknownTag(14))
        );
    }
}
