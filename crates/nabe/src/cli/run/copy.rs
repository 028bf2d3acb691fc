//! `nabe cp`: files into a container and out of it.
//!
//! The container's side is resolved by the kernel as the container sees it (openat2(2) with
//! RESOLVE_IN_ROOT): no link of it leads to a file of the host.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::ExitCode;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Uid};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::place::{self, Place};
use crate::cli::image;
use crate::error::{CliError, Result};

/// Deepest directory that is copied.
const DEPTH: u32 = 256;

/// Copy files into a container or out of it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nabe cp web:/etc/nginx/nginx.conf .
  nabe cp page.html web:/srv/
  nabe cp web:/var/log logs          a directory with what is in it

A directory that is there takes the file or directory below its own name. Links are copied as links;
devices, sockets and pipes are left out with a note. Owners are those of the numbers inside.

Exit status: 0 done, 1 failed, 2 wrong usage.")]
pub struct Args {
    /// NAME:PATH or a path of the host
    #[arg(value_name = "FROM")]
    from: String,
    /// A path of the host or NAME:PATH
    #[arg(value_name = "TO")]
    to: String,
    #[command(flatten)]
    place: image::Place,
}

/// One end of the way.
struct End {
    /// A container's root, or nothing for the host.
    root: Option<OwnedFd>,
    path: String,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<ExitCode> {
    let split = |text: &str| {
        let (name, path) =
            text.split_once(':').filter(|(name, _)| !name.is_empty() && !name.contains('/'))?;
        Some((name.to_owned(), path.to_owned()))
    };
    let root = args.place.root();
    let end = |text: &str| -> Result<End> {
        match split(text) {
            None => Ok(End { root: None, path: text.to_owned() }),
            Some((name, path)) => Ok(End { root: Some(root_of(&root, &name)?), path }),
        }
    };
    if split(&args.from).is_some() == split(&args.to).is_some() {
        return Err(CliError::usage("one of the two must be NAME:PATH, the other a path of the host"));
    }
    // The host's path counts from here, and looking into a container may change where we are.
    let (from, to) = (end(&args.from)?, end(&args.to)?);
    let fail = |what: &str, end: &End, error: io::Error| CliError::file(what, Path::new(&end.path), &error);
    let wanted = Path::new(&from.path).file_name().unwrap_or(OsStr::new(".")).to_owned();
    let (parent, name) = from.parent().map_err(|error| fail("open", &from, error))?;
    let target = match to.open(&to.path, OFlags::RDONLY | OFlags::DIRECTORY) {
        Ok(directory) => (directory, wanted),
        Err(_) => {
            let (directory, name) = to.parent().map_err(|error| fail("open", &to, error))?;
            (directory, name.as_os_str().to_owned())
        }
    };
    let copied = entry(parent.as_fd(), &name, target.0.as_fd(), &target.1, DEPTH);
    copied.map_err(|error| fail("copy", &from, error))?;
    Ok(ExitCode::SUCCESS)
}

/// The root of a container as its processes see it, or of one that has ended.
fn root_of(root: &Path, name: &str) -> Result<OwnedFd> {
    let found = Place::find(root, name)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let path = match found.container().filter(|_| found.is_alive()) {
        Some(container) => {
            let process = Path::new("/proc").join(container.pid().to_string());
            if place::is_ordinary() {
                // As root of the container's ids, who may read and own what is in it.
                let path = process.join("ns/user");
                let entered = File::open(&path).and_then(|user| {
                    Ok(move_into_link_name_space(user.as_fd(), Some(LinkNameSpaceType::User))?)
                });
                entered.map_err(|error| CliError::file("enter", &path, &error))?;
            }
            process.join("root")
        }
        None => {
            place::become_root()?;
            let here =
                std::env::current_dir().map_err(|error| CliError::file("read", Path::new("."), &error))?;
            let store = nabe_image::Store::open(root)?;
            let image = super::image_of(&found, &store)?;
            nabe_runtime::stage::private().map_err(|error| super::told(&error))?;
            let mounted = found.mount(&image)?;
            std::env::set_current_dir(&here).map_err(|error| CliError::file("enter", &here, &error))?;
            mounted
        }
    };
    rustix::fs::open(&path, flags, Mode::empty())
        .map_err(|error| CliError::file("open", &path, &error.into()))
}

impl End {
    fn open(&self, path: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC;
        match &self.root {
            None => rustix::fs::openat(CWD, path, flags, Mode::empty()),
            Some(root) => rustix::fs::openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT),
        }
    }

