//! The event table: every event that a capture or the probe can hold, in sysdig's numbering
//! (schema 4.5.1): number, name, category, flags and parameters with their types and flag names.
//!
//! An even number is the start of something (a system call's enter, or an event that has only one
//! side), the odd number behind it is its end. Numbers are never reused: old layouts stay in the
//! table, flagged [`Flags::OLD_VERSION`], so that old captures can be read.
//!
//! The rows (`table/event.rs`), flag names (`table/symbol.rs`) and system call codes
//! (`table/syscall.rs`) were imported by `cargo xtask event-table` from the tables of
//! falcosecurity/libs (`driver/event_table.c`, `flags_table.c`; dual MIT / GPL-2.0, taken under MIT).
//! A parameter is never inserted, only appended; a value that is not there has length 0.

use core::fmt;

use crate::symbol::Symbols;

#[rustfmt::skip]
mod event;
pub mod native;
#[rustfmt::skip]
pub mod symbol;
#[rustfmt::skip]
mod syscall;

pub use event::EVENTS;

/// The number of an event that the table has.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(u16);

impl EventId {
    /// How many numbers the table has, from 0.
    pub const COUNT: u16 = EVENTS.len() as u16;

    /// The event with this number; `None` for one that a newer schema brought.
    #[must_use]
    #[inline]
    pub const fn new(number: u16) -> Option<Self> {
        if number < Self::COUNT { Some(Self(number)) } else { None }
    }

    /// Its number.
    #[must_use]
    #[inline]
    pub const fn number(self) -> u16 {
        self.0
    }

    /// Its row.
    #[must_use]
    #[inline]
    pub fn row(self) -> &'static EventType {
        // A value of this type is always below `COUNT`.
        EVENTS.get(usize::from(self.0)).unwrap_or(&UNKNOWN)
    }

    /// Whether its number is one whose parameters' lengths have 32 bits.
    #[must_use]
    #[inline]
    pub fn is_large(self) -> bool {
        static LARGE: [bool; EventId::COUNT as usize] = {
            let mut large = [false; EventId::COUNT as usize];
            let mut at = 0;
            while at < large.len() {
                large[at] = EVENTS[at].flags.has(Flags::LARGE_PAYLOAD);
                at += 1;
            }
            large
        };
        LARGE.get(usize::from(self.0)).copied().unwrap_or(false)
    }

    /// Its name, such as `openat`: the same for enter and exit and for all versions.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// Whether it is the enter side (or the only one).
    #[must_use]
    #[inline]
    pub const fn is_enter(self) -> bool {
        self.0 & 1 == 0
    }

    /// The enter event of an exit event and the other way round.
    #[must_use]
    pub const fn other_side(self) -> Self {
        // The table has an even number of rows.
        Self(self.0 ^ 1)
    }

    /// Whether it is a system call's event.
    #[must_use]
    pub fn is_syscall(self) -> bool {
        self.row().category.has(Category::SYSCALL)
    }

    /// All numbers.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT).map(Self)
    }

    /// All numbers whose name is `name`, in both directions and all versions.
    pub fn named(name: &str) -> impl Iterator<Item = Self> {
        Self::all().filter(move |id| id.name() == name && !id.row().flags.has(Flags::UNUSED))
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.0, self.row().code)
    }
}

/// The row that no event has.
static UNKNOWN: EventType =
    EventType { code: "UNKNOWN", name: "unknown", category: Category(0), flags: Flags(0), params: &[] };

/// A row of the table.
#[derive(Debug)]
pub struct EventType {
    /// The schema's word for it, without prefix: `SYSCALL_OPENAT_2_X`.
    pub code: &'static str,
    /// Name without direction and version: `openat`. `NA` when unused.
    pub name: &'static str,
    /// What it is about.
    pub category: Category,
    /// What it does.
    pub flags: Flags,
    /// Its parameters in order; an older capture may have fewer.
    pub params: &'static [Param],
}

