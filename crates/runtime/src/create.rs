//! Making a container: from a bundle to a first process that waits to be started.

mod scope;

use std::io;
use std::os::fd::{AsFd as _, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::net::SocketFlags;

use crate::capability::Wanted;
use crate::cgroup::{self, CgroupDriver, Doors, Hierarchy};
use crate::channel::{Channel, Message};
use crate::container::{Bundle, Container, Options};
use crate::descriptor;
use crate::error::{Context as _, Error, Result};
use crate::memory;
use crate::mount;
use crate::namespace::{self, Plan, Side};
use crate::process::{self, Program, Setting};
use crate::rootfs::Rootfs;
use crate::seccomp;
use crate::spec::{NamespaceKind, Process, Spec};
use crate::state::{self, Directory, Own, State, StateConfig, Status};
use crate::sys::{self, MountAttributes};
use crate::{check, hook, terminal};
use scope::{Scope, asks_more_than_devices, limit, locate};

/// A container that was made, and what comes with it.
#[derive(Debug)]
pub struct Created {
    /// The container.
    pub container: Container,
    /// The master of its terminal, when it has one and no console socket took it.
    pub terminal: Option<OwnedFd>,
    /// What was left out, in sentences.
    pub warnings: Vec<String>,
}

/// Everything about a container in the making.
struct Maker<'a> {
    id: &'a str,
    spec: &'a Spec,
    process: &'a Process,
    options: &'a Options,
    rootfs: PathBuf,
    directory: Directory,
    hierarchies: Vec<Hierarchy>,
    state: State,
    plan: Plan,
    /// We cannot do what only root of the machine can.
    lenient: bool,
    /// When systemd makes the cgroups.
    scope: Option<Scope>,
    /// Its unit is ours to stop.
    unit_made: bool,
}

/// Makes a container: see [`Container::create`].
pub(crate) fn create(id: &str, bundle: &Bundle, options: &Options) -> Result<Created> {
    check::spec(&bundle.spec)?;
    let process = bundle.spec.process.as_ref().ok_or(Error::Vanished)?;
    terminal::check(process.terminal, options)?;
    let rootfs = rootfs_of(bundle)?;
    let lenient = !rustix::process::geteuid().is_root() || in_user_namespace();
    let filter = bundle.spec.linux.seccomp.as_ref().map(seccomp::compile).transpose()?;
    let hierarchies = match options.cgroup {
        // Only for a mount of the configuration's.
        CgroupDriver::Disabled => cgroup::hierarchies().unwrap_or_default(),
        _ => cgroup::hierarchies()?,
    };
    let (cgroup, scope) = locate(&bundle.spec, id, options.cgroup, &hierarchies, lenient)?;
    let mut plan = Plan::of(&bundle.spec)?;
    plan.moved = scope.is_some();
    if cgroup.occupied() {
        return Err(Error::Refused(
            "the container's cgroup is not empty: linux.cgroupsPath is in use".into(),
        ));
    }
    cgroup.check_thawed()?;
    let directory = Directory::make(&options.root, id)?;
    let creator = std::process::id().cast_signed();
    let mut labels: Vec<String> =
        bundle.spec.annotations.iter().map(|(key, value)| format!("{key}={value}")).collect();
    labels.push(format!("bundle={}", bundle.path.display()));
    let state = State {
        id: id.into(),
        created: state::now(),
        config: StateConfig { rootfs: rootfs.clone(), labels },
        rootless: lenient,
        cgroup_paths: cgroup,
        nabe: Own {
            creator_pid: creator,
            creator_start: state::process_of(creator).map_or(0, |(_, start)| start),
            owner: rustix::process::getuid().as_raw(),
            oci_version: bundle.spec.oci_version.clone(),
            bundle: bundle.path.clone(),
            unit: scope.as_ref().map(|scope| scope.unit.clone()),
        },
        ..State::default()
    };
    let mut maker = Maker {
        id,
        spec: &bundle.spec,
        process,
        options,
        rootfs,
        directory,
        hierarchies,
        state,
        plan,
        lenient,
        scope,
        unit_made: false,
    };
    maker.make(bundle, filter).inspect_err(|_| maker.undo())
}

