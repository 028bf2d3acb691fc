//! What live events cost: added nanoseconds per system call of a thread that is not looked at,
//! filtered out, or captured, next to an empty program and to a raw ring record of 64 bytes; and
//! what the reader pays per event.
//!
//! `cost [CALLS] [ROUNDS]`; CPU time of the calling thread, the least of the rounds. Compare ratios.

use std::error::Error;
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
    ("connect (unix, refused)", &[EventId::SOCKET_CONNECT_X], connect, 1),
    ("sendto (unix, refused)", &[EventId::SOCKET_SENDTO_X], send, 1),
    ("fstat (by a tail call)", &[EventId::SYSCALL_FSTAT_X], fstat, 1),
];

static ZERO: AtomicU64 = AtomicU64::new(0);
static NULL: AtomicU64 = AtomicU64::new(0);
static SOCKET: AtomicU64 = AtomicU64::new(0);

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

/// Nanoseconds of one turn, the least of some rounds.
fn measure(turn: fn(), calls: u64, rounds: u32) -> f64 {
    (0..rounds)
        .map(|_| {
            let start = thread_ns();
            (0..calls).for_each(|_| turn());
            (thread_ns() - start) / calls as f64
        })
        .fold(f64::INFINITY, f64::min)
}

/// What one measurement under a probe gave: ns of a turn; events, reader ns per event, lost.
struct Under {
    ns: f64,
    events: u64,
    reader_ns: f64,
    lost: u64,
}

fn under(
    interest: &EventInterest,
    floor: Option<Floor>,
    turn: fn(),
    calls: u64,
    rounds: u32,
) -> Result<Under, Box<dyn Error>> {
    let mut live =
        Live::open(interest, &Options { snapshot: false, own: true, floor, ..Options::default() })?;
    let (handle, ready) = (live.handle(), Arc::new(AtomicBool::new(false)));
    let told = Arc::clone(&ready);
    let reader = thread::spawn(move || {
        let (start, mut events, mut bytes) = (thread_ns(), 0_u64, 0_usize);
        told.store(true, Ordering::Release);
        while let Ok(Some(batch)) = live.batch() {
            for item in batch {
                if let Item::Event(event) = item {
                    events += 1;
                    bytes += event.params.data().len();
                }
            }
        }
        std::hint::black_box(bytes);
        (events, thread_ns() - start, live.account().lost())
    });
    while !ready.load(Ordering::Acquire) {
        thread::yield_now();
    }
    let ns = measure(turn, calls, rounds);
    handle.stop();
    let (events, spent, lost) = reader.join().map_err(|_| "the reader ended badly")?;
    Ok(Under { ns, events, reader_ns: if events > 0 { spent / events as f64 } else { 0.0 }, lost })
}

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<u64> = std::env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    let calls = words.first().copied().unwrap_or(200_000);
    let rounds = words.get(1).copied().unwrap_or(7) as u32;
    let open = |path: &std::ffi::CStr| {
        // SAFETY: a path with its NUL.
        unsafe { libc::open(path.as_ptr(), libc::O_RDWR) as u64 }
    };
    ZERO.store(open(c"/dev/zero"), Ordering::Relaxed);
    NULL.store(open(c"/dev/null"), Ordering::Relaxed);
    // SAFETY: no pointers.
    SOCKET.store(unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_DGRAM, 0) } as u64, Ordering::Relaxed);
    println!(
        "ns per call: untraced, then added: by an empty program, by a record of 64 bytes, by a probe for another call, filtered out by pid, captured;"
    );
    println!("reader ns per event, events, lost");
    for (name, ids, turn, per_turn) in KINDS {
        let (turn, per_turn) = (*turn, *per_turn as f64);
        let events: EventSet = ids.iter().copied().collect();
        let base =
            EventInterest { state: false, pids: Some(vec![std::process::id()]), ..EventInterest::default() };
        let other =
            EventInterest { events: [EventId::SYSCALL_ACCESS_X].into_iter().collect(), ..base.clone() };
        let filtered = EventInterest { events: events.clone(), pids: Some(vec![1]), ..base.clone() };
        let captured = EventInterest { events, ..base };
        let bare = measure(turn, calls, rounds);
        let empty = under(&captured, Some(Floor::Empty), turn, calls, rounds)?;
        let record = under(&captured, Some(Floor::Record), turn, calls, rounds)?;
        let unhooked = under(&other, None, turn, calls, rounds)?;
        let out = under(&filtered, None, turn, calls, rounds)?;
        let taken = under(&captured, None, turn, calls, rounds)?;
        let bare = bare.min(measure(turn, calls, rounds));
        let added = |with: f64| (with - bare) / per_turn;
        println!(
            "{name:26} {:6.0} {:+6.0} {:+6.0} {:+6.0} {:+6.0} {:+6.0}   {:5.0} {:9} {:6}",
            bare / per_turn,
            added(empty.ns),
            added(record.ns),
            added(unhooked.ns),
            added(out.ns),
            added(taken.ns),
            taken.reader_ns,
            taken.events,
            taken.lost
        );
    }
    Ok(())
}
