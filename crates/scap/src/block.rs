//! Blocks: the frame of everything in a capture.
//!
//! ```text
//! u32 number, u32 length (all of the block), body, zeros up to a multiple of 4, u32 length again
//! ```
//!
//! Numbers from libs `scap_savefile.h`; 0x8xxxABCD are those of files older than the first release.

/// Bytes around a body.
pub const FRAME: usize = 12;
/// Magic number in a section header.
pub const MAGIC: u32 = 0x1A2B_3C4D;
/// The longest event block that is read (an event that large is never seen: the largest, a
/// container's description, has some 100 KiB).
pub const MAX_EVENT: usize = 64 << 20;

/// What a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// The head of a section: magic number, version, options.
    Section,
    /// The machine.
    Machine,
    /// Threads, in the layout 1 to 9.
    Threads(u8),
    /// The descriptors of one process; layout 2 has lengths of entries.
    Descriptors(u8),
    /// Network interfaces; layout 2 has lengths of entries.
    Interfaces(u8),
    /// Users and groups; layout 2 has lengths of entries.
    Users(u8),
    /// One event.
    Event(EventLayout),
}

/// How an event block is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventLayout {
    /// A word of flags stands before the header.
    pub flagged: bool,
    /// The header says how many parameters follow (since layout 2).
    pub counted: bool,
    /// It may be longer than 64 KiB.
    pub large: bool,
}

const fn event(flagged: bool, counted: bool, large: bool) -> Kind {
    Kind::Event(EventLayout { flagged, counted, large })
}

/// Every number, the one that is written first where there are two.
const NUMBERS: &[(u32, Kind)] = &[
    (0x216, event(false, true, false)),
    (0x217, event(true, true, false)),
    (0x221, event(false, true, true)),
    (0x222, event(true, true, true)),
    (0x204, event(false, false, false)),
    (0x208, event(true, false, false)),
    (0x0A0D_0D0A, Kind::Section),
    (0x201, Kind::Machine),
    (0x202, Kind::Threads(1)),
    (0x207, Kind::Threads(2)),
    (0x209, Kind::Threads(3)),
    (0x210, Kind::Threads(4)),
    (0x211, Kind::Threads(5)),
    (0x212, Kind::Threads(6)),
    (0x213, Kind::Threads(7)),
    (0x214, Kind::Threads(8)),
    (0x215, Kind::Threads(9)),
    (0x203, Kind::Descriptors(1)),
    (0x218, Kind::Descriptors(2)),
    (0x205, Kind::Interfaces(1)),
    (0x219, Kind::Interfaces(2)),
    (0x206, Kind::Users(1)),
    (0x220, Kind::Users(2)),
    (0x8002_ABCD, Kind::Machine),
    (0x8000_ABCD, Kind::Threads(1)),
    (0x8013_ABCD, Kind::Threads(2)),
    (0x8014_ABCD, Kind::Threads(3)),
    (0x8001_ABCD, Kind::Descriptors(1)),
    (0x8010_ABCD, event(false, false, false)),
    (0x8011_ABCD, Kind::Interfaces(1)),
    (0x8012_ABCD, Kind::Users(1)),
];

impl Kind {
    /// The kind of a block with this number; `None` when it is not known and to be skipped.
    #[must_use]
    #[inline]
    pub fn from_number(number: u32) -> Option<Self> {
        NUMBERS.iter().find(|(known, _)| *known == number).map(|(_, kind)| *kind)
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> u32 {
        NUMBERS.iter().find(|(_, known)| *known == self).map_or(0, |(number, _)| *number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_lead_to_kinds_and_back() {
        for (number, kind) in NUMBERS {
            assert_eq!(Kind::from_number(*number), Some(*kind));
            let written = kind.number();
            assert_eq!(Kind::from_number(written), Some(*kind));
            assert!(written == *number || *number & 0xFFFF == 0xABCD, "{number:#x}");
        }
        assert_eq!(Kind::from_number(0x223), None);
        assert_eq!(Kind::Threads(10).number(), 0);
    }
}
