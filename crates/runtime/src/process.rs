//! A process of the configuration: who it is, what it may do, and the exec at the end.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{Access, AtFlags, FileType};

use crate::capability::{self, Wanted};
use crate::error::{Context as _, Error, Result};
use crate::seccomp::Filter;
use crate::spec::{Process, Scheduler, Spec};
use crate::sys;

/// The kernel's words for a file that is not there.
pub(crate) const NO_ENTRY: &str = "no such file or directory";

/// Names and the kernel's numbers of resource limits.
const RLIMITS: [&str; 16] = [
    "CPU",
    "FSIZE",
    "DATA",
    "STACK",
    "CORE",
    "RSS",
    "NPROC",
    "NOFILE",
    "MEMLOCK",
    "AS",
    "LOCKS",
    "SIGPENDING",
    "MSGQUEUE",
    "NICE",
    "RTPRIO",
    "RTTIME",
];

/// The kernel's number of `RLIMIT_…`.
pub(crate) fn rlimit(name: &str) -> Option<i32> {
    let name = name.strip_prefix("RLIMIT_")?;
    RLIMITS.iter().position(|known| *known == name).and_then(|at| i32::try_from(at).ok())
}

/// Sets the resource limits of this process.
pub(crate) fn limit(process: &Process) -> Result<()> {
    for (at, limit) in process.rlimits.iter().enumerate() {
        let wrong = || Error::Config {
            at: format!("process.rlimits[{at}].type"),
            why: format!("\"{}\" is no resource limit", limit.kind),
        };
        let number = rlimit(&limit.kind).ok_or_else(wrong)?;
        sys::set_rlimit(number, limit.soft, limit.hard)
            .step(|| format!("set {} to {}:{}", limit.kind, limit.soft, limit.hard))?;
    }
    Ok(())
}

/// Nanoseconds that the kernel takes as a runtime under `SCHED_DEADLINE` (sched(7)).
const DEADLINE: std::ops::RangeInclusive<u64> = 1024..=(1 << 63) - 1;

/// What a scheduler's description means to the kernel. `at` is its place in the configuration.
pub(crate) fn scheduling(scheduler: &Scheduler, at: &str) -> Result<sys::Scheduling> {
    let policies =
        ["SCHED_OTHER", "SCHED_FIFO", "SCHED_RR", "SCHED_BATCH", "SCHED_ISO", "SCHED_IDLE", "SCHED_DEADLINE"];
    let flags = [
        "RESET_ON_FORK",
        "RECLAIM",
        "DL_OVERRUN",
        "KEEP_POLICY",
        "KEEP_PARAMS",
        "UTIL_CLAMP_MIN",
        "UTIL_CLAMP_MAX",
    ];
    let wrong = |field: &str, why: String| Error::Config { at: format!("{at}.{field}"), why };
    let policy = policies.iter().position(|known| *known == scheduler.policy);
    let policy =
        policy.ok_or_else(|| wrong("policy", format!("\"{}\" is no scheduling policy", scheduler.policy)))?;
    let mut bits = 0;
    for (number, flag) in scheduler.flags.iter().enumerate() {
        let known =
            flag.strip_prefix("SCHED_FLAG_").and_then(|flag| flags.iter().position(|known| *known == flag));
        let unknown = || wrong(&format!("flags[{number}]"), format!("\"{flag}\" is no flag"));
        bits |= 1 << known.ok_or_else(unknown)?;
    }
    let (runtime, deadline, period) = (scheduler.runtime, scheduler.deadline, scheduler.period);
    if scheduler.policy == "SCHED_DEADLINE" {
        let call = "sched_setattr: `SCHED_DEADLINE`";
        if deadline == 0 {
            return Err(wrong("deadline", format!("{call} requires `deadline`")));
        }
        match runtime {
            None => return Err(wrong("runtime", format!("{call} requires `runtime`"))),
            Some(0) => return Err(wrong("runtime", format!("{call} runtime must be greater than 0"))),
            Some(runtime) if runtime > deadline => {
                let why = format!("{call} runtime {runtime} must be <= deadline {deadline}");
                return Err(wrong("runtime", why));
            }
            Some(runtime) if !DEADLINE.contains(&runtime) => {
                let (least, most) = (DEADLINE.start(), DEADLINE.end());
                let why = format!("{call} runtime {runtime} must be between {least} and {most}");
                return Err(wrong("runtime", why));
            }
            _ if period != 0 && deadline > period => {
                return Err(wrong(
                    "deadline",
                    format!("{call} deadline {deadline} must be <= period {period}"),
                ));
            }
            _ => {}
        }
    }
    Ok(sys::Scheduling {
        policy: u32::try_from(policy).unwrap_or(0),
        flags: bits,
        nice: scheduler.nice,
        priority: u32::try_from(scheduler.priority).map_err(|_| wrong("priority", "is negative".into()))?,
        runtime: runtime.unwrap_or(0),
        deadline,
        period,
        ..sys::Scheduling::default()
    })
}

