//! Taking the snapshot that a query needs, in at most two rounds: what the filter can decide with
//! cheap facts is decided first, and costly collectors run only for the processes that are left.

use nabe_event::record::task;
use nabe_event::{Interest, Needs};
use nabe_filter::Program;
use nabe_probe::{Options, proc, user};
use nabe_state::Snapshot;

use super::{Containers, Query};
use crate::error::Result;

/// Collectors that are worth a round of their own when the filter can spare most processes.
const COSTLY: Needs = Needs::ARGS
    .and(Needs::ENV)
    .and(Needs::FD)
    .and(Needs::FD_PATH)
    .and(Needs::FD_DETAIL)
    .and(Needs::ORPHAN_SOCKETS);

/// Where facts come from.
#[derive(Debug)]
pub struct Origin {
    /// How the probe works.
    pub options: Options,
    /// Who names containers.
    pub containers: Containers,
}

/// A snapshot, and what could not be seen.
#[derive(Debug)]
pub struct Taken {
    /// What is there.
    pub snapshot: Snapshot,
    /// Sentences for stderr.
    pub notes: Vec<String>,
}

impl Taken {
    fn new(snapshot: Snapshot, mut notes: Vec<String>) -> Self {
        let cut = snapshot.cut_arguments();
        if cut > 0 {
            notes.push(format!("arguments or environments of {cut} processes are too long and are cut"));
        }
        Self { snapshot, notes }
    }
}

/// Takes the snapshot that `query` needs.
pub fn take(query: &Query, origin: &mut Origin) -> Result<Taken> {
    let needs = query.needs();
    if query.everything {
        return at_once(Interest::all(needs), needs, origin);
    }
    let mut wanted = Interest::all(needs).meet(query.program.interest());
    wanted.only_sockets |= query.only_sockets;
    if query.counts_descriptors {
        wanted.only_sockets = false;
        (wanted.families, wanted.types, wanted.states) = (None, None, None);
    }
    if query.ancestors {
        (wanted.pids, wanted.euids, wanted.names) = (None, None, None);
    }
    let cheap = needs.without(COSTLY);
    let first = query.program.prefilter(cheap);
    let ownerless = query.takes_ownerless();
    if !ownerless {
        wanted.needs = wanted.needs.without(Needs::ORPHAN_SOCKETS);
    }
    // What belongs to no process cannot be found by the processes of a first round.
    if ownerless || first.selects_all() || cheap == needs {
        return at_once(wanted, needs, origin);
    }

    let (mut bytes, mut notes) = (Vec::new(), Vec::new());
    let round = Interest { needs: cheap, ..wanted.clone() };
    notes.extend(nabe_probe::snapshot(&round, &origin.options, &mut bytes)?.notes);
    let (mut snapshot, filled) = fill_gaps(Snapshot::new(bytes)?, &round)?;
    name_containers(&mut snapshot, needs, &mut origin.containers, &mut notes);
    wanted.needs = needs.without(cheap).without(Needs::ORPHAN_SOCKETS);
    let only_memory = (Needs::ARGS | Needs::ENV).contains(wanted.needs);
    let pids = left(&snapshot, &first, query.threads, only_memory);
    if !pids.is_empty() {
        wanted.pids = Some(pids.clone());
        let mut bytes = snapshot.into_bytes();
        notes.extend(nabe_probe::snapshot(&wanted, &origin.options, &mut bytes)?.notes);
        for pid in filled.iter().filter(|pid| pids.binary_search(pid).is_ok()) {
            proc::one(*pid, wanted.needs, &mut bytes);
        }
        snapshot = Snapshot::new(bytes)?;
    }
    Ok(Taken::new(snapshot, notes))
}

/// Takes everything in one round.
fn at_once(wanted: Interest, needs: Needs, origin: &mut Origin) -> Result<Taken> {
    let mut bytes = Vec::new();
    let mut notes = nabe_probe::snapshot(&wanted, &origin.options, &mut bytes)?.notes;
    let (mut snapshot, _) = fill_gaps(Snapshot::new(bytes)?, &wanted)?;
    name_containers(&mut snapshot, needs, &mut origin.containers, &mut notes);
    Ok(Taken::new(snapshot, notes))
}

/// Processes that the cheap part of the filter leaves; with `only_memory` those that have memory of
/// their own, where arguments and environment are.
fn left(snapshot: &Snapshot, first: &Program, threads: bool, only_memory: bool) -> Vec<u32> {
    let mut pids: Vec<u32> = snapshot
        .processes()
        .filter(|process| threads || process.tid() == process.pid())
        .filter(|process| !only_memory || process.task().bits & task::HAS_MM != 0)
        .filter(|process| first.matches(&process.alone()))
        .map(|process| process.pid())
        .collect();
    pids.sort_unstable();
    pids.dedup();
    pids
}

/// Asks `/proc` for parents that the kernel's iterator did not show and for pid 1: on some kernels
/// the iterator leaves out tasks that are there. What has exited in between is gone from `/proc` too.
/// Returns the processes that were added.
fn fill_gaps(snapshot: Snapshot, wanted: &Interest) -> Result<(Snapshot, Vec<u32>)> {
    let asked: Vec<u32> = match &wanted.pids {
        Some(pids) => pids.clone(),
        None if wanted.euids.is_some() || wanted.names.is_some() => return Ok((snapshot, Vec::new())),
        None => {
            let mut parents: Vec<u32> = snapshot
                .processes()
                .map(|process| process.ppid())
                .chain([1])
                .filter(|pid| *pid != 0)
                .collect();
            parents.sort_unstable();
            parents.dedup();
            parents
        }
    };
    let mut missing: Vec<u32> = asked.into_iter().filter(|pid| snapshot.process(*pid).is_none()).collect();
    if missing.is_empty() || missing.len() > 64 {
        return Ok((snapshot, Vec::new()));
    }
    let mut bytes = snapshot.into_bytes();
    let start = bytes.len();
    missing.retain(|pid| proc::one(*pid, wanted.needs, &mut bytes));
    if wanted.needs.contains(Needs::USER) {
        user::of_tasks(start, &mut bytes);
    }
    Ok((Snapshot::new(bytes)?, missing))
}

/// Names containers when a field asks for it, or finds only their ids when that is enough.
fn name_containers(
    snapshot: &mut Snapshot,
    needs: Needs,
    containers: &mut Containers,
    notes: &mut Vec<String>,
) {
    if needs.intersects(Needs::CGROUP | Needs::CONTAINER) {
        notes.extend(containers.tell(snapshot, needs.contains(Needs::CONTAINER)));
    }
}
