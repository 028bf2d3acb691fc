//! What is known of a container beyond its id.

use std::path::PathBuf;

use crate::Engine;
use crate::identity::short_id;

/// A container as its engine's files or API describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// Full id, or the name where the engine has no ids.
    pub id: String,
    /// Whose it is.
    pub engine: Engine,
    /// The engine's namespace that holds it: containerd's namespace, an LXD
    /// project; `None` where the engine has none.
    pub namespace: Option<String>,
    /// The name its user knows: without Docker's leading slash; for Kubernetes
    /// the container's name in the pod; the compose service for containerd.
    pub name: Option<String>,
    /// The image as it was asked for (`nginx:1.27`).
    pub image: Option<String>,
    /// The image's content id (`sha256:…`).
    pub image_id: Option<String>,
    /// Labels, sorted by key, each key once.
    pub labels: Vec<(String, String)>,
    /// Kubernetes or Podman pod.
    pub pod: Option<Pod>,
    /// Whether it only holds a pod's namespaces (the pause container).
    pub infra: bool,
    /// The container's first process, in the host's PID namespace.
    pub init_pid: Option<u32>,
    /// OCI bundle directory.
    pub bundle: Option<PathBuf>,
    /// Root file system as the host sees it.
    pub rootfs: Option<PathBuf>,
    /// The writable layer: a file that is not below it came with the image.
    pub upper_dir: Option<PathBuf>,
    /// Start of the container, in nanoseconds since the Unix epoch.
    pub started_at: Option<i64>,
    /// Cgroups that a plain runtime recorded as this container's; empty where the path names it.
    pub cgroups: Vec<String>,
    /// Which file or API said so.
    pub source: &'static str,
    /// The container around this one, when this one's own engine runs inside
    /// it and out of reach (kind, k3d, docker-in-docker).
    pub within: Option<Box<Metadata>>,
}

impl Metadata {
    /// Nothing known but whose it is.
    pub(crate) fn new(id: impl Into<String>, engine: Engine, source: &'static str) -> Self {
        Metadata {
            id: id.into(),
            engine,
            namespace: None,
            name: None,
            image: None,
            image_id: None,
            labels: Vec::new(),
            pod: None,
            infra: false,
            init_pid: None,
            bundle: None,
            rootfs: None,
            upper_dir: None,
            started_at: None,
            cgroups: Vec::new(),
            source,
            within: None,
        }
    }

    /// The first 12 characters of a hexadecimal id, any other id whole.
    pub fn short_id(&self) -> &str {
        short_id(&self.id)
    }

    /// A label's value.
    pub fn label(&self, key: &str) -> Option<&str> {
        let at = self.labels.binary_search_by(|(k, _)| k.as_str().cmp(key)).ok()?;
        self.labels.get(at).map(|(_, value)| value.as_str())
    }

    /// Takes the labels and what Kubernetes' labels say about the pod.
    pub(crate) fn set_labels(&mut self, labels: impl IntoIterator<Item = (String, String)>) {
        self.labels = labels.into_iter().collect();
        self.labels.sort();
        self.labels.dedup_by(|a, b| a.0 == b.0);
        if self.pod.is_none() {
            self.pod = Pod::from_pairs(|key| self.label(key).map(str::to_owned));
        }
        let kind = self.label("io.kubernetes.docker.type").or_else(|| self.label("io.cri-containerd.kind"));
        self.infra |= matches!(kind, Some("podsandbox" | "sandbox"));
    }

    /// Keeps what is known, takes the rest from another description of the
    /// same container.
    pub fn fill_from(&mut self, other: Metadata) {
        fn fill<T>(mine: &mut Option<T>, theirs: Option<T>) {
            if mine.is_none() {
                *mine = theirs;
            }
        }
        fill(&mut self.namespace, other.namespace);
        if self.name.is_none() && other.name.is_some() {
            self.source = other.source;
        }
        fill(&mut self.name, other.name);
        fill(&mut self.image, other.image);
        fill(&mut self.image_id, other.image_id);
        fill(&mut self.pod, other.pod);
        fill(&mut self.init_pid, other.init_pid);
        fill(&mut self.bundle, other.bundle);
        fill(&mut self.rootfs, other.rootfs);
        fill(&mut self.upper_dir, other.upper_dir);
        fill(&mut self.started_at, other.started_at);
        fill(&mut self.within, other.within);
        self.infra |= other.infra;
        if self.labels.is_empty() {
            self.labels = other.labels;
        }
        if self.cgroups.is_empty() {
            self.cgroups = other.cgroups;
        }
    }
}

/// The pod that a container is part of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// The pod's name.
    pub name: Option<String>,
    /// Its Kubernetes namespace; `None` for a Podman pod.
    pub namespace: Option<String>,
    /// Its uid with dashes, or the Podman pod's id.
    pub uid: Option<String>,
    /// The container's name within the pod; `None` for the pause container.
    pub container_name: Option<String>,
}

impl Pod {
    /// From the labels or annotations that kubelet gives every container.
    pub(crate) fn from_pairs(get: impl Fn(&str) -> Option<String>) -> Option<Pod> {
        let pod = Pod {
            name: get("io.kubernetes.pod.name"),
            namespace: get("io.kubernetes.pod.namespace"),
            uid: get("io.kubernetes.pod.uid"),
            container_name: get("io.kubernetes.container.name").filter(|name| name != "POD"),
        };
        (pod.name.is_some() || pod.uid.is_some()).then_some(pod)
    }
}

/// Something about an engine that the user should hear, in one sentence.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Note {
    /// The engine it is about.
    pub engine: Engine,
    /// One sentence that names the engine, the socket or file and what
    /// happened, without a full stop. File names in it are not escaped.
    pub message: String,
}
