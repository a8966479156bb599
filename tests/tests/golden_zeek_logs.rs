//! A recorded Zeek worker logs records with a column of every type, sets and vectors of every type included, to a logger of
//! ours in place of Zeek's, which has to write the files that Zeek's wrote.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use broker_cluster::{ClusterNode, Layout};
use broker_core::{Filter, Topic};
use broker_tests::golden::{Cue, Replay, Side, logs};

/// Plays the recording to a logger of ours; returns what it wrote.
async fn written(format: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let mut replay = Replay::new("zeek-all-log-types", Side::Acceptor).await;
    // Nobody else takes part, so that what others would dial does not matter.
    let text = format!(
        "[cluster]\nlog_format = \"{format}\"\n\
         [node.manager]\nrole = \"manager\"\nlisten = [\"broker://127.0.0.1:9\"]\n\
         [node.logger-1]\nrole = \"logger\"\nlisten = [\"broker://127.0.0.1:0\"]\nadvertise = [\"broker://127.0.0.1:9\"]\n\
         [node.worker-1]\nrole = \"worker\"\n"
    );
    let layout = Layout::parse(&text, dir.path().join("lab.toml")).unwrap();
    let zeek: Filter = [Topic::from_static("zeek/supervisor")]
        .into_iter()
        .collect();
    let logger = ClusterNode::builder(layout, "logger-1")
        .endpoint_builder(replay.endpoint())
        .subscribe(zeek)
        .start()
        .await
        .unwrap();
    replay.dial(&logger.endpoint().listening()[0]);
    let explained = replay
        .run(async |cue| assert!(matches!(cue, Cue::Note(_)), "the worker says goodbye"))
        .await;
    assert!(explained.is_empty(), "{explained:?}");
    logger.shutdown().await;
    let counted = logger.log_counters()["Lab::LOG"];
    assert_eq!((counted.received, counted.written), (20, 20));
    std::fs::read_to_string(dir.path().join("logs/logger-1/lab.log")).unwrap()
}

#[tokio::test(start_paused = true)]
async fn all_types_are_written_as_zeek_writes_them_as_text() {
    logs::assert_same_log(
        &written("tsv").await,
        &logs::zeeks_file("zeek-all-log-types.log"),
    );
}

#[tokio::test(start_paused = true)]
async fn all_types_are_written_as_zeek_writes_them_as_json() {
    assert_eq!(
        written("json").await,
        logs::zeeks_file("zeek-all-log-types.json.log")
    );
}
