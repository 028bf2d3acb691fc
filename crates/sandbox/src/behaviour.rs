//! What a specimen did, gathered from its events: processes, files, network, signs, system calls.

pub(crate) mod dns;
mod file;
mod network;
mod sign;

use std::collections::{BTreeMap, HashMap};

use nabe_event::field::{event as e, process as p};
use nabe_event::{FieldId, Fields, Value};
use serde::Serialize;

pub use self::file::{Dropped, FileChange};
pub use self::network::Network;
pub use self::sign::Sign;
use crate::Seen;

/// Entries of each list at most; what is beyond is counted.
const MAX_ENTRIES: usize = 4096;

/// Bytes of a text that are kept.
const MAX_TEXT: usize = 1024;

/// A process of the specimen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ProcessNode {
    /// Its number on the host.
    pub pid: i64,
    /// Its number as the specimen sees it.
    pub vpid: Option<i64>,
    /// Its parent's number on the host.
    pub ppid: Option<i64>,
    /// Its name.
    pub name: String,
    /// The programs that it ran, in order.
    pub images: Vec<Image>,
    /// Its first event: nanoseconds since the specimen's first.
    pub start_ns: u64,
    /// Its last event, or its end.
    pub end_ns: u64,
    /// How it ended; `None` when it was still there.
    pub exit: Option<String>,
    /// Its system calls.
    pub syscalls: u64,
}

/// A program that a process ran.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Image {
    /// When: nanoseconds since the specimen's first event.
    pub at_ns: u64,
    /// The executable's path.
    pub exe: String,
    /// The command line.
    pub cmdline: String,
}

/// A system call's numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Calls.
    pub calls: u64,
    /// Calls that gave an error.
    pub failed: u64,
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Behaviour {
    /// Processes by the order in which they appeared.
    pub processes: Vec<ProcessNode>,
    /// Files by path.
    pub files: Vec<FileChange>,
    /// Network attempts in their order.
    pub network: Vec<Network>,
    /// Signs in their order.
    pub signs: Vec<Sign>,
    /// System calls by name.
    pub syscalls: BTreeMap<String, Count>,
    /// Events looked at.
    pub events: u64,
    /// From the first event to the last: nanoseconds.
    pub duration_ns: u64,
    /// Entries for which there was no room.
    pub left_out: u64,
    #[serde(skip)]
    index: Index,
}

/// Where entries stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Index {
    first_ns: Option<u64>,
    processes: HashMap<i64, usize>,
    files: HashMap<String, usize>,
    network: HashMap<(String, String), usize>,
    /// By thread, where the entry of its connect stands that has not ended.
    pending: HashMap<i64, usize>,
    signs: HashMap<(String, String), usize>,
}

fn text(fields: &dyn Fields, field: FieldId, arg: Option<&[u8]>) -> String {
    match fields.get(field, arg) {
        Value::Text(text) => {
            let text = text.get(..MAX_TEXT).unwrap_or(text);
            String::from_utf8_lossy(text).into_owned()
        }
        Value::Ip(address) => address.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Uint(number) => number.to_string(),
        _ => String::new(),
    }
}

fn number(fields: &dyn Fields, field: FieldId) -> Option<i64> {
    match fields.get(field, None) {
        Value::Int(number) => Some(number),
        Value::Uint(number) => i64::try_from(number).ok(),
        _ => None,
    }
}

impl Behaviour {
    /// Nothing has happened yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes an event of the specimen in.
    pub fn event(&mut self, seen: &Seen<'_>) {
        let first_ns = *self.index.first_ns.get_or_insert(seen.event.ts_ns);
        let now = seen.event.ts_ns.saturating_sub(first_ns);
        self.events += 1;
        self.duration_ns = self.duration_ns.max(now);
        let fields = seen.fields;
        let name = text(fields, e::TYPE, None);
        let ends = !seen.event.id.is_enter() || matches!(&*name, "exit" | "exit_group");
        let result = text(fields, e::RES, None);
        let failed = number(fields, e::RAWRES).is_some_and(|result| result < 0);
        self.process(seen, &name, now, ends && seen.event.id.is_syscall());
        if seen.event.id.is_syscall() && ends {
            let count = self.syscalls.entry(name.clone()).or_default();
            count.calls += 1;
            count.failed += u64::from(failed);
        }
        if !ends {
            self.connection(seen, &name, "");
            return;
        }
        self.file(seen, &name, failed);
        self.connection(seen, &name, &result);
        self.sign(seen, &name, &result);
    }

