//! The state of the machine when a probe starts, as the items with which a capture begins.
//!
//! In: the records of a snapshot (iterators or `/proc`) and what they do not have from `/proc`.
//! Out: [`Item`]s that borrow one buffer of texts.

mod descriptor;
mod thread;
mod user;

use std::collections::{HashMap, HashSet};

use nabe_event::item::{self, Item};
use nabe_event::raw::Event;
use nabe_event::record::{Args, Cgroup, Fd, Fixed as _, Host, Kind, Records, Socket, Task, flag};
use nabe_event::table::EventId;
use nabe_event::{Interest, Needs};
use rustix::time::ClockId;

use self::descriptor::KeptDescriptor;
use self::thread::KeptThread;
use self::user::{KeptGroup, KeptUser};
use super::interface::{self, Interface};
use super::{Options, now_ns};
use crate::Backend;

const NEEDS: Needs = Needs::TASK
    .and(Needs::RSS)
    .and(Needs::THREADS)
    .and(Needs::CGROUP)
    .and(Needs::EXE)
    .and(Needs::CWD)
    .and(Needs::ARGS)
    .and(Needs::ENV)
    .and(Needs::FD)
    .and(Needs::FD_PATH)
    .and(Needs::TASK_DETAIL)
    .and(Needs::FD_DETAIL);

/// The longest text of an item: captures have 16 bits for its length.
const MOST: usize = 0xffff;

/// Births of threads: their result, 0 in the child, is the first parameter.
const BIRTHS: [EventId; 4] = [
    EventId::SYSCALL_CLONE_20_X,
    EventId::SYSCALL_FORK_20_X,
    EventId::SYSCALL_VFORK_20_X,
    EventId::SYSCALL_CLONE3_X,
];

/// Processors that can be online.
pub(crate) fn cpus() -> u32 {
    crate::host::cpus()
}

/// Where a text stands in the buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    start: u32,
    len: u32,
}

/// One buffer for all texts.
#[derive(Debug, Default)]
pub(crate) struct Texts(Vec<u8>);

impl Texts {
    /// Keeps a text, cut to what an item can hold.
    pub(crate) fn keep(&mut self, parts: &[&[u8]]) -> Span {
        let start = self.0.len();
        for part in parts {
            let room = MOST - (self.0.len() - start).min(MOST);
            self.0.extend_from_slice(part.get(..room).unwrap_or(part));
        }
        Span { start: start as u32, len: (self.0.len() - start) as u32 }
    }

    pub(crate) fn get(&self, span: Span) -> &[u8] {
        let start = span.start as usize;
        self.0.get(start..start + span.len as usize).unwrap_or_default()
    }
}

/// Command line and environment of a process.
#[derive(Debug, Default)]
pub(crate) struct Arguments {
    argv: Vec<u8>,
    env: Vec<u8>,
}

/// What the records told, by what joins them.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    host: Host,
    arguments: HashMap<u32, Arguments>,
    /// By set of cgroups: `subsystem=path` texts.
    cgroups: HashMap<u64, Vec<u8>>,
    /// By PID namespace: when its first process started, on the boot clock.
    namespaces: HashMap<u32, u64>,
}

/// The items.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    begin: u64,
    end: u64,
    machine: item::Machine<'static>,
    hostname: Span,
    interfaces: Vec<Interface>,
    users: Vec<KeptUser>,
    groups: Vec<KeptGroup>,
    threads: Vec<KeptThread>,
    descriptors: Vec<KeptDescriptor>,
    /// Sorted.
    tids: Vec<i64>,
    texts: Texts,
    notes: Vec<String>,
}

impl Snapshot {
    /// Nothing: every event is news.
    pub(crate) fn none() -> Self {
        Self::default()
    }

