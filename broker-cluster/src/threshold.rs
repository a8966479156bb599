//! Enough nodes: so many of each role are up, and who is missing.
//!
//! ```
//! use broker_cluster::threshold::{Need, Threshold};
//! use broker_cluster::{Layout, Role};
//!
//! let layout = Layout::parse(
//!     "[node.m]\nrole = \"manager\"\nlisten = [\"mem://m\"]\n[node.w-1]\nrole = \"worker\"\n[node.w-2]\nrole = \"worker\"\n",
//!     "lab.toml",
//! )?;
//! let threshold = Threshold::new().need(Role::Worker, Need::Percent(50));
//! let standing = threshold.standing(&layout, "m", |name| name == "w-2");
//! assert!(standing.is_met());
//! assert_eq!(standing.to_string(), "1 of 2 workers (1 needed; missing: w-1)");
//! # Ok::<(), broker_cluster::LayoutError>(())
//! ```
//!
//! A node sees only nodes it has a connection to, and itself: a worker never sees another worker, nor a proxy a proxy.
//! Ask the manager about workers, or [`sees`] first.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::layout::{Layout, ReadySpec};
use crate::role::Role;

/// How many nodes of each role have to be up. A role that is not named needs none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Threshold {
    needs: BTreeMap<Role, Need>,
}

/// How many nodes of one role have to be up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// All that the layout has.
    All,
    /// So many; more than the layout has is never reached.
    Count(usize),
    /// So many of a hundred, rounded up; above 100 counts as 100.
    Percent(u8),
}

impl Need {
    /// How many that is of `total`.
    #[must_use]
    pub const fn of(self, total: usize) -> usize {
        match self {
            Self::All => total,
            Self::Count(count) => count,
            Self::Percent(percent) => {
                let percent = if percent > 100 { 100 } else { percent as usize };
                // Layouts are bounded far below where this would overflow.
                total.saturating_mul(percent).div_ceil(100)
            }
        }
    }
}

/// A word that says no number of nodes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{word:?} is no number of nodes (all, 28, 90%)")]
pub struct UnknownNeed {
    /// The word given.
    pub word: String,
}

/// `all`, `28` or `90%`.
impl FromStr for Need {
    type Err = UnknownNeed;

    fn from_str(word: &str) -> Result<Self, UnknownNeed> {
        let need = match word.strip_suffix('%') {
            Some(percent) => percent
                .parse()
                .ok()
                .filter(|percent| *percent <= 100)
                .map(Self::Percent),
            None if word == "all" => Some(Self::All),
            None => word.parse().ok().map(Self::Count),
        };
        need.ok_or_else(|| UnknownNeed {
            word: word.chars().take(64).collect(),
        })
    }
}

impl Threshold {
    /// Nothing is needed.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Every node of the layout is needed that `local` sees.
    #[must_use]
    pub fn everybody(layout: &Layout, local: &str) -> Self {
        let seen = Role::ALL.into_iter().filter(|role| {
            layout
                .node(local)
                .is_some_and(|node| sees(node.role, *role))
        });
        seen.fold(Self::new(), |all, role| all.need(role, Need::All))
    }

    /// Needs so many nodes of a role.
    #[must_use]
    pub fn need(mut self, role: Role, need: Need) -> Self {
        self.needs.insert(role, need);
        self
    }

    /// What is needed of each role.
    pub fn needs(&self) -> impl Iterator<Item = (Role, Need)> {
        self.needs.iter().map(|(role, need)| (*role, *need))
    }

    /// The first role in it that the node called `local` can never see enough of, as it sees only itself of it.
    #[must_use]
    pub fn unseen_by(&self, layout: &Layout, local: &str) -> Option<Role> {
        let own = layout.node(local)?.role;
        self.needs()
            .map(|(role, need)| (role, need.of(layout.with_role(role).count())))
            .find(|(role, needed)| !sees(own, *role) && *needed > usize::from(*role == own))
            .map(|(role, _)| role)
    }

