//! Container identity from a cgroup path: a table of patterns and the walk
//! that applies it.
//!
//! A path is read from its innermost component outwards and the first match
//! wins: with nested containers (kind, k3d, docker-in-docker) a process belongs
//! to the innermost one, and everything below a container's cgroup (`init`,
//! `container`, `system.slice/…` of an inner systemd) belongs to it.
//! [`nesting`] lists the outer ones as well.

use std::borrow::Cow;

use crate::Engine;
use crate::cgroup::{components_inward, strip_deleted, unescape};

/// Which container a cgroup path belongs to, as far as the path itself says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity<'a> {
    /// The container's full id, or its name for engines that use names
    /// (systemd-nspawn, LXC, plain OCI runtimes). systemd's escapes are undone.
    pub id: Cow<'a, str>,
    /// Whose it is; [`Engine::Unknown`] when the path does not say, as with a
    /// bare id under `kubepods` or under a custom cgroup parent.
    pub engine: Engine,
    /// Uid of the Kubernetes pod with its dashes restored, or the id of the
    /// Podman pod.
    pub pod_uid: Option<Cow<'a, str>>,
}

impl Identity<'_> {
    /// The first 12 characters of a hexadecimal id, any other id whole.
    pub fn short_id(&self) -> &str {
        short_id(&self.id)
    }

    /// The same, borrowing nothing.
    pub fn into_owned(self) -> Identity<'static> {
        Identity {
            id: Cow::Owned(self.id.into_owned()),
            engine: self.engine,
            pod_uid: self.pod_uid.map(|uid| Cow::Owned(uid.into_owned())),
        }
    }
}

/// The first 12 characters of a 64-digit hexadecimal id, any other id whole.
pub(crate) fn short_id(id: &str) -> &str {
    match id.get(..12) {
        Some(short) if is_hex64(id.as_bytes()) => short,
        _ => id,
    }
}

/// What an id may look like.
#[derive(Clone, Copy)]
enum Shape {
    /// 64 lower-case hexadecimal digits.
    Hex64,
    /// BuildKit's 25 lower-case base-36 digits.
    Base36,
    /// 8-4-4-4-12 hexadecimal digits; Garden also cuts the tail.
    Uuid,
    /// ECS on Fargate: 32 hexadecimal digits, a dash, decimal digits.
    Fargate,
    /// A name that an engine lets its user choose.
    Name,
    /// A name with systemd's `\x2d` escapes.
    Escaped,
}

