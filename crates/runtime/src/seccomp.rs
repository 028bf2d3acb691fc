//! Seccomp profiles to classic BPF, without a C library.
//!
//! Each architecture's numbers are cut into segments with one answer, which a binary search finds. Of
//! several rules about one system call, those with conditions are asked first, in order, and the first that
//! holds decides; then the one without conditions (libseccomp drops the conditional ones there). As
//! runc does, a filter whose default is an error answers `ENOSYS` to calls newer than any that it
//! names, so that programs fall back.

use std::collections::BTreeMap;
use std::os::fd::AsFd as _;
use std::str::FromStr as _;

use libc::sock_filter;

use crate::error::{Context as _, Error, Result};
use crate::spec::{Action, Comparison, Seccomp, Spec, SyscallArgument};
use crate::{sys, terminal};

/// Sends the listener that is descriptor `fd` of process `pid` to the agent which the profile names.
pub(crate) fn hand_over(spec: &Spec, pid: i32, fd: i32, state: &serde_json::Value) -> Result<()> {
    let Some(profile) = &spec.linux.seccomp else { return Ok(()) };
    let path = &profile.listener_path;
    let what = || format!("failed to connect with seccomp agent: hand the listener to {}", path.display());
    let pidfd = sys::pidfd_open(pid).step(what)?;
    let listener = sys::pidfd_getfd(pidfd.as_fd(), fd).step(what)?;
    let message = serde_json::json!({
        "ociVersion": crate::spec::VERSION,
        "fds": ["seccompFd"],
        "pid": pid,
        "metadata": profile.listener_metadata,
        "state": state,
    });
    terminal::send_to(path, message.to_string().as_bytes(), listener.as_fd()).step(what)
}

/// The kernel's limit on a filter's instructions.
const MAX_LENGTH: usize = 4096;

/// A filter, ready to load.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    pub(crate) code: Vec<sock_filter>,
    /// `SECCOMP_FILTER_FLAG_…`.
    pub(crate) flags: libc::c_ulong,
    /// Some call is answered by a listener.
    pub(crate) notifies: bool,
}

/// An architecture: audit's number, the bit in call numbers, and its table.
struct Architecture {
    audit: u32,
    number: fn(&str) -> Option<u32>,
}

macro_rules! table {
    ($arch:ident) => {
        |name| u32::try_from(syscalls::$arch::Sysno::from_str(name).ok()?.id()).ok()
    };
}

/// Names of architectures that configurations may use, with what we have for them.
///
/// Audit's numbers are from linux/audit.h. X32 and the like share their sibling's number.
const ARCHITECTURES: &[(&str, Option<Architecture>)] = &[
    ("SCMP_ARCH_X86", Some(Architecture { audit: 0x4000_0003, number: table!(x86) })),
    ("SCMP_ARCH_X86_64", Some(Architecture { audit: 0xc000_003e, number: table!(x86_64) })),
    ("SCMP_ARCH_X32", None),
    ("SCMP_ARCH_ARM", Some(Architecture { audit: 0x4000_0028, number: table!(arm) })),
    ("SCMP_ARCH_AARCH64", Some(Architecture { audit: 0xc000_00b7, number: table!(aarch64) })),
    ("SCMP_ARCH_RISCV64", Some(Architecture { audit: 0xc000_00f3, number: table!(riscv64) })),
    ("SCMP_ARCH_S390X", Some(Architecture { audit: 0x8000_0016, number: table!(s390x) })),
    ("SCMP_ARCH_PPC64LE", Some(Architecture { audit: 0xc000_0015, number: table!(powerpc64) })),
    ("SCMP_ARCH_S390", None),
    ("SCMP_ARCH_PPC", None),
    ("SCMP_ARCH_PPC64", None),
    ("SCMP_ARCH_MIPS", None),
    ("SCMP_ARCH_MIPS64", None),
    ("SCMP_ARCH_MIPS64N32", None),
    ("SCMP_ARCH_MIPSEL", None),
    ("SCMP_ARCH_MIPSEL64", None),
    ("SCMP_ARCH_MIPSEL64N32", None),
    ("SCMP_ARCH_PARISC", None),
    ("SCMP_ARCH_PARISC64", None),
    ("SCMP_ARCH_LOONGARCH64", None),
    ("SCMP_ARCH_M68K", None),
    ("SCMP_ARCH_SH", None),
    ("SCMP_ARCH_SHEB", None),
];