/// Scheduling and I/O priority, while we still may.
pub(crate) fn schedule(process: &Process) -> Result<()> {
    if let Some(scheduler) = &process.scheduler {
        sys::set_scheduling(scheduling(scheduler, "process.scheduler")?)
            .step(|| format!("set the scheduling policy {}", scheduler.policy))?;
    }
    if let Some(priority) = &process.io_priority {
        let class = match priority.class.as_str() {
            "IOPRIO_CLASS_RT" => 1,
            "IOPRIO_CLASS_BE" => 2,
            "IOPRIO_CLASS_IDLE" => 3,
            _ => {
                return Err(Error::Config {
                    at: "process.ioPriority.class".into(),
                    why: "is no class".into(),
                });
            }
        };
        sys::set_io_priority(class << 13 | priority.priority & 0x1fff)
            .step(|| "set the I/O priority".into())?;
    }
    Ok(())
}

/// Sends a descriptor of a process to whoever listens on this socket; the message is runc's.
pub(crate) fn hand_over_pidfd(pid: i32, path: &Path, message: &[u8]) -> Result<()> {
    let what = || format!("hand a pidfd over to {}", path.display());
    let pidfd = sys::pidfd_open(pid).step(what)?;
    crate::terminal::send_to(path, message, pidfd.as_fd()).step(what)
}

/// The processors of a list such as `0-3,7`.
pub(crate) fn processors(list: &str) -> Option<Vec<usize>> {
    let mut found = Vec::new();
    for part in list.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if first > last || last >= sys::MAX_PROCESSORS {
            return None;
        }
        found.extend(first..=last);
    }
    Some(found)
}

/// On which processors this process runs, once it is in its cgroup: those asked for, else all that the
/// cgroup allows, whatever our caller may use.
pub(crate) fn set_affinity(list: Option<&str>) -> Result<()> {
    let asked = list.filter(|list| !list.is_empty());
    let all = || (0..sys::MAX_PROCESSORS).collect();
    let processors = asked.map_or_else(|| Some(all()), processors).unwrap_or_default();
    match sys::set_affinity(&processors) {
        // A sandbox around us may forbid it; nobody asked for it then.
        Err(_) if asked.is_none() => Ok(()),
        result => result.step(|| format!("run on the processors {}", asked.unwrap_or_default())),
    }
}

/// Everything of a process that is worked out before it may no longer fail quietly.
#[derive(Debug)]
pub(crate) struct Program {
    path: CString,
    arguments: Vec<CString>,
    environment: Vec<CString>,
    capabilities: Wanted,
    pub(crate) filter: Option<Filter>,
    no_new_privileges: bool,
    preserve: u32,
}

/// What surrounds a process that is about to be.
#[derive(Debug)]
pub(crate) struct Setting {
    pub(crate) capabilities: Wanted,
    pub(crate) filter: Option<Filter>,
    /// Descriptors after the first three that it keeps.
    pub(crate) preserve: u32,
    /// Whether it keeps our supplementary groups.
    pub(crate) keep_groups: bool,
}

