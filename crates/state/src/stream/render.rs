//! Parameters of events as texts, as sysdig writes them: `fd=3(<f>/etc/hosts)`, `flags=1(O_RDONLY)`,
//! `res=-2(ENOENT)`.
//!
//! A value has a plain text and, often, a resolved one that stands in parentheses behind it.

use std::ffi::CStr;
use std::io::Write as _;
use std::sync::Arc;

use nabe_event::raw::Event;
use nabe_event::symbol::Symbols;
use nabe_event::table::{Format, Param, ParamType, syscall_name};

use super::descriptor::{Descriptor, Transport, single, tuple};
use super::path::{is_printable, join};
use super::{Stream, name, time};

/// Who renders: the state, and the event whose parameters they are.
#[derive(Clone, Copy)]
pub(crate) struct Renderer<'a> {
    pub(crate) stream: &'a Stream,
    pub(crate) event: &'a Event<'a>,
}

/// The two texts of a value.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    pub(crate) plain: Vec<u8>,
    pub(crate) resolved: Vec<u8>,
}

impl Texts {
    /// The resolved text, or else the plain one.
    pub(crate) fn best(self) -> Vec<u8> {
        if self.resolved.is_empty() { self.plain } else { self.resolved }
    }
}

impl Renderer<'_> {
    /// All parameters as `name=value ` one behind the other.
    pub(crate) fn all(&self, out: &mut Vec<u8>) {
        // Plain texts are made where they go; few resolved ones are longer than this.
        let mut texts = Texts { plain: core::mem::take(out), resolved: Vec::with_capacity(128) };
        for (param, bytes) in self.event.described() {
            texts.plain.extend_from_slice(param.name.as_bytes());
            texts.plain.push(b'=');
            texts.resolved.clear();
            self.param(param, bytes, &mut texts);
            if !texts.resolved.is_empty() {
                texts.plain.push(b'(');
                texts.plain.extend_from_slice(&texts.resolved);
                texts.plain.push(b')');
            }
            texts.plain.push(b' ');
        }
        *out = texts.plain;
    }

    /// The texts of the parameter at `position`.
    pub(crate) fn at(&self, position: usize) -> Option<Texts> {
        let (param, bytes) = self.event.described().nth(position)?;
        let mut texts = Texts::default();
        self.param(param, bytes, &mut texts);
        Some(texts)
    }

    fn param(&self, param: &Param, bytes: &[u8], texts: &mut Texts) {
        let (mut ty, mut format, mut bytes) = (param.ty, param.format, bytes);
        if ty == ParamType::Dyn {
            let variant = bytes.split_first().and_then(|(variant, rest)| {
                let (ty, format) = param.variants.get(usize::from(*variant))?;
                Some((*ty, *format, rest))
            });
            match variant {
                Some(chosen) => (ty, format, bytes) = chosen,
                None if bytes.is_empty() => return texts.plain.extend_from_slice(b"<NA>"),
                None => return texts.plain.extend_from_slice(b"INVALID DYNAMIC PARAMETER"),
            }
        }
        match ty {
            ParamType::CharBuf => texts.plain.extend_from_slice(until_nul(bytes)),
            ParamType::FsPath | ParamType::FsRelPath => self.path(param, bytes, texts),
            ParamType::ByteBuf => {
                let style = &self.stream.style;
                style.payload.write(bytes, style.buffer_limit, &mut texts.plain);
            }
            ParamType::CharBufArray | ParamType::CharBufPairArray => {
                dots(bytes.strip_suffix(b"\0").unwrap_or(bytes), 0, &mut texts.plain);
            }
            ParamType::SockAddr | ParamType::SockTuple => self.socket(ty, bytes, &mut texts.plain),
            ParamType::FdList => self.fd_list(bytes, &mut texts.plain),
            _ if bytes.is_empty() => texts.plain.extend_from_slice(b"<NA>"),
            _ => self.number(ty, format, param.symbols, bytes, texts),
        }
    }

    fn number(
        &self,
        ty: ParamType,
        format: Format,
        symbols: Option<&Symbols>,
        bytes: &[u8],
        texts: &mut Texts,
    ) {
        let Some((value, width)) = integer(bytes) else {
            return texts.plain.extend_from_slice(b"(n.a.)");
        };
        let spare = 64 - 8 * width;
        let signed = (value << spare).cast_signed() >> spare;
        match ty {
            ParamType::Fd | ParamType::Fd32 => self.fd(signed, texts),
            ParamType::Pid | ParamType::Pid32 => {
                time::signed(&mut texts.plain, signed);
                if let Some(thread) = self.stream.thread(signed) {
                    texts.resolved.extend_from_slice(&thread.comm);
                }
            }
            ParamType::Errno => {
                // mmap's result is an address.
                let format = if signed < 0 { Format::Dec } else { format };
                formatted(format, value, signed, &mut texts.plain);
                texts.resolved.extend_from_slice(name::error(signed).unwrap_or_default().as_bytes());
            }
            ParamType::SyscallId => {
                time::decimal(&mut texts.plain, value);
                let known = u16::try_from(value).ok().and_then(syscall_name);
                texts.resolved.extend_from_slice(known.unwrap_or("<unknown>").as_bytes());
            }
            ParamType::SigType => {
                time::decimal(&mut texts.plain, value);
                texts.resolved.extend_from_slice(name::signal(value).unwrap_or_default().as_bytes());
            }
            ParamType::SigSet => {
                let names = (0..32u64).filter(|bit| value >> bit & 1 == 1);
                let names: Vec<_> = names.filter_map(|bit| name::signal(bit + 1)).collect();
                texts.plain.extend_from_slice(names.join(" ").as_bytes());
            }
            ParamType::RelTime if value == u64::MAX => texts.plain.extend_from_slice(b"none"),
            ParamType::RelTime => {
                time::decimal(&mut texts.plain, value);
                seconds(value, &mut texts.resolved);
            }
            ParamType::Flags8 | ParamType::Flags16 | ParamType::Flags32 => {
                time::decimal(&mut texts.plain, value);
                flags(symbols, value, &mut texts.resolved);
            }
            ParamType::EnumFlags8 | ParamType::EnumFlags16 | ParamType::EnumFlags32 => {
                time::decimal(&mut texts.plain, value);
                let known = symbols.and_then(|symbols| symbols.name(value));
                texts.resolved.extend_from_slice(known.unwrap_or_default().as_bytes());
            }
            ParamType::Mode => {
                formatted(format, value, signed, &mut texts.plain);
                flags(symbols, value, &mut texts.resolved);
            }
            ParamType::Uid => {
                let user = u32::try_from(value).ok().and_then(|uid| self.stream.users.get(&uid));
                account(value, user.map(|user| &user.name), texts);
            }
            ParamType::Gid => {
                account(value, u32::try_from(value).ok().and_then(|gid| self.stream.groups.get(&gid)), texts);
            }
            _ => formatted(
                format,
                value,
                if ty.is_signed() { signed } else { value.cast_signed() },
                &mut texts.plain,
            ),
        }
    }

    fn fd(&self, fd: i64, texts: &mut Texts) {
        time::signed(&mut texts.plain, fd);
        if fd == super::AT_FDCWD {
            texts.resolved.extend_from_slice(b"AT_FDCWD");
        } else if fd < 0 {
            texts.resolved.extend_from_slice(name::error(fd).unwrap_or_default().as_bytes());
        } else if let Some(descriptor) = self.stream.descriptor(self.event.tid, fd) {
            self.descriptor(descriptor, &mut texts.resolved);
        }
    }

    fn descriptor(&self, descriptor: &Descriptor, out: &mut Vec<u8>) {
        descriptor_letters(descriptor, out);
        match self.stream.services.as_ref().and_then(|services| services.name_of(descriptor)) {
            Some(name) => out.extend_from_slice(&name),
            None => push_printable(out, &descriptor.name),
        }
    }

    /// An address or both ends of a socket.
    fn socket(&self, ty: ParamType, bytes: &[u8], out: &mut Vec<u8>) {
        if let Some(services) = &self.stream.services {
            let thread = self.stream.thread(self.event.tid);
            let found = thread.and_then(|thread| self.stream.descriptor(thread.tid, thread.last_fd));
            let transport = found.map_or(Transport::Unknown, |found| found.transport);
            if let (ParamType::SockTuple, Some((_, source, destination))) = (ty, tuple(bytes)) {
                return out.extend_from_slice(services.ends((source, destination), transport).as_bytes());
            }
            if let (ParamType::SockAddr, Some(address)) = (ty, single(bytes)) {
                let mut text = String::new();
                services.end(&mut text, address, transport);
                return out.extend_from_slice(text.as_bytes());
            }
        }
        if ty == ParamType::SockAddr { socket_address(bytes, out) } else { socket_tuple(bytes, out) }
    }

    fn path(&self, param: &Param, bytes: &[u8], texts: &mut Texts) {
        let path = until_nul(bytes);
        push_printable(&mut texts.plain, path);
        if path.is_empty() || path.first() == Some(&b'/') || path.starts_with(b"<NA>") {
            return;
        }
        let dirfd = param.dirfd.and_then(|at| self.event.signed(usize::from(at)));
        let base = match dirfd {
            Some(fd) if fd != super::AT_FDCWD => {
                let directory = self.stream.descriptor(self.event.tid, fd);
                directory.map(|directory| [&*directory.name, b"/"].concat()).unwrap_or_default()
            }
            _ => self.stream.base(self.event.tid, super::AT_FDCWD, path),
        };
        texts.resolved = join(&base, path);
    }

    fn fd_list(&self, bytes: &[u8], out: &mut Vec<u8>) {
        let Some((count, mut rest)) = bytes.split_first_chunk::<2>() else { return };
        for at in 0..u16::from_le_bytes(*count) {
            let Some((fd, after)) = rest.split_first_chunk::<8>() else { return };
            let Some((flags, after)) = after.split_first_chunk::<2>() else { return };
            rest = after;
            let fd = i64::from_le_bytes(*fd);
            let letter = self.stream.descriptor(self.event.tid, fd).map_or("?", |found| found.kind.letter());
            let space = if at == 0 { "" } else { " " };
            let _ = write!(out, "{space}{fd}:{letter}{:x}", u16::from_le_bytes(*flags));
        }
    }
}

