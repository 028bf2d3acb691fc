//! Fields of containers and pods. Of a process outside any container the identity (id, name, engine)
//! is [`HOST`], in snapshots and in streams of events; in a snapshot all else is empty, not missing.
//! CEL's `container.id == ""`, psc's way to ask for the host's own, is read as a question for `host`.

use crate::need::Needs as N;

/// The identity of what runs in no container, as in sysdig.
pub const HOST: &[u8] = b"host";

/// Whether the field says [`HOST`] outside containers.
#[must_use]
pub fn says_host(field: FieldId) -> bool {
    [ID, FULL_ID, NAME, RUNTIME].contains(&field)
}

const ID_NEEDS: N = N::TASK.and(N::CGROUP);
const META: N = N::TASK.and(N::CGROUP).and(N::CONTAINER);

super::fields! { Container;
ID = "container.id" [] Type::Text, "ID", Plain, ID_NEEDS, true, "First 12 characters of the container's id (whole for names that are no hexadecimal ids); `host` outside containers.";
FULL_ID = "container.fullId" ["container.full_id"] Type::Text, "FULLID", Plain, ID_NEEDS, true, "The whole id; `host` outside containers.";
NAME = "container.name" [] Type::Text, "NAME", Plain, META, true, "Name that the engine gives it; its id when no engine knows one; `host` outside containers. In a stream it is not known (`<NA>`, in JSON null) before it was told.";
IMAGE = "container.image" [] Type::Text, "IMAGE", Plain, META, true, "Image as it was asked for, such as `nginx:1.27`. Of a container without one `<NA>`, in JSON an empty text; null in JSON when it is not known yet.";
IMAGE_ID = "container.imageId" ["container.image.id"] Type::Text, "IMAGEID", Plain, META, true, "Id of the image.";
RUNTIME = "container.runtime" ["container.type"] Type::Text, "RUNTIME", Plain, META, true, "Engine: docker, containerd, cri-o, podman, runc, crun, lxc, systemd-nspawn…; `host` outside containers.";
LABELS = "container.labels" [] Type::Map, "LABELS", Plain, META, true, "Labels: `container.labels[\"app\"] == \"web\"`; a comparison with a label that is not set is false.";
PIDS = "container.pids" [] Type::List(Element::Int), "PIDS", Plain, ID_NEEDS, true, "Process ids in the container.";
POD = "container.pod" ["k8s.pod.name", "k8s.pod"] Type::Text, "POD", Plain, META, true, "Name of the Kubernetes pod.";
POD_NAMESPACE = "container.namespace" ["k8s.ns.name", "k8s.namespace"] Type::Text, "NAMESPACE", Plain, META, true, "Kubernetes namespace of the pod.";
POD_UID = "container.podUid" ["k8s.pod.uid"] Type::Text, "PODUID", Plain, ID_NEEDS, true, "Uid of the Kubernetes pod.";
}
