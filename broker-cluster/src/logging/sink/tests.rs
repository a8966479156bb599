//! Lines in, lines out, whatever the other end does.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::sync::mpsc;
use std::thread;

use super::*;
use crate::log::{Column, ColumnType, LogValue, Schema};

/// What a log has for this sink.
fn records(sink: &SinkFeed, from: u64, to: u64) -> Collected {
    let schema = Arc::new(Schema {
        path: "test".to_owned(),
        columns: vec![Column::new("n", ColumnType::parse("count").unwrap())],
    });
    let sinks = [sink.clone()];
    let mut records = SinkRecords::wanted(&sinks, "Test::LOG", &schema).unwrap();
    for n in from..to {
        records.record(vec![LogValue::Count(n)]);
    }
    records.take()
}

fn offer(sink: &SinkFeed, from: u64, to: u64) {
    sink.offer(&records(sink, from, to));
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
    Sink::start(prepare(&[options], Vec::new(), None).unwrap().remove(0)).unwrap()
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

#[tokio::test]
async fn chunks_end_with_lines_and_lose_none() {
    let sink = start("unix:///no/such/socket");
    let Collected {
        lines: text,
        records,
        ..
    } = records(&sink.feed(), 0, 100_000);
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
    offer(&sink.feed(), 0, 10);
    let (hung_up, first_is_gone) = mpsc::channel();
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
    offer(&sink.feed(), 10, 20);
    let counted = sink.feed();
    sink.close(soon()).await;
    assert_eq!(counted.ledger.counters().sent, 20);
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
        offer(&sink.feed(), part * 5, part * 5 + 5);
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
    let error = prepare(std::slice::from_ref(&options), Vec::new(), None)
        .err()
        .unwrap();
    assert_eq!(
        error.to_string(),
        "log sink s: this program has no TLS for https://collector:443/x"
    );
    let tls = SinkTls::new(|files| match &files.cafile {
        Some(_) => Err("unreadable".into()),
        None => Err("nobody is trusted".into()),
    });
    let error = prepare(&[options], Vec::new(), Some(&tls)).err().unwrap();
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
            offer(&sink.feed(), part * 10, part * 10 + 10);
        }
        let counters = sink.counters();
        assert_eq!(counters.offered, 1000);
        assert!(counters.dropped >= 900, "{counters:?}");
        assert!(counters.queued() > 0, "{counters:?}");
        let feed = sink.feed();
        sink.close(Instant::now()).await;
        let before = feed.ledger.counters();
        assert_eq!(before.queued(), 0);
        offer(&feed, 0, 1);
        assert_eq!(feed.ledger.counters().dropped, before.dropped + 1);
    }
}

/// What a sink of the test's own does with its batches, one after the other; then it takes all.
type Script = Vec<fn() -> Result<(), LogSinkError>>;

struct Scripted {
    script: std::vec::IntoIter<fn() -> Result<(), LogSinkError>>,
    said: mpsc::Sender<String>,
}

impl LogSink for Scripted {
    async fn write(&mut self, batch: &LogBatch) -> Result<(), LogSinkError> {
        let numbers: Vec<String> = batch
            .records()
            .iter()
            .map(|record| match record[0] {
                LogValue::Count(n) => n.to_string(),
                _ => panic!("a count"),
            })
            .collect();
        let failures = batch.failures();
        let text = format!("{} {} {failures}", batch.stream(), numbers.join(","));
        self.said.send(text).unwrap();
        // Neither a runtime nor its timers are out of reach here.
        sleep(Duration::from_millis(1)).await;
        self.script.next().map_or(Ok(()), |step| step())
    }

    async fn close(&mut self) {
        self.said.send("close".to_owned()).unwrap();
    }
}

fn start_own(spec: LogSinkSpec) -> Sink {
    let prepared = prepare(&[], vec![spec], None).unwrap().remove(0);
    Sink::start(prepared).unwrap()
}

fn scripted(script: Script) -> (Sink, mpsc::Receiver<String>) {
    let (said, heard) = mpsc::channel();
    let sink = Scripted {
        script: script.into_iter(),
        said,
    };
    (start_own(LogSinkSpec::new("own", sink)), heard)
}