/// Whether the first process keeps the groups of whoever makes the container: crun's annotation, by which
/// Podman's `--group-add keep-groups` asks for it.
pub(crate) fn keeps_groups(spec: &Spec) -> bool {
    spec.annotations.get("run.oci.keep_original_groups").is_some_and(|value| value == "1")
}

impl Program {
    /// Becomes the user, enters the working directory, finds the program. Capabilities stay permitted.
    pub(crate) fn prepare(process: &Process, mut setting: Setting) -> Result<Self> {
        setting.capabilities.limit_to_ours()?;
        let program = process.args.first().map_or("", String::as_str);
        let environment = environment(process);
        // While we may write there: the files belong to root.
        if !process.apparmor_profile.is_empty() {
            write_label("apparmor/exec", &format!("exec {}", process.apparmor_profile))?;
        }
        if !process.selinux_label.is_empty() {
            write_label("exec", &process.selinux_label)?;
        }
        own_stdio(process.user.uid);
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(process.user.umask.unwrap_or(0o022)));
        setting.capabilities.apply_bounding()?;
        // Entered as root first: the user may not be allowed to.
        let entered = enter(&process.cwd);
        become_user(process, setting.keep_groups)?;
        if process.user.uid != 0 {
            setting.capabilities.use_effective().step(|| "use the own capabilities".into())?;
        }
        if let Err(error) = entered {
            enter(&process.cwd)
                .map_err(|_| error)
                .step(|| format!("change to the directory {}", process.cwd.display()))?;
        }
        inside()?;
        let path = find(program, &environment)?;
        let text = |text: &String| {
            CString::new(text.as_str()).map_err(|_| Error::Config {
                at: "process".into(),
                why: "an argument or variable has a zero byte".into(),
            })
        };
        let arguments = process.args.iter().map(text).collect::<Result<_>>()?;
        let environment = environment.iter().map(text).collect::<Result<_>>()?;
        Ok(Self {
            path: sys::cstr(&path).step(|| "name the program".into())?,
            arguments,
            environment,
            capabilities: setting.capabilities,
            filter: setting.filter,
            no_new_privileges: process.no_new_privileges,
            preserve: setting.preserve,
        })
    }

    /// Loads the filter. Without no_new_privs the kernel wants `CAP_SYS_ADMIN` for it.
    pub(crate) fn load_filter(&mut self) -> Result<Option<OwnedFd>> {
        let Some(filter) = self.filter.take() else { return Ok(None) };
        let what = || "load the seccomp filter".to_owned();
        if !self.no_new_privileges {
            let mut sets = sys::capget().step(what)?;
            sets.effective |= sets.permitted & capability::SYS_ADMIN;
            sys::capset(sets).step(what)?;
        }
        match sys::seccomp(filter.flags, &filter.code) {
            // A flag that this kernel does not know, of those that only make things quicker.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) && filter.flags & 4 != 0 => {
                sys::seccomp(filter.flags & !4, &filter.code).step(what)
            }
            result => result.step(what),
        }
    }

    /// Its environment, as text.
    pub(crate) fn variables(&self) -> Vec<String> {
        self.environment.iter().map(|pair| pair.to_string_lossy().into_owned()).collect()
    }

    /// Labels and no_new_privs; nothing after it needs a file.
    pub(crate) fn confine(&self) -> Result<()> {
        if self.no_new_privileges {
            sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0).step(|| "set no_new_privs".into())?;
        }
        sys::close_on_exec_from(3 + self.preserve).step(|| "mark descriptors to be closed".into())
    }

    /// Takes the last privileges away, in the order that the filter leaves possible.
    pub(crate) fn drop_privileges(&mut self) -> Result<()> {
        let capabilities =
            |this: &Self| this.capabilities.apply_rest().step(|| "set the capabilities".into());
        if self.no_new_privileges {
            capabilities(self)?;
            self.load_filter()?;
        } else {
            self.load_filter()?;
            capabilities(self)?;
        }
        Ok(())
    }

    /// Becomes the program. Returns only when that fails.
    pub(crate) fn exec(&self) -> Error {
        let error = sys::execve(&self.path, &self.arguments, &self.environment);
        let program = self.path.to_string_lossy().into_owned();
        exec_error(program, &error)
    }
}

