//! What live events cost: added nanoseconds per system call of a thread that is not looked at,
//! filtered out, or captured, next to an empty program, to a raw ring record of 64 bytes and to one
//! of as many bytes as the call's own; and what the reader pays per event.
//!
//! `cost [CALLS [ROUNDS [KIND]]]`; CPU time of the calling thread, the least of the rounds, in which
//! everything takes turns. Compare ratios.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use nabe_event::item::Item;
use nabe_event::source::{EventInterest, EventSet, Source as _};
use nabe_event::table::EventId;
use nabe_probe::live::{Floor, Live, Options};
use rustix::time::{ClockId, clock_gettime};

/// A kind of call: its name, its events, one turn of it, and calls per turn.
type Kind = (&'static str, &'static [EventId], fn(), u64);

const KINDS: &[Kind] = &[
    ("getppid", &[EventId::GENERIC_X], getppid, 1),
    ("read 64 B of /dev/zero", &[EventId::SYSCALL_READ_X], read_zero, 1),
    ("write 64 B to /dev/null", &[EventId::SYSCALL_WRITE_X], write_null, 1),
    ("openat + close", &[EventId::SYSCALL_OPENAT_2_X, EventId::SYSCALL_CLOSE_X], open_close, 2),
    ("connect (udp, with tuple)", &[EventId::SOCKET_CONNECT_X], connect_udp, 1),
    ("connect (unix, refused)", &[EventId::SOCKET_CONNECT_X], connect, 1),
    ("sendto (unix, refused)", &[EventId::SOCKET_SENDTO_X], send, 1),
    ("fstat (by a tail call)", &[EventId::SYSCALL_FSTAT_X], fstat, 1),
];

static ZERO: AtomicU64 = AtomicU64::new(0);
static NULL: AtomicU64 = AtomicU64::new(0);
static SOCKET: AtomicU64 = AtomicU64::new(0);
static UDP: AtomicU64 = AtomicU64::new(0);

fn getppid() {
    // SAFETY: it takes nothing.
    unsafe { libc::syscall(libc::SYS_getppid) };
}

fn read_zero() {
    let mut bytes = [0_u8; 64];
    // SAFETY: the kernel writes to 64 bytes of ours.
    unsafe { libc::read(ZERO.load(Ordering::Relaxed) as i32, bytes.as_mut_ptr().cast(), 64) };
}

fn write_null() {
    // SAFETY: the kernel reads 64 bytes of ours.
    unsafe { libc::write(NULL.load(Ordering::Relaxed) as i32, [7_u8; 64].as_ptr().cast(), 64) };
}

fn open_close() {
    // SAFETY: a path with its NUL; the descriptor is closed at once.
    unsafe { libc::close(libc::openat(libc::AT_FDCWD, c"/dev/null".as_ptr(), libc::O_RDONLY)) };
}

const NOBODY: [u8; 16] = *b"\x01\0/nonexistent/\0";

