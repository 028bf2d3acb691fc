//! sysdig's language: meaning, errors, canonical text, and its likeness to CEL.

use std::collections::HashMap;
use std::net::IpAddr;

use nabe_event::field::{container as c, descriptor as d, event as e, file as f, process as p, thread as t};
use nabe_event::{FieldId, Fields, Missing, Value};
use nabe_filter::sample::Sample;
use nabe_filter::sysdig::{self, Ast, Definitions};
use nabe_filter::{Lang, Program};
use proptest::prelude::*;

/// An openat of nginx outside any container.
fn opened() -> Sample {
    Sample::default()
        .with(e::TYPE, "openat")
        .with(e::IS_OPEN_WRITE, true)
        .with(e::RAWRES, -13_i64)
        .with(e::RES, "EACCES")
        .with(e::BUFFER, &b"GET /\0\xff"[..])
        .with(p::NAME, "nginx")
        .with(p::PID, 1234_i64)
        .with(p::PPID, 1_i64)
        .with(p::EUID, 0_i64)
        .with(p::AGE, 7_200_000_000_000_i64)
        .with(p::EXE, Missing::Unread(13))
        .with(p::ENV, &[("PATH", "/bin"), ("LD_PRELOAD", "/tmp/x.so")][..])
        .with(p::ARGS, &["nginx", "-g"][..])
        .with(f::FD, 3_i64)
        .with(f::STATE, 10_u64)
        .with(d::NAME, "/etc/Shadow")
        .with(d::TYPES, &["file", "ipv4"][..])
        .with(d::CIP, IpAddr::from([10, 0, 0, 7]))
        .with(d::CNET, IpAddr::from([10, 0, 0, 7]))
        .with(d::SIP, IpAddr::from([192, 168, 0, 1]))
        .with(d::CPORT, 40_000_u64)
        .with(d::SPORT, 443_u64)
        .with(c::ID, "host")
        .with(c::IMAGE, "")
        .with(c::NAME, Missing::Pending)
        .with(t::CMDNARGS, 0_u64)
}

fn verdict(filter: &str) -> Option<bool> {
    match Program::sysdig(filter) {
        Ok(program) => program.verdict(&opened()),
        Err(error) => panic!("{filter}\n{error}"),
    }
}

#[test]
fn around_a_time_is_within_so_many_milliseconds() {
    let event = Sample::default().with(e::AROUND, 3_u64);
    for (test, is_met) in [("= 5", true), ("= 3", true), ("= 2", false), ("!= 2", true), ("!= 5", false)] {
        let source = format!("evt.around[1000] {test}");
        let program = Program::compile_of_events(&source, Lang::Sysdig).unwrap();
        assert_eq!(program.matches(&event), is_met, "{source}");
    }
}

/// What an event tells of an environment and of labels: a text as a whole, and parts by name.
struct Told;

impl Fields for Told {
    fn get(&self, field: FieldId, arg: Option<&[u8]>) -> Value<'_> {
        match (field, arg) {
            (p::ENV, None) => Value::Text(b"LANG=C PATH=/bin"),
            (p::ENV, Some(b"LANG")) => Value::Text(b"C"),
            (c::LABELS, None) => Value::Text(b"app:web"),
            (c::LABELS, Some(b"app")) => Value::Text(b"web"),
            _ => Value::Missing(Missing::Unset),
        }
    }
    fn related(&self, _: FieldId, _: &mut dyn FnMut(&dyn Fields) -> bool) -> Option<usize> {
        None
    }
}

