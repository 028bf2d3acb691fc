//! Properties of all expressions, tested on generated ones: the passes and the compiled form keep
//! every verdict, the canonical text reads back as itself, interest and pre-filters lose no match,
//! no text panics.

use nabe_event::field::{Class, container as c, file as f, process as p};
use nabe_event::symbol::Symbols;
use nabe_event::{FieldId, Fields, Interest, Missing, Needs, Type, Value};
use proptest::prelude::*;

use crate::eval::{Bind, Env, STEPS, Steps};
use crate::ir::Pred;
use crate::sample::{Owned, Sample};
use crate::{Program, compile, passes};

/// Choices taken from bytes, so that a failing case shrinks to few and small ones.
struct Choice<'b> {
    bytes: core::slice::Iter<'b, u8>,
    /// Names of loop variables in scope: of descriptors and of texts.
    files: Vec<String>,
    texts: Vec<String>,
}

impl<'b> Choice<'b> {
    fn new(bytes: &'b [u8]) -> Self {
        Self { bytes: bytes.iter(), files: Vec::new(), texts: Vec::new() }
    }

    fn below(&mut self, n: usize) -> usize {
        usize::from(self.bytes.next().copied().unwrap_or(0)) % n
    }

    fn of<'a>(&mut self, items: &[&'a str]) -> &'a str {
        items[self.below(items.len())]
    }

    fn is_spent(&self) -> bool {
        self.bytes.len() == 0
    }
}

const NUMBERS: &[&str] =
    &["0", "1", "2", "3", "7", "80", "443", "1000u", "0x200400", "500KB", "1.5", "1e9", "-1.5", "10s", "2h"];
const SMALL: &[&str] = &["0", "1", "2", "3", "7", "10", "80", "443", "1000"];
const TEXTS: &[&str] = &[
    "\"\"",
    "\"nginx\"",
    "\"sh\"",
    "\"/etc/passwd\"",
    "\"web\"",
    "b\"a\\xff\"",
    "\"ng\"",
    "\"é\"",
    "\"kworker/0:1\"",
];
const INTS: &[&str] = &[
    "process.pid",
    "process.ppid",
    "process.rss",
    "process.nice",
    "process.euid",
    "file.fd",
    "file.size",
    "process.vsz",
];
const STRINGS: &[&str] = &[
    "process.name",
    "process.cmdline",
    "process.user",
    "process.exe",
    "container.id",
    "file.path",
    "socket.unixPath",
    "container.labels[\"app\"]",
    "container.labels.tier",
];
const BOOLS: &[&str] = &["process.kthread", "process.noNewPrivs", "file.deleted"];
const ORDERS: &[&str] = &["==", "!=", "<", "<=", ">", ">="];
const EQUALS: &[&str] = &["==", "!="];
const STATES: &[&str] = &["listen", "\"ESTAB\"", "established", "7", "10"];

