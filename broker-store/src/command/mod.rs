//! Store commands: what masters and clones say to each other (wire reference 7.2).
//!
//! ```text
//! | seq u64 | sender entity | receiver entity | tag u8 | body .. |
//!
//!  0 put                 key, value, expiry?, publisher
//!  1 put_unique          key, value, expiry?, who, request u64, publisher
//!  2 put_unique_result   inserted bool, who, request u64, publisher
//!  3 erase               key, publisher
//!  4 expire              key, publisher
//!  5 add                 key, operand, init type u8, expiry?, publisher
//!  6 subtract            key, operand, expiry?, publisher
//!  7 clear               publisher
//!  8 attach_writer       offset u64, heartbeat u16
//!  9 keepalive           seq u64
//! 10 cumulative_ack      seq u64
//! 11 nack                count varbyte, seqs u64
//! 12 ack_clone           offset u64, heartbeat u16, count varbyte, (key, value) pairs
//! 13 retransmit_failed   seq u64
//! ```
//!
//! Tags from 128 are ours, and only sent to an endpoint that names the feature [`FEATURE`]; C++ nodes never see them:
//!
//! ```text
//! 128 want_results       nothing: the writer asks for the outcome of each of its writes
//! 129 write_results      first seq u64, count varbyte, outcomes u8: error codes, or one of `outcome`
//! 130 results_query      first seq u64: send the outcomes from there on again
//! 131 sync               id u64
//! 132 sync_reply         id u64, seq u64: everything done before the sync has a number up to seq
//! 133 offer              incarnation u64, history u64, revision u64, seq u64, oldest u64, entries u64, heartbeat u16
//! 134 follow             incarnation u64, from u64, former u64
//! 135 following          incarnation u64, seq u64, revision u64
//! 136 pull               id u64, after key?, bytes u32
//! 137 page               id u64, seq u64, last bool, count varbyte, (key, value, expiry?) entries
//! 138 compare_and_set    key, expected?, value?, expiry?, publisher
//! 139 stranger           nothing: the sender is not known here, it should start over
//! 140 leave              nothing: the sender is going and need not be remembered
//! 141 query              id u64, question
//! 142 answer             id u64, answer
//! 143 check              id u64, seq u64, after key?, last bool, until key?, digest 16 bytes
//! 144 checked            id u64, verdict
//! 145 skipped            first u64, last u64: these numbers belong to no update
//! ```
//!
//! How a clone of ours attaches (133 to 137) is told in `master/offer.rs`, how copies are compared (143, 144) in
//! `master/verify.rs`.
//!
//! An entity is 16 + 8 bytes, an expiry a flag byte and a relative i64 in nanoseconds; `?` is a flag byte and then the
//! value if there is one. Bytes behind the body mean
//! nothing.
//!
//! **Invariant:** decoding any bytes gives `Ok` or [`CommandError`]; nothing is sized by a count that the remaining bytes
//! cannot hold.

mod codec;
mod ours;

use broker_core::{Data, DataKind, DecodeError, EntityId, Timespan};

use crate::digest::Digest;

pub(crate) use self::codec::{encode_ack_clone, put_body, put_header};
pub use self::ours::{Answer, PageEntry, Question, Verdict, outcome};

/// The feature that an endpoint announces when its stores understand the commands from tag 128.
pub const FEATURE: &str = "store-2";

/// One command.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// The number in the sender's stream; 0 for what is not numbered.
    pub seq: u64,
    /// Who says it.
    pub sender: EntityId,
    /// Whom it is for; nil is everybody.
    pub receiver: EntityId,
    /// What is said.
    pub content: Content,
}

