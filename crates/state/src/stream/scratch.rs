//! Texts that are made while fields of one event are read, and live as long as it.

use std::cell::{Cell, OnceCell};

/// Places before the next block of places.
const PLACES: usize = 4;

/// A list of texts that only grows, so that what was lent stays where it is.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    places: [OnceCell<Vec<u8>>; PLACES],
    used: Cell<usize>,
    more: OnceCell<Box<Scratch>>,
}

impl Scratch {
    /// Keeps a text.
    pub(crate) fn keep(&self, text: Vec<u8>) -> &[u8] {
        match self.places.get(self.used.get()) {
            Some(place) => {
                self.used.set(self.used.get() + 1);
                place.get_or_init(|| text)
            }
            None => self.more.get_or_init(Box::default).keep(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_stay() {
        let scratch = Scratch::default();
        let lent: Vec<&[u8]> = (0..37u8).map(|n| scratch.keep(vec![n])).collect();
        for (n, text) in (0..37u8).zip(lent) {
            assert_eq!(text, [n]);
        }
    }
}
