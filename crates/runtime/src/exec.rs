//! Another process in a container that runs.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::capability::Wanted;
use crate::channel::{Channel, Message};
use crate::container::{Container, Options};
use crate::descriptor;
use crate::error::{Context as _, Error, Result};
use crate::namespace::{self, Plan, Side};
use crate::process::{self, Program, Setting};
use crate::rootfs;
use crate::seccomp::{self, Filter};
use crate::spec::{NamespaceKind, Process, Spec};
use crate::state::{self, Status};
use crate::systemd::Systemd;
use crate::{check, sys, terminal};

/// What to run, and how.
#[derive(Clone, Debug, Default)]
pub struct Exec {
    /// The process.
    pub process: Process,
    /// Socket that takes the terminal's master.
    pub console_socket: Option<PathBuf>,
    /// Socket that takes a pidfd of it.
    pub pidfd_socket: Option<PathBuf>,
    /// Cgroups below the container's that it enters instead: `PATH`, or `CONTROLLER,…:PATH`.
    pub cgroups: Vec<String>,
    /// File for its pid.
    pub pid_file: Option<PathBuf>,
    /// Nobody will stay to stand before its terminal.
    pub detach: bool,
    /// Descriptors after the first three that it keeps.
    pub preserve_fds: u32,
    /// Also when the container is frozen; it then waits until it is thawed.
    pub ignore_paused: bool,
}

/// A process that was added.
#[derive(Debug)]
pub struct Executed {
    /// Its host pid, a child of ours.
    pub pid: i32,
    /// The master of its terminal, when it has one and no console socket took it.
    pub terminal: Option<OwnedFd>,
    /// What was left out, in sentences.
    pub warnings: Vec<String>,
}

impl Container {
    /// Runs another process in the container; returns once it has become its program.
    ///
    /// # Errors
    /// [`Error::Status`] unless it is running; what was wrong with the process otherwise.
    pub fn exec(&self, exec: &Exec) -> Result<Executed> {
        let status = self.status();
        let allowed = match status {
            Status::Running | Status::Created => true,
            Status::Paused => exec.ignore_paused,
            Status::Creating | Status::Stopped => false,
        };
        if !allowed {
            return Err(self.wrong("exec in", status));
        }
        check::process(&exec.process, "process")?;
        let as_options = Options {
            console_socket: exec.console_socket.clone(),
            detach: exec.detach,
            ..Options::default()
        };
        terminal::check(exec.process.terminal, &as_options)?;
        let spec = self.spec()?;
        let filter = spec.linux.seccomp.as_ref().map(seccomp::compile).transpose()?;
        let mut plan = self.namespaces()?;
        let cgroup = match exec.cgroups.is_empty() {
            true => self.state.cgroup_paths.beside(self.pid()),
            false => self.state.cgroup_paths.below(&exec.cgroups)?,
        };
        let mut doors = cgroup.doors()?;
        if let Some(affinity) = exec.process.exec_cpu_affinity.as_ref().filter(|a| !a.initial.is_empty()) {
            // The new process begins with ours.
            process::set_affinity(Some(&affinity.initial))?;
        }
        let (ours, theirs) = Channel::pair().step(|| "make a socket pair".into())?;
        let mut spawned = namespace::spawn(&plan, &mut doors, &ours, &theirs);
        if let (Err(Error::Step { source, .. }), Some(unit)) = (&spawned, &self.state.nabe.unit)
            && matches!(source.raw_os_error(), Some(libc::EACCES | libc::EPERM))
        {
            // An ordinary user may not take a process over from a cgroup of others; systemd may.
            let mut systemd = Systemd::connect(unit.user)?;
            let below = self.state.cgroup_paths.path_to(&cgroup);
            plan.moved = true;
            doors.mover = Some(Box::new(move |pid| systemd.attach(unit, &below, pid)));
            spawned = namespace::spawn(&plan, &mut doors, &ours, &theirs);
        }
        match spawned? {
            Side::Child => {
                drop((ours, doors));
                child(&theirs, exec, &spec, &self.state.id, filter)
            }
            Side::Parent(pid) => {
                drop((theirs, doors));
                let mut done = self.attend_exec(pid, exec, &ours, &spec, plan.in_user());
                if let Ok(executed) = &mut done
                    && plan.in_user()
                {
                    // Who joins a user namespace has every capability there, whatever we have.
                    executed.warnings.clear();
                }
                if done.is_err() {
                    drop(ours);
                    sys::kill(pid, libc::SIGKILL).ok();
                    sys::wait(pid, 0).ok();
                }
                done
            }
        }
    }

