//! A network that is none: inside the sandbox's network namespace every address is its own, names have one
//! address, and somebody answers. Nothing leaves; what is asked is logged.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::error::{CliError, Result};

/// The address of every name: one that is nobody's (RFC 5737).
const ADDRESS: [u8; 4] = [203, 0, 113, 10];

/// Ports on which somebody answers.
const PORTS: &[u16] = &[
    21, 22, 23, 25, 53, 80, 81, 110, 143, 389, 443, 445, 465, 587, 993, 995, 1080, 1337, 1433, 2222, 3128,
    3306, 3333, 3389, 4242, 4443, 4444, 4445, 5000, 5432, 5555, 5985, 6379, 6666, 6667, 6697, 7777, 8000,
    8008, 8080, 8081, 8088, 8333, 8443, 8888, 9000, 9001, 9050, 9090, 9999, 14444, 31337, 45560, 45700,
];

/// Lines of the log.
const MAX_LINES: usize = 1000;

/// Connections that are open at once.
const MAX_CONNECTIONS: usize = 128;

/// How long a connection may be silent.
const PATIENCE: Duration = Duration::from_secs(10);

/// Somebody who answers.
pub struct Responder {
    stop: Arc<AtomicBool>,
    log: Log,
    thread: JoinHandle<()>,
}

type Log = Arc<Mutex<Vec<String>>>;

fn note(log: &Log, line: String) {
    let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
    if log.len() < MAX_LINES {
        log.push(line);
    }
}

impl Responder {
    /// Starts answering in the network namespace of a process; returns when everything is ready.
    pub fn start(pid: i32) -> Result<Self> {
        let fail = |error: io::Error| CliError::failed("cannot make the fake network").because(&error);
        let namespace = File::open(format!("/proc/{pid}/ns/net")).map_err(fail)?;
        let (stop, log) = (Arc::new(AtomicBool::new(false)), Log::default());
        let (ready, made) = std::sync::mpsc::channel();
        let thread = std::thread::spawn({
            let (stop, log) = (Arc::clone(&stop), Arc::clone(&log));
            move || {
                // Only this thread goes there.
                let entered = move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network));
                let desk = entered.map_err(io::Error::from).and_then(|()| Desk::open(log));
                match desk {
                    Err(error) => drop(ready.send(Err(error))),
                    Ok(mut desk) => {
                        let _ = ready.send(Ok(()));
                        while !stop.load(Ordering::Relaxed) {
                            desk.look();
                            std::thread::sleep(Duration::from_millis(5));
                        }
                    }
                }
            }
        });
        made.recv().unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into())).map_err(fail)?;
        Ok(Self { stop, log, thread })
    }

    /// Ends it; what was asked, in order.
    pub fn stop(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        // It has nothing to say that would matter now.
        let _ = self.thread.join();
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *log)
    }
}

struct Connection {
    stream: TcpStream,
    to: String,
    bytes: u64,
    since: Instant,
}

struct Desk {
    log: Log,
    names: UdpSocket,
    doors: Vec<TcpListener>,
    open: Vec<Connection>,
}

impl Desk {
    fn open(log: Log) -> io::Result<Self> {
        own_every_address(2)?;
        // A kernel without IPv6 has no such addresses to own.
        let six = own_every_address(10).is_ok();
        let names = UdpSocket::bind(("0.0.0.0", 53))?;
        names.set_nonblocking(true)?;
        let mut doors = Vec::new();
        for port in PORTS {
            let door = TcpListener::bind((if six { "::" } else { "0.0.0.0" }, *port))?;
            door.set_nonblocking(true)?;
            doors.push(door);
        }
        Ok(Self { log, names, doors, open: Vec::new() })
    }

    fn look(&mut self) {
        let mut packet = [0; 1500];
        while let Ok((size, from)) = self.names.recv_from(&mut packet) {
            let Some((name, reply)) = packet.get(..size).and_then(answer) else { continue };
            note(&self.log, format!("dns {name}"));
            let _ = self.names.send_to(&reply, from);
        }
        for door in &self.doors {
            while let Ok((stream, _)) = door.accept() {
                let to = stream.local_addr().map(|at| (at.ip().to_canonical(), at.port()));
                let to = to.map_or_else(|_| "?".to_owned(), |(ip, port)| format!("{ip}:{port}"));
                note(&self.log, format!("tcp {to} connected"));
                if self.open.len() < MAX_CONNECTIONS && stream.set_nonblocking(true).is_ok() {
                    self.open.push(Connection { stream, to, bytes: 0, since: Instant::now() });
                }
            }
        }
        let log = &self.log;
        self.open.retain_mut(|connection| connection.look(log));
    }
}

