//! Which devices a container may use: the v1 controller's files, or a BPF program on v2.

use std::io;
use std::os::fd::AsRawFd as _;
use std::path::Path;

use super::write;
use crate::error::{Context as _, Error, Result};
use crate::spec::DeviceRule;
use crate::sys;

/// A rule that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    allow: bool,
    kind: Kind,
    major: Option<i32>,
    minor: Option<i32>,
    /// Bits of `BPF_DEVCG_ACC_…`: mknod 1, read 2, write 4.
    access: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    All,
    Block,
    Character,
}

const MKNOD: i32 = 1;
const READ: i32 = 2;
const WRITE: i32 = 4;

/// What every container may use, after the configuration's rules, as runc and crun have it: making any
/// node, and null, zero, full, random, urandom, tty, ptmx, pts, tun.
const DEFAULTS: [(Kind, Option<i32>, Option<i32>, i32); 11] = [
    (Kind::Character, None, None, MKNOD),
    (Kind::Block, None, None, MKNOD),
    (Kind::Character, Some(1), Some(3), 7),
    (Kind::Character, Some(1), Some(8), 7),
    (Kind::Character, Some(1), Some(7), 7),
    (Kind::Character, Some(5), Some(0), 7),
    (Kind::Character, Some(1), Some(5), 7),
    (Kind::Character, Some(1), Some(9), 7),
    (Kind::Character, Some(136), None, 7),
    (Kind::Character, Some(5), Some(2), 7),
    (Kind::Character, Some(10), Some(200), 7),
];

/// The configuration's rules, checked, with the defaults after them.
pub(crate) fn with_defaults(rules: &[DeviceRule]) -> Result<Vec<Rule>> {
    let mut checked = Vec::with_capacity(rules.len() + DEFAULTS.len());
    for (at, rule) in rules.iter().enumerate() {
        let wrong = |field: &str, why: &str| Error::Config {
            at: format!("linux.resources.devices[{at}].{field}"),
            why: why.into(),
        };
        let kind = match rule.kind.as_str() {
            "" | "a" => Kind::All,
            "c" | "u" => Kind::Character,
            "b" => Kind::Block,
            _ => return Err(wrong("type", "is none of a, c, b")),
        };
        let number = |value: Option<i64>, field| match value {
            None | Some(-1) => Ok(None),
            Some(value) => match i32::try_from(value) {
                Ok(value) if value >= 0 => Ok(Some(value)),
                _ => Err(wrong(field, "is no device number")),
            },
        };
        let mut access = 0;
        for letter in rule.access.chars() {
            access |= match letter {
                'r' => READ,
                'w' => WRITE,
                'm' => MKNOD,
                _ => return Err(wrong("access", "has letters other than r, w, m")),
            };
        }
        if rule.access.is_empty() {
            access = READ | WRITE | MKNOD;
        }
        let (major, minor) = (number(rule.major, "major")?, number(rule.minor, "minor")?);
        checked.push(Rule { allow: rule.allow, kind, major, minor, access });
    }
    let allowed = |(kind, major, minor, access)| Rule { allow: true, kind, major, minor, access };
    checked.extend(DEFAULTS.map(allowed));
    Ok(checked)
}

impl Rule {
    /// Says something about every device and every access.
    fn everything(&self) -> bool {
        self.kind == Kind::All && self.access == 7 && self.major.is_none() && self.minor.is_none()
    }

    fn kinds(&self) -> &'static [char] {
        match self.kind {
            Kind::All => &['b', 'c'],
            Kind::Block => &['b'],
            Kind::Character => &['c'],
        }
    }

    fn letters(&self) -> String {
        let letters = [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')];
        letters.iter().filter(|(bit, _)| self.access & bit != 0).map(|(_, letter)| letter).collect()
    }
}

/// Devices that are allowed, for systemd, which has no way to say that one is not. Never fewer than the rules allow.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Allowed(Vec<Rule>);

