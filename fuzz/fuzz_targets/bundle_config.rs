//! A bundle's `config.json`: reading and checking it never panics, and what is wrong has a path.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nabe_runtime::fuzz_config(data));
