//! `nabe exec`: another program in a container that runs.

use std::path::PathBuf;
use std::process::ExitCode;

use nabe_runtime::Exec;
use nabe_runtime::spec::{self, Capabilities, Process};

use super::report::Log;
use super::{Failure, Global, arguments};

/// Run another program in a container.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nabe exec web ps aux
  nabe exec -t -u 1000:1000 --cwd /srv web sh
  nabe exec --process process.json -d --pid-file p web

Exit status: the program's; 125 nabe failed, 126 the program cannot be executed, 127 it is not there.")]
pub struct Args {
    /// Unix socket that takes the master of the terminal
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,
    /// Working directory in the container
    #[arg(long, value_name = "DIR")]
    cwd: Option<PathBuf>,
    /// Set a variable, NAME=VALUE
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Give it a terminal
    #[arg(short, long)]
    tty: bool,
    /// For compatibility: standard input is always there
    #[arg(short, long, hide = true)]
    interactive: bool,
    /// As whom: UID or UID:GID
    #[arg(short, long, value_name = "UID[:GID]", value_parser = arguments::user)]
    user: Option<(u32, Option<u32>)>,
    /// Supplementary group
    #[arg(short = 'g', long, value_name = "GID")]
    additional_gids: Vec<u32>,
    /// Take the process from a JSON file
    #[arg(short, long, value_name = "FILE")]
    process: Option<PathBuf>,
    /// Do not wait for it
    #[arg(short, long)]
    detach: bool,
    /// Write its pid there
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// SELinux label
    #[arg(long, value_name = "LABEL")]
    process_label: Option<String>,
    /// AppArmor profile
    #[arg(long, value_name = "PROFILE")]
    apparmor: Option<String>,
    /// Set no_new_privs
    #[arg(long)]
    no_new_privs: bool,
    /// Add a capability
    #[arg(short, long, value_name = "CAP")]
    cap: Vec<String>,
    /// Give it so many more descriptors, from 3 on
    #[arg(long, value_name = "N", default_value_t = 0)]
    preserve_fds: u32,
    /// Also when the container is paused
    #[arg(long)]
    ignore_paused: bool,
    /// Put it into a cgroup below the container's; of v1 controllers CONTROLLER,…:PATH
    #[arg(long, value_name = "PATH")]
    cgroup: Vec<String>,
    /// Unix socket that takes a descriptor of it (a pidfd)
    #[arg(long, value_name = "SOCKET")]
    pidfd_socket: Option<PathBuf>,
    /// The container's id, then the program and its arguments
    #[arg(value_name = "ID PROGRAM", required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

/// Runs the verb.
pub(super) fn run(args: &Args, global: &Global, log: &Log) -> Result<ExitCode, Failure> {
    nabe_runtime::protect()?;
    let (id, program) = args.words.split_first().ok_or(Failure::Refused("no container is named"))?;
    let container = global.load(id)?;
    let process = match &args.process {
        Some(path) => spec::parse(path, &spec::read(path)?)?,
        None => process(args, program, container.spec()?.process.unwrap_or_default())?,
    };
    let exec = Exec {
        process,
        console_socket: args.console_socket.clone(),
        pidfd_socket: args.pidfd_socket.clone(),
        pid_file: args.pid_file.clone(),
        cgroups: args.cgroup.clone(),
        detach: args.detach,
        preserve_fds: args.preserve_fds,
        ignore_paused: args.ignore_paused,
    };
    nabe_runtime::close_inherited(args.preserve_fds);
    let executed = container.exec(&exec)?;
    log.notes(&executed.warnings);
    if args.detach {
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::from(nabe_runtime::attend(executed.pid, executed.terminal)?))
}

/// The container's own process with what the options change.
fn process(args: &Args, program: &[String], mut process: Process) -> Result<Process, Failure> {
    if program.is_empty() {
        return Err(Failure::Usage("no program is given: nabe exec ID PROGRAM".into()));
    }
    process.args = program.to_vec();
    process.terminal = args.tty;
    process.console_size = None;
    if let Some(cwd) = &args.cwd {
        process.cwd.clone_from(cwd);
    }
    process.env.extend(args.env.iter().cloned());
    if let Some((uid, gid)) = args.user {
        process.user.uid = uid;
        process.user.gid = gid.unwrap_or(process.user.gid);
    }
    process.user.additional_gids.extend(&args.additional_gids);
    if let Some(label) = &args.process_label {
        process.selinux_label.clone_from(label);
    }
    if let Some(profile) = &args.apparmor {
        process.apparmor_profile.clone_from(profile);
    }
    process.no_new_privileges |= args.no_new_privs;
    if !args.cap.is_empty() {
        let sets = process.capabilities.get_or_insert_with(Capabilities::default);
        // As runc: a capability that is added is inheritable and ambient only where others are already.
        let ambient = !sets.ambient.is_empty();
        let inheritable = !sets.inheritable.is_empty();
        for cap in &args.cap {
            sets.bounding.push(cap.clone());
            sets.effective.push(cap.clone());
            sets.permitted.push(cap.clone());
            if inheritable {
                sets.inheritable.push(cap.clone());
            }
            if ambient {
                sets.ambient.push(cap.clone());
            }
        }
    }
    Ok(process)
}
