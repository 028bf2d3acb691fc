//! containerd's own files: the metadata database
//! `<root>/io.containerd.metadata.v1.bolt/meta.db` (buckets
//! `v1/<namespace>/containers/<id>`: `image`, `labels`, …) and the running tasks'
//! bundles `<state>/io.containerd.runtime.v2.task/<namespace>/<id>/`.

use std::path::{Path, PathBuf};

use super::bolt::{self, Db};
use super::oci::{self, Spec};
use super::{Unreadable, covers, file, plain_name, subdirs, unnamed};
use crate::identity::is_hex64;
use crate::resolver::Item;
use crate::{Config, Engine, Metadata, User};

/// Root and state directories of containerd itself, k3s, RKE2, k0s, MicroK8s
/// and of the containerd that a lone dockerd starts.
const DEFAULTS: &[&str] = &[
    "/var/lib/containerd",
    "/run/containerd",
    "/var/lib/rancher/k3s/agent/containerd",
    "/run/k3s/containerd",
    "/var/lib/rancher/rke2/agent/containerd",
    "/var/lib/k0s/containerd",
    "/run/k0s/containerd",
    "/var/snap/microk8s/common/var/lib/containerd",
    "/var/snap/microk8s/common/run/containerd",
    "/var/lib/docker/containerd/daemon",
    "/run/docker/containerd/daemon",
];
const META: &str = "io.containerd.metadata.v1.bolt/meta.db";
pub(crate) const TASKS: &str = "io.containerd.runtime.v2.task";
/// dockerd keeps its containers here.
pub(crate) const MOBY: &str = "moby";

/// Root and state directories, in one list: what is in them tells which is which.
/// Each with the rootless user who can write it.
pub(crate) fn roots(config: &Config, users: &[User]) -> Vec<(PathBuf, Option<u32>)> {
    let theirs = |user: &User| (user.home.join(".local/share/containerd"), Some(user.uid));
    config
        .roots_of(Engine::Containerd, DEFAULTS)
        .map(|path| (path, None))
        .chain(users.iter().map(theirs))
        .collect()
}

/// Whether the directory holds containerd's files that we can read.
pub(crate) fn readable(root: &Path) -> bool {
    file::open(&root.join(META)).is_ok() || std::fs::read_dir(root.join(TASKS)).is_ok()
}

/// Describes the items that containerd knows. An item without an id gets one
/// from the task whose recorded cgroup it is.
pub(crate) fn read(
    roots: &[(PathBuf, Option<u32>)],
    items: &[(usize, Item)],
    found: &mut Vec<(usize, Metadata)>,
) {
    for (root, owner) in roots {
        from_tasks(&root.join(TASKS), &of_owner(items, *owner), found);
    }
    let mut named = items.to_vec();
    for (at, item) in &mut named {
        if item.id.is_none() {
            item.id = found.iter().find(|(i, _)| i == at).map(|(_, meta)| meta.id.clone());
        }
    }
    for (root, owner) in roots {
        let database = root.join(META);
        if database.exists() {
            let items = of_owner(&named, *owner);
            let known = bolt::with(&database, |db| from_database(db, &items));
            found.extend(known.unwrap_or_default());
        }
    }
}

/// The items that the owner of a directory may speak about.
fn of_owner(items: &[(usize, Item)], owner: Option<u32>) -> Vec<(usize, Item)> {
    items.iter().filter(|(_, item)| owner.is_none() || item.uid == owner).cloned().collect()
}

fn from_database(db: &Db, items: &[(usize, Item)]) -> Result<Vec<(usize, Metadata)>, Unreadable> {
    let Some(v1) = db.bucket(&[b"v1"])? else {
        return Ok(Vec::new());
    };
    let mut namespaces = Vec::new();
    db.each(&v1, &mut |name, item| {
        if let bolt::Item::Bucket(bucket) = item {
            namespaces.push((String::from_utf8_lossy(name).into_owned(), bucket));
        }
        Ok(())
    })?;
    let mut found = Vec::new();
    for (namespace, bucket) in namespaces {
        let Some(containers) = db.bucket_in(&bucket, b"containers")? else {
            continue;
        };
        for (at, item) in items {
            let Some(id) = &item.id else { continue };
            if let Some(bucket) = db.bucket_in(&containers, id.as_bytes())? {
                found.push((*at, from_bucket(db, &bucket, &namespace, id)?));
            }
        }
    }
    Ok(found)
}

