//! A TCP proxy that can hold back what its target says and still pass on what the target is told: so a test has a peer do
//! something of which nobody hears before it dies.

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::black_hole::pass;

/// The proxy; it ends when it is dropped.
#[derive(Debug)]
pub struct OneWay {
    address: SocketAddr,
    /// Counts changes: odd is muted.
    phase: watch::Sender<u64>,
    _tasks: JoinSet<()>,
}

impl OneWay {
    /// Passes connections on to `target`, both ways.
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

    /// Nothing more of what the target says arrives over the connections there are now, until the target closes them. New
    /// ones wait for [`unmute`](Self::unmute).
    pub fn mute(&self) {
        self.phase.send_modify(|phase| *phase |= 1);
    }

    /// New connections are passed on both ways again.
    pub fn unmute(&self) {
        self.phase.send_modify(|phase| *phase += *phase & 1);
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, phase: watch::Receiver<u64>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        connections.spawn(serve(client, target, phase.clone()));
    }
}

/// Ends, and closes both connections, as soon as either side does.
async fn serve(client: TcpStream, target: SocketAddr, mut phase: watch::Receiver<u64>) {
    let Ok(begun) = phase
        .wait_for(|phase| phase % 2 == 0)
        .await
        .map(|phase| *phase)
    else {
        return;
    };
    // A target that is not there is one that refuses.
    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let answers = async {
        tokio::select! {
            biased;
            _ = phase.wait_for(|phase| *phase != begun) => {}
            () = pass(&mut from_server, &mut to_client) => return,
        }
        swallow(&mut from_server).await;
    };
    tokio::select! {
        () = pass(&mut from_client, &mut to_server) => {}
        () = answers => {}
    }
}

async fn swallow(from: &mut (impl AsyncRead + Unpin)) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(1..) = from.read(&mut buffer).await {}
}
