//! The ring's record decoder: any bytes are an event whose parameters lie within them, or none.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nabe_probe::live::record::{HEAD, decode, time};

fuzz_target!(|bytes: &[u8]| {
    let Some(event) = decode(bytes, 7) else { return };
    let lengths = event.params.lengths().len();
    let data: usize = event.params.iter().map(<[u8]>::len).sum();
    assert!(HEAD + lengths + data <= bytes.len());
    assert_eq!(data, event.params.data().len());
    assert_eq!(time(bytes).map(|ts| ts.wrapping_add(7)), Some(event.ts_ns));
    for position in 0..event.params.len() {
        let _ = (event.signed(position), event.unsigned(position), event.text(position));
    }
});
