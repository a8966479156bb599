//! What was learned about every node, as a table and as JSON.

use std::collections::{BTreeMap, BTreeSet};

use broker_cluster::{Layout, NodeSpec};
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

use super::super::board::{Board, NodeState};
use super::{Answer, unasked};
use crate::status;

/// Every node of a cluster.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    cluster: String,
    supervisor: Option<Supervisor>,
    nodes: Vec<Node>,
    not_up: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Supervisor {
    pid: u32,
    uptime_s: f64,
}

#[derive(Debug, Serialize)]
struct Node {
    name: String,
    role: &'static str,
    host: Option<String>,
    state: State,
    /// How that is known, or why it is not.
    how: String,
    pid: Option<u32>,
    uptime_s: Option<f64>,
    restarts: Option<u64>,
    /// How its process ended the last time, if it ever did under this supervisor.
    last_end: Option<String>,
    metrics: Option<String>,
    peers: Option<usize>,
    peers_expected: usize,
    waiting_for: Option<Vec<String>>,
    stores: Option<Vec<Store>>,
    logs: Option<BTreeMap<String, Log>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Up,
    Starting,
    Down,
    Unknown,
}

impl State {
    const fn word(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Starting => "starting",
            Self::Down => "down",
            Self::Unknown => "unknown",
        }
    }
}

#[derive(Debug, Serialize)]
struct Store {
    name: String,
    role: String,
    entries: u64,
    lag: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Log {
    #[serde(rename = "in")]
    received: u64,
    written: u64,
    dropped: u64,
}

impl Report {
    pub(super) fn new(
        layout: &Layout,
        board: Option<&Board>,
        answers: &BTreeMap<String, Answer>,
        is_here: impl Fn(&NodeSpec) -> bool,
    ) -> Self {
        let seen: BTreeSet<&str> = answers
            .values()
            .filter_map(|answer| match answer {
                Answer::Status(status) => Some(connected(status)),
                Answer::Silent(_) => None,
            })
            .flatten()
            .collect();
        let nodes: Vec<Node> = layout
            .nodes()
            .map(|node| {
                let state = board.and_then(|board| board.nodes.get(&node.name));
                let answer = answers.get(&node.name);
                let (verdict, how) = judge(&Evidence {
                    answer,
                    supervised: state,
                    seen: seen.contains(node.name.as_str()),
                    neighbours: expected(layout, node)
                        .any(|other| matches!(answers.get(&other.name), Some(Answer::Status(_)))),
                    supposed_here: board.is_some() && is_here(node),
                    unasked: || unasked(node, is_here(node)),
                });
                Node::new(layout, node, verdict, how, state, answer)
            })
            .collect();
        Self {
            cluster: layout.name().to_owned(),
            supervisor: board.map(|board| Supervisor {
                pid: board.pid,
                uptime_s: board.uptime_s,
            }),
            not_up: nodes
                .iter()
                .filter(|node| node.state != State::Up)
                .map(|node| node.name.clone())
                .collect(),
            nodes,
        }
    }

    /// The nodes that are not up.
    pub(super) fn not_up(&self) -> &[String] {
        &self.not_up
    }

    /// All of it for people.
    pub(super) fn table(&self) -> String {
        let supervisor = self.supervisor.as_ref().map_or_else(
            || "none of its nodes is under `broker cluster up` here".to_owned(),
            |up| format!("supervisor {} up {}", up.pid, span(up.uptime_s)),
        );
        let mut text = format!("{}  {supervisor}\n", self.cluster);
        let mut table = Table::new();
        table.load_style(NOTHING).set_header([
            "node",
            "role",
            "state",
            "pid",
            "up",
            "peers",
            "stores",
            "log records",
            "waiting for",
        ]);
        for node in &self.nodes {
            table.add_row(node.cells());
        }
        for (index, column) in table.column_iter_mut().enumerate() {
            column.set_padding((0, 2));
            if (3..6).contains(&index) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        for line in table.lines() {
            text.push_str(line.trim_end());
            text.push('\n');
        }
        for node in &self.nodes {
            if !matches!(node.state, State::Up) {
                text.push_str(&format!("{}: {}\n", node.name, node.how));
            }
            if let (Some(restarts @ 1..), Some(end)) = (node.restarts, &node.last_end) {
                let times = match restarts {
                    1 => "once".to_owned(),
                    more => format!("{more} times"),
                };
                text.push_str(&format!(
                    "{}: started again {times}, after it ended with {end}\n",
                    node.name
                ));
            }
        }
        text
    }
}

impl Node {
    fn new(
        layout: &Layout,
        node: &NodeSpec,
        state: State,
        how: String,
        supervised: Option<&NodeState>,
        answer: Option<&Answer>,
    ) -> Self {
        let status = match answer {
            Some(Answer::Status(status)) => Some(status),
            _ => None,
        };
        let expected: Vec<&str> = expected(layout, node)
            .map(|other| other.name.as_str())
            .collect();
        let there: Option<BTreeSet<&str>> = status.map(|status| connected(status).collect());
        let is_there = |name: &&&str| there.as_ref().is_some_and(|there| there.contains(**name));
        Self {
            name: node.name.clone(),
            role: node.role.as_str(),
            host: node.host.clone(),
            state,
            how,
            pid: supervised.and_then(|state| state.pid),
            uptime_s: status
                .and_then(|status| status.uptime_s)
                .or_else(|| supervised.and_then(|state| state.uptime_s)),
            restarts: supervised.map(|state| state.restarts),
            last_end: supervised.and_then(|state| state.last_end.clone()),
            metrics: supervised.and_then(|state| state.metrics.clone()),
            peers: status.map(|_| expected.iter().filter(is_there).count()),
            peers_expected: expected.len(),
            waiting_for: status.map(|_| {
                let missing = expected.iter().filter(|name| !is_there(name));
                missing.map(|name| (*name).to_owned()).collect()
            }),
            stores: status.map(|status| stores(status)),
            logs: status.map(|status| logs(status)),
        }
    }