fn rootfs_of(bundle: &Bundle) -> Result<PathBuf> {
    let path = bundle.spec.root.as_ref().map(|root| bundle.path.join(&root.path)).unwrap_or_default();
    let fail =
        |why: &io::Error| Error::Config { at: "root.path".into(), why: format!("{}: {why}", path.display()) };
    let real = path.canonicalize().map_err(|error| fail(&error))?;
    if !real.is_dir() {
        return Err(fail(&io::ErrorKind::NotADirectory.into()));
    }
    if real == Path::new("/") {
        return Err(Error::Config { at: "root.path".into(), why: "is the root of the host".into() });
    }
    Ok(real)
}

/// Whether our ids are mapped ones.
pub(crate) fn in_user_namespace() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    !map.split_whitespace().eq(["0", "0", "4294967295"])
}

impl Maker<'_> {
    fn make(&mut self, bundle: &Bundle, filter: Option<seccomp::Filter>) -> Result<Created> {
        state::write_whole(&self.directory.config(), &bundle.text)?;
        // Before there is anything to clean up, so that whoever comes after a SIGKILL knows of it.
        self.directory.write(&self.state)?;
        let listener = self.directory.listen()?;
        let sources = self.sources()?;
        let (ours, theirs) = Channel::pair().step(|| "make a socket pair".into())?;
        let mut scope = self.scope.take();
        let mut doors = match &mut scope {
            None => self.enter_cgroups()?,
            Some(scope) => Doors {
                mover: Some(Box::new(|pid| {
                    scope.start(pid, self.spec, &self.state)?;
                    self.unit_made = true;
                    scope.complete(pid, self.spec, &self.state, &self.hierarchies, self.lenient)
                })),
                ..Doors::default()
            },
        };
        let spawned = namespace::spawn(&self.plan, &mut doors, &ours, &theirs);
        match spawned? {
            Side::Child => {
                // Files of the host: whoever can look at us until the start must not find them.
                drop(doors);
                drop((ours, scope));
                self.child(theirs, listener, sources, filter)
            }
            Side::Parent(pid) => {
                drop(doors);
                drop((theirs, listener, sources, scope));
                let made = self.attend(pid, &ours);
                if made.is_err() {
                    drop(ours);
                    sys::kill(pid, libc::SIGKILL).ok();
                    sys::wait(pid, 0).ok();
                }
                made
            }
        }
    }

    fn enter_cgroups(&mut self) -> Result<Doors<'static>> {
        if self.options.cgroup == CgroupDriver::Disabled {
            return Ok(Doors::default());
        }
        // The state has every path that there might be; what could not be made is left out of the next.
        self.state.cgroup_paths.make(&self.hierarchies, self.lenient)?;
        limit(&self.state.cgroup_paths, &self.spec.linux.resources, self.lenient)?;
        self.state.cgroup_paths.doors()
    }

    /// Opens sources of bind mounts while we are who we are; idmapped ones as detached mounts.
    fn sources(&self) -> Result<Vec<Option<OwnedFd>>> {
        let mut sources = Vec::new();
        for (at, mount) in self.spec.mounts.iter().enumerate() {
            let options = mount::Options::of(mount, at)?;
            sources.push(match options.idmap {
                Some(tree) => Some(self.idmapped(mount, at, tree)?),
                None => None,
            });
        }
        Ok(sources)
    }

    fn idmapped(&self, mount: &crate::spec::Mount, at: usize, tree: bool) -> Result<OwnedFd> {
        const IDMAP: u64 = 0x10_0000;
        const RECURSIVE: libc::c_uint = 0x8000;
        let what = || format!("mounts[{at}]: map the ids of {}", mount.destination.display());
        let linux = &self.spec.linux;
        let (uids, gids) = match mount.uid_mappings.is_empty() {
            false => (&mount.uid_mappings, &mount.gid_mappings),
            true => (&linux.uid_mappings, &linux.gid_mappings),
        };
        let joined =
            self.spec.namespace(NamespaceKind::User).filter(|user| !user.path.as_os_str().is_empty());
        let namespace = match joined {
            Some(user) if mount.uid_mappings.is_empty() => {
                rustix::fs::open(&user.path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).step(what)?
            }
            _ if uids.is_empty() || gids.is_empty() => {
                let at = format!("mounts[{at}].uidMappings");
                return Err(Error::Config { at, why: "is empty".into() });
            }
            _ => namespace::user_namespace(uids, gids)?,
        };
        let source = sys::cstr(mount.source.as_deref().unwrap_or(Path::new(""))).step(what)?;
        let bound_tree = mount.options.iter().any(|word| word == "rbind");
        let flags = sys::OPEN_TREE_CLONE | if bound_tree { RECURSIVE } else { 0 };
        let copy = sys::open_tree(rustix::fs::CWD, &source, flags).step(what)?;
        let userns = u64::try_from(namespace.as_raw_fd()).unwrap_or(u64::MAX);
        let attributes = MountAttributes { set: IDMAP, userns, ..MountAttributes::default() };
        sys::mount_setattr(copy.as_fd(), tree, &attributes).step(what)?;
        Ok(copy)
    }

    /// The runtime's side while the first process is set up.
    fn attend(&mut self, pid: i32, ours: &Channel) -> Result<Created> {
        let hear = || ours.receive()?.ok_or(Error::Vanished);
        if self.plan.waits() {
            self.plan.map_ids(pid)?;
            if self.plan.in_user() {
                self.privileged_settings(pid)?;
            }
            ours.send(&Message::Go).step(|| "let the container's process go on".into())?;
        }
        let mut terminal = None;
        loop {
            match hear()? {
                Message::Hooks => {
                    self.state.init_process_pid = pid;
                    let shown = self.state.shown(Status::Creating, &self.spec.annotations);
                    hook::run("prestart", &self.spec.hooks.prestart, &shown)?;
                    hook::run("createRuntime", &self.spec.hooks.create_runtime, &shown)?;
                    ours.send(&Message::Go).step(|| "let the container's process go on".into())?;
                }
                Message::Terminal(master) => match &self.options.console_socket {
                    Some(path) => terminal::hand_over(&master, path)?,
                    None => {
                        terminal::keep(&master);
                        terminal = Some(master);
                    }
                },
                Message::Listener(fd) => {
                    let mut state = self.state.clone();
                    state.init_process_pid = pid;
                    let shown = state.shown(Status::Creating, &self.spec.annotations);
                    seccomp::hand_over(self.spec, pid, fd, &shown)?;
                    ours.send(&Message::Go).step(|| "let the container's process go on".into())?;
                }
                Message::Ready => break,
                Message::Failed(error) => return Err(error),
                Message::Go | Message::Pid(_) | Message::MapIds => return Err(Error::Vanished),
            }
        }
        self.settle(pid)?;
        if let Some(path) = &self.options.pidfd_socket {
            process::hand_over_pidfd(pid, path, b"standard")?;
        }
        if let Some(path) = &self.options.pid_file {
            state::write_whole(path, pid.to_string().as_bytes())?;
        }
        ours.send(&Message::Go).step(|| "let the container's process go on".into())?;
        let container = Container {
            directory: self.directory.clone(),
            state: self.state.clone(),
            annotations: self.spec.annotations.clone(),
        };
        let mut warnings = Wanted::warnings(self.process.capabilities.as_ref(), self.plan.in_user())?;
        if self.options.cgroup == CgroupDriver::Disabled && asks_more_than_devices(&self.spec.linux.resources)
        {
            warnings
                .push("linux.resources is left out: there is no cgroup (--cgroup-manager=disabled)".into());
        }
        Ok(Created { container, terminal, warnings })
    }

    /// Writes the state of a container that is made.
    fn settle(&mut self, pid: i32) -> Result<()> {
        self.state.init_process_pid = pid;
        self.state.init_process_start = state::process_of(pid).ok_or(Error::Vanished)?.1;
        self.state.nabe.creator_pid = 0;
        for kind in NamespaceKind::ALL {
            let name = match kind {
                NamespaceKind::Mount => "NEWNS".to_owned(),
                other => format!("NEW{}", other.file().to_uppercase()),
            };
            self.state.namespace_paths.insert(name, format!("/proc/{pid}/ns/{}", kind.file()).into());
        }
        self.directory.write(&self.state)
    }

    /// What root of a user namespace may not do for itself.
    fn privileged_settings(&self, pid: i32) -> Result<()> {
        for limit in &self.process.rlimits {
            let number = process::rlimit(&limit.kind).unwrap_or(-1);
            sys::set_rlimit_of(pid, number, limit.soft, limit.hard)
                .step(|| format!("set {} to {}:{}", limit.kind, limit.soft, limit.hard))?;
        }
        self.oom_score(&format!("/proc/{pid}/oom_score_adj"))
    }

    fn oom_score(&self, file: &str) -> Result<()> {
        let Some(score) = self.process.oom_score_adj else { return Ok(()) };
        match std::fs::write(file, score.to_string()) {
            // An ordinary user may only raise it.
            Err(_) if self.lenient => Ok(()),
            result => result.step(|| format!("set oom_score_adj to {score}")),
        }
    }

    /// Takes everything back.
    fn undo(&mut self) {
        if !self.unit_made {
            // Whatever has its name is somebody else's.
            self.state.nabe.unit = None;
        }
        self.state.cgroup_paths.kill();
        self.state.release().ok();
        self.directory.remove().ok();
    }

    /// The first process, from here to its program. Never returns.
    fn child(
        &mut self,
        theirs: Channel,
        listener: OwnedFd,
        sources: Vec<Option<OwnedFd>>,
        filter: Option<seccomp::Filter>,
    ) -> ! {
        // Whatever else is open here is the host's: the runtime's own, or left open by whoever called it.
        let needed = [&theirs.socket, &listener].into_iter().chain(sources.iter().flatten());
        descriptor::keep_only(self.options.preserve_fds, needed.map(AsRawFd::as_raw_fd));
        match self.set_up(&theirs, sources, filter) {
            Err(error) => {
                theirs.send(&Message::Failed(error)).ok();
                sys::exit(1)
            }
            Ok(program) => {
                drop(theirs);
                self.wait_and_run(listener, program)
            }
        }
    }

    fn set_up(
        &mut self,
        theirs: &Channel,
        mut sources: Vec<Option<OwnedFd>>,
        filter: Option<seccomp::Filter>,
    ) -> Result<Program> {
        sys::default_signals();
        let lost = || Error::Refused("the runtime is gone".into());
        if self.plan.in_user() {
            // While we still are who we were, and may look everywhere.
            for (at, mount) in self.spec.mounts.iter().enumerate() {
                if let Some(source @ None) = sources.get_mut(at)
                    && mount::Options::of(mount, at)?.is_bind()
                {
                    // What comes with an earlier mount is found when its turn has come.
                    *source = crate::rootfs::open_source(mount, at).ok();
                }
            }
        }
        if self.plan.waits() {
            theirs.receive()?.ok_or_else(lost)?;
            if self.plan.makes_user() {
                namespace::take_ids()?;
            }
        }
        if !self.spec.hooks.create_container.is_empty() || !self.spec.hooks.start_container.is_empty() {
            // As the host counts, while /proc is still the host's.
            let own = std::fs::read_link("/proc/self").ok();
            self.state.init_process_pid = own.and_then(|pid| pid.to_str()?.parse().ok()).unwrap_or(0);
        }
        rustix::process::setsid().ok();
        if self.plan.new_cgroup {
            sys::unshare(NamespaceKind::Cgroup.flag()).step(|| "make a cgroup namespace".into())?;
        }
        if !self.plan.in_user() {
            self.oom_score("/proc/self/oom_score_adj")?;
            process::limit(self.process)?;
        }
        process::set_affinity(None)?;
        process::schedule(self.process)?;
        self.spec.linux.memory_policy.as_ref().map_or(Ok(()), memory::apply)?;
        if !self.options.no_new_keyring {
            // Without the quota or the feature, there is none to hide either.
            let name = std::ffi::CString::new(format!("_ses.{}", self.id)).unwrap_or_default();
            sys::new_keyring(&name).ok();
        }
        self.own_names()?;
        let mut stdio = None;
        self.file_system(theirs, sources, &mut stdio)?;
        if let Some(slave) = stdio {
            terminal::adopt(&slave, self.process.console_size.as_ref())?;
        }
        if let Some(personality) = &self.spec.linux.personality {
            let value = if personality.domain == "LINUX32" { 8 } else { 0 };
            sys::personality(value).step(|| "set the personality".into())?;
        }
        self.last_preparations(theirs, filter)
    }

    /// Host name, loopback, kernel parameters.
    fn own_names(&self) -> Result<()> {
        for (domain, name) in [(false, &self.spec.hostname), (true, &self.spec.domainname)] {
            if !name.is_empty() {
                sys::set_name(domain, name).step(|| format!("set the name \"{name}\""))?;
            }
        }
        if self.spec.makes(NamespaceKind::Network) {
            sys::loopback_up().step(|| "bring the loopback interface up".into())?;
        }
        for (name, value) in &self.spec.linux.sysctl {
            // The host's /proc shows the namespaces of who reads it.
            let path = Path::new("/proc/sys").join(if name.contains('/') {
                name.clone()
            } else {
                name.replace('.', "/")
            });
            let write = || {
                io::Write::write_all(
                    &mut std::fs::OpenOptions::new().write(true).open(&path)?,
                    value.as_bytes(),
                )
            };
            write().step(|| format!("set linux.sysctl.{name} to \"{value}\""))?;
        }
        Ok(())
    }

    fn file_system(
        &mut self,
        theirs: &Channel,
        sources: Vec<Option<OwnedFd>>,
        stdio: &mut Option<OwnedFd>,
    ) -> Result<()> {
        let bind_devices = self.plan.in_user() || self.lenient;
        let rootfs = Rootfs {
            spec: self.spec,
            path: &self.rootfs,
            hierarchies: &self.hierarchies,
            cgroup: &self.state.cgroup_paths,
            sources,
            bind_devices,
            no_pivot: self.options.no_pivot,
        };
        let own_mounts = self.spec.namespace(NamespaceKind::Mount).is_some();
        let umask = rustix::process::umask(Mode::empty());
        let root = if own_mounts {
            let root = rootfs.begin()?;
            rootfs.fill(root.as_fd())?;
            root
        } else {
            sys::open_path(&self.rootfs, OFlags::DIRECTORY).step(|| "open the root".into())?
        };
        if !self.spec.hooks.prestart.is_empty() || !self.spec.hooks.create_runtime.is_empty() {
            theirs.send(&Message::Hooks).step(|| "ask for the hooks".into())?;
            theirs.receive()?.ok_or_else(|| Error::Refused("the runtime is gone".into()))?;
        }
        if !self.spec.hooks.create_container.is_empty() {
            // They find the container's files where they stand, as those of runc and crun do.
            rustix::process::fchdir(root.as_fd()).step(|| "enter the root".into())?;
            hook::run(
                "createContainer",
                &self.spec.hooks.create_container,
                &self.state.shown(Status::Creating, &self.spec.annotations),
            )?;
        }
        if self.process.terminal {
            let (master, slave) = rootfs.terminal(root.as_fd())?;
            terminal::resize(&master, self.process.console_size.as_ref());
            theirs.send(&Message::Terminal(master)).step(|| "hand the terminal over".into())?;
            *stdio = Some(slave);
        }
        if own_mounts {
            rootfs.make_working_directory(root.as_fd());
            rootfs.seal(root.as_fd())?;
        }
        rootfs.enter(root.as_fd())?;
        rustix::process::umask(umask);
        Ok(())
    }

    fn last_preparations(&mut self, theirs: &Channel, filter: Option<seccomp::Filter>) -> Result<Program> {
        let setting = Setting {
            capabilities: Wanted::of(self.process.capabilities.as_ref()),
            filter,
            preserve: self.options.preserve_fds,
            keep_groups: process::keeps_groups(self.spec),
        };
        let mut program = Program::prepare(self.process, setting)?;
        program.confine()?;
        if program.filter.as_ref().is_some_and(|filter| filter.notifies) {
            // Only now is the runtime there to hand the listener over.
            if let Some(listener) = program.load_filter()? {
                let number = listener.as_raw_fd();
                theirs.send(&Message::Listener(number)).step(|| "hand the seccomp listener over".into())?;
                theirs.receive()?.ok_or(Error::Vanished)?;
            }
        }
        theirs.send(&Message::Ready).step(|| "report to the runtime".into())?;
        // The runtime has noted us now; without that we may not stay.
        theirs.receive()?.ok_or(Error::Vanished)?;
        Ok(program)
    }

    fn wait_and_run(&mut self, listener: OwnedFd, mut program: Program) -> ! {
        sys::end_by_signals();
        let accepted = loop {
            match rustix::net::accept_with(&listener, SocketFlags::CLOEXEC) {
                Err(rustix::io::Errno::INTR) => {}
                result => break result,
            }
        };
        drop(listener);
        let Ok(socket) = accepted else { sys::exit(1) };
        let mut starter = Some(Channel { socket });
        if !matches!(starter.as_ref().map(Channel::receive), Some(Ok(Some(Message::Go)))) {
            sys::exit(1);
        }
        let hooks = &self.spec.hooks.start_container;
        // Their programs are files of the image: they may not do more than the container's own.
        let ran = program.drop_privileges().and_then(|()| {
            if hooks.is_empty() {
                return Ok(());
            }
            let shown = self.state.shown(Status::Created, &self.spec.annotations);
            hook::run_with("startContainer", hooks, &shown, &program.variables())
        });
        let error = match ran {
            Err(error) => error,
            Ok(()) if self.options.init => run_below_init(&program, &mut starter, self.options),
            Ok(()) => program.exec(),
        };
        let code = error.exit_code();
        if let Some(starter) = starter {
            starter.send(&Message::Failed(error)).ok();
        }
        sys::exit(code.into())
    }
}

