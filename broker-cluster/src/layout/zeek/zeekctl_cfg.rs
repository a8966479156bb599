//! What of `zeekctl.cfg` matters to a layout: `NAME = VALUE` lines, names in any case, the last one holds.

use super::super::error::LayoutError;
use super::super::table::{Source, shortened};
use super::node_cfg;
use super::{Notices, ZeekLayoutProblem};

/// What was found.
#[derive(Debug, Default)]
pub(super) struct ZeekctlCfg {
    pub(super) first_port: Option<u16>,
    pub(super) env: Vec<(String, String)>,
    pub(super) notices: Vec<String>,
}

/// Reads the text of a `zeekctl.cfg`.
pub(super) fn read(source: &Source<'_>) -> Result<ZeekctlCfg, LayoutError> {
    let mut found = ZeekctlCfg::default();
    let mut backend = None;
    for (line, number) in source.text.lines().zip(1..) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((name, value)) = line.split_once('=') else {
            return Err(source.at_line(
                Some(number),
                ZeekLayoutProblem::Expected {
                    expected: "NAME = VALUE",
                    found: format!("{:?}", shortened(line)),
                }
                .into(),
            ));
        };
        let value = value.trim();
        match name.trim().to_ascii_lowercase().as_str() {
            "zeekport" => {
                let port = value.parse().ok().filter(|port| *port > 0);
                found.first_port = Some(port.ok_or_else(|| {
                    source.at_line(
                        Some(number),
                        ZeekLayoutProblem::BadValue {
                            key: "ZeekPort".to_owned(),
                            value: shortened(value),
                            expected: "a number from 1 to 65535",
                        }
                        .into(),
                    )
                })?);
            }
            "clusterbackend" => backend = Some((value, number)),
            "env_vars" => found.env = node_cfg::env_vars(source, value, number)?,
            _ => {}
        }
    }
    match backend {
        Some((value, _)) if value.eq_ignore_ascii_case("broker") => {}
        Some((value, line)) => {
            let backend = shortened(value);
            let problem = ZeekLayoutProblem::OtherBackend { backend };
            return Err(source.at_line(Some(line), problem.into()));
        }
        None => {
            let mut notices = Notices::default();
            notices.push(format!(
                "{}: no ClusterBackend; zeekctl of Zeek 8.1 and later takes ZeroMQ then, which is not spoken here",
                source.file.display()
            ));
            found.notices = notices.into_texts();
        }
    }
    Ok(found)
}
