//! A value that has been read, packed into a few bytes: how tables keep 40,000 rows.
//!
//! Layout: a tag byte, then
//! `U8 U16 U32 U64` the number, `I64` a negative number, little-endian;
//! `SHORT` u8 length and text, `TEXT`/`CUT` u32 length and text;
//! `IP4`/`IP6` the address; `UNREAD` i32 errno;
//! `LIST` u32 length in bytes, then packed cells; `MAP` likewise, keys and values in turn.

use core::net::IpAddr;

use nabe_event::{Missing, Value};

/// A packed value, read back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cell<'a> {
    /// No value, and why.
    Missing(Missing),
    /// True or false.
    Bool(bool),
    /// A negative number.
    Int(i64),
    /// Any other number.
    Uint(u64),
    /// Text. Symbols are kept as their names.
    Text(&'a [u8]),
    /// The beginning of a text that was too long to keep.
    Cut(&'a [u8]),
    /// An address.
    Ip(IpAddr),
    /// Numbers or texts.
    List(Cells<'a>),
    /// Keys and values in turn.
    Map(Cells<'a>),
}

mod tag {
    pub(super) const SUBJECT: u8 = 0;
    pub(super) const UNSET: u8 = 1;
    pub(super) const PENDING: u8 = 2;
    pub(super) const UNREAD: u8 = 3;
    pub(super) const FALSE: u8 = 4;
    pub(super) const TRUE: u8 = 5;
    pub(super) const U8: u8 = 6;
    pub(super) const U16: u8 = 7;
    pub(super) const U32: u8 = 8;
    pub(super) const U64: u8 = 9;
    pub(super) const I64: u8 = 10;
    pub(super) const SHORT: u8 = 11;
    pub(super) const TEXT: u8 = 12;
    pub(super) const CUT: u8 = 13;
    pub(super) const IP4: u8 = 14;
    pub(super) const IP6: u8 = 15;
    pub(super) const LIST: u8 = 16;
    pub(super) const MAP: u8 = 17;
}

/// Appends `value`; texts longer than `limit` bytes keep their beginning.
pub(crate) fn pack(out: &mut Vec<u8>, value: &Value<'_>, limit: usize) {
    match value {
        Value::Missing(why) => pack_missing(out, *why),
        Value::Bool(v) => out.push(if *v { tag::TRUE } else { tag::FALSE }),
        Value::Int(v) => pack_int(out, *v),
        Value::Uint(v) => pack_uint(out, *v),
        Value::Text(v) => pack_text(out, v, limit),
        Value::Ip(IpAddr::V4(v)) => {
            out.push(tag::IP4);
            out.extend_from_slice(&v.octets());
        }
        Value::Ip(IpAddr::V6(v)) => {
            out.push(tag::IP6);
            out.extend_from_slice(&v.octets());
        }
        Value::List(list) => pack_items(out, tag::LIST, |out| {
            for index in 0..list.len() {
                pack(out, &list.get(index), limit);
            }
        }),
        Value::Map(map) => pack_items(out, tag::MAP, |out| {
            for (key, value) in (0..map.len()).filter_map(|index| map.entry(index)) {
                pack_text(out, key, limit);
                pack_text(out, value, limit);
            }
        }),
    }
}

fn pack_missing(out: &mut Vec<u8>, why: Missing) {
    match why {
        Missing::Subject => out.push(tag::SUBJECT),
        Missing::Unset => out.push(tag::UNSET),
        Missing::Pending => out.push(tag::PENDING),
        Missing::Unread(errno) => {
            out.push(tag::UNREAD);
            out.extend_from_slice(&errno.to_le_bytes());
        }
    }
}

/// Appends a signed number.
pub(crate) fn pack_int(out: &mut Vec<u8>, value: i64) {
    if let Ok(value) = u64::try_from(value) {
        return pack_uint(out, value);
    }
    out.push(tag::I64);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends an unsigned number.
#[inline]
pub(crate) fn pack_uint(out: &mut Vec<u8>, value: u64) {
    if let Ok(value) = u8::try_from(value) {
        out.extend_from_slice(&[tag::U8, value]);
    } else if let Ok(value) = u16::try_from(value) {
        out.push(tag::U16);
        out.extend_from_slice(&value.to_le_bytes());
    } else if let Ok(value) = u32::try_from(value) {
        out.push(tag::U32);
        out.extend_from_slice(&value.to_le_bytes());
    } else {
        out.push(tag::U64);
        out.extend_from_slice(&value.to_le_bytes());
    }
}

/// Appends text, at most `limit` bytes of it.
#[inline]
pub(crate) fn pack_text(out: &mut Vec<u8>, text: &[u8], limit: usize) {
    // A single text of 4 GiB does not exist: the kernel's limits are far below.
    let limit = limit.min(u32::MAX as usize);
    if text.len() > limit {
        let mut end = limit;
        // Not in the middle of a character.
        while end > limit.saturating_sub(3) && text.get(end).is_some_and(|b| b & 0xc0 == 0x80) {
            end -= 1;
        }
        let kept = text.get(..end).unwrap_or_default();
        out.push(tag::CUT);
        out.extend_from_slice(&(kept.len() as u32).to_le_bytes());
        out.extend_from_slice(kept);
    } else if let Ok(len) = u8::try_from(text.len()) {
        out.extend_from_slice(&[tag::SHORT, len]);
        out.extend_from_slice(text);
    } else {
        out.push(tag::TEXT);
        out.extend_from_slice(&(text.len() as u32).to_le_bytes());
        out.extend_from_slice(text);
    }
}

fn pack_items(out: &mut Vec<u8>, tag: u8, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[tag, 0, 0, 0, 0]);
    fill(out);
    let len = u32::try_from(out.len() - start - 5).unwrap_or(u32::MAX);
    if let Some(place) = out.get_mut(start + 1..start + 5) {
        place.copy_from_slice(&len.to_le_bytes());
    }
}

/// Packed cells, one after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cells<'a> {
    bytes: &'a [u8],
}

impl<'a> Cells<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The packed bytes of what was not read yet.
    pub(crate) const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    #[inline]
    fn take(&mut self, len: usize) -> &'a [u8] {
        let (head, rest) = self.bytes.split_at(len.min(self.bytes.len()));
        self.bytes = rest;
        head
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> [u8; N] {
        match self.bytes.split_first_chunk() {
            Some((head, rest)) => {
                self.bytes = rest;
                *head
            }
            None => [0; N],
        }
    }

    #[inline]
    fn long(&mut self) -> &'a [u8] {
        let len = u32::from_le_bytes(self.array()) as usize;
        self.take(len)
    }
}

