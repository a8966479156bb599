//! `grpcs://`: nodes and clients that trust each other, and everybody else.

#![cfg(feature = "tls")]
#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod pki;

use std::cell::RefCell;
use std::io::Write;
use std::sync::Once;
use std::time::{Duration, Instant};

use broker_core::{Data, Endpoint, Filter, Message, PeerUrl, QueueOptions, Topic};
use broker_wire::tls::{RustlsClient, RustlsServer, TlsHandshakeError, TlsOptions};
use broker_wire::{BrokerClient, ClientError, DialError, GrpcTransport};
use pki::Pki;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::net::TcpStream;

const LIMIT: Duration = Duration::from_secs(20);

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("in time")
}

/// What is logged on this thread, which is what its test's runtime runs on. One subscriber for the whole program:
/// those that come and go with a thread may miss a line that another thread is about to log for the first time.
struct Log;

thread_local! {
    static LINES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

static LOGGING: Once = Once::new();

impl Log {
    fn capture() -> Self {
        LOGGING.call_once(|| {
            tracing_subscriber::fmt()
                .with_ansi(false)
                .with_writer(|| Self)
                .init();
        });
        Self
    }

    fn text() -> String {
        LINES.with_borrow(|lines| String::from_utf8_lossy(lines).into_owned())
    }

    /// Waits for a line with `text` in it.
    async fn line(&self, text: &str) -> String {
        let wait = async {
            loop {
                if let Some(line) = Self::text().lines().find(|line| line.contains(text)) {
                    return line.to_owned();
                }
                tokio::task::yield_now().await;
            }
        };
        let line = tokio::time::timeout(LIMIT, wait).await;
        line.unwrap_or_else(|_| panic!("no {text:?} in {}", Self::text()))
    }

    fn count(&self, text: &str) -> usize {
        let log = Self::text();
        log.lines().filter(|line| line.contains(text)).count()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LINES.with_borrow_mut(|lines| lines.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn endpoint(name: &str, tls: TlsOptions) -> Endpoint {
    Endpoint::builder()
        .name(name)
        .transport(GrpcTransport::new().tls(tls))
        .handshake_timeout(Duration::from_secs(2))
        .start()
}

fn plain(name: &str) -> Endpoint {
    Endpoint::builder()
        .name(name)
        .transport(GrpcTransport::new())
        .handshake_timeout(Duration::from_secs(2))
        .start()
}

async fn listening(node: &Endpoint, url: &str) -> PeerUrl {
    node.listen(&url.parse().unwrap()).await.unwrap()
}

const GRPCS: &str = "grpcs://127.0.0.1:0";
const GRPC: &str = "grpc://127.0.0.1:0";

fn topic() -> Topic {
    Topic::from_static("/x")
}

async fn refused(node: &Endpoint, address: &PeerUrl) -> String {
    let error = within(node.connect(address.clone())).await.unwrap_err();
    error.to_string()
}

async fn client_refused(address: &PeerUrl, tls: Option<&TlsOptions>) -> ClientError {
    within(BrokerClient::connect_with(address, tls))
        .await
        .unwrap_err()
}

// --- who is let in ---------------------------------------------------------------------------------------

#[tokio::test]
async fn nodes_that_trust_each_other_peer_and_talk_both_ways() {
    let pki = Pki::new("CA");
    let left = endpoint("left", pki.node("left"));
    let right = endpoint(
        "right",
        pki.issue_through_intermediate("right")
            .options()
            .cafile(pki.ca()),
    );
    let address = listening(&right, GRPCS).await;
    assert_eq!(address.scheme(), "grpcs");
    let filter = || Filter::from_iter([topic()]);
    let mut at_right = right.subscribe(filter(), QueueOptions::local());
    let mut at_left = left.subscribe(filter(), QueueOptions::local());
    assert_eq!(within(left.connect(address)).await.unwrap(), right.id());
    assert!(right.await_peer(left.id(), LIMIT).await);
    // Larger than a TLS record and than an HTTP/2 window's first update.
    let large = Data::from("x".repeat(3 << 20));
    for data in [Data::from(1u64), large] {
        left.publish(Message::new(topic(), data.clone()))
            .await
            .unwrap();
        right
            .publish(Message::new(topic(), data.clone()))
            .await
            .unwrap();
        for inbox in [&mut at_right, &mut at_left] {
            let message = within(inbox.recv()).await.unwrap();
            assert_eq!(message.data().unwrap(), &data);
        }
    }
    let status = right.status();
    let url = &status.peers[0].url;
    assert!(url.to_string().starts_with("grpcs://127.0.0.1:"), "{url}");
    within(async { tokio::join!(left.shutdown(), right.shutdown()) }).await;
}

#[tokio::test]
async fn certificates_are_renewed_while_a_node_runs_and_what_is_connected_stays() {
    let (old, new) = (Pki::new("old CA"), Pki::new("new CA"));
    let transport = GrpcTransport::new().tls(old.node("node"));
    let node = Endpoint::builder()
        .name("node")
        .transport(transport.clone())
        .handshake_timeout(Duration::from_secs(2))
        .start();
    let address = listening(&node, GRPCS).await;
    let (early, late) = (
        endpoint("early", old.node("early")),
        endpoint("late", new.node("late")),
    );
    within(early.connect(address.clone())).await.unwrap();
    refused(&late, &address).await;

    // Files that do not do change nothing, nor do those that would let anybody in.
    let missing = TlsOptions::new()
        .certificate("none.pem")
        .key("none.pem")
        .cafile(old.ca());
    assert!(transport.renew_tls(&missing).is_err());
    assert!(transport.renew_tls(&new.issue("node").options()).is_err());
    refused(&late, &address).await;
    // Neither do good ones that are not applied.
    drop(transport.renew_tls(&new.node("node")).unwrap());
    refused(&late, &address).await;

    transport.renew_tls(&new.node("node")).unwrap().apply();
    within(late.connect(address.clone())).await.unwrap();
    assert!(node.await_peer(early.id(), LIMIT).await);
    let stranger = endpoint("stranger", old.node("stranger"));
    refused(&stranger, &address).await;
    // What it dials it meets with the new ones too.
    let server = endpoint("server", new.node("server"));
    let there = listening(&server, GRPCS).await;
    assert_eq!(within(node.connect(there)).await.unwrap(), server.id());
    within(async {
        tokio::join!(
            node.shutdown(),
            early.shutdown(),
            late.shutdown(),
            server.shutdown()
        )
    })
    .await;
}

#[tokio::test]
async fn a_client_with_a_certificate_is_served() {
    let pki = Pki::new("CA");
    let node = endpoint("node", pki.node("node"));
    let address = listening(&node, GRPCS).await;
    let tls = pki.node("client");
    let client = within(BrokerClient::connect_with(&address, Some(&tls)))
        .await
        .unwrap();
    assert_eq!(within(client.status()).await.unwrap().name, "node");
    let mut inbox = within(client.subscribe(&Filter::from_iter([topic()])))
        .await
        .unwrap();
    node.publish(Message::new(topic(), Data::from(7u64)))
        .await
        .unwrap();
    let message = within(inbox.recv()).await.unwrap().unwrap();
    assert_eq!(message.data().unwrap(), &Data::from(7u64));
    drop((client, inbox));
    within(node.shutdown()).await;
}

#[tokio::test]
async fn a_node_without_a_ca_serves_clients_without_certificates() {
    let pki = Pki::new("CA");
    let node = endpoint("node", pki.issue("node").options());
    let address = listening(&node, GRPCS).await;
    let tls = pki.reader();
    let client = within(BrokerClient::connect_with(&address, Some(&tls)))
        .await
        .unwrap();
    assert_eq!(within(client.status()).await.unwrap().name, "node");
    drop(client);
    within(node.shutdown()).await;
}

#[tokio::test]
async fn h2_is_agreed_on_for_grpc_and_http_1_for_websockets() {
    let pki = Pki::new("CA");
    let options = pki.node("node");
    let pairs = [
        (
            RustlsServer::grpc(&options),
            RustlsClient::grpc(&options),
            &b"h2"[..],
            "TLSv1_3",
        ),
        (
            RustlsServer::web_socket(&options),
            RustlsClient::web_socket(&options),
            b"http/1.1",
            "TLSv1_3",
        ),
    ];
    for (server, client, alpn, version) in pairs {
        let (server, client) = (server.unwrap(), client.unwrap());
        let (near, far) = duplex(16 << 10);
        let (near, far) = tokio::join!(client.connect("localhost", near), server.accept(far));
        for stream in [near.unwrap(), far.unwrap()] {
            assert_eq!(stream.alpn_protocol(), Some(alpn));
            assert!(format!("{stream:?}").contains(version), "{stream:?}");
        }
    }
    // And a client of the one is not taken by the other.
    let (near, far) = duplex(16 << 10);
    let (server, client) = (
        RustlsServer::grpc(&options).unwrap(),
        RustlsClient::web_socket(&options).unwrap(),
    );
    let (near, far) = tokio::join!(client.connect("localhost", near), server.accept(far));
    assert_eq!(
        near.map(drop),
        Err(TlsHandshakeError::Refused { alert: 120 })
    );
    assert!(matches!(far, Err(TlsHandshakeError::Incompatible { .. })));
}

#[cfg(feature = "openssl-system")]
#[tokio::test]
async fn tls_1_2_is_enough_for_websockets_and_too_little_for_grpc() {
    use openssl::ssl::{Ssl, SslContext, SslMethod, SslVersion};
    use tokio_openssl::SslStream;

    let pki = Pki::new("CA");
    let options = pki.issue("node").options();
    let mut context = SslContext::builder(SslMethod::tls_client()).unwrap();
    context
        .set_max_proto_version(Some(SslVersion::TLS1_2))
        .unwrap();
    let context = context.build();
    let connect = |stream| SslStream::new(Ssl::new(&context).unwrap(), stream).unwrap();

    let server = RustlsServer::web_socket(&options).unwrap();
    let (near, far) = duplex(16 << 10);
    let mut near = connect(near);
    let (near, far) = tokio::join!(std::pin::Pin::new(&mut near).connect(), server.accept(far));
    near.unwrap();
    assert!(format!("{far:?}").contains("TLSv1_2"), "{far:?}");

    let server = RustlsServer::grpc(&options).unwrap();
    let (near, far) = duplex(16 << 10);
    let mut near = connect(near);
    let (near, far) = tokio::join!(std::pin::Pin::new(&mut near).connect(), server.accept(far));
    assert!(near.is_err());
    assert!(
        matches!(far, Err(TlsHandshakeError::Incompatible { .. })),
        "{far:?}"
    );
}

// --- who is not ------------------------------------------------------------------------------------------

#[tokio::test]
async fn whoever_shows_no_certificate_is_refused_in_words() {
    let log = Log::capture();
    let pki = Pki::new("CA");
    let node = endpoint("node", pki.node("node"));
    let address = listening(&node, GRPCS).await;
    let bare = endpoint("bare", pki.reader());
    let error = refused(&bare, &address).await;
    assert!(
        error.contains("it requires a certificate, and we have none"),
        "{error}"
    );
    log.line("the peer shows no certificate, and one is required")
        .await;
    assert_eq!(
        client_refused(&address, Some(&pki.reader())).await,
        ClientError::Unreachable {
            url: address.clone(),
            reason: DialError::TlsHandshake(TlsHandshakeError::Refused { alert: 116 }),
        }
    );
    within(async { tokio::join!(node.shutdown(), bare.shutdown()) }).await;
}

#[tokio::test]
async fn a_client_certificate_of_another_ca_or_time_is_refused() {
    let log = Log::capture();
    let (ours, theirs) = (Pki::new("our CA"), Pki::new("their CA"));
    let node = endpoint("node", ours.node("node"));
    let address = listening(&node, GRPCS).await;
    let cases = [
        (
            theirs.issue("foreign"),
            "it does not trust the CA of our certificate",
            "does not chain to a CA we trust",
        ),
        (
            ours.issue_expired("old"),
            "our certificate has expired",
            "it has expired",
        ),
    ];
    for (files, at_client, at_server) in cases {
        let peer = endpoint("peer", files.options().cafile(ours.ca()));
        let error = refused(&peer, &address).await;
        assert!(error.contains(at_client), "{error}");
        log.line(at_server).await;
        within(peer.shutdown()).await;
    }
    within(node.shutdown()).await;
}

#[tokio::test]
async fn a_server_certificate_of_another_ca_time_or_host_is_refused() {
    let (ours, theirs) = (Pki::new("our CA"), Pki::new("their CA"));
    let elsewhere = ours.issue_with("elsewhere", |params| {
        let name = "elsewhere.example".to_owned().try_into().unwrap();
        params.subject_alt_names = vec![rcgen::SanType::DnsName(name)];
    });
    let nameless = ours.issue_with("nameless", |params| params.subject_alt_names.clear());
    let client = ours.node("client");
    let lenient = client.clone().verify_host_name(false);
    let cases = [
        (
            theirs.issue("foreign"),
            "does not chain to a CA we trust",
            false,
        ),
        (ours.issue_expired("old"), "it has expired", false),
        (elsewhere, "does not name the host", true),
        (nameless, "does not name the host", true),
    ];
    for (files, reason, passes_without_name) in cases {
        let node = endpoint("node", files.options().cafile(ours.ca()));
        let address = listening(&node, GRPCS).await;
        let error = client_refused(&address, Some(&client)).await.to_string();
        assert!(error.contains(reason), "{error}");
        let lenient = within(BrokerClient::connect_with(&address, Some(&lenient))).await;
        assert_eq!(lenient.is_ok(), passes_without_name, "{lenient:?}");
        drop(lenient);
        within(node.shutdown()).await;
    }
}

#[tokio::test]
async fn without_its_files_grpcs_is_refused_with_a_reason() {
    let none = plain("none");
    let listen = none.listen(&GRPCS.parse().unwrap()).await.unwrap_err();
    assert!(
        listen
            .to_string()
            .contains("TLS needs a certificate and a key"),
        "{listen}"
    );
    let error = refused(&none, &"grpcs://127.0.0.1:1".parse().unwrap()).await;
    assert!(!error.contains("refused"), "nobody was asked: {error}");
    let pki = Pki::new("CA");
    let gone = pki.dir().join("gone.pem");
    let broken = endpoint("broken", pki.node("node").certificate(&gone));
    let listen = broken.listen(&GRPCS.parse().unwrap()).await.unwrap_err();
    assert!(listen.to_string().contains("gone.pem"), "{listen}");
    within(async { tokio::join!(none.shutdown(), broken.shutdown()) }).await;
}

// --- TLS at one end only ---------------------------------------------------------------------------------

#[tokio::test]
async fn a_plain_peer_on_a_tls_port_is_named_on_both_sides() {
    let log = Log::capture();
    let pki = Pki::new("CA");
    let node = endpoint("node", pki.node("node"));
    let secure = listening(&node, GRPCS).await;
    let address = PeerUrl::new("grpc", secure.host(), secure.port());
    let other = plain("other");
    let error = refused(&other, &address).await;
    assert!(error.contains("speaks TLS: use grpcs:// here"), "{error}");
    let line = log.line("speaks gRPC without TLS").await;
    assert!(
        line.contains(&secure.to_string()) && line.contains("WARN"),
        "{line}"
    );
    assert_eq!(log.count("speaks gRPC without TLS"), 1);
    assert_eq!(
        client_refused(&address, None).await,
        ClientError::Unreachable {
            url: address.clone(),
            reason: DialError::WantsTls,
        }
    );
    within(async { tokio::join!(node.shutdown(), other.shutdown()) }).await;
}

#[tokio::test]
async fn a_tls_peer_on_a_plain_port_is_named_on_both_sides() {
    let log = Log::capture();
    let pki = Pki::new("CA");
    let node = plain("node");
    let open = listening(&node, GRPC).await;
    let address = PeerUrl::new("grpcs", open.host(), open.port());
    let other = endpoint("other", pki.node("other"));
    let error = refused(&other, &address).await;
    assert!(
        error.contains("speaks gRPC without TLS: use grpc:// here"),
        "{error}"
    );
    log.line("it speaks TLS, but this port is plain grpc://")
        .await;
    assert_eq!(
        client_refused(&address, Some(&pki.node("client"))).await,
        ClientError::Unreachable {
            url: address.clone(),
            reason: DialError::TlsHandshake(TlsHandshakeError::SpeaksHttp2),
        }
    );
    within(async { tokio::join!(node.shutdown(), other.shutdown()) }).await;
}

#[tokio::test]
async fn strangers_on_a_tls_port_are_sent_away_and_nobody_else_notices() {
    let log = Log::capture();
    let pki = Pki::new("CA");
    let node = endpoint("node", pki.node("node"));
    let address = listening(&node, GRPCS).await;
    let friend = endpoint("friend", pki.node("friend"));
    within(friend.connect(address.clone())).await.unwrap();
    let mut inbox = node.subscribe(Filter::from_iter([topic()]), QueueOptions::local());
    let cases: [(&[u8], &str); 5] = [
        (
            b"\0\0\0\x17\x06ZEEK0123456789abcdef\x01\x01",
            "speaks Broker without TLS",
        ),
        (
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            "speaks HTTP without TLS",
        ),
        (&[0xff; 4096], "is not TLS"),
        (&[0x16, 3, 1, 0, 4, 1, 0, 0, 0], "the TLS handshake failed"),
        // The beginning of a hello, and then nothing.
        (
            &[0x16, 3, 1, 1, 0, 1, 0, 0, 0xfc, 3, 3],
            "no TLS handshake within 2 s",
        ),
    ];
    let before = Instant::now();
    for (number, (bytes, reason)) in cases.into_iter().enumerate() {
        let mut stream = TcpStream::connect(address.authority(0)).await.unwrap();
        let _ = stream.write_all(bytes).await;
        let mut rest = Vec::new();
        let _ = within(stream.read_to_end(&mut rest)).await;
        log.line(reason).await;
        let data = Data::from(number as u64);
        friend
            .publish(Message::new(topic(), data.clone()))
            .await
            .unwrap();
        let message = within(inbox.recv()).await.unwrap();
        assert_eq!(message.data().unwrap(), &data);
    }
    assert!(before.elapsed() >= Duration::from_millis(1900));
    within(async { tokio::join!(node.shutdown(), friend.shutdown()) }).await;
}

#[tokio::test]
async fn a_port_scan_is_not_worth_a_warning() {
    let log = Log::capture();
    let pki = Pki::new("CA");
    let node = endpoint("node", pki.node("node"));
    let address = listening(&node, GRPCS).await;
    let mut scan = TcpStream::connect(address.authority(0)).await.unwrap();
    scan.shutdown().await.unwrap();
    let mut rest = Vec::new();
    let _ = within(scan.read_to_end(&mut rest)).await;
    within(node.shutdown()).await;
    assert_eq!(log.count("WARN"), 0);
}