fn from_bucket(db: &Db, bucket: &bolt::Bucket, namespace: &str, id: &str) -> Result<Metadata, Unreadable> {
    let mut found = Metadata::new(id, engine_of(namespace), "containerd meta.db");
    found.namespace = Some(namespace.to_owned());
    let image = db.value(bucket, b"image")?.and_then(|image| String::from_utf8(image).ok());
    found.image = image.filter(|image| !image.is_empty());
    if let Some(labels) = db.bucket_in(bucket, b"labels")? {
        let mut pairs = Vec::new();
        db.each(&labels, &mut |key, item| {
            if let bolt::Item::Value(value) = item {
                pairs.push((
                    String::from_utf8_lossy(key).into_owned(),
                    String::from_utf8_lossy(&value).into_owned(),
                ));
            }
            Ok(())
        })?;
        found.set_labels(pairs);
    }
    name_from_labels(&mut found);
    Ok(found)
}

/// nerdctl's name, the pod's container, the compose service, else the id.
/// dockerd's containers are left unnamed: only dockerd's files name them.
pub(crate) fn name_from_labels(found: &mut Metadata) {
    if found.engine != Engine::Containerd {
        return;
    }
    let name = found
        .label("nerdctl/name")
        .or_else(|| found.pod.as_ref()?.container_name.as_deref())
        .or_else(|| found.label("com.docker.compose.service"))
        .or_else(|| found.infra.then(|| found.pod.as_ref()?.name.as_deref()).flatten())
        .unwrap_or(&found.id)
        .to_owned();
    found.name = Some(name);
}

fn engine_of(namespace: &str) -> Engine {
    if namespace == MOBY { Engine::Docker } else { Engine::Containerd }
}

/// Running tasks by id; for items without one, by the cgroup path in the bundle.
fn from_tasks(tasks: &Path, items: &[(usize, Item)], found: &mut Vec<(usize, Metadata)>) {
    let nameless = items.iter().any(|(_, item)| item.id.is_none());
    for namespace in subdirs(tasks) {
        let directory = tasks.join(&namespace);
        for (at, item) in items {
            let Some(id) = item.id.as_deref().filter(|id| plain_name(id)) else {
                continue;
            };
            let bundle = directory.join(id);
            if bundle.join("init.pid").exists() {
                found.push((*at, from_bundle(&bundle, &namespace, id, None)));
            }
        }
        if !nameless || namespace == MOBY {
            continue;
        }
        // A hexadecimal id would be in the path, and have been found there.
        for id in subdirs(&directory).into_iter().filter(|id| !is_hex64(id.as_bytes())) {
            let bundle = directory.join(&id);
            let Some(spec) = Spec::read(&bundle) else { continue };
            let Some(cgroup) = spec.cgroups_path() else { continue };
            let mut matching =
                items.iter().filter(|(_, item)| item.id.is_none() && covers(cgroup, &item.paths)).peekable();
            if matching.peek().is_some() {
                let meta = from_bundle(&bundle, &namespace, &id, Some(&spec));
                found.extend(matching.map(|(at, _)| (*at, meta.clone())));
            }
        }
    }
}

/// Whether a bundle is that of a task.
pub(crate) fn is_task(bundle: &Path) -> bool {
    bundle.ancestors().nth(2).and_then(Path::file_name).is_some_and(|name| name == TASKS)
}

/// A task's bundle: pid, root file system and, for CRI, annotations.
pub(crate) fn from_bundle(bundle: &Path, namespace: &str, id: &str, spec: Option<&Spec>) -> Metadata {
    let mut found = Metadata::new(id, engine_of(namespace), "containerd task");
    found.namespace = Some(namespace.to_owned());
    found.init_pid = oci::read_pid(&bundle.join("init.pid"));
    found.bundle = Some(bundle.to_path_buf());
    found.rootfs = Some(bundle.join("rootfs"));
    let read;
    let spec = match spec {
        Some(spec) => Some(spec),
        None => {
            read = Spec::read(bundle);
            read.as_ref()
        }
    };
    if let Some(spec) = spec {
        spec.describe(&mut found);
        found.cgroups = unnamed(id, spec.cgroups_path());
    }
    found
}
