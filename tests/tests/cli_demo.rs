//! `demo`: a whole cluster of processes, checked against what plain counting of the inputs gives.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use broker_tests::{Done, Running, broker};

const CONN: &str = include_str!("../../broker-cli/samples/conn.log");
const DNS: &str = include_str!("../../broker-cli/samples/dns.log");
const WEIRD: &str = include_str!("data/weird.log");
const CONN_JSON: &str = include_str!("data/conn-json.log");

/// A demo with its results in a directory of its own.
struct Demo {
    directory: tempfile::TempDir,
}

impl Demo {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().expect("a directory"),
        }
    }

    fn input(&self, name: &str, content: &str) -> PathBuf {
        let path = self.directory.path().join("in").join(name);
        std::fs::create_dir_all(path.parent().expect("has one"))
            .and_then(|()| std::fs::write(&path, content))
            .expect("written");
        path
    }

    fn out(&self) -> PathBuf {
        self.directory.path().join("out")
    }

    fn run(&self, inputs: &[&Path], args: &[&str]) -> Done {
        let mut command = broker();
        command
            .arg("demo")
            .arg("--json")
            .arg("--out")
            .arg(self.out())
            .args(args);
        for input in inputs {
            command.arg("--input").arg(input);
        }
        Done::of(&mut command)
    }

    /// Every data line of `path` that a node has written, sorted.
    fn lines(&self, file: &str) -> Vec<String> {
        let mut lines = Vec::new();
        for node in std::fs::read_dir(self.out()).expect("the output") {
            let log = node.expect("an entry").path().join(file);
            if let Ok(text) = std::fs::read_to_string(log) {
                lines.extend(
                    text.lines()
                        .filter(|line| !line.starts_with('#'))
                        .map(str::to_owned),
                );
            }
        }
        lines.sort();
        lines
    }
}

fn summary(done: Done) -> serde_json::Value {
    let output = done.ok();
    assert_eq!(output.lines().count(), 1, "{output}");
    serde_json::from_str(&output).expect("json")
}

/// The data lines of a TSV log, sorted.
fn records(log: &str) -> Vec<String> {
    let mut lines: Vec<_> = log
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(str::to_owned)
        .collect();
    lines.sort();
    lines
}

/// The hosts in the third column, which is `id.orig_h` in conn.log and dns.log.
fn hosts(log: &str) -> impl Iterator<Item = &str> {
    log.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split('\t').nth(2))
}

/// FNV-1a, 32 bit.
fn fnv(bytes: &[u8]) -> u32 {
    bytes.iter().fold(2_166_136_261, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(16_777_619)
    })
}

/// The proxy that rendezvous hashing names for a host (reference zeek-cluster 3.4), written down once more.
fn proxy_of(host: &str, proxies: &[String]) -> String {
    let mut key = 11i32.to_le_bytes().to_vec();
    key.extend(host.as_bytes());
    key.push(0);
    let digest = fnv(&key) & 0x7fff_ffff;
    let weight = |site: u32| {
        let inner = 1_103_515_245u32.wrapping_mul(site).wrapping_add(12_345);
        1_103_515_245u32
            .wrapping_mul(inner ^ digest)
            .wrapping_add(12_345)
            % (1 << 31)
    };
    let site = |proxy: &String| fnv(format!("{proxy}.0").as_bytes());
    proxies
        .iter()
        .max_by_key(|proxy| (weight(site(proxy)), site(proxy)))
        .expect("a proxy")
        .clone()
}

fn expected_keys(hosts: &BTreeSet<&str>, proxies: u16) -> serde_json::Value {
    let proxies: Vec<_> = (1..=proxies)
        .map(|number| format!("proxy-{number}"))
        .collect();
    let mut keys: BTreeMap<String, u64> = proxies.iter().map(|proxy| (proxy.clone(), 0)).collect();
    for host in hosts {
        *keys.entry(proxy_of(host, &proxies)).or_default() += 1;
    }
    serde_json::to_value(keys).expect("json")
}

