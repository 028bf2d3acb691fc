//! An event as it came from the probe or from a capture: a header and the bytes of its parameters,
//! borrowed from the buffer into which they were read.
//!
//! What the parameters mean stands in the [event table](crate::table).

use crate::table::{EventId, Flags, Param};

/// Bits of [`Event::flags`].
pub mod flag {
    /// The event is there only for the state that it changes: it is not shown, counted or judged.
    pub const STATE_ONLY: u32 = 1;
    /// The writer made the event for readers of older schemas, out of the one behind it: whoever knows
    /// this bit leaves it out. Stands beside [`STATE_ONLY`].
    pub const SYNTHESISED: u32 = 1 << 31;
}

/// An event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// Which one.
    pub id: EventId,
    /// The processor on which it happened.
    pub cpu: u16,
    /// `flag::*`.
    pub flags: u32,
    /// When: nanoseconds since the epoch.
    pub ts_ns: u64,
    /// The thread that did it; -1 when it was none.
    pub tid: i64,
    /// Its parameters.
    pub params: Params<'a>,
}

impl<'a> Event<'a> {
    /// The bytes of the parameter at `position`. `None` when the event has not that many, or when
    /// there was nothing to read: a value of no bytes is a value that is not there.
    #[must_use]
    #[inline]
    pub fn param(&self, position: usize) -> Option<&'a [u8]> {
        self.params.get(position).filter(|bytes| !bytes.is_empty())
    }

    /// The description and bytes of every parameter that both the event and the table have.
    pub fn described(&self) -> impl Iterator<Item = (&'static Param, &'a [u8])> + use<'a> {
        self.id.row().params.iter().zip(self.params.iter())
    }

    /// A whole number. Unsigned numbers above `i64::MAX` come out negative, see [`Self::unsigned`].
    #[must_use]
    #[inline]
    pub fn signed(&self, position: usize) -> Option<i64> {
        match self.params.first_word() {
            Some(word) if position == 0 => Some(word),
            _ => self.signed_anywhere(position),
        }
    }

    fn signed_anywhere(&self, position: usize) -> Option<i64> {
        let bytes = self.param(position)?;
        if let Ok(whole) = bytes.try_into() {
            return Some(i64::from_le_bytes(whole));
        }
        let value = little_endian(bytes)?;
        let spare = 64 - 8 * u32::try_from(bytes.len()).ok()?;
        if self.id.row().params.get(position).is_some_and(|param| param.ty.is_signed()) {
            Some((value << spare).cast_signed() >> spare)
        } else {
            Some(value.cast_signed())
        }
    }

    /// A whole number without sign, of 1 to 8 bytes.
    #[must_use]
    #[inline]
    pub fn unsigned(&self, position: usize) -> Option<u64> {
        little_endian(self.param(position)?)
    }

    /// Text without the NUL that ends it. An empty text is `Some` when its NUL is there.
    #[must_use]
    #[inline]
    pub fn text(&self, position: usize) -> Option<&'a [u8]> {
        let bytes = self.param(position)?;
        Some(bytes.strip_suffix(b"\0").unwrap_or(bytes))
    }
}

#[inline]
fn little_endian(bytes: &[u8]) -> Option<u64> {
    // Widths by themselves: a copy of a length that is not known calls a function.
    if let Ok(bytes) = bytes.try_into() {
        return Some(u64::from_le_bytes(bytes));
    }
    if let Ok(bytes) = bytes.try_into() {
        return Some(u64::from(u32::from_le_bytes(bytes)));
    }
    let mut value = [0; 8];
    value.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(u64::from_le_bytes(value))
}

/// The parameters of an event: their lengths, 16 or 32 bits each, and their bytes back to back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Params<'a> {
    lengths: &'a [u8],
    data: &'a [u8],
    large: bool,
}

/// The sum of the first `count` (at most 4) of the 16-bit numbers in a word.
#[inline]
fn four(word: u64, count: usize) -> u64 {
    const EVEN: u64 = 0x0000_ffff_0000_ffff;
    // Without any, nothing is left of it.
    let word = u32::try_from(count).ok().and_then(|count| word.checked_shl(64 - 16 * count)).unwrap_or(0);
    let pairs = (word & EVEN) + (word >> 16 & EVEN);
    (pairs & u64::from(u32::MAX)) + (pairs >> 32)
}

impl<'a> Params<'a> {
    /// No parameters.
    pub const NONE: Self = Self { lengths: &[], data: &[], large: false };