/// `<4t>`
fn descriptor_letters(descriptor: &Descriptor, out: &mut Vec<u8>) {
    out.push(b'<');
    out.extend_from_slice(descriptor.kind.letter().as_bytes());
    out.extend_from_slice(descriptor.protocol().letter().as_bytes());
    out.push(b'>');
}

fn account(value: u64, name: Option<&Arc<[u8]>>, texts: &mut Texts) {
    if value == u64::from(u32::MAX) {
        texts.plain.extend_from_slice(b"-1");
        return texts.resolved.extend_from_slice(b"<NONE>");
    }
    time::decimal(&mut texts.plain, value);
    texts.resolved.extend_from_slice(name.map_or(b"<NA>", |name| name));
}

fn integer(bytes: &[u8]) -> Option<(u64, u32)> {
    let mut value = [0; 8];
    value.get_mut(..bytes.len())?.copy_from_slice(bytes);
    let width = u32::try_from(bytes.len()).ok().filter(|width| *width > 0)?;
    Some((u64::from_le_bytes(value), width))
}

fn formatted(format: Format, value: u64, signed: i64, out: &mut Vec<u8>) {
    let _ = match format {
        Format::Hex => write!(out, "{value:X}"),
        Format::Oct if value == 0 => write!(out, "0"),
        Format::Oct => write!(out, "0{value:o}"),
        Format::PaddedDec => write!(out, "{signed:09}"),
        _ => return time::signed(out, signed),
    };
}

