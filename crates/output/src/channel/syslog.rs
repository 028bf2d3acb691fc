//! The system's log, through its socket (RFC 3164 form, as syslog(3) sends it).

use std::io;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use nabe_event::alert::Alert;

use super::{Channel, Error, Failure};
use crate::render::Render;

/// Facility `user`, shifted past the severity.
const USER: u8 = 1 << 3;

/// Sends to `/dev/log`.
pub struct Syslog {
    path: PathBuf,
    tag: String,
    render: Render,
    socket: Option<Socket>,
}

enum Socket {
    Datagram(UnixDatagram),
    Stream(UnixStream),
}

impl Syslog {
    /// As the program `tag`; `path` is `/dev/log` but in tests.
    #[must_use]
    pub fn new(path: &Path, tag: &str, render: Render) -> Self {
        Self { path: path.to_path_buf(), tag: tag.to_owned(), render, socket: None }
    }

    fn connect(&self) -> io::Result<Socket> {
        let socket = UnixDatagram::unbound()?;
        match socket.connect(&self.path) {
            Ok(()) => Ok(Socket::Datagram(socket)),
            // EPROTOTYPE: the log listens on a stream.
            Err(_) => UnixStream::connect(&self.path).map(Socket::Stream),
        }
    }

    fn send(&mut self, line: &[u8]) -> Result<(), Error> {
        let failed = |source| Error::Write { name: format!("the log at {}", self.path.display()), source };
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => self.connect().map_err(failed)?,
        };
        match &socket {
            Socket::Datagram(socket) => socket.send(line).map(drop),
            // On a stream a NUL ends each message.
            Socket::Stream(socket) => io::Write::write_all(&mut &*socket, &[line, b"\0"].concat()),
        }
        .map_err(failed)?;
        self.socket = Some(socket);
        Ok(())
    }
}

impl Channel for Syslog {
    fn name(&self) -> &str {
        "syslog"
    }

    fn deliver(&mut self, alerts: &[Arc<Alert>]) -> Result<(), Failure> {
        for (at, alert) in alerts.iter().enumerate() {
            let now = Timestamp::now().to_zoned(TimeZone::system()).strftime("%b %e %H:%M:%S").to_string();
            // A line end would begin another message.
            let text = self.render.line(alert).replace('\n', " ");
            let severity = USER | alert.priority as u8;
            let line = format!("<{severity}>{now} {}[{}]: {text}", self.tag, std::process::id());
            self.send(line.as_bytes()).map_err(|error| Failure::passing(at, error))?;
        }
        Ok(())
    }

    fn reopen(&mut self) {
        self.socket = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::tests::alert;

    #[test]
    fn messages_have_priority_tag_and_text() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let log = UnixDatagram::bind(&path).unwrap();
        Syslog::new(&path, "nabe", Render::default()).deliver(&[Arc::new(alert())]).unwrap();
        let mut bytes = [0; 1024];
        let len = log.recv(&mut bytes).unwrap();
        let text = String::from_utf8_lossy(&bytes[..len]).into_owned();
        assert!(text.starts_with("<12>"), "{text}");
        let tail = format!(
            " nabe[{}]: 16:17:57.881781397: Warning An open was seen (command=cat /dev/null)",
            std::process::id()
        );
        assert!(text.ends_with(&tail), "{text}");
    }

    #[test]
    fn a_log_that_is_not_there_is_worth_another_try() {
        let failure = Syslog::new(Path::new("/nowhere/log"), "nabe", Render::default())
            .deliver(&[Arc::new(alert())])
            .unwrap_err();
        assert!(failure.retry);
    }
}
