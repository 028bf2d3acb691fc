//! A process or thread, answering fields.

use std::cell::OnceCell;

use nabe_event::field::{Class, FieldId, process as p};
use nabe_event::record::Fixed as _;
use nabe_event::record::{ContainerText, Record, Task, exe, flag, task as bit};
use nabe_event::value::{Fields, List, Map, Missing, Value};

use crate::row::Row;
use crate::snapshot::{CgroupSet, Entry, Facts, Snapshot};
mod container;
mod security;

/// A process, or a thread of one.
pub struct Process<'a> {
    snapshot: &'a Snapshot,
    entry: &'a Entry,
    task: Task,
    record: Record<'a>,
    set: Option<&'a CgroupSet>,
    made: Made,
}

/// Values that a field needs beyond the record's own bytes, made when first asked for.
#[derive(Default)]
struct Made {
    cmdline: OnceCell<Vec<u8>>,
    tty: OnceCell<Vec<u8>>,
    caps: OnceCell<Vec<u8>>,
    user: OnceCell<Vec<u8>>,
    group: OnceCell<Vec<u8>>,
    host_namespaces: OnceCell<Texts>,
    suspicious: OnceCell<Texts>,
    args: OnceCell<Texts>,
    env: OnceCell<Pairs>,
}

/// A list of texts that a field made.
#[derive(Default, Debug)]
pub(crate) struct Texts(pub(crate) Vec<Vec<u8>>);

impl List for Texts {
    fn len(&self) -> usize {
        self.0.len()
    }
    fn get(&self, index: usize) -> Value<'_> {
        self.0.get(index).map_or(Value::Missing(Missing::Unset), |text| Value::Text(text))
    }
}

/// Pairs of texts that a field made.
#[derive(Default, Debug)]
struct Pairs(Vec<(Vec<u8>, Vec<u8>)>);

impl Map for Pairs {
    fn len(&self) -> usize {
        self.0.len()
    }
    fn entry(&self, index: usize) -> Option<(&[u8], &[u8])> {
        self.0.get(index).map(|(key, value)| (key.as_slice(), value.as_slice()))
    }
}

impl<'a> Process<'a> {
    pub(crate) fn new(snapshot: &'a Snapshot, entry: &'a Entry) -> Self {
        let (task, record) = snapshot.task(entry);
        let set = snapshot.set(task.cgroup_set);
        Self { snapshot, entry, task, record, set, made: Made::default() }
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.task.pid
    }

    /// Thread id; the process id for the process itself.
    #[must_use]
    pub fn tid(&self) -> u32 {
        self.task.tid
    }

    /// Process id of the parent.
    #[must_use]
    pub fn ppid(&self) -> u32 {
        self.task.ppid
    }

    /// The record's own values.
    #[must_use]
    pub fn task(&self) -> &Task {
        &self.task
    }

