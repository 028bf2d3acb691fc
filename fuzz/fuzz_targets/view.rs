//! View files: reading one, and running what it declares on an event.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| nabe_chisel::exercise(bytes));
