//! A log file and its journal by their descriptors, which can be given up and taken again, so that more logs may be written
//! than a process may have files open; and whether both are still where they were opened.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Both files, open for writing at their ends.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) log: File,
    /// Appends wherever it stands.
    pub(super) journal: File,
}

/// Two paths, what was opened there, and the descriptors unless they are given up.
#[derive(Debug)]
pub(super) struct Descriptors {
    log: Place,
    journal: Place,
    open: Option<Open>,
}

/// How long both files are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    pub(super) log: u64,
    pub(super) journal: u64,
}

impl Descriptors {
    /// `open` are the files at these paths.
    pub(super) fn new(log: &Path, journal: &Path, open: Open) -> io::Result<Self> {
        Ok(Self {
            log: Place::of(log, &open.log)?,
            journal: Place::of(journal, &open.journal)?,
            open: Some(open),
        })
    }

    pub(super) fn log_path(&self) -> &Path {
        &self.log.path
    }

    pub(super) fn journal_path(&self) -> &Path {
        &self.journal.path
    }

    /// Whether both files are where they were opened: not removed, and not moved away by somebody else.
    pub(super) fn stand(&self) -> bool {
        self.log.stands() && self.journal.stands()
    }

    /// Gives the descriptors up until [`Descriptors::get`].
    pub(super) fn park(&mut self) {
        self.open = None;
    }

    pub(super) const fn is_parked(&self) -> bool {
        self.open.is_none()
    }

    /// The files; those that were given up are opened again and cut to `ends`.
    ///
    /// # Errors
    /// One of them cannot be opened or is another one by now.
    pub(super) fn get(&mut self, ends: Ends) -> io::Result<&mut Open> {
        if self.open.is_none() {
            let mut log = self.log.open(OpenOptions::new().write(true))?;
            log.set_len(ends.log)?;
            log.seek(SeekFrom::Start(ends.log))?;
            let journal = self.journal.open(OpenOptions::new().append(true))?;
            journal.set_len(ends.journal)?;
            self.open = Some(Open { log, journal });
        }
        Ok(self.open.as_mut().expect("opened above"))
    }
}

/// A path and which file was there.
#[derive(Debug)]
struct Place {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Place {
    fn of(path: &Path, file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            path: path.to_owned(),
            device: metadata.dev(),
            inode: metadata.ino(),
        })
    }

    fn stands(&self) -> bool {
        std::fs::metadata(&self.path).is_ok_and(|metadata| self.is(&metadata))
    }

    fn is(&self, metadata: &std::fs::Metadata) -> bool {
        (metadata.dev(), metadata.ino()) == (self.device, self.inode)
    }

    fn open(&self, options: &OpenOptions) -> io::Result<File> {
        let file = options.open(&self.path)?;
        if self.is(&file.metadata()?) {
            return Ok(file);
        }
        Err(io::Error::other("another file has taken its place"))
    }
}