fn exec_error(program: String, error: &io::Error) -> Error {
    let why = match error.raw_os_error() {
        Some(libc::ENOENT) => NO_ENTRY.to_owned(),
        Some(libc::EACCES) => "permission denied".to_owned(),
        Some(libc::ENOEXEC) => "exec format error".to_owned(),
        _ => error.to_string(),
    };
    Error::Exec { program, why }
}

fn write_label(file: &'static str, label: &str) -> Result<()> {
    const PROCFS: i128 = 0x9fa0;
    let what = || format!("ask for the label \"{label}\"");
    let open =
        |name: &str| std::fs::OpenOptions::new().write(true).open(format!("/proc/thread-self/attr/{name}"));
    let file = open(file).or_else(|_| open("exec")).step(what)?;
    // The image could have put a file there.
    if i128::from(rustix::fs::fstatfs(&file).step(what)?.f_type) != PROCFS {
        return Err(Error::Refused("/proc in the container is no procfs".into()));
    }
    io::Write::write_all(&mut &file, label.as_bytes()).step(what)
}

fn enter(directory: &Path) -> io::Result<()> {
    rustix::process::chdir(directory).map_err(Into::into)
}

/// Refuses a working directory outside the root, which a leaked descriptor could give (CVE-2024-21626).
fn inside() -> Result<()> {
    let here = rustix::process::getcwd(Vec::new()).step(|| "find out the working directory".into())?;
    if here.as_bytes().first() != Some(&b'/') {
        return Err(Error::Refused("the working directory is outside the container's root".into()));
    }
    Ok(())
}

fn become_user(process: &Process, keep_groups: bool) -> Result<()> {
    let user = &process.user;
    let groups: Vec<u32> = user.additional_gids.clone();
    let set = if keep_groups { Ok(()) } else { sys::set_groups(&groups) };
    match set {
        // A user namespace of an ordinary user forbids it; there is nothing to lose then.
        Err(error) if groups.is_empty() && error.raw_os_error() == Some(libc::EPERM) => {}
        result => result.step(|| "set the supplementary groups".into())?,
    }
    sys::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0).step(|| "keep capabilities".into())?;
    sys::set_user(user.uid, user.gid).step(|| format!("become user {}:{}", user.uid, user.gid))?;
    sys::prctl(libc::PR_SET_KEEPCAPS, 0, 0, 0).step(|| "keep capabilities".into()).map(drop)
}

/// Gives pipes and terminals on the first three descriptors to the user, as `/dev/stdout` wants it.
fn own_stdio(uid: u32) {
    let null = rustix::fs::makedev(1, 3);
    let Ok(current) = rustix::fs::fstat(rustix::stdio::stdin()).map(|stat| (stat.st_uid, stat.st_rdev))
    else {
        return;
    };
    if uid == 0 && current.0 == 0 {
        return;
    }
    for fd in [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()] {
        let Ok(stat) = rustix::fs::fstat(fd.as_fd()) else { continue };
        if stat.st_uid == uid
            || stat.st_rdev == null
            || FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
        {
            continue;
        }
        // Not ours, or on a read-only file system: then it stays as it is.
        rustix::fs::fchown(fd.as_fd(), Some(rustix::fs::Uid::from_raw(uid)), None).ok();
    }
}

fn environment(process: &Process) -> Vec<String> {
    let name = |pair: &str| pair.split_once('=').map_or(pair, |(name, _)| name).to_owned();
    let mut seen = std::collections::BTreeSet::new();
    // Of several values the last one counts, once: getenv(3) would find the first.
    let mut environment: Vec<String> =
        process.env.iter().rev().filter(|pair| seen.insert(name(pair))).cloned().collect();
    environment.reverse();
    environment.retain(|pair| pair != "HOME=");
    if !environment.iter().any(|pair| pair.starts_with("HOME=")) {
        environment.push(format!("HOME={}", home(process.user.uid)));
    }
    environment
}

