//! When which key vanishes. The schema of C++ has no index over `expiry`, and a file of ours must have that schema: so the
//! index is a table of the connection's own, in a temporary file with a bounded cache, filled by one pass on opening.
//!
//! It is changed in the transaction of the entries, so a rollback takes it back too. It costs nothing as long as no key has
//! a deadline; then one look-up for each write.

use rusqlite::Connection;

const CREATE: &str = "PRAGMA temp_store = FILE;
     PRAGMA temp.journal_mode = MEMORY;
     CREATE TEMP TABLE deadline(expiry INTEGER, key BLOB, PRIMARY KEY(expiry, key)) STRICT, WITHOUT ROWID;";

// In the order of the index, so that it is written page after page. An expiry that is no number is that entry's trouble, not
// the store's.
const FILL: &str = "INSERT INTO temp.deadline SELECT expiry, key FROM main.store \
                    WHERE typeof(expiry) = 'integer' ORDER BY expiry, key";

pub(super) const EXPIRY_OF: &str =
    "SELECT expiry FROM main.store WHERE key = ?1 AND typeof(expiry) = 'integer'";
pub(super) const REMEMBER: &str = "INSERT OR IGNORE INTO temp.deadline VALUES (?1, ?2)";
pub(super) const FORGET: &str = "DELETE FROM temp.deadline WHERE expiry = ?1 AND key = ?2";
pub(super) const FORGET_ALL: &str = "DELETE FROM temp.deadline";
pub(super) const DUE: &str =
    "SELECT key FROM temp.deadline WHERE expiry < ?1 ORDER BY expiry, key LIMIT ?2";

/// Makes the index and fills it. Returns how many keys have a deadline.
pub(super) fn load(connection: &Connection) -> rusqlite::Result<usize> {
    connection.execute_batch(CREATE)?;
    connection.execute(FILL, [])
}
