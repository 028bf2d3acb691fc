//! What a rule may have done on an alert, when the user allows it: a signal to the process, a container
//! stopped or frozen, a program run with the alert on its input.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};

use nabe_event::alert::Alert;
use nabe_output::Render;
use nabe_rules::extension::{Action, ContainerAction};
use nabe_state::stream::Seen;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// Programs that wait for their turn.
const WAITING: usize = 256;

/// Does what rules ask for.
pub struct Actions {
    render: Render,
    programs: SyncSender<(Vec<String>, String)>,
}

impl Actions {
    /// Starts the thread that runs programs, one at a time.
    pub fn new(render: Render) -> Self {
        let (programs, queue) = sync_channel::<(Vec<String>, String)>(WAITING);
        std::thread::spawn(move || {
            while let Ok((command, alert)) = queue.recv() {
                if let Err(error) = run(&command, &alert) {
                    eprintln!("nabe: warning: action {}: {error}", command.join(" "));
                }
            }
        });
        Self { render: Render { json: true, ..render }, programs }
    }

    /// Does them, each once; what fails is told.
    pub fn take(&self, actions: &[Action], seen: &Seen<'_>, alert: &Alert) {
        let pid = seen.thread().map_or(-1, |thread| thread.pid);
        for action in actions {
            let done = match action {
                Action::Signal(name) => signal(pid, name),
                Action::Container(what) => container(pid, *what),
                // Whoever has the stream does it.
                Action::Capture(_) => continue,
                Action::Run(command) => {
                    match self.programs.try_send((command.clone(), self.render.line(alert))) {
                        Ok(()) => Ok(()),
                        Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                            Err("too many programs are waiting already".to_owned())
                        }
                    }
                }
            };
            match done {
                Ok(()) => eprintln!("nabe: rule {}: {action:?} on process {pid}", alert.rule),
                Err(why) => {
                    eprintln!("nabe: warning: rule {}: {action:?} on process {pid}: {why}", alert.rule)
                }
            }
        }
    }
}

/// Runs a program with the alert on its input.
fn run(command: &[String], alert: &str) -> Result<(), String> {
    let Some((program, args)) = command.split_first() else { return Err("no program".into()) };
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .map_err(|error| error.to_string())?;
    if let Some(mut input) = child.stdin.take() {
        // A program that does not read its input may end before.
        let _ = writeln!(input, "{alert}");
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    if status.success() { Ok(()) } else { Err(status.to_string()) }
}

/// Signals a process, never ourselves or the first one.
fn signal(pid: i64, name: &str) -> Result<(), String> {
    let signal = match name {
        "kill" => Signal::KILL,
        "term" => Signal::TERM,
        "int" => Signal::INT,
        "stop" => Signal::STOP,
        "hup" => Signal::HUP,
        "usr1" => Signal::USR1,
        "usr2" => Signal::USR2,
        "quit" => Signal::QUIT,
        _ => return Err(format!("unknown signal {name}")),
    };
    let target = target(pid)?;
    // A descriptor of the process, so that the number cannot become another's in between.
    let process = pidfd_open(target, PidfdFlags::empty()).map_err(|error| error.to_string())?;
    pidfd_send_signal(&process, signal).map_err(|error| error.to_string())
}

fn target(pid: i64) -> Result<Pid, String> {
    let number = i32::try_from(pid).ok().filter(|number| *number > 1);
    let number = number.filter(|number| u32::try_from(*number) != Ok(std::process::id()));
    number.and_then(Pid::from_raw).ok_or_else(|| "not a process that may be acted upon".into())
}

/// Stops or freezes the container of a process through its cgroup.
fn container(pid: i64, what: ContainerAction) -> Result<(), String> {
    target(pid)?;
    let cgroups =
        std::fs::read_to_string(format!("/proc/{pid}/cgroup")).map_err(|error| error.to_string())?;
    let paths: Vec<&[u8]> =
        cgroups.lines().filter_map(|line| Some(line.splitn(3, ':').nth(2)?.as_bytes())).collect();
    if nabe_container::identify_any(&paths).is_none() {
        return Err("it is in no container".into());
    }
    match what {
        ContainerAction::Pause => freeze(&cgroups),
        ContainerAction::Stop => {
            let init = first_of(pid).ok_or("the container's first process is not known")?;
            signal(init, "term")?;
            // As engines do: ten seconds to end by itself.
            std::thread::spawn(move || {
                std::thread::sleep(std::time::Duration::from_secs(10));
                // It has most likely ended.
                let _ = signal(init, "kill");
            });
            Ok(())
        }
    }
}

fn freeze(cgroups: &str) -> Result<(), String> {
    for line in cgroups.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let relative = path.trim_start_matches('/');
        let (file, text): (PathBuf, &str) = if controllers.split(',').any(|name| name == "freezer") {
            (Path::new("/sys/fs/cgroup/freezer").join(relative).join("freezer.state"), "FROZEN")
        } else if controllers.is_empty() {
            (Path::new("/sys/fs/cgroup").join(relative).join("cgroup.freeze"), "1")
        } else {
            continue;
        };
        // The root of a hierarchy is not a container's.
        if relative.is_empty() || !file.exists() {
            continue;
        }
        return std::fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()));
    }
    Err("no cgroup of it can be frozen".into())
}

/// The first process of the PID namespace of `pid`: the one whose number inside is 1.
fn first_of(pid: i64) -> Option<i64> {
    let namespace = std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok()?;
    if namespace == std::fs::read_link("/proc/self/ns/pid").ok()? {
        return None;
    }
    std::fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid: i64 = entry.file_name().to_str()?.parse().ok()?;
        let same = std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok()? == namespace;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let inside =
            status.lines().find_map(|line| line.strip_prefix("NSpid:"))?.split_whitespace().last()?;
        (same && inside == "1").then_some(pid)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_acts_on_himself_or_on_init() {
        assert!(target(1).is_err() && target(0).is_err() && target(-1).is_err());
        assert!(target(i64::from(std::process::id())).is_err());
        assert!(signal(i64::from(i32::MAX), "nonsense").unwrap_err().contains("unknown signal"));
    }

    #[test]
    fn a_process_is_signalled() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        signal(i64::from(child.id()), "kill").unwrap();
        assert!(!child.wait().unwrap().success());
    }

    #[test]
    fn programs_get_the_alert() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        run(&["sh".into(), "-c".into(), format!("cat > {}", path.display())], "{}").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{}\n");
        assert!(run(&["/nowhere".into()], "").is_err());
        assert!(run(&["false".into()], "").unwrap_err().contains("exit status"));
    }
}
