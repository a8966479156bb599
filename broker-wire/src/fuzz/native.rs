//! `broker://`: the stream, frames of both versions, the handshake.

use broker_core::handshake::{HandshakeError, Side, VersionRange};
use broker_core::{EndpointId, Envelope, Filter, Topic};
use bytes::{BufMut, Bytes};

use crate::native::deframer::{BadStream, Deframer, Next};
use crate::native::frame::{FrameCodec, PREFIX_LEN};
use crate::native::handshake::{NativeHandshake, Ours};
use crate::native::message::{HandshakeMessage, Introduction};

const LOCAL: EndpointId = EndpointId::from_bytes([5; 16]);

/// A stream in chunks, of which the first byte tells the length: frame by frame and in runs the same comes out, wherever
/// it is cut.
pub fn native_stream(bytes: &[u8]) {
    let Some((&chunk, stream)) = bytes.split_first() else {
        return;
    };
    let single = cut(stream, chunk.into(), 0);
    assert_eq!(single, cut(stream, stream.len(), 0));
    assert_eq!(single, cut(stream, chunk.into(), 2));
    assert_eq!(single, cut(stream, stream.len(), 1000));
}

/// The frames of a stream, the lengths of those skipped, and how it ended; `runs` is how many frames are taken at once.
fn cut(
    stream: &[u8],
    chunk: usize,
    runs: usize,
) -> (Vec<Bytes>, Vec<usize>, Result<bool, BadStream>) {
    let mut deframer = Deframer::new(200);
    let (mut frames, mut skipped) = (Vec::new(), Vec::new());
    for chunk in stream.chunks(chunk.max(1)) {
        deframer.buffer().put_slice(chunk);
        let _ = deframer.check_protocol();
        loop {
            if runs > 0 {
                let before = frames.len();
                let mut run = deframer.next_run(runs);
                while let Some(range) = run.next() {
                    frames.push(run.bytes().slice(range));
                }
                assert!(frames.len() - before <= runs);
                if frames.len() > before {
                    continue;
                }
            }
            match deframer.next() {
                Ok(Next::Frame(frame)) => frames.push(frame),
                Ok(Next::Skipped { len }) => skipped.push(len),
                Ok(Next::More) => break,
                Err(error) => return (frames, skipped, Err(error)),
            }
        }
    }
    (frames, skipped, Ok(deframer.is_between_frames()))
}

/// A frame of version 1 and of version 2: the same when written and read again, but for what the version does not carry.
pub fn native_frame(bytes: &[u8]) {
    for numbered in [false, true] {
        let codec = FrameCodec {
            local: LOCAL,
            numbered,
        };
        let Ok(envelope) = codec.read(&Bytes::copy_from_slice(bytes), 0..bytes.len()) else {
            continue;
        };
        let mut written = Vec::new();
        codec.put(&envelope, &mut written);
        assert_eq!(written.len(), codec.frame_len(&envelope));
        let length = (written.len() - PREFIX_LEN) as u32;
        assert_eq!(written[..PREFIX_LEN], length.to_be_bytes());
        let range = PREFIX_LEN..written.len();
        let again = codec.read(&Bytes::from(written), range);
        let expected = Envelope {
            sender: LOCAL,
            ..envelope
        };
        assert_eq!(again, Ok(expected));
    }
}

/// A message of the handshake: the same when written and read again.
pub fn native_message(bytes: &[u8]) {
    match HandshakeMessage::decode(bytes) {
        Ok(message) => {
            let written = message.to_frame();
            let again = HandshakeMessage::decode(&written[PREFIX_LEN..]);
            assert_eq!(again, Ok(message));
        }
        Err(bad) => drop((bad.code(), bad.to_string())),
    }
}

/// Both sides of a handshake against anything: it sends at most one drop_conn and nothing behind it, decides about a peer
/// once, and whom it takes for a peer has said who it is.
pub fn native_handshake(bytes: &[u8]) {
    for side in [Side::Connector, Side::Acceptor] {
        let ours = Ours {
            id: LOCAL,
            versions: VersionRange { min: 1, max: 2 },
            filter: Filter::from(Topic::from_static("/a")),
            introduction: Introduction::default(),
        };
        let mut machine = NativeHandshake::new(side, ours);
        let mut dropped = false;
        let mut rest = bytes;
        let mut over = false;
        while let Some((&[len, decision], behind)) = rest.split_first_chunk::<2>() {
            let (frame, behind) = behind.split_at(behind.len().min(len.into()));
            rest = behind;
            let result = machine.handle_frame(frame);
            if let Some((peer, _)) = machine.undecided() {
                assert!(result.is_ok() && peer != LOCAL && !peer.is_nil());
                match decision % 4 {
                    0 => machine.refuse(&HandshakeError::Redundant { peer }),
                    1 => machine.refuse(&HandshakeError::ShuttingDown),
                    _ => machine.accept(),
                }
                assert!(machine.undecided().is_none(), "decided");
            }
            assert!(
                !over || machine.peer().is_none(),
                "a failed handshake goes on"
            );
            over |= result.is_err();
            while let Some(sent) = machine.poll_transmit() {
                assert!(!dropped, "something behind drop_conn");
                let message = HandshakeMessage::decode(&sent[PREFIX_LEN..]);
                dropped = matches!(message, Ok(HandshakeMessage::DropConn { .. }));
                assert!(message.is_ok(), "{message:?}");
            }
            if let Some(peer) = machine.peer() {
                assert!(!dropped && !peer.id.is_nil() && peer.id != LOCAL);
                assert!((1..=2).contains(&peer.version));
            }
            if over {
                break;
            }
        }
    }
}
