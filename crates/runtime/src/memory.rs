//! On which NUMA nodes the memory of a process is: `linux.memoryPolicy` (runtime-spec 1.3), by
//! set_mempolicy(2).

use crate::error::{Context as _, Error, Result};
use crate::process;
use crate::spec::MemoryPolicy;
use crate::sys;

/// Modes, by the kernel's numbers.
const MODES: [&str; 7] = [
    "MPOL_DEFAULT",
    "MPOL_PREFERRED",
    "MPOL_BIND",
    "MPOL_INTERLEAVE",
    "MPOL_LOCAL",
    "MPOL_PREFERRED_MANY",
    "MPOL_WEIGHTED_INTERLEAVE",
];

/// Flags, and their bits beside the mode.
const FLAGS: [(&str, libc::c_int); 3] = [
    ("MPOL_F_STATIC_NODES", 1 << 15),
    ("MPOL_F_RELATIVE_NODES", 1 << 14),
    ("MPOL_F_NUMA_BALANCING", 1 << 13),
];

/// Mode with flags, and nodes.
fn understood(policy: &MemoryPolicy) -> Result<(libc::c_int, Vec<usize>)> {
    let wrong = |at: &str, why: String| Error::Config { at: format!("linux.memoryPolicy.{at}"), why };
    let mode = MODES.iter().position(|known| *known == policy.mode).and_then(|at| i32::try_from(at).ok());
    let mut mode = mode.ok_or_else(|| wrong("mode", format!("\"{}\" is no memory policy", policy.mode)))?;
    for (at, flag) in policy.flags.iter().enumerate() {
        let bit = FLAGS.iter().find(|(known, _)| known == flag).map(|(_, bit)| *bit);
        mode |= bit.ok_or_else(|| wrong(&format!("flags[{at}]"), format!("\"{flag}\" is no flag")))?;
    }
    let nodes = process::processors(&policy.nodes)
        .ok_or_else(|| wrong("nodes", format!("\"{}\" is no list of nodes", policy.nodes)))?;
    Ok((mode, nodes))
}

/// Whether it makes sense; the kernel judges the rest.
pub(crate) fn check(policy: &MemoryPolicy) -> Result<()> {
    understood(policy).map(drop)
}

/// Sets it for this process and those that come of it.
pub(crate) fn apply(policy: &MemoryPolicy) -> Result<()> {
    let (mode, nodes) = understood(policy)?;
    sys::set_memory_policy(mode, &nodes).step(|| format!("set the memory policy {}", policy.mode))
}
