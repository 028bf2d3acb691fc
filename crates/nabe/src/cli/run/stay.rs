//! Verbs about containers made from images that are there: `logs`, `stop`, `rm`.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nabe_runtime::Status;

use super::configuration::STOP_TIMEOUT;
use super::place::{self, Place};
use crate::cli::image;
use crate::cli::oci::arguments;
use crate::error::{CliError, Result};

/// How often a container is looked at while waiting for it.
const PACE: Duration = Duration::from_millis(50);
/// How long a killed one may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Show what a detached container wrote.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nabe logs web
  nabe logs -f web

Exit status: 0 done, 1 failed, 2 wrong usage.")]
pub struct LogsArgs {
    /// Go on until the container ends
    #[arg(short, long)]
    follow: bool,
    /// The container's name
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    place: image::Place,
}

/// Runs `nabe logs`.
pub fn logs(args: &LogsArgs) -> Result<ExitCode> {
    let place = Place::find(&args.place.root(), &args.name)?;
    let path = place.path.join("log");
    let mut file = File::open(&path).map_err(|error| {
        CliError::file("open", &path, &error)
            .hint("only a container that was started with --detach has a log")
    })?;
    let mut buffer = vec![0; 64 << 10];
    loop {
        // Asked before reading: what it wrote last is then read.
        let ended = !args.follow || !place.is_alive();
        loop {
            let read = file.read(&mut buffer).map_err(|error| CliError::file("read", &path, &error))?;
            if read == 0 {
                break;
            }
            crate::output::write(buffer.get(..read).unwrap_or_default())?;
        }
        std::io::stdout().flush().map_err(|error| CliError::output(&error))?;
        if ended {
            return Ok(ExitCode::SUCCESS);
        }
        std::thread::sleep(PACE);
    }
}

/// End containers.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nabe stop web
  nabe stop -t 1 web mail

The image says which signal; it is SIGTERM otherwise.

Exit status: 0 done, 1 failed, 2 wrong usage.")]
pub struct StopArgs {
    /// Seconds until it is killed [default: its --stop-timeout, or 10]
    #[arg(short, long, value_name = "SECONDS", visible_alias = "timeout")]
    time: Option<u32>,
    /// Names of containers
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    #[command(flatten)]
    place: image::Place,
}

/// Runs `nabe stop`.
pub fn stop(args: &StopArgs) -> Result<ExitCode> {
    for name in &args.names {
        let place = Place::find(&args.place.root(), name)?;
        end(&place, args.time)?;
        crate::output::write(format!("{name}\n").as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn end(place: &Place, seconds: Option<u32>) -> Result<()> {
    let Some(container) = place.container() else { return Ok(()) };
    // Opened now: the name may go before whoever holds it does.
    let attended = File::open(place.path.join("lock")).ok();
    let wanted = container.annotations().get("org.opencontainers.image.stopSignal");
    let signal = wanted.and_then(|name| arguments::signal(name).ok()).unwrap_or(15);
    let noted = container.annotations().get(STOP_TIMEOUT).and_then(|text| text.parse().ok());
    let patience = Duration::from_secs(seconds.or(noted).unwrap_or(10).into());
    let runs = || matches!(place.status(), Some(status) if status != Status::Stopped);
    let wait = |patience: Duration| {
        let start = Instant::now();
        while runs() && start.elapsed() < patience {
            std::thread::sleep(PACE.min(patience));
        }
        !runs()
    };
    if runs() {
        // One that ended meanwhile is what was asked for.
        let _ = container.kill(signal, false);
    }
    if !wait(patience) {
        match container.kill(9, false) {
            Err(error) if runs() => return Err(super::told(&error)),
            _ => {}
        }
        if !wait(PATIENCE) {
            return Err(CliError::failed(format_args!("the container {} does not end", place.id)));
        }
    }
    // Whoever stands before it writes its exit status, leaves the network, and removes it if it is to.
    let start = Instant::now();
    while attended.as_ref().is_some_and(place::is_held) && start.elapsed() < PATIENCE {
        std::thread::sleep(PACE);
    }
    if place.path.is_dir() { place.release_network() } else { Ok(()) }
}

/// Remove containers that were made from images.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nabe rm web
  nabe rm -f web mail            also when they run; not to be there is no error

Exit status: 0 done, 1 failed, 2 wrong usage.")]
pub struct RemoveArgs {
    /// End it first when it runs
    #[arg(short, long)]
    force: bool,
    /// Names of containers
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    #[command(flatten)]
    place: image::Place,
}

/// Runs `nabe rm`.
pub fn remove(args: &RemoveArgs) -> Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    let root = args.place.root();
    place::become_root()?;
    for name in &args.names {
        let removed = match Place::find(&root, name) {
            Err(_) if args.force => continue,
            found => found.and_then(|place| place.remove(args.force, false)),
        };
        match removed {
            Ok(()) => crate::output::write(format!("{name}\n").as_bytes())?,
            // The others go nevertheless.
            Err(error) => code = error.report(),
        }
    }
    Ok(code)
}