#[test]
fn maps_that_events_tell_as_texts_have_their_parts() {
    for (filter, expected) in [
        ("proc.env contains 'PATH=/bin'", true),
        ("proc.env startswith LANG", true),
        ("proc.env contains TERM", false),
        ("proc.env exists", true),
        ("proc.env[LANG] = C", true),
        ("proc.env[LANG] exists", true),
        ("proc.env[TERM] exists", false),
        ("container.labels contains app:web", true),
    ] {
        let program = Program::compile_of_events(filter, Lang::Sysdig).unwrap();
        assert_eq!(program.matches(&Told), expected, "{filter}");
    }
    for (filter, expected) in [
        (r#"process.env["LANG"] == "C""#, true),
        (r#"process.env["TERM"] == "C""#, false),
        (r#""LANG" in process.env"#, true),
        (r#""TERM" in process.env"#, false),
        (r#"container.labels["app"] == "web""#, true),
    ] {
        let program = Program::compile_of_events(filter, Lang::Cel).unwrap();
        assert_eq!(program.matches(&Told), expected, "{filter}");
    }
}

#[test]
fn shares_are_written_as_per_cent() {
    // A quarter of a per cent.
    let event = Sample::default().with(t::FDUSAGE, 25_u64).with(t::CPU, 5_000_u64);
    for (filter, expected) in [
        ("proc.fdusage > 0.2", true),
        ("proc.fdusage >= 0.25", true),
        ("proc.fdusage > 1", false),
        ("thread.cpu = 50", true),
        ("thread.cpu in (49, 50)", true),
        ("thread.cpu > 50.5", false),
    ] {
        let program = Program::compile_of_events(filter, Lang::Sysdig).unwrap();
        assert_eq!(program.matches(&event), expected, "{filter}");
    }
    assert!(Program::compile_of_events("thread.cpu > much", Lang::Sysdig).is_err());
}

#[test]
fn operators_by_type() {
    for (filter, expected) in [
        ("evt.type = openat", true),
        ("evt.type == openat", true),
        ("evt.type != openat", false),
        ("evt.type in (open, openat, openat2)", true),
        ("evt.type in ()", false),
        ("evt.type intersects (open)", false),
        ("evt.type startswith open and evt.type endswith at", true),
        ("evt.type >= val(evt.type)", true),
        ("fd.name contains shadow", false),
        ("fd.name icontains shadow", true),
        ("fd.name glob /etc/*", true),
        ("fd.name glob '/*w'", true),
        ("fd.name iglob /ETC/s?adow", true),
        ("fd.name regex '/etc/[A-Z][a-z]+'", true),
        ("fd.name regex etc", false),
        ("fd.name pmatch (/usr, /etc)", true),
        ("fd.name pmatch (/et)", false),
        ("tolower(fd.name) = /etc/shadow", true),
        ("basename(fd.name) = Shadow and len(fd.name) = 11", true),
        ("fd.name = concat('/etc/', basename(fd.name))", true),
        ("fd.name glob concat('/etc/', '*')", true),
        ("fd.name icontains tolower(fd.name)", true),
        ("evt.rawres < 0 and evt.rawres = -0xd and evt.rawres > -1.35e+1", true),
        ("evt.is_open_write = true", true),
        ("evt.is_open_write != false and evt.is_open_write in (true)", true),
        ("evt.buffer contains GET and evt.buffer bcontains 00ff", true),
        ("evt.buffer bstartswith 474554", true),
        ("evt.buffer = \"GET /\\x00\\xff\" and len(evt.buffer) = 7", true),
        ("user.uid = 0 and proc.pid > 1000", true),
        ("proc.duration = 2h and proc.duration > 1e+9", true),
        ("proc.duration > 7200000000000", false),
        ("proc.env[PATH] = /bin and proc.env['PATH'] exists", true),
        ("proc.env[HOME] exists", false),
        ("proc.env contains 'LD_PRELOAD=/tmp'", true),
        ("file.state = LISTEN and file.state in (listen, 7)", true),
        ("fd.types in (file, ipv4, ipv6)", true),
        ("fd.types in (file)", false),
        ("fd.types intersects (file)", true),
        ("fd.types exists and len(fd.types) = 2", true),
        ("process.args intersects ('-g')", true),
        ("join(' ', (proc.pid, evt.type)) = '1234 openat'", true),
        ("fd.ip = 10.0.0.7 and fd.ip = 192.168.0.1", true),
        ("fd.ip != 10.0.0.7", false),
        ("fd.ip != 10.0.0.8", true),
        ("fd.ip in (10.0.0.8, 192.168.0.1)", true),
        ("fd.net = 10.0.0.0/8 and not fd.net = 172.16.0.0/12", true),
        ("fd.net != 10.0.0.0/8", false),
        ("fd.net != 2001:db8::/32", true),
        ("fd.net in (172.16.0.0/12, 192.168.0.0/16)", true),
        ("fd.port = https and fd.port = 40000 and fd.port != 80", true),
        ("fd.sport in (80, https)", true),
        ("fd.sip = 192.168.0.1", true),
        ("container.id = host and not container.id != host", true),
        ("container.id in (host)", true),
        ("container.id != abc", true),
        ("container.image != nginx", false),
        ("container.image exists", false),
    ] {
        assert_eq!(verdict(filter), Some(expected), "{filter}");
    }
}

#[test]
fn an_absent_value_fails_every_test_and_passes_its_negation() {
    let one = [
        "= 1",
        "!= 1",
        "in (1, 2)",
        "intersects (1)",
        "exists",
        "= val(proc.name)",
        "!= val(proc.name)",
        "!= anyof (1, 2)",
        "!= allof (1, 2)",
        "!= oneof (1, 2)",
    ];
    let texts = [
        "contains a",
        "startswith ''",
        "glob *",
        "regex '.*'",
        "pmatch (/)",
        "icontains ''",
        "< val(evt.type)",
    ];
    // Unread, never there, not known yet.
    for field in
        ["proc.exepath", "proc.cwd", "container.name", "tolower(proc.exepath)", "concat('a', proc.exepath)"]
    {
        for test in one.iter().chain(&texts) {
            let filter = format!("{field} {test}");
            assert_eq!(verdict(&filter), Some(false), "{filter}");
            assert_eq!(verdict(&format!("not {filter}")), Some(true), "not {filter}");
        }
    }
    for filter in [
        "proc.ppid = val(proc.sid)",
        "fd.lip = 1.1.1.1",
        "fd.lip != 1.1.1.1",
        "proc.sid < 3",
        "proc.sid != 3",
    ] {
        assert_eq!(verdict(filter), Some(false), "{filter}");
        assert_eq!(verdict(&format!("not({filter})")), Some(true), "{filter}");
    }
    let nothing = Sample::default();
    for filter in [
        "fd.types in ()",
        "fd.types intersects (a)",
        "proc.aname = a",
        "proc.aname exists",
        "fd.ip != 1.1.1.1",
    ] {
        assert_eq!(Program::sysdig(filter).unwrap().verdict(&nothing), Some(false), "{filter}");
    }
}

/// Filters that do not compile, and a part of what is said.
#[test]
fn errors_say_what_is_wrong_and_where() {
    for (filter, column, message) in [
        ("a andb", 6, "`and` goes on without a blank"),
        ("evt.type = open and (fd.num > 3", 32, "a bracket is not closed"),
        ("evt.type open", 10, "no operator behind a field"),
        ("evt.type = 'open", 12, "a text is not closed"),
        ("evt.type = \"a\\q\"", 14, "unknown escape"),
        ("fd.num > x", 10, "no number here"),
        ("evt.type in open,", 17, "unexpected text behind a complete filter"),
        ("evt.typ = open", 1, "unknown field `evt.typ`"),
        ("evt.type = open and spawned", 21, "unknown macro `spawned`"),
        ("evt.type in names", 13, "unknown list `names`"),
        ("fd.num contains 3", 1, "`contains` is no operator for a number"),
        ("fd.num = three", 10, "`three` is compared with a number"),
        ("fd.cip = here", 10, "`here` is compared with an address"),
        ("evt.failed = yes", 14, "`yes` is compared with a truth value"),
        ("fd.name bcontains 68", 1, "`bcontains` is no operator for a text"),
        ("evt.buffer bcontains 6g", 22, "these are no bytes"),
        ("fd.types = file", 1, "this is a list"),
        ("fd.name regex '('", 15, "this pattern is wrong"),
        ("evt.arg = 3", 1, "`evt.arg` needs an argument"),
        ("evt.type[1] = 3", 1, "`evt.type` takes no argument"),
        ("evt.outputtime = 3", 1, "`evt.outputtime` is for output only"),
        ("fd.name = val(fd.num)", 15, "a text is compared with a number"),
        ("fd.ip = val(fd.cip)", 13, "`fd.ip` cannot stand on the left of another one"),
        ("tolower(fd.ip) = a", 9, "`fd.ip` does not go into a transformer"),
        ("concat('a') = a", 1, "`concat()` takes two texts or more"),
        ("join('a', 'b') = a", 1, "`join()` takes a text and a list"),
        ("fd.name = \"a\\x00b\"", 11, "a text with a NUL byte"),
    ] {
        let error = Program::sysdig(filter).map(|_| ()).expect_err(filter);
        assert!(error.message.contains(message), "{filter}: {error}");
        assert_eq!((error.line, error.column), (1, column), "{filter}\n{error}");
    }
    assert_eq!(sysdig::parse("").unwrap_err().message, "the filter is empty");
    let error = sysdig::parse("evt.type\nCONTAINS x").unwrap_err();
    assert_eq!((error.line, error.column), (2, 1));
    assert!(error.to_string().contains("small letters: `contains`"), "{error}");
    let error = Program::compile("fd.name = x", Lang::Sysdig).unwrap_err();
    assert!(error.message.contains("a field of events"), "{error}");
}

#[test]
fn depth_is_limited() {
    let nested = |depth: usize| format!("{}a{}", "(".repeat(depth), ")".repeat(depth));
    assert!(sysdig::parse(&nested(18)).is_ok());
    let error = sysdig::parse(&nested(30)).unwrap_err();
    assert_eq!(error.message, "exceeded max depth limit of 100");
    assert!(sysdig::parse_within(&nested(190), sysdig::RULE_DEPTH).is_ok());
    assert!(sysdig::parse_within(&nested(100_000), u32::MAX).is_err());
    // What is nested as deeply as rules may be is compiled or refused, and harms no pass.
    for (open, close) in [("not(", ")"), ("not (a.b exists and ", ")"), ("(fd.num = 1 or not(", "))")] {
        let source = |depth: usize| format!("{}fd.num = 3{}", open.repeat(depth), close.repeat(depth));
        let deepest = (1..400).rev().find_map(|depth| {
            sysdig::parse_within(&source(depth).replace("a.b", "fd.num"), sysdig::RULE_DEPTH).ok()
        });
        let tree = deepest.unwrap();
        assert!(tree.to_string().len() > 1000);
        match Program::of_sysdig(&tree, "", &()) {
            Ok(program) => assert!(program.verdict(&opened()).is_some()),
            Err(error) => assert!(error.message.contains("more than 200 levels"), "{error}"),
        }
    }
    let transformed =
        |depth: usize| format!("{}fd.name{} exists", "tolower(".repeat(depth), ")".repeat(depth));
    let tree = sysdig::parse_within(&transformed(480), sysdig::RULE_DEPTH).unwrap();
    let error = Program::of_sysdig(&tree, "", &()).unwrap_err();
    assert!(error.message.contains("more than 64 levels"), "{error}");
    assert!(Program::sysdig(&transformed(45)).is_ok());
    assert_eq!(sysdig::parse(&"(".repeat(100_000)).unwrap_err().message, "exceeded max depth limit of 100");
}

#[test]
fn canonical_text() {
    for (filter, expected) in [
        ("evt.type=open and proc.name in (a, b)", "(evt.type = open and proc.name in (a, b))"),
        ("a or b and not(c)", "(a or (b and not c))"),
        ("not not a", "a"),
        ("not (not a)", "not (not a)"),
        ("a.b == \"x y\" or a.c[ 'k' ]=1", ""),
        ("a.b == \"x y\" or a.c['k']=1", "(a.b = \"x y\" or a.c[k] = 1)"),
        ("a.b != anyof ('a,b', oneof)", "a.b != anyof (\"a,b\", \"oneof\")"),
        ("a.b contains \"\\xff\\\\\"", ""),
        ("a.b contains \"\\xff\\\\ \"", "a.b contains \"\\xff\\\\ \""),
        ("a.b = ''", "a.b = \"\""),
        ("join('-', (fd.name, 12, 'x')) = val( a.b )", "join(\"-\", (fd.name, 12, \"x\")) = val(a.b)"),
        ("getopt(proc.args, \"nt:\")['t'] exists", "getopt(proc.args, \"nt:\")[t] exists"),
    ] {
        match sysdig::parse(filter) {
            Ok(tree) => assert_eq!(tree.to_string(), expected, "{filter}"),
            Err(error) => assert!(expected.is_empty(), "{filter}\n{error}"),
        }
    }
    let program = Program::sysdig("proc.name=bash  and(fd.num > 3)").unwrap();
    assert_eq!(program.canonical(), "(proc.name = bash and fd.num > 3)");
    assert!(program.explain().starts_with("filter     (proc.name = bash and fd.num > 3)\n"));
}

#[derive(Default)]
struct Rules {
    macros: HashMap<&'static str, Ast>,
    lists: HashMap<&'static str, Vec<Vec<u8>>>,
}

impl Definitions for Rules {
    fn macro_named(&self, name: &str) -> Option<&Ast> {
        self.macros.get(name)
    }
    fn list_named(&self, name: &str) -> Option<&[Vec<u8>]> {
        self.lists.get(name).map(Vec::as_slice)
    }
}

#[test]
fn macros_and_lists_are_put_in() {
    let mut rules = Rules::default();
    for (name, text) in [
        ("open_write", "evt.type in (open_calls) and evt.is_open_write=true"),
        ("named", "evt.type in open_calls and evt.is_open_write=true"),
        ("loop_a", "loop_b or a.b exists"),
        ("loop_b", "not loop_a"),
        ("wrong", "evt.typ = 3"),
    ] {
        rules.macros.insert(name, sysdig::parse(text).unwrap());
    }
    for (name, items) in [("open_calls", &["open", "openat"][..]), ("etc", &["/etc"])] {
        rules.lists.insert(name, items.iter().map(|item| item.as_bytes().to_vec()).collect());
    }
    let compile = |filter: &str| Program::of_sysdig(&sysdig::parse(filter).unwrap(), filter, &rules);
    for (filter, expected) in [
        ("named and fd.name pmatch etc", true),
        // A name in brackets is a text: rules put lists in before they are read.
        ("open_write", false),
        ("not named", false),
        ("evt.type = anyof open_calls", true),
        ("evt.type != allof open_calls", false),
    ] {
        assert_eq!(compile(filter).unwrap().verdict(&opened()), Some(expected), "{filter}");
    }
    for (filter, message) in [
        ("loop_a", "in macro `loop_a`: in macro `loop_b`: macro `loop_a` leads back to itself"),
        ("named and wrong", "in macro `wrong`: unknown field `evt.typ`"),
        ("other", "unknown macro `other`"),
    ] {
        let error = compile(filter).unwrap_err();
        assert_eq!(error.message, message);
    }
}

#[test]
fn macros_that_double_are_bounded() {
    struct Doubling(Vec<Ast>);
    impl Definitions for Doubling {
        fn macro_named(&self, name: &str) -> Option<&Ast> {
            self.0.get(name.strip_prefix('m')?.parse::<usize>().ok()?)
        }
        fn list_named(&self, _: &str) -> Option<&[Vec<u8>]> {
            None
        }
    }
    let mut macros = vec![sysdig::parse("fd.num = 1").unwrap()];
    macros.extend((0..40).map(|below| sysdig::parse(&format!("m{below} or not m{below}")).unwrap()));
    let tree = sysdig::parse("m40").unwrap();
    let error = Program::of_sysdig(&tree, "m40", &Doubling(macros)).unwrap_err();
    assert!(error.message.contains("more than 65536 tests"), "{error}");
}

#[test]
fn twins_in_both_languages_agree() {
    let rows = [
        opened(),
        opened().with(p::NAME, "bash").with(e::TYPE, "execve").with(p::PID, 1_i64).with(d::NAME, "/tmp/a"),
        opened()
            .with(e::IS_OPEN_WRITE, false)
            .with(f::FD, -1_i64)
            .with(c::ID, "355e4bf5d63d")
            .with(c::IMAGE, "nginx"),
    ];
    let mut seen = [false; 2];
    for (of_sysdig, of_cel) in [
        ("evt.type = openat", r#"evt.type == "openat""#),
        ("evt.type = openat and fd.name contains etc", r#"evt.type == "openat" && fd.name.contains("etc")"#),
        ("proc.name in (nginx, sh) or proc.pid < 5", r#"process.name in ["nginx", "sh"] || process.pid < 5"#),
        ("not proc.name = nginx", r#"!(process.name == "nginx")"#),
        ("proc.name != nginx", r#"process.name != "nginx""#),
        ("fd.name startswith /etc", r#"fd.name.startsWith("/etc")"#),
        ("fd.name endswith adow", r#"fd.name.endsWith("adow")"#),
        ("fd.name regex '/[a-z]+/.*'", r#"fd.name.matches("^/[a-z]+/.*$")"#),
        ("evt.is_open_write=true", "evt.is_open_write"),
        ("evt.is_open_write=false", "!evt.is_open_write"),
        ("fd.sip = 192.168.0.1", r#"fd.sip == "192.168.0.1""#),
        ("fd.cnet = 10.0.0.0/8", r#"fd.cip in cidr("10.0.0.0/8")"#),
        ("fd.types intersects (ipv4)", r#""ipv4" in fd.types"#),
        ("proc.env[PATH] = /bin", r#"process.env["PATH"] == "/bin""#),
        ("proc.duration = 2h", "age == 2h"),
        ("file.state = LISTEN", "file.state == listen"),
        ("tolower(fd.name) = /etc/shadow", r#"fd.name.lowerAscii() == "/etc/shadow""#),
        ("proc.ppid < val(proc.pid)", "process.ppid < process.pid"),
        ("container.id = 355e4bf5d63d", r#"container.id == "355e4bf5d63d""#),
        ("container.id = host", r#"container.id == """#),
        ("container.image != mysql", r#"container.image != "mysql" && container.image != """#),
    ] {
        let one = Program::sysdig(of_sysdig).unwrap_or_else(|error| panic!("{of_sysdig}\n{error}"));
        let other = Program::cel_of_events(of_cel).unwrap_or_else(|error| panic!("{of_cel}\n{error}"));
        for (at, row) in rows.iter().enumerate() {
            let verdict = one.matches(row);
            assert_eq!(verdict, other.matches(row), "{of_sysdig} on row {at}");
            seen[usize::from(verdict)] = true;
        }
    }
    assert_eq!(seen, [true; 2]);
}

#[test]
fn the_kernel_is_told_the_same() {
    let needs = |program: Program| (program.interest(), program.needs());
    for (of_sysdig, of_cel) in [
        ("proc.pid in (1, 2) and proc.name = sh", r#"process.pid in [1, 2] && process.name == "sh""#),
        ("user.uid = 0", "process.euid == 0"),
        ("file.state = LISTEN", "file.state == listen"),
        ("fd.lport = 443 or fd.rport = 443", "file.srcPort == 443 || file.dstPort == 443"),
    ] {
        let one = needs(Program::compile(of_sysdig, Lang::Sysdig).unwrap());
        assert_eq!(one, needs(Program::cel(of_cel).unwrap()), "{of_sysdig}");
    }
}

#[test]
fn languages_are_recognised() {
    let is_sysdig = |source: &str| {
        let program = Program::compile_of_events(source, Lang::Auto)
            .unwrap_or_else(|error| panic!("{source}\n{error}"));
        let other = Program::compile_of_events(source, Lang::Sysdig);
        other.is_ok_and(|other| other.canonical() == program.canonical() && program.canonical() != "")
            && Program::compile_of_events(source, Lang::Cel).is_err()
    };
    for source in [
        "proc.name=bash and fd.num > 3",
        "proc.name = bash",
        "proc.name in (bash)",
        "proc.name in (bash, sh)",
        "evt.type != open",
        "container.id!=host",
        "evt.type == openat",
        "evt.rawarg.res < 0",
        "not fd.name contains /etc",
        "evt.type exists",
        "proc.pid < 3 or proc.pid > 3000",
    ] {
        assert!(is_sysdig(source), "{source}");
    }
    for source in [
        "process.pid > 3",
        "process.name == \"bash\"",
        "process.pid in [1, 2] && process.kthread",
        "process.pid == process.ppid",
        "",
        "process.pid in (container.pids)",
    ] {
        assert!(!is_sysdig(source), "{source}");
    }
    // Errors speak the language that was meant.
    let error = |source: &str| Program::compile(source, Lang::Auto).unwrap_err().message;
    assert!(error("proc.name = bash and proc.nmae = x").contains("unknown field `proc.nmae`"));
    assert!(error("proc.name = bash and").contains("`and` goes on"));
    assert!(error("process.name == container.nam").contains("unknown field `container.nam`"));
    assert!(error("process.pid == bash").contains("unknown name `bash`"));
    assert!(error("process.name == 12").contains("int"));
    assert!(error("process.pid == \"12\"").contains("string"));
    assert!(
        error("process.name == \"bash\" &&").contains("expected")
            || !error("process.name == \"bash\" &&").is_empty()
    );
}

/// Any text that may stand as a constant: a bare word, hostile bytes, or a word of the language.
fn constant() -> impl Strategy<Value = sysdig::Value> {
    let place = sysdig::Place(nabe_filter::Span::new(0, 0));
    prop_oneof![
        "[a-z0-9/.*_-]{1,8}".prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 0..6),
        proptest::sample::select(vec![
            "oneof", "and", "not", "in", "val(", "\\", "a\\", "0x1f", "-1", "'", "\""
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
    ]
    .prop_map(move |text| sysdig::Value { text, place })
}

fn name() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9_]{0,5}".prop_filter("words between checks", |name| name != "not" && name != "exists")
}

fn term() -> impl Strategy<Value = sysdig::Term> {
    use sysdig::{Place, Term, TermKind, Transformer};
    let place = Place(nabe_filter::Span::new(0, 0));
    let arg = || proptest::option::of(constant().prop_map(|value| value.text));
    let field = (r"[a-z]{1,4}\.[a-z][a-z_]{0,5}(\.[a-z]{1,4})?", arg())
        .prop_map(|(name, arg)| TermKind::Field { name, arg });
    let field = field.prop_map(move |kind| Term { kind, place }).boxed();
    let leaf = prop_oneof![
        field.clone(),
        constant().prop_map(move |value| Term { kind: TermKind::Value(value.text), place })
    ];
    let call = (
        proptest::sample::select(&Transformer::ALL[1..]),
        proptest::collection::vec(
            prop_oneof![
                leaf.clone(),
                proptest::collection::vec(leaf, 0..3)
                    .prop_map(move |items| Term { kind: TermKind::List(items), place }),
            ],
            1..3,
        ),
        arg(),
    );
    let call = call.prop_map(|(transformer, args, arg)| TermKind::Call { transformer, args, arg });
    prop_oneof![3 => field, 1 => call.prop_map(move |kind| Term { kind, place })]
}

fn check() -> impl Strategy<Value = sysdig::ExprKind> {
    use sysdig::{ExprKind, Modifier, Op, Place, Right};
    let place = Place(nabe_filter::Span::new(0, 0));
    let values =
        || proptest::collection::vec(constant(), 0..4).prop_map(move |values| Right::List(values, place));
    let lists = vec![Op::In, Op::Intersects, Op::Pmatch];
    let numbers = vec![Op::Lt, Op::Le, Op::Gt, Op::Ge];
    let texts: Vec<Op> =
        Op::ALL.iter().copied().filter(|op| !lists.contains(op) && !numbers.contains(op)).collect();
    let modified =
        (proptest::sample::select(texts.clone()), proptest::sample::select(Modifier::ALL), values());
    let number =
        "-?[0-9]{1,5}".prop_map(move |n| Right::Value(sysdig::Value { text: n.into_bytes(), place }));
    let comparison = prop_oneof![
        (proptest::sample::select(texts), constant()).prop_map(|(op, value)| (op, None, Right::Value(value))),
        (proptest::sample::select(lists.clone()), values()).prop_map(|(op, list)| (op, None, list)),
        (proptest::sample::select(lists), name()).prop_map(move |(op, name)| (
            op,
            None,
            Right::Name(name, place)
        )),
        (proptest::sample::select(numbers), number).prop_map(|(op, number)| (op, None, number)),
        modified.prop_map(|(op, modifier, list)| (op, Some(modifier), list)),
        (proptest::sample::select(Op::ALL), term()).prop_filter_map(
            "computed sides are calls",
            |(op, term)| {
                matches!(term.kind, sysdig::TermKind::Call { .. }).then_some((op, None, Right::Term(term)))
            }
        ),
    ];
    prop_oneof![
        1 => name().prop_map(ExprKind::Macro),
        1 => term().prop_map(ExprKind::Exists),
        6 => (term(), comparison).prop_map(|(left, (op, modifier, right))| ExprKind::Check { left, op, modifier, right }),
    ]
}

fn expr() -> impl Strategy<Value = sysdig::Expr> {
    use sysdig::{Expr, ExprKind};
    let place = sysdig::Place(nabe_filter::Span::new(0, 0));
    let leaf = check().prop_map(move |kind| Expr { kind, place });
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 2..4).prop_map(ExprKind::And),
            proptest::collection::vec(inner.clone(), 2..4).prop_map(ExprKind::Or),
            inner.prop_map(|inner| ExprKind::Not(Box::new(inner))),
        ]
        .prop_map(move |kind| Expr { kind, place })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn printed_trees_read_the_same(root in expr()) {
        let tree = Ast { root };
        let text = tree.to_string();
        match sysdig::parse(&text) {
            Ok(again) => prop_assert_eq!(again, tree, "{}", text),
            Err(error) => prop_assert!(false, "{}\n{}", text, error),
        }
    }

    #[test]
    fn token_soup_does_no_harm(pieces in proptest::collection::vec(proptest::sample::select(SOUP), 0..24)) {
        let source = pieces.concat();
        nabe_filter::exercise(source.as_bytes());
        for lang in [Lang::Auto, Lang::Sysdig] {
            let Ok(program) = Program::compile_of_events(&source, lang) else { continue };
            if program.selects_all() {
                continue;
            }
            let canonical = program.canonical();
            let again = Program::compile_of_events(&canonical, lang);
            prop_assert!(again.is_ok_and(|again| again.verdict(&opened()) == program.verdict(&opened())), "{}", canonical);
            let weaker = program.prefilter(nabe_event::Needs::TASK);
            prop_assert!(!program.matches(&opened()) || weaker.matches(&opened()), "{}", source);
            let _ = (program.interest(), program.explain(), weaker.canonical());
        }
    }

    #[test]
    fn any_text_does_no_harm(source in "\\PC{0,60}") {
        nabe_filter::exercise(source.as_bytes());
        if let Ok(tree) = sysdig::parse(&source) {
            let text = tree.to_string();
            prop_assert_eq!(sysdig::parse(&text), Ok(tree), "{}", text);
        }
        let _ = Program::sysdig(&source);
    }
}

/// A filter made of checks, and how its verdict follows from theirs.
#[derive(Clone, Debug)]
enum Built {
    Check(&'static str),
    Not(Box<Built>),
    And(Vec<Built>),
    Or(Vec<Built>),
}

impl Built {
    fn text(&self) -> String {
        let join = |terms: &[Self], word: &str| {
            format!("({})", terms.iter().map(Self::text).collect::<Vec<_>>().join(word))
        };
        match self {
            Self::Check(text) => (*text).to_owned(),
            Self::Not(inner) => format!("not({})", inner.text()),
            Self::And(terms) => join(terms, " and "),
            Self::Or(terms) => join(terms, " or "),
        }
    }

    fn verdict(&self, row: &Sample) -> bool {
        match self {
            Self::Check(text) => Program::sysdig(text).unwrap().verdict(row) == Some(true),
            Self::Not(inner) => !inner.verdict(row),
            Self::And(terms) => terms.iter().all(|term| term.verdict(row)),
            Self::Or(terms) => terms.iter().any(|term| term.verdict(row)),
        }
    }
}

fn built() -> impl Strategy<Value = Built> {
    let check = proptest::sample::select(CHECKS).prop_map(Built::Check);
    check.prop_recursive(4, 16, 4, |inner| {
        prop_oneof![
            inner.clone().prop_map(|inner| Built::Not(Box::new(inner))),
            proptest::collection::vec(inner.clone(), 2..4).prop_map(Built::And),
            proptest::collection::vec(inner, 2..4).prop_map(Built::Or),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// No pass changes a verdict, and what is weaker lets through all that is selected.
    #[test]
    fn verdicts_follow_from_those_of_the_parts(built in built(), absent in proptest::collection::vec(0..5_usize, 0..4)) {
        let mut row = opened();
        for at in absent {
            row = row.with([p::NAME, p::PID, e::TYPE, d::NAME, f::FD][at], Missing::Subject);
        }
        let text = built.text();
        let program = Program::sysdig(&text).unwrap();
        prop_assert_eq!(program.verdict(&row), Some(built.verdict(&row)), "{}", text);
        if program.matches(&row) {
            prop_assert!(program.prefilter(nabe_event::Needs::TASK).matches(&row), "{}", text);
            prop_assert!(program.process_part().matches(&row), "{}", text);
        }
        // What the kernel is asked for does not leave the row out.
        let interest = program.interest();
        if let (true, Some(pids)) = (program.matches(&row), &interest.pids) {
            prop_assert!(pids.contains(&1234), "{}", text);
        }
    }
}

static CHECKS: &[&str] = &[
    "proc.name = nginx",
    "proc.name != nginx",
    "proc.name in (sh, nginx)",
    "proc.name contains gin",
    "proc.name exists",
    "proc.name glob n*",
    "proc.pid = 1234",
    "proc.pid in (1, 2)",
    "proc.pid > 5",
    "proc.pid != 7",
    "proc.pid = val(proc.ppid)",
    "evt.type = openat",
    "evt.type = open",
    "evt.type != anyof (open, openat)",
    "fd.name pmatch (/etc)",
    "fd.name icontains SHADOW",
    "fd.num >= 3",
    "fd.num = 4",
    "fd.ip = 10.0.0.7",
    "fd.ip != 10.0.0.7",
    "fd.types in (file)",
    "fd.types intersects (file)",
    "container.id = host",
    "container.image != x",
    "proc.cwd = /",
    "evt.is_open_write = true",
    "evt.is_open_write = false",
    "len(fd.name) > 3",
];

static SOUP: &[&str] = &[
    " ",
    " ",
    " ",
    " and ",
    " or ",
    "not ",
    "(",
    ")",
    "not(",
    "evt.type",
    "proc.name",
    "proc.aname",
    "fd.num",
    "fd.ip",
    "fd.types",
    "proc.env[PATH]",
    "proc.pid",
    "container.id",
    "evt.rawarg.res",
    " = ",
    " != ",
    " in ",
    " > ",
    " exists",
    " contains ",
    " glob ",
    " regex ",
    " pmatch ",
    " intersects ",
    " anyof ",
    " oneof ",
    "(a, b)",
    "(1, 2)",
    "host",
    "openat",
    "3",
    "-1",
    "10.0.0.0/8",
    "'x'",
    "\"\\xff\"",
    "tolower(",
    "len(",
    "join('-', (",
    "concat(",
    "val(",
    ",",
    "getopt((\"-n\"), \"n\")",
    "[1]",
    "*",
    "\\",
];