impl Choice<'_> {
    /// An expression of type bool.
    fn pred(&mut self, depth: usize) -> String {
        if depth == 0 || self.is_spent() {
            return self.test();
        }
        match self.below(12) {
            0..=2 => format!("({} && {})", self.pred(depth - 1), self.pred(depth - 1)),
            3..=5 => format!("({} || {})", self.pred(depth - 1), self.pred(depth - 1)),
            6 | 7 => format!("!{}", self.bracketed(depth - 1)),
            8 => format!("({} ? {} : {})", self.pred(depth - 1), self.pred(depth - 1), self.pred(depth - 1)),
            9 => self.files_loop(depth - 1),
            10 => self.texts_loop(depth - 1),
            _ => format!("({}) == ({})", self.pred(depth - 1), self.pred(depth - 1)),
        }
    }

    fn bracketed(&mut self, depth: usize) -> String {
        format!("({})", self.pred(depth))
    }

    fn files_loop(&mut self, depth: usize) -> String {
        let name = format!("f{}", self.files.len());
        let filter = if self.below(3) == 0 {
            self.files.push(name.clone());
            let filter = format!(".filter({name}, {})", self.pred(depth.min(1)));
            self.files.pop();
            filter
        } else {
            String::new()
        };
        if self.below(4) == 0 {
            return format!("size(process.files{filter}) {} {}", self.of(ORDERS), self.of(SMALL));
        }
        let how = self.of(&["exists", "all", "exists_one"]);
        self.files.push(name.clone());
        let body = self.pred(depth);
        self.files.pop();
        format!("process.files{filter}.{how}({name}, {body})")
    }

    fn texts_loop(&mut self, depth: usize) -> String {
        let name = format!("t{}", self.texts.len());
        let over =
            self.of(&["process.args", "container.labels", "[\"a\", \"web\"]", "process.name.split(\"n\")"]);
        let how = self.of(&["exists", "all", "exists_one"]);
        self.texts.push(name.clone());
        let body = self.pred(depth);
        self.texts.pop();
        format!("{over}.{how}({name}, {body})")
    }

    fn test(&mut self) -> String {
        match self.below(18) {
            0 | 1 => format!("{} {} {}", self.int(), self.of(ORDERS), self.of(&NUMBERS[..13])),
            2 => format!("{} in [{}, {}]", self.int(), self.of(SMALL), self.of(SMALL)),
            3 => format!("{} {} {}", self.text(), self.of(ORDERS), self.of(TEXTS)),
            4 => format!("{} in [{}, {}, {}]", self.text(), self.of(TEXTS), self.of(TEXTS), self.of(TEXTS)),
            5 => {
                let method = self.of(&["contains", "startsWith", "endsWith"]);
                format!("{}.{method}({})", self.text(), self.of(TEXTS))
            }
            6 => format!(
                "{}.matches({})",
                self.text(),
                self.of(&["\"^n\"", "\"\"", "r\"\\d+\"", "\"(a|web)$\""])
            ),
            7 => self.of(BOOLS).to_owned(),
            8 => format!(
                "{} {} {}",
                self.of(&["socket.state", "file.state"]),
                self.of(EQUALS),
                self.of(STATES)
            ),
            9 => format!("socket.state in [{}, {}]", self.of(STATES), self.of(STATES)),
            10 => {
                format!("socket.family {} {}", self.of(EQUALS), self.of(&["inet", "unix", "\"inet6\"", "1"]))
            }
            11 => {
                let place = self.of(&["socket.srcAddr", "socket.dstAddr"]);
                let test = self.of(&[
                    "== \"127.0.0.1\"",
                    "!= \"::1\"",
                    "in cidr(\"127.0.0.0/8\")",
                    "in [\"::1\", \"10.0.0.0/8\"]",
                ]);
                format!("{place} {test}")
            }
            12 => format!(
                "caps.{}",
                self.of(&["has(\"SYS_ADMIN\")", "hasAny([\"CHOWN\", \"KILL\"])", "hasAll([0, 10])"])
            ),
            13 => format!(
                "has({})",
                self.of(&[
                    "file.fd",
                    "process.exe",
                    "container.labels.app",
                    "socket.srcPort",
                    "process.args"
                ])
            ),
            14 => format!("{} in container.labels", self.of(TEXTS)),
            15 => format!("{} in process.args", self.text()),
            16 => format!("age {} {}", self.of(ORDERS), self.of(&["2h", "10s", "0s", "1ms"])),
            _ => self
                .of(&[
                    "true",
                    "false",
                    "file.fdType == socket",
                    "socket.dstPort == 0",
                    "443 == socket.srcPort",
                    "process.state == \"S\"",
                    "1 / 0 == 1",
                    "container == null",
                ])
                .to_owned(),
        }
    }

    fn int(&mut self) -> String {
        if !self.files.is_empty() && self.below(2) == 0 {
            let at = self.below(self.files.len());
            let field = self.of(&["fd", "offset", "size"]);
            return format!("{}.{field}", self.files[at]);
        }
        match self.below(9) {
            0 => format!("({} {} {})", self.of(INTS), self.of(&["+", "-", "*", "/", "%"]), self.of(INTS)),
            1 => format!("size({})", self.text()),
            2 => format!("({} > 1 ? {} : 7)", self.of(INTS), self.of(INTS)),
            3 => format!("-{}", self.of(INTS)),
            4 => format!("math.bitAnd({}, {})", self.of(INTS), self.of(SMALL)),
            _ => self.of(INTS).to_owned(),
        }
    }

    fn text(&mut self) -> String {
        if !self.files.is_empty() && self.below(2) == 0 {
            let at = self.below(self.files.len());
            return format!("{}.path", self.files[at]);
        }
        if !self.texts.is_empty() && self.below(2) == 0 {
            let at = self.below(self.texts.len());
            return self.texts[at].clone();
        }
        match self.below(9) {
            0 => format!("{}.upperAscii()", self.of(STRINGS)),
            1 => format!("({} + {})", self.of(STRINGS), self.of(TEXTS)),
            2 => format!("{}.replace(\"n\", \"nn\")", self.of(STRINGS)),
            3 => format!("string({})", self.of(INTS)),
            4 => "container.labels.map(k, container.labels[k])[0]".to_owned(),
            5 => format!("{{\"a\": {}}}[\"a\"]", self.of(STRINGS)),
            _ => self.of(STRINGS).to_owned(),
        }
    }

    /// A row: a process alone, with a descriptor, or a socket that nobody holds.
    fn row(&mut self) -> Sample {
        let kind = self.below(6);
        let mut row = Sample::default();
        if kind != 0 {
            row = self.process();
        }
        if kind < 4 {
            row = row.and(&self.descriptor(kind == 0));
        }
        row
    }

    fn process(&mut self) -> Sample {
        let files: Vec<Sample> = (0..self.below(4)).map(|_| self.descriptor(false)).collect();
        let args: &[&[&str]] = &[&[], &["nginx", "-g"], &["web"]];
        let labels: &[&[(&str, &str)]] = &[&[], &[("app", "web")], &[("app", ""), ("tier", "nginx")]];
        let caps = [0, 1 << 21, u64::MAX, 1 << 10 | 1];
        let mut process = Sample::default()
            .with(
                p::NAME,
                self.bytes_value(&[
                    b"nginx",
                    b"sh",
                    b"a\xff",
                    b"kworker/0:1",
                    b"",
                    b"a name that is longer than comm",
                ]),
            )
            .with(p::CMDLINE, self.bytes_value(&[b"nginx -g", b"", b"/etc/passwd web"]))
            .with(p::USER, self.bytes_value(&[b"root", b"sh"]))
            .with(p::PID, self.int_value(&[1, 2, 7, 80]))
            .with(p::PPID, self.int_value(&[0, 1]))
            .with(p::EUID, self.int_value(&[0, 1000]))
            .with(p::NICE, self.int_value(&[-5, 0]))
            .with(p::RSS, [0, 1000, 12_000_000, u64::MAX][self.below(4)])
            .with(p::VSZ, 1_u64)
            .with(p::AGE, self.int_value(&[0, 10_000_000_000, 7_200_000_000_001]))
            .with(p::STATE, [0, 1_u64][self.below(2)])
            .with(p::KTHREAD, self.below(2) == 0)
            .with(p::NO_NEW_PRIVS, self.below(2) == 0)
            .with(p::CAP_EFFECTIVE, caps[self.below(4)])
            .with(p::ARGS, args[self.below(3)])
            .with(c::ID, self.bytes_value(&[b"", b"web"]))
            .with(c::LABELS, labels[self.below(3)])
            .with(p::EXE, self.bytes_value(&[b"/bin/sh", b""]))
            .related(p::FILES, files);
        if self.below(3) == 0 {
            process = process.with(p::EXE, Missing::Unread(13));
        }
        process
    }

    fn descriptor(&mut self, orphan: bool) -> Sample {
        let sample = Sample::default()
            .with(
                f::FD,
                if orphan { Owned::Missing(Missing::Unset) } else { Owned::Int(self.int_value(&[0, 3, 7])) },
            )
            .with(f::PATH, self.bytes_value(&[b"/etc/passwd", b"socket:[1]", b""]))
            .with(f::SIZE, [0, 3_u64][self.below(2)])
            .with(f::DELETED, self.below(2) == 0);
        if !orphan && self.below(2) == 0 {
            return SOCKET
                .iter()
                .fold(sample.with(f::FD_TYPE, 1_u64).with(f::UNIX_PATH, ""), |sample, field| {
                    sample.with(*field, Missing::Unset)
                });
        }
        let family = [1, 2, 10_u64][self.below(3)];
        let sample = sample
            .with(f::FD_TYPE, 2_u64)
            .with(f::FAMILY, family)
            .with(f::TYPE, [1, 2_u64][self.below(2)])
            .with(f::STATE, [1, 7, 10_u64][self.below(3)]);
        if family == 1 {
            return SOCKET[3..]
                .iter()
                .fold(sample.with(f::UNIX_PATH, self.bytes_value(&[b"nginx", b""])), |sample, field| {
                    sample.with(*field, Missing::Unset)
                });
        }
        let addresses = ["127.0.0.1", "::1", "10.1.2.3", "::ffff:127.0.0.1"].map(|ip| ip.parse().unwrap());
        sample
            .with(f::UNIX_PATH, "")
            .with(f::SRC_PORT, self.int_value(&[80, 443]))
            .with(f::DST_PORT, self.int_value(&[0, 443]))
            .with(f::SRC_ADDR, Owned::Ip(addresses[self.below(4)]))
            .with(f::DST_ADDR, Owned::Ip(addresses[self.below(4)]))
    }

    fn int_value(&mut self, values: &[i64]) -> i64 {
        values[self.below(values.len())]
    }

    fn bytes_value<'a>(&mut self, values: &[&'a [u8]]) -> &'a [u8] {
        values[self.below(values.len())]
    }
}

