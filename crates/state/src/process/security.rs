//! What a process may do, and what it shares with the host.

use nabe_event::FieldId;
use nabe_event::field::process as p;
use nabe_event::record::{Task, exe, task as bit};
use nabe_event::symbol;
use nabe_event::value::{Missing, Value};

use super::{Process, Texts};
use crate::snapshot::Snapshot;
use crate::suspicion;

/// Names that only kernel threads bear.
const KTHREAD_NAMES: &[&[u8]] =
    &[b"kworker/", b"ksoftirqd/", b"migration/", b"rcu_sched", b"kswapd", b"kthreadd"];

impl Process<'_> {
    fn caps(&self) -> &[u8] {
        self.made.caps.get_or_init(|| capability_names(self.task.cap_effective))
    }

    fn host_namespaces(&self) -> &Texts {
        self.made.host_namespaces.get_or_init(|| {
            Texts(
                shared_with_host(&self.task, self.snapshot)
                    .into_iter()
                    .map(|n| n.as_bytes().to_vec())
                    .collect(),
            )
        })
    }

    /// Names of the namespaces that it shares with the host.
    pub(crate) fn shares(&self, namespace: &str) -> bool {
        self.host_namespaces().0.iter().any(|name| name == namespace.as_bytes())
    }

    fn impostor(&self) -> bool {
        !self.kthread()
            && self.task.bits & bit::HAS_MM != 0
            && (self.name().starts_with(b"[") || self.argv().starts_with(b"["))
            || !self.kthread() && KTHREAD_NAMES.iter().any(|prefix| self.name().starts_with(prefix))
    }

    pub(super) fn security_field(&self, field: FieldId) -> Value<'_> {
        let t = &self.task;
        match field {
            p::CAP_EFFECTIVE => Value::Uint(t.cap_effective),
            p::CAP_PERMITTED => Value::Uint(t.cap_permitted),
            p::CAP_INHERITABLE => Value::Uint(t.cap_inheritable),
            p::CAP_BOUNDING => Value::Uint(t.cap_bounding),
            p::CAP_AMBIENT => Value::Uint(t.cap_ambient),
            p::CAP_NAMES => Value::Text(self.caps()),
            p::NS_UTS => self.namespace(t.ns_uts),
            p::NS_IPC => self.namespace(t.ns_ipc),
            p::NS_MNT => self.namespace(t.ns_mnt),
            p::NS_PID => self.namespace(t.ns_pid),
            p::NS_PID_OWN => self.namespace(t.ns_pid_own),
            p::NS_NET => self.namespace(t.ns_net),
            p::NS_CGROUP => self.namespace(t.ns_cgroup),
            p::NS_USER => self.namespace(t.ns_user),
            p::NS_TIME => self.namespace(t.ns_time),
            p::HOST_NAMESPACES => match self.namespace(t.ns_mnt) {
                Value::Missing(why) => Value::Missing(why),
                _ => Value::List(self.host_namespaces()),
            },
            p::TRACER => Value::Int(t.tracer.into()),
            p::NO_NEW_PRIVS => Value::Bool(t.bits & bit::NO_NEW_PRIVS != 0),
            p::SECCOMP => Value::Uint(t.seccomp.into()),
            p::EXE_DELETED => self.exe_bit(exe::DELETED),
            p::EXE_MEMFD => self.exe_bit(exe::MEMFD),
            p::EXE_UPPER_LAYER => self.exe_bit(exe::UPPER),
            p::EXE_INODE => self.if_read(t.exe_inode != 0, Value::Uint(t.exe_inode)),
            p::LD_PRELOAD => Value::Text(self.env(b"LD_PRELOAD").unwrap_or_default()),
            p::IMPOSTOR => Value::Bool(self.impostor()),
            p::SUSPICIOUS => {
                let made = &self.made.suspicious;
                Value::List(made.get_or_init(|| Texts(suspicion::reasons(self))))
            }
            _ => Value::Missing(Missing::Unset),
        }
    }
}

/// Inodes of the initial namespaces, include/uapi/linux/nsfs.h (`PROC_*_INIT_INO` before).
const INIT_NAMESPACES: [(&str, u32); 6] = [
    ("ipc", 0xEFFF_FFFF),
    ("uts", 0xEFFF_FFFE),
    ("user", 0xEFFF_FFFD),
    ("pid", 0xEFFF_FFFC),
    ("cgroup", 0xEFFF_FFFB),
    ("time", 0xEFFF_FFFA),
];

fn shared_with_host(task: &Task, snapshot: &Snapshot) -> Vec<&'static str> {
    let own = |name: &str| match name {
        "ipc" => task.ns_ipc,
        "uts" => task.ns_uts,
        "user" => task.ns_user,
        "pid" => task.ns_pid_own,
        "cgroup" => task.ns_cgroup,
        _ => task.ns_time,
    };
    let mut shared: Vec<_> =
        INIT_NAMESPACES.iter().filter(|(name, inode)| own(name) == *inode).map(|(name, _)| *name).collect();
    let host = snapshot.host();
    if host.init_net != 0 && task.ns_net == host.init_net {
        shared.push("net");
    }
    if host.init_mnt != 0 && task.ns_mnt == host.init_mnt {
        shared.push("mnt");
    }
    shared.sort_unstable();
    shared
}

/// Capabilities in words: `all`, the ones it has, or `all but` the ones it has not.
fn capability_names(mask: u64) -> Vec<u8> {
    let known = symbol::CAPABILITY.entries;
    let has = |bit: u64| mask & (1 << bit) != 0;
    let names = |wanted: bool| {
        let list: Vec<_> =
            known.iter().filter(|(bit, _)| has(*bit) == wanted).map(|(_, name)| *name).collect();
        list
    };
    let (have, lack) = (names(true), names(false));
    let text = match (have.len(), lack.len()) {
        (0, _) => String::new(),
        (_, 0) => "all".to_owned(),
        (have_count, lack_count) if lack_count < have_count => format!("all but {}", lack.join(",")),
        _ => have.join(","),
    };
    text.to_ascii_lowercase().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_in_words() {
        assert_eq!(capability_names(0), b"");
        assert_eq!(capability_names(0x1ff_ffff_ffff), b"all");
        assert_eq!(capability_names(1 << 21), b"sys_admin");
        assert_eq!(capability_names(0x1ff_ffff_ffff & !(1 << 24)), b"all but sys_resource");
    }
}
