//! A TCP proxy that fails as networks and hosts do: it can stop passing anything on without closing anything, like a host that
//! loses its power or a firewall that forgets its connections; or hold back what its target says and still pass on what the
//! target is told, so that a peer does something of which nobody hears.

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The proxy; it ends when it is dropped.
#[derive(Debug)]
pub struct TcpProxy {
    address: SocketAddr,
    phase: watch::Sender<Phase>,
    _tasks: JoinSet<()>,
}

/// What the proxy does, and how often that has changed: a connection keeps what the first change made of it.
#[derive(Clone, Copy, Debug)]
struct Phase {
    number: u64,
    mode: Mode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Open,
    Frozen,
    Muted,
}

impl TcpProxy {
    /// Passes connections on to `target`, both ways.
    ///
    /// # Panics
    /// If no port can be bound.
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("bound");
        let phase = watch::Sender::new(Phase {
            number: 0,
            mode: Mode::Open,
        });
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
    /// nothing of them is passed on before [`open`](Self::open).
    pub fn freeze(&self) {
        self.change(Mode::Frozen);
    }

    /// Nothing more of what the target says arrives over the connections there are now, until either side closes them. New
    /// ones wait for [`open`](Self::open).
    pub fn mute(&self) {
        self.change(Mode::Muted);
    }

    /// Passes on, both ways, what comes by connections that were made since it was open last.
    pub fn open(&self) {
        self.change(Mode::Open);
    }

    fn change(&self, mode: Mode) {
        self.phase.send_if_modified(|phase| {
            let changes = phase.mode != mode;
            if changes {
                phase.number += 1;
                phase.mode = mode;
            }
            changes
        });
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, phase: watch::Receiver<Phase>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        connections.spawn(serve(client, target, phase.clone()));
    }
}

/// Ends, and closes both connections, as soon as either side does.
async fn serve(client: TcpStream, target: SocketAddr, mut phase: watch::Receiver<Phase>) {
    let open = phase.wait_for(|phase| phase.mode == Mode::Open).await;
    let Ok(begun) = open.map(|phase| phase.number) else {
        return;
    };
    // A target that is not there is one that refuses.
    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let mut also = phase.clone();
    let questions = async {
        tokio::select! {
            biased;
            Some(Mode::Frozen) = next_mode(&mut also, begun) => std::future::pending().await,
            () = pass(&mut from_client, &mut to_server) => {}
        }
    };
    let answers = async {
        tokio::select! {
            biased;
            mode = next_mode(&mut phase, begun) => match mode {
                Some(Mode::Muted) => swallow(&mut from_server).await,
                _ => std::future::pending().await,
            },
            () = pass(&mut from_server, &mut to_client) => {}
        }
    };
    tokio::select! {
        () = questions => {}
        () = answers => {}
    }
}

/// What the proxy does once it does something else than it did at first.
async fn next_mode(phase: &mut watch::Receiver<Phase>, begun: u64) -> Option<Mode> {
    let changed = phase.wait_for(|phase| phase.number != begun).await;
    changed.ok().map(|phase| phase.mode)
}

/// Passes on what one side says until either ends.
async fn pass(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin)) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if to.write_all(&buffer[..read]).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}

async fn swallow(from: &mut (impl AsyncRead + Unpin)) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(1..) = from.read(&mut buffer).await {}
}
