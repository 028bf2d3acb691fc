//! The options of `nabe run IMAGE`: Docker's, as far as they are there.

use std::net::IpAddr;
use std::path::PathBuf;

use super::network::{Port, Ports};
use super::place;
use crate::cli::image;
use crate::cli::oci::arguments as words;
use crate::error::{CliError, Result};

/// What a container sees of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum NetworkMode {
    /// Nothing but itself
    None,
    /// What the host sees
    Host,
    /// A subnet of nabe's, with ways out
    Bridge,
}

/// Run an image, or a bundle with --bundle.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nabe run -it --rm busybox sh
  nabe run -d --name web -p 8080:80 -v ./site:/srv:ro nginx
  nabe run --rm --network none --read-only --tmpfs /tmp --memory 64m --cpus 0.5 --pids-limit 20 mine
  nabe run --bundle DIR ID           the OCI runtime's own run: `nabe run --bundle DIR --help`

An image that is not in the store is pulled. Without options a container may as little as Docker's:
14 capabilities, its seccomp profile, masked paths. `nabe logs`, `exec`, `cp`, `stop` and `rm` take the name.

Exit status: the program's; 125 nabe failed, 126 the program cannot be executed, 127 it is not there.")]
pub struct Args {
    /// Keep standard input open
    #[arg(short, long)]
    pub(super) interactive: bool,
    /// Give it a terminal
    #[arg(short, long)]
    pub(super) tty: bool,
    /// Do not wait for it; print its name
    #[arg(short, long)]
    pub(super) detach: bool,
    /// Remove it when it has ended
    #[arg(long)]
    pub(super) rm: bool,
    /// Show a directory or file of the host, or a named volume, inside
    #[arg(short, long, value_name = "SRC:DST[:OPTIONS]")]
    pub(super) volume: Vec<String>,
    /// Set a variable, or hand ours on
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub(super) env: Vec<String>,
    /// Set the variables of a file
    #[arg(long, value_name = "FILE")]
    pub(super) env_file: Vec<PathBuf>,
    /// Working directory
    #[arg(short, long, value_name = "DIR")]
    pub(super) workdir: Option<String>,
    /// As whom: names or numbers of the image
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub(super) user: Option<String>,
    /// The container's name
    #[arg(long, value_name = "NAME")]
    pub(super) name: Option<String>,
    /// Its host name [default: its name]
    #[arg(long, value_name = "NAME", value_parser = host_name)]
    pub(super) hostname: Option<String>,
    /// Another name by which the containers of the bridge know it
    #[arg(long, value_name = "NAME", value_parser = host_name)]
    pub(super) network_alias: Vec<String>,
    /// At most so much memory: 256m, 1g
    #[arg(short, long, value_name = "BYTES", value_parser = words::bytes)]
    pub(super) memory: Option<i64>,
    /// At most so many processors: 1.5
    #[arg(long, value_name = "N")]
    pub(super) cpus: Option<f64>,
    /// At most so many processes and threads
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub(super) pids_limit: Option<i64>,
    /// Leave it one more capability, or ALL
    #[arg(long, value_name = "CAP")]
    pub(super) cap_add: Vec<String>,
    /// Take a capability away, or ALL
    #[arg(long, value_name = "CAP")]
    pub(super) cap_drop: Vec<String>,
    /// no-new-privileges, seccomp=FILE or seccomp=unconfined
    #[arg(long, value_name = "OPTION")]
    pub(super) security_opt: Vec<String>,
    /// Make the root file system read-only
    #[arg(long)]
    pub(super) read_only: bool,
    /// An empty file system in memory
    #[arg(long, value_name = "PATH[:OPTIONS]")]
    pub(super) tmpfs: Vec<String>,
    /// What it sees of the network [default: bridge; none for an ordinary user]
    #[arg(long, alias = "net", value_name = "MODE", value_enum)]
    pub(super) network: Option<NetworkMode>,
    /// Lead a port of the host into the container
    #[arg(short, long, value_name = "[IP:]HOST:CONTAINER[/udp]")]
    pub(super) publish: Vec<Ports>,
    /// Name server
    #[arg(long, value_name = "IP")]
    pub(super) dns: Vec<IpAddr>,
    /// Run this instead of the image's program
    #[arg(long, value_name = "PROGRAM")]
    pub(super) entrypoint: Option<String>,
    /// The same in words: type=bind|volume|tmpfs,source=SRC,target=DST[,readonly]
    #[arg(long, value_name = "WORDS")]
    pub(super) mount: Vec<String>,
    /// A line for /etc/hosts
    #[arg(long, value_name = "NAME:IP")]
    pub(super) add_host: Vec<String>,
    /// Domain that is searched
    #[arg(long, value_name = "DOMAIN")]
    pub(super) dns_search: Vec<String>,
    /// Write its name into this file, which must not be there
    #[arg(long, value_name = "FILE")]
    pub(super) cidfile: Option<PathBuf>,
    /// A word about it, which `nabe ps` shows
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(super) label: Vec<String>,
    /// Let it use a device of the host
    #[arg(long, value_name = "HOST[:INSIDE[:rwm]]")]
    pub(super) device: Vec<String>,
    /// One more group for its user
    #[arg(long, value_name = "GROUP")]
    pub(super) group_add: Vec<String>,
    /// Size of /dev/shm
    #[arg(long, value_name = "BYTES", value_parser = words::bytes)]
    pub(super) shm_size: Option<i64>,
    /// A limit of setrlimit(2): nofile=1024:2048
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    pub(super) ulimit: Vec<String>,
    /// Set a parameter of the container's own kernel parameters
    #[arg(long, value_name = "NAME=VALUE")]
    pub(super) sysctl: Vec<String>,
    /// The signal by which it is stopped
    #[arg(long, value_name = "SIGNAL")]
    pub(super) stop_signal: Option<String>,
    /// Seconds that `nabe stop` waits
    #[arg(long, value_name = "SECONDS")]
    pub(super) stop_timeout: Option<u32>,
    /// Share the host's processes
    #[arg(long, value_name = "MODE", value_parser = ["host", "private"])]
    pub(super) pid: Option<String>,
    /// Share the host's shared memory and message queues
    #[arg(long, value_name = "MODE", value_parser = ["host", "private"])]
    pub(super) ipc: Option<String>,
    /// Share the host's name
    #[arg(long, value_name = "MODE", value_parser = ["host", "private"])]
    pub(super) uts: Option<String>,
    /// Memory and swap together; -1 is without end
    #[arg(long, value_name = "BYTES", value_parser = words::bytes, allow_hyphen_values = true)]
    pub(super) memory_swap: Option<i64>,
    /// Its weight among others that want the processors: 1024 is usual
    #[arg(long, value_name = "N")]
    pub(super) cpu_shares: Option<u64>,
    /// Which processors: 0-3,5
    #[arg(long, value_name = "LIST")]
    pub(super) cpuset_cpus: Option<String>,
    /// How readily it is killed when memory is short: -1000 to 1000
    #[arg(long, value_name = "N", allow_hyphen_values = true, value_parser = clap::value_parser!(i32).range(-1000..=1000))]
    pub(super) oom_score_adj: Option<i32>,
    /// Put an init before the program, which reaps zombies and hands signals on
    #[arg(long)]
    pub(super) init: bool,
    /// All capabilities and devices, no seccomp filter, nothing masked
    #[arg(long)]
    pub(super) privileged: bool,
    /// When the image is pulled
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = image::PullPolicy::Missing)]
    pub(super) pull: image::PullPolicy,
    #[command(flatten)]
    pub(super) fetch: image::Fetch,
    #[command(flatten)]
    refused: Refused,
    /// The image, then the program and its arguments
    #[arg(value_name = "IMAGE [CMD]", required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub(super) words: Vec<String>,
}

