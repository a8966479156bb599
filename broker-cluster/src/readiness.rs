//! When the cluster is ready: each node tells the manager once it has the nodes it waits for, and the
//! manager tells everybody once all have (reference, zeek-cluster 2.5, "Readiness details").
//!
//! That is certain, whatever is lost on the way: a node says again that it is fully connected ([`Readiness::remind`]) until
//! the manager's process of now has told it that the cluster has started, and the manager answers each report of a node
//! of ours once it knows. So a node that comes late, and a manager that comes again, learn it within one interval of reminding
//! after their connection is there and messages get through. Zeek tells it once and never again, so a node that comes later
//! is never told there; a Zeek node that reports to a manager of ours without knowing it is told once per connection.
//!
//! A node waits for the nodes it dials; the manager's node_up makes it look again, so that it reports
//! once the manager can hear it. A logger waits for nobody, so the manager takes a logger's node_up as
//! its report: a Zeek logger has no way to report. Nor has a node of Zeek's whose scripts do not load
//! `policy/frameworks/cluster/experimental`, and it does not subscribe to what it would be told. A restarted manager
//! learns from a report marked "resending" that the cluster had started, and does not announce it again.

use std::collections::BTreeSet;

use crate::layout::Layout;
use crate::role::Role;

/// What the driver does about a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadinessEffect {
    /// This node has all it waits for: publish `node_fully_connected` to the manager, and say so locally.
    FullyConnected {
        /// Whether the cluster was known to have started before.
        resending: bool,
    },
    /// The manager may not have heard it: publish it again if the manager is a node of ours, and do nothing else.
    Remind {
        /// As above.
        resending: bool,
    },
    /// Every node of the cluster has been fully connected. With `announce`, publish `cluster_started`.
    Started {
        /// Whether others have to be told.
        announce: bool,
    },
    /// On the manager: publish `cluster_started` to the node of this name alone.
    Answer {
        /// The node that asked.
        name: String,
    },
}

/// Readiness of one node and, on the manager, of the cluster.
#[derive(Debug)]
pub struct Readiness {
    name: String,
    is_manager: bool,
    manager: String,
    loggers: BTreeSet<String>,
    /// All nodes of the layout.
    nodes: BTreeSet<String>,
    /// Whom this node waits for.
    waits_for: BTreeSet<String>,
    manager_up: bool,
    reported: bool,
    /// The manager has said since it came up that the cluster has started.
    answered: bool,
    /// On the manager: who is up, and who of them has been told.
    up: BTreeSet<String>,
    told: BTreeSet<String>,
    /// On the manager: who has not reported yet.
    pending: BTreeSet<String>,
    started: bool,
}

impl Readiness {
    /// Nothing is connected yet.
    ///
    /// # Panics
    /// If `name` is not in the layout.
    #[must_use]
    pub fn new(layout: &Layout, name: &str) -> Self {
        let node = layout
            .node(name)
            .expect("the local node was found in the layout before");
        let is_manager = node.role == Role::Manager;
        Self {
            name: name.to_owned(),
            is_manager,
            manager: layout.manager().name.clone(),
            loggers: layout
                .with_role(Role::Logger)
                .map(|logger| logger.name.clone())
                .collect(),
            nodes: layout.nodes().map(|node| node.name.clone()).collect(),
            waits_for: layout.dials(node).map(|other| other.name.clone()).collect(),
            manager_up: is_manager,
            reported: false,
            answered: false,
            up: BTreeSet::new(),
            told: BTreeSet::new(),
            pending: if is_manager {
                layout.nodes().map(|node| node.name.clone()).collect()
            } else {
                BTreeSet::new()
            },
            started: false,
        }
    }

    /// Whom this node still waits for.
    pub fn waiting_for(&self) -> impl Iterator<Item = &str> {
        self.waits_for.iter().map(String::as_str)
    }

    /// Nodes the manager has no report of yet; empty elsewhere.
    pub fn pending(&self) -> impl Iterator<Item = &str> {
        self.pending.iter().map(String::as_str)
    }

