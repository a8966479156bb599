//! TLS of `brokers://` between two contexts, and with whoever should not be there.

#![cfg(feature = "openssl-system")]
#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod pki;

use std::time::Duration;

use broker_wire::tls::{NativeTls, NativeTlsStream, TlsHandshakeError, TlsOptions};
use pki::Pki;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// A hello of the native protocol: length 23, type 6, magic, ID, versions.
const HELLO: &[u8] = b"\0\0\0\x17\x06ZEEK0123456789abcdef\x01\x01";
const PROBE: &[u8] = b"\0\0\0\x05\x07ZEEK";

fn tls(options: &TlsOptions) -> NativeTls {
    NativeTls::new(options).unwrap()
}

type Outcome = Result<NativeTlsStream<DuplexStream>, TlsHandshakeError>;

/// What became of the handshake of two contexts, at the connector and at the acceptor.
async fn meet(connector: &NativeTls, acceptor: &NativeTls) -> (Outcome, Outcome) {
    let (near, far) = duplex(16 << 10);
    let handshakes = async { tokio::join!(connector.connect(near), acceptor.accept(far)) };
    timeout(Duration::from_secs(20), handshakes).await.unwrap()
}

/// What the acceptor said, and what the connector did, if only when it first read.
async fn refused(
    connector: &NativeTls,
    acceptor: &NativeTls,
) -> (TlsHandshakeError, TlsHandshakeError) {
    let (connected, accepted) = meet(connector, acceptor).await;
    let at_connector = match connected {
        Err(error) => error,
        Ok(mut stream) => {
            let error = stream.read_u8().await.unwrap_err();
            let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
            inner.cloned().unwrap_or_else(|| panic!("{error}"))
        }
    };
    (accepted.map(drop).unwrap_err(), at_connector)
}

async fn exchange(
    connected: &mut NativeTlsStream<DuplexStream>,
    accepted: &mut NativeTlsStream<DuplexStream>,
) {
    connected.write_all(b"hello").await.unwrap();
    let mut bytes = [0; 5];
    accepted.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"hello");
    accepted.write_all(b"there").await.unwrap();
    connected.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"there");
}

#[tokio::test(start_paused = true)]
async fn without_options_the_suite_is_the_one_zeek_uses() {
    let context = tls(&TlsOptions::new());
    assert!(context.is_anonymous());
    let (connected, accepted) = meet(&context, &context).await;
    let (mut connected, mut accepted) = (connected.unwrap(), accepted.unwrap());
    for stream in [&connected, &accepted] {
        assert_eq!(stream.cipher(), "AECDH-AES256-SHA");
        assert_eq!(stream.version(), "TLSv1.2");
    }
    exchange(&mut connected, &mut accepted).await;
}

#[tokio::test(start_paused = true)]
async fn the_client_hello_offers_the_anonymous_suite_and_p_384_alone() {
    let context = tls(&TlsOptions::new());
    // A ClientHello is what our own connector says to somebody who only listens.
    let (near, mut far) = duplex(16 << 10);
    let connector = context.clone();
    let connecting = tokio::spawn(async move { connector.connect(near).await.map(drop) });
    let mut header = [0; 5];
    far.read_exact(&mut header).await.unwrap();
    let mut hello = vec![0; usize::from(u16::from_be_bytes([header[3], header[4]]))];
    far.read_exact(&mut hello).await.unwrap();
    // Handshake type, length u24, version, random 32, session ID; then the suites.
    assert_eq!((hello[0], &hello[4..6]), (1, &[3, 3][..]));
    let suites = 39 + usize::from(hello[38]);
    // One suite, and the empty extension renegotiation_info (RFC 5746, 3.4).
    assert_eq!(hello[suites..suites + 4], [0, 2, 0xc0, 0x19]);
    let has = |part: &[u8]| hello.windows(part.len()).any(|bytes| bytes == part);
    assert!(has(&[0xff, 1, 0, 1, 0]));
    // Extension supported_groups has P-384 (24) alone.
    assert!(has(&[0, 10, 0, 4, 0, 2, 0, 24]));
    drop(far);
    assert_eq!(
        connecting.await.unwrap(),
        Err(TlsHandshakeError::ClosedUnheard)
    );
}

