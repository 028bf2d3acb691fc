//! `/proc/PID/fdinfo/FD`: its first lines, proc_pid_fdinfo(5); what follows depends on the file.

use super::text::{lines, number, number32, radix};

/// What nabe reads of the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FdInfo {
    pub(super) pos: u64,
    /// `f_flags`, O_CLOEXEC of the descriptor included.
    pub(super) flags: u32,
    pub(super) mount_id: u32,
}

/// Reads the file.
pub(super) fn parse(bytes: &[u8]) -> FdInfo {
    let mut info = FdInfo::default();
    for line in lines(bytes).take(4) {
        let value = |key: &[u8]| line.strip_prefix(key).map(<[u8]>::trim_ascii);
        if let Some(pos) = value(b"pos:") {
            info.pos = number(pos).unwrap_or(0);
        } else if let Some(flags) = value(b"flags:") {
            info.flags = radix(flags, 8).and_then(|flags| u32::try_from(flags).ok()).unwrap_or(0);
        } else if let Some(id) = value(b"mnt_id:") {
            info.mount_id = number32(id).unwrap_or(0);
        }
    }
    info
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_file() {
        let info =
            parse(b"pos:\t4096\nflags:\t02100002\nmnt_id:\t24\nino:\t3\ninotify wd:1 ino:5\npos:\t1\n");
        assert_eq!(info, FdInfo { pos: 4096, flags: 0o2100002, mount_id: 24 });
        assert_eq!(parse(b"pos:\t\nflags:\t9\nmnt_id:-1"), FdInfo::default());
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }
    }
}
