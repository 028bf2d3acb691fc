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

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use nabe_container::{Config, Engine, Resolver, Wanted, identify_any};
    use nabe_state::stream::Container;

    use super::*;

    const ID: &str = "34dc0b5e626f2c5c4c5170e34b10e7654ce36f0fcd532739f4445baabea03376";

    /// What engines' files below a root say of the container in a cgroup, as a reader of captures knows it.
    fn read(files: &[(&str, &str)], path: &str) -> (Metadata, Container) {
        let root = tempfile::tempdir().expect("a directory");
        for (name, text) in files {
            let name: PathBuf = root.path().join(name);
            std::fs::create_dir_all(name.parent().expect("a parent")).expect("a directory");
            std::fs::write(name, text).expect("a file");
        }
        let mut config = Config::default();
        config.root = root.path().to_owned();
        config.deadline = std::time::Duration::from_secs(20);
        let paths = [path.as_bytes()];
        let wanted = [Wanted { cgroup_paths: &paths, pids: &[], identity: identify_any(&paths) }];
        let found = Resolver::new(config).resolve(&wanted).found.pop().flatten().expect("known");
        let document = document(found.short_id(), &found, None);
        let container = Container::parse(document.as_bytes()).expect("a document");
        (found, container)
    }

    #[test]
    fn pods_of_cri_o_have_a_kubelets_labels() {
        let entry = format!(
            r#"[{{"id":"{ID}","metadata":"{{\"image-name\":\"quay.io/app:1\",\"pod-name\":\"k8s_web-0_prod_u-1_0\",\"metadata-name\":\"app\"}}"}}]"#
        );
        let list = "run/containers/storage/overlay-containers/volatile-containers.json";
        let (found, container) =
            read(&[(list, &entry)], &format!("/kubepods.slice/kubepods-podu1.slice/crio-{ID}.scope"));
        assert!(found.labels.is_empty());
        assert_eq!((container.name.as_str(), container.image.as_str()), ("app", "quay.io/app:1"));
        assert_eq!((container.repository.as_str(), container.tag.as_str()), ("quay.io/app", "1"));
        for (key, value) in [
            ("io.kubernetes.pod.name", "web-0"),
            ("io.kubernetes.pod.namespace", "prod"),
            ("io.kubernetes.pod.uid", "u-1"),
            ("io.kubernetes.container.name", "app"),
        ] {
            assert_eq!(container.label(key), Some(value), "{key}");
        }
        assert_eq!((container.runtime, container.is_sandbox, container.privileged), ("cri-o", false, None));
        assert!(container.cgroups.is_empty());
    }

    #[test]
    fn a_cgroup_that_shows_nothing_is_told() {
        let state = r#"{"init_process_pid":4711,"cgroup_paths":{"pids":"/sys/fs/cgroup/pids/mine/web"}}"#;
        let (found, container) = read(&[("run/runc/web/state.json", state)], "/mine/web/inner");
        assert_eq!(found.engine, Engine::Runc);
        assert_eq!(container.cgroups, ["/mine/web"]);
        assert_eq!(
            (container.id.as_str(), container.name.as_str(), container.image.as_str()),
            ("web", "web", "")
        );
    }
}