fn connect_udp() {
    // 127.0.0.1, the port of discard.
    const DISCARD: [u8; 16] = [2, 0, 0, 9, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    // SAFETY: the address has 16 bytes.
    unsafe { libc::connect(UDP.load(Ordering::Relaxed) as i32, DISCARD.as_ptr().cast(), 16) };
}

fn connect() {
    // SAFETY: the address has 16 bytes.
    unsafe { libc::connect(SOCKET.load(Ordering::Relaxed) as i32, NOBODY.as_ptr().cast(), 16) };
}

fn send() {
    let socket = SOCKET.load(Ordering::Relaxed) as i32;
    // SAFETY: 64 bytes of payload, 16 of address.
    unsafe { libc::sendto(socket, [7_u8; 64].as_ptr().cast(), 64, 0, NOBODY.as_ptr().cast(), 16) };
}

fn fstat() {
    // SAFETY: an address that the kernel refuses.
    unsafe { libc::syscall(libc::SYS_fstat, ZERO.load(Ordering::Relaxed), 1) };
}

fn thread_ns() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// Nanoseconds of one turn.
fn measure(turn: fn(), calls: u64) -> f64 {
    let start = thread_ns();
    (0..calls).for_each(|_| turn());
    (thread_ns() - start) / calls as f64
}

/// What measurements under a probe gave: ns of a turn, reader ns per event (the least of all), and
/// events, their bytes, and lost ones (of all together).
#[derive(Clone, Copy)]
struct Under {
    ns: f64,
    reader_ns: f64,
    events: u64,
    bytes: u64,
    lost: u64,
}

impl Under {
    const NOTHING: Self = Self { ns: f64::INFINITY, reader_ns: f64::INFINITY, events: 0, bytes: 0, lost: 0 };

    fn and(self, other: Self) -> Self {
        Self {
            ns: self.ns.min(other.ns),
            reader_ns: self.reader_ns.min(other.reader_ns),
            events: self.events + other.events,
            bytes: self.bytes + other.bytes,
            lost: self.lost + other.lost,
        }
    }
}

/// A run of a probe while the calls are made.
fn under(
    interest: &EventInterest,
    floor: Option<Floor>,
    cache: &Path,
    turn: fn(),
    calls: u64,
) -> Result<Under, Box<dyn Error>> {
    let cache = Some(cache.to_owned());
    let options = Options { snapshot: false, own: true, floor, cache, ..Options::default() };
    let mut live = Live::open(interest, &options)?;
    let (handle, ready) = (live.handle(), Arc::new(AtomicBool::new(false)));
    let told = Arc::clone(&ready);
    let reader = thread::spawn(move || {
        let (start, mut events, mut bytes) = (thread_ns(), 0_u64, 0_u64);
        told.store(true, Ordering::Release);
        while let Ok(Some(batch)) = live.batch() {
            for item in batch {
                if let Item::Event(event) = item {
                    events += 1;
                    let params = &event.params;
                    let lengths: usize = params.iter().map(|value| 2 + value.len()).sum();
                    bytes += (nabe_probe::live::record::HEAD + lengths) as u64;
                }
            }
        }
        (events, bytes, thread_ns() - start, live.account().lost())
    });
    while !ready.load(Ordering::Acquire) {
        thread::yield_now();
    }
    let ns = measure(turn, calls);
    handle.stop();
    let (events, bytes, spent, lost) = reader.join().map_err(|_| "the reader ended badly")?;
    let reader_ns = if events > 0 { spent / events as f64 } else { f64::INFINITY };
    Ok(Under { ns, reader_ns, events, bytes, lost })
}

fn open_all() {
    let open = |path: &std::ffi::CStr| {
        // SAFETY: a path with its NUL.
        unsafe { libc::open(path.as_ptr(), libc::O_RDWR) as u64 }
    };
    let socket = |family| {
        // SAFETY: no pointers.
        unsafe { libc::socket(family, libc::SOCK_DGRAM, 0) as u64 }
    };
    ZERO.store(open(c"/dev/zero"), Ordering::Relaxed);
    NULL.store(open(c"/dev/null"), Ordering::Relaxed);
    SOCKET.store(socket(libc::AF_UNIX), Ordering::Relaxed);
    UDP.store(socket(libc::AF_INET), Ordering::Relaxed);
}

/// One line of the table.
fn row(kind: &Kind, calls: u64, rounds: u32, cache: &Path) -> Result<(), Box<dyn Error>> {
    let (name, ids, turn, per_turn) = *kind;
    let events: EventSet = ids.iter().copied().collect();
    let base =
        EventInterest { state: false, pids: Some(vec![std::process::id()]), ..EventInterest::default() };
    let other = EventInterest { events: [EventId::SYSCALL_ACCESS_X].into_iter().collect(), ..base.clone() };
    let filtered = EventInterest { events: events.clone(), pids: Some(vec![1]), ..base.clone() };
    let captured = EventInterest { events, ..base };
    let first = under(&captured, None, cache, turn, calls.min(1000))?;
    let same = Floor::Record(first.bytes.checked_div(first.events).unwrap_or(64) as u32);
    let variants = [
        (&captured, Some(Floor::Empty)),
        (&captured, Some(Floor::Record(64))),
        (&captured, Some(same)),
        (&other, None),
        (&filtered, None),
        (&captured, None),
    ];
    let mut bare = f64::INFINITY;
    let mut sums = [Under::NOTHING; 6];
    for _ in 0..rounds {
        bare = bare.min(measure(turn, calls));
        for (sum, (interest, floor)) in sums.iter_mut().zip(variants) {
            *sum = sum.and(under(interest, floor, cache, turn, calls)?);
        }
    }
    let per_turn = per_turn as f64;
    let [empty, raw, raw_same, unhooked, out, taken] = sums.map(|sum| (sum.ns - bare) / per_turn);
    let last = sums[5];
    println!(
        "{name:26} {:6.0} {empty:+6.0} {raw:+6.0} {raw_same:+6.0} ({:3} B) {unhooked:+6.0} {out:+6.0} ({:.2}) {taken:+6.0} ({:.2}) {:5.0} {:9} {:6}",
        bare / per_turn,
        same.bytes(),
        out / empty,
        taken / raw_same,
        last.reader_ns,
        last.events,
        last.lost
    );
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let calls = words.next().map_or(Ok(50_000), |word| word.parse())?;
    let rounds = words.next().map_or(Ok(15), |word| word.parse())?;
    let only = words.next().unwrap_or_default();
    open_all();
    println!(
        "ns per call: untraced, then added: by an empty program; by a raw record of 64 bytes; by a raw record of"
    );
    println!(
        "the call's own bytes; by a probe for another call; filtered out by pid (to empty); captured (to raw);"
    );
    println!("reader ns per event, events, lost");
    let cache = std::env::temp_dir().join(format!("nabe-cost-{}", std::process::id()));
    let result = KINDS
        .iter()
        .filter(|kind| kind.0.contains(&only))
        .try_for_each(|kind| row(kind, calls, rounds, &cache));
    let _ = std::fs::remove_dir_all(&cache);
    result
}