/// Names of bits, joined by `|`; a name of the whole value ends the list.
fn flags(symbols: Option<&Symbols>, initial: u64, out: &mut Vec<u8>) {
    let mut value = initial;
    let mut push = |name: &str| {
        if !out.is_empty() {
            out.push(b'|');
        }
        out.extend_from_slice(name.as_bytes());
    };
    for (bits, name) in symbols.into_iter().flat_map(|symbols| symbols.entries) {
        if *bits == initial {
            return push(name);
        }
        if *bits != 0 && value & bits == *bits {
            push(name);
            value &= !bits;
        }
    }
}

/// Nanoseconds as seconds with at most six digits, as C's `%g` writes them.
fn seconds(value: u64, out: &mut Vec<u8>) {
    let (whole, nanos) = (value / 1_000_000_000, value % 1_000_000_000);
    if nanos == 0 && whole < 1_000_000 {
        let _ = write!(out, "{whole}s");
        return;
    }
    #[allow(clippy::cast_precision_loss, reason = "six digits are shown")]
    let number = value as f64 / 1e9;
    out.extend_from_slice(general(number).as_bytes());
    out.push(b's');
}

/// C's `%g`.
pub(crate) fn general(number: f64) -> String {
    if number == 0.0 {
        return "0".to_owned();
    }
    let text = format!("{number:.5e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trim = |text: &str| {
        if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text.to_owned()
        }
    };
    if (-4..6).contains(&exponent) {
        let decimals = usize::try_from(5 - exponent).unwrap_or(0);
        return trim(&format!("{number:.decimals$}"));
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", trim(digits), exponent.abs())
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    CStr::from_bytes_until_nul(bytes).map_or(bytes, CStr::to_bytes)
}

