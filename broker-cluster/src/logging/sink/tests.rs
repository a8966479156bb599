//! Lines in, lines out, whatever the other end does.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::thread;

use super::*;
use crate::log::{Column, ColumnType};

fn lines(from: u64, to: u64) -> (Bytes, u64) {
    let schema = Schema {
        path: "test".to_owned(),
        columns: vec![Column::new("n", ColumnType::parse("count").unwrap())],
    };
    let mut lines = SinkLines::new(&schema);
    for n in from..to {
        lines.record(&[LogValue::Count(n)]);
    }
    lines.take()
}

fn expected(from: u64, to: u64) -> Vec<String> {
    (from..to)
        .map(|n| format!("{{\"_path\":\"test\",\"n\":{n}}}"))
        .collect()
}

fn start(target: &str) -> Sink {
    start_with(SinkOptions::new("s", target.parse().unwrap()))
}

fn start_with(options: SinkOptions) -> Sink {
    Sink::start(prepare(&[options], None).unwrap().remove(0))
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

/// Reads one request and returns its body.
fn request(stream: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let mut length = None;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).unwrap() == 0 {
            return None;
        }
        let line = line.trim_end().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = Some(value.parse::<usize>().unwrap());
        }
        if line.is_empty() {
            let mut body = vec![0; length.unwrap()];
            stream.read_exact(&mut body).unwrap();
            return Some(body);
        }
    }
}

#[test]
fn a_record_without_values_has_its_path_alone() {
    let schema = Schema {
        path: "a\"b".to_owned(),
        columns: vec![Column::new("n", ColumnType::parse("count").unwrap())],
    };
    let mut lines = SinkLines::new(&schema);
    lines.record(&[LogValue::Unset]);
    lines.record(&[LogValue::Count(1)]);
    let (text, records) = lines.take();
    assert_eq!(
        &text[..],
        b"{\"_path\":\"a\\\"b\"}\n{\"_path\":\"a\\\"b\",\"n\":1}\n"
    );
    assert_eq!(records, 2);
}

#[test]
fn chunks_end_with_lines_and_lose_none() {
    let (text, records) = lines(0, 100_000);
    let chunks = chunks(&text, records);
    assert!(chunks.len() > 1);
    assert!(
        chunks
            .iter()
            .all(|chunk| chunk.lines.len() <= SINK_CHUNK && chunk.lines.ends_with(b"\n"))
    );
    assert_eq!(
        chunks.iter().map(|chunk| chunk.records).sum::<u64>(),
        records
    );
    let joined: Vec<u8> = chunks
        .iter()
        .flat_map(|chunk| chunk.lines.to_vec())
        .collect();
    assert_eq!(joined, text);
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_reach_a_server_that_starts_later_and_one_that_hangs_up() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sink.sock");
    let sink = start(&format!("unix://{}", path.display()));
    let (text, records) = lines(0, 10);
    sink.feed().offer(&text, records);
    let (hung_up, first_is_gone) = std::sync::mpsc::channel();
    let server = thread::spawn(move || {
        let listener = UnixListener::bind(path).unwrap();
        let mut all = Vec::new();
        let (first, _) = listener.accept().unwrap();
        for line in BufReader::new(first).lines().take(10) {
            all.push(line.unwrap());
        }
        hung_up.send(()).unwrap();
        let (second, _) = listener.accept().unwrap();
        all.extend(BufReader::new(second).lines().map(Result::unwrap));
        all
    });
    // The reader was dropped before this came, so that a Unix socket refuses what is written now.
    tokio::task::spawn_blocking(move || first_is_gone.recv().unwrap())
        .await
        .unwrap();
    let (text, records) = lines(10, 20);
    sink.feed().offer(&text, records);
    let counted = sink.feed();
    sink.close(soon()).await;
    assert_eq!(counted.counts.sent.load(Ordering::Relaxed), 20);
    let all = server.join().unwrap();
    assert_eq!(all, expected(0, 20));
}

#[tokio::test(flavor = "multi_thread")]
async fn http_is_tried_again_after_503_and_dropped_connections_and_given_up_after_400() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/logs", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        let answers = [
            "503 Service Unavailable",
            "hang up",
            "200 OK",
            "400 Bad Request",
            "204 No Content",
        ];
        let mut answers = answers.into_iter().peekable();
        let mut bodies = Vec::new();
        while answers.peek().is_some() {
            let (stream, _) = listener.accept().unwrap();
            let mut stream = BufReader::new(stream);
            for answer in answers.by_ref() {
                let Some(body) = request(&mut stream) else {
                    break;
                };
                bodies.push((answer, String::from_utf8(body).unwrap()));
                if answer == "hang up" {
                    break;
                }
                let text = format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n");
                stream.get_mut().write_all(text.as_bytes()).unwrap();
            }
        }
        bodies
    });
    let sink = start(&url);
    let wait_for = async |done: u64| {
        while sink.counters().queued() > 0 || sink.counters().offered < done {
            tokio::task::yield_now().await;
        }
    };
    for part in 0..3 {
        let (text, records) = lines(part * 5, part * 5 + 5);
        sink.feed().offer(&text, records);
        wait_for(part * 5 + 5).await;
    }
    let counters = sink.counters();
    assert_eq!((counters.sent, counters.dropped), (10, 5));
    // A kept connection that was closed is no failure.
    assert_eq!(counters.retries, 1);
    sink.close(soon()).await;
    let bodies = server.join().unwrap();
    let body = |from, to| expected(from, to).join("\n") + "\n";
    let first = body(0, 5);
    assert_eq!(
        bodies,
        [
            ("503 Service Unavailable", first.clone()),
            ("hang up", first.clone()),
            ("200 OK", first),
            ("400 Bad Request", body(5, 10)),
            ("204 No Content", body(10, 15)),
        ]
    );
}

#[test]
fn https_takes_a_program_that_brings_tls_and_files_that_do() {
    let options = SinkOptions::new("s", "https://collector/x".parse().unwrap());
    let error = prepare(std::slice::from_ref(&options), None).err().unwrap();
    assert_eq!(
        error.to_string(),
        "log sink s: this program has no TLS for https://collector:443/x"
    );
    let tls = SinkTls::new(|files| match &files.cafile {
        Some(_) => Err("unreadable".into()),
        None => Err("nobody is trusted".into()),
    });
    let error = prepare(&[options], Some(&tls)).err().unwrap();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(
        (error.to_string().as_str(), source.as_str()),
        ("log sink s", "nobody is trusted")
    );
}

#[tokio::test]
async fn a_sink_that_is_down_drops_the_oldest_or_the_newest_and_counts_them() {
    for drop_oldest in [true, false] {
        let mut options = SinkOptions::new("s", "unix:///no/such/socket".parse().unwrap());
        options.max_bytes = NonZeroUsize::new(1000).unwrap();
        options.drop_oldest = drop_oldest;
        let sink = start_with(options.clone());
        for part in 0..100 {
            let (text, records) = lines(part * 10, part * 10 + 10);
            sink.feed().offer(&text, records);
        }
        let counters = sink.counters();
        assert_eq!(counters.offered, 1000);
        assert!(counters.dropped >= 900, "{counters:?}");
        assert!(counters.queued() > 0, "{counters:?}");
        let feed = sink.feed();
        sink.close(Instant::now()).await;
        let (text, records) = lines(0, 1);
        let before = feed.counts.dropped.load(Ordering::Relaxed);
        feed.offer(&text, records);
        assert_eq!(feed.counts.dropped.load(Ordering::Relaxed), before + 1);
    }
}