impl Connection {
    /// Reads and answers; whether it goes on.
    fn look(&mut self, log: &Log) -> bool {
        let mut bytes = [0; 4096];
        match self.stream.read(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.since.elapsed() < PATIENCE,
            Err(_) | Ok(0) => {
                note(log, format!("tcp {} closed, {} bytes received", self.to, self.bytes));
                false
            }
            Ok(size) => {
                let first = self.bytes == 0;
                self.bytes += size as u64;
                self.since = Instant::now();
                let text = String::from_utf8_lossy(bytes.get(..size).unwrap_or_default());
                if !first {
                    return true;
                }
                let line: String = text.lines().next().unwrap_or_default().chars().take(200).collect();
                let words: String = line.escape_default().collect();
                note(log, format!("tcp {} sent \"{words}\"", self.to));
                let is_http = ["GET ", "POST ", "HEAD ", "PUT "].iter().any(|verb| line.starts_with(verb));
                if is_http {
                    let reply = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\
                                 Connection: close\r\n\r\nok\n";
                    let _ = self.stream.write_all(reply.as_bytes());
                    return false;
                }
                true
            }
        }
    }
}

/// Says that every address of a family (2 IPv4, 10 IPv6) is this namespace's own: what
/// `ip route add local default dev lo` does (rtnetlink(7)).
fn own_every_address(family: u8) -> io::Result<()> {
    let mut message = Vec::with_capacity(36);
    message.extend(36_u32.to_ne_bytes());
    // RTM_NEWROUTE; NLM_F_REQUEST, ACK, CREATE.
    message.extend(24_u16.to_ne_bytes());
    message.extend(0x405_u16.to_ne_bytes());
    message.extend([0; 8]);
    // Table local, protocol boot, scope host, type local.
    message.extend([family, 0, 0, 0, 255, 3, 254, 2]);
    message.extend([0; 4]);
    // RTA_OIF: lo is 1 in every namespace.
    message.extend(8_u16.to_ne_bytes());
    message.extend(4_u16.to_ne_bytes());
    message.extend(1_u32.to_ne_bytes());
    let socket =
        rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    rustix::net::send(&socket, &message, SendFlags::empty())?;
    let mut reply = [0; 256];
    let (_, size) = rustix::net::recv(&socket, &mut reply[..], RecvFlags::empty())?;
    let code = reply.get(16..20).filter(|_| size >= 20).and_then(|bytes| bytes.try_into().ok());
    match code.map(i32::from_ne_bytes) {
        Some(0) => Ok(()),
        Some(error) => Err(io::Error::from_raw_os_error(-error)),
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// The name that a question asks for, and the reply: [`ADDRESS`] for A, nothing for anything else.
fn answer(question: &[u8]) -> Option<(String, Vec<u8>)> {
    let mut name = String::new();
    let mut at = 12;
    loop {
        let len = usize::from(*question.get(at)?);
        at += 1;
        if len == 0 {
            break;
        }
        let label = question.get(at..at + len).filter(|_| len < 64)?;
        if !name.is_empty() {
            name.push('.');
        }
        name.extend(String::from_utf8_lossy(label).chars().flat_map(char::escape_default));
        at += len;
        if name.len() > 1024 {
            return None;
        }
    }
    let kind = u16::from_be_bytes(question.get(at..at + 2)?.try_into().ok()?);
    let end = at + 4;
    let mut reply = question.get(..2)?.to_vec();
    let answers = u16::from(kind == 1);
    // Response, recursion desired and available.
    reply.extend([0x81, 0x80, 0, 1]);
    reply.extend(answers.to_be_bytes());
    reply.extend([0; 4]);
    reply.extend(question.get(12..end)?);
    if kind == 1 {
        reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        reply.extend(ADDRESS);
    }
    Some((name, reply))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_one_address() {
        let mut question = vec![7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        question.extend(b"\x04evil\x04test\0\0\x01\0\x01");
        let (name, reply) = answer(&question).unwrap();
        assert_eq!(name, "evil.test");
        assert_eq!(&reply[..2], [7, 7]);
        assert!(reply.ends_with(&ADDRESS));
        for cut in 0..question.len() {
            assert_eq!(answer(&question[..cut]), None, "{cut}");
        }
    }
}
