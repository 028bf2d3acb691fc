//! `/proc/PID/stat`: one line, proc_pid_stat(5).

use super::text::{lines, number, signed, words};

/// What nabe reads of the line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stat<'a> {
    /// As the reader's `/proc` counts.
    pub(super) pid: u32,
    /// The name as it is, up to 64 bytes for kernel threads; any bytes but NUL.
    pub(super) comm: &'a [u8],
    /// The letter, as the kernel's `__state | exit_state`.
    pub(super) state: u32,
    pub(super) ppid: u32,
    pub(super) pgid: u32,
    pub(super) sid: u32,
    pub(super) tty: u32,
    pub(super) flags: u32,
    pub(super) minflt: u64,
    pub(super) majflt: u64,
    /// Clock ticks.
    pub(super) utime: u64,
    /// Clock ticks.
    pub(super) stime: u64,
    pub(super) priority: i32,
    pub(super) nice: i32,
    pub(super) threads: u32,
    /// Clock ticks since boot.
    pub(super) start: u64,
    /// Bytes.
    pub(super) vsize: u64,
    pub(super) policy: u32,
}

/// Reads the line. The name may hold anything, `) R 1` and newlines included; nothing behind it
/// holds a parenthesis, so it ends at the last one.
pub(super) fn parse(bytes: &[u8]) -> Option<Stat<'_>> {
    let open = memchr::memchr(b'(', bytes)?;
    let close = memchr::memrchr(b')', bytes).filter(|close| *close > open)?;
    let pid = number(bytes.get(..open)?.trim_ascii())?;
    let mut stat =
        Stat { pid: u32::try_from(pid).ok()?, comm: bytes.get(open + 1..close)?, ..Stat::default() };
    let mut last = 2;
    for (field, word) in (3..=41).zip(words(lines(bytes.get(close + 1..)?).next()?)) {
        last = field;
        if field == 3 {
            stat.state = state(*word.first()?);
            continue;
        }
        // Only the kernel writes this line, so what does not fit is not a number of ours.
        let value = signed(word).unwrap_or(0);
        let (short, long) = (value as u32, value as u64);
        match field {
            4 => stat.ppid = short,
            5 => stat.pgid = short,
            6 => stat.sid = short,
            7 => stat.tty = short,
            9 => stat.flags = short,
            10 => stat.minflt = long,
            12 => stat.majflt = long,
            14 => stat.utime = long,
            15 => stat.stime = long,
            18 => stat.priority = value as i32,
            19 => stat.nice = value as i32,
            20 => stat.threads = short,
            22 => stat.start = long,
            23 => stat.vsize = long,
            41 => stat.policy = short,
            _ => {}
        }
    }
    (last >= 23).then_some(stat)
}

/// The kernel's number of a state letter (fs/proc/array.c, include/linux/sched.h); letters of
/// old kernels included, 0 for one that is not known would be "running", so it is all ones.
const fn state(letter: u8) -> u32 {
    match letter {
        b'R' => 0,
        b'S' => 1,
        b'D' => 2,
        b'T' => 4,
        b't' => 8,
        b'X' => 16,
        b'Z' => 32,
        b'P' => 64,
        b'x' => 128,
        b'K' => 256,
        b'W' => 512,
        b'I' => 0x402,
        _ => u32::MAX,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const REST: &str = "S 1 7 6 34817 7 4194304 105 200 3 4 11 12 5 6 20 -5 2 0 17 4096 9 18446744073709551615 1 1 0 0 0 0 0 0 65536 1 0 0 17 1 0 3 0 0 0 1 2 3 4 5 6 7 0\n";

    #[test]
    fn hostile_names() {
        for name in ["sh", "", "a b", ")", "(", "a) R 1 1 1", "((sd-pam))", "x\n8 (y) Z 1", "tab\there"] {
            let line = format!("7 ({name}) {REST}");
            let stat = parse(line.as_bytes()).unwrap();
            let want = Stat {
                pid: 7,
                comm: name.as_bytes(),
                state: 1,
                ppid: 1,
                pgid: 7,
                sid: 6,
                tty: 34817,
                flags: 4194304,
                minflt: 105,
                majflt: 3,
                utime: 11,
                stime: 12,
                priority: 20,
                nice: -5,
                threads: 2,
                start: 17,
                vsize: 4096,
                policy: 3,
            };
            assert_eq!(stat, want, "{name:?}");
        }
        let raw = [b"7 (\xff\xfe) ", REST.as_bytes()].concat();
        assert_eq!(parse(&raw).unwrap().comm, b"\xff\xfe");
    }

    #[test]
    fn what_is_no_stat_line() {
        for line in ["", "7", "7 (sh", "7 )sh(", "7 (sh)", "7 (sh) S 1 2", "x (sh) S"] {
            assert_eq!(parse(line.as_bytes()), None, "{line:?}");
        }
    }

    #[test]
    fn letters() {
        let letters: Vec<u32> = b"RSDTtXZPI?".iter().map(|letter| state(*letter)).collect();
        assert_eq!(letters, [0, 1, 2, 4, 8, 16, 32, 64, 0x402, u32::MAX]);
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn any_name_reads_back(name in proptest::collection::vec(1u8.., 0..64)) {
            let line = [b"7 (", &name[..], b") ", REST.as_bytes()].concat();
            prop_assert_eq!(parse(&line).unwrap().comm, &name[..]);
        }
    }
}
