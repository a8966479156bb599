//! What a seed decides before anything happens.

/// The shape of a run.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    /// For each clone, whether it speaks as nodes of ours do.
    pub(super) ours: Vec<bool>,
    /// Entries before anybody attaches.
    pub(super) preloaded: u64,
    /// Ticks until the network heals.
    pub(super) ticks: u64,
    /// Every n-th write to the backend fails; 0 is none.
    pub(super) fails_nth: u64,
    /// Whether a restarted master is the one that was there before.
    pub(super) keeps_identity: bool,
    /// Whether somebody clears the store now and then.
    pub(super) clears: bool,
    /// Of a thousand ticks, in how many a link is cut or mended, the master restarts, a clone comes or goes, and the
    /// weather changes.
    pub(super) cuts: u32,
    pub(super) restarts: u32,
    pub(super) departures: u32,
    pub(super) changes: u32,
    /// Writes in a tick, at most.
    pub(super) writes: u32,
    /// Bytes of the pages that clones ask for.
    pub(super) page_bytes: u32,
    /// Whether many commands come a second time, long after the first.
    pub(super) echoes: bool,
    /// Whether all links are cut once, for longer than the master remembers anybody.
    pub(super) blackout: bool,
    /// Updates that the master keeps for clones that lack them; 0 is as many as ever.
    pub(super) keeps_updates: usize,
    /// For each clone, whether it is the model of one of C++.
    pub(super) cpp: Vec<bool>,
    /// Whether the first commands of a clone that has gone come again, together and in order.
    pub(super) ghosts: bool,
}

impl Plan {
    pub(super) fn draw(seed: u64) -> Self {
        // Not the stream of numbers the run itself uses.
        let mut rng = fastrand::Rng::with_seed(seed ^ 0x5eed_5eed_5eed_5eed);
        let ours_share = *rng.choice(&[0, 50, 80, 100]).unwrap_or(&100);
        let mut sometimes = |share: u32, most: u32| {
            if rng.u32(0..100) < share {
                rng.u32(1..=most)
            } else {
                0
            }
        };
        let (cuts, restarts) = (sometimes(60, 40), sometimes(40, 20));
        let (departures, changes) = (sometimes(30, 20), sometimes(80, 60));
        let (fails_nth, clears) = (sometimes(30, 12), sometimes(25, 1) > 0);
        let clones = rng.usize(1..=4);
        let ours: Vec<_> = (0..clones).map(|_| rng.u32(0..100) < ours_share).collect();
        let mut plan = Self {
            seed,
            ours: ours.clone(),
            preloaded: if rng.bool() { rng.u64(0..300) } else { 0 },
            // Now and then long enough for a master to give a silent clone up.
            ticks: if rng.u32(0..20) == 0 {
                rng.u64(600..1500)
            } else {
                rng.u64(40..220)
            },
            fails_nth: if fails_nth == 1 { 2 } else { fails_nth.into() },
            keeps_identity: rng.bool(),
            clears,
            cuts,
            restarts,
            departures,
            changes,
            writes: rng.u32(1..6),
            page_bytes: *rng.choice(&[40, 200, 2000, 256 << 10]).unwrap_or(&200),
            echoes: rng.u32(0..100) < 12,
            blackout: rng.u32(0..100) < 12,
            keeps_updates: if rng.u32(0..100) < 15 {
                rng.usize(4..40)
            } else {
                0
            },
            cpp: ours.iter().map(|ours| !ours && rng.bool()).collect(),
            ghosts: rng.u32(0..100) < 12,
        };
        if plan.ghosts {
            plan.departures = plan.departures.max(10);
        }
        plan
    }
}
