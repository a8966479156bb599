//! Rotation of log files by the real program: by size and by time, compressed, with a program of the user's, after a kill.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod logging_lab;

use broker_cluster::logging::audit_logs;
use broker_tests::PATIENCE;
use logging_lab::{Lab, files, gunzip, numbers, rows, until, write};

#[tokio::test(flavor = "multi_thread")]
async fn full_files_are_rotated_compressed_and_handed_to_a_program() {
    let archive = tempfile::tempdir().unwrap();
    let mut lab = Lab::new(
        1,
        &format!(
            "[logging]\nnode_streams = false\nrotation_size = \"20 kB\"\ngzip_level = 6\n\
             post_command = [\"cp\", \"{{file}}\", \"{}\"]\n",
            archive.path().display()
        ),
    );
    lab.start("manager");
    lab.start("logger-1");
    let worker = lab.worker().await;
    assert!(worker.cluster_started(PATIENCE).await);
    let mut log = numbers(&worker).await;
    for part in 0..20 {
        write(&mut log, part * 1000..(part + 1) * 1000).await;
        assert!(worker.logs().drained(PATIENCE).await);
    }
    worker.shutdown().await;
    until("a file is archived", || {
        lab.counter("logger-1", "log_files_archived ") > 0
    })
    .await;
    lab.stop_all();

    let dir = lab.logs("logger-1");
    let rotated = files(&dir, ".log.gz");
    assert!(rotated.len() >= 3, "{rotated:?}");
    assert!(
        files(&dir, ".log").is_empty(),
        "the last one is rotated at the end"
    );
    assert!(files(&dir, ".pending").is_empty());
    let mut all = Vec::new();
    for path in &rotated {
        let copy = archive.path().join(path.file_name().unwrap());
        assert_eq!(gunzip(path), gunzip(&copy));
        let text = gunzip(path);
        assert!(text.starts_with("#separator \\x09\n"), "{text}");
        assert!(
            text.lines().last().unwrap().starts_with("#close\t"),
            "{text}"
        );
        all.extend(rows(&text));
    }
    all.sort_unstable();
    assert!(all.into_iter().eq(0..20_000));
    let audit = audit_logs(&lab.path().join("logs")).unwrap();
    assert_eq!((audit.records(), audit.duplicates()), (20_000, 0));
}

