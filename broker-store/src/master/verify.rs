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

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use broker_core::{EndpointId, StoreOperation, Timestamp};

    use super::*;
    use crate::backend::Entry;
    use crate::clone::{CloneOutput, CloneState, Patience};
    use crate::ids::EntityIds;
    use crate::master::Timers;
    use crate::memory::Memory;
    use crate::operation::{Query, Request};

    const HERE: EndpointId = EndpointId::from_bytes([0xbb; 16]);
    const MASTER: EntityId = EntityId::new(HERE, 7);
    const NOW: Timestamp = Timestamp::EPOCH;

    /// More than two pages of entries.
    const ENTRIES: u64 = 2500;

    /// A master and the clones that follow it, with nothing between them.
    struct Copies {
        master: MasterState,
        clones: Vec<(EndpointId, CloneState)>,
        reports: Vec<VerifyReport>,
    }

    impl Copies {
        fn new(clones: u8) -> Self {
            let master = MasterState::new("s", MASTER, Box::new(Memory::new()), Timers::default());
            let name = |id: EndpointId| format!("clone-{}", id.as_bytes()[0]);
            let clones = (1..=clones).map(|number| {
                let id = EndpointId::from_bytes([number; 16]);
                let state = CloneState::new("s", EntityIds::new(id), Patience::default(), |_| true);
                (id, state)
            });
            let mut copies = Self {
                master: master.unwrap().with_names(name).with_speakers(|_| true),
                clones: clones.collect(),
                reports: Vec::new(),
            };
            for key in 0..ENTRIES {
                copies.put(key, key);
            }
            copies.turns(20);
            for (_, clone) in &copies.clones {
                assert_eq!(clone.view().content.digest(), copies.master.digest());
            }
            copies
        }

        fn put(&mut self, key: impl Into<Data>, value: u64) {
            let operation = StoreOperation::Put {
                key: key.into(),
                value: value.into(),
                expiry: None,
            };
            let request = Request::from_operation(operation, MASTER, 1);
            self.master.handle_request(NOW, 1, request);
            self.master.commit();
        }

        /// Lets so many ticks pass, and all that is said meanwhile arrive.
        fn turns(&mut self, ticks: u32) {
            for _ in 0..ticks {
                self.master.tick(NOW);
                self.clones.iter_mut().for_each(|(_, clone)| clone.tick());
                while self.exchange() {}
            }
        }

        /// Whether anybody had anything to say.
        fn exchange(&mut self) -> bool {
            self.master.commit();
            let said = self.master.take_outputs();
            let mut heard = VecDeque::new();
            for (id, clone) in &mut self.clones {
                for output in &said {
                    match output {
                        MasterOutput::Broadcast(payload) => {
                            clone.handle_command(NOW, HERE, payload);
                        }
                        MasterOutput::Unicast { to, payload } if to == id => {
                            clone.handle_command(NOW, HERE, payload);
                        }
                        _ => {}
                    }
                }
                while let Some(output) = clone.poll_output() {
                    if let CloneOutput::Broadcast(payload) | CloneOutput::Unicast { payload, .. } =
                        output
                    {
                        heard.push_back((*id, payload));
                    }
                }
            }
            let quiet = said.is_empty() && heard.is_empty();
            for (from, payload) in heard {
                self.master.handle_command(NOW, from, &payload);
            }
            for output in said {
                if let MasterOutput::Reply {
                    result: Ok(StoreReply::Verified(report)),
                    ..
                } = output
                {
                    self.reports.push(report);
                }
            }
            !quiet
        }

        fn verify(&mut self) -> VerifyReport {
            let query = Request::Read(Query::Verify);
            self.master.handle_request(NOW, 2, query);
            self.turns(20);
            assert_eq!(self.reports.len(), 1);
            self.reports.remove(0)
        }

        /// Changes the copy of a clone behind its back.
        fn tamper(&mut self, clone: usize, key: impl Into<Data>, value: Option<u64>) {
            let view = self.clones[clone].1.view();
            let key = key.into();
            match value {
                Some(value) => {
                    let entry = Entry {
                        value: value.into(),
                        expires_at: None,
                    };
                    view.content.put(key, entry);
                }
                None => assert!(view.content.erase(&key)),
            }
        }
    }

    fn difference(key: impl Into<Data>, kind: DifferenceKind) -> Difference {
        Difference {
            key: key.into(),
            kind,
        }
    }

    #[test]
    fn a_copy_that_was_tampered_with_is_named_with_each_key_that_differs() {
        let mut copies = Copies::new(3);
        let outcomes = |report: VerifyReport| -> Vec<_> {
            assert_eq!(report.entries, ENTRIES);
            let copies = report.copies.into_iter();
            copies.map(|copy| (copy.name, copy.outcome)).collect()
        };
        let all_equal = ["clone-1", "clone-2", "clone-3"]
            .map(|name| (name.to_owned(), CopyOutcome::Equal))
            .to_vec();
        assert_eq!(outcomes(copies.verify()), all_equal);

        // One on each page, and one behind the master's last key.
        copies.tamper(1, 3u64, Some(4));
        copies.tamper(1, 1500u64, None);
        copies.tamper(1, ENTRIES + 7, Some(1));
        let mut expected = all_equal.clone();
        expected[1].1 = CopyOutcome::Differs {
            differences: vec![
                difference(3u64, DifferenceKind::Value),
                difference(1500u64, DifferenceKind::Missing),
                difference(ENTRIES + 7, DifferenceKind::Extra),
            ],
            count: 3,
        };
        assert_eq!(outcomes(copies.verify()), expected);
        let digest = |clone: &CloneState| clone.view().content.digest();
        assert_ne!(digest(&copies.clones[1].1), copies.master.digest());
        assert_eq!(digest(&copies.clones[0].1), copies.master.digest());

        // What is written anew is right again.
        copies.put(3u64, 3);
        copies.put(1500u64, 1500);
        copies.tamper(1, ENTRIES + 7, None);
        copies.turns(2);
        assert_eq!(outcomes(copies.verify()), all_equal);
    }

    #[test]
    fn only_the_first_differences_are_listed_and_all_are_counted() {
        let mut copies = Copies::new(1);
        for key in 0..ENTRIES {
            copies.tamper(0, key, Some(key + 1));
        }
        let report = copies.verify();
        let CopyOutcome::Differs { differences, count } = &report.copies[0].outcome else {
            panic!("{report:?}");
        };
        assert_eq!((differences.len(), *count), (MAX_DIFFERENCES, ENTRIES));
        let first = (0..).map(|key| difference(key as u64, DifferenceKind::Value));
        assert!(differences.iter().cloned().eq(first.take(MAX_DIFFERENCES)));
    }
}
