//! Namespaces: which to make, which to join, and the clone that does it.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Command, Stdio};

use rustix::fs::OFlags;

use crate::cgroup::Doors;
use crate::channel::{Channel, Message};
use crate::error::{Context as _, Error, Result};
use crate::spec::{IdMapping, NamespaceKind, Spec};
use crate::sys;

/// What a process's namespaces will be.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Joined, in this order.
    pub(crate) joins: Vec<(NamespaceKind, OwnedFd)>,
    /// Made by clone3.
    pub(crate) makes: libc::c_int,
    /// A cgroup namespace, made once the process is in its cgroups.
    pub(crate) new_cgroup: bool,
    /// A time namespace, with the text for `timens_offsets`.
    pub(crate) new_time: Option<String>,
    /// The process must not be looked into by those whom it joins.
    pub(crate) hide: bool,
    /// It waits for [`Message::Go`] in any case.
    pub(crate) wait: bool,
    /// It is made by a process between, which others move into the cgroups first.
    pub(crate) moved: bool,
    /// User ids of a new user namespace.
    pub(crate) uids: Vec<IdMapping>,
    /// Group ids of a new user namespace.
    pub(crate) gids: Vec<IdMapping>,
}

impl Plan {
    /// What the configuration asks for.
    pub(crate) fn of(spec: &Spec) -> Result<Self> {
        let linux = &spec.linux;
        let mut plan =
            Self { uids: linux.uid_mappings.clone(), gids: linux.gid_mappings.clone(), ..Self::default() };
        for kind in NamespaceKind::ALL {
            let Some(namespace) = spec.namespace(kind) else { continue };
            if !namespace.path.as_os_str().is_empty() {
                let fd = rustix::fs::open(
                    &namespace.path,
                    OFlags::RDONLY | OFlags::CLOEXEC,
                    rustix::fs::Mode::empty(),
                )
                .step(|| format!("open the {} namespace {}", kind.name(), namespace.path.display()))?;
                plan.joins.push((kind, fd));
                continue;
            }
            match kind {
                NamespaceKind::Cgroup => plan.new_cgroup = true,
                NamespaceKind::Time => {
                    let offsets = &spec.linux.time_offsets;
                    let line = |(clock, by): (&String, &crate::spec::TimeOffset)| {
                        format!("{clock} {} {}\n", by.secs, by.nanosecs)
                    };
                    plan.new_time = Some(offsets.iter().map(line).collect());
                }
                other => plan.makes |= other.flag(),
            }
        }
        Ok(plan)
    }

    fn joins(&self, kind: NamespaceKind) -> bool {
        self.joins.iter().any(|(joined, _)| *joined == kind)
    }

    /// Whether a process between us and the new one is needed: some namespaces take in only children.
    fn needs_between(&self) -> bool {
        self.moved
            || self.joins(NamespaceKind::Pid)
            || self.joins(NamespaceKind::Time)
            || self.new_time.is_some()
            || (self.joins(NamespaceKind::User) && self.makes != 0)
    }

    /// Whether the new process waits for [`Message::Go`] before anything else.
    pub(crate) fn waits(&self) -> bool {
        self.wait || self.makes_user() || self.needs_between()
    }

    pub(crate) fn makes_user(&self) -> bool {
        self.makes & libc::CLONE_NEWUSER != 0
    }

    /// Whether the process between makes the user namespace, so that a time namespace is owned by it: who
    /// joins both later would else lose the right to the second with the first.
    fn between_makes_user(&self) -> bool {
        self.makes_user() && self.new_time.is_some()
    }

    /// Writes the id maps of a new user namespace, unless [`spawn`] has done so.
    pub(crate) fn map_ids(&self, pid: i32) -> Result<()> {
        if !self.makes_user() || self.between_makes_user() {
            return Ok(());
        }
        map_ids(pid, &self.uids, &self.gids)
    }

    pub(crate) fn in_user(&self) -> bool {
        self.makes_user() || self.joins(NamespaceKind::User)
    }

