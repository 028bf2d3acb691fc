//! Maps from small numbers (threads, descriptors), looked up once or more an event.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};

/// A map from numbers.
pub(crate) type Numbered<V> = HashMap<i64, V, Seed>;

/// A secret of each map's: whoever chooses the numbers of a capture cannot make them collide.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seed(u64);

impl Default for Seed {
    fn default() -> Self {
        Self(RandomState::new().hash_one(0))
    }
}

impl BuildHasher for Seed {
    type Hasher = Folded;
    #[inline]
    fn build_hasher(&self) -> Folded {
        Folded(self.0)
    }
}

/// One multiplication of 64 by 64 bits whose halves are folded.
#[derive(Debug)]
pub(crate) struct Folded(u64);

impl Hasher for Folded {
    #[inline]
    fn write_u64(&mut self, number: u64) {
        const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
        let product = u128::from(self.0 ^ number) * u128::from(ODD);
        #[allow(clippy::cast_possible_truncation, reason = "the halves are meant")]
        let folded = product as u64 ^ (product >> 64) as u64;
        self.0 = folded;
    }

    #[inline]
    fn write_i64(&mut self, number: i64) {
        self.write_u64(number.cast_unsigned());
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_differ_in_high_bits_spread() {
        let seed = Seed::default();
        let low: std::collections::HashSet<u64> =
            (0..1024i64).map(|n| seed.hash_one(n << 40) & 0xffff).collect();
        assert!(low.len() > 900, "{}", low.len());
    }
}
