//! `backup`: a copy of a store's file, fetched from the node that has the master.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};

use super::Remote;
use crate::supervisor::eprintln_line;

/// Fetches a copy into `file`, which appears when the copy is complete and on disk.
pub(super) async fn backup(remote: &Remote, file: &Path, force: bool) -> anyhow::Result<()> {
    refuse_existing(file, force)?;
    let mut backup = remote.door.backup().await?;
    let mut partial = Partial::beside(file)?;
    let bar = ProgressBar::new(0).with_style(
        ProgressStyle::with_template("{bytes} of {total_bytes}, {bytes_per_sec}")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    while let Some(bytes) = backup.recv().await.context("the copy is not complete")? {
        partial.write(&bytes)?;
        bar.set_length(backup.total().unwrap_or(0));
        bar.inc(bytes.len() as u64);
    }
    bar.finish_and_clear();
    partial.put_in_place(file, force)?;
    eprintln_line(&format!(
        "backed up to {}, {} bytes",
        file.display(),
        backup.total().unwrap_or(0)
    ));
    Ok(())
}

fn refuse_existing(file: &Path, force: bool) -> anyhow::Result<()> {
    anyhow::ensure!(
        force || fs::symlink_metadata(file).is_err(),
        "{} exists already (--force replaces it)",
        file.display()
    );
    Ok(())
}

/// A file for its owner only that is removed again unless it is put in place.
struct Partial {
    path: PathBuf,
    file: File,
}

impl Partial {
    fn beside(target: &Path) -> anyhow::Result<Self> {
        let name = target.file_name().context("the path names no file")?;
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".partial-{}", std::process::id()));
        let path = target.with_file_name(hidden);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options
            .open(&path)
            .with_context(|| format!("creating {}", path.display()))?;
        Ok(Self { path, file })
    }

    fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.file
            .write_all(bytes)
            .with_context(|| format!("writing {}", self.path.display()))
    }

    fn put_in_place(self, target: &Path, force: bool) -> anyhow::Result<()> {
        let put = || -> io::Result<()> {
            self.file.sync_all()?;
            if force {
                fs::rename(&self.path, target)?;
            } else {
                // Fails if somebody has made the file meanwhile, where a rename would replace it.
                fs::hard_link(&self.path, target)?;
            }
            let directory = target.parent().filter(|path| !path.as_os_str().is_empty());
            File::open(directory.unwrap_or_else(|| Path::new(".")))?.sync_all()
        };
        put().with_context(|| format!("putting {} in place", target.display()))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Not there any more once it was renamed.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_there_stays_unless_it_is_to_be_replaced() {
        let directory = tempfile::tempdir().expect("a directory");
        let target = directory.path().join("copy");
        let put = |content: &[u8], force| {
            let mut partial = Partial::beside(&target).expect("a file");
            partial.write(content).expect("written");
            partial.put_in_place(&target, force)
        };
        put(b"old", false).expect("in place");
        assert!(refuse_existing(&target, false).is_err());
        assert!(put(b"new", false).is_err());
        assert_eq!(fs::read(&target).expect("read"), b"old");
        put(b"new", true).expect("in place");
        assert_eq!(fs::read(&target).expect("read"), b"new");
        assert_eq!(fs::read_dir(directory.path()).expect("read").count(), 1);
    }
}
