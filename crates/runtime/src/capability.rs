//! Capabilities: names, and the five sets of a process.

use std::io;

use crate::error::{Context as _, Result};
use crate::spec::Capabilities;
use crate::sys::{self, Sets};

/// Names by number, from linux/capability.h.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// `CAP_SYS_ADMIN` as a bit.
pub(crate) const SYS_ADMIN: u64 = 1 << 21;

/// Every name, as configurations write them.
pub fn names() -> impl Iterator<Item = String> {
    NAMES.iter().map(|name| format!("CAP_{name}"))
}

/// The bit of a name, with or without `CAP_`, in any case.
#[must_use]
pub(crate) fn bit(name: &str) -> Option<u64> {
    let upper = name.to_ascii_uppercase();
    let plain = upper.strip_prefix("CAP_").unwrap_or(&upper);
    NAMES.iter().position(|known| *known == plain).map(|at| 1 << at)
}

/// The five sets as bits, with what had to be left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    bounding: u64,
    sets: Sets,
    ambient: u64,
    /// Sentences about names that mean nothing here.
    pub(crate) warnings: Vec<String>,
}

impl Wanted {
    /// The sets of a configuration; none at all means none.
    pub(crate) fn of(config: Option<&Capabilities>) -> Self {
        let mut wanted = Self::default();
        let Some(config) = config else { return wanted };
        let mut unknown = Vec::new();
        let mut set = |names: &[String]| {
            names.iter().fold(0, |set, name| {
                set | bit(name).unwrap_or_else(|| {
                    if !unknown.contains(name) {
                        unknown.push(name.clone());
                    }
                    0
                })
            })
        };
        wanted.bounding = set(&config.bounding);
        wanted.sets = Sets {
            effective: set(&config.effective),
            permitted: set(&config.permitted),
            inheritable: set(&config.inheritable),
        };
        wanted.ambient = set(&config.ambient);
        wanted.warnings =
            unknown.iter().map(|name| format!("unknown capability {name} is left out")).collect();
        wanted
    }

    /// Makes what the program will have in effect count already: whether it may be entered and executed is
    /// asked with that. Becoming another user has emptied the set.
    pub(crate) fn use_effective(&self) -> io::Result<()> {
        let mut sets = sys::capget()?;
        sets.effective = self.sets.effective & sets.permitted;
        sys::capset(sets)
    }

    /// Leaves out what the caller does not have itself: the kernel would refuse the whole set.
    pub(crate) fn limit_to_ours(&mut self) -> Result<()> {
        self.limit_to(sys::capget().step(|| "read the own capabilities".into())?.permitted);
        Ok(())
    }

    /// What will be left out, in sentences. In a user namespace the process has everything to begin with,
    /// whatever its maker has.
    pub(crate) fn warnings(config: Option<&Capabilities>, in_user_namespace: bool) -> Result<Vec<String>> {
        let mut wanted = Self::of(config);
        match in_user_namespace {
            true => wanted.limit_to(u64::MAX),
            false => wanted.limit_to_ours()?,
        }
        Ok(wanted.warnings)
    }

    fn limit_to(&mut self, ours: u64) {
        let asked = self.sets.permitted | self.sets.inheritable | self.bounding | self.ambient;
        let missing = asked & !ours;
        for (at, name) in NAMES.iter().enumerate().filter(|(at, _)| missing >> at & 1 == 1) {
            debug_assert!(at < 64);
            self.warnings.push(format!("CAP_{name} is left out: nabe does not have it itself"));
        }
        self.sets.permitted &= ours;
        self.sets.effective &= self.sets.permitted;
        self.sets.inheritable &= ours;
        // The kernel keeps ambient within permitted and inheritable.
        let kept = self.ambient & self.sets.permitted & self.sets.inheritable;
        let lost = self.ambient & ours & !kept;
        for (_, name) in NAMES.iter().enumerate().filter(|(at, _)| lost >> at & 1 == 1) {
            self.warnings.push(format!(
                "can't raise ambient capability CAP_{name}: it is not permitted and inheritable as well"
            ));
        }
        self.ambient = kept;
    }

    /// Drops everything else from the bounding set. Needs `CAP_SETPCAP`.
    pub(crate) fn apply_bounding(&self) -> Result<()> {
        for at in 0..64 {
            if self.bounding >> at & 1 == 1 {
                continue;
            }
            match sys::prctl(libc::PR_CAPBSET_DROP, at, 0, 0) {
                // Past the kernel's last one.
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => break,
                result => result.step(|| format!("drop capability {at} from the bounding set"))?,
            };
        }
        Ok(())
    }

    /// Sets the other four. Allocates nothing, and calls capset(2) and prctl(2) only.
    pub(crate) fn apply_rest(&self) -> io::Result<()> {
        sys::capset(self.sets)?;
        const CLEAR_ALL: libc::c_ulong = 4;
        const RAISE: libc::c_ulong = 2;
        match sys::prctl(libc::PR_CAP_AMBIENT, CLEAR_ALL, 0, 0) {
            // Before Linux 4.3.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => return Ok(()),
            result => drop(result?),
        }
        for at in (0..64).filter(|at| self.ambient >> at & 1 == 1) {
            sys::prctl(libc::PR_CAP_AMBIENT, RAISE, at, 0)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_kernels_numbers() {
        for (name, number) in
            [("CAP_CHOWN", 0), ("cap_sys_admin", 21), ("BPF", 39), ("CAP_CHECKPOINT_RESTORE", 40)]
        {
            assert_eq!(bit(name), Some(1 << number), "{name}");
        }
        assert_eq!(bit("CAP_SYS_ADMIN"), Some(SYS_ADMIN));
        assert_eq!(bit("CAP_NONE"), None);
        assert_eq!(names().count(), 41);
    }

    #[test]
    fn unknown_names_are_told_once() {
        let config = Capabilities {
            bounding: vec!["CAP_KILL".into(), "CAP_X".into()],
            effective: vec!["CAP_X".into()],
            ..Capabilities::default()
        };
        let wanted = Wanted::of(Some(&config));
        assert_eq!(wanted.bounding, 1 << 5);
        assert_eq!(wanted.warnings, ["unknown capability CAP_X is left out"]);
        assert_eq!(Wanted::of(None), Wanted::default());
    }
}