    fn process(&mut self, seen: &Seen<'_>, name: &str, now: u64, call: bool) {
        let fields = seen.fields;
        let Some(pid) = number(fields, p::PID).filter(|pid| *pid > 0) else { return };
        let at = match self.index.processes.get(&pid) {
            Some(at) => *at,
            None if self.processes.len() >= MAX_ENTRIES => {
                self.left_out += 1;
                return;
            }
            None => {
                self.index.processes.insert(pid, self.processes.len());
                self.processes.push(ProcessNode {
                    pid,
                    vpid: number(fields, p::VPID),
                    ppid: number(fields, p::PPID),
                    start_ns: now,
                    ..ProcessNode::default()
                });
                self.processes.len() - 1
            }
        };
        let Some(node) = self.processes.get_mut(at) else { return };
        node.end_ns = now;
        node.syscalls += u64::from(call);
        let is_exec = matches!(name, "execve" | "execveat") && !seen.event.id.is_enter();
        if node.name.is_empty() || is_exec {
            node.name = text(fields, p::NAME, None);
            let image = Image {
                at_ns: now,
                exe: text(fields, p::EXE, None),
                cmdline: text(fields, p::CMDLINE, None),
            };
            let is_news = node
                .images
                .last()
                .is_none_or(|last| (&last.exe, &last.cmdline) != (&image.exe, &image.cmdline));
            if is_news && node.images.len() < 64 {
                node.images.push(image);
            }
        }
        // A process ends with its first thread.
        if name == "procexit" && seen.event.tid == pid {
            let status = text(fields, e::ARG, Some(b"ret"));
            let signal = text(fields, e::ARG, Some(b"sig"));
            let by_signal = !signal.is_empty() && signal != "0" && !signal.starts_with("0(");
            node.exit = Some(if by_signal { format!("signal {signal}") } else { format!("status {status}") });
        }
    }

    /// Nothing comes any more: lists get their order.
    pub fn finish(&mut self) {
        self.files.sort_by(|a, b| a.path.cmp(&b.path));
        self.index.files.clear();
    }

    /// The children of a process, by their positions; of `None` those whose parent is none of the
    /// specimen's.
    #[must_use]
    pub fn children(&self, pid: Option<i64>) -> Vec<usize> {
        let known = |pid: i64| self.processes.iter().any(|node| node.pid == pid);
        let all = self.processes.iter().enumerate();
        all.filter(|(_, node)| match pid {
            Some(pid) => node.ppid == Some(pid) && node.pid != pid,
            None => node.ppid.is_none_or(|ppid| !known(ppid) || ppid == node.pid),
        })
        .map(|(at, _)| at)
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nabe_event::Missing;
    use nabe_event::raw::{Event, Params};
    use nabe_event::table::EventId;

    /// Fields by name.
    struct Made(Vec<(&'static str, &'static str)>);

    impl Fields for Made {
        fn get(&self, field: FieldId, arg: Option<&[u8]>) -> Value<'_> {
            let name = field.field().name;
            let name = match arg {
                Some(arg) => format!("{name}.{}", String::from_utf8_lossy(arg)),
                None => name.to_owned(),
            };
            let found = self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
            match found {
                Some(value) => value.parse().map_or(Value::Text(value.as_bytes()), Value::Int),
                None => Value::Missing(Missing::Unset),
            }
        }
        fn related(&self, _: FieldId, _: &mut dyn FnMut(&dyn Fields) -> bool) -> Option<usize> {
            None
        }
    }

    fn behaviour(events: Vec<(EventId, Vec<(&'static str, &'static str)>)>) -> Behaviour {
        let mut behaviour = Behaviour::new();
        for (number, (id, fields)) in (1..).zip(events) {
            let event = Event { id, cpu: 0, flags: 0, ts_ns: 100 + number, tid: 7, params: Params::NONE };
            behaviour.event(&Seen { event: &event, fields: &Made(fields), number });
        }
        behaviour.finish();
        behaviour
    }

    #[test]
    fn files_network_and_signs_are_gathered() {
        let of = |more: &[(&'static str, &'static str)]| {
            let mut fields = vec![("process.pid", "7"), ("process.name", "evil"), ("process.exe", "/evil")];
            fields.extend_from_slice(more);
            fields
        };
        let open = [
            ("evt.type", "openat"),
            ("evt.res", "SUCCESS"),
            ("evt.rawres", "3"),
            ("evt.arg.flags", "O_CREAT|O_WRONLY|F_CREATED"),
            ("fs.path.name", "/etc/cron.d/x"),
        ];
        let write =
            [("evt.type", "write"), ("evt.rawres", "100"), ("fd.type", "file"), ("fd.name", "/etc/cron.d/x")];
        let connect = [
            ("evt.type", "connect"),
            ("evt.res", "ECONNREFUSED"),
            ("evt.rawres", "-111"),
            ("fd.type", "ipv4"),
            ("fd.sip", "10.0.0.1"),
            ("fd.sport", "4444"),
            ("fd.l4proto", "tcp"),
        ];
        let unlink = [("evt.type", "unlink"), ("evt.rawres", "0"), ("fs.path.name", "/evil")];
        let found = behaviour(vec![
            (EventId::SYSCALL_OPENAT_2_X, of(&open)),
            (EventId::SYSCALL_WRITE_X, of(&write)),
            (EventId::SYSCALL_WRITE_X, of(&write)),
            (EventId::SOCKET_CONNECT_X, of(&connect)),
            (EventId::SOCKET_CONNECT_X, of(&connect)),
            (EventId::SYSCALL_UNLINK_2_X, of(&unlink)),
        ]);
        assert_eq!(found.files.len(), 2);
        assert_eq!(
            (found.files[0].created, found.files[0].written, found.files[1].deleted),
            (true, 200, true)
        );
        assert_eq!((&*found.network[0].endpoint, found.network[0].attempts), ("10.0.0.1:4444", 2));
        assert_eq!((&*found.signs[0].kind, &*found.signs[0].what), ("persistence", "cron job"));
        assert_eq!(found.syscalls["connect"], Count { calls: 2, failed: 2 });
        assert_eq!(found.processes[0].images[0].exe, "/evil");
        assert_eq!(found.children(None), [0]);
    }
}
