//! The state of a stream: any events in any order, with fields read on the way; nothing panics, the
//! tables count what they hold, and an image never says two things.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    nabe_state::stream::exercise(bytes);
});
