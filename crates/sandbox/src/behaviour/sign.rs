//! Signs: what programs rarely do without a reason. Asking for privileges, staying, looking for who looks.

use nabe_event::field::event as e;
use serde::Serialize;

use super::{Behaviour, MAX_ENTRIES, text};
use crate::Seen;

/// Something that programs rarely do without a reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sign {
    /// `privilege`, `persistence`, `anti-analysis`.
    pub kind: String,
    /// What.
    pub what: String,
    /// Details: a path, arguments.
    pub detail: String,
    /// What came of the last attempt.
    pub result: String,
    /// How often.
    pub times: u64,
    /// The first event about it.
    pub event: u64,
}

/// Places where a file makes something run again, by what their path begins or ends with.
static PERSISTENT: &[(&str, &str)] = &[
    ("/etc/cron", "cron job"),
    ("/var/spool/cron", "cron job"),
    ("/etc/systemd/", "systemd unit"),
    ("/lib/systemd/", "systemd unit"),
    ("/usr/lib/systemd/", "systemd unit"),
    ("/etc/init.d/", "init script"),
    ("/etc/rc", "init script"),
    ("/etc/profile", "login shell"),
    ("/etc/ld.so.preload", "preloaded library"),
    ("/etc/pam.d/", "PAM"),
    ("/etc/passwd", "accounts"),
    ("/etc/shadow", "accounts"),
    ("/etc/sudoers", "sudo"),
    ("/etc/udev/rules.d/", "udev rule"),
    ("/etc/modules", "kernel modules"),
];

/// The same by what they end with.
static PERSISTENT_ENDS: &[(&str, &str)] = &[
    ("/.ssh/authorized_keys", "ssh key"),
    ("/.bashrc", "login shell"),
    ("/.bash_profile", "login shell"),
    ("/.profile", "login shell"),
    ("/.zshrc", "login shell"),
    ("/.config/autostart", "autostart"),
];

/// Files that say whether there is somebody who looks.
static TELLTALE: &[&str] = &[
    "/proc/self/status",
    "/proc/cpuinfo",
    "/proc/scsi/scsi",
    "/sys/class/dmi/",
    "/sys/devices/virtual/dmi/",
    "/sys/hypervisor/",
    "/.dockerenv",
    "/proc/1/cgroup",
    "/proc/self/cgroup",
    "/proc/sys/kernel/hostname",
];

/// System calls that ask for more than an ordinary program has.
static PRIVILEGE: &[&str] = &[
    "setuid",
    "setgid",
    "setreuid",
    "setregid",
    "setresuid",
    "setresgid",
    "setfsuid",
    "capset",
    "mount",
    "umount",
    "umount2",
    "move_mount",
    "fsopen",
    "open_tree",
    "pivot_root",
    "chroot",
    "unshare",
    "setns",
    "init_module",
    "finit_module",
    "delete_module",
    "bpf",
    "kexec_load",
    "kexec_file_load",
    "iopl",
    "ioperm",
    "swapon",
    "swapoff",
    "reboot",
    "quotactl",
    "acct",
    "sethostname",
    "setdomainname",
    "mknod",
    "mknodat",
    "open_by_handle_at",
    "add_key",
    "keyctl",
    "request_key",
    "perf_event_open",
    "userfaultfd",
    "ptrace",
    "process_vm_writev",
    "process_vm_readv",
    "pidfd_getfd",
    "syslog",
];

/// System calls that look at, or turn, the clock, or look for a tracer.
static ANTI_ANALYSIS: &[&str] = &["clock_settime", "settimeofday", "adjtimex", "clock_adjtime", "stime"];

impl Behaviour {
    pub(super) fn sign(&mut self, seen: &Seen<'_>, name: &str, result: &str) {
        let fields = seen.fields;
        if PRIVILEGE.contains(&name) {
            self.note(seen, "privilege", name, text(fields, e::ARGS, None), result);
        }
        if ANTI_ANALYSIS.contains(&name) {
            self.note(seen, "anti-analysis", name, "turns the clock".into(), result);
        }
        let request = if name == "ptrace" { text(fields, e::ARG, Some(b"request")) } else { String::new() };
        if request.contains("TRACEME") {
            self.note(
                seen,
                "anti-analysis",
                name,
                "asks to be traced, which fails under a debugger".into(),
                result,
            );
        }
        if matches!(name, "open" | "openat" | "openat2" | "readlink" | "readlinkat" | "stat" | "access") {
            let path = text(fields, e::FS_PATH_NAME, None);
            if TELLTALE.iter().any(|place| path.starts_with(place)) {
                self.note(seen, "anti-analysis", "looks for a sandbox", path, result);
            }
        }
        if matches!(name, "nanosleep" | "clock_nanosleep") {
            self.note(seen, "anti-analysis", "sleeps", String::new(), result);
        }
        let writes = match name {
            "open" | "openat" | "openat2" | "creat" => {
                let flags = text(fields, e::ARG, Some(b"flags"));
                name == "creat"
                    || ["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC"].iter().any(|flag| flags.contains(flag))
            }
            "rename" | "renameat" | "renameat2" | "link" | "linkat" | "symlink" | "symlinkat" => true,
            _ => false,
        };
        if writes {
            let target = text(fields, e::FS_PATH_TARGET, None);
            let path = if target.is_empty() { text(fields, e::FS_PATH_NAME, None) } else { target };
            if let Some(what) = persistent(&path) {
                self.note(seen, "persistence", what, path, result);
            }
        }
    }

    fn note(&mut self, seen: &Seen<'_>, kind: &str, what: &str, detail: String, result: &str) {
        let key = (what.to_owned(), detail.clone());
        let at = match self.index.signs.get(&key) {
            Some(at) => *at,
            None if self.signs.len() >= MAX_ENTRIES => {
                self.left_out += 1;
                return;
            }
            None => {
                self.index.signs.insert(key, self.signs.len());
                let (kind, what) = (kind.to_owned(), what.to_owned());
                self.signs.push(Sign { kind, what, detail, event: seen.number, ..Sign::default() });
                self.signs.len() - 1
            }
        };
        if let Some(sign) = self.signs.get_mut(at) {
            sign.times += 1;
            sign.result = result.to_owned();
        }
    }
}

fn persistent(path: &str) -> Option<&'static str> {
    let begins = PERSISTENT.iter().find(|(place, _)| path.starts_with(place));
    let ends = PERSISTENT_ENDS.iter().find(|(place, _)| path.ends_with(place));
    begins.or(ends).map(|(_, what)| *what)
}
