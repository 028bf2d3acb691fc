//! Events as lines of strace: `[pid 7] openat(AT_FDCWD, "/etc/hosts", O_RDONLY) = 3</etc/hosts>`.
//!
//! The lines are those of `strace -f -y`, as far as events tell. A system call is one line, at its end,
//! so nothing is unfinished or resumed; what events do not have (structures that the kernel filled in,
//! lengths of addresses, bits that the schema does not know) is `...`, and calls of which the schema
//! knows no parameters are shown by name only.

mod address;
mod calls;
mod text;

use std::io::Write as _;

use calls::{As, Piece};
use nabe_event::convert::{Converter, Enters};
use nabe_event::raw::Event;
use nabe_event::table::{EventId, Flags, Format, Param, ParamType};
use nabe_event::{Fields as _, Value, field};
use nabe_state::stream::{Seen, Stream};

use address::behind;
use text::{clean, quoted};

use super::lines::Stdout;
use super::{Sink, Wants};
use crate::error::Result;

/// The longest payload and argument of a program in a line, as strace's `-s`. Paths are never cut.
const MOST: usize = 32;
/// Where results begin, as strace's `-a`.
const COLUMN: usize = 40;

/// Prints each system call as strace does.
pub struct Strace {
    converter: Converter,
    out: Stdout,
    /// Payload is not cut.
    verbose: bool,
}

impl Strace {
    /// Lines on stdout; with `verbose` texts are not cut.
    pub fn new(unbuffered: bool, verbose: bool) -> Self {
        Self { converter: Converter::new(Enters::Drop), out: Stdout::new(unbuffered), verbose }
    }

    /// Appends the event's line, if it has one.
    pub fn print(&mut self, seen: &Seen<'_>, out: &mut Vec<u8>) {
        let most = if self.verbose { usize::MAX } else { MOST };
        if let Some(current) = self.converter.convert(seen.event()) {
            line(out, seen, &current, most);
        }
    }
}

impl Sink for Strace {
    fn wants(&self) -> Wants {
        // Arguments of old captures are in enter events, whether they are selected or not.
        Wants::All
    }
    fn seen(&mut self, seen: &Seen<'_>) -> Result<()> {
        let mut line = core::mem::take(self.out.buffer());
        self.print(seen, &mut line);
        *self.out.buffer() = line;
        self.out.line()
    }
    fn other(&mut self, seen: &Seen<'_>, _: bool) -> Result<()> {
        if seen.event().id.is_enter() {
            self.converter.convert(seen.event());
        }
        Ok(())
    }
    fn idle(&mut self, live: bool, _: &Stream) -> Result<()> {
        if live { self.out.flush() } else { Ok(()) }
    }
    fn finish(&mut self, _: &Stream) -> Result<()> {
        self.out.flush()
    }
}

/// Appends the line of an event in the current layout, if it has one.
fn line(out: &mut Vec<u8>, seen: &Seen<'_>, event: &Event<'_>, most: usize) {
    let name = seen.name();
    let call = event.id.is_syscall();
    let is_ending = matches!(name, "procexit" | "signaldeliver");
    if !is_ending && (!call || event.id.is_enter()) {
        return;
    }
    // The birth of a child is its parent's line.
    if matches!(name, "clone" | "clone3" | "fork" | "vfork") && event.signed(0) == Some(0) {
        return;
    }
    let start = out.len();
    let _ = write!(out, "[pid {}] ", event.tid);
    match name {
        "procexit" => {
            let number = |name: &str| param(event, name).and_then(|(at, _)| event.signed(at)).unwrap_or(0);
            match number("sig") {
                0 => {
                    let _ = write!(out, "+++ exited with {} +++", number("ret"));
                }
                _ => {
                    out.extend_from_slice(b"+++ killed by ");
                    text_of(seen, "sig", out);
                    let core = if number("core") == 0 { "" } else { " (core dumped)" };
                    let _ = write!(out, "{core} +++");
                }
            }
        }
        "signaldeliver" => {
            out.extend_from_slice(b"--- ");
            text_of(seen, "sig", out);
            out.extend_from_slice(b" {si_signo=");
            text_of(seen, "sig", out);
            if let Some(sender) =
                param(event, "spid").and_then(|(at, _)| event.signed(at)).filter(|pid| *pid > 0)
            {
                let _ = write!(out, ", si_pid={sender}");
            }
            out.extend_from_slice(b", ...} ---");
        }
        _ => call_line(out, start, seen, event, most),
    }
    out.push(b'\n');
}

fn param(event: &Event<'_>, name: &str) -> Option<(usize, &'static Param)> {
    event.id.row().param(name)
}