impl Allowed {
    /// What the configuration's rules and the defaults allow; `None` when that is everything, but for exceptions.
    pub(crate) fn of(rules: &[DeviceRule]) -> Result<Option<Self>> {
        let rules = with_defaults(rules)?;
        let start = match rules.iter().rposition(Rule::everything) {
            Some(at) if rules.get(at).is_some_and(|rule| rule.allow) => return Ok(None),
            Some(at) => at + 1,
            None => 0,
        };
        Ok(Some(Self(rules.into_iter().skip(start).filter(|rule| rule.allow).collect())))
    }

    /// As `DeviceAllow=` has them: `/dev/char/1:3`, `char-136`, `block-*`, each with letters of `rwm`.
    pub(crate) fn entries(&self) -> Vec<(String, String)> {
        let mut entries = Vec::new();
        for rule in &self.0 {
            for kind in rule.kinds() {
                let name = if *kind == 'b' { "block" } else { "char" };
                let device = match (rule.major, rule.minor) {
                    (Some(major), Some(minor)) => format!("/dev/{name}/{major}:{minor}"),
                    (Some(major), None) => format!("{name}-{major}"),
                    // It knows no minor of any major.
                    (None, _) => format!("{name}-*"),
                };
                let entry = (device, rule.letters());
                if !entries.contains(&entry) {
                    entries.push(entry);
                }
            }
        }
        entries
    }
}

/// Writes the rules into a v1 cgroup.
pub(super) fn write_rules(directory: &Path, rules: &[Rule]) -> Result<()> {
    // Nothing before the last rule about everything matters, and everything is denied at first.
    let (start, allow) = match rules.iter().rposition(Rule::everything) {
        Some(at) => (at + 1, rules.get(at).is_some_and(|rule| rule.allow)),
        None => (0, false),
    };
    let file = |allow| directory.join(if allow { "devices.allow" } else { "devices.deny" });
    write(&file(allow), "a")?;
    let mut open = [None, None];
    for rule in rules.get(start..).unwrap_or_default().iter().filter(|rule| rule.allow != allow || !allow) {
        let number = |value: Option<i32>| value.map_or("*".into(), |value| value.to_string());
        let letters = rule.letters();
        for kind in rule.kinds() {
            let line = format!("{kind} {}:{} {letters}", number(rule.major), number(rule.minor));
            let path = file(rule.allow);
            let slot = &mut open[usize::from(rule.allow)];
            let fail = || format!("write \"{line}\" to {}", path.display());
            if slot.is_none() {
                *slot = Some(std::fs::OpenOptions::new().write(true).open(&path).step(fail)?);
            }
            if let Some(file) = slot {
                io::Write::write_all(file, line.as_bytes()).step(fail)?;
            }
        }
    }
    Ok(())
}

