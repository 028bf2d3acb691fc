//! Fields of the thread that an event belongs to.

use nabe_event::field::{process as p, thread as t};
use nabe_event::symbol;
use nabe_event::table::EventId;
use nabe_event::{FieldId, Value};

use super::{Seen, UNSET, flag_of, text, unsigned};
use crate::stream::Thread;
use crate::stream::container::Probe;
use crate::stream::thread::{list, subsystem};

/// Ancestors that are followed before a circle is suspected.
const MAX_ANCESTORS: usize = 256;

/// Whether the field shows what a thread has used of memory and of processors.
pub(crate) fn shows_usage(field: FieldId) -> bool {
    matches!(
        field,
        t::VMSIZE
            | t::VMRSS
            | t::VMSWAP
            | t::PFMAJOR
            | t::PFMINOR
            | t::THREAD_VMSIZE
            | t::THREAD_VMRSS
            | t::THREAD_VMSIZE_B
            | t::THREAD_VMRSS_B
            | t::EXECTIME
            | t::TOTEXECTIME
            | t::CPU
            | t::CPU_USER
            | t::CPU_SYSTEM
    )
}

impl<'s> Seen<'s> {
    /// The thread's process, its parent, and so on.
    pub(super) fn ancestors(&self, thread: &'s Thread) -> impl Iterator<Item = &'s Thread> {
        let stream = self.stream;
        let main = stream.threads.get(&thread.pid).unwrap_or(thread);
        let next = move |thread: &&'s Thread| {
            let parent = stream.threads.get(&stream.parent_of(thread))?;
            let parent = stream.threads.get(&parent.pid).unwrap_or(parent);
            (parent.tid != thread.tid).then_some(parent)
        };
        core::iter::successors(Some(main), next).take(MAX_ANCESTORS)
    }

