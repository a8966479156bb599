//! Comparing every copy of a store with its master, while both go on changing.
//!
//! The master walks its entries in key order. A page of them, read when its stream is at some number, is put to all clones
//! as a *check*: the range of keys, the digest, the number. A clone answers when it is at that very number, which every
//! clone passes: so both speak of the same moment, and there are no differences that are none. Where the digests differ
//! the clone sends its keys with a digest each, and the master compares.
//!
//! A clone that had passed the number already says so, and the page is read anew. C++ clones cannot be asked.

use std::collections::{BTreeMap, BTreeSet};

use broker_core::{
    CopyOutcome, CopyReport, Data, Difference, DifferenceKind, EntityId, ErrorCode, Revision,
    StoreReply, VerifyReport,
};

use super::group::Effect;
use super::{MasterOutput, MasterState};
use crate::backend::{KeyBytes, key_bytes};
use crate::command::{Answer, Content, Verdict};
use crate::digest::Digest;
use crate::error::StoreError;
use crate::report_data;

/// Comparisons that are going on.
#[derive(Debug, Default)]
pub(super) struct Verifications {
    running: Vec<Verification>,
    checks: u64,
}

/// Who asked for a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    /// A caller on this node.
    Caller { token: u64 },
    /// A handle on another node.
    Remote { id: EntityId, query: u64 },
}

#[derive(Debug)]
struct Verification {
    asker: Asker,
    revision: Revision,
    entries: u64,
    digest: Digest,
    copies: BTreeMap<EntityId, Copy>,
    /// The page that is being compared.
    page: Page,
    /// How often pages in a row had to be read anew.
    repeats: u32,
}

#[derive(Debug, Default)]
struct Page {
    id: u64,
    seq: u64,
    after: Option<Data>,
    until: Option<Data>,
    last: bool,
    entries: BTreeMap<KeyBytes, (Data, Digest)>,
    digest: Digest,
    waiting: BTreeSet<EntityId>,
    verdicts: Vec<(EntityId, Verdict)>,
    /// When it was put to the clones, and when again to those that have not answered.
    asked: u64,
    again: u64,
}

#[derive(Debug)]
enum Copy {
    Comparing {
        differences: Vec<Difference>,
        count: u64,
    },
    Unknown(String),
}

impl MasterState {
    /// Compares all copies and answers `asker`.
    pub(super) fn verify(&mut self, asker: Asker) {
        // A question that is asked again is being answered.
        if self
            .verifications
            .running
            .iter()
            .any(|running| running.asker == asker)
        {
            return;
        }
        if self.verifications.running.len() >= MAX_VERIFICATIONS {
            return self.refuse_verification(asker, ErrorCode::InvalidMessage);
        }
        self.commit();
        let copies = self.updates.consumers().map(|id| {
            let copy = if self.followers.contains_key(&id) {
                Copy::Comparing {
                    differences: Vec::new(),
                    count: 0,
                }
            } else {
                Copy::Unknown("it is no node of ours, and cannot be asked".to_owned())
            };
            (id, copy)
        });
        let verification = Verification {
            asker,
            revision: self.revision(),
            entries: self.record.entries,
            digest: self.record.digest,
            copies: copies.collect(),
            page: Page::default(),
            repeats: 0,
        };
        self.check_page(verification, None);
    }

    fn refuse_verification(&mut self, asker: Asker, code: ErrorCode) {
        match asker {
            Asker::Caller { token } => self.group.then(Effect::Refusal {
                token,
                error: StoreError::Refused(code),
            }),
            Asker::Remote { id, query } => {
                let answer = Answer::Refused(code);
                self.unicast(id, Content::Answer { id: query, answer });
            }
        }
    }

    /// Puts the page behind `after` to the clones, or answers if there is nobody to be asked.
    fn check_page(&mut self, mut verification: Verification, after: Option<Data>) {
        let waiting: BTreeSet<_> = verification
            .copies
            .iter()
            .filter(|(_, copy)| matches!(copy, Copy::Comparing { .. }))
            .map(|(id, _)| *id)
            .collect();
        if waiting.is_empty() {
            return self.report(verification);
        }
        self.commit();
        let read = match self.backend.scan(after.as_ref(), CHECKED_AT_ONCE) {
            Ok(read) => read,
            Err(error) => {
                tracing::error!(store = %self.name, error = &error as &dyn std::error::Error, "cannot read what is to be compared");
                return self.refuse_verification(verification.asker, ErrorCode::BackendFailure);
            }
        };
        self.verifications.checks += 1;
        let mut page = Page {
            id: self.verifications.checks,
            seq: self.updates.seq(),
            after,
            until: None,
            last: read.len() < CHECKED_AT_ONCE,
            asked: self.tick,
            again: self.tick + ASK_AGAIN,
            waiting,
            ..Page::default()
        };
        for (key, entry) in read {
            let digest = Digest::of(&key, &entry.value);
            page.digest = page.digest.with(digest);
            page.until = Some(key.clone());
            page.entries.insert(key_bytes(&key), (key, digest));
        }
        verification.page = page;
        self.put_page(&verification.page);
        self.verifications.running.push(verification);
    }

    fn put_page(&mut self, page: &Page) {
        for clone in page.waiting.clone() {
            self.unicast(
                clone,
                Content::Check {
                    id: page.id,
                    seq: page.seq,
                    after: page.after.clone(),
                    last: page.last,
                    until: page.until.clone(),
                    digest: page.digest,
                },
            );
        }
    }

