//! The capture reader and the converter: any bytes are read to their end, with what they hold before
//! the damage; nothing panics, hangs or takes memory without bound.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    nabe_scap::exercise(bytes);
});
