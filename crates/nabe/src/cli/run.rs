//! `nabe run IMAGE`: an image as a running container in one step, and the verbs about such containers.
//!
//! The image's layers are mounted in a mount namespace of our own, the runtime makes the container from a
//! configuration in memory, and this process stands before it until it ends. With `--detach` another nabe
//! does that (the *attendant*): it is this program again, told by an environment variable.

pub mod copy;
pub(crate) mod guest;
pub mod stay;
pub mod volume;

mod arguments;
mod configuration;
mod netlink;
mod network;
mod place;
mod resource;
mod seccomp;

use std::error::Error as _;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};

use nabe_image::{Image, Store};
use nabe_runtime::{Bundle, Container, Created, Options};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::PidfdFlags;

use super::image;
use crate::error::{CliError, Result};
use configuration::Wishes;

pub use arguments::Args;
use arguments::NetworkMode;
use place::Place;

pub(in crate::cli) use place::sweep;

/// Tells the attendant the container's name.
const ATTENDANT: &str = "_NABE_ATTENDS";

/// What the attendant says then.
const STARTED: &[u8; 8] = b"started\n";

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
    args.check()?;
    let root = args.fetch.place.root();
    let store = args.fetch.place.own_store()?;
    let text = args.words.first().map(String::as_str).unwrap_or_default();
    let attends = std::env::var(ATTENDANT).ok();
    // Pulled already by whoever started the attendant.
    let policy = if attends.is_some() { image::PullPolicy::Missing } else { args.pull };
    let found = args.fetch.image(&store, text, policy)?;
    if let Some(name) = attends {
        return attendant(args, &wishes, &Place::of(&root, &name)?, &found);
    }
    let name = args.name.clone().map_or_else(new_name, Ok)?;
    let place = Place::of(&root, &name)?;
    if let Some(path) = &args.cidfile {
        let file = File::options().create_new(true).write(true).open(path);
        let written = file.and_then(|mut file| file.write_all(name.as_bytes()));
        written.map_err(|error| CliError::file("write", path, &error))?;
    }
    if place::is_ordinary() && args.network.is_none() && !args.fetch.is_quiet() {
        eprintln!(
            "nabe: note: no network: an ordinary user makes no bridge; --network host takes the host's"
        );
    }
    let ran = if args.detach { detach(&place) } else { before_it(args, &wishes, &place, &found) };
    if let Some(path) = args.cidfile.as_ref().filter(|_| !place.path.exists() && ran.is_err()) {
        std::fs::remove_file(path).ok();
    }
    ran
}

/// Stands before it in the foreground.
fn before_it(args: &Args, wishes: &Wishes, place: &Place, image: &Image) -> Result<u8, Failure> {
    if !args.interactive {
        let nothing = File::open("/dev/null").and_then(|file| Ok(rustix::stdio::dup2_stdin(&file)?));
        nothing.map_err(|error| CliError::file("open", Path::new("/dev/null"), &error))?;
    }
    stand(args, wishes, place, image, || {})
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
    place::become_root()?;
    nabe_runtime::stage::private()?;
    place.mount(image)?;
    let lease = match args.network() {
        NetworkMode::Bridge => {
            let names = args.other_names(&place.id);
            Some(place.network().reserve(&place.id, names, &args.ports(), |id| place.alive(id))?)
        }
        _ => None,
    };
    let spec = configuration::spec(args, wishes, image, place, lease.as_ref())?;
    if args.detach {
        let path = place.path.join("log");
        let log = File::options().create(true).append(true).open(&path);
        let log =
            log.and_then(|log| Ok((rustix::stdio::dup2_stdout(&log)?, rustix::stdio::dup2_stderr(&log)?)));
        log.map_err(|error| CliError::file("open", &path, &error))?;
    }
    let options = Options { root: place::states(), detach: false, init: args.init, ..Options::default() };
    // Whoever called us may have left files open; no container is to find them.
    nabe_runtime::close_given();
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