/// Files in progress, rotated and compressed ones, what the program gets, the audit and what a kill leaves behind.
#[tokio::test(flavor = "multi_thread")]
async fn the_suffix_of_the_environment_is_that_of_all_files_and_may_change_between_two_starts() {
    let archive = tempfile::tempdir().unwrap();
    let mut lab = Lab::new(
        1,
        &format!(
            "[logging]\nnode_streams = false\nrotation_size = \"20 kB\"\nrotated_names = \"archiver\"\n\
             gzip_level = 6\npost_command = [\"cp\", \"{{file}}\", \"{}\"]\n",
            archive.path().display()
        ),
    );
    lab.start("manager");
    lab.start_with("logger-1", &[("ZEEK_LOG_SUFFIX", "zeek.txt")]);
    let worker = lab.worker().await;
    assert!(worker.cluster_started(PATIENCE).await);
    let mut log = numbers(&worker).await;
    for part in 0..10 {
        write(&mut log, part * 1000..(part + 1) * 1000).await;
        assert!(worker.logs().drained(PATIENCE).await);
    }
    let dir = lab.logs("logger-1");
    assert_eq!(files(&dir, "/test.zeek.txt").len(), 1);
    until("a file is archived", || {
        lab.counter("logger-1", "log_files_archived ") > 0
    })
    .await;
    write(&mut log, 10_000..10_500).await;
    lab.kill("logger-1");
    lab.start_with("logger-1", &[("ZEEK_LOG_SUFFIX", "")]);
    write(&mut log, 10_500..12_000).await;
    assert!(worker.logs().drained(PATIENCE).await);
    worker.shutdown().await;
    lab.stop_all();

    let mut all = Vec::new();
    for path in files(&dir, "__.zeek.txt.gz") {
        assert_eq!(
            gunzip(&path),
            gunzip(&archive.path().join(path.file_name().unwrap()))
        );
        all.extend(rows(&gunzip(&path)));
    }
    assert!(!all.is_empty());
    // What was open when it was killed stays as it is, under a name that is not in the way.
    let left = files(&dir, ".zeek.txt");
    assert!(left.len() <= 1, "{left:?}");
    for path in left {
        all.extend(rows(&std::fs::read_to_string(path).unwrap()));
    }
    for path in files(&dir, "__.log.gz") {
        all.extend(rows(&gunzip(&path)));
    }
    all.sort_unstable();
    assert!(all.into_iter().eq(0..12_000));
    let audit = audit_logs(&lab.path().join("logs")).unwrap();
    assert_eq!((audit.records(), audit.duplicates()), (12_000, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_end_at_full_seconds_and_a_program_that_fails_is_reported_and_holds_nothing_up() {
    let mut lab = Lab::new(
        1,
        "[logging]\nnode_streams = false\nrotation_interval = \"1 s\"\nrotated_names = \"open-close\"\n\
         rotated_dir = \"rotated\"\npost_command = [\"false\"]\n[logging.stream.\"Other::LOG\"]\nrotation_interval = 0\n",
    );
    lab.start("manager");
    lab.start("logger-1");
    let worker = lab.worker().await;
    assert!(worker.cluster_started(PATIENCE).await);
    let mut log = numbers(&worker).await;
    let mut other = logging_lab::schema();
    other.path = "other".to_owned();
    let spec = broker_cluster::logging::LogSpec::new(other);
    let mut other = worker.logs().stream(spec).await.unwrap();
    let rotated = lab.path().join("rotated/logger-1");
    let mut next = 0;
    while files(&rotated, ".log").len() < 3 {
        write(&mut log, next..next + 1).await;
        write(&mut other, next..next + 1).await;
        assert!(worker.logs().drained(PATIENCE).await);
        next += 1;
    }
    worker.shutdown().await;
    lab.process("logger-1")
        .stderr_line("\"false\" failed with exit status: 1");
    lab.stop_all();

    let mut all = Vec::new();
    for path in files(&rotated, ".log") {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let meta = |key: &str| {
            let line = text.lines().find(|line| line.starts_with(key)).unwrap();
            line.split('\t').nth(1).unwrap().to_owned()
        };
        let times = format!("test.{}-{}", meta("#open"), meta("#close"));
        assert!(name.starts_with(&times), "{name} and {times}");
        assert!(!rows(&text).is_empty());
        all.extend(rows(&text));
    }
    all.sort_unstable();
    assert!(all.into_iter().eq(0..next));
    let other = std::fs::read_to_string(lab.logs("logger-1").join("other.log")).unwrap();
    assert!(
        rows(&other).into_iter().eq(0..next),
        "a stream may stay as it is"
    );
    let audit = audit_logs(&lab.path().join("logs")).unwrap();
    assert_eq!((audit.records(), audit.duplicates()), (2 * next, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_kill_left_behind_is_rotated_at_the_start_and_no_record_is_lost_or_twice() {
    let mut lab = Lab::new(
        1,
        "[logging]\nnode_streams = false\nrotation_interval = \"1 day\"\nleftovers = \"rotate\"\n",
    );
    lab.start("manager");
    lab.start("logger-1");
    let worker = lab.worker().await;
    assert!(worker.cluster_started(PATIENCE).await);
    let mut log = numbers(&worker).await;
    write(&mut log, 0..5000).await;
    assert!(worker.logs().drained(PATIENCE).await);
    write(&mut log, 5000..8000).await;
    lab.kill("logger-1");
    lab.start("logger-1");
    let rotated = files(&lab.logs("logger-1"), ".log");
    assert_eq!(rotated.len(), 1, "{rotated:?}");
    write(&mut log, 8000..10_000).await;
    assert!(worker.logs().drained(PATIENCE).await);
    worker.shutdown().await;
    lab.stop_all();
    let mut all = Vec::new();
    let found = files(&lab.logs("logger-1"), ".log");
    assert_eq!(found.len(), 2, "{found:?}");
    for path in found {
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.lines().last().unwrap().starts_with("#close\t"));
        all.extend(rows(&text));
    }
    all.sort_unstable();
    assert!(all.into_iter().eq(0..10_000));
    let audit = audit_logs(&lab.path().join("logs")).unwrap();
    assert_eq!((audit.records(), audit.duplicates()), (10_000, 0));
}