    /// The parameters of an event `id`. `None` when `data` has fewer bytes than the lengths say, or
    /// a length is cut; what `data` has beyond them is left out.
    #[must_use]
    // Called, it gives its result in memory, in pieces that are read back at once as a whole, and that
    // stalls the processor.
    #[inline(always)]
    pub fn new(id: EventId, lengths: &'a [u8], data: &'a [u8]) -> Option<Self> {
        // 64 bits: as many lengths as memory holds cannot overflow it.
        let large = id.row().flags.has(Flags::LARGE_PAYLOAD);
        let sum: u64 = if large {
            let (lengths, []) = lengths.as_chunks() else { return None };
            lengths.iter().map(|length| u64::from(u32::from_le_bytes(*length))).sum()
        } else {
            let (lengths, []) = lengths.as_chunks() else { return None };
            lengths.iter().map(|length| u64::from(u16::from_le_bytes(*length))).sum()
        };
        let data = data.get(..usize::try_from(sum).ok()?)?;
        Some(Self { lengths, data, large })
    }

    /// The parameters that `bytes` begin with: `count` lengths of 16 bits, then the values. `None` when
    /// there are fewer bytes than that; what there is beyond them is left out.
    #[must_use]
    // As `new`.
    #[inline(always)]
    pub fn packed(count: usize, bytes: &'a [u8]) -> Option<Self> {
        let (lengths, data) = bytes.split_at_checked(count.checked_mul(2)?)?;
        let sum = match bytes.first_chunk() {
            // All lengths at once.
            Some(word) if count <= 4 => four(u64::from_le_bytes(*word), count),
            // 64 bits: as many lengths as memory holds cannot overflow it.
            _ => lengths.as_chunks().0.iter().map(|length| u64::from(u16::from_le_bytes(*length))).sum(),
        };
        let data = data.get(..usize::try_from(sum).ok()?)?;
        Some(Self { lengths, data, large: false })
    }

    /// The first value as a whole number, when it has 64 bits.
    #[must_use]
    #[inline]
    pub fn first_word(&self) -> Option<i64> {
        match (self.lengths, self.data.first_chunk()) {
            ([8, 0, ..], Some(word)) if !self.large => Some(i64::from_le_bytes(*word)),
            _ => None,
        }
    }

    /// Bytes of one length.
    #[inline]
    const fn width(&self) -> usize {
        if self.large { 4 } else { 2 }
    }

    #[inline]
    fn length(&self, position: usize) -> usize {
        if self.large {
            let at = self.lengths.get(position * 4..).and_then(|rest| rest.first_chunk());
            at.map_or(0, |bytes| u32::from_le_bytes(*bytes) as usize)
        } else {
            let at = self.lengths.get(position * 2..).and_then(|rest| rest.first_chunk());
            at.map_or(0, |bytes| usize::from(u16::from_le_bytes(*bytes)))
        }
    }

    /// How many there are; the table may have more or, for a newer source, fewer.
    #[must_use]
    #[inline]
    pub const fn len(&self) -> usize {
        self.lengths.len() / self.width()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// The bytes at `position`; empty for a value that is not there.
    #[must_use]
    #[inline]
    pub fn get(&self, position: usize) -> Option<&'a [u8]> {
        if position >= self.len() {
            return None;
        }
        let start = match self.lengths.first_chunk() {
            Some(word) if position <= 4 && !self.large => four(u64::from_le_bytes(*word), position),
            _ => self.sum(position),
        };
        let start = usize::try_from(start).ok()?;
        self.data.get(start..start + self.length(position))
    }

    /// The sum of the first `count` lengths.
    fn sum(&self, count: usize) -> u64 {
        let lengths = self.lengths.get(..count * self.width()).unwrap_or_default();
        if self.large {
            lengths.as_chunks().0.iter().map(|length| u64::from(u32::from_le_bytes(*length))).sum()
        } else {
            lengths.as_chunks().0.iter().map(|length| u64::from(u16::from_le_bytes(*length))).sum()
        }
    }