/// Names of architectures, as `features` lists them.
pub(crate) fn architectures() -> impl Iterator<Item = &'static str> {
    ARCHITECTURES.iter().filter(|(_, known)| known.is_some()).map(|(name, _)| *name).chain(["SCMP_ARCH_X32"])
}

/// Flags by name and bit.
pub(crate) const FLAGS: [(&str, libc::c_ulong); 4] = [
    ("SECCOMP_FILTER_FLAG_TSYNC", 1),
    ("SECCOMP_FILTER_FLAG_LOG", 2),
    ("SECCOMP_FILTER_FLAG_SPEC_ALLOW", 4),
    ("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", 32),
];

const NATIVE: &str = match () {
    () if cfg!(target_arch = "x86_64") => "SCMP_ARCH_X86_64",
    () if cfg!(target_arch = "aarch64") => "SCMP_ARCH_AARCH64",
    () if cfg!(target_arch = "riscv64") => "SCMP_ARCH_RISCV64",
    () if cfg!(target_arch = "s390x") => "SCMP_ARCH_S390X",
    () => "SCMP_ARCH_PPC64LE",
};

/// Calls of x32 have this bit; everything of it and above is refused unless the profile names x32.
const X32_BIT: u32 = 0x4000_0000;

const RET_KILL_THREAD: u32 = 0;
const RET_ERRNO: u32 = 0x0005_0000;

/// What stands in front of [`Answer`] in the kernel's words.
fn answer(action: Action, errno: Option<u32>) -> u32 {
    let data = errno.unwrap_or(libc::EPERM as u32) & 0xffff;
    match action {
        Action::Kill | Action::KillThread => RET_KILL_THREAD,
        Action::KillProcess => 0x8000_0000,
        Action::Trap => 0x0003_0000,
        Action::Errno => RET_ERRNO | data,
        Action::Trace => 0x7ff0_0000 | data,
        Action::Allow => 0x7fff_0000,
        Action::Log => 0x7ffc_0000,
        Action::Notify => 0x7fc0_0000,
    }
}

/// Conditions that must all hold, and the answer then.
type Alternative = (Vec<Condition>, u32);

/// What one call, or a range of them, is answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Answer {
    /// Conditions and the answer when they hold.
    conditional: Vec<Alternative>,
    otherwise: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Condition {
    index: u32,
    value: u64,
    second: u64,
    comparison: Comparison,
}

/// Compiles a profile.
///
/// # Errors
/// [`Error::Config`] with the path of what is wrong.
pub(crate) fn compile(profile: &Seccomp) -> Result<Filter> {
    let default = answer(profile.default_action, profile.default_errno_ret);
    if profile.default_action == Action::Notify {
        return Err(wrong("defaultAction", "cannot be SCMP_ACT_NOTIFY"));
    }
    let mut notifies = false;
    for (at, rule) in profile.syscalls.iter().enumerate() {
        notifies |= rule.action == Action::Notify;
        if rule.action == Action::Notify && rule.names.iter().any(|name| name == "write") {
            return Err(wrong(
                &format!("syscalls[{at}].action"),
                "SCMP_ACT_NOTIFY cannot be used for the write syscall",
            ));
        }
        if rule.names.is_empty() {
            return Err(wrong(&format!("syscalls[{at}].names"), "is empty"));
        }
        for (number, argument) in rule.args.iter().enumerate() {
            if argument.index > 5 {
                return Err(wrong(&format!("syscalls[{at}].args[{number}].index"), "is not 0 to 5"));
            }
        }
    }
    let mut flags = 0;
    for (at, flag) in profile.flags.iter().enumerate() {
        let known = FLAGS.iter().find(|(name, _)| name == flag);
        let (_, bit) =
            known.ok_or_else(|| wrong(&format!("flags[{at}]"), "is no flag that is known here"))?;
        // One thread: nothing to synchronise.
        flags |= bit & !1;
    }
    if profile.flags.is_empty() {
        flags = 4; // SPEC_ALLOW, as runc has it.
    }
    if notifies {
        flags |= 8; // NEW_LISTENER
    }
    let code = assemble(profile, default)?;
    Ok(Filter { code, flags, notifies })
}

