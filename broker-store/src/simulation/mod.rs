//! One master and several clones over a seeded network that delays, reorders, doubles, loses and cuts, in virtual time.
//!
//! A seed decides everything: how many clones there are, which of them speak as nodes of ours do and which are models of
//! C++ clones (see `cpp`), what the store holds at first, who writes what, which writes the backend fails, when the weather
//! changes, links are cut, the master restarts, clones come and go, and what clones said that have gone comes again. Then
//! the network heals, everything settles, and [`run`] checks what must hold (see `checks`). It panics if it does not; the
//! text names the seed.
//!
//! `cargo run --release -p broker-store --features simulation --example simulate -- --seeds 10000` tries many seeds, and
//! replays one.

mod checks;
mod cpp;
mod plan;
mod world;

use self::plan::Plan;
use self::world::World;

/// What happened in a run that held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Writes that were asked for.
    pub writes: u64,
    /// Those that were acknowledged.
    pub acknowledged: u64,
    /// Those whose fate their callers do not know.
    pub unknown: u64,
    /// Commands that were sent.
    pub commands: u64,
    /// Those that the network lost.
    pub lost: u64,
    /// How often the master was restarted.
    pub restarts: u64,
    /// How often a clone had to look for its master anew.
    pub lost_masters: u64,
    /// Entries at the end.
    pub entries: u64,
    /// A digest of everything that was sent: equal seeds give equal runs.
    pub trace: u64,
}

/// Runs the world of `seed`; with `trace`, everything that is sent is printed on stderr.
///
/// # Panics
/// Something that must hold does not.
#[must_use]
pub fn run(seed: u64, trace: bool) -> Summary {
    // Histories and incarnations are drawn from here.
    fastrand::seed(seed);
    let plan = Plan::draw(seed);
    if trace {
        eprintln!("{plan:?}");
    }
    let mut world = World::new(&plan, trace);
    world.play();
    world.heal();
    checks::check(&mut world, &format!("seed {seed}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// More with `SIMULATION_SEEDS`.
    fn seeds() -> u64 {
        let asked = std::env::var("SIMULATION_SEEDS").ok();
        asked.and_then(|text| text.parse().ok()).unwrap_or(200)
    }

    #[test]
    fn after_any_weather_all_copies_are_equal_and_nothing_acknowledged_is_missing() {
        let mut total = Summary::default();
        for seed in 0..seeds() {
            let summary = run(seed, false);
            total.acknowledged += summary.acknowledged;
            total.lost += summary.lost;
            total.restarts += summary.restarts;
            total.lost_masters += summary.lost_masters;
        }
        assert!(
            total.acknowledged > 0
                && total.lost > 0
                && total.restarts > 0
                && total.lost_masters > 0,
            "the weather is neither too good nor too bad: {total:?}"
        );
    }

    #[test]
    fn the_same_seed_gives_the_same_run() {
        for seed in [1, 7, 42] {
            assert_eq!(run(seed, false), run(seed, false));
        }
    }
}
