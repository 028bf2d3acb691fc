//! Fields of the container that the thread of an event runs in.

use nabe_event::field::{container as c, metadata as m};
use nabe_event::{FieldId, Value};

use super::{Seen, UNSET, flag_of};
use crate::stream::Container;

/// The value of `container.id` outside containers, as in sysdig: a filter asks `container.id != host`.
const HOST: &[u8] = b"host";

impl Seen<'_> {
    pub(super) fn container_id(&self) -> &[u8] {
        self.thread.map(|thread| &*thread.container).filter(|id| !id.is_empty()).unwrap_or(HOST)
    }

    pub(super) fn of_container(&self, field: FieldId, arg: Option<&[u8]>) -> Value<'_> {
        if self.thread.is_none() {
            return UNSET;
        }
        let outside = self.container_id() == HOST;
        match field {
            c::ID => return Value::Text(self.container_id()),
            c::NAME | c::RUNTIME | c::FULL_ID if outside => return Value::Text(HOST),
            _ => {}
        }
        let Some(container) = self.container() else { return UNSET };
        let label = |key: &str| Self::some(container.label(key).unwrap_or_default());
        match field {
            c::NAME => Self::some(&container.name),
            c::FULL_ID => Self::some(&container.full_id),
            c::IMAGE => Self::some(&container.image),
            c::IMAGE_ID => Self::some(&container.image_id),
            c::RUNTIME => Self::some(container.runtime),
            m::REPOSITORY => Self::some(&container.repository),
            m::TAG => Self::some(&container.tag),
            m::DIGEST => Self::some(&container.digest),
            m::PRIVILEGED => flag_of(container.privileged),
            m::IP => Self::some(&container.ip),
            c::POD => label("io.kubernetes.pod.name"),
            c::POD_NAMESPACE => label("io.kubernetes.pod.namespace"),
            c::POD_UID | m::POD_ID => label("io.kubernetes.pod.uid"),
            c::LABELS => match arg.and_then(|key| core::str::from_utf8(key).ok()) {
                Some(key) => label(key),
                None => self.keep(labels(container)),
            },
            m::LABEL | m::POD_LABEL => {
                arg.and_then(|key| core::str::from_utf8(key).ok()).map_or(UNSET, label)
            }
            m::MOUNTS => {
                let mounts: Vec<_> = container.mounts.iter().map(mount).collect();
                self.keep(mounts.join(","))
            }
            m::MOUNT
            | m::MOUNT_SOURCE
            | m::MOUNT_DEST
            | m::MOUNT_MODE
            | m::MOUNT_RDWR
            | m::MOUNT_PROPAGATION => self.of_mount(container, field, arg),
            _ => UNSET,
        }
    }

    fn of_mount(&self, container: &Container, field: FieldId, arg: Option<&[u8]>) -> Value<'_> {
        let Some(arg) = arg.and_then(|arg| core::str::from_utf8(arg).ok()) else { return UNSET };
        let found = match arg.parse::<usize>() {
            Ok(at) => container.mounts.get(at),
            Err(_) => container.mounts.iter().find(|mount| match field {
                m::MOUNT_SOURCE => mount.destination == arg,
                _ => mount.source == arg,
            }),
        };
        let Some(found) = found else { return UNSET };
        self.keep(match field {
            m::MOUNT => mount(found),
            m::MOUNT_SOURCE => found.source.clone(),
            m::MOUNT_DEST => found.destination.clone(),
            m::MOUNT_MODE => found.mode.clone(),
            m::MOUNT_RDWR => found.writable.to_string(),
            _ => found.propagation.clone(),
        })
    }
}

fn mount(mount: &crate::stream::container::Mount) -> String {
    format!("{}:{}:{}:{}:{}", mount.source, mount.destination, mount.mode, mount.writable, mount.propagation)
}

fn labels(container: &Container) -> String {
    let labels: Vec<_> = container.labels.iter().map(|(key, value)| format!("{key}:{value}")).collect();
    labels.join(", ")
}
