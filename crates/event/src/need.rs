//! What a query reads, as a set of collectors: the union of what its filter and its columns need.
//!
//! A collector that nobody needs is not run; see `Interest` for the sets that narrow it further.

use core::fmt;
use core::ops::{BitOr, BitOrAssign};

/// A set of collectors. The order of the constants is the order of their cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Needs(u32);

macro_rules! needs {
    ($( $(#[doc = $doc:literal])* $ID:ident = $bit:literal, $name:literal, $cost:literal; )*) => {
        impl Needs {
            $( $(#[doc = $doc])* pub const $ID: Self = Self(1 << $bit); )*
            /// Every collector with its name and its cost in words, cheapest first.
            pub const ALL: &'static [(Self, &'static str, &'static str)] =
                &[$((Self::$ID, $name, $cost)),*];
        }
    };
}

needs! {
    /// The task record itself: ids, credentials, state, times, namespaces, comm.
    TASK = 0, "task", "about 1 µs a process";
    /// Exact resident set size: sums the per-CPU counters of each mm.
    RSS = 1, "rss", "0.1 µs a process and CPU";
    /// Times and counters of threads other than the leader, summed into their process.
    THREAD_TIMES = 2, "thread times", "0.3 µs a thread";
    /// Names of users and groups, from the host's user database.
    USER = 3, "user", "one read of /etc/passwd";
    /// Cgroup paths of every hierarchy, once per distinct set of cgroups.
    CGROUP = 4, "cgroup", "1 µs a distinct cgroup";
    /// Path and file facts of the executable.
    EXE = 5, "exe", "0.5 µs a process";
    /// Path of the current directory.
    CWD = 6, "cwd", "0.5 µs a process";
    /// Command line, read from the process's memory.
    ARGS = 7, "args", "3 µs a process";
    /// Environment, read from the process's memory.
    ENV = 8, "env", "5 µs a process";
    /// Container metadata: engines' state on disk, or their API with a deadline.
    CONTAINER = 9, "container", "50 µs a container";
    /// Open file descriptors.
    FD = 10, "fd", "0.3 µs a descriptor";
    /// Path of each open descriptor.
    FD_PATH = 11, "fd path", "0.3 µs a descriptor";
    /// Sockets that no descriptor refers to (TIME-WAIT, orphans), in every network namespace.
    ORPHAN_SOCKETS = 12, "orphan sockets", "1 ms a network namespace";
    /// Threads as rows of their own.
    THREADS = 13, "threads", "1 µs a thread";
    /// Facts of a task that the kernel's record holds anyway and for which /proc needs files of their
    /// own: namespaces, loginuid, OOM adjustment, cgroup id.
    TASK_DETAIL = 14, "task detail", "nothing with BPF, 25 µs a process from /proc";
    /// Facts of a descriptor that the kernel's record holds anyway and /proc keeps in fdinfo:
    /// position, open flags, access, mount.
    FD_DETAIL = 15, "fd detail", "nothing with BPF, 4 µs a descriptor from /proc";
}

impl Needs {
    /// Nothing at all.
    pub const NONE: Self = Self(0);

    /// Whether every collector of `other` is in this set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any collector of `other` is in this set.
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// This set without the collectors of `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Both sets; `|` in constants.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the set is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Names of the collectors in the set, cheapest first.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::ALL.iter().filter(move |(need, ..)| self.contains(*need)).map(|(_, name, _)| *name)
    }
}

impl BitOr for Needs {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        self.and(other)
    }
}

impl BitOrAssign for Needs {
    fn bitor_assign(&mut self, other: Self) {
        *self = self.and(other);
    }
}

impl fmt::Display for Needs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, name) in self.names().enumerate() {
            write!(f, "{}{name}", if i == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_behave() {
        let both = Needs::FD | Needs::FD_PATH;
        assert!(both.contains(Needs::FD) && both.intersects(Needs::FD_PATH));
        assert!(!Needs::FD.contains(both));
        assert_eq!(both.without(Needs::FD), Needs::FD_PATH);
        assert_eq!(both.to_string(), "fd, fd path");
        assert!(Needs::NONE.is_empty());
    }

    #[test]
    fn bits_are_distinct() {
        for (i, (a, ..)) in Needs::ALL.iter().enumerate() {
            for (b, ..) in &Needs::ALL[i + 1..] {
                assert!(!a.intersects(*b));
            }
        }
    }
}