/// JSON lines as values, sorted: the order of members and the digits of a number do not matter.
fn values(text: &str) -> Vec<String> {
    fn plain(value: &serde_json::Value) -> serde_json::Value {
        match value {
            serde_json::Value::Number(number) => {
                format!("{:?}", number.as_f64().expect("a number")).into()
            }
            serde_json::Value::Array(values) => values.iter().map(plain).collect(),
            serde_json::Value::Object(members) => {
                let sorted: BTreeMap<_, _> = members
                    .iter()
                    .map(|(name, value)| (name.clone(), plain(value)))
                    .collect();
                serde_json::to_value(sorted).expect("json")
            }
            other => other.clone(),
        }
    }
    let lines = text.lines().filter(|line| !line.is_empty());
    let mut values: Vec<_> = lines
        .map(|line| plain(&serde_json::from_str(line).expect("json")).to_string())
        .collect();
    values.sort();
    values
}

#[test]
fn nodes_that_talk_over_the_native_protocol_lose_nothing_either() {
    let demo = Demo::new();
    let inputs = [demo.input("conn.log", CONN), demo.input("dns.log", DNS)];
    let done = demo.run(&[&inputs[0], &inputs[1]], &["--transport", "broker"]);
    let summary = summary(done);
    for (key, expected) in [
        ("records_written", "records_in"),
        ("events_received", "events_published"),
    ] {
        assert_eq!(summary[key], summary[expected], "{summary}");
    }
    assert_eq!(summary["dropped"], 0, "{summary}");
    assert_eq!(demo.lines("conn.log"), records(CONN));
    assert_eq!(demo.lines("dns.log"), records(DNS));
    let all: BTreeSet<_> = hosts(CONN).chain(hosts(DNS)).collect();
    assert_eq!(summary["proxy_keys"], expected_keys(&all, 2));
    assert_eq!(summary["store_entries"], all.len());
    let layout = std::fs::read_to_string(demo.out().join("demo.toml"));
    assert!(layout.is_ok_and(|text| text.contains("broker://")));
}

#[test]
fn every_record_is_written_as_it_was_read_and_every_host_counted_where_the_formula_says() {
    let demo = Demo::new();
    let (conn, dns) = (demo.input("conn.log", CONN), demo.input("dns.log", DNS));
    let summary = summary(demo.run(&[&conn, &dns], &[]));
    let all: Vec<_> = hosts(CONN).chain(hosts(DNS)).collect();
    let distinct: BTreeSet<_> = all.iter().copied().collect();
    let mut keys: Vec<_> = summary
        .as_object()
        .expect("an object")
        .keys()
        .map(String::as_str)
        .collect();
    keys.sort_unstable();
    assert_eq!(
        keys.join(" "),
        "dropped duplicates events_published events_received lines_skipped nodes proxy_keys records_in records_written seconds store_entries"
    );
    assert_eq!(summary["nodes"], 7);
    assert_eq!(summary["records_in"], all.len());
    assert_eq!(summary["records_written"], all.len());
    assert_eq!(summary["events_published"], all.len());
    assert_eq!(summary["events_received"], all.len());
    assert_eq!(summary["store_entries"], distinct.len());
    assert_eq!(summary["proxy_keys"], expected_keys(&distinct, 2));
    for zero in ["lines_skipped", "duplicates", "dropped"] {
        assert_eq!(summary[zero], 0, "{zero}");
    }
    assert!(
        summary["seconds"]
            .as_f64()
            .is_some_and(|seconds| seconds > 0.0)
    );
    assert_eq!(demo.lines("conn.log"), records(CONN));
    assert_eq!(demo.lines("dns.log"), records(DNS));
    for logger in ["logger-1", "logger-2"] {
        let text = std::fs::read_to_string(demo.out().join(logger).join("conn.log"))
            .expect("both loggers write");
        assert!(
            text.starts_with("#separator \\x09\n")
                && text
                    .lines()
                    .last()
                    .is_some_and(|line| line.starts_with("#close\t")),
            "{text}"
        );
    }
}

