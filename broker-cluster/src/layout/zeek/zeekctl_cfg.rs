//! What of `zeekctl.cfg` matters to a layout: `NAME = VALUE` lines, names in any case, the last one holds.

use super::super::error::LayoutError;
use super::super::table::{Source, shortened};
use super::node_cfg;
use super::{Notices, ZeekLayoutProblem, is_host};

/// What was found.
#[derive(Debug, Default)]
pub(super) struct ZeekctlCfg {
    pub(super) first_port: Option<u16>,
    /// None: the file does not say, or wants no metrics.
    pub(super) metrics_port: Option<u16>,
    pub(super) metrics_address: Option<String>,
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
                let expected = "a number from 1 to 65535";
                found.first_port =
                    Some(port.ok_or_else(|| bad(source, number, "ZeekPort", value, expected))?);
            }
            "metricsport" => {
                let port: u16 = value.parse().map_err(|_| {
                    let expected = "a number from 1 to 65535, or 0 for no metrics";
                    bad(source, number, "MetricsPort", value, expected)
                })?;
                found.metrics_port = Some(port).filter(|port| *port > 0);
            }
            "metricsaddress" => {
                if !value.is_empty() && !is_host(value) {
                    let expected = "an address of the machine";
                    return Err(bad(source, number, "MetricsAddress", value, expected));
                }
                found.metrics_address = Some(value.to_owned()).filter(|host| !host.is_empty());
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

fn bad(
    source: &Source<'_>,
    line: usize,
    key: &str,
    value: &str,
    expected: &'static str,
) -> LayoutError {
    let problem = ZeekLayoutProblem::BadValue {
        key: key.to_owned(),
        value: shortened(value),
        expected,
    };
    source.at_line(Some(line), problem.into())
}
