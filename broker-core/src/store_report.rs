//! What tools are told about a store as a whole: where it is in its history, and whether its copies are equal.

use std::fmt;
use std::str::FromStr;

use crate::data::Data;
use crate::id::EndpointId;

/// A moment in the life of a store. Two copies at the same one hold the same.
///
/// Written `HISTORY-NUMBER`, the first as 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision {
    /// Which line of changes: another one once the storage was made anew or was changed by somebody else.
    pub history: u64,
    /// How many changes there have been in it.
    pub number: u64,
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.history, self.number)
    }
}

/// A text that is no [`Revision`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no revision; one is written like 00c0ffee00c0ffee-42")]
pub struct RevisionError(String);

impl FromStr for Revision {
    type Err = RevisionError;

    fn from_str(text: &str) -> Result<Self, RevisionError> {
        let parse = || {
            let (history, number) = text.split_once('-')?;
            let digits =
                history.len() == 16 && history.bytes().all(|byte| byte.is_ascii_hexdigit());
            Some(Self {
                history: digits
                    .then(|| u64::from_str_radix(history, 16).ok())
                    .flatten()?,
                number: number
                    .bytes()
                    .all(|byte| byte.is_ascii_digit())
                    .then(|| number.parse().ok())
                    .flatten()?,
            })
        };
        parse().ok_or_else(|| RevisionError(text.to_owned()))
    }
}

/// What a comparison of all copies of a store found.
#[derive(Clone, Debug, PartialEq)]
pub struct VerifyReport {
    /// Where the master was when the comparison began.
    pub revision: Revision,
    /// How many entries it had.
    pub entries: u64,
    /// Their digest, as hexadecimal digits.
    pub digest: String,
    /// Each copy.
    pub copies: Vec<CopyReport>,
}

/// One copy of a store.
#[derive(Clone, Debug, PartialEq)]
pub struct CopyReport {
    /// The endpoint that has it.
    pub endpoint: EndpointId,
    /// The endpoint's name, empty if it has none.
    pub name: String,
    /// What was found.
    pub outcome: CopyOutcome,
}

/// How a copy compares with the master.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum CopyOutcome {
    /// It holds the same.
    Equal,
    /// It does not.
    Differs {
        /// Where, in key order; the first ones only if there are many.
        differences: Vec<Difference>,
        /// How many keys differ in all.
        count: u64,
    },
    /// It could not be compared.
    Unknown {
        /// Why.
        reason: String,
    },
}

/// A key that a copy and the master disagree on.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// The key.
    pub key: Data,
    /// How.
    pub kind: DifferenceKind,
}

/// How a copy and the master disagree on a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DifferenceKind {
    /// The master has it, the copy does not.
    Missing,
    /// The copy has it, the master does not.
    Extra,
    /// Both have it, with different values.
    Value,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_reads_back_and_nothing_else_does() {
        let revision = Revision {
            history: 0xc0_ffee,
            number: 42,
        };
        assert_eq!(revision.to_string(), "0000000000c0ffee-42");
        assert_eq!(revision.to_string().parse(), Ok(revision));
        for text in [
            "",
            "-",
            "42",
            "c0ffee-42",
            "0000000000c0ffee-",
            "0000000000c0ffee-+1",
            "+000000000c0ffee-1",
        ] {
            assert!(text.parse::<Revision>().is_err(), "{text:?}");
        }
    }
}