    /// Reads everything.
    pub(crate) fn take(options: &Options, epoch_ns: u64) -> Result<Self, crate::Error> {
        let begin = now_ns(ClockId::Boottime);
        let mut records = Vec::new();
        let how = crate::Options { backend: None, cache: options.cache.clone() };
        let report = crate::snapshot(&Interest::all(NEEDS), &how, &mut records)?;
        if report.backend == Some(Backend::Bpf) {
            let unlisted = unlisted(&records);
            if !unlisted.is_empty() {
                let interest = Interest { pids: Some(unlisted), ..Interest::all(NEEDS) };
                let how = crate::Options { backend: Some(Backend::Proc), cache: None };
                // A comfort: what /proc does not tell of these few either is no news.
                let _ = crate::snapshot(&interest, &how, &mut records);
            }
        }
        let mut out = Self { begin, end: now_ns(ClockId::Boottime), notes: report.notes, ..Self::default() };
        let facts = Facts::read(&records);
        out.add_threads(&records, &facts, epoch_ns);
        out.tids = out.threads.iter().map(|thread| thread.thread.tid).collect();
        out.tids.sort_unstable();
        descriptor::add(&records, &mut out);
        out.interfaces = interface::all();
        user::add(&mut out);
        let uname = rustix::system::uname();
        out.hostname = out.texts.keep(&[uname.nodename().to_bytes()]);
        let memory = rustix::system::sysinfo();
        out.machine = item::Machine {
            cpus: cpus(),
            memory_bytes: (memory.totalram as u64).saturating_mul(u64::from(memory.mem_unit)),
            max_pid: std::fs::read_to_string("/proc/sys/kernel/pid_max")
                .ok()
                .and_then(|text| text.trim().parse().ok())
                .unwrap_or(0),
            boot_ts_ns: epoch_ns,
            ..item::Machine::default()
        };
        Ok(out)
    }

    /// Sentences about what was not seen.
    pub(crate) fn notes(&self) -> &[String] {
        &self.notes
    }

    /// When the reading was over, on the boot clock.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Whether what an event of `ts` did is in the items already, and would be wrong once more.
    pub(crate) fn has(&self, ts: u64, event: &Event<'_>) -> bool {
        if ts < self.begin {
            return true;
        }
        BIRTHS.contains(&event.id)
            && event.signed(0).is_some_and(|result| {
                self.tids.binary_search(&if result == 0 { event.tid } else { result }).is_ok()
            })
    }

    fn add_threads(&mut self, records: &[u8], facts: &Facts, epoch_ns: u64) {
        for record in Records::new(records).map_while(Result::ok) {
            if record.kind == Some(Kind::Task) {
                let task = Task::decode(record.body);
                let exe = record.text(Task::SIZE, 0, task.exe_len.into());
                let cwd = record.text(Task::SIZE, task.exe_len.into(), task.cwd_len.into());
                let kept = KeptThread::new(&task, exe, cwd, facts, epoch_ns, &mut self.texts);
                self.threads.push(kept);
            }
        }
    }

    /// How many items there are.
    pub(crate) fn len(&self) -> usize {
        let machine = if self.end == 0 { 1 } else { 2 };
        let names = self.interfaces.len() + self.users.len() + self.groups.len();
        machine + names + self.threads.len() + self.descriptors.len()
    }

    /// All of it, in the order of a capture.
    pub(crate) fn items(&self) -> impl Iterator<Item = Item<'_>> {
        let texts = &self.texts;
        let machine = item::Machine { hostname: texts.get(self.hostname), ..self.machine };
        let empty = self.end == 0;
        [Item::Section(item::Section::CURRENT), Item::Machine(machine)]
            .into_iter()
            .take(if empty { 1 } else { 2 })
            .chain(self.interfaces.iter().map(|one| {
                Item::Interface(item::Interface {
                    name: &one.name,
                    address: one.address,
                    netmask: one.netmask,
                    broadcast: one.broadcast,
                    link_speed: None,
                })
            }))
            .chain(self.users.iter().map(|user| Item::User(user.item(texts))))
            .chain(self.groups.iter().map(|group| Item::Group(group.item(texts))))
            .chain(self.threads.iter().map(|thread| Item::Thread(Box::new(thread.item(texts)))))
            .chain(self.descriptors.iter().map(|descriptor| Item::Descriptor(descriptor.item(texts))))
    }
}

impl Facts {
    fn read(records: &[u8]) -> Self {
        let mut facts = Self::default();
        let subsystems = Subsystems::read();
        for record in Records::new(records).map_while(Result::ok) {
            match record.kind {
                Some(Kind::Host) => facts.host = Host::decode(record.body),
                Some(Kind::Task) => {
                    let task = Task::decode(record.body);
                    if task.vtid == 1 {
                        facts.namespaces.insert(task.ns_pid_own, task.start_ns);
                    }
                }
                Some(Kind::Args) => {
                    let args = Args::decode(record.body);
                    let kept = facts.arguments.entry(args.pid).or_default();
                    for (list, offset, skip, len) in [
                        (&mut kept.argv, args.argv_offset, 0, args.argv_len),
                        (&mut kept.env, args.env_offset, args.argv_len, args.env_len),
                    ] {
                        // Pieces come in order; one that does not continue is another process's.
                        if list.len() == offset as usize && list.len() < MOST {
                            list.extend_from_slice(record.text(Args::SIZE, skip as usize, len as usize));
                        }
                    }
                }
                Some(Kind::Cgroup) => {
                    let cgroup = Cgroup::decode(record.body);
                    let name = record.text(Cgroup::SIZE, 0, cgroup.name_len.into());
                    let path = record.text(Cgroup::SIZE, cgroup.name_len.into(), cgroup.path_len.into());
                    let list = facts.cgroups.entry(cgroup.cgroup_set).or_default();
                    subsystems.tell(cgroup.hierarchy, name, path, list);
                }
                _ => {}
            }
        }
        facts
    }
}

