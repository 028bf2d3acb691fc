//! What this kernel and these privileges allow, found by trying: our own programs are loaded, and
//! for each other attach type that nabe may want a program of two instructions.

use std::ffi::CStr;
use std::path::Path;

use libbpf_sys as bpf;
use nabe_event::{Interest, Needs};

use super::Error;
use super::config::{self, Reader};
use super::object::{ITERATORS, Relocated};
use super::run::Session;
use super::sys::{self, Instruction, KernelBtf, MapShape, ProgramShape};

/// Something that a kernel can or cannot do for nabe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feature {
    /// What it is: `iter/task`, `lsm`.
    pub name: &'static str,
    /// What it is for, in words.
    pub purpose: &'static str,
    /// The collectors that want it; none when only later verbs do.
    pub needs: Needs,
    /// The first kernel that has it.
    pub minimum: &'static str,
    /// Whether it works, or why not.
    pub ok: Result<(), String>,
}

/// Our programs: name, section, purpose, collectors, first kernel.
const OWN: &[(&str, &str, &str, Needs, &str)] = &[
    ("nabe_task", "iter/task", "processes and threads", Needs::TASK, "5.8"),
    ("nabe_args", "iter.s/task", "command lines, environments", Needs::ARGS.and(Needs::ENV), "5.18"),
    ("nabe_file", "iter/task_file", "descriptors and their sockets", Needs::FD, "5.8"),
    ("nabe_file_path", "iter/task_file, d_path", "paths of descriptors", Needs::FD_PATH, "5.12"),
    (
        "nabe_file_walk",
        "iter/task_file, own walk",
        "paths of descriptors on older kernels",
        Needs::FD_PATH,
        "5.8",
    ),
    ("nabe_tcp", "iter/tcp", "TIME-WAIT and ownerless TCP", Needs::ORPHAN_SOCKETS, "5.8"),
    ("nabe_udp", "iter/udp", "ownerless UDP", Needs::ORPHAN_SOCKETS, "5.8"),
    ("nabe_unix", "iter/unix", "ownerless unix sockets", Needs::ORPHAN_SOCKETS, "5.15"),
];

