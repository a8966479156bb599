//! Which layout a node or a supervisor reads: a file in one of three formats, and what the command line says about it.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use broker_cluster::{Layout, LayoutFormat, LayoutSource, ZeekOptions};

use crate::failure::misuse;

/// What these options stand under in the help. Each names it: said for all of them, it would be said of those that follow too.
const HEADING: &str = "Layouts of Zeek's: node.cfg, cluster-layout.zeek";

/// How to read the layout.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct LayoutArgs {
    /// What the layout is written in: toml, node-cfg or zeek [default: by its name or content]
    #[arg(long, help_heading = HEADING, value_name = "FORMAT", requires = "config")]
    layout_format: Option<LayoutFormat>,
    /// A TOML file with what a layout of Zeek's cannot say: log_dir, stores, further addresses, certificates
    #[arg(long = "with", help_heading = HEADING, value_name = "FILE", requires = "config")]
    with: Option<PathBuf>,
    /// Nodes of a layout of Zeek's speak broker://, for a cluster with Broker::disable_ssl
    #[arg(long, help_heading = HEADING, requires = "config")]
    no_tls: bool,
}

impl LayoutArgs {
    /// Reads the layout in `config`, and says what was passed over in it.
    ///
    /// # Errors
    /// Misuse: it cannot be read, or says what it may not.
    pub(crate) fn load(&self, config: &Path) -> anyhow::Result<Layout> {
        let address = std::env::var(LISTEN_ADDRESS).unwrap_or_default();
        let is_address = address.parse::<IpAddr>().is_ok();
        let mut zeek = ZeekOptions::new();
        if self.no_tls {
            zeek = zeek.tls(false);
        }
        if is_address {
            zeek = zeek.listen_address(address.as_str());
        }
        let mut source = LayoutSource::new(config).zeek(zeek);
        if let Some(format) = self.layout_format {
            source = source.format(format);
        }
        if let Some(with) = &self.with {
            source = source.with(with);
        }
        let layout = source.load().map_err(|error| misuse(error.to_string()))?;
        if layout.format() == LayoutFormat::Toml {
            if self.no_tls {
                return Err(misuse(format!(
                    "{}: --no-tls is for layouts of Zeek's; write broker:// into this one",
                    config.display()
                )));
            }
        } else if !is_address && !address.is_empty() {
            return Err(misuse(format!(
                "{LISTEN_ADDRESS}: {address:?} is no address"
            )));
        }
        for notice in layout.notices() {
            tracing::warn!("{notice}");
        }
        Ok(layout)
    }

    /// The file that says where logs go and what the stores are: the layout, or the one beside it.
    pub(crate) fn settings<'a>(&'a self, config: &'a Path) -> &'a Path {
        self.with.as_deref().unwrap_or(config)
    }

    /// The arguments that say the same to another process of this program.
    pub(crate) fn to_args(&self) -> Vec<OsString> {
        let Self {
            layout_format,
            with,
            no_tls,
        } = self;
        let mut args: Vec<OsString> = Vec::new();
        if let Some(format) = layout_format {
            args.extend(["--layout-format".into(), format.as_str().into()]);
        }
        if let Some(with) = with {
            args.extend(["--with".into(), with.into()]);
        }
        if *no_tls {
            args.push("--no-tls".into());
        }
        args
    }
}

/// The environment variable that says to Zeek, too, which address of the machine to listen on.
const LISTEN_ADDRESS: &str = "ZEEK_DEFAULT_LISTEN_ADDRESS";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_said_to_children_too() {
        #[derive(clap::Parser)]
        struct Line {
            #[arg(long)]
            config: PathBuf,
            #[command(flatten)]
            layout: LayoutArgs,
        }
        let line = ["--layout-format", "zeek", "--with", "w.toml", "--no-tls"];
        let parsed =
            <Line as clap::Parser>::parse_from(["x", "--config", "c"].into_iter().chain(line));
        assert_eq!(parsed.layout.to_args(), line);
        assert_eq!(parsed.layout.settings(&parsed.config), Path::new("w.toml"));
    }
}
