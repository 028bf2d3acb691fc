//! What a snapshot from `/proc` could not see, counted, and told in sentences.

use rustix::io::Errno;

/// Counts of processes, unless said otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Unseen {
    pub(super) fds: u32,
    pub(super) exes: u32,
    pub(super) cwds: u32,
    pub(super) namespaces: u32,
    pub(super) environs: u32,
    /// Sockets.
    pub(super) ownerless: u32,
    /// Whether `/proc` is mounted with hidepid=2 or 4 and this reader is not exempt.
    pub(super) hidepid: bool,
    /// Whether it is mounted with subset=pid.
    pub(super) subset: bool,
    /// Whether no processes at all were asked for but some, so that counts are not of the host.
    pub(super) narrowed: bool,
}

impl Unseen {
    /// Each counts a refusal and says whether it was one; a process that has ended is none.
    pub(super) fn fd(&mut self, error: Errno) -> bool {
        count(&mut self.fds, error)
    }

    /// See [`Self::fd`].
    pub(super) fn exe(&mut self, error: Errno) -> bool {
        count(&mut self.exes, error)
    }

    /// See [`Self::fd`].
    pub(super) fn cwd(&mut self, error: Errno) -> bool {
        count(&mut self.cwds, error)
    }

    /// See [`Self::fd`].
    pub(super) fn namespace(&mut self, error: Errno) -> bool {
        count(&mut self.namespaces, error)
    }

    /// See [`Self::fd`].
    pub(super) fn environ(&mut self, error: Errno) -> bool {
        count(&mut self.environs, error)
    }

    /// The sentences.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let mend = "run as root or with CAP_SYS_PTRACE";
        for (count, what, verb) in [
            (self.fds, "descriptors", "were"),
            (self.exes, "executables", "were"),
            (self.cwds, "current directories", "were"),
            (self.namespaces, "namespaces", "were"),
            (self.environs, "environments", "were"),
        ] {
            if count > 0 {
                let (processes, s) = (count, if count == 1 { "" } else { "es" });
                notes.push(format!(
                    "{what} of {processes} process{s} of other users {verb} not readable: {mend}"
                ));
            }
        }
        if self.ownerless > 0 {
            let s = if self.ownerless == 1 { "" } else { "s" };
            notes.push(format!(
                "the owner of {} socket{s} was not found, since not all descriptors were readable: {mend}",
                self.ownerless
            ));
        }
        if self.hidepid {
            notes.push(
                "/proc is mounted with hidepid, so processes of other users are not seen: run as root or as a member of the group in its gid= option"
                    .to_owned(),
            );
        }
        if self.subset {
            notes.push(
                "/proc is mounted with subset=pid, so mounts, cgroup controllers and the kernel's sockets were not read there: mount a whole /proc"
                    .to_owned(),
            );
        }
        notes
    }
}

fn count(slot: &mut u32, error: Errno) -> bool {
    let refused = !matches!(error, Errno::NOENT | Errno::SRCH);
    *slot += u32::from(refused);
    refused
}