/// A name for files such as `/etc/hosts`.
fn host_name(word: &str) -> Result<String, String> {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if !word.is_empty() && word.len() <= 64 && word.bytes().all(fine) {
        return Ok(word.into());
    }
    Err("a host name has letters, digits and - _ . only, and at most 64 of them".into())
}

/// Options of Docker's that are not there, so that they are refused in a sentence.
#[derive(Debug, clap::Args)]
struct Refused {
    #[arg(long, hide = true, value_name = "POLICY")]
    restart: Option<String>,
    #[arg(long, hide = true, value_name = "NAME")]
    link: Vec<String>,
    #[arg(long, hide = true, value_name = "NAME")]
    volumes_from: Vec<String>,
    #[arg(long, hide = true, value_name = "NAME")]
    log_driver: Option<String>,
    #[arg(long, hide = true, value_name = "DEVICES")]
    gpus: Option<String>,
    #[arg(long, hide = true, value_name = "COMMAND")]
    health_cmd: Option<String>,
    #[arg(long, hide = true, value_name = "MODE")]
    userns: Option<String>,
    #[arg(short = 'P', long, hide = true)]
    publish_all: bool,
}

impl Refused {
    fn check(&self) -> Result<()> {
        let given = [
            (
                !matches!(self.restart.as_deref(), None | Some("no")),
                "--restart",
                "nobody watches containers; let a service manager run `nabe run`",
            ),
            (
                !self.link.is_empty(),
                "--link",
                "containers of the bridge know each other by name; --network-alias gives another one",
            ),
            (!self.volumes_from.is_empty(), "--volumes-from", "give the same -v to both"),
            (
                !matches!(self.log_driver.as_deref(), None | Some("json-file" | "local")),
                "--log-driver",
                "what a detached container writes is in one file; `nabe logs` shows it",
            ),
            (self.gpus.is_some(), "--gpus", "name the devices with --device"),
            (
                self.health_cmd.is_some(),
                "--health-cmd",
                "nobody asks containers for their health; use `nabe exec`",
            ),
            (
                self.userns.as_deref().is_some_and(|mode| mode != "host"),
                "--userns",
                "`nabe unpack --uid-map` and a bundle do that",
            ),
            (self.publish_all, "--publish-all", "name the ports with -p"),
        ];
        match given.iter().find(|(given, ..)| *given) {
            Some((_, option, instead)) => {
                Err(CliError::usage(format_args!("{option} is not there")).hint(instead))
            }
            None => Ok(()),
        }
    }
}

impl Args {
    /// What a container of this id is called beside that.
    pub(super) fn other_names(&self, id: &str) -> Vec<String> {
        let all = self.hostname.iter().chain(&self.network_alias);
        all.filter(|name| *name != id).cloned().collect()
    }

    /// Refuses what cannot be, before anything is done.
    pub(super) fn check(&self) -> Result<()> {
        self.refused.check()?;
        if place::is_ordinary() && self.network == Some(NetworkMode::Bridge) {
            return Err(CliError::failed("a bridge network needs root (CAP_NET_ADMIN)")
                .hint("an ordinary user has --network none and --network host"));
        }
        if !self.publish.is_empty() && self.network() != NetworkMode::Bridge {
            return Err(CliError::usage("--publish needs --network bridge"));
        }
        Ok(())
    }

    /// Ports of the host that lead into the container.
    pub(super) fn ports(&self) -> Vec<Port> {
        self.publish.iter().flat_map(|ports| ports.0.iter().cloned()).collect()
    }

    /// What it sees of the network.
    pub(super) fn network(&self) -> NetworkMode {
        let usual = if place::is_ordinary() { NetworkMode::None } else { NetworkMode::Bridge };
        self.network.unwrap_or(usual)
    }
}
