//! `cargo xtask event-table SCHEMA.json`: imports the event table of a new schema.
//!
//! Layout of the file: `syscall_codes` {code: name}; `events` [{`n`, `enum`, `name`, `cat`, `flags`,
//! `params` [{`name`, `type`, `fmt`, `values` {name: number}}]}]. What the file does not say and the
//! schema's C source does: a relative path belongs to the descriptor parameter before it; what a
//! dynamic parameter chooses from.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

use crate::Outcome;

const HEADER: &str = "made by `cargo xtask event-table` from the tables of falcosecurity/libs (MIT)";

/// Reads the schema and writes the three files below `crates/event/src/table`.
pub(crate) fn import(root: &Path, schema: &Path) -> Outcome {
    let schema: Value = serde_json::from_slice(&std::fs::read(schema)?)?;
    let mut symbols = Symbols::default();
    let events = events(&schema, &mut symbols).ok_or("the schema's events are not as expected")?;
    let syscalls = syscalls(&schema).ok_or("the schema's system calls are not as expected")?;
    let directory = root.join("crates/event/src/table");
    for (name, text) in [("event.rs", events), ("symbol.rs", symbols.text), ("syscall.rs", syscalls)] {
        std::fs::write(directory.join(name), text)?;
        eprintln!("event-table: wrote {name}");
    }
    Ok(true)
}

/// Tables of flag names, each written once.
#[derive(Default)]
struct Symbols {
    text: String,
    /// By content.
    known: BTreeMap<String, String>,
}

impl Symbols {
    /// The constant for `values`; `event` and `param` name it when it is new.
    fn name(&mut self, values: &serde_json::Map<String, Value>, event: &str, param: &str) -> Option<String> {
        if self.text.is_empty() {
            let _ = write!(self.text, "//! Names of flags and values of event parameters; {HEADER}.\n\nuse crate::symbol::Symbols;\n");
        }
        let mut entries = String::new();
        for (name, number) in values {
            let _ = write!(entries, "({}, {name:?}), ", number.as_u64()?);
        }
        if let Some(name) = self.known.get(&entries) {
            return Some(name.clone());
        }
        let name = format!("{event}_{param}").to_uppercase();
        let what = format!("{event} {param}");
        let _ = write!(
            self.text,
            "\n/// Values of `{param}` of `{event}`.\npub static {name}: Symbols = Symbols {{ what: {what:?}, entries: &[\n    {}\n] }};\n",
            entries.trim_end()
        );
        if self.known.values().any(|used| *used == name) {
            return None;
        }
        self.known.insert(entries, name.clone());
        Some(name)
    }
}

fn events(schema: &Value, symbols: &mut Symbols) -> Option<String> {
    let mut rows = String::new();
    let mut count = 0;
    for event in schema.get("events")?.as_array()? {
        let name = event.get("name")?.as_str()?;
        let code = event.get("enum")?.as_str()?.strip_prefix("PPME_")?;
        if event.get("n")?.as_u64()? != count {
            return None;
        }
        let flags: Option<Vec<&str>> = event.get("flags")?.as_array()?.iter().map(Value::as_str).collect();
        let category = category(event.get("cat")?.as_u64()?)?;
        let _ = write!(rows, "    {count} {code} {name:?} ({category}) ({}) [", flags?.join(" "));
        let mut descriptor = None;
        for (position, param) in event.get("params")?.as_array()?.iter().enumerate() {
            let param_name = param.get("name")?.as_str()?;
            let ty = param.get("type")?.as_str()?.strip_prefix("PT_")?;
            let format = *FORMATS.get(usize::try_from(param.get("fmt")?.as_u64()?).ok()?)?;
            let separator = if position == 0 { "" } else { ", " };
            let _ = write!(rows, "{separator}{param_name:?}: {} {format}", type_name(ty)?);
            if let Some(values) = param.get("values").and_then(Value::as_object) {
                let _ = write!(rows, " symbols {}", symbols.name(values, name, param_name)?);
            }
            match ty {
                "FD" | "FD32" => descriptor = Some(position),
                "FSRELPATH" => drop(write!(rows, " dirfd {}", descriptor?)),
                "DYN" => drop(write!(rows, " variants {}", variants(name)?)),
                _ => {}
            }
        }
        rows.push_str("]\n");
        count += 1;
    }
    Some(format!(
        "//! The rows of the event table; {HEADER}.\n//!\n//! number CODE \"name\" (category) (flags) [parameters]\n\n{MACRO}\nevents! {{\n{rows}}}\n"
    ))
}

fn syscalls(schema: &Value) -> Option<String> {
    let codes = schema.get("syscall_codes")?.as_object()?;
    let named: Option<BTreeMap<usize, &str>> =
        codes.iter().map(|(code, name)| Some((code.parse().ok()?, name.as_str()?))).collect();
    let named = named?;
    let last = *named.keys().last()?;
    let mut text = format!(
        "//! Names of system calls by the schema's code; {HEADER}.\n\npub(super) static NAMES: [&str; {}] = [\n",
        last + 1
    );
    for row in (0..=last).collect::<Vec<_>>().chunks(8) {
        let names: Vec<String> =
            row.iter().map(|code| format!("{:?},", named.get(code).unwrap_or(&""))).collect();
        let _ = writeln!(text, "    {}", names.join(" "));
    }
    text.push_str("];\n");
    Some(text)
}

