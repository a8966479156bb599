//! Reports of a comparison as values, for the way from a master to whoever asked for it.
//!
//! ```text
//! [revision text, entries count, digest text, [[endpoint text, name text, outcome] ..]]
//! outcome: none = equal, a string = not known and why, or [count, [[key, kind count] ..]]
//! ```

use broker_core::{CopyOutcome, CopyReport, Data, Difference, DifferenceKind, VerifyReport};

pub(crate) fn to_data(report: &VerifyReport) -> Data {
    let copies = report.copies.iter().map(|copy| {
        let outcome = match &copy.outcome {
            CopyOutcome::Differs { differences, count } => {
                let differences = differences.iter().map(|difference| {
                    let kind: u64 = match difference.kind {
                        DifferenceKind::Missing => 0,
                        DifferenceKind::Extra => 1,
                        _ => 2,
                    };
                    Data::Vector(vec![difference.key.clone(), kind.into()])
                });
                Data::Vector(vec![(*count).into(), Data::Vector(differences.collect())])
            }
            CopyOutcome::Unknown { reason } => reason.as_str().into(),
            _ => Data::None,
        };
        Data::Vector(vec![
            copy.endpoint.to_string().into(),
            copy.name.as_str().into(),
            outcome,
        ])
    });
    Data::Vector(vec![
        report.revision.to_string().into(),
        report.entries.into(),
        report.digest.as_str().into(),
        Data::Vector(copies.collect()),
    ])
}

/// `None` is no report.
pub(crate) fn from_data(data: &Data) -> Option<VerifyReport> {
    let [revision, entries, digest, copies] = data.as_vector()? else {
        return None;
    };
    Some(VerifyReport {
        revision: text(revision)?.parse().ok()?,
        entries: entries.as_count()?,
        digest: text(digest)?,
        copies: copies
            .as_vector()?
            .iter()
            .map(copy_from_data)
            .collect::<Option<_>>()?,
    })
}

fn copy_from_data(data: &Data) -> Option<CopyReport> {
    let [endpoint, name, outcome] = data.as_vector()? else {
        return None;
    };
    let outcome = match outcome {
        Data::None => CopyOutcome::Equal,
        Data::Vector(parts) => {
            let [count, differences] = &parts[..] else {
                return None;
            };
            CopyOutcome::Differs {
                count: count.as_count()?,
                differences: differences
                    .as_vector()?
                    .iter()
                    .map(difference_from_data)
                    .collect::<Option<_>>()?,
            }
        }
        reason => CopyOutcome::Unknown {
            reason: text(reason)?,
        },
    };
    Some(CopyReport {
        endpoint: text(endpoint)?.parse().ok()?,
        name: text(name)?,
        outcome,
    })
}

fn difference_from_data(data: &Data) -> Option<Difference> {
    let [key, kind] = data.as_vector()? else {
        return None;
    };
    Some(Difference {
        key: key.clone(),
        kind: match kind.as_count()? {
            0 => DifferenceKind::Missing,
            1 => DifferenceKind::Extra,
            2 => DifferenceKind::Value,
            _ => return None,
        },
    })
}

fn text(data: &Data) -> Option<String> {
    Some(data.as_string()?.to_str_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use broker_core::{EndpointId, Revision};

    use super::*;

    #[test]
    fn a_report_reads_back() {
        let copy = |outcome| CopyReport {
            endpoint: EndpointId::from_bytes([7; 16]),
            name: "worker".to_owned(),
            outcome,
        };
        let report = VerifyReport {
            revision: Revision {
                history: 1,
                number: 2,
            },
            entries: 3,
            digest: "00".to_owned(),
            copies: vec![
                copy(CopyOutcome::Equal),
                copy(CopyOutcome::Unknown {
                    reason: "why".to_owned(),
                }),
                copy(CopyOutcome::Differs {
                    differences: vec![Difference {
                        key: "k".into(),
                        kind: DifferenceKind::Extra,
                    }],
                    count: 9,
                }),
            ],
        };
        assert_eq!(from_data(&to_data(&report)), Some(report));
        assert_eq!(from_data(&Data::None), None);
    }
}
