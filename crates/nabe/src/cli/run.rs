//! `nabe run IMAGE`: an image as a running container in one step, and the verbs about such containers.
//!
//! The image's layers are mounted in a mount namespace of our own, the runtime makes the container from a
//! configuration in memory, and this process stands before it until it ends. With `--detach` another nabe
//! does that (the *attendant*): it is this program again, told by an environment variable.

pub mod copy;
pub(crate) mod guest;
pub mod stay;

mod configuration;
mod netlink;
mod network;
mod place;
mod seccomp;

use std::error::Error as _;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

use nabe_image::{Image, Store};
use nabe_runtime::{Bundle, Container, Created, Options};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::PidfdFlags;

use super::image;
use super::oci::arguments;
use crate::error::{CliError, Result};
use configuration::Wishes;
use network::Port;
use place::Place;

pub(in crate::cli) use place::sweep;

/// Tells the attendant the container's name.
const ATTENDANT: &str = "_NABE_ATTENDS";

/// What the attendant says then.
const STARTED: &[u8; 8] = b"started\n";

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
    interactive: bool,
    /// Give it a terminal
    #[arg(short, long)]
    tty: bool,
    /// Do not wait for it; print its name
    #[arg(short, long)]
    detach: bool,
    /// Remove it when it has ended
    #[arg(long)]
    rm: bool,
    /// Show a directory or file of the host inside
    #[arg(short, long, value_name = "SRC:DST[:ro]")]
    volume: Vec<String>,
    /// Set a variable, or hand ours on
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Set the variables of a file
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// Working directory
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// As whom: names or numbers of the image
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// The container's name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Its host name [default: its name]
    #[arg(long, value_name = "NAME")]
    hostname: Option<String>,
    /// At most so much memory: 256m, 1g
    #[arg(short, long, value_name = "BYTES", value_parser = arguments::bytes)]
    memory: Option<i64>,
    /// At most so many processors: 1.5
    #[arg(long, value_name = "N")]
    cpus: Option<f64>,
    /// At most so many processes and threads
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pids_limit: Option<i64>,
    /// Leave it one more capability, or ALL
    #[arg(long, value_name = "CAP")]
    cap_add: Vec<String>,
    /// Take a capability away, or ALL
    #[arg(long, value_name = "CAP")]
    cap_drop: Vec<String>,
    /// no-new-privileges, seccomp=FILE or seccomp=unconfined
    #[arg(long, value_name = "OPTION")]
    security_opt: Vec<String>,
    /// Make the root file system read-only
    #[arg(long)]
    read_only: bool,
    /// An empty file system in memory
    #[arg(long, value_name = "PATH[:OPTIONS]")]
    tmpfs: Vec<String>,
    /// What it sees of the network
    #[arg(long, value_name = "MODE", value_enum, default_value_t = NetworkMode::Bridge)]
    network: NetworkMode,
    /// Lead a port of the host into the container
    #[arg(short, long, value_name = "[IP:]HOST:CONTAINER[/udp]")]
    publish: Vec<Port>,
    /// Name server
    #[arg(long, value_name = "IP")]
    dns: Vec<IpAddr>,
    /// Run this instead of the image's program
    #[arg(long, value_name = "PROGRAM")]
    entrypoint: Option<String>,
    /// Put an init before the program, which reaps zombies and hands signals on
    #[arg(long)]
    init: bool,
    /// All capabilities and devices, no seccomp filter, nothing masked
    #[arg(long)]
    privileged: bool,
    /// When the image is pulled
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = image::PullPolicy::Missing)]
    pull: image::PullPolicy,
    #[command(flatten)]
    fetch: image::Fetch,
    /// The image, then the program and its arguments
    #[arg(value_name = "IMAGE [CMD]", required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

/// What went wrong, by the exit status that it gives.
enum Failure {
    Cli(CliError),
    Runtime(nabe_runtime::Error),
}

impl From<CliError> for Failure {
    fn from(error: CliError) -> Self {
        Self::Cli(error)
    }
}

impl From<nabe_runtime::Error> for Failure {
    fn from(error: nabe_runtime::Error) -> Self {
        Self::Runtime(error)
    }
}

