#![no_main]

use libfuzzer_sys::fuzz_target;

#[expect(unused_imports, unused_macros, reason = "the program uses all of it")]
#[path = "../../broker-cli/src/value/mod.rs"]
mod value;
#[path = "../src/value_text.rs"]
mod value_text;

fuzz_target!(|bytes: &[u8]| value_text::value_text(bytes, value::parse_argument, value::print));
