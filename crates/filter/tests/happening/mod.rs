//! Events as the state shows them, and filters about them, made of choices.

#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use nabe_event::field::{
    Class, container as c, descriptor as d, event as e, file as f, process as p, thread as t,
};
use nabe_event::table::{EventId, Flags};
use nabe_event::{FieldId, Fields, Missing, Value};
use proptest::prelude::*;

/// Choices taken from bytes.
pub(crate) struct Choice<'b>(core::slice::Iter<'b, u8>);

impl<'b> Choice<'b> {
    pub(crate) fn new(bytes: &'b [u8]) -> Self {
        Self(bytes.iter())
    }

    pub(crate) fn is_spent(&self) -> bool {
        self.0.len() == 0
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        usize::from(self.0.next().copied().unwrap_or(0)) % n
    }

    fn of<'a>(&mut self, items: &[&'a str]) -> &'a str {
        items[self.below(items.len())]
    }

    /// A filter of sysdig's language.
    pub(crate) fn filter(&mut self, depth: usize) -> String {
        if depth == 0 || self.is_spent() {
            return self.test();
        }
        match self.below(7) {
            0 | 1 => format!("({} and {})", self.filter(depth - 1), self.filter(depth - 1)),
            2 | 3 => format!("({} or {})", self.filter(depth - 1), self.filter(depth - 1)),
            4 => format!("not ({})", self.filter(depth - 1)),
            _ => self.test(),
        }
    }

    fn test(&mut self) -> String {
        const NAMES: &[&str] =
            &["open", "openat", "close", "read", "syscall", "mincore", "procexit", "execve"];
        const NUMBERS: &[&str] = &["0", "-1", "-13", "3", "-2147483648"];
        const EQUAL: &[&str] = &["=", "!="];
        const PATHS: &[&str] = &["/etc/passwd", "/etc", "/", "passwd", "/tmp", "x", "10.0"];
        const TRUTH: &[&str] = &["true", "false"];
        match self.below(24) {
            0 | 1 => format!("evt.type {} {}", self.of(EQUAL), self.of(NAMES)),
            2 => format!("evt.type in ({}, {})", self.of(NAMES), self.of(NAMES)),
            3 => format!("syscall.type {} {}", self.of(&["=", "!=", "contains", "endswith"]), self.of(NAMES)),
            4 => format!("evt.dir {} {}", self.of(EQUAL), self.of(&["'<'", "'>'"])),
            5 => {
                format!("evt.category {} {}", self.of(EQUAL), self.of(&["file", "net", "memory", "process"]))
            }
            6 => {
                let field = self.of(&[
                    "is_io",
                    "is_io_read",
                    "is_io_write",
                    "is_wait",
                    "failed",
                    "is_async",
                    "is_open_read",
                ]);
                format!("evt.{field} {} {}", self.of(EQUAL), self.of(TRUTH))
            }
            7 => format!("evt.rawres {} {}", self.of(&["=", "!=", "<", "<=", ">", ">="]), self.of(NUMBERS)),
            8 => format!(
                "evt.res {} {}",
                self.of(&["=", "!=", "contains", "endswith"]),
                self.of(&["SUCCESS", "EACCES", "S"])
            ),
            9 => format!(
                "evt.arg.{} {}",
                self.of(&["fd", "flags", "name"]),
                self.of(&["exists", "= 3", "!= 3"])
            ),
            10 => format!("fd.num {} {}", self.of(&["=", "!=", "<"]), self.of(NUMBERS)),
            11 => format!("proc.pid {} {}", self.of(&["=", "!=", "<"]), self.of(&["1", "2"])),
            12 => format!("proc.name {} {}", self.of(&["=", "!=", "contains"]), self.of(&["cat", "sh"])),
            13 => format!("user.uid {} {}", self.of(EQUAL), self.of(&["0", "1000"])),
            14 => format!("container.id {} {}", self.of(EQUAL), self.of(&["host", "abc"])),
            15 | 16 => {
                let field = self.of(&["fd.name", "fd.directory", "fd.filename"]);
                let op = self.of(&["=", "!=", "contains", "startswith", "endswith"]);
                format!("{field} {op} {}", self.of(PATHS))
            }
            17 => format!("fd.name pmatch ({}, {})", self.of(PATHS), self.of(PATHS)),
            18 => format!("fd.typechar {} {}", self.of(EQUAL), self.of(&["f", "d", "4"])),
            19 => {
                let tests: Vec<String> = (0..6)
                    .map(|_| {
                        format!(
                            "fd.name {} {}",
                            self.of(&["contains", "startswith", "endswith"]),
                            self.of(PATHS)
                        )
                    })
                    .collect();
                format!("({})", tests.join(" or "))
            }
            20 => format!("proc.aname in ({}, {})", self.of(&["cat", "sh"]), self.of(&["init", "sh"])),
            21 => format!("(fd.name exists or not proc.pname = {})", self.of(&["cat", "init"])),
            _ => format!("evt.io_dir {} {}", self.of(EQUAL), self.of(&["read", "write"])),
        }
    }

    pub(crate) fn happening(&mut self) -> Happening {
        const NAMED: &[&str] =
            &["open", "openat", "close", "read", "syscall", "procexit", "asyncevent", "execve"];
        let id = if self.below(3) == 0 {
            let high = self.below(256);
            EventId::new(u16::try_from((high * 256 + self.below(256)) % usize::from(EventId::COUNT)).unwrap())
                .unwrap()
        } else {
            let name = self.of(NAMED);
            let ids: Vec<EventId> = EventId::named(name).collect();
            ids[self.below(ids.len())]
        };
        let generic = ["mincore", "openat", "<unknown>"][self.below(3)];
        Happening {
            id,
            name: if id.name() == "syscall" { generic } else { id.name() },
            result: [-1, -13, -4095, i64::MIN, 0, 3, i64::MAX][self.below(7)],
            known: self.below(8) != 0,
            pid: [1, 2][self.below(2)],
            comm: ["cat", "sh"][self.below(2)],
            uid: [0, 1000][self.below(2)],
            container: ["host", "abc"][self.below(2)],
            path: [None, Some("/etc/passwd"), Some("/etc/"), Some("/tmp/x"), Some("10.0.0.1:1->10.0.0.2:2")]
                [self.below(5)],
            kind: ["f", "d", "4"][self.below(3)],
            word: ["file", "net", "3", "x"][self.below(4)],
        }
    }
}

