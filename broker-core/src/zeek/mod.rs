//! Zeek's messages: what the values on Zeek's topics mean.
//!
//! Every message is a vector of three: count 1 (the format's version), a count for the type, and a vector with the
//! content (wire reference 6, cluster reference 6.1 to 6.5):
//!
//! | type | message | content |
//! |---|---|---|
//! | 1 | [`Event`] | string name, vector of arguments, optional vector of metadata |
//! | 2 | [`LogCreate`] | enum stream, enum writer, writer info, vector of columns |
//! | 3 | [`LogWrite`] | enum stream, enum writer, string path, string with the encoded record |
//! | 4 | [`IdentifierUpdate`] | string name, value |
//! | 5 | batch | any number of messages, batches included |
//!
//! ```
//! use broker_core::DataView;
//! use broker_core::zeek::{Event, Message, MessageView};
//!
//! let bytes = Event::new("ping", vec![1u64.into()]).into_data().to_bytes();
//! let view = DataView::parse(&bytes)?;
//! if let MessageView::Event { name, .. } = MessageView::parse(view)? {
//!     assert_eq!(name, b"ping");
//! }
//! assert!(matches!(Message::from_view(view)?, Message::Event(event) if event.args.len() == 1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Message`] is owned, [`MessageView`] borrows from a [`DataView`](crate::DataView) or a [`Data`](crate::Data). Both
//! apply the same rules: vectors longer than listed are accepted everywhere, and one bad message in a batch makes the
//! whole batch invalid.

mod error;
mod event;
mod log;
mod message;
mod node;
mod view;

pub use error::MessageError;
pub use event::{Event, IdentifierUpdate, NETWORK_TIMESTAMP};
pub use log::{LogCreate, LogField, LogWrite, UntypedLogCreate, WriterInfo};
pub use message::{MAX_BATCH_DEPTH, Message, MessageType, peek_event_name};
pub use node::Node;
pub use view::{BatchView, MessageView};
