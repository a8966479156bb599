#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| broker_fuzz::cluster::zeek_layout(bytes));
