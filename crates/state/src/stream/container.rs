//! Containers: ids from cgroups, the rest from documents that events carry.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use super::Stream;
use super::transition::{Key, Step};

/// Containers that are kept.
const MAX_CONTAINERS: usize = 1 << 14;

/// A container as an event tells of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// Its short id.
    pub id: String,
    /// Its whole id.
    pub full_id: String,
    /// Its name.
    pub name: String,
    /// The image as it was asked for.
    pub image: String,
    /// The image's id.
    pub image_id: String,
    /// The image's repository.
    pub repository: String,
    /// The image's tag.
    pub tag: String,
    /// The image's digest.
    pub digest: String,
    /// The engine.
    pub runtime: &'static str,
    /// Its address.
    pub ip: String,
    /// Whether it runs privileged.
    pub privileged: Option<bool>,
    /// Whether it is a pod's sandbox.
    pub is_sandbox: bool,
    /// Its labels, ordered.
    pub labels: Vec<(String, String)>,
    /// Its mounts: source, destination, mode, writable, propagation.
    pub mounts: Vec<Mount>,
    /// How its health is asked for: a program and its arguments.
    pub probes: Vec<(Probe, Vec<String>)>,
    /// What the network plugin said.
    pub cni: String,
    /// The id of its pod's sandbox.
    pub sandbox_id: String,
    /// The labels of that, ordered.
    pub sandbox_labels: Vec<(String, String)>,
    /// Whether it has the host's PID, network and IPC namespaces.
    pub host_namespaces: [Option<bool>; 3],
    /// Cgroups that are this container's although their paths do not show it: nabe's own word.
    pub cgroups: Vec<String>,
    /// Whether it is gone.
    pub is_removed: bool,
    /// The document that told of it.
    pub document: Box<[u8]>,
}

/// What asks for a container's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// The engine.
    Health,
    /// Kubernetes: whether it lives.
    Liveness,
    /// Kubernetes: whether it is ready.
    Readiness,
}

impl Probe {
    const ALL: [(Self, &'static str); 3] = [
        (Self::Health, "Healthcheck"),
        (Self::Liveness, "LivenessProbe"),
        (Self::Readiness, "ReadinessProbe"),
    ];
}

/// A mount of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mount {
    /// What is mounted.
    pub source: String,
    /// Where.
    pub destination: String,
    /// How.
    pub mode: String,
    /// Whether it is writable.
    pub writable: bool,
    /// The propagation.
    pub propagation: String,
}

/// libsinsp's numbers of engines.
const RUNTIMES: &[(i64, &str)] = &[
    (0, "docker"),
    (1, "lxc"),
    (2, "libvirt-lxc"),
    (3, "mesos"),
    (4, "rkt"),
    (5, "custom"),
    (6, "cri"),
    (7, "containerd"),
    (8, "cri-o"),
    (9, "bpm"),
    (10, "static"),
    (11, "podman"),
];

impl Container {
    /// Out of the document of a container event.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let document: Value = serde_json::from_slice(text).ok()?;
        let of = document.get("container").unwrap_or(&document);
        let document = text.into();
        let text = |key: &str| of.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let number = of.get("type").and_then(Value::as_i64).unwrap_or(0);
        let flag = |key: &str| of.get(key).and_then(Value::as_bool);
        let mounts = of.get("Mounts").or_else(|| of.get("mounts")).and_then(Value::as_array);
        let probes = Probe::ALL.into_iter().filter_map(|(probe, key)| Some((probe, command(of.get(key)?)?)));
        Some(Self {
            id: text("id"),
            full_id: text("full_id"),
            name: text("name"),
            image: text("image"),
            image_id: text("imageid"),
            repository: text("imagerepo"),
            tag: text("imagetag"),
            digest: text("imagedigest"),
            runtime: RUNTIMES.iter().find(|(known, _)| *known == number).map_or("", |(_, name)| *name),
            ip: text("ip"),
            privileged: of.get("privileged").and_then(Value::as_bool),
            is_sandbox: of.get("is_pod_sandbox").and_then(Value::as_bool).unwrap_or(false),
            labels: labels(of.get("labels")),
            probes: probes.collect(),
            cni: text("cni_json"),
            sandbox_id: text("pod_sandbox_id"),
            sandbox_labels: labels(of.get("pod_sandbox_labels")),
            host_namespaces: [flag("host_pid"), flag("host_network"), flag("host_ipc")],
            mounts: mounts.into_iter().flatten().map(mount).collect(),
            cgroups: texts(of.get("cgroups")),
            is_removed: false,
            document,
        })
    }

    /// The value of a label.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }
}

impl Stream {
    /// The containers that were told of, in no order.
    pub fn containers(&self) -> impl Iterator<Item = &Container> {
        self.containers.values()
    }
}

