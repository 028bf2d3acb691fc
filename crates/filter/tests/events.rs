//! Which events a filter can select, and what of it the kernel decides: no match is lost.

use nabe_event::field::{Class, container as c, event as e, file as f, process as p};
use nabe_event::source::{EventInterest, EventSet};
use nabe_event::table::{EventId, Flags, syscall_name};
use nabe_event::{FieldId, Fields, Missing, Value};
use nabe_filter::{Classes, Lang, Program};
use proptest::prelude::*;

fn compile(source: &str) -> Program {
    Program::sysdig(source).unwrap_or_else(|error| panic!("{source}\n{error}"))
}

fn names(set: &EventSet) -> Vec<&'static str> {
    let mut names: Vec<_> = set.iter().map(EventId::name).collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[test]
fn events_that_can_match() {
    for (filter, expected) in [
        ("evt.type = openat", &["openat"][..]),
        ("evt.type in (open, openat) and fd.name contains etc", &["open", "openat"]),
        ("evt.type = open or (evt.type = close and evt.failed = true)", &["close", "open"]),
        ("evt.type = open and evt.type = close", &[]),
        ("not evt.type exists", &[]),
        ("evt.is_open_write = true", &["creat", "open", "open_by_handle_at", "openat", "openat2"]),
        (
            "evt.is_open_write = true and fd.name = /x and evt.type != open and not evt.type startswith creat",
            &["open_by_handle_at", "openat", "openat2"],
        ),
        ("evt.asynctype = container", &["asyncevent"]),
        ("evt.arg.oldpath = /x and evt.arg.flags exists and evt.rawres < 0", &["linkat", "renameat2"]),
        ("proc.name = x and evt.type = kill", &["kill"]),
        // A system call without an event of its own.
        ("evt.type = mincore", &["syscall"]),
        ("syscall.type in (mincore, close)", &["close", "syscall"]),
        ("evt.category = memory and evt.type startswith mm", &["mmap", "mmap2"]),
    ] {
        let interest = compile(filter).event_interest();
        assert_eq!(names(&interest.events), expected, "{filter}");
        assert!(compile(filter).events().clone().intersection(&interest.events) == interest.events);
    }
    // An old capture may have any system call as a generic event.
    assert!(compile("evt.type = openat2").events().contains(EventId::GENERIC_X));
    assert!(!compile("evt.type = switch").events().contains(EventId::GENERIC_X));
    assert_eq!(*compile("proc.name = x").events(), EventSet::all());
    let exits = compile("evt.dir = <");
    assert!(exits.events().iter().all(|id| !id.is_enter()) && !exits.events().is_empty());
}

#[test]
fn what_is_pushed_down() {
    let of = |filter: &str| compile(filter).event_interest();
    let interest = of("evt.type = read and proc.pid in (3, 1) and proc.name in (a, b) and user.uid = 0");
    assert_eq!(interest.pids, Some(vec![1, 3]));
    assert_eq!(interest.names, Some(vec![b"a".to_vec(), b"b".to_vec()]));
    assert_eq!((interest.euids, interest.only_failed, interest.snaplen), (Some(vec![0]), false, 0));
    for (filter, only_failed) in [
        ("evt.failed = true", true),
        ("evt.rawres < 0", true),
        ("evt.rawres = -13 or evt.res = EACCES", true),
        ("evt.res != SUCCESS", true),
        ("not evt.res = SUCCESS", false),
        ("evt.rawres <= 0", false),
        ("evt.failed = true or proc.name = x", false),
        ("evt.type = openat and evt.res = ENOENT", true),
    ] {
        assert_eq!(of(filter).only_failed, only_failed, "{filter}");
    }
    for (filter, reads) in [
        ("evt.buffer contains x", true),
        ("evt.arg.data contains x", true),
        ("evt.arg[1] contains x", true),
        ("evt.args contains x", true),
        ("evt.arg.flags contains x and evt.buflen > 3", false),
        ("fd.name contains x", false),
    ] {
        assert_eq!(of(filter).snaplen, if reads { 80 } else { 0 }, "{filter}");
    }
    let ids = |filter: &str| compile(filter).containers();
    assert_eq!(ids("container.id = a or (container.id in (b, c) and evt.type = open)"), {
        Some(vec![b"a".to_vec(), b"b".to_vec(), b"c".to_vec()])
    });
    assert_eq!(ids("container.id = host"), Some(vec![b"".to_vec(), b"host".to_vec()]));
    assert_eq!(ids("container.id != a"), None);
    assert_eq!(ids("container.id = a or proc.name = b"), None);
}

