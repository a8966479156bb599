//! Questions to the master: all reads of a handle without a copy, and what only the master knows.

use std::collections::BTreeMap;

use broker_core::{StoreEntry, StoreReply};

use super::CloneState;
use crate::command::{Answer, Content, Question};
use crate::error::StoreError;
use crate::report_data;

/// Questions that are not answered, by token.
#[derive(Debug, Default)]
pub(super) struct Questions {
    open: BTreeMap<u64, Open>,
}

#[derive(Debug)]
struct Open {
    question: Question,
    asked: u64,
}

impl CloneState {
    /// A caller asks the master; the answer bears `token`.
    pub fn handle_question(&mut self, token: u64, question: Question) {
        match self.master {
            Some(master) if !master.outcomes => {
                return self.reply((token, Err(StoreError::Unsupported)));
            }
            _ if self.questions.open.len() >= MAX_QUESTIONS => {
                let kept = self.questions.open.len();
                return self.reply((token, Err(StoreError::BufferFull { kept })));
            }
            Some(master) => {
                let question = question.clone();
                self.unicast(
                    master.id,
                    Content::Query {
                        id: token,
                        question,
                    },
                );
            }
            None => {}
        }
        let asked = self.tick;
        self.questions.open.insert(token, Open { question, asked });
    }

    pub(super) fn handle_answer(&mut self, id: u64, answer: Answer) {
        let Some(open) = self.questions.open.remove(&id) else {
            return;
        };
        let result = match answer {
            Answer::Refused(code) => Err(StoreError::from_outcome(code as u8)),
            Answer::Value(value) => Ok(StoreReply::Value(value)),
            Answer::Entries(entries) => {
                let entries = entries.into_iter().map(|entry| StoreEntry {
                    key: entry.key,
                    value: entry.value,
                    expires_in: entry
                        .expiry
                        .map(|expiry| expiry.to_duration().unwrap_or_default()),
                });
                Ok(StoreReply::Entries(entries.collect()))
            }
            // A page of keys is one of entries without values.
            Answer::Keys(keys) => {
                let entries = keys.into_iter().map(|key| StoreEntry {
                    key,
                    value: broker_core::Data::None,
                    expires_in: None,
                });
                Ok(StoreReply::Entries(entries.collect()))
            }
            Answer::Report(data) => match report_data::from_data(&data) {
                Some(report) if open.question == Question::Verify => {
                    Ok(StoreReply::Verified(report))
                }
                _ => Err(StoreError::Refused(broker_core::ErrorCode::InvalidData)),
            },
        };
        self.reply((id, result));
    }

    /// A new master: it has heard none of them.
    pub(super) fn ask_all_again(&mut self) {
        self.ask_again(0);
    }

    pub(super) fn tick_questions(&mut self) {
        self.ask_again(ASK_AGAIN);
    }

    fn ask_again(&mut self, age: u64) {
        let Some(master) = self.master else { return };
        let tick = self.tick;
        let mut due = Vec::new();
        for (id, open) in &mut self.questions.open {
            if tick - open.asked >= age {
                open.asked = tick;
                due.push((*id, open.question.clone()));
            }
        }
        for (id, question) in due {
            self.unicast(master.id, Content::Query { id, question });
        }
    }

    pub(super) fn forget_questions(&mut self, gone: &impl Fn(u64) -> bool) {
        self.questions.open.retain(|token, _| !gone(*token));
    }
}

/// Questions that may be open.
const MAX_QUESTIONS: usize = 65_536;

/// Ticks after which a question is asked again.
const ASK_AGAIN: u64 = 20;
