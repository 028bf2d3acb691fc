//! The snapshot: an index over its records.

use std::collections::HashMap;

use nabe_event::record::{
    self, Args, Broken, Cgroup, Container, ContainerText, Fd, Fixed, Host, Kind, Record, Records, Task,
    ThreadTimes, User, flag,
};

use crate::process::Process;
use crate::row::{Descriptor, Row};

/// Why records are no snapshot.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The records do not read.
    #[error("the snapshot does not read")]
    Records(#[source] Broken),
    /// More bytes than an index can address.
    #[error("the snapshot has {bytes} bytes; 4 GiB is the limit")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
}

/// A run of bytes in the snapshot.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Span {
    start: u32,
    len: u32,
}

/// A task and what belongs to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) pid: u32,
    pub(crate) tid: u32,
    /// Start of the record.
    record: u32,
    /// `argv` and `env` in the record of arguments.
    pub(crate) argv: Span,
    pub(crate) env: Span,
    /// First descriptor and how many.
    fds: (u32, u32),
    /// Sums over the other threads.
    pub(crate) more: Times,
    pub(crate) argv_cut: bool,
}

/// Times that are summed over threads.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Times {
    pub(crate) utime_ns: u64,
    pub(crate) stime_ns: u64,
    pub(crate) runtime_ns: u64,
    pub(crate) minflt: u64,
    pub(crate) majflt: u64,
}

/// What is known of one set of cgroups (one per container, service or session).
#[derive(Clone, Debug, Default)]
pub struct CgroupSet {
    /// The kernel's identity of the set.
    pub id: u64,
    /// Hierarchy (0 = v2), its name if it has one, and the path from its root, in record order.
    pub paths: Vec<(u32, Vec<u8>, Vec<u8>)>,
    /// Container, pod and unit, when somebody told.
    pub facts: Option<Facts>,
    /// Processes in the set, by pid.
    pub pids: Vec<i64>,
}

impl CgroupSet {
    /// The path that says most: v2 where it says something, else the longest of v1.
    #[must_use]
    pub fn path(&self) -> &[u8] {
        let v2 = self.paths.iter().find(|(hierarchy, _, path)| *hierarchy == 0 && path.len() > 1);
        v2.or_else(|| self.paths.iter().max_by_key(|(.., path)| path.len())).map_or(b"", |(.., path)| path)
    }
}

/// What a container record says, as texts in the order of [`ContainerText`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Host pid of the container's first process, or 0.
    pub init_pid: u32,
    texts: Vec<Vec<u8>>,
    /// Labels, sorted by key.
    pub labels: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Facts {
    /// One of its texts; empty when nobody told.
    #[must_use]
    pub fn text(&self, which: ContainerText) -> &[u8] {
        self.texts.get(which as usize).map_or(b"", Vec::as_slice)
    }

    /// Facts with these texts.
    #[must_use]
    pub fn new(init_pid: u32, texts: &[(ContainerText, &[u8])], labels: Vec<(Vec<u8>, Vec<u8>)>) -> Self {
        let mut all = vec![Vec::new(); ContainerText::COUNT];
        for (which, text) in texts {
            if let Some(slot) = all.get_mut(*which as usize) {
                *slot = text.to_vec();
            }
        }
        let mut labels = labels;
        labels.sort();
        Self { init_pid, texts: all, labels }
    }

    /// Appends the record that says this of `cgroup_set`.
    pub fn write(&self, cgroup_set: u64, out: &mut Vec<u8>) {
        let mut parts = Vec::new();
        let pairs = self.labels.iter().flat_map(|(key, value)| [key, value]);
        for text in self.texts.iter().chain(pairs) {
            parts.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
            parts.extend_from_slice(text);
        }
        let fixed = Container {
            cgroup_set,
            init_pid: self.init_pid,
            texts: u16::try_from(self.texts.len()).unwrap_or(u16::MAX),
            labels: u16::try_from(self.labels.len()).unwrap_or(u16::MAX),
        };
        record::write(out, Kind::Container, 0, &fixed, &[&parts]);
    }

    fn read(fixed: &Container, mut bytes: &[u8]) -> Self {
        let mut next = || {
            let (len, rest) = bytes.split_first_chunk::<4>()?;
            let text = rest.get(..u32::from_le_bytes(*len) as usize)?;
            bytes = rest.get(text.len()..)?;
            Some(text.to_vec())
        };
        let mut texts: Vec<_> = (0..fixed.texts).map_while(|_| next()).collect();
        texts.truncate(ContainerText::COUNT);
        let mut labels: Vec<_> = (0..fixed.labels).map_while(|_| Some((next()?, next()?))).collect();
        labels.sort();
        Self { init_pid: fixed.init_pid, texts, labels }
    }
}