const SOCKET: &[FieldId] =
    &[f::FAMILY, f::TYPE, f::STATE, f::SRC_PORT, f::DST_PORT, f::SRC_ADDR, f::DST_ADDR];

/// The typed form as the expression is written.
fn lower(source: &str) -> crate::diagnostic::Result<Pred> {
    let tree = crate::cel::parser::parse(source)?;
    tree.map_or(Ok(Pred::Const(Some(true))), |tree| crate::resolve::Resolver::resolve_plain(source, &tree))
}

/// The verdict of the plain interpreter on the form as it was resolved.
fn plain(pred: &Pred, subject: &dyn Fields) -> Option<bool> {
    let steps = Steps::new(STEPS);
    pred.eval(&Env::root(Bind::Subject(subject), &steps))
}

fn number(row: &Sample, field: FieldId) -> Option<u64> {
    match row.get(field, None) {
        Value::Int(n) => u64::try_from(n).ok(),
        Value::Uint(n) => Some(n),
        _ => None,
    }
}

/// Whether a collector that is configured by the interest delivers this row.
fn admits(interest: &Interest, pred: &Pred, row: &Sample) -> bool {
    fn within<T: TryFrom<u64> + Ord>(allowed: &Option<Vec<T>>, value: Option<u64>) -> bool {
        allowed.as_ref().is_none_or(|allowed| {
            value.and_then(|n| T::try_from(n).ok()).is_some_and(|n| allowed.binary_search(&n).is_ok())
        })
    }
    let name = match row.get(p::NAME, None) {
        Value::Text(name) => Some(name[..name.len().min(15)].to_vec()),
        _ => None,
    };
    let names = interest.names.as_ref().is_none_or(|names| name.is_some_and(|name| names.contains(&name)));
    let is_socket = number(row, f::FD_TYPE) == Some(2);
    let socket = !is_socket
        || within(&interest.families, number(row, f::FAMILY))
            && within(&interest.types, number(row, f::TYPE))
            && within(&interest.states, number(row, f::STATE));
    // Nobody asks for sockets without descriptors who reads nothing of sockets.
    let mut pred = pred.clone();
    passes::run(&mut pred);
    let asked = pred.needs().contains(Needs::ORPHAN_SOCKETS);
    let orphan = asked && is_socket && number(row, f::FD).is_none();
    within(&interest.pids, number(row, p::PID))
        && within(&interest.euids, number(row, p::EUID))
        && names
        && socket
        && (is_socket || !interest.only_sockets)
        && (!orphan || interest.needs.contains(Needs::ORPHAN_SOCKETS))
}

