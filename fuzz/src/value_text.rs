//! Values on the command line. The decoder is inside the program, so this is not part of the library: the target includes
//! the decoder, and the program's tests include this file.

use std::fmt::Debug;

use broker_core::{Data, json};

/// A text that is a value: printed and read again it is the same. So is the value that the text is in JSON.
pub(crate) fn value_text<E: Debug>(
    bytes: &[u8],
    parse: fn(&str) -> Result<Data, E>,
    print: fn(&Data) -> String,
) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let values = [parse(text).ok(), json::parse_deep_value(bytes).ok()];
    for value in values.into_iter().flatten() {
        let printed = print(&value);
        assert!(!printed.contains('\n'), "{printed:?} is more than a line");
        match parse(&printed) {
            Ok(again) => assert_eq!(again, value, "{printed}"),
            Err(error) => panic!("{value:?} prints as {printed}: {error:?}"),
        }
    }
}