/// An event as the state shows it.
#[derive(Debug)]
pub(crate) struct Happening {
    pub(crate) id: EventId,
    pub(crate) name: &'static str,
    result: i64,
    /// Whether the record is long enough to have its result.
    known: bool,
    pub(crate) pid: i64,
    pub(crate) comm: &'static str,
    pub(crate) uid: i64,
    pub(crate) container: &'static str,
    path: Option<&'static str>,
    kind: &'static str,
    word: &'static str,
}

impl Happening {
    /// A number for what is a fact of the process.
    pub(crate) fn image(&self) -> u64 {
        let facts = (self.comm, self.pid, self.uid, self.container);
        let mut hasher = DefaultHasher::new();
        facts.hash(&mut hasher);
        hasher.finish() | 1
    }

    pub(crate) fn result(&self) -> Option<i64> {
        let row = self.id.row();
        let creates = row.flags.has(Flags::CREATES_FD) && row.param("fd").is_some();
        let has = !self.id.is_enter() && self.known && (creates || row.param("res").is_some());
        has.then_some(self.result)
    }
}

impl Fields for Happening {
    fn get(&self, field: FieldId, arg: Option<&[u8]>) -> Value<'_> {
        let row = self.id.row();
        let text = |text: &'static str| Value::Text(text.as_bytes());
        let (reads, writes) = (row.flags.has(Flags::READS_FROM_FD), row.flags.has(Flags::WRITES_TO_FD));
        match field {
            e::TYPE => text(self.name),
            e::SYSCALL_TYPE if self.id.is_syscall() => text(self.name),
            e::DIR => text(if self.id.is_enter() { ">" } else { "<" }),
            e::CATEGORY if self.id.name() == "syscall" => text(self.word),
            e::CATEGORY => match row.category.class().map_or(&["unknown"][..], |class| class.words()) {
                [word] => text(word),
                _ => text(self.word),
            },
            e::IS_IO => Value::Bool(reads || writes),
            e::IS_IO_READ => Value::Bool(reads),
            e::IS_IO_WRITE => Value::Bool(writes),
            e::IO_DIR if reads || writes => text(if reads { "read" } else { "write" }),
            e::IS_WAIT => Value::Bool(row.flags.has(Flags::WAITS)),
            e::IS_ASYNC => Value::Bool(self.id.name() == "asyncevent"),
            e::IS_OPEN_READ => {
                Value::Bool(!self.id.is_enter() && self.id.name().starts_with("open") && self.uid == 0)
            }
            e::FAILED => Value::Bool(self.result().is_some_and(|result| result < 0)),
            e::RAWRES => self.result().map_or(Value::Missing(Missing::Unset), Value::Int),
            e::RES => match self.result() {
                Some(0..) => text("SUCCESS"),
                Some(-13) => text("EACCES"),
                Some(_) => text("-1"),
                None => Value::Missing(Missing::Unset),
            },
            e::ARG => {
                let has = arg.and_then(|arg| row.param(core::str::from_utf8(arg).ok()?)).is_some();
                if has { text(self.word) } else { Value::Missing(Missing::Unset) }
            }
            _ if matches!(field.class(), Class::Descriptor | Class::File) => self.of_descriptor(field),
            t::PNAME => text(if self.pid == 1 { "init" } else { "sh" }),
            t::ANAME => match arg {
                Some(b"1") => text(if self.pid == 1 { "init" } else { "sh" }),
                Some(b"2") if self.pid != 1 => text("init"),
                _ => Value::Missing(Missing::Unset),
            },
            p::PID => Value::Int(self.pid),
            p::NAME => text(self.comm),
            p::EUID => Value::Int(self.uid),
            c::ID => text(self.container),
            _ => Value::Missing(Missing::Unset),
        }
    }

    fn related(&self, _: FieldId, _: &mut dyn FnMut(&dyn Fields) -> bool) -> Option<usize> {
        None
    }
}

impl Happening {
    /// What follows from the path and the kind, where the event works on a descriptor at all.
    fn of_descriptor(&self, field: FieldId) -> Value<'_> {
        const UNSET: Value<'static> = Value::Missing(Missing::Unset);
        let flags = self.id.row().flags;
        if !(flags.has(Flags::USES_FD) || flags.has(Flags::CREATES_FD) || flags.has(Flags::DESTROYS_FD)) {
            return UNSET;
        }
        let Some(path) = self.path else { return if field == f::FD { Value::Int(-1) } else { UNSET } };
        let (directory, file) = path.rsplit_once('/').unwrap_or(("/", path));
        match field {
            f::FD => Value::Int(3),
            d::NAME => Value::Text(path.as_bytes()),
            d::TYPECHAR => Value::Text(self.kind.as_bytes()),
            d::DIRECTORY if self.kind != "4" => Value::Text(directory.as_bytes()),
            d::FILENAME if self.kind == "f" => Value::Text(file.as_bytes()),
            _ => UNSET,
        }
    }
}

pub(crate) fn bytes(length: usize) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..length)
}
