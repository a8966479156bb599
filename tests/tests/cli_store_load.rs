//! `store load` of many entries: at a master, at a clone, and at a node that is too old to take many at once.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use broker_tests::{Cluster, Done, Running, broker, free_ports};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::http::{Request, Response};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tonic::Status;
use tonic::body::Body;

/// A line of a dump.
fn line(key: u64, value: u64) -> String {
    let count = |number| format!("{{\"@data-type\":\"count\",\"data\":{number}}}");
    format!("{{\"key\":{},\"value\":{}}}\n", count(key), count(value))
}

fn load(url: &str, options: &[&str], input: impl AsRef<[u8]>) -> Done {
    let mut load = Running::start(broker().args(["store", url, "s", "load"]).args(options));
    load.write(input);
    load.wait()
}

/// What a load says that goes well.
#[track_caller]
fn loaded(url: &str, options: &[&str], input: impl AsRef<[u8]>) -> String {
    let done = load(url, options, input);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    done.stderr.trim_end().to_owned()
}

fn dump(url: &str) -> String {
    Done::of(broker().args(["store", url, "s", "dump"])).ok()
}

const ENTRIES: u64 = 5000;

/// Every way to load, at the node `url`, whose store is empty.
fn load_in_every_way(url: &str) {
    let input: String = (0..ENTRIES).map(|key| line(key, key / 2)).collect();
    assert_eq!(
        loaded(url, &[], &input),
        format!("loaded {ENTRIES} entries")
    );
    let mut expected: Vec<_> = input.lines().collect();
    let dumped = dump(url);
    let mut lines: Vec<_> = dumped.lines().collect();
    expected.sort_unstable();
    lines.sort_unstable();
    assert_eq!(lines, expected);
    // Half of it is there already, and stays; then only a tenth is wanted.
    let other: String = (ENTRIES / 2..ENTRIES * 3 / 2)
        .map(|key| line(key, 7))
        .collect();
    let half = ENTRIES / 2;
    assert_eq!(
        loaded(url, &["--keep"], other),
        format!("loaded {half} entries, kept {half} that were there")
    );
    let few: String = (0..ENTRIES / 10).map(|key| line(key, 1)).collect();
    let (tenth, rest) = (ENTRIES / 10, ENTRIES * 14 / 10);
    assert_eq!(
        loaded(url, &["--replace"], &few),
        format!("loaded {tenth} entries, erased {rest} that were not in the input")
    );
    assert_eq!(dump(url).lines().count() as u64, tenth);
}

#[test]
fn many_entries_are_loaded_at_a_master_and_at_a_clone() {
    let ports = free_ports(2);
    let cluster = Cluster::new(&format!(
        "[cluster]\nname = \"test\"\n[stores.s]\nbackend = \"sqlite\"\njournal_mode = \"wal\"\n\
         [node.manager]\nrole = \"manager\"\nlisten = [\"grpc://127.0.0.1:{}\"]\n\
         [node.worker]\nrole = \"worker\"\nlisten = [\"grpc://127.0.0.1:{}\"]\n",
        ports[0], ports[1]
    ));
    let (manager, url) = cluster.node("manager");
    load_in_every_way(&url);
    Done::of(broker().args(["store", &url, "s", "clear"])).ok();
    let (worker, clone) = cluster.node("worker");
    load_in_every_way(&clone);
    assert_eq!(dump(&clone), dump(&url));
    assert_eq!(worker.stop().code, Some(0));
    assert_eq!(manager.stop().code, Some(0));
}

#[test]
fn a_refused_entry_is_named_by_its_line_and_key() {
    let cluster = Cluster::with_stores(&["s"]);
    let (_node, url) = cluster.node("manager");
    // A key that is not a number equals nothing, so no store takes it.
    let bad = "{\"key\":{\"@data-type\":\"real\",\"data\":\"nan\"},\"value\":{\"@data-type\":\"count\",\"data\":1}}\n";
    let mut input: String = (0..2000).map(|key| line(key, key)).collect();
    input.push_str(bad);
    input.push_str(&line(3000, 1));
    let told = load(&url, &[], &input).failed(1);
    assert!(told.contains("stdin:2001: put "), "{told}");
    assert!(told.contains("what was stored before stays"), "{told}");
    assert_eq!(
        Done::of(broker().args(["store", &url, "s", "get", "1023u"])).ok(),
        "1023u\n"
    );
}

#[test]
fn entries_of_a_slow_input_are_stored_as_they_come() {
    let cluster = Cluster::with_stores(&["s"]);
    let (_node, url) = cluster.node("manager");
    let mut watch = Running::start(broker().args(["store", &url, "s", "watch"]));
    watch.stderr_line("watching");
    let mut slow = Running::start(broker().args(["store", &url, "s", "load"]));
    for key in 0..3u64 {
        slow.write(line(key, 5));
        // It is there although the input goes on.
        watch.line_after(&format!("insert\t{key}u"));
    }
    let done = slow.wait();
    assert_eq!(
        (done.code, done.stderr.trim_end()),
        (Some(0), "loaded 3 entries")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_does_not_know_the_call_gets_single_writes() {
    let cluster = Cluster::with_stores(&["s"]);
    let (_node, url) = cluster.node("manager");
    let older = OlderNode::before(&url).await;
    let address = older.url.clone();
    tokio::task::spawn_blocking(move || load_in_every_way(&address))
        .await
        .unwrap();
    assert_eq!(older.loads.load(Ordering::Relaxed), 3);
}

/// A node that does all the one behind it does, but for loads.
struct OlderNode {
    url: String,
    loads: Arc<AtomicUsize>,
}

impl OlderNode {
    async fn before(url: &str) -> Self {
        let target: SocketAddr = url.strip_prefix("grpc://").unwrap().parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("grpc://{}", listener.local_addr().unwrap());
        let loads = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&loads);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass_on(client, target, Arc::clone(&counted)));
            }
        });
        Self { url, loads }
    }
}

/// Passes the calls of `client` on, but for loads, which are counted and refused as every gRPC server refuses what it does
/// not know.
async fn pass_on(client: TcpStream, target: SocketAddr, loads: Arc<AtomicUsize>) {
    let node = TcpStream::connect(target).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(node))
            .await
            .unwrap();
    tokio::spawn(connection);
    let service = service_fn(move |request: Request<Incoming>| {
        let (mut sender, loads): (SendRequest<Incoming>, _) = (sender.clone(), Arc::clone(&loads));
        async move {
            if request.uri().path().ends_with("/Load") {
                loads.fetch_add(1, Ordering::Relaxed);
                return Ok::<Response<Body>, Infallible>(Status::unimplemented("").into_http());
            }
            Ok(sender.send_request(request).await.unwrap().map(Body::new))
        }
    });
    // It ends with the client.
    let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(client), service)
        .await;
}
