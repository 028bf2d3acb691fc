//! Payloads of a webhook or a file: Kubernetes audit events and other JSON. Each is parsed, and each
//! field of each event is read; nothing panics.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| nabe_audit::exercise(bytes));
