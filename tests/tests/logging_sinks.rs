//! Sinks of a logger of the real program: servers that are there, that come later, that answer 503 first, and none at all.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod logging_lab;

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use broker_cluster::log::LogValue;
use broker_cluster::logging::LogSpec;
use broker_tests::PATIENCE;
use logging_lab::{Lab, numbers, rows, until, write};

const RECORDS: u64 = 3000;

/// A server that sends on the lines it reads from any connection.
fn lines_of(
    connections: impl Iterator<Item = Box<dyn std::io::Read + Send>> + Send + 'static,
) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for connection in connections {
            let sender = sender.clone();
            thread::spawn(move || {
                for line in BufReader::new(connection).lines() {
                    let Ok(line) = line else { return };
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
        }
    });
    receiver
}

/// An HTTP server that answers 503 twice, then takes what comes and sends it on line by line.
fn http_server(listener: TcpListener) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut refusals = 2;
        for connection in listener.incoming() {
            let mut connection = BufReader::new(connection.unwrap());
            while let Some((head, body)) = request(&mut connection) {
                assert!(
                    head.starts_with("POST /logs?from=zeek HTTP/1.1\r\n"),
                    "{head}"
                );
                assert!(
                    head.to_ascii_lowercase()
                        .contains("content-type: application/x-ndjson\r\n")
                );
                let answer = if refusals > 0 {
                    refusals -= 1;
                    "503 Service Unavailable"
                } else {
                    for line in body.lines() {
                        sender.send(line.to_owned()).unwrap();
                    }
                    "200 OK"
                };
                let text = format!("HTTP/1.1 {answer}\r\nContent-Length: 2\r\n\r\nok");
                connection.get_mut().write_all(text.as_bytes()).unwrap();
            }
        }
    });
    receiver
}

fn request(connection: &mut BufReader<TcpStream>) -> Option<(String, String)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if connection.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let length = head.to_ascii_lowercase();
    let length = length.split("content-length: ").nth(1).unwrap();
    let length = length.split("\r\n").next().unwrap().parse().unwrap();
    let mut body = vec![0; length];
    connection.read_exact(&mut body).ok()?;
    Some((head, String::from_utf8(body).unwrap()))
}

/// Takes lines until every number has come.
fn all_numbers(lines: &Receiver<String>) {
    let mut seen = BTreeSet::new();
    while (seen.len() as u64) < RECORDS {
        let line = lines.recv_timeout(PATIENCE).unwrap();
        let record: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(record["_path"], "test");
        assert!(seen.insert(record["n"].as_u64().unwrap()), "once: {line}");
    }
    assert!(seen.into_iter().eq(0..RECORDS));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sink_gets_the_records_and_one_that_is_down_holds_nothing_up() {
    let sockets = tempfile::tempdir().unwrap();
    let socket = sockets.path().join("sink.sock");
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let http = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut lab = Lab::new(
        1,
        &format!(
            "[logging]\nnode_streams = false\n\
             [logging.sink.tcp]\nurl = \"tcp://{}\"\nstreams = [\"Test::LOG\"]\n\
             [logging.sink.unix]\nurl = \"unix://{}\"\nstreams = [\"Test::LOG\"]\n\
             [logging.sink.post]\nurl = \"http://{}/logs?from=zeek\"\nstreams = [\"Test::LOG\"]\n\
             [logging.sink.down]\nurl = \"unix://{}\"\n",
            tcp.local_addr().unwrap(),
            socket.display(),
            http.local_addr().unwrap(),
            sockets.path().join("nobody").display(),
        ),
    );
    let tcp = lines_of((0..).map_while(move |_| Some(Box::new(tcp.accept().ok()?.0) as _)));
    let http = http_server(http);
    lab.start("manager");
    lab.start("logger-1");
    let worker = lab.worker().await;
    assert!(worker.cluster_started(PATIENCE).await);
    let mut log = numbers(&worker).await;
    let mut schema = logging_lab::schema();
    schema.path = "other".to_owned();
    let mut other = worker.logs().stream(LogSpec::new(schema)).await.unwrap();
    write(&mut log, 0..RECORDS).await;
    other.write(&[LogValue::Count(1)]).await.unwrap();
    assert!(
        worker.logs().drained(PATIENCE).await,
        "the files wait for no sink"
    );
    let text = std::fs::read_to_string(lab.logs("logger-1").join("test.log")).unwrap();
    assert_eq!(rows(&text).len() as u64, RECORDS);

    // This one begins to listen now.
    let unix = UnixListener::bind(socket).unwrap();
    let unix = lines_of((0..).map_while(move |_| Some(Box::new(unix.accept().ok()?.0) as _)));
    for lines in [&tcp, &unix, &http] {
        all_numbers(lines);
    }
    let counter = |name: &str| lab.counter("logger-1", &format!("log_sink_{name} "));
    until("the sinks have everything", || {
        ["tcp_sent", "unix_sent", "post_sent"]
            .iter()
            .all(|name| counter(name) == RECORDS)
    })
    .await;
    assert_eq!(counter("post_retries"), 2);
    assert_eq!((counter("post_dropped"), counter("post_queued")), (0, 0));
    assert_eq!(counter("down_sent"), 0);
    assert_eq!(counter("down_offered"), RECORDS + 1);
    assert_eq!(
        counter("down_queued") + counter("down_dropped"),
        RECORDS + 1
    );
    assert!(counter("down_retries") > 0);
    worker.shutdown().await;
    lab.process("logger-1").signal("TERM");
    let said = lab.process("logger-1").stderr_line("records left");
    assert!(said.contains("down"), "{said}");
}
