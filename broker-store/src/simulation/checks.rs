//! What must hold once the network has healed.
//!
//! * Every copy is live and holds what the master holds; those of ours are at its revision, with its digest. Clones of C++
//!   are excused where they cannot follow: they have found no master in their first ten seconds, or it was another one.
//! * Every question is answered, once.
//! * Increments: what was acknowledged is counted, and nothing is counted twice.
//! * Puts of one writer to one key: the last acknowledged one is there, or a later one.
//! * A put_unique is granted once for each key.
//! * What lives shortly is gone everywhere; of what lives long, copies know the deadline as well as delays allow.

use std::collections::{BTreeMap, HashMap};

use broker_core::{Data, StoreOperation, StoreReply, Timespan};

use super::Summary;
use super::cpp::CppClone;
use super::world::{Kind, LONG, TICK, World, Writer};
use crate::backend::Entry;
use crate::clone::Freshness;
use crate::error::StoreError;

pub(super) fn check(world: &mut World, context: &str) -> Summary {
    let entries = world.entries();
    for n in 0..world.clones.len() {
        if world.plan.cpp[n] {
            world.leave_unanswered(n);
        }
    }
    check_copies(world, &entries, context);
    for (question, operation) in &world.asked {
        if world.trace {
            let answer = world.answered.get(question);
            eprintln!("{question:?}: {operation:?}: {answer:?}");
        }
        assert!(
            world.answered.contains_key(question),
            "{context}: {operation:?} of {question:?} is answered"
        );
    }
    let held: HashMap<_, _> = entries
        .iter()
        .map(|(key, entry)| (key.clone(), entry.value.clone()))
        .collect();
    if !world.plan.clears {
        check_sums(world, &held, context);
        check_puts(world, &held, context);
        check_uniques(world, &held, context);
    }
    for (key, entry) in &entries {
        assert!(
            entry.expires_at.is_none_or(|at| at >= world.now),
            "{context}: {key} should have expired"
        );
    }
    let mut summary = world.figures;
    summary.entries = entries.len() as u64;
    summary.acknowledged = world.answered.values().filter(|r| r.is_ok()).count() as u64;
    summary.unknown = world.answered.values().filter(|r| is_unknown(r)).count() as u64;
    summary
}

fn check_copies(world: &World, entries: &[(Data, Entry)], context: &str) {
    let sorted = |mut entries: Vec<(Data, Data)>| {
        entries.sort();
        entries
    };
    let values = |entries: &[(Data, Entry)]| {
        let values = entries
            .iter()
            .map(|(key, entry)| (key.clone(), entry.value.clone()));
        sorted(values.collect())
    };
    let master = values(entries);
    for (n, node) in world.clones.iter().enumerate() {
        let state = match &node.kind {
            Kind::Ours(state) => state,
            Kind::Cpp(clone) => {
                check_cpp(clone, world, &master, &format!("{context}: clone {n}"));
                continue;
            }
        };
        let view = state.view();
        assert_eq!(
            view.freshness(),
            Freshness::Live,
            "{context}: clone {n} has found its master"
        );
        let copy = view.content.scan(None, usize::MAX);
        let copied = values(&copy);
        let missing: Vec<_> = master
            .iter()
            .filter(|e| !copied.contains(e))
            .take(4)
            .collect();
        let extra: Vec<_> = copied
            .iter()
            .filter(|e| !master.contains(e))
            .take(4)
            .collect();
        assert!(
            copied == master,
            "{context}: clone {n} equals the master; it lacks {missing:?} and has {extra:?}"
        );
        if !world.plan.ours[n] {
            continue;
        }
        assert_eq!(
            (state.revision(), view.content.digest()),
            (Some(world.master.revision()), world.master.digest()),
            "{context}: clone {n} counts as the master does"
        );
        assert_eq!(state.lag(), 0, "{context}: clone {n} lags");
        let deadlines: HashMap<_, _> = copy
            .into_iter()
            .map(|(key, entry)| (key, entry.expires_at))
            .collect();
        for (key, entry) in entries {
            let Some(at) = entry.expires_at else { continue };
            if let Some(Some(known)) = deadlines.get(key) {
                let apart = (known.as_nanos() - at.as_nanos()).unsigned_abs();
                // An update that is sent again says how long an entry lived when it was sent first.
                let dark = node.dark * TICK.as_nanos().unsigned_abs();
                assert!(
                    apart <= MAX_DELAY.as_nanos().unsigned_abs() + dark,
                    "{context}: clone {n} takes {key} to expire at {known}, the master at {at}"
                );
            }
        }
    }
}