/// What a command says.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "fields are those of the table above")]
pub enum Content {
    /// Stores a value.
    Put {
        key: Data,
        value: Data,
        expiry: Option<Timespan>,
        publisher: EntityId,
    },
    /// Stores a value if the key is free.
    PutUnique {
        key: Data,
        value: Data,
        expiry: Option<Timespan>,
        who: EntityId,
        request: u64,
        publisher: EntityId,
    },
    /// Whether that happened.
    PutUniqueResult {
        inserted: bool,
        who: EntityId,
        request: u64,
        publisher: EntityId,
    },
    /// Removes a key.
    Erase { key: Data, publisher: EntityId },
    /// A key's time is up.
    Expire { key: Data, publisher: EntityId },
    /// Adds to a value.
    Add {
        key: Data,
        operand: Data,
        init: DataKind,
        expiry: Option<Timespan>,
        publisher: EntityId,
    },
    /// Subtracts from a value.
    Subtract {
        key: Data,
        operand: Data,
        expiry: Option<Timespan>,
        publisher: EntityId,
    },
    /// Removes everything.
    Clear { publisher: EntityId },
    /// Opens a stream of writes.
    AttachWriter { offset: u64, heartbeat: u16 },
    /// The sender's stream has come to this number.
    Keepalive { seq: u64 },
    /// Everything up to this number has arrived.
    CumulativeAck { seq: u64 },
    /// These numbers are missing; a single 0 asks to be attached.
    Nack { seqs: Vec<u64> },
    /// Attaches a clone and gives it the content.
    AckClone {
        offset: u64,
        heartbeat: u16,
        snapshot: Vec<(Data, Data)>,
    },
    /// This number cannot be sent again.
    RetransmitFailed { seq: u64 },
    /// Ours: the writer wants outcomes.
    WantResults,
    /// Ours: the outcomes of consecutive writes, as numbers of error codes.
    WriteResults { first: u64, codes: Vec<u8> },
    /// Ours: the outcomes from this number on are missing.
    ResultsQuery { first: u64 },
    /// Ours: asks where the master's stream is.
    Sync { id: u64 },
    /// Ours: where it is.
    SyncReply { id: u64, seq: u64 },
    /// Ours: the answer to a clone of ours that asks to be attached.
    Offer {
        /// Which start of the master it is: numbers of its stream mean nothing in another.
        incarnation: u64,
        history: u64,
        revision: u64,
        seq: u64,
        /// The oldest number that can be sent again.
        oldest: u64,
        entries: u64,
        heartbeat: u16,
    },
    /// Ours: the clone follows from now on (0) or from behind a number that it has.
    Follow {
        incarnation: u64,
        from: u64,
        /// The object number under which it followed before, 0 if it did not.
        former: u64,
    },
    /// Ours: the clone's stream begins behind this number, where the store has this revision.
    Following {
        incarnation: u64,
        seq: u64,
        revision: u64,
    },
    /// Ours: asks for entries in key order.
    Pull {
        id: u64,
        after: Option<Data>,
        bytes: u32,
    },
    /// Ours: entries as they were when the stream was at a number.
    Page {
        id: u64,
        seq: u64,
        last: bool,
        entries: Vec<PageEntry>,
    },
    /// Ours: stores (or erases) a value if what is there is as expected.
    CompareAndSet {
        key: Data,
        expected: Option<Data>,
        value: Option<Data>,
        expiry: Option<Timespan>,
        publisher: EntityId,
    },
    /// Ours: the receiver is not known, it should start over.
    Stranger,
    /// Ours: the sender goes and need not be remembered.
    Leave,
    /// Ours: asks for something without having a copy.
    Query { id: u64, question: Question },
    /// Ours: the answer.
    Answer { id: u64, answer: Answer },
    /// Ours: asks a clone whether it has the same in a range of keys, when it is at a number.
    Check {
        id: u64,
        seq: u64,
        after: Option<Data>,
        /// Whether the range has no end.
        last: bool,
        until: Option<Data>,
        digest: Digest,
    },
    /// Ours: what it has.
    Checked { id: u64, verdict: Verdict },
    /// Ours: these numbers belong to no update.
    Skipped { first: u64, last: u64 },
}

/// Why bytes are no command. The fault is the sender's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// A field or value cannot be read.
    #[error("invalid store command")]
    Invalid(#[from] DecodeError),
    /// A tag that means nothing.
    #[error("{0} is no store command")]
    UnknownCommand(u8),
}

/// Bytes of a command before its body.
pub const HEADER_LEN: usize = 8 + 24 + 24 + 1;

#[cfg(test)]
mod tests;