/// A snapshot, indexed.
#[derive(Debug, Default)]
pub struct Snapshot {
    bytes: Vec<u8>,
    pub(crate) host: Host,
    hostname: Vec<u8>,
    release: Vec<u8>,
    /// By pid, the leader before its threads.
    entries: Vec<Entry>,
    /// Starts of descriptor records, by pid and number; those of nobody first.
    fds: Vec<(u32, i32, u32)>,
    /// Reassembled pieces of long arguments, addressed behind `bytes`.
    long: Vec<u8>,
    sets: Vec<CgroupSet>,
    set_index: HashMap<u64, usize>,
    users: HashMap<(u16, u32), Vec<u8>>,
    notes: Vec<Vec<u8>>,
    /// CPU use of the round before, for shares since then.
    before: Option<Usage>,
}

/// CPU time of each process at a moment, to tell a share of the time since.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    pub(crate) uptime_ns: u64,
    /// By pid and start, so that a pid that is used again is another process.
    pub(crate) cpu_ns: HashMap<(u32, u64), u64>,
}

impl Snapshot {
    /// Indexes the records in `bytes`. A record that is not known is left alone.
    ///
    /// # Errors
    /// When the bytes are no sequence of records, or too many.
    pub fn new(bytes: Vec<u8>) -> Result<Self, Error> {
        if u32::try_from(bytes.len()).is_err() {
            return Err(Error::TooLarge { bytes: bytes.len() });
        }
        let mut snapshot = Self::default();
        let mut index = Index::default();
        let mut records = Records::new(&bytes);
        let mut offset = records.offset();
        while let Some(record) = records.next() {
            let record = record.map_err(Error::Records)?;
            snapshot.take(&mut index, &record, offset);
            offset = records.offset();
        }
        snapshot.bytes = bytes;
        snapshot.join(index);
        Ok(snapshot)
    }

    #[allow(clippy::cast_possible_truncation, reason = "new() checked that every offset fits")]
    fn take(&mut self, index: &mut Index, record: &Record<'_>, offset: usize) {
        let start = offset as u32;
        match record.kind {
            Some(Kind::Host) => {
                let host = Host::decode(record.body);
                self.hostname = record.text(Host::SIZE, 0, host.hostname_len.into()).to_vec();
                let skip = host.hostname_len.into();
                self.release = record.text(Host::SIZE, skip, host.release_len.into()).to_vec();
                self.host = host;
            }
            Some(Kind::Task) => {
                let task = Task::decode(record.body);
                self.entries.push(Entry {
                    pid: task.pid,
                    tid: task.tid,
                    record: start,
                    argv: Span::default(),
                    env: Span::default(),
                    fds: (0, 0),
                    more: Times::default(),
                    argv_cut: false,
                });
                if task.pid == task.tid {
                    index.members.push((task.cgroup_set, task.pid));
                }
            }
            Some(Kind::ThreadTimes) => index.times.push(ThreadTimes::decode(record.body)),
            Some(Kind::Args) => index.args.push((start, record.flags, Args::decode(record.body))),
            Some(Kind::Fd) => {
                let fd = Fd::decode(record.body);
                self.fds.push((fd.pid, fd.fd, start));
            }
            Some(Kind::Cgroup) => self.take_cgroup(record),
            Some(Kind::Container) => {
                let fixed = Container::decode(record.body);
                let facts = Facts::read(&fixed, record.text(Container::SIZE, 0, record.body.len()));
                self.set_mut(fixed.cgroup_set).facts = Some(facts);
            }
            Some(Kind::User) => {
                let user = User::decode(record.body);
                let name = record.text(User::SIZE, 0, user.name_len.into()).to_vec();
                self.users.entry((user.is_group, user.id)).or_insert(name);
            }
            Some(Kind::Note) => {
                let text = record.body.split(|b| *b == 0).next().unwrap_or_default();
                self.notes.push(text.to_vec());
            }
            Some(_) | None => {}
        }
    }

