//! Containers that are there: starting, signalling, freezing, limiting, removing them.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::cgroup::CgroupDriver;
use crate::channel::{Channel, Message};
use crate::create::{self, Created};
use crate::error::{Context as _, Error, Result};
use crate::spec::{self, Resources, Spec};
use crate::state::{self, Directory, State, Status};
use crate::systemd::{self, Systemd};
use crate::{hook, journal, sys, terminal};

/// How long a killed process may stay before it is looked for in another cgroup.
const STRAYED: Duration = Duration::from_millis(300);
/// How long a killed container may take to be gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// A bundle: a directory with `config.json`.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// The directory, absolute.
    pub path: PathBuf,
    /// Its configuration.
    pub spec: Spec,
    /// The configuration as it stands in the file.
    pub(crate) text: Vec<u8>,
}

impl Bundle {
    /// Reads `config.json` of a directory.
    ///
    /// # Errors
    /// [`Error::File`] when there is none, [`Error::Json`] with the path inside when it does not fit.
    pub fn load(path: &Path) -> Result<Self> {
        Self::load_as(path, Path::new("config.json"))
    }

    /// The same with another name for the configuration, from the directory when relative.
    ///
    /// # Errors
    /// As [`Bundle::load`].
    pub fn load_as(path: &Path, config: &Path) -> Result<Self> {
        let fail = |source| Error::File { what: "open", path: path.into(), source };
        let path = path.canonicalize().map_err(fail)?;
        let file = path.join(config);
        let text = spec::read(&file)?;
        let spec = spec::parse(&file, &text)?;
        Ok(Self { path, spec, text })
    }

    /// A bundle whose configuration is in memory; relative paths of it count from `path`.
    ///
    /// # Errors
    /// [`Error::Json`] when the configuration cannot be written as JSON.
    pub fn of(path: &Path, spec: Spec) -> Result<Self> {
        let file = path.join("config.json");
        let text =
            serde_json::to_vec(&spec).map_err(|source| Error::Json { file, at: ".".into(), source })?;
        Ok(Self { path: path.into(), spec, text })
    }
}

/// How to make a container.
#[derive(Clone, Debug)]
pub struct Options {
    /// Directory of states.
    pub root: PathBuf,
    /// Socket that takes the terminal's master.
    pub console_socket: Option<PathBuf>,
    /// Socket that takes a pidfd of the first process.
    pub pidfd_socket: Option<PathBuf>,
    /// File for the pid of the first process.
    pub pid_file: Option<PathBuf>,
    /// Nobody will stay to stand before its terminal.
    pub detach: bool,
    /// Move the root instead of pivoting.
    pub no_pivot: bool,
    /// Keep the session keyring.
    pub no_new_keyring: bool,
    /// Descriptors after the first three that the program keeps.
    pub preserve_fds: u32,
    /// Who makes its cgroups.
    pub cgroup: CgroupDriver,
    /// Put an init of our own before the program, which reaps zombies and hands signals on.
    pub init: bool,
    /// That init stays until the last process has ended, not only the program: what daemonises goes on.
    pub linger: bool,
    /// That init ends, and everything with it, when the thread that made the container ends.
    pub tied: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            root: state::default_root(),
            console_socket: None,
            pidfd_socket: None,
            pid_file: None,
            detach: true,
            no_pivot: false,
            no_new_keyring: false,
            preserve_fds: 0,
            cgroup: CgroupDriver::default(),
            init: false,
            linger: false,
            tied: false,
        }
    }
}

/// A container, by what is written of it.
#[derive(Clone, Debug)]
pub struct Container {
    pub(crate) directory: Directory,
    pub(crate) state: State,
    pub(crate) annotations: BTreeMap<String, String>,
}

impl Container {
    /// Makes a container whose program does not run yet. The calling process must have one thread.
    ///
    /// Between this and [`Container::start`] the container's cgroups, namespaces and first process are there
    /// ([`Container::cgroup_id`], [`Container::pid`]), and not one instruction of its program has run.
    ///
    /// # Errors
    /// Everything that can be wrong with the bundle and the machine; nothing is left behind then.
    pub fn create(id: &str, bundle: &Bundle, options: &Options) -> Result<Created> {
        create::create(id, bundle, options)
    }

