//! Who a spool is: an identity that outlives its process, and numbers that no process uses twice.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use broker_core::EndpointId;

/// The spool's identity and the first number of this process; the next one begins beyond all this one can use.
pub(super) fn identify(dir: &Path) -> io::Result<(EndpointId, u64)> {
    let path = dir.join("spool.id");
    let (identity, first) = match fs::read_to_string(&path) {
        Ok(text) => {
            let mut words = text.split_ascii_whitespace();
            let read = (|| Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?)))();
            read.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "spool.id is damaged"))?
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => (EndpointId::random(), 1),
        Err(error) => return Err(error),
    };
    let next: u64 = first + NUMBERS;
    let partial = dir.join("spool.id.part");
    let mut file = File::create(&partial)?;
    writeln!(file, "{identity} {next}")?;
    // A number that is used twice would cost records, so this is to survive the machine too.
    file.sync_all()?;
    fs::rename(partial, path)?;
    File::open(dir)?.sync_all()?;
    Ok((identity, first))
}

/// Numbers of one process.
pub(super) const NUMBERS: u64 = 1 << 32;
