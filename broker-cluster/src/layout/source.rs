//! Where a layout comes from: a file in one of three formats, and what stands beside it.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::error::{LayoutError, LayoutProblem};
use super::format::LayoutFormat;
use super::zeek::ZeekOptions;
use super::{Layout, reader, zeek};

/// A layout file and how to read it.
///
/// ```no_run
/// # use broker_cluster::LayoutSource;
/// // Zeek's own layout; where logs go and where clients connect stands in a file of ours.
/// let layout = LayoutSource::new("/opt/zeek/spool/installed-scripts-do-not-touch/auto/cluster-layout.zeek")
///     .with("logger.toml")
///     .load()?;
/// # Ok::<(), broker_cluster::LayoutError>(())
/// ```
#[must_use = "load() reads the layout"]
#[derive(Clone, Debug)]
pub struct LayoutSource {
    path: PathBuf,
    format: Option<LayoutFormat>,
    with: Option<PathBuf>,
    zeek: ZeekOptions,
}

impl LayoutSource {
    /// A file, the format of which its name or content tells.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            format: None,
            with: None,
            zeek: ZeekOptions::new(),
        }
    }

    /// Takes the file to be in this format; default: [recognised](LayoutFormat::recognise).
    pub const fn format(mut self, format: LayoutFormat) -> Self {
        self.format = Some(format);
        self
    }

    /// A TOML file with what a layout of Zeek's cannot say: [`ZeekOptions::with`]. Default none. A layout in TOML takes
    /// none, since it can say all of it.
    pub fn with(mut self, path: impl Into<PathBuf>) -> Self {
        self.with = Some(path.into());
        self
    }

    /// What a layout of Zeek's leaves open; without meaning to one in TOML.
    pub fn zeek(mut self, options: ZeekOptions) -> Self {
        self.zeek = options;
        self
    }

    /// Reads and checks it. With a `node.cfg` a `zeekctl.cfg` in the same directory is read, if there is one. Blocks on
    /// files.
    ///
    /// # Errors
    /// A file cannot be read, or says what it may not.
    pub fn load(&self) -> Result<Layout, LayoutError> {
        let text = read(&self.path)?;
        let format = self
            .format
            .unwrap_or_else(|| LayoutFormat::recognise(&self.path, &text));
        if format == LayoutFormat::Toml {
            return match &self.with {
                None => reader::read(&text, &self.path, None),
                Some(with) => Err(LayoutError::new(with, None, LayoutProblem::NothingBeside)),
            };
        }
        let mut options = self.zeek.clone();
        if format == LayoutFormat::NodeCfg {
            let beside = self.path.with_file_name("zeekctl.cfg");
            if beside.is_file() {
                options = options.zeekctl_cfg(&read(&beside)?, &beside)?;
            }
        }
        if let Some(with) = &self.with {
            options = options.with(read(with)?, with);
        }
        zeek::read(&text, &self.path, format, &options)
    }
}

fn read(path: &Path) -> Result<String, LayoutError> {
    let refuse = |problem| LayoutError::new(path, None, problem);
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_string(&mut text));
    match read {
        Err(reason) => Err(refuse(LayoutProblem::Unreadable {
            reason: reason.to_string(),
        })),
        Ok(len) if len as u64 > MAX_FILE => Err(refuse(LayoutProblem::TooLong { limit: MAX_FILE })),
        Ok(_) => Ok(text),
    }
}

/// Bytes of a layout at most: some kilobytes for each of 4096 nodes.
const MAX_FILE: u64 = 16 << 20;