    /// Joins what is to be joined: first what we may as we are, and what is left once the user namespace has
    /// given the right to it. A namespace may belong to the one or to the other side of it.
    fn join(&self) -> Result<()> {
        if self.hide {
            sys::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0).step(|| "hide the own memory".into())?;
        }
        let set = |kind: NamespaceKind, fd: &OwnedFd| sys::setns(fd.as_fd(), kind.flag());
        let what = |kind: NamespaceKind| format!("join the {} namespace", kind.name());
        let user = self.joins.iter().find(|(kind, _)| *kind == NamespaceKind::User);
        let mut left = Vec::new();
        for (kind, fd) in self.joins.iter().filter(|(kind, _)| *kind != NamespaceKind::User) {
            match set(*kind, fd) {
                Err(error) if user.is_some() && error.raw_os_error() == Some(libc::EPERM) => {
                    left.push((*kind, fd));
                }
                result => result.step(|| what(*kind))?,
            }
        }
        if let Some((kind, fd)) = user {
            set(*kind, fd).step(|| what(*kind))?;
            become_root()?;
        }
        left.into_iter().try_for_each(|(kind, fd)| set(kind, fd).step(|| what(kind)))
    }
}

/// Root of the user namespace that we are in, when it has one.
fn become_root() -> Result<()> {
    match sys::set_user(0, 0) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
        result => result.step(|| "become root of the user namespace".into()),
    }
}

/// Which side of [`spawn`] we are on.
pub(crate) enum Side {
    /// The runtime, with the new process's pid.
    Parent(i32),
    /// The new process, in its cgroups and namespaces (but for a cgroup namespace and id maps).
    Child,
}

/// Makes the process. The child owns `theirs`; when `wait` it must not look at its ids before [`Message::Go`].
///
/// When it is not allowed to enter the v2 cgroup by itself but can be moved there, the error is
/// [`Error::Step`] with `EACCES` or `EPERM`, nothing is made, and another try with [`Plan::moved`] may do.
pub(crate) fn spawn(plan: &Plan, doors: &mut Doors<'_>, ours: &Channel, theirs: &Channel) -> Result<Side> {
    if !sys::single_threaded() {
        return Err(Error::Refused("the runtime must run in a process with one thread".into()));
    }
    let what = || "make the container's process".to_owned();
    let unified = doors.unified.take();
    if !plan.needs_between() {
        // SAFETY: we have just seen that there is one thread.
        let child = unsafe { sys::clone3(plan.makes as u64, unified.as_ref().map(OwnedFd::as_fd)) };
        return match child.step(what)? {
            Some(pid) => Ok(Side::Parent(pid)),
            None => {
                arrive(plan, doors, theirs);
                Ok(Side::Child)
            }
        };
    }
    // SAFETY: we have just seen that there is one thread.
    let between = unsafe { sys::clone3(0, unified.as_ref().map(OwnedFd::as_fd)) }.step(what)?;
    let Some(between) = between else {
        let arrived = match plan.moved {
            // The runtime is gone, or could not have us moved.
            true => theirs.receive().and_then(|word| word.map(drop).ok_or(Error::Vanished)),
            false => doors.enter(),
        };
        let made = arrived.and_then(|()| {
            plan.join()?;
            let mut makes = plan.makes;
            if plan.between_makes_user() {
                sys::unshare(libc::CLONE_NEWUSER).step(|| "make a user namespace".into())?;
                theirs.send(&Message::MapIds).step(|| "ask for ids".into())?;
                theirs.receive()?.ok_or(Error::Vanished)?;
                become_root()?;
                makes &= !libc::CLONE_NEWUSER;
            }
            if let Some(offsets) = &plan.new_time {
                make_time(offsets)?;
            }
            let flags = makes as u64 | libc::CLONE_PARENT as u64;
            // SAFETY: this process was made with one thread and has made none.
            unsafe { sys::clone3(flags, None) }.step(what)
        });
        match made {
            Ok(None) => return Ok(Side::Child),
            Ok(Some(pid)) => theirs.send(&Message::Pid(pid)).ok(),
            Err(error) => theirs.send(&Message::Failed(error)).ok(),
        };
        sys::exit(0);
    };
    if let Some(mover) = doors.mover.as_mut().filter(|_| plan.moved) {
        let moved = mover(between).and_then(|()| ours.send(&Message::Go).step(what));
        if let Err(error) = moved {
            sys::kill(between, libc::SIGKILL).ok();
            sys::wait(between, 0).ok();
            return Err(error);
        }
    }
    let mut told = ours.receive();
    if matches!(told, Ok(Some(Message::MapIds))) {
        told = match map_ids(between, &plan.uids, &plan.gids) {
            Ok(()) => ours.send(&Message::Go).step(what).and_then(|()| ours.receive()),
            Err(error) => {
                sys::kill(between, libc::SIGKILL).ok();
                Err(error)
            }
        };
    }
    sys::wait(between, 0).step(what)?;
    match told? {
        Some(Message::Pid(pid)) if pid > 0 => Ok(Side::Parent(pid)),
        Some(Message::Failed(error)) => Err(error),
        _ => Err(Error::Vanished),
    }
}