    /// How far it is reached: the node called `local` is up, and of the others those that `is_up` says.
    #[must_use]
    pub fn standing(&self, layout: &Layout, local: &str, is_up: impl Fn(&str) -> bool) -> Standing {
        let roles = self.needs().map(|(role, need)| {
            let mut total = 0;
            let mut missing = Vec::new();
            for node in layout.with_role(role) {
                total += 1;
                if node.name != local && !is_up(&node.name) {
                    missing.push(node.name.clone());
                }
            }
            RoleStanding {
                role,
                total,
                needed: need.of(total),
                missing,
            }
        });
        Standing {
            roles: roles.collect(),
        }
    }
}

/// Whether a node of role `own` is ever connected to one of role `other`.
#[must_use]
pub fn sees(own: Role, other: Role) -> bool {
    own.dials().contains(&other) || other.dials().contains(&own)
}

/// How far a [`Threshold`] is reached. Its text names up to ten nodes of each role that are missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// By role, for those that the threshold names.
    pub roles: Vec<RoleStanding>,
}

/// How many nodes of one role are up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleStanding {
    /// The role.
    pub role: Role,
    /// Nodes of the role in the layout.
    pub total: usize,
    /// How many of them have to be up.
    pub needed: usize,
    /// Who is not, by name.
    pub missing: Vec<String>,
}

impl RoleStanding {
    /// How many are up.
    #[must_use]
    pub fn up(&self) -> usize {
        self.total - self.missing.len()
    }

    /// Whether enough are up.
    #[must_use]
    pub fn is_met(&self) -> bool {
        self.up() >= self.needed
    }
}

impl Standing {
    /// Whether enough nodes of every role are up.
    #[must_use]
    pub fn is_met(&self) -> bool {
        self.roles.iter().all(RoleStanding::is_met)
    }

    /// Who is missing, needed or not.
    pub fn missing(&self) -> impl Iterator<Item = &str> {
        self.roles
            .iter()
            .flat_map(|role| role.missing.iter().map(String::as_str))
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, role) in self.roles.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            let plural = match role.role {
                Role::Proxy => "proxies".to_owned(),
                other => format!("{other}s"),
            };
            let (up, total, needed) = (role.up(), role.total, role.needed);
            write!(f, "{up} of {total} {plural} ({needed} needed")?;
            if !role.missing.is_empty() {
                let names = names(role.missing.iter().map(String::as_str));
                write!(f, "; missing: {names}")?;
            }
            f.write_str(")")?;
        }
        Ok(())
    }
}

/// What the manager has told the cluster about its being ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether enough nodes are up.
    pub ready: bool,
    /// Who was missing then, needed or not, by name.
    pub missing: Vec<String>,
}

/// When the manager tells the cluster: once enough nodes are up, or, that they are not, when the time is over; and then
/// once more if they are later. What it has said it does not take back, whatever the layout asks for afterwards: see
/// node_down for what follows.
///
/// Reads no clock: times are durations since the node's start.
#[derive(Debug)]
pub(crate) struct Jury {
    /// What is asked for, if anything.
    ready: Option<ReadySpec>,
    /// Since when something is asked for.
    since: Duration,
    told: Option<Verdict>,
}

impl Jury {
    /// For a node that starts.
    pub(crate) const fn new(ready: Option<ReadySpec>) -> Self {
        Self {
            ready,
            since: Duration::ZERO,
            told: None,
        }
    }

    /// From now on this is asked for. The time counts from when something was asked for first.
    pub(crate) fn adopt(&mut self, now: Duration, ready: Option<&ReadySpec>) {
        if self.ready.is_none() {
            self.since = now;
        }
        self.ready = ready.cloned();
    }

    /// How many nodes are enough; none if nobody asks.
    pub(crate) fn threshold(&self) -> Option<&Threshold> {
        self.ready.as_ref().map(|ready| &ready.threshold)
    }

