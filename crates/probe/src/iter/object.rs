//! Relocated programs: what is left of the BPF object once it has met the running kernel.
//!
//! In: the embedded object and the kernel's BTF, through libbpf. Out: instructions that need
//! neither, with the places where a map's descriptor must be put; as bytes for the cache, too.
//!
//! Bytes, little-endian: `u32` counts before each list, `u32` lengths before each run of bytes.
//! They are read as hostile: whatever does not fit is `None`.

use std::ffi::CString;
use std::os::fd::OwnedFd;

use libbpf_rs::ObjectBuilder;
use libbpf_sys as bpf;

use super::Error;
use super::sys::{self, Instruction, KernelBtf, MapShape, ProgramShape};

/// An object that is part of this binary.
#[derive(Debug)]
pub(crate) struct Embedded {
    /// As libbpf is to call it.
    pub(crate) name: &'static str,
    bytes: &'static [u8],
    /// A hash of the bytes.
    pub(crate) hash: &'static str,
    /// Its file in the cache.
    pub(crate) file: &'static str,
}

/// The iterators.
pub(crate) static ITERATORS: Embedded = Embedded {
    name: "nabe",
    bytes: include_bytes!(env!("NABE_BPF_OBJECT")),
    hash: env!("NABE_BPF_HASH"),
    file: "iterators",
};

/// The events.
pub(crate) static EVENTS: Embedded = Embedded {
    name: "events",
    bytes: include_bytes!(env!("NABE_EVENTS_OBJECT")),
    hash: env!("NABE_EVENTS_HASH"),
    file: "events",
};

const LDIMM64: u8 = 0x18;
const PSEUDO_MAP_FD: u8 = 1;
const PSEUDO_MAP_VALUE: u8 = 2;
/// More than any object of ours has of anything; a count above it is a broken cache.
const LIMIT: usize = 1 << 20;

/// A map and what it holds at first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Map {
    pub(crate) name: String,
    pub(crate) kind: u32,
    pub(crate) key_size: u32,
    pub(crate) value_size: u32,
    pub(crate) max_entries: u32,
    pub(crate) flags: u32,
    pub(crate) initial: Vec<u8>,
}

impl Map {
    pub(crate) fn shape(&self) -> MapShape {
        MapShape {
            kind: self.kind,
            key_size: self.key_size,
            value_size: self.value_size,
            max_entries: self.max_entries,
            flags: self.flags,
        }
    }
}

/// A program, ready but for its maps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    pub(crate) name: String,
    /// BTF id of the iterator's function or of the tracepoint's type; 0 where this kernel has none.
    pub(crate) attach_btf_id: u32,
    /// `BPF_TRACE_ITER` or `BPF_TRACE_RAW_TP`.
    pub(crate) attach_type: u32,
    pub(crate) sleepable: bool,
    pub(crate) instructions: Vec<Instruction>,
    /// Instruction index, map index.
    pub(crate) references: Vec<(u32, u32)>,
}

impl Program {
    /// Loads it under the name it has in errors; `map` gives the descriptor of the map at a place.
    pub(crate) fn load(
        &self,
        name: &'static str,
        map: impl Fn(usize) -> Result<i32, Error>,
    ) -> Result<OwnedFd, Error> {
        if self.attach_btf_id == 0 {
            return Err(Error::OldKernel { program: name });
        }
        let mut instructions = self.instructions.clone();
        for (at, place) in &self.references {
            let number = map(*place as usize)?;
            if let Some(instruction) = instructions.get_mut(*at as usize) {
                instruction[4..].copy_from_slice(&number.to_le_bytes());
            }
        }
        let shape = ProgramShape {
            kind: bpf::BPF_PROG_TYPE_TRACING,
            attach_type: self.attach_type,
            attach_btf_id: self.attach_btf_id,
            flags: if self.sleepable { bpf::BPF_F_SLEEPABLE } else { 0 },
        };
        sys::prog_load(&shape, &instructions, None).or_else(|source| {
            let mut log = Vec::new();
            // Once more for the verifier's words; should it pass now, all the better.
            sys::prog_load(&shape, &instructions, Some(&mut log))
                .map_err(|_| Error::program(name, &log, source))
        })
    }
}

/// The whole object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Relocated {
    /// Whether this kernel can restrict a run to one task (6.1).
    pub(crate) walks_one_task: bool,
    pub(crate) maps: Vec<Map>,
    pub(crate) programs: Vec<Program>,
}

impl Relocated {
    pub(crate) fn program(&self, name: &str) -> Option<&Program> {
        self.programs.iter().find(|program| program.name == name)
    }

