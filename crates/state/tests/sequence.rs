//! Any sequence of events is taken in, and the tables agree with themselves behind it.

use nabe_state::stream::exercise;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn any_sequence_is_taken_in(bytes in proptest::collection::vec(any::<u8>(), 0..1500)) {
        exercise(&bytes);
    }
}