/// Names of the controllers of each hierarchy.
#[derive(Debug, Default)]
struct Subsystems {
    /// Hierarchy and controller.
    v1: Vec<(u32, Vec<u8>)>,
    v2: Vec<Vec<u8>>,
}

impl Subsystems {
    fn read() -> Self {
        let table = std::fs::read_to_string("/proc/cgroups").unwrap_or_default();
        let v1 = table
            .lines()
            .filter_map(|line| {
                let mut words = line.split_ascii_whitespace();
                let name = words.next().filter(|name| !name.starts_with('#'))?;
                Some((words.next()?.parse().ok().filter(|number| *number > 0)?, name.as_bytes().to_vec()))
            })
            .collect();
        let v2 = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
        Self { v1, v2: v2.split_ascii_whitespace().map(|name| name.as_bytes().to_vec()).collect() }
    }

    /// Appends `controller=path` for each controller of a hierarchy. `reversed` has the names from
    /// the leaf up to the root, each ended by a NUL.
    fn tell(&self, hierarchy: u32, name: &[u8], reversed: &[u8], out: &mut Vec<u8>) {
        let mut path = Vec::with_capacity(reversed.len() + 1);
        let names = reversed.strip_suffix(b"\0").unwrap_or(reversed);
        for part in names.rsplit(|byte| *byte == 0).filter(|part| !part.is_empty()) {
            path.push(b'/');
            path.extend_from_slice(part);
        }
        if path.is_empty() {
            path.push(b'/');
        }
        let mut one = |controller: &[&[u8]]| {
            controller.iter().for_each(|part| out.extend_from_slice(part));
            out.push(b'=');
            out.extend_from_slice(&path);
            out.push(0);
        };
        if hierarchy == 0 {
            self.v2.iter().for_each(|controller| one(&[controller]));
        } else if name.is_empty() {
            self.v1.iter().filter(|(of, _)| *of == hierarchy).for_each(|(_, controller)| one(&[controller]));
        } else {
            one(&[b"name=", name]);
        }
    }
}

/// Processes that `/proc` lists and the iterator left out although they are there, as pid 1 of some
/// machines; sorted.
fn unlisted(records: &[u8]) -> Vec<u32> {
    let told: HashSet<u32> = Records::new(records)
        .map_while(Result::ok)
        .filter(|record| record.kind == Some(Kind::Task))
        .map(|record| Task::decode(record.body).pid)
        .collect();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let number = |entry: std::fs::DirEntry| entry.file_name().to_str().and_then(|name| name.parse().ok());
    let mut missing: Vec<u32> = entries.filter_map(number).filter(|pid| !told.contains(pid)).collect();
    missing.sort_unstable();
    missing
}

/// A socket behind a descriptor's record.
fn socket_of(record: &nabe_event::record::Record<'_>) -> Option<Socket> {
    (record.flags & flag::SOCKET != 0)
        .then(|| Socket::decode(record.body.get(Fd::SIZE..).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroups_are_told_by_controller() {
        let subsystems = Subsystems {
            v1: vec![(3, b"cpu".to_vec()), (3, b"cpuacct".to_vec()), (4, b"memory".to_vec())],
            v2: vec![b"pids".to_vec()],
        };
        let tell = |hierarchy, name: &[u8], path: &[u8]| {
            let mut out = Vec::new();
            subsystems.tell(hierarchy, name, path, &mut out);
            out
        };
        assert_eq!(tell(3, b"", b"b\0a\0"), b"cpu=/a/b\0cpuacct=/a/b\0");
        assert_eq!(tell(1, b"systemd", b""), b"name=systemd=/\0");
        assert_eq!(tell(0, b"", b"x\0"), b"pids=/x\0");
    }

    #[test]
    fn texts_are_cut_to_what_an_item_holds() {
        let mut texts = Texts::default();
        let span = texts.keep(&[&[1; 10], &[2; MOST]]);
        assert_eq!(texts.get(span).len(), MOST);
    }
}