/// What stands around the component.
#[derive(Clone, Copy)]
enum Place {
    /// Anywhere.
    Any,
    /// The parent component has this name.
    In(&'static str),
    /// The parent has this name and is a top-level cgroup.
    InTop(&'static str),
    /// The parent's parent has this name.
    Under(&'static str),
}

/// What a matching component means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// The container's own cgroup.
    Payload,
    /// The cgroup of the process that watches over it, on the host.
    Supervisor,
    /// Looks like a container but is none: go on outwards.
    Not,
}

struct Rule {
    place: Place,
    prefix: &'static str,
    suffix: &'static str,
    shape: Shape,
    role: Role,
    engine: Engine,
}

const fn rule(
    engine: Engine,
    role: Role,
    place: Place,
    prefix: &'static str,
    shape: Shape,
    suffix: &'static str,
) -> Rule {
    Rule { place, prefix, suffix, shape, role, engine }
}

use Engine::*;
use Place::*;
use Role::*;
use Shape::*;

/// The patterns, tried in order for each component. Sources of real paths: the
/// corpus in `tests/corpus/`.
#[rustfmt::skip]
static RULES: &[Rule] = &[
    // systemd driver: <prefix>-<id>.scope. CRI-O and podman drop ".scope" with cgroupfs.
    rule(Docker,     Payload,    Any, "docker-",                Hex64, ".scope"),
    rule(Containerd, Payload,    Any, "cri-containerd-",        Hex64, ".scope"),
    rule(Containerd, Payload,    Any, "cri-containerd-",        Hex64, ""),
    rule(Containerd, Payload,    Any, "containerd-",            Hex64, ".scope"),
    rule(Containerd, Payload,    Any, "nerdctl-",               Hex64, ".scope"),
    rule(CriO,       Payload,    Any, "crio-",                  Hex64, ".scope"),
    rule(CriO,       Payload,    Any, "crio-",                  Hex64, ""),
    rule(CriO,       Supervisor, Any, "crio-conmon-",           Hex64, ".scope"),
    rule(CriO,       Supervisor, Any, "crio-conmon-",           Hex64, ""),
    rule(Podman,     Payload,    Any, "libpod-",                Hex64, ".scope"),
    rule(Podman,     Payload,    Any, "libpod-",                Hex64, ""),
    // quadlet and --cgroups=split: <unit>.service/libpod-payload-<id>
    rule(Podman,     Payload,    Any, "libpod-payload-",        Hex64, ""),
    rule(Podman,     Supervisor, Any, "libpod-conmon-",         Hex64, ".scope"),
    rule(Podman,     Supervisor, Any, "libpod-conmon-",         Hex64, ""),
    // A plain runtime with systemd's driver and no path of its own.
    rule(Runc,       Payload,    Any, "runc-",                  Name,  ".scope"),
    rule(Crun,       Payload,    Any, "crun-",                  Name,  ".scope"),
    rule(Youki,      Payload,    Any, "youki-",                 Name,  ".scope"),
    // cgroupfs driver: <engine>/<id>.
    rule(Docker,     Payload,    In("docker"), "",              Hex64, ""),
    rule(Docker,     Payload,    In("docker"), "",              Hex64, ".scope"),
    rule(Docker,     Payload,    InTop("moby"), "",             Hex64, ""),
    rule(Docker,     Payload,    Under("ecs"), "",              Hex64, ""),
    rule(Containerd, Payload,    Under("ecs"), "",              Fargate, ""),
    rule(Containerd, Payload,    In("ecs"), "",                 Fargate, ""),
    rule(Containerd, Payload,    InTop("default"), "",          Hex64, ""),
    rule(Containerd, Payload,    InTop("k8s.io"), "",           Hex64, ""),
    rule(Buildkit,   Payload,    In("buildkit"), "",            Base36, ""),
    rule(Podman,     Not,        In("libpod_parent"), "",       Hex64, ""), // a pod
    rule(Garden,     Payload,    In("garden"), "",              Uuid,  ""),
    rule(Garden,     Payload,    Under("garden"), "",           Uuid,  ""),
    rule(Mesos,      Payload,    In("mesos"), "",               Uuid,  ""),
    rule(Nabe,       Payload,    InTop("nabe"), "",             Name,  ""),
    rule(Nabe,       Payload,    Any, "nabe-",                  Escaped, ".scope"),
    // LXC 4+: lxc.payload.<name>; before: lxc/<name>, lxc.payload/<name>.
    rule(Lxc,        Payload,    Any, "lxc.payload.",           Name,  ""),
    rule(Lxc,        Payload,    In("lxc.payload"), "",         Name,  ""),
    rule(Lxc,        Payload,    InTop("lxc"), "",              Name,  ""),
    rule(Lxc,        Supervisor, Any, "lxc.monitor.",           Name,  ""),
    rule(Lxc,        Supervisor, In("lxc.monitor"), "",         Name,  ""),
    // systemd-machined: a VM of libvirt is registered there too.
    rule(Unknown,    Not,        Any, "machine-qemu",           Escaped, ".scope"),
    rule(LibvirtLxc, Payload,    Any, "machine-lxc\\x2d",       Escaped, ".scope"),
    rule(Nspawn,     Payload,    In("machine.slice"), "machine-", Escaped, ".scope"),
    rule(Nspawn,     Payload,    Any, "systemd-nspawn@",        Escaped, ".service"),
    // Kubernetes with cgroupfs (pod…/<id>), a custom --cgroup-parent, any other
    // containerd namespace: an id, but whose?
    rule(Unknown,    Payload,    Any, "",                       Hex64, ""),
];

/// Last part of a systemd driver's `slice:prefix:id` that a cgroupfs driver
/// took for a directory name.
static TRIPLES: &[(&str, Engine)] = &[
    ("cri-containerd", Containerd),
    ("containerd", Containerd),
    ("nerdctl", Containerd),
    ("docker", Docker),
    ("crio", CriO),
    ("libpod", Podman),
    ("buildkit", Buildkit),
    ("runc", Runc),
    ("crun", Crun),
    ("youki", Youki),
];

/// The innermost container that this cgroup path belongs to.
///
/// Supervisors (conmon, `lxc.monitor`, systemd-nspawn's own process) are not in
/// the container that they watch; see [`supervised`].
pub fn identify(cgroup_path: &[u8]) -> Option<Identity<'_>> {
    nesting(cgroup_path).next()
}

/// The first of several paths of one task (v1 hierarchies, v2) that names a
/// container.
pub fn identify_any<'a>(cgroup_paths: &[&'a [u8]]) -> Option<Identity<'a>> {
    cgroup_paths.iter().find_map(|path| identify(path))
}

