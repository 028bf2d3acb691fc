//! Hooks: programs of the configuration that run at points of a container's life.

use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::error::{Error, Result};
use crate::spec::Hook;

/// The kinds, in the order of a container's life.
pub(crate) const KINDS: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

pub(crate) fn kind(name: &str) -> &'static str {
    KINDS.into_iter().find(|kind| *kind == name).unwrap_or("unknown")
}

/// Runs hooks in order, the container's state on their standard input. The first that fails ends it.
pub(crate) fn run(kind: &'static str, hooks: &[Hook], state: &serde_json::Value) -> Result<()> {
    run_with(kind, hooks, state, &[])
}

/// The same with the environment of hooks that have none of their own.
pub(crate) fn run_with(
    kind: &'static str,
    hooks: &[Hook],
    state: &serde_json::Value,
    environment: &[String],
) -> Result<()> {
    if hooks.is_empty() {
        return Ok(());
    }
    let state = state.to_string();
    hooks.iter().enumerate().try_for_each(|(number, hook)| {
        run_one(hook, state.as_bytes(), environment).map_err(|why| Error::Hook {
            kind,
            number,
            path: hook.path.clone(),
            why,
        })
    })
}

fn run_one(hook: &Hook, state: &[u8], environment: &[String]) -> Result<(), String> {
    let mut command = Command::new(&hook.path);
    if let Some((name, rest)) = hook.args.split_first() {
        command.arg0(name).args(rest);
    }
    let environment = if hook.env.is_empty() { environment } else { &hook.env };
    let pairs = environment.iter().map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    command.env_clear().envs(pairs.filter(|(name, _)| !name.is_empty()));
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    if let Some(mut input) = child.stdin.take() {
        // A hook need not read it, and may have ended: that must not end us.
        let quiet = crate::sys::ignore_broken_pipes();
        input.write_all(state).ok();
        drop(quiet);
    }
    let limit = hook.timeout.and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs);
    let start = Instant::now();
    // A filter that is already loaded may forbid it: then nobody looks at the clock.
    let Ok(pidfd) = crate::sys::pidfd_open(child.id().cast_signed()) else {
        return ended(child.wait_with_output());
    };
    // Its words, read while it runs so that it never blocks on them; a grandchild may hold the pipe open.
    let mut words = Vec::new();
    let errors = child.stderr.take();
    loop {
        let mut fds = vec![PollFd::new(&pidfd, PollFlags::IN)];
        let open = errors.as_ref().filter(|_| words.len() < 4096);
        if let Some(errors) = open {
            fds.push(PollFd::from_borrowed_fd(errors.as_fd(), PollFlags::IN));
        }
        let left = limit.map(|limit| limit.saturating_sub(start.elapsed()));
        let timeout = left.map(|left| Timespec {
            tv_sec: left.as_secs().cast_signed(),
            tv_nsec: i64::from(left.subsec_nanos()),
        });
        match poll(&mut fds, timeout.as_ref()) {
            Ok(0) => {
                child.kill().ok();
                child.wait().ok();
                return Err(format!("took longer than {} seconds", limit.unwrap_or_default().as_secs()));
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.to_string()),
        }
        let ready = |at: usize| fds.get(at).is_some_and(|fd| fd.revents().intersects(PollFlags::IN));
        let (ended, speaks) = (ready(0), ready(1));
        if let Some(errors) = open.filter(|_| speaks) {
            let mut part = [0; 1024];
            let length = rustix::io::read(errors, &mut part).unwrap_or(0);
            words.extend_from_slice(part.get(..length).unwrap_or_default());
        }
        if ended && !speaks {
            break;
        }
    }
    let status = child.wait();
    ended(status.map(|status| Output { status, stdout: Vec::new(), stderr: words }))
}

/// What became of a hook, in words.
fn ended(output: io::Result<Output>) -> Result<(), String> {
    let output = output.map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let how = match output.status.signal() {
        Some(libc::SIGSYS) => "ended by signal 31: bad system call".into(),
        Some(signal) => format!("ended by signal {signal}"),
        None => format!("exit status {}", output.status.code().unwrap_or(-1)),
    };
    let words = String::from_utf8_lossy(output.stderr.get(..4096).unwrap_or(&output.stderr));
    Err(if words.trim().is_empty() { how } else { format!("{how}: {}", words.trim()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, timeout: Option<i64>) -> Hook {
        Hook {
            path: "/bin/sh".into(),
            args: vec!["sh".into(), "-c".into(), script.into()],
            env: vec!["A=b=c".into()],
            timeout,
        }
    }

    #[test]
    fn hooks_read_the_state_and_have_their_environment_only() {
        let state = serde_json::json!({"id": "x"});
        let script =
            "read -r line; test \"$line\" = '{\"id\":\"x\"}' && test \"$A\" = b=c && test -z \"$CARGO\"";
        run("poststop", &[shell(script, None)], &state).expect("done");
    }

    /// The state is longer than a pipe holds, and nobody reads it.
    #[test]
    fn hooks_need_not_read() {
        let state = serde_json::json!({"annotations": "x".repeat(1 << 20)});
        run("createRuntime", &[shell("exec 0<&-", None), shell("exit 0", None)], &state).expect("done");
    }

    #[test]
    fn hooks_without_an_environment_have_the_given_one() {
        let mut hook = shell("test \"$B\" = c", None);
        hook.env = Vec::new();
        let state = serde_json::Value::Null;
        run_with("startContainer", std::slice::from_ref(&hook), &state, &["B=c".into()]).expect("done");
        run("prestart", &[hook], &state).expect_err("no environment");
    }

    #[test]
    fn failures_and_delays_are_told() {
        let fails = |hook| run("prestart", &[hook], &serde_json::Value::Null).expect_err("fails").to_string();
        assert_eq!(
            fails(shell("echo no >&2; exit 3", None)),
            "error running prestart hook #0: /bin/sh: exit status 3: no"
        );
        assert_eq!(
            fails(shell("exec sleep 1000", Some(1))),
            "error running prestart hook #0: /bin/sh: took longer than 1 seconds"
        );
        let missing = Hook { path: "/no/such".into(), ..Hook::default() };
        assert!(fails(missing).contains("/no/such: No such file"));
    }
}
