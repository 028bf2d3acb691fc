//! How a container's first process and the runtime talk while it is set up: one message a packet.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Longest message, in bytes.
const MAX: usize = 16 << 10;

/// What one side tells the other.
#[derive(Debug)]
pub(crate) enum Message {
    /// To the child: ids are mapped, go on. To the started container: run your program.
    Go,
    /// From a process between: my user namespace is there, map its ids.
    MapIds,
    /// From a process between: the pid of the first process.
    Pid(i32),
    /// From the child: namespaces and mounts are there, run the hooks.
    Hooks,
    /// From the child: the master of its terminal.
    Terminal(OwnedFd),
    /// From the child: this descriptor of mine is a seccomp listener.
    Listener(i32),
    /// From the child: everything is done but the exec.
    Ready,
    /// From the child: it failed.
    Failed(Error),
}

/// An error on its way between processes.
#[derive(Serialize, Deserialize)]
enum Told {
    NotFound(String),
    Exec(String, String),
    Config(String, String),
    Hook(String, usize, PathBuf, String),
    Step(String, Option<i32>, String),
    Refused(String),
}

impl Told {
    fn of(error: &Error) -> Self {
        match error {
            Error::NotFound(program) => Self::NotFound(program.clone()),
            Error::Exec { program, why } => Self::Exec(program.clone(), why.clone()),
            Error::Config { at, why } => Self::Config(at.clone(), why.clone()),
            Error::Hook { kind, number, path, why } => {
                Self::Hook((*kind).into(), *number, path.clone(), why.clone())
            }
            Error::Step { what, source } => {
                Self::Step(what.clone(), source.raw_os_error(), source.to_string())
            }
            Error::File { source, .. } => {
                Self::Step(error.to_string(), source.raw_os_error(), source.to_string())
            }
            other => Self::Refused(other.line()),
        }
    }

    fn error(self) -> Error {
        match self {
            Self::NotFound(program) => Error::NotFound(program),
            Self::Exec(program, why) => Error::Exec { program, why },
            Self::Config(at, why) => Error::Config { at, why },
            Self::Hook(kind, number, path, why) => {
                Error::Hook { kind: crate::hook::kind(&kind), number, path, why }
            }
            Self::Step(what, number, text) => Error::Step {
                what,
                source: number.map_or_else(|| io::Error::other(text), io::Error::from_raw_os_error),
            },
            Self::Refused(text) => Error::Refused(text),
        }
    }
}

/// One end.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) socket: OwnedFd,
}

impl Channel {
    pub(crate) fn pair() -> io::Result<(Self, Self)> {
        let (a, b) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Self { socket: a }, Self { socket: b }))
    }

    pub(crate) fn send(&self, message: &Message) -> io::Result<()> {
        let text = match message {
            Message::Go => b"g".to_vec(),
            Message::Hooks => b"h".to_vec(),
            Message::Ready => b"r".to_vec(),
            Message::MapIds => b"m".to_vec(),
            Message::Terminal(_) => b"t".to_vec(),
            Message::Pid(pid) => format!("p{pid}").into_bytes(),
            Message::Listener(fd) => format!("l{fd}").into_bytes(),
            Message::Failed(error) => {
                let mut text = b"e".to_vec();
                text.extend(serde_json::to_vec(&Told::of(error)).unwrap_or_default());
                text.truncate(MAX);
                text
            }
        };
        if let Message::Terminal(master) = message {
            return send_fds(&self.socket, &text, &[master.as_fd()]);
        }
        if let Message::Listener(_) = message {
            // Plain write(2): what the profile may not hand to the listener.
            return rustix::io::write(&self.socket, &text).map(drop).map_err(Into::into);
        }
        rustix::net::send(&self.socket, &text, SendFlags::NOSIGNAL).map(drop).map_err(Into::into)
    }

    /// The next message; `None` when the other side is gone.
    pub(crate) fn receive(&self) -> Result<Option<Message>> {
        let fail = |source| Error::Step { what: "hear from the container's process".into(), source };
        let (text, fd) = receive(&self.socket).map_err(fail)?;
        let Some((tag, rest)) = text.split_first() else { return Ok(None) };
        let number = || std::str::from_utf8(rest).ok().and_then(|text| text.parse::<i32>().ok());
        let message =
            match (tag, fd) {
                (b'g', _) => Message::Go,
                (b'h', _) => Message::Hooks,
                (b'r', _) => Message::Ready,
                (b'm', _) => Message::MapIds,
                (b't', Some(master)) => Message::Terminal(master),
                (b'p', _) => Message::Pid(number().unwrap_or(0)),
                (b'l', _) => Message::Listener(number().unwrap_or(-1)),
                (b'e', _) => {
                    let told = serde_json::from_slice::<Told>(rest);
                    Message::Failed(told.map_or_else(
                        |_| Error::Refused("the container's process failed".into()),
                        Told::error,
                    ))
                }
                _ => return Err(fail(io::ErrorKind::InvalidData.into())),
            };
        Ok(Some(message))
    }
}

/// Sends bytes with descriptors.
pub(crate) fn send_fds(socket: &OwnedFd, text: &[u8], fds: &[rustix::fd::BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    sendmsg(socket, &[IoSlice::new(text)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

fn receive(socket: &OwnedFd) -> io::Result<(Vec<u8>, Option<OwnedFd>)> {
    let mut text = vec![0; MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let length = loop {
        match recvmsg(socket, &mut [IoSliceMut::new(&mut text)], &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            // The other end was closed with something unread: gone all the same.
            Err(rustix::io::Errno::CONNRESET) => break 0,
            result => break result?.bytes,
        }
    };
    text.truncate(length);
    let mut fd = None;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(mut fds) = message {
            fd = fds.next();
        }
    }
    Ok((text, fd))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_arrive_as_they_left() {
        let (a, b) = Channel::pair().expect("a pair");
        let step =
            Error::Step { what: "mount proc".into(), source: io::Error::from_raw_os_error(libc::EPERM) };
        for error in
            [step, Error::NotFound("x".into()), Error::Config { at: "a.b".into(), why: "is bad".into() }]
        {
            let line = error.line();
            a.send(&Message::Failed(error)).expect("sent");
            match b.receive().expect("received") {
                Some(Message::Failed(error)) => assert_eq!(error.line(), line),
                other => panic!("{other:?}"),
            }
        }
        drop(a);
        assert!(b.receive().expect("the end").is_none());
    }

    #[test]
    fn descriptors_arrive() {
        let (a, b) = Channel::pair().expect("a pair");
        let null = std::fs::File::open("/dev/null").expect("open");
        a.send(&Message::Terminal(null.into())).expect("sent");
        match b.receive().expect("received") {
            Some(Message::Terminal(fd)) => {
                assert_eq!(rustix::fs::fstat(&fd).expect("stat").st_rdev, rustix::fs::makedev(1, 3))
            }
            other => panic!("{other:?}"),
        }
    }
}