    /// Its set of cgroups, when it was read.
    #[must_use]
    pub fn cgroups(&self) -> Option<&'a CgroupSet> {
        self.set
    }

    /// Its open descriptors, by number.
    pub fn descriptors(&self) -> impl Iterator<Item = Row<'_>> {
        self.snapshot.descriptors(self.entry).map(|descriptor| Row::of(self, descriptor))
    }

    /// Its row when no descriptor is asked about.
    #[must_use]
    pub fn alone(&self) -> Row<'_> {
        Row::alone(self)
    }

    pub(crate) fn facts(&self) -> Option<&'a Facts> {
        self.set?.facts.as_ref()
    }

    pub(crate) fn fact(&self, which: ContainerText) -> &'a [u8] {
        self.facts().map_or(b"", |facts| facts.text(which))
    }

    pub(crate) fn in_container(&self) -> bool {
        !self.fact(ContainerText::Id).is_empty()
    }

    /// comm, up to its first NUL; a kernel thread's full name when the record has it.
    pub(crate) fn name(&self) -> &[u8] {
        let skip = usize::from(self.task.exe_len) + usize::from(self.task.cwd_len);
        let full = self.record.text(Task::SIZE, skip, self.task.name_len.into());
        let name = if full.is_empty() { &self.task.comm[..] } else { full };
        name.split(|b| *b == 0).next().unwrap_or_default()
    }

    pub(crate) fn exe(&self) -> &[u8] {
        self.record.text(Task::SIZE, 0, self.task.exe_len.into())
    }

    pub(crate) fn argv(&self) -> &'a [u8] {
        self.snapshot.span(self.entry.argv)
    }

    pub(crate) fn env(&self, key: &[u8]) -> Option<&[u8]> {
        self.environment().0.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_slice())
    }

    fn environment(&self) -> &Pairs {
        self.made.env.get_or_init(|| {
            let bytes = self.snapshot.span(self.entry.env);
            let mut pairs: Vec<_> = bytes
                .split(|b| *b == 0)
                .filter_map(|item| {
                    let at = item.iter().position(|b| *b == b'=')?;
                    let (key, value) = item.split_at(at);
                    Some((key.to_vec(), value.get(1..).unwrap_or_default().to_vec()))
                })
                .collect();
            pairs.sort();
            Pairs(pairs)
        })
    }

    pub(crate) fn kthread(&self) -> bool {
        self.task.bits & bit::KTHREAD != 0
    }

    /// utime and stime as /proc/PID/stat has them: exact run time, split as the ticks fell
    /// (kernel/sched/cputime.c, `cputime_adjust`).
    fn times_ns(&self) -> (u64, u64) {
        let more = &self.entry.more;
        let utime = self.task.utime_ns.saturating_add(more.utime_ns);
        let stime = self.task.stime_ns.saturating_add(more.stime_ns);
        let runtime = self.task.runtime_ns.saturating_add(more.runtime_ns);
        if self.task.runtime_ns == 0 || utime.saturating_add(stime) == 0 {
            return if self.task.runtime_ns == 0 { (utime, stime) } else { (runtime, 0) };
        }
        let share = u128::from(runtime) * u128::from(stime) / u128::from(utime.saturating_add(stime));
        let stime = u64::try_from(share).unwrap_or(u64::MAX).min(runtime);
        (runtime - stime, stime)
    }

    /// CPU time of all threads, ns.
    pub(crate) fn cpu_time_ns(&self) -> u64 {
        let (utime, stime) = self.times_ns();
        utime.saturating_add(stime)
    }

    /// Hundredths of a per cent of one CPU, since the round before or since the start.
    fn cpu_share(&self) -> u64 {
        let (used, span) = match self.snapshot.before(self.task.tid, self.task.start_ns) {
            Some((used, span)) => (self.cpu_time_ns().saturating_sub(used), span),
            None => (self.cpu_time_ns(), self.age_ns()),
        };
        u64::try_from(u128::from(used) * 10_000 / u128::from(span.max(1))).unwrap_or(u64::MAX)
    }

    fn age_ns(&self) -> u64 {
        self.snapshot.host.uptime_ns.saturating_sub(self.task.start_ns)
    }

    fn pages(&self, pages: u64) -> Value<'_> {
        Value::Uint(pages.saturating_mul(self.snapshot.host.page_size.into()))
    }

    fn cmdline(&self) -> &[u8] {
        let argv = self.argv();
        let trimmed = argv.iter().rposition(|b| !matches!(b, 0 | b' ')).map_or(0, |last| last + 1);
        let argv = argv.get(..trimmed).unwrap_or_default();
        if !argv.contains(&0) {
            return argv;
        }
        self.made.cmdline.get_or_init(|| argv.iter().map(|b| if *b == 0 { b' ' } else { *b }).collect())
    }

    fn args(&self) -> &Texts {
        self.made.args.get_or_init(|| {
            let argv = self.argv();
            let argv = argv.strip_suffix(&[0]).unwrap_or(argv);
            if argv.is_empty() {
                return Texts::default();
            }
            Texts(argv.split(|b| *b == 0).map(<[u8]>::to_vec).collect())
        })
    }

    fn tty(&self) -> &[u8] {
        self.made.tty.get_or_init(|| {
            // new_encode_dev, include/linux/kdev_t.h.
            let major = (self.task.tty >> 8) & 0xfff;
            let minor = (self.task.tty & 0xff) | ((self.task.tty >> 12) & 0xfff00);
            match (major, minor) {
                (0, _) => Vec::new(),
                (136..=143, _) => format!("pts/{}", (major - 136) * 256 + minor).into_bytes(),
                (4, 0..=63) => format!("tty{minor}").into_bytes(),
                (4, _) => format!("ttyS{}", minor - 64).into_bytes(),
                (5, 1) => b"console".to_vec(),
                _ => format!("{major}:{minor}").into_bytes(),
            }
        })
    }

    fn user_name<'b>(&'b self, id: u32, group: bool, made: &'b OnceCell<Vec<u8>>) -> &'b [u8] {
        match self.snapshot.user(id, group) {
            Some(name) => name,
            None => made.get_or_init(|| id.to_string().into_bytes()),
        }
    }

    fn exe_bit(&self, wanted: u32) -> Value<'_> {
        if self.task.exe_flags & exe::KNOWN == 0 {
            return if self.kthread() { Value::Bool(false) } else { self.unread() };
        }
        Value::Bool(self.task.exe_flags & wanted != 0)
    }

    fn unread(&self) -> Value<'_> {
        let unread = self.record.flags & flag::UNREAD != 0;
        Value::Missing(if unread { Missing::Unread(0) } else { Missing::Unset })
    }

    /// `value`, unless it was asked for and could not be read: then not the zero that stands there.
    fn if_read<'v>(&self, is_read: bool, value: Value<'v>) -> Value<'v> {
        let unread = !is_read && self.record.flags & flag::UNREAD != 0 && !self.kthread();
        if unread { Value::Missing(Missing::Unread(0)) } else { value }
    }

    fn namespace(&self, inode: u32) -> Value<'_> {
        // No namespace has inode 0.
        if inode == 0 && self.record.flags & flag::UNREAD != 0 {
            return Value::Missing(Missing::Unread(0));
        }
        Value::Int(inode.into())
    }

    fn process_field(&self, field: FieldId, arg: Option<&[u8]>) -> Value<'_> {
        let t = &self.task;
        let int = |v: u32| Value::Int(v.into());
        match field {
            p::NAME => Value::Text(self.name()),
            p::PID => int(t.pid),
            p::PPID => int(t.ppid),
            p::TID => int(t.tid),
            p::VPID => int(t.vpid),
            p::VTID => int(t.vtid),
            p::PGID => int(t.pgid),
            p::SID => int(t.sid),
            p::EUID => int(t.euid),
            p::RUID => int(t.ruid),
            p::SUID => int(t.suid),
            p::EGID => int(t.egid),
            p::RGID => int(t.rgid),
            p::SGID => int(t.sgid),
            p::LOGINUID => Value::Int(if t.loginuid == u32::MAX { -1 } else { t.loginuid.into() }),
            p::USER => Value::Text(self.user_name(t.euid, false, &self.made.user)),
            p::GROUP => Value::Text(self.user_name(t.egid, true, &self.made.group)),
            p::CMDLINE => Value::Text(self.cmdline()),
            p::ARGS => Value::List(self.args()),
            p::ENV => match arg {
                Some(key) => self.env(key).map_or(Value::Missing(Missing::Unset), Value::Text),
                None => Value::Map(self.environment()),
            },
            p::EXE => self.if_read(t.exe_len > 0, Value::Text(self.exe())),
            p::CWD => {
                let cwd = self.record.text(Task::SIZE, t.exe_len.into(), t.cwd_len.into());
                self.if_read(t.cwd_len > 0, Value::Text(cwd))
            }
            p::STATE => Value::Uint(folded_state(t.state)),
            p::TTY => Value::Text(self.tty()),
            p::KTHREAD => Value::Bool(self.kthread()),
            p::THREADS => int(t.threads),
            p::NICE => Value::Int(t.nice.into()),
            p::PRIORITY => Value::Int(t.priority.into()),
            p::POLICY => Value::Uint(t.policy.into()),
            p::OOM_SCORE_ADJ => Value::Int(t.oom_score_adj.into()),
            p::CGROUP_ID => Value::Uint(t.cgroup_id),
            p::CGROUP_PATH => Value::Text(self.set.map_or(b"", CgroupSet::path)),
            p::UNIT => Value::Text(self.fact(ContainerText::Unit)),
            p::SOURCE => Value::Text(if self.record.flags & flag::FROM_PROC == 0 { b"bpf" } else { b"proc" }),
            p::FD_COUNT => Value::Int(self.fd_count()),
            _ => self.resource_field(field),
        }
    }

    fn resource_field(&self, field: FieldId) -> Value<'_> {
        let t = &self.task;
        match field {
            p::START_TIME => Value::Uint(t.start_ns),
            p::AGE => Value::Int(signed(self.age_ns())),
            p::UTIME => Value::Uint(self.times_ns().0),
            p::STIME => Value::Uint(self.times_ns().1),
            p::CPU_TIME => Value::Int(signed(self.cpu_time_ns())),
            p::CPU => Value::Uint(self.cpu_share()),
            p::VSZ => self.pages(t.vm_pages),
            p::RSS => self
                .pages(t.rss_anon_pages.saturating_add(t.rss_file_pages).saturating_add(t.rss_shmem_pages)),
            p::RSS_ANON => self.pages(t.rss_anon_pages),
            p::RSS_FILE => self.pages(t.rss_file_pages),
            p::RSS_SHMEM => self.pages(t.rss_shmem_pages),
            p::SWAP => self.pages(t.swap_pages),
            p::MINFLT => Value::Uint(t.minflt.saturating_add(self.entry.more.minflt)),
            p::MAJFLT => Value::Uint(t.majflt.saturating_add(self.entry.more.majflt)),
            _ => self.security_field(field),
        }
    }

    pub(crate) fn fd_count(&self) -> i64 {
        i64::try_from(self.snapshot.descriptors(self.entry).count()).unwrap_or(i64::MAX)
    }
}