/// Every container around this cgroup, innermost first.
pub fn nesting(cgroup_path: &[u8]) -> impl Iterator<Item = Identity<'_>> {
    matches(cgroup_path).filter(|(role, _)| *role == Payload).map(|(_, identity)| identity)
}

/// The container that the processes of this cgroup watch over from outside:
/// conmon, the LXC monitor, systemd-nspawn itself.
pub fn supervised(cgroup_path: &[u8]) -> Option<Identity<'_>> {
    let (role, identity) = matches(cgroup_path).next()?;
    (role == Supervisor).then_some(identity)
}

fn matches(cgroup_path: &[u8]) -> impl Iterator<Item = (Role, Identity<'_>)> {
    let path = strip_deleted(cgroup_path);
    let mut child: &[u8] = b"";
    components_inward(path).filter_map(move |(before, component)| {
        let inner = std::mem::replace(&mut child, component);
        match_component(before, component, inner)
    })
}

/// `before` is the path up to the component, `inner` the component below it.
fn match_component<'a>(before: &'a [u8], component: &'a [u8], inner: &[u8]) -> Option<(Role, Identity<'a>)> {
    if component.contains(&b':') {
        return match_triple(before, component);
    }
    let mut outward = components_inward(before).map(|(_, name)| name);
    let (parent, grandparent) = (outward.next(), outward.next());
    for rule in RULES {
        let placed = match rule.place {
            Any => true,
            In(name) => parent == Some(name.as_bytes()),
            InTop(name) => parent == Some(name.as_bytes()) && grandparent.is_none(),
            Under(name) => grandparent == Some(name.as_bytes()),
        };
        if !placed {
            continue;
        }
        let Some(id) = component
            .strip_prefix(rule.prefix.as_bytes())
            .and_then(|rest| rest.strip_suffix(rule.suffix.as_bytes()))
            .filter(|id| fits(rule.shape, id))
            .and_then(|id| std::str::from_utf8(id).ok())
        else {
            continue;
        };
        let id = match rule.shape {
            Escaped => unescape(id)?,
            _ => Cow::Borrowed(id),
        };
        let role = match (rule.role, rule.engine) {
            (Not, _) => return None,
            // systemd-nspawn keeps its own process beside the payload.
            (Payload, Nspawn) if inner == b"supervisor" => Supervisor,
            (role, _) => role,
        };
        return Some((role, Identity { id, engine: rule.engine, pod_uid: pod(before) }));
    }
    None
}

/// `kubepods-burstable-pod<uid>.slice:cri-containerd:<id>`.
fn match_triple<'a>(before: &'a [u8], component: &'a [u8]) -> Option<(Role, Identity<'a>)> {
    let mut parts = component.rsplitn(3, |b| *b == b':');
    let (id, prefix, slice) = (parts.next()?, parts.next()?, parts.next()?);
    let &(_, engine) = TRIPLES.iter().find(|(name, _)| name.as_bytes() == prefix)?;
    let shape = match engine {
        Runc | Crun | Youki => Name,
        Buildkit => Base36,
        _ => Hex64,
    };
    let id = std::str::from_utf8(id).ok().filter(|id| fits(shape, id.as_bytes()))?;
    let pod_uid = pod_of_component(slice).or_else(|| pod(before));
    Some((Payload, Identity { id: Cow::Borrowed(id), engine, pod_uid }))
}

/// The pod of the nearest enclosing pod cgroup, if there is one.
fn pod(before: &[u8]) -> Option<Cow<'_, str>> {
    let mut outward = components_inward(before).peekable();
    while let Some((_, name)) = outward.next() {
        if let Some(uid) = pod_of_component(name) {
            return Some(uid);
        }
        if is_hex64(name) {
            // Podman's cgroupfs pods: libpod_parent/<pod id>/libpod-<id>. Any
            // other id is an outer container: its pod is not ours.
            let in_libpod = outward.peek().is_some_and(|(_, up)| *up == b"libpod_parent");
            return in_libpod.then(|| std::str::from_utf8(name).ok().map(Cow::Borrowed)).flatten();
        }
    }
    None
}