/// A clone of C++ has ended if it found no master at first, and follows none but the one it has found.
fn check_cpp(clone: &CppClone, world: &World, master: &[(Data, Data)], which: &str) {
    match clone.master {
        None => assert!(clone.has_ended(), "{which} has found its master"),
        Some(id) if id != world.master.id() => {}
        Some(_) => {
            assert!(clone.is_initialised(), "{which} has not given up");
            let equal = clone.content.iter().eq(master.iter().map(|(k, v)| (k, v)));
            assert!(equal, "{which} equals the master");
        }
    }
}

/// How a write to `key` that only ever was one of `puts` has ended.
fn is_unknown(result: &Result<StoreReply, StoreError>) -> bool {
    matches!(
        result,
        Err(StoreError::Unanswered
            | StoreError::NotEchoed
            | StoreError::Closed
            | StoreError::TimedOut(_))
    )
}

fn check_sums(world: &World, held: &HashMap<Data, Data>, context: &str) {
    let mut sums: BTreeMap<&Data, (u64, u64)> = BTreeMap::new();
    for (question, operation) in &world.asked {
        if let StoreOperation::Increment {
            key, expiry: None, ..
        } = operation
        {
            let result = &world.answered[question];
            let (acknowledged, unknown) = sums.entry(key).or_default();
            *acknowledged += u64::from(result.is_ok());
            *unknown += u64::from(is_unknown(result));
        }
    }
    for (key, (acknowledged, unknown)) in sums {
        let sum = held.get(key).and_then(Data::as_count).unwrap_or(0);
        assert!(
            acknowledged <= sum && sum <= acknowledged + unknown,
            "{context}: {key}: {acknowledged} acknowledged, {unknown} unknown, {sum} counted"
        );
    }
}

fn check_puts(world: &World, held: &HashMap<Data, Data>, context: &str) {
    let mut last: BTreeMap<&Data, (u64, u64)> = BTreeMap::new();
    for ((writer, token), operation) in &world.asked {
        let StoreOperation::Put {
            key,
            value,
            expiry: None,
        } = operation
        else {
            continue;
        };
        let is_group = |part: &Data| {
            let group = part.as_string().map(|group| group.to_str_lossy());
            group.is_some_and(|group| group.starts_with(LAST))
        };
        if !key.as_vector().is_some_and(|parts| is_group(&parts[0])) {
            continue;
        }
        let number = value.as_count().unwrap_or(0);
        let result = &world.answered[&(*writer, *token)];
        let (acknowledged, asked) = last.entry(key).or_default();
        if result.is_ok() {
            *acknowledged = number.max(*acknowledged);
        }
        if result.is_ok() || is_unknown(result) {
            *asked = number.max(*asked);
        }
    }
    for (key, (acknowledged, asked)) in last {
        let value = held.get(key).and_then(Data::as_count).unwrap_or(0);
        assert!(
            acknowledged <= value && value <= asked,
            "{context}: {key} is {value}, {acknowledged} was acknowledged, {asked} asked for"
        );
    }
}

fn check_uniques(world: &World, held: &HashMap<Data, Data>, context: &str) {
    let mut granted: BTreeMap<&Data, Vec<(Writer, &Data)>> = BTreeMap::new();
    for (question, operation) in &world.asked {
        if let StoreOperation::PutUnique { key, value, .. } = operation
            && world.answered[question] == Ok(StoreReply::Value(true.into()))
        {
            granted.entry(key).or_default().push((question.0, value));
        }
    }
    for (key, winners) in granted {
        assert_eq!(
            winners.len(),
            1,
            "{context}: {key} was granted to {winners:?}"
        );
        assert_eq!(
            held.get(key),
            Some(winners[0].1),
            "{context}: {key} holds what was granted"
        );
    }
}

/// How the groups of keys begin that only one writer writes.
const LAST: &str = "last of ";

/// The longest way of a command where no link is cut.
const MAX_DELAY: Timespan = Timespan::from_secs(60);

const _: () = assert!(MAX_DELAY.as_nanos() < LONG.as_nanos() as i64 / 10);