impl<'a> Iterator for Cells<'a> {
    type Item = Cell<'a>;

    #[inline]
    fn next(&mut self) -> Option<Cell<'a>> {
        let (tag, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(match *tag {
            tag::SHORT => {
                let [len] = self.array();
                Cell::Text(self.take(usize::from(len)))
            }
            tag::U8 => Cell::Uint(u8::from_le_bytes(self.array()).into()),
            tag::U16 => Cell::Uint(u16::from_le_bytes(self.array()).into()),
            tag::U32 => Cell::Uint(u32::from_le_bytes(self.array()).into()),
            tag::U64 => Cell::Uint(u64::from_le_bytes(self.array())),
            tag::I64 => Cell::Int(i64::from_le_bytes(self.array())),
            tag::TEXT => Cell::Text(self.long()),
            tag::CUT => Cell::Cut(self.long()),
            tag::FALSE => Cell::Bool(false),
            tag::TRUE => Cell::Bool(true),
            tag::IP4 => Cell::Ip(IpAddr::from(self.array::<4>())),
            tag::IP6 => Cell::Ip(IpAddr::from(self.array::<16>())),
            tag::LIST => Cell::List(Cells::new(self.long())),
            tag::MAP => Cell::Map(Cells::new(self.long())),
            tag::SUBJECT => Cell::Missing(Missing::Subject),
            tag::PENDING => Cell::Missing(Missing::Pending),
            tag::UNREAD => Cell::Missing(Missing::Unread(i32::from_le_bytes(self.array()))),
            _ => Cell::Missing(Missing::Unset),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_are_packed_exactly(signed in any::<i64>(), unsigned in any::<u64>(), shift in 0u32..64) {
            let (signed, unsigned) = (signed >> shift, unsigned >> shift);
            let mut out = Vec::new();
            pack(&mut out, &Value::Int(signed), 0);
            pack(&mut out, &Value::Uint(unsigned), 0);
            let mut cells = Cells::new(&out);
            prop_assert_eq!(cells.next(), Some(u64::try_from(signed).map_or(Cell::Int(signed), Cell::Uint)));
            prop_assert_eq!(cells.next(), Some(Cell::Uint(unsigned)));
            prop_assert_eq!(cells.next(), None);
        }

        #[test]
        fn texts_are_packed_exactly(text in any::<Vec<u8>>(), long in 0usize..600) {
            let long = vec![b'x'; long];
            let mut out = Vec::new();
            pack(&mut out, &Value::Text(&text), usize::MAX);
            pack(&mut out, &Value::Text(&long), usize::MAX);
            pack(&mut out, &Value::Text(&long), 300);
            let cells: Vec<Cell<'_>> = Cells::new(&out).collect();
            let kept = &long[..long.len().min(300)];
            let last = if kept.len() == long.len() { Cell::Text(kept) } else { Cell::Cut(kept) };
            prop_assert_eq!(cells, [Cell::Text(&text), Cell::Text(&long), last]);
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in any::<Vec<u8>>()) {
            let cells = Cells::new(&bytes);
            prop_assert!(cells.count() <= bytes.len());
        }
    }

    #[test]
    fn missing_values_keep_their_reason() {
        let mut out = Vec::new();
        let reasons =
            [Missing::Subject, Missing::Unset, Missing::Unread(-13), Missing::Unread(0), Missing::Pending];
        for why in reasons {
            pack(&mut out, &Value::Missing(why), 0);
        }
        assert_eq!(Cells::new(&out).collect::<Vec<_>>(), reasons.map(Cell::Missing));
    }
}