#[tokio::test]
async fn an_own_sink_gets_a_batch_again_until_it_takes_it_or_refuses_it_or_panics() {
    let (sink, heard) = scripted(vec![
        || Err(io::Error::other("busy").into()),
        || Err(LogSinkError::retry("busy").after(Duration::from_millis(1))),
        || Ok(()),
        || Err(LogSinkError::refuse("too odd")),
        || panic!("told to"),
    ]);
    for part in 0..4 {
        offer(&sink.feed(), part * 2, part * 2 + 2);
    }
    let ledger = Arc::clone(&sink.feed().ledger);
    sink.close(soon()).await;
    let heard: Vec<String> = heard.iter().collect();
    assert_eq!(
        heard,
        [
            "Test::LOG 0,1 0",
            "Test::LOG 0,1 1",
            "Test::LOG 0,1 2",
            "Test::LOG 2,3 0",
            "Test::LOG 4,5 0",
            "Test::LOG 6,7 0",
            "close",
        ]
    );
    assert_eq!(
        ledger.counters(),
        SinkCounters {
            offered: 8,
            sent: 4,
            dropped: 4,
            retries: 2
        }
    );
}

#[tokio::test]
async fn an_own_sink_that_does_not_return_is_left_behind_at_the_deadline_and_counted_once() {
    let (release, released) = mpsc::channel::<()>();
    let (said, heard) = mpsc::channel();
    let sink = start_own(LogSinkSpec::from_fn("own", move |batch| {
        said.send(batch.records().len()).unwrap();
        let _ = released.recv();
        Ok(())
    }));
    offer(&sink.feed(), 0, 3);
    offer(&sink.feed(), 3, 10);
    assert_eq!(heard.recv(), Ok(3));
    let ledger = Arc::clone(&sink.feed().ledger);
    assert_eq!(ledger.counters().queued(), 10);
    sink.close(Instant::now()).await;
    let closed = ledger.counters();
    assert_eq!((closed.sent, closed.dropped), (0, 10));
    release.send(()).unwrap();
    // Its thread ends: the sender goes with the closure.
    assert!(heard.recv().is_err());
    assert_eq!(ledger.counters(), closed);
}

#[tokio::test]
async fn an_own_sink_that_is_slow_loses_the_oldest_or_the_newest_and_counts_them() {
    for drop_oldest in [true, false] {
        let (release, released) = mpsc::channel::<()>();
        let (said, heard) = mpsc::channel();
        let one = size_of::<LogValue>() + 24;
        let spec = LogSinkSpec::from_fn("own", move |batch| {
            let _ = released.recv();
            said.send(batch.records()[0].clone()).unwrap();
            Ok(())
        });
        let spec = spec
            .max_bytes(NonZeroUsize::new(one * 10).unwrap())
            .drop_oldest(drop_oldest);
        let sink = start_own(spec);
        for n in 0..100 {
            offer(&sink.feed(), n, n + 1);
        }
        let counters = sink.counters();
        assert_eq!(counters.offered, 100);
        assert!(counters.dropped >= 89, "{counters:?}");
        drop(release);
        let feed = sink.feed();
        sink.close(soon()).await;
        let heard: Vec<_> = heard.iter().collect();
        let counters = feed.ledger.counters();
        assert_eq!(counters.sent, heard.len() as u64);
        assert_eq!(counters.sent + counters.dropped, 100);
        let newest = heard.contains(&vec![LogValue::Count(99)]);
        assert_eq!(newest, drop_oldest);
    }
}

#[test]
fn two_sinks_of_one_name_are_refused() {
    let own = || LogSinkSpec::from_fn("s", |_| Ok(()));
    let elsewhere = SinkOptions::new("s", "tcp://127.0.0.1:1".parse().unwrap());
    for (elsewhere, own) in [(vec![elsewhere], vec![own()]), (vec![], vec![own(), own()])] {
        let error = prepare(&elsewhere, own, None).err().unwrap();
        assert_eq!(
            error.to_string(),
            "there are two log sinks called s: give one of them another name"
        );
        assert_eq!(error.sink(), "s");
    }
}
