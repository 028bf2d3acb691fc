//! Processes that hide: the same question asked of several parts of the kernel, and the answers
//! compared.
//!
//! Each number up to `pid_max` is looked at by (1) the kernel's task iterator, (2) the list of names
//! in `/proc`, (4) `/proc/PID/stat` by name, (8) `pidfd_open`, or `kill` with signal 0, (16)
//! `cgroup.procs` of every cgroup. Whoever is not seen by all that should see it is looked at a
//! second time; only what looks the same then is told, so that a process which begins or ends
//! meanwhile is not taken for one that hides.
//!
//! What this cannot see: a process that is hidden from every one of these alike.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;

use rustix::fs::{FileType, RawDir};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open, test_kill_process};

use crate::proc::dir::{Dir, NumberName};
use crate::proc::mount::Mount;
use crate::proc::stat_pid;
use crate::proc::text::{lines, number32, unescape};

/// Bits of [`Finding::seen`]: who sees a process.
pub mod view {
    /// The kernel's task iterator.
    pub const ITERATOR: u32 = 1;
    /// The names in `/proc`, from the kernel.
    pub const LIST: u32 = 2;
    /// `/proc/PID/stat` by name.
    pub const NAME: u32 = 4;
    /// `pidfd_open`, or `kill` with signal 0.
    pub const SIGNAL: u32 = 8;
    /// `cgroup.procs`.
    pub const CGROUP: u32 = 16;

    /// Each with words for people.
    pub(super) static WORDS: [(u32, &str); 5] = [
        (ITERATOR, "the kernel's task iterator"),
        (LIST, "the list of /proc"),
        (NAME, "/proc/PID by name"),
        (SIGNAL, "pidfd_open"),
        (CGROUP, "cgroup.procs"),
    ];
}

/// How a process hides, or why it only seems to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hiding {
    /// Something is mounted over `/proc/PID`, or over a file in it.
    Mount,
    /// The C library of this process leaves it out of the list: a preloaded library.
    Preload,
    /// The kernel leaves it out of the list of `/proc`, yet opens it by name: a hook on getdents.
    ListHook,
    /// The kernel lists it and does not open it by name, and nothing is mounted there: a hook on open.
    OpenHook,
    /// `/proc` denies it altogether, other parts of the kernel do not: a hook on `/proc`.
    ProcHook,
    /// Signals cannot reach it, though it is there: a hook on kill and pidfd_open.
    SignalHook,
    /// Known by its number only: taken out of what the iterator and `/proc` walk.
    Unlinked,
    /// Seen by the iterator or by cgroups only: every system call denies it.
    EverywhereHook,
    /// Not hidden: `/proc` is mounted with hidepid and this reader is not exempt.
    Hidepid,
    /// Not hidden: the iterator of this kernel has a gap; `/proc` shows the process.
    IteratorGap,
    /// Not hidden: it is in a PID namespace that the reader's calls do not reach.
    OtherNamespace,
}

impl Hiding {
    /// Whether somebody hides it; otherwise it only looks so, for a reason that is known.
    #[must_use]
    pub const fn is_hiding(self) -> bool {
        !matches!(self, Self::Hidepid | Self::IteratorGap | Self::OtherNamespace)
    }

