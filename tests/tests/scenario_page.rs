//! The page of scenarios is right: its commands are run in its order, by the real program, and print what it says.
//!
//! A block of the page is a file (`toml file=NAME`, or `text`), commands to run to their end (`console`), or what happens in a terminal
//! that stays open (`console terminal=N`): a command that is started, lines that have to come, or `^C`. Each section of
//! the page begins in an empty directory.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use broker_tests::{Running, free_ports, program_path};

const PAGE: &str = include_str!("../../docs/scenarios.md");

/// A block between fences: what stands behind the first one, and its lines.
struct Block<'a> {
    info: &'a str,
    lines: Vec<String>,
}

#[test]
fn two_nodes_connect() {
    follow("Two nodes connect");
}

#[test]
fn events() {
    follow("Events");
}

#[test]
fn a_cluster() {
    follow("A cluster");
}

#[test]
fn remote_logs() {
    follow("Remote logs");
}

#[test]
fn a_store() {
    follow("A store");
}

#[test]
fn a_table() {
    follow("A table");
}

#[test]
fn no_section_of_the_page_is_left_out() {
    let headings: Vec<&str> = PAGE
        .split("\n## ")
        .skip(1)
        .filter_map(|s| s.lines().next())
        .collect();
    assert_eq!(
        headings,
        [
            "Two nodes connect",
            "Events",
            "A cluster",
            "Remote logs",
            "A store",
            "A table"
        ]
    );
}

fn follow(section: &str) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut ports = Ports::default();
    let mut terminals = BTreeMap::new();
    for block in blocks(section) {
        let lines: Vec<String> = block.lines.iter().map(|line| ports.replace(line)).collect();
        let mut info = block.info.split_whitespace();
        match (
            info.next(),
            info.next().and_then(|word| word.split_once('=')),
        ) {
            (Some(_), Some(("file", name))) => {
                let text = lines.join("\n") + "\n";
                std::fs::write(directory.path().join(name), text).expect("written");
            }
            (Some("console"), Some(("terminal", name))) => {
                for line in &lines {
                    in_terminal(directory.path(), &mut terminals, name, line);
                }
            }
            (Some("console"), None) => to_their_end(directory.path(), &lines),
            _ => panic!("a block of {:?}", block.info),
        }
    }
}

/// Carries out one line of a terminal that stays open.
fn in_terminal(
    directory: &Path,
    terminals: &mut BTreeMap<String, Running>,
    name: &str,
    line: &str,
) {
    if let Some(command) = line.strip_prefix("$ ") {
        let running = Running::start(&mut shell(directory, &format!("exec {command} 2>&1")));
        if let Some(before) = terminals.insert(name.to_owned(), running) {
            assert_eq!(
                before.wait().code,
                Some(0),
                "what ran in terminal {name} before"
            );
        }
    } else if line == "^C" {
        let running = terminals.remove(name).expect("a command runs there");
        running.signal("INT");
        assert_eq!(
            running.wait_open().code,
            Some(0),
            "what ran in terminal {name}"
        );
    } else {
        let running = terminals.get_mut(name).expect("a command runs there");
        while !matches(line, &running.line()) {}
    }
}

/// Runs commands one after the other; each prints the lines below it.
fn to_their_end(directory: &Path, lines: &[String]) {
    let mut rest = lines.iter().peekable();
    while let Some(line) = rest.next() {
        let command = line.strip_prefix("$ ").expect("a command");
        let output = broker_tests::Done::of(&mut shell(directory, command)).ok();
        let mut printed = output.lines();
        while let Some(expected) = rest.next_if(|line| !line.starts_with("$ ")) {
            let got = printed.next().unwrap_or("(nothing more)");
            assert!(
                matches(expected, got),
                "{command}\nexpected {expected}\ngot {got}"
            );
        }
        assert_eq!(printed.next(), None, "{command} prints more");
    }
}

fn shell(directory: &Path, command: &str) -> Command {
    let program = program_path().parent().expect("it is in a directory");
    let path = std::env::var("PATH").unwrap_or_default();
    let mut shell = Command::new("sh");
    shell
        .args(["-c", command])
        .current_dir(directory)
        .env("PATH", format!("{}:{path}", program.display()))
        .env_remove("BROKER_LOG")
        .env_remove("CLUSTER_NODE");
    shell
}

/// Whether a line is as the page says, where `...` at either end stands for anything.
fn matches(expected: &str, got: &str) -> bool {
    match (expected.strip_prefix("... "), expected.strip_suffix(" ...")) {
        (None, None) => got == expected,
        (Some(end), None) => got.ends_with(end),
        (None, Some(start)) => got.starts_with(start),
        (Some(_), Some(_)) => got.contains(&expected[3..expected.len() - 3]),
    }
}

/// The blocks of a section.
fn blocks(section: &str) -> Vec<Block<'static>> {
    let (_, text) = PAGE
        .split_once(&format!("\n## {section}\n"))
        .expect("the section");
    let text = text.split("\n## ").next().unwrap_or(text);
    let mut blocks: Vec<Block<'static>> = Vec::new();
    let mut open = false;
    for line in text.lines() {
        match (line.strip_prefix("```"), open) {
            (Some(_), true) => open = false,
            (Some(info), false) => {
                open = true;
                let lines = Vec::new();
                blocks.push(Block { info, lines });
            }
            (None, true) => blocks.last_mut().expect("open").lines.push(line.to_owned()),
            (None, false) => {}
        }
    }
    assert!(!blocks.is_empty() && !open);
    blocks
}

/// Ports that are free, instead of those of the page.
#[derive(Default)]
struct Ports(BTreeMap<String, String>);

impl Ports {
    fn replace(&mut self, line: &str) -> String {
        const HOST: &str = "127.0.0.1:";
        let mut parts = line.split(HOST);
        let mut replaced = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let digits = part.bytes().take_while(u8::is_ascii_digit).count();
            let (port, rest) = part.split_at(digits);
            let free = self
                .0
                .entry(port.to_owned())
                .or_insert_with(|| free_ports(1)[0].to_string());
            replaced.push_str(&format!("{HOST}{free}{rest}"));
        }
        replaced
    }
}