    fn take_cgroup(&mut self, record: &Record<'_>) {
        let cgroup = Cgroup::decode(record.body);
        let name = record.text(Cgroup::SIZE, 0, cgroup.name_len.into()).to_vec();
        let leaf_first = record.text(Cgroup::SIZE, cgroup.name_len.into(), cgroup.path_len.into());
        let mut path = Vec::with_capacity(leaf_first.len() + 1);
        for part in leaf_first.rsplit(|b| *b == 0).filter(|part| !part.is_empty()) {
            path.push(b'/');
            path.extend_from_slice(part);
        }
        if path.is_empty() {
            path.push(b'/');
        }
        let paths = &mut self.set_mut(cgroup.cgroup_set).paths;
        if !paths.iter().any(|(hierarchy, ..)| *hierarchy == cgroup.hierarchy) {
            paths.push((cgroup.hierarchy, name, path));
        }
    }

    fn set_mut(&mut self, id: u64) -> &mut CgroupSet {
        let index = *self.set_index.entry(id).or_insert_with(|| {
            self.sets.push(CgroupSet { id, ..CgroupSet::default() });
            self.sets.len() - 1
        });
        #[allow(clippy::indexing_slicing, reason = "the index was made one line above")]
        &mut self.sets[index]
    }

    /// Sorts, drops what was told twice, and hands every part to its process.
    #[allow(clippy::cast_possible_truncation, reason = "new() checked that every offset fits")]
    fn join(&mut self, index: Index) {
        // A task that two rounds told of is the same task; the later round knows more.
        self.entries
            .sort_by_key(|entry| (entry.pid, entry.pid != entry.tid, entry.tid, u32::MAX - entry.record));
        self.entries.dedup_by_key(|entry| (entry.pid, entry.tid));
        self.fds.sort_unstable();
        self.fds.dedup_by_key(|(pid, fd, record)| (*pid, *fd, if *pid == 0 { *record } else { 0 }));
        let mut at = 0;
        while let Some((pid, ..)) = self.fds.get(at).copied() {
            let count =
                self.fds.get(at..).map_or(0, |rest| rest.partition_point(|(owner, ..)| *owner == pid));
            if let Some(entry) = self.leader_mut(pid) {
                entry.fds = (at as u32, count as u32);
            }
            at += count.max(1);
        }
        for times in index.times {
            if let Some(entry) = self.leader_mut(times.pid) {
                entry.more.utime_ns = entry.more.utime_ns.saturating_add(times.utime_ns);
                entry.more.stime_ns = entry.more.stime_ns.saturating_add(times.stime_ns);
                entry.more.runtime_ns = entry.more.runtime_ns.saturating_add(times.runtime_ns);
                entry.more.minflt = entry.more.minflt.saturating_add(times.minflt);
                entry.more.majflt = entry.more.majflt.saturating_add(times.majflt);
            }
        }
        self.join_args(index.args);
        for (set, pid) in index.members {
            if set != 0 {
                self.set_mut(set).pids.push(pid.into());
            }
        }
        for set in &mut self.sets {
            set.pids.sort_unstable();
            set.pids.dedup();
        }
    }

