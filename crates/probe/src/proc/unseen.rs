//! What a snapshot from `/proc` could not see, counted, and told in sentences.

use rustix::io::Errno;

/// Counts of processes, unless said otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Unseen {
    /// Listed, and nothing more.
    pub(super) processes: u32,
    pub(super) fds: u32,
    pub(super) exes: u32,
    pub(super) cwds: u32,
    pub(super) namespaces: u32,
    pub(super) environs: u32,
    /// Executables on an overlay whose layer is not known.
    pub(super) layers: u32,
    /// Network namespaces that only a mount keeps.
    pub(super) mounted_netns: u32,
    /// Sockets.
    pub(super) ownerless: u32,
    /// Whether `/proc` is mounted with hidepid=2 or 4 and this reader is not exempt.
    pub(super) hidepid: bool,
    /// Whether it is mounted with subset=pid.
    pub(super) subset: bool,
}

impl Unseen {
    /// Each counts a refusal and says whether it was one; a process that has ended is none.
    pub(super) fn fd(&mut self, error: Errno) -> bool {
        count(&mut self.fds, error)
    }

    /// See [`Self::fd`].
    pub(super) fn process(&mut self, error: Errno) -> bool {
        count(&mut self.processes, error)
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
        for (count, what) in [
            (self.fds, "descriptors"),
            (self.exes, "executables"),
            (self.cwds, "current directories"),
            (self.namespaces, "namespaces"),
            (self.environs, "environments"),
        ] {
            if count > 0 {
                let s = if count == 1 { "" } else { "es" };
                notes.push(format!("{what} of {count} process{s} of other users were not readable: {mend}"));
            }
        }
        if self.processes > 0 {
            let s = if self.processes == 1 { "" } else { "es" };
            notes.push(format!(
                "{} process{s} of other users could be listed but not read, since /proc is mounted with hidepid: run as root or as a member of the group in its gid= option",
                self.processes
            ));
        }
        if self.layers > 0 {
            let s = if self.layers == 1 { "" } else { "s" };
            notes.push(format!(
                "for {} executable{s} on an overlay the layer is not known: run on the host, as root",
                self.layers
            ));
        }
        if self.mounted_netns > 0 {
            let s = if self.mounted_netns == 1 { "" } else { "s" };
            notes.push(format!(
                "sockets of {} network namespace{s} without processes were not read: run as root or with CAP_SYS_ADMIN",
                self.mounted_netns
            ));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences() {
        assert!(Unseen::default().notes().is_empty());
        let mut unseen = Unseen { hidepid: true, subset: true, ownerless: 1, layers: 2, ..Unseen::default() };
        assert!(!unseen.fd(Errno::NOENT) && !unseen.fd(Errno::SRCH));
        for _ in 0..37 {
            assert!(unseen.fd(Errno::ACCESS));
        }
        assert!(unseen.exe(Errno::PERM) && unseen.process(Errno::PERM));
        let notes = unseen.notes();
        assert_eq!(
            notes[0],
            "descriptors of 37 processes of other users were not readable: run as root or with CAP_SYS_PTRACE"
        );
        assert!(notes[1].starts_with("executables of 1 process of other users"));
        assert_eq!(notes.len(), 7);
        assert!(notes.iter().all(|note| note.contains(": ") && !note.ends_with('.')));
    }
}
