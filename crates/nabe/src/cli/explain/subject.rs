//! What there is to say of one process.

use nabe_event::field::{FieldId, container as c, file as f, process as p};
use nabe_event::symbol;
use nabe_event::value::{Fields, Value};
use nabe_state::{Process, Row, Snapshot};
use serde::Serialize;

const SOCK_STREAM: u16 = 1;
const LISTEN: u16 = 10;
const CLOSE: u16 = 7;

/// What there is to say of one process.
#[derive(Debug, Serialize)]
pub struct Explanation {
    pub pid: u32,
    pub vpid: u32,
    pub name: String,
    pub cmdline: String,
    pub exe: String,
    pub cwd: String,
    pub user: String,
    pub state: String,
    pub started_ns_since_boot: u64,
    pub age_ns: i64,
    /// From the first process down to the parent.
    pub ancestors: Vec<Ancestor>,
    /// What keeps it running, in words.
    pub supervisor: String,
    pub unit: Option<String>,
    pub cgroup: String,
    pub container: Option<Container>,
    pub listens: Vec<String>,
    pub connections: usize,
    pub peers: Vec<String>,
    pub descriptors: usize,
    pub files: Vec<String>,
    pub warnings: Vec<String>,
}

/// A process on the way from the first one.
#[derive(Debug, Serialize)]
pub struct Ancestor {
    pub pid: u32,
    pub name: String,
}

/// The container that a process is in.
#[derive(Debug, Serialize)]
pub struct Container {
    pub id: String,
    pub name: String,
    pub image: String,
    pub runtime: String,
    pub pod: Option<String>,
    pub namespace: Option<String>,
}

/// How many files and peers are named one by one.
const LISTED: usize = 12;

/// What there is to say of `pid`.
pub fn explain(snapshot: &Snapshot, pid: u32) -> Option<Explanation> {
    let process = snapshot.process(pid)?;
    let text = |field| text(&process, field);
    let ancestors: Vec<Ancestor> = ancestors(snapshot, pid)
        .into_iter()
        .rev()
        .filter_map(|pid| Some(Ancestor { pid, name: self::text(&snapshot.process(pid)?, p::NAME) }))
        .collect();
    let container = (!matches!(text(c::ID).as_str(), "" | "host")).then(|| Container {
        id: text(c::FULL_ID),
        name: text(c::NAME),
        image: text(c::IMAGE),
        runtime: text(c::RUNTIME),
        pod: some(text(c::POD)),
        namespace: some(text(c::POD_NAMESPACE)),
    });
    let unit = some(text(p::UNIT));
    let (mut listens, mut peers, mut files, mut descriptors, mut connections) =
        (vec![], vec![], vec![], 0, 0);
    for row in process.descriptors() {
        descriptors += 1;
        if let Some(endpoint) = listening(&row) {
            push_new(&mut listens, endpoint);
        } else if let Some(peer) = connected(&row) {
            connections += 1;
            push_new(&mut peers, peer);
        } else if row.socket().is_none() && self::text(&row, f::KIND) == "REG" {
            push_new(&mut files, self::text(&row, f::PATH));
        }
    }
    files.truncate(LISTED);
    peers.truncate(LISTED);
    Some(Explanation {
        pid,
        vpid: process.task().vpid,
        name: text(p::NAME),
        cmdline: text(p::CMDLINE),
        exe: text(p::EXE),
        cwd: text(p::CWD),
        user: text(p::USER),
        state: symbol(&process, p::STATE),
        started_ns_since_boot: process.task().start_ns,
        age_ns: int(&process, p::AGE),
        supervisor: supervisor(&process, container.as_ref(), unit.as_deref(), &ancestors),
        ancestors,
        unit,
        cgroup: text(p::CGROUP_PATH),
        container,
        listens,
        connections,
        peers,
        descriptors,
        files,
        warnings: texts(&process, p::SUSPICIOUS),
    })
}

/// Ancestors of `pid`, the parent first. Ends where a parent is not known or comes twice.
pub fn ancestors(snapshot: &Snapshot, pid: u32) -> Vec<u32> {
    let mut found: Vec<u32> = Vec::new();
    let mut next = snapshot.process(pid).map_or(0, |process| process.ppid());
    while next != 0 && next != pid && !found.contains(&next) && found.len() < 64 {
        found.push(next);
        next = snapshot.process(next).map_or(0, |process| process.ppid());
    }
    found
}

