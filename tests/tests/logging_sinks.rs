//! Sinks of a logger of the real program: servers that are there, that come later, that answer 503 first, and none at all.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod logging_lab;

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use broker_cluster::log::LogValue;
use broker_cluster::logging::LogSpec;
use broker_tests::{Certificates, Done, PATIENCE, broker};
use broker_wire::tls::{RustlsServer, TlsOptions};
use logging_lab::{Lab, numbers, rows, until, write};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

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

/// An HTTP server behind TLS that answers the first request with 503, then takes what comes and sends it on line by line. Where
/// `options` have a CA, clients have to show a certificate.
async fn https_server(options: TlsOptions) -> (String, Receiver<String>) {
    let tls = RustlsServer::web_socket(&options).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/logs", listener.local_addr().unwrap());
    let (sender, receiver) = channel();
    let refused = Arc::new(AtomicBool::new(false));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (tls, sender, refused) = (tls.clone(), sender.clone(), Arc::clone(&refused));
            tokio::spawn(async move {
                let Ok(mut stream) = tls.accept(stream).await else {
                    return;
                };
                while let Some(body) = https_request(&mut stream).await {
                    let answer = if refused.swap(true, Ordering::Relaxed) {
                        for line in body.lines() {
                            let _ = sender.send(line.to_owned());
                        }
                        "204 No Content"
                    } else {
                        "503 Service Unavailable"
                    };
                    let text = format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n");
                    if stream.write_all(text.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (url, receiver)
}

async fn https_request(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let length = head.split("content-length: ").nth(1).unwrap();
    let mut body = vec![0; length.split("\r\n").next().unwrap().parse().unwrap()];
    stream.read_exact(&mut body).await.ok()?;
    Some(String::from_utf8(body).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn https_sinks_verify_the_server_and_show_a_certificate_where_one_is_asked_for() {
    let certificates = Certificates::new();
    let file = |name: &str| certificates.file(name).display().to_string();
    let server = |certificate: &str| {
        TlsOptions::new()
            .certificate(file(certificate))
            .key(file("node.key"))
    };
    let (plain, lines) = https_server(server("node.pem")).await;
    let (mutual, known) = https_server(server("node.pem").cafile(file("ca.pem"))).await;
    let (elsewhere, of_elsewhere) = https_server(server("elsewhere.pem")).await;
    let own = format!(
        ", certificate = \"{}\", key = \"{}\"",
        file("node.pem"),
        file("node.key")
    );
    let stranger = Certificates::new();
    let ca = file("ca.pem");
    let other_ca = stranger.file("ca.pem").display().to_string();
    let mut layout = "[logging]\nnode_streams = false\n".to_owned();
    for (name, url, ca, more) in [
        ("plain", &plain, &ca, ""),
        ("mutual", &mutual, &ca, own.as_str()),
        ("any_host", &elsewhere, &ca, ", verify_host_name = false"),
        // These are refused: no certificate, a server of another name, a server of another CA, one without TLS.
        ("nameless", &mutual, &ca, ""),
        ("elsewhere", &elsewhere, &ca, ""),
        ("other_ca", &plain, &other_ca, ""),
    ] {
        layout.push_str(&format!(
            "[logging.sink.{name}]\nurl = \"{url}\"\ntls = {{ cafile = \"{ca}\"{more} }}\n"
        ));
    }
    let mut lab = Lab::new(1, &layout);
    lab.start("manager");
    lab.start("logger-1");
    let worker = lab.worker().await;
    assert!(worker.cluster_started(PATIENCE).await);
    let mut log = numbers(&worker).await;
    write(&mut log, 0..RECORDS).await;
    assert!(worker.logs().drained(PATIENCE).await);
    for lines in [&lines, &known, &of_elsewhere] {
        all_numbers(lines);
    }
    let counter = |lab: &Lab, name: &str| lab.counter("logger-1", &format!("log_sink_{name} "));
    until("the sinks have everything", || {
        ["plain_sent", "mutual_sent", "any_host_sent"]
            .iter()
            .all(|name| counter(&lab, name) == RECORDS)
    })
    .await;
    // Each said once what is wrong, and tries again.
    until("the others try again", || {
        ["nameless_retries", "elsewhere_retries", "other_ca_retries"]
            .iter()
            .all(|name| counter(&lab, name) > 1)
    })
    .await;
    for name in ["nameless_sent", "elsewhere_sent", "other_ca_sent"] {
        assert_eq!(counter(&lab, name), 0, "{name}");
    }
    for name in ["nameless_queued", "elsewhere_queued", "other_ca_queued"] {
        assert_eq!(counter(&lab, name), RECORDS, "{name}");
    }
    worker.shutdown().await;
    let done = lab.stop("logger-1");
    for (sink, url, reason) in [
        ("nameless", &mutual, "certificate"),
        ("elsewhere", &elsewhere, "elsewhere.example"),
        ("other_ca", &plain, "certificate"),
    ] {
        let origin = url.strip_suffix("/logs").unwrap();
        let line = done
            .stderr
            .lines()
            .find(|line| line.contains("does not take") && line.contains(&format!("\"{sink}\"")))
            .unwrap_or_else(|| panic!("{sink}: {}", done.stderr));
        assert!(line.contains(origin) && line.contains(reason), "{line}");
        println!("{line}");
    }
}

#[test]
fn a_sink_whose_files_do_not_do_keeps_its_logger_from_starting() {
    let certificates = Certificates::new();
    let lab = Lab::new(
        1,
        &format!(
            "[logging.sink.search]\nurl = \"https://127.0.0.1:1/\"\ntls = {{ cafile = \"{}\" }}\n",
            certificates.file("node.key").display()
        ),
    );
    let config = lab.path().join("cluster.toml");
    let line = Done::of(
        broker()
            .args(["node", "--name", "logger-1", "--config"])
            .arg(config),
    )
    .failed(2);
    assert!(
        line.contains("cluster.toml:3: log sink search: the CA file") && line.contains("node.key"),
        "{line}"
    );
}
