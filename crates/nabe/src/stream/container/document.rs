//! The event that tells of a container: sysdig's document of one, in JSON, so that whoever reads captures
//! understands it.

use std::collections::BTreeMap;

use nabe_container::{Metadata, Pod};
use nabe_event::raw::{Event, Params, flag};
use nabe_event::table::EventId;
use serde_json::json;

/// The document of a container event.
pub(in crate::stream) fn document(short: &str, of: &Metadata, privileged: Option<bool>) -> String {
    let engine = match of.engine.as_str() {
        "docker" => 0,
        "lxc" => 1,
        "libvirt-lxc" => 2,
        "mesos" => 3,
        "containerd" => 7,
        "cri-o" => 8,
        "podman" => 11,
        _ => 5,
    };
    let image = of.image.clone().unwrap_or_default();
    let (repository, tag) = match image.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository.to_owned(), tag.to_owned()),
        _ => (image.clone(), String::new()),
    };
    let mut labels: BTreeMap<&str, &str> =
        of.labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    if let Some(pod) = &of.pod {
        add_pod(pod, &mut labels);
    }
    let mut document = json!({
        "id": short,
        "full_id": of.id,
        "name": of.name.as_deref().unwrap_or(short),
        "image": image,
        "imageid": of.image_id.clone().unwrap_or_default(),
        "imagerepo": repository,
        "imagetag": tag,
        "type": engine,
        "labels": labels,
        "is_pod_sandbox": of.infra,
        "privileged": privileged,
    });
    if !of.cgroups.is_empty()
        && let Some(document) = document.as_object_mut()
    {
        // What no other reader knows, nor needs.
        document.insert("cgroups".into(), json!(of.cgroups));
    }
    json!({ "container": document }).to_string()
}

/// A kubelet's labels of a pod that is known from elsewhere: readers of captures look for it there.
fn add_pod<'a>(pod: &'a Pod, labels: &mut BTreeMap<&'a str, &'a str>) {
    // One of Podman's own is none of Kubernetes'.
    if pod.namespace.is_none() {
        return;
    }
    for (key, value) in [
        ("io.kubernetes.pod.name", &pod.name),
        ("io.kubernetes.pod.namespace", &pod.namespace),
        ("io.kubernetes.pod.uid", &pod.uid),
        ("io.kubernetes.container.name", &pod.container_name),
    ] {
        if let Some(value) = value {
            labels.entry(key).or_insert(value);
        }
    }
}

/// The event that a document travels in.
pub(in crate::stream) fn event<T>(document: &str, ts_ns: u64, then: impl FnOnce(&Event<'_>) -> T) -> T {
    let mut lengths = Vec::with_capacity(12);
    let mut data = Vec::with_capacity(document.len() + 16);
    for bytes in [&0u32.to_le_bytes()[..], b"container\0", &[document.as_bytes(), b"\0"].concat()] {
        lengths.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
        data.extend_from_slice(bytes);
    }
    let id = EventId::ASYNCEVENT_E;
    let params = Params::new(id, &lengths, &data).unwrap_or(Params::NONE);
    // It is no act of anybody: -D shows it.
    then(&Event { id, cpu: 0, flags: flag::STATE_ONLY, ts_ns, tid: -1, params })
}
