//! A TCP proxy that can stop passing anything on without closing anything, as a host does that loses its power or a
//! firewall that forgets its connections.

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The proxy; it ends when it is dropped.
#[derive(Debug)]
pub struct BlackHole {
    address: SocketAddr,
    /// Counts freezes and thaws: odd is frozen.
    phase: watch::Sender<u64>,
    _tasks: JoinSet<()>,
}

impl BlackHole {
    /// Passes connections on to `target`.
    ///
    /// # Panics
    /// If no port can be bound.
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("bound");
        let phase = watch::Sender::new(0);
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, target, phase.subscribe()));
        Self {
            address,
            phase,
            _tasks: tasks,
        }
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Passes nothing on any more. Connections there are now stay open and silent for good; new ones are taken, and
    /// nothing of them is passed on before [`thaw`](Self::thaw).
    pub fn freeze(&self) {
        self.phase.send_modify(|phase| *phase |= 1);
    }

    /// Passes on what comes by connections that were made since it froze.
    pub fn thaw(&self) {
        self.phase.send_modify(|phase| *phase += *phase & 1);
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, phase: watch::Receiver<u64>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        connections.spawn(serve(client, target, phase.clone()));
    }
}

async fn serve(client: TcpStream, target: SocketAddr, mut phase: watch::Receiver<u64>) {
    let Ok(begun) = phase
        .wait_for(|phase| phase % 2 == 0)
        .await
        .map(|phase| *phase)
    else {
        return;
    };
    // A target that is not there yet is one that refuses.
    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let frozen = async {
        let _ = phase.wait_for(|phase| *phase != begun).await;
    };
    let passing = async {
        tokio::join!(
            pass(&mut from_client, &mut to_server),
            pass(&mut from_server, &mut to_client)
        )
    };
    tokio::select! {
        biased;
        () = frozen => std::future::pending().await,
        _ = passing => {}
    }
}

/// Passes on what one side says until either ends.
pub(crate) async fn pass(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin)) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if to.write_all(&buffer[..read]).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}
