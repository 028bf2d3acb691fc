//! Containers: ids from cgroups, the rest from documents that events carry.

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
    /// The document that told of it.
    pub document: Box<[u8]>,
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
        let labels = of.get("labels").and_then(Value::as_object);
        let mounts = of.get("Mounts").or_else(|| of.get("mounts")).and_then(Value::as_array);
        let mut labels: Vec<_> = labels
            .into_iter()
            .flatten()
            .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
            .collect();
        labels.sort();
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
            labels,
            mounts: mounts.into_iter().flatten().map(mount).collect(),
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

/// A container event.
pub(crate) fn learn(stream: &mut Stream, step: &Step<'_>) {
    let document = if step.event.id.name() == "asyncevent" {
        match step.text(Key::Name) {
            Some(b"container") => step.text(Key::Data),
            _ => None,
        }
    } else {
        step.text(Key::Json)
    };
    let Some(container) = document.and_then(Container::parse) else { return };
    let id = container.id.as_bytes();
    stream.teller.comm = [b"container:", id].concat().into();
    stream.teller.container = id.into();
    if stream.containers.len() < MAX_CONTAINERS || stream.containers.contains_key(id) {
        stream.containers.insert(id.into(), container);
        stream.everything_changed();
    } else {
        stream.losses.containers += 1;
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
    id.and_then(|id| id.get(..SHORT)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
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
    }
}