#[tokio::test(start_paused = true)]
async fn with_certificates_each_side_verifies_the_other() {
    let pki = Pki::new("CA");
    let context = tls(&pki.node("manager"));
    assert!(!context.is_anonymous());
    let other = tls(&pki
        .issue_through_intermediate("worker")
        .options()
        .cafile(pki.ca()));
    for (connector, acceptor) in [(&context, &other), (&other, &context)] {
        let (connected, accepted) = meet(connector, acceptor).await;
        let (mut connected, mut accepted) = (connected.unwrap(), accepted.unwrap());
        assert_eq!(connected.version(), "TLSv1.3");
        exchange(&mut connected, &mut accepted).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_host_name_of_a_certificate_does_not_matter() {
    let pki = Pki::new("CA");
    let nameless = pki.issue_with("nameless", |params| params.subject_alt_names.clear());
    let context = tls(&nameless.options().cafile(pki.ca()));
    let (connected, accepted) = meet(&context, &context).await;
    assert!(connected.is_ok() && accepted.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_certificate_of_another_ca_is_refused_by_either_side() {
    let ours = Pki::new("our CA");
    let theirs = Pki::new("their CA");
    let good = tls(&ours.node("good"));
    let foreign = tls(&theirs.issue("foreign").options().cafile(ours.ca()));

    let (acceptor, connector) = refused(&foreign, &good).await;
    assert!(
        matches!(&acceptor, TlsHandshakeError::BadCertificate { reason } if reason.contains("issuer")),
        "{acceptor}"
    );
    assert_eq!(connector, TlsHandshakeError::Refused { alert: 48 });
    assert!(connector.to_string().contains("does not trust the CA"));

    let (acceptor, connector) = refused(&good, &foreign).await;
    assert_eq!(acceptor, TlsHandshakeError::Refused { alert: 48 });
    assert!(
        matches!(&connector, TlsHandshakeError::BadCertificate { reason } if reason.contains("issuer")),
        "{connector}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_expired_certificate_is_refused_by_either_side() {
    let pki = Pki::new("CA");
    let good = tls(&pki.node("good"));
    let old = tls(&pki.issue_expired("old").options().cafile(pki.ca()));
    for (acceptor, connector) in [refused(&old, &good).await, {
        let (acceptor, connector) = refused(&good, &old).await;
        (connector, acceptor)
    }] {
        assert_eq!(
            acceptor.to_string(),
            "the peer's certificate is refused: certificate has expired"
        );
        assert_eq!(connector, TlsHandshakeError::Refused { alert: 45 });
    }
}

#[tokio::test(start_paused = true)]
async fn anonymous_and_authenticated_do_not_mix() {
    let pki = Pki::new("CA");
    let mutual = tls(&pki.node("node"));
    let anonymous = tls(&TlsOptions::new());
    for (connector, acceptor) in [(&mutual, &anonymous), (&anonymous, &mutual)] {
        let (at_acceptor, at_connector) = refused(connector, acceptor).await;
        assert!(
            at_acceptor.to_string().contains("is one side anonymous"),
            "{at_acceptor}"
        );
        assert!(
            at_connector.to_string().contains("is one side anonymous")
                || matches!(at_connector, TlsHandshakeError::Refused { alert: 70 }),
            "{at_connector}"
        );
    }
}

#[cfg(feature = "tls")]
#[tokio::test(start_paused = true)]
async fn a_connector_without_a_certificate_is_refused() {
    use broker_wire::tls::RustlsClient;

    let pki = Pki::new("CA");
    let acceptor = tls(&pki.node("node"));
    let bare = RustlsClient::web_socket(&pki.reader()).unwrap();
    let (near, far) = duplex(16 << 10);
    let (connected, accepted) = tokio::join!(bare.connect("localhost", near), acceptor.accept(far));
    assert_eq!(accepted.map(drop), Err(TlsHandshakeError::NoCertificate));
    let error = connected.unwrap().read_u8().await.unwrap_err();
    assert!(
        error.to_string().contains("requires a certificate"),
        "{error}"
    );
}

#[cfg(feature = "tls")]
#[tokio::test(start_paused = true)]
async fn with_certificates_rustls_gets_along_with_it() {
    use broker_wire::tls::{RustlsClient, RustlsServer};

    let pki = Pki::new("CA");
    let native = tls(&pki.node("native"));
    let client = RustlsClient::web_socket(&pki.node("client")).unwrap();
    let (near, far) = duplex(16 << 10);
    let (connected, accepted) = tokio::join!(client.connect("localhost", near), native.accept(far));
    let (mut connected, mut accepted) = (connected.unwrap(), accepted.unwrap());
    accepted.write_all(b"abc").await.unwrap();
    let mut bytes = [0; 3];
    connected.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"abc");

    let server = RustlsServer::web_socket(&pki.node("server")).unwrap();
    let (near, far) = duplex(16 << 10);
    let (connected, accepted) = tokio::join!(native.connect(near), server.accept(far));
    assert!(connected.is_ok() && accepted.is_ok());
}

/// What an acceptor and a connector make of a peer that begins with `bytes`.
async fn meet_bytes(bytes: &[u8]) -> (TlsHandshakeError, TlsHandshakeError) {
    let context = tls(&TlsOptions::new());
    let (mut near, far) = duplex(16 << 10);
    near.write_all(bytes).await.unwrap();
    let acceptor = context.accept(far).await.map(drop).unwrap_err();
    let (mut near, far) = duplex(16 << 10);
    near.write_all(bytes).await.unwrap();
    let connector = context.connect(far).await.map(drop).unwrap_err();
    (acceptor, connector)
}

#[tokio::test(start_paused = true)]
async fn a_peer_without_tls_is_named_as_such_at_once() {
    for bytes in [HELLO, PROBE] {
        let (acceptor, connector) = meet_bytes(bytes).await;
        assert_eq!(acceptor, TlsHandshakeError::SpeaksBroker);
        assert_eq!(connector, TlsHandshakeError::SpeaksBroker);
        assert_eq!(
            acceptor.to_string(),
            "the peer speaks Broker without TLS: use broker:// here or turn TLS on there"
        );
    }
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let (acceptor, connector) = meet_bytes(preface).await;
    assert_eq!(
        (acceptor, connector),
        (
            TlsHandshakeError::SpeaksHttp2,
            TlsHandshakeError::SpeaksHttp2
        )
    );
    let (acceptor, _) = meet_bytes(b"GET /v1/messages/json HTTP/1.1\r\n\r\n").await;
    assert_eq!(acceptor, TlsHandshakeError::SpeaksHttp1);
}

#[tokio::test(start_paused = true)]
async fn garbage_is_refused() {
    let (acceptor, connector) = meet_bytes(&[0xff; 4096]).await;
    assert_eq!(
        (acceptor, connector),
        (TlsHandshakeError::NotTls, TlsHandshakeError::NotTls)
    );
    // A record that begins well.
    let record = [&[0x16, 3, 1, 0, 200][..], &[0xee; 200]].concat();
    let (acceptor, connector) = meet_bytes(&record).await;
    for error in [acceptor, connector] {
        assert!(matches!(error, TlsHandshakeError::Failed { .. }), "{error}");
    }
    // Every truncation of a real hello, followed by the end.
    let context = tls(&TlsOptions::new());
    for len in [0, 1, 5, 6, 40, 100] {
        let (near, mut far) = duplex(16 << 10);
        let connector = context.clone();
        let connecting = tokio::spawn(async move { connector.connect(near).await.map(drop) });
        let mut hello = vec![0; len];
        far.read_exact(&mut hello).await.unwrap();
        connecting.abort();
        let (mut near, far) = duplex(16 << 10);
        near.write_all(&hello).await.unwrap();
        drop(near);
        let error = context.accept(far).await.map(drop).unwrap_err();
        let expected = if len == 0 {
            TlsHandshakeError::ClosedUnheard
        } else {
            TlsHandshakeError::Closed
        };
        assert_eq!(error, expected, "{len}");
    }
}

#[tokio::test(start_paused = true)]
async fn silence_lasts_until_the_callers_deadline() {
    let context = tls(&TlsOptions::new());
    let (_near, far) = duplex(1024);
    assert!(
        timeout(Duration::from_secs(10), context.accept(far))
            .await
            .is_err()
    );
    let (_near, far) = duplex(1024);
    assert!(
        timeout(Duration::from_secs(10), context.connect(far))
            .await
            .is_err()
    );
}

#[tokio::test(start_paused = true)]
async fn the_end_without_a_farewell_is_an_ordinary_end() {
    let context = tls(&TlsOptions::new());
    let (connected, accepted) = meet(&context, &context).await;
    let (mut connected, mut accepted) = (connected.unwrap(), accepted.unwrap());
    connected.write_all(b"last words").await.unwrap();
    connected.flush().await.unwrap();
    drop(connected);
    let mut all = Vec::new();
    accepted.read_to_end(&mut all).await.unwrap();
    assert_eq!(all, b"last words");
}

#[tokio::test]
async fn both_directions_of_a_tcp_connection_are_used_at_once() {
    const MEGABYTES: usize = 4;
    let pki = Pki::new("CA");
    let context = tls(&pki.node("node"));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
    let (near, far) = tokio::join!(
        context.connect(near.unwrap()),
        context.accept(far.unwrap().0)
    );
    let busy = |stream: NativeTlsStream<TcpStream>, byte: u8| async move {
        let (mut read, mut write) = tokio::io::split(stream);
        let sent = vec![byte; 1 << 20];
        let writing = async {
            for _ in 0..MEGABYTES {
                write.write_all(&sent).await.unwrap();
            }
            write.shutdown().await.unwrap();
        };
        let mut got = Vec::new();
        let (_, read) = tokio::join!(writing, read.read_to_end(&mut got));
        read.unwrap();
        got
    };
    let both = async { tokio::join!(busy(near.unwrap(), 1), busy(far.unwrap(), 2)) };
    let (near, far) = timeout(Duration::from_secs(30), both).await.unwrap();
    assert!(near == vec![2; MEGABYTES << 20] && far == vec![1; MEGABYTES << 20]);
}
