//! `/proc/PID/status`: `Key:\tvalue` lines, proc_pid_status(5). The kernel escapes the newlines of
//! `Name:`, so no process can forge a line.

use super::text::{leading, lines, number32, radix, words};

/// What nabe reads of the file. A line that is not there (no address space, an old kernel) leaves
/// its fields zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Status {
    pub(super) tgid: u32,
    /// Thread id of the ptracer.
    pub(super) tracer: u32,
    /// Real, effective, saved, file system.
    pub(super) uid: [u32; 4],
    /// Likewise.
    pub(super) gid: [u32; 4],
    /// Ids in the innermost PID namespace.
    pub(super) vpid: u32,
    pub(super) vtid: u32,
    /// PID namespaces between the reader's `/proc` and the process.
    pub(super) pidns_level: u32,
    /// Whether it has an address space.
    pub(super) has_mm: bool,
    /// kB.
    pub(super) rss_anon: u64,
    pub(super) rss_file: u64,
    pub(super) rss_shmem: u64,
    pub(super) swap: u64,
    pub(super) cap_inheritable: u64,
    pub(super) cap_permitted: u64,
    pub(super) cap_effective: u64,
    pub(super) cap_bounding: u64,
    pub(super) cap_ambient: u64,
    pub(super) no_new_privs: bool,
    pub(super) seccomp: u32,
}

/// Reads the file.
pub(super) fn parse(bytes: &[u8]) -> Status {
    let mut status = Status::default();
    for line in lines(bytes) {
        // Most lines are not ours: the first letter decides cheaply.
        if !matches!(line.first(), Some(b'T' | b'U' | b'G' | b'N' | b'V' | b'R' | b'C' | b'S')) {
            continue;
        }
        let Some(colon) = memchr::memchr(b':', line) else { continue };
        let (key, value) = line.split_at(colon);
        line_into(&mut status, key, value.get(1..).unwrap_or_default().trim_ascii());
    }
    // Kernels before 4.1 have no NS lines; there is then nothing that tells another number.
    status
}

fn line_into(status: &mut Status, key: &[u8], value: &[u8]) {
    let short = || number32(value).unwrap_or(0);
    let kib = || leading(value).0.unwrap_or(0);
    let mask = || radix(value, 16).unwrap_or(0);
    match key {
        b"Tgid" => status.tgid = short(),
        b"TracerPid" => status.tracer = short(),
        b"Uid" => status.uid = four(value),
        b"Gid" => status.gid = four(value),
        b"NStgid" => {
            status.vpid = words(value).last().and_then(number32).unwrap_or(0);
            status.pidns_level = (words(value).count().min(64) as u32).saturating_sub(1);
        }
        b"NSpid" => status.vtid = words(value).last().and_then(number32).unwrap_or(0),
        b"VmSize" => status.has_mm = true,
        b"RssAnon" => status.rss_anon = kib(),
        b"RssFile" => status.rss_file = kib(),
        b"RssShmem" => status.rss_shmem = kib(),
        b"VmSwap" => status.swap = kib(),
        b"CapInh" => status.cap_inheritable = mask(),
        b"CapPrm" => status.cap_permitted = mask(),
        b"CapEff" => status.cap_effective = mask(),
        b"CapBnd" => status.cap_bounding = mask(),
        b"CapAmb" => status.cap_ambient = mask(),
        b"NoNewPrivs" => status.no_new_privs = value == b"1",
        b"Seccomp" => status.seccomp = short(),
        _ => {}
    }
}

fn four(value: &[u8]) -> [u32; 4] {
    let mut out = [0; 4];
    for (slot, word) in out.iter_mut().zip(words(value)) {
        *slot = number32(word).unwrap_or(0);
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_file() {
        let text = "Name:\tevil\\nUid:\t0\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t41\nNgid:\t0\nPid:\t42\nPPid:\t1\nTracerPid:\t9\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t27 100 \nNStgid:\t41\t3\t1\nNSpid:\t42\t4\t2\nNSpgid:\t41\t3\t1\nVmPeak:\t  10 kB\nVmSize:\t  9 kB\nRssAnon:\t 8 kB\nRssFile:\t 7 kB\nRssShmem:\t 6 kB\nVmSwap:\t 5 kB\nThreads:\t2\nCapInh:\t0000000000000001\nCapPrm:\t000001ffffffffff\nCapEff:\t0000000000000002\nCapBnd:\t0000000000000004\nCapAmb:\t0000000000000008\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n";
        let want = Status {
            tgid: 41,
            tracer: 9,
            uid: [1, 2, 3, 4],
            gid: [5, 6, 7, 8],
            vpid: 1,
            vtid: 2,
            pidns_level: 2,
            has_mm: true,
            rss_anon: 8,
            rss_file: 7,
            rss_shmem: 6,
            swap: 5,
            cap_inheritable: 1,
            cap_permitted: 0x1ff_ffff_ffff,
            cap_effective: 2,
            cap_bounding: 4,
            cap_ambient: 8,
            no_new_privs: true,
            seccomp: 2,
        };
        assert_eq!(parse(text.as_bytes()), want);
    }

    #[test]
    fn broken_lines_read_as_zero() {
        assert_eq!(parse(b""), Status::default());
        assert_eq!(parse(b"Uid\nUid:\nTgid:\tx\nCapEff:\t1ffffffffffffffff\nNStgid:"), Status::default());
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
        }
    }
}