/// What a tiny program is attached to by its load.
enum Target {
    None,
    /// A function, or the typedef of a tracepoint, in the kernel's BTF.
    Btf(&'static CStr, u32),
}

/// A program type: name, purpose, first kernel, type, attach type, flags, target, and a file
/// without which it can be loaded but not attached.
struct Tiny {
    name: &'static str,
    purpose: &'static str,
    minimum: &'static str,
    kind: u32,
    attach_type: u32,
    flags: u32,
    target: Target,
    wants: Option<&'static str>,
}

const fn tiny(name: &'static str, purpose: &'static str, minimum: &'static str, kind: u32) -> Tiny {
    Tiny { name, purpose, minimum, kind, attach_type: 0, flags: 0, target: Target::None, wants: None }
}

static TINY: &[Tiny] = &[
    Tiny {
        attach_type: bpf::BPF_TRACE_RAW_TP,
        target: Target::Btf(c"btf_trace_sched_process_exec", bpf::BTF_KIND_TYPEDEF),
        ..tiny("tp_btf", "events with typed arguments", "5.5", bpf::BPF_PROG_TYPE_TRACING)
    },
    tiny("raw_tp", "events", "4.17", bpf::BPF_PROG_TYPE_RAW_TRACEPOINT),
    tiny("tracepoint", "events", "4.7", bpf::BPF_PROG_TYPE_TRACEPOINT),
    Tiny {
        wants: Some("/sys/bus/event_source/devices/kprobe"),
        ..tiny("kprobe", "any kernel function", "4.1", bpf::BPF_PROG_TYPE_KPROBE)
    },
    Tiny {
        attach_type: bpf::BPF_TRACE_FENTRY,
        target: Target::Btf(c"vfs_read", bpf::BTF_KIND_FUNC),
        ..tiny("fentry", "kernel functions, cheaply", "5.5", bpf::BPF_PROG_TYPE_TRACING)
    },
    Tiny {
        attach_type: bpf::BPF_LSM_MAC,
        target: Target::Btf(c"bpf_lsm_file_open", bpf::BTF_KIND_FUNC),
        ..tiny("lsm", "denying by policy", "5.7", bpf::BPF_PROG_TYPE_LSM)
    },
    Tiny {
        attach_type: bpf::BPF_LSM_MAC,
        flags: bpf::BPF_F_SLEEPABLE,
        target: Target::Btf(c"bpf_lsm_file_open", bpf::BTF_KIND_FUNC),
        ..tiny("lsm.s", "denying by what user memory holds", "5.11", bpf::BPF_PROG_TYPE_LSM)
    },
    Tiny {
        wants: Some("/sys/bus/event_source/devices/uprobe"),
        ..tiny("uprobe", "functions of programs", "4.3", bpf::BPF_PROG_TYPE_KPROBE)
    },
    tiny("cgroup_skb", "packets per cgroup", "4.10", bpf::BPF_PROG_TYPE_CGROUP_SKB),
    tiny("tc", "packets per device", "4.1", bpf::BPF_PROG_TYPE_SCHED_CLS),
    tiny("xdp", "packets, earliest", "4.8", bpf::BPF_PROG_TYPE_XDP),
];

/// `r0 = 0; exit`, and for programs that must return 1 the verifier is content with 0, too.
const NOTHING: &[Instruction] = &[[0xb7, 0, 0, 0, 0, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]];

/// Tries everything; some 100 ms.
#[must_use]
pub fn features() -> Vec<Feature> {
    let mut features = own();
    let btf = KernelBtf::load();
    for tiny in TINY {
        features.push(Feature {
            name: tiny.name,
            purpose: tiny.purpose,
            needs: Needs::NONE,
            minimum: tiny.minimum,
            ok: try_tiny(tiny, btf.as_ref().ok()),
        });
    }
    let ringbuf =
        MapShape { kind: bpf::BPF_MAP_TYPE_RINGBUF, key_size: 0, value_size: 0, max_entries: 4096, flags: 0 };
    for (name, purpose, minimum, result) in [
        ("ringbuf", "events to user space", "5.8", sys::map_create(&ringbuf)),
        ("task storage", "state per task", "5.11", sys::task_storage()),
    ] {
        let ok = result.map(drop).map_err(|error| reason(&error));
        features.push(Feature { name, purpose, needs: Needs::NONE, minimum, ok });
    }
    features
}

fn own() -> Vec<Feature> {
    let everything = Needs::ALL.iter().fold(Needs::NONE, |all, (need, ..)| all | *need);
    let config = config::encode(&Interest::all(everything), Reader::this(), false);
    let relocated = Relocated::from_kernel(&ITERATORS);
    let session = relocated.as_ref().map(|relocated| Session::new(relocated, &config, Vec::new(), true));
    let load = |program| match &session {
        Ok(session) => match session.load(program) {
            Ok(_) => Ok(()),
            Err(Error::OldKernel { .. }) => Err("this kernel has no such iterator".to_owned()),
            Err(error) => Err(error.short()),
        },
        Err(error) => Err(error.short()),
    };
    OWN.iter()
        .map(|(program, name, purpose, needs, minimum)| Feature {
            name,
            purpose,
            needs: *needs,
            minimum,
            ok: load(program),
        })
        .collect()
}

fn try_tiny(tiny: &Tiny, btf: Option<&KernelBtf>) -> Result<(), String> {
    let attach_btf_id = match tiny.target {
        Target::None => 0,
        Target::Btf(name, kind) => btf
            .ok_or("this kernel has no BTF")?
            .find(name, kind)
            .ok_or_else(|| format!("this kernel has no {}", name.to_string_lossy()))?,
    };
    let shape =
        ProgramShape { kind: tiny.kind, attach_type: tiny.attach_type, attach_btf_id, flags: tiny.flags };
    sys::prog_load(&shape, NOTHING, None).map_err(|error| reason(&error))?;
    match tiny.wants {
        Some(path) if !Path::new(path).exists() => {
            Err("it loads, but this kernel cannot attach it".to_owned())
        }
        _ => Ok(()),
    }
}

fn reason(error: &std::io::Error) -> String {
    match (error.raw_os_error(), super::missing_capabilities()) {
        (Some(libc::EPERM | libc::EACCES), Some(missing)) => format!("needs {missing}"),
        (Some(libc::EPERM), None) => "the kernel refuses it, whatever the privileges".to_owned(),
        _ => error.to_string(),
    }
}