    fn cells(&self) -> Vec<String> {
        let dash = || "-".to_owned();
        let number = |value: Option<u64>| value.map_or_else(dash, |value| value.to_string());
        let stores = self.stores.as_ref().map_or_else(dash, |stores| {
            let one = |store: &Store| match store.lag {
                Some(lag) if lag > 0 => {
                    format!("{}:{}={} (-{lag})", store.name, store.role, store.entries)
                }
                _ => format!("{}:{}={}", store.name, store.role, store.entries),
            };
            or_none(stores.iter().map(one).collect())
        });
        let logs = self.logs.as_ref().map_or_else(dash, |logs| {
            let sum = |count: fn(&Log) -> u64| logs.values().map(count).sum::<u64>();
            if logs.is_empty() {
                return "none".to_owned();
            }
            format!(
                "{} in, {} written, {} dropped",
                sum(|log| log.received),
                sum(|log| log.written),
                sum(|log| log.dropped)
            )
        });
        vec![
            self.name.clone(),
            self.role.to_owned(),
            self.state.word().to_owned(),
            number(self.pid.map(u64::from)),
            self.uptime_s.map_or_else(dash, span),
            match self.peers {
                Some(peers) => format!("{peers}/{}", self.peers_expected),
                None => format!("-/{}", self.peers_expected),
            },
            stores,
            logs,
            self.waiting_for.clone().map_or_else(dash, or_none),
        ]
    }
}

/// The nodes that a node is to be connected to.
fn expected<'a>(layout: &'a Layout, node: &'a NodeSpec) -> impl Iterator<Item = &'a NodeSpec> {
    layout.nodes().filter(|other| {
        other.name != node.name
            && (node.role.dials().contains(&other.role) || other.role.dials().contains(&node.role))
    })
}

/// What there is to judge a node by.
struct Evidence<'a, F> {
    answer: Option<&'a Answer>,
    supervised: Option<&'a NodeState>,
    /// Another node is connected to it.
    seen: bool,
    /// Some node has answered that is to be connected to it.
    neighbours: bool,
    /// Its supervisor answered, and should know it.
    supposed_here: bool,
    /// Why it was not asked itself.
    unasked: F,
}

fn judge(evidence: &Evidence<'_, impl Fn() -> String>) -> (State, String) {
    let said = |text: &str| text.to_owned();
    match (evidence.answer, evidence.supervised) {
        (Some(Answer::Status(_)), _) => (State::Up, said("answers")),
        (
            _,
            Some(NodeState {
                pid: None,
                last_end,
                ..
            }),
        ) => {
            let how = last_end.clone().unwrap_or_else(|| said("not started yet"));
            (State::Down, format!("its process is not running: {how}"))
        }
        (_, Some(state)) if !state.ready => (State::Starting, said("its process is not ready yet")),
        (Some(Answer::Silent(why)), _) => (State::Down, why.clone()),
        (None, Some(_)) => (
            State::Down,
            said("its process runs and does not answer in time"),
        ),
        (None, None) if evidence.seen => (State::Up, said("seen")),
        (None, None) if evidence.supposed_here => {
            (State::Down, said("the supervisor does not know it"))
        }
        (None, None) => {
            let unasked = (evidence.unasked)();
            if evidence.neighbours {
                let how = format!("{unasked}, and no node is connected to it");
                (State::Down, how)
            } else {
                let how = format!("{unasked}, and no other node answers that could know");
                (State::Unknown, how)
            }
        }
    }
}

/// The names of the peers that a node is connected to.
fn connected(status: &status::Report) -> impl Iterator<Item = &str> {
    let peers = status.peers.iter().flatten();
    peers
        .filter(|peer| peer.state == "peered")
        .map(|peer| peer.name.as_str())
}

fn stores(status: &status::Report) -> Vec<Store> {
    let store = |store: &status::Store| Store {
        name: store.name.clone(),
        role: store.role.clone(),
        entries: store.entries.unwrap_or(0),
        lag: store.lag,
    };
    status.stores.iter().flatten().map(store).collect()
}

fn logs(status: &status::Report) -> BTreeMap<String, Log> {
    let log = |log: &status::Log| Log {
        received: log.received,
        written: log.written,
        dropped: log.dropped,
    };
    let named = |(name, counters): (&String, _)| (name.clone(), log(counters));
    status.logs.iter().flatten().map(named).collect()
}

/// A time as people say it: two units at most.
fn span(seconds: f64) -> String {
    // A negative or endless time does not come; `as` makes them 0 and very many.
    let seconds = seconds.round() as u64;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..86_400 => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

fn or_none(words: Vec<String>) -> String {
    if words.is_empty() {
        "none".to_owned()
    } else {
        words.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use broker_core::{NodeStatus, PeerStatus};

    use super::*;

    fn layout() -> Layout {
        Layout::parse(
            "[cluster]\nname = \"lab\"\n[node.manager]\nrole = \"manager\"\nlisten = [\"grpc://h:1\"]\n\
             [node.worker-1]\nrole = \"worker\"\n[node.worker-2]\nrole = \"worker\"\n",
            "lab.toml",
        )
        .expect("a layout")
    }

    fn manager_sees(worker: &str) -> BTreeMap<String, Answer> {
        let status = NodeStatus {
            name: "manager".to_owned(),
            peers: vec![PeerStatus {
                name: worker.to_owned(),
                state: "peered".to_owned(),
                ..PeerStatus::default()
            }],
            ..NodeStatus::default()
        };
        let report = status::Report::of_node(&status);
        [("manager".to_owned(), Answer::Status(Box::new(report)))].into()
    }

    #[test]
    fn who_listens_nowhere_is_known_by_others() {
        let report = Report::new(&layout(), None, &manager_sees("worker-1"), |_| true);
        assert_eq!(report.not_up(), ["worker-2"]);
        let manager = &report.nodes[0];
        assert_eq!((manager.peers, manager.peers_expected), (Some(1), 2));
        assert_eq!(
            manager.waiting_for.as_deref(),
            Some(&["worker-2".to_owned()][..])
        );
        let table = report.table();
        assert!(
            table.contains("1/2") && table.contains("worker-2: it listens nowhere"),
            "{table}"
        );
    }

    #[test]
    fn of_who_listens_for_peers_only_it_is_said_that_it_cannot_be_asked() {
        let layout = Layout::parse(
            "[node.manager]\nrole = \"manager\"\nlisten = [\"brokers://h:1\"]\n\
             [node.worker-1]\nrole = \"worker\"\nlisten = [\"grpc://h:2\"]\n[node.worker-2]\nrole = \"worker\"\n",
            "lab.toml",
        )
        .expect("a layout");
        let report = Report::new(&layout, None, &BTreeMap::new(), |_| true);
        let manager = &report.nodes[0];
        assert_eq!(manager.state, State::Unknown);
        assert_eq!(
            manager.how,
            "it listens at brokers://h:1 only, where it cannot be asked (that takes grpc:// or grpcs://), and no other node answers that could know"
        );
        // A worker that answers knows of the manager, and nothing of another worker.
        let status = NodeStatus {
            name: "worker-1".to_owned(),
            ..NodeStatus::default()
        };
        let answer = Answer::Status(Box::new(status::Report::of_node(&status)));
        let answers = [("worker-1".to_owned(), answer)].into();
        let report = Report::new(&layout, None, &answers, |_| true);
        let states: Vec<State> = report.nodes.iter().map(|node| node.state).collect();
        assert_eq!(states, [State::Down, State::Up, State::Unknown]);
    }

    #[test]
    fn times_are_told_in_two_units_at_most() {
        let told = [0.4, 119.0, 125.0, 7199.0, 7260.0, 100_000.0].map(span);
        assert_eq!(
            told,
            ["0 s", "119 s", "2 min", "119 min", "2 h 1 min", "1 d 3 h"]
        );
    }

    #[test]
    fn a_supervisor_knows_its_nodes() {
        let state = |pid, ready| NodeState {
            pid,
            ready,
            last_end: Some("signal: 9".to_owned()),
            ..NodeState::default()
        };
        let board = Board {
            nodes: [
                ("manager".to_owned(), state(None, false)),
                ("worker-1".to_owned(), state(Some(7), true)),
                ("worker-2".to_owned(), state(Some(8), false)),
            ]
            .into(),
            ..Board::default()
        };
        let silent = Answer::Silent("refused".to_owned());
        let answers = [("manager".to_owned(), silent)].into();
        let report = Report::new(&layout(), Some(&board), &answers, |_| true);
        let states: Vec<State> = report.nodes.iter().map(|node| node.state).collect();
        assert_eq!(states, [State::Down, State::Down, State::Starting]);
        assert!(report.nodes[1].how.contains("does not answer"));
        assert!(report.nodes[0].how.contains("signal: 9"));
    }

    #[test]
    fn without_anybody_to_ask_nothing_is_known() {
        let silent = Answer::Silent("refused".to_owned());
        let answers = [("manager".to_owned(), silent)].into();
        let report = Report::new(&layout(), None, &answers, |_| true);
        let states: Vec<State> = report.nodes.iter().map(|node| node.state).collect();
        assert_eq!(states, [State::Down, State::Unknown, State::Unknown]);
    }
}
