//! Fields of the event itself.

use core::sync::atomic::Ordering;

use nabe_event::field::event as e;
use nabe_event::table::{Class, EventId, Flags, ParamType, syscall_name};
use nabe_event::{FieldId, Value};

use super::{Seen, UNSET, unsigned, word};
use crate::stream::descriptor::Kind;
use crate::stream::transition::Act;
use crate::stream::{AT_FDCWD, name, path, render, time};

const SECOND: u64 = 1_000_000_000;

impl Seen<'_> {
    pub(super) fn of_event(&self, field: FieldId, arg: Option<&[u8]>) -> Value<'_> {
        let event = &self.event;
        match field {
            e::NUM => Value::Uint(self.stream.number),
            e::CPU => Value::Int(i64::from(event.cpu)),
            e::DIR => Value::Text(if event.id.is_enter() { b">" } else { b"<" }),
            e::TYPE => Value::Text(self.name().as_bytes()),
            e::SYSCALL_TYPE if event.id.is_syscall() => Value::Text(self.name().as_bytes()),
            e::TYPE_IS => self.is_type(arg),
            e::CATEGORY => self.category(),
            e::ARGS | e::INFO => self.args(),
            e::ARG => self.arg(arg),
            e::RAWARG => self.raw_arg(arg),
            e::BUFFER => self.buffer(),
            e::COUNT => Value::Uint(1),
            e::CNT => Value::Uint(self.stream.reads.fetch_add(1, Ordering::Relaxed) + 1),
            e::COUNT_PROCINFO if event.id == EventId::PROCINFO_E => Value::Uint(1),
            e::COUNT_THREADINFO if event.id == EventId::PROCINFO_E => Value::Uint(1),
            e::FDLIST_NUMS
            | e::FDLIST_NAMES
            | e::FDLIST_CIPS
            | e::FDLIST_SIPS
            | e::FDLIST_CPORTS
            | e::FDLIST_SPORTS => self.of_fd_list(field),
            e::AROUND => self.around(arg),
            e::COUNT_EXIT if !event.id.is_enter() => Value::Uint(1),
            e::SOURCE => Value::Text(b"syscall"),
            e::HOSTNAME => Value::Text(&self.stream.hostname),
            e::IS_ASYNC => Value::Bool(event.id.name() == "asyncevent"),
            e::ASYNCTYPE | e::PLUGINNAME | e::PLUGININFO if event.id.name() == "asyncevent" => {
                self.position("name").and_then(|at| event.text(at)).map_or(UNSET, Value::Text)
            }
            _ if self.is_of_result(field) => self.of_result(field),
            _ if self.is_of_payload(field) => self.of_payload(field),
            e::FS_PATH_NAME
            | e::FS_PATH_NAMERAW
            | e::FS_PATH_SOURCE
            | e::FS_PATH_SOURCERAW
            | e::FS_PATH_TARGET
            | e::FS_PATH_TARGETRAW
            | e::ABSPATH => self.of_path(field, arg),
            e::IS_OPEN_READ | e::IS_OPEN_WRITE | e::IS_OPEN_EXEC | e::IS_OPEN_CREATE => self.of_open(field),
            _ => self.of_time(field),
        }
    }

    /// Its name; of a system call without an event of its own, that call's.
    #[must_use]
    pub fn name(&self) -> &'static str {
        let id = self.event.id;
        if matches!(id, EventId::GENERIC_E | EventId::GENERIC_X) {
            let code = self.event.unsigned(0).and_then(|code| u16::try_from(code).ok());
            return code.and_then(syscall_name).unwrap_or("<unknown>");
        }
        id.name()
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.event.id.row().param(name).map(|(at, _)| at)
    }

    /// The payload. What is called data is a number in some events.
    fn buffer(&self) -> Value<'_> {
        let Some((at, param)) = self.event.id.row().param("data") else { return UNSET };
        if param.ty != ParamType::ByteBuf {
            return self.argument_text("data");
        }
        self.event.params.get(at).map_or(UNSET, Value::Text)
    }

    fn is_type(&self, arg: Option<&[u8]>) -> Value<'_> {
        let wanted = arg.and_then(|arg| core::str::from_utf8(arg).ok());
        let matches = wanted
            .is_some_and(|wanted| wanted.parse() == Ok(self.event.id.number()) || wanted == self.name());
        Value::Uint(u64::from(matches))
    }

    fn args(&self) -> Value<'_> {
        self.made(|out| self.append_args(out))
    }

    fn append_args(&self, out: &mut Vec<u8>) {
        if !matches!(self.event.id, EventId::GENERIC_E | EventId::GENERIC_X) {
            self.renderer().all(out);
        }
    }

    fn append_output_time(&self, out: &mut Vec<u8>) {
        render::output_time(self, out);
    }

    /// [`Fields::append`](nabe_event::Fields::append) for the texts that nearly every line has.
    #[inline]
    pub(super) fn append_of_event(&self, field: FieldId, out: &mut Vec<u8>) -> bool {
        match field {
            e::ARGS | e::INFO => self.append_args(out),
            e::OUTPUTTIME => self.append_output_time(out),
            _ => return false,
        }
        true
    }

    /// The text of the parameter with this name.
    pub(super) fn argument_text(&self, name: &str) -> Value<'_> {
        self.arg(Some(name.as_bytes()))
    }

    fn argument(&self, arg: Option<&[u8]>) -> Option<usize> {
        let arg = core::str::from_utf8(arg?).ok()?;
        arg.parse().ok().or_else(|| self.position(arg))
    }

    fn arg(&self, arg: Option<&[u8]>) -> Value<'_> {
        let texts = self.argument(arg).and_then(|at| self.renderer().at(at));
        texts.map_or(UNSET, |texts| self.keep(texts.best()))
    }

    fn raw_arg(&self, arg: Option<&[u8]>) -> Value<'_> {
        let Some(at) = self.argument(arg) else { return UNSET };
        let Some(param) = self.event.id.row().params.get(at) else { return UNSET };
        let Some(bytes) = self.event.param(at) else { return UNSET };
        if param.ty.is_integer() {
            return match param.ty.is_signed() {
                true => self.event.signed(at).map_or(UNSET, Value::Int),
                false => unsigned(self.event.unsigned(at)),
            };
        }
        Value::Text(bytes.strip_suffix(b"\0").unwrap_or(bytes))
    }

    /// The result of an exit event: `res`, or the descriptor that it made.
    pub(super) fn result(&self) -> Option<i64> {
        let id = self.event.id;
        if id.is_enter() {
            return None;
        }
        let created = || self.position("fd").filter(|_| id.row().flags.has(Flags::CREATES_FD));
        let at = self.position("res").or_else(created)?;
        self.event.signed(at)
    }

    fn is_of_result(&self, field: FieldId) -> bool {
        matches!(
            field,
            e::RES
                | e::RAWRES
                | e::FAILED
                | e::COUNT_ERROR
                | e::COUNT_ERROR_FILE
                | e::COUNT_ERROR_NET
                | e::COUNT_ERROR_MEMORY
                | e::COUNT_ERROR_OTHER
        )
    }

    fn of_result(&self, field: FieldId) -> Value<'_> {
        let result = self.result();
        let failed = result.is_some_and(|result| result < 0);
        let counts = |is: bool| if failed && is { Value::Uint(1) } else { UNSET };
        // By the descriptor; where there is none, by the calls that would have made one.
        let (id, kind) = (self.event.id, self.descriptor().map(|found| found.kind));
        let is_memory = matches!(id.row().category.class(), Some(Class::Memory));
        let (file, net, memory) = match kind {
            Some(kind) => {
                let net = kind.is_connection() || kind.is_server() || kind == Kind::Unix;
                (matches!(kind, Kind::File | Kind::Directory), net, false)
            }
            None => {
                let net = matches!(id.name(), "accept" | "accept4" | "connect");
                (matches!(id.name(), "open" | "creat" | "openat" | "openat2"), net, is_memory)
            }
        };
        match (field, result) {
            (e::RAWRES, Some(result)) => Value::Int(result),
            (e::RES, Some(0..)) => Value::Text(b"SUCCESS"),
            (e::RES, Some(result)) => match name::error(result) {
                Some(name) => Value::Text(name.as_bytes()),
                None => self.keep(result.to_string()),
            },
            (e::FAILED, _) => Value::Bool(failed),
            (e::COUNT_ERROR, _) => counts(true),
            (e::COUNT_ERROR_FILE, _) => counts(file),
            (e::COUNT_ERROR_NET, _) => counts(net),
            (e::COUNT_ERROR_MEMORY, _) => counts(is_memory),
            (e::COUNT_ERROR_OTHER, _) => counts(!file && !net && !memory),
            _ => UNSET,
        }
    }

    fn category(&self) -> Value<'_> {
        let class = self.event.id.row().category.class();
        if matches!(self.event.id, EventId::GENERIC_E | EventId::GENERIC_X) {
            return Value::Text(super::category::of(self.name()).as_bytes());
        }
        class.map_or(Value::Text(b"unknown"), |class| self.about(class))
    }

    fn about(&self, class: Class) -> Value<'_> {
        let words = match class {
            Class::Other => "other",
            Class::File => "file",
            Class::Net => "net",
            Class::Ipc => "IPC",
            Class::Memory => "memory",
            Class::Process => "process",
            Class::Sleep => "sleep",
            Class::System => "system",
            Class::Signal => "signal",
            Class::User => "user",
            Class::Time => "time",
            Class::Processing => "processing",
            Class::IoRead | Class::IoWrite | Class::IoOther => return self.io_category(),
            Class::Wait => "wait",
            Class::Scheduler => "scheduler",
            Class::Internal => "internal",
        };
        Value::Text(words.as_bytes())
    }

    fn io_category(&self) -> Value<'_> {
        Value::Text(match self.descriptor().map(|found| found.kind) {
            Some(Kind::File | Kind::Directory) => b"file",
            Some(kind) if kind.is_connection() || kind.is_server() => b"net",
            Some(Kind::Fifo | Kind::Unix | Kind::Event | Kind::Signal | Kind::Inotify) => b"ipc",
            Some(_) => b"other",
            None => b"unknown",
        })
    }

    fn is_of_payload(&self, field: FieldId) -> bool {
        (e::BUFLEN..=e::BUFLEN_NET_OUT).contains(&field)
            || (e::IS_IO..=e::IS_WAIT).contains(&field)
            || field == e::IS_SYSLOG
    }

    fn of_payload(&self, field: FieldId) -> Value<'_> {
        let row = self.event.id.row();
        let reads = row.flags.has(Flags::READS_FROM_FD);
        let writes = row.flags.has(Flags::WRITES_TO_FD);
        match field {
            e::IS_IO => return Value::Bool(reads || writes),
            e::IS_IO_READ => return Value::Bool(reads),
            e::IS_IO_WRITE => return Value::Bool(writes),
            e::IO_DIR => return word(if reads { Some("read") } else { writes.then_some("write") }),
            e::IS_WAIT => return Value::Bool(row.flags.has(Flags::WAITS)),
            e::IS_SYSLOG => {
                let syslog = |found: &crate::stream::Descriptor| found.name.ends_with(b"/dev/log");
                return Value::Bool(writes && self.descriptor().is_some_and(syslog));
            }
            _ => {}
        }
        let Some(descriptor) = self.descriptor() else { return UNSET };
        // Whatever works on a descriptor counts, as in sysdig; only reads and writes have a direction.
        let is_io = matches!(row.category.class(), Some(Class::IoRead | Class::IoWrite | Class::IoOther));
        let Some(bytes) = self.result().filter(|bytes| *bytes >= 0 && (reads || writes || is_io)) else {
            return UNSET;
        };
        let file = descriptor.kind == Kind::File;
        let net = descriptor.kind.is_connection() || descriptor.kind == Kind::Unix;
        let wanted = match field {
            e::BUFLEN => true,
            e::BUFLEN_IN => reads,
            e::BUFLEN_OUT => writes,
            e::BUFLEN_FILE => file,
            e::BUFLEN_FILE_IN => file && reads,
            e::BUFLEN_FILE_OUT => file && writes,
            e::BUFLEN_NET => net,
            e::BUFLEN_NET_IN => net && reads,
            _ => net && writes,
        };
        if wanted { Value::Uint(bytes.cast_unsigned()) } else { UNSET }
    }

    fn of_open(&self, field: FieldId) -> Value<'_> {
        const READ: i64 = 1;
        const WRITE: i64 = 2;
        const CREATED: i64 = 1 << 14 | 4;
        const TMPFILE: i64 = 1 << 13;
        let id = self.event.id;
        if id.is_enter()
            || !matches!(id.name(), "open" | "openat" | "openat2" | "creat" | "open_by_handle_at")
        {
            return Value::Bool(false);
        }
        let number = |name: &str| self.position(name).and_then(|at| self.event.signed(at)).unwrap_or(0);
        let (flags, mode) = (number("flags"), number("mode"));
        let creat = id.name() == "creat";
        Value::Bool(match field {
            e::IS_OPEN_READ => flags & READ != 0,
            e::IS_OPEN_WRITE => creat || flags & WRITE != 0,
            e::IS_OPEN_EXEC => (creat || flags & (CREATED | TMPFILE) != 0) && mode & 0o111 != 0,
            _ => creat || flags & CREATED != 0,
        })
    }

    fn of_path(&self, field: FieldId, arg: Option<&[u8]>) -> Value<'_> {
        if field == e::ABSPATH {
            return self.absolute_path(arg);
        }
        let first = |names: &[&str]| names.iter().find_map(|name| self.position(name));
        let of = |field: FieldId| match field {
            e::FS_PATH_SOURCE | e::FS_PATH_SOURCERAW => first(&["oldpath", "target", "special"]),
            e::FS_PATH_TARGET | e::FS_PATH_TARGETRAW => first(&["newpath", "linkpath", "dir"]),
            _ => first(&["name", "path", "filename", "pathname"]),
        };
        let Some(at) = of(field) else { return UNSET };
        let Some(raw) = self.event.text(at) else { return UNSET };
        if matches!(field, e::FS_PATH_NAMERAW | e::FS_PATH_SOURCERAW | e::FS_PATH_TARGETRAW) {
            return Value::Text(raw);
        }
        self.whole_path(at, raw)
    }

    /// `evt.abspath`: the path of a call that takes one relative to a directory. Calls with one path,
    /// or with one place (`symlinkat`), have the same for `.src` and `.dst`.
    fn absolute_path(&self, arg: Option<&[u8]>) -> Value<'_> {
        let (id, is_target) = (self.event.id, matches!(arg, Some(b"dst" | b"dest")));
        // Of three calls the oldest layout has all in its enter event.
        let in_enter =
            matches!(id.name(), "openat" | "linkat" | "unlinkat") && id.row().flags.has(Flags::OLD_VERSION);
        let name = match id.name() {
            _ if id.is_enter() != in_enter => return UNSET,
            "openat" | "openat2" | "unlinkat" => "name",
            "linkat" | "renameat" | "renameat2" if is_target => "newpath",
            "linkat" | "renameat" | "renameat2" => "oldpath",
            "symlinkat" => "linkpath",
            "mkdirat" => "path",
            "fchmodat" => "filename",
            _ => return UNSET,
        };
        let found = self.position(name).and_then(|at| Some((at, self.event.text(at)?)));
        found.map_or(UNSET, |(at, raw)| self.whole_path(at, raw))
    }

    /// The path `raw` of parameter `at`, behind the directory that it is relative to.
    fn whole_path(&self, at: usize, raw: &[u8]) -> Value<'_> {
        let dirfd = self.event.id.row().params.get(at).and_then(|param| param.dirfd);
        let dirfd = dirfd.and_then(|at| self.event.signed(usize::from(at))).unwrap_or(AT_FDCWD);
        let mut base = self.stream.base(self.event.tid, dirfd, raw);
        // The directory that nobody knows: sysdig ends it here, but not in the names of descriptors.
        if base.last().is_some_and(|last| *last != b'/') {
            base.push(b'/');
        }
        self.keep(path::join(&base, raw))
    }

    /// Whether it ends a call that makes its thread wait.
    fn has_waited(&self) -> bool {
        self.event.id.row().flags.has(Flags::WAITS) && !self.event.id.is_enter()
    }

    /// How long the call took that the event ends, or the thread's last one where the event is no act
    /// of it.
    pub(crate) fn latency_ns(&self) -> u64 {
        let id = self.event.id;
        let begins = id.is_enter() && !Act::of(id).is_apart && id.name() != "switch";
        if begins { 0 } else { self.thread.map_or(0, |thread| thread.latency_ns) }
    }

    /// Nanoseconds since the event before it of which this was asked: lines show the time since the
    /// line above, whatever a filter left out between them.
    pub(crate) fn since_last_read(&self) -> u64 {
        self.stream.pace.since(self.stream.number, self.event.ts_ns)
    }

    fn of_time(&self, field: FieldId) -> Value<'_> {
        let (ts, offset) = (self.event.ts_ns, self.stream.style.utc_offset_s);
        let latency = || self.latency_ns();
        let relative = ts.saturating_sub(self.stream.first_ns);
        let span = |span: u64| Value::Int(i64::try_from(span).unwrap_or(i64::MAX));
        match field {
            e::TIME => self.made(|out| time::time_of_day(out, ts, offset, true)),
            e::TIME_S => self.made(|out| time::time_of_day(out, ts, offset, false)),
            e::DATETIME | e::DATETIME_S => self.made(|out| {
                time::date(out, ts, offset);
                out.push(b' ');
                time::time_of_day(out, ts, offset, field == e::DATETIME);
            }),
            e::TIME_ISO8601 => self.made(|out| {
                time::date(out, ts, 0);
                out.push(b'T');
                time::time_of_day(out, ts, 0, true);
                out.extend_from_slice(b"+0000");
            }),
            e::OUTPUTTIME => self.made(|out| self.append_output_time(out)),
            e::RAWTIME => Value::Uint(ts),
            e::RAWTIME_S => Value::Uint(ts / SECOND),
            e::RAWTIME_NS => Value::Uint(ts % SECOND),
            e::RELTIME => span(relative),
            e::RELTIME_S => span(relative / SECOND),
            e::RELTIME_NS => span(relative % SECOND),
            e::DELTATIME => span(self.since_last_read()),
            e::DELTATIME_S => span(self.since_last_read() / SECOND),
            e::DELTATIME_NS => span(self.since_last_read() % SECOND),
            e::LATENCY => span(latency()),
            e::LATENCY_S => span(latency() / SECOND),
            e::LATENCY_NS => span(latency() % SECOND),
            e::LATENCY_QUANTIZED => self.quantized(latency()),
            e::LATENCY_HUMAN => self.keep(time::human(latency())),
            e::WAIT_LATENCY if self.has_waited() => span(latency()),
            _ => UNSET,
        }
    }
}