    /// On the manager: whether it has a report of every node, since its own start.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.is_manager && self.pending.is_empty()
    }

    /// Whether this node has had all it waits for, once.
    #[must_use]
    pub const fn is_fully_connected(&self) -> bool {
        self.reported
    }

    /// Whether every node of the cluster has been fully connected, once.
    #[must_use]
    pub const fn is_started(&self) -> bool {
        self.started
    }

    /// The node has begun; a manager without loggers has all it needs.
    pub fn begin(&mut self) -> Vec<ReadinessEffect> {
        self.check()
    }

    /// A node came up, which `reports` when it is fully connected or has no way to.
    pub fn node_up(&mut self, name: &str, reports: bool) -> Vec<ReadinessEffect> {
        self.waits_for.remove(name);
        let is_manager = name == self.manager;
        if is_manager {
            // A manager that comes up again has to be told again.
            self.manager_up = true;
            self.reported = false;
            self.answered = false;
        }
        let mut effects = Vec::new();
        if self.is_manager {
            self.up.insert(name.to_owned());
            if !reports || self.loggers.contains(name) {
                self.pending.remove(name);
                effects.extend(self.decide());
            }
        }
        effects.extend(self.check());
        effects
    }

    /// A node went down. Whom a node has seen once it does not wait for again, as in Zeek.
    pub fn node_down(&mut self, name: &str) {
        if name == self.manager && !self.is_manager {
            self.manager_up = false;
        }
        self.up.remove(name);
        self.told.remove(name);
    }

    /// To be called again and again: what to say again, as it may have been lost. `more`: something else is waited for that
    /// the manager says to whoever reports.
    #[must_use]
    pub fn remind(&self, more: bool) -> Option<ReadinessEffect> {
        let waits = more || !self.answered;
        let open = self.reported && self.manager_up && waits && !self.is_manager;
        open.then_some(ReadinessEffect::Remind {
            resending: self.started,
        })
    }

    /// Other nodes make up the layout from now on: those that are gone are not waited for, those that are new are, unless what
    /// they would be waited for has happened.
    pub fn replace_nodes(&mut self, layout: &Layout) -> Vec<ReadinessEffect> {
        self.loggers = layout
            .with_role(Role::Logger)
            .map(|logger| logger.name.clone())
            .collect();
        if self.manager != layout.manager().name {
            self.manager.clone_from(&layout.manager().name);
            self.manager_up = self.is_manager;
        }
        let dialled: BTreeSet<String> = layout
            .node(&self.name)
            .into_iter()
            .flat_map(|own| layout.dials(own))
            .map(|other| other.name.clone())
            .collect();
        self.waits_for.retain(|name| layout.node(name).is_some());
        self.pending.retain(|name| layout.node(name).is_some());
        self.told.retain(|name| layout.node(name).is_some());
        if !self.reported {
            let new = |name: &&String| !self.nodes.contains(*name);
            self.waits_for.extend(dialled.iter().filter(new).cloned());
        }
        if self.is_manager && !self.started {
            let new = |name: &&String| !self.nodes.contains(*name);
            let names: Vec<String> = layout.nodes().map(|node| node.name.clone()).collect();
            self.pending.extend(names.iter().filter(new).cloned());
        }
        self.nodes = layout.nodes().map(|node| node.name.clone()).collect();
        let mut effects = self.check();
        effects.extend(self.decide());
        effects
    }

    /// On the manager: a node reported that it is fully connected. Those of ours report until they are answered; of others
    /// (`ours` is false) those are answered that do not know and have not been told.
    pub fn report(&mut self, name: &str, resending: bool, ours: bool) -> Vec<ReadinessEffect> {
        if !self.is_manager || !self.nodes.contains(name) {
            return Vec::new();
        }
        self.pending.remove(name);
        let known_before = self.started;
        let mut effects = Vec::new();
        if resending && !self.started {
            self.started = true;
            effects.push(ReadinessEffect::Started { announce: false });
        }
        effects.extend(self.decide());
        let answer = if ours {
            known_before || resending
        } else {
            known_before && !resending && !self.told.contains(name)
        };
        if answer && self.started {
            self.told.insert(name.to_owned());
            effects.push(ReadinessEffect::Answer {
                name: name.to_owned(),
            });
        }
        effects
    }

    /// On the manager: the cluster has started once everybody has reported.
    fn decide(&mut self) -> Option<ReadinessEffect> {
        if self.started || !self.is_complete() {
            return None;
        }
        self.started = true;
        self.told.clone_from(&self.up);
        Some(ReadinessEffect::Started { announce: true })
    }

    /// The manager announced that the cluster has started.
    pub fn announced(&mut self) -> Option<ReadinessEffect> {
        self.answered = true;
        let first = !self.started;
        self.started = true;
        first.then_some(ReadinessEffect::Started { announce: false })
    }

    fn check(&mut self) -> Vec<ReadinessEffect> {
        if self.reported || !self.manager_up || !self.waits_for.is_empty() {
            return Vec::new();
        }
        self.reported = true;
        let mut effects = vec![ReadinessEffect::FullyConnected {
            resending: self.started,
        }];
        if self.is_manager {
            self.pending.remove(&self.name);
            effects.extend(self.decide());
        }
        effects
    }
}