    /// A name for machines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mount => "mount",
            Self::Preload => "preload",
            Self::ListHook => "list-hook",
            Self::OpenHook => "open-hook",
            Self::ProcHook => "proc-hook",
            Self::SignalHook => "signal-hook",
            Self::Unlinked => "unlinked",
            Self::EverywhereHook => "everywhere-hook",
            Self::Hidepid => "hidepid",
            Self::IteratorGap => "iterator-gap",
            Self::OtherNamespace => "other-namespace",
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Mount => {
                "something is mounted over its directory in /proc, so whatever reads /proc is blind to it"
            }
            Self::Preload => {
                "the C library of this process leaves it out when it lists /proc: look for a preloaded library (LD_PRELOAD, /etc/ld.so.preload)"
            }
            Self::ListHook => {
                "the kernel leaves it out when it lists /proc, yet opens it by name: look for a kernel module or BPF program on getdents"
            }
            Self::OpenHook => {
                "the kernel lists it in /proc and does not open it, though nothing is mounted there: look for a kernel module on open"
            }
            Self::ProcHook => {
                "/proc denies it and the rest of the kernel does not: look for a kernel module on /proc"
            }
            Self::SignalHook => {
                "pidfd_open and kill deny it, though it is there: look for a kernel module on them"
            }
            Self::Unlinked => {
                "the kernel knows it by its number and lists it nowhere: look for a kernel module that took it out of the lists"
            }
            Self::EverywhereHook => "every system call that names it denies it: look for a kernel module",
            Self::Hidepid => {
                "/proc is mounted with hidepid, which hides the processes of others: no process that hides"
            }
            Self::IteratorGap => {
                "the kernel's task iterator does not show it, /proc does: a gap of the iterator on this kernel, not a process that hides"
            }
            Self::OtherNamespace => {
                "it is in a PID namespace that this reader's calls do not reach: no process that hides"
            }
        }
    }
}

/// A process that not everyone sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its number, in the reader's PID namespace.
    pub pid: u32,
    /// Who sees it: bits of [`view`].
    pub seen: u32,
    /// Who was asked: bits of [`view`].
    pub asked: u32,
    /// How it hides.
    pub hiding: Hiding,
    /// Its name, where that could be read.
    pub comm: Vec<u8>,
    /// For people: how it hides and who sees it.
    pub text: String,
}

/// Why there is nothing to compare.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// `/proc` cannot be read.
    #[error("/proc cannot be read")]
    Proc(#[source] std::io::Error),
}

/// Circumstances in which a pattern of answers has its meaning.
#[derive(Clone, Copy, Debug, Default)]
struct Facts {
    /// Who was asked at all.
    asked: u32,
    /// The C library lists it.
    libc_lists: bool,
    /// Something is mounted at `/proc/PID` or below.
    mounted_over: bool,
    /// `/proc` is mounted with hidepid=2 or 4.
    hidepid: bool,
    /// The reader is in another PID namespace than the host's.
    nested: bool,
}

/// What a pattern of answers means; `None` when everyone who should see it does.
fn classify(seen: u32, facts: Facts) -> Option<Hiding> {
    use view::{ITERATOR, LIST, NAME, SIGNAL};
    let sees = |bit: u32| seen & bit != 0;
    // What was not asked does not count as blind.
    let blind = |bit: u32| facts.asked & bit != 0 && seen & bit == 0;
    if seen == 0 {
        return None;
    }
    Some(match (sees(LIST), sees(NAME)) {
        (true, true) => {
            if !facts.libc_lists {
                Hiding::Preload
            } else if blind(SIGNAL) {
                Hiding::SignalHook
            } else if blind(ITERATOR) {
                Hiding::IteratorGap
            } else {
                return None;
            }
        }
        (_, false) if facts.mounted_over => Hiding::Mount,
        (true, false) => Hiding::OpenHook,
        (false, true) => Hiding::ListHook,
        (false, false) => {
            if sees(SIGNAL) && facts.hidepid {
                Hiding::Hidepid
            } else if sees(SIGNAL) && sees(ITERATOR) {
                Hiding::ProcHook
            } else if sees(SIGNAL) {
                Hiding::Unlinked
            } else if facts.nested {
                Hiding::OtherNamespace
            } else {
                Hiding::EverywhereHook
            }
        }
    })
}

