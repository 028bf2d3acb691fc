//! The host and the moment: the `Host` record, without which times and sizes of others mean little.

use nabe_event::record::{self, Host, Kind, flag};
use rustix::time::{ClockId, clock_gettime};

use crate::Backend;
use crate::proc::dir::Dir;
use crate::proc::text::{bracketed, leading, number32};

/// Inode of the first PID namespace: `PROC_PID_INIT_INO` of include/linux/proc_ns.h.
const INIT_PIDNS: u32 = 0xefff_fffc;

/// Appends the record. What cannot be read is zero or empty, and the record says `UNREAD` when
/// that is so for something which is there on every host.
pub fn host(source: Backend, out: &mut Vec<u8>) {
    let uname = rustix::system::uname();
    let (hostname, release) = (uname.nodename().to_bytes(), uname.release().to_bytes());
    let proc = Dir::open(c"/proc", false).ok();
    let namespace = |link: &std::ffi::CStr, kind: &[u8]| {
        let mut buffer = [0; 64];
        let text = proc.as_ref()?.link(link, &mut buffer).ok()?;
        bracketed(text, kind).and_then(|inode| u32::try_from(inode).ok())
    };
    let reader_pidns = namespace(c"self/ns/pid", b"pid");
    // Only whoever may trace PID 1 may read its links, and a security module may forbid even that;
    // kthreadd, which is 2 where PIDs are the host's, is in the same ones.
    let init = |of_1: &std::ffi::CStr, of_2: &std::ffi::CStr, kind: &[u8]| {
        let kthreadd = || if reader_pidns == Some(INIT_PIDNS) { namespace(of_2, kind) } else { None };
        namespace(of_1, kind).or_else(kthreadd).unwrap_or(0)
    };
    let host = Host {
        taken_ns: clock_ns(ClockId::Realtime),
        uptime_ns: clock_ns(ClockId::Boottime),
        page_size: u32::try_from(rustix::param::page_size()).unwrap_or(4096),
        cpus: cpus(),
        reader_pidns: reader_pidns.unwrap_or(0),
        source: match source {
            Backend::Bpf => 1,
            Backend::Proc => 2,
        },
        tick_ns: 1_000_000_000 / rustix::param::clock_ticks_per_second().max(1),
        // The kernel's names have at most 64 bytes.
        hostname_len: hostname.len().min(0xffff) as u16,
        release_len: release.len().min(0xffff) as u16,
        init_net: init(c"1/ns/net", c"2/ns/net", b"net"),
        init_mnt: init(c"1/ns/mnt", c"2/ns/mnt", b"mnt"),
        reserved: 0,
    };
    let flags = if reader_pidns.is_none() { flag::UNREAD } else { 0 };
    record::write(out, Kind::Host, flags, &host, &[hostname, release]);
}

fn clock_ns(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let (seconds, rest) = (u64::try_from(time.tv_sec).unwrap_or(0), u64::try_from(time.tv_nsec).unwrap_or(0));
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}

/// Processors that can be online: one more than the last number in the kernel's list; without
/// sysfs, those that this process may run on.
pub(crate) fn cpus() -> u32 {
    let mut text = Vec::new();
    let read = Dir::open(c"/sys/devices/system/cpu", false).and_then(|dir| dir.piece(c"possible", &mut text));
    read.ok()
        .and_then(|()| last_cpu(&text))
        .map(|last| last.saturating_add(1))
        .or_else(|| std::thread::available_parallelism().ok().and_then(|n| u32::try_from(n.get()).ok()))
        .unwrap_or(1)
}

/// The last number of a list such as `0-3,8-11`.
fn last_cpu(list: &[u8]) -> Option<u32> {
    let last = list.trim_ascii().rsplit(|byte| matches!(byte, b',' | b'-')).next()?;
    number32(last).filter(|_| leading(list).0.is_some())
}

#[cfg(test)]
mod tests {
    use nabe_event::record::{Fixed, Records};

    use super::*;

    #[test]
    fn lists_of_processors() {
        for (list, want) in [
            ("0", Some(0)),
            ("0-1\n", Some(1)),
            ("0-3,8-11\n", Some(11)),
            ("0,2\n", Some(2)),
            ("", None),
            ("x-3", None),
        ] {
            assert_eq!(last_cpu(list.as_bytes()), want, "{list:?}");
        }
    }

    #[test]
    fn the_host_is_this_one() {
        let mut out = Vec::new();
        host(Backend::Proc, &mut out);
        let record = Records::new(&out).next().unwrap().unwrap();
        let host = Host::decode(record.body);
        let release = std::fs::read("/proc/sys/kernel/osrelease").unwrap();
        assert_eq!(
            record.text(Host::SIZE, host.hostname_len.into(), host.release_len.into()),
            release.trim_ascii()
        );
        let hostname = std::fs::read("/proc/sys/kernel/hostname").unwrap();
        assert_eq!(record.text(Host::SIZE, 0, host.hostname_len.into()), hostname.trim_ascii());
        let link = std::fs::read_link("/proc/self/ns/pid").unwrap();
        assert_eq!(link.to_str().unwrap(), format!("pid:[{}]", host.reader_pidns));
        assert_eq!(host.source, 2);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        assert!(
            host.taken_ns <= now.as_nanos() as u64 && host.taken_ns > now.as_nanos() as u64 - 60_000_000_000
        );
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
        let uptime: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
        // A time namespace shifts both alike.
        assert!((host.uptime_ns as f64 / 1e9 - uptime).abs() < 60.0);
        assert!(host.cpus >= 1 && host.page_size.is_power_of_two() && host.tick_ns > 0);
    }
}
