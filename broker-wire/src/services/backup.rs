//! Copies of stores for clients: made in a private directory, sent from there, and removed.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use broker_core::EndpointId;
use bytes::Bytes;
use tokio::sync::mpsc;
use tonic::Status;

use crate::proto;

/// The stores that are being copied.
#[derive(Clone, Debug, Default)]
pub(super) struct Backups {
    under_way: Arc<Mutex<HashSet<String>>>,
}

/// A directory for one copy, and the only right to copy this store. Both are given up when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    backups: Backups,
    store: String,
    directory: PathBuf,
}

impl Backups {
    /// A place for a copy of `store`.
    pub(super) fn begin(&self, store: &str) -> Result<Place, Status> {
        if !self.lock().insert(store.to_owned()) {
            return Err(Status::resource_exhausted(format!(
                "a backup of store {store:?} is under way"
            )));
        }
        let place = Place {
            backups: self.clone(),
            store: store.to_owned(),
            directory: std::env::temp_dir().join(format!("broker-backup-{}", EndpointId::random())),
        };
        match make_private(&place.directory) {
            Ok(()) => Ok(place),
            Err(error) => Err(Status::internal(format!(
                "no place for the copy, {}: {error}",
                place.directory.display()
            ))),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<String>> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Where the copy is to be.
    pub(super) fn file(&self) -> PathBuf {
        self.directory.join("copy")
    }

    /// Sends the copy to a client that reads as fast as it likes; blocks. Ends early if the client goes.
    pub(super) fn send(self, to: &mpsc::Sender<Result<proto::BackupReply, Status>>) {
        if let Err(error) = send_file(&self.file(), to) {
            let status = Status::internal(format!("reading the copy: {error}"));
            // The client may have gone.
            let _ = to.blocking_send(Err(status));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.directory)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(directory = %self.directory.display(), %error, "the copy made for a backup could not be removed");
        }
        self.backups.lock().remove(&self.store);
    }
}

fn send_file(file: &Path, to: &mpsc::Sender<Result<proto::BackupReply, Status>>) -> io::Result<()> {
    let mut file = File::open(file)?;
    let total = file.metadata()?.len();
    let mut left = total;
    while left > 0 {
        let mut data = vec![0; usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK))];
        file.read_exact(&mut data)?;
        left -= data.len() as u64;
        let data = Bytes::from(data);
        if to
            .blocking_send(Ok(proto::BackupReply { data, total }))
            .is_err()
        {
            break;
        }
    }
    Ok(())
}

/// Makes a directory that nobody else may look into.
fn make_private(directory: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

/// Bytes sent at a time.
const CHUNK: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_copy_is_sent_whole_and_its_place_removed() {
        let backups = Backups::default();
        let place = backups.begin("s").unwrap();
        assert_eq!(
            backups.begin("s").unwrap_err().code(),
            tonic::Code::ResourceExhausted
        );
        let (directory, content) = (place.directory.clone(), vec![7u8; CHUNK + 9]);
        std::fs::write(place.file(), &content).unwrap();
        let (sender, mut receiver) = mpsc::channel(1);
        let sending = tokio::task::spawn_blocking(move || place.send(&sender));
        let mut got = Vec::new();
        while let Some(reply) = receiver.recv().await {
            let reply = reply.unwrap();
            assert_eq!(reply.total, content.len() as u64);
            got.extend_from_slice(&reply.data);
        }
        sending.await.unwrap();
        assert!(got == content && !directory.exists());
        assert!(backups.begin("s").is_ok());
    }
}