/// Looks for processes that not everyone sees and appends them to `out`, by number. `iterator`
/// takes the kernel's list of processes (tgids in the reader's PID namespace) anew at each call, or
/// says `None` where there is no BPF; it is called at most twice.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn check(iterator: &mut dyn FnMut() -> Option<Vec<u32>>, out: &mut Vec<Finding>) -> Result<(), Error> {
    let eyes = Eyes::open()?;
    let first = eyes.look(iterator, None)?;
    let doubtful = first.seen.iter().filter(|(_, seen)| first.is_partial(**seen));
    let candidates: BTreeMap<u32, u32> = doubtful.map(|(pid, seen)| (*pid, *seen)).collect();
    if candidates.is_empty() {
        return Ok(());
    }
    let mounts = eyes.mounts_over();
    let second = eyes.look(iterator, Some(&candidates))?;
    for (pid, seen) in candidates {
        // Cgroups do not list zombies, nor what lies outside of the mounts.
        let same = |seen: u32| seen & !view::CGROUP;
        if second.seen.get(&pid).is_none_or(|again| same(*again) != same(seen)) || second.asked != first.asked
        {
            continue;
        }
        let facts = Facts {
            mounted_over: mounts.contains(&pid) || eyes.is_covered(pid),
            hidepid: eyes.hidepid,
            nested: eyes.nested,
            asked: first.asked,
            libc_lists: seen & LIBC != 0,
        };
        let Some(hiding) = classify(seen & !LIBC, facts) else { continue };
        out.push(finding(pid, seen & !LIBC, first.asked, hiding, eyes.comm(pid)));
    }
    Ok(())
}

fn finding(pid: u32, seen: u32, asked: u32, hiding: Hiding, comm: Vec<u8>) -> Finding {
    let list = |wanted: bool| {
        let words = view::WORDS.iter().filter(|(bit, _)| asked & bit != 0 && (seen & bit != 0) == wanted);
        words.map(|(_, word)| *word).collect::<Vec<_>>().join(", ")
    };
    let (by, not) = (list(true), list(false));
    let mut text = format!("{}; seen by {by}", hiding.words());
    if !not.is_empty() {
        text.push_str(&format!("; not by {not}"));
    }
    Finding { pid, seen, asked, hiding, comm, text }
}

/// The C library's list, beside the bits of [`view`].
const LIBC: u32 = 32;

/// What one look has seen.
struct Pass {
    seen: BTreeMap<u32, u32>,
    asked: u32,
}

impl Pass {
    fn mark(&mut self, pid: u32, bit: u32) {
        *self.seen.entry(pid).or_default() |= bit;
    }

    /// Whether someone who was asked does not see it, cgroups aside.
    fn is_partial(&self, seen: u32) -> bool {
        let all = (self.asked & !view::CGROUP) | LIBC;
        seen & all != all
    }
}

/// Whatever a look needs.
struct Eyes {
    proc: Dir,
    /// One more than the largest number.
    limit: u32,
    hidepid: bool,
    nested: bool,
    cgroups: Vec<CString>,
    mountinfo: Vec<u8>,
}

impl Eyes {
    fn open() -> Result<Self, Error> {
        let proc = Dir::open(c"/proc", true).map_err(|error| Error::Proc(error.into()))?;
        let (mut text, mut mountinfo) = (Vec::new(), Vec::new());
        let limit =
            proc.piece(c"sys/kernel/pid_max", &mut text).ok().and_then(|()| number32(text.trim_ascii()));
        let _ = proc.whole(c"self/mountinfo", &mut mountinfo, 16 << 20);
        let is_proc = |mount: &Mount<'_>| mount.point == b"/proc" && mount.fs_type == b"proc";
        let hidepid = Mount::all(&mountinfo)
            .filter(is_proc)
            .last()
            .and_then(|mount| mount.option(b"hidepid"))
            .is_some_and(|how| matches!(&how[..], b"2" | b"4" | b"invisible" | b"ptraceable"));
        let cgroups = Mount::all(&mountinfo)
            .filter(|mount| matches!(mount.fs_type, b"cgroup" | b"cgroup2"))
            .filter_map(|mount| CString::new(unescape(mount.point)).ok())
            .collect();
        // PROC_PID_INIT_INO, include/linux/proc_ns.h.
        let mut link = [0; 64];
        let nested = proc.link(c"self/ns/pid", &mut link).is_ok_and(|link| link != b"pid:[4026531836]");
        // Without /proc/sys, the largest value that a kernel takes.
        Ok(Self { proc, limit: limit.unwrap_or(4 << 20).min(4 << 20), hidepid, nested, cgroups, mountinfo })
    }