impl Fields for Process<'_> {
    fn get(&self, field: FieldId, arg: Option<&[u8]>) -> Value<'_> {
        match field.class() {
            Class::Process => self.process_field(field, arg),
            Class::Container => self.container_field(field, arg),
            // A process has no descriptor of its own, and no event.
            _ => Value::Missing(Missing::Subject),
        }
    }

    fn related(&self, relation: FieldId, visit: &mut dyn FnMut(&dyn Fields) -> bool) -> Option<usize> {
        if relation != p::FILES {
            return None;
        }
        let mut visited = 0;
        for row in self.descriptors() {
            visited += 1;
            if !visit(&row) {
                break;
            }
        }
        Some(visited)
    }
}

/// The state as `task_state_index()` of include/linux/sched.h folds it.
fn folded_state(raw: u32) -> u64 {
    const IDLE: u32 = 0x402;
    const REPORT: u32 = 0x7f;
    if raw & IDLE == IDLE {
        return IDLE.into();
    }
    // A task that waits for an RT lock or is frozen counts as uninterruptible.
    let extra = if raw & (0x1000 | 0x8000) != 0 { 2 } else { 0 };
    let seen = (raw | extra) & REPORT;
    // The highest bit names the state.
    seen.checked_ilog2().map_or(0, |bit| 1 << bit)
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use nabe_event::symbol;

    use super::*;

    #[test]
    fn states_fold_as_the_kernel_folds_them() {
        for (raw, letter) in [
            (0, "R"),
            (1, "S"),
            (2, "D"),
            (0x102, "D"),
            (0x402, "I"),
            (0x20, "Z"),
            (0x10, "X"),
            (4, "T"),
            (8, "t"),
            (0x40, "P"),
            (0x8001, "D"),
            (0x1002, "D"),
        ] {
            assert_eq!(symbol::PROCESS_STATE.name(folded_state(raw)), Some(letter), "{raw:#x}");
        }
    }
}