    /// What to tell now, if anything; it is taken as told.
    pub(crate) fn observe(&mut self, now: Duration, standing: &Standing) -> Option<Verdict> {
        let over = self.over()?;
        let ready = standing.is_met();
        let due = match &self.told {
            None => ready || now >= over,
            Some(told) => ready && !told.ready,
        };
        due.then(|| {
            let verdict = Verdict {
                ready,
                missing: standing.missing().map(str::to_owned).collect(),
            };
            self.told.insert(verdict).clone()
        })
    }

    /// What was told, with who is missing now, for one who comes late.
    pub(crate) fn told(&self, standing: &Standing) -> Option<Verdict> {
        self.told.as_ref().map(|told| Verdict {
            ready: told.ready,
            missing: standing.missing().map(str::to_owned).collect(),
        })
    }

    /// When the time is over; none if something was told, or nobody asks.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.over().filter(|_| self.told.is_none())
    }

    fn over(&self) -> Option<Duration> {
        Some(self.since.saturating_add(self.ready.as_ref()?.within))
    }
}

/// The first ten names and how many more there are.
pub(crate) fn names<'a>(names: impl Iterator<Item = &'a str> + Clone) -> String {
    const NAMED: usize = 10;
    let mut text = names.clone().take(NAMED).collect::<Vec<_>>().join(", ");
    let more = names.skip(NAMED).count();
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(workers: usize) -> Layout {
        let mut text = "[node.manager]\nrole = \"manager\"\nlisten = [\"mem://m\"]\n\
                        [node.proxy-1]\nrole = \"proxy\"\nlisten = [\"mem://p\"]\n"
            .to_owned();
        for n in 1..=workers {
            text.push_str(&format!("[node.worker-{n:02}]\nrole = \"worker\"\n"));
        }
        Layout::parse(&text, "lab.toml").unwrap()
    }

    #[test]
    fn twenty_eight_of_thirty_workers_are_enough_and_the_missing_are_named() {
        let layout = layout(30);
        let threshold = Threshold::new().need(Role::Worker, Need::Count(28));
        let standing =
            |down: &[&str]| threshold.standing(&layout, "manager", |name| !down.contains(&name));
        assert!(standing(&["worker-03", "worker-17"]).is_met());
        let short = standing(&["worker-03", "worker-17", "worker-30"]);
        assert!(!short.is_met());
        assert_eq!(
            short.to_string(),
            "27 of 30 workers (28 needed; missing: worker-03, worker-17, worker-30)"
        );
        assert_eq!(short.missing().count(), 3);
    }

    #[test]
    fn percentages_round_up_and_a_count_beyond_the_layout_is_never_reached() {
        assert_eq!(Need::Percent(90).of(30), 27);
        assert_eq!(Need::Percent(91).of(30), 28);
        assert_eq!((Need::Percent(0).of(30), Need::Percent(200).of(3)), (0, 3));
        assert_eq!((Need::All.of(7), Need::Count(9).of(7)), (7, 9));
        let many = Threshold::new().need(Role::Worker, Need::Count(3));
        assert!(!many.standing(&layout(2), "manager", |_| true).is_met());
    }

    #[test]
    fn words_for_needs_read_back() {
        assert_eq!("all".parse(), Ok(Need::All));
        assert_eq!("28".parse(), Ok(Need::Count(28)));
        assert_eq!("90%".parse(), Ok(Need::Percent(90)));
        for bad in ["", "-1", "101%", "x%", "28.0", "ALL"] {
            assert!(bad.parse::<Need>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_local_node_is_up_and_peers_it_never_meets_are_told_apart() {
        let layout = layout(2);
        let workers = |need| Threshold::new().need(Role::Worker, need);
        assert_eq!(
            workers(Need::All).unseen_by(&layout, "worker-01"),
            Some(Role::Worker)
        );
        assert_eq!(
            workers(Need::Count(1)).unseen_by(&layout, "worker-01"),
            None
        );
        assert_eq!(workers(Need::All).unseen_by(&layout, "manager"), None);
        let own = workers(Need::Count(1)).standing(&layout, "worker-01", |_| false);
        assert!(own.is_met());
        let all = Threshold::everybody(&layout, "worker-01");
        assert_eq!(
            all.needs().map(|(role, _)| role).collect::<Vec<_>>(),
            [Role::Manager, Role::Logger, Role::Proxy]
        );
    }

    #[test]
    fn the_cluster_is_told_once_when_enough_are_up_or_the_time_is_over() {
        let layout = layout(3);
        let threshold = Threshold::new().need(Role::Worker, Need::Count(2));
        let up = |count: usize| {
            threshold.standing(&layout, "manager", |name| {
                name[7..].parse::<usize>().is_ok_and(|n| n <= count)
            })
        };
        let second = Duration::from_secs;
        let verdict = |ready, missing: &[&str]| {
            let missing = missing.iter().map(|name| (*name).to_owned()).collect();
            Some(Verdict { ready, missing })
        };
        let asked = |threshold: Threshold, within| {
            let within = second(within);
            Some(ReadySpec { threshold, within })
        };
        let mut jury = Jury::new(asked(threshold.clone(), 10));
        assert_eq!(jury.observe(second(1), &up(1)), None);
        assert_eq!(jury.deadline(), Some(second(10)));
        let early = verdict(true, &["worker-03"]);
        assert_eq!(jury.observe(second(2), &up(2)), early);
        assert_eq!(jury.observe(second(3), &up(3)), None);
        assert_eq!(jury.observe(second(20), &up(0)), None);
        assert_eq!(jury.deadline(), None);

        let mut jury = Jury::new(asked(threshold.clone(), 10));
        assert_eq!(jury.told(&up(1)), None);
        let late = verdict(false, &["worker-02", "worker-03"]);
        assert_eq!(jury.observe(second(10), &up(1)), late);
        assert_eq!(jury.observe(second(11), &up(1)), None);
        assert_eq!(jury.told(&up(1)), late);
        assert_eq!(jury.observe(second(12), &up(3)), verdict(true, &[]));
    }

    #[test]
    fn what_is_asked_for_may_change_and_what_was_said_stays() {
        let layout = layout(3);
        let second = Duration::from_secs;
        let asked = |count, within| ReadySpec {
            threshold: Threshold::new().need(Role::Worker, Need::Count(count)),
            within: second(within),
        };
        let observe = |jury: &mut Jury, now, up: usize| {
            let standing = jury.threshold()?.standing(&layout, "manager", |name| {
                name[7..].parse::<usize>().is_ok_and(|n| n <= up)
            });
            jury.observe(second(now), &standing)
        };
        let ready = |told: Option<Verdict>| told.map(|told| told.ready);

        // Nobody asked at first: the time counts from when somebody does.
        let mut jury = Jury::new(None);
        assert_eq!((observe(&mut jury, 5, 3), jury.deadline()), (None, None));
        jury.adopt(second(100), Some(&asked(3, 10)));
        assert_eq!(jury.deadline(), Some(second(110)));
        // Another time counts from there too.
        jury.adopt(second(105), Some(&asked(3, 20)));
        assert_eq!(jury.deadline(), Some(second(120)));
        assert_eq!(ready(observe(&mut jury, 119, 2)), None);
        assert_eq!(ready(observe(&mut jury, 120, 2)), Some(false));
        // Fewer are enough now.
        jury.adopt(second(130), Some(&asked(2, 20)));
        assert_eq!(ready(observe(&mut jury, 130, 2)), Some(true));
        // More would be needed, but it has been said.
        jury.adopt(second(140), Some(&asked(3, 20)));
        assert_eq!(ready(observe(&mut jury, 500, 2)), None);
        jury.adopt(second(600), None);
        jury.adopt(second(700), Some(&asked(1, 20)));
        assert_eq!(ready(observe(&mut jury, 800, 3)), None);
    }

    #[test]
    fn long_lists_are_cut() {
        let standing =
            Threshold::new()
                .need(Role::Worker, Need::All)
                .standing(&layout(15), "manager", |_| false);
        assert!(
            standing.to_string().ends_with("worker-10 and 5 more)"),
            "{standing}"
        );
    }
}