    /// One look: at everything, or only at what is doubtful.
    fn look(
        &self,
        iterator: &mut dyn FnMut() -> Option<Vec<u32>>,
        only: Option<&BTreeMap<u32, u32>>,
    ) -> Result<Pass, Error> {
        let mut pass = Pass { seen: BTreeMap::new(), asked: view::LIST | view::NAME | view::SIGNAL };
        if let Some(pids) = iterator() {
            pass.asked |= view::ITERATOR;
            pids.into_iter().for_each(|pid| pass.mark(pid, view::ITERATOR));
        }
        // A directory that is open goes on from where it was: list by a new one.
        let list = Dir::open(c"/proc", true).map_err(|error| Error::Proc(error.into()))?;
        let mut each = |pid, _: &CStr| {
            pass.mark(pid, view::LIST);
            true
        };
        list.numbers(&mut each).map_err(|error| Error::Proc(error.into()))?;
        // The standard library lists by the C library's readdir, which others can replace.
        if let Ok(names) = std::fs::read_dir("/proc") {
            use std::os::unix::ffi::OsStrExt as _;
            let names = names.filter_map(Result::ok).filter_map(|name| number32(name.file_name().as_bytes()));
            names.for_each(|pid| pass.mark(pid, LIBC));
        }
        match only {
            None => (1..self.limit).for_each(|pid| self.probe(pid, &mut pass)),
            Some(pids) => pids.keys().for_each(|pid| self.probe(*pid, &mut pass)),
        }
        if !self.cgroups.is_empty() {
            pass.asked |= view::CGROUP;
            for point in &self.cgroups {
                walk_cgroups(point, &mut |pid| pass.mark(pid, view::CGROUP));
            }
        }
        if let Some(only) = only {
            pass.seen.retain(|pid, _| only.contains_key(pid));
        }
        Ok(pass)
    }

    /// Asks for one number by signal and by name.
    fn probe(&self, pid: u32, pass: &mut Pass) {
        let by_signal = exists(pid);
        if by_signal == Exists::Leader {
            pass.mark(pid, view::SIGNAL);
        }
        // A thread has a directory too, which no list shows.
        if by_signal != Exists::Thread && self.has_stat(pid) {
            let leads = by_signal == Exists::Leader || self.leads(pid);
            if leads {
                pass.mark(pid, view::NAME);
                if by_signal == Exists::Unknown {
                    pass.mark(pid, view::SIGNAL);
                }
            }
        }
    }

    /// Whether `/proc/PID/stat` is there and speaks of this process.
    fn has_stat(&self, pid: u32) -> bool {
        let name = NumberName::new(pid);
        let Ok(dir) = self.proc.child(name.as_c_str(), false) else { return false };
        let mut text = Vec::new();
        dir.piece(c"stat", &mut text).is_ok() && stat_pid(&text) == Some(pid)
    }

    /// Whether it is a process, not a thread, by what its status says.
    fn leads(&self, pid: u32) -> bool {
        let name = NumberName::new(pid);
        let mut text = Vec::new();
        let read = self.proc.child(name.as_c_str(), false).and_then(|dir| dir.piece(c"status", &mut text));
        read.is_ok()
            && lines(&text)
                .find_map(|line| line.strip_prefix(b"Tgid:"))
                .is_some_and(|tgid| number32(tgid.trim_ascii()) == Some(pid))
    }