/// Where the result is: the first parameter, when it is called so.
fn has_result(event: &Event<'_>) -> bool {
    let row = event.id.row();
    let creates = row.flags.has(Flags::CREATES_FD);
    let asks = matches!(row.name, "getuid" | "geteuid" | "getgid" | "getegid");
    row.params.first().is_some_and(|first| first.name == "res" || asks || (creates && first.name == "fd"))
}

fn call_line(out: &mut Vec<u8>, start: usize, seen: &Seen<'_>, event: &Event<'_>, most: usize) {
    let name = seen.name();
    out.extend_from_slice(match name {
        "pread" => b"pread64",
        "pwrite" => b"pwrite64",
        "prlimit" => b"prlimit64",
        name => name.as_bytes(),
    });
    out.push(b'(');
    match name {
        _ if matches!(event.id, EventId::GENERIC_E | EventId::GENERIC_X) => out.extend_from_slice(b"..."),
        "execve" | "execveat" => exec(out, event, most),
        "fork" | "vfork" => {}
        "clone" | "clone3" => {
            if let Some((at, known)) = param(event, "flags") {
                out.extend_from_slice(b"flags=");
                symbols(out, known, event.unsigned(at).unwrap_or(0));
            }
        }
        _ => Line { out, seen, event, most }.arguments(),
    }
    out.extend_from_slice(b") ");
    let width = out.len() - start;
    out.resize(out.len() + COLUMN.saturating_sub(width), b' ');
    result(out, seen, event);
}

/// A line that gets its arguments.
struct Line<'a, 'e> {
    out: &'a mut Vec<u8>,
    seen: &'a Seen<'e>,
    event: &'a Event<'a>,
    most: usize,
}

impl Line<'_, '_> {
    /// What the table says of the call, or all parameters of what it does not have.
    fn arguments(&mut self) {
        let row = self.event.id.row();
        let mut any = false;
        let Some(pieces) = calls::pieces(row.name) else {
            for at in usize::from(has_result(self.event))..row.params.len().min(self.event.params.len()) {
                let Some(known) = row.params.get(at) else { continue };
                self.comma(&mut any);
                value(self.out, self.seen, self.event, at, known, self.most);
            }
            return;
        };
        for piece in pieces {
            let Piece::Of(name, how) = piece else {
                self.comma(&mut any);
                self.out.extend_from_slice(b"...");
                continue;
            };
            // What is behind the last one that is there was not told by an older source.
            let Some((at, known)) = row.param(name).filter(|(at, _)| *at < self.event.params.len()) else {
                continue;
            };
            if self.is_there(how) {
                self.comma(&mut any);
                self.argument(at, known, how);
            }
        }
    }

    fn comma(&mut self, any: &mut bool) {
        if core::mem::replace(any, true) {
            self.out.extend_from_slice(b", ");
        }
    }

    /// The number of another parameter.
    fn number(&self, name: &str) -> u64 {
        param(self.event, name).and_then(|(at, _)| self.event.unsigned(at)).unwrap_or(0)
    }

    /// Whether the other arguments say that there is one of this kind.
    fn is_there(&self, how: As) -> bool {
        let named = |of: &str| param(self.event, of).and_then(|(_, known)| known.symbols);
        match how {
            As::Created => {
                let flags = self.number("flags");
                named("flags").is_some_and(|symbols| {
                    let mut entries = symbols.entries.iter();
                    entries.any(|(bit, name)| matches!(*name, "O_CREAT" | "O_TMPFILE") && flags & bit == *bit)
                })
            }
            As::Command => {
                let name = named("cmd").and_then(|symbols| symbols.name(self.number("cmd")));
                name.is_none_or(|name| !calls::ASKING.contains(&name))
            }
            _ => true,
        }
    }