/// A runtime's error in words.
fn told(error: &nabe_runtime::Error) -> CliError {
    let failed = CliError::failed(error);
    match error.source() {
        Some(cause) => failed.because(cause),
        None => failed,
    }
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<ExitCode> {
    Ok(ExitCode::from(perform(args).unwrap_or_else(|failure| {
        let (error, code) = match failure {
            Failure::Cli(error) => (error, 125),
            Failure::Runtime(error) => (told(&error), error.exit_code()),
        };
        error.report();
        code
    })))
}

fn perform(args: &Args) -> Result<u8, Failure> {
    nabe_runtime::protect()?;
    let wishes = Wishes::of(args)?;
    check(args)?;
    let root = args.fetch.place.root();
    let store = args.fetch.place.store()?;
    let text = args.words.first().map(String::as_str).unwrap_or_default();
    let found = args.fetch.image(&store, text, args.pull)?;
    if let Ok(name) = std::env::var(ATTENDANT) {
        return attendant(args, &wishes, &Place::of(&root, &name)?, &found);
    }
    let name = args.name.clone().map_or_else(new_name, Ok)?;
    let place = Place::of(&root, &name)?;
    if args.detach {
        return detach(&place);
    }
    if !args.interactive {
        let nothing = File::open("/dev/null").and_then(|file| Ok(rustix::stdio::dup2_stdin(&file)?));
        nothing.map_err(|error| CliError::file("open", Path::new("/dev/null"), &error))?;
    }
    stand(args, &wishes, &place, &found, || {})
}

fn check(args: &Args) -> Result<()> {
    if !rustix::process::geteuid().is_root() || std::env::var_os("NABE_ROOTLESS").is_some() {
        return Err(CliError::failed("running an image needs root (CAP_SYS_ADMIN: it mounts the layers)")
            .hint("an ordinary user unpacks it (`nabe unpack IMAGE DIR`) and runs the bundle (`nabe run --bundle`)"));
    }
    if !args.publish.is_empty() && args.network != NetworkMode::Bridge {
        return Err(CliError::usage("--publish needs --network bridge"));
    }
    Ok(())
}

/// Twelve hexadecimal digits.
fn new_name() -> Result<String> {
    let mut bytes = [0; 6];
    let path = Path::new("/dev/urandom");
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(|error| CliError::file("read", path, &error))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Starts the attendant, and waits until the container's program runs.
fn detach(place: &Place) -> Result<u8, Failure> {
    let failed =
        |error: &io::Error| CliError::failed("cannot start the container's attendant").because(error);
    let mut command = Command::new("/proc/self/exe");
    command.args(std::env::args_os().skip(1)).env(ATTENDANT, &place.id);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(|error| failed(&error))?;
    if has_started(&mut child).map_err(|error| failed(&error))? {
        crate::output::write(format!("{}\n", place.id).as_bytes())?;
        return Ok(0);
    }
    // It has said why.
    let status = child.wait().map_err(|error| failed(&error))?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).filter(|code| *code != 0).unwrap_or(125))
}

/// Whether the attendant says so. Its end is looked at, too: a container that is never started keeps the
/// other end of the pipe open.
fn has_started(child: &mut Child) -> io::Result<bool> {
    let Some(mut output) = child.stdout.take() else { return Ok(false) };
    let pidfd = rustix::process::pidfd_open(rustix::process::Pid::from_child(child), PidfdFlags::empty())?;
    let readable = loop {
        let mut fds = [PollFd::new(&output, PollFlags::IN), PollFd::new(&pidfd, PollFlags::IN)];
        match poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other.map(|_| fds[0].revents().contains(PollFlags::IN))?,
        }
    };
    let mut word = [0; STARTED.len()];
    Ok(readable && output.read_exact(&mut word).is_ok() && word == *STARTED)
}

