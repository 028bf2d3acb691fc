//! Terminals: handing a master over, making a slave one's own, and standing between two of them.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::OFlags;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::termios::{OptionalActions, Termios, Winsize};

use crate::channel::send_fds;
use crate::container::Options;
use crate::error::{Context as _, Error, Result};
use crate::spec::ConsoleSize;
use crate::sys;

/// Whether the terminal that is asked for has somewhere to go.
pub(crate) fn check(terminal: bool, options: &Options) -> Result<()> {
    match (terminal, &options.console_socket) {
        (true, None) if options.detach => Err(Error::Refused(
            "cannot allocate a terminal: process.terminal is set, so a detached container needs --console-socket".into(),
        )),
        (false, Some(_)) => Err(Error::Refused(
            "cannot use a console socket: process.terminal is not set in the configuration".into(),
        )),
        _ => Ok(()),
    }
}

/// Sends a master to whoever listens on this socket, as runc does: its name is the message.
pub(crate) fn hand_over(master: &OwnedFd, path: &Path) -> Result<()> {
    send_to(path, b"/dev/ptmx", master.as_fd())
        .step(|| format!("hand the terminal over to {}", path.display()))
}

/// Sends a message with one descriptor to a stream socket, whatever the length of its path.
pub(crate) fn send_to(path: &Path, message: &[u8], fd: BorrowedFd<'_>) -> io::Result<()> {
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    let place = sys::open_path(path, OFlags::empty())?;
    let address = SocketAddrUnix::new(sys::proc_path(place.as_fd()).as_c_str())?;
    rustix::net::connect(&socket, &address)?;
    send_fds(&socket, message, &[fd])
}

/// Makes the slave the controlling terminal and the first three descriptors. Needs a session of its own.
pub(crate) fn adopt(slave: &OwnedFd, size: Option<&ConsoleSize>) -> Result<()> {
    let what = || "take the terminal".to_owned();
    rustix::stdio::dup2_stdin(slave).step(what)?;
    rustix::stdio::dup2_stdout(slave).step(what)?;
    rustix::stdio::dup2_stderr(slave).step(what)?;
    sys::take_terminal().step(what)?;
    resize(slave, size);
    Ok(())
}

/// Sets a size, if one is given.
pub(crate) fn resize(terminal: &OwnedFd, size: Option<&ConsoleSize>) {
    if let Some(size) = size.filter(|size| size.width > 0 && size.height > 0) {
        let size = Winsize { ws_row: size.height, ws_col: size.width, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(terminal, size).ok();
    }
}

/// Our own terminal in raw mode until this is dropped.
#[derive(Debug)]
pub(crate) struct Raw(Option<Termios>);

impl Raw {
    pub(crate) fn enter() -> Self {
        let saved = rustix::termios::tcgetattr(rustix::stdio::stdin()).ok();
        if let Some(saved) = &saved {
            let mut raw = saved.clone();
            raw.make_raw();
            rustix::termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &raw).ok();
        }
        Self(saved)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(saved) = &self.0 {
            rustix::termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Drain, saved).ok();
        }
    }
}

/// Gives the container's terminal our own one's size.
pub(crate) fn follow_size(master: &OwnedFd) {
    for own in [rustix::stdio::stdin(), rustix::stdio::stdout()] {
        if let Ok(size) = rustix::termios::tcgetwinsize(own) {
            rustix::termios::tcsetwinsize(master, size).ok();
            return;
        }
    }
}

/// Readies a master for [`attend`], before the program can ask or write.
pub(crate) fn keep(master: &OwnedFd) {
    follow_size(master);
    if !rustix::termios::isatty(rustix::stdio::stdout()) {
        plain_newlines(master);
    }
}

/// Leaves line ends alone: what is not a terminal in raw mode does not want a carriage return before each.
fn plain_newlines(terminal: &OwnedFd) {
    if let Ok(mut mode) = rustix::termios::tcgetattr(terminal) {
        mode.output_modes.remove(rustix::termios::OutputModes::ONLCR);
        rustix::termios::tcsetattr(terminal, OptionalActions::Now, &mode).ok();
    }
}

fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(0) => return false,
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => {
                poll(&mut [PollFd::from_borrowed_fd(to, PollFlags::OUT)], None).ok();
            }
            Err(_) => return false,
        }
    }
    true
}

/// Stands before a child: hands signals on, copies its terminal if it has one, and gives its wait status.
pub(crate) fn attend(pid: i32, master: Option<OwnedFd>, hand_on: impl Fn(i32)) -> Result<i32> {
    let what = || "wait for the container".to_owned();
    let signals = sys::all_signals().step(what)?;
    let raw = master.as_ref().map(|_| Raw::enter());
    if let Some(master) = &master {
        follow_size(master);
    }
    let mut copying = master.is_some();
    let mut reading = copying;
    let mut ended = None;
    // It may have ended before we listened.
    if let Some((_, status)) = sys::wait(pid, libc::WNOHANG).step(what)? {
        ended = Some(status);
    }
    while ended.is_none() {
        let mut fds = vec![PollFd::new(&signals, PollFlags::IN)];
        let input = rustix::stdio::stdin();
        if let Some(master) = master.as_ref().filter(|_| copying) {
            fds.push(PollFd::new(master, PollFlags::IN));
            if reading {
                fds.push(PollFd::from_borrowed_fd(input, PollFlags::IN));
            }
        }
        poll(&mut fds, None).ok();
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(fds);
        while let Some(signal) = sys::next_signal(signals.as_fd()) {
            match (signal, &master) {
                (libc::SIGCHLD, _) => {
                    while let Ok(Some((child, status))) = sys::wait(-1, libc::WNOHANG) {
                        if child == pid {
                            ended = Some(status);
                        }
                    }
                }
                (libc::SIGWINCH, Some(master)) => follow_size(master),
                // Our own job control, and the pipe's end.
                (libc::SIGPIPE | libc::SIGTTIN | libc::SIGTTOU | libc::SIGURG, _) => {}
                (signal, _) => hand_on(signal),
            }
        }
        if let Some(master) = &master {
            if ready.get(1) == Some(&true) {
                copying = pass(master.as_fd(), rustix::stdio::stdout());
            }
            if ready.get(2) == Some(&true) {
                reading = pass(input, master.as_fd());
                if !reading {
                    // End of input, as a terminal says it.
                    write_all(master.as_fd(), &[4]);
                }
            }
        }
    }
    if let Some(master) = &master {
        drain(master);
    }
    drop(raw);
    Ok(ended.unwrap_or_default())
}

/// Copies what is there once. False at the end.
fn pass(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> bool {
    let mut bytes = [0; 8192];
    match rustix::io::read(from, &mut bytes) {
        Ok(0) => false,
        Ok(length) => write_all(to, bytes.get(..length).unwrap_or_default()),
        Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => true,
        Err(_) => false,
    }
}

/// What is still in a terminal whose last user has gone.
fn drain(master: &OwnedFd) {
    rustix::io::ioctl_fionbio(master, true).ok();
    let mut bytes = [0; 8192];
    while let Ok(length @ 1..) = rustix::io::read(master, &mut bytes) {
        if !write_all(rustix::stdio::stdout(), bytes.get(..length).unwrap_or_default()) {
            return;
        }
    }
}