fn labels(of: Option<&Value>) -> Vec<(String, String)> {
    let labels = of.and_then(Value::as_object).into_iter().flatten();
    let mut labels: Vec<_> =
        labels.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect();
    labels.sort();
    labels
}

fn texts(of: Option<&Value>) -> Vec<String> {
    let texts = of.and_then(Value::as_array).into_iter().flatten();
    texts.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The program and arguments of a probe: as Docker has it (`Test`), or taken apart.
fn command(of: &Value) -> Option<Vec<String>> {
    if let Some(exe) = of.get("exe").and_then(Value::as_str) {
        let mut command = vec![exe.to_owned()];
        command.extend(texts(of.get("args")));
        return Some(command);
    }
    let test = texts(of.get("Test"));
    match test.split_first()? {
        (kind, command) if kind == "CMD" && !command.is_empty() => Some(command.to_vec()),
        (kind, [command, ..]) if kind == "CMD-SHELL" => {
            Some(["/bin/sh", "-c", command].map(str::to_owned).to_vec())
        }
        _ => None,
    }
}

fn mount(of: &Value) -> Mount {
    let text = |key: &str| of.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    Mount {
        source: text("Source"),
        destination: text("Destination"),
        mode: text("Mode"),
        writable: of.get("RW").and_then(Value::as_bool).unwrap_or(false),
        propagation: text("Propagation"),
    }
}

/// An event that tells of something beside the system calls: a container that comes or goes, or a loss.
pub(crate) fn tell(stream: &mut Stream, step: &Step<'_>) {
    match step.text(Key::Name) {
        Some(b"container") => learn_from(stream, step.text(Key::Data)),
        Some(b"container_removed") => {
            // It is still spoken of by those who ran in it, until there are too many.
            let gone = step.text(Key::Data).and_then(Container::parse);
            if let Some(known) = gone.and_then(|gone| stream.containers.get_mut(gone.id.as_bytes())) {
                known.is_removed = true;
            }
        }
        Some(b"loss") => stream.lose(),
        _ => {}
    }
}

/// A container event.
pub(crate) fn learn(stream: &mut Stream, step: &Step<'_>) {
    learn_from(stream, step.text(Key::Json));
}

fn learn_from(stream: &mut Stream, document: Option<&[u8]>) {
    let Some(container) = document.and_then(Container::parse) else { return };
    let id = container.id.as_bytes();
    stream.teller.comm = [b"container:", id].concat().into();
    stream.teller.container = id.into();
    if stream.containers.len() >= MAX_CONTAINERS && !stream.containers.contains_key(id) {
        forget(stream);
    }
    settle(stream, &container);
    stream.containers.insert(container.id.as_bytes().into(), container);
    stream.everything_changed();
}

/// Puts threads into a container whose cgroups do not show it.
fn settle(stream: &mut Stream, container: &Container) {
    let hidden = container.cgroups.iter().filter(|path| id_of(&[b"=", path.as_bytes()].concat()).is_empty());
    let mut is_new = false;
    for path in hidden {
        is_new |= stream.known.places.add(path.as_bytes(), container.id.as_bytes());
    }
    if !is_new {
        return;
    }
    let places = &stream.known.places;
    stream.threads.each(|thread| {
        if id_of(&thread.cgroups).is_empty()
            && let Some(id) = places.find(&thread.cgroups)
        {
            thread.container = id;
        }
    });
}

/// Which container is in a cgroup whose path does not show it, as those of plain runtimes.
#[derive(Debug, Default)]
pub(crate) struct Places {
    by_path: HashMap<Box<[u8]>, Arc<[u8]>>,
}

impl Places {
    /// Whether that was new.
    fn add(&mut self, path: &[u8], id: &[u8]) -> bool {
        if path.len() < 2 || path.first() != Some(&b'/') || id.is_empty() {
            return false;
        }
        if self.by_path.len() >= MAX_CONTAINERS && !self.by_path.contains_key(path) {
            self.by_path.clear();
        }
        let before = self.by_path.insert(path.into(), id.into());
        before.is_none_or(|before| *before != *id)
    }

    /// The id of the container that one of these cgroups is, or lies in.
    pub(crate) fn find(&self, cgroups: &[u8]) -> Option<Arc<[u8]>> {
        if self.by_path.is_empty() {
            return None;
        }
        super::thread::list(cgroups).find_map(|entry| {
            let mut path = entry.splitn(2, |byte| *byte == b'=').nth(1)?;
            while path.len() > 1 {
                if let Some(id) = self.by_path.get(path) {
                    return Some(id.clone());
                }
                path = path.get(..path.iter().rposition(|byte| *byte == b'/')?)?;
            }
            None
        })
    }
}

/// Forgets containers that are gone, or else one in two.
#[cold]
fn forget(stream: &mut Stream) {
    let before = stream.containers.len();
    stream.containers.retain(|_, container| !container.is_removed);
    if stream.containers.len() == before {
        let mut odd = false;
        stream.containers.retain(|_, _| {
            odd = !odd;
            odd
        });
        stream.losses.containers += (before - stream.containers.len()) as u64;
    }
}

/// The short id of the container that cgroups lie in; empty outside containers.
#[must_use]
pub(crate) fn id_of(cgroups: &[u8]) -> &[u8] {
    const FULL: usize = 64;
    const SHORT: usize = 12;
    let id = super::thread::list(cgroups).find_map(|entry| {
        let is_hex = |word: &[u8]| word.len() == FULL && word.iter().all(u8::is_ascii_hexdigit);
        entry.split(|byte| !byte.is_ascii_alphanumeric()).rfind(|word| is_hex(word))
    });
    // nabe's own containers are called as the user called them.
    let own = || super::thread::list(cgroups).find_map(own_name);
    id.and_then(|id| id.get(..SHORT)).or_else(own).unwrap_or_default()
}

/// The container in `memory=/nabe/NAME/…`.
fn own_name(entry: &[u8]) -> Option<&[u8]> {
    let path = entry.splitn(2, |byte| *byte == b'=').nth(1)?;
    let name = path.strip_prefix(b"/nabe/")?.split(|byte| *byte == b'/').next()?;
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::super::Thread;
    use super::*;

    #[test]
    fn cgroups_tell_containers() {
        let id = "9dbcbd0c435fa2c17a26abbfabe95506e73c3a3c65869a6dbe83223a0123abcd";
        for path in
            ["/docker/ID", "/kubepods/pod1/ID", "/system.slice/docker-ID.scope", "/x/crio-ID.scope/container"]
        {
            let cgroups = format!("cpu=/\0memory={}\0", path.replace("ID", id));
            assert_eq!(id_of(cgroups.as_bytes()), b"9dbcbd0c435f", "{path}");
        }
        assert!(id_of(b"cpu=/user.slice\0").is_empty());
        assert_eq!(id_of(b"cpu=/\0pids=/nabe/web-1/inner\0"), b"web-1");
        assert!(id_of(b"cpu=/nabe\0pids=/nabe/\0memory=/x/nabe/web\0").is_empty());
    }

    #[test]
    fn documents_tell_places_that_paths_do_not_show() {
        let mut stream = Stream::new();
        let thread = |tid, path: &str| Thread {
            cgroups: format!("cpu=/\0pids={path}\0").into_bytes().into(),
            ..Thread::new(tid)
        };
        stream.add_thread(thread(1, "/mine/web"));
        stream.add_thread(thread(2, "/mine/web2"));
        let document = br#"{"container":{"id":"web","cgroups":["/mine/web","/","x",""]}}"#;
        learn_from(&mut stream, Some(document));
        stream.add_thread(thread(3, "/mine/web/inner"));
        stream.add_thread(thread(4, "/nabe/other"));
        let ids: Vec<String> = (1..5)
            .filter_map(|tid| stream.thread(tid))
            .map(|thread| String::from_utf8_lossy(&thread.container).into_owned())
            .collect();
        assert_eq!(ids, ["web", "", "web", "other"]);
        // What a path shows is so whatever a document says.
        learn_from(&mut stream, Some(br#"{"container":{"id":"liar","cgroups":["/nabe/other","/nabe"]}}"#));
        assert_eq!(stream.thread(4).map(|thread| thread.container.to_vec()), Some(b"other".to_vec()));
        // Another one in the place of the first.
        learn_from(&mut stream, Some(br#"{"container":{"id":"next","cgroups":["/mine/web"]}}"#));
        assert_eq!(stream.thread(1).map(|thread| thread.container.to_vec()), Some(b"next".to_vec()));
    }

    #[test]
    fn documents_tell_containers() {
        let text = br#"{"container":{"id":"9d","name":"web","type":7,"imagetag":"1","privileged":true,
            "labels":{"b":"2","a":"1"},"Mounts":[{"Source":"/a","Destination":"/b","RW":true}]}}"#;
        let container = Container::parse(text).expect("a document");
        assert_eq!((container.runtime, container.privileged), ("containerd", Some(true)));
        assert_eq!(container.label("b"), Some("2"));
        assert!(container.mounts.iter().all(|mount| mount.writable && mount.source == "/a"));
        assert_eq!(Container::parse(b"{"), None);
        let text = br#"{"container":{"id":"9d","host_pid":true,"cni_json":"{}","Healthcheck":
            {"Test":["CMD-SHELL","/check"]},"LivenessProbe":{"exe":"/live","args":["-v"]}}}"#;
        let container = Container::parse(text).expect("a document");
        assert_eq!(
            container.probes,
            [
                (Probe::Health, ["/bin/sh", "-c", "/check"].map(str::to_owned).to_vec()),
                (Probe::Liveness, ["/live", "-v"].map(str::to_owned).to_vec()),
            ]
        );
        assert_eq!(container.host_namespaces, [Some(true), None, None]);
    }
}