    /// Finds a container.
    ///
    /// # Errors
    /// [`Error::Missing`] when there is none of this id.
    pub fn load(root: &Path, id: &str) -> Result<Self> {
        let directory = Directory::of(root, id)?;
        if directory.path.symlink_metadata().is_err() {
            return Err(Error::Missing(id.into()));
        }
        let state = directory.read(id)?;
        // The labels are the annotations and one of runc's own.
        let pairs = state.config.labels.iter().filter_map(|label| label.split_once('='));
        let annotations = pairs
            .filter(|(key, _)| *key != "bundle")
            .map(|(key, value)| (key.into(), value.into()))
            .collect();
        Ok(Self { directory, state, annotations })
    }

    /// All containers of a root, by name; directories without a readable state are left out.
    ///
    /// # Errors
    /// [`Error::File`] when the root cannot be read. A root that is not there has no containers.
    pub fn list(root: &Path) -> Result<Vec<Self>> {
        let entries = match std::fs::read_dir(root) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(|source| Error::File { what: "read", path: root.into(), source })?,
        };
        let mut names: Vec<String> =
            entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort_unstable();
        Ok(names.iter().filter_map(|name| Self::load(root, name).ok()).collect())
    }

    /// What is written of it.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Its configuration, as it was made with.
    ///
    /// # Errors
    /// [`Error::File`] and [`Error::Json`].
    pub fn spec(&self) -> Result<Spec> {
        self.directory.spec()
    }

    /// Annotations of its configuration.
    #[must_use]
    pub fn annotations(&self) -> &BTreeMap<String, String> {
        &self.annotations
    }

    /// Host pid of its first process.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.state.init_process_pid
    }

    /// What the kernel calls its cgroup of the v2 hierarchy (`bpf_get_current_cgroup_id`).
    #[must_use]
    pub fn cgroup_id(&self) -> Option<u64> {
        use std::os::unix::fs::MetadataExt as _;
        Some(self.state.cgroup_paths.unified()?.metadata().ok()?.ino())
    }

    /// User id of whoever owns its state: the caller's own, also when that is root in a user namespace.
    #[must_use]
    pub fn owner(&self) -> u32 {
        use std::os::unix::fs::MetadataExt as _;
        self.directory.path.metadata().map_or(self.state.nabe.owner, |found| found.uid())
    }

    /// What it is doing now.
    #[must_use]
    pub fn status(&self) -> Status {
        self.state.status(&self.directory)
    }

    /// The state as the runtime-spec wants it shown.
    #[must_use]
    pub fn shown(&self, status: Status) -> serde_json::Value {
        self.state.shown(status, &self.annotations)
    }

    pub(crate) fn wrong(&self, what: &'static str, status: Status) -> Error {
        Error::Status { what, id: self.state.id.clone(), status }
    }

    /// Lets its program run. Returns once the program has taken the process over.
    ///
    /// # Errors
    /// [`Error::Status`] unless it is created; what the program's start said otherwise.
    pub fn start(&self) -> Result<()> {
        let status = self.status();
        if status != Status::Created {
            return Err(self.wrong("start", status));
        }
        let what = || "tell the container to start".to_owned();
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .step(what)?;
        let path = self.directory.socket();
        let place = sys::open_path(&path, OFlags::empty()).step(what)?;
        let address = SocketAddrUnix::new(sys::proc_path(place.as_fd()).as_c_str()).step(what)?;
        rustix::net::connect(&socket, &address).step(what)?;
        // From here on it counts as started, also when we are killed before we say so.
        std::fs::remove_file(&path).step(what)?;
        let channel = Channel { socket };
        channel.send(&Message::Go).step(what)?;
        match channel.receive()? {
            None => {}
            Some(Message::Failed(error)) => return Err(error),
            Some(_) => return Err(Error::Vanished),
        }
        if let Ok(spec) = self.poststart() {
            let shown = self.shown(Status::Running);
            hook::run("poststart", &spec, &shown).inspect_err(|_| {
                self.signal(libc::SIGKILL).ok();
            })?;
        }
        Ok(())
    }

    /// Hooks to run after the start; reads the whole configuration only when there might be some.
    fn poststart(&self) -> Result<Vec<spec::Hook>> {
        let text = spec::read(&self.directory.config())?;
        hooks_in(&text, b"\"poststart\"", |spec| spec.hooks.poststart, &self.directory.config())
    }

    fn signal(&self, signal: i32) -> Result<()> {
        let what = || format!("send signal {signal} to process {}", self.pid());
        let pidfd = sys::pidfd_open(self.pid()).step(what)?;
        // Looked at again now that the number cannot go to another process.
        if !state::lives(self.pid(), self.state.init_process_start) {
            return Err(self.wrong("signal", Status::Stopped));
        }
        sys::pidfd_signal(pidfd.as_fd(), signal).step(what)
    }

    /// Sends a signal to its first process, or to all of them.
    ///
    /// # Errors
    /// [`Error::Status`] when it is stopped (with `all`, only when nobody is left).
    pub fn kill(&self, signal: i32, all: bool) -> Result<()> {
        let status = self.status();
        if all {
            let processes = self.state.cgroup_paths.processes();
            if processes.is_empty() && status == Status::Stopped {
                return Ok(());
            }
            if processes.is_empty() {
                // It has no cgroup to tell who is in it.
                self.signal(signal)?;
            }
            for pid in processes {
                sys::kill(pid, signal).ok();
            }
        } else if status == Status::Stopped && signal == libc::SIGKILL && self.outlived() {
            // Its first process is gone and was no pid 1, whose end would have been everybody's.
            self.state.cgroup_paths.kill();
            return Ok(());
        } else if matches!(status, Status::Stopped | Status::Creating) {
            return Err(self.wrong("signal", status));
        } else {
            self.signal(signal)?;
        }
        if signal == libc::SIGKILL && status == Status::Paused {
            // A frozen process does not die before it is thawed.
            self.state.cgroup_paths.freeze(false)?;
        }
        // A first process without a pid namespace leaves others behind.
        if signal == libc::SIGKILL && !all && self.shares_pids() {
            self.state.cgroup_paths.kill();
        }
        Ok(())
    }

    /// Whether other processes do not end with its first one.
    fn shares_pids(&self) -> bool {
        self.spec().is_ok_and(|spec| !spec.makes(spec::NamespaceKind::Pid))
    }

    fn outlived(&self) -> bool {
        self.shares_pids() && !self.state.cgroup_paths.processes().is_empty()
    }

    /// Removes it and everything of it; with `force` whatever it is doing.
    ///
    /// # Errors
    /// [`Error::Status`] when it is not stopped and `force` is not set.
    pub fn delete(&self, force: bool) -> Result<()> {
        let status = self.status();
        match status {
            Status::Stopped => {}
            // As runc does: one that was never started has nothing to lose.
            Status::Created => self.end()?,
            _ if force => self.end()?,
            _ => return Err(self.wrong("delete", status)),
        }
        // Others that it left behind, or that came between a creator's death and now.
        self.state.release()?;
        let config = self.directory.config();
        let hooks = spec::read(&config)
            .and_then(|text| hooks_in(&text, b"\"poststop\"", |spec| spec.hooks.poststop, &config));
        journal::keep(&self.directory, &self.state);
        self.directory.remove()?;
        let shown = self.shown(Status::Stopped);
        for hook in hooks.unwrap_or_default() {
            // Each runs, whatever becomes of the others.
            if let Err(error) = hook::run("poststop", std::slice::from_ref(&hook), &shown) {
                eprintln!("nabe: note: {}", error.line());
            }
        }
        Ok(())
    }

    fn end(&self) -> Result<()> {
        if self.state.init_process_pid == 0 {
            // Its creator is still at work: without it the first process ends by itself.
            sys::kill(self.state.nabe.creator_pid, libc::SIGKILL).ok();
        } else {
            self.signal(libc::SIGKILL).ok();
        }
        if self.state.cgroup_paths.frozen() {
            self.state.cgroup_paths.kill();
            self.state.cgroup_paths.freeze(false)?;
        }
        self.state.cgroup_paths.kill();
        self.wait_until_gone()
    }

    fn wait_until_gone(&self) -> Result<()> {
        let start = Instant::now();
        let pid = self.pid();
        if pid == 0 {
            return Ok(());
        }
        if let Ok(pidfd) = sys::pidfd_open(pid) {
            while state::lives(pid, self.state.init_process_start) {
                let left = PATIENCE.saturating_sub(start.elapsed());
                if left.is_zero() {
                    return Err(Error::Refused(format!("process {pid} of the container does not end")));
                }
                if start.elapsed() > STRAYED {
                    // Somebody may have put it into another cgroup, which is frozen.
                    for directory in self.state.cgroup_paths.directories() {
                        std::fs::write(directory.join("cgroup.procs"), pid.to_string()).ok();
                    }
                }
                let timeout = rustix::event::Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
                let mut fds = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
                rustix::event::poll(&mut fds, Some(&timeout)).ok();
            }
        }
        Ok(())
    }

    /// Freezes or thaws it.
    ///
    /// # Errors
    /// [`Error::Status`] when it is not running, or not paused.
    pub fn freeze(&self, frozen: bool) -> Result<()> {
        let status = self.status();
        match (frozen, status) {
            (true, Status::Running | Status::Created) | (false, Status::Paused) => {
                self.state.cgroup_paths.freeze(frozen)
            }
            (true, _) => Err(self.wrong("pause", status)),
            (false, _) => Err(self.wrong("resume", status)),
        }
    }

    /// Changes its limits.
    ///
    /// # Errors
    /// [`Error::Status`] when it is stopped; [`Error::Config`] for a limit that cannot be set here.
    pub fn update(&self, limits: &Resources) -> Result<()> {
        let status = self.status();
        if status == Status::Stopped {
            return Err(self.wrong("update", status));
        }
        let cgroup = &self.state.cgroup_paths;
        let limits = cgroup.completed(limits);
        let Some(unit) = &self.state.nabe.unit else { return cgroup.limit(&limits, true) };
        // systemd would else have its own idea of them when it looks again.
        Systemd::connect(unit.user)?.set(unit, cgroup.only_unified(), &limits)?;
        cgroup.limit(&systemd::rounded(&limits), true)
    }

    /// Host pids of its processes; without a cgroup that of its first one.
    #[must_use]
    pub fn processes(&self) -> Vec<i32> {
        if self.state.cgroup_paths.directories().next().is_none() && self.status() != Status::Stopped {
            return vec![self.pid()];
        }
        self.state.cgroup_paths.processes()
    }

    /// What its cgroups counted, in the shape of runc's `events --stats`.
    #[must_use]
    pub fn stats(&self) -> serde_json::Value {
        self.state.cgroup_paths.stats()
    }

    /// How many of its processes the kernel has killed for want of memory.
    #[must_use]
    pub fn oom_kills(&self) -> u64 {
        self.state.cgroup_paths.oom_kills()
    }

    /// Stands before its first process, which must be a child of ours: hands signals on, copies the terminal,
    /// and gives the exit status that a shell would.
    ///
    /// # Errors
    /// [`Error::Step`] when waiting fails.
    pub fn attend(&self, terminal: Option<OwnedFd>) -> Result<u8> {
        attend(self.pid(), terminal)
    }
}