    /// Numbers whose directories in `/proc` something is mounted over or in.
    fn mounts_over(&self) -> Vec<u32> {
        let below = |mount: Mount<'_>| {
            let rest = mount.point.strip_prefix(b"/proc/")?;
            number32(rest.split(|byte| *byte == b'/').next()?)
        };
        Mount::all(&self.mountinfo).filter_map(below).collect()
    }

    /// Whether `/proc/PID` is of another file system, whatever the list of mounts says.
    fn is_covered(&self, pid: u32) -> bool {
        let name = NumberName::new(pid);
        let dev =
            |dir: &Dir, name: &CStr| dir.stat(name).map(|stat| (stat.stx_dev_major, stat.stx_dev_minor));
        match (dev(&self.proc, name.as_c_str()), dev(&self.proc, c".")) {
            (Ok(one), Ok(all)) => one != all,
            _ => false,
        }
    }

    /// Its name: from `/proc`, or from one that is mounted for this alone and that nothing covers.
    fn comm(&self, pid: u32) -> Vec<u8> {
        let name = NumberName::new(pid);
        let mut text = Vec::new();
        let mut read = |proc: &Dir| {
            let dir = proc.child(name.as_c_str(), false)?;
            dir.piece(c"stat", &mut text)?;
            if stat_pid(&text) != Some(pid) {
                return Err(Errno::SRCH);
            }
            dir.piece(c"comm", &mut text)
        };
        let known = read(&self.proc).or_else(|_| read(&own_proc()?));
        if known.is_err() {
            text.clear();
        }
        if text.last() == Some(&b'\n') {
            text.pop();
        }
        text
    }
}

/// A proc file system of its own, attached nowhere. Takes CAP_SYS_ADMIN.
fn own_proc() -> Result<Dir, Errno> {
    use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};
    use std::os::fd::AsFd as _;
    let context = fsopen(c"proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(context.as_fd())?;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).map(Dir)
}

/// What the kernel says of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exists {
    Leader,
    Thread,
    No,
    /// It exists, and whether as a process or a thread was not said.
    Unknown,
}

fn exists(pid: u32) -> Exists {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Exists::No };
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(_) => Exists::Leader,
        Err(Errno::SRCH) => Exists::No,
        // EINVAL, ENOENT on newer kernels: a thread that does not lead.
        Err(Errno::INVAL | Errno::NOENT) => Exists::Thread,
        // No pidfds before 5.3, and some seccomp filters refuse them.
        Err(_) => match test_kill_process(pid) {
            Ok(()) | Err(Errno::PERM) => Exists::Unknown,
            Err(_) => Exists::No,
        },
    }
}