fn wrong(at: &str, why: &str) -> Error {
    Error::Config { at: format!("linux.seccomp.{at}"), why: why.into() }
}

fn assemble(profile: &Seccomp, default: u32) -> Result<Vec<sock_filter>> {
    let mut names = vec![NATIVE];
    let mut x32 = false;
    for (at, name) in profile.architectures.iter().enumerate() {
        let known = ARCHITECTURES.iter().find(|(known, _)| known == name);
        let (known, _) = known.ok_or_else(|| wrong(&format!("architectures[{at}]"), "is no architecture"))?;
        x32 |= *known == "SCMP_ARCH_X32";
        if !names.contains(known) {
            names.push(known);
        }
    }
    let mut code = vec![load(4)];
    let arches = ARCHITECTURES.iter().filter(|(name, _)| names.contains(name));
    for (name, architecture) in arches.filter_map(|(name, arch)| Some((name, arch.as_ref()?))) {
        let mut body = vec![load(0)];
        if x32 && *name == "SCMP_ARCH_X86_64" {
            body.push(op(AND, !X32_BIT, 0, 0));
        }
        let mut segments = segments(profile, architecture, default);
        if *name == "SCMP_ARCH_X86_64" && !x32 {
            segments.retain(|(start, _)| *start < X32_BIT);
            segments.push((X32_BIT, Answer { otherwise: RET_KILL_THREAD, ..Answer::default() }));
        }
        search(&segments, &mut body);
        code.push(op(JUMP_EQUAL, architecture.audit, 1, 0));
        code.push(op(JUMP, u32::try_from(body.len()).unwrap_or(u32::MAX), 0, 0));
        code.extend(body);
    }
    code.push(op(RETURN, RET_KILL_THREAD, 0, 0));
    if code.len() > MAX_LENGTH {
        let why = format!("needs {} instructions, the kernel takes {MAX_LENGTH}", code.len());
        return Err(wrong("syscalls", &why));
    }
    Ok(code)
}

/// First numbers of ranges with one answer, rising from 0.
fn segments(profile: &Seccomp, architecture: &Architecture, default: u32) -> Vec<(u32, Answer)> {
    let mut calls: BTreeMap<u32, (Vec<Alternative>, Option<u32>)> = BTreeMap::new();
    for rule in &profile.syscalls {
        let action = answer(
            rule.action,
            rule.errno_ret.or((rule.action == Action::Errno).then_some(libc::EPERM as u32)),
        );
        for number in rule.names.iter().filter_map(|name| (architecture.number)(name)) {
            let entry = calls.entry(number).or_default();
            match conditions(&rule.args) {
                none if none.is_empty() => entry.1 = entry.1.or(Some(action)),
                some => entry.0.extend(some.into_iter().map(|conditions| (conditions, action))),
            }
        }
    }
    let newer =
        if profile.default_action == Action::Errno { RET_ERRNO | libc::ENOSYS as u32 } else { default };
    let plain = |otherwise| Answer { conditional: Vec::new(), otherwise };
    let mut segments: Vec<(u32, Answer)> = vec![(0, plain(default))];
    let mut next = 0;
    for (number, (conditional, otherwise)) in calls {
        if number != next {
            segments.push((next, plain(default)));
        }
        segments.push((number, Answer { conditional, otherwise: otherwise.unwrap_or(default) }));
        next = number.saturating_add(1);
    }
    if next != 0 {
        segments.push((next, plain(newer)));
    }
    // A later entry with the same start replaces the earlier one.
    segments.reverse();
    segments.dedup_by_key(|(start, _)| *start);
    segments.reverse();
    segments.dedup_by(|later, earlier| later.1 == earlier.1);
    segments
}

