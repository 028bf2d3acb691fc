//! `cargo xtask event-table SCHEMA.json`: imports the event table of a new schema.
//!
//! Layout of the file: `syscall_codes` {code: name}; `events` [{`n`, `enum`, `name`, `cat`, `flags`,
//! `params` [{`name`, `type`, `fmt`, `values` {name: number}}]}]. What the file does not say and the
//! schema's C source does: a relative path belongs to the descriptor parameter before it; what a
//! dynamic parameter chooses from.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::path::Path;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use crate::Outcome;

const HEADER: &str = "made by `cargo xtask event-table` from the tables of falcosecurity/libs (MIT)";

#[derive(Deserialize)]
struct Schema {
    syscall_codes: BTreeMap<usize, String>,
    events: Vec<Event>,
}

#[derive(Deserialize)]
struct Event {
    n: usize,
    r#enum: String,
    name: String,
    cat: u32,
    flags: Vec<String>,
    params: Vec<Param>,
}

#[derive(Deserialize)]
struct Param {
    name: String,
    r#type: String,
    fmt: usize,
    values: Option<Values>,
}

/// Names and numbers in the file's order, which is the order in which they are printed; a JSON
/// object of `serde_json` would sort them.
struct Values(Vec<(String, u32)>);

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Values;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of numbers")
            }
            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Values, M::Error> {
                let mut values = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    values.push(entry);
                }
                Ok(Values(values))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// Reads the schema and writes the three files below `crates/event/src/table`.
pub(crate) fn import(root: &Path, schema: &Path) -> Outcome {
    let schema: Schema = serde_json::from_slice(&std::fs::read(schema)?)?;
    let mut symbols = Symbols::default();
    let events = events(&schema, &mut symbols).ok_or("an event is not as expected")?;
    let directory = root.join("crates/event/src/table");
    for (name, text) in
        [("event.rs", events), ("symbol.rs", symbols.text), ("syscall.rs", syscalls(&schema.syscall_codes))]
    {
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
    fn name(&mut self, values: &Values, event: &str, param: &str) -> Option<String> {
        if self.text.is_empty() {
            let _ = write!(
                self.text,
                "//! Names of flags and values of event parameters; {HEADER}.\n\nuse crate::symbol::Symbols;\n"
            );
        }
        let mut entries = String::new();
        for (name, number) in &values.0 {
            let _ = write!(entries, "({number}, {name:?}), ");
        }
        if let Some(name) = self.known.get(&entries) {
            return Some(name.clone());
        }
        let name = format!("{event}_{param}").to_uppercase();
        let _ = write!(
            self.text,
            "\n/// Values of `{param}` of `{event}`.\npub static {name}: Symbols = Symbols {{ what: \"{event} {param}\", entries: &[\n    {}\n] }};\n",
            entries.trim_end()
        );
        if self.known.values().any(|used| *used == name) {
            return None;
        }
        self.known.insert(entries, name.clone());
        Some(name)
    }
}

fn events(schema: &Schema, symbols: &mut Symbols) -> Option<String> {
    let mut rows = String::new();
    for (number, event) in schema.events.iter().enumerate() {
        if event.n != number {
            return None;
        }
        let code = event.r#enum.strip_prefix("PPME_")?;
        let category = category(event.cat)?;
        let _ =
            write!(rows, "    {number} {code} {:?} ({category}) ({}) [", event.name, event.flags.join(" "));
        let mut descriptor = None;
        for (position, param) in event.params.iter().enumerate() {
            let ty = param.r#type.strip_prefix("PT_")?;
            let separator = if position == 0 { "" } else { ", " };
            let _ =
                write!(rows, "{separator}{:?}: {} {}", param.name, type_name(ty)?, FORMATS.get(param.fmt)?);
            if let Some(values) = &param.values {
                let _ = write!(rows, " symbols {}", symbols.name(values, &event.name, &param.name)?);
            }
            let _ = match ty {
                "FSRELPATH" => write!(rows, " dirfd {}", descriptor?),
                "DYN" => write!(rows, " variants {}", variants(&event.name)?),
                _ => Ok(()),
            };
            if matches!(ty, "FD" | "FD32") {
                descriptor = Some(position);
            }
        }
        rows.push_str("]\n");
    }
    Some(format!(
        "//! The rows of the event table; {HEADER}.\n//!\n//! number CODE \"name\" (category) (flags) [parameters]\n\n{MACRO}\nevents! {{\n{rows}}}\n"
    ))
}

fn syscalls(named: &BTreeMap<usize, String>) -> String {
    let codes: Vec<usize> = (0..named.keys().last().map_or(0, |last| last + 1)).collect();
    let mut text = format!(
        "//! Names of system calls by the schema's code; {HEADER}.\n\npub(super) static NAMES: [&str; {}] = [\n",
        codes.len()
    );
    for row in codes.chunks(8) {
        let names: Vec<String> =
            row.iter().map(|code| format!("{:?},", named.get(code).map_or("", String::as_str))).collect();
        let _ = writeln!(text, "    {}", names.join(" "));
    }
    text.push_str("];\n");
    text
}

const FORMATS: &[&str] = &["Na", "Dec", "Hex", "PaddedDec", "Id", "Dir", "Oct"];

/// `513` → `SYSCALL OTHER`.
fn category(number: u32) -> Option<String> {
    const SOURCES: &[(u32, &str)] = &[
        (1 << 9, "SYSCALL"),
        (1 << 10, "TRACEPOINT"),
        (1 << 11, "PLUGIN"),
        (1 << 12, "METAEVENT"),
        (1 << 13, "ITER"),
    ];
    const CLASSES: &[(u32, &str)] = &[
        (1, "OTHER"),
        (2, "FILE"),
        (3, "NET"),
        (4, "IPC"),
        (5, "MEMORY"),
        (6, "PROCESS"),
        (7, "SLEEP"),
        (8, "SYSTEM"),
        (9, "SIGNAL"),
        (10, "USER"),
        (11, "TIME"),
        (12, "PROCESSING"),
        (32, "IO_READ"),
        (33, "IO_WRITE"),
        (34, "IO_OTHER"),
        (64, "WAIT"),
        (128, "SCHEDULER"),
        (256, "INTERNAL"),
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
        "Int8",
        "Int16",
        "Int32",
        "Int64",
        "UInt8",
        "UInt16",
        "UInt32",
        "UInt64",
        "CharBuf",
        "ByteBuf",
        "Errno",
        "SockAddr",
        "SockTuple",
        "Fd",
        "Pid",
        "FdList",
        "FsPath",
        "SyscallId",
        "SigType",
        "RelTime",
        "AbsTime",
        "Port",
        "L4Proto",
        "SockFamily",
        "Bool",
        "Ipv4Addr",
        "Dyn",
        "Flags8",
        "Flags16",
        "Flags32",
        "Uid",
        "Gid",
        "Double",
        "SigSet",
        "CharBufArray",
        "CharBufPairArray",
        "Ipv4Net",
        "Ipv6Addr",
        "Ipv6Net",
        "IpAddr",
        "IpNet",
        "Mode",
        "FsRelPath",
        "EnumFlags8",
        "EnumFlags16",
        "EnumFlags32",
        "Fd32",
        "Pid32",
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