/// A subject that fails the test when something is read that was not collected.
struct Watched<'a> {
    inner: &'a dyn Fields,
    available: Needs,
    item: bool,
}

impl Watched<'_> {
    fn check(&self, field: FieldId) {
        let needs = field.field().needs;
        let needs = if self.item { needs.without(Needs::ORPHAN_SOCKETS) } else { needs };
        assert!(self.available.contains(needs), "{} is read", field.field().name);
    }
}

impl Fields for Watched<'_> {
    fn get(&self, field: FieldId, arg: Option<&[u8]>) -> Value<'_> {
        self.check(field);
        self.inner.get(field, arg)
    }

    fn related(&self, relation: FieldId, visit: &mut dyn FnMut(&dyn Fields) -> bool) -> Option<usize> {
        self.check(relation);
        let available = self.available;
        self.inner.related(relation, &mut |inner| visit(&Watched { inner, available, item: true }))
    }
}

/// `PROPTEST_CASES` for long runs.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(1000)
}

fn bytes(length: usize) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..length)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn generated_expressions_keep_their_meaning(source in bytes(60), rows in bytes(160), available in any::<u16>()) {
        let source = Choice::new(&source).pred(4);
        let pred = lower(&source).unwrap_or_else(|error| panic!("{source}: {}", error.message));
        let program = Program::cel(&source).unwrap();
        let canonical = program.canonical();
        let again = Program::cel(&canonical).unwrap_or_else(|error| panic!("{source}\n{error}"));
        prop_assert_eq!(again.canonical(), canonical.as_str(), "{}", source);
        let interest = program.interest();
        prop_assert!(interest.needs == program.needs());
        // Bits that are no collector's are cleared by taking them from the full set.
        let mut known = Needs::TASK;
        for (bit, (need, ..)) in Needs::ALL.iter().enumerate() {
            if available & (1 << bit) != 0 {
                known |= *need;
            }
        }
        let (prefilter, process_part) = (program.prefilter(known), program.process_part());
        let mut choice = Choice::new(&rows);
        while !choice.is_spent() {
            let row = choice.row();
            let verdict = program.verdict(&row);
            prop_assert_eq!(verdict, plain(&pred, &row), "{}\n{}\n{:?}", source, canonical, row);
            prop_assert_eq!(verdict, again.verdict(&row), "{}\n{}", source, canonical);
            let weaker = prefilter.matches(&Watched { inner: &row, available: known, item: false });
            if verdict == Some(true) {
                prop_assert!(admits(&interest, &pred, &row), "{}\n{:?}\n{:?}", source, interest, row);
                prop_assert!(weaker, "{}\n{}\n{:?}", source, prefilter.canonical(), row);
                prop_assert!(process_part.matches(&row), "{}\n{}", source, process_part.canonical());
            }
        }
    }

    #[test]
    fn every_pass_keeps_the_verdict(source in bytes(60), row in bytes(80)) {
        let source = Choice::new(&source).pred(4);
        let mut pred = lower(&source).unwrap_or_else(|error| panic!("{source}: {}", error.message));
        let row = Choice::new(&row).row();
        let verdict = plain(&pred, &row);
        for (name, pass) in passes::PASSES {
            pass(&mut pred);
            prop_assert_eq!(plain(&pred, &row), verdict, "{} after {}", source, name);
            let once = pred.clone();
            pass(&mut pred);
            prop_assert_eq!(&pred, &once, "{} is not idempotent on {}", name, source);
        }
        prop_assert_eq!(compile::compile(&pred).judge(&row, &Steps::new(STEPS)), verdict);
    }

    #[test]
    fn no_text_panics(text in "\\PC*", raw in bytes(200)) {
        crate::exercise(text.as_bytes());
        crate::exercise(&raw);
    }

    #[test]
    fn no_tokens_panic(picks in bytes(40)) {
        const TOKENS: &[&str] = &[
            "process", ".", "name", "pid", "files", "exists", "(", ")", "f", ",", "==", "!=", "<", "&&", "||", "!", "?", ":",
            "in", "[", "]", "{", "}", "\"x\"", "1", "2h", "5MB", "1.5", "null", "true", "socket", "state", "listen", "caps",
            "has", "-", "+", "*", "/", "%", "size", "container", "labels", "matches", "cidr", "\"10.0.0.0/8\"", "srcAddr",
            "map", "filter", "process.files", "process.pid", "f.path", "b\"\\xff\"", "//", "\n", "and", "=", "duration",
        ];
        let source: Vec<&str> = picks.iter().map(|pick| TOKENS[usize::from(*pick) % TOKENS.len()]).collect();
        crate::exercise(source.join(" ").as_bytes());
        crate::exercise(source.concat().as_bytes());
    }
}

