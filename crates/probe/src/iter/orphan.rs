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

/// Program, its families, its socket types.
const PROGRAMS: &[(&str, &[u16], &[u16])] =
    &[("nabe_tcp", &[2, 10], &[1]), ("nabe_udp", &[2, 10], &[2]), ("nabe_unix", &[1], &[1, 2, 5])];

/// Where namespaces without processes have names.
const NAMED: &str = "/run/netns";

/// Whether such a socket can be wanted: it belongs to no process.
pub(crate) fn needed(interest: &Interest) -> bool {
    interest.pids.is_none() && interest.euids.is_none() && interest.names.is_none()
}

/// Appends an Fd record for each; what could not be seen goes to `notes`.
pub(crate) fn collect(session: &Session<'_>, interest: &Interest, out: &mut Vec<u8>, notes: &mut Vec<String>) {
    let meets = |wanted: &Option<Vec<u16>>, own: &[u16]| {
        wanted.as_ref().is_none_or(|wanted| own.iter().any(|one| wanted.contains(one)))
    };
    let mut programs = Vec::new();
    for (name, families, types) in PROGRAMS {
        if meets(&interest.families, families) && meets(&interest.types, types) {
            match session.load(name) {
                Ok(program) => programs.push(program),
                Err(error) => {
                    notes.push(format!("sockets without a descriptor are not all seen: {}", super::chain(&error)));
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

fn visit(inode: u64, path: &PathBuf, programs: &[Loaded], out: &mut Vec<u8>, notes: &mut Vec<String>) {
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

fn run(programs: &[Loaded], namespace: &str, out: &mut Vec<u8>, notes: &mut Vec<String>) {
    for program in programs {
        if let Err(error) = program.run(Walk::All, out) {
            notes.push(format!("network namespace {namespace}: {}", super::chain(&error)));
        }
    }
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
