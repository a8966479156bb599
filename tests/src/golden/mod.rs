//! Recorded sessions, replayed against an endpoint of ours over a real TCP socket.
//!
//! A [`Recording`] has every frame of both sides. [`Replay`] plays one side of it byte for byte, and compares each frame that
//! the endpoint under test sends with the one its side sent in the recording. Nothing is skipped: at the end every recorded
//! frame of our side has been sent by ours, and every frame of ours is a recorded one or has a stated reason.
//!
//! | file | what it holds |
//! |---|---|
//! | `recording` | the file, and its frames in an order that can be replayed |
//! | `frame` | a frame taken apart, by the layout alone, without the codec under test |
//! | `names` | what no two runs have in common: object numbers, request numbers, the number of a goodbye |
//! | `pace` | time, which stands still until the recording waits for something that time brings |
//! | `replay` | the side that is played, and the comparison |
//! | `calls` | calls on a store of ours, and what must come of them |
//! | `logs` | what the recorded Zeek processes logged, as their scripts wrote it |

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

pub mod calls;
mod frame;
pub mod logs;
mod names;
mod pace;
mod recording;
mod replay;

pub use frame::{Frame, MessageFrame};
pub use recording::{Recorded, Recording, Side, Step};
pub use replay::{Cue, Explained, Replay};