/// Makes a time namespace for the next child. Its clocks can be set only while nobody is in it.
fn make_time(offsets: &str) -> Result<()> {
    let what = || "set linux.timeOffsets".to_owned();
    sys::unshare(NamespaceKind::Time.flag()).step(|| "make a time namespace".into())?;
    if offsets.is_empty() {
        return Ok(());
    }
    // Who has changed its ids does not own its files in /proc.
    sys::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0).step(what)?;
    std::fs::write("/proc/self/timens_offsets", offsets).step(what)?;
    sys::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0).step(what).map(drop)
}

/// The direct child's first steps; it cannot return an error to anybody but over the channel.
fn arrive(plan: &Plan, doors: &mut Doors<'_>, theirs: &Channel) {
    let entered = doors.enter().and_then(|()| plan.join());
    if let Err(error) = entered {
        theirs.send(&Message::Failed(error)).ok();
        sys::exit(1);
    }
}

/// In the child of a new user namespace, once its ids are mapped.
pub(crate) fn take_ids() -> Result<()> {
    become_root()
}

/// Writes the id maps of a new user namespace.
fn map_ids(pid: i32, uids: &[IdMapping], gids: &[IdMapping]) -> Result<()> {
    let privileged = sys::capget().is_ok_and(|sets| sets.effective & (1 << 7) != 0);
    let lines = |map: &[IdMapping]| {
        map.iter()
            .map(|range| format!("{} {} {}\n", range.container_id, range.host_id, range.size))
            .collect::<String>()
    };
    let own = |map: &[IdMapping], id: u32| matches!(map, [one] if one.size == 1 && one.host_id == id);
    let direct = |file: &str, text: &str| {
        std::fs::write(format!("/proc/{pid}/{file}"), text)
            .step(|| format!("write the {file} \"{}\"", text.trim().replace('\n', ", ")))
    };
    if privileged || own(uids, rustix::process::geteuid().as_raw()) {
        direct("uid_map", &lines(uids))?;
    } else {
        by_helper("newuidmap", pid, uids)?;
    }
    if privileged {
        direct("gid_map", &lines(gids))
    } else if own(gids, rustix::process::getegid().as_raw()) {
        direct("setgroups", "deny")?;
        direct("gid_map", &lines(gids))
    } else {
        by_helper("newgidmap", pid, gids)
    }
}

/// Asks the set-uid helper, which knows `/etc/subuid`.
fn by_helper(program: &str, pid: i32, map: &[IdMapping]) -> Result<()> {
    let mut command = Command::new(program);
    command.arg(pid.to_string()).stdin(Stdio::null());
    for range in map {
        command.args([range.container_id, range.host_id, range.size].map(|number| number.to_string()));
    }
    let output = command.output().step(|| format!("run {program}"))?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::Step { what: format!("map ids with {program}"), source: io::Error::other(words) })
}

/// A user namespace with these maps and nobody in it, for an idmapped mount.
pub(crate) fn user_namespace(uids: &[IdMapping], gids: &[IdMapping]) -> Result<OwnedFd> {
    let what = || "make a user namespace for an idmapped mount".to_owned();
    let (ours, theirs) = Channel::pair().step(what)?;
    if !sys::single_threaded() {
        return Err(Error::Refused("the runtime must run in a process with one thread".into()));
    }
    // SAFETY: we have just seen that there is one thread.
    let child = unsafe { sys::clone3(libc::CLONE_NEWUSER as u64, None) }.step(what)?;
    let Some(pid) = child else {
        drop(ours);
        theirs.receive().ok();
        sys::exit(0);
    };
    drop(theirs);
    let opened = map_ids(pid, uids, gids).and_then(|()| {
        rustix::fs::open(
            format!("/proc/{pid}/ns/user"),
            OFlags::RDONLY | OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )
        .step(what)
    });
    drop(ours);
    sys::wait(pid, 0).ok();
    opened
}