    /// The directory of the path, and the last name.
    fn parent(&self) -> io::Result<(OwnedFd, std::ffi::OsString)> {
        let path = Path::new(&self.path);
        let Some(name) = path.file_name() else {
            // The root itself, or a path that ends with `..`.
            return Ok((self.open(&self.path, OFlags::RDONLY | OFlags::DIRECTORY)?, ".".into()));
        };
        let parent = path.parent().and_then(Path::to_str).filter(|parent| !parent.is_empty()).unwrap_or(".");
        Ok((self.open(parent, OFlags::RDONLY | OFlags::DIRECTORY)?, name.to_owned()))
    }
}

/// Copies one name from a directory into another.
fn entry(
    from: BorrowedFd<'_>,
    name: &OsStr,
    to: BorrowedFd<'_>,
    as_name: &OsStr,
    depth: u32,
) -> io::Result<()> {
    let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => file(from, name, to, as_name, &stat),
        FileType::Directory => directory(from, name, to, as_name, &stat, depth),
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(from, name, Vec::new())?;
            match rustix::fs::unlinkat(to, as_name, AtFlags::empty()) {
                Ok(()) | Err(rustix::io::Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
            rustix::fs::symlinkat(target.as_c_str(), to, as_name)?;
            Ok(())
        }
        _ => {
            eprintln!("nabe: note: {} is left out: it is no file, directory or link", name.display());
            Ok(())
        }
    }
}

fn file(
    from: BorrowedFd<'_>,
    name: &OsStr,
    to: BorrowedFd<'_>,
    as_name: &OsStr,
    stat: &Stat,
) -> io::Result<()> {
    let flags = OFlags::CLOEXEC | OFlags::NOFOLLOW;
    // It may have become a pipe since.
    let mut source =
        File::from(rustix::fs::openat(from, name, flags | OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty())?);
    let making = flags | OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NONBLOCK;
    let mut target = File::from(rustix::fs::openat(to, as_name, making, Mode::from_raw_mode(0o600))?);
    io::copy(&mut source, &mut target)?;
    attributes(target.as_fd(), stat)
}

fn directory(
    from: BorrowedFd<'_>,
    name: &OsStr,
    to: BorrowedFd<'_>,
    as_name: &OsStr,
    stat: &Stat,
    depth: u32,
) -> io::Result<()> {
    if depth == 0 {
        return Err(io::Error::other("directories are nested too deeply"));
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let source = rustix::fs::openat(from, name, flags, Mode::empty())?;
    match rustix::fs::mkdirat(to, as_name, Mode::from_raw_mode(0o700)) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let target = rustix::fs::openat(to, as_name, flags, Mode::empty())?;
    content(source.as_fd(), target.as_fd(), depth)?;
    attributes(target.as_fd(), stat)
}

fn content(source: BorrowedFd<'_>, target: BorrowedFd<'_>, depth: u32) -> io::Result<()> {
    for found in Dir::read_from(source)? {
        let found = found?;
        let inner = OsStr::from_bytes(found.file_name().to_bytes());
        if inner != "." && inner != ".." {
            entry(source, inner, target, inner, depth - 1)?;
        }
    }
    Ok(())
}

/// Copies what is in a directory of a tree, its path resolved as below that tree, with the directory's own
/// attributes. One that is not there has nothing.
pub(super) fn below(tree: &Path, path: &Path, into: &Path) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let tree = rustix::fs::open(tree, flags, Mode::empty())?;
    let source = match rustix::fs::openat2(&tree, path, flags, Mode::empty(), ResolveFlags::IN_ROOT) {
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(()),
        source => source?,
    };
    let target = rustix::fs::open(into, flags, Mode::empty())?;
    content(source.as_fd(), target.as_fd(), DEPTH)?;
    attributes(target.as_fd(), &rustix::fs::fstat(&source)?)
}

fn attributes(fd: BorrowedFd<'_>, stat: &Stat) -> io::Result<()> {
    // Changing the owner takes bits of the mode away, so that comes after.
    rustix::fs::fchown(fd, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    Ok(rustix::fs::fchmod(fd, Mode::from_raw_mode(stat.st_mode & 0o7777))?)
}