#[test]
fn plans_say_what_is_pushed_down() {
    let explained =
        compile("evt.type = openat and proc.name = cat and container.id = abc and evt.failed = true")
            .explain();
    for line in [
        "events     openat (1 name)\n",
        "payload    none\n",
        "pushed     name cat; only what failed; container abc\n",
    ] {
        assert!(explained.contains(line), "{explained}");
    }
    assert!(compile("evt.buffer contains x").explain().contains("payload    read\n"));
}

#[test]
fn filters_are_about_the_fields_of_their_source() {
    let audit = Classes::of_source("k8s_audit", &[Class::Container]);
    for lang in [Lang::Sysdig, Lang::Auto, Lang::Cel] {
        let compile = |source: &str| Program::compile_for(source, lang, audit);
        assert!(compile("container.name != \"x\"").is_ok());
        assert!(compile("evt.source != \"x\"").is_ok());
        let error = compile("proc.name != \"x\"").unwrap_err().to_string();
        assert!(error.contains("is no field of k8s_audit"), "{error}");
        assert!(error.contains("a field of system calls' events"), "{error}");
        let error = compile("evt.typo != \"x\"").unwrap_err().to_string();
        assert!(!error.contains("evt.type"), "{error}");
        assert_eq!(compile("container.name != \"x\"").unwrap().classes(), audit);
    }
    let error = Program::compile("evt.num = 1", Lang::Sysdig).unwrap_err().to_string();
    assert!(error.contains("is a field of events"), "{error}");
}

/// Choices taken from bytes.
struct Choice<'b>(core::slice::Iter<'b, u8>);

impl Choice<'_> {
    fn below(&mut self, n: usize) -> usize {
        usize::from(self.0.next().copied().unwrap_or(0)) % n
    }

    fn of<'a>(&mut self, items: &[&'a str]) -> &'a str {
        items[self.below(items.len())]
    }

    fn filter(&mut self, depth: usize) -> String {
        if depth == 0 || self.0.len() == 0 {
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
        const TRUTH: &[&str] = &["true", "false"];
        match self.below(16) {
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
            _ => format!("evt.io_dir {} {}", self.of(EQUAL), self.of(&["read", "write"])),
        }
    }

    fn happening(&mut self) -> Happening {
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
            container: ["", "abc"][self.below(2)],
            word: ["file", "net", "3", "x"][self.below(4)],
        }
    }
}

/// An event as the state shows it.
#[derive(Debug)]
struct Happening {
    id: EventId,
    name: &'static str,
    result: i64,
    /// Whether the record is long enough to have its result.
    known: bool,
    pid: i64,
    comm: &'static str,
    uid: i64,
    container: &'static str,
    word: &'static str,
}

impl Happening {
    fn result(&self) -> Option<i64> {
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
            f::FD if row.flags.has(Flags::USES_FD) || row.flags.has(Flags::CREATES_FD) => Value::Int(3),
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

/// Whether a probe that is configured so hands out this event.
fn admits(interest: &EventInterest, event: &Happening) -> bool {
    fn within<T: PartialEq>(allowed: &Option<Vec<T>>, value: &T) -> bool {
        allowed.as_ref().is_none_or(|allowed| allowed.contains(value))
    }
    // A generic event has the name of a call that has no event of its own.
    let current = event.id.name() != "syscall" || EventId::named(event.name).next().is_none();
    (interest.events.contains(event.id) || !current)
        && within(&interest.pids, &u32::try_from(event.pid).unwrap())
        && within(&interest.euids, &u32::try_from(event.uid).unwrap())
        && within(&interest.names, &event.comm.as_bytes().to_vec())
        && (!interest.only_failed || event.result().is_some_and(|result| result < 0))
}

fn bytes(length: usize) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..length)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_match_is_lost(source in bytes(40), events in bytes(400)) {
        let source = Choice(source.iter()).filter(4);
        let program = compile(&source);
        let interest = program.event_interest();
        let containers = program.containers();
        let mut choice = Choice(events.iter());
        while choice.0.len() > 0 {
            let event = choice.happening();
            if program.matches(&event) {
                prop_assert!(program.events().contains(event.id), "{} {:?}", source, event);
                prop_assert!(admits(&interest, &event), "{} {:?} {:?}", source, event, interest);
                let id = event.container.as_bytes();
                prop_assert!(containers.as_ref().is_none_or(|ids| ids.iter().any(|known| known == id)));
            }
        }
    }
}

#[test]
fn generic_events_have_names_of_calls() {
    assert!((0..1024).filter_map(syscall_name).any(|name| name == "mincore"));
    assert!(EventId::named("mincore").next().is_none());
}
