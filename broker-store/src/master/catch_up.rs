//! What a clone of C++ gets that has missed more updates than are kept.
//!
//! It cannot be told that they are gone: it would give up for good (wire reference 7.5). But it takes whatever is sent to
//! it under the numbers it asks for. So these numbers are filled with what brings it to where the store is: a clear, a put
//! of each entry, and for the rest of them answers to questions that nobody has asked. The updates that are kept follow
//! as usual; they hold final values, so repeating them changes nothing in the end.
//!
//! That takes one number more than there are entries. A clone that has missed fewer is told the truth, and so is one of a
//! large store. Clones of ours always are, since they start over with a snapshot.
//!
//! **Invariant:** the clear has the number that the clone waits for, so it takes effect at once or not at all: it never
//! lies ready behind a gap that is filled anew.

use broker_core::{Data, EntityId, binary};
use bytes::BytesMut;

use super::attached::MAX_SNAPSHOT;
use super::{MasterOutput, MasterState};
use crate::backend::{BackendError, Entry};
use crate::command::{Content, HEADER_LEN, put_header};

impl MasterState {
    /// Fills the numbers that `consumer` misses and that are gone, and returns those of `seqs` that are left to be dealt
    /// with.
    pub(super) fn replace_gone<'a>(&mut self, consumer: EntityId, seqs: &'a [u64]) -> &'a [u64] {
        let gone = self.updates.gone(seqs);
        if gone.is_empty()
            || gone[0] == 0
            || !seqs.is_sorted_by(|a, b| a < b)
            || self.updates.takes_another_name(consumer) != Some(false)
        {
            return seqs;
        }
        if self.record.entries >= gone.len().min(MAX_FILLED) as u64 {
            return seqs;
        }
        self.updates.handle_ack(consumer, gone[0] - 1);
        if !self.updates.may_send_much(consumer) {
            return &[];
        }
        // More than are filled at a time: the first ones mean nothing, and it will ask for the others.
        let surplus = gone.len().saturating_sub(MAX_FILLED).min(MAX_FILLED);
        if surplus > 0 {
            self.fill(consumer, &gone[..surplus], std::iter::empty());
            return &[];
        }
        // The entries are to be those of the last number.
        self.commit();
        let entries = match self.few_entries(gone.len() - 1) {
            Ok(Some(entries)) => entries,
            Ok(None) => return seqs,
            Err(error) => {
                if self.may_complain() {
                    tracing::error!(store = %self.name, clone = %consumer, error = &error as &dyn std::error::Error, "cannot read what a clone has missed");
                }
                return &[];
            }
        };
        tracing::info!(store = %self.name, clone = %consumer, missed = gone.len(), entries = entries.len(), "a clone has missed more than is kept, it gets everything anew");
        let publisher = self.id;
        let clear = std::iter::once(Content::Clear { publisher });
        let puts = entries
            .into_iter()
            .map(|(key, Entry { value, .. })| Content::Put {
                key,
                value,
                expiry: None,
                publisher,
            });
        self.fill(consumer, gone, clear.chain(puts));
        &seqs[gone.len()..]
    }

    /// Sends `consumer` these contents under these numbers, and under the rest of them what means nothing.
    fn fill(&mut self, consumer: EntityId, seqs: &[u64], contents: impl Iterator<Item = Content>) {
        let nothing = std::iter::repeat(Content::PutUniqueResult {
            inserted: false,
            who: EntityId::NIL,
            request: 0,
            publisher: self.id,
        });
        for (seq, content) in seqs.iter().zip(contents.chain(nothing)) {
            let mut payload = BytesMut::with_capacity(HEADER_LEN + 64);
            put_header(*seq, self.id, EntityId::NIL, &mut payload);
            content.encode(&mut payload);
            self.outputs.push_back(MasterOutput::Unicast {
                to: consumer.endpoint,
                payload: payload.freeze(),
            });
        }
    }

    /// All entries, if there are no more than `limit`, and no more bytes than in a snapshot.
    fn few_entries(&self, limit: usize) -> Result<Option<Vec<(Data, Entry)>>, BackendError> {
        let mut entries: Vec<(Data, Entry)> = Vec::new();
        let mut bytes = 0;
        loop {
            let after = entries.last().map(|(key, _)| key);
            let page = self.backend.scan(after, PAGE)?;
            let last = page.len() < PAGE;
            for (key, entry) in &page {
                bytes += binary::encoded_len(key) + binary::encoded_len(&entry.value);
            }
            if bytes > MAX_SNAPSHOT {
                return Ok(None);
            }
            entries.extend(page);
            if last {
                return Ok((entries.len() <= limit).then_some(entries));
            }
        }
    }
}

/// Numbers filled at a time, and so one more than there may be entries.
const MAX_FILLED: usize = 8192;

/// Entries read at a time.
const PAGE: usize = 1024;
