//! The side that is played: its frames, with the names our endpoint chose, and its end of the connection.

use broker_store::command::Command;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::super::frame::{COMMAND, Frame, PING, PONG};
use super::super::pace::tick;
use super::super::recording::Recorded;
use super::{MAX_TICKS, Place, Replay};

impl Replay {
    pub(super) async fn play(&mut self, recorded: &Recorded) {
        let Frame::Message(message) = &recorded.frame else {
            if matches!(recorded.frame, Frame::Hello(_)) && !self.handshake {
                self.dial_in_vain(&recorded.bytes).await;
                return;
            }
            self.send(&recorded.bytes).await;
            self.note_handshake(&recorded.frame);
            return;
        };
        let mut message = message.clone();
        match message.kind {
            COMMAND => {
                let command = Command::decode(&message.payload).unwrap();
                self.played_seq = self.played_seq.max(command.seq);
                message.payload = self.names.translate(&command).encode().to_vec();
            }
            PONG => message.payload = self.names.goodbye(&message.payload),
            _ => {}
        }
        let bytes = message.to_bytes();
        if self.cut_short && message.kind < PING {
            for length in 0..bytes.len() - 4 {
                let prefix = u32::try_from(length).unwrap().to_be_bytes();
                self.send(&[&prefix, &bytes[4..4 + length]].concat()).await;
            }
        }
        self.send(&bytes).await;
    }

    /// The other side dials again after it was told goodbye: ours, which has shut down, does not answer.
    async fn dial_in_vain(&mut self, hello: &[u8]) {
        self.hang_up().await;
        let Place::Dialling(address) = self.place else {
            panic!("the played side dials")
        };
        let Ok(mut stream) = self
            .pace
            .patiently("a refusal", TcpStream::connect(address))
            .await
        else {
            return;
        };
        let _ = stream.write_all(hello).await;
        let mut answer = Vec::new();
        let _ = self
            .pace
            .patiently("the end of the connection", stream.read_to_end(&mut answer))
            .await;
        assert!(answer.is_empty(), "{answer:02x?}");
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) {
        self.connect().await;
        let wire = self.wire.as_mut().unwrap();
        self.pace
            .patiently("room", wire.stream.write_all(bytes))
            .await
            .unwrap();
    }

    /// Establishes the TCP connection, if there is none.
    async fn connect(&mut self) {
        if self.wire.is_some() {
            return;
        }
        let stream = match &self.place {
            Place::Dialling(address) => {
                let stream = self
                    .pace
                    .patiently("a connection", TcpStream::connect(*address));
                stream.await.unwrap()
            }
            Place::Listening(listener) => accept(listener).await,
            Place::Nowhere => panic!("open() comes first"),
        };
        stream.set_nodelay(true).unwrap();
        self.wire = Some(Wire {
            stream,
            buffer: Vec::new(),
        });
    }

    /// Closes the connection, and takes what our endpoint still sends until it closes its end.
    pub(super) async fn hang_up(&mut self) {
        let Some(wire) = &mut self.wire else { return };
        let _ = wire.stream.shutdown().await;
        while let Some(frame) = self.next_frame().await {
            self.take(frame).await;
        }
        self.wire = None;
    }

    pub(super) async fn frame_or_panic(&mut self, what: &str) -> Vec<u8> {
        match self.next_frame().await {
            Some(frame) => frame,
            None => panic!("{what}: our endpoint closed the connection"),
        }
    }

    pub(super) async fn next_frame(&mut self) -> Option<Vec<u8>> {
        self.connect().await;
        let wire = self.wire.as_mut().unwrap();
        self.pace
            .patiently("a frame of our endpoint", wire.next_frame())
            .await
    }
}

/// The next connection. Whoever dials again may wait in between, so time moves.
async fn accept(listener: &TcpListener) -> TcpStream {
    for _ in 0..MAX_TICKS {
        let turns = async {
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            accepted = listener.accept() => return accepted.unwrap().0,
            () = turns => tick().await,
        }
    }
    panic!("our endpoint did not dial")
}

pub(super) struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Wire {
    /// The next frame, its length in front; `None` at the end.
    pub(super) async fn next_frame(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(prefix) = self.buffer.first_chunk::<4>() {
                let whole = 4 + u32::from_be_bytes(*prefix) as usize;
                if self.buffer.len() >= whole {
                    let rest = self.buffer.split_off(whole);
                    return Some(std::mem::replace(&mut self.buffer, rest));
                }
            }
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }
}