    /// Relocates an embedded object against the running kernel.
    pub(crate) fn from_kernel(object: &Embedded) -> Result<Self, Error> {
        // What libbpf has to say goes into our errors, not to the terminal.
        libbpf_rs::set_print(None);
        let mut open = ObjectBuilder::default()
            .name(object.name)
            .and_then(|b| b.open_memory(object.bytes))
            .map_err(Error::Object)?;
        for mut program in open.progs_mut() {
            program.set_autoload(true);
        }
        sys::prepare(&mut open).map_err(Error::prepare)?;
        let btf = KernelBtf::load().map_err(Error::prepare)?;
        let mut maps = Vec::new();
        let mut numbers = Vec::new();
        for map in open.maps() {
            numbers.push(sys::map_number(&map));
            maps.push(Map {
                name: short_name(&map.name().to_string_lossy()),
                kind: map.map_type() as u32,
                key_size: map.key_size(),
                value_size: map.value_size(),
                max_entries: map.max_entries(),
                flags: sys::map_flags(&map),
                initial: map.initial_value().map(<[u8]>::to_vec).unwrap_or_default(),
            });
        }
        let mut programs = Vec::new();
        for program in open.progs() {
            let section = program.section().to_string_lossy().into_owned();
            let Some((kind, target)) = section.trim_start_matches('?').split_once('/') else { continue };
            let (prefix, kind_of_type, attach_type) = match kind {
                "tp_btf" => ("btf_trace_", bpf::BTF_KIND_TYPEDEF, bpf::BPF_TRACE_RAW_TP),
                _ => ("bpf_iter_", bpf::BTF_KIND_FUNC, bpf::BPF_TRACE_ITER),
            };
            let function = CString::new(format!("{prefix}{target}")).ok();
            let mut instructions: Vec<Instruction> =
                program.insns().iter().map(sys::instruction_bytes).collect();
            let references = take_references(&mut instructions, &numbers);
            programs.push(Program {
                name: program.name().to_string_lossy().into_owned(),
                attach_btf_id: function.and_then(|f| btf.find(&f, kind_of_type)).unwrap_or(0),
                attach_type,
                sleepable: kind == "iter.s",
                instructions,
                references,
            });
        }
        // Came with the restriction itself (f0d74c4da1f0).
        let walks_one_task = btf.find(c"bpf_iter_task_type", bpf::BTF_KIND_ENUM).is_some();
        Ok(Self { walks_one_task, maps, programs })
    }

    /// As bytes.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out, u32::from(self.walks_one_task));
        put(&mut out, self.maps.len() as u32);
        for map in &self.maps {
            put_bytes(&mut out, map.name.as_bytes());
            for number in [map.kind, map.key_size, map.value_size, map.max_entries, map.flags] {
                put(&mut out, number);
            }
            put_bytes(&mut out, &map.initial);
        }
        put(&mut out, self.programs.len() as u32);
        for program in &self.programs {
            put_bytes(&mut out, program.name.as_bytes());
            put(&mut out, program.attach_btf_id);
            put(&mut out, program.attach_type);
            put(&mut out, u32::from(program.sleepable));
            put_bytes(&mut out, program.instructions.as_flattened());
            put(&mut out, program.references.len() as u32);
            for (at, map) in &program.references {
                put(&mut out, *at);
                put(&mut out, *map);
            }
        }
        out
    }

    /// From bytes; `None` when they are not what `to_bytes` writes.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut from = Cursor { bytes };
        let walks_one_task = from.number()? == 1;
        let mut maps = Vec::new();
        for _ in 0..from.count()? {
            maps.push(Map {
                name: from.text()?,
                kind: from.number()?,
                key_size: from.number()?,
                value_size: from.number()?,
                max_entries: from.number()?,
                flags: from.number()?,
                initial: from.run()?.to_vec(),
            });
        }
        let mut programs = Vec::new();
        for _ in 0..from.count()? {
            let name = from.text()?;
            let attach_btf_id = from.number()?;
            let attach_type = from.number()?;
            let sleepable = from.number()? == 1;
            let (instructions, rest) = from.run()?.as_chunks();
            if !rest.is_empty() {
                return None;
            }
            let mut references = Vec::new();
            for _ in 0..from.count()? {
                let (at, map) = (from.number()?, from.number()?);
                if at as usize >= instructions.len() || map as usize >= maps.len() {
                    return None;
                }
                references.push((at, map));
            }
            programs.push(Program {
                name,
                attach_btf_id,
                attach_type,
                sleepable,
                instructions: instructions.to_vec(),
                references,
            });
        }
        from.bytes.is_empty().then_some(Self { walks_one_task, maps, programs })
    }
}

/// `nabe_bpf.rodata`, as libbpf names it after the object, is `.rodata` to us.
fn short_name(name: &str) -> String {
    name.find('.').and_then(|dot| name.get(dot..)).unwrap_or(name).to_owned()
}

/// Takes the map numbers out of the instructions and says where they stood.
fn take_references(instructions: &mut [Instruction], numbers: &[i32]) -> Vec<(u32, u32)> {
    let mut references = Vec::new();
    let mut second_half = false;
    for (at, instruction) in instructions.iter_mut().enumerate() {
        // The second half of a wide load is not an instruction of its own.
        if second_half {
            second_half = false;
            continue;
        }
        second_half = instruction[0] == LDIMM64;
        let source = instruction[1] >> 4;
        if second_half && matches!(source, PSEUDO_MAP_FD | PSEUDO_MAP_VALUE) {
            let [.., a, b, c, d] = *instruction;
            let number = i32::from_le_bytes([a, b, c, d]);
            if let Some(map) = numbers.iter().position(|known| *known == number) {
                references.push((at as u32, map as u32));
                instruction[4..].fill(0);
            }
        }
    }
    references
}

fn put(out: &mut Vec<u8>, number: u32) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put(out, bytes.len() as u32);
    out.extend_from_slice(bytes);
}

struct Cursor<'a> {
    bytes: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn number(&mut self) -> Option<u32> {
        let (number, rest) = self.bytes.split_first_chunk()?;
        self.bytes = rest;
        Some(u32::from_le_bytes(*number))
    }

    fn count(&mut self) -> Option<usize> {
        self.number().map(|n| n as usize).filter(|n| *n <= LIMIT)
    }

    fn run(&mut self) -> Option<&'a [u8]> {
        let len = self.number()? as usize;
        let (run, rest) = self.bytes.split_at_checked(len)?;
        self.bytes = rest;
        Some(run)
    }

    fn text(&mut self) -> Option<String> {
        String::from_utf8(self.run()?.to_vec()).ok()
    }
}