/// Symbols print as names that read back as the same number, whatever the table.
#[test]
fn all_symbols_read_back() {
    let tables: Vec<(&str, &'static Symbols)> = nabe_event::field::all()
        .filter_map(|field| match field.ty {
            Type::Symbol(names) => Some((field.name, names)),
            _ => None,
        })
        .collect();
    assert!(tables.len() >= 6);
    for (field, names) in tables {
        for (number, name) in names.entries {
            let canonical = Program::cel(&format!("{field} == \"{name}\"")).unwrap().canonical();
            assert_eq!(
                canonical,
                Program::cel(&format!("{field} == {number}")).unwrap().canonical(),
                "{field} {name}"
            );
            assert_eq!(Program::cel(&canonical).unwrap().canonical(), canonical);
        }
    }
}

#[test]
fn all_fields_have_a_place_in_expressions() {
    let classes = [Class::Process, Class::Container, Class::File];
    for field in classes.into_iter().flat_map(Class::fields) {
        for name in field.aliases.iter().chain([&field.name]) {
            let source = match field.ty {
                Type::Bool => (*name).to_owned(),
                Type::Relation => format!("size({name}) > 3"),
                _ => format!("has({name})"),
            };
            let program = Program::cel(&source).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(program.fields(), vec![field.id], "{source}");
        }
    }
}