/// One BPF instruction, as the kernel lays it out.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// Builds the program: the last rule that speaks of a device decides, so they are asked backwards.
///
/// The context is `struct bpf_cgroup_dev_ctx`: access and type in one word (type in the lower half), major,
/// minor.
fn program(rules: &[Rule]) -> Vec<Instruction> {
    let op = |code, registers, offset, immediate| Instruction { code, registers, offset, immediate };
    const LOAD: u8 = 0x61; // BPF_LDX | BPF_MEM | BPF_W
    const MOVE: u8 = 0xbc; // BPF_ALU | BPF_MOV | BPF_X
    const AND: u8 = 0x54; // BPF_ALU | BPF_AND | BPF_K
    const SHIFT: u8 = 0x74; // BPF_ALU | BPF_RSH | BPF_K
    const UNEQUAL: u8 = 0x55; // BPF_JMP | BPF_JNE | BPF_K
    const EQUAL: u8 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
    const SET: u8 = 0xb7; // BPF_ALU64 | BPF_MOV | BPF_K
    const EXIT: u8 = 0x95;
    let pair = |to: u8, from: u8| to | from << 4;
    // r2 type, r3 access, r4 major, r5 minor.
    let mut code = vec![
        op(LOAD, pair(2, 1), 0, 0),
        op(MOVE, pair(3, 2), 0, 0),
        op(AND, 2, 0, 0xffff),
        op(SHIFT, 3, 0, 16),
        op(LOAD, pair(4, 1), 4, 0),
        op(LOAD, pair(5, 1), 8, 0),
    ];
    for rule in rules.iter().rev() {
        let mut tests = Vec::new();
        match rule.kind {
            Kind::All => {}
            Kind::Block => tests.push((UNEQUAL, 2, 1)),
            Kind::Character => tests.push((UNEQUAL, 2, 2)),
        }
        let mut block: Vec<Instruction> = Vec::new();
        let jump = |code, register, value| op(code, register, i16::MAX, value);
        block.extend(tests.iter().map(|(code, register, value)| jump(*code, *register, *value)));
        if rule.access != 7 {
            block.push(op(MOVE, pair(0, 3), 0, 0));
            if rule.allow {
                // Every access that is asked for must be in the rule.
                block.push(op(AND, 0, 0, 7 & !rule.access));
                block.push(jump(UNEQUAL, 0, 0));
            } else {
                block.push(op(AND, 0, 0, rule.access));
                block.push(jump(EQUAL, 0, 0));
            }
        }
        block.extend(rule.major.map(|major| jump(UNEQUAL, 4, major)));
        block.extend(rule.minor.map(|minor| jump(UNEQUAL, 5, minor)));
        block.push(op(SET, 0, 0, i32::from(rule.allow)));
        block.push(op(EXIT, 0, 0, 0));
        let end = block.len();
        for (at, instruction) in block.iter_mut().enumerate().filter(|(_, i)| i.offset == i16::MAX) {
            instruction.offset = i16::try_from(end - at - 1).unwrap_or(0);
        }
        let done = block.len() == 2;
        code.extend(block);
        if done {
            // It says something about everything: what is before it is never asked, and the verifier
            // refuses instructions that cannot be reached.
            return code;
        }
    }
    code.push(op(SET, 0, 0, 0));
    code.push(op(EXIT, 0, 0, 0));
    code
}

pub(super) fn fuzz_program(rules: &[Rule]) {
    program(rules);
}