    pub(super) fn handle_checked(&mut self, from: EntityId, id: u64, verdict: Verdict) {
        let running = &mut self.verifications.running;
        let Some(at) = running.iter().position(|running| running.page.id == id) else {
            return;
        };
        let page = &mut running[at].page;
        if !page.waiting.remove(&from) {
            return;
        }
        page.verdicts.push((from, verdict));
        if page.waiting.is_empty() {
            let verification = self.verifications.running.swap_remove(at);
            self.judge(verification);
        }
    }

    /// Every clone has answered, or is not waited for.
    fn judge(&mut self, mut verification: Verification) {
        let page = std::mem::take(&mut verification.page);
        let passed = page
            .verdicts
            .iter()
            .any(|(_, verdict)| *verdict == Verdict::Passed);
        if passed && verification.repeats < MAX_REPEATS {
            verification.repeats += 1;
            return self.check_page(verification, page.after);
        }
        verification.repeats = 0;
        for (id, verdict) in &page.verdicts {
            let Some(copy) = verification.copies.get_mut(id) else {
                continue;
            };
            match (verdict, &mut *copy) {
                (Verdict::Entries(theirs), Copy::Comparing { differences, count }) => {
                    page.compare(theirs, differences, count);
                }
                (Verdict::Passed, _) => {
                    *copy = Copy::Unknown(
                        "the store changed too fast, or the copy has many more keys".to_owned(),
                    );
                }
                _ => {}
            }
        }
        if page.last {
            self.report(verification);
        } else {
            self.check_page(verification, page.until);
        }
    }

    /// Asks again, and gives up those that do not answer.
    pub(super) fn tick_verifications(&mut self) {
        for mut verification in std::mem::take(&mut self.verifications.running) {
            let page = &mut verification.page;
            let silent = self.tick - page.asked >= PATIENCE;
            let gone: Vec<_> = page
                .waiting
                .iter()
                .filter(|id| silent || self.updates.acked(**id).is_none())
                .copied()
                .collect();
            for id in gone {
                page.waiting.remove(&id);
                let why = if silent {
                    "it did not answer within 10 s"
                } else {
                    "it has gone"
                };
                verification
                    .copies
                    .insert(id, Copy::Unknown(why.to_owned()));
            }
            if page.waiting.is_empty() {
                self.judge(verification);
                continue;
            }
            if self.tick >= page.again {
                page.again = self.tick + ASK_AGAIN;
                self.put_page(&verification.page);
            }
            self.verifications.running.push(verification);
        }
    }

    fn report(&mut self, verification: Verification) {
        let copies = verification
            .copies
            .into_iter()
            .map(|(id, copy)| CopyReport {
                endpoint: id.endpoint,
                name: (self.name_of)(id.endpoint),
                outcome: match copy {
                    Copy::Comparing { count: 0, .. } => CopyOutcome::Equal,
                    Copy::Comparing { differences, count } => {
                        CopyOutcome::Differs { differences, count }
                    }
                    Copy::Unknown(reason) => CopyOutcome::Unknown { reason },
                },
            });
        let report = VerifyReport {
            revision: verification.revision,
            entries: verification.entries,
            digest: verification.digest.to_string(),
            copies: copies.collect(),
        };
        match verification.asker {
            Asker::Caller { token } => self.outputs.push_back(MasterOutput::Reply {
                token,
                result: Ok(StoreReply::Verified(report)),
            }),
            Asker::Remote { id, query } => {
                let answer = Answer::Report(report_data::to_data(&report));
                self.unicast(id, Content::Answer { id: query, answer });
            }
        }
    }
}

impl Page {
    /// Adds what differs to `differences`, as far as there is room, and to `count`.
    fn compare(
        &self,
        theirs: &[(Data, Digest)],
        differences: &mut Vec<Difference>,
        count: &mut u64,
    ) {
        let theirs: BTreeMap<_, _> = theirs
            .iter()
            .map(|(key, digest)| (key_bytes(key), (key, digest)))
            .collect();
        let ours = self.entries.iter().filter_map(|(bytes, (key, digest))| {
            let kind = match theirs.get(bytes) {
                None => DifferenceKind::Missing,
                Some((_, other)) if *other != digest => DifferenceKind::Value,
                Some(_) => return None,
            };
            Some((bytes, key, kind))
        });
        let extra = theirs
            .iter()
            .filter(|(bytes, _)| !self.entries.contains_key(*bytes))
            .map(|(bytes, (key, _))| (bytes, *key, DifferenceKind::Extra));
        let mut found: Vec<_> = ours.chain(extra).collect();
        found.sort_by_key(|(bytes, ..)| *bytes);
        *count += found.len() as u64;
        let room = MAX_DIFFERENCES.saturating_sub(differences.len());
        differences.extend(
            found
                .into_iter()
                .take(room)
                .map(|(_, key, kind)| Difference {
                    key: key.clone(),
                    kind,
                }),
        );
    }
}

/// Comparisons at a time; a further one is refused.
const MAX_VERIFICATIONS: usize = 4;

/// Entries compared at once.
const CHECKED_AT_ONCE: usize = 1024;

/// Differences that are listed of a copy.
const MAX_DIFFERENCES: usize = 100;

/// How often a page is read anew because a clone was beyond it.
const MAX_REPEATS: u32 = 50;

/// Ticks after which a clone that does not answer is not waited for.
const PATIENCE: u64 = 100;

/// Ticks between two checks of the same page.
const ASK_AGAIN: u64 = 10;