/// Keeps signals for whoever is about to [attend](Container::attend): one that comes between the start of
/// a program and that moment is handed on instead of ending us. To be called before the start.
pub fn hold_signals() {
    // Without a descriptor they are held all the same.
    drop(sys::all_signals());
}

/// Stands before a child of ours: see [`Container::attend`].
///
/// # Errors
/// [`Error::Step`] when waiting fails.
pub fn attend(pid: i32, terminal: Option<OwnedFd>) -> Result<u8> {
    let status = terminal::attend(pid, terminal, |signal| {
        sys::kill(pid, signal).ok();
    })?;
    Ok(sys::exit_code(status))
}

/// Hooks of one kind in the text of a configuration, which is only understood when it names that kind.
fn hooks_in(
    text: &[u8],
    name: &[u8],
    pick: impl Fn(Spec) -> Vec<spec::Hook>,
    file: &Path,
) -> Result<Vec<spec::Hook>> {
    if !text.windows(name.len()).any(|part| part == name) {
        return Ok(Vec::new());
    }
    spec::parse(file, text).map(pick)
}

/// Removes what a container's directory and cgroups hold when no state can be read.
///
/// # Errors
/// [`Error::Missing`] when there is no such directory.
pub fn delete_unreadable(root: &Path, id: &str) -> Result<()> {
    let directory = Directory::of(root, id)?;
    if directory.path.symlink_metadata().is_err() {
        return Err(Error::Missing(id.into()));
    }
    directory.remove()
}
