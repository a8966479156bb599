//! Notes: rows of the meta table, of which C++ Broker reads none, and what they say about who wrote to the file last.
//!
//! **Whose content it is.** C++ Broker writes the row `broker_version` on every open, by `INSERT OR REPLACE`, so the row
//! moves behind all others. We write it as well, and then our notes once more, in one transaction: as long as nobody else
//! has opened the file, every note is behind that row. If one is not, the content may have been changed by somebody who
//! knows nothing of the notes, and they are dropped. `VACUUM` and a dump may number the rows anew, but keep their order.

use rusqlite::{Connection, OptionalExtension};

pub(super) const PUT_NOTE: &str = "INSERT INTO meta (key, value) VALUES (?1, ?2) \
                                   ON CONFLICT (key) DO UPDATE SET value = excluded.value";
pub(super) const ERASE_NOTE: &str = "DELETE FROM meta WHERE key = ?1";
pub(super) const GET_NOTE: &str = "SELECT value FROM meta WHERE key = ?1";

/// Without the notes, a copy is nobody's.
pub(super) const ERASE_NOTES: &str = "DELETE FROM meta WHERE key GLOB 'note/*'";

const VERSION_ROW: &str = "SELECT rowid FROM meta WHERE key = 'broker_version'";
const FIRST_NOTE: &str = "SELECT min(rowid) FROM meta WHERE key GLOB 'note/*'";
const PUT_VERSION: &str = "INSERT OR REPLACE INTO meta (key, value) VALUES ('broker_version', ?1)";
const MOVE_NOTES_BEHIND: &str = "INSERT OR REPLACE INTO meta (key, value) \
                                 SELECT key, value FROM meta WHERE key GLOB 'note/*' ORDER BY rowid";

/// The version of C++ Broker whose format this is.
const BROKER_VERSION: &str = "2.8.0";

/// Writes the version row, and drops the notes if somebody else has opened the file since we wrote them. Returns whether
/// it did. Runs inside a transaction.
pub(super) fn sign(connection: &Connection) -> rusqlite::Result<bool> {
    let version: Option<i64> = connection
        .query_row(VERSION_ROW, [], |row| row.get(0))
        .optional()?;
    let first_note: Option<i64> = connection.query_row(FIRST_NOTE, [], |row| row.get(0))?;
    let is_ours = version.is_some_and(|version| first_note.is_none_or(|note| note > version));
    if !is_ours {
        connection.execute(ERASE_NOTES, [])?;
    }
    connection.execute(PUT_VERSION, [BROKER_VERSION])?;
    connection.execute(MOVE_NOTES_BEHIND, [])?;
    Ok(!is_ours && first_note.is_some())
}

pub(super) fn note_key(name: &str) -> String {
    format!("note/{name}")
}

pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
    ];
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(DIGITS[usize::from(byte >> 4)]);
        text.push(DIGITS[usize::from(byte & 15)]);
    }
    text
}

pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
    let bytes = text.as_bytes().chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair).ok()?;
        (pair.len() == 2)
            .then(|| u8::from_str_radix(pair, 16).ok())
            .flatten()
    });
    bytes.collect()
}