/// What keeps a process running: the nearest thing that would be asked to stop it.
fn supervisor(
    process: &Process<'_>,
    container: Option<&Container>,
    unit: Option<&str>,
    ancestors: &[Ancestor],
) -> String {
    if let Value::Bool(true) = process.get(p::KTHREAD, None) {
        return "the kernel: it is a kernel thread".to_owned();
    }
    if let Some(container) = container {
        let pod = container.pod.as_ref().map(|pod| format!(" of pod {pod}")).unwrap_or_default();
        let image =
            if container.image.is_empty() { String::new() } else { format!(", image {}", container.image) };
        return format!("container {}{pod} ({}{image})", container.name, container.runtime);
    }
    if let Some(unit) = unit.filter(|unit| unit.ends_with(".service") || unit.ends_with(".socket")) {
        return format!("systemd unit {unit}");
    }
    const DAEMONS: [&str; 8] =
        ["cron", "crond", "atd", "supervisord", "runsv", "s6-supervise", "containerd-shim", "conmon"];
    if let Some(daemon) = ancestors.iter().rev().find(|a| DAEMONS.iter().any(|name| a.name.starts_with(name)))
    {
        return format!("{} ({})", daemon.name, daemon.pid);
    }
    if let Some(login) = ancestors
        .iter()
        .rev()
        .find(|a| matches!(a.name.as_str(), "sshd" | "sshd-session" | "login" | "tmux: server" | "screen"))
    {
        return format!("a session of {} ({})", login.name, login.pid);
    }
    match (unit, ancestors.last()) {
        (Some(unit), _) => format!("systemd {unit}"),
        (None, Some(parent)) => format!("its parent {} ({})", parent.name, parent.pid),
        (None, None) => "nothing that can be seen".to_owned(),
    }
}

/// `tcp 0.0.0.0:80` for a socket that takes requests.
fn listening(row: &Row<'_>) -> Option<String> {
    let socket = row.socket()?;
    let waits = match socket.sock_type {
        SOCK_STREAM => socket.state == LISTEN,
        _ => socket.state == CLOSE && socket.src_port != 0,
    };
    if !waits {
        return None;
    }
    if socket.family == 1 {
        return some(text(row, f::UNIX_PATH)).map(|path| format!("unix {path}"));
    }
    let protocol = if socket.sock_type == SOCK_STREAM { "tcp" } else { "udp" };
    Some(format!("{protocol} {}", endpoint(row, f::SRC_ADDR, f::SRC_PORT)?))
}

fn connected(row: &Row<'_>) -> Option<String> {
    let socket = row.socket()?;
    (matches!(socket.family, 2 | 10) && socket.dst_port != 0)
        .then(|| endpoint(row, f::DST_ADDR, f::DST_PORT))
        .flatten()
        .map(|peer| format!("{peer} {}", symbol::SOCKET_STATE.name(socket.state.into()).unwrap_or("")))
}

fn endpoint(row: &Row<'_>, address: FieldId, port: FieldId) -> Option<String> {
    match (row.get(address, None), row.get(port, None)) {
        (Value::Ip(address), Value::Int(port)) => {
            Some(std::net::SocketAddr::new(address, u16::try_from(port).ok()?).to_string())
        }
        _ => None,
    }
}

/// Whether the row takes requests on `port`.
pub fn serves(row: &Row<'_>, port: u16) -> bool {
    row.socket().is_some_and(|socket| matches!(socket.family, 2 | 10) && socket.src_port == port)
        && listening(row).is_some()
}

/// Whether the process has `path` open, runs it, or works in it.
pub fn holds(process: &Process<'_>, path: &str) -> bool {
    let same = |text: &str| text == path || text.strip_suffix(" (deleted)") == Some(path);
    same(&text(process, p::EXE))
        || same(&text(process, p::CWD))
        || process.descriptors().any(|row| same(&text(&row, f::PATH)) || same(&text(&row, f::UNIX_PATH)))
}

/// Whether the process is in the container or pod of this name, or of an id that begins so.
pub fn lives_in(process: &Process<'_>, name: &str) -> bool {
    let id = text(process, c::FULL_ID);
    !id.is_empty()
        && (id == name
            || (name.len() >= 4 && id.starts_with(name))
            || text(process, c::NAME) == name
            || text(process, c::POD) == name)
}

fn push_new(list: &mut Vec<String>, item: String) {
    if !item.is_empty() && !list.contains(&item) {
        list.push(item);
    }
}

fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn text(of: &dyn Fields, field: FieldId) -> String {
    match of.get(field, None) {
        Value::Text(text) => String::from_utf8_lossy(text).into_owned(),
        _ => String::new(),
    }
}

fn int(of: &dyn Fields, field: FieldId) -> i64 {
    match of.get(field, None) {
        Value::Int(number) => number,
        _ => 0,
    }
}

fn symbol(of: &dyn Fields, field: FieldId) -> String {
    match of.get(field, None) {
        Value::Uint(number) => symbol::PROCESS_STATE.name(number).unwrap_or("?").to_owned(),
        _ => String::new(),
    }
}

fn texts(of: &dyn Fields, field: FieldId) -> Vec<String> {
    let Value::List(list) = of.get(field, None) else { return Vec::new() };
    (0..list.len())
        .filter_map(|index| match list.get(index) {
            Value::Text(text) => Some(String::from_utf8_lossy(text).into_owned()),
            _ => None,
        })
        .collect()
}