    fn argument(&mut self, at: usize, known: &Param, how: As) {
        let plain = |line: &mut Self, at: usize, known: &Param| {
            value(line.out, line.seen, line.event, at, known, line.most);
        };
        let bytes = self.event.param(at).unwrap_or_default();
        let told = match how {
            As::Address => address::sockaddr(self.out, bytes),
            As::Peer => address::first(self.out, bytes),
            _ => false,
        };
        if told {
            return;
        }
        if matches!(how, As::Address | As::Peer) {
            return self.out.extend_from_slice(if bytes.is_empty() { b"NULL" } else { b"..." });
        }
        let Some(number) = self.event.unsigned(at) else { return plain(self, at, known) };
        let other = self.event.id.row().params.get(at + 1);
        let named = |table: &[(u64, &'static str)], number| {
            table.iter().find(|(known, _)| *known == number).map(|(_, name)| *name)
        };
        let _ = match how {
            As::Plain | As::Command | As::TextOr | As::Address | As::Peer => {
                plain(self, at, known);
                Ok(())
            }
            As::Pointer if number == 0 => write!(self.out, "NULL"),
            As::Hex if number == 0 => write!(self.out, "0"),
            As::Pointer | As::Hex => write!(self.out, "{number:#x}"),
            As::Octal | As::Created => write!(self.out, "0{number:o}"),
            As::Open => {
                opening(self.out, known, number, self.event.id.row().name.starts_with("open"));
                Ok(())
            }
            As::Socket => {
                socket(self.out, number);
                Ok(())
            }
            As::SocketFlags => {
                socket_flags(self.out, number);
                Ok(())
            }
            As::Protocol => {
                let domain = self.number("domain");
                let name = named(calls::PROTOCOLS, number).filter(|_| matches!(domain, 2 | 10));
                match name {
                    Some(name) => write!(self.out, "{name}"),
                    None => write!(self.out, "{number}"),
                }
            }
            As::Request => match named(calls::REQUESTS, number) {
                Some(name) => write!(self.out, "{name}"),
                None => write!(self.out, "{number:#x}"),
            },
            As::Pair => {
                self.out.push(b'[');
                plain(self, at, known);
                if let Some(known) = other {
                    self.out.extend_from_slice(b", ");
                    plain(self, at + 1, known);
                }
                self.out.push(b']');
                Ok(())
            }
        };
    }
}

/// The flags of `open`, or of what takes some of them.
fn opening(out: &mut Vec<u8>, known: &Param, number: u64, has_mode: bool) {
    let Some(symbols) = known.symbols else {
        let _ = write!(out, "{number:#x}");
        return;
    };
    // The schema has bits of its own for the three access modes.
    let mut names: Vec<&str> = match (has_mode, number & 3) {
        (false, _) => Vec::new(),
        (true, 2) => vec!["O_WRONLY"],
        (true, 3) => vec!["O_RDWR"],
        (true, _) => vec!["O_RDONLY"],
    };
    let is_set = |name: &str| {
        let bit = symbols.entries.iter().find(|(_, known)| *known == name).map_or(0, |(bit, _)| *bit);
        bit != 0 && number & bit == bit
    };
    names.extend(calls::OPEN.iter().filter(|name| is_set(name)));
    if !has_mode {
        let others = symbols.entries.iter().map(|(_, name)| *name);
        let more: Vec<_> = others.filter(|name| !calls::OPEN.contains(name) && is_set(name)).collect();
        names.extend(more);
    }
    let _ = if names.is_empty() { write!(out, "{number:#x}") } else { write!(out, "{}", names.join("|")) };
}

fn socket(out: &mut Vec<u8>, number: u64) {
    let kind = number & 0xf;
    let _ = match calls::SOCKETS.iter().find(|(known, _)| *known == kind) {
        Some((_, name)) => write!(out, "{name}"),
        None => write!(out, "{kind:#x}"),
    };
    for (bit, name) in [(0x800, "SOCK_NONBLOCK"), (0x8_0000, "SOCK_CLOEXEC")] {
        if number & bit != 0 {
            let _ = write!(out, "|{name}");
        }
    }
    let rest = number & !0x8_080f;
    if rest != 0 {
        let _ = write!(out, "|{rest:#x}");
    }
}

/// The flags of `accept4`: the schema's bits, or the kernel's.
fn socket_flags(out: &mut Vec<u8>, number: u64) {
    let names = [(0x880, "SOCK_NONBLOCK"), (0x8_1000, "SOCK_CLOEXEC")];
    let names: Vec<_> = names.iter().filter(|(bits, _)| number & bits != 0).map(|(_, name)| *name).collect();
    let rest = number & !0x8_1880;
    let _ = match (names.is_empty(), rest) {
        (true, rest) => write!(out, "{rest:#x}"),
        (false, 0) => write!(out, "{}", names.join("|")),
        (false, rest) => write!(out, "{}|{rest:#x}", names.join("|")),
    };
}

fn exec(out: &mut Vec<u8>, event: &Event<'_>, most: usize) {
    let text = |name: &str| param(event, name).and_then(|(at, _)| event.text(at)).unwrap_or_default();
    let path = [text("trusted_exepath"), text("filename"), text("exe")];
    let path = path.into_iter().find(|path| !path.is_empty()).unwrap_or_default();
    quoted(out, path, usize::MAX);
    out.extend_from_slice(b", [");
    quoted(out, text("exe"), most);
    let list = |name: &str| {
        let bytes = param(event, name).and_then(|(at, _)| event.param(at)).unwrap_or_default();
        bytes.split(|byte| *byte == 0).filter(|element| !element.is_empty()).collect::<Vec<_>>()
    };
    for argument in list("args") {
        out.extend_from_slice(b", ");
        quoted(out, argument, most);
    }
    let _ = write!(out, "], /* {} vars */", list("env").len());
}

/// The text that sysdig has for a parameter.
fn text_of(seen: &Seen<'_>, name: &str, out: &mut Vec<u8>) {
    if let Value::Text(text) = seen.get(field::event::ARG, Some(name.as_bytes())) {
        clean(out, text);
    }
}

fn value(out: &mut Vec<u8>, seen: &Seen<'_>, event: &Event<'_>, at: usize, known: &Param, most: usize) {
    let Some(bytes) = event.param(at) else {
        // Nothing was read or written, as against what could not be had.
        let is_nothing = known.ty == ParamType::ByteBuf && has_result(event) && event.signed(0) == Some(0);
        return out.extend_from_slice(if is_nothing { b"\"\"" } else { b"?" });
    };
    match known.ty {
        ParamType::Fd | ParamType::Fd32 => descriptor(out, seen, event.signed(at).unwrap_or(-1)),
        ParamType::CharBuf | ParamType::FsPath | ParamType::FsRelPath => {
            quoted(out, bytes.strip_suffix(b"\0").unwrap_or(bytes), usize::MAX);
        }
        ParamType::SigType => match event.unsigned(at) {
            Some(0) | None => out.push(b'0'),
            Some(_) => text_of(seen, known.name, out),
        },
        ParamType::ByteBuf => quoted(out, bytes, most),
        _ if known.symbols.is_some() && known.ty.is_integer() => {
            symbols(out, known, event.unsigned(at).unwrap_or(0));
        }
        ty if ty.is_integer() => {
            let number = event.unsigned(at).unwrap_or(0);
            let _ = match known.format {
                Format::Hex if number != 0 => write!(out, "{number:#x}"),
                Format::Oct => write!(out, "0{number:o}"),
                _ if ty.is_signed() => write!(out, "{}", event.signed(at).unwrap_or(0)),
                _ => write!(out, "{number}"),
            };
        }
        _ => {
            out.push(b'{');
            text_of(seen, known.name, out);
            out.push(b'}');
        }
    }
}

/// Names of bits or of a value; what has no name as a number.
fn symbols(out: &mut Vec<u8>, known: &Param, number: u64) {
    let Some(symbols) = known.symbols else { return };
    if let Some(name) = symbols.name(number) {
        return out.extend_from_slice(kernels(name).as_bytes());
    }
    let mut rest = number;
    let mut any = false;
    for (bits, name) in symbols.entries {
        if *bits != 0 && rest & bits == *bits {
            rest &= !bits;
            if calls::OWN.contains(name) {
                continue;
            }
            if core::mem::replace(&mut any, true) {
                out.push(b'|');
            }
            out.extend_from_slice(name.as_bytes());
        }
    }
    if rest != 0 || !any {
        let bar = if any { "|" } else { "" };
        let _ = if rest == 0 { write!(out, "{bar}0") } else { write!(out, "{bar}{rest:#x}") };
    }
}

/// The kernel's name for what the schema calls otherwise.
fn kernels(name: &'static str) -> &'static str {
    if name == "AF_LOCAL" { "AF_UNIX" } else { name }
}

fn descriptor(out: &mut Vec<u8>, seen: &Seen<'_>, fd: i64) {
    if fd == -100 {
        return out.extend_from_slice(b"AT_FDCWD");
    }
    let _ = write!(out, "{fd}");
    let is_its = matches!(seen.get(field::file::FD, None), Value::Int(number) if number == fd);
    if let (true, Some(found)) = (is_its, seen.descriptor()) {
        behind(out, &found.name);
    }
}

fn result(out: &mut Vec<u8>, seen: &Seen<'_>, event: &Event<'_>) {
    out.extend_from_slice(b"= ");
    let (true, Some(result)) = (has_result(event), event.signed(0)) else {
        return out.extend_from_slice(b"?");
    };
    let row = event.id.row();
    if let -516..=-512 = result {
        // The kernel starts the call again, or lets it fail once the signal has been handled.
        let name = match result {
            -512 => "ERESTARTSYS",
            -513 => "ERESTARTNOINTR",
            -514 => "ERESTARTNOHAND",
            -516 => "ERESTART_RESTARTBLOCK",
            _ => "ENOIOCTLCMD",
        };
        let _ = write!(out, "? {name}");
        return;
    }
    if (-4095..0).contains(&result) {
        let code = i32::try_from(-result).unwrap_or(0);
        let words = std::io::Error::from_raw_os_error(code).to_string();
        let words = words.split(" (os error").next().unwrap_or_default();
        out.extend_from_slice(b"-1 ");
        match seen.get(field::event::RES, None) {
            Value::Text(name) => out.extend_from_slice(name),
            _ => {
                let _ = write!(out, "E{code}");
            }
        }
        let _ = write!(out, " ({words})");
    } else if row.flags.has(Flags::CREATES_FD) {
        descriptor(out, seen, result);
    } else if matches!(row.name, "mmap" | "mmap2" | "brk" | "mremap") {
        let _ = write!(out, "{result:#x}");
    } else {
        let _ = write!(out, "{result}");
    }
}
