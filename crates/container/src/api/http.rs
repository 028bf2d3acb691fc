//! One GET over a unix socket: every step bounded by one deadline, the answer
//! by a size.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType};

/// The largest answer that is read.
const MAX_RESPONSE: usize = 64 << 20;
/// The largest head of an answer.
const MAX_HEAD: usize = 64 << 10;
const MAX_HEADERS: usize = 64;

/// Why a socket gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// No socket there.
    #[error("does not exist")]
    Missing,
    /// A socket without a listener.
    #[error("refused the connection: the daemon does not run")]
    Refused,
    /// Not ours to open.
    #[error("cannot be opened: permission denied")]
    Denied,
    /// Nothing, or not all, within the deadline.
    #[error("did not answer within {0} ms")]
    Timeout(u128),
    /// More than we take.
    #[error("answered with more than {} MiB", MAX_RESPONSE >> 20)]
    TooLarge,
    /// Not HTTP, or not the JSON that was asked for.
    #[error("answered with something that is not {0}")]
    Garbage(&'static str),
    /// An HTTP error.
    #[error("answered with status {0}")]
    Status(u16),
    /// The connection broke.
    #[error("failed: {0}")]
    Io(Errno),
}

/// A deadline and the time that it allowed at first, for messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    pub(crate) until: Instant,
    pub(crate) allowed_ms: u128,
}

impl Deadline {
    /// So long from now, an hour at most.
    pub(crate) fn after(allowed: Duration) -> Deadline {
        let allowed = allowed.min(Duration::from_secs(3600));
        Deadline { until: Instant::now() + allowed, allowed_ms: allowed.as_millis() }
    }

    fn left(&self) -> Result<Timespec, AskError> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(AskError::Timeout(self.allowed_ms));
        }
        Timespec::try_from(left).map_err(|_| AskError::Timeout(self.allowed_ms))
    }
}

/// A connected, non-blocking socket.
pub(crate) fn connect(socket: &Path, deadline: Deadline) -> Result<OwnedFd, AskError> {
    let address = SocketAddrUnix::new(socket).map_err(AskError::Io)?;
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let fd = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .map_err(AskError::Io)?;
    loop {
        match rustix::net::connect(&fd, &address) {
            Ok(()) => return Ok(fd),
            // The listener's queue is full; the kernel offers nothing to wait on.
            Err(Errno::AGAIN) => {
                deadline.left()?;
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(Errno::INTR) => {}
            Err(Errno::NOENT) => return Err(AskError::Missing),
            Err(Errno::CONNREFUSED) => return Err(AskError::Refused),
            Err(Errno::ACCESS | Errno::PERM) => return Err(AskError::Denied),
            Err(error) => return Err(AskError::Io(error)),
        }
    }
}

/// Sends all of `bytes`.
pub(crate) fn send(fd: &OwnedFd, bytes: &[u8], deadline: Deadline) -> Result<(), AskError> {
    let mut rest = bytes;
    while !rest.is_empty() {
        match rustix::net::send(fd, rest, SendFlags::NOSIGNAL) {
            Ok(sent) => rest = rest.get(sent..).unwrap_or_default(),
            Err(Errno::AGAIN) => wait(fd, PollFlags::OUT, deadline)?,
            Err(Errno::INTR) => {}
            Err(error) => return Err(AskError::Io(error)),
        }
    }
    Ok(())
}

/// Receives what is there, at least one byte; 0 at the end.
pub(crate) fn receive(fd: &OwnedFd, into: &mut [u8], deadline: Deadline) -> Result<usize, AskError> {
    loop {
        deadline.left()?;
        match rustix::io::read(fd, &mut *into) {
            Ok(count) => return Ok(count),
            Err(Errno::AGAIN) => wait(fd, PollFlags::IN, deadline)?,
            Err(Errno::INTR) => {}
            Err(error) => return Err(AskError::Io(error)),
        }
    }
}

fn wait(fd: &OwnedFd, events: PollFlags, deadline: Deadline) -> Result<(), AskError> {
    let mut fds = [PollFd::from_borrowed_fd(fd.as_fd(), events)];
    match poll(&mut fds, Some(&deadline.left()?)) {
        Ok(0) => Err(AskError::Timeout(deadline.allowed_ms)),
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(AskError::Io(error)),
    }
}

/// The body of `GET path`. HTTP/1.0 is spoken: the answer ends with the
/// connection and is not chunked.
pub(crate) fn get(socket: &Path, path: &str, deadline: Deadline) -> Result<Vec<u8>, AskError> {
    let fd = connect(socket, deadline)?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\nUser-Agent: nabe\r\n\r\n");
    send(&fd, request.as_bytes(), deadline)?;
    let mut answer = Vec::new();
    let mut buffer = vec![0u8; 64 << 10];
    let mut body_at = None;
    let mut expected = usize::MAX;
    loop {
        let count = receive(&fd, &mut buffer, deadline)?;
        answer.extend_from_slice(buffer.get(..count).unwrap_or_default());
        if answer.len() > MAX_RESPONSE {
            return Err(AskError::TooLarge);
        }
        if body_at.is_none() {
            body_at = match head(&answer)? {
                Some((at, length)) => {
                    expected = length.map_or(usize::MAX, |length| at.saturating_add(length));
                    Some(at)
                }
                None if count == 0 || answer.len() > MAX_HEAD => {
                    return Err(AskError::Garbage("HTTP"));
                }
                None => None,
            };
        }
        if count == 0 || answer.len() >= expected {
            break;
        }
    }
    if expected != usize::MAX && answer.len() < expected {
        return Err(AskError::Garbage("whole"));
    }
    answer.truncate(expected.min(answer.len()));
    Ok(answer.split_off(body_at.unwrap_or(0).min(answer.len())))
}

/// Where the body begins and how long it says it is; `None` while the head is
/// incomplete.
fn head(answer: &[u8]) -> Result<Option<(usize, Option<usize>)>, AskError> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let status = response.parse(answer).map_err(|_| AskError::Garbage("HTTP"))?;
    let httparse::Status::Complete(at) = status else {
        return Ok(None);
    };
    match response.code {
        Some(200) => {}
        Some(code) => return Err(AskError::Status(code)),
        None => return Err(AskError::Garbage("HTTP")),
    }
    let mut length = None;
    for header in response.headers.iter() {
        if header.name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(AskError::Garbage("plain HTTP/1.0"));
        }
        if header.name.eq_ignore_ascii_case("content-length") {
            length = std::str::from_utf8(header.value).ok().and_then(|text| text.trim().parse().ok());
        }
    }
    Ok(Some((at, length)))
}