/// Calls `each` with every process in the cgroups below `point`, which may be any depth and number:
/// what is beyond a million is left out.
fn walk_cgroups(point: &CStr, each: &mut dyn FnMut(u32)) {
    const MOST: usize = 1_000_000;
    let mut left = vec![point.to_owned()];
    let (mut text, mut met) = (Vec::new(), 0);
    while let Some(path) = left.pop() {
        met += 1;
        let Ok(dir) = Dir::open(&path, true) else { continue };
        // A threaded cgroup refuses; its domain lists the processes.
        if dir.whole(c"cgroup.procs", &mut text, 64 << 20).is_ok() {
            // 0 stands for a process of another PID namespace.
            lines(&text).filter_map(number32).filter(|pid| *pid != 0).for_each(&mut *each);
        }
        let mut buffer = [MaybeUninit::uninit(); 8 << 10];
        let mut entries = RawDir::new(&dir.0, &mut buffer);
        while let Some(Ok(entry)) = entries.next() {
            let name = entry.file_name();
            if entry.file_type() == FileType::Directory
                && !matches!(name.to_bytes(), b"." | b"..")
                && met + left.len() < MOST
                && let Ok(below) = CString::new([path.to_bytes(), b"/", name.to_bytes()].concat())
            {
                left.push(below);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::view::{CGROUP, ITERATOR, LIST, NAME, SIGNAL};
    use super::*;

    const ASKED: u32 = ITERATOR | LIST | NAME | SIGNAL | CGROUP;
    const PLAIN: Facts =
        Facts { asked: ASKED, libc_lists: true, mounted_over: false, hidepid: false, nested: false };

    #[test]
    fn patterns() {
        let check = |seen, facts, want| assert_eq!(classify(seen, facts), want, "{seen:#b} {facts:?}");
        check(0, PLAIN, None);
        check(ASKED, PLAIN, None);
        // Zombies are in no cgroup's list.
        check(ASKED & !CGROUP, PLAIN, None);
        check(ASKED & !ITERATOR, PLAIN, Some(Hiding::IteratorGap));
        // Without BPF nobody misses the iterator.
        check(LIST | NAME | SIGNAL, Facts { asked: ASKED & !ITERATOR, ..PLAIN }, None);
        check(ASKED, Facts { libc_lists: false, ..PLAIN }, Some(Hiding::Preload));
        let over = Facts { mounted_over: true, ..PLAIN };
        check(ASKED & !NAME, over, Some(Hiding::Mount));
        check(SIGNAL | LIST, over, Some(Hiding::Mount));
        check(ASKED, over, None);
        check(ASKED & !NAME, PLAIN, Some(Hiding::OpenHook));
        check(ASKED & !LIST, Facts { libc_lists: false, ..PLAIN }, Some(Hiding::ListHook));
        check(ITERATOR | SIGNAL | CGROUP, Facts { libc_lists: false, ..PLAIN }, Some(Hiding::ProcHook));
        check(SIGNAL | CGROUP, PLAIN, Some(Hiding::Unlinked));
        check(SIGNAL, PLAIN, Some(Hiding::Unlinked));
        check(ASKED & !SIGNAL, PLAIN, Some(Hiding::SignalHook));
        check(ITERATOR, PLAIN, Some(Hiding::EverywhereHook));
        check(CGROUP, PLAIN, Some(Hiding::EverywhereHook));
        check(ITERATOR | CGROUP, Facts { nested: true, ..PLAIN }, Some(Hiding::OtherNamespace));
        check(ITERATOR | SIGNAL, Facts { hidepid: true, ..PLAIN }, Some(Hiding::Hidepid));
    }

    #[test]
    fn every_pattern_has_an_answer_and_only_partial_ones_a_finding() {
        for seen in 0..32 {
            for bits in 0..16u32 {
                let facts = Facts {
                    asked: ASKED,
                    libc_lists: bits & 1 != 0,
                    mounted_over: bits & 2 != 0,
                    hidepid: bits & 4 != 0,
                    nested: bits & 8 != 0,
                };
                let hiding = classify(seen, facts);
                let whole = seen | CGROUP == ASKED && facts.libc_lists;
                assert_eq!(hiding.is_none(), seen == 0 || whole, "{seen:#b} {facts:?}");
            }
        }
    }

    #[test]
    fn findings_say_who_sees_and_who_does_not() {
        let found = finding(7, ASKED & !NAME, ASKED, Hiding::Mount, b"x".to_vec());
        assert!(found.text.contains("mounted over"), "{}", found.text);
        assert!(found.text.ends_with("; not by /proc/PID by name"), "{}", found.text);
        assert!(
            found
                .text
                .contains("seen by the kernel's task iterator, the list of /proc, pidfd_open, cgroup.procs")
        );
        let all = finding(7, ASKED, ASKED, Hiding::Preload, Vec::new());
        assert!(!all.text.contains("not by"));
    }

    #[test]
    fn numbers_are_leaders_threads_or_nothing() {
        assert_eq!(exists(std::process::id()), Exists::Leader);
        let me = u32::try_from(rustix::thread::gettid().as_raw_nonzero().get()).unwrap();
        assert_eq!(exists(me), Exists::Thread);
        assert_eq!(exists(0), Exists::No);
        assert_eq!(exists(4_194_305), Exists::No);
    }
}