/// The conditions of a rule; several about one argument are alternatives, as libseccomp's users have it.
fn conditions(arguments: &[SyscallArgument]) -> Vec<Vec<Condition>> {
    let all: Vec<Condition> = arguments
        .iter()
        .map(|argument| Condition {
            index: argument.index,
            value: argument.value,
            second: argument.value_two,
            comparison: argument.op,
        })
        .collect();
    let twice =
        all.iter().enumerate().any(|(at, one)| all.iter().skip(at + 1).any(|other| other.index == one.index));
    match (all.is_empty(), twice) {
        (true, _) => Vec::new(),
        (_, true) => all.into_iter().map(|one| vec![one]).collect(),
        (_, false) => vec![all],
    }
}

const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER: u16 = 0x25;
const JUMP_NOT_LESS: u16 = 0x35;
const RETURN: u16 = 0x06;

fn op(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

/// Loads a word of `struct seccomp_data`.
fn load(offset: u32) -> sock_filter {
    op(LOAD, offset, 0, 0)
}

fn search(segments: &[(u32, Answer)], code: &mut Vec<sock_filter>) {
    match segments {
        [] => code.push(op(RETURN, RET_KILL_THREAD, 0, 0)),
        [(_, answer)] => leaf(answer, code),
        _ => {
            let (low, high) = segments.split_at(segments.len() / 2);
            let Some((middle, _)) = high.first() else { return };
            let mut left = Vec::new();
            search(low, &mut left);
            match u8::try_from(left.len()) {
                Ok(length) => code.push(op(JUMP_NOT_LESS, *middle, length, 0)),
                Err(_) => {
                    code.push(op(JUMP_NOT_LESS, *middle, 0, 1));
                    code.push(op(JUMP, u32::try_from(left.len()).unwrap_or(u32::MAX), 0, 0));
                }
            }
            code.extend(left);
            search(high, code);
        }
    }
}

fn leaf(answer: &Answer, code: &mut Vec<sock_filter>) {
    for (conditions, action) in &answer.conditional {
        let mut block: Vec<Test> = conditions.iter().flat_map(|condition| tests(*condition)).collect();
        // Where each condition ends, to jump there when it holds.
        let mut ends = Vec::new();
        for condition in conditions {
            let length = tests(*condition).len();
            let end = ends.last().copied().unwrap_or(0) + length;
            ends.extend(std::iter::repeat_n(end, length));
        }
        let all = block.len();
        for (at, test) in block.iter_mut().enumerate() {
            let hold = ends.get(at).copied().unwrap_or(all);
            let resolve = |to: To| match to {
                To::Next => 0,
                To::Skip(count) => count,
                To::Holds => u8::try_from(hold - at - 1).unwrap_or(u8::MAX),
                // Past the answer of this rule.
                To::Fails => u8::try_from(all - at).unwrap_or(u8::MAX),
            };
            code.push(op(test.code, test.k, resolve(test.yes), resolve(test.no)));
        }
        code.push(op(RETURN, *action, 0, 0));
    }
    code.push(op(RETURN, answer.otherwise, 0, 0));
}

#[derive(Clone, Copy, Debug)]
enum To {
    Next,
    Skip(u8),
    Holds,
    Fails,
}

struct Test {
    code: u16,
    k: u32,
    yes: To,
    no: To,
}

/// The instructions of one comparison of 64 bits by halves.
fn tests(condition: Condition) -> Vec<Test> {
    let Condition { index, value, second, comparison } = condition;
    let word = |high: bool| 16 + 8 * index + if high == cfg!(target_endian = "little") { 4 } else { 0 };
    let halves = |value: u64| ((value >> 32) as u32, value as u32);
    let (high, low) = halves(value);
    let load = |part| Test { code: LOAD, k: word(part), yes: To::Next, no: To::Next };
    let jump = |code, k, yes, no| Test { code, k, yes, no };
    // The larger half decides alone, or leaves it to the smaller one.
    let ordered = |code, holds, fails| {
        vec![
            load(true),
            jump(JUMP_GREATER, high, holds, To::Next),
            jump(JUMP_EQUAL, high, To::Next, fails),
            load(false),
            jump(code, low, holds, fails),
        ]
    };
    match comparison {
        Comparison::Equal => vec![
            load(true),
            jump(JUMP_EQUAL, high, To::Next, To::Fails),
            load(false),
            jump(JUMP_EQUAL, low, To::Next, To::Fails),
        ],
        Comparison::NotEqual => vec![
            load(true),
            jump(JUMP_EQUAL, high, To::Next, To::Skip(2)),
            load(false),
            jump(JUMP_EQUAL, low, To::Fails, To::Next),
        ],
        Comparison::Greater => ordered(JUMP_GREATER, To::Holds, To::Fails),
        Comparison::GreaterOrEqual => ordered(JUMP_NOT_LESS, To::Holds, To::Fails),
        Comparison::LessOrEqual => ordered(JUMP_GREATER, To::Fails, To::Holds),
        Comparison::Less => ordered(JUMP_NOT_LESS, To::Fails, To::Holds),
        Comparison::MaskedEqual => {
            let (high_second, low_second) = halves(second);
            let and = |k| Test { code: AND, k, yes: To::Next, no: To::Next };
            vec![
                load(true),
                and(high),
                jump(JUMP_EQUAL, high_second, To::Next, To::Fails),
                load(false),
                and(low),
                jump(JUMP_EQUAL, low_second, To::Next, To::Fails),
            ]
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::spec::SyscallRule;

    const X86_64: u32 = 0xc000_003e;
    const ALLOW: u32 = 0x7fff_0000;

    /// Runs a filter as the kernel would.
    fn run(code: &[sock_filter], arch: u32, number: u32, arguments: [u64; 6]) -> u32 {
        let mut data = vec![number, arch, 0, 0];
        data.extend(arguments.iter().flat_map(|a| [*a as u32, (*a >> 32) as u32]));
        let (mut at, mut accumulator) = (0, 0);
        loop {
            let i = code[at];
            at += 1;
            let mut branch = |yes| at += usize::from(if yes { i.jt } else { i.jf });
            match i.code {
                LOAD => accumulator = data[i.k as usize / 4],
                AND => accumulator &= i.k,
                JUMP => at += i.k as usize,
                JUMP_EQUAL => branch(accumulator == i.k),
                JUMP_GREATER => branch(accumulator > i.k),
                JUMP_NOT_LESS => branch(accumulator >= i.k),
                RETURN => return i.k,
                other => panic!("code {other:#x}"),
            }
        }
    }

    fn rule(names: &[&str], action: Action, args: Vec<SyscallArgument>) -> SyscallRule {
        SyscallRule { names: names.iter().map(|n| (*n).into()).collect(), action, errno_ret: None, args }
    }

    fn compiled(profile: &Seccomp) -> Vec<sock_filter> {
        compile(profile).expect("a profile").code
    }

    #[test]
    fn numbers_are_found() {
        let profile = Seccomp {
            default_action: Action::Errno,
            architectures: vec!["SCMP_ARCH_X86".into()],
            syscalls: vec![
                rule(&["read", "write", "openat", "no_such_call"], Action::Allow, vec![]),
                rule(&["kill"], Action::KillProcess, vec![]),
            ],
            ..Seccomp::default()
        };
        let code = compiled(&profile);
        let none = [0; 6];
        assert_eq!(run(&code, X86_64, 0, none), ALLOW);
        assert_eq!(run(&code, X86_64, 257, none), ALLOW);
        assert_eq!(run(&code, X86_64, 62, none), 0x8000_0000);
        assert_eq!(run(&code, X86_64, 2, none), RET_ERRNO | 1);
        assert_eq!(run(&code, X86_64, 258, none), RET_ERRNO | 38, "newer than all that is named");
        assert_eq!(run(&code, X86_64, X32_BIT, none), RET_KILL_THREAD, "x32 is not named");
        assert_eq!(run(&code, 0x4000_0003, 3, none), ALLOW, "read of i386");
        assert_eq!(run(&code, 0xc000_00b7, 63, none), RET_KILL_THREAD, "another architecture");
    }

    #[test]
    fn conditions_come_before_the_rest() {
        let masked =
            SyscallArgument { index: 0, value: 0x7e02_0000, value_two: 0, op: Comparison::MaskedEqual };
        let profile = Seccomp {
            default_action: Action::Errno,
            default_errno_ret: Some(38),
            syscalls: vec![rule(&["clone"], Action::Allow, vec![masked])],
            ..Seccomp::default()
        };
        let code = compiled(&profile);
        assert_eq!(run(&code, X86_64, 56, [17, 0, 0, 0, 0, 0]), ALLOW);
        assert_eq!(run(&code, X86_64, 56, [0x1000_0011, 0, 0, 0, 0, 0]), RET_ERRNO | 38);
    }

    #[test]
    fn nonsense_is_named() {
        let base = || Seccomp { default_action: Action::Allow, ..Seccomp::default() };
        let bad = SyscallArgument { index: 6, ..SyscallArgument::default() };
        for (profile, at) in [
            (Seccomp { flags: vec!["X".into()], ..base() }, "flags[0]"),
            (Seccomp { architectures: vec!["X".into()], ..base() }, "architectures[0]"),
            (
                Seccomp { syscalls: vec![rule(&["read"], Action::Errno, vec![bad])], ..base() },
                "syscalls[0].args[0].index",
            ),
            (
                Seccomp { syscalls: vec![rule(&["write"], Action::Notify, vec![])], ..base() },
                "syscalls[0].action",
            ),
        ] {
            let error = compile(&profile).expect_err("nonsense").to_string();
            assert!(error.contains(&format!("linux.seccomp.{at}:")), "{error}");
        }
    }

    fn holds(condition: &Condition, argument: u64) -> bool {
        let value = condition.value;
        match condition.comparison {
            Comparison::Equal => argument == value,
            Comparison::NotEqual => argument != value,
            Comparison::Less => argument < value,
            Comparison::LessOrEqual => argument <= value,
            Comparison::Greater => argument > value,
            Comparison::GreaterOrEqual => argument >= value,
            Comparison::MaskedEqual => argument & value == condition.second,
        }
    }

    fn word() -> impl Strategy<Value = u64> {
        prop_oneof![0..4u64, (0..4u64).prop_map(|high| high << 32 | 1), any::<u64>()]
    }

    proptest! {
        /// The compiled filter answers what reading the rules one after the other answers.
        #[test]
        fn compiled_is_naive(
            rules in prop::collection::vec((0..12u32, 0..3u32, prop::collection::vec((0..3u32, word(), word(), 0..7u8), 0..3)), 0..12),
            number in 0..14u32,
            arguments in prop::array::uniform6(word()),
        ) {
            let names = ["read", "write", "open", "close", "stat", "fstat", "lstat", "poll", "lseek", "mmap", "mprotect", "munmap"];
            let comparison = |n| [Comparison::Equal, Comparison::NotEqual, Comparison::Less, Comparison::LessOrEqual,
                Comparison::Greater, Comparison::GreaterOrEqual, Comparison::MaskedEqual][n as usize];
            let syscalls: Vec<SyscallRule> = rules.iter().map(|(call, action, args)| {
                let args = args.iter().map(|(index, value, value_two, op)| SyscallArgument {
                    index: *index, value: *value, value_two: *value_two, op: comparison(*op) }).collect();
                rule(&[names[*call as usize]], [Action::Allow, Action::Log, Action::Trap][*action as usize], args)
            }).collect();
            let profile = Seccomp { default_action: Action::KillProcess, syscalls: syscalls.clone(), ..Seccomp::default() };
            let code = compiled(&profile);
            let mine: Vec<&SyscallRule> = syscalls.iter().filter(|r| r.names[0] == *names.get(number as usize).unwrap_or(&"")).collect();
            let conditional = mine.iter().find(|r| conditions(&r.args).iter()
                .any(|all| all.iter().all(|c| holds(c, arguments[c.index as usize]))));
            let expected = conditional.or(mine.iter().find(|r| r.args.is_empty()))
                .map_or(0x8000_0000, |r| answer(r.action, None));
            prop_assert_eq!(run(&code, X86_64, number, arguments), expected);
        }
    }
}