/// The attendant's part: its words and the program's go to the log once the container is made.
fn attendant(args: &Args, wishes: &Wishes, place: &Place, image: &Image) -> Result<u8, Failure> {
    let failed =
        |error: io::Error| CliError::failed("cannot become the container's attendant").because(&error);
    rustix::process::setsid().map_err(|error| failed(error.into()))?;
    let keep = |fd| rustix::io::fcntl_dupfd_cloexec(fd, 3).map_err(|error| failed(error.into()));
    let (to_caller, complaints) = (keep(rustix::stdio::stdout())?, keep(rustix::stdio::stderr())?);
    // A terminal whose input ended would tell that to the program; this one never ends.
    let (reader, _writer) = io::pipe().map_err(failed)?;
    if args.tty {
        rustix::stdio::dup2_stdin(&reader).map_err(|error| failed(error.into()))?;
    }
    drop(reader);
    let mut ends = Some((to_caller, complaints));
    let result = stand_logged(args, wishes, place, image, &mut ends);
    if let Some((_, complaints)) = &ends {
        rustix::stdio::dup2_stderr(complaints).map_err(|error| failed(error.into()))?;
    }
    result
}

fn stand_logged(
    args: &Args,
    wishes: &Wishes,
    place: &Place,
    image: &Image,
    ends: &mut Option<(OwnedFd, OwnedFd)>,
) -> Result<u8, Failure> {
    stand(args, wishes, place, image, || {
        if let Some((to_caller, _)) = ends.take() {
            // A caller who is gone does not mind.
            File::from(to_caller).write_all(STARTED).ok();
        }
    })
}

/// Makes the container, runs it to its end, and leaves what is to be left.
fn stand(
    args: &Args,
    wishes: &Wishes,
    place: &Place,
    image: &Image,
    started: impl FnOnce(),
) -> Result<u8, Failure> {
    let lock = place.make()?;
    let ran = make(args, wishes, place, image).and_then(|created| {
        for warning in &created.warnings {
            eprintln!("nabe: note: {warning}");
        }
        nabe_runtime::hold_signals();
        created.container.start()?;
        place.note("made", "")?;
        started();
        Ok(created.container.attend(created.terminal)?)
    });
    let code = match ran {
        Ok(code) => code,
        Err(failure) => {
            // The first failure is the one to be told.
            place.remove(true, true).ok();
            return Err(failure);
        }
    };
    // Somebody may have removed it meanwhile.
    if place.path.is_dir() {
        place.note("exit", &format!("{code}\n"))?;
    }
    if args.rm {
        place.remove(true, true)?;
    } else {
        place.release_network()?;
    }
    drop(lock);
    Ok(code)
}

/// Everything until the program could start.
fn make(args: &Args, wishes: &Wishes, place: &Place, image: &Image) -> Result<Created, Failure> {
    if args.rm {
        place.note("remove", "")?;
    }
    place.note("image", &image.id.manifest.to_string())?;
    image.store().lease(image, &place.id).map_err(CliError::from)?;
    nabe_runtime::stage::private()?;
    place.mount(image)?;
    let lease = match args.network {
        NetworkMode::Bridge => Some(place.network().reserve(&place.id, &args.publish, |id| place.alive(id))?),
        _ => None,
    };
    let spec = configuration::spec(args, wishes, image, place, lease.as_ref().map(|lease| lease.address))?;
    if args.detach {
        let path = place.path.join("log");
        let log = File::options().create(true).append(true).open(&path);
        let log =
            log.and_then(|log| Ok((rustix::stdio::dup2_stdout(&log)?, rustix::stdio::dup2_stderr(&log)?)));
        log.map_err(|error| CliError::file("open", &path, &error))?;
    }
    let options = Options { detach: false, init: args.init, ..Options::default() };
    let created = Container::create(&place.id, &Bundle::of(&place.path, spec)?, &options)?;
    if let Some(lease) = &lease {
        place.network().plug(&place.id, lease, created.container.pid())?;
    }
    Ok(created)
}

/// The image of a container that is there.
fn image_of(place: &Place, store: &Store) -> Result<Image> {
    let path = place.path.join("image");
    let digest = std::fs::read_to_string(&path).map_err(|error| CliError::file("read", &path, &error))?;
    Ok(store.image(&store.resolve(digest.trim())?)?)
}