/// `pod<uid>`, `kubepods-burstable-pod<uid with underscores>.slice`,
/// `machine-libpod_pod_<id>.slice`.
fn pod_of_component(name: &[u8]) -> Option<Cow<'_, str>> {
    let name = std::str::from_utf8(name).ok()?;
    let Some(unit) = name.strip_suffix(".slice") else {
        let uid = name.strip_prefix("pod").filter(|uid| is_pod_uid(uid, b'-'))?;
        return Some(Cow::Borrowed(uid));
    };
    if let Some((_, id)) = unit.split_once("libpod_pod_") {
        return is_hex64(id.as_bytes()).then_some(Cow::Borrowed(id));
    }
    let (before, uid) = unit.rsplit_once("-pod")?;
    if !before.contains("kubepods") || !is_pod_uid(uid, b'_') {
        return None;
    }
    if uid.contains('_') { Some(Cow::Owned(uid.replace('_', "-"))) } else { Some(Cow::Borrowed(uid)) }
}

/// A uuid with this between its groups (kubelet turns dashes into underscores in
/// a slice's name, where they mean nesting), or the bare hash of a static pod.
fn is_pod_uid(uid: &str, between: u8) -> bool {
    (8..=64).contains(&uid.len()) && uid.bytes().all(|b| b.is_ascii_hexdigit() || b == between)
}

fn fits(shape: Shape, id: &[u8]) -> bool {
    match shape {
        Hex64 => is_hex64(id),
        Base36 => id.len() == 25 && id.iter().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase()),
        Uuid => is_uuid_like(id),
        Fargate => {
            let (task, tail) = id.split_at(id.len().min(32));
            task.len() == 32
                && task.iter().all(|b| is_lower_hex(*b))
                && tail
                    .strip_prefix(b"-")
                    .is_some_and(|digits| !digits.is_empty() && digits.iter().all(u8::is_ascii_digit))
        }
        Name => {
            (1..=255).contains(&id.len())
                && id.iter().all(|b| b.is_ascii_alphanumeric() || b"_.+-".contains(b))
                && !id.starts_with(b".")
        }
        Escaped => {
            (1..=255).contains(&id.len())
                && id.iter().all(|b| b.is_ascii_alphanumeric() || b"_.+-\\:".contains(b))
        }
    }
}

/// At least the first two groups of 8-4-4-4-12 hexadecimal digits.
fn is_uuid_like(id: &[u8]) -> bool {
    let mut groups = 0;
    for (group, want) in id.split(|b| *b == b'-').zip([8, 4, 4, 4, 12, 0]) {
        if group.is_empty() || group.len() > want || !group.iter().all(u8::is_ascii_hexdigit) {
            return false;
        }
        if groups == 0 && group.len() != want {
            return false;
        }
        groups += 1;
    }
    groups >= 4
}

fn is_lower_hex(b: u8) -> bool {
    matches!(b, b'0'..=b'9' | b'a'..=b'f')
}

pub(crate) fn is_hex64(id: &[u8]) -> bool {
    id.len() == 64 && id.iter().all(|b| is_lower_hex(*b))
}

/// Entry for fuzzers: reads any bytes as a cgroup path in every way, and panics
/// where an answer contradicts the path or another answer.
#[doc(hidden)]
pub fn fuzz_cgroup_path(path: &[u8]) {
    let first = identify(path);
    assert_eq!(first, nesting(path).next());
    for identity in nesting(path) {
        assert!(!identity.id.is_empty() && identity.id.len() <= 255);
        assert!(!identity.id.contains('/'));
        if let Cow::Borrowed(id) = &identity.id {
            assert!(memchr::memmem::find(path, id.as_bytes()).is_some());
        }
        if let Some(uid) = &identity.pod_uid {
            assert!((8..=64).contains(&uid.len()) && !uid.contains('_'));
        }
    }
    if let Some(watched) = supervised(path) {
        assert!(!watched.id.is_empty());
    }
    if let Some(unit) = crate::unit(path) {
        assert!(crate::unit_kind(unit).is_some());
    }
    let _ = crate::owner_uid(path);
}