/// The home directory that the container's own `/etc/passwd` gives.
fn home(uid: u32) -> String {
    let text = std::fs::read("/etc/passwd").unwrap_or_default();
    let found = String::from_utf8_lossy(&text).lines().find_map(|line| {
        let mut fields = line.split(':');
        let this = fields.nth(2)?.parse::<u32>().ok()? == uid;
        fields.nth(2).filter(|home| this && home.starts_with('/')).map(str::to_owned)
    });
    found.unwrap_or_else(|| "/".into())
}

/// Finds the program as execvp(3) would, and says what a shell would say.
fn find(program: &str, environment: &[String]) -> Result<std::path::PathBuf> {
    let check = |path: &Path| -> Result<(), io::Error> {
        let stat = rustix::fs::stat(path)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            return Err(io::Error::from_raw_os_error(libc::EISDIR));
        }
        rustix::fs::accessat(rustix::fs::CWD, path, Access::EXEC_OK, AtFlags::EACCESS).map_err(Into::into)
    };
    if program.contains('/') {
        return match check(Path::new(program)) {
            Ok(()) => Ok(program.into()),
            Err(error) if error.raw_os_error() == Some(libc::EISDIR) => {
                Err(Error::Exec { program: program.into(), why: "is a directory: permission denied".into() })
            }
            Err(error) => Err(exec_error(program.into(), &error)),
        };
    }
    let path = environment.iter().rev().find_map(|pair| pair.strip_prefix("PATH="));
    let path = path.unwrap_or("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    let mut denied = false;
    for directory in path.split(':').filter(|_| !program.is_empty()) {
        let file = Path::new(if directory.is_empty() { "." } else { directory }).join(program);
        match check(&file) {
            Ok(()) => return Ok(file),
            Err(error) => denied |= error.raw_os_error() == Some(libc::EACCES),
        }
    }
    if denied {
        return Err(Error::Exec { program: program.into(), why: "permission denied".into() });
    }
    Err(Error::NotFound(program.into()))
}

/// Pid 1 of a container with `--init`: hands signals on to its child, reaps whatever ends, and ends with
/// the child's status; with `linger` not before the last of them has ended.
pub(crate) fn reap(child: i32, signals: &OwnedFd, linger: bool) -> ! {
    let mut code = None;
    loop {
        let mut fds = [rustix::event::PollFd::new(signals, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut fds, None).ok();
        while let Some(signal) = sys::next_signal(signals.as_fd()) {
            if signal != libc::SIGCHLD {
                sys::kill(child, signal).ok();
            }
        }
        loop {
            match sys::wait(-1, libc::WNOHANG) {
                Ok(Some((pid, status))) if pid == child => {
                    let status = i32::from(sys::exit_code(status));
                    if !linger {
                        sys::exit(status);
                    }
                    code = Some(status);
                }
                Ok(Some(_)) => {}
                Ok(None) => break,
                // There is no child any more.
                Err(_) => match code {
                    Some(status) => sys::exit(status),
                    None => break,
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_have_the_kernels_numbers() {
        for (name, number) in [("RLIMIT_CPU", 0), ("RLIMIT_NOFILE", 7), ("RLIMIT_RTTIME", 15)] {
            assert_eq!(rlimit(name), Some(number));
        }
        assert_eq!((rlimit("RLIMIT_X"), rlimit("NOFILE")), (None, None));
    }

    #[test]
    fn programs_are_found_in_the_containers_path() {
        let path = |path: &str| vec![format!("PATH={path}")];
        assert_eq!(find("sh", &path("/nowhere:/bin")).expect("found"), Path::new("/bin/sh"));
        let say = |program: &str, at: &str| find(program, &path(at)).expect_err("not found").line();
        assert_eq!(say("sh", "/nowhere"), "exec: \"sh\": executable file not found in $PATH");
        assert_eq!(say("", "/bin"), "exec: \"\": executable file not found in $PATH");
        assert_eq!(say("/no/such", ""), "exec: \"/no/such\": no such file or directory");
        assert_eq!(say("/bin", ""), "exec: \"/bin\": is a directory: permission denied");
    }
}
