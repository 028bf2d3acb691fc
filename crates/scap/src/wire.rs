//! Taking numbers and texts off the front of bytes, and putting them at the end.

/// What is left of some bytes; every `take` gives `None` when there are too few.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bytes<'a> {
    pub(crate) rest: &'a [u8],
}

macro_rules! numbers {
    ($($name:ident $ty:ty),*) => { $(
        #[inline]
        pub(crate) fn $name(&mut self) -> Option<$ty> {
            let (first, rest) = self.rest.split_first_chunk()?;
            self.rest = rest;
            Some(<$ty>::from_le_bytes(*first))
        }
    )* };
}

impl<'a> Bytes<'a> {
    pub(crate) const fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    numbers!(u8 u8, u16 u16, u32 u32, u64 u64, i64 i64);

    #[inline]
    pub(crate) fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (first, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(first)
    }

    #[inline]
    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*first)
    }

    /// `u16` length, then as many bytes.
    #[inline]
    pub(crate) fn text(&mut self) -> Option<&'a [u8]> {
        let len = self.u16()?;
        self.bytes(usize::from(len))
    }
}

/// Appending to bytes.
pub(crate) trait Put {
    fn put(&mut self, bytes: &[u8]);

    fn put_u16(&mut self, value: u16) {
        self.put(&value.to_le_bytes());
    }
    fn put_u32(&mut self, value: u32) {
        self.put(&value.to_le_bytes());
    }
    fn put_u64(&mut self, value: u64) {
        self.put(&value.to_le_bytes());
    }
    fn put_i64(&mut self, value: i64) {
        self.put(&value.to_le_bytes());
    }
}

impl Put for Vec<u8> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}
