//! No payload makes the parser or a field panic.

use proptest::prelude::*;

proptest! {
    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        nabe_audit::exercise(&bytes);
    }

    #[test]
    fn shuffled_audit_events(pieces in proptest::collection::vec(
        prop_oneof![
            Just("{\"kind\":\"Event\",\"auditID\":\"1\",\"stageTimestamp\":\"2018-10-26T19:28:10Z\",\"requestObject\":"),
            Just("{\"spec\":{\"containers\":[{\"ports\":[1,{\"hostPort\":1}],\"command\":3}]}}"),
            Just("}"), Just("["), Just("]"), Just(","), Just("null"), Just("{\"rules\":[[1],{\"verbs\":1}]}"),
        ], 0..12)) {
        nabe_audit::exercise(pieces.concat().as_bytes());
    }
}