    /// All of them in order.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let params = *self;
        let mut rest = params.data;
        (0..params.len()).map(move |position| {
            let (value, after) = rest.split_at_checked(params.length(position)).unwrap_or_default();
            rest = after;
            value
        })
    }

    /// Whether lengths have 32 bits.
    #[must_use]
    pub const fn is_large(&self) -> bool {
        self.large
    }

    /// The lengths as they are stored.
    #[must_use]
    #[inline]
    pub const fn lengths(&self) -> &'a [u8] {
        self.lengths
    }

    /// The values back to back.
    #[must_use]
    #[inline]
    pub const fn data(&self) -> &'a [u8] {
        self.data
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event<'a>(id: EventId, lengths: &'a [u8], data: &'a [u8]) -> Event<'a> {
        let params = Params::new(id, lengths, data).unwrap();
        Event { id, cpu: 0, flags: 0, ts_ns: 0, tid: 1, params }
    }

    #[test]
    fn parameters_are_read_by_their_types() {
        let mut data = (-2i64).to_le_bytes().to_vec();
        data.extend_from_slice(b"/etc\0");
        data.extend_from_slice(&4096u32.to_le_bytes());
        let event = event(EventId::SYSCALL_OPEN_X, &[8, 0, 5, 0, 4, 0, 0, 0], &data);
        assert_eq!(event.signed(0), Some(-2));
        assert_eq!(event.text(1), Some(&b"/etc"[..]));
        assert_eq!(event.unsigned(2), Some(4096));
        assert_eq!(event.signed(2), Some(4096));
        assert_eq!((event.param(3), event.params.get(3)), (None, Some(&[][..])));
        assert_eq!((event.param(4), event.params.get(4)), (None, None));
        let names: Vec<_> = event.described().map(|(param, value)| (param.name, value.len())).collect();
        assert_eq!(names, [("fd", 8), ("name", 5), ("flags", 4), ("mode", 0)]);
    }

    #[test]
    fn narrow_numbers_keep_their_sign() {
        let id = EventId::all()
            .find(|id| {
                id.row()
                    .params
                    .first()
                    .is_some_and(|param| param.ty.width() == Some(4) && param.ty.is_signed())
            })
            .unwrap();
        assert_eq!(event(id, &[4, 0], &(-7i32).to_le_bytes()).signed(0), Some(-7));
    }

    #[test]
    fn large_payloads_have_wide_lengths() {
        let event = event(EventId::CONTAINER_JSON_2_E, &[3, 0, 0, 0], b"{}\0");
        assert!(event.params.is_large());
        assert_eq!((event.params.len(), event.text(0)), (1, Some(&b"{}"[..])));
    }

    #[test]
    fn values_stand_behind_each_other() {
        for count in 0..12usize {
            let lengths: Vec<u8> = (0..count).flat_map(|at| [at as u8 % 5, at as u8 % 2]).collect();
            let data: Vec<u8> = (0..count * 300).map(|at| (at % 251) as u8).collect();
            let bytes = [&lengths[..], &data].concat();
            let params = Params::packed(count, &bytes).unwrap();
            let got: Vec<&[u8]> = (0..count).filter_map(|at| params.get(at)).collect();
            assert_eq!((got.len(), got.concat()), (count, params.data().to_vec()));
            assert_eq!(got, params.iter().collect::<Vec<_>>());
            assert_eq!(params.get(count), None);
        }
    }

    #[test]
    fn packed_parameters_are_those_in_two_pieces() {
        let id = EventId::SYSCALL_CLOSE_X;
        let bytes: Vec<u8> = (0..64u8).map(|at| if at % 2 == 0 { at / 2 % 7 } else { 0 }).collect();
        for have in 0..bytes.len() {
            let bytes = &bytes[..have];
            for count in 0..=33 {
                let pieces = bytes.split_at_checked(2 * count);
                let whole = pieces.and_then(|(lengths, data)| Params::new(id, lengths, data));
                assert_eq!(Params::packed(count, bytes), whole, "{count} of {have}");
            }
        }
        // Lengths that do not fit into 16 bits together.
        let long = [&[0xff; 8][..], &vec![0; 4 * 0xffff]].concat();
        for count in 0..=4 {
            assert_eq!(Params::packed(count, &long).map(|params| params.data().len()), Some(count * 0xffff));
        }
        assert_eq!(Params::packed(4, &long[..long.len() - 1]), None);
        assert_eq!(Params::packed(usize::MAX, &long), None);
        let word = |bytes| Params::packed(1, bytes).and_then(|params| params.first_word());
        assert_eq!(word(&[8, 0, 255, 255, 255, 255, 255, 255, 255, 255]), Some(-1));
        assert_eq!((word(&[4, 0, 1, 1, 1, 1]), word(&[8, 0, 1])), (None, None));
    }

    #[test]
    fn lengths_must_add_up() {
        let id = EventId::SYSCALL_CLOSE_X;
        assert_eq!(Params::new(id, &[8, 0], &[0; 7]), None);
        assert_eq!(Params::new(id, &[8, 0], &[0; 9]).map(|params| params.data().len()), Some(8));
        assert_eq!(Params::new(id, &[8], &[0; 8]), None);
        assert_eq!(Params::new(id, &[], &[]), Some(Params::NONE));
        assert_eq!(Params::new(EventId::PLUGINEVENT_E, &[0xff; 8], &[]), None);
    }
}
