//! Sockets that no descriptor refers to, in every network namespace that a process is in or that
//! `ip netns` has given a name.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::thread;

use nabe_event::Interest;
use nabe_event::record::{Fixed as _, Kind, Records, Task};

use super::run::{Loaded, Session};
use super::sys::{self, Walk};

/// An iterator over the sockets of a network namespace.
struct Walked {
    program: &'static str,
    families: &'static [u16],
    types: &'static [u16],
    /// Lines of sockstat that count its sockets. The kernel's table of TCP connections is one for
    /// all namespaces, some 3 ms to walk, and most namespaces have none.
    counted: &'static [&'static str],
}

const WALKED: &[Walked] = &[
    Walked { program: "nabe_tcp", families: &[2, 10], types: &[1], counted: &["TCP:", "TCP6:"] },
    Walked {
        program: "nabe_udp",
        families: &[2, 10],
        types: &[2],
        counted: &["UDP:", "UDP6:", "UDPLITE:", "UDPLITE6:"],
    },
    Walked { program: "nabe_unix", families: &[1], types: &[1, 2, 5], counted: &[] },
];

/// Where namespaces without processes have names.
const NAMED: &str = "/run/netns";

/// Whether such a socket can be wanted: it belongs to no process.
pub(crate) fn needed(interest: &Interest) -> bool {
    interest.pids.is_none() && interest.euids.is_none() && interest.names.is_none()
}

/// Appends an Fd record for each; what could not be seen goes to `notes`.
pub(crate) fn collect(
    session: &Session<'_>,
    interest: &Interest,
    out: &mut Vec<u8>,
    notes: &mut Vec<String>,
) {
    let meets = |wanted: &Option<Vec<u16>>, own: &[u16]| {
        wanted.as_ref().is_none_or(|wanted| own.iter().any(|one| wanted.contains(one)))
    };
    let mut programs = Vec::new();
    for walked in WALKED {
        if meets(&interest.families, walked.families) && meets(&interest.types, walked.types) {
            match session.load(walked.program) {
                Ok(program) => programs.push((walked, program)),
                Err(error) => {
                    notes.push(format!("sockets without a descriptor are not all seen: {}", error.short()));
                }
            }
        }
    }
    if programs.is_empty() {
        return;
    }
    let own = fs::metadata("/proc/self/ns/net").map_or(0, |meta| meta.ino());
    let mut namespaces = namespaces(out);
    namespaces.remove(&own);
    run(&programs, "this", out, notes);
    if namespaces.is_empty() {
        return;
    }
    // setns() is for the calling thread only: this one ends before anything else could use it.
    let (found, said) = thread::scope(|scope| {
        scope
            .spawn(|| {
                let (mut found, mut said) = (Vec::new(), Vec::new());
                for (inode, path) in &namespaces {
                    visit(*inode, path, &programs, &mut found, &mut said);
                }
                (found, said)
            })
            .join()
            .unwrap_or_default()
    });
    out.extend_from_slice(&found);
    notes.extend(said);
}

fn visit(
    inode: u64,
    path: &PathBuf,
    programs: &[(&Walked, Loaded)],
    out: &mut Vec<u8>,
    notes: &mut Vec<String>,
) {
    // A process that has gone took its namespace along, or left it to another one.
    let Ok(namespace) = File::open(path) else { return };
    if namespace.metadata().map_or(0, |meta| meta.ino()) != inode {
        return;
    }
    match sys::enter_netns(&namespace) {
        Ok(()) => run(programs, &inode.to_string(), out, notes),
        Err(error) => notes.push(format!(
            "sockets without a descriptor in network namespace {inode} are not seen: {error}; CAP_SYS_ADMIN is needed"
        )),
    }
}

fn run(programs: &[(&Walked, Loaded)], namespace: &str, out: &mut Vec<u8>, notes: &mut Vec<String>) {
    let mut counts = String::new();
    for file in ["/proc/thread-self/net/sockstat", "/proc/thread-self/net/sockstat6"] {
        match fs::read_to_string(file) {
            Ok(text) => counts.push_str(&text),
            // No IPv6 at all is fine, no /proc is not.
            Err(_) if !counts.is_empty() => {}
            Err(_) => break,
        }
    }
    for (walked, program) in programs {
        if !counts.is_empty() && !walked.counted.is_empty() && !has_any(&counts, walked.counted) {
            continue;
        }
        if let Err(error) = program.run(Walk::All, out) {
            notes.push(format!("network namespace {namespace}: {}", error.short()));
        }
    }
}

/// Whether sockstat counts a socket, or one in TIME-WAIT, on one of these lines.
fn has_any(counts: &str, lines: &[&str]) -> bool {
    counts.lines().any(|line| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let (name, pairs) = words.split_first().unwrap_or((&"", &[]));
        lines.contains(name)
            && pairs.chunks_exact(2).any(|pair| matches!(pair, ["inuse" | "tw", count] if *count != "0"))
    })
}

/// Inode and a path for each network namespace.
fn namespaces(out: &[u8]) -> BTreeMap<u64, PathBuf> {
    let mut namespaces = BTreeMap::new();
    for entry in fs::read_dir(NAMED).into_iter().flatten().flatten() {
        if let Ok(meta) = fs::metadata(entry.path()) {
            namespaces.insert(meta.ino(), entry.path());
        }
    }
    for record in Records::new(out).flatten().filter(|record| record.kind == Some(Kind::Task)) {
        let task = Task::decode(record.body);
        if task.ns_net != 0 {
            namespaces
                .entry(task.ns_net.into())
                .or_insert_with(|| PathBuf::from(format!("/proc/{}/ns/net", task.pid)));
        }
    }
    namespaces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_namespaces_are_known_by_their_counts() {
        let empty =
            "sockets: used 0\nTCP: inuse 0 orphan 0 tw 0 alloc 2 mem 61\nUDP: inuse 0 mem 0\nTCP6: inuse 0\n";
        assert!(!has_any(empty, &["TCP:", "TCP6:"]));
        assert!(has_any(&empty.replace("tw 0", "tw 3"), &["TCP:", "TCP6:"]));
        assert!(has_any(&empty.replace("TCP6: inuse 0", "TCP6: inuse 1"), &["TCP:", "TCP6:"]));
        assert!(!has_any(&empty.replace("TCP6: inuse 0", "TCP6: inuse 1"), &["UDP:"]));
    }
}