    /// The namespaces of the first process that are not ours.
    fn namespaces(&self) -> Result<Plan> {
        let pid = self.pid();
        let mut plan = Plan { hide: true, wait: true, ..Plan::default() };
        for kind in NamespaceKind::ALL {
            let path = format!("/proc/{pid}/ns/{}", kind.file());
            let what = || format!("open the container's {} namespace", kind.name());
            let theirs = match rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
                // A kernel without this kind.
                Err(rustix::io::Errno::NOENT)
                    if matches!(kind, NamespaceKind::Time | NamespaceKind::Cgroup) =>
                {
                    continue;
                }
                theirs => theirs.step(what)?,
            };
            let here = rustix::fs::stat(format!("/proc/self/ns/{}", kind.file())).step(what)?;
            let there = rustix::fs::fstat(&theirs).step(what)?;
            if (here.st_dev, here.st_ino) != (there.st_dev, there.st_ino) {
                plan.joins.push((kind, theirs));
            }
        }
        if !state::lives(pid, self.state.init_process_start) {
            return Err(self.wrong("exec in", Status::Stopped));
        }
        Ok(plan)
    }

    fn attend_exec(
        &self,
        pid: i32,
        exec: &Exec,
        ours: &Channel,
        spec: &Spec,
        in_user: bool,
    ) -> Result<Executed> {
        for limit in &exec.process.rlimits {
            let number = process::rlimit(&limit.kind).unwrap_or(-1);
            sys::set_rlimit_of(pid, number, limit.soft, limit.hard)
                .step(|| format!("set {} to {}:{}", limit.kind, limit.soft, limit.hard))?;
        }
        let default = spec.process.as_ref().and_then(|process| process.oom_score_adj);
        if let Some(score) = exec.process.oom_score_adj.or(default) {
            let set = std::fs::write(format!("/proc/{pid}/oom_score_adj"), score.to_string());
            if !self.state.rootless {
                set.step(|| format!("set oom_score_adj to {score}"))?;
            }
        }
        let go_on = || ours.send(&Message::Go).step(|| "let the process go on".into());
        go_on()?;
        let mut master = None;
        loop {
            match ours.receive()?.ok_or(Error::Vanished)? {
                Message::Terminal(fd) => match &exec.console_socket {
                    Some(path) => terminal::hand_over(&fd, path)?,
                    None => {
                        terminal::keep(&fd);
                        master = Some(fd);
                    }
                },
                Message::Listener(fd) => {
                    seccomp::hand_over(spec, pid, fd, &self.shown(self.status()))?;
                    go_on()?;
                }
                Message::Ready => break,
                Message::Failed(error) => return Err(error),
                _ => return Err(Error::Vanished),
            }
        }
        if let Some(path) = &exec.pidfd_socket {
            process::hand_over_pidfd(pid, path, b"setns")?;
        }
        if let Some(path) = &exec.pid_file {
            state::write_whole(path, pid.to_string().as_bytes())?;
        }
        go_on()?;
        match ours.receive()? {
            None => {}
            Some(Message::Failed(error)) => return Err(error),
            Some(_) => return Err(Error::Vanished),
        }
        let warnings = Wanted::warnings(exec.process.capabilities.as_ref(), in_user)?;
        Ok(Executed { pid, terminal: master, warnings })
    }
}

/// The new process. Never returns.
fn child(theirs: &Channel, exec: &Exec, spec: &Spec, id: &str, filter: Option<Filter>) -> ! {
    descriptor::keep_only(exec.preserve_fds, [theirs.socket.as_raw_fd()]);
    let error = match run(theirs, exec, spec, id, filter) {
        Ok(program) => program.exec(),
        Err(error) => error,
    };
    let code = error.exit_code();
    theirs.send(&Message::Failed(error)).ok();
    sys::exit(code.into())
}

fn run(theirs: &Channel, exec: &Exec, spec: &Spec, id: &str, filter: Option<Filter>) -> Result<Program> {
    let process = &exec.process;
    sys::default_signals();
    theirs.receive()?.ok_or(Error::Vanished)?;
    rustix::process::setsid().ok();
    let name = std::ffi::CString::new(format!("_ses.{id}")).unwrap_or_default();
    sys::new_keyring(&name).ok();
    let affinity = process.exec_cpu_affinity.as_ref();
    if affinity.is_none_or(|affinity| affinity.initial.is_empty() || !affinity.r#final.is_empty()) {
        process::set_affinity(affinity.map(|affinity| affinity.r#final.as_str()))?;
    }
    process::schedule(process)?;
    if process.terminal {
        let root = sys::open_path(Path::new("/"), OFlags::DIRECTORY).step(|| "open the root".into())?;
        let (master, slave) = rootfs::open_terminal(root.as_fd())?;
        terminal::resize(&master, process.console_size.as_ref());
        theirs.send(&Message::Terminal(master)).step(|| "hand the terminal over".into())?;
        terminal::adopt(&slave, process.console_size.as_ref())?;
    }
    if let Some(personality) = &spec.linux.personality {
        let value = if personality.domain == "LINUX32" { 8 } else { 0 };
        sys::personality(value).step(|| "set the personality".into())?;
    }
    let setting = Setting {
        capabilities: Wanted::of(process.capabilities.as_ref()),
        filter,
        preserve: exec.preserve_fds,
        keep_groups: process::keeps_groups(spec),
    };
    let mut program = Program::prepare(process, setting)?;
    program.confine()?;
    if program.filter.as_ref().is_some_and(|filter| filter.notifies)
        && let Some(listener) = program.load_filter()?
    {
        let number = listener.as_raw_fd();
        theirs.send(&Message::Listener(number)).step(|| "hand the seccomp listener over".into())?;
        theirs.receive()?.ok_or(Error::Vanished)?;
    }
    theirs.send(&Message::Ready).step(|| "report to the runtime".into())?;
    theirs.receive()?.ok_or(Error::Vanished)?;
    program.drop_privileges()?;
    Ok(program)
}