/// Runs the program as a child of ourselves, who stay as the container's init.
fn run_below_init(program: &Program, starter: &mut Option<Channel>, options: &Options) -> Error {
    let failed = |source| Error::Step { what: "make the container's init".into(), source };
    let signals = match sys::all_signals() {
        Ok(signals) => signals,
        Err(error) => return failed(error),
    };
    // SAFETY: this process was made with one thread and has made none.
    let child = match unsafe { sys::clone3(0, None) } {
        // SAFETY: as above.
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => unsafe { sys::fork() },
        result => result,
    };
    match child {
        Err(error) => failed(error),
        Ok(None) => {
            // The terminal's signals are for the program, not for us as well. All signals are still
            // blocked, so that asking from the background does not stop us.
            rustix::process::setpgid(None, None).ok();
            rustix::termios::tcsetpgrp(rustix::stdio::stdin(), rustix::process::getpgrp()).ok();
            sys::default_signals();
            program.exec()
        }
        Ok(Some(child)) => {
            // Whoever started us waits until every copy of this is closed.
            drop(starter.take());
            if options.tied {
                // Behind the last change of ids, which forgets it. Without it the next sweep does the work.
                rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL)).ok();
            }
            descriptor::keep_only(0, [signals.as_raw_fd()]);
            process::reap(child, &signals, options.linger)
        }
    }
}