#[test]
fn the_sample_of_the_program_is_used_without_an_input_and_the_table_names_the_directory() {
    let demo = Demo::new();
    let done = Done::of(broker().arg("demo").arg("--out").arg(demo.out()));
    let stderr = done.stderr.clone();
    let table = done.ok();
    let expected = records(CONN).len() + records(DNS).len();
    let figure = |name: &str| {
        let line = table
            .lines()
            .find(|line| line.trim_start().starts_with(name))
            .unwrap_or_else(|| panic!("{name} is missing in\n{table}"));
        line.split_whitespace()
            .next_back()
            .map(str::to_owned)
            .unwrap_or_default()
    };
    assert_eq!(figure("records read"), expected.to_string());
    assert_eq!(figure("records written"), expected.to_string());
    assert!(
        stderr.contains(&demo.out().display().to_string()),
        "{stderr}"
    );
}

#[test]
fn bad_lines_are_reported_with_file_and_line_and_skipped() {
    let demo = Demo::new();
    let mut lines: Vec<&str> = CONN.lines().collect();
    lines.insert(20, "not a record");
    lines.insert(30, "1379288668.0\ttoo\tfew");
    let conn = demo.input("conn.log", &format!("{}\n", lines.join("\n")));
    let done = demo.run(&[&conn], &["--workers", "3", "--proxies", "3"]);
    for line in [21, 31] {
        let place = format!("{}:{line}: ", conn.display());
        assert_eq!(
            done.stderr.matches(&place).count(),
            1,
            "{place} in\n{}",
            done.stderr
        );
    }
    let summary = summary(done);
    assert_eq!(summary["lines_skipped"], 2);
    assert_eq!(summary["nodes"], 9);
    assert_eq!(summary["records_in"], records(CONN).len());
    assert_eq!(summary["records_written"], records(CONN).len());
    assert_eq!(
        summary["proxy_keys"],
        expected_keys(&hosts(CONN).collect(), 3)
    );
    assert_eq!(demo.lines("conn.log"), records(CONN));
}

#[test]
fn a_record_that_is_too_long_to_be_sent_is_a_bad_line() {
    let demo = Demo::new();
    let header = "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n\
                  #path\tlong\n#fields\tmsg\tnum\n#types\tstring\tcount\n";
    let long = "x".repeat(17 << 20);
    let input = demo.input(
        "long.log",
        &format!("{header}first\t1\n{long}\t2\nlast\t3\n"),
    );
    let done = demo.run(&[&input], &[]);
    let place = format!("{}:9: a record of 178", input.display());
    assert_eq!(done.stderr.matches(&place).count(), 1, "{}", done.stderr);
    let summary = summary(done);
    assert_eq!(summary["lines_skipped"], 1);
    assert_eq!(summary["records_written"], 2);
}

#[test]
fn logs_of_one_path_in_both_formats_go_to_files_of_their_own() {
    let demo = Demo::new();
    let (tsv, json) = (
        demo.input("conn.log", CONN),
        demo.input("json/conn.log", CONN_JSON),
    );
    let weird = demo.input("weird.log", WEIRD);
    let summary = summary(demo.run(
        &[&tsv, &json, &weird],
        &["--workers", "1", "--loggers", "1", "--proxies", "1"],
    ));
    let json_records = CONN_JSON.lines().filter(|line| !line.is_empty()).count();
    assert_eq!(summary["nodes"], 4);
    assert_eq!(
        summary["records_in"],
        records(CONN).len() + json_records + records(WEIRD).len()
    );
    assert_eq!(summary["records_written"], summary["records_in"]);
    assert_eq!(demo.lines("conn.log"), records(CONN));
    assert_eq!(demo.lines("weird.log"), records(WEIRD));
    assert_eq!(
        values(&demo.lines("conn-2.log").join("\n")),
        values(CONN_JSON)
    );
}

