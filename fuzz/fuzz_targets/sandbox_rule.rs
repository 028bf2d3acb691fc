//! A behaviour rule in TOML, with its filters: whatever it is, it is read or refused with words.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| nabe_sandbox::exercise(bytes));
