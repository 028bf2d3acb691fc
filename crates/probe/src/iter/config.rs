//! What the programs are told: needs and the selection that they can make themselves.

use std::fs;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::OnceLock;

use nabe_event::{Interest, Needs};

const SELECT_PIDS: u32 = 1;
const SELECT_EUIDS: u32 = 2;
const SELECT_NAMES: u32 = 4;
const SELECT_ONLY_SOCKETS: u32 = 8;
const SELECT_FAMILIES: u32 = 16;
const SELECT_TYPES: u32 = 32;
const SELECT_STATES: u32 = 64;

const MAX_EUIDS: usize = 16;
const MAX_NAMES: usize = 16;
/// Size of `struct nabe_config`.
pub(crate) const SIZE: usize = 376;
/// Where the descriptor of the map `cpu_anchor` goes.
pub(crate) const ANCHOR: std::ops::Range<usize> = 44..48;
/// Of events, where the number of their rings' groups stands.
pub(crate) const RING_SHIFT: std::ops::Range<usize> = ANCHOR;

/// Inode of the initial PID namespace, include/linux/proc_ns.h.
const INITIAL_PIDNS: u32 = 0xEFFF_FFFC;

/// The inode of the PID namespace of who reads: it decides which number a process has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reader(u32);

impl Reader {
    /// This process.
    pub(crate) fn this() -> Self {
        use std::os::unix::fs::MetadataExt as _;
        Self(fs::metadata("/proc/self/ns/pid").map_or(INITIAL_PIDNS, |meta| meta.ino() as u32))
    }
}

impl Reader {
    /// Whether it is in the initial namespace, whose numbers the kernel's own code uses.
    pub(crate) fn is_initial(self) -> bool {
        self.0 == INITIAL_PIDNS
    }
}

/// The bytes of `struct nabe_config` for this interest.
pub(crate) fn encode(interest: &Interest, reader: Reader, with_pids: bool) -> [u8; SIZE] {
    let mut select = 0;
    if with_pids {
        select |= SELECT_PIDS;
    }
    let euids = interest.euids.as_deref().filter(|list| list.len() <= MAX_EUIDS);
    let names = interest.names.as_deref().filter(|list| list.len() <= MAX_NAMES);
    let families = mask(interest.families.as_deref(), 64);
    let types = mask(interest.types.as_deref(), 32);
    let states = mask(interest.states.as_deref(), 32);
    for (bit, set) in [
        (SELECT_EUIDS, euids.is_some()),
        (SELECT_NAMES, names.is_some()),
        (SELECT_ONLY_SOCKETS, interest.only_sockets),
        (SELECT_FAMILIES, families.is_some()),
        (SELECT_TYPES, types.is_some()),
        (SELECT_STATES, states.is_some()),
    ] {
        if set {
            select |= bit;
        }
    }
    let (euids, names) = (euids.unwrap_or_default(), names.unwrap_or_default());
    let mut out = Vec::with_capacity(SIZE);
    for number in [
        need_bits(interest.needs),
        select,
        u32::from(reader.0 != INITIAL_PIDNS),
        reader.0,
        if interest.needs.contains(Needs::RSS) { possible_cpus() } else { 0 },
        euids.len() as u32,
        names.len() as u32,
        types.unwrap_or(0) as u32,
    ] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(&families.unwrap_or(0).to_le_bytes());
    out.extend_from_slice(&(states.unwrap_or(0) as u32).to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    for at in 0..MAX_EUIDS {
        out.extend_from_slice(&euids.get(at).copied().unwrap_or(0).to_le_bytes());
    }
    for at in 0..MAX_NAMES {
        let mut comm = [0; 16];
        let name = names.get(at).map_or(&[][..], Vec::as_slice);
        comm.iter_mut().zip(name.iter().take(15)).for_each(|(to, from)| *to = *from);
        out.extend_from_slice(&comm);
    }
    out.extend_from_slice(&secret().to_le_bytes());
    let mut bytes = [0; SIZE];
    bytes.iter_mut().zip(out).for_each(|(to, from)| *to = from);
    bytes
}

/// What kernel addresses are hidden with when they stand for an identity. The same in every round of
/// this process, so that their records can be joined; another in the next.
fn secret() -> u64 {
    static SECRET: OnceLock<u64> = OnceLock::new();
    *SECRET.get_or_init(|| RandomState::new().hash_one(0))
}

/// Bits of the collectors as `bpf/nabe.h` has them: the positions of `Needs::ALL`.
fn need_bits(needs: Needs) -> u32 {
    Needs::ALL
        .iter()
        .enumerate()
        .filter(|(_, (need, ..))| needs.contains(*need))
        .map(|(bit, _)| 1 << bit)
        .sum()
}

/// A set as a mask; `None` when there is none, or when it holds what the mask cannot.
fn mask<T: Copy + Into<u32>>(set: Option<&[T]>, bits: u32) -> Option<u64> {
    set?.iter().try_fold(0, |mask, item| {
        let bit = (*item).into();
        (bit < bits).then(|| mask | 1_u64 << bit)
    })
}

/// One more than the highest CPU number that can ever be online.
fn possible_cpus() -> u32 {
    let text = fs::read_to_string("/sys/devices/system/cpu/possible").unwrap_or_default();
    let last = text.trim().rsplit([',', '-']).next().and_then(|n| n.parse::<u32>().ok());
    // Without the file: as many as the programs can count.
    last.map_or(1024, |n| n.saturating_add(1)).min(1024)
}