    #[allow(clippy::cast_possible_truncation, reason = "new() checked that every offset fits")]
    fn join_args(&mut self, mut args: Vec<(u32, u16, Args)>) {
        args.sort_by_key(|(_, _, piece)| (piece.pid, piece.argv_offset, piece.env_offset));
        let body = (record::HEADER + Args::SIZE) as u32;
        let mut rest = args.as_slice();
        while let Some((_, _, first)) = rest.first() {
            let count = rest.partition_point(|(_, _, piece)| piece.pid <= first.pid);
            let (pieces, after) = rest.split_at(count.max(1));
            let (argv, env) = match pieces {
                [(start, _, piece)] => (
                    Span { start: start + body, len: piece.argv_len },
                    Span { start: (start + body).saturating_add(piece.argv_len), len: piece.env_len },
                ),
                _ => self.assemble(pieces),
            };
            let argv_cut = pieces.iter().any(|(_, flags, _)| flags & flag::CUT != 0);
            let pid = first.pid;
            if let Some(entry) = self.leader_mut(pid) {
                (entry.argv, entry.env, entry.argv_cut) = (argv, env, argv_cut);
            }
            rest = after;
        }
    }

    /// Puts the pieces of a long command line or environment together.
    #[allow(clippy::cast_possible_truncation, reason = "pieces are parts of the records")]
    fn assemble(&mut self, pieces: &[(u32, u16, Args)]) -> (Span, Span) {
        let mut parts = [Vec::new(), Vec::new()];
        for (start, _, piece) in pieces {
            let body = *start as usize + record::HEADER + Args::SIZE;
            let argv_len = piece.argv_len as usize;
            let sides = [
                (piece.argv_offset, body, argv_len),
                (piece.env_offset, body + argv_len, piece.env_len as usize),
            ];
            for (part, (offset, at, len)) in parts.iter_mut().zip(sides) {
                // Pieces that overlap or leave a gap end the text where it is still sure.
                if offset as usize == part.len() {
                    part.extend_from_slice(self.bytes.get(at..at + len).unwrap_or_default());
                }
            }
        }
        parts
            .map(|part| {
                let start = (self.bytes.len() + self.long.len()) as u32;
                self.long.extend_from_slice(&part);
                Span { start, len: part.len() as u32 }
            })
            .into()
    }

    fn leader_mut(&mut self, pid: u32) -> Option<&mut Entry> {
        let at = self.leader_at(pid)?;
        self.entries.get_mut(at)
    }

    fn leader_at(&self, pid: u32) -> Option<usize> {
        let at = self.entries.partition_point(|entry| entry.pid < pid);
        self.entries.get(at).filter(|entry| entry.pid == pid && entry.tid == pid).map(|_| at)
    }

    /// The host it was taken on.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Host name and kernel release.
    #[must_use]
    pub fn hostname(&self) -> (&[u8], &[u8]) {
        (&self.hostname, &self.release)
    }