    fn parent(&self, thread: &'s Thread) -> Option<&'s Thread> {
        self.ancestors(thread).nth(1)
    }

    /// The ancestor that `[n]` names.
    fn ancestor(&self, thread: &'s Thread, arg: Option<&[u8]>) -> Option<&'s Thread> {
        let depth = core::str::from_utf8(arg?).ok()?.parse().ok()?;
        self.ancestors(thread).nth(depth)
    }

    /// The session's leader, or else the oldest ancestor in the session.
    fn session_leader(&self, thread: &'s Thread) -> Option<&'s Thread> {
        let leader = self.stream.threads.get(&thread.sid).filter(|_| thread.sid > 0);
        leader.or_else(|| self.ancestors(thread).take_while(|other| other.sid == thread.sid).last())
    }

    fn group_leader(&self, thread: &'s Thread, group: i64) -> Option<&'s Thread> {
        let leader = self.stream.threads.get(&group).filter(|_| group > 0);
        leader.or_else(|| self.ancestors(thread).take_while(|other| other.vpgid == thread.vpgid).last())
    }

    pub(super) fn of_thread(&self, thread: &'s Thread, field: FieldId, arg: Option<&[u8]>) -> Value<'_> {
        match field {
            p::NAME => Value::Text(&thread.comm),
            p::PID => Value::Int(thread.pid),
            p::TID => Value::Int(thread.tid),
            p::PPID => Value::Int(self.stream.parent_of(self.main(thread).unwrap_or(thread))),
            p::VPID => known(thread.vpid),
            p::VTID => known(thread.vtid),
            p::SID => Value::Int(thread.sid),
            p::PGID => known(thread.pgid),
            p::EXE => Value::Text(&thread.exe_path),
            t::EXE => Value::Text(&thread.exe),
            p::CWD => Value::Text(self.main(thread).map_or(&thread.cwd, |main| &main.cwd)),
            p::CMDLINE => self.command(Some(thread)),
            p::ARGS => Value::List(thread),
            t::ARGS => self.arguments(thread, arg),
            p::ENV => self.environment(thread, arg),
            t::EXELINE => self.made(|out| {
                out.extend_from_slice(&thread.exe);
                out.push(b' ');
                joined(thread, out);
            }),
            t::CMDNARGS => Value::Uint(thread.arguments().count() as u64),
            t::CMDLENARGS => Value::Uint(thread.arguments().map(<[u8]>::len).sum::<usize>() as u64),
            t::TTY => Value::Uint(u64::from(thread.tty)),
            t::ISMAIN => Value::Bool(thread.is_main()),
            p::THREADS => Value::Int(self.siblings(thread).saturating_add(1).cast_signed()),
            t::NCHILDS => Value::Uint(thread.siblings),
            t::NAMETID => self.made(|out| {
                out.extend_from_slice(&thread.comm);
                out.extend_from_slice(format!("{}", thread.tid).as_bytes());
            }),
            t::VPGID => Value::Int(thread.vpgid),
            t::CGROUPS if !thread.cgroups.is_empty() => self.made(|out| {
                for (at, entry) in list(&thread.cgroups).enumerate() {
                    if at > 0 {
                        out.push(b' ');
                    }
                    let (subsystem, path) = subsystem(entry);
                    out.extend_from_slice(subsystem);
                    out.extend_from_slice(path);
                }
            }),
            t::CGROUP => text(arg.and_then(|subsystem| thread.cgroup(subsystem))),
            _ => self.of_account(thread, field, arg),
        }
    }

    fn main(&self, thread: &Thread) -> Option<&'s Thread> {
        self.stream.threads.get(&thread.pid)
    }

    fn siblings(&self, thread: &Thread) -> u64 {
        self.main(thread).map_or(thread.siblings, |main| main.siblings)
    }

    fn of_account(&self, thread: &'s Thread, field: FieldId, arg: Option<&[u8]>) -> Value<'_> {
        let main = self.main(thread).unwrap_or(thread);
        let user = self.stream.users.get(&thread.uid);
        match field {
            p::EUID => Value::Uint(u64::from(thread.uid)),
            p::EGID => Value::Uint(u64::from(thread.gid)),
            p::USER => text(user.map(|user| &*user.name)),
            t::HOMEDIR => text(user.map(|user| &*user.home)),
            t::SHELL => text(user.map(|user| &*user.shell)),
            p::GROUP => text(self.stream.groups.get(&thread.gid).map(|name| &**name)),
            // -1 for none.
            p::LOGINUID => Value::Int(i64::from(thread.login_uid.cast_signed())),
            t::LOGINNAME => text(self.stream.users.get(&thread.login_uid).map(|user| &*user.name)),
            p::FD_COUNT => Value::Int(i64::try_from(main.descriptors.len()).unwrap_or(i64::MAX)),
            t::FDLIMIT => Value::Int(thread.fd_limit),
            t::FDUSAGE => {
                let share = (main.descriptors.len() as u64).saturating_mul(10_000);
                Value::Uint(
                    u64::try_from(main.fd_limit).ok().and_then(|most| share.checked_div(most)).unwrap_or(0),
                )
            }
            t::VMSIZE => Value::Uint(thread.vm_size_kib),
            t::VMRSS => Value::Uint(thread.vm_rss_kib),
            t::VMSWAP => Value::Uint(thread.vm_swap_kib),
            t::PFMAJOR => Value::Uint(thread.major_faults),
            t::PFMINOR => Value::Uint(thread.minor_faults),
            t::THREAD_VMSIZE => Value::Uint(if thread.is_main() { thread.vm_size_kib } else { 0 }),
            t::THREAD_VMRSS => Value::Uint(if thread.is_main() { thread.vm_rss_kib } else { 0 }),
            t::THREAD_VMSIZE_B if thread.is_main() => Value::Uint(thread.vm_size_kib.saturating_mul(1024)),
            t::THREAD_VMRSS_B if thread.is_main() => Value::Uint(thread.vm_rss_kib.saturating_mul(1024)),
            t::EXECTIME | t::TOTEXECTIME | t::CPU | t::CPU_USER | t::CPU_SYSTEM => {
                self.of_usage(thread, field)
            }
            t::STDIN_TYPE => self.standard(thread, 0, true),
            t::STDOUT_TYPE => self.standard(thread, 1, true),
            t::STDERR_TYPE => self.standard(thread, 2, true),
            t::STDIN_NAME => self.standard(thread, 0, false),
            t::STDOUT_NAME => self.standard(thread, 1, false),
            t::STDERR_NAME => self.standard(thread, 2, false),
            _ => self.of_program(thread, field, arg),
        }
    }

    /// CPU time out of switch events, shares of a CPU out of samples.
    fn of_usage(&self, thread: &Thread, field: FieldId) -> Value<'_> {
        let usage = thread.usage.as_deref();
        let is_sample = self.event.id == EventId::PROCINFO_E;
        let span = |ns: u64| Value::Int(i64::try_from(ns).unwrap_or(i64::MAX));
        // A second has a hundred of the sample's units, and a percent a hundred of the field's.
        let share =
            |parts: Option<u64>| unsigned(parts.filter(|_| is_sample).map(|parts| parts.min(100) * 100));
        let user = usage.and_then(|usage| usage.user);
        let system = usage.and_then(|usage| usage.system);
        match field {
            t::EXECTIME => self.exec_time(),
            t::TOTEXECTIME => span(usage.map_or(0, |usage| usage.total_exec_ns)),
            t::CPU_USER => share(user),
            t::CPU_SYSTEM => share(system),
            _ => share(user.zip(system).map(|(user, system)| user.saturating_add(system))),
        }
    }

    /// How long whatever the scheduler switches away from has run, be it a thread or the idle task.
    pub(super) fn exec_time(&self) -> Value<'static> {
        let ran_ns = if self.event.id.name() == "switch" { self.stream.ran_ns } else { 0 };
        Value::Int(i64::try_from(ran_ns).unwrap_or(i64::MAX))
    }

    fn standard(&self, thread: &Thread, fd: i64, ty: bool) -> Value<'_> {
        let Some(found) = self.stream.descriptor(thread.tid, fd) else { return UNSET };
        if ty { super::word(found.kind.word()) } else { Value::Text(&found.name) }
    }

    fn of_program(&self, thread: &'s Thread, field: FieldId, arg: Option<&[u8]>) -> Value<'_> {
        let ts = self.event.ts_ns;
        let age = |thread: &Thread| match thread.started_ns {
            0 => UNSET,
            started => Value::Int(i64::try_from(ts.saturating_sub(started)).unwrap_or(i64::MAX)),
        };
        match field {
            p::AGE => age(thread),
            t::PPID_DURATION => self.parent(thread).map_or(UNSET, age),
            t::PID_TS => Value::Uint(thread.started_ns),
            t::PPID_TS => unsigned(self.parent(thread).map(|parent| parent.started_ns)),
            t::IS_EXE_WRITABLE => Value::Bool(thread.exe_writable == Some(true)),
            p::EXE_UPPER_LAYER => flag_of(thread.exe_upper_layer),
            t::IS_EXE_LOWER_LAYER => flag_of(thread.exe_lower_layer),
            p::EXE_MEMFD => flag_of(thread.exe_from_memfd),
            t::IS_HEALTHCHECK => self.is_probe(Probe::Health),
            t::IS_LIVENESS => self.is_probe(Probe::Liveness),
            t::IS_READINESS => self.is_probe(Probe::Readiness),
            t::IS_SID_LEADER => Value::Bool(thread.sid == thread.vpid || thread.sid == thread.pid),
            t::IS_VPGID_LEADER => Value::Bool(thread.vpgid == thread.vpid),
            t::IS_PGID_LEADER => Value::Bool(thread.pgid == thread.pid),
            p::EXE_INODE => unsigned(thread.exe_inode),
            t::EXE_INO_CTIME => unsigned(thread.exe_ctime_ns),
            t::EXE_INO_MTIME => unsigned(thread.exe_mtime_ns),
            t::CTIME_PROC_START if thread.started_ns != 0 => {
                unsigned(thread.exe_ctime_ns.map(|ctime| thread.started_ns.saturating_sub(ctime)))
            }
            t::CTIME_PIDNS_START => {
                let start = thread.pid_namespace_start_ns;
                unsigned(start.zip(thread.exe_ctime_ns).map(|(start, ctime)| ctime.saturating_sub(start)))
            }
            t::PIDNS_INIT_START_TS => unsigned(thread.pid_namespace_start_ns),
            t::CAP_PERMITTED | t::CAP_INHERITABLE | t::CAP_EFFECTIVE => self.capabilities(thread, field),
            _ => self.of_relative(thread, field, arg),
        }
    }

    fn capabilities(&self, thread: &Thread, field: FieldId) -> Value<'_> {
        let [permitted, inheritable, effective] = thread.capabilities;
        let mask = match field {
            t::CAP_PERMITTED => permitted,
            t::CAP_INHERITABLE => inheritable,
            _ => effective,
        };
        let Some(mask) = mask else { return UNSET };
        let names = (0..64u64).filter(|bit| mask >> bit & 1 == 1);
        let names: Vec<_> =
            names.filter_map(|bit| symbol::CAPABILITY.name(bit)).map(|name| format!("CAP_{name}")).collect();
        self.keep(names.join(" "))
    }

    fn of_relative(&self, thread: &'s Thread, field: FieldId, arg: Option<&[u8]>) -> Value<'_> {
        let parent = || self.stream.threads.get(&self.stream.parent_of(thread));
        let ancestor = || self.ancestor(thread, arg);
        let leader = || self.session_leader(thread);
        let group = |group: i64| self.group_leader(thread, group);
        let comm = |of: Option<&'s Thread>| text(of.map(|of| &*of.comm));
        let exe = |of: Option<&'s Thread>| text(of.map(|of| &*of.exe));
        let path = |of: Option<&'s Thread>| text(of.map(|of| &*of.exe_path));
        match field {
            t::PNAME => comm(parent()),
            t::PEXE => exe(parent()),
            t::PEXEPATH => path(parent()),
            t::PCMDLINE => self.command(parent()),
            t::PVPID => parent().map_or(UNSET, |parent| known(parent.vpid)),
            t::ANAME => comm(ancestor()),
            t::AEXE => exe(ancestor()),
            t::AEXEPATH => path(ancestor()),
            t::ACMDLINE => self.command(ancestor()),
            t::AARGS => ancestor().map_or(UNSET, |ancestor| self.arguments(ancestor, None)),
            t::AENV => match ancestor() {
                Some(ancestor) => self.environment(ancestor, None),
                None => {
                    let found = self.ancestors(thread).skip(1).find_map(|other| variable(other, arg?));
                    text(found)
                }
            },
            t::APID => ancestor().map_or(UNSET, |ancestor| Value::Int(ancestor.pid)),
            t::SNAME => comm(leader()),
            t::SID_EXE => exe(leader()),
            t::SID_EXEPATH => path(leader()),
            t::VPGID_NAME => comm(group(thread.vpgid)),
            t::VPGID_EXE => exe(group(thread.vpgid)),
            t::VPGID_EXEPATH => path(group(thread.vpgid)),
            t::PGID_NAME => comm(group(thread.pgid)),
            t::PGID_EXE => exe(group(thread.pgid)),
            t::PGID_EXEPATH => path(group(thread.pgid)),
            t::LOGINSHELLID => {
                let shells = self.ancestors(thread).filter(|other| other.comm.ends_with(b"sh"));
                shells.last().map_or(UNSET, |shell| Value::Int(shell.pid))
            }
            _ => UNSET,
        }
    }

    /// Name and arguments.
    fn command(&self, thread: Option<&Thread>) -> Value<'_> {
        let Some(thread) = thread else { return UNSET };
        self.made(|out| {
            out.extend_from_slice(&thread.comm);
            if thread.arguments().next().is_some() {
                out.push(b' ');
                joined(thread, out);
            }
        })
    }

    fn arguments(&self, thread: &'s Thread, arg: Option<&[u8]>) -> Value<'_> {
        match arg {
            Some(at) => {
                let at = core::str::from_utf8(at).ok().and_then(|at| at.parse().ok());
                text(at.and_then(|at| thread.arguments().nth(at)))
            }
            None => self.made(|out| joined(thread, out)),
        }
    }

    fn environment(&self, thread: &'s Thread, arg: Option<&[u8]>) -> Value<'_> {
        match arg {
            Some(key) => text(variable(thread, key)),
            None => self.made(|out| {
                for (at, entry) in thread.environment().enumerate() {
                    if at > 0 {
                        out.push(b' ');
                    }
                    out.extend_from_slice(entry);
                }
            }),
        }
    }
}

fn variable<'t>(thread: &'t Thread, key: &[u8]) -> Option<&'t [u8]> {
    thread.environment().find_map(|entry| entry.strip_prefix(key)?.strip_prefix(b"="))
}

fn joined(thread: &Thread, out: &mut Vec<u8>) {
    for (at, argument) in thread.arguments().enumerate() {
        if at > 0 {
            out.push(b' ');
        }
        out.extend_from_slice(argument);
    }
}

/// A number that is not known is -1 in captures.
fn known(number: i64) -> Value<'static> {
    if number == -1 { UNSET } else { Value::Int(number) }
}