const FORMATS: &[&str] = &["Na", "Dec", "Hex", "PaddedDec", "Id", "Dir", "Oct"];

/// `513` → `SYSCALL OTHER`.
fn category(number: u64) -> Option<String> {
    const SOURCES: &[(u64, &str)] =
        &[(1 << 9, "SYSCALL"), (1 << 10, "TRACEPOINT"), (1 << 11, "PLUGIN"), (1 << 12, "METAEVENT"), (1 << 13, "ITER")];
    const CLASSES: &[(u64, &str)] = &[
        (1, "OTHER"), (2, "FILE"), (3, "NET"), (4, "IPC"), (5, "MEMORY"), (6, "PROCESS"), (7, "SLEEP"),
        (8, "SYSTEM"), (9, "SIGNAL"), (10, "USER"), (11, "TIME"), (12, "PROCESSING"), (32, "IO_READ"),
        (33, "IO_WRITE"), (34, "IO_OTHER"), (64, "WAIT"), (128, "SCHEDULER"), (256, "INTERNAL"),
    ];
    if number == 0 {
        return Some(String::new());
    }
    let (bit, source) = SOURCES.iter().find(|(bit, _)| number & bit != 0)?;
    let (_, class) = CLASSES.iter().find(|(class, _)| *class == number & !bit)?;
    Some(format!("{source} {class}"))
}

/// `FSRELPATH` → `FsRelPath`.
fn type_name(ty: &str) -> Option<&'static str> {
    const NAMES: &[&str] = &[
        "Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64", "CharBuf", "ByteBuf", "Errno",
        "SockAddr", "SockTuple", "Fd", "Pid", "FdList", "FsPath", "SyscallId", "SigType", "RelTime", "AbsTime",
        "Port", "L4Proto", "SockFamily", "Bool", "Ipv4Addr", "Dyn", "Flags8", "Flags16", "Flags32", "Uid", "Gid",
        "Double", "SigSet", "CharBufArray", "CharBufPairArray", "Ipv4Net", "Ipv6Addr", "Ipv6Net", "IpAddr",
        "IpNet", "Mode", "FsRelPath", "EnumFlags8", "EnumFlags16", "EnumFlags32", "Fd32", "Pid32",
    ];
    let plain = ty.replace('_', "");
    NAMES.iter().copied().find(|name| name.eq_ignore_ascii_case(&plain))
}

/// What a dynamic parameter of this event chooses from.
fn variants(event: &str) -> Option<&'static str> {
    Some(match event {
        "getsockopt" | "setsockopt" => "SOCKOPT",
        "ptrace" => "PTRACE",
        "bpf" => "BPF",
        "keyctl" => "KEYCTL",
        _ => return None,
    })
}

const MACRO: &str = r#"use super::{Category, EventId, EventType, Flags, Format, Param, ParamType, symbol};

type Variants = &'static [(ParamType, Format)];
const SOCKOPT: Variants = &[
    (ParamType::ByteBuf, Format::Hex), (ParamType::Errno, Format::Dec), (ParamType::UInt32, Format::Dec),
    (ParamType::UInt64, Format::Dec), (ParamType::RelTime, Format::Dec),
];
const PTRACE: Variants = &[(ParamType::UInt64, Format::Hex), (ParamType::SigType, Format::Dec)];
const BPF: Variants = &[(ParamType::Fd, Format::Dec), (ParamType::Errno, Format::Dec)];
const KEYCTL: Variants = &[(ParamType::Int64, Format::Dec), (ParamType::CharBuf, Format::Na)];

macro_rules! or {
    ($default:expr;) => { $default };
    ($default:expr; $given:expr) => { $given };
}

macro_rules! events {
    ($( $number:literal $code:ident $name:literal ($($category:ident)*) ($($flag:ident)*) [
        $( $param:literal: $ty:ident $format:ident $(symbols $symbols:ident)? $(dirfd $dirfd:literal)? $(variants $variants:ident)? ),*
    ] )*) => {
        #[allow(missing_docs, reason = "the words are the schema's; the rows say what they are")]
        impl EventId {
            $( pub const $code: Self = Self($number); )*
        }

        /// Every event, at the index that is its number.
        pub static EVENTS: [EventType; 454] = [ $( EventType {
            code: stringify!($code),
            name: $name,
            category: Category(0 $( | Category::$category.0 )*),
            flags: Flags(0 $( | Flags::$flag.0 )*),
            params: &[ $( Param {
                name: $param,
                ty: ParamType::$ty,
                format: Format::$format,
                symbols: or!(None; $( Some(&symbol::$symbols) )?),
                dirfd: or!(None; $( Some($dirfd) )?),
                variants: or!(&[]; $( $variants )?),
            } ),* ],
        } ),* ];
    };
}
"#;