    /// How much CPU time each process has used by now.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let used = |process: Process<'_>| ((process.tid(), process.task().start_ns), process.cpu_time_ns());
        Usage { uptime_ns: self.host.uptime_ns, cpu_ns: self.processes().map(used).collect() }
    }

    /// From now on `process.cpu` is the share since `before`, not since the process started.
    pub fn since(&mut self, before: &Usage) {
        self.before = Some(before.clone());
    }

    /// CPU time that the process had used in the round before, and how long ago that was.
    pub(crate) fn before(&self, tid: u32, start_ns: u64) -> Option<(u64, u64)> {
        let before = self.before.as_ref()?;
        let used = before.cpu_ns.get(&(tid, start_ns))?;
        Some((*used, self.host.uptime_ns.saturating_sub(before.uptime_ns)))
    }

    /// Number of processes whose arguments or environment are longer than what was read.
    #[must_use]
    pub fn cut_arguments(&self) -> usize {
        self.entries.iter().filter(|entry| entry.argv_cut).count()
    }

    /// Sentences about what could not be seen when it was taken.
    pub fn notes(&self) -> impl Iterator<Item = &[u8]> {
        self.notes.iter().map(Vec::as_slice)
    }

    /// The records, as they came.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Gives the records back, to add more and index again.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Tells what is known of a set of cgroups.
    pub fn set_facts(&mut self, cgroup_set: u64, facts: Facts) {
        facts.write(cgroup_set, &mut self.bytes);
        self.set_mut(cgroup_set).facts = Some(facts);
    }

    /// Every set of cgroups that a process is in.
    #[must_use]
    pub fn sets(&self) -> &[CgroupSet] {
        &self.sets
    }

    pub(crate) fn set(&self, id: u64) -> Option<&CgroupSet> {
        self.sets.get(*self.set_index.get(&id)?)
    }

    pub(crate) fn user(&self, id: u32, group: bool) -> Option<&[u8]> {
        self.users.get(&(u16::from(group), id)).map(Vec::as_slice)
    }

    /// Whether any process is in a container.
    #[must_use]
    pub fn has_containers(&self) -> bool {
        let named =
            |set: &CgroupSet| set.facts.as_ref().is_some_and(|f| !f.text(ContainerText::Id).is_empty());
        self.sets.iter().any(|set| !set.pids.is_empty() && named(set))
    }

    /// All tasks: processes by pid, each before its threads.
    pub fn processes(&self) -> impl Iterator<Item = Process<'_>> {
        self.entries.iter().map(|entry| Process::new(self, entry))
    }

    /// Number of tasks.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no task.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The process `pid`.
    #[must_use]
    pub fn process(&self, pid: u32) -> Option<Process<'_>> {
        self.entries.get(self.leader_at(pid)?).map(|entry| Process::new(self, entry))
    }

    /// Sockets that belong to no process.
    pub fn ownerless(&self) -> impl Iterator<Item = Row<'_>> {
        let nobody = self.fds.partition_point(|(pid, ..)| *pid == 0);
        let known = self.fds.get(..nobody).unwrap_or_default();
        known.iter().map(|(_, _, start)| Row::ownerless(self, Descriptor::new(self.record(*start))))
    }

    pub(crate) fn descriptors(&self, entry: &Entry) -> impl Iterator<Item = Descriptor<'_>> {
        let (start, count) = (entry.fds.0 as usize, entry.fds.1 as usize);
        let known = self.fds.get(start..start + count).unwrap_or_default();
        known.iter().map(|(_, _, start)| Descriptor::new(self.record(*start)))
    }

    pub(crate) fn task(&self, entry: &Entry) -> (Task, Record<'_>) {
        let record = self.record(entry.record);
        (Task::decode(record.body), record)
    }

    pub(crate) fn span(&self, span: Span) -> &[u8] {
        let (start, len) = (span.start as usize, span.len as usize);
        let (bytes, start) = match start.checked_sub(self.bytes.len()) {
            Some(behind) if !self.long.is_empty() => (&self.long, behind),
            _ => (&self.bytes, start),
        };
        let end = start.saturating_add(len).min(bytes.len());
        bytes.get(start..end).unwrap_or_default()
    }

    fn record(&self, start: u32) -> Record<'_> {
        let bytes = self.bytes.get(start as usize..).unwrap_or_default();
        match Records::new(bytes).next() {
            Some(Ok(record)) => record,
            _ => Record { kind: None, flags: 0, body: &[] },
        }
    }
}

/// What is joined once all records have been read.
#[derive(Default)]
struct Index {
    times: Vec<ThreadTimes>,
    args: Vec<(u32, u16, Args)>,
    members: Vec<(u64, u32)>,
}