#[test]
fn without_loggers_the_manager_writes_the_logs() {
    let demo = Demo::new();
    let dns = demo.input("dns.log", DNS);
    let summary = summary(demo.run(&[&dns], &["--loggers", "0"]));
    assert_eq!(summary["nodes"], 5);
    assert_eq!(summary["records_written"], records(DNS).len());
    assert_eq!(demo.lines("dns.log"), records(DNS));
}

#[test]
fn a_logger_and_a_proxy_may_be_killed_in_the_middle() {
    let demo = Demo::new();
    let (conn, dns) = (demo.input("conn.log", CONN), demo.input("dns.log", DNS));
    let done = demo.run(&[&conn, &dns], &["--chaos"]);
    for victim in ["logger-1", "proxy-1"] {
        assert!(
            done.stderr.contains(&format!("{victim} ended")),
            "{}",
            done.stderr
        );
    }
    let summary = summary(done);
    let all = hosts(CONN).chain(hosts(DNS)).count();
    assert_eq!(summary["records_in"], all);
    assert_eq!(summary["records_written"], all);
    assert_eq!(summary["events_published"], summary["events_received"]);
    assert_eq!(summary["dropped"], 0);
    assert_eq!(
        summary["store_entries"],
        hosts(CONN).chain(hosts(DNS)).collect::<BTreeSet<_>>().len()
    );
    let mut written = demo.lines("conn.log");
    written.extend(demo.lines("dns.log"));
    assert_eq!(
        written.len(),
        all + usize::try_from(summary["duplicates"].as_u64().expect("a number")).expect("small")
    );
    for (file, log) in [("conn.log", CONN), ("dns.log", DNS)] {
        let distinct: BTreeSet<_> = demo.lines(file).into_iter().collect();
        assert_eq!(distinct, records(log).into_iter().collect(), "{file}");
    }
}

#[test]
fn an_input_that_is_no_log_is_misuse_before_anything_is_started() {
    let demo = Demo::new();
    let broken = demo.input("broken.log", "#separator \\x09\n#fields\tts\n1.0\n");
    let missing = demo.directory.path().join("missing.log");
    for input in [broken, missing] {
        let line = demo.run(&[&input], &[]).failed(2);
        assert!(line.contains(&input.display().to_string()), "{line}");
    }
    assert!(!demo.out().exists());
}

#[test]
fn a_second_demo_in_the_same_directory_replaces_the_first() {
    let demo = Demo::new();
    let dns = demo.input("dns.log", DNS);
    for _ in 0..2 {
        let summary = summary(demo.run(
            &[&dns],
            &["--workers", "1", "--loggers", "1", "--proxies", "1"],
        ));
        assert_eq!(summary["records_written"], records(DNS).len());
        assert_eq!(demo.lines("dns.log"), records(DNS));
    }
}

#[test]
fn a_demo_that_is_stopped_drains_its_nodes_and_fails() {
    let demo = Demo::new();
    let header: String = CONN
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| format!("{line}\n"))
        .collect();
    let many = demo.input(
        "conn.log",
        &format!(
            "{header}{}\n",
            vec![records(CONN).join("\n"); 100].join("\n")
        ),
    );
    let mut command = broker();
    command
        .arg("demo")
        .arg("--chaos")
        .arg("--out")
        .arg(demo.out())
        .arg("--input")
        .arg(&many);
    let mut running = Running::start(&mut command);
    // By then all nodes are up and half of the work is done.
    running.stderr_line("is started again");
    running.signal("TERM");
    let done = running.wait();
    assert_eq!(
        (done.code, done.stdout.as_str()),
        (Some(1), ""),
        "{}",
        done.stderr
    );
    assert!(done.stderr.contains("stopped"), "{}", done.stderr);
}