#[repr(C)]
struct LoadAttributes {
    kind: u32,
    count: u32,
    code: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

#[repr(C)]
struct AttachAttributes {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

/// Attaches the rules to a v2 cgroup as a program.
pub(super) fn attach(directory: &Path, rules: &[Rule]) -> Result<()> {
    const LOAD: i32 = 5;
    const ATTACH: i32 = 8;
    const CGROUP_DEVICE: u32 = 15;
    const ATTACH_CGROUP_DEVICE: u32 = 6;
    const ALLOW_MULTI: u32 = 2;
    let failed = || format!("attach the device program to {}", directory.display());
    let code = program(rules);
    let attributes = LoadAttributes {
        kind: CGROUP_DEVICE,
        count: u32::try_from(code.len()).unwrap_or(u32::MAX),
        code: code.as_ptr() as u64,
        license: c"Apache".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
    };
    let loaded = sys::owned(sys::bpf(LOAD, &attributes).step(failed)?);
    let target = std::fs::File::open(directory).step(failed)?;
    let number = |fd: i32| u32::try_from(fd).unwrap_or(u32::MAX);
    let attributes = AttachAttributes {
        target: number(target.as_raw_fd()),
        program: number(loaded.as_raw_fd()),
        kind: ATTACH_CGROUP_DEVICE,
        flags: ALLOW_MULTI,
    };
    sys::bpf(ATTACH, &attributes).step(failed).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(allow: bool, kind: &str, major: Option<i64>, minor: Option<i64>, access: &str) -> DeviceRule {
        DeviceRule { allow, kind: kind.into(), major, minor, access: access.into() }
    }

    /// Runs a program as the kernel would.
    fn run(code: &[Instruction], kind: i32, access: i32, major: i32, minor: i32) -> i32 {
        let mut registers = [0i64; 11];
        let mut at = 0;
        loop {
            let i = code[at];
            let (to, from) = (usize::from(i.registers & 15), usize::from(i.registers >> 4));
            match i.code {
                0x61 => registers[to] = i64::from([access << 16 | kind, major, minor][i.offset as usize / 4]),
                0xbc => registers[to] = registers[from],
                0x54 => registers[to] &= i64::from(i.immediate),
                0x74 => registers[to] >>= i.immediate,
                0x55 if registers[to] != i64::from(i.immediate) => at += i.offset as usize,
                0x15 if registers[to] == i64::from(i.immediate) => at += i.offset as usize,
                0x55 | 0x15 => {}
                0xb7 => registers[to] = i64::from(i.immediate),
                0x95 => return registers[0] as i32,
                other => panic!("code {other:#x}"),
            }
            at += 1;
        }
    }

    #[test]
    fn the_last_rule_decides() {
        let rules = with_defaults(&[
            rule(false, "a", None, None, "rwm"),
            rule(true, "c", Some(10), Some(229), "rw"),
            rule(false, "c", Some(10), Some(229), "w"),
        ])
        .expect("rules");
        let code = program(&rules);
        for (kind, access, major, minor, allowed) in [
            (2, READ, 10, 229, 1),
            (2, WRITE, 10, 229, 0),
            (2, READ | WRITE, 10, 229, 0),
            (2, READ | WRITE, 1, 3, 1),
            (1, READ, 8, 0, 0),
            (1, MKNOD, 8, 0, 1),
            (1, MKNOD | READ, 8, 0, 0),
            (2, READ, 1, 1, 0),
            (2, READ, 136, 77, 1),
        ] {
            assert_eq!(run(&code, kind, access, major, minor), allowed, "{kind} {access} {major}:{minor}");
        }
        let all = program(&with_defaults(&[rule(true, "a", None, None, "rwm")]).expect("rules"));
        assert_eq!(run(&all, 1, 7, 8, 0), 1);
    }

    #[test]
    fn systemd_is_told_what_is_allowed() {
        let entries = |rules: &[DeviceRule]| {
            let allowed = Allowed::of(rules).expect("rules");
            allowed.map(|allowed| {
                allowed.entries().into_iter().map(|(a, b)| format!("{a} {b}")).collect::<Vec<_>>()
            })
        };
        let defaults = [
            "char-* m",
            "block-* m",
            "/dev/char/1:3 rwm",
            "/dev/char/1:8 rwm",
            "/dev/char/1:7 rwm",
            "/dev/char/5:0 rwm",
            "/dev/char/1:5 rwm",
            "/dev/char/1:9 rwm",
            "char-136 rwm",
            "/dev/char/5:2 rwm",
            "/dev/char/10:200 rwm",
        ];
        let denied = rule(false, "a", None, None, "rwm");
        assert_eq!(entries(&[]).expect("some"), defaults);
        let mut more = vec!["/dev/char/10:229 rw", "block-8 r", "block-* r", "char-* r"];
        more.extend(defaults);
        let found = entries(&[
            rule(true, "c", Some(9), Some(9), "rwm"),
            denied.clone(),
            rule(true, "c", Some(10), Some(229), "rw"),
            rule(true, "b", Some(8), None, "r"),
            rule(false, "b", Some(8), Some(1), "r"),
            rule(true, "a", None, Some(3), "r"),
        ]);
        assert_eq!(found.expect("some"), more);
        assert_eq!(entries(&[denied.clone(), rule(true, "a", None, None, "rwm")]), None);
        assert_eq!(
            entries(&[rule(true, "a", None, None, "rwm"), rule(false, "b", Some(8), None, "r")]),
            None
        );
    }

    #[test]
    fn nonsense_is_named() {
        for (rule, at) in [
            (rule(true, "x", None, None, "r"), "type"),
            (rule(true, "c", Some(-7), None, "r"), "major"),
            (rule(true, "c", None, Some(1 << 40), "r"), "minor"),
            (rule(true, "c", None, None, "rx"), "access"),
        ] {
            let error = with_defaults(&[rule]).expect_err("nonsense").to_string();
            assert!(error.contains(&format!("linux.resources.devices[0].{at}:")), "{error}");
        }
    }
}