#[cfg(test)]
mod simulation;

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(extra: &str) -> Layout {
        let text = format!("[node.manager]\nrole = \"manager\"\nlisten = [\"mem://m\"]\n{extra}");
        Layout::parse(&text, "lab.toml").unwrap()
    }

    const CLUSTER: &str = "[node.logger-1]\nrole = \"logger\"\nlisten = [\"mem://l\"]\n\
                           [node.proxy-1]\nrole = \"proxy\"\nlisten = [\"mem://p\"]\n[node.worker-1]\nrole = \"worker\"\n";

    const REPORT: ReadinessEffect = ReadinessEffect::FullyConnected { resending: false };
    const STARTED: ReadinessEffect = ReadinessEffect::Started { announce: true };
    const HEARD: ReadinessEffect = ReadinessEffect::Started { announce: false };

    #[test]
    fn a_manager_alone_is_ready_at_once() {
        let mut manager = Readiness::new(&layout(""), "manager");
        assert_eq!(manager.begin(), [REPORT, STARTED]);
        assert_eq!(manager.begin(), []);
    }

    #[test]
    fn a_worker_reports_when_it_has_all_it_dials_and_the_manager() {
        let mut worker = Readiness::new(&layout(CLUSTER), "worker-1");
        assert_eq!(worker.begin(), []);
        assert_eq!(
            worker.waiting_for().collect::<Vec<_>>(),
            ["logger-1", "manager", "proxy-1"]
        );
        assert_eq!(worker.node_up("manager", true), []);
        assert_eq!(worker.node_up("logger-1", true), []);
        assert_eq!(worker.node_up("proxy-1", true), [REPORT]);
        assert_eq!(worker.node_up("proxy-1", true), []);
        assert_eq!(worker.announced(), Some(HEARD));
        assert_eq!(worker.announced(), None);
    }

    #[test]
    fn a_logger_reports_when_the_manager_can_hear_it() {
        let mut logger = Readiness::new(&layout(CLUSTER), "logger-1");
        assert_eq!(logger.begin(), []);
        assert_eq!(logger.node_up("worker-1", true), []);
        assert_eq!(logger.node_up("manager", true), [REPORT]);
    }

    #[test]
    fn the_manager_announces_once_when_all_have_reported() {
        let mut manager = Readiness::new(&layout(CLUSTER), "manager");
        assert_eq!(manager.begin(), []);
        assert_eq!(manager.report("worker-1", false, true), []);
        assert_eq!(manager.node_up("logger-1", true), [REPORT]);
        assert_eq!(manager.pending().collect::<Vec<_>>(), ["proxy-1"]);
        assert_eq!(manager.report("proxy-1", false, true), [STARTED]);
    }

    #[test]
    fn a_restarted_manager_learns_that_the_cluster_had_started() {
        let mut worker = Readiness::new(&layout(CLUSTER), "worker-1");
        ["logger-1", "proxy-1", "manager"]
            .iter()
            .for_each(|name| drop(worker.node_up(name, true)));
        worker.announced();
        worker.node_down("manager");
        assert_eq!(
            worker.node_up("manager", true),
            [ReadinessEffect::FullyConnected { resending: true }]
        );
        let mut manager = Readiness::new(&layout(CLUSTER), "manager");
        manager.begin();
        assert_eq!(
            manager.report("worker-1", true, true),
            [HEARD, answer("worker-1")]
        );
        assert!(!manager.is_complete(), "others have not found it yet");
        manager.node_up("logger-1", true);
        assert_eq!(manager.report("proxy-1", true, true), [answer("proxy-1")]);
        assert!(manager.is_complete());
    }

    fn answer(name: &str) -> ReadinessEffect {
        ReadinessEffect::Answer {
            name: name.to_owned(),
        }
    }

    #[test]
    fn a_node_reports_until_the_manager_of_now_has_answered() {
        let again = |resending| Some(ReadinessEffect::Remind { resending });
        let mut worker = Readiness::new(&layout(CLUSTER), "worker-1");
        worker.node_up("manager", true);
        worker.node_up("logger-1", true);
        assert_eq!(worker.remind(false), None);
        worker.node_up("proxy-1", true);
        assert_eq!(worker.remind(false), again(false));
        worker.node_down("manager");
        assert_eq!(worker.remind(false), None);
        worker.node_up("manager", true);
        assert_eq!(worker.remind(false), again(false));
        worker.announced();
        assert_eq!(worker.remind(false), None);
        worker.node_down("manager");
        worker.node_up("manager", true);
        assert_eq!(worker.remind(false), again(true));
        assert_eq!(worker.announced(), None);
        assert_eq!(worker.remind(false), None);
        assert_eq!(worker.remind(true), again(true));
    }

    #[test]
    fn a_node_that_reports_late_is_answered_and_one_of_zeek_s_once_per_connection() {
        let mut manager = Readiness::new(&layout(CLUSTER), "manager");
        manager.begin();
        for name in ["logger-1", "worker-1", "proxy-1"] {
            manager.node_up(name, true);
        }
        manager.report("worker-1", false, false);
        assert_eq!(manager.report("proxy-1", false, true), [STARTED]);
        assert_eq!(manager.report("proxy-1", false, true), [answer("proxy-1")]);
        assert_eq!(manager.report("worker-1", false, false), []);
        // The worker is started again.
        manager.node_down("worker-1");
        manager.node_up("worker-1", true);
        assert_eq!(
            manager.report("worker-1", false, false),
            [answer("worker-1")]
        );
        assert_eq!(manager.report("worker-1", false, false), []);
        assert_eq!(manager.report("worker-1", true, false), []);
    }

    #[test]
    fn nodes_that_leave_the_layout_are_not_waited_for_and_those_that_come_are() {
        let without_proxy = layout(&CLUSTER.replace("proxy-1", "proxy-2"));
        let mut worker = Readiness::new(&layout(CLUSTER), "worker-1");
        worker.node_up("manager", true);
        worker.node_up("logger-1", true);
        assert_eq!(worker.replace_nodes(&without_proxy), []);
        assert_eq!(worker.waiting_for().collect::<Vec<_>>(), ["proxy-2"]);
        assert_eq!(worker.node_up("proxy-2", true), [REPORT]);
        // Who has all it waited for waits for nobody who comes later.
        assert_eq!(worker.replace_nodes(&layout(CLUSTER)), []);
        assert_eq!(worker.waiting_for().count(), 0);

        let mut manager = Readiness::new(&layout(CLUSTER), "manager");
        manager.begin();
        manager.node_up("logger-1", true);
        manager.report("worker-1", false, true);
        assert_eq!(manager.replace_nodes(&without_proxy), []);
        assert_eq!(manager.pending().collect::<Vec<_>>(), ["proxy-2"]);
        let alone = "[node.logger-1]\nrole = \"logger\"\nlisten = [\"mem://l\"]\n";
        assert_eq!(manager.replace_nodes(&layout(alone)), [STARTED]);
        assert_eq!(manager.replace_nodes(&layout(CLUSTER)), []);
        assert!(manager.is_complete());
    }

    #[test]
    fn a_node_that_cannot_report_counts_when_it_is_up() {
        let mut manager = Readiness::new(&layout(CLUSTER), "manager");
        manager.begin();
        assert_eq!(manager.node_up("worker-1", false), []);
        assert_eq!(manager.node_up("proxy-1", true), []);
        assert_eq!(manager.node_up("logger-1", false), [REPORT]);
        assert_eq!(manager.pending().collect::<Vec<_>>(), ["proxy-1"]);
        assert_eq!(manager.report("proxy-1", false, true), [STARTED]);
    }

    #[test]
    fn reports_of_strangers_do_not_count() {
        let mut manager = Readiness::new(&layout(CLUSTER), "manager");
        manager.begin();
        assert_eq!(manager.report("worker-9", true, true), []);
        assert!(!manager.is_started());
    }
}
