//! `verify`: how the copies of a store compare with its master.

use anyhow::Context as _;
use broker_core::{
    CopyOutcome, CopyReport, DifferenceKind, StoreOperation, StoreReply, VerifyReport, json,
};
use serde_json::json;

use super::Remote;
use crate::output::Output;
use crate::value;

/// Compares and prints; an error if a copy differs.
pub(super) async fn verify(remote: &Remote) -> anyhow::Result<()> {
    let reply = remote.door.execute(StoreOperation::Verify).await?;
    let StoreReply::Verified(report) = reply else {
        anyhow::bail!("the node answered without a report");
    };
    let mut output = Output::stdout();
    if remote.json {
        output.line(json_line(&report)?)?;
    } else {
        for line in text_lines(&report) {
            output.line(line)?;
        }
    }
    output.flush()?;
    let differ = report.copies.iter().filter(|copy| differs(copy)).count();
    anyhow::ensure!(
        differ == 0,
        "{differ} of {} copies differ from the master",
        report.copies.len()
    );
    Ok(())
}

const fn differs(copy: &CopyReport) -> bool {
    matches!(copy.outcome, CopyOutcome::Differs { .. })
}

fn text_lines(report: &VerifyReport) -> Vec<String> {
    let mut lines = vec![format!(
        "master\t{} entries\trevision {}\tdigest {}",
        report.entries, report.revision, report.digest
    )];
    for copy in &report.copies {
        let node = name_of(copy);
        match &copy.outcome {
            CopyOutcome::Equal => lines.push(format!("{node}\tequal")),
            CopyOutcome::Differs { differences, count } => {
                lines.push(format!("{node}\tdiffers in {count} keys"));
                for difference in differences {
                    let key = value::print(&difference.key);
                    lines.push(format!("{node}\t{}\t{key}", kind(difference.kind)));
                }
            }
            CopyOutcome::Unknown { reason } => lines.push(format!("{node}\tnot known: {reason}")),
            // The enum may grow.
            _ => lines.push(format!("{node}\tnot known")),
        }
    }
    lines
}

fn json_line(report: &VerifyReport) -> anyhow::Result<String> {
    let copies = report.copies.iter().map(|copy| {
        let mut line = json!({"id": copy.endpoint.to_string(), "name": copy.name});
        match &copy.outcome {
            CopyOutcome::Equal => line["result"] = "equal".into(),
            CopyOutcome::Differs { differences, count } => {
                line["result"] = "differs".into();
                line["count"] = (*count).into();
                let keys = differences.iter().map(|difference| {
                    let mut key = Vec::new();
                    json::write_value(&difference.key, json::Style::Exact, &mut key);
                    let key: serde_json::Value =
                        serde_json::from_slice(&key).context("a key as JSON")?;
                    Ok(json!({"key": key, "difference": kind(difference.kind)}))
                });
                line["keys"] = keys.collect::<anyhow::Result<Vec<_>>>()?.into();
            }
            CopyOutcome::Unknown { reason } => {
                line["result"] = "unknown".into();
                line["reason"] = reason.as_str().into();
            }
            _ => line["result"] = "unknown".into(),
        }
        Ok(line)
    });
    Ok(json!({
        "revision": report.revision.to_string(),
        "entries": report.entries,
        "digest": report.digest,
        "copies": copies.collect::<anyhow::Result<Vec<_>>>()?,
    })
    .to_string())
}

fn name_of(copy: &CopyReport) -> String {
    if copy.name.is_empty() {
        copy.endpoint.to_string()
    } else {
        copy.name.clone()
    }
}

const fn kind(kind: DifferenceKind) -> &'static str {
    match kind {
        DifferenceKind::Missing => "missing",
        DifferenceKind::Extra => "extra",
        _ => "value",
    }
}

#[cfg(test)]
mod tests {
    use broker_core::{Difference, EndpointId, Revision};

    use super::*;

    #[test]
    fn a_difference_is_told_with_its_key_either_way() {
        let report = VerifyReport {
            revision: Revision {
                history: 1,
                number: 2,
            },
            entries: 3,
            digest: "d".to_owned(),
            copies: vec![CopyReport {
                endpoint: EndpointId::from_bytes([7; 16]),
                name: "worker-1".to_owned(),
                outcome: CopyOutcome::Differs {
                    differences: vec![Difference {
                        key: "k".into(),
                        kind: DifferenceKind::Missing,
                    }],
                    count: 1,
                },
            }],
        };
        assert_eq!(
            text_lines(&report)[1..],
            ["worker-1\tdiffers in 1 keys", "worker-1\tmissing\t\"k\""]
        );
        let line = json_line(&report).expect("a line");
        let line: serde_json::Value = serde_json::from_str(&line).expect("json");
        assert_eq!(line["copies"][0]["keys"][0]["difference"], "missing");
        assert_eq!(line["copies"][0]["keys"][0]["key"]["data"], "k");
    }
}
