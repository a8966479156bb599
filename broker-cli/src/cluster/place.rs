//! Where a supervisor is found: a lock and a socket beside the layout, both for the owner alone.
//!
//! The lock is the kernel's: it ends with the process that holds it, however that ends, so what a killed supervisor leaves
//! behind is recognised and cleared away by the next one. The file says which process holds it.

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{self, ErrorKind, Read as _, Seek as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tokio::net::{UnixListener, UnixStream};

use crate::failure::misuse;

/// Where the supervisor of one layout and host is found.
#[derive(Clone, Debug)]
pub(super) struct Place {
    directory: PathBuf,
    stem: String,
}

/// The place, held: there is no other supervisor. Dropping it gives it back.
#[derive(Debug)]
pub(super) struct Held {
    place: Place,
    /// Held, not read: the lock is on it.
    _file: File,
}

impl Place {
    /// The place of the layout `config` on the host `here`, beside the layout or in `directory`.
    pub(super) fn new(config: &Path, here: &str, directory: Option<&Path>) -> Self {
        let beside = config
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let directory = directory.or(beside).unwrap_or_else(|| Path::new("."));
        let file = config.file_name().unwrap_or_default().to_string_lossy();
        let host: String = here
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || ".-".contains(c) {
                    c
                } else {
                    '_'
                }
            })
            .collect();
        let stem = match host.as_str() {
            "" => format!(".{file}"),
            host => format!(".{file}.{host}"),
        };
        Self {
            directory: directory.to_owned(),
            stem,
        }
    }

    /// Takes the place.
    ///
    /// # Errors
    /// Misuse: there is a supervisor already, or the file cannot be made.
    pub(super) fn hold(&self) -> anyhow::Result<Held> {
        let path = self.lock_path();
        loop {
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path)
                .map_err(|error| {
                    misuse(format!(
                        "cannot make {}: {error}; choose another place with --run-dir",
                        path.display()
                    ))
                })?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let holder =
                        holder(&mut file).map_or_else(String::new, |id| format!(" (process {id})"));
                    return Err(misuse(format!(
                        "these nodes are up already{holder}; see `broker cluster status`, or stop them with `broker cluster stop`"
                    )));
                }
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("cannot lock {}", path.display()));
                }
            }
            // Its former holder may have removed it between our opening and our locking.
            let ours = file.metadata()?;
            let is_there = std::fs::metadata(&path)
                .is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino()));
            if !is_there {
                continue;
            }
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())?;
            return Ok(Held {
                place: self.clone(),
                _file: file,
            });
        }
    }

    /// The process of the supervisor, if there is one; 0 if it is not known which.
    pub(super) fn holder(&self) -> Option<u32> {
        let mut file = File::open(self.lock_path()).ok()?;
        match file.try_lock_shared() {
            // Nobody held it: what is there was left behind.
            Ok(()) => None,
            Err(_) => Some(holder(&mut file).unwrap_or(0)),
        }
    }

    /// Connects to the supervisor. `None`: there is none.
    ///
    /// # Errors
    /// There is one, and it cannot be reached.
    pub(super) async fn connect(&self) -> anyhow::Result<Option<UnixStream>> {
        let Some(process) = self.holder() else {
            return Ok(None);
        };
        let directory = File::open(&self.directory)?;
        let path = self.socket_path();
        match UnixStream::connect(short(&directory, &path)).await {
            Ok(stream) => Ok(Some(stream)),
            // It may have ended just now.
            Err(_) if self.holder().is_none() => Ok(None),
            Err(error) => Err(error).with_context(|| {
                format!(
                    "cannot talk to the supervisor (process {process}) at {}",
                    path.display()
                )
            }),
        }
    }

    fn lock_path(&self) -> PathBuf {
        self.directory.join(format!("{}.lock", self.stem))
    }

    fn socket_path(&self) -> PathBuf {
        self.directory.join(format!("{}.sock", self.stem))
    }
}

impl Held {
    /// Listens for other commands. What another supervisor has left behind is replaced.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub(super) fn listen(&self) -> anyhow::Result<UnixListener> {
        let path = self.place.socket_path();
        self.bind(&path)
            .with_context(|| format!("cannot listen on {}", path.display()))
    }

    fn bind(&self, path: &Path) -> io::Result<UnixListener> {
        // Where nobody else can look, until only the owner may connect.
        let hidden = tempfile::Builder::new()
            .prefix(&self.place.stem)
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(&self.place.directory)?;
        let made = hidden.path().join("s");
        let directory = File::open(hidden.path())?;
        let listener = UnixListener::bind(short(&directory, &made))?;
        std::fs::set_permissions(&made, Permissions::from_mode(0o600))?;
        std::fs::rename(&made, path)?;
        Ok(listener)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Before the lock is gone, so that it is never another one's that is removed.
        for path in [self.place.socket_path(), self.place.lock_path()] {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    tracing::warn!(path = %path.display(), %error, "cannot remove it");
                }
                _ => {}
            }
        }
    }
}

/// Which process a lock file names.
fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// A path to `path` that fits into the address of a socket, by way of its directory, which is open.
fn short(directory: &File, path: &Path) -> PathBuf {
    if path.as_os_str().as_bytes().len() <= MAX_SOCKET_PATH {
        return path.to_owned();
    }
    let name = path.file_name().unwrap_or_default();
    Path::new("/proc/self/fd")
        .join(directory.as_raw_fd().to_string())
        .join(name)
}

/// The longest path of a socket, on every system.
const MAX_SOCKET_PATH: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn place(directory: &Path) -> Place {
        Place::new(&directory.join("cluster.toml"), "host 1/x", None)
    }

    #[tokio::test]
    async fn one_holds_the_place_and_gives_it_back() {
        let directory = tempfile::tempdir().expect("a directory");
        let place = place(directory.path());
        assert_eq!(place.holder(), None);
        let held = place.hold().expect("nobody has it");
        let listener = held.listen().expect("a socket");
        assert_eq!(place.holder(), Some(std::process::id()));
        let error = place.hold().expect_err("held").to_string();
        assert!(
            error.contains(&format!("process {}", std::process::id())),
            "{error}"
        );
        for path in [place.lock_path(), place.socket_path()] {
            let mode = std::fs::metadata(&path)
                .expect("there")
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600, "{}", path.display());
        }
        assert!(place.connect().await.expect("reached").is_some());
        drop((listener, held));
        assert_eq!(
            std::fs::read_dir(directory.path())
                .expect("a directory")
                .count(),
            0
        );
        assert!(place.connect().await.expect("no error").is_none());
    }

    #[tokio::test]
    async fn what_was_left_behind_is_no_supervisor_and_is_replaced() {
        let directory = tempfile::tempdir().expect("a directory");
        let place = place(directory.path());
        std::fs::write(place.lock_path(), "12345\n").expect("written");
        drop(std::os::unix::net::UnixListener::bind(place.socket_path()).expect("bound"));
        assert_eq!(place.holder(), None);
        assert!(place.connect().await.expect("no error").is_none());
        let held = place.hold().expect("nobody has it");
        let _listener = held.listen().expect("a socket");
        assert!(place.connect().await.expect("reached").is_some());
    }

    #[tokio::test]
    async fn a_long_path_is_no_hindrance() {
        let directory = tempfile::tempdir().expect("a directory");
        let deep = directory.path().join("x".repeat(120)).join("y".repeat(120));
        std::fs::create_dir_all(&deep).expect("made");
        let place = place(&deep);
        let held = place.hold().expect("nobody has it");
        let _listener = held.listen().expect("a socket");
        assert!(place.connect().await.expect("reached").is_some());
    }
}
