//! A network that is none: inside the sandbox's network namespace every address is its own, names have one
//! address, and somebody answers. Nothing leaves; what is asked is logged.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::cli::run::guest;
use crate::error::{CliError, Result};

/// The address of every name: one that is nobody's (RFC 5737).
const ADDRESS: [u8; 4] = [203, 0, 113, 10];

/// Ports on which somebody answers when the others cannot be led to one of them.
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
        let any = if six { "::" } else { "0.0.0.0" };
        let door = |port| {
            let door = TcpListener::bind((any, port))?;
            door.set_nonblocking(true)?;
            io::Result::Ok(door)
        };
        // One door, to which all others lead. Where that cannot be, some of them are opened.
        let one = door(0)?;
        let doors = match guest::load_rules(&redirect(one.local_addr()?.port())) {
            Ok(()) => vec![one],
            Err(error) => {
                drop(one);
                note(&log, format!("only {} TCP ports answer: {error}", PORTS.len()));
                PORTS.iter().map(|port| door(*port)).collect::<io::Result<_>>()?
            }
        };
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
                let to = wanted(&stream).map(|at| (at.ip().to_canonical(), at.port()));
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

/// Rules that lead every connection to this port, but those of the loopback, which are between programs here.
fn redirect(port: u16) -> String {
    format!(
        "table inet nabe_fake {{
  chain output {{
    type nat hook output priority -100; policy accept;
    ip daddr 127.0.0.0/8 accept
    ip6 daddr ::1 accept
    meta l4proto tcp redirect to :{port}
  }}
}}
"
    )
}

/// Whom a connection was for before it was led here.
fn wanted(stream: &TcpStream) -> io::Result<SocketAddr> {
    let local = stream.local_addr()?;
    if local.is_ipv6() && !local.ip().to_canonical().is_ipv4() {
        return Ok(sockopt::ipv6_original_dst(stream).map_or(local, SocketAddr::V6));
    }
    Ok(sockopt::ip_original_dst(stream).map_or(local, SocketAddr::V4))
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
                if !first {
                    return true;
                }
                let bytes = bytes.get(..size).unwrap_or_default();
                if bytes.starts_with(&[0x16, 3]) {
                    let name = server_name(bytes).map_or_else(String::new, |name| format!(" for {name}"));
                    note(log, format!("tls {} begins{name}", self.to));
                    // Nobody here has the key of a certificate: handshake_failure, so that it is told at once.
                    let _ = self.stream.write_all(&[0x15, 3, 1, 0, 2, 2, 40]);
                    return false;
                }
                let text = String::from_utf8_lossy(bytes);
                let line: String = text.lines().next().unwrap_or_default().chars().take(200).collect();
                let is_http = ["GET ", "POST ", "HEAD ", "PUT "].iter().any(|verb| line.starts_with(verb));
                let host = text.lines().skip(1).take_while(|line| !line.is_empty()).find_map(|line| {
                    let (name, value) = line.split_once(':')?;
                    name.eq_ignore_ascii_case("host")
                        .then(|| value.trim().chars().take(200).collect::<String>())
                });
                let host = host.filter(|_| is_http).map(|host| format!(" to {}", host.escape_default()));
                let (words, host) = (line.escape_default(), host.unwrap_or_default());
                note(log, format!("tcp {} sent \"{words}\"{host}", self.to));
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

/// The name in a ClientHello, escaped (RFC 8446 4.1.2, RFC 6066 3): what the client wants to reach.
fn server_name(record: &[u8]) -> Option<String> {
    let word = |at: usize| Some(usize::from(u16::from_be_bytes(*record.get(at..)?.first_chunk()?)));
    // Record header 5, handshake header 4, version 2, random 32.
    if *record.get(5)? != 1 {
        return None;
    }
    let session = 43;
    let suites = session + 1 + usize::from(*record.get(session)?);
    let compression = suites + 2 + word(suites)?;
    let mut at = compression + 1 + usize::from(*record.get(compression)?) + 2;
    loop {
        let (kind, length) = (word(at)?, word(at + 2)?);
        if kind == 0 {
            // One list, one entry: kind 0 is a host's name.
            let name = record.get(at + 9..at + 9 + word(at + 7)?)?;
            return Some(name.escape_ascii().to_string()).filter(|name| name.len() <= 512);
        }
        at += 4 + length;
    }
}

/// The name that a question asks for, and the reply: [`ADDRESS`] for A, nothing for anything else.
fn answer(message: &[u8]) -> Option<(String, Vec<u8>)> {
    let asked = nabe_sandbox::question(message)?;
    let mut reply = message.get(..2)?.to_vec();
    let answers = u16::from(asked.kind == 1);
    // Response, recursion desired and available.
    reply.extend([0x81, 0x80, 0, 1]);
    reply.extend(answers.to_be_bytes());
    reply.extend([0; 4]);
    reply.extend(message.get(12..asked.end)?);
    if asked.kind == 1 {
        reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        reply.extend(ADDRESS);
    }
    Some((asked.name, reply))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_say_whom_they_want() {
        let name = b"c2.evil.test";
        let mut hello = vec![0x16, 3, 1, 0, 0, 1, 0, 0, 0, 3, 3];
        hello.extend([7; 32]);
        // No session, one suite, no compression; an extension of another kind, then the name.
        hello.extend([0, 0, 2, 0, 0x2f, 1, 0, 0, 0, 0, 23, 0, 0, 0, 0, 0, 17, 0, 15, 0, 0, 12]);
        hello.extend(name);
        assert_eq!(server_name(&hello).as_deref(), Some("c2.evil.test"));
        for cut in 0..hello.len() {
            assert_eq!(server_name(&hello[..cut]), None, "{cut}");
        }
    }

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