/// A name without its control characters; nearly none has any.
fn push_printable(out: &mut Vec<u8>, name: &[u8]) {
    // All bytes are looked at: without a way out, that is done for many at once.
    if name.iter().fold(true, |all, byte| all & is_printable(*byte)) {
        return out.extend_from_slice(name);
    }
    out.extend(name.iter().copied().filter(|byte| is_printable(*byte)));
}

/// Bytes as ASCII with dots for what is not printable, cut to `limit` with three dots.
pub(crate) fn dots(bytes: &[u8], limit: usize, out: &mut Vec<u8>) {
    let cut = limit != 0 && bytes.len() > limit;
    let shown = if cut && limit > 3 {
        limit - 3
    } else if cut {
        limit
    } else {
        bytes.len()
    };
    let printable = |byte: &u8| if byte.is_ascii_graphic() || *byte == b' ' { *byte } else { b'.' };
    out.extend(bytes.iter().take(shown).map(printable));
    if cut && limit > 3 {
        out.extend_from_slice(b"...");
    }
}

/// A socket's address.
pub(crate) fn socket_address(bytes: &[u8], out: &mut Vec<u8>) {
    match (bytes.first(), single(bytes)) {
        (None, _) => out.extend_from_slice(b"NULL"),
        (_, Some(address)) => {
            let _ = write!(out, "{}:{}", address.ip(), address.port());
        }
        (Some(1), _) => {
            let path = until_nul(bytes.get(1..).unwrap_or_default());
            push_printable(out, path);
        }
        (Some(2), _) => out.extend_from_slice(b"INVALID IPv4"),
        (Some(10), _) => out.extend_from_slice(b"INVALID IPv6"),
        (Some(family), _) => {
            let _ = write!(out, "family {family}");
        }
    }
}

/// The two ends of a socket.
pub(crate) fn socket_tuple(bytes: &[u8], out: &mut Vec<u8>) {
    match (bytes.first(), tuple(bytes)) {
        (None, _) => out.extend_from_slice(b"NULL"),
        (_, Some((_, source, destination))) => {
            for (at, end) in [source, destination].into_iter().enumerate() {
                let arrow = if at == 0 { "" } else { "->" };
                let _ = write!(out, "{arrow}{}:{}", end.ip(), end.port());
            }
        }
        (Some(1), _) => {
            let pointer = |at: usize| {
                let chunk = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>());
                chunk.map_or(0, |chunk| u64::from_le_bytes(*chunk))
            };
            let _ = write!(out, "{:x}->{:x} ", pointer(1), pointer(9));
            let path = super::descriptor::unix_path(bytes);
            push_printable(out, path);
        }
        (Some(2), _) => out.extend_from_slice(b"INVALID IPv4"),
        (Some(10), _) => out.extend_from_slice(b"INVALID IPv6"),
        (Some(family), _) => {
            let _ = write!(out, "family {family}");
        }
    }
}

/// The time that `evt.outputtime` shows.
pub(crate) fn output_time(seen: &super::Seen<'_>, out: &mut Vec<u8>) {
    use super::Clock;
    let (stream, ts_ns) = (seen.stream, seen.event.ts_ns);
    match stream.style.clock {
        Clock::TimeOfDay => time::time_of_day(out, ts_ns, stream.style.utc_offset_s, true),
        Clock::Epoch => time::seconds(out, ts_ns),
        Clock::Relative => time::seconds(out, ts_ns.saturating_sub(stream.first_ns)),
        Clock::Latency => time::seconds(out, seen.latency_ns()),
        Clock::Delta => time::seconds(out, seen.since_last_read()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_cs_do() {
        for (number, text) in [
            (0.0, "0"),
            (1.5, "1.5"),
            (0.000_05, "5e-05"),
            (1e6, "1e+06"),
            (123.456_789, "123.457"),
            (0.25, "0.25"),
        ] {
            assert_eq!(general(number), text);
        }
    }

    #[test]
    fn bits_have_names() {
        static SYMBOLS: Symbols =
            Symbols { what: "t", entries: &[(3, "RW"), (2, "W"), (1, "R"), (4, "C"), (0, "NONE")] };
        for (value, text) in [(3, "RW"), (7, "RW|C"), (5, "R|C"), (0, "NONE"), (8, "")] {
            let mut out = Vec::new();
            flags(Some(&SYMBOLS), value, &mut out);
            assert_eq!(out, text.as_bytes(), "{value}");
        }
    }

    #[test]
    fn buffers_are_cut() {
        let mut out = Vec::new();
        dots(b"ab\0\xffcdefgh", 8, &mut out);
        assert_eq!(out, b"ab..c...");
    }
}
