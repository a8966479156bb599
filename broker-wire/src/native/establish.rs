//! From an open byte stream to a connection: the handshake's bytes, both ways round.

use std::sync::Arc;

use broker_core::handshake::{HandshakeError, Side};
use broker_core::{
    Admission, Admit, Connection, Filter, LinkTraits, LocalNode, PeerIdentity, PeerUrl,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::Settings;
use super::deframer::{Deframer, Next};
use super::frame::FrameCodec;
use super::handshake::{NativeHandshake, Ours, Role, Theirs};
use super::limits::{LINGER, MAX_FRAME, MAX_HANDSHAKE_FRAME};
use super::link::{NativeSink, NativeSource};
use super::message::Introduction;

/// Both halves of a stream while hands are being shaken.
struct Io<R, W> {
    reader: R,
    writer: W,
    deframer: Deframer,
    /// Whether anything has been heard at all.
    heard: bool,
}

/// What a handshake leaves behind.
struct Agreed {
    theirs: Theirs,
    admission: Admission,
    announced: Filter,
}

/// Shakes hands over a stream, within the endpoint's handshake timeout.
///
/// # Errors
/// The other side has been told why where it was there to be told, and the stream is closed.
pub(crate) async fn establish<R, W>(
    side: Side,
    (reader, writer): (R, W),
    local: &LocalNode,
    url: PeerUrl,
    settings: &Settings,
) -> Result<Connection, HandshakeError>
where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    let mut io = Io {
        reader,
        writer,
        deframer: Deframer::new(MAX_HANDSHAKE_FRAME),
        heard: false,
    };
    let after = local.handshake_timeout();
    let agreed = timeout(after, io.shake(side, local, settings))
        .await
        .unwrap_or(Err(HandshakeError::TimedOut { after }));
    let agreed = match agreed {
        Ok(agreed) => agreed,
        Err(error) => {
            io.close().await;
            return Err(error);
        }
    };
    let Agreed {
        theirs,
        admission,
        announced,
    } = agreed;
    let numbered = theirs.version >= 2;
    let codec = FrameCodec {
        local: local.id(),
        numbered,
    };
    io.deframer.set_limit(MAX_FRAME);
    Ok(Connection {
        admission,
        announced,
        url,
        inbound: side == Side::Acceptor,
        sink: Box::new(NativeSink::new(io.writer, codec)),
        source: Box::new(NativeSource::new(
            io.reader,
            codec,
            theirs.id,
            io.deframer,
            Arc::clone(&settings.complaints),
        )),
        traits: LinkTraits {
            numbered,
            forwards_pings: true,
            heartbeat: Some(settings.heartbeat),
        },
        peer: PeerIdentity {
            id: theirs.id,
            name: theirs.introduction.name,
            software: theirs.introduction.software,
            version: theirs.version.into(),
            features: theirs.introduction.features,
            filter: theirs.filter,
        },
    })
}

impl<R, W> Io<R, W>
where
    R: AsyncRead + Send + Unpin,
    W: AsyncWrite + Send + Unpin,
{
    async fn shake(
        &mut self,
        side: Side,
        local: &LocalNode,
        settings: &Settings,
    ) -> Result<Agreed, HandshakeError> {
        let hello = local.hello();
        let announced = hello.filter.clone();
        let ours = Ours {
            id: hello.id,
            versions: settings.versions,
            filter: hello.filter,
            introduction: Introduction {
                name: hello.name,
                software: hello.software,
                features: hello.features,
                required: hello.required,
            },
        };
        let mut machine = NativeHandshake::new(side, ours);
        let mut admission = None;
        loop {
            self.flush(&mut machine).await?;
            if let Some((remote, role)) = machine.undecided() {
                match local.admit(remote, role == Role::Originator).await {
                    Admit::Granted(granted) => {
                        admission = Some(granted);
                        machine.accept();
                    }
                    Admit::Refused(error) => {
                        machine.refuse(&error);
                        // Best effort: the other side may be gone, and what happened here matters more.
                        let _ = self.flush(&mut machine).await;
                        return Err(error);
                    }
                }
                continue;
            }
            if let Some(theirs) = machine.peer()
                && let Some(admission) = admission.take()
            {
                return Ok(Agreed {
                    theirs: theirs.clone(),
                    admission,
                    announced,
                });
            }
            let frame = self.frame().await?;
            if let Err(error) = machine.handle_frame(&frame) {
                let _ = self.flush(&mut machine).await;
                return Err(error);
            }
        }
    }

    async fn flush(&mut self, machine: &mut NativeHandshake) -> Result<(), HandshakeError> {
        let mut sent = false;
        while let Some(frame) = machine.poll_transmit() {
            self.writer.write_all(&frame).await.map_err(lost)?;
            sent = true;
        }
        if sent {
            self.writer.flush().await.map_err(lost)?;
        }
        Ok(())
    }

    /// The next frame; what is no frame of a handshake ends it.
    async fn frame(&mut self) -> Result<bytes::Bytes, HandshakeError> {
        let protocol = |error: super::deframer::BadStream| HandshakeError::Protocol {
            reason: error.to_string(),
        };
        loop {
            self.deframer.check_protocol().map_err(protocol)?;
            match self.deframer.next().map_err(protocol)? {
                Next::Frame(frame) => return Ok(frame),
                Next::Skipped { len } => {
                    return Err(HandshakeError::Protocol {
                        reason: format!("a handshake message of {len} bytes"),
                    });
                }
                Next::More => {}
            }
            let read = self.reader.read_buf(self.deframer.buffer()).await;
            if self.is_hung_up(&read) {
                let reason = if self.heard {
                    "the peer closed the connection"
                } else {
                    "the peer closed the connection without a word (does it expect TLS? that is brokers://)"
                };
                return Err(HandshakeError::Disconnected {
                    reason: reason.to_owned(),
                });
            }
            read.map_err(lost)?;
            self.heard = true;
        }
    }

    /// Whether the peer has closed. A Zeek that expects TLS hears what is none, and closes with that unread: a reset.
    fn is_hung_up(&self, read: &std::io::Result<usize>) -> bool {
        match read {
            Ok(bytes) => *bytes == 0,
            Err(error) => !self.heard && error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }

    /// Closes the stream so that the other side can still read what was sent: what comes in meanwhile is thrown away.
    async fn close(mut self) {
        let _ = timeout(LINGER, async {
            if self.writer.shutdown().await.is_ok() {
                let mut waste = [0; 4096];
                while self
                    .reader
                    .read(&mut waste)
                    .await
                    .is_ok_and(|read| read > 0)
                {}
            }
        })
        .await;
    }
}

fn lost(error: std::io::Error) -> HandshakeError {
    HandshakeError::Disconnected {
        reason: error.to_string(),
    }
}