impl EventType {
    /// The position and description of the parameter `name`.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<(usize, &'static Param)> {
        self.params.iter().enumerate().find(|(_, param)| param.name == name)
    }
}

/// A parameter of an event.
#[derive(Debug)]
pub struct Param {
    /// Its name, unique within the event.
    pub name: &'static str,
    /// How its bytes are read.
    pub ty: ParamType,
    /// How a number is printed.
    pub format: Format,
    /// The names of its bits or values, in the order in which they are printed.
    pub symbols: Option<&'static Symbols>,
    /// For a [`ParamType::FsRelPath`]: the parameter with the directory's descriptor.
    pub dirfd: Option<u8>,
    /// For a [`ParamType::Dyn`]: what its first byte chooses from.
    pub variants: &'static [(ParamType, Format)],
}

macro_rules! bits {
    ($(#[doc = $doc:literal])* $name:ident { $( #[doc = $fdoc:literal] $flag:ident = $bit:expr, )* }) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Default)]
        pub struct $name(u16);

        impl $name {
            $( #[doc = $fdoc] pub const $flag: Self = Self($bit); )*

            /// The schema's number.
            #[must_use]
            pub const fn bits(self) -> u16 {
                self.0
            }

            /// Whether all bits of `other` are set.
            #[must_use]
            #[inline]
            pub const fn has(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({:#x})", stringify!($name), self.0)
            }
        }
    };
}

bits! {
    /// What an event does.
    Flags {
        /// It makes a descriptor.
        CREATES_FD = 1,
        /// It ends a descriptor.
        DESTROYS_FD = 1 << 1,
        /// It works on a descriptor.
        USES_FD = 1 << 2,
        /// It reads data from a descriptor.
        READS_FROM_FD = 1 << 3,
        /// It writes data to a descriptor.
        WRITES_TO_FD = 1 << 4,
        /// It changes what is known of the machine and may not be dropped by a filter.
        MODIFIES_STATE = 1 << 5,
        /// No source sends it.
        UNUSED = 1 << 6,
        /// It waits.
        WAITS = 1 << 7,
        /// It is not an act of its thread and leaves the thread's last event as it was.
        SKIPPARSERESET = 1 << 8,
        /// It is kept for old captures.
        OLD_VERSION = 1 << 9,
        /// Lengths of its parameters have 32 bits, not 16.
        LARGE_PAYLOAD = 1 << 11,
        /// Old captures have it in other layouts, which are converted.
        CONVERTER_MANAGED = 1 << 12,
    }
}

bits! {
    /// Where an event comes from (the high bits) and what it is about ([`Class`]).
    Category {
        /// No class, or another.
        OTHER = 1,
        /// File operations.
        FILE = 2,
        /// Network operations.
        NET = 3,
        /// Pipes, futexes, semaphores.
        IPC = 4,
        /// Memory.
        MEMORY = 5,
        /// Processes and threads.
        PROCESS = 6,
        /// Plain sleep.
        SLEEP = 7,
        /// The machine.
        SYSTEM = 8,
        /// Signals.
        SIGNAL = 9,
        /// Users and groups.
        USER = 10,
        /// Clocks.
        TIME = 11,
        /// User-level processing.
        PROCESSING = 12,
        /// Reads data from a descriptor of any kind.
        IO_READ = 32,
        /// Writes data to a descriptor of any kind.
        IO_WRITE = 33,
        /// Works on a descriptor of any kind.
        IO_OTHER = 34,
        /// Waits.
        WAIT = 1 << 6,
        /// The scheduler.
        SCHEDULER = 1 << 7,
        /// Made by a program that captures, not by the kernel.
        INTERNAL = 1 << 8,
        /// From a system call.
        SYSCALL = 1 << 9,
        /// From a tracepoint.
        TRACEPOINT = 1 << 10,
        /// From a plugin.
        PLUGIN = 1 << 11,
        /// Says something about the stream, not about an act.
        METAEVENT = 1 << 12,
        /// From a kernel iterator.
        ITER = 1 << 13,
    }
}

impl Category {
    /// What the event is about, without where it comes from.
    #[must_use]
    pub const fn class(self) -> Option<Class> {
        Some(match self.0 & (Self::SYSCALL.0 - 1) {
            1 => Class::Other,
            2 => Class::File,
            3 => Class::Net,
            4 => Class::Ipc,
            5 => Class::Memory,
            6 => Class::Process,
            7 => Class::Sleep,
            8 => Class::System,
            9 => Class::Signal,
            10 => Class::User,
            11 => Class::Time,
            12 => Class::Processing,
            32 => Class::IoRead,
            33 => Class::IoWrite,
            34 => Class::IoOther,
            64 => Class::Wait,
            128 => Class::Scheduler,
            256 => Class::Internal,
            _ => return None,
        })
    }
}

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the words are those of the constants of Category")]
pub enum Class {
    Other,
    File,
    Net,
    Ipc,
    Memory,
    Process,
    Sleep,
    System,
    Signal,
    User,
    Time,
    Processing,
    IoRead,
    IoWrite,
    IoOther,
    Wait,
    Scheduler,
    Internal,
}

impl Class {
    /// sysdig's words for it: one, or those among which the descriptor chooses.
    #[must_use]
    pub const fn words(self) -> &'static [&'static str] {
        match self {
            Self::Other => &["other"],
            Self::File => &["file"],
            Self::Net => &["net"],
            Self::Ipc => &["IPC"],
            Self::Memory => &["memory"],
            Self::Process => &["process"],
            Self::Sleep => &["sleep"],
            Self::System => &["system"],
            Self::Signal => &["signal"],
            Self::User => &["user"],
            Self::Time => &["time"],
            Self::Processing => &["processing"],
            Self::IoRead | Self::IoWrite | Self::IoOther => &["file", "net", "ipc", "other", "unknown"],
            Self::Wait => &["wait"],
            Self::Scheduler => &["scheduler"],
            Self::Internal => &["internal"],
        }
    }
}

/// How a number is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// By its type.
    Na,
    /// Decimal.
    Dec,
    /// Hexadecimal.
    Hex,
    /// Decimal with ten digits.
    PaddedDec,
    /// As an identity.
    Id,
    /// As a direction.
    Dir,
    /// Octal.
    Oct,
}

macro_rules! param_types {
    ($( #[doc = $doc:literal] $name:ident = $number:literal $width:expr, )*) => {
        /// How a parameter's bytes are read. Numbers are little-endian.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum ParamType { $( #[doc = $doc] $name = $number, )* }

        impl ParamType {
            /// Every type, in the order of the schema's numbers.
            pub const ALL: &'static [Self] = &[ $( Self::$name, )* ];

            /// Bytes of a value; `None` when they vary.
            #[must_use]
            #[inline]
            pub const fn width(self) -> Option<usize> {
                match self { $( Self::$name => $width, )* }
            }
        }
    };
}

param_types! {
    /// Signed, 8 bits.
    Int8 = 1 Some(1),
    /// Signed, 16 bits.
    Int16 = 2 Some(2),
    /// Signed, 32 bits.
    Int32 = 3 Some(4),
    /// Signed, 64 bits.
    Int64 = 4 Some(8),
    /// Unsigned, 8 bits.
    UInt8 = 5 Some(1),
    /// Unsigned, 16 bits.
    UInt16 = 6 Some(2),
    /// Unsigned, 32 bits.
    UInt32 = 7 Some(4),
    /// Unsigned, 64 bits.
    UInt64 = 8 Some(8),
    /// Text that ends with a NUL.
    CharBuf = 9 None,
    /// Bytes.
    ByteBuf = 10 None,
    /// i64: a result, an errno when negative.
    Errno = 11 Some(8),
    /// `u8` family, then IPv4 address and port, IPv6 address and port, or a unix path.
    SockAddr = 12 None,
    /// `u8` family, then source and destination; for unix two pointers and a path.
    SockTuple = 13 None,
    /// i64: a descriptor.
    Fd = 14 Some(8),
    /// i64: a process or thread.
    Pid = 15 Some(8),
    /// `u16` count, then `i64` descriptor and `i16` events each.
    FdList = 16 None,
    /// A path that ends with a NUL.
    FsPath = 17 None,
    /// u16: a system call by the schema's code, see [`syscall_name`].
    SyscallId = 18 Some(2),
    /// u8: a signal.
    SigType = 19 Some(1),
    /// u64: nanoseconds.
    RelTime = 20 Some(8),
    /// u64: nanoseconds since the epoch.
    AbsTime = 21 Some(8),
    /// u16: a port.
    Port = 22 Some(2),
    /// u8: an IP protocol.
    L4Proto = 23 Some(1),
    /// u8: a socket family.
    SockFamily = 24 Some(1),
    /// u32: true or false.
    Bool = 25 Some(4),
    /// Four bytes.
    Ipv4Addr = 26 Some(4),
    /// `u8` index of a variant, then that variant's bytes.
    Dyn = 27 None,
    /// Bits, 8.
    Flags8 = 28 Some(1),
    /// Bits, 16.
    Flags16 = 29 Some(2),
    /// Bits, 32.
    Flags32 = 30 Some(4),
    /// u32: a user; all ones for none.
    Uid = 31 Some(4),
    /// u32: a group; all ones for none.
    Gid = 32 Some(4),
    /// A floating-point number.
    Double = 33 Some(8),
    /// u32: the low half of a signal set.
    SigSet = 34 Some(4),
    /// Texts, each ended by a NUL.
    CharBufArray = 35 None,
    /// Pairs of texts, each ended by a NUL.
    CharBufPairArray = 36 None,
    /// An IPv4 network.
    Ipv4Net = 37 None,
    /// Sixteen bytes.
    Ipv6Addr = 38 Some(16),
    /// An IPv6 network.
    Ipv6Net = 39 None,
    /// Four or sixteen bytes.
    IpAddr = 40 None,
    /// An IPv4 or IPv6 network.
    IpNet = 41 None,
    /// u32: a file mode.
    Mode = 42 Some(4),
    /// A path relative to the directory of another parameter; ends with a NUL.
    FsRelPath = 43 None,
    /// One of the named values, 8 bits.
    EnumFlags8 = 44 Some(1),
    /// One of the named values, 16 bits.
    EnumFlags16 = 45 Some(2),
    /// One of the named values, 32 bits.
    EnumFlags32 = 46 Some(4),
    /// i32: a descriptor.
    Fd32 = 47 Some(4),
    /// i32: a process or thread.
    Pid32 = 48 Some(4),
}

impl ParamType {
    /// Whether the bytes are a whole number.
    #[must_use]
    pub const fn is_integer(self) -> bool {
        !matches!(self, Self::Double | Self::Ipv4Addr | Self::Ipv6Addr) && self.width().is_some()
    }

    /// Whether that number can be negative.
    #[must_use]
    pub const fn is_signed(self) -> bool {
        matches!(
            self,
            Self::Int8
                | Self::Int16
                | Self::Int32
                | Self::Int64
                | Self::Errno
                | Self::Fd
                | Self::Pid
                | Self::Fd32
                | Self::Pid32
        )
    }

    /// Whether the bytes are text that ends with a NUL.
    #[must_use]
    pub const fn is_text(self) -> bool {
        matches!(self, Self::CharBuf | Self::FsPath | Self::FsRelPath)
    }
}

/// The name of a system call by its code in the schema (not the architecture's number).
#[must_use]
pub fn syscall_name(code: u16) -> Option<&'static str> {
    syscall::NAMES.get(usize::from(code)).copied().filter(|name| !name.is_empty())
}

/// The code of a system call in the schema.
#[must_use]
pub fn syscall_code(name: &str) -> Option<u16> {
    if name.is_empty() {
        return None;
    }
    syscall::NAMES.iter().position(|known| *known == name).and_then(|code| u16::try_from(code).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_schemas() {
        assert_eq!(EventId::COUNT, 454);
        assert_eq!(EventId::SYSCALL_OPENAT_2_X.number(), 307);
        assert_eq!(EventId::SYSCALL_EXECVE_19_X.row().params.len(), 31);
        assert_eq!(EventId::PROCEXIT_1_E.number(), 186);
        assert_eq!(EventId::new(454), None);
        assert_eq!(EventId::new(293), Some(EventId::SYSCALL_EXECVE_19_X));
        assert_eq!(EventId::SYSCALL_EXECVE_19_X.other_side(), EventId::SYSCALL_EXECVE_19_E);
        assert_eq!(format!("{:?}", EventId::SYSCALL_CLOSE_E), "4(SYSCALL_CLOSE_E)");
    }

    #[test]
    fn kinds_of_rows_add_up() {
        let count = |flag| EVENTS.iter().filter(|row| row.flags.has(flag)).count();
        assert_eq!((count(Flags::UNUSED), count(Flags::OLD_VERSION)), (35, 223));
        assert_eq!(count(Flags::LARGE_PAYLOAD), 3);
        let from = |category| EVENTS.iter().filter(|row| row.category.has(category)).count();
        assert_eq!(from(Category::SYSCALL), 384);
        assert_eq!(from(Category::ITER), 10);
    }

    #[test]
    fn every_row_is_sound() {
        for id in EventId::all() {
            let row = id.row();
            assert_eq!(row.category.class().is_none(), row.flags.has(Flags::UNUSED), "{id:?}");
            for (position, param) in row.params.iter().enumerate() {
                assert_eq!(row.param(param.name).map(|(at, _)| at), Some(position), "{id:?} {}", param.name);
                let dirfd = param.dirfd.map(|at| row.params[usize::from(at)].ty);
                match param.ty {
                    ParamType::FsRelPath => {
                        assert!(matches!(dirfd, Some(ParamType::Fd | ParamType::Fd32)), "{id:?}");
                    }
                    _ => assert_eq!(dirfd, None, "{id:?}"),
                }
                assert_eq!(param.ty == ParamType::Dyn, !param.variants.is_empty(), "{id:?} {}", param.name);
            }
        }
    }

    #[test]
    fn flags_have_names_in_order() {
        let (at, flags) = EventId::SYSCALL_OPENAT_2_X.row().param("flags").unwrap();
        assert_eq!((at, flags.ty, flags.format), (3, ParamType::Flags32, Format::Hex));
        let symbols = flags.symbols.unwrap();
        assert_eq!(symbols.name(1), Some("O_RDONLY"));
        assert_eq!(symbols.number("O_CLOEXEC"), Some(4096));
    }

    #[test]
    fn system_calls_have_codes() {
        assert_eq!(syscall_name(5), Some("open"));
        assert_eq!(syscall_code("openat"), Some(197));
        assert_eq!(syscall_name(382), None);
        assert_eq!(syscall_name(u16::MAX), None);
        assert_eq!(syscall_code(""), None);
        for code in 0..454 {
            if let Some(name) = syscall_name(code) {
                assert_eq!(syscall_code(name), Some(code));
            }
        }
    }

    #[test]
    fn types_are_numbered_as_in_the_schema() {
        assert_eq!(ParamType::ALL.len(), 48);
        for (at, ty) in ParamType::ALL.iter().enumerate() {
            assert_eq!(*ty as usize, at + 1);
        }
    }
}
