//! Rule files, loaded twice, described and judged.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| nabe_rules::exercise(bytes));
