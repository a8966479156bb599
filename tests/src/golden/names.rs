//! What no two runs have in common: the numbers an endpoint gives to its entities and requests, and the eight bytes behind a
//! BYE. The first time one of ours stands where the recording has another the two are bound, and from then on nothing else
//! may stand there; what is played to our endpoint has ours in place of the recorded ones.

use std::collections::HashMap;

use broker_core::{EndpointId, EntityId};
use broker_store::command::{Command, Content};

/// The names of one run.
#[derive(Debug)]
pub(crate) struct Names {
    /// The endpoint under test.
    ours: EndpointId,
    objects: HashMap<u64, u64>,
    /// Who asked: in C++ the front end of a store, in ours the store.
    askers: HashMap<u64, u64>,
    requests: HashMap<u64, u64>,
    goodbyes: HashMap<Vec<u8>, Vec<u8>>,
    /// Behind which numbers of our side's stream there is one more in this run.
    shifted: Vec<u64>,
}

impl Names {
    pub(crate) fn new(ours: EndpointId) -> Self {
        Self {
            ours,
            objects: HashMap::new(),
            askers: HashMap::new(),
            requests: HashMap::new(),
            goodbyes: HashMap::new(),
            shifted: Vec::new(),
        }
    }

    /// The recorded command with the names of this run, as learnt from what our endpoint sent in its place.
    pub(crate) fn learn(&mut self, recorded: &Command, sent: &Command) -> Command {
        for (recorded, sent) in entities(recorded).into_iter().zip(entities(sent)) {
            if recorded.endpoint == self.ours && sent.endpoint == self.ours {
                bind(&mut self.objects, recorded.object, sent.object);
            }
        }
        if let (Some((asker, request)), Some((our_asker, our_request))) =
            (request(recorded), request(sent))
            && asker.endpoint == self.ours
        {
            bind(&mut self.askers, asker.object, our_asker.object);
            bind(&mut self.requests, request, our_request);
        }
        self.translate(recorded)
    }

    /// The recorded command with the names of this run, those not known yet left as they are.
    pub(crate) fn translate(&self, recorded: &Command) -> Command {
        let mut command = recorded.clone();
        for entity in entities_mut(&mut command) {
            if entity.endpoint == self.ours
                && let Some(object) = self.objects.get(&entity.object)
            {
                entity.object = *object;
            }
        }
        if let Content::PutUnique { who, request, .. }
        | Content::PutUniqueResult { who, request, .. } = &mut command.content
            && who.endpoint == self.ours
        {
            who.object = *self.askers.get(&who.object).unwrap_or(&who.object);
            *request = *self.requests.get(request).unwrap_or(request);
        }
        let from_us = command.sender.endpoint == self.ours;
        match &mut command.content {
            Content::Keepalive { seq } if from_us => *seq = self.shifted_end(*seq),
            Content::CumulativeAck { seq } if !from_us => *seq = self.shifted_end(*seq),
            _ if from_us => command.seq = self.shifted(command.seq),
            _ => {}
        }
        command
    }

    /// From now on our side's stream has one update more behind the one that is `seq` in this run.
    pub(crate) fn shift_behind(&mut self, seq: u64) {
        self.shifted.push(seq - self.shifted.len() as u64);
    }

    /// The number in this run of an update of our side.
    fn shifted(&self, seq: u64) -> u64 {
        seq + self.shifted.iter().filter(|behind| seq > **behind).count() as u64
    }

    /// The number in this run up to which our side's stream has come.
    fn shifted_end(&self, seq: u64) -> u64 {
        self.shifted(seq + 1) - 1
    }

    /// Binds the recorded goodbye to the one our endpoint sent.
    pub(crate) fn learn_goodbye(&mut self, recorded: &[u8], sent: &[u8]) {
        assert_eq!(sent.len(), 11, "a goodbye has 8 bytes behind the mark");
        self.goodbyes.insert(recorded.to_vec(), sent.to_vec());
    }

    /// The answer to a goodbye of ours.
    pub(crate) fn goodbye(&self, recorded: &[u8]) -> Vec<u8> {
        let ours = self.goodbyes.get(recorded);
        ours.map_or_else(|| recorded.to_vec(), Clone::clone)
    }
}

fn bind(names: &mut HashMap<u64, u64>, recorded: u64, sent: u64) {
    let bound = *names.entry(recorded).or_insert(sent);
    assert_eq!(
        bound, sent,
        "{recorded} of the recording is already {bound} in this run"
    );
    let same = names.values().filter(|ours| **ours == sent).count();
    assert_eq!(same, 1, "{sent} of this run stands for two: {names:?}");
}

fn request(command: &Command) -> Option<(EntityId, u64)> {
    match command.content {
        Content::PutUnique { who, request, .. } | Content::PutUniqueResult { who, request, .. } => {
            Some((who, request))
        }
        _ => None,
    }
}

fn entities(command: &Command) -> Vec<EntityId> {
    let mut command = command.clone();
    entities_mut(&mut command)
        .into_iter()
        .map(|entity| *entity)
        .collect()
}

/// Every entity a command names but who asked, in the order of its bytes.
fn entities_mut(command: &mut Command) -> Vec<&mut EntityId> {
    let mut all = vec![&mut command.sender, &mut command.receiver];
    match &mut command.content {
        Content::Put { publisher, .. }
        | Content::PutUnique { publisher, .. }
        | Content::PutUniqueResult { publisher, .. }
        | Content::Erase { publisher, .. }
        | Content::Expire { publisher, .. }
        | Content::Add { publisher, .. }
        | Content::Subtract { publisher, .. }
        | Content::Clear { publisher } => all.push(publisher),
        _ => {}
    }
    all
}
